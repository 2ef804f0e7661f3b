# The answers of a mixture that need no more room. R/components.R has the parameters in their
# shapes, R/mixture_predict.R what is said of rows and units.
#
#   unit_probability(fit)       q(z) of the units of the fit, n_unit x k; zeros and ones under joint
#   unit_freq(fit)              copies of each unit
#   evaluate_mixture(fit, design, state)      what C says of a design at a state

#' Estimates, sizes and residuals of a mixture
#'
#' The usual generics, for mixtures. What they say of a fit as a whole is as in
#' [other fits][elbo_fit-methods]; the differences follow from the components.
#'
#' `coef()` is the vector of all that has the role of a coefficient, of each component: means,
#' coefficients of regressions, probabilities of categories, and coefficients of membership.
#' [components()] has them in their natural shapes.
#'
#' `fitted()` is the mean of each response given the posterior probabilities of its unit's
#' components, \eqn{\sum_j q(z_i=j)\,E[y\mid z_i=j]}{sum_j q(z = j) E[y | z = j]};
#' `predict(fit, newdata, type = "response")` uses the probabilities before the response.
#'
#' `logLik()` of mixtures of curves with smooth terms, `s()` outside of ( | ), is a lower bound of
#' the log-likelihood when there are several components, the ELBO (less the log prior, if there is
#' one): the coefficients of these terms are latent variables of the components, and `"em"` takes
#' the best law of them in which they are independent of the components of units. How far it is from
#' the log-likelihood depends on how clearly the units are classified: where each has a component of
#' probability one it is equal. `AIC()`, `BIC()` and [selection()] use it.
#'
#' @param object,x a fit made by [fit_mixture()].
#' @param type of residuals: `"response"`, or `"pearson"`: divided by the standard deviation within
#'   components, \eqn{\{\sum_j q(z_i=j)\,\mathrm{var}(y\mid z_i=j)\}^{1/2}}{sqrt(sum_j q(z = j)
#'   var(y | z = j))}. Of weights: only `"prior"`.
#' @param ... not used.
#' @param scaled whether to divide residuals by the standard deviation, as `"pearson"` ones are.
#' @return
#' * `coef()`: named numeric vector, those held constant included.
#' * `sigma()`: residual standard deviations of regressions, named by component unless they are
#'   common; of a single response the standard deviations of the components; of several a k x d
#'   matrix.
#' * `nobs()`: number of units (copies counted, see `freq`); rows, where every row is a unit.
#'   `df.residual()`: that less the number of free parameters.
#' * `weights()`: precision weights (or numbers of trials) by row, ones when none were given.
#' * `fitted()`, `residuals()`: a vector named by the rows; with several responses a matrix, where a
#'   categorical response has a column of probabilities (or of zeros and ones) for each level.
#' * `model.matrix()`: of a mixture of regressions; of other mixtures a column of ones.
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV")
#' coef(fit)
#' sigma(fit)
#' head(fitted(fit))
#' @name elbo_mixture-methods
NULL

#' @rdname elbo_mixture-methods
#' @export
sigma.elbo_mixture <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$sigma)
  law_of(object)$sigma(object)
}

#' @rdname elbo_mixture-methods
#' @export
nobs.elbo_mixture <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$nobs)
  sum(unit_freq(object))
}

unit_freq <- function(fit) {
  if (is.null(design_of(fit)$freq)) rep(1, design_of(fit)$n_unit) else design_of(fit)$freq
}

#' @rdname elbo_mixture-methods
#' @export
weights.elbo_mixture <- function(object, type = "prior", ...) {
  check_dots_empty(...)
  check_choice(type, "type", "prior")
  design <- design_of(object)
  given <- if (is.null(design$trials)) design$weights else design$trials
  by_frame_row(object, if (is.null(given)) rep(1, design$n_row) else given)
}

#' @rdname elbo_mixture-methods
#' @export
fitted.elbo_mixture <- function(object, ...) {
  check_dots_empty(...)
  by_frame_row(object, fitted_means(object))
}

