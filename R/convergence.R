#' Why the fit stopped, and how near the optimum it is
#'
#' The judgement of the optimiser that ran, in units a reader can use.
#'
#' @param object a fit.
#' @param ... for methods.
#' @return A list of class `elbo_convergence`, which prints its `message`:
#' \describe{
#'   \item{`status`}{`"converged"`, `"max_iter"` (the iterations of [elbo_control()] ran out)
#'     or `"stopped"` (interrupted, or no step raised the objective).}
#'   \item{`iterations`}{iterations run, of which `em` and `newton` say how many of each kind.}
#'   \item{`gradient`}{the scaled gradient at the answer: the largest
#'     \eqn{|g_j|\,\mathrm{se}_j}{|g_j| se_j} over the free parameters on their unconstrained
#'     scale, projected where a parameter is on its boundary. It has no unit: 1 would mean that
#'     one standard error moves the log-likelihood by 1.}
#'   \item{`gain`}{what is still to gain, \eqn{\frac12 g'I^{-1}g}{g'I^-1 g / 2}, in
#'     log-likelihood.}
#'   \item{`message`}{the same as a sentence.}
#' }
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' convergence(fit)
#' convergence(fit)$gain
#' @export
convergence <- function(object, ...) UseMethod("convergence")

#' @rdname convergence
#' @export
convergence.elbo_fit <- function(object, ...) {
  structure(object$convergence, class = "elbo_convergence")
}

#' @export
print.elbo_convergence <- function(x, ...) {
  cat(strwrap(x$message), sep = "\n")
  invisible(x)
}
