# The likelihood of counts and shares is bounded, also where a component has mean 0 or a probability
# 0 or 1. Maxima beside them are by direct optimisation of the zero-inflated likelihood.

set.seed(2)
inflated <- data.frame(y = c(rep(0, 80), rpois(120, 4)))
zero <- fit_mixture(y ~ 1, inflated, k = 1:3, family = poisson())

zero_inflated_poisson <- function(p, y) {
  sum(log(plogis(p[1]) * dpois(y, exp(p[2])) + plogis(-p[1]) * (y == 0)))
}

test_that("zero inflation is found, and chosen", {
  direct <- optim(c(0, 1), zero_inflated_poisson, y = inflated$y, method = "BFGS",
                  control = list(fnscale = -1, reltol = 1e-15))
  expect_equal(n_components(zero), 2)
  expect_equal(as.numeric(logLik(zero)), direct$value, tolerance = 1e-9)
  expect_equal(round(as.numeric(logLik(zero)), 3), -375.161)
  expect_equal(unname(theta(zero)[1:3]),
               c(plogis(direct$par[1]), plogis(-direct$par[1]), direct$par[2]),
               tolerance = 1e-5, ignore_attr = TRUE)
  expect_identical(theta(zero)[["(Intercept)|2"]], -Inf)
  expect_equal(selection(zero)$status, rep("ok", 3))
})

test_that("what is at the boundary is said, and everything else answers", {
  expect_output(print(zero), "Component 2 has mean 0: on the boundary")
  parameters <- summary(zero)$parameters
  expect_equal(parameters$name[parameters$boundary], "(Intercept)|2")
  V <- vcov(zero, full = TRUE)
  expect_true(all(is.na(V[, "(Intercept)|2"])))
  # The others as in the model that has no other parameter: numerical second derivatives.
  at <- c(qlogis(theta(zero)[[1]]), theta(zero)[[3]])
  H <- optimHess(at, zero_inflated_poisson, y = inflated$y)
  expect_equal(sqrt(-solve(H)[2, 2]), sqrt(V["(Intercept)|1", "(Intercept)|1"]), tolerance = 1e-4)
  expect_equal(unname(predict(zero, data.frame(x = 1), type = "response",
                              by_component = TRUE)[1, 2]), 0)
  expect_equal(unname(predict(zero, data.frame(y = 0:1), type = "prob")[2, 2]), 0,
               tolerance = 1e-15)
  expect_equal(tidy(zero, conf.int = TRUE)$std.error[4], NA_real_)
  expect_equal(unname(confint(zero)["(Intercept)|2", ]), c(NA_real_, NA_real_))
  expect_true(all(simulate(zero, 1, seed = 1)$sim_1[attr(simulate(zero, 1, seed = 1),
                                                         "component") == 2] == 0))
  expect_equal(elbo(zero, theta = theta(zero)), objective_of(zero))
  expect_identical(components(zero)$coefficients[["2", "(Intercept)"]], -Inf)
  b <- bootstrap(zero, 5, seed = 1)
  expect_true(all(b$theta[, "(Intercept)|2"] == -Inf))
  expect_false(anyNA(residuals(zero, "pearson")))
  expect_equal(elbo(update(zero, k = 2)), elbo(zero), tolerance = 1e-10)
})

test_that("points on the components have their mean of 0 too; vb has a prior", {
  joint <- update(zero, k = 2, method = "joint")
  expect_identical(theta(joint)[["(Intercept)|2"]], -Inf)
  # every zero to one component, every other count to the other
  n <- as.vector(table(inflated$y > 0))
  rest <- inflated$y[inflated$y > 0]
  expect_equal(objective_of(joint),
               sum(dpois(rest, mean(rest), log = TRUE)) + sum(n * log(n / 200)), tolerance = 1e-9)
  vb <- update(zero, k = 2, method = "vb")
  expect_lt(theta(vb)[["(Intercept)|2"]], -5)
  expect_true(is.finite(elbo(vb)))
})

