# From an image to the sources in it: the sky, the point-spread function, what the matched filter
# finds, and which of it the evidence keeps.

# ---- the sky -------------------------------------------------------------------------------------

# The level of the sky about each node, robust to sources: the median of what is left after clipping
# at two and a half standard deviations of the noise.
clipped_level <- function(counts) {
  for (i in 1:8) {
    centre <- stats::median(counts)
    keep <- abs(counts - centre) <= 2.5 * stats::mad(counts) + 1e-8
    # Sources only add: what lies above pulls the median up, by about a third of the skewness.
    if (all(keep)) break
    counts <- counts[keep]
  }
  max(2.5 * stats::median(counts) - 1.5 * mean(counts), stats::median(counts) / 2, 1e-3)
}

first_sky <- function(image) {
  if (image$mesh_x == 0) return(numeric())
  counts <- matrix(image$count - (image$base), image$nx) / image$gain
  counts[image$use == 0] <- NA
  near <- function(node, mesh, n) {
    if (mesh == 1) return(seq_len(n))
    at <- (node - 1) * (n - 1) / (mesh - 1) + 1
    half <- (n - 1) / (mesh - 1) / 2
    seq(max(1, ceiling(at - half)), min(n, floor(at + half)))
  }
  level <- matrix(NA_real_, image$mesh_x, image$mesh_y)
  for (i in seq_len(image$mesh_x)) for (j in seq_len(image$mesh_y)) {
    cell <- counts[near(i, image$mesh_x, image$nx), near(j, image$mesh_y, image$ny)]
    cell <- cell[!is.na(cell)]
    step <- max(1, length(cell) %/% 40000)
    if (length(cell) > 0) level[i, j] <- clipped_level(cell[seq(1, length(cell), by = step)])
  }
  level[is.na(level)] <- if (all(is.na(level))) 1 else stats::median(level, na.rm = TRUE)
  as.double(level)
}

# ---- detection -----------------------------------------------------------------------------------

# Peaks of the matched filter in all images, as stars: rows x, y, flux (of the image's band), band,
# z.
sky_peaks <- function(field, least, doubt, wider = 0) {
  found <- lapply(seq_along(field$images), function(b) {
    image <- field$images[[b]]
    psf <- if (wider > 0) psf_widened(image$psf, wider * psf_sd(image$psf)) else image$psf
    how <- list(least = least, doubt = doubt, most = 100000L)
    peaks <- .Call(C_sky_detect, sky_model(field), b, psf_for_c(psf), how)
    at <- rbind(peaks$pixel %% image$nx, peaks$pixel %/% image$nx) + 1
    A <- image$affine
    first <- solve(matrix(A[3:6], 2, byrow = TRUE)) %*% (at - A[1:2])
    data.frame(x = first[1, ], y = first[2, ], flux = peaks$flux, band = rep(image$band, ncol(at)),
               z = peaks$z)
  })
  found <- do.call(rbind, found)
  found[order(found$z, decreasing = TRUE), ]
}

# Of peaks nearer than `apart` to a brighter one, or to a source, none is taken.
apart_from <- function(peaks, x, y, apart) {
  keep <- logical(nrow(peaks))
  for (i in seq_along(keep)) {
    keep[i] <- all((peaks$x[i] - x)^2 + (peaks$y[i] - y)^2 >= apart^2)
    if (keep[i]) {
      x <- c(x, peaks$x[i])
      y <- c(y, peaks$y[i])
    }
  }
  peaks[keep, ]
}

peaks_as_sources <- function(peaks, field) {
  B <- length(field$bands)
  flux <- matrix(rep(pmax(peaks$flux, 1e-6), each = B), B)
  list(theta = rbind(flux, peaks$x, peaks$y, matrix(0, 4, nrow(peaks))),
       type = integer(nrow(peaks)), held = integer(nrow(peaks)))
}

new_peaks <- function(field, least, doubt, galaxies) {
  B <- length(field$bands)
  now <- field$sources$theta[B + 1:2, , drop = FALSE]
  core <- psf_sd(field$images[[1]]$psf)
  peaks <- apart_from(sky_peaks(field, least, doubt), now[1, ], now[2, ], 0.7 * core)
  if (!galaxies) return(peaks)
  wide <- sky_peaks(field, least + 0.5, doubt, wider = 1.5)
  wide <- apart_from(wide, c(now[1, ], peaks$x), c(now[2, ], peaks$y), 3 * core)
  rbind(peaks, wide)
}

