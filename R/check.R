# Argument checks. Each returns its argument, in the type that was asked for, or stops with a
# message that names it: `tol` must be a positive number, not -1.
#
#   check(ok, name, what, x)                  the sentence itself
#   check_number(x, name), check_positive(x, name), check_between(x, name, lower, upper)
#   check_count(x, name), check_whole(x, name), check_flag(x, name)
#   check_choice(x, name, choices)            one of several words; all of them means the first
#   check_data_frame(x, name)

check <- function(ok, name, what, x) {
  if (isTRUE(ok)) return(invisible(x))
  abort(sprintf("`%s` must be %s, not %s.", name, what, describe_value(x)),
        "elbo_error_argument")
}

is_number <- function(x) is.numeric(x) && !is.object(x) && length(x) == 1 && is.finite(x)

is_whole <- function(x) is_number(x) && x == round(x) && abs(x) <= .Machine$integer.max

check_number <- function(x, name) check(is_number(x), name, "a finite number", x)

check_positive <- function(x, name) {
  check(is_number(x) && x > 0, name, "a positive number", x)
}

check_between <- function(x, name, lower, upper) {
  what <- sprintf("a number between %s and %s", format(lower), format(upper))
  check(is_number(x) && x > lower && x < upper, name, what, x)
}

check_whole <- function(x, name) as.integer(check(is_whole(x), name, "a whole number", x))

check_count <- function(x, name) {
  as.integer(check(is_whole(x) && x > 0, name, "a positive whole number", x))
}

check_flag <- function(x, name) {
  check(is.logical(x) && length(x) == 1 && !is.na(x), name, "TRUE or FALSE", x)
}

check_choice <- function(x, name, choices) {
  if (identical(x, choices)) return(choices[1])
  what <- paste("one of", paste0("\"", choices, "\"", collapse = ", "))
  check(is.character(x) && length(x) == 1 && x %in% choices, name, what, x)
}

check_data_frame <- function(x, name) {
  if (is.data.frame(x)) return(invisible(x))
  remedy <- if (is.matrix(x) || is.list(x)) sprintf("Try as.data.frame(%s).", name)
  abort(c(sprintf("`%s` must be a data frame, not %s.", name, describe_value(x)), remedy),
        "elbo_error_argument")
}
