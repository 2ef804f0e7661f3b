# The contract of a fit, and the answers that need no more than that.
#
# A class gives new_elbo_fit() the elements named in fit_elements, and methods for the generics
# named in fit_hooks:
#
#   nobs(fit)                      how many observations there are
#   theta_covariance(fit, type)    covariance of the estimates, in the order of theta()
#
# It may have methods for the others, which have an answer for every fit:
#
#   covariance_types(fit)          words for `type`, the first by default
#   without_error(fit)             which entries of theta() have no standard error
#   evidence_by(fit, REML)         the log-likelihood, marginal or restricted
#   criteria(fit)                  logLik, AIC, BIC and more by which fits are chosen
#   interval_types(fit)            "wald" and more, as profile_intervals() and bootstrap() say
#   summary_df(fit)                degrees of freedom of the coefficients, one for each, or Inf
#   has_latent(fit), informed(fit), integrated_words(fit), size_words(fit), counted_noun(fit),
#   objective_words(fit), notes(fit)      what print() says
#   observed(fit)                  the responses, by which compare_fits() tells data apart
#
# latent(), predict(), simulate() and what follows from them are for classes where they mean
# something: no method of the class "elbo_fit" needs them.

fit_elements <- c("call", "method", "theta", "parameters", "objective", "log_evidence", "trace",
                  "convergence")
fit_hooks <- c("nobs", "theta_covariance")
trace_columns <- c("iteration", "step", "elbo", "log_evidence", "kl")

new_elbo_fit <- function(x, class) {
  check_contract(x, class, parent.frame())
  if (is.null(x$df_parameters)) x$df_parameters <- sum(!x$parameters$fixed)
  if (is.null(x$time)) x$time <- NA_real_
  # stats and sandwich look here for the rows that were left out, and for those of a group.
  x$na.action <- attr(x$frame, "na.action")
  structure(x, cluster = the_group(x$design), class = c(class, "elbo_fit"))
}

# For who writes a class: what it forgot.
check_contract <- function(x, class, env) {
  wrong <- function(...) {
    abort(c(sprintf("A fit of class \"%s\"", class[1]), sprintf(...)), "elbo_error_contract")
  }
  missing <- setdiff(fit_elements, names(x))
  if (length(missing) > 0) wrong("has no %s.", quote_names(missing))
  # Where the class is made its methods are at hand as a rule; a look at all that are registered is
  # slow.
  has_method <- function(hook) {
    exists_here <- function(one) exists(paste0(hook, ".", one), envir = env, mode = "function")
    any(vapply(class, exists_here, NA)) || any(vapply(class, function(one) {
      !is.null(utils::getS3method(hook, one, optional = TRUE, envir = env))
    }, NA))
  }
  missing <- fit_hooks[!vapply(fit_hooks, has_method, NA)]
  if (length(missing) > 0) wrong("has no method for %s.", enumerate(paste0(missing, "()"), Inf))
  missing <- setdiff(parameter_columns, names(x$parameters))
  if (length(missing) > 0) wrong("has no %s in `parameters`.", quote_names(missing))
  unknown <- setdiff(x$parameters$role, names(parameter_roles))
  if (length(unknown) > 0) wrong("has parameters of the role %s, which is none.", unknown[1])
  if (!identical(names(x$theta), x$parameters$name)) {
    wrong("has names of `theta` other than those of `parameters`.")
  }
  if (!identical(attr(x$theta, "fixed"), x$parameters$fixed)) {
    wrong("has no attribute `fixed` of `theta` that agrees with `parameters`.")
  }
  missing <- setdiff(trace_columns, names(x$trace))
  if (length(missing) > 0) wrong("has no %s in `trace`.", quote_names(missing))
  missing <- setdiff(c("status", "iterations", "gradient", "gain", "message"), names(x$convergence))
  if (length(missing) > 0) wrong("has no %s in `convergence`.", quote_names(missing))
}

# From the optimum that C found to the elements of the fit ---------------------------------------

# Under vb a fit says itself how far linear response may be trusted.
with_verdict <- function(fit) {
  if (method_of(fit) != "vb") return(fit)
  verdict <- posterior_verdict(fit)
  convergence_of(fit)[names(verdict)] <- verdict
  fit
}

