# Posteriors with references, each a function that returns the arguments of fit_advi() and
# `derived`, a function of theta with the names of the reference. Data and references:
# data/README.md of the shared data; models are Stan's of posteriordb, gradients by hand (or by
# differences: none).

reference_of <- function(...) {
  reference <- read_shared(...)
  stats::setNames(reference[c("mean", "sd")], c("mean", "sd"))
  data.frame(term = reference$parameter, mean = reference$mean, sd = reference$sd)
}

half_normal <- function(x, sd) stats::dnorm(x, 0, sd, log = TRUE)

own_posteriors <- list()

own_posteriors$eight_schools <- function() {
  d <- read_shared("posteriordb", "eight_schools.csv")
  list(
    data = d, start = list(mu = 0, tau = 5, z = numeric(8)), lower = list(tau = 0),
    log_density = function(t, d) {
      sum(dnorm(d$y, t$mu + t$tau * t$z, d$sigma, log = TRUE)) + sum(dnorm(t$z, log = TRUE)) +
        dnorm(t$mu, 0, 5, log = TRUE) + dcauchy(t$tau, 0, 5, log = TRUE)
    },
    gradient = function(t, d) {
      r <- (d$y - t$mu - t$tau * t$z) / d$sigma^2
      list(mu = sum(r) - t$mu / 25, tau = sum(r * t$z) - 2 * t$tau / (25 + t$tau^2),
           z = t$tau * r - t$z)
    },
    derived = function(t) {
      c(stats::setNames(t$mu + t$tau * t$z, sprintf("theta[%d]", 1:8)), mu = t$mu, tau = t$tau)
    },
    reference = reference_of("posteriordb", "eight_schools_reference.csv")
  )
}

regression_posterior <- function(y, X, log_prior, prior_gradient, derived, reference) {
  list(
    data = list(y = y, X = X),
    start = list(beta = qr.solve(X, y), sigma = stats::sd(y) / 2), lower = list(sigma = 0),
    log_density = function(t, d) {
      sum(dnorm(d$y, drop(d$X %*% t$beta), t$sigma, log = TRUE)) + log_prior(t)
    },
    gradient = function(t, d) {
      r <- drop(d$y - d$X %*% t$beta) / t$sigma
      prior <- prior_gradient(t)
      list(beta = drop(crossprod(d$X, r)) / t$sigma + prior$beta,
           sigma = sum(r^2 - 1) / t$sigma + prior$sigma)
    },
    derived = derived, reference = reference
  )
}

own_posteriors$kidiq <- function() {
  d <- read_shared("posteriordb", "kidiq.csv")
  regression_posterior(
    d$kid_score, cbind(1, d$mom_hs, d$mom_iq),
    function(t) dcauchy(t$sigma, 0, 2.5, log = TRUE),
    function(t) list(beta = numeric(3), sigma = -2 * t$sigma / (6.25 + t$sigma^2)),
    function(t) c(stats::setNames(t$beta, sprintf("beta[%d]", 1:3)), sigma = t$sigma),
    reference_of("posteriordb", "kidiq_reference.csv")
  )
}

own_posteriors$sblri <- function() {
  d <- read_shared("posteriordb", "sblri.csv")
  regression_posterior(
    d$y, as.matrix(d[-1]),
    function(t) sum(dnorm(t$beta, 0, 10, log = TRUE)) + half_normal(t$sigma, 10),
    function(t) list(beta = -t$beta / 100, sigma = -t$sigma / 100),
    function(t) c(stats::setNames(t$beta, sprintf("beta[%d]", 1:5)), sigma = t$sigma),
    reference_of("posteriordb", "sblri_reference.csv")
  )
}

# watched ~ N(b1 + b2 encouraged, sigma), flat: b has Student's t law, in closed form.
own_posteriors$sesame <- function() {
  d <- read_shared("posteriordb", "sesame_data.csv")
  fit <- stats::lm(watched ~ encouraged, d)
  df <- fit$df.residual - 1 # flat in sigma, not in its logarithm
  se <- sqrt(diag(stats::vcov(fit)) * fit$df.residual / df)
  shape <- df / 2
  rate <- sum(stats::residuals(fit)^2) / 2
  sigma <- sqrt(rate) * exp(lgamma(shape - 0.5) - lgamma(shape))
  regression_posterior(
    d$watched, cbind(1, d$encouraged), function(t) 0,
    function(t) list(beta = numeric(2), sigma = 0),
    function(t) c("beta[1]" = t$beta[1], "beta[2]" = t$beta[2], sigma = t$sigma),
    data.frame(term = c("beta[1]", "beta[2]", "sigma"), mean = c(unname(stats::coef(fit)), sigma),
               sd = c(unname(se) * sqrt(df / (df - 2)), sqrt(rate / (shape - 1) - sigma^2)))
  )
}

