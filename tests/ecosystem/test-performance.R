fit <- fit_of("em")

mixture <- fit_of("regression")

test_that("R2 and the facts of a fit are those of lmer", {
  peer <- fit_of("em_lmer")
  expect_equal(unlist(performance::r2(fit)), unlist(performance::r2(peer)), tolerance = 1e-4)
  facts <- performance::model_performance(fit)
  expect_equal(facts$RMSE, performance::performance_rmse(peer), tolerance = 1e-4)
  expect_output(print(facts), "R2")
})

test_that("the facts of a mixture", {
  expect_equal(performance::model_performance(mixture)$BIC, BIC(mixture))
  expect_error(performance::r2(mixture), class = "elbo_error_not_available")
})

test_that("shares of variance are those of lmer", {
  peer <- fit_of("em_lmer")
  expect_equal(unlist(performance::icc(fit)), unlist(performance::icc(peer)), tolerance = 1e-3)
  expect_equal(unlist(performance::r2_nakagawa(fit)), unlist(performance::r2_nakagawa(peer)),
               tolerance = 1e-3)
  table <- performance::model_performance(fit)
  expect_equal(table$AICc, AIC(fit) + 2 * 8 * 9 / (108 - 9))
  expect_equal(table$ICC, performance::icc(peer)$ICC_adjusted, tolerance = 1e-3)
  expect_named(performance::model_performance(fit, metrics = c("AIC", "R2")),
               c("AIC", "R2_conditional", "R2_marginal"))
})

test_that("a singular fit is said to be singular, another not", {
  flat <- transform(orthodont, distance = withr::with_seed(3, rnorm(108)))
  expect_true(performance::check_singularity(fit_glmm(distance ~ age + (1 | Subject), flat)))
  expect_true(performance::check_singularity(fit_of("meta")))
  expect_false(performance::check_singularity(fit))
  expect_true(performance::check_convergence(fit))
  short <- suppressWarnings(update(fit, control = elbo_control(max_iter = 1)))
  expect_false(performance::check_convergence(short))
})

test_that("diagnostics have the values of lmer", {
  peer <- fit_of("em_lmer")
  # Of lmer performance takes the deviance, -2 log L, for a sum of squares; by hand it is
  u <- residuals(fit)^2 / (sigma(fit)^2 * 100 / 108)
  squares <- anova(lm(u ~ fitted(fit)))[["Sum Sq"]]
  expect_equal(as.numeric(performance::check_heteroscedasticity(fit)),
               pchisq(squares[1] / 2, 1, lower.tail = FALSE))
  expect_equal(as.numeric(performance::check_normality(fit)),
               as.numeric(performance::check_normality(peer)), tolerance = 1e-3)
  expect_identical(which(performance::check_outliers(fit)),
                   which(performance::check_outliers(peer)))
  expect_equal(performance::performance_mae(fit), performance::performance_mae(peer),
               tolerance = 1e-4)
})

test_that("nested fits are compared", {
  smaller <- fit_glmm(distance ~ age + Sex + (age | Subject), orthodont)
  table <- performance::test_likelihoodratio(smaller, fit)
  expect_equal(table$Chi2[2], 2 * as.numeric(logLik(fit) - logLik(smaller)))
})

test_that("performance meets every kind of fit", {
  # Its newer versions draw with package see.
  drawn <- packageVersion("performance") < "0.12" || requireNamespace("see", quietly = TRUE)
  expect_tool("check_model()", function(fit) performance::check_model(fit, verbose = FALSE),
              works = c(if (drawn) c("em", "reml", "vb")), refused = mixture_kinds)
  expect_tool("check_predictions()", function(fit) performance::check_predictions(fit),
              works = c("em", "reml", "vb", "meta", "regression", "regression_vb", "poisson",
                        "curves"), refused = c("normal", "classes"))
  expect_tool("model_performance()", function(fit) performance::model_performance(fit),
              works = table_kinds)
  expect_tool("icc()", function(fit) performance::icc(fit), works = mixed_kinds)
  expect_tool("check_singularity()", function(fit) performance::check_singularity(fit),
              works = table_kinds)
  expect_tool("check_convergence()", function(fit) performance::check_convergence(fit),
              works = table_kinds)
})
