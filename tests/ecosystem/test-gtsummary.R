test_that("tbl_regression() meets every kind of fit", {
  rows <- function(fit) suppressMessages(gtsummary::tbl_regression(fit))$table_body
  told <- rows(fit_of("reml"))
  expect_equal(told$estimate[told$variable == "age"], coef(fit_of("reml"))[["age"]])
  expect_tool("tbl_regression()", function(fit) stopifnot(nrow(rows(fit)) > 0),
              works = table_kinds)
  # All parameters of a mixture, not its coefficients alone.
  normal <- rows(fit_of("normal"))
  shown <- theta(fit_of("normal"))[tidy(fit_of("normal"))$effect == "fixed"]
  expect_true(all(vapply(shown[!is.na(shown)], function(x) {
    any(abs(normal$estimate - x) < 1e-10, na.rm = TRUE)
  }, NA)))
})
