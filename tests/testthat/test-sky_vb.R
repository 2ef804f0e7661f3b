quiet <- elbo_control(progress = FALSE)

# Of one star the posterior of (log flux, x, y) by brute force: a product of three Gauss-Hermite
# rules about the fit. list(log_evidence, mean, sd), the sky and the point-spread function given.
by_quadrature <- function(image, fit, points = 15) {
  field <- field_of(fit)
  law <- field$law
  found <- catalog(fit)
  q <- variational(fit)
  q <- q[q$type == "star", ]
  rule <- normal_rule(points)
  grid <- expand.grid(i = seq_len(points), j = seq_len(points), k = seq_len(points))
  spread <- 1.3
  at <- rbind(rule$node[grid$i], rule$node[grid$j], rule$node[grid$k]) * spread
  eta <- q$mean + q$sd * at
  pixel <- expand.grid(x = seq_len(nrow(image$counts)), y = seq_len(ncol(image$counts)))
  sd <- psf_sd(image$psf)
  log_density <- vapply(seq_len(ncol(eta)), function(g) {
    light <- exp(eta[1, g]) * stats::dnorm(pixel$x, eta[2, g], sd) *
      stats::dnorm(pixel$y, eta[3, g], sd)
    sum(stats::dpois(image$counts, image$sky + light, log = TRUE)) + log(law$density) +
      stats::dnorm(eta[1, g], law$flux_mean[1], law$flux_sd, log = TRUE)
  }, 0)
  log_weight <- log(rule$weight[grid$i] * rule$weight[grid$j] * rule$weight[grid$k]) -
    colSums(stats::dnorm(at / spread, log = TRUE)) + 3 * log(spread) + sum(log(q$sd)) + log_density
  top <- max(log_weight)
  w <- exp(log_weight - top)
  p <- w / sum(w)
  mean <- drop(eta %*% p)
  list(log_evidence = top + log(sum(w)), mean = mean, sd = sqrt(drop((eta - mean)^2 %*% p)),
       flux = sum(p * exp(eta[1, ])))
}

# Gauss-Hermite for the standard normal, by Golub and Welsch (1969).
normal_rule <- function(n) {
  J <- matrix(0, n, n)
  J[cbind(2:n, 2:n - 1)] <- J[cbind(2:n - 1, 2:n)] <- sqrt(seq_len(n - 1))
  spectrum <- eigen(J, symmetric = TRUE)
  list(node = spectrum$values, weight = spectrum$vectors[1, ]^2)
}

test_that("of one star the ELBO, means and standard deviations are those of brute force", {
  set.seed(1)
  star <- data.frame(x = 11.3, y = 12.1, flux = 700)
  image <- sim_sky(24, 24, catalog = star, psf = 1.5, sky = 40, tell = TRUE)
  fit <- fit_sky(image, "vb", galaxies = FALSE, control = quiet)
  exact <- by_quadrature(image, fit)
  q <- variational(fit)
  # The gap is KL(q, p), and what is left out of E log mu.
  gap <- exact$log_evidence - elbo(fit)
  expect_lt(abs(gap), 0.02)
  expect_lt(max(abs(q$mean - exact$mean) / exact$sd), 0.02)
  expect_equal(q$sd, exact$sd, tolerance = 0.02)
  expect_equal(catalog(fit)$flux, exact$flux, tolerance = 2e-3)
  expect_equal(c(catalog(fit)$x_sd, catalog(fit)$y_sd), exact$sd[2:3], tolerance = 0.02)
})

