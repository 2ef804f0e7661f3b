# Time to the optimum: what `accelerate = "auto"` does beside SQUAREM and textbook EM, from the same
# start, on some mixtures.
#
#   Rscript bench/optimum.R           all of it
#   Rscript bench/optimum.R quick     a tenth of the rows
#   Rscript bench/optimum.R none      textbook EM too (minutes)
# A run of all rows writes optimum.csv.
#
# `passes` counts readings of the data (convergence()), set-up and line searches included; `below`
# is how far an ascent stopped below the best of that design, in log-likelihood. Both are the same
# on any machine; seconds are not.

arguments <- commandArgs(TRUE)
shrink <- if ("quick" %in% arguments) 10 else 1

suppressPackageStartupMessages(library(elbo))

half_known <- function(z, k) ifelse(stats::runif(length(z)) < 0.5, z, sample(k, length(z), TRUE))

# Normal components: means `spread` apart, covariances that differ by `differ`.
normal <- function(n, d, k, spread, differ, covariance = "VVV") {
  mean <- matrix(stats::rnorm(k * d, sd = spread), k)
  z <- sample(k, n, TRUE)
  y <- matrix(stats::rnorm(n * d), n)
  for (j in seq_len(k)) {
    root <- diag(d) + matrix(stats::rnorm(d * d, sd = differ), d)
    y[z == j, ] <- y[z == j, ] %*% root + rep(mean[j, ], each = sum(z == j))
  }
  data <- data.frame(y)
  list(formula = stats::as.formula(sprintf("cbind(%s) ~ 1", toString(names(data)))), data = data,
       k = k, covariance = covariance, start = half_known(z, k))
}

some_classes <- function(n, variables, k, apart) {
  classes(n, stats::plogis(matrix(stats::rnorm(variables * k, sd = apart), k)))
}

# `p`: a row for each class.
classes <- function(n, p) {
  k <- nrow(p)
  z <- sample(k, n, TRUE)
  data <- data.frame(matrix(stats::runif(n * ncol(p)) < p[z, ], n))
  list(formula = stats::as.formula(sprintf("responses(%s) ~ 1", toString(names(data)))),
       data = data, k = k, start = half_known(z, k))
}

regression <- function(n, k, family = stats::gaussian(), membership = ~ 1) {
  x <- matrix(stats::rnorm(n * 3), n, dimnames = list(NULL, c("a", "b", "w")))
  z <- 1 + pmin(k - 1, floor(k * stats::runif(n)^exp(x[, "w"] / 2)))
  beta <- matrix(stats::rnorm(3 * k, sd = 0.8), k)
  eta <- rowSums(cbind(1, x[, 1:2]) * beta[z, ])
  y <- switch(family$family, gaussian = eta + stats::rnorm(n), poisson = stats::rpois(n, exp(eta)),
              binomial = stats::rbinom(n, 8, stats::plogis(eta)))
  data <- data.frame(y = y, rest = 8 - y, x)
  list(formula = if (family$family == "binomial") cbind(y, rest) ~ a + b else y ~ a + b,
       data = data, k = k, family = family, membership = membership, start = half_known(z, k))
}

curves <- function(units, k) {
  time <- seq(0, 1, length.out = 8)
  z <- sample(k, units, TRUE)
  shape <- vapply(seq_len(k), function(j) sin(2 * pi * time + j) + j * time / 3, time)
  u <- matrix(stats::rnorm(2 * units, sd = 0.6), units)
  data <- data.frame(gene = rep(seq_len(units), each = 8), time = time)
  data$y <- as.vector(shape[, z]) + u[data$gene, 1] + u[data$gene, 2] * data$time +
    stats::rnorm(nrow(data), sd = 0.5)
  list(formula = y ~ stats::poly(time, 3) + (time | gene), data = data, k = k, unit = ~ gene,
       start = rep(half_known(z, k), each = 8))
}

n <- function(rows) rows / shrink

designs <- list(
  "normal, overlapping" = function() normal(n(2e5), 6, 5, 0.7, 0.08),
  "normal, apart" = function() normal(n(1e5), 6, 5, 2, 0.2),
  "normal, few rows" = function() normal(1000, 3, 3, 1.5, 0.2),
  "normal, EEE" = function() normal(n(1e5), 5, 4, 0.9, 0, "EEE"),
  "normal, VII" = function() normal(n(1e5), 5, 4, 0.9, 0, "VII"),
  "normal, VEV" = function() normal(n(5e4), 4, 3, 0.9, 0.2, "VEV"),
  "normal, EVE" = function() normal(n(5e4), 4, 3, 0.9, 0.2, "EVE"),
  "normal, vb" = function() c(normal(n(2e5), 6, 5, 0.7, 0.08), method = "vb"),
  "normal, 20 columns" = function() normal(n(1e5), 20, 6, 0.35, 0.05),
  "classes" = function() some_classes(n(1e5), 8, 3, 1),
  "classes at the boundary" = function() {
    classes(n(1e5), rbind(c(.95, .99, 1, .8, .7, 1), c(.5, .4, .5, .6, .3, .2),
                          c(.1, 0, .2, 0, .1, .5)))
  },
  "regressions" = function() regression(n(1e5), 3),
  "regressions, memberships" = function() regression(n(5e4), 3, membership = ~ w),
  "Poisson regressions" = function() regression(n(5e4), 2, stats::poisson()),
  "binomial regressions" = function() regression(n(5e4), 2, stats::binomial()),
  "curves" = function() curves(n(2e4), 3)
)

climb <- function(design, accelerate) {
  control <- elbo_control(accelerate = accelerate, max_iter = 20000L)
  seconds <- system.time(
    fit <- suppressWarnings(do.call(fit_mixture, c(design, list(control = control))))
  )[["elapsed"]]
  state <- convergence(fit)
  data.frame(accelerate, passes = state$passes, em = state$em, squarem = state$squarem,
             quasi_newton = state$quasi_newton, newton = state$newton, seconds,
             objective = elbo(fit), status = state$status)
}

main <- function() {
  ways <- c("auto", "squarem", if ("none" %in% arguments) "none")
  rows <- lapply(names(designs), function(name) {
    set.seed(18)
    design <- designs[[name]]()
    table <- do.call(rbind, lapply(ways, climb, design = design))
    table <- cbind(design = name, table, below = max(table$objective) - table$objective)
    print(table, digits = 3, row.names = FALSE)
    table
  })
  table <- do.call(rbind, rows)
  if (shrink == 1) {
    utils::write.csv(table[names(table) != "seconds"], "bench/optimum.csv", row.names = FALSE)
  }
}

if (sys.nframe() == 0) main()
