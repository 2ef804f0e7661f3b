# What a fit by fit_advi() answers: made of q, of minus the Hessian of its objective, and of the
# density itself.

new_advi_fit <- function(found, density, facts) {
  pattern <- facts$pattern
  d <- length(pattern$x)
  at <- .Call(C_advi_at, found$model, TRUE)
  if (at$status < 0) {
    abort(c("The density has no second derivatives where the ascent ended.", density$seen$failure),
          "elbo_error_own_model")
  }
  inverse <- invert_information((at$information + t(at$information)) / 2)
  spread <- unpack_q(found$model$eta, d, facts$q)
  spread$cov <- if (facts$q == "laplace") inverse else tcrossprod(spread$S)
  spread$sd <- sqrt(diag(spread$cov))
  response <- advi_response(spread, pattern, facts$q)
  sd <- sqrt(diag(inverse)[seq_len(d)])
  error <- advi_error(found$model, facts$q, facts$draws, facts$seed, inverse, sd)
  constant <- if (facts$q == "laplace") laplace_constant(spread$cov)
              else d / 2 * log(2 * pi * exp(1))
  trace <- ascent_trace(found$result$trace)
  trace$elbo <- trace$elbo + constant
  parameters <- own_rows(pattern)
  fit <- list(call = facts$call, given_in = facts$given_in, method = "vb", pattern = pattern,
              theta = own_theta(pattern, response$mean, parameters), parameters = parameters,
              data = facts$data, family_of_q = facts$q, draws = found$model$z, q = spread,
              eta = found$model$eta, inverse = inverse, response = response$slope,
              density = density, pointwise = facts$pointwise,
              objective = found$result$objective + constant, log_evidence = NA_real_, trace = trace,
              convergence = advi_convergence(found, at, inverse, error, pattern),
              control = facts$control, prior = NULL,
              priors = list(stated = list(), default = logical()),
              time = proc.time()[[3]] - facts$began)
  with_verdict(new_elbo_fit(fit, c("elbo_advi", "elbo_own")))
}

# log p at the mode becomes Laplace's approximation of the log evidence.
laplace_constant <- function(cov) {
  values <- eigen(cov, symmetric = TRUE, only.values = TRUE)$values
  nrow(cov) / 2 * log(2 * pi) + sum(log(pmax(values, .Machine$double.xmin))) / 2
}

# E_q of each parameter on its natural scale, and the derivatives by eta, where margins of q are
# normal: by Gauss-Hermite quadrature.
advi_response <- function(spread, pattern, q) {
  d <- length(spread$m)
  rule <- hermite_rule(32)
  entries <- q_entries(d, q)
  mean <- numeric(d)
  slope <- matrix(0, d, d + nrow(entries))
  for (i in seq_along(rule$x)) {
    x <- spread$m + ifelse(is.na(spread$sd), 0, spread$sd) * rule$x[i]
    tilt <- rule$weight[i] * free_slope(pattern, x)
    mean <- mean + rule$weight[i] * from_free(pattern, x)
    slope[cbind(seq_len(d), seq_len(d))] <- slope[cbind(seq_len(d), seq_len(d))] + tilt
    if (nrow(entries) == 0) next
    at <- cbind(entries[, 1], d + seq_len(nrow(entries)))
    part <- spread$S[entries] / spread$sd[entries[, 1]] # dx_j / dS_jk = z_k, of which x_j says this
    slope[at] <- slope[at] + (tilt * rule$x[i])[entries[, 1]] * part
  }
  list(mean = mean, slope = slope)
}

