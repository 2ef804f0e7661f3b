# Variational Bayes against dense references written from the definitions
# (helper-reference-vb.R), Monte Carlo, and integrals over the scales.

# ---- the ELBO ----------------------------------------------------------------------------

test_that("the ELBO is E_q[log p - log q], constants included", {
  skip_on_cran()
  d <- vb_data()
  fits <- vb_cases(d)
  set.seed(2)
  for (name in names(fits)) {
    fit <- fits[[name]]
    values <- vb_draws(fit, problem_of(fit), 4000)
    error <- sd(values) / sqrt(length(values))
    expect_lt(error, 0.035)
    expect_lt(abs(mean(values) - elbo(fit)), 4 * error, label = name)
    expect_identical(elbo(fit), objective_of(fit))
  }
})

test_that("the ELBO is that of the factors in closed form, and no other q has more", {
  d <- vb_data()
  for (fit in vb_cases(d)) {
    problem <- problem_of(fit)
    psi <- psi_of_fit(fit)
    expect_equal(reference_vb_elbo(psi, problem), objective_of(fit), tolerance = 1e-12)
    for (i in seq_along(psi)) {
      for (step in c(-0.01, 0.01)) {
        moved <- replace(psi, i, psi[i] + step)
        expect_lt(reference_vb_elbo(moved, problem), objective_of(fit))
      }
    }
  }
})

test_that("the ELBO is below the log evidence, and close to it", {
  d <- vb_data(groups = 15, size = 4)
  law <- priors(beta = normal(0.5, 3), sd = half_t(3, 2), sigma = half_t(2, 1.5))
  fit <- fit_glmm(y ~ x + (1 | group), d, method = "vb", prior = law)
  problem <- problem_of(fit)
  # On the logarithms of the sds, where the integrand is smooth and vanishes at both ends:
  # there the trapezoid rule is as good as any.
  log_sd <- seq(-5, 2.5, by = 0.15)
  log_sigma <- seq(-1, 1, by = 0.1)
  grid <- expand.grid(sd = exp(log_sd), sigma = exp(log_sigma))
  density <- mapply(function(sd, sigma) {
    log_evidence_given(problem, matrix(sd^2), sigma^2) + log_half_t(sd, 3, 2) +
      log_half_t(sigma, 2, 1.5) + log(sd) + log(sigma)
  }, grid$sd, grid$sigma)
  evidence <- log_sum_exp(density) + log(0.15 * 0.1)
  expect_lt(elbo(fit), evidence)
  expect_gt(elbo(fit), evidence - 1)
  mean_field <- update(fit, factorization = "mean_field")
  expect_lt(elbo(mean_field), elbo(fit))
})

test_that("so it is where a covariance matrix is integrated", {
  skip_on_cran()
  d <- vb_data(groups = 15, size = 4)
  law <- priors(beta = normal(0.5, 3), sd = half_t(3, 2), sigma = half_t(2, 1.5))
  fit <- fit_glmm(y ~ x + (x | group), d, method = "vb", prior = law)
  problem <- problem_of(fit)
  # Importance sampling of the scales from q with half its degrees of freedom.
  q <- lapply(scale_factors(variational(fit)), function(f) {
    list(df = f$df / 2, scale = f$scale / 2)
  })
  set.seed(3)
  draw <- function(f) solve(matrix(rWishart(1, f$df, solve(f$scale)), nrow(f$scale)))
  ratio <- replicate(4000, {
    Sigma <- draw(q[[1]])
    s2 <- draw(q[[2]])
    log_evidence_given(problem, Sigma, s2) + log_prior_scale(Sigma, 3, c(2, 2)) +
      log_prior_scale(s2, 2, 1.5) - log_inverse_wishart(Sigma, q[[1]]$df, q[[1]]$scale) -
      log_inverse_wishart(s2, q[[2]]$df, q[[2]]$scale)
  })
  evidence <- log_sum_exp(ratio) - log(length(ratio))
  weight <- exp(ratio - max(ratio))
  expect_lt(sd(weight) / mean(weight) / sqrt(length(weight)), 0.1)
  expect_lt(elbo(fit), evidence)
  expect_gt(elbo(fit), evidence - 2)
})

