#' Intervals for all parameters
#'
#' A row for each parameter of [theta()] that is free: the fixed effects, and below them standard
#' deviations, correlations and sigma. Beside `coef(fit)` belong the rows of the fixed effects
#' alone, `cbind(coef(fit), confint(fit, "beta_"))`; a whole table is `tidy(fit, conf.int = TRUE)`.
#'
#' @param object A fit.
#' @param parm Names or numbers of entries of [theta()]; `NULL` for all that are free, `"beta_"` for
#'   the fixed effects, `"theta_"` for the others, as in lme4.
#' @param level Confidence level, between 0 and 1.
#' @param type `"wald"`: fixed effects by Satterthwaite's t, standard deviations on the log scale
#'   and correlations on Fisher's z scale, so that none leaves its range; `NA` for a parameter on
#'   the boundary, where only the other types have an answer. `"profile"`: all values that a
#'   likelihood ratio test does not reject, everything else at its best: under `"em"` by the
#'   marginal likelihood, under `"reml"` by the restricted one, which has no fixed effects to
#'   profile, so that theirs are Satterthwaite's t again. `"bootstrap"`: percentiles of
#'   [bootstrap()].
#' @param nsim,seed For the bootstrap.
#' @param ... Nothing further; see [elbo_fit-methods] for what may stand here.
#' @param method,boot.type lme4's words: `"Wald"`, `"profile"` or `"boot"` for `type`, and `"perc"`,
#' the
#'   only kind of bootstrap interval.
#' @return A matrix, a row a parameter, with columns named like `2.5 %` and `97.5 %`. An interval
#' that
#'   leaves out its own estimate, or has no width, or could not be found, comes with a warning of
#'   class `elbo_warning_interval`.
#' @section Coverage:
#' Share (%) of 1,000 simulated data sets in which the nominal 90 % interval held the truth, under
#' em / reml, by number of groups; random intercepts, or random slopes besides, 10 rows
#' a group, as in `bench/coverage_glmm.R`. The error of simulation is 1. A Wald interval is
#' undefined on the boundary and then counts as a miss. "between" has a covariate w that is constant
#' within groups, and the sd between them that is named; with .3 it is often estimated at zero (500
#' data sets, error 1.3).
#'
#' | model, type | parameter | 5 | 7 | 10 | 30 | 100 |
#' |---|---|---|---|---|---|---|
#' | intercepts, wald | intercept | 86 / 89 | 87 / 89 | 87 / 90 | 89 / 89 | 91 / 91 |
#' | intercepts, wald | coefficient of x | 90 / 90 | 88 / 88 | 90 / 90 | 89 / 90 | 89 / 89 |
#' | intercepts, wald | sd (Intercept) | 87 / 95 | 84 / 90 | 86 / 90 | 87 / 89 | 88 / 89 |
#' | intercepts, wald | sigma | 88 / 89 | 90 / 90 | 90 / 90 | 92 / 92 | 91 / 91 |
#' | intercepts, profile | intercept | 83 / 89 | 85 / 89 | 86 / 90 | 88 / 89 | 91 / 91 |
#' | intercepts, profile | coefficient of x | 90 / 90 | 88 / 88 | 90 / 90 | 89 / 90 | 89 / 89 |
#' | intercepts, profile | sd (Intercept) | 83 / 89 | 84 / 88 | 87 / 90 | 88 / 89 | 88 / 89 |
#' | intercepts, profile | sigma | 89 / 90 | 90 / 90 | 90 / 90 | 92 / 92 | 91 / 91 |
#' | slopes, wald | intercept | 85 / 90 | 88 / 91 | 89 / 90 | 90 / 90 | 89 / 89 |
#' | slopes, wald | coefficient of x | 85 / 90 | 87 / 90 | 88 / 90 | 90 / 91 | 91 / 91 |
#' | slopes, wald | sd (Intercept) | 89 / 95 | 88 / 92 | 85 / 89 | 88 / 90 | 91 / 91 |
#' | slopes, wald | sd x | 98 / 98 | 98 / 97 | 97 / 96 | 94 / 94 | 90 / 90 |
#' | slopes, wald | sigma | 88 / 88 | 89 / 90 | 88 / 88 | 89 / 89 | 89 / 89 |
#' | slopes, profile | intercept | 83 / 90 | 86 / 91 | 88 / 90 | 90 / 90 | 89 / 89 |
#' | slopes, profile | coefficient of x | 85 / 90 | 86 / 90 | 87 / 90 | 90 / 91 | 91 / 91 |
#' | slopes, profile | sd (Intercept) | 82 / 86 | 88 / 90 | 86 / 89 | 88 / 89 | 90 / 90 |
#' | slopes, profile | sd x | 88 / 94 | 86 / 89 | 87 / 90 | 90 / 90 | 89 / 90 |
#' | slopes, profile | sigma | 88 / 88 | 90 / 90 | 88 / 88 | 89 / 89 | 90 / 90 |
#' | between, sd 1, wald | intercept | 80 / 92 |  | 85 / 90 | 90 / 90 |  |
#' | between, sd 1, wald | coefficient of w | 79 / 92 |  | 85 / 91 | 88 / 89 |  |
#' | between, sd 1, wald | sd (Intercept) | 78 / 96 |  | 79 / 91 | 89 / 90 |  |
#' | between, sd 1, profile | sd (Intercept) | 69 / 90 |  | 81 / 91 | 89 / 90 |  |
#' | between, sd .3, wald | intercept | 91 / 95 |  | 91 / 93 | 88 / 89 |  |
#' | between, sd .3, wald | coefficient of w | 92 / 96 |  | 89 / 92 | 87 / 88 |  |
#' | between, sd .3, wald | sd (Intercept) | 40 / 62 |  | 69 / 77 | 93 / 94 |  |
#' | between, sd .3, profile | sd (Intercept) | 83 / 97 |  | 81 / 91 | 89 / 90 |  |
#'
#' Of method "vb", under its default priors, by linear response and (in brackets) by what q itself
#' says of the variance (`type = "mean_field"` of [vcov()][vcov.elbo_fit]), from
#' `bench/coverage_vb.R`, on the same data. With few groups its t intervals for fixed effects
#' are too long rather than too short; the package itself trusts none of the fits with 10 groups or
#' fewer, and with 30 groups all of the random intercepts and three quarters of the random slopes
#' ([convergence()]).
#'
#' | model | parameter | 5 | 7 | 10 | 30 | 100 |
#' |---|---|---|---|---|---|---|
#' | intercepts | intercept | 95 | 92 | 92 | 90 | 91 |
#' | intercepts | coefficient of x | 90 | 89 | 90 | 90 | 89 |
#' | intercepts | sd (Intercept) | 95 (74) | 93 (74) | 93 (79) | 90 (84) | 89 (86) |
#' | intercepts | sigma | 89 (86) | 91 (88) | 91 (88) | 92 (90) | 92 (90) |
#' | slopes | intercept | 95 | 94 | 92 | 91 | 89 |
#' | slopes | coefficient of x | 96 | 94 | 94 | 92 | 91 |
#' | slopes | sd (Intercept) | 92 (68) | 92 (73) | 92 (77) | 90 (82) | 89 (85) |
#' | slopes | sd x | 91 (63) | 90 (62) | 90 (66) | 90 (68) | 90 (72) |
#' | slopes | sigma | 90 (86) | 91 (86) | 89 (84) | 90 (86) | 90 (84) |
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' confint(fit)
#' cbind(coef(fit), confint(fit, "beta_"))
#' confint(fit, "sd__age|Subject", type = "profile")
#' @export
confint.elbo_fit <- function(object, parm = NULL, level = 0.95,
                             type = c("wald", "profile", "bootstrap"), nsim = 1000L, seed = NULL,
                             ..., method = NULL, boot.type = "perc") {
  check_dots_empty(..., .but = passed_along$confint)
  type <- interval_type(if (missing(type)) NULL else type, interval_types(object), method,
                        boot.type)
  level <- check_between(level, "level", 0, 1)
  if (type == "profile" && method_of(object) == "vb") {
    abort(c("A fit by method \"vb\" has no likelihood to profile;",
            "its intervals are confint(fit), or quantiles of as_draws(fit)."),
          "elbo_error_not_available")
  }
  parm <- asked_parameters(object, parm)
  limits <- switch(type,
    wald = wald_intervals(object, parm, level),
    profile = profile_intervals(object, parm, level),
    bootstrap = confint(bootstrap(object, nsim, seed), parm, level)
  )
  # Where no profile would tell more, there is no remedy to name.
  if (!"profile" %in% interval_types(object)) return(limits)
  rows <- parameters_of(object)[match(parm, parameters_of(object)$name), ]
  unheld <- type == "profile" & rows$block %in% own_blocks
  if (any(unheld)) warn_no_profile(parm[unheld])
  warn_intervals(limits, replace(theta(object)[parm], rows$fixed | unheld, NA), type)
  limits
}

