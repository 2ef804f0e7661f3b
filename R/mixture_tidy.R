# Mixtures as data frames: see R/tidy.R for other models, R/mixture_predict.R for augment().

#' A mixture as data frames
#'
#' [tidy()][tidy.elbo_fit] and [glance()][tidy.elbo_fit] of a fit made by [fit_mixture()]. `effects`
#' are any of `"fixed"` (weights, means, coefficients, probabilities), `"ran_pars"` (standard
#' deviations and correlations) and `"ran_vals"` (the probabilities of [latent()]); intervals are
#' those of [confint()][confint.elbo_mixture], by `conf.method` `"Wald"` or `"boot"`; `exponentiate`
#' is of coefficients of regressions and of membership.
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

#' @exportS3Method
tidy_effects.elbo_mixture <- function(fit) c("fixed", "ran_pars", "ran_vals")

#' @exportS3Method
tidy_rows.elbo_mixture <- function(fit, effects, limits, level) {
  table <- tidy_rows.elbo_fit(fit, effects, limits, level)
  table$group <- NULL # `term` has it
  if ("ran_vals" %in% effects) table <- add_rows(table, tidy_components(fit))
  table
}

tidy_components <- function(fit) {
  table <- latent(fit)
  data.frame(effect = rep("ran_vals", nrow(table)), component = table$component,
             level = table$unit, term = rep("probability", nrow(table)),
             estimate = table$probability)
}

#' @exportS3Method
glance_facts.elbo_mixture <- function(fit) {
  sigma <- unname(theta(fit)[which_parameters(fit, "sigma")])
  data.frame(
    k = n_components(fit),
    covariance = if (is.null(covariance_model(fit))) NA_character_ else covariance_model(fit),
    sigma = if (length(sigma) == 1) sigma else NA_real_
  )
}
