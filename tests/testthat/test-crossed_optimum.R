# Several grouping factors at the optimum: to all digits, never below lmer, and as steep as the
# profile.

crossed_simulation <- function(n, levels, seed = 1) {
  set.seed(seed)
  a <- sample(levels[1], n, TRUE)
  b <- sample(levels[2], n, TRUE)
  x <- rnorm(n)
  y <- x + rnorm(levels[1], 0, 0.7)[a] + rnorm(levels[2], 0, 0.5)[b] + rnorm(n)
  data.frame(y, x, a = factor(a), b = factor(b))
}

test_that("1e5 rows crossed 2,000 x 200 are at the optimum that plain R finds", {
  # A trial in plain R with a dense Schur complement, its own data of the same seed.
  fit <- fit_glmm(y ~ x + (1 | a) + (1 | b), crossed_simulation(1e5, c(2000, 200)))
  expect_equal(as.numeric(logLik(fit)), -145346.015991, tolerance = 1e-6 / 145346)
  scales <- unname(theta(fit)[c("sd__(Intercept)|a", "sd__(Intercept)|b", "sigma")])
  expect_equal(scales, c(.7034521, .4929055, .9973089), tolerance = 1e-7)
  expect_lt(convergence(fit)$gradient, 1e-8)
})

test_that("partially crossed designs are never below lmer", {
  skip_if_not_installed("lme4")
  for (seed in 1:4) {
    d <- crossed_simulation(400, c(60, 15), seed)
    d <- d[(as.integer(d$a) + as.integer(d$b)) %% 3 != seed %% 3, ]
    for (REML in c(FALSE, TRUE)) {
      formula <- if (seed %% 2 == 0) y ~ x + (x | a) + (1 | b) else y ~ x + (1 | a) + (1 | b)
      ours <- suppressWarnings(fit_glmm(formula, d, method = if (REML) "reml" else "em"))
      theirs <- suppressMessages(suppressWarnings(lme4::lmer(formula, d, REML = REML)))
      expect_gt(as.numeric(logLik(ours)) - as.numeric(logLik(theirs)), -1e-7)
    }
  }
})

# The sd that the curvature of the profile log-likelihood gives: refits with the parameter held h
# and 2 h standard errors away, extrapolated, so that the error is of order h^4.
profile_sd <- function(fit, name, h = 0.1) {
  at <- theta(fit)[[name]]
  se <- sqrt(vcov(fit, full = TRUE)[name, name])
  fall <- function(step) {
    held <- lapply(c(-1, 1), function(side) {
      prior <- do.call(priors, stats::setNames(list(call("constant", at + side * step * se)), name))
      as.numeric(logLik(update(fit, prior = prior)))
    })
    (2 * as.numeric(logLik(fit)) - held[[1]] - held[[2]]) / step^2
  }
  se / sqrt((4 * fall(h) - fall(2 * h)) / 3)
}

expect_profile <- function(fit, tolerance) {
  for (name in parameters_of(fit)$name[parameters_of(fit)$block %in% c("sd", "sigma")]) {
    expect_equal(sqrt(vcov(fit, full = TRUE)[name, name]), profile_sd(fit, name),
                 tolerance = tolerance, label = name)
  }
}

test_that("sds of variances are those of the profile", {
  skip_if_not_installed("lme4")
  # h^4 of sixth derivatives, largest where levels are few: 2e-5 was seen; of InstEval 3e-8.
  for (method in c("em", "reml")) {
    expect_profile(fit_glmm(diameter ~ 1 + (1 | plate) + (1 | sample), lme4::Penicillin,
                            method = method), 1e-4)
    expect_profile(fit_glmm(strength ~ 1 + (1 | batch / cask), lme4::Pastes, method = method), 1e-4)
    expect_profile(fit_glmm(score ~ Machine + (1 | Worker) + (1 | Worker:Machine), nlme::Machines,
                            method = method), 1e-4)
  }
})

test_that("sds of InstEval's variances are those of the profile", {
  skip_if_not_installed("lme4")
  skip_if(Sys.getenv("ELBO_TEST_LEVEL", "1") < "2", "ELBO_TEST_LEVEL 2")
  expect_profile(fit_glmm(y ~ service + (1 | s) + (1 | d), lme4::InstEval), 1e-6)
})
