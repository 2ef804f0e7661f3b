growth <- nlme::Orthodont

test_that("profile intervals are where the likelihood ratio is what it should be", {
  fit <- fit_glmm(distance ~ age + (age | Subject), growth)
  for (name in names(theta(fit))) {
    limits <- confint(fit, name, level = 0.9, type = "profile")
    for (value in limits) {
      lost <- 2 * (objective_of(fit) - refit_held(fit, name, value))
      # uniroot's tolerance is 1e-6 of a standard error. The end of a range may be inside.
      if (value %in% c(-1, 0, 1)) expect_lt(lost, qchisq(0.9, 1), label = name)
      else expect_equal(lost, qchisq(0.9, 1), tolerance = 1e-4, label = name)
    }
  }
})

test_that("profile intervals are lme4's", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(Reaction ~ Days + (Days | Subject), lme4::sleepstudy)
  theirs <- suppressMessages(confint(
    lme4::lmer(Reaction ~ Days + (Days | Subject), lme4::sleepstudy, REML = FALSE),
    oldNames = FALSE, quiet = TRUE))
  ours <- confint(fit, type = "profile")
  rows <- c("(Intercept)", "Days", "sd_(Intercept)|Subject", "sd_Days|Subject",
            "cor_Days.(Intercept)|Subject", "sigma")
  # lme4 interpolates its profile by splines.
  expect_equal(unname(ours), unname(theirs[rows, ]), tolerance = 1e-4)
})

test_that("a correlation of three terms is profiled with its terms moved to the front", {
  fit <- fit_glmm(score ~ Machine + (0 + Machine | Worker), nlme::Machines)
  for (name in grep("^cor__", names(theta(fit)), value = TRUE)) {
    limits <- confint(fit, name, type = "profile")
    expect_true(limits[1] < theta(fit)[name] && theta(fit)[name] < limits[2], label = name)
    inside <- limits[abs(limits) < 1]
    for (value in inside) {
      expect_equal(2 * (objective_of(fit) - refit_held(fit, name, value)), qchisq(0.95, 1),
                   tolerance = 1e-4, label = name)
    }
    # Held at its estimate nothing is lost.
    expect_equal(refit_held(fit, name, theta(fit)[[name]]), objective_of(fit), tolerance = 1e-9)
  }
})

test_that("a correlation of three terms is profiled over all else, by dense likelihoods", {
  fit <- fit_glmm(score ~ Machine + (0 + Machine | Worker), nlme::Machines)
  design <- design_of(fit)
  same <- outer(the_group(design), the_group(design), "==")
  deviance <- function(Sigma, sigma) {
    V <- sigma^2 * diag(nrow(design$X)) + design$Z %*% Sigma %*% t(design$Z) * same
    root <- tryCatch(chol(V), error = function(e) NULL) # a step too far
    if (is.null(root)) return(1e6)
    r <- qr.resid(qr(backsolve(root, design$X, transpose = TRUE)),
                  backsolve(root, design$y, transpose = TRUE))
    length(r) * log(2 * pi) + 2 * sum(log(diag(root))) + sum(r^2)
  }
  # The others by sds, a correlation and a partial one.
  held <- function(r) function(x) {
    R <- diag(3)
    R[1, 2] <- r
    R[1, 3] <- tanh(x[4])
    R[2, 3] <- r * R[1, 3] + tanh(x[5]) * sqrt((1 - r^2) * (1 - R[1, 3]^2))
    R[lower.tri(R)] <- t(R)[lower.tri(R)]
    deviance(R * outer(exp(x[1:3]), exp(x[1:3])), exp(x[6]))
  }
  limits <- confint(fit, "cor__MachineA.MachineB|Worker", type = "profile")
  expect_true(all(abs(limits) < 0.97))
  for (r in limits) {
    best <- stats::optim(c(log(c(3.7, 7.9, 4)), 0.7, 0.1, 0), held(r), method = "BFGS",
                         control = list(maxit = 1000, reltol = 1e-14))
    expect_equal(best$value + 2 * objective_of(fit), qchisq(0.95, 1), tolerance = 1e-6)
  }
})

