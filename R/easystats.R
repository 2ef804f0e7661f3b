# What insight, parameters and performance ask of a fit, and through them see, ggeffects and others.
# The methods are registered when the package that owns the generic is loaded.

# ---- insight -----------------------------------------------------------------------------

#' @exportS3Method insight::find_formula
find_formula.elbo_fit <- function(x, verbose = TRUE, ...) {
  formulas <- list(conditional = formula(x, fixed.only = TRUE), random = random_formulas(x))
  structure(formulas[lengths(formulas) > 0], class = c("insight_formula", "list"))
}

# ~ terms | group for each ( | ), a bare formula if there is one only.
random_formulas <- function(fit) {
  formulas <- lapply(fit$design$random, function(block) {
    right <- formula(block$terms)[[2]]
    group <- str2lang(fit$design$group_name)
    stats::as.formula(call("~", call("|", right, group)), environment(fit$formula))
  })
  if (length(formulas) == 1) formulas[[1]] else formulas
}

#' @exportS3Method insight::get_parameters
get_parameters.elbo_fit <- function(x, ...) {
  data.frame(Parameter = names(coef(x)), Estimate = unname(coef(x)))
}

#' @exportS3Method insight::get_statistic
get_statistic.elbo_fit <- function(x, ...) {
  table <- summary(x)$coefficients
  structure(data.frame(Parameter = rownames(table), Statistic = unname(table[, "t value"])),
            statistic = "t-statistic")
}

#' @exportS3Method insight::model_info
model_info.elbo_fit <- function(x, verbose = TRUE, ...) {
  family <- family(x)
  list(
    is_linear = family$family == "gaussian", is_binomial = family$family == "binomial",
    is_poisson = family$family == "poisson", is_count = family$family == "poisson",
    is_logit = family$link == "logit", is_probit = family$link == "probit",
    is_mixed = has_latent(x), is_meta = x$design$known_se,
    link_function = family$link, family = family$family, n_obs = nobs(x)
  )
}

#' @exportS3Method insight::get_data
get_data.elbo_fit <- function(x, ...) model.frame(x)

#' @exportS3Method insight::get_df
get_df.elbo_fit <- function(x, type = "residual", ...) {
  switch(type, residual = df.residual(x), model = x$df_parameters, fit_df(x))
}

# ---- parameters and performance ----------------------------------------------------------

#' @exportS3Method parameters::model_parameters
model_parameters.elbo_fit <- function(model, ci = 0.95, effects = "all", exponentiate = FALSE,
                                      ...) {
  kinds <- switch(effects, fixed = "fixed", random = "ran_pars", c("fixed", "ran_pars"))
  table <- tidy(model, kinds, conf.int = TRUE, conf.level = ci, exponentiate = exponentiate)
  fixed <- table$effect == "fixed"
  parameter <- c(table$term[fixed], if (any(!fixed)) variance_names(model))
  column <- function(name) if (name %in% names(table)) table[[name]] else NA
  structure(
    data.frame(
      Parameter = parameter, Coefficient = table$estimate, SE = table$std.error,
      CI = ci, CI_low = table$conf.low, CI_high = table$conf.high,
      t = column("statistic"), df_error = replace(rep(NA_real_, nrow(table)), fixed,
                                                  if (any(fixed)) fit_df(model)),
      p = column("p.value"), Effects = ifelse(fixed, "fixed", "random"),
      Group = ifelse(fixed, "", column("group"))
    ),
    pretty_names = stats::setNames(parameter, parameter),
    ci = ci, exponentiate = exponentiate, digits = 2, ci_digits = 2, p_digits = 3,
    coefficient_name = "Coefficient", test_statistic = "t-statistic", mixed_model = TRUE,
    ran_pars = TRUE, ignore_group = TRUE, model_class = class(model)[1], n_obs = nobs(model),
    class = c("parameters_model", "see_parameters_model", "data.frame")
  )
}

# "SD (age)", "Cor (Intercept~age)", as parameters writes them.
variance_names <- function(fit) {
  variances <- variance_parameters(fit)
  bare <- function(term) sub("^\\((.*)\\)$", "\\1", term)
  level <- ifelse(is.na(variances$var1), "", paste0(" ", variances$var1))
  inside <- ifelse(variances$kind == "sigma", paste0("Observations", level),
                   ifelse(variances$kind != "cor", bare(variances$var1),
                          paste0(bare(variances$var1), "~", bare(variances$var2))))
  sprintf("%s (%s)", ifelse(variances$kind == "cor", "Cor", "SD"), inside)
}

#' @exportS3Method performance::model_performance
model_performance.elbo_fit <- function(model, ...) {
  information <- information(model)
  r2 <- explained_variance(model)
  sigma <- sigma(model)
  structure(
    data.frame(
      AIC = information[["AIC"]], BIC = information[["BIC"]],
      R2_conditional = r2[["conditional"]], R2_marginal = r2[["marginal"]],
      RMSE = sqrt(mean(residuals(model)^2, na.rm = TRUE)),
      Sigma = if (length(sigma) == 1) sigma else NA_real_
    ),
    class = c("performance_model", "data.frame")
  )
}

#' @exportS3Method performance::r2
r2.elbo_fit <- function(model, ...) {
  r2 <- explained_variance(model)
  structure(
    list(R2_conditional = c("Conditional R2" = r2[["conditional"]]),
         R2_marginal = c("Marginal R2" = r2[["marginal"]])),
    class = c("r2_nakagawa", "list")
  )
}

# Nakagawa & Schielzeth (2013), for random slopes Johnson (2014): the variances of the fixed
# part, of z'u averaged over the rows, and of the residuals averaged over the rows.
explained_variance <- function(fit) {
  Z <- fit$design$Z
  fixed <- stats::var(fixed_rows(fit) - fit$design$offset)
  random <- mean(rowSums(Z %*% latent_law(fit) * Z))
  total <- fixed + random + mean(residual_sd(fit)^2)
  c(marginal = fixed / total, conditional = (fixed + random) / total)
}
