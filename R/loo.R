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
# Of several rows at once e_i are vectors, s_i and c_i matrices, and
# s^{1/2} (I - s^{-1/2} c s^{-1/2})^{-1} s^{1/2} stands in place of s_i / (1 - c_i / s_i).
#
# What remains is to move psi from p(psi | y) to p(psi | y_-i), proportional to
# p(psi | y) / p(y_i | y_-i, psi): importance sampling in a few dimensions (integrated importance
# sampling: Vehtari, Mononen, Tolvanen, Sivula and Winther 2016).

#' Leave-one-out cross-validation of a fit by method "vb"
#'
#' The expected log predictive density of each row given all others, for package loo: to judge
#' a model by, and to compare it with others through [loo::loo_compare()].
#'
#' What is left out is one row, or all rows of one level of a grouping factor: the first asks how
#' well the model predicts a new row of a known group, `unit = ~ g` how well all rows of a new level
#' of `g`. Where grouping factors cross, as students and teachers do, neither goes without saying.
#' Coefficients and
#' latent variables are integrated exactly given the standard deviations and correlations;
#' only these are drawn, from a multivariate t around their linear response moments that is
#' moved to the posterior (see [convergence()]). [loo::loo_approximate_posterior()] corrects
#' the draws to the exact posterior of each n - 1 rows by Pareto smoothed importance sampling.
#' The approximation by q therefore affects the precision of the answer and not what it
#' converges to, a fit with `factorization = "mean_field"` gives the same, and a Pareto k above
#' 0.7 says that a row could not be judged.
#'
#' The draws are evaluated one by one, at a cost that grows with rows times draws, as does the
#' memory (8 bytes each); with several grouping factors the cost also grows with the square of the
#' number of levels.
#'
#' @param x a fit by method `"vb"` with a standard deviation that is free.
#' @param ndraws number of draws, rounded up to a multiple of eight.
#' @param seed `NULL` to draw from the session's generator, or a whole number, which gives the
#'   same answer each time and leaves the session's generator as it was.
#' @param unit what is left out: `"rows"`, or `~ g`, the levels of a grouping factor `g` of the
#'   fit. By default rows, but where grouping factors cross it must be said.
#' @param ... not used.
#' @return An object of class `psis_loo` of package loo: `estimates` of `elpd_loo`, `p_loo` (the
#'   effective number of parameters, coefficients and latent variables included) and `looic`,
#'   `pointwise` by row or level, and `diagnostics` with the Pareto k of each.
#' @section Errors: class `elbo_error_method` for fits by other methods, `elbo_error_argument` where
#'   `unit` must be said, `elbo_error_not_available` where no standard deviation is free.
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
#' loo::loo(fit, ndraws = 500, seed = 1, unit = ~ Subject)
#' @exportS3Method loo::loo
loo.elbo_glmm <- function(x, ndraws = 1000L, seed = NULL, ..., unit = NULL) {
  check_dots_empty(..., .but = passed_along$loo)
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
  units <- left_out_units(x, unit)
  sample <- with_seed(seed, {
    target <- vb_target(x)
    importance_sample(target, vb_proposal(target, enough = 1),
                      as.integer(ceiling(ndraws / vb_check_batches)))
  })
  density <- unit_densities(x, sample$x, units)
  answer <- loo::loo_approximate_posterior(density$left_out, sample$log_p, sample$log_g)
  lpd <- apply(density$kept + log(sample$weight), 2, log_mean_exp)
  with_p_loo(answer, lpd - answer$pointwise[, "elpd_loo"])
}

# Rows of each unit: list of numbers of rows.
left_out_units <- function(fit, unit) {
  groups <- design_of(fit)$groups
  rows <- as.list(seq_along(design_of(fit)$y))
  if (is.null(unit) && !factors_cross(groups)) return(rows)
  choices <- c("\"rows\"", paste("~", names(groups)))
  if (is.null(unit)) {
    abort(c(sprintf("`unit` must be said, since the grouping factors %s cross: what is left out",
                    quote_names(names(groups))),
            sprintf("may be a row, or all rows of a level: %s.",
                    paste("unit =", choices, collapse = ", or "))), "elbo_error_argument")
  }
  if (identical(unit, "rows")) return(rows)
  named <- inherits(unit, "formula") && length(unit) == 2
  name <- if (named) paste(deparse(unit[[2]]), collapse = "") else ""
  check(name %in% names(groups), "unit", paste(choices, collapse = " or "), unit)
  if (any(is.infinite(diag(latent_law(fit))[columns_of_group(design_of(fit), name)]))) {
    abort(c(sprintf("Nothing can be said of a level of `%s` without its rows: its latent", name),
            "variables have no law. Use unit = \"rows\", or another factor."),
          "elbo_error_argument")
  }
  unname(split(seq_along(groups[[name]]), groups[[name]]))
}

# Whether some two of the factors are not nested.
factors_cross <- function(groups) {
  nested <- function(a, b) is.na(divided_level(a, b)) || is.na(divided_level(b, a))
  !all(vapply(groups, function(a) all(vapply(groups, nested, NA, a)), NA))
}

