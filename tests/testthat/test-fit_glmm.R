# fit_glmm() against dense matrices and numerical derivatives (helper-reference-lmm.R), over
# the grammar of random terms, residual variances, constants and methods.

# ---- data ------------------------------------------------------------------------------------

# Unbalanced groups, two of one row; rows in no order; groups named by numbers, words and a
# factor with a level that does not occur.
grid_data <- function(seed = 2, m = 12) {
  set.seed(seed)
  size <- c(1, 1, rep_len(2:7, m - 2))
  d <- data.frame(g = rep(seq_len(m), size))
  n <- nrow(d)
  d$x <- round(stats::rnorm(n, 2, 1.5), 3)
  d$z <- round(stats::runif(n, -1, 1), 3)
  d$h <- factor(sample(rep_len(c("u", "v"), n)))
  d$b <- factor(c("p", "q")[1 + d$g %% 2])
  d$w <- round(stats::runif(n, 0.3, 3), 2)
  d$o <- round(stats::rnorm(n), 2)
  d$s <- round(stats::runif(n, 0.5, 1.5), 2)
  u <- matrix(stats::rnorm(3 * m), m) %*% matrix(c(1.2, 0.5, 0.3, 0, 1, 0.4, 0, 0, 1.6), 3)
  d$y <- round(1 + d$x + u[d$g, 1] + u[d$g, 2] * d$x + u[d$g, 3] * d$z + (d$h == "v") * 0.5 +
                 stats::rnorm(n) * c(0.6, 1)[d$b], 4)
  d$word <- paste0("site", 100 - d$g)
  d$f <- factor(d$word, levels = c(sort(unique(d$word), decreasing = TRUE), "unused"))
  d[sample(n), ]
}

# One sd of one term, whatever its group is called.
one_sd <- function(term, value) {
  do.call(priors, stats::setNames(list(call("constant", value)), sprintf("sd__%s|g", term)))
}

# Every case is fitted by em and reml, and by joint where its objective has a bound.
grid_cases <- alist(
  "least squares" = fit_glmm(y ~ x + h, d, method = M),
  "least squares, sigma by level" =
    fit_glmm(y ~ x + h, d, sigma = ~ b, weights = w, method = M),
  "intercept" = fit_glmm(y ~ x + (1 | g), d, method = M),
  "intercept, words, weights, offset" =
    fit_glmm(y ~ x + h + (1 | word), d, weights = w, offset = o, method = M),
  "slope, factor" = fit_glmm(y ~ x + (x | f), d, method = M),
  "independent slope" = fit_glmm(y ~ x + (x || g), d, method = M),
  "slope alone" = fit_glmm(y ~ 0 + x + (0 + x | g), d, weights = w, method = M),
  "factor slope" = fit_glmm(y ~ x + (h | g), d, method = M),
  "factor alone, sigma within" =
    fit_glmm(y ~ x + (0 + h | g), d, sigma = ~ h, method = M),
  "three terms" = fit_glmm(y ~ x + z + (x + z | g), d, method = M),
  "three independent terms" = fit_glmm(y ~ x + z + (x + z || g), d, offset = o, method = M),
  "two blocks" = fit_glmm(y ~ x + z + (1 | g) + (0 + x + z | g), d, method = M),
  "no fixed effects" = fit_glmm(y ~ 0 + (x | g), d, method = M),
  "sigma between" = fit_glmm(y ~ x + (1 | g), d, sigma = ~ b, method = M),
  "sigma within" = fit_glmm(y ~ x + (x | g), d, sigma = ~ h, weights = w, method = M),
  "known se" = fit_glmm(y ~ x + (1 | g), d, se = s, method = M),
  "known se, slope" = fit_glmm(y ~ x + (x | g), d, se = s, method = M),
  "sd 1" = fit_glmm(y ~ x + (1 | g), d, prior = priors(g = constant(1)), method = M),
  "no law" = fit_glmm(y ~ x + h + (1 | g), d, prior = priors(g = constant(Inf)), method = M),
  "no law, sigma within" =
    fit_glmm(y ~ 0 + z + (1 | g), d, weights = w, sigma = ~ h,
             prior = priors(g = constant(Inf)), method = M),
  "no law, two terms" =
    fit_glmm(y ~ h + (z | g), d[d$g > 4, ], prior = priors(g = constant(Inf)), method = M),
  "no law beside a free sd" =
    fit_glmm(y ~ x + z + (1 | g) + (0 + x | g), d, prior = one_sd("(Intercept)", Inf),
             method = M),
  "second sd of a block" =
    fit_glmm(y ~ x + (x | g), d, prior = one_sd("x", 0.7), method = M),
  "first sd of a block" =
    fit_glmm(y ~ x + (x | g), d, prior = one_sd("(Intercept)", 0.7), method = M),
  "one sd of three" =
    fit_glmm(y ~ x + z + (x + z | g), d, prior = one_sd("x", 0.9), method = M),
  "both sds" = fit_glmm(y ~ x + (x | g), d, prior = priors(g = constant(0.7)), method = M),
  "both independent sds" =
    fit_glmm(y ~ x + (x || g), d, prior = priors(g = constant(0.7)), method = M),
  "correlation" = fit_glmm(y ~ x + (x | g), d, prior = priors(cor = constant(0.3)), method = M),
  "correlation and second sd" =
    fit_glmm(y ~ x + (x | g), d, method = M,
             prior = c_priors(one_sd("x", 0.8), priors(cor = constant(-0.3)))),
  "correlation and first sd" =
    fit_glmm(y ~ x + (x | g), d, method = M,
             prior = c_priors(one_sd("(Intercept)", 0.8), priors(cor = constant(-0.3)))),
  "all of the covariance" =
    fit_glmm(y ~ x + (x | g), d, method = M,
             prior = priors(cor = constant(-0.3), g = constant(0.8))),
  "sigma" = fit_glmm(y ~ x + (x | g), d, prior = priors(sigma = constant(0.8)), method = M),
  "sigma of one level" =
    fit_glmm(y ~ x + (1 | g), d, sigma = ~ b, prior = priors(`sigma|p` = constant(0.8)),
             method = M),
  "one coefficient" =
    fit_glmm(y ~ x + h + (1 | g), d, prior = priors(x = constant(1.1)), method = M),
  "all coefficients" =
    fit_glmm(y ~ x + (x | g), d, prior = priors(beta = constant(1)), method = M)
)

