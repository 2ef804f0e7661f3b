# Priors of a mixed model under variational Bayes: what was stated, else weak defaults on the scale
# of the data.
#
#   glmm_vb(prior, design, held, factorization)   list of stated (the prior of each entry of theta),
#                                                 default (whether it is one), told (what C takes)

glmm_default_priors <- function(design, held) {
  y <- design$y - design$offset
  unit <- default_unit(y)
  extents <- unname(sqrt(colMeans(design$Z^2))) # of what a term with sd one gives the rows
  count <- function(block) sum(held$block == block)
  c(default_coefficients(design$X, mean(y), unit),
    lapply(unit / extents, default_sd),
    vector("list", count("cor")),
    lapply(unname(unit / curve_extents(design)), default_sd),
    rep(list(default_sd(unit)), count("sigma")))
}

glmm_vb <- function(prior, design, held, factorization) {
  stated <- resolve_priors(prior, held, design$group_name)
  default <- lengths(stated) == 0
  stated[default] <- glmm_default_priors(design, held)[default]
  for (i in seq_along(stated)) check_vb_prior(stated[[i]], held$name[i], held$block[i])
  names(stated) <- held$name
  check_vb_blocks(design, held, stated)
  of <- function(block, field, otherwise) prior_field(stated[held$block == block], field, otherwise)
  free_beta <- is.na(held_values(held, "beta"))
  df <- of("sd", "df", 1) # a half-Cauchy is a half-t with one degree of freedom
  told <- list(
    prior_beta_mean = of("beta", "mean", 0)[free_beta],
    prior_beta_sd = of("beta", "sd", 1)[free_beta],
    prior_df = df[match(unique(design$block), design$block)],
    prior_scale = of("sd", "scale", 1),
    prior_sigma_df = if (design$known_se) 1 else of("sigma", "df", 1),
    prior_sigma_scale = if (design$known_se) 1 else of("sigma", "scale", 1),
    prior_family = NULL,
    prior_smooth_df = of("smooth", "df", 1),
    prior_smooth_scale = of("smooth", "scale", 1),
    prior_smooth_family = NULL,
    mean_field = as.integer(factorization == "mean_field")
  )
  list(stated = stated, default = default, told = told)
}

check_vb_prior <- function(prior, name, block) {
  if (is.null(prior) || is_constant(prior)) return()
  allowed <- switch(block, beta = "normal", cor = character(), c("half_t", "half_cauchy"))
  if (prior$distribution %in% allowed) return()
  remedy <- switch(block,
    beta = "coefficients take normal(), which may be as wide as you like, or constant()",
    cor = "correlations get theirs from the half-t priors of the sds (Huang and Wand 2013)",
    "standard deviations take half_t(), half_cauchy() or constant()"
  )
  abort(c(sprintf("The prior %s of `%s` is not one that method \"vb\" can update in closed form:",
                  format(prior), name), paste0(remedy, ".")), "elbo_error_prior")
}

# Terms that share a covariance matrix share their degrees of freedom, and are free or held
# together.
check_vb_blocks <- function(design, held, stated) {
  sds <- which(held$block == "sd")
  constant <- !is.na(held$constant[sds])
  df <- vapply(stated[sds], function(p) {
    if (is.null(p$parameters$df)) 1 else p$parameters$df
  }, 0)
  for (block in unique(design$block)) {
    rows <- design$block == block
    if (length(unique(c(constant[rows], !is.na(held_cors(held, design, block))))) > 1) {
      abort(c("Method \"vb\" holds all standard deviations and correlations of one ( | ) or none;",
              sprintf("not some of those of `%s`.", design$group_name)), "elbo_error_prior")
    }
    if (!constant[rows][1] && length(unique(df[rows])) > 1) {
      abort(c("The half-t priors of one ( | ) must have the same degrees of freedom, not",
              paste0(toString(unique(df[rows])), ".")), "elbo_error_prior")
    }
  }
}

# The held correlations of a block, NA where free.
held_cors <- function(held, design, block) {
  pairs <- covariance_pairs(design$block)
  held_values(held, "cor")[design$block[pairs[, 1]] == block]
}
