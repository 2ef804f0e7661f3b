# How far the estimates move with the data: the infinitesimal jackknife, and a refit that
# checks it.
#
# Give row i the weight w_i: the objective is that of log p(z, theta) + sum_i w_i log p(y_i | z,
# theta); all w_i = 1 is the fit, w_i = 0 removes the row. With eta the scales (points under em
# and reml; S and v of q(Sigma) and q(sigma^2) under vb) and everything else at its best given
# eta, the objective f has df/dw_i = h_i = E_q[log p(y_i | z, theta)] (the envelope theorem), q
# the exact posterior of z at eta, under reml and vb of z and beta, so that at the optimum
# (implicit function theorem)
#   d eta / d w_i  = (-H)^-1 d h_i / d eta,   H the Hessian of f,
#   d beta / d w_i = B v_i e_i + (d beta / d eta) d eta / d w_i,
# v_i the rows of V^-1 X, B = (X'V^-1X)^-1 and e_i the residual from the posterior mean. It is
# the derivative of linear response, of the objective tilted by log p(y_i | z, theta).

#' How much the estimates lean on their priors or on a few rows
#'
#' `sensitivity(fit, to = "data")` looks, for every fixed effect, for the smallest set of rows whose
#' removal would change its sign, its significance, or both. A conclusion that a handful of rows can
#' overturn rests on them, however small its standard error.
#'
#' The rows are chosen by the derivative of the estimate and its standard error with respect to a
#' weight on each row (the infinitesimal jackknife; Broderick, Giordano and Meager 2020), in which
#' variance parameters move too. The most influential row goes, the model is fitted to the rest, and
#' the influence of those is computed anew, until the fit shows the change; where many rows have to
#' go, half of those that the derivative asks for go at once. Then rows are put back while the
#' change stays, those first that hardly matter to the fit without them, and the leading rows by the
#' first derivative are tried as a set. Every set that counts was confirmed by a fit without
#' it. Whether there is a smaller one only all sets could tell, so `rows` reads "at most". The
#' search ends without a set when no row moves the estimate in the direction that is wanted, or half
#' of all rows do not do it; `print()` says which. A variance on the boundary of its range has no
#' derivative.
#'
#' Under method `"vb"` the estimates are the means of q and the standard errors those of linear
#' response, and it is the same derivative: means and standard deviations move with q as a
#' whole, priors (default ones too) stay those of the fit. Against differences of a dense,
#' independent computation at slightly changed weights both were right to 3e-6 of the largest
#' derivative, under `factorization = "mean_field"` to 2e-5, the precision of the comparison.
#'
#' @param object a fit.
#' @param to `"prior"`, for fits of method `"vb"`, or `"data"`.
#' @param level significant means that the interval of this level, as [confint()] gives it,
#'   leaves out zero; degrees of freedom are those of the fit to all rows.
#' @param parm `to = "data"`: names or numbers of the fixed effects to ask about, as in [confint()];
#'   `NULL` for all. The time that the search takes is proportional to their number.
#' @param ... for methods.
#' @return For `to = "data"` a data frame with three rows for each fixed effect in `parm`:
#' \describe{
#'   \item{`estimate`}{name of the fixed effect.}
#'   \item{`change`}{`"sign"`; `"significance"`: gained or lost, the sign as it is; or
#'     `"both"`: significant with the opposite sign.}
#'   \item{`rows`}{the size of the smallest set found whose removal makes the change: at most so
#'     many rows are needed. `NA` if none was found.}
#'   \item{`percent`}{the same in per cent of all rows.}
#'   \item{`refit`}{estimate from a fit without these rows, `NA` if there is none.}
#'   \item{`value`}{estimate from all rows.}
#'   \item{`holds`}{`TRUE`: the fit without these rows shows the change; `NA` where none were
#'     found.}
#' }
#' The attribute `"removed"` is a list of the names of these rows, one element for each row of
#' the data frame; `"reason"` says of each change that was not found where the search ended.
#'
#' For `to = "prior"` a data frame with a row for each free parameter and each number in a
#' prior: `estimate`, name of the parameter; `prior`, the parameter or parameters whose prior it
#' is; `number`, its name in that prior, as `"sd"`; `value`; `derivative` of the posterior mean
#' of the parameter with respect to it; and `per_sd`, the same in posterior standard deviations.
#' @section Errors: class `elbo_error_not_available`. `to = "prior"`: for methods other than
#'   `"vb"`. `to = "data"`: for `"joint"` with latent variables, and without a free fixed
#'   effect.
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
#' # rows that decide the sign of the difference between the sexes
#' attr(s, "removed")[[7]]
#'
#' fit <- update(fit, method = "vb")
#' sensitivity(fit, to = "data")
#' subset(sensitivity(fit, to = "prior"), estimate == "age:SexFemale")
sensitivity <- function(object, to = c("prior", "data"), ...) UseMethod("sensitivity")