own_posteriors$mixture <- function() {
  list(
    data = read_shared("posteriordb", "low_dim_gauss_mix.csv")$y,
    start = c(mu1 = -2, gap = 4, s1 = 1, s2 = 1, share = 0.5),
    lower = c(gap = 0, s1 = 0, s2 = 0, share = 0), upper = c(share = 1),
    log_density = function(t, y) {
      mu <- t[["mu1"]] + c(0, t[["gap"]])
      sum(log(t[["share"]] * dnorm(y, mu[1], t[["s1"]]) +
                (1 - t[["share"]]) * dnorm(y, mu[2], t[["s2"]]))) +
        sum(dnorm(mu, 0, 2, log = TRUE)) + sum(half_normal(t[c("s1", "s2")], 2)) +
        dbeta(t[["share"]], 5, 5, log = TRUE)
    },
    derived = function(t) {
      c("mu[1]" = t[["mu1"]], "mu[2]" = t[["mu1"]] + t[["gap"]], "sigma[1]" = t[["s1"]],
        "sigma[2]" = t[["s2"]], theta = t[["share"]])
    },
    reference = reference_of("posteriordb", "low_dim_gauss_mix_reference.csv")
  )
}

own_posteriors$hmm <- function() {
  list(
    data = read_shared("posteriordb", "hmm_example.csv")$y,
    start = c(mu1 = 3, gap = 6, stay1 = 0.6, move2 = 0.4),
    lower = c(mu1 = 0, gap = 0, stay1 = 0, move2 = 0), upper = c(stay1 = 1, move2 = 1),
    log_density = function(t, y) {
      mu <- t[["mu1"]] + c(0, t[["gap"]])
      density <- cbind(dnorm(y, mu[1], 1), dnorm(y, mu[2], 1))
      a <- t[["stay1"]]
      b <- t[["move2"]]
      one <- density[1, 1]
      two <- density[1, 2]
      total <- 0
      for (i in 2:length(y)) {
        next_one <- (one * a + two * b) * density[i, 1]
        two <- (one * (1 - a) + two * (1 - b)) * density[i, 2]
        sum <- next_one + two
        one <- next_one / sum
        two <- two / sum
        total <- total + log(sum)
      }
      total + dnorm(mu[1], 3, 1, log = TRUE) + dnorm(mu[2], 10, 1, log = TRUE)
    },
    derived = function(t) {
      c("theta1[1]" = t[["stay1"]], "theta1[2]" = 1 - t[["stay1"]], "theta2[1]" = t[["move2"]],
        "theta2[2]" = 1 - t[["move2"]], "mu[1]" = t[["mu1"]], "mu[2]" = t[["mu1"]] + t[["gap"]])
    },
    reference = reference_of("posteriordb", "hmm_example_reference.csv")
  )
}

own_posteriors$gp <- function() {
  list(
    data = read_shared("posteriordb", "gp_regr.csv"),
    start = c(rho = 6, alpha = 1, sigma = 0.5), lower = 0,
    log_density = function(t, d) {
      V <- t[["alpha"]]^2 * exp(-outer(d$x, d$x, "-")^2 / (2 * t[["rho"]]^2))
      root <- chol(V + diag(t[["sigma"]], nrow(d)))
      z <- backsolve(root, d$y, transpose = TRUE)
      -sum(log(diag(root))) - sum(z^2) / 2 + dgamma(t[["rho"]], 25, 4, log = TRUE) +
        half_normal(t[["alpha"]], 2) + half_normal(t[["sigma"]], 1)
    },
    derived = function(t) t,
    reference = reference_of("posteriordb", "gp_regr_reference.csv")
  )
}

