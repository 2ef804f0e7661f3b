# Laws of random terms, cs(), ar1() and hom = TRUE, of one factor and of several: against V in full
# and nlme.

law_data <- function(seed, n = 300) {
  set.seed(seed)
  d <- data.frame(a = factor(sample(15, n, TRUE)), b = factor(sample(8, n, TRUE)),
                  t = factor(sample(4, n, TRUE)), x = rnorm(n))
  R <- 0.6^abs(outer(1:4, 1:4, `-`))
  u <- matrix(rnorm(60), 15) %*% chol(R)
  d$y <- 1 + d$x + u[cbind(d$a, d$t)] + 0.7 * rnorm(8)[d$b] + rnorm(n, sd = 0.6)
  d
}

# Sigma as glmmTMB's vignette of covariance structures writes it.
written_law <- function(law, sd, cor, q) {
  R <- if (law == "cs") diag(1 - cor, q) + cor else cor^abs(outer(seq_len(q), seq_len(q), `-`))
  R * outer(rep_len(sd, q), rep_len(sd, q))
}

# Central differences of second order.
second_differences <- function(f, x, h = 1e-3) {
  k <- length(x)
  step <- function(i) h * (seq_len(k) == i)
  outer(seq_len(k), seq_len(k), Vectorize(function(i, j) {
    (f(x + step(i) + step(j)) - f(x + step(i) - step(j)) - f(x - step(i) + step(j)) +
       f(x - step(i) - step(j))) / (4 * h^2)
  }))
}

term_of <- function(law, hom) sprintf("%s(0 + t | a, hom = %s)", law, hom)

test_that("likelihoods, parameters and covariances are those of V in full", {
  for (law in c("cs", "ar1")) for (hom in c(TRUE, FALSE)) for (more in c("", "+ (1 | b)")) {
    method <- if (hom) "em" else "reml"
    formula <- stats::as.formula(paste("y ~ x +", term_of(law, hom), more))
    fit <- fit_glmm(formula, law_data(1), method = method)
    word <- if (law == "cs") "cor__|a" else "rho__|a"
    sds <- if (hom) "sd__|a" else paste0("sd__t", 1:4, "|a")
    expect_true(all(c(word, sds) %in% names(theta(fit))))
    expect_equal(unname(latent_law(fit)[1:4, 1:4]),
                 written_law(law, theta(fit)[sds], theta(fit)[[word]], 4), tolerance = 1e-10)
    expect_equal(log_evidence_of(fit), dense_log_likelihood(fit), tolerance = 1e-9)
    expect_lt(convergence_of(fit)$gradient, 1e-8)
    # The covariance of the variance parameters by second differences.
    scales <- which(parameters_of(fit)$block != "beta")
    H <- second_differences(function(x) {
      dense_log_likelihood(fit, replace(theta(fit), scales, x))
    }, theta(fit)[scales])
    expect_equal(unname(vcov(fit, full = TRUE)[scales, scales]), solve(-H), tolerance = 1e-3)
  }
})

test_that("compound symmetry is nlme's, and two intercepts", {
  skip_if_not_installed("nlme")
  for (method in c("em", "reml")) {
    fit <- fit_glmm(score ~ Machine + cs(0 + Machine | Worker, hom = TRUE), nlme::Machines,
                    method = method)
    peer <- nlme::lme(score ~ Machine, random = list(Worker = nlme::pdCompSymm(~ 0 + Machine)),
                      data = nlme::Machines, method = if (method == "em") "ML" else "REML")
    expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(peer)), tolerance = 1e-8)
    expect_equal(coef(fit), nlme::fixef(peer), tolerance = 1e-6, ignore_attr = TRUE)
    law <- as.matrix(peer$modelStruct$reStruct[[1]]) * peer$sigma^2
    expect_equal(unname(latent_law(fit)), unname(law), tolerance = 1e-4)
    two <- fit_glmm(score ~ Machine + (1 | Worker) + (1 | Worker:Machine), nlme::Machines,
                    method = method)
    expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(two)), tolerance = 1e-9)
  }
})

