# What a fit of several grouping factors takes is known before it starts, from the order in which
# its levels are eliminated: large ones are announced, and those too large for memory refused.
#
#   check_cost(design, model)   before the ascent
#   available_memory()          bytes, NA where the system does not say

check_cost <- function(design, model, memory = available_memory()) {
  size <- tabulate(factor_of_column(design)) * vapply(design$groups, nlevels, 0L)
  # The factor with most levels costs what its cells do; the rest may become a dense matrix.
  rest <- sum(size) - max(size)
  if (rest^2 * 8 * 4 < 1e9) return(invisible())
  cost <- .Call(C_glmm_cost, model)
  takes <- sprintf("%s of memory and some %s", format_bytes(cost$bytes), in_words(cost$seconds))
  groups <- quote_names(names(design$groups))
  if (!is.na(memory) && cost$bytes > memory) {
    abort(c(sprintf("Levels of %s meet so widely that the fit takes %s, of which %s are free.",
                    groups, takes, format_bytes(memory)),
            "Leave out levels with few rows, or the factor of least interest, or fit a part of the",
            "rows by `subset`; nested factors, as (1 | school/class), take little."),
          "elbo_error_memory", bytes = cost$bytes, seconds = cost$seconds)
  }
  if (cost$seconds > 20 || cost$bytes > 1e9) {
    message("Levels of ", groups, " meet widely: the fit takes about ", takes, ".")
  }
}

available_memory <- function(file = "/proc/meminfo") {
  if (!file.exists(file)) return(NA_real_)
  line <- grep("^MemAvailable:", readLines(file), value = TRUE)
  if (length(line) == 1) 1024 * as.numeric(gsub("[^0-9]", "", line)) else NA_real_
}

format_bytes <- function(bytes) {
  if (bytes < 1e9) sprintf("%.0f MB", bytes / 1e6) else sprintf("%.3g GB", bytes / 1e9)
}

in_words <- function(seconds) {
  if (seconds < 120) sprintf("%.0f seconds", max(seconds, 1))
  else if (seconds < 7200) sprintf("%.0f minutes", seconds / 60)
  else sprintf("%.0f hours", seconds / 3600)
}
