# The main job: writes demo/report.html from demo/report.Rmd and prints its main results.
#
# Usage: Rscript demo/run.R   (from the root of the checkout, the package installed)

# What a report in html needs beside R; where it is missing the results are printed all the same.
missing <- Filter(function(package) !requireNamespace(package, quietly = TRUE),
                  c("knitr", "rmarkdown"))
if (length(missing) == 0 && !rmarkdown::pandoc_available()) missing <- "pandoc"

# The code of the report, without its prose.
code_of <- function(file) {
  lines <- readLines(file, encoding = "UTF-8")
  fence <- startsWith(lines, "```")
  parse(text = lines[cumsum(fence) %% 2 == 1 & !fence], keep.source = FALSE)
}

report <- new.env()
started <- proc.time()[["elapsed"]]
if (length(missing) == 0) {
  rmarkdown::render("demo/report.Rmd", envir = report, quiet = TRUE)
  head <- "report: demo/report.html"
} else {
  setwd("demo")
  grDevices::pdf(NULL)
  invisible(utils::capture.output(eval(code_of("report.Rmd"), report)))
  head <- paste("no report, which needs what is not installed:", toString(missing))
}
seconds <- proc.time()[["elapsed"]] - started
cat(sprintf("%s (%.0f seconds)\n", head, seconds))
writeLines(report$results)
