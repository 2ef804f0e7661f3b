# What it costs not to know the variances: second-order terms of em and reml fits.
#
# The covariance matrix of the rows is V = sum_k psi_k V_k, psi the entries of Sigma that are free,
# the residual variances and the variances of curves. On this scale zero is an ordinary point: the
# expected restricted information I_kl = tr(P V_k P V_l) / 2, P = V^-1 - V^-1 X C X'V^-1, is
# finite and positive there, where that of standard deviations is not (Kenward and Roger 1997,
# Biometrics 53:983). With A = I^-1
#
#   coefficients     C + 2 L,    L = sum_kl A_kl Cov(dbeta/dpsi_k, dbeta/dpsi_l)
#   latent vectors   S_g + 2 G_g, G_g = sum_kl A_kl Cov(du_g/dpsi_k, du_g/dpsi_l)
#
# given psi, S_g = Var(u_g | y, beta): one L or G is the error that estimates of psi add (Kackar and
# Harville 1984, JASA 79:853), the other what S and C at these estimates miss on average (Prasad and
# Rao 1990, JASA 85:163). Marginal maximum likelihood has estimates that are too small by b = A
# tr(C X'V^-1 V_k V^-1 X) / 2, to first order, which is put back (Datta and Lahiri 2000, Statistica
# Sinica 10:613).
#
# Derivatives change fast near zero (a variance of zero makes all groups equal, one standard error
# of it may not), so they, and A, are taken where each variance is at least one standard error above
# zero.
#
# Groups are kept as rows: an m x q^2 matrix holds a q x q matrix each. V_0 is V without curves,
# whose coefficients count as columns of X with a prior: P is the same.
#
#   scale_information(fit, state)   A and what it is made of; NULL where no scale is free
#   steady_information(fit)     the same, off zero, in standard units (`units` leads back)
#   scale_excess(fit)           what is added to covariances of coefficients and latent vectors
#   boundary_df(fit, L)         degrees of freedom where a variance is at zero

scale_information <- function(fit, state = scale_state(fit)) {
  directions <- scale_directions(fit)
  if (length(directions) == 0) return(NULL)
  rows <- if (is_crossed(design_of(fit))) crossed_marginal_rows else marginal_rows
  at <- rows(fit, directions, state)
  M <- lapply(at$moved, function(a) crossprod(at$v, a))
  CM <- lapply(M, function(m) at$C %*% m)
  information <- pairwise(directions, function(k, l) {
    smooth <- c(directions[[k]]$kind, directions[[l]]$kind) == "smooth"
    if (smooth[1]) return(curve_trace(at, k, l) / 2)
    if (smooth[2]) return(curve_trace(at, l, k) / 2)
    (marginal_trace(at, k, l) - 2 * sum(at$C * crossprod(at$moved[[k]], at$solved[[l]])) +
       sum(CM[[k]] * t(CM[[l]]))) / 2
  })
  A <- 0 * information
  told <- which(is_told(information, at))
  A[told, told] <- invert_information(information[told, told, drop = FALSE])
  lost <- is.na(diag(A)) | !seq_along(directions) %in% told
  A[is.na(A)] <- 0
  bias <- 0 * diag(A)
  if (method_of(fit) == "em") bias <- -drop(A %*% vapply(CM, function(m) sum(diag(m)), 0)) / 2
  list(information = information, A = A, lost = lost, bias = bias, M = M, at = at)
}

# Covariances of the latent vectors given the coefficients, and of the coefficients, at the
# estimates.
scale_state <- function(fit) {
  if (is_crossed(design_of(fit))) {
    return(list(parts = theta_parts(fit), gain = level_gains(latent_parts(fit)),
                C = unname(coefficient_cov(fit))))
  }
  c(moments_of(fit)[c("cov", "gain")], list(C = unname(coefficient_cov(fit))))
}

steady_information <- function(fit) {
  standard <- standard_fit(fit)
  info <- c(scale_information(standard), list(units = standard_units_of(standard)))
  if (is.null(info$A)) return(NULL)
  se <- sqrt(diag(info$A))
  parts <- there <- theta_parts(standard)
  for (k in seq_along(se)) {
    d <- info$at$directions[[k]]
    if (d$kind == "smooth") there$smooth[d$curve] <- max(parts$smooth[d$curve], sqrt(se[k]))
    if (d$kind != "latent" || d$entry[1] != d$entry[2]) next
    own <- which(diag(d$G) == 1)
    there$Sigma[cbind(own, own)] <- max(parts$Sigma[own[1], own[1]], se[k])
  }
  if (identical(parts, there)) return(info)
  if (is_crossed(design_of(fit))) {
    state <- crossed_scale_state(standard, there)
    if (is.null(state)) return(info)
    return(c(scale_information(standard, state), list(units = info$units)))
  }
  there <- user_scales(there, standard_units_of(standard), theta_parts(fit)$sigma)
  there["beta"] <- list(NULL)
  state <- .Call(C_glmm_at, model_of(fit), there)
  if (state$status != 0L) return(info) # the coefficients cannot be told apart off zero
  state <- list(cov = state$cov, gain = state$gain, C = state$beta_cov)
  units <- standard_units_of(standard)
  c(scale_information(standard, standard_state(state, units)), list(units = units))
}

