# Deterministic ADVI of normal targets, where all is exact; of small posteriors whose moments are
# known; and what goes wrong. Posteriors with references: helper-posteriors.R.

set.seed(2)
normal_precision <- crossprod(matrix(rnorm(72), ncol = 6)) / 5
normal_mean <- setNames(1:6, letters[1:6])
normal_density <- function(t) -sum((t - normal_mean) * (normal_precision %*% (t - normal_mean))) / 2
normal_gradient <- function(t) -drop(normal_precision %*% (t - normal_mean))

fit_normal <- function(...) fit_advi(normal_density, normal_mean * 0, normal_gradient, ...)

test_that("normal targets are exact, and linear response for them", {
  S <- solve(normal_precision)
  evidence <- 3 * log(2 * pi) + log(det(S)) / 2
  for (q in c("mean_field", "full", "laplace")) {
    fit <- fit_normal(q = q)
    expect_equal(c(theta(fit)), normal_mean, ignore_attr = TRUE, tolerance = 1e-8)
    expect_equal(unname(vcov(fit)), unname(S), tolerance = 1e-6)
    own <- if (q == "mean_field") diag(1 / diag(normal_precision)) else S
    type <- if (q == "mean_field") "mean_field" else "q"
    expect_equal(unname(vcov(fit, type = type)), unname(own), tolerance = 1e-6)
    # KL(q || p) of independent normals: (sum log diag - log det) / 2.
    kl <- if (q == "mean_field") (sum(log(diag(normal_precision))) + log(det(S))) / 2 else 0
    expect_equal(elbo(fit), evidence - kl, tolerance = 1e-6)
    expect_true(convergence(fit)$trusted)
    expect_equal(convergence(fit)$log_evidence, evidence, tolerance = 0.01)
    expect_lt(max(convergence(fit)$mc_error), 1e-6)
  }
  expect_identical(theta(fit_normal()), theta(fit_normal())) # the same bits
})

test_that("a log-normal parameter has its moments, by q and by linear response", {
  # log s ~ N(1, 0.5^2): q is exact, E s = exp(1 + 1/8), and so is linear response on its log scale.
  fit <- fit_advi(function(t) dlnorm(t, 1, 0.5, log = TRUE), c(s = 1),
                  function(t) -(1 + (log(t) - 1) / 0.25) / t, lower = 0, draws = 20)
  expect_equal(theta(fit)[["s"]], exp(1.125), tolerance = 1e-7)
  variance <- (exp(0.25) - 1) * exp(2.25)
  expect_equal(vcov(fit, type = "mean_field")[[1]], variance, tolerance = 1e-6)
  # The tilt by a little of s moves m and S: with f = exp, J = E[f'](1, 0.5), V = diag(.25, .125).
  expect_equal(vcov(fit)[[1]], exp(2.25) * (0.25 + 0.125 * 0.25), tolerance = 1e-5)
  # The log of it is normal, its mean by the draws exact.
  log_s <- predict(fit, function(t) c(log = log(t[[1]])))
  expect_equal(c(log_s$estimate, log_s$std.error), c(1, 0.5), tolerance = 1e-5)
  limits <- confint(fit)
  expect_gt(limits[1], 0)
  skip_if_not_installed("posterior")
  draws <- posterior::as_draws(fit, ndraws = 4000, seed = 1)
  expect_equal(mean(log(draws)), 1, tolerance = 0.03)
  expect_gt(min(draws), 0)
})

test_that("bounds of every kind: lower, upper, both, none, with their Jacobians", {
  density <- function(t) {
    dgamma(t[["a"]] - 1, 20, 4, log = TRUE) + dgamma(3 - t[["b"]], 20, 4, log = TRUE) +
      dbeta((t[["c"]] + 1) / 2, 30, 20, log = TRUE) + dnorm(t[["d"]], log = TRUE)
  }
  gradient <- function(t) {
    a <- t[["a"]] - 1
    b <- 3 - t[["b"]]
    c <- (t[["c"]] + 1) / 2
    c(19 / a - 4, -19 / b + 4, (29 / c - 19 / (1 - c)) / 2, -t[["d"]])
  }
  fit <- fit_advi(density, c(a = 3, b = 0, c = 0, d = 1), gradient, draws = 60,
                  lower = c(a = 1, c = -1), upper = c(b = 3, c = 1))
  exact <- c(a = 1 + 5, b = 3 - 5, c = 0.2, d = 0)
  sd <- c(sqrt(20) / 4, sqrt(20) / 4, 2 * sqrt(0.24 / 51), 1)
  expect_lt(max(abs(theta(fit) - exact) / sd), 0.02)
  expect_equal(unname(sqrt(diag(vcov(fit)))), sd, tolerance = 0.02)
  expect_true(convergence(fit)$trusted)
  expect_equal(convergence(fit)$log_evidence, log(2), tolerance = 0.02) # the scale of c
})

