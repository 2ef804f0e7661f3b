# The latent variables of several grouping factors as one long vector: factor after factor, level
# after level, the terms of each; N in all.
#
#   level_count(design), level_places(design, group)   N; the place of each row and
#                                 column of Z among them, 0 for a new level
#   level_products(fit, B, inverse, parts)   S B, S = Var(u | y, beta), or Z'WZ B, W the residual
#                                 precisions, at parameters `parts` as theta_parts() has them
#   level_sums(design, a), level_rows(design, u)   Z'a and Z u, for matrices
#   level_spread(fit, parts, i, j, excess)   entries of S, or of what it gains
#                                 (glmm/blocked_spread.h), on the pattern of its factor, else NA
#   level_forms(known, place, Z, N)   z'B z by row of a symmetric B, list(entries, times, each):
#                                 entries(i, j) as level_spread() has them, and its products
#   level_entries(times, i, j, N) entries of a B that is known by its products alone
#   level_terms(design), level_pairs(design)   the column of Z of each, and pairs of one level
#   level_gains(parts)            gains (N x p) of latent_parts()
#   by_factor(design, value)      N numbers as m x q of each factor
#   level_traces(fit, parts)      tr(V^-1 dV V^-1 dV) by entries of Sigma and the residual variance
#   level_variance(X, Z, place, known)   of x'beta + z'u by row

level_count <- function(design) sum(vapply(design$groups, nlevels, 0L)[factor_of_column(design)])

# `group`: as group_index() has it; 0 where a level is new, or the factor takes no part.
level_places <- function(design, group = lapply(design$groups, as.integer), n = nrow(design$Z)) {
  of_factor <- factor_of_column(design)
  size <- tabulate(of_factor, length(design$groups))
  first <- cumsum(c(0L, size * vapply(design$groups, nlevels, 0L)))
  place <- vapply(seq_along(of_factor), function(k) {
    f <- of_factor[k]
    level <- rep_len(group[[f]], n)
    ifelse(level == 0L, 0L, first[f] + (level - 1L) * size[f] + k - match(f, of_factor) + 1L)
  }, integer(n))
  matrix(as.integer(place), n)
}

# The model as C has it, with all coefficients.
level_model <- function(fit) {
  model <- model_of(fit)
  model[c("map", "origin")] <- list(NULL)
  model
}

level_products <- function(fit, B, inverse, parts = scales_of(fit)) {
  parts["beta"] <- list(NULL)
  .Call(C_glmm_levels, level_model(fit), parts, B, inverse)
}

# `excess`: list(A, b), covariance and bias of the entries of Sigma in pairs and of the residual
# variances.
level_spread <- function(fit, parts, i, j, excess = list(A = NULL, b = NULL)) {
  parts["beta"] <- list(NULL)
  .Call(C_glmm_spread, level_model(fit), parts, as.integer(i), as.integer(j), excess$A, excess$b)
}

# In the order of glmm_traces: the pairs of Sigma, then the residual variances.
level_traces <- function(fit, parts) {
  parts["beta"] <- list(NULL)
  .Call(C_glmm_traces, level_model(fit), parts)
}

level_sums <- function(design, a) {
  place <- level_places(design)
  out <- matrix(0, level_count(design), ncol(a))
  for (k in seq_len(ncol(place))) {
    sums <- rowsum(design$Z[, k] * a, place[, k], reorder = TRUE)
    at <- as.integer(rownames(sums))
    out[at, ] <- out[at, ] + sums
  }
  out
}

level_rows <- function(design, u) {
  place <- level_places(design)
  out <- matrix(0, nrow(place), ncol(u))
  for (k in seq_len(ncol(place))) out <- out + design$Z[, k] * u[place[, k], , drop = FALSE]
  out
}

# As many columns at a time as fit into some 160 MB.
level_strips <- function(columns, N, each = 1) {
  unname(split(columns, ceiling(seq_along(columns) / strip_width(N, each))))
}

