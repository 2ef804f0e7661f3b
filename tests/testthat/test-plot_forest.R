sites <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se, method = "reml")

test_that("a forest plot has each study alone, given all, and the pooled effect", {
  data <- forest_data(sites, 0.9)
  studies <- data$studies
  y <- microcredit_sites$estimate
  se <- microcredit_sites$se
  expect_identical(studies$label, as.character(microcredit_sites$country))
  expect_equal(studies$estimate, y)
  expect_equal(studies$high - studies$estimate, qnorm(0.95) * se)
  # The posterior mean of a study's effect: the weighted mean of it and the pooled one.
  tau <- theta(sites)[["sd__(Intercept)|country"]]
  expect_equal(studies$given, (tau^2 * y + se^2 * coef(sites)[[1]]) / (tau^2 + se^2),
               tolerance = 1e-8)
  expect_true(all(studies$given_low < studies$given & studies$given < studies$given_high))
  expect_equal(data$pooled$estimate, coef(sites)[[1]])
  expect_equal(unlist(data$pooled[2:3]), confint(sites, "(Intercept)", level = 0.9)[1, ],
               ignore_attr = TRUE)
})

test_that("with moderators there is no pooled effect, without groups nothing given all", {
  moderated <- transform(microcredit_sites, x = seq_along(se))
  fit <- fit_glmm(estimate ~ x + (1 | country), moderated, se = se)
  expect_null(forest_data(fit, 0.95)$pooled)
  fixed <- fit_glmm(estimate ~ 1, microcredit_sites, se = se)
  data <- forest_data(fixed, 0.95)
  expect_null(data$studies$given)
  # The inverse-variance mean.
  w <- 1 / microcredit_sites$se^2
  expect_equal(data$pooled$estimate, sum(w * microcredit_sites$estimate) / sum(w))
  expect_false(anyDuplicated(data$studies$label) > 0)
  several <- rbind(microcredit_sites, microcredit_sites[1, ])
  labels <- forest_data(fit_glmm(estimate ~ 1 + (1 | country), several, se = se), 0.95)
  expect_identical(labels$studies$label[c(1, 2, 8)], c("Mexico 1", "Mongolia", "Mexico 2"))
})

test_that("one wide interval does not take the room of the others", {
  range <- forest_range(forest_data(sites, 0.95))
  philippines <- microcredit_sites[microcredit_sites$country == "Philippines", ]
  expect_lt(range[2], philippines$estimate + philippines$se)
  expect_gt(range[2], philippines$estimate)
  expect_lt(range[1], 0)
})

test_that("it is drawn", {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  before <- graphics::par("mai")
  expect_identical(plot(sites, type = "forest"), sites)
  expect_identical(graphics::par("mai"), before)
  expect_no_error(plot(fit_glmm(estimate ~ 1, microcredit_sites, se = se), type = "forest"))
  expect_match(forest_text(forest_data(sites, 0.95))[2], "^-0.3 \\[-0.8, 0.1\\]$")
  skip_if_not_installed("ggplot2")
  expect_no_error(print(ggplot2::autoplot(sites, type = "forest")))
})
