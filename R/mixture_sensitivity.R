# How the posterior means of a mixture by method "vb" move with its priors, and the expected
# number of its occupied components: with g the gradient of the ELBO by eta, H its derivative and
# alpha a number in a prior (implicit function theorem),
#
#   d eta / d alpha = (-H)^{-1} dg/d alpha,   d E_q[theta] / d alpha = J d eta / d alpha,
#
# the formula of linear response. g is V times the natural gradient, which is C's; its derivative by
# alpha a central difference, and so is that of the number of components along d eta / d alpha.

#' @rdname sensitivity
#' @details
#' Of a mixture by method `"vb"` `to = "prior"` gives the derivatives of all posterior means; a
#' prior scale matrix moves as a whole, by a factor. `to = "data"` is not available.
#'
#' Two more estimates of a mixture are `components`, the expected number of components that some
#' unit of the sample belongs to, \eqn{\sum_j (1-\prod_i(1-r_{ij}))}{sum_j (1 - prod_i (1 -
#' r_ij))} with \eqn{r_{ij}}{r_ij} the probabilities of [latent()], and `components, new sample`,
#' that of as many new units, \eqn{\sum_j (1-E_q[(1-\pi_j)^n])}{sum_j (1 - E_q[(1 - pi_j)^n])}
#' (not with `membership`). Their derivative by `alpha`, the concentration of `stick_breaking()`
#' or `dirichlet()`, says how far the number of components is the prior's choice (Giordano, Liu,
#' Jordan and Broderick 2023). Their values are the attribute `"components"`, so that value +
#' derivative x change is the linear prediction for another prior; they have no `per_sd`.
#' @references
#' Giordano, R., Liu, R., Jordan, M. I. and Broderick, T. (2023). Evaluating sensitivity to the
#' stick-breaking prior in Bayesian nonparametrics. *Bayesian Analysis* 18, 287--366.
#' \doi{10.1214/22-BA1309}
#' @examples
#' genes <- sim_curves(60, k = 3, seed = 1)
#' fit <- fit_mixture(expr ~ poly(time, 3) + (1 | gene), genes, k = 6, unit = ~ gene, method = "vb",
#'                    prior = priors(weight = stick_breaking(1)))
#' s <- sensitivity(fit)
#' attr(s, "components")
#' subset(s, grepl("components", estimate) & prior == "weight")
#' @export
sensitivity.elbo_mixture <- function(object, to = c("prior", "data"), ...) {
  to <- check_choice(to, "to", c("prior", "data"))
  check_dots_empty(...)
  if (to == "data") {
    abort(c("Sensitivity to the data is for mixed models;",
            "bootstrap() shows how far the components of a mixture move with the sample."),
          "elbo_error_not_available")
  }
  if (method_of(object) != "vb") {
    abort(c(sprintf("Sensitivity to the prior is for fits by method \"vb\", not \"%s\".",
                    method_of(object)), "Use update(fit, method = \"vb\")."),
          "elbo_error_not_available")
  }
  numbers <- mixture_prior_numbers(object)
  free <- which(!parameters_of(object)$fixed)
  counts <- expected_components(object, state_of(object), unit_probability(object))
  estimates <- c(parameters_of(object)$name[free], names(counts))
  slopes <- vapply(numbers, function(number) {
    direction <- eta_by_prior(object, number)
    means <- mixture_information(object)$jacobian %*% direction
    c(means[free], components_along(object, direction))
  }, numeric(length(estimates)))
  field <- function(name) vapply(numbers, `[[`, vector(mode(numbers[[1]][[name]]), 1), name)
  rows <- rep(seq_along(numbers), each = length(estimates))
  sd <- c(standard_errors(object)[free], NA * counts)
  table <- data.frame(
    estimate = rep(estimates, length(numbers)),
    prior = field("prior")[rows], number = field("number")[rows], value = field("value")[rows],
    derivative = as.vector(slopes), per_sd = as.vector(slopes / sd)
  )
  structure(table, components = counts, labels = parameter_labels(object),
            class = c("elbo_sensitivity", "data.frame"))
}

