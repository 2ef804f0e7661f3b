orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)
fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)

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
