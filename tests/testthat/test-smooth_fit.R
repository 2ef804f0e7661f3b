# Smooth terms in fit_glmm(): against dense matrices, and against mgcv and lme4.

wiggly <- withr::with_seed(1, {
  n <- 120
  d <- data.frame(x = stats::runif(n, 0, 10), z = stats::rnorm(n), w = stats::runif(n, 0.5, 2),
                  g = factor(sample(10, n, TRUE)), f = factor(sample(c("a", "b"), n, TRUE)))
  d$y <- sin(d$x) * (d$f == "a") + 0.3 * d$x + stats::rnorm(10, 0, 0.5)[d$g] +
    stats::rnorm(n, 0, 0.4) / sqrt(d$w)
  d
})

# y ~ N(X beta, Z Sigma Z' + B diag(sd^2) B' + R), straight from its definition.
dense_smooth <- function(fit, theta = theta_of(fit)) {
  design <- design_of(fit)
  block <- parameters_of(fit)$block
  n <- length(design$y)
  law <- theta_parts(fit, theta)$Sigma
  V <- if (ncol(design$Z) == 0) matrix(0, n, n)
       else (design$Z %*% law %*% t(design$Z)) * outer(the_group(design), the_group(design), `==`)
  size <- table(factor(sub("[.][0-9]+$", "", colnames(design$B)), curve_labels(design$curves)))
  variance <- rep(theta[block == "smooth"]^2, size)
  V <- V + design$B %*% (variance * t(design$B))
  sigma <- theta[block == "sigma"]
  if (!is.null(design$level)) sigma <- sigma[as.integer(design$level)]
  diag(V) <- diag(V) + sigma^2 / (if (is.null(design$weights)) 1 else design$weights)
  X <- design$X
  inverse <- solve(V)
  C <- solve(t(X) %*% inverse %*% X)
  beta <- if (method_of(fit) == "em") theta[block == "beta"]
          else drop(C %*% t(X) %*% inverse %*% design$y)
  r <- drop(design$y - X %*% beta)
  twice <- n * log(2 * pi) + as.numeric(determinant(V)$modulus) + drop(r %*% inverse %*% r)
  if (method_of(fit) == "reml") {
    twice <- twice - ncol(X) * log(2 * pi) - as.numeric(determinant(C)$modulus)
  }
  list(value = -0.5 * twice, beta = beta, C = C,
       b = variance * drop(t(design$B) %*% inverse %*% r))
}

smooth_fits <- function(method) {
  list(
    fit_glmm(y ~ s(x), wiggly, method = method),
    fit_glmm(y ~ s(x, k = 6) + (1 + z | g), wiggly, weights = w, method = method),
    fit_glmm(y ~ f + s(x, by = f, k = 7) + (1 | g), wiggly, sigma = ~ f, method = method),
    fit_glmm(y ~ s(x, by = z, k = 5) + s(x) + (1 | g), wiggly, method = method),
    fit_glmm(y ~ 0 + s(x), wiggly, method = method)
  )
}

test_that("log-likelihood, coefficients and curves are those of dense matrices", {
  for (method in c("em", "reml")) {
    for (fit in smooth_fits(method)) {
      exact <- dense_smooth(fit)
      expect_equal(objective_of(fit), exact$value, tolerance = 1e-12)
      expect_equal(coef(fit), exact$beta, tolerance = 1e-9, ignore_attr = TRUE)
      expect_equal(vcov(fit), exact$C, tolerance = 1e-9, ignore_attr = TRUE)
      expect_equal(smooth_of(fit)$mean, exact$b, tolerance = 1e-8, ignore_attr = TRUE)
      elsewhere <- theta(fit)
      scales <- parameters_of(fit)$block %in% c("sd", "smooth", "sigma")
      elsewhere[scales] <- 0.8 * elsewhere[scales] + 0.1
      expect_equal(elbo(fit, elsewhere), dense_smooth(fit, elsewhere)$value, tolerance = 1e-12)
    }
  }
})

