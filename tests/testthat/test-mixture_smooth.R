# Smooth terms of mixtures of curves: within ( | ), and as the curves of the components.

# Curves of two kinds, deviations of intercept, slope and a bend; times that differ by unit.
bent_kinds <- function(n = 30, m = 8, seed = 1) {
  withr::with_seed(seed, {
    data <- data.frame(id = rep(seq_len(n), each = m), time = round(stats::runif(n * m), 2))
    deviation <- matrix(stats::rnorm(3 * n, sd = 0.4), n)[data$id, ]
    kind <- rep(1:2, length.out = n)[data$id]
    data$y <- c(0, 2)[kind] + 2 * data$time^kind + deviation[, 1] + deviation[, 2] * data$time +
      deviation[, 3] * sin(2 * pi * data$time) + stats::rnorm(n * m, sd = 0.3)
    data$w <- rep(c(1, 2, 0.5), length.out = n * m)
    data
  })
}

bent_fit <- function(data, ..., k = 2, n_starts = 4) {
  fit_mixture(y ~ time + I(time^2) + (s(time, k = 5) | id), data, k = k, unit = ~ id, weights = w,
              control = elbo_control(n_starts = n_starts), ...)
}

# sum_i log sum_j pi_j N(y_i; X_i beta_j, Z_i Gamma_j Z_i' + sigma_j^2 / w): everything from the
# names of theta(), the basis built here.
bent_likelihood <- function(fit, data, theta = theta_of(fit)) {
  B <- smooth_columns(smooth_basis(data$time, smooth_knots(data$time, 5, "s(time)")), data$time)
  X <- cbind(1, data$time, data$time^2)
  terms <- c("(Intercept)", "time")
  unit <- split(seq_len(nrow(data)), data$id)
  density <- vapply(seq_len(n_components(fit)), function(j) {
    get <- function(names) theta[sprintf("%s|%d", names, j)]
    Gamma <- matrix(0, 2 + ncol(B), 2 + ncol(B))
    Gamma[1:2, 1:2] <- tcrossprod(get(paste0("sd__", terms))) * (diag(2) + (1 - diag(2)) *
                                                                   get("cor__(Intercept).time"))
    diag(Gamma)[-(1:2)] <- get("sd__s(time)|id")^2
    vapply(unit, function(rows) {
      Z <- cbind(X[rows, 1:2], B[rows, ])
      V <- Z %*% Gamma %*% t(Z) + diag(get("sigma")^2 / data$w[rows])
      e <- data$y[rows] - X[rows, ] %*% get(c(terms, "I(time^2)"))
      log(get("weight")) - 0.5 * (length(rows) * log(2 * pi) + determinant(V)$modulus +
                                    sum(e * solve(V, e)))
    }, 0)
  }, numeric(length(unit)))
  largest <- apply(density, 1, max)
  sum(largest + log(rowSums(exp(density - largest))))
}

test_that("a smooth term within ( | ) adds curves of one variance to the other terms", {
  data <- bent_kinds()
  fit <- bent_fit(data)
  expect_equal(convergence(fit)$status, "converged")
  expect_equal(as.numeric(logLik(fit)), bent_likelihood(fit, data), tolerance = 1e-10)
  others <- theta(fit)[-(1:2)]
  slope <- reference_slope(function(theta) bent_likelihood(fit, data, c(theta(fit)[1:2], theta)),
                           others, rep(1, length(others)))
  # Of differences of step 1e-5 in numbers near 250: rounding 1e-16 * 250 / 1e-5, h^2 times third
  # derivatives.
  expect_lt(max(abs(slope)), 1e-5)
  # 1 weight; of each component 3 coefficients, 2 sds and a correlation, the curve's sd, sigma
  expect_equal(attr(logLik(fit), "df"), 17)
})

