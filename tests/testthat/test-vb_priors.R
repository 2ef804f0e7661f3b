# The default priors of variational Bayes, what may be stated instead, and what is refused.

prior_data <- function() {
  set.seed(1)
  d <- sim_glmm(groups = 10, size = 5)
  d$arm <- factor(rep(c("a", "b"), length.out = nrow(d)))
  d$z <- 3 + 20 * d$x
  d
}

stated <- function(fit) vapply(Filter(Negate(is.null), fit$priors$stated), format, "")

vb_fit <- function(..., formula = y ~ x + (1 | group), data = prior_data()) {
  law <- priors(...)
  fit_glmm(formula, data, method = "vb", prior = if (length(law) > 0) law)
}

test_that("defaults are weak and on the scale of the data", {
  d <- prior_data()
  fit <- vb_fit(formula = y ~ z + arm + (z | group), data = d)
  unit <- sd(d$y)
  text <- function(format, ...) sprintf(format, ...)
  short <- function(x) format(signif(x, 3))
  # The predictor at zero is z / sd(z) and arm / sd(arm) standard deviations away from its mean.
  at_zero <- sqrt(1 + (mean(d$z) / sd(d$z))^2 + (0.5 / sd(d$arm == "b"))^2)
  expect_true(unit > 1 && unit < 10) # to a tenth of it is one decimal
  expect_identical(unname(stated(fit)), c(
    text("normal(%s, %s)", format(round(mean(d$y), 1)), short(10 * unit * at_zero)),
    text("normal(0, %s)", short(10 * unit / sd(d$z))),
    text("normal(0, %s)", short(10 * unit / sd(d$arm == "b"))),
    text("half_t(3, %s)", short(2.5 * unit)),
    text("half_t(3, %s)", short(2.5 * unit / sqrt(mean(d$z^2)))),
    text("half_t(3, %s)", short(2.5 * unit))
  ))
  expect_true(all(fit$priors$default))
  expect_null(fit$prior)
})

test_that("an offset is no part of the scale, and a constant response has unit one", {
  d <- prior_data()
  d$shift <- 1000 * seq_len(nrow(d))
  shifted <- d
  shifted$y <- d$y + d$shift
  fit <- fit_glmm(y ~ x + (1 | group), shifted, offset = shift, method = "vb")
  expect_identical(stated(fit), stated(vb_fit(data = d)))
  d$y <- 2
  design <- fit_glmm(y ~ 1 + (1 | group), d, se = rep(1, nrow(d)))$design
  defaults <- glmm_default_priors(design, glmm_parameters(design))
  expect_identical(vapply(defaults, format, ""), c("normal(2, 10)", "half_t(3, 2.5)"))
})

test_that("by default neither the origin of the response nor that of a covariate matters", {
  d <- prior_data()
  fit <- vb_fit(data = d)
  # The response far from zero: a centre of three digits would be 4,567 units away.
  far <- vb_fit(data = transform(d, y = y + 1234567))
  # The data round to 1e-10, of a standard deviation near one.
  expect_equal(theta(far) - c(1234567, 0, 0, 0), theta(fit), tolerance = 1e-7)
  expect_equal(far$objective, fit$objective, tolerance = 1e-7)
  # Any response: within a tenth of a standard deviation of the mean.
  for (shift in c(0, 0.123456, -98765.4321, 1e9)) {
    centre <- vb_fit(data = transform(d, y = y + shift))$priors$stated[[1]]
    expect_lt(abs(centre$parameters$mean - mean(d$y + shift)), sd(d$y) / 10)
  }
  # A covariate such as a year. The prior of the intercept is wider, so that it says even less of
  # the predictor in the middle of the data, of which it said about 1 / 1000 of what the groups say.
  year <- vb_fit(formula = y ~ year + (1 | group), data = transform(d, year = x + 2000))
  expect_equal(theta(year)[2:4], theta(fit)[2:4], tolerance = 2e-3, ignore_attr = "names")
})

test_that("a column of zeros has no say in the defaults", {
  d <- prior_data()
  d$none <- 0
  fit <- suppressMessages(vb_fit(formula = y ~ x + none + (1 | group), data = d))
  expect_identical(theta(fit), theta(vb_fit(data = d)))
})

test_that("stated priors replace defaults one by one, and follow update()", {
  fit <- vb_fit(x = normal(1, 0.1), sigma = half_cauchy(2))
  expect_identical(unname(fit$priors$default), c(FALSE, TRUE, TRUE, FALSE)[c(2, 1, 3, 4)])
  expect_identical(stated(fit)[["x"]], "normal(1, 0.1)")
  expect_identical(stated(fit)[["sigma"]], "half_cauchy(2)")
  expect_output(print(summary(fit)), "normal(1, 0.1)", fixed = TRUE)
  expect_output(print(summary(fit)), "(default)", fixed = TRUE)
  again <- update(fit, . ~ . - 1 + 1)
  expect_identical(stated(again)[["x"]], "normal(1, 0.1)")
  expect_true(all(update(fit, prior = NULL)$priors$default))
})

test_that("stated priors are the ones that act", {
  # So tight that the data say nothing: the posterior is the prior.
  fit <- vb_fit(x = normal(-3, 1e-4))
  expect_equal(coef(fit)[["x"]], -3, tolerance = 1e-4)
  expect_equal(sqrt(vcov(fit)["x", "x"]), 1e-4, tolerance = 1e-3)
  # A half-Cauchy is a half-t with one degree of freedom.
  expect_equal(theta(vb_fit(sd = half_cauchy(0.5))), theta(vb_fit(sd = half_t(1, 0.5))))
  # A narrow half-t holds an sd down.
  expect_lt(theta(vb_fit(group = half_t(50, 0.01)))[["sd__(Intercept)|group"]], 0.1)
})

test_that("wide priors of coefficients do not matter", {
  near <- vb_fit(beta = normal(0, 1e3))
  far <- vb_fit(beta = normal(0, 1e8))
  expect_equal(theta(near), theta(far), tolerance = 1e-5)
  # But for the ELBO, which pays log(1e5) for each.
  expect_equal(elbo(near) - elbo(far), 2 * log(1e5), tolerance = 1e-5)
})

test_that("priors that cannot be updated in closed form are refused with the remedy", {
  refused <- function(..., formula = y ~ x + (x | group)) {
    tryCatch(vb_fit(..., formula = formula), elbo_error_prior = conditionMessage)
  }
  expect_match(refused(beta = flat()), "normal()", fixed = TRUE)
  expect_match(refused(beta = half_t(3, 1)), "normal()", fixed = TRUE)
  expect_match(refused(sd = flat()), "half_t()", fixed = TRUE)
  expect_match(refused(sd = half_normal(1)), "half_t()", fixed = TRUE)
  expect_match(refused(sigma = inverse_gamma(1, 1)), "half_t()", fixed = TRUE)
  expect_match(refused(sigma = normal(0, 1)), "half_t()", fixed = TRUE)
  expect_match(refused(cor = lkj(2)), "Huang and Wand", fixed = TRUE)
  expect_match(refused(`sd__x|group` = half_t(5, 1), `sd__(Intercept)|group` = half_t(3, 1)),
               "same degrees of freedom, not 3, 5", fixed = TRUE)
  expect_match(refused(sd = constant(1)), "or none", fixed = TRUE)
  expect_match(refused(rater = half_t(3, 1)), "rater", fixed = TRUE)
})