advi_convergence <- function(found, at, inverse, error, pattern) {
  result <- found$result
  counts <- list(em = 0L, squarem = 0L, anderson = 0L, quasi_newton = 0L,
                 newton = result$iterations)
  se <- sqrt(diag(inverse))
  result[names(counts)] <- counts
  result$gradient <- max(abs(at$gradient * se), 0, na.rm = TRUE)
  result$still_to_gain <- result$gain
  result$passes <- result$values + result$gradients
  state <- ascent_convergence(result)
  state$message <- sub("of log-likelihood", "of ELBO", state$message, fixed = TRUE)
  state$evaluations <- c(values = result$values, gradients = result$gradients + at$gradients,
                         hessians = result$hessians + at$hessians)
  state$mc_error <- stats::setNames(error$error, pattern$names)
  state$draws_wanted <- error$wanted
  state
}

# ---- covariances -------------------------------------------------------------------------------

#' @exportS3Method
covariance_types.elbo_advi <- function(fit) {
  switch(q_family(fit), mean_field = c("linear_response", "mean_field"),
         full = c("linear_response", "q"), laplace = c("linear_response", "q"))
}

#' @exportS3Method
theta_covariance.elbo_advi <- function(fit, type) {
  if (type == "linear_response") {
    return(transform_covariance(mean_slope_of(fit), inverse_of(fit)))
  }
  # Of q itself, each parameter a function of its own coordinate: Cov(T_i, T_j) to second order in
  # the correlation, exact on the diagonal.
  q_covariance(pattern_of(fit), q_of(fit))
}

q_covariance <- function(pattern, spread) {
  rule <- hermite_rule(32)
  at <- lapply(rule$x, function(x) from_free(pattern, spread$m + spread$sd * x))
  value <- do.call(cbind, at)
  mean <- drop(value %*% rule$weight)
  # E[T h_k(x)] with Hermite polynomials of unit variance: sum over k of rho^k gives covariances.
  R <- spread$cov / outer(spread$sd, spread$sd)
  first <- drop((value - mean) %*% (rule$weight * rule$x))
  second <- drop((value - mean) %*% (rule$weight * (rule$x^2 - 1))) / sqrt(2)
  V <- outer(first, first) * R + outer(second, second) * R^2
  diag(V) <- drop((value - mean)^2 %*% rule$weight)
  V
}

# The mean of any function under q, by the draws, and its standard deviation by linear response.
#' @exportS3Method
derived_quantities.elbo_advi <- function(fit, value) {
  pattern <- pattern_of(fit)
  q <- q_of(fit)
  z <- draws_of(fit)
  d <- nrow(z)
  of_x <- function(x) value(from_free(pattern, x))
  entries <- q_entries(d, q_family(fit))
  h <- 1e-4 * q$sd
  total <- 0
  slope <- 0
  for (i in seq_len(ncol(z))) {
    x <- q$m + drop(q$S %*% z[, i])
    here <- of_x(x)
    by_x <- vapply(seq_len(d), function(j) {
      (of_x(replace(x, j, x[j] + h[j])) - of_x(replace(x, j, x[j] - h[j]))) / (2 * h[j])
    }, numeric(length(here)))
    by_x <- matrix(by_x, length(here))
    by_S <- by_x[, entries[, 1], drop = FALSE] * rep(z[entries[, 2], i], each = length(here))
    total <- total + here / ncol(z)
    slope <- slope + cbind(by_x, by_S) / ncol(z)
  }
  list(estimate = total, sd = sqrt(diag(transform_covariance(slope, inverse_of(fit)))))
}

# ---- the verdict -------------------------------------------------------------------------------

# Parameters up to which fits are checked without being asked, and up to which importance sampling
# is relied on as usual: in more dimensions its weights look better than they are.
advi_check_size <- c(all = 250L, few = 50L)

#' @exportS3Method
posterior_verdict.elbo_advi <- function(fit, always = FALSE) {
  d <- length(theta(fit))
  if (!always && d > advi_check_size[["all"]]) {
    return(no_verdict(sprintf("q not checked: %d parameters. convergence(fit, check = TRUE) does.",
                              d)))
  }
  sd <- sqrt(diag(theta_covariance(fit, "linear_response")))
  what <- if (q_family(fit) == "laplace") "Laplace's approximation" else "Linear response"
  judge_linear_response(advi_target(fit), parameter_labels(fit), as.vector(theta(fit)), sd,
                        tolerance = 0.1, doubt = 0.03, draws = c(64L, 256L, 1024L), what = what,
                        reliable = if (d > advi_check_size[["few"]]) 0.5 else 0.7)
}

