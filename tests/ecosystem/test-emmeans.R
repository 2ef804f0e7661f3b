fit <- fit_of("em")

test_that("emmeans works with the df of summary()", {
  means <- as.data.frame(emmeans::emmeans(fit, ~ Sex, at = list(age = 11)))
  X <- cbind(1, 11, c(0, 1), c(0, 11))
  expect_equal(means$emmean, drop(X %*% coef(fit)))
  expect_equal(means$SE, sqrt(diag(X %*% vcov(fit) %*% t(X))))
  expect_equal(means$df, unname(fit_df(fit, X)), tolerance = 1e-6)
  trends <- as.data.frame(emmeans::emtrends(fit, ~ Sex, var = "age"))
  expect_equal(trends$age.trend, unname(c(coef(fit)[2], coef(fit)[2] + coef(fit)[4])),
               tolerance = 1e-6)
  expect_equal(trends$df[1], coef(summary(fit))["age", "df"], tolerance = 1e-6)
})

test_that("emmeans handles spline bases", {
  curved <- fit_glmm(distance ~ splines::ns(age, 2) + (1 | Subject), orthodont)
  means <- as.data.frame(emmeans::emmeans(curved, ~ age, at = list(age = c(8, 13))))
  expect_equal(means$emmean, unname(predict(curved, data.frame(age = c(8, 13)), re.form = NA)))
})

test_that("emmeans meets every kind of fit", {
  expect_tool("emmeans()", function(fit) as.data.frame(emmeans::emmeans(fit, ~ Sex)),
              works = c("em", "reml", "vb", "joint"))
  expect_tool("emmeans()", function(fit) emmeans::emmeans(fit, ~ 1), refused = mixture_kinds,
              saying = "not for mixtures")
})