# Log density of each unit at each draw of the scales, a row a draw: given the other rows
# (left_out), and of a new observation of its rows given all rows (kept).
unit_densities <- function(fit, x, units = as.list(seq_along(design_of(fit)$y))) {
  factors <- told_factors("structured") # the model, not an approximation to it
  priors_of(fit)$told[names(factors)] <- factors
  scales <- constrain_scales(x, scale_shape(fit))
  model <- replace(model_of(fit), "scales_given", TRUE)
  each <- lapply(seq_len(nrow(x)), function(i) densities_given_scales(fit, model, scales, i, units))
  density <- lapply(c(left_out = "left_out", kept = "kept"),
                    function(what) do.call(rbind, lapply(each, `[[`, what)))
  density$left_out <- leave_out(fit, model, scales, density$left_out, units)
  density
}

# At draw i of the scales. In the eigenvectors of s^{-1/2} c s^{-1/2} all rows of a unit are
# independent, of variances 1 / (1 - value) and 1 + value.
densities_given_scales <- function(fit, model, scales, i, units) {
  state <- state_given_scales(fit, model, scales, i)
  at <- rows_given(fit, state)
  e <- at$e / sqrt(at$s2)
  each <- if (all(lengths(units) == 1)) {
    rows <- unlist(units)
    list(value = at$spread[rows] / at$s2[rows], e = e[rows])
  } else {
    parts <- Map(function(C, rows) {
      root <- sqrt(at$s2[rows])
      axes <- eigen(C / outer(root, root), symmetric = TRUE)
      list(value = axes$values, e = drop(crossprod(axes$vectors, e[rows])))
    }, unit_covariances(fit, state, at, units), units)
    lapply(c(value = "value", e = "e"), function(what) unlist(lapply(parts, `[[`, what)))
  }
  of <- rep(seq_along(units), lengths(units))
  sums <- function(x) drop(rowsum(x, of, reorder = TRUE))
  log_size <- sums(0.5 * log(at$s2[unlist(units)]))
  left_out <- rep(NA_real_, length(units))
  known <- sums(as.numeric(1 - each$value <= well_known)) == 0
  rest <- pmax(1 - each$value, well_known)
  left_out[known] <- sums(normal_log_density(each$e / rest, 1 / rest))[known] - log_size[known]
  list(left_out = unname(left_out),
       kept = unname(sums(normal_log_density(each$e, 1 + each$value)) - log_size))
}

# Below this 1 - c_i / s_i, of which rounding takes some 1e-16, is better not used: the unit is all
# but all that is known of its own predictor.
well_known <- 1e-6

normal_log_density <- function(x, variance) stats::dnorm(x, 0, sqrt(variance), log = TRUE)

# The posterior at draw i, as rows_given() takes it.
state_given_scales <- function(fit, model, scales, i) {
  q <- ncol(design_of(fit)$Z)
  parts <- list(Sigma = matrix(scales$Sigma[, i], q, q), sigma = scales$sigma[, i])
  state <- .Call(C_glmm_at, model, c(parts, list(beta = NULL)))
  c(state, parts, list(q_beta_cov = state$beta_cov))
}

# Covariances of the linear predictors of the rows of each unit.
unit_covariances <- function(fit, state, at, units) {
  design <- design_of(fit)
  place <- level_places(design)
  left <- at$v * at$s2
  times <- state_products(fit, state)
  levels <- lapply(units, function(rows) sort(unique(c(place[rows, ]))))
  strip <- ceiling(cumsum(lengths(levels)) / strip_width(level_count(design)))
  of_strip <- function(k) {
    columns <- unlist(levels[k])
    S <- times(unit_columns(level_count(design), columns))
    last <- cumsum(lengths(levels[k]))
    Map(function(unit, last) {
      rows <- units[[unit]]
      here <- levels[[unit]]
      Z <- matrix(0, length(rows), length(here))
      for (j in seq_len(ncol(place))) {
        entry <- cbind(seq_along(rows), match(place[rows, j], here))
        Z[entry] <- Z[entry] + design$Z[rows, j]
      }
      S <- S[here, last - length(here) + seq_along(here), drop = FALSE]
      left <- left[rows, , drop = FALSE]
      left %*% at$B %*% t(left) + Z %*% S %*% t(Z)
    }, k, last)
  }
  unlist(lapply(split(seq_along(units), strip), of_strip), recursive = FALSE, use.names = FALSE)
}

# The entries of `density` that are not known, from statistics in which the rows in question have a
# weight of nothing, so that their groups are still there.
leave_out <- function(fit, model, scales, density, units) {
  for (k in which(colSums(is.na(density)) > 0)) {
    design <- design_of(fit)
    if (is.null(design$weights)) design$weights <- rep(1, length(design$y))
    design$weights[units[[k]]] <- .Machine$double.xmin
    others <- fit
    stats_of(others) <- glmm_stats(design, model, control_of(fit))
    without <- replace(model, "stats", list(stats_of(others)))
    for (i in which(is.na(density[, k]))) {
      density[i, k] <- densities_given_scales(others, without, scales, i, units[k])$kept
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
