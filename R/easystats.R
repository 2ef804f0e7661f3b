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
  if (!is_mixed_model(fit)) return(NULL)
  formulas <- lapply(design_of(fit)$random, function(block) {
    right <- formula(block$terms)[[2]]
    stats::as.formula(call("~", call("|", right, str2lang(block$group))),
                      environment(formula(fit)))
  })
  if (length(formulas) == 1) formulas[[1]] else formulas
}

# insight 1.5 asks a list of its own what a model is: of others it knows no transformation.
#' @exportS3Method insight::find_transformation
find_transformation.elbo_fit <- function(x, ...) {
  if (is.null(formula(x))) return(NULL)
  found <- NextMethod()
  if (is.null(found)) insight::find_transformation(deparse_line(stats::formula(x)[[2]])) else found
}

#' @exportS3Method insight::get_parameters
get_parameters.elbo_fit <- function(x, ...) {
  data.frame(Parameter = names(coef(x)), Estimate = unname(coef(x)))
}

#' @exportS3Method insight::get_statistic
get_statistic.elbo_fit <- function(x, ...) {
  table <- coefficient_tests(x)
  structure(data.frame(Parameter = rownames(table),
                       Statistic = unname(table[, ncol(table) - 1])),
            statistic = statistic_name(x))
}

# Where coefficients have degrees of freedom each, they are tested by t; one Inf is none.
tested_by_t <- function(fit) {
  df <- summary_df(fit)
  length(df) == length(coef(fit)) && !identical(df, Inf)
}

statistic_name <- function(fit) if (tested_by_t(fit)) "t-statistic" else "z-statistic"

# insight's own list for a linear or generalised linear model, with what is different here. A
# posterior
# of method "vb" is not flagged as Bayesian: for insight that means draws in an object of Stan's.
#' @exportS3Method insight::model_info
model_info.elbo_fit <- function(x, verbose = TRUE, ...) {
  info <- plain_model_info(family(x))
  info$is_trial <- has_trials(x)
  if (info$is_trial) info$is_bernoulli <- FALSE
  info$is_mixed <- is_mixed_model(x)
  info$is_meta <- isTRUE(design_of(x)$known_se)
  info$is_mixture <- FALSE
  info$n_obs <- nobs(x)
  info["n_grouplevels"] <- list(if (info$is_mixed) {
    vapply(design_of(x)$groups, nlevels, 0L)
  })
  info
}

plain_model_info <- function(family) {
  if (is.null(family)) return(utils::modifyList(plain_model_info(stats::gaussian()),
                                                list(is_linear = FALSE, family = "unknown")))
  own <- switch(family$family,
    negative_binomial = list(is_count = TRUE, is_poisson = FALSE, is_negbin = TRUE),
    cumulative = list(is_binomial = FALSE, is_bernoulli = FALSE, is_logit = family$link == "logit",
                      is_ordinal = TRUE, is_cumulative = TRUE)
  )
  if (!is.null(own)) {
    near <- if (family$family == "cumulative") stats::binomial(family$link) else stats::poisson()
    return(utils::modifyList(plain_model_info(near), c(own, family = family$family)))
  }
  plain <- data.frame(y = c(0, 1, 1, 0))
  model <- if (family$family == "gaussian") stats::lm(y ~ 1, plain)
           else stats::glm(y ~ 1, family, plain)
  insight::model_info(model, verbose = FALSE)
}

has_trials <- function(fit) {
  !is.null(design_of(fit)$trials) || !is.null(design_of(fit)$response$size)
}

#' @exportS3Method insight::get_data
get_data.elbo_glmm <- function(x, effects = c("all", "fixed", "random"), ...) {
  effects <- check_choice(effects, "effects", c("all", "fixed", "random"))
  data <- original_data(x)
  fixed <- unique(all.vars(formula(x, fixed.only = TRUE)))
  keep <- switch(effects, all = names(data), fixed = intersect(fixed, names(data)),
                 random = intersect(group_variables(x), names(data)))
  data[keep]
}

#' @exportS3Method insight::get_data
get_data.elbo_mixture <- get_data.elbo_glmm

