# The generics of stats and nlme, for every fit. What needs more room has a file of its own:
# latent.R, print.R, confint.R, anova.R, predict.R, simulate.R.

#' Estimates, sizes, residuals and design of a fit
#'
#' The usual generics, as for [stats::lm()] and mixed models elsewhere, with two differences:
#' `coef()` is the named vector of fixed effects, the same as `fixef()` (coefficients of each
#' group are `tidy(fit, effects = "ran_coefs")`), and `sigma()` is a named vector when the fit
#' has a residual standard deviation for each level of a factor.
#'
#' `fitted()` and `residuals()` contain the latent variables, at their posterior means;
#' `predict(fit, re.form = NA)` leaves them out. Rows that `na.action` dropped are padded
#' with `NA` under [stats::na.exclude()] and absent under [stats::na.omit()].
#'
#' `deviance()` is \eqn{-2\log p(y\mid\hat\theta)}{-2 log p(y | theta)}, under method `"reml"`
#' the restricted one. `extractAIC()`, and with it [stats::drop1()] and [stats::add1()],
#' refits a `"reml"` fit by `"em"`, since restricted likelihoods of different fixed effects
#' cannot be compared. Methods `"joint"` and `"vb"` have no likelihood, so both stop there.
#' [stats::step()] would lose the random terms, and is refused.
#'
#' @param object,x,formula a fit, of class `elbo_fit`.
#' @param fixed.only whether to return the fixed part only.
#' @param type of residuals: `"response"` (\eqn{y-\hat y}{y minus fitted}) or `"pearson"`
#'   (divided by the residual standard deviation of the row). Of a model matrix: `"fixed"`
#'   (\eqn{X}) or `"random"` (\eqn{Z}, a column for each term). Of weights: only `"prior"`. Of
#'   responses that are not gaussian also `"deviance"` (the default) and `"working"`, as of
#'   [stats::glm()] at the fitted values, and `"quantile"`, randomised as by Dunn and Smyth (1996):
#'   standard normal if the model is true, and drawn from the session's generator. Ordered
#'   categories are numbered from one for `"response"` and `"pearson"`.
#' @param fit,scale,k as in [stats::extractAIC()]; `fit` is the fit, `scale` is not used.
#' @param scope,test,trace as in [stats::drop1()], of terms of the fixed part: labels, or a formula
#'   such as `~ . + x`.
#' @param ... nothing further: what a generic's usual callers pass along is accepted, anything else
#'   is an error.
#' @param REML as in lme4: `TRUE` or `FALSE` for the restricted or the marginal likelihood at the
#'   estimates of the other method, the scale common to all variances at its best.
#' @param random.only whether to return the random part only.
#' @param add.dropped as in lme4: whether coefficients of columns that were dropped follow, as `NA`.
#' @param scaled whether to divide by the residual standard deviation (`"pearson"` ones always are).
#' @return
#' * `coef()`, `fixef()`: named numeric vector of length p, those held constant included.
#' * `sigma()`: the residual standard deviation; with `sigma = ~ f` a vector named by the
#'   levels of `f`; 1 when the standard errors were given as `se`, for which the weights are
#'   \eqn{1/\mathrm{se}^2}{1/se^2}.
#' * `nobs()`: number of rows used; `df.residual()`: that less the number of free parameters.
#' * `formula()`: the whole formula or its fixed part; `terms()`: of the fixed part.
#' * `model.frame()`: data frame of every variable used. `model.matrix()`: numeric matrix.
#' * `weights()`: numeric vector of precision weights, ones when none were given.
#' * `fitted()`, `residuals()`: numeric vector named by the rows. Of responses that are not gaussian
#'   the mean of the response, averaged over the posterior of the latent variables of its group; of
#'   ordered categories a matrix of their probabilities.
#' * `deviance()`: a number. `extractAIC()`: number of parameters and AIC.
#' @references
#' Dunn, P. K. and Smyth, G. K. (1996). Randomized quantile residuals. *Journal of Computational and
#' Graphical Statistics* 5, 236--244. \doi{10.1080/10618600.1996.10474708}
#' @seealso [theta()] for all parameters, [latent()] for the latent variables.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' coef(fit)
#' sigma(fit)
#' head(residuals(fit, type = "pearson"))
#' formula(fit, fixed.only = TRUE)
#' @name elbo_fit-methods
#' @importFrom stats coef confint deviance df.residual extractAIC family fitted formula logLik
#' @importFrom stats model.frame model.matrix nobs predict residuals sigma terms update vcov
#' @importFrom stats weights
NULL

