# What a fit says of itself: boundaries, theta(), vcov(), logLik(), elbo(), elbo_trace().

orthodont <- as.data.frame(nlme::Orthodont)

bare <- function(theta) stats::setNames(as.numeric(theta), names(theta))

# Balanced groups whose means differ less than chance: the variance between them is zero.
no_variance <- data.frame(
  y = c(1.1, -0.9, 0.2, -0.4, 0.9, -1.0, 0.5, -0.3, -0.8, 1.2, -0.1, 0.1),
  g = rep(letters[1:6], each = 2), x = rep(c(-1, 1), 6)
)

# Intercepts and slopes of six groups that lie on a line, but for noise.
on_a_line <- local({
  d <- data.frame(g = rep(1:6, each = 5), x = rep(-2:2, 6))
  u <- c(-2, -1.2, -0.3, 0.4, 1.1, 2)
  noise <- 0.2 * sin(7 * seq_len(nrow(d))^2)
  d$y <- 3 + u[d$g] + (1 + 0.5 * u[d$g]) * d$x + noise
  d
})

# Three terms that move together in a plane, no two of them on a line.
in_a_plane <- local({
  d <- expand.grid(x = -2:2, z = c(-1, 0, 1), g = 1:9)
  a <- c(2, -1, 0.5, -1.5, 1, 0, -0.5, 1.2, -1.7)
  b <- c(0.3, 1, -1.2, 0.4, -0.8, 1.5, -1, 0.2, -0.4)
  noise <- 0.3 * sin(11 * seq_len(nrow(d))^2)
  d$y <- 1 + a[d$g] + b[d$g] * d$x + (a - b)[d$g] * d$z + noise
  d
})

# Everything that may not break on a boundary.
expect_whole <- function(fit) {
  expect_identical(convergence(fit)$status, "converged")
  expect_lt(convergence(fit)$gradient, 1e-6)
  expect_true(is.finite(logLik(fit)) && is.finite(stats::AIC(fit)) && is.finite(stats::BIC(fit)))
  expect_true(all(is.finite(vcov(fit))))
  inside <- with(parameters_of(fit), !fixed & !boundary)
  expect_true(all(is.finite(sqrt(diag(vcov(fit, full = TRUE)))[inside])))
  expect_true(all(is.na(diag(vcov(fit, full = TRUE))[!inside &
                                                     parameters_of(fit)$block != "beta"])))
  expect_true(all(is.finite(latent(fit)$mean)) && all(is.finite(latent(fit)$sd)))
  expect_true(all(is.finite(fitted(fit))))
  expect_no_error(utils::capture.output(print(fit), print(summary(fit))))
}

# ---- boundaries ------------------------------------------------------------------------------

test_that("a variance of zero is exactly zero, and the fit least squares", {
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (1 | g), no_variance, method = method)
    expect_identical(theta(fit)[["sd__(Intercept)|g"]], 0)
    expect_identical(parameters_of(fit)$boundary, c(FALSE, FALSE, TRUE, FALSE))
    expect_whole(fit)
    squares <- fit_glmm(y ~ x, no_variance, method = method)
    expect_equal(coef(fit), coef(squares), tolerance = 1e-10)
    expect_equal(sigma(fit), sigma(squares), tolerance = 1e-9)
    expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(squares)), tolerance = 1e-12)
    expect_equal(vcov(fit), vcov(squares), tolerance = 1e-9)
    expect_equal(vcov(fit, full = TRUE)["sigma", "sigma"],
                 vcov(squares, full = TRUE)["sigma", "sigma"], tolerance = 1e-8)
    expect_identical(latent(fit)$mean, numeric(6))
    expect_identical(latent(fit, type = "conditional")$sd, numeric(6))
    expect_true(all(latent(fit)$sd > 0)) # the variance is estimated
  }
})

test_that("one zero variance of several leaves the others as if its term were not there", {
  d <- rbind(no_variance, transform(no_variance, x = 2 * x, y = -y))
  d$y <- d$y + 0.5 * d$x * as.integer(factor(d$g))
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (x || g), d, method = method)
    expect_identical(theta(fit)[["sd__(Intercept)|g"]], 0)
    expect_identical(which(parameters_of(fit)$boundary), 3L)
    expect_whole(fit)
    smaller <- fit_glmm(y ~ x + (0 + x | g), d, method = method)
    expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(smaller)), tolerance = 1e-11)
    shared <- names(theta(smaller))
    expect_equal(bare(theta(fit))[shared], bare(theta(smaller)), tolerance = 1e-8)
    expect_equal(vcov(fit, full = TRUE)[shared, shared], vcov(smaller, full = TRUE),
                 tolerance = 1e-6)
  }
})