test_that("with all scales held q is exact, and so is the bound", {
  d <- vb_data(groups = 5, size = 4)
  law <- priors(beta = normal(0.5, 3), sd = constant(1), cor = constant(0.3),
                sigma = constant(0.8))
  fit <- fit_glmm(y ~ x + (x | group), d, method = "vb", prior = law)
  Sigma <- matrix(c(1, 0.3, 0.3, 1), 2)
  expect_equal(elbo(fit), log_evidence_given(problem_of(fit), Sigma, 0.64), tolerance = 1e-10)
  expect_equal(unname(theta(fit)[3:6]), c(1, 1, 0.3, 0.8), ignore_attr = TRUE)
  V <- vcov(fit, full = TRUE)
  expect_true(all(is.na(V[3:6, ])))
  expect_equal(V[1:2, 1:2], vcov(fit, type = "mean_field"))
  expect_named(variational(fit), "beta, u")

  meta <- fit_glmm(y ~ 1 + (1 | group), d, method = "vb", se = s,
                   prior = priors(beta = normal(0.5, 3), sd = constant(0.5)))
  expect_equal(elbo(meta), log_evidence_given(problem_of(meta), matrix(0.25), NULL),
               tolerance = 1e-10)
})

test_that("the exact evidence at given scales, which the check of q samples, is the dense one", {
  d <- vb_data(groups = 6)
  fits <- vb_cases(d)
  for (name in c("slopes", "levels", "known_se", "mean_field", "linear")) {
    fit <- fits[[name]]
    problem <- problem_of(fit)
    Sigma <- matrix(c(0.8, 0.1, 0.1, 0.4), 2)[seq_len(problem$q), seq_len(problem$q), drop = FALSE]
    sigma <- c(0.9, 1.2)[seq_len(max(1, problem$n_level))]
    if (name == "known_se") sigma <- 1
    at <- .Call(C_glmm_evaluate, model_of(fit), matrix(c(Sigma, sigma)))
    expect_equal(at[1], log_evidence_given(problem, Sigma, sigma^2), tolerance = 1e-10,
                 label = name)
    normal <- best_normal(replace(problem, "factorization", "structured"),
                          list(S = Sigma, v = sigma^2))
    expect_equal(at[2:3], unname(normal$mode[1:2]), tolerance = 1e-8)
    expect_equal(matrix(at[4:7], 2), unname(normal$cov[1:2, 1:2]), tolerance = 1e-8)
  }
})

# ---- the ascent --------------------------------------------------------------------------

test_that("no local or global step lowers the ELBO", {
  d <- vb_data()
  slow <- elbo_control(accelerate = "none", max_iter = 300, tol = 1e-6)
  models <- list(y ~ x + (1 | group), y ~ x + (x | group), y ~ x + (x || group))
  for (factorization in c("structured", "mean_field")) {
    for (model in models) {
      fit <- suppressWarnings(fit_glmm(model, d, method = "vb", factorization = factorization,
                                       control = slow))
      trace <- elbo_trace(fit)
      expect_setequal(trace$step, c("start", "local", "global"))
      expect_true(all(diff(trace$elbo) >= -1e-10 * abs(objective_of(fit))))
      expect_true(all(is.na(trace$log_evidence)) && all(is.na(trace$kl)))
    }
  }
})

test_that("every way up leads to the same optimum", {
  d <- vb_data()
  for (model in list(y ~ x + (1 | group), y ~ x + (x | group))) {
    for (factorization in c("structured", "mean_field")) {
      climb <- function(accelerate, tol = 1e-8) {
        fit_glmm(model, d, method = "vb", factorization = factorization, sigma = ~ arm,
                 control = elbo_control(accelerate = accelerate, tol = tol, max_iter = 1e5))
      }
      auto <- climb("auto")
      expect_identical(convergence(auto)$status, "converged")
      expect_lt(convergence(auto)$gradient, 1e-6)
      for (other in list(climb("none", 1e-10), climb("squarem", 1e-10))) {
        expect_equal(elbo(other), elbo(auto), tolerance = 1e-8)
        expect_equal(theta(other), theta(auto), tolerance = 1e-4)
      }
    }
  }
})

# ---- linear response ---------------------------------------------------------------------

