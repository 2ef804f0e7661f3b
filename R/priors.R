# What the user says about priors, and what it means for each entry of theta().
#
#   priors(...)                       exported; "elbo_priors", a named list of "elbo_prior"
#   resolve_priors(prior, parameters, group_name)
#                                     list: the prior of each row of `parameters` (name, block)
#                                     or NULL where nothing was said
#   constant_values(resolved)         numeric: the constant, NA where there is none
#   covariance_index(parameters, design)
#                                     covariance block of each sd and cor, else NA
#   check_constants(resolved, parameters, covariance)
#                                     refuses what a fit with theta as points cannot hold

#' Priors, and constants
#'
#' States what is known about the parameters of a model before the data are seen, or holds
#' parameters at given values.
#'
#' @param ... Named distributions. A name is, from the general to the specific,
#'   - a block: `beta` (fixed effects), `sd` and `cor` (of the random effects; `sd` of smooth terms
#'     too, `smooth` of these alone), `sigma` (residual); in mixtures also `weight`, `membership`,
#'     `covariance` and `prob`;
#'   - a grouping factor, for all its standard deviations: ``priors(site = constant(1))``;
#'   - a name of [theta()]: ``priors(`sd__(Intercept)|site` = constant(1))``.
#'
#'   The more specific name wins. A name that can be read in two ways is an error.
#'
#'   The distributions are found inside `priors()` only, and mask nothing outside it. Their
#'   arguments may be variables of the caller:
#'   - `normal(mean, sd)`;
#'   - `half_t(df, scale)`, `half_cauchy(scale)`, `half_normal(scale)`, `exponential(rate)`, for
#'     what is positive; there `normal(mean, sd)`, `student_t(df, 0, scale)` and `cauchy(0, scale)`
#'     are cut at zero, as in Stan and brms;
#'   - `inverse_gamma(shape, scale)`, with density proportional to
#'     \eqn{x^{-shape - 1} \exp(-scale / x)}{x^(-shape - 1) exp(-scale / x)};
#'   - `gamma_precision(shape, rate)`, for a standard deviation whose \eqn{1/sd^2}{1 / sd^2} has a
#'     gamma distribution, as in BUGS;
#'   - `inverse_wishart(df, scale)`, for a covariance matrix \eqn{\Sigma} of order d, with density
#'     proportional to \eqn{|\Sigma|^{-(df + d + 1)/2}\exp(-\mathrm{tr}(scale\,\Sigma^{-1})/2)}{
#'     |Sigma|^(-(df + d + 1)/2) exp(-tr(scale Sigma^-1)/2)}; `scale` is a positive number s (for s
#'     times the identity) or a matrix;
#'   - `normal_inverse_wishart(mean, kappa, df, scale)`, the same with means that are normal with
#'     covariance matrix \eqn{\Sigma/kappa}{Sigma / kappa} given \eqn{\Sigma}{Sigma};
#'   - `lkj(eta)` for correlations: a density proportional to \eqn{|R|^{eta - 1}}{|R|^(eta - 1)} of
#'     their matrix, flat for eta of one;
#'   - `dirichlet(alpha)` and `stick_breaking(alpha)` for weights of components;
#'   - `flat()`, no information: uniform over the parameter, for scale parameters over the
#'     standard deviation;
#'   - `constant(value)`, which holds the parameter at `value`.
#'
#' @details
#' Scale parameters are standard deviations everywhere.
#'
#' `constant(Inf)` for the standard deviations of a grouping factor means that its latent
#' variables have no law at all: the limit of `constant(s)` as s grows, as in the model of
#' Neyman and Scott (1948).
#'
#' What is taken, besides `constant()`:
#'   - of mixed models: `normal()` or `flat()` for coefficients; for standard deviations `half_t()`,
#'     `half_cauchy()`, `half_normal()`, `exponential()`, `normal()`, `student_t()` and `cauchy()`
#'     about zero, `inverse_gamma()`, `gamma_precision()` or `flat()`; for the correlations of one
#'     `( | )` together `lkj()` or `flat()`.
#'   - By `"em"`, `"reml"` and `"joint"` the fit is then the mode of the marginal (or joint)
#'     posterior; `constant()` and `flat()` do not turn maximum likelihood into anything else.
#'     `lkj()` has a mode for eta of one or more.
#'   - By `"vb"` half-t priors on all standard deviations of one `( | )` with the same `df`, and
#'     nothing said of its correlations, are the prior of Huang and Wand (2013), in closed form:
#'     each correlation has a density proportional to
#'     \eqn{(1 - \rho^2)^{df/2 - 1}}{(1 - rho^2)^(df/2 - 1)}, flat for two degrees of freedom. Under
#'     any other prior correlations are `lkj(1)` where nothing is said, the standard deviations are
#'     independent of them and of each other, and the degrees of freedom of the inverse Wishart
#'     (or inverse gamma) factor are optimised too. Under a flat prior, which is no distribution,
#'     the ELBO is known up to a constant only, and does not compare with that of another prior or
#'     model; with fewer than three levels (four for two terms) a flat standard deviation has no
#'     posterior and is refused. The terms of one `( | )` are held all or not at all.
#'
#' @section Mixtures:
#' Components have no names before they are fitted, so that a prior of [fit_mixture()] is the same
#' for all of them, and written without the component's number: `x`, not `x|1`.
#'
#' Distributions that `"em"` and `"joint"` take, those that `"vb"` takes, and its default:
#'   - `weight`, the weights: `dirichlet(alpha)` with alpha at least 1, `constant(1/k)`;
#'     by `"vb"` `dirichlet(alpha)`, `stick_breaking(alpha)`, `constant(1/k)`, by default
#'     `dirichlet(1/k)`.
#'   - `membership`, its coefficients: `normal(0, sd)`, by default with sd 10 over the least
#'     standard deviation of a covariate.
#'   - `covariance`, means and covariance matrices, and the numeric variables of `responses()`:
#'     `inverse_wishart(df, scale)`; by `"vb"` also
#'     `normal_inverse_wishart(mean, kappa, df, scale)`, by default with the mean of the data, 0.01,
#'     d + 2 and the covariance of the data over \eqn{3^{2/d}}{3^(2/d)}.
#'   - `beta` or the name of a term, coefficients of regressions: `normal(mean, sd)`; by default as
#'     below.
#'   - `sigma`, residual standard deviations: as above, and by default as below.
#'   - of curves, whose formula has `( | )` terms, the deviations of units: `covariance`, their
#'     covariance matrices, those of several `( | )` and of smooth terms in them alike:
#'     `inverse_wishart(df, scale)`, the scale a number or a matrix of all terms; by `"vb"` by
#'     default with df two more than the terms of the largest `( | )` and a diagonal scale by which
#'     the deviations have a tenth of the variance of the response, in equal parts from each term.
#'     `sd`, or the name of the unit, or of one of them, `sd__TERM` (of a multiple of a matrix
#'     `sd__` and the words of its `( | )`): `constant(value)`, for deviations with a variance of
#'     their own (`random_covariance` `"diagonal"`, `"identity"` or a matrix; a single term).
#'   - `smooth` or `sd__s(x)`, standard deviations of the smooth terms of the components' curves:
#'     `half_t(df, scale)`, `half_cauchy(scale)`, `half_normal(scale)`,
#'     `inverse_gamma(shape, scale)`, `constant(value)`; by `"vb"` the first two and `constant()`,
#'     by default as below; by `"joint"` `constant()` only, since with the curve as a point its
#'     maximum is at zero or unbounded.
#'   - `prob` or the name of a variable, probabilities of categories: `dirichlet(alpha)` with alpha
#'     at least 1; by `"vb"` any, by default 1.
#'
#' The default of `covariance` is that of Fraley and Raftery (2007), with 3 where they have k, so
#' that the ELBOs of different k compare; it is a good choice under `"em"` too, as a remedy against
#' components that collapse. Models that share a covariance matrix have the prior on it once. The
#' linear predictor of binomial and Poisson regressions has s = 1.
#'
#' @section Default priors of method "vb":
#' Variational Bayes needs proper priors. Where none is stated they are weak, and follow the
#' units of the data: with s the standard deviation of the response (less its offset),
#'   - the coefficient of a covariate x is `normal(0, 10 s / sd(x))`; the intercept is
#'     `normal(mean(y), 10 s c)`, where c is the root of one plus the sum of
#'     \eqn{(\mathrm{mean}(x) / \mathrm{sd}(x))^2}{(mean(x) / sd(x))^2}: as uncertain as the
#'     predictor is at zero when it is `normal(mean(y), 10 s)` where the covariates have their
#'     means, so that the origin of a covariate, a year say, does not matter;
#'   - the standard deviation of a random term z is `half_t(3, 2.5 s / r)`, r the root of the
#'     mean square of z: of an intercept `half_t(3, 2.5 s)`; that of a smooth term alike, r the root
#'     of the mean square of a curve with standard deviation one;
#'   - the residual standard deviation is `half_t(3, 2.5 s)`,
#'
#' of responses that are not gaussian s is the standard deviation of the law of the link (logit
#' 1.81, probit 1, cloglog 1.28; 1 under the logarithm), and in place of mean(y) stands the link of
#' the mean response less the mean offset; all numbers rounded to three digits, but mean(y) to a
#' tenth of s or finer, and s taken as 1 for a constant response. `summary()` of
#' the fit prints them, marked as defaults. They take from the data only the order of magnitude;
#' with few groups they matter all the same, so state your own, and see
#' `sensitivity(fit, to = "prior")`.
#' @return A named list of class `elbo_priors`; each element, of class `elbo_prior`, is a list
#'   of `distribution` (a string) and `parameters` (a named list).
#' @references
#' Neyman, J. and Scott, E. L. (1948). Consistent estimates based on partially consistent
#' observations. *Econometrica* 16, 1--32. \doi{10.2307/1914288}
#'
#' Huang, A. and Wand, M. P. (2013). Simple marginally noninformative prior distributions for
#' covariance matrices. *Bayesian Analysis* 8, 439--452. \doi{10.1214/13-BA815}
#'
#' Fraley, C. and Raftery, A. E. (2007). Bayesian regularization for normal mixture estimation and
#' model-based clustering. *Journal of Classification* 24, 155--181.
#' \doi{10.1007/s00357-007-0004-5}
#' @family what a fit is told
#' @examples
#' priors(beta = normal(0, 10), sigma = half_t(3, 2.5), site = constant(1))
#'
#' # The argument of a distribution may be a variable.
#' spread <- 5
#' priors(beta = normal(0, spread))
#' @export
priors <- function(...) {
  expressions <- as.list(substitute(list(...)))[-1]
  names <- names(expressions)
  if (length(expressions) > 0 && (is.null(names) || !all(nzchar(names)))) {
    abort("Every prior needs a name, as in priors(beta = normal(0, 10)).", "elbo_error_prior")
  }
  if (anyDuplicated(names)) {
    abort(sprintf("`%s` is given two priors; keep one.", names[anyDuplicated(names)]),
          "elbo_error_prior")
  }
  caller <- parent.frame()
  entries <- Map(function(expression, name) evaluate_prior(expression, name, caller),
                 expressions, names)
  structure(entries, names = names, class = "elbo_priors")
}

