# Images of the sky: counts, and what a telescope says of them.

#' An image of the sky
#'
#' The counts of a camera with what is known of them, for [fit_sky()]. In pixel p of an image the
#' number of electrons, counts times `gain`, is Poisson with a mean of sky and sources.
#'
#' @param counts a numeric matrix, `counts[i, j]` the pixel in column i (x) and row j (y) of the
#'   sky. The sky is to be in them: what was subtracted has to be added again. Counts may be
#'   fractions.
#' @param psf the point-spread function: a number, the standard deviation in pixels of a round
#'   normal; a list `weight`, `mean`, `covariance` of a mixture of normals as [components()] has it
#'   (k; k x 2; k x 2 x 2, in pixels); a matrix of odd sides, its picture, which is turned into a
#'   mixture of three normals; or `NULL`: estimated from the image's stars.
#' @param sky the sky in counts, a number or a matrix of the size of `counts`, taken as known; or
#'   `NULL`: estimated.
#' @param gain electrons per count, a positive number.
#' @param mask a logical matrix of the size of `counts`, `TRUE` where a pixel says nothing (dead
#'   pixels, cosmic rays), or `NULL`.
#' @param band a word for the colour filter, or `NULL`.
#' @param origin the position of `counts[1, 1]`, two numbers: of a cutting, where it was cut.
#' @param wcs the world coordinate system: a list `crval` (right ascension and declination of the
#'   reference point, in degrees), `crpix` (its pixel) and `cd` (a 2 x 2 matrix, degrees a pixel),
#'   for the gnomonic projection (TAN); or a 2 x 3 matrix `[a0, ax, ay]` that takes (1, x, y) to
#'   right ascension and declination; or `NULL`.
#' @param zero_point the magnitude of a flux of 1, or `NULL`.
#' @param saturation counts at which a pixel is full: pixels of so many say nothing.
#' @param read_noise standard deviation of the read-out of a pixel, in electrons.
#' @param calibration flux of a count, a positive number or one for each column: fluxes of sources
#'   are counts times this. `NULL`: they are in counts.
#' @return An object of class `sky_image`, a list of the arguments. `plot()` draws it, `print()`
#'   says what it is, [fit_sky()] turns it into a catalogue.
#' @section Errors:
#' `elbo_error_image`: counts that are missing, infinite or (with the variance of the read-out
#' added) negative outside of `mask`; sizes that differ.
#' @family catalogues
#' @examples
#' image <- sky_image(matrix(rpois(64 * 64, 50), 64), psf = 1.4, band = "r")
#' image
#' @export
sky_image <- function(counts, psf = NULL, sky = NULL, gain = 1, mask = NULL, band = NULL,
                      origin = c(1, 1), wcs = NULL, zero_point = NULL, saturation = Inf,
                      read_noise = 0, calibration = NULL) {
  check(is.matrix(counts) && is.numeric(counts) && length(counts) > 0, "counts",
        "a numeric matrix with at least one pixel", counts)
  storage.mode(counts) <- "double"
  mask <- check_sky_mask(mask, counts)
  check_positive(gain, "gain")
  silent <- is_number(read_noise) && read_noise >= 0
  check(silent, "read_noise", "a number of at least 0", read_noise)
  full <- is.numeric(saturation) && length(saturation) == 1 && isTRUE(saturation > 0)
  check(full, "saturation", "a positive number or Inf", saturation)
  check_sky_counts(counts, mask, gain, read_noise)
  two <- is.numeric(origin) && length(origin) == 2 && all(is.finite(origin))
  check(two, "origin", "two numbers", origin)
  if (!is.null(band)) {
    check(is.character(band) && length(band) == 1 && !is.na(band), "band", "a word", band)
  }
  if (!is.null(zero_point)) check_number(zero_point, "zero_point")
  structure(
    list(counts = counts, psf = as_sky_psf(psf), sky = check_sky_level(sky, counts), gain = gain,
         mask = mask, band = band, origin = as.double(origin), wcs = check_wcs(wcs),
         zero_point = zero_point, saturation = saturation, read_noise = read_noise,
         calibration = check_calibration(calibration, nrow(counts))),
    class = "sky_image"
  )
}

same_size <- function(x, counts) is.matrix(x) && identical(dim(x), dim(counts))

image_size <- function(x) sprintf("%d x %d", nrow(x), ncol(x))

check_sky_mask <- function(mask, counts) {
  if (is.null(mask)) return(NULL)
  check(same_size(mask, counts) && is.logical(mask) && !anyNA(mask), "mask",
        sprintf("a logical matrix of %s without missing values, as `counts`", image_size(counts)),
        mask)
}

