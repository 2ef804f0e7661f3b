# Variational Bayes of responses that are not gaussian. The C tests hold the ELBO against dense
# matrices and linear response against tilted models; here are the R side's own formulas, refits
# under moved priors, and importance sampling.

herds <- lme4::cbpp
herd_fit <- fit_glmm(cbind(incidence, size - incidence) ~ period + (1 | herd), herds, binomial(),
                     method = "vb")
set.seed(3)
visits <- data.frame(site = gl(12, 6), x = rep(c(-1, 0, 1), 24), hours = runif(72, 1, 3))
visits$n <- rpois(72, visits$hours * exp(0.4 + 0.3 * visits$x + rnorm(12, 0, 0.5)[visits$site] +
                                           rnorm(12, 0, 0.3)[visits$site] * visits$x))
visit_fit <- fit_glmm(n ~ x + offset(log(hours)) + (x | site), visits, poisson(), method = "vb",
                      prior = priors(beta = normal(0, 3), sd = half_t(3, 1)))

test_that("the ELBO is that of q written out", {
  # R's densities and 201 nodes, beside C's kernels and 16; closed form for Poisson.
  for (fit in list(herd_fit, visit_fit)) {
    q <- variational(fit)
    expect_equal(elbo(fit, q = q), elbo(fit), tolerance = 1e-9)
    lower <- function(change) expect_lt(elbo(fit, q = change(q)), elbo(fit))
    lower(function(q) {
      q$`beta, u`$mean[2] <- q$`beta, u`$mean[2] + 0.05
      q
    })
    lower(function(q) {
      q$`beta, u`$latent$cov <- 1.05 * q$`beta, u`$latent$cov
      q
    })
    lower(function(q) {
      q$`beta, u`$latent$gain <- 0.9 * q$`beta, u`$latent$gain
      q
    })
    lower(function(q) {
      q$Sigma$scale <- 1.05 * q$Sigma$scale
      q
    })
  }
})

test_that("mean field is the best q that keeps coefficients apart", {
  apart <- update(herd_fit, factorization = "mean_field")
  expect_lt(elbo(apart), elbo(herd_fit))
  expect_equal(elbo(apart, q = variational(apart)), elbo(apart), tolerance = 1e-9)
  expect_lt(vcov(apart, type = "mean_field")[1, 1], 0.6 * vcov(herd_fit, type = "mean_field")[1, 1])
  expect_equal(sqrt(diag(vcov(apart))), sqrt(diag(vcov(herd_fit))), tolerance = 0.05)
})

# Derivatives of posterior means by a number in a prior: refits by central differences. Steps are
# such that their error is some 1e-6 relative.
test_that("linear response is the derivative of refits", {
  at <- function(mean = 0.2, scale = 1) {
    theta(update(visit_fit, prior = priors(
      `(Intercept)` = normal(0.2, 2), x = normal(mean, 2), `sd__x|site` = half_t(3, 1),
      `sd__(Intercept)|site` = half_t(3, scale)
    )))
  }
  fit <- update(visit_fit, prior = priors(beta = normal(0.2, 2), sd = half_t(3, 1)))
  d <- sensitivity(fit, to = "prior")
  of <- function(prior, number) d$derivative[d$prior == prior & d$number == number]
  slope <- c(at(mean = 0.22) - at(mean = 0.18)) / 0.04
  expect_lt(max(abs(of("x", "mean") - slope)), 1e-5 * max(abs(slope)))
  # A prior mean m of beta tilts by m / sd^2 beta.
  expect_lt(max(abs(vcov(fit, full = TRUE)[, "x"] / 4 - slope)), 1e-5 * max(abs(slope)))
  slope <- c(at(scale = 1.0005) - at(scale = 0.9995)) / 0.001
  expect_lt(max(abs(of("sd__(Intercept)|site", "scale") - slope)), 1e-5 * max(abs(slope)))
})

