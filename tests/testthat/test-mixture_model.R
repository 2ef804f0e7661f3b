normal_design <- function(d, n = 20) {
  Y <- matrix(stats::qnorm(seq_len(n * d) / (n * d + 1)), n)
  colnames(Y) <- letters[seq_len(d)]
  mixture_frame(quote(fit_mixture(formula = Y ~ 1)), environment(), gaussian())$design
}
regression_design <- function(formula, data = cars, ...) {
  family <- list(...)$family
  call <- as.call(list(quote(fit_mixture), formula = formula, data = data, ...))
  mixture_frame(call, environment(), if (is.null(family)) gaussian() else family)$design
}
free <- list(weights = list(equal = FALSE))

test_that("free parameters are counted as by mclust", {
  skip_if_not_installed("mclust")
  for (d in 2:4) for (k in 1:4) for (model in covariance_names) {
    expect_equal(mixture_df(normal_design(d), k, model, free),
                 mclust::nMclustParams(model, d, k), label = paste(model, d, k))
  }
  for (k in 1:4) for (model in c("E", "V")) {
    expect_equal(mixture_df(normal_design(1), k, model, free), mclust::nMclustParams(model, 1, k))
  }
})

test_that("held parameters are not counted", {
  design <- normal_design(2)
  expect_equal(mixture_df(design, 3, "EII", list(weights = list(equal = TRUE))), 7)
  design <- regression_design(dist ~ speed)
  expect_equal(mixture_df(design, 2, NA, c(free, list(regression = list()))), 7)
  expect_equal(mixture_df(design, 2, NA, c(free, list(regression = list(sigma_constant = 1)))), 5)
  design <- regression_design(dist ~ speed, sigma = ~ 1)
  expect_equal(mixture_df(design, 2, NA, c(free, list(regression = list()))), 6)
  design <- regression_design(dist ~ speed, family = poisson(), membership = ~ speed)
  expect_equal(mixture_df(design, 3, NA, c(free, list(regression = list()))), 10)
})

test_that("names of theta follow the order of C", {
  parameters <- mixture_parameters(normal_design(3), 2, "VVI", free)
  expect_equal(parameters$name, c(
    "weight|1", "weight|2",
    "mean__a|1", "mean__b|1", "mean__c|1", "mean__a|2", "mean__b|2", "mean__c|2",
    "sd__a|1", "sd__b|1", "sd__c|1", "sd__a|2", "sd__b|2", "sd__c|2",
    "cor__a.b|1", "cor__a.c|1", "cor__b.c|1", "cor__a.b|2", "cor__a.c|2", "cor__b.c|2"
  ))
  expect_equal(parameters$component[7:9], c(2, 2, 1))
  expect_equal(parameters$fixed, parameters$block == "cor")
  one <- mixture_parameters(normal_design(1), 1, "V", free)
  expect_equal(one$fixed, c(TRUE, FALSE, FALSE))

  design <- regression_design(dist ~ speed, membership = ~ speed, sigma = ~ 1)
  parameters <- mixture_parameters(design, 2, NA, c(free, list(regression = list())))
  expect_equal(parameters$name, c("membership__(Intercept)|2", "membership__speed|2",
                                  "(Intercept)|1", "speed|1", "(Intercept)|2", "speed|2", "sigma"))
  expect_equal(parameters$component, c(2, 2, 1, 1, 2, 2, NA))

  d <- data.frame(f = c("a", "b"), l = c(TRUE, FALSE), x = c(1.5, 2))
  design <- suppressMessages(regression_design(responses(f, l, x) ~ 1, d))
  expect_equal(mixture_parameters(design, 2, NA, free)$name[-(1:2)], c(
    "prob__f.a|1", "prob__f.b|1", "prob__f.a|2", "prob__f.b|2", "prob__l|1", "prob__l|2",
    "mean__x|1", "mean__x|2", "sd__x|1", "sd__x|2"))
})

test_that("covariance models are named in letters and in words", {
  two <- normal_design(2)
  one <- normal_design(1)
  expect_equal(covariance_models(NULL, two, "em"), covariance_names)
  expect_equal(covariance_models(NULL, two, "vb"), c("EII", "VII", "EEI", "VVI", "EEE", "VVV"))
  expect_equal(covariance_models(c("full", "VVV", "tied"), two, "em"), c("VVV", "EEE"))
  expect_equal(covariance_models(c("spherical", "diagonal"), two, "em"), c("VII", "VVI"))
  expect_equal(covariance_models(NULL, one, "em"), c("E", "V"))
  expect_equal(covariance_models(c("full", "tied", "V"), one, "em"), c("V", "E"))
  expect_error(covariance_models("EVE", two, "vb"), class = "elbo_error_argument")
  expect_error(covariance_models(NA, two, "em"), class = "elbo_error_argument")
  other <- regression_design(dist ~ speed)
  expect_equal(law_of(other)$covariance_models(NULL, other, "em"), NA_character_)
  expect_error(law_of(other)$covariance_models("EII", other, "em"), class = "elbo_error_argument")
})

test_that("of one component only different models are fitted", {
  expect_equal(distinct_models(covariance_names, 1), c("EII", "EEI", "EEE"))
  expect_equal(distinct_models(c("VVV", "EEE", "VII"), 1), c("VVV", "VII"))
  expect_equal(distinct_models(c("E", "V"), 1), "E")
  expect_equal(distinct_models(NA_character_, 1), NA_character_)
  expect_equal(distinct_models(covariance_names, 2), covariance_names)
})

