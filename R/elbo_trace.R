# The steps of an ascent, printed.

#' @rdname elbo_trace
#' @param x a trace, made by `elbo_trace()`, or some of its rows.
#' @param n the most rows to print.
#' @export
print.elbo_trace <- function(x, n = 20L, ...) {
  check_dots_empty(..., .but = passed_along$print)
  n <- check_count(n, "n")
  print(trace_table(utils::head(as.data.frame(x), n)), row.names = FALSE)
  more <- nrow(x) - n
  if (more > 0) cat(sprintf("... and %s\n", count_words(more, "more row")))
  invisible(x)
}

# As text. A divergence is never negative: what rounding makes of zero is zero.
trace_table <- function(trace) {
  if (!all(c("elbo", "log_evidence", "kl") %in% names(trace)) || nrow(trace) == 0) return(trace)
  rounding <- 64 * .Machine$double.eps * pmax(abs(trace$elbo), 1)
  kl <- ifelse(trace$kl < rounding, 0, trace$kl)
  trace$elbo <- fixed_text(trace$elbo, 4)
  trace$log_evidence <- ifelse(is.na(kl), "", fixed_text(trace$log_evidence, 4))
  trace$kl <- ifelse(is.na(kl), "", signif_text(kl, 3))
  trace[vapply(trace, function(column) !all(column == ""), NA)]
}
