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
  expect_identical(unname(stated(fit)), c(
    text("normal(%s, %s)", short(mean(d$y)), short(10 * unit)),
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
