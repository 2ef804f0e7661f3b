# Light within a circle about each source: what is counted there less the sky and the model of all
# other sources.

# list(flux, sd), a row a source and a column a radius (in pixels), of image b, in units of flux.
aperture_fluxes <- function(field, radii, b = 1L) {
  image <- field$images[[b]]
  mean <- sky_means(field)[[b]]
  B <- length(field$bands)
  at <- to_image(image, field$sources$theta[B + 1:2, , drop = FALSE])
  n <- ncol(at)
  flux <- sd <- matrix(NA_real_, n, length(radii))
  for (s in seq_len(n)) {
    box <- aperture_box(image, at[, s], max(radii))
    if (is.null(box)) next
    own <- own_light(field, s, b, box)
    for (r in seq_along(radii)) {
      share <- aperture_share(box, at[, s], radii[r]) * image$use[box$pixels]
      exposure <- image$exposure[box$x]
      electrons <- image$count[box$pixels] - mean[box$pixels] + own
      flux[s, r] <- sum(share * electrons / exposure)
      sd[s, r] <- sqrt(sum(share^2 * mean[box$pixels] / exposure^2))
    }
  }
  list(flux = flux, sd = sd)
}

# The pixels of an image about a place: list(x, y, i, j, pixels), i and j the sides of the box.
aperture_box <- function(image, at, radius) {
  i <- seq_len(image$nx)[abs(seq_len(image$nx) - at[1]) <= radius + 1]
  j <- seq_len(image$ny)[abs(seq_len(image$ny) - at[2]) <= radius + 1]
  if (length(i) == 0 || length(j) == 0) return(NULL)
  x <- rep(i, length(j))
  y <- rep(j, each = length(i))
  list(x = x, y = y, i = i, j = j, pixels = x + image$nx * (y - 1))
}

# Electrons of source s alone in the pixels of a box.
own_light <- function(field, s, b, box) {
  image <- field$images[[b]]
  image[c("count", "use", "base")] <- list(numeric(length(box$x)), rep(1, length(box$x)),
                                           rep(1, length(box$x)))
  image$exposure <- image$exposure[box$i]
  # The point-spread function there: one warp for so small a piece.
  image$psf <- psf_at(image, c(mean(box$x), mean(box$y)))
  image["warp"] <- list(NULL)
  image$affine[1:2] <- image$affine[1:2] - c(box$i[1], box$j[1]) + 1
  image[c("nx", "ny", "mesh_x", "mesh_y")] <- list(length(box$i), length(box$j), 0L, 0L)
  alone <- list(images = list(image), bands = field$bands, threads = 1L, node = numeric(),
                sources = pick_sources(field$sources, s))
  far <- max(length(box$i), length(box$j))
  as.vector(.Call(C_sky_mean, sky_model(alone, reach = rep(far, 1)))$mean[[1]]) - 1
}

# The point-spread function of an image at a place in its pixels.
psf_at <- function(image, at) {
  if (is.null(image$warp)) return(image$psf)
  v <- drop(warp_basis(image, matrix(at, 2)) %*% matrix(image$warp, 6))
  spectrum <- eigen(matrix(c(v[1] + v[2], v[3], v[3], v[1] - v[2]), 2), symmetric = TRUE)
  A <- spectrum$vectors %*% (exp(spectrum$values) * t(spectrum$vectors))
  psf <- image$psf
  psf$mean <- psf$mean %*% t(A)
  for (k in seq_along(psf$weight)) psf$covariance[k, , ] <- A %*% psf$covariance[k, , ] %*% t(A)
  psf
}

# Which share of each pixel of a box lies within a circle, by 10 x 10 points.
aperture_share <- function(box, at, radius) {
  far <- sqrt((box$x - at[1])^2 + (box$y - at[2])^2)
  share <- as.double(far < radius)
  edge <- which(abs(far - radius) < 0.75)
  sub <- (seq_len(10) - 5.5) / 10
  dx <- rep(sub, 10)
  dy <- rep(sub, each = 10)
  share[edge] <- vapply(edge, function(p) {
    mean((box$x[p] + dx - at[1])^2 + (box$y[p] + dy - at[2])^2 < radius^2)
  }, 0)
  share
}

# Columns of catalog(): flux_aperture_<radius>, its standard error, its magnitude.
aperture_columns <- function(object, radii) {
  ok <- is.numeric(radii) && length(radii) > 0 && all(is.finite(radii)) && all(radii > 0) &&
    all(radii <= 300)
  check(ok, "aperture", "radii in pixels, above 0 and at most 300, or NULL", radii)
  found <- aperture_fluxes(field_of(object), radii)
  zero <- zero_points(object)[1]
  columns <- lapply(seq_along(radii), function(r) {
    flux <- found$flux[, r]
    mag <- magnitude(ifelse(flux > 0, log(pmax(flux, 1e-300)), NA), zero)
    data.frame(flux, found$sd[, r], mag)
  })
  out <- do.call(cbind, columns)
  names(out) <- as.vector(outer(c("flux", "flux_sd", "mag"), format(radii, trim = TRUE),
                                paste, sep = "_aperture_"))
  out
}
