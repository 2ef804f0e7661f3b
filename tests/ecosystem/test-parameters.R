fit <- fit_of("em")

mixture <- fit_of("regression")

test_that("the table of parameters", {
  table <- parameters::model_parameters(fit)
  expect_true(all(c("Parameter", "Coefficient", "SE", "CI", "CI_low", "CI_high", "t", "p",
                    "Effects", "Group") %in% names(table)))
  expect_s3_class(table, c("parameters_model", "see_parameters_model", "data.frame"),
                  exact = TRUE)
  expect_equal(table$Coefficient, unname(c(theta(fit))), ignore_attr = TRUE)
  expect_output(print(table), "Random Effects")
})

test_that("the table of a mixture", {
  table <- parameters::model_parameters(mixture)
  expect_identical(table$Parameter, names(theta(mixture)))
  expect_equal(table$CI_low, unname(confint(mixture)[, 1]))
})

test_that("without intervals there are no columns of them", {
  table <- parameters::model_parameters(fit, ci = NULL)
  expect_false(any(grepl("^CI", names(table))))
  expect_output(print(table), "Random Effects")
  expect_false(any(grepl("^CI", names(parameters::model_parameters(mixture, ci = NULL)))))
  expect_error(parameters::model_parameters(fit, ci = 2), class = "elbo_error_argument")
})

test_that("tests of coefficients are those of summary()", {
  table <- coef(summary(fit))
  expect_equal(parameters::p_value(fit)$p, unname(table[, ncol(table)]))
  expect_equal(parameters::degrees_of_freedom(fit), unname(table[, "df"]))
  limits <- parameters::ci(fit)
  expect_equal(cbind(limits$CI_low, limits$CI_high), unname(confint(fit, "beta_")))
  normal <- parameters::p_value(fit, method = "normal")$p
  expect_equal(normal, unname(2 * pnorm(-abs(table[, "t value"]))))
  expect_error(parameters::p_value(fit, vcov = "HC0"), class = "elbo_error_argument")
})

test_that("standardised coefficients are those of lmer", {
  ours <- parameters::standardize_parameters(fit)
  theirs <- parameters::standardize_parameters(fit_of("em_lmer"))
  expect_equal(ours$Std_Coefficient, theirs$Std_Coefficient, tolerance = 1e-4)
  basic <- parameters::standardize_parameters(fit, method = "basic")
  theirs <- parameters::standardize_parameters(fit_of("em_lmer"), method = "basic")
  expect_equal(basic$Std_Coefficient, theirs$Std_Coefficient, tolerance = 1e-4)
  # A standard error is in the unit of the response.
  meta <- fit_of("meta")
  unit <- sd(schools$effect)
  standard <- datawizard::standardize(meta)
  expect_equal(sqrt(diag(vcov(standard))), sqrt(diag(vcov(meta))) / unit, tolerance = 1e-6)
})

test_that("parameters meets every kind of fit", {
  expect_tool("model_parameters()", function(fit) parameters::model_parameters(fit),
              works = table_kinds)
  expect_tool("standardize_parameters()",
              function(fit) parameters::standardize_parameters(fit, verbose = FALSE),
              works = setdiff(table_kinds, c("joint", "poisson", "curves")), refused = "joint")
  expect_tool("p_value()", function(fit) parameters::p_value(fit), works = table_kinds)
})
