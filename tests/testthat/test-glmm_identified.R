# What is identified follows from the covariances of the rows, not from their number.

dense_log_likelihood <- function(fit, d, Z, variance) {
  theta <- theta(fit)
  R <- diag(ncol(Z))
  R[lower.tri(R)] <- theta[grep("^cor__", names(theta))]
  R[upper.tri(R)] <- t(R)[upper.tri(R)]
  sd <- theta[grep("^sd__", names(theta))]
  V <- (Z %*% (R * outer(sd, sd)) %*% t(Z)) * outer(d$g, d$g, "==") + diag(variance)
  root <- chol(V)
  r <- backsolve(root, d$y - drop(model.matrix(fit) %*% coef(fit)), transpose = TRUE)
  -sum(log(diag(root))) - 0.5 * sum(r^2) - 0.5 * nrow(d) * log(2 * pi)
}

test_that("two rows a group tell a random slope from the residuals where x is continuous", {
  skip_if_not_installed("lme4")
  set.seed(2)
  d <- data.frame(g = gl(40, 2), x = rnorm(80))
  d$y <- 1 + d$x + 2 * rnorm(40)[d$g] + rnorm(40)[d$g] * d$x + 0.5 * rnorm(80)
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (x | g), d, method = method)
    peer <- suppressWarnings(lme4::lmer(y ~ x + (x | g), d, REML = method == "reml",
                                        control = lme4::lmerControl(check.nobs.vs.nRE = "ignore")))
    expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(peer)), tolerance = 1e-6)
    expect_equal(unname(coef(fit)), unname(lme4::fixef(peer)), tolerance = 1e-3)
    expect_equal(sigma(fit), stats::sigma(peer), tolerance = 1e-2)
  }
  fit <- fit_glmm(y ~ x + (x | g), d)
  expect_equal(as.numeric(logLik(fit)),
               dense_log_likelihood(fit, d, cbind(1, d$x), rep(sigma(fit)^2, 80)))
  # A basis with another origin and unit is the same model.
  moved <- fit_glmm(y ~ x + (x | g), transform(d, x = 1e3 + 1e-2 * x))
  expect_equal(as.numeric(logLik(moved)), as.numeric(logLik(fit)), tolerance = 1e-8)
})

one_row <- function() {
  set.seed(1)
  d <- data.frame(g = gl(100, 1), x = rnorm(100))
  d$y <- 1 + rnorm(100) * d$x + 0.5 * rnorm(100)
  transform(d, f = gl(2, 50), w = rexp(100) + 0.1, se = runif(100, 0.2, 1),
            b = rbinom(100, 1, 0.5))
}

test_that("one row a group is enough where its covariates tell variances apart", {
  d <- one_row()
  slope <- fit_glmm(y ~ 1 + (0 + x | g), d)
  expect_equal(as.numeric(logLik(slope)),
               dense_log_likelihood(slope, d, cbind(d$x), rep(sigma(slope)^2, 100)))
  # No parameter moved by a little is better.
  expect_lt(max(abs(convergence(slope)$gradient)), 1e-8)
  two <- fit_glmm(y ~ 1 + (0 + x | g), d, sigma = ~ f)
  expect_equal(as.numeric(logLik(two)),
               dense_log_likelihood(two, d, cbind(d$x), sigma(two)[d$f]^2))
  expect_gt(as.numeric(logLik(two)), as.numeric(logLik(slope)))
  known <- fit_glmm(y ~ 1 + (x | g), d, se = se)
  expect_equal(as.numeric(logLik(known)),
               dense_log_likelihood(known, d, cbind(1, d$x), d$se^2))
  weighted <- fit_glmm(y ~ 1 + (1 | g), d, weights = w)
  expect_equal(as.numeric(logLik(weighted)),
               dense_log_likelihood(weighted, d, cbind(rep(1, 100)), sigma(weighted)^2 / d$w))
})

test_that("what is not identified is refused", {
  d <- one_row()
  refused <- function(call) expect_error(call, "told apart", class = "elbo_error_data")
  refused(fit_glmm(y ~ 1 + (1 | g), d))
  refused(fit_glmm(y ~ 1 + (x | g), d)) # the variance of an intercept is that of the residuals
  refused(fit_glmm(y ~ 1 + (x || g), d))
  refused(fit_glmm(y ~ 1 + (1 | g), d, sigma = ~ f))
  # b^2 is b: the covariance and the variance of b are one.
  refused(fit_glmm(y ~ 1 + (b | g), d, se = se))
  refused(fit_glmm(y ~ 1 + (0 + b | g), d, sigma = ~ b))
})

test_that("a factor both fixed and random leaves reml nothing to estimate its sd from", {
  set.seed(3)
  d <- expand.grid(g = factor(1:6), f = factor(letters[1:3]), r = 1:3)
  d$x <- rnorm(54)
  d$y <- rnorm(54) + as.integer(d$f) + rnorm(6)[d$g]
  for (formula in list(y ~ f + (1 | g) + (1 | f), y ~ x * f + (x | f), y ~ g * f + (1 | g:f))) {
    expect_error(fit_glmm(formula, d, method = "reml"), "nothing is left of the data for `sd__",
                 class = "elbo_error_formula")
  }
  # By maximum likelihood it is zero, and with a prior the prior's.
  ml <- fit_glmm(y ~ f + (1 | g) + (1 | f), d)
  expect_identical(theta(ml)[["sd__(Intercept)|f"]], 0)
  held <- fit_glmm(y ~ f + (1 | g) + (1 | f), d, method = "reml", prior = priors(f = constant(1)))
  without <- fit_glmm(y ~ f + (1 | g), d, method = "reml")
  expect_equal(theta(held)[["sd__(Intercept)|g"]], theta(without)[["sd__(Intercept)|g"]],
               tolerance = 1e-6)
  # Contrasts between levels are not the levels themselves.
  expect_no_error(fit_glmm(y ~ x + (1 | f), d, method = "reml"))
})
