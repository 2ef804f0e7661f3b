# The same optimum as independent software: lme4, nlme and metafor, run live and at the
# tightest tolerances they converge with.
#
# A peer that stops early must not fail a better fit: our log-likelihood may be higher by any
# amount, never lower by more than 1e-7. Where the two agree to 1e-7 the estimates do to 1e-5.

loglik_tolerance <- 1e-7
estimate_tolerance <- 1e-5

# ---- what each peer found, with the names of theta() --------------------------------------

lmer_at_tolerance <- function(formula, data, reml, ..., polish = TRUE) {
  # lme4 looks weights and offset up by name, so the call must hold their values.
  fit_by <- function(optimizer, tight, start = NULL) {
    control <- lme4::lmerControl(optimizer = optimizer, optCtrl = tight, calc.derivs = FALSE,
                                 check.conv.singular = "ignore")
    do.call(lme4::lmer, list(formula, data, REML = reml, control = control, start = start,
                             ...))
  }
  fit <- fit_by("nloptwrap", list(algorithm = "NLOPT_LN_SBPLX", xtol_abs = 1e-14,
                                  xtol_rel = 1e-14, ftol_abs = 1e-14, ftol_rel = 1e-14,
                                  maxeval = 1e5))
  if (!polish) return(fit)
  deviance <- stats::update(fit, devFunOnly = TRUE)
  fit_by(NULL, list(), start = newton(deviance, lme4::getME(fit, "theta")))
}

peer_lme4 <- function(formula, data, reml = FALSE, ...) {
  fit <- lmer_at_tolerance(formula, data, reml, ...)
  pars <- as.data.frame(lme4::VarCorr(fit))
  group <- sub("\\.[0-9]+$", "", pars$grp)
  name <- sprintf("sd__%s|%s", pars$var1, group)
  is_cor <- !is.na(pars$var2)
  name[is_cor] <- sprintf("cor__%s.%s|%s", pars$var1, pars$var2, group)[is_cor]
  name[pars$grp == "Residual"] <- "sigma"
  list(
    fit = fit,
    loglik = as.numeric(stats::logLik(fit)),
    theta = c(lme4::fixef(fit), stats::setNames(pars$sdcor, name)),
    se = sqrt(diag(as.matrix(stats::vcov(fit))))
  )
}

