orthodont <- function() {
  testthat::skip_if_not_installed("nlme")
  as.data.frame(nlme::Orthodont)
}

# Curves of two kinds: intercept 0 or 3, slope 1 or -1; deviations of intercept and slope.
two_kinds <- function(n = 40, m = 6, seed = 1) {
  set.seed(seed)
  kind <- rep(1:2, length.out = n)
  time <- seq(0, 1, length.out = m)
  data <- data.frame(id = rep(seq_len(n), each = m), time = rep(time, n))
  deviation <- matrix(rnorm(2 * n, sd = 0.4), n)
  data$y <- c(0, 3)[kind[data$id]] + deviation[data$id, 1] +
    (c(1, -1)[kind[data$id]] + deviation[data$id, 2]) * data$time + rnorm(n * m, sd = 0.3)
  data$w <- rep(c(1, 2, 0.5), length.out = n * m)
  attr(data, "kind") <- kind
  data
}

# log p(y) by multivariate normal densities of whole units, from components() alone.
brute_log_likelihood <- function(fit, data, X, Z, weights = rep(1, nrow(data))) {
  parts <- components(fit)
  sum(vapply(split(seq_len(nrow(data)), data$id), function(rows) {
    l <- vapply(seq_len(n_components(fit)), function(j) {
      Zi <- Z[rows, , drop = FALSE]
      V <- Zi %*% parts$covariance[j, , ] %*% t(Zi) +
        diag(parts$sigma[j]^2 / weights[rows], length(rows))
      e <- data$y[rows] - X[rows, , drop = FALSE] %*% parts$coefficients[j, ]
      log(parts$weight[j]) - 0.5 *
        (length(rows) * log(2 * pi) + determinant(V)$modulus + sum(e * solve(V, e)))
    }, 0)
    max(l) + log(sum(exp(l - max(l))))
  }, 0))
}

test_that("one component is the mixed model of fit_glmm()", {
  data <- orthodont()
  fit <- fit_mixture(distance ~ age + (age | Subject), data, k = 1, unit = ~ Subject)
  same <- fit_glmm(distance ~ age + (age | Subject), data)
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(same)), tolerance = 1e-12)
  expect_equal(unname(theta(fit)[-1]), as.vector(theta(same)), tolerance = 1e-6)
  spline <- distance ~ splines::bs(age, df = 3) + (1 | Subject)
  expect_equal(as.numeric(logLik(fit_mixture(spline, data, k = 1, unit = ~ Subject))),
               as.numeric(logLik(fit_glmm(spline, data))), tolerance = 1e-12)
})

test_that("the log-likelihood is that of multivariate normal units", {
  data <- two_kinds()
  unequal <- data[-c(2, 9, 10, 100), ]
  X <- cbind(1, unequal$time)
  for (covariance in list("free", "diagonal", "identity", c("free", "common"),
                          matrix(c(2, 0.5, 0.5, 1), 2))) {
    fit <- fit_mixture(y ~ time + (time | id), unequal, k = 2, unit = ~ id,
                       random_covariance = covariance,
                       weights = w, control = elbo_control(n_starts = 4))
    expect_equal(convergence(fit)$status, "converged")
    expect_equal(as.numeric(logLik(fit)), brute_log_likelihood(fit, unequal, X, X, unequal$w),
                 tolerance = 1e-10)
  }
})

test_that("covariances have the structure that was asked for, and their number of parameters", {
  data <- two_kinds()
  fit <- function(...) {
    fit_mixture(y ~ time + (time | id), data, k = 2, unit = ~ id,
                control = elbo_control(n_starts = 2), ...)
  }
  # 1 weight, 4 coefficients, and of each component 3, 2 or 1 for the covariance, 1 for sigma
  df <- function(fit) attr(logLik(fit), "df")
  expect_equal(df(fit()), 13)
  expect_equal(df(fit(random_covariance = "diagonal")), 11)
  expect_equal(df(fit(random_covariance = "identity")), 9)
  expect_equal(df(fit(random_covariance = "common", sigma = ~ 1)), 9)
  ratio <- components(fit(random_covariance = matrix(c(2, 0.5, 0.5, 1), 2)))$covariance
  expect_equal(ratio[1, , ] / ratio[1, 2, 2], matrix(c(2, 0.5, 0.5, 1), 2), ignore_attr = TRUE)
  held <- fit(random_covariance = "identity", prior = priors(sd = constant(0.4)))
  expect_equal(diag(components(held)$covariance[1, , ]), c(0.16, 0.16), ignore_attr = TRUE)
  expect_equal(df(held), 7)
  common <- components(fit(random_covariance = c("diagonal", "common")))$covariance
  expect_identical(common[1, , ], common[2, , ])
  expect_equal(common[1, 1, 2], 0)
})

