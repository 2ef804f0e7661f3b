# Regressions of counts and shares at the boundary: a component whose mean is 0 (or a probability 0 or
# 1) in rows that its coefficients fit without error. The likelihood is bounded there, and its limit is
# the estimate; the coefficients that lead to it are infinite. C holds a point so far out that
# no digit tells it from the limit, and says which components have such coefficients.
#
#   theta_of(result, ...)         theta as it is reported: coefficients -Inf or Inf, or NA where the rows
#                                 of the component say nothing of them
#   finite_coefficients(fit)      those to compute with, k x columns of X
#   snap_means(fit, mean)         means, exactly 0 (or 1) where they are so in the limit
#   limit_words(fit)              the sentences of print()

# `result` is what C found for the model, see mixture_model().
theta_of <- function(result, model, latent) {
  theta <- result$theta
  part <- model$parts$regression
  held <- held_components(result$state)
  if (any(held)) {
    # The weights come first, and these families have no sigma.
    rows <- length(theta) - length(result$state$regression$coefficients) +
      seq_along(result$state$regression$coefficients)
    probability <- .Call(C_mixture_evaluate, model, result$state)$probability
    if (!is.null(model$first)) {
      probability <- probability[rep(seq_len(model$n_unit), diff(model$first)), , drop = FALSE]
    }
    beta <- result$state$regression$coefficients
    for (j in which(held)) beta[, j] <- limit_coefficients(part, beta[, j], probability[, j])
    theta[rows] <- beta
  }
  theta[!latent]
}

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
  free <- null_space(X[seen & !out, , drop = FALSE])
  moved <- sqrt(rowSums(free^2)) > 1e-7
  leaving <- X[seen & out, , drop = FALSE] * sign(eta[seen & out])
  infinite <- sign(beta) * Inf
  for (b in which(moved)) beta[b] <- if (leaves_without(leaving, free, b)) NA else infinite[b]
  beta
}

beyond_digits <- 35 # exp(-35) is below the rounding of one

# Columns: orthonormal directions that move no row of X.
null_space <- function(X) {
  p <- ncol(X)
  if (nrow(X) == 0) return(diag(p))
  size <- sqrt(colSums(X^2))
  size[size == 0] <- 1
  spectrum <- eigen(crossprod(X / rep(size, each = nrow(X))), symmetric = TRUE)
  free <- spectrum$vectors[, spectrum$values <= 1e-10 * max(spectrum$values), drop = FALSE] / size
  free / rep(sqrt(colSums(free^2)), each = p)
}

# Whether a direction of `free` with nothing in coefficient b takes all rows out: sought as the least
# squares fit of 1.
leaves_without <- function(leaving, free, b) {
  rest <- null_space(free[b, , drop = FALSE])
  if (ncol(rest) == 0 || nrow(leaving) == 0) return(FALSE)
  along <- leaving %*% (free %*% rest)
  fit <- qr.fitted(qr(along), rep(1, nrow(along)))
  all(fit > 1e-6)
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

limit_words <- function(fit) {
  unlist(lapply(which(held_components(fit$state)), function(j) limit_sentence(fit, j)))
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
  c(sprintf("Component %d has %s %s%s: on the boundary, where the likelihood is bounded%s.", j, what,
            paste(ends, collapse = " or "), if (all) "" else " in a part of its rows",
            " and the fit complete"),
    if (anyNA(value)) {
      sprintf("Not identified, since that is so whatever their value: %s.", enumerate(names[is.na(value)], 6))
    })
}
