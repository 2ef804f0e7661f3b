#' Compare nested fits by their likelihoods
#'
#' @param object A fit.
#' @param ... Further fits to the same response.
#' @param test `"auto"` takes the chi-square law of the likelihood ratio, or, where the smaller
#'   model puts a variance of the larger at zero, the parametric bootstrap: on the boundary the
#'   chi-square law does not hold (Self and Liang 1987). `"chisq"` and `"bootstrap"` insist.
#' @param nsim,seed For the bootstrap; by default 1000 draws, of mixtures 199.
#' @param refit As in lme4: whether fits by `"reml"` are refitted by `"em"`; by default where it is
#'   needed.
#' @param model.names Names of the fits in the table; by default those of the arguments, or else the
#'   expressions given.
#' @param ddf Of the tests of a single fit, as in lmerTest: `"Satterthwaite"` or, of fits by
#'   `"reml"`, `"Kenward-Roger"`, whose F is scaled too.
#' @param type Of the tests of a single fit: 3 (or `"III"`), each term given all others, main
#'   effects of factors averaged over the levels of those they interact with, whatever the contrasts
#'   they were coded by; 2, each term given all that do not contain it; 1, in their order.
#' @return A data frame of class `anova`, fits sorted by their number of parameters: `npar`,
#'   `logLik`, `AIC`, `BIC`, `Chisq`, `Df` and `Pr(>Chisq)`; the heading says which law the last
#'   comes from. Fits by `"reml"` with different fixed effects are refitted by `"em"`, with a
#'   message. A single fit gives F tests of its terms, by Satterthwaite's method as in lmerTest,
#'   whose hypotheses of types 1 to 3 they have: `F value`, `NumDF`, `DenDF`, `Pr(>F)`; of responses
#'   that are not gaussian Wald's `Chisq`, `Df`, `Pr(>Chisq)`.
#' @references
#' Self, S. G. and Liang, K.-Y. (1987). Asymptotic properties of maximum likelihood estimators and
#' likelihood ratio tests under nonstandard conditions. *JASA* 82, 605--610.
#' \doi{10.1080/01621459.1987.10478472}
#' @family what a fit answers
#' @examples
#' slope <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' level <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
#' anova(level, slope, nsim = 200, seed = 1)
#' anova(level, update(level, . ~ . + Sex))
#' anova(update(level, . ~ age * Sex + (1 | Subject)))
#' @export
anova.elbo_fit <- function(object, ..., test = c("auto", "chisq", "bootstrap"), nsim = NULL,
                           seed = NULL, refit = NULL, model.names = NULL, ddf = NULL, type = 3) {
  test <- check_choice(test, "test", c("auto", "chisq", "bootstrap"))
  ddf <- check_ddf(ddf, "ddf")
  type <- hypothesis_type(type)
  # A list of named fits, by do.call(), names none of them `object`.
  fits <- if (missing(object)) list(...) else list(object, ...)
  expressions <- as.list(substitute(list(...)))[-1]
  if (!missing(object)) expressions <- c(list(substitute(object)), expressions)
  labels <- compared_names(fits, expressions, model.names)
  if (!is.null(nsim)) check_count(nsim, "nsim")
  check_compared(fits[[1]], fits)
  if (length(fits) == 1) return(anova_terms(fits[[1]], type, ddf))
  check(ddf == "Satterthwaite", "ddf", "left out where fits are compared by their likelihoods", ddf)
  fits <- comparable_likelihoods(fits, refit)
  order <- order(vapply(fits, n_free, 0))
  fits <- fits[order]
  labels <- labels[order]
  ratios <- Map(function(small, large) likelihood_ratio(small, large, test, nsim, seed),
                fits[-length(fits)], fits[-1])
  table <- do.call(rbind, Map(anova_row, fits, c(list(NULL), ratios)))
  rownames(table) <- labels
  structure(table, heading = anova_heading(fits, labels, ratios),
            class = c("elbo_anova", "anova", "data.frame"))
}

