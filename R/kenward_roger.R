# Kenward and Roger's covariance of the coefficients and degrees of freedom (1997, Biometrics 53,
# 983-997), of restricted likelihood: better than Satterthwaite's where there are few groups. What
# they add to the covariance C is what the uncertainty of the variances adds
# (scale_uncertainty.R), at the estimates.
#
#   kenward_roger(fit)                list(C, adjusted, M, A), of the free coefficients
#   kenward_roger_test(at, L, beta)   data.frame(statistic, df) of L beta = 0, L of full rank

check_kenward_roger <- function(fit) {
  if (!inherits(fit, "elbo_glmm") || method_of(fit) != "reml") {
    abort(c("Kenward and Roger's degrees of freedom are of restricted likelihood.",
            "Use update(fit, method = \"reml\"), or \"Satterthwaite\"."), "elbo_error_method")
  }
  check_no_curves(design_of(fit), "Kenward and Roger's test", "Use \"Satterthwaite\".")
}

kenward_roger <- function(fit) {
  check_kenward_roger(fit)
  standard <- standard_fit(fit)
  info <- scale_information(standard)
  C <- unname(coefficient_cov(fit))
  if (is.null(info)) return(list(C = C, adjusted = C, M = list(), A = matrix(0, 0, 0)))
  back <- standard_units_of(standard)$beta
  M <- lapply(info$M, scale_cov, back) # derivatives of the precision of beta
  list(C = C, adjusted = C + scale_cov(coefficient_excess(info), 1 / back), M = M, A = info$A)
}

# Their F: scaled by lambda, with m degrees of freedom, so that its first two moments are those of F
# to the order at which they are known, and exactly where it is Hotelling's or an F.
kenward_roger_test <- function(at, L, beta) {
  l <- nrow(L)
  LCL <- L %*% at$C %*% t(L)
  Theta <- t(L) %*% solve(LCL, L)
  moves <- lapply(at$M, function(M) Theta %*% at$C %*% M %*% at$C)
  traces <- vapply(moves, function(m) sum(diag(m)), 0)
  A1 <- sum(at$A * tcrossprod(traces))
  A2 <- sum(at$A * pairwise(seq_along(moves), function(k, j) sum(moves[[k]] * t(moves[[j]]))))
  moments <- kenward_roger_moments(l, A1, A2)
  b <- drop(L %*% beta)
  wald <- sum(b * solve(L %*% at$adjusted %*% t(L), b)) / l
  data.frame(statistic = moments$lambda * wald, df = moments$m)
}

kenward_roger_moments <- function(l, A1, A2) {
  if (!(A2 > 0)) return(list(m = Inf, lambda = 1)) # variances that are known
  B <- (A1 + 6 * A2) / (2 * l)
  g <- ((l + 1) * A1 - (l + 4) * A2) / ((l + 2) * A2)
  c <- c(g, l - g, l + 2 - g) / (3 * l + 2 * (1 - g))
  mean <- 1 / (1 - A2 / l)
  variance <- 2 / l * (1 + c[1] * B) / ((1 - c[2] * B)^2 * (1 - c[3] * B))
  rho <- variance / (2 * mean^2)
  m <- 4 + (l + 2) / (l * rho - 1)
  list(m = m, lambda = m / (mean * (m - 2)))
}

# Of each coefficient, as t has them: lambda is 1 then.
kenward_roger_df <- function(at) {
  L <- diag(nrow(at$C))
  vapply(seq_len(nrow(L)), function(j) {
    kenward_roger_test(at, L[j, , drop = FALSE], rep(1, nrow(L)))$df
  }, 0)
}
