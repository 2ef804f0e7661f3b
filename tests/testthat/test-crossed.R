# Several grouping factors against the same sums with V in full, and against lme4.

expect_dense <- function(fit) {
  expect_equal(log_evidence_of(fit), dense_log_likelihood(fit), tolerance = 1e-9)
  parts <- dense_parts(fit)
  W <- solve(parts$V)
  C <- solve(t(parts$X) %*% W %*% parts$X)
  expect_equal(unname(vcov(fit)), unname(C), tolerance = 1e-9, ignore_attr = TRUE)
  expect_equal(unname(coef(fit)), drop(C %*% t(parts$X) %*% W %*% parts$y), tolerance = 1e-9,
               ignore_attr = TRUE)
  # E[u | y] = Sigma Z'W r and Sigma - Sigma Z'W Z Sigma, level by level.
  r <- parts$y - parts$X %*% coef(fit)
  law <- latent_law(fit)
  for (part in latent_parts(fit)) {
    k <- part$columns
    for (g in c(1, nlevels(part$group))) {
      Z <- design_of(fit)$Z[, k, drop = FALSE] * (as.integer(part$group) == g)
      expect_equal(unname(part$mean[g, ]), drop(law[k, k] %*% t(Z) %*% W %*% r), tolerance = 1e-9)
      cov <- law[k, k] - law[k, k] %*% t(Z) %*% W %*% Z %*% law[k, k]
      expect_equal(matrix(part$cov[, , g], length(k)), cov, tolerance = 1e-9, ignore_attr = TRUE)
    }
  }
}

# Inverse of minus the Hessian of the log-likelihood by the variance parameters, by differences.
dense_covariance <- function(fit, h = 1e-3) {
  scales <- which(parameters_of(fit)$block != "beta")
  at <- theta_of(fit)
  f <- function(step) {
    theta <- at
    theta[scales] <- theta[scales] + step
    dense_log_likelihood(fit, theta)
  }
  k <- length(scales)
  H <- matrix(0, k, k)
  unit <- function(i) h * (seq_len(k) == i)
  second <- function(i, j) {
    # fourth order: errors of h^4 and of 1e-13 |log-likelihood| / h^2
    four <- function(h) {
      a <- h * unit(i)
      b <- h * unit(j)
      (f(a + b) - f(a - b) - f(b - a) + f(-a - b)) / (2 * h * 1e-3)^2
    }
    (4 * four(1) - four(2)) / 3
  }
  for (i in seq_len(k)) for (j in seq_len(i)) H[i, j] <- H[j, i] <- second(i, j)
  solve(-H)
}

test_that("fits agree with V in full, with two to four factors, slopes and weights", {
  formulas <- list(
    y ~ x + (1 | a) + (1 | b),
    y ~ x + (x | a) + (1 | b) + (1 | c),
    y ~ x + (x || a) + (x | b),
    y ~ x + (1 | a) + (1 | b) + (1 | c) + (1 | d),
    y ~ x + (1 | a) + (0 + x | a) + (1 | a:b)
  )
  for (i in seq_along(formulas)) {
    for (method in c("em", "reml")) {
      fit <- suppressWarnings(fit_glmm(formulas[[i]], crossed_data(i), method = method,
                                       weights = w))
      expect_dense(fit)
      expect_lt(convergence_of(fit)$gradient, 1e-6)
    }
  }
})

test_that("standard errors of variances are those of differences of the log-likelihood", {
  d <- crossed_data(11, 300)
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (x | a) + (1 | b), d, method = method)
    free <- parameters_of(fit)$name[parameters_of(fit)$block != "beta"]
    ours <- vcov(fit, full = TRUE)[free, free]
    expect_equal(unname(ours), dense_covariance(fit), tolerance = 1e-5) # rounding of differences
  }
})

test_that("a second factor held at next to nothing leaves the fit of the first", {
  # 1e-7^2 m / sigma^2 of the log-likelihood, 1e-13, is what it adds
  d <- crossed_data(21)
  law <- priors(b = constant(1e-7))
  for (method in c("em", "reml")) {
    one <- fit_glmm(y ~ x + (x | a), d, method = method)
    two <- fit_glmm(y ~ x + (x | a) + (1 | b), d, method = method, prior = law)
    expect_equal(log_evidence_of(two), log_evidence_of(one), tolerance = 1e-10)
    expect_equal(theta(two)[names(theta(one))], theta(one), tolerance = 1e-7, ignore_attr = TRUE)
    expect_equal(vcov(two), vcov(one), tolerance = 1e-7)
    expect_equal(moments_of(two)$parts$a$mean, moments_of(one)$mean, tolerance = 1e-7)
    expect_equal(moments_of(two)$parts$a$cov, moments_of(one)$cov, tolerance = 1e-7)
    expect_equal(fixef(two), fixef(one), tolerance = 1e-7)
    expect_equal(fit_df(two), fit_df(one), tolerance = 1e-5)
  }
})