# Whether the data say anything about each variance once the coefficients have taken theirs: not
# where they fit every group.
is_told <- function(information, at) {
  vapply(seq_along(at$directions), function(k) {
    at$directions[[k]]$kind == "smooth" || information[k, k] > 1e-10 * marginal_trace(at, k, k)
  }, NA)
}

# A symmetric matrix of f(k, l).
pairwise <- function(x, f) {
  n <- length(x)
  out <- matrix(0, n, n)
  for (k in seq_len(n)) for (l in seq_len(k)) out[k, l] <- out[l, k] <- f(k, l)
  out
}

# What moves V: an `entry` of Sigma (`G` = dSigma / dpsi), the residual variance of a level (`row`:
# dV / dpsi, by row), the variance of a curve (`columns` of [X, B]).
scale_directions <- function(fit) {
  free <- function(block) {
    which(!parameters_of(fit)$fixed[parameters_of(fit)$block == block])
  }
  level <- design_of(fit)$level
  before <- length(information_of(fit)$free_beta)
  of_curve <- if (has_curves(fit)) smooth_rows(fit)
  c(
    covariance_directions(fit),
    lapply(free("sigma"), function(l) {
      own <- if (is.null(level)) rep(1, nobs(fit)) else as.integer(level) == l
      list(kind = "residual", level = l, row = own / prior_weights(fit))
    }),
    lapply(free("smooth"), function(s) {
      list(kind = "smooth", curve = s, columns = before + which(of_curve == s))
    })
  )
}

# dSigma by each variance that is free, and by each entry between two terms, or each correlation
# that several share. A correlation that is held or shared ties the entries to their variances.
covariance_directions <- function(fit) {
  design <- design_of(fit)
  Sigma <- latent_law(fit)
  q <- nrow(Sigma)
  fixed <- parameters_of(fit)$fixed
  shape <- law_shape(design)
  pairs <- covariance_pairs(column_blocks(design))
  own <- shape$law[column_blocks(design)[pairs[, 1]]] == "us" # an entry of its own
  held <- fixed[in_block(parameters_of(fit), "cor")]
  tied <- !own | c(held, TRUE)[ifelse(shape$cor == 0, length(held) + 1, shape$cor)]
  variances <- lapply(which(!fixed[parameters_of(fit)$block == "sd"]), function(i) {
    columns <- which(shape$sd == i)
    G <- diag(as.numeric(seq_len(q) %in% columns), q)
    for (k in which(tied)) {
      ends <- pairs[k, ]
      entry <- Sigma[ends[1], ends[2]]
      if (entry == 0) next
      share <- sum(ends %in% columns) / 2
      G[rbind(ends, rev(ends))] <- share * entry / Sigma[columns[1], columns[1]]
    }
    list(kind = "latent", entry = columns[c(1, 1)], G = G)
  })
  sd <- sqrt(diag(Sigma))
  cor <- unname(theta(fit)[in_block(parameters_of(fit), "cor")])
  c(variances, lapply(which(!held), function(k) {
    of <- pairs[shape$cor == k, , drop = FALSE]
    lag <- shape$lag[shape$cor == k]
    entry <- if (own[shape$has_cor[k]]) 1
             else sd[of[, 1]] * sd[of[, 2]] * lag * c(cor[k], 0)[1]^(lag - 1)
    G <- matrix(0, q, q)
    G[rbind(of, of[, 2:1, drop = FALSE])] <- c(entry, entry)
    list(kind = "latent", entry = of[1, ], G = G)
  }))
}

