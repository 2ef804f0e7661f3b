set.seed(1948)
pairs <- sim_pairs(100, theta = 1)
law <- priors(pair = constant(1))
em <- fit_glmm(y ~ 0 + (1 | pair), pairs, prior = law)
joint <- fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint", prior = law)

test_that("compare_fits() has a row for each fit and parameter", {
  both <- compare_fits(em, points = joint)
  expect_s3_class(both, c("elbo_comparison", "data.frame"), exact = TRUE)
  expect_named(both, c("fit", "method", "term", "estimate", "std.error"))
  expect_identical(unique(both$fit), c("em", "points"))
  expect_identical(both$term, rep(names(theta(em)), 2))
  expect_equal(both$estimate, c(theta(em), theta(joint)), ignore_attr = TRUE)
  facts <- attr(both, "facts")
  expect_identical(facts$fit, c("em", "points"))
  expect_equal(facts$objective, c(elbo(em), elbo(joint)))
  expect_identical(is.na(facts$log_likelihood), c(FALSE, TRUE))
})

test_that("parameters that are held are marked", {
  both <- compare_fits(em, joint)
  expect_identical(attr(both, "held"), c(TRUE, FALSE, TRUE, FALSE))
  expect_output(print(both), "sd [(]Intercept[)] [|] pair +1 +[(]held[)] +1 +[(]held[)]")
})

test_that("fits are named by their arguments, and those apart", {
  expect_identical(unique(compare_fits(em, em)$fit), c("em", "em.1"))
  expect_error(compare_fits(em, lm(y ~ 1, pairs)), class = "elbo_error_argument")
  expect_error(compare_fits(), class = "elbo_error_argument")
})

test_that("a comparison prints fits side by side, and its rows as a data frame", {
  comparison <- compare_fits(em, joint)
  attr(comparison, "facts")$seconds <- 0.001
  expect_snapshot(print(comparison))
  expect_output(print(comparison[1:2, c("term", "estimate")]), "estimate")
})

test_that("a comparison is drawn with a panel for each parameter", {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  comparison <- compare_fits(em, joint)
  before <- graphics::par("mfrow")
  expect_identical(plot(comparison), comparison)
  expect_identical(graphics::par("mfrow"), before)
})

test_that("lists of fits are compared under short names", {
  small <- fit_glmm(distance ~ 1 + (1 | Subject), nlme::Orthodont)
  large <- update(small, . ~ . + age)
  expect_identical(rownames(do.call(anova, list(small, large))), c("fit1", "fit2"))
  expect_identical(rownames(do.call(anova, list(one = large, two = small))), c("two", "one"))
  expect_identical(rownames(anova(small, b = large)), c("small", "b"))
  expect_identical(rownames(anova(small, large, model.names = c("a", "b"))), c("a", "b"))
  expect_identical(attr(do.call(compare_fits, list(small, large)), "facts")$fit,
                   c("fit1", "fit2"))
  expect_identical(attr(do.call(compare_fits, list(a = small, large)), "facts")$fit,
                   c("a", "fit2"))
  one <- fit_mixture(waiting ~ 1, faithful, k = 1)
  two <- update(one, k = 2, covariance = "E")
  table <- do.call(anova, list(few = one, many = two, nsim = 5, seed = 1))
  expect_identical(rownames(table), c("few", "many"))
})

test_that("fits to different data are not set beside each other without a word", {
  short <- update(em, data = pairs[-(1:2), ])
  expect_warning(both <- compare_fits(em, short), "200 rows and 198",
                 class = "elbo_warning_comparison")
  expect_output(print(both), "not fits to the same data")
  other <- transform(pairs, y = y + 1)
  expect_warning(compare_fits(em, shifted = update(em, data = other)), "the responses differ")
  expect_warning(compare_fits(fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont),
                              fit_glmm(log(distance) ~ age + (1 | Subject), nlme::Orthodont)),
                 "the responses differ")
  # The same response, other terms; a mixture beside a mixed model.
  expect_no_warning(compare_fits(fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont),
                                 fit_glmm(distance ~ 1 + (1 | Subject), nlme::Orthodont)))
  mixture <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
  expect_no_warning(compare_fits(mixture, update(mixture, k = 3)))
  expect_warning(compare_fits(mixture, update(mixture, data = faithful[-1, ])), "272 rows and 271")
})

