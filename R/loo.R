# Leave-one-out cross-validation, without leaving anything out.
#
# Given the scales psi = (Sigma, sigma), y is normal with covariance V (coefficients and latent
# variables integrated under their laws), so that what the other rows say of row i is known
# exactly: with e_i = s_i (V^-1 (y - E y))_i the residual from the posterior mean, s_i the
# residual variance and c_i the posterior variance of the linear predictor,
# (V^-1)_ii = (1 - c_i / s_i) / s_i and
#
#   y_i | y_-i, psi ~ N(y_i - e_i / (1 - c_i / s_i), s_i / (1 - c_i / s_i)).
#
# What remains is to move psi from p(psi | y) to p(psi | y_-i), proportional to
# p(psi | y) / p(y_i | y_-i, psi): importance sampling in a few dimensions (integrated importance
# sampling: Vehtari, Mononen, Tolvanen, Sivula and Winther 2016).

#' Leave-one-out cross-validation of a fit by method "vb"
#'
#' The expected log predictive density of each row given all others, for package loo: to judge
#' a model by, and to compare it with others through [loo::loo_compare()].
#'
#' What is left out is one row. The other rows of its group stay, so the question is how well
#' the model predicts a new row of a known group, not a row of a new group. Coefficients and
#' latent variables are integrated exactly given the standard deviations and correlations;
#' only these are drawn, from a multivariate t around their linear response moments that is
#' moved to the posterior (see [convergence()]). [loo::loo_approximate_posterior()] corrects
#' the draws to the exact posterior of each n - 1 rows by Pareto smoothed importance sampling.
#' The approximation by q therefore affects the precision of the answer and not what it
#' converges to, a fit with `factorization = "mean_field"` gives the same, and a Pareto k above
#' 0.7 says that a row could not be judged.
#'
#' The draws are evaluated one by one, at a cost that grows with rows times draws, as does the
#' memory (8 bytes each).
#'
#' @param x a fit by method `"vb"` with a standard deviation that is free.
#' @param ndraws number of draws, rounded up to a multiple of eight.
#' @param seed `NULL` to draw from the session's generator, or a whole number, which gives the
#'   same answer each time and leaves the session's generator as it was.
#' @param ... not used.
#' @return An object of class `psis_loo` of package loo: `estimates` of `elpd_loo`, `p_loo` (the
#'   effective number of parameters, coefficients and latent variables included) and `looic`,
#'   `pointwise` by row, and `diagnostics` with the Pareto k of each row.
#' @section Errors: class `elbo_error_method` for fits by other methods,
#'   `elbo_error_not_available` where no standard deviation is free, or with several grouping
#'   factors.
#' @references
#' Vehtari, A., Mononen, T., Tolvanen, V., Sivula, T. and Winther, O. (2016). Bayesian
#' leave-one-out cross-validation approximations for Gaussian latent variable models. *Journal of
#' Machine Learning Research* 17(103), 1--38.
#'
#' Magnusson, M., Andersen, M. R., Jonasson, J. and Vehtari, A. (2019). Bayesian leave-one-out
#' cross-validation for large data. *Proceedings of Machine Learning Research* 97, 4244--4253.
#' @family what a fit answers
#' @examplesIf requireNamespace("loo", quietly = TRUE)
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, method = "vb")
#' by_age <- loo::loo(fit, ndraws = 500, seed = 1)
#' by_age
#' loo::loo_compare(by_age, loo::loo(update(fit, . ~ . + Sex), ndraws = 500, seed = 1))
#' @exportS3Method loo::loo
loo.elbo_glmm <- function(x, ndraws = 1000L, seed = NULL, ...) {
  check_dots_empty(..., .but = passed_along$loo)
  not_for_crossed(x, "loo()")
  if (method_of(x) != "vb") {
    abort(c(sprintf("loo() is for fits by method \"vb\", not \"%s\".", method_of(x)),
            "Use update(fit, method = \"vb\")."), "elbo_error_method")
  }
  if (all(parameters_of(x)$fixed[parameters_of(x)$block != "beta"])) {
    abort(c("No standard deviation is free, so that there is nothing to draw.",
            "Free one in the priors."), "elbo_error_not_available")
  }
  check_no_curves(design_of(x), "loo()", "Write curves as ns(x, df), of package splines.")
  ndraws <- check_count(ndraws, "ndraws")
  sample <- with_seed(seed, {
    target <- vb_target(x)
    importance_sample(target, vb_proposal(target, enough = 1),
                      as.integer(ceiling(ndraws / vb_check_batches)))
  })
  density <- row_densities(x, sample$x)
  answer <- loo::loo_approximate_posterior(density$left_out, sample$log_p, sample$log_g)
  lpd <- apply(density$kept + log(sample$weight), 2, log_mean_exp)
  with_p_loo(answer, lpd - answer$pointwise[, "elpd_loo"])
}

