test_that("responses are drawn beside those of the fit", {
  one <- setdiff(table_kinds, c("normal", "classes"))
  expect_tool("pp_check()", function(fit) {
    picture <- bayesplot::pp_check(fit, ndraws = 10, seed = 1)
    stopifnot(inherits(picture, "ggplot"))
    ggplot2::ggplot_build(picture)
  }, works = one, refused = c("normal", "classes"))
  fit <- fit_of("em")
  expect_s3_class(bayesplot::pp_check(fit, type = "stat_grouped", group = "Sex"), "ggplot")
  expect_error(bayesplot::pp_check(fit, type = "dens_overly"), class = "elbo_error_argument")
  data <- bayesplot::pp_check(fit, ndraws = 10, seed = 1)$data
  expect_setequal(data$value[data$is_y], model.frame(fit)$distance)
})

test_that("draws are plotted", {
  draws <- posterior::as_draws(fit_of("vb"))
  expect_s3_class(bayesplot::mcmc_areas(draws, pars = "sigma"), "ggplot")
})