test_that("the verdict has the exact moments", {
  check <- convergence(herd_fit)$check
  expect_lt(max(abs(check$mean_shift)), 0.05)
  expect_gt(min(check$sd_error), -0.07)
  expect_lt(elbo(herd_fit), convergence(herd_fit)$log_evidence)
  expect_gt(elbo(herd_fit), convergence(herd_fit)$log_evidence - 1)
  # Where scales are held and the prior is normal the target is that of dense quadrature: one
  # coefficient, four groups.
  few <- data.frame(g = gl(4, 5), y = c(1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0))
  fit <- fit_glmm(y ~ 1 + (1 | g), few, binomial(), method = "vb",
                  prior = priors(beta = normal(0, 1), g = constant(0.7)))
  grid <- seq(-4, 4, length.out = 401)
  rule <- .Call(elbo:::C_normal_rule, 41L)
  marginal <- vapply(grid, function(b) {
    p <- plogis(b + 0.7 * rule$node)
    successes <- tapply(few$y, few$g, sum)
    sum(log(vapply(successes, function(k) sum(rule$weight * p^k * (1 - p)^(5 - k)), 0))) +
      dnorm(b, log = TRUE)
  }, 0)
  density <- exp(marginal) / sum(exp(marginal))
  mean <- sum(grid * density)
  sd <- sqrt(sum((grid - mean)^2 * density))
  log_evidence <- log(sum(exp(marginal)) * (grid[2] - grid[1]))
  check <- convergence(fit)$check
  expect_lt(abs(check$mean - mean), 4 * 0.01 * sd)
  expect_equal(check$sd, sd, tolerance = 0.02)
  expect_lt(abs(convergence(fit)$log_evidence - log_evidence), 0.01)
  expect_lt(elbo(fit), log_evidence)
  expect_equal(sqrt(vcov(fit)[1, 1]), sd, tolerance = 0.02)
  expect_equal(theta(fit)[[1]], mean, tolerance = 0.02)
})

test_that("models without groups are those of the coefficients alone", {
  fit <- fit_glmm(n ~ x + offset(log(hours)), visits, poisson(), method = "vb",
                  prior = priors(beta = normal(0, 3)))
  # Given normal priors and many counts the posterior is all but normal: the mode and curvature.
  map <- update(fit, method = "em")
  expect_equal(coef(fit), coef(map), tolerance = 0.01, ignore_attr = TRUE)
  expect_equal(vcov(fit), vcov(map), tolerance = 0.02, ignore_attr = TRUE)
  expect_true(convergence(fit)$trusted)
})

test_that("generics that need a posterior have one", {
  u <- latent(herd_fit)
  expect_gt(min(u$sd - latent(herd_fit, type = "mean_field")$sd), 0)
  at <- predict(herd_fit, se.fit = TRUE)
  draws <- elbo:::with_seed(1, elbo:::general_response_draws(herd_fit, 4000, TRUE))
  x <- draws$theta[, 1] + draws$latent[[1]][1, 1, ]
  expect_equal(mean(x), at$fit[[1]], tolerance = 0.02)
  expect_equal(sd(x), at$se.fit[[1]], tolerance = 0.05)
  y <- simulate(herd_fit, 200, seed = 1)
  expect_equal(mean(vapply(y, function(one) mean(one[, 1]), 0)), mean(herds$incidence),
               tolerance = 0.5)
  expect_identical(simulate(herd_fit, 2, seed = 4), simulate(herd_fit, 2, seed = 4))
  p <- predict(herd_fit, type = "response", re.form = NA, se.fit = TRUE)
  expect_true(all(p$se.fit > 0 & p$se.fit < 0.2))
  expect_equal(nrow(compare_fits(herd_fit, update(herd_fit, method = "em"))), 10)
  skip_if_not_installed("rstantools")
  expect_equal(dim(rstantools::posterior_predict(herd_fit, draws = 3)), c(3L, 56L))
  expect_equal(mean(rstantools::posterior_epred(herd_fit, draws = 2000, seed = 1)[, 1]),
               fitted(herd_fit)[[1]], tolerance = 0.03)
  expect_true(all(rstantools::log_lik(herd_fit, draws = 3) < 0))
})

