# Mixed models of other responses. glmm/exact.csv: marginal likelihood by the trapezoidal rule on
# 1,001 nodes, maximised until the score is below 1e-8; laplace_* from lme4 at tight tolerances.

exact_data <- function(name) {
  read <- function(file) utils::read.csv(shared_file("glmm", file))
  switch(name,
    cbpp = lme4::cbpp, bacteria = MASS::bacteria, epil = MASS::epil,
    grouseticks = lme4::grouseticks,
    toenail = transform(read("toenail.csv"), outcome = outcome != "none or mild"),
    contraception = transform(read("contraception.csv"), use = use == "Y")
  )
}

exact_formula <- list(
  cbpp = cbind(incidence, size - incidence) ~ period + (1 | herd),
  bacteria = y ~ trt + I(week > 2) + (1 | ID),
  epil = y ~ lbase * trt + lage + V4 + (1 | subject),
  toenail = outcome ~ treatment * time + (1 | patientID),
  grouseticks = TICKS ~ YEAR + I(HEIGHT - mean(HEIGHT)) + (1 | BROOD),
  contraception = use ~ age * (livch != 0) + I(age^2) + urban + (1 | district)
)

test_that("quadrature is that of 1,001 nodes, to the digits that these are printed with", {
  skip_if_not_installed("lme4")
  skip_if_not_installed("MASS")
  table <- utils::read.csv(shared_file("glmm", "exact.csv"), colClasses = "character")
  numbers <- function(x) as.numeric(strsplit(x, ";")[[1]])
  for (name in names(exact_formula)) {
    rows <- table[table$data == name, ]
    of <- function(quantity, column = "value") numbers(rows[rows$quantity == quantity, column])
    family <- rows$family[1]
    fit <- fit_glmm(exact_formula[[name]], exact_data(name), family = family)
    expect_equal(as.numeric(logLik(fit)), of("logLik"), tolerance = 1e-6 / abs(of("logLik")))
    sd <- grep("^sd__", names(theta(fit)))
    expect_lt(max(abs(coef(fit) - of("beta")) / of("beta", "se")), 1e-4)
    expect_lt(abs(theta(fit)[sd] - of("sd")) / of("sd", "se"), 1e-4)
    # Standard errors are printed with five decimals.
    se <- sqrt(diag(vcov(fit, full = TRUE)))
    expect_lt(max(abs(se - c(of("beta", "se"), of("sd", "se"))) - 5.1e-6 - 1e-4 * se), 0)
    expect_lt(convergence(fit)$gradient, 1e-8)
    laplace <- update(fit, control = elbo_control(quadrature = 1))
    expect_equal(as.numeric(logLik(laplace)), of("laplace_logLik"),
                 tolerance = 1e-5 / abs(of("laplace_logLik")))
  }
})

# Brute force: the integral over u of each group by R's integrate(), maximised by optim().
test_that("a logistic and a Poisson model are those of integrate()", {
  data <- data.frame(group = factor(rep(1:6, each = 4)), x = cos(1:24),
                     y = c(0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 1))
  density <- list(
    binomial = function(y, x) stats::dbinom(y, 1, stats::plogis(x), log = TRUE),
    poisson = function(y, x) stats::dpois(y, exp(x), log = TRUE)
  )
  for (family in names(density)) {
    log_likelihood <- function(theta) {
      sum(vapply(split(data, data$group), function(one) {
        eta <- theta[1] + theta[2] * one$x
        integrand <- function(z) {
          vapply(z, function(z) {
            exp(sum(density[[family]](one$y, eta + theta[3] * z))) * stats::dnorm(z)
          }, 0)
        }
        log(stats::integrate(integrand, -Inf, Inf, rel.tol = 1e-11)$value)
      }, 0))
    }
    fit <- fit_glmm(y ~ x + (1 | group), data, family = family)
    at <- as.vector(theta(fit))
    expect_equal(as.numeric(logLik(fit)), log_likelihood(at), tolerance = 1e-9)
    elsewhere <- stats::optim(at + 0.05, log_likelihood, control = list(fnscale = -1))
    expect_lte(elsewhere$value, as.numeric(logLik(fit)) + 1e-7)
  }
})

