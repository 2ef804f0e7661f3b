# The testthat suite on the installed package; the last line is "N passed, N failed, N skipped",
# where an expectation counts once, and a test that stopped with an error as one failure.
#
# Usage: Rscript tools/testthat.R [FILTER]     only the files whose names have FILTER in them
#
# ELBO_TEST_LEVEL=0 leaves out what CRAN does not run either (skip_on_cran()); 1 runs all.
filter <- commandArgs(TRUE)
if (length(filter) == 0 || !nzchar(filter)) filter <- NULL
if (Sys.getenv("ELBO_TEST_LEVEL", "1") != "0") Sys.setenv(NOT_CRAN = "true")
files <- list.files("tests/testthat", "^test-.*[.]R$")
if (!is.null(filter) && !any(grepl(filter, files))) {
  cat("0 passed, 0 failed, 0 skipped\n")
  quit()
}
results <- as.data.frame(testthat::test_dir(
  "tests/testthat", package = "elbo", load_package = "installed", filter = filter,
  reporter = testthat::CheckReporter, stop_on_failure = FALSE
))
failed <- sum(results$failed) + sum(results$error)
cat(sprintf("\n%d passed, %d failed, %d skipped\n", sum(results$passed), failed,
            sum(results$skipped)))
quit(status = as.integer(failed > 0))
