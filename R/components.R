# The components of a mixture in natural shapes, put together from theta().
#
#   component_values(fit, block)    k x terms: the entries of theta() of a block, without the
#                                   common ones; columns named by their terms

#' @export
generics::components

#' The components of a mixture
#'
#' Weights and parameters of every component, in the order of the weights, largest first, and in
#' the shapes that further computing wants. The same numbers, as a vector with standard errors, are
#' [theta()] and [vcov()][vcov.elbo_mixture].
#'
#' @param object A fit made by [fit_mixture()].
#' @param ... Not used.
#' @return A list. Of a multivariate normal mixture of d responses:
#' \describe{
#'   \item{`weight`}{numeric vector of length k. Where weights depend on covariates (`membership`)
#'     their mean over the units.}
#'   \item{`mean`}{k x d matrix.}
#'   \item{`covariance`}{k x d x d array, also when the components share a covariance.}
#' }
#' Of a mixture of regressions or of curves `weight`, `coefficients` (k x p matrix), `covariance`
#' (k x q x q, of the q random effects of a unit; q is 0 without them) and `sigma` (numeric vector
#' of length k, also when it is common; 1 for binomial and Poisson responses). The coefficients of
#' smooth terms are among these, as `s(x).1`, `s(x).2`, ...: their means, as they are latent
#' variables and no part of [theta()], which has their standard deviation `sd__s(x)|1`.
#' Of latent classes `weight`, `probability` (a list with, for each categorical or logical variable,
#' a k x levels matrix), and `mean` and `covariance` of the numeric variables.
#'
#' By method `"vb"` these are the posterior means of [theta()], covariances those of the mean
#' standard deviations and correlations.
#' @seealso [tidy()][tidy.elbo_mixture] for a data frame, [latent()] for the units.
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV")
#' components(fit)
#' components(fit)$covariance[1, , ]
#' @importFrom generics components
#' @export
components.elbo_mixture <- function(object, ...) {
  check_dots_empty(...)
  weight <- colSums(unit_weights(object) * unit_freq(object)) / nobs(object)
  c(list(weight = weight), law_of(object)$components(object))
}

#' @export
components.elbo_glmm <- function(object, ...) {
  check_dots_empty(...)
  only_for_mixtures("components()")
}

component_values <- function(fit, block) {
  rows <- which_parameters(fit, block)
  rows <- rows[!is.na(parameters_of(fit)$component[rows])]
  labels <- component_labels(fit)
  if (length(rows) == 0) return(matrix(0, n_components(fit), 0, dimnames = list(labels, NULL)))
  of_component <- split(rows, parameters_of(fit)$component[rows])
  terms <- inner_terms(parameters_of(fit)[of_component[[1]], ])
  values <- t(vapply(of_component, function(rows) unname(theta(fit)[rows]), numeric(length(terms))))
  matrix(values, length(of_component), length(terms), dimnames = list(names(of_component), terms))
}

component_labels <- function(fit) as.character(seq_len(n_components(fit)))