# Names of the fits in `...`; what has a name there and is no fit is an argument that we do not
# have.
compared_names <- function(fits, expressions, model.names) {
  given <- names(expressions)
  if (is.null(given)) given <- character(length(fits))
  stray <- which(nzchar(given) & !vapply(fits, inherits, NA, "elbo_fit"))
  if (length(stray) > 0) refuse_argument(given[stray[1]], fits[[stray[1]]])
  if (is.null(model.names)) return(fit_names(given, expressions))
  check(is.character(model.names) && length(model.names) == length(fits), "model.names",
        sprintf("%d names", length(fits)), model.names)
  make.unique(model.names)
}

anova_heading <- function(fits, labels, ratios) {
  formulas <- vapply(fits, model_words, "")
  laws <- vapply(ratios, `[[`, "", "law")
  c("Likelihood ratio tests\n",
    paste0(format(paste0(labels, ":")), " ", formulas, c("", paste0("   p by ", laws)),
           collapse = "\n"))
}

anova_row <- function(fit, ratio) {
  data.frame(npar = n_free(fit), logLik = log_evidence_of(fit), AIC = stats::AIC(fit),
             BIC = stats::BIC(fit), Chisq = if (is.null(ratio)) NA else ratio$statistic,
             Df = if (is.null(ratio)) NA else ratio$df,
             `Pr(>Chisq)` = if (is.null(ratio)) NA else ratio$p, check.names = FALSE)
}

# Refuses fits of which likelihoods do not compare; `fit` is the first of them.
check_compared <- function(fit, fits) UseMethod("check_compared")

#' @exportS3Method
check_compared.elbo_fit <- function(fit, fits) check_comparable(fits)

check_comparable <- function(fits, values = observed) {
  if (!all(vapply(fits, inherits, NA, "elbo_fit"))) {
    abort("anova() compares fits of this package with each other only.", "elbo_error_argument")
  }
  for (fit in fits) logLik(fit) # refuses fits that have none
  first <- values(fits[[1]])
  same <- vapply(fits, function(f) {
    isTRUE(all.equal(values(f), first, check.attributes = FALSE))
  }, NA)
  if (all(same)) return()
  abort(c("The fits are to different responses, so their likelihoods cannot be compared;",
          "missing values in a covariate may have dropped rows from one of them."),
        "elbo_error_argument")
}

# `refit`: NULL where needed, as lme4 TRUE for all fits by "reml", FALSE for none.
comparable_likelihoods <- function(fits, refit = NULL) {
  if (!is.null(refit)) check_flag(refit, "refit")
  reml <- vapply(fits, function(f) method_of(f) == "reml", NA)
  same_fixed <- vapply(fits, function(f) {
    setequal(names(coef(f)), names(coef(fits[[1]])))
  }, NA)
  if (!any(reml)) return(fits)
  comparable <- all(reml) && all(same_fixed)
  if (comparable && !isTRUE(refit)) return(fits)
  if (isFALSE(refit)) {
    abort(c("`refit` = FALSE: restricted likelihoods of different fixed effects, or beside",
            "marginal ones, cannot be compared."), "elbo_error_argument")
  }
  if (comparable) message("Refitting by method \"em\".")
  else message("Refitting by method \"em\": restricted likelihoods of different fixed effects ",
               "cannot be compared.")
  lapply(fits, function(f) if (method_of(f) == "reml") refit_method(f, "em") else f)
}

likelihood_ratio <- function(small, large, test, nsim, seed) {
  statistic <- max(0, 2 * (log_evidence_of(large) - log_evidence_of(small)))
  df <- n_free(large) - n_free(small)
  if (df == 0) return(list(statistic = statistic, df = 0, p = NA, law = "no law: equal sizes"))
  if (test == "auto") test <- ratio_law(small, large)
  found <- if (test == "bootstrap") bootstrap_ratio(small, large, statistic, nsim, seed)
           else list(p = stats::pchisq(statistic, df, lower.tail = FALSE), law = "chi-square")
  c(list(statistic = statistic, df = df), found)
}