test_that("the fit is a maximum: derivatives are those of differences", {
  for (method in c("em", "reml")) {
    for (fit in smooth_fits(method)[2:4]) {
      eta <- eta_of(fit) * seq(0.8, 1.2, length.out = length(eta_of(fit)))
      at <- at_eta(fit, eta)
      # Central differences of fourth order: error h^4 f^(5) / 30.
      slope <- function(what) {
        vapply(seq_along(eta), function(j) {
          f <- function(step) what(at_eta(fit, replace(eta, j, eta[j] + step)))
          h <- 1e-3
          (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)
        }, what(at))
      }
      expect_equal(at$score, slope(function(a) a$objective), tolerance = 1e-7)
      profile <- at$hessian + at$cross %*% at$beta_cov %*% t(at$cross)
      expect_equal(profile, slope(function(a) a$score), tolerance = 1e-6)
      beta <- seq_along(coef(fit))
      expect_equal(at$beta_cov_slope[beta, beta, ],
                   array(slope(function(a) as.vector(a$beta_cov[beta, beta])),
                         c(length(beta), length(beta), length(eta))), tolerance = 1e-5)
    }
  }
})

test_that("ELBO, KL and log evidence agree at every half-step, and row by row", {
  for (method in c("em", "reml")) {
    slow <- elbo_control(accelerate = "none", max_iter = 20)
    fit <- suppressWarnings(fit_glmm(y ~ s(x) + (1 | g), wiggly, method = method, control = slow))
    trace <- elbo_trace(fit)
    expect_equal(trace$elbo + trace$kl, trace$log_evidence, tolerance = 1e-11)
    expect_true(all(diff(trace$elbo) > -1e-9))
    expect_equal(trace$kl[trace$step == "E"], numeric(sum(trace$step == "E")), tolerance = 1e-9)
    # Independent of the summaries: the definition, row by row.
    expect_equal(elbo(fit, q = moments_of(fit)), elbo(fit), tolerance = 1e-11)
    worse <- moments_of(fit)
    worse$cov <- worse$cov / 2
    expect_lt(elbo(fit, q = worse), elbo(fit))
  }
  points <- fit_glmm(y ~ s(x), wiggly, method = "joint", prior = priors(sd = constant(5)))
  expect_equal(elbo(points, q = moments_of(points)), elbo(points), tolerance = 1e-11)
})

test_that("mgcv's REML fits are the same: curve, band, degrees of freedom, sigma and sd", {
  skip_if_not_installed("mgcv")
  fit <- fit_glmm(y ~ s(x), wiggly, method = "reml")
  knots <- smooth_knots(wiggly$x, NULL, "s(x)")
  s <- mgcv::s
  exact <- mgcv::gam.control(newton = list(conv.tol = 1e-12), epsilon = 1e-13)
  peer <- mgcv::gam(y ~ s(x, bs = "cr", k = 10), data = wiggly, knots = list(x = knots),
                    method = "REML", control = exact)
  grid <- data.frame(x = seq(min(wiggly$x), max(wiggly$x), length.out = 50))
  ours <- predict(fit, grid, se.fit = TRUE)
  theirs <- predict(peer, grid, se.fit = TRUE)
  expect_equal(ours$fit, theirs$fit, tolerance = 1e-8, ignore_attr = TRUE)
  expect_equal(ours$se.fit, theirs$se.fit, tolerance = 1e-7, ignore_attr = TRUE)
  expect_equal(summary(fit)$curves$edf, summary(peer)$edf, tolerance = 1e-7)
  expect_equal(sigma(fit), sqrt(peer$sig2), tolerance = 1e-8)
  # The weight of the penalty is sigma^2 / sd^2; x in units of the range of the knots.
  weight <- peer$sp / peer$smooth[[1]]$S.scale / diff(range(knots))^3
  expect_equal(theta(fit)[["sd__s(x)"]], unname(sqrt(peer$sig2 / weight)), tolerance = 1e-6)
})

test_that("mgcv's fits with random intercepts are the same", {
  skip_if_not_installed("mgcv")
  fit <- fit_glmm(y ~ s(x) + (1 | g), wiggly, method = "reml")
  s <- mgcv::s
  peer <- mgcv::gam(y ~ s(x, bs = "cr", k = 10) + s(g, bs = "re"), data = wiggly, method = "REML")
  expect_equal(fitted(fit), fitted(peer), tolerance = 1e-4, ignore_attr = TRUE)
  expect_equal(summary(fit)$curves$edf, summary(peer)$edf[1], tolerance = 1e-3)
  expect_equal(sigma(fit), sqrt(peer$sig2), tolerance = 1e-4)
})

