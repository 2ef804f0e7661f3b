# Mixtures of regressions: Gaussian, of shares and of counts.

# The way in ------------------------------------------------------------------------------------

regression_families <- c("gaussian", "binomial", "poisson")

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

# The first level of a factor is failure, as in glm().
regression_response <- function(y, spec) {
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

regression_part <- function(design, k, told) {
  common <- design$spec$common_sigma
  if (!is.null(told$sigma_constant) && !common) told$sigma_constant <- rep(told$sigma_constant, k)
  weights <- if (is.null(design$trials)) design$weights else design$trials
  c(list(X = design$X, p = ncol(design$X), y = design$y, weights = weights, offset = design$offset,
         family = match(design$spec$family$family, regression_families) - 1L,
         common_sigma = as.integer(common)), told)
}

regression_parameters <- function(design, k, told) {
  held <- !is.null(told$sigma_constant)
  rbind(
    parameter_rows(colnames(design$X), "beta", seq_len(k)),
    if (design$spec$family$family == "gaussian") {
      if (design$spec$common_sigma) {
        data.frame(name = "sigma", block = "sigma", component = NA_integer_, fixed = held)
      } else {
        parameter_rows("sigma", "sigma", seq_len(k), held)
      }
    }
  )
}

told_regression <- function(priors, blocks) {
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

# The way out -----------------------------------------------------------------------------------

# Of the residuals of each component; of a family without one it is 1.
component_sigma <- function(fit) {
  sigma <- unname(fit$theta[fit$parameters$block == "sigma"])
  if (length(sigma) == 0) sigma <- 1
  stats::setNames(rep_len(sigma, fit$k), component_labels(fit))
}

row_means <- function(fit, coefficients, design) {
  fit$family$linkinv(design$X %*% t(coefficients) + design_offset(design))
}

design_offset <- function(design) if (is.null(design$offset)) 0 else design$offset

row_weights <- function(weights, design) if (is.null(weights)) rep(1, design$n_row) else weights

residual_variances <- function(fit, design) {
  outer(1 / row_weights(design$weights, design), component_sigma(fit)^2)
}

regression_draws <- function(fit, design, component) {
  at <- cbind(seq_along(component), component)
  mean <- component_means(fit, design)[at]
  n <- length(mean)
  switch(fit$family$family,
    gaussian = stats::rnorm(n, mean, sqrt(component_variances(fit, design)[at])),
    binomial = as.double(stats::rbinom(n, row_weights(design$trials, design), mean)),
    poisson = as.double(stats::rpois(n, mean))
  )
}

# Variational Bayes -----------------------------------------------------------------------------

regression_factors <- function(fit) {
  c(coefficient_factors(fit, fit$state$regression), sigma_factors(fit, fit$state$regression))
}

coefficient_factors <- function(fit, state) {
  terms <- colnames(fit$design$X)
  beta <- lapply(seq_len(fit$k), function(j) {
    cov <- matrix(state$cov, length(terms)^2)[, j]
    list(family = "normal", mean = stats::setNames(state$mean[, j], terms),
         cov = matrix(cov, length(terms), dimnames = list(terms, terms)), dimension = length(terms))
  })
  stats::setNames(beta, factor_names("beta", fit))
}

# Counts and shares have none.
sigma_factors <- function(fit, state) {
  if (is.null(state$shape)) return(list())
  names <- if (fit$design$spec$common_sigma) "sigma^2" else factor_names("sigma^2", fit)
  variance_factors(state$shape, state$rate, names)
}

# Inverse gamma; of those held there are none.
variance_factors <- function(shape, rate, names) {
  factors <- Map(function(shape, rate) list(family = "inverse gamma", shape = shape, scale = rate),
                 as.vector(shape), as.vector(rate))
  stats::setNames(factors, names)[is.finite(shape)]
}

regression_pieces <- function(fit) {
  told <- fit$priors$told$regression
  c(lapply(seq_len(fit$k), function(j) {
    columns <- parameter_rows_of(fit, "beta", j)
    normal_piece(columns, j, colnames(fit$design$X), told$beta_mean, told$beta_sd)
  }), sigma_pieces(fit, told))
}
