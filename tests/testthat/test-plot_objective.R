textbook <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont,
                     control = elbo_control(accelerate = "none"))
newton <- update(textbook, control = elbo_control())

test_that("the decomposition is the trace, from the first M-step on", {
  trace <- elbo_trace(textbook)
  bars <- decomposition_data(textbook)
  expect_identical(nrow(bars), 14L)
  expect_identical(bars$step, rep(c("M", "E"), 7))
  expect_equal(bars$elbo, trace$elbo[2:15])
  expect_equal(bars$elbo + bars$kl, trace$log_evidence[2:15], tolerance = 1e-12)
  expect_true(all(bars$kl >= 0) && all(bars$base < bars$elbo))
  expect_lt(max(bars$kl[bars$step == "E"]), 1e-9)
})

test_that("textbook EM is shown as bars by default, other ascents as lines", {
  expect_identical(check_fit_pictures(NULL, textbook), c("decomposition", "latent", "residuals"))
  expect_identical(check_fit_pictures(NULL, newton), c("objective", "latent", "residuals"))
  expect_identical(check_fit_pictures(c("objective", "decomposition"), newton),
                   c("objective", "decomposition"))
  mixture <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE",
                         control = elbo_control(accelerate = "none"))
  expect_true("decomposition" %in% check_pictures(NULL, mixture))
  expect_false("objective" %in% check_pictures(NULL, mixture))
})

test_that("pictures that a fit does not have are refused with the reason", {
  refused <- function(expr, pattern) {
    expect_error(expr, pattern, class = "elbo_error_not_available")
  }
  refused(plot(newton, type = "curves"), "no smooth terms")
  refused(plot(newton, type = "forest"), "standard errors of the response are not known")
  refused(plot(update(newton, method = "vb"), type = "decomposition"), "no log evidence")
  refused(plot(fit_glmm(distance ~ age, nlme::Orthodont), type = "latent"), "no latent variables")
  expect_error(plot(newton, type = "pie"), "`type` must be some of", class = "elbo_error_argument")
  expect_error(plot(newton, level = 2), "level", class = "elbo_error_argument")
})

test_that("of a long ascent some steps are marked, the first and the last among them", {
  steps <- c("start", rep(c("M", "E"), 300))
  shown <- marked_steps(steps)
  expect_lte(length(shown), 25)
  expect_true(all(c(1, 2, 3, 600, 601) %in% shown))
})

test_that("the ascent is drawn, long and short, in base graphics and ggplot2", {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  for (fit in list(textbook, newton)) {
    expect_identical(plot(fit, type = c("decomposition", "objective")), fit)
  }
  skip_if_not_installed("ggplot2")
  picture <- ggplot2::autoplot(textbook)
  expect_equal(picture$data$high[1:14], elbo_trace(textbook)$elbo[2:15])
  expect_no_error(print(picture))
})

test_that("a trace prints no negative divergence, and not hundreds of rows", {
  trace <- elbo_trace(textbook)
  expect_true(any(trace$kl < 0)) # rounding, in the numbers themselves
  shown <- capture.output(print(trace, n = 500))
  expect_false(any(grepl(" -[0-9.e-]+$", sub("^ +[0-9]+ +[a-zA-Z]+ +[^ ]+ +[^ ]+", "", shown))))
  expect_length(capture.output(print(trace)), 22)
  expect_output(print(trace), sprintf("and %d more rows", nrow(elbo_trace(textbook)) - 20))
  expect_output(print(head(trace, 3)), "M +-226.5313 +-222.9581 +3.57")
  expect_output(print(trace[1:2, c("step", "elbo")]), "start")
  # Of points and vb there is the objective alone.
  expect_false(any(grepl("kl", capture.output(elbo_trace(update(newton, method = "vb"))))))
  expect_s3_class(trace, "data.frame")
})

test_that("an ascent that had nothing to climb is drawn at once, on an axis with labels", {
  set.seed(1)
  d <- data.frame(x = rnorm(24))
  d$cnt <- rpois(24, exp(d$x))
  fit <- fit_mixture(cnt ~ x, d, k = 1, family = poisson(),
                     control = elbo_control(accelerate = "none"))
  trace <- elbo_trace(fit)
  expect_lt(diff(range(trace$elbo, trace$log_evidence)), 1e-9)
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  seconds <- system.time(expect_silent(plot(fit, type = "decomposition")))
  expect_lt(seconds[["user.self"]], 5)
  expect_silent(plot(fit, type = "objective"))
  expect_gte(diff(graphics::par("usr")[3:4]), 1e-6)
})
