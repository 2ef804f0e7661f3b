orthodont <- nlme::Orthodont

growth <- function(...) {
  fit_glmm(distance ~ age + (1 | Subject), orthodont, method = "vb",
           prior = priors(`(Intercept)` = normal(20, 30), age = normal(0, 10),
                          sd = half_t(3, 5), sigma = half_t(3, 5)), ...)
}

# ---- the exact posterior -----------------------------------------------------------------

# p(y | sd, sigma) p(sd) p(sigma) on a grid of log sd and log sigma, the marginal covariance of
# y written out, beta integrated under its prior.
grid_posterior <- function(design, mean, prior_sd, A, nu, log_sd, log_sigma) {
  X <- design$X
  same <- outer(the_group(design), the_group(design), `==`)
  grid <- expand.grid(log_sd = log_sd, log_sigma = log_sigma)
  rows <- vapply(seq_len(nrow(grid)), function(i) {
    sd <- exp(grid$log_sd[i])
    sigma <- exp(grid$log_sigma[i])
    V <- sd^2 * same + diag(sigma^2, nrow(X))
    marginal <- V + X %*% (prior_sd^2 * t(X))
    log_density <- log_normal(design$y - drop(X %*% mean), marginal) + log(sd) + log(sigma) +
      log_half_t(sd, nu, A) + log_half_t(sigma, nu, A)
    C <- solve(t(X) %*% solve(V, X) + diag(1 / prior_sd^2))
    beta <- drop(C %*% (t(X) %*% solve(V, design$y) + mean / prior_sd^2))
    c(log_density, beta, diag(C), sd, sigma)
  }, numeric(3 + 2 * ncol(X)))
  weight <- exp(rows[1, ] - max(rows[1, ]))
  step <- diff(log_sd)[1] * diff(log_sigma)[1]
  average <- function(value) sum(weight * value) / sum(weight)
  p <- ncol(X)
  value <- rows[c(1 + seq_len(p), 2 * p + 2:3), ]
  extra <- rbind(rows[1 + p + seq_len(p), ], 0, 0)
  means <- unname(apply(value, 1, average))
  list(mean = means, sd = unname(sqrt(apply((value - means)^2 + extra, 1, average))),
       log_evidence = max(rows[1, ]) + log(sum(weight) * step))
}

test_that("the exact posterior of a random intercept is that on a grid", {
  fit <- growth()
  exact <- grid_posterior(design_of(fit), c(20, 0), c(30, 10), 5, 3, seq(-1, 2.6, length.out = 45),
                          seq(-0.3, 1.1, length.out = 35))
  found <- convergence(fit)
  expect_equal(found$check$mean, exact$mean, tolerance = 2e-3)
  expect_equal(found$check$sd, exact$sd, tolerance = 0.015)
  expect_lt(max(abs(found$check$sd[1:2] / exact$sd[1:2] - 1)), 0.003)
  expect_equal(found$log_evidence, exact$log_evidence, tolerance = 0.02 / 237)
  expect_lt(elbo(fit), exact$log_evidence)
  sds <- sqrt(diag(vcov(fit, full = TRUE)))
  expect_lt(max(abs(found$check$sd_error - (unname(sds) / exact$sd - 1))), 0.012)
  expect_equal(found$check$name, names(theta(fit)))
  expect_lt(max(abs(found$check$sd / exact$sd - 1) / found$check$mc_error), 4)
  expect_true(found$trusted)
  expect_match(found$verdict, "can be trusted: its sds are within 2", fixed = TRUE)
})

test_that("eight schools have the moments of posteriordb's reference draws", {
  schools <- read_shared("posteriordb", "eight_schools.csv")
  schools$school <- factor(1:8)
  reference <- read_shared("posteriordb", "eight_schools_reference.csv")
  fit <- fit_glmm(y ~ 1 + (1 | school), schools, se = sigma, method = "vb",
                  prior = priors(beta = normal(0, 5), sd = half_cauchy(5)))
  found <- convergence(fit)
  row <- match(c("mu", "tau"), reference$parameter)
  expect_equal(found$check$mean, reference$mean[row], tolerance = 0.03)
  expect_equal(found$check$sd, reference$sd[row], tolerance = 0.03)
  expect_false(found$trusted)
  expect_match(found$verdict, "trusted: its sd of sd (Intercept) | school", fixed = TRUE)
})