# ---- fits of one source after the other ----------------------------------------------------------

type_bits <- function(galaxies) if (galaxies) 15L else 1L

# `allowed`: bits of the types that are tried; 0 refits each source as what it is.
sky_sweep <- function(field, allowed, order = NULL, remove = FALSE, max_iter = 15L) {
  B <- length(field$bands)
  if (is.null(order)) order <- order(field$sources$theta[1, ], decreasing = TRUE)
  how <- list(allowed = as.integer(allowed), remove = as.integer(remove),
              max_iter = as.integer(max_iter))
  swept <- .Call(C_sky_sweep, sky_model(field), as.integer(order), how)
  gone <- colSums(swept$theta[seq_len(B), , drop = FALSE]) <= 0
  sources <- list(theta = swept$theta, type = swept$type, held = field$sources$held)
  field[c("sources", "evidence", "told")] <- list(sources, swept$evidence, swept$told)
  keep_sources(field, !gone)
}

# The law of sources as the catalogue has them: what the evidence compares with. Each source counts
# as a star and as a galaxy as its probabilities say, a galaxy's radius with its variance: one step
# of EM for the parameters of the law. Of few sources it is what it was before any was seen.
sky_law <- function(field, galaxies) {
  B <- length(field$bands)
  theta <- field$sources$theta
  flux <- log(theta[1, ])
  usual <- if (length(flux) > 0) stats::median(flux) else 0
  law <- list(
    density = max(ncol(theta), 1) / max(sum(field$images[[1]]$use), 1),
    galaxies = if (galaxies) 0.5 else 0, flux_mean = c(usual, usual),
    flux_sd = if (length(flux) > 2) max(1, stats::sd(flux)) else 2,
    radius_mean = log(1.2 * psf_sd(field$images[[1]]$psf)), radius_sd = 0.7, shape_sd = 0.3
  )
  p <- as.double(field$sources$type > 0L)
  radius <- theta[B + 3, ]
  variance <- 0 * radius
  tried <- ncol(field$evidence) == length(p) & is.finite(field$told[2, ])
  if (galaxies && length(tried) == length(p) && any(tried) && !is.null(field$law)) {
    found <- galaxy_probability(field$evidence[, tried, drop = FALSE], flux[tried], field$law)
    law[c("galaxies", "flux_mean")] <- found[c("share", "flux_mean")]
    p[tried] <- found$p
    radius[tried] <- field$told[1, tried]
    variance[tried] <- field$told[2, tried]
  }
  if (sum(p) >= 20) {
    law$radius_mean <- sum(p * radius) / sum(p)
    sd <- sqrt(sum(p * ((radius - law$radius_mean)^2 + variance)) / sum(p))
    law$radius_sd <- min(0.7, max(0.3, sd))
  }
  law
}

# Posterior probabilities of a galaxy by the evidence, and what they say of the share of galaxies
# and of the mean log flux of both kinds: the maximum of the likelihood of a mixture of two, by EM,
# each mean as if five more sources of all fluxes were known. list(p, share, flux_mean).
galaxy_probability <- function(evidence, flux, law) {
  share <- max(law$galaxies, 1e-12)
  if (ncol(evidence) == 0) return(list(p = numeric(), share = share, flux_mean = law$flux_mean))
  galaxy <- apply(evidence[-1, , drop = FALSE], 2, function(e) {
    top <- max(e)
    if (top == -Inf) -Inf else top + log(sum(exp(e - top)))
  })
  prior_odds <- function(share, mean) {
    stats::qlogis(share) + stats::dnorm(flux, mean[2], law$flux_sd, log = TRUE) -
      stats::dnorm(flux, mean[1], law$flux_sd, log = TRUE)
  }
  factor <- pmin(pmax(galaxy - evidence[1, ] - prior_odds(share, law$flux_mean), -700), 700)
  mean <- law$flux_mean
  weighted <- function(w) (sum(w * flux) + 5 * stats::median(flux)) / (sum(w) + 5)
  for (i in 1:200) {
    p <- stats::plogis(factor + prior_odds(share, mean))
    share <- min(0.95, max(0.05, (sum(p) + 1) / (length(p) + 2)))
    mean <- c(weighted(1 - p), weighted(p))
  }
  list(p = stats::plogis(factor + prior_odds(share, mean)), share = share, flux_mean = mean)
}

