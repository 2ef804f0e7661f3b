# Gibbs samplers of mixtures of two, written apart from the package: rows of draws, of which those
# with the components swapped (the mean or the intercept of the first above that of the second) are
# swapped back.

# y ~ N(mean_j, sd_j^2), mean_j | sd_j ~ N(m0, sd_j^2 / kappa),
# sd_j^2 ~ inverse gamma(df / 2, S / 2), weights Dirichlet(alpha).
gibbs_normal <- function(y, n, alpha, m0, kappa, df, S, burn = 1000) {
  z <- 1 + (y > mean(y))
  draws <- matrix(0, n, 5, dimnames = list(NULL, c("weight", "mean1", "mean2", "sd1", "sd2")))
  for (s in seq_len(n + burn)) {
    size <- tabulate(z, 2)
    w <- rbeta(1, alpha + size[1], alpha + size[2])
    mean <- sd <- numeric(2)
    for (j in 1:2) {
      own <- y[z == j]
      average <- if (size[j] > 0) mean(own) else 0
      k <- kappa + size[j]
      rate <- S + sum((own - average)^2) + kappa * size[j] / k * (average - m0)^2
      sd[j] <- sqrt(rate / 2 / rgamma(1, (df + size[j]) / 2))
      mean[j] <- rnorm(1, (kappa * m0 + size[j] * average) / k, sd[j] / sqrt(k))
    }
    log_odds <- dnorm(y, mean[2], sd[2], TRUE) - dnorm(y, mean[1], sd[1], TRUE)
    p <- 1 / (1 + (1 - w) / w * exp(log_odds))
    z <- 2 - (runif(length(y)) < p)
    if (s > burn) draws[s - burn, ] <- c(w, mean, sd)
  }
  swap <- draws[, 2] > draws[, 3]
  draws[swap, ] <- cbind(1 - draws[swap, 1], draws[swap, c(3, 2, 5, 4)])
  draws
}

# Binary items: probabilities beta(1, 1), weights Dirichlet(alpha). Swapped where the first item is
# more probable in the first class.
gibbs_classes <- function(Y, n, alpha, burn = 500) {
  d <- ncol(Y)
  z <- 1 + (rowMeans(Y) > 0.5)
  draws <- matrix(0, n, 1 + 2 * d)
  for (s in seq_len(n + burn)) {
    size <- tabulate(z, 2)
    w <- rbeta(1, alpha + size[1], alpha + size[2])
    count <- rowsum(rbind(Y, 0, 0) + 0, c(z, 1, 2))
    P <- matrix(rbeta(2 * d, 1 + count, 1 + size - count), 2)
    l <- cbind(log(w), log(1 - w))[rep(1, nrow(Y)), ] + Y %*% t(log(P)) + (1 - Y) %*% t(log(1 - P))
    z <- 1 + (runif(nrow(Y)) < 1 / (1 + exp(l[, 1] - l[, 2])))
    if (s > burn) draws[s - burn, ] <- c(w, P[1, ], P[2, ])
  }
  swap <- draws[, 2] > draws[, 2 + d]
  draws[swap, ] <- cbind(1 - draws[swap, 1], draws[swap, d + 1 + 1:d], draws[swap, 1 + 1:d])
  draws
}