c_priors <- function(...) structure(c(...), class = "elbo_priors")

# NULL where method "joint" has no bound.
fit_case <- function(case, method, data = grid_data()) {
  environment <- list2env(list(d = data, M = method), parent = environment(fit_case))
  tryCatch(eval(case, environment), elbo_error_unbounded = function(e) NULL)
}

# The fits to grid_data(), each made once.
fit_once <- local({
  made <- list()
  function(name, method) {
    key <- paste0(name, ", ", method)
    if (!key %in% names(made)) made[key] <<- list(fit_case(grid_cases[[name]], method))
    made[[key]]
  }
})

each_fit <- function(cases = grid_cases, methods = c("em", "reml", "joint"), f) {
  for (name in names(cases)) {
    for (method in methods) {
      fit <- fit_once(name, method)
      if (is.null(fit)) expect_identical(method, "joint") else f(fit, paste0(name, ", ", method))
    }
  }
}

# ---- the reference ---------------------------------------------------------------------------

bare <- function(theta) stats::setNames(as.numeric(theta), names(theta))

# Coefficients that are held belong to the offset, so that reml integrates the others alone.
held_aside <- function(fit) {
  held <- parameters_of(fit)$block == "beta" & parameters_of(fit)$fixed
  names <- parameters_of(fit)$name[held]
  X <- design_of(fit)$X[, names, drop = FALSE]
  design_of(fit)$offset <- design_of(fit)$offset + drop(X %*% theta(fit)[names])
  design_of(fit)$X <- design_of(fit)$X[, setdiff(colnames(design_of(fit)$X), names), drop = FALSE]
  fit
}

objective_of <- function(fit, theta) {
  model <- reference_of_fit(held_aside(fit), theta)
  if (method_of(fit) == "joint") reference_joint(model) else model$log_evidence
}

# What the objective is a smooth function of: not what is held or on the boundary, and under
# reml not the coefficients, which are integrated.
smooth_in <- function(fit) {
  with(parameters_of(fit), !fixed & !boundary & !(method_of(fit) == "reml" & block == "beta"))
}

