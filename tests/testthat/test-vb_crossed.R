# Variational Bayes with several grouping factors against dense references written from the
# definitions (helper-reference-vb.R), and against one factor where there is one.

factorizations <- c("structured", "mean_field", "by_factor")

vb_law <- function() {
  priors(beta = normal(0.5, 3), sd = half_t(3, 2), sigma = half_t(2, 1.5))
}

vb_crossed <- function(formula, d, factorization = "structured", prior = vb_law(), ...) {
  do.call(fit_glmm, list(formula, quote(d), method = "vb", prior = prior,
                         factorization = factorization, ...))
}

test_that("the ELBO is that of dense matrices, and no other q has more", {
  formulas <- list(y ~ x + (1 | a) + (1 | b), y ~ x + (x | a) + (1 | b) + (1 | c),
                   y ~ x + (x || a) + (x | b), y ~ x + (1 | a) + (1 | a:b))
  for (i in seq_along(formulas)) {
    for (factorization in if (i == 2) factorizations else c("structured", "by_factor")) {
      fit <- vb_crossed(formulas[[i]], crossed_data(i, n = 90, levels = c(9, 6, 4)),
                        factorization, weights = quote(w))
      problem <- problem_of(fit)
      psi <- psi_of_fit(fit)
      expect_equal(reference_vb_elbo(psi, problem), elbo(fit), tolerance = 1e-11)
      for (k in seq_along(psi)) {
        moved <- replace(psi, k, psi[k] + 0.01 * (-1)^k)
        expect_lt(reference_vb_elbo(moved, problem), elbo(fit))
      }
      normal <- best_normal(problem, unpack_psi(psi, problem))
      expect_equal(unname(coef(fit)), normal$mode[1:2], tolerance = 1e-8, ignore_attr = TRUE)
      expect_equal(unlist(lapply(latent_parts(fit), function(part) t(part$mean)),
                          use.names = FALSE), unname(normal$mode[-(1:2)]), tolerance = 1e-7)
    }
  }
})

test_that("so it is with a residual variance for each level", {
  d <- crossed_data(11, n = 90, levels = c(9, 6))
  d$h <- factor(rep(c("u", "v"), length.out = 90))
  for (factorization in factorizations) {
    fit <- vb_crossed(y ~ x + (x | a) + (1 | b), d, factorization, sigma = ~ h)
    problem <- problem_of(fit)
    expect_equal(reference_vb_elbo(psi_of_fit(fit), problem), elbo(fit), tolerance = 1e-11)
    expect_lt(convergence(fit)$gradient, 1e-6)
  }
})

test_that("a second factor held at next to nothing leaves the fit of the first", {
  d <- crossed_data(3)
  law <- priors(beta = normal(0.5, 3), sd = half_t(3, 2), sigma = half_t(2, 1.5))
  next_to_nothing <- priors(beta = normal(0.5, 3), a = half_t(3, 2), b = constant(1e-7),
                            sigma = half_t(2, 1.5))
  for (factorization in c("structured", "mean_field")) {
    one <- vb_crossed(y ~ x + (x | a), d, factorization, law)
    two <- vb_crossed(y ~ x + (x | a) + (1 | b), d, factorization, next_to_nothing)
    same <- names(theta(one))
    expect_equal(elbo(two), elbo(one), tolerance = 1e-8)
    expect_equal(theta(two)[same], theta(one), tolerance = 1e-7, ignore_attr = TRUE)
    for (type in c("linear_response", "mean_field")) {
      expect_equal(vcov(two, full = TRUE, type = type)[same, same],
                   vcov(one, full = TRUE, type = type), tolerance = 1e-6)
      of_a <- latent(two, type)$group == "a"
      expect_equal(latent(two, type)$sd[of_a], latent(one, type)$sd, tolerance = 1e-6)
    }
  }
  # With one factor there is nothing to take apart but beta.
  expect_equal(elbo(vb_crossed(y ~ x + (x | a), d, "by_factor", law)), elbo(one),
               tolerance = 1e-12)
})

# ---- linear response -----------------------------------------------------------------------

# d E_q / d tilt by the implicit function theorem: with f the ELBO in psi, q(beta, u) at its best,
# cov((beta, u) | psi), of the scales nothing, and J (-f'')^-1 J'.
dense_response <- function(fit) {
  problem <- problem_of(fit)
  psi <- psi_of_fit(fit)
  means <- function(psi) {
    at <- unpack_psi(psi, problem)
    c(best_normal(problem, at)$mode, scale_means(problem, at))
  }
  H <- numDeriv::hessian(reference_vb_elbo, psi, problem = problem)
  J <- numDeriv::jacobian(means, psi)
  V <- J %*% solve(-H, t(J))
  normal <- seq_len(ncol(problem$X) + ncol(problem$W))
  V[normal, normal] <- V[normal, normal] + best_normal(problem, unpack_psi(psi, problem))$cov
  V
}

