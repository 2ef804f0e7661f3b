skip_if_not_installed("posterior")

orthodont <- nlme::Orthodont
growth <- function(...) {
  fit_glmm(distance ~ age + (age | Subject), orthodont, method = "vb", ...)
}
draw <- function(fit, ...) posterior::as_draws(fit, ndraws = 20000, seed = 1, ...)

test_that("draws have the moments of linear response, and stay in range", {
  fit <- growth()
  draws <- draw(fit)
  expect_s3_class(draws, "draws_matrix")
  expect_identical(posterior::variables(draws), names(theta(fit)))
  sd <- sqrt(diag(vcov(fit, full = TRUE)))
  expect_lt(max(abs(colMeans(draws) - theta(fit)) / sd), 4 / sqrt(20000))
  # Four Monte Carlo errors of a sd, log-normal ones having heavier tails.
  expect_equal(apply(draws, 2, stats::sd), sd, tolerance = 0.04)
  # Margins are bent, so that correlations hold but roughly.
  expect_lt(max(abs(stats::cor(draws) - stats::cov2cor(vcov(fit, full = TRUE)))), 0.08)
  kind <- parameters_of(fit)$block
  expect_gt(min(draws[, kind %in% c("sd", "sigma")]), 0)
  expect_lt(max(abs(draws[, kind == "cor"])), 1)
})

test_that("draws of the mean field are draws from q", {
  for (factorization in c("structured", "mean_field")) {
    fit <- growth(factorization = factorization)
    draws <- draw(fit, type = "mean_field", latent = TRUE)
    sd <- sqrt(diag(vcov(fit, full = TRUE, type = "mean_field")))
    theta <- draws[, names(theta(fit))]
    expect_lt(max(abs(colMeans(theta) - theta(fit)) / sd), 4 / sqrt(20000))
    expect_equal(apply(theta, 2, stats::sd), sd, tolerance = 0.03)
    latent <- draws[, -seq_along(sd)]
    sds <- sqrt(elbo:::vb_latent_variance(fit, "mean_field")[[1]])
    expect_equal(unname(apply(latent, 2, stats::sd)), as.vector(t(sds)), tolerance = 0.03)
  }
})

test_that("latent variables have the moments of latent()", {
  for (factorization in c("structured", "mean_field")) {
    fit <- growth(factorization = factorization)
    draws <- draw(fit, latent = TRUE)[, -seq_along(theta(fit))]
    table <- latent(fit)
    expect_identical(posterior::variables(draws), sprintf("u[%s,%s]", table$level, table$term))
    expect_lt(max(abs(colMeans(draws) - table$mean) / table$sd), 4.5 / sqrt(20000))
    expect_equal(unname(apply(draws, 2, stats::sd)), table$sd, tolerance = 0.03)
  }
})

test_that("the formats of package posterior, and plots of bayesplot, take a fit", {
  fit <- growth()
  expect_s3_class(posterior::as_draws_df(fit), "draws_df")
  expect_s3_class(posterior::as_draws_rvars(fit)$sigma, "rvar")
  expect_equal(nrow(posterior::as_draws_matrix(posterior::as_draws(fit))), 1000)
  skip_if_not_installed("bayesplot")
  expect_s3_class(bayesplot::mcmc_intervals(posterior::as_draws(fit)), "ggplot")
})

test_that("a seed gives the same draws and leaves the generator alone", {
  fit <- growth()
  set.seed(2)
  before <- .Random.seed
  first <- posterior::as_draws(fit, ndraws = 3, seed = 5)
  expect_identical(.Random.seed, before)
  expect_identical(posterior::as_draws(fit, ndraws = 3, seed = 5), first)
  posterior::as_draws(fit, ndraws = 3)
  expect_false(identical(.Random.seed, before))
})

test_that("what is held is the same in each draw, and points have no draws", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), orthodont, method = "vb",
                  prior = priors(sd = constant(2), age = constant(0.5)))
  draws <- posterior::as_draws(fit, ndraws = 4)
  expect_true(all(draws[, "age"] == 0.5))
  expect_true(all(draws[, "sd__(Intercept)|Subject"] == 2))
  expect_gt(stats::sd(draws[, "(Intercept)"]), 0)
  expect_error(posterior::as_draws(update(fit, method = "em")), class = "elbo_error_method")
})

# ---- prediction and simulation -----------------------------------------------------------