objective_in <- function(fit) {
  theta <- bare(theta(fit))
  free <- smooth_in(fit)
  function(value) objective_of(fit, replace(theta, free, value))
}

# Largest error, relative to the largest value or to 1; infinite values are to be the same.
expect_close <- function(object, expected, tolerance, label,
                         scale = max(1, abs(expected[is.finite(expected)]))) {
  error <- abs(object - expected) / scale
  error <- max(0, error[!(is.infinite(expected) & object == expected)])
  expect_lt(error, tolerance, label = paste0("relative error (", label, ")"))
}

# ---- value, slope, posterior, information -----------------------------------------------------

test_that("the objective at the estimates is that of dense matrices", {
  each_fit(f = function(fit, label) {
    expected <- objective_of(fit, bare(theta(fit)))
    expect_close(elbo(fit), expected, 1e-9, label)
    if (method_of(fit) != "joint") expect_close(as.numeric(logLik(fit)), expected, 1e-9, label)
  })
})

test_that("every fit ends with the gradient at rounding size", {
  each_fit(f = function(fit, label) {
    expect_identical(convergence(fit)$status, "converged", label = label)
    expect_lt(convergence(fit)$gradient, 1e-6, label = label)
    expect_lt(convergence(fit)$gain, 1e-10, label = label)
  })
})

test_that("the dense gradient is zero and vcov() the inverse of the dense Hessian", {
  skip_if_not_installed("numDeriv")
  skip_on_cran()
  each_fit(f = function(fit, label) {
    free <- smooth_in(fit)
    if (!any(free)) return()
    at <- bare(theta(fit))[free]
    slope <- numDeriv::grad(objective_in(fit), at)
    full <- vcov(fit, full = TRUE, type = "full_observed")[free, free, drop = FALSE]
    # The difference quotients themselves are good to about 1e-7 here.
    expect_lt(max(abs(slope) * sqrt(diag(full))), 1e-6,
              label = paste0("scaled gradient (", label, ")"))
    if (method_of(fit) == "joint") return()
    covariance <- solve(-numDeriv::hessian(objective_in(fit), at))
    se <- sqrt(diag(covariance))
    expect_close(full / outer(se, se), covariance / outer(se, se), 1e-5, label)
    # The variance block inverts the profile information, which is the block of the whole.
    variances <- parameters_of(fit)$block[free] != "beta"
    observed <- vcov(fit, full = TRUE)[free, free, drop = FALSE]
    expect_close((observed / outer(se, se))[variances, variances],
                 (covariance / outer(se, se))[variances, variances], 1e-5, label)
  })
})

test_that("coefficients are generalised least squares, and vcov() their covariance", {
  each_fit(methods = c("em", "reml"), f = function(fit, label) {
    pieces <- reference_pieces(fit)
    aside <- held_aside(fit)
    if (ncol(aside$design$X) == 0) return()
    gls <- reference_gls(aside$design, pieces$Sigma, pieces$s2)
    free <- colnames(aside$design$X)
    expect_close(coef(fit)[free], gls$beta, 1e-8, label)
    expect_close(vcov(fit)[free, free], gls$cov, 1e-8, label, scale = max(abs(gls$cov), 0))
    held <- setdiff(names(coef(fit)), free)
    expect_true(all(vcov(fit)[held, ] == 0), label = label)
  })
})

test_that("latent() and ranef() are the dense posterior", {
  each_fit(f = function(fit, label) {
    terms <- colnames(design_of(fit)$Z)
    index <- seq_len(length(terms) * nlevels(the_group(design_of(fit))))
    model <- reference_of_fit(held_aside(fit))
    tidy <- latent(fit, type = "conditional")
    expect_identical(nrow(tidy), length(index))
    expect_close(tidy$mean, model$mean[index], 1e-8, label)
    sd <- if (method_of(fit) == "joint") 0 * index else sqrt(diag(model$cov)[index])
    expect_close(tidy$sd, sd, 1e-8, label)
    if (length(index) == 0 || method_of(fit) == "joint") return()
    # Given the coefficients, as lme4 has it.
    pieces <- reference_pieces(fit)
    given <- reference_lmm(design_of(fit), pieces$beta, pieces$Sigma, pieces$s2)
    tidy <- as.data.frame(ranef(fit))
    key <- order(as.integer(tidy$grp), as.integer(tidy$term))
    expect_close(tidy$condval[key], model$mean[index], 1e-8, label)
    expect_close(tidy$condsd[key], sqrt(diag(given$cov)[index]), 1e-8, label)
    blocks <- moments_of(fit)$cov
    for (g in seq_len(dim(blocks)[3])) {
      rows <- (g - 1) * length(terms) + seq_along(terms)
      expect_close(blocks[, , g], given$cov[rows, rows], 1e-8, label)
    }
  })
})

