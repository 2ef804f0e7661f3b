labels <- function(parsed) {
  vapply(parsed$bars, function(b) paste(deparse(b$terms[[2]]), "|", b$group_name), "")
}
fixed <- function(f, data = NULL) deparse(parse_formula(f, data)$fixed)

test_that("a formula falls into a fixed part and covariance blocks", {
  p <- parse_formula(y ~ x + (1 + x | g))
  expect_equal(p$fixed, y ~ x)
  expect_equal(labels(p), "1 + x | g")
  expect_false(p$bars[[1]]$split)
  expect_equal(p$formula, y ~ x + (1 + x | g))
  expect_identical(environment(p$fixed), environment())
  expect_identical(environment(p$bars[[1]]$terms), environment())
})

test_that("what is left when the random terms are gone", {
  expect_equal(fixed(y ~ (1 | g)), "y ~ 1")
  expect_equal(fixed(y ~ 0 + (1 | g)), "y ~ 0")
  expect_equal(fixed(y ~ (1 | g) - 1), "y ~ -1")
  expect_equal(fixed(y ~ -1 + (1 | g)), "y ~ -1")
  expect_equal(fixed(y ~ (1 | g) + x), "y ~ x")
  expect_equal(fixed(y ~ a * b + (1 | g) + offset(o)), "y ~ a * b + offset(o)")
  expect_equal(fixed(y ~ (x + (1 | g))), "y ~ (x)")
  expect_equal(fixed(log(y) ~ x), "log(y) ~ x")
  expect_length(parse_formula(y ~ x)$bars, 0)
})

test_that("`||` gives each term a block of its own", {
  expect_equal(labels(parse_formula(y ~ (x || g))), c("1 | g", "0 + x | g"))
  expect_equal(labels(parse_formula(y ~ (0 + x * z || g))),
               c("0 + x | g", "0 + z | g", "0 + x:z | g"))
  expect_true(all(vapply(parse_formula(y ~ (x || g))$bars, `[[`, NA, "split")))
})

test_that("the law of a term may have a word", {
  p <- parse_formula(y ~ x + us(x | g) + diag(1 + z | a / b) + (1 | h))
  expect_equal(labels(p), c("x | g", "1 + z | a", "1 + z | a:b", "1 | h"))
  expect_equal(vapply(p$bars, `[[`, "", "law"), c("us", "diag", "diag", "us"))
  expect_equal(p$fixed, y ~ x)
  expect_equal(fixed(y ~ diag(x | g)), "y ~ 1")
  expect_equal(fixed(y ~ diag(x) + (1 | g)), "y ~ diag(x)") # the function, not the law
})

test_that("nested groups are a and a:b", {
  expect_equal(labels(parse_formula(y ~ (1 | a / b))), c("1 | a", "1 | a:b"))
  expect_equal(labels(parse_formula(y ~ (1 | a / b / c))), c("1 | a", "1 | a:b", "1 | a:b:c"))
  expect_equal(labels(parse_formula(y ~ (1 | (a:b)))), "1 | a:b")
  expect_equal(labels(parse_formula(y ~ (x || a / b))),
               c("1 | a", "0 + x | a", "1 | a:b", "0 + x | a:b"))
  expect_equal(labels(parse_formula(y ~ (1 | factor(a)))), "1 | factor(a)")
})

test_that("`.` is the data without response and groups", {
  d <- data.frame(y = 1, a = 1, b = 1, g = 1)
  expect_equal(fixed(y ~ . + (1 | g), d), "y ~ a + b")
  expect_equal(fixed(y ~ .^2 + (a | g), d), "y ~ (a + b)^2")
  expect_equal(fixed(log(y) ~ . - a + (1 | g), d), "log(y) ~ a + b - a")
  expect_equal(parse_formula(y ~ . + (1 | g), d)$formula, y ~ a + b + (1 | g))
})

test_that("the parser agrees with lme4", {
  skip_if_not_installed("lme4")
  formulas <- list(
    y ~ x + (1 | g), y ~ (1 | g), y ~ 0 + x + (x | g), y ~ x * z + (x:z | g) + (0 + z | h),
    y ~ x + (1 | g:h), y ~ (1 | g) + x + (1 | h), y ~ x + offset(z) + (1 + x | factor(g))
  )
  for (f in formulas) {
    bars <- parse_formula(f)$bars
    theirs <- lme4::findbars(f)
    expect_equal(lapply(bars, function(b) b$terms[[2]]), lapply(theirs, `[[`, 2))
    expect_equal(lapply(bars, `[[`, "group"), lapply(theirs, `[[`, 3))
    expect_equal(parse_formula(f)$fixed, lme4::nobars(f), ignore_formula_env = TRUE)
  }
  # `||` and `/` are written out differently, but mean the same terms and groups.
  theirs <- lme4::findbars(y ~ (1 + x + z || g))
  expect_equal(lapply(parse_formula(y ~ (1 + x + z || g))$bars, function(b) b$terms[[2]]),
               lapply(theirs, `[[`, 2))
  sets <- function(groups) lapply(groups, function(g) sort(all.vars(g)))
  expect_setequal(sets(lapply(parse_formula(y ~ (1 | a / b / c))$bars, `[[`, "group")),
                  sets(lapply(lme4::findbars(y ~ (1 | a / b / c)), `[[`, 3)))
})

