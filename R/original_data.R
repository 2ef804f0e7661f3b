# The data that a fit was made from, in the columns that the user had.
#
#   original_data(fit)           the rows of the fit, with every variable that its call names; where
#                                the data are gone or have changed, what the model frame kept of
#                                them
#   fit_data(fit)                the same, with the other columns of the data
#   augmented_data(fit)          the same, and the response as it was modelled
#   group_variables(fit)         the variables that name groups, units of a mixture included
#   response_variables(fit)

original_data <- function(fit) {
  frame <- frame_columns(fit)
  data <- fitted_data(fit)
  if (is.null(data)) return(frame)
  rows <- match(row.names(frame_of(fit)), row.names(data))
  if (anyNA(rows)) return(frame)
  data <- data[rows, intersect(used_variables(fit), names(data)), drop = FALSE]
  both <- intersect(names(frame), names(data))
  same <- vapply(both, function(name) same_values(frame[[name]], data[[name]]), NA)
  if (!all(same)) return(frame)
  # Variables that were not in the data have been found where the formula was made.
  others <- setdiff(intersect(names(frame), used_variables(fit)), names(data))
  data[others] <- frame[others]
  data[order(match(names(data), used_variables(fit)))]
}

fit_data <- function(fit) {
  used <- original_data(fit)
  data <- fitted_data(fit)
  rows <- match(row.names(frame_of(fit)), row.names(data))
  if (is.null(data) || anyNA(rows)) return(used)
  data <- data[rows, , drop = FALSE]
  both <- intersect(names(used), names(data))
  same <- vapply(both, function(name) same_values(used[[name]], data[[name]]), NA)
  others <- setdiff(names(data), names(used))
  if (all(same)) used[others] <- data[others]
  used
}

same_values <- function(a, b) {
  if (is.factor(a) || is.factor(b)) return(identical(as.character(a), as.character(b)))
  isTRUE(all.equal(a, b, check.attributes = FALSE))
}

# What `data` says now where the fit was called; NULL where it is no data frame any more.
fitted_data <- function(fit) {
  given_in <- given_in_of(fit)[["data"]]
  if (is.null(given_in)) given_in <- environment(formula(fit))
  data <- tryCatch(eval(call_of(fit)$data, given_in), error = function(e) NULL)
  if (is.data.frame(data)) as.data.frame(data)
}

used_variables <- function(fit) {
  extras <- as.list(call_of(fit))[c("weights", "offset", "se", "freq", "sigma", "membership",
                                    "unit")]
  unique(c(all.vars(formula(fit)), unlist(lapply(extras, all.vars))))
}

# The model frame, its matrix columns taken apart, and what is called (se), say, by the name of the
# variable it was.
frame_columns <- function(fit) {
  frame <- frame_of(fit)
  columns <- lapply(names(frame), function(name) {
    column <- frame[[name]]
    if (is.matrix(column) && !is.null(colnames(column))) return(as.data.frame(unclass(column)))
    argument <- sub("^\\((.*)\\)$", "\\1", name)
    given <- if (argument != name) call_of(fit)[[argument]]
    stats::setNames(list(column), if (is.symbol(given)) deparse_line(given) else name)
  })
  columns <- do.call(c, lapply(columns, as.list))
  columns <- columns[!duplicated(names(columns))]
  structure(columns, class = "data.frame", row.names = row.names(frame))
}

# For augment(): the response too as the model has it, log(y), say.
augmented_data <- function(fit) {
  data <- original_data(fit)
  response <- frame_of(fit)[1]
  if (names(response) %in% names(data) || !is.null(dim(response[[1]]))) data
  else cbind(response, data)
}

response_variables <- function(fit) all.vars(formula(fit)[[2]])

group_variables <- function(fit) {
  bars <- lapply(parse_formula(formula(fit))$bars, function(bar) all.vars(bar$group))
  unit <- call_of(fit)$unit
  unique(c(unlist(bars), if (!is.null(unit)) all.vars(unit)))
}

# The variables that weigh or count rows, or are known of them, by argument.
extra_variables <- function(fit) {
  lapply(as.list(call_of(fit))[c("weights", "se", "freq", "offset")], all.vars)
}
