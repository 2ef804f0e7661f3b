# What other packages ask of a mixture, where the answer differs from that of other fits
# (R/ecosystem.R).

# emmeans stops with what this says.
#' @exportS3Method emmeans::recover_data
recover_data.elbo_mixture <- function(object, ...) {
  "emmeans: not for mixtures. predict(fit, newdata, type = \"response\") has means to compare."
}

# Means, or the probabilities of the components of the units, a group each.
#' @exportS3Method marginaleffects::get_predict
get_predict.elbo_mixture <- function(model, newdata = fit_data(model), type = "response", ...) {
  type <- check_choice(if (is.null(type)) "response" else type, "type", c("response", "prob"))
  estimate <- predict(model, newdata = newdata, type = type)
  if (!is.matrix(estimate)) return(with_rowid(data.frame(estimate = unname(estimate)), newdata))
  with_rowid(data.frame(group = rep(colnames(estimate), each = nrow(estimate)),
                        estimate = as.vector(estimate)), newdata)
}

# Likelihood ratios of fits with the same number of components, nested as update() makes them. A fit
# by itself is compared with that without covariates.
#' @exportS3Method lmtest::lrtest
lrtest.elbo_mixture <- function(object, ..., name = NULL) {
  fits <- tested_fits(object, ...)
  if (length(fits) == 1) {
    fits[[2]] <- update(object, . ~ 1)
    if (setequal(names(coef(fits[[2]])), names(coef(object)))) {
      abort("There are no covariates in the fit to be tested. lrtest() compares two fits.",
            "elbo_error_argument")
    }
  }
  check_comparable_mixtures(fits)
  if (length(unique(vapply(fits, n_components, 0L))) > 1) {
    abort(c("Numbers of components are not compared by the chi-square law. anova() compares",
            "them by the bootstrap."), "elbo_error_not_available")
  }
  lrtest_of(fits, name)
}

# As lmtest does it, where the coefficients of the smaller model are some of the larger one's and
# those to be tested have standard errors.
#' @exportS3Method lmtest::waldtest
waldtest.elbo_mixture <- function(object, ..., vcov = NULL, test = c("F", "Chisq"), name = NULL) {
  test <- check_choice(test, "test", c("F", "Chisq"))
  fits <- tested_fits(object, ...)
  if (length(fits) == 1) fits[[2]] <- update(object, . ~ 1)
  if (all(vapply(fits, inherits, NA, "elbo_fit"))) check_nested_coefficients(fits)
  default <- utils::getS3method("waldtest", "default", envir = asNamespace("lmtest"))
  do.call(default, c(unname(fits), list(vcov = vcov, test = test, name = name)))
}

check_nested_coefficients <- function(fits) {
  Map(function(a, b) {
    names <- list(names(coef(a)), names(coef(b)))
    names <- names[order(lengths(names))]
    tested <- setdiff(names[[2]], names[[1]])
    if (length(tested) == 0 || length(setdiff(names[[1]], names[[2]])) > 0) {
      abort(c("The coefficients of one model are not some of the other's. Tests of",
              "coefficients are car::linearHypothesis(); likelihoods are compared by anova()."),
              "elbo_error_argument")
    }
    larger <- if (length(coef(a)) > length(coef(b))) a else b
    lost <- tested[is.na(diag(vcov(larger))[tested])]
    if (length(lost) > 0) {
      abort(c(sprintf("%s no standard error, at a boundary or not identified.",
                      paste(enumerate(lost, 6), if (length(lost) == 1) "has" else "have")),
              "Compare likelihoods by anova()."), "elbo_error_not_available")
    }
  }, fits[-length(fits)], fits[-1])
}