# As insight has them: "wald" and "residual" count rows, "satterthwaite" has one for each
# coefficient.
#' @exportS3Method insight::get_df
get_df.elbo_fit <- function(x, type = "residual", ...) {
  known <- c("residual", "wald", "analytical", "any", "fit", "normal", "model", "satterthwaite")
  type <- if (is.character(type)) tolower(type) else type
  if (identical(type, "ml1") || identical(type, "betwithin") || identical(type, "kenward") ||
        identical(type, "kr") || identical(type, "kenward-roger")) {
    abort(c(sprintf("There are no degrees of freedom by \"%s\" for these fits.", type),
            "Use type = \"satterthwaite\"."), "elbo_error_argument")
  }
  check_choice(type, "type", known)
  if (!tested_by_t(x) && type %in% c("wald", "satterthwaite", "any", "fit")) return(Inf)
  switch(type, model = n_free(x), normal = Inf,
         satterthwaite = stats::setNames(summary_df(x), names(coef(x))), df.residual(x))
}

#' @exportS3Method insight::is_converged
is_converged.elbo_fit <- function(x, tolerance = 0.001, ...) {
  state <- convergence(x)
  structure(state$status == "converged", gradient = state$gradient)
}

# insight's own is for the classes it lists; this one is for their data.
#' @exportS3Method insight::get_datagrid
get_datagrid.elbo_glmm <- function(x, ..., include_random = FALSE, include_response = FALSE) {
  data <- original_data(x)
  left_out <- c(unlist(extra_variables(x)), if (!include_response) response_variables(x),
                if (!include_random) {
                  setdiff(group_variables(x), all.vars(formula(x, fixed.only = TRUE)))
                })
  data <- data[setdiff(names(data), left_out)]
  if (ncol(data) == 0) {
    abort(c("The model has no covariates to make a grid of.", "See `include_response`."),
          "elbo_error_not_available")
  }
  grid <- insight::get_datagrid(data, ...)
  attr(grid, "model") <- x
  grid
}

#' @exportS3Method insight::get_datagrid
get_datagrid.elbo_mixture <- get_datagrid.elbo_glmm

# Predictions with their intervals. Of new data the latent variables are in them where the groups
# are;
# a group that ggeffects fills in only so that there is one ("constant.values") means the
# population.
#' @exportS3Method insight::get_predicted
get_predicted.elbo_glmm <- function(x, data = NULL, predict = "expectation", ci = 0.95,
                                    include_random = "default", verbose = TRUE, ...) {
  known <- c("expectation", "link", "response", "prediction", "classification")
  predict <- check_choice(predict, "predict", known)
  constant <- names(attr(data, "constant.values"))
  # ggeffects hands its level and kind of interval to its own methods only.
  if (!is.null(constant) && missing(ci)) {
    ci <- dynGet("ci.lvl", dynGet("ci_level", ci))
    if (identical(dynGet("interval", NULL), "prediction")) predict <- "prediction"
  }
  if (is.null(ci) || is.na(ci)) ci <- NULL
  random <- asks_for_groups(include_random) &&
    are_groups_known(x, data, setdiff(names(data), constant))
  table <- predicted_table(x, data, predict, ci, random)
  if (!is.null(constant) && "Response" %in% names(table)) {
    abort(c("ggeffects takes one mean a row, and this response has several numbers.",
            "predict(fit, newdata, type = \"response\") has them."), "elbo_error_not_available")
  }
  values <- if ("Response" %in% names(table)) table else table$Predicted
  limits <- setdiff(names(table), c("Row", "Response", "Predicted"))
  limits <- table[if (!is.null(ci)) limits]
  structure(values, ci_data = if (!is.data.frame(values) && ncol(limits) > 0) limits,
            data = if (is.null(data)) original_data(x) else data, ci = ci, predict = predict,
            class = c("get_predicted", class(values)))
}

asks_for_groups <- function(include_random) {
  !isFALSE(include_random) && !identical(include_random, NA) && !inherits(include_random, "formula")
}

