quiet <- elbo_control(progress = FALSE)

# The nearest entry of a catalogue to each source of a truth.
nearest <- function(found, truth) {
  index <- vapply(seq_len(nrow(truth)), function(i) {
    which.min((found$x - truth$x[i])^2 + (found$y - truth$y[i])^2)
  }, 0L)
  found[index, ]
}

lone_sources <- function(flux = c(3000, 9000, 5000, 20000)) {
  data.frame(x = c(20.3, 60.8, 22.1, 58.4), y = c(18.7, 22.2, 61.5, 60.1), flux = flux,
             p_galaxy = c(0, 0, 1, 1), radius = c(NA, NA, 2.5, 3.5),
             axis_ratio = c(NA, NA, 0.5, 0.8), angle = c(NA, NA, 30, 120),
             dev_fraction = c(NA, NA, 0, 1))
}

test_that("stars and galaxies are found, told apart, and measured within their errors", {
  set.seed(11)
  sources <- lone_sources()
  image <- sim_sky(80, 80, catalog = sources, zero_point = 25)
  fit <- fit_sky(image, control = quiet)
  found <- nearest(catalog(fit), sources)
  expect_equal(nrow(catalog(fit)), 4)
  expect_identical(found$p_galaxy > 0.5, sources$p_galaxy > 0.5)
  # Five standard errors: of twelve numbers none is beyond.
  expect_true(all(abs(found$flux - sources$flux) < 5 * found$flux_sd))
  expect_true(all(abs(found$x - sources$x) < 5 * found$x_sd))
  expect_true(all(abs(found$y - sources$y) < 5 * found$y_sd))
  expect_equal(found$radius[3:4], c(2.5, 3.5), tolerance = 0.15)
  expect_equal(found$axis_ratio[3:4], c(0.5, 0.8), tolerance = 0.15)
  expect_equal(found$mag, 25 - 2.5 * log10(found$flux))
  expect_equal(theta(fit)[["sky"]], 100, tolerance = 0.01)
  expect_identical(names(catalog(fit))[1:11],
                   c("id", "x", "y", "flux", "x_sd", "y_sd", "flux_sd", "p_galaxy", "radius",
                     "axis_ratio", "angle"))
})

test_that("the log-likelihood is that of Poisson counts written out", {
  set.seed(12)
  image <- sim_sky(40, 36, n = 3, flux = c(2000, 9000), galaxies = 0)
  image$gain <- 2
  fit <- fit_sky(image, galaxies = FALSE, control = quiet)
  by_hand <- sum(stats::dpois(2 * image$counts, 2 * predict(fit), log = TRUE))
  expect_equal(as.numeric(logLik(fit)), by_hand, tolerance = 1e-10)
  # Three numbers a star, and the sky.
  expect_equal(attr(logLik(fit), "df"), 3 * nrow(catalog(fit)) + 1)
  expect_equal(nobs(fit), 40 * 36)
})

test_that("with galaxies the objective has the law of their shapes beside the log-likelihood", {
  set.seed(22)
  image <- sim_sky(80, 80, catalog = lone_sources())
  fit <- fit_sky(image, control = quiet)
  by_hand <- sum(stats::dpois(image$counts, predict(fit), log = TRUE))
  expect_equal(as.numeric(logLik(fit)), by_hand, tolerance = 1e-10)
  expect_output(print(fit), "Marginal maximum a posteriori")
})

test_that("standard errors are those of the numerically differentiated log-likelihood", {
  skip_if_not_installed("numDeriv")
  set.seed(13)
  at <- data.frame(x = c(12.2, 15.4), y = c(14.1, 15.2), flux = c(4000, 3000))
  image <- sim_sky(28, 28, catalog = at, tell = TRUE, psf = 1.5, sky = 30)
  image["sky"] <- list(NULL)
  fit <- fit_sky(image, galaxies = FALSE, control = quiet)
  found <- catalog(fit)
  expect_equal(nrow(found), 2) # a pair two widths apart
  light <- function(x, y, flux) {
    flux * outer(1:28, 1:28, function(i, j) exp(-((i - x)^2 + (j - y)^2) / 4.5) / (4.5 * pi))
  }
  log_likelihood <- function(p) {
    mean <- p[7] + light(p[1], p[2], 1000 * p[3]) + light(p[4], p[5], 1000 * p[6])
    sum(stats::dpois(image$counts, mean, log = TRUE))
  }
  best <- c(t(as.matrix(found[c("x", "y", "flux")]) / rep(c(1, 1, 1000), each = 2)),
            theta(fit)[["sky"]])
  sd <- sqrt(diag(solve(-numDeriv::hessian(log_likelihood, best))))
  # Patches end where a star is a fiftieth of the sky's noise: what is beyond moves the maximum by
  # less than a twentieth of a standard error.
  expect_lt(max(abs(numDeriv::grad(log_likelihood, best)) * sd), 0.05)
  expect_equal(c(t(as.matrix(found[c("x_sd", "y_sd", "flux_sd")]) / rep(c(1, 1, 1000), each = 2))),
               sd[1:6], tolerance = 1e-3)
  expect_equal(sqrt(vcov(fit, full = TRUE)["sky", "sky"]), sd[7], tolerance = 1e-3)
})