warn_no_profile <- function(parm) {
  warn(c(sprintf("%s cannot be held at a value, so that no profile is followed.",
                 quote_names(parm)),
         "Limits by the information are confint(fit), by simulation type = \"bootstrap\"."),
       "elbo_warning_interval")
}

interval_types <- function(fit) UseMethod("interval_types")

#' @exportS3Method
interval_types.elbo_fit <- function(fit) "wald"

#' @exportS3Method
interval_types.elbo_glmm <- function(fit) c("wald", "profile", "bootstrap")

# Percentiles leave out an estimate that the refits miss on one side, and have no width where the
# refits are all at the boundary that the estimate is on.
warn_intervals <- function(limits, estimate, type) {
  slack <- 1e-6 * abs(estimate)
  out <- which(estimate < limits[, 1] - slack | estimate > limits[, 2] + slack)
  flat <- which(limits[, 1] == limits[, 2])
  if (length(out) > 0) {
    warn(c(sprintf("The %s interval of %s does not contain the estimate.", type,
                   quote_names(rownames(limits)[out])),
           if (type != "bootstrap") "Climb from more starts: elbo_control(n_starts = 18)."
           else "Estimates of simulated data are biased to one side: type = \"profile\" is not."),
         "elbo_warning_interval")
  }
  if (length(flat) > 0) {
    warn(c(sprintf("The %s interval of %s has no width, because the estimate is on its boundary:",
                   type, quote_names(rownames(limits)[flat])),
           if (type == "profile")
             "values as near to it as can be told are rejected. Centre covariates."
           else "data simulated there cannot say how far off it may be. Use type = \"profile\"."),
         "elbo_warning_interval")
  }
  lost <- which(type == "profile" & is.na(limits[, 1] + limits[, 2]) & !is.na(estimate))
  if (length(lost) > 0) {
    warn(c(sprintf("The likelihood could not be followed with %s held:",
                   quote_names(rownames(limits)[lost])),
           "the fit is not the best that there is, or the data say nothing about it.",
           "Drop a random term, or climb from more starts: elbo_control(n_starts = 18)."),
         "elbo_warning_interval")
  }
}

