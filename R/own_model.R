# Users' own models, of fit_em() and fit_advi(): parameters that come and go in the shape of
# `start`, as a vector, a matrix or a list of these, and their bounds.
#
#   own_pattern(start, lower, upper)    the shape, names and bounds of the parameters
#   fold(pattern, values)               values in the shape of `start`
#   to_free(pattern, x), from_free(pattern, eta), free_slope(pattern, eta)
#                                       between bounds and the whole line: x itself, log(x - lower),
#                                       log(upper - x), logit((x - lower) / (upper - lower))

own_pattern <- function(start, lower, upper) {
  check_theta_start(start)
  names <- own_names(start)
  twice <- unique(names[duplicated(names)])
  if (length(twice) > 0) {
    abort(sprintf("`start` has several parameters called %s. Give each a name of its own.",
                  quote_names(twice)), "elbo_error_argument")
  }
  x <- as.double(theta_entries(start))
  pattern <- list(start = start, names = names, x = x,
                  lower = own_bounds(lower, "lower", -Inf, start, names),
                  upper = own_bounds(upper, "upper", Inf, start, names))
  empty <- which(!(pattern$lower < pattern$upper))[1]
  if (!is.na(empty)) {
    abort(sprintf("`lower` must be less than `upper`, which are %s and %s for %s.",
                  signif_text(pattern$lower[empty], 4), signif_text(pattern$upper[empty], 4),
                  names[empty]), "elbo_error_argument")
  }
  outside <- bounds_problem(pattern, x)
  if (!is.null(outside)) abort(c("`start` must lie within its bounds:", outside),
                               "elbo_error_argument")
  pattern
}

# "p"; "beta[2]", "beta.age"; "cov[1,2]", "cov[Ozone,Wind]".
own_names <- function(start) {
  if (!is.list(start)) {
    names <- part_names(start, "")
    return(if (length(names) == 1 && !nzchar(names)) "theta" else names)
  }
  parts <- names(start)
  if (is.null(parts)) parts <- rep("", length(start))
  parts[!nzchar(parts)] <- sprintf("theta%d", seq_along(parts))[!nzchar(parts)]
  unlist(Map(part_names, unname(start), parts), use.names = FALSE)
}

part_names <- function(x, part) {
  word <- if (nzchar(part)) part else "theta"
  if (is.matrix(x)) {
    label <- function(margin) {
      if (is.null(dimnames(x)[[margin]])) seq_len(dim(x)[margin]) else dimnames(x)[[margin]]
    }
    return(paste0(word, "[", outer(label(1), label(2), paste, sep = ","), "]"))
  }
  if (!is.null(names(x))) {
    own <- ifelse(nzchar(names(x)), names(x), seq_along(x))
    return(if (nzchar(part)) paste0(part, ".", own) else own)
  }
  if (length(x) == 1) part else paste0(word, "[", seq_along(x), "]")
}

# A number for all, a number for each, numbers by name, or a list like `start`.
own_bounds <- function(bound, name, none, start, names) {
  n <- length(names)
  out <- rep(none, n)
  parts <- if (is.list(bound)) bound else list(bound)
  numbers <- length(parts) > 0 && all(vapply(parts, is.numeric, NA)) && !anyNA(unlist(parts))
  check(numbers, name, "numbers, one for all parameters, one for each, or some by name", bound)
  if (is.list(bound)) {
    position <- relist_positions(start)
    unknown <- setdiff(names(bound), names(start))
    if (!is.list(start) || is.null(names(bound)) || length(unknown) > 0) {
      abort(sprintf("`%s` must be a list with names of parts of `start`, not %s.", name,
                    if (length(unknown) > 0) quote_names(unknown) else describe_value(bound)),
            "elbo_error_argument")
    }
    for (part in names(bound)) {
      at <- position[[match(part, names(start))]]
      if (!length(bound[[part]]) %in% c(1, length(at))) {
        wrong_bounds(name, bound[[part]], length(at))
      }
      out[at] <- bound[[part]]
    }
    return(out)
  }
  if (!is.null(names(bound))) {
    unknown <- setdiff(names(bound), names)
    if (length(unknown) > 0) {
      abort(sprintf("`%s` names %s, which %s no parameter: they are %s.", name,
                    quote_names(unknown), if (length(unknown) > 1) "are" else "is",
                    quote_names(names, 8)), "elbo_error_argument")
    }
    out[match(names(bound), names)] <- bound
    return(out)
  }
  if (!length(bound) %in% c(1, n)) wrong_bounds(name, bound, n)
  rep_len(as.double(bound), n)
}

