#' Compare mixtures by their likelihoods
#'
#' Nested mixtures with the same number of components are compared by the chi-square law of the
#' likelihood ratio. That law does not hold between different numbers of components: the smaller
#' model is the larger one with a weight on its boundary, or with two components alike, which leaves
#' other parameters undefined. There the ratio is compared with that of draws from the smaller model
#' (McLachlan 1987), to each of which both models are fitted, the larger one from as many starts as
#' [elbo_control()] says.
#'
#' What [anova()][anova.elbo_fit] does with fits made by [fit_mixture()] by method `"em"`, without
#' priors. `test = "auto"` takes the chi-square law where it holds; `"chisq"` and `"bootstrap"`, of
#' 199 draws where `nsim` is not given, insist. That the smaller model is a case of the larger one
#' is taken on trust. Fits whose components have smooth terms are compared by the lower bounds that
#' [logLik()] has of them.
#' @references
#' McLachlan, G. J. (1987). On bootstrapping the likelihood ratio test statistic for the number of
#' components in a normal mixture. *Journal of the Royal Statistical Society C* 36, 318--324.
#' \doi{10.2307/2347790}
#' @family what a mixture answers
#' @examples
#' one <- fit_mixture(waiting ~ 1, faithful, k = 1)
#' two <- fit_mixture(waiting ~ 1, faithful, k = 2, covariance = "E")
#' anova(one, two, nsim = 19, seed = 1)
#' @name anova.elbo_mixture
NULL

#' @exportS3Method
check_compared.elbo_mixture <- function(fit, fits) check_comparable_mixtures(fits)

check_comparable_mixtures <- function(fits) {
  mixtures <- vapply(fits, inherits, NA, "elbo_mixture")
  if (!all(mixtures) || length(fits) < 2) {
    abort(c("anova() compares two or more mixtures with each other.",
            "Tests of single coefficients are in summary()."), "elbo_error_argument")
  }
  if (any(vapply(fits, informed, NA))) {
    abort("Likelihood ratios are of fits without priors: use update(fit, prior = NULL).",
          "elbo_error_argument")
  }
  check_comparable(fits, response_values)
}

#' @exportS3Method
ratio_law.elbo_mixture <- function(small, large) {
  if (n_components(small) == n_components(large)) "chisq" else "bootstrap"
}

#' @exportS3Method
bootstrap_ratio.elbo_mixture <- function(small, large, statistic, nsim, seed) {
  if (is.null(nsim)) nsim <- 199L
  ratio <- unlist(repeated(nsim, function() drawn_ratio(small, large), seed, control_of(large),
                           "Refits"))
  used <- sum(!is.na(ratio))
  p <- if (used > 0) (1 + sum(ratio >= statistic - 1e-8, na.rm = TRUE)) / (1 + used) else NA
  law <- sprintf("bootstrap of %d", used)
  if (used < nsim) law <- sprintf("%s (of %d draws, %d had no fit)", law, nsim, nsim - used)
  if (used < nsim / 2) {
    warn(c(sprintf("Only %d of %d draws from the smaller model could be fitted by the larger one:",
                   used, nsim),
           "its p-value says little.",
           "A common variance or a prior keeps components from collapsing."),
         "elbo_warning_bootstrap")
  }
  list(p = p, law = law)
}

# Of responses drawn from the smaller model; NA where a fit collapses.
drawn_ratio <- function(small, large) {
  drawn <- redrawn_design(small)
  design_of(large) <- copies_apart(design_of(large))
  responses <- intersect(c("Y", "y"), names(design_of(large)))
  design_of(large)[responses] <- drawn[responses]
  design_of(small) <- drawn
  fitted <- lapply(list(large, small), refit_from_starts)
  if (!all(vapply(fitted, alive, NA))) return(NA_real_)
  max(0, 2 * (fitted[[1]]$objective - fitted[[2]]$objective))
}

refit_from_starts <- function(fit) {
  design_of(fit) <- sorted_design(design_of(fit))$design
  control <- refit_control(fit)
  units <- starting_units(design_of(fit), start_seed(control))
  starts <- mixture_starts(units, n_components(fit), control)
  candidate <- list(k = n_components(fit), model = fit_model(fit),
                    short = fit_model(fit, units$design))
  candidate$result <- best_ascent(candidate$model, candidate$short, starts, control)
  moved_candidate(candidate, units, control)
}
