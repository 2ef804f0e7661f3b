# Mixtures of regressions: Gaussian, of shares and of counts.

mixture_laws$regression <- function() {
  new_mixture_law(
    part = "regression", claims = claims_regression, by_row = TRUE,
    families = c(gaussian = "identity", binomial = "logit", poisson = "log"),
    has_sigma = has_residual, check_response = check_regression_response,
    response_rows = regression_rows, silent_rows = trials_silent, check_design = check_regression,
    distinct = function(design) cbind(design$X, design$y, design$trials, design$offset),
    model = regression_part, parameters = regression_parameters, slots = regression_slots,
    told = told_regression, defaults = default_regression, collapse_words = collapse_of_residuals,
    collapse_prior = regression_prior_text, collapse_sharing = shared_sigma,
    features = function(design) cbind(design$X, working_response(design)),
    start_makers = function() scaled_makers(seeds = 4, few_units = 5, random = 8),
    least_variances = residual_least, n_terms = function(part) part$p,
    components = regression_components, means = regression_means,
    variances = regression_variances, observed = observed_shares, draw = draw_regression,
    drawn = drawn_shares, limit_theta = limit_regression, theta_fields = regression_fields,
    point_fields = regression_points, renamed = regression_renamed, notes = limit_sentences,
    pictures = function(fit) list(regression = picture(plot_regression)),
    factors = regression_factors, pieces = regression_pieces
  )
}
# The way in ------------------------------------------------------------------------------------

regression_families <- c("gaussian", "binomial", "poisson")

claims_regression <- function(parsed, family, weighted) {
  length(parsed$bars) == 0 && family$family %in% regression_families &&
    !claims_normal(parsed, family, weighted)
}

check_regression_response <- function(frame, spec) {
  y <- frame[[1]]
  switch(spec$family$family,
    gaussian = check_gaussian_response(y, spec),
    binomial = check_binomial_response(y, spec, frame),
    poisson = check_one_count(y, deparse_line(spec$lhs), frame)
  )
}

check_gaussian_response <- function(y, spec) {
  if (is_numeric_vector(y)) return()
  name <- deparse_line(spec$lhs)
  if (is.matrix(y) || is.data.frame(y)) {
    abort(c(sprintf("The response `%s` has %d columns:", name, ncol(y)),
            "several responses have neither covariates, nor offsets, nor precision weights here.",
            "Write ~ 1, or fit one response; copies of a row are counted by `freq`."),
          "elbo_error_data")
  }
  abort(sprintf("The response `%s` must be numeric, not %s.", name, describe_value(y)),
        "elbo_error_data")
}

check_binomial_response <- function(y, spec, frame) {
  name <- deparse_line(spec$lhs)
  check_no_weights(frame, "a binomial regression",
                   "Give several trials as cbind(successes, failures), and")
  if (is.matrix(y)) {
    if (ncol(y) == 2) return(check_counts(y, name, frame))
    abort(sprintf("The response `%s` must be cbind(successes, failures), not %d columns.", name,
                  ncol(y)), "elbo_error_data")
  }
  if (is.logical(y)) return()
  if (is.character(y) || is.factor(y)) {
    found <- unique(y[!is.na(y)])
    if (length(found) == 2) return()
    abort(sprintf("The response `%s` must have two levels, not %d.", name, length(found)),
          "elbo_error_data")
  }
  wrong <- if (is_numeric_vector(y)) which(!is.na(y) & y != 0 & y != 1)
  if (is.null(wrong) || length(wrong) > 0) {
    abort(c(sprintf("The response `%s` of a binomial regression must be 0 or 1, logical,", name),
            "a factor of two levels, or cbind(successes, failures);",
            if (is.null(wrong)) sprintf("not %s.", describe_value(y))
            else sprintf("not %s, as in %s.", format(y[wrong[1]]), frame_rows(frame, wrong))),
          "elbo_error_data")
  }
}

check_no_weights <- function(frame, what, trials = "Give") {
  if (is.null(frame[["(weights)"]])) return()
  abort(c(sprintf("`weights` are precision weights, which %s does not have.", what), trials,
          "copies of a row as `freq`."), "elbo_error_argument")
}