test_that("the ascent climbs, with the attributions exact after each E-step", {
  set.seed(14)
  image <- sim_sky(64, 64, n = 8, flux = c(1000, 9000))
  fit <- fit_sky(image, control = elbo_control(progress = FALSE, accelerate = "none"))
  trace <- elbo_trace(fit)
  expect_gt(nrow(trace), 10)
  expect_true(all(diff(trace$elbo) > -1e-6))
  expect_true(all(trace$kl[trace$step == "E"] == 0))
  expect_true(all(trace$kl >= 0))
  expect_equal(trace$elbo + trace$kl, trace$log_evidence, tolerance = 1e-12)
  newton <- fit_sky(image, control = quiet)
  expect_lte(as.numeric(logLik(fit)), as.numeric(logLik(newton)) + 1e-4)
})

test_that("threads do not change a bit", {
  set.seed(15)
  image <- sim_sky(64, 64, n = 8)
  one <- catalog(fit_sky(image, control = elbo_control(progress = FALSE, threads = 1)))
  three <- catalog(fit_sky(image, control = elbo_control(progress = FALSE, threads = 3)))
  expect_identical(one, three)
})

test_that("the point-spread function is that of its stars, and adds nothing to their light", {
  # Two normals within each other, where EM is slow: short of the end it shows a third, wider one.
  two <- list(weight = c(0.8, 0.2), mean = matrix(0, 2, 2),
              covariance = aperm(array(c(1.96 * diag(2), 7.84 * diag(2)), c(2, 2, 2)), c(3, 1, 2)))
  set.seed(24)
  at <- expand.grid(x = 16 + 32 * 0:3, y = 16 + 32 * 0:3)
  sources <- cbind(at + runif(32, -2, 2), flux = 1e5)
  fit <- fit_sky(sim_sky(128, 128, catalog = sources, psf = two), galaxies = FALSE, control = quiet)
  psf <- components(fit)
  # Five such images: weights .795 to .800, variances 1.952 to 1.956 and 7.66 to 7.80, light within
  # 0.0014; sixty steps found three normals.
  expect_equal(psf$weight, c(0.8, 0.2), tolerance = 0.02)
  expect_equal(psf$covariance[, 1, 1], c(1.96, 7.84), tolerance = 0.05)
  expect_lt(abs(mean(nearest(catalog(fit), sources)$flux / 1e5 - 1)), 0.002)
})

test_that("forced photometry holds positions and shapes", {
  set.seed(16)
  sources <- lone_sources()
  image <- sim_sky(80, 80, catalog = sources, tell = TRUE)
  fit <- fit_sky(image, start = sources, control = quiet)
  found <- nearest(catalog(fit), sources)
  expect_equal(found$x, sources$x)
  expect_equal(found$radius, sources$radius)
  expect_equal(found$x_sd, rep(0, 4))
  expect_true(all(abs(found$flux - sources$flux) < 5 * found$flux_sd))
  expect_true(any(grepl("forced", capture.output(print(fit)))))
  outside <- rbind(sources[1:2, c("x", "y", "flux")], c(-30, 4, 10))
  expect_error(fit_sky(image, start = outside, control = quiet), "row 3",
               class = "elbo_error_argument")
})

test_that("several bands share positions and shapes", {
  set.seed(17)
  sources <- lone_sources()
  r <- sim_sky(80, 80, catalog = sources, band = "r")
  i <- sim_sky(80, 80, catalog = transform(sources, flux = flux * 0.6), band = "i", psf = 1.8)
  fit <- fit_sky(list(r, i), control = quiet)
  found <- nearest(catalog(fit), sources)
  expect_true(all(abs(found$flux_r - sources$flux) < 5 * found$flux_sd_r))
  expect_true(all(abs(found$flux_i - 0.6 * sources$flux) < 5 * found$flux_sd_i))
  expect_identical(catalog(fit, reference = "i")$flux, catalog(fit)$flux_i)
  expect_named(theta(fit), c("sky|r", "sky|i", "sd__psf|r", "sd__psf|i"))
  expect_equal(theta(fit)[["sd__psf|i"]], 1.8, tolerance = 0.05)
  expect_error(catalog(fit, reference = "z"), class = "elbo_error_argument")
})

