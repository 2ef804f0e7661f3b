# A slow, obvious and independent reference for variational Bayes of a mixed model: dense matrices,
# every factor of p and of q from its definition.
#
#   y = X beta + W u + e,  e ~ N(0, diag(sigma_l^2 / w)),  u_g ~ N(0, Sigma), Sigma of blocks,
#   beta_j ~ N(mean_j, sd_j^2),
#   Sigma_b | a ~ inverse Wishart(nu + q - 1, 2 nu diag(1/a)),  a_k ~ inverse gamma(1/2, 1/A_k^2),
#   sigma_l^2 the same with q = 1                    (Huang and Wand 2013, equations 2 and 4).
#
# A `problem` holds the data (from design_of(fit)) and the priors, which the test states itself:
#   beta_mean, beta_sd; nu (a block each), A (a latent term each); sigma_nu, sigma_A (a level each).
# `power`: p(y_i | z, theta) counts so many times.

vb_problem <- function(fit, beta_mean = NULL, beta_sd = NULL, nu = NULL, A = NULL,
                       sigma_nu = NULL, sigma_A = NULL) {
  design <- design_of(fit)
  n <- length(design$y)
  q <- ncol(design$Z)
  terms <- lapply(latent_parts(fit), `[[`, "columns") # of each factor
  m <- vapply(latent_parts(fit), function(part) nlevels(part$group), 0L,
              USE.NAMES = FALSE)
  # Columns of W: the factors, of each its levels, of each its terms.
  W <- do.call(cbind, c(list(matrix(0, n, 0)), lapply(latent_parts(fit), function(part) {
    k <- length(part$columns)
    W <- matrix(0, n, nlevels(part$group) * k)
    at <- (as.integer(part$group) - 1) * k
    for (j in seq_len(k)) W[cbind(seq_len(n), at + j)] <- design$Z[, part$columns[j]]
    W
  })))
  level <- if (is.null(design$level)) rep(1L, n) else as.integer(design$level)
  list(X = design$X, y = design$y - design$offset, W = W, q = q, m = c(m, 0L)[1], level = level,
       terms = terms, n_unit = m,
       n_level = if (design$known_se) 0L else max(level),
       w = if (is.null(design$weights)) rep(1, n) else design$weights, power = rep(1, n),
       blocks = unname(split(seq_len(q), column_blocks(design))),
       beta_mean = beta_mean, beta_sd = beta_sd, nu = nu, A = A, sigma_nu = sigma_nu,
       sigma_A = sigma_A, factorization = factorization_of(fit))
}

# The precision of u under its law, or (inverse = identity) its covariance.
law_precision <- function(problem, S, inverse = solve) {
  sizes <- lengths(problem$terms) * problem$n_unit
  out <- matrix(0, sum(sizes), sum(sizes))
  for (f in seq_along(sizes)) {
    at <- sum(sizes[seq_len(f - 1)]) + seq_len(sizes[f])
    k <- problem$terms[[f]]
    out[at, at] <- kronecker(diag(problem$n_unit[f]), inverse(as.matrix(S[k, k])))
  }
  out
}

# Levels that the terms of block b have.
levels_of_block <- function(problem, b) {
  has <- vapply(problem$terms, function(k) problem$blocks[[b]][1] %in% k, NA)
  problem$n_unit[has]
}

# The coordinates of (beta, u) that are together in q.
q_factors <- function(problem) {
  p <- ncol(problem$X)
  u <- seq_len(ncol(problem$W))
  switch(problem$factorization,
    structured = list(seq_len(p + length(u))),
    mean_field = list(seq_len(p), p + u),
    by_factor = c(list(seq_len(p)), unname(split(
      p + u, rep(seq_along(problem$terms), lengths(problem$terms) * problem$n_unit)))))
}

# Log densities ----------------------------------------------------------------------------

