# Three imputations by hand of what is missing, so that nothing depends on how mice imputes.
imputed <- function() {
  d <- withr::with_seed(1, {
    d <- transform(chicks[c("weight", "Time", "Diet", "Chick")], Chick = as.integer(Chick))
    d$weight[sample(nrow(d), 60)] <- NA
    d
  })
  suppressWarnings(mice::mice(d, m = 3, maxit = 1, printFlag = FALSE, seed = 1,
                              method = c("norm", "", "", "")))
}

test_that("pool() has the numbers of lmer", {
  skip_if_not_installed("broom.mixed")
  loadNamespace("broom.mixed")
  imp <- imputed()
  ours <- with(imp, fit_glmm(weight ~ Time * Diet + (1 | Chick), method = "reml"))
  peer <- with(imp, lme4::lmer(weight ~ Time * Diet + (1 | Chick)))
  a <- summary(mice::pool(ours))
  b <- summary(mice::pool(peer))
  expect_identical(as.character(a$term), as.character(b$term))
  columns <- c("estimate", "std.error", "statistic", "df", "p.value")
  expect_equal(a[columns], b[columns], tolerance = 1e-4, ignore_attr = TRUE)
})

test_that("a mixture is pooled by component", {
  imp <- imputed()
  ours <- with(imp, fit_mixture(weight ~ Time, k = 2, unit = ~ Chick))
  pooled <- summary(mice::pool(ours))
  average <- rowMeans(vapply(ours$analyses, coef, numeric(4)))
  coefficients <- pooled[pooled$term %in% c("(Intercept)", "Time"), ]
  expect_equal(coefficients$estimate, unname(average), tolerance = 1e-8)
})

test_that("models are compared as by lmer, or the random terms are not lost", {
  imp <- imputed()
  big <- with(imp, fit_glmm(weight ~ Time + Diet + (1 | Chick)))
  small <- with(imp, fit_glmm(weight ~ Time + (1 | Chick)))
  expect_error(suppressWarnings(mice::D3(big, small)), "random terms", class = "elbo_error_formula")
  skip_if_not_installed("mitml")
  big_peer <- with(imp, lme4::lmer(weight ~ Time + Diet + (1 | Chick), REML = FALSE))
  small_peer <- with(imp, lme4::lmer(weight ~ Time + (1 | Chick), REML = FALSE))
  expect_equal(mice::D1(big, small)$result, mice::D1(big_peer, small_peer)$result,
               tolerance = 1e-3)
  expect_equal(mice::D2(big, small)$result, mice::D2(big_peer, small_peer)$result,
               tolerance = 1e-3)
})

test_that("mice meets every kind of fit", {
  # Twice the same fit: nothing is added to its variance.
  expect_tool("pool()", function(fit) {
    pooled <- summary(mice::pool(list(fit, fit)))
    stopifnot(nrow(pooled) > 0)
  }, works = table_kinds)
})
