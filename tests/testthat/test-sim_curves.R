test_that("rows are genes x arms x times x replicates, less those missing", {
  d <- sim_curves(7, times = c(0, 1, 5), k = 2, seed = 1)
  expect_named(d, c("gene", "time", "expr"))
  expect_equal(nrow(d), 21)
  expect_equal(d$time, rep(c(0, 1, 5), 7))
  d <- sim_curves(7, times = c(0, 1, 5), k = 2, arms = 2, replicates = 3, missing = 0.25, seed = 1)
  expect_named(d, c("gene", "strain", "time", "replicate", "expr"))
  expect_equal(nrow(d), 126 - round(0.25 * 126))
  expect_equal(levels(d$strain), c("A", "B"))
  expect_false(anyDuplicated(d[c("gene", "strain", "time", "replicate")]) > 0)
})

test_that("every gene keeps a row, however many are missing", {
  d <- sim_curves(30, missing = 0.99, seed = 1)
  expect_equal(as.vector(table(d$gene)), rep(1L, 30))
})

test_that("without deviations and noise the rows are the clusters' curves", {
  d <- sim_curves(40, k = 6, sd = c(0, 0), sigma = 1e-12, arms = 2, seed = 2)
  t <- truth(d)
  z <- t$latent$component[match(d$gene, t$latent$unit)]
  at <- cbind(z, match(d$time, unique(d$time)), as.integer(d$strain))
  expect_equal(d$expr, unname(t$curves[at]), tolerance = 1e-9)
})

test_that("arms: the same, half as high, flat", {
  curves <- truth(sim_curves(5, k = 6, arms = 3, seed = 1))$curves
  expect_equal(curves["early", , "B"], curves["early", , "A"])
  expect_equal(curves["sustained", , "C"], curves["sustained", , "A"] / 4)
  expect_equal(unname(curves["late", , "B"]), numeric(13))
})

# The law in the help page: at one time, var = sd_1^2 + sd_2^2 + sigma^2; the mean square of n
# normal draws has standard error sqrt(2 / n) of it.
test_that("offsets, smooth deviations and noise have the standard deviations asked for", {
  n <- 4000
  d <- sim_curves(n, times = c(0, 1, 4), curves = matrix(0, 1, 3), sd = c(0.6, 0.8), sigma = 0.5,
                  seed = 3)
  S <- truth(d)$covariance
  expect_equal(unname(S[1, ]), 0.36 + 0.64 * exp(-c(0, 1, 4)^2 / 2)) # a quarter of the range is 1
  Y <- matrix(d$expr, 3)
  V <- S + diag(0.25, 3)
  V_hat <- tcrossprod(Y) / n
  se <- sqrt((V^2 + outer(diag(V), diag(V))) / n)
  expect_true(all(abs(V_hat - V) < 4 * se))
  expect_equal(cov(truth(d)$deviations), S, tolerance = 0.1)
})

test_that("components are ordered by weight, and sigma and curves follow", {
  waves <- function(time) rbind(low = -1 + 0 * time, high = 1 + 0 * time)
  d <- sim_curves(3000, times = c(0, 1), curves = waves, weight = c(1, 3), sigma = c(0.1, 0.4),
                  sd = c(0, 0), seed = 4)
  t <- truth(d)
  expect_equal(t$theta, c("weight|1" = 0.75, "weight|2" = 0.25, "sigma|1" = 0.4, "sigma|2" = 0.1))
  expect_equal(rownames(t$curves), c("high", "low"))
  expect_lt(abs(mean(t$latent$component == 1) - 0.75), 4 * sqrt(0.75 * 0.25 / 3000))
  z <- rep(t$latent$component, each = 2)
  expect_equal(tapply(d$expr, z, mean), c("1" = 1, "2" = -1), tolerance = 0.02, ignore_attr = TRUE)
})

test_that("the default curves differ from each other by more than their deviations", {
  curves <- truth(sim_curves(2, k = 10, seed = 1))$curves[, , 1]
  apart <- as.matrix(dist(curves)) / sqrt(ncol(curves))
  expect_gt(min(apart[lower.tri(apart)]), 2 * 0.3)
})

test_that("a seed gives the same draws and leaves R's generator alone", {
  set.seed(1)
  before <- .Random.seed
  expect_identical(sim_curves(5, seed = 9), sim_curves(5, seed = 9))
  expect_identical(.Random.seed, before)
  expect_false(identical(sim_curves(5), sim_curves(5)))
})

test_that("a fit finds separated clusters", {
  d <- sim_curves(90, k = 3, sd = c(0.2, 0.1), sigma = 0.2, missing = 0.1, seed = 5)
  fit <- fit_mixture(expr ~ splines::bs(time, df = 6) + (1 | gene), d, k = 3, unit = ~ gene,
                     sigma = ~ 1)
  found <- predict(fit)
  drawn <- truth(d)$latent$component
  expect_equal(sum(apply(table(found, drawn), 1, max)), 90)
})

test_that("arguments are checked", {
  expect_error(sim_curves(0), class = "elbo_error_argument")
  expect_error(sim_curves(5, times = c(1, 1)), class = "elbo_error_argument")
  expect_error(sim_curves(5, k = 11), "curves", class = "elbo_error_argument")
  expect_error(sim_curves(5, weight = 1:2), class = "elbo_error_argument")
  expect_error(sim_curves(5, curves = matrix(0, 2, 3)), "clusters x 13",
               class = "elbo_error_argument")
  expect_error(sim_curves(5, sd = 1), class = "elbo_error_argument")
  expect_error(sim_curves(5, missing = 1), class = "elbo_error_argument")
  expect_error(sim_curves(5, sigma = 0), class = "elbo_error_argument")
})
