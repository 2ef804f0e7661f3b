growth <- nlme::Orthodont

test_that("responses drawn in the statistics have the law of responses drawn row by row", {
  # Levels within groups, weights, an unbalanced design: everything that the draw must respect.
  set.seed(1)
  d <- data.frame(g = rep(1:15, times = rep(c(2, 5, 8), 5)))
  d$x <- rnorm(nrow(d))
  d$f <- factor(sample(c("a", "b"), nrow(d), TRUE))
  d$w <- runif(nrow(d), 0.5, 2)
  d$y <- 1 + d$x + rnorm(15)[d$g] + rnorm(nrow(d)) * ifelse(d$f == "a", 0.5, 1)
  expect_same_law <- function(fit, nsim) {
    fast <- bootstrap(fit, nsim, seed = 1)$theta
    rows <- refit_response(fit, as.matrix(simulate(fit, nsim, seed = 2)))
    slow <- rows[, colnames(fast)]
    for (name in colnames(fast)) {
      a <- fast[is.finite(fast[, name]), name]
      b <- slow[is.finite(slow[, name]), name]
      # Both are samples: means within 4 standard errors, distributions by Kolmogorov-Smirnov.
      expect_lt(abs(mean(a) - mean(b)), 4 * sqrt(var(a) / length(a) + var(b) / length(b)),
                label = name)
      expect_gt(suppressWarnings(ks.test(a, b)$p.value), 1e-4, label = name)
    }
  }
  expect_same_law(fit_glmm(y ~ x + (x | g), d, sigma = ~ f, weights = w), 1500)
  prior <- priors(x = normal(0, 0.2), g = half_normal(0.3), sigma = inverse_gamma(20, 20))
  expect_same_law(fit_glmm(y ~ x + (1 | g), d, weights = w, prior = prior), 500)
})

test_that("refits to given responses are fits to them", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), growth)
  Y <- as.matrix(simulate(fit, 3, seed = 1))
  refits <- refit_response(fit, Y)
  for (i in 1:3) {
    direct <- fit_glmm(y ~ age + (1 | Subject), transform(growth, y = Y[, i]))
    expect_equal(refits[i, names(theta(direct))], c(theta(direct)), tolerance = 1e-8,
                 ignore_attr = TRUE)
    expect_equal(refits[[i, "objective"]], objective_of(direct), tolerance = 1e-12)
  }
})

test_that("a seed gives the same bits and leaves the session's generator alone", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), growth)
  set.seed(5)
  before <- .Random.seed
  a <- bootstrap(fit, 20, seed = 1)
  expect_identical(.Random.seed, before)
  expect_identical(bootstrap(fit, 20, seed = 1)$theta, a$theta)
  expect_false(identical(bootstrap(fit, 20)$theta, a$theta))
})

test_that("its standard errors are near those of the information where that is good", {
  set.seed(1)
  d <- sim_glmm(groups = 200, size = 5, sd = 1)
  fit <- fit_glmm(y ~ x + (1 | group), d)
  b <- bootstrap(fit, 1000, seed = 1)
  # 1,000 refits give a standard error to 1 / sqrt(2000) = 2 %; asymptotics add to that.
  expect_equal(sqrt(diag(vcov(b))), sqrt(diag(vcov(fit, full = TRUE))), tolerance = 0.08)
  expect_equal(dim(as.data.frame(b)), c(1000L, 4L))
  expect_output(print(b), "1000 refits")
})

test_that("latent variables without a law cannot be drawn", {
  pairs <- sim_pairs(10, 1)
  fit <- fit_glmm(y ~ 0 + (1 | pair), pairs, prior = priors(pair = constant(Inf)))
  expect_error(bootstrap(fit), class = "elbo_error_simulate")
})

test_that("a seed gives the same numbers whatever generator the session has, and leaves it alone", {
  kind <- RNGkind()
  on.exit(suppressWarnings(RNGkind(kind[1], kind[2], kind[3])))
  draw <- function() with_seed(1, c(runif(2), rnorm(2), sample.int(100, 2)))
  set.seed(1)
  expected <- c(runif(2), rnorm(2), sample.int(100, 2))
  d <- data.frame(x = seq(-2, 2, length.out = 60))
  d$y <- sin(5 * d$x) + d$x
  fit <- function() theta(fit_mixture(y ~ x, d, k = 3, control = elbo_control(n_starts = 3)))
  like <- fit()
  sims <- simulate(fit_mixture(y ~ x, d, k = 1), 1, seed = 3)
  for (other in list(c("L'Ecuyer-CMRG", "Inversion", "Rejection"),
                     c("Wichmann-Hill", "Box-Muller", "Rounding"),
                     c("Mersenne-Twister", "Ahrens-Dieter", "Rounding"))) {
    suppressWarnings(RNGkind(other[1], other[2], other[3]))
    set.seed(9)
    here <- .Random.seed
    expect_identical(draw(), expected)
    expect_identical(fit(), like)
    expect_identical(simulate(fit_mixture(y ~ x, d, k = 1), 1, seed = 3), sims)
    expect_identical(.Random.seed, here)
    expect_identical(RNGkind(), other)
  }
  rm(".Random.seed", envir = globalenv())
  expect_identical(draw(), expected)
  expect_false(exists(".Random.seed", globalenv(), inherits = FALSE))
})
