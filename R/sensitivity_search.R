# The smallest set of rows found whose removal makes a change: a search by derivatives, in which
# each set that counts is one whose refit shows the change.
#
# Rows go one after another, the most influential first, and their influence is computed anew at the
# fit to the rest (while many have to go, half of those that the derivative asks for at once). Then
# rows are put back while the change stays, and the rows that lead by the derivative at the fit to
# all rows are tried. Which sets are fewest only all sets could tell: what is found is an upper
# bound.
#
#   search_rows(fit, influence, target)   list(rows, fit) or list(reason)
#   target: list(estimate, change, critical, side, gained): see row_target()

# What has to fall below zero for the change to have happened: signs and significance are those of
# the fit to all rows.
row_target <- function(influence, estimate, change, critical) {
  value <- influence$value[[estimate]]
  side <- if (value < 0) -1 else 1
  list(estimate = estimate, change = change, critical = critical, side = side,
       significant = side * value > critical * influence$se[[estimate]])
}

target_value <- function(target, value, se) {
  size <- target$side * value
  margin <- target$critical * se
  if (target$change == "sign") return(size)
  if (target$change == "both") return(size + margin)
  if (target$significant) size - margin else margin - size
}

# The same function is linear in value and se, and so is its derivative; of other rows than those of
# the fit where `rows` has them.
target_gradient <- function(target, influence, rows = influence$fit) {
  row_gradient(influence, match(target$estimate, names(influence$value)),
               target_value(target, 1, 0), target_value(target, 0, 1), rows)
}

reached <- function(target, fit) {
  if (!target$estimate %in% free_coefficients(fit)) return(FALSE)
  target_value(target, coef(fit)[[target$estimate]],
               sqrt(vcov(fit)[target$estimate, target$estimate])) < 0
}

search_rows <- function(fit, influence, target) {
  found <- remove_in_turn(fit, influence, target)
  if (is.null(found$rows)) return(found)
  rows <- put_back(fit, found$rows, target)
  rows <- try_leading(fit, rows, target_gradient(target, influence), target)
  list(rows = rows, fit = drop_rows(fit, rows))
}

remove_in_turn <- function(fit, influence, target) {
  left <- seq_len(nobs(fit))
  repeat {
    value <- target_value(target, influence$value[[target$estimate]],
                          influence$se[[target$estimate]])
    if (value < 0) return(list(rows = setdiff(seq_len(nobs(fit)), left)))
    gradient <- target_gradient(target, influence)
    leading <- order(gradient, decreasing = TRUE)
    leading <- leading[gradient[leading] > 0]
    if (length(leading) == 0) return(list(reason = "no row that is left moves it that way"))
    out <- utils::head(leading, batch_size(value, gradient[leading], length(left)))
    if (length(left) - length(out) < nobs(fit) / 2) {
      return(list(reason = "half of the rows do not do it"))
    }
    left <- left[-out]
    current <- refit_or_reason(fit, setdiff(seq_len(nobs(fit)), left))
    if (is.character(current)) return(list(reason = current))
    if (!target$estimate %in% free_coefficients(current)) {
      return(list(reason = "without the rows that matter most it is not identified"))
    }
    influence <- row_influence(current)
  }
}

# One at a time when up to ten have to go by the derivative, else half of those; where all that help
# do not suffice, a fiftieth of the rows.
batch_size <- function(value, gains, n) {
  needed <- which(cumsum(gains) > value)
  if (length(needed) == 0) return(max(1, n %/% 50))
  if (needed[1] <= 10) 1 else needed[1] %/% 2
}

refit_or_reason <- function(fit, rows) {
  tryCatch(drop_rows(fit, rows),
           elbo_error = function(e) "a fit to the other rows fails on the way")
}

shows_without <- function(fit, rows, target) {
  refit <- refit_or_reason(fit, rows)
  !is.character(refit) && reached(target, refit)
}

