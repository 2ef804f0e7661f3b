# Simultaneous p-values and quantiles come from random quasi-Monte Carlo, to three digits.
flat <- function() fit_glmm(weight ~ Time + Diet + (Time | Chick), chicks, method = "reml")
flat_lmer <- function() lmer(weight ~ Time + Diet + (Time | Chick), chicks)

test_that("all pairs of levels are compared as for lmer", {
  ours <- multcomp::glht(flat(), linfct = multcomp::mcp(Diet = "Tukey"))
  theirs <- multcomp::glht(flat_lmer(), linfct = multcomp::mcp(Diet = "Tukey"))
  expect_identical(ours$linfct, theirs$linfct)
  a <- summary(ours)$test
  b <- summary(theirs)$test
  expect_equal(a$coefficients, b$coefficients, tolerance = 1e-3)
  expect_equal(a$sigma, b$sigma, tolerance = 1e-3)
  expect_equal(as.vector(a$pvalues), as.vector(b$pvalues), tolerance = 0.02)
  expect_equal(confint(ours)$confint, confint(theirs)$confint, tolerance = 0.02,
               ignore_attr = TRUE)
  expect_equal(summary(ours, test = multcomp::adjusted("bonferroni"))$test$pvalues,
               summary(theirs, test = multcomp::adjusted("bonferroni"))$test$pvalues,
               tolerance = 1e-3, ignore_attr = TRUE)
})

test_that("hypotheses may be written, and covariances given", {
  fit <- fit_of("chicks")
  written <- multcomp::glht(fit, linfct = c("Diet2 - Diet3 = 0", "Time = 5"))
  expect_equal(unname(coef(written)), unname(c(coef(fit)["Diet2"] - coef(fit)["Diet3"],
                                               coef(fit)["Time"])))
  robust <- multcomp::glht(fit, linfct = "Time = 0", vcov. = sandwich::vcovCL)
  expect_equal(unname(sqrt(diag(vcov(robust)))), unname(sqrt(sandwich::vcovCL(fit)[2, 2])))
})

test_that("multcomp meets every kind of fit", {
  expect_tool("glht()", function(fit) {
    K <- diag(length(coef(fit)))[1, , drop = FALSE]
    summary(multcomp::glht(fit, linfct = K))
  }, works = table_kinds)
  # It says that Sex is in an interaction.
  expect_tool("glht(mcp())", function(fit) {
    suppressWarnings(multcomp::glht(fit, linfct = multcomp::mcp(Sex = "Tukey")))
  }, works = c("em", "reml", "vb", "joint"))
})
