# Several grouping factors: scores, robust covariances, deletion, and the rows that matter.

nested_data <- function(seed) {
  set.seed(seed)
  d <- data.frame(district = gl(10, 24), school = gl(40, 6), x = rnorm(240), w = runif(240, 0.5, 2))
  d$y <- 1 + d$x + rnorm(10)[d$district] + 0.7 * rnorm(40)[d$school] +
    0.5 * rnorm(40)[d$school] * d$x + rnorm(240) / sqrt(d$w)
  d
}

test_that("the sandwich is made of the scores of the outermost groups", {
  d <- nested_data(1)
  fit <- fit_glmm(y ~ x + (1 | district) + (x | school), d, weights = w)
  scores <- group_scores(fit)
  expect_identical(dim(scores), c(10L, 7L))
  expect_lt(max(abs(colSums(scores))), 1e-6) # zero at the maximum, in units of one
  # The marginal log-likelihood of each district, V in full, by differences.
  by_district <- function(theta) {
    parts <- dense_parts(fit, theta)
    r <- parts$y - parts$X %*% theta[1:2]
    vapply(levels(d$district), function(g) {
      i <- which(d$district == g)
      V <- parts$V[i, i]
      -0.5 * (as.numeric(determinant(V)$modulus) + drop(t(r[i]) %*% solve(V, r[i])))
    }, 0)
  }
  slope <- vapply(seq_along(theta(fit)), function(k) {
    h <- 1e-5
    step <- replace(numeric(length(theta(fit))), k, h)
    (by_district(theta(fit) + step) - by_district(theta(fit) - step)) / (2 * h)
  }, numeric(10))
  ours <- scores %*% solve(theta_slope(fit)) # a score by theta
  expect_equal(ours, slope, tolerance = 1e-6, ignore_attr = TRUE)
  bread <- theta_covariance(fit, "full_observed")
  expect_equal(vcov(fit, full = TRUE, type = "sandwich"), bread %*% crossprod(slope) %*% bread,
               tolerance = 1e-5, ignore_attr = TRUE)
})

test_that("clusters are the outermost groups, or unions of them", {
  skip_if_not_installed("sandwich")
  d <- nested_data(2)
  d$region <- factor(as.integer(d$district) %/% 3)
  fit <- fit_glmm(y ~ x + (1 | district) + (x | school), d)
  parts <- dense_parts(fit)
  W <- solve(parts$V)
  C <- solve(t(parts$X) %*% W %*% parts$X)
  r <- parts$y - parts$X %*% coef(fit)
  expected <- function(cluster) {
    scores <- rowsum(parts$X * drop(W %*% r), cluster)
    C %*% crossprod(scores) %*% C
  }
  expect_equal(sandwich::sandwich(fit), expected(d$district), tolerance = 1e-8, ignore_attr = TRUE)
  cl <- sandwich::vcovCL(fit, cluster = ~ region, type = "HC0", cadjust = FALSE)
  expect_equal(cl, expected(d$region), tolerance = 1e-8, ignore_attr = TRUE)
  expect_error(sandwich::vcovCL(fit, cluster = ~ school), "divides the group",
               class = "elbo_error_argument")
  if (requireNamespace("clubSandwich", quietly = TRUE)) {
    expect_equal(as.matrix(clubSandwich::vcovCR(fit, type = "CR0")), expected(d$district),
                 tolerance = 1e-8, ignore_attr = TRUE)
  }
  crossed <- fit_glmm(y ~ x + (1 | a) + (1 | b), crossed_data(3))
  expect_error(sandwich::sandwich(crossed), "cross, so that no groups of rows are independent",
               class = "elbo_error_not_available")
  expect_error(vcov(crossed, type = "sandwich"), "bootstrap",
               class = "elbo_error_not_available")
})

test_that("influence() and Cook's distances are lme4's", {
  skip_if_not_installed("lme4")
  d <- crossed_data(4, 100)
  formula <- y ~ x + (1 | a) + (1 | b)
  ours <- fit_glmm(formula, d, method = "reml")
  theirs <- lme4::lmer(formula, d)
  expect_equal(hatvalues(ours), hatvalues(theirs), tolerance = 1e-4)
  expect_equal(cooks.distance(ours), cooks.distance(theirs), tolerance = 1e-3)
  expect_equal(cooks.distance(influence(ours, "b")), cooks.distance(influence(theirs, "b")),
               tolerance = 1e-3, ignore_attr = TRUE)
  expect_identical(dim(influence(ours, "a")[["fixed.effects[-a]"]]), c(12L, 2L))
})

test_that("the derivative by the weights of rows is that of one factor, and of deletion", {
  d <- crossed_data(5, 100)
  one <- fit_glmm(y ~ x + (x | a), d)
  two <- fit_glmm(y ~ x + (x | a) + (1 | b), d, prior = priors(b = constant(1e-7)))
  gradient <- function(fit) row_gradient(row_influence(fit), 2, 1, 0.5)
  expect_equal(gradient(two), gradient(one), tolerance = 1e-6)
  # Of deletion to first order: the second is about a leverage of a few per cent.
  fit <- fit_glmm(y ~ x + (1 | a) + (1 | b), d)
  gradient <- row_gradient(row_influence(fit), 2, 1, 0)
  rows <- 1:12
  moved <- vapply(rows, function(i) coef(drop_rows(fit, i))[["x"]] - coef(fit)[["x"]], 0)
  expect_gt(cor(moved, -gradient[rows]), 0.99)
  expect_equal(sum(abs(moved)), sum(abs(gradient[rows])), tolerance = 0.1)
})

test_that("sensitivity to rows names rows without which the sign is another", {
  d <- crossed_data(6, 80)
  d$y <- d$y - d$x # nothing is left of the slope
  fit <- fit_glmm(y ~ x + (1 | a) + (1 | b), d)
  found <- sensitivity(fit, to = "data", parm = "x")
  expect_s3_class(found, "elbo_sensitivity")
  sign <- found[found$change == "sign", ]
  expect_true(sign$holds)
  rows <- attr(found, "removed")[[which(found$change == "sign")]]
  refit <- update(fit, data = d[!row.names(d) %in% rows, ])
  expect_equal(coef(refit)[["x"]], sign$refit, tolerance = 1e-6)
  expect_lt(coef(refit)[["x"]] * coef(fit)[["x"]], 0)
})

test_that("a forest plot names the rows by the factor with most levels", {
  set.seed(7)
  d <- data.frame(district = gl(4, 3), school = gl(12, 1), se = 0.3)
  d$est <- rnorm(4)[d$district] + 0.5 * rnorm(12) + 0.3 * rnorm(12)
  fit <- fit_glmm(est ~ 1 + (1 | district / school), d, se = se)
  expect_identical(study_labels(fit), as.character(design_of(fit)$groups[["district:school"]]))
  data <- forest_data(fit, 0.9)
  expect_equal(data$studies$given, unname(predict(fit)))
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  expect_no_error(plot(fit, type = "forest"))
})
