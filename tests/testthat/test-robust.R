orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)
fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)

test_that("a covariance by name is what the name says, or refused", {
  expect_identical(named_covariance(fit), vcov(fit))
  expect_identical(named_covariance(fit, "sandwich"), vcov(fit, type = "sandwich"))
  expect_identical(named_covariance(fit, function(x) 2 * vcov(x)), 2 * vcov(fit))
  expect_identical(named_covariance(fit, 2 * vcov(fit)), 2 * vcov(fit))
  expect_error(named_covariance(fit, diag(3)), "4 x 4", class = "elbo_error_argument")
  expect_error(named_covariance(fit, "robust"), "\"CR2\"", class = "elbo_error_argument")
  expect_error(named_covariance(fit, 3), "`vcov`", class = "elbo_error_argument")
  skip_if_not_installed("sandwich")
  by_subject <- sandwich::vcovCL(fit)
  expect_equal(named_covariance(fit, ~ Subject), by_subject)
  expect_equal(named_covariance(fit, "CL", list(cluster = ~ Subject)), by_subject)
  expect_equal(named_covariance(fit, sandwich::vcovCL), by_subject)
  expect_error(named_covariance(fit, "HC0"), "not independent", class = "elbo_error_not_available")
  expect_error(named_covariance(fit, ~ nothing), "nothing", class = "elbo_error_argument")
  flat <- fit_glmm(distance ~ age, orthodont)
  expect_equal(named_covariance(flat, "HC0"),
               sandwich::vcovHC(lm(distance ~ age, orthodont), "HC0"), tolerance = 1e-6)
  skip_if_not_installed("clubSandwich")
  expect_equal(named_covariance(fit, "CR2"),
               as.matrix(clubSandwich::vcovCR(fit, type = "CR2")), ignore_attr = TRUE)
  mixture <- mixture_example("gaussian")
  for (vcov in list("HC0", "CR2", "CL", ~ x1)) {
    expect_error(named_covariance(mixture, vcov), class = "elbo_error_not_available")
  }
  expect_identical(named_covariance(mixture, "sandwich"), vcov(mixture, type = "sandwich"))
})

test_that("the rows that were left out are found where stats looks for them", {
  gaps <- transform(orthodont, distance = replace(distance, 5, NA))
  expect_identical(as.vector(na.action(update(fit, data = gaps))), 5L)
  expect_null(na.action(fit))
})