test_that("the words of random_covariance are of the terms beside the curve", {
  data <- bent_kinds()
  df <- function(...) {
    fit <- bent_fit(data, ..., n_starts = 1)
    Gamma <- components(fit)$covariance[1, , ]
    expect_equal(Gamma[-(1:2), -(1:2)], Gamma[3, 3] * diag(3), ignore_attr = TRUE)
    expect_equal(sum(abs(Gamma[1:2, -(1:2)])), 0)
    list(df = attr(logLik(fit), "df"), terms = unname(Gamma[1:2, 1:2]), names = names(theta(fit)))
  }
  diagonal <- df(random_covariance = "diagonal")
  expect_equal(diagonal$df, 15)
  expect_equal(diagonal$terms[1, 2], 0)
  identity <- df(random_covariance = "identity")
  expect_equal(identity$df, 13)
  expect_equal(identity$terms, identity$terms[1, 1] * diag(2))
  expect_true(all(c("sd__(Intercept) + time|1", "sd__s(time)|id|1") %in% identity$names))
  expect_equal(df(random_covariance = c("free", "common"))$df, 13)
  ratio <- matrix(c(2, 0.5, 0.5, 1), 2)
  given <- df(random_covariance = ratio)
  expect_equal(given$terms / given$terms[2, 2], ratio)
  held <- df(prior = priors(`sd__s(time)|id` = constant(2)))
  expect_equal(held$df, 15)
  expect_true("sd__s(time)|id|2" %in% held$names)
})

test_that("curves of units are predicted and drawn", {
  data <- bent_kinds()
  data$arm <- gl(2, 4, nrow(data), c("a", "b"))
  fit <- fit_mixture(y ~ arm + time + (s(time, k = 4, by = arm) | id), data, k = 1, unit = ~ id,
                     random_covariance = "diagonal")
  # Terms of the deviations are 1, and a line and a curve of each arm.
  expect_equal(colnames(ranef(fit)$id), c("(Intercept)", "time:arma", "time:armb", "s(time):arma.1",
                                          "s(time):arma.2", "s(time):armb.1", "s(time):armb.2"))
  expect_equal(unname(elbo:::mixture_newdata(fit, data, response = FALSE)$Z),
               unname(design_of(fit)$Z), tolerance = 1e-12)
  # E[y | y] of normal units.
  X <- cbind(1, data$arm == "b", data$time)
  mean <- drop(X %*% coef(fit))
  smoothed <- unsplit(lapply(split(seq_len(nrow(data)), data$id), function(rows) {
    ZG <- design_of(fit)$Z[rows, ] %*% components(fit)$covariance[1, ,
                                                                  ] %*% t(design_of(fit)$Z[rows, ])
    drop(ZG %*% solve(ZG + diag(sigma(fit)^2, length(rows)), (data$y - mean)[rows]))
  }), data$id)
  expect_equal(unname(fitted(fit)), unname(mean + smoothed), tolerance = 1e-10)
})

test_that("standard errors of component curves are those of the coefficients", {
  data <- bent_kinds()
  fit <- bent_fit(data)
  design <- elbo:::mixture_newdata(fit, data[1:5, ], response = FALSE)
  curves <- elbo:::component_curves(fit, design, 0.9)
  X <- cbind(1, data$time, data$time^2)[1:5, ]
  V <- vcov(fit)[4:6, 4:6]
  expect_equal(unname(curves$estimate[, 2]), drop(X %*% coef(fit)[4:6]), ignore_attr = TRUE)
  expect_equal(unname(curves$se[, 2]), sqrt(diag(X %*% V %*% t(X))), ignore_attr = TRUE)
  expect_equal(curves$high - curves$low, 2 * qnorm(0.95) * curves$se)
})

test_that("by vb the deviations' curve has the prior of the covariance, as a term", {
  data <- bent_kinds()
  fit <- bent_fit(data, method = "vb", n_starts = 2)
  expect_equal(convergence(fit)$status, "converged")
  expect_true(all(diff(trace_of(fit)$elbo) > -1e-9 * abs(objective_of(fit))))
  expect_equal(dim(priors_of(fit)$stated$covariance$parameters$scale), c(3, 3))
  expect_error(bent_fit(data, method = "vb",
                        prior = priors(covariance = inverse_wishart(4, diag(2)))),
               class = "elbo_error_prior")
})

