# Noise far below the signal: fits as long as doubles tell the two apart.

two_groups <- function(seed, noise) {
  set.seed(seed)
  d <- data.frame(x = rnorm(60), w = rexp(60), g = gl(2, 30))
  d$y <- 1 + d$x + rnorm(2)[d$g] + rnorm(60, sd = noise)
  d
}

# The log-likelihood at theta, group by group: between rows by the singular values of their
# loadings, within rows as what least squares leaves, so that no covariance matrix is formed.
svd_log_likelihood <- function(fit, d) {
  theta <- theta(fit)
  Z <- model.matrix(~ x + w, d)
  R <- diag(3)
  R[lower.tri(R)] <- theta[grep("^cor__", names(theta))]
  R[upper.tri(R)] <- t(R)[upper.tri(R)]
  spectrum <- eigen(R, symmetric = TRUE)
  root <- theta[grep("^sd__", names(theta))] *
    (spectrum$vectors %*% diag(sqrt(pmax(spectrum$values, 0))))
  s2 <- theta[["sigma"]]^2
  sum(vapply(split(seq_len(nrow(d)), d$g), function(i) {
    qr_z <- qr(Z[i, ])
    r <- qr.qty(qr_z, d$y[i] - coef(fit)[[1]])
    s <- svd(qr.R(qr_z)[, order(qr_z$pivot)] %*% root)
    v <- s$d^2 + s2
    -0.5 * (length(i) * log(2 * pi) + sum(log(v)) + sum(crossprod(s$u, r[1:3])^2 / v) +
              (length(i) - 3) * log(s2) + sum(r[-(1:3)]^2) / s2)
  }, 0))
}

test_that("two groups and three nearly singular terms are fitted at any noise", {
  # Two groups leave ridges on which rounding hides the rest of the climb: how far it went is not
  # tested.
  for (noise in c(1e-3, 1e-5, 1e-7, 1e-8)) for (method in c("em", "reml", "vb")) for (seed in 1:3) {
    d <- two_groups(seed, noise)
    fit <- suppressWarnings(fit_glmm(y ~ 1 + (x + w | g), d, method = method))
    label <- paste(noise, method, seed)
    expect_identical(convergence(fit)$status, "converged", label = label)
    expect_lt(convergence(fit)$iterations, 400, label = label)
    # What a residual of the size of the noise has of right digits, times 60 rows.
    digits <- 1e-8 + 60 * 4 * .Machine$double.eps / noise
    trace <- elbo_trace(fit)
    rises <- diff(trace$elbo)[trace$step[-1] %in% c("E", "M", "local", "global")]
    expect_gt(min(rises), -digits, label = label)
    if (method == "vb") next
    expect_lt(max(abs(trace$elbo + trace$kl - trace$log_evidence)), 2 * digits, label = label)
  }
})

test_that("the log-likelihood at small noise is that of the singular values", {
  for (noise in c(1e-3, 1e-5)) for (seed in 1:5) {
    d <- two_groups(seed, noise)
    fit <- suppressWarnings(fit_glmm(y ~ 1 + (x + w | g), d))
    # Correlations near one are rounded to 1e-16, which is that part of the variances over the
    # noise's.
    expect_lt(abs(as.numeric(logLik(fit)) - svd_log_likelihood(fit, d)),
              1e-7 + 1e-14 * max(theta(fit)[2:4])^2 / noise^2)
  }
})

test_that("random intercepts are those of the closed form at noise 1e-3 to 1e-11 of the signal", {
  # Balanced analysis of variance: sigma^2 = SSW / (m (k - 1)), sd^2 = (SSB / m - sigma^2) / k, with
  # SSB / k about the mean (em) or m - 1 in place of m (reml).
  set.seed(1)
  m <- 6
  k <- 10
  g <- gl(m, k)
  u <- rnorm(m)
  e <- rnorm(m * k)
  e <- e - ave(e, g) # so that noise and signal are exactly orthogonal
  x <- rnorm(m * k)
  x <- x - ave(x, g)
  e <- stats::residuals(stats::lm(e ~ x + g))
  for (noise in 10^-c(3, 6, 8, 10, 11)) {
    d <- data.frame(x, g, y = 1 + x + u[g] + noise * e)
    em <- fit_glmm(y ~ x + (1 | g), d)
    reml <- update(em, method = "reml")
    sigma <- noise * sqrt(sum(e^2) / c(m * (k - 1), m * (k - 1) - 1))
    sd <- sqrt(sum((u - mean(u))^2) / c(m, m - 1) - sigma^2 / k)
    digits <- 1e-7 + 1e-15 / noise
    expect_equal(as.vector(theta(em)), c(1 + mean(u), 1, sd[1], sigma[1]), tolerance = digits)
    expect_lt(abs(theta(em)[["sigma"]] / sigma[1] - 1), digits)
    expect_lt(abs(theta(reml)[["sigma"]] / sigma[2] - 1), digits)
    expect_equal(theta(reml)[["sd__(Intercept)|g"]], sd[2], tolerance = digits)
    expect_lt(convergence(em)$iterations, 40)
  }
})

