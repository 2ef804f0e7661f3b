orthodont <- as.data.frame(nlme::Orthodont)

# What optimisers of rounding size leave differs between machines; so do seconds.
scrub <- function(lines) {
  lines <- gsub("gradient [0-9.e+-]+", "gradient <rounding>", lines)
  gsub("[0-9]+ EM and [0-9]+ Newton steps?", "<some> EM and Newton steps", lines)
}

print_wide <- function(x) withr::with_options(list(width = 100), print(x))

# Short code, since versions of testthat lay out long code in their own ways.
test_that("a fit says what it is, what it found and why to believe it", {
  slopes <- fit_glmm(distance ~ age + (age | Subject), orthodont)
  reml <- fit_glmm(distance ~ age * Sex + (1 | Subject), orthodont, method = "reml")
  by_sex <- fit_glmm(distance ~ age + (age || Subject), orthodont, sigma = ~ Sex)
  linear <- fit_glmm(distance ~ age, orthodont)
  expect_snapshot(print_wide(slopes), transform = scrub)
  expect_snapshot(print_wide(reml), transform = scrub)
  expect_snapshot(print_wide(by_sex), transform = scrub)
  expect_snapshot(print_wide(linear), transform = scrub)
})

test_that("what a reader must know is said", {
  known_se <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se)
  set.seed(1)
  pairs <- sim_pairs(30, theta = 1)
  held <- fit_glmm(y ~ 0 + (1 | pair), pairs, prior = priors(pair = constant(1)))
  no_law <- fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint",
                     prior = priors(pair = constant(Inf)))
  orthodont$distance[3] <- NA
  dropped <- suppressMessages(
    fit_glmm(distance ~ age + I(2 * age) + (1 | Subject), orthodont)
  )
  expect_snapshot(print_wide(known_se), transform = scrub)
  expect_snapshot(print_wide(held), transform = scrub)
  expect_snapshot(print_wide(no_law), transform = scrub)
  expect_snapshot(print_wide(dropped), transform = scrub)
})

test_that("summary() prints the tests and the standard errors of all parameters", {
  slopes <- summary(fit_glmm(distance ~ age + (age | Subject), orthodont))
  known_se <- summary(fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se))
  expect_snapshot(print_wide(slopes), transform = scrub)
  expect_snapshot(print_wide(known_se), transform = scrub)
})

test_that("a covariance that has lost rank is said to be singular", {
  # Three terms of which the third is the sum of the others: u3 = u1 + u2 in every group.
  set.seed(3)
  u <- matrix(rnorm(40), 20)
  d <- data.frame(g = gl(20, 30), x = rnorm(600), z = rnorm(600))
  d$y <- u[d$g, 1] + u[d$g, 2] * d$x + (u[d$g, 1] + u[d$g, 2]) * d$z + rnorm(600, sd = 0.1)
  fit <- fit_glmm(y ~ x + z + (x + z | g), d)
  expect_false(any(parameters_of(fit)$boundary))
  expect_match(boundary_words(fit), "The covariance of (Intercept), x, z | g is singular",
               fixed = TRUE)
})

test_that("lines keep to the width of the screen", {
  fit <- fit_glmm(distance ~ age * Sex + (age | Subject), orthodont, sigma = ~ Sex)
  for (width in c(60, 80)) {
    lines <- withr::with_options(list(width = width), capture.output(print(fit)))
    expect_lte(max(nchar(lines)), width)
  }
})

test_that("coef(summary()) is the table of t tests", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont)
  table <- coef(summary(fit))
  expect_identical(colnames(table), c("Estimate", "Std. Error", "df", "t value", "Pr(>|t|)"))
  expect_equal(table[, "Estimate"], coef(fit))
  expect_equal(table[, "Std. Error"], sqrt(diag(vcov(fit))))
  expect_equal(table[, "Pr(>|t|)"],
               2 * pt(-abs(table[, "t value"]), table[, "df"]))
  variances <- summary(fit)$variances
  expect_identical(variances$name, names(theta(fit))[-(1:2)])
  expect_equal(variances$std.error,
               unname(sqrt(diag(vcov(fit, full = TRUE)))[variances$name]))
})

test_that("variational Bayes is said to be it, with its priors and both standard deviations", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont, method = "vb")
  said <- capture.output(print_wide(fit))
  expect_match(said[1], "Variational Bayes   (method \"vb\": everything integrated", fixed = TRUE)
  expect_match(said, "a lower bound of the log evidence", all = FALSE)
  posterior <- summary(fit)$posterior
  expect_identical(posterior$name, names(theta(fit)))
  expect_equal(posterior$mean_field,
               unname(sqrt(diag(vcov(fit, full = TRUE, type = "mean_field")))))
  # Mean field takes the other parameters as known.
  expect_true(all(posterior$mean_field < posterior$linear_response + 1e-6))
  expect_output(print_wide(summary(fit)), "normal.*default.*half_t")
})

test_that("groups are counted in words", {
  expect_identical(count_words(27, "Subject"), "27 Subjects")
  expect_identical(count_words(1, "row"), "1 row")
  expect_identical(count_words(1000000L, "row"), "1,000,000 rows")
  expect_identical(count_words(7, "country"), "7 countries")
  expect_identical(count_words(6, "Batch"), "6 Batches")
  expect_identical(count_words(5, "day"), "5 days")
  expect_identical(count_words(10, "g"), "10 levels of g")
  expect_identical(count_words(30, "cask:batch"), "30 levels of cask:batch")
  expect_identical(count_words(3, "factor(site)"), "3 levels of factor(site)")
})
