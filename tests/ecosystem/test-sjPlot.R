test_that("tables have the estimates of every kind of fit", {
  expect_tool("tab_model()", function(fit) {
    page <- sjPlot::tab_model(fit, digits = 3)$page.complete
    first <- unname(coef(fit)[1])
    stopifnot(grepl(sprintf("%.3f", abs(first)), page, fixed = TRUE))
  }, works = table_kinds)
  mixed <- sjPlot::tab_model(fit_of("em"))$page.complete
  expect_match(mixed, "ICC")
  # Weights are not on the scale of the link.
  counts <- sjPlot::tab_model(fit_of("poisson"), digits = 3)$page.complete
  expect_match(counts, sprintf("%.3f", theta(fit_of("poisson"))[["weight|1"]]), fixed = TRUE)
})

test_that("pictures of every kind of fit", {
  drawn <- function(...) ggplot2::ggplot_build(suppressMessages(sjPlot::plot_model(...)))
  expect_tool("plot_model()", function(fit) drawn(fit), works = setdiff(table_kinds, "meta"))
  expect_tool("plot_model(type = \"pred\")",
              function(fit) {
                drawn(fit, type = "pred", terms = insight::find_predictors(fit)[[1]][1])
              },
              works = c("em", "reml", "vb", "joint", "regression", "regression_vb", "poisson"))
  skip_if_not_installed("glmmTMB") # which it asks for
  expect_tool("plot_model(type = \"re\")", function(fit) drawn(fit, type = "re"),
              works = c("em", "reml", "vb"))
})