check_one_count <- function(y, name, frame) {
  check_no_weights(frame, "a Poisson regression")
  if (is.matrix(y) || is.data.frame(y)) {
    abort(c(sprintf("The response `%s` has %d columns, but counts by family = poisson() are one.",
                    name, ncol(y)), "Fit each by itself."), "elbo_error_data")
  }
  check_counts(y, name, frame)
}

check_counts <- function(y, name, frame) {
  if (!is.numeric(y)) {
    abort(sprintf("The response `%s` must be counts, not %s.", name, describe_value(y)),
          "elbo_error_data")
  }
  y <- as.matrix(y)
  wrong <- which(rowSums(!is.na(y) & (y < 0 | y != floor(y))) > 0)
  if (length(wrong) == 0) return()
  abort(c(sprintf("The response `%s` must be counts 0, 1, 2, ...: see %s.", name,
                  frame_rows(frame, wrong))), "elbo_error_data")
}

trials_silent <- function(responses, spec) {
  no_trials <- spec$family$family == "binomial" && is.matrix(responses[[1]])
  list(`with no trials` = if (no_trials) which(rowSums(responses[[1]]) == 0))
}

# The first level of a factor is failure, as in glm().
regression_rows <- function(responses, spec) {
  y <- responses[[1]]
  if (spec$family$family != "binomial") return(list(y = as.double(y)))
  if (is.matrix(y)) return(list(y = as.double(y[, 1]), trials = as.double(y[, 1] + y[, 2])))
  list(y = if (is.factor(y)) as.integer(y) - 1 else as.double(y))
}

check_regression <- function(design) {
  y <- design$y
  if (ncol(design$X) == 0) {
    abort("`formula` has no coefficients; write y ~ 1 for a mean of each component.",
          "elbo_error_formula")
  }
  share <- if (is.null(design$trials)) y else y / design$trials
  constant <- is_constant_column(share)
  boundary <- switch(design$spec$family$family, gaussian = TRUE, binomial = share[1] %in% 0:1,
                     poisson = y[1] == 0)
  if (constant && boundary) {
    abort(c(sprintf("The response `%s` is %s in all rows: there is nothing to fit.",
                    deparse_line(design$spec$lhs), format(share[1]))), "elbo_error_data")
  }
  n <- ncol(straight_columns(design))
  if (design$n_row > n) return()
  abort(sprintf("There are no more rows (%d) than coefficients of one component (%d).",
                design$n_row, n), "elbo_error_data")
}

regression_part <- function(design, k, covariance, told) {
  common <- design$spec$common_sigma
  if (!is.null(told$sigma_constant) && !common) told$sigma_constant <- rep(told$sigma_constant, k)
  weights <- if (is.null(design$trials)) design$weights else design$trials
  c(list(X = design$X, p = ncol(design$X), y = design$y, weights = weights, offset = design$offset,
         family = match(design$spec$family$family, regression_families) - 1L,
         common_sigma = as.integer(common)), told)
}

regression_parameters <- function(design, k, covariance, told) {
  held <- !is.null(told$sigma_constant)
  rbind(
    of_components(parameter_rows("beta", colnames(design$X)), seq_len(k)),
    if (design$spec$family$family == "gaussian") {
      shared_rows(parameter_rows("sigma", fixed = held), k, design$spec$common_sigma)
    }
  )
}

regression_slots <- function(design) {
  sigma <- if (has_residual(design$spec$family)) "sigma"
  data.frame(name = c(colnames(design$X), sigma), block = c(rep("beta", ncol(design$X)), sigma))
}

has_residual <- function(family) family$family == "gaussian"

told_regression <- function(priors, blocks, ...) {
  beta <- priors[blocks == "beta"]
  sigma <- priors[blocks == "sigma"]
  beta[vapply(beta, is_flat, NA)] <- list(NULL)
  said <- any(lengths(beta) > 0)
  held <- length(sigma) > 0 && is_constant(sigma[[1]])
  if (held) check_constant(sigma[[1]]$parameters$value, "sigma", "sigma")
  law <- if (length(sigma) == 0 || held || is_flat(sigma[[1]])) list(NULL) else sigma
  list(sigma_constant = if (held) as.double(sigma[[1]]$parameters$value),
       beta_mean = if (said) prior_field(beta, "mean", 0),
       beta_sd = if (said) prior_field(beta, "sd", Inf),
       sigma_family = prior_family(law), sigma_df = prior_df(law),
       sigma_scale = prior_field(law, "scale", 1))
}