test_that("curves are told apart, whatever the order of the rows", {
  data <- two_kinds()
  fit <- fit_mixture(y ~ time + (time | id), data, k = 2, unit = ~ id)
  kind <- predict(fit)
  expect_equal(length(unique(paste(kind, attr(data, "kind")))), 2)
  shuffled <- data[sample(nrow(data)), ]
  again <- fit_mixture(y ~ time + (time | id), shuffled, k = 2, unit = ~ id)
  expect_equal(as.vector(theta(again)), as.vector(theta(fit)), tolerance = 1e-7)
})

test_that("vb bounds the evidence and finds the number of kinds", {
  data <- two_kinds()
  fit <- fit_mixture(y ~ time + (time | id), data, k = 5, unit = ~ id, method = "vb",
                     random_covariance = "diagonal", prior = priors(weight = stick_breaking(1)))
  expect_equal(sum(size_of(fit) > 1), 2)
  expect_true(all(diff(trace_of(fit)$elbo) > -1e-9 * abs(objective_of(fit))))
  expect_equal(convergence(fit)$status, "converged")
})

test_that("what makes no sense is refused", {
  data <- two_kinds()
  expect_error(fit_mixture(y ~ time + (time | id), data, k = 2), class = "elbo_error_formula")
  data$other <- rep(1:4, length.out = nrow(data))
  expect_error(fit_mixture(y ~ time + (time | other), data, k = 2, unit = ~ id),
               class = "elbo_error_formula")
  expect_error(fit_mixture(y ~ time + (time | id), data, k = 2, unit = ~ id,
                           random_covariance = "full"),
               class = "elbo_error_argument")
  expect_error(fit_mixture(y ~ time + (time | id), data, k = 2, unit = ~ id,
                           random_covariance = diag(3)),
               class = "elbo_error_argument")
  expect_error(fit_mixture(y ~ time, data, k = 2, random_covariance = "diagonal"),
               class = "elbo_error_argument")
  expect_error(fit_mixture(y ~ time + (time | id), data, k = 2, unit = ~ id,
                           prior = priors(sd = constant(1))), class = "elbo_error_prior")
  expect_error(fit_mixture((y > 1) ~ time + (time | id), data, k = 2, unit = ~ id,
                           family = binomial()),
               class = "elbo_error_argument")
})

test_that("variables of deviations need not be those of the curves", {
  set.seed(2)
  data <- data.frame(id = gl(20, 7), t = rep(0:6, 20))
  data$y <- sin(data$t) + rnorm(20, sd = 0.3)[data$id] + rnorm(140)
  fit <- fit_mixture(y ~ splines::bs(t, df = 4) + (t | id), data, k = 1, unit = ~ id)
  same <- fit_glmm(y ~ splines::bs(t, df = 4) + (t | id), data)
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(same)), tolerance = 1e-8)
})