strip_width <- function(N, each = 1) max(64, floor(2e7 / (N * each)))

unit_columns <- function(N, columns) {
  E <- matrix(0, N, length(columns))
  E[cbind(columns, seq_along(columns))] <- 1
  E
}

# Where levels of a row have no row in common their entry is found from products.
level_forms <- function(known, place, Z, N) {
  Z[is.na(place) | place == 0] <- 0
  place[Z == 0] <- 1L
  value <- numeric(nrow(Z))
  pairs <- which(upper.tri(diag(ncol(Z)), diag = TRUE), arr.ind = TRUE)
  at <- lapply(seq_len(nrow(pairs)), function(k) which(Z[, pairs[k, 1]] * Z[, pairs[k, 2]] != 0))
  i <- place[cbind(unlist(at), rep(pairs[, 1], lengths(at)))]
  j <- place[cbind(unlist(at), rep(pairs[, 2], lengths(at)))]
  entry <- known$entries(i, j)
  apart <- which(is.na(entry))
  entry[apart] <- level_entries(known$times, i[apart], j[apart], N, known$each)
  entry <- split(entry, rep(factor(seq_along(at)), lengths(at)))
  for (k in seq_along(at)) {
    rows <- at[[k]]
    twice <- if (pairs[k, 1] == pairs[k, 2]) 1 else 2
    value[rows] <- value[rows] + twice * Z[rows, pairs[k, 1]] * Z[rows, pairs[k, 2]] * entry[[k]]
  }
  value
}

# B at rows i and columns j.
level_entries <- function(times, i, j, N, each = 1) {
  value <- numeric(length(i))
  if (length(i) == 0) return(value)
  for (strip in level_strips(sort(unique(j)), N, each)) {
    B <- times(unit_columns(N, strip))
    column <- match(j, strip)
    here <- which(!is.na(column))
    value[here] <- B[cbind(i[here], column[here])]
  }
  value
}

level_gains <- function(parts) {
  do.call(rbind, lapply(parts, function(part) {
    size <- dim(part$gain)
    matrix(aperm(part$gain, c(1, 3, 2)), size[1] * size[3], size[2])
  }))
}

# The term of each of the N latent variables.
level_terms <- function(design) {
  of_factor <- split(seq_along(factor_of_column(design)), factor_of_column(design))
  unlist(Map(rep, of_factor, vapply(design$groups, nlevels, 0L)), use.names = FALSE)
}

# Each two of the N that are terms of one level (or the same): i, j.
level_pairs <- function(design) {
  terms <- split(seq_along(factor_of_column(design)), factor_of_column(design))
  size <- rep(lengths(terms), vapply(design$groups, nlevels, 0L)) # of each level
  first <- cumsum(c(0L, size))[seq_along(size)]
  i <- unlist(Map(function(from, q) from + rep(seq_len(q), q), first, size))
  j <- unlist(Map(function(from, q) from + rep(seq_len(q), each = q), first, size))
  list(i = i, j = j)
}

# From N numbers to those of each factor, m x q.
by_factor <- function(design, value) {
  size <- lengths(split(column_groups(design), factor_of_column(design)))
  m <- vapply(design$groups, nlevels, 0L)
  pieces <- split(value, rep(seq_along(m), m * size))
  stats::setNames(Map(function(x, q) matrix(x, ncol = q, byrow = TRUE), pieces, size),
                  names(design$groups))
}

# ---- predictions -------------------------------------------------------------------------

# A row of zeros, of new levels, above those of A: at index level + 1.
below_zero <- function(A) rbind(matrix(0, 1, ncol(A)), A)

