# Coefficients at the boundary, of membership and of regressions: the likelihood rises to a limit as
# they grow, which is the estimate. C holds a point so far out that no digit tells it from that.
#
#   reported_theta(result, ...)   theta as it is reported: coefficients -Inf or Inf, or NA where the
#                                 rows say nothing of them
#   limit_along(beta, staying, leaving)    coefficients as they are reported, of finite ones

# `result` is what C found for the model, see mixture_model().
reported_theta <- function(result, model, latent) {
  theta <- result$theta
  theta <- law_of(model)$limit_theta(theta, model, result)
  limit_weights(theta, model, result)[!latent]
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