test_that("deviations, fitted values and simulations are those of the mixed model for k = 1", {
  set.seed(3)
  data <- data.frame(id = gl(20, 7), t = rep(0:6, 20))
  data$y <- data$t + rnorm(20)[data$id] + rnorm(20, sd = 0.3)[data$id] * data$t + rnorm(140)
  fit <- fit_mixture(y ~ t + (t | id), data, k = 1, unit = ~ id)
  same <- fit_glmm(y ~ t + (t | id), data)
  expect_equal(as.matrix(ranef(fit)$id), as.matrix(ranef(same)$id), tolerance = 1e-6,
               ignore_attr = TRUE)
  expect_equal(fitted(fit), fitted(same), tolerance = 1e-6, ignore_attr = TRUE)
  expect_equal(residuals(fit), residuals(same), tolerance = 1e-6, ignore_attr = TRUE)
  expect_equal(predict(fit, data[1:3, -1], type = "response"),
               drop(cbind(1, 0:2) %*% coef(fit)[1:2]),
               ignore_attr = TRUE)
  expect_equal(predict(fit, data[5:9, 1:2], type = "response"), predict(same, data[5:9, 1:2]),
               tolerance = 1e-6)
  drawn <- as.matrix(simulate(fit, 400, seed = 1))
  V <- cbind(1, 0:6) %*% components(fit)$covariance[1, , ] %*% rbind(1, 0:6) +
    diag(components(fit)$sigma[[1]]^2, 7)
  S <- crossprod(matrix(drawn - drop(cbind(1, data$t) %*% coef(fit)[1:2]), 7) |> t()) / (400 * 20)
  expect_lt(max(abs(S - V) / outer(sqrt(diag(V)), sqrt(diag(V)))), 0.06) # 4 sd of 1 / sqrt(8000)
})

test_that("deviations that are not there are on the boundary", {
  # Residuals of lines: the rows of a unit leave no room for deviations of intercept and slope.
  set.seed(4)
  data <- data.frame(id = gl(30, 6), time = rep(1:6, 30))
  residual <- apply(matrix(rnorm(180), 6), 2, function(e) residuals(lm(e ~ seq_along(e))))
  kind <- rep(1:2, each = 6, length.out = 180)
  data$y <- c(0, 3)[kind] + c(0.1, -0.2)[kind] * data$time + as.vector(residual)
  for (shared in c("own", "common")) {
    fit <- fit_mixture(y ~ time + (time | id), data, k = 2, unit = ~ id,
                       control = elbo_control(n_starts = 2),
                       random_covariance = c("free", if (shared == "common") shared))
    unknown <- names(which(is.na(diag(vcov(fit, full = TRUE)))))
    expect_equal(unknown, grep("^(sd|cor)__", names(theta(fit)), value = TRUE))
    expect_lt(max(theta(fit)[grep("^sd__", names(theta(fit)))]), 1e-10)
  }
  expect_equal(tidy(fit, "ran_pars")$term, c("sd__(Intercept)", "sd__time", "cor__(Intercept).time",
                                             "sd__Observation", "sd__Observation"))
})

test_that("covariances of deviations, whose mean is zero, take no prior of a mean", {
  d <- sim_curves(20, k = 2, seed = 1)
  expect_error(fit_mixture(expr ~ time + (1 | gene), d, unit = ~ gene, k = 2, method = "vb",
                           prior = priors(covariance = normal_inverse_wishart(0, 1, 3, 1))),
               "whose mean is zero", class = "elbo_error_prior")
})

test_that("curves are drawn where a component has no unit", {
  set.seed(1)
  d <- data.frame(id = gl(10, 4), t = rep(0:3, 10))
  d$y <- ifelse(as.integer(d$id) > 8, 3, 0) + d$t + rnorm(10)[d$id] + rnorm(40, sd = 0.3)
  fit <- fit_mixture(y ~ t + (1 | id), d, k = 2, unit = ~ id, sigma = ~ 1)
  drawn <- simulate(fit, 30, seed = 1)
  expect_true(any(colSums(attr(drawn, "component") == 2) == 0))
  expect_false(anyNA(drawn))
  b <- bootstrap(fit, 10, seed = 1)
  expect_equal(nrow(b$theta), 10)
})

test_that("curves of one row each are counted", {
  d <- data.frame(g = 1:3, y = c(-0.7, -0.6, 1.3))
  expect_error(fit_mixture(y ~ 1 + (1 | g), d, k = 2, unit = ~ g), class = "elbo_error")
})

test_that("a correlation at its bound is not beyond it by rounding", {
  set.seed(1)
  beyond <- vapply(1:12, function(seed) {
    d <- withr::with_seed(seed, data.frame(g = gl(6, 4), t = rep(1:4, 6), y = rnorm(24)))
    fit <- suppressWarnings(fit_mixture(y ~ t + (t | g), d, k = 1, unit = ~g))
    max(abs(theta(fit)[which_parameters(fit, "cor")])) > 1
  }, NA)
  expect_false(any(beyond, na.rm = TRUE))
})
