test_that("loo() meets every kind of fit", {
  # Of few children one may be too far away to be left out by weights: loo says so.
  told <- function(fit) suppressWarnings(loo::loo(fit))$estimates["elpd_loo", 1]
  expect_tool("loo()", function(fit) stopifnot(is.finite(told(fit))),
              works = "vb", refused = setdiff(table_kinds, "vb"))
})