#' @rdname sensitivity
#' @export
sensitivity.elbo_glmm <- function(object, to = c("prior", "data"), level = 0.95, parm = NULL,
                                  ...) {
  to <- check_choice(to, "to", c("prior", "data"))
  check_between(level, "level", 0, 1)
  check_dots_empty(...)
  if (to == "prior") return(prior_sensitivity(object))
  check_row_sensitivity(object)
  influence <- row_influence(object)
  estimates <- interval_parameters(parm, names(influence$value))
  critical <- critical_values(object, estimates, level)
  targets <- expand.grid(change = c("sign", "significance", "both"), estimate = estimates,
                         stringsAsFactors = FALSE)
  searches <- each_in_turn(seq_len(nrow(targets)), function(i) {
    estimate <- targets$estimate[i]
    search_rows(object, influence,
                row_target(influence, estimate, targets$change[i], critical[[estimate]]))
  }, control_of(object), "Rows that overturn a conclusion")
  rows <- vapply(searches, function(s) if (is.null(s$rows)) NA_integer_ else length(s$rows), 0L)
  refit <- unlist(Map(function(search, estimate) {
    if (is.null(search$rows)) NA_real_ else coef(search$fit)[[estimate]]
  }, searches, targets$estimate))
  reasons <- vapply(searches, function(s) if (is.null(s$reason)) NA_character_ else s$reason, "")
  structure(
    data.frame(
      estimate = targets$estimate, change = targets$change,
      rows = unname(rows), percent = 100 * unname(rows) / nobs(object),
      refit = unname(refit), value = unname(influence$value[targets$estimate]),
      holds = ifelse(is.na(unname(rows)), NA, TRUE)
    ),
    removed = unname(lapply(searches, function(s) row.names(frame_of(object))[s$rows])),
    reason = stats::setNames(reasons, paste(targets$estimate, targets$change)),
    labels = parameter_labels(object),
    class = c("elbo_sensitivity", "data.frame")
  )
}

check_row_sensitivity <- function(fit) {
  check_no_curves(design_of(fit), "sensitivity(to = \"data\")",
                  "Write curves as ns(x, df), of package splines.")
  if (method_of(fit) == "joint" && ncol(design_of(fit)$Z) > 0) {
    abort(c("Method \"joint\" makes every latent variable an estimate that its own rows move.",
            "Use update(fit, method = \"em\")."), "elbo_error_not_available")
  }
  if (length(free_coefficients(fit)) == 0) {
    abort(c("The fit has no free fixed effect, and conclusions are drawn about those.",
            "Add one to its formula, or free one in its priors."), "elbo_error_not_available")
  }
}

# ---- the derivative ------------------------------------------------------------------------

# Fixed effects and their standard errors with what their derivatives by the weights of rows need
# that is no longer than the parameters; row_gradient() goes over the rows.
row_influence <- function(fit) {
  eta <- eta_of(fit)
  state <- at_eta(fit, eta)
  at <- coefficients_at(fit, state)
  names <- free_coefficients(fit)
  list(fit = fit, eta = eta, state = state, at = at, slopes = scale_slopes(fit, eta, state),
       value = stats::setNames(at$beta, names), se = stats::setNames(sqrt(at$variance), names))
}

# By the weight of each row, the derivative of by_value beta_j + by_se se_j. Where it comes by the
# scales it is that of h along one direction: two looks at the rows, however many scales there are.
# `rows`, a fit like that of `influence` with another design, has the rows to look at.
row_gradient <- function(influence, j, by_value, by_se, rows = influence$fit) {
  by_variance <- by_se / (2 * influence$se[[j]])
  slopes <- influence$slopes
  towards <- slopes$cov %*% (by_value * slopes$beta[j, ] + by_variance * slopes$variance[j, ])
  direction <- replace(0 * influence$eta, slopes$moves, towards)
  at <- rows_given(rows, influence$state)
  # V^-1 grows by s2 v_i v_i' with the weight of row i, so B_jj falls by s2 (B v_i)_j^2.
  gradient <- by_value * at$direct[, j] - by_variance * at$s2 * drop(at$v %*% at$B[, j])^2
  step <- 1e-4 / largest_move(influence, direction)
  if (is.finite(step)) {
    sides <- rows_beside(influence, step * direction, rows)
    gradient <- gradient + (sides$up$h - sides$down$h) / (2 * step)
  }
  if (method_of(influence$fit) != "vb") return(gradient)
  gradient + by_variance * response_gradient(influence, j, at, rows)
}