test_that("linear response is the derivative of E_q under tilts, for every parameter", {
  skip_if_not_installed("numDeriv")
  skip_on_cran()
  d <- vb_data(groups = 7, size = 4)
  for (fit in vb_cases(d)[c("intercepts", "levels", "weights", "known_se", "linear", "no_beta",
                            "mean_field")]) {
    problem <- problem_of(fit)
    psi <- psi_of_fit(fit)
    V <- vcov(fit, full = TRUE)
    p <- ncol(problem$X)
    n_latent <- problem$m * problem$q
    latent <- p + seq_len(n_latent)
    keep <- setdiff(seq_len(nrow(V) + n_latent), latent)
    response <- function(j, step) {
      t <- replace(numeric(nrow(V) + n_latent), j, step)
      moved <- function(t) {
        reference_vb(problem, psi, t[seq_len(p + n_latent)], t[-seq_len(p + n_latent)])$mean
      }
      (moved(t) - moved(-t)) / (2 * step)
    }
    expect_equal(unname(reference_vb(problem, psi)$mean[keep]), as.vector(theta(fit)),
                 tolerance = 1e-7)
    size <- sqrt(diag(V))
    refits <- vapply(seq_along(keep), function(j) response(keep[j], 1e-3 / size[j])[keep], size)
    expect_lt(max(abs(refits - V) / outer(size, size)), 5e-5)
    if (n_latent == 0) next
    tilted <- vapply(latent[1:3], function(j) response(j, 1e-2)[j], 0)
    expect_equal(latent(fit)$sd[1:3], sqrt(tilted), tolerance = 1e-4)
  }
})

test_that("refits under moved priors of the coefficients are what linear response says", {
  # The log joint tilted by t beta_j is the same model with the prior mean moved by t sd^2.
  d <- vb_data(groups = 20)
  refit <- function(mean, factorization) {
    law <- priors(`(Intercept)` = normal(0.5, 3), x = normal(mean, 3))
    fit_glmm(y ~ x + (x | group), d, method = "vb", prior = law, factorization = factorization)
  }
  for (factorization in c("structured", "mean_field")) {
    fit <- refit(1, factorization)
    t <- 0.01 / sqrt(vcov(fit)["x", "x"])
    moved <- (theta(refit(1 + 9 * t, factorization)) - theta(refit(1 - 9 * t, factorization))) /
      (2 * t)
    size <- sqrt(diag(vcov(fit, full = TRUE)))
    expected <- vcov(fit, full = TRUE)["x", ]
    expect_lt(max(abs(moved - expected) / (size * size[["x"]])), 1e-4)
  }
})

test_that("a moved precision of the residuals is answered as linear response says", {
  # A row with x = 0 and no random effect has the density of N(0, sigma^2): moving its y by
  # little tilts the log joint by -y^2 / 2 times sigma^-2, whose mean under q is known. By
  # symmetry of the linear response covariance of (beta, sigma^-2), it is the covariance of
  # beta and the precision.
  d <- vb_data(groups = 10)[c("y", "x", "group")]
  law <- priors(beta = normal(0, 5), sd = half_t(3, 2), sigma = half_t(3, 2))
  at <- function(x_tilt, y) {
    rows <- rbind(d, data.frame(y = y, x = 0, group = "1"))
    prior <- priors(beta = normal(25 * x_tilt, 5), sd = half_t(3, 2), sigma = half_t(3, 2))
    fit <- fit_glmm(y ~ 0 + x + (0 + x | group), rows, method = "vb", prior = prior)
    precision <- variational(fit)[["sigma^2"]]
    c(theta(fit), precision = precision$shape / precision$scale)
  }
  h <- 1e-3
  by_beta <- (at(h, 1) - at(-h, 1)) / (2 * h)
  up <- sqrt(1 - 2 * h)
  down <- sqrt(1 + 2 * h)
  by_precision <- (at(0, up) - at(0, down)) / (2 * h)
  expect_equal(by_precision[["x"]], by_beta[["precision"]], tolerance = 1e-3)
})

test_that("of a model with nothing to approximate, linear response is exact", {
  # Known scales: q is the posterior, a normal one.
  d <- vb_data(groups = 6)
  fit <- fit_glmm(y ~ x + (1 | group), d, method = "vb", factorization = "mean_field",
                  prior = priors(beta = normal(0, 4), sd = constant(1.2), sigma = constant(0.7)))
  problem <- problem_of(fit)
  D <- cbind(problem$X, problem$W)
  dimnames(D) <- NULL
  posterior <- solve(crossprod(D) / 0.49 + diag(c(1 / 16, 1 / 16, rep(1 / 1.44, 6))))
  expect_equal(unname(vcov(fit)), posterior[1:2, 1:2], tolerance = 1e-8)
  expect_equal(latent(fit)$sd, sqrt(diag(posterior))[-(1:2)], tolerance = 1e-7)
  # What the mean field itself says is too small: the inverse of blocks, not the block of an
  # inverse.
  own <- solve(crossprod(D[, 1:2]) / 0.49 + diag(1 / 16, 2))
  expect_equal(unname(vcov(fit, type = "mean_field")), own, tolerance = 1e-8)
  expect_equal(unname(sqrt(vb_latent_variance(fit, "mean_field")[[1]][, 1])),
               1 / sqrt(diag(solve(posterior)))[-(1:2)], tolerance = 1e-7)
})