test_that("smooth terms that fit_mixture() does not have are refused", {
  data <- bent_kinds()
  expect_snapshot({
    refusal(fit_mixture(y ~ s(time), data, k = 2))
    refusal(fit_mixture(y ~ time + (s(time) + s(time, k = 4) | id), data, k = 2, unit = ~ id))
    refusal(fit_mixture(y ~ time + (s(time, 2) | id), data, k = 2, unit = ~ id))
    refusal(bent_fit(data, random_covariance = diag(5)))
  })
})

# ---- curves of the components ------------------------------------------------------------

# Two kinds of curves that overlap, or do not.
wavy_kinds <- function(n = 24, m = 7, apart = 1, seed = 2) {
  withr::with_seed(seed, {
    data <- data.frame(id = rep(seq_len(n), each = m), time = round(stats::runif(n * m), 2),
                       arm = gl(2, m, n * m, c("a", "b")))
    kind <- rep(1:3, length.out = n)[data$id] == 1
    data$z <- stats::rnorm(n * m)
    data$y <- sin(5 * data$time) + apart * ifelse(kind, 1, -1) * data$time +
      stats::rnorm(n, sd = 0.4)[data$id] + stats::rnorm(n * m, sd = 0.4)
    data
  })
}

wavy_fit <- function(data, ..., k = 2, n_starts = 4) {
  fit_mixture(y ~ s(time, k = 6) + (1 | id), data, k = k, unit = ~ id,
              control = elbo_control(n_starts = n_starts), ...)
}

# X = (1, time), B and Z = 1 of each unit.
wavy_units <- function(data) {
  B <- smooth_columns(smooth_basis(data$time, smooth_knots(data$time, 6, "s(time)")), data$time)
  lapply(split(seq_len(nrow(data)), data$id), function(rows) {
    list(X = cbind(1, data$time[rows]), B = B[rows, ], y = data$y[rows], n = length(rows))
  })
}

# log N(y_i; X_i beta_j + B_i b_j, sd_j^2 11' + sigma_j^2 I) of units and components, b_j a row of
# b.
wavy_densities <- function(units, theta, b, k) {
  vapply(seq_len(k), function(j) {
    get <- function(name) theta[[sprintf("%s|%d", name, j)]]
    vapply(units, function(u) {
      V <- matrix(get("sd__(Intercept)")^2, u$n, u$n) + diag(get("sigma")^2, u$n)
      e <- u$y - u$X %*% c(get("(Intercept)"), get("time")) - u$B %*% b[j, ]
      -0.5 * (u$n * log(2 * pi) + determinant(V)$modulus + sum(e * solve(V, e)))
    }, 0)
  }, numeric(length(units)))
}

log_sum <- function(x) max(x) + log(sum(exp(x - max(x))))

# The bound at q(b_j) = N(m_j, S_j): E_q of the densities is that at the mean less half of
# tr(B'V^{-1}B S), and the rest -KL(q(b_j) || N(0, sd_j^2 I)).
wavy_bound <- function(units, theta, m, S, k) {
  density <- wavy_densities(units, theta, m, k)
  value <- 0
  for (j in seq_len(k)) {
    get <- function(name) theta[[sprintf("%s|%d", name, j)]]
    density[, j] <- log(get("weight")) + density[, j] - 0.5 * vapply(units, function(u) {
      V <- matrix(get("sd__(Intercept)")^2, u$n, u$n) + diag(get("sigma")^2, u$n)
      sum(crossprod(u$B, solve(V, u$B)) * S[, , j])
    }, 0)
    sd <- get("sd__s(time)")
    value <- value - 0.5 * (sum(diag(S[, , j])) / sd^2 + sum(m[j, ]^2) / sd^2 - ncol(m) +
                              2 * ncol(m) * log(sd) - determinant(S[, , j])$modulus)
  }
  as.numeric(value) + sum(apply(density, 1, log_sum))
}

