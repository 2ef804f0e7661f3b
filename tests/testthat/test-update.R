growth <- as.data.frame(nlme::Orthodont)
law <- priors(Subject = constant(2))
fit <- fit_glmm(distance ~ age + (1 | Subject), growth, prior = law)

test_that("an argument is changed, added or dropped", {
  moved <- update(fit, method = "reml")
  expect_equal(method_of(moved), "reml")
  expect_equal(prior_of(moved), law)
  expect_equal(theta(moved)[["sd__(Intercept)|Subject"]], 2)
  dropped <- update(fit, prior = NULL)
  expect_null(prior_of(dropped))
  expect_null(call_of(dropped)$prior)
  expect_equal(theta(dropped), theta(fit_glmm(distance ~ age + (1 | Subject), growth)))
  expect_equal(update(fit, sigma = ~ Sex, weights = age)$design$weights, growth$age)
  expect_equal(nobs(update(fit, subset = age > 8)), 81)
})

test_that("the formula is changed, random terms included", {
  formula_of <- function(change) formula(update(fit, change, prior = NULL))
  expect_equal(formula_of(. ~ . + Sex), distance ~ age + (1 | Subject) + Sex,
               ignore_formula_env = TRUE)
  expect_equal(formula_of(. ~ . - (1 | Subject)), distance ~ age, ignore_formula_env = TRUE)
  expect_equal(formula_of(. ~ . - (1 | Subject) + (age | Subject)),
               distance ~ age + (age | Subject), ignore_formula_env = TRUE)
  expect_equal(formula_of(. ~ . - age + (0 + age | Subject)),
               distance ~ (1 | Subject) + (0 + age | Subject), ignore_formula_env = TRUE)
  expect_equal(formula_of(log(.) ~ .), log(distance) ~ age + (1 | Subject),
               ignore_formula_env = TRUE)
  split <- fit_glmm(distance ~ age + (age || Subject), growth)
  expect_equal(formula(update(split, . ~ . + Sex)), distance ~ age + (age || Subject) + Sex,
               ignore_formula_env = TRUE)
})

test_that("the call stays readable, and can be had without evaluating it", {
  expect_equal(update(fit, method = "reml", evaluate = FALSE),
               quote(fit_glmm(formula = distance ~ age + (1 | Subject), data = growth,
                              prior = law, method = "reml")))
  expect_equal(update(fit, method = "reml")$call,
               update(fit, method = "reml", evaluate = FALSE))
  expect_equal(update(update(fit, method = "reml"), method = "em")$theta, theta(fit))
})

test_that("a fit made inside a function can be updated outside it, and the reverse", {
  inside <- local({
    table <- growth
    held <- law
    fit_glmm(distance ~ age + (1 | Subject), table, prior = held)
  })
  expect_equal(theta(update(inside, method = "em")), theta(fit))
  expect_equal(update(inside, method = "reml")$prior, law)
  refit <- function(fit) {
    small <- growth[growth$Sex == "Female", ]
    update(fit, data = small)
  }
  expect_equal(nobs(refit(inside)), 44)
  # A formula from elsewhere, and data under the name of a function.
  through <- function(formula, data) update(fit_glmm(formula, data), method = "reml")
  expect_equal(through(distance ~ age + (1 | Subject), growth)$method, "reml")
})

test_that("conditions show the call without the values that were filled in", {
  local_data <- growth
  error <- tryCatch(update(fit, data = local_data, prior = priors(cor = constant(0))),
                    error = identity)
  expect_s3_class(error, "elbo_error_prior")
  expect_equal(conditionCall(error)$data, quote(local_data))
  error <- tryCatch(update(fit, method = "joint", prior = NULL), error = identity)
  expect_s3_class(error, "elbo_error_unbounded")
  expect_equal(conditionCall(error)$data, quote(growth))
  warning <- tryCatch(update(fit, control = elbo_control(max_iter = 1)), warning = identity)
  expect_s3_class(warning, "elbo_warning_convergence")
  expect_equal(conditionCall(warning)$data, quote(growth))
  # The call of an argument stays what it is.
  error <- tryCatch(update(fit, control = elbo_control(tol = -1)), error = identity)
  expect_equal(conditionCall(error), quote(elbo_control(tol = -1)))
})

