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
  if (!is.null(design$level)) {
    not_for_crossed(fit, "what estimated variances add, with a `sigma` of each level,",
                    "Leave `sigma` out of the model, or take bootstrap().")
  }
  s2 <- residual_variance(fit)
  at <- list(
    X = cbind(design$X[, information_of(fit)$free_beta, drop = FALSE], design$B), Z = design$Z,
    group = lapply(factor_of_column(design), function(f) as.integer(design$groups[[f]])),
    C = state$C, gain = state$gain, directions = directions, design = design,
    times = function(B, inverse) level_products(fit, B, inverse, state$parts),
    s2 = state$parts$sigma^2, traces = direction_traces(fit, directions, state$parts)
  )
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
  J <- vapply(directions, function(d) {
    switch(d$kind, latent = c(d$G[pairs], 0), residual = c(0 * known$a, 1),
           smooth = rep(NA_real_, nrow(pairs) + 1))
  }, numeric(nrow(pairs) + 1))
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

# With T = I - S A, A = Z'WZ: du/dpsi = T G Z'V_0^-1 (y - X beta) of an entry of Sigma, and of the
# residual variance -S A (Z'A^-1) ..., both L Z'V_0^-1 (y - X beta) with L = T G or -S / s2; and
# Z'V_0^-1 Z = A T.
excess_products <- function(info, E) {
  at <- info$at
  kept <- which(vapply(at$directions, `[[`, "", "kind") != "smooth")
  kinds <- vapply(at$directions[kept], `[[`, "", "kind")
  SE <- at$times(E, TRUE)
  ASE <- at$times(SE, FALSE)
  c <- lapply(at$directions[kept], function(d) {
    if (d$kind == "latent") by_law(at$design, d$G, E - ASE) else -SE / at$s2
  })
  size <- ncol(E)
  moved <- at$times(do.call(cbind, c), FALSE) # A T c = A c - A S A c
  moved <- moved - at$times(at$times(moved, TRUE), FALSE)
  Q <- lapply(seq_along(kept), function(l) moved[, (l - 1) * size + seq_len(size), drop = FALSE])
  x <- y <- 0 * E
  for (k in seq_along(kept)) {
    sum <- 2 * Reduce(`+`, Map(`*`, Q, info$A[kept[k], kept]))
    bias <- info$bias[kept[k]]
    if (kinds[k] == "latent") x <- x + by_law(at$design, at$directions[[kept[k]]]$G,
                                              sum - bias * (E - ASE))
    else y <- y - (sum + bias * ASE) / at$s2
  }
  x + at$times(y - at$times(x, FALSE), TRUE)
}

# The term of each of the N latent variables.
level_terms <- function(design) {
  of_factor <- split(seq_along(factor_of_column(design)), factor_of_column(design))
  unlist(Map(rep, of_factor, vapply(design$groups, nlevels, 0L)), use.names = FALSE)
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
