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