# Draws are normal: in many dimensions a heavier tail is where the draws are.
advi_target <- function(fit) {
  pattern <- pattern_of(fit)
  density <- density_of(fit)
  d <- length(theta(fit))
  evaluate <- function(x) {
    value <- apply(x, 1, density$value)
    theta <- t(apply(x, 1, function(x) from_free(pattern, x)))
    theta <- matrix(theta, nrow(x))
    list(log_density = ifelse(is.finite(value), value, -Inf), scales = theta,
         beta = matrix(0, nrow(x), 0), beta_variance = matrix(0, nrow(x), 0))
  }
  cov <- response_covariance(fit)
  list(centre = q_of(fit)$m, cov = cov, evaluate = evaluate, normal = d > 10)
}

# By linear response on the scale without bounds; where that is not known, as along a ridge, q's.
response_covariance <- function(fit) {
  d <- length(theta(fit))
  V <- inverse_of(fit)[seq_len(d), seq_len(d), drop = FALSE]
  lost <- is.na(diag(V))
  V[lost, ] <- V[, lost] <- 0
  own <- q_of(fit)$cov
  V[lost, lost] <- replace(own, is.na(own), 0)[lost, lost]
  V
}

# ---- draws -------------------------------------------------------------------------------------

# Normal on the scale without bounds, with the covariance of linear response.
#' @exportS3Method
posterior_theta.elbo_advi <- function(fit, n) {
  x <- advi_normal(fit, n)
  theta <- t(apply(x, 1, function(x) from_free(pattern_of(fit), x)))
  matrix(theta, n, dimnames = list(NULL, names(theta(fit))))
}

advi_normal <- function(fit, n) {
  normal_draws(n, response_covariance(fit)) + rep(q_of(fit)$m, each = n)
}

#' Leave-one-out cross-validation of a user's own posterior
#'
#' By Pareto smoothed importance sampling from q with the covariance of linear response, corrected
#' for its not being the posterior (Magnusson et al. 2019).
#'
#' @param x a fit by [fit_advi()] with `pointwise`.
#' @param ndraws,seed number of draws, and their seed.
#' @param ... not used.
#' @return What [loo::loo()] returns.
#' @family users' own models
#' @references
#' Magnusson, M., Andersen, M., Jonasson, J. and Vehtari, A. (2019). Bayesian leave-one-out
#' cross-validation for large data. *Proceedings of Machine Learning Research* 97, 4244--4253.
#' @examples
#' y <- c(4.2, 5.1, 3.9, 6.3, 5.5, 4.8, 5.0, 4.4)
#' pointwise <- function(theta, y) dnorm(y, theta[1], theta[2], log = TRUE)
#' fit <- fit_advi(function(theta, y) sum(pointwise(theta, y)) + dexp(theta[2], 1, log = TRUE),
#'                 c(mu = 5, sigma = 1), function(theta, y) {
#'                   z <- (y - theta[1]) / theta[2]
#'                   c(sum(z), sum(z^2 - 1) - theta[2]) / theta[2]
#'                 }, lower = c(sigma = 0), data = y, pointwise = pointwise)
#' if (requireNamespace("loo", quietly = TRUE)) loo::loo(fit, seed = 1)
#' @exportS3Method loo::loo
loo.elbo_advi <- function(x, ndraws = 1000L, seed = NULL, ...) {
  check_dots_empty(..., .but = passed_along$loo)
  pointwise <- pointwise_of(x)
  if (is.null(pointwise)) {
    abort(c("loo() needs the log density of each observation:",
            "update(fit, pointwise = function(theta, data) ...)."), "elbo_error_not_available")
  }
  ndraws <- check_count(ndraws, "ndraws")
  draws <- with_seed(seed, advi_normal(x, ndraws))
  density <- density_of(x)
  log_p <- apply(draws, 1, density$value)
  root <- covariance_factor(response_covariance(x))
  if (anyNA(root) || any(rowSums(abs(root)) == 0)) {
    abort("loo() needs a q with a density: along a ridge of the posterior it has none.",
          "elbo_error_not_available")
  }
  z <- t(qr.solve(t(root), t(draws) - q_of(x)$m))
  log_g <- rowSums(stats::dnorm(z, log = TRUE))
  rows <- lapply(seq_len(ndraws), function(i) {
    as.double(pointwise(fold(pattern_of(x), from_free(pattern_of(x), draws[i, ]))))
  })
  loo::loo_approximate_posterior(do.call(rbind, rows), log_p, log_g)
}