# ---- moments -----------------------------------------------------------------------------

draw_inverse_wishart <- function(n, df, scale) {
  draws <- rWishart(n, df, solve(scale))
  array(apply(draws, 3, solve), dim(draws))
}

test_that("means and variances of sd and cor under an inverse Wishart are those of draws", {
  set.seed(5)
  n <- 40000
  S <- matrix(c(1, 0.6, -0.3, 0.6, 2, 0.1, -0.3, 0.1, 0.5), 3)
  for (case in list(list(q = 1, d = 4.5), list(q = 2, d = 9), list(q = 3, d = 25.5))) {
    q <- case$q
    d <- case$d
    own <- S[seq_len(q), seq_len(q), drop = FALSE]
    draws <- draw_inverse_wishart(n, d, d * own)
    sd <- sqrt(draws[1, 1, ])
    exact <- vb_sd(1, d, q)
    expect_lt(abs(mean(sd) - exact$value), 4 * sd(sd) / sqrt(n))
    expect_equal(exact$variance, var(sd), tolerance = 0.15)
    if (q == 1) next
    cor <- draws[1, 2, ] / sqrt(draws[1, 1, ] * draws[2, 2, ])
    exact <- vb_cor(cov2cor(own)[1, 2], d, q)
    expect_lt(abs(mean(cor) - exact$value), 4 * sd(cor) / sqrt(n))
    expect_equal(exact$variance, var(cor), tolerance = 0.03)
  }
})

test_that("slopes of the moments are derivatives", {
  skip_if_not_installed("numDeriv")
  for (case in list(c(0.3, 6, 1), c(0.2, 30, 2), c(0.9, 400, 3), c(-0.9, 12, 2), c(0, 9, 2))) {
    slope <- function(f, x) numDeriv::grad(f, x)
    root <- abs(case[1])
    exact <- vb_sd(root, case[2], case[3])
    expect_equal(exact$by_d, slope(function(d) vb_sd(root, d, case[3])$value, case[2]),
                 tolerance = 1e-6)
    if (case[1] > 0) {
      expect_equal(exact$by_root, slope(function(s) vb_sd(s, case[2], case[3])$value, case[1]),
                   tolerance = 1e-7)
    }
    if (case[3] == 1) next
    exact <- vb_cor(case[1], case[2], case[3])
    expect_equal(exact$by_r, slope(function(r) vb_cor(r, case[2], case[3])$value, case[1]),
                 tolerance = 1e-6)
    expect_equal(exact$by_d, slope(function(d) vb_cor(case[1], d, case[3])$value, case[2]),
                 tolerance = 1e-5)
  }
})

test_that("the curvature in the degrees of freedom is that of E log p - E log q", {
  skip_if_not_installed("numDeriv")
  fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont, method = "vb")
  at <- elbo:::at_eta(fit, elbo:::eta_of(fit))
  # Of q(Sigma), of order two, and of q(sigma^2): 27 Subjects, 108 rows, half-t of three.
  expect_equal(at$df, c(27 + 3 + 1, 108 + 3))
  for (i in 1:2) {
    d <- at$df[i]
    q <- c(2, 1)[i]
    g <- function(x) {
      spread <- sum(digamma((x + 1 - seq_len(q)) / 2))
      -d / 2 * (q * log(x / 2) - spread) + q * x / 2 + log_multigamma(x / 2, q) - x / 2 * spread
    }
    expect_equal(at$df_information[i], -numDeriv::hessian(g, d)[1], tolerance = 1e-5)
  }
})

test_that("the hypergeometric function is what closed forms say", {
  x <- c(0, 0.2, 0.7, 0.95)
  expect_equal(vapply(x, function(x) hypergeometric(0.5, 0.5, 1.5, x^2), 0),
               ifelse(x == 0, 1, asin(x) / x), tolerance = 1e-13)
  expect_equal(vapply(x, function(x) hypergeometric(1, 1, 2, x), 0),
               ifelse(x == 0, 1, -log1p(-x) / x), tolerance = 1e-13)
  # Gauss: at x = 1.
  expect_equal(hypergeometric(1, 1, 8, 1), gamma(8) * gamma(6) / gamma(7)^2, tolerance = 1e-13)
})