# Inverse of an information matrix; a flat direction is left at infinite uncertainty (NA) where it
# matters, and does not spoil the rest.
invert_information <- function(information, flat_below = 1e-10) {
  if (length(information) == 0) return(information)
  unit <- sqrt(abs(diag(information)))
  unit[unit == 0] <- 1
  spectrum <- eigen(information / outer(unit, unit), symmetric = TRUE)
  keep <- spectrum$values > flat_below * max(spectrum$values, 0)
  vectors <- spectrum$vectors[, keep, drop = FALSE]
  inverse <- vectors %*% (t(vectors) / spectrum$values[keep])
  flat <- rowSums(spectrum$vectors[, !keep, drop = FALSE]^2) > 1e-6
  inverse[flat, ] <- inverse[, flat] <- NA
  inverse / outer(unit, unit)
}

# slope cov slope'; unknown (NA) where a direction of unknown variance moves the parameter.
transform_covariance <- function(slope, cov) {
  lost <- is.na(diag(cov))
  cov[lost, ] <- cov[, lost] <- 0
  V <- slope %*% cov %*% t(slope)
  unknown <- rowSums(abs(slope[, lost, drop = FALSE])) > 0
  V[unknown, ] <- V[, unknown] <- NA
  V
}

ascent_trace <- function(rows) {
  rows[is.nan(rows)] <- NA # C has no NA
  steps <- c("start", "E", "M", "squarem", "newton", "local", "global", "quasi-newton",
             "anderson")
  table_of(list(iteration = as.integer(rows[1, ]), step = steps[rows[2, ] + 1L], elbo = rows[3, ],
                log_evidence = rows[4, ], kl = rows[5, ]))
}

nothing_to_gain <- 1e-8 # of a log-likelihood

ascent_convergence <- function(result, vb = FALSE) {
  status <- names(ascent_status)[match(result$status, ascent_status)]
  count <- c(EM = result$em, SQUAREM = result$squarem, extrapolated = result$anderson,
             `quasi-Newton` = result$quasi_newton, Newton = result$newton)
  if (vb) names(count)[1] <- "coordinate"
  count <- count[count > 0]
  steps <- if (length(count) == 0) "at the start." else {
    sprintf("after %s %s.", paste(count, names(count), collapse = " and "),
            if (utils::tail(count, 1) == 1) "step" else "steps")
  }
  # Without second derivatives there is no gradient in units of standard errors.
  left <- result$still_to_gain
  # Along a ridge, as to a weight of zero, no step shows so small a gain.
  if (status == "stopped" && isTRUE(left < nothing_to_gain)) status <- "converged"
  to_gain <- function(verb) {
    if (is.finite(left)) sprintf(" %.2g of log-likelihood %s still to gain.", left, verb)
    else " How much is still to gain the last steps do not tell."
  }
  result$gradient <- if (is.nan(result$gradient)) NA_real_ else result$gradient
  result$still_to_gain <- if (is.nan(left)) NA_real_ else left
  where <- if (!is.na(result$gradient)) paste("gradient", format(result$gradient, digits = 1))
           else paste("gain to come", if (is.finite(left)) format(left, digits = 1) else "unknown")
  # Along a ridge rounding hides what is left of the climb before the gradient is small.
  ridge <- isTRUE(result$gradient > 1e-5)
  message <- switch(status,
    converged = if (!ridge) paste0("At a maximum: ", where, " ", steps) else {
      paste0("As near a maximum as rounding lets the objective tell, ", where, " ", steps,
             to_gain("is"), " The data say little of some parameter.")
    },
    max_iter = paste0("Not at a maximum: ", where, " ", steps, to_gain("is"),
                      " Raise `max_iter` in elbo_control(), or use accelerate = \"auto\"."),
    stopped = paste0("Not at a maximum: no step raises the objective, ", where, " ", steps,
                     to_gain("seems"),
                     " The data may say nothing of some parameter; simplify the model.")
  )
  list(status = status, iterations = result$iterations, em = result$em,
       squarem = result$squarem, quasi_newton = result$quasi_newton, newton = result$newton,
       passes = result$passes, gradient = result$gradient,
       gain = result$still_to_gain, message = message)
}

# The answers -------------------------------------------------------------------------------------