test_that("ar1 is nlme's corAR1 with the same weights of noise", {
  skip_if_not_installed("nlme")
  set.seed(3)
  d <- data.frame(g = gl(30, 5), t = factor(rep(1:5, 30)))
  d$y <- as.vector(vapply(1:30, function(i) as.vector(stats::arima.sim(list(ar = 0.6), 5)),
                          numeric(5)))
  # No noise beside the process: sigma is held at next to nothing, 1e-4 of its sd.
  fit <- fit_glmm(y ~ 1 + ar1(0 + t | g), d, prior = priors(sigma = constant(1e-4)))
  peer <- nlme::gls(y ~ 1, d, nlme::corAR1(form = ~ 1 | g), method = "ML")
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(peer)), tolerance = 1e-6)
  expect_equal(theta(fit)[["rho__|g"]],
               coef(peer$modelStruct$corStruct, unconstrained = FALSE)[[1]], tolerance = 1e-4)
  expect_equal(theta(fit)[["sd__|g"]], peer$sigma, tolerance = 1e-4)
})

test_that("a common sd of uncorrelated terms is that of one factor more", {
  d <- law_data(4)
  fit <- fit_glmm(y ~ x + diag(0 + t | a, hom = TRUE), d)
  inner <- fit_glmm(y ~ x + (1 | a:t), d)
  expect_equal(log_evidence_of(fit), log_evidence_of(inner), tolerance = 1e-10)
  expect_equal(theta(fit)[["sd__|a"]], theta(inner)[["sd__(Intercept)|a:t"]], tolerance = 1e-7)
})

test_that("bounds are found: no variance, and the least and largest correlation", {
  d <- law_data(5)
  flat <- fit_glmm(y ~ x + cs(0 + t | a, hom = TRUE),
                   transform(d, y = residuals(lm(y ~ a:t + x, d))))
  expect_identical(theta(flat)[["sd__|a"]], 0)
  expect_match(capture.output(print(flat)), "on the boundary", all = FALSE)
  # What all terms of a level share, and what they never do.
  one <- transform(d, y = 2 * rnorm(15)[a] + residuals(lm(y ~ a:t + x, d)))
  shared <- fit_glmm(y ~ x + cs(0 + t | a, hom = TRUE), one)
  expect_identical(theta(shared)[["cor__|a"]], 1)
  expect_equal(log_evidence_of(shared), fit_glmm(y ~ x + (1 | a), one)$log_evidence,
               tolerance = 1e-9)
  # Of four terms that sum to nothing the correlation is -1/3.
  u <- matrix(rnorm(60), 15)
  none <- transform(one, y = (u - rowMeans(u))[cbind(a, t)] + residuals(lm(y ~ a:t + x, d)))
  for (more in c("", "+ (1 | b)")) {
    least <- fit_glmm(stats::as.formula(paste("y ~ x + cs(0 + t | a, hom = TRUE)", more)), none)
    expect_equal(theta(least)[["cor__|a"]], -1 / 3, tolerance = 1e-15)
    expect_true(parameters_of(least)$boundary[names(theta(least)) == "cor__|a"])
    expect_equal(log_evidence_of(least), dense_log_likelihood(least), tolerance = 1e-9)
    inside <- replace(theta(least), "cor__|a", -0.32)
    expect_lt(dense_log_likelihood(least, inside), log_evidence_of(least))
  }
})