# Some steps of EM for all sources and the sky.
sky_em <- function(field, steps) {
  control <- control_for_c(elbo_control(accelerate = "none", max_iter = steps, tol = 1e-3),
                           field$threads)
  found <- .Call(C_sky_fit, sky_model(field), control, NULL)
  check_sky_status(found$status)
  field$sources$theta <- found$theta
  field$node <- as.double(found$node)
  field
}

control_for_c <- function(control, threads) {
  list(accelerate = match(control$accelerate, c("none", "squarem", "auto")) - 1L,
       first_order = 0L, max_iter = control$max_iter, threads = as.integer(threads),
       tol = control$tol, spent = 0)
}

check_sky_status <- function(status) {
  if (status >= 0) return(invisible())
  abort(c(sprintf("The ascent of the catalogue failed (%s).",
                  names(ascent_status)[match(status, ascent_status)]),
          "A mean of some pixel may have gone to zero: give `sky`, or `read_noise`."),
        "elbo_error_ascent")
}

# ---- the point-spread function -------------------------------------------------------------------

# The width of a peak: EM of one round of normal from a cutting about it; NA where that fails.
peak_width <- function(field, b, x, y, flux, half = 12) {
  image <- field$images[[b]]
  i <- seq(max(1, round(x) - half), min(image$nx, round(x) + half))
  j <- seq(max(1, round(y) - half), min(image$ny, round(y) + half))
  cut <- image
  pixels <- as.vector(outer(i, (j - 1) * image$nx, `+`))
  level <- sky_level_at(field, b, x, y)
  cut[c("count", "use")] <- list(image$count[pixels], image$use[pixels])
  cut$base <- rep(level, length(pixels))
  cut$exposure <- image$exposure[i]
  cut[c("nx", "ny", "mesh_x", "mesh_y")] <- list(length(i), length(j), 0L, 0L)
  cut$affine <- c(1 - i[1], 1 - j[1], 1, 0, 0, 1)
  cut$band <- 1L
  small <- list(images = list(cut), bands = "one", threads = 1L, node = numeric(),
                sources = list(theta = matrix(c(flux, x, y, 0, 0, 0, 0), 7), type = 0L, held = 0L))
  found <- .Call(C_sky_psf, sky_model(small, reach = half), 1L, 1L, psf_for_c(cut$psf), 40L)
  S <- found$covariance
  c(width = (S[1] * S[3] - S[2]^2)^0.25, flux = found$theta[1], x = found$theta[2],
    y = found$theta[3])
}

# The mean of a pixel without sources, in electrons.
sky_level_at <- function(field, b, x, y) {
  image <- field$images[[b]]
  i <- min(max(round(x), 1), image$nx)
  j <- min(max(round(y), 1), image$ny)
  base <- image$base[i + image$nx * (j - 1)]
  if (image$mesh_x == 0) return(base)
  skip <- sum(vapply(field$images[seq_len(b - 1)], function(o) o$mesh_x * o$mesh_y, 0))
  node <- matrix(field$node[skip + seq_len(image$mesh_x * image$mesh_y)], image$mesh_x)
  base + image$gain * mesh_value(node, (i - 1) / max(1, image$nx - 1),
                                 (j - 1) / max(1, image$ny - 1))
}

# Bilinear in a mesh over [0, 1]^2.
mesh_value <- function(node, u, v) {
  cell <- function(u, n) {
    k <- pmin(floor(u * (n - 1)), max(0, n - 2))
    list(k = k + 1, up = pmin(k + 2, n), part = if (n > 1) u * (n - 1) - k else 0 * u)
  }
  a <- cell(u, nrow(node))
  b <- cell(v, ncol(node))
  (1 - b$part) * ((1 - a$part) * node[cbind(a$k, b$k)] + a$part * node[cbind(a$up, b$k)]) +
    b$part * ((1 - a$part) * node[cbind(a$k, b$up)] + a$part * node[cbind(a$up, b$up)])
}

