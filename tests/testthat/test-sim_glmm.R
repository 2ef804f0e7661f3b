test_that("sizes of groups are those that were asked for", {
  set.seed(1)
  expect_identical(as.vector(table(sim_glmm(4, size = c(1, 5, 2, 3))$group)), c(1L, 5L, 2L, 3L))
  d <- sim_glmm()
  expect_identical(dim(d), c(300L, 3L))
  expect_named(d, c("y", "x", "group"))
})

test_that("the truth is laid out as the answers of a fit", {
  set.seed(2)
  for (sd in list(1, c(1, 0.5))) {
    d <- sim_glmm(groups = 20, size = 6, sd = sd)
    formula <- if (length(sd) == 1) y ~ x + (1 | group) else y ~ x + (x | group)
    fit <- fit_glmm(formula, d)
    expect_named(truth(d)$theta, names(theta(fit)))
    expect_identical(truth(d)$latent[c("group", "level", "term")],
                     as.data.frame(latent(fit))[c("group", "level", "term")])
  }
})

test_that("the random effects have the stated covariance", {
  set.seed(3)
  d <- sim_glmm(groups = 20000, size = 1, sd = c(2, 0.5), cor = -0.6)
  u <- matrix(truth(d)$latent$value, ncol = 2, byrow = TRUE)
  expect_equal(apply(u, 2, sd), c(2, 0.5), tolerance = 0.02)
  expect_equal(cor(u)[2], -0.6, tolerance = 0.03)
})

test_that("the rows are the model's, residual by residual", {
  set.seed(4)
  d <- sim_glmm(groups = 500, size = 40, beta = c(3, -1), sd = c(1, 2), cor = 1, sigma = 0.1)
  u <- matrix(truth(d)$latent$value, ncol = 2, byrow = TRUE)
  expect_equal(u[, 2], 2 * u[, 1])
  residual <- d$y - (3 + u[d$group, 1]) - (-1 + u[d$group, 2]) * d$x
  expect_equal(sd(residual), 0.1, tolerance = 0.02)
  expect_equal(sd(d$x), 1, tolerance = 0.02)
})

test_that("bad arguments are named", {
  refuse <- function(...) expect_error(sim_glmm(...), class = "elbo_error_argument")
  refuse(groups = -1)
  refuse(size = c(1, 2))
  refuse(size = 0)
  refuse(beta = 1)
  refuse(sd = c(1, 1, 1))
  refuse(sd = -1)
  refuse(cor = 2)
  refuse(sigma = NA)
})

test_that("other responses have the mean of their family", {
  set.seed(4)
  draw <- function(...) sim_glmm(groups = 4000, size = 5, beta = c(-0.5, 0.5), sd = 0, ...)
  ordered <- draw(family = cumulative(), own = c(-1, 0.5))
  expect_identical(names(truth(ordered)$theta),
                   c("x", "sd__(Intercept)|group", "threshold__1|2", "threshold__2|3"))
  near <- abs(ordered$x) < 0.1
  expect_equal(mean(ordered$y[near] <= 1), plogis(-0.5), tolerance = 0.1)
  expect_equal(mean(ordered$y[near] <= 2), plogis(1), tolerance = 0.1)
  counts <- draw(family = negative_binomial(), own = 3)
  mean <- mean(exp(-0.5 + 0.5 * counts$x))
  expect_equal(mean(counts$y), mean, tolerance = 0.05)
  expect_identical(truth(counts)$theta[["size"]], 3)
  expect_true(all(draw(family = binomial())$y %in% 0:1))
  expect_error(draw(family = poisson(), own = 1), class = "elbo_error_argument")
  expect_error(draw(family = cumulative(), own = c(1, 0)), class = "elbo_error_argument")
})
