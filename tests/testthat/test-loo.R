skip_if_not_installed("loo")

small <- function() {
  set.seed(7)
  d <- sim_glmm(groups = 8, size = 3)
  law <- priors(beta = normal(0.5, 3), sd = half_t(3, 2), sigma = half_t(2, 1.5))
  fit_glmm(y ~ x + (1 | group), d[-1, ], method = "vb", prior = law)
}

# log p(y) by the trapezoid rule on the logarithms of the sds (as in test-vb.R).
log_evidence_by_grid <- function(problem) {
  grid <- expand.grid(sd = exp(seq(-5, 3, by = 0.25)), sigma = exp(seq(-1.5, 1.5, by = 0.15)))
  density <- mapply(function(sd, sigma) {
    log_evidence_given(problem, matrix(sd^2), sigma^2) + log_half_t(sd, 3, 2) +
      log_half_t(sigma, 2, 1.5) + log(sd) + log(sigma)
  }, grid$sd, grid$sigma)
  log_sum_exp(density) + log(0.25 * 0.15)
}

without_row <- function(problem, i) {
  for (part in c("X", "W")) problem[[part]] <- problem[[part]][-i, , drop = FALSE]
  for (part in c("y", "w", "power", "level")) problem[[part]] <- problem[[part]][-i]
  problem
}

test_that("it is what leaving each row out gives", {
  skip_on_cran()
  fit <- small()
  answer <- suppressWarnings(loo::loo(fit, ndraws = 8000, seed = 1)) # of k above 0.7
  # log p(y_i | y_-i) = log p(y) - log p(y_-i), both integrals by brute force.
  problem <- problem_of(fit)
  all <- log_evidence_by_grid(problem)
  exact <- vapply(seq_len(nobs(fit)), function(i) {
    all - log_evidence_by_grid(without_row(problem, i))
  }, 0)
  expect_lt(max(abs(answer$pointwise[, "elpd_loo"] - exact)), 0.01)
  expect_equal(answer$estimates["elpd_loo", "Estimate"], sum(exact), tolerance = 1e-3)
  expect_gte(sum(loo::pareto_k_values(answer) < 0.7), 22)
  # And with refits by vb, whose log evidence is by importance sampling.
  left <- vapply(1:5, function(i) drop_rows(fit, i)$convergence$log_evidence, 0)
  expect_lt(max(abs(convergence(fit)$log_evidence - left - exact[1:5])), 0.02)
})

test_that("given the scales it is the normal density of a row given the others", {
  d <- vb_data(groups = 6)
  fits <- vb_cases(d)
  for (name in names(fits)) {
    fit <- fits[[name]]
    problem <- problem_of(fit)
    x <- unconstrain_scales(scale_shape(fit))[scale_shape(fit)$free]
    density <- row_densities(fit, matrix(x, 1))
    Sigma <- factors_of(fit)$S
    s2 <- factors_of(fit)$root_v^2
    log_p <- function(problem) log_evidence_given(problem, Sigma, s2)
    for (i in c(1, 7, nobs(fit))) {
      expect_equal(density$left_out[i], log_p(problem) - log_p(without_row(problem, i)),
                   tolerance = 1e-8, label = name)
      # A second measurement of the same row: p(y_i twice) / p(y).
      twice <- problem
      for (part in c("X", "W")) twice[[part]] <- rbind(problem[[part]], problem[[part]][i, ])
      for (part in c("y", "w", "level")) twice[[part]] <- c(problem[[part]], problem[[part]][i])
      expect_equal(density$kept[i], log_p(twice) - log_p(problem), tolerance = 1e-8)
    }
  }
})

test_that("an answer of package loo is given, with all parameters counted", {
  fit <- small()
  answer <- loo::loo(fit, ndraws = 500, seed = 1)
  expect_s3_class(answer, "psis_loo")
  expect_identical(dim(answer), c(504L, 23L))
  expect_identical(loo::loo(fit, ndraws = 500, seed = 1), answer)
  expect_equal(sum(answer$pointwise[, "p_loo"]), answer$estimates["p_loo", "Estimate"])
  # Two coefficients, up to eight latent variables and two scales.
  expect_gt(answer$estimates["p_loo", "Estimate"], 3)
  expect_lt(answer$estimates["p_loo", "Estimate"], 12)
  expect_output(print(answer), "elpd_loo")
  # The approximation does not matter, the model does.
  mean_field <- loo::loo(update(fit, factorization = "mean_field"), seed = 1)
  expect_lt(abs(mean_field$estimates[1, 1] - answer$estimates[1, 1]), 0.5)
  none <- loo::loo(update(fit, . ~ . - x), seed = 1)
  compared <- loo::loo_compare(list(none = none, x = answer))
  # The names of the models: those of the rows, or from loo 2.10 on a column.
  models <- if (is.data.frame(compared)) compared$model else rownames(compared)
  expect_identical(as.character(models[1]), "x")
})

test_that("draws are from the session's generator, or leave it as it was", {
  fit <- small()
  set.seed(1)
  before <- .Random.seed
  one <- loo::loo(fit, ndraws = 100, seed = 2)
  expect_identical(.Random.seed, before)
  expect_false(identical(loo::loo(fit, ndraws = 100)$pointwise, one$pointwise))
  expect_false(identical(.Random.seed, before))
})

test_that("what it is not for is refused", {
  fit <- small()
  expect_error(loo::loo(update(fit, method = "em")), "method = \"vb\"", class = "elbo_error_method")
  held <- update(fit, prior = priors(sd = constant(1), sigma = constant(1)))
  expect_error(loo::loo(held), class = "elbo_error_not_available")
  expect_error(loo::loo(fit, ndraws = 0), class = "elbo_error_argument")
})

test_that("a row that is all that is known of its group is left out to all digits", {
  # The slope is dropped as x is constant, so that a row is normal with mean m + b and variance
  # S11 + 2 S12 + S22 + sigma^2, b ~ N(0, s^2) all that two rows share.
  d <- data.frame(y = c(2.768, -0.254), x = c(1, 1), g = 1:2)
  fit <- suppressMessages(fit_glmm(y ~ x + (x | g), d, method = "vb"))
  told <- priors_of(fit)$told
  x <- rbind(c(-0.7, 5.7, 1.6, -8.2), c(-5.5, -7.2, 1.1, -9.3), c(1, 1, -0.1, 0.9))
  scales <- constrain_scales(x, scale_shape(fit))
  own <- colSums(scales$Sigma) + scales$sigma[1, ]^2
  shared <- told$prior_beta_sd^2
  e <- d$y - told$prior_beta_mean
  slope <- shared / (own + shared)
  exact <- vapply(1:2, function(i) {
    stats::dnorm(e[i], slope * e[3 - i], sqrt(own + own * slope), log = TRUE)
  }, own)
  expect_equal(row_densities(fit, x)$left_out, exact, tolerance = 1e-10, ignore_attr = TRUE)
})

test_that("the law of the scales has no part in a row given the others", {
  set.seed(1)
  d <- data.frame(y = rnorm(9), x = rnorm(9), g = gl(3, 3))
  plain <- fit_glmm(y ~ x + (1 | g), d, method = "vb")
  narrow <- fit_glmm(y ~ x + (1 | g), d, method = "vb", prior = priors(sd = inverse_gamma(2, 1)))
  x <- cbind(c(-4, -1, 0), c(0.1, 0.5, -0.2))
  expect_equal(row_densities(narrow, x), row_densities(plain, x))
  expect_s3_class(suppressWarnings(loo::loo(narrow, seed = 1)), "psis_loo")
})