# The mode of a sample, by halves (Robertson & Cryer 1974).
half_sample_mode <- function(x) {
  x <- sort(x)
  while (length(x) > 3) {
    half <- ceiling(length(x) / 2)
    width <- x[half:length(x)] - x[seq_len(length(x) - half + 1)]
    first <- which.min(width)
    x <- x[first + seq_len(half) - 1]
  }
  mean(x)
}

# A round normal to begin with: stars are the commonest width among bright peaks.
first_psf <- function(field, b) {
  field$images[[b]]$psf <- round_psf(1.5)
  only <- only_image(field, b)
  peaks <- sky_peaks(only, least = 12, doubt = 0)
  peaks <- apart_from(peaks, numeric(), numeric(), 4)
  peaks <- utils::head(peaks, 80)
  if (nrow(peaks) < 1) return(NULL)
  inner <- pmin(peaks$x, peaks$y) > 8 & peaks$x < only$images[[1]]$nx - 7 &
    peaks$y < only$images[[1]]$ny - 7
  if (any(inner)) peaks <- peaks[inner, ]
  widths <- t(vapply(seq_len(nrow(peaks)), function(i) {
    peak_width(only, 1L, peaks$x[i], peaks$y[i], peaks$flux[i])
  }, numeric(4)))
  width <- widths[, "width"]
  ok <- is.finite(width) & width > 0.5 & width < 10
  if (!any(ok)) return(NULL)
  round_psf(exp(half_sample_mode(log(width[ok]))))
}

# Stars fit to tell the point-spread function: bright, point-like, not on the edge, with few
# neighbours, the brightest thirty.
psf_stars <- function(field, b, most = 30) {
  B <- length(field$bands)
  theta <- field$sources$theta
  image <- field$images[[b]]
  quality <- .Call(C_sky_information, sky_model(field), as.integer(b))$quality
  flux <- theta[image$band, ] * mean(image$exposure)
  level <- max(quality[4, ], 1, na.rm = TRUE)
  area <- 4 * pi * psf_sd(image$psf)^2
  z <- flux / sqrt(flux + area * level)
  good <- field$sources$type == 0L & is.finite(quality[1, ]) & quality[1, ] > 0.9 &
    quality[5, ] < 0.02 & z > 20
  good <- which(good %in% TRUE)
  good <- good[order(flux[good], decreasing = TRUE)][seq_len(min(2 * most, length(good)))]
  good <- good[of_common_width(field, b, good)]
  good[seq_len(min(most, length(good)))]
}

# Whether sources are as wide as most of them: no cosmic rays, no galaxies that passed for stars.
of_common_width <- function(field, b, sources) {
  if (length(sources) < 2) return(rep(TRUE, length(sources)))
  image <- field$images[[b]]
  theta <- field$sources$theta
  B <- length(field$bands)
  at <- to_image(image, theta[B + 1:2, sources, drop = FALSE])
  width <- log(vapply(seq_along(sources), function(i) {
    peak_width(field, b, at[1, i], at[2, i], theta[image$band, sources[i]])[["width"]]
  }, 0))
  usual <- half_sample_mode(width[is.finite(width) & width > log(0.5)])
  (abs(width - usual) < 0.15) %in% TRUE
}

# Positions (2 x n) in an image's own pixels.
to_image <- function(image, at) {
  image$affine[1:2] + matrix(image$affine[3:6], 2, byrow = TRUE) %*% at
}

# Pixels too sharp for the point-spread function: above their neighbours by more than the light of a
# star in the middle of the pixel may be, and by five standard deviations.
cosmic_pixels <- function(image, level) {
  core <- psf_sd(image$psf)
  if (core < 0.7 || image$nx < 3 || image$ny < 3) return(integer())
  light <- matrix(image$count - level, image$nx)
  noise <- sqrt(pmax(light, 0) + level)
  used <- matrix(image$use > 0, image$nx)
  least <- 0.6 * exp(-1 / (2 * core^2))
  shifted <- function(m, di, dj, outside) {
    out <- matrix(outside, image$nx, image$ny)
    i <- seq_len(image$nx)
    j <- seq_len(image$ny)
    from_i <- i[i + di >= 1 & i + di <= image$nx]
    from_j <- j[j + dj >= 1 & j + dj <= image$ny]
    out[from_i, from_j] <- m[from_i + di, from_j + dj]
    out
  }
  # Of the pairs of opposite neighbours both must be faint; beyond the edge nothing is known.
  beside <- lapply(list(c(1, 0), c(-1, 0), c(0, 1), c(0, -1)), function(d) {
    near <- shifted(light, d[1], d[2], NA)
    near[!shifted(used, d[1], d[2], FALSE)] <- NA
    near
  })
  brightest <- do.call(pmax, c(beside, list(na.rm = TRUE)))
  which(used & light > 10 * noise & (least * light - brightest > 5 * noise) %in% TRUE)
}