evaluate_prior <- function(expression, name, caller) {
  known <- paste0("The distributions are ", quote_names(names(distributions)), ".")
  prior <- tryCatch(
    eval(expression, distributions, caller),
    error = function(e) {
      if (inherits(e, "elbo_error")) stop(e)
      abort(c(sprintf("The prior of `%s` cannot be evaluated: %s.", name, conditionMessage(e)),
              known), "elbo_error_prior")
    }
  )
  if (!inherits(prior, "elbo_prior")) {
    abort(c(sprintf("The prior of `%s` must be a distribution such as normal(0, 10), not %s.",
                    name, describe_value(prior)), known), "elbo_error_prior")
  }
  prior
}

new_prior <- function(distribution, ...) {
  structure(list(distribution = distribution, parameters = list(...)), class = "elbo_prior")
}

distributions <- list(
  normal = function(mean, sd) {
    new_prior("normal", mean = check_number(mean, "mean"), sd = check_positive(sd, "sd"))
  },
  half_t = function(df, scale) {
    new_prior("half_t", df = check_positive(df, "df"), scale = check_positive(scale, "scale"))
  },
  half_cauchy = function(scale) {
    new_prior("half_cauchy", scale = check_positive(scale, "scale"))
  },
  half_normal = function(scale) {
    new_prior("half_normal", scale = check_positive(scale, "scale"))
  },
  exponential = function(rate) new_prior("exponential", rate = check_positive(rate, "rate")),
  student_t = function(df, location, scale) {
    new_prior("student_t", df = check_positive(df, "df"),
              location = check_number(location, "location"), scale = check_positive(scale, "scale"))
  },
  cauchy = function(location, scale) {
    new_prior("cauchy", location = check_number(location, "location"),
              scale = check_positive(scale, "scale"))
  },
  gamma_precision = function(shape, rate) {
    new_prior("gamma_precision", shape = check_positive(shape, "shape"),
              rate = check_positive(rate, "rate"))
  },
  inverse_gamma = function(shape, scale) {
    new_prior("inverse_gamma", shape = check_positive(shape, "shape"),
              scale = check_positive(scale, "scale"))
  },
  inverse_wishart = function(df, scale) {
    check(is_covariance(as.matrix(scale)), "scale", "a positive number or a covariance matrix",
          scale)
    new_prior("inverse_wishart", df = check_positive(df, "df"), scale = scale)
  },
  normal_inverse_wishart = function(mean, kappa, df, scale) {
    check(is.numeric(mean) && length(mean) > 0 && all(is.finite(mean)), "mean", "finite numbers",
          mean)
    check(is_covariance(as.matrix(scale)), "scale", "a positive number or a covariance matrix",
          scale)
    new_prior("normal_inverse_wishart", mean = mean, kappa = check_positive(kappa, "kappa"),
              df = check_positive(df, "df"), scale = scale)
  },
  lkj = function(eta) new_prior("lkj", eta = check_positive(eta, "eta")),
  dirichlet = function(alpha) {
    check(is.numeric(alpha) && length(alpha) > 0 && all(is.finite(alpha) & alpha > 0),
          "alpha", "positive numbers", alpha)
    new_prior("dirichlet", alpha = alpha)
  },
  stick_breaking = function(alpha) {
    new_prior("stick_breaking", alpha = check_positive(alpha, "alpha"))
  },
  flat = function() new_prior("flat"),
  constant = function(value) {
    check(is.numeric(value) && length(value) == 1 && !is.na(value), "value", "a number", value)
    new_prior("constant", value = value)
  }
)