test_that("the restricted likelihood has lme4's constant", {
  skip_if_not_installed("lme4")
  d <- grid_data()
  fit <- fit_glmm(y ~ x + (x | g), d, method = "reml")
  peer <- lme4::lmer(y ~ x + (x | g), d)
  # lme4 stops at 1e-8 of its deviance or so.
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(peer)), tolerance = 1e-7)
})

test_that("the sandwich is made of the scores of the groups", {
  skip_if_not_installed("numDeriv")
  skip_on_cran()
  d <- grid_data()
  for (fit in list(fit_glmm(y ~ x + (x | g), d, weights = w),
                   fit_glmm(y ~ x + (1 | g), d, sigma = ~ b))) {
    theta <- bare(theta(fit))
    score <- vapply(levels(the_group(design_of(fit))), function(level) {
      rows <- the_group(design_of(fit)) == level
      one <- design_of(fit)
      one$y <- one$y[rows]
      one$offset <- rep_len(one$offset, length(rows))[rows]
      for (part in intersect(c("weights", "level"), names(one))) one[[part]] <- one[[part]][rows]
      one$X <- one$X[rows, , drop = FALSE]
      one$Z <- one$Z[rows, , drop = FALSE]
      one$groups[[1]] <- factor(one$groups[[1]][rows])
      numDeriv::grad(function(at) {
        pieces <- reference_pieces(list(design = one), stats::setNames(at, names(theta)))
        reference_lmm(one, pieces$beta, pieces$Sigma, pieces$s2)$log_evidence
      }, theta)
    }, theta)
    bread <- vcov(fit, full = TRUE, type = "full_observed")
    expected <- bread %*% tcrossprod(score) %*% bread
    unit <- sqrt(diag(expected))
    expect_close(vcov(fit, full = TRUE, type = "sandwich") / outer(unit, unit),
                 expected / outer(unit, unit), 1e-5, "sandwich")
  }
})

test_that("degrees of freedom count what is free", {
  each_fit(methods = c("em", "reml"), f = function(fit, label) {
    expect_identical(attr(logLik(fit), "df"), sum(!attr(theta(fit), "fixed")), label = label)
  })
  d <- grid_data()
  free <- function(fit) attr(logLik(fit), "df")
  expect_identical(free(fit_glmm(y ~ x + (x | g), d)), 6L)
  expect_identical(free(fit_glmm(y ~ x + (x || g), d)), 5L)
  expect_identical(free(fit_glmm(y ~ x + (x | g), d, prior = priors(g = constant(1)))), 4L)
  expect_identical(free(fit_glmm(y ~ x + (1 | g), d, se = s)), 3L)
  # Without a law there is neither an sd nor a correlation to estimate: here x and sigma.
  lawless <- fit_glmm(y ~ 0 + x + (z | g), d[d$g > 4, ], prior = priors(g = constant(Inf)))
  expect_identical(free(lawless), 2L)
})

# ---- the ascent ------------------------------------------------------------------------------

expect_sound_trace <- function(fit, label) {
  trace <- elbo_trace(fit)
  size <- 1 + abs(trace$elbo)
  ascent <- trace$step %in% c("start", "E", "M")
  expect_gte(min(diff(trace$elbo[ascent]) / size[ascent][-1], 0), -1e-10, label = label)
  expect_lt(abs(trace$elbo[nrow(trace)] - elbo(fit)) / size[1], 1e-10, label = label)
  if (method_of(fit) == "joint") {
    expect_true(all(is.na(trace$kl)) && all(is.na(trace$log_evidence)), label = label)
    return()
  }
  expect_lt(max(abs(trace$elbo + trace$kl - trace$log_evidence) / size), 1e-8, label = label)
  expect_gte(min(trace$kl / size), -1e-10, label = label)
  # q is exact after every step but M.
  expect_lt(max(abs(trace$kl[trace$step != "M"]) / size[trace$step != "M"]), 1e-9,
            label = label)
}