without_cosmics <- function(field, b) {
  image <- field$images[[b]]
  level <- sky_level_at(field, b, image$nx / 2, image$ny / 2)
  found <- cosmic_pixels(image, level)
  field$images[[b]]$use[found] <- 0
  field$images[[b]]$count[found] <- 0
  field$cosmics[[b]] <- found
  field
}

# The mixture of normals that those stars show, and how it varies over the image, in turns.
sky_psf_step <- function(field, b, steps, turns = 2L) {
  field <- sky_psf_normals(field, b, steps)
  for (turn in seq_len(turns)) {
    warp <- sky_psf_warp(field, b)
    if (is.null(warp)) return(field)
    field$images[[b]]$warp <- warp
    field <- sky_psf_normals(field, b, steps)
  }
  field
}

# As many normals as BIC asks for: each has a weight and a covariance.
sky_psf_normals <- function(field, b, steps, most = 4L) {
  stars <- psf_stars(field, b)
  if (length(stars) == 0) return(field)
  image <- field$images[[b]]
  model <- sky_model(field)
  electrons <- field$sources$theta[image$band, stars] * mean(image$exposure)
  electrons <- sum(electrons / (1 + electrons / 1e5)) # as src/sky/psf.c counts them
  best <- NULL
  for (k in seq_len(most)) {
    start <- if (length(image$psf$weight) == k) image$psf else spread_psf(psf_sd(image$psf), k)
    found <- .Call(C_sky_psf, model, as.integer(b), stars, psf_for_c(start), steps)
    found$criterion <- found$value - 2 * k * log(electrons)
    if (!is.null(best) && !(found$criterion > best$criterion)) break
    best <- found
  }
  field$images[[b]]$psf <- psf_from_c(best$weight, best$covariance)
  field$sources$theta <- best$theta
  field
}

# The warp of the point-spread function over the image (src/sky/types.h): each star's own l, a and b
# are a polynomial of its place, and a scatter of their own, which is also what the normals fail to
# describe. The degree, 0, 1 or 2, is that of the best BIC. NULL where it is 0.
sky_psf_warp <- function(field, b, fewest = 8) {
  stars <- psf_stars(field, b, most = 200)
  if (length(stars) < fewest) return(NULL)
  image <- field$images[[b]]
  told <- .Call(C_sky_warp, sky_model(field), as.integer(b), stars)
  basis <- warp_basis(image, to_image(image, field$sources$theta[length(field$bands) + 1:2, stars]))
  now <- if (is.null(image$warp)) matrix(0, 6, 3) else matrix(image$warp, 6)
  seen <- lapply(seq_along(stars), function(o) {
    V <- tryCatch(solve(told$information[, , o]), error = function(e) NULL)
    if (is.null(V)) return(NULL)
    list(place = basis[o, ], at = drop(basis[o, ] %*% now) + drop(V %*% told$score[, o]), V = V)
  })
  seen <- Filter(Negate(is.null), seen)
  if (length(seen) < fewest) return(NULL)
  fits <- lapply(list(1, 1:3, 1:6), warp_fit, seen = seen)
  criterion <- vapply(fits, `[[`, 0, "criterion")
  best <- fits[[which.min(criterion)]]
  if (nrow(best$coefficients) == 1) return(NULL)
  warp <- matrix(0, 6, 3)
  warp[seq_len(nrow(best$coefficients)), ] <- best$coefficients
  warp[1, ] <- 0 # what is so everywhere belongs to the normals
  as.double(warp)
}

warp_basis <- function(image, at) {
  u <- (2 * at[1, ] - 1) / image$nx - 1
  v <- (2 * at[2, ] - 1) / image$ny - 1
  cbind(1, u, v, u^2, u * v, v^2)
}