test_that("EM's account: KL is zero after an E-step, and the ELBO never falls", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(incidence / size ~ period + (1 | herd), lme4::cbpp, family = binomial(),
                  weights = size, control = elbo_control(accelerate = "none"))
  trace <- elbo_trace(fit)
  expect_true(all(diff(trace$elbo) > -1e-8))
  expect_equal(trace$kl[trace$step == "E"], rep(0, sum(trace$step == "E")))
  expect_true(all(trace$kl > -1e-8))
  quick <- update(fit, control = elbo_control())
  expect_equal(theta(fit), theta(quick), tolerance = 1e-6)
})

test_that("the bits do not depend on the number of threads", {
  skip_if_not_installed("MASS")
  one <- fit_glmm(y ~ lbase + (1 + V4 | subject), MASS::epil, family = poisson())
  two <- update(one, control = elbo_control(threads = 2))
  expect_identical(theta(one), theta(two))
  expect_identical(elbo_trace(one), elbo_trace(two))
})

test_that("without random effects it is glm()", {
  skip_if_not_installed("lme4")
  logistic <- fit_glmm(cbind(incidence, size - incidence) ~ period, lme4::cbpp, family = binomial)
  by_glm <- glm(cbind(incidence, size - incidence) ~ period, binomial, lme4::cbpp)
  expect_equal(as.vector(coef(logistic)), unname(coef(by_glm)), tolerance = 1e-7)
  expect_equal(as.numeric(logLik(logistic)), as.numeric(logLik(by_glm)), tolerance = 1e-9)
  expect_equal(unname(vcov(logistic)), unname(vcov(by_glm)), tolerance = 1e-6)
})

# The joint density of all levels by dense matrices, at its mode by Newton's method.
dense_laplace <- function(y, X, Z, beta, sd_of_column, density, slope, curvature) {
  Z <- sweep(Z, 2, sd_of_column, `*`)
  v <- numeric(ncol(Z))
  for (step in 1:50) {
    eta <- drop(X %*% beta + Z %*% v)
    H <- diag(ncol(Z)) + crossprod(Z, curvature(y, eta) * Z)
    v <- v + solve(H, drop(crossprod(Z, slope(y, eta))) - v)
  }
  eta <- drop(X %*% beta + Z %*% v)
  H <- diag(ncol(Z)) + crossprod(Z, curvature(y, eta) * Z)
  sum(density(y, eta)) - sum(v^2) / 2 - as.numeric(determinant(H)$modulus) / 2
}

test_that("several factors: Laplace's method is that of dense matrices, and at its maximum", {
  data <- data.frame(a = factor(rep(1:8, each = 6)), b = factor(rep(1:6, 8)), x = sin(1:48))
  data$y <- c(2, 0, 1, 3, 0, 5, 1, 1)[data$a] + c(0, 4, 0, 1, 6, 0)[data$b] + (1:48) %% 2
  fit <- fit_glmm(y ~ x + (1 | a) + (1 | b), data, family = poisson())
  Z <- cbind(model.matrix(~ 0 + a, data), model.matrix(~ 0 + b, data))
  value <- function(theta) {
    dense_laplace(data$y, cbind(1, data$x), Z, theta[1:2], rep(theta[3:4], c(8, 6)),
                  function(y, eta) dpois(y, exp(eta), log = TRUE), function(y, eta) y - exp(eta),
                  function(y, eta) exp(eta))
  }
  at <- as.vector(theta(fit))
  expect_equal(as.numeric(logLik(fit)), value(at), tolerance = 1e-11)
  expect_lt(max(abs(numDeriv::grad(value, at))), 1e-5)
  expect_equal(unname(vcov(fit, full = TRUE)), solve(-numDeriv::hessian(value, at)),
               tolerance = 1e-4)
})

# exact.csv has lme4's -4075.700239, sds 1.339541 and .495247: with tolPwrss = 1e-12 it is
# -4075.69985987 (lme4 1.1-31, bobyqa), what dense matrices give at our estimates too.
test_that("VerbAgg is lme4's with tight inner tolerance", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item), lme4::VerbAgg,
                  family = binomial())
  expect_equal(as.numeric(logLik(fit)), -4075.69985987, tolerance = 1e-11)
  sds <- theta(fit)[c("sd__(Intercept)|id", "sd__(Intercept)|item")]
  expect_equal(unname(as.vector(sds)), c(1.339541, 0.495247), tolerance = 2e-4)
})