test_that("the ELBO never falls in E- and M-steps, and differs from the evidence by the KL", {
  each_fit(f = expect_sound_trace)
})

test_that("every way up reaches the same optimum", {
  cases <- grid_cases[c("intercept", "independent slope", "slope, factor", "sigma within",
                        "known se", "no law", "second sd of a block", "correlation",
                        "both independent sds", "all coefficients")]
  each_fit(cases, f = function(fit, label) {
    for (way in list(elbo_control(accelerate = "none", max_iter = 2e5L),
                     elbo_control(accelerate = "squarem", max_iter = 2e5L))) {
      other <- update(fit, control = way)
      expect_identical(convergence(other)$status, "converged", label = label)
      expect_lt(convergence(other)$gradient, 1e-6, label = label)
      expect_close(elbo(other), elbo(fit), 1e-11, label)
      expect_close(bare(theta(other)), bare(theta(fit)), 1e-6, label)
      expect_sound_trace(other, label)
      steps <- unique(elbo_trace(other)$step)
      expect_false("newton" %in% steps)
      if (way$accelerate == "none") expect_false("squarem" %in% steps)
    }
  })
})

test_that("a fit that runs out of iterations says so and keeps its best", {
  d <- grid_data()
  short <- elbo_control(accelerate = "none", max_iter = 3)
  expect_warning(fit <- fit_glmm(y ~ x + (x | g), d, control = short),
                 class = "elbo_warning_convergence")
  expect_identical(convergence(fit)$status, "max_iter")
  expect_identical(convergence(fit)$iterations, 3L)
  expect_gt(convergence(fit)$gain, 0)
  expect_lt(elbo(fit), elbo(update(fit, control = elbo_control())))
  expect_close(elbo(fit), objective_of(fit, bare(theta(fit))), 1e-9, "three steps")
})

# ---- invariances -----------------------------------------------------------------------------

invariance_cases <- grid_cases[c(
  "least squares, sigma by level", "intercept, words, weights, offset", "slope, factor",
  "three independent terms", "sigma within", "no law", "second sd of a block"
)]

each_pair <- function(change, f, cases = invariance_cases) {
  for (name in names(cases)) {
    for (method in c("em", "reml")) {
      f(fit_once(name, method), fit_case(cases[[name]], method, change(grid_data())),
        paste0(name, ", ", method))
    }
  }
}

expect_same_fit <- function(fit, other, label, tolerance = 1e-8) {
  expect_close(as.numeric(logLik(other)), as.numeric(logLik(fit)), 1e-10, label)
  expect_close(bare(theta(other)), bare(theta(fit)), tolerance, label)
  se <- sqrt(diag(vcov(fit, full = TRUE)))
  known <- is.finite(se)
  expect_identical(is.finite(sqrt(diag(vcov(other, full = TRUE)))), known, label = label)
  expect_close(sqrt(diag(vcov(other, full = TRUE)))[known], se[known], 1e-6, label)
}

test_that("neither the order of rows nor the names of groups matter", {
  each_pair(function(d) d[rev(order(d$y)), ], expect_same_fit)
  each_pair(function(d) d[order(d$g), ], expect_same_fit)
  relabel <- function(d) {
    d$g <- 1000L - 3L * d$g
    d$word <- rev(letters)[match(d$word, unique(d$word))]
    d$f <- factor(d$word)
    d
  }
  each_pair(relabel, expect_same_fit)
})

test_that("the same call gives the same bits", {
  each_fit(invariance_cases, f = function(fit, label) {
    again <- update(fit)
    expect_identical(again[c("theta", "beta_cov", "var_cov", "latent", "trace")],
                     fit[c("theta", "beta_cov", "var_cov", "latent", "trace")], label = label)
  })
})

