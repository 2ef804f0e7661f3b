# The evidence lower bound of a mixed model at any theta and any q, row by row from its definition
#
#   ELBO = E_q log p(y | z, theta) + E_q log p(z | theta) - E_q log q,
#
# independent of the summaries that the fit climbs by.
#
#   eta_of(fit), at_eta(fit, eta)   the scales as the engine moves them, and the model there

#' @rdname elbo
#' @export
elbo.elbo_glmm <- function(object, theta = NULL, q = NULL, ...) {
  check_dots_empty(...)
  if (is.null(theta) && is.null(q)) return(objective_of(object))
  if (method_of(object) == "vb") {
    if (is.null(theta)) return(variational_elbo(object, q))
    abort(c("Under method \"vb\" theta has a distribution, and a point has no ELBO: its entropy",
            "is minus infinity. Give `q`, a list of factors as variational(fit) has them."),
          "elbo_error_not_available")
  }
  if (!is.null(q)) not_for_crossed(object, "elbo() at another q", "It takes any `theta`.")
  if (is.null(theta)) theta <- theta_of(object)
  check(is.numeric(theta), "theta", "a vector of numbers like theta(fit)", theta)
  if (is.null(q)) return(glmm_posterior(object, theta)$objective)
  parts <- theta_parts(object, theta)
  q <- check_q(q, object, theta)
  expected_log_likelihood(object, theta, parts, q) + expected_log_law(parts, q) +
    expected_log_curves(object, parts, q) + entropy(object, q, parts$Sigma)
}

check_q <- function(q, fit, theta) {
  latent <- moments_of(fit)
  fits <- is.list(q) && identical(dim(q$mean), dim(latent$mean)) &&
    identical(dim(q$cov), dim(latent$cov))
  check(fits, "q", sprintf("a list of mean (%s) and cov (%s)",
                           paste(dim(latent$mean), collapse = " x "),
                           paste(dim(latent$cov), collapse = " x ")), q)
  names <- latent_coefficients(fit, theta)
  if (length(names) == 0) {
    q[c("beta", "beta_cov")] <- NULL # points
    return(q)
  }
  if (is.null(q$gain)) q$gain <- latent$gain
  if (has_curves(fit)) {
    q$gain <- q$gain[, match(names, colnames(smooth_of(fit)$q_cov)), , drop = FALSE]
  }
  if (is.null(q$beta)) q$beta <- all_coefficients(fit)[names]
  if (is.null(q$beta_cov)) {
    q$beta_cov <- if (has_curves(fit)) smooth_of(fit)$q_cov[names, names] else coefficient_cov(fit)
  }
  q
}

# Names of the coefficients that q is about: beta where it is integrated, and those of curves that
# have variance.
latent_coefficients <- function(fit, theta) {
  beta <- if (method_of(fit) %in% c("reml", "vb")) names(coef(fit))[information_of(fit)$free_beta]
  sd <- theta[parameters_of(fit)$block == "smooth"]
  c(beta, names(smooth_of(fit)$mean)[smooth_variances(fit, sd) > 0])
}

# The variance of each coefficient of a curve under its law.
smooth_variances <- function(fit, sd) rep(sd, smooth_sizes(design_of(fit)$curves))^2

expected_log_likelihood <- function(fit, theta, parts, q) {
  design <- design_of(fit)
  variance <- residual_variance(fit, parts$sigma)
  beta <- theta[parameters_of(fit)$block == "beta"]
  integrated <- !is.null(q$beta)
  names <- if (integrated) latent_coefficients(fit, theta)
  X <- cbind(design$X, design$B)[, names, drop = FALSE]
  mean <- drop(design$X %*% replace(beta, names(beta) %in% names, 0)) + design$offset
  if (integrated) mean <- mean + drop(X %*% q$beta)
  spread <- 0
  n_z <- ncol(design$Z)
  if (n_z > 0) {
    group <- as.integer(the_group(design))
    mean <- mean + rowSums(design$Z * q$mean[group, , drop = FALSE])
    index <- expand.grid(i = seq_len(n_z), j = seq_len(n_z))
    S <- matrix(q$cov, ncol = n_z^2, byrow = TRUE)[group, , drop = FALSE]
    spread <- rowSums(design$Z[, index$i, drop = FALSE] * design$Z[, index$j, drop = FALSE] * S)
    # u = m - K (beta - betahat) + ..., so that x'beta + z'u varies with beta as (x - K'z)'beta.
    if (integrated) {
      for (j in seq_along(names)) for (k in seq_len(n_z)) {
        X[, j] <- X[, j] - design$Z[, k] * q$gain[k, j, group]
      }
    }
  }
  if (integrated) spread <- spread + rowSums((X %*% q$beta_cov) * X)
  sum(-0.5 * (log(2 * pi * variance) + ((design$y - mean)^2 + spread) / variance))
}