test_that("a variance of zero is found exactly, and the rest is the fit without it", {
  d <- data.frame(y = c(1, 3, 2, 4, 5, 4, 7, 9, 6, 8, 9, 10), a = gl(4, 3), b = gl(3, 1, 12))
  d$y <- d$y - ave(d$y, d$b) # nothing between the levels of b
  with_b <- fit_glmm(y ~ 1 + (1 | a) + (1 | b), d)
  without <- fit_glmm(y ~ 1 + (1 | a), d)
  expect_identical(theta(with_b)[["sd__(Intercept)|b"]], 0)
  expect_equal(log_evidence_of(with_b), log_evidence_of(without), tolerance = 1e-12)
  expect_match(capture.output(print(with_b)), "on the boundary", all = FALSE)
})

test_that("two threads give the same bits", {
  d <- crossed_data(31, 2000, c(200, 60))
  one <- fit_glmm(y ~ x + (1 | a) + (1 | b), d)
  two <- update(one, control = elbo_control(threads = 2))
  expect_identical(theta(two), theta(one))
  expect_identical(moments_of(two), moments_of(one))
})

test_that("held coefficients and columns that say nothing are left out", {
  d <- crossed_data(41)
  d$twice <- 2 * d$x
  fit <- fit_glmm(y ~ x + (1 | a) + (1 | b), d)
  expect_message(dropped <- fit_glmm(y ~ x + twice + (1 | a) + (1 | b), d), "twice")
  expect_equal(log_evidence_of(dropped), log_evidence_of(fit), tolerance = 1e-12)
  held <- fit_glmm(y ~ x + (1 | a) + (1 | b), d, prior = priors(x = constant(1)))
  beside <- fit_glmm(y ~ 1 + offset(x) + (1 | a) + (1 | b), d)
  expect_equal(log_evidence_of(held), log_evidence_of(beside), tolerance = 1e-10)
})

# ---- lme4 --------------------------------------------------------------------------------

# Never below lmer by more than 1e-7; its own optimiser stops up to 2e-5 short.
expect_as_lmer <- function(formula, data, REML, tolerance = 1e-4) {
  ours <- fit_glmm(formula, data, method = if (REML) "reml" else "em")
  theirs <- suppressMessages(lme4::lmer(formula, data, REML = REML))
  gain <- log_evidence_of(ours) - as.numeric(logLik(theirs))
  expect_gt(gain, -1e-7)
  expect_lt(gain, 1e-3)
  expect_equal(fixef(ours), lme4::fixef(theirs), tolerance = tolerance, ignore_attr = TRUE)
  table <- as.data.frame(lme4::VarCorr(theirs))
  expect_equal(sort(as.data.frame(VarCorr(ours))$sdcor), sort(table$sdcor),
               tolerance = 100 * tolerance)
  expect_equal(fitted(ours), fitted(theirs), tolerance = tolerance, ignore_attr = TRUE)
  list(ours = ours, theirs = theirs)
}

test_that("Penicillin, Pastes and Machines are fitted as by lmer", {
  skip_if_not_installed("lme4")
  for (REML in c(FALSE, TRUE)) {
    expect_as_lmer(diameter ~ 1 + (1 | plate) + (1 | sample), lme4::Penicillin, REML)
    expect_as_lmer(strength ~ 1 + (1 | batch / cask), lme4::Pastes, REML)
    expect_as_lmer(score ~ Machine + (1 | Worker) + (1 | Worker:Machine), nlme::Machines, REML)
  }
})

