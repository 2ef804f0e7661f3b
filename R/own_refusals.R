# Generics that mean nothing for a user's own model, whose defaults would answer NULL, or stop
# without a word of what there is instead.

own_instead <- list(
  rows = "Its rows are known to your own functions alone: predict(fit, f) gives any f(theta).",
  draws = "Its responses are drawn by a function of your own, at theta(fit).",
  density = "fit_advi(pointwise = ) takes the log density of each observation.",
  latent = "All that is unknown is in theta(fit); variational(fit) is its distribution."
)

#' @exportS3Method
residuals.elbo_own <- refusal("own", "residuals()", own_instead$rows, "object")
#' @exportS3Method
fitted.elbo_own <- refusal("own", "fitted()", own_instead$rows, "object")
#' @exportS3Method
simulate.elbo_own <- refusal("own", "simulate()", own_instead$draws, "object")
#' @exportS3Method loo::loo
loo.elbo_em <- refusal("own", "loo()", own_instead$density)
#' @exportS3Method
latent.elbo_advi <- refusal("own", "latent()", own_instead$latent, "object")
