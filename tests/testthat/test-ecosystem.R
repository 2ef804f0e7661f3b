orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)
fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)

test_that("marginaleffects gets coefficients that predict() uses", {
  expect_identical(get_coef.elbo_fit(fit), coef(fit))
  expect_identical(get_vcov.elbo_fit(fit), vcov(fit))
  moved <- set_coef.elbo_fit(fit, coef(fit) + c(1, 0, 0, 0))
  expect_equal(get_predict.elbo_glmm(moved)$estimate, get_predict.elbo_glmm(fit)$estimate + 1)
  withr::with_options(list(marginaleffects_model_classes = "other"), {
    announce_to_marginaleffects()
    announce_to_marginaleffects()
    expect_identical(getOption("marginaleffects_model_classes"), c("other", "elbo_fit"))
  })
})
