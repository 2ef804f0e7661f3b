# Kenward and Roger's test against pbkrtest, through lmerTest.

machines <- function(formula) {
  list(ours = fit_glmm(formula, nlme::Machines, method = "reml"),
       theirs = lmerTest::lmer(formula, nlme::Machines))
}

test_that("one factor and several have pbkrtest's covariance, df and F", {
  skip_if_not_installed("pbkrtest")
  skip_if_not_installed("lmerTest")
  # lmer stops some 1e-5 from the optimum with random slopes
  cases <- list(list(score ~ Machine + (1 | Worker) + (1 | Worker:Machine), 1e-6),
                list(score ~ Machine + (1 | Worker), 1e-6),
                list(score ~ Machine + (Machine | Worker), 1e-3))
  for (case in cases) {
    fits <- machines(case[[1]])
    expect_equal(kenward_roger(fits$ours)$adjusted, as.matrix(pbkrtest::vcovAdj(fits$theirs)),
                 tolerance = case[[2]], ignore_attr = TRUE)
    expect_equal(summary(fits$ours, ddf = "Kenward-Roger")$coefficients,
                 coef(summary(fits$theirs, ddf = "Kenward-Roger")), tolerance = case[[2]],
                 ignore_attr = TRUE)
    test <- anova(fits$ours, ddf = "Kenward-Roger")
    peer <- pbkrtest::KRmodcomp(fits$theirs, stats::update(fits$theirs, . ~ . - Machine))$test
    expect_equal(test[["F value"]], peer["Ftest", "stat"], tolerance = case[[2]])
    expect_equal(test$DenDF, peer["Ftest", "ddf"], tolerance = case[[2]])
  }
})

test_that("weights are in it", {
  d <- crossed_data(101, 120)
  ours <- fit_glmm(y ~ x + (1 | a) + (1 | b), d, method = "reml", weights = w)
  # Kenward and Roger's formula with all matrices in full; pbkrtest takes no weights.
  V <- dense_parts(ours)
  info <- kenward_roger(ours)
  W <- solve(V$V)
  moves <- c(lapply(d[c("a", "b")], function(g) outer(g, g, `==`) + 0), list(diag(1 / d$w)))
  C <- solve(t(V$X) %*% W %*% V$X)
  P <- W - W %*% V$X %*% C %*% t(V$X) %*% W
  A <- solve(outer(1:3, 1:3, Vectorize(function(k, l) {
    sum((P %*% moves[[k]]) * t(P %*% moves[[l]])) / 2
  })))
  Q <- 0
  for (k in 1:3) for (l in 1:3) {
    left <- t(V$X) %*% W %*% moves[[k]]
    right <- moves[[l]] %*% W %*% V$X
    Q <- Q + A[k, l] * left %*% P %*% right
  }
  expect_equal(info$adjusted, C + 2 * C %*% Q %*% C, tolerance = 1e-6, ignore_attr = TRUE)
})

test_that("it is refused where there is no restricted likelihood, and with several fits", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
  expect_error(summary(fit, ddf = "Kenward-Roger"), "reml", class = "elbo_error_method")
  expect_error(anova(fit, ddf = "kenward-roger"), "reml", class = "elbo_error_method")
  expect_error(anova(fit, update(fit, . ~ 1 + (1 | Subject)), ddf = "Kenward-Roger"),
               class = "elbo_error_argument")
  expect_error(summary(fit, ddf = "none"), "Satterthwaite", class = "elbo_error_argument")
})
