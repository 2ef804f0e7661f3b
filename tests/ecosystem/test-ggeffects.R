plain <- function(x) as.data.frame(x)[c("x", "predicted", "conf.low", "conf.high")]

test_that("curves are of the population, with summary()'s degrees of freedom", {
  fit <- fit_of("reml")
  curve <- plain(ggeffects::ggpredict(fit, "age"))
  at <- data.frame(age = curve$x, Sex = "Male")
  by_hand <- predict(fit, at, re.form = NA, interval = "confidence")
  expect_equal(as.matrix(curve[2:4]), by_hand, ignore_attr = TRUE)
  theirs <- plain(ggeffects::ggpredict(fit_of("reml_lmer"), "age"))
  expect_equal(curve$predicted, theirs$predicted, tolerance = 1e-5)
  word <- intersect(c("ci_level", "ci.lvl"), names(formals(ggeffects::ggpredict)))[1]
  narrow <- plain(do.call(ggeffects::ggpredict, c(list(fit, "age"), stats::setNames(0.8, word))))
  by_hand <- predict(fit, at, re.form = NA, interval = "confidence", level = 0.8)
  expect_equal(as.matrix(narrow[2:4]), by_hand, ignore_attr = TRUE)
  new <- plain(ggeffects::ggpredict(fit, "age", interval = "prediction"))
  by_hand <- predict(fit, at, re.form = NA, interval = "prediction")
  expect_equal(as.matrix(new[2:4]), by_hand, ignore_attr = TRUE)
  one_sex <- fit_glmm(distance ~ age + (1 | Subject), orthodont, method = "reml")
  expect_equal(plain(ggeffects::ggemmeans(one_sex, "age")),
               plain(ggeffects::ggpredict(one_sex, "age")), ignore_attr = TRUE)
})

test_that("a group that is asked for has its own curve", {
  fit <- fit_of("em")
  groups <- as.data.frame(ggeffects::ggpredict(fit, c("age", "Subject [M01, F01]")))
  at <- data.frame(age = groups$x, Sex = "Male", Subject = as.character(groups$group))
  expect_equal(groups$predicted, unname(predict(fit, at)))
})

test_that("a mixture of regressions has the curve of its mean", {
  fit <- fit_of("regression")
  curve <- as.data.frame(ggeffects::ggpredict(fit, "x1"))
  at <- data.frame(x1 = curve$x, arm = "a")
  expect_equal(curve$predicted, unname(predict(fit, at, type = "response")))
  # The delta method by hand: the mean is linear in weights and coefficients.
  w <- theta(fit)[c("weight|1", "weight|2")]
  beta <- rbind(theta(fit)[c("(Intercept)|1", "x1|1")], theta(fit)[c("(Intercept)|2", "x1|2")])
  z <- cbind(1, curve$x)
  slope <- cbind(z %*% t(beta), w[1] * z, w[2] * z)
  names <- c("weight|1", "weight|2", "(Intercept)|1", "x1|1", "(Intercept)|2", "x1|2")
  se <- sqrt(rowSums((slope %*% vcov(fit, full = TRUE)[names, names]) * slope))
  expect_equal(curve$conf.high - curve$predicted, qnorm(0.975) * se, tolerance = 1e-3)
})

test_that("ggpredict() meets every kind of fit that has a covariate", {
  expect_tool("ggpredict()", function(fit) {
    curve <- suppressMessages(ggeffects::ggpredict(fit, insight::find_predictors(fit)[[1]][1]))
    stopifnot(all(is.finite(curve$conf.low)))
    ggplot2::ggplot_build(plot(curve))
  }, works = c("em", "reml", "vb", "joint", "regression", "regression_vb", "poisson", "curves"))
})

test_that("transformed responses, bases and padded rows are as with lmer", {
  gaps <- transform(orthodont, distance = replace(distance, 3, NA))
  form <- log(distance) ~ poly(age, 2) + (1 | Subject)
  ours <- fit_glmm(form, gaps, na.action = na.exclude)
  theirs <- lme4::lmer(form, gaps, na.action = na.exclude, REML = FALSE)
  curve <- function(fit) plain(suppressMessages(ggeffects::ggpredict(fit, "age [all]")))
  expect_equal(curve(ours)$predicted, curve(theirs)$predicted, tolerance = 1e-5)
  standard <- function(fit) {
    suppressMessages(parameters::standardize_parameters(fit, verbose = FALSE))$Std_Coefficient
  }
  expect_equal(standard(ours), standard(theirs), tolerance = 1e-4)
})

test_that("counts are predicted on the scale of the response", {
  skip_if_not_installed("ggeffects")
  set.seed(3)
  d <- data.frame(x = rnorm(60), g = gl(6, 10))
  d$count <- rpois(60, exp(0.5 + 0.8 * d$x + rnorm(6)[d$g]))
  d$o <- cut(d$count, c(-1, 0, 2, Inf), labels = 0:2, ordered_result = TRUE)
  fit <- fit_glmm(count ~ x + (1 | g), d, family = poisson())
  table <- ggeffects::ggpredict(fit, "x [0,1]")
  at <- predict(fit, data.frame(x = 0:1), re.form = NA, type = "response")
  expect_equal(table$predicted, unname(at))
  ordered <- fit_glmm(o ~ x + (1 | g), d, family = cumulative())
  expect_error(ggeffects::ggpredict(ordered, "x [0,1]"), "one mean a row",
               class = "elbo_error_not_available")
})
