fit <- mixture_example("gaussian")

test_that("what is not for mixtures says so", {
  skip_if_not_installed("sandwich")
  expect_error(sandwich::estfun(fit), class = "elbo_error_not_available")
  expect_error(sandwich::bread(fit), class = "elbo_error_not_available")
})

# The methods are called as marginaleffects calls them; the package need not be there.
test_that("predictions follow the coefficients that were set", {
  moved <- set_coef.elbo_fit(fit, coef(fit) + 1)
  new <- data.frame(x1 = c(0, 1), w = 1)
  expect_equal(get_predict.elbo_mixture(moved, new)$estimate -
                 get_predict.elbo_mixture(fit, new)$estimate, c(1, 2))
  expect_identical(get_vcov.elbo_fit(fit), vcov(fit))
  several <- get_predict.elbo_mixture(mixture_example("normal"), faithful[1:3, ])
  expect_identical(unique(several$group), c("eruptions", "waiting"))
})

test_that("the criteria of stats work", {
  expect_equal(AIC(fit), -2 * as.numeric(logLik(fit)) + 2 * attr(logLik(fit), "df"))
  expect_equal(deviance(fit), -2 * as.numeric(logLik(fit)))
  expect_equal(extractAIC(fit), c(7, AIC(fit)))
})
