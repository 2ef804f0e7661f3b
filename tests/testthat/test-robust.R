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

test_that("the sandwich needs no inverse of the covariance of the coefficients", {
  set.seed(2)
  d <- data.frame(x = 1e8 + rnorm(12))
  d$y <- rnorm(12)
  far <- vcov(fit_glmm(y ~ x, d), type = "sandwich")
  expect_true(all(is.finite(far[1:2, 1:2])))
  # Without groups it is HC0: (X'X)^-1 X' diag(r^2) X (X'X)^-1, the same with x centred.
  centred <- fit_glmm(y ~ x, transform(d, x = x - 1e8))
  X <- cbind(1, d$x - 1e8)
  r <- lm.fit(X, d$y)$residuals
  hc0 <- solve(crossprod(X)) %*% crossprod(X * r) %*% solve(crossprod(X))
  expect_equal(unname(vcov(centred, type = "sandwich")[1:2, 1:2]), hc0, tolerance = 1e-8)
})
