# The design of a formula, through the same door as fit_mixture().
design_from <- function(formula, data, family = gaussian(), ...) {
  mixture_frame(match.call(), parent.frame(), family)
}

rows <- data.frame(
  id = c(3, 1, 2, 1, 3, 2), a = c(1.5, 2, NA, 4, 5, 6.25), b = c(2, 1, NA, 3, NA, 7),
  x = c(1, 2, 3, 4, 5, 7), f = c("u", "v", "u", "w", "v", "u"),
  l = c(TRUE, FALSE, NA, TRUE, TRUE, FALSE), w = c(30, 10, 20, 10, 30, 20),
  n = c(3, 1, 2, 1, 3, 2), y = c(0, 1, 1, 0, 1, 0)
)

# What of a fit new data need.
fit_of <- function(...) {
  parts <- design_from(...)
  structure(c(parts, kind = parts$design$kind), class = "elbo_mixture")
}

test_that("several numeric responses make a normal mixture, whose gaps stay", {
  expect_message(parts <- design_from(cbind(a, log(b)) ~ 1, rows), "1 row without any response")
  design <- parts$design
  expect_equal(design$kind, "normal")
  expect_equal(colnames(design$Y), c("a", "log(b)"))
  expect_equal(design$n_row, 5)
  expect_equal(design$n_unit, 5)
  expect_equal(unname(design$Y[, 1]), rows$a[-3])
  expect_true(is.na(design$Y[4, 2]))
  expect_equal(as.integer(design$na.action), 3)
  expect_null(design$first)
  expect_null(design$row_order)
  expect_equal(design_from(a ~ 1, rows[-3, ])$design$Y[, "a"], rows$a[-3])
})

test_that("columns of a matrix are named by it, or counted", {
  Y <- cbind(rows$x, rows$w)
  expect_equal(colnames(design_from(Y ~ 1)$design$Y), c("y1", "y2"))
  colnames(Y) <- c("p", "q")
  expect_equal(colnames(design_from(Y ~ 1)$design$Y), c("p", "q"))
  expect_error(design_from(cbind(x, x) ~ 1, rows), class = "elbo_error_data")
})

test_that("rows of a unit come together, and the way back is remembered", {
  design <- design_from(x ~ 1, rows, unit = ~ id, membership = ~ w, freq = n)$design
  expect_equal(design$first, c(0L, 2L, 4L, 6L))
  expect_equal(design$row_order, c(2L, 4L, 3L, 6L, 1L, 5L))
  expect_equal(as.vector(design$Y), rows$x[design$row_order])
  expect_equal(design$unit_names, c("1", "2", "3"))
  expect_equal(design$freq, c(1, 2, 3))
  expect_equal(unname(design$W), cbind(1, c(10, 20, 30)))
})

test_that("units of one row each, in order, change nothing", {
  design <- design_from(x ~ 1, data.frame(x = 1:3, id = c("a", "b", "c")), unit = ~ id)$design
  expect_null(design$first)
  expect_null(design$row_order)
  expect_equal(design$unit_names, c("a", "b", "c"))
})

test_that("covariates, offsets, weights and families make a mixture of regressions", {
  expect_equal(design_from(x ~ w, rows)$design$kind, "regression")
  expect_equal(design_from(x ~ 1, rows, weights = n)$design$weights, rows$n)
  expect_equal(design_from(x ~ offset(w), rows)$design$offset, rows$w)
  expect_equal(design_from(n ~ 1, rows, family = poisson())$design$kind, "regression")
  expect_null(design_from(x ~ w, rows)$design$offset)
  # Missing covariates follow na.action
  design <- design_from(x ~ a, rows)$design
  expect_equal(design$n_row, 5)
  expect_error(design_from(x ~ a, rows, na.action = na.fail), class = "elbo_error_data")
})

test_that("binomial responses may be written in five ways", {
  expected <- rows$y
  of <- function(formula, data = rows) design_from(formula, data, family = binomial())$design
  expect_equal(of(y ~ x)$y, expected)
  expect_equal(of(y == 1 ~ x)$y, expected)
  expect_equal(of(factor(y, labels = c("no", "yes")) ~ x)$y, expected)
  expect_equal(of(ifelse(y == 1, "yes", "no") ~ x)$y, expected)
  trials <- of(cbind(y, n) ~ x)
  expect_equal(trials$y, rows$y)
  expect_equal(trials$trials, rows$y + rows$n)
  expect_message(empty <- of(cbind(y, 1 - y) ~ x, transform(rows, y = ifelse(x == 1, NA, y))), NA)
  expect_equal(empty$n_row, 5)
  expect_message(of(cbind(y, replace(1 - y, 1, 0)) ~ x), "1 row with no trials")
})

test_that("responses() are coded by type", {
  design <- design_from(responses(f, yes = l, x) ~ 1, rows)$design
  expect_equal(design$kind, "classes")
  expect_equal(design$variables$name, c("f", "yes", "x"))
  expect_equal(design$variables$type, c("categorical", "binomial", "gaussian"))
  expect_equal(unclass(design$variables$levels), list(c("u", "v", "w"), c("FALSE", "TRUE"), NULL))
  expect_equal(unname(design$Y), cbind(c(1, 2, 1, 3, 2, 1), c(1, 0, NA, 1, 1, 0), rows$x))
})