test_that("zero variances are found for data of any unit", {
  for (unit in c(1e-150, 1e-6, 1e6, 1e150)) {
    fit <- fit_glmm(y ~ x + (1 | g), transform(no_variance, y = y * unit))
    expect_identical(theta(fit)[["sd__(Intercept)|g"]], 0)
  }
})

test_that("a correlation of one is exactly one", {
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (x | g), on_a_line, method = method)
    expect_identical(theta(fit)[["cor__(Intercept).x|g"]], 1)
    expect_identical(parameters_of(fit)$name[parameters_of(fit)$boundary], "cor__(Intercept).x|g")
    expect_whole(fit)
    # No higher likelihood off the boundary.
    objective <- function(cor) {
      at <- replace(bare(theta(fit)), "cor__(Intercept).x|g", cor)
      reference_of_fit(fit, at)$log_evidence
    }
    expect_equal(as.numeric(logLik(fit)), objective(1), tolerance = 1e-10)
    expect_gt(objective(1), objective(0.999))
  }
  mirrored <- fit_glmm(y ~ x + (x | g), transform(on_a_line, x = -x))
  expect_identical(theta(mirrored)[["cor__(Intercept).x|g"]], -1)
})

test_that("on a correlation of one the other standard errors are those of the restricted model", {
  skip_if_not_installed("numDeriv")
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + (x | g), on_a_line, method = method)
    free <- with(parameters_of(fit), !boundary & block != "beta")
    variance <- function(value) {
      at <- replace(bare(theta(fit)), free, value)
      pieces <- reference_pieces(fit, at)
      beta <- reference_gls(design_of(fit), pieces$Sigma, pieces$s2)$beta
      reference_lmm(design_of(fit), beta, pieces$Sigma, pieces$s2,
                    integrate_beta = method == "reml")$log_evidence
    }
    at <- bare(theta(fit))[free]
    expected <- solve(-numDeriv::hessian(variance, at))
    unit <- sqrt(outer(diag(expected), diag(expected)))
    ours <- vcov(fit, full = TRUE)[free, free]
    expect_lt(max(abs(ours - expected) / unit), 1e-5)
    expect_lt(max(abs(numDeriv::grad(variance, at)) * sqrt(diag(expected))), 1e-6)
  }
})

# Sigma = L L' with the last column of L zero, five parameters.
plane <- function(l) tcrossprod(rbind(c(l[1], 0), l[2:3], l[4:5]))

test_that("a singular covariance of three terms is an optimum among the singular ones", {
  skip_if_not_installed("numDeriv")
  skip_on_cran()
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ x + z + (x + z | g), in_a_plane, method = method)
    expect_whole(fit)
    Sigma <- unclass(VarCorr(fit)$g)
    attributes(Sigma) <- list(dim = c(3, 3))
    values <- eigen(Sigma, symmetric = TRUE)$values
    expect_lt(values[3] / values[1], 1e-12)
    expect_gt(values[2] / values[1], 1e-3)
    design <- design_of(fit)
    objective <- function(at) {
      s2 <- rep(exp(2 * at[6]), nrow(design$X))
      beta <- reference_gls(design, plane(at), s2)$beta
      reference_lmm(design, beta, plane(at), s2, integrate_beta = method == "reml")$log_evidence
    }
    l <- t(chol(Sigma[1:2, 1:2]))
    at <- c(l[1, 1], l[2, 1:2], solve(l, Sigma[1:2, 3]), log(sigma(fit)))
    expect_equal(as.numeric(logLik(fit)), objective(at), tolerance = 1e-9)
    covariance <- solve(-numDeriv::hessian(objective, at))
    slope <- numDeriv::grad(objective, at)
    expect_lt(max(abs(slope) * sqrt(diag(covariance))), 1e-5)
    natural <- function(at) {
      S <- plane(at)
      sd <- sqrt(diag(S))
      c(sd, (S / outer(sd, sd))[cbind(c(1, 1, 2), c(2, 3, 3))], exp(at[6]))
    }
    jacobian <- numDeriv::jacobian(natural, at)
    expected <- sqrt(diag(jacobian %*% covariance %*% t(jacobian)))
    ours <- sqrt(diag(var_cov_of(fit)))
    expect_equal(unname(ours), expected, tolerance = 1e-5)
  }
})

