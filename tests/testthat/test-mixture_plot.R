to_nowhere <- function(code) {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  force(code)
}

test_that("plot() draws each kind of mixture, and leaves par() as it was", {
  to_nowhere({
    before <- graphics::par(no.readonly = TRUE)
    for (name in c(mixture_kinds, "joint", "vb", "vb_classes")) {
      fit <- mixture_example(name)
      expect_identical(plot(fit), fit)
      for (type in picture_types(fit)) expect_no_error(plot(fit, type = type))
    }
    expect_identical(graphics::par(no.readonly = TRUE)[c("mfrow", "mar", "las")],
                     before[c("mfrow", "mar", "las")])
  })
  expect_error(plot(mixture_example("normal"), type = "density"), class = "elbo_error_argument")
})

test_that("the pictures suit the fit", {
  expect_identical(picture_types(mixture_example("normal")),
                   c("classification", "uncertainty", "objective"))
  expect_identical(picture_types(mixture_example("univariate"))[1], "density")
  expect_identical(picture_types(mixture_example("poisson"))[1], "regression")
  expect_identical(picture_types(mixture_example("classes"))[1], "profiles")
  choice <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:3, covariance = c("EEE",
                                                                                         "VVV"))
  expect_identical(picture_types(choice)[1], "selection")
  to_nowhere(expect_no_error(plot(choice)))
  one <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1, covariance = "VVV")
  expect_false("uncertainty" %in% picture_types(one))
  to_nowhere(expect_no_error(plot(one)))
})

test_that("ellipses hold their share", {
  S <- rbind(c(2, 0.8), c(0.8, 1))
  ring <- ellipse(c(1, -1), S, 0.95)
  e <- sweep(ring, 2, c(1, -1))
  expect_equal(rowSums((e %*% solve(S)) * e), rep(qchisq(0.95, 2), nrow(ring)))
})

test_that("the density drawn is that of the fit", {
  fit <- mixture_example("univariate")
  data <- density_data(fit)
  new <- data.frame(waiting = data$y)
  expect_equal(data$density, unname(predict(fit, new, type = "density")))
  expect_equal(rowSums(data$share), data$density)
})

test_that("curves of regressions are those of the components", {
  fit <- mixture_example("poisson")
  data <- regression_curves(fit)
  b <- components(fit)$coefficients
  expect_equal(unname(data$mean[, 2]), exp(b[2, 1] + b[2, 2] * data$x))
  d <- withr::with_seed(1, regression_data())
  d$f <- gl(2, 100)
  both <- fit_mixture(y ~ f + x1, d, k = 2)
  expect_identical(regression_covariate(both), "x1")
  only <- fit_mixture(y ~ f, d, k = 2)
  expect_null(regression_covariate(only))
  to_nowhere({
    expect_no_error(plot(both, type = "regression"))
    expect_no_error(plot(only, type = "regression"))
  })
})

test_that("autoplot() makes the same pictures with ggplot2", {
  skip_if_not_installed("ggplot2")
  choice <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:2, covariance = c("EEE",
                                                                                         "VVV"))
  pictures <- list(choice = choice, one = mixture_example("univariate"),
                   copies = mixture_example("copies"))
  for (fit in pictures) {
    for (type in setdiff(picture_types(fit), c("regression", "profiles"))) {
      picture <- ggplot2::autoplot(fit, type = type)
      expect_s3_class(picture, "ggplot")
      to_nowhere(expect_no_error(print(picture)))
    }
  }
})