test_that("radon has the moments of long JAGS runs of the three models", {
  radon <- read_shared("posteriordb", "radon_mn.csv")
  radon$county <- factor(radon$county_idx)
  prior <- priors(beta = normal(0, 10), sd = half_normal(1), sigma = half_normal(1))
  formulas <- list(
    variable_intercept = log_radon ~ floor_measure + (1 | county),
    hierarchical_intercept = log_radon ~ log_uppm + floor_measure + (1 | county),
    variable_intercept_slope = log_radon ~ floor_measure + (1 + floor_measure || county)
  )
  names <- list(
    variable_intercept = c("mu_alpha", "beta", "sigma_alpha", "sigma_y"),
    hierarchical_intercept = c("mu_alpha", "beta[1]", "beta[2]", "sigma_alpha", "sigma_y"),
    variable_intercept_slope = c("mu_alpha", "mu_beta", "sigma_alpha", "sigma_beta", "sigma_y")
  )
  for (model in names(formulas)) {
    reference <- read_shared("posteriordb", paste0("radon_mn_", model, "_mcmc.csv"))
    row <- match(names[[model]], reference$parameter)
    fit <- fit_glmm(formulas[[model]], radon, method = "vb", prior = prior)
    check <- convergence(fit)$check
    # Monte Carlo errors of the runs, up to 4 % of a sd with 750 effective draws.
    expect_lt(max(abs(check$mean - reference$mean[row]) / reference$sd[row]), 0.1)
    expect_lt(max(abs(check$sd / reference$sd[row] - 1)), 0.04)
  }
})

# ---- its pieces --------------------------------------------------------------------------

test_that("the density of the unconstrained scales is the prior's by change of variables", {
  half_t <- function(df, scale) list(family = 1L, df = df, scale = scale)
  block <- list(sd = 1:3, cor = 4:6, terms = 1:3, laws = lapply(1:3, half_t, df = 2.5), lkj = NA)
  shape <- list(kind = rep(c("sd", "cor"), each = 3), free = rep(TRUE, 6),
                mode = c(1.5, 0.7, 2, 0.3, -0.5, 0.2), Sigma = diag(3), sigma = numeric(),
                blocks = list(block))
  x <- elbo:::unconstrain_scales(shape)
  at <- elbo:::constrain_scales(t(x), shape)
  expect_equal(drop(at$value), shape$mode)
  R <- diag(3)
  R[cbind(c(1, 1, 2), c(2, 3, 3))] <- R[cbind(c(2, 3, 3), c(1, 1, 2))] <- shape$mode[4:6]
  Sigma <- R * outer(shape$mode[1:3], shape$mode[1:3])
  expect_equal(matrix(at$Sigma, 3), Sigma)
  lower <- lower.tri(Sigma, diag = TRUE)
  jacobian <- vapply(1:6, function(i) {
    entries <- function(h) {
      matrix(elbo:::constrain_scales(t(replace(x, i, x[i] + h)), shape)$Sigma, 3)[lower]
    }
    (entries(1e-5) - entries(-1e-5)) / 2e-5
  }, numeric(6))
  expect_equal(at$log_prior, log_prior_scale(Sigma, 2.5, 1:3) + log_determinant(jacobian))
  # Independent sds and an LKJ law, which are densities of (sd, cor).
  shape$blocks[[1]]$lkj <- 1.7
  slopes <- vapply(1:6, function(i) {
    value <- function(h) drop(elbo:::constrain_scales(t(replace(x, i, x[i] + h)), shape)$value)
    (value(1e-5) - value(-1e-5)) / 2e-5
  }, numeric(6))
  # Of order 3 the LKJ law is normalised by prod B(a, a) 2^(2 a - 1) over a = eta + 1/2, + 1/2, and
  # eta.
  a <- c(2.2, 2.2, 1.7)
  expect_equal(elbo:::constrain_scales(t(x), shape)$log_prior,
               sum(log_half_t(shape$mode[1:3], 2.5, 1:3)) + 0.7 * log_determinant(R) -
                 sum(lbeta(a, a) + (2 * a - 1) * log(2)) + log_determinant(slopes))
  # A residual variance: the half-t law itself.
  sigma <- list(kind = "sigma", free = TRUE, mode = 1, Sigma = matrix(0, 0, 0), sigma = 1,
                blocks = list(list(sd = 1, cor = integer(), terms = integer(),
                                   laws = list(half_t(3, 2)), lkj = NA)))
  expect_equal(elbo:::constrain_scales(matrix(log(1.7)), sigma)$log_prior,
               log_half_t(1.7, 3, 2) + log(1.7))
})