test_that("of one component it is the mixed model of fit_glmm()", {
  data <- wavy_kinds()
  formulas <- list(y ~ s(time, k = 6) + (time | id), y ~ arm + s(time, k = 5, by = arm) + (1 | id),
                   y ~ s(time, k = 6) + s(time, k = 5, by = z) + (1 | id))
  for (formula in formulas) {
    fit <- fit_mixture(formula, data, k = 1, unit = ~ id)
    same <- fit_glmm(formula, data)
    expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(same)), tolerance = 1e-8)
    expect_equal(attr(logLik(fit), "df"), attr(logLik(same), "df"))
    expect_equal(components(fit)$coefficients[1, ], c(coef(same), smooth_of(same)$mean),
                 tolerance = 1e-5)
    expect_equal(as.matrix(ranef(fit)$id), as.matrix(ranef(same)$id), tolerance = 1e-5,
                 ignore_attr = TRUE)
    names <- grep("^sd__s", names(theta(same)), value = TRUE)
    expect_equal(unname(theta(fit)[paste0(names, "|1")]), unname(theta(same)[names]),
                 tolerance = 1e-4)
    expect_equal(fitted(fit), fitted(same), tolerance = 1e-5, ignore_attr = TRUE)
    new <- data.frame(id = c(3, 3, 5), time = c(-0.2, 0.5, 1.3), arm = c("a", "b", "b"), z = 1:3)
    expect_equal(predict(fit, new, type = "response"), predict(same, new), tolerance = 1e-5)
    expect_equal(predict(fit, new, type = "response", by_component = TRUE),
                 predict(same, new, re.form = NA),
                 tolerance = 1e-5)
    edf <- elbo:::curve_summary(same)$edf
    # There of coefficients whose beta is estimated, here of the law given beta.
    expect_equal(unname(elbo:::smooth_edf(fit)[1, ]), edf, tolerance = 0.05)
  }
})

test_that("em maximises a lower bound of the log-likelihood over all that it estimates", {
  data <- wavy_kinds()
  units <- wavy_units(data)
  fit <- wavy_fit(data)
  expect_equal(convergence(fit)$status, "converged")
  m <- elbo:::smooth_coefficients(fit)
  S <- state_of(fit)$curves$smooth_cov
  bound <- wavy_bound(units, theta(fit), m, S, 2)
  expect_equal(as.numeric(logLik(fit)), bound, tolerance = 1e-10)
  expect_equal(elbo(fit), bound, tolerance = 1e-10)
  expect_true(all(is.na(elbo_trace(fit)$log_evidence)))
  expect_true(all(diff(elbo_trace(fit)$elbo) > -1e-9))
  others <- theta(fit)[-(1:2)]
  slope <- reference_slope(function(x) wavy_bound(units, c(theta(fit)[1:2], x), m, S, 2), others,
                           rep(1, length(others)))
  # Rounding of differences of numbers near 150, 1e-16 * 150 / 1e-5, and h^2 times third
  # derivatives.
  expect_lt(max(abs(slope)), 1e-5)
  of_mean <- reference_slope(function(x) wavy_bound(units, theta(fit), matrix(x, 2), S, 2),
                             as.vector(m),
                             rep(1, length(m)))
  expect_lt(max(abs(of_mean)), 1e-5)
  of_scale <- reference_slope(function(x) wavy_bound(units, theta(fit), m, S * rep(x, each = 16),
                                                     2), c(1, 1),
                              c(1, 1))
  expect_lt(max(abs(of_scale)), 1e-5)
})

test_that("the log-likelihood is above its bound, and by nothing where units are clear", {
  # log p(y) = log E_q[p(y | b) p(b) / q(b)] by importance sampling from q(b), 2000 draws.
  gap <- function(fit, data, n = 2000) {
    units <- wavy_units(data)
    m <- elbo:::smooth_coefficients(fit)
    S <- state_of(fit)$curves$smooth_cov
    sd <- theta(fit)[c("sd__s(time)|1", "sd__s(time)|2")]
    weight <- log(theta(fit)[1:2])
    log_ratio <- withr::with_seed(1, vapply(seq_len(n), function(i) {
      b <- m
      value <- 0
      for (j in 1:2) {
        z <- stats::rnorm(ncol(m))
        L <- t(chol(S[, , j]))
        b[j, ] <- m[j, ] + L %*% z
        value <- value + sum(stats::dnorm(b[j, ], 0, sd[j], log = TRUE)) + sum(log(diag(L))) -
          sum(stats::dnorm(z, log = TRUE))
      }
      density <- sweep(wavy_densities(units, theta(fit), b, 2), 2, weight, `+`)
      value + sum(apply(density, 1, log_sum))
    }, 0))
    ratio <- exp(log_ratio - max(log_ratio))
    c(gap = max(log_ratio) + log(mean(ratio)) - elbo(fit),
      error = sd(ratio) / mean(ratio) / sqrt(n))
  }
  data <- wavy_kinds()
  overlapping <- gap(wavy_fit(data), data)
  expect_gt(overlapping[["gap"]], -3 * overlapping[["error"]])
  expect_lt(overlapping[["gap"]], 0.5)
  clear <- wavy_kinds(apart = 6)
  expect_lt(abs(diff(c(0, gap(wavy_fit(clear), clear, 500)[["gap"]]))), 1e-6)
})

