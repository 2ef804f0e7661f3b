# How far the estimates move with the data: the infinitesimal jackknife, and a refit that
# checks it.
#
# Give row i the weight w_i, in l(theta, w) = log of the integral over z of
# p(z | theta) prod_i p(y_i | z, theta)^w_i; all w_i = 1 is the fit, w_i = 0 removes the row.
# At the optimum (implicit function theorem)
#   d theta / d w_i = I^-1 d h_i / d theta,   h_i = dl / dw_i = E_q[log p(y_i | z, theta)],
# I the observed information and q the exact posterior of z (under reml: of z and beta). We
# profile beta out: with psi the variance parameters and beta(psi) generalised least squares,
#   d psi / d w_i  = I_psi^-1 d h_i(beta(psi), psi) / d psi,
#   d beta / d w_i = B v_i e_i + (d beta / d psi) d psi / d w_i,
# v_i the rows of V^-1 X, B = (X'V^-1X)^-1 and e_i the residual from the posterior mean.

#' How much the estimates lean on their priors or on a few rows
#'
#' `sensitivity(fit, to = "data")` finds, for every fixed effect, the fewest rows whose removal
#' would change its sign, its significance, or both, and refits without them. A conclusion
#' that a handful of rows can overturn rests on them, however small its standard error.
#'
#' The rows are chosen by the derivative of the estimate with respect to a weight on each row
#' (the infinitesimal jackknife), which costs about as much as one fit: rows are removed in the
#' order of their influence until the linear approximation crosses the target (Broderick,
#' Giordano and Meager 2020). The derivative is exact, standard errors and variance parameters
#' move with the rows; that it holds for more than a few rows is an approximation, so `refit`
#' is the estimate of an actual fit to the remaining rows and `holds` says whether that fit
#' shows the change. A variance on the boundary of its range is held there.
#'
#' @param object a fit.
#' @param to `"prior"`, for fits of method `"vb"`, or `"data"`, for the other methods.
#' @param level significant means that the confidence interval of this level leaves out zero;
#'   degrees of freedom are those of the fit to all rows.
#' @param ... for methods.
#' @return For `to = "data"` a data frame with three rows for each fixed effect:
#' \describe{
#'   \item{`estimate`}{name of the fixed effect.}
#'   \item{`change`}{`"sign"`; `"significance"`: gained or lost, the sign as it is; or
#'     `"both"`: significant with the opposite sign.}
#'   \item{`rows`}{the fewest rows whose removal makes the change by the linear approximation,
#'     `NA` if no number of rows does.}
#'   \item{`percent`}{the same in per cent of all rows.}
#'   \item{`refit`}{estimate from a fit without these rows, `NA` if there is none.}
#'   \item{`value`}{estimate from all rows.}
#'   \item{`holds`}{whether the refit shows the change.}
#' }
#' The attribute `"removed"` is a list of the names of these rows, one element for each row of
#' the data frame.
#'
#' For `to = "prior"` a data frame with a row for each free parameter and each number in a
#' prior: `estimate`, name of the parameter; `prior`, the parameter or parameters whose prior it
#' is; `number`, its name in that prior, as `"sd"`; `value`; `derivative` of the posterior mean
#' of the parameter with respect to it; and `per_sd`, the same in posterior standard deviations.
#' @section Errors: class `elbo_error_not_available`. `to = "prior"`: for methods other than
#'   `"vb"`. `to = "data"`: for `"vb"`, for `"joint"` with latent variables, and without a free
#'   fixed effect.
#' @references
#' Broderick, T., Giordano, R. and Meager, R. (2020). An automatic finite-sample robustness
#' metric: when can dropping a little data make a big difference?
#' \doi{10.48550/arXiv.2011.14999}
#'
#' Giordano, R., Stephenson, W., Liu, R., Jordan, M. I. and Broderick, T. (2019). A Swiss army
#' infinitesimal jackknife. *Proceedings of Machine Learning Research* 89, 1139--1147.
#'
#' Giordano, R., Broderick, T. and Jordan, M. I. (2018). Covariances, robustness, and variational
#' Bayes. *Journal of Machine Learning Research* 19(51), 1--49.
#' @family what a fit answers
#' @export
#' @examples
#' fit <- fit_glmm(distance ~ age * Sex + (1 | Subject), nlme::Orthodont)
#' s <- sensitivity(fit, to = "data")
#' s
#' # the three rows that decide the sign of the difference between the sexes
#' attr(s, "removed")[[7]]
#'
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, method = "vb")
#' sensitivity(fit, to = "prior")
sensitivity <- function(object, to = c("prior", "data"), ...) UseMethod("sensitivity")

