# FITS files to images of the sky. FITSio reads the bytes; what the cards of the header mean is
# here.

#' Read an image of the sky from a FITS file
#'
#' @details
#' Taken from the header, where it is there: the world coordinate system (the gnomonic projection,
#' `CTYPE` ending in `TAN`, with a `CD` matrix, or `CDELT` with a `PC` matrix or `CROTA2`), `GAIN`,
#' `RDNOISE` or `READNOIS`, `SATURATE`, `FILTER`, `MAGZERO` or `MAGZPT`. What is an argument goes
#' before the header. Pixels that are not finite, or have the header's `BLANK`, are masked.
#'
#' Corrected frames of the Sloan Digital Sky Survey, whose pixels are in nanomaggies with the sky
#' subtracted, are turned back into counts by their own calibration vector (HDU 2) and sky (HDU 3,
#' interpolated bilinearly as the survey's data model says): counts = image / calibration + sky. The
#' fluxes of sources are then in nanomaggies, with the zero point 22.5. Gain and dark variance are
#' those of the survey's table by camera column and filter (data model of `frame`). The sky is
#' estimated anew, unless `sky = TRUE`.
#'
#' @param file the name of a FITS file, which may be compressed (gz, bz2, xz).
#' @param hdu the number of the image in the file, 1 for the first.
#' @param cut `c(x1, x2, y1, y2)`, the pixels to keep, or `NULL`: all. Positions in the catalogue
#'   stay those of the whole image.
#' @param gain,read_noise,saturation,band,zero_point,psf,mask as in [sky_image()], where the header
#'   does not have them or has them wrong; `mask` is of the size of the whole image.
#' @param sky `TRUE`: the sky that the file says was subtracted is taken as known.
#' @return A [sky_image()].
#' @section Errors:
#' `elbo_error_not_available` without package FITSio; `elbo_error_image` for a file that is none, or
#' has no image there.
#' @references
#' Pence, W. D., Chiappetti, L., Page, C. G., Shaw, R. A. and Stobie, E. (2010). Definition of the
#' Flexible Image Transport System (FITS), version 3.0. *Astronomy and Astrophysics* 524, A42.
#' \doi{10.1051/0004-6361/201015362}
#'
#' Calabretta, M. R. and Greisen, E. W. (2002). Representations of celestial coordinates in FITS.
#' *Astronomy and Astrophysics* 395, 1077--1122. \doi{10.1051/0004-6361:20021327}
#' @family catalogues
#' @examplesIf requireNamespace("FITSio", quietly = TRUE)
#' file <- tempfile(fileext = ".fits")
#' set.seed(1)
#' FITSio::writeFITSim(sim_sky(64, 64, n = 5)$counts, file)
#' fit_sky(read_fits(file, psf = 1.5))
#' @export
read_fits <- function(file, hdu = 1, cut = NULL, gain = NULL, read_noise = NULL,
                      saturation = NULL, band = NULL, zero_point = NULL, psf = NULL, mask = NULL,
                      sky = FALSE) {
  named <- is.character(file) && length(file) == 1 && !is.na(file)
  check(named, "file", "the name of a file", file)
  check(is_whole(hdu) && hdu >= 1, "hdu", "a whole number of at least 1", hdu)
  check_flag(sky, "sky")
  path <- uncompressed(file)
  if (!identical(path, file)) on.exit(unlink(path))
  picture <- fits_image(path, hdu, file)
  header <- picture$header
  told <- fits_facts(header)
  counts <- picture$pixels
  if (is.null(mask)) mask <- matrix(FALSE, nrow(counts), ncol(counts))
  mask <- check_sky_mask(mask, counts) | picture$blank
  calibration <- NULL
  subtracted <- NULL
  if (is_sdss_frame(header)) {
    survey <- sdss_frame(path, header, dim(counts), file)
    counts <- counts / survey$calibration + survey$sky
    calibration <- survey$calibration
    subtracted <- survey$sky
    told[c("gain", "read_noise", "zero_point")] <- survey[c("gain", "read_noise", "zero_point")]
  }
  counts[mask] <- 0
  kept <- check_cut(cut, dim(counts))
  part <- function(x) if (is.matrix(x)) x[kept$x, kept$y, drop = FALSE] else x
  given <- list(gain = gain, read_noise = read_noise, saturation = saturation, band = band,
                zero_point = zero_point)
  told[names(Filter(Negate(is.null), given))] <- Filter(Negate(is.null), given)
  sky_image(part(counts), psf = psf, sky = if (sky) part(subtracted), gain = told$gain,
            mask = if (any(mask)) part(mask), band = told$band,
            origin = c(kept$x[1], kept$y[1]), wcs = told$wcs, zero_point = told$zero_point,
            saturation = told$saturation, read_noise = told$read_noise,
            calibration = calibration[if (length(calibration) > 1) kept$x else 1])
}

