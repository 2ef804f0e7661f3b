# Calls every entry point of the compiled code on small data, for valgrind and gctorture.
#
# Usage: Rscript tools/exercise.R [gctorture]
library(elbo)

set.seed(1)
sites <- data.frame(site = gl(4, 3), x = rep(-1:1, 4), arm = gl(2, 1, 12), time = 1:12)
sites$y <- 2 + sites$x + rep(rnorm(4), each = 3) + rnorm(12, sd = 0.5)
control <- elbo_control(progress = FALSE)

# Each kind of mixture by each method, from given labels, so that few steps are tortured.
exercise_mixtures <- function() {
  units <- data.frame(a = sites$y, b = c(sites$x, sites$y)[5:16], up = sites$y > 2,
                      kind = gl(3, 1, 12), count = rep(c(0, 3, 5), 4), w = sites$x)
  units$a[1] <- NA
  few <- elbo_control(progress = FALSE, max_iter = 3, threads = 2)
  for (method in c("em", "joint", "vb")) {
    mixture <- function(formula, ...) {
      fit <- suppressWarnings(suppressMessages(
        fit_mixture(formula, units, k = 2, method = method, start = rep(1:2, 6), control = few, ...)
      ))
      predict(fit, units[2:3, ], type = "prob")
      if (method != "joint") vcov(fit, full = TRUE)
      if (method == "vb") sensitivity(fit, to = "prior")
    }
    prior <- priors(covariance = inverse_wishart(4, 1))
    for (model in c("EII", "VVI", "VVV")) {
      mixture(cbind(a, b) ~ 1, covariance = model, prior = if (method != "vb") prior)
    }
    mixture(b ~ w, sigma = ~ 1)
    mixture(count ~ w, family = poisson(), prior = priors(beta = normal(0, 2)))
    mixture(responses(up, kind) ~ 1)
  }
}

# Responses that are not gaussian: quadrature, Laplace's method, several factors, a prior.
exercise_responses <- function() {
  few <- elbo_control(progress = FALSE, max_iter = 3, threads = 2)
  rows <- transform(sites, count = rep(c(0, 3, 5), 4), up = y > 2)
  fit <- function(formula, family, ...) {
    suppressWarnings(fit_glmm(formula, rows, family = family, control = few, ...))
  }
  latent(fit(up ~ x + (1 + x | site), binomial()))
  fit(count ~ x + (1 | site), poisson(), prior = priors(beta = normal(0, 2), sd = half_t(3, 1)))
  elbo(fit(count ~ x + (1 | site) + (1 | arm), poisson()))
  bayes <- fit(up ~ x + (1 | site), binomial(), method = "vb")
  convergence(bayes, check = TRUE)
  sensitivity(bayes, to = "prior")
  few$quadrature <- 1L
  elbo(fit(up ~ x + (1 | site), binomial("probit")))
}

# Curves of units, with each law of their deviations.
exercise_curves <- function() {
  few <- elbo_control(progress = FALSE, max_iter = 3, threads = 2)
  for (method in c("em", "vb")) {
    for (law in c("free", "diagonal", "identity")) {
      fit <- suppressWarnings(fit_mixture(y ~ x + (x | site), sites, k = 2, method = method,
                                          unit = ~ site, random_covariance = law,
                                          start = c(1, 1, 2, 2), control = few))
    }
    predict(fit, sites[1:3, ], type = "prob")
  }
}

# The statistics of the rows of a fit, merged with themselves: all rows twice.
exercise_stats <- function(fit) {
  rows <- elbo:::glmm_rows(fit$design)
  survey <- .Call(elbo:::C_glmm_survey, rows)
  survey <- .Call(elbo:::C_glmm_survey_merge, survey, survey)
  shape <- list(p = ncol(rows$X), q = ncol(rows$Z), n_group = rows$n_group,
                n_level = rows$n_level, n_smooth = 0L, n_unit = NULL)
  stats <- .Call(elbo:::C_glmm_stats_open, survey, shape)
  stats <- .Call(elbo:::C_glmm_stats_add, stats, rows)
  .Call(elbo:::C_glmm_stats_merge, stats, stats)
}

# Images of the sky: two galaxies and a star in one, found and forced.
exercise_sky <- function() {
  set.seed(2)
  image <- sim_sky(24, 20, n = 3, galaxies = 0.7, flux = c(2000, 5000))
  fit <- fit_sky(image, control = elbo_control(progress = FALSE, threads = 2))
  residuals(fit)
  latent(fit, type = "pixels")
  fit_sky(image, start = truth(image), control = control)
  fit_sky(image, "vb", control = control)
}