test_that("shares have a component of failures, and one of successes", {
  set.seed(8)
  shares <- data.frame(s = c(rep(0, 50), rbinom(100, 10, 0.4), rep(10, 30)))
  fit <- fit_mixture(cbind(s, 10 - s) ~ 1, shares, k = 3, family = binomial())
  direct <- optim(c(0, 0, 0), function(p) {
    w <- exp(c(0, p[1:2])) / sum(exp(c(0, p[1:2])))
    sum(log(w[1] * dbinom(shares$s, 10, plogis(p[3])) + w[2] * (shares$s == 0) + w[3] *
            (shares$s == 10)))
  }, method = "BFGS", control = list(fnscale = -1, reltol = 1e-15))
  expect_equal(as.numeric(logLik(fit)), direct$value, tolerance = 1e-9)
  expect_equal(unname(theta(fit)[4:6]), c(direct$par[3], -Inf, Inf), tolerance = 1e-4,
               ignore_attr = TRUE)
  expect_output(print(fit), "Component 3 has probability 1")
})

test_that("with covariates the coefficient that leaves is told from those not identified", {
  set.seed(6)
  d <- data.frame(f = gl(3, 1, 360), x = rnorm(360), unit = rep(1:90, each = 4))
  d$y <- ifelse(d$unit <= 40, 0, rpois(nrow(d), exp(1 + (d$f == 2))))
  # A component of zeros whatever the level and x.
  fit <- fit_mixture(y ~ f + x, d, k = 2, family = poisson(), unit = ~ unit)
  beta <- theta(fit)[parameters_of(fit)$block == "beta" & parameters_of(fit)$component == 2]
  expect_identical(unname(as.vector(beta)), c(-Inf, NA, NA, NA))
  own <- glm(y ~ f + x, poisson, d[d$unit > 40, ])
  expect_equal(unname(theta(fit)[parameters_of(fit)$block == "beta" &
                                 parameters_of(fit)$component == 1]),
               unname(coef(own)), tolerance = 1e-6, ignore_attr = TRUE)
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(own)) + 40 * log(4 / 9) + 50 * log(5 / 9),
               tolerance = 1e-6) # units of four rows are classified but for 1e-7
  expect_output(print(fit), "Not identified")
  # Level 3 has only zeros in the second component.
  d$y <- ifelse(d$unit <= 40, ifelse(d$f == 3, 0, rpois(nrow(d), 20)), rpois(nrow(d), 3))
  fit <- fit_mixture(y ~ f, d, k = 2, family = poisson(), unit = ~ unit)
  own <- glm(y ~ f, poisson, d[d$unit <= 40 & d$f != 3, ])
  beta <- theta(fit)[parameters_of(fit)$block == "beta" & parameters_of(fit)$component == 2]
  expect_equal(unname(as.vector(beta)), c(unname(coef(own)), -Inf), tolerance = 1e-6)
  se <- sqrt(diag(vcov(fit)))
  expect_equal(unname(se[c("(Intercept)|2", "f2|2")]), unname(sqrt(diag(vcov(own)))),
               tolerance = 1e-4)
  expect_equal(se[["f3|2"]], NA_real_)
})

test_that("membership that covariates tell without error has the limit of the likelihood", {
  set.seed(1)
  d <- data.frame(y = c(rnorm(50), rnorm(50, 8)), w = c(runif(50), 1 + runif(50)))
  # Every unit's component is known: two samples with a common variance.
  residual <- d$y - ave(d$y, d$w > 1)
  known <- sum(dnorm(residual, sd = sqrt(mean(residual^2)), log = TRUE))
  for (method in c("em", "joint")) {
    fit <- fit_mixture(y ~ 1, d, k = 2, membership = ~ w, covariance = "E", method = method)
    expect_equal(elbo(fit), known, tolerance = 1e-8)
    expect_equal(unname(abs(theta(fit)[1:2])), c(Inf, Inf))
    expect_equal(sign(unname(theta(fit)[1] * theta(fit)[2])), -1)
    expect_output(print(fit), "boundary, where the likelihood is bounded")
    expect_equal(convergence(fit)$status, "converged")
    expect_true(all(is.na(vcov(fit)[1:2, ])))
    expect_equal(unname(vcov(fit)["mean__y|1", "mean__y|1"]), mean(residual^2) / 50,
                 tolerance = 1e-3)
    expect_equal(elbo(fit, theta = theta(fit)), elbo(fit))
    prob <- predict(fit, data.frame(w = c(0.5, 1.5)), type = "prob")
    expect_equal(unname(abs(prob[, 1] - prob[, 2])), c(1, 1))
  }
  set.seed(2)
  again <- bootstrap(fit_mixture(y ~ 1, d, k = 2, membership = ~ w, covariance = "E"), 3)
  expect_true(all(abs(again$theta[, 1:2]) == Inf))
})

