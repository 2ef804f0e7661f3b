orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)
fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)

test_that("leverages are the diagonal of the matrix that makes fitted values of responses", {
  # With V the covariance of y and P = V^-1 - V^-1 X (X' V^-1 X)^-1 X' V^-1 the residuals are R P y.
  reference <- reference_of_fit(fit)
  inverse <- solve(reference$V)
  X <- reference$X
  P <- inverse - inverse %*% X %*% solve(t(X) %*% inverse %*% X, t(X) %*% inverse)
  expect_equal(unname(hatvalues(fit)), 1 - sigma(fit)^2 * diag(P), tolerance = 1e-8,
               ignore_attr = TRUE)
  h <- hatvalues(fit)
  r <- residuals(fit, "pearson")
  expect_equal(cooks.distance(fit), (r / (1 - h))^2 * h / 4)
  expect_equal(rstandard(fit), r / sqrt(1 - h))
  expect_identical(rstudent(fit), rstandard(fit))
})

test_that("they are those of lm where there are no random terms", {
  straight <- fit_glmm(distance ~ age * Sex, orthodont, method = "reml")
  peer <- lm(distance ~ age * Sex, orthodont)
  expect_equal(hatvalues(straight), hatvalues(peer))
  expect_equal(cooks.distance(straight), cooks.distance(peer))
  expect_equal(rstandard(straight), rstandard(peer))
  weighted <- fit_glmm(distance ~ age, orthodont, weights = age, method = "vb")
  peer <- lm(distance ~ age, orthodont, weights = age)
  expect_equal(hatvalues(weighted), hatvalues(peer), tolerance = 1e-3) # priors are weak, not flat
})

test_that("they are those of lmer", {
  skip_if_not_installed("lme4")
  heavy <- transform(orthodont, w = rep(1:3, 36))
  ours <- fit_glmm(distance ~ age * Sex + (1 | Subject), heavy, method = "reml", weights = w)
  peer <- lme4::lmer(distance ~ age * Sex + (1 | Subject), heavy, weights = w)
  # lmer stops some 1e-5 off in the ratios of variances.
  expect_equal(hatvalues(ours), hatvalues(peer), tolerance = 1e-3)
  expect_equal(cooks.distance(ours), cooks.distance(peer), tolerance = 1e-3, ignore_attr = TRUE)
  expect_equal(rstudent(ours), rstudent(peer), tolerance = 1e-3)
})

test_that("deletion is by refits to what is left", {
  one <- fit_glmm(distance ~ age + (1 | Subject), orthodont)
  by_subject <- influence(one, "Subject")
  without <- update(one, subset = Subject != "M10")
  expect_equal(by_subject[["fixed.effects[-Subject]"]]["M10", ], fixef_values(without),
               tolerance = 1e-6)
  moved <- coef(without) - coef(one)
  expect_equal(dfbeta(by_subject)["M10", ], c(moved), ignore_attr = TRUE, tolerance = 1e-5)
  expect_equal(dfbetas(by_subject)["M10", ], c(moved) / sqrt(diag(vcov(without))),
               ignore_attr = TRUE, tolerance = 1e-5)
  d <- (27 - 2) / (27 * 2) * drop(moved %*% solve(vcov(one)) %*% moved)
  expect_equal(cooks.distance(by_subject)[["M10"]], d, tolerance = 1e-5)
  expect_length(cooks.distance(influence(one)), 108)
  expect_error(influence(one, "Subjct"), class = "elbo_error_argument")
  expect_identical(influence(one, do.coef = FALSE)$hat, hatvalues(one))
})

test_that("points on the latent variables and mixtures have no leverages", {
  points <- update(fit, method = "joint", prior = priors(Subject = constant(1), cor = constant(0)))
  expect_error(hatvalues(points), class = "elbo_error_method")
  for (f in list(hatvalues, rstandard, rstudent, cooks.distance, influence)) {
    expect_error(f(mixture_example("gaussian")), class = "elbo_error_not_available")
  }
})

test_that("without coefficients there is no Cook's distance", {
  fit <- fit_glmm(y ~ 0 + (1 | g), data.frame(y = c(3, -1, 1, 2), g = c(1, 1, 2, 2)))
  expect_true(all(is.na(cooks.distance(fit)) & !is.nan(cooks.distance(fit))))
})

test_that("a row that alone says what is fitted to it has no residual to judge it by", {
  single <- transform(orthodont, first = factor(seq_len(nrow(orthodont)) == 7))
  alone <- fit_glmm(distance ~ age + first + (1 | Subject), single, method = "reml")
  expect_equal(hatvalues(alone)[[7]], 1)
  expect_identical(which(is.na(rstandard(alone))), c("7" = 7L))
  expect_identical(which(is.na(cooks.distance(alone))), c("7" = 7L))
  straight <- fit_glmm(distance ~ age + first, single, method = "reml")
  expect_identical(which(is.na(rstandard(lm(distance ~ age + first, single)))), c("7" = 7L))
  expect_identical(which(is.na(rstandard(straight))), c("7" = 7L))
})
