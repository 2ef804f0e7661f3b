# Mixtures of mixed-effects curves: seconds of fit_mixture(), one iteration beside flexmix's
# FLXMRlmm, and how well clusters are found beside k-means and mclust.
#
#   Rscript bench/curves.R [quick]      quick: no 20,000 genes, two seeds (half a minute)
#
# Simulated genes are followed at 14 times, three replicates each, as those of the mice in
# mouse_genomics.R; curves and deviations have 7 basis functions, and k = 10. One thread; `cpu` is
# user and system time, which other work on the machine changes less than `elapsed`.
#
# The cost of an iteration is the time of `long` iterations less that of `short` ones, divided by
# the difference; `setup` is what `short` ones take less their iterations. flexmix and
# fit_mixture() have the same genes, model and start, in one process.
#
# Writes curves.csv, curves_flexmix.csv and curves_accuracy.csv (unless quick).

suppressPackageStartupMessages({
  library(elbo)
  library(splines)
  library(mclust)
})

quick <- "quick" %in% commandArgs(TRUE)
hours <- c(0, 3, 6, 9, 12, 18, 24, 30, 36, 48, 60, 72, 120, 168)
model <- expr ~ bs(time, df = 6) + (bs(time, df = 6) | gene) # with the intercept 7 functions each
timed <- function(expr) {
  used <- system.time(expr, gcFirst = TRUE)
  c(elapsed = used[["elapsed"]], cpu = used[["user.self"]] + used[["sys.self"]])
}
one_thread <- function(...) elbo_control(threads = 1, ...)
clusters <- function(data) truth(data)$latent$component

# ---- whole fits --------------------------------------------------------------------------

whole_fit <- function(genes, structure) {
  data <- sim_curves(genes, hours, k = 10, replicates = 3, seed = 1)
  seconds <- timed(fit <- fit_mixture(model, data, k = 10, unit = ~ gene,
                                      random_covariance = structure, control = one_thread()))
  end <- convergence(fit)
  data.frame(genes, covariance = structure, t(seconds), iterations = end$iterations,
             status = end$status, ari = adjustedRandIndex(predict(fit), clusters(data)))
}

fits <- expand.grid(structure = c("free", "diagonal", "identity"),
                    genes = c(1000, if (!quick) 20000), stringsAsFactors = FALSE)
speed <- do.call(rbind, Map(whole_fit, fits$genes, fits$structure))
cat("\nWhole calls, seconds (asked: 5 for 1,000 genes, 120 for 20,000)\n")
print(speed, digits = 3, row.names = FALSE)

# ---- an iteration beside flexmix ----------------------------------------------------------

# Half of the genes are given their cluster, the rest a random one.
half_known <- function(data) {
  z <- clusters(data)
  ifelse(stats::runif(length(z)) < 0.5, z, sample(10, length(z), TRUE))
}

iteration_costs <- function(run, short, long) {
  a <- timed(run(short))[["cpu"]]
  b <- timed(run(long))[["cpu"]]
  per <- (b - a) / (long - short)
  c(setup = a - short * per, iteration = per)
}

beside_flexmix <- function(genes) {
  data <- sim_curves(genes, hours, k = 10, replicates = 3, seed = 1)
  set.seed(1)
  start <- half_known(data)
  own <- iteration_costs(function(i) {
    control <- one_thread(accelerate = "none", max_iter = i, tol = 1e-300)
    suppressWarnings(fit_mixture(model, data, k = 10, unit = ~ gene, start = start,
                                 control = control))
  }, 5, 205)
  terms <- paste0("b", 1:6)
  data[terms] <- as.data.frame(unclass(bs(data$time, df = 6)))
  curve <- stats::reformulate(terms, "expr")
  peer <- iteration_costs(function(i) {
    suppressWarnings(flexmix::flexmix(
      expr ~ . | gene, data, k = 10, cluster = start[as.integer(data$gene)],
      model = flexmix::FLXMRlmm(curve, random = curve[-2],
                                varFix = c(Random = FALSE, Residual = FALSE)),
      control = list(iter.max = i, minprior = 0, tolerance = 0)
    ))
  }, 1, 3)
  data.frame(genes, program = c("elbo", "flexmix"), rbind(own, peer),
             ratio = c(1, peer[["iteration"]] / own[["iteration"]]))
}

if (requireNamespace("flexmix", quietly = TRUE)) {
  peers <- do.call(rbind, lapply(c(100, if (!quick) 1000), beside_flexmix))
  cat("\nOne iteration, free covariances, cpu seconds (asked: 100 times flexmix)\n")
  print(peers, digits = 3, row.names = FALSE)
} else {
  peers <- NULL
}

# ---- accuracy ----------------------------------------------------------------------------

# Adjusted Rand indices with the simulated clusters. k-means sees each gene's own spline
# coefficients, mclust (the best of its models by BIC) the raw curves.
designs <- list(separated = list(sd = c(0.3, 0.3), sigma = 0.3),
                noisy = list(sd = c(1, 0.3), sigma = 0.8))

accuracy <- function(name, seed) {
  design <- designs[[name]]
  data <- sim_curves(300, k = 6, sd = design$sd, sigma = design$sigma, seed = seed)
  own <- function(...) {
    fit <- fit_mixture(model, data, k = 6, unit = ~ gene, control = one_thread(), ...)
    adjustedRandIndex(predict(fit), clusters(data))
  }
  Y <- matrix(data$expr, 300, byrow = TRUE)
  times <- unique(data$time)
  coefficients <- t(stats::coef(stats::lm(t(Y) ~ bs(times, df = 6))))
  set.seed(seed)
  kmeans <- stats::kmeans(coefficients, 6, nstart = 50, iter.max = 50)$cluster
  raw <- Mclust(Y, G = 6, verbose = FALSE)$classification
  data.frame(design = name, seed, free = own(),
             common = own(random_covariance = c("free", "common"), sigma = ~ 1),
             identity = own(random_covariance = "identity"),
             kmeans = adjustedRandIndex(kmeans, clusters(data)),
             mclust = adjustedRandIndex(raw, clusters(data)))
}

runs <- expand.grid(seed = seq_len(if (quick) 2 else 10), name = names(designs),
                    stringsAsFactors = FALSE)
found <- do.call(rbind, Map(accuracy, runs$name, runs$seed))
means <- stats::aggregate(cbind(free, common, identity, kmeans, mclust) ~ design, found, mean)
wins <- stats::aggregate(cbind(kmeans = common > kmeans, mclust = common > mclust) ~ design, found,
                         mean)
cat("\nAdjusted Rand index, mean of the seeds\n")
print(means, digits = 3, row.names = FALSE)
cat("\nShare of the seeds in which one free covariance for all components is ahead of\n")
print(wins, digits = 3, row.names = FALSE)

if (!quick) {
  this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  write <- function(table, name) {
    number <- vapply(table, is.double, NA)
    table[number] <- lapply(table[number], signif, 3)
    utils::write.csv(table, file.path(dirname(this), name), row.names = FALSE)
  }
  write(speed, "curves.csv")
  if (!is.null(peers)) write(peers, "curves_flexmix.csv")
  write(found, "curves_accuracy.csv")
}
