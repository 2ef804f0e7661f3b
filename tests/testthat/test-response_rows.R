# Means, residuals and distributions of rows. Without random effects they are those of glm().

cbpp_data <- function() {
  skip_if_not_installed("lme4")
  lme4::cbpp
}

test_that("fitted values and residuals are glm()'s where there are no random effects", {
  data <- cbpp_data()
  same <- function(fit, by_glm, types = c("deviance", "pearson", "working", "response")) {
    expect_equal(fitted(fit), fitted(by_glm), tolerance = 1e-7)
    for (type in types) {
      expect_equal(residuals(fit, type), residuals(by_glm, type), tolerance = 1e-6)
    }
    expect_equal(weights(fit), unname(weights(by_glm, "prior")))
  }
  for (link in c("logit", "probit", "cloglog")) {
    family <- binomial(link)
    same(fit_glmm(cbind(incidence, size - incidence) ~ period, data, family),
         glm(cbind(incidence, size - incidence) ~ period, family, data,
             control = glm.control(1e-14)))
  }
  same(fit_glmm(incidence ~ period + offset(log(size)), data, poisson()),
       glm(incidence ~ period + offset(log(size)), poisson, data, control = glm.control(1e-14)))
  skip_if_not_installed("MASS")
  same(fit_glmm(Days ~ Age, MASS::quine, negative_binomial()),
       MASS::glm.nb(Days ~ Age, MASS::quine, control = glm.control(1e-14, 100)),
       c("deviance", "pearson", "response"))
})

test_that("probabilities of ordered categories are polr()'s", {
  skip_if_not_installed("MASS")
  fit <- fit_glmm(Sat ~ Infl, MASS::housing, cumulative(), weights = Freq)
  polr <- MASS::polr(Sat ~ Infl, MASS::housing, Freq, control = list(reltol = 1e-14))
  expect_equal(unname(fitted(fit)), unname(fitted(polr)), tolerance = 1e-6)
  number <- drop(fitted(polr) %*% 1:3)
  expect_equal(residuals(fit, "response"), as.integer(MASS::housing$Sat) - number,
               tolerance = 1e-5)
  expect_error(residuals(fit, "deviance"), "quantile", class = "elbo_error_not_available")
})

test_that("means are averaged over the normal law, by integrate()", {
  data <- cbpp_data()
  fit <- fit_glmm(cbind(incidence, size - incidence) ~ period + (1 | herd), data, binomial())
  by_integral <- function(mean, sd, link = stats::plogis) {
    stats::integrate(function(z) link(mean + sd * z) * stats::dnorm(z), -9, 9,
                     rel.tol = 1e-10)$value
  }
  new <- data.frame(period = levels(data$period), herd = "3")
  population <- predict(fit, new, type = "response", re.form = NA)
  sd <- theta(fit)[["sd__(Intercept)|herd"]]
  link <- predict(fit, new, re.form = NA)
  expect_equal(as.vector(population), vapply(link, by_integral, 0, sd), tolerance = 1e-9,
               ignore_attr = TRUE)
  known <- predict(fit, new, type = "response")
  posterior <- latent(fit, type = "conditional")
  sd_3 <- posterior$sd[posterior$level == "3"]
  expect_equal(as.vector(known), vapply(predict(fit, new), by_integral, 0, sd_3),
               tolerance = 1e-9, ignore_attr = TRUE)
  # A probit model has a closed form: pnorm(x / sqrt(1 + v)).
  probit <- update(fit, family = binomial("probit"))
  v <- theta(probit)[["sd__(Intercept)|herd"]]^2
  expect_equal(predict(probit, new, type = "response", re.form = NA),
               stats::pnorm(predict(probit, new, re.form = NA) / sqrt(1 + v)), tolerance = 1e-9)
  # And so has a Poisson model: exp(x + v / 2).
  counts <- fit_glmm(incidence ~ period + (1 | herd), data, poisson())
  v <- theta(counts)[["sd__(Intercept)|herd"]]^2
  expect_equal(predict(counts, new, type = "response", re.form = NA),
               exp(predict(counts, new, re.form = NA) + v / 2), tolerance = 1e-9)
})