test_that("InstEval is at the tight optimum, with two factors and three", {
  skip_on_cran()
  skip_if_not_installed("lme4")
  # Optimum by a trial in plain R with a dense Schur complement.
  fit <- fit_glmm(y ~ service + (1 | s) + (1 | d), lme4::InstEval)
  expect_equal(log_evidence_of(fit), -118865.30768, tolerance = 1e-5 / 118865)
  scales <- theta_of(fit)[parameters_of(fit)$block != "beta"]
  expect_equal(unname(scales), c(.3250206, .5207849, 1.1775390), tolerance = 1e-7)
  three <- fit_glmm(y ~ service + (1 | s) + (1 | d) + (1 | dept:service), lme4::InstEval)
  lmer <- lme4::lmer(y ~ service + (1 | s) + (1 | d) + (1 | dept:service), lme4::InstEval,
                     REML = FALSE)
  expect_gt(log_evidence_of(three) - as.numeric(logLik(lmer)), -1e-7)
  expect_lt(log_evidence_of(three) - as.numeric(logLik(lmer)), 1e-3)
})

test_that("predictions take any subset of the terms, and new levels", {
  skip_if_not_installed("lme4")
  d <- crossed_data(51)
  pair <- expect_as_lmer(y ~ x + (x | a) + (1 | b), d, TRUE, 1e-3)
  forms <- list(NULL, NA, ~ (1 | b), ~ (x | a), ~ (0 + x | a), ~ (1 | a) + (1 | b))
  for (form in forms) {
    expect_equal(predict(pair$ours, re.form = form), predict(pair$theirs, re.form = form),
                 tolerance = 1e-3, ignore_attr = TRUE)
  }
  new <- data.frame(x = c(0, 1), a = c("1", "new"), b = c("2", "3"))
  expect_equal(predict(pair$ours, new, allow.new.levels = TRUE),
               predict(pair$theirs, new, allow.new.levels = TRUE), tolerance = 1e-3,
               ignore_attr = TRUE)
  expect_equal(predict(pair$ours, new["x"], re.form = NA),
               predict(pair$theirs, new["x"], re.form = NA), tolerance = 1e-3, ignore_attr = TRUE)
  # The factor of a term that is left out is not asked for.
  expect_equal(predict(pair$ours, new[c("x", "b")], re.form = ~ (1 | b)),
               predict(pair$ours, new, re.form = ~ (1 | b)))
  expect_error(predict(pair$ours, new), "new", class = "elbo_error_new_levels")
  expect_error(predict(pair$ours, re.form = ~ (1 | c)), "no random term",
               class = "elbo_error_argument")
})

test_that("one factor takes a subset of its terms too", {
  fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
  part <- predict(fit, re.form = ~ (1 | Subject))
  expect_equal(part, predict(fit, re.form = NA) +
                 moments_of(fit)$mean[as.character(nlme::Orthodont$Subject), "(Intercept)"],
               ignore_attr = TRUE)
})

test_that("latent variables are told by factor, and simulations have their variance", {
  fit <- fit_glmm(y ~ x + (x | a) + (1 | b), crossed_data(61), method = "reml")
  table <- latent(fit)
  expect_identical(unique(table$group), c("a", "b"))
  expect_identical(nrow(table), 2L * 12L + 8L)
  expect_identical(names(ranef(fit)), c("a", "b"))
  expect_equal(as.data.frame(ranef(fit))$condval[25:32], moments_of(fit)$parts$b$mean[, 1],
               ignore_attr = TRUE)
  draws <- as.matrix(simulate(fit, 4000, seed = 1))
  V <- dense_parts(fit)$V
  # a variance of 4,000 draws is off by 2.2 % of itself: 5 standard errors
  expect_lt(max(abs(apply(draws, 1, var) / diag(V) - 1)), 0.12)
  rows <- which(outer(design_of(fit)$groups$b, design_of(fit)$groups$b, `==`)[1, ])[2]
  expect_lt(abs(cov(draws[1, ], draws[rows, ]) - V[1, rows]), 5 * sqrt(2 / 4000) * V[1, 1])
})

test_that("profile, bootstrap and refits answer", {
  fit <- fit_glmm(score ~ Machine + (1 | Worker / Machine), nlme::Machines, method = "reml")
  sd <- "sd__(Intercept)|Worker:Machine"
  profile <- confint(fit, sd, type = "profile")
  # the ends are where twice the log-likelihood has fallen by the quantile of chi-square
  ends <- vapply(profile, function(x) refit_held(fit, sd, x), 0)
  expect_equal(2 * (objective_of(fit) - ends), rep(qchisq(0.95, 1), 2), tolerance = 1e-4)
  again <- bootstrap(fit, 10, seed = 1)
  expect_identical(again$failed, 0L)
  expect_identical(bootstrap(fit, 10, seed = 1)$theta, again$theta)
  simulated <- transform(nlme::Machines, score = simulate(fit, seed = 2)[[1]])
  refit <- update(fit, data = simulated)
  expect_equal(refit_response(fit, as.matrix(simulate(fit, seed = 2)))[, "objective"],
               objective_of(refit), tolerance = 1e-9, ignore_attr = TRUE)
})