# `type`, or the word for it that lme4 has in `method`.
interval_type <- function(type, types, method, boot.type) {
  check_choice(boot.type, "boot.type", "perc")
  given <- length(type) == 1
  type <- check_choice(if (is.null(type)) types else type, "type", types)
  if (is.null(method)) return(type)
  words <- c(wald = "wald", profile = "profile", boot = "bootstrap", bootstrap = "bootstrap")
  words <- words[words %in% types]
  asked <- if (is.character(method) && length(method) == 1) tolower(method)
  if (is.null(asked) || !asked %in% names(words)) check_choice(method, "method", names(words))
  if (given && type != words[[asked]]) {
    abort(sprintf("`method` = \"%s\" and `type` = \"%s\" contradict each other.", method, type),
          "elbo_error_argument")
  }
  words[[asked]]
}

# All that are free by default. lme4 calls the fixed effects "beta_", all others "theta_".
asked_parameters <- function(fit, parm) {
  names <- parameters_of(fit)$name
  coefficient <- names %in% names(coef(fit))
  free <- !parameters_of(fit)$fixed
  if (is.null(parm)) return(names[free])
  if (identical(parm, "beta_")) return(names[free & coefficient])
  if (identical(parm, "theta_")) return(names[free & !coefficient])
  interval_parameters(parm, names)
}

