# A student's theta: its shape, its names, the constraints that hold in `start`, and the directions
# in which a better one may be sought.

theta_problem <- function(theta, start) {
  if (is.list(start)) {
    same <- is.list(theta) && identical(lengths(theta), lengths(start)) &&
      all(vapply(theta, is.numeric, NA))
    if (!same) {
      return(sprintf("It must return, like `start`, %s; it returned %s.",
                     describe_returned(start), describe_returned(theta)))
    }
  } else if (!is.numeric(theta) || length(theta) != length(start)) {
    return(sprintf("It must return %s, like `start`; it returned %s.",
                   count_numbers(length(start)), describe_returned(theta)))
  }
  bad <- which(!is.finite(unlist(theta)))
  if (length(bad) > 0) {
    return(sprintf("It returned a theta that is not finite: %s.", theta_text(theta)))
  }
  NULL
}

count_numbers <- function(n) ifelse(n == 1, "a number", sprintf("%d numbers", n))

describe_returned <- function(x) {
  if (is.numeric(x)) return(count_numbers(length(x)))
  if (!is.list(x) || is.null(names(x))) return(describe_value(x))
  sprintf("a list of %s", enumerate(sprintf("`%s` (%s)", names(x), count_numbers(lengths(x))), 6))
}

# Names as in `start`, which a theta need not carry on.
theta_names <- function(theta, start = theta) {
  names <- names(unlist(start))
  if (is.null(names)) names <- names(unlist(theta))
  empty <- sprintf("theta[%d]", seq_along(unlist(theta)))
  if (is.null(names)) names <- if (length(empty) == 1) "theta" else empty
  ifelse(nzchar(names), names, empty)
}

# As one vector, whatever its shape: a matrix of two columns would be taken for indices.
theta_entries <- function(theta) as.vector(unlist(theta, use.names = FALSE))

theta_text <- function(theta, start = theta) {
  enumerate(paste(theta_names(theta, start), "=", signif_text(unlist(theta), 4)), 6)
}

# ---- constraints ---------------------------------------------------------------------------

# A constraint that holds in `start` and not in this theta, in words, or NULL. A sum of one counts
# where the density needs it; a sign or symmetry where there is no density without it.
broken_constraint <- function(start, old, theta, expected) {
  value <- function(theta) {
    number <- attempt(expected(theta))
    if (is.null(number$problem)) number$value else NaN
  }
  here <- value(theta)
  names <- theta_names(theta, start)
  for (group in broken_sums(start, theta)) {
    if (is.finite(here) && !grows_with(group, theta, value)) next
    total <- sum(unlist(theta)[group])
    return(paste0(constraint_words(enumerate(names[group], 8), "sum to 1",
                                   paste("sum to", signif_text(total, 4))),
                  scaled_words(group, old, theta, value, total)))
  }
  if (is.finite(here)) return(NULL)
  range <- broken_range(unlist(start), unlist(theta), names)
  if (is.null(range)) broken_symmetry(start, theta) else range
}

constraint_words <- function(names, there, here) {
  sprintf("Its theta breaks a constraint that `start` satisfies: %s %s there, and %s here.", names,
          there, here)
}

# Groups of entries that sum to one in `start` and not in theta; but not where the entries sum to
# one in another way (a matrix whose rows and columns do in `start`, and whose rows still do).
broken_sums <- function(start, theta) {
  before <- theta_entries(start)
  after <- theta_entries(theta)
  kept <- unlist(groups_to_one(start, before, after))
  Filter(function(group) !any(group %in% kept) && abs(sum(after[group]) - 1) >= 1e-8,
         groups_to_one(start, before))
}

# Multiplied by ever larger numbers it makes the density ever larger.
grows_with <- function(group, theta, value) {
  at <- vapply(c(1, 10, 1e3, 1e6), function(factor) {
    entries <- theta_entries(theta)
    value(with_values(theta, replace(entries, group, factor * entries[group])))
  }, 0)
  all(is.finite(at)) && all(diff(at) > 0) && at[4] - at[3] > 0.5 * (at[3] - at[2])
}

# What else is wrong, once the sum is right.
scaled_words <- function(group, old, theta, value, total) {
  if (!isTRUE(total > 0)) return("")
  entries <- theta_entries(theta)
  scaled <- with_values(theta, replace(entries, group, entries[group] / total))
  if (!isTRUE(value(scaled) > value(old))) return("")
  " Divided by their sum they would climb."
}

# Where no theta of this kind has a density.
broken_range <- function(start, theta, names) {
  low <- which(start > 0 & theta <= 0)
  high <- which(start > 0 & start < 1 & theta > 1)
  bad <- c(low, high)[1]
  if (is.na(bad)) return(NULL)
  there <- if (length(low) > 0) "is positive" else "lies between 0 and 1"
  constraint_words(names[bad], there, paste("is", signif_text(theta[[bad]], 4)))
}

