orthodont <- as.data.frame(nlme::Orthodont)

to_nowhere <- function(code) {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  force(code)
}

test_that("plot() draws each kind of fit, and leaves par() as it was", {
  set.seed(1)
  pairs <- sim_pairs(60, theta = 1)
  fits <- list(
    fit_glmm(distance ~ age + (age | Subject), orthodont),
    fit_glmm(distance ~ age, orthodont),
    fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se),
    fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint", prior = priors(pair = constant(Inf)))
  )
  to_nowhere({
    before <- graphics::par(no.readonly = TRUE)
    for (fit in fits) {
      expect_identical(plot(fit), fit)
      expect_no_error(plot(fit, type = "objective"))
    }
    expect_identical(graphics::par(no.readonly = TRUE)[c("mfrow", "mar", "las")],
                     before[c("mfrow", "mar", "las")])
  })
  expect_error(plot(fits[[1]], type = "pie"), "type", class = "elbo_error_argument")
})

test_that("latent variables are drawn in the order of their means, with the law's sd", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont)
  table <- latent_data(fit, "age", 0.95, "Subject")
  expect_false(is.unsorted(table$mean))
  expect_equal(table$high - table$mean, qnorm(0.975) * table$sd)
  expect_equal(law_sd(fit, "age", "Subject"), theta(fit)[["sd__age|Subject"]])
})

test_that("long tables are thinned evenly, to both ends", {
  table <- data.frame(x = 1:10001)
  thinned <- thin(table, 101)
  expect_identical(thinned$x, seq(1L, 10001L, by = 100L))
  expect_identical(thin(table[1:50, , drop = FALSE], 101)$x, 1:50)
})

test_that("autoplot() makes the same pictures with ggplot2", {
  skip_if_not_installed("ggplot2")
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont)
  for (type in c("objective", "latent", "residuals")) {
    picture <- ggplot2::autoplot(fit, type = type)
    expect_s3_class(picture, "ggplot")
    to_nowhere(expect_no_error(print(picture)))
  }
})

test_that("a forest of one point has a label of few digits", {
  one <- data.frame(study = "u", y = -0.33, s = 4.7)
  fit <- fit_glmm(y ~ 0 + (1 | study), one, method = "joint", se = s,
                  prior = priors(sd = constant(1)))
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  expect_no_error(plot(fit, type = "forest"))
})
