# Two normal components of one variable: how often do nominal 90 % intervals hold the truth, and are
# the probabilities of new rows right?
#
#   Rscript bench/coverage_mixture.R [simulations = 500] [refits of the bootstrap = 0]
#
# Writes coverage_mixture.csv beside this file and prints it. 200 rows, 40 % from N(gap, 1), 60 %
# from N(0, 1); models with a variance for each component ("V") and a common one ("E"). Components
# are told apart by their means. Intervals are Wald's, confint(fit), and percentiles of bootstrap()
# if refits are asked for. `said` is the mean probability of the component to which 1,000 new rows
# are assigned, `right` the share of those that are from it.

library(elbo)

level <- 0.9
settings <- expand.grid(gap = c(2.5, 4), covariance = c("V", "E"), stringsAsFactors = FALSE)

draw <- function(n, gap) {
  z <- stats::rbinom(n, 1, 0.4)
  data.frame(y = gap * z + stats::rnorm(n), z = z)
}

# Of weight, means and sds in the order of the means.
covers <- function(interval, fit, gap) {
  order <- order(components(fit)$mean[, 1])
  truth <- list(weight = c(0.6, 0.4), mean__y = c(0, gap), sd__y = c(1, 1))
  inside <- lapply(names(truth), function(name) {
    rows <- interval[paste0(name, "|", order), , drop = FALSE]
    mean(truth[[name]] >= rows[, 1] & truth[[name]] <= rows[, 2])
  })
  stats::setNames(unlist(inside), c("weight", "mean", "sd"))
}

simulate_once <- function(seed, gap, covariance, refits) {
  set.seed(seed)
  d <- draw(200, gap)
  new <- draw(1000, gap)
  fit <- tryCatch(fit_mixture(y ~ 1, d, k = 2, covariance = covariance),
                  elbo_error = function(e) NULL)
  if (is.null(fit)) return(rep(NA_real_, 8))
  p <- stats::predict(fit, new, type = "prob")
  upper <- order(components(fit)$mean[, 1])[2]
  assigned <- max.col(p)
  bootstrapped <- rep(NA_real_, 3)
  if (refits > 0) {
    bootstrapped <- covers(stats::confint(bootstrap(fit, refits, seed), level = level), fit, gap)
  }
  c(covers(stats::confint(fit, level = level), fit, gap), bootstrapped,
    said = mean(apply(p, 1, max)), right = mean((assigned == upper) == (new$z == 1)))
}

args <- as.integer(commandArgs(TRUE))
simulations <- if (length(args) >= 1) args[1] else 500L
refits <- if (length(args) >= 2) args[2] else 0L
results <- do.call(rbind, lapply(seq_len(nrow(settings)), function(i) {
  runs <- vapply(seq_len(simulations), simulate_once, numeric(8), settings$gap[i],
                 settings$covariance[i], refits)
  shares <- round(100 * rowMeans(runs, na.rm = TRUE), 1)
  names(shares) <- c("weight", "mean", "sd", "boot_weight", "boot_mean", "boot_sd", "said", "right")
  data.frame(settings[i, ], t(shares), simulations = simulations, refits = refits)
}))
this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
utils::write.csv(results, file.path(dirname(this), "coverage_mixture.csv"), row.names = FALSE)
print(results, row.names = FALSE)