# On the scale of the linear predictor: binomial and Poisson responses have unit one.
default_regression <- function(design) {
  family <- design$spec$family
  y <- design$y / if (is.null(design$trials)) 1 else design$trials
  gaussian <- family$family == "gaussian"
  unit <- if (gaussian) default_unit(y) else 1
  offset <- if (is.null(design$offset)) 0 else mean(design$offset)
  c(default_coefficients(design$X, family$linkfun(mean(y)) - offset, unit),
    if (gaussian) list(default_sd(unit)))
}

# The response on the scale of the linear predictor.
working_response <- function(design) {
  y <- switch(design$spec$family$family,
    gaussian = design$y,
    binomial = {
      trials <- if (is.null(design$trials)) 1 else design$trials
      stats::qlogis((design$y + 0.5) / (trials + 1))
    },
    poisson = log(design$y + 0.5)
  )
  if (is.null(design$offset)) y else y - design$offset
}

# Least squares on just enough random units for each component; every unit to the nearest line.
elemental_labels <- function(design, k) {
  y <- working_response(design)
  unit <- unit_of_row(design)
  each <- min(design$n_unit %/% k, ceiling((ncol(design$X) + 1) * design$n_unit / design$n_row))
  if (each == 0) return(NULL)
  drawn <- matrix(sample.int(design$n_unit, k * each), ncol = k)
  squares <- apply(drawn, 2, function(units) {
    rows <- which(unit %in% units)
    beta <- qr.coef(qr(design$X[rows, , drop = FALSE]), y[rows])
    beta[is.na(beta)] <- 0
    drop(rowsum((y - drop(design$X %*% beta))^2, unit, reorder = FALSE))
  })
  max.col(-squares, "first")
}

# A regression may fit many rows, to all the digits that the response has.
collapse_of_residuals <- paste("onto rows, few or many, that it fits without error, so that its",
                               "variance goes to zero and the likelihood to infinity.")

regression_prior_text <- function(design, k) {
  if (!has_residual(design$spec$family)) return("priors(beta = normal(0, 5))")
  sprintf("priors(sigma = inverse_gamma(1, %s))", format(signif(stats::sd(design$y) / k, 2)))
}

residual_least <- function(part, state) {
  free <- !is.null(state$sigma) && is.null(part$sigma_constant)
  if (!free || part$sigma_family != 0L) return(1)
  as.vector(state$sigma / column_sds(cbind(part$y)))^2
}

shared_sigma <- function(design, covariance) {
  if (has_residual(design$spec$family) && !design$spec$common_sigma) "sigma = ~ 1; " else ""
}

# Without covariates it is a normal mixture, whose variances have other words.
regression_renamed <- function(object, call, kind) {
  spec <- design_of(object)$spec
  kept <- identical(call$sigma, call_of(object)$sigma)
  if (!has_residual(spec$family) || kind() != "normal" || !kept) return(call)
  same <- if (spec$common_sigma || n_components(object) == 1) "E" else "V"
  if (is.null(call$covariance)) call$covariance <- same
  call$sigma <- NULL
  call
}

regression_fields <- function(fit, fields) {
  fields$coefficients <- t(finite_coefficients(fit))
  if (is.null(fields$boundary)) fields$boundary <- 0 * fields$coefficients
  sigma <- theta(fit)[parameters_of(fit)$block == "sigma"]
  if (length(sigma) > 0) fields$sigma <- unname(sigma)
  fields
}

# The way out -----------------------------------------------------------------------------------

regression_components <- function(fit) {
  list(coefficients = component_values(fit, "beta"), covariance = component_covariances(fit),
       sigma = component_sigma(fit))
}

# Of the residuals of each component; of a family without one it is 1.
component_sigma <- function(fit) {
  sigma <- unname(theta(fit)[parameters_of(fit)$block == "sigma"])
  if (length(sigma) == 0) sigma <- 1
  stats::setNames(rep_len(sigma, n_components(fit)), component_labels(fit))
}

row_means <- function(fit, coefficients, design) {
  family(fit)$linkinv(design$X %*% t(coefficients) + design_offset(design))
}

design_offset <- function(design) if (is.null(design$offset)) 0 else design$offset

