# Generics that mean nothing for a catalogue, whose defaults would stop without a word of what there
# is instead, or compute something else.

sky_instead <- list(
  latent = "What is latent, the sources, is in catalog(fit).",
  images = "predict(fit), residuals(fit) and latent(fit, type = \"pixels\") are images.",
  draws = "simulate(fit) draws images, to which fit_sky() fits catalogues again.",
  pixels = "Fit again with a `mask` in sky_image() to see what hangs on some pixels.",
  errors = "Standard errors of sources are in catalog(fit), that of the sky in vcov(fit).",
  check = "plot(fit) shows residuals; catalog(fit) has `chi2` and `flags` of each source.",
  terms = "Fits to the same images, as with galaxies = FALSE, are compared by AIC() and BIC().",
  posterior = "Estimates and standard errors are in catalog(fit); simulate(fit) draws images."
)

# ---- random effects and groups -----------------------------------------------------------------

#' @exportS3Method nlme::VarCorr elbo_sky
VarCorr.elbo_sky <- refusal("sky", "VarCorr()", sky_instead$latent)
#' @exportS3Method nlme::ranef elbo_sky
ranef.elbo_sky <- refusal("sky", "ranef()", sky_instead$latent, "object")
#' @exportS3Method lme4::ngrps elbo_sky
ngrps.elbo_sky <- refusal("sky", "ngrps()", sky_instead$latent, "object")
#' @exportS3Method lme4::getME elbo_sky
getME.elbo_sky <- refusal("sky", "getME()", sky_instead$latent, "object")
#' @exportS3Method lme4::isSingular elbo_sky
isSingular.elbo_sky <- refusal("sky", "isSingular()", sky_instead$latent)
#' @exportS3Method lme4::rePCA elbo_sky
rePCA.elbo_sky <- refusal("sky", "rePCA()", sky_instead$latent)
#' @exportS3Method insight::get_variance elbo_sky
get_variance.elbo_sky <- refusal("sky", "get_variance()", sky_instead$latent)

# ---- rows of data ------------------------------------------------------------------------------

#' @exportS3Method generics::augment elbo_sky
augment.elbo_sky <- refusal("sky", "augment()", sky_instead$images)
#' @exportS3Method lme4::getData elbo_sky
#' @exportS3Method nlme::getData elbo_sky
getData.elbo_sky <- refusal("sky", "getData()", sky_instead$images, "object")
#' @exportS3Method ggplot2::fortify elbo_sky
fortify.elbo_sky <- refusal("sky", "fortify()", sky_instead$images, "model")
#' @exportS3Method insight::get_datagrid elbo_sky
get_datagrid.elbo_sky <- refusal("sky", "get_datagrid()", sky_instead$images)
#' @exportS3Method emmeans::recover_data elbo_sky
recover_data.elbo_sky <- refusal("sky", "recover_data()", sky_instead$images, "object")
#' @exportS3Method emmeans::emm_basis elbo_sky
emm_basis.elbo_sky <- refusal("sky", "emm_basis()", sky_instead$images, "object")
#' @exportS3Method
hatvalues.elbo_sky <- refusal("sky", "hatvalues()", sky_instead$images, "model")
#' @exportS3Method
rstandard.elbo_sky <- refusal("sky", "rstandard()", sky_instead$images, "model")
#' @exportS3Method
rstudent.elbo_sky <- refusal("sky", "rstudent()", sky_instead$images, "model")
#' @exportS3Method
sigma.elbo_sky <- refusal("sky", "sigma()", sky_instead$images, "object")

# ---- draws and refits --------------------------------------------------------------------------

#' @exportS3Method
bootstrap.elbo_sky <- refusal("sky", "bootstrap()", sky_instead$draws, "object")
#' @exportS3Method lme4::refit elbo_sky
refit.elbo_sky <- refusal("sky", "refit()", sky_instead$draws, "object")
#' @exportS3Method lme4::refitML elbo_sky
refitML.elbo_sky <- refusal("sky", "refitML()", sky_instead$draws)
#' @exportS3Method car::Boot elbo_sky
Boot.elbo_sky <- refusal("sky", "Boot()", sky_instead$draws, "object")
#' @exportS3Method sandwich::vcovBS elbo_sky
vcovBS.elbo_sky <- refusal("sky", "vcovBS()", sky_instead$draws)