test_that("the mean field covariance is the variance under q", {
  d <- vb_data()
  fit <- vb_cases(d)$slopes
  q <- variational(fit)
  set.seed(6)
  n <- 40000
  Sigma <- draw_inverse_wishart(n, q$Sigma$df, q$Sigma$scale)
  s2 <- 1 / rgamma(n, q$`sigma^2`$shape, q$`sigma^2`$scale)
  draws <- rbind(sqrt(Sigma[1, 1, ]), sqrt(Sigma[2, 2, ]),
                 Sigma[1, 2, ] / sqrt(Sigma[1, 1, ] * Sigma[2, 2, ]), sqrt(s2))
  V <- vcov(fit, full = TRUE, type = "mean_field")
  expect_equal(unname(sqrt(diag(V))[3:6]), apply(draws, 1, sd), tolerance = 0.03)
  error <- apply(draws, 1, sd) / sqrt(n)
  expect_true(all(abs(rowMeans(draws) - theta(fit)[3:6]) < 4 * error))
  expect_identical(V[1:2, 1:2], q[["beta, u"]]$cov)
})

# ---- the answers -------------------------------------------------------------------------

test_that("variational() names every factor", {
  d <- vb_data()
  fits <- vb_cases(d)
  expect_named(variational(fits$slopes), c("beta, u", "Sigma", "sigma^2"))
  expect_named(variational(fits$uncorrelated), c("beta, u", "Sigma[1]", "Sigma[2]", "sigma^2"))
  expect_named(variational(fits$levels), c("beta, u", "Sigma", "sigma^2|a", "sigma^2|b"))
  expect_named(variational(fits$known_se), c("beta, u", "Sigma"))
  expect_named(variational(fits$mean_field), c("beta", "u", "Sigma", "sigma^2"))
  expect_output(print(variational(fits$slopes)), "q(Sigma) = inverse Wishart(df = 16, 2 x 2)",
                fixed = TRUE)
  expect_error(variational(update(fits$slopes, method = "em", prior = NULL)),
               class = "elbo_error_method")
})

test_that("intervals stay in the range of the parameter", {
  fit <- fit_glmm(y ~ x + (x | group), vb_data(groups = 4), method = "vb")
  interval <- confint(fit, level = 0.9)
  expect_false(anyNA(interval))
  expect_true(all(interval[, 1] < theta(fit) & theta(fit) < interval[, 2]))
  expect_true(all(interval[c(3, 4, 6), ] > 0))
  expect_true(all(abs(interval[5, ]) < 1))
})

test_that("a coefficient held at its estimate, its prior included, costs nothing", {
  law <- priors(x = normal(0.5, 0.05), sd = half_t(3, 0.5))
  fit <- fit_glmm(y ~ x + (1 | group), vb_data(), prior = law)
  for (name in names(theta(fit))) {
    expect_equal(refit_held(fit, name, theta(fit)[[name]]), objective_of(fit), tolerance = 1e-10)
  }
  profile <- confint(fit, "x", type = "profile")
  expect_equal(profile, confint(fit, "x"), tolerance = 0.02)
})

test_that("what vb has no answer for is refused", {
  fit <- fit_glmm(y ~ x + (1 | group), vb_data(), method = "vb")
  expect_error(logLik(fit), class = "elbo_error_loglik")
  expect_error(elbo(fit, theta = theta(fit)), "variational", class = "elbo_error_not_available")
  expect_error(confint(fit, type = "profile"), "as_draws", class = "elbo_error_not_available")
  expect_error(vcov(fit, type = "observed"), "linear_response", class = "elbo_error_argument")
})

# ---- edges -------------------------------------------------------------------------------

test_that("units of response and covariates do not matter under default priors", {
  d <- vb_data()
  fit <- fit_glmm(y ~ x + (x | group), d, method = "vb")
  scaled <- fit_glmm(I(1000 * y) ~ I(x / 10) + (I(x / 10) | group), d, method = "vb")
  unit <- c(1000, 1e4, 1000, 1e4, 1, 1000)
  expect_equal(as.vector(theta(scaled)), as.vector(theta(fit)) * unit, tolerance = 1e-7)
  V <- unname(vcov(fit, full = TRUE))
  expect_equal(unname(vcov(scaled, full = TRUE)), V * outer(unit, unit), tolerance = 1e-6)
  expect_equal(elbo(scaled), elbo(fit) - nrow(d) * log(1000), tolerance = 1e-9)
  # Stated priors in the new units.
  law <- function(c) {
    priors(beta = normal(0, 5 * c), sd = half_t(3, 2 * c), sigma = half_cauchy(3 * c))
  }
  in_units <- function(c) {
    d$y <- c * d$y
    fit_glmm(y ~ 1 + (1 | group), d, method = "vb", prior = law(c))
  }
  expect_equal(as.vector(theta(in_units(7e-9))), 7e-9 * as.vector(theta(in_units(1))),
               tolerance = 1e-7)
})

