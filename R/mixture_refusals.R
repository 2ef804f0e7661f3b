# Generics that mean nothing for a mixture, whose defaults would stop without a word of what there
# is instead, or compute something else.

not_for_mixtures <- function(what, remedy) {
  abort(c(sprintf("%s: not for mixtures.", what), remedy),
        "elbo_error_not_available")
}

#' @rdname elbo_mixture-methods
#' @export
VarCorr.elbo_mixture <- function(x, ...) {
  check_dots_empty(...)
  not_for_mixtures("VarCorr()", "Covariances of the components are in components(fit).")
}

#' @exportS3Method car::Anova
Anova.elbo_mixture <- function(mod, ...) {
  not_for_mixtures("Anova()",
                   c("A fit without the term is compared by anova(); coefficients of components by",
                     "linearHypothesis(fit, c(\"x|1 = 0\", \"x|2 = 0\"))."))
}

#' @exportS3Method car::vif
vif.elbo_mixture <- function(mod, ...) {
  not_for_mixtures("vif()", "That of the covariates is car::vif(lm(y ~ x, data)).")
}

#' @exportS3Method sandwich::estfun elbo_mixture
estfun.elbo_mixture <- function(x, ...) {
  not_for_mixtures("estfun()", "The sandwich is vcov(fit, type = \"sandwich\").")
}

#' @exportS3Method sandwich::bread elbo_mixture
bread.elbo_mixture <- function(x, ...) {
  not_for_mixtures("bread()", "The sandwich is vcov(fit, type = \"sandwich\").")
}

#' @exportS3Method clubSandwich::vcovCR
vcovCR.elbo_mixture <- function(obj, ...) {
  not_for_mixtures("vcovCR()", "The sandwich is vcov(fit, type = \"sandwich\").")
}

#' @exportS3Method insight::get_variance
get_variance.elbo_mixture <- function(x, ...) {
  not_for_mixtures("Variance components", "The covariances of components are in components(fit).")
}

#' @exportS3Method lme4::isSingular
isSingular.elbo_mixture <- function(x, ...) {
  check_dots_empty(...)
  not_for_mixtures("isSingular()", "Parameters at a boundary are said by print(fit).")
}

#' @exportS3Method performance::r2
r2.elbo_mixture <- function(model, ...) {
  not_for_mixtures("R2", "summary(fit) says how clearly the units are classified.")
}

#' @exportS3Method rstantools::bayes_R2
bayes_R2.elbo_mixture <- function(object, ...) {
  check_dots_empty(..., .but = passed_by_bayesians)
  not_for_mixtures("bayes_R2()", "summary(fit) says how clearly the units are classified.")
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
