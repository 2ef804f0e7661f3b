# What insight, parameters and performance ask of a mixture, where the answer differs from that of
# other fits (R/easystats.R).

#' @exportS3Method insight::get_statistic
get_statistic.elbo_mixture <- function(x, ...) {
  table <- summary(x)$coefficients
  structure(data.frame(Parameter = rownames(table), Statistic = unname(table[, "z value"])),
            statistic = "z-statistic")
}

#' @exportS3Method
summary_df.elbo_mixture <- function(fit) Inf

#' @exportS3Method insight::get_df
get_df.elbo_mixture <- function(x, type = "residual", ...) {
  df <- NextMethod()
  if (tolower(type) %in% c("wald", "satterthwaite", "any", "fit")) Inf else df
}

#' @exportS3Method insight::model_info
model_info.elbo_mixture <- function(x, verbose = TRUE, ...) {
  info <- NextMethod()
  info$is_mixture <- TRUE
  # Tables would exponentiate all that a fit has under another link, weights and means included.
  info$link_function <- "identity"
  info
}

# Of new data before their responses, with the standard error by the delta method: theta moved along
# the columns of a root of its covariance.
#' @exportS3Method
predicted_table.elbo_mixture <- function(fit, data, predict, ci, random) {
  if (predict == "classification") return(data.frame(Predicted = predict(fit, data)))
  design_of(fit)["na.action"] <- list(NULL)
  if (is.null(data) || random) {
    values <- as.matrix(predict(fit, data, type = "response"))
    return(long_predictions(values))
  }
  if (!random) data <- data[setdiff(names(data), group_variables(fit))]
  design <- mixture_newdata(fit, data, response = FALSE)
  mean_at <- function(theta) {
    one <- replace(fit, "theta", list(theta))
    frame_order(cbind(averaged_means(one, design, unit_weights(one, design))), design)
  }
  values <- as.matrix(mean_at(theta(fit)))
  se <- if (!law_of(fit)$has_vectors(design_of(fit))) delta_errors(fit, mean_at)
  long_predictions(values, se, ci)
}

delta_errors <- function(fit, value) {
  V <- vcov(fit, full = TRUE)
  V[is.na(V)] <- 0
  spectrum <- eigen(V, symmetric = TRUE)
  roots <- t(t(spectrum$vectors) * sqrt(pmax(spectrum$values, 0)))
  h <- 0.01
  slopes <- apply(roots[, spectrum$values > 0, drop = FALSE], 2, function(move) {
    as.vector(value(theta(fit) + h * move) - value(theta(fit) - h * move)) / (2 * h)
  })
  sqrt(rowSums(matrix(slopes, ncol = sum(spectrum$values > 0))^2))
}

# A row for each row of data, and of several responses for each of them.
long_predictions <- function(values, se = NULL, ci = NULL) {
  table <- data.frame(Predicted = as.vector(values))
  if (ncol(values) > 1) {
    table <- data.frame(Row = rep(seq_len(nrow(values)), ncol(values)),
                        Response = rep(colnames(values), each = nrow(values)), table)
  }
  if (is.null(se)) return(table)
  table$SE <- se
  if (is.null(ci)) return(table)
  half <- stats::qnorm((1 + ci) / 2) * se
  cbind(table, CI_low = table$Predicted - half, CI_high = table$Predicted + half)
}

#' @exportS3Method
refit_data.elbo_mixture <- function(fit, data) {
  update(fit, data = data, subset = NULL, k = n_components(fit), covariance = covariance_model(fit),
         start = unit_probability(fit))
}

#' @exportS3Method insight::get_variance
get_variance.elbo_mixture <- function(x, ...) {
  not_for_mixtures("Variance components", "The covariances of components are in components(fit).")
}

#' @exportS3Method performance::check_singularity
check_singularity.elbo_mixture <- function(x, ...) any(parameters_of(x)$boundary)

#' @exportS3Method lme4::isSingular
isSingular.elbo_mixture <- function(x, ...) {
  check_dots_empty(...)
  not_for_mixtures("isSingular()", "Parameters at a boundary are said by print(fit).")
}

#' @exportS3Method parameters::model_parameters
model_parameters.elbo_mixture <- function(model, ci = 0.95, effects = "all", exponentiate = FALSE,
                                          ..., vcov = NULL, vcov_args = NULL) {
  options <- parameters_options(...)
  if (!is.null(options$standardize)) model <- standardize.elbo_fit(model)
  kinds <- switch(effects, fixed = "fixed", random = "ran_pars", c("fixed", "ran_pars"))
  ci <- check_ci(ci)
  all <- tidy(model, conf.int = !is.null(ci), conf.level = if (is.null(ci)) 0.95 else ci,
              exponentiate = exponentiate)
  rows <- all$effect %in% kinds
  table <- all[rows, ]
  columns <- data.frame(
    parameters_columns(table, parameters_of(model)$name[rows], ci), z = table$statistic,
    df_error = Inf, p = table$p.value,
    Effects = ifelse(table$effect == "fixed", "fixed", "random"), Group = rep("", nrow(table))
  )
  if (!"ran_pars" %in% kinds) columns$Group <- NULL
  if (!is.null(vcov)) {
    V <- named_covariance(model, vcov, as.list(vcov_args))
    at <- match(names(coef(model)), columns$Parameter)
    columns <- with_covariance(columns, at, coef(model), V, ci, exponentiate)
  }
  parameters_model(model, chosen_rows(columns, options), ci, exponentiate, "z-statistic",
                   mixed_model = FALSE)
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

# The residuals of a mixture are not those of one normal law.
refused_check <- function(what, remedy) {
  force(what)
  force(remedy)
  function(x, ...) not_for_mixtures(what, remedy)
}

#' @exportS3Method performance::check_model
check_model.elbo_mixture <- refused_check("check_model()",
                                          "plot(fit) has the pictures of a mixture.")
#' @exportS3Method performance::check_normality
check_normality.elbo_mixture <- refused_check(
  "check_normality()", "residuals(fit, type = \"pearson\") are those of no one law."
)
#' @exportS3Method performance::check_heteroscedasticity
check_heteroscedasticity.elbo_mixture <- refused_check("check_heteroscedasticity()",
                                                       "sigma(fit) differs by component.")
#' @exportS3Method performance::check_outliers
check_outliers.elbo_mixture <- refused_check(
  "check_outliers()", "sensitivity(fit, to = \"data\") names the rows that matter."
)

#' @exportS3Method performance::check_predictions
check_predictions.elbo_mixture <- function(object, ...) {
  check_one_response(observed_rows(object, NULL))
  NextMethod(re_formula = NA) # components are drawn anew
}

# gtsummary's tbl_regression() goes by the variables that this names, and takes what it does not
# know
# for intercepts, which it leaves out.
#' @exportS3Method broom.helpers::model_identify_variables
model_identify_variables.elbo_mixture <- function(model) {
  known <- NextMethod()
  fixed <- parameters_of(model)$block %in% c("weight", "mean", "prob", "membership")
  terms <- setdiff(unique(tidy_terms(parameters_of(model))[fixed]),
                   c(known$term, "membership.(Intercept)"))
  rbind(known, data.frame(term = terms, variable = terms, var_class = rep("numeric", length(terms)),
                          var_type = rep("continuous", length(terms)),
                          var_nlevels = rep(NA_integer_, length(terms))))
}

# Variables of classes are columns each; insight takes only cbind() apart.
#' @exportS3Method insight::find_response
find_response.elbo_mixture <- function(x, combine = TRUE, ...) {
  if (!responses_apart(design_of(x)$spec) || combine) return(NextMethod())
  response_variables(x)
}