test_that("proposals have the density and the moments they are said to have", {
  proposal <- list(mean = c(1, -2), root = chol(matrix(c(2, 0.6, 0.6, 0.5), 2)))
  draws <- elbo:::with_seed(1, elbo:::lattice_t(2^14, proposal))
  x <- draws[, -1]
  # half of them twice as wide: a covariance of (1 + 4) / 2
  expect_equal(unname(colMeans(x)), c(1, -2), tolerance = 0.02)
  expect_equal(unname(stats::cov(x)), 2.5 * crossprod(proposal$root), tolerance = 0.05)
  # The density integrates to one: the mean of f / g for a normal f.
  normal <- function(row) log_normal(row - c(1, -2), crossprod(proposal$root))
  f <- apply(x[1:2^13, ], 1, normal)
  expect_equal(mean(exp(f - draws[1:2^13, 1])), 1, tolerance = 0.01)
  # In 500 dimensions densities are no numbers, their logarithms are: of t with 5 degrees of freedom
  # and as often of one twice as wide.
  many <- list(mean = numeric(500), root = diag(500))
  draws <- elbo:::with_seed(1, elbo:::lattice_t(8, many))
  log_t <- function(z, width) {
    lgamma(505 / 2) - lgamma(5 / 2) - 250 * log(3 * pi) - 500 * log(width) -
      505 / 2 * log1p(sum(z^2) / 3 / width^2)
  }
  exact <- apply(draws[, -1], 1, function(z) {
    log_sum_exp(c(log_t(z, 1), log_t(z, 2))) - log(2)
  })
  expect_equal(draws[, 1], exact)
})

test_that("Pareto k and smoothed weights are those of package loo", {
  skip_if_not_installed("loo")
  set.seed(4)
  for (df in c(1.3, 4)) {
    x <- rt(1000, 8)
    ratio <- dt(x / 2, df, log = TRUE) - dt(x, 8, log = TRUE)
    psis <- suppressWarnings(loo::psis(ratio, r_eff = 1))
    smooth <- elbo:::pareto_smooth(ratio - max(ratio))
    expect_equal(smooth$khat, psis$diagnostics$pareto_k)
    ours <- exp(smooth$log_weight)
    expect_equal(ours / sum(ours), unname(drop(weights(psis, log = FALSE))))
  }
})

# ---- the verdict -------------------------------------------------------------------------

test_that("a fit whose standard deviations are off by more than 5 % is flagged by name", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(Reaction ~ Days + (Days | Subject), lme4::sleepstudy, method = "vb")
  state <- convergence(fit)
  expect_false(state$trusted)
  expect_match(state$verdict, "its sd of Days is 6.[0-9] % too small")
  expect_lt(state$khat, 0.7)
  expect_output(print(fit), "not to be trusted", fixed = TRUE)
  expect_output(print(summary(fit)), "not to be trusted", fixed = TRUE)
  expect_output(print(state), "not to be trusted", fixed = TRUE)
})

test_that("a standard deviation must be within 5 % of the exact one, its own error included", {
  check <- data.frame(name = c("a", "b"), sd_error = c(-0.04, 0.01),
                      mc_error = c(0.004, 0.001), mean_shift = c(0.1, -0.1))
  expect_null(elbo:::vb_faults(check, 0.05, 0.2))
  expect_match(elbo:::vb_faults(transform(check, mc_error = 0.011), 0.05, 0.2),
               "sd of a is 4.0 % (+- 1.1 %)", fixed = TRUE)
  expect_identical(elbo:::vb_faults(transform(check, sd_error = c(0, 0.06)), 0.05, 0.2),
                   "its sd of b is 6.0 % too large")
  expect_identical(elbo:::vb_faults(transform(check, mean_shift = c(0.1, -0.3)), 0.05, 0.2),
                   "the mean of b is 0.3 sds too small")
  expect_identical(elbo:::vb_faults(transform(check, sd_error = c(NA, 0.01)), 0.05, 0.2),
                   "it has no sd of a")
})