test_that("lme4 with the same columns as random effects has the same likelihood", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(y ~ s(x) + (1 | g), wiggly, method = "reml")
  B <- design_of(fit)$B
  parts <- lme4::lFormula(y ~ x + (1 | g), wiggly)
  random <- parts$reTrms
  q <- nlevels(wiggly$g) + ncol(B)
  random$Zt <- rbind(random$Zt, Matrix::Matrix(t(B), sparse = TRUE))
  random$Lambdat <- Matrix::.sparseDiagonal(q, shape = "g")
  random$Lind <- rep(1:2, c(nlevels(wiggly$g), ncol(B)))
  random[c("theta", "lower")] <- list(c(1, 1), c(0, 0))
  for (method in c("em", "reml")) {
    fit <- update(fit, method = method)
    deviance <- lme4::mkLmerDevfun(parts$fr, parts$X, random, REML = method == "reml")
    relative <- theta(fit)[c("sd__(Intercept)|g", "sd__s(x)")] / sigma(fit)
    expect_equal(-2 * as.numeric(logLik(fit)), deviance(unname(relative)), tolerance = 1e-10)
  }
})

test_that("more knots than needed do not matter", {
  few <- fit_glmm(y ~ s(x, k = 20), wiggly, method = "reml", subset = f == "a")
  many <- update(few, . ~ s(x, k = 40))
  # Less than a fifth of its standard error anywhere.
  expect_lt(max(abs(fitted(few) - fitted(many)) / predict(few, se.fit = TRUE)$se.fit), 0.2)
  expect_equal(summary(few)$curves$edf, summary(many)$curves$edf, tolerance = 0.05)
  expect_equal(logLik(few)[1], logLik(many)[1], tolerance = 1e-2)
})

test_that("a straight line is sd 0, in words", {
  d <- withr::with_seed(2, data.frame(x = stats::runif(60)))
  # Residuals orthogonal to all columns of the curve.
  B <- smooth_columns(smooth_basis(d$x, smooth_knots(d$x, NULL, "")), d$x)
  e <- withr::with_seed(3, stats::rnorm(60))
  d$y <- 1 + 2 * d$x + stats::resid(stats::lm(e ~ d$x + B))
  for (method in c("em", "reml")) {
    fit <- fit_glmm(y ~ s(x), d, method = method)
    expect_identical(theta(fit)[["sd__s(x)"]], 0)
    line <- fit_glmm(y ~ x, d, method = method)
    expect_equal(objective_of(fit), objective_of(line), tolerance = 1e-12)
    expect_equal(coef(fit), coef(line), tolerance = 1e-10)
    expect_equal(summary(fit)$curves$edf, 1)
    expect_true(all(smooth_of(fit)$mean == 0))
    expect_match(paste(notes(fit), collapse = " "), "the curve is a straight line")
  }
  expect_equal(confint(fit, "sd__s(x)", type = "profile")[1], 0)
})

test_that("the generics have curves", {
  fit <- fit_glmm(y ~ f + s(x, by = f) + (1 | g), wiggly, method = "reml")
  expect_identical(names(theta(fit)), c("(Intercept)", "fb", "fa:x", "fb:x", "sd__(Intercept)|g",
                                        "sd__s(x):fa", "sd__s(x):fb", "sigma"))
  expect_equal(predict(fit, wiggly), fitted(fit), tolerance = 1e-12, ignore_attr = TRUE)
  expect_equal(predict(fit, re.form = NA) + ranef(fit)$g[wiggly$g, 1], fitted(fit),
               tolerance = 1e-12, ignore_attr = TRUE)
  expect_equal(formula(fit, fixed.only = TRUE), y ~ f + s(x, by = f), ignore_formula_env = TRUE)
  both <- latent(fit)
  expect_identical(unique(both$group), c("g", "s(x):fa", "s(x):fb"))
  expect_equal(both$mean[both$group == "s(x):fa"], ranef(fit)[["s(x):fa"]]$b)
  expect_equal(VarCorr(fit)[["s(x):fa"]][1], theta(fit)[["sd__s(x):fa"]]^2)
  expect_true("sd__s(x):fa" %in% tidy(fit)$term)
  full <- vcov(fit, full = TRUE)
  expect_gt(full["sd__s(x):fa", "sd__s(x):fa"], 0)
  expect_true(all(confint(fit)["sd__s(x):fa", ] > 0))
  refitted <- update(fit, . ~ . - s(x, by = f) + x:f)
  expect_identical(ratio_law(refitted, fit), "bootstrap")
  expect_lt(anova(refitted, fit, nsim = 49, seed = 1)[2, "Pr(>Chisq)"], 0.05)
  draws <- simulate(fit, 300, seed = 1)
  expect_equal(draws, simulate(fit, 300, seed = 1))
  expect_equal(dim(bootstrap(fit, 5, seed = 1)$theta), c(5, 8))
  # New curves at each draw: the variance is that of the model. 300 draws: sd of a variance 8 %.
  V <- design_of(fit)$B %*% (rep(theta(fit)[6:7]^2, each = 8) * t(design_of(fit)$B))
  expected <- mean(diag(V)) + theta(fit)[["sd__(Intercept)|g"]]^2 + sigma(fit)^2
  expect_equal(mean(apply(draws, 1, stats::var)), expected, tolerance = 0.2)
})