test_that("responses(.) are the columns that are not used elsewhere", {
  suppressMessages(design <- design_from(responses(.) ~ 1, rows[c("id", "f", "l", "n")],
                                         unit = ~ id,
                                       freq = n)$design)
  expect_equal(design$variables$name, c("f", "l"))
})

test_that("few-valued numbers are pointed out", {
  expect_message(design_from(responses(f, y) ~ 1, rows), "`y`")
})

test_that("rows of freq zero are left out", {
  expect_message(design <- design_from(x ~ 1, rows, freq = n - 1)$design, "2 rows of freq 0")
  expect_equal(design$freq, c(2, 1, 2, 1))
})

test_that("na.exclude is remembered", {
  frame <- design_from(x ~ a, rows, na.action = na.exclude)$frame
  expect_s3_class(attr(frame, "na.action"), "exclude")
  frame <- suppressMessages(design_from(cbind(a, b) ~ 1, rows, na.action = na.exclude)$frame)
  expect_s3_class(attr(frame, "na.action"), "exclude")
})

test_that("columns that say nothing new are dropped from X and W", {
  expect_message(design <- design_from(y ~ x + I(2 * x), rows)$design, "the design")
  expect_equal(colnames(design$X), c("(Intercept)", "x"))
  expect_message(design <- design_from(y ~ x, rows, membership = ~ w + I(w / 3))$design,
                 "`membership`")
  expect_equal(colnames(design$W), c("(Intercept)", "w"))
})

test_that("some units of a design are a design", {
  design <- design_from(x ~ w, rows, unit = ~ id, freq = n)$design
  part <- subset_units(design, c(3, 1))
  expect_equal(part$first, c(0L, 2L, 4L))
  expect_equal(part$y, c(1, 5, 2, 4))
  expect_equal(part$freq, c(3, 1))
  expect_equal(levels(part$unit), c("3", "1"))
  expect_equal(unit_of_row(part), c(1, 1, 2, 2))
  twice <- subset_units(design_from(x ~ 1, rows)$design, c(2, 2))
  expect_equal(as.vector(twice$Y), c(2, 2))
})

test_that("new data have the columns of the fit", {
  fit <- fit_of(y ~ poly(x, 2) + f, rows)
  design <- mixture_newdata(fit, rows[4:2, ])
  expect_equal(unname(design$X), unname(design_of(fit)$X[4:2, ]))
  expect_equal(design$y, rows$y[4:2])
  expect_null(mixture_newdata(fit, rows[c("x", "f")], response = FALSE)$y)
  expect_error(mixture_newdata(fit, rows["x"], response = FALSE), class = "elbo_error_data")
  fit <- suppressMessages(fit_of(responses(f, l) ~ 1, rows, unit = ~ id))
  design <- mixture_newdata(fit, data.frame(f = c("w", NA), l = c(NA, TRUE)))
  expect_equal(unname(design$Y), rbind(c(3, NA), c(NA, 1)))
  expect_null(design$first)
  expect_error(mixture_newdata(fit, data.frame(f = "z", l = TRUE)), class = "elbo_error_new_levels")
})

test_that("names of rows are no item, and messages count all rows that are left out", {
  d <- data.frame(a = rep(c("p", "q"), 30), b = rep(c(TRUE, FALSE, TRUE), 20),
                  id = paste0("i", 1:60))
  expect_error(fit_mixture(responses(.) ~ 1, d, k = 2),
               "`id` has a level for each row \\(60 in 60\\)",
               class = "elbo_error_data")
  d$id[1:10] <- "i1"
  expect_warning(fit_mixture(responses(.) ~ 1, d, k = 2), "nearly each row",
                 class = "elbo_warning_data")
  set.seed(1)
  d <- data.frame(y = rnorm(60), w = rnorm(60), n = 1)
  d$y[1:17] <- NA
  d$w[10:40] <- NA
  d$n[1:2] <- 0
  expect_message(fit <- fit_mixture(y ~ 1, d, k = 1, membership = ~ w, freq = n),
                 "Left out: 9 rows without any response, 31 rows with other missing values.",
                 fixed = TRUE)
  expect_output(print(fit), "40 rows left out")
})

test_that("a missing weight is left to na.action, and wrong ones are still found beside it", {
  d <- data.frame(y = c(rnorm(10), 5 + rnorm(10)), w = rep(1, 20))
  d$w[3] <- NA
  expect_equal(nobs(fit_mixture(y ~ 1, d, k = 1, weights = w)), 19)
  d$w[5] <- -1
  expect_error(fit_mixture(y ~ 1, d, k = 1, weights = w), "row 5", class = "elbo_error_data")
})

test_that("a response that weights depend on too must be there", {
  set.seed(1)
  d <- data.frame(f = factor(c(NA, rep(c("a", "b"), 20))), lg = runif(41) < 0.4)
  fit <- fit_mixture(responses(f, lg) ~ 1, d, k = 1, membership = ~ f)
  expect_equal(nobs(fit), 40)
})
