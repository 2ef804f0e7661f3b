# Coefficients of regressions of counts and shares at the boundary: a component whose mean is 0 (or
# a probability 0 or 1) in rows that its coefficients fit without error. The likelihood is bounded
# there, and its limit is the estimate; C says which components have such coefficients.
#
#   finite_coefficients(fit)      those to compute with, k x columns of X
#   snap_means(fit, mean)         means, exactly 0 (or 1) where they are so in the limit

held_components <- function(state) {
  boundary <- state$boundary
  if (is.null(boundary)) FALSE else colSums(boundary) > 0
}

limit_regression <- function(theta, model, result) {
  state <- result$state$regression
  held <- held_components(state)
  if (!any(held)) return(theta)
  probability <- .Call(C_mixture_evaluate, model, result$state)$probability
  if (!is.null(model$first)) {
    probability <- probability[rep(seq_len(model$n_unit), diff(model$first)), , drop = FALSE]
  }
  beta <- state$coefficients
  for (j in which(held)) {
    beta[, j] <- limit_coefficients(model$parts$regression, beta[, j], probability[, j])
  }
  # The weights come first, and these families have no sigma.
  theta[length(theta) - length(beta) + seq_along(beta)] <- beta
  theta
}

limit_sentences <- function(fit) {
  held <- which(held_components(state_of(fit)$regression))
  unlist(lapply(held, function(j) limit_sentence(fit, j)))
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
  if (any(lost)) beta[lost] <- t(state_of(fit)$regression$coefficients)[lost]
  beta
}

snap_means <- function(fit, mean) {
  least <- exp(-beyond_digits)
  for (j in which(held_components(state_of(fit)$regression))) {
    mean[which(mean[, j] < least), j] <- 0
    if (family(fit)$family == "binomial") mean[which(mean[, j] > 1 - least), j] <- 1
  }
  mean
}

limit_sentence <- function(fit, j) {
  own <- parameters_of(fit)$block == "beta" & parameters_of(fit)$component == j
  own[is.na(own)] <- FALSE
  names <- parameters_of(fit)$name[own]
  value <- as.vector(theta(fit))[own]
  probability <- unit_probability(fit)[unit_of_row(design_of(fit)), j]
  mean <- component_means(fit, design_of(fit))[, j]
  ends <- intersect(if (family(fit)$family == "poisson") 0 else 0:1, mean[probability > 1e-8])
  all <- all(mean[probability > 1e-8] %in% ends)
  what <- if (family(fit)$family == "poisson") "mean" else "probability"
  c(sprintf("Component %d has %s %s%s: on the boundary, where the likelihood is bounded%s.", j,
            what,
            paste(ends, collapse = " or "), if (all) "" else " in a part of its rows",
            " and the fit complete"),
    if (anyNA(value)) {
      sprintf("Not identified, since that is so whatever their value: %s.",
              enumerate(names[is.na(value)], 6))
    })
}
