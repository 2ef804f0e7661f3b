orthodont <- as.data.frame(nlme::Orthodont)

fit_orthodont <- function(...) fit_glmm(distance ~ age + (age | Subject), orthodont, ...)

test_that("coef() and fixef() are the named fixed effects, as in vcov()", {
  fit <- fit_orthodont()
  expect_named(coef(fit), c("(Intercept)", "age"))
  expect_identical(coef(fit), fixef(fit))
  expect_identical(coef(fit), c(theta(fit)[1:2]))
  expect_identical(dimnames(vcov(fit)), list(names(coef(fit)), names(coef(fit))))
})

test_that("sigma() is one number, a vector by level, or 1 beside known standard errors", {
  expect_identical(sigma(fit_orthodont()), unname(theta(fit_orthodont())["sigma"]))
  by_sex <- fit_orthodont(sigma = ~ Sex)
  expect_named(sigma(by_sex), c("Male", "Female"))
  expect_equal(unname(sigma(by_sex)),
               unname(theta(by_sex)[c("sigma|Male", "sigma|Female")]))
  known <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se)
  expect_identical(sigma(known), 1)
  expect_equal(weights(known), 1 / microcredit_sites$se^2)
})

test_that("sizes count rows and free parameters", {
  fit <- fit_orthodont()
  expect_identical(nobs(fit), 108L)
  # Two coefficients, two sds, a correlation, sigma.
  expect_equal(df.residual(fit), 108 - 6)
  held <- fit_orthodont(prior = priors(sigma = constant(1.3)))
  expect_equal(df.residual(held), 108 - 5)
})

test_that("formula(), terms(), model.frame() and model.matrix() give back what went in", {
  fit <- fit_orthodont()
  expect_equal(formula(fit), distance ~ age + (age | Subject), ignore_formula_env = TRUE)
  expect_equal(formula(fit, fixed.only = TRUE), distance ~ age, ignore_formula_env = TRUE)
  expect_identical(attr(terms(fit), "term.labels"), "age")
  expect_true(all(c("distance", "age", "Subject") %in% names(model.frame(fit))))
  expect_equal(unname(model.matrix(fit)), cbind(1, orthodont$age), ignore_attr = TRUE)
  expect_equal(unname(model.matrix(fit, "random")), cbind(1, orthodont$age),
               ignore_attr = TRUE)
  expect_identical(family(fit)$family, "gaussian")
  expect_identical(unname(weights(fit)), rep(1, 108))
})

test_that("fitted values are X beta + Z E[z | y] + offset, from dense matrices", {
  orthodont$o <- sin(seq_len(nrow(orthodont)))
  orthodont$w <- rep(c(1, 2, 0.5), length.out = nrow(orthodont))
  fit <- fit_glmm(distance ~ age + offset(o) + (age | Subject), orthodont, weights = w,
                  sigma = ~ Sex)
  reference <- reference_of_fit(fit)
  expected <- unname(orthodont$distance - reference$r + drop(reference$W %*% reference$mean))
  expect_equal(unname(fitted(fit)), expected, tolerance = 1e-9)
  expect_equal(unname(residuals(fit)), orthodont$distance - expected, tolerance = 1e-9)
  expect_equal(unname(residuals(fit, "pearson")),
               (orthodont$distance - expected) / sqrt(reference$s2), tolerance = 1e-9)
})

test_that("na.exclude pads and na.omit does not", {
  orthodont$distance[c(2, 50)] <- NA
  omitted <- fit_glmm(distance ~ age + (1 | Subject), orthodont, na.action = na.omit)
  excluded <- fit_glmm(distance ~ age + (1 | Subject), orthodont, na.action = na.exclude)
  expect_length(residuals(omitted), 106)
  expect_identical(unname(which(is.na(residuals(excluded)))), c(2L, 50L))
  expect_identical(unname(which(is.na(fitted(excluded)))), c(2L, 50L))
  expect_identical(unname(which(is.na(weights(excluded)))), c(2L, 50L))
  expect_equal(residuals(excluded)[-c(2, 50)], residuals(omitted))
  expect_identical(nobs(excluded), 106L)
})

