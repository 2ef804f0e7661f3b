# A smaller model on the statistics of a larger one. What its own statistics give is the reference.

unbalanced <- function() {
  withr::with_seed(1, {
    d <- data.frame(g = factor(rep(1:15, times = rep(c(2, 5, 8), 5))))
    d$x <- rnorm(nrow(d))
    d$v <- rnorm(nrow(d), 3)
    d$f <- factor(sample(c("a", "b"), nrow(d), TRUE))
    d$w <- runif(nrow(d), 0.5, 2)
    d$y <- 1 + d$x + rnorm(15)[d$g] + rnorm(nrow(d)) * ifelse(d$f == "a", 0.5, 1)
    d
  })
}

nested_pairs <- function(method = "em") {
  d <- unbalanced()
  pair <- function(small, large, ...) {
    lapply(list(small, large), function(formula) {
      do.call(fit_glmm, list(formula, d, method = method, ...))
    })
  }
  list(
    slope = pair(y ~ x + (1 | g), y ~ x + (x | g)),
    none = pair(y ~ x, y ~ x + (1 | g)),
    second = pair(y ~ x + (0 + v | g), y ~ x + f + (x + v | g)),
    coding = pair(y ~ I(2 * x - v) + (1 | g), y ~ x + v + (x || g), weights = quote(w)),
    levels = pair(y ~ x + (1 | g), y ~ x + f + (x || g), sigma = ~ f),
    held = pair(y ~ x + (1 | g), y ~ x + (v || g), prior = priors(x = constant(1))),
    curve = pair(y ~ f + s(x) + (1 | g), y ~ f + s(x) + (v | g), weights = quote(w),
                 offset = quote(v))
  )
}

test_that("the smaller model has its own optimum there", {
  for (method in c("em", "reml")) {
    pairs <- nested_pairs(method)
    for (name in names(pairs)) {
      small <- pairs[[name]][[1]]
      large <- pairs[[name]][[2]]
      place <- place_within(small, large)
      expect_false(is.null(place), label = name)
      found <- .Call(C_glmm_fit, model_within(small, large, place), refit_settings(small), NULL)
      expect_equal(found$objective, small$objective, tolerance = 1e-9, label = name)
      expect_equal(found$sigma, unname(sigma(small)), tolerance = 1e-6, label = name,
                   ignore_attr = TRUE)
    }
  }
})

test_that("likelihood ratios drawn there have the law of those drawn row by row", {
  pairs <- nested_pairs()
  for (name in names(pairs)) {
    small <- pairs[[name]][[1]]
    large <- pairs[[name]][[2]]
    nsim <- if (name == "slope") 1000L else 150L
    # At a boundary both likelihoods are the same but for rounding.
    fast <- round(with_seed(1, ratios_within(small, large, place_within(small, large), nsim)), 6)
    slow <- round(with_seed(2, ratios_by_rows(small, large, nsim)), 6)
    expect_gt(suppressWarnings(ks.test(fast, slow)$p.value), 1e-3, label = name)
    zero <- c(mean(fast <= 0), mean(slow <= 0))
    p <- mean(zero)
    expect_lte(abs(diff(zero)), 4 * sqrt(2 * p * (1 - p) / nsim), label = name)
  }
})

test_that("what is no case of the larger model by its statistics is refitted to rows", {
  d <- unbalanced()
  slope <- fit_glmm(y ~ x + (x | g), d)
  expect_null(place_within(fit_glmm(y ~ v + (1 | g), d), slope))
  expect_null(place_within(fit_glmm(y ~ x + (v | g), d), slope))
  expect_null(place_within(fit_glmm(y ~ x + (1 | g), d, weights = w), slope))
  level <- fit_glmm(y ~ x + (1 | g), d, prior = priors(x = normal(0, 1)))
  expect_null(place_within(level, slope))
  levels <- fit_glmm(y ~ x + (x | g), d, sigma = ~ f)
  plain <- fit_glmm(y ~ x + (1 | g), d)
  expect_null(place_within(plain, levels))
  expect_match(attr(anova(plain, levels, nsim = 5, seed = 1), "heading")[2], "bootstrap of 5")
})

test_that("the bootstrap of anova() looks at no rows of the response", {
  fits <- nested_pairs()$slope
  blind <- lapply(fits, function(fit) {
    fit$design$y[] <- NaN
    fit
  })
  place <- place_within(fits[[1]], fits[[2]])
  ratios <- function(fits) with_seed(1, ratios_within(fits[[1]], fits[[2]], place, 5L))
  expect_identical(ratios(blind), ratios(fits))
})