test_that("points on latent variables with a free sd have no bound", {
  fit <- fit_glmm(y ~ x + (1 | a) + (1 | b), crossed_data(71))
  expect_error(update(fit, method = "joint"), class = "elbo_error_unbounded")
})

# ---- without a law -------------------------------------------------------------------------------

# log p(y) with the levels of `a` integrated by Lebesgue measure, as restricted likelihood does with
# coefficients, and those of x by reml too.
lawless_log_likelihood <- function(fit) {
  d <- frame_of(fit)
  b <- outer(d$b, d$b, `==`)
  V <- theta(fit)[["sd__(Intercept)|b"]]^2 * b + diag(theta(fit)[["sigma"]]^2, nrow(d))
  W <- solve(V)
  log_det <- function(M) as.numeric(determinant(M)$modulus)
  Z <- model.matrix(~ 0 + a, d)
  A <- crossprod(Z, W %*% Z)
  P <- W - W %*% Z %*% solve(A, t(Z) %*% W)
  B <- crossprod(d$x, P %*% d$x)
  r <- d$y - d$x * drop(crossprod(d$x, P %*% d$y) / B)
  reml <- method_of(fit) == "reml"
  -0.5 * (log_det(V) + log_det(A) + drop(crossprod(r, P %*% r)) +
            (nrow(d) - ncol(Z) - reml) * log(2 * pi) + if (reml) log_det(B) else 0)
}

test_that("latent variables of one of several factors may have no law", {
  d <- crossed_data(72)
  d$u <- d$x - ave(d$x, d$a)
  for (method in c("em", "reml")) {
    fit <- suppressMessages(fit_glmm(y ~ x + (1 | a) + (1 | b), d, method = method,
                                     prior = priors(a = constant(Inf))))
    expect_identical(design_of(fit)$aliased, "(Intercept)")
    expect_equal(log_evidence_of(fit), lawless_log_likelihood(fit), tolerance = 1e-10)
    beside <- fit
    for (name in c("sd__(Intercept)|b", "sigma")) for (by in c(0.99, 1.01)) {
      beside$theta <- theta(fit)
      beside$theta[[name]] <- by * theta_of(beside)[[name]]
      expect_lt(lawless_log_likelihood(beside), log_evidence_of(fit))
    }
  }
  # By reml they are fixed effects, whose coefficients the restricted likelihood integrates too, and
  # so they are predicted.
  fixed <- fit_glmm(y ~ 0 + a + x + (1 | b), d, method = "reml")
  expect_equal(log_evidence_of(fit), log_evidence_of(fixed), tolerance = 1e-10)
  expect_equal(coef(fit)[["x"]], coef(fixed)[["x"]], tolerance = 1e-8)
  levels <- latent(fit)[latent(fit)$group == "a", ]
  expect_equal(levels$mean, unname(coef(fixed)[1:12]), tolerance = 1e-7)
  expect_equal(levels$sd, unname(sqrt(diag(vcov(fixed)))[1:12]), tolerance = 1e-7)
  given <- priors(a = constant(Inf), b = constant(0.7), sigma = constant(1.1))
  both <- list(suppressMessages(update(fit, prior = given)),
               update(fixed, prior = priors(b = constant(0.7), sigma = constant(1.1))))
  both <- lapply(both, predict, newdata = d[1:9, ], se.fit = TRUE)
  expect_equal(both[[1]][1:2], both[[2]][1:2], tolerance = 1e-8)
  new <- predict(fit, transform(d[1:2, ], a = "new"), allow.new.levels = TRUE, se.fit = TRUE)
  expect_identical(unname(new$se.fit), c(Inf, Inf))
  points <- suppressMessages(update(fit, method = "joint",
                                    prior = priors(a = constant(Inf), b = constant(1))))
  expect_lt(convergence_of(points)$gradient, 1e-8)
})

