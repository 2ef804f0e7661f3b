# Row weights w: log p(y_i | z, theta) counts w_i times. In the dense reference that is a
# residual variance s2 / w_i and a constant,
#   log N(y; mu, s2)^w = log N(y; mu, s2 / w) + (1 - w) / 2 log(2 pi s2) - 1/2 log w.

# Fixed effects and standard errors at the optimum of the weighted objective, by Newton steps
# of numerical derivatives from the fit.
reference_weighted <- function(fit, w) {
  values <- theta(fit)
  attributes(values) <- list(names = names(values))
  free <- rownames(var_cov_of(fit))[is.finite(diag(var_cov_of(fit)))]
  gls <- function(parts) reference_gls(design_of(fit), parts$Sigma, parts$s2 / w)
  objective <- function(psi) {
    parts <- reference_pieces(fit, replace(values, free, psi))
    model <- reference_lmm(design_of(fit), gls(parts)$beta, parts$Sigma, parts$s2 / w,
                           integrate_beta = method_of(fit) == "reml")
    model$log_evidence + sum((1 - w) / 2 * log(2 * pi * parts$s2) - log(w) / 2)
  }
  psi <- values[free]
  for (step in 1:4) {
    psi <- psi + drop(var_cov_of(fit)[free, free] %*% numDeriv::grad(objective, psi))
  }
  best <- gls(reference_pieces(fit, replace(values, free, psi)))
  c(best$beta, sqrt(diag(best$cov)))
}

# Derivatives of all coefficients (d_value) and standard errors (d_se), n x p.
all_gradients <- function(fit) {
  influence <- row_influence(fit)
  by <- function(value, se) {
    vapply(seq_along(influence$value), function(j) row_gradient(influence, j, value, se),
           numeric(nobs(fit)))
  }
  list(value = influence$value, se = influence$se, d_value = by(1, 0), d_se = by(0, 1))
}

test_that("the influence of a row is the derivative in its weight", {
  skip_if_not_installed("numDeriv")
  skip_on_cran()
  set.seed(1)
  d <- sim_glmm(groups = 8, size = 5)
  d$arm <- factor(rep(c("a", "b"), length.out = nrow(d)))
  fits <- list(
    fit_glmm(y ~ x + (x | group), d),
    fit_glmm(y ~ x + (x | group), d, method = "reml"),
    fit_glmm(y ~ x + (1 | group), d, sigma = ~ arm, weights = 1 + x^2, offset = x / 2),
    fit_glmm(y ~ x + (1 | group), d, prior = priors(group = constant(1))),
    fit_glmm(y ~ x, d)
  )
  step <- 1e-2
  for (fit in fits) {
    influence <- all_gradients(fit)
    for (row in c(1, 18, 40)) {
      move <- function(size) reference_weighted(fit, replace(rep(1, nobs(fit)), row, 1 + size))
      # Fourth order: the error of the second order is visible at any step that is not noise.
      derivative <- (8 * (move(step) - move(-step)) - (move(2 * step) - move(-2 * step))) /
        (12 * step)
      ours <- c(influence$d_value[row, ], influence$d_se[row, ])
      expect_equal(unname(ours), unname(derivative), tolerance = 1e-4)
    }
  }
})

test_that("removing one row at a time moves the estimates as predicted", {
  # Large groups: a row in a small one pulls its own random effects after it, so that taking it
  # away does more than the derivative says.
  set.seed(2)
  d <- sim_glmm(groups = 12, size = 40)
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (x | group), d, method = method)
    predicted <- all_gradients(fit)$d_value
    rows <- seq(1, nrow(d), by = 11)
    moved <- t(vapply(rows, function(i) coef(fit) - coef(update(fit, data = d[-i, ])),
                      coef(fit)))
    expect_gt(cor(moved[, 1], predicted[rows, 1]), 0.995)
    expect_gt(cor(moved[, 2], predicted[rows, 2]), 0.995)
    expect_equal(unname(coef(lm(moved[, 2] ~ 0 + predicted[rows, 2]))), 1, tolerance = 0.1)
  }
})

test_that("for least squares the derivative is the textbook's", {
  fit <- fit_glmm(dist ~ speed, cars)
  least_squares <- lm(dist ~ speed, cars)
  X <- model.matrix(least_squares)
  textbook <- (X * residuals(least_squares)) %*% solve(crossprod(X))
  expect_equal(unname(all_gradients(fit)$d_value), unname(textbook), tolerance = 1e-8)
})

