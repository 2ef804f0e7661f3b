test_that("variational() has every factor, and prints it", {
  fit <- mixture_example("vb")
  q <- variational(fit)
  expect_identical(names(q), c("weights", "beta|1", "beta|2", "sigma^2|1", "sigma^2|2", "z"))
  expect_equal(unname(q$weights$alpha / sum(q$weights$alpha)), unname(theta(fit)[1:2]),
               ignore_attr = "fixed")
  expect_equal(q[["beta|2"]]$mean, setNames(theta(fit)[c("(Intercept)|2", "x1|2")],
                                            c("(Intercept)", "x1")), ignore_attr = "fixed")
  # E[sqrt(v)] for v inverse gamma(a, b).
  s <- q[["sigma^2|1"]]
  expect_equal(theta(fit)[["sigma|1"]],
               sqrt(s$scale) * exp(lgamma(s$shape - 0.5) - lgamma(s$shape)))
  expect_equal(q$z$probability, predict(fit, type = "prob"))
  expect_identical(capture.output(print(q))[c(1, 3)],
                   c("The optimal q:", "  q(beta|1) = normal(2)"))

  classes <- variational(mixture_example("vb_classes"))
  expect_true(all(c("prob__colour|1", "prob__smokes|3", "mean, sigma^2__x|2") %in% names(classes)))
  alpha <- classes[["prob__colour|1"]]$alpha
  expect_equal(alpha[["red"]] / sum(alpha),
               theta(mixture_example("vb_classes"))[["prob__colour.red|1"]])
  expect_output(print(classes), "Empty, with factors as their prior: component 3")
  sticks <- variational(mixture_example("vb_sticks"))$weights
  expect_identical(sticks$family, "stick-breaking")
  v <- sticks$shape1 / (sticks$shape1 + sticks$shape2)
  expect_equal(c(v, 1) * cumprod(c(1, 1 - v)),
               unname(theta(mixture_example("vb_sticks"))[sticks$order]), ignore_attr = "fixed")
  expect_error(variational(mixture_example("normal")), class = "elbo_error_method")
})

# The derivative of every posterior mean by the mean of the normal prior of x1 (which all components
# share) is the covariance with the sum of the coefficients over the prior's variance: refits must
# agree.
test_that("linear response is the derivative by the prior", {
  d <- withr::with_seed(1, regression_data())
  tight <- elbo_control(tol = 1e-12)
  fit_at <- function(mean) {
    fit_mixture(y ~ x1, d, k = 2, method = "vb", control = tight,
                prior = priors(x1 = normal(mean, 0.5), `(Intercept)` = normal(0, 10),
                               sigma = half_t(3, 1)))
  }
  fit <- fit_at(0.2)
  V <- vcov(fit, full = TRUE)
  h <- 1e-3
  refits <- c(theta(fit_at(0.2 + h)) - theta(fit_at(0.2 - h))) / (2 * h)
  expect_equal(unname(refits), unname(rowSums(V[, c("x1|1", "x1|2")]) / 0.5^2), tolerance = 1e-4)
})

# The natural parameters of q(weights) are its alpha (its statistics log weight), and alpha of the
# prior is added to them: so d E[theta] / d alpha is their covariance with the sum of log weights.
test_that("linear response to log weights is the derivative by pseudo-counts", {
  d <- withr::with_seed(1, class_data())
  fit_at <- function(alpha) {
    fit_mixture(responses(colour, smokes, x) ~ 1, d, k = 2, method = "vb",
                prior = priors(weight = dirichlet(alpha)), control = elbo_control(tol = 1e-12))
  }
  fit <- fit_at(2)
  answer <- .Call(C_mixture_information, fit_model(fit), fit$state)
  response <- answer$jacobian %*% solve(-answer$hessian, answer$V[, 1:2])
  h <- 1e-3
  refits <- c(theta(fit_at(2 + h)) - theta(fit_at(2 - h))) / (2 * h)
  expect_equal(unname(refits), unname(rowSums(response)), tolerance = 1e-4)
})

# Draws from the factors themselves.
test_that("mean-field covariances are those of q", {
  fit <- mixture_example("vb_classes")
  V <- vcov(fit, full = TRUE, type = "mean_field")
  q <- variational(fit)
  set.seed(1)
  n <- 2e5 # relative error of a variance: 0.3 %
  dirichlet <- function(alpha) {
    x <- sapply(alpha, function(a) rgamma(n, a))
    x / rowSums(x)
  }
  weights <- dirichlet(q$weights$alpha)
  rows <- paste0("weight|", 1:3)
  expect_equal(unname(V[rows, rows]), unname(cov(weights)), tolerance = 0.02)
  colour <- dirichlet(q[["prob__colour|2"]]$alpha)
  rows <- paste0("prob__colour.", c("red", "green", "blue"), "|2")
  expect_equal(unname(V[rows, rows]), unname(cov(colour)), tolerance = 0.02)
  x <- q[["mean, sigma^2__x|1"]]
  variance <- 1 / rgamma(n, x$shape, x$rate)
  mean <- rnorm(n, x$mean, sqrt(variance / x$kappa))
  expect_equal(V["mean__x|1", "mean__x|1"], var(mean), tolerance = 0.02)
  expect_equal(V["sd__x|1", "sd__x|1"], var(sqrt(variance)), tolerance = 0.02)
  expect_equal(V["prob__smokes|1", "weight|1"], 0)
  # Linear response knows what the factors do to each other.
  seen <- grep("[|][12]$", names(theta(fit)))
  expect_true(all(diag(vcov(fit, full = TRUE))[seen] > diag(V)[seen]))
})

