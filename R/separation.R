# Separation: a direction of the coefficients along which the likelihood only rises, so that no
# finite estimate is the best (Albert & Anderson 1984, Biometrika 71:1; Haberman 1974).
#
#   check_separated(design, held, prior)   the error, which names coefficients and rows
#   separating_direction(response, X, n_threshold)   NULL, or list(direction, names, rows): of the
#                                          columns of X and thresholds, which of them move, and the
#                                          rows of data that gain by it
#
# A row's density, whatever the latent variables, never falls along a direction d of (coefficients,
# thresholds) if G d >= 0 for its rows of G: -x for a zero count or no success, x for success
# throughout, x and -x, thus x'd = 0, for what lies between; for category j, with thresholds t below
# and above, x'd >= t_(j-1) and x'd <= t_j.  If some row gains, d separates.  None does just where
# l'G = 0 for weights l that are all positive (Stiemke), as |y - mu| are at a maximum.  So with
# l = 1 + m the smallest |G'(1 + m)| over m >= 0 is zero, or else its residual r is a direction:
# -G r >= 0 by the Kuhn-Tucker conditions, and the sum of -G r is |r|^2 > 0.  Nothing is left to
# judgement but rounding.

check_separated <- function(design, held, prior) {
  # A proper law bounds its coefficient.
  bounded <- names(Filter(length, glmm_map(prior, design, held)$stated))
  held <- held[!held$name %in% bounded, ]
  free <- held[held$block %in% c("beta", "threshold") & is.na(held$constant), ]
  X <- design$X[, free$name[free$block == "beta"], drop = FALSE]
  found <- separating_direction(design$response, X, sum(free$block == "threshold"))
  if (is.null(found)) return()
  names <- free$name[found$names]
  gain <- found$rows
  abort(c(sprintf("The responses are separated: %s of %s can grow without bound, and so can",
                  if (length(names) > 1) "a combination of the coefficients" else "the coefficient",
                  quote_names(names, 5)),
          sprintf("with it the likelihood of %d of %d rows, while it falls in none.", length(gain),
                  nrow(design$X)),
          "No finite estimate is the best. Leave the term out, merge levels that have only one",
          "response, or state a prior, as priors(beta = normal(0, 2.5))."),
        "elbo_error_separation")
}

# `X`: the columns whose coefficients are free to grow.
separating_direction <- function(response, X, n_threshold = 0L) {
  sides <- response_sides(response, X, n_threshold)
  allowed <- columns_allowed(sides$equal) # by the rows between the ends
  if (ncol(allowed) == 0 || nrow(sides$above) == 0) return()
  A <- sides$above %*% allowed
  if (part_overlaps(A)) return()
  found <- separating_combination(A)
  if (is.null(found)) return()
  d <- drop(allowed %*% found)
  gains <- drop(A %*% found)
  size <- abs(d) * apply(abs(rbind(sides$equal, sides$above)), 2, max)
  list(direction = d, names = which(size > 1e-6 * max(size)),
       rows = sort(unique(sides$row[gains > 1e-6 * max(gains)])))
}

# Rows of G over (coefficients, thresholds): those that may rise, and the rows of data that they are
# of, and those that must stay.
response_sides <- function(response, X, n_threshold) {
  y <- response$y
  X <- unname(X)
  if (n_threshold > 0) {
    below <- which(y > 0)
    above <- which(y < n_threshold)
    step <- diag(n_threshold)
    rises <- rbind(cbind(X[below, , drop = FALSE], -step[y[below], , drop = FALSE]),
                   cbind(-X[above, , drop = FALSE], step[y[above] + 1, , drop = FALSE]))
    return(list(equal = matrix(0, 0, ncol(rises)), above = rises, row = c(below, above)))
  }
  most <- if (response$law != "binomial") Inf else if (is.null(response$size)) 1 else response$size
  said <- rep_len(most > 0, length(y)) # no trials say nothing
  lowest <- which(said & y == 0)
  highest <- which(said & y == most)
  list(equal = X[said & y > 0 & y < most, , drop = FALSE], row = c(lowest, highest),
       above = rbind(-X[lowest, , drop = FALSE], X[highest, , drop = FALSE]))
}