test_that("the Monte Carlo error is what other seeds show", {
  density <- function(t) sum(-exp(t) + 3 * t) - sum(t)^2 / 4
  gradient <- function(t) 3 - exp(t) - sum(t) / 2
  fits <- lapply(1:8, function(seed) {
    fit_advi(density, c(0, 0, 0), gradient, draws = 10, control = elbo_control(seed = seed))
  })
  estimates <- vapply(fits, theta, numeric(3))
  spread <- mean(apply(estimates, 1, sd) / sqrt(diag(vcov(fits[[1]]))))
  told <- mean(vapply(fits, function(fit) mean(convergence(fit)$mc_error), 0))
  expect_gt(told / spread, 0.5)
  expect_lt(told / spread, 2)
  expect_gt(convergence(fits[[1]])$draws_wanted, 3)
})

test_that("small posteriors have the moments of their references", {
  for (name in c("kidiq", "sblri", "sesame", "dippers")) {
    model <- own_posteriors[[name]]()
    fit <- fit_posterior(model)
    table <- beside_reference(model, fit)
    expect_identical(nrow(table), nrow(model$reference))
    expect_lt(max(abs(table$shift)), 0.2, label = name)
    expect_lt(max(abs(table$sd_error)), 0.1, label = name)
    expect_true(convergence(fit)$trusted, label = name)
  }
})

test_that("where a normal is not adequate the verdict says so by itself", {
  model <- own_posteriors$eight_schools()
  fit <- fit_posterior(model)
  table <- beside_reference(model, fit)
  expect_gt(max(abs(table$sd_error)), 0.1)
  expect_lt(max(abs(table$shift)), 0.2)
  expect_false(convergence(fit)$trusted)
  expect_match(convergence(fit)$verdict, "tau is .* too small")
  laplace <- update(fit, q = "laplace")
  expect_match(convergence(laplace)$verdict, "^Laplace's approximation is not to be trusted")
  expect_s3_class(compare_fits(fit, laplace), "elbo_comparison")
})

test_that("hierarchies and mixtures of the shared data", {
  skip_if(Sys.getenv("ELBO_TEST_LEVEL", "1") < "2", "long")
  for (name in c("mixture", "hmm", "gp", "radon", "pump", "surgical")) {
    model <- own_posteriors[[name]]()
    fit <- fit_posterior(model)
    table <- beside_reference(model, fit)
    expect_lt(max(abs(table$shift)), 0.2, label = name)
    expect_lt(max(abs(table$sd_error)), 0.1, label = name)
  }
})

test_that("without a gradient it is by differences, and said", {
  expect_message(fit <- fit_advi(normal_density, normal_mean * 0), "No `gradient`")
  expect_equal(c(theta(fit)), normal_mean, ignore_attr = TRUE, tolerance = 1e-6)
  expect_equal(unname(vcov(fit)), unname(solve(normal_precision)), tolerance = 1e-4)
})

test_that("objects of TMB are minus the log density", {
  object <- list(par = c(x = 0, y = 0, y = 0), fn = function(p) sum((p - 1:3)^2) / 2,
                 gr = function(p) t(p - 1:3), he = function(p) diag(3))
  fit <- fit_advi(object)
  expect_equal(c(theta(fit)), c(x = 1, "y[1]" = 2, "y[2]" = 3), tolerance = 1e-8,
               ignore_attr = "fixed")
  expect_equal(unname(vcov(fit)), diag(3), tolerance = 1e-6)
  expect_gt(convergence(fit)$evaluations[["hessians"]], 0)
  expect_error(fit_advi(object, gradient = sum), "`gradient`", class = "elbo_error_argument")
  expect_error(fit_advi(object, start = 1), "`start`", class = "elbo_error_argument")
  # With bounds the Hessian has that of the Jacobian too.
  gamma <- list(par = c(a = 2), fn = function(p) -dgamma(p, 20, 4, log = TRUE),
                gr = function(p) 4 - 19 / p, he = function(p) matrix(19 / p^2))
  by_he <- fit_advi(gamma, lower = 0)
  expect_equal(theta(by_he)[[1]], 5, tolerance = 0.01)
  gamma$he <- NULL
  expect_equal(vcov(fit_advi(gamma, lower = 0)), vcov(by_he), tolerance = 1e-5)
})

test_that("RTMB's objects work as they are", {
  skip_if_not_installed("RTMB")
  y <- c(4.2, 5.1, 3.9, 6.3, 5.5, 4.8, 5.0, 4.4)
  # Not suggested by the package, since it takes minutes to compile: by name.
  rtmb <- asNamespace("RTMB")
  minus <- function(p) -sum(rtmb$dnorm(y, p$mu, exp(p$log_sigma), TRUE))
  object <- rtmb$MakeADFun(minus, list(mu = 0, log_sigma = 0), silent = TRUE)
  fit <- fit_advi(object)
  own <- fit_advi(function(p) sum(stats::dnorm(y, p[1], exp(p[2]), TRUE)),
                  c(mu = 0, log_sigma = 0))
  expect_equal(theta(fit), theta(own), tolerance = 1e-5, ignore_attr = TRUE)
  expect_equal(unname(vcov(fit)), unname(vcov(own)), tolerance = 1e-4)
  # Flat in mu and log sigma mu has Student's t law with 7 degrees of freedom, by whose sd the
  # verdict judges that of linear response.
  exact <- sd(y) / sqrt(8) * sqrt(7 / 5)
  expect_equal(theta(fit)[["mu"]], mean(y), tolerance = 0.01)
  expect_equal(convergence(fit)$check$sd[1], exact, tolerance = 0.03)
})