# Weighted regression of what is seen at each star on some of the basis, with a scatter estimated by
# marginal maximum likelihood; stars beyond five standard deviations are left out.
warp_fit <- function(columns, seen) {
  place <- do.call(rbind, lapply(seen, function(one) one$place[columns]))
  at <- do.call(rbind, lapply(seen, `[[`, "at"))
  V <- lapply(seen, `[[`, "V")
  used <- rep(TRUE, length(seen))
  solve_at <- function(scatter) {
    weight <- lapply(V, function(v) solve(v + scatter^2 * diag(3)))
    X <- lapply(seq_along(V), function(o) kronecker(diag(3), place[o, , drop = FALSE]))
    A <- Reduce(`+`, Map(function(x, w) t(x) %*% w %*% x, X[used], weight[used]))
    r <- Reduce(`+`, lapply(which(used), function(o) t(X[[o]]) %*% weight[[o]] %*% at[o, ]))
    coefficients <- matrix(solve(A, r), length(columns))
    residual <- at - place %*% coefficients
    squares <- vapply(seq_along(V), function(o) {
      drop(residual[o, ] %*% weight[[o]] %*% residual[o, ])
    }, 0)
    log_det <- vapply(weight, function(w) determinant(w)$modulus[1], 0)
    list(coefficients = coefficients, squares = squares,
         value = sum(squares[used] - log_det[used]))
  }
  for (round in 1:2) {
    scatter <- exp(stats::optimize(function(s) solve_at(exp(s))$value, log(c(1e-4, 0.3)))$minimum)
    found <- solve_at(scatter)
    used <- found$squares < 25
    if (sum(used) < 3 * length(columns)) return(list(criterion = Inf))
  }
  found <- solve_at(scatter)
  c(found, criterion = found$value + sum(!used) * 25 + 3 * length(columns) * log(3 * length(V)))
}

# Where no stars tell it.
usual_doubt <- 0.03

# By which share the model of the light of sources is off, image by image: of bright stars, by how
# much the squared residuals exceed what photons alone would give, over the squared light.
sky_doubt <- function(field, half = 4) {
  means <- sky_means(field)
  for (b in seq_along(field$images)) {
    image <- field$images[[b]]
    stars <- psf_stars(field, b)
    at <- round(to_image(image, field$sources$theta[length(field$bands) + 1:2, stars,
                                                    drop = FALSE]))
    excess <- vapply(seq_along(stars), function(o) {
      i <- seq(max(1, at[1, o] - half), min(image$nx, at[1, o] + half))
      j <- seq(max(1, at[2, o] - half), min(image$ny, at[2, o] + half))
      pixels <- as.vector(outer(i, (j - 1) * image$nx, `+`))
      pixels <- pixels[image$use[pixels] > 0]
      mean <- means[[b]][pixels]
      light <- mean - sky_level_at(field, b, at[1, o], at[2, o])
      sum((image$count[pixels] - mean)^2 - mean) / sum(light^2)
    }, 0)
    field$images[[b]]$doubt <- if (length(stars) < 5) usual_doubt else
      sqrt(min(max(stats::median(excess), 1e-4), 0.01))
  }
  field
}

# Round normals of several sizes about a core.
spread_psf <- function(core, k) {
  size <- (c(0.85, 1.3, 2.2, 4.5)[seq_len(k)] * core)^2
  weight <- c(0.6, 0.3, 0.08, 0.02)[seq_len(k)]
  if (k == 1) size <- core^2
  list(weight = weight / sum(weight), mean = matrix(0, k, 2), covariance = outer(size, diag(2)))
}

# ---- all of it -----------------------------------------------------------------------------------

first_field <- function(images, threads) {
  field <- sky_field(images, threads)
  field$node <- unlist(lapply(field$images, first_sky))
  if (is.null(field$node)) field$node <- numeric()
  field$free_psf <- vapply(field$images, function(image) is.null(image$psf), NA)
  for (b in which(field$free_psf)) {
    psf <- first_psf(field, b)
    field$images[[b]]$psf <- if (is.null(psf)) round_psf(1.5) else psf
  }
  field$cosmics <- vector("list", length(field$images))
  for (b in seq_along(field$images)) field <- without_cosmics(field, b)
  sky_register(field)
}

