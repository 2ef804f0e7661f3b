fit <- fit_of("em")

test_that("emmeans works with the df of summary()", {
  means <- as.data.frame(emmeans::emmeans(fit, ~ Sex, at = list(age = 11)))
  X <- cbind(1, 11, c(0, 1), c(0, 11))
  expect_equal(means$emmean, drop(X %*% coef(fit)))
  expect_equal(means$SE, sqrt(diag(X %*% vcov(fit) %*% t(X))))
  expect_equal(means$df, unname(fit_df(fit, X)), tolerance = 1e-6)
  trends <- as.data.frame(emmeans::emtrends(fit, ~ Sex, var = "age"))
  expect_equal(trends$age.trend, unname(c(coef(fit)[2], coef(fit)[2] + coef(fit)[4])),
               tolerance = 1e-6)
  expect_equal(trends$df[1], coef(summary(fit))["age", "df"], tolerance = 1e-6)
})

test_that("means and contrasts of a reml fit are those of lmer with Satterthwaite's df", {
  ours <- emmeans::emmeans(fit_of("chicks"), pairwise ~ Diet, at = list(Time = 10))
  peer <- emmeans::emmeans(fit_of("chicks_lmer"), pairwise ~ Diet, at = list(Time = 10),
                           lmer.df = "satterthwaite")
  for (part in c("emmeans", "contrasts")) {
    a <- as.data.frame(ours[[part]])
    b <- as.data.frame(peer[[part]])
    expect_identical(names(a), names(b))
    # lmer's optimum has five to six digits.
    expect_equal(a[[2]], b[[2]], tolerance = 1e-4)
    expect_equal(a$SE, b$SE, tolerance = 1e-4)
    expect_equal(a$df, b$df, tolerance = 1e-3)
  }
  tests <- as.data.frame(emmeans::joint_tests(fit_of("chicks")))
  peers <- as.data.frame(emmeans::joint_tests(fit_of("chicks_lmer"), lmer.df = "satterthwaite"))
  expect_equal(tests$F.ratio, peers$F.ratio, tolerance = 1e-3)
})

test_that("emmeans handles spline bases", {
  curved <- fit_glmm(distance ~ splines::ns(age, 2) + (1 | Subject), orthodont)
  means <- as.data.frame(emmeans::emmeans(curved, ~ age, at = list(age = c(8, 13))))
  expect_equal(means$emmean, unname(predict(curved, data.frame(age = c(8, 13)), re.form = NA)))
})

test_that("the mean of an empty cell is not estimable, and the others are as by lmer", {
  cells <- expand.grid(a = factor(1:2), b = factor(1:2), g = factor(1:8), r = 1:3)
  cells <- cells[!(cells$a == 2 & cells$b == 2), ]
  cells$y <- withr::with_seed(1, rnorm(nrow(cells)) + 2 * rnorm(8)[cells$g])
  expect_message(gaps <- fit_glmm(y ~ a * b + (1 | g), cells, method = "reml"), "a2:b2")
  skip_if_not_installed("lmerTest")
  peer <- suppressMessages(lmerTest::lmer(y ~ a * b + (1 | g), cells))
  ours <- as.data.frame(emmeans::emmeans(gaps, ~ a * b))
  theirs <- as.data.frame(emmeans::emmeans(peer, ~ a * b, lmer.df = "satterthwaite"))
  expect_identical(is.na(ours$emmean), c(FALSE, FALSE, FALSE, TRUE))
  expect_equal(ours$emmean, theirs$emmean, tolerance = 1e-6)
  expect_equal(ours$SE, theirs$SE, tolerance = 1e-4)
  # A mean over the empty cell is not estimable either, a mean within one level of b is.
  over <- suppressMessages(as.data.frame(emmeans::emmeans(gaps, ~ a)))
  expect_identical(is.na(over$emmean), c(FALSE, TRUE))
  within <- as.data.frame(emmeans::contrast(emmeans::emmeans(gaps, ~ a | b), "pairwise"))
  expect_identical(is.na(within$estimate), c(FALSE, TRUE))
})

