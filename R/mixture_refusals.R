# Generics that mean nothing for a mixture, whose defaults would stop without a word of what there
# is instead, or compute something else.

mixture_instead <- list(
  sandwich = "The sandwich is vcov(fit, type = \"sandwich\").",
  clearness = "summary(fit) says how clearly the units are classified.",
  tests = c("A fit without the term is compared by anova(); coefficients of components by",
            "linearHypothesis(fit, c(\"x|1 = 0\", \"x|2 = 0\"))."),
  residuals = "residuals(fit, type = \"pearson\") are those of no one law.",
  rows = "sensitivity(fit, to = \"data\") names the rows that matter."
)

#' @rdname elbo_mixture-methods
#' @export
VarCorr.elbo_mixture <- refusal("mixture", "VarCorr()",
                                "Covariances of the components are in components(fit).")

#' @exportS3Method car::Anova
Anova.elbo_mixture <- refusal("mixture", "Anova()", mixture_instead$tests, "mod")

#' @exportS3Method car::vif
vif.elbo_mixture <- refusal("mixture", "vif()",
                            "That of the covariates is car::vif(lm(y ~ x, data)).", "mod")

#' @exportS3Method sandwich::estfun elbo_mixture
estfun.elbo_mixture <- refusal("mixture", "estfun()", mixture_instead$sandwich)

#' @exportS3Method sandwich::bread elbo_mixture
bread.elbo_mixture <- refusal("mixture", "bread()", mixture_instead$sandwich)

#' @exportS3Method clubSandwich::vcovCR
vcovCR.elbo_mixture <- refusal("mixture", "vcovCR()", mixture_instead$sandwich, "obj")

#' @exportS3Method insight::get_variance
get_variance.elbo_mixture <- refusal("mixture", "Variance components",
                                     "The covariances of components are in components(fit).")

#' @exportS3Method lme4::isSingular
isSingular.elbo_mixture <- refusal("mixture", "isSingular()",
                                   "Parameters at a boundary are said by print(fit).")

#' @exportS3Method performance::r2
r2.elbo_mixture <- refusal("mixture", "R2", mixture_instead$clearness, "model")

#' @exportS3Method rstantools::bayes_R2
bayes_R2.elbo_mixture <- function(object, ...) {
  check_dots_empty(..., .but = passed_by_bayesians)
  not_for("mixture", "bayes_R2()", mixture_instead$clearness)
}

# The residuals of a mixture are not those of one normal law.

#' @exportS3Method performance::check_model
check_model.elbo_mixture <- refusal("mixture", "check_model()",
                                    "plot(fit) has the pictures of a mixture.")
#' @exportS3Method performance::check_normality
check_normality.elbo_mixture <- refusal("mixture", "check_normality()", mixture_instead$residuals)
#' @exportS3Method performance::check_heteroscedasticity
check_heteroscedasticity.elbo_mixture <- refusal("mixture", "check_heteroscedasticity()",
                                                 "sigma(fit) differs by component.")
#' @exportS3Method performance::check_outliers
check_outliers.elbo_mixture <- refusal("mixture", "check_outliers()", mixture_instead$rows)