# Whatever the units of the variables.
is_covariance <- function(x) {
  if (!is.numeric(x) || nrow(x) != ncol(x) || !all(is.finite(x)) || !all(diag(x) > 0)) return(FALSE)
  sd <- sqrt(diag(x))
  x <- unname(x) / outer(sd, sd)
  isSymmetric(x) && all(eigen(x, symmetric = TRUE, only.values = TRUE)$values > 0)
}

#' @export
format.elbo_prior <- function(x, ...) {
  check_dots_empty(...)
  show <- function(value) {
    if (length(value) == 1) return(format(value, decimal.mark = "."))
    if (is.matrix(value) && nrow(value) > 2) {
      return(sprintf("%d x %d matrix", nrow(value), ncol(value)))
    }
    paste0("c(", toString(format(value, decimal.mark = ".")), ")")
  }
  sprintf("%s(%s)", x$distribution, paste(vapply(x$parameters, show, ""), collapse = ", "))
}

#' @export
format.elbo_priors <- function(x, ...) {
  check_dots_empty(...)
  vapply(unclass(x), format, "")
}

#' @export
print.elbo_prior <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  cat(format(x), "\n", sep = "")
  invisible(x)
}

#' @export
print.elbo_priors <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  cat(if (length(x) == 0) "No priors\n", sprintf("%s = %s\n", names(x), format(x)), sep = "")
  invisible(x)
}