are_groups_known <- function(fit, data, columns) {
  groups <- group_variables(fit)
  length(groups) > 0 && (is.null(data) || all(groups %in% columns))
}

#' @exportS3Method insight::get_predicted
get_predicted.elbo_mixture <- get_predicted.elbo_glmm

# Predicted, SE, CI_low and CI_high of the rows of the fit or of new ones.
predicted_table <- function(fit, data, predict, ci, random) UseMethod("predicted_table")

#' @exportS3Method
predicted_table.elbo_glmm <- function(fit, data, predict, ci, random) {
  if (predict == "classification") {
    abort("There are no classes to predict: `predict` is \"expectation\" or \"prediction\".",
          "elbo_error_argument")
  }
  attr(frame_of(fit), "na.action") <- NULL # the rows that were used
  found <- predict(fit, data, re.form = if (!random) NA, allow.new.levels = TRUE, se.fit = TRUE,
                   level = if (is.null(ci)) 0.95 else ci,
                   interval = if (predict == "prediction") "prediction" else "confidence")
  interval_table(found, ci)
}

interval_table <- function(found, ci) {
  table <- data.frame(Predicted = unname(found$fit[, "fit"]), SE = unname(found$se.fit))
  if (is.null(ci)) table
  else cbind(table, CI_low = unname(found$fit[, "lwr"]), CI_high = unname(found$fit[, "upr"]))
}

# Means of other responses, and their probabilities; without standard errors where predict() has
# none.
#' @exportS3Method
predicted_table.elbo_general <- function(fit, data, predict, ci, random) {
  if (predict %in% c("classification", "prediction")) {
    abort(c(sprintf("`predict` = \"%s\" is not for this family: it is \"expectation\" or \"link\".",
                    predict), "Quantiles of simulate(fit, 1000) are where new responses lie."),
          "elbo_error_not_available")
  }
  attr(frame_of(fit), "na.action") <- NULL # the rows that were used
  type <- if (predict == "link") "link" else "response"
  at <- function(...) {
    stats::predict(fit, data, type, re.form = if (!random) NA, allow.new.levels = TRUE, ...)
  }
  if (length(why_no_errors(fit, type, random)) > 0) return(long_predictions(as.matrix(at())))
  interval_table(at(se.fit = TRUE, interval = "confidence", level = if (is.null(ci)) 0.95 else ci),
                 ci)
}

#' @exportS3Method performance::check_predictions
check_predictions.elbo_general <- function(object, ...) {
  check_no_categories(object, "check_predictions()")
  NextMethod()
}

#' @exportS3Method insight::get_variance
get_variance.elbo_glmm <- function(x, component = c("all", "fixed", "random", "residual",
                                                   "distribution", "dispersion", "intercept",
                                                   "slope", "rho01", "rho00"), ...) {
  components <- c("all", "fixed", "random", "residual", "distribution", "dispersion", "intercept",
                  "slope", "rho01", "rho00")
  component <- check_choice(component, "component", components)
  explained <- explained_variance(x)
  laws <- VarCorr(x)
  laws <- laws[!names(laws) %in% curve_labels(design_of(x)$curves)]
  all <- c(list(
    var.fixed = explained[["fixed"]], var.random = explained[["random"]],
    var.residual = explained[["residual"]], var.distribution = explained[["residual"]],
    var.dispersion = 0
  ), law_components(laws, law_groups(design_of(x))))
  if (component == "all") return(all[lengths(all) > 0])
  one <- c(intercept = "var.intercept", slope = "var.slope", rho01 = "cor.slope_intercept",
           rho00 = "cor.slopes")[component]
  all[if (is.na(one)) paste0("var.", component) else one]
}