# Rounds of finding and fitting until the image has no more to show.
sky_search <- function(field, galaxies, tell, rounds = 6L) {
  types <- type_bits(galaxies)
  for (round in seq_len(rounds)) {
    peaks <- new_peaks(field, if (round == 1) 5 else 4, if (round == 1) 0 else 0.05, galaxies)
    before <- ncol(field$sources$theta)
    field$sources <- append_sources(field$sources, peaks_as_sources(peaks, field))
    tell(sprintf("round %d: %d sources", round, ncol(field$sources$theta)))
    if (is.null(field$law)) field$law <- sky_law(field, galaxies)
    if (ncol(field$sources$theta) == 0) return(field)
    if (round > 1 && nrow(peaks) == 0) break
    if (round == 1) field <- sky_psf_steps(sky_em(sky_sweep(field, 1L), 3L), 60L) # stars alone
    field <- sky_doubt(field)
    field <- sky_sweep(field, types, affected(field, before), remove = TRUE)
    if (ncol(field$sources$theta) == 0) return(field)
    if (round == 1) field$law <- sky_law(field, galaxies)
    field <- sky_em(field, 3L)
    # To the end: EM of normals within each other is slow, and short of it their light is too wide.
    if (round <= 2) field <- sky_psf_steps(field, 1000L)
    if (round > 1 && ncol(field$sources$theta) <= before) break
  }
  field <- sky_sweep(sky_doubt(field), types, remove = TRUE)
  field$law <- sky_law(field, galaxies)
  sky_sweep(field, types, remove = TRUE)
}

sky_psf_steps <- function(field, most) {
  for (b in which(field$free_psf)) field <- sky_psf_step(field, b, most)
  field
}

# Sources beyond the first `before`, and those near them, the brightest first.
affected <- function(field, before) {
  theta <- field$sources$theta
  B <- length(field$bands)
  far <- 10 * psf_sd(field$images[[1]]$psf)
  new <- seq_len(ncol(theta)) > before
  near <- new | vapply(seq_len(ncol(theta)), function(s) {
    any((theta[B + 1, new] - theta[B + 1, s])^2 + (theta[B + 2, new] - theta[B + 2, s])^2 < far^2)
  }, NA)
  order <- order(theta[1, ], decreasing = TRUE)
  order[near[order]]
}

# Beside its neighbours, which would take over its light, a source may be less certain than it
# seemed with them held: its evidence by the joint information (Wald's gain, Laplace's volume). Of
# those below 0 the least certain of each neighbourhood goes.
without_doubtful <- function(field) {
  n <- ncol(field$sources$theta)
  if (n == 0) return(field)
  B <- length(field$bands)
  rigid <- field # how a galaxy's light is spread does not make it doubtful that there is some
  rigid$sources$held <- bitwOr(rigid$sources$held, 2L)
  about <- .Call(C_sky_information, sky_model(rigid), 1L)
  if (about$information_status < 0) return(field)
  flux <- seq_len(B)
  place <- c(flux, B + 1:2)
  law <- field$law
  evidence <- vapply(seq_len(n), function(s) {
    V <- about$covariance[place, place, s]
    light <- field$sources$theta[flux, s]
    if (any(diag(V) <= 0)) return(0)
    # What pixels vary more than photons do (src/sky/local.h).
    spread <- max(field$told[3, s], 1, na.rm = TRUE)
    what <- 1 + (field$sources$type[s] > 0L)
    sum(light * solve(V[flux, flux], light)) / 2 / spread + log(law$density) +
      length(place) / 2 * log(2 * pi * spread) + sum(log(diag(chol(V)))) +
      sum(stats::dlnorm(light, law$flux_mean[what], law$flux_sd, log = TRUE))
  }, 0)
  at <- field$sources$theta[B + 1:2, , drop = FALSE]
  far <- 8 * psf_sd(field$images[[1]]$psf)
  # A galaxy that lies in the light of others is a piece of them that their profiles lack.
  own <- about$quality[1, ]
  piece <- field$sources$type > 0L & (own < 0.5) %in% TRUE
  evidence[piece] <- pmin(evidence[piece], 2 * own[piece] - 1)
  doubtful <- evidence < 0
  gone <- vapply(seq_len(n), function(s) {
    near <- doubtful & (at[1, ] - at[1, s])^2 + (at[2, ] - at[2, s])^2 < far^2
    doubtful[s] && evidence[s] <= min(evidence[near])
  }, NA)
  keep_sources(field, !gone)
}