test_that("quantile residuals are normal under the model", {
  set.seed(4)
  data <- data.frame(g = gl(50, 20), x = stats::rnorm(1000))
  eta <- data$x / 2 + stats::rnorm(50, 0, 0.7)[data$g]
  data$count <- stats::rnbinom(1000, 0.7, mu = exp(eta))
  data$hits <- stats::rbinom(1000, 5, stats::plogis(eta))
  data$word <- cut(eta + stats::rlogis(1000), c(-Inf, -1, 0, 1, Inf), ordered_result = TRUE)
  fits <- list(fit_glmm(count ~ x + (1 | g), data, negative_binomial()),
               fit_glmm(cbind(hits, 5 - hits) ~ x + (1 | g), data, binomial()),
               fit_glmm(word ~ x + (1 | g), data, cumulative()))
  for (fit in fits) {
    r <- residuals(fit, "quantile")
    # The critical value at one in a thousand; shrinkage takes little at 20 rows a group.
    expect_gt(stats::ks.test(r, "pnorm")$p.value, 1e-3)
  }
  # A Poisson model of these counts shows its overdispersion.
  poisson <- fit_glmm(count ~ x + (1 | g), data, poisson())
  expect_gt(stats::var(residuals(poisson, "quantile")), 1.3)
})

test_that("overdispersion and zeros are said", {
  skip_if_not_installed("MASS")
  fit <- fit_glmm(y ~ lbase + (1 | subject), MASS::epil, poisson())
  expect_output(print(summary(fit)), "vary more than the family")
  expect_no_match(capture.output(summary(update(fit, family = negative_binomial()))), "vary more")
  zeros <- data.frame(y = rep(c(0, 4), c(30, 30)), g = gl(6, 10))
  many <- fit_glmm(y ~ 1, zeros, poisson())
  expect_output(print(summary(many)), "30 zeros, where the fit expects")
})

test_that("what is for gaussian responses only is refused by name", {
  fit <- fit_glmm(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp_data(), binomial())
  for (f in list(hatvalues, rstandard, cooks.distance, sensitivity)) {
    expect_error(f(fit), "not for mixed models of responses that are not gaussian",
                 class = "elbo_error_not_available")
  }
})

test_that("augment() is on the scale of the response, emmeans on that of the link", {
  fit <- fit_glmm(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp_data(), binomial())
  rows <- augment(fit)
  expect_equal(rows$.fitted, unname(fitted(fit)))
  expect_equal(rows$.fixed, unname(predict(fit, type = "response", re.form = NA)))
  skip_if_not_installed("emmeans")
  means <- as.data.frame(emmeans::emmeans(fit, ~ period, type = "response"))
  expect_equal(means$prob, stats::plogis(coef(fit)[[1]] + c(0, coef(fit)[2:4])),
               ignore_attr = TRUE)
})

test_that("with several factors means average the joint posterior of their levels", {
  skip_if_not_installed("lme4")
  d <- lme4::grouseticks
  fit <- fit_glmm(TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION), d, family = poisson)
  # Laplace's normal by a dense matrix.
  Z <- cbind(stats::model.matrix(~ 0 + BROOD, d), stats::model.matrix(~ 0 + LOCATION, d))
  eta <- predict(fit)
  sd <- theta(fit)[c("sd__(Intercept)|BROOD", "sd__(Intercept)|LOCATION")]
  H <- crossprod(Z, exp(eta) * Z) +
    diag(rep(1 / sd^2, c(nlevels(d$BROOD), nlevels(d$LOCATION))))
  mean <- exp(eta + rowSums((Z %*% solve(H)) * Z) / 2)
  expect_equal(fitted(fit), mean, tolerance = 1e-9)
  expect_equal(predict(fit, d, type = "response"), mean, tolerance = 1e-9)
  expect_equal(residuals(fit, "response"), d$TICKS - mean, ignore_attr = TRUE, tolerance = 1e-9)
  # By vb the means of a Poisson model with an intercept sum to the counts but for its prior.
  vb <- update(fit, method = "vb")
  expect_equal(sum(fitted(vb)), sum(d$TICKS), tolerance = 1e-3)
  one <- fit_glmm(TICKS ~ YEAR + (1 | BROOD), d, family = poisson, method = "vb")
  expect_equal(sum(fitted(one)), sum(d$TICKS), tolerance = 1e-3)
  expect_error(predict(vb, d, type = "response"), class = "elbo_error_not_available")
})