interval_parameters <- function(parm, names) {
  if (is.null(parm)) return(names)
  if (is.numeric(parm)) {
    if (all(parm %in% seq_along(names))) return(names[parm])
    abort(sprintf("`parm` must be names, or numbers from 1 to %d, not %s.", length(names),
                  describe_value(parm)), "elbo_error_argument")
  }
  check(is.character(parm), "parm", "names or numbers of parameters", parm)
  unknown <- setdiff(parm, names)
  if (length(unknown) == 0) return(parm)
  abort(sprintf("`parm` has %s, which is not a parameter of this fit; those are %s.",
                describe_value(unknown[1]), quote_names(names)), "elbo_error_argument")
}

interval_matrix <- function(limits, parm, level) {
  tails <- 100 * c((1 - level) / 2, (1 + level) / 2)
  dimnames(limits) <- list(parm, paste(format(tails, trim = TRUE, digits = 3), "%"))
  limits
}

wald_intervals <- function(fit, parm, level) {
  at <- match(parm, parameters_of(fit)$name)
  estimate <- unname(theta(fit)[at])
  se <- standard_errors(fit)[at]
  df <- rep(Inf, nrow(parameters_of(fit)))
  df[is_coefficient(fit)] <- summary_df(fit)
  half <- stats::qt((1 + level) / 2, df[at])
  out <- matrix(NA_real_, length(at), 2)
  known <- !is.na(se)
  out[known, ] <- parameter_limits(fit, at[known], estimate[known], (half * se)[known])
  interval_matrix(out, parm, level)
}

# Limits of the parameters in rows `at` of the table, within the range of each.
parameter_limits <- function(fit, at, estimate, half_width) UseMethod("parameter_limits")

#' @exportS3Method
parameter_limits.elbo_fit <- function(fit, at, estimate, half_width) {
  role <- parameters_of(fit)$role[at]
  out <- matrix(NA_real_, length(at), 2)
  for (name in unique(role)) {
    rows <- role == name
    out[rows, ] <- wald_limits(estimate[rows], half_width[rows], name)
  }
  out
}

# Estimate plus and minus `half_width`, on the scale on which no limit leaves the range.
wald_limits <- function(estimate, half_width, role) {
  scale <- parameter_roles[[role]]
  scale$from(scale$to(estimate) + outer(half_width * scale$slope(estimate), c(-1, 1)))
}

# Profile likelihood ------------------------------------------------------------------------------

profile_intervals <- function(fit, parm, level) {
  block <- parameters_of(fit)$block[match(parm, parameters_of(fit)$name)]
  # A restricted likelihood has no coefficients.
  integrated <- method_of(fit) == "reml" & block == "beta"
  unheld <- block %in% own_blocks
  limits <- wald_intervals(fit, parm, level)
  limits[unheld, ] <- NA
  profiled <- !integrated & !unheld
  limits[profiled, ] <- t(profile_table(fit, parm[profiled], level))
  limits
}

