# What C is told: images as it reads them, and sources as columns of theta. A "field" is a list
#   images   as sky_for_c() makes them, with the point-spread functions as they stand
#   bands    words; band of each image
#   sources  list(theta, type, held): theta a column a source, its rows fluxes by band, then x, y
#            (pixels of the first image), log_radius, a, b, dev (see src/sky/types.h)
#   node     coefficients of the sky, image after image

sky_types <- c(star = 0L, exponential = 1L, de_vaucouleurs = 2L, composite = 3L)

no_sources <- function(n_band) {
  list(theta = matrix(0, n_band + 6, 0), type = integer(), held = integer())
}

append_sources <- function(a, b) {
  list(theta = cbind(a$theta, b$theta), type = c(a$type, b$type), held = c(a$held, b$held))
}

# Some of a field's sources, with what is known of them.
keep_sources <- function(field, keep) {
  field$sources <- pick_sources(field$sources, keep)
  field$evidence <- field$evidence[, keep, drop = FALSE]
  field$told <- field$told[, keep, drop = FALSE]
  field
}

pick_sources <- function(sources, keep) {
  list(theta = sources$theta[, keep, drop = FALSE], type = sources$type[keep],
       held = sources$held[keep])
}

# From radius (along the major axis), axis ratio and angle to log_radius, a, b, and back: the axes
# are exp(log_radius +- hypot(a, b)), the major one at half the angle of (a, b).
shape_from_axes <- function(radius, axis_ratio, angle) {
  e <- -log(axis_ratio) / 2
  rbind(log(radius) - e, e * cos(2 * angle * pi / 180), e * sin(2 * angle * pi / 180))
}

axes_from_shape <- function(shape) {
  e <- sqrt(shape[2, ]^2 + shape[3, ]^2)
  list(radius = exp(shape[1, ] + e), axis_ratio = exp(-2 * e),
       angle = (atan2(shape[3, ], shape[2, ]) * 90 / pi) %% 180)
}

# ---- images --------------------------------------------------------------------------------------

sky_field <- function(images, threads = 1L) {
  bands <- vapply(seq_along(images), function(i) {
    if (is.null(images[[i]]$band)) paste0("band", i) else images[[i]]$band
  }, "")
  if (length(images) > 1 && all(vapply(images, function(x) is.null(x$band), NA))) bands[] <- "band1"
  field <- list(bands = unique(bands), threads = threads, node = numeric(),
                sources = no_sources(length(unique(bands))), evidence = matrix(0, 4, 0),
                told = matrix(0, 3, 0))
  field$images <- lapply(seq_along(images), function(i) {
    sky_for_c(images[[i]], match(bands[i], field$bands), images[[1]])
  })
  field
}

sky_for_c <- function(image, band, first) {
  unused <- sky_unused(image)
  noise <- image$read_noise^2
  count <- image$gain * image$counts + noise
  count[unused] <- 0
  known <- !is.null(image$sky)
  base <- matrix(noise + if (known) image$gain * image$sky else 0, nrow(count), ncol(count))
  # A mean of 0 where no source reaches would make any photon impossible.
  base <- pmax(base, 1e-6)
  mesh <- if (known) c(0L, 0L) else sky_mesh(dim(count))
  calibration <- if (is.null(image$calibration)) rep(1, nrow(count)) else image$calibration
  list(nx = nrow(count), ny = ncol(count), band = band, count = as.double(count),
       use = as.double(!unused), base = as.double(base), exposure = image$gain / calibration,
       gain = as.double(image$gain), doubt = usual_doubt, affine = affine_to(image, first),
       psf = image$psf, mesh_x = mesh[1], mesh_y = mesh[2])
}

# Nodes of the sky's mesh: the sky is one number up to 400 pixels, then a node every 250 or so.
sky_mesh <- function(size) as.integer(ifelse(size < 400, 1, 1 + round(size / 250)))

# (x, y) of an image's pixels, from 1, as an affine map of those of the first: through the sky where
# both have world coordinates, else by origin.
affine_to <- function(image, first) {
  if (is.null(image$wcs) || is.null(first$wcs)) return(c(first$origin - image$origin, 1, 0, 0, 1))
  size <- dim(first$counts)
  at <- as.matrix(expand.grid(seq(1, size[1], length.out = 5), seq(1, size[2], length.out = 5)))
  world <- sky_world(first$wcs, at[, 1] + first$origin[1] - 1, at[, 2] + first$origin[2] - 1)
  there <- sweep(sky_pixels(image$wcs, world[, 1], world[, 2]), 2, image$origin - 1)
  map <- stats::lm.fit(cbind(1, at), there)$coefficients
  as.double(c(map[1, ], map[2:3, 1], map[2:3, 2]))
}

# The list that the entry points read.
sky_model <- function(field, reach = sky_reach(field)) {
  sources <- field$sources
  images <- lapply(field$images, function(image) {
    image$psf <- psf_for_c(image$psf)
    image["warp"] <- list(image$warp) # NULL: none
    image
  })
  list(images = images, n_band = length(field$bands), n = ncol(sources$theta),
       threads = as.integer(field$threads), type = as.integer(sources$type),
       held = as.integer(sources$held), reach = as.double(reach),
       theta = as.double(sources$theta), node = as.double(field$node), law = field$law)
}

