orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)
fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)
test_that("emmeans works with the df of summary()", {
  skip_if_not_installed("emmeans")
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
  skip_if_not_installed("emmeans")
  curved <- fit_glmm(distance ~ splines::ns(age, 2) + (1 | Subject), orthodont)
  means <- as.data.frame(emmeans::emmeans(curved, ~ age, at = list(age = c(8, 13))))
  expect_equal(means$emmean, unname(predict(curved, data.frame(age = c(8, 13)), re.form = NA)))
})

test_that("sandwich sums the scores of rows by group", {
  skip_if_not_installed("sandwich")
  scores <- sandwich::estfun(fit)
  expect_identical(dim(scores), c(108L, 4L))
  # At the maximum the scores sum to zero.
  expect_lt(max(abs(colSums(scores))), 1e-6)
  expect_equal(sandwich::bread(fit), 108 * vcov(fit))
  # Huber's covariance by hand: V^-1 r from dense matrices.
  reference <- reference_of_fit(fit)
  weighted <- reference$X * drop(solve(reference$V, reference$r))
  expect_equal(unname(scores), unname(weighted), tolerance = 1e-7, ignore_attr = TRUE)
  meat <- crossprod(rowsum(weighted, orthodont$Subject))
  by_hand <- vcov(fit) %*% meat %*% vcov(fit)
  clustered <- sandwich::vcovCL(fit, cluster = orthodont$Subject, type = "HC0",
                                cadjust = FALSE)
  expect_equal(unname(clustered), unname(by_hand), tolerance = 1e-7)
  held <- priors(Subject = constant(1), cor = constant(0))
  joint <- update(fit, method = "joint", prior = held)
  expect_error(sandwich::estfun(joint), class = "elbo_error_method")
})

test_that("lmtest compares fits", {
  skip_if_not_installed("lmtest")
  smaller <- fit_glmm(distance ~ age + Sex + (age | Subject), orthodont)
  table <- lmtest::lrtest(fit, smaller)
  expect_equal(table$Chisq[2], 2 * as.numeric(logLik(fit) - logLik(smaller)))
})

test_that("marginaleffects gets coefficients that predict() uses", {
  expect_identical(get_coef.elbo_fit(fit), coef(fit))
  expect_identical(get_vcov.elbo_fit(fit), vcov(fit))
  moved <- set_coef.elbo_fit(fit, coef(fit) + c(1, 0, 0, 0))
  expect_equal(get_predict.elbo_fit(moved)$estimate, get_predict.elbo_fit(fit)$estimate + 1)
  withr::with_options(list(marginaleffects_model_classes = "other"), {
    announce_to_marginaleffects()
    announce_to_marginaleffects()
    expect_identical(getOption("marginaleffects_model_classes"), c("other", "elbo_fit"))
  })
})