# The variances of intercepts and slopes, and their correlations; `groups`: the factor of each law.
law_components <- function(laws, groups) {
  terms <- lapply(laws, colnames)
  constant <- lapply(terms, function(names) names == "(Intercept)")
  of <- function(pick) unlist(unname(Map(pick, laws, terms, constant, groups)))
  list(
    var.intercept = of(function(V, names, one, group) {
      stats::setNames(diag(V)[one], rep(group, sum(one)))
    }),
    var.slope = of(function(V, names, one, group) {
      stats::setNames(diag(V)[!one], if (any(!one)) paste(group, names[!one], sep = "."))
    }),
    cor.slope_intercept = of(function(V, names, one, group) {
      if (!any(one)) return(NULL)
      R <- attr(V, "correlation")[one, !one]
      stats::setNames(R, rep(group, length(R)))
    }),
    cor.slopes = of(function(V, names, one, group) {
      if (sum(!one) < 2) return(NULL)
      slopes <- names[!one]
      R <- attr(V, "correlation")[slopes, slopes]
      pairs <- utils::combn(slopes, 2)
      stats::setNames(R[lower.tri(R)], paste(group, pairs[1, ], pairs[2, ], sep = "."))
    })
  )
}

# Several fits, for the tests of package performance.
#' @exportS3Method insight::ellipsis_info
ellipsis_info.elbo_fit <- function(..., only_models = TRUE, verbose = TRUE) {
  fits <- list(...)
  names(fits) <- vapply(as.list(substitute(list(...)))[-1], deparse_line, "")
  if (length(fits) == 1) return(fits[[1]])
  insight::ellipsis_info(structure(fits, class = c("ListRegressions", "ListModels", "list")),
                         verbose = verbose)
}

# ---- parameters and performance ----------------------------------------------------------

#' @exportS3Method parameters::model_parameters
model_parameters.elbo_fit <- function(model, ci = 0.95, effects = "all", exponentiate = FALSE,
                                      ..., vcov = NULL, vcov_args = NULL) {
  options <- parameters_options(...)
  if (!is.null(options$standardize)) model <- datawizard::standardize(model)
  kinds <- switch(effects, fixed = "fixed", random = "ran_pars", c("fixed", "ran_pars"))
  ci <- check_ci(ci)
  all <- tidy(model, conf.int = !is.null(ci), conf.level = if (is.null(ci)) 0.95 else ci,
              exponentiate = exponentiate)
  rows <- all$effect %in% kinds
  table <- all[rows, ]
  df <- replace(rep(Inf, nrow(all)), is_coefficient(model), summary_df(model))
  columns <- data.frame(
    parameters_columns(table, parameters_of(model)$name[rows], ci), z = table$statistic,
    df_error = df[rows], p = table$p.value,
    Effects = ifelse(table$effect == "fixed", "fixed", "random"), Group = rep("", nrow(table))
  )
  if (tested_by_t(model)) names(columns)[names(columns) == "z"] <- "t"
  if (!"ran_pars" %in% kinds) columns$Group <- NULL
  if (!is.null(vcov)) {
    V <- named_covariance(model, vcov, as.list(vcov_args))
    at <- match(names(coef(model)), columns$Parameter)
    columns <- with_covariance(columns, at, coef(model), V, ci, exponentiate)
  }
  parameters_model(model, chosen_rows(columns, options), ci, exponentiate, statistic_name(model),
                   mixed_model = FALSE)
}

#' @exportS3Method parameters::model_parameters
model_parameters.elbo_glmm <- function(model, ci = 0.95, effects = "all", exponentiate = FALSE,
                                      ..., vcov = NULL, vcov_args = NULL) {
  options <- parameters_options(...)
  if (!is.null(options$standardize)) model <- standardize.elbo_glmm(model)
  kinds <- switch(effects, fixed = "fixed", random = "ran_pars", c("fixed", "ran_pars"))
  ci <- check_ci(ci)
  table <- tidy(model, kinds, conf.int = !is.null(ci), conf.level = if (is.null(ci)) 0.95 else ci,
                exponentiate = exponentiate)
  fixed <- table$effect == "fixed"
  tested <- fixed & table$term %in% names(coef(model)) # no threshold, no size
  parameter <- c(table$term[fixed], if (any(!fixed)) variance_names(model))
  column <- function(name) if (name %in% names(table)) table[[name]] else NA
  columns <- data.frame(
    parameters_columns(table, parameter, ci), t = column("statistic"),
    df_error = replace(rep(NA_real_, nrow(table)), tested, if (any(fixed)) fit_df(model)),
    p = column("p.value"), Effects = ifelse(fixed, "fixed", "random"),
    Group = ifelse(fixed, "", column("group"))
  )
  if (all(fixed)) columns$Group <- NULL
  if (!is.null(vcov) || !is.null(options$method)) {
    if (any(fixed)) columns$df_error[tested] <- coefficient_df(model, method = options$method)
    V <- named_covariance(model, vcov, as.list(vcov_args))
    columns <- with_covariance(columns, which(tested), coef(model), V, ci, exponentiate)
  }
  parameters_model(model, chosen_rows(columns, options), ci, exponentiate, "t-statistic",
                   mixed_model = TRUE, ran_pars = TRUE, ignore_group = TRUE)
}

