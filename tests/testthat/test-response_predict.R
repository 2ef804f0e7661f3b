# Uncertainty of predictions, draws and refits of models that are not gaussian.

herds <- function(...) {
  skip_if_not_installed("lme4")
  fit_glmm(cbind(incidence, size - incidence) ~ period + (1 | herd), lme4::cbpp, binomial(), ...)
}

test_that("rows that were left out are padded, of two columns too", {
  skip_if_not_installed("lme4")
  gaps <- lme4::cbpp
  gaps$period[c(2, 9)] <- NA
  fit <- fit_glmm(cbind(incidence, size - incidence) ~ period + (1 | herd), gaps, binomial(),
                  na.action = na.exclude)
  drawn <- simulate(fit, 2, seed = 1)
  expect_identical(row.names(drawn), row.names(gaps))
  expect_equal(unname(which(is.na(drawn$sim_2[, 1]))), c(2, 9))
  expect_equal(unname(rowSums(drawn$sim_1))[-c(2, 9)], gaps$size[-c(2, 9)])
  expect_equal(which(is.na(predict(fit))), c(`2` = 2, `9` = 9))
})

# Delta method with derivatives by differences of theta, and vcov() of all of theta.
test_that("standard errors for the population have the uncertainty of the sd in them", {
  fit <- herds()
  new <- data.frame(period = factor(1:4), herd = 1)
  mean_at <- function(theta) {
    x <- theta[1] + c(0, theta[2:4])
    vapply(x, function(x) stats::integrate(function(z) {
      stats::plogis(x + theta[5] * z) * stats::dnorm(z)
    }, -9, 9, rel.tol = 1e-10)$value, 0)
  }
  at <- as.vector(theta(fit))
  J <- vapply(1:5, function(j) {
    h <- replace(numeric(5), j, 1e-4)
    (mean_at(at + h) - mean_at(at - h)) / 2e-4
  }, numeric(4))
  se <- sqrt(diag(J %*% vcov(fit, full = TRUE) %*% t(J)))
  population <- predict(fit, new, type = "response", re.form = NA, se.fit = TRUE,
                        interval = "confidence")
  expect_equal(unname(population$se.fit), se, tolerance = 1e-5)
  expect_true(all(population$fit[, "lwr"] > 0 & population$fit[, "upr"] < 1))
})

test_that("on the scale of the link errors are those of the coefficients, and of a new group", {
  fit <- herds()
  new <- data.frame(period = factor(1:4), herd = "new")
  X <- cbind(1, diag(4)[, -1])
  se <- sqrt(diag(X %*% vcov(fit) %*% t(X)))
  expect_equal(unname(predict(fit, new, re.form = NA, se.fit = TRUE)$se.fit), se)
  unseen <- predict(fit, new, allow.new.levels = TRUE, se.fit = TRUE)$se.fit
  expect_equal(unname(unseen), sqrt(se^2 + theta(fit)[["sd__(Intercept)|herd"]]^2))
  # Of a group of the fit more is known, though not less than given the estimates.
  known <- predict(fit, transform(new, herd = "3"), se.fit = TRUE)$se.fit
  expect_true(all(known < unseen & known > 0))
})

test_that("simulated responses have the form of the response, and its mean", {
  fit <- herds()
  draws <- simulate(fit, 2000, seed = 1)
  expect_identical(colnames(draws$sim_1), colnames(model.frame(fit)[[1]]))
  size <- lme4::cbpp$size
  shares <- vapply(draws, function(y) y[, 1] / size, numeric(56))
  mean <- predict(fit, type = "response", re.form = NA)
  # Four standard errors of 56 means.
  expect_lt(max(abs(rowMeans(shares) - mean) / (apply(shares, 1, stats::sd) / sqrt(2000))), 4)
  expect_identical(simulate(fit, 1, seed = 1)$sim_1, draws$sim_1)
  expect_error(simulate(fit, newdata = data.frame(period = factor(1), herd = 1)), "size",
               class = "elbo_error_data")
  factors <- transform(lme4::cbpp, any = factor(ifelse(incidence > 0, "yes", "no")))
  one <- fit_glmm(any ~ period + (1 | herd), factors, binomial())
  expect_identical(levels(simulate(one, 1, seed = 1)$sim_1), c("no", "yes"))
})