test_that("log-likelihoods with and without a law are not set beside each other without a word", {
  lawless <- update(em, prior = priors(pair = constant(Inf)))
  expect_warning(both <- compare_fits(em, lawless), "of `lawless` have no law, those of `em` do",
                 class = "elbo_warning_comparison")
  expect_output(print(both), "no law")
  # Points have no log-likelihood to compare.
  expect_no_warning(compare_fits(em, update(lawless, method = "joint")))
  expect_no_warning(compare_fits(lawless, update(lawless, method = "reml")))
})

test_that("units are counted as units", {
  curves <- sim_curves(30, k = 2, seed = 1)
  fit <- fit_mixture(expr ~ time + (1 | gene), curves, k = 2, unit = ~ gene,
                     control = elbo_control(n_starts = 2))
  alone <- compare_fits(fit)
  expect_identical(attr(alone, "facts")$counted, "unit")
  expect_identical(attr(alone, "facts")$rows, 30)
  expect_output(print(alone), "units")
  rows <- fit_glmm(expr ~ time + (1 | gene), curves)
  expect_output(print(compare_fits(fit, rows)), "30 units")
  expect_output(print(compare_fits(fit, rows)), sprintf("%s rows", nobs(rows)))
})

test_that("lists of fits, named or not, have short names", {
  expect_identical(unique(do.call(compare_fits, list(em, joint))$fit), c("fit1", "fit2"))
  expect_identical(unique(do.call(compare_fits, list(a = em, b = joint))$fit), c("a", "b"))
  expect_identical(unique(compare_fits(a = em, update(em, method = "joint"))$fit),
                   c("a", "update(em, method = \"joint\")"))
})

test_that("intervals leave room to the frame, and zero is in sight of what is near it", {
  rows <- data.frame(fit = c("a", "b"), estimate = c(1, 1.2), std.error = c(0.3, 0.3))
  data <- interval_data(rows, 0.95, "coefficient")
  expect_equal(data$table$low, rows$estimate - qnorm(0.975) * 0.3)
  expect_lt(data$range[1], 0) # zero, and room
  expect_gt(data$range[2], max(data$table$high))
  far <- interval_data(transform(rows, estimate = estimate + 100), 0.95, "coefficient")
  expect_gt(far$range[1], 90)
  single <- interval_data(data.frame(fit = "a", estimate = 3, std.error = NA), 0.95, "sd")
  expect_true(single$range[1] < 3 && single$range[2] > 3)
})

test_that("parameters have one readable name", {
  fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont, sigma = ~ Sex)
  expect_identical(unname(parameter_labels(fit)),
                   c("(Intercept)", "age", "sd (Intercept) | Subject", "sd age | Subject",
                     "cor (Intercept), age | Subject", "sigma Male", "sigma Female"))
  expect_named(parameter_labels(fit), names(theta(fit)))
  mixture <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
  expect_true(all(c("weight, component 1", "mean waiting, component 2") %in%
                    parameter_labels(mixture)))
  expect_named(parameter_labels(mixture), names(theta(mixture)))
  both <- compare_fits(ml = fit, reml = update(fit, method = "reml"))
  expect_identical(unname(attr(both, "labels")), unname(parameter_labels(fit)))
  expect_output(print(both), "cor (Intercept), age | Subject", fixed = TRUE)
  expect_output(print(bootstrap(fit, 2, seed = 1)), "sd age | Subject", fixed = TRUE)
})

test_that("an interval that is not finite is drawn as a point, and is no part of the axis", {
  rows <- data.frame(fit = c("a", "b", "c"), estimate = c(1, 2, 3), std.error = c(Inf, NaN, 0.5))
  for (role in c("coefficient", "sd")) {
    drawn <- interval_data(rows, 0.95, role)
    expect_identical(drawn$table$high[1:2], c(1, 2))
    expect_identical(drawn$table$low[2], 2)
    expect_true(all(is.finite(c(drawn$table$low, drawn$range))))
  }
})

test_that("fits without parameters are compared by their facts", {
  d <- data.frame(y = c(0.3, -1, 0.8), s = c(1, 2, 1))
  none <- compare_fits(known = fit_glmm(y ~ 0, d, se = s))
  expect_identical(nrow(none), 0L)
  expect_equal(attr(none, "facts")$log_likelihood, sum(dnorm(d$y, 0, d$s, log = TRUE)))
  expect_output(print(none), "No parameter is estimated")
  expect_error(plot(none), class = "elbo_error_not_available")
  expect_silent(text <- knitr::knit_print(none))
})
