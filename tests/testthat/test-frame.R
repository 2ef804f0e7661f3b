# The arguments of fit_glmm() as its users write them.
frame_of <- function(formula, data, weights, offset, sigma, se, subset, na.action) {
  glmm_frame(match.call(), parent.frame())
}
design_of <- frame_of
body(design_of) <- quote(glmm_frame(match.call(), parent.frame())$design)

d <- data.frame(
  y = c(3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8), x = 1:12 + 0.5, g = rep(1:3, 4),
  f = factor(rep(c("a", "b"), 6)), w = rep(c(1, 2), 6), text = rep(letters[1:4], 3),
  one = factor("k"), flag = rep(c(TRUE, FALSE, FALSE), 4)
)

test_that("the parts are those of the fit", {
  r <- frame_of(y ~ x + (x | g), d)
  expect_named(r, c("formula", "frame", "variables", "terms", "xlevels", "contrasts",
                    "design"))
  expect_named(r$design, c("X", "y", "offset", "weights", "known_se", "Z", "random",
                           "groups", "level"))
  expect_equal(r$formula, y ~ x + (x | g))
  expect_equal(unname(r$design$X), cbind(1, d$x), ignore_attr = "assign")
  expect_equal(colnames(r$design$X), c("(Intercept)", "x"))
  expect_equal(attr(r$design$X, "assign"), 0:1)
  expect_equal(r$design$y, d$y)
  expect_equal(r$design$offset, 0)
  expect_null(r$design$weights)
  expect_false(r$design$known_se)
  expect_equal(column_blocks(r$design), c(1L, 1L))
  expect_equal(the_group(r$design), factor(d$g))
  expect_equal(group_names(r$design), "g")
  expect_null(r$design$level)
  expect_named(r$frame, c("y", "x", "g"))
})

test_that("a model without random terms has none", {
  design <- design_of(y ~ x, d)
  expect_equal(dim(design$Z), c(12, 0))
  expect_null(the_group(design))
  expect_equal(design$random, list())
  expect_equal(ncol(design_of(y ~ 0 + (1 | g), d)$X), 0)
})

test_that("X, Z and groups are those of lme4", {
  skip_if_not_installed("lme4")
  set.seed(1)
  cbpp_like <- within(lme4::cbpp, y <- rnorm(length(incidence)))
  orthodont <- as.data.frame(nlme::Orthodont)
  machines <- as.data.frame(nlme::Machines)
  cases <- list(
    list(Reaction ~ Days + (Days | Subject), lme4::sleepstudy),
    list(Reaction ~ Days + (Days || Subject), lme4::sleepstudy),
    list(Reaction ~ Days + (0 + Days | Subject) + (1 | Subject), lme4::sleepstudy),
    list(distance ~ age * Sex + (age | Subject), orthodont),
    list(distance ~ I(age - 11) + (I(age - 11) | Subject), orthodont),
    list(score ~ Machine + (Machine | Worker), machines),
    list(score ~ Machine + (0 + Machine | Worker), machines),
    list(score ~ Machine + (1 | Worker:Machine), machines),
    list(y ~ period + offset(log(size)) + (1 | herd), cbpp_like),
    list(y ~ splines::bs(size, df = 4) + poly(incidence, 2) + (1 | herd), cbpp_like)
  )
  for (case in cases) {
    ours <- glmm_frame(call("fit_glmm", formula = case[[1]], data = case[[2]]), globalenv())
    theirs <- lme4::lFormula(case[[1]], case[[2]],
                             control = lme4::lmerControl(check.nobs.vs.nRE = "ignore"))
    expect_equal(ours$design$X, theirs$X, ignore_attr = TRUE)
    expect_equal(colnames(ours$design$X), colnames(theirs$X))
    expect_equal(unlist(theirs$reTrms$cnms, use.names = FALSE), colnames(ours$design$Z))
    expect_equal(rep(seq_along(theirs$reTrms$cnms), lengths(theirs$reTrms$cnms)),
                 column_blocks(ours$design))
    expect_equal(the_group(ours$design), theirs$reTrms$flist[[1]], ignore_attr = TRUE)
    expect_equal(levels(the_group(ours$design)), levels(theirs$reTrms$flist[[1]]))
    # Zt stacks, block by block, the rows of each group.
    columns_of <- split(seq_along(column_blocks(ours$design)), column_blocks(ours$design))
    blocks <- lapply(columns_of, function(columns) {
      z <- ours$design$Z[, columns, drop = FALSE]
      indicator <- unname(model.matrix(~ 0 + g, data.frame(g = the_group(ours$design))))
      wide <- array(0, c(nrow(z), ncol(z), ncol(indicator)))
      for (j in seq_len(ncol(z))) wide[, j, ] <- z[, j] * indicator
      t(matrix(wide, nrow(z)))
    })
    expect_equal(do.call(rbind, blocks), as.matrix(theirs$reTrms$Zt), ignore_attr = TRUE)
  }
})