log_multigamma <- function(x, q) {
  q * (q - 1) / 4 * log(pi) + sum(lgamma(x - (seq_len(q) - 1) / 2))
}

log_inverse_wishart <- function(Sigma, df, scale) {
  q <- nrow(Sigma)
  df / 2 * log_determinant(scale) - df * q / 2 * log(2) - log_multigamma(df / 2, q) -
    (df + q + 1) / 2 * log_determinant(Sigma) - sum(diag(scale %*% solve(Sigma))) / 2
}

log_inverse_gamma <- function(x, shape, scale) {
  shape * log(scale) - lgamma(shape) - (shape + 1) * log(x) - scale / x
}

log_gaussian <- function(x, mean, cov) {
  r <- x - mean
  -0.5 * (length(r) * log(2 * pi) + log_determinant(cov) + sum(r * solve(cov, r)))
}

# p(Sigma), its auxiliary variables integrated.
log_prior_scale <- function(Sigma, nu, A) {
  q <- length(A)
  df <- nu + q - 1
  shape <- (nu + q) / 2
  df * q / 2 * log(nu) - log_multigamma(df / 2, q) - (df + q + 1) / 2 * log_determinant(Sigma) +
    sum(lgamma(shape) - shape * log(nu * diag(solve(Sigma)) + 1 / A^2) - lgamma(1 / 2) - log(A))
}

# The half-t on an sd that its inverse gamma mixture gives.
log_half_t <- function(x, df, scale) log(2) + stats::dt(x / scale, df, log = TRUE) - log(scale)

log_sum_exp <- function(x) max(x) + log(sum(exp(x - max(x))))

# E_q[log p - log q] by Monte Carlo --------------------------------------------------------

# `draws` values of log p(y, beta, u, Sigma, a, sigma^2, a_sigma) - log q, at draws from
# q.
vb_draws <- function(fit, problem, draws, q = variational(fit)) {
  normal <- normal_factor(q)
  factors <- scale_factors(q)
  vapply(seq_len(draws), function(i) {
    z <- draw_normal(normal)
    value <- sum(stats::dnorm(z$beta, problem$beta_mean, problem$beta_sd, log = TRUE)) - z$log_q
    Sigma <- matrix(0, problem$q, problem$q)
    for (b in seq_along(problem$blocks)) {
      rows <- problem$blocks[[b]]
      scale <- draw_scale(factors[[b]], problem$nu[b], problem$A[rows])
      Sigma[rows, rows] <- scale$Sigma
      value <- value + scale$value
    }
    s2 <- numeric(problem$n_level)
    for (l in seq_len(problem$n_level)) {
      scale <- draw_scale(factors[[length(problem$blocks) + l]], problem$sigma_nu[l],
                          problem$sigma_A[l])
      s2[l] <- scale$Sigma
      value <- value + scale$value
    }
    value + log_data(z, Sigma, s2, problem)
  }, 0)
}

# q(beta) and q(u | beta) with the roots of their covariances.
normal_factor <- function(q) {
  joint <- "beta, u" %in% names(q)
  beta <- if (joint) q[["beta, u"]] else q[["beta"]]
  u <- if (joint) beta$latent else q[["u"]]$latent
  gain <- if (joint) u$gain else 0 * u$gain
  root <- function(cov) if (length(cov) > 0) t(chol(cov)) else cov
  list(mean = beta$mean, root = root(beta$cov), u = u$mean,
       gain = lapply(seq_len(nrow(u$mean)), function(g) matrix(gain[, , g], ncol(u$mean))),
       u_root = lapply(seq_len(nrow(u$mean)), function(g) {
         root(matrix(u$cov[, , g], ncol(u$mean)))
       }))
}

