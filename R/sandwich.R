# Scores of each group, and the covariance that is robust to a wrong law (White 1982).

# Scores of the marginal log-likelihood with respect to (free beta, eta that moves), a row a group
# (a row of data where there is none), through Fisher's identity: with e = V^{-1}(y - X beta), got
# from the posterior as W (y - X beta - Z m) and W the residual precisions,
#   beta: X'e    Sigma: (s s' - P) / 2, s = Z'e, P = Z'V^{-1}Z = A - A S A, A = Z'WZ.
group_scores <- function(fit) {
  if (method_of(fit) != "em") {
    abort(c(sprintf("Scores of groups exist for method \"em\", not for \"%s\".", method_of(fit)),
            "Use update(fit, method = \"em\")."), "elbo_error_method")
  }
  check_no_curves(design_of(fit), "The sandwich estimator",
                  "They tie all rows together, so that no scores are independent.")
  if (is_crossed(design_of(fit))) return(crossed_scores(fit))
  design <- design_of(fit)
  info <- information_of(fit)
  q <- ncol(design$Z)
  group <- if (q > 0) as.integer(the_group(design)) else seq_along(design$y)
  variance <- residual_variance(fit)
  S <- moments_of(fit)$cov
  u <- moments_of(fit)$mean
  linear <- drop(design$X %*% coef(fit)) + design$offset
  if (q > 0) linear <- linear + rowSums(design$Z * u[group, , drop = FALSE])
  e <- (design$y - linear) / variance
  sum_groups <- function(x) rowsum(x, group, reorder = TRUE)

  X <- design$X[, info$free_beta, drop = FALSE]
  scores <- unname(sum_groups(X * e))
  eta <- matrix(0, nrow(scores), length(info$moves))
  spread <- 0
  if (q > 0) {
    s <- sum_groups(design$Z * e)
    index <- expand.grid(i = seq_len(q), j = seq_len(q))
    A <- sum_groups(design$Z[, index$i] * design$Z[, index$j, drop = FALSE] / variance)
    SA <- multiply_groups(matrix(S, ncol = q^2, byrow = TRUE), A, q)
    P <- A - multiply_groups(A, SA, q)
    G <- 0.5 * (s[, index$i, drop = FALSE] * s[, index$j, drop = FALSE] - P)
    eta <- G %*% matrix(info$Sigma_slope, q^2)[, info$moves, drop = FALSE]
    spread <- rowSums(design$Z[, index$i, drop = FALSE] * design$Z[, index$j, drop = FALSE] *
                        matrix(S, ncol = q^2, byrow = TRUE)[group, , drop = FALSE])
  }
  # log sigma of a level: sigma^2 / w d/dV_ii, V^{-1}_ii = (1 - z'Sz / v) / v.
  row_score <- variance * (e^2 - (1 - spread / variance) / variance)
  level <- if (is.null(design$level)) rep(1L, length(e)) else as.integer(design$level)
  for (k in seq_along(info$moves)) {
    l <- match(info$moves[k], info$eta_of_sigma)
    if (!is.na(l)) eta[, k] <- eta[, k] + sum_groups(row_score * (level == l))
  }
  cbind(scores, unname(eta))
}

# Products of q x q matrices that are stored as rows.
multiply_groups <- function(A, B, q) {
  out <- matrix(0, nrow(A), q^2)
  for (i in seq_len(q)) for (j in seq_len(q)) for (k in seq_len(q)) {
    out[, i + q * (j - 1)] <- out[, i + q * (j - 1)] + A[, i + q * (k - 1)] * B[, k + q * (j - 1)]
  }
  out
}

# Of each row; `sigma` has a value for each level, and is 1 with known standard errors.
residual_variance <- function(fit, sigma = theta_parts(fit)$sigma) {
  design <- design_of(fit)
  variance <- if (is.null(design$level)) rep(sigma^2, length(design$y))
              else sigma[as.integer(design$level)]^2
  unname(if (is.null(design$weights)) variance else variance / design$weights)
}

sandwich_covariance <- function(fit) {
  bread <- full_eta_cov(fit)
  natural_covariance(fit, bread %*% crossprod(group_scores(fit)) %*% bread)
}
