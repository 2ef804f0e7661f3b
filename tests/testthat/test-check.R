test_that("checks return their argument in the type asked for", {
  expect_identical(check_number(-1.5, "x"), -1.5)
  expect_identical(check_positive(2, "x"), 2)
  expect_identical(check_between(0.5, "x", 0, 1), 0.5)
  expect_identical(check_count(3, "x"), 3L)
  expect_identical(check_whole(-3, "x"), -3L)
  expect_identical(check_flag(TRUE, "x"), TRUE)
  expect_identical(check_choice("b", "x", c("a", "b")), "b")
  expect_identical(check_choice(c("a", "b"), "x", c("a", "b")), "a")
  expect_identical(check_data_frame(cars, "x"), cars)
  expect_null(check_dots_empty())
})

test_that("checks refuse what is not asked for", {
  refused <- function(expr) expect_error(expr, class = "elbo_error_argument")
  for (x in list(NULL, NA_real_, Inf, NaN, "1", 1:2, TRUE, list(1), factor(1))) {
    refused(check_number(x, "x"))
    refused(check_positive(x, "x"))
    refused(check_count(x, "x"))
    refused(check_data_frame(x, "x"))
  }
  for (x in list(NULL, NA, 1, "TRUE", c(TRUE, TRUE))) refused(check_flag(x, "x"))
  for (x in list(0, -1, 1.5, 2^31)) refused(check_count(x, "x"))
  for (x in list(0, 1, -1)) refused(check_between(x, "x", 0, 1))
  for (x in list("c", NA_character_, 1, c("b", "a"), NULL)) {
    refused(check_choice(x, "x", c("a", "b")))
  }
})

test_that("messages name argument, expectation and value", {
  expect_snapshot({
    refusal(check_positive(-1, "tol"))
    refusal(check_count(1.5, "max_iter"))
    refusal(check_flag(NA, "progress"))
    refusal(check_between(0, "level", 0, 1))
    refusal(check_choice("f", "method", c("em", "reml")))
    refusal(check_data_frame(as.matrix(cars), "data"))
    refusal(check_dots_empty(newdat = 1))
    refusal(check_dots_empty(3))
  })
})
