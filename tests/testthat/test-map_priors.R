# Marginal MAP against a dense log posterior written out here (densities of the sds by stats).

growth <- nlme::Orthodont
stated <- priors(beta = normal(0, 5), sd = half_t(3, 2), sigma = inverse_gamma(3, 2))

# log N(y; X beta, V) + log p(beta) + log p(sd) + log p(sigma) for one random intercept.
dense_log_posterior <- function(par, log_prior) {
  Z <- model.matrix(~ 0 + factor(Subject), growth)
  V <- par[3]^2 * tcrossprod(Z) + par[4]^2 * diag(nrow(growth))
  r <- growth$distance - par[1] - par[2] * growth$age
  -0.5 * (nrow(growth) * log(2 * pi) + as.numeric(determinant(V)$modulus) + sum(r * solve(V, r))) +
    log_prior(par)
}

log_half_t <- function(x, df, scale) log(2) + dt(x / scale, df, log = TRUE) - log(scale)
log_inverse_gamma <- function(x, shape, scale) {
  shape * log(scale) - lgamma(shape) - (shape + 1) * log(x) - scale / x
}

test_that("em with priors is at the mode of the marginal posterior", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), growth, prior = stated)
  log_prior <- function(par) {
    sum(dnorm(par[1:2], 0, 5, log = TRUE)) + log_half_t(par[3], 3, 2) +
      log_inverse_gamma(par[4], 3, 2)
  }
  at <- as.vector(theta(fit))
  expect_equal(elbo(fit), dense_log_posterior(at, log_prior), tolerance = 1e-10)
  # logLik() is without the priors.
  expect_equal(as.numeric(logLik(fit)), dense_log_posterior(at, function(par) 0),
               tolerance = 1e-10)
  skip_if_not_installed("numDeriv")
  slope <- numDeriv::grad(dense_log_posterior, at, log_prior = log_prior)
  se <- sqrt(diag(vcov(fit, full = TRUE)))
  # Central differences of a value of 235 are right to about 1e-8.
  expect_lt(max(abs(slope * se)), 1e-6)
})

test_that("every family of prior enters the objective as its density", {
  families <- list(
    list(priors(sd = half_normal(1)), function(x) log(2) + dnorm(x, 0, 1, log = TRUE)),
    list(priors(sd = half_cauchy(2)), function(x) log_half_t(x, 1, 2)),
    list(priors(sd = inverse_gamma(2, 3)), function(x) log_inverse_gamma(x, 2, 3)),
    list(priors(sd = exponential(0.5)), function(x) dexp(x, 0.5, log = TRUE)),
    list(priors(sd = normal(2, 1)), 
         function(x) dnorm(x, 2, 1, log = TRUE) - pnorm(2, log.p = TRUE)),
    list(priors(sd = normal(0, 2)), function(x) log(2) + dnorm(x, 0, 2, log = TRUE)),
    list(priors(sd = student_t(3, 0, 2)), function(x) log_half_t(x, 3, 2)),
    list(priors(sd = cauchy(0, 2)), function(x) log_half_t(x, 1, 2)),
    list(priors(sd = gamma_precision(2, 3)), 
         function(x) dgamma(x^-2, 2, 3, log = TRUE) + log(2 / x^3)),
    list(priors(sd = flat()), function(x) 0)
  )
  for (family in families) {
    fit <- fit_glmm(distance ~ age + (1 | Subject), growth, prior = family[[1]])
    expect_equal(elbo(fit) - as.numeric(logLik(fit)),
                 family[[2]](theta(fit)[["sd__(Intercept)|Subject"]]), tolerance = 1e-10)
    expect_identical(convergence(fit)$status, "converged")
  }
})

test_that("every way up reaches the same mode, and the ELBO never falls", {
  wide <- priors(beta = normal(0, 100), sd = half_t(3, 5), sigma = half_normal(2))
  for (method in c("em", "reml")) {
    fit <- function(how) {
      fit_glmm(distance ~ age + (age | Subject), growth, method = method, prior = wide,
               control = elbo_control(accelerate = how))
    }
    best <- fit("auto")
    for (how in c("none", "squarem")) {
      other <- fit(how)
      expect_equal(theta(other), theta(best), tolerance = 1e-5)
      trace <- elbo_trace(other)
      expect_gt(min(diff(trace$elbo)), -1e-9)
      expect_lt(max(abs(trace$elbo + trace$kl - trace$log_evidence)), 1e-8)
    }
  }
})

