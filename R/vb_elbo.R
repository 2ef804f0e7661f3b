# The ELBO of a mixed model under method "vb" at any q of the kind that variational() returns,
#
#   E_q[log p(y, beta, u, Sigma, sigma, a) - log q],
#
# the factors of the auxiliary variables a at their best. With S = E[Sigma^-1]^-1 and
# v = E[sigma^-2]^-1 in place of Sigma and sigma^2 the Gaussian part is that of points
# (glmm_objective.R), but for what E log|Sigma| exceeds log|S| by.

variational_elbo <- function(fit, q) {
  not_for_crossed(fit, "elbo() at another q")
  check_variational(q, fit)
  normal <- normal_factor_of(q, fit)
  parts <- list(Sigma = factors_of(fit)$S, smooth = factors_of(fit)$smooth,
                sigma = factors_of(fit)$root_v)
  value <- expected_log_normal(fit, normal) + entropy(fit, normal, theta_parts(fit)$Sigma)
  for (scale in scale_factors_of(q, fit)) {
    parts$Sigma[scale$terms, scale$terms] <- scale$S
    if (length(scale$level) > 0) parts$sigma[scale$level] <- sqrt(scale$S[1])
    if (length(scale$curve) > 0) parts$smooth[scale$curve] <- sqrt(scale$S[1])
    value <- value + scale_value(scale)
  }
  value + expected_log_likelihood(fit, theta_of(fit), parts, normal) +
    expected_log_law(parts, normal) + expected_log_curves(fit, parts, normal)
}

# q(beta, u), or q(beta) q(u), as the rest of this file takes it.
normal_factor_of <- function(q, fit) {
  free <- c(information_of(fit)$free_beta, length(coef(fit)) + seq_along(smooth_of(fit)$mean))
  joint <- factorization_of(fit) == "structured"
  beta <- q[[if (joint) "beta, u" else "beta"]]
  latent <- if (joint) beta$latent else q[["u"]]$latent
  list(beta = beta$mean[free], beta_cov = beta$cov[free, free, drop = FALSE], mean = latent$mean,
       cov = latent$cov, gain = if (joint) latent$gain else 0 * moments_of(fit)$gain)
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

# E log p(Sigma) - E log q(Sigma) and what E log|Sigma| exceeds log|S| by.
scale_value <- function(scale) {
  S <- scale$S
  d <- scale$d
  q <- nrow(S)
  log_det <- as.numeric(determinant(S)$modulus)
  excess <- q * log(d / 2) - sum(digamma((d + 1 - seq_len(q)) / 2))
  mean_log <- log_det + excess
  prior <- if (is_huang_wand(scale)) expected_huang_wand(scale, mean_log)
           else expected_log_scale(scale, mean_log)
  entropy <- log_gamma_q(d / 2, q) - 0.5 * d * (log_det + q * log(d / 2)) +
    0.5 * (d + q + 1) * mean_log + 0.5 * d * q
  prior + entropy - 0.5 * scale$n * excess
}

# E log p(Sigma | a) p(a) - E log q(a), a at its best.
expected_huang_wand <- function(scale, mean_log) {
  nu <- scale$laws[[1]]$df
  A <- vapply(scale$laws, `[[`, 0, "scale")
  q <- nrow(scale$S)
  shape <- (nu + q) / 2
  rate <- nu * diag(inverse_covariance(scale$S)) + 1 / A^2
  0.5 * (nu + q - 1) * q * log(nu) - log_gamma_q(0.5 * (nu + q - 1), q) -
    (0.5 * nu + q) * mean_log + sum(lgamma(shape) - shape * log(rate) - 0.5 * log(pi) - log(A))
}

# E log p(Sigma) where p(Sigma) dSigma = p(R) dR prod_k p(sd_k) dsd_k, dSigma = 2^q prod_k sd_k^q dR
# dsd: Sigma_kk is inverse gamma((d - q + 1) / 2, d S_kk / 2), and what is not a logarithm is
# integrated.
expected_log_scale <- function(scale, mean_log) {
  d <- scale$d
  q <- nrow(scale$S)
  shape <- (d - q + 1) / 2
  mean_log_x <- log(d * diag(scale$S) / 2) - digamma(shape)
  value <- -q * log(2) - 0.5 * q * sum(mean_log_x)
  if (q > 1) value <- value + lkj_log_density(mean_log - sum(mean_log_x), q, scale$lkj)
  for (k in seq_len(q)) {
    integrand <- function(y) { # y the logarithm of a gamma(shape) number
      sd_log_density(scale$laws[[k]], sqrt(d * scale$S[k, k] / 2 * exp(-y))) *
        exp(shape * y - exp(y) - lgamma(shape))
    }
    middle <- log(shape)
    width <- 40 * max(1 / shape, sqrt(1 / shape))
    value <- value + sum(vapply(c(-1, 1), function(side) {
      ends <- sort(c(middle, middle + side * width))
      stats::integrate(integrand, ends[1], ends[2], rel.tol = 1e-10, subdivisions = 1000L)$value
    }, 0))
  }
  value
}

# E log p(beta).
expected_log_normal <- function(fit, q) {
  told <- priors_of(fit)$told
  beta <- which(is.finite(told$prior_beta_sd)) # others are flat
  sd <- told$prior_beta_sd[beta]
  sum(stats::dnorm(q$beta[beta], told$prior_beta_mean[beta], sd, log = TRUE) -
        0.5 * diag(q$beta_cov)[beta] / sd^2)
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
