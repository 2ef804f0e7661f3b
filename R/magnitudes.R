# The one check of magnitudes, for every model. Results are squared (variances, covariances of
# estimates), and double precision holds numbers from 1e-308 to 1e308: so what the data are measured
# in, and what the estimates will be measured in, must lie within 1e-150 and 1e150. Within, fits do
# not depend on units.
#
#   column_sizes(columns)      the largest absolute value of each column of a named list of vectors
#                              and matrices, read once; NULL is passed over
#   check_magnitudes(sizes)    of what column_sizes() gave
#   check_ratios(y, x, weight) sizes of estimates: response / column, and response * sqrt(weight)

magnitude_limits <- c(1e-152, 1e152) # a column of the size 1e150 has values some times larger

column_sizes <- function(columns) {
  columns <- Filter(length, as.list(columns))
  if (is.null(names(columns))) names(columns) <- rep("", length(columns))
  sizes <- Map(function(x, name) {
    if (is.integer(x) || is.logical(x)) storage.mode(x) <- "double"
    size <- .Call(C_column_sizes, x)
    stats::setNames(size, if (is.matrix(x)) colnames(x) else name)
  }, columns, names(columns))
  c(numeric(), unlist(unname(sizes)))
}

check_magnitudes <- function(sizes) {
  size <- sizes[sizes > 0] # zeros have no unit
  bad <- size[!(size >= magnitude_limits[1] & size <= magnitude_limits[2])]
  if (length(bad) == 0) return(invisible())
  abort(c(sprintf("The values of `%s` are of the size %.0e, outside 1e-150 to 1e150, so that their",
                  names(bad)[1], bad[1]), "squares are no numbers.",
          change_unit(names(bad)[1], bad[[1]])), "elbo_error_data")
}

# Infinite where a product of columns has overflowed.
change_unit <- function(name, size) {
  if (!is.finite(size)) return("Change the units of the variables in it.")
  sprintf("Change the unit: divide `%s` by %.0e.", name, 10^max(floor(log10(size)), -307))
}

check_ratios <- function(y, x, weight = numeric()) {
  if (y == 0) return(invisible())
  x <- x[x > 0]
  sizes <- c(log10(y[[1]]) - log10(x), log10(y[[1]]) + log10(weight) / 2)
  limits <- log10(magnitude_limits)
  bad <- sizes[sizes < limits[1] | sizes > limits[2]]
  if (length(bad) == 0) return(invisible())
  name <- names(bad)[1]
  what <- if (name == "weights") "the residual standard deviation"
          else sprintf("the coefficient of `%s`", name)
  abort(c(sprintf("With `%s` and `%s` in these units %s would be of the size 1e%+.0f, outside",
                  names(y), name, what, bad[[1]]),
          "1e-150 to 1e150, so that its variance is no number.", change_unit(names(y), y[[1]])),
        "elbo_error_data")
}
