fit <- fit_of("chicks")

# marginaleffects warns of arguments that it does not know of a class, and hands them on.
quiet <- function(expr) {
  withCallingHandlers(expr, warning = function(w) {
    known <- grepl("not known to be supported|only takes into account", conditionMessage(w))
    if (known) tryInvokeRestart("muffleWarning")
  })
}

numbers <- function(x) as.data.frame(x)[c("estimate", "std.error")]

expect_as_lmer <- function(use, tolerance = 1e-4) {
  ours <- quiet(use(fit))
  peer <- quiet(use(fit_of("chicks_lmer")))
  expect_equal(numbers(ours), numbers(peer), tolerance = tolerance)
}

test_that("predictions, slopes and comparisons are those of lmer", {
  library(marginaleffects)
  expect_as_lmer(function(fit) avg_predictions(fit, re.form = NA))
  expect_as_lmer(function(fit) avg_predictions(fit, by = "Diet", re.form = NA))
  expect_as_lmer(function(fit) avg_predictions(fit, variables = "Diet", re.form = NA))
  # Slopes are differences of predictions, 1e-4 of the range apart.
  expect_as_lmer(function(fit) avg_slopes(fit, variables = "Time", re.form = NA), 1e-3)
  expect_as_lmer(function(fit) slopes(fit, variables = "Time", by = "Diet", re.form = NA), 1e-3)
  expect_as_lmer(function(fit) avg_comparisons(fit, re.form = NA), 1e-3)
  expect_as_lmer(function(fit) hypotheses(fit))
  expect_as_lmer(function(fit) hypotheses(fit, "Time = Diet2"))
})

test_that("rows that marginaleffects adds are taken away again", {
  diet <- chicks[chicks$Diet == 1, ]
  expect_as_lmer(function(fit) avg_predictions(fit, newdata = diet, re.form = NA))
  expect_as_lmer(function(fit) avg_predictions(fit, newdata = diet, re.form = NULL))
  expect_equal(quiet(avg_predictions(fit, newdata = diet))$estimate,
               mean(predict(fit, diet, re.form = NA)))
  expect_identical(nrow(predictions(fit, newdata = "mean")), 1L)
  expect_as_lmer(function(fit) {
    predictions(fit, newdata = datagrid(Diet = c("1", "2"), Time = 10), re.form = NA)
  })
  mixture <- fit_of("regression")
  arm <- mixed_lines()[mixed_lines()$arm == "a", ]
  expect_equal(avg_predictions(mixture, newdata = arm)$estimate,
               mean(predict(mixture, arm, type = "response")))
  expect_identical(nrow(predictions(mixture, newdata = datagrid(arm = "a", x1 = 0))), 1L)
})

test_that("the latent variables are in, where re.form says so", {
  expect_equal(quiet(predictions(fit, re.form = NULL))$estimate, unname(predict(fit)))
  expect_equal(predictions(fit)$estimate, unname(predict(fit, re.form = NA)))
})

test_that("vcov is what it is called, or refused", {
  se <- function(vcov) avg_slopes(fit, variables = "Time", vcov = vcov)$std.error
  gradient <- c(0, 1, 0, 0, 0, colMeans(model.matrix(fit)[, 3:5]))
  by_hand <- function(V) sqrt(drop(gradient %*% V %*% gradient))
  expect_equal(se(TRUE), by_hand(vcov(fit)), tolerance = 1e-3)
  expect_equal(se(~ Chick), by_hand(sandwich::vcovCL(fit, ~ Chick)), tolerance = 1e-3)
  expect_equal(se(sandwich::vcovCL), se(~ Chick))
  expect_equal(se(4 * vcov(fit)), 2 * se(TRUE))
  expect_error(se("HC0"), "not independent", class = "elbo_error")
  expect_error(se("HC3"), "not independent", class = "elbo_error")
  expect_null(se(FALSE))
  skip_if_not_installed("clubSandwich")
  expect_equal(avg_slopes(fit, variables = "Time", vcov = as.matrix(
    clubSandwich::vcovCR(fit, type = "CR2")
  ))$std.error, by_hand(as.matrix(clubSandwich::vcovCR(fit, type = "CR2"))), tolerance = 1e-3)
})

test_that("standard errors of a mixture are by the delta method", {
  mixture <- fit_of("regression")
  found <- predictions(mixture, newdata = datagrid(x1 = 1, arm = "b"))
  value <- function(b) {
    predict(set_coef.elbo_fit(mixture, b), data.frame(x1 = 1, arm = "b"), type = "response")
  }
  skip_if_not_installed("numDeriv")
  slope <- numDeriv::grad(value, coef(mixture))
  expect_equal(found$std.error, sqrt(drop(slope %*% vcov(mixture) %*% slope)), tolerance = 1e-3)
})

test_that("marginaleffects meets every kind of fit", {
  lines <- c("regression", "regression_vb", "poisson", "curves")
  covariate <- function(fit) setdiff(all.vars(formula(fit, fixed.only = TRUE)[[3]]), "arm")[1]
  expect_tool("avg_predictions()", function(fit) avg_predictions(fit), works = table_kinds)
  expect_tool("avg_slopes()", function(fit) avg_slopes(fit, variables = covariate(fit)),
              works = c("em", "reml", "vb", "joint", lines))
  expect_tool("avg_comparisons()", function(fit) avg_comparisons(fit, variables = covariate(fit)),
              works = c("em", "reml", "vb", "joint", lines))
  expect_tool("hypotheses()", function(fit) hypotheses(fit), works = table_kinds)
  expect_tool("vcov = \"HC0\"", function(fit) avg_predictions(fit, vcov = "HC0"),
              refused = table_kinds)
})
