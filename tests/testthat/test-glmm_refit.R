growth <- nlme::Orthodont

test_that("the same fit by another method, from the design alone", {
  fit <- fit_glmm(distance ~ age + (age | Subject), growth, method = "reml", sigma = ~ Sex)
  again <- refit_method(fit, "em")
  direct <- update(fit, method = "em")
  expect_equal(theta(again), theta(direct), tolerance = 1e-8)
  expect_equal(logLik(again), logLik(direct), tolerance = 1e-12)
})

test_that("parts of theta make the covariance that theta describes", {
  fit <- fit_glmm(distance ~ age + (age | Subject), growth)
  th <- theta(fit)
  Sigma <- theta_parts(fit)$Sigma
  expect_equal(sqrt(diag(Sigma)), unname(th[3:4]))
  expect_equal(cov2cor(Sigma)[2], th[[5]])
  expect_error(theta_parts(fit, th[1:2]), class = "elbo_error_argument")
})
