fit <- mixture_example("gaussian")

test_that("insight finds formula, parameters and statistics", {
  skip_if_not_installed("insight")
  expect_identical(deparse(insight::find_formula(fit)$conditional), "y ~ x1")
  expect_equal(insight::get_parameters(fit)$Estimate, unname(coef(fit)), ignore_attr = "fixed")
  expect_equal(insight::get_statistic(fit)$Statistic, unname(coef(summary(fit))[, "z value"]))
  expect_true(insight::model_info(fit)$is_mixture)
  expect_equal(insight::get_df(fit, type = "residual"), df.residual(fit))
})

test_that("parameters and performance have their tables", {
  skip_if_not_installed("parameters")
  table <- parameters::model_parameters(fit)
  expect_identical(table$Parameter, names(theta(fit)))
  expect_equal(table$CI_low, unname(confint(fit)[, 1]))
  skip_if_not_installed("performance")
  expect_equal(performance::model_performance(fit)$BIC, BIC(fit))
})

test_that("what is not for mixtures says so", {
  skip_if_not_installed("performance")
  expect_error(performance::r2(fit), class = "elbo_error_not_available")
})

test_that("responses of classes are columns each", {
  skip_if_not_installed("insight")
  classes <- mixture_example("classes")
  expect_equal(insight::find_response(classes, combine = FALSE), c("colour", "smokes", "x"))
  expect_equal(dim(insight::get_response(classes)), c(nobs(classes), 3))
})
