# Coefficients at the boundary. Membership: where covariates tell components apart without error the
# likelihood rises to a limit as coefficients grow, which is the estimate.
#
# Regressions of counts and shares: a component whose mean is 0 (or a probability 0 or
# 1) in rows that its coefficients fit without error. The likelihood is bounded there, and its limit
# is the estimate; the coefficients that lead to it are infinite. C holds a point so far out that no
# digit tells it from the limit, and says which components have such coefficients.
#
#   theta_of(result, ...)         theta as it is reported: coefficients -Inf or Inf, or NA where the
#                                 rows of the component say nothing of them
#   finite_coefficients(fit)      those to compute with, k x columns of X
#   finite_membership(fit)        the same, k x columns of W, the first row zero
#   limit_membership(B, W)        coefficients as they are reported, of finite ones
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
  weights <- model$parts$weights
  if (!is.null(weights$W) && model$k > 1 && is.infinite(weights$coefficient_sd)) {
    coefficient <- result$state$weights$coefficient
    own <- seq_len(length(coefficient) - nrow(coefficient))
    theta[own] <- limit_membership(coefficient, weights$W)
  }
  theta[!latent]
}

# `staying` rows are moved by coefficients, `leaving` rows are taken out where the coefficients
# along them grow.
limit_along <- function(beta, staying, leaving) {
  free <- null_space(staying)
  moved <- sqrt(rowSums(free^2)) > 1e-7
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

# Whether a direction of `free` with nothing in coefficient b takes all rows out: sought as the
# least squares fit of 1.
leaves_without <- function(leaving, free, b) {
  rest <- null_space(free[b, , drop = FALSE])
  if (ncol(rest) == 0 || nrow(leaving) == 0) return(FALSE)
  along <- leaving %*% (free %*% rest)
  fit <- qr.fitted(qr(along), rep(1, nrow(along)))
  all(fit > 1e-6)
}

limit_words <- function(fit) {
  c(membership_sentence(fit),
    unlist(lapply(which(held_components(fit$state)), function(j) limit_sentence(fit, j))))
}
