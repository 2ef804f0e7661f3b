test_that("an image is what was given", {
  counts <- matrix(1:12, 4)
  image <- sky_image(counts, psf = 1.3, sky = 2, band = "r", zero_point = 25)
  expect_s3_class(image, "sky_image")
  expect_identical(dim(image), c(4L, 3L))
  expect_identical(image$counts, counts + 0)
  expect_identical(image$psf$covariance[1, , ], 1.3^2 * diag(2))
  expect_output(print(image), "4 x 3 pixels, band r")
  expect_output(print(image), "point-spread function known")
  expect_output(print(sky_image(counts)), "sky to be estimated")
})

test_that("what is no image is refused with the pixel and a remedy", {
  counts <- matrix(5, 6, 4)
  refused <- function(expr, class) expect_error(expr, class = class)
  refused(sky_image(1:5), "elbo_error_argument")
  refused(sky_image(matrix(0, 0, 3)), "elbo_error_argument")
  counts[2, 3] <- NA
  expect_error(sky_image(counts), "pixel \\[2, 3\\].*mask", class = "elbo_error_image")
  expect_s3_class(sky_image(counts, mask = is.na(counts)), "sky_image")
  counts[2, 3] <- -4
  expect_error(sky_image(counts), "pixel \\[2, 3\\].*-4", class = "elbo_error_image")
  expect_s3_class(sky_image(counts, read_noise = 3), "sky_image")
  counts[2, 3] <- 5
  refused(sky_image(counts, sky = matrix(1, 2, 2)), "elbo_error_argument")
  refused(sky_image(counts, gain = 0), "elbo_error_argument")
  refused(sky_image(counts, mask = counts), "elbo_error_argument")
  refused(sky_image(counts, psf = -1), "elbo_error_argument")
  refused(sky_image(counts, psf = list(weight = 1, covariance = diag(2))), "elbo_error_argument")
  refused(sky_image(counts, wcs = list(crval = 1)), "elbo_error_argument")
  refused(sky_image(counts, saturation = -1), "elbo_error_argument")
  refused(sky_image(counts, calibration = 1:2), "elbo_error_argument")
})

test_that("full and masked pixels say nothing", {
  counts <- matrix(c(1, 100, 3, 4), 2)
  unused <- sky_unused(sky_image(counts, saturation = 50, mask = counts == 3))
  expect_identical(unused, matrix(counts %in% c(100, 3), 2))
  expect_output(print(sky_image(counts, saturation = 50)), "pixels that say nothing: 1")
})

test_that("the gnomonic projection is its own inverse, and that of the tangent plane", {
  wcs <- list(crval = c(336.66, -0.93), crpix = c(1025, 745),
              cd = matrix(c(-5.4e-8, 1.1e-4, 1.1e-4, 6.4e-9), 2))
  x <- c(1, 1025, 2048)
  y <- c(1489, 745, 3)
  world <- sky_world(wcs, x, y)
  expect_equal(unname(world[2, ]), wcs$crval)
  expect_equal(unname(sky_pixels(wcs, world[, 1], world[, 2])), cbind(x, y), ignore_attr = TRUE,
               tolerance = 1e-10)
  # On the plane that touches the sphere at crval a point lies tan(distance) away.
  unit <- function(p) {
    c(cospi(p[1] / 180) * cospi(p[2] / 180), sinpi(p[1] / 180) * cospi(p[2] / 180),
      sinpi(p[2] / 180))
  }
  distance <- acos(sum(unit(world[3, ]) * unit(wcs$crval)))
  plane <- sqrt(sum((wcs$cd %*% (c(x[3], y[3]) - wcs$crpix))^2)) * pi / 180
  expect_equal(tan(distance), plane, tolerance = 1e-9)
  affine <- cbind(c(10, 20), diag(2) * 1e-4)
  expect_equal(unname(sky_pixels(affine, sky_world(affine, x, y)[, 1],
                                 sky_world(affine, x, y)[, 2])), cbind(x, y), ignore_attr = TRUE)
})

test_that("a picture of a point-spread function gives back the mixture it was drawn from", {
  at <- expand.grid(x = -12:12, y = -12:12)
  light <- 0.7 * exp(-(at$x^2 + at$y^2) / (2 * 1.5)) / (2 * pi * 1.5) +
    0.3 * exp(-(at$x^2 + at$y^2) / (2 * 8)) / (2 * pi * 8)
  psf <- as_sky_psf(matrix(light, 25))
  again <- vapply(seq_len(nrow(at)), function(i) {
    d <- as.numeric(at[i, ])
    sum(vapply(1:3, function(k) {
      S <- psf$covariance[k, , ]
      psf$weight[k] * exp(-0.5 * sum(d * solve(S, d))) / (2 * pi * sqrt(det(S)))
    }, 0))
  }, 0)
  # EM of three normals for two ends slowly; the picture is what counts.
  expect_lt(max(abs(again - light)), 0.005 * max(light))
})

test_that("images are drawn", {
  set.seed(1)
  file <- withr::local_tempfile(fileext = ".pdf")
  grDevices::pdf(file)
  image <- sim_sky(40, 30, n = 4)
  expect_identical(plot(image, catalog = truth(image)), image)
  plot(sky_image(matrix(7, 1, 1)))
  grDevices::dev.off()
  expect_gt(file.size(file), 1000)
})
