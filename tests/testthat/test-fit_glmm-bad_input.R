# What bad input gets: a classed error before any work, or an answer that
# says what was done. One line of a table a case: class = calls.

good <- local({
  set.seed(6)
  d <- data.frame(g = rep(1:6, each = 4), x = round(stats::rnorm(24), 2))
  d$y <- round(2 + d$x + stats::rnorm(6)[d$g] + 0.5 * stats::rnorm(24), 3)
  d$f <- factor(rep(c("a", "b"), 12))
  d$k <- factor(rep(c("p", "q", "r"), 8))
  d$w <- rep(c(1, 2), 12)
  d$id <- seq_len(24)
  d$one <- factor("only")
  d$text <- rep(c("1", "2"), 12)
  d$site <- "s1"
  d$const <- 7
  d$pair <- rep(1:12, 2)
  d
})

# Each refused under its class, and all with a message that names the argument, the value, the
# rows and the remedy.
expect_refusals <- function(class, calls) {
  where <- parent.frame()
  for (call in calls) {
    # One class: the first is the most specific.
    error <- tryCatch(eval(call, where), error = identity)
    expect_identical(base::class(error)[1], class,
                     label = paste(deparse(call), collapse = " "))
  }
  show <- function(call) {
    cat("> ", paste(deparse(call, 88L), collapse = "\n+ "), "\n", sep = "")
    refusal(eval(call, where))
  }
  expect_snapshot(for (call in calls) show(call))
}

test_that("the data must be a data frame that holds the variables", {
  matrix <- as.matrix(good[c("y", "x", "g")])
  expect_refusals("elbo_error_argument", alist(
    fit_glmm(y ~ x + (1 | g), matrix),
    fit_glmm(y ~ x + (1 | g), "good"),
    fit_glmm(y ~ x + (1 | g), list(y = 1))
  ))
  expect_refusals("elbo_error_data", alist(
    fit_glmm(y ~ absent + (1 | g), good[1:3]),
    fit_glmm(y ~ x + (1 | absent), good[1:3]),
    fit_glmm(y ~ x + (absent | g), good[1:3]),
    fit_glmm(y ~ x + (1 | g), good[1:3], sigma = ~ absent),
    fit_glmm(y ~ x + (1 | g), good[1:3], weights = absent),
    fit_glmm(y ~ x + (1 | g), good[1:3], weights = 1:7),
    fit_glmm(y ~ x + (1 | g), good[0, ]),
    fit_glmm(y ~ x + (1 | g), good, subset = x > 100)
  ))
})

test_that("missing values are dropped as na.action says, infinite ones refused with their rows", {
  holes <- good
  holes$y[c(2, 7)] <- NA
  holes$x[3] <- NA
  holes$g[20] <- NA
  fit <- fit_glmm(y ~ x + (1 | g), holes)
  expect_identical(nobs(fit), 20L)
  expect_identical(as.integer(stats::na.action(frame_of(fit))), c(2L, 3L, 7L, 20L))
  bad <- good
  bad$y[c(2, 7)] <- c(Inf, NaN)
  bad$x[5] <- -Inf
  expect_refusals("elbo_error_data", alist(
    fit_glmm(y ~ x + (1 | g), holes, na.action = na.fail),
    fit_glmm(y ~ x + (1 | g), transform(good, y = NA_real_)),
    fit_glmm(y ~ 1 + (1 | g), bad),
    fit_glmm(w ~ x + (1 | g), bad),
    fit_glmm(w ~ 1 + (x | g), bad),
    fit_glmm(log(0 * y) ~ 1 + (1 | g), good[1:2, ]),
    fit_glmm(w ~ 1 + (1 | g), good, weights = 1 / (x - x[4])),
    fit_glmm(w ~ 1 + (1 | g), good, offset = log(w - 1))
  ))
})

test_that("the response must be one variable of numbers", {
  expect_refusals("elbo_error_data", alist(
    fit_glmm(f ~ x + (1 | g), good),
    fit_glmm(text ~ x + (1 | g), good),
    fit_glmm(cbind(y, x) ~ 1 + (1 | g), good)
  ))
  expect_refusals("elbo_error_formula", alist(fit_glmm(~ x + (1 | g), good)))
})