# What changes numbers is honoured or refused; what else tools pass along is about printing.
parameters_options <- function(...) {
  options <- list(...)
  refuse <- function(name, remedy) {
    abort(sprintf("`%s` is not for these fits: %s.", name, remedy), "elbo_error_argument")
  }
  if (isTRUE(options$bootstrap)) refuse("bootstrap", "bootstrap(fit) is of all parameters")
  if (isTRUE(options$group_level)) refuse("group_level", "latent(fit) has the groups")
  method <- tolower(c(options$ci_method, options$df_method))
  known <- c("satterthwaite", "wald", "residual", "normal")
  if (length(method) > 0 && !method[1] %in% known) {
    refuse("ci_method", sprintf("it is one of %s; see also confint(type = )",
                                paste0("\"", known, "\"", collapse = ", ")))
  }
  if (!is.null(options$standardize) && options$standardize != "refit") {
    refuse("standardize", "\"refit\" is, or parameters::standardize_parameters()")
  }
  c(options[c("standardize", "p_adjust", "keep", "drop")],
    list(method = if (length(method) > 0) method[1]))
}

# `keep` and `drop` are patterns, `p_adjust` one of stats::p.adjust.methods.
chosen_rows <- function(columns, options) {
  tested <- columns$Effects == "fixed"
  if (!is.null(options$p_adjust)) {
    columns$p[tested] <- stats::p.adjust(columns$p[tested], options$p_adjust)
  }
  matches <- function(pattern) grepl(paste(pattern, collapse = "|"), columns$Parameter)
  rows <- (is.null(options$keep) | matches(options$keep)) &
    (is.null(options$drop) | !matches(options$drop))
  columns[rows, , drop = FALSE]
}

# The rows of coefficients by another covariance of theirs.
with_covariance <- function(columns, rows, estimate, V, ci, exponentiate) {
  se <- sqrt(diag(V))[names(estimate)]
  statistic <- estimate / se
  df <- columns$df_error[rows]
  columns[rows, intersect(names(columns), c("t", "z"))] <- statistic
  columns$p[rows] <- 2 * stats::pt(-abs(statistic), df)
  columns$SE[rows] <- if (exponentiate) se * exp(estimate) else se
  if (is.null(ci)) return(columns)
  half <- stats::qt((1 + ci) / 2, df) * se
  to <- if (exponentiate) exp else identity
  columns$CI_low[rows] <- to(estimate - half)
  columns$CI_high[rows] <- to(estimate + half)
  columns
}

# A level, or no intervals.
check_ci <- function(ci) {
  if (is.null(ci) || (length(ci) == 1 && is.na(ci))) NULL else check_between(ci, "ci", 0, 1)
}

parameters_columns <- function(table, parameter, ci) {
  columns <- data.frame(Parameter = parameter, Coefficient = table$estimate, SE = table$std.error)
  if (is.null(ci)) return(columns)
  cbind(columns, CI = ci, CI_low = table$conf.low, CI_high = table$conf.high)
}

