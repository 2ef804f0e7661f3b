# Re-exported so that they work on fits without attaching the packages that own them.

#' @return What the method for the class of the object returns: for fits see
#'   [coef.elbo_fit()], [ranef.elbo_glmm()], [VarCorr.elbo_glmm()] and [tidy.elbo_fit()].
#' @examples
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
#' fixef(fit)
#' VarCorr(fit)
#' tidy(fit)
#' @rdname reexports
#' @importFrom nlme fixef
#' @export
nlme::fixef

#' @importFrom nlme ranef
#' @export
nlme::ranef

#' @importFrom nlme VarCorr
#' @export
nlme::VarCorr

#' @importFrom generics tidy
#' @export
generics::tidy

#' @importFrom generics glance
#' @export
generics::glance

#' @importFrom generics augment
#' @export
generics::augment