test_that("where nothing would be left without a law, the fit is refused with the reason", {
  d <- crossed_data(73)
  d$region <- factor(as.integer(d$a) %% 3)
  expect_error(fit_glmm(y ~ x + (1 | a) + (1 | b), d,
                        prior = priors(a = constant(Inf), b = constant(Inf))),
               "all but one factor", class = "elbo_error_unbounded")
  expect_error(fit_glmm(y ~ x + (1 | a) + (1 | region), d, prior = priors(a = constant(Inf))),
               "Nothing is left of the data for `sd__(Intercept)|region`", fixed = TRUE,
               class = "elbo_error_formula")
  outer <- suppressMessages(fit_glmm(y ~ x + (1 | a) + (1 | region), d,
                                     prior = priors(region = constant(Inf))))
  expect_identical(convergence(outer)$status, "converged")
  expect_error(bootstrap(outer, 2), "those of `region` have no law", class = "elbo_error_simulate")
  skip_if_not_installed("loo")
  vb <- suppressMessages(update(outer, method = "vb"))
  expect_error(loo::loo(vb, unit = ~ region), "no law", class = "elbo_error_argument")
})

test_that("lme4's pieces of several factors are lmer's", {
  skip_if_not_installed("lme4")
  formula <- diameter ~ 1 + (1 | plate) + (1 | sample)
  reference <- lme4::lmer(formula, lme4::Penicillin, REML = FALSE)
  fit <- fit_glmm(formula, lme4::Penicillin, method = "em")
  for (name in c("Zt", "Lambda", "Lind", "Gp", "theta", "lower", "cnms", "l_i", "p_i", "q_i", "q",
                 "b", "u", "RX")) {
    expect_equal(as.vector(unlist(as.list(lme4::getME(fit, name)))),
                 as.vector(unlist(as.list(lme4::getME(reference, name)))), tolerance = 1e-3,
                 info = name)
  }
  expect_equal(names(lme4::getME(fit, "theta")), names(lme4::getME(reference, "theta")))
  expect_equal(lme4::getME(fit, "flist"), lme4::getME(reference, "flist"), ignore_attr = TRUE)
  expect_identical(attr(lme4::getME(fit, "flist"), "assign"), 1:2)
  expect_false(lme4::isSingular(fit))
  # y = X beta + Z b + e, of slopes too
  slopes <- fit_glmm(y ~ x + diag(x | a) + (x | b) + (1 | c), crossed_data(72))
  Z <- as.matrix(lme4::getME(slopes, "Z"))
  b <- as.vector(lme4::getME(slopes, "b"))
  expect_equal(drop(model.matrix(slopes) %*% coef(slopes) + Z %*% b), fitted(slopes),
               ignore_attr = TRUE, tolerance = 1e-10)
  Lambda <- as.matrix(lme4::getME(slopes, "Lambda"))
  expect_equal(drop(Lambda %*% lme4::getME(slopes, "u")), b, tolerance = 1e-6)
  expect_identical(names(lme4::rePCA(slopes)), c("a", "b", "c"))
})

test_that("other packages are told the variances of each factor", {
  skip_if_not_installed("insight")
  fit <- fit_glmm(y ~ x + diag(x | a) + (x | b), crossed_data(73))
  parts <- insight::get_variance(fit)
  laws <- VarCorr(fit)
  expect_equal(parts$var.intercept, c(a = laws[[1]][1], b = laws[[3]][1, 1]))
  expect_equal(parts$var.slope, c(a.x = laws[[2]][1], b.x = laws[[3]][2, 2]))
  expect_equal(parts$cor.slope_intercept, c(b = attr(laws[[3]], "correlation")[1, 2]))
  if (requireNamespace("performance", quietly = TRUE)) {
    Z <- design_of(fit)$Z
    random <- mean(rowSums(Z %*% as.matrix(Matrix::bdiag(lapply(laws, unclass))) * Z))
    found <- performance::icc(fit)$ICC_adjusted
    expect_equal(found, random / (random + sigma(fit)^2), tolerance = 1e-6)
    expect_identical(performance::check_singularity(fit), any(parameters_of(fit)$boundary))
  }
})

test_that("what needs a posterior advises one", {
  fit <- fit_glmm(y ~ x + (1 | a) + (1 | b), crossed_data(74))
  for (ask in list(quote(posterior::as_draws(fit)), quote(rstantools::posterior_predict(fit)))) {
    if (!requireNamespace(as.character(ask[[1]][[2]]), quietly = TRUE)) next
    expect_error(eval(ask), "update(fit, method = \"vb\")", fixed = TRUE,
                 class = "elbo_error_method")
  }
})

# ---- statistics --------------------------------------------------------------------------------