test_that("a wide prior changes nothing, a narrow one decides", {
  free <- fit_glmm(distance ~ age + (1 | Subject), growth)
  wide <- update(free, prior = priors(beta = normal(0, 1e6), sd = half_t(3, 1e6)))
  expect_equal(theta(wide), theta(free), tolerance = 1e-6)
  narrow <- update(free, prior = priors(age = normal(0.5, 1e-6)))
  expect_equal(coef(narrow)[["age"]], 0.5, tolerance = 1e-5)
})

test_that("a prior keeps a variance off zero", {
  skip_if_not_installed("lme4")
  zero <- fit_glmm(Yield ~ 1 + (1 | Batch), lme4::Dyestuff2)
  expect_identical(theta(zero)[["sd__(Intercept)|Batch"]], 0)
  kept <- update(zero, prior = priors(sd = inverse_gamma(2, 1)))
  expect_gt(theta(kept)[["sd__(Intercept)|Batch"]], 0.1)
  expect_false(any(parameters_of(kept)$boundary))
})

test_that("units carry over: a response in other units moves prior and answer together", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), growth, prior = stated)
  big <- fit_glmm(I(1000 * distance) ~ age + (1 | Subject), growth,
                  prior = priors(beta = normal(0, 5000), sd = half_t(3, 2000),
                                 sigma = inverse_gamma(3, 2000)))
  expect_equal(as.vector(theta(big)), 1000 * as.vector(theta(fit)), tolerance = 1e-8)
})

test_that("lkj() enters the objective as the density of the correlation, and has its mode found", {
  fit <- fit_glmm(distance ~ age + (age | Subject), growth, prior = priors(cor = lkj(3)))
  r <- theta(fit)[["cor__(Intercept).age|Subject"]]
  # (1 - r^2)^2 over its integral, 16 / 15.
  expect_equal(elbo(fit) - as.numeric(logLik(fit)), log((1 - r^2)^2 * 15 / 16), tolerance = 1e-10)
  expect_identical(convergence(fit)$status, "converged")
  skip_if_not_installed("numDeriv")
  free <- fit_glmm(distance ~ age + (age | Subject), growth)
  value <- function(par) {
    sum(elbo(free, theta = par)) + log((1 - par[5]^2)^2 * 15 / 16)
  }
  at <- as.vector(theta(fit))
  slope <- numDeriv::grad(value, at)
  expect_lt(max(abs(slope * sqrt(diag(vcov(fit, full = TRUE))))), 1e-5)
  expect_error(update(fit, prior = priors(cor = lkj(0.5))), class = "elbo_error_prior")
})

test_that("a mode on the boundary, where an exponential prior falls from zero on, is found", {
  set.seed(3)
  none <- data.frame(g = gl(8, 6), y = rnorm(48), x = rnorm(48))
  none$y <- none$y - ave(none$y, none$g) # groups say that there is no variation between them
  for (formula in list(y ~ x + (1 | g), y ~ x + (x | g))) {
    fit <- fit_glmm(formula, none, prior = priors(sd = exponential(1)))
    expect_identical(convergence(fit)$status, "converged")
    expect_identical(theta(fit)[["sd__(Intercept)|g"]], 0)
  }
})

test_that("steps never fall where a prior says far more than the levels and the rows do", {
  set.seed(1)
  d <- data.frame(g = gl(3, 2), y = rnorm(6))
  for (shape in c(30, 1208, 5000)) {
    for (method in c("em", "reml", "vb")) {
      stated <- priors(sd = gamma_precision(shape, shape),
                       sigma = gamma_precision(shape, 4 * shape))
      fit <- fit_glmm(y ~ 1 + (1 | g), d, method = method, prior = stated,
                      control = elbo_control(accelerate = "none", n_starts = 1))
      # The mode of s^2 under gamma_precision(a, b) for s is b / (a + 1/2), and the data say little.
      expect_equal(as.vector(theta(fit))[2:3]^2, c(1, 4), tolerance = 3 / shape + 0.01)
    }
  }
})