# "chisq" or "bootstrap", as it holds for the likelihood ratio of two fits.
ratio_law <- function(small, large) UseMethod("ratio_law")

# list(p, law), the law in words. The fit itself counts as one draw (Davison & Hinkley 1997, eq.
# 4.11), and equal to rounding is equal: at the boundary both ratios are zero.
bootstrap_ratio <- function(small, large, statistic, nsim, seed) UseMethod("bootstrap_ratio")

#' @exportS3Method
ratio_law.elbo_fit <- function(small, large) "chisq"

#' @exportS3Method
bootstrap_ratio.elbo_fit <- function(small, large, statistic, nsim, seed) {
  abort("There is no bootstrap of this model. Use test = \"chisq\".", "elbo_error_not_available")
}

# Where the smaller model puts a standard deviation of the larger at zero the chi-square law does
# not hold.
#' @exportS3Method
ratio_law.elbo_glmm <- function(small, large) {
  free_sd <- function(fit) {
    of <- parameters_of(fit)
    of$name[of$block %in% c("sd", "smooth") & !of$fixed]
  }
  if (length(setdiff(free_sd(large), free_sd(small))) > 0) "bootstrap" else "chisq"
}

#' @exportS3Method
bootstrap_ratio.elbo_glmm <- function(small, large, statistic, nsim, seed) {
  nsim <- if (is.null(nsim)) 1000L else as.integer(nsim)
  ratio <- with_seed(seed, drawn_ratios(small, large, nsim))
  ratio <- ratio[!is.na(ratio)]
  list(p = (1 + sum(ratio >= statistic - 1e-8)) / (1 + length(ratio)),
       law = sprintf("bootstrap of %d", nsim))
}

# Likelihood ratios of draws from the smaller model, NA where there is no maximum.
drawn_ratios <- function(small, large, nsim) UseMethod("drawn_ratios")

#' @exportS3Method
drawn_ratios.elbo_glmm <- function(small, large, nsim) {
  check_simulates(small, "The bootstrap")
  place <- place_within(small, large)
  if (is.null(place)) ratios_by_rows(small, large, nsim)
  else ratios_within(small, large, place, nsim)
}

# Priors take no part in the ratio.
#' @exportS3Method
drawn_ratios.elbo_general <- function(small, large, nsim) {
  Y <- counted_draws(small, nsim)
  evidence <- function(fit) {
    refits <- general_refits(fit, Y)
    refits[, "objective"] - apply(refits[, -ncol(refits), drop = FALSE], 1,
                                  function(theta) log_prior(priors_of(fit), theta, 1L))
  }
  2 * (evidence(large) - evidence(small))
}

# Likelihood ratios of draws from the smaller model, made in the statistics of the larger one.
ratios_within <- function(small, large, place, nsim) {
  draw <- draw_within(small, large, place)
  tables <- .Call(C_glmm_bootstrap, draw$model, draw$theta,
                  list(model_within(small, large, place), model_of(large)),
                  lapply(list(small, large), refit_settings), nsim)
  within <- tables[[1]] # the objective and the status come last
  n <- nrow(within)
  2 * (table_evidence(large, tables[[2]]) - ifelse(within[n, ] >= 0, within[n - 1, ], NA))
}

# The same where no statistics are those of both.
ratios_by_rows <- function(small, large, nsim) {
  chunk <- max(1L, min(nsim, as.integer(5e6 / nobs(small))))
  sizes <- diff(unique(c(seq(0L, nsim, by = chunk), nsim)))
  unlist(lapply(sizes, function(size) {
    Y <- drawn_rows(small, size)
    2 * (refit_evidence(large, Y) - refit_evidence(small, Y))
  }))
}
