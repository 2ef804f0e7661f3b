# What scale_uncertainty.R asks of several grouping factors. Where one factor has a small matrix for
# each group, S and Z'V_0^-1 Z here join all levels, and are known by their products.
#
#   crossed_marginal_rows(fit, directions, state)   as marginal_rows()
#   crossed_scale_state(standard, parts)            as scale_state(), at other variances
#   crossed_excess(info)                            as scale_excess(): list(C, gain, times, each)

crossed_scale_state <- function(standard, parts) {
  parts["beta"] <- list(NULL)
  at <- .Call(C_glmm_at, level_model(standard), parts)
  if (at$status != 0L) return(NULL)
  list(parts = parts, gain = level_gains(at$latent), C = at$beta_cov)
}

crossed_marginal_rows <- function(fit, directions, state) {
  design <- design_of(fit)
  s2 <- residual_variance(fit)
  at <- list(
    X = cbind(design$X[, information_of(fit)$free_beta, drop = FALSE], design$B), Z = design$Z,
    group = lapply(factor_of_column(design), function(f) as.integer(design$groups[[f]])),
    C = state$C, gain = state$gain, directions = directions, design = design,
    times = function(B, inverse) level_products(fit, B, inverse, state$parts),
    s2 = state$parts$sigma^2, level = design$level,
    traces = direction_traces(fit, directions, state$parts)
  )
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

# tr(V_0^-1 V_k V_0^-1 V_l) from those by the entries of Sigma.
direction_traces <- function(fit, directions, parts) {
  known <- level_traces(fit, parts)
  pairs <- cbind(known$a, known$b)
  n_pair <- nrow(pairs)
  J <- vapply(directions, function(d) {
    row <- numeric(nrow(known$traces))
    switch(d$kind, latent = replace(row, seq_len(n_pair), d$G[pairs]),
           residual = replace(row, n_pair + d$level, 1), smooth = NA * row)
  }, numeric(nrow(known$traces)))
  t(J) %*% known$traces %*% J
}

# ---- what it adds --------------------------------------------------------------------------------

# In the units of the data: `times`, the products of 2 G - sum_k bias_k dS/dpsi_k.
crossed_excess <- function(info) {
  at <- info$at
  units <- info$units
  latent <- 1 / units$latent[level_terms(at$design)]
  beta <- 1 / units$beta
  list(C = scale_cov(coefficient_excess(info), beta),
       gain = at$gain / latent * rep(beta, each = nrow(at$gain)),
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
