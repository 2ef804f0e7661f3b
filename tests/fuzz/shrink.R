# The smallest case with the same kind of fault that can be found in a little time: fewer
# questions, arguments, options, rows and columns, one after the other, as long as it fails alike.

shrink_case <- function(case, fault, seconds = 10) {
  deadline <- proc.time()[["elapsed"]] + seconds
  alike <- function(smaller) {
    found <- run_case(smaller)
    !is.null(found) && found$kind == fault$kind && identical(found$where[[1]], fault$where[[1]])
  }
  repeat {
    smaller <- Find(function(candidate) proc.time()[["elapsed"]] < deadline && alike(candidate),
                    smaller_cases(case))
    if (is.null(smaller)) return(case)
    case <- smaller
  }
}

smaller_cases <- function(case) {
  change <- function(name, value) {
    case[[name]] <- value
    case
  }
  with_fit <- function(fit) change("calls", c(call("<-", quote(fit), fit), case$calls[-1]))
  questions <- lapply(seq_along(case$calls)[-1], function(i) change("calls", case$calls[-i]))
  fit <- case$calls[[1]][[3]]
  arguments <- lapply(setdiff(seq_along(fit), 1:3), function(i) with_fit(fit[-i]))
  options <- if (length(case$options)) list(change("options", list()))
  n <- nrow(case$data)
  rows <- lapply(split(seq_len(n), sort(rep_len(1:4, n))), function(some) {
    if (length(some) < n) change("data", case$data[-some, , drop = FALSE])
  })
  columns <- lapply(names(case$data), function(name) {
    change("data", case$data[setdiff(names(case$data), name)])
  })
  Filter(Negate(is.null), c(options, rev(questions), arguments, rows, columns))
}

# The case as a script that can be pasted into a session.
write_case <- function(case, fault) {
  data <- paste(deparse(case$data, 95L), collapse = "\n")
  options <- if (length(case$options)) paste(deparse(as.call(c(quote(options), case$options))))
  calls <- vapply(case$calls, function(call) paste(deparse(call, 95L), collapse = "\n"), "")
  c(sprintf("# seed %d: %s: %s", case$seed, fault$kind, gsub("\\s+", " ", fault$message)),
    options, paste("d <-", data), calls, "")
}