test_that("known standard errors that explain all differences leave a variance of zero", {
  # Rubin's eight schools (Gelman et al., Bayesian Data Analysis, table 5.2).
  schools <- data.frame(school = LETTERS[1:8], effect = c(28, 8, -3, 7, -1, 1, 18, 12),
                        se = c(15, 10, 16, 11, 9, 11, 10, 18))
  for (method in c("em", "reml")) {
    fit <- fit_glmm(effect ~ 1 + (1 | school), schools, se = se, method = method)
    expect_identical(theta(fit)[["sd__(Intercept)|school"]], 0)
    expect_whole(fit)
    expect_equal(unname(coef(fit)), with(schools, stats::weighted.mean(effect, 1 / se^2)),
                 tolerance = 1e-12)
    expect_equal(unname(vcov(fit)[1, 1]), 1 / sum(1 / schools$se^2), tolerance = 1e-12)
  }
})

test_that("a random term the data say nothing about is named", {
  d <- transform(on_a_line, nothing = 0, double = 2 * x)
  expect_warning(fit <- fit_glmm(y ~ x + (0 + nothing | g), d),
                 class = "elbo_warning_unidentified")
  expect_true(is.na(vcov(fit, full = TRUE)["sd__nothing|g", "sd__nothing|g"]))
  expect_true(is.finite(vcov(fit, full = TRUE)["sigma", "sigma"]))
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(fit_glmm(y ~ x, d))),
               tolerance = 1e-10)
  expect_snapshot({
    fit <- fit_glmm(y ~ x + (0 + x + double || g), d)
  })
})

# ---- theta, vcov, logLik ---------------------------------------------------------------------

test_that("theta() has the documented names and order", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont)
  expect_named(theta(fit), c("(Intercept)", "age", "sd__(Intercept)|Subject", "sd__age|Subject",
                             "cor__(Intercept).age|Subject", "sigma"))
  expect_identical(attr(theta(fit), "fixed"), logical(6))
  fit <- fit_glmm(distance ~ age + (age || Subject), orthodont, sigma = ~ Sex,
                  prior = priors(`sd__age|Subject` = constant(0.2)))
  expect_named(theta(fit), c("(Intercept)", "age", "sd__(Intercept)|Subject", "sd__age|Subject",
                             "sigma|Male", "sigma|Female"))
  expect_identical(which(attr(theta(fit), "fixed")), 4L)
  expect_identical(theta(fit)[["sd__age|Subject"]], 0.2)
  # Blocks follow one another, each with its sds before its correlations.
  d <- transform(orthodont, a = age - 11, b = age^2 - 126)
  fit <- fit_glmm(distance ~ a + (1 | Subject) + (0 + a + b | Subject), d)
  expect_named(theta(fit), c("(Intercept)", "a", "sd__(Intercept)|Subject", "sd__a|Subject",
                             "sd__b|Subject", "cor__a.b|Subject", "sigma"))
  nested <- fit_glmm(distance ~ 1 + (1 | Sex:Subject), orthodont)
  expect_named(theta(nested), c("(Intercept)", "sd__(Intercept)|Sex:Subject", "sigma"))
  known <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se)
  expect_named(theta(known), c("(Intercept)", "sd__(Intercept)|country"))
  expect_named(theta(fit_glmm(distance ~ age, orthodont)), c("(Intercept)", "age", "sigma"))
})

test_that("vcov() is symmetric, named, and NA where nothing is estimated", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont,
                  prior = priors(`sd__age|Subject` = constant(0.2)))
  for (type in c("observed", "full_observed", "sandwich")) {
    V <- vcov(fit, full = TRUE, type = type)
    expect_identical(dimnames(V), list(names(theta(fit)), names(theta(fit))))
    expect_equal(V, t(V), tolerance = 1e-12)
    expect_true(all(is.na(V["sd__age|Subject", ])))
    expect_true(all(is.finite(V[-4, -4])))
    expect_equal(vcov(fit, type = type), V[1:2, 1:2])
    expect_true(all(eigen(V[-4, -4], symmetric = TRUE)$values > 0))
  }
  expect_identical(vcov(fit, full = TRUE)["age", "sigma"], 0)
  expect_error(vcov(fit, type = "robust"), class = "elbo_error_argument")
  expect_error(vcov(fit, full = NA), class = "elbo_error_argument")
})