test_that("an image with nothing in it, of one pixel, or of zeros has an empty catalogue", {
  set.seed(18)
  for (counts in list(matrix(rpois(1600, 50), 40), matrix(5, 1, 1), matrix(0, 20, 20),
                      matrix(7, 30, 30), matrix(rpois(50, 20), 50, 1))) {
    fit <- fit_sky(sky_image(counts), control = quiet)
    expect_equal(nrow(catalog(fit)), 0)
    expect_true(is.finite(logLik(fit)))
  }
  expect_error(fit_sky(sky_image(matrix(7, 5, 5), mask = matrix(TRUE, 5, 5))),
               class = "elbo_error_image")
})

test_that("cosmic rays, full and dead pixels spoil nothing", {
  set.seed(19)
  sources <- lone_sources()
  image <- sim_sky(80, 80, catalog = sources)
  image$counts[10, 12] <- 4000
  image$counts[40, 41] <- 900
  image$counts[1:60, 60] <- 1e5
  image$saturation <- 5e4
  image$mask <- matrix(FALSE, 80, 80)
  image$mask[61, 20:26] <- TRUE
  image$counts[image$mask] <- NA
  fit <- fit_sky(image, control = quiet)
  expect_equal(nrow(catalog(fit)), 4)
  found <- nearest(catalog(fit), sources)
  expect_true(all(abs(found$flux - sources$flux) < 5 * found$flux_sd))
  edge <- attr(catalog(fit), "bits")[["edge"]]
  # The full row crosses two of them, the dead column a third.
  expect_identical(bitwAnd(found$flags, edge) > 0, c(FALSE, TRUE, TRUE, TRUE))
  expect_true(is.na(residuals(fit)[10, 12]))
  expect_output(print(fit), "cosmic rays and not used: 2 pixels")
})

test_that("a fit answers with images", {
  set.seed(20)
  image <- sim_sky(60, 50, n = 4, flux = c(4000, 20000))
  fit <- fit_sky(image, control = quiet)
  r <- residuals(fit)
  expect_identical(dim(r), c(60L, 50L))
  # Mean square of 3000 standardised residuals.
  expect_lt(abs(mean(r^2) - 1), 5 * sqrt(2 / 3000))
  expect_equal(residuals(fit, type = "response"), image$counts - fitted(fit))
  owner <- latent(fit, type = "pixels")
  found <- catalog(fit)
  expect_identical(owner[cbind(round(found$x), round(found$y))], found$id)
  expect_identical(latent(fit), found)
  drawn <- simulate(fit, nsim = 2, seed = 1)
  expect_length(drawn, 2)
  expect_s3_class(drawn[[1]], "sky_image")
  file <- withr::local_tempfile(fileext = ".pdf")
  grDevices::pdf(file)
  expect_identical(plot(fit), fit)
  grDevices::dev.off()
  expect_output(print(fit), "Marginal")
  expect_output(print(summary(fit)), "sky")
  expect_error(residuals(fit, image = 2), class = "elbo_error_argument")
})

test_that("positions are those of the origin, and of the world", {
  set.seed(21)
  sources <- lone_sources()
  image <- sim_sky(80, 80, catalog = sources)
  wcs <- list(crval = c(200, 30), crpix = c(140, 90), cd = diag(c(-1e-4, 1e-4)))
  cut <- image
  cut$origin <- c(101, 51)
  cut$wcs <- wcs
  whole <- catalog(fit_sky(image, control = quiet))
  part <- catalog(fit_sky(cut, control = quiet))
  expect_equal(part$x, whole$x + 100)
  expect_equal(part$y, whole$y + 50)
  expect_equal(unname(sky_pixels(wcs, part$ra, part$dec)), cbind(part$x, part$y),
               ignore_attr = TRUE)
})

test_that("generics that mean nothing for a catalogue say what there is instead", {
  set.seed(23)
  image <- sim_sky(48, 48, n = 3)
  fit <- fit_sky(image, control = quiet)
  expect_equal(elbo(fit), glance(fit)$elbo)
  expect_error(elbo(fit, theta(fit)), "start", class = "elbo_error_not_available")
  expect_error(VarCorr(fit), "catalog", class = "elbo_error_not_available")
  for (refusing in c(ranef, bootstrap, sensitivity, add1, drop1, selection, variational, augment,
                     influence, cooks.distance, hatvalues, rstandard, rstudent, sigma)) {
    expect_error(refusing(fit), class = "elbo_error_not_available")
  }
  # Given back, the point-spread function makes the same image.
  again <- sky_image(image$counts, psf = components(fit))
  refit <- fit_sky(again, start = catalog(fit), control = quiet)
  expect_equal(predict(refit), predict(fit), tolerance = 1e-4)
})

