orthodont <- as.data.frame(nlme::Orthodont)
fit <- fit_glmm(distance ~ age + (age | Subject), orthodont)

test_that("tidy() has the columns that tools expect, in their order", {
  expect_named(tidy(fit), c("effect", "group", "term", "estimate", "std.error", "statistic",
                            "p.value"))
  expect_named(tidy(fit, "fixed", conf.int = TRUE),
               c("effect", "term", "estimate", "std.error", "statistic", "p.value", "conf.low",
                 "conf.high"))
  expect_named(tidy(fit, "ran_vals"),
               c("effect", "group", "level", "term", "estimate", "std.error", "condsd"))
  expect_identical(class(tidy(fit)), "data.frame")
  expect_error(tidy(fit, effects = "everything"), class = "elbo_error_argument")
})

test_that("tidy() holds theta(), its standard errors and confint()", {
  table <- tidy(fit, conf.int = TRUE)
  names <- ifelse(table$effect == "fixed", table$term, paste0(table$term, "|", table$group))
  names[table$group %in% "Residual"] <- "sigma"
  expect_identical(names, names(theta(fit)))
  expect_equal(table$estimate, unname(c(theta(fit))), ignore_attr = TRUE)
  expect_equal(table$std.error, unname(sqrt(diag(vcov(fit, full = TRUE)))))
  intervals <- confint(fit)
  expect_equal(table$conf.low[1:2], unname(intervals[names[1:2], 1]))
  # Standard deviations stay positive, the correlation within its range.
  expect_true(all(table$conf.low[c(3, 4, 6)] > 0))
  expect_true(table$conf.low[5] > -1 && table$conf.high[5] < 1)
  fixed <- coef(summary(fit))
  expect_equal(table$conf.high[1:2],
               unname(fixed[, 1] + qt(0.975, fixed[, "df"]) * fixed[, 2]))
})

test_that("tidy() agrees with broom.mixed on an lme4 fit", {
  skip_if_not_installed("lme4")
  skip_if_not_installed("broom.mixed")
  peer <- lme4::lmer(distance ~ age + (age | Subject), orthodont, REML = FALSE)
  for (effects in c("fixed", "ran_pars", "ran_vals", "ran_coefs")) {
    ours <- tidy(fit, effects)
    theirs <- as.data.frame(broom.mixed::tidy(peer, effects = effects))
    key <- function(x) paste(x$group, x$level, x$term)
    ours <- ours[match(key(theirs), key(ours)), ]
    expect_equal(ours$estimate, theirs$estimate, tolerance = 1e-3, ignore_attr = TRUE)
  }
})

test_that("every level of sigma has its row", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), orthodont, sigma = ~ Sex)
  by_sex <- tidy(fit, "ran_pars")
  expect_identical(by_sex$level, c(NA, "Male", "Female"))
  expect_identical(by_sex$term, c("sd__(Intercept)", "sd__Observation", "sd__Observation"))
})

test_that("exponentiate concerns the fixed effects", {
  plain <- tidy(fit, conf.int = TRUE)
  table <- tidy(fit, conf.int = TRUE, exponentiate = TRUE)
  expect_equal(table$estimate[1:2], exp(plain$estimate[1:2]))
  expect_equal(table$std.error[1:2], plain$std.error[1:2] * exp(plain$estimate[1:2]))
  expect_equal(table$conf.low[1:2], exp(plain$conf.low[1:2]))
  expect_equal(table[3:6, ], plain[3:6, ])
})

test_that("glance() is one row, NA where a fit has no likelihood", {
  facts <- glance(fit)
  expect_named(facts, c("nobs", "sigma", "logLik", "AIC", "BIC", "df.residual", "elbo",
                        "method", "converged", "iterations"))
  expect_identical(nrow(facts), 1L)
  expect_equal(facts$AIC, AIC(fit))
  expect_true(facts$converged)
  set.seed(1)
  joint <- glance(fit_glmm(y ~ 0 + (1 | pair), sim_pairs(20, 1), method = "joint",
                           prior = priors(pair = constant(1))))
  expect_true(is.na(joint$logLik) && is.na(joint$AIC) && is.na(joint$BIC))
  expect_false(is.na(joint$elbo))
})