test_that("a curve that is a line has a standard deviation of zero, on the boundary", {
  data <- wavy_kinds()
  data$y <- data$y - sin(5 * data$time) + ifelse(as.integer(data$id) %% 3 == 1, 3, 0)
  line <- fit_mixture(y ~ time + (1 | id), data, k = 2, unit = ~ id,
                      control = elbo_control(n_starts = 4))
  fit <- wavy_fit(data)
  zero <- which(theta(fit)[c("sd__s(time)|1", "sd__s(time)|2")] == 0)
  expect_length(zero, 1) # by chance of these data
  expect_equal(unname(elbo:::smooth_edf(fit)[zero, ]), 1)
  expect_true(is.na(vcov(fit, full = TRUE)[zero + 6, zero + 6]))
  expect_gt(as.numeric(logLik(fit)), as.numeric(logLik(line)))
  expect_output(print(fit), "On the boundary of its range: sd__s(time)", fixed = TRUE)
})

test_that("priors of curves and groups are by block and by name", {
  data <- wavy_kinds()
  sds <- function(...) theta(wavy_fit(data, n_starts = 1, prior = priors(...)))
  held <- sds(smooth = constant(2))
  expect_equal(unname(held[c("sd__s(time)|1", "sd__s(time)|2")]), c(2, 2))
  expect_equal(sum(attr(held, "fixed")), 2)
  expect_identical(sds(`sd__s(time)` = constant(2)), held)
  group <- sds(id = constant(0.3))
  expect_equal(names(group)[attr(group, "fixed")], c("sd__(Intercept)|1", "sd__(Intercept)|2"))
  # Under a prior the objective has its density, at each component's sd; the bound has not.
  fit <- wavy_fit(data, prior = priors(smooth = half_t(3, 2)))
  sd <- theta(fit)[c("sd__s(time)|1", "sd__s(time)|2")]
  expect_equal(elbo(fit) - as.numeric(logLik(fit)), sum(log(2 / 2 * stats::dt(sd / 2, 3))),
               tolerance = 1e-8)
  expect_equal(as.numeric(logLik(fit)),
               wavy_bound(wavy_units(data), theta(fit), elbo:::smooth_coefficients(fit),
                          state_of(fit)$curves$smooth_cov, 2), tolerance = 1e-10)
  expect_snapshot({
    refusal(wavy_fit(data, prior = priors(smooth = normal(0, 1))))
    refusal(wavy_fit(data, prior = priors(smooth = constant(0))))
    refusal(wavy_fit(data, method = "joint"))
    refusal(wavy_fit(data, method = "vb", prior = priors(smooth = flat())))
  })
})

