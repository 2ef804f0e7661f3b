# A slow, obvious and independent reference for linear mixed models with one grouping
# factor. Everything is computed from dense n x n matrices, straight from the definitions.
#
#   y = offset + X beta + W u + e,    e ~ N(0, R),  R = diag(s2),
#   u = (u_1, ..., u_m) stacked by level, u_g ~ N(0, Sigma) independently.
#
# A latent term without a law has Sigma[j, j] = Inf: it is integrated by Lebesgue measure,
# the limit of N(0, s^2) with the factor (2 pi s^2)^(-1/2) taken out.
# Under method "reml" the coefficients are one more such block of latent variables.

# `design` is a list with X, y, Z, group and, optionally, offset: as design_of(fit).
# `s2` is the residual variance of each row. `integrate_beta = TRUE` is REML.
reference_lmm <- function(design, beta, Sigma, s2, integrate_beta = FALSE) {
  X <- design$X
  n <- nrow(X)
  offset <- if (is.null(design$offset)) numeric(n) else design$offset
  Z <- design$Z
  q <- ncol(Z)
  m <- if (q > 0) nlevels(the_group(design)) else 0L
  W <- matrix(0, n, m * q)
  for (i in seq_len(n)) {
    for (j in seq_len(q)) {
      W[i, (as.integer(the_group(design))[i] - 1L) * q + j] <- Z[i, j]
    }
  }
  no_law <- rep(is.infinite(diag(as.matrix(Sigma))[seq_len(q)]), times = m)
  block <- as.matrix(Sigma)
  block[!is.finite(block)] <- 0
  Omega <- if (q > 0) kronecker(diag(m), block) else matrix(0, 0, 0)
  r <- design$y - offset
  if (integrate_beta) {
    W <- cbind(W, X)
    Omega <- rbind(cbind(Omega, matrix(0, m * q, ncol(X))), matrix(0, ncol(X), ncol(W)))
    no_law <- c(no_law, rep(TRUE, ncol(X)))
  } else {
    r <- r - drop(X %*% beta)
  }
  model <- list(r = r, W = W, Omega = Omega, no_law = no_law, s2 = rep_len(s2, n), X = X)
  model$V <- W %*% Omega %*% t(W) + diag(model$s2, n)
  model$log_evidence <- reference_log_evidence(model)
  c(model, reference_posterior(model))
}

# Giordano's lecture, 1.3: log of the integral of p(y | theta, u) p(u | theta) over u. With U the
# columns of W that have no law,
#   log p(y | theta) = -1/2 {(n - k) log 2 pi + log|V| + log|U'V^-1 U| + r'P r},
#   P = V^-1 - V^-1 U (U'V^-1 U)^-1 U'V^-1,  k = ncol(U).
# For U = X this is lme4's restricted likelihood: (n - p) log 2 pi, no log|X'X|.
reference_log_evidence <- function(model) {
  U <- model$W[, model$no_law, drop = FALSE]
  Vinv <- solve(model$V)
  quadratic <- drop(model$r %*% Vinv %*% model$r)
  log_det <- log_determinant(model$V)
  if (ncol(U) > 0) {
    A <- t(U) %*% Vinv %*% U
    b <- t(U) %*% Vinv %*% model$r
    quadratic <- quadratic - drop(t(b) %*% solve(A, b))
    log_det <- log_det + log_determinant(A)
  }
  -0.5 * ((length(model$r) - ncol(U)) * log(2 * pi) + log_det + quadratic)
}

# The exact p(u | y, theta), in the form that also holds for a singular Sigma: terms
# without a law by generalised least squares, the others by regression on what is left.
reference_posterior <- function(model) {
  k <- ncol(model$W)
  free <- which(model$no_law)
  U <- model$W[, free, drop = FALSE]
  Vinv <- solve(model$V)
  G <- model$Omega %*% t(model$W) %*% Vinv
  mean <- numeric(k)
  cov <- model$Omega - G %*% model$W %*% model$Omega
  left <- model$r
  if (length(free) > 0) {
    C <- solve(t(U) %*% Vinv %*% U)
    mean[free] <- drop(C %*% t(U) %*% Vinv %*% model$r)
    left <- model$r - drop(U %*% mean[free])
    B <- -G %*% U
    B[free, ] <- diag(length(free))
    cov <- cov + B %*% C %*% t(B)
  }
  list(mean = mean + drop(G %*% left), cov = cov)
}

