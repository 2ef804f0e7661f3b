test_that("probabilities and log-likelihood are those of Bayes' rule written out", {
  for (name in mixture_kinds) {
    fit <- mixture_example(name)
    L <- reference_log_joint(fit)
    freq <- if (is.null(design_of(fit)$freq)) 1 else design_of(fit)$freq
    expect_equal(as.numeric(logLik(fit)), sum(freq * row_log_sum_exp(L)), tolerance = 1e-10)
    expect_equal(unname(unit_probability(fit)), exp(L - row_log_sum_exp(L)), tolerance = 1e-8)
  }
})

test_that("fits without a likelihood refuse one, and bad arguments are named", {
  expect_error(logLik(mixture_example("joint")), class = "elbo_error_loglik")
  expect_error(logLik(mixture_example("vb")), class = "elbo_error_loglik")
  fit <- mixture_example("normal")
  expect_error(elbo(mixture_example("vb"), theta(mixture_example("vb"))),
               class = "elbo_error_not_available")
  expect_error(elbo(fit, theta = 1:3), class = "elbo_error_argument")
  expect_error(elbo(fit, q = matrix(0.5, 2, 2)), class = "elbo_error_argument")
  outside <- replace(theta(fit), "cor__eruptions.waiting|1", 1.2)
  expect_error(elbo(fit, outside), class = "elbo_error_argument")
  expect_error(vcov(fit, type = "linear_response"), class = "elbo_error_argument")
  expect_error(ranef(fit), class = "elbo_error_not_available")
  expect_error(VarCorr(fit), class = "elbo_error_not_available")
})

test_that("the usual generics answer", {
  fit <- mixture_example("normal")
  expect_identical(names(coef(fit)), grep("^mean__", names(theta(fit)), value = TRUE))
  expect_identical(dimnames(vcov(fit)), list(names(coef(fit)), names(coef(fit))))
  expect_equal(nobs(fit), 272)
  expect_equal(df.residual(fit), 272 - 11)
  expect_equal(BIC(fit), -2 * as.numeric(logLik(fit)) + 11 * log(272))
  expect_equal(dim(sigma(fit)), c(2L, 2L))
  expect_identical(formula(fit), cbind(eruptions, waiting) ~ 1, ignore_formula_env = TRUE)
  expect_s3_class(model.frame(fit), "data.frame")
  expect_equal(sigma(mixture_example("univariate")),
               setNames(theta(mixture_example("univariate"))[5:6], 1:2), ignore_attr = "fixed")
  expect_equal(sigma(mixture_example("poisson")), 1)
  expect_length(sigma(mixture_example("common")), 1)
  gaussian <- mixture_example("gaussian")
  expect_identical(names(coef(gaussian)), c("(Intercept)|1", "x1|1", "(Intercept)|2", "x1|2"))
  expect_identical(colnames(model.matrix(gaussian)), c("(Intercept)", "x1"))
  expect_equal(unname(weights(gaussian)), gaussian$frame[["(weights)"]])
  expect_equal(nobs(mixture_example("binomial")), 100)
  expect_s3_class(convergence(fit), "elbo_convergence")
})

test_that("rows that were dropped are padded under na.exclude", {
  d <- withr::with_seed(1, regression_data())
  d$x1[3] <- NA
  fit <- fit_mixture(y ~ x1, d, k = 2, na.action = na.exclude)
  for (x in list(fitted(fit), residuals(fit), weights(fit))) {
    expect_length(x, 200)
    expect_identical(unname(is.na(x)), 1:200 == 3)
  }
  expect_equal(nrow(simulate(fit)), 200)
  expect_true(is.na(augment(fit, d)$.uncertainty[3]))
})

test_that("fitted values average the components by their probabilities", {
  fit <- mixture_example("binomial")
  parts <- components(fit)
  unit <- as.character(frame_of(fit)$unit)
  P <- predict(fit, type = "prob")
  X <- model.matrix(fit)
  mean <- plogis(X %*% t(parts$coefficients))
  expect_equal(fitted(fit), setNames(rowSums(P[unit, ] * mean), row.names(frame_of(fit))))
  pearson <- (frame_of(fit)$y - fitted(fit)) / sqrt(rowSums(P[unit, ] * mean * (1 - mean)))
  expect_equal(residuals(fit, "pearson"), pearson)

  classes <- mixture_example("classes")
  P <- predict(classes, type = "prob")
  parts <- components(classes)
  expect_equal(fitted(classes)[, "colour.green"], drop(P %*% parts$probability$colour[, "green"]))
  expect_equal(fitted(classes)[, "smokes"], drop(P %*% parts$probability$smokes[, "TRUE"]))
  expect_equal(fitted(classes)[, "x"], drop(P %*% parts$mean[, "x"]))
  expect_equal(unname(residuals(classes)[, "colour.red"]),
               (classes$frame$colour == "red") - unname(fitted(classes)[, "colour.red"]))
})

test_that("classes have a formula with their responses, and no covariates to be added", {
  classes <- mixture_example("classes")
  expect_equal(formula(classes, fixed.only = TRUE), responses(colour, smokes, x) ~ 1,
               ignore_formula_env = TRUE)
  expect_error(add1(classes, ~ . + x), "membership", class = "elbo_error_formula")
})
