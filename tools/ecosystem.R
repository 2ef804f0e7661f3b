# The tests of the packages around, tests/ecosystem/test-<package>.R, each in an R process of its
# own; the last line is "N passed, N failed, N skipped".
#
# Usage: Rscript tools/ecosystem.R [PACKAGE...]
#
# A package that is not installed where R looks is taken from .build/ecosystem/lib, with the
# versions of its dependencies that are there, and skipped if it is not there either.
# .build/ecosystem/<package>.csv has what each of its tools did with each kind of fit.

tests_of <- function(package) file.path("tests", "ecosystem", sprintf("test-%s.R", package))
built <- file.path(".build", "ecosystem")
private <- file.path(built, "lib")

is_installed <- function(package, lib = NULL) length(find.package(package, lib, TRUE)) > 0

# In a process of its own, which run_one() marks by an environment variable.
run_here <- function(package) {
  Sys.setenv(NOT_CRAN = "true")
  env <- new.env(parent = asNamespace("elbo"))
  found <- as.data.frame(testthat::test_file(
    tests_of(package), package = "elbo", load_package = "installed",
    reporter = testthat::CheckReporter, stop_on_failure = FALSE, env = env
  ))
  rows <- do.call(rbind, env$tool_table$rows)
  file <- file.path(built, paste0(package, ".csv"))
  unlink(file)
  if (!is.null(rows)) {
    rows <- cbind(package = package, version = as.character(utils::packageVersion(package)), rows)
    utils::write.csv(rows, file, row.names = FALSE)
  }
  cat(sprintf("\ncounted %d %d %d\n", sum(found$passed), sum(found$failed) + sum(found$error),
              sum(found$skipped)))
}

# c(passed, failed, skipped) of one package; the output is shown if something failed.
run_one <- function(package) {
  where <- if (is_installed(package)) "" else if (is_installed(package, private)) private
  if (is.null(where)) {
    cat(sprintf("%-16s not installed\n", package))
    return(c(0, 0, 1))
  }
  libraries <- paste(c(normalizePath(where[nzchar(where)]), Sys.getenv("R_LIBS")), collapse = ":")
  said <- suppressWarnings(system2(
    file.path(R.home("bin"), "Rscript"), c("tools/ecosystem.R", package), stdout = TRUE,
    stderr = TRUE, env = c(paste0("R_LIBS=", shQuote(libraries)), "ELBO_ECOSYSTEM_CHILD=yes")
  ))
  count <- grep("^counted ", said, value = TRUE)
  count <- if (length(count) == 0) c(0, 1, 0)
           else as.numeric(strsplit(count, " ")[[1]][-1])
  if (count[2] > 0) writeLines(said)
  cat(sprintf("%-16s %4d passed %3d failed %3d skipped\n", package, count[1], count[2], count[3]))
  count
}

packages <- commandArgs(TRUE)
if (Sys.getenv("ELBO_ECOSYSTEM_CHILD") == "yes") {
  run_here(packages)
} else {
  if (length(packages) == 0) {
    packages <- sub("^test-(.*)\\.R$", "\\1", dir("tests/ecosystem", "^test-"))
  }
  dir.create(built, FALSE, TRUE)
  total <- Reduce(`+`, lapply(packages, run_one), c(0, 0, 0))
  cat(sprintf("%d passed, %d failed, %d skipped\n", total[1], total[2], total[3]))
  quit(status = as.integer(total[2] > 0))
}
