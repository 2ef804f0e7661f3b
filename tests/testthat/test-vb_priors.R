# The default priors of variational Bayes, what may be stated instead, and what is refused.

prior_data <- function() {
  set.seed(1)
  d <- sim_glmm(groups = 10, size = 5)
  d$arm <- factor(rep(c("a", "b"), length.out = nrow(d)))
  d$z <- 3 + 20 * d$x
  d
}

stated <- function(fit) vapply(Filter(Negate(is.null), priors_of(fit)$stated), format, "")

vb_fit <- function(..., formula = y ~ x + (1 | group), data = prior_data()) {
  law <- priors(...)
  fit_glmm(formula, data, method = "vb", prior = if (length(law) > 0) law)
}

test_that("defaults are weak and on the scale of the data", {
  d <- prior_data()
  fit <- vb_fit(formula = y ~ z + arm + (z | group), data = d)
  unit <- sd(d$y)
  text <- function(format, ...) sprintf(format, ...)
  short <- function(x) format(signif(x, 3))
  # The predictor at zero is z / sd(z) and arm / sd(arm) standard deviations away from its mean.
  at_zero <- sqrt(1 + (mean(d$z) / sd(d$z))^2 + (0.5 / sd(d$arm == "b"))^2)
  expect_true(unit > 1 && unit < 10) # to a tenth of it is one decimal
  expect_identical(unname(stated(fit)), c(
    text("normal(%s, %s)", format(round(mean(d$y), 1)), short(10 * unit * at_zero)),
    text("normal(0, %s)", short(10 * unit / sd(d$z))),
    text("normal(0, %s)", short(10 * unit / sd(d$arm == "b"))),
    text("half_t(3, %s)", short(2.5 * unit)),
    text("half_t(3, %s)", short(2.5 * unit / sqrt(mean(d$z^2)))),
    text("half_t(3, %s)", short(2.5 * unit))
  ))
  expect_true(all(priors_of(fit)$default))
  expect_null(prior_of(fit))
})

test_that("an offset is no part of the scale, and a constant response has unit one", {
  d <- prior_data()
  d$shift <- 1000 * seq_len(nrow(d))
  shifted <- d
  shifted$y <- d$y + d$shift
  fit <- fit_glmm(y ~ x + (1 | group), shifted, offset = shift, method = "vb")
  expect_identical(stated(fit), stated(vb_fit(data = d)))
  d$y <- 2
  design <- fit_glmm(y ~ 1 + (1 | group), d, se = rep(1, nrow(d)))$design
  defaults <- glmm_default_priors(design, glmm_parameters(design))
  expect_identical(vapply(defaults, format, ""), c("normal(2, 10)", "half_t(3, 2.5)"))
})

test_that("by default neither the origin of the response nor that of a covariate matters", {
  d <- prior_data()
  fit <- vb_fit(data = d)
  # The response far from zero: a centre of three digits would be 4,567 units away.
  far <- vb_fit(data = transform(d, y = y + 1234567))
  # The data round to 1e-10, of a standard deviation near one.
  expect_equal(theta(far) - c(1234567, 0, 0, 0), theta(fit), tolerance = 1e-7)
  expect_equal(far$objective, objective_of(fit), tolerance = 1e-7)
  # Any response: within a tenth of a standard deviation of the mean.
  for (shift in c(0, 0.123456, -98765.4321, 1e9)) {
    centre <- vb_fit(data = transform(d, y = y + shift))$priors$stated[[1]]
    expect_lt(abs(centre$parameters$mean - mean(d$y + shift)), sd(d$y) / 10)
  }
  # A covariate such as a year. The prior of the intercept is wider, so that it says even less of
  # the predictor in the middle of the data, of which it said about 1 / 1000 of what the groups say.
  year <- vb_fit(formula = y ~ year + (1 | group), data = transform(d, year = x + 2000))
  expect_equal(theta(year)[2:4], theta(fit)[2:4], tolerance = 2e-3, ignore_attr = "names")
})