#' @rdname sensitivity
#' @export
sensitivity.elbo_glmm <- function(object, to = c("prior", "data"), level = 0.95, ...) {
  to <- check_choice(to, "to", c("prior", "data"))
  check_between(level, "level", 0, 1)
  check_dots_empty(...)
  if (to == "prior") return(prior_sensitivity(object))
  check_row_sensitivity(object)
  influence <- row_influence(object)
  critical <- critical_values(object, names(influence$value), level)
  targets <- expand.grid(change = c("sign", "significance", "both"),
                         estimate = names(influence$value), stringsAsFactors = FALSE)
  removed <- Map(function(estimate, change) {
    target <- robustness_target(influence, estimate, change, critical[[estimate]])
    fewest_rows(target$value, target$gradient)
  }, targets$estimate, targets$change)
  refits <- Map(function(estimate, change, rows) {
    refit_without(object, rows, estimate, change, critical[[estimate]])
  }, targets$estimate, targets$change, removed)
  rows <- vapply(removed, function(x) if (is.null(x)) NA_integer_ else length(x), 0L)
  structure(
    data.frame(
      estimate = targets$estimate, change = targets$change,
      rows = unname(rows), percent = 100 * unname(rows) / nobs(object),
      refit = vapply(refits, `[[`, 0, "estimate", USE.NAMES = FALSE),
      value = unname(influence$value[targets$estimate]),
      holds = vapply(refits, `[[`, NA, "holds", USE.NAMES = FALSE)
    ),
    removed = unname(lapply(removed, function(i) row.names(object$frame)[i]))
  )
}

check_row_sensitivity <- function(fit) {
  if (fit$method == "vb") {
    abort(c("Sensitivity to the data is for methods \"em\" and \"reml\", not yet for \"vb\".",
            "Use update(fit, method = \"reml\", prior = NULL)."), "elbo_error_not_available")
  }
  if (fit$method == "joint" && ncol(fit$design$Z) > 0) {
    abort(c("Method \"joint\" makes every latent variable an estimate that its own rows move.",
            "Use update(fit, method = \"em\")."), "elbo_error_not_available")
  }
  if (length(free_coefficients(fit)) == 0) {
    abort(c("The fit has no free fixed effect, and conclusions are drawn about those.",
            "Add one to its formula, or free one in its priors."), "elbo_error_not_available")
  }
}

# ---- the derivative ------------------------------------------------------------------------

# Fixed effects and their standard errors, with the derivative of each with respect to the
# weight of each row: list(value, se, d_value n x p, d_se n x p).
row_influence <- function(fit) {
  at <- rows_at(fit, fit$theta)
  shift <- variance_shift(fit)
  d_psi <- shift$h %*% shift$cov
  d_value <- (at$v * at$e) %*% at$B + d_psi %*% t(shift$beta)
  # V^-1 grows by s2 v_i v_i' with the weight of row i, so B_jj falls by s2 (B v_i)_j^2.
  d_variance <- -at$s2 * (at$v %*% at$B)^2 + d_psi %*% t(shift$variance)
  se <- sqrt(diag(at$B))
  list(value = at$beta, se = se, d_value = d_value,
       d_se = sweep(d_variance, 2, 2 * se, "/"))
}