test_that("Newton's search ends where refits with the parameter held do", {
  set.seed(5)
  d <- sim_glmm(groups = 40, size = 6, sd = c(1, 0.7))
  d$w <- runif(nrow(d), 0.3, 2)
  d$half <- factor(rep(1:2, length.out = nrow(d)))
  fits <- list(fit_glmm(y ~ x + (x | group), d, weights = w),
               fit_glmm(y ~ x + (x || group), d, sigma = ~ half, method = "reml"),
               fit_glmm(y ~ x + (1 | group), d, prior = priors(x = normal(1, 0.3))))
  for (fit in fits) {
    parm <- setdiff(names(theta(fit)), if (method_of(fit) == "reml") names(coef(fit)))
    ends <- profile_ends(fit, parm, objective_of(fit) - qchisq(0.95, 1) / 2)
    expect_false(anyNA(ends))
    for (i in seq_along(parm)) {
      expect_equal(ends[, i], profile_limits(fit, parm[i], 0.95), tolerance = 1e-5)
    }
  }
  skip_if_not_installed("lme4")
  # On the boundary it does not take a saddle for an end.
  flat <- fit_glmm(Yield ~ 1 + (1 | Batch), lme4::Dyestuff2)
  ends <- profile_ends(flat, "(Intercept)", objective_of(flat) - qchisq(0.95, 1) / 2)
  found <- !is.na(ends)
  expect_equal(ends[found], profile_limits(flat, "(Intercept)", 0.95)[found], tolerance = 1e-5)
})

test_that("Wald intervals stay in the range of their parameter", {
  fit <- fit_glmm(distance ~ age + (age | Subject), growth)
  limits <- confint(fit)
  expect_true(all(limits[3:4, ] > 0) && all(abs(limits[5, ]) < 1))
  se <- sqrt(diag(vcov(fit, full = TRUE)))
  expect_equal(unname(limits[1, ]),
               theta(fit)[[1]] + c(-1, 1) * qt(0.975, fit_df(fit)[1]) * se[[1]])
  expect_equal(unname(log(limits["sigma", ])),
               log(sigma(fit)) + c(-1, 1) * qnorm(0.975) * se[["sigma"]] / sigma(fit))
  expect_equal(colnames(confint(fit, level = 0.9)), c("5 %", "95 %"))
})

test_that("on the boundary Wald has no answer, profile and bootstrap have", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(Yield ~ 1 + (1 | Batch), lme4::Dyestuff2)
  sd <- "sd__(Intercept)|Batch"
  expect_true(all(is.na(confint(fit, sd))))
  limits <- confint(fit, sd, type = "profile")
  expect_identical(limits[[1]], 0)
  expect_gt(limits[[2]], 0)
  expect_identical(confint(fit, sd, type = "bootstrap", nsim = 200, seed = 1)[[1]], 0)
})

test_that("a reml fit is profiled by its own likelihood, its coefficients have t intervals", {
  local_data <- growth
  fit <- local({
    inner <- local_data
    fit_glmm(distance ~ age + (1 | Subject), inner, method = "reml")
  })
  em <- fit_glmm(distance ~ age + (1 | Subject), growth)
  expect_equal(confint(fit, "age", type = "profile"), confint(fit, "age"))
  limits <- confint(fit, "sigma", type = "profile")
  for (value in limits) {
    expect_equal(2 * (objective_of(fit) - refit_held(fit, "sigma", value)), qchisq(0.95, 1),
                 tolerance = 1e-4)
  }
  expect_false(isTRUE(all.equal(limits, confint(em, "sigma", type = "profile"), tolerance = 1e-3)))
})