test_that("one level of sigma may be a thousand million times more precise than another", {
  set.seed(1)
  d <- data.frame(x = rnorm(60), g = gl(6, 10), f = gl(2, 1, 60))
  e <- rnorm(60)
  u <- rnorm(6)
  fits <- lapply(c(1e-6, 1e-9), function(noise) {
    d$y <- 1 + d$x + u[d$g] + ifelse(d$f == 1, noise, 1) * e
    fit_glmm(y ~ x + (1 | g), d, sigma = ~ f)
  })
  # In the limit of small noise sigma|1 is proportional to it, and the rest stays.
  sigma <- vapply(fits, function(fit) theta(fit)[["sigma|1"]], 0)
  expect_equal(sigma[1] / sigma[2], 1e3, tolerance = 1e-5)
  expect_equal(theta(fits[[1]])[["sigma|2"]], theta(fits[[2]])[["sigma|2"]], tolerance = 1e-5)
})

test_that("an exact fit is refused at any scale of the response", {
  set.seed(1)
  d <- data.frame(x = rnorm(60), g = gl(6, 10))
  d$y <- 1 + 2 * d$x + rnorm(6)[d$g]
  for (scale in c(1e-100, 1, 1e100)) for (method in c("em", "reml", "vb")) {
    expect_error(fit_glmm(y ~ x + (1 | g), transform(d, y = y * scale), method = method),
                 class = "elbo_error_unbounded")
  }
})

test_that("a curve close to every row is climbed without a fall, a step at a time", {
  # As many basis functions as x has values, so that the sd of the curve is large beside the noise.
  few_rows <- function(seed, noise) {
    set.seed(seed)
    d <- data.frame(x = rep(rnorm(4), 2), g = rep(1:2, each = 4), s = rexp(8) + 0.1)
    d$y <- d$x + rnorm(2)[d$g] + noise * rnorm(8)
    d
  }
  for (seed in 1:4) for (noise in c(1e3, 1e-3, 1e-6)) for (method in c("em", "reml", "vb")) {
    for (accelerate in c("none", "squarem")) {
      control <- elbo_control(n_starts = 1, accelerate = accelerate, max_iter = 1000)
      d <- few_rows(seed, noise)
      fit <- suppressMessages(suppressWarnings(
        fit_glmm(y ~ s(x) + (1 | g), d, method = method, se = if (noise > 1) s, control = control)
      ))
      expect_true(is.finite(elbo(fit)), label = paste(seed, noise, method, accelerate))
    }
  }
})

test_that("normal equations of a large condition on the way do not throw an ascent back", {
  # A curve, two groups and slopes explain six rows nearly: the first steps have a tiny sigma.
  d <- data.frame(x = c(-0.00623, -0.35124, -0.94227, -0.88104, -0.31356, -0.15755),
                  g = c(1, 2, 2, 2, 2, 2),
                  y = c(0.33404, -0.05300, -0.64448, -0.58287, -0.01551, 0.14066))
  climb <- function(way) {
    control <- elbo_control(n_starts = 1, accelerate = way, max_iter = 3000)
    fit <- suppressMessages(fit_glmm(y ~ s(x) + (x | g), d, method = "vb", control = control))
    c(elbo(fit), theta(fit))
  }
  newton <- climb("auto")
  expect_equal(climb("none"), newton, tolerance = 1e-4)
  expect_equal(climb("squarem"), newton, tolerance = 1e-4)
})