test_that("what is outside the grammar is refused with the remedy", {
  refused <- function(f, data = NULL) {
    expect_error(parse_formula(f, data), class = "elbo_error_formula")
  }
  refused("y ~ x")
  refused(~ x)
  refused((1 | g) ~ x)
  refused(y ~ x + 1 | g)
  refused(y ~ x | g)
  refused(y ~ x * (1 | g))
  refused(y ~ x - (1 | g))
  refused(y ~ ar1(t | s, 2))
  refused(y ~ I(a | b) + (1 | g))
  refused(y ~ (1 | g | h))
  refused(y ~ (1 | a * b))
  refused(y ~ (1 | a + b))
  refused(y ~ (1 | a:(b / c)))
  refused(y ~ (1 | 1))
  refused(y ~ (0 | g))
  refused(y ~ (. | g))
  refused(y ~ (offset(x) | g))
  refused(y ~ . + (1 | g))
  expect_snapshot({
    refusal(parse_formula("y"))
    refusal(parse_formula(~ x))
    refusal(parse_formula(y ~ x + 1 | g))
    refusal(parse_formula(y ~ x + ar1(t | s, hom = 2)))
    refusal(parse_formula(y ~ x + toep(t | s)))
    refusal(parse_formula(y ~ x + diag(t || s)))
    refusal(parse_formula(y ~ x + us(t | s, 2)))
    refusal(parse_formula(y ~ (1 | g | h)))
    refusal(parse_formula(y ~ (1 | a * b)))
    refusal(parse_formula(y ~ (1 | a:(b / c))))
    refusal(parse_formula(y ~ (0 | g)))
    refusal(parse_formula(y ~ (offset(x) | g)))
    refusal(parse_formula(y ~ . + (1 | g), data.frame(y = 1, g = 1)))
  })
})

test_that("a response on both sides is an error of ours", {
  d <- data.frame(x = rnorm(20), y = rnorm(20), g = gl(4, 5))
  refused <- function(expr) expect_error(expr, "right-hand side", class = "elbo_error_formula")
  refused(fit_glmm(y ~ y + x, d))
  refused(fit_glmm(exp(y) ~ exp(y) + (1 | g), d))
  refused(fit_glmm(y ~ x + (y | g), d))
  refused(fit_mixture(y ~ y + x, d, k = 2))
  refused(fit_mixture(y ~ x:y, d, k = 2))
  expect_s3_class(fit_glmm(y ~ ., d), "elbo_glmm")
})

test_that("arguments that are no formula, or are not there, are named", {
  d <- data.frame(x = rnorm(20), y = rnorm(20), cnt = rpois(20, 3), id = gl(4, 5))
  refused <- function(expr, words) expect_error(expr, words, class = "elbo_error_argument")
  refused(fit_mixture(y ~ x, d, k = 2, unit = id), "`unit` = id.*~ id")
  refused(fit_mixture(y ~ x, d, k = 2, membership = no_such_thing), "`membership`.*~ age")
  refused(fit_mixture(no_such_formula, d, k = 2), "`formula` = no_such_formula")
  refused(fit_glmm(no_such_formula, d), "`formula` = no_such_formula")
  refused(fit_glmm(y ~ x, no_such_data), "`data` = no_such_data")
  refused(fit_glmm(y ~ x, d, sigma = no_such_factor), "`sigma`.*~ site")
  expect_error(fit_mixture(cbind(cnt, y) ~ x, d, k = 2, family = poisson()), "2 columns",
               class = "elbo_error_data")
})

test_that("y ~ NULL is the intercept, as for lm()", {
  expect_equal(coef(fit_glmm(dist ~ NULL, cars)), coef(lm(dist ~ NULL, cars)))
  expect_equal(theta(fit_mixture(dist ~ NULL, cars, k = 1)),
               theta(fit_mixture(dist ~ 1, cars, k = 1)))
})
