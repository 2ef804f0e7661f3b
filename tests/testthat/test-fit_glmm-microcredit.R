# Household profits of the seven microcredit trials (Meager 2019): 35,303 rows, seven sites
# whose residual standard deviations run from 3 to 1,040. The likelihood has several local
# maxima; the highest known is on the boundary, with perfectly correlated site effects.

test_that("the seven trials reach the highest known likelihood, on the boundary", {
  skip_on_cran()
  d <- read_shared("microcredit", "microcredit_profit.csv.gz")
  d$site <- factor(d$site)
  fit <- fit_glmm(profit_usd_ppp ~ treatment + (treatment | site), d, sigma = ~ site)
  expect_identical(convergence(fit)$status, "converged")
  # nlme::lme with varIdent stops at -256732.83; there is a local maximum at -256832.1.
  expect_equal(as.numeric(logLik(fit)), -256730.2476, tolerance = 5e-5 / 256730)
  expect_equal(unname(coef(fit)), c(83.194, 22.674), tolerance = 1e-3 / 22)
  expect_equal(abs(theta(fit)[["cor__(Intercept).treatment|site"]]), 1, tolerance = 1e-9)
  at_boundary <- parameters_of(fit)$name[parameters_of(fit)$boundary]
  expect_true("cor__(Intercept).treatment|site" %in% at_boundary)
})