peer_nlme <- function(fixed, data, random, group, level, reml = FALSE) {
  # With its own EM steps first, nlme stops 1e-8 below the maximum.
  control <- nlme::lmeControl(maxIter = 1000, msMaxIter = 1000, msMaxEval = 1e4, niterEM = 0,
                              tolerance = 1e-14, msTol = 1e-14, returnObject = TRUE)
  varying <- nlme::varIdent(form = stats::reformulate(paste("1 |", level)))
  fit <- do.call(nlme::lme, list(fixed, data, random, weights = varying, control = control,
                                 method = if (reml) "REML" else "ML"))
  ratios <- stats::coef(fit$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
  covariance <- nlme::getVarCov(fit)
  sd <- sqrt(diag(covariance))
  terms <- rownames(covariance)
  cor <- stats::cov2cor(covariance)[upper.tri(covariance)]
  pairs <- utils::combn(terms, min(2, length(terms)), paste, collapse = ".")
  theta <- c(
    stats::setNames(sd, sprintf("sd__%s|%s", terms, group)),
    if (length(terms) > 1) stats::setNames(cor, sprintf("cor__%s|%s", pairs, group)),
    stats::setNames(fit$sigma * ratios, paste0("sigma|", names(ratios)))
  )
  list(
    fit = fit,
    loglik = as.numeric(stats::logLik(fit)),
    theta = c(nlme::fixef(fit), theta),
    se = sqrt(diag(stats::vcov(fit)))
  )
}

# The deviance in double precision leaves a search without derivatives some 1e-5 from its
# minimum; Newton's method on the same function gets to where that function can tell. Not on
# the boundary, where there is nothing to polish.
newton <- function(deviance, theta) {
  if (any(abs(theta) < 1e-6)) return(theta)
  for (step in 1:2) {
    hessian <- numDeriv::hessian(deviance, theta)
    theta <- theta - solve(hessian, numDeriv::grad(deviance, theta))
  }
  theta
}

# metafor's restricted log-likelihood carries 1/2 log|X'X|; ours, like lme4's, does not.
peer_metafor <- function(estimate, se, group, mods = NULL, reml = FALSE, threshold = 1e-14) {
  fit <- do.call(metafor::rma, c(
    list(estimate, sei = se, method = if (reml) "REML" else "ML",
         control = list(threshold = threshold, maxiter = 10000)),
    if (!is.null(mods)) list(mods = mods)
  ))
  constant <- if (reml) as.numeric(determinant(crossprod(fit$X))$modulus) / 2 else 0
  list(
    fit = fit,
    loglik = as.numeric(stats::logLik(fit)) - constant,
    theta = c(
      stats::setNames(drop(fit$beta), sub("intrcpt", "(Intercept)", rownames(fit$beta))),
      stats::setNames(sqrt(fit$tau2), sprintf("sd__(Intercept)|%s", group))
    ),
    se = fit$se
  )
}

expect_same_optimum <- function(fit, peer) {
  expect_identical(convergence(fit)$status, "converged")
  gain <- as.numeric(logLik(fit)) - peer$loglik
  expect_gt(gain, -loglik_tolerance)
  if (gain < loglik_tolerance) {
    ours <- theta(fit)
    attributes(ours) <- list(names = names(ours))
    # A correlation with a standard deviation of zero is not defined; lme4 prints NaN.
    defined <- is.finite(peer$theta)
    expect_setequal(names(ours), names(peer$theta))
    expect_relative(ours[names(peer$theta)][defined], peer$theta[defined])
    expect_relative(sqrt(diag(vcov(fit))), peer$se)
  }
}

# Each number by itself; expect_equal() would compare means over the vector.
expect_relative <- function(ours, theirs, tolerance = estimate_tolerance) {
  expect_lt(max(abs(unname(ours) - unname(theirs)) / pmax(abs(unname(theirs)), 1e-8)),
            tolerance)
}

# ---- lme4 --------------------------------------------------------------------------------

lme4_cases <- function() {
  list(
    sleepstudy_slopes = list(Reaction ~ Days + (Days | Subject), lme4::sleepstudy),
    sleepstudy_independent = list(Reaction ~ Days + (Days || Subject), lme4::sleepstudy),
    Dyestuff = list(Yield ~ 1 + (1 | Batch), lme4::Dyestuff),
    Dyestuff2 = list(Yield ~ 1 + (1 | Batch), lme4::Dyestuff2),
    Orthodont = list(distance ~ age * Sex + (age | Subject), plain(nlme::Orthodont)),
    Machines = list(score ~ Machine + (Machine | Worker), plain(nlme::Machines)),
    Machines_nested = list(score ~ Machine + (1 | Worker:Machine), plain(nlme::Machines)),
    Oxboys = list(height ~ age + I(age^2) + (age | Subject), plain(nlme::Oxboys)),
    BodyWeight = list(weight ~ Time * Diet + (Time | Rat), plain(nlme::BodyWeight)),
    splines = list(weight ~ splines::ns(Time, 3) * Diet + (Time | Chick),
                   plain(datasets::ChickWeight)),
    b_splines = list(Reaction ~ splines::bs(Days, df = 4) + (1 | Subject), lme4::sleepstudy)
  )
}

# groupedData and ordered grouping factors as the ordinary things they are here.
plain <- function(data) {
  data <- as.data.frame(data)
  ordered <- vapply(data, is.ordered, NA)
  data[ordered] <- lapply(data[ordered], factor, ordered = FALSE)
  data
}

test_that("lme4 finds no higher likelihood, and where equal the same estimates", {
  skip_if_not_installed("lme4")
  skip_if_not_installed("numDeriv")
  for (name in names(lme4_cases())) {
    case <- lme4_cases()[[name]]
    for (method in c("em", "reml")) {
      peer <- peer_lme4(case[[1]], case[[2]], reml = method == "reml")
      fit <- fit_glmm(case[[1]], case[[2]], method = method)
      label <- paste(name, method)
      withCallingHandlers(
        expect_same_optimum(fit, peer),
        expectation_failure = function(e) message("in ", label)
      )
    }
  }
})

test_that("Dyestuff2 has its variance at exactly zero, as lme4 finds", {
  skip_if_not_installed("lme4")
  for (method in c("em", "reml")) {
    fit <- fit_glmm(Yield ~ 1 + (1 | Batch), lme4::Dyestuff2, method = method)
    expect_identical(theta(fit)[["sd__(Intercept)|Batch"]], 0)
    least_squares <- stats::lm(Yield ~ 1, lme4::Dyestuff2)
    expect_equal(as.numeric(logLik(fit)),
                 as.numeric(logLik(least_squares, REML = method == "reml")),
                 tolerance = 1e-12)
  }
})

test_that("weights and offset mean what they mean in lme4", {
  skip_if_not_installed("lme4")
  skip_if_not_installed("numDeriv")
  d <- lme4::sleepstudy
  d$w <- rep(c(0.5, 1, 2, 4, 1.5), length.out = nrow(d))
  d$o <- 10 * sin(seq_len(nrow(d)))
  for (method in c("em", "reml")) {
    peer <- peer_lme4(Reaction ~ Days + (Days | Subject), d, reml = method == "reml",
                      weights = d$w, offset = d$o)
    fit <- fit_glmm(Reaction ~ Days + (Days | Subject), d, method = method,
                    weights = w, offset = o)
    expect_same_optimum(fit, peer)
    expect_equal(unname(fitted(fit)), unname(fitted(peer$fit)), tolerance = 1e-6)
  }
})

test_that("the random effects are lme4's, and their standard deviations", {
  skip_if_not_installed("lme4")
  skip_if_not_installed("numDeriv")
  formula <- Reaction ~ Days + (Days | Subject)
  peer <- as.data.frame(lme4::ranef(peer_lme4(formula, lme4::sleepstudy)$fit))
  ours <- as.data.frame(ranef(fit_glmm(formula, lme4::sleepstudy)))
  key <- function(x) paste(x$term, x$grp)
  ours <- ours[match(key(peer), key(ours)), ]
  expect_equal(ours$condval, peer$condval, tolerance = 1e-5)
  # Given the maximum likelihood estimates of theta, beta among them, as lme4 has it.
  expect_equal(ours$condsd, peer$condsd, tolerance = 1e-5)
})

test_that("Satterthwaite's degrees of freedom are lmerTest's", {
  skip_if_not_installed("lmerTest")
  for (case in lme4_cases()) {
    for (method in c("em", "reml")) {
      peer <- lmer_at_tolerance(case[[1]], case[[2]], method == "reml", polish = FALSE)
      # Where a variance is zero theirs are those of a model without it.
      if (lme4::isSingular(peer)) next
      peer <- summary(lmerTest::as_lmerModLmerTest(peer))$coefficients
      ours <- summary(fit_glmm(case[[1]], case[[2]], method = method))$coefficients
      # lmerTest differentiates numerically, twice.
      expect_relative(ours[rownames(peer), "df"], peer[, "df"], 1e-4)
      expect_relative(ours[rownames(peer), "Pr(>|t|)"], peer[, "Pr(>|t|)"], 1e-3)
    }
  }
})

# ---- standard errors of the variance parameters -------------------------------------------

# The inverse observed information of the profile (or restricted) log-likelihood, from dense
# matrices and numerical differentiation.
reference_variance_se <- function(fit) {
  pieces <- theta(fit)
  attributes(pieces) <- list(names = names(pieces))
  variance <- parameters_of(fit)$block != "beta"
  profile <- function(psi) {
    at <- replace(pieces, variance, psi)
    parts <- reference_pieces(fit, at)
    beta <- reference_gls(design_of(fit), parts$Sigma, parts$s2)$beta
    reference_lmm(design_of(fit), beta, parts$Sigma, parts$s2,
                  integrate_beta = method_of(fit) == "reml")$log_evidence
  }
  information <- -numDeriv::hessian(profile, pieces[variance])
  sqrt(diag(solve(information)))
}

test_that("standard errors of variances are those of the observed information", {
  skip_if_not_installed("numDeriv")
  skip_if_not_installed("lme4")
  skip_on_cran()
  small <- droplevels(subset(lme4::sleepstudy, as.integer(Subject) <= 9))
  growth <- plain(nlme::Orthodont)
  fits <- list(
    fit_glmm(Yield ~ 1 + (1 | Batch), lme4::Dyestuff),
    fit_glmm(Reaction ~ Days + (Days | Subject), small),
    fit_glmm(Reaction ~ Days + (Days || Subject), small),
    fit_glmm(distance ~ age + (1 | Subject), growth, sigma = ~ Sex)
  )
  for (fit in fits) {
    for (fit in list(fit, update(fit, method = "reml"))) {
      variance <- parameters_of(fit)$block != "beta"
      ours <- sqrt(diag(vcov(fit, full = TRUE)))[variance]
      expect_relative(ours, reference_variance_se(fit))
    }
  }
})

# ---- nlme: a residual variance for each level ---------------------------------------------

test_that("sigma = ~ Sex is nlme's varIdent", {
  growth <- plain(nlme::Orthodont)
  for (reml in c(FALSE, TRUE)) {
    method <- if (reml) "reml" else "em"
    fit <- fit_glmm(distance ~ age * Sex + (age | Subject), growth, method = method,
                    sigma = ~ Sex)
    peer <- peer_nlme(distance ~ age * Sex, growth, ~ age | Subject, "Subject", "Sex", reml)
    expect_same_optimum(fit, peer)

    fit <- fit_glmm(distance ~ age + (1 | Subject), growth, method = method, sigma = ~ Sex)
    peer <- peer_nlme(distance ~ age, growth, ~ 1 | Subject, "Subject", "Sex", reml)
    expect_same_optimum(fit, peer)
  }
})

# ---- metafor: known standard errors -------------------------------------------------------

test_that("the seven trials and Rubin's eight schools are metafor's random-effects fits", {
  skip_if_not_installed("metafor")
  schools <- data.frame(
    school = LETTERS[1:8],
    effect = c(28, 8, -3, 7, -1, 1, 18, 12),
    se = c(15, 10, 16, 11, 9, 11, 10, 18)
  )
  for (reml in c(FALSE, TRUE)) {
    method <- if (reml) "reml" else "em"
    fit <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se, method = method)
    # 1e-14 of a variance of 46 is more than metafor's scoring can hold.
    peer <- with(microcredit_sites, peer_metafor(estimate, se, group = "country", reml = reml,
                                                 threshold = 1e-12))
    expect_same_optimum(fit, peer)
    fit <- fit_glmm(effect ~ 1 + (1 | school), schools, se = se, method = method)
    peer <- with(schools, peer_metafor(effect, se, group = "school", reml = reml))
    expect_same_optimum(fit, peer)
    expect_identical(theta(fit)[["sd__(Intercept)|school"]], 0)
  }
})