test_that("theta moves with the unit of the response", {
  d <- grid_data()
  n <- nrow(d)
  for (unit in c(1e-150, 1e6, 1e150)) {
    for (method in c("em", "reml")) {
      fit_in <- function(unit) {
        d$y <- d$y * unit
        fit_glmm(y ~ x + h + (x | g), d, weights = w, sigma = ~ b, method = method)
      }
      fit <- fit_in(1)
      other <- fit_in(unit)
      label <- paste(method, unit)
      scale <- ifelse(parameters_of(fit)$block == "cor", 1, unit)
      expect_close(bare(theta(other)) / scale, bare(theta(fit)), 1e-8, label)
      rows <- n - if (method == "reml") 3 else 0
      expect_close(as.numeric(logLik(other)), as.numeric(logLik(fit)) - rows * log(unit), 1e-10,
                   label)
      expect_close(latent(other)$mean / unit, latent(fit)$mean, 1e-8, label)
      # vcov() holds squares: from 1e-150 they are no longer full doubles.
      if (unit > 1e-100) {
        se <- sqrt(diag(vcov(fit, full = TRUE)))
        known <- is.finite(se)
        expect_close((sqrt(diag(vcov(other, full = TRUE))) / scale)[known], se[known], 1e-6,
                     label)
      }
    }
  }
})

test_that("theta moves with the unit of a covariate", {
  d <- grid_data()
  fit <- fit_glmm(y ~ x + h + (x | g), d)
  for (unit in c(1e-150, 1e6, 1e150)) {
    other <- fit_glmm(y ~ x + h + (x | g), transform(d, x = x * unit))
    scale <- ifelse(names(theta(fit)) %in% c("x", "sd__x|g"), unit, 1)
    expect_close(bare(theta(other)) * scale, bare(theta(fit)), 1e-8, paste("x *", unit))
    expect_close(as.numeric(logLik(other)), as.numeric(logLik(fit)), 1e-10, paste("x *", unit))
  }
})

test_that("a response and a covariate far from zero lose nothing but their own digits", {
  d <- grid_data()
  fit <- fit_glmm(y ~ x + (x | g), d)
  # Data of size 1e9 hold 1e-7 of an absolute error each.
  far <- fit_glmm(y ~ x + (x | g), transform(d, y = y + 1e9))
  moved <- bare(theta(far))
  moved["(Intercept)"] <- moved["(Intercept)"] - 1e9
  expect_close(moved, bare(theta(fit)), 1e-6, "y + 1e9")
  expect_close(as.numeric(logLik(far)), as.numeric(logLik(fit)), 1e-7, "y + 1e9")

  # A shift of x is another basis of the same random terms.
  far <- fit_glmm(y ~ x + (x | g), transform(d, x = x + 1e6))
  expect_close(theta(far)[c("x", "sd__x|g", "sigma")], theta(fit)[c("x", "sd__x|g", "sigma")],
               1e-7, "x + 1e6")
  expect_close(as.numeric(logLik(far)), as.numeric(logLik(fit)), 1e-8, "x + 1e6")
})

# `se` is the model with weights 1 / se^2 and sigma = 1, whose theta has one name more.
without_sigma <- function(fit) {
  theta(fit) <- theta(fit)[names(theta(fit)) != "sigma"]
  parameters_of(fit) <- parameters_of(fit)[parameters_of(fit)$name != "sigma", ]
  keep <- rownames(var_cov_of(fit)) != "sigma"
  var_cov_of(fit) <- var_cov_of(fit)[keep, keep, drop = FALSE]
  fit
}

test_that("weights are known up to their unit", {
  d <- grid_data()
  fit <- fit_glmm(y ~ x + (1 | g), d, weights = w)
  for (unit in c(1e-200, 1e-3, 1e200)) {
    other <- fit_glmm(y ~ x + (1 | g), transform(d, w = w * unit), weights = w)
    expect_close(theta(other)[["sigma"]] / sqrt(unit), theta(fit)[["sigma"]], 1e-8, "weights")
    expect_close(coef(other), coef(fit), 1e-8, "weights")
    expect_close(as.numeric(logLik(other)), as.numeric(logLik(fit)), 1e-10, "weights")
  }
  unit_sigma <- fit_glmm(y ~ x + (1 | g), d, weights = 1 / s^2,
                         prior = priors(sigma = constant(1)))
  expect_same_fit(fit_glmm(y ~ x + (1 | g), d, se = s), without_sigma(unit_sigma), "se")
})

without_cor <- function(fit) {
  theta(fit) <- theta(fit)[parameters_of(fit)$block != "cor"]
  fit
}

