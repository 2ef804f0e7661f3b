test_that("posteriors are described", {
  fit <- fit_of("vb")
  table <- bayestestR::describe_posterior(fit, centrality = "mean", ndraws = 4000, seed = 1)
  expect_identical(table$Parameter, names(theta(fit)))
  # Means of 4000 draws are off by sd / 63; four of these.
  sd <- sqrt(diag(vcov(fit, full = TRUE)))
  expect_true(all(abs(table$Mean - theta(fit)) < 4 * sd / 63))
  fixed <- bayestestR::hdi(fit, effects = "fixed", ndraws = 200)
  expect_identical(fixed$Parameter, names(coef(fit)))
  expect_identical(bayestestR::hdi(fit, parameters = "age", ndraws = 20)$Parameter,
                   grep("age", names(theta(fit)), value = TRUE))
})

test_that("bayestestR meets every kind of fit", {
  posteriors <- c("vb", "regression_vb")
  others <- setdiff(table_kinds, posteriors)
  tools <- c("describe_posterior", "hdi", "eti", "bci", "point_estimate", "map_estimate",
             "p_direction", "p_map", "p_significance", "rope", "estimate_density",
             "equivalence_test")
  for (tool in tools) {
    use <- getExportedValue("bayestestR", tool)
    expect_tool(paste0(tool, "()"), function(fit) use(fit, ndraws = 500, seed = 1),
                works = posteriors, refused = others)
  }
  expect_tool("ci()", function(fit) bayestestR::ci(fit), works = table_kinds)
  expect_tool("describe_prior()", function(fit) bayestestR::describe_prior(fit),
              works = table_kinds)
})
