test_that("draws of predictions are added to data", {
  fit <- fit_of("vb")
  rows <- orthodont[1:3, ]
  added <- tidybayes::add_epred_draws(rows, fit, ndraws = 2000, seed = 1)
  at <- predict(fit, rows, se.fit = TRUE)
  means <- tapply(added$.epred, added$.row, mean)
  expect_true(all(abs(means - at$fit) < 4 * at$se.fit / sqrt(2000)))
  expect_identical(nrow(tidybayes::add_predicted_draws(rows, fit, ndraws = 10)), 30L)
  expect_identical(nrow(tidybayes::add_linpred_draws(rows, fit, ndraws = 10)), 30L)
  expect_named(tidybayes::spread_draws(fit, sigma), c(".chain", ".iteration", ".draw", "sigma"))
})

test_that("tidybayes meets every kind of fit", {
  expect_tool("add_epred_draws()", function(fit) {
    tidybayes::add_epred_draws(insight::get_data(fit)[1:2, ], fit, ndraws = 5)
  }, works = c("vb", "regression_vb"), refused = setdiff(table_kinds, c("vb", "regression_vb")))
})