test_that("a model can be written in several ways", {
  d <- grid_data()
  same <- function(a, b) {
    expect_equal(as.numeric(logLik(a)), as.numeric(logLik(b)), tolerance = 1e-10)
    expect_equal(unname(bare(theta(a))), unname(bare(theta(b))), tolerance = 1e-6)
  }
  same(fit_glmm(y ~ x + (x || g), d), fit_glmm(y ~ x + (1 | g) + (0 + x | g), d))
  same(fit_glmm(y ~ x + (x || g), d),
       without_cor(fit_glmm(y ~ x + (x | g), d, prior = priors(cor = constant(0)))))
  same(fit_glmm(y ~ x + offset(o) + (1 | g), d), fit_glmm(y ~ x + (1 | g), d, offset = o))
  same(fit_glmm(y ~ x + offset(o) + (1 | g), d), fit_glmm(I(y - o) ~ x + (1 | g), d))
  same(fit_glmm(y ~ x + (1 | g), d), fit_glmm(y ~ x + (1 | g), d, sigma = ~ 1))
  same(fit_glmm(y ~ x + (1 | g), d, subset = z > 0), fit_glmm(y ~ x + (1 | g), d[d$z > 0, ]))
  # Twice the rows at half the weight say the same of beta.
  twice <- rbind(d, d)
  expect_equal(coef(fit_glmm(y ~ x, d)), coef(fit_glmm(y ~ x, twice)), tolerance = 1e-10)
  # A factor of the groups has as many sds as levels, whatever the contrasts.
  options <- options(contrasts = c("contr.sum", "contr.poly"))
  sums <- fit_glmm(y ~ h + (h | g), d)
  options(options)
  expect_equal(as.numeric(logLik(sums)), as.numeric(logLik(fit_glmm(y ~ h + (0 + h | g), d))),
               tolerance = 1e-9)
})

# ---- another instruction set, interrupts, memory ---------------------------------------------

# The installed package in a fresh R process.
child <- function(code, env = character(), wait = TRUE) {
  script <- tempfile(fileext = ".R")
  library <- dirname(system.file(package = "elbo"))
  writeLines(c(sprintf("library(elbo, lib.loc = %s)", deparse(library)), code), script)
  libraries <- paste(.libPaths(), collapse = .Platform$path.sep)
  system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", shQuote(script)), wait = wait,
          env = c(paste0("R_LIBS=", shQuote(libraries)), env), stdout = FALSE, stderr = FALSE)
}

skip_without_child <- function() {
  skip_on_cran()
  skip_on_os("windows")
  skip_if(!dir.exists(file.path(system.file(package = "elbo"), "libs")),
          "the package is not installed")
}

test_that("the plain instruction set gives the same fits to rounding", {
  skip_without_child()
  files <- tempfile(c("data", "fits"), fileext = ".rds")
  saveRDS(list(data = grid_data(), cases = grid_cases[names(invariance_cases)]), files[1])
  code <- c(
    sprintf("input <- readRDS(%s)", deparse(files[1])),
    "d <- input$data",
    sprintf("one_sd <- %s", paste(deparse(one_sd), collapse = "\n")),
    "fits <- lapply(input$cases, function(case) lapply(c(\"em\", \"reml\"), function(M) {",
    "  fit <- eval(case, list(d = d, M = M))",
    "  list(c(theta(fit)), as.numeric(logLik(fit)), latent(fit)$mean)",
    "}))",
    sprintf("saveRDS(fits, %s)", deparse(files[2]))
  )
  answers <- lapply(c("plain", "avx512"), function(level) {
    child(code, paste0("ELBO_SIMD=", level))
    readRDS(files[2])
  })
  for (name in names(invariance_cases)) {
    for (i in 1:2) {
      for (k in 1:3) {
        expect_close(answers[[1]][[name]][[i]][[k]], answers[[2]][[name]][[i]][[k]], 1e-8, name)
      }
    }
  }
})

# EM that can only be stopped from outside.
endless <- elbo_control(tol = 1e-300, max_iter = .Machine$integer.max, accelerate = "none")

test_that("a time limit stops the ascent at once and leaves R usable", {
  skip_on_cran()
  d <- grid_data()
  on.exit(setTimeLimit())
  started <- proc.time()[["elapsed"]]
  for (way in c("none", "squarem")) {
    endless$accelerate <- way
    setTimeLimit(elapsed = 0.3, transient = TRUE)
    expect_error(fit_glmm(y ~ x + (x | g), d, control = endless), "time limit")
    setTimeLimit()
  }
  expect_lt(proc.time()[["elapsed"]] - started, 5)
  expect_identical(convergence(fit_glmm(y ~ x + (x | g), d))$status, "converged")
})