test_that("without priors nothing is told of any", {
  priors <- mixture_priors(NULL, normal_design(2), 3, "em")
  expect_equal(priors$told$weights,
               list(law = "flat", alpha = NULL, equal = FALSE, coefficient_sd = Inf))
  expect_null(priors$told$normal$prior_scale)
  expect_true(all(lengths(priors$stated) == 0))
  expect_false(any(priors$default))
})

test_that("stated priors are told by the names of C", {
  design <- normal_design(2)
  said <- priors(covariance = inverse_wishart(5, 2), weight = dirichlet(3))
  told <- mixture_priors(said, design, 3, "em")$told
  expect_equal(told$normal[1:2], list(prior_df = 5, prior_scale = diag(2, 2)))
  expect_equal(weights_part(design, 3, told$weights)[c("law", "alpha")],
               list(law = 1L, alpha = c(3, 3, 3)))
  told <- mixture_priors(priors(weight = constant(1 / 3)), design, 3, "em")$told
  expect_equal(weights_part(design, 3, told$weights)$constant, rep(1 / 3, 3))

  design <- regression_design(dist ~ speed)
  said <- priors(speed = normal(1, 2), sigma = half_normal(4))
  told <- mixture_priors(said, design, 2, "em")$told$regression
  expect_equal(told[-1], list(beta_mean = c(0, 1), beta_sd = c(Inf, 2), sigma_family = 2L,
                              sigma_df = 1, sigma_scale = 4))
  told <- mixture_priors(priors(sigma = constant(3)), design, 2, "em")$told$regression
  expect_equal(regression_part(design, 2, NA, told)$sigma_constant, c(3, 3))
  expect_null(told$beta_sd)
})

test_that("the default covariance prior of vb is that of Fraley and Raftery (2007)", {
  Y <- as.matrix(iris[, 1:4])
  design <- mixture_frame(quote(fit_mixture(formula = Y ~ 1)), environment(), gaussian())$design
  priors <- mixture_priors(NULL, design, 3, "vb")
  expect_true(all(priors$default))
  told <- priors$told$normal
  expect_equal(told$prior_df, 6)
  expect_equal(told$prior_scale, unname(stats::cov(Y)) / 3^(2 / 4))
  # The same for every k
  expect_equal(mixture_priors(NULL, design, 5, "vb")$told$normal, told)
  expect_equal(told$prior_kappa, 0.01)
  expect_true(all(abs(told$prior_mean - colMeans(Y)) < 0.1 * apply(Y, 2, stats::sd)))
  expect_equal(priors$told$weights[c("law", "alpha")], list(law = "dirichlet", alpha = 1 / 3))
  # A stated inverse Wishart keeps the default of the means.
  told <- mixture_priors(priors(covariance = inverse_wishart(9, 1)), design, 3, "vb")$told$normal
  expect_equal(told[c("prior_df", "prior_kappa")], list(prior_df = 9, prior_kappa = 0.01))
})

test_that("default priors of regressions follow the units", {
  told <- function(data) {
    mixture_priors(NULL, regression_design(y ~ x, data), 2, "vb")$told$regression
  }
  a <- told(data.frame(y = cars$dist, x = cars$speed))
  b <- told(data.frame(y = 1000 * cars$dist, x = cars$speed / 10))
  expect_equal(b$beta_sd, a$beta_sd * c(1000, 10000))
  expect_equal(b$sigma_scale, 1000 * a$sigma_scale)
  # The predictor at the mean of x is no more certain than ten sds of y.
  expect_gt(a$beta_sd[1]^2 + (mean(cars$speed) * a$beta_sd[2])^2, 100 * stats::var(cars$dist))
  # A mean far from zero is not rounded away.
  far <- told(data.frame(y = 1234567 + cars$dist / 10, x = 1:50))
  expect_lt(abs(far$beta_mean[1] - mean(1234567 + cars$dist / 10)), 1)
})

test_that("the variance of a class variable has its prior as a matrix of order one", {
  d <- data.frame(f = c("a", "b", "a"), x = c(1.5, 2, 7))
  design <- suppressMessages(regression_design(responses(f, x) ~ 1, d))
  said <- priors(covariance = inverse_wishart(3, 4), prob = dirichlet(2))
  told <- mixture_priors(said, design, 2, "em")$told$classes
  expect_equal(told, list(alpha = 2, mean0 = NULL, kappa0 = NULL, shape0 = c(0, 1.5),
                          rate0 = c(0, 2)))
  told <- mixture_priors(NULL, design, 2, "vb")$told$classes
  expect_equal(told$kappa0, c(0, 0.01))
  expect_equal(told$rate0[2], stats::var(d$x) / 9 / 2)
  expect_equal(told$alpha, 1)
})

test_that("priors that a method does not have are refused", {
  design <- normal_design(2)
  refused <- function(prior, method) {
    expect_error(mixture_priors(prior, design, 2, method), class = "elbo_error_prior")
  }
  refused(priors(weight = stick_breaking(1)), "em")
  refused(priors(weight = dirichlet(0.5)), "joint")
  refused(priors(weight = dirichlet(c(1, 2))), "vb")
  refused(priors(weight = constant(0.3)), "em")
  refused(priors(weight = flat()), "vb")
  refused(priors(covariance = lkj(1)), "em")
  refused(priors(covariance = inverse_wishart(1, 1)), "em")
  refused(priors(covariance = inverse_wishart(4, diag(3))), "em")
  refused(priors(covariance = normal_inverse_wishart(0, 1, 4, 1)), "em")
  refused(priors(covariance = normal_inverse_wishart(1:3, 1, 4, 1)), "vb")
  refused(priors(sd = half_t(3, 1)), "em")
  refused(priors(`weight|1` = constant(0.5)), "em")
})
