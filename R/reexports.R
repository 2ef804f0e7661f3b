#' Generics of other packages
#'
#' Re-exported so that they work on fits without attaching the packages that own them:
#' [nlme::fixef()], [nlme::ranef()] and [nlme::VarCorr()] (those of lme4 are the same), and
#' [generics::tidy()], [generics::glance()] and [generics::augment()].
#'
#' @param object,x,sigma,... see the help of each generic.
#' @return What the method for the class of the object returns: for fits see [coef.elbo_fit()],
#'   [ranef.elbo_fit()], [VarCorr.elbo_fit()] and [tidy.elbo_fit()].
#' @examples
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
#' fixef(fit)
#' VarCorr(fit)
#' tidy(fit)
#' @name reexports
NULL

#' @importFrom nlme fixef
#' @export
#' @rdname reexports
nlme::fixef

#' @importFrom nlme ranef
#' @export
#' @rdname reexports
nlme::ranef

#' @importFrom nlme VarCorr
#' @export
#' @rdname reexports
nlme::VarCorr

#' @importFrom generics tidy
#' @export
#' @rdname reexports
generics::tidy

#' @importFrom generics glance
#' @export
#' @rdname reexports
generics::glance

#' @importFrom generics augment
#' @export
#' @rdname reexports
generics::augment