# The prior of each parameter -----------------------------------------------------------------

prior_blocks <- c("beta", "sd", "cor", "rho", "smooth", "sigma", "weight", "membership",
                  "covariance",
                  "prob")

# `parameters` has a row for each entry of theta, with its name and block. The answer has an
# "elbo_prior" for each row, or NULL where nothing was said. Blocks are applied first, so that
# groups, and then single names, override them.
resolve_priors <- function(prior, parameters, group_name = NULL) {
  if (!is.null(prior) && !inherits(prior, "elbo_priors")) {
    abort(sprintf("`prior` must be made by priors(), or be NULL, not %s.",
                  describe_value(prior)), "elbo_error_prior")
  }
  readings <- lapply(names(prior), read_prior_name, parameters, group_name)
  resolved <- vector("list", nrow(parameters))
  for (level in c("block", "group", "name")) {
    for (i in seq_along(prior)) {
      if (readings[[i]]$level == level) resolved[readings[[i]]$rows] <- list(prior[[i]])
    }
  }
  resolved
}

# How a name is meant, and the rows of `parameters` it speaks of.
read_prior_name <- function(name, parameters, group_name) {
  rows <- list(
    block = which(parameters$block == name | (name == "sd" & parameters$block == "smooth")),
    group = if (name %in% group_name) {
      of_group <- if (length(group_name) > 1) parameters$group %in% name else TRUE
      which(parameters$block == "sd" & of_group)
    },
    name = which(parameters$name == name)
  )
  rows <- rows[lengths(rows) > 0]
  if (length(rows) == 0) abort_unknown_prior(name, parameters, group_name)
  if (length(unique(rows)) > 1) {
    words <- c(block = "a block of parameters", group = "the grouping factor",
               name = "a single parameter")
    abort(c(sprintf("In `prior`, `%s` can mean %s.", name,
                    paste(words[names(rows)], collapse = " or ")),
            "Use the names of theta() for standard deviations, or rename the variable."),
          "elbo_error_prior")
  }
  list(level = names(rows)[length(rows)], rows = rows[[1]])
}

