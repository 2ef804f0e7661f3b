growth <- as.data.frame(nlme::Orthodont)
growth$Subject <- factor(as.character(growth$Subject))
slopes <- fit_glmm(distance ~ age + Sex + (age | Subject), growth)
children <- data.frame(Subject = c("F01", "M07", "F01"), age = c(9, 13, 16),
                       Sex = c("Female", "Male", "Female"))

# Henderson's mixed model equations: the inverse of
#   [X'R^-1 X, X'R^-1 W; W'R^-1 X, W'R^-1 W + Omega^-1]
# is the covariance of (betahat - beta, uhat - u), all groups at once.
henderson <- function(fit) {
  design <- design_of(fit)
  m <- nlevels(the_group(design))
  member <- outer(as.integer(the_group(design)), seq_len(m), "==")
  W <- do.call(cbind, lapply(seq_len(m), function(g) design$Z * member[, g]))
  precision <- kronecker(diag(m), solve(latent_law(fit)))
  A <- cbind(design$X, W)
  information <- crossprod(A / residual_sd(fit))
  random <- -seq_len(ncol(design$X))
  information[random, random] <- information[random, random] + precision
  solve(information)
}
henderson_variance <- function(fit, X, Z, group) {
  m <- nlevels(the_group(design_of(fit)))
  W <- do.call(cbind, lapply(seq_len(m), function(g) Z * (group == g)))
  L <- cbind(X, W)
  rowSums((L %*% henderson(fit)) * L)
}

# The same fit with its variances held where they are, so that they are known.
with_known_scales <- function(fit) {
  scales <- theta(fit)[parameters_of(fit)$block != "beta"]
  known <- lapply(unname(scales), function(value) bquote(constant(.(value))))
  update(fit, prior = do.call(priors, stats::setNames(known, names(scales))))
}

test_that("predictions for the rows of the fit are its fitted values", {
  expect_equal(predict(slopes), fitted(slopes))
  expect_equal(predict(slopes, growth), fitted(slopes))
  expect_equal(predict(slopes, growth, type = "response"), fitted(slopes))
  X <- model.matrix(slopes)
  expect_equal(predict(slopes, re.form = NA), drop(X %*% coef(slopes)))
  expect_equal(predict(slopes, re.form = ~ 0), predict(slopes, re.form = NA))
})

test_that("predictions for new data are those of lme4", {
  skip_if_not_installed("lme4")
  peer <- lme4::lmer(distance ~ age + Sex + (age | Subject), growth, REML = FALSE,
                     control = lme4::lmerControl(calc.derivs = FALSE))
  new <- rbind(children, data.frame(Subject = "new", age = 10, Sex = "Male"))
  expect_equal(predict(slopes, children), predict(peer, children), tolerance = 1e-4)
  expect_equal(predict(slopes, new, re.form = NA), predict(peer, new, re.form = NA),
               tolerance = 1e-4)
  expect_equal(predict(slopes, new, allow.new.levels = TRUE),
               predict(peer, new, allow.new.levels = TRUE), tolerance = 1e-4)
})

test_that("standard errors are those of Henderson's equations", {
  fits <- list(
    slopes,
    update(slopes, method = "reml"),
    fit_glmm(distance ~ age + (age || Subject), growth, sigma = ~ Sex, weights = 1 + age / 10),
    fit_glmm(distance ~ poly(age, 2) * Sex + (1 | Subject), growth, offset = age / 3)
  )
  for (fit in lapply(fits, with_known_scales)) {
    design <- design_of(fit)
    expected <- henderson_variance(fit, design$X, design$Z, as.integer(the_group(design)))
    answer <- predict(fit, se.fit = TRUE)
    expect_equal(unname(answer$se.fit), sqrt(expected), tolerance = 1e-6, ignore_attr = TRUE)
    expect_equal(answer$fit, fitted(fit))
    expect_equal(answer$residual.scale, sigma(fit))
    population <- predict(fit, re.form = NA, se.fit = TRUE)$se.fit
    expect_equal(unname(population)^2, rowSums((design$X %*% vcov(fit)) * design$X),
                 ignore_attr = TRUE)
    # New rows, in another order, are no different.
    some <- growth[c(60, 3, 17), ]
    expect_equal(predict(fit, some, se.fit = TRUE)$se.fit, answer$se.fit[c(60, 3, 17)])
  }
})

