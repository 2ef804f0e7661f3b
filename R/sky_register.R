# Where each image looks. World coordinates, or the origin, say it up to some pixels; the rest is
# told by bright sources that the first image and another one share.
#
#   sky_register(field)   the field, the affine map of each further image mended

sky_register <- function(field) {
  if (length(field$images) == 1) return(field)
  first <- bright_positions(field, 1)
  for (b in seq_along(field$images)[-1]) {
    there <- bright_positions(field, b)
    affine <- registered(field$images[[b]], first, there)
    if (!is.null(affine)) field$images[[b]]$affine <- affine
  }
  field
}

# A field of one image, in its own pixels.
only_image <- function(field, b) {
  skip <- sum(vapply(field$images[seq_len(b - 1)], function(o) o$mesh_x * o$mesh_y, 0))
  own <- field$images[[b]]$mesh_x * field$images[[b]]$mesh_y
  field$images <- field$images[b]
  field$images[[1]]$affine <- c(0, 0, 1, 0, 0, 1)
  field$node <- field$node[skip + seq_len(own)]
  field$sources <- no_sources(length(field$bands))
  field
}

# Positions (2 x n) of the brightest lone peaks of an image in its own pixels.
bright_positions <- function(field, b, most = 80, least = 10) {
  only <- only_image(field, b)
  peaks <- apart_from(sky_peaks(only, least = least, doubt = 0), numeric(), numeric(), 4)
  peaks <- utils::head(peaks, most)
  at <- vapply(seq_len(nrow(peaks)), function(i) {
    peak_width(only, 1L, peaks$x[i], peaks$y[i], peaks$flux[i])[c("x", "y")]
  }, numeric(2))
  at <- matrix(at, 2)
  moved <- sqrt(colSums((at - rbind(peaks$x, peaks$y))^2))
  at[, (moved < 2) %in% TRUE, drop = FALSE]
}

# The affine map of an image, or NULL where it shares too few sources with the first: the commonest
# offset between where sources of the first are expected and those of this one; then regression on
# the pairs within a pixel and a half of each other, of a shift, or with many pairs of all six
# numbers.
registered <- function(image, first, there, search = 40, near = 1.5, fewest = 4, many = 15) {
  if (ncol(first) < fewest || ncol(there) < fewest) return(NULL)
  expected <- to_image(image, first)
  dx <- outer(there[1, ], expected[1, ], `-`)
  dy <- outer(there[2, ], expected[2, ], `-`)
  pairs <- which(abs(dx) < search & abs(dy) < search, arr.ind = TRUE)
  if (nrow(pairs) < fewest) return(NULL)
  offset <- cbind(dx[pairs], dy[pairs])
  votes <- vapply(seq_len(nrow(offset)), function(i) {
    sum((offset[, 1] - offset[i, 1])^2 + (offset[, 2] - offset[i, 2])^2 < near^2)
  }, 0)
  if (max(votes) < fewest) return(NULL)
  best <- offset[which.max(votes), ]
  pairs <- pairs[(offset[, 1] - best[1])^2 + (offset[, 2] - best[2])^2 < near^2, , drop = FALSE]
  shift <- there[, pairs[, 1], drop = FALSE] - expected[, pairs[, 2], drop = FALSE]
  X <- cbind(1, t(first[, pairs[, 2], drop = FALSE]))
  if (nrow(pairs) < many) X <- X[, 1, drop = FALSE]
  used <- rep(TRUE, nrow(pairs))
  for (round in 1:3) {
    slopes <- stats::lm.fit(X[used, , drop = FALSE], t(shift)[used, , drop = FALSE])$coefficients
    off <- sqrt(rowSums((t(shift) - X %*% slopes)^2))
    used <- off <= max(0.05, 4 * stats::median(off))
  }
  slopes <- rbind(slopes, matrix(0, 3 - ncol(X), 2))
  image$affine + c(slopes[1, ], slopes[2:3, 1], slopes[2:3, 2])
}
