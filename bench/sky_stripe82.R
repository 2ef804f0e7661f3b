# A frame of SDSS's Stripe 82 against the coadd of many nights, beside SDSS's own Photo on the same
# frame: how many sources are found, whether what is found is there, magnitudes, positions, types,
# and how often one standard deviation holds the coadd's magnitude.
#
# Rscript bench/sky_stripe82.R folder [em|vb] [bands] [last column]
#   folder   with frame-*.fits.bz2, coadd_left.csv and photo_left.csv
#   bands    "r" (default), or several as "rgi": the first is the reference
library(elbo)

arguments <- commandArgs(TRUE)
folder <- arguments[1]
method <- if (length(arguments) > 1) arguments[2] else "em"
bands <- strsplit(if (length(arguments) > 2) arguments[3] else "r", "")[[1]]
columns <- if (length(arguments) > 3) as.integer(arguments[4]) else 1024L

read_band <- function(band) {
  file <- list.files(folder, sprintf("^frame-%s-.*fits.bz2$", band), full.names = TRUE)[1]
  read_fits(file, cut = c(1, min(2048, columns + 40), 1, 1489), band = band)
}

images <- lapply(bands, read_band)
time <- system.time(fit <- fit_sky(if (length(images) == 1) images[[1]] else images, method,
                                   control = elbo_control(threads = 2)))
found <- catalog(fit)
found$type <- found$p_galaxy > 0.5
coadd <- read.csv(file.path(folder, "coadd_left.csv"))
photo <- read.csv(file.path(folder, "photo_left.csv"))
coadd$mag <- coadd[[paste0("mag_", bands[1])]]
coadd$type <- coadd$star == 0
photo_flux <- ifelse(photo$type == 6, photo[[paste0("psfflux_", bands[1])]],
                     photo[[paste0("cmodelflux_", bands[1])]])
photo$mag <- 22.5 - 2.5 * log10(pmax(photo_flux, 1e-3))
photo$type <- photo$type == 3

# Pairs of two catalogues, each at most once, nearest first, the offset between them taken off.
match_up <- function(a, b, within = 1.5) {
  offset <- c(0, 0)
  for (turn in 1:3) {
    d <- sqrt(outer(a$x, b$x - offset[1], `-`)^2 + outer(a$y, b$y - offset[2], `-`)^2)
    pairs <- which(d < if (turn == 1) 3 else within, arr.ind = TRUE)
    pairs <- pairs[order(d[pairs]), , drop = FALSE]
    pairs <- pairs[!duplicated(pairs[, 1]) & !duplicated(pairs[, 2]), , drop = FALSE]
    if (turn < 3) {
      offset <- c(median(b$x[pairs[, 2]] - a$x[pairs[, 1]]),
                  median(b$y[pairs[, 2]] - a$y[pairs[, 1]]))
    }
  }
  list(a = pairs[, 1], b = pairs[, 2], distance = d[pairs], offset = offset)
}

inside <- function(x) x$x > 10 & x$x < min(columns, 1024) - 10 & x$y > 10 & x$y < 1479
edges <- c(19, 20, 21, 21.5, 22, 22.5)
bin <- function(mag) cut(mag, edges, right = FALSE)

score <- function(catalogue, other, sd = NULL) {
  pair <- match_up(coadd, catalogue)
  a <- coadd[pair$a, ]
  b <- catalogue[pair$b, ]
  use <- inside(a)
  there <- inside(coadd)
  real <- seq_len(nrow(catalogue)) %in% pair$b |
    seq_len(nrow(catalogue)) %in% match_up(other, catalogue)$b
  by <- function(x, f) round(as.vector(tapply(x, f, mean, na.rm = TRUE)), 3)
  median_by <- function(x, f) round(as.vector(tapply(x, f, median, na.rm = TRUE)), 3)
  table <- data.frame(
    mag = levels(bin(20)), n = as.vector(table(bin(coadd$mag[there]))),
    complete = by((seq_len(nrow(coadd)) %in% pair$a)[there], bin(coadd$mag[there])),
    dm = median_by(abs(b$mag - a$mag)[use], bin(a$mag[use])),
    position = median_by(pair$distance[use], bin(a$mag[use])),
    type = by((a$type == b$type)[use], bin(a$mag[use])),
    pure = by(real[inside(catalogue)], bin(catalogue$mag[inside(catalogue)]))
  )
  if (!is.null(sd)) table$within_1sd <- by((abs(b$mag - a$mag) < b$mag_sd)[use], bin(a$mag[use]))
  table
}

cat(sprintf("%s, bands %s, columns 1 to %d: %d sources, %.0f s of processor time\n", method,
            paste(bands, collapse = ""), columns, nrow(found), sum(time[1:2])))
print(score(found, photo, sd = TRUE), row.names = FALSE)
cat("Photo\n")
print(score(photo, found), row.names = FALSE)
