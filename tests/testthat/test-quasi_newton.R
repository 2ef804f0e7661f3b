# Overlapping components, from a start that knows half of the labels: EM creeps.
overlapping <- function(n = 2e4, d = 6, k = 5) {
  set.seed(18)
  mean <- matrix(stats::rnorm(k * d, sd = 0.7), k)
  z <- sample(k, n, TRUE)
  y <- matrix(stats::rnorm(n * d), n)
  for (j in seq_len(k)) {
    y[z == j, ] <- y[z == j, ] %*% (diag(d) + matrix(stats::rnorm(d * d, sd = 0.08), d))
  }
  label <- ifelse(stats::runif(n) < 0.5, z, sample(k, n, TRUE))
  list(data = data.frame(y + mean[z, ]), label = label)
}

fit_overlapping <- function(d, ...) {
  fit_mixture(cbind(X1, X2, X3, X4, X5, X6) ~ 1, d$data, k = 5, covariance = "VVV",
              start = d$label, control = elbo_control(max_iter = 20000L, ...))
}

test_that("quasi-Newton steps reach the optimum of EM in a part of the passes", {
  d <- overlapping()
  squarem <- fit_overlapping(d, accelerate = "squarem", tol = 1e-10)
  auto <- fit_overlapping(d)
  state <- convergence(auto)
  expect_identical(state$status, "converged")
  expect_gt(state$quasi_newton, 0)
  expect_identical(state$squarem, 0L)
  # 38 beside hundreds: more would be a metric that is no guide
  expect_lt(state$passes, 50)
  expect_gt(convergence(squarem)$passes, 5 * state$passes)
  # 1e-8 is still to gain, of half squared standard errors: 1.4e-4 of one
  expect_lt(abs(elbo(auto) - elbo(squarem)), 1e-6)
  expect_gte(elbo(auto), elbo(squarem) - 1e-8)
  expect_equal(theta(auto), theta(squarem), tolerance = 1e-4)
  expect_lt(state$gradient, 1e-3)
  trace <- elbo_trace(auto)
  expect_identical(sum(trace$step == "quasi-newton"), state$quasi_newton)
  expect_true(all(diff(trace$elbo) > -1e-9))
})

test_that("textbook EM stays textbook EM", {
  d <- overlapping(500)
  fit <- suppressWarnings(fit_overlapping(d, accelerate = "none"))
  expect_setequal(elbo_trace(fit)$step, c("start", "E", "M"))
})

test_that("threads change no bit of it", {
  d <- overlapping()
  one <- fit_overlapping(d, threads = 1)
  two <- fit_overlapping(d, threads = 2)
  expect_identical(theta(one), theta(two))
  expect_identical(elbo_trace(one), elbo_trace(two))
})

test_that("small fits take no notably more passes than SQUAREM does, to a closer end", {
  set.seed(18)
  z <- sample(3, 2000, TRUE)
  p <- stats::plogis(matrix(stats::rnorm(24), 8))
  classes <- data.frame(matrix(stats::runif(16000) < t(p)[z, ], 2000))
  label <- ifelse(stats::runif(2000) < 0.5, z, sample(3, 2000, TRUE))
  fits <- list(
    function(control) fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2,
                                  covariance = "VVV", control = control),
    function(control) fit_mixture(as.matrix(iris[1:4]) ~ 1, k = 3, covariance = "EEE",
                                  control = control),
    function(control) fit_mixture(responses(.) ~ 1, classes, k = 3, start = label,
                                  control = control)
  )
  for (fit in fits) {
    auto <- fit(elbo_control())
    squarem <- fit(elbo_control(accelerate = "squarem"))
    expect_lt(convergence(auto)$passes, 1.25 * convergence(squarem)$passes)
    expect_gte(elbo(auto), elbo(squarem) - 1e-9)
    expect_lt(convergence(auto)$gradient, 1e-8)
  }
})

# ---- where there are no scores, or they are no guide ---------------------------------------------

expect_fewer_passes <- function(fit, part) {
  auto <- fit(elbo_control())
  squarem <- fit(elbo_control(accelerate = "squarem"))
  expect_lt(convergence(auto)$passes, part * convergence(squarem)$passes)
  expect_gte(elbo(auto), elbo(squarem) - 1e-7)
  expect_identical(convergence(auto)$squarem, 0L)
}

test_that("under variational Bayes the metric is that of q", {
  d <- overlapping(5000)
  expect_fewer_passes(function(control) {
    fit_mixture(cbind(X1, X2, X3, X4, X5, X6) ~ 1, d$data, k = 5, covariance = "VVV",
                method = "vb", start = d$label, control = control)
  }, 0.5)
})

test_that("probabilities at the boundary are reached by steps of EM's own metric", {
  set.seed(18)
  z <- sample(3, 4000, TRUE)
  p <- rbind(c(.95, .99, 1, .8, .7, 1), c(.5, .4, .5, .6, .3, .2), c(.1, 0, .2, 0, .1, .5))
  classes <- data.frame(matrix(stats::runif(24000) < p[z, ], 4000))
  label <- ifelse(stats::runif(4000) < 0.5, z, sample(3, 4000, TRUE))
  expect_fewer_passes(function(control) {
    fit_mixture(responses(.) ~ 1, classes, k = 3, start = label, control = control)
  }, 0.9)
})

# Cells of curves that count less than no unit were once left out of the metric.
test_that("curves end at the maximum", {
  set.seed(18)
  time <- seq(0, 1, length.out = 6)
  z <- sample(2, 600, TRUE)
  u <- matrix(stats::rnorm(1200, sd = 0.6), 600)
  d <- data.frame(gene = rep(1:600, each = 6), time = time)
  d$y <- sin(2 * pi * d$time + z[d$gene]) + u[d$gene, 1] + u[d$gene, 2] * d$time +
    stats::rnorm(3600, sd = 0.5)
  fit <- function(control) {
    fit_mixture(y ~ stats::poly(time, 3) + (time | gene), d, unit = ~ gene, k = 2,
                start = rep(z, each = 6), control = control)
  }
  expect_equal(elbo(fit(elbo_control())), elbo(fit(elbo_control(accelerate = "squarem"))),
               tolerance = 1e-11)
})
