# Generics whose methods for mixed models are those of gaussian responses, and would compute
# something else for others.

general_instead <- list(
  rows = "residuals(fit, type = \"quantile\") are for pictures of the residuals.",
  sandwich = "By group there is sandwich::vcovCL(fit), or vcov(fit, type = \"sandwich\").",
  refit = "Use update() with the response in `data`, or bootstrap()."
)

#' @rdname influence.elbo_glmm
#' @export
hatvalues.elbo_general <- refusal("general", "hatvalues()", general_instead$rows, "model")

#' @rdname influence.elbo_glmm
#' @export
rstandard.elbo_general <- refusal("general", "rstandard()", general_instead$rows, "model")

#' @rdname influence.elbo_glmm
#' @export
rstudent.elbo_general <- refusal("general", "rstudent()", general_instead$rows, "model")

#' @rdname influence.elbo_glmm
#' @export
cooks.distance.elbo_general <- refusal("general", "cooks.distance()", general_instead$rows, "model")

#' @rdname sensitivity
#' @export
sensitivity.elbo_general <- refusal("general", "sensitivity()", general_instead$rows, "object")

#' @exportS3Method clubSandwich::vcovCR
vcovCR.elbo_general <- refusal("general", "vcovCR()", general_instead$sandwich, "obj")

#' @exportS3Method performance::check_heteroscedasticity
check_heteroscedasticity.elbo_general <- refusal("general", "check_heteroscedasticity()",
                                                 general_instead$rows)

#' @exportS3Method performance::check_model
check_model.elbo_general <- refusal("general", "check_model()", general_instead$rows)

#' @exportS3Method lme4::refit elbo_general
refit.elbo_general <- refusal("general", "refit()", general_instead$refit, "object")