# Variance of x'beta + z'u by row: u | beta has the covariance whose products are `times`, and its
# mean moves by -gain with beta, of covariance C.
level_variance <- function(X, Z, place, known) {
  N <- nrow(known$gain)
  Z[place == 0] <- 0
  for (k in seq_len(ncol(Z))) {
    X <- X - Z[, k] * below_zero(known$gain)[place[, k] + 1L, , drop = FALSE]
  }
  quadratic_rows(X, known$C) + level_forms(known, place, Z, N)
}

# As mean_variance(): with the uncertainty of the law where levels of the fit are in it, and the law
# itself of those that are new.
crossed_mean_variance <- function(object, data, X, group) {
  Z <- row_random(object, data)
  place <- level_places(design_of(object), group, nrow(Z))
  variance <- level_variance(X, Z, place, known_scales(object))
  if (method_of(object) == "vb") variance <- variance + crossed_scale_variance(object, X, Z, place)
  seen <- which(!is_new(group, nrow(Z)))
  excess <- if (length(seen) > 0) scale_excess(object)
  if (!is.null(excess)) {
    variance[seen] <- variance[seen] +
      level_variance(X, Z, place, excess)[seen]
  }
  variance + new_level_variance(object, Z, place)
}

# z'Sigma z of the terms whose levels are new.
new_level_variance <- function(object, Z, place) {
  Z[place != 0] <- 0
  law_variance_of(object, Z)
}

# What is known where the variances are.
known_levels <- function(fit) {
  vb <- method_of(fit) == "vb"
  list(C = if (vb) conditional_cov(fit) else coefficient_cov(fit),
       gain = level_gains(if (vb) exact_parts(fit) else latent_parts(fit)), each = 1,
       entries = function(i, j) level_spread(fit, scales_of(fit), i, j),
       times = function(E) level_products(fit, E, TRUE))
}

# As latent_rows_given(): at the state that at_eta() gives. Levels that are gone are NA.
crossed_rows_given <- function(fit, state) {
  design <- design_of(fit)
  place <- level_places(design)
  means <- unlist(lapply(state$latent, function(one) t(one$mean)))
  gains <- level_gains(state$latent)
  mean <- numeric(nrow(place))
  gain <- matrix(0, nrow(place), ncol(gains))
  for (k in seq_len(ncol(place))) {
    mean <- mean + design$Z[, k] * means[place[, k]]
    gain <- gain + design$Z[, k] * gains[place[, k], , drop = FALSE]
  }
  scales <- list(Sigma = state$Sigma, smooth = state$smooth_sd, sigma = state$sigma)
  known <- list(times = state_products(fit, state), each = 1,
                entries = function(i, j) level_spread(fit, scales, i, j))
  spread <- level_forms(known, place, design$Z, nrow(gains))
  list(mean = mean, gain = gain, spread = replace(spread, is.na(mean), NA))
}

# S E at a state, of one factor too, whose S is its levels' covariances side by side.
state_products <- function(fit, state) {
  scales <- list(Sigma = state$Sigma, smooth = state$smooth_sd, sigma = state$sigma)
  if (is_crossed(design_of(fit))) return(function(E) level_products(fit, E, TRUE, scales))
  q <- ncol(design_of(fit)$Z)
  function(E) {
    out <- array(0, c(q, nrow(E) / q, ncol(E)))
    E <- array(E, dim(out))
    for (j in seq_len(q)) for (k in seq_len(q)) {
      out[j, , ] <- out[j, , ] + state$cov[j, k, ] * E[k, , ]
    }
    matrix(out, q * dim(out)[2])
  }
}

# As scale_variance().
crossed_scale_variance <- function(fit, X, Z, place) {
  info <- information_of(fit)
  response <- level_gains(lapply(latent_responses(fit), function(gain) list(gain = gain)))
  moved <- X %*% coefficient_response(fit)
  for (k in seq_len(ncol(Z))) {
    moved <- moved + Z[, k] * below_zero(response)[place[, k] + 1L, , drop = FALSE]
  }
  quadratic_rows(moved, info$eta_cov[info$moves, info$moves, drop = FALSE])
}
