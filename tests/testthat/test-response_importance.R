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
  expect_output(print(fits[[1]]), "by importance sampling, Monte Carlo error")
})

test_that("where there is nothing to correct draws are refused", {
  d <- crossed_binary()
  draws <- elbo_control(importance = 100L)
  expect_error(fit_glmm(y ~ x + (1 | f), d, binomial(), control = draws), "importance",
               class = "elbo_error_argument")
  expect_error(fit_glmm(x ~ 1 + (1 | f), d, control = draws), class = "elbo_error_argument")
  expect_error(elbo_control(importance = 1), class = "elbo_error_argument")
})
