# EM algorithms of the textbooks, as their readers write them: each a list of start, estep, mstep,
# log_evidence, data and, where it is published, the answer.

em_gallery <- list()

# Of the size of rounding, which differs from machine to machine.
without_gradient <- function(lines) sub("gradient [0-9e.-]+", "gradient ...", lines)

# Dempster, Laird and Rubin (1977), section 1: 197 animals in four cells, of which the first is a
# mixture of two; the answer is the root of a quadratic, (15 + sqrt(53809)) / 394.
em_gallery$linkage <- list(
  start = c(p = 0.5), data = c(125, 18, 20, 34), lower = 0, upper = 1,
  estep = function(theta, y) {
    inside <- theta / (2 + theta)
    cbind(1 - inside, inside)[rep(1, 4), ]
  },
  mstep = function(q, y) {
    x <- y[1] * q[1, 2]
    c(p = (x + y[4]) / (x + sum(y[2:4])))
  },
  log_evidence = function(theta, y) {
    sum(y * log(c(2 + theta, 1 - theta, 1 - theta, theta) / 4))
  },
  answer = c(p = (15 + sqrt(53809)) / 394)
)

# Blood groups by gene counting (Ceppellini, Siniscalco and Smith 1955): counts of A, B, AB, O as in
# Clarke et al. (1959); published .2136, .0501, .7363.
em_gallery$blood <- list(
  start = c(A = 0.3, B = 0.3, O = 0.4), data = c(A = 186, B = 38, AB = 13, O = 284),
  estep = function(theta, y) {
    own <- theta[c("A", "B")]
    pure <- own / (own + 2 * theta["O"])
    cbind(pure = c(pure, 0, 0), mixed = c(1 - pure, 1, 1))
  },
  mstep = function(q, y) {
    genes <- c(y["A"] * (1 + q[1, 1]) + y["AB"], y["B"] * (1 + q[2, 1]) + y["AB"], 0)
    genes[3] <- 2 * sum(y) - sum(genes)
    setNames(genes / sum(genes), c("A", "B", "O"))
  },
  log_evidence = function(theta, y) {
    a <- theta[[1]]
    b <- theta[[2]]
    o <- theta[[3]]
    sum(y * log(c(a^2 + 2 * a * o, b^2 + 2 * b * o, 2 * a * b, o^2)))
  },
  answer = c(A = 0.2136, B = 0.0501, O = 0.7363)
)

# Deaths of women over 80 a day in the London Times (Hasselblad 1969): a mixture of two Poisson
# laws, slow since the components lie close. Titterington, Smith and Makov (1985), table 4.3.1; EM
# takes 2,586 maps from here to a step of 1e-8 (Varadhan and Roland 2008).
em_gallery$deaths <- list(
  start = c(p = 0.3, mu1 = 1, mu2 = 2.5), data = c(162, 267, 271, 185, 111, 61, 27, 8, 3, 1),
  estep = function(theta, y) {
    first <- theta[[1]] * dpois(0:9, theta[[2]])
    second <- (1 - theta[[1]]) * dpois(0:9, theta[[3]])
    cbind(first, second) / (first + second)
  },
  mstep = function(q, y) {
    counts <- colSums(y * q)
    c(p = counts[[1]] / sum(y), mu1 = sum(0:9 * y * q[, 1]) / counts[[1]],
      mu2 = sum(0:9 * y * q[, 2]) / counts[[2]])
  },
  log_evidence = function(theta, y) {
    p <- theta[[1]]
    sum(y * log(p * dpois(0:9, theta[[2]]) + (1 - p) * dpois(0:9, theta[[3]])))
  },
  answer = c(p = 0.3599, mu1 = 1.2561, mu2 = 2.6634)
)

