fit <- fit_of("em")

mixture <- fit_of("regression")

test_that("R2 and the facts of a fit are those of lmer", {
  peer <- fit_of("em_lmer")
  expect_equal(unlist(performance::r2(fit)), unlist(performance::r2(peer)), tolerance = 1e-4)
  facts <- performance::model_performance(fit)
  expect_equal(facts$RMSE, performance::performance_rmse(peer), tolerance = 1e-4)
  expect_output(print(facts), "R2")
})

test_that("the facts of a mixture", {
  expect_equal(performance::model_performance(mixture)$BIC, BIC(mixture))
  expect_error(performance::r2(mixture), class = "elbo_error_not_available")
})