test_that("a catalogue by vb has what one by em has", {
  set.seed(11)
  sources <- data.frame(x = c(20.3, 60.8, 22.1, 58.4), y = c(18.7, 22.2, 61.5, 60.1),
                        flux = c(3000, 9000, 5000, 20000), p_galaxy = c(0, 0, 1, 1),
                        radius = c(NA, NA, 2.5, 3.5), axis_ratio = c(NA, NA, 0.5, 0.8),
                        angle = c(NA, NA, 30, 120), dev_fraction = c(NA, NA, 0, 1))
  image <- sim_sky(80, 80, catalog = sources, zero_point = 25)
  em <- fit_sky(image, control = quiet)
  vb <- update(em, method = "vb")
  expect_identical(names(catalog(vb)), names(catalog(em)))
  a <- catalog(em)
  b <- catalog(vb)
  # Bright sources: priors and skewness are little beside the photons.
  expect_lt(max(abs(a$flux - b$flux) / a$flux_sd), 0.3)
  expect_equal(a$flux_sd, b$flux_sd, tolerance = 0.1)
  expect_lt(max(abs(a$x - b$x) / a$x_sd), 0.2)
  expect_identical(b$p_galaxy > 0.5, a$p_galaxy > 0.5)
  expect_gt(min(diff(elbo_trace(vb)$elbo)), -1e-8) # rounding of a sum of 6,400 pixels
  expect_true(all(is.na(elbo_trace(vb)$kl)))
  expect_error(logLik(vb), class = "elbo_error_loglik")
  expect_output(print(vb), "Variational Bayes")
  expect_identical(update(vb)$theta, theta_of(vb))
  expect_identical(names(catalog(vb, type = "mean_field")), names(a))
  expect_error(catalog(em, type = "mean_field"), class = "elbo_error_argument")
  expect_error(variational(em), class = "elbo_error_not_available")
})

test_that("linear response is wider than q where sources overlap, and the same where they do not", {
  set.seed(3)
  pair <- data.frame(x = c(20, 23, 50), y = c(20, 20, 50), flux = c(3000, 2000, 3000))
  image <- sim_sky(64, 64, catalog = pair, psf = 1.5, tell = TRUE)
  fit <- fit_sky(image, "vb", galaxies = FALSE, control = quiet)
  found <- catalog(fit)
  own <- catalog(fit, type = "mean_field")
  alone <- found$x > 40
  expect_equal(found$flux_sd[alone], own$flux_sd[alone], tolerance = 1e-3)
  expect_true(all(found$flux_sd[!alone] > 1.03 * own$flux_sd[!alone]))
  # By the observed information of all sources together, which is that of the em fit.
  em <- catalog(fit_sky(image, galaxies = FALSE, control = quiet))
  expect_equal(found$flux_sd / found$flux, em$flux_sd / em$flux, tolerance = 0.02)
})

test_that("probabilities of types are calibrated where the law of sources is right", {
  skip_if(Sys.getenv("ELBO_TEST_LEVEL", "1") < "2", "ELBO_TEST_LEVEL 2")
  probability <- function(galaxy, seed) {
    set.seed(seed)
    axes <- axes_from_shape(rbind(rnorm(1, 0.44, 0.5), rnorm(1, 0, 0.3), rnorm(1, 0, 0.3)))
    source <- data.frame(x = 20.5 + runif(1, -0.5, 0.5), y = 20.5 + runif(1, -0.5, 0.5), flux = 700,
                         p_galaxy = galaxy, axes, dev_fraction = sample(c(0, 1, rbeta(1, 2, 2)), 1))
    if (galaxy == 0) source[5:8] <- NA
    field <- first_field(list(sim_sky(41, 41, catalog = source, tell = TRUE)), 1L)
    field$images[[1]]$doubt <- 1e-4
    field$sources <- sources_from_catalog(transform(source, p_galaxy = 0), field$bands)
    field$law <- list(density = 1e-3, galaxies = 0.3, flux_mean = rep(log(700), 2), flux_sd = 1,
                      radius_mean = 0.44, radius_sd = 0.5, shape_sd = 0.3)
    q <- .Call(C_sky_vb_types, sky_model(field), list(allowed = 15L))
    sum(q$probability[-1, 1])
  }
  p <- c(vapply(1:150, probability, 0, galaxy = 1), vapply(1001:1350, probability, 0, galaxy = 0))
  galaxy <- rep(1:0, c(150, 350))
  # A normal q makes the evidence of a galaxy a lower bound, so that the mean is below .3 (.23).
  expect_gt(mean(p), 0.2)
  expect_lt(mean(p), 0.33)
  expect_gt(mean(galaxy[p > 0.9]), 0.93)
  expect_lt(mean(galaxy[p < 0.1]), 0.07)
})