#' All parameters on their natural scale
#'
#' @param object A fit.
#' @param ... For methods.
#' @return A named numeric vector: fixed effects by their model-matrix names,
#'   `sd__TERM|GROUP` and `cor__T1.T2|GROUP` of the random effects, `sd__s(x)` of smooth terms,
#'   `sigma` (or `sigma|LEVEL`). The
#'   attribute `fixed` says which are held by [priors()]. A correlation is `NaN` where a standard
#'   deviation is zero.
#'
#'   Of a mixture, component by component: `weight|1`, or coefficients `membership__TERM|2` of
#'   weights that depend on covariates; `mean__VAR|1`, `sd__VAR|1`, `cor__V1.V2|1` of normal
#'   components; `TERM|1` and `sigma|1` (or one `sigma`) of regressions; `sd__VAR|1` and
#'   `cor__V1.V2|1` of deviations of curves, `sd__s(x)|1` of their smooth terms and
#'   `sd__s(x)|GROUP|1` of those within ( | ); `prob__VAR.LEVEL|1`, of logical variables
#'   `prob__VAR|1`, of classes.
#' @family what a fit answers
#' @examples
#' theta(fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont))
#' @export
theta <- function(object, ...) UseMethod("theta")

#' @rdname theta
#' @export
theta.elbo_fit <- function(object, ...) {
  check_dots_empty(...)
  theta_of(object)
}

#' Covariance matrix of the estimates
#'
#' @param object A fit.
#' @param full `FALSE` for the fixed effects, `TRUE` for all of [theta()].
#' @param type `"observed"` (default): the block of the fixed effects is \eqn{(X'V^{-1}X)^{-1}} at
#'   the estimates, as lme4, nlme and metafor print it, that of the variance parameters the inverse
#'   observed information of the profile (or restricted) log-likelihood, and the cross block zero.
#'   `"full_observed"` inverts the observed information of all parameters together.
#'   `"sandwich"` is robust to a wrong law of the residuals and latent variables: with \eqn{s_g}
#'   the score of group g and \eqn{I} the full information it is
#'   \eqn{I^{-1}(\sum_g s_g s_g')I^{-1}}{I^-1 (sum s s') I^-1} (White 1982).
#'   Packages sandwich and clubSandwich work as well, on the fixed effects: `sandwich::vcovCL(fit)`
#'   and `clubSandwich::vcovCR(fit, type = "CR2")` are by group unless a `cluster` of whole groups
#'   is given. What takes rows for independent, such as `vcovHC()`, is refused.
#'   For method `"vb"` they are `"linear_response"` (default) and `"mean_field"`, the covariances of
#'   q itself, which are too small.
#' @param ... Not used.
#' @return A symmetric matrix with the names of `coef()`, or of `theta()`. Rows of parameters that
#'   are held, or on the boundary of their range, are `NA` (fixed effects that are held: zero).
#' @references
#' White, H. (1982). Maximum likelihood estimation of misspecified models. *Econometrica* 50,
#' 1--25. \doi{10.2307/1912526}
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' vcov(fit)
#' sqrt(diag(vcov(fit, full = TRUE)))
#' sqrt(diag(vcov(fit, full = TRUE, type = "sandwich")))
#' @export
vcov.elbo_fit <- function(object, full = FALSE, type = NULL, ...) {
  check_dots_empty(..., .but = passed_along$vcov)
  check_flag(full, "full")
  types <- covariance_types(object)
  type <- check_choice(if (is.null(type)) types else type, "type", types)
  V <- theta_covariance(object, type)
  dimnames(V) <- rep(list(parameters_of(object)$name), 2)
  unknown <- without_error(object)
  V[unknown, ] <- V[, unknown] <- NA
  coefficient <- is_coefficient(object)
  held <- parameters_of(object)$fixed & coefficient
  V[held, ] <- V[, held] <- 0
  if (full) V else V[coefficient, coefficient, drop = FALSE]
}

# Of the estimates, in the order of theta(); rows of which nothing is known may be anything.
theta_covariance <- function(fit, type) UseMethod("theta_covariance")

covariance_types <- function(fit) UseMethod("covariance_types")

#' @exportS3Method
covariance_types.elbo_fit <- function(fit) {
  if (method_of(fit) == "vb") c("linear_response", "mean_field") else "observed"
}

without_error <- function(fit) UseMethod("without_error")

