# Several grouping factors: data, and the same sums with V in full.

# Two to four factors, slopes in two of them, weights.
crossed_data <- function(seed, n = 150, levels = c(12, 8, 5, 4)) {
  set.seed(seed)
  d <- as.data.frame(lapply(levels, function(m) factor(sample(m, n, TRUE))))
  names(d) <- letters[seq_along(levels)]
  d$x <- rnorm(n)
  d$w <- runif(n, 0.5, 2)
  effects <- Map(function(g, sd) sd * rnorm(nlevels(g))[g], d[seq_along(levels)],
                 c(1, 0.7, 0.5, 0.4)[seq_along(levels)])
  d$y <- 2 + d$x + Reduce(`+`, effects) + 0.6 * rnorm(12)[d$a] * d$x + rnorm(n) / sqrt(d$w)
  d
}

# V, X and y of a fit at parameters theta, from the design alone.
dense_parts <- function(fit, theta = theta_of(fit)) {
  design <- design_of(fit)
  theta(fit) <- theta
  n <- nobs(fit)
  V <- diag(residual_sd(fit)^2, n)
  law <- latent_law(fit)
  for (part in latent_parts(fit)) {
    k <- part$columns
    Z <- design$Z[, k, drop = FALSE]
    V <- V + Z %*% law[k, k] %*% t(Z) * outer(part$group, part$group, `==`)
  }
  if (has_curves(fit)) {
    sd <- theta[parameters_of(fit)$block == "smooth"][smooth_rows(fit)]
    V <- V + design$B %*% (sd^2 * t(design$B))
  }
  list(V = V, X = design$X, y = design$y)
}

# The (restricted) log-likelihood with coefficients at their best.
dense_log_likelihood <- function(fit, theta = theta_of(fit)) {
  parts <- dense_parts(fit, theta)
  W <- solve(parts$V)
  X <- parts$X
  A <- t(X) %*% W %*% X
  r <- parts$y - X %*% solve(A, t(X) %*% W %*% parts$y)
  log_det <- function(M) as.numeric(determinant(M)$modulus)
  n <- length(parts$y) - if (method_of(fit) == "reml") ncol(X) else 0
  -0.5 * (n * log(2 * pi) + log_det(parts$V) + drop(t(r) %*% W %*% r) +
            if (method_of(fit) == "reml") log_det(A) else 0)
}