test_that("as points the coefficients have the density of their law", {
  data <- wavy_kinds()
  fit <- wavy_fit(data, method = "joint", prior = priors(smooth = constant(2)))
  m <- elbo:::smooth_coefficients(fit)
  density <- wavy_densities(wavy_units(data), theta(fit), m, 2)
  label <- predict(fit)
  value <- sum(density[cbind(seq_along(label), label)]) + sum(log(theta(fit)[label])) +
    sum(stats::dnorm(m, 0, 2, log = TRUE))
  expect_equal(elbo(fit), value, tolerance = 1e-10)
  # With labels known and the variances too, points are those of fit_glmm() at these sds.
  one <- wavy_fit(data, k = 1, method = "joint", prior = priors(smooth = constant(2)))
  V <- elbo:::coefficient_covariance(one, 1)
  units <- wavy_units(data)
  information <- Reduce(`+`, lapply(units, function(u) {
    sd <- theta(one)[["sd__(Intercept)|1"]]
    crossprod(cbind(u$X, u$B),
              solve(matrix(sd^2, u$n, u$n) + diag(sigma(one)^2, u$n), cbind(u$X, u$B)))
  })) + diag(c(0, 0, rep(1 / 4, 4)))
  # The variances are estimated: what they share with coefficients is small.
  expect_equal(unname(diag(V)), diag(solve(information)), tolerance = 0.02)
})

test_that("by vb standard errors are those of a posterior that moves with its prior", {
  data <- wavy_kinds()
  at <- function(mean) {
    wavy_fit(data, method = "vb", n_starts = 1,
             prior = priors(time = normal(mean, 1), weight = dirichlet(1)))
  }
  fit <- at(0)
  expect_equal(convergence(fit)$status, "converged")
  expect_true(all(diff(trace_of(fit)$elbo) > -1e-9 * abs(objective_of(fit))))
  # A tilt of the prior by t beta_time of all components: the derivative of E[b_1] is its covariance
  # with the sum of these slopes.
  move <- 0.01
  up <- at(move)
  down <- at(-move)
  slope <- (elbo:::smooth_coefficients(up) - elbo:::smooth_coefficients(down)) / (2 * move)
  information <- elbo:::mixture_information(fit)
  times <- which(names(theta(fit)) %in% c("time|1", "time|2"))
  expected <- information$latent %*% information$eta_cov %*% colSums(information$jacobian[times, ])
  expect_equal(as.vector(t(slope)), as.vector(expected), tolerance = 1e-3)
  expect_equal(dim(simulate(fit, 3, seed = 1)), c(nrow(data), 3))
  edf <- elbo:::smooth_edf(fit)
  expect_true(all(edf > 1 & edf < 5))
})

test_that("draws of curves have the covariance that linear response says", {
  data <- wavy_kinds()
  fit <- wavy_fit(data, method = "vb", n_starts = 1)
  V <- elbo:::coefficient_covariance(fit, 1)
  rows <- match(c("(Intercept)|1", "time|1"), names(theta(fit)))
  draws <- withr::with_seed(1, replicate(2000, {
    theta <- theta(fit)
    theta[rows] <- theta[rows] + t(chol(V[1:2, 1:2])) %*% stats::rnorm(2)
    elbo:::component_coefficients(elbo:::curves_at_draw(fit, theta))[1, ]
  }))
  # 4 sd of 1 / sqrt(2000)
  expect_lt(max(abs(cov(t(draws)) - V) / outer(sqrt(diag(V)), sqrt(diag(V)))), 0.1)
})

test_that("units of few rows have partitions to start from", {
  data <- wavy_kinds(n = 60, m = 2, apart = 4)
  fit <- wavy_fit(data, n_starts = 10)
  truth <- rep(1:3, length.out = 60) == 1
  agree <- mean((predict(fit) == predict(fit)[[1]]) == truth)
  expect_gt(agree, 0.8)
})

test_that("candidates are compared by the bound", {
  data <- wavy_kinds(apart = 3)
  fit <- wavy_fit(data, k = 1:2)
  expect_equal(n_components(fit), 2)
  table <- selection(fit)
  expect_equal(table$criterion[2], -2 * as.numeric(logLik(fit)) + attr(logLik(fit), "df") * log(24))
  # 1 weight; of each component 2 coefficients, the sd of its curve, the sd of deviations and sigma
  expect_equal(attr(logLik(fit), "df"), 11)
  expect_error(elbo(fit, theta = theta(fit)), class = "elbo_error_not_available")
  expect_error(vcov(fit, type = "sandwich"), class = "elbo_error_not_available")
  drawn <- bootstrap(fit, 2, seed = 1)$theta
  expect_equal(colnames(drawn), names(theta(fit)))
})