# As package parameters makes it, for its print methods and plots.
parameters_model <- function(fit, columns, ci, exponentiate, statistic, ...) {
  structure(
    columns, pretty_names = stats::setNames(columns$Parameter, columns$Parameter),
    ci = ci, exponentiate = exponentiate, digits = 2, ci_digits = 2, p_digits = 3,
    coefficient_name = "Coefficient", test_statistic = statistic, ...,
    model_class = class(fit)[1], n_obs = nobs(fit),
    class = c("parameters_model", "see_parameters_model", "data.frame")
  )
}

# What these packages hand to every model, of which nothing here depends on.
passed_by_easystats <- c("component", "effects", "verbose", "m_info", "model_info", "as_draws",
                         "robust")

# Of the coefficients: package parameters' own functions are for the classes that insight lists.

#' @exportS3Method parameters::p_value
p_value.elbo_fit <- function(model, dof = NULL, method = NULL, ..., vcov = NULL,
                             vcov_args = NULL) {
  check_dots_empty(..., .but = passed_by_easystats)
  table <- summary(model)$coefficients
  p <- table[, ncol(table)]
  if (!is.null(dof) || !is.null(method) || !is.null(vcov)) {
    statistic <- table[, "Estimate"] / coefficient_se(model, vcov, vcov_args)
    p <- 2 * stats::pt(-abs(statistic), coefficient_df(model, dof, method))
  }
  data.frame(Parameter = rownames(table), p = unname(p))
}

#' @exportS3Method bayestestR::ci
ci.elbo_fit <- function(x, ci = 0.95, dof = NULL, method = NULL, ..., vcov = NULL,
                        vcov_args = NULL) {
  of_draws <- c("eti", "hdi", "bci", "spi", "quantile")
  if (!is.null(method) && tolower(method) %in% of_draws) {
    return(bayestestR::ci(posterior_columns(x, "ci()"), ci = ci, method = method, ...))
  }
  check_dots_empty(..., .but = passed_by_easystats)
  levels <- vapply(ci, check_between, 0, "ci", 0, 1)
  se <- coefficient_se(x, vcov, vcov_args)
  df <- coefficient_df(x, dof, method)
  do.call(rbind, lapply(levels, function(level) {
    half <- stats::qt((1 + level) / 2, df) * se
    data.frame(Parameter = names(coef(x)), CI = level, CI_low = unname(coef(x) - half),
               CI_high = unname(coef(x) + half))
  }))
}

#' @exportS3Method parameters::degrees_of_freedom
degrees_of_freedom.elbo_fit <- function(model, method = NULL, ...) {
  check_dots_empty(..., .but = passed_by_easystats)
  unname(coefficient_df(model, NULL, method))
}

#' @exportS3Method parameters::dof_satterthwaite
dof_satterthwaite.elbo_fit <- function(model) coefficient_df(model)

coefficient_se <- function(fit, vcov = NULL, vcov_args = NULL) {
  sqrt(diag(named_covariance(fit, vcov, as.list(vcov_args))))[names(coef(fit))]
}

# As summary() has them, unless said otherwise.
coefficient_df <- function(fit, dof = NULL, method = NULL) {
  if (!is.null(dof)) return(dof)
  by_summary <- c("any", "fit", "analytical", "satterthwaite")
  if (is.null(method) || method %in% by_summary) return(summary_df(fit))
  rep_len(insight::get_df(fit, type = method), length(coef(fit)))
}


