# Bases of smooth terms, and the word s of formulas.

basis_of <- function(x, k = 10, weight = NULL) {
  smooth_basis(x, smooth_knots(x, k, "s(x)"), weight)
}

test_that("columns are natural splines with an integrated squared second derivative of b'b", {
  x <- withr::with_seed(1, stats::runif(60, 3, 9))
  basis <- basis_of(x, 7)
  # Between knots second derivatives are linear and their products quadratic, which Simpson's rule
  # integrates exactly; second differences of a cubic are exact up to rounding, 4 eps / h^2.
  h <- 1e-3
  u <- function(u) smooth_columns(basis, basis$origin + basis$unit * u)
  second <- function(at) (u(at + h) - 2 * u(at) + u(at - h)) / h^2
  penalty <- matrix(0, 5, 5)
  for (i in 1:6) {
    a <- basis$knots[i]
    b <- basis$knots[i + 1]
    inside <- c(a + 2 * h, (a + b) / 2, b - 2 * h)
    middle <- second(inside[2])
    slope <- (second(inside[3]) - second(inside[1])) / (inside[3] - inside[1])
    ends <- list(middle - drop(slope) * (b - a) / 2, middle, middle + drop(slope) * (b - a) / 2)
    products <- lapply(ends, crossprod)
    penalty <- penalty + (b - a) / 6 * (products[[1]] + 4 * products[[2]] + products[[3]])
  }
  expect_equal(penalty, diag(5), tolerance = 1e-7)
  # Straight beyond the knots, with the slope there.
  expect_equal(second(c(-1, 2)), matrix(0, 2, 5), tolerance = 1e-6)
  expect_equal(u(1.5) - u(1.25), u(1.25) - u(1), tolerance = 1e-10)
})

test_that("columns are orthogonal to lines and to each other over the rows, rougher one by one", {
  x <- withr::with_seed(2, round(stats::rexp(80), 2))
  w <- withr::with_seed(3, stats::runif(80))
  for (weight in list(rep(1, 80), w)) {
    B <- smooth_columns(basis_of(x, 9, weight), x)
    expect_equal(crossprod(cbind(1, x), weight * B), matrix(0, 2, 7), tolerance = 1e-10,
                 ignore_attr = TRUE)
    size <- crossprod(B, weight * B)
    expect_equal(size[upper.tri(size)], numeric(21), tolerance = 1e-12)
    expect_true(all(diff(diag(size)) < 0))
  }
})

test_that("the curves are those of mgcv's cubic regression splines", {
  skip_if_not_installed("mgcv")
  x <- withr::with_seed(4, stats::runif(100))
  knots <- smooth_knots(x, 10, "s(x)")
  theirs <- mgcv::smoothCon(mgcv::s(x, bs = "cr", k = 10), data.frame(x))[[1]]
  expect_equal(theirs$xp, knots, ignore_attr = TRUE)
  ours <- qr(cbind(1, x, smooth_columns(smooth_basis(x, knots), x)))
  expect_equal(qr.resid(ours, theirs$X), 0 * theirs$X, tolerance = 1e-10)
})

test_that("units and origins of x do not matter", {
  x <- withr::with_seed(5, stats::runif(50))
  expect_equal(smooth_columns(basis_of(1000 + 50 * x), 1000 + 50 * x),
               smooth_columns(basis_of(x), x), tolerance = 1e-9)
})

test_that("s() is found in formulas, and its straight line left there", {
  parsed <- take_smooths(parse_formula(y ~ z + s(log(x)) + s(w / 2, by = f, k = 5) + (1 | g)))
  expect_equal(parsed$fixed, y ~ z + log(x) + I(w / 2):f, ignore_formula_env = TRUE)
  expect_identical(vapply(parsed$smooths, `[[`, "", "label"), c("s(log(x))", "s(w/2):f"))
  expect_identical(parsed$smooths[[2]]$k, 5)
  expect_length(parsed$bars, 1)
  # s is a name like others elsewhere.
  expect_length(take_smooths(parse_formula(s ~ x))$smooths, 0)
})

test_that("malformed smooth terms are refused", {
  read <- function(formula) take_smooths(parse_formula(formula))
  expect_snapshot({
    refusal(read(y ~ x:s(x)))
    refusal(read(y ~ z - s(x)))
    refusal(read(y ~ s(x, z)))
    refusal(read(y ~ s(x, bs = "cr")))
    refusal(read(y ~ s(x, k = 2)))
    refusal(read(y ~ s()))
    refusal(read(y ~ s(s(x))))
    refusal(read(y ~ s(x) + s(x, k = 5)))
  })
})

test_that("variables that make no curve are refused", {
  d <- data.frame(y = 1:12, x = rep(1:4, 3), two = rep(1:2, 6), one = 1,
                  f = gl(3, 4), g = rep(c("a", "b", "b"), 4))
  d$some <- ifelse(d$g == "a", d$two, seq_len(12))
  expect_snapshot({
    refusal(fit_glmm(y ~ s(one), d))
    refusal(fit_glmm(y ~ s(two), d))
    refusal(fit_glmm(y ~ s(f), d))
    refusal(fit_glmm(y ~ s(x, k = 5), d))
    refusal(fit_glmm(y ~ g + s(some, 3, by = g), d))
    refusal(fit_glmm(y ~ x + (s(x) | f), d))
  })
  d$x[3] <- NA
  expect_error(fit_glmm(y ~ s(x, k = 3), d, na.action = na.fail), class = "elbo_error_data")
})

test_that("k follows the distinct values where it is not given", {
  d <- data.frame(x = rep(1:4, 5))
  expect_message(knots <- smooth_knots(d$x, NULL, "s(x)"), "s(x) has k = 4", fixed = TRUE)
  expect_equal(knots, 1:4)
  expect_length(smooth_knots(1:50, NULL, "s(x)"), 10)
})
