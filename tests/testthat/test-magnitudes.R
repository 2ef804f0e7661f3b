# Units: the one check on entry, and that nothing depends on them within the range.

units_data <- function() {
  set.seed(1)
  d <- data.frame(x = rnorm(60), w = rexp(60) + 0.1, g = gl(6, 10), count = rpois(60, 2))
  d$y <- d$x + rnorm(6)[d$g] + rnorm(60)
  d
}

test_that("magnitudes whose squares are no numbers are refused, with the remedy", {
  d <- units_data()
  refused <- function(call, name) {
    expect_error(call, paste0("`", name, "`.*divide"), class = "elbo_error_data")
  }
  for (size in c(1e200, 1e-200, 1e300, 1e-300)) {
    large <- transform(d, y = y * size, x = x * size)
    y <- transform(d, y = y * size)
    x <- transform(d, x = x * size)
    refused(fit_glmm(y ~ x + (1 | g), y), "y")
    refused(fit_glmm(y ~ 1, y, method = "vb"), "y")
    refused(fit_glmm(y ~ x + (1 | g), x), "x")
    refused(fit_glmm(y ~ w + (0 + x | g), x), "x")
    refused(fit_glmm(y ~ x + (1 | g), d, weights = w * size), "weights")
    refused(fit_glmm(y ~ x + (1 | g), d, offset = w * size), "offset")
    refused(fit_mixture(y ~ x, y, k = 2), "y")
    refused(fit_mixture(y ~ x, x, k = 2), "x")
    refused(fit_mixture(cbind(y, w) ~ 1, y, k = 2), "y")
    refused(fit_mixture(responses(y, w) ~ 1, y, k = 2), "y")
    refused(fit_mixture(count ~ x, x, k = 2, family = poisson()), "x")
    refused(fit_mixture(w ~ 1, x, k = 2, membership = ~ x), "x")
    expect_error(fit_glmm(y ~ x + (1 | g), d, se = w * size), "se", class = "elbo_error_data")
  }
  # Each by itself is fine, what is estimated is not: a coefficient of 1e200, a sigma of 1e165.
  refused(fit_glmm(y ~ x + (1 | g), transform(d, y = y * 1e100, x = x * 1e-100)), "x")
  refused(fit_glmm(y ~ x + (1 | g), transform(d, y = y * 1e90), weights = w * 1e150), "weights")
  refused(fit_mixture(y ~ x, transform(d, y = y * 1e100, x = x * 1e-100), k = 2), "x")
})
