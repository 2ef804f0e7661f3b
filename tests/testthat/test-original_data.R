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