test_that("priors make the mode of the marginal posterior", {
  skip_if_not_installed("lme4")
  formula <- cbind(incidence, size - incidence) ~ period + (1 | herd)
  plain <- fit_glmm(formula, lme4::cbpp, family = binomial())
  fit <- update(plain, prior = priors(beta = normal(0, 1), sd = half_t(3, 1)))
  at <- as.vector(theta(fit))
  objective <- function(theta) { # densities of half_t on the scale of the sd: 2 dt
    general_at(plain, theta, nodes = 25L)$log_evidence +
      sum(dnorm(theta[1:4], 0, 1, log = TRUE)) + log(2) + dt(theta[5], 3, log = TRUE)
  }
  expect_equal(elbo_trace(fit)$elbo[nrow(elbo_trace(fit))], objective(at), tolerance = 1e-9)
  expect_lt(max(abs(numDeriv::grad(objective, at))), 1e-6)
  expect_equal(unname(vcov(fit, full = TRUE)), solve(-numDeriv::hessian(objective, at)),
               tolerance = 1e-5)
})

test_that("separated data have a mode under a prior", {
  data <- data.frame(x = rep(0:1, each = 10), y = rep(0:1, each = 10), g = factor(rep(1:5, 4)))
  fit <- fit_glmm(y ~ x + (1 | g), data, family = binomial(),
                  prior = priors(beta = normal(0, 2.5)))
  expect_equal(convergence(fit)$status, "converged")
  expect_equal(unname(theta(fit)[3]), 0, ignore_attr = TRUE)
})

test_that("the ELBO of Laplace's q is that of its definition, below the log-likelihood", {
  data <- data.frame(group = factor(rep(1:6, each = 3)), x = cos(1:18),
                     y = c(0, 2, 1, 4, 5, 3, 0, 0, 1, 7, 3, 2, 1, 1, 0, 2, 6, 4))
  exact <- fit_glmm(y ~ x + (1 | group), data, family = poisson())
  fit <- update(exact, control = elbo_control(quadrature = 1))
  at <- as.vector(theta(fit))
  u <- ranef(fit)$group[[1]]
  s <- latent(fit)$sd
  by_group <- vapply(1:6, function(g) {
    one <- data[data$group == g, ]
    integrand <- function(z) {
      vapply(z, function(z) {
        stats::dnorm(z) * (sum(stats::dpois(one$y, exp(at[1] + at[2] * one$x + z * s[g] + u[g]),
                                            log = TRUE)) +
                             stats::dnorm(u[g] + z * s[g], 0, at[3], log = TRUE))
      }, 0)
    }
    stats::integrate(integrand, -12, 12, rel.tol = 1e-10)$value + log(s[g]) +
      log(2 * pi * exp(1)) / 2
  }, 0)
  expect_equal(elbo(fit), sum(by_group), tolerance = 1e-8)
  expect_lt(elbo(fit), elbo(exact, theta(fit)))
  expect_equal(elbo(exact), as.numeric(logLik(exact)))
})

test_that("posterior means move with the estimates as differences say", {
  skip_if_not_installed("MASS")
  fit <- fit_glmm(y ~ lbase + (1 + V4 | subject), MASS::epil, family = poisson())
  moves <- general_at(fit, theta(fit))$moves
  for (name in c("(Intercept)", "lbase")) {
    at <- function(step) {
      moved <- theta(fit)
      moved[name] <- moved[name] + step
      general_at(fit, moved)$mean
    }
    by_differences <- (at(1e-4) - at(-1e-4)) / 2e-4
    expect_equal(t(moves[, match(name, names(theta(fit))), ]), by_differences, tolerance = 1e-6)
  }
  expect_true(all(latent(fit)$sd > latent(fit, type = "conditional")$sd))
})