# The fit to standardised data: numbers to mean zero and one (or two) standard deviations, but for
# what
# names groups, weighs or counts rows.
#' @exportS3Method datawizard::standardize
standardize.elbo_glmm <- function(x, robust = FALSE, two_sd = FALSE, weights = FALSE,
                                  verbose = TRUE, include_response = TRUE, ...) {
  check_dots_empty(..., .but = passed_by_easystats)
  check_own_scale(x)
  data <- original_data(x)
  extras <- extra_variables(x)
  response <- response_variables(x)
  numbers <- names(data)[vapply(data, is_number_column, NA)]
  numbers <- setdiff(numbers, c(unlist(extras), group_variables(x)))
  linear <- family(x)$family == "gaussian"
  scaled <- function(names, two_sd) {
    columns <- datawizard::standardize(data[names], robust = robust, two_sd = two_sd,
                                       verbose = FALSE)
    lapply(columns, as.vector)
  }
  covariates <- setdiff(numbers, response)
  if (length(covariates) > 0) data[covariates] <- scaled(covariates, two_sd)
  outcome <- intersect(numbers, response)
  if (include_response && linear && length(outcome) > 0) {
    unit <- if (robust) stats::mad else stats::sd
    for (name in extras$se) data[[name]] <- data[[name]] / unit(data[[outcome[1]]])
    data[outcome] <- scaled(outcome, FALSE)
  }
  # As datawizard has it: what goes into a logarithm starts at 1, into a root at 0.
  logs <- c("log", "log2", "log10", "log1p")
  for (name in intersect(numbers, called_variables(formula(x), logs))) {
    data[[name]] <- data[[name]] - min(data[[name]]) + 1
  }
  for (name in intersect(numbers, called_variables(formula(x), "sqrt"))) {
    data[[name]] <- data[[name]] - min(data[[name]])
  }
  refit_data(x, data)
}

#' @exportS3Method datawizard::standardize
standardize.elbo_mixture <- standardize.elbo_glmm

# The variables within calls of these functions.
called_variables <- function(expression, functions) {
  if (!is.call(expression)) return(character())
  if (deparse_line(expression[[1]]) %in% functions) return(all.vars(expression))
  unique(unlist(lapply(as.list(expression)[-1], called_variables, functions)))
}

is_number_column <- function(x) is.numeric(x) && is.null(dim(x)) && !is.object(x)

check_own_scale <- function(fit) {
  free_of_scale <- parameters_of(fit)$role %in% c("weight", "cor", "probability")
  held <- any(parameters_of(fit)$fixed & !free_of_scale)
  if (!held && (!informed(fit) || all(priors_of(fit)$default))) return(invisible(fit))
  abort(c("The priors that were stated belong to the scale of the data as they are.",
          "Standardise the data and state priors for that scale."), "elbo_error_not_available")
}

# The fit to other values of the rows that were fitted.
refit_data <- function(fit, data) UseMethod("refit_data")

#' @exportS3Method
refit_data.elbo_glmm <- function(fit, data) update(fit, data = data, subset = NULL)

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
  structure(as.data.frame(as.list(criteria(model)[-1])),
            class = c("performance_model", "data.frame"))
}

#' @exportS3Method performance::model_performance
model_performance.elbo_glmm <- function(model, metrics = "all", ...) {
  information <- criteria(model)
  r2 <- explained_variance(model)
  sigma <- sigma(model)
  facts <- data.frame(
    AIC = information[["AIC"]], AICc = corrected_aic(model), BIC = information[["BIC"]],
    R2_conditional = r2[["conditional"]], R2_marginal = r2[["marginal"]],
    ICC = r2[["random"]] / (r2[["random"]] + r2[["residual"]]),
    RMSE = sqrt(mean(residual_rows(model, "response")^2)),
    Sigma = if (length(sigma) == 1) sigma else NA_real_
  )
  if (!has_groups(model)) facts$ICC <- NULL
  structure(facts[chosen_metrics(names(facts), metrics)],
            class = c("performance_model", "data.frame"))
}

# AIC with the correction of Hurvich & Tsai (1989) for few rows.
corrected_aic <- function(fit) {
  k <- n_free(fit)
  n <- nobs(fit)
  criteria(fit)[["AIC"]] + if (n > k + 1) 2 * k * (k + 1) / (n - k - 1) else Inf
}

# Which columns `metrics` names, in performance's words.
chosen_metrics <- function(columns, metrics) {
  short <- toupper(sub("_.*", "", columns))
  wanted <- switch(metrics[1], all = short, common = c("AIC", "BIC", "R2", "ICC", "RMSE"),
                   toupper(metrics))
  check(is.character(metrics) && any(short %in% wanted), "metrics",
        paste("\"all\", \"common\", or some of", quote_names(unique(short))), metrics)
  columns[short %in% wanted]
}