test_that("arguments are evaluated as lm() evaluates them", {
  plain <- frame_of(y ~ x + (1 | g), d, weights = w, offset = x / 2, subset = y > 1)
  keep <- d$y > 1
  expect_equal(plain$design$y, d$y[keep])
  expect_equal(plain$design$weights, d$w[keep])
  expect_equal(plain$design$offset, d$x[keep] / 2)

  # A formula in a variable, or a string; a call inside a function; do.call().
  formula <- y ~ x + (1 | g)
  expect_equal(frame_of(formula, d)$design, frame_of(y ~ x + (1 | g), d)$design)
  expect_equal(frame_of("y ~ x + (1 | g)", d)$design, frame_of(formula, d)$design)
  inside <- function(data, extra) frame_of(y ~ x + (1 | g), data, weights = extra)
  expect_equal(inside(d, d$w)$design$weights, d$w)
  called <- do.call(frame_of, list(formula, d, weights = d$w, se = NULL))
  expect_equal(called$design$weights, d$w)
  expect_equal(do.call("frame_of", list(formula, quote(d), weights = quote(w)))$design$weights,
               d$w)

  # Without data, the variables are where the formula was made.
  without <- local({
    y <- d$y
    x <- d$x
    g <- d$g
    wt <- d$w
    frame_of(y ~ x + (1 | g), weights = wt)
  })
  expect_equal(without$design, design_of(y ~ x + (1 | g), d, weights = w),
               ignore_attr = TRUE)
  k <- 2
  expect_equal(unname(design_of(y ~ I(x^k) + (1 | g), d)$X[, 2]), d$x^2)
})

test_that("offsets add up, in the formula and beside it", {
  expect_equal(design_of(y ~ offset(x) + (1 | g), d, offset = w)$offset, d$x + d$w)
  expect_equal(colnames(design_of(y ~ offset(x) + (1 | g), d)$X), "(Intercept)")
})

test_that("known standard errors are weights", {
  design <- design_of(y ~ 1 + (1 | g), d, se = w)
  expect_true(design$known_se)
  expect_equal(design$weights, 1 / d$w^2)
  # As extreme as doubles allow.
  expect_equal(design_of(y ~ 1 + (1 | g), d, se = w * 1e-150)$weights, 1e300 / d$w^2)
})

test_that("any vector that names groups will do, and gives the same groups", {
  as_text <- transform(d, g = paste0("s", g))
  expect_equal(as.integer(the_group(design_of(y ~ (1 | g), as_text))), d$g)
  for (g in list(as.numeric(d$g), d$g * 1e4, d$g * 12345678901, -d$g * 7,
                 factor(d$g, levels = 5:1), factor(d$g, ordered = TRUE), d$g == 1,
                 as.Date("2020-01-01") + d$g,
                 c(-.Machine$integer.max, 0L, .Machine$integer.max)[d$g])) {
    group <- as_group(g, "g")
    expect_equal(as.character(group), as.character(droplevels(factor(g))))
    expect_equal(as.integer(group), as.integer(droplevels(factor(g))))
  }
  # Whole numbers are written out, as identifiers are.
  expect_equal(levels(as_group(1e5 * 3:1, "g")), c("100000", "200000", "300000"))
  expect_error(as_group(d$x, "x"), class = "elbo_error_data")
  expect_error(as_group(cbind(d$g), "g"), class = "elbo_error_argument")
})

test_that("interaction groups are the combinations that occur", {
  group <- the_group(design_of(y ~ (1 | f:g), d, subset = !(f == "a" & g == 2)))
  expect_equal(levels(group), c("a:1", "a:3", "b:1", "b:2", "b:3"))
  expected <- droplevels((d$f:factor(d$g))[!(d$f == "a" & d$g == 2)])
  expect_equal(as.character(group), as.character(expected))
  expect_equal(group_names(design_of(y ~ (1 | f:g:text), d)), "f:g:text")
})

