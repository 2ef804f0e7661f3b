show <- function(estimate, se) decimal_text(estimate, shown_decimals(estimate, se))

test_that("numbers are shown to two digits of their standard error and three of their own", {
  expect_identical(show(c(16.7611, 0.6602), c(0.7607, 0.0699)), c("16.76 ", " 0.660"))
  expect_identical(show(c(251.4051, 2.1941), c(6.88, 1.14)), c("251.4 ", "  2.19"))
  # Not to three digits of a small effect that is far from known.
  expect_identical(show(0.0003, 1.234), "0.00")
  # Without a standard error to three digits, less the zeros at their end.
  expect_identical(show(c(1, -4.5, 0.21494), NA), c(" 1    ", "-4.5  ", " 0.215"))
  expect_identical(show(c(Inf, NA, 0), NA), c("Inf", "   ", "  0"))
  expect_identical(trimws(show(c(12345678, 3e-9), c(2e4, 1e-9))), c("1.23e+07", "3.00e-09"))
})

test_that("blocks of lines stand beside each other", {
  expect_identical(table_lines(list(c("a", "bc"), value = c("1", "-10"))),
                   c("    value", "a       1", "bc    -10"))
  expect_identical(beside(c("a", "bc"), "right", "   "), c("a    right", "bc"))
  expect_identical(beside(character(), "right", "   "), "right")
})

test_that("text follows the decimal mark of the session, without a word", {
  numbers <- c(3.14159, 0.5, 120)
  withr::local_options(OutDec = ",", warn = 2)
  expect_identical(count_text(c(1e5, 7, 3e9)), c("100.000", "7", "3.000.000.000"))
  expect_identical(shown_decimals(numbers, rep(NA, 3)), c(2, 1, 0))
  expect_identical(decimal_text(c(1.25, 10), c(2, 0)), c(" 1,25", "10   "))
  expect_identical(format(priors(beta = normal(0.5, 1.5))[[1]]), "normal(0.5, 1.5)")
  fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
  mixture <- fit_mixture(waiting ~ 1, faithful, k = 1:2)
  expect_output(for (x in list(fit, summary(fit), mixture, compare_fits(fit))) print(x))
  options(OutDec = ".")
  expect_identical(count_text(c(1e5, 7, 3e9)), c("100,000", "7", "3,000,000,000"))
})

test_that("estimates without errors have their decimals however numbers are written", {
  withr::local_options(scipen = -9)
  expect_identical(shown_decimals(c(3.14159, 120), c(NA, NA)), c(2, 0))
})