test_that("each level of sigma has its own variance, beside V in full", {
  d <- crossed_data(71, 240)
  d$h <- factor(sample(c("u", "v", "w"), 240, TRUE, c(0.5, 0.3, 0.2)))
  d$y <- d$y + rnorm(240) * c(0, 0.8, 1.5)[d$h]
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (x | a) + (1 | b), d, method = method, weights = w, sigma = ~ h)
    expect_identical(names(sigma(fit)), c("u", "v", "w"))
    expect_dense(fit)
    expect_lt(convergence_of(fit)$gradient, 1e-6)
    free <- parameters_of(fit)$name[parameters_of(fit)$block != "beta"]
    expect_equal(unname(vcov(fit, full = TRUE)[free, free]), dense_covariance(fit),
                 tolerance = 1e-5) # rounding of differences
  }
  # levels of a factor that is crossed with, too
  own <- fit_glmm(y ~ x + (1 | a) + (1 | b), d, weights = w, sigma = ~ c)
  expect_dense(own)
})

test_that("statistics of chunks add up, and merge, to those of all rows", {
  d <- crossed_data(72, 180)
  fit <- fit_glmm(y ~ x + (x | a) + (1 | b) + (1 | c), d, weights = w, sigma = ~ d)
  rows <- crossed_rows(design_of(fit), elbo_control())
  chunk <- function(i) {
    rows[c("X", "Z")] <- lapply(rows[c("X", "Z")], function(x) x[i, , drop = FALSE])
    parts <- c("y", "weight", "level")
    rows[parts] <- lapply(rows[parts], `[`, i)
    rows$groups <- lapply(rows$groups, `[`, i)
    rows
  }
  chunks <- lapply(list(1:50, 51:120, 121:180), chunk)
  survey <- Reduce(function(a, b) .Call(C_glmm_survey_merge, a, b),
                   lapply(chunks, function(x) .Call(C_glmm_survey, x)))
  shape <- list(p = 2L, q = 4L, n_level = rows$n_level, n_smooth = 0L, first = rows$first,
                n_unit = rows$n_unit)
  empty <- .Call(C_glmm_stats_open, survey, shape)
  added <- Reduce(function(stats, x) .Call(C_glmm_stats_add, stats, x), chunks, empty)
  merged <- Reduce(function(a, b) .Call(C_glmm_stats_merge, a, b),
                   lapply(chunks, function(x) .Call(C_glmm_stats_add, empty, x)))
  expect_equal(added, stats_of(fit), tolerance = 1e-13)
  expect_equal(merged, stats_of(fit), tolerance = 1e-13)
  expect_error(.Call(C_glmm_stats_add, stats_of(fit)[-1], rows), "no statistics")
})

test_that("little is lost where X explains nearly all of the response", {
  d <- crossed_data(73)
  near <- fit_glmm(y ~ x + (x | a) + (1 | b), d)
  d$far <- 1e7 * d$x + d$y + 1e8
  far <- fit_glmm(far ~ x + (x | a) + (1 | b), d)
  # the response has 16 digits, of which 8 are spent on 1e8
  expect_equal(log_evidence_of(far), log_evidence_of(near), tolerance = 1e-8)
  expect_equal(theta(far)[-(1:2)], theta(near)[-(1:2)], tolerance = 1e-5, ignore_attr = TRUE)
})

test_that("what a large fit takes is known before it starts, and refused without the memory", {
  set.seed(75)
  d <- data.frame(y = rnorm(9000), a = factor(sample(6000, 9000, TRUE)),
                  b = factor(sample(6000, 9000, TRUE)), x = factor(sample(1500, 9000, TRUE)))
  call <- quote(fit_glmm(formula = y ~ 1 + (1 | a) + (1 | b) + (1 | x), data = d))
  design <- glmm_frame(call, environment())$design
  law <- glmm_law(design, glmm_constants(NULL, design), "em")
  model <- c(law, list(stats = glmm_stats(design, law, elbo_control())))
  error <- expect_error(check_cost(design, model, memory = 1e6), "`a`, `b` and `x`",
                        class = "elbo_error_memory")
  expect_gt(error$bytes, 1e6)
  expect_gt(error$seconds, 0)
})

test_that("a fit far below the standard errors of its response prints", {
  # The scores of the variances have no size there: no degrees of freedom, and no error.
  d <- data.frame(y = c(1.1e-47, 2.3e-47), g = c("a", "b"), h = c("p", "q"), s = c(1, 0.6))
  fit <- fit_glmm(y ~ 1 + (1 | g) + (1 | h), d, se = s)
  expect_output(print(fit), "standard errors.*known")
  expect_true(all(is.finite(confint(fit, parm = 1)) | is.na(confint(fit, parm = 1))))
})
