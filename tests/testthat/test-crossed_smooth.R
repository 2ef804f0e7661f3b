# Smooth terms beside several grouping factors: against V in full, mgcv, and the fit of one factor.

curve_data_of <- function(seed, n = 200) {
  d <- crossed_data(seed, n)
  d$z <- runif(n)
  d$y <- d$y + sin(6 * d$z)
  d
}

test_that("curves beside several factors agree with V in full", {
  formulas <- list(y ~ x + s(z) + (1 | a) + (1 | b), y ~ s(z, k = 6) + s(x) + (x | a) + (1 | b))
  for (formula in formulas) {
    for (method in c("em", "reml")) {
      fit <- fit_glmm(formula, curve_data_of(1), method = method, weights = w)
      parts <- dense_parts(fit)
      W <- solve(parts$V)
      C <- solve(t(parts$X) %*% W %*% parts$X)
      expect_equal(log_evidence_of(fit), dense_log_likelihood(fit), tolerance = 1e-9)
      expect_equal(vcov(fit), C, tolerance = 1e-8, ignore_attr = TRUE)
      r <- parts$y - parts$X %*% coef(fit)
      variance <- theta(fit)[parameters_of(fit)$block == "smooth"][smooth_rows(fit)]^2
      b <- variance * (t(design_of(fit)$B) %*% W %*% r)
      expect_equal(smooth_of(fit)$mean, drop(b), tolerance = 1e-7)
      # The maximum: steps of 1 % each way lead down.
      for (i in which(parameters_of(fit)$block != "beta" & theta_of(fit) > 0)) {
        for (step in c(0.99, 1.01)) {
          theta <- replace(theta_of(fit), i, theta_of(fit)[i] * step)
          expect_lt(dense_log_likelihood(fit, theta), log_evidence_of(fit))
        }
      }
    }
  }
})

test_that("curves beside several factors are those of mgcv", {
  skip_if_not_installed("mgcv")
  d <- curve_data_of(3, 400)
  fit <- fit_glmm(y ~ x + s(z) + (1 | a) + (1 | b), d, method = "reml")
  knots <- list(z = smooth_knots(d$z, NULL, "s(z)"))
  s <- mgcv::s
  gam <- mgcv::gam(y ~ x + s(z, bs = "cr") + s(a, bs = "re") + s(b, bs = "re"), data = d,
                   method = "REML", knots = knots)
  # gam() stops at a relative change of the score of 1e-7, here 4e-5 from our sd of b
  expect_equal(theta(fit)[["x"]], coef(gam)[["x"]], tolerance = 1e-6)
  expect_equal(sigma(fit), sqrt(gam$sig2), tolerance = 1e-6)
  expect_equal(curve_summary(fit)$edf, sum(gam$edf[grep("s(z)", names(coef(gam)), fixed = TRUE)]),
               tolerance = 1e-4)
  expect_equal(unname(fitted(fit)), unname(as.vector(fitted(gam))), tolerance = 1e-4)
})

test_that("a factor held at next to nothing leaves the curve of one factor", {
  d <- curve_data_of(4)
  for (method in c("em", "reml")) {
    one <- fit_glmm(y ~ x + s(z) + (1 | a), d, method = method)
    two <- fit_glmm(y ~ x + s(z) + (1 | a) + (1 | b), d, method = method,
                    prior = priors(b = constant(1e-7)))
    expect_equal(log_evidence_of(two), log_evidence_of(one), tolerance = 1e-10)
    expect_equal(theta(two)[names(theta(one))], theta(one), tolerance = 1e-6, ignore_attr = TRUE)
    expect_equal(vcov(two, full = TRUE)[rownames(vcov(one, full = TRUE)),
                                        rownames(vcov(one, full = TRUE))],
                 vcov(one, full = TRUE), tolerance = 1e-5)
    expect_equal(smooth_of(two), smooth_of(one), tolerance = 1e-6)
    expect_equal(predict(two, d[1:5, ], re.form = NA, se.fit = TRUE),
                 predict(one, d[1:5, ], re.form = NA, se.fit = TRUE), tolerance = 1e-6)
  }
})
