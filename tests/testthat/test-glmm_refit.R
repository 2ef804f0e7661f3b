growth <- nlme::Orthodont

test_that("the same fit by another method, from the design alone", {
  fit <- fit_glmm(distance ~ age + (age | Subject), growth, method = "reml", sigma = ~ Sex)
  again <- refit_method(fit, "em")
  direct <- update(fit, method = "em")
  expect_equal(theta(again), theta(direct), tolerance = 1e-8)
  expect_equal(logLik(again), logLik(direct), tolerance = 1e-12)
})

test_that("parts of theta make the covariance that theta describes", {
  fit <- fit_glmm(distance ~ age + (age | Subject), growth)
  th <- theta(fit)
  Sigma <- theta_parts(fit)$Sigma
  expect_equal(sqrt(diag(Sigma)), unname(th[3:4]))
  expect_equal(cov2cor(Sigma)[2], th[[5]])
  expect_error(theta_parts(fit, th[1:2]), class = "elbo_error_argument")
})

test_that("a refit to the same response is the fit, whatever its method and priors", {
  # Priors that say much, on every block, so that a refit without them would be far away.
  of_scales <- priors(Subject = inverse_gamma(20, 9), sigma = half_normal(0.2))
  of_all <- priors(Subject = half_t(3, 0.2), beta = normal(0, 0.5), age = normal(1, 0.1),
                   sigma = half_t(4, 0.1))
  expect_refits <- function(formula, method, prior = NULL, ...) {
    fit <- fit_glmm(formula, growth, method = method, prior = prior, ...)
    again <- refit_response(fit, cbind(growth$distance, growth$distance))
    label <- paste(method, deparse_line(formula))
    for (i in 1:2) {
      # Both have converged to a gradient of rounding.
      expect_equal(again[i, ], c(theta(fit), objective = objective_of(fit)), tolerance = 1e-7,
                   ignore_attr = "fixed", label = label)
    }
    if (is.na(log_evidence_of(fit))) return()
    evidence <- refit_evidence(fit, cbind(growth$distance))
    expect_equal(unname(evidence), as.numeric(logLik(fit)), tolerance = 1e-10, label = label)
  }
  for (method in c("em", "reml", "vb")) {
    expect_refits(distance ~ age + (age | Subject), method, if (method != "vb") of_all)
    expect_refits(distance ~ age + (1 | Subject), method, if (method != "vb") of_scales)
    expect_refits(distance ~ s(age, k = 4) + (1 | Subject), method,
                  if (method != "vb") priors(smooth = half_normal(0.3), age = normal(0, 0.1)))
    expect_refits(distance ~ age + (age || Subject), method, priors(age = constant(0.5)),
                  sigma = ~ Sex)
  }
  expect_refits(distance ~ age + (age | Subject), "vb", factorization = "mean_field")
  expect_refits(distance ~ age + (1 | Subject), "joint",
                priors(Subject = constant(2), sigma = half_normal(0.2)))
})

test_that("a response that the design explains to rounding is refitted like it is fitted", {
  d <- transform(growth, distance = distance + 1e7 * age)
  fit <- fit_glmm(distance ~ age + (1 | Subject), d)
  again <- refit_response(fit, cbind(d$distance))
  expect_equal(again[, 3:4], theta(fit)[3:4], ignore_attr = "fixed", tolerance = 1e-7)
  # The sds are those of the data before 1e7 age was added, which rounds to 1e-8.
  expect_equal(theta(fit)[3:4], theta(fit_glmm(distance ~ age + (1 | Subject), growth))[3:4],
               tolerance = 1e-6)
})

test_that("priors of columns that were dropped are not asked for again by another method", {
  d <- transform(growth, months = 12 * age)
  prior <- priors(months = normal(0, 1), sigma = half_normal(1))
  fit <- suppressMessages(fit_glmm(distance ~ age + months + (1 | Subject), d, method = "reml",
                                   prior = prior))
  direct <- fit_glmm(distance ~ age + (1 | Subject), d, prior = priors(sigma = half_normal(1)))
  expect_equal(theta(refit_method(fit, "em")), theta(direct), tolerance = 1e-7)
})

test_that("refits climb the quick way, whatever ascent the fit was asked to show", {
  slow <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont,
                   control = elbo_control(accelerate = "squarem"))
  quick <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
  expect_equal(refit_held(slow, "sigma", 1.2), refit_held(quick, "sigma", 1.2))
  expect_equal(refit_control(slow)$accelerate, "auto")
  expect_equal(control_of(slow)$accelerate, "squarem")
})