# Derivatives with respect to the free variance parameters, by central differences of the
# exact expressions: h (n x k), beta and variance (p x k), with the covariance k x k.
variance_shift <- function(fit) {
  cov <- fit$var_cov
  free <- rownames(cov)[is.finite(diag(cov))]
  shifts <- lapply(free, function(name) {
    step <- shift_step(fit, name)
    up <- rows_at(fit, replace(fit$theta, name, fit$theta[[name]] + step))
    down <- rows_at(fit, replace(fit$theta, name, fit$theta[[name]] - step))
    list(h = (up$h - down$h) / (2 * step),
         beta = (up$beta - down$beta) / (2 * step),
         variance = (diag(up$B) - diag(down$B)) / (2 * step))
  })
  column <- function(what, size) {
    matrix(vapply(shifts, `[[`, numeric(size), what), size, length(free))
  }
  p <- length(free_coefficients(fit))
  list(h = column("h", nobs(fit)), beta = column("beta", p),
       variance = column("variance", p), cov = cov[free, free, drop = FALSE])
}

# A small part of the standard error, and of the way to the end of the parameter's range.
shift_step <- function(fit, name) {
  value <- fit$theta[[name]]
  is_cor <- fit$parameters$block[match(name, fit$parameters$name)] == "cor"
  room <- if (is_cor) 1 - abs(value) else value
  1e-4 * min(sqrt(fit$var_cov[name, name]), room)
}

# At the variance parameters in `theta`: generalised least squares `beta` of the coefficients
# that are free, with (X'V^-1X)^-1 in `B` (and the prior's precision in it); by row v = V^-1 X, residual variance s2,
# e = y - E[X beta + Z z | y], and
# h = E[log p(y | z)] = -1/2 {log(2 pi s2) + (e^2 + Var(X beta + Z z | y)) / s2}.
rows_at <- function(fit, theta) {
  design <- fit$design
  fit$theta <- theta
  s2 <- residual_variance(fit)
  cov <- conditional_cov(fit)
  free <- free_coefficients(fit)
  X <- design$X[, free, drop = FALSE]
  y <- design$y - fixed_rows(fit) + drop(X %*% theta[free])
  v <- solve_marginal(design, s2, cov, X)
  prior <- coefficient_prior(fit)
  B <- solve(crossprod(X, v) + diag(prior$precision, length(free)))
  beta <- drop(B %*% (crossprod(v, y) + prior$precision * prior$mean))
  e <- s2 * drop(solve_marginal(design, s2, cov, y - X %*% beta))
  variance <- quadratic_form(design, cov)
  if (fit$method == "reml") {
    variance <- variance + s2^2 * rowSums((v %*% B) * v)
  }
  list(beta = stats::setNames(beta, free), B = B, v = v, s2 = s2, e = e,
       h = -0.5 * (log(2 * pi * s2) + (e^2 + variance) / s2))
}

# Those not held by priors().
free_coefficients <- function(fit) {
  parameters <- fit$parameters
  parameters$name[parameters$block == "beta" & !parameters$fixed]
}

# Normal priors of the free coefficients; without one the precision is zero.
coefficient_prior <- function(fit) {
  told <- fit$priors$told
  if (is.null(told)) return(list(mean = 0, precision = 0))
  list(mean = told$prior_beta_mean, precision = 1 / told$prior_beta_sd^2)
}

# V^-1 A = R^-1 A - R^-1 Z C Z'R^-1 A, group by group, C the posterior covariance of z.
solve_marginal <- function(design, s2, cov, A) {
  A <- A / s2
  q <- ncol(design$Z)
  sums <- lapply(seq_len(q), function(j) {
    rowsum(design$Z[, j] * A, as.integer(design$group), reorder = TRUE)
  })
  for (j in seq_len(q)) {
    effect <- Reduce(`+`, lapply(seq_len(q), function(k) cov[j, k, ] * sums[[k]]))
    A <- A - (design$Z[, j] / s2) * effect[as.integer(design$group), , drop = FALSE]
  }
  A
}

