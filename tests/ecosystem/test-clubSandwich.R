fit <- fit_of("chicks")

test_that("every type has the values of the lmer fit", {
  peer <- fit_of("chicks_lmer")
  for (type in c("CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3")) {
    expect_equal(as.matrix(clubSandwich::vcovCR(fit, type = type)),
                 as.matrix(clubSandwich::vcovCR(peer, type = type)),
                 tolerance = 1e-4, ignore_attr = TRUE, label = type)
  }
  barn <- as.integer(chicks$Chick) %/% 10
  expect_equal(as.matrix(clubSandwich::vcovCR(fit, cluster = barn, type = "CR2")),
               as.matrix(clubSandwich::vcovCR(peer, cluster = barn, type = "CR2")),
               tolerance = 1e-4, ignore_attr = TRUE)
})

test_that("tests and intervals have the values of the lmer fit", {
  peer <- fit_of("chicks_lmer")
  columns <- function(x) as.data.frame(unclass(x)[vapply(x, is.numeric, NA)])
  same <- function(a, b) expect_equal(columns(a), columns(b), tolerance = 1e-3, ignore_attr = TRUE)
  same(clubSandwich::coef_test(fit, "CR2"), clubSandwich::coef_test(peer, "CR2"))
  same(clubSandwich::conf_int(fit, "CR2"), clubSandwich::conf_int(peer, "CR2"))
  flat <- clubSandwich::constrain_zero(6:8)
  same(clubSandwich::Wald_test(fit, flat, "CR2"), clubSandwich::Wald_test(peer, flat, "CR2"))
})

test_that("precision weights and known standard errors are in the working covariance", {
  # Weights of 2 are two rows whose mean is the response.
  skip_if_not_installed("metafor")
  ours <- fit_of("meta")
  peer <- metafor::rma(effect, sei = se, data = schools, method = "REML",
                       control = list(threshold = 1e-10, maxiter = 1000))
  expect_equal(as.matrix(clubSandwich::vcovCR(ours, type = "CR2")),
               as.matrix(clubSandwich::vcovCR(peer, cluster = schools$school, type = "CR2")),
               tolerance = 1e-4, ignore_attr = TRUE)
  weighted <- withr::with_seed(1, transform(orthodont, w = runif(108, 0.5, 2)))
  ours <- fit_glmm(distance ~ age + (1 | Subject), weighted, weights = w)
  # clubSandwich has no weighted lmer; nlme's variance function says the same.
  peer <- nlme::lme(distance ~ age, weighted, ~ 1 | Subject, weights = nlme::varFixed(~ 1 / w),
                    method = "ML")
  expect_equal(as.matrix(clubSandwich::vcovCR(ours, type = "CR2")),
               as.matrix(clubSandwich::vcovCR(peer, type = "CR2")) , tolerance = 1e-3,
               ignore_attr = TRUE)
})

test_that("clusters that divide groups are refused", {
  expect_error(clubSandwich::vcovCR(fit, cluster = chicks$Time, type = "CR2"),
               "divides the group 1 of `Chick`", class = "elbo_error_argument")
  expect_error(clubSandwich::vcovCR(fit, cluster = 1:3, type = "CR2"), "578 rows",
               class = "elbo_error_argument")
  expect_error(clubSandwich::vcovCR(fit), "`type`", class = "elbo_error_argument")
})

test_that("clubSandwich meets every kind of fit", {
  likelihood <- c("em", "reml", "meta")
  expect_tool("vcovCR()", function(fit) clubSandwich::vcovCR(fit, type = "CR2"),
              works = likelihood, refused = setdiff(table_kinds, likelihood))
  expect_tool("coef_test()", function(fit) clubSandwich::coef_test(fit, "CR2"),
              works = likelihood, refused = setdiff(table_kinds, likelihood))
})