# The C tests hold several factors against dense matrices and against one factor's own code.
test_that("several factors: linear response is the derivative of refits", {
  set.seed(5)
  d <- expand.grid(student = factor(1:30), item = factor(1:12))
  d$x <- rnorm(nrow(d))
  d$y <- rbinom(nrow(d), 1, plogis(0.3 + 0.5 * d$x + rnorm(30)[d$student] + rnorm(12)[d$item]))
  at <- function(mean) {
    fit_glmm(y ~ x + (1 | student) + (1 | item), d, binomial(), method = "vb",
             prior = priors(`(Intercept)` = normal(0, 2), x = normal(mean, 2), sd = half_t(3, 1)))
  }
  fit <- at(0)
  up <- at(0.02)
  down <- at(-0.02)
  slope <- c(theta(up) - theta(down)) / 0.04
  expect_lt(max(abs(vcov(fit, full = TRUE)[, "x"] / 4 - slope)), 1e-5 * max(abs(slope)))
  s <- sensitivity(fit, to = "prior")
  expect_lt(max(abs(s$derivative[s$prior == "x" & s$number == "mean"] - slope)),
            1e-5 * max(abs(slope)))
  u <- latent(fit)
  expect_equal(nrow(u), 42)
  expect_gt(min(u$sd - latent(fit, type = "mean_field")$sd), -1e-8)
  expect_gt(cor(u$mean, latent(update(fit, method = "em"))$mean), 0.999)
  expect_error(predict(fit, se.fit = TRUE), class = "elbo_error_not_available")
  expect_error(update(fit, factorization = "by_factor"), class = "elbo_error_not_available")
  expect_equal(dim(simulate(fit, 2, seed = 1)), c(360L, 2L))
  expect_lt(elbo(update(fit, factorization = "mean_field")), elbo(fit))
})

test_that("what is not built is refused by name", {
  expect_error(loo::loo(herd_fit), class = "elbo_error_not_available")
  expect_error(sensitivity(herd_fit, to = "data"), class = "elbo_error_not_available")
  expect_error(elbo(herd_fit, theta = theta(herd_fit)), class = "elbo_error_method")
  expect_error(logLik(herd_fit), class = "elbo_error_loglik")
})

test_that("threads do not change bits", {
  skip_on_cran()
  two <- update(herd_fit, control = elbo_control(threads = 2))
  expect_identical(theta(two), theta(herd_fit))
})

# Long runs of JAGS and the JAGS benchmark quoted by Stan's example models: see data/README.md.
test_that("reference posteriors are met, or the verdict says where not", {
  hospitals <- read_shared("posteriordb", "surgical_data.csv")
  hospitals$hospital <- factor(seq_len(nrow(hospitals)))
  fit <- fit_glmm(cbind(r, n - r) ~ 1 + (1 | hospital), hospitals, binomial(), method = "vb",
                  prior = priors(beta = normal(0, 1000), sd = gamma_precision(0.001, 0.001)))
  reference <- read_shared("posteriordb", "surgical_data_mcmc.csv")
  at <- reference[match(c("mu", "sigma"), reference$parameter), ]
  expect_lt(max(abs(theta(fit) - at$mean) / at$sd), 0.2)
  # Its sds are 8 % too small with 12 hospitals, which the verdict finds.
  expect_false(convergence(fit)$trusted)
  expect_equal(convergence(fit)$check$sd, at$sd, tolerance = 0.03)
  expect_lt(max(abs(convergence(fit)$check$mean - at$mean) / at$sd), 0.05)

  d <- read_shared("posteriordb", "lsat_data.csv")
  d <- d[rep(seq_len(nrow(d)), diff(c(0, d$culm))), ]
  items <- data.frame(y = unlist(d[-1]), item = gl(5, nrow(d)), student = factor(seq_len(nrow(d))))
  fit <- fit_glmm(y ~ 0 + item + (1 | student), items, binomial(), method = "vb",
                  prior = priors(beta = normal(0, 100), student = half_normal(100)))
  reference <- read_shared("bugs", "reference.csv")
  at <- reference[reference$example == "lsat", ]
  expect_lt(max(abs(theta(fit) - at$mean * rep(c(-1, 1), c(5, 1))) / at$sd), 0.2)
  expect_lt(max(abs(sqrt(diag(vcov(fit, full = TRUE))) / at$sd - 1)), 0.05)
})

test_that("more coefficients than memory has room for are refused", {
  expect_error(check_general_vb_size(400L), "400 coefficients", class = "elbo_error_memory")
  expect_error(check_general_vb_size(50L, memory = 1e6), class = "elbo_error_memory")
  expect_no_error(check_general_vb_size(50L, memory = 1e9))
})
