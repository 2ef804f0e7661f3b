test_that("pairs have the shape that was asked for", {
  set.seed(1)
  pairs <- sim_pairs(7, theta = 2, m = 3)
  expect_named(pairs, c("y", "pair"))
  expect_identical(as.vector(table(pairs$pair)), rep(3L, 7))
  expect_equal(nrow(sim_pairs(1, 1)), 2)
  set.seed(1)
  expect_identical(sim_pairs(7, theta = 2, m = 3), pairs)
})

test_that("their truth is laid out as the answers of a fit", {
  set.seed(2)
  pairs <- sim_pairs(50, theta = 0.25)
  fit <- fit_glmm(y ~ 0 + (1 | pair), pairs, prior = priors(pair = constant(1)))
  expect_named(truth(pairs)$theta, names(theta(fit)))
  expect_equal(truth(pairs)$theta[["sigma"]], 0.5)
  expect_identical(truth(pairs)$latent[c("group", "level", "term")],
                   as.data.frame(latent(fit))[c("group", "level", "term")])
})

test_that("the moments are those of the model", {
  set.seed(3)
  pairs <- sim_pairs(50000, theta = 3)
  y <- matrix(pairs$y, 2)
  # Var(y) = 1 + theta and Cov(y_a, y_b) = 1, to five standard errors.
  expect_lt(abs(var(pairs$y) - 4), 5 * 4 * sqrt(2 / 50000))
  expect_lt(abs(cov(y[1, ], y[2, ]) - 1), 5 * sqrt(17 / 50000))
  z <- truth(pairs)$latent$value
  expect_lt(abs(var(pairs$y - rep(z, each = 2)) - 3), 5 * 3 * sqrt(2 / 1e5))
})

test_that("bad arguments are named", {
  expect_error(sim_pairs(0, 1), "`n` must be a positive whole number, not 0", fixed = TRUE,
               class = "elbo_error_argument")
  expect_error(sim_pairs(10, 0), "`theta` must be a positive number, not 0", fixed = TRUE,
               class = "elbo_error_argument")
  expect_error(sim_pairs(10, 1, m = 1.5), "`m` must be a positive whole number, not 1.5",
               fixed = TRUE, class = "elbo_error_argument")
})