test_that("few groups, few rows and no variation have an answer", {
  d <- vb_data()
  one <- d[d$group == d$group[10], ]
  fit <- fit_glmm(y ~ 1 + (1 | group), one, method = "vb",
                  prior = priors(beta = normal(0, 3), sd = half_t(3, 1), sigma = half_t(3, 1)))
  expect_identical(convergence(fit)$status, "converged")
  # The only group says nothing of its own sd that the prior does not.
  expect_true(all(is.finite(vcov(fit, full = TRUE))))
  singles <- fit_glmm(y ~ 1 + (1 | group), d[!duplicated(d$group), ], method = "vb")
  expect_identical(convergence(singles)$status, "converged")
  two <- fit_glmm(y ~ x + (1 | group), d[d$group %in% unique(d$group)[2:3], ], method = "vb")
  expect_true(all(is.finite(theta(two))))
})

test_that("columns that say nothing new are dropped, priors following", {
  d <- vb_data()
  d$x2 <- 2 * d$x
  law <- priors(x = normal(1, 0.5), x2 = normal(0, 1))
  expect_message(
    fit <- fit_glmm(y ~ x + x2 + (1 | group), d, method = "vb", prior = law), "Dropped")
  without <- fit_glmm(y ~ x + (1 | group), d, method = "vb", prior = priors(x = normal(1, 0.5)))
  expect_equal(theta(fit), theta(without))
  expect_equal(elbo(fit), elbo(without))
})

test_that("a coefficient may be held, and moves the response only", {
  d <- vb_data()
  fit <- fit_glmm(y ~ x + (1 | group), d, method = "vb",
                  prior = priors(x = constant(2), `(Intercept)` = normal(1, 2), sd = half_t(3, 2),
                                 sigma = half_t(3, 2)))
  offset <- fit_glmm(y ~ 1 + (1 | group), d, offset = 2 * x, method = "vb",
                     prior = priors(beta = normal(1, 2), sd = half_t(3, 2), sigma = half_t(3, 2)))
  expect_equal(as.vector(theta(fit))[-2], as.vector(theta(offset)), tolerance = 1e-8)
  expect_equal(elbo(fit), elbo(offset), tolerance = 1e-10)
})

test_that("a covariance matrix is held as a whole or not at all", {
  d <- vb_data()
  held <- function(...) fit_glmm(y ~ x + (x | group), d, method = "vb", prior = priors(...))
  expect_error(held(sd = constant(1)), class = "elbo_error_prior")
  expect_error(held(cor = constant(0)), class = "elbo_error_prior")
  expect_error(held(`sd__x|group` = constant(1)), class = "elbo_error_prior")
  # Terms of their own may be.
  apart <- fit_glmm(y ~ x + (x || group), d, method = "vb",
                    prior = priors(`sd__x|group` = constant(1)))
  expect_named(variational(apart), c("beta, u", "Sigma[1]", "sigma^2"))
  expect_identical(theta(apart)[["sd__x|group"]], 1)
})

test_that("latent variables without a law are the limit of wide ones", {
  d <- vb_data()
  at <- function(prior) fit_glmm(y ~ x + (0 + x | group), d, method = "vb", prior = prior)
  law <- function(sd) {
    priors(`(Intercept)` = normal(0, 5), x = normal(0, 5), sd = constant(sd),
           sigma = half_t(3, 2))
  }
  expect_message(none <- at(law(Inf)), "Dropped")
  wide <- at(law(1e4))
  expect_equal(theta(none)[["sigma"]], theta(wide)[["sigma"]], tolerance = 1e-6)
})

test_that("latent() gives the standard deviations of q on request, which are not larger", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, method = "vb")
  wide <- latent(fit)
  narrow <- latent(fit, type = "mean_field")
  expect_identical(wide$mean, narrow$mean)
  expect_true(all(narrow$sd < wide$sd))
  expect_error(latent(fit, type = "sandwich"), class = "elbo_error_argument")
})
