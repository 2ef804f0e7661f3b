# Components that method "vb" has emptied.
#
#   occupied(fit)                                those that have units
#   emptied(fit)                                 the others
#   fuller_candidate(candidate, units, control)  a candidate with the answer that keeps more of
#                                                them, where that is the more probable one
#
# The ELBO is the log evidence less a divergence, and where components overlap the divergence of an
# optimum with all of them is large (q has the components of units independent of the parameters),
# while one with a component emptied has almost none: the highest ELBO empties components that are
# there. To second order the divergence is what linear response adds to the volume of q,
#
#   log p(y) - ELBO = log |Sigma| / 2 - log |V| / 2,   Sigma = V (-H)^{-1} V,
#
# V the covariance of the statistics under q, so that optima are compared by the ELBO plus that. A
# partition by "em", which empties nothing, leads to the fuller one.

occupied <- function(fit) {
  if (method_of(fit) != "vb") return(seq_len(n_components(fit)))
  which(component_size(fit) > 0.5)
}

emptied <- function(fit) setdiff(seq_len(n_components(fit)), occupied(fit))

n_occupied <- function(result) sum(result$size > 0.5)

fuller_candidate <- function(candidate, units, control) {
  model <- candidate$model
  result <- candidate$result
  k <- candidate$k
  if (k == 1 || model$method != 2L || is.null(units$coordinates) || !alive(result)) {
    return(candidate)
  }
  if (n_occupied(result) == k || model$n_row * result$n_eta^2 > 2e9) return(candidate)
  start <- em_partition(candidate, units, control)
  if (is.null(start)) return(candidate)
  fuller <- finish_ascent(model, climb(model, list(probability = start), control), control)
  if (!alive(fuller) || n_occupied(fuller) <= n_occupied(result)) return(candidate)
  gain <- corrected_elbo(model, fuller) - corrected_elbo(model, result)
  if (!isTRUE(gain > 0)) return(candidate)
  fuller$starts <- rbind(result$starts, data.frame(start = "em", objective = fuller$objective,
                                                   status = "fuller"))
  fuller$emptier <- list(occupied = n_occupied(result), objective = result$objective, gain = gain,
                         criterion = vb_criterion(result, k, candidate$priors))
  candidate$result <- fuller
  candidate
}

# Probabilities of the components of units by "em" under the same priors, but for that of the
# weights.
em_partition <- function(candidate, units, control) {
  told <- candidate$priors$told
  told$weights[c("law", "alpha")] <- list("flat", NULL)
  design <- units$full
  points <- mixture_model(design, candidate$k, "em", candidate$covariance, told)
  short <- if (candidate$short$n_unit == candidate$model$n_unit) points
           else mixture_model(units$design, candidate$k, "em", candidate$covariance, told)
  found <- best_ascent(points, short, mixture_starts(units, candidate$k, control, "em"), control)
  if (alive(found)) .Call(C_mixture_evaluate, points, found$state)$probability
}

corrected_elbo <- function(model, result) {
  answer <- .Call(C_mixture_information, model, result$state)
  if (answer$status != 0) return(NA_real_)
  volume <- function(A) {
    determinant <- determinant(A)
    if (determinant$sign > 0) as.numeric(determinant$modulus) else NA_real_
  }
  result$objective + 0.5 * (volume(answer$V) - volume(-answer$hessian))
}

# ---- in words ------------------------------------------------------------------------------------

empty_words <- function(fit) {
  n <- length(emptied(fit))
  c(
    if (n > 0) {
      sprintf(paste("%d of %d components %s empty (less than half a unit each), with parameters",
                    "as their prior has them. That is no evidence against %s: by \"vb\" components",
                    "empty where they are not needed, and also where they overlap others. Weights",
                    "have no standard errors then. Compare with method = \"em\", or a prior as",
                    "priors(weight = dirichlet(4))."),
              n, n_components(fit), if (n == 1) "is" else "are", if (n == 1) "it" else "them")
    },
    if (!is.null(emptier_of(fit))) {
      sprintf(paste("An optimum with %s has an ELBO higher by %s; corrected by what linear",
                    "response adds to the volume of q, the log evidence of this one is higher",
                    "by %s."),
              count_words(emptier_of(fit)$occupied, "occupied component"),
              fixed_text(emptier_of(fit)$objective - objective_of(fit), 1),
              fixed_text(emptier_of(fit)$gain, 1))
    }
  )
}