#' @exportS3Method performance::r2
r2.elbo_glmm <- function(model, ...) {
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
  Z <- design_of(fit)$Z
  fixed <- stats::var(fixed_rows(fit) - design_of(fit)$offset)
  random <- mean(rowSums(Z %*% latent_law(fit) * Z))
  residual <- if (is_gaussian(fit)) mean(residual_sd(fit)^2) else observation_variance(fit)
  total <- fixed + random + residual
  c(marginal = fixed / total, conditional = (fixed + random) / total, fixed = fixed,
    random = random, residual = residual)
}

# On the scale of the link, of a law of the response given its mean (Nakagawa, Johnson & Schielzeth
# 2017, table 1): of the latent response of categories, and of the logarithm of counts by that of
# lognormal ones, at the mean of the data.
observation_variance <- function(fit) {
  link <- family(fit)$link
  response <- design_of(fit)$response
  weight <- if (is.null(response$weight)) rep(1, length(response$y)) else response$weight
  dispersed <- parameters_of(fit)$block == "size"
  switch(response$law,
    binomial = , cumulative = c(logit = pi^2 / 3, probit = 1, cloglog = pi^2 / 6)[[link]],
    poisson = , negative_binomial =
      log1p(1 / stats::weighted.mean(response$y, weight) + sum(1 / theta(fit)[dispersed]))
  )
}

# As lme4::isSingular(), for every method: a direction of the latent variables has no variance.
#' @exportS3Method performance::check_singularity
check_singularity.elbo_fit <- function(x, ...) any(parameters_of(x)$boundary)

#' @exportS3Method performance::check_singularity
check_singularity.elbo_glmm <- function(x, tolerance = 1e-5, ...) {
  any(parameters_of(x)$boundary) ||
    (has_groups(x) && any(relative_theta(x)[on_diagonal(x)] < tolerance))
}

# A generic in later versions of lme4; before it reads getME().
#' @exportS3Method lme4::isSingular
isSingular.elbo_glmm <- function(x, tol = 1e-4, ...) {
  check_dots_empty(...)
  check_singularity.elbo_glmm(x, tolerance = tol)
}

#' @exportS3Method performance::check_convergence
check_convergence.elbo_fit <- function(x, tolerance = 0.001, ...) {
  is_converged.elbo_fit(x, tolerance)
}

# Breusch & Pagan (1979): do the squared residuals, each relative to its variance, grow with the
# mean?
#' @exportS3Method performance::check_heteroscedasticity
check_heteroscedasticity.elbo_glmm <- function(x, ...) {
  u <- residual_rows(x, "pearson")^2 * nobs(x) / df.residual(x)
  explained <- stats::lm.fit(cbind(1, fitted_rows(x)), u)$fitted.values
  p <- stats::pchisq(sum((explained - mean(u))^2) / 2, 1, lower.tail = FALSE)
  structure(p, data = x, object_name = deparse_line(substitute(x)),
            class = c("check_heteroscedasticity", "see_check_heteroscedasticity", "numeric"))
}

#' @exportS3Method insight::get_priors
get_priors.elbo_fit <- function(x, ...) {
  priors <- describe_prior.elbo_fit(x)
  names(priors) <- sub("^Prior_", "", names(priors))
  priors
}

# The number of coefficients, for the contours of Cook's distance, is looked for in an element
# `rank`,
# which fits of lm() have.
#' @exportS3Method performance::check_model
check_model.elbo_glmm <- function(x, ...) {
  checked <- NextMethod()
  if (is.data.frame(checked$INFLUENTIAL)) {
    attr(checked$INFLUENTIAL, "n_params") <- ncol(design_of(x)$X)
  }
  checked
}

#' @exportS3Method insight::get_weights
get_weights.elbo_glmm <- function(x, na_rm = FALSE, null_as_ones = FALSE, ...) {
  given <- weights(x)
  given <- given[!is.na(given)] # na.exclude() pads
  if (is.null(call_of(x)$weights) && !null_as_ones) NULL else unname(given)
}

#' @exportS3Method insight::get_weights
get_weights.elbo_mixture <- get_weights.elbo_glmm
