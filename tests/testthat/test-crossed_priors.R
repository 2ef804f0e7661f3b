# Priors of a model with several grouping factors: the mode against the density written out.

# log p(y, theta) with V in full; by reml the coefficients integrated under their normal prior.
dense_log_posterior <- function(fit, theta, log_prior, beta_sd) {
  parts <- dense_parts(fit, theta)
  X <- parts$X
  if (method_of(fit) == "reml") {
    V <- parts$V + X %*% (beta_sd^2 * t(X))
    r <- parts$y
  } else {
    V <- parts$V
    r <- parts$y - X %*% theta[parameters_of(fit)$block == "beta"]
  }
  -0.5 * (length(r) * log(2 * pi) + as.numeric(determinant(V)$modulus) +
            drop(t(r) %*% solve(V, r))) + log_prior(theta)
}

test_that("the mode is that of the density written out, with several factors", {
  d <- crossed_data(81)
  # half-t: law/sd_prior.h; lkj(2) of one correlation is 3 (1 - r^2) / 4.
  log_scales <- function(theta) {
    log(2) + dt(theta[["sd__(Intercept)|a"]], 3, log = TRUE) +
      log(2) + dt(theta[["sd__x|a"]], 3, log = TRUE) +
      log(2) + dnorm(theta[["sd__(Intercept)|b"]], 0, 0.3, log = TRUE) +
      dexp(theta[["sigma"]], 2, log = TRUE) + log(0.75 * (1 - theta[["cor__(Intercept).x|a"]]^2))
  }
  log_beta <- function(theta) sum(dnorm(theta[c("(Intercept)", "x")], 0, 1, log = TRUE))
  prior <- priors(beta = normal(0, 1), a = half_t(3, 1), b = half_normal(0.3), cor = lkj(2),
                  sigma = exponential(2))
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (x | a) + (1 | b), d, method = method, weights = w, prior = prior)
    both <- function(theta) log_scales(theta) + if (method == "em") log_beta(theta) else 0
    at <- function(theta) dense_log_posterior(fit, theta, both, 1)
    theta <- theta(fit)
    expect_equal(objective_of(fit), at(theta), tolerance = 1e-9)
    moves <- which(method == "em" | parameters_of(fit)$block != "beta")
    slope <- vapply(moves, function(i) {
      h <- 1e-4
      (at(replace(theta, i, theta[i] + h)) - at(replace(theta, i, theta[i] - h))) / (2 * h)
    }, 0)
    expect_lt(max(abs(slope)), 1e-4) # h^2 of the third derivatives, some 1e3
    # Curvature of the profile by the variance parameters: the covariance of the mode.
    expect_true(all(diag(vcov(fit, full = TRUE)) > 0))
  }
})

test_that("a grouping factor means its standard deviations, with several factors too", {
  fit <- fit_glmm(y ~ x + (x | a) + (1 | b), crossed_data(82), prior = priors(a = half_t(3, 1)))
  stated <- lengths(priors_of(fit)$stated) > 0
  expect_identical(names(stated)[stated], c("sd__(Intercept)|a", "sd__x|a"))
})

test_that("a factor held at next to nothing leaves the mode of one factor", {
  d <- crossed_data(83)
  law <- priors(sd = half_t(3, 1), cor = lkj(2), beta = normal(0, 1))
  for (method in c("em", "reml")) {
    one <- fit_glmm(y ~ x + (x | a), d, method = method, prior = law)
    two <- fit_glmm(y ~ x + (x | a) + (1 | b), d, method = method,
                    prior = priors(sd = half_t(3, 1), cor = lkj(2), beta = normal(0, 1),
                                   b = constant(1e-7)))
    expect_equal(objective_of(two), objective_of(one), tolerance = 1e-10)
    expect_equal(theta(two)[names(theta(one))], theta(one), tolerance = 1e-7, ignore_attr = TRUE)
  }
})
