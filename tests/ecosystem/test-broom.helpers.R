# What tbl_regression() of package gtsummary shows.
rows_of <- function(fit, ...) {
  as.data.frame(suppressMessages(broom.helpers::tidy_plus_plus(fit, ...)))
}

test_that("tables of mixtures have proportions and means, by component", {
  normal <- rows_of(fit_of("normal"))
  expect_setequal(normal$term, tidy(fit_of("normal"))$term)
  expect_setequal(normal$estimate, tidy(fit_of("normal"))$estimate)
  expect_identical(as.character(normal$group_by), rep(c("1", "2"), each = 6))
  regression <- rows_of(fit_of("regression"))
  expect_identical(unique(regression$variable[1:5]),
                   c("proportion", "x1", "arm", "sd__Observation"))
  expect_identical(regression$label[regression$variable == "arm"], c("a", "b", "a", "b"))
})

test_that("broom.helpers meets every kind of fit", {
  expect_tool("tidy_plus_plus()", function(fit) stopifnot(nrow(rows_of(fit)) > 0),
              works = table_kinds)
})
