#' Simulate an image of the sky
#'
#' Stars and galaxies at random, their light through a point-spread function, and the photons that a
#' camera counts.
#'
#' @param nx,ny columns and rows of the image.
#' @param n number of sources.
#' @param galaxies share of galaxies among them, each of an exponential or a de Vaucouleurs profile
#'   with equal probability.
#' @param flux two numbers: between them fluxes are drawn from the law in which the number of
#'   sources brighter than F is proportional to 1 / F.
#' @param radius mean half-light radius of galaxies, in pixels; radii are log-normal with a standard
#'   deviation of .4.
#' @param psf,sky,gain,zero_point,band as [sky_image()] takes them; the image is made with this
#'   point-spread function and sky.
#' @param catalog a data frame of sources to be drawn instead: `x`, `y`, `flux` and, of galaxies,
#'   `p_galaxy` (1), `radius`, `axis_ratio`, `angle` and `dev_fraction`; see [catalog()].
#' @param tell `TRUE` for an image that knows its point-spread function and sky, `FALSE` for one
#'   from which they are to be estimated.
#' @return A [sky_image()]. [truth()] gives the catalogue that it was made from. The draws come from
#'   R's generator: use [set.seed()].
#' @family simulators
#' @family catalogues
#' @examples
#' set.seed(1)
#' image <- sim_sky(96, 96, n = 12)
#' head(truth(image))
#' plot(image)
#' @export
sim_sky <- function(nx = 256, ny = nx, n = 60, galaxies = 0.3, flux = c(300, 30000), radius = 2,
                    psf = 1.4, sky = 100, gain = 1, zero_point = NULL, band = NULL, catalog = NULL,
                    tell = FALSE) {
  nx <- check_count(nx, "nx")
  ny <- check_count(ny, "ny")
  pixels <- as.double(nx) * ny
  check(pixels <= 1e9, "nx * ny", "at most 1e9 pixels", pixels)
  whole <- is_whole(n) && n >= 0 && n <= 1e6
  check(whole, "n", "a whole number from 0 to 1e6", n)
  share <- is_number(galaxies) && galaxies >= 0 && galaxies <= 1
  check(share, "galaxies", "a number between 0 and 1", galaxies)
  check(is.numeric(flux) && length(flux) == 2 && all(is.finite(flux)) && flux[1] > 0 &&
          flux[2] >= flux[1], "flux", "two positive numbers, the smaller first", flux)
  check_positive(radius, "radius")
  check_flag(tell, "tell")
  if (is.null(catalog)) catalog <- draw_catalog(n, nx, ny, galaxies, flux, radius)
  image <- sky_image(matrix(0, nx, ny), psf = psf, sky = sky, gain = gain, band = band,
                     zero_point = zero_point)
  field <- sky_field(list(image))
  field$sources <- sources_from_catalog(catalog, field$bands, "catalog")
  mean <- .Call(C_sky_mean, sky_model(field, reach = rep(300, nrow(catalog))))$mean[[1]]
  image$counts <- matrix(stats::rpois(nx * ny, mean), nx) / gain
  if (!tell) image[c("psf", "sky")] <- list(NULL)
  attr(image, "truth") <- catalog
  image
}

draw_catalog <- function(n, nx, ny, galaxies, flux, radius) {
  galaxy <- stats::runif(n) < galaxies
  u <- stats::runif(n)
  out <- data.frame(
    id = seq_len(n), x = stats::runif(n, 0.5, nx + 0.5), y = stats::runif(n, 0.5, ny + 0.5),
    flux = 1 / (1 / flux[1] + u * (1 / flux[2] - 1 / flux[1])), p_galaxy = as.double(galaxy),
    radius = radius * exp(0.4 * stats::rnorm(n)), axis_ratio = stats::runif(n, 0.3, 1),
    angle = stats::runif(n, 0, 180), dev_fraction = as.double(stats::runif(n) < 0.5)
  )
  out[!galaxy, c("radius", "axis_ratio", "angle", "dev_fraction")] <- NA
  out
}
