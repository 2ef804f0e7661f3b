# Informative priors of a mixed model whose parameters are points: marginal (or joint) MAP.
#
#   glmm_map(prior, design, held)         NULL where nothing informative is said, else list(stated, told)
#   log_prior(priors, theta, method)      log p(theta), which logLik() leaves out

glmm_map <- function(prior, design, held) {
  stated <- resolve_priors(prior, held, design$group_name)
  vague <- lengths(stated) == 0 | vapply(stated, function(p) {
    is.null(p) || p$distribution %in% c("flat", "constant")
  }, NA)
  if (all(vague)) return(NULL)
  for (i in which(!vague)) check_map_prior(stated[[i]], held$name[i], held$block[i])
  stated[vague] <- list(NULL)
  names(stated) <- held$name
  of <- function(block, field, otherwise) prior_field(stated[held$block == block], field, otherwise)
  free_beta <- is.na(held_values(held, "beta"))
  n_level <- max(1L, nlevels(design$level))
  scale_priors <- stated[held$block == "sigma"]
  if (design$known_se) scale_priors <- list(NULL)
  told <- list(
    prior_beta_mean = of("beta", "mean", 0)[free_beta],
    prior_beta_sd = of("beta", "sd", Inf)[free_beta],
    prior_df = prior_df(stated[held$block == "sd"]),
    prior_scale = of("sd", "scale", 1),
    prior_sigma_df = prior_df(scale_priors),
    prior_sigma_scale = prior_field(scale_priors, "scale", 1),
    prior_family = c(prior_family(stated[held$block == "sd"]), prior_family(scale_priors)),
    prior_smooth_df = prior_df(stated[held$block == "smooth"]),
    prior_smooth_scale = of("smooth", "scale", 1),
    prior_smooth_family = prior_family(stated[held$block == "smooth"])
  )
  list(stated = stated, default = logical(length(stated)), told = told)
}

prior_field <- function(priors, field, otherwise) {
  unname(vapply(priors, function(p) {
    value <- p$parameters[[field]]
    if (is.null(value)) otherwise else as.double(value)
  }, 0))
}

# Degrees of freedom of a half-t (a half-Cauchy has one), shape of an inverse gamma.
prior_df <- function(priors) {
  shape <- prior_field(priors, "shape", NA)
  df <- prior_field(priors, "df", 1)
  df[!is.na(shape)] <- shape[!is.na(shape)]
  df
}

prior_family <- function(priors) {
  family <- c(half_t = 1L, half_cauchy = 1L, half_normal = 2L, inverse_gamma = 3L)
  unname(vapply(priors, function(p) if (is.null(p)) 0L else family[[p$distribution]], 0L))
}

check_map_prior <- function(prior, name, block) {
  allowed <- switch(block, beta = "normal", cor = character(),
                    c("half_t", "half_cauchy", "half_normal", "inverse_gamma"))
  if (prior$distribution %in% allowed) return()
  remedy <- switch(block,
    beta = "coefficients take normal(), flat() or constant()",
    cor = "correlations take flat() or constant()",
    "standard deviations take half_t(), half_cauchy(), half_normal(), inverse_gamma(), flat() or constant()"
  )
  abort(c(sprintf("The prior %s cannot be used for `%s`:", format(prior), name),
          paste0(remedy, ".")), "elbo_error_prior")
}

# Where coefficients are integrated (reml) their prior is part of the likelihood.
log_prior <- function(priors, theta, method) {
  if (is.null(priors)) return(0)
  integrated <- method == 2L
  sum(vapply(seq_along(priors$stated), function(i) {
    p <- priors$stated[[i]]
    if (is.null(p) || (integrated && p$distribution == "normal")) return(0)
    log_density(p, theta[[i]])
  }, 0))
}

log_density <- function(prior, x) {
  par <- prior$parameters
  half_t <- function(df, scale) log(2) + stats::dt(x / scale, df, log = TRUE) - log(scale)
  switch(prior$distribution,
    normal = stats::dnorm(x, par$mean, par$sd, log = TRUE),
    half_t = half_t(par$df, par$scale),
    half_cauchy = half_t(1, par$scale),
    half_normal = log(2) + stats::dnorm(x, 0, par$scale, log = TRUE),
    inverse_gamma = stats::dgamma(1 / x, par$shape, par$scale, log = TRUE) - 2 * log(x)
  )
}