# Users' own models, whose functions are called from C: a mixture of two Poisson laws, with a
# function that fails on the way, and a normal posterior of each family, with and without Hessian.
exercise_own <- function() {
  y <- c(162, 267, 271, 185, 111, 61, 27, 8, 3, 1)
  estep <- function(t, y) {
    first <- t[1] * dpois(0:9, t[2])
    first / (first + (1 - t[1]) * dpois(0:9, t[3]))
  }
  mstep <- function(q, y) {
    c(sum(y * q) / sum(y), sum(0:9 * y * q) / sum(y * q), sum(0:9 * y * (1 - q)) / sum(y * (1 - q)))
  }
  value <- function(t, y) sum(y * log(t[1] * dpois(0:9, t[2]) + (1 - t[1]) * dpois(0:9, t[3])))
  few <- elbo_control(progress = FALSE, max_iter = 6)
  suppressWarnings(fit_em(c(0.3, 1, 2.5), estep, mstep, value, data = y, control = few))
  suppressWarnings(fit_em(c(0.3, 1, 2.5), estep, mstep, data = y, lower = 0, control = few))
  try(fit_em(c(0.3, 1, 2.5), estep, function(q, y) stop("no"), data = y), silent = TRUE)
  target <- list(par = c(a = 0, b = 0), fn = function(p) sum((p - 1:2)^2) / 2,
                 gr = function(p) p - 1:2)
  for (q in c("mean_field", "full", "laplace")) {
    suppressMessages(suppressWarnings(fit_advi(target, q = q, draws = 8, control = few)))
  }
  suppressWarnings(fit_advi(c(target, he = function(p) diag(2)), draws = 4, control = few))
}

# Several grouping factors: sums of rows, the blocked factor, products and traces by levels, what a
# fit would cost, laws that share parameters, and a factor without a law.
exercise_crossed <- function() {
  rows <- transform(sites, time = factor(rep(1:2, 6)), visit = factor(rep(1:3, 4)))
  few <- elbo_control(progress = FALSE, max_iter = 3)
  fit <- function(formula, ...) {
    suppressWarnings(suppressMessages(fit_glmm(formula, rows, control = few, ...)))
  }
  crossed <- fit(y ~ x + (1 | site) + (1 | visit), method = "reml")
  .Call(elbo:::C_glmm_cost, elbo:::model_of(crossed))
  latent(crossed, type = "total")
  predict(crossed, rows[1:2, ], se.fit = TRUE)
  summary(crossed, ddf = "Kenward-Roger")
  simulate(crossed, seed = 1)
  bootstrap(crossed, nsim = 2)
  fit(y ~ x + cs(0 + time | site, hom = TRUE) + (1 | visit), sigma = ~ arm)
  fit(y ~ x + (1 | site) + (1 | visit), prior = priors(site = constant(Inf)))
  fit(y ~ x + (1 | site) + (1 | visit), method = "vb", factorization = "by_factor")
  general <- transform(rows, count = rep(c(0, 3, 5), 4))
  suppressWarnings(fit_glmm(count ~ ar1(0 + time | site) + (1 | visit), general,
                            family = poisson(), control = few))
}

exercise <- function() {
  for (method in c("em", "reml")) {
    for (formula in c(y ~ x + (1 | site), y ~ x + (x | site), y ~ x)) {
      fit <- fit_glmm(formula, sites, method = method, control = control)
      vcov(fit, full = TRUE)
      convergence(fit)
    }
  }
  suppressWarnings(confint(fit, type = "profile"))
  exercise_stats(fit)
  fit <- fit_glmm(y ~ x + (x || site), sites, sigma = ~ arm, control = control)
  vcov(fit, full = TRUE, type = "sandwich")
  elbo(fit, theta = theta(fit))
  latent(fit)
  predict(fit, sites[1:2, ], interval = "prediction")
  fit_glmm(y ~ x + (1 | site), sites, method = "joint", prior = priors(site = constant(1)),
           control = control)
  fit_glmm(y ~ 1 + (1 | site), sites[c(1, 4, 7, 10), ], se = rep(0.3, 4), control = control)
  bootstrap(fit, nsim = 2)
  fit <- fit_glmm(y ~ x + (1 | site), sites, control = control,
                  prior = priors(sigma = inverse_gamma(2, 1), x = normal(0, 1)))
  anova(fit, update(fit, y ~ x), nsim = 2)
  fit_glmm(y ~ s(time, k = 4) + (1 | site), sites, method = "reml", control = control)
  fit_glmm(y ~ s(time, k = 4) + (1 | site), sites, method = "vb", control = control)
  fit <- fit_glmm(y ~ x + (1 | site), sites, method = "vb", control = control)
  convergence(fit, check = TRUE)
  sensitivity(fit, to = "prior")
  exercise_mixtures()
  exercise_responses()
  exercise_crossed()
  exercise_curves()
  exercise_sky()
  exercise_own()
  try(fit_glmm(y ~ x + (1 | site), transform(sites, y = NA), control = control), silent = TRUE)
}

exercise() # once without, so that what R itself sets up at first use is not tortured
if ("gctorture" %in% commandArgs(TRUE)) gctorture(TRUE)
exercise()
gctorture(FALSE)
