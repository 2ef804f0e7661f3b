growth <- nlme::Orthodont

test_that("likelihood ratios are lme4's", {
  skip_if_not_installed("lme4")
  small <- fit_glmm(distance ~ age + (1 | Subject), growth)
  large <- fit_glmm(distance ~ age + Sex + (1 | Subject), growth)
  ours <- anova(large, small)
  theirs <- anova(lme4::lmer(distance ~ age + (1 | Subject), growth, REML = FALSE),
                  lme4::lmer(distance ~ age + Sex + (1 | Subject), growth, REML = FALSE))
  expect_equal(rownames(ours), c("small", "large"))
  expect_equal(ours$Chisq[2], theirs$Chisq[2], tolerance = 1e-6)
  expect_equal(ours[["Pr(>Chisq)"]][2], theirs[["Pr(>Chisq)"]][2], tolerance = 1e-5)
  expect_match(attr(ours, "heading")[2], "chi-square")
})

test_that("a variance on its boundary is tested by the bootstrap", {
  skip_if_not_installed("lme4")
  none <- fit_glmm(Yield ~ 1, lme4::Dyestuff)
  some <- fit_glmm(Yield ~ 1 + (1 | Batch), lme4::Dyestuff)
  table <- anova(none, some, nsim = 2000, seed = 1)
  expect_match(attr(table, "heading")[2], "bootstrap of 2000")
  # Balanced one-way: the likelihood ratio rises with F, so the exact p value is that of the F
  # test; 2,000 draws give it to sqrt(p / 2000).
  exact <- summary(aov(Yield ~ Batch, lme4::Dyestuff))[[1]][["Pr(>F)"]][1]
  expect_lt(abs(table[["Pr(>Chisq)"]][2] - exact), 4 * sqrt(exact / 2000) + 1 / 2001)
  chisq <- anova(none, some, test = "chisq")
  expect_equal(chisq[["Pr(>Chisq)"]][2], pchisq(chisq$Chisq[2], 1, lower.tail = FALSE))
})

test_that("restricted likelihoods of different fixed effects are not compared", {
  small <- fit_glmm(distance ~ age + (1 | Subject), growth, method = "reml")
  large <- fit_glmm(distance ~ age + Sex + (1 | Subject), growth, method = "reml")
  expect_message(table <- anova(small, large), "Refitting")
  em <- anova(update(small, method = "em"), update(large, method = "em"))
  expect_equal(table$Chisq, em$Chisq)
  other <- fit_glmm(distance ~ age + (1 | Subject), growth[-1, ])
  expect_error(anova(small, other), class = "elbo_error_argument")
  law <- priors(Subject = constant(1))
  joint <- fit_glmm(distance ~ age + (1 | Subject), growth, method = "joint", prior = law)
  expect_error(anova(joint, joint), class = "elbo_error_loglik")
})

test_that("F tests of the terms are lmerTest's", {
  skip_if_not_installed("lmerTest")
  fit <- fit_glmm(score ~ Machine + (1 | Worker), nlme::Machines, method = "reml")
  theirs <- anova(lmerTest::lmer(score ~ Machine + (1 | Worker), nlme::Machines))
  ours <- anova(fit)
  expect_equal(ours[["F value"]], theirs[["F value"]], tolerance = 1e-4)
  expect_equal(ours$NumDF, theirs$NumDF)
  expect_equal(ours$DenDF, theirs$DenDF, tolerance = 1e-3)
})

test_that("a term of which no column is left has no degrees of freedom, in a model with no other", {
  d <- nlme::Orthodont
  d$one <- 1
  suppressMessages(fit <- fit_glmm(distance ~ one + (1 | Subject), d))
  expect_equal(anova(fit)$NumDF, 0)
  expect_equal(anova(fit)[["F value"]], NA_real_)
})
