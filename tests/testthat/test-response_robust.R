# Scores of groups, sandwich, deletion and R2 where responses are not gaussian.

herd_formula <- cbind(incidence, size - incidence) ~ period + (1 | herd)

at_sd <- function(fit) theta(fit)[["sd__(Intercept)|herd"]]

# The log-likelihood of each herd, z integrated by R.
herd_evidence <- function(d, beta, sd) {
  X <- model.matrix(~ period, d)
  vapply(split(seq_len(nrow(d)), d$herd), function(i) {
    f <- function(z) vapply(z, function(z) {
      prod(dbinom(d$incidence[i], d$size[i], plogis(drop(X[i, , drop = FALSE] %*% beta) + sd * z)))
    }, 0) * dnorm(z)
    log(integrate(f, -8, 8, rel.tol = 1e-12, subdivisions = 400L)$value)
  }, 0)
}

test_that("scores of groups are derivatives of the groups' log-likelihoods", {
  skip_if_not_installed("lme4")
  skip_if_not_installed("numDeriv")
  skip_if_not_installed("sandwich")
  d <- lme4::cbpp
  fit <- fit_glmm(herd_formula, d, binomial())
  at <- theta(fit)
  score <- numDeriv::jacobian(function(t) herd_evidence(d, t[1:4], t[5]), as.vector(at))
  V <- vcov(fit, full = TRUE)
  robust <- V %*% crossprod(score) %*% V
  expect_equal(vcov(fit, full = TRUE, type = "sandwich"), robust, tolerance = 1e-5,
               ignore_attr = TRUE)
  expect_equal(sandwich::sandwich(fit), robust[1:4, 1:4], tolerance = 1e-5, ignore_attr = TRUE)
  expect_equal(colSums(sandwich::estfun(fit)), 0 * coef(fit), tolerance = 1e-5,
               ignore_attr = TRUE)
  expect_error(sandwich::vcovHC(fit), class = "elbo_error_not_available")
})

test_that("without groups the sandwich is that of glm()", {
  skip_if_not_installed("sandwich")
  by_glm <- glm(breaks ~ wool + tension, poisson(), warpbreaks,
                control = glm.control(epsilon = 1e-14))
  fit <- fit_glmm(breaks ~ wool + tension, warpbreaks, poisson())
  expect_equal(sandwich::sandwich(fit), sandwich::sandwich(by_glm), tolerance = 1e-6)
  expect_equal(vcov(fit, type = "sandwich"), sandwich::sandwich(by_glm), tolerance = 1e-6)
})

test_that("scores need a likelihood of each group", {
  skip_if_not_installed("sandwich")
  set.seed(1)
  d <- sim_glmm(20, 6, beta = c(0, 0.5), sd = 1, family = binomial())
  d$item <- factor(rep(1:6, 20))
  crossed <- fit_glmm(y ~ x + (1 | group) + (1 | item), d, binomial())
  expect_error(sandwich::estfun(crossed), "several grouping", class = "elbo_error_not_available")
})

test_that("influence() fits without each group", {
  skip_if_not_installed("lme4")
  d <- lme4::cbpp
  fit <- fit_glmm(herd_formula, d, binomial())
  influence <- influence(fit, "herd")
  without <- fit_glmm(herd_formula, subset(d, herd != "3"), binomial())
  expect_equal(influence[["fixed.effects[-herd]"]]["3", ], coef(without), tolerance = 1e-6,
               ignore_attr = TRUE)
  expect_equal(influence[["var.cov.comps"]], c("v[(Intercept)]" = at_sd(fit)^2))
  expect_true(all(cooks.distance(influence) > 0))
})

test_that("R2 has the variance of the link's law", {
  skip_if_not_installed("performance")
  skip_if_not_installed("lme4")
  fit <- fit_glmm(herd_formula, lme4::cbpp, binomial())
  random <- at_sd(fit)^2
  fixed <- var(drop(model.matrix(fit) %*% coef(fit)))
  r2 <- performance::r2(fit)
  expect_equal(r2$R2_conditional[[1]], (fixed + random) / (fixed + random + pi^2 / 3))
  expect_equal(r2$R2_marginal[[1]], fixed / (fixed + random + pi^2 / 3))
})

test_that("getME() has the pieces that these models have", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(herd_formula, lme4::cbpp, binomial())
  peer <- lme4::glmer(herd_formula, lme4::cbpp, binomial())
  for (piece in c("X", "Z", "Gp", "Lind", "n", "q", "cnms")) {
    expect_equal(lme4::getME(fit, piece), lme4::getME(peer, piece), ignore_attr = TRUE,
                 label = piece)
  }
  expect_equal(lme4::getME(fit, "theta"), c("herd.(Intercept)" = at_sd(fit)))
  expect_error(lme4::getME(fit, "u"), class = "elbo_error_argument")
})

test_that("terms of one fit are tested by Wald's chi-square", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(herd_formula, lme4::cbpp, binomial())
  table <- anova(fit)
  own <- 2:4
  statistic <- drop(coef(fit)[own] %*% solve(vcov(fit)[own, own], coef(fit)[own]))
  expect_equal(table["period", "Chisq"], statistic, tolerance = 1e-6)
  expect_identical(table["period", "Df"], 3L)
  expect_equal(table["period", "Pr(>Chisq)"], pchisq(statistic, 3, lower.tail = FALSE))
  expect_output(print(table), "Wald tests of the terms")
})
