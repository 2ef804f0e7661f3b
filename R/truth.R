#' What simulated data were made from
#'
#' The functions `sim_*()` make data frames; `truth()` gives the parameters and the latent
#' variables behind one of them.
#'
#' @param x a data frame made by one of the functions `sim_*()`.
#' @param ... for methods.
#' @return A list:
#' \describe{
#'   \item{`theta`}{named numeric vector of the parameters, with the names and the scale that
#'     [theta()] gives them in a fit of the model the data were drawn from.}
#'   \item{`latent`}{data frame of the latent variables as they were drawn: `group`, `level`,
#'     `term` and `value`, in the order of [latent()].}
#' }
#' @family simulators
#' @export
#' @examples
#' pairs <- sim_pairs(50, theta = 1)
#' fit <- fit_glmm(y ~ 0 + (1 | pair), pairs, prior = priors(pair = constant(1)))
#' cbind(truth = truth(pairs)$theta, estimate = theta(fit))
truth <- function(x, ...) UseMethod("truth")

#' @rdname truth
#' @export
truth.default <- function(x, ...) {
  check_dots_empty(...)
  answer <- attr(x, "truth", exact = TRUE)
  if (is.null(answer)) {
    abort(c(
      "`x` carries no truth: it was not made by one of the functions `sim_*()`, or was",
      "changed since. Call `truth()` on the data frame as it was made."
    ), "elbo_error_no_truth")
  }
  answer
}

# The latent variables of a simulation, as latent() lays out their posteriors.
# `values`: a row per level, a named column per term.
latent_values <- function(values, group, levels) {
  data.frame(
    group = group,
    level = rep(levels, each = ncol(values)),
    term = rep(colnames(values), times = nrow(values)),
    value = as.vector(t(values))
  )
}