# Rows that need not go. At the fit without them the derivative says what each would undo if it came
# back, and how much may be undone: the least of them first, as many at once as it allows, fewer
# where the refit says no; a row that would undo more than twice what may be is not tried.
put_back <- function(fit, rows, target) {
  repeat {
    current <- drop_rows(fit, rows)
    influence <- row_influence(current)
    room <- -target_value(target, influence$value[[target$estimate]],
                          influence$se[[target$estimate]])
    undone <- target_gradient(target, influence, rows_of(current, fit, rows))
    undone[is.na(undone)] <- 0 # their group or level is gone with them
    cheap <- order(undone)
    cheap <- cheap[undone[cheap] < 2 * room]
    fewer <- first_to_return(fit, rows, cheap, cumsum(undone[cheap]) < room, target)
    if (is.null(fewer)) return(rows)
    rows <- fewer
  }
}

# `cheap` indexes `rows`, the cheapest first; `together` those whose sum the derivative allows.
first_to_return <- function(fit, rows, cheap, together, target) {
  cheap <- utils::head(cheap, length(rows) - 1)
  size <- sum(utils::head(together, length(cheap)))
  while (size > 1) {
    fewer <- rows[-cheap[seq_len(size)]]
    if (shows_without(fit, fewer, target)) return(fewer)
    size <- size %/% 2
  }
  for (i in utils::head(cheap, most_single)) {
    if (shows_without(fit, rows[-i], target)) return(rows[-i])
  }
}

most_single <- 10

# A fit with the rows of another in place of its own, to be looked at and not to be fitted.
rows_of <- function(current, fit, rows) {
  design <- design_of(current)
  from <- design_of(fit)
  design$X <- from$X[rows, colnames(design$X), drop = FALSE]
  design$Z <- from$Z[rows, , drop = FALSE]
  design$y <- from$y[rows]
  design$weights <- from$weights[rows]
  design$offset <- if (length(from$offset) > 1) from$offset[rows] else from$offset
  taken <- function(old, own) factor(as.character(old[rows]), levels(own))
  design$groups <- Map(taken, from$groups, design$groups)
  if (!is.null(design$level)) design$level <- taken(from$level, design$level)
  design_of(current) <- design
  current
}

# The first k by the derivative at the fit to all rows, for k less than are found: the least by
# bisection, which is what it would be if a larger k never did less.
try_leading <- function(fit, rows, gradient, target) {
  leading <- order(gradient, decreasing = TRUE)
  low <- 0
  high <- length(rows)
  while (high - low > 1) {
    k <- (low + high) %/% 2
    if (shows_without(fit, leading[seq_len(k)], target)) {
      rows <- leading[seq_len(k)]
      high <- k
    } else {
      low <- k
    }
  }
  rows
}

# ---- in words
# --------------------------------------------------------------------------------------

#' @rdname sensitivity
#' @param x what `sensitivity()` returned.
#' @export
print.elbo_sensitivity <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  table <- as.data.frame(x)
  if (!"rows" %in% names(table)) {
    print(table, ...)
    return(invisible(x))
  }
  found <- !is.na(table$rows)
  if (any(found)) print(table[found, ], ...)
  for (words in row_words(x)) write_wrapped(words)
  invisible(x)
}

# What was found is a bound; what was not found is said, with the reason.
row_words <- function(x) {
  found <- !is.na(x$rows)
  changes <- c(sign = "changes the sign of %s", significance = "changes whether %s is significant",
               both = "makes %s significant with the opposite sign")
  none <- sprintf(paste("No rows were found whose removal", changes[x$change]), x$estimate)[!found]
  reason <- attr(x, "reason")[paste(x$estimate, x$change)[!found]]
  bound <- "At most so many rows need to go for the change; fewer may do that were not tried."
  c(if (any(found)) bound,
    if (!all(found)) paste0(none, if (!is.null(reason)) paste0(": ", reason), "."))
}
