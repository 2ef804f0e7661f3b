# Classed conditions, and the pieces of their messages.
#
#   abort(message, class)            error of class c(class, "elbo_error", "error")
#   warn(message, class)             warning, likewise with "elbo_warning"
#   describe_value(x)                a value as it is quoted in a message
#   quote_names(x)                   "`a`, `b` and `c`"
#   list_rows(rows)                  "rows 3, 17 and 2 more"

#' Raise a classed condition at the user's call
#'
#' A message says what was expected, what was found, where, and what to try.
#' @param message A character vector; its elements are joined by spaces.
#' @param class One or more condition classes, as `"elbo_error_data"`.
#' @param call The call to show; by default that of the package's function that the user made.
#' @param ... Further fields of the condition.
#' @return `abort()` does not return; `warn()` returns its message invisibly.
#' @noRd
abort <- function(message, class = NULL, call = user_call(), ...) {
  stop(errorCondition(paste(message, collapse = " "), ...,
                      class = c(class, "elbo_error"), call = call))
}

warn <- function(message, class = NULL, call = user_call(), ...) {
  message <- paste(message, collapse = " ")
  warning(warningCondition(message, ..., class = c(class, "elbo_warning"), call = call))
  invisible(message)
}

# Generics that mean nothing for a kind of fit, whose defaults would stop without a word of what
# there is instead, or compute something else, refuse in the same words. refusal() is a method that
# does nothing else; its first argument has the generic's name.
fits_called <- c(mixture = "mixtures", sky = "catalogues of the sky",
                 general = "mixed models of responses that are not gaussian",
                 own = "models of one's own")

not_for <- function(kind, what, remedy) {
  abort(c(sprintf("%s: not for %s.", what, fits_called[[kind]]), remedy),
        "elbo_error_not_available")
}

refusal <- function(kind, what, remedy, first = "x") {
  force(remedy)
  refuse <- function() not_for(kind, what, remedy)
  arguments <- stats::setNames(rep(list(quote(expr = )), 2), c(first, "..."))
  as.function(c(arguments, quote(refuse())), envir = environment())
}

# The outermost call to this package on the way here. The way goes through callers, not through
# forced promises: in fit_glmm(control = elbo_control(tol = -1)) it is elbo_control(). R may say
# that a frame's caller is itself or a later one, as within rlang::eval_tidy(): the one below, then.
user_call <- function() {
  ours <- environment(sys.function())
  parents <- sys.parents()
  frame <- sys.parent()
  call <- NULL
  while (frame > 0) {
    if (identical(environment(sys.function(frame)), ours)) call <- sys.call(frame)
    frame <- min(parents[frame], frame - 1)
  }
  call
}

describe_value <- function(x) {
  if (is.null(x)) return("NULL")
  if (is.function(x)) return("a function")
  if (is.language(x)) return(paste0("`", deparse_line(x), "`"))
  if (is.atomic(x) && is.null(attributes(x)) && length(x) == 1) {
    return(if (is.character(x)) encodeString(x, quote = "\"") else format(x, digits = 7))
  }
  if (is.data.frame(x)) return(sprintf("a data frame with %d rows", nrow(x)))
  if (is.factor(x)) return("a factor")
  if (is.object(x)) return(paste("an object of class", class(x)[1]))
  type <- if (is.list(x)) "list" else mode(x)
  if (is.matrix(x)) sprintf("a %s matrix with %d rows", type, nrow(x))
  else if (is.list(x)) sprintf("a list of length %d", length(x))
  else if (is.atomic(x)) sprintf("a %s vector of length %d", type, length(x))
  else paste("a", type)
}

quote_names <- function(x, show = 20) enumerate(paste0("`", x, "`"), show)

list_rows <- function(rows, show = 5) {
  paste(if (length(rows) == 1) "row" else "rows", enumerate(rows, show))
}

enumerate <- function(items, show) {
  more <- length(items) - show
  if (more > 0) items <- c(items[seq_len(show)], paste(more, "more"))
  last <- length(items)
  if (last < 2) return(as.character(items))
  paste(paste(items[-last], collapse = ", "), "and", items[last])
}

deparse_line <- function(expr) paste(deparse(expr, width.cutoff = 500L), collapse = " ")