test_that("bootstrap draws curves in the statistics as simulate() does in rows", {
  fit <- fit_glmm(y ~ s(x), wiggly, method = "reml")
  of_rows <- refit_response(fit, as.matrix(simulate(fit, 300, seed = 1)))
  drawn <- bootstrap(fit, 300, seed = 2)$theta
  # Two samples of 300: sds of their means are sd / sqrt(300).
  apart <- colMeans(drawn) - colMeans(of_rows[, colnames(drawn)])
  expect_true(all(abs(apart) < 4 * apply(drawn, 2, stats::sd) * sqrt(2 / 300)))
})

test_that("priors of the sd of a curve are priors of an sd", {
  fit <- fit_glmm(y ~ s(x), wiggly, prior = priors(smooth = half_normal(2)))
  sd <- theta(fit)[["sd__s(x)"]]
  expect_equal(elbo(fit) - as.numeric(logLik(fit)), log(2) + stats::dnorm(sd, 0, 2, log = TRUE))
  # The maximum: nowhere else is the sum larger.
  total <- function(s) {
    at <- replace(theta(fit), "sd__s(x)", s)
    elbo(update(fit, prior = NULL), at) + log(2) + stats::dnorm(s, 0, 2, log = TRUE)
  }
  expect_equal(total(sd), elbo(fit), tolerance = 1e-10)
  expect_true(all(vapply(sd * c(0.9, 0.99, 1.01, 1.1), total, 0) < elbo(fit)))
  held <- fit_glmm(y ~ s(x), wiggly, prior = priors(sd = constant(5)))
  expect_identical(theta(held)[["sd__s(x)"]], 5)
  expect_lt(objective_of(held), update(held, prior = NULL)$objective)
})

# ---- variational Bayes ---------------------------------------------------------------------

# The coefficients of one curve are latent variables of as many groups, with one term each.
vb_curve <- function(...) {
  law <- priors(beta = normal(1, 4), smooth = half_t(3, 20), sigma = half_t(2, 1.5))
  fit <- fit_glmm(y ~ s(x), wiggly, method = "vb", prior = law, ...)
  problem <- vb_problem(fit, beta_mean = c(1, 1), beta_sd = c(4, 4), nu = 3, A = 20, sigma_nu = 2,
                        sigma_A = 1.5)
  m <- ncol(design_of(fit)$B)
  problem[c("W", "q", "m", "n_unit", "terms", "blocks")] <-
    list(design_of(fit)$B, 1, m, m, list(1), list(1))
  list(fit = fit, problem = problem)
}

test_that("vb: the ELBO is that of the factors in closed form, and no other q has more", {
  skip_if_not_installed("numDeriv")
  vb <- vb_curve()
  psi <- psi_of_fit(vb$fit)
  expect_equal(reference_vb_elbo(psi, vb$problem), objective_of(vb$fit), tolerance = 1e-12)
  expect_equal(numDeriv::grad(reference_vb_elbo, psi, problem = vb$problem), 0 * psi,
               tolerance = 1e-5)
  at <- unpack_psi(psi, vb$problem)
  normal <- best_normal(vb$problem, at)
  expect_equal(unname(all_coefficients(vb$fit)), unname(normal$mode), tolerance = 1e-8)
  expect_equal(unname(smooth_of(vb$fit)$coef_cov), unname(normal$cov), tolerance = 1e-8)
  expect_equal(unname(theta_of(vb$fit)[3:4]), scale_means(vb$problem, at), tolerance = 1e-8,
               ignore_attr = TRUE)
  expect_equal(elbo(vb$fit, q = variational(vb$fit)), elbo(vb$fit), tolerance = 1e-12)
  q <- variational(vb$fit)
  q[["sd^2|s(x)"]]$scale <- 1.3 * q[["sd^2|s(x)"]]$scale
  expect_lt(elbo(vb$fit, q = q), elbo(vb$fit))
})

