# The ELBO of a mixed model under method "vb" at any q of the kind that variational() returns,
#
#   E_q[log p(y, beta, u, Sigma, sigma, a) - log q],
#
# the factors of the auxiliary variables a at their best. With S = E[Sigma^-1]^-1 and
# v = E[sigma^-2]^-1 in place of Sigma and sigma^2 the Gaussian part is that of points
# (glmm_objective.R), but for what E log|Sigma| exceeds log|S| by.

variational_elbo <- function(fit, q) {
  check_variational(q, fit)
  normal <- normal_factor_of(q, fit)
  parts <- list(Sigma = fit$vb$S, smooth = fit$vb$smooth, sigma = fit$vb$root_v)
  value <- expected_log_normal(fit, normal) + entropy(fit, normal)
  for (scale in scale_factors_of(q, fit)) {
    parts$Sigma[scale$terms, scale$terms] <- scale$S
    if (length(scale$level) > 0) parts$sigma[scale$level] <- sqrt(scale$S[1])
    if (length(scale$curve) > 0) parts$smooth[scale$curve] <- sqrt(scale$S[1])
    value <- value + scale_value(scale)
  }
  value + expected_log_likelihood(fit, fit$theta, parts, normal) + expected_log_law(parts, normal) +
    expected_log_curves(fit, parts, normal)
}

# q(beta, u), or q(beta) q(u), as the rest of this file takes it.
normal_factor_of <- function(q, fit) {
  free <- c(fit$information$free_beta, length(coef(fit)) + seq_along(fit$smooth$mean))
  joint <- fit$factorization == "structured"
  beta <- q[[if (joint) "beta, u" else "beta"]]
  latent <- if (joint) beta$latent else q[["u"]]$latent
  list(beta = beta$mean[free], beta_cov = beta$cov[free, free, drop = FALSE], mean = latent$mean,
       cov = latent$cov, gain = if (joint) latent$gain else 0 * fit$latent$gain)
}

# The free scales as scale_shape() has them, with d and S of q.
scale_factors_of <- function(q, fit) {
  lapply(scale_shape(fit)$blocks, function(scale) {
    factor <- q[[scale$name]]
    gamma <- factor$family == "inverse gamma"
    scale$d <- if (gamma) 2 * factor$shape else factor$df
    scale$S <- as.matrix(if (gamma) 2 * factor$scale else factor$scale) / scale$d
    scale
  })
}

# E log p(Sigma | a) p(a) - E log q(Sigma) q(a) and what E log|Sigma| exceeds log|S| by.
scale_value <- function(scale) {
  S <- scale$S
  d <- scale$d
  nu <- scale$df
  q <- nrow(S)
  log_det <- as.numeric(determinant(S)$modulus)
  excess <- q * log(d / 2) - sum(digamma((d + 1 - seq_len(q)) / 2))
  mean_log <- log_det + excess
  shape <- (nu + q) / 2
  rate <- nu * diag(solve(S)) + 1 / scale$scale^2
  prior <- 0.5 * (nu + q - 1) * q * log(nu) - log_gamma_q(0.5 * (nu + q - 1), q) -
    (0.5 * nu + q) * mean_log +
    sum(lgamma(shape) - shape * log(rate) - 0.5 * log(pi) - log(scale$scale))
  entropy <- log_gamma_q(d / 2, q) - 0.5 * d * (log_det + q * log(d / 2)) +
    0.5 * (d + q + 1) * mean_log + 0.5 * d * q
  prior + entropy - 0.5 * scale$n * excess
}

# E log p(beta).
expected_log_normal <- function(fit, q) {
  told <- fit$priors$told
  beta <- seq_along(told$prior_beta_sd)
  sum(stats::dnorm(q$beta[beta], told$prior_beta_mean, told$prior_beta_sd, log = TRUE) -
        0.5 * diag(q$beta_cov)[beta] / told$prior_beta_sd^2)
}

# The same factors as those of the fit, with numbers of the same shapes.
check_variational <- function(q, fit) {
  model <- unclass(variational(fit))
  check(is.list(q) && setequal(names(q), names(model)), "q",
        paste("a list of the factors", quote_names(names(model))), q)
  for (name in names(model)) check_factor(q[[name]], model[[name]], name)
}

check_factor <- function(factor, model, name) {
  size <- function(f) {
    lapply(f[c("mean", "cov", "gain", "df", "scale", "shape")],
           function(x) if (is.numeric(x)) c(length(x), dim(x)))
  }
  alike <- is.list(factor) && identical(factor$family, model$family) &&
    identical(size(factor), size(model)) &&
    (is.null(model$latent) || identical(size(factor$latent), size(model$latent)))
  check(alike, "q", sprintf("a list whose factor `%s` has the parts of that of variational(fit)",
                            name), factor)
  check(is_possible_factor(factor), "q",
        sprintf("a list whose factor `%s` is a distribution", name), factor)
}

# Numbers, covariances and scales positive definite, degrees of freedom that make it proper.
is_possible_factor <- function(factor) {
  numbers <- unlist(c(factor[c("mean", "cov", "df", "scale", "shape")],
                      factor$latent[c("mean", "cov", "gain")]))
  if (!is.numeric(numbers) || !all(is.finite(numbers))) return(FALSE)
  switch(factor$family,
    normal = (is.null(factor$cov) || is_beta_covariance(factor$cov)) &&
      (is.null(factor$latent) || are_covariances(factor$latent$cov)),
    `inverse gamma` = factor$shape > 0 && factor$scale > 0,
    `inverse Wishart` = is_covariance(factor$scale) && factor$df > nrow(factor$scale) - 1
  )
}

# Coefficients that are held have no variance.
is_beta_covariance <- function(cov) {
  varies <- diag(cov) != 0
  !any(varies) || is_covariance(cov[varies, varies, drop = FALSE])
}

are_covariances <- function(cov) {
  all(vapply(seq_len(dim(cov)[3]), function(g) {
    is_covariance(matrix(cov[, , g], nrow(cov)))
  }, NA))
}