# beta and U (m x q) from q, with log q.
draw_normal <- function(normal) {
  z <- stats::rnorm(length(normal$mean))
  beta <- normal$mean + drop(normal$root %*% z)
  log_q <- sum(stats::dnorm(z, log = TRUE)) - sum(log(diag(normal$root)))
  U <- normal$u
  for (g in seq_len(nrow(U))) {
    z <- stats::rnorm(ncol(U))
    U[g, ] <- U[g, ] + normal$u_root[[g]] %*% z - normal$gain[[g]] %*% (beta - normal$mean)
    log_q <- log_q + sum(stats::dnorm(z, log = TRUE)) - sum(log(diag(normal$u_root[[g]])))
  }
  list(beta = beta, U = U, log_q = log_q)
}

# The inverse Wishart factors, an inverse gamma as the 1 x 1 case.
scale_factors <- function(q) {
  lapply(q[grepl("^([Ss]igma|sd)", names(q))], function(f) {
    if (f$family == "inverse gamma") list(df = 2 * f$shape, scale = as.matrix(2 * f$scale)) else f
  })
}

# Sigma and a from q(Sigma) and q(a_k) = inverse gamma((nu + q) / 2, nu E[Sigma^-1]_kk + 1 /
# A_k^2), and log p(Sigma | a) p(a) - log q(Sigma) q(a).
draw_scale <- function(factor, nu, A) {
  q <- nrow(factor$scale)
  Sigma <- solve(matrix(stats::rWishart(1, factor$df, solve(factor$scale)), q))
  shape <- (nu + q) / 2
  rate <- nu * factor$df * diag(solve(factor$scale)) + 1 / A^2
  a <- 1 / stats::rgamma(q, shape, rate)
  list(Sigma = Sigma, value =
         log_inverse_wishart(Sigma, nu + q - 1, 2 * nu * diag(1 / a, q)) +
         sum(log_inverse_gamma(a, 1 / 2, 1 / A^2)) - sum(log_inverse_gamma(a, shape, rate)) -
         log_inverse_wishart(Sigma, factor$df, factor$scale))
}

log_data <- function(z, Sigma, s2, problem) {
  variance <- (if (problem$n_level > 0) s2[problem$level] else 1) / problem$w
  mean <- drop(problem$X %*% z$beta + problem$W %*% as.vector(t(z$U)))
  value <- sum(stats::dnorm(problem$y, mean, sqrt(variance), log = TRUE))
  if (problem$q == 0) return(value)
  value - 0.5 * (problem$m * (problem$q * log(2 * pi) + log_determinant(Sigma)) +
                   sum(diag(solve(Sigma, crossprod(z$U)))))
}

# The evidence -----------------------------------------------------------------------------

# log p(y | Sigma, sigma^2), beta and u integrated.
log_evidence_given <- function(problem, Sigma, s2) {
  mean <- drop(problem$X %*% problem$beta_mean)
  variance <- (if (problem$n_level > 0) s2[problem$level] else 1) / problem$w
  V <- diag(variance, length(variance)) +
    problem$X %*% (problem$beta_sd^2 * t(problem$X)) +
    problem$W %*% law_precision(problem, Sigma, identity) %*% t(problem$W)
  log_gaussian(problem$y, mean, V)
}

# The optimum ------------------------------------------------------------------------------

# The ELBO as a function of q(Sigma_b) = inverse Wishart(d, d S) and q(sigma_l^2), df e and
# mean precision 1 / v, q(beta, u) and q(a) at their best, plus sum(tilt * (beta, u)) and
# scale_tilt' E_q[sd, cor, sigma]. `psi`: by block the Cholesky factor of S (logarithm of its
# diagonal) and log d; by level log v / 2, log e.
reference_vb_elbo <- function(psi, problem, tilt = 0, scale_tilt = 0) {
  at <- unpack_psi(psi, problem)
  value <- best_normal(problem, at, tilt)$value
  for (b in seq_along(problem$blocks)) {
    rows <- problem$blocks[[b]]
    value <- value - levels_of_block(problem, b) / 2 * mean_log_excess(at$d[b], length(rows)) +
      scale_terms(at$S[rows, rows, drop = FALSE], at$d[b], problem$nu[b], problem$A[rows])
  }
  for (l in seq_len(problem$n_level)) {
    value <- value - sum(problem$power[problem$level == l]) / 2 * mean_log_excess(at$e[l], 1) +
      scale_terms(matrix(at$v[l]), at$e[l], problem$sigma_nu[l], problem$sigma_A[l])
  }
  value + sum(scale_tilt * scale_means(problem, at))
}

