orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)
fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)
same_by_lme4 <- function() {
  skip_if_not_installed("lme4")
  lme4::lmer(distance ~ age * Sex + (age | Subject), orthodont, REML = FALSE)
}

test_that("insight reads the model", {
  skip_if_not_installed("insight")
  formulas <- insight::find_formula(fit)
  expect_equal(formulas$conditional, distance ~ age * Sex, ignore_formula_env = TRUE)
  expect_equal(formulas$random, ~ age | Subject, ignore_formula_env = TRUE)
  expect_equal(insight::get_parameters(fit)$Estimate, unname(coef(fit)))
  expect_equal(insight::get_statistic(fit)$Statistic, unname(coef(summary(fit))[, "t value"]))
  expect_true(insight::model_info(fit)$is_linear)
  expect_true(insight::model_info(fit)$is_mixed)
  expect_equal(as.list(insight::get_data(fit)), as.list(model.frame(fit)),
               ignore_attr = TRUE)
  expect_equal(insight::get_df(fit, type = "residual"), df.residual(fit))
  expect_identical(insight::find_response(fit), "distance")
  expect_identical(insight::find_random(fit, flatten = TRUE), "Subject")
})

test_that("parameters and performance have methods", {
  skip_if_not_installed("parameters")
  skip_if_not_installed("performance")
  table <- parameters::model_parameters(fit)
  expect_true(all(c("Parameter", "Coefficient", "SE", "CI", "CI_low", "CI_high", "t", "p",
                    "Effects", "Group") %in% names(table)))
  expect_s3_class(table, c("parameters_model", "see_parameters_model", "data.frame"),
                  exact = TRUE)
  expect_equal(table$Coefficient, unname(c(theta(fit))), ignore_attr = TRUE)
  expect_output(print(table), "Random Effects")

  peer <- same_by_lme4()
  expect_equal(unlist(performance::r2(fit)), unlist(performance::r2(peer)), tolerance = 1e-4)
  facts <- performance::model_performance(fit)
  expect_equal(facts$RMSE, performance::performance_rmse(peer), tolerance = 1e-4)
  expect_output(print(facts), "R2")
})

test_that("counts and categories are predicted on the scale of the response", {
  skip_if_not_installed("insight")
  set.seed(3)
  d <- data.frame(x = rnorm(60), g = gl(6, 10))
  d$count <- rpois(60, exp(0.5 + 0.8 * d$x + rnorm(6)[d$g]))
  d$o <- cut(d$count, c(-1, 0, 2, Inf), labels = 0:2, ordered_result = TRUE)
  fit <- fit_glmm(count ~ x + (1 | g), d, family = poisson())
  found <- insight::get_predicted(fit)
  expect_equal(as.vector(found), unname(predict(fit, type = "response")))
  ends <- predict(fit, type = "response", se.fit = TRUE, interval = "confidence")$fit
  expect_equal(attr(found, "ci_data")$CI_low, unname(ends[, "lwr"]))
  expect_equal(as.vector(insight::get_predicted(fit, predict = "link")), unname(predict(fit)))
  expect_error(insight::get_predicted(fit, predict = "prediction"), "simulate",
               class = "elbo_error_not_available")
  ordered <- fit_glmm(o ~ x + (1 | g), d, family = cumulative())
  expect_equal(nrow(insight::get_predicted(ordered)), 3 * 60)
  skip_if_not_installed("performance")
  expect_error(performance::check_predictions(ordered), "ordered",
               class = "elbo_error_not_available")
})

test_that("variances of other responses are those of Nakagawa, Johnson & Schielzeth (2017)", {
  skip_if_not_installed("performance")
  skip_if_not_installed("lme4")
  formula <- cbind(incidence, size - incidence) ~ period + (1 | herd)
  fit <- fit_glmm(formula, lme4::cbpp, binomial())
  peer <- lme4::glmer(formula, lme4::cbpp, binomial)
  # glmer has Laplace's estimates, whose sd is some percent off.
  expect_equal(unlist(insight::get_variance(fit)), unlist(insight::get_variance(peer)),
               tolerance = 0.02)
  expect_equal(insight::get_variance(fit)$var.residual, pi^2 / 3)
  expect_equal(unlist(performance::r2(fit)), unlist(performance::r2(peer)), tolerance = 0.02)
  counts <- fit_glmm(count ~ 1 + (1 | spray), InsectSprays, family = poisson())
  random <- theta(counts)[["sd__(Intercept)|spray"]]^2
  residual <- log(1 + 1 / mean(InsectSprays$count))
  expect_equal(performance::icc(counts)$ICC_adjusted, random / (random + residual))
  expect_equal(performance::model_performance(counts)$ICC, random / (random + residual))
  looser <- update(counts, family = negative_binomial())
  expect_equal(insight::get_variance(looser)$var.residual,
               log(1 + 1 / mean(InsectSprays$count) + 1 / theta(looser)[["size"]]))
})

test_that("tables have thresholds without a test", {
  skip_if_not_installed("parameters")
  set.seed(1)
  d <- data.frame(x = rnorm(60), g = gl(6, 10))
  d$o <- cut(d$x + rnorm(6)[d$g] + rnorm(60), 3, labels = 1:3, ordered_result = TRUE)
  fit <- fit_glmm(o ~ x + (1 | g), d, family = cumulative())
  expect_no_warning(table <- parameters::model_parameters(fit, effects = "fixed"))
  expect_identical(is.na(table$p), c(FALSE, TRUE, TRUE))
  # Odds ratios are of coefficients.
  both <- tidy(fit, exponentiate = TRUE)
  expect_equal(both$estimate[1:3], unname(c(exp(coef(fit)), theta(fit)[3:4])))
})