# Every number in a prior: prior (names of what shares it), number (in words), value; slots and
# field, where it is; at, which of the numbers of the field (NULL: all, by a factor); and unit, of
# which a small part is a small step. The probabilities of all categories share one Dirichlet.
mixture_prior_numbers <- function(fit) {
  stated <- priors_of(fit)$stated
  stated <- stated[!vapply(stated, function(p) is.null(p) || is_constant(p), NA)]
  shared <- names(stated) %in% law_of(fit)$shared_priors(design_of(fit))
  groups <- c(as.list(names(stated)[!shared]), if (any(shared)) list(names(stated)[shared]))
  unlist(lapply(groups, function(slots) {
    prior <- stated[[slots[1]]]
    if (slots[1] == "membership") prior$parameters$mean <- NULL # zero, whatever the labels
    numbers <- numbers_of_prior(prior)
    lapply(numbers, c, list(prior = toString(slots), slots = slots))
  }), recursive = FALSE)
}

numbers_of_prior <- function(prior) {
  of_field <- function(field) {
    values <- prior$parameters[[field]]
    if (is.matrix(values)) {
      return(list(list(field = field, at = NULL, number = paste(field, "(factor)"), value = 1,
                       unit = 1)))
    }
    lapply(seq_along(values), function(i) {
      list(field = field, at = i,
           number = if (length(values) > 1) sprintf("%s[%d]", field, i) else field,
           value = as.double(values[i]),
           unit = if (field == "mean") location_unit(prior, i) else as.double(values[i]))
    })
  }
  unlist(lapply(names(prior$parameters), of_field), recursive = FALSE)
}

# A mean has no scale of its own but the prior's.
location_unit <- function(prior, i = 1) {
  sd <- prior$parameters$sd
  if (!is.null(sd)) return(sd)
  scale <- as.matrix(prior$parameters$scale)
  sqrt(diag(scale)[min(i, nrow(scale))] / prior$parameters$kappa)
}

# d eta / d alpha at the optimum.
eta_by_prior <- function(fit, number) {
  step <- 1e-4 * number$unit
  slope <- function(step) mixture_slope(move_prior(fit, number, step))$slope
  information <- mixture_information(fit)
  by_alpha <- information$V %*% (slope(step) - slope(-step)) / (2 * step)
  drop(information$eta_cov %*% by_alpha)
}

# The natural gradient of the ELBO, the probabilities of z and the state of q, where eta is moved.
mixture_slope <- function(fit, move = NULL) {
  .Call(C_mixture_slope, fit_model(fit), state_of(fit), move)
}

# The fit under a prior of which one number is moved, q as it is.
move_prior <- function(fit, number, step) {
  stated <- priors_of(fit)$stated
  for (slot in number$slots) {
    values <- stated[[slot]]$parameters[[number$field]]
    if (is.null(number$at)) values <- values * (1 + step)
    else values[number$at] <- values[number$at] + step
    stated[[slot]]$parameters[[number$field]] <- values
  }
  prior <- structure(stated[lengths(stated) > 0], class = "elbo_priors")
  priors_of(fit) <- mixture_priors(prior, design_of(fit), n_components(fit), method_of(fit))
  fit
}

# ---- the number of components ------------------------------------------------------------

# In the sample, and in a new one of the same size.
expected_components <- function(fit, state, probability) {
  log_empty <- colSums(unit_freq(fit) * log1p(-probability))
  counts <- c(components = -sum(expm1(log_empty)))
  state_of(fit) <- state
  empty <- empty_in_new_sample(weight_factors(fit)$weights, nobs(fit))
  if (!is.null(empty)) counts["components, new sample"] <- sum(1 - empty)
  counts
}

# Their derivative along a direction of eta, over a distance that changes q by little: the
# variance of direction'T, T the sufficient statistics, is its squared length.
components_along <- function(fit, direction) {
  length <- sqrt(sum(direction * (mixture_information(fit)$V %*% direction)))
  if (!is.finite(length) || length == 0) {
    return(0 * expected_components(fit, state_of(fit), unit_probability(fit)))
  }
  step <- 1e-3 / length
  at <- function(step) {
    moved <- mixture_slope(fit, step * direction)
    expected_components(fit, moved$state, moved$probability)
  }
  (at(step) - at(-step)) / (2 * step)
}