# ---- words -------------------------------------------------------------------------------------

#' @exportS3Method
estimator_name.elbo_advi <- function(fit) {
  if (q_family(fit) == "laplace") "Laplace's approximation" else NextMethod()
}

#' @exportS3Method
integrated_words.elbo_advi <- function(fit) {
  paste0("everything integrated, by ", switch(q_family(fit), mean_field = "independent normals",
                                              full = "one normal law",
                                              laplace = "the normal law at the mode"),
         if (any(bound_kind(pattern_of(fit)) > 1)) " on a scale without bounds")
}

#' @exportS3Method
objective_words.elbo_advi <- function(fit) {
  value <- fixed_text(objective_of(fit), 1)
  if (q_family(fit) == "laplace") {
    return(sprintf("Laplace's log evidence %s, up to the constant of your log density", value))
  }
  sprintf("ELBO %s by %d draws, up to the constant of your log density: no log-likelihood", value,
          ncol(draws_of(fit)))
}

#' @exportS3Method
notes.elbo_advi <- function(fit) {
  state <- convergence_of(fit)
  if (q_family(fit) == "laplace") return(NULL)
  worst <- which.max(state$mc_error)
  if (state$mc_error[[worst]] < 1e-4) return("Other draws would give the same means.")
  words <- sprintf("Monte Carlo error of the means: at most %s posterior sds (%s).",
                   signif_text(state$mc_error[[worst]], 1), names(state$mc_error)[worst])
  if (state$mc_error[[worst]] <= 0.1) return(words)
  paste(words, sprintf("draws = %d would make it 0.1.", state$draws_wanted))
}

#' @exportS3Method
posterior_summary.elbo_advi <- function(fit) {
  sd <- function(type) unname(sqrt(diag(vcov(fit, full = TRUE, type = type))))
  types <- covariance_types(fit)
  table <- data.frame(name = names(theta(fit)), sd(types[1]), sd(types[2]))
  stats::setNames(table, c("name", types))
}

#' @rdname variational
#' @export
variational.elbo_advi <- function(object, ...) {
  check_dots_empty(...)
  q <- q_of(object)
  names <- pattern_of(object)$names
  cov <- `dimnames<-`(q$cov, list(names, names))
  normal <- list(family = "normal", mean = stats::setNames(q$m, names), cov = cov,
                 dimension = length(names))
  structure(list(theta = normal), class = "elbo_variational")
}

#' @exportS3Method
elbo.elbo_advi <- function(object, theta = NULL, q = NULL, ...) {
  check_dots_empty(...)
  if (is.null(theta) && is.null(q)) return(objective_of(object))
  abort(c("A fit by fit_advi() has its ELBO at the optimum only: elbo(fit).",
          "Your own log density is a function that you have."), "elbo_error_not_available")
}

#' @exportS3Method
elbo.elbo_em <- function(object, theta = NULL, q = NULL, ...) {
  check_dots_empty(...)
  if (is.null(theta) && is.null(q)) return(objective_of(object))
  abort(c("A fit by fit_em() has its objective at the optimum only: elbo(fit).",
          "`log_evidence` and `elbo` are functions that you have."), "elbo_error_not_available")
}
