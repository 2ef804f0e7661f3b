fit <- fit_of("em")

mixture <- fit_of("regression")

test_that("insight reads the model", {
  formulas <- insight::find_formula(fit)
  expect_equal(formulas$conditional, distance ~ age * Sex, ignore_formula_env = TRUE)
  expect_equal(formulas$random, ~ age | Subject, ignore_formula_env = TRUE)
  expect_equal(insight::get_parameters(fit)$Estimate, unname(coef(fit)))
  expect_equal(insight::get_statistic(fit)$Statistic, unname(coef(summary(fit))[, "t value"]))
  expect_true(insight::model_info(fit)$is_linear)
  expect_true(insight::model_info(fit)$is_mixed)
  expect_equal(insight::get_data(fit), orthodont[c("distance", "age", "Sex", "Subject")],
               ignore_attr = TRUE)
  expect_equal(insight::get_df(fit, type = "residual"), df.residual(fit))
  expect_identical(insight::find_response(fit), "distance")
  expect_identical(insight::find_random(fit, flatten = TRUE), "Subject")
})

test_that("insight finds formula, parameters and statistics", {
  expect_identical(deparse(insight::find_formula(mixture)$conditional), "y ~ x1 + arm")
  expect_equal(insight::get_parameters(mixture)$Estimate, unname(coef(mixture)), ignore_attr = "fixed")
  expect_equal(insight::get_statistic(mixture)$Statistic, unname(coef(summary(mixture))[, "z value"]))
  expect_true(insight::model_info(mixture)$is_mixture)
  expect_equal(insight::get_df(mixture, type = "residual"), df.residual(mixture))
})
