# What may come of a call: a finite result, a documented NA, or a condition of ours. Everything
# else is a fault, a list(kind, where, message).
#
#   run_case(case)     NULL, or the first fault of a case

seconds_allowed <- 20

run_case <- function(case) {
  old <- options(case$options)
  on.exit(options(old))
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off(), add = TRUE)
  where <- new.env(parent = globalenv())
  where$d <- case$data
  for (call in case$calls) {
    result <- attempt(call, where)
    fault <- fault_of(result, call)
    if (!is.null(fault)) return(fault)
    if (!exists("fit", where, inherits = FALSE)) return(NULL)
  }
  NULL
}

# Value, error, warnings and seconds (of processor time, as other processes do not count) of a call.
attempt <- function(call, where) {
  warnings <- list()
  error <- NULL
  value <- NULL
  seconds <- function() sum(proc.time()[1:2])
  started <- seconds()
  setTimeLimit(cpu = 1.5 * seconds_allowed, transient = TRUE)
  on.exit(setTimeLimit())
  utils::capture.output(
    value <- tryCatch(
      withCallingHandlers(
        suppressMessages(eval(call, where)),
        warning = function(w) {
          warnings[[length(warnings) + 1]] <<- w
          tryInvokeRestart("muffleWarning")
        }
      ),
      error = function(e) {
        error <<- e
        NULL
      }
    )
  )
  list(value = value, error = error, warnings = warnings,
       seconds = seconds() - started)
}

fault_of <- function(result, call) {
  fault <- function(kind, message) {
    list(kind = kind, where = call, message = paste(message, collapse = " "))
  }
  if (result$seconds > seconds_allowed) return(fault("slow", sprintf("%.0f s", result$seconds)))
  error <- result$error
  if (!is.null(error)) {
    text <- conditionMessage(error)
    if (!inherits(error, "elbo_error") && !refused_elsewhere(call, error)) {
      return(fault("foreign error", text))
    }
    if (grepl("internal error|a bug", text)) return(fault("internal error", text))
    return(NULL)
  }
  for (warning in result$warnings) {
    if (!inherits(warning, "elbo_warning") && !advice_of_loo(warning)) {
      return(fault("foreign warning", conditionMessage(warning)))
    }
  }
  if (has_nan(result$value)) return(fault("NaN", "NaN in the answer, without a word"))
  unfit <- unfit_for_use(result$value)
  if (!is.null(unfit)) fault("not finite", unfit)
}

# What loo says of its own weights, with its own help page.
advice_of_loo <- function(warning) {
  grepl("^Some Pareto k diagnostic values", conditionMessage(warning))
}

# emmeans makes an error of its own of the sentence with which we refuse, and asks for packages.
refused_elsewhere <- function(call, error) {
  grepl("::", paste(deparse(call), collapse = "")) &&
    grepl("emmeans: |there is no package|Perhaps a 'data'", conditionMessage(error))
}

# A correlation is NaN, as documented, where a standard deviation is zero.
has_nan <- function(x, depth = 0) {
  if (is.numeric(x)) return(any(is.nan(without_correlations(x))))
  if (is.data.frame(x)) {
    words <- Filter(function(column) is.character(column) && is.null(dim(column)), as.list(x))
    rows <- Reduce(`|`, lapply(words, is_correlation), logical(nrow(x)))
    x <- lapply(as.list(x), function(column) if (is.null(dim(column))) column[!rows] else column)
  }
  if (is.environment(x) || is.function(x) || is.language(x) || depth > 4) return(FALSE)
  # The data came from us, and the elements of a fit are not its answers.
  if (inherits(x, "elbo_fit")) return(FALSE)
  if (is.list(x)) return(any(vapply(x, has_nan, NA, depth = depth + 1)))
  FALSE
}

is_correlation <- function(name) grepl("^(cor__|correlation)|^cor of ", name)

without_correlations <- function(x) {
  if (is.matrix(x)) {
    keep <- function(names, n) if (is.null(names)) rep(TRUE, n) else !is_correlation(names)
    return(x[keep(rownames(x), nrow(x)), keep(colnames(x), ncol(x)), drop = FALSE])
  }
  if (is.null(names(x))) x else x[!is_correlation(names(x))]
}

# Of a fit: its objective and its parameters are numbers.
unfit_for_use <- function(x) {
  if (!inherits(x, "elbo_fit")) return(NULL)
  estimates <- elbo::theta(x)
  if (has_nan(estimates)) return("theta() has NaN")
  objective <- elbo::elbo(x)
  if (!is.numeric(objective) || length(objective) != 1 || !is.finite(objective)) {
    return(paste("elbo() is", format(objective)))
  }
  NULL
}
