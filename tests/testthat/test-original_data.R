test_that("the data of a fit have all their columns, and the rows that were fitted", {
  d <- data.frame(y = c(NA, 2:20) + sin(1:20), x = (1:20)^2, g = gl(5, 4), other = letters[1:20])
  z <- 20:1
  fit <- fit_glmm(y ~ log(x) + z + (1 | g), d, subset = x > 5)
  expect_setequal(names(original_data(fit)), c("y", "x", "z", "g"))
  data <- fit_data(fit)
  expect_setequal(names(data), c("y", "x", "z", "g", "other"))
  expect_identical(data$other, letters[3:20])
  expect_identical(data$z, 18:1)
  mixture <- fit_mixture(y ~ x, d, k = 1)
  expect_identical(fit_data(mixture)$other, letters[2:20])
  # Changed since: what the frame has of them.
  d$y <- rev(d$y)
  expect_null(fit_data(fit)$other)
  expect_equal(fit_data(fit)$y, 3:20 + sin(3:20))
  # Without `data`.
  y <- c(2, 1, 4, 3, NA, 6, 8, 7)
  f <- gl(4, 2)
  alone <- fit_glmm(y ~ 1 + (1 | f))
  expect_equal(fit_data(alone)$y, y[-5])
})

sleep <- data.frame(id = gl(6, 5), x = rep(1:5, 6), w = rep(c(1, 2), 15))
sleep$y <- withr::with_seed(1, exp(sleep$x / 5 + rnorm(6)[sleep$id] + rnorm(30, sd = 0.1)))

test_that("the columns are those of the data, the rows those of the fit", {
  sleep$y[3] <- NA
  fit <- fit_glmm(log(y) ~ poly(x, 2) + (1 | id), sleep, weights = w)
  expect_equal(original_data(fit), sleep[-3, c("y", "x", "id", "w")], ignore_attr = "names")
  expect_named(augment(fit), c("log(y)", "y", "x", "id", "w", ".fitted", ".resid", ".fixed"))
  part <- fit_glmm(log(y) ~ x + (1 | id), sleep, subset = x > 2)
  expect_identical(original_data(part)$x, na.omit(sleep)$x[na.omit(sleep)$x > 2])
})

test_that("known standard errors and units are among them", {
  schools <- data.frame(school = letters[1:4], est = c(1, 3, 2, 5), error = c(1, 2, 1, 3))
  fit <- fit_glmm(est ~ 1 + (1 | school), schools, se = error)
  expect_equal(original_data(fit), schools[c("est", "school", "error")], ignore_attr = TRUE)
  expect_named(augment(mixture_example("normal")),
               c("eruptions", "waiting", ".class", ".uncertainty", ".prob1", ".prob2"))
  units <- mixture_example("binomial")
  expect_setequal(names(original_data(units)), c("y", "x1", "w", "unit"))
})

test_that("where the data are gone or have changed, the model frame has them", {
  gone <- local({
    here <- sleep
    fit <- fit_glmm(y ~ x + (1 | id), here, weights = w)
    rm(here)
    fit
  })
  expect_equal(original_data(gone), sleep[c("y", "x", "id", "w")], ignore_attr = TRUE)
  changed <- sleep
  fit <- fit_glmm(y ~ x + (1 | id), changed)
  changed$x <- 0
  expect_identical(original_data(fit)$x, sleep$x)
  both <- faithful
  mixture <- fit_mixture(cbind(eruptions, waiting) ~ 1, both, k = 2, covariance = "EEE")
  both <- mtcars
  expect_equal(original_data(mixture), faithful, ignore_attr = TRUE)
})
