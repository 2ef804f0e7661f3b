# The verdict on mixtures by vb, beside Gibbs samplers of our own (helper-gibbs.R) and closed forms.

two_normals <- function(seed, n, apart) {
  set.seed(seed)
  z <- rbinom(n, 1, 0.4)
  data.frame(y = ifelse(z == 1, apart, 0) + rnorm(n))
}

# Sorted as the samplers sort: weight of the lower component, means, sds.
check_rows <- function(fit) {
  check <- convergence(fit)$check
  lower <- which.min(components(fit)$mean[, 1])
  check[match(paste0(c("weight", "mean__y", "mean__y", "sd__y", "sd__y"), "|",
                     c(lower, lower, 3 - lower, lower, 3 - lower)), check$name), ]
}

sampled <- function(fit, y, n, alpha) {
  par <- priors_of(fit)$stated$covariance$parameters
  set.seed(1)
  gibbs_normal(y, n, alpha, par$mean, par$kappa, par$df, drop(par$scale))
}

test_that("components four sds apart are trusted, with the moments of a Gibbs sampler", {
  d <- two_normals(5, 400, 4)
  fit <- fit_mixture(y ~ 1, d, k = 2, covariance = "V", method = "vb",
                     prior = priors(weight = dirichlet(1)))
  state <- convergence(fit)
  expect_true(state$trusted)
  expect_match(state$verdict, "can be trusted", fixed = TRUE)
  expect_output(print(fit), "Linear response can be trusted", fixed = TRUE)
  expect_output(print(summary(fit)), "Linear response can be trusted", fixed = TRUE)
  draws <- sampled(fit, d$y, 8000, 1)
  check <- check_rows(fit)
  # Both have Monte Carlo errors of about 1.5 %.
  expect_equal(check$sd, unname(apply(draws, 2, sd)), tolerance = 0.05)
  expect_lt(max(abs(check$mean - colMeans(draws)) / check$sd), 0.1)
})

test_that("overlapping components are not trusted: sds a third of what a Gibbs sampler finds", {
  d <- two_normals(1780, 1000, 2.5)
  fit <- fit_mixture(y ~ 1, d, k = 2, covariance = "V", method = "vb",
                     prior = priors(weight = dirichlet(4)))
  state <- convergence(fit)
  # A Gibbs run of 400,000 sweeps has .148 for the sd of the weight.
  expect_lt(sqrt(vcov(fit, full = TRUE)[1, 1]), 0.06)
  expect_false(state$trusted)
  expect_output(print(fit), "not to be trusted", fixed = TRUE)
  expect_output(print(summary(fit)), "not to be trusted", fixed = TRUE)
  expect_equal(state$check$sd[1], 0.148, tolerance = 0.25)
})

test_that("sets of 200 with components 2.5 sds apart are flagged wherever sds are off", {
  flagged <- vapply(1:6, function(seed) {
    fit <- fit_mixture(y ~ 1, two_normals(100 + seed, 200, 2.5), k = 2, covariance = "V",
                       method = "vb", prior = priors(weight = dirichlet(4)))
    state <- convergence(fit)
    # Trusted only where the sds found are within 10 %.
    expect_true(!state$trusted || all(abs(state$check$sd_error) <= 0.1))
    !state$trusted
  }, NA)
  expect_gt(mean(flagged), 0.5)
})

test_that("latent classes have the moments of a Gibbs sampler", {
  set.seed(3)
  z <- rbinom(300, 1, 0.4)
  Y <- matrix(runif(300 * 5) < ifelse(z == 1, 0.85, 0.2), 300)
  d <- as.data.frame(Y)
  names(d) <- paste0("i", 1:5)
  fit <- fit_mixture(responses(i1, i2, i3, i4, i5) ~ 1, d, k = 2, method = "vb",
                     prior = priors(weight = dirichlet(1)))
  set.seed(1)
  draws <- gibbs_classes(Y, 6000, 1)
  low <- which.min(theta(fit)[paste0("prob__i1|", 1:2)])
  names <- c(paste0("weight|", low), paste0("prob__i", 1:5, "|", low),
             paste0("prob__i", 1:5, "|", 3 - low))
  check <- convergence(fit)$check
  check <- check[match(names, check$name), ]
  expect_equal(check$sd, apply(draws, 2, sd), tolerance = 0.06)
  expect_lt(max(abs(check$mean - colMeans(draws)) / check$sd), 0.12)
})

test_that("of one component, where q is exact, the evidence is known", {
  # log p(y) of the conjugate normal model is the ELBO.
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1, covariance = "VVV",
                     method = "vb")
  state <- convergence(fit)
  expect_true(state$trusted)
  expect_equal(state$log_evidence, elbo(fit), tolerance = 1e-5) # Monte Carlo, of 1160
  expect_lt(max(abs(state$check$sd_error)), 0.03)
  for (covariance in c("EEI", "EII")) {
    fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1, covariance = covariance,
                       method = "vb")
    expect_equal(convergence(fit)$log_evidence, elbo(fit), tolerance = 1e-5)
  }
})