test_that("priors, held values, profiles and draws know shared parameters", {
  d <- law_data(6)
  formula <- y ~ x + ar1(0 + t | a) + (1 | b)
  held <- fit_glmm(formula, d, prior = priors(`rho__|a` = constant(0.5)))
  expect_identical(theta(held)[["rho__|a"]], 0.5)
  expect_equal(log_evidence_of(held), dense_log_likelihood(held), tolerance = 1e-9)
  mode <- fit_glmm(formula, d, prior = priors(a = half_t(3, 0.5)))
  log_p <- function(theta) {
    dense_log_likelihood(mode, theta) + log(2) +
      dt(theta[["sd__|a"]] / 0.5, 3, log = TRUE) - log(0.5)
  }
  expect_equal(objective_of(mode), log_p(theta(mode)), tolerance = 1e-9)
  i <- match("sd__|a", names(theta(mode)))
  h <- 1e-4
  slope <- (log_p(replace(theta(mode), i, theta(mode)[i] + h)) -
              log_p(replace(theta(mode), i, theta(mode)[i] - h))) / (2 * h)
  expect_lt(abs(slope), 1e-5)
  expect_error(fit_glmm(formula, d, prior = priors(`rho__|a` = lkj(2))), class = "elbo_error_prior")
  fit <- fit_glmm(formula, d)
  for (name in c("sd__|a", "rho__|a")) {
    ends <- vapply(confint(fit, name, type = "profile"), function(x) refit_held(fit, name, x), 0)
    expect_equal(2 * (objective_of(fit) - ends), rep(qchisq(0.95, 1), 2), tolerance = 1e-4)
  }
  draws <- as.matrix(simulate(fit, 3000, seed = 1))
  V <- dense_parts(fit)$V
  expect_lt(max(abs(apply(draws, 1, var) / diag(V) - 1)), 0.14) # 5 standard errors
  again <- bootstrap(fit, 5, seed = 1)
  expect_identical(colnames(again$theta), names(theta(fit)))
})

test_that("what estimated variances add is by the parameters that are shared", {
  # cs with a common sd is the model of two intercepts: the same mean squared errors.
  d <- law_data(7)
  cs <- fit_glmm(y ~ x + cs(0 + t | a, hom = TRUE), d, method = "reml")
  two <- fit_glmm(y ~ x + (1 | a) + (1 | a:t), d, method = "reml")
  expect_equal(log_evidence_of(cs), log_evidence_of(two), tolerance = 1e-9)
  expect_equal(predict(cs, d[1:9, ], se.fit = TRUE)$se.fit,
               predict(two, d[1:9, ], se.fit = TRUE)$se.fit, tolerance = 1e-5)
  expect_equal(fit_df(cs), fit_df(two), tolerance = 1e-5)
  expect_equal(summary(cs, ddf = "Kenward-Roger")$coefficients,
               summary(two, ddf = "Kenward-Roger")$coefficients, tolerance = 1e-5)
})

test_that("labels, tables and refusals", {
  d <- law_data(8)
  fit <- fit_glmm(y ~ x + ar1(0 + t | a) + cs(0 + t | b), d)
  expect_true(all(c("rho | a", "cor | b", "sd | a", "sd t1 | b") %in% parameter_labels(fit)))
  expect_identical(dim(VarCorr(fit)$a), c(4L, 4L))
  table <- as.data.frame(VarCorr(fit))
  expect_equal(table$sdcor[table$grp == "a"][1:4], rep(theta(fit)[["sd__|a"]], 4))
  expect_true(all(c("rho__", "cor__") %in% tidy(fit)$term))
  expect_equal(theta(update(fit, . ~ . - x + x)), theta(fit), tolerance = 1e-6)
  expect_error(update(fit, method = "vb"), class = "elbo_error_not_available")
  expect_error(fit_mixture(y ~ x + cs(0 + t | a, hom = TRUE), d, k = 2, unit = ~ a),
               "mixed models", class = "elbo_error_formula")
  expect_error(fit_glmm(y ~ x + cs(0 + t | a, 2), d), "hom", class = "elbo_error_formula")
  expect_error(fit_glmm(y ~ x + us(x | a, hom = TRUE), d), "no other argument",
               class = "elbo_error_formula")
})

counts_by_time <- function(seed) {
  set.seed(seed)
  d <- expand.grid(s = factor(1:40), i = factor(1:12))
  d$t <- factor((as.integer(d$i) - 1) %/% 3 + 1)
  d$x <- rnorm(nrow(d))
  U <- matrix(rnorm(160), 40) %*% chol(0.8 * 0.6^abs(outer(1:4, 1:4, `-`)))
  eta <- d$x / 2 + U[cbind(d$s, d$t)] + rnorm(12, 0, 0.4)[d$i]
  d$bin <- rbinom(nrow(d), 1, plogis(eta))
  d$count <- rpois(nrow(d), exp(eta / 2))
  d$grade <- cut(eta + rlogis(nrow(d)), c(-Inf, -1, 1, Inf), ordered_result = TRUE)
  d
}