test_that("more random columns than the laws of latent terms have room for are refused", {
  wide <- data.frame(y = sin(1:400), g = gl(4, 100), f = gl(65, 1, 400), x = cos(1:400))
  expect_error(frame_of(y ~ (0 + f | g), wide), "65 columns", class = "elbo_error_formula")
  expect_error(fit_mixture(y ~ x + (0 + f | g), wide, k = 1, unit = ~ g), "65 columns",
               class = "elbo_error_formula")
})

test_that("unused levels are dropped, in groups and in factors", {
  wide <- transform(d, f = factor(f, levels = c("z", "a", "b")), g = factor(g, levels = 0:9))
  r <- frame_of(y ~ f + (1 | g), wide, subset = g != 2)
  expect_equal(r$xlevels, list(f = c("a", "b")))
  expect_equal(colnames(r$design$X), c("(Intercept)", "fb"))
  expect_equal(levels(the_group(r$design)), c("1", "3"))
})

test_that("`sigma` gives the level of each row", {
  expect_null(design_of(y ~ x, d, sigma = ~ 1)$level)
  expect_equal(design_of(y ~ x, d, sigma = ~ f)$level, d$f)
  expect_equal(design_of(y ~ x, d, sigma = ~ g)$level, factor(d$g))
  expect_equal(levels(design_of(y ~ x, d, sigma = ~ f:flag)$level),
               c("a:FALSE", "a:TRUE", "b:FALSE", "b:TRUE"))
  # Its variables count among those of the model: their missing values drop rows.
  gap <- d
  gap$f[2] <- NA
  expect_length(design_of(y ~ x, gap, sigma = ~ f)$y, 11)
})

test_that("terms remember their bases, contrasts and levels for new data", {
  r <- frame_of(y ~ poly(x, 2) + f + (splines::ns(x, 2) | g), d)
  new <- model.frame(delete.response(r$terms), d[1:3, ], xlev = r$xlevels)
  expect_equal(model.matrix(delete.response(r$terms), new, r$contrasts), r$design$X[1:3, ],
               ignore_attr = TRUE)
  block <- r$design$random[[1]]
  new <- model.frame(block$terms, d[1:3, ], xlev = block$xlevels)
  expect_equal(model.matrix(block$terms, new, block$contrasts), r$design$Z[1:3, ],
               ignore_attr = TRUE)
  expect_equal(r$contrasts, list(f = "contr.treatment"))
})

test_that("rows with missing values are treated by na.action", {
  gap <- d
  gap$x[3] <- NA
  gap$g[5] <- NA
  gap$w[7] <- NA
  r <- frame_of(y ~ x + (1 | g), gap, weights = w)
  expect_equal(r$design$y, d$y[-c(3, 5, 7)])
  expect_equal(the_group(r$design), factor(d$g[-c(3, 5, 7)]))
  expect_equal(unclass(attr(r$frame, "na.action")), c("3" = 3L, "5" = 5L, "7" = 7L),
               ignore_attr = "class")
  excluded <- frame_of(y ~ x + (1 | g), gap, na.action = na.exclude)
  expect_s3_class(attr(excluded$frame, "na.action"), "exclude")
  expect_equal(nrow(frame_of(y ~ x + (1 | g), gap, na.action = "na.omit")$frame), 10)
  expect_error(frame_of(y ~ x + (1 | g), gap, na.action = na.fail), class = "elbo_error_data")
  expect_error(frame_of(y ~ x + (1 | g), gap, na.action = na.pass), class = "elbo_error_data")
  expect_error(frame_of(y ~ x + (1 | g), d, na.action = "nothing"),
               class = "elbo_error_argument")
  # Missing values in rows that the subset leaves out do not matter.
  expect_length(design_of(y ~ x + (1 | g), gap, subset = -c(3, 5), na.action = na.fail)$y, 10)
  # The same rows as lm() keeps, and the same columns.
  expect_equal(design_of(y ~ poly(y, 2) + log(x), gap, weights = w)$X,
               model.matrix(lm(y ~ poly(y, 2) + log(x), gap, weights = w)), ignore_attr = TRUE)
})