test_that("the check draws from a generator of its own", {
  set.seed(1)
  before <- .Random.seed
  first <- growth()
  expect_identical(.Random.seed, before)
  expect_identical(convergence(growth()), convergence(first))
})

test_that("what is held is not judged, and what is exact needs no judge", {
  held <- fit_glmm(distance ~ age + (1 | Subject), orthodont, method = "vb",
                   prior = priors(sd = constant(2), sigma = constant(1.5)))
  state <- convergence(held)
  expect_true(state$trusted)
  expect_equal(state$log_evidence, elbo(held))
  one <- fit_glmm(distance ~ age + (1 | Subject), orthodont, method = "vb",
                  prior = priors(sd = constant(2)))
  expect_identical(convergence(one)$check$name, c("(Intercept)", "age", "sigma"))
})

test_that("large fits are judged when asked", {
  set.seed(3)
  data <- data.frame(g = factor(rep(1:2100, each = 2)))
  data$y <- rnorm(2100)[data$g] + rnorm(4200)
  fit <- fit_glmm(y ~ 1 + (1 | g), data, method = "vb")
  expect_identical(convergence(fit)$trusted, NA)
  expect_output(print(convergence(fit)), "not checked: 2,100", fixed = TRUE)
  asked <- convergence(fit, check = TRUE)
  expect_true(asked$trusted)
  expect_lt(abs(asked$sd_error), 0.02)
  expect_null(convergence(update(fit, method = "em"))$trusted)
})

test_that("quantiles of chi-squared by spline are those of stats", {
  z <- seq(0.001, 7.03, length.out = 1001)
  low <- qchisq(pnorm(-z), proposal_df)
  high <- qchisq(pnorm(-z), proposal_df, lower.tail = FALSE)
  expect_lt(max(abs(chisq_of_normal(-z) / low - 1), abs(chisq_of_normal(z) / high - 1)), 1e-8)
})

test_that("where the posterior is out of reach the verdict says so, without a foreign error", {
  set.seed(3)
  d <- data.frame(g = gl(12, 2), x = rnorm(24))
  d$y <- 1e-8 * (d$x + rnorm(12)[d$g] + rnorm(24)) # of a scale that the priors do not know
  fit <- fit_glmm(y ~ s(x, k = 4) + (1 | g), d, method = "vb",
                  prior = priors(beta = normal(0, 5), sd = exponential(1), sigma = exponential(1)))
  state <- convergence(fit, check = TRUE)
  expect_type(state$verdict, "character")
  expect_false(isTRUE(state$trusted))
})

test_that("one group, few rows, levels of sigma, known errors, curves and weights have verdicts", {
  set.seed(4)
  d <- data.frame(g = gl(3, 3), x = rnorm(9), f = factor(rep_len(1:2, 9)), w = rexp(9),
                  one = gl(1, 9))
  d$y <- d$x + rnorm(3)[d$g] + rnorm(9)
  laws <- list(NULL, priors(sd = exponential(1), sigma = exponential(1)), priors(beta = flat()))
  for (law in laws) {
    known <- if (is.null(law$sigma)) law else NULL
    fits <- list(
      fit_glmm(y ~ x + (1 | one), d, method = "vb", prior = law),
      fit_glmm(y ~ 1 + (x | g), d, method = "vb", prior = law),
      fit_glmm(y ~ x + (1 | g), d, method = "vb", prior = law, sigma = ~ f),
      fit_glmm(y ~ x + (1 | g), d, method = "vb", prior = known, se = rep(1, 9)),
      fit_glmm(y ~ s(x, k = 4) + (1 | g), d, method = "vb", prior = law),
      fit_glmm(y ~ x + (1 | g), d, method = "vb", prior = law, weights = w)
    )
    for (fit in fits) expect_type(convergence(fit, check = TRUE)$verdict, "character")
  }
})