# Columns that span the directions d with E d = 0.
columns_allowed <- function(E) {
  unit <- largest_of_columns(E)
  if (nrow(E) == 0) return(diag(ncol(E)))
  decomposition <- qr(E / rep(unit, each = nrow(E)), tol = 1e-7)
  p <- ncol(E)
  kept <- seq_len(decomposition$rank)
  # Pivots of E: the other columns are combinations of those that are kept.
  others <- setdiff(seq_len(p), kept)
  N <- matrix(0, p, length(others))
  R <- qr.R(decomposition)
  if (length(kept) > 0) N[kept, ] <- -backsolve(R[kept, kept, drop = FALSE],
                                                R[kept, others, drop = FALSE])
  N[cbind(others, seq_along(others))] <- 1
  N[order(decomposition$pivot), , drop = FALSE] / unit
}

largest_of_columns <- function(A) {
  unit <- apply(abs(A), 2, max, 0)
  replace(unit, unit == 0, 1)
}

# Of many rows some are enough, where they tell all columns apart: a direction in which none of
# these gains is zero.
part_overlaps <- function(A) {
  if (nrow(A) <= 5000) return(FALSE)
  A <- A[seq(1, nrow(A), length.out = 5000), , drop = FALSE]
  qr(A / rep(largest_of_columns(A), each = nrow(A)), tol = 1e-7)$rank == ncol(A) &&
    is.null(separating_combination(A))
}

# A d >= 0 and not zero: such a d, or NULL where there is none.  Non-negative least squares (Lawson
# and Hanson 1974, chapter 23) on an orthogonal basis of the columns, with rows of length one.
separating_combination <- function(A) {
  unit <- largest_of_columns(A)
  decomposition <- qr(A / rep(unit, each = nrow(A)), tol = 1e-7)
  rank <- decomposition$rank
  if (rank == 0) return()
  Q <- qr.Q(decomposition)[, seq_len(rank), drop = FALSE]
  length <- sqrt(rowSums(Q^2))
  # A row of rounding alone says nothing.
  Q <- Q[length > 1e-10 * max(length), , drop = FALSE]
  Q <- Q / sqrt(rowSums(Q^2))
  r <- nonnegative_residual(t(Q), -colSums(Q))
  if (sqrt(sum(r^2)) <= 1e-8 * nrow(Q)) return()
  d <- numeric(ncol(A))
  d[decomposition$pivot[seq_len(rank)]] <-
    backsolve(qr.R(decomposition)[seq_len(rank), seq_len(rank), drop = FALSE], -r)
  d / unit
}

# b - B m at the m >= 0 where it is shortest.
nonnegative_residual <- function(B, b) {
  m <- numeric(ncol(B))
  passive <- integer()
  r <- b
  repeat {
    w <- drop(crossprod(B, r))
    w[passive] <- -Inf
    size <- sqrt(sum(r^2))
    if (size <= 1e-8 * ncol(B) || max(w) <= 1e-9 * size) return(r)
    passive <- c(passive, which.max(w))
    repeat {
      z <- qr.coef(qr(B[, passive, drop = FALSE]), b)
      if (all(z > 0)) break
      down <- z <= 0
      step <- min(m[passive][down] / (m[passive][down] - z[down]))
      m[passive] <- m[passive] + step * (z - m[passive])
      gone <- down & m[passive] <= 1e-12 * max(m[passive])
      m[passive[gone]] <- 0
      passive <- passive[!gone]
    }
    m[passive] <- z
    r <- b - drop(B[, passive, drop = FALSE] %*% z)
  }
}