# In standard errors of the scales.
largest_move <- function(influence, direction) {
  unit <- sqrt(diag(information_of(influence$fit)$eta_cov))
  max(0, abs(direction) / unit, na.rm = TRUE)
}

rows_beside <- function(influence, step, rows) {
  lapply(c(up = 1, down = -1), function(side) {
    rows_given(rows, at_eta(influence$fit, influence$eta + side * step))
  })
}

# Derivatives with respect to the scales that are not at a boundary: beta and variance (p x k), with
# the covariance k x k.
scale_slopes <- function(fit, eta, state) {
  cov <- information_of(fit)$eta_cov
  moves <- information_of(fit)$moves
  moves <- moves[is.finite(diag(cov)[moves])]
  p <- length(state$beta)
  variance <- if (method_of(fit) == "vb") response_slopes(fit, eta, moves)
              else vapply(moves, function(k) diag(matrix(state$beta_cov_slope[, , k], p)),
                          numeric(p))
  list(beta = (state$beta_cov %*% t(state$cross))[, moves, drop = FALSE],
       variance = matrix(variance, p, length(moves)), moves = moves,
       cov = cov[moves, moves, drop = FALSE])
}

# Of linear response variances, by central differences of the exact expressions.
response_slopes <- function(fit, eta, moves) {
  vapply(moves, function(k) {
    step <- 1e-4 * sqrt(information_of(fit)$eta_cov[k, k])
    variance <- function(to) coefficients_at(fit, at_eta(fit, replace(eta, k, to)))$variance
    (variance(eta[k] + step) - variance(eta[k] - step)) / (2 * step)
  }, numeric(length(free_coefficients(fit))))
}

# Under vb the variance of coefficient j is B_jj + R_j A R_j', R_j = d beta_j / d eta and A =
# (-H)^-1: what the second part gains at fixed scales. With r = A R_j', the response of eta to
# a tilt by beta_j,
#   d (R_j A R_j') / dw_i = 2 d R_j / dw_i r + r' (dH / dw_i) r,
# where d R_j / dw_i = d (B v_i e_i)_j / d eta and dH / dw_i is the Hessian of h_i: derivatives
# along r, by differences.
response_gradient <- function(influence, j, at, rows) {
  r <- drop(influence$at$response_cov %*% influence$at$response[j, ])
  step <- 1e-3 / largest_move(influence, r)
  if (!is.finite(step)) return(0)
  sides <- rows_beside(influence, step * r, rows)
  (sides$up$direct[, j] - sides$down$direct[, j]) / step +
    (sides$up$h - 2 * at$h + sides$down$h) / step^2
}

# In `state`, the model at some scales: the best `beta` of the coefficients that are free and their
# `variance`; under vb with their `response` to the scales, of covariance `response_cov`.
coefficients_at <- function(fit, state) {
  at <- list(beta = state$beta, variance = diag(state$beta_cov))
  if (method_of(fit) == "vb") with_response(at, state) else at
}

# In `state`, B the covariance of beta given the scales; by row v = V^-1 X, the residual variance
# s2, e = y - E[X beta + Z z | y], `spread` = Var(X beta + Z z | y), the change `direct` = B v_i
# e_i of beta with the weight at fixed scales, and h = E_q[log p(y | z)] = -1/2 {log(2 pi s2) +
# (e^2 + spread) / s2} (under vb s2 is 1 / E[sigma^-2], from which E[log sigma^2] differs by a
# constant). With the mean u - K (beta - betahat) of z given beta, v is (X - Z K) / s2.
rows_given <- function(fit, state) {
  design <- design_of(fit)
  s2 <- residual_variance(fit, state$sigma)
  X <- design$X[, information_of(fit)$free_beta, drop = FALSE]
  e <- design$y - fixed_rows(fit) +
    drop(X %*% (theta(fit)[information_of(fit)$free_beta] - state$beta))
  of_latent <- latent_rows_given(fit, state)
  e <- e - of_latent$mean
  left <- X - of_latent$gain
  B <- state$beta_cov
  # How x'beta + z'u moves with beta, on which u depends but in the mean field.
  moved <- if (isTRUE(priors_of(fit)$told$mean_field == 1)) X else left
  spread <- of_latent$spread + rowSums((moved %*% state$q_beta_cov) * moved)
  list(B = B, v = left / s2, s2 = s2, e = e, direct = (left * (e / s2)) %*% B, spread = spread,
       h = -0.5 * (log(2 * pi * s2) + (e^2 + spread) / s2))
}

