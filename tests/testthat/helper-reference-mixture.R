# Slow, obvious and independent references for mixtures.

# log N(x; mean, cov) of the entries of x that are not missing: the marginal law.
reference_log_normal <- function(x, mean, cov) {
  seen <- !is.na(x)
  if (!any(seen)) return(0)
  r <- x[seen] - mean[seen]
  S <- cov[seen, seen, drop = FALSE]
  -0.5 * (sum(seen) * log(2 * pi) + as.numeric(determinant(S)$modulus) + drop(r %*% solve(S, r)))
}

# Parameters of a normal mixture, read from the names of theta() alone.
reference_normal_components <- function(fit, variables) {
  theta <- theta(fit)
  lapply(seq_len(n_components(fit)), function(j) {
    sd <- theta[sprintf("sd__%s|%d", variables, j)]
    cor <- diag(length(variables))
    for (b in seq_along(variables)) for (a in seq_len(b - 1)) {
      cor[a, b] <- cor[b, a] <- theta[[sprintf("cor__%s.%s|%d", variables[a], variables[b], j)]]
    }
    list(mean = theta[sprintf("mean__%s|%d", variables, j)], cov = cor * outer(sd, sd))
  })
}

# sum_i log sum_j weight_ij prod_(rows r of i) exp l_rj; weight is a vector, or units x k.
reference_log_likelihood <- function(row_log_density, weight, unit = NULL) {
  by_unit <- if (is.null(unit)) row_log_density else rowsum(row_log_density, unit)
  if (!is.matrix(weight)) weight <- matrix(weight, nrow(by_unit), ncol(by_unit), byrow = TRUE)
  sum(log(rowSums(weight * exp(by_unit))))
}

reference_weights <- function(fit) theta(fit)[sprintf("weight|%d", seq_len(n_components(fit)))]

# Of a normal mixture of the columns of Y.
reference_normal_likelihood <- function(fit, Y, unit = NULL) {
  rows <- vapply(reference_normal_components(fit, colnames(Y)), function(part) {
    apply(Y, 1, reference_log_normal, part$mean, part$cov)
  }, numeric(nrow(Y)))
  reference_log_likelihood(rows, reference_weights(fit), unit)
}

# Slope of a function of theta at the estimates by central differences, along each entry times its
# `size`: zero at a maximum.
reference_slope <- function(f, theta, size, h = 1e-5) {
  vapply(seq_along(theta), function(i) {
    up <- down <- theta
    up[i] <- up[i] + h * size[i]
    down[i] <- down[i] - h * size[i]
    (f(up) - f(down)) / (2 * h)
  }, 0)
}

# ELBO of a normal mixture with q(weights) Dirichlet(alpha), q(mean, Sigma) = N(m, Sigma / kappa)
# inverse Wishart(df, scale), responsibilities at their best: Bishop (2006), 10.70 to 10.77, as
# sum_i log sum_j exp E_q[log p(y_i, z_i = j)] - KL(q(theta) || p(theta)).
reference_mixture_elbo <- function(Y, state, prior, alpha0) {
  d <- ncol(Y)
  k <- length(state$weights$alpha)
  log_det <- function(S) as.numeric(determinant(S)$modulus)
  multigamma <- function(a) d * (d - 1) / 4 * log(pi) + sum(lgamma(a + (1 - seq_len(d)) / 2))
  alpha <- state$weights$alpha
  log_weight <- digamma(alpha) - digamma(sum(alpha))
  kl <- lgamma(sum(alpha)) - sum(lgamma(alpha)) - lgamma(sum(alpha0)) + sum(lgamma(alpha0)) +
    sum((alpha - alpha0) * log_weight)
  rho <- matrix(0, nrow(Y), k)
  for (j in seq_len(k)) {
    m <- state$normal$mean[, j]
    kappa <- state$normal$kappa[j]
    df <- state$normal$df[j]
    S <- state$normal$scale[, , j]
    P <- df * solve(S)
    log_det_precision <- sum(digamma((df + 1 - seq_len(d)) / 2)) + d * log(2) - log_det(S)
    R <- sweep(Y, 2, m)
    rho[, j] <- log_weight[j] +
      0.5 * (log_det_precision - d * log(2 * pi) - d / kappa - rowSums((R %*% P) * R))
    shift <- m - prior$prior_mean
    kl <- kl + 0.5 * (d * prior$prior_kappa / kappa - d - d * log(prior$prior_kappa / kappa) +
                        prior$prior_kappa * drop(shift %*% P %*% shift))
    log_wishart <- function(df, S) df / 2 * log_det(S) - df * d / 2 * log(2) - multigamma(df / 2)
    kl <- kl + log_wishart(df, S) - log_wishart(prior$prior_df, prior$prior_scale) +
      (df - prior$prior_df) / 2 * log_det_precision - 0.5 * sum(diag((S - prior$prior_scale) %*% P))
  }
  largest <- apply(rho, 1, max)
  sum(largest + log(rowSums(exp(rho - largest)))) - kl
}