test_that("linear response is that of dense matrices, of every parameter and level", {
  skip_if_not_installed("numDeriv")
  d <- crossed_data(5, n = 40, levels = c(5, 4))
  for (factorization in factorizations) {
    fit <- vb_crossed(y ~ x + (1 | a) + (1 | b), d, factorization)
    dense <- dense_response(fit)
    V <- vcov(fit, full = TRUE)
    size <- sqrt(diag(V))
    expect_lt(max(abs(dense[-(3:11), -(3:11)] - V) / outer(size, size)), 1e-6)
    expect_equal(latent(fit)$sd, sqrt(diag(dense)[3:11]), tolerance = 1e-6)
  }
})

test_that("refits under moved priors are what linear response says", {
  # The log joint tilted by t beta_j is the same model with the prior mean moved by t sd^2.
  skip_on_cran()
  d <- crossed_data(6)
  refit <- function(mean, factorization) {
    law <- priors(`(Intercept)` = normal(0.5, 3), x = normal(mean, 3))
    vb_crossed(y ~ x + (x | a) + (1 | b) + (1 | c), d, factorization, law)
  }
  for (factorization in c("structured", "by_factor")) {
    fit <- refit(1, factorization)
    t <- 0.01 / sqrt(vcov(fit)["x", "x"])
    up <- refit(1 + 9 * t, factorization)
    down <- refit(1 - 9 * t, factorization)
    moved <- (theta(up) - theta(down)) / (2 * t)
    size <- sqrt(diag(vcov(fit, full = TRUE)))
    expect_lt(max(abs(moved - vcov(fit, full = TRUE)["x", ]) / (size * size[["x"]])), 1e-4)
  }
})

test_that("sensitivity to the prior is that of refits", {
  skip_on_cran()
  d <- crossed_data(7)
  for (factorization in c("structured", "by_factor")) {
    refit <- function(scale) {
      law <- priors(beta = normal(0.5, 3), a = half_t(3, 2), b = half_t(3, scale),
                    sigma = half_t(2, 1.5))
      vb_crossed(y ~ x + (1 | a) + (1 | b), d, factorization, law)
    }
    fit <- refit(2)
    said <- subset(as.data.frame(sensitivity(fit)), prior == "sd__(Intercept)|b" &
                     number == "scale")
    found <- (theta(refit(2.01)) - theta(refit(1.99))) / 0.02
    size <- sqrt(diag(vcov(fit, full = TRUE)))[said$estimate]
    expect_lt(max(abs(said$derivative - found[said$estimate]) / size), 1e-5)
  }
})

# ---- what a fit answers --------------------------------------------------------------------

test_that("q is told factor by factor", {
  d <- crossed_data(8)
  fit <- vb_crossed(y ~ x + (x || a) + (1 | b), d)
  expect_named(variational(fit), c("beta, u", "Sigma[1]|a", "Sigma[2]|a", "Sigma|b", "sigma^2"))
  expect_named(variational(fit)[["beta, u"]]$latent, c("a", "b"))
  expect_output(print(variational(fit)), "normal(34)", fixed = TRUE)
  apart <- update(fit, factorization = "by_factor")
  expect_named(variational(apart),
               c("beta", "u|a", "u|b", "Sigma[1]|a", "Sigma[2]|a", "Sigma|b", "sigma^2"))
  expect_output(print(apart), "of each factor[[:space:]]+apart")
  expect_lt(elbo(apart), elbo(update(fit, factorization = "mean_field")))
  expect_lt(elbo(update(fit, factorization = "mean_field")), elbo(fit))
  expect_error(elbo(fit, q = variational(fit)), "several grouping factors",
               class = "elbo_error_not_available")
  table <- compare_fits(em = update(fit, method = "em", prior = NULL), vb = fit)
  expect_setequal(table$fit, c("em", "vb"))
  expect_true(all(is.finite(confint(fit))))
})

test_that("levels under q itself have the covariance of the precision's blocks", {
  d <- crossed_data(9, n = 60, levels = c(6, 4))
  for (factorization in factorizations) {
    fit <- vb_crossed(y ~ x + (1 | a) + (1 | b), d, factorization)
    problem <- problem_of(fit)
    full <- best_normal(problem, unpack_psi(psi_of_fit(fit), problem))$cov
    precision <- solve(full)
    u <- -(1:2)
    own <- switch(factorization, structured = diag(full)[u],
                  mean_field = diag(solve(precision[u, u])), by_factor = 1 / diag(precision)[u])
    expect_equal(latent(fit, "mean_field")$sd, sqrt(unname(own)), tolerance = 1e-7)
  }
})

