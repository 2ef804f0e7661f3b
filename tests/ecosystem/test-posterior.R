test_that("draws have the moments of the fit", {
  fit <- fit_of("vb")
  draws <- posterior::as_draws(fit, ndraws = 4000)
  told <- posterior::summarise_draws(draws, "mean", "sd")
  age <- told[told$variable == "age", ]
  expect_lt(abs(age$mean - coef(fit)[["age"]]), 5 * age$sd / sqrt(4000))
  expect_equal(as.numeric(age$sd), sqrt(vcov(fit)["age", "age"]), tolerance = 0.1)
})

test_that("as_draws() meets every kind of fit", {
  expect_tool("as_draws()", function(fit) stopifnot(nrow(posterior::as_draws(fit)) == 1000),
              works = c("vb", "regression_vb"),
              refused = setdiff(table_kinds, c("vb", "regression_vb")))
})
