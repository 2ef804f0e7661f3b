test_that("Confint() has the rows of coef()", {
  for (kind in c("em", "reml", "vb", "meta", "regression", "poisson")) {
    fit <- fit_of(kind)
    table <- car::Confint(fit)
    expect_identical(rownames(table), names(coef(fit)))
    expect_equal(as.vector(table[, 1]), as.vector(coef(fit)))
    expect_equal(table[, -1, drop = FALSE], confint(fit, "beta_"))
  }
})

test_that("Confint() takes another covariance, and passes on how intervals are made", {
  fit <- fit_of("em")
  expect_equal(car::Confint(fit, vcov. = vcov), car::Confint(fit))
  expect_equal(car::Confint(fit, estimate = FALSE, vcov. = vcov(fit), level = 0.9),
               confint(fit, "beta_", level = 0.9))
  robust <- vcov(fit, type = "sandwich")
  width <- function(table) table[, 3] - table[, 2]
  expect_equal(width(car::Confint(fit, vcov. = robust)) / width(car::Confint(fit)),
               sqrt(diag(robust) / diag(vcov(fit))))
  expect_equal(car::Confint(fit, estimate = FALSE, parm = "age", method = "profile"),
               confint(fit, "age", type = "profile"))
  expect_error(car::Confint(fit, vcov. = diag(2)), class = "elbo_error_argument")
})

fit <- fit_of("chicks")
rows <- function(x, names) as.data.frame(x)[names]

test_that("Confint() takes a covariance by name", {
  by_chick <- car::Confint(fit, vcov. = ~ Chick)
  plain <- car::Confint(fit)
  expect_equal((by_chick[, 3] - by_chick[, 2]) / (plain[, 3] - plain[, 2]),
               sqrt(diag(sandwich::vcovCL(fit)) / diag(vcov(fit))))
  expect_error(car::Confint(fit, vcov. = "HC0"), "not independent", class = "elbo_error")
})

test_that("chi-square tests are those of lmer", {
  peer <- fit_of("chicks_lmer")
  for (type in 2:3) {
    expect_equal(rows(car::Anova(fit, type = type), c("Chisq", "Pr(>Chisq)")),
                 rows(car::Anova(peer, type = type), c("Chisq", "Pr(>Chisq)")), tolerance = 1e-3)
  }
  twice <- c("Time:Diet2 = 0", "Time:Diet3 = 0")
  expect_equal(car::linearHypothesis(fit, twice)$Chisq,
               car::linearHypothesis(peer, twice)$Chisq, tolerance = 1e-3)
  expect_equal(car::deltaMethod(fit, "Time / Diet3"), car::deltaMethod(peer, "Time / Diet3"),
               tolerance = 1e-3)
  expect_equal(car::vif(fit), car::vif(peer), tolerance = 1e-3)
})

test_that("the denominator of F tests is Satterthwaite's, as lmerTest has it", {
  one <- car::linearHypothesis(fit, "Diet2 = Diet3", test = "F")
  L <- c(0, 0, 1, -1, 0, 0, 0, 0)
  peer <- lmerTest::contest(fit_of("chicks_lmer"), L)
  expect_equal(one$F[2], peer[["F value"]], tolerance = 1e-4)
  expect_equal(one[2, "Pr(>F)"], peer[["Pr(>F)"]], tolerance = 1e-3)
  both <- rbind(L, c(0, 0, 0, 0, 0, 1, -1, 0))
  peer <- lmerTest::contest(fit_of("chicks_lmer"), both)
  two <- car::linearHypothesis(fit, both, test = "F")
  expect_equal(two[2, "Pr(>F)"], peer[["Pr(>F)"]], tolerance = 1e-3)
  expect_error(car::Anova(fit, test.statistic = "F"), "anova", class = "elbo_error_not_available")
})

test_that("coefficients of components are tested together", {
  mixture <- fit_of("regression")
  at <- c("x1|1", "x1|2")
  b <- coef(mixture)[at]
  found <- car::linearHypothesis(mixture, paste(at, "= 0"))
  expect_equal(found$Chisq[2], drop(b %*% solve(vcov(mixture)[at, at], b)))
  expect_equal(found$Df[2], 2)
})

test_that("car meets every kind of fit", {
  mixed <- c("em", "reml", "vb", "joint")
  expect_tool("Confint()", car::Confint, works = table_kinds)
  expect_tool("Anova()", car::Anova, works = mixed, refused = c("meta", mixture_kinds))
  expect_tool("linearHypothesis()", function(fit) {
    car::linearHypothesis(fit, diag(length(coef(fit)))[1, , drop = FALSE])
  }, works = table_kinds)
  expect_tool("vif()", car::vif, works = mixed, refused = mixture_kinds)
  expect_tool("deltaMethod()", function(fit) car::deltaMethod(fit, "age / 2"), works = mixed)
  expect_tool("Boot()", car::Boot, refused = table_kinds)
})