test_that("joint: the mode of the density of theta and z, where the prior of the sd allows one", {
  data <- data.frame(g = factor(rep(1:8, each = 5)), x = sin(1:40),
                     y = as.integer((7 * 1:40) %% 11 < rep(c(2, 5, 8, 3, 9, 4, 6, 7), each = 5)))
  fit <- fit_glmm(y ~ x + (1 | g), data, family = binomial(), method = "joint",
                  prior = priors(sd = gamma_precision(3, 3), beta = normal(0, 3)))
  density <- function(at) { # of 1/sd^2 a gamma law: Jacobian 2 / sd^3
    u <- at[-(1:3)]
    sum(dbinom(data$y, 1, plogis(at[1] + at[2] * data$x + u[data$g]), log = TRUE)) +
      sum(dnorm(u, 0, at[3], log = TRUE)) + sum(dnorm(at[1:2], 0, 3, log = TRUE)) +
      dgamma(1 / at[3]^2, 3, 3, log = TRUE) + log(2) - 3 * log(at[3])
  }
  at <- c(as.vector(theta(fit)), ranef(fit)$g[[1]])
  expect_equal(elbo(fit), density(at), tolerance = 1e-10)
  expect_lt(max(abs(numDeriv::grad(density, at))), 1e-5)
  expect_error(logLik(fit), class = "elbo_error")
  expect_error(update(fit, prior = NULL), class = "elbo_error_unbounded")
})

# glm.nb() and polr() stop where their criterion changes by 1e-8 of itself.
test_that("without random effects it is MASS::glm.nb() and MASS::polr()", {
  skip_if_not_installed("MASS")
  counts <- fit_glmm(y ~ lbase + trt, MASS::epil, family = negative_binomial())
  by_mass <- MASS::glm.nb(y ~ lbase + trt, MASS::epil)
  expect_equal(unname(coef(counts)), unname(coef(by_mass)), tolerance = 1e-5, ignore_attr = TRUE)
  expect_equal(theta(counts)[["size"]], by_mass$theta, tolerance = 1e-5)
  expect_equal(as.numeric(logLik(counts)), as.numeric(logLik(by_mass)), tolerance = 1e-9)

  rows <- rep(seq_len(nrow(MASS::housing)), MASS::housing$Freq)
  houses <- MASS::housing[rows, ]
  for (link in c("logit", "probit")) {
    ordered <- fit_glmm(Sat ~ Infl + Cont, houses, family = cumulative(link))
    method <- if (link == "logit") "logistic" else "probit"
    by_mass <- MASS::polr(Sat ~ Infl + Cont, houses, method = method)
    expect_equal(as.vector(theta(ordered)), unname(c(coef(by_mass), by_mass$zeta)),
                 tolerance = 1e-4)
    expect_equal(as.numeric(logLik(ordered)), as.numeric(logLik(by_mass)), tolerance = 1e-8)
  }
})

test_that("nearly separated subjects, whose posteriors have edges, are fitted all the same", {
  # Steep within a subject, so that normal nodes converge slowly: an M-step may then lower the
  # quadrature's ELBO by more than rounding.
  d <- transform(nlme::Orthodont, tall = distance > 24)
  fit <- fit_glmm(tall ~ age + (1 | Subject), d, family = binomial())
  at <- theta(fit)
  exact <- sum(vapply(split(d, d$Subject, drop = TRUE), function(one) {
    f <- function(z) vapply(z, function(z) {
      eta <- at[[1]] + at[[2]] * one$age + at[[3]] * z
      prod(plogis(ifelse(one$tall, eta, -eta)))
    }, 0) * dnorm(z)
    log(sum(vapply(seq(-8, 7.5, 0.5), function(low) integrate(f, low, low + 0.5)$value, 0)))
  }, 0))
  expect_equal(as.numeric(logLik(fit)), exact, tolerance = 1e-9)
  expect_gt(at[[3]], 10)
})

test_that("a size that climbs to infinity is told as the boundary that it is", {
  set.seed(1)
  # Less varied than Poisson.
  d <- data.frame(x = rnorm(60), g = gl(6, 10), count = rbinom(60, 4, 0.5))
  fit <- fit_glmm(count ~ x + (1 | g), d, family = negative_binomial())
  poisson <- update(fit, family = poisson())
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(poisson)), tolerance = 1e-6)
  expect_equal(vcov(fit), vcov(poisson), tolerance = 1e-5)
  expect_output(print(fit), "as good as infinite")
  expect_identical(unname(is.na(confint(fit, "size")[1, ])), c(TRUE, TRUE))
  varied <- fit_glmm(count ~ 1 + (1 | spray), InsectSprays, family = negative_binomial())
  expect_false(anyNA(confint(varied)))
})