test_that("an interval contains its estimate, or says that it does not", {
  # Seven sites of very different precision: the marginal likelihood puts the mean at -.3, the
  # restricted one at 5.1, which the profile of the former, -1.0 to 1.2, does not contain.
  reml <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se, method = "reml")
  expect_silent(limits <- confint(reml, type = "profile"))
  expect_true(all(limits[, 1] <= theta(reml) & theta(reml) <= limits[, 2]))
  em <- update(reml, method = "em")
  expect_warning(limits <- confint(em, type = "bootstrap", nsim = 50, seed = 1),
                 class = "elbo_warning_interval", regexp = "has no width")
  expect_identical(unname(limits[2, ]), c(0, 0))
  shown <- capture.output(print(bootstrap(em, nsim = 20, seed = 1)))
  expect_match(paste(shown, collapse = " "), "On the boundary of its range in the fit: `?sd__")
  above <- matrix(1:2, 1, dimnames = list("a", NULL))
  expect_warning(warn_intervals(above, c(a = 3), "bootstrap"), class = "elbo_warning_interval",
                 regexp = "does not contain")
})

test_that("unknown parameters and levels are refused", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), growth)
  expect_error(confint(fit, "weight"), class = "elbo_error_argument")
  expect_error(confint(fit, level = 95), class = "elbo_error_argument")
})

test_that("priors move with the terms when a correlation is profiled", {
  scales <- priors(`sd__MachineA|Worker` = half_t(3, 2), `sd__MachineB|Worker` = half_normal(5),
                   `sd__MachineC|Worker` = inverse_gamma(2, 3))
  fit <- fit_glmm(score ~ Machine + (0 + Machine | Worker), nlme::Machines, prior = scales)
  for (name in grep("^cor__", names(theta(fit)), value = TRUE)) {
    expect_equal(refit_held(fit, name, theta(fit)[[name]]), objective_of(fit), tolerance = 1e-9)
  }
})

test_that("a profile that cannot be followed is NA with the reason, not a search without ends", {
  # Twelve rows in eight groups, four coefficients: sigma can go to zero, and a ridge of sds does
  # alike.
  set.seed(16)
  sizes <- c(sample(4, 1), sample(3, 1)) # so that the draws are those of this case
  n <- c(12, 24, 40, 60)[sizes[1]]
  m <- c(4, 6, 8)[sizes[2]]
  d <- data.frame(x = runif(n), g = sort(rep_len(1:m, n)))
  d$y <- d$x + rnorm(m)[d$g] + rnorm(n)
  expect_warning(fit <- fit_glmm(y ~ splines::bs(x) + (x | g), d, method = "reml"), "say nothing")
  expect_warning(limits <- suppressWarnings(confint(fit, "sd__x|g", type = "profile"),
                                            classes = "no_such"), class = "elbo_warning_interval")
  expect_true(all(is.na(limits) | limits >= 0))
})

test_that("a correlation of minus one that the data insist on has limits where it is", {
  # x has mean 1e8 and sd 1: intercept and slope vary in proportion, to more digits than doubles
  # have.
  set.seed(1)
  d <- data.frame(x = 1e8 + rnorm(200), g = gl(10, 20))
  d$y <- 3 * rnorm(10)[d$g] * (d$x - 1e8) + 0.3 * rnorm(200)
  fit <- fit_glmm(y ~ x + (x | g), d)
  expect_lt(theta(fit)[["cor__(Intercept).x|g"]], -1 + 1e-9)
  expect_warning(limits <- confint(fit, "cor__(Intercept).x|g", type = "profile"), "Centre")
  expect_equal(as.vector(limits), c(-1, -1))
})

test_that("a profile that is not finite between two that are has no limit there", {
  expect_equal(profile_limit(function(x) x^2 - 3, 0, 1, Inf), sqrt(3), tolerance = 1e-6)
  gap <- function(x) if (x > 1.2 && x < 1.9) NaN else x^2 - 3
  expect_identical(profile_limit(gap, 0, 1, Inf), NA_real_)
  expect_identical(profile_limit(function(x) if (x > 0.5) -Inf else -1, 0, 1, Inf), NA_real_)
})
