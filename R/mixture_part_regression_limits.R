# Coefficients of regressions at the boundary.

held_components <- function(state) {
  boundary <- state$regression$boundary
  if (is.null(boundary)) FALSE else colSums(boundary) > 0
}

# Rows at the limit say nothing of coefficients. The others identify what lies in the space of their
# rows; along what is left rows are taken out, and a coefficient without which they can be is not
# identified.
limit_coefficients <- function(part, beta, probability) {
  X <- part$X
  offset <- if (is.null(part$offset)) 0 else part$offset
  eta <- drop(X %*% beta) + offset
  seen <- probability > 1e-8
  out <- if (part$family == 1L) abs(eta) > beyond_digits else eta < -beyond_digits
  limit_along(beta, X[seen & !out, , drop = FALSE],
              X[seen & out, , drop = FALSE] * sign(eta[seen & out]))
}

finite_coefficients <- function(fit) {
  beta <- component_values(fit, "beta")
  lost <- !is.finite(beta)
  if (any(lost)) beta[lost] <- t(fit$state$regression$coefficients)[lost]
  beta
}

snap_means <- function(fit, mean) {
  least <- exp(-beyond_digits)
  for (j in which(held_components(fit$state))) {
    mean[which(mean[, j] < least), j] <- 0
    if (fit$family$family == "binomial") mean[which(mean[, j] > 1 - least), j] <- 1
  }
  mean
}

limit_sentence <- function(fit, j) {
  own <- fit$parameters$block == "beta" & fit$parameters$component == j
  own[is.na(own)] <- FALSE
  names <- fit$parameters$name[own]
  value <- as.vector(fit$theta)[own]
  probability <- unit_probability(fit)[unit_of_row(fit$design), j]
  mean <- component_means(fit, fit$design)[, j]
  ends <- intersect(if (fit$family$family == "poisson") 0 else 0:1, mean[probability > 1e-8])
  all <- all(mean[probability > 1e-8] %in% ends)
  what <- if (fit$family$family == "poisson") "mean" else "probability"
  c(sprintf("Component %d has %s %s%s: on the boundary, where the likelihood is bounded%s.", j,
            what,
            paste(ends, collapse = " or "), if (all) "" else " in a part of its rows",
            " and the fit complete"),
    if (anyNA(value)) {
      sprintf("Not identified, since that is so whatever their value: %s.",
              enumerate(names[is.na(value)], 6))
    })
}
