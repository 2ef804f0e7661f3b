# Noise far below the response: mixtures fit as long as doubles tell the two apart.

two_lines <- function(noise, seed = 1) {
  set.seed(seed)
  d <- data.frame(x = rnorm(120), z = rep(1:2, c(72, 48)))
  d$y <- ifelse(d$z == 1, 1 + 2 * d$x, 4 - d$x) + noise * rnorm(120)
  d
}

# What a residual of the size of the noise has of right digits.
digits_at <- function(noise) 1e-8 + 100 * .Machine$double.eps / noise

test_that("regressions at noise 1e-2 to 1e-10 are least squares in each component", {
  for (noise in 10^-c(4, 6, 7, 8, 10)) for (method in c("em", "joint")) for (seed in 1:2) {
    d <- two_lines(noise, seed)
    fit <- fit_mixture(y ~ x, d, k = 2, method = method)
    label <- paste(noise, method, seed)
    expect_identical(convergence(fit)$status, "converged", label = label)
    lines <- lapply(1:2, function(j) lm(y ~ x, d[d$z == j, ]))
    expect_lt(max(abs(coef(fit) - unlist(lapply(lines, coef)))), noise * digits_at(noise),
              label = label)
    sigma <- vapply(lines, function(line) sqrt(mean(resid(line)^2)), 0)
    expect_equal(unname(theta(fit)[c("sigma|1", "sigma|2")]), sigma, tolerance = digits_at(noise))
    if (method == "joint") next
    # Components 1e4 noises apart: the standard errors are those of two least squares.
    expect_equal(unname(sqrt(diag(vcov(fit)))), unlist(lapply(1:2, function(j) {
      sigma[j] * sqrt(diag(solve(crossprod(model.matrix(lines[[j]])))))
    }), use.names = FALSE), tolerance = 1e-4)
  }
  exact <- transform(two_lines(1), y = ifelse(z == 1, 1 + 2 * x, 4 - x))
  expect_error(fit_mixture(y ~ x, exact, k = 2), "without error", class = "elbo_error_unbounded")
})

test_that("the log-likelihood of regressions moves by log(noise) a row", {
  shifted <- vapply(10^-c(4, 6, 8), function(noise) {
    as.numeric(logLik(fit_mixture(y ~ x, two_lines(noise), k = 2))) + 120 * log(noise)
  }, 0)
  expect_lt(abs(shifted[2] - shifted[1]), 1e-6)
  expect_lt(abs(shifted[3] - shifted[1]), 120 * digits_at(1e-8))
})

two_curves <- function(noise) {
  set.seed(2)
  d <- expand.grid(time = 0:4, id = 1:40)
  d$z <- rep(1:2, c(25, 15))[d$id]
  u <- rnorm(40)
  d$y <- ifelse(d$z == 1, 1 + 2 * d$time, 6 - d$time) + 0.3 * u[d$id] + noise * rnorm(200)
  d
}

test_that("curves at small noise are mixed models of their units", {
  for (noise in 10^-c(3, 6, 7, 8)) {
    d <- two_curves(noise)
    fit <- fit_mixture(y ~ time + (1 | id), d, k = 2, unit = ~ id)
    expect_identical(convergence(fit)$status, "converged", label = paste(noise))
    for (j in 1:2) {
      alone <- fit_glmm(y ~ time + (1 | id), d[d$z == j, ])
      names <- c("(Intercept)", "time", "sd__(Intercept)|id", "sigma")
      found <- theta(fit)[paste0(sub("|id", "", names, fixed = TRUE), "|", j)]
      expect_equal(unname(found), unname(theta(alone)[names]), tolerance = 1e-6 + digits_at(noise),
                   label = paste(noise, j))
    }
  }
})