wait_for <- function(file, seconds) {
  for (i in seq_len(10 * seconds)) {
    if (file.exists(file)) break
    Sys.sleep(0.1)
  }
  Sys.sleep(0.1)
  expect_true(file.exists(file))
}

test_that("Ctrl-C stops the ascent at once and leaves R usable", {
  skip_without_child()
  files <- tempfile(c("data", "pid", "answer"))
  saveRDS(grid_data(), files[1])
  on.exit(if (file.exists(files[2])) tools::pskill(readRDS(files[2]), tools::SIGKILL))
  child(c(
    sprintf("d <- readRDS(%s)", deparse(files[1])),
    "endless <- elbo_control(tol = 1e-300, max_iter = 2e9, accelerate = \"none\")",
    sprintf("saveRDS(Sys.getpid(), %s)", deparse(files[2])),
    "caught <- tryCatch(fit_glmm(y ~ x + (x | g), d, control = endless),",
    "                   interrupt = function(e) class(e))",
    "after <- convergence(fit_glmm(y ~ x + (x | g), d))$status",
    sprintf("saveRDS(list(caught, after, proc.time()[[\"elapsed\"]]), %s)", deparse(files[3]))
  ), wait = FALSE)
  wait_for(files[2], 60)
  Sys.sleep(1)
  tools::pskill(readRDS(files[2]), tools::SIGINT)
  wait_for(files[3], 10)
  answer <- readRDS(files[3])
  expect_true("interrupt" %in% answer[[1]])
  expect_identical(answer[[2]], "converged")
})

test_that("C survives collections at every twentieth allocation, level 2: at each", {
  skip_without_child()
  # In a process of its own: every collection goes through all packages that are loaded.
  answer <- tempfile()
  child(c(
    "library(stats)",
    "d <- data.frame(y = c(3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8), h = gl(2, 6),",
    "                x = c(2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5), g = rep(1:4, 3))",
    "same <- logical()",
    "for (method in c(\"em\", \"reml\")) for (formula in list(y ~ x + (1 | g), y ~ (x | g))) {",
    "  fit <- fit_glmm(formula, d, method = method, sigma = ~ h)",
    "  held <- elbo:::glmm_constants(NULL, elbo:::design_of(fit))",
    sprintf("  gctorture2(%d)", if (Sys.getenv("ELBO_TEST_LEVEL", "1") < "2") 20L else 1L),
    "  answer <- elbo:::ascend_glmm(elbo:::design_of(fit), held, method, elbo:::control_of(fit))",
    "  gctorture2(0)",
    "  same <- c(same, identical(elbo:::glmm_estimates(answer)$latent, elbo:::moments_of(fit)))",
    "}",
    sprintf("saveRDS(same, %s)", deparse(answer))
  ))
  expect_identical(readRDS(answer), rep(TRUE, 4))
})

test_that("a nearly singular covariance and tiny noise do not break the books", {
  # u on a line but for a part in 1e5: cor 0.99999999, conditional on which all else is well posed.
  set.seed(1)
  d <- data.frame(g = rep(1:12, each = 6), x = rep(0:5, 12))
  u <- rnorm(12)
  for (s in c(1e-3, 1e-5)) {
    set.seed(2)
    d$y <- u[d$g] + (u + 10 * s * rnorm(12))[d$g] * d$x + s * rnorm(72)
    fit <- suppressWarnings(fit_glmm(y ~ x + (x | g), d))
    trace <- elbo_trace(fit)
    expect_identical(convergence(fit)$status, "converged")
    # Rounding of the data, 1e-16 of their size, in units of s, squared: 1e-16 / s^2 each row.
    expect_lt(max(abs(trace$elbo + trace$kl - trace$log_evidence)), 72 * 1e-15 / s^2)
    expect_gt(min(diff(trace$elbo)), -1e-8)
    # The residual sd is that of lines fitted to each group: 72 rows, 24 coefficients.
    lines <- lm(y ~ factor(g) / x, d)
    expect_equal(sigma(fit), summary(lines)$sigma, tolerance = 1e-3)
  }
})
