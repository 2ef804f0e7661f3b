growth <- as.data.frame(nlme::Orthodont)
fit <- fit_glmm(distance ~ age + (age | Subject), growth, sigma = ~ Sex)

test_that("the answer has the shape of stats::simulate()", {
  draws <- simulate(fit, 3, seed = 1)
  expect_s3_class(draws, "data.frame")
  expect_named(draws, c("sim_1", "sim_2", "sim_3"))
  expect_equal(row.names(draws), row.names(growth))
  expect_equal(c(attr(draws, "seed")), 1)
  expect_equal(attr(attr(draws, "seed"), "kind"), as.list(RNGkind()))
  expect_named(simulate(fit), "sim_1")
})

test_that("the generator is treated as stats::simulate() treats it", {
  set.seed(5)
  before <- .Random.seed
  first <- simulate(fit, 2, seed = 1)
  expect_identical(.Random.seed, before)
  expect_equal(simulate(fit, 2, seed = 1), first)
  free <- simulate(fit)
  expect_equal(attr(free, "seed"), before)
  expect_false(identical(.Random.seed, before))
  set.seed(5)
  expect_equal(simulate(fit), free)
})

test_that("simulated responses have the moments of the model", {
  draws <- as.matrix(simulate(fit, 4000, seed = 2))
  one <- which(growth$Subject == "M01")
  Z <- model.matrix(fit, "random")[one, ]
  V <- Z %*% latent_law(fit) %*% t(Z) + diag(residual_sd(fit)[one]^2)
  # Means and covariances of 4000 draws: within four of their standard errors.
  error <- apply(draws, 1, sd) / sqrt(4000)
  expect_lt(max(abs(rowMeans(draws) - predict(fit, re.form = NA)) / error), 4.5)
  error <- sqrt((V^2 + outer(diag(V), diag(V))) / 4000)
  expect_lt(max(abs(cov(t(draws[one, ])) - V) / error), 4)
  # Another child is independent.
  other <- which(growth$Subject == "F01")
  expect_lt(max(abs(cor(t(draws[one, ]), t(draws[other, ])))), 4.5 / sqrt(4000))
})

test_that("re.form = NULL keeps the latent variables", {
  draws <- as.matrix(simulate(fit, 2000, seed = 3, re.form = NULL))
  noise <- residual_sd(fit)
  expect_lt(max(abs(rowMeans(draws) - fitted(fit)) / (noise / sqrt(2000))), 4.5)
  expect_equal(unname(apply(draws, 1, sd) / noise), rep(1, 108), tolerance = 0.1)
  expect_equal(simulate(fit, seed = 1, re.form = ~ 0), simulate(fit, seed = 1))
})

test_that("new data may have new groups", {
  new <- data.frame(Subject = rep(c("a", "b"), each = 2), age = 10, Sex = "Male")
  draws <- as.matrix(simulate(fit, 4000, seed = 4, newdata = new))
  within <- cor(draws[1, ], draws[2, ])
  V <- drop(c(1, 10) %*% latent_law(fit) %*% c(1, 10))
  expect_equal(within, V / (V + sigma(fit)[["Male"]]^2), tolerance = 0.05)
  expect_lt(abs(cor(draws[1, ], draws[3, ])), 4 / sqrt(4000))
  expect_error(simulate(fit, newdata = new, re.form = NULL), class = "elbo_error_new_levels")
  expect_equal(dim(simulate(fit, 2, newdata = growth[5:7, ], re.form = NULL)), c(3, 2))
})

test_that("singular laws, linear models and dropped rows are no special case", {
  flat <- fit
  flat$theta["sd__age|Subject"] <- 0
  flat$theta["cor__(Intercept).age|Subject"] <- NaN
  expect_false(anyNA(simulate(flat, seed = 1)))
  expect_equal(dim(simulate(fit_glmm(dist ~ speed, cars), 2)), c(50, 2))
  gaps <- growth
  gaps$age[2] <- NA
  excluded <- fit_glmm(distance ~ age + (1 | Subject), gaps, na.action = na.exclude)
  expect_equal(which(is.na(simulate(excluded)$sim_1)), 2)
})

test_that("what cannot be drawn is refused", {
  lawless <- fit_glmm(distance ~ 0 + (1 | Subject), growth,
                      prior = priors(Subject = constant(Inf)))
  expect_snapshot({
    refusal(simulate(lawless))
    refusal(simulate(fit, 0))
    refusal(simulate(fit, seed = "a"))
    refusal(simulate(fit, use.u = 2))
  })
  expect_error(simulate(lawless), class = "elbo_error_no_law")
  expect_equal(nrow(simulate(lawless, re.form = NULL)), 108)
})