test_that("deviance() and extractAIC() follow the likelihood, reml refitted by em", {
  fit <- fit_orthodont()
  expect_equal(deviance(fit), -2 * as.numeric(logLik(fit)))
  expect_equal(extractAIC(fit), c(6, AIC(fit)))
  reml <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont, method = "reml")
  expect_equal(extractAIC(reml), extractAIC(fit), tolerance = 1e-8)
  held <- priors(Subject = constant(1), cor = constant(0))
  expect_error(deviance(fit_orthodont(method = "joint", prior = held)), class = "elbo_error")
})

test_that("drop1() finds its way, and step() is refused where it would lose random terms", {
  fit <- fit_glmm(distance ~ age * Sex + (1 | Subject), orthodont)
  table <- drop1(fit)
  smaller <- fit_glmm(distance ~ age + Sex + (1 | Subject), orthodont)
  expect_equal(table["age:Sex", "AIC"], AIC(smaller), tolerance = 1e-8)
  expect_error(step(fit, trace = 0), class = "elbo_error_not_available")
  linear <- fit_glmm(distance ~ age + Subject, orthodont[c("distance", "age", "Subject")])
  peer <- step(lm(distance ~ age + Subject, orthodont), trace = 0)
  expect_identical(attr(terms(step(linear, trace = 0)), "term.labels"),
                   attr(terms(peer), "term.labels"))
})

test_that("without random terms all of it is least squares", {
  fit <- fit_glmm(distance ~ age + Sex, orthodont)
  peer <- lm(distance ~ age + Sex, orthodont)
  expect_equal(coef(fit), coef(peer), tolerance = 1e-10)
  expect_equal(unname(fitted(fit)), unname(fitted(peer)), tolerance = 1e-10)
  expect_equal(sigma(fit)^2, mean(residuals(peer)^2), tolerance = 1e-8)
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(peer)), tolerance = 1e-10)
})

test_that("add1() and drop1() take formulas and labels of the fixed part, and no others", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(distance ~ age + (1 | Subject), orthodont)
  peer <- lme4::lmer(distance ~ age + (1 | Subject), orthodont, REML = FALSE)
  larger <- update(peer, . ~ . + Sex)
  for (scope in list(~ . + Sex, "Sex", ~ Sex + age + (1 | Subject), ~ Sex)) {
    table <- add1(fit, scope, test = "Chisq")
    expect_equal(table$AIC, c(AIC(peer), AIC(larger)), tolerance = 1e-8)
    expect_equal(table[["Pr(>Chi)"]][2], anova(peer, larger)[["Pr(>Chisq)"]][2],
                 tolerance = 1e-5)
  }
  # An interaction is a candidate only beside its main effects.
  expect_identical(rownames(add1(fit, ~ . + age * Sex)), c("<none>", "Sex"))
  both <- update(fit, . ~ . + Sex)
  expect_identical(rownames(drop1(both, ~ .)), c("<none>", "age", "Sex"))
  expect_identical(rownames(drop1(both, "age")), c("<none>", "age"))
  refused <- function(expr) expect_error(expr, "scope", class = "elbo_error_argument")
  refused(add1(fit, ~ .))
  refused(add1(fit))
  refused(add1(fit, ~ . + (0 + age | Subject)))
  refused(drop1(fit, "1 | Subject"))
  refused(drop1(fit, 1))
  expect_error(drop1(fit, test = "F"), class = "elbo_error_argument")
})

test_that("drop1() and add1() of a variable with missing values say that the rows differ", {
  growth <- transform(nlme::Orthodont, z = replace(age^2, 3, NA))
  fit <- fit_glmm(distance ~ age + z + (1 | Subject), growth)
  expect_error(drop1(fit), "1 rows are left out", class = "elbo_error_data")
  less <- update(fit, . ~ . - z)
  expect_error(add1(less, ~ . + z), "other rows", class = "elbo_error_data")
})

test_that("fixef() has what was dropped, where asked, as lme4", {
  expect_message(fit <- fit_glmm(dist ~ speed + I(2 * speed), cars), "Dropped")
  expect_identical(is.na(fixef(fit, add.dropped = TRUE)),
                   c("(Intercept)" = FALSE, speed = FALSE, "I(2 * speed)" = TRUE))
  expect_identical(fixef(fit), coef(fit))
})
