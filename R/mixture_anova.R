#' Compare mixtures by their likelihoods
#'
#' Nested mixtures with the same number of components are compared by the chi-square law of the
#' likelihood ratio. That law does not hold between different numbers of components: the smaller
#' model is the larger one with a weight on its boundary, or with two components alike, which leaves
#' other parameters undefined. There the ratio is compared with that of draws from the smaller model
#' (McLachlan 1987), to each of which both models are fitted, the larger one from as many starts as
#' [elbo_control()] says.
#'
#' @param object A fit made by [fit_mixture()] by method `"em"`, without priors.
#' @param ... Further fits to the same responses.
#' @param test `"auto"` takes the chi-square law where it holds; `"chisq"` and `"bootstrap"` insist.
#' @param nsim,seed For the bootstrap.
#' @param model.names Names of the fits in the table; by default those of the arguments, or else the
#'   expressions given.
#' @return A data frame of class `anova`, fits sorted by their number of parameters: `npar`,
#'   `logLik`, `AIC`, `BIC`, `Chisq`, `Df` and `Pr(>Chisq)`; the heading says which law the last
#'   comes from. That the smaller model is a case of the larger one is taken on trust. Fits whose
#'   components have smooth terms are compared by the lower bounds that [logLik()] has of them.
#' @references
#' McLachlan, G. J. (1987). On bootstrapping the likelihood ratio test statistic for the number of
#' components in a normal mixture. *Journal of the Royal Statistical Society C* 36, 318--324.
#' \doi{10.2307/2347790}
#' @family what a mixture answers
#' @examples
#' one <- fit_mixture(waiting ~ 1, faithful, k = 1)
#' two <- fit_mixture(waiting ~ 1, faithful, k = 2, covariance = "E")
#' anova(one, two, nsim = 19, seed = 1)
#' @export
anova.elbo_mixture <- function(object, ..., test = c("auto", "chisq", "bootstrap"), nsim = 199L,
                               seed = NULL, model.names = NULL) {
  test <- check_choice(test, "test", c("auto", "chisq", "bootstrap"))
  nsim <- check_count(nsim, "nsim")
  fits <- if (missing(object)) list(...) else list(object, ...)
  expressions <- as.list(substitute(list(...)))[-1]
  if (!missing(object)) expressions <- c(list(substitute(object)), expressions)
  labels <- compared_names(fits, expressions, model.names)
  check_comparable_mixtures(fits)
  order <- order(vapply(fits, `[[`, 0, "df_parameters"))
  fits <- fits[order]
  labels <- labels[order]
  ratios <- Map(function(small, large) mixture_ratio(small, large, test, nsim, seed),
                fits[-length(fits)], fits[-1])
  table <- do.call(rbind, Map(anova_row, fits, c(list(NULL), ratios)))
  rownames(table) <- labels
  structure(table, heading = anova_heading(fits, labels, ratios),
            class = c("elbo_anova", "anova", "data.frame"))
}

check_comparable_mixtures <- function(fits) {
  mixtures <- vapply(fits, inherits, NA, "elbo_mixture")
  if (!all(mixtures) || length(fits) < 2) {
    abort(c("anova() compares two or more mixtures with each other.",
            "Tests of single coefficients are in summary()."), "elbo_error_argument")
  }
  for (fit in fits) logLik(fit) # refuses fits that have none
  if (any(vapply(fits, informed, NA))) {
    abort("Likelihood ratios are of fits without priors: use update(fit, prior = NULL).",
          "elbo_error_argument")
  }
  responses <- lapply(fits, response_values)
  same <- vapply(responses, function(y) {
    isTRUE(all.equal(y, responses[[1]], check.attributes = FALSE))
  }, NA)
  if (!all(same)) {
    abort(c("The fits are to different responses, so their likelihoods cannot be compared;",
            "missing values in a covariate may have dropped rows from one of them."),
          "elbo_error_argument")
  }
}

mixture_ratio <- function(small, large, test, nsim, seed) {
  statistic <- max(0, 2 * (large$log_evidence - small$log_evidence))
  df <- large$df_parameters - small$df_parameters
  if (df == 0) return(list(statistic = statistic, df = 0, p = NA, law = "no law: equal sizes"))
  if (test == "auto") test <- if (small$k == large$k) "chisq" else "bootstrap"
  if (test == "chisq") {
    p <- stats::pchisq(statistic, df, lower.tail = FALSE)
    return(list(statistic = statistic, df = df, p = p, law = "chi-square"))
  }
  ratio <- unlist(repeated(nsim, function() drawn_ratio(small, large), seed, large$control,
                           "Refits"))
  used <- sum(!is.na(ratio))
  # The fit itself counts as one (Davison & Hinkley 1997, eq. 4.11); equal to rounding is equal.
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
  list(statistic = statistic, df = df, p = p, law = law)
}

# Of responses drawn from the smaller model; NA where a fit collapses.
drawn_ratio <- function(small, large) {
  small$design <- redrawn_design(small)
  large$design <- copies_apart(large$design)
  responses <- intersect(c("Y", "y"), names(large$design))
  large$design[responses] <- small$design[responses]
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
