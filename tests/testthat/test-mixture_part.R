# A law that the package does not have, entered at run time: t | component j ~ Gumbel of minima, the
# law of the logarithm of an exponential waiting time with rate exp(x' beta_j),
#
#   log p(t) = t + x' beta - exp(t + x' beta),
#
# which is that of one Poisson event with offset t, so that C's part of regressions serves it.

gumbel <- function() {
  structure(list(family = "gumbel", link = "identity", linkfun = identity, linkinv = identity),
            class = "family")
}

log_gumbel <- function(t, eta) t + eta - exp(t + eta)

gumbel_predictor <- function(fit, design) design$X %*% t(component_values(fit, "beta"))

gumbel_law <- function() {
  new_mixture_law(
    part = "regression", families = c(gumbel = "identity"), by_row = TRUE,
    claims = function(parsed, family, weighted) {
      family$family == "gumbel" && length(parsed$bars) == 0
    },
    check_response = function(frame, spec) stopifnot(is.numeric(frame[[1]])),
    response_rows = function(responses, spec) list(y = as.double(responses[[1]])),
    model = function(design, k, covariance, told) {
      c(list(X = design$X, p = ncol(design$X), y = rep(1, design$n_row), weights = NULL,
             offset = design$y, family = 2L, common_sigma = 0L), told)
    },
    parameters = function(design, k, covariance, told) {
      of_components(parameter_rows("beta", colnames(design$X)), seq_len(k))
    },
    slots = function(design) data.frame(name = colnames(design$X), block = "beta"),
    told = told_regression,
    defaults = function(design) default_coefficients(design$X, -mean(design$y), 1),
    features = function(design) cbind(design$X, design$y),
    components = function(fit) list(coefficients = component_values(fit, "beta")),
    means = function(fit, design) digamma(1) - gumbel_predictor(fit, design),
    variances = function(fit, design) matrix(pi^2 / 6, design$n_row, n_components(fit)),
    draw = function(fit, design, component) {
      at <- cbind(seq_len(design$n_row), component[unit_of_row(design)])
      replace(design, "y", list(log(rexp(design$n_row)) - gumbel_predictor(fit, design)[at]))
    },
    theta_fields = function(fit, fields) {
      fields$coefficients <- t(component_values(fit, "beta"))
      fields$boundary <- 0 * fields$coefficients
      fields
    },
    factors = function(fit) coefficient_factors(fit, state_of(fit)$regression),
    pieces = function(fit) {
      told <- priors_of(fit)$told$gumbel
      lapply(seq_len(n_components(fit)), function(j) {
        rows <- which_parameters(fit, "beta", component = j)
        normal_piece(rows, j, colnames(design_of(fit)$X), told$beta_mean, told$beta_sd)
      })
    }
  )
}

local_gumbel <- function(env = parent.frame()) {
  mixture_laws$gumbel <- gumbel_law
  withr::defer(rm("gumbel", envir = mixture_laws), envir = env)
}

waiting_times <- function() {
  withr::with_seed(4, {
    x <- rnorm(300)
    slow <- runif(300) < 0.4
    data.frame(t = log(rexp(300)) - ifelse(slow, -4 + x, 1 - 0.5 * x), x = x)
  })
}

# theta in the order of theta(fit), k = 2: the log-likelihood written out.
gumbel_log_density <- function(theta, d) {
  X <- cbind(1, d$x)
  l <- vapply(1:2, function(j) {
    log(theta[[j]]) + log_gumbel(d$t, drop(X %*% theta[2 * j + 1:2]))
  }, numeric(nrow(d)))
  list(units = log(rowSums(exp(l))), joint = l)
}

test_that("a law entered at run time is fitted to the maximum of its likelihood, written out", {
  local_gumbel()
  d <- waiting_times()
  fit <- fit_mixture(t ~ x, d, k = 2, family = gumbel())
  expect_identical(names(theta(fit)), c("weight|1", "weight|2", "(Intercept)|1", "x|1",
                                        "(Intercept)|2", "x|2"))
  value <- gumbel_log_density(theta(fit), d)
  expect_equal(as.numeric(logLik(fit)), sum(value$units), tolerance = 1e-12)
  at <- function(eta) c(plogis(eta[1]), 1 - plogis(eta[1]), eta[-1])
  minus <- function(eta) -sum(gumbel_log_density(at(eta), d)$units)
  start <- c(qlogis(theta(fit)[[1]]), unname(theta(fit)[-(1:2)]))
  found <- optim(start, minus, method = "BFGS", control = list(reltol = 1e-15))
  expect_equal(as.numeric(logLik(fit)), -found$value, tolerance = 1e-9)
  # Differences of the likelihood written out have some seven digits, second ones four.
  V <- solve(optimHess(found$par, minus, control = list(ndeps = rep(1e-4, 5))))
  expect_equal(unname(vcov(fit)), V[-1, -1], tolerance = 1e-3)
  expect_equal(unname(predict(fit, type = "prob")), exp(value$joint - value$units),
               tolerance = 1e-10)
  expect_equal(unname(predict(fit, type = "density", log = TRUE)), value$units, tolerance = 1e-12)
})

