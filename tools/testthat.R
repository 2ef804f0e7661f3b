# The testthat suite on the installed package; the last line is "N passed, N failed, N skipped",
# where an expectation counts once, and a test that stopped with an error as one failure.
Sys.setenv(NOT_CRAN = "true")
results <- as.data.frame(testthat::test_dir(
  "tests/testthat", package = "elbo", load_package = "installed",
  reporter = testthat::CheckReporter, stop_on_failure = FALSE
))
failed <- sum(results$failed) + sum(results$error)
cat(sprintf("\n%d passed, %d failed, %d skipped\n", sum(results$passed), failed,
            sum(results$skipped)))
quit(status = as.integer(failed > 0))