#' @exportS3Method
without_error.elbo_fit <- function(fit) parameters_of(fit)$fixed | parameters_of(fit)$boundary

#' @rdname elbo_fit-methods
#' @export
logLik.elbo_fit <- function(object, ..., REML = NULL) {
  check_dots_empty(...)
  if (is.na(log_evidence_of(object))) {
    abort(c(sprintf("A fit by method \"%s\" has no marginal log-likelihood;", method_of(object)),
            "its objective is elbo(fit)."), "elbo_error_loglik")
  }
  structure(evidence_by(object, REML), df = n_free(object), nobs = nobs(object),
            nall = nobs(object), class = "logLik")
}

# The marginal (REML = FALSE) or restricted (TRUE) log-likelihood; NULL: that of the method.
evidence_by <- function(fit, REML) UseMethod("evidence_by")

#' @exportS3Method
evidence_by.elbo_fit <- function(fit, REML) {
  if (!is.null(REML) && check_flag(REML, "REML")) {
    abort("`REML` = TRUE: there is no restricted likelihood of this model.",
          "elbo_error_not_available")
  }
  log_evidence_of(fit)
}

#' The steps of the ascent
#'
#' @param object A fit.
#' @param ... For methods.
#' @return A data frame of class `elbo_trace`, one row a step: `iteration`; `step`, one of
#'   `"start"`, `"E"`, `"M"` (by vb `"local"` and `"global"`), `"squarem"`, `"anderson"`,
#'   `"quasi-newton"`, `"newton"`; `elbo`, the objective; `log_evidence` and
#'   `kl`, the log-likelihood and the Kullback-Leibler divergence of q from the exact posterior,
#'   each computed by itself: their difference is the ELBO, and `kl` is zero after each E-step (Neal
#'   and Hinton 1998). Both are `NA` for methods `"joint"` and `"vb"`.
#' @references
#' Neal, R. M. and Hinton, G. E. (1998). A view of the EM algorithm that justifies incremental,
#' sparse, and other variants. In *Learning in Graphical Models*, 355--368.
#' \doi{10.1007/978-94-011-5014-9_12}
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont,
#'                 control = elbo_control(accelerate = "none"))
#' head(elbo_trace(fit))
#' @export
elbo_trace <- function(object, ...) UseMethod("elbo_trace")

#' @rdname elbo_trace
#' @export
elbo_trace.elbo_fit <- function(object, ...) {
  check_dots_empty(...)
  structure(trace_of(object), class = c("elbo_trace", "data.frame"))
}

#' The objective of a fit
#'
#' The evidence lower bound
#' \eqn{E_q[\log p(y, z\mid\theta)] - E_q[\log q(z)]}{E_q[log p(y, z | theta)] - E_q[log q(z)]} at
#' the optimum, at other parameters, or at another q. At the exact q it equals the log-likelihood;
#' at any other it is lower by the Kullback-Leibler divergence.
#'
#' @param object A fit.
#' @param theta A vector like [theta()]; `NULL` for the estimates. Not for method `"vb"`, where
#'   theta has a distribution.
#' @param q The distribution of the latent variables: a list of `mean` (levels x terms) and `cov`
#'   (terms x terms x levels), and for method `"reml"` also `gain` (terms x coefficients x levels),
#'   with \eqn{u_g\mid\beta \sim N(mean_g - gain_g(\beta - \hat\beta), cov_g)}{u_g | beta ~
#'   N(mean_g - gain_g (beta - betahat), cov_g)}, as in `fit$latent`. For method `"vb"` the factors
#'   as [variational()] returns them, with any numbers; auxiliary variables are at their best.
#'   Coefficients of smooth terms are integrated like \eqn{\beta}{beta} under `"reml"`. `NULL` for
#'   the best at `theta`.
#' @param ... For methods.
#' @return A number.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
#' elbo(fit)
#' logLik(fit)
#' elsewhere <- theta(fit)
#' elsewhere["sigma"] <- 2
#' elbo(fit, elsewhere)
#' # Latent variables as (nearly) points: a worse q
#' q <- fit$latent
#' q$cov <- q$cov / 100
#' elbo(fit, q = q)
#' @export
elbo <- function(object, theta = NULL, q = NULL, ...) UseMethod("elbo")
