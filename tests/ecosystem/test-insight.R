fit <- fit_of("em")

mixture <- fit_of("regression")

test_that("insight reads the model", {
  formulas <- insight::find_formula(fit)
  expect_equal(formulas$conditional, distance ~ age * Sex, ignore_formula_env = TRUE)
  expect_equal(formulas$random, ~ age | Subject, ignore_formula_env = TRUE)
  expect_equal(insight::get_parameters(fit)$Estimate, unname(coef(fit)))
  expect_equal(insight::get_statistic(fit)$Statistic, unname(coef(summary(fit))[, "t value"]))
  expect_true(insight::model_info(fit)$is_linear)
  expect_true(insight::model_info(fit)$is_mixed)
  expect_equal(insight::get_data(fit), orthodont[c("distance", "age", "Sex", "Subject")],
               ignore_attr = TRUE)
  expect_equal(insight::get_df(fit, type = "residual"), df.residual(fit))
  expect_identical(insight::find_response(fit), "distance")
  expect_identical(insight::find_random(fit, flatten = TRUE), "Subject")
})

test_that("insight finds formula, parameters and statistics", {
  expect_identical(deparse(insight::find_formula(mixture)$conditional), "y ~ x1 + arm")
  expect_equal(insight::get_parameters(mixture)$Estimate, unname(coef(mixture)),
               ignore_attr = "fixed")
  expect_equal(insight::get_statistic(mixture)$Statistic,
               unname(coef(summary(mixture))[, "z value"]))
  expect_true(insight::model_info(mixture)$is_mixture)
  expect_equal(insight::get_df(mixture, type = "residual"), df.residual(mixture))
})

test_that("model_info() has every flag that insight gives to lm, and lmer's values", {
  ours <- insight::model_info(fit)
  theirs <- insight::model_info(fit_of("em_lmer"))
  expect_identical(ours[names(theirs)], theirs)
  expect_identical(names(insight::model_info(lm(distance ~ age, orthodont))),
                   intersect(names(insight::model_info(mixture)),
                             names(insight::model_info(lm(distance ~ age, orthodont)))))
  expect_true(insight::model_info(fit_of("meta"))$is_meta)
  expect_true(insight::model_info(fit_of("poisson"))$is_poisson)
  expect_false(insight::model_info(fit_of("curves"))$is_mixed)
})

test_that("variances are those of lmer", {
  expect_equal(insight::get_variance(fit), insight::get_variance(fit_of("em_lmer")),
               tolerance = 1e-3)
  expect_equal(insight::get_variance(fit, "residual")[[1]], sigma(fit)^2)
  three <- fit_glmm(weight ~ Time + (Time + I(Time^2) | Chick), chicks, method = "reml")
  rho <- insight::get_variance(three)$cor.slopes
  expect_equal(unname(rho), unname(theta(three)["cor__Time.I(Time^2)|Chick"]))
})

test_that("degrees of freedom by their names", {
  expect_identical(insight::get_df(fit, "wald"), df.residual(fit))
  expect_identical(insight::get_df(fit, "normal"), Inf)
  expect_equal(insight::get_df(fit, "satterthwaite"), coef(summary(fit))[, "df"])
  expect_identical(insight::get_df(fit, "model"), 8L)
  expect_error(insight::get_df(fit, "kenward"), class = "elbo_error_argument")
  expect_error(insight::get_df(fit, "wlad"), class = "elbo_error_argument")
  expect_identical(insight::get_df(mixture, "wald"), Inf)
})

test_that("predictions are predict()'s", {
  at <- data.frame(age = c(9, 13), Sex = "Female", Subject = c("F01", "F02"))
  known <- as.data.frame(insight::get_predicted(fit, data = at))
  by_hand <- predict(fit, at, se.fit = TRUE, interval = "confidence")
  expect_equal(as.matrix(known[c("Predicted", "CI_low", "CI_high")]), by_hand$fit,
               ignore_attr = TRUE)
  expect_equal(known$SE, unname(by_hand$se.fit))
  population <- insight::get_predicted(fit, data = at, include_random = FALSE, ci = NULL)
  expect_equal(as.vector(population), unname(predict(fit, at, re.form = NA)))
  expect_equal(as.vector(insight::get_predicted(fit)), unname(fitted(fit)))
  several <- as.data.frame(insight::get_predicted(fit_of("normal")))
  expect_identical(unique(several$Response), c("eruptions", "waiting"))
})

test_that("grids are of the covariates", {
  word <- if (packageVersion("insight") < "0.19.9") "at" else "by"
  grid <- do.call(insight::get_datagrid, c(list(fit), stats::setNames("Sex", word)))
  expect_identical(as.character(grid$Sex), c("Male", "Female"))
  expect_identical(grid$age, c(11, 11))
  expect_identical(attr(grid, "model"), fit)
  expect_tool("get_datagrid()", function(fit) insight::get_datagrid(fit),
              works = setdiff(table_kinds, c("meta", "normal", "classes")),
              refused = c("meta", "normal", "classes"))
})

test_that("insight meets every kind of fit", {
  expect_tool("get_data()", function(fit) {
    stopifnot(identical(names(insight::get_data(fit)), names(original_data(fit))))
  }, works = table_kinds)
  expect_tool("get_predicted()", function(fit) insight::get_predicted(fit), works = table_kinds)
  expect_tool("get_variance()", function(fit) insight::get_variance(fit), works = mixed_kinds,
              refused = mixture_kinds)
  expect_tool("is_converged()", function(fit) stopifnot(insight::is_converged(fit)),
              works = table_kinds)
  expect_tool("get_priors()", function(fit) insight::get_priors(fit), works = table_kinds)
})