test_that("a group not seen before has the full variance of its law", {
  new <- data.frame(Subject = c("new", "F01"), age = 12, Sex = "Female")
  answer <- predict(slopes, new, allow.new.levels = TRUE, se.fit = TRUE)
  x <- c(1, 12, 1)
  z <- c(1, 12)
  law <- as.matrix(VarCorr(slopes)[[1]])
  expected <- drop(x %*% vcov(slopes) %*% x + z %*% law %*% z)
  expect_equal(answer$se.fit[[1]], sqrt(expected))
  expect_equal(answer$fit[[1]], sum(x * coef(slopes)))
  expect_equal(answer$fit[[2]], predict(slopes, new[2, ])[[1]])
  expect_lt(answer$se.fit[[2]], answer$se.fit[[1]])
  expect_error(predict(slopes, new), class = "elbo_error_new_levels")
})

test_that("intervals are as wide as their words say", {
  z <- qnorm(0.95)
  answer <- predict(slopes, children, interval = "confidence", level = 0.9, se.fit = TRUE)
  expect_equal(colnames(answer$fit), c("fit", "lwr", "upr"))
  expect_equal(rownames(answer$fit), c("1", "2", "3"))
  expect_equal(answer$fit[, "upr"] - answer$fit[, "fit"], z * answer$se.fit)
  observation <- predict(slopes, children, interval = "prediction", level = 0.9)
  expect_equal(observation[, "upr"] - observation[, "fit"],
               z * sqrt(answer$se.fit^2 + sigma(slopes)^2))
  # In the population a new observation is one of a new group.
  population <- predict(slopes, children, interval = "prediction", re.form = NA)
  unseen <- predict(slopes, transform(children, Subject = letters[1:3]),
                    allow.new.levels = TRUE, interval = "prediction")
  expect_equal(population, unseen)
})

test_that("the population mean has Satterthwaite's degrees of freedom", {
  answer <- predict(slopes, children, interval = "confidence", re.form = NA, se.fit = TRUE)
  df <- fit_df(slopes, row_fixed(slopes, children))
  expect_equal(answer$fit[, "upr"] - answer$fit[, "fit"], answer$se.fit * qt(0.975, df),
               ignore_attr = TRUE)
})

test_that("without random terms everything is as for lm()", {
  fit <- fit_glmm(dist ~ poly(speed, 2), cars, method = "reml")
  peer <- lm(dist ~ poly(speed, 2), cars)
  new <- data.frame(speed = c(1, 10, 30))
  for (interval in c("none", "confidence", "prediction")) {
    expect_equal(predict(fit, new, interval = interval),
                 predict(peer, new, interval = interval), tolerance = 1e-6)
  }
  expect_equal(predict(fit, new, se.fit = TRUE)$se.fit,
               predict(peer, new, se.fit = TRUE)$se.fit, tolerance = 1e-6)
})

test_that("bases, factors, offsets and dropped columns come out right in new data", {
  forms <- list(
    distance ~ splines::bs(age, df = 4) + (1 | Subject),
    distance ~ splines::ns(age, 3) + (scale(age) | Subject),
    distance ~ poly(age, 2) * Sex + (1 | Subject),
    distance ~ log(age) + factor(age > 9) + offset(age / 2) + (1 | Subject)
  )
  for (form in forms) {
    fit <- fit_glmm(form, growth)
    expect_equal(predict(fit, growth[5:9, ]), fitted(fit)[5:9])
  }
  fit <- fit_glmm(distance ~ age + (1 | Subject), growth, offset = age / 2)
  expect_equal(predict(fit, growth[5:9, ]), fitted(fit)[5:9])
  twice <- transform(growth, again = age * 2)
  expect_message(fit <- fit_glmm(distance ~ age + again + Sex + (1 | Subject), twice))
  expect_equal(predict(fit, twice[5:9, ]), fitted(fit)[5:9])
})