test_that("augment() adds fitted values to the rows that were fitted", {
  table <- augment(fit, orthodont, se_fit = TRUE, interval = "prediction")
  expect_named(table, c(names(orthodont), ".fitted", ".resid", ".fixed", ".se.fit", ".lower",
                        ".upper"))
  expect_equal(table$.fitted, unname(fitted(fit)))
  expect_equal(table$.resid, unname(residuals(fit)))
  expect_equal(table$.fixed, unname(predict(fit, re.form = NA)))
  expect_equal(nrow(augment(fit)), 108)

  new <- data.frame(age = c(8, 15), Subject = "M01")
  expect_equal(augment(fit, newdata = new)$.fitted, unname(predict(fit, new)))
})

test_that("augment() keeps to na.action", {
  orthodont$distance[3] <- NA
  omitted <- fit_glmm(distance ~ age + (1 | Subject), orthodont, na.action = na.omit)
  excluded <- fit_glmm(distance ~ age + (1 | Subject), orthodont, na.action = na.exclude)
  expect_equal(nrow(augment(omitted, orthodont)), 107)
  expect_identical(augment(omitted, orthodont)$age, orthodont$age[-3])
  expect_identical(which(is.na(augment(excluded, orthodont)$.fitted)), 3L)
})

test_that("latent variables have the sd of latent(), and beside it that of ranef()", {
  reml <- update(fit, method = "reml")
  smooth <- fit_glmm(weight ~ s(Time, k = 5) + (1 | Chick), ChickWeight)
  for (fit in list(fit, reml, smooth)) {
    table <- tidy(fit, "ran_vals")
    expect_equal(table$std.error, latent(fit)$sd)
    given <- as.data.frame(ranef(fit))
    row <- match(paste(table$group, table$level), paste(given$grpvar, given$grp))
    first <- table$term %in% c("(Intercept)", "s(Time)")
    expect_equal(table$condsd[first], given$condsd[row[first]])
    expect_false(anyNA(table$condsd))
  }
  expect_true(all(tidy(reml, "ran_vals")$condsd < tidy(reml, "ran_vals")$std.error))
})

test_that("coefficients by group of a model without groups are a table without rows", {
  fit <- fit_glmm(dist ~ speed, cars)
  table <- tidy(fit, effects = "ran_coefs")
  expect_identical(nrow(table), 0L)
  expect_true(all(c("group", "level", "term", "estimate") %in% names(table)))
})

test_that("coefficients tested by z have a row each", {
  # One mean of known standard errors: the weighted mean, its z.
  d <- data.frame(y = c(0.4, 0.1, 0.3), s = c(0.2, 0.3, 0.2))
  table <- tidy(fit_glmm(y ~ 1, d, se = s))
  mean <- weighted.mean(d$y, 1 / d$s^2)
  expect_equal(table$estimate, mean)
  expect_equal(table$statistic, mean * sqrt(sum(1 / d$s^2)))
  expect_equal(table$p.value, 2 * pnorm(-table$statistic))
})

test_that("tidy() has thresholds and sizes too", {
  set.seed(1)
  d <- data.frame(g = gl(6, 10), x = rnorm(60))
  d$o <- cut(d$x + rnorm(6)[d$g] + rnorm(60), 3, labels = 1:3, ordered_result = TRUE)
  fit <- fit_glmm(o ~ x + (1 | g), d, family = cumulative())
  table <- tidy(fit, conf.int = TRUE)
  expect_identical(table$term, c("x", "threshold__1|2", "threshold__2|3", "sd__(Intercept)"))
  expect_equal(table$estimate[2:3], unname(c(theta(fit)[3:4])))
  expect_equal(table$conf.low[2:3], unname(confint(fit, "theta_")[2:3, 1]))
})