test_that("weights and standard errors must be positive", {
  expect_refusals("elbo_error_data", alist(
    fit_glmm(y ~ x + (1 | g), good, weights = w - 1),
    fit_glmm(y ~ x + (1 | g), good, weights = -w),
    fit_glmm(y ~ x + (1 | g), good, se = w - 1),
    fit_glmm(y ~ x + (1 | g), good, se = -w)
  ))
  expect_refusals("elbo_error_argument", alist(
    fit_glmm(y ~ x + (1 | g), good, weights = text),
    fit_glmm(y ~ x + (1 | g), good, se = w, weights = w),
    fit_glmm(y ~ x + (1 | g), good, se = w, sigma = ~ f)
  ))
})

test_that("formulas outside the grammar are refused", {
  expect_refusals("elbo_error_formula", alist(
    fit_glmm("y", good),
    fit_glmm(y ~ x + 1 | g, good),
    fit_glmm(y ~ x + (1 | g | f), good),
    fit_glmm(y ~ x + (1 | g * f), good),
    fit_glmm(y ~ x + (0 | g), good),
    fit_glmm(y ~ x + (1 | g) + (x | g), good),
    fit_glmm(y ~ x + (f || g), good),
    fit_glmm(y ~ x + (1 | g), good, sigma = ~ f + k)
  ))
})

test_that("family, method and control are checked", {
  expect_refusals("elbo_error_argument", alist(
    fit_glmm(y ~ x + (1 | g), good, family = Gamma()),
    fit_glmm(y ~ x + (1 | g), good, family = gaussian("log")),
    fit_glmm(y ~ x + (1 | g), good, family = "quasipoisson"),
    fit_glmm(y ~ x + (1 | g), good, family = 3),
    fit_glmm(y ~ x + (1 | g), good, method = "ml"),
    fit_glmm(y ~ x + (1 | g), good, factorization = "full"),
    fit_glmm(y ~ x + (1 | g), good, control = list(tol = 1)),
    fit_glmm(y ~ x + (1 | g), good, control = elbo_control(tol = -1))
  ))
})

test_that("priors that say nothing of this model are refused", {
  expect_refusals("elbo_error_prior", alist(
    fit_glmm(y ~ x + (1 | g), good, prior = list(g = 1)),
    fit_glmm(y ~ x + (1 | g), good, prior = priors(site = constant(1))),
    fit_glmm(y ~ x + (1 | g), good, prior = priors(cor = constant(0))),
    fit_glmm(y ~ x + (1 | g), good, prior = priors(beta = half_t(3, 10))),
    fit_glmm(y ~ x + (1 | g), good, prior = priors(sd = lkj(2))),
    fit_glmm(y ~ x + (x | g), good, prior = priors(cor = normal(0, 1))),
    fit_glmm(y ~ x + (1 | g), good, prior = priors(g = constant(-1))),
    fit_glmm(y ~ x + (1 | g), good, prior = priors(g = constant(0))),
    fit_glmm(y ~ x + (1 | g), good, prior = priors(sigma = constant(Inf))),
    fit_glmm(y ~ x + (1 | g), good, se = w, prior = priors(sigma = constant(1))),
    fit_glmm(y ~ x + (x | g), good, prior = priors(`sd__x|g` = constant(Inf))),
    fit_glmm(y ~ x + (x | g), good, prior = priors(cor = constant(1))),
    fit_glmm(y ~ x + (x + w | g), good, prior = priors(cor = constant(0))),
    fit_glmm(y ~ x + (1 | x), transform(good, x = g), prior = priors(x = constant(1)))
  ))
})

test_that("factors and groups of one level are refused", {
  expect_refusals("elbo_error_data", alist(
    fit_glmm(y ~ x + one + (1 | g), good),
    fit_glmm(y ~ x + (one | g), good),
    fit_glmm(y ~ x + (1 | site), good),
    fit_glmm(y ~ x + (1 | g), good, sigma = ~ one),
    fit_glmm(y ~ x + (1 | x), good)
  ))
  # With the standard deviation given one group is enough.
  held <- fit_glmm(y ~ x + (1 | site), good, prior = priors(site = constant(1)))
  expect_identical(convergence(held)$status, "converged")
})