test_that("covariances of broken sticks are those of their products", {
  f <- list(shape1 = c(5, 2, 1.5), shape2 = c(3, 4, 2), order = c(2, 4, 1, 3))
  set.seed(2)
  n <- 2e5
  v <- cbind(mapply(function(a, b) rbeta(n, a, b), f$shape1, f$shape2), 1)
  weights <- v * t(apply(cbind(1, 1 - v[, 1:3]), 1, cumprod))
  weights[, f$order] <- weights
  expect_equal(stick_covariance(f), cov(weights), tolerance = 0.02)
  fit <- mixture_example("vb_sticks")
  V <- vcov(fit, full = TRUE, type = "mean_field")[1:3, 1:3]
  expect_equal(unname(rowSums(V)), rep(0, 3), tolerance = 1e-10)
})

test_that("normal components have the moments of their inverse Wishart", {
  fit <- mixture_example("vb_normal")
  q <- variational(fit)
  f <- q[["mean, Sigma|1"]]
  expect_identical(f$family, "normal inverse Wishart")
  set.seed(3)
  n <- 4e4
  precision <- rWishart(n, f$df, solve(f$scale))
  Sigma <- apply(precision, 3, function(P) solve(P))
  sd <- sqrt(Sigma[c(1, 4), ])
  cor <- Sigma[2, ] / (sd[1, ] * sd[2, ])
  V <- vcov(fit, full = TRUE, type = "mean_field")
  expect_equal(theta(fit)[["sd__waiting|1"]], mean(sd[2, ]), tolerance = 0.005)
  expect_equal(theta(fit)[["cor__eruptions.waiting|1"]], mean(cor), tolerance = 0.02)
  expect_equal(V["sd__waiting|1", "sd__waiting|1"], var(sd[2, ]), tolerance = 0.05)
  expect_equal(V["cor__eruptions.waiting|1", "cor__eruptions.waiting|1"], var(cor),
               tolerance = 0.05)
  means <- c("mean__eruptions|1", "mean__waiting|1")
  expect_equal(unname(V[means, means]), matrix(rowMeans(Sigma), 2) / f$kappa, tolerance = 0.02)
  expect_match(empty_words(fit), "of 4 components (is|are) empty")
})

test_that("normal components without correlations, or with shared ones, have theirs", {
  for (model in c("EII", "VII", "EEI", "VVI", "EEE")) {
    fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = model,
                       method = "vb")
    V <- vcov(fit, full = TRUE, type = "mean_field")
    f <- variational(fit)[[3]]
    if (model == "EEE") {
      shape <- (f$df - 1) / 2 # of the margins of an inverse Wishart of order two
      rate <- diag(f$scale) / 2
    } else {
      shape <- f$shape
      rate <- f$rate
    }
    # E[sd], var(sd) and E[variance] of an inverse gamma distribution.
    sd <- sqrt(rate) * exp(lgamma(shape - 0.5) - lgamma(shape))
    sds <- c("sd__eruptions|2", "sd__waiting|2")
    expect_equal(unname(c(theta(fit))[sds]), unname(sd))
    expect_equal(unname(diag(V)[sds]), unname(rate / (shape - 1) - sd^2), tolerance = 1e-6)
    means <- c("mean__eruptions|2", "mean__waiting|2")
    expect_equal(unname(diag(V)[means]), unname(rate / (shape - 1) / f$kappa))
    if (model %in% c("EII", "EEI", "EEE")) {
      expect_equal(V["sd__waiting|1", "sd__waiting|2"], V["sd__waiting|1", "sd__waiting|1"])
    }
    # Linear response sees theta through the statistics of q, which a mean under an inverse Wishart
    # is not quite: a percent or two.
    lr <- standard_errors(fit)
    expect_true(all(lr[c(means, sds)] > 0.97 * sqrt(diag(V)[c(means, sds)])))
  }
})

test_that("draws have the moments of linear response, and stay in their range", {
  skip_if_not_installed("posterior")
  fit <- mixture_example("vb_classes")
  draws <- posterior::as_draws(fit, ndraws = 4000, seed = 1)
  expect_s3_class(draws, "draws_matrix")
  draws <- as.matrix(draws)
  attr(draws, "nchains") <- NULL
  seen <- grep("[|][12]$", names(theta(fit)))
  expect_equal(unname(colMeans(draws)[seen]), unname(theta(fit)[seen]), tolerance = 0.01,
               ignore_attr = TRUE)
  # Scaling shares to their sum moves their sds a little.
  ratio <- apply(draws, 2, sd)[seen] / standard_errors(fit)[seen]
  expect_true(all(abs(ratio - 1) < 0.1))
  expect_equal(unname(rowSums(draws[, 1:3])), rep(1, 4000))
  expect_true(all(draws[, grep("^prob|^weight", colnames(draws))] >= 0))
  expect_identical(draws, {
    again <- as.matrix(posterior::as_draws(fit, ndraws = 4000, seed = 1))
    attr(again, "nchains") <- NULL
    again
  })
  expect_error(posterior::as_draws(mixture_example("normal")), class = "elbo_error_method")
})

test_that("simulate() of vb draws parameters anew", {
  fit <- mixture_example("vb")
  s <- simulate(fit, 300, seed = 1)
  share <- colMeans(attr(s, "component") == 1)
  # Binomial variance of 200 units, and the posterior's of the weight.
  w <- theta(fit)[["weight|1"]]
  expected <- sqrt(w * (1 - w) / 200 + vcov(fit, full = TRUE)[1, 1])
  expect_equal(sd(share), expected, tolerance = 0.15)
})
