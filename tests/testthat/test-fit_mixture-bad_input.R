# What bad input gets: a classed error before any work, or an answer that says what was done.

good <- local({
  d <- faithful[1:40, ]
  names(d) <- c("a", "b")
  d$f <- factor(rep(c("p", "q", "r", "s"), 10))
  d$l <- d$a > 3
  d$one <- 1
  d$id <- rep(1:10, each = 4)
  d$w <- rep(c(1, 2), 20)
  d$infinite <- replace(d$b, 7, Inf)
  d$nan <- replace(d$b, c(3, 9), NaN)
  d$gap <- replace(d$b, 5, NA)
  d$half <- d$w + 0.5
  d
})

expect_refusals <- function(class, calls) {
  where <- parent.frame()
  for (call in calls) {
    error <- tryCatch(eval(call, where), error = identity)
    expect_identical(base::class(error)[1], class, label = paste(deparse(call), collapse = " "))
  }
  show <- function(call) {
    cat("> ", paste(deparse(call, 88L), collapse = "\n+ "), "\n", sep = "")
    refusal(eval(call, where))
  }
  expect_snapshot(for (call in calls) show(call))
}

test_that("arguments that cannot be", {
  expect_refusals("elbo_error_argument", alist(
    fit_mixture(cbind(a, b) ~ 1, as.matrix(good[1:2]), k = 2),
    fit_mixture(cbind(a, b) ~ 1, good),
    fit_mixture(cbind(a, b) ~ 1, good, k = 0),
    fit_mixture(cbind(a, b) ~ 1, good, k = 1.5),
    fit_mixture(cbind(a, b) ~ 1, good, k = "two"),
    fit_mixture(cbind(a, b) ~ 1, good, k = c(1, NA)),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, method = "reml"),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, control = list()),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, na.action = "absent"),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, random_covariance = "diagonal"),
    fit_mixture(a ~ b, good, k = 2, family = Gamma()),
    fit_mixture(a ~ b, good, k = 2, family = gaussian("log")),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, covariance = "XXX"),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, covariance = 3),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, covariance = "VEV", method = "vb"),
    fit_mixture(a ~ b, good, k = 2, covariance = "VVV"),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, sigma = ~ 1),
    fit_mixture(l ~ b, good, k = 2, family = binomial(), weights = w),
    fit_mixture(responses(f, l) ~ 1, good, k = 2, weights = w),
    fit_mixture(responses(f, l) ~ 1, good, k = 2, family = binomial()),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, start = 1:3),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, start = good$f),
    fit_mixture(cbind(a, b) ~ 1, good, k = 1:2, start = good$l),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, start = replace(good$l, 3, NA)),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, start = cbind(-1, rep(1, 40)))
  ))
})

test_that("formulas that cannot be", {
  expect_refusals("elbo_error_formula", alist(
    fit_mixture(~ a, good, k = 2),
    fit_mixture("cbind(a, b)", good, k = 2),
    fit_mixture(a ~ 0, good, k = 2),
    fit_mixture(a ~ b + (1 | id), good, k = 2),
    fit_mixture(a ~ b, good, k = 2, unit = "id"),
    fit_mixture(a ~ b, good, k = 2, membership = l ~ w),
    fit_mixture(a ~ b, good, k = 2, membership = ~ 0 + w),
    fit_mixture(a ~ b, good, k = 2, membership = ~ w + (1 | id)),
    fit_mixture(a ~ b, good, k = 2, sigma = ~ f),
    fit_mixture(responses(f, l) ~ b, good, k = 2),
    fit_mixture(responses(f, f) ~ 1, good, k = 2),
    fit_mixture(responses() ~ 1, good, k = 2)
  ))
})