# Limits (2 x parameters): where Newton's method leads to the end of an interval, and otherwise, as
# at the end of a range, from refits with the parameter held. Far from where the information puts
# it an end may be that of one hill among others, and a refit from all starts has to agree.
profile_table <- function(fit, parm, level) {
  least <- objective_of(fit) - stats::qchisq(level, 1) / 2
  table <- profile_ends(fit, parm, least)
  wald <- t(wald_intervals(fit, parm, level))
  for (i in seq_along(parm)) {
    estimate <- theta(fit)[[parm[i]]]
    near <- suppressWarnings(abs(log((table[, i] - estimate) / (wald[, i] - estimate)))) < 0.1 &
      !may_vanish(fit, parm[i])
    doubtful <- which(!is.na(table[, i]) & is.na(near) | !near)
    ends <- vapply(table[doubtful, i], function(x) refit_held(fit, parm[i], x), 0)
    table[doubtful[is.na(ends) | abs(ends - least) > 1e-6], i] <- NA
    lost <- which(is.na(table[, i]))
    if (length(lost) > 0) table[lost, i] <- profile_limits(fit, parm[i], level, lost)
  }
  table
}

# Whether a correlation is of terms one of which may as well have no variance: at zero all
# correlations are alike.
may_vanish <- function(fit, name) {
  row <- match(name, parameters_of(fit)$name)
  if (parameters_of(fit)$role[row] != "cor") return(FALSE)
  shape <- law_shape(design_of(fit))
  pair <- covariance_pairs(column_blocks(design_of(fit)))[shape$has_cor[cor_number(fit, row)], ]
  sds <- which(parameters_of(fit)$block == "sd")[unique(shape$sd[pair])]
  se <- sqrt(diag(var_cov_of(fit)))[parameters_of(fit)$name[sds]]
  free <- !parameters_of(fit)$fixed[sds]
  any(is.na(se[free])) || any(theta(fit)[sds][free] < 4 * se[free])
}

# Which of the correlations a parameter is.
cor_number <- function(fit, row) sum(in_block(parameters_of(fit), "cor")[seq_len(row)])

profile_ends <- function(fit, parm, least) {
  rows <- match(parm, parameters_of(fit)$name)
  table <- matrix(NA_real_, 2, length(rows))
  known <- !parameters_of(fit)$fixed[rows] & is.finite(theta(fit)[rows])
  if (!any(known) || !is_gaussian(fit)) return(table)
  which <- vapply(rows[known], function(row) profile_place(fit, row), integer(3))
  table[, known] <- .Call(C_glmm_profile, model_of(fit), theta_parts(fit), which, least)
  table
}

# Kind of parameter, and which, as C counts them.
profile_place <- function(fit, row) {
  parameters <- parameters_of(fit)
  block <- parameters$block[row]
  at <- sum(parameters$block[seq_len(row)] == block)
  shape <- law_shape(design_of(fit))
  kind <- match(if (block == "rho") "cor" else block, c("sd", "cor", "sigma", "smooth", "beta"))
  if (block == "sd") at <- shape$has_sd[at]
  if (block %in% c("cor", "rho")) {
    at <- covariance_pairs(column_blocks(design_of(fit)))[shape$has_cor[cor_number(fit, row)], ]
  }
  # C has the coefficients that are free.
  if (block == "beta") at <- sum(!parameters$fixed[seq_len(row)]) # beta come first
  as.integer(c(kind, rep(at, length.out = 2)) - 1L)
}

# `sides`: 1 the lower limit, 2 the upper.
profile_limits <- function(fit, name, level, sides = 1:2) {
  row <- match(name, parameters_of(fit)$name)
  if (parameters_of(fit)$fixed[row]) return(rep(NA_real_, length(sides)))
  block <- parameters_of(fit)$block[row]
  estimate <- theta(fit)[[row]]
  if (is.nan(estimate)) return(rep(NA_real_, length(sides)))
  range <- parameter_roles[[parameters_of(fit)$role[row]]]$range
  se <- sqrt(vcov(fit, full = TRUE)[row, row])
  step <- if (is.finite(se) && se > 0) se else profile_step(fit, block)
  allowed <- stats::qchisq(level, 1)
  # Signed so that it rises through zero at the limit: excess deviance less what is allowed.
  excess <- function(value) {
    2 * (objective_of(fit) - refit_held(fit, name, value)) - allowed
  }
  # Correlations are held up to 1 - 1e-10: nearer ones cannot be told from one.
  if (excess(estimate) > 0) {
    on_edge <- block %in% c("cor", "rho") && abs(estimate) > 1 - 1e-9
    return(rep(if (on_edge) estimate else NA_real_, length(sides)))
  }
  vapply(sides, function(side) {
    profile_limit(excess, estimate, c(-step, step)[side], range[side])
  }, 0)
}

