# A star's light written out.
star_light <- function(x, y, flux, sd, nx, ny) {
  flux * outer(seq_len(nx), seq_len(ny), function(i, j) {
    exp(-((i - x)^2 + (j - y)^2) / (2 * sd^2)) / (2 * pi * sd^2)
  })
}

test_that("counts have the mean of stars and sky written out", {
  catalog <- data.frame(x = c(10.3, 22), y = c(12, 20.7), flux = c(4000, 900))
  image <- sim_sky(32, 30, psf = 1.5, sky = 40, gain = 2, catalog = catalog, tell = TRUE)
  field <- sky_field(list(image))
  field$sources <- sources_from_catalog(catalog, field$bands)
  mean <- .Call(C_sky_mean, sky_model(field, reach = c(300, 300)))$mean[[1]]
  by_hand <- 2 * (40 + star_light(10.3, 12, 4000, 1.5, 32, 30) +
                    star_light(22, 20.7, 900, 1.5, 32, 30))
  expect_equal(mean, by_hand, tolerance = 1e-10)
  # Electrons are Poisson: 960 squared residuals of unit variance.
  expect_lt(abs(sum((2 * image$counts - by_hand)^2 / by_hand) - 960), 5 * sqrt(2 * 960))
  expect_identical(image$counts * 2, round(image$counts * 2))
})

test_that("half of a galaxy's light lies within its radius, along axes at its angle", {
  draw <- function(dev, psf = 0.6) {
    catalog <- data.frame(x = 100.5, y = 100.5, flux = 1, p_galaxy = 1, radius = 12,
                          axis_ratio = 0.6, angle = 30, dev_fraction = dev)
    image <- sky_image(matrix(0, 200, 200), psf = psf, sky = 0)
    field <- sky_field(list(image))
    field$sources <- sources_from_catalog(catalog, field$bands)
    matrix(.Call(C_sky_mean, sky_model(field, reach = 300))$mean[[1]] - 1e-6, 200)
  }
  u <- outer(1:200 - 100.5, rep(1, 200))
  v <- t(u)
  along <- u * cospi(1 / 6) + v * sinpi(1 / 6)
  across <- -u * sinpi(1 / 6) + v * cospi(1 / 6)
  inside <- (along / 12)^2 + (across / (0.6 * 12))^2 < 1
  # The disc is cut at four radii and the bulge at eight, as SDSS does: of the whole laws half lies
  # inside, of the cut ones .5 / .99 and .5 / .93 (their integrals), to what the mixture of normals
  # and the pixels leave.
  expect_equal(sum(draw(0)[inside]), 0.5 / 0.990, tolerance = 0.02)
  expect_equal(sum(draw(1)[inside]), 0.5 / 0.935, tolerance = 0.03)
  expect_equal(sum(draw(0.3)), 1, tolerance = 1e-3)
  expect_equal(draw(0.3), 0.7 * draw(0) + 0.3 * draw(1), tolerance = 1e-10)
})

test_that("catalogues are drawn as asked, and the same seed draws the same", {
  set.seed(3)
  image <- sim_sky(64, 48, n = 500, galaxies = 0.4, flux = c(100, 1e4))
  expect_identical(dim(image), c(64L, 48L))
  catalog <- truth(image)
  expect_equal(nrow(catalog), 500)
  expect_equal(mean(catalog$p_galaxy), 0.4, tolerance = 0.2)
  expect_true(all(catalog$flux >= 100 & catalog$flux <= 1e4))
  # N(> F) ~ 1 / F between the ends: half lie below 2 / (1/100 + 1/1e4).
  expect_equal(mean(catalog$flux < 2 / (1 / 100 + 1 / 1e4)), 0.5, tolerance = 0.15)
  set.seed(3)
  expect_identical(sim_sky(64, 48, n = 500, galaxies = 0.4, flux = c(100, 1e4)), image)
  expect_null(image$psf)
  expect_equal(nrow(truth(sim_sky(8, 8, n = 0))), 0)
})

test_that("odd requests are refused", {
  expect_error(sim_sky(n = -1), class = "elbo_error_argument")
  expect_error(sim_sky(flux = c(5, 1)), class = "elbo_error_argument")
  expect_error(sim_sky(galaxies = 2), class = "elbo_error_argument")
  expect_error(sim_sky(8, 8, catalog = data.frame(x = 1)), class = "elbo_error_argument")
})