test_that("more random effects than rows are refused", {
  expect_refusals("elbo_error_data", alist(
    fit_glmm(y ~ x + (1 | id), good),
    fit_glmm(y ~ x + (1 | id), good, method = "reml"),
    fit_glmm(y ~ x + (f | pair), good),
    fit_glmm(y ~ x + (0 + k | g), good[good$id %% 4 < 2, ])
  ))
  # Not where sigma is known.
  known <- fit_glmm(y ~ x + (1 | id), good, se = 0.3 * w)
  expect_identical(convergence(known)$status, "converged")
  given <- fit_glmm(y ~ x + (1 | id), good, prior = priors(sigma = constant(0.5)))
  expect_identical(convergence(given)$status, "converged")
  # Groups of one row among larger ones are welcome.
  mixed <- fit_glmm(y ~ x + (1 | g), transform(good, g = pmax(id - 8, 1)))
  expect_identical(convergence(mixed)$status, "converged")
})

test_that("more fixed effects than rows are refused", {
  expect_refusals("elbo_error_data", alist(
    fit_glmm(y ~ x, good[1:2, ]),
    fit_glmm(y ~ x * w, good[1:3, ]),
    fit_glmm(y ~ 1, good[1, ], method = "reml"),
    fit_glmm(y ~ factor(id) + (1 | g), good),
    fit_glmm(y ~ factor(id) + (1 | g), good, method = "reml")
  ))
})

test_that("objectives without a bound are refused", {
  flat <- transform(good, y = ifelse(f == "a", 3, y))
  lone <- transform(good, f = factor(ifelse(id == 5, "lone", "rest")))
  expect_refusals("elbo_error_unbounded", alist(
    fit_glmm(y ~ x + (1 | g), good, method = "joint"),
    fit_glmm(y ~ x + (x | g), good, method = "joint", prior = priors(g = constant(1))),
    fit_glmm(y ~ x + (1 | id), good, prior = priors(id = constant(Inf))),
    fit_glmm(y ~ x + (1 | id), good, method = "joint", prior = priors(id = constant(Inf))),
    fit_glmm(y ~ 0 + (x | pair), good[-1, ], prior = priors(pair = constant(Inf))),
    fit_glmm(y ~ 0 + (w | g), transform(good, w = g), prior = priors(g = constant(Inf))),
    fit_glmm(const ~ 1, good),
    fit_glmm(const ~ x + (1 | g), good),
    fit_glmm(const ~ x + (1 | g), good, method = "reml"),
    fit_glmm(I(2 * x - 1) ~ x + (1 | g), good),
    fit_glmm(g ~ x + (1 | g), good),
    fit_glmm(y ~ 1 + (1 | g), flat, sigma = ~ f),
    fit_glmm(y ~ x + (1 | g), lone, sigma = ~ f)
  ))
  # A half-t prior does not cure it.
  expect_error(fit_glmm(y ~ x + (1 | g), good, method = "joint",
                        prior = priors(sd = half_t(3, 1))), class = "elbo_error_unbounded")
  # reml takes a row of the lone level for its mean, and is bounded.
  expect_identical(convergence(fit_glmm(y ~ x + (1 | g), lone, sigma = ~ f,
                                        prior = priors(`sigma|lone` = constant(1))))$status,
                   "converged")
})

# ---- dropped and reported, like lm() ----------------------------------------------------------

test_that("columns that say nothing new are dropped as lm() drops them", {
  d <- transform(good, twice = 2 * x, sum = x + w, zero = 0, near = x + 1e-9 * w)
  formulas <- list(
    y ~ x + twice, y ~ x + w + sum, y ~ const + x, y ~ x + zero, y ~ f * k + I(f == "a"),
    y ~ x + poly(x, 2), y ~ f + x + f:k, y ~ 0 + f + k, y ~ x + near, y ~ sum + w + x
  )
  for (formula in formulas) {
    kept <- names(stats::coef(stats::lm(formula, d)))[!is.na(stats::coef(stats::lm(formula, d)))]
    for (method in c("em", "reml")) {
      mixed <- stats::update(formula, . ~ . + (1 | g))
      fit <- suppressMessages(fit_glmm(mixed, d, method = method))
      expect_identical(names(coef(fit)), kept, label = deparse(formula))
      expect_setequal(c(kept, design_of(fit)$aliased), names(stats::coef(stats::lm(formula, d))))
      reduced <- stats::lm(formula, d)
      plain <- suppressMessages(fit_glmm(formula, d))
      expect_equal(coef(plain), stats::coef(reduced)[kept], tolerance = 1e-6)
    }
  }
  expect_snapshot(fit <- fit_glmm(y ~ x + twice + w + sum + zero + (1 | g), d))
})