wrong_bounds <- function(name, bound, n) {
  abort(sprintf("`%s` must have 1 or %d numbers, not %d.", name, n, length(bound)),
        "elbo_error_argument")
}

bounds_problem <- function(pattern, x) {
  out <- which(x <= pattern$lower | x >= pattern$upper)[1]
  if (is.na(out)) return(NULL)
  sprintf("%s = %s is not between %s and %s.", pattern$names[out], signif_text(x[out], 6),
          signif_text(pattern$lower[out], 4), signif_text(pattern$upper[out], 4))
}

fold <- function(pattern, values) with_values(pattern$start, values)

bound_kind <- function(pattern) {
  1L + is.finite(pattern$lower) + 2L * is.finite(pattern$upper) # none, lower, upper, both
}

to_free <- function(pattern, x) {
  lower <- pattern$lower
  upper <- pattern$upper
  by_kind(pattern, x, log(x - lower), log(upper - x), log(x - lower) - log(upper - x))
}

from_free <- function(pattern, eta) {
  lower <- pattern$lower
  upper <- pattern$upper
  by_kind(pattern, eta, lower + exp(eta), upper - exp(eta),
          lower + (upper - lower) * stats::plogis(eta))
}

# d x / d eta
free_slope <- function(pattern, eta) {
  by_kind(pattern, 1, exp(eta), -exp(eta),
          (pattern$upper - pattern$lower) * stats::dlogis(eta))
}

# Each is computed for all parameters, and is meaningless for most: warnings say nothing.
by_kind <- function(pattern, none, lower, upper, both) {
  values <- suppressWarnings(cbind(none, lower, upper, both))
  values[cbind(seq_len(nrow(values)), bound_kind(pattern))]
}

# ---- what a user's function returns --------------------------------------------------------------

# What is wrong with a theta that came back, in words, or NULL.
own_theta_problem <- function(theta, pattern) {
  problem <- theta_problem(theta, pattern$start)
  if (!is.null(problem)) return(problem)
  returned <- if (is.list(theta)) names(theta) else names(unlist(theta))
  expected <- if (is.list(theta)) names(pattern$start) else names(unlist(pattern$start))
  if (!is.null(returned) && !is.null(expected) && !identical(returned, expected)) {
    return(sprintf("Its theta has the names %s, where `start` has %s.", quote_names(returned, 6),
                   quote_names(expected, 6)))
  }
  bounds_problem(pattern, theta_entries(theta))
}

number_problem <- function(value) {
  if (is.numeric(value) && length(value) == 1 && is.finite(value)) return(NULL)
  shown <- if (length(value) == 1) describe_value(as.vector(value)) else describe_returned(value)
  sprintf("It must return a finite number; it returned %s.", shown)
}

# ---- the table of parameters -------------------------------------------------------------------

# A number that may be zero, one that is positive, a share, or one between other bounds.
own_rows <- function(pattern) {
  role <- ifelse(pattern$lower == 0 & pattern$upper == Inf, "positive",
                 ifelse(pattern$lower == 0 & pattern$upper == 1, "probability",
                        ifelse(bound_kind(pattern) == 1L, "coefficient", "bounded")))
  rows <- lapply(seq_along(role), function(i) {
    parameter_rows("own", term1 = pattern$names[i], role = role[i])
  })
  do.call(rbind, rows)
}

own_theta <- function(pattern, x, parameters) {
  theta <- stats::setNames(x, pattern$names)
  attr(theta, "fixed") <- parameters$fixed
  theta
}

# ---- what both classes answer ------------------------------------------------------------------

#' @exportS3Method
nobs.elbo_own <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$nobs)
  # Of a vector nothing says whether its entries are observations, or counts of them.
  data <- own_data(object)
  if (is.data.frame(data) || is.matrix(data)) nrow(data) else NA_integer_
}