#' @rdname elbo_mixture-methods
#' @export
residuals.elbo_mixture <- function(object, type = c("response", "pearson"), ..., scaled = FALSE) {
  check_dots_empty(...)
  type <- check_choice(type, "type", c("response", "pearson"))
  # There is no other scale than that of a row.
  if (check_flag(scaled, "scaled")) type <- "pearson"
  probability <- unit_probability(object)
  residual <- response_values(object) - fitted_means(object)
  if (type == "pearson") {
    variance <- average_components(object, component_variances(object, design_of(object)),
                                   design_of(object), probability)
    residual <- ifelse(residual == 0 & variance == 0, 0, residual / sqrt(variance))
  }
  by_frame_row(object, residual)
}

#' @rdname elbo_mixture-methods
#' @export
model.matrix.elbo_mixture <- function(object, ...) {
  check_dots_empty(...)
  stats::model.matrix(stats::delete.response(terms(object)), frame_of(object),
                      contrasts.arg = contrasts_of(object))
}

#' @rdname elbo_mixture-methods
#' @export
ranef.elbo_mixture <- function(object, ...) {
  check_dots_empty(..., .but = "condVar")
  law <- law_of(object)
  if (!law$has_deviations) {
    not_for("mixture", "ranef()", "The latent variables are components: latent(fit).")
  }
  stats::setNames(list(as.data.frame(law$deviations(object))),
                  deparse_line(design_of(object)$spec$unit[[1]]))
}

# Means of the rows of the fit, the deviations of units included.
fitted_means <- function(fit) {
  means <- averaged_means(fit, design_of(fit), unit_probability(fit))
  law <- law_of(fit)
  if (law$has_deviations) with_deviations(means, design_of(fit), law$deviations(fit)) else means
}

# In the order of the frame, named by its rows, padded as its na.action wants it.
by_frame_row <- function(fit, values) {
  values <- frame_order(as.matrix(values), design_of(fit))
  stats::naresid(design_of(fit)$na.action, values)
}

#' @exportS3Method
has_latent.elbo_mixture <- function(fit) n_components(fit) > 1 || law_of(fit)$has_deviations

# ---- what C says -------------------------------------------------------------------------

evaluate_mixture <- function(fit, design = design_of(fit), state = state_of(fit)) {
  answer <- .Call(C_mixture_evaluate, fit_model(fit, design), state)
  at_fit <- identical(state, state_of(fit))
  if (answer$status == 0 && !(at_fit && -Inf %in% answer$log_density)) return(answer)
  if (at_fit) {
    abort(c("The density of `newdata` is zero under every component, to the last digit",
            "a number has: its values are too far from those of the fit."), "elbo_error_data")
  }
  abort("These parameters are outside of their space: a covariance is not positive definite, say.",
        "elbo_error_argument")
}

# The probabilities of the components of every unit.
unit_probability <- function(fit) {
  if (is.null(cache_of(fit)$probability)) {
    probability <- evaluate_mixture(fit)$probability
    cache_of(fit)$probability <- label_units(fit, design_of(fit), harden(fit, probability))
  }
  cache_of(fit)$probability
}

# Under joint the latent variables are points.
harden <- function(fit, probability) {
  if (method_of(fit) != "joint") return(probability)
  class <- most_probable(probability)
  out <- 0 * probability
  out[cbind(seq_along(class), class)[!is.na(class), , drop = FALSE]] <- 1
  out
}

label_units <- function(fit, design, probability) {
  dimnames(probability) <- list(design$unit_names, component_labels(fit))
  probability
}

# A mixture of Gaussian regressions without covariates is a normal mixture, whose variances have
# other words. Said here they stay what they are, so that the models are nested.
#' @exportS3Method
follow_formula.elbo_mixture <- function(object, call) {
  renamed <- law_of(object)$renamed
  renamed(object, call, function() {
    mixture_kind(parse_mixture(call$formula, frame_of(object)), design_of(object)$spec$family,
                 !is.null(call$weights))
  })
}