test_that("data that cannot be", {
  expect_refusals("elbo_error_data", alist(
    fit_mixture(cbind(a, absent) ~ 1, good, k = 2),
    fit_mixture(good[1:2] ~ 1, k = 2),
    fit_mixture(cbind(a, f) ~ 1, good, k = 2),
    fit_mixture(f ~ 1, good, k = 2),
    fit_mixture(cbind(a, b) ~ w, good, k = 2),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, weights = w),
    fit_mixture(cbind(a, b) ~ 1, good[0, ], k = 2),
    fit_mixture(cbind(a, b) ~ 1, good, k = 41),
    fit_mixture(cbind(a, b) ~ 1, good[c(1, 1, 1, 2, 2), ], k = 3),
    fit_mixture(a ~ 1, good, k = 11, unit = ~ id),
    fit_mixture(cbind(a, one) ~ 1, good, k = 2),
    fit_mixture(cbind(a, infinite) ~ 1, good, k = 2),
    fit_mixture(cbind(a, nan) ~ 1, good, k = 2),
    fit_mixture(a ~ infinite, good, k = 2),
    fit_mixture(a ~ gap, good, k = 2, na.action = na.fail),
    fit_mixture(one ~ a, good, k = 2),
    fit_mixture(a ~ b, good[1:2, ], k = 2),
    fit_mixture(a ~ b, good, k = 2, weights = w - 1),
    fit_mixture(a ~ b, good, k = 2, freq = half),
    fit_mixture(a ~ b, good, k = 2, freq = -w),
    fit_mixture(a ~ b, good, k = 2, unit = ~ id, freq = w),
    fit_mixture(a ~ b, good, k = 2, unit = ~ id, membership = ~ w),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, unit = ~ id, start = good$l),
    fit_mixture(f ~ b, good, k = 2, family = binomial()),
    fit_mixture(a ~ b, good, k = 2, family = binomial()),
    fit_mixture(cbind(w, id, w) ~ b, good, k = 2, family = binomial()),
    fit_mixture(one ~ b, good, k = 2, family = binomial()),
    fit_mixture(a ~ b, good, k = 2, family = poisson()),
    fit_mixture(f ~ b, good, k = 2, family = poisson()),
    fit_mixture(responses(f, one) ~ 1, good, k = 2),
    fit_mixture(responses(f, cbind(a, b)) ~ 1, good, k = 2)
  ))
})

test_that("priors that cannot be", {
  expect_refusals("elbo_error_prior", alist(
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, prior = 3),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, prior = priors(beta = normal(0, 1))),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, prior = priors(`weight|1` = constant(0.5))),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, prior = priors(weight = constant(0.4))),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, prior = priors(weight = dirichlet(0.5))),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, prior = priors(weight = dirichlet(c(1, 2)))),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, prior = priors(weight = stick_breaking(1))),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2, prior = priors(covariance = inverse_wishart(1, 1))),
    fit_mixture(cbind(a, b) ~ 1, good, k = 2,
                prior = priors(covariance = inverse_wishart(4, diag(3)))),
    fit_mixture(a ~ b, good, k = 2, prior = priors(sigma = constant(0))),
    fit_mixture(a ~ b, good, k = 2, prior = priors(sigma = normal(0, 1))),
    fit_mixture(a ~ b, good, k = 2, prior = priors(b = flat()), method = "vb"),
    fit_mixture(a ~ b, good, k = 2, membership = ~ w, prior = priors(membership = normal(1, 1)))
  ))
})

test_that("objectives without a bound are refused with the remedy", {
  y <- c(1, 2, 4, 5)
  expect_refusals("elbo_error_unbounded", alist(
    fit_mixture(y ~ 1, k = 3, covariance = "V"),
    fit_mixture(responses(f, w) ~ 1, good, k = 2)
  ))
})

test_that("missing responses are no reason to refuse, missing covariates follow na.action", {
  fit <- fit_mixture(cbind(a, gap) ~ 1, good, k = 2, covariance = "EEE")
  expect_equal(design_of(fit)$n_row, 40)
  fit <- fit_mixture(a ~ gap, good, k = 2, sigma = ~ 1)
  expect_equal(design_of(fit)$n_row, 39)
})

test_that("data are fitted whatever their magnitude", {
  expect_scaled <- function(fit, like, shift) {
    expect_equal(convergence(fit)$status, "converged")
    expect_equal(objective_of(fit), like$objective + shift, tolerance = 1e-8)
  }
  regression <- fit_mixture(a ~ b, good, k = 2, sigma = ~ 1)
  classes <- fit_mixture(responses(f, b) ~ 1, good, k = 2)
  normal <- fit_mixture(cbind(a, b) ~ 1, good, k = 2, covariance = "VVV")
  for (size in c(1e150, 1e-150)) {
    large <- transform(good, a = a * size, b = b * size)
    shift <- -40 * log(size)
    expect_scaled(fit_mixture(a ~ b, large, k = 2, sigma = ~ 1), regression, shift)
    expect_scaled(fit_mixture(responses(f, b) ~ 1, large, k = 2), classes, shift)
    expect_scaled(fit_mixture(cbind(a, b) ~ 1, large, k = 2, covariance = "VVV"), normal, 2 * shift)
  }
})