test_that("predictions have the variance of the draws", {
  fit <- growth()
  new <- data.frame(Subject = c("F01", "new"), age = c(9, 15))
  found <- predict(fit, new, allow.new.levels = TRUE, se.fit = TRUE, interval = "prediction")
  draws <- draw(fit, latent = TRUE)
  mean <- draws[, "(Intercept)"] + 9 * draws[, "age"] + draws[, "u[F01,(Intercept)]"] +
    9 * draws[, "u[F01,age]"]
  expect_equal(unname(found$fit[1, 1]), mean(mean), tolerance = 1e-3)
  expect_equal(unname(found$se.fit[1]), stats::sd(mean), tolerance = 0.02)
  # of a new group: z'E[Sigma]z beside the coefficients
  sds <- draws[, c("sd__(Intercept)|Subject", "sd__age|Subject")]
  cor <- draws[, "cor__(Intercept).age|Subject"]
  law <- mean(sds[, 1]^2 + 15^2 * sds[, 2]^2 + 2 * 15 * cor * sds[, 1] * sds[, 2])
  coefficients <- stats::var(drop(draws[, "(Intercept)"] + 15 * draws[, "age"]))
  expect_equal(unname(found$se.fit[2]), sqrt(law + drop(coefficients)), tolerance = 0.05)
  half <- (found$fit[, "upr"] - found$fit[, "lwr"]) / (2 * stats::qnorm(0.975))
  residual <- mean(draws[, "sigma"]^2)
  expect_equal(unname(half[1]), sqrt(found$se.fit[[1]]^2 + residual), tolerance = 0.01)
})

test_that("simulations draw the parameters too", {
  fit <- growth()
  new <- data.frame(Subject = "F01", age = 9)
  predicted <- predict(fit, new, interval = "prediction")
  half <- (predicted[, "upr"] - predicted[, "lwr"]) / (2 * stats::qnorm(0.975))
  drawn <- unlist(simulate(fit, 4000, seed = 1, newdata = new, re.form = NULL))
  expect_equal(mean(drawn), predicted[[1, "fit"]], tolerance = 4 * half[[1]] / sqrt(4000) / 20)
  expect_equal(stats::sd(drawn), half[[1]], tolerance = 0.05)
  drawn <- unlist(simulate(fit, 4000, seed = 1, newdata = new))
  wide <- predict(fit, transform(new, Subject = "new"), allow.new.levels = TRUE,
                  interval = "prediction")
  half <- (wide[, "upr"] - wide[, "lwr"]) / (2 * stats::qnorm(0.975))
  expect_equal(stats::sd(drawn), unname(half), tolerance = 0.07)
  expect_identical(simulate(fit, 2, seed = 3), simulate(fit, 2, seed = 3))
})

test_that("fits by vb stand beside the others", {
  fit <- growth()
  beside <- compare_fits(vb = fit, em = update(fit, method = "em"),
                         reml = update(fit, method = "reml"))
  facts <- attr(beside, "facts")
  expect_match(facts$integrated[1], "everything integrated", fixed = TRUE)
  expect_identical(facts$log_likelihood[1], NA_real_)
  expect_output(print(beside), "vb: everything integrated", fixed = TRUE)
  glance <- generics::glance(fit)
  expect_identical(glance$logLik, NA_real_)
  expect_equal(glance$elbo, elbo(fit))
  tidy <- generics::tidy(fit)
  expect_equal(tidy$std.error, unname(sqrt(diag(vcov(fit, full = TRUE)))))
})

test_that("correlations of three are drawn as those of a law", {
  set.seed(1)
  d <- data.frame(a = rnorm(12), b = rnorm(12), c = rnorm(12))
  mixture <- fit_mixture(cbind(a, b, c) ~ 1, d, k = 2, method = "vb")
  d <- data.frame(x = rnorm(24), w = rnorm(24), y = rnorm(24), g = gl(6, 4))
  mixed <- suppressMessages(fit_glmm(y ~ x + (x + w | g), d, method = "vb"))
  for (fit in list(mixture, mixed)) {
    draws <- with_seed(2, if (inherits(fit, "elbo_mixture")) posterior_theta(fit, 400)
                          else posterior_draws(fit, 400)$theta)
    rows <- tail(which(parameters_of(fit)$block == "cor"), 3)
    least <- apply(draws[, rows], 1, function(r) {
      R <- diag(3)
      R[lower.tri(R)] <- r
      min(eigen(R + t(R) - diag(3), symmetric = TRUE)$values)
    })
    expect_gt(min(least), 0.99e-8)
    if (inherits(fit, "elbo_mixture")) expect_gt(mean(least < 1.01e-8), 0.01) # one by one: no law's
  }
  expect_no_error(simulate(mixture, 20, seed = 1))
})

test_that("a fit that has no covariance has no draws, and says so", {
  set.seed(1)
  d <- data.frame(y = rnorm(24), x = rnorm(24), f = gl(2, 1, 24, c("a", "b")), g = gl(8, 3))
  fit <- suppressWarnings(fit_glmm(y ~ x + (f | g), d, method = "vb", sigma = ~f,
                                   control = elbo_control(max_iter = 1)))
  if (anyNA(information_of(fit)$eta_cov)) {
    expect_error(simulate(fit, 1), class = "elbo_error_not_available")
  } else {
    expect_true(all(is.finite(simulate(fit, 1)[[1]])))
  }
})