test_that("an infinite start is searched from, and draws are kept inside of the domain", {
  density <- function(t) if (any(t < 0)) -Inf else sum(dgamma(t, 50, 10, log = TRUE))
  gradient <- function(t) 49 / t - 10
  fit <- fit_advi(density, c(a = -2, b = -1), gradient)
  expect_equal(c(theta(fit)), c(a = 5, b = 5), tolerance = 0.01, ignore_attr = TRUE)
  expect_error(fit_advi(function(t) -Inf, c(a = 1), gradient), "neither at `start` nor around",
               class = "elbo_error_own_model")
})

test_that("a posterior that is not proper is refused by name", {
  expect_error(fit_advi(function(t) -t[[1]]^2 / 2, c(a = 1, b = 2), function(t) c(-t[[1]], 0)),
               "direction of b", class = "elbo_error_unbounded")
  for (q in c("mean_field", "laplace")) {
    expect_error(fit_advi(function(t) -t[[1]] - t[[2]]^2, c(a = 1, b = 2),
                          function(t) c(-1, -2 * t[[2]]), q = q),
                 "not proper.* a[.]", class = "elbo_error_unbounded")
  }
})

test_that("a q too large for memory is refused before the climb", {
  expect_error(check_q_size(2000L, "full"), "mean_field", class = "elbo_error_memory")
  expect_error(check_q_size(100L, "mean_field", memory = 1e5), class = "elbo_error_memory")
  expect_no_error(check_q_size(100L, "full", memory = 1e10))
})

test_that("loo is that of exact leave-one-out", {
  skip_if_not_installed("loo")
  set.seed(1)
  y <- rnorm(30, 3)
  pointwise <- function(t, y) dnorm(y, t[[1]], 1, log = TRUE)
  fit <- fit_advi(function(t, y) sum(pointwise(t, y)), c(mu = 0), function(t, y) sum(y - t[[1]]),
                  data = y, pointwise = pointwise)
  answer <- loo::loo(fit, ndraws = 4000, seed = 1)
  # Flat prior, known variance: y_i given the rest is N(mean of the rest, 1 + 1 / 29).
  exact <- vapply(1:30, function(i) dnorm(y[i], mean(y[-i]), sqrt(1 + 1 / 29), log = TRUE), 0)
  expect_equal(answer$estimates[["elpd_loo", "Estimate"]], sum(exact), tolerance = 0.002)
  expect_error(loo::loo(update(fit, pointwise = NULL)), class = "elbo_error_not_available")
})

test_that("it is a fit like others", {
  local_reproducible_output(width = 80)
  fit <- fit_normal()
  expect_snapshot(fit, transform = without_gradient)
  expect_snapshot(summary(fit), transform = without_gradient)
  expect_equal(tidy(fit)$std.error, unname(sqrt(diag(vcov(fit)))))
  expect_true(glance(fit)$converged)
  expect_match(as.character(knitr::knit_print(fit)), "Variational Bayes")
  expect_output(print(variational(fit)), "normal\\(6\\)")
  expect_error(logLik(fit), class = "elbo_error_loglik")
  expect_equal(c(theta(update(fit, q = "full"))), normal_mean, tolerance = 1e-7,
               ignore_attr = TRUE)
  grDevices::pdf(NULL)
  withr::defer(grDevices::dev.off())
  expect_silent(plot(fit))
  expect_warning(update(fit, control = elbo_control(max_iter = 1)),
                 class = "elbo_warning_convergence")
})

test_that("what cannot be used is refused, and named", {
  refused <- function(class, pattern, ...) expect_error(fit_advi(...), pattern, class = class)
  argument <- "elbo_error_argument"
  refused(argument, "`log_density`", 1, 1)
  refused(argument, "`start`", normal_density)
  refused(argument, "`start`", normal_density, "a")
  refused(argument, "`draws`", normal_density, normal_mean, normal_gradient, draws = 0)
  refused(argument, "`pointwise`", normal_density, normal_mean, normal_gradient, pointwise = 1)
  refused(argument, "not that of `log_density`.* for c", normal_density, normal_mean * 0,
          function(t) normal_gradient(t) + c(0, 0, 30, 0, 0, 0))
  own <- "elbo_error_own_model"
  refused(own, "no luck", function(t) stop("no luck"), c(a = 1))
  refused(own, "must return 6 numbers", normal_density, normal_mean, function(t) 1)
  refused(own, "gradient.*bad", normal_density, normal_mean, function(t) stop("bad"))
  expect_message(fit_normal(q = "full", draws = 10), "24 instead of 10")
})