#' @rdname elbo_fit-methods
#' @export
coef.elbo_fit <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$coef)
  theta(object)[is_coefficient(object)]
}

#' @rdname elbo_fit-methods
#' @export
fixef.elbo_fit <- function(object, ..., add.dropped = FALSE) {
  check_dots_empty(...)
  if (!check_flag(add.dropped, "add.dropped")) return(coef(object))
  dropped <- design_of(object)$aliased
  c(coef(object), stats::setNames(rep(NA_real_, length(dropped)), dropped))
}

#' @rdname elbo_fit-methods
#' @export
sigma.elbo_glmm <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$sigma)
  if (!any(parameters_of(object)$block == "sigma")) return(1)
  values <- unname(theta(object)[parameters_of(object)$block == "sigma"])
  names(values) <- levels(design_of(object)$level)
  values
}

#' @rdname elbo_fit-methods
#' @export
nobs.elbo_glmm <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$nobs)
  length(design_of(object)$y)
}

#' @rdname elbo_fit-methods
#' @export
df.residual.elbo_fit <- function(object, ...) {
  check_dots_empty(...)
  nobs(object) - n_free(object)
}

#' @rdname elbo_fit-methods
#' @export
formula.elbo_fit <- function(x, fixed.only = FALSE, ..., random.only = FALSE) {
  check_dots_empty(...)
  check_flag(fixed.only, "fixed.only")
  if (is.null(formula_of(x))) return(NULL)
  if (check_flag(random.only, "random.only")) return(random_part(x))
  if (!fixed.only) {
    # It evaluates the terms, and `|` of the groups' names would fail.
    wants_variables <- identical(sys.function(sys.parent()), stats::expand.model.frame)
    return(if (wants_variables) frame_formula_of(x) else formula_of(x))
  }
  fixed <- formula(terms_of(x))
  if (length(design_of(x)$curves) == 0 && length(fixed) == 3) return(fixed)
  fixed <- formula_of(x) # the terms of classes have no left side
  fixed[[3]] <- drop_bars(fixed[[3]])
  fixed
}

# y ~ every variable of the model.
frame_formula_of <- function(fit) {
  formula <- formula(fit)
  variables <- all.vars(formula[[3]])
  formula[[3]] <- Reduce(function(a, b) call("+", a, b), lapply(variables, as.name), 1)
  formula
}

# The sum of the ( | ), with the response.
random_part <- function(fit) {
  formula <- formula(fit)
  bars <- lapply(find_bars(formula[[3]]), bar_as_term)
  formula[[3]] <- if (length(bars) == 0) 0 else Reduce(function(a, b) call("+", a, b), bars)
  formula
}

#' @rdname elbo_fit-methods
#' @export
terms.elbo_fit <- function(x, ..., fixed.only = TRUE) {
  check_dots_empty(...)
  if (check_flag(fixed.only, "fixed.only")) terms_of(x) else attr(frame_of(x), "terms")
}

#' @rdname elbo_fit-methods
#' @export
model.frame.elbo_fit <- function(formula, ..., fixed.only = FALSE) {
  check_dots_empty(...)
  frame <- frame_of(formula)
  if (is.null(frame)) return(data.frame())
  if (!check_flag(fixed.only, "fixed.only")) return(frame)
  fixed <- vapply(as.list(attr(terms(formula), "variables"))[-1], deparse_line, "")
  structure(frame[intersect(names(frame), fixed)], terms = terms(formula))
}

#' @rdname elbo_fit-methods
#' @export
model.matrix.elbo_glmm <- function(object, type = c("fixed", "random"), ...) {
  check_dots_empty(...)
  type <- check_choice(type, "type", c("fixed", "random"))
  switch(type, fixed = design_of(object)$X, random = design_of(object)$Z)
}

#' @rdname elbo_fit-methods
#' @export
family.elbo_fit <- function(object, ...) {
  check_dots_empty(...)
  family_of(object)
}

#' @rdname elbo_fit-methods
#' @export
weights.elbo_glmm <- function(object, type = "prior", ...) {
  check_dots_empty(...)
  check_choice(type, "type", "prior")
  stats::naresid(attr(frame_of(object), "na.action"), prior_weights(object))
}

#' @rdname elbo_fit-methods
#' @export
fitted.elbo_glmm <- function(object, ...) {
  check_dots_empty(...)
  by_row(object, fitted_rows(object))
}