# A right-censored normal law: Schmee and Hahn (1979), motorettes at 170 C, 10 units of which 3 are
# censored; log10 hours.
em_gallery$censored <- list(
  start = c(mu = 3, sigma = 0.5), lower = c(-Inf, 0),
  data = list(y = log10(c(1764, 2772, 3444, 3542, 3780, 4860, 5196, 5448, 5448, 5448)),
              censored = rep(c(FALSE, TRUE), c(7, 3))),
  estep = function(theta, d) {
    z <- (d$y - theta[[1]]) / theta[[2]]
    ratio <- dnorm(z) / pnorm(z, lower.tail = FALSE)
    mean <- ifelse(d$censored, theta[[1]] + theta[[2]] * ratio, d$y)
    variance <- ifelse(d$censored, theta[[2]]^2 * (1 + z * ratio - ratio^2), 0)
    list(mean = mean, sd = sqrt(variance))
  },
  mstep = function(q, d) {
    mu <- mean(q$mean)
    c(mu = mu, sigma = sqrt(mean((q$mean - mu)^2 + q$sd^2)))
  },
  log_evidence = function(theta, d) {
    z <- (d$y - theta[[1]]) / theta[[2]]
    sum(ifelse(d$censored, pnorm(z, lower.tail = FALSE, log.p = TRUE),
               dnorm(z, log = TRUE) - log(theta[[2]])))
  }
)

# Probit regression by data augmentation (Albert and Chib 1993): glm() has the answer.
em_gallery$probit <- list(
  start = setNames(numeric(3), c("(Intercept)", "age", "lwt")),
  data = local({
    set.seed(3)
    X <- cbind(1, scale(rnorm(150)), scale(rnorm(150)))
    list(X = X, y = as.numeric(X %*% c(0.4, 1.2, -0.8) + rnorm(150) > 0))
  }),
  estep = function(theta, d) {
    eta <- drop(d$X %*% theta)
    sign <- 2 * d$y - 1
    list(mean = eta + sign * exp(dnorm(eta, log = TRUE) - pnorm(sign * eta, log.p = TRUE)))
  },
  mstep = function(q, d) drop(qr.solve(d$X, q$mean)),
  log_evidence = function(theta, d) {
    sum(pnorm((2 * d$y - 1) * drop(d$X %*% theta), log.p = TRUE))
  }
)

# Multivariate normal data with missing entries: Little and Rubin (2002), section 11.2; the data
# are R's own `airquality`.
em_gallery$missing <- list(
  start = {
    y <- as.matrix(airquality[1:4])
    variances <- apply(y, 2, var, na.rm = TRUE)
    list(mean = colMeans(y, na.rm = TRUE),
         cov = `dimnames<-`(diag(variances), list(colnames(y), colnames(y))))
  },
  data = as.matrix(airquality[1:4]),
  estep = function(theta, y) {
    cov <- matrix(0, ncol(y), ncol(y))
    for (i in seq_len(nrow(y))) {
      gap <- which(is.na(y[i, ]))
      if (length(gap) == 0) next
      there <- setdiff(seq_len(ncol(y)), gap)
      slope <- theta$cov[gap, there, drop = FALSE] %*% solve(theta$cov[there, there])
      y[i, gap] <- theta$mean[gap] + slope %*% (y[i, there] - theta$mean[there])
      cov[gap, gap] <- cov[gap, gap] + theta$cov[gap, gap] -
        slope %*% theta$cov[there, gap, drop = FALSE]
    }
    list(y = y, cov = cov)
  },
  mstep = function(q, y) {
    mean <- colMeans(q$y)
    cov <- (crossprod(q$y - rep(mean, each = nrow(y))) + q$cov) / nrow(y)
    list(mean = mean, cov = (cov + t(cov)) / 2)
  },
  log_evidence = function(theta, y) {
    sum(apply(y, 1, function(row) {
      there <- !is.na(row)
      root <- chol(theta$cov[there, there])
      z <- backsolve(root, row[there] - theta$mean[there], transpose = TRUE)
      -sum(log(diag(root))) - sum(z^2) / 2 - sum(there) / 2 * log(2 * pi)
    }))
  }
)

