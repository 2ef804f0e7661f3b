# The directory of data too large or too foreign for the package: `../shared/data` beside the
# checkout, or where the environment variable ELBO_DATA points. Tests that need it skip
# without it.
shared_file <- function(...) {
  roots <- Sys.getenv("ELBO_DATA", unset = NA)
  if (is.na(roots)) {
    # The suite runs in tests/testthat of the checkout, of an installed copy beside it, or of
    # R CMD check: look above each directory on the way up.
    up <- Reduce(function(path, i) dirname(path), 1:6, normalizePath("."), accumulate = TRUE)
    roots <- file.path(unique(up), "shared", "data")
  }
  file <- file.path(roots, ...)
  file <- file[file.exists(file)]
  if (length(file) == 0) {
    testthat::skip(paste("no shared data:", file.path(...)))
  }
  file[1]
}

read_shared <- function(...) utils::read.csv(shared_file(...))