# log p(y, u | theta), Giordano's lecture, 2.4: what the method "joint" maximises.
reference_joint <- function(model, u = model$mean) {
  e <- model$r - drop(model$W %*% u)
  law <- !model$no_law
  log_prior <- if (any(law)) log_normal(u[law], model$Omega[law, law, drop = FALSE]) else 0
  sum(stats::dnorm(e, 0, sqrt(model$s2), log = TRUE)) + log_prior
}

# Giordano's lecture, 2.3: E_q[log p(y, u | theta)] - E_q[log q] for q = N(mean, cov).
reference_elbo <- function(model, mean, cov) {
  law <- !model$no_law
  expected <- reference_joint(model, mean) -
    0.5 * sum(diag(t(model$W) %*% (model$W / model$s2) %*% cov))
  if (any(law)) {
    Omega <- model$Omega[law, law, drop = FALSE]
    expected <- expected - 0.5 * sum(diag(solve(Omega, cov[law, law, drop = FALSE])))
  }
  entropy <- 0.5 * (length(mean) * (1 + log(2 * pi)) + log_determinant(cov))
  expected + entropy
}

# KL(q || p(u | y, theta)) of two normals.
reference_kl <- function(model, mean, cov) {
  difference <- mean - model$mean
  P <- solve(model$cov)
  0.5 * (sum(diag(P %*% cov)) + drop(difference %*% P %*% difference) - length(mean) +
           log_determinant(model$cov) - log_determinant(cov))
}

# beta = (X'V^-1X)^-1 X'V^-1 (y - offset) at the given variances, and its covariance.
reference_gls <- function(design, Sigma, s2) {
  model <- reference_lmm(design, numeric(ncol(design$X)), Sigma, s2)
  U <- model$W[, model$no_law, drop = FALSE]
  P <- solve(model$V)
  if (ncol(U) > 0) {
    P <- P - P %*% U %*% solve(t(U) %*% P %*% U, t(U) %*% P)
  }
  cov <- solve(t(model$X) %*% P %*% model$X)
  list(beta = drop(cov %*% t(model$X) %*% P %*% model$r), cov = cov)
}

log_determinant <- function(A) as.numeric(determinant(A, logarithm = TRUE)$modulus)

log_normal <- function(x, cov) {
  -0.5 * (length(x) * log(2 * pi) + log_determinant(cov) + drop(x %*% solve(cov, x)))
}

# beta, Sigma and s2 of a fit, read from the names of theta() alone.
reference_pieces <- function(fit, theta = elbo::theta(fit)) {
  design <- design_of(fit)
  terms <- colnames(design$Z)
  sd <- theta[sprintf("sd__%s|%s", terms, group_names(design))]
  cor <- diag(length(terms))
  for (j in seq_along(terms)) {
    for (i in seq_len(j - 1L)) {
      name <- sprintf("cor__%s.%s|%s", terms[i], terms[j], group_names(design))
      if (name %in% names(theta)) cor[i, j] <- cor[j, i] <- theta[[name]]
    }
  }
  Sigma <- cor * outer(sd, sd)
  Sigma[is.nan(Sigma)] <- 0
  sigma <- if (isTRUE(design$known_se)) {
    1
  } else if (is.null(design$level)) {
    theta[["sigma"]]
  } else {
    theta[paste0("sigma|", design$level)]
  }
  weights <- if (is.null(design$weights)) 1 else design$weights
  list(beta = theta[colnames(design$X)], Sigma = unname(Sigma),
       s2 = rep_len(unname(sigma^2 / weights), length(design$y)))
}