# How far a source is followed: to where a pixel of it is a fiftieth of the noise of the sky, three
# standard deviations of the point-spread function at least.
sky_reach <- function(field, share = 0.02, most = 300) {
  B <- length(field$bands)
  theta <- field$sources$theta
  at <- 0
  reach <- vapply(field$images, function(image) {
    nodes <- image$mesh_x * image$mesh_y
    level <- stats::median(image$base)
    if (nodes > 0) level <- level + image$gain * mean(field$node[at + seq_len(nodes)])
    at <<- at + nodes
    electrons <- theta[image$band, ] * mean(image$exposure)
    source_reach(image$psf, field$sources$type, theta[B + 1:6, , drop = FALSE],
                 share * sqrt(max(level, 1)) / pmax(electrons, 1e-8), most)
  }, numeric(ncol(theta)))
  t(matrix(reach, ncol(theta)))
}

profile_variances <- list(
  star = cbind(weight = 1, variance = 0),
  exponential = cbind(weight = c(0.32, 0.63), variance = c(0.31, 1.29)),
  de_vaucouleurs = cbind(weight = c(0.23, 0.29, 0.29), variance = c(0.19, 1.04, 7.17))
)
profile_variances$composite <- rbind(profile_variances$exponential,
                                     profile_variances$de_vaucouleurs)

# The radius at which a profile falls below `least` (per unit of flux), along its major axis.
source_reach <- function(psf, type, shape, least, most) {
  radius <- exp(seq(log(1), log(most), length.out = 80))
  spread <- sqrt(psf$covariance[, 1, 1] * psf$covariance[, 2, 2] - psf$covariance[, 1, 2]^2)
  size <- axes_from_shape(shape[3:5, , drop = FALSE])$radius^2
  vapply(seq_along(type), function(s) {
    part <- profile_variances[[type[s] + 1]]
    variance <- outer(spread, part[, "variance"] * size[s], `+`)
    weight <- outer(psf$weight, part[, "weight"]) / (2 * pi * variance)
    light <- colSums(as.vector(weight) * exp(-outer(as.vector(1 / (2 * variance)), radius^2)))
    far <- radius[max(which(light > least[s]), 1)]
    min(most, max(far, 3 * sqrt(min(spread)) + 1))
  }, 0)
}

# ---- catalogues ----------------------------------------------------------------------------------

# Sources from a data frame with the columns of catalog(): flux, or flux_<band>, x, y, and of
# galaxies radius, axis_ratio and angle.
sources_from_catalog <- function(catalog, bands, name = "start", held = 0L) {
  check_data_frame(catalog, name)
  by_band <- paste0("flux_", bands)
  if (!all(by_band %in% names(catalog))) by_band <- rep("flux", length(bands))
  missing <- setdiff(c("x", "y", by_band), names(catalog))
  if (length(missing) > 0) {
    abort(sprintf("`%s` must have columns `x`, `y` and `flux`, but has no %s.", name,
                  quote_names(missing)), "elbo_error_argument")
  }
  check_catalog_columns(catalog, name, by_band)
  column <- function(name) if (is.null(catalog[[name]])) rep(0, nrow(catalog)) else catalog[[name]]
  galaxy <- column("p_galaxy") > 0.5 & column("radius") > 0
  galaxy <- galaxy %in% TRUE
  shape <- matrix(0, 4, nrow(catalog))
  if (any(galaxy)) {
    shape[1:3, galaxy] <- shape_from_axes(catalog$radius[galaxy], catalog$axis_ratio[galaxy],
                                          catalog$angle[galaxy])
  }
  dev <- column("dev_fraction")
  dev[is.na(dev)] <- 0
  type <- ifelse(!galaxy, 0L, ifelse(dev <= 0, 1L, ifelse(dev >= 1, 2L, 3L)))
  shape[4, type == 3L] <- dev[type == 3L]
  theta <- rbind(t(as.matrix(catalog[by_band])), catalog$x, catalog$y, shape)
  dimnames(theta) <- NULL
  bad <- which(colSums(!is.finite(theta)) > 0)
  if (length(bad) > 0) {
    abort(sprintf("`%s` must be finite, but is not in %s.", name, list_rows(bad)),
          "elbo_error_argument")
  }
  theta[seq_along(bands), ] <- pmax(theta[seq_along(bands), ], 1e-6)
  list(theta = theta, type = as.integer(type), held = rep(as.integer(held), nrow(catalog)))
}

# What is there is numbers, and a galaxy has a shape.
check_catalog_columns <- function(catalog, name, by_band) {
  shape <- c("radius", "axis_ratio", "angle")
  numbers <- intersect(c("x", "y", by_band, "p_galaxy", shape, "dev_fraction"), names(catalog))
  is_words <- function(x) !is.numeric(x) && !(is.logical(x) && all(is.na(x)))
  words <- numbers[vapply(catalog[numbers], is_words, NA)]
  if (length(words) > 0) {
    abort(sprintf("Columns of `%s` must be numbers, but %s is not.", name, quote_names(words)),
          "elbo_error_argument")
  }
  galaxy <- which(catalog$p_galaxy > 0.5 & catalog$radius > 0)
  if (length(galaxy) == 0) return(invisible())
  missing <- setdiff(shape, names(catalog))
  if (length(missing) > 0) {
    abort(sprintf("`%s` has galaxies, so that it must have columns %s, but has no %s.", name,
                  quote_names(shape), quote_names(missing)), "elbo_error_argument")
  }
  flat <- galaxy[!(catalog$axis_ratio[galaxy] > 0 & catalog$axis_ratio[galaxy] <= 1)]
  if (length(flat) > 0) {
    abort(sprintf("`axis_ratio` in `%s` must be above 0 and at most 1, but is not in %s.", name,
                  list_rows(flat)), "elbo_error_argument")
  }
}

# Sources in the order of their positions along the longer side: neighbours stay near each other,
# which is what the factor of the information asks for.
order_by_position <- function(field) {
  B <- length(field$bands)
  along <- if (field$images[[1]]$nx > field$images[[1]]$ny) B + 1 else B + 2
  order(field$sources$theta[along, ])
}