# Minnesota's radon: intercepts by county (and slopes of floor, and the county's uranium).
radon_posterior <- function(uranium, slopes, reference) {
  d <- read_shared("posteriordb", "radon_mn.csv")
  county <- factor(d$county_idx, levels = 1:85)
  of_county <- function(x) as.vector(rowsum(x, county))
  floor <- d$floor_measure
  start <- list(alpha = rep(1, 85), mu_alpha = 1, sigma_alpha = 0.5, sigma_y = 1)
  start <- c(start, if (slopes) list(beta = rep(-0.5, 85), mu_beta = -0.5, sigma_beta = 0.5)
                    else list(beta = -0.5), if (uranium) list(gamma = 0.5))
  fitted <- function(t) {
    slope <- if (slopes) t$beta[county] else t$beta
    t$alpha[county] + slope * floor + if (uranium) t$gamma * d$log_uppm else 0
  }
  list(
    data = d, start = start,
    lower = c(list(sigma_alpha = 0, sigma_y = 0), if (slopes) list(sigma_beta = 0)),
    log_density = function(t, d) {
      sum(dnorm(d$log_radon, fitted(t), t$sigma_y, log = TRUE)) +
        sum(dnorm(t$alpha, t$mu_alpha, t$sigma_alpha, log = TRUE)) +
        dnorm(t$mu_alpha, 0, 10, log = TRUE) + half_normal(t$sigma_alpha, 1) +
        half_normal(t$sigma_y, 1) +
        (if (!slopes) dnorm(t$beta, 0, 10, log = TRUE) else {
          sum(dnorm(t$beta, t$mu_beta, t$sigma_beta, log = TRUE)) +
            dnorm(t$mu_beta, 0, 10, log = TRUE) + half_normal(t$sigma_beta, 1)
        }) + if (uranium) dnorm(t$gamma, 0, 10, log = TRUE) else 0
    },
    gradient = function(t, d) {
      r <- (d$log_radon - fitted(t)) / t$sigma_y^2
      a <- (t$alpha - t$mu_alpha) / t$sigma_alpha^2
      g <- list(alpha = of_county(r) - a, mu_alpha = sum(a) - t$mu_alpha / 100,
                sigma_alpha = t$sigma_alpha * sum(a^2) - 85 / t$sigma_alpha - t$sigma_alpha,
                sigma_y = t$sigma_y * sum(r^2) - nrow(d) / t$sigma_y - t$sigma_y)
      if (slopes) {
        b <- (t$beta - t$mu_beta) / t$sigma_beta^2
        g <- c(g, list(beta = of_county(r * floor) - b, mu_beta = sum(b) - t$mu_beta / 100,
                       sigma_beta = t$sigma_beta * sum(b^2) - 85 / t$sigma_beta - t$sigma_beta))
      } else {
        g$beta <- sum(r * floor) - t$beta / 100
      }
      if (uranium) g$gamma <- sum(r * d$log_uppm) - t$gamma / 100
      g
    },
    derived = function(t) {
      out <- c(stats::setNames(t$alpha, sprintf("alpha[%d]", 1:85)), mu_alpha = t$mu_alpha,
               sigma_alpha = t$sigma_alpha, sigma_y = t$sigma_y)
      if (slopes) {
        return(c(out, stats::setNames(t$beta, sprintf("beta[%d]", 1:85)), mu_beta = t$mu_beta,
                 sigma_beta = t$sigma_beta))
      }
      c(out, if (uranium) c("beta[1]" = t$gamma, "beta[2]" = t$beta) else c(beta = t$beta))
    },
    reference = reference_of("posteriordb", reference)
  )
}

own_posteriors$radon <- function() {
  radon_posterior(FALSE, FALSE, "radon_mn_variable_intercept_mcmc.csv")
}

own_posteriors$radon_uranium <- function() {
  radon_posterior(TRUE, FALSE, "radon_mn_hierarchical_intercept_mcmc.csv")
}

own_posteriors$radon_slopes <- function() {
  radon_posterior(FALSE, TRUE, "radon_mn_variable_intercept_slope_mcmc.csv")
}

