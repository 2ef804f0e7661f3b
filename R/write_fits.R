#' Write a catalogue as a FITS table
#'
#' A binary table that astronomers' programs read (TOPCAT, astropy, DS9). For text, use
#' [write.csv()].
#'
#' @param x a data frame, as [catalog()] gives it: columns of numbers, whole numbers, `TRUE` and
#'   `FALSE`, or words.
#' @param file a name for the file.
#' @param name the name of the table, at most 60 characters.
#' @return `file`, invisibly. Numbers are doubles (`D`), `NA` is NaN; whole numbers `J`, `NA`
#'   being the value in `TNULL`; logical columns `L`; words `A`.
#' @section Errors:
#' `elbo_error_argument` for what is no data frame, for columns that are none of these, and for a
#' name that is not a word.
#' @references
#' Pence, W. D., Chiappetti, L., Page, C. G., Shaw, R. A. and Stobie, E. (2010). Definition of the
#' Flexible Image Transport System (FITS), version 3.0. *Astronomy and Astrophysics* 524, A42.
#' \doi{10.1051/0004-6361/201015362}
#' @family catalogues
#' @examples
#' set.seed(1)
#' fit <- fit_sky(sim_sky(64, 64, n = 4))
#' file <- tempfile(fileext = ".fits")
#' write_fits(catalog(fit), file)
#' @export
write_fits <- function(x, file, name = "CATALOG") {
  check_data_frame(x, "x")
  check(is.character(file) && length(file) == 1 && !is.na(file), "file", "the name of a file", file)
  word <- is.character(name) && length(name) == 1 && !is.na(name) && nchar(name) <= 60 &&
    grepl("^[ -~]*$", name)
  check(word, "name", "a word of at most 60 plain characters", name)
  columns <- Map(fits_column, x, names(x))
  width <- sum(vapply(columns, `[[`, 0, "width"))
  bytes <- lapply(columns, function(column) matrix(column$bytes, nrow = column$width))
  rows <- if (length(bytes) > 0) do.call(rbind, bytes) else raw()
  con <- file(file, "wb")
  on.exit(close(con))
  writeBin(fits_cards(c("SIMPLE  =                    T", fits_card("BITPIX", 8),
                         fits_card("NAXIS", 0), "EXTEND  =                    T")), con)
  writeBin(fits_cards(c(
    fits_card("XTENSION", "BINTABLE"), fits_card("BITPIX", 8), fits_card("NAXIS", 2),
    fits_card("NAXIS1", width), fits_card("NAXIS2", nrow(x)), fits_card("PCOUNT", 0),
    fits_card("GCOUNT", 1), fits_card("TFIELDS", ncol(x)), fits_card("EXTNAME", name),
    unlist(Map(fits_column_cards, columns, names(x), seq_along(columns)))
  )), con)
  writeBin(as.raw(rows), con)
  writeBin(raw(-length(rows) %% 2880), con)
  invisible(file)
}

fits_card <- function(key, value) {
  text <- if (is.character(value)) sprintf("'%-8s'", gsub("'", "''", value)) else
    sprintf("%20s", format(value, scientific = FALSE))
  sprintf("%-8s= %s", key, text)
}

# Cards of 80 characters, an END, blanks up to a multiple of 2880.
fits_cards <- function(cards) {
  text <- paste(formatC(c(cards, "END"), width = -80), collapse = "")
  charToRaw(formatC(text, width = -2880 * ceiling(nchar(text) / 2880)))
}

fits_column_cards <- function(column, name, i) {
  c(fits_card(paste0("TTYPE", i), enc2utf8(name)), fits_card(paste0("TFORM", i), column$form),
    if (column$form == "J") fits_card(paste0("TNULL", i), -.Machine$integer.max - 1))
}

# list(form, width, bytes): the bytes of a column, big end first.
fits_column <- function(x, name) {
  if (is.factor(x)) x <- as.character(x)
  ok <- is.null(dim(x)) && (is.numeric(x) || is.logical(x) || is.character(x)) &&
    grepl("^[ -~]*$", name) && nchar(name) <= 60
  if (!ok) {
    abort(sprintf("Column `%s` of `x` must be numbers, TRUE and FALSE or words. Leave it out.",
                  name), "elbo_error_argument")
  }
  if (is.character(x)) {
    x <- iconv(ifelse(is.na(x), "", x), to = "ASCII", sub = "?")
    width <- max(nchar(x), 1)
    return(list(form = paste0(width, "A"), width = width,
                bytes = charToRaw(paste(formatC(x, width = -width), collapse = ""))))
  }
  if (is.logical(x) && !all(is.na(x))) {
    return(list(form = "L", width = 1,
                bytes = charToRaw(paste(ifelse(is.na(x), " ", ifelse(x, "T", "F")),
                                        collapse = ""))))
  }
  if (is.integer(x)) {
    return(list(form = "J", width = 4, bytes = writeBin(x, raw(), endian = "big")))
  }
  list(form = "D", width = 8,
       bytes = writeBin(ifelse(is.na(x), NaN, as.double(x)), raw(), endian = "big"))
}