unpack_psi <- function(psi, problem) {
  S <- matrix(0, problem$q, problem$q)
  d <- numeric()
  for (rows in problem$blocks) {
    k <- length(rows)
    L <- matrix(0, k, k)
    n <- k * (k + 1) / 2
    L[lower.tri(L, diag = TRUE)] <- psi[seq_len(n)]
    diag(L) <- exp(diag(L))
    S[rows, rows] <- L %*% t(L)
    d <- c(d, exp(psi[n + 1]))
    psi <- psi[-seq_len(n + 1)]
  }
  rest <- matrix(exp(psi), 2)
  list(S = S, d = d, v = rest[1, ]^2, e = rest[2, ])
}

# E log|Sigma| - log|S|.
mean_log_excess <- function(d, q) q * log(d / 2) - sum(digamma((d + 1 - seq_len(q)) / 2))

# E log p(Sigma | a) p(a) - E log q(Sigma) q(a), with q(a) at its best.
scale_terms <- function(S, d, nu, A) {
  q <- nrow(S)
  df <- nu + q - 1
  mean_log <- log_determinant(S) + mean_log_excess(d, q)
  shape <- (nu + q) / 2
  rate <- nu * diag(solve(S)) + 1 / A^2
  B <- d * S
  entropy <- -(d / 2 * log_determinant(B) - d * q / 2 * log(2) - log_multigamma(d / 2, q)) +
    (d + q + 1) / 2 * mean_log + d * q / 2
  df / 2 * q * log(nu) - log_multigamma(df / 2, q) - (df + q + 1) / 2 * mean_log + entropy +
    sum(lgamma(shape) - shape * log(rate) - lgamma(1 / 2) - log(A))
}

# The best q(beta, u), or product of factors, at E[Sigma^-1] = S^-1 and E[sigma^-2] = 1 / v: the
# value of the quadratic log density, constants included, at its mode with the entropy, the
# mode and the exact covariance.
best_normal <- function(problem, at, tilt = 0) {
  p <- ncol(problem$X)
  variance <- (if (problem$n_level > 0) at$v[problem$level] else 1) / problem$w
  D <- cbind(problem$X, problem$W)
  law <- law_precision(problem, at$S)
  prior <- matrix(0, ncol(D), ncol(D))
  prior[seq_len(p), seq_len(p)] <- diag(1 / problem$beta_sd^2, p)
  prior[-seq_len(p), -seq_len(p)] <- law
  if (p == 0) prior <- law
  # log N(y; mu, v)^a = log N(y; mu, v / a) + (1 - a) / 2 log(2 pi v) - 1/2 log a.
  power <- problem$power
  constant <- sum((1 - power) / 2 * log(2 * pi * variance) - log(power) / 2)
  variance <- variance / power
  precision <- crossprod(D / sqrt(variance)) + prior
  centre <- c(problem$beta_mean, numeric(ncol(problem$W)))
  mode <- drop(solve(precision, crossprod(D, problem$y / variance) + prior %*% centre + tilt))
  r <- mode - centre
  log_density <- constant +
    sum(stats::dnorm(problem$y, D %*% mode, sqrt(variance), log = TRUE)) -
    sum(log(problem$beta_sd)) + 0.5 * log_determinant(law) - length(r) / 2 * log(2 * pi) -
    0.5 * sum(r * (prior %*% r)) + sum(tilt * mode)
  log_det <- sum(vapply(q_factors(problem), function(i) {
    log_determinant(precision[i, i, drop = FALSE])
  }, 0))
  list(value = log_density + length(r) / 2 * log(2 * pi) - 0.5 * log_det, mode = mode,
       cov = solve(precision))
}