test_that("groups may come as any vector, and as interactions", {
  numbered <- transform(growth, id = as.integer(Subject) * 10)
  fit <- fit_glmm(distance ~ age + (1 | id), numbered)
  expect_equal(predict(fit, numbered[3, ]), fitted(fit)[3])
  expect_equal(predict(fit, transform(numbered[3, ], id = as.character(id))), fitted(fit)[3])
  fit <- fit_glmm(score ~ 1 + (1 | Worker:Machine), as.data.frame(nlme::Machines))
  expect_equal(predict(fit, as.data.frame(nlme::Machines)[40:44, ]), fitted(fit)[40:44])
})

test_that("prediction intervals follow weights, known standard errors and levels of sigma", {
  half <- function(x) unname(x[, "upr"] - x[, "fit"])
  z <- qnorm(0.975)
  new <- growth[c(1, 65), ]
  fit <- fit_glmm(distance ~ age + (1 | Subject), growth, weights = age, sigma = ~ Sex)
  se <- predict(fit, new, se.fit = TRUE)$se.fit
  noise <- unname(sigma(fit)[c("Male", "Female")] / sqrt(new$age))
  expect_equal(half(predict(fit, new, interval = "prediction")),
               unname(z * sqrt(se^2 + noise^2)))
  expect_error(predict(fit, new["age"], re.form = NA, interval = "prediction"),
               class = "elbo_error_data")

  fit <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se)
  new <- data.frame(country = c("Peru", "Chile"), se = c(2, 3))
  mean <- predict(fit, new, re.form = NA, se.fit = TRUE)$se.fit
  law <- VarCorr(fit)[[1]][1, 1]
  expect_equal(half(predict(fit, new, re.form = NA, interval = "prediction")),
               unname(qt(0.975, fit_df(fit)) * sqrt(mean^2 + law + new$se^2)))
  # The population mean asks for neither group nor standard error.
  expect_length(predict(fit, new[0], re.form = NA), 2)
})

test_that("the interval of a new study is the wider one, by the t of the mean", {
  # metafor 3.8-1, rma(est, sei = se, test = "t"): mean -0.0961 to 5.2653, predict() -3.9231 to
  # 9.0922, which uses t with 5 degrees of freedom, the number of studies less one.
  m <- data.frame(est = c(1, 3.1, 4.2, -1.05, 2, 6), site = 1:6, se = c(1, 0.5, 1, 1, 2, 1))
  fit <- fit_glmm(est ~ 1 + (1 | site), m, se = se, method = "reml")
  df <- fit_df(fit)
  expect_equal(df, 5, tolerance = 0.01)
  new <- data.frame(site = 9)
  mean <- predict(fit, new, re.form = NA, interval = "confidence")
  effect <- predict(fit, new, allow.new.levels = TRUE, interval = "confidence")
  scale <- qt(0.975, 5) / qt(0.975, df)
  expect_equal((mean[, "upr"] - mean[, "fit"]) * scale, (5.2653 + 0.0961) / 2, tolerance = 1e-4,
               ignore_attr = TRUE)
  expect_equal((effect[, "upr"] - effect[, "fit"]) * scale, (9.0922 + 3.9231) / 2, tolerance = 1e-4,
               ignore_attr = TRUE)
  # The true effect is what a prediction without a standard error is of, whatever lies around.
  se <- 100
  expect_equal(predict(fit, new, re.form = NA, interval = "prediction"), effect)
  expect_equal(predict(fit, new, allow.new.levels = TRUE, interval = "prediction"), effect)
})

test_that("an interval of a new group is never narrower than that of the mean", {
  set.seed(3)
  d <- data.frame(x = rnorm(40), f = gl(2, 20), g = gl(5, 8), w = rexp(40) + 0.5)
  d$y <- d$x + rnorm(5)[d$g] + rnorm(40)
  new <- data.frame(x = c(-3, 0, 2), f = c("1", "2", "1"), g = "new", w = 1)
  for (method in c("em", "reml", "vb")) {
    for (fit in list(
      fit_glmm(y ~ x + (x | g), d, method = method),
      fit_glmm(y ~ x + (1 | g), d, method = method, weights = w, offset = x / 2),
      fit_glmm(y ~ x + f + (1 | g), d, method = method, sigma = ~ f)
    )) {
      mean <- predict(fit, new, re.form = NA, interval = "confidence")
      effect <- predict(fit, new, allow.new.levels = TRUE, interval = "confidence")
      row <- predict(fit, new, re.form = NA, interval = "prediction")
      expect_true(all(effect[, "upr"] >= mean[, "upr"] & effect[, "lwr"] <= mean[, "lwr"]))
      expect_true(all(row[, "upr"] > effect[, "upr"] & row[, "lwr"] < effect[, "lwr"]))
    }
  }
})