#' @rdname elbo_fit-methods
#' @export
residuals.elbo_glmm <- function(object, type = c("response", "pearson"), ..., scaled = FALSE) {
  check_dots_empty(...)
  type <- check_choice(type, "type", c("response", "pearson"))
  residuals <- residual_rows(object, type)
  if (check_flag(scaled, "scaled") && type == "response") {
    residuals <- residuals / (residual_sd(object) * sqrt(prior_weights(object)))
  }
  by_row(object, residuals)
}

#' @rdname elbo_fit-methods
#' @export
deviance.elbo_fit <- function(object, ..., REML = NULL) {
  check_dots_empty(...)
  -2 * as.numeric(logLik(object, REML = REML))
}

#' @rdname elbo_fit-methods
#' @export
extractAIC.elbo_fit <- function(fit, scale = 0, k = 2, ...) {
  check_dots_empty(..., .but = passed_along$extractAIC)
  check_step_settings(scale, k, FALSE)
  # step() puts the terms of the fixed part in the place of the formula.
  if (inherits(formula(fit), "terms") && loses_terms(fit)) {
    abort(c("step() would lose the random terms of the fit;",
            "use drop1(), add1() and update() step by step."), "elbo_error_not_available")
  }
  if (method_of(fit) == "reml") {
    fit <- refit_method(fit, "em")
  }
  log_lik <- logLik(fit)
  df <- attr(log_lik, "df")
  c(df, -2 * as.numeric(log_lik) + k * df)
}

# Terms that terms(fit) does not have.
loses_terms <- function(fit) length(design_of(fit)$random) > 0 || has_curves(fit)

# The labels that stats::drop1() goes by are those of straight lines.
#' @rdname elbo_fit-methods
#' @importFrom stats add1 drop1
#' @export
drop1.elbo_glmm <- function(object, scope, scale = 0, test = c("none", "Chisq"), k = 2,
                            trace = FALSE, ...) {
  check_dots_empty(...)
  check_step_settings(scale, k, trace)
  check_no_curves(design_of(object), "drop1()", "Compare fits without a term by anova() or AIC().")
  test <- check_choice(test, "test", c("none", "Chisq"))
  labels <- attr(terms(object), "term.labels")
  dropped <- if (missing(scope)) stats::drop.scope(object) else scope_labels(object, scope)
  unknown <- setdiff(dropped, labels)
  if (length(unknown) > 0) {
    abort(sprintf("`scope` has `%s`, which is not a term of the fixed part; those are %s.",
                  unknown[1], if (length(labels) > 0) quote_names(labels) else "none"),
          "elbo_error_argument")
  }
  # NextMethod() would hand on the scope as it was given.
  default <- utils::getS3method("drop1", "default")
  on_same_rows(default(object, dropped, scale = scale, test = test, k = k, trace = trace), object)
}

#' @rdname elbo_fit-methods
#' @export
drop1.elbo_mixture <- drop1.elbo_glmm

# Fits to different rows do not compare, which stats says in words of its own.
on_same_rows <- function(expr, object) {
  changed <- gettext("number of rows in use has changed: remove missing values?",
                     domain = "R-stats")
  tryCatch(expr, error = function(e) {
    if (conditionMessage(e) != changed) stop(e)
    left_out <- length(stats::na.action(model.frame(object)))
    abort(c("Without or with another term the model would be fitted to other rows: variables have",
            sprintf("missing values (%d rows are left out of this fit).", left_out),
            "Fit to the rows that are complete in all variables, as na.omit() gives them."),
          "elbo_error_data")
  })
}

#' @rdname elbo_fit-methods
#' @export
add1.elbo_glmm <- function(object, scope, scale = 0, test = c("none", "Chisq"), k = 2,
                           trace = FALSE, ...) {
  check_dots_empty(...)
  check_step_settings(scale, k, trace)
  check_no_curves(design_of(object), "add1()",
                  "Compare fits with a further term by anova() or AIC().")
  test <- check_choice(test, "test", c("none", "Chisq"))
  if (missing(scope)) scope <- NULL
  added <- setdiff(scope_labels(object, scope), attr(terms(object), "term.labels"))
  if (length(added) == 0) {
    abort(c("`scope` must name terms to be added to the fixed part, as in ~ . + x;",
            "of random terms anova(fit, update(fit, ~ . + (1 | g))) is the test."),
          "elbo_error_argument")
  }
  default <- utils::getS3method("add1", "default")
  on_same_rows(default(object, added, scale = scale, test = test, k = k, trace = trace), object)
}

