test_that("pictures of parameters are drawn for every kind of fit", {
  drawn <- function(fit) {
    picture <- plot(parameters::model_parameters(fit))
    stopifnot(nrow(ggplot2::ggplot_build(picture)$data[[1]]) > 0)
  }
  # Intercepts are not drawn, and the meta-analysis has nothing else.
  expect_tool("plot(model_parameters())", drawn, works = setdiff(table_kinds, "meta"))
})