test_that("latent variables without a law leave new groups unknown", {
  fit <- fit_glmm(distance ~ 0 + (1 | Subject), growth,
                  prior = priors(Subject = constant(Inf)))
  answer <- predict(fit, data.frame(Subject = c("new", "F01")), allow.new.levels = TRUE,
                    se.fit = TRUE)
  expect_equal(answer$se.fit[[1]], Inf)
  expect_equal(answer$se.fit[[2]], sigma(fit) / 2)
})

test_that("missing values in new data give NA, or what na.action says", {
  gaps <- children
  gaps$age[1] <- NA
  gaps$Subject[2] <- NA
  expect_equal(unname(is.na(predict(slopes, gaps))), c(TRUE, TRUE, FALSE))
  expect_equal(unname(is.na(predict(slopes, gaps, re.form = NA))), c(TRUE, FALSE, FALSE))
  limits <- predict(slopes, gaps, interval = "confidence", re.form = NA)
  expect_equal(unname(is.na(limits[, "lwr"])), c(TRUE, FALSE, FALSE))
  expect_equal(names(predict(slopes, gaps, na.action = na.omit)), "3")
  expect_equal(unname(is.na(predict(slopes, gaps, na.action = na.exclude))),
               c(TRUE, TRUE, FALSE))
  expect_error(predict(slopes, gaps, na.action = na.fail), class = "elbo_error_data")
  # The response and other columns do not count.
  expect_false(anyNA(predict(slopes, transform(children, distance = NA, other = NA))))
})

test_that("no rows give no predictions", {
  expect_length(predict(slopes, children[0, ]), 0)
  expect_equal(dim(predict(slopes, children[0, ], interval = "prediction")), c(0, 3))
  expect_equal(dim(predict(slopes, children[0, ], interval = "confidence", re.form = NA)),
               c(0, 3))
})

test_that("rows that the fit dropped are padded under na.exclude", {
  gaps <- growth
  gaps$age[2] <- NA
  excluded <- fit_glmm(distance ~ age + (1 | Subject), gaps, na.action = na.exclude)
  expect_length(predict(excluded), 108)
  expect_true(is.na(predict(excluded)[2]))
  expect_equal(dim(predict(excluded, interval = "confidence")), c(108, 3))
  expect_length(predict(fit_glmm(distance ~ age + (1 | Subject), gaps)), 107)
})

test_that("new data that do not fit the model are refused", {
  new <- transform(children, Subject = c("F01", "x", "y"))
  weighted <- fit_glmm(distance ~ Sex + (1 | Subject), growth, weights = age)
  by_age <- fit_glmm(distance ~ 1 + (1 | Subject), growth, sigma = ~ age)
  expect_snapshot({
    refusal(predict(slopes, new))
    refusal(predict(slopes, children["age"]))
    refusal(predict(slopes, children["age"], re.form = NA))
    refusal(predict(slopes, children[c("age", "Sex")]))
    refusal(predict(slopes, transform(children, Sex = "Other")))
    refusal(predict(slopes, transform(children, age = "nine")))
    refusal(predict(slopes, as.matrix(children)))
    refusal(predict(weighted, children[-2], interval = "prediction"))
    refusal(predict(by_age, children[1, ], interval = "prediction"))
    refusal(predict(slopes, transform(children, age = NA), na.action = na.fail))
    refusal(predict(slopes, re.form = ~ (1 | Sex)))
    refusal(predict(slopes, level = 95))
    refusal(predict(slopes, data = children))
  })
  expect_error(predict(slopes, children["age"]), class = "elbo_error_data")
  expect_error(predict(slopes, level = 95), class = "elbo_error_argument")
})