# Log density of each row at each draw of the scales, a row a draw: given the other rows
# (left_out), and of a new observation given all rows (kept).
row_densities <- function(fit, x) {
  factors <- told_factors("structured") # the model, not an approximation to it
  priors_of(fit)$told[names(factors)] <- factors
  scales <- constrain_scales(x, scale_shape(fit))
  model <- replace(model_of(fit), "scales_given", TRUE)
  rows <- lapply(seq_len(nrow(x)), function(i) {
    at <- rows_given_scales(fit, model, scales, i)
    rest <- 1 - at$spread / at$s2
    known <- rest > well_known
    left_out <- rep(NA_real_, length(rest))
    left_out[known] <- normal_log_density((at$e / rest)[known], (at$s2 / rest)[known])
    list(left_out = left_out, kept = normal_log_density(at$e, at$s2 + at$spread))
  })
  density <- lapply(c(left_out = "left_out", kept = "kept"),
                    function(what) do.call(rbind, lapply(rows, `[[`, what)))
  density$left_out <- leave_out(fit, model, scales, density$left_out)
  density
}

# Below this 1 - c_i / s_i, of which rounding takes some 1e-16, is better not used: the row is all
# but all that is known of its own predictor.
well_known <- 1e-6

normal_log_density <- function(x, variance) stats::dnorm(x, 0, sqrt(variance), log = TRUE)

# rows_given() at draw i of the scales.
rows_given_scales <- function(fit, model, scales, i) {
  q <- ncol(design_of(fit)$Z)
  sigma <- scales$sigma[, i]
  state <- .Call(C_glmm_at, model,
                 list(Sigma = matrix(scales$Sigma[, i], q, q), sigma = sigma, beta = NULL))
  rows_given(fit, c(state, list(sigma = sigma, q_beta_cov = state$beta_cov)))
}

# The entries of `density` that are not known, from statistics in which the row in question has a
# weight of nothing, so that its group is still there.
leave_out <- function(fit, model, scales, density) {
  for (row in which(colSums(is.na(density)) > 0)) {
    design <- design_of(fit)
    if (is.null(design$weights)) design$weights <- rep(1, length(design$y))
    design$weights[row] <- .Machine$double.xmin
    others <- replace(model, "stats", list(glmm_stats(design, model, control_of(fit))))
    for (i in which(is.na(density[, row]))) {
      at <- rows_given_scales(fit, others, scales, i)
      density[i, row] <- normal_log_density(at$e[row], at$s2[row] + at$spread[row])
    }
  }
  density
}

log_mean_exp <- function(x) max(x) + log(mean(exp(x - max(x))))

# loo takes the log densities for those of a row given the parameters, and would count the
# scales only.
with_p_loo <- function(answer, p_loo) {
  total <- c(sum(p_loo), sqrt(length(p_loo) * stats::var(p_loo)))
  answer$pointwise[, "p_loo"] <- p_loo
  answer$estimates["p_loo", ] <- total
  answer[c("p_loo", "se_p_loo")] <- as.list(total)
  answer
}

# Draws of a mixture are of an approximation whose density at a draw is not known.
#' @exportS3Method loo::loo
loo.elbo_mixture <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$loo)
  not_for("mixture", "loo()", paste("loo::loo(rstantools::log_lik(fit)) judges the approximation",
                                  "itself; selection(fit) compares mixtures."))
}