# The rows of the fit: X with the columns of curves, v = V_0^-1 X, of each direction V_k v (`moved`)
# and V_0^-1 V_k v (`solved`); and the groups: A = Z'WZ, W the residual precisions, S = Var(u | y,
# beta), F = I - A S, with which Z'V_0^-1 = F Z'W.
marginal_rows <- function(fit, directions, state) {
  design <- design_of(fit)
  s2 <- residual_variance(fit)
  q <- ncol(design$Z)
  at <- list(
    X = cbind(design$X[, information_of(fit)$free_beta, drop = FALSE], design$B), Z = design$Z,
    W = 1 / s2, q = q, group = if (q > 0) as.integer(the_group(design)) else rep(1L, length(s2)),
    S = matrix(state$cov, ncol = q^2, byrow = TRUE), C = state$C,
    gain = state$gain, directions = directions,
    solve = function(a) unname(solve_marginal(design, s2, state$cov, a))
  )
  at$v <- at$solve(at$X)
  at$PX <- at$v - at$v %*% (at$C %*% crossprod(at$v, at$X))
  at$moved <- lapply(directions, function(d) direction_times(at, d, at$v))
  at$solved <- lapply(at$moved, at$solve)
  at$A <- group_squares(at, at$W)
  at$F <- constant_groups(diag(q), at) - multiply_groups(at$A, at$S, q)
  at$h <- if (q > 0) at$W * quadratic_form(design, state$cov) else 0
  at$squares <- lapply(directions, function(d) {
    if (d$kind == "residual") group_squares(at, d$row * at$W^2)
  })
  at
}

# sum_i weight_i z_i z_i' of each group.
group_squares <- function(at, weight) {
  if (at$q == 0) return(matrix(0, nrow(at$S), 0))
  i <- rep(seq_len(at$q), at$q)
  j <- rep(seq_len(at$q), each = at$q)
  products <- at$Z[, i, drop = FALSE] * at$Z[, j, drop = FALSE]
  unname(rowsum(products * weight, at$group, reorder = TRUE))
}

constant_groups <- function(G, at) matrix(as.vector(G), nrow(at$S), at$q^2, byrow = TRUE)

transpose_groups <- function(A, q) A[, as.vector(t(matrix(seq_len(q^2), q, q))), drop = FALSE]

# A_g B_g C_g ... of each group.
group_product <- function(q, ...) Reduce(function(A, B) multiply_groups(A, B, q), list(...))

# V_k a.
direction_times <- function(at, direction, a) {
  if (direction$kind == "residual") return(direction$row * a)
  if (direction$kind == "smooth") {
    B <- at$X[, direction$columns, drop = FALSE]
    return(B %*% crossprod(B, a))
  }
  out <- 0 * a
  for (j in which(colSums(direction$G != 0) > 0)) {
    group <- if (is.list(at$group)) at$group[[j]] else at$group
    sums <- rowsum(at$Z[, j] * a, group, reorder = TRUE)
    out <- out + drop(at$Z %*% direction$G[, j]) * sums[group, , drop = FALSE]
  }
  unname(out)
}

# tr(V_0^-1 V_k V_0^-1 V_l) of entries of Sigma and residual variances.
marginal_trace <- function(at, k, l) {
  if (!is.null(at$traces)) return(at$traces[k, l])
  if (at$directions[[k]]$kind == "residual") {
    swap <- k
    k <- l
    l <- swap
  }
  of <- at$directions[c(k, l)]
  q <- at$q
  if (of[[2]]$kind == "latent") {
    half <- lapply(of, function(d) group_product(q, at$F, at$A, constant_groups(d$G, at)))
    return(sum(half[[1]] * transpose_groups(half[[2]], q)))
  }
  Q <- at$squares[[l]]
  if (of[[1]]$kind == "latent") {
    FQF <- group_product(q, at$F, Q, transpose_groups(at$F, q))
    return(sum(constant_groups(of[[1]]$G, at) * FQF))
  }
  SQ <- lapply(at$squares[c(k, l)], function(Q) group_product(q, at$S, Q))
  sum(of[[1]]$row * of[[2]]$row * at$W^2 * (1 - 2 * at$h)) +
    sum(SQ[[1]] * transpose_groups(SQ[[2]], q))
}

# tr(P V_k P V_l) where V_k = B B' is that of a curve: the sum of b'P V_l P b over its columns.
curve_trace <- function(at, k, l) {
  other <- at$directions[[l]]
  PB <- at$PX[, at$directions[[k]]$columns, drop = FALSE]
  sum(PB * direction_times(at, other, PB))
}

# ---- what it adds --------------------------------------------------------------------------------

# What it adds to the covariances of coefficients (`C`) and of latent vectors given them (`cov`),
# and how the latent vectors move with the coefficients (`gain`); NULL where nothing is added: of
# points, of q of vb, where no scale is free.
scale_excess <- function(fit) {
  if (!method_of(fit) %in% c("em", "reml")) return(NULL)
  info <- steady_information(fit)
  if (is.null(info)) return(NULL)
  units <- info$units
  if (is_crossed(design_of(fit))) return(crossed_excess(info))
  cov <- array(t(latent_excess(info)), dim(moments_of(fit)$cov))
  back <- lapply(units[c("beta", "latent")], function(unit) 1 / unit)
  excess <- standard_state(list(C = coefficient_excess(info), cov = cov, gain = info$at$gain), back)
  excess[c("C", "cov", "gain")]
}