# The first step where the information gives none: on the boundary.
profile_step <- function(fit, block) {
  if (block %in% c("cor", "rho")) return(0.5)
  # A curve that varies by half the residual sd a row.
  if (block == "smooth") return(0.5 * max(sigma(fit)) / min(curve_extents(design_of(fit))))
  0.5 * max(sigma(fit), theta(fit)[parameters_of(fit)$block == "sd"])
}

# Where `excess` crosses zero going from `from` by `step`; the bound of the range where it does not.
profile_limit <- function(excess, from, step, bound) {
  if ((from - bound) * sign(step) >= 0) return(bound)
  inside <- from
  for (i in 1:60) {
    outside <- from + step * 2^(i - 1)
    beyond <- (outside - bound) * sign(step) >= 0
    if (beyond) outside <- bound
    value <- excess(outside)
    if (is.na(value)) return(NA_real_)
    if (value > 0) return(crossing_of(excess, sort(c(inside, outside)), 1e-6 * abs(step)))
    if (beyond) return(bound)
    inside <- outside
  }
  NA_real_
}

# NA where the profile is not finite on the way, or jumps past zero: refits then end on hills of
# their own.
crossing_of <- function(excess, range, tol) {
  callCC(function(leave) {
    finite <- function(at) {
      value <- excess(at)
      if (is.finite(value)) value else leave(NA_real_)
    }
    crossing <- stats::uniroot(finite, range, tol = tol)
    if (abs(crossing$f.root) < 0.01) crossing$root else NA_real_
  })
}

# The design with the two terms of a correlation first in their block; unchanged for other
# parameters.
reorder_terms <- function(fit, name) {
  cors <- which(parameters_of(fit)$block == "cor")
  which_cor <- match(name, parameters_of(fit)$name[cors])
  if (is.na(which_cor) || has_structure(design_of(fit))) return(fit)
  pair <- covariance_pairs(column_blocks(design_of(fit)))[which_cor, ]
  block <- column_blocks(design_of(fit))
  first <- match(block[pair[1]], block)
  size <- sum(block == block[first])
  if (size == 2) return(fit)
  rows <- first + seq_len(size) - 1
  order <- seq_along(block)
  order[rows] <- c(pair, setdiff(rows, pair))
  old <- parameters_of(fit)
  design_of(fit)$order <- as.integer(order) - 1L
  sds <- which(old$block == "sd")
  position <- seq_len(nrow(old))
  position[sds] <- sds[order]
  pairs <- covariance_pairs(block)
  moved <- cbind(order[pairs[, 1]], order[pairs[, 2]])
  key <- function(x) paste(pmin(x[, 1], x[, 2]), pmax(x[, 1], x[, 2]))
  position[cors] <- cors[match(key(moved), key(pairs))]
  priors_of(fit) <- reorder_priors(priors_of(fit), order)
  parameters_of(fit) <- old[position, ]
  theta(fit) <- theta(fit)[position]
  fit
}

reorder_priors <- function(priors, order) {
  if (is.null(priors)) return(priors)
  for (name in c("prior_scale", "prior_df")) {
    priors$told[[name]] <- priors$told[[name]][order]
  }
  terms <- seq_along(order)
  priors$told$prior_family[terms] <- priors$told$prior_family[order]
  priors
}
