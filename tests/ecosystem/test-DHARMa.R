scaled <- function(fit, ...) suppressWarnings(DHARMa::simulateResiduals(fit, ...))$scaledResiduals

test_that("residuals are those of lmer", {
  fit <- fit_of("em")
  peer <- fit_of("em_lmer")
  # The same draws from the same seed, at estimates that differ by 1e-5.
  ours <- scaled(fit, n = 100, seed = 1)
  expect_lt(mean(abs(ours - scaled(peer, n = 100, seed = 1))), 0.2)
  expect_gt(suppressWarnings(ks.test(ours, punif)$p.value), 1e-4)
  refitted <- scaled(fit, n = 5, refit = TRUE)
  expect_false(anyNA(refitted))
})

test_that("DHARMa meets every kind of fit of one response", {
  expect_tool("simulateResiduals()", function(fit) stopifnot(!anyNA(scaled(fit, n = 20))),
              works = c(mixed_kinds, "regression", "regression_vb", "poisson"),
              refused = c("normal", "classes", "curves"))
  expect_tool("simulateResiduals(refit = TRUE)",
              function(fit) stopifnot(!anyNA(scaled(fit, n = 3, refit = TRUE))),
              works = c("em", "reml", "vb", "meta", "regression"))
})
