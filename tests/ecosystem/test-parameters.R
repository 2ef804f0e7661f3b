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
  # Later it is another name of insight::get_df().
  if (packageVersion("parameters") < "0.25") {
    expect_equal(parameters::degrees_of_freedom(fit), unname(table[, "df"]))
  }
  limits <- parameters::ci(fit)
  expect_equal(cbind(limits$CI_low, limits$CI_high), unname(confint(fit, "beta_")))
  normal <- parameters::p_value(fit, method = "normal")$p
  expect_equal(normal, unname(2 * pnorm(-abs(table[, "t value"]))))
  expect_error(parameters::p_value(fit, vcov = "HC0"), class = "elbo_error_not_available")
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

test_that("another covariance is taken, or refused, in every table", {
  chicks <- fit_of("chicks")
  by_group <- sqrt(diag(as.matrix(clubSandwich::vcovCR(chicks, type = "CR2"))))
  table <- parameters::model_parameters(chicks, vcov = "CR2", effects = "fixed")
  expect_equal(table$SE, unname(by_group))
  expect_equal(table$t, unname(coef(chicks) / by_group), ignore_attr = TRUE)
  expect_equal(table$p, unname(2 * pt(-abs(coef(chicks) / by_group), fit_df(chicks))),
               ignore_attr = TRUE)
  half <- qt(0.975, fit_df(chicks)) * by_group
  expect_equal(table$CI_high, unname(coef(chicks) + half), ignore_attr = TRUE)
  expect_equal(parameters::standard_error(chicks, vcov = "CR2")$SE, unname(by_group))
  expect_equal(parameters::p_value(chicks, vcov = "CR2")$p, table$p)
  expect_equal(parameters::ci(chicks, vcov = "CR2")$CI_high, table$CI_high)
  # The rows of the variances are as they were.
  all <- parameters::model_parameters(chicks, vcov = ~ Chick)
  plain <- parameters::model_parameters(chicks)
  expect_equal(all$SE[9:12], plain$SE[9:12])
  expect_equal(all$SE[1:8], unname(sqrt(diag(sandwich::vcovCL(chicks)))))
  expect_error(parameters::model_parameters(chicks, vcov = "HC0"), "not independent",
               class = "elbo_error")
  expect_error(parameters::model_parameters(mixture, vcov = "HC0"), "sandwich",
               class = "elbo_error")
  robust <- parameters::model_parameters(mixture, vcov = "sandwich")
  se <- sqrt(diag(vcov(mixture, type = "sandwich")))
  expect_equal(robust$SE[match(names(se), robust$Parameter)], unname(se))
})

test_that("arguments that change numbers are honoured or refused", {
  table <- coef(summary(fit))
  normal <- parameters::model_parameters(fit, effects = "fixed", ci_method = "normal")
  expect_equal(normal$p, unname(2 * pnorm(-abs(table[, "t value"]))))
  expect_equal(normal$CI_low, unname(table[, 1] - qnorm(0.975) * table[, 2]))
  adjusted <- parameters::model_parameters(fit, effects = "fixed", p_adjust = "holm")
  expect_equal(adjusted$p, p.adjust(unname(table[, ncol(table)]), "holm"))
  expect_identical(parameters::model_parameters(fit, keep = "^age$")$Parameter, "age")
  expect_false("age" %in% parameters::model_parameters(fit, drop = "^age$")$Parameter)
  standard <- parameters::model_parameters(fit, effects = "fixed", standardize = "refit")
  expect_equal(standard$Coefficient, parameters::standardize_parameters(fit)$Std_Coefficient)
  for (arguments in list(list(ci_method = "kenward"), list(bootstrap = TRUE),
                         list(standardize = "basic"), list(group_level = TRUE))) {
    expect_error(do.call(parameters::model_parameters, c(list(fit), arguments)),
                 class = "elbo_error_argument")
  }
})