test_that("the table says what was removed, and the refit is a refit without it", {
  set.seed(3)
  d <- sim_glmm(groups = 12, size = 6, beta = c(1, 0.15))
  fit <- fit_glmm(y ~ x + (1 | group), d)
  s <- sensitivity(fit, to = "data")
  expect_named(s, c("estimate", "change", "rows", "percent", "refit", "value", "holds"))
  expect_identical(s$estimate, rep(c("(Intercept)", "x"), each = 3))
  expect_identical(s$change, rep(c("sign", "significance", "both"), 2))
  expect_equal(s$percent, 100 * s$rows / nrow(d))
  expect_equal(s$value, unname(coef(fit)[s$estimate]))
  for (i in which(!is.na(s$refit))) {
    removed <- attr(s, "removed")[[i]]
    expect_length(removed, s$rows[i])
    without <- fit_glmm(y ~ x + (1 | group), d[!rownames(d) %in% removed, ])
    expect_equal(s$refit[i], coef(without)[[s$estimate[i]]], tolerance = 1e-8)
  }
  # A slope of one standard error changes its sign with a few of 72 rows.
  sign <- s[s$estimate == "x" & s$change == "sign", ]
  expect_true(sign$holds)
  expect_lt(sign$refit * sign$value, 0)
  expect_lte(sign$rows, 10)
})

test_that("`parm` asks about some estimates, with the same answer", {
  fit <- fit_glmm(distance ~ age * Sex + (1 | Subject), nlme::Orthodont)
  all <- sensitivity(fit, to = "data")
  some <- sensitivity(fit, to = "data", parm = "age:SexFemale")
  expect_equal(as.data.frame(some), as.data.frame(all)[10:12, ], ignore_attr = TRUE)
  expect_identical(attr(some, "removed"), attr(all, "removed")[10:12])
  expect_identical(sensitivity(fit, to = "data", parm = 4), some)
  expect_error(sensitivity(fit, to = "data", parm = "Age"), "`parm`", class = "elbo_error_argument")
})

test_that("no smaller set of rows does it, where all sets can be tried", {
  fit <- fit_glmm(y ~ x, data.frame(x = 1:9, y = c(2, 1, 2, 1, 3, 1, 2, 1, 2.2)))
  s <- sensitivity(fit, to = "data")
  sign <- s[s$estimate == "x" & s$change == "sign", ]
  d <- model.frame(fit)
  slopes <- function(k) apply(combn(9, k), 2, function(out) coef(lm(y ~ x, d[-out, ]))[2])
  fewest <- which(vapply(1:4, function(k) any(slopes(k) < 0), NA))[1]
  expect_identical(sign$rows, fewest)
})

test_that("subset, weights, offsets and dropped rows survive the refit", {
  set.seed(4)
  d <- sim_glmm(groups = 12, size = 6, beta = c(1, 0))
  d$w <- runif(nrow(d), 0.5, 2)
  d$y[5] <- NA
  rownames(d) <- paste0("r", seq_len(nrow(d)))
  fit <- fit_glmm(y ~ x + (1 | group), d, weights = w, offset = x / 10, subset = x < 1.5)
  s <- sensitivity(fit, to = "data")
  sign <- which(s$estimate == "x" & s$change == "sign")
  kept <- d[!rownames(d) %in% attr(s, "removed")[[sign]], ]
  without <- fit_glmm(y ~ x + (1 | group), kept, weights = w, offset = x / 10,
                      subset = x < 1.5)
  expect_equal(s$refit[sign], coef(without)[["x"]], tolerance = 1e-8)
})

test_that("one household of 16,560 turns the effect in Mexico", {
  households <- read_shared("microcredit", "microcredit_profit.csv.gz")
  fit <- fit_glmm(profit_usd_ppp ~ treatment, households, subset = country == "Mexico")
  s <- sensitivity(fit, to = "data")
  removed <- attr(s, "removed")[s$estimate == "treatment"]
  s <- s[s$estimate == "treatment", ]
  # Broderick, Giordano and Meager (2020), table of the microcredit trials: one household
  # changes the sign, 14 the significance and 15 both. Ours are checked by lm(), and no larger.
  expect_true(all(s$rows <= c(1, 14, 15)))
  expect_equal(s$percent, 100 * s$rows / 16560)
  expect_equal(round(s$value, 3), rep(-4.549, 3))
  expect_equal(round(s$refit[1:2], 3), c(0.398, -10.962))
  mexico <- households[households$country == "Mexico", ]
  for (i in 1:3) {
    without <- lm(profit_usd_ppp ~ treatment, mexico[!rownames(mexico) %in% removed[[i]], ])
    expect_equal(coef(without)[["treatment"]], s$refit[i], tolerance = 1e-8)
    p <- summary(without)$coefficients["treatment", 4]
    changed <- list(c(TRUE, FALSE), c(FALSE, TRUE), c(TRUE, TRUE))[[i]]
    expect_identical(c(s$refit[i] > 0, p < 0.05), changed)
  }
})

