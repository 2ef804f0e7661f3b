orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)
fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont)

test_that("the pieces make the covariance of the response", {
  skip_if_not_installed("Matrix")
  piece <- function(name) getME.elbo_glmm(fit, name)
  ZL <- as.matrix(piece("Z") %*% piece("Lambda"))
  V <- sigma(fit)^2 * (tcrossprod(ZL) + diag(108))
  expect_equal(unname(V), reference_of_fit(fit)$V, ignore_attr = TRUE)
  expect_equal(as.matrix(piece("Lambda") %*% piece("u")), as.matrix(piece("b")),
               ignore_attr = TRUE, tolerance = 1e-6)
  expect_equal(piece("mu"), unname(fitted(fit)))
  expect_named(getME.elbo_glmm(fit, c("theta", "beta")), c("theta", "beta"))
  expect_error(getME.elbo_glmm(fit, "thta"), "no piece \"thta\"", class = "elbo_error_argument")
  expect_error(getME.elbo_mixture(mixture_example("gaussian"), "theta"),
               class = "elbo_error_not_available")
})

test_that("a singular covariance has its root", {
  S <- tcrossprod(c(1, 2, 0))
  expect_equal(tcrossprod(lower_root(S)), S)
  expect_equal(lower_root(S)[, 2:3], matrix(0, 3, 2))
  expect_equal(lower_root(diag(2) + 1), t(chol(diag(2) + 1)))
})

test_that("refits need no data", {
  again <- refit.elbo_glmm(fit, orthodont$distance)
  expect_equal(theta(again), theta(fit), tolerance = 1e-6)
  simulated <- simulate(fit, seed = 1)
  other <- refit.elbo_glmm(fit, simulated)
  moved <- update(fit, data = transform(orthodont, distance = simulated$sim_1))
  expect_equal(theta(other), theta(moved), tolerance = 1e-6)
  expect_identical(model.frame(other)$distance, simulated$sim_1)
  expect_equal(residuals(other), residuals(moved), tolerance = 1e-5)
  expect_error(refit.elbo_glmm(fit, 1:3), "108 finite numbers", class = "elbo_error_argument")
  reml <- update(fit, method = "reml")
  expect_equal(theta(refitML.elbo_glmm(reml)), theta(fit), tolerance = 1e-6)

  gaps <- transform(orthodont, distance = replace(distance, 5, NA))
  padded <- fit_glmm(distance ~ age + (1 | Subject), gaps, na.action = na.exclude)
  expect_identical(nobs(refit.elbo_glmm(padded, simulate(padded, seed = 2))), 107L)
})

test_that("a mixture is fitted again from its components", {
  mixture <- mixture_example("gaussian")
  same <- refit.elbo_mixture(mixture, model.frame(mixture)$y)
  expect_equal(as.numeric(logLik(same)), as.numeric(logLik(mixture)), tolerance = 1e-8)
  normal <- mixture_example("normal")
  drawn <- refit.elbo_mixture(normal, simulate(normal, seed = 1))
  expect_identical(drawn$k, 2L)
  expect_lt(max(abs(coef(drawn) - coef(normal)) / sqrt(diag(vcov(normal)))), 4)
  expect_error(refit.elbo_mixture(normal, 1:3), class = "elbo_error_argument")
})
