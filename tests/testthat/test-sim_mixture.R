test_that("draws have the moments of the components", {
  set.seed(1)
  S <- rbind(c(2, 0.6), c(0.6, 1))
  d <- sim_mixture(2e4, weight = c(1, 3), mean = rbind(c(a = 5, b = 1), c(-1, 0)), covariance = S)
  z <- truth(d)$latent$component
  # The larger component comes first, whatever the order of the arguments.
  expect_equal(unname(truth(d)$theta[c("weight|1", "mean__a|1", "mean__a|2")]), c(0.75, -1, 5))
  expect_equal(mean(z == 1), 0.75, tolerance = 0.02)
  expect_equal(colMeans(d[z == 1, ]), c(a = -1, b = 0), tolerance = 0.05)
  expect_equal(unname(cov(d[z == 2, ])), S, tolerance = 0.05)
  expect_equal(truth(d)$theta[["cor__a.b|1"]], 0.6 / sqrt(2))
})

test_that("regressions follow their family", {
  set.seed(2)
  d <- sim_mixture(2e4, c(2, 1), coefficients = rbind(c(0, 1), c(2, -1)), sigma = c(0.5, 1))
  z <- truth(d)$latent$component
  line <- lm(y ~ x1, d[z == 2, ])
  expect_equal(unname(coef(line)), c(2, -1), tolerance = 0.05)
  expect_equal(sigma(line), 1, tolerance = 0.05)
  d <- sim_mixture(2e4, c(2, 1), coefficients = rbind(c(0, 0.5), c(2, -0.5)), family = poisson())
  z <- truth(d)$latent$component
  expect_equal(unname(coef(glm(y ~ x1, poisson(), d[z == 1, ]))), c(0, 0.5), tolerance = 0.05)
  d <- sim_mixture(4e4, c(2, 1), coefficients = cbind("(Intercept)" = c(-1, 1)),
                   family = binomial())
  expect_equal(mean(d$y[truth(d)$latent$component == 1]), plogis(-1), tolerance = 0.03)
  expect_identical(names(truth(sim_mixture(9, c(2, 1), coefficients = rbind(1, 2)))$theta),
                   c("weight|1", "weight|2", "(Intercept)|1", "(Intercept)|2", "sigma"))
})

test_that("classes have their probabilities, and units their rows", {
  set.seed(3)
  P <- rbind(c(red = 0.7, green = 0.2, blue = 0.1), c(0.1, 0.2, 0.7))
  d <- sim_mixture(5000, c(2, 1), probability = list(colour = P, smokes = c(0.8, 0.2)),
                   mean = cbind(x = c(0, 9)), rows = 2)
  expect_identical(names(d), c("colour", "smokes", "x", "unit"))
  expect_s3_class(d$colour, "factor")
  expect_type(d$smokes, "logical")
  z <- rep(truth(d)$latent$component, each = 2)
  # The error of a frequency among some 6,700 rows is 0.006.
  expect_equal(as.vector(table(d$colour[z == 1]) / sum(z == 1)), unname(P[1, ]), tolerance = 0.05)
  expect_equal(mean(d$smokes[z == 2]), 0.2, tolerance = 0.1)
  expect_equal(as.vector(table(d$unit)), rep(2L, 5000))
  expect_true(all(tapply(d$x > 4.5, d$unit, function(x) length(unique(x))) == 1))
  expect_identical(tail(names(truth(d)$theta), 4), c("mean__x|1", "mean__x|2", "sd__x|1",
                                                     "sd__x|2"))
})

test_that("the truth has the names and the order of theta() in a fit", {
  set.seed(4)
  cases <- list(
    list(cbind(a, b) ~ 1, sim_mixture(300, c(2, 1), rbind(c(a = 0, b = 0), c(4, 4))), "VVV"),
    list(y ~ 1, sim_mixture(300), "V"),
    list(y ~ x1, sim_mixture(300, c(2, 1), coefficients = rbind(c(0, 1), c(5, -1)), sigma = c(1,
                                                                                              1.1)),
         NULL),
    list(responses(u, v, x) ~ 1,
         sim_mixture(300, c(2, 1), mean = cbind(x = c(0, 4)), probability = list(
           u = rbind(c(0.8, 0.1, 0.1), c(0.1, 0.1, 0.8)), v = c(0.9, 0.1))), NULL)
  )
  for (case in cases) {
    fit <- fit_mixture(case[[1]], case[[2]], k = 2, covariance = case[[3]])
    expect_identical(names(truth(case[[2]])$theta), names(theta(fit)))
    expect_identical(truth(case[[2]])$latent$unit, unique(latent(fit)$unit))
  }
})

test_that("components() of a fit are arguments", {
  fit <- mixture_example("normal")
  parts <- components(fit)
  d <- withr::with_seed(5, sim_mixture(50, parts$weight, parts$mean, parts$covariance))
  expect_identical(names(d), c("eruptions", "waiting"))
  expect_equal(unname(truth(d)$theta), unname(c(theta(fit))))
})

test_that("bad arguments are named", {
  expect_snapshot({
    refusal(sim_mixture(10, weight = c(1, -1)))
    refusal(sim_mixture(10, weight = c(1, 1), mean = 1:3))
    refusal(sim_mixture(10, weight = c(1, 1), mean = 1:2, covariance = -1))
    refusal(sim_mixture(10, weight = c(1, 1), mean = cbind(1:2, 1:2), covariance = matrix(1, 2, 2)))
    refusal(sim_mixture(10, weight = c(1, 1), coefficients = cbind(1:2, 1:2), family = Gamma()))
    refusal(sim_mixture(10, weight = c(1, 1), probability = list(c(0.1, 0.2))))
    refusal(sim_mixture(10, weight = c(1, 1), probability = list(a = c(0.1, 1.2))))
  })
})