test_that("sets are tried by refits: fewer rows do than one derivative asks for", {
  # By the derivative four rows decide the significance of the difference of slopes: three do.
  fit <- fit_glmm(distance ~ age * Sex + (age | Subject), nlme::Orthodont, sigma = ~ Sex)
  influence <- row_influence(fit)
  target <- row_target(influence, "age:SexFemale", "significance", qt(0.975, fit_df(fit)[4]))
  gains <- sort(target_gradient(target, influence), decreasing = TRUE)
  value <- target_value(target, influence$value[[4]], influence$se[[4]])
  expect_identical(unname(which(cumsum(gains) > value)[1]), 4L)
  found <- search_rows(fit, influence, target)
  expect_length(found$rows, 3)
  without <- fit_glmm(distance ~ age * Sex + (age | Subject), nlme::Orthodont[-found$rows, ],
                      sigma = ~ Sex)
  t <- coef(without)[[4]] / sqrt(vcov(without)[4, 4])
  expect_lt(abs(t), qt(0.975, fit_df(fit)[4]))
})

test_that("what is not found is a sentence with its reason, and what is found a bound", {
  # All slopes between any two points are 2: no removal turns them.
  d <- data.frame(x = 1:12, y = 2 * (1:12) + rep(c(-1e-3, 1e-3), 6))
  s <- sensitivity(fit_glmm(y ~ x, d), to = "data")
  sign <- s$estimate == "x" & s$change == "sign"
  expect_true(is.na(s$rows[sign]) && is.na(s$holds[sign]))
  shown <- paste(capture.output(print(s)), collapse = " ")
  shown <- gsub(" +", " ", shown)
  expect_match(shown, "No rows were found whose removal changes the sign of x: ")
  expect_no_match(shown, "\\bNA\\b")
  lean <- sensitivity(fit_glmm(dist ~ speed, cars[1:9, ]), to = "data")
  expect_match(paste(capture.output(print(lean)), collapse = " "), "At most so many rows")
  # A part of the table has lost the reasons, and prints.
  expect_output(print(s[sign, ]), "No rows were found whose removal changes the sign of x")
})

test_that("with a normal prior on coefficients the derivative is that of the MAP", {
  set.seed(6)
  d <- sim_glmm(groups = 10, size = 5)
  # Known variances leave generalised ridge regression, closed form in the weights of rows.
  fit <- fit_glmm(y ~ x + (1 | group), d, prior = priors(beta = normal(0.5, 0.1),
                                                         group = constant(1),
                                                         sigma = constant(2)))
  X <- model.matrix(fit)
  ridge <- function(w) {
    precision <- solve(outer(d$group, d$group, `==`) + diag(4 / w))
    drop(solve(t(X) %*% precision %*% X + diag(100, 2),
               t(X) %*% precision %*% d$y + 100 * 0.5))
  }
  expect_equal(row_influence(fit)$value, coef(fit), tolerance = 1e-8, ignore_attr = TRUE)
  for (row in c(1, 20, 50)) {
    move <- function(size) ridge(replace(rep(1, nrow(d)), row, 1 + size))
    expect_equal(unname(all_gradients(fit)$d_value[row, ]),
                 unname((move(1e-4) - move(-1e-4)) / 2e-4), tolerance = 1e-6)
  }
})

test_that("under vb it is the derivative of the means and of the linear response sds", {
  skip_if_not_installed("numDeriv")
  skip_on_cran()
  d <- vb_data(groups = 7, size = 4)
  fits <- vb_cases(d)[c("intercepts", "slopes", "levels", "weights", "known_se", "linear",
                        "mean_field")]
  step <- 2e-2
  for (name in names(fits)) {
    fit <- fits[[name]]
    influence <- all_gradients(fit)
    problem <- problem_of(fit)
    psi <- psi_of_fit(fit)
    at_weight <- function(row, size) {
      reference_vb_beta(replace(problem, "power", list(replace(problem$power, row, 1 + size))),
                        psi)
    }
    expect_equal(c(influence$value, influence$se), at_weight(1, 0), tolerance = 1e-6,
                 ignore_attr = TRUE)
    # The reference is a difference of numerical derivatives: good to 3e-6 of the largest, under
    # the mean field, where its optimum is flatter, to 2e-5.
    limit <- if (name == "mean_field") 4e-5 else 1e-5
    for (row in if (length(psi) > 4) 20 else c(3, 20)) {
      move <- function(size) at_weight(row, size) - at_weight(row, -size)
      derivative <- (8 * move(step) - move(2 * step)) / (12 * step)
      ours <- c(influence$d_value[row, ], influence$d_se[row, ])
      expect_lt(max(abs(ours - derivative)) / max(abs(derivative)), limit, label = name)
    }
  }
})