test_that("vb: linear response is the derivative of means under tilts", {
  skip_if_not_installed("numDeriv")
  vb <- vb_curve()
  psi <- psi_of_fit(vb$fit)
  # By refits, tilted by beta, by a coefficient of the curve, and by the two sds.
  n <- 2 + ncol(design_of(vb$fit)$B)
  covariance <- function(tilt, scale_tilt) {
    up <- reference_vb(vb$problem, psi, tilt, scale_tilt)$mean
    down <- reference_vb(vb$problem, psi, -tilt, -scale_tilt)$mean
    unname(up - down) / 2
  }
  of_x <- covariance(replace(numeric(n), 2, 1e-3), c(0, 0)) / 1e-3
  of_b <- covariance(replace(numeric(n), 3, 1e-3), c(0, 0)) / 1e-3
  of_sd <- covariance(numeric(n), c(1e-3, 0)) / 1e-3
  full <- vcov(vb$fit, full = TRUE)
  # As correlations: a refit finds each mean to 1e-9 of its standard deviation, not of the mean.
  sd <- sqrt(diag(full))
  expect_equal(unname(full["x", ] / sd), of_x[c(1:2, n + 1:2)] / unname(sd), tolerance = 1e-4)
  expect_equal(unname(full["sd__s(x)", ]), of_sd[c(1:2, n + 1:2)], tolerance = 1e-3)
  expect_equal(unname(coefficient_cov(vb$fit)[3, ]), of_b[seq_len(n)], tolerance = 1e-4)
  expect_equal(latent(vb$fit)$sd[1]^2, of_b[3], tolerance = 1e-4)
})

test_that("vb: predictions, draws and sensitivities have curves", {
  fit <- fit_glmm(y ~ s(x) + (1 | g), wiggly, method = "vb")
  curve <- data.frame(x = c(2, 5, 8), g = c("1", "2", "3"))
  ours <- predict(fit, curve, se.fit = TRUE)
  draws <- simulate(fit, 2000, seed = 1, newdata = curve, re.form = NULL)
  # Monte Carlo: sd / sqrt(2000) of a mean, 1 / sqrt(4000) of an sd.
  total <- sqrt(ours$se.fit^2 + row_sd(root_mean_squares(fit), curve)^2)
  expect_true(all(abs(rowMeans(draws) - ours$fit) < 4 * total / sqrt(2000)))
  expect_equal(apply(draws, 1, stats::sd), total, tolerance = 4 / sqrt(4000), ignore_attr = TRUE)
  s <- sensitivity(fit, to = "prior")
  s <- s[s$estimate == "sd__s(x)" & s$prior == "sd__s(x)" & s$number == "scale", ]
  refit <- function(scale) {
    theta(update(fit, prior = priors(smooth = half_t(3, scale))))[["sd__s(x)"]]
  }
  h <- 1e-3 * s$value
  expect_equal(s$derivative, (refit(s$value + h) - refit(s$value - h)) / (2 * h), tolerance = 1e-4)
  skip_if_not_installed("posterior")
  sample <- posterior::as_draws(fit, 200, latent = TRUE, seed = 1)
  expect_true(all(c("sd__s(x)", "u[1,(Intercept)]", "u[8,s(x)]") %in% colnames(sample)))
})

test_that("vb: the verdict compares with the exact posterior", {
  vb <- vb_curve()
  check <- convergence(vb$fit)$check
  # The trapezoid rule on the logarithms of the two sds.
  log_sd <- seq(0, 7, by = 0.2)
  log_sigma <- seq(-1.5, 1, by = 0.1)
  grid <- expand.grid(sd = exp(log_sd), sigma = exp(log_sigma))
  density <- mapply(function(sd, sigma) {
    log_evidence_given(vb$problem, matrix(sd^2), sigma^2) + log_half_t(sd, 3, 20) +
      log_half_t(sigma, 2, 1.5) + log(sd) + log(sigma)
  }, grid$sd, grid$sigma)
  weight <- exp(density - log_sum_exp(density))
  mean <- sum(weight * grid$sd)
  row <- check$name == "sd__s(x)"
  # Monte Carlo error of the check is 1 % of an sd.
  expect_equal(check$mean[row], mean, tolerance = 0.02)
  expect_equal(check$sd[row], sqrt(sum(weight * (grid$sd - mean)^2)), tolerance = 0.04)
  evidence <- log_sum_exp(density) + log(0.2 * 0.1)
  expect_equal(convergence(vb$fit)$log_evidence, evidence, tolerance = 1e-3)
  expect_lt(elbo(vb$fit), evidence)
})