abort_unknown_prior <- function(name, parameters, group_name) {
  valid <- unique(c(parameters$block, group_name, parameters$name))
  what <- if (name %in% prior_blocks) "no such parameters" else "no parameter of that name"
  abort(sprintf("`prior` speaks of `%s`, but this model has %s. Valid names are %s.",
                name, what, quote_names(valid)), "elbo_error_prior")
}

# Without those of columns that were dropped from the design.
without_priors <- function(prior, names) {
  if (is.null(prior)) return(NULL)
  structure(unclass(prior)[setdiff(names(prior), names)], class = class(prior))
}

constant_values <- function(resolved) {
  value <- function(prior) if (is_constant(prior)) prior$parameters$value else NA
  as.numeric(vapply(resolved, value, 0))
}

is_constant <- function(prior) identical(prior$distribution, "constant")

# The covariance block of each sd and correlation.
covariance_index <- function(parameters, design) {
  shape <- law_shape(design)
  index <- rep(NA_integer_, nrow(parameters))
  index[parameters$block == "sd"] <- column_blocks(design)[shape$has_sd]
  index[in_block(parameters, "cor")] <- cor_blocks(column_blocks(design))[shape$has_cor]
  index
}

# What methods with theta as points can hold fixed, and that nothing else was asked for.
check_constants <- function(resolved, parameters, covariance) {
  for (i in which(lengths(resolved) > 0)) {
    if (is_constant(resolved[[i]])) {
      check_constant(resolved[[i]]$parameters$value, parameters$name[i], parameters$block[i])
    }
  }
  check_lawless_blocks(constant_values(resolved), parameters, covariance)
  check_constant_cors(constant_values(resolved), parameters, covariance)
}

check_constant <- function(value, name, block) {
  allowed <- switch(block,
    beta = is.finite(value),
    sd = value > 0,
    smooth = value > 0 && is.finite(value),
    cor = , rho = abs(value) < 1,
    sigma = value > 0 && is.finite(value),
    TRUE
  )
  if (allowed) return()
  what <- c(beta = "a finite number", sd = "a positive number, or Inf for no law",
            smooth = "a positive finite number", cor = "a number between -1 and 1",
            rho = "a number between -1 and 1",
            sigma = "a positive finite number")
  remedy <- if (block == "sd" && value == 0) {
    "To have no such effect, drop it in `formula`."
  } else if (block == "smooth" && value == 0) {
    "For a straight line write the variable without s()."
  } else if (block == "smooth" && is.infinite(value)) {
    "A curve without a penalty is ns(x, df), with ns() of package splines."
  }
  abort(c(sprintf("`%s` can be held at %s, not at %s.", name, what[[block]],
                  describe_value(value)), remedy), "elbo_error_prior")
}

# No law for some terms of a block and a law for others is not a limit of covariance matrices.
check_lawless_blocks <- function(constants, parameters, covariance) {
  sds <- parameters$block == "sd"
  lawless <- is.infinite(constants) & sds
  partly <- intersect(covariance[lawless], covariance[sds & !lawless])
  if (length(partly) == 0) return()
  rest <- parameters$name[sds & !lawless & covariance %in% partly]
  abort(c("constant(Inf) must hold for every term of one ( | ),",
          sprintf("but not for %s; write `||` to keep the terms apart.", quote_names(rest))),
        "elbo_error_prior")
}

check_constant_cors <- function(constants, parameters, covariance) {
  cors <- in_block(parameters, "cor")
  held <- cors & !is.na(constants)
  size <- tabulate(covariance[cors])
  large <- held & size[covariance] > 1
  if (any(large)) {
    abort(c(sprintf("`%s` can be held only where two terms share a ( | ).",
                    parameters$name[large][1]),
            "For uncorrelated terms write `||`."), "elbo_error_prior")
  }
}