test_that("the transformation of the response is read from the formula of the fit", {
  analyse <- function(dat) {
    model <- log(weight) ~ Time + (1 | Chick)
    fit_glmm(model, dat, method = "reml")
  }
  made <- analyse(chicks)
  direct <- fit_glmm(log(weight) ~ Time + (1 | Chick), chicks, method = "reml")
  one <- as.data.frame(emmeans::emmeans(made, ~ Time, at = list(Time = c(0, 20)),
                                        type = "response"))
  two <- as.data.frame(emmeans::emmeans(direct, ~ Time, at = list(Time = c(0, 20)),
                                        type = "response"))
  expect_equal(one, two)
  expect_equal(log(one$response), predict(made, data.frame(Time = c(0, 20)), re.form = NA),
               ignore_attr = TRUE)
  peer <- lmer(log(weight) ~ Time + (1 | Chick), chicks)
  theirs <- as.data.frame(emmeans::emmeans(peer, ~ Time, at = list(Time = c(0, 20)),
                                           type = "response", lmer.df = "satterthwaite"))
  expect_equal(one[c("response", "SE", "df", "lower.CL", "upper.CL")],
               theirs[c("response", "SE", "df", "lower.CL", "upper.CL")], tolerance = 1e-4)
})

test_that("subset, missing values, offsets and covariates by function count as in lmer", {
  gaps <- chicks
  gaps$weight[c(3, 40)] <- NA
  gaps$base <- 40
  ours <- fit_glmm(weight ~ poly(Time, 2) + Diet + (1 | Chick), gaps, subset = Time > 2,
                   method = "reml")
  peer <- lmerTest::lmer(weight ~ poly(Time, 2) + Diet + (1 | Chick), gaps, subset = Time > 2)
  a <- as.data.frame(emmeans::emmeans(ours, ~ Diet))
  b <- as.data.frame(emmeans::emmeans(peer, ~ Diet, at = list(Time = mean(
    gaps$Time[gaps$Time > 2 & !is.na(gaps$weight)]
  )), lmer.df = "satterthwaite"))
  expect_equal(a$emmean, b$emmean, tolerance = 1e-5)
  moved <- fit_glmm(weight ~ Time + offset(base) + (1 | Chick), gaps, method = "reml")
  plain <- fit_glmm(weight ~ Time + (1 | Chick), gaps, method = "reml")
  expect_equal(as.data.frame(emmeans::emmeans(moved, ~ 1))$emmean,
               as.data.frame(emmeans::emmeans(plain, ~ 1))$emmean, tolerance = 1e-6)
})

test_that("emmeans meets every kind of fit", {
  sexes <- c("em", "reml", "vb", "joint")
  expect_tool("emmeans()", function(fit) as.data.frame(emmeans::emmeans(fit, ~ Sex)),
              works = sexes)
  expect_tool("emmeans()", function(fit) as.data.frame(emmeans::emmeans(fit, ~ 1)),
              works = "meta", refused = mixture_kinds, saying = "not for mixtures")
  expect_tool("emtrends()", function(fit) {
    as.data.frame(emmeans::emtrends(fit, ~ Sex, var = "age"))
  }, works = sexes)
  expect_tool("joint_tests()", emmeans::joint_tests, works = sexes)
})

test_that("means of ordered categories are from the average threshold, as of clmm()", {
  skip_if_not_installed("ordinal")
  set.seed(1)
  d <- data.frame(x = rnorm(60), g = gl(6, 10), f = gl(3, 1, 60))
  d$o <- cut(d$x + rnorm(6)[d$g] + rnorm(60), 3, labels = 1:3, ordered_result = TRUE)
  fit <- fit_glmm(o ~ x + f + (1 | g), d, family = cumulative())
  peer <- ordinal::clmm(o ~ x + f + (1 | g), d, nAGQ = 25) # stops some 1e-4 off
  of <- function(fit) as.data.frame(emmeans::emmeans(fit, ~ f))
  expect_equal(of(fit)$emmean, of(peer)$emmean, tolerance = 1e-3)
  expect_equal(of(fit)$SE, of(peer)$SE, tolerance = 1e-2)
})
