test_that("posterior predictions are of fits by method vb", {
  posteriors <- c("vb", "regression_vb")
  others <- setdiff(table_kinds, posteriors)
  expect_tool("posterior_epred()", function(fit) {
    draws <- rstantools::posterior_epred(fit, ndraws = 3)
    stopifnot(is.matrix(draws), nrow(draws) == 3, ncol(draws) == nrow(model.frame(fit)))
  }, works = posteriors, refused = others)
  expect_tool("posterior_predict()", function(fit) rstantools::posterior_predict(fit, draws = 3),
              works = posteriors, refused = others)
  expect_tool("posterior_linpred()", function(fit) rstantools::posterior_linpred(fit, draws = 3),
              works = posteriors, refused = others)
  expect_tool("log_lik()", function(fit) rstantools::log_lik(fit, ndraws = 3),
              works = posteriors, refused = others)
  expect_tool("posterior_interval()", function(fit) rstantools::posterior_interval(fit),
              works = posteriors, refused = others)
  expect_tool("predictive_interval()",
              function(fit) rstantools::predictive_interval(fit, ndraws = 9),
              works = posteriors, refused = others)
  expect_tool("predictive_error()", function(fit) rstantools::predictive_error(fit, ndraws = 3),
              works = posteriors, refused = others)
  expect_tool("bayes_R2()", function(fit) rstantools::bayes_R2(fit, ndraws = 3), works = "vb",
              refused = c("regression_vb", others))
  expect_tool("prior_summary()", function(fit) rstantools::prior_summary(fit), works = table_kinds)
})

test_that("intervals of draws are those of confint()", {
  fit <- fit_of("vb")
  drawn <- rstantools::posterior_interval(fit, prob = 0.95, ndraws = 4000, seed = 1)
  sd <- sqrt(diag(vcov(fit)))
  # The 2.5 % quantile of 4000 normal draws is off by .042 sd; four of these.
  limits <- cbind(coef(fit) - 1.96 * sd, coef(fit) + 1.96 * sd)
  expect_true(all(abs(drawn[names(sd), ] - limits) < 0.17 * sd))
})
