test_that("elbo() at theta is the log-likelihood, and at any q lower by the divergence", {
  for (name in c("normal", "missing", "gaussian", "binomial", "classes", "copies")) {
    fit <- mixture_example(name)
    expect_identical(elbo(fit), objective_of(fit))
    elsewhere <- theta(fit)
    moved <- parameters_of(fit)$block %in% c("mean", "beta")
    elsewhere[moved] <- elsewhere[moved] + 0.1
    L <- reference_log_joint(fit, elsewhere)
    freq <- if (is.null(design_of(fit)$freq)) 1 else design_of(fit)$freq
    expect_equal(elbo(fit, elsewhere), sum(freq * row_log_sum_exp(L)), tolerance = 1e-10)
    q <- matrix(1 / n_components(fit), design_of(fit)$n_unit, n_components(fit))
    expect_equal(elbo(fit, elsewhere, q), sum(freq * rowSums(q * (L - log(q)))), tolerance = 1e-10)
    expect_equal(elbo(fit, q = predict(fit, type = "prob")), elbo(fit), tolerance = 1e-9)
  }
})

test_that("elbo() of points is their density, and knows the prior", {
  fit <- mixture_example("joint")
  L <- reference_log_joint(fit)
  expect_equal(elbo(fit, theta(fit)), sum(apply(L, 1, max)), tolerance = 1e-10)
  expect_equal(elbo(fit), elbo(fit, theta(fit)), tolerance = 1e-10)
  # log inverse Wishart density of each covariance (d = 2, df = 4, scale = 1), constants included.
  prior <- priors(covariance = inverse_wishart(4, 1))
  map <- update(mixture_example("normal"), prior = prior)
  log_density <- function(S) {
    -(4 + 3) / 2 * log(det(S)) - sum(diag(solve(S))) / 2 - 4 * log(2) - 0.5 * log(pi) -
      sum(lgamma((4 + 1 - 1:2) / 2))
  }
  log_prior <- sum(apply(components(map)$covariance, 1, log_density))
  L <- reference_log_joint(map)
  expect_equal(elbo(map, theta(map)), sum(row_log_sum_exp(L)) + log_prior, tolerance = 1e-10)
  expect_equal(as.numeric(logLik(map)), sum(row_log_sum_exp(L)), tolerance = 1e-10)
})