# 2 L - sum_k bias_k dC/dpsi_k. With R_k'P y the derivative of the coefficients, R_k = -V_k v C; of
# a curve's variance B_k Y_k', Y_k = (I - C X'V_0^-1 X) e_k the columns of its coefficients, which
# is finite where that variance is zero.
coefficient_excess <- function(info) {
  at <- info$at
  C <- at$C
  Y <- (diag(nrow(C)) - C %*% crossprod(at$X, at$v))
  R <- Map(function(d, moved) {
    if (d$kind == "smooth") at$X[, d$columns, drop = FALSE] %*% t(Y[, d$columns, drop = FALSE])
    else -moved %*% C
  }, at$directions, at$moved)
  PR <- lapply(R, function(r) at$solve(r) - at$v %*% (C %*% crossprod(at$v, r)))
  out <- 0 * C
  for (k in seq_along(R)) {
    d <- at$directions[[k]]
    slope <- if (d$kind == "smooth") tcrossprod(Y[, d$columns, drop = FALSE])
             else C %*% info$M[[k]] %*% C
    out <- out - info$bias[k] * slope
    for (l in seq_along(R)) out <- out + 2 * info$A[k, l] * crossprod(R[[k]], PR[[l]])
  }
  (out + t(out)) / 2
}

# 2 G - sum_k bias_k dS/dpsi_k, in rows. Of an entry of Sigma du/dpsi = F'G s, s = Z'V_0^-1 (y - X
# beta) with variance F A; of a residual variance -S Z'W D V_0^-1 (y - X beta).
latent_excess <- function(info) {
  at <- info$at
  q <- at$q
  Ft <- transpose_groups(at$F, q)
  left <- Map(function(d, Q) {
    if (d$kind == "latent") group_product(q, Ft, constant_groups(d$G, at), at$F)
    else if (d$kind == "residual") -group_product(q, at$S, Q, Ft)
  }, at$directions, at$squares)
  out <- 0 * at$S
  for (k in seq_along(left)) {
    d <- at$directions[[k]]
    if (d$kind == "smooth") next # through the coefficients
    slope <- if (d$kind == "latent") left[[k]] else group_product(q, at$S, at$squares[[k]], at$S)
    out <- out - info$bias[k] * slope
    for (l in seq_along(left)) {
      if (at$directions[[l]]$kind == "smooth") next
      out <- out + 2 * info$A[k, l] * latent_derivative_cov(at, k, l)
    }
  }
  (out + transpose_groups(out, q)) / 2
}

# Cov(du_g/dpsi_k, du_g/dpsi_l), to the order at which V_0^-1 stands for P.
latent_derivative_cov <- function(at, k, l) {
  q <- at$q
  of <- at$directions[c(k, l)]
  Ft <- transpose_groups(at$F, q)
  G <- lapply(of, function(d) if (d$kind == "latent") constant_groups(d$G, at))
  Q <- at$squares[c(k, l)]
  kinds <- c(of[[1]]$kind, of[[2]]$kind)
  if (all(kinds == "latent")) return(group_product(q, Ft, G[[1]], at$F, at$A, G[[2]], at$F))
  if (all(kinds == "residual")) {
    E <- group_squares(at, of[[1]]$row * of[[2]]$row * at$W^3)
    return(group_product(q, at$S, E - group_product(q, Q[[1]], at$S, Q[[2]]), at$S))
  }
  if (kinds[1] == "residual") return(transpose_groups(latent_derivative_cov(at, l, k), q))
  -group_product(q, Ft, G[[1]], at$F, Q[[2]], at$S)
}

# ---- degrees of freedom --------------------------------------------------------------------

# Satterthwaite's with A on the scale of variances: of a balanced design the groups less the
# coefficients between them, as without a boundary.
boundary_df <- function(fit, L) {
  info <- steady_information(fit)
  L <- L * rep(info$units$beta[seq_len(ncol(L))], each = nrow(L))
  C <- info$at$C
  vapply(seq_len(nrow(L)), function(i) {
    l <- drop(C %*% c(L[i, ], numeric(nrow(C) - ncol(L))))
    g <- vapply(info$M, function(M) sum(l * (M %*% l)), 0)
    # What the coefficients reach of a lost variance moves theirs; of others it leaves rounding.
    if (!isTRUE(all(abs(g[info$lost]) <= 1e-8 * max(abs(g))))) return(NA_real_)
    satterthwaite_df(sum(l[seq_len(ncol(L))] * L[i, ]), g, info$A)
  }, 0)
}

has_singular_law <- function(fit) {
  any(parameters_of(fit)$boundary) || length(singular_blocks(fit)) > 0
}