# E_q of sd and cor by block, and sigma, as theta() orders them.
scale_means <- function(problem, at) {
  of_block <- function(b) {
    rows <- problem$blocks[[b]]
    S <- at$S[rows, rows, drop = FALSE]
    list(sd = vapply(sqrt(diag(S)), function(s) vb_sd(s, at$d[b], length(rows))$value, 0),
         cor = vapply(stats::cov2cor(S)[lower.tri(S)],
                      function(r) vb_cor(r, at$d[b], length(rows))$value, 0))
  }
  blocks <- lapply(seq_along(problem$blocks), of_block)
  c(unlist(lapply(blocks, `[[`, "sd")), unlist(lapply(blocks, `[[`, "cor")),
    vapply(seq_len(problem$n_level), function(l) vb_sd(sqrt(at$v[l]), at$e[l], 1)$value, 0))
}

# Newton from `start` to the optimum of the tilted problem: psi, value and E_q of (beta, u, sd,
# cor, sigma).
reference_vb <- function(problem, start, tilt = 0, scale_tilt = 0) {
  psi <- start
  objective <- function(psi) reference_vb_elbo(psi, problem, tilt, scale_tilt)
  for (step in 1:6) {
    move <- solve(numDeriv::hessian(objective, psi), numDeriv::grad(objective, psi))
    psi <- psi - move
    if (max(abs(move)) < 1e-7) break
  }
  at <- unpack_psi(psi, problem)
  list(psi = psi, value = objective(psi),
       mean = c(best_normal(problem, at, tilt)$mode, scale_means(problem, at)))
}

# E_q[beta] and its linear response sds at the optimum: with f the ELBO in psi,
# cov(beta | psi) + (d beta / d psi) (-f'')^-1 (d beta / d psi)'.
reference_vb_beta <- function(problem, start) {
  psi <- reference_vb(problem, start)$psi
  beta <- seq_along(problem$beta_mean)
  mean_at <- function(psi) best_normal(problem, unpack_psi(psi, problem))$mode[beta]
  H <- numDeriv::hessian(reference_vb_elbo, psi, problem = problem)
  R <- numDeriv::jacobian(mean_at, psi)
  cov <- best_normal(problem, unpack_psi(psi, problem))$cov[beta, beta]
  unname(c(mean_at(psi), sqrt(diag(cov - R %*% solve(H, t(R))))))
}

# psi of a fit, from the factors that variational() returns.
psi_of_fit <- function(fit) {
  unlist(lapply(scale_factors(variational(fit)), function(f) {
    L <- t(chol(f$scale / f$df))
    diag(L) <- log(diag(L))
    c(L[lower.tri(L, diag = TRUE)], log(f$df))
  }), use.names = FALSE)
}

# The ELBO of any q ------------------------------------------------------------------------

