# Numbers and tables as text, for print().
#
#   shown_decimals(estimate, se)    how many decimals an estimate deserves
#   decimal_text(x, decimals)       a column of values, aligned
#   fixed_text(x, digits), signif_text(x, digits), count_text(n)
#   table_lines(columns)            a list (or data frame) of columns of text as lines
#   beside(left, right, gap)        two blocks of lines beside each other
#   write_wrapped(text), write_parts(statement, remark)    to the width of the screen

# Decimals at which an estimate and its standard error are shown: two significant digits of the
# standard error, three of the larger of the two, and of an estimate alone.
shown_decimals <- function(estimate, se) {
  if (length(estimate) == 0) return(numeric(0)) # which round() refuses
  digits <- function(x, wanted) wanted - 1 - floor(log10(x))
  decimals <- pmax(digits(se, 2), digits(pmax(abs(estimate), se), 3), 0)
  # An estimate beside a large standard error is not rounded to nothing.
  lost <- which(decimals < 2 & estimate != 0 & round(estimate, decimals) == 0)
  decimals[lost] <- pmin(digits(abs(estimate[lost]), 2), decimals[lost] + 3)
  alone <- which(!is.finite(decimals) | se == 0)
  text <- vapply(estimate[alone], format, "", digits = 3, scientific = FALSE)
  decimals[alone] <- nchar(sub("^[^.,]*[.,]?", "", text))
  decimals
}

# A column of values with the decimal points below each other; blank where there is none.
decimal_text <- function(x, decimals) {
  text <- fixed_text(x, decimals)
  extreme <- which(is.finite(x) & (decimals > 6 | abs(x) >= 1e7))
  text[extreme] <- formatC(x[extreme], format = "e", digits = 2)
  text[is.na(x)] <- ""
  align_decimals(text)
}

align_decimals <- function(text) {
  if (length(text) == 0) return(text)
  after <- nchar(sub("^[^.,]*", "", text)) # a comma where options(OutDec) says so
  before <- nchar(text) - after
  formatC(paste0(text, strrep(" ", max(after) - after)), width = max(before) + max(after))
}

fixed_text <- function(x, digits) {
  vapply(seq_along(x), function(i) {
    formatC(x[[i]], format = "f", digits = rep_len(digits, length(x))[i])
  }, "")
}

# A whole number, with its thousands apart.
count_text <- function(n) {
  mark <- if (getOption("OutDec") == ",") "." else ","
  vapply(n, function(n) formatC(n, format = "f", digits = 0, big.mark = mark), "")
}

signif_text <- function(x, digits) vapply(unname(x), format, "", digits = digits)

# Columns of text, the first of them of names, as lines; with a header if they are named.
table_lines <- function(columns) {
  columns <- as.list(columns)
  if (!is.null(names(columns))) columns <- Map(c, names(columns), columns)
  widths <- vapply(columns, function(column) max(nchar(column)), 0)
  columns[[1]] <- formatC(columns[[1]], width = -widths[1])
  columns[-1] <- Map(function(column, width) formatC(column, width = width),
                     columns[-1], widths[-1])
  do.call(paste, c(unname(columns), sep = "  "))
}

# Two blocks of lines beside each other.
beside <- function(left, right, gap) {
  if (length(left) == 0 || length(right) == 0) return(c(left, right))
  n <- max(length(left), length(right))
  left <- c(left, rep("", n - length(left)))
  right <- c(right, rep("", n - length(right)))
  trimws(paste0(formatC(left, width = -max(nchar(left))), gap, right), "right")
}

# strwrap() breaks before the width it is given.
write_wrapped <- function(text) {
  writeLines(strwrap(text, getOption("width") + 1, exdent = 2))
}

# A statement and a remark, on one line if there is room.
write_parts <- function(statement, remark) {
  line <- paste0(statement, "   ", remark)
  if (nchar(line) <= getOption("width")) return(writeLines(line))
  write_wrapped(statement)
  writeLines(strwrap(remark, getOption("width") + 1, indent = 2, exdent = 2))
}
