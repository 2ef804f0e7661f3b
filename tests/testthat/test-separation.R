# Whether a direction separates: NULL of separating_direction(), beside brute force over directions.
# d separates where no row's density falls along it and some row's rises (R/separation.R).

sides_of <- function(y, X) (2 * y - 1) * X

test_that("with two columns it is what a search over all angles finds", {
  set.seed(1)
  angles <- seq(0, 2 * pi, length.out = 20001)
  D <- rbind(cos(angles), sin(angles))
  for (i in 1:60) {
    X <- cbind(1, round(stats::rnorm(6), 1))
    y <- stats::rbinom(6, 1, 0.5)
    found <- elbo:::separating_direction(list(law = "binomial", y = y), X)
    # Strictly separated, or so but for rows that lie on the line: angles where both hold are few,
    # so that those of lines through a row are tried as well.
    lines <- apply(X, 1, function(x) c(-x[2], x[1]))
    gains <- sides_of(y, X) %*% cbind(D, lines, -lines)
    expect_identical(!is.null(found),
                     any(apply(gains, 2, min) > -1e-12 & apply(gains, 2, max) > 1e-6))
    if (is.null(found)) next
    along <- drop(sides_of(y, X) %*% found$direction)
    expect_gt(max(along), 0)
    expect_gt(min(along), -1e-8 * max(along))
    expect_true(all(along[found$rows] > 0))
  }
})

test_that("the maximum of the likelihood, where there is one, is a certificate", {
  set.seed(2)
  for (i in 1:20) {
    X <- cbind(1, matrix(stats::rnorm(40), 10))
    y <- stats::rbinom(10, 1, 0.5)
    found <- elbo:::separating_direction(list(law = "binomial", y = y), X)
    # Along a separating direction glm() goes on until all fitted probabilities are 0 or 1.
    fit <- suppressWarnings(stats::glm.fit(X, y, family = stats::binomial(),
                                           control = stats::glm.control(1e-14, 200)))
    expect_identical(!is.null(found), max(abs(fit$linear.predictors)) > 25)
  }
})

test_that("counts, numbers of trials and ordered categories have their own conditions", {
  direction <- elbo:::separating_direction
  X <- cbind(1, c(0, 0, 0, 1, 1))
  expect_equal(direction(list(law = "poisson", y = c(0, 2, 1, 0, 0)), X)$names, 2)
  expect_null(direction(list(law = "poisson", y = c(0, 2, 1, 0, 1)), X))
  expect_equal(direction(list(law = "poisson", y = numeric(5)), X[, 1, drop = FALSE])$rows, 1:5)
  of_two <- function(y) direction(list(law = "binomial", y = y, size = rep(2, 5)), X)
  expect_null(of_two(c(1, 1, 0, 1, 2)))
  expect_equal(of_two(c(1, 1, 0, 2, 2))[c("names", "rows")], list(names = 2L, rows = 4:5))
  # The middle category alone at x = 1 bounds it on both sides; the highest does not.
  x <- X[, 2, drop = FALSE]
  ordered_by <- function(y) direction(list(law = "cumulative", y = y), x, 2L)
  expect_null(ordered_by(c(0, 1, 2, 1, 1)))
  expect_equal(ordered_by(c(0, 1, 2, 2, 2))$names, 1)
})

test_that("columns that say nothing new do not separate", {
  x <- c(1, 2, 3, 4, 5, 6)
  X <- cbind(1, x, 2 * x - 1)
  expect_null(elbo:::separating_direction(list(law = "binomial", y = c(0, 1, 0, 1, 0, 1)), X))
})

test_that("some of many rows decide as all of them", {
  set.seed(3)
  X <- cbind(1, stats::rnorm(2e4), stats::runif(2e4) < 2e-4)
  y <- stats::rbinom(2e4, 1, stats::plogis(X[, 2]))
  response <- list(law = "binomial", y = replace(y, X[, 3] == 1, 1))
  expect_equal(elbo:::separating_direction(response, X)$names, 3)
  response$y[which(X[, 3] == 1)[1]] <- 0
  expect_null(elbo:::separating_direction(response, X))
})

test_that("a separated fit is refused by name", {
  data <- data.frame(g = gl(6, 5), arm = rep(c("a", "b", "c"), 10), y = rep(c(0, 1, 1, 1, 0, 0), 5))
  data$y[data$arm == "c"] <- 1
  expect_error(fit_glmm(y ~ arm + (1 | g), data, binomial()), "`armc` can grow without bound",
               class = "elbo_error_separation")
  expect_error(fit_glmm(y ~ arm + (1 | g), data, binomial()), "of 10 of 30 rows")
  expect_s3_class(fit_glmm(y ~ arm + (1 | g), data, binomial(), prior = priors(armc = constant(2))),
                  "elbo_fit")
  data$y <- factor(data$y + (data$arm == "c"), ordered = TRUE)
  expect_error(fit_glmm(y ~ arm + (1 | g), data, cumulative()), class = "elbo_error_separation")
})

test_that("a normal prior bounds what the responses do not", {
  data <- data.frame(g = gl(6, 5), arm = rep(c("a", "b", "c"), 10), y = rep(c(0, 1, 1, 1, 0, 0), 5))
  data$y[data$arm == "c"] <- 1
  fit <- fit_glmm(y ~ arm + (1 | g), data, binomial(), prior = priors(armc = normal(0, 2.5)))
  expect_true(all(is.finite(coef(fit))))
  expect_lt(convergence(fit)$gradient, 1e-6)
})
