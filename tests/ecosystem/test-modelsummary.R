table_of <- function(fit, ...) {
  modelsummary::modelsummary(list(fit = fit), output = "data.frame", fmt = 4, ...)
}

# The numbers of a table's rows of one statistic, by term.
column_of <- function(table, statistic) {
  rows <- table[table$part == "estimates" & table$statistic == statistic, ]
  stats::setNames(as.numeric(gsub("[()]", "", rows$fit)), rows$term)
}

test_that("estimates and standard errors of a mixed model are those of tidy()", {
  fit <- fit_of("reml")
  table <- table_of(fit)
  told <- tidy(fit)
  for (term in c("(Intercept)", "age", "SexFemale")) {
    row <- match(term, told$term)
    expect_equal(column_of(table, "estimate")[[term]], told$estimate[row], tolerance = 1e-3)
    expect_equal(column_of(table, "std.error")[[term]], told$std.error[row], tolerance = 1e-3)
  }
})

test_that("a covariance by name is honoured, or refused", {
  fit <- fit_of("em")
  robust <- column_of(table_of(fit, vcov = ~ Subject), "std.error")
  # Of 27 children: vcovCL() has the factor m / (m - 1).
  expected <- sqrt(vcov(fit, type = "sandwich")["age", "age"] * 27 / 26)
  expect_equal(robust[["age"]], expected, tolerance = 1e-3)
  told <- tryCatch(column_of(table_of(fit, vcov = "HC0"), "std.error"), error = identity)
  expect_s3_class(told, "error")
})

test_that("modelsummary() meets every kind of fit", {
  expect_tool("modelsummary()", function(fit) {
    stopifnot(nrow(suppressMessages(table_of(fit))) > 0)
  }, works = table_kinds)
})
