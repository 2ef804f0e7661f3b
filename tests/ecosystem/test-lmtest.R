fit <- fit_of("em")

test_that("lmtest compares fits", {
  smaller <- fit_glmm(distance ~ age + Sex + (age | Subject), orthodont)
  table <- lmtest::lrtest(fit, smaller)
  expect_equal(table$Chisq[2], 2 * as.numeric(logLik(fit) - logLik(smaller)))
})

test_that("coeftest has the estimates of a mixture", {
  mixture <- fit_of("regression")
  expect_equal(unclass(lmtest::coeftest(mixture))[, 1], c(coef(mixture)), ignore_attr = "fixed")
})

test_that("a null model without the random terms is refused", {
  expect_error(lmtest::lrtest(fit), "random terms", class = "elbo_error_formula")
})