reference_of_fit <- function(fit, theta = elbo::theta(fit)) {
  pieces <- reference_pieces(fit, theta)
  reference_lmm(design_of(fit), pieces$beta, pieces$Sigma, pieces$s2,
                integrate_beta = method_of(fit) == "reml")
}

# ---- Neyman-Scott pairs: the four estimators ----------------------
#
# y_na, y_nb | z_n ~ N(z_n, theta) independently, n = 1..N; fit_glmm(y ~ 0 + (1 | pair)).
# With s_n = y_na + y_nb, d_n = y_na - y_nb, S = sum s_n^2 and D = sum d_n^2,
#   (y_na - z)^2 + (y_nb - z)^2 = d_n^2 / 2 + (s_n - 2 z)^2 / 2.                        (*)
# Each function takes the N x 2 matrix of pairs and returns the estimate of theta = sigma^2.

pair_sums <- function(y) {
  list(N = nrow(y), S = sum((y[, 1] + y[, 2])^2), D = sum((y[, 1] - y[, 2])^2))
}

# Points on z, no law (Giordano's lecture, 1.2): z_n = s_n / 2, so by (*) the objective is
#   -N log theta - D / (4 theta), maximal at theta = D / (4 N). Limit: theta_0 / 2.
pairs_joint_no_law <- function(y) with(pair_sums(y), D / (4 * N))

# z integrated, no law: by (*) the integral over z_n of the two densities is the density
# of d_n ~ N(0, 2 theta); s_n carries no information. So -N/2 log(2 theta) - D / (4 theta)
# is maximal at theta = D / (2 N), twice the joint estimate. Limit: theta_0.
pairs_em_no_law <- function(y) with(pair_sums(y), D / (2 * N))

# Points on z, z_n ~ N(0, 1): by (*) we minimise (s_n - 2 z)^2 / (4 theta) + z^2 / 2 over z.
# z_n = s_n / (2 + theta), where it is s_n^2 / {4 (2 + theta)}. The profile objective
#   -N log theta - D / (4 theta) - S / {4 (2 + theta)}
# has the score -N / theta + D / (4 theta^2) + S / {4 (2 + theta)^2}; times 4 theta^2
# (2 + theta)^2 it is the cubic
#   4 D + (4 D - 16 N) theta + (D + S - 16 N) theta^2 - 4 N theta^3 = 0.
# At D = 2 N, S = 6 N (truth 1, N large): theta^3 + 2 theta^2 + 2 theta - 2 = 0 at .575.
pairs_joint_normal <- function(y) {
  with(pair_sums(y), {
    objective <- function(theta) -N * log(theta) - D / (4 * theta) - S / (4 * (2 + theta))
    best_root(c(4 * D, 4 * D - 16 * N, D + S - 16 * N, -4 * N), objective)
  })
}

# z integrated, z_n ~ N(0, 1) (Giordano's lecture, 1.2): s_n ~ N(0, 4 + 2 theta),
# d_n ~ N(0, 2 theta), independent. With v = 2 theta the score
# -N / (4 + v) + S / (4 + v)^2 - N / v + D / v^2, times v^2 (4 + v)^2, is the cubic
#   16 D + (8 D - 16 N) v + (D + S - 12 N) v^2 - 2 N v^3 = 0.         Limit: theta_0.
pairs_em_normal <- function(y) {
  with(pair_sums(y), {
    objective <- function(v) -N * log(4 + v) - S / (4 + v) - N * log(v) - D / v
    best_root(c(16 * D, 8 * D - 16 * N, D + S - 12 * N, -2 * N), objective) / 2
  })
}

# The positive root of a polynomial (coefficients in increasing order) at which the
# objective is highest, polished by Newton's method.
best_root <- function(coefficients, objective) {
  roots <- polyroot(coefficients)
  roots <- Re(roots)[abs(Im(roots)) < 1e-6 * Mod(roots) & Re(roots) > 0]
  x <- roots[which.max(objective(roots))]
  powers <- seq_along(coefficients) - 1
  for (step in 1:3) {
    slope <- sum(powers * coefficients * x^pmax(powers - 1, 0))
    x <- x - sum(coefficients * x^powers) / slope
  }
  x
}