test_that("every generic works on a mixture of such a law", {
  local_gumbel()
  d <- waiting_times()
  fit <- fit_mixture(t ~ x, d, k = 1:2, family = gumbel(), prior = priors(beta = normal(0, 10)))
  free <- update(fit, k = 2, prior = NULL)
  p <- latent(fit)$probability
  mean <- matrix(digamma(1) - cbind(1, d$x) %*% t(components(fit)$coefficients), ncol = 2)
  expect_equal(unname(fitted(fit)), rowSums(matrix(p, ncol = 2, byrow = TRUE) * mean))
  expect_equal(unname(residuals(fit)), d$t - unname(fitted(fit)))
  expect_equal(unname(residuals(fit, "pearson")), unname(residuals(fit)) / sqrt(pi^2 / 6))
  expect_equal(unname(predict(fit, d[1:3, ], type = "response")),
               drop(mean[1:3, ] %*% components(fit)$weight))
  expect_equal(elbo(free, theta = theta(free)), as.numeric(logLik(free)))
  expect_equal(sigma(fit), 1)
  # Scores, which the sandwich is made of, sum to zero at the maximum; 1e-5 by differences.
  expect_lt(max(abs(colSums(unit_scores(free)))), 1e-3)
  expect_true(all(is.finite(vcov(free, type = "sandwich"))))
  expect_true(all(is.finite(confint(fit))))
  drawn <- simulate(fit, 200, seed = 1)
  expect_equal(mean(as.matrix(drawn)), sum(colMeans(mean) * components(fit)$weight),
               tolerance = 0.02)
  refits <- bootstrap(free, 20, seed = 1)
  expect_identical(refits$failed, 0L)
  expect_equal(nrow(tidy(fit, conf.int = TRUE)), 6)
  expect_equal(glance(fit)$k, 2)
  expect_named(augment(fit), c("t", "x", ".fitted", ".resid", ".class", ".uncertainty", ".prob1",
                               ".prob2"))
  expect_equal(selection(fit)$k, 1:2)
  expect_equal(df.residual(free), 300 - 5)
  expect_s3_class(anova(update(free, k = 1), free, nsim = 3, seed = 1), "anova")
  expect_s3_class(compare_fits(fit, free), "data.frame")
  expect_output(print(fit), "2 components")
  expect_output(print(summary(fit)), "Chosen by BIC")
  expect_error(ranef(fit), class = "elbo_error_not_available")
  expect_true(is.finite(theta(update(fit, . ~ 1))[[1]]))
  withr::with_pdf(NULL, expect_no_error({
    plot(fit)
    for (type in picture_types(fit)) plot(fit, type = type)
  }))
})

test_that("a law entered at run time has methods vb and joint", {
  local_gumbel()
  d <- waiting_times()
  em <- fit_mixture(t ~ x, d, k = 2, family = gumbel())
  vb <- fit_mixture(t ~ x, d, k = 2, family = gumbel(), method = "vb")
  joint <- update(em, method = "joint")
  # The posterior of 300 rows under weak priors: means within a fifth of a standard error.
  expect_lt(max(abs(coef(vb) - coef(em)) / sqrt(diag(vcov(em)))), 0.2)
  expect_equal(sqrt(diag(vcov(vb))), sqrt(diag(vcov(em))), tolerance = 0.1)
  checked <- convergence(vb, check = TRUE)
  expect_lt(elbo(vb), checked$log_evidence)
  expect_named(variational(vb), c("weights", "beta|1", "beta|2", "z"))
  expect_true(all(is.finite(vcov(vb, full = TRUE, type = "mean_field"))))
  expect_output(print(variational(vb)), "Dirichlet")
  expect_true(all(is.finite(sensitivity(vb)$derivative)))
  expect_true(all(predict(joint, type = "prob") %in% 0:1))
  expect_true(all(is.finite(vcov(joint))))
})

test_that("a part lacks nothing and invents nothing, and one law claims a formula", {
  expect_error(new_mixture_law(claims = identity), "lacks or invents part")
  given <- lapply(needed_functions, function(name) identity)
  names(given) <- needed_functions
  expect_error(do.call(new_mixture_law, c(given, moans = identity)), "moans")
  local_gumbel()
  mixture_laws$twin <- gumbel_law
  withr::defer(rm("twin", envir = mixture_laws))
  expect_error(fit_mixture(t ~ x, waiting_times(), k = 2, family = gumbel()), "2 laws")
})

test_that("no file but the laws' own asks which law a mixture has", {
  files <- list.files(testthat::test_path("../../R"), "^(mixture|fit_mixture|components)",
                      full.names = TRUE)
  skip_if(length(files) == 0, "no sources beside the tests")
  shared <- files[!grepl("mixture_part", files)]
  text <- unlist(lapply(shared, readLines))
  asks <- "[$]kind *(==|!=|%in%)|switch\\([a-z_]+[$]kind"
  expect_identical(grep(asks, text, value = TRUE), character())
})

test_that("a response that is twice another one is named, by every law and method", {
  set.seed(1)
  d <- data.frame(x = rnorm(40), y = rnorm(40))
  d$double <- 2 * d$y
  few <- elbo_control(n_starts = 2)
  expect_warning(fit_mixture(responses(x, y, double) ~ 1, d, k = 2, control = few),
                 "`double` is a linear combination", class = "elbo_warning_data")
  # Its default prior has the covariance of the data, which is no law here.
  expect_warning(fit <- fit_mixture(cbind(x, y, double) ~ 1, d, k = 1, covariance = "VVV",
                                    method = "vb", control = few),
                 "`double`", class = "elbo_warning_data")
  expect_true(is.finite(elbo(fit)))
})
