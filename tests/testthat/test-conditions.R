test_that("abort() and warn() raise classed conditions with the message joined", {
  e <- expect_error(abort(c("One.", "Two."), "elbo_error_data"), class = "elbo_error_data")
  expect_s3_class(e, c("elbo_error_data", "elbo_error", "error", "condition"), exact = TRUE)
  expect_equal(conditionMessage(e), "One. Two.")
  w <- expect_warning(warn("Slow.", "elbo_warning_slow", iterations = 3),
                      class = "elbo_warning")
  expect_s3_class(w, "elbo_warning_slow")
  expect_equal(w$iterations, 3)
})

test_that("an error shows the call that the user made, not ours", {
  call_of <- function(expr) conditionCall(tryCatch(expr, elbo_error = identity))
  expect_equal(call_of(elbo_control(tol = -1)), quote(elbo_control(tol = -1)))
  expect_equal(call_of(priors(beta = normal(0, -1))), quote(priors(beta = normal(0, -1))))
  # An argument forced inside another of our functions is still the user's own call.
  expect_equal(call_of(show_progress(elbo_control(tol = -1))), quote(elbo_control(tol = -1)))
  wrapper <- function(value) elbo_control(max_iter = value)
  environment(wrapper) <- new.env(parent = globalenv())
  assign("elbo_control", elbo_control, environment(wrapper))
  expect_equal(call_of(wrapper(0)), quote(elbo_control(max_iter = value)))
})

test_that("values are described in words", {
  expect_equal(describe_value(-1), "-1")
  expect_equal(describe_value("a"), "\"a\"")
  expect_equal(describe_value(NULL), "NULL")
  expect_equal(describe_value(NA), "NA")
  expect_equal(describe_value(1:3), "a numeric vector of length 3")
  expect_equal(describe_value(matrix("a", 2, 2)), "a character matrix with 2 rows")
  expect_equal(describe_value(list(1)), "a list of length 1")
  expect_equal(describe_value(factor("a")), "a factor")
  expect_equal(describe_value(data.frame(a = 1:2)), "a data frame with 2 rows")
  expect_equal(describe_value(Sys.Date()), "an object of class Date")
  expect_equal(describe_value(mean), "a function")
  expect_equal(describe_value(y ~ x), "`y ~ x`")
})

test_that("names and rows are listed briefly", {
  expect_equal(quote_names("a"), "`a`")
  expect_equal(quote_names(c("a", "b", "c")), "`a`, `b` and `c`")
  expect_equal(quote_names(letters[1:4], show = 2), "`a`, `b` and 2 more")
  expect_equal(list_rows(3), "row 3")
  expect_equal(list_rows(c(3, 17)), "rows 3 and 17")
  expect_equal(list_rows(1:7), "rows 1, 2, 3, 4, 5 and 2 more")
  expect_equal(list_rows(c("x", "y")), "rows x and y")
})

test_that("an error under a promise of another package's evaluation ends, and is ours", {
  # Frames of tidy evaluation are their own callers.
  skip_if_not_installed("rlang")
  tidy_call <- function(...) rlang::eval_tidy(rlang::quo(suppressMessages(...elt(1))))
  expect_error(tidy_call(elbo_control(tol = -1)), class = "elbo_error_argument")
  caller <- environment()
  expect_error(eval(quote(eval(quote(elbo_control(tol = -1)), caller)), caller),
               class = "elbo_error_argument")
})