test_that("other families have the laws, by Laplace as glmmTMB", {
  # glmmTMB 1.1.5, nlminb at rel.tol = 1e-14: log-likelihood; first sd and correlation, which it
  # leaves with errors of some 1e-5; standard errors.
  peer <- rbind(
    data.frame(law = "cs", more = "", log_lik = -642.424451601, sd = 0.6698483, cor = 0.661585,
               se0 = 0.0920729, se1 = 0.0511048),
    data.frame(law = "cs", more = "+ (1 | i)", log_lik = -640.304503792, sd = 0.6632738,
               cor = 0.651091, se0 = 0.1048633, se1 = 0.0516507),
    data.frame(law = "ar1", more = "", log_lik = -644.326292450, sd = 0.5704144, cor = 0.758548,
               se0 = 0.0948649, se1 = 0.0500345),
    data.frame(law = "ar1", more = "+ (1 | i)", log_lik = -641.618481431, sd = 0.5691660,
               cor = 0.767451, se0 = 0.1087110, se1 = 0.0506314)
  )
  d <- counts_by_time(1)
  for (i in seq_len(nrow(peer))) {
    formula <- sprintf("count ~ x + %s(0 + t | s) %s", peer$law[i], peer$more[i])
    fit <- fit_glmm(stats::as.formula(formula), d, family = poisson(),
                    control = elbo_control(quadrature = 1L))
    expect_equal(as.numeric(logLik(fit)), peer$log_lik[i], tolerance = 1e-10)
    Sigma <- latent_law(fit)
    expect_equal(sqrt(Sigma[1, 1]), peer$sd[i], tolerance = 1e-5)
    expect_equal(stats::cov2cor(Sigma)[1, 2], peer$cor[i], tolerance = 3e-5)
    expect_equal(unname(sqrt(diag(vcov(fit)))), c(peer$se0[i], peer$se1[i]), tolerance = 1e-5)
  }
})

test_that("of two terms every law is the free one, under every family and by quadrature", {
  d <- counts_by_time(2)
  d$t <- factor(as.integer(d$t) > 2)
  for (y in c("bin", "count", "grade")) {
    family <- list(bin = binomial(), count = poisson(), grade = cumulative())[[y]]
    of <- function(term) fit_glmm(stats::as.formula(paste(y, "~ x +", term)), d, family = family)
    free <- of("(0 + t | s)")
    for (term in c("cs(0 + t | s)", "ar1(0 + t | s, hom = FALSE)")) {
      fit <- of(term)
      expect_equal(log_evidence_of(fit), free$log_evidence, tolerance = 1e-9)
      expect_equal(latent_law(fit), latent_law(free), tolerance = 1e-5)
      expect_equal(vcov(fit), vcov(free), tolerance = 1e-5)
    }
  }
  # A common sd of uncorrelated terms is one factor more.
  apart <- fit_glmm(count ~ x + diag(0 + t | s, hom = TRUE), d, family = poisson())
  inner <- fit_glmm(count ~ x + (1 | s:t), d, family = poisson())
  expect_equal(log_evidence_of(apart), log_evidence_of(inner), tolerance = 1e-7) # of the nodes
  # A held correlation, and a prior of what is shared.
  held <- fit_glmm(count ~ x + ar1(0 + t | s), d, family = poisson(),
                   prior = priors(`rho__|s` = constant(0.5)))
  expect_identical(theta(held)[["rho__|s"]], 0.5)
  mode <- fit_glmm(count ~ x + ar1(0 + t | s), d, family = poisson(),
                   prior = priors(s = half_normal(0.1)))
  expect_lt(convergence_of(mode)$gradient, 1e-7)
  expect_equal(objective_of(mode), log_evidence_of(mode) + log(2) +
                 dnorm(theta(mode)[["sd__|s"]], 0, 0.1, log = TRUE), tolerance = 1e-10)
})

test_that("a correlation is told by the pairs whose variances are not zero", {
  shape <- list(cor = c(1, 1, 1), lag = c(1, 2, 1), has_cor = 1L)
  expect_identical(told_pairs(shape, c(NaN, NaN, 0.3)), 3L)
  expect_identical(told_pairs(shape, c(NaN, 0.25, NaN)), 2L)
  expect_equal(signed_power(c(0.25, -0.125), c(1 / 2, 1 / 3)), c(0.5, -0.5))
})