# FITSio reads plain files.
uncompressed <- function(file) {
  if (!file.exists(file) || dir.exists(file)) {
    abort(sprintf("`file` must be the name of a file, but there is no \"%s\".", file),
          "elbo_error_argument")
  }
  magic <- readBin(file, "raw", 3)
  packed <- list(as.raw(c(0x1f, 0x8b)), charToRaw("BZh"), as.raw(c(0xfd, 0x37, 0x7a)))
  is_packed <- vapply(packed, function(x) identical(magic[seq_along(x)], x), NA)
  if (!any(is_packed)) return(file)
  path <- tempfile(fileext = ".fits")
  from <- gzfile(file, "rb") # which reads all three
  to <- base::file(path, "wb")
  on.exit({
    close(from)
    close(to)
  })
  while (length(bytes <- readBin(from, "raw", 2^22)) > 0) writeBin(bytes, to)
  path
}

# One unit of a file, as FITSio has it.
read_hdu <- function(path, hdu, file) {
  if (!requireNamespace("FITSio", quietly = TRUE)) {
    abort(c("read_fits() needs package FITSio.", "Install it: install.packages(\"FITSio\")."),
          "elbo_error_not_available")
  }
  first <- readBin(path, "raw", 9)
  if (!identical(first, charToRaw("SIMPLE  ="))) {
    abort(sprintf("\"%s\" is no FITS file: it does not begin with SIMPLE.", file),
          "elbo_error_image")
  }
  open <- rownames(showConnections())
  tryCatch(suppressWarnings(FITSio::readFITS(path, hdu = hdu)), error = function(e) {
    # FITSio leaves its connection to a file that it cannot read.
    for (left in setdiff(rownames(showConnections()), open)) close(getConnection(as.integer(left)))
    abort(c(sprintf("\"%s\" cannot be read as FITS at `hdu` = %d.", file, as.integer(hdu)),
            sprintf("FITSio says: %s", conditionMessage(e))), "elbo_error_image")
  })
}

# list(pixels, header, blank)
fits_image <- function(path, hdu, file) {
  unit <- read_hdu(path, hdu, file)
  if (!is.matrix(unit$imDat) || length(unit$imDat) == 0) {
    size <- dim(unit$imDat)
    abort(c(sprintf("\"%s\" has no image of two dimensions at `hdu` = %d, but %s.", file,
                    as.integer(hdu), if (is.null(size)) "a table" else
                      paste("an array of", paste(size, collapse = " x "))),
            "Say by `hdu` which unit of the file is the image."), "elbo_error_image")
  }
  header <- fits_header(unit)
  blank <- !is.finite(unit$imDat)
  none <- card_number(header, "BLANK")
  if (!is.na(none) && isTRUE(card_number(header, "BITPIX") > 0)) {
    scale <- card_number(header, "BSCALE", 1)
    blank <- blank | unit$imDat == none * scale + card_number(header, "BZERO", 0)
  }
  list(pixels = unit$imDat, header = header, blank = blank)
}

# Keywords and values alternate.
fits_header <- function(unit) {
  key <- seq(1, length(unit$hdr) - 1, by = 2)
  stats::setNames(trimws(gsub("^'|'$", "", trimws(unit$hdr[key + 1]))), trimws(unit$hdr[key]))
}

card_number <- function(header, names, default = NA_real_) {
  value <- suppressWarnings(as.numeric(header[intersect(names, names(header))]))
  value <- value[is.finite(value)]
  if (length(value) == 0) default else value[1]
}

card_text <- function(header, name) {
  value <- unname(header[name])
  if (is.na(value) || !nzchar(value)) NULL else value
}

# What a header says of the arguments of sky_image().
fits_facts <- function(header) {
  positive <- function(names, default) {
    value <- card_number(header, names)
    if (is.na(value) || value <= 0) default else value
  }
  zero_point <- card_number(header, c("MAGZERO", "MAGZPT", "PHOTZP"))
  list(gain = positive(c("GAIN", "EGAIN"), 1),
       read_noise = positive(c("RDNOISE", "READNOIS", "RON"), 0),
       saturation = positive("SATURATE", Inf), band = card_text(header, "FILTER"),
       zero_point = if (is.na(zero_point)) NULL else zero_point, wcs = fits_wcs(header))
}

# Calabretta and Greisen (2002): a CD matrix, or CDELT times a rotation (PC, or CROTA2).
fits_wcs <- function(header) {
  gnomonic <- grepl("^RA.*TAN$", header["CTYPE1"]) && grepl("^DEC.*TAN$", header["CTYPE2"])
  if (!gnomonic) return(NULL)
  pair <- function(stem) vapply(paste0(stem, 1:2), card_number, 0, header = header)
  square <- function(stem, default) {
    name <- paste0(stem, c("1_1", "2_1", "1_2", "2_2"))
    if (!any(name %in% names(header))) return(NULL)
    matrix(mapply(function(name, value) card_number(header, name, value), name, default), 2)
  }
  cd <- square("CD", c(0, 0, 0, 0))
  if (is.null(cd)) {
    turn <- card_number(header, "CROTA2", 0) * pi / 180
    rotation <- square("PC", c(1, 0, 0, 1))
    step <- pair("CDELT")
    # CROTA2 turns after the axes are scaled, PC before.
    cd <- if (!is.null(rotation)) diag(step) %*% rotation else
      matrix(c(cos(turn), sin(turn), -sin(turn), cos(turn)), 2) %*% diag(step)
  }
  wcs <- list(crval = pair("CRVAL"), crpix = pair("CRPIX"), cd = cd)
  usable <- all(is.finite(unlist(wcs))) && det(cd) != 0
  if (usable) wcs else NULL
}

