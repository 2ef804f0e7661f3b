# Degrees of freedom of t statistics of fixed effects.
#
# The variance of an estimate L'beta, v(eta) = L'(X'V^{-1}X)^{-1}L, is itself estimated: with g its
# derivative and A the covariance of the variance parameters, 2 v^2 / (g'Ag) degrees of freedom
# match the first two moments of a chi-square (Satterthwaite 1946, Biometrics Bulletin 2:110;
# Giesbrecht & Burns 1985, Biometrics 41:477). Where a variance is zero its information on the scale
# of standard deviations says nothing, and A comes from the expected information of variances.

# Of the coefficients as summary() tests them: one for each, or Inf.
summary_df <- function(fit) UseMethod("summary_df")

#' @exportS3Method
summary_df.elbo_fit <- function(fit) Inf

#' @exportS3Method
summary_df.elbo_general <- function(fit) Inf

#' @exportS3Method
summary_df.elbo_glmm <- function(fit) unname(fit_df(fit))

# `L`: a row a contrast of coef(fit); by default each coefficient.
fit_df <- function(fit, L = NULL) {
  info <- information_of(fit)
  if (is.null(L)) L <- diag(sum(parameters_of(fit)$block == "beta"))
  # z tests: a law without a scale of its own gives no degrees of freedom.
  if (!is_gaussian(fit)) return(rep(Inf, nrow(L)))
  L <- L[, info$free_beta, drop = FALSE]
  singular <- method_of(fit) %in% c("em", "reml") && has_singular_law(fit)
  if (singular) return(boundary_df(fit, L))
  C <- beta_cov_of(fit)[info$free_beta, info$free_beta, drop = FALSE]
  A <- info$eta_cov
  A[is.na(A)] <- 0
  slopes <- matrix(info$beta_cov_slope, length(C), nrow(A))
  vapply(seq_len(nrow(L)), function(i) {
    l <- L[i, ]
    satterthwaite_df(drop(l %*% C %*% l), drop(as.vector(l %o% l) %*% slopes), A)
  }, 0)
}

# `v` with derivatives g by parameters of covariance A: infinite where no scale is free. In units of
# v, as the square of a variance may be no number.
satterthwaite_df <- function(v, g, A) {
  if (is.na(v)) return(NA_real_)
  if (!(v > 0)) return(Inf)
  g <- g / v
  variance <- sum(g * (A %*% g))
  if (is.na(variance)) NA_real_ else if (variance > 0) 2 / variance else Inf
}
