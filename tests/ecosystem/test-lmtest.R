fit <- fit_of("em")

test_that("likelihood ratios are those of logLik()", {
  smaller <- fit_glmm(distance ~ age + Sex + (age | Subject), orthodont)
  table <- lmtest::lrtest(fit, smaller)
  expect_equal(table$Chisq[2], 2 * as.numeric(logLik(fit) - logLik(smaller)))
  expect_equal(lmtest::lrtest(fit, . ~ . - age:Sex)$Chisq, table$Chisq)
  # Every model has all its parameters counted.
  expect_equal(table$`#Df`, c(8, 7))
})

test_that("restricted likelihoods of different fixed effects are not compared", {
  restricted <- fit_of("reml")
  smaller <- update(restricted, . ~ . - age:Sex)
  expect_message(table <- lmtest::lrtest(restricted, smaller), "Refitting")
  expect_equal(table$Chisq[2], as.numeric(2 * (logLik(fit) - logLik(update(fit, . ~ . - age:Sex)))),
               tolerance = 1e-6)
  fewer <- update(restricted, . ~ . - (age | Subject) + (1 | Subject))
  expect_silent(table <- lmtest::lrtest(restricted, fewer))
  expect_equal(table$Chisq[2], as.numeric(2 * (logLik(restricted) - logLik(fewer))))
})

test_that("a null model keeps the random terms, or is refused", {
  expect_error(lmtest::lrtest(fit), "random terms", class = "elbo_error_formula")
  expect_error(lmtest::waldtest(fit), "random terms", class = "elbo_error_formula")
})

test_that("coeftest() has the estimates and covariances of the fit", {
  table <- lmtest::coeftest(fit)
  expect_equal(table[, 1], coef(fit), ignore_attr = TRUE)
  expect_equal(table[, 2], sqrt(diag(vcov(fit))), ignore_attr = TRUE)
  robust <- lmtest::coeftest(fit, vcov. = sandwich::vcovCL)
  expect_equal(robust[, 2], sqrt(diag(sandwich::vcovCL(fit))), ignore_attr = TRUE)
  by_subject <- lmtest::coeftest(fit, vcov. = sandwich::vcovCL, cluster = ~ Subject)
  expect_equal(by_subject[, 2], robust[, 2])
})

test_that("Wald tests compare nested fits as lme does", {
  smaller <- update(fit, . ~ . - age:Sex)
  table <- lmtest::waldtest(fit, smaller, test = "Chisq")
  expect_equal(table$Chisq[2], (coef(fit)[4]^2 / vcov(fit)[4, 4])[[1]])
})

test_that("lmtest meets every kind of fit", {
  likelihood <- c("em", "reml", "meta", "regression", "poisson", "normal", "classes", "curves")
  expect_tool("lrtest()", function(fit) lmtest::lrtest(fit, fit), works = likelihood,
              refused = setdiff(table_kinds, likelihood))
  expect_tool("coeftest()", lmtest::coeftest, works = table_kinds)
  expect_tool("coefci()", lmtest::coefci, works = table_kinds)
})

test_that("mixtures are compared where they are nested", {
  mixture <- fit_mixture(waiting ~ eruptions, faithful, k = 2)
  table <- lmtest::lrtest(mixture)
  small <- fit_mixture(waiting ~ 1, faithful, k = 2, covariance = "V")
  expect_equal(table$Chisq[2], 2 * as.numeric(logLik(mixture) - logLik(small)), tolerance = 1e-6)
  expect_equal(table$`#Df`, c(7, 5))
  expect_equal(lmtest::lrtest(mixture, . ~ 1)$Chisq, table$Chisq)
  one <- fit_mixture(waiting ~ eruptions, faithful, k = 1)
  expect_error(lmtest::lrtest(mixture, one), "anova", class = "elbo_error_not_available")
  expect_error(lmtest::lrtest(small), "no covariates", class = "elbo_error_argument")
  other <- fit_mixture(eruptions ~ 1, faithful, k = 2, covariance = "V")
  expect_error(lmtest::lrtest(small, other), "different responses", class = "elbo_error_argument")
})

test_that("coefficients of mixtures are tested where they are nested and have standard errors", {
  counts <- data.frame(x = rep(c(-1, 0, 1), 40), y = rep(c(1, 2, 3, 8, 12, 17), 20))
  mixture <- fit_mixture(y ~ x, counts, k = 2, family = poisson())
  b <- coef(mixture)[c("x|1", "x|2")]
  V <- vcov(mixture)[names(b), names(b)]
  expect_equal(lmtest::waldtest(mixture, test = "Chisq")$Chisq[2], sum(b * solve(V, b)))
  gaussian <- fit_mixture(waiting ~ eruptions, faithful, k = 2)
  expect_error(lmtest::waldtest(gaussian), "not some of", class = "elbo_error_argument")
  counts$y[1:60] <- 0
  zero <- fit_mixture(y ~ x, counts, k = 3, family = poisson())
  expect_error(lmtest::waldtest(zero), "standard error", class = "elbo_error_not_available")
})