#' @rdname elbo_fit-methods
#' @export
add1.elbo_mixture <- add1.elbo_glmm

# Labels of the fixed terms in a scope: labels, or a formula in which `.` is that of the fit. A
# term is a candidate once all that it contains are there.
scope_labels <- function(fit, scope) {
  if (is.character(scope)) return(scope)
  check(inherits(scope, "formula"), "scope", "a formula such as ~ . + x, or labels of terms", scope)
  formula <- stats::update.formula(formula(fit), scope)
  rest <- drop_bars(formula[[3]])
  formula[[3]] <- if (is.null(rest)) 1 else rest
  labels <- attr(terms(formula), "term.labels")
  fixed <- stats::formula(terms(fit))
  upper <- formula
  upper[[3]] <- call("+", fixed[[length(fixed)]], formula[[3]]) # of classes it has no left side
  reachable <- stats::add.scope(fixed, upper)
  labels[labels %in% c(attr(terms(fit), "term.labels"), reachable)]
}

check_step_settings <- function(scale, k, trace) {
  check(is_number(scale) && scale >= 0, "scale", "a number, not negative", scale)
  check_number(k, "k")
  check(is_number(trace) || isTRUE(trace) || isFALSE(trace), "trace", "TRUE, FALSE or a number",
        trace)
}

# ---- by row ------------------------------------------------------------------------------

# X beta + B b + offset: curves belong to the population.
fixed_rows <- function(fit) {
  values <- drop(design_of(fit)$X %*% coef(fit)) + design_of(fit)$offset
  if (has_curves(fit)) values + drop(design_of(fit)$B %*% smooth_of(fit)$mean) else values
}

# The same + Z E[z | y].
fitted_rows <- function(fit) {
  design <- design_of(fit)
  values <- fixed_rows(fit)
  if (!has_groups(fit)) return(values)
  for (part in latent_parts(fit)) {
    values <- values + rowSums(design$Z[, part$columns, drop = FALSE] *
                                 part$mean[part$group, , drop = FALSE])
  }
  values
}

residual_rows <- function(fit, type) {
  if (!is_gaussian(fit)) return(general_residuals(fit, type))
  residuals <- design_of(fit)$y - fitted_rows(fit)
  if (type == "pearson") residuals / residual_sd(fit) else residuals
}

prior_weights <- function(fit) {
  if (is.null(design_of(fit)$weights)) rep(1, nobs(fit)) else design_of(fit)$weights
}

# The residual standard deviation of each row, weights included.
residual_sd <- function(fit) {
  sigma <- sigma(fit)
  if (!is.null(design_of(fit)$level)) {
    sigma <- unname(sigma[as.character(design_of(fit)$level)])
  }
  sigma / sqrt(prior_weights(fit))
}

# As the user sees them: named, and with NA where na.exclude dropped a row.
by_row <- function(fit, values) {
  stats::naresid(attr(frame_of(fit), "na.action"),
                 stats::setNames(values, row.names(frame_of(fit))))
}

has_latent <- function(fit) UseMethod("has_latent")

#' @exportS3Method
has_latent.elbo_fit <- function(fit) TRUE

#' @exportS3Method
has_latent.elbo_glmm <- function(fit) has_groups(fit) || has_curves(fit)

has_groups <- function(fit) isTRUE(ncol(design_of(fit)$Z) > 0)

has_curves <- function(fit) length(design_of(fit)$curves) > 0

# ---- of theta ----------------------------------------------------------------------------

# Of every parameter: NA where it is held constant or on the boundary.
standard_errors <- function(fit) UseMethod("standard_errors")

#' @exportS3Method
standard_errors.elbo_fit <- function(fit) {
  se <- suppressWarnings(sqrt(diag(vcov(fit, full = TRUE))))
  se[parameters_of(fit)$fixed] <- NA
  se
}

# By which fits are chosen; NA where there is no likelihood.
criteria <- function(fit) UseMethod("criteria")

#' @exportS3Method
criteria.elbo_fit <- function(fit) {
  if (is.na(log_evidence_of(fit))) return(c(logLik = NA_real_, AIC = NA_real_, BIC = NA_real_))
  c(logLik = as.numeric(logLik(fit)), AIC = stats::AIC(fit), BIC = stats::BIC(fit))
}
