# What package car asks of a fit. Its defaults do for the rest: deltaMethod(), vif(),
# compareCoefs().

# Of the coefficients, as coef() has them; confint() has all parameters.
#' @exportS3Method car::Confint
Confint.elbo_fit <- function(object, estimate = TRUE, level = 0.95, vcov., parm = "beta_", ...) {
  limits <- if (missing(vcov.)) confint(object, parm, level, ...)
            else given_limits(object, level, vcov., asked_parameters(object, parm), ...)
  if (check_flag(estimate, "estimate")) cbind(Estimate = theta(object)[rownames(limits)], limits)
  else limits
}

# By another covariance of the coefficients, as named_covariance() takes it.
given_limits <- function(fit, level, V, parm, ...) {
  check_dots_empty(...)
  V <- named_covariance(fit, V)
  check(all(parm %in% rownames(V)), "vcov.", "a matrix with the names of coef()", V)
  check_between(level, "level", 0, 1)
  tests <- coef(summary(fit))
  df <- if ("df" %in% colnames(tests)) tests[parm, "df"] else Inf
  half_width <- stats::qt((1 + level) / 2, df) * sqrt(diag(V)[parm])
  interval_matrix(theta(fit)[parm] + outer(half_width, c(-1, 1)), parm, level)
}

# By chi-square as car has it for lmer; F tests with their degrees of freedom are ours.
#' @exportS3Method car::Anova
Anova.elbo_glmm <- function(mod, type = c("II", "III", 2, 3), test.statistic = c("Chisq", "F"),
                            vcov. = NULL, ...) {
  if (length(attr(terms(mod), "term.labels")) == 0) {
    abort("Anova() has no terms to test: there is only an intercept.", "elbo_error_not_available")
  }
  if (check_choice(test.statistic, "test.statistic", c("Chisq", "F")) == "F") {
    abort("F tests with Satterthwaite's degrees of freedom are anova(fit).",
          "elbo_error_not_available")
  }
  check_no_curves(design_of(mod), "Anova()", "Compare fits without a term by anova() or AIC().")
  covariance <- named_covariance(mod, vcov.)
  utils::getS3method("Anova", "default", envir = asNamespace("car"))(
    mod, type = if (length(type) > 1) "II" else type, vcov. = covariance, ...
  )
}

# The denominator of F is Satterthwaite's.
#' @exportS3Method car::linearHypothesis
linearHypothesis.elbo_glmm <- function(model, hypothesis.matrix, rhs = NULL, test = c("Chisq", "F"),
                                       vcov. = NULL, ..., error.df = NULL) {
  test <- check_choice(test, "test", c("Chisq", "F"))
  names <- names(coef(model))
  L <- hypothesis.matrix
  if (is.character(L)) {
    L <- car::makeHypothesis(names, L, rhs)
    L <- if (is.null(dim(L))) t(L[-length(L)]) else L[, -ncol(L), drop = FALSE]
  }
  if (is.null(dim(L))) L <- t(L)
  if (is.null(error.df)) {
    error.df <- if (test == "Chisq") df.residual(model) else combined_satterthwaite(model, L)
  }
  robust <- if (!is.null(vcov.)) named_covariance(model, vcov.)
  utils::getS3method("linearHypothesis", "default", envir = asNamespace("car"))(
    model, hypothesis.matrix, rhs = rhs, test = test, vcov. = robust, ..., error.df = error.df
  )
}

# Of F with several rows: as in anova().
combined_satterthwaite <- function(fit, L) {
  spectrum <- eigen(L %*% vcov(fit) %*% t(L), symmetric = TRUE)
  df <- fit_df(fit, t(spectrum$vectors) %*% L)
  k <- length(df)
  E <- sum(ifelse(is.infinite(df), 1, df / (df - 2))[df > 2])
  if (k == 1) df else if (E > k) 2 * E / (E - k) else Inf
}

#' @exportS3Method car::Boot
Boot.elbo_glmm <- function(object, ...) {
  abort(c("Boot() resamples rows, which are not independent; bootstrap(fit, nsim = 1000) simulates",
          "from the fit, and has confint() and vcov()."), "elbo_error_not_available")
}

#' @exportS3Method car::Boot
Boot.elbo_mixture <- Boot.elbo_glmm