# ---- influence ---------------------------------------------------------------------------------

#' @exportS3Method
sensitivity.elbo_sky <- refusal("sky", "sensitivity()", sky_instead$pixels, "object")
#' @exportS3Method
influence.elbo_sky <- refusal("sky", "influence()", sky_instead$pixels, "model")
#' @exportS3Method
cooks.distance.elbo_sky <- refusal("sky", "cooks.distance()", sky_instead$pixels, "model")
#' @exportS3Method loo::loo elbo_sky
loo.elbo_sky <- refusal("sky", "loo()", sky_instead$pixels)

# ---- terms of a formula ------------------------------------------------------------------------

#' @exportS3Method
add1.elbo_sky <- refusal("sky", "add1()", sky_instead$terms, "object")
#' @exportS3Method
drop1.elbo_sky <- refusal("sky", "drop1()", sky_instead$terms, "object")
#' @exportS3Method
selection.elbo_sky <- refusal("sky", "selection()", sky_instead$terms, "object")
#' @exportS3Method car::Anova elbo_sky
Anova.elbo_sky <- refusal("sky", "Anova()", sky_instead$terms, "mod")
#' @exportS3Method car::vif elbo_sky
vif.elbo_sky <- refusal("sky", "vif()", sky_instead$terms, "mod")

# ---- scores ------------------------------------------------------------------------------------

#' @exportS3Method sandwich::estfun elbo_sky
estfun.elbo_sky <- refusal("sky", "estfun()", sky_instead$errors)
#' @exportS3Method sandwich::bread elbo_sky
bread.elbo_sky <- refusal("sky", "bread()", sky_instead$errors)
#' @exportS3Method clubSandwich::vcovCR elbo_sky
vcovCR.elbo_sky <- refusal("sky", "vcovCR()", sky_instead$errors, "obj")

# ---- checks of one normal law ------------------------------------------------------------------

#' @exportS3Method performance::check_model elbo_sky
check_model.elbo_sky <- refusal("sky", "check_model()", sky_instead$check)
#' @exportS3Method performance::check_normality elbo_sky
check_normality.elbo_sky <- refusal("sky", "check_normality()", sky_instead$check)
#' @exportS3Method performance::check_heteroscedasticity elbo_sky
check_heteroscedasticity.elbo_sky <- refusal("sky", "check_heteroscedasticity()", sky_instead$check)
#' @exportS3Method performance::check_outliers elbo_sky
check_outliers.elbo_sky <- refusal("sky", "check_outliers()", sky_instead$check)
#' @exportS3Method performance::check_predictions elbo_sky
check_predictions.elbo_sky <- refusal("sky", "check_predictions()", sky_instead$check, "object")
#' @exportS3Method performance::r2 elbo_sky
r2.elbo_sky <- refusal("sky", "r2()", sky_instead$check, "model")
#' @exportS3Method bayesplot::pp_check elbo_sky
pp_check.elbo_sky <- refusal("sky", "pp_check()", sky_instead$check, "object")

# ---- draws from a posterior --------------------------------------------------------------------

#' @exportS3Method rstantools::posterior_epred elbo_sky
posterior_epred.elbo_sky <- refusal("sky", "posterior_epred()", sky_instead$posterior, "object")
#' @exportS3Method rstantools::posterior_linpred elbo_sky
posterior_linpred.elbo_sky <- refusal("sky", "posterior_linpred()", sky_instead$posterior, "object")
#' @exportS3Method rstantools::posterior_predict elbo_sky
posterior_predict.elbo_sky <- refusal("sky", "posterior_predict()", sky_instead$posterior, "object")
#' @exportS3Method rstantools::log_lik elbo_sky
log_lik.elbo_sky <- refusal("sky", "log_lik()", sky_instead$posterior, "object")
#' @exportS3Method rstantools::predictive_error elbo_sky
predictive_error.elbo_sky <- refusal("sky", "predictive_error()", sky_instead$posterior, "object")
#' @exportS3Method rstantools::predictive_interval elbo_sky
predictive_interval.elbo_sky <- refusal("sky", "predictive_interval()",
                                            sky_instead$posterior, "object")
#' @exportS3Method rstantools::bayes_R2 elbo_sky
bayes_R2.elbo_sky <- refusal("sky", "bayes_R2()", sky_instead$posterior, "object")
