# lmerTest's tables, from fits that agree to its numerical second derivatives.
expect_lmertest <- function(formula, data, types = 1:3, ...) {
  skip_if_not_installed("lmerTest")
  fit <- fit_glmm(formula, data, method = "reml", ...)
  control <- lme4::lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9))
  peer <- lmerTest::lmer(formula, data, control = control, ...)
  for (type in types) {
    ours <- anova(fit, type = type)
    theirs <- anova(peer, type = type)[rownames(ours), ]
    for (column in colnames(ours)) {
      expect_equal(ours[[column]], theirs[[column]], tolerance = 2e-3,
                   label = paste("type", type, column))
    }
  }
}

test_that("tests of types 1 to 3 are lmerTest's, whatever the contrasts", {
  set.seed(4)
  d <- data.frame(a = gl(3, 1, 90), b = gl(2, 3, 90), g = gl(15, 6), x = rnorm(90))
  d <- d[-c(1, 5, 9, 22, 40, 41), ] # not balanced
  d$y <- as.integer(d$a) + (d$b == "2") * d$x + rnorm(15)[d$g] + rnorm(nrow(d))
  expect_lmertest(y ~ a * b + x + (1 | g), d)
  expect_lmertest(y ~ a * x + b + (1 | g), d)
  expect_lmertest(y ~ a * b * x + (x | g), d)
  expect_lmertest(y ~ a * b + (1 | g), d, contrasts = list(a = "contr.helmert"))
})

test_that("main effects of a growth curve with default contrasts are averaged", {
  # lmerTest 3.1-3, anova(lmer(distance ~ agef * Sex + (1 | Subject))): Sex F = 9.2921, p = .00538;
  # at the reference level of agef it would be 3.55, p = .066.
  d <- as.data.frame(nlme::Orthodont)
  d$agef <- factor(d$age)
  fit <- fit_glmm(distance ~ agef * Sex + (1 | Subject), d, method = "reml")
  table <- anova(fit)
  expect_equal(table["Sex", "F value"], 9.2921, tolerance = 1e-4)
  expect_equal(table["Sex", "Pr(>F)"], 0.005375, tolerance = 1e-3)
  expect_match(attr(table, "heading"), "Type III .* whatever the contrasts")
  coded <- d
  contrasts(coded$agef) <- "contr.sum"
  contrasts(coded$Sex) <- "contr.helmert"
  for (type in c("I", "II", "III")) {
    expect_equal(anova(update(fit, data = coded), type = type), anova(fit, type = type))
  }
  expect_error(anova(fit, type = 4), class = "elbo_error_argument")
})

test_that("empty cells, several columns, numbers and logicals are tested as lmerTest does", {
  set.seed(5)
  d <- expand.grid(a = factor(1:3), b = factor(1:2), g = factor(1:10))
  d <- d[!(d$a == "3" & d$b == "2"), ]
  d$l <- rep(c(TRUE, FALSE), length.out = nrow(d))
  d$x <- rnorm(nrow(d))
  d$y <- as.integer(d$a) + rnorm(10)[d$g] + rnorm(nrow(d))
  suppressMessages({
    expect_lmertest(y ~ a * b + (1 | g), d, types = 3)
    expect_lmertest(y ~ l * a + poly(x, 2) + (1 | g), d, types = 2:3)
  })
})

test_that("where all columns of a term are held nothing is tested", {
  d <- as.data.frame(nlme::Orthodont)
  fit <- fit_glmm(distance ~ age + Sex + (1 | Subject), d, prior = priors(age = constant(0.6)))
  table <- anova(fit)
  expect_identical(table["age", "NumDF"], 0L)
  expect_true(is.na(table["age", "Pr(>F)"]))
  expect_identical(nrow(anova(fit_glmm(distance ~ 1 + (1 | Subject), d))), 0L)
})