test_that("every law has its verdict, and far apart it is trusted", {
  set.seed(2)
  d <- data.frame(x = rnorm(300), id = gl(30, 10))
  z <- rbinom(300, 1, 0.4)
  of_id <- rep(rbinom(30, 1, 0.4), each = 10)
  d$y <- ifelse(z == 1, 3 + d$x, -d$x) + rnorm(300, sd = 0.5)
  d$count <- rpois(300, exp(ifelse(z == 1, 2.5 + 0.3 * d$x, 0.1)))
  d$success <- rbinom(300, 1, plogis(ifelse(of_id == 1, 2 + 3 * d$x, -2 - d$x)))
  d$w <- ifelse(z == 1, 4, 0) + rnorm(300)
  d$curve <- ifelse(of_id == 1, 3 * d$x, -d$x) + rnorm(30)[d$id] + rnorm(300)
  fits <- list(
    fit_mixture(y ~ x, d, k = 2, method = "vb"),
    fit_mixture(y ~ x, d, k = 2, method = "vb", sigma = ~ 1, membership = ~ x),
    fit_mixture(y ~ x, d, k = 2, method = "vb", prior = priors(weight = stick_breaking(1))),
    fit_mixture(count ~ x, d, k = 2, method = "vb", family = poisson()),
    fit_mixture(success ~ x, d, k = 2, method = "vb", family = binomial(), unit = ~ id),
    fit_mixture(responses(w, y) ~ 1, d, k = 2, method = "vb"),
    fit_mixture(curve ~ x + (1 | id), d, k = 2, method = "vb", unit = ~ id)
  )
  for (covariance in c("EII", "VII", "EEI", "VVI", "EEE", "VVV")) {
    fits <- c(fits, list(fit_mixture(cbind(w, x) ~ 1, d, k = 2, method = "vb",
                                     covariance = covariance)))
  }
  trusted <- vapply(fits, function(fit) convergence(fit)$trusted, NA)
  expect_gte(sum(trusted), 10)
  for (fit in fits) {
    state <- convergence(fit)
    # Those that are not are near 10 %, as a component's intercept with the deviations of nine
    # units.
    expect_lt(max(abs(state$check$sd_error)), 0.12)
    expect_identical(state$check$name,
                     names(theta(fit))[match(state$check$name, names(theta(fit)))])
    # The bound is a bound: of all equal modes, less the Monte Carlo error.
    expect_gt(state$log_evidence, elbo(fit) - 0.05)
  }
})

test_that("where it cannot be given the verdict says so", {
  set.seed(1)
  d <- data.frame(id = gl(12, 6), t = rep(0:5, 12))
  d$y <- ifelse(as.integer(d$id) > 6, sin(d$t), d$t) + rnorm(72, sd = 0.3)
  fit <- fit_mixture(y ~ s(t, k = 4) + (1 | id), d, k = 2, unit = ~ id, method = "vb")
  expect_true(is.na(convergence(fit)$trusted))
  expect_match(convergence(fit, check = TRUE)$verdict, "smooth terms", fixed = TRUE)
  # Emptied: not to be trusted, whatever the sds.
  empty <- mixture_example("vb_classes")
  expect_false(convergence(empty)$trusted)
  expect_match(convergence(empty)$verdict, "q has emptied component 3", fixed = TRUE)
  # Many rows wait to be asked for.
  large <- faithful[rep(1:272, 200), ]
  fit <- fit_mixture(eruptions ~ 1, large, k = 2, covariance = "E", method = "vb",
                     control = elbo_control(n_starts = 2))
  expect_true(is.na(convergence(fit)$trusted))
  expect_match(convergence(fit)$verdict,
               "Linear response not checked: 54,400 rows and 2 components.",
               fixed = TRUE)
})

test_that("the verdict draws from a generator of its own", {
  set.seed(1)
  before <- .Random.seed
  fit <- fit_mixture(eruptions ~ 1, faithful, k = 2, covariance = "E", method = "vb")
  expect_identical(.Random.seed, before)
  expect_identical(convergence(fit, check = TRUE)$check, convergence(fit)$check)
})

# ---- its pieces ----------------------------------------------------------------------------------

test_that("draws nearer to the swapped mode have no density", {
  fit <- fit_mixture(eruptions ~ 1, faithful, k = 2, covariance = "V", method = "vb")
  chart <- elbo:::mixture_chart(fit)
  target <- elbo:::mixture_target(fit, chart, vcov(fit, full = TRUE))
  own <- target$evaluate(t(target$centre))
  expect_true(is.finite(own$log_density))
  swapped <- fit
  swapped$theta[] <- theta(fit)[c(2, 1, 4, 3, 6, 5)]
  centre <- elbo:::mixture_target(swapped, chart, vcov(fit, full = TRUE))$centre
  expect_identical(target$evaluate(t(centre))$log_density, -Inf)
})

test_that("the exact posterior of a regression has the prior mean of each coefficient", {
  # At prior means (m, 0): the intercept's is not the slope's, whose prior sd is far smaller.
  d <- data.frame(x = c(1e6, 1:7), n = c(3, 1, 1, 1, 0, 1, 0, 0))
  fit <- fit_mixture(n ~ x, d, k = 1, family = poisson(), method = "vb")
  told <- priors_of(fit)$told$regression
  chart <- mixture_chart(fit)
  theta <- unname(c(theta(fit)))
  expect_equal(chart_points(chart, rbind(theta[2:3]), theta)$log_prior,
               sum(dnorm(theta[2:3], told$beta_mean, told$beta_sd, log = TRUE)))
  expect_lt(convergence(fit)$khat, 0.7)
})

test_that("where no draw comes near the posterior the verdict says so", {
  target <- list(centre = 0, cov = matrix(1), evaluate = function(x) {
    list(log_density = -1e8 * (x[, 1] - 1e3)^2, beta = matrix(0, nrow(x), 0),
         beta_variance = matrix(0, nrow(x), 0), scales = x)
  })
  verdict <- judge_linear_response(target, c(a = "a"), 0, 1)
  expect_false(isTRUE(verdict$trusted))
  expect_match(verdict$verdict, "cannot be said|not to be trusted")
})
