test_that("data that were not simulated have no truth", {
  expect_error(truth(mtcars), "`x` carries no truth", class = "elbo_error_no_truth")
})