# A hidden Markov model with two states and Poisson counts (Baum et al. 1970; counts of
# earthquakes, Zucchini and MacDonald 2009, table 1.1, whose two-state fit has log-likelihood
# -342.3183 from the stationary law; here the first state has its own law, half and half).
em_gallery$markov <- list(
  start = list(lambda = c(10, 30), move = matrix(c(0.9, 0.2, 0.1, 0.8), 2)),
  data = c(13, 14, 8, 10, 16, 26, 32, 27, 18, 32, 36, 24, 22, 23, 22, 18, 25, 21, 21, 14, 8, 11, 14,
           23, 18, 17, 19, 20, 22, 19, 13, 26, 13, 14, 22, 24, 21, 22, 26, 21, 23, 24, 27, 41, 31,
           27, 35, 26, 28, 36, 39, 21, 17, 22, 17, 19, 15, 34, 10, 15, 22, 18, 15, 20, 15, 22, 19,
           16, 30, 27, 29, 23, 20, 16, 21, 21, 25, 16, 18, 15, 18, 14, 10, 15, 8, 15, 6, 11, 8, 7,
           18, 16, 13, 12, 13, 20, 15, 16, 12, 18, 15, 16, 13, 15, 16, 11, 11),
  estep = function(theta, y) {
    n <- length(y)
    density <- outer(y, theta$lambda, dpois)
    forward <- backward <- matrix(1, n, 2)
    scale <- numeric(n)
    for (t in seq_len(n)) {
      from <- if (t == 1) c(0.5, 0.5) else drop(forward[t - 1, ] %*% theta$move)
      at <- from * density[t, ]
      scale[t] <- sum(at)
      forward[t, ] <- at / scale[t]
    }
    moved <- matrix(0, 2, 2)
    for (t in (n - 1):1) {
      ahead <- density[t + 1, ] * backward[t + 1, ] / scale[t + 1]
      moved <- moved + theta$move * outer(forward[t, ], ahead)
      backward[t, ] <- theta$move %*% ahead
    }
    list(state = forward * backward, moved = moved)
  },
  mstep = function(q, y) {
    list(lambda = colSums(q$state * y) / colSums(q$state), move = q$moved / rowSums(q$moved))
  },
  log_evidence = function(theta, y) {
    total <- 0
    state <- c(0.5, 0.5)
    for (t in seq_along(y)) {
      if (t > 1) state <- drop(state %*% theta$move)
      state <- state * dpois(y[t], theta$lambda)
      total <- total + log(sum(state))
      state <- state / sum(state)
    }
    total
  }
)

# Factor analysis with one factor (Rubin and Thayer 1982) of R's `ability.cov`, whose correlations
# factanal() fits too; probabilistic principal components (Tipping and Bishop 1999) of the same,
# whose maximum is in closed form.
factor_model <- function(S, n, start, variances) {
  log_evidence <- function(theta, d) {
    V <- tcrossprod(theta$loading) + diag(variances(theta, nrow(d$S)), nrow(d$S))
    root <- chol(V)
    -d$n / 2 * (nrow(d$S) * log(2 * pi) + 2 * sum(log(diag(root))) + sum(d$S * chol2inv(root)))
  }
  estep <- function(theta, d) {
    L <- theta$loading
    weighted <- L / variances(theta, nrow(L))
    cov <- solve(diag(ncol(L)) + crossprod(L, weighted))
    gain <- cov %*% t(weighted)
    list(gain = gain, square = cov + gain %*% d$S %*% t(gain))
  }
  list(start = start, data = list(S = S, n = n), estep = estep, log_evidence = log_evidence)
}

em_gallery$factor <- factor_model(
  stats::cov2cor(ability.cov$cov), ability.cov$n.obs,
  list(loading = matrix(0.5, 6), noise = rep(0.5, 6)), function(theta, p) theta$noise
)
em_gallery$factor$mstep <- function(q, d) {
  loading <- d$S %*% t(q$gain) %*% solve(q$square)
  list(loading = loading, noise = diag(d$S) - rowSums(loading * t(q$gain %*% d$S)))
}

em_gallery$components <- factor_model(
  stats::cov2cor(ability.cov$cov), ability.cov$n.obs,
  list(loading = cbind(rep(0.5, 6), c(0.5, 0.2, -0.1, 0.3, -0.4, -0.2)), sigma2 = 0.5),
  function(theta, p) rep(theta$sigma2, p)
)
em_gallery$components$mstep <- function(q, d) {
  loading <- d$S %*% t(q$gain) %*% solve(q$square)
  list(loading = loading,
       sigma2 = mean(diag(d$S) - rowSums(loading * t(q$gain %*% d$S))))
}