broken_symmetry <- function(start, theta) {
  if (!is.list(start)) return(NULL)
  symmetric <- function(x) is.matrix(x) && nrow(x) > 1 && isSymmetric(unname(x))
  broken <- which(vapply(start, symmetric, NA) & !vapply(theta, symmetric, NA))[1]
  if (is.na(broken)) return(NULL)
  name <- if (is.null(names(start))) sprintf("part %d", broken) else names(start)[broken]
  constraint_words(name, "is symmetric", "is not")
}

# The other way round: where the M-step's theta sums to one and `start` does not.
check_start_sums <- function(start, theta, expected) {
  value <- function(theta) {
    number <- attempt(expected(theta))
    if (is.null(number$problem)) number$value else NaN
  }
  for (group in broken_sums(theta, start)) {
    if (any(unlist(start)[group] <= 0) || !grows_with(group, start, value)) next
    abort(c(sprintf("`start` is outside the parameter space: %s sum to %s, after the M-step to 1.",
                    enumerate(theta_names(start)[group], 8),
                    signif_text(sum(unlist(start)[group]), 4)),
            "Start where the model is defined."), "elbo_error_argument")
  }
}

# Entries that sum to one in every one of these vectors: whole parts, then the rows of matrices,
# their columns, and any neighbours, each entry in one group only.
groups_to_one <- function(start, ...) {
  vectors <- list(...)
  sums <- function(x) all(x > 0) && abs(sum(x) - 1) < 1e-8
  ones <- function(at) all(vapply(vectors, function(x) sums(x[at]), NA))
  parts <- relist_positions(start)
  matrices <- Filter(is.matrix, parts)
  by <- function(margin) {
    unlist(lapply(matrices, function(m) asplit_list(m, margin)), recursive = FALSE)
  }
  candidates <- c(parts, by(1), by(2), neighbours(length(vectors[[1]])))
  taken <- integer()
  groups <- list()
  for (group in candidates) {
    if (length(group) < 2 || any(group %in% taken) || !ones(group)) next
    taken <- c(taken, group)
    groups <- c(groups, list(as.vector(group)))
  }
  groups
}

asplit_list <- function(m, margin) {
  if (margin == 1) lapply(seq_len(nrow(m)), function(i) m[i, ])
  else lapply(seq_len(ncol(m)), function(j) m[, j])
}

# Runs of two or more, the longest first; of long vectors the longest alone would be too many.
neighbours <- function(n) {
  sizes <- rev(seq_len(max(0, min(n, 60) - 1)) + 1)
  unlist(lapply(sizes, function(size) {
    lapply(seq_len(n - size + 1), function(from) from:(from + size - 1))
  }), recursive = FALSE)
}

# ---- directions ----------------------------------------------------------------------------

with_values <- function(theta, values) {
  if (is.list(theta)) return(utils::relist(values, theta))
  theta[] <- values
  theta
}

# Directions in which theta may be varied, in columns: each entry, but neighbours that sum to one
# are varied so that they still do, and the halves of a symmetric matrix together.
free_directions <- function(old, theta) {
  D <- diag(length(unlist(theta)))
  position <- relist_positions(theta)
  mirrored <- integer()
  for (part in position) {
    if (!is_symmetric_part(part, theta, old)) next
    for (j in seq_len(ncol(part))) for (i in seq_len(j - 1)) {
      D[part[j, i], part[i, j]] <- 1
      mirrored <- c(mirrored, part[j, i])
    }
  }
  drop <- mirrored
  groups <- groups_to_one(theta, theta_entries(old), theta_entries(theta))
  for (group in groups) {
    if (any(group %in% mirrored)) next
    n <- length(group)
    for (k in seq_len(n - 1)) D[group[k + 1], group[k]] <- -1
    drop <- c(drop, group[n])
  }
  if (length(drop) > 0) D <- D[, -drop, drop = FALSE]
  D
}

relist_positions <- function(theta) {
  if (!is.list(theta)) {
    place <- seq_along(theta)
    return(list(if (is.matrix(theta)) matrix(place, nrow(theta)) else place))
  }
  ends <- cumsum(lengths(theta))
  Map(function(part, end) {
    place <- end - length(part) + seq_along(part)
    if (is.matrix(part)) matrix(place, nrow(part)) else place
  }, theta, ends)
}

is_symmetric_part <- function(part, theta, old) {
  if (!is.matrix(part) || nrow(part) != ncol(part) || nrow(part) == 1) return(FALSE)
  symmetric <- function(x) isSymmetric(matrix(theta_entries(x)[as.vector(part)], nrow(part)))
  symmetric(theta) && symmetric(old)
}
