# The table of parameters: its columns make the names, whatever characters are in them.

test_that("a mixed model has a row for each entry of theta, in its order", {
  fit <- fit_glmm(distance ~ age + s(age, k = 3) + (age | Subject), as.data.frame(nlme::Orthodont),
                  sigma = ~ Sex)
  table <- parameters_of(fit)
  expect_identical(names(table), c("name", "block", "role", "group", "term1", "term2", "component",
                                   "fixed", "boundary"))
  expect_identical(table$name, names(theta(fit)))
  expect_identical(table$name, c("(Intercept)", "age", "sd__(Intercept)|Subject", "sd__age|Subject",
                                 "cor__(Intercept).age|Subject", "sd__s(age)", "sigma|Male",
                                 "sigma|Female"))
  expect_identical(table$role, c("coefficient", "coefficient", "sd", "sd", "cor", "sd", "sd", "sd"))
  expect_identical(table$term1, c("(Intercept)", "age", "(Intercept)", "age", "(Intercept)",
                                  "s(age)", "Male", "Female"))
  expect_identical(table$term2[5], "age")
  expect_identical(table$group, c(NA, NA, "Subject", "Subject", "Subject", NA, NA, NA))
  expect_true(all(is.na(table$component)))
  expect_identical(which_parameters(fit, "sd", "age"), 4L)
  expect_identical(which_parameters(fit, c("sd", "cor"), "(Intercept)"), c(3L, 5L))
})

test_that("a mixture has them for each component", {
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEI")
  table <- parameters_of(fit)
  expect_identical(table$name, names(theta(fit)))
  expect_identical(which_parameters(fit, "mean", "waiting", component = 2), 6L)
  expect_identical(table$name[table$block == "cor"],
                   c("cor__eruptions.waiting|1", "cor__eruptions.waiting|2"))
  expect_identical(table$fixed, table$block == "cor") # axes of the covariance model
  expect_identical(is_coefficient(fit), table$block == "mean")
})

test_that("nothing is read out of a name: dots, bars and underscores are as good as letters", {
  data <- nlme::Orthodont
  data <- data.frame(`sd__a|1` = data$distance, `b.c|2` = data$age, check.names = FALSE)
  fit <- fit_mixture(cbind(`sd__a|1`, `b.c|2`) ~ 1, data, k = 2, covariance = "VVV")
  labels <- parameter_labels(fit)
  expect_identical(unname(labels[which_parameters(fit, "cor")]),
                   paste("cor sd__a|1, b.c|2, component", 1:2))
  expect_identical(colnames(components(fit)$mean), names(data))
  tidied <- tidy(fit)
  expect_identical(tidied$term[tidied$component %in% 2],
                   c("proportion", "mean.sd__a|1", "mean.b.c|2", "sd__sd__a|1", "sd__b.c|2",
                     "cor__sd__a|1.b.c|2"))
})

test_that("the level of a factor may be an empty string", {
  rows <- parameter_rows("sigma", c("", "b"))
  expect_identical(rows$name, c("sigma|", "sigma|b"))
  expect_identical(nrow(parameter_rows("beta", character())), 0L)
})