test_that("draws of theta and latent variables have the means and covariances that are told", {
  skip_if_not_installed("posterior")
  skip_on_cran()
  d <- crossed_data(10, n = 60, levels = c(6, 4))
  n <- 4000
  for (factorization in factorizations) {
    fit <- vb_crossed(y ~ x + (1 | a) + (1 | b), d, factorization)
    for (type in c("linear_response", "mean_field")) {
      draws <- posterior::as_draws(fit, ndraws = n, type = type, latent = TRUE, seed = 1)
      expect_identical(colnames(draws)[6:7], c("u[1,(Intercept)|a]", "u[2,(Intercept)|a]"))
      told <- c(theta(fit)[1:2], latent(fit)$mean)
      size <- c(sqrt(diag(vcov(fit, type = type))), latent(fit, type)$sd)
      keep <- c(1:2, 6:15)
      # Monte Carlo errors of means sd / sqrt(n), of sds 1 / sqrt(2 n).
      expect_lt(max(abs(colMeans(draws[, keep]) - told) / size) * sqrt(n), 4)
      expect_lt(max(abs(apply(draws[, keep], 2, stats::sd) / size - 1)) * sqrt(2 * n), 4)
    }
    # Levels of two factors are tied, which the sum over a row shows.
    draws <- posterior::as_draws(fit, ndraws = n, latent = TRUE, seed = 2)
    at <- predict(fit, d[1, ], se.fit = TRUE)
    sum <- drop(draws[, 1] + d$x[1] * draws[, 2] +
                  draws[, sprintf("u[%s,(Intercept)|a]", d$a[1])] +
                  draws[, sprintf("u[%s,(Intercept)|b]", d$b[1])])
    expect_lt(abs(stats::sd(sum) / at$se.fit - 1) * sqrt(2 * n), 4)
  }
})

# ---- against a Gibbs sampler ---------------------------------------------------------------

against_gibbs <- function(fit, n = 3000) {
  design <- design_of(fit)
  p <- ncol(design$X)
  set.seed(1)
  draws <- gibbs_crossed(design$y, design$X, unname(lapply(latent_parts(fit), `[[`, "group")), n,
                         rep(0, p), rep(100, p), 3, rep(2, length(design$groups) + 1))
  list(mean = colMeans(draws), sd = apply(draws, 2, stats::sd), u = attr(draws, "u"))
}

gibbs_law <- function() {
  priors(beta = normal(0, 100), sd = half_t(3, 2), sigma = half_t(3, 2))
}

test_that("with enough levels linear response is what a Gibbs sampler says", {
  skip_on_cran()
  set.seed(4)
  n <- 900
  d <- data.frame(a = factor(sample(40, n, TRUE)), b = factor(sample(30, n, TRUE)), x = rnorm(n))
  d$y <- 1 + 0.5 * d$x + 0.8 * rnorm(40)[d$a] + 0.6 * rnorm(30)[d$b] + rnorm(n)
  fit <- vb_crossed(y ~ x + (1 | a) + (1 | b), d, prior = gibbs_law())
  gibbs <- against_gibbs(fit)
  expect_lt(max(abs(theta(fit) - gibbs$mean) / gibbs$sd), 0.1)
  # The sampler's own error is 1 / sqrt(2 * 3000) = 1.3 %.
  expect_lt(max(abs(sqrt(diag(vcov(fit, full = TRUE))) / gibbs$sd - 1)), 0.06)
  expect_lt(max(abs(latent(fit)$mean - gibbs$u[, "mean"]) / gibbs$u[, "sd"]), 0.1)
  expect_lt(max(abs(latent(fit)$sd / gibbs$u[, "sd"] - 1)), 0.06)
  expect_true(convergence(fit)$trusted)
})

test_that("with six samples it is not, which its verdict knows by how much", {
  skip_if_not_installed("lme4")
  skip_on_cran()
  fit <- vb_crossed(diameter ~ 1 + (1 | plate) + (1 | sample), lme4::Penicillin,
                    prior = gibbs_law())
  gibbs <- against_gibbs(fit)
  exact <- convergence(fit)$check
  expect_false(convergence(fit)$trusted)
  # The sds of the sample's scale and of the intercept have heavy tails: six samples.
  expect_lt(max(abs(exact$mean - gibbs$mean) / gibbs$sd), 0.1)
  expect_lt(max(abs(exact$sd / gibbs$sd - 1)), 0.12)
  expect_lt(max(abs(theta(fit) - gibbs$mean) / gibbs$sd), 0.2)
})
