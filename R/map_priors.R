# Priors of a mixed model: what C is told of them, and their densities.
#
#   glmm_map(prior, design, held)         of points, that is of a mode: NULL where nothing
#                                         informative is said, else list(stated, default, told)
#   told_priors(stated, design, held)     what C takes, from the prior of each entry of theta
#   log_prior(priors, theta, method)      log p(theta), which logLik() leaves out
#   log_density(prior, x, block)          of one parameter; of correlations see lkj_log_density()

glmm_map <- function(prior, design, held) {
  stated <- resolve_priors(prior, held, group_names(design))
  vague <- lengths(stated) == 0 | vapply(stated, function(p) {
    is.null(p) || p$distribution %in% c("flat", "constant")
  }, NA)
  if (all(vague)) return(NULL)
  for (i in which(!vague)) {
    check_glmm_prior(stated[[i]], held$name[i], held$block[i])
    check_lkj_mode(stated[[i]], held$name[i])
  }
  check_shared_lkj(design, held, stated)
  stated[vague] <- list(NULL)
  names(stated) <- held$name
  list(stated = stated, default = logical(length(stated)), block = held$block,
       cor_block = cor_blocks(column_blocks(design))[law_shape(design)$has_cor],
       told = told_priors(stated, design, held))
}

# A prior that is not there, or flat, has family 0, or of coefficients an infinite sd.
told_priors <- function(stated, design, held) {
  of <- function(block) stated[held$block == block]
  free_beta <- is.na(held_values(held, "beta"))
  sigma <- if (design$known_se) list(NULL) else of("sigma")
  sds <- of("sd")[law_shape(design)$sd] # of each column
  list(
    prior_beta_mean = prior_field(of("beta"), "mean", 0)[free_beta],
    prior_beta_sd = prior_field(of("beta"), "sd", Inf)[free_beta],
    prior_df = prior_df(sds), prior_scale = prior_scale(sds),
    prior_lkj = block_lkj(stated[in_block(held, "cor")], design),
    prior_sigma_df = prior_df(sigma), prior_sigma_scale = prior_scale(sigma),
    prior_family = c(prior_family(sds), prior_family(sigma)),
    prior_smooth_df = prior_df(of("smooth")), prior_smooth_scale = prior_scale(of("smooth")),
    prior_smooth_family = prior_family(of("smooth"))
  )
}

prior_field <- function(priors, field, otherwise) {
  unname(vapply(priors, function(p) {
    value <- p$parameters[[field]]
    if (is.null(value)) otherwise else as.double(value)
  }, 0))
}

# The covariance block of each correlation.
cor_blocks <- function(block) block[covariance_pairs(block)[, 1]]

# eta of the correlations of each covariance block, NA where nothing is said.
block_lkj <- function(priors, design) {
  block <- column_blocks(design)
  of_pair <- cor_blocks(block)[law_shape(design)$has_cor]
  eta <- vapply(priors, function(p) {
    switch(if (is.null(p)) "" else p$distribution, lkj = p$parameters$eta, flat = 1, NA_real_)
  }, 0)
  as.double(eta[match(seq_len(max(0L, block)), of_pair)])
}

# Priors of standard deviations --------------------------------------------------------------------

# As C has them (law/sd_prior.h): family, df and scale. A law about zero is cut there.
sd_law <- function(prior) {
  par <- prior$parameters
  law <- function(family, df, scale) list(family = family, df = df, scale = scale)
  switch(if (is.null(prior)) "flat" else prior$distribution,
    half_t = law(1L, par$df, par$scale),
    half_cauchy = law(1L, 1, par$scale),
    student_t = law(1L, par$df, par$scale),
    cauchy = law(1L, 1, par$scale),
    half_normal = law(2L, 1, par$scale),
    normal = if (par$mean == 0) law(2L, 1, par$sd) else law(5L, par$mean / par$sd, par$sd),
    inverse_gamma = law(3L, par$shape, par$scale),
    exponential = law(4L, 1, 1 / par$rate),
    gamma_precision = law(6L, par$shape, sqrt(par$rate)),
    law(0L, 1, 1)
  )
}

sd_law_field <- function(priors, field) {
  unname(vapply(priors, function(p) as.double(sd_law(p)[[field]]), 0))
}

prior_df <- function(priors) sd_law_field(priors, "df")
prior_scale <- function(priors) sd_law_field(priors, "scale")
prior_family <- function(priors) as.integer(sd_law_field(priors, "family"))

log_density <- function(prior, x, block) {
  if (block == "beta") {
    return(stats::dnorm(x, prior$parameters$mean, prior$parameters$sd, log = TRUE))
  }
  if (block %in% c("cor", "rho")) return(0 * x)
  sd_log_density(sd_law(prior), x)
}

