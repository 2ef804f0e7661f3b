# Units: the one check on entry, and that nothing depends on them within the range.

units_data <- function() {
  set.seed(1)
  d <- data.frame(x = rnorm(60), w = rexp(60) + 0.1, g = gl(6, 10), count = rpois(60, 2))
  d$y <- d$x + rnorm(6)[d$g] + rnorm(60)
  d
}

test_that("magnitudes whose squares are no numbers are refused, with the remedy", {
  d <- units_data()
  refused <- function(call, name) {
    expect_error(call, paste0("`", name, "`.*divide"), class = "elbo_error_data")
  }
  for (size in c(1e200, 1e-200, 1e300, 1e-300)) {
    large <- transform(d, y = y * size, x = x * size)
    y <- transform(d, y = y * size)
    x <- transform(d, x = x * size)
    refused(fit_glmm(y ~ x + (1 | g), y), "y")
    refused(fit_glmm(y ~ 1, y, method = "vb"), "y")
    refused(fit_glmm(y ~ x + (1 | g), x), "x")
    refused(fit_glmm(y ~ w + (0 + x | g), x), "x")
    refused(fit_glmm(y ~ x + (1 | g), d, offset = w * size), "offset")
    refused(fit_mixture(y ~ x, y, k = 2), "y")
    refused(fit_mixture(y ~ x, x, k = 2), "x")
    refused(fit_mixture(cbind(y, w) ~ 1, y, k = 2), "y")
    refused(fit_mixture(responses(y, w) ~ 1, y, k = 2), "y")
    refused(fit_mixture(count ~ x, x, k = 2, family = poisson()), "x")
    refused(fit_mixture(w ~ 1, x, k = 2, membership = ~ x), "x")
    expect_error(fit_glmm(y ~ x + (1 | g), d, se = w * size), "se", class = "elbo_error_data")
  }
  # Weights have a unit of their own, which is that of sigma: 1e200 gives a sigma of 1e100.
  refused(fit_glmm(y ~ x + (1 | g), d, weights = w * 1e307), "weights")
  # Each by itself is fine, what is estimated is not: a coefficient of 1e200, a sigma of 1e165.
  refused(fit_glmm(y ~ x + (1 | g), transform(d, y = y * 1e100, x = x * 1e-100)), "x")
  refused(fit_glmm(y ~ x + (1 | g), transform(d, y = y * 1e90), weights = w * 1e150), "weights")
  refused(fit_mixture(y ~ x, transform(d, y = y * 1e100, x = x * 1e-100), k = 2), "x")
})

# What generics answer, brought back to the units of y and x: the same numbers whatever these were.
in_units <- function(fit, uy, ux, data) {
  beta <- uy / ifelse(names(coef(fit)) == "x", ux, 1)
  block <- parameters_of(fit)$block
  theta <- ifelse(block == "cor", 1, uy / ifelse(grepl("^x$|__x", parameters_of(fit)$name), ux, 1))
  cov <- function(V, units) as.vector(V / units / rep(units, each = length(units)))
  latent <- latent(fit)
  of_x <- uy / ifelse(latent$term == "x", ux, 1)
  new <- data[1:3, ]
  summary <- coef(summary(fit))
  intervals <- function(...) as.vector(suppressWarnings(confint(fit, ...)) / theta)
  answers <- list(
    theta = theta(fit) / theta, summary = cbind(summary[, 1:2] / beta, summary[, -(1:2)]),
    vcov = cov(vcov(fit), beta), full = cov(vcov(fit, full = TRUE), theta),
    confint = as.vector(confint(fit, parm = names(coef(fit))) / beta),
    latent = c(latent$mean, latent$sd) / of_x,
    prediction = unlist(predict(fit, new, interval = "prediction")) / uy,
    mean = unlist(predict(fit, new, interval = "confidence", re.form = NA)) / uy,
    pearson = residuals(fit, type = "pearson"),
    simulate = seeded(simulate(fit, 1)[[1]] / uy)
  )
  if (method_of(fit) == "vb") {
    verdict <- convergence(fit)
    prior <- sensitivity(fit)
    answers <- c(answers, list(verdict = c(verdict$khat, verdict$sd_error),
                               prior = prior$per_sd[prior$number == "df"]))
  } else {
    answers <- c(answers, list(
      full_observed = cov(vcov(fit, full = TRUE, type = "full_observed"), theta),
      sandwich = if (method_of(fit) == "em") cov(vcov(fit, type = "sandwich"), beta),
      anova = unlist(anova(fit)), hat = hatvalues(fit), cook = cooks.distance(fit),
      bootstrap = as.vector(t(seeded(bootstrap(fit, 3))$theta) / theta)
    ))
  }
  lapply(answers, function(x) unname(as.numeric(unlist(x))))
}

