# The verdict on mixtures by vb, and how often components that are there are emptied. Two normal
# components, weights .6 and .4, unit sds, `apart` sds from each other; the exact posterior by a
# Gibbs sampler of our own (tests/testthat/helper-gibbs.R), labels as the order of the means has
# them.
#
#   Rscript bench/mixture_verdict.R [replicates = 40] [quick]
#
# Columns: emptied_before (the highest ELBO has an empty component), emptied (the answer has),
# trusted, and worst and mean ratio of an sd by linear response to that of the Gibbs sampler. Writes
# mixture_verdict.csv.

library(elbo)
source("tests/testthat/helper-gibbs.R")

arguments <- commandArgs(TRUE)
quick <- "quick" %in% arguments
replicates <- suppressWarnings(c(as.numeric(arguments), NA)[1])
if (is.na(replicates)) replicates <- if (quick) 4 else 40
sweeps <- if (quick) 2000 else 10000

one <- function(seed, n, apart, alpha) {
  set.seed(seed)
  z <- rbinom(n, 1, 0.4)
  d <- data.frame(y = ifelse(z == 1, apart, 0) + rnorm(n))
  started <- proc.time()[[1]]
  fit <- fit_mixture(y ~ 1, d, k = 2, covariance = "V", method = "vb",
                     prior = if (!is.na(alpha)) eval(bquote(priors(weight = dirichlet(.(alpha))))))
  seconds <- proc.time()[[1]] - started
  started <- proc.time()[[1]]
  state <- convergence(fit, check = TRUE)
  check_seconds <- proc.time()[[1]] - started
  size <- colSums(predict(fit, type = "prob"))
  ratio <- c(NA, NA)
  if (all(size > 0.5)) {
    par <- fit$priors$stated$covariance$parameters
    draws <- gibbs_normal(d$y, sweeps, if (is.na(alpha)) 1 / 2 else alpha, par$mean, par$kappa,
                          par$df, drop(par$scale))
    lower <- which.min(components(fit)$mean[, 1])
    names <- paste0(c("weight", "mean__y", "mean__y", "sd__y", "sd__y"), "|",
                    c(lower, lower, 3 - lower, lower, 3 - lower))
    ratio <- sqrt(diag(vcov(fit, full = TRUE)))[names] / apply(draws, 2, sd)
  }
  data.frame(seed, n, apart, alpha, emptied_before = any(size <= 0.5) || !is.null(fit$emptier),
             emptied = any(size <= 0.5), trusted = state$trusted, khat = round(state$khat, 2),
             sd_error = round(state$sd_error, 3), worst = round(min(ratio), 3),
             largest = round(max(ratio), 3), average = round(mean(ratio), 3),
             seconds = round(seconds, 3), check_seconds = round(check_seconds, 3))
}

cells <- expand.grid(seed = 31200 + seq_len(replicates), n = 200, apart = c(2, 2.5, 3, 4),
                     alpha = c(NA, 4))
result <- do.call(rbind, Map(one, cells$seed, cells$n, cells$apart, cells$alpha))
if (!quick) utils::write.csv(result, "bench/mixture_verdict.csv", row.names = FALSE)
summary <- stats::aggregate(
  cbind(emptied_before, emptied, trusted, worst, average, seconds, check_seconds) ~ apart + alpha,
  transform(result, alpha = ifelse(is.na(alpha), "1/k", alpha)), mean, na.action = stats::na.pass,
  na.rm = TRUE)
print(summary, digits = 2)
cat("Of those trusted, ratios to the Gibbs sampler:\n")
print(summary(unlist(result[result$trusted, c("worst", "average", "largest")])))
