test_that("components have their shapes and names, from theta()", {
  parts <- components(mixture_example("normal"))
  expect_identical(names(parts), c("weight", "mean", "covariance"))
  expect_equal(dim(parts$mean), c(2L, 2L))
  expect_equal(dim(parts$covariance), c(2L, 2L, 2L))
  theta <- theta(mixture_example("normal"))
  expect_equal(unname(parts$weight), unname(theta[1:2]), ignore_attr = "fixed")
  expect_false(is.unsorted(-parts$weight))
  expect_equal(parts$mean["2", "waiting"], theta[["mean__waiting|2"]])
  expect_equal(parts$covariance["1", "waiting", "waiting"], theta[["sd__waiting|1"]]^2)
  expect_equal(parts$covariance["1", "waiting", "eruptions"],
               theta[["cor__eruptions.waiting|1"]] * theta[["sd__waiting|1"]] *
                 theta[["sd__eruptions|1"]])
})

# The order of correlations is that of combn(), down the lower triangle.
test_that("covariances of four responses are those that C holds", {
  fit <- fit_mixture(cbind(Sepal.Length, Sepal.Width, Petal.Length, Petal.Width) ~ 1, iris, k = 3,
                     covariance = "VEV")
  expect_equal(unname(aperm(components(fit)$covariance, c(2, 3, 1))),
               state_of(fit)$normal$covariance,
               tolerance = 1e-12)
})

test_that("a single response, shared covariances and one component keep the shapes", {
  parts <- components(mixture_example("univariate"))
  expect_equal(dim(parts$mean), c(2L, 1L))
  expect_equal(dim(parts$covariance), c(2L, 1L, 1L))
  shared <- components(fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2,
                                   covariance = "EEE"))
  expect_equal(shared$covariance[1, , ], shared$covariance[2, , ])
  one <- components(fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1, covariance = "VVV"))
  expect_equal(dim(one$covariance), c(1L, 2L, 2L))
  expect_equal(unname(one$covariance[1, , ]), unname(cov(faithful)) * 271 / 272, tolerance = 1e-8)
})

test_that("regressions have coefficients and sigma", {
  parts <- components(mixture_example("gaussian"))
  expect_identical(names(parts), c("weight", "coefficients", "covariance", "sigma"))
  expect_identical(dimnames(parts$coefficients), list(c("1", "2"), c("(Intercept)", "x1")))
  expect_equal(dim(parts$covariance), c(2L, 0L, 0L))
  expect_length(parts$sigma, 2)
  expect_identical(unname(components(mixture_example("common"))$sigma),
                   rep(theta(mixture_example("common"))[["sigma"]], 2))
  expect_identical(unname(components(mixture_example("poisson"))$sigma), c(1, 1))
})

test_that("weights that depend on covariates are averaged over the units", {
  fit <- mixture_example("binomial")
  b <- theta(fit)[1:2]
  w <- tapply(frame_of(fit)$w, frame_of(fit)$unit, `[`, 1)
  second <- mean(plogis(b[[1]] + b[[2]] * w))
  expect_equal(unname(components(fit)$weight), c(1 - second, second))
  # At the maximum of the likelihood that is the mean of the posterior probabilities.
  expect_equal(unname(components(fit)$weight), unname(size_of(fit)) / nobs(fit), tolerance = 1e-6)
})

test_that("classes have probabilities that sum to one", {
  parts <- components(mixture_example("classes"))
  expect_identical(names(parts), c("weight", "probability", "mean", "covariance"))
  expect_identical(colnames(parts$probability$colour), c("red", "green", "blue"))
  expect_identical(colnames(parts$probability$smokes), c("FALSE", "TRUE"))
  for (P in parts$probability) expect_equal(unname(rowSums(P)), c(1, 1))
  expect_equal(dim(parts$covariance), c(2L, 1L, 1L))
  only <- components(mixture_example("copies"))
  expect_equal(dim(only$mean), c(2L, 0L))
})
