# The catalogue of a fit.

#' The catalogue of a fit to images of the sky
#'
#' @param object a fit by [fit_sky()].
#' @param reference the band whose flux is `flux`, a word or a number.
#' @param type of method `"vb"`, whose standard deviations: `"linear_response"` (the default) or
#'   `"mean_field"`, those of q itself.
#' @param aperture `NULL`, or radii in pixels of circles about each source, in which the light of
#'   the first image is counted, less the sky and the model of the other sources: then columns
#'   `flux_aperture_<radius>`, `flux_sd_aperture_<radius>` and `mag_aperture_<radius>`.
#' @param ... nothing further.
#' @return A data frame, a row for each source, the brightest first:
#' \describe{
#'   \item{`id`}{1, 2, ...}
#'   \item{`x`, `y`}{position in pixels of the first image: the centre of `counts[i, j]` is at
#'     x = i, y = j, unless the image has another `origin`.}
#'   \item{`flux`, `x_sd`, `y_sd`, `flux_sd`}{the flux in counts of the image (with a calibration in
#'     its unit), and standard errors by the observed information, of method `"vb"` posterior means
#'     and standard deviations; those of what is held are 0.}
#'   \item{`p_galaxy`}{the probability that it is a galaxy and no star.}
#'   \item{`radius`, `axis_ratio`, `angle`}{of galaxies: half-light radius along the major axis in
#'     pixels, minor by major axis, and the major axis in degrees from the x axis; else `NA`. Of
#'     method `"vb"` those at the mean of q.}
#'   \item{`mag`, `mag_sd`}{magnitude and its standard error, `NA` without a zero point.}
#'   \item{`ra`, `dec`}{where the first image has a world coordinate system.}
#'   \item{`flags`}{a sum of bits: 1 a part of its light (5 %) falls beyond the edge or on pixels
#'     that are not used, 2 less than 80 % of the light where it lies is its own, 4 the residuals
#'     there are larger than noise (`chi2` beyond five standard deviations), 8 no standard errors,
#'     16 a saturated pixel within its core. The names are in `attr(, "bits")`.}
#'   \item{`own_fraction`, `chi2`, `sky`}{the share of the light of sources that is its own, weighed
#'     by its profile; the mean squared standardised residual over its brighter pixels; the sky in
#'     counts.}
#'   \item{`dev_fraction`}{of galaxies: the share of the de Vaucouleurs profile.}
#'   \item{`flux_<band>`, `flux_sd_<band>`, `mag_<band>`}{with several bands.}
#' }
#' @family catalogues
#' @family what a fit answers
#' @examples
#' set.seed(2)
#' catalog(fit_sky(sim_sky(64, 64, n = 4)))
#' @export
catalog <- function(object, ...) UseMethod("catalog")

field_of <- element("field")
images_of <- element("images")

sky_bits <- c(edge = 1L, blended = 2L, poor = 4L, no_sd = 8L, saturated = 16L)

#' @rdname catalog
#' @export
catalog.elbo_sky <- function(object, reference = 1, type = NULL, aperture = NULL, ...) {
  check_dots_empty(...)
  field <- field_of(object)
  band <- check_reference(reference, field$bands)
  B <- length(field$bands)
  origin <- images_of(object)[[1]]$origin
  known <- source_estimates(object, type)
  flux <- known$flux
  shape <- galaxy_shapes(field)
  out <- data.frame(
    id = seq_along(known$p_galaxy), x = known$place$mean[1, ] + origin[1] - 1,
    y = known$place$mean[2, ] + origin[2] - 1, flux = flux$mean[band, ],
    x_sd = known$place$sd[1, ], y_sd = known$place$sd[2, ], flux_sd = flux$sd[band, ],
    p_galaxy = known$p_galaxy, shape[c("radius", "axis_ratio", "angle")]
  )
  zero <- zero_points(object)
  mag <- function(b) magnitude(known$log_flux$mean[b, ], zero[b])
  out$mag <- mag(band)
  out$mag_sd <- ifelse(is.na(out$mag), NA, 2.5 / log(10) * known$log_flux$sd[band, ])
  out[c("ra", "dec")] <- world_columns(images_of(object)[[1]], out)
  out <- cbind(out, quality_columns(object, flux$sd[band, ]), dev_fraction = shape$dev_fraction)
  for (b in if (B > 1) seq_len(B)) {
    out[[paste0("flux_", field$bands[b])]] <- flux$mean[b, ]
    out[[paste0("flux_sd_", field$bands[b])]] <- flux$sd[b, ]
    out[[paste0("mag_", field$bands[b])]] <- mag(b)
  }
  if (!is.null(aperture)) out <- cbind(out, aperture_columns(object, aperture))
  out <- out[source_order(field), ]
  out$id <- seq_len(nrow(out))
  row.names(out) <- NULL
  attr(out, "bits") <- sky_bits
  out
}