check_sky_counts <- function(counts, mask, gain, read_noise) {
  used <- if (is.null(mask)) rep(TRUE, length(counts)) else !mask
  where <- function(bad) {
    at <- arrayInd(which(bad), dim(counts))
    shown <- sprintf("[%d, %d]", at[, 1], at[, 2])
    paste("pixel", if (length(shown) == 1) shown else enumerate(shown, 3))
  }
  lost <- used & !is.finite(counts)
  if (any(lost)) {
    abort(c(sprintf("`counts` must be finite, but %s is not.", where(lost)),
            "Pixels that say nothing are told by mask = !is.finite(counts)."), "elbo_error_image")
  }
  many <- used & counts * gain > 2^53
  if (any(many)) {
    abort(c(sprintf("`counts` must be counts of electrons, but %s is %s, which is more than can be",
                    where(many), format(counts[which(many)[1]], digits = 4)),
            "counted in double precision. See that `gain` is electrons a count."),
          "elbo_error_image")
  }
  negative <- used & counts * gain + read_noise^2 < 0
  if (any(negative)) {
    abort(c(sprintf("`counts` must be counts of electrons, but %s is %s.", where(negative),
                    format(counts[which(negative)[1]], digits = 4)),
            "Add the sky that was subtracted, give the camera's `read_noise`, or put such pixels",
            "into `mask`."), "elbo_error_image")
  }
}

check_sky_level <- function(sky, counts) {
  if (is.null(sky)) return(NULL)
  ok <- is.numeric(sky) && (is_number(sky) || same_size(sky, counts)) && all(is.finite(sky)) &&
    all(sky >= 0)
  check(ok, "sky", sprintf("counts of at least 0: a number, or a matrix of %s", image_size(counts)),
        sky)
}

check_calibration <- function(x, nx) {
  if (is.null(x)) return(NULL)
  ok <- is.numeric(x) && length(x) %in% c(1, nx) && all(is.finite(x) & x > 0)
  check(ok, "calibration", sprintf("a positive number, or one for each of the %d columns", nx), x)
  rep_len(as.double(x), nx)
}

check_wcs <- function(wcs) {
  if (is.null(wcs)) return(NULL)
  affine <- is.matrix(wcs) && is.numeric(wcs) && identical(dim(wcs), c(2L, 3L)) &&
    all(is.finite(wcs))
  if (affine) return(wcs)
  numbers <- function(x, n) is.numeric(x) && length(x) == n && all(is.finite(x))
  tan <- is.list(wcs) && numbers(wcs$crval, 2) && numbers(wcs$crpix, 2) && numbers(wcs$cd, 4)
  check(tan && det(matrix(wcs$cd, 2)) != 0, "wcs",
        "a list of `crval`, `crpix` and `cd`, or a 2 x 3 matrix", wcs)
  list(crval = as.double(wcs$crval), crpix = as.double(wcs$crpix), cd = matrix(wcs$cd, 2))
}

# Right ascension and declination of positions in pixels; the gnomonic projection and its inverse
# (Calabretta & Greisen 2002, A&A 395:1077, section 5.1.3).
sky_world <- function(wcs, x, y) {
  if (is.matrix(wcs)) return(t(wcs %*% rbind(1, x, y)))
  radian <- pi / 180
  plane <- wcs$cd %*% rbind(x - wcs$crpix[1], y - wcs$crpix[2]) * radian
  xi <- plane[1, ]
  eta <- plane[2, ]
  dec0 <- wcs$crval[2] * radian
  down <- cos(dec0) - eta * sin(dec0)
  ra <- wcs$crval[1] + atan2(xi, down) / radian
  dec <- atan2(sin(dec0) + eta * cos(dec0), sqrt(xi^2 + down^2)) / radian
  cbind(ra %% 360, dec)
}

sky_pixels <- function(wcs, ra, dec) {
  if (is.matrix(wcs)) return(t(solve(wcs[, 2:3], rbind(ra, dec) - wcs[, 1])))
  radian <- pi / 180
  dec0 <- wcs$crval[2] * radian
  a <- (ra - wcs$crval[1]) * radian
  d <- dec * radian
  down <- sin(dec0) * sin(d) + cos(dec0) * cos(d) * cos(a)
  plane <- rbind(cos(d) * sin(a), cos(dec0) * sin(d) - sin(dec0) * cos(d) * cos(a)) /
    rep(down, each = 2) / radian
  t(solve(wcs$cd, plane) + wcs$crpix)
}

is_sky_image <- function(x) inherits(x, "sky_image")

