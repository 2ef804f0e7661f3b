#' Why the fit stopped, and how near the optimum it is
#'
#' The judgement of the optimiser that ran, in units a reader can use; of a fit by method
#' `"vb"` also whether its standard deviations, by linear response, are those of the exact
#' posterior.
#'
#' The exact posterior of a mixed model has few dimensions once the coefficients and the latent
#' variables are integrated, as they can be given the standard deviations and correlations; that of
#' a mixture once the components of the units are summed over. Importance sampling there
#' (a multivariate t, moved to the posterior in three rounds, on a randomly shifted lattice with
#' Pareto smoothed weights; Vehtari et al. 2024) gives the moments of all parameters, beside which
#' those of linear response are put. Draws are from a fixed seed, and leave the session's generator
#' as it was. Of a mixture's equal modes, one for each order of the components, q describes one:
#' draws nearer to another order are left out.
#'
#' @section How accurate it is:
#' That depends on how much the data say of each latent variable, not on the number of groups or
#' units alone. Of mixed models it is the variance ratio,
#' \eqn{sd^2/(sd^2 + \sigma^2/m)}{sd^2 / (sd^2 + sigma^2 / m)} with m rows in a group. In simulated
#' random intercept models (`bench/vb_ratio.R`, 12 of each kind) the largest error of a posterior
#' standard deviation was, in the median, with 10, 20, 40, 80 and 160 groups
#' \tabular{rrrrrr}{
#'   ratio \tab 10 \tab 20 \tab 40 \tab 80 \tab 160 \cr
#'   .20 \tab 7 \% \tab 9 \% \tab 13 \% \tab 18 \% \tab 13 \% \cr
#'   .40 \tab 11 \% \tab 11 \% \tab 9 \% \tab 8 \% \tab 5 \% \cr
#'   .60 \tab 13 \% \tab 9 \% \tab 4 \% \tab 1 \% \tab 1 \% \cr
#'   .80 \tab 11 \% \tab 5 \% \tab 2 \% \tab 1 \% \tab 1 \% \cr
#'   .95 \tab 12 \% \tab 5 \% \tab 3 \% \tab 1 \% \tab 1 \%
#' }
#' so that with few groups, or groups that say little, the verdict is mostly that linear response is
#' not to be trusted: of 120 small problems of many kinds 18 were, of 20 meta-analyses of up to 30
#' studies none. From 80 groups on 11 of 31 were off by more than 5 \%, nearly all with a ratio
#' below .6. Every one that was off was flagged. Where linear response is not trusted the moments in
#' `check`, and `update()` to `"em"` or `"reml"`, are the ones to use.
#'
#' Of mixtures it is the distance of the components: with unit standard deviations, unequal weights
#' and 200 units they are too small at distances of 2 to 2.5, and right from 4 on
#' (`bench/mixture_verdict.R`).
#'
#' @param object a fit.
#' @param check `TRUE` to compare with the exact posterior whatever the size of the fit. By
#'   default that is done once, by the fit, for up to 2,000 levels times terms of the random
#'   effects, or 100,000 rows times components times numbers in a row: its cost, some 5,000
#'   evaluations of the likelihood and twice as many where they leave doubt, grows with these and
#'   may exceed that of the fit.
#' @param ... for methods.
#' @return A list of class `elbo_convergence`, which prints its `message`:
#' \describe{
#'   \item{`status`}{`"converged"`, `"max_iter"` (the iterations of [elbo_control()] ran out)
#'     or `"stopped"` (interrupted, or no step raised the objective).}
#'   \item{`iterations`}{iterations run, of which `em`, `squarem`, `quasi_newton` and `newton` say
#'     how many of each kind.}
#'   \item{`passes`}{times the rows were read to make the model, from its starts, and on the way up,
#'     line searches included: parts of the data as parts of a pass. Of mixed models it is one, and
#'     two where columns are dropped: iterations read the statistics of groups; a refit by the
#'     statistics of another fit reads no rows. What model frames read is not counted, nor moves of
#'     mixtures that led nowhere, nor, of laws of responses that look at rows in their own steps
#'     (binomial and Poisson regressions, memberships), how often.}
#'   \item{`gradient`}{the scaled gradient at the answer: the largest
#'     \eqn{|g_j|\,\mathrm{se}_j}{|g_j| se_j} over the free parameters on their unconstrained
#'     scale, projected where a parameter is on its boundary. It has no unit: 1 would mean that
#'     one standard error moves the log-likelihood by 1. After quasi-Newton steps standard errors
#'     are by their metric; `NA` where the last steps had neither it nor second derivatives.}
#'   \item{`gain`}{what is still to gain, \eqn{\frac12 g'I^{-1}g}{g'I^-1 g / 2}, in
#'     log-likelihood, with the metric in place of I after quasi-Newton steps, or by the rate of the
#'     last EM steps; `NA` where none of them tells.}
#'   \item{`message`}{the same as a sentence.}
#'   \item{`monte_carlo`, `monte_carlo_theta`, `effective`, `corrected`}{where [elbo_control()] asks
#'     for importance sampling: Monte Carlo standard deviations of the log-likelihood and of
#'     [theta()], the effective share of the draws, and whether the estimates are corrected as the
#'     log-likelihood is. Where so few draws count that they cannot correct them the estimates are
#'     Laplace's (`FALSE`), and `monte_carlo_theta` is `NA`.}
#' }
#' and for method `"vb"`
#' \describe{
#'   \item{`trusted`}{whether linear response is right: every standard deviation within 5 % (of
#'     mixtures 10 %) of the exact one, two Monte Carlo errors included, and every mean within 0.2
#'     (0.3) standard deviations. `FALSE` also where importance sampling fails, and where a
#'     mixture's components are empty; `NA` where nothing was compared, as for mixtures with smooth
#'     curves of components.}
#'   \item{`khat`}{shape of the generalised Pareto distribution of the largest importance
#'     weights. Above 0.7 they cannot be relied on.}
#'   \item{`sd_error`}{the largest relative error of a standard deviation by linear response.}
#'   \item{`check`}{data frame, a row for each free parameter: `name`, exact posterior `mean`
#'     and `sd`, relative error `sd_error` of the standard deviation by linear response and its
#'     Monte Carlo standard error `mc_error`, `mean_shift`: mean under q less exact mean, in
#'     exact standard deviations. `NULL` where nothing was compared.}
#'   \item{`log_evidence`}{log p(y) by importance sampling, below which the ELBO stays (of a mixture
#'     all equal modes together).}
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
  state <- convergence_of(object)
  if (check && method_of(object) == "vb") {
    verdict <- posterior_verdict(object, always = TRUE)
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