#' @rdname theta
#' @param as_start of users' own models, `TRUE` for the parameters in the shape of `start`.
#' @export
theta.elbo_own <- function(object, as_start = FALSE, ...) {
  check_dots_empty(...)
  check_flag(as_start, "as_start")
  if (!as_start) return(theta_of(object))
  fold(pattern_of(object), as.vector(theta_of(object)))
}

#' @exportS3Method
size_words.elbo_own <- function(fit) {
  n <- nobs(fit)
  paste(c(count_words(length(theta(fit)), "parameter"), if (!is.na(n)) count_words(n, "row")),
        collapse = ", ")
}

#' @exportS3Method
informed.elbo_own <- function(fit) FALSE

# Intervals are made where there are no bounds.
#' @exportS3Method
parameter_limits.elbo_own <- function(fit, at, estimate, half_width) {
  pattern <- pattern_of(fit)
  pattern[c("lower", "upper")] <- lapply(pattern[c("lower", "upper")], `[`, at)
  eta <- to_free(pattern, estimate)
  ends <- half_width / abs(free_slope(pattern, eta))
  limits <- cbind(from_free(pattern, eta - ends), from_free(pattern, eta + ends))
  cbind(pmin(limits[, 1], limits[, 2]), pmax(limits[, 1], limits[, 2]))
}

#' What a user's own model says of other quantities
#'
#' The estimate of any function of the parameters, with its standard error: by differences and the
#' covariance of the estimates (the delta method) for [fit_em()]; for [fit_advi()] the mean of the
#' function under q and its standard deviation by linear response, which is the derivative of that
#' mean when the log density is tilted by a little of the function, and no delta method.
#'
#' @param object a fit by [fit_em()] or [fit_advi()].
#' @param f a function of `theta` (in the shape of `start`) and, if it has two arguments, `data`,
#'   that returns a numeric vector.
#' @param level confidence level, between 0 and 1.
#' @param ... for methods.
#' @return A data frame, one row for each number that `f` returns: `term`, `estimate`, `std.error`,
#'   `conf.low`, `conf.high`.
#' @family users' own models
#' @examples
#' fit <- fit_em(c(p = 0.5), data = c(125, 18, 20, 34), lower = 0, upper = 1,
#'               estep = function(p, y) y[1] * p[[1]] / (2 + p[[1]]),
#'               mstep = function(x, y) c(p = (x + y[4]) / (x + sum(y[2:4]))),
#'               log_evidence = function(p, y) sum(y * log(c(2 + p, 1 - p, 1 - p, p))))
#' predict(fit, function(p) c(recombination = 1 - sqrt(p[[1]])))
#' @export
predict.elbo_own <- function(object, f, level = 0.95, ...) {
  check_dots_empty(...)
  check(!missing(f) && is.function(f), "f", "a function of theta, or of theta and data",
        if (missing(f)) NULL else f)
  level <- check_between(level, "level", 0, 1)
  pattern <- pattern_of(object)
  two <- length(formals(args(f))) > 1
  value <- function(x) {
    theta <- fold(pattern, x)
    out <- attempt(if (two) f(theta, own_data(object)) else f(theta))
    problem <- out$problem
    if (is.null(problem) && !(is.numeric(out$value) && length(out$value) > 0)) {
      problem <- sprintf("It returned %s, no numbers.", describe_value(out$value))
    }
    if (!is.null(problem)) abort(c("`f` must return numbers.", problem), "elbo_error_argument")
    out$value
  }
  answer <- derived_quantities(object, value)
  half <- stats::qnorm((1 + level) / 2) * answer$sd
  term <- names(answer$estimate)
  if (is.null(term)) term <- paste0("f[", seq_along(answer$estimate), "]", recycle0 = TRUE)
  data.frame(term = term, estimate = unname(answer$estimate), std.error = answer$sd,
             conf.low = unname(answer$estimate) - half, conf.high = unname(answer$estimate) + half)
}

# list(estimate, sd) of value(x), a function of the parameters as a vector.
derived_quantities <- function(fit, value) UseMethod("derived_quantities")