test_that("what is no call is refused", {
  image <- sky_image(matrix(7, 30, 30))
  expect_error(fit_sky(matrix(7, 30, 30)), class = "elbo_error_argument")
  expect_error(fit_sky(list()), class = "elbo_error_argument")
  expect_error(fit_sky(image, method = "reml"), class = "elbo_error_argument")
  expect_error(fit_sky(image, prior = priors(beta = normal(0, 1))), class = "elbo_error_argument")
  expect_error(fit_sky(image, start = data.frame(x = 1)), class = "elbo_error_argument")
  start <- data.frame(x = 5, y = 5, flux = 2, p_galaxy = 1, radius = 2)
  expect_error(fit_sky(image, start = start), "axis_ratio", class = "elbo_error_argument")
  expect_error(fit_sky(image, start = cbind(start, axis_ratio = -1, angle = 0)), "row 1",
               class = "elbo_error_argument")
  expect_error(fit_sky(image, start = transform(start, x = "a")), "numbers",
               class = "elbo_error_argument")
  expect_error(sky_image(matrix(1e300, 3, 3)), class = "elbo_error_image")
  expect_error(sky_image(matrix(7, 3, 3), psf = 1e200), class = "elbo_error_argument")
  expect_error(plot(image, limits = "a"), class = "elbo_error_argument")
  expect_error(plot(image, catalog = 3), class = "elbo_error_argument")
  expect_error(sim_sky(1e9), class = "elbo_error_argument")
  expect_error(fit_sky(image, galaxies = NA), class = "elbo_error_argument")
})

test_that("images that look elsewhere by some pixels are brought together", {
  set.seed(31)
  sources <- data.frame(x = runif(40, 10, 190), y = runif(40, 10, 190),
                        flux = 4e4 * runif(40)^2 + 4e3)
  first <- sim_sky(200, catalog = sources, psf = 1.3, band = "r")
  moved <- transform(sources, x = 1.002 * x + 7.3, y = y - 4.6)
  second <- sim_sky(210, 200, catalog = moved, psf = 1.5, band = "i")
  fit <- fit_sky(list(first, second), galaxies = FALSE, control = quiet)
  map <- field_of(fit)$images[[2]]$affine
  # Of 30 pairs with positions right to some .05 pixels a shift is right to .05 / sqrt(30).
  centre <- map[1:2] + matrix(map[3:6], 2, byrow = TRUE) %*% c(100, 100)
  expect_equal(drop(centre), c(1.002 * 100 + 7.3, 100 - 4.6), tolerance = 0.05 / 100)
  found <- catalog(fit)
  at <- vapply(seq_len(40), function(i) {
    which.min((found$x - sources$x[i])^2 + (found$y - sources$y[i])^2)
  }, 0L)
  expect_lt(median(abs(found$flux_i[at] / sources$flux - 1)), 0.03)
  expect_null(registered(list(affine = c(0, 0, 1, 0, 0, 1)), matrix(1:6, 2), matrix(1:6, 2)))
})

test_that("a point-spread function that varies over the image is followed", {
  set.seed(32)
  n <- 60
  sources <- data.frame(x = runif(n, 15, 385), y = runif(n, 15, 185),
                        flux = 1e4 * (1 + 9 * runif(n)))
  # A width that grows by a fifth from left to right: the warp's log is that of the width.
  field <- sky_field(list(sim_sky(400, 200, catalog = sources[0, ], psf = 1.4)))
  field$sources <- sources_from_catalog(sources, field$bands, "catalog")
  field$images[[1]]$psf <- round_psf(1.4)
  field$images[[1]]$warp <- c(0, 0.1, 0, 0, 0, 0, rep(0, 12))
  field$node <- rep(100, 3) # a mesh of 3 x 1
  mean <- .Call(C_sky_mean, sky_model(field, reach = rep(60, n)))$mean[[1]]
  fit <- fit_sky(sky_image(matrix(rpois(length(mean), mean), 400)), control = quiet)
  warp <- matrix(field_of(fit)$images[[1]]$warp, 6)
  expect_equal(warp[2, 1], 0.1, tolerance = 0.1)
  expect_lt(max(abs(warp[-1, 2:3])), 0.02)
  expect_gt(mean(catalog(fit)$p_galaxy < 0.5), 0.95)
})