test_that("a column of zeros has no say in the defaults", {
  d <- prior_data()
  d$none <- 0
  fit <- suppressMessages(vb_fit(formula = y ~ x + none + (1 | group), data = d))
  expect_identical(theta(fit), theta(vb_fit(data = d)))
})

test_that("stated priors replace defaults one by one, and follow update()", {
  fit <- vb_fit(x = normal(1, 0.1), sigma = half_cauchy(2))
  expect_identical(unname(priors_of(fit)$default), c(FALSE, TRUE, TRUE, FALSE)[c(2, 1, 3, 4)])
  expect_identical(stated(fit)[["x"]], "normal(1, 0.1)")
  expect_identical(stated(fit)[["sigma"]], "half_cauchy(2)")
  expect_output(print(summary(fit)), "normal(1, 0.1)", fixed = TRUE)
  expect_output(print(summary(fit)), "(default)", fixed = TRUE)
  again <- update(fit, . ~ . - 1 + 1)
  expect_identical(stated(again)[["x"]], "normal(1, 0.1)")
  expect_true(all(update(fit, prior = NULL)$priors$default))
})

test_that("stated priors are the ones that act", {
  # So tight that the data say nothing: the posterior is the prior.
  fit <- vb_fit(x = normal(-3, 1e-4))
  expect_equal(coef(fit)[["x"]], -3, tolerance = 1e-4)
  expect_equal(sqrt(vcov(fit)["x", "x"]), 1e-4, tolerance = 1e-3)
  # A half-Cauchy is a half-t with one degree of freedom.
  expect_equal(theta(vb_fit(sd = half_cauchy(0.5))), theta(vb_fit(sd = half_t(1, 0.5))))
  # A narrow half-t holds an sd down.
  expect_lt(theta(vb_fit(group = half_t(50, 0.01)))[["sd__(Intercept)|group"]], 0.1)
})

test_that("wide priors of coefficients do not matter", {
  near <- vb_fit(beta = normal(0, 1e3))
  far <- vb_fit(beta = normal(0, 1e8))
  expect_equal(theta(near), theta(far), tolerance = 1e-5)
  # But for the ELBO, which pays log(1e5) for each.
  expect_equal(elbo(near) - elbo(far), 2 * log(1e5), tolerance = 1e-5)
})

test_that("flat coefficients are the limit of wide normal ones, and the ELBO loses its height", {
  flat <- vb_fit(beta = flat())
  far <- vb_fit(beta = normal(0, 1e6))
  expect_equal(theta(flat), theta(far), tolerance = 1e-8)
  expect_equal(vcov(flat, full = TRUE), vcov(far, full = TRUE), tolerance = 1e-6)
  # log N(0; 0, 1e6) of each of two coefficients.
  expect_equal(elbo(far) - elbo(flat), -2 * (log(1e6) + 0.5 * log(2 * pi)), tolerance = 1e-8)
  words <- "known up to a constant since (Intercept) and x are under a flat prior"
  expect_match(gsub("\\s+", " ", paste(capture.output(print(flat)), collapse = " ")), words,
               fixed = TRUE)
})

# ---- any prior of standard deviations and correlations -------------------------------------------

# What Stan, brms and BUGS users write, beside the density of the sd.
scale_laws <- list(
  list(priors(sd = half_normal(0.8)), function(x) dnorm(x, 0, 0.8) * 2),
  list(priors(sd = normal(0, 0.8)), function(x) dnorm(x, 0, 0.8) * 2),
  list(priors(sd = normal(1, 0.5)), function(x) dnorm(x, 1, 0.5) / pnorm(2)),
  list(priors(sd = exponential(2)), function(x) dexp(x, 2)),
  list(priors(sd = student_t(3, 0, 2.5)), function(x) 2 * dt(x / 2.5, 3) / 2.5),
  list(priors(sd = cauchy(0, 2)), function(x) 2 * dcauchy(x, 0, 2)),
  list(priors(sd = inverse_gamma(2, 1)), function(x) dgamma(1 / x, 2, 1) / x^2),
  list(priors(sd = gamma_precision(2, 1)), function(x) dgamma(x^-2, 2, 1) * 2 / x^3),
  list(priors(sd = flat()), function(x) rep(1, length(x)))
)

