# A Gibbs sampler of y = X beta + sum_f Z_f u_f + e with several grouping factors and one term each,
# written apart from the package:
#   beta_j ~ N(m_j, s_j^2), u_f ~ N(0, t_f^2 I), t_f half-t(df, A_f), sigma half-t(df, A_0),
# half-t as inverse gamma mixtures (Wand, Ormerod, Padoan and Fruehwirth 2011). beta and all u are
# drawn at once from their joint normal law, so that only the scales are a chain: it mixes in few
# steps whatever the design.
#
# `groups`: a list of factors. Rows of draws: beta, t_1, ..., sigma; attribute `u`: means and sds
# of the latent variables, factor after factor.

gibbs_crossed <- function(y, X, groups, n, mean, sd, df, A, burn = 200) {
  W <- do.call(cbind, c(list(X), lapply(groups, function(g) outer(g, levels(g), `==`) + 0)))
  size <- vapply(groups, nlevels, 0L)
  p <- ncol(X)
  factor <- rep(seq_along(groups), size)
  cross <- crossprod(W)
  with_y <- drop(crossprod(W, y))
  square <- sum(y^2)
  t2 <- rep(stats::var(y) / 4, length(groups))
  s2 <- stats::var(y) / 2
  draws <- matrix(0, n, p + length(groups) + 1)
  sum <- sum2 <- numeric(length(factor))
  # sd^2 given a sum of squares over m, through its auxiliary variable.
  draw_scale <- function(x2, m, ss, A) {
    a <- 1 / stats::rgamma(1, (df + 1) / 2, df / x2 + 1 / A^2)
    1 / stats::rgamma(1, (df + m) / 2, df / a + ss / 2)
  }
  for (i in seq_len(n + burn)) {
    prior <- c(1 / sd^2, 1 / t2[factor])
    R <- chol(cross / s2 + diag(prior))
    centre <- with_y / s2 + prior * c(mean, numeric(length(factor)))
    b <- backsolve(R, backsolve(R, centre, transpose = TRUE) + stats::rnorm(length(centre)))
    u <- b[-seq_len(p)]
    for (f in seq_along(groups)) {
      t2[f] <- draw_scale(t2[f], size[f], sum(u[factor == f]^2), A[f])
    }
    s2 <- draw_scale(s2, length(y), square - 2 * sum(b * with_y) + sum(b * (cross %*% b)),
                     A[length(groups) + 1])
    if (i <= burn) next
    draws[i - burn, ] <- c(b[seq_len(p)], sqrt(t2), sqrt(s2))
    sum <- sum + u
    sum2 <- sum2 + u^2
  }
  u <- cbind(mean = sum / n, sd = sqrt(sum2 / n - (sum / n)^2))
  structure(draws, u = u)
}