# E_q[log p - log q] in closed form, for factors as variational() has them: expectations of
# dense quadratic forms under the covariance of all of (beta, u).
reference_elbo_of_q <- function(q, problem) {
  normal <- normal_factor(q)
  scales <- scale_factors(q)
  p <- length(normal$mean)
  k <- problem$q
  mean <- c(normal$mean, as.vector(t(normal$u)))
  A <- rbind(diag(p), if (k > 0) -do.call(rbind, normal$gain))
  cov <- A %*% normal$root %*% t(normal$root) %*% t(A)
  for (g in seq_len(problem$m)) {
    rows <- p + k * (g - 1) + seq_len(k)
    cov[rows, rows] <- cov[rows, rows] + normal$u_root[[g]] %*% t(normal$u_root[[g]])
  }
  value <- 0.5 * (length(mean) * (log(2 * pi) + 1) + log_determinant(cov)) +
    sum(stats::dnorm(normal$mean, problem$beta_mean, problem$beta_sd, log = TRUE) -
          0.5 * diag(cov)[seq_len(p)] / problem$beta_sd^2)
  second <- cov + outer(mean, mean)
  for (b in seq_along(problem$blocks)) {
    rows <- problem$blocks[[b]]
    d <- scales[[b]]$df
    S <- scales[[b]]$scale / d
    at <- p + rep(k * (seq_len(problem$m) - 1), each = length(rows)) + rows
    moment <- kronecker(diag(problem$m), solve(S)) * second[at, at]
    value <- value + scale_terms(S, d, problem$nu[b], problem$A[rows]) -
      0.5 * (problem$m * (length(rows) * log(2 * pi) + log_determinant(S) +
                            mean_log_excess(d, length(rows))) + sum(moment))
  }
  D <- cbind(problem$X, problem$W)
  square <- drop((problem$y - D %*% mean)^2) + rowSums((D %*% cov) * D)
  for (l in seq_len(problem$n_level)) {
    factor <- scales[[length(problem$blocks) + l]]
    v <- drop(factor$scale) / factor$df
    rows <- problem$level == l
    value <- value + scale_terms(matrix(v), factor$df, problem$sigma_nu[l], problem$sigma_A[l]) -
      0.5 * sum(log(2 * pi * v / problem$w[rows]) + mean_log_excess(factor$df, 1) +
                  problem$w[rows] * square[rows] / v)
  }
  if (problem$n_level == 0) {
    value <- value - 0.5 * sum(log(2 * pi / problem$w) + problem$w * square)
  }
  value
}

# Problems ---------------------------------------------------------------------------------

vb_data <- function(groups = 12, size = 4, seed = 1) {
  set.seed(seed)
  d <- sim_glmm(groups = groups, size = size)
  d$w <- stats::runif(nrow(d), 0.5, 2)
  d$s <- stats::runif(nrow(d), 0.5, 1)
  d$arm <- factor(rep(c("a", "b"), length.out = nrow(d)))
  d[-(1:2), ]
}

# Every kind of model, under beta ~ N(0.5, 3), sds half-t(3, 2) and sigma half-t(2, 1.5).
vb_cases <- function(d) {
  fit <- function(formula, ..., keep = c("beta", "sd", "sigma")) {
    law <- priors(beta = normal(0.5, 3), sd = half_t(3, 2), sigma = half_t(2, 1.5))
    law <- structure(unclass(law)[keep], class = class(law))
    do.call(fit_glmm, list(formula, quote(d), method = "vb", prior = law, ...))
  }
  list(
    intercepts = fit(y ~ x + (1 | group)),
    slopes = fit(y ~ x + (x | group)),
    uncorrelated = fit(y ~ x + (x || group)),
    levels = fit(y ~ x + (1 | group), sigma = ~ arm),
    weights = fit(y ~ x + (x | group), weights = quote(w), offset = quote(x / 2)),
    known_se = fit(y ~ x + (1 | group), se = quote(s), keep = c("beta", "sd")),
    linear = fit(y ~ x, keep = c("beta", "sigma")),
    no_beta = fit(y ~ 0 + (1 | group), keep = c("sd", "sigma")),
    mean_field = fit(y ~ x + (x | group), factorization = "mean_field")
  )
}

problem_of <- function(fit, beta_mean = 0.5, beta_sd = 3, nu = 3, A = 2, sigma_nu = 2,
                       sigma_A = 1.5) {
  design <- design_of(fit)
  n_level <- max(1, nlevels(design$level))
  vb_problem(fit, rep(beta_mean, ncol(design$X)), rep(beta_sd, ncol(design$X)),
             rep(nu, length(unique(column_blocks(design)))), rep(A, ncol(design$Z)),
             rep(sigma_nu, n_level), rep(sigma_A, n_level))
}
