# A FITS file of 80-character cards in blocks of 2,880 bytes (Pence et al. 2010, section 4), written
# here by hand: 32-bit reals, most significant byte first.
write_plain_fits <- function(pixels, cards = character(), file = tempfile(fileext = ".fits")) {
  header <- c("SIMPLE  =                    T", "BITPIX  =                  -64",
              "NAXIS   =                    2", sprintf("NAXIS%d  = %20d", 1:2, dim(pixels)), cards,
              "END")
  header <- formatC(header, width = -80)
  header <- c(header, rep(strrep(" ", 80), -length(header) %% 36))
  to <- base::file(file, "wb")
  on.exit(close(to))
  writeBin(charToRaw(paste(header, collapse = "")), to)
  writeBin(as.double(pixels), to, endian = "big")
  writeBin(raw((-8 * length(pixels)) %% 2880), to)
  file
}

counts <- matrix(50 + (1:120) %% 7, 12, 10)

test_that("pixels, and what the header says of the camera, are read", {
  skip_if_not_installed("FITSio")
  cards <- c("GAIN    =                  2.5", "RDNOISE =                  4.0",
             "SATURATE=              60000.0", "FILTER  = 'R       '",
             "MAGZERO =                 25.1")
  file <- write_plain_fits(counts, cards)
  image <- read_fits(file)
  expect_identical(image$counts, counts)
  expect_identical(image$gain, 2.5)
  expect_identical(image$read_noise, 4)
  expect_identical(image$saturation, 60000)
  expect_identical(image$band, "R")
  expect_identical(image$zero_point, 25.1)
  expect_null(image$wcs)
  given <- read_fits(file, gain = 1, band = "V", cut = c(3, 8, 2, 5))
  expect_identical(given$gain, 1)
  expect_identical(given$band, "V")
  expect_identical(given$counts, counts[3:8, 2:5])
  expect_identical(given$origin, c(3, 2))
})

test_that("compressed files are read as plain ones", {
  skip_if_not_installed("FITSio")
  file <- write_plain_fits(counts)
  bytes <- readBin(file, "raw", file.size(file))
  for (open in list(gzfile, bzfile, xzfile)) {
    packed <- tempfile()
    to <- open(packed, "wb")
    writeBin(bytes, to)
    close(to)
    expect_identical(read_fits(packed)$counts, counts)
  }
})

test_that("pixels that are not finite are masked", {
  skip_if_not_installed("FITSio")
  holes <- counts
  holes[3, 4] <- NaN
  image <- read_fits(write_plain_fits(holes))
  expect_identical(which(image$mask), which(is.nan(holes)))
})

test_that("world coordinates by CD, by CDELT and PC, and by CDELT and CROTA2 are the same", {
  skip_if_not_installed("FITSio")
  turn <- 20 * pi / 180
  step <- c(-1e-4, 1e-4)
  card <- function(name, value) sprintf("%-8s= %20.13E", name, value)
  common <- c("CTYPE1  = 'RA---TAN'", "CTYPE2  = 'DEC--TAN'", card("CRVAL1", 210),
              card("CRVAL2", 54), card("CRPIX1", 6), card("CRPIX2", 5))
  # Calabretta and Greisen (2002), equations 187 to 189.
  cd <- rbind(c(step[1] * cos(turn), -step[2] * sin(turn)),
              c(step[1] * sin(turn), step[2] * cos(turn)))
  pc <- cd / step
  cards <- list(
    c(common, card("CD1_1", cd[1, 1]), card("CD1_2", cd[1, 2]), card("CD2_1", cd[2, 1]),
      card("CD2_2", cd[2, 2])),
    c(common, card("CDELT1", step[1]), card("CDELT2", step[2]), card("PC1_1", pc[1, 1]),
      card("PC1_2", pc[1, 2]), card("PC2_1", pc[2, 1]), card("PC2_2", pc[2, 2])),
    c(common, card("CDELT1", step[1]), card("CDELT2", step[2]), card("CROTA2", 20))
  )
  for (one in cards) {
    wcs <- read_fits(write_plain_fits(counts, one))$wcs
    expect_equal(wcs$cd, cd, tolerance = 1e-12, ignore_attr = TRUE)
    expect_equal(unname(wcs$crval), c(210, 54))
    expect_equal(unname(wcs$crpix), c(6, 5))
  }
})

test_that("what cannot be read is an error that says why", {
  skip_if_not_installed("FITSio")
  expect_error(read_fits("no such file"), "no such file", class = "elbo_error_argument")
  expect_error(read_fits(3), class = "elbo_error_argument")
  text <- tempfile()
  writeLines("not an image", text)
  expect_error(read_fits(text), "no FITS file", class = "elbo_error_image")
  file <- write_plain_fits(counts)
  expect_error(read_fits(file, hdu = 2), "hdu", class = "elbo_error_image")
  expect_error(read_fits(file, cut = c(1, 99, 1, 5)), "cut", class = "elbo_error_argument")
  expect_error(read_fits(file, mask = matrix(FALSE, 2, 2)), "mask", class = "elbo_error_argument")
})

test_that("a frame of SDSS is turned back into counts", {
  skip_if_not_installed("FITSio")
  frame <- shared_file("stripe82", "frame-r-000094-1-0012.fits.bz2")
  image <- read_fits(frame, cut = c(1, 300, 1, 300))
  expect_identical(dim(image), c(300L, 300L))
  expect_identical(image$band, "r")
  expect_equal(image$gain, 4.71)
  expect_equal(image$zero_point, 22.5)
  # The sky that was subtracted, 183 counts, and the variance of empty sky by differences of
  # neighbours, 39.6 squared counts (the data's own README).
  expect_equal(median(image$counts), 183, tolerance = 0.005)
  difference <- image$counts[-1, ] - image$counts[-300, ]
  expect_equal(mad(difference)^2 / 2, 39.6, tolerance = 0.05)
})