test_that("the mean of an empty cell is NA, with a warning that names it", {
  cells <- expand.grid(a = factor(1:2), b = factor(1:2), g = factor(1:8), r = 1:3)
  cells <- cells[!(cells$a == 2 & cells$b == 2), ]
  cells$y <- withr::with_seed(1, rnorm(nrow(cells)))
  expect_message(gaps <- fit_glmm(y ~ a * b + (1 | g), cells), "a2:b2")
  new <- expand.grid(a = factor(1:2), b = factor(1:2))
  expect_warning(means <- predict(gaps, new, re.form = NA, interval = "confidence"),
                 "row 4 of `newdata`, with a = 2, b = 2: `a2:b2`",
                 class = "elbo_warning_not_identified")
  expect_identical(is.na(means[, "fit"]), c(`1` = FALSE, `2` = FALSE, `3` = FALSE, `4` = TRUE))
  expect_identical(is.na(means[, "lwr"]), is.na(means[, "fit"]))
  # A mean of all rows of a cell, as the design is saturated but for the empty one.
  expect_equal(means[1, "fit"], mean(cells$y[cells$a == 1 & cells$b == 1]))
  expect_warning(predict(gaps, data.frame(new, g = factor(1))), "row 4")
  expect_no_warning(predict(gaps, new[1:3, ], re.form = NA))
  expect_message(lines <- fit_mixture(y ~ a * b, cells, k = 1), "a2:b2")
  expect_warning(means <- predict(lines, new, type = "response"), "row 4")
  expect_identical(is.na(means), c(`1` = FALSE, `2` = FALSE, `3` = FALSE, `4` = TRUE))
})

test_that("a covariate that is a sum of others is identified where it is that sum", {
  d <- data.frame(x = 1:20, w = sqrt(1:20), g = gl(5, 4))
  d$total <- d$x + 2 * d$w
  d$y <- withr::with_seed(1, rnorm(20))
  expect_message(fit <- fit_glmm(y ~ x + w + total + (1 | g), d), "total")
  expect_no_warning(predict(fit, data.frame(x = 3, w = 5, total = 13), re.form = NA))
  expect_warning(predict(fit, data.frame(x = 3, w = 5, total = 14), re.form = NA), "total = 14")
})

test_that("new rows without any variable of the model are rows, whatever their frame's class", {
  flat <- fit_glmm(distance ~ 1 + (1 | Subject), growth)
  expect_length(predict(flat, data.frame(other = 1:3), re.form = NA), 3)
  # data.table measures its rows by its first column.
  counts_columns <- structure(data.frame(other = 1:3), class = c("by_column", "data.frame"))
  registerS3method("dim", "by_column", function(x) {
    c(if (length(unclass(x))) length(unclass(x)[[1]]) else 0L, length(unclass(x)))
  })
  registerS3method("as.data.frame", "by_column", function(x, ...) {
    structure(x, class = "data.frame")
  })
  expect_length(predict(flat, counts_columns, re.form = NA), 3)
})

test_that("a standard error that is lost in rounding is NA, with a warning that says why", {
  set.seed(1)
  near <- data.frame(x = rnorm(60), g = gl(6, 10))
  near$y <- near$x + rnorm(6)[near$g] + rnorm(60)
  expected <- predict(fit_glmm(y ~ x + (1 | g), near), re.form = NA, se.fit = TRUE)$se.fit
  # A covariate this many times its spread from zero: x'Cx cancels twice as many digits.
  fit <- fit_glmm(y ~ x + (1 | g), transform(near, x = 1e6 + x))
  expect_equal(predict(fit, re.form = NA, se.fit = TRUE)$se.fit, expected, tolerance = 1e-4)
  fit <- fit_glmm(y ~ x + (1 | g), transform(near, x = 1e9 + x))
  expect_warning(answer <- predict(fit, re.form = NA, se.fit = TRUE), "`x` is far from zero",
                 class = "elbo_warning_rounding")
  expect_true(all(is.na(answer$se.fit)))
  expect_false(anyNA(answer$fit))
})

test_that("arguments of the call that new rows have are numbers, weights positive", {
  set.seed(1)
  d <- data.frame(x = rnorm(20), w = rexp(20), y = rnorm(20))
  shifted <- fit_glmm(y ~ x, d, offset = w)
  expect_error(predict(shifted, transform(d, w = as.character(w))), "offset of `newdata`, `w`",
               class = "elbo_error_data")
  weighted <- fit_glmm(y ~ x, d, weights = w)
  expect_error(predict(weighted, transform(d, w = -w), interval = "prediction"), "positive",
               class = "elbo_error_data")
})
