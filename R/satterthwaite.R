# Degrees of freedom of t statistics of fixed effects.
#
# The variance of an estimate L'beta, v(eta) = L'(X'V^{-1}X)^{-1}L, is itself estimated: with g its
# derivative and A the covariance of the variance parameters, 2 v^2 / (g'Ag) degrees of freedom
# match the first two moments of a chi-square (Satterthwaite 1946, Biometrics Bulletin 2:110;
# Giesbrecht & Burns 1985, Biometrics 41:477). Parameters on the boundary count as known.

# `L`: a row a contrast of coef(fit); by default each coefficient.
fit_df <- function(fit, L = NULL) {
  info <- fit$information
  p <- sum(fit$parameters$block == "beta")
  if (is.null(L)) L <- diag(p)
  L <- L[, info$free_beta, drop = FALSE]
  C <- fit$beta_cov[info$free_beta, info$free_beta, drop = FALSE]
  A <- info$eta_cov
  A[is.na(A)] <- 0
  slopes <- matrix(info$beta_cov_slope, length(C), nrow(A))
  vapply(seq_len(nrow(L)), function(i) {
    l <- L[i, ]
    v <- drop(l %*% C %*% l)
    g <- drop(as.vector(l %o% l) %*% slopes)
    variance <- sum(g * (A %*% g)) # 0 where no scale is free
    if (variance > 0) 2 * v^2 / variance else Inf
  }, 0)
}
