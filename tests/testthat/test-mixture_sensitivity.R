# Refits under moved priors: the derivative of every posterior mean.
test_that("sensitivity to the prior is what refits find", {
  d <- withr::with_seed(1, regression_data())
  fit_at <- function(mean = 0.2, sd = 0.5, df = 3, scale = 1, alpha = 2) {
    fit_mixture(y ~ x1, d, k = 2, method = "vb", control = elbo_control(tol = 1e-12),
                prior = priors(x1 = normal(mean, sd), `(Intercept)` = normal(0, 10),
                               sigma = half_t(df, scale), weight = dirichlet(alpha)))
  }
  table <- sensitivity(fit_at(), to = "prior")
  expect_identical(names(table), c("estimate", "prior", "number", "value", "derivative", "per_sd"))
  h <- 1e-3
  check <- function(prior, number, up, down) {
    refits <- unname(c(theta(up) - theta(down))) / (2 * h)
    slope <- table$derivative[table$prior == prior & table$number == number]
    expect_equal(slope, refits, tolerance = 1e-3)
  }
  check("x1", "mean", fit_at(mean = 0.2 + h), fit_at(mean = 0.2 - h))
  check("x1", "sd", fit_at(sd = 0.5 + h), fit_at(sd = 0.5 - h))
  check("sigma", "df", fit_at(df = 3 + h), fit_at(df = 3 - h))
  check("sigma", "scale", fit_at(scale = 1 + h), fit_at(scale = 1 - h))
  check("weight", "alpha", fit_at(alpha = 2 + h), fit_at(alpha = 2 - h))
  expect_equal(table$per_sd, unname(table$derivative / standard_errors(fit_at())[table$estimate]))
})

test_that("sticks and numeric classes have numbers in their priors", {
  table <- sensitivity(mixture_example("vb_sticks"))
  expect_true("alpha" %in% table$number[table$prior == "weight"])
  # A larger concentration leaves more to the last stick.
  last <- table[table$prior == "weight" & table$estimate == "weight|3", ]
  expect_gt(last$derivative, 0)
  expect_true(all(is.finite(table$derivative)))
})

test_that("other methods refuse", {
  expect_error(sensitivity(mixture_example("normal")), class = "elbo_error_not_available")
  expect_error(sensitivity(mixture_example("vb"), to = "data"), class = "elbo_error_not_available")
})