# Pixels that say nothing.
sky_unused <- function(image) {
  full <- image$counts >= image$saturation
  if (!is.null(image$mask)) full <- full | image$mask
  full | is.na(full)
}

#' @export
print.sky_image <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  unused <- sum(sky_unused(x))
  size <- sprintf("Image of the sky: %s pixels%s", image_size(x$counts),
                  if (is.null(x$band)) "" else paste0(", band ", x$band))
  counts <- sprintf("  counts %s, %s electrons a count",
                    paste(format(range(x$counts[!sky_unused(x)], 0), digits = 4),
                          collapse = " to "),
                    format(x$gain, digits = 4))
  known <- function(value, what) {
    paste0("  ", what, if (is.null(value)) " to be estimated" else " known")
  }
  cat(size, counts, known(x$sky, "sky"), known(x$psf, "point-spread function"), sep = "\n")
  cat("\n")
  if (unused > 0) cat(sprintf("  pixels that say nothing: %d\n", unused))
  invisible(x)
}

#' @export
dim.sky_image <- function(x) dim(x$counts)

#' @rdname sky_image
#' @param x an image.
#' @param ... nothing further.
#' @param limits the counts drawn black and white; `NULL`: from below the sky to the brightest.
#' @param catalog a catalogue, as [catalog()] gives it, whose sources are marked: stars by a circle,
#'   galaxies by their ellipse.
#' @export
plot.sky_image <- function(x, ..., limits = NULL, catalog = NULL) {
  check_dots_empty(...)
  if (!is.null(limits)) {
    two <- is.numeric(limits) && length(limits) == 2 && all(is.finite(limits)) &&
      limits[1] < limits[2]
    check(two, "limits", "two numbers, the smaller first", limits)
  }
  if (!is.null(catalog)) check_data_frame(catalog, "catalog")
  counts <- x$counts
  counts[sky_unused(x)] <- NA
  draw_sky(counts, x$origin, sky_scale(counts, limits))
  if (!is.null(catalog)) mark_sources(catalog)
  invisible(x)
}

# An arsinh scale, which is linear in the noise of the sky and logarithmic above it.
sky_scale <- function(counts, limits = NULL) {
  level <- stats::median(counts, na.rm = TRUE)
  noise <- max(stats::mad(counts, na.rm = TRUE), 1e-8)
  if (is.null(limits)) limits <- c(level - 2 * noise, max(counts, level + 5 * noise, na.rm = TRUE))
  list(level = level, noise = noise, limits = limits)
}

draw_sky <- function(counts, origin, on, main = "") {
  scale <- function(v) asinh((pmin(pmax(v, on$limits[1]), on$limits[2]) - on$level) / on$noise)
  draw_pixels(matrix(scale(counts), nrow(counts)), origin, scale(on$limits),
              grDevices::gray(seq(0, 1, length.out = 256)), main)
}

# Square pixels, the axes along the image and not along the panel, which may be wider.
draw_pixels <- function(value, origin, limits, colours, main) {
  x <- origin[1] + seq_len(nrow(value)) - 1
  y <- origin[2] + seq_len(ncol(value)) - 1
  edges <- function(at) c(at - 0.5, at[length(at)] + 0.5)
  graphics::image(edges(x), edges(y), value, zlim = limits, asp = 1, useRaster = TRUE, xlab = "x",
                  ylab = "", col = colours, main = main, axes = FALSE)
  ticks <- function(at) Filter(function(t) t >= at[1] && t <= at[length(at)], pretty(at, 5))
  graphics::axis(1, ticks(x), pos = y[1] - 0.5)
  graphics::axis(2, ticks(y), pos = x[1] - 0.5, las = 1)
  graphics::title(ylab = "y")
}

mark_sources <- function(catalog, colours = c(star = "#56B4E9", galaxy = "#E69F00")) {
  galaxy <- catalog$p_galaxy > 0.5
  angle <- seq(0, 2 * pi, length.out = 49)
  size <- diff(graphics::par("usr")[1:2]) / 60
  for (i in seq_len(nrow(catalog))) {
    long <- if (galaxy[i]) max(2 * catalog$radius[i], size / 2) else size
    short <- if (galaxy[i]) long * catalog$axis_ratio[i] else size
    turn <- if (galaxy[i]) catalog$angle[i] * pi / 180 else 0
    graphics::lines(catalog$x[i] + long * cos(angle) * cos(turn) - short * sin(angle) * sin(turn),
                    catalog$y[i] + long * cos(angle) * sin(turn) + short * sin(angle) * cos(turn),
                    col = colours[[1 + galaxy[i]]])
  }
}
