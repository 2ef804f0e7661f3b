# What scale_uncertainty.R asks of several grouping factors. Where one factor has a small matrix for
# each group, S and Z'V_0^-1 Z here join all levels, and are known by their products.
#
#   crossed_marginal_rows(fit, directions, state)   as marginal_rows()
#   crossed_scale_state(standard, parts)            as scale_state(), at other variances
#   crossed_excess(info)                            as scale_excess(): list(C, gain, entries, times,
#                                                   each)

crossed_scale_state <- function(standard, parts) {
  parts["beta"] <- list(NULL)
  at <- .Call(C_glmm_at, model_of(standard), parts)
  if (at$status != 0L) return(NULL)
  list(parts = parts, gain = level_gains(at$latent), C = at$beta_cov)
}

crossed_marginal_rows <- function(fit, directions, state) {
  design <- design_of(fit)
  s2 <- residual_variance(fit)
  known <- level_traces(fit, state$parts)
  at <- list(
    X = cbind(design$X[, information_of(fit)$free_beta, drop = FALSE], design$B), Z = design$Z,
    group = lapply(factor_of_column(design), function(f) as.integer(design$groups[[f]])),
    C = state$C, gain = state$gain, directions = directions, design = design,
    times = function(B, inverse) level_products(fit, B, inverse, state$parts),
    spread = function(i, j, excess) level_spread(fit, state$parts, i, j, excess),
    s2 = state$parts$sigma^2, level = design$level,
    moves = direction_moves(fit, directions, known)
  )
  at$traces <- t(at$moves) %*% known$traces %*% at$moves
  at$times_level <- function(l, u) {
    if (is.null(design$level)) return(at$times(u, FALSE))
    level_sums(design, (as.integer(design$level) == l) / s2 * level_rows(design, u))
  }
  at$solve <- function(a) {
    a <- unname(a / s2)
    a - level_rows(design, at$times(level_sums(design, a), TRUE)) / s2
  }
  at$v <- at$solve(at$X)
  at$PX <- at$v - at$v %*% (at$C %*% crossprod(at$v, at$X))
  at$moved <- lapply(directions, function(d) direction_times(at, d, at$v))
  at$solved <- lapply(at$moved, at$solve)
  at
}

# By what directions move the entries of Sigma in pairs and the residual variances.
direction_moves <- function(fit, directions, known) {
  pairs <- cbind(known$a, known$b)
  size <- nrow(known$traces)
  vapply(directions, function(d) {
    row <- numeric(size)
    switch(d$kind, latent = replace(row, seq_len(nrow(pairs)), d$G[pairs]),
           residual = replace(row, nrow(pairs) + d$level, 1), smooth = NA * row)
  }, numeric(size))
}

# ---- what it adds --------------------------------------------------------------------------------

# In the units of the data: `times`, the products of 2 G - sum_k bias_k dS/dpsi_k.
crossed_excess <- function(info) {
  at <- info$at
  units <- info$units
  latent <- 1 / units$latent[level_terms(at$design)]
  beta <- 1 / units$beta
  known <- colSums(is.na(at$moves)) == 0 # not by curves, whose coefficients are given
  law <- at$moves[, known, drop = FALSE]
  of_law <- list(A = law %*% info$A[known, known, drop = FALSE] %*% t(law),
                 b = drop(law %*% info$bias[known]))
  list(C = scale_cov(coefficient_excess(info), beta),
       gain = at$gain / latent * rep(beta, each = nrow(at$gain)),
       entries = function(i, j) at$spread(i, j, of_law) / (latent[i] * latent[j]),
       times = function(E) excess_products(info, E / latent) / latent,
       each = 2 + length(at$directions))
}

# With T = I - S A, A = Z'WZ, and A_l its part of the rows of residual variance l: du/dpsi is
# L V_0^-1 (y - X beta), L = T G Z' of an entry of Sigma, -S Z' s2^-1 (rows of l) of a residual
# variance. So E'L' = a' with a = Z c, c = G T'E, or -s2^-1 (rows of l) Z S E; h = Z'W a, and
# Z'V_0^-1 a = h - A S h.
excess_products <- function(info, E) {
  at <- info$at
  kind <- vapply(at$directions, `[[`, "", "kind")
  latent <- which(kind == "latent")
  residual <- which(kind == "residual")
  level <- vapply(at$directions[residual], `[[`, 0L, "level")
  A <- 2 * info$A
  SE <- at$times(E, TRUE)
  TE <- E - at$times(SE, FALSE)
  c <- lapply(at$directions[latent], function(d) by_law(at$design, d$G, TE))
  b <- lapply(level, function(l) at$times_level(l, SE) / at$s2[l])
  apart <- function(stacked) {
    lapply(seq_len(ncol(stacked) / ncol(E)), function(k) {
      stacked[, (k - 1) * ncol(E) + seq_len(ncol(E)), drop = FALSE]
    })
  }
  sum_of <- function(list, weights) Reduce(`+`, Map(`*`, list, weights), 0 * E)
  h <- do.call(cbind, c(if (length(c) > 0) list(at$times(do.call(cbind, c), FALSE)),
                        lapply(b, `-`)))
  Sh <- at$times(h, TRUE)
  Q <- apart(h - at$times(Sh, FALSE))
  Sh <- apart(Sh)
  order <- c(latent, residual)
  x <- y <- 0 * E
  for (k in latent) {
    x <- x + by_law(at$design, at$directions[[k]]$G,
                    sum_of(Q, A[k, order]) - info$bias[k] * TE)
  }
  for (i in seq_along(residual)) {
    k <- residual[i]
    moved <- at$times_level(level[i], sum_of(c, A[k, latent]) - sum_of(Sh, A[k, order]))
    y <- y - (moved - A[k, k] * b[[i]]) / at$s2[level[i]] - info$bias[k] * b[[i]]
  }
  x + at$times(y - at$times(x, FALSE), TRUE)
}

# G u_g of every level.
by_law <- function(design, G, u) {
  term <- level_terms(design)
  out <- 0 * u
  for (i in which(rowSums(G != 0) > 0)) for (j in which(G[i, ] != 0)) {
    out[term == i, ] <- out[term == i, ] + G[i, j] * u[term == j, ]
  }
  out
}
