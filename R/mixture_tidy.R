# Mixtures as data frames: see R/tidy.R for other models, R/mixture_predict.R for augment().

#' A mixture as data frames
#'
#' @param x a fit made by [fit_mixture()].
#' @param effects any of `"fixed"` (weights, means, coefficients, probabilities), `"ran_pars"`
#'   (standard deviations and correlations) and `"ran_vals"` (the probabilities of [latent()]).
#' @param conf.int whether to add the intervals of [confint()][confint.elbo_mixture].
#' @param conf.level their level.
#' @param exponentiate whether to exponentiate coefficients of regressions and of membership with
#'   their intervals, the standard errors by the delta method.
#' @param ... not used.
#' @param conf.method how intervals are made, as in broom.mixed: `"Wald"` or `"boot"`.
#' @param nsim,seed for bootstrap intervals.
#' @return
#' `tidy()`: a data frame with those of the columns `effect`, `component`, `level`, `term`,
#' `estimate`, `std.error`, `statistic`, `p.value`, `conf.low`, `conf.high` that the effects asked
#' for have. `component` is 1, ..., k (`NA` for what is common); terms are `proportion`,
#' `mean.<variable>`, `sd__<variable>`, `cor__<variable>.<variable>`, `prob.<variable>.<level>`,
#' `membership.<term>`, the coefficients of regressions by their names, and `sd__Observation` for a
#' residual standard deviation. `level` is the unit of `"ran_vals"`, whose term is `probability`.
#'
#' `glance()`: a data frame of one row: `nobs` (units), `k`, `covariance`, `sigma` (of a common
#' one), `logLik`, `AIC`, `BIC`, `ICL`, `df.residual`, `elbo`, `method`, `converged`,
#' `iterations`. What a fit does not have is `NA`: the likelihood under methods `"joint"` and
#' `"vb"`.
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
#' tidy(fit, conf.int = TRUE)
#' glance(fit)
#' @name tidy.elbo_mixture
NULL

#' @rdname tidy.elbo_mixture
#' @export
tidy.elbo_mixture <- function(x, effects = c("fixed", "ran_pars"), conf.int = FALSE,
                              conf.level = 0.95, exponentiate = FALSE, ...,
                              conf.method = "Wald", nsim = 1000L, seed = NULL) {
  check_dots_empty(..., .but = passed_along$tidy)
  known <- c("fixed", "ran_pars", "ran_vals")
  check(is.character(effects) && length(effects) > 0 && all(effects %in% known), "effects",
        paste("some of", paste0("\"", known, "\"", collapse = ", ")), effects)
  check_flag(conf.int, "conf.int")
  check_flag(exponentiate, "exponentiate")
  limits <- if (conf.int) {
    confint(x, parameters_of(x)$name, check_between(conf.level, "conf.level", 0, 1), nsim = nsim,
            seed = seed, method = conf.method)
  }
  table <- tidy_parameters(x, limits)
  if (exponentiate) table <- exponentiate_rows(table, parameters_of(x)$role)
  table <- table[table$effect %in% effects, ]
  if ("ran_vals" %in% effects) table <- add_rows(table, tidy_components(x))
  columns <- c("effect", "component", "level", "term", "estimate", "std.error", "statistic",
               "p.value", "conf.low", "conf.high")
  table <- table[intersect(columns, names(table))]
  row.names(table) <- NULL
  table
}

tidy_parameters <- function(fit, limits) {
  parameters <- parameters_of(fit)
  se <- unname(standard_errors(fit))
  estimate <- as.vector(theta(fit))
  tested <- parameters$role == "coefficient"
  statistic <- ifelse(tested, estimate / se, NA)
  table <- data.frame(
    effect = role_of(parameters, "effect"), component = as.integer(parameters$component),
    term = tidy_terms(parameters), estimate = estimate, std.error = se,
    statistic = statistic, p.value = 2 * stats::pnorm(-abs(statistic))
  )
  if (is.null(limits)) return(table)
  cbind(table, conf.low = unname(limits[, 1]), conf.high = unname(limits[, 2]))
}

tidy_terms <- function(parameters) {
  terms <- inner_terms(parameters)
  dotted <- parameters$block %in% c("mean", "prob", "membership")
  ifelse(dotted, paste0(parameters$block, ".", terms),
         ifelse(parameters$block == "weight", "proportion",
                ifelse(parameters$block == "sigma", "sd__Observation", term_names(parameters))))
}

tidy_components <- function(fit) {
  table <- latent(fit)
  data.frame(effect = "ran_vals", component = table$component, level = table$unit,
             term = "probability", estimate = table$probability)
}

add_rows <- function(table, more) {
  table[setdiff(names(more), names(table))] <- rep(NA, nrow(table))
  more[setdiff(names(table), names(more))] <- rep(NA, nrow(more))
  rbind(table, more[names(table)])
}

exponentiate_rows <- function(table, role) {
  rows <- role == "coefficient"
  table$std.error[rows] <- table$std.error[rows] * exp(table$estimate[rows])
  for (column in intersect(c("estimate", "conf.low", "conf.high"), names(table))) {
    table[[column]][rows] <- exp(table[[column]][rows])
  }
  table
}

#' @rdname tidy.elbo_mixture
#' @export
glance.elbo_mixture <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$glance)
  criteria <- mixture_criteria(x)
  sigma <- theta(x)[parameters_of(x)$block == "sigma"]
  state <- convergence(x)
  data.frame(
    nobs = nobs(x), k = n_components(x),
    covariance = if (is.null(covariance_model(x))) NA_character_ else covariance_model(x),
    sigma = if (length(sigma) == 1) sigma[[1]] else NA_real_,
    logLik = criteria[["logLik"]], AIC = criteria[["AIC"]], BIC = criteria[["BIC"]],
    ICL = criteria[["ICL"]], df.residual = df.residual(x), elbo = objective_of(x),
    method = method_of(x), converged = state$status == "converged", iterations = state$iterations
  )
}