test_that("under vb the table is of refits under the same priors, levels lost or not", {
  set.seed(3)
  d <- sim_glmm(groups = 12, size = 6, beta = c(1, 0.15))
  d$arm <- factor(ifelse(d$x == max(d$x), "b", "a"))
  law <- priors(beta = normal(0, 5), sd = half_t(3, 2), sigma = half_t(3, 2))
  for (factorization in c("structured", "mean_field")) {
    fit <- fit_glmm(y ~ x + (1 | group), d, method = "vb", prior = law,
                    factorization = factorization)
    s <- sensitivity(fit, to = "data")
    expect_named(s, c("estimate", "change", "rows", "percent", "refit", "value", "holds"))
    for (i in which(!is.na(s$refit))) {
      removed <- attr(s, "removed")[[i]]
      without <- fit_glmm(y ~ x + (1 | group), d[!rownames(d) %in% removed, ], method = "vb",
                          prior = law, factorization = factorization)
      expect_equal(s$refit[i], coef(without)[[s$estimate[i]]], tolerance = 1e-8)
    }
    sign <- s[s$estimate == "x" & s$change == "sign", ]
    expect_true(sign$holds)
    expect_lt(sign$refit * sign$value, 0)
    expect_lte(sign$rows, 10)
  }
  # The only row of a level of sigma is taken away, and its prior with it.
  levels <- fit_glmm(y ~ x + (1 | group), d, method = "vb", sigma = ~ arm, prior = law)
  without <- drop_rows(levels, which(d$arm == "b"))
  expect_equal(theta_of(without), fit_glmm(y ~ x + (1 | group), d[d$arm == "a", ], method = "vb",
                                       prior = law)$theta,
               tolerance = 1e-8, ignore_attr = TRUE)
  # By removals one at a time, means and linear response sds move as predicted.
  big <- sim_glmm(groups = 12, size = 40)
  fit <- fit_glmm(y ~ x + (x | group), big, method = "vb")
  influence <- all_gradients(fit)
  rows <- seq(1, nrow(big), by = 30)
  moved <- t(vapply(rows, function(i) {
    without <- drop_rows(fit, i)
    c(coef(fit) - coef(without), sqrt(diag(vcov(fit))) - sqrt(diag(vcov(without))))
  }, numeric(4)))
  predicted <- cbind(influence$d_value, influence$d_se)[rows, ]
  for (j in 1:4) expect_gt(cor(moved[, j], predicted[, j]), 0.98)
})

test_that("a variance at zero stays there", {
  fit <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se)
  s <- sensitivity(fit, to = "data")
  expect_identical(nrow(s), 3L)
  # With tau = 0 the estimate is the mean weighed by 1 / se^2: influence w_i r_i / sum(w).
  w <- 1 / microcredit_sites$se^2
  r <- microcredit_sites$estimate - weighted.mean(microcredit_sites$estimate, w)
  expect_equal(unname(all_gradients(fit)$d_value[, 1]), w * r / sum(w), tolerance = 1e-8)
})

test_that("what cannot be answered is refused with a remedy", {
  set.seed(5)
  pairs <- sim_pairs(20, 1)
  joint <- fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint",
                    prior = priors(pair = constant(1)))
  expect_error(sensitivity(joint, to = "data"), "method = \"em\"",
               class = "elbo_error_not_available")
  expect_error(sensitivity(update(joint, method = "em"), to = "data"), "no free fixed effect",
               class = "elbo_error_not_available")
  expect_error(sensitivity(update(joint, method = "em")), "to = \"data\"",
               class = "elbo_error_not_available")
  expect_error(sensitivity(joint, to = "rows"), class = "elbo_error_argument")
  expect_error(sensitivity(joint, to = "data", level = 95), class = "elbo_error_argument")
})

test_that("refits without rows are not judged one by one", {
  set.seed(1)
  d <- data.frame(x = rnorm(30), g = gl(6, 5))
  d$y <- 0.5 * d$x + rnorm(6)[d$g] + rnorm(30)
  stated <- priors(beta = normal(0, 10), sd = half_t(3, 2), sigma = half_t(3, 2))
  fit <- fit_glmm(y ~ x + (1 | g), d, method = "vb", prior = stated)
  expect_null(drop_rows(fit, 1)$convergence$verdict)
  # As the fit of the rows that are left.
  again <- fit_glmm(y ~ x + (1 | g), d[-1, ], method = "vb", prior = stated)
  expect_equal(theta(drop_rows(fit, 1)), theta(again), tolerance = 1e-5)
})
