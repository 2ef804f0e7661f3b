orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)
fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)
same_by_lme4 <- function() {
  skip_if_not_installed("lme4")
  lme4::lmer(distance ~ age * Sex + (age | Subject), orthodont, REML = FALSE)
}

test_that("insight reads the model", {
  skip_if_not_installed("insight")
  formulas <- insight::find_formula(fit)
  expect_equal(formulas$conditional, distance ~ age * Sex, ignore_formula_env = TRUE)
  expect_equal(formulas$random, ~ age | Subject, ignore_formula_env = TRUE)
  expect_equal(insight::get_parameters(fit)$Estimate, unname(coef(fit)))
  expect_equal(insight::get_statistic(fit)$Statistic, unname(coef(summary(fit))[, "t value"]))
  expect_true(insight::model_info(fit)$is_linear)
  expect_true(insight::model_info(fit)$is_mixed)
  expect_equal(as.list(insight::get_data(fit)), as.list(model.frame(fit)),
               ignore_attr = TRUE)
  expect_equal(insight::get_df(fit, type = "residual"), df.residual(fit))
  expect_identical(insight::find_response(fit), "distance")
  expect_identical(insight::find_random(fit, flatten = TRUE), "Subject")
})

test_that("parameters and performance have methods", {
  skip_if_not_installed("parameters")
  skip_if_not_installed("performance")
  table <- parameters::model_parameters(fit)
  expect_true(all(c("Parameter", "Coefficient", "SE", "CI", "CI_low", "CI_high", "t", "p",
                    "Effects", "Group") %in% names(table)))
  expect_s3_class(table, c("parameters_model", "see_parameters_model", "data.frame"),
                  exact = TRUE)
  expect_equal(table$Coefficient, unname(c(theta(fit))), ignore_attr = TRUE)
  expect_output(print(table), "Random Effects")

  peer <- same_by_lme4()
  expect_equal(unlist(performance::r2(fit)), unlist(performance::r2(peer)), tolerance = 1e-4)
  facts <- performance::model_performance(fit)
  expect_equal(facts$RMSE, performance::performance_rmse(peer), tolerance = 1e-4)
  expect_output(print(facts), "R2")
})
