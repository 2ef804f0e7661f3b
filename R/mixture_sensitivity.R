# How the posterior means of a mixture by method "vb" move with its priors: with g the gradient of
# the ELBO by eta, H its derivative and alpha a number in a prior (implicit function theorem),
#
#   d E_q[theta] / d alpha = J (-H)^{-1} dg/d alpha,
#
# the formula of linear response. g is C's; its derivative by alpha a central difference.

#' @rdname sensitivity
#' @details
#' Of a mixture by method `"vb"` `to = "prior"` gives the derivatives of all posterior means; a
#' prior scale matrix moves as a whole, by a factor. `to = "data"` is not available.
#' @export
sensitivity.elbo_mixture <- function(object, to = c("prior", "data"), ...) {
  to <- check_choice(to, "to", c("prior", "data"))
  check_dots_empty(...)
  if (to == "data") {
    abort(c("Sensitivity to the data is for mixed models;",
            "bootstrap() shows how far the components of a mixture move with the sample."),
          "elbo_error_not_available")
  }
  if (object$method != "vb") {
    abort(c(sprintf("Sensitivity to the prior is for fits by method \"vb\", not \"%s\".",
                    object$method), "Use update(fit, method = \"vb\")."),
          "elbo_error_not_available")
  }
  numbers <- mixture_prior_numbers(object)
  free <- which(!object$parameters$fixed)
  information <- mixture_information(object)
  slopes <- vapply(numbers, function(number) {
    score <- score_by_prior(object, number)
    drop(information$jacobian %*% information$eta_cov %*% score)[free]
  }, numeric(length(free)))
  slopes <- matrix(slopes, length(free))
  field <- function(name) vapply(numbers, `[[`, vector(mode(numbers[[1]][[name]]), 1), name)
  rows <- rep(seq_along(numbers), each = length(free))
  data.frame(
    estimate = rep(object$parameters$name[free], length(numbers)),
    prior = field("prior")[rows], number = field("number")[rows], value = field("value")[rows],
    derivative = as.vector(slopes), per_sd = as.vector(slopes / standard_errors(object)[free])
  )
}

# Every number in a prior: prior (names of what shares it), number (in words), value; slots and
# field, where it is; at, which of the numbers of the field (NULL: all, by a factor); and unit, of
# which a small part is a small step. The probabilities of all categories share one Dirichlet.
mixture_prior_numbers <- function(fit) {
  stated <- fit$priors$stated
  stated <- stated[!vapply(stated, function(p) is.null(p) || is_constant(p), NA)]
  shared <- names(stated) %in% fit$design$variables$name[fit$design$variables$type != "gaussian"]
  groups <- c(as.list(names(stated)[!shared]), if (any(shared)) list(names(stated)[shared]))
  unlist(lapply(groups, function(slots) {
    numbers <- numbers_of_prior(stated[[slots[1]]])
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

score_by_prior <- function(fit, number) {
  step <- 1e-4 * number$unit
  gradient <- function(step) {
    .Call(C_mixture_information, fit_model(move_prior(fit, number, step)), fit$state)$gradient
  }
  (gradient(step) - gradient(-step)) / (2 * step)
}

# The fit under a prior of which one number is moved, q as it is.
move_prior <- function(fit, number, step) {
  stated <- fit$priors$stated
  for (slot in number$slots) {
    values <- stated[[slot]]$parameters[[number$field]]
    if (is.null(number$at)) values <- values * (1 + step)
    else values[number$at] <- values[number$at] + step
    stated[[slot]]$parameters[[number$field]] <- values
  }
  prior <- structure(stated[lengths(stated) > 0], class = "elbo_priors")
  fit$priors <- mixture_priors(prior, fit$design, fit$k, fit$method)
  fit
}