test_that("unnamed arguments are refused", {
  expect_error(update(fit, . ~ ., "reml"), class = "elbo_error_argument")
})

test_that("what an update was given is found again where it was given", {
  em <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
  cohort <- as.data.frame(nlme::Orthodont)
  cohort$distance <- cohort$distance[1]
  within <- function(seed) {
    set.seed(seed)
    cohort <- as.data.frame(nlme::Orthodont)
    cohort$distance <- cohort$distance + rnorm(nrow(cohort))
    update(em, data = cohort)
  }
  for (seed in 1:2) {
    fit <- within(seed)
    expect_equal(fixef(update(fit, method = "em")), fixef(fit))
  }
})

test_that("random terms are not dropped without a word", {
  fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
  refused <- function(expr) {
    expect_error(expr, "(age | Subject)", fixed = TRUE, class = "elbo_error_formula")
  }
  refused(update(fit, . ~ 1))
  refused(update(fit, . ~ Sex))
  refused(update(fit, formula = distance ~ age))
  refused(update(fit, . ~ 1, evaluate = FALSE))
  expect_equal(update(fit, . ~ 1 + (1 | Subject))$formula, distance ~ (1 | Subject),
               ignore_formula_env = TRUE)
  expect_identical(has_latent(update(fit, . ~ . - (age | Subject))), FALSE)
  expect_error(update(fit, 3), "formula.", class = "elbo_error_argument")
  curves <- fit_mixture(distance ~ age + (1 | Subject), nlme::Orthodont, k = 1, unit = ~ Subject)
  expect_error(update(curves, . ~ 1), class = "elbo_error_formula")
})

test_that("data that are gone are called so", {
  make <- function() {
    t <- nlme::Orthodont
    faraway <- as.data.frame(faithful)
    list(fit_glmm(distance ~ age + (1 | Subject), t),
         fit_mixture(waiting ~ 1, faraway, k = 2, covariance = "E"))
  }
  fits <- make()
  file <- withr::local_tempfile()
  for (fit in fits) {
    expect_s3_class(update(fit, control = elbo_control(seed = 2)), "elbo_fit")
    # As in another session, where the name is that of a function, or of nothing.
    environment(formula_of(fit)) <- globalenv()
    saveRDS(fit, file)
    again <- readRDS(file)
    expect_error(update(again, control = elbo_control(seed = 2)), "data of the fit are gone",
                 class = "elbo_error_data")
    data <- if (inherits(fit, "elbo_glmm")) nlme::Orthodont else faithful
    expect_equal(theta(update(again, data = data)), theta(fit), tolerance = 1e-6)
  }
})

test_that("a mixture that loses its covariates, or gets some, keeps its kind of variances", {
  # By construction nested: the smaller model is the larger one with slopes of zero. Its likelihood
  # is written out at its estimates.
  density <- function(fit) {
    of <- components(fit)
    sds <- rep(sqrt(as.vector(of$covariance)), length.out = 2)
    sum(log(of$weight[1] * dnorm(faithful$waiting, of$mean[1], sds[1]) +
              of$weight[2] * dnorm(faithful$waiting, of$mean[2], sds[2])))
  }
  for (sigma in c(~ component, ~ 1)) {
    large <- fit_mixture(waiting ~ eruptions, faithful, k = 2, sigma = sigma)
    small <- update(large, . ~ 1)
    common <- identical(sigma[[2]], 1)
    expect_equal(attr(logLik(large), "df") - attr(logLik(small), "df"), 2)
    expect_equal(as.numeric(logLik(small)), density(small))
    expect_equal(as.numeric(logLik(update(small, . ~ eruptions))), as.numeric(logLik(large)),
                 tolerance = 1e-8)
    expect_equal(covariance_model(small), if (common) "E" else "V")
    expect_equal(anova(small, large)$Chisq[2], 2 * as.numeric(logLik(large) - logLik(small)))
  }
  # What is stated stays so.
  expect_equal(update(large, . ~ 1, covariance = "V")$covariance, "V")
  expect_error(update(large, . ~ 1, sigma = ~ 1), class = "elbo_error_argument")
})
