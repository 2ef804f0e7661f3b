# Laplace's method corrected by importance sampling. R/glmm_response.R, src/general/importance.c.

crossed_binary <- function() {
  set.seed(3)
  d <- expand.grid(f = factor(1:20), m = factor(1:20))
  d <- d[sample(nrow(d), 200), ]
  d$x <- rnorm(nrow(d))
  d$y <- rbinom(nrow(d), 1, plogis(0.3 + 0.5 * d$x + 1.1 * rnorm(20)[d$f] + 1.1 * rnorm(20)[d$m]))
  d
}

test_that("with a second factor that hardly varies it gives what quadrature gives of one", {
  d <- crossed_binary()
  exact <- fit_glmm(y ~ x + (1 | f), d, binomial())
  none <- priors("sd__(Intercept)|m" = constant(1e-5))
  fit <- fit_glmm(y ~ x + (1 | f) + (1 | m), d, binomial(), prior = none,
                  control = elbo_control(importance = 2000L))
  said <- convergence(fit)
  expect_lt(said$monte_carlo, 0.02)
  expect_lt(abs(as.numeric(logLik(fit)) - as.numeric(logLik(exact))), 3 * said$monte_carlo)
  off <- as.vector(theta(fit))[1:3] - as.vector(theta(exact))
  expect_true(all(abs(off) < 3 * said$monte_carlo_theta[1:3]))
  # Laplace's method is further away than chance.
  laplace <- fit_glmm(y ~ x + (1 | f), d, binomial(), control = elbo_control(quadrature = 1L))
  expect_gt(as.numeric(logLik(exact)) - as.numeric(logLik(laplace)), 5 * said$monte_carlo)
})

test_that("draws follow from the seed, and their error is that of other draws", {
  d <- crossed_binary()
  fit_with <- function(seed) {
    fit_glmm(y ~ x + (1 | f) + (1 | m), d, binomial(),
             control = elbo_control(importance = 1000L, seed = seed))
  }
  fits <- lapply(1:4, fit_with)
  expect_identical(theta(fits[[1]]), theta(fit_with(1)))
  values <- vapply(fits, function(fit) as.numeric(logLik(fit)), 0)
  error <- mean(vapply(fits, function(fit) convergence(fit)$monte_carlo, 0))
  expect_lt(sd(values), 3 * error) # of three degrees of freedom
  expect_true(convergence(fits[[1]])$corrected)
  expect_output(print(fits[[1]]), "by importance sampling, Monte Carlo error .*share of\\s+draws")
})

test_that("where few draws count the log-likelihood is corrected, the estimates are Laplace's", {
  skip_if_not_installed("lme4")
  ticks <- lme4::grouseticks
  fit_with <- function(importance, seed) {
    fit_glmm(TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION), ticks, family = poisson,
             control = elbo_control(importance = importance, seed = seed))
  }
  laplace <- fit_with(0L, 1L)
  for (seed in 1:2) {
    expect_no_warning(fit <- fit_with(2000L, seed))
    said <- convergence(fit)
    expect_identical(said$status, "converged")
    expect_lt(said$effective, 0.1)
    expect_false(said$corrected)
    expect_true(all(is.na(said$monte_carlo_theta)))
    expect_false(anyNA(names(said)))
    expect_equal(theta(fit), theta(laplace), tolerance = 1e-12)
    # To the precision of the inner modes, which start elsewhere.
    expect_equal(vcov(fit), vcov(laplace), tolerance = 1e-4)
    # By 20000 draws Laplace's value is low by .35.
    off <- as.numeric(logLik(fit)) - as.numeric(logLik(laplace))
    expect_lt(abs(off), 5 * said$monte_carlo)
    expect_output(print(fit), "estimates\\s+are\\s+Laplace's")
    expect_no_match(said$message, "more draws may") # their share stays what it is
  }
})

test_that("so few draws that their score has no zero leave the estimates Laplace's too", {
  d <- crossed_binary()
  fit_with <- function(importance) {
    fit_glmm(y ~ x + (1 | f) + (1 | m), d, binomial(),
             control = elbo_control(importance = importance))
  }
  expect_no_warning(fit <- fit_with(20L))
  said <- convergence(fit)
  expect_gt(said$effective, 0.1)
  expect_match(said$message, "estimates are Laplace's.*; more draws may")
  expect_equal(theta(fit), theta(fit_with(0L)), tolerance = 1e-12)
})

test_that("where there is nothing to correct draws are refused", {
  d <- crossed_binary()
  draws <- elbo_control(importance = 100L)
  expect_error(fit_glmm(y ~ x + (1 | f), d, binomial(), control = draws), "importance",
               class = "elbo_error_argument")
  expect_error(fit_glmm(x ~ 1 + (1 | f), d, control = draws), class = "elbo_error_argument")
  expect_error(elbo_control(importance = 19), "at least 20, better 2000, not 19",
               class = "elbo_error_argument")
  expect_identical(elbo_control(importance = 20)$importance, 20L)
})