# sum_g E[u u'] over groups (q x q).
second_moment <- function(q) {
  second <- crossprod(q$mean) + apply(q$cov, 1:2, sum)
  if (!is.null(q$beta)) {
    for (g in seq_len(nrow(q$mean))) {
      K <- matrix(q$gain[, , g], ncol(q$mean))
      second <- second + K %*% q$beta_cov %*% t(K)
    }
  }
  second
}

# Terms without a law have log p(z) = 0; a singular covariance is a law on its range.
expected_log_law <- function(parts, q) {
  if (length(parts$Sigma) == 0) return(0)
  spectrum <- law_spectrum(parts$Sigma)
  m <- nrow(q$mean)
  rotated <- t(spectrum$vectors) %*% second_moment(q) %*% spectrum$vectors
  -0.5 * (m * (sum(log(2 * pi * spectrum$values)) + 2 * spectrum$log_units) +
            sum(diag(rotated) / spectrum$values))
}

# Of the coefficients of curves; those without variance are zero.
expected_log_curves <- function(fit, parts, q) {
  variance <- smooth_variances(fit, parts$smooth)
  variance <- variance[variance > 0]
  last <- length(q$beta) - length(variance) + seq_along(variance)
  square <- q$beta[last]^2 + diag(q$beta_cov)[last]
  sum(-0.5 * (log(2 * pi * variance) + square / variance))
}

law_spectrum <- function(Sigma) {
  spectrum <- covariance_spectrum(Sigma)
  units <- spectrum$units
  keep <- spectrum$values > 1e-14 * max(spectrum$values, 0)
  list(values = spectrum$values[keep], vectors = spectrum$vectors[, keep, drop = FALSE] / units,
       log_units = if (all(keep)) sum(log(units)) else 0)
}

# Of q(u), on its range, in units of Sigma; of q(beta, u) where beta is integrated. Points have
# none.
entropy <- function(fit, q, Sigma) {
  if (method_of(fit) == "joint") return(0)
  m <- nrow(q$mean)
  units <- covariance_units(Sigma)
  value <- 0
  for (g in seq_len(m)) {
    cov <- matrix(q$cov[, , g], ncol(q$mean)) / units / rep(units, each = length(units))
    values <- eigen(cov, symmetric = TRUE, only.values = TRUE)$values
    keep <- values > 1e-14 * max(values, 0)
    value <- value + 0.5 * sum(log(2 * pi * values[keep]) + 1) +
      if (all(keep)) sum(log(units)) else 0
  }
  if (!is.null(q$beta)) {
    value <- value + 0.5 * (length(q$beta) * (log(2 * pi) + 1) +
                              as.numeric(determinant(q$beta_cov)$modulus))
  }
  value
}

# ---- the scales, as the engine moves them --------------------------------------------------

# S and v in place of Sigma and sigma under vb.
scales_of <- function(fit) {
  if (method_of(fit) != "vb") return(theta_parts(fit)[c("Sigma", "smooth", "sigma")])
  list(Sigma = factors_of(fit)$S, smooth = factors_of(fit)$smooth, sigma = factors_of(fit)$root_v)
}

eta_of <- function(fit) {
  if (!is_gaussian(fit)) return(factors_of(fit)$eta)
  check_state(.Call(C_glmm_at, model_of(fit), c(scales_of(fit), list(beta = NULL))))$eta
}

# What the model is at eta, coefficients at their best: objective, its derivatives by eta (score;
# hessian and cross at fixed beta), Sigma, sigma, beta and the exact posterior of the latent
# variables.
at_eta <- function(fit, eta) {
  if (!is_gaussian(fit)) return(check_state(general_vb_at(fit, eta)))
  check_state(.Call(C_glmm_at_eta, model_of(fit), eta))
}

check_state <- function(state) {
  if (state$status == 0L) return(state)
  abort("The objective is not finite near the estimates; rescale the variables to sizes near one.",
        "elbo_error_not_finite")
}
