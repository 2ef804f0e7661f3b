# elbo(fit, q = ) under vb beside the dense closed form and Monte Carlo. (Of points: see
# test-elbo_fit.R.)

# Another distribution of the same kind: every number of q moved.
moved_q <- function(fit) {
  q <- unclass(variational(fit))
  for (name in names(q)) {
    move <- list(mean = function(x) x + 0.1, cov = function(x) 1.5 * x,
                 scale = function(x) 0.8 * x, df = function(x) x + 2.5,
                 shape = function(x) 0.9 * x,
                 latent = function(x) list(mean = x$mean - 0.05, cov = 0.7 * x$cov,
                                           gain = 0.6 * x$gain))
    for (part in intersect(names(move), names(q[[name]]))) {
      q[[name]][[part]] <- move[[part]](q[[name]][[part]])
    }
  }
  q
}

test_that("the ELBO of any q is that of its factors in closed form", {
  d <- vb_data()
  fits <- vb_cases(d)
  for (name in names(fits)) {
    fit <- fits[[name]]
    problem <- problem_of(fit)
    at_optimum <- variational(fit)
    expect_equal(elbo(fit, q = at_optimum), elbo(fit), tolerance = 1e-12, label = name)
    expect_equal(reference_elbo_of_q(at_optimum, problem), elbo(fit), tolerance = 1e-12)
    q <- moved_q(fit)
    expect_equal(elbo(fit, q = q), reference_elbo_of_q(q, problem), tolerance = 1e-12, label = name)
    expect_lt(elbo(fit, q = q), elbo(fit) - 0.1)
    # Any single factor moved is worse too, and the optimum flat to first order.
    for (factor in names(q)) {
      expect_lt(elbo(fit, q = replace(unclass(at_optimum), factor, q[factor])), elbo(fit))
    }
  }
})

test_that("so it is by Monte Carlo", {
  skip_on_cran()
  d <- vb_data()
  fits <- vb_cases(d)
  set.seed(4)
  for (name in c("slopes", "levels", "mean_field")) {
    q <- moved_q(fits[[name]])
    values <- vb_draws(fits[[name]], problem_of(fits[[name]]), 4000, q)
    error <- sd(values) / sqrt(length(values))
    expect_lt(error, 0.2)
    expect_lt(abs(mean(values) - elbo(fits[[name]], q = q)), 4 * error, label = name)
  }
})

test_that("scales that are held have no factor, and are held", {
  fit <- fit_glmm(y ~ x + (1 | group), vb_data(), method = "vb",
                  prior = priors(beta = normal(0.5, 3), sd = constant(1), x = constant(0.2)))
  q <- variational(fit)
  expect_named(q, c("beta, u", "sigma^2"))
  expect_equal(elbo(fit, q = q), elbo(fit), tolerance = 1e-12)
  q[["sigma^2"]]$scale <- 2 * q[["sigma^2"]]$scale
  expect_lt(elbo(fit, q = q), elbo(fit))
})

test_that("factors are found by their whole names", {
  q <- variational(fit_glmm(y ~ x + (1 | group), vb_data(), method = "vb"))
  expect_null(q$beta)
  expect_identical(q$`beta, u`, q[["beta, u"]])
  expect_identical(q$Sigma$family, "inverse gamma")
})

test_that("what is not a q of the fit's kind is refused", {
  fit <- fit_glmm(y ~ x + (x | group), vb_data(), method = "vb")
  q <- unclass(variational(fit))
  refused <- function(q, message) {
    expect_error(elbo(fit, q = q), message, class = "elbo_error_argument")
  }
  refused(moments_of(fit), "Sigma")
  refused(q[-1], "beta, u")
  refused(replace(q, "Sigma", q["sigma^2"]), "Sigma")
  refused(replace(q, "Sigma", list(replace(q$Sigma, "scale", list(-q$Sigma$scale)))),
          "is a distribution")
  refused(replace(q, "Sigma", list(replace(q$Sigma, "df", 0.5))), "is a distribution")
  refused(replace(q, "sigma^2", list(replace(q$`sigma^2`, "shape", 0))), "is a distribution")
  refused(replace(q, "sigma^2", list(replace(q$`sigma^2`, "shape", NA_real_))),
          "is a distribution")
  normal <- q[["beta, u"]]
  refused(replace(q, "beta, u", list(replace(normal, "mean", list(normal$mean[1])))), "parts")
  refused(replace(q, "beta, u", list(replace(normal, "cov", list(-normal$cov)))),
          "is a distribution")
  normal$latent$cov[1, 1, 2] <- -1
  refused(replace(q, "beta, u", list(normal)), "is a distribution")
})