# Of z_i'u: its mean, how that moves with beta (Z K), and its variance given beta.
latent_rows_given <- function(fit, state) {
  design <- design_of(fit)
  if (is_crossed(design)) return(crossed_rows_given(fit, state))
  group <- as.integer(the_group(design))
  mean <- numeric(nrow(design$X))
  gain <- matrix(0, nrow(design$X), length(information_of(fit)$free_beta))
  for (k in seq_len(ncol(design$Z))) {
    mean <- mean + design$Z[, k] * state$mean[group, k]
    K <- matrix(state$gain[k, , ], dim(state$gain)[3], ncol(gain), byrow = TRUE)
    gain <- gain + design$Z[, k] * K[group, , drop = FALSE]
  }
  list(mean = mean, gain = gain, spread = quadratic_form(design, state$cov))
}

# Linear response: the covariance of eta at its optimum and what it adds to that of beta.
with_response <- function(at, state) {
  at$response <- state$beta_cov %*% t(state$cross)
  at$response_cov <- invert_information(-(state$hessian + state$cross %*% at$response))
  at$variance <- at$variance + rowSums((at$response %*% at$response_cov) * at$response)
  at
}

# Those not held by priors().
free_coefficients <- function(fit) {
  parameters <- parameters_of(fit)
  parameters$name[parameters$block == "beta" & !parameters$fixed]
}

# V^-1 A = R^-1 A - R^-1 Z C Z'R^-1 A, group by group, C the posterior covariance of z.
solve_marginal <- function(design, s2, cov, A) {
  A <- A / s2
  q <- ncol(design$Z)
  sums <- lapply(seq_len(q), function(j) {
    rowsum(design$Z[, j] * A, as.integer(the_group(design)), reorder = TRUE)
  })
  for (j in seq_len(q)) {
    effect <- Reduce(`+`, lapply(seq_len(q), function(k) cov[j, k, ] * sums[[k]]))
    A <- A - (design$Z[, j] / s2) * effect[as.integer(the_group(design)), , drop = FALSE]
  }
  A
}

# z_i'C z_i by row.
quadratic_form <- function(design, cov) {
  value <- numeric(nrow(design$Z))
  group <- as.integer(the_group(design))
  for (j in seq_len(ncol(design$Z))) {
    for (k in seq_len(j)) {
      value <- value + (2 - (j == k)) * design$Z[, j] * design$Z[, k] * cov[j, k, ][group]
    }
  }
  value
}

# ---- the intervals -------------------------------------------------------------------------

critical_values <- function(fit, names, level) {
  df <- stats::setNames(fit_df(fit), names(coef(fit)))[names]
  df[is.na(df)] <- Inf
  replace(df, TRUE, stats::qt((1 + level) / 2, df))
}

# ---- the refit -----------------------------------------------------------------------------

# The same model, bases of splines and all, fitted to all rows but these.
drop_rows <- function(fit, rows) {
  design <- design_of(fit)
  for (part in c("X", "Z")) design[[part]] <- design[[part]][-rows, , drop = FALSE]
  design$y <- design$y[-rows]
  design$weights <- design$weights[-rows]
  by_row <- intersect(c("y", "size", "weight"), names(design$response))
  design$response[by_row] <- lapply(design$response[by_row], function(x) x[-rows])
  if (length(design$offset) > 1) design$offset <- design$offset[-rows] # else 0 for all rows
  design$groups <- lapply(design$groups, function(group) droplevels(group[-rows]))
  if (!is.null(design$level)) design$level <- droplevels(design$level[-rows])
  held <- held_of(fit)
  held <- held[held$block != "sigma" | held$name %in% glmm_parameters(design)$name, ]
  if (is_gaussian(fit)) check_bounded(design, held, method_of(fit))
  else check_separated(design, held, prior_of(fit))
  refit_design(fit, design, held)
}

# The priors of the parameters in `held`, of which the fit may have more.
priors_of_held <- function(fit, held) {
  priors <- priors_of(fit)
  if (is.null(priors)) return(NULL)
  old <- parameters_of(fit)
  left <- old$name %in% held$name
  of_beta <- left[old$block == "beta" & !old$fixed]
  of_sigma <- if (design_of(fit)$known_se) TRUE else left[old$block == "sigma"]
  told <- list(prior_beta_mean = of_beta, prior_beta_sd = of_beta, prior_sigma_df = of_sigma,
               prior_sigma_scale = of_sigma,
               prior_family = c(rep(TRUE, sum(old$block == "sd")), of_sigma))
  priors[c("stated", "default", "block")] <-
    lapply(priors[c("stated", "default", "block")], `[`, left)
  priors$told[names(told)] <- Map(`[`, priors$told[names(told)], told)
  priors
}
