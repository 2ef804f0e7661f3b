#' Why the fit stopped, and how near the optimum it is
#'
#' The judgement of the optimiser that ran, in units a reader can use; of a fit by method
#' `"vb"` also whether its standard deviations, by linear response, are those of the exact
#' posterior.
#'
#' The exact posterior of a mixed model has few dimensions once the coefficients and the latent
#' variables are integrated, as they can be given the standard deviations and correlations.
#' Importance sampling there (a multivariate t, moved to the posterior in three rounds, on a
#' randomly shifted lattice with Pareto smoothed weights; Vehtari et al. 2024) gives the
#' moments of all parameters, beside which those of linear response are put. Draws are from a
#' fixed seed, and leave the session's generator as it was.
#'
#' @param object a fit.
#' @param check `TRUE` to compare with the exact posterior whatever the size of the fit. By
#'   default that is done once, by the fit, for up to 2,000 levels times terms of the random
#'   effects: its cost grows with these and may exceed that of the fit.
#' @param ... for methods.
#' @return A list of class `elbo_convergence`, which prints its `message`:
#' \describe{
#'   \item{`status`}{`"converged"`, `"max_iter"` (the iterations of [elbo_control()] ran out)
#'     or `"stopped"` (interrupted, or no step raised the objective).}
#'   \item{`iterations`}{iterations run, of which `em` and `newton` say how many of each kind.}
#'   \item{`gradient`}{the scaled gradient at the answer: the largest
#'     \eqn{|g_j|\,\mathrm{se}_j}{|g_j| se_j} over the free parameters on their unconstrained
#'     scale, projected where a parameter is on its boundary. It has no unit: 1 would mean that
#'     one standard error moves the log-likelihood by 1. `NA` where the last steps had no second
#'     derivatives.}
#'   \item{`gain`}{what is still to gain, \eqn{\frac12 g'I^{-1}g}{g'I^-1 g / 2}, in
#'     log-likelihood, or by the rate of the last EM steps; `NA` where neither tells.}
#'   \item{`message`}{the same as a sentence.}
#' }
#' and for method `"vb"`
#' \describe{
#'   \item{`trusted`}{whether linear response is right: every standard deviation within 5 % of
#'     the exact one, two Monte Carlo errors included, and every mean within 0.2 standard
#'     deviations. `FALSE` also where importance sampling fails, `NA` where nothing was
#'     compared.}
#'   \item{`khat`}{shape of the generalised Pareto distribution of the largest importance
#'     weights. Above 0.7 they cannot be relied on.}
#'   \item{`sd_error`}{the largest relative error of a standard deviation by linear response.}
#'   \item{`check`}{data frame, a row for each free parameter: `name`, exact posterior `mean`
#'     and `sd`, relative error `sd_error` of the standard deviation by linear response and its
#'     Monte Carlo standard error `mc_error`, `mean_shift`: mean under q less exact mean, in
#'     exact standard deviations. `NULL` where nothing was compared.}
#'   \item{`log_evidence`}{log p(y) by importance sampling, below which the ELBO stays.}
#'   \item{`verdict`}{a sentence.}
#' }
#' @references
#' Vehtari, A., Simpson, D., Gelman, A., Yao, Y. and Gabry, J. (2024). Pareto smoothed
#' importance sampling. *Journal of Machine Learning Research* 25(72), 1--58.
#'
#' Genz, A. and Bretz, F. (2002). Comparison of methods for the computation of multivariate t
#' probabilities. *Journal of Computational and Graphical Statistics* 11, 950--971.
#' \doi{10.1198/106186002394}
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' convergence(fit)
#' convergence(fit)$gain
#'
#' fit <- update(fit, . ~ . - (age | Subject) + (1 | Subject), method = "vb")
#' convergence(fit)
#' convergence(fit)$check
#' @export
convergence <- function(object, ...) UseMethod("convergence")

#' @rdname convergence
#' @export
convergence.elbo_fit <- function(object, check = FALSE, ...) {
  check_dots_empty(...)
  check_flag(check, "check")
  state <- object$convergence
  if (check && object$method == "vb") {
    verdict <- vb_verdict(object, always = TRUE)
    state[names(verdict)] <- verdict
  }
  structure(state, class = "elbo_convergence")
}

#' @export
print.elbo_convergence <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  for (sentence in c(x$message, x$verdict)) cat(strwrap(sentence), sep = "\n")
  invisible(x)
}
