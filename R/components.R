# The components of a mixture in natural shapes, put together from theta().
#
#   component_values(fit, block)    k x terms: the entries of theta() of a block, without the
#                                   common ones; columns named by what stands before `|`
#   component_covariances(fit)      k x d x d from the sds and correlations, d may be 0
#   component_weights(fit, W)       rows of W (or one row) x k: P(component) before the response

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
  rest <- switch(object$kind,
    normal = normal_components(object),
    classes = class_components(object),
    list(
      coefficients = component_coefficients(object),
      covariance = if (object$kind == "curves") curve_covariances(object)
                   else component_covariances(object),
      sigma = component_sigma(object)
    )
  )
  c(list(weight = weight), rest)
}

#' @export
components.elbo_fit <- function(object, ...) {
  check_dots_empty(...)
  only_for_mixtures("components()")
}

# Of regressions and curves, k x columns of X.
component_coefficients <- function(fit) {
  beta <- component_values(fit, "beta")
  if (has_curves(fit)) cbind(beta, smooth_coefficients(fit)) else beta
}

normal_components <- function(fit) {
  mean <- component_values(fit, "mean", "mean__")
  list(mean = mean, covariance = component_covariances(fit))
}

class_components <- function(fit) {
  values <- component_values(fit, "prob", "prob__")
  variables <- fit$design$variables
  variables <- variables[variables$type != "gaussian", ]
  probability <- Map(function(name, type, levels) {
    yes <- values[, name[type == "binomial"], drop = FALSE]
    P <- if (type == "binomial") cbind(1 - yes, yes)
         else values[, paste0(name, ".", levels), drop = FALSE]
    dimnames(P) <- list(rownames(values), levels)
    P
  }, variables$name, variables$type, variables$levels)
  c(list(probability = probability), normal_components(fit))
}

component_values <- function(fit, block, prefix = "") {
  rows <- which(fit$parameters$block == block & !is.na(fit$parameters$component))
  labels <- component_labels(fit)
  if (length(rows) == 0) return(matrix(0, fit$k, 0, dimnames = list(labels, NULL)))
  of_component <- split(rows, fit$parameters$component[rows])
  terms <- parameter_terms(fit$parameters$name[of_component[[1]]])
  values <- t(vapply(of_component, function(rows) unname(fit$theta[rows]), numeric(length(terms))))
  matrix(values, length(of_component), length(terms),
         dimnames = list(names(of_component), substring(terms, nchar(prefix) + 1)))
}

component_labels <- function(fit) as.character(seq_len(fit$k))

# "mean__x|2" to "mean__x".
parameter_terms <- function(names) sub("[|][^|]*$", "", names)

# Of rows of fit$parameters; what is common to all components has no number to take off.
own_terms <- function(parameters) {
  ifelse(is.na(parameters$component), parameters$name, parameter_terms(parameters$name))
}

component_covariances <- function(fit) {
  sd <- component_values(fit, "sd", "sd__")
  cor <- component_values(fit, "cor")
  d <- ncol(sd)
  out <- array(0, c(fit$k, d, d), list(component_labels(fit), colnames(sd), colnames(sd)))
  lower <- which(lower.tri(diag(d)), arr.ind = TRUE)
  for (j in seq_len(fit$k)) {
    R <- diag(d)
    if (ncol(cor) > 0) R[lower] <- R[lower[, 2:1, drop = FALSE]] <- cor[j, ]
    out[j, , ] <- R * outer(sd[j, ], sd[j, ])
  }
  out
}

# Of the residuals of each component; of a family without one it is 1.
component_sigma <- function(fit) {
  sigma <- unname(fit$theta[fit$parameters$block == "sigma"])
  if (length(sigma) == 0) sigma <- 1
  stats::setNames(rep_len(sigma, fit$k), component_labels(fit))
}

# ---- weights -----------------------------------------------------------------------------

component_weights <- function(fit, W = NULL) {
  if (is.null(W)) {
    weight <- fit$theta[fit$parameters$block == "weight"]
    return(matrix(weight, 1, fit$k, dimnames = list(NULL, component_labels(fit))))
  }
  if (fit$k == 1) return(matrix(1, nrow(W), 1, dimnames = list(rownames(W), "1")))
  # The first component is the baseline.
  softmax(W %*% t(finite_membership(fit)), component_labels(fit))
}

softmax <- function(eta, labels) {
  out <- exp(eta - apply(eta, 1, max))
  out <- out / rowSums(out)
  dimnames(out) <- list(rownames(eta), labels)
  out
}

# Of the units of the fit, n_unit x k.
unit_weights <- function(fit, design = fit$design) {
  weights <- component_weights(fit, design$W)
  weights[rep_len(seq_len(nrow(weights)), design$n_unit), , drop = FALSE]
}