sd_log_density <- function(law, x) {
  df <- law$df
  scale <- law$scale
  switch(law$family + 1L,
    0 * x,
    log(2) + stats::dt(x / scale, df, log = TRUE) - log(scale),
    log(2) + stats::dnorm(x, 0, scale, log = TRUE),
    stats::dgamma(1 / x, df, scale, log = TRUE) - 2 * log(x),
    stats::dexp(x, 1 / scale, log = TRUE),
    stats::dnorm(x, df * scale, scale, log = TRUE) - stats::pnorm(df, log.p = TRUE),
    log(2) + stats::dgamma(1 / x^2, df, scale^2, log = TRUE) - 3 * log(x)
  )
}

# Priors of correlations ---------------------------------------------------------------------------

# log density of a correlation matrix of order q with this log |R| (Lewandowski, Kurowicka and Joe
# 2009, Journal of Multivariate Analysis 100, 1989-2001, equation 16).
lkj_log_density <- function(log_det, q, eta) {
  k <- seq_len(q - 1)
  shape <- eta + (q - k - 1) / 2
  (eta - 1) * log_det - sum((q - k) * ((2 * eta - 2 + q - k) * log(2) + lbeta(shape, shape)))
}

# Where coefficients are integrated (reml) their prior is part of the likelihood.
log_prior <- function(priors, theta, method) {
  if (is.null(priors)) return(0)
  integrated <- method == 2L
  block <- priors$block
  each <- vapply(seq_along(priors$stated), function(i) {
    p <- priors$stated[[i]]
    if (is.null(p) || (integrated && block[i] == "beta")) return(0)
    log_density(p, theta[[i]], block[i])
  }, 0)
  sum(each) + log_prior_cor(priors, theta)
}

log_prior_cor <- function(priors, theta) {
  eta <- priors$told$prior_lkj
  cors <- theta[priors$block %in% c("cor", "rho")]
  sum(vapply(which(!is.na(eta)), function(b) {
    of <- which(priors$cor_block == b)
    q <- (1 + sqrt(1 + 8 * length(of))) / 2
    R <- diag(q)
    pairs <- covariance_pairs(rep(1L, q))
    R[pairs] <- R[pairs[, 2:1, drop = FALSE]] <- cors[of]
    lkj_log_density(as.numeric(determinant(R)$modulus), q, eta[b])
  }, 0))
}

# What may be said ---------------------------------------------------------------------------------

scale_distributions <- c("half_t", "half_cauchy", "half_normal", "exponential", "normal",
                         "student_t", "cauchy", "inverse_gamma", "gamma_precision", "flat")

check_glmm_prior <- function(prior, name, block) {
  if (is.null(prior) || is_constant(prior)) return()
  allowed <- switch(block, beta = c("normal", "flat"), cor = c("lkj", "flat"), rho = , size = ,
                    threshold = "flat", scale_distributions)
  if (!prior$distribution %in% allowed) {
    what <- switch(block, beta = "coefficients take", cor = , rho = "correlations take",
                   size = "sizes take", threshold = "thresholds take", "standard deviations take")
    words <- paste0(c(allowed, "constant"), "()")
    abort(c(sprintf("The prior %s cannot be used for `%s`:", format(prior), name),
            sprintf("%s %s.", what, enumerate(words, length(words)))), "elbo_error_prior")
  }
  location <- prior$parameters$location
  if (!is.null(location) && location != 0) {
    abort(c(sprintf("The prior %s of the standard deviation `%s` must be about zero, where it is",
                    format(prior), name),
            "cut: location 0, or use normal(), which may be about any number."), "elbo_error_prior")
  }
}

# As a density of points lkj(eta) with eta < 1 has no bound at correlations of one.
check_lkj_mode <- function(prior, name) {
  if (prior$distribution != "lkj" || prior$parameters$eta >= 1) return()
  abort(c(sprintf("The prior %s of `%s` has no bound at correlations of one, and so no mode:",
                  format(prior), name), "use lkj() with eta of 1 or more, or method = \"vb\"."),
        "elbo_error_prior")
}

# lkj() is a law of the whole correlation matrix.
check_shared_lkj <- function(design, held, stated) {
  of_pair <- cor_blocks(column_blocks(design))[law_shape(design)$has_cor]
  words <- vapply(stated[in_block(held, "cor")], function(p) if (is.null(p)) "" else format(p), "")
  for (b in unique(of_pair)) {
    if (length(unique(words[of_pair == b])) > 1) {
      abort(c(sprintf("The correlations of one ( | ) share their prior, but have %s.",
                      enumerate(ifelse(nzchar(words), words, "none")[of_pair == b], 5)),
              "State it for all, as by priors(cor = lkj(2))."), "elbo_error_prior")
    }
  }
}
