fit <- fit_of("em")

mixture <- fit_of("regression")

test_that("the table of parameters", {
  table <- parameters::model_parameters(fit)
  expect_true(all(c("Parameter", "Coefficient", "SE", "CI", "CI_low", "CI_high", "t", "p",
                    "Effects", "Group") %in% names(table)))
  expect_s3_class(table, c("parameters_model", "see_parameters_model", "data.frame"),
                  exact = TRUE)
  expect_equal(table$Coefficient, unname(c(theta(fit))), ignore_attr = TRUE)
  expect_output(print(table), "Random Effects")
})

test_that("the table of a mixture", {
  table <- parameters::model_parameters(mixture)
  expect_identical(table$Parameter, names(theta(mixture)))
  expect_equal(table$CI_low, unname(confint(mixture)[, 1]))
})