own_posteriors$pump <- function() {
  reference <- read_shared("bugs", "reference.csv")
  reference <- reference[reference$example == "pump", ]
  list(
    data = read_shared("bugs", "pump.csv"),
    start = list(theta = rep(0.5, 10), alpha = 1, beta = 1), lower = 0,
    log_density = function(t, d) {
      sum(dpois(d$x, t$theta * d$t, log = TRUE)) +
        sum(dgamma(t$theta, t$alpha, t$beta, log = TRUE)) + dexp(t$alpha, 1, log = TRUE) +
        dgamma(t$beta, 0.1, 1, log = TRUE)
    },
    gradient = function(t, d) {
      list(theta = (d$x + t$alpha - 1) / t$theta - d$t - t$beta,
           alpha = 10 * (log(t$beta) - digamma(t$alpha)) + sum(log(t$theta)) - 1,
           beta = 10 * t$alpha / t$beta - sum(t$theta) - 0.9 / t$beta - 1)
    },
    derived = function(t) {
      c(stats::setNames(t$theta, sprintf("theta[%d]", 1:10)), alpha = t$alpha, beta = t$beta)
    },
    reference = data.frame(term = reference$parameter, mean = reference$mean, sd = reference$sd)
  )
}

own_posteriors$surgical <- function() {
  list(
    data = read_shared("posteriordb", "surgical_data.csv"),
    start = list(b = rep(-2.5, 12), mu = -2.5, sigma = 0.5), lower = list(sigma = 0),
    # sigma^2 ~ InvGamma(.001, .001), so that sigma has the Jacobian 2 sigma.
    log_density = function(t, d) {
      sum(dbinom(d$r, d$n, plogis(t$b), log = TRUE)) + sum(dnorm(t$b, t$mu, t$sigma, log = TRUE)) +
        dnorm(t$mu, 0, 1000, log = TRUE) - 2.002 * log(t$sigma) - 0.001 / t$sigma^2 + log(t$sigma)
    },
    gradient = function(t, d) {
      a <- (t$b - t$mu) / t$sigma^2
      list(b = d$r - d$n * plogis(t$b) - a, mu = sum(a) - t$mu / 1e6,
           sigma = t$sigma * sum(a^2) - 12 / t$sigma - 1.002 / t$sigma + 0.002 / t$sigma^3)
    },
    derived = function(t) {
      c(stats::setNames(plogis(t$b), sprintf("p[%d]", 1:12)), mu = t$mu, sigma = t$sigma)
    },
    reference = reference_of("posteriordb", "surgical_data_mcmc.csv")
  )
}

# Cormack, Jolly and Seber: dippers survive a year with probability phi and are seen with p, both
# uniform; that a bird is dead or unseen after it was last caught is summed. The reference is by
# sums over a grid.
own_posteriors$dippers <- function() {
  seen <- as.matrix(read_shared("dipper", "dipper.csv")[paste0("y", 1:7)])
  first <- max.col(seen, "first")
  last <- 8L - max.col(seen[, 7:1], "first")
  counts <- list(between = sum(last - first), caught = sum(seen) - nrow(seen),
                 left = tabulate(8L - last, 7)) # birds by years left, and one
  log_density <- function(t, d) {
    phi <- t[["phi"]]
    p <- t[["p"]]
    gone <- 1 # chance not to be seen again in 0, 1, ... years left
    for (i in 1:6) gone[i + 1] <- 1 - phi + phi * (1 - p) * gone[i]
    d$between * log(phi) + d$caught * log(p) + (d$between - d$caught) * log(1 - p) +
      sum(d$left * log(gone))
  }
  grid <- expand.grid(phi = (1:200 - 0.5) / 200, p = (1:200 - 0.5) / 200)
  weight <- apply(grid, 1, log_density, counts)
  weight <- exp(weight - max(weight))
  mean <- colSums(grid * weight) / sum(weight)
  sd <- sqrt(colSums((grid - rep(mean, each = nrow(grid)))^2 * weight) / sum(weight))
  list(data = counts, start = c(phi = 0.5, p = 0.5), lower = 0, upper = 1,
       log_density = log_density, derived = function(t) t,
       reference = data.frame(term = c("phi", "p"), mean = unname(mean), sd = unname(sd)))
}

fit_posterior <- function(model, ...) {
  given <- model[intersect(names(model), c("log_density", "start", "gradient", "lower", "upper",
                                           "data"))]
  suppressMessages(do.call(fit_advi, c(given, list(...))))
}

# Means and sds beside the reference, a row a quantity.
beside_reference <- function(model, fit) {
  answer <- predict(fit, model$derived)
  at <- match(model$reference$term, answer$term)
  reference <- model$reference[!is.na(at), ]
  answer <- answer[at[!is.na(at)], ]
  data.frame(reference, shift = (answer$estimate - reference$mean) / reference$sd,
             sd_error = answer$std.error / reference$sd - 1)
}