# E[sd] and the sd of it where y_g ~ N(mu, sd^2 + s^2), flat mu, by Simpson's rule in log sd.
brute_force_sd <- function(y, s, density) {
  u <- seq(log(1e-4), log(100), length.out = 4001)
  sd <- exp(u)
  log_p <- vapply(sd, function(x) {
    v <- x^2 + s^2
    mean <- sum(y / v) / sum(1 / v)
    -0.5 * (sum(log(v)) + sum((y - mean)^2 / v) + log(sum(1 / v)))
  }, 0) + log(density(sd)) + u
  weight <- exp(log_p - max(log_p)) * c(1, rep(c(4, 2), length.out = 3999), 1)
  mean <- sum(weight * sd) / sum(weight)
  c(mean, sqrt(sum(weight * sd^2) / sum(weight) - mean^2))
}

test_that("posteriors under any prior of an sd are those of numerical integration", {
  set.seed(4)
  sites <- data.frame(site = factor(1:60), se = runif(60, 0.1, 0.3))
  sites$y <- rnorm(60, 1, 0.9) + rnorm(60, 0, sites$se)
  for (law in scale_laws) {
    prior <- law[[1]]
    prior$beta <- priors(beta = flat())$beta
    fit <- fit_glmm(y ~ 1 + (1 | site), sites, se = se, method = "vb", prior = prior)
    exact <- brute_force_sd(sites$y, sites$se, law[[2]])
    # q is an approximation; with 60 sites and a large variance ratio within 1 % of a sd, and 1 %.
    expect_lt(abs(theta(fit)[[2]] - exact[1]) / exact[2], 0.02)
    expect_equal(sqrt(vcov(fit, full = TRUE)[2, 2]), exact[2], tolerance = 0.015)
    # Importance sampling, within its Monte Carlo error.
    check <- convergence(fit)$check[2, ]
    expect_equal(c(check$mean, check$sd), exact, tolerance = 0.01)
    expect_true(convergence(fit)$trusted)
  }
})

test_that("with eight sites the verdict has the exact moments, and says where q is off", {
  schools <- data.frame(site = factor(1:8), se = c(15, 10, 16, 11, 9, 11, 10, 18),
                        y = c(28, 8, -3, 7, -1, 1, 18, 12))
  laws <- list(list(priors(sd = flat()), function(x) rep(1, length(x))),
               list(priors(sd = exponential(0.1)), function(x) dexp(x, 0.1)),
               list(priors(sd = half_normal(5)), function(x) 2 * dnorm(x, 0, 5)))
  for (law in laws) {
    prior <- law[[1]]
    prior$beta <- priors(beta = flat())$beta
    fit <- fit_glmm(y ~ 1 + (1 | site), schools, se = se, method = "vb", prior = prior)
    check <- convergence(fit)$check[2, ]
    # Under a flat prior the tail of the sd is as x^-7: the error of its variance is large.
    expect_equal(c(check$mean, check$sd), brute_force_sd(schools$y, schools$se, law[[2]]),
                 tolerance = 0.04)
    expect_false(convergence(fit)$trusted)
  }
})

test_that("the ELBO is its definition under every prior", {
  d <- prior_data()
  d$w <- rnorm(nrow(d))
  scales <- list(quote(half_normal(1)), quote(exponential(1)), quote(normal(1, 1)),
                 quote(inverse_gamma(2, 1)), quote(gamma_precision(1, 1)), quote(flat()),
                 quote(half_t(3, 1)))
  formulas <- list(y ~ x + (1 | group), y ~ x + (x | group), y ~ x + (x + w || group),
                   y ~ x + (x + w | group))
  for (law in scales) {
    prior <- eval(bquote(priors(sd = .(law), sigma = .(law), cor = lkj(1.5))))
    for (formula in formulas) {
      has_cor <- grepl("[xw] [|] group", deparse(formula))
      said <- structure(unclass(prior)[c("sd", "sigma", if (has_cor) "cor")], class = class(prior))
      fit <- fit_glmm(formula, d, method = "vb", prior = said)
      # The formula of vb_elbo.R integrates what C has in closed form.
      expect_equal(elbo(fit, q = variational(fit)), elbo(fit), tolerance = 1e-9)
      # At its best in the degrees of freedom too.
      q <- variational(fit)
      scale <- if (is.null(q$Sigma)) "Sigma[1]" else "Sigma"
      number <- if (q[[scale]]$family == "inverse gamma") "shape" else "df"
      for (h in c(0.97, 1.03)) {
        other <- q
        other[[scale]][[number]] <- h * q[[scale]][[number]]
        other[[scale]]$scale <- h * q[[scale]]$scale # S as it is
        expect_lt(elbo(fit, q = other), elbo(fit))
      }
      expect_identical(convergence(fit)$status, "converged")
    }
  }
})

