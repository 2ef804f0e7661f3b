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

without_rows <- function(problem, i) {
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
    all - log_evidence_by_grid(without_rows(problem, i))
  }, 0)
  expect_lt(max(abs(answer$pointwise[, "elpd_loo"] - exact)), 0.01)
  expect_equal(answer$estimates["elpd_loo", "Estimate"], sum(exact), tolerance = 1e-3)
  expect_gte(sum(loo::pareto_k_values(answer) < 0.7), 22)
  # And with refits by vb, whose log evidence is by importance sampling.
  left <- vapply(1:5, function(i) convergence(with_verdict(drop_rows(fit, i)))$log_evidence, 0)
  expect_lt(max(abs(convergence(fit)$log_evidence - left - exact[1:5])), 0.02)
})

test_that("given the scales it is the normal density of a row given the others", {
  d <- vb_data(groups = 6)
  fits <- vb_cases(d)
  for (name in names(fits)) {
    fit <- fits[[name]]
    problem <- problem_of(fit)
    x <- unconstrain_scales(scale_shape(fit))[scale_shape(fit)$free]
    density <- unit_densities(fit, matrix(x, 1))
    Sigma <- factors_of(fit)$S
    s2 <- factors_of(fit)$root_v^2
    log_p <- function(problem) log_evidence_given(problem, Sigma, s2)
    for (i in c(1, 7, nobs(fit))) {
      expect_equal(density$left_out[i], log_p(problem) - log_p(without_rows(problem, i)),
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
  expect_equal(unit_densities(fit, x)$left_out, exact, tolerance = 1e-10, ignore_attr = TRUE)
})

test_that("the law of the scales has no part in a row given the others", {
  set.seed(1)
  d <- data.frame(y = rnorm(9), x = rnorm(9), g = gl(3, 3))
  plain <- fit_glmm(y ~ x + (1 | g), d, method = "vb")
  narrow <- fit_glmm(y ~ x + (1 | g), d, method = "vb", prior = priors(sd = inverse_gamma(2, 1)))
  x <- cbind(c(-4, -1, 0), c(0.1, 0.5, -0.2))
  expect_equal(unit_densities(narrow, x), unit_densities(plain, x))
  expect_s3_class(suppressWarnings(loo::loo(narrow, seed = 1)), "psis_loo")
})

# Several factors, and levels of one ---------------------------------------------------------------

crossed_cases <- function() {
  d <- crossed_data(5, n = 60, levels = c(6, 5, 4))
  d$h <- factor(rep(c("u", "v"), length.out = 60))
  law <- priors(beta = normal(0.5, 3), sd = half_t(3, 2), sigma = half_t(2, 1.5))
  list(
    slopes = fit_glmm(y ~ x + (x | a) + (1 | b), d, method = "vb", prior = law, weights = w,
                      sigma = ~ h),
    nested = fit_glmm(y ~ x + (1 | a) + (1 | a:b), d, method = "vb", prior = law),
    one = fit_glmm(y ~ x + (x | a), d, method = "vb", prior = law)
  )
}

test_that("given the scales units of several factors are as V in full has them", {
  for (fit in crossed_cases()) {
    problem <- problem_of(fit)
    x <- matrix(unconstrain_scales(scale_shape(fit))[scale_shape(fit)$free], 1)
    log_p <- function(problem) {
      log_evidence_given(problem, factors_of(fit)$S, factors_of(fit)$root_v^2)
    }
    for (unit in c("rows", "a")) {
      units <- left_out_units(fit, if (unit == "a") ~ a else unit)
      density <- unit_densities(fit, x, units)
      for (k in c(1, 3, length(units))) {
        rows <- units[[k]]
        expect_equal(density$left_out[k], log_p(problem) - log_p(without_rows(problem, rows)),
                     tolerance = 1e-8)
        twice <- problem
        for (part in c("X", "W")) {
          twice[[part]] <- rbind(problem[[part]], problem[[part]][rows, , drop = FALSE])
        }
        for (part in c("y", "w", "level")) {
          twice[[part]] <- c(problem[[part]], problem[[part]][rows])
        }
        expect_equal(density$kept[k], log_p(twice) - log_p(problem), tolerance = 1e-8)
      }
    }
    # What is all but all that is known of itself, from statistics without it.
    alone <- leave_out(fit, replace(model_of(fit), "scales_given", TRUE),
                       constrain_scales(x, scale_shape(fit)), replace(density$left_out, 2, NA),
                       units)
    expect_equal(alone, density$left_out, tolerance = 1e-9)
  }
})

test_that("where factors cross what is left out must be said", {
  fits <- crossed_cases()
  expect_error(loo::loo(fits$slopes), "unit = \"rows\", or unit = ~ a, or unit = ~ b",
               class = "elbo_error_argument")
  expect_error(loo::loo(fits$slopes, unit = ~ c), "`unit`", class = "elbo_error_argument")
  expect_error(loo::loo(fits$slopes, unit = "a"), "~ a", class = "elbo_error_argument")
  by_level <- suppressWarnings(loo::loo(fits$slopes, ndraws = 200, seed = 1, unit = ~ a))
  expect_identical(dim(by_level), c(200L, 6L))
  rows <- suppressWarnings(loo::loo(fits$slopes, ndraws = 200, seed = 1, unit = "rows"))
  expect_identical(dim(rows), c(200L, 60L))
  # Rows of known levels are easier to predict than whole levels.
  expect_gt(rows$estimates["elpd_loo", "Estimate"], by_level$estimates["elpd_loo", "Estimate"])
  nested <- suppressWarnings(loo::loo(fits$nested, ndraws = 200, seed = 1))
  expect_identical(dim(nested), c(200L, 60L))
})

test_that("leaving levels out is what fits without them give", {
  skip_on_cran()
  d <- crossed_data(5, n = 60, levels = c(12, 5, 4))
  fit <- fit_glmm(y ~ x + (1 | a), d, method = "vb")
  answer <- loo::loo(fit, ndraws = 2000, seed = 1, unit = ~ a)
  left <- vapply(left_out_units(fit, ~ a), function(rows) {
    convergence(with_verdict(drop_rows(fit, rows)))$log_evidence
  }, 0)
  # Both by importance sampling, with errors of some .003.
  expect_lt(max(abs(convergence(fit)$log_evidence - left - answer$pointwise[, "elpd_loo"])), 0.02)
})