# z_i'C z_i by row.
quadratic_form <- function(design, cov) {
  value <- numeric(nrow(design$Z))
  for (j in seq_len(ncol(design$Z))) {
    for (k in seq_len(ncol(design$Z))) {
      value <- value + design$Z[, j] * design$Z[, k] * cov[j, k, design$group]
    }
  }
  value
}

# The posterior covariance of z at given coefficients, whatever the method: q x q x m.
conditional_cov <- function(fit) {
  if (ncol(fit$design$Z) == 0) return(NULL)
  fit$method <- "em"
  glmm_posterior(fit, fit$theta)$cov
}

# ---- the fewest rows -----------------------------------------------------------------------

critical_values <- function(fit, names, level) {
  df <- stats::setNames(fit_df(fit), names(coef(fit)))[names]
  df[is.na(df)] <- Inf
  replace(df, TRUE, stats::qt((1 + level) / 2, df))
}

# A function of the estimate that is positive now and negative after the change, with its
# derivative by row; `critical` standard errors make an interval.
robustness_target <- function(influence, estimate, change, critical) {
  j <- match(estimate, names(influence$value))
  side <- if (influence$value[j] < 0) -1 else 1
  size <- side * influence$value[[j]]
  d_size <- side * influence$d_value[, j]
  margin <- critical * influence$se[[j]]
  d_margin <- critical * influence$d_se[, j]
  switch(change,
    sign = list(value = size, gradient = d_size),
    both = list(value = size + margin, gradient = d_size + d_margin),
    significance = if (size > margin) {
      list(value = size - margin, gradient = d_size - d_margin)
    } else {
      list(value = margin - size, gradient = d_margin - d_size)
    }
  )
}

# The fewest rows whose removal takes `value` below zero: removal of row i lowers it by
# gradient[i], so the largest first. NULL where all that lower it do not suffice.
fewest_rows <- function(value, gradient) {
  largest <- order(gradient, decreasing = TRUE)
  count <- which(cumsum(pmax(gradient[largest], 0)) > value)
  if (length(count) == 0) NULL else largest[seq_len(count[1])]
}

# ---- the check -----------------------------------------------------------------------------

# The same model, bases of splines and all, fitted to all rows but these.
drop_rows <- function(fit, rows) {
  design <- fit$design
  for (part in c("X", "Z")) design[[part]] <- design[[part]][-rows, , drop = FALSE]
  design$y <- design$y[-rows]
  design$weights <- design$weights[-rows]
  if (length(design$offset) > 1) design$offset <- design$offset[-rows] # else 0 for all rows
  for (part in c("group", "level")) {
    if (!is.null(design[[part]])) design[[part]] <- droplevels(design[[part]][-rows])
  }
  held <- glmm_constants(fit$prior, design, fit$method)
  check_bounded(design, held, fit$method)
  answer <- ascend_glmm(design, held, fit$method, fit$control, function(...) fit$priors)
  estimates <- glmm_estimates(answer)
  fit$design <- answer$design
  fit[names(estimates)] <- estimates
  fit
}

refit_without <- function(fit, rows, estimate, change, critical) {
  none <- list(estimate = NA_real_, holds = NA)
  if (is.null(rows)) return(none)
  refit <- tryCatch(drop_rows(fit, rows), elbo_error = function(e) NULL)
  if (is.null(refit) || !estimate %in% names(coef(refit))) return(none)
  z <- function(fit) coef(fit)[[estimate]] / sqrt(vcov(fit)[estimate, estimate])
  before <- z(fit)
  after <- z(refit)
  turned <- before * after < 0
  significant <- abs(after) > critical
  holds <- switch(change, sign = turned, both = turned && significant,
                  significance = significant != (abs(before) > critical))
  list(estimate = coef(refit)[[estimate]], holds = holds)
}