test_that("linear response is the derivative of means under a tilt", {
  # exponential(rate - t) is exponential(rate) tilted by t sd, so that d E[theta] / dt is the
  # column of cov(theta, sd); normal(m + t s^2, s) tilts by t sd too.
  tilt <- function(prior_of, h) {
    at <- function(t) theta(fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont,
                                     method = "vb", prior = prior_of(t),
                                     control = elbo_control(tol = 1e-12)))
    slope <- function(h) (at(h) - at(-h)) / (2 * h)
    (4 * slope(h) - slope(2 * h)) / 3
  }
  by_rate <- function(t) {
    law <- priors(sd = half_normal(3), sigma = half_normal(3), cor = lkj(2))
    law[["sd__(Intercept)|Subject"]] <- priors(a = exponential(1 - t))$a
    structure(unclass(law), class = "elbo_priors")
  }
  by_mean <- function(t) {
    law <- priors(sd = half_normal(3), sigma = half_normal(3), cor = lkj(2))
    law[["sd__age|Subject"]] <- priors(a = normal(0.3 + t * 0.2^2, 0.2))$a
    structure(unclass(law), class = "elbo_priors")
  }
  by_sigma <- function(t) {
    law <- priors(sd = half_normal(3), cor = lkj(2))
    law[["sigma"]] <- priors(a = exponential(1 - t))$a
    structure(unclass(law), class = "elbo_priors")
  }
  cases <- list(list(by_rate, "sd__(Intercept)|Subject"), list(by_mean, "sd__age|Subject"),
                list(by_sigma, "sigma"))
  for (case in cases) {
    fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont, method = "vb",
                    prior = case[[1]](0), control = elbo_control(tol = 1e-12))
    expect_equal(tilt(case[[1]], 0.02), vcov(fit, full = TRUE)[, case[[2]]], tolerance = 1e-5,
                 ignore_attr = TRUE)
  }
})

test_that("sensitivity to any prior is the derivative of refits", {
  base <- list(half_normal = 2, exponential = 1.5, lkj = 1.5)
  fit_at <- function(base) {
    prior <- eval(bquote(priors(`sd__(Intercept)|Subject` = half_normal(.(base$half_normal)),
                                `sd__age|Subject` = exponential(.(base$exponential)),
                                cor = lkj(.(base$lkj)), sigma = flat(), beta = flat())))
    fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont, method = "vb", prior = prior,
             control = elbo_control(tol = 1e-12))
  }
  fit <- fit_at(base)
  table <- sensitivity(fit, to = "prior")
  expect_identical(unique(table$number), c("scale", "rate", "eta"))
  for (i in seq_along(base)) {
    slope <- function(h) {
      (theta(fit_at(replace(base, i, base[[i]] + h))) -
         theta(fit_at(replace(base, i, base[[i]] - h)))) / (2 * h)
    }
    found <- table$derivative[table$number == unique(table$number)[i]]
    expect_equal(found, as.vector((4 * slope(0.01) - slope(0.02)) / 3), tolerance = 1e-4)
  }
})