test_that("a meta-regression is metafor's", {
  skip_if_not_installed("metafor")
  # Colditz et al. (1994), 13 trials of the BCG vaccine: log relative risk of tuberculosis by
  # latitude; cases and others among the vaccinated and the controls.
  trials <- data.frame(
    trial = factor(1:13),
    latitude = c(44, 55, 42, 52, 13, 44, 19, 13, 27, 42, 18, 33, 33),
    cases = c(4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27),
    others = c(119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886),
    cases_0 = c(11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29),
    others_0 = c(128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825)
  )
  n <- trials$cases + trials$others
  n_0 <- trials$cases_0 + trials$others_0
  trials$effect <- log((trials$cases / n) / (trials$cases_0 / n_0))
  trials$se <- sqrt(1 / trials$cases - 1 / n + 1 / trials$cases_0 - 1 / n_0)
  for (reml in c(FALSE, TRUE)) {
    fit <- fit_glmm(effect ~ latitude + (1 | trial), trials, se = se,
                    method = if (reml) "reml" else "em")
    peer <- with(trials, peer_metafor(effect, se, "trial", cbind(latitude), reml))
    expect_same_optimum(fit, peer)
  }
})

test_that("the site-level fits equal the reference values, boundary included", {
  published <- read_shared("microcredit", "normal_normal_fits.csv")
  sites <- read_shared("microcredit", "site_ates.csv")
  consumption <- read_shared("microcredit", "site_ates_consumption.csv")
  schools <- read_shared("microcredit", "eight_schools.csv")
  data <- list(
    profit_7_sites = data.frame(est = sites$ate, se = sites$ate_se, site = sites$site),
    profit_control_means_7_sites = data.frame(
      est = sites$control_mean, se = sites$control_mean_se, site = sites$site
    ),
    consumption_5_sites = data.frame(
      est = consumption$ate, se = consumption$ate_se, site = seq_len(nrow(consumption))
    ),
    eight_schools = data.frame(est = schools$tau, se = schools$se, site = schools$group)
  )
  for (i in seq_len(nrow(published))) {
    target <- published[i, ]
    reml <- target$method == "REML"
    fit <- fit_glmm(est ~ 1 + (1 | site), data[[target$data]], se = se,
                    method = if (reml) "reml" else "em")
    # The table's restricted likelihood counts n/2 log 2 pi, ours (n - 1)/2; ten digits.
    loglik <- target$loglik + if (reml) log(2 * pi) / 2 else 0
    expect_relative(as.numeric(logLik(fit)), loglik, 1e-8)
    expect_relative(coef(fit), target$mu, 1e-7)
    expect_relative(sqrt(diag(vcov(fit))), target$se_mu, 1e-7)
    expect_equal(theta(fit)[["sd__(Intercept)|site"]]^2, target$tau2, tolerance = 1e-6)
  }
})