test_that("profile limits lie where the log-likelihood has fallen by half a quantile", {
  fit <- herds()
  limits <- confint(fit, c("period2", "sd__(Intercept)|herd"), type = "profile")
  fall <- stats::qchisq(0.95, 1) / 2
  for (side in 1:2) {
    at <- herds(prior = priors(period2 = constant(limits[1, side])))
    expect_equal(as.numeric(logLik(fit) - logLik(at)), fall, tolerance = 1e-5,
                 ignore_attr = TRUE)
    at <- herds(prior = priors(herd = constant(limits[2, side])))
    expect_equal(as.numeric(logLik(fit) - logLik(at)), fall, tolerance = 1e-5)
  }
})

test_that("the bootstrap refits draws of the fit", {
  fit <- herds()
  draws <- bootstrap(fit, 100, seed = 1)
  expect_equal(dim(draws$theta), c(100, 5))
  expect_identical(draws$theta, bootstrap(fit, 100, seed = 1)$theta)
  ratio <- sqrt(diag(vcov(draws))[1:4] / diag(vcov(fit)))
  # A standard deviation of 100 draws is right to 7 %; three of these.
  expect_true(all(abs(log(ratio)) < 0.25))
})

test_that("what these models do not predict is refused", {
  fit <- herds()
  expect_error(predict(fit, interval = "prediction"), "simulate",
               class = "elbo_error_not_available")
  laplace <- update(fit, control = elbo_control(quadrature = 1))
  expect_error(predict(laplace, se.fit = TRUE), "Laplace", class = "elbo_error_not_available")
})

stages <- function() {
  set.seed(1)
  d <- data.frame(x = rnorm(60), g = gl(6, 10), a = gl(2, 1, 60))
  d$o <- cut(d$x + rnorm(6)[d$g] + rnorm(60), 3, labels = 1:3, ordered_result = TRUE)
  d
}

test_that("ordered responses are predicted for new rows, without an intercept", {
  d <- stages()
  fit <- fit_glmm(o ~ x * a + (1 | g), d, family = cumulative())
  for (type in c("link", "response")) {
    expect_equal(predict(fit, d, type = type), predict(fit, type = type))
  }
  expect_identical(simulate(fit, seed = 1, newdata = d)$sim_1, simulate(fit, seed = 1)$sim_1)
  new <- data.frame(x = c(NA, 1), a = factor(1, levels = 1:2), g = 9)
  shares <- predict(fit, new, type = "response", allow.new.levels = TRUE)
  expect_identical(is.na(shares[, 1]), c(`1` = TRUE, `2` = FALSE))
  expect_equal(sum(shares[2, ]), 1)
  expect_length(predict(fit, d[0, ]), 0)
})

test_that("columns that thresholds reach are dropped, and are told in new rows", {
  d <- stages()
  d <- transform(d, one = 7, first = as.numeric(a == 1), second = as.numeric(a == 2))
  expect_message(fit <- fit_glmm(o ~ one + x + (1 | g), d, family = cumulative()), "`one`")
  alone <- fit_glmm(o ~ x + (1 | g), d, family = cumulative())
  expect_equal(theta(fit), theta(alone), tolerance = 1e-8)
  expect_message(fit <- fit_glmm(o ~ first + second + (1 | g), d, family = cumulative()),
                 "`second`")
  expect_equal(predict(fit, d), predict(fit))
  expect_warning(at <- predict(fit, data.frame(first = 1, second = 1), re.form = NA), "`second`",
                 class = "elbo_warning_not_identified")
  expect_true(is.na(at))
})

test_that("thresholds and sizes have no profile, which is said", {
  fit <- fit_glmm(o ~ x + (1 | g), stages(), family = cumulative())
  expect_warning(limits <- confint(fit, c("threshold__1|2", "x"), type = "profile"),
                 "`threshold__1|2` cannot be held", fixed = TRUE, class = "elbo_warning_interval")
  expect_identical(is.na(limits[, 1]), c("threshold__1|2" = TRUE, x = FALSE))
})
