# Hands the package what its users may hand it, and reports what is neither a finite result, nor
# a documented NA, nor a condition of ours: foreign errors and warnings, internal errors, NaN
# without a word, crashes, and calls of more than 20 seconds.
#
# Usage: Rscript tests/fuzz/fuzz.R [CASES] [FIRST SEED] [crossed]
#
# With "crossed" the models have several grouping factors, otherwise they are of all kinds.
# Each fault is shrunk and printed as a script. Chunks of cases run in processes of their own, so
# that a crash is found and not suffered. The last line is "N passed, N failed".

folder <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
for (file in c("generate.R", "check.R", "shrink.R")) source(file.path(folder, file))
suppressPackageStartupMessages(library(elbo))

settings <- as.integer(utils::head(commandArgs(TRUE), 2))
kind <- if ("crossed" %in% commandArgs(TRUE)) "crossed" else "any"
cases <- if (length(settings)) settings[1] else 500L
first <- if (length(settings) > 1) settings[2] else 1L
shown <- 20L
cores <- as.integer(Sys.getenv("CORES", "2"))

fuzz_seed <- function(seed) {
  case <- generate_case(seed, kind)
  fault <- run_case(case)
  if (is.null(fault)) return(NULL)
  case <- shrink_case(case, fault)
  list(kind = fault$kind, where = deparse(fault$where)[1], message = fault$message,
       script = write_case(case, fault))
}

# A process that dies leaves no answer: its seeds are tried one by one.
fuzz_seeds <- function(seeds) {
  answers <- parallel::mclapply(split(seeds, ceiling(seq_along(seeds) / 25)), function(chunk) {
    lapply(chunk, fuzz_seed)
  }, mc.cores = cores, mc.preschedule = FALSE)
  lost <- vapply(answers, function(x) !is.list(x), NA)
  chunks <- split(seeds, ceiling(seq_along(seeds) / 25))
  again <- lapply(unlist(chunks[lost]), function(seed) {
    answer <- parallel::mclapply(seed, fuzz_seed, mc.cores = cores, mc.preschedule = FALSE)[[1]]
    if (is.list(answer) || is.null(answer)) return(answer)
    list(kind = "crash", where = "", message = as.character(answer),
         script = sprintf("# seed %d: the process died", seed))
  })
  Filter(Negate(is.null), c(unlist(answers[!lost], recursive = FALSE), again))
}

started <- proc.time()[["elapsed"]]
faults <- suppressWarnings(fuzz_seeds(first + seq_len(cases) - 1L))
for (fault in utils::head(faults, shown)) writeLines(fault$script)
if (length(faults)) {
  part <- function(name) vapply(faults, `[[`, "", name)
  what <- sprintf("%s: %s: %.70s", part("kind"), part("where"), part("message"))
  counts <- sort(table(what), decreasing = TRUE)
  writeLines(sprintf("%5d  %s", as.vector(counts), names(counts)))
}
cat(sprintf("%d cases from seed %d in %.0f s\n", cases, first,
            proc.time()[["elapsed"]] - started))
cat(sprintf("%d passed, %d failed\n", cases - length(faults), length(faults)))
quit(status = as.integer(length(faults) > 0))