test_that("membership at the boundary in a part of the units leaves the others as they are", {
  # Level 1 has one component; with levels 2 and 3 and x free the likelihood is written out.
  set.seed(3)
  d <- data.frame(l = factor(rep(1:3, each = 60)), x = rnorm(180))
  d$y <- rnorm(180) + 4 * c(rep(1, 60), rbinom(120, 1, 0.5))
  fit <- fit_mixture(y ~ 1, d, k = 2, membership = ~ l + x, covariance = "E")
  minus <- function(p) {
    odds <- ifelse(d$l == 1, -Inf, ifelse(d$l == 2, p[1], p[2]) + p[3] * d$x)
    -sum(log(plogis(-odds) * dnorm(d$y, p[4], exp(p[6])) + plogis(odds) *
             dnorm(d$y, p[5], exp(p[6]))))
  }
  best <- optim(c(0, 0, 0, 4, 0, 0), minus, method = "BFGS", hessian = TRUE,
                control = list(reltol = 1e-14))
  expect_equal(as.numeric(logLik(fit)), -best$value, tolerance = 1e-7)
  expect_equal(unname(theta(fit)[1:3]), c(-Inf, Inf, Inf))
  kept <- c("membership__x|2", "mean__y|1", "mean__y|2")
  expect_equal(unname(theta(fit)[kept]), best$par[3:5], tolerance = 1e-4)
  expect_equal(unname(sqrt(diag(vcov(fit)))[kept]), sqrt(diag(solve(best$hessian)))[3:5],
               tolerance = 1e-3)
})

test_that("coefficients of membership on their way out go all of it", {
  set.seed(3)
  d <- sim_mixture(200, weight = c(2, 1), coefficients = rbind(c(0, 1), c(2, -1)),
                   sigma = c(0.5, 1))
  weight <- rep(c(1, 2), 100)
  fit <- fit_mixture(y ~ 1, d, k = 2, weights = weight, membership = ~ x1)
  expect_equal(unname(abs(theta(fit)[1:2])), c(Inf, Inf))
  expect_identical(convergence(fit)$status, "converged")
  # The limit: rows on the sides of a value of x1, each side a weighted sample of its own.
  sides <- function(at) {
    sum(vapply(split(data.frame(y = d$y, w = weight), d$x1 > at), function(s) {
      mean <- stats::weighted.mean(s$y, s$w)
      sd <- sqrt(sum(s$w * (s$y - mean)^2) / nrow(s))
      sum(stats::dnorm(s$y, mean, sd / sqrt(s$w), log = TRUE))
    }, 0))
  }
  x <- sort(d$x1)
  limits <- vapply((x[-1] + x[-200])[50:150] / 2, sides, 0)
  expect_lt(min(abs(limits - elbo(fit))), 1e-8)
})

# An answer that a class never gives has probability zero, not next to zero: EM comes near only by
# halves.
test_that("probabilities of latent classes end at 0 and 1", {
  set.seed(2)
  n <- 500
  z <- sample(3, n, TRUE)
  p <- rbind(c(.9, .8, .7, .9, .2, .6), c(.1, .3, 0, .6, .5, .1), c(1, .4, .5, .2, .9, .9))
  d <- data.frame(matrix(runif(n * 6) < p[z, ], n))
  fit <- function(accelerate) {
    fit_mixture(responses(X1, X2, X3, X4, X5, X6) ~ 1, d, k = 3, start = z,
                control = elbo_control(accelerate = accelerate))
  }
  auto <- fit("auto")
  for (climbed in list(auto, fit("squarem"))) {
    expect_identical(theta(climbed)[["prob__X3|2"]], 0)
    expect_identical(theta(climbed)[["prob__X1|3"]], 1)
    expect_equal(elbo(climbed), elbo(auto), tolerance = 1e-11)
  }
  off <- theta(auto) # nor is it higher a little way off
  off[c("prob__X3|2", "prob__X1|3")] <- c(1e-3, 1 - 1e-3)
  expect_lt(elbo(auto, theta = off), elbo(auto))
})