test_that("logLik() is refused where there is no marginal likelihood", {
  held <- priors(Subject = constant(1))
  fit <- fit_glmm(distance ~ age + (1 | Subject), orthodont, method = "joint", prior = held)
  expect_error(logLik(fit), class = "elbo_error_loglik")
  expect_snapshot(refusal(logLik(fit)))
})

# ---- elbo() ----------------------------------------------------------------------------------

test_that("elbo() is the objective at the optimum and anywhere, from dense matrices", {
  d <- transform(orthodont, w = rep(c(1, 2, 0.5, 1.5), 27))
  for (method in c("em", "reml")) {
    fit <- fit_glmm(distance ~ age + (age | Subject), d, method = method, weights = w,
                    sigma = ~ Sex)
    expect_equal(elbo(fit), as.numeric(logLik(fit)), tolerance = 1e-10)
    elsewhere <- bare(theta(fit)) * c(1.1, 0.9, 1.3, 0.8, -0.5, 1.2, 0.7)
    expected <- reference_of_fit(fit, elsewhere)$log_evidence
    if (method == "em") {
      expect_equal(elbo(fit, theta = elsewhere), expected, tolerance = 1e-9)
    } else {
      # The restricted likelihood does not depend on the coefficients.
      variances <- replace(elsewhere, 1:2, bare(theta(fit))[1:2])
      expect_equal(elbo(fit, theta = variances), expected, tolerance = 1e-9)
    }
    expect_lt(elbo(fit, theta = elsewhere), elbo(fit))
  }
})

test_that("elbo() at another q is lower by the divergence from the posterior", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont)
  expect_equal(elbo(fit, q = moments_of(fit)), elbo(fit), tolerance = 1e-9)
  q <- moments_of(fit)
  q$mean <- q$mean + 0.1 * cos(seq_along(q$mean))
  q$cov <- q$cov * 0.6
  model <- reference_of_fit(fit)
  m <- dim(q$cov)[3]
  cov <- matrix(0, 2 * m, 2 * m)
  for (g in seq_len(m)) cov[2 * g - 1:0, 2 * g - 1:0] <- q$cov[, , g]
  mean <- as.vector(t(q$mean))
  expect_equal(elbo(fit, q = q), reference_elbo(model, mean, cov), tolerance = 1e-9)
  expect_equal(elbo(fit) - elbo(fit, q = q), reference_kl(model, mean, cov), tolerance = 1e-7)
})

test_that("elbo() at the optimum of joint is the dense log p(y, z)", {
  held <- priors(Subject = constant(1))
  fit <- fit_glmm(distance ~ age + (1 | Subject), orthodont, method = "joint", prior = held)
  expect_equal(elbo(fit), reference_joint(reference_of_fit(fit)), tolerance = 1e-10)
  moved <- bare(theta(fit)) * c(1, 1, 1, 1.1)
  expect_lt(elbo(fit, theta = moved), elbo(fit))
})

# ---- trace -----------------------------------------------------------------------------------

test_that("elbo_trace() has a row for every step, E and M in turn", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont)
  trace <- elbo_trace(fit)
  expect_named(trace, c("iteration", "step", "elbo", "log_evidence", "kl"))
  expect_identical(trace$step[1], "start")
  em <- trace[trace$step %in% c("E", "M"), ]
  expect_identical(em$step, rep(c("M", "E"), convergence(fit)$em))
  expect_identical(sum(trace$step == "newton"), convergence(fit)$newton)
  expect_identical(max(trace$iteration), convergence(fit)$iterations)
  # An M-step opens the gap that the next E-step closes.
  expect_true(all(trace$kl[trace$step == "M"] > 0))

  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont,
                  control = elbo_control(accelerate = "squarem", max_iter = 1e5))
  expect_true("squarem" %in% elbo_trace(fit)$step)
  expect_identical(sum(elbo_trace(fit)$step == "squarem"), convergence(fit)$squarem)
})
