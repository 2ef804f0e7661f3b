# Priors of a mixed model under variational Bayes: what was stated, else weak defaults on the scale
# of the data.
#
#   glmm_vb(prior, design, held, factorization)   list of stated (the prior of each entry of theta),
#                                                 default (whether it is one), told (what C takes)
#   vb_told(stated, design, held, factorization)  the latter from the former
#   told_factors(factorization)                   what of it says which factors of q are apart
#   improper_parameters(fit)                      names of those under a flat prior

glmm_default_priors <- function(design, held) {
  if (!is.null(design$response)) return(general_default_priors(design, held))
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
  stated <- resolve_priors(prior, held, group_names(design))
  default <- lengths(stated) == 0
  stated[default] <- glmm_default_priors(design, held)[default]
  for (i in seq_along(stated)) check_glmm_prior(stated[[i]], held$name[i], held$block[i])
  names(stated) <- held$name
  check_vb_blocks(design, held)
  check_shared_lkj(design, held, stated)
  stated[held$block == "cor"] <- vb_cor_priors(design, held, stated)
  check_enough_units(design, held, stated)
  list(stated = stated, default = default, block = held$block,
       cor_block = cor_blocks(column_blocks(design)), factorization = factorization,
       told = vb_told(stated, design, held, factorization))
}

vb_told <- function(stated, design, held, factorization) {
  c(told_priors(stated, design, held), told_factors(factorization))
}

told_factors <- function(factorization) {
  list(mean_field = as.integer(factorization != "structured"),
       by_factor = as.integer(factorization == "by_factor"))
}

# Correlations of which nothing is said have the prior that half-t priors of one df give them
# (NULL), else a flat one.
vb_cor_priors <- function(design, held, stated) {
  sds <- stated[held$block == "sd"]
  half_t <- prior_family(sds) == 1L
  df <- prior_df(sds)
  together <- vapply(seq_len(n_blocks(design)), function(b) {
    of <- column_blocks(design) == b
    all(half_t[of]) && length(unique(df[of])) == 1
  }, NA)
  Map(function(prior, b) if (is.null(prior) && !together[b]) distributions$lkj(1) else prior,
      stated[held$block == "cor"], cor_blocks(column_blocks(design)))
}

# Terms that share a covariance matrix are free or held together.
check_vb_blocks <- function(design, held) {
  constant <- !is.na(held_values(held, "sd"))
  for (block in unique(column_blocks(design))) {
    rows <- column_blocks(design) == block
    if (length(unique(c(constant[rows], !is.na(held_cors(held, design, block))))) > 1) {
      abort(c("Method \"vb\" holds all standard deviations and correlations of one ( | ) or none;",
              sprintf("not some of those of `%s`.", group_names(design))), "elbo_error_prior")
    }
  }
}

# Under a flat prior of a standard deviation the posterior is proper from three units on, and of a
# covariance matrix of q terms from q + 2.
check_enough_units <- function(design, held, stated) {
  size <- tabulate(column_blocks(design), n_blocks(design))[column_blocks(design)]
  needed <- list(sd = ifelse(size > 1, size + 2, 3), smooth = 3, sigma = 3)
  units <- list(sd = levels_of_column(design), smooth = smooth_sizes(design$curves),
                sigma = if (design$known_se) integer() else vb_rows(design))
  for (block in names(needed)) {
    rows <- which(held$block == block)
    flat <- prior_family(stated[rows]) == 0L & is.na(held$constant[rows])
    has <- rep_len(units[[block]], length(rows))
    short <- which(flat & has < rep_len(needed[[block]], length(rows)))
    if (length(short) == 0) next
    what <- switch(block, sd = sprintf("levels of `%s`", held$group[rows[short[1]]]),
                   smooth = "coefficients of the curve", "rows")
    abort(c(sprintf("Under the prior flat() of `%s` the posterior is improper with %d %s:",
                    held$name[rows[short[1]]], has[short[1]], what),
            "give it a proper one, as half_t(3, scale)."), "elbo_error_prior")
  }
}

# Parameters whose prior is improper, so that the ELBO has no absolute height.
improper_parameters <- function(fit) {
  stated <- priors_of(fit)$stated
  improper <- vapply(seq_along(stated), function(i) {
    !parameters_of(fit)$fixed[i] && parameters_of(fit)$block[i] != "cor" &&
      identical(stated[[i]]$distribution, "flat")
  }, NA)
  parameters_of(fit)$name[improper]
}

# The held correlations of a block, NA where free.
held_cors <- function(held, design, block) {
  pairs <- covariance_pairs(column_blocks(design))
  held_values(held, "cor")[column_blocks(design)[pairs[, 1]] == block]
}