test_that("extreme magnitudes pass", {
  expect_equal(design_of(y ~ x + (1 | g), transform(d, y = y * 1e150, x = x * 1e-150))$y,
               d$y * 1e150)
  expect_equal(design_of(y ~ x, transform(d, y = y * 1e307))$y, d$y * 1e307)
})

test_that("infinite values and those that are no numbers are refused with their rows", {
  bad <- d
  bad$x[4] <- Inf
  bad$y[c(2, 7)] <- NaN
  rownames(bad) <- paste0("id", 1:12)
  expect_snapshot({
    refusal(frame_of(y ~ g, bad))
    refusal(frame_of(w ~ I(x^2) + (1 | g), bad))
    refusal(frame_of(log(x - 1.5) ~ w, d))
    refusal(frame_of(y ~ x, d, offset = 1 / (x - 2.5)))
    refusal(frame_of(y ~ x, d, weights = 1 / (x - 2.5)))
  })
  expect_error(frame_of(y ~ g, bad), class = "elbo_error_data")
  expect_error(frame_of(w ~ poly(x, 2), bad), class = "elbo_error_data")
})

test_that("a response that is not a number is refused", {
  expect_snapshot({
    refusal(frame_of(f ~ x, d))
    refusal(frame_of(text ~ x, d))
    refusal(frame_of(cbind(x, y) ~ 1, d))
    refusal(frame_of(y ~ x, as.matrix(d)))
    refusal(frame_of(y ~ x, 3))
  })
  expect_error(frame_of(f ~ x, d), class = "elbo_error_data")
  expect_error(frame_of(y ~ x, 3), class = "elbo_error_argument")
  expect_equal(design_of(flag ~ x, d)$y, as.numeric(d$flag))
})

test_that("weights, offsets and standard errors that cannot be are refused", {
  expect_snapshot({
    refusal(frame_of(y ~ x, d, weights = w - 1))
    refusal(frame_of(y ~ x, d, weights = -w))
    refusal(frame_of(y ~ x, d, weights = text))
    refusal(frame_of(y ~ x, d, weights = cbind(w, w)))
    refusal(frame_of(y ~ x, d, se = replace(w, 3, 0)))
    refusal(frame_of(y ~ x, d, se = w * 1e-200))
    refusal(frame_of(y ~ x, d, offset = text))
    refusal(frame_of(y ~ x, d, se = w, weights = w))
    refusal(frame_of(y ~ x, d, se = w, sigma = ~ f))
  })
  expect_error(frame_of(y ~ x, d, weights = w - 1), class = "elbo_error_data")
  expect_error(frame_of(y ~ x, d, se = -w), class = "elbo_error_data")
  expect_error(frame_of(y ~ x, d, se = w * 1e200), class = "elbo_error_data")
  expect_error(frame_of(y ~ x, d, weights = text), class = "elbo_error_argument")
  expect_error(frame_of(y ~ x, d, se = w, weights = w), class = "elbo_error_argument")
})

test_that("empty data are refused", {
  expect_snapshot({
    refusal(frame_of(y ~ x, d[0, ]))
    refusal(frame_of(y ~ x, d, subset = x > 100))
    refusal(frame_of(y ~ x, transform(d, x = NA_real_)))
    refusal(frame_of(y ~ x, transform(d, x = NA_real_), na.action = na.fail))
  })
  expect_error(frame_of(y ~ x, d[0, ]), class = "elbo_error_data")
})

test_that("variables that are absent or of another length are refused", {
  expect_snapshot({
    refusal(frame_of(y ~ absent + (1 | g), d[1:3]))
    refusal(frame_of(y ~ x, d[1:3], weights = absent))
    refusal(frame_of(y ~ x, d[1:3], weights = 1:3))
    refusal(frame_of(y ~ mean, d[1:3]))
  })
  expect_error(frame_of(y ~ absent, d), class = "elbo_error_data")
  expect_error(frame_of(y ~ x, d, se = 1:3), class = "elbo_error_data")
})

test_that("factors of one level are named", {
  expect_snapshot({
    refusal(frame_of(y ~ x + one, d))
    refusal(frame_of(y ~ x + text, d, subset = text == "b"))
    refusal(frame_of(y ~ (one | g), d))
    refusal(frame_of(y ~ x, d, sigma = ~ one))
    refusal(check_group_levels(factor("a"), "site"))
  })
  expect_error(frame_of(y ~ one, d), class = "elbo_error_data")
  expect_error(check_group_levels(factor("a"), "site"), class = "elbo_error_data")
  expect_null(check_group_levels(d$f, "f"))
})