test_that("without a law the columns that the latent variables span are dropped", {
  d <- transform(good, between = g^2)
  within <- stats::lm(y ~ x + factor(g), d)
  rows <- nobs(within) - 6
  for (method in c("em", "reml", "joint")) {
    expect_message(
      fit <- fit_glmm(y ~ x + between + (1 | g), d, method = method,
                      prior = priors(g = constant(Inf))),
      "`(Intercept)` and `between`", fixed = TRUE
    )
    expect_equal(coef(fit), stats::coef(within)["x"], tolerance = 1e-10)
    # em integrates the levels, reml x too, joint nothing.
    df <- switch(method, em = rows, reml = rows - 1, joint = nobs(within))
    expect_equal(sigma(fit)^2, stats::deviance(within) / df, tolerance = 1e-8)
  }
})

test_that("a full-rank design of awkward scale keeps all of its columns", {
  d <- transform(good, far = 1e6 + x, tiny = 1e-150 * x^2, huge = 1e150 * x^3)
  expect_no_message(fit <- fit_glmm(y ~ far + tiny + huge + (1 | g), d))
  plain <- fit_glmm(y ~ x + I(x^2) + I(x^3) + (1 | g), d)
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(plain)), tolerance = 1e-8)
  expect_equal(unname(coef(fit)[2:4] * c(1, 1e-150, 1e150)), unname(coef(plain)[2:4]),
               tolerance = 1e-6)
})

# ---- odd but good ----------------------------------------------------------------------------

test_that("odd but good input is fitted", {
  fit <- fit_glmm(y ~ x + (1 | g), good)
  same <- function(other) {
    expect_equal(as.numeric(logLik(other)), as.numeric(logLik(fit)), tolerance = 1e-12)
  }
  same(fit_glmm("y ~ x + (1 | g)", good))
  same(fit_glmm(y ~ x + (1 | g), good, family = "gaussian"))
  same(fit_glmm(y ~ x + (1 | g), good, family = gaussian))
  same(fit_glmm(y ~ x + (1 | factor(g)), good))
  same(fit_glmm(y ~ x + (1 | text), transform(good, text = letters[g])))
  same(fit_glmm(y ~ x + (1 | g), transform(good, g = g + 0)))
  same(fit_glmm(y ~ x + (1 | g), transform(good, g = factor(g, levels = 0:9))))
  same(with(good, fit_glmm(y ~ x + (1 | g))))
  same(fit_glmm(y ~ x + (1 | g), good, prior = priors()))
  same(fit_glmm(y ~ x + (1 | g), good, prior = priors(sd = flat())))
  class(good) <- c("tbl_df", "tbl", "data.frame")
  same(fit_glmm(y ~ x + (1 | g), good))
  # Duplicated rows are rows.
  twice <- fit_glmm(y ~ x + (1 | g), rbind(good, good))
  expect_identical(nobs(twice), 48L)
  # An integer or logical response.
  expect_identical(convergence(fit_glmm(id ~ x + (1 | k), good))$status, "converged")
  expect_identical(convergence(fit_glmm((y > 2) ~ x + (1 | g), good))$status, "converged")
})

test_that("names that R must quote are no trouble", {
  d <- stats::setNames(good[c("y", "x", "g")], c("the y", "x (cm)", "my group"))
  fit <- fit_glmm(`the y` ~ `x (cm)` + (`x (cm)` || `my group`), d)
  expect_named(theta(fit), c("(Intercept)", "`x (cm)`", "sd__(Intercept)|my group",
                             "sd__`x (cm)`|my group", "sigma"))
})
