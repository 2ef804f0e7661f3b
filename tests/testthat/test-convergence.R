test_that("convergence() says why the fit stopped and how near the optimum it is", {
  fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
  state <- convergence(fit)
  expect_true(all(c("status", "iterations", "gradient", "gain", "message") %in% names(state)))
  expect_identical(state$status, "converged")
  expect_lt(state$gradient, 1e-6)
  # In quadratic approximation the gain is at most half the number of parameters times the
  # square of the largest scaled gradient times the information's condition.
  expect_lt(state$gain, 1e-10)
  expect_output(print(state), state$message, fixed = TRUE)
})

test_that("iterations that run out are said to have", {
  fit <- suppressWarnings(
    fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont,
             control = elbo_control(max_iter = 2, accelerate = "none"))
  )
  state <- convergence(fit)
  expect_identical(state$status, "max_iter")
  expect_gt(state$gradient, 1e-6)
  expect_match(state$message, "max_iter")
})

test_that("passes over the rows are counted", {
  d <- as.data.frame(nlme::Orthodont)
  fit <- fit_glmm(distance ~ age + (1 | Subject), d)
  expect_identical(convergence(fit)$passes, 1)
  dropped <- suppressMessages(fit_glmm(distance ~ age + I(2 * age) + (1 | Subject), d))
  expect_identical(convergence(dropped)$passes, 2)
})