row_weights <- function(weights, design) if (is.null(weights)) rep(1, design$n_row) else weights

residual_variances <- function(fit, design) {
  outer(1 / row_weights(design$weights, design), component_sigma(fit)^2)
}

regression_means <- function(fit, design) {
  snap_means(fit, row_means(fit, finite_coefficients(fit), design))
}

regression_variances <- function(fit, design) {
  mean <- component_means(fit, design)
  switch(family(fit)$family,
    gaussian = residual_variances(fit, design),
    binomial = mean * (1 - mean) / row_weights(design$trials, design),
    poisson = mean
  )
}

observed_shares <- function(fit) {
  cbind(design_of(fit)$y / row_weights(design_of(fit)$trials, design_of(fit)))
}

draw_regression <- function(fit, design, component) {
  replace(design, "y", list(regression_draws(fit, design, component[unit_of_row(design)])))
}

drawn_shares <- function(design, pad) {
  if (is.null(design$trials)) return(pad(design$y))
  pad(cbind(successes = design$y, failures = design$trials - design$y))
}

regression_draws <- function(fit, design, component) {
  at <- cbind(seq_along(component), component)
  mean <- component_means(fit, design)[at]
  n <- length(mean)
  switch(family(fit)$family,
    gaussian = stats::rnorm(n, mean, sqrt(component_variances(fit, design)[at])),
    binomial = as.double(stats::rbinom(n, row_weights(design$trials, design), mean)),
    poisson = as.double(stats::rpois(n, mean))
  )
}

# Variational Bayes -----------------------------------------------------------------------------

regression_factors <- function(fit) {
  c(coefficient_factors(fit, state_of(fit)$regression),
    sigma_factors(fit, state_of(fit)$regression))
}

# Covariances under q of what these are of; b of smooth terms, which comes after beta, is latent.
regression_blocks <- function(fit, state) {
  factors <- coefficient_factors(fit, state)
  beta <- lapply(seq_along(factors), function(j) {
    rows <- which_parameters(fit, "beta", component = j)
    list(rows = rows, cov = factors[[j]]$cov[seq_along(rows), seq_along(rows)])
  })
  c(beta, variance_blocks(which_parameters(fit, "sigma"), state$shape, state$rate))
}

coefficient_factors <- function(fit, state) {
  terms <- colnames(design_of(fit)$X)
  beta <- lapply(seq_len(n_components(fit)), function(j) {
    cov <- matrix(state$cov, length(terms)^2)[, j]
    list(family = "normal", mean = stats::setNames(state$mean[, j], terms),
         cov = matrix(cov, length(terms), dimnames = list(terms, terms)), dimension = length(terms))
  })
  factors_by_component(beta, "beta", seq_along(beta))
}

# Counts and shares have none.
sigma_factors <- function(fit, state) {
  if (is.null(state$shape)) return(list())
  component <- if (design_of(fit)$spec$common_sigma) NA_integer_ else seq_len(n_components(fit))
  variance_factors(state$shape, state$rate, "sigma^2", component)
}

# Inverse gamma; of those held there are none.
variance_factors <- function(shape, rate, stem, component) {
  factors <- Map(function(shape, rate) list(family = "inverse gamma", shape = shape, scale = rate),
                 as.vector(shape), as.vector(rate))
  factors_by_component(factors, stem, component)[is.finite(shape)]
}

# Of the sds in these rows of theta, whose variances are inverse gamma; those held have no law.
variance_blocks <- function(rows, shape, rate) {
  known <- which(is.finite(as.vector(shape)))
  lapply(known, function(i) {
    list(rows = rows[i], cov = inverse_gamma_sd_variance(as.vector(shape)[i], as.vector(rate)[i]))
  })
}

regression_pieces <- function(fit) {
  told <- priors_of(fit)$told$regression
  c(lapply(seq_len(n_components(fit)), function(j) {
    columns <- which_parameters(fit, "beta", component = j)
    normal_piece(columns, j, colnames(design_of(fit)$X), told$beta_mean, told$beta_sd)
  }), sigma_pieces(fit, told))
}

regression_points <- function(fit, theta) {
  beta <- block_columns(fit, theta, "beta")
  list(coefficients = beta, boundary = 0 * beta, sigma = block_columns(fit, theta, "sigma"))
}
