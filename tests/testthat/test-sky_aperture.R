quiet <- elbo_control(progress = FALSE)

test_that("apertures hold the share of the light that a round normal has within them", {
  set.seed(5)
  stars <- data.frame(x = c(20.2, 44.7, 47.9), y = c(21.1, 40.3, 42.2), flux = c(2e5, 3e5, 1e5))
  image <- sim_sky(64, 64, catalog = stars, psf = 1.5, tell = TRUE, zero_point = 25)
  fit <- fit_sky(image, galaxies = FALSE, control = quiet)
  found <- catalog(fit, aperture = c(2, 4.5))
  expect_identical(utils::tail(names(found), 6),
                   c("flux_aperture_2.0", "flux_sd_aperture_2.0", "mag_aperture_2.0",
                     "flux_aperture_4.5", "flux_sd_aperture_4.5", "mag_aperture_4.5"))
  # Of a normal; pixels on the edge count as if their light were evenly spread.
  share <- 1 - exp(-c(2, 4.5)^2 / (2 * 1.5^2))
  light <- cbind(found$flux_aperture_2.0, found$flux_aperture_4.5) / found$flux
  expect_equal(light[, 1], rep(share[1], 3), tolerance = 0.03)
  expect_equal(light[, 2], rep(share[2], 3), tolerance = 0.01)
  expect_equal(found$mag_aperture_4.5, 25 - 2.5 * log10(found$flux_aperture_4.5))
  # Photons of the star and the sky within.
  expect_equal(found$flux_sd_aperture_4.5[1],
               sqrt(found$flux_aperture_4.5[1] + 100 * pi * 4.5^2), tolerance = 0.1)
  expect_error(catalog(fit, aperture = -1), class = "elbo_error_argument")
})

test_that("the error map is the root of the mean in electrons and of the variance of read-out", {
  set.seed(6)
  image <- sim_sky(40, 40, n = 2, gain = 2, tell = TRUE)
  image$read_noise <- 3
  fit <- fit_sky(image, control = quiet)
  expect_equal(predict(fit, type = "sd"), sqrt(2 * predict(fit) + 9) / 2)
})