test_that("what smooth terms cannot do is refused", {
  expect_snapshot({
    refusal(fit_glmm(y ~ s(x), wiggly, method = "joint"))
    refusal(fit_glmm(y ~ s(x), wiggly, prior = priors(sd = constant(0))))
    refusal(fit_glmm(y ~ s(x), wiggly, prior = priors(`sd__s(x)` = constant(Inf))))
    refusal(vcov(fit_glmm(y ~ s(x), wiggly), type = "sandwich"))
    refusal(sensitivity(fit_glmm(y ~ s(x), wiggly), to = "data"))
    refusal(drop1(fit_glmm(y ~ s(x), wiggly)))
    refusal(fit_glmm(y ~ s(x), wiggly, method = "vb", factorization = "mean_field"))
    refusal(loo.elbo_glmm(fit_glmm(y ~ s(x), wiggly, method = "vb")))
  })
})

test_that("print and summary show curves", {
  fit <- fit_glmm(y ~ f + s(x, by = f) + (1 | g), wiggly, method = "reml")
  expect_snapshot({
    fit
    summary(fit)
  })
})

test_that("curves are drawn less their means, with the bands of predict()", {
  fit <- fit_glmm(y ~ s(x), wiggly, method = "reml")
  table <- curve_data(fit, design_of(fit)$curves[[1]], 0.95, n = 30)
  curve <- predict(fit, data.frame(x = table$x))
  centre <- mean(predict(fit, re.form = NA))
  expect_equal(table$estimate, unname(curve) - centre, tolerance = 1e-9)
  expect_true(all(table$low < table$estimate & table$estimate < table$high))
  by_number <- fit_glmm(y ~ s(log(x), by = z), wiggly, method = "reml")
  expect_true(all(is.finite(unlist(curve_data(by_number, design_of(by_number)$curves[[1]], 0.95)))))
  file <- withr::local_tempfile(fileext = ".pdf")
  grDevices::pdf(file)
  plot(fit, type = "curves")
  plot(by_number)
  grDevices::dev.off()
  expect_gt(file.size(file), 1000)
})

test_that("emmeans and marginaleffects see the curve", {
  skip_if_not_installed("emmeans")
  fit <- fit_glmm(y ~ s(x) + (1 | g), wiggly, method = "reml")
  means <- as.data.frame(emmeans::emmeans(fit, ~ x, at = list(x = c(2, 5))))
  expected <- predict(fit, data.frame(x = c(2, 5)), re.form = NA, se.fit = TRUE)
  expect_equal(means$emmean, unname(expected$fit), tolerance = 1e-10)
  expect_equal(means$SE, unname(expected$se.fit), tolerance = 1e-10)
  moved <- set_coef.elbo_fit(fit, get_coef.elbo_fit(fit) + 1)
  expect_equal(moved$smooth$mean, smooth_of(fit)$mean + 1)
})

test_that("curves are drawn beside covariates that are text", {
  d <- data.frame(x = rep(1:10, 4), arm = rep(c("a", "b"), each = 20))
  d$y <- sin(d$x) + (d$arm == "b") + rep(c(0.1, -0.1), 20)
  fit <- fit_glmm(y ~ s(x, k = 5) + arm, d)
  table <- curve_data(fit, design_of(fit)$curves[[1]], 0.95, n = 10)
  d$arm <- factor(d$arm)
  same <- fit_glmm(y ~ s(x, k = 5) + arm, d)
  expect_equal(table, curve_data(same, design_of(same)$curves[[1]], 0.95, n = 10))
})

test_that("a prior that falls from zero on has its edge at an sd of zero, beside a curve too", {
  for (seed in c(2, 7, 9, 16)) {
    set.seed(seed)
    d <- data.frame(x = rnorm(12), g = gl(6, 2))
    d$y <- d$x + rnorm(12)
    fit <- fit_glmm(y ~ s(x) + (x | g), d, method = "reml", prior = priors(sd = exponential(1)),
                    control = elbo_control(n_starts = 1))
    expect_identical(convergence(fit)$status, "converged")
    expect_lt(convergence(fit)$iterations, 60) # from one side of zero to the other: 9,995
    at <- theta(fit)
    for (sd in grep("^sd__|^sigma", names(at))) for (step in c(-1e-3, 1e-3)) {
      beside <- at
      beside[sd] <- max(0, at[sd] + step)
      expect_lte(elbo(fit, theta = beside), elbo(fit) + 1e-9)
    }
  }
})
