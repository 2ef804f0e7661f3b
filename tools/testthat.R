# The testthat suite on the installed package; the last line is "N passed, N failed, N skipped",
# where an expectation counts once, and a test that stopped with an error, or a file whose process
# died, as one failure.
#
# Usage: Rscript tools/testthat.R [FILTER]     only the files whose names have FILTER in them
#
# Files run two at a time, each in a process of its own (CORES in the environment: that many), the
# largest first. ELBO_TEST_LEVEL=0 leaves out what CRAN does not run either (skip_on_cran()); 1
# runs all.
folder <- "tests/testthat"
filter <- commandArgs(TRUE)
files <- list.files(folder, "^test-.*[.]R$")
if (length(filter) && nzchar(filter)) files <- grep(filter, files, value = TRUE)
files <- files[order(file.size(file.path(folder, files)), decreasing = TRUE)]
if (Sys.getenv("ELBO_TEST_LEVEL", "1") != "0") Sys.setenv(NOT_CRAN = "true")

# Counts, and what was printed.
run_file <- function(file) {
  exactly <- paste0("^", gsub(".", "[.]", sub("^test-(.*)[.]R$", "\\1", file), fixed = TRUE), "$")
  printed <- utils::capture.output(found <- as.data.frame(testthat::test_dir(
    folder, package = "elbo", load_package = "installed", filter = exactly,
    reporter = testthat::CheckReporter, stop_on_failure = FALSE
  )))
  counts <- c(sum(found$passed), sum(found$failed) + sum(found$error), sum(found$skipped))
  cat(sprintf("%-44s %5d passed %3d failed %3d skipped %5.0f s\n", file, counts[1], counts[2],
              counts[3], sum(found$real)))
  list(counts = counts, printed = printed)
}

# A process that died leaves no answer.
answers <- suppressWarnings(parallel::mclapply(
  files, run_file, mc.cores = as.integer(Sys.getenv("CORES", "2")), mc.preschedule = FALSE
))
total <- c(0, 0, 0)
for (i in seq_along(files)) {
  answer <- answers[[i]]
  if (!is.list(answer)) {
    answer <- list(counts = c(0, 1, 0),
                   printed = c("The process died.", as.character(unlist(answer))))
  }
  if (answer$counts[2] > 0) writeLines(c("", files[i], answer$printed))
  total <- total + answer$counts
}
cat(sprintf("\n%d passed, %d failed, %d skipped\n", total[1], total[2], total[3]))
quit(status = as.integer(total[2] > 0))