# Of each source flux, log flux (B rows each) and place (2 rows), each list(mean, sd) with a column
# a source, and p_galaxy.
source_estimates <- function(object, type = NULL) {
  field <- field_of(object)
  types <- if (method_of(object) == "vb") c("linear_response", "mean_field") else "observed"
  type <- if (is.null(type)) types[1] else check_choice(type, "type", types)
  if (method_of(object) == "vb") {
    galaxy <- colSums(field$posterior$probability[-1, , drop = FALSE])
    return(c(posterior_moments(field, type), list(p_galaxy = galaxy)))
  }
  B <- length(field$bands)
  theta <- field$sources$theta
  sd <- source_sds(field)
  part <- function(rows) {
    list(mean = theta[rows, , drop = FALSE], sd = sd[rows, , drop = FALSE])
  }
  flux <- part(seq_len(B))
  list(flux = flux, log_flux = list(mean = log(flux$mean), sd = flux$sd / flux$mean),
       place = part(B + 1:2), p_galaxy = galaxy_probability_of(field))
}

check_reference <- function(reference, bands) {
  if (is.character(reference)) return(match(check_choice(reference, "reference", bands), bands))
  ok <- is_whole(reference) && reference >= 1 && reference <= length(bands)
  check(ok, "reference", sprintf("a band, or a number from 1 to %d", length(bands)), reference)
}

# The brightest first.
source_order <- function(field) order(field$sources$theta[1, ], decreasing = TRUE)

source_sds <- function(field) {
  V <- field$covariance
  sd <- matrix(NA_real_, dim(V)[1], dim(V)[3])
  if (field$information_status < 0) return(sd)
  for (k in seq_len(nrow(sd))) sd[k, ] <- sqrt(pmax(V[k, k, ], 0))
  sd
}

galaxy_probability_of <- function(field) {
  if (isTRUE(field$forced)) return(as.double(field$sources$type > 0L))
  galaxy_probability(field$evidence, log(field$sources$theta[1, ]), field$law)$p
}

galaxy_shapes <- function(field) {
  B <- length(field$bands)
  type <- field$sources$type
  axes <- axes_from_shape(field$sources$theta[B + 3:5, , drop = FALSE])
  dev <- ifelse(type == 3L, field$sources$theta[B + 6, ], as.double(type == 2L))
  shapes <- data.frame(axes, dev_fraction = dev)
  shapes[type == 0L, ] <- NA
  shapes
}

zero_points <- function(object) {
  field <- field_of(object)
  of_image <- vapply(images_of(object), function(image) {
    if (is.null(image$zero_point)) NA_real_ else image$zero_point
  }, 0)
  band <- vapply(field$images, `[[`, 0L, "band")
  of_image[match(seq_along(field$bands), band)]
}

magnitude <- function(log_flux, zero) {
  ifelse(is.finite(log_flux), zero - 2.5 / log(10) * log_flux, NA_real_)
}

world_columns <- function(image, catalog) {
  unknown <- rep(NA_real_, nrow(catalog))
  if (is.null(image$wcs)) return(data.frame(ra = unknown, dec = unknown))
  world <- sky_world(image$wcs, catalog$x, catalog$y)
  data.frame(ra = world[, 1], dec = world[, 2])
}

quality_columns <- function(object, sd) {
  field <- field_of(object)
  quality <- field$quality[[1]]
  first <- images_of(object)[[1]]
  chi2 <- quality[2, ]
  # A mean of n squared normals has a standard deviation of sqrt(2 / n).
  poor <- chi2 > 1 + 5 * sqrt(2 / pmax(quality[3, ], 1))
  raise <- function(bit, where) sky_bits[[bit]] * as.integer(where %in% TRUE)
  flags <- raise("edge", quality[5, ] > 0.05 | is.nan(quality[5, ])) +
    raise("blended", quality[1, ] < 0.8) + raise("poor", poor) + raise("no_sd", !(sd > 0)) +
    raise("saturated", near_saturated(field, first))
  data.frame(flags = as.integer(flags), own_fraction = quality[1, ], chi2 = chi2,
             sky = quality[4, ] / first$gain)
}

near_saturated <- function(field, image, within = 2) {
  B <- length(field$bands)
  full <- which(image$counts >= image$saturation, arr.ind = TRUE)
  at <- field$sources$theta[B + 1:2, , drop = FALSE]
  if (nrow(full) == 0) return(logical(ncol(at)))
  vapply(seq_len(ncol(at)), function(s) {
    any(abs(full[, 1] - at[1, s]) <= within & abs(full[, 2] - at[2, s]) <= within)
  }, NA)
}