seeded <- function(code) {
  set.seed(1)
  code
}

test_that("no generic depends on the units of the response or of a covariate", {
  d <- transform(units_data(), f = gl(2, 1, 60))
  for (method in c("em", "reml", "vb")) {
    fit_in <- function(uy, ux) {
      moved <- transform(d, y = y * uy, x = x * ux)
      suppressWarnings(in_units(fit_glmm(y ~ x + f + (x | g), moved, method = method), uy, ux,
                                moved))
    }
    standard <- fit_in(1, 1)
    for (units in list(c(1e-90, 1), c(1e90, 1), c(1e-140, 1), c(1e140, 1), c(1, 1e-90), c(1, 1e140),
                       c(1e-70, 1e70))) {
      moved <- fit_in(units[1], units[2])
      for (what in names(standard)) {
        expect_equal(moved[[what]], standard[[what]], tolerance = 1e-5,
                     label = paste(c(method, units, what), collapse = " "))
      }
    }
  }
})

test_that("vb has a verdict, or says that there is none, after one step and at any magnitude", {
  d <- units_data()
  for (unit in c(1e-150, 1e-126, 1, 1e145, 1e150)) {
    for (fit in list(
      suppressWarnings(fit_glmm(y ~ x + (1 | g), transform(d, y = y * unit), method = "vb",
                                control = elbo_control(max_iter = 1))),
      fit_glmm(y ~ x + (x | g), transform(d, x = x * unit), method = "vb")
    )) {
      verdict <- convergence(fit)
      expect_true(is.logical(verdict$trusted))
      expect_match(verdict$verdict, "trusted")
    }
  }
})

test_that("covariates of counts and of ordered responses are checked like those of lm()", {
  set.seed(1)
  d <- data.frame(x = rnorm(40), g = gl(8, 5), count = rpois(40, 2))
  d$o <- factor(pmin(d$count, 2), ordered = TRUE)
  for (unit in c(1e200, 1e-200)) {
    off <- transform(d, x = x * unit)
    expect_error(fit_glmm(count ~ x + (1 | g), off, family = poisson()), "divide `x`",
                 class = "elbo_error_data")
    expect_error(fit_glmm(count ~ 1 + (x | g), off, family = poisson()), "divide `x`",
                 class = "elbo_error_data")
    expect_error(fit_glmm(o ~ x + (1 | g), off, family = cumulative()), "divide `x`",
                 class = "elbo_error_data")
  }
})

test_that("a prior that leaves nothing of a large response has its own mode", {
  set.seed(3)
  d <- data.frame(x = rnorm(60), f = gl(2, 1, 60))
  for (size in c(1e20, 1e60, 1e119)) {
    d$y <- (1 + d$x + rnorm(60)) * size
    fit <- fit_mixture(y ~ x + f, d, k = 1, prior = priors(beta = normal(0, 10)))
    # The score of N(0, 10) and of the rows at zero: beta = 100 X'y / sigma^2, sigma^2 = mean y^2.
    X <- model.matrix(~ x + f, d)
    expect_equal(unname(coef(fit)), drop(unname(100 * crossprod(X, d$y) / mean(d$y^2))),
                 tolerance = 1e-6, ignore_attr = TRUE)
  }
})

test_that("weights that multiply a log density by next to nothing are refused", {
  set.seed(1)
  d <- data.frame(x = rnorm(40), g = gl(8, 5), count = rpois(40, 2))
  for (weight in c(1e-200, 1e-9, 1e200)) {
    expect_error(fit_glmm(count ~ x + (1 | g), d, family = poisson(), weights = rep(weight, 40)),
                 "mean(weights)", fixed = TRUE, class = "elbo_error_data")
  }
})
