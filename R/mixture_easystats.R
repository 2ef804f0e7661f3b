# What insight, parameters and performance ask of a mixture, where the answer differs from that of
# other fits (R/easystats.R).

#' @exportS3Method insight::get_statistic
get_statistic.elbo_mixture <- function(x, ...) {
  table <- summary(x)$coefficients
  structure(data.frame(Parameter = rownames(table), Statistic = unname(table[, "z value"])),
            statistic = "z-statistic")
}

#' @exportS3Method insight::get_df
get_df.elbo_mixture <- function(x, type = "residual", ...) {
  switch(type, residual = df.residual(x), model = x$df_parameters, Inf)
}

#' @exportS3Method insight::model_info
model_info.elbo_mixture <- function(x, verbose = TRUE, ...) {
  family <- family(x)
  list(
    is_linear = family$family == "gaussian", is_binomial = family$family == "binomial",
    is_poisson = family$family == "poisson", is_count = family$family == "poisson",
    is_logit = family$link == "logit", is_probit = FALSE, is_mixed = FALSE, is_mixture = TRUE,
    is_meta = FALSE, link_function = family$link, family = family$family, n_obs = nobs(x)
  )
}

#' @exportS3Method parameters::model_parameters
model_parameters.elbo_mixture <- function(model, ci = 0.95, effects = "all", exponentiate = FALSE,
                                          ...) {
  kinds <- switch(effects, fixed = "fixed", random = "ran_pars", c("fixed", "ran_pars"))
  all <- tidy(model, conf.int = TRUE, conf.level = ci, exponentiate = exponentiate)
  rows <- all$effect %in% kinds
  table <- all[rows, ]
  parameter <- model$parameters$name[rows]
  structure(
    data.frame(
      Parameter = parameter, Coefficient = table$estimate, SE = table$std.error,
      CI = ci, CI_low = table$conf.low, CI_high = table$conf.high, z = table$statistic,
      df_error = Inf, p = table$p.value,
      Effects = ifelse(table$effect == "fixed", "fixed", "random"), Group = ""
    ),
    pretty_names = stats::setNames(parameter, parameter),
    ci = ci, exponentiate = exponentiate, digits = 2, ci_digits = 2, p_digits = 3,
    coefficient_name = "Coefficient", test_statistic = "z-statistic", mixed_model = FALSE,
    model_class = class(model)[1], n_obs = nobs(model),
    class = c("parameters_model", "see_parameters_model", "data.frame")
  )
}

#' @exportS3Method performance::model_performance
model_performance.elbo_mixture <- function(model, ...) {
  criteria <- mixture_criteria(model)
  structure(
    data.frame(AIC = criteria[["AIC"]], BIC = criteria[["BIC"]], ICL = criteria[["ICL"]],
               Entropy = classification(model)[["entropy"]]),
    class = c("performance_model", "data.frame")
  )
}

#' @exportS3Method performance::r2
r2.elbo_mixture <- function(model, ...) {
  not_for_mixtures("R2", "summary(fit) says how clearly the units are classified.")
}