test_that("random terms and sigma formulas that we cannot fit are refused", {
  expect_snapshot({
    refusal(frame_of(y ~ (f || g), d))
    refusal(frame_of(y ~ (flag || g), d))
    refusal(frame_of(y ~ (1 | x), d))
    refusal(frame_of(y ~ (1 | g) + (x | g), d))
    refusal(frame_of(y ~ x, d, sigma = ~ x))
    refusal(frame_of(y ~ x, d, sigma = ~ f + g))
    refusal(frame_of(y ~ x, d, sigma = "f"))
  })
  expect_error(frame_of(y ~ x, d, sigma = y ~ f), class = "elbo_error_formula")
  many <- data.frame(y = 1:60, id = 1:30)
  expect_error(frame_of(y ~ 1, many, sigma = ~ id), class = "elbo_error_data")
  expect_equal(nlevels(design_of(y ~ 1, many, sigma = ~ factor(id))$level), 30)
})

test_that("more cells than R can index are refused before they are allocated", {
  n <- 60000
  big <- data.frame(y = numeric(n), id = factor(seq_len(n)), g = rep(1:2, n / 2))
  expect_snapshot(refusal(frame_of(y ~ id + (1 | g), big)))
  expect_error(frame_of(y ~ id, big), class = "elbo_error_data")
})

test_that("columns are counted as model.matrix() makes them", {
  count <- function(formula) {
    frame <- model.frame(formula, d)
    sum(term_columns(term_description(terms(formula), frame), frame))
  }
  for (formula in list(y ~ x, y ~ f * text + x:f, y ~ 0 + text, y ~ poly(x, 3):f, y ~ f:text,
                       y ~ 1, y ~ text + x %in% f, y ~ 0 + flag:x, y ~ x * flag - 1,
                       y ~ f + x - x)) {
    expect_equal(count(formula), ncol(model.matrix(formula, d)))
  }
})

test_that("stats need not be attached", {
  skip_on_cran()
  code <- paste(
    "f <- elbo::fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, family = 'gaussian');",
    "m <- elbo::fit_mixture(waiting ~ 1, datasets::faithful, k = 2, family = 'gaussian');",
    "x <- utils::capture.output(print(f), print(summary(f)), print(summary(m)),",
    "  print(stats::update(f)), print(stats::predict(f, nlme::Orthodont)),",
    "  print(stats::anova(f)));",
    "cat('fitted')"
  )
  libraries <- paste(.libPaths(), collapse = .Platform$path.sep)
  said <- withr::with_envvar(c(R_DEFAULT_PACKAGES = "NULL", R_LIBS = libraries), {
    system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", "-e", shQuote(code)),
            stdout = TRUE, stderr = TRUE)
  })
  expect_identical(said, "fitted")
})

test_that("names of columns in quotation marks are told from the columns", {
  refused <- function(expr, pattern) {
    expect_error(expr, pattern, class = "elbo_error_argument")
  }
  refused(fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = "se"),
          "Write se = se, unquoted")
  quoted <- transform(microcredit_sites, w = 1)
  refused(fit_glmm(estimate ~ 1, quoted, weights = "w"), "Write weights = w, unquoted")
  refused(fit_glmm(estimate ~ 1, quoted, offset = "w"), "Write offset = w, unquoted")
  refused(fit_glmm(estimate ~ 1, quoted, weights = "none"), "not the text \"none\"[.]$")
  refused(fit_mixture(waiting ~ 1, transform(faithful, copies = 1), k = 2, freq = "copies"),
          "Write freq = copies, unquoted")
})

test_that("a condition of `subset` in quotation marks is told from names of rows", {
  expect_error(fit_glmm(dist ~ speed, cars, subset = "speed > 9"), "without quotation marks",
               class = "elbo_error_argument")
  expect_error(fit_mixture(dist ~ speed, cars, k = 1, subset = "speed > 9"), "name of no row",
               class = "elbo_error_argument")
  expect_identical(nobs(fit_glmm(dist ~ speed, cars, subset = as.character(1:20))), 20L)
  expect_error(fit_glmm(dist ~ speed, cars, subset = nosuch > 1), "'nosuch' not found",
               class = "elbo_error_data")
})