test_that("rats and radon have the moments of long runs under the priors as written", {
  rats <- read_shared("posteriordb", "rats_data.csv")
  reference <- read_shared("posteriordb", "rats_data_mcmc.csv")
  fit <- fit_glmm(y ~ I(x - 22) + (I(x - 22) || rat), transform(rats, rat = factor(rat)),
                  method = "vb", prior = priors(beta = normal(0, 100), sd = flat(), sigma = flat()))
  row <- match(c("mu_alpha", "mu_beta", "sigma_alpha", "sigma_beta", "sigma_y"),
               reference$parameter)
  check <- convergence(fit)$check
  # Monte Carlo errors of the run are .5 % of a sd.
  expect_lt(max(abs(check$mean - reference$mean[row]) / reference$sd[row]), 0.03)
  expect_lt(max(abs(check$sd / reference$sd[row] - 1)), 0.03)
  # Of q itself: means within a tenth of a sd, sds within 5 %.
  expect_lt(max(abs(theta(fit) - reference$mean[row]) / reference$sd[row]), 0.1)
  expect_lt(max(abs(sqrt(diag(vcov(fit, full = TRUE))) / reference$sd[row] - 1)), 0.06)

  radon <- read_shared("posteriordb", "radon_mn.csv")
  reference <- read_shared("posteriordb", "radon_mn_variable_intercept_mcmc.csv")
  fit <- fit_glmm(log_radon ~ floor_measure + (1 | county_idx),
                  transform(radon, county_idx = factor(county_idx)), method = "vb",
                  prior = priors(beta = normal(0, 10), sd = half_normal(1), sigma = half_normal(1)))
  row <- match(c("mu_alpha", "beta", "sigma_alpha", "sigma_y"), reference$parameter)
  check <- convergence(fit)$check
  expect_lt(max(abs(check$mean - reference$mean[row]) / reference$sd[row]), 0.05)
  expect_lt(max(abs(check$sd / reference$sd[row] - 1)), 0.03)
})

test_that("flat priors have no number to be sensitive to", {
  fit <- vb_fit(beta = flat(), sd = flat(), sigma = flat())
  table <- sensitivity(fit, to = "prior")
  expect_identical(nrow(table), 0L)
  expect_named(table, names(sensitivity(vb_fit(), to = "prior")))
})

test_that("half-t priors of different df are those of independent sds, with flat correlations", {
  fit <- vb_fit(`sd__x|group` = half_t(5, 1), `sd__(Intercept)|group` = half_t(3, 1),
                formula = y ~ x + (x | group))
  expect_identical(stated(fit)[["cor__(Intercept).x|group"]], "lkj(1)")
  same <- vb_fit(sd = half_t(3, 1), cor = flat(), formula = y ~ x + (x | group))
  wishart <- vb_fit(sd = half_t(3, 1), formula = y ~ x + (x | group))
  expect_false(isTRUE(all.equal(theta(same), theta(wishart), tolerance = 1e-3)))
  lkj_of_one <- vb_fit(sd = half_t(3, 1), cor = lkj(1), formula = y ~ x + (x | group))
  expect_equal(theta(same), theta(lkj_of_one))
})

test_that("what is no prior of a parameter is refused with what is", {
  refused <- function(..., formula = y ~ x + (x | group), data = prior_data()) {
    tryCatch(vb_fit(..., formula = formula, data = data), elbo_error_prior = conditionMessage)
  }
  expect_match(refused(beta = half_t(3, 1)), "coefficients take `?normal()", perl = FALSE)
  expect_match(refused(cor = normal(0, 1)), "correlations take", fixed = TRUE)
  expect_match(refused(sd = lkj(2)), "standard deviations take", fixed = TRUE)
  expect_match(refused(sd = student_t(3, 1, 1)), "must be about zero", fixed = TRUE)
  expect_match(refused(sd = constant(1)), "or none", fixed = TRUE)
  expect_match(refused(rater = half_t(3, 1)), "rater", fixed = TRUE)
  expect_match(refused(`cor__(Intercept).x|group` = lkj(2), `cor__(Intercept).z|group` = lkj(3),
                       formula = y ~ x + (x + z | group)), "share their prior", fixed = TRUE)
  # With two levels, a flat sd: the posterior is improper.
  d <- droplevels(subset(prior_data(), as.integer(group) <= 2))
  expect_match(refused(sd = flat(), formula = y ~ x + (1 | group), data = d),
               "improper with 2 levels", fixed = TRUE)
})
