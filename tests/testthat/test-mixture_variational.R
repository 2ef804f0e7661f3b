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
  answer <- .Call(C_mixture_information, fit_model(fit), state_of(fit))
  response <- answer$jacobian %*% solve(-answer$hessian, answer$V[, 1:2])
  h <- 1e-3
  refits <- c(theta(fit_at(2 + h)) - theta(fit_at(2 - h))) / (2 * h)
  expect_equal(unname(refits), unname(rowSums(response)), tolerance = 1e-4)
})

# Draws from the factors themselves.
test_that("mean-field covariances are those of q", {
  fit <- mixture_example("vb_classes")
  V <- elbo:::theta_covariance(fit, "mean_field") # of weights too, though one component is empty
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
  expect_true(all(diag(elbo:::theta_covariance(fit, "linear_response"))[seen] > diag(V)[seen]))
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
  errors <- sqrt(diag(elbo:::theta_covariance(fit, "linear_response")))
  ratio <- apply(draws, 2, sd)[seen] / errors[seen]
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

vb_curves <- function(formula = expr ~ time + (time | gene), covariance = "free", ...) {
  genes <- sim_curves(50, times = c(0, 1, 2, 3, 4), k = 2, curves = rbind(0:4, 4:0),
                      sd = c(0.5, 0.4),
                      sigma = 0.3, seed = 1)
  fit_mixture(formula, genes, k = 2, unit = ~ gene, method = "vb", random_covariance = covariance,
              ...)
}

# Draws from the factors themselves: 40,000 give the variance of an sd to 1 %.
test_that("the factors of curves have the means and mean-field covariances that are told", {
  n <- 40000
  fit <- vb_curves()
  q <- variational(fit)
  expect_named(q, c("weights", "beta|1", "beta|2", "Sigma__(Intercept) + time|1",
                    "Sigma__(Intercept) + time|2", "sigma^2|1",
                    "sigma^2|2", "z"))
  V <- vcov(fit, full = TRUE, type = "mean_field")
  expect_identical(dimnames(V)[[1]], names(theta(fit)))
  beta <- c("(Intercept)|2", "time|2")
  expect_equal(unname(theta(fit)[beta]), unname(q[["beta|2"]]$mean), tolerance = 1e-12)
  expect_equal(unname(V[beta, beta]), unname(q[["beta|2"]]$cov))
  f <- q[["Sigma__(Intercept) + time|2"]]
  Sigma <- withr::with_seed(1, apply(rWishart(n, f$df, solve(f$scale)), 3, solve))
  sd <- sqrt(Sigma[c(1, 4), ])
  cor <- Sigma[2, ] / (sd[1, ] * sd[2, ])
  names <- c("sd__(Intercept)|2", "sd__time|2", "cor__(Intercept).time|2")
  drawn <- rbind(sd, cor)
  expect_true(all(abs(theta(fit)[names] - rowMeans(drawn)) < 4 * apply(drawn, 1, stats::sd) /
                  sqrt(n)))
  expect_equal(unname(diag(V)[names]), unname(apply(drawn, 1, var)), tolerance = 0.05)
  s <- q[["sigma^2|1"]]
  sigma <- withr::with_seed(2, sqrt(1 / rgamma(n, s$shape, s$scale)))
  expect_equal(theta(fit)[["sigma|1"]], mean(sigma),
               tolerance = 4 * stats::sd(sigma) / sqrt(n) / mean(sigma))
  expect_equal(V["sigma|1", "sigma|1"], var(sigma), tolerance = 0.05)
  expect_equal(V["sigma|1", "sigma|2"], 0)
  # Linear response knows what the factors do to each other.
  free <- !attr(theta(fit), "fixed")
  expect_true(all(diag(vcov(fit, full = TRUE))[beta] >= diag(V)[beta] * (1 - 1e-6)))
  expect_true(all(diag(V)[free] > 0))
})

# E[sd] and var(sd) of an inverse gamma variance, by their formulas.
test_that("single, common and held variances of curves, and multiples of a matrix", {
  moments <- function(f) {
    sd <- sqrt(f$scale) * exp(lgamma(f$shape - 0.5) - lgamma(f$shape))
    c(sd, f$scale / (f$shape - 1) - sd^2)
  }
  expect_moments <- function(fit, factor, name) {
    V <- vcov(fit, full = TRUE, type = "mean_field")
    expect_equal(c(theta(fit)[[name]], V[name, name]), moments(variational(fit)[[factor]]),
                 tolerance = 1e-8)
  }
  expect_moments(vb_curves(expr ~ time + (1 | gene)), "sd^2__(Intercept)|2", "sd__(Intercept)|2")
  expect_moments(vb_curves(covariance = "diagonal"), "sd^2__time|1", "sd__time|1")
  smooth <- vb_curves(expr ~ s(time) + (1 | gene))
  expect_moments(smooth, "sd^2__s(time)|2", "sd__s(time)|2")
  expect_named(variational(smooth)[["beta|1"]]$mean, colnames(smooth$design$X))
  expect_moments(vb_curves(expr ~ time + (s(time) | gene)), "sd^2__s(time)|gene|1",
                 "sd__s(time)|gene|1")
  common <- vb_curves(covariance = list("common", "diagonal"), sigma = ~ 1)
  expect_moments(common, "sd^2__time", "sd__time")
  expect_moments(common, "sigma^2", "sigma")
  multiple <- vb_curves(covariance = rbind(c(2, 0.5), c(0.5, 1)))
  sd <- grep("^sd__.*[|]1$", names(theta(multiple)), value = TRUE)
  expect_length(sd, 1)
  expect_moments(multiple, sub("sd__", "sd^2__", sd), sd)
  held <- vb_curves(expr ~ time + (1 | gene), prior = priors(`sd__(Intercept)` = constant(0.5)))
  expect_false(any(grepl("^sd", names(variational(held)))))
  expect_identical(unname(vcov(held, full = TRUE, type = "mean_field")["sd__(Intercept)|1", 1]),
                   NA_real_)
  expect_output(print(variational(multiple)), "q(sd^2__(Intercept) + time|1) = inverse gamma(",
                fixed = TRUE)
  expect_output(print(variational(vb_curves())),
                "q(Sigma__(Intercept) + time|2) = inverse Wishart(", fixed = TRUE)
})

# ---- curves: q as a whole ----------------------------------------------------------------

# Draws of everything from q, and log p(y, all) - log q(all), whose mean is the ELBO: the deviations
# given z and beta are normal with Gamma and sigma^2 at E[Gamma^-1]^-1 and E[sigma^-2]^-1, the
# half-t prior of sigma is a mixture of inverse gammas (Wand, Ormerod, Padoan and Fruehwirth 2011,
# result 5), and so is that of sd__s(time); coefficients of s(time), the last ones, are N(0, sd^2).
elbo_by_draws <- function(fit, priors, Z, n) {
  q <- variational(fit)
  design <- design_of(fit)
  rows <- split(seq_len(design$n_row), design$unit)
  log_ig <- function(x, shape, rate) shape * log(rate) - lgamma(shape) - (shape + 1) * log(x) -
    rate / x
  log_normal <- function(e, S) {
    root <- chol(S)
    -0.5 * (length(e) * log(2 * pi) + 2 * sum(log(diag(root))) +
            sum(backsolve(root, e, transpose = TRUE)^2))
  }
  log_wishart <- function(S, df, scale) { # inverse Wishart of order two
    -(df * log(2) + 0.5 * log(pi) + lgamma(df / 2) + lgamma((df - 1) / 2)) + df / 2 *
      log(det(scale)) -
      (df + 3) / 2 * log(det(S)) - sum(diag(solve(S, scale))) / 2
  }
  log_dirichlet <- function(x, alpha) lgamma(sum(alpha)) - sum(lgamma(alpha)) +
    sum((alpha - 1) * log(x))
  j <- seq_len(n_components(fit))
  beta_q <- q[paste0("beta|", j)]
  Sigma_q <- q[grep("^Sigma__", names(q))]
  sigma_q <- q[paste0("sigma^2|", j)]
  smooth_q <- q[grep("^sd.2__s", names(q))]
  fixed <- seq_along(setdiff(colnames(design$X), grep("^s[(]", colnames(design$X), value = TRUE)))
  # A variance from q, with log p - log q of it and of the rate of its prior.
  draw_variance <- function(f, df, scale) {
    shape <- (df + 1) / 2
    rate <- 1 / scale^2 + df * f$shape / f$scale
    x <- 1 / rgamma(1, f$shape, f$scale)
    aux <- 1 / rgamma(1, shape, rate)
    list(x = x, value = log_ig(x, df / 2, df / aux) + log_ig(aux, 0.5, 1 / scale^2) -
           log_ig(aux, shape, rate) - log_ig(x, f$shape, f$scale))
  }
  one <- function() {
    g <- rgamma(n_components(fit), q$weights$alpha)
    w <- g / sum(g)
    value <- log_dirichlet(w, rep(priors$alpha, n_components(fit))) -
      log_dirichlet(w, q$weights$alpha)
    beta <- Sigma <- list()
    variance <- numeric(n_components(fit))
    for (i in j) {
      b <- beta_q[[i]]
      beta[[i]] <- b$mean + drop(t(chol(b$cov)) %*% rnorm(length(b$mean)))
      value <- value + sum(dnorm(beta[[i]][fixed], priors$mean, priors$sd, log = TRUE)) -
        log_normal(beta[[i]] - b$mean, b$cov)
      if (length(smooth_q) > 0) {
        drawn <- draw_variance(smooth_q[[i]], priors$smooth_df, priors$smooth_scale)
        value <- value + drawn$value + sum(dnorm(beta[[i]][-fixed], 0, sqrt(drawn$x), log = TRUE))
      }
      S <- Sigma_q[[i]]
      Sigma[[i]] <- solve(rWishart(1, S$df, solve(S$scale))[, , 1])
      value <- value + log_wishart(Sigma[[i]], priors$df, priors$scale) -
        log_wishart(Sigma[[i]], S$df, S$scale)
      drawn <- draw_variance(sigma_q[[i]], priors$sigma_df, priors$sigma_scale)
      variance[i] <- drawn$x
      value <- value + drawn$value
    }
    for (i in seq_along(rows)) {
      r <- q$z$probability[i, ]
      z <- sample(j, 1, prob = r)
      Zi <- Z[rows[[i]], , drop = FALSE]
      e <- design$y[rows[[i]]] - design$X[rows[[i]], , drop = FALSE] %*% beta[[z]]
      v <- sigma_q[[z]]$scale / sigma_q[[z]]$shape
      cov <- solve(crossprod(Zi) / v + solve(Sigma_q[[z]]$scale) * Sigma_q[[z]]$df)
      mean <- cov %*% crossprod(Zi, e) / v
      u <- mean + t(chol(cov)) %*% rnorm(2)
      value <- value + log(w[z]) - log(r[z]) + log_normal(u, Sigma[[z]]) -
        log_normal(u - mean, cov) +
        sum(dnorm(e - Zi %*% u, 0, sqrt(variance[z]), log = TRUE))
    }
    value
  }
  vapply(seq_len(n), function(i) one(), 0)
}

test_that("the ELBO of curves is the mean of log p - log q under q", {
  genes <- sim_curves(10, times = 0:3, k = 2, curves = rbind(0:3, 3:0), sd = c(0.6, 0.4),
                      sigma = 0.5, seed = 1)
  told <- list(alpha = 1.5, mean = 0.5, sd = 2, sigma_df = 3, sigma_scale = 0.7, df = 5,
               scale = rbind(c(1, 0.2), c(0.2, 0.5)), smooth_df = 4, smooth_scale = 1.5)
  as_told <- priors(weight = dirichlet(1.5), beta = normal(0.5, 2), sigma = half_t(3, 0.7),
                    covariance = inverse_wishart(5, rbind(c(1, 0.2), c(0.2, 0.5))),
                    smooth = half_t(4, 1.5))
  for (formula in c(expr ~ time + (time | gene), expr ~ s(time, k = 4) + (time | gene))) {
    smooth <- length(formula[[3]][[2]]) > 1
    fit <- fit_mixture(formula, genes, k = 2, unit = ~ gene, method = "vb",
                       prior = if (smooth) as_told else structure(as_told[-5],
                                                                  class = "elbo_priors"))
    draws <- withr::with_seed(1,
                              elbo_by_draws(fit, told, cbind(1, design_of(fit)$X[, "time"]), 2000))
    expect_lt(stats::sd(draws), 20) # so that the comparison says something
    expect_lt(abs(elbo(fit) - mean(draws)), 4 * stats::sd(draws) / sqrt(2000))
  }
})

test_that("one component has factors and covariances too", {
  genes <- sim_curves(20, times = 0:4, k = 1, seed = 1)
  for (formula in c(expr ~ time, expr ~ time + (1 | gene))) {
    fit <- fit_mixture(formula, genes, k = 1, unit = ~ gene, method = "vb")
    expect_true(all(c("beta|1", "sigma^2|1") %in% names(variational(fit))))
    for (type in c("mean_field", "linear_response")) {
      V <- vcov(fit, full = TRUE, type = type)
      expect_true(all(diag(V)[c("(Intercept)|1", "time|1", "sigma|1")] > 0))
    }
  }
})

# The prior of a coefficient, the same in all components, moved: a tilt by the sum of the
# coefficients over its variance.
test_that("linear response of curves is what refits under a tilted prior find", {
  genes <- sim_curves(40, times = 0:4, k = 2, curves = rbind(0:4, 4:0), sd = c(0.5, 0.4),
                      sigma = 0.6,
                      missing = 0.1, seed = 1)
  fit_at <- function(mean) {
    fit_mixture(expr ~ time + (time | gene), genes, k = 2, unit = ~ gene, method = "vb",
                prior = priors(time = normal(mean, 0.5), weight = dirichlet(2)),
                control = elbo_control(tol = 1e-12))
  }
  V <- vcov(fit_at(0.3), full = TRUE)
  response <- rowSums(V[, c("time|1", "time|2")]) / 0.5^2
  h <- 1e-3
  refits <- c(theta(fit_at(0.3 + h)) - theta(fit_at(0.3 - h))) / (2 * h)
  expect_equal(unname(refits), unname(response), tolerance = 1e-4)
  expect_gt(max(abs(response)), 1e-3)
})

# By dense normals from components() alone: labels are points, the deviations integrated.
test_that("method joint of curves assigns every unit to one component, and climbs", {
  genes <- sim_curves(60, times = seq(0, 48, by = 8), k = 3, sd = c(0.5, 0.5), missing = 0.1,
                      seed = 1)
  fit <- fit_mixture(expr ~ poly(time, 3) + (time | gene), genes, k = 3, unit = ~ gene,
                     method = "joint",
                     control = elbo_control(seed = 1))
  expect_true(all(predict(fit, type = "prob") %in% c(0, 1)))
  parts <- components(fit)
  data <- model.frame(fit)
  X <- cbind(1, data[["poly(time, 3)"]])
  Z <- cbind(1, genes$time)
  log_joint <- vapply(1:3, function(j) {
    vapply(split(seq_len(nrow(data)), data$gene), function(rows) {
      V <- Z[rows, ] %*% parts$covariance[j, , ] %*% t(Z[rows, ]) +
        diag(parts$sigma[j]^2, length(rows))
      e <- data$expr[rows] - X[rows, ] %*% parts$coefficients[j, ]
      log(parts$weight[j]) -
        0.5 *
          (length(rows) * log(2 * pi) + as.numeric(determinant(V)$modulus) + sum(e * solve(V, e)))
    }, 0)
  }, numeric(60))
  z <- predict(fit)
  expect_equal(unname(z), max.col(log_joint))
  expect_equal(elbo(fit), sum(log_joint[cbind(1:60, z)]), tolerance = 1e-12)
  expect_equal(unname(parts$weight), tabulate(z) / 60)
  trace <- elbo_trace(fit)$elbo
  expect_true(all(diff(trace) > -1e-11 * abs(elbo(fit))))
  # What em maximises is below it: with labels as points nothing is averaged.
  expect_lt(elbo(fit), as.numeric(logLik(update(fit, method = "em"))))
})

test_that("counts and shares have no factor of a residual variance", {
  set.seed(2)
  counts <- data.frame(y = rpois(30, rep(c(1, 8), 15)), x = rnorm(30))
  fit <- fit_mixture(y ~ x, counts, k = 2, family = poisson(), method = "vb")
  expect_named(variational(fit), c("weights", "beta|1", "beta|2", "z"))
  expect_output(print(summary(fit)), "Mean field")
})