check_cut <- function(cut, size) {
  if (is.null(cut)) return(list(x = seq_len(size[1]), y = seq_len(size[2])))
  ok <- is.numeric(cut) && length(cut) == 4 && all(is.finite(cut)) && all(cut == round(cut)) &&
    cut[1] >= 1 && cut[1] <= cut[2] && cut[2] <= size[1] && cut[3] >= 1 && cut[3] <= cut[4] &&
    cut[4] <= size[2]
  check(ok, "cut", sprintf("whole numbers c(x1, x2, y1, y2) within 1 to %d and 1 to %d", size[1],
                           size[2]), cut)
  list(x = cut[1]:cut[2], y = cut[3]:cut[4])
}

# ---- the Sloan Digital Sky Survey ----------------------------------------------------------------

# Electrons a count, and dark variance in squared counts, by camera column and filter: the table of
# the survey's data model of `frame`.
sdss_gain <- rbind(
  u = c(1.62, 1.595, 1.59, 1.6, 1.47, 2.17), g = c(3.32, 3.855, 3.845, 3.995, 4.05, 4.035),
  r = c(4.71, 4.6, 4.72, 4.76, 4.725, 4.895), i = c(5.165, 6.565, 4.86, 4.885, 4.64, 4.76),
  z = c(4.745, 5.155, 4.885, 4.775, 3.48, 4.69)
)
sdss_dark <- rbind(
  u = c(9.61, 12.6025, 8.7025, 12.6025, 9.3025, 7.0225),
  g = c(15.6025, 1.44, 1.3225, 1.96, 1.1025, 1.8225),
  r = c(1.8225, 1, 1.3225, 1.3225, 0.81, 0.9025),
  i = c(7.84, 5.76, 4.6225, 6.25, 7.84, 5.0625), z = c(0.81, 1, 1, 9.61, 1.8225, 1.21)
)
# From these runs on other electronics.
sdss_later <- data.frame(
  what = c("gain", "dark", "dark", "dark", "dark"), band = c("u", "i", "i", "z", "z"),
  chip = c(2, 2, 4, 4, 5), run = c(1100, 1500, 1500, 1500, 1500),
  value = c(1.825, 6.25, 7.5625, 12.6025, 2.1025)
)

sdss_chip <- function(header) {
  band <- unname(header["FILTER"])
  chip <- card_number(header, "CAMCOL")
  of <- function(what, table) {
    later <- sdss_later$value[sdss_later$what == what & sdss_later$band == band &
                                sdss_later$chip == chip &
                                sdss_later$run <= card_number(header, "RUN", 0)]
    if (length(later) > 0) later else table[[band, chip]]
  }
  gain <- of("gain", sdss_gain)
  list(gain = gain, read_noise = sqrt(of("dark", sdss_dark)) * gain)
}

is_sdss_frame <- function(header) {
  identical(unname(header["BUNIT"]), "nanomaggy") &&
    isTRUE(card_number(header, "CAMCOL") %in% 1:6) &&
    isTRUE(unname(header["FILTER"]) %in% rownames(sdss_gain))
}

sdss_frame <- function(path, header, size, file) {
  calibration <- as.double(read_hdu(path, 2, file)$imDat)
  table <- read_hdu(path, 3, file)
  column <- function(name) as.double(unlist(table$col[match(name, table$colNames)]))
  sky <- column("ALLSKY")
  shape <- as.integer(regmatches(table$hdr, gregexpr("[0-9]+", table$hdr))[[
    match("TDIM1", table$hdr, nomatch = length(table$hdr) - 1) + 1
  ]])
  x <- column("XINTERP")
  y <- column("YINTERP")
  whole <- length(calibration) == size[1] && length(shape) == 2 && length(sky) == prod(shape) &&
    length(x) == size[1] && length(y) == size[2]
  if (!whole) {
    abort(c(sprintf("\"%s\" is a frame in nanomaggies, but its calibration (HDU 2) or its sky",
                    file), "(HDU 3) is not there: it cannot be turned back into counts."),
          "elbo_error_image")
  }
  c(list(calibration = calibration, sky = bilinear(matrix(sky, shape[1]), x, y),
         zero_point = 22.5), sdss_chip(header))
}

# A picture at columns x and rows y, counted from 0, constant beyond its edge.
bilinear <- function(picture, x, y) {
  weights <- function(at, n) {
    at <- pmin(pmax(at, 0), n - 1)
    low <- pmin(floor(at), n - 2)
    W <- matrix(0, length(at), n)
    W[cbind(seq_along(at), low + 1)] <- 1 - (at - low)
    W[cbind(seq_along(at), low + 2)] <- at - low
    W
  }
  weights(x, nrow(picture)) %*% picture %*% t(weights(y, ncol(picture)))
}
