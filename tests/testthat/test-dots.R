# Every method of every class of this package that has `...`, found in the namespace, so that a new
# method without the rule fails here.

owned <- function() {
  table <- as.data.frame(unclass(getNamespaceInfo("elbo", "S3methods")))
  names(table)[1:3] <- c("generic", "class", "method")
  table[grepl("^elbo_|[.]elbo_", table$class), ]
}

# Methods that are handed all arguments of another package's user, who gets to hear of them there.
handed_on <- c("recover_data", "emm_basis", "find_formula", "find_response",
               "find_transformation", "get_parameters", "get_statistic",
               "model_info", "get_data", "get_df", "model_parameters", "model_performance", "r2",
               "get_coef", "get_predict", "get_vcov", "set_coef", "estfun", "bread",
               "get_varcov", "vcovBS", "vcovCR",
               "get_datagrid", "get_predicted", "get_variance", "ellipsis_info", "is_converged",
               "check_singularity", "check_convergence", "check_model", "check_normality",
               "check_outliers", "check_heteroscedasticity", "check_predictions", "pp_check",
               "describe_posterior", "describe_prior", "hdi", "eti", "spi", "bci", "point_estimate",
               "map_estimate", "p_direction", "p_map", "p_significance", "p_rope", "rope",
               "estimate_density", "equivalence_test", "fortify", "getSimulations", "getFitted",
               "getObservedResponse", "get_priors", "get_weights",
               "makeArgs", "getAllTerms", "Anova", "Boot", "linearHypothesis", "vif",
               "lrtest")

example_of <- function(class) {
  sleep <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
  normal <- function() fit_mixture(waiting ~ 1, faithful, k = 2, covariance = "E")
  switch(class,
    elbo_fit = , elbo_glmm = sleep,
    elbo_general = fit_glmm(count ~ 1 + (1 | spray), InsectSprays, family = poisson()),
    elbo_general_vb = fit_glmm(count ~ 1 + (1 | spray), InsectSprays, poisson(), "vb"),
    elbo_mixture = normal(),
    elbo_sky = fit_sky(sim_sky(40, 36, n = 3, flux = c(2000, 9000), galaxies = 0)),
    elbo_own = , elbo_em = fit_em(
      c(rate = 1), function(theta, data) rep(1, length(data)),
      function(z, data) c(rate = sum(z) / sum(data)), function(theta, data) {
        sum(stats::dexp(data, theta, log = TRUE))
      }, data = c(1, 2, 4)
    ),
    elbo_advi = fit_advi(function(p) -sum(p^2) / 2, c(a = 1), function(p) -p),
    elbo_bootstrap = bootstrap(sleep, 5, 1),
    elbo_influence = influence(sleep, "Subject"),
    VarCorr.elbo_fit = VarCorr(sleep),
    ranef.elbo_fit = ranef(sleep),
    elbo_comparison = compare_fits(sleep),
    elbo_kl = kl_project(c(0, 0), diag(2)),
    elbo_control = elbo_control(),
    elbo_convergence = convergence(sleep),
    elbo_trace = elbo_trace(sleep),
    elbo_anova = anova(sleep),
    elbo_sensitivity = sensitivity(sleep, to = "data"),
    elbo_prior = priors(beta = normal(0, 1))[[1]],
    elbo_priors = priors(beta = normal(0, 1)),
    elbo_selection = selection(normal()),
    elbo_variational = variational(update(sleep, method = "vb")),
    elbo_mixture_variational = variational(update(normal(), method = "vb")),
    summary.elbo_fit = summary(sleep),
    summary.elbo_mixture = summary(normal()),
    NULL
  )
}

test_that("no method of any class swallows an argument it does not have", {
  table <- owned()
  objects <- new.env()
  tried <- 0
  for (i in seq_len(nrow(table))) {
    class <- table$class[i]
    generic <- table$generic[i]
    name <- paste(generic, class, sep = ".")
    method <- getS3method(generic, class, optional = TRUE, envir = asNamespace("elbo"))
    if (is.null(method)) method <- get(name, asNamespace("elbo"))
    if (!"..." %in% names(formals(method)) || generic %in% c(handed_on, "update")) next
    if (is.null(objects[[class]])) objects[[class]] <- example_of(class)
    if (class == "elbo_em_check") objects[[class]] <- structure(list(), class = class)
    expect_false(is.null(objects[[class]]), label = paste("an example of class", class))
    e <- tryCatch(suppressWarnings(method(objects[[class]], no_such_argument = 1)),
                  error = identity)
    # What a class has no answer to is refused, whatever is asked.
    if (inherits(e, "elbo_error_not_available")) {
      expect_error(method(objects[[class]]), class = "elbo_error_not_available")
      next
    }
    expect_s3_class(e, "elbo_error_argument")
    expect_match(conditionMessage(e), "`no_such_argument`", fixed = TRUE, label = name)
    tried <- tried + 1
  }
  expect_gt(tried, 90)
})

test_that("no exported function swallows an argument it does not have", {
  # Generics hand on to methods; `...` of these are fits and priors.
  open <- Filter(function(name) {
    f <- getExportedValue("elbo", name)
    "..." %in% names(formals(f)) && !any(grepl("UseMethod", deparse(body(f))))
  }, getNamespaceExports("elbo"))
  refused <- function(expr) expect_error(expr, "`no_such_argument`", class = "elbo_error")
  refused(fit_glmm(distance ~ age, nlme::Orthodont, no_such_argument = 1))
  refused(fit_mixture(waiting ~ 1, faithful, k = 2, no_such_argument = 1))
  refused(elbo_control(no_such_argument = 1))
  refused(compare_fits(no_such_argument = 1))
  refused(priors(no_such_argument = 1))
  expect_setequal(open, c("fit_glmm", "fit_mixture", "elbo_control", "compare_fits", "priors"))
})

test_that("what lme4 calls so is honoured", {
  skip_if_not_installed("lme4")
  fit <- fit_glmm(Reaction ~ Days + (Days | Subject), lme4::sleepstudy, REML = TRUE)
  peer <- lme4::lmer(Reaction ~ Days + (Days | Subject), lme4::sleepstudy)
  expect_identical(method_of(fit), "reml")
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(peer)), tolerance = 1e-8)
  # lmer stops some 1e-6 off in the ratios of the variances, and away from the maximum of its own
  # criterion that moves the other one in the first order.
  expect_equal(as.numeric(logLik(fit, REML = FALSE)), as.numeric(logLik(peer, REML = FALSE)),
               tolerance = 1e-7)
  expect_equal(deviance(fit, REML = FALSE), -2 * as.numeric(logLik(fit, REML = FALSE)))
  ml <- update(fit, REML = FALSE)
  expect_identical(method_of(ml), "em")
  expect_identical(update(ml, method = "REML")$method, "reml")
  expect_equal(as.numeric(logLik(ml, REML = TRUE)),
               as.numeric(logLik(lme4::refitML(peer), REML = TRUE)), tolerance = 1e-7)

  expect_equal(confint(ml, "sigma", method = "profile"), confint(ml, "sigma", type = "profile"))
  expect_identical(confint(ml, method = "Wald"), confint(ml))
  expect_identical(confint(ml, "sigma", method = "boot", nsim = 20, seed = 1),
                   confint(ml, "sigma", type = "bootstrap", nsim = 20, seed = 1))
  expect_identical(rownames(confint(ml, "beta_")), names(lme4::fixef(peer)))
  expect_identical(rownames(confint(ml, "theta_")), setdiff(names(theta(ml)), names(coef(ml))))
  table <- tidy(ml, "ran_pars", conf.int = TRUE, conf.method = "profile")
  expect_equal(table$conf.low, unname(confint(ml, "theta_", type = "profile")[, 1]))

  expect_equal(residuals(fit, scaled = TRUE), residuals(peer, scaled = TRUE), tolerance = 1e-5)
  expect_equal(predict(fit, REform = NA), predict(fit, re.form = NA))
  expect_equal(unname(simulate(fit, use.u = TRUE, seed = 1)),
               unname(simulate(fit, re.form = NULL, seed = 1)))
  expect_identical(simulate(fit, allow.new.levels = TRUE, seed = 1), simulate(fit, seed = 1))
  expect_equal(formula(fit, random.only = TRUE), formula(peer, random.only = TRUE),
               ignore_formula_env = TRUE)
  expect_named(model.frame(fit, fixed.only = TRUE), c("Reaction", "Days"))
  expect_named(ranef(fit, whichel = "Subject"), "Subject")
  expect_null(attr(ranef(fit, postVar = FALSE)$Subject, "postVar"))
  expect_identical(summary(fit, ddf = "Satterthwaite")$coefficients, summary(fit)$coefficients)
})

test_that("a likelihood of the other kind leaves alone what is known or has a prior", {
  sites <- data.frame(est = c(1, 3, 2, 5, 4), site = 1:5, se = c(1, 1.5, 1, 2, 1))
  fit <- fit_glmm(est ~ 1 + (1 | site), sites, se = se, method = "reml")
  V <- diag(theta(fit)[["sd__(Intercept)|site"]]^2 + sites$se^2)
  r <- sites$est - coef(fit)
  by_hand <- -0.5 * (5 * log(2 * pi) + log(det(V)) + sum(r * solve(V, r)))
  expect_equal(as.numeric(logLik(fit, REML = FALSE)), by_hand, tolerance = 1e-10)
})

test_that("refits in anova() are asked for as in lme4", {
  fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont, method = "reml")
  level <- update(fit, . ~ age + (1 | Subject))
  table <- anova(level, fit, refit = FALSE, test = "chisq")
  expect_equal(table$logLik[2], as.numeric(logLik(fit)))
  expect_message(table <- anova(level, fit, refit = TRUE, test = "chisq"), "Refitting")
  expect_equal(table$logLik[2], as.numeric(logLik(update(fit, method = "em"))))
  other <- update(fit, . ~ . + Sex)
  expect_error(anova(fit, other, refit = FALSE), "cannot be compared",
               class = "elbo_error_argument")
  expect_error(anova(fit, other, ddf = "Kenward-Roger"), class = "elbo_error_argument")
})

test_that("what callers of generics pass along is accepted", {
  glmm <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
  mixture <- fit_mixture(waiting ~ 1, faithful, k = 2, covariance = "E")
  for (fit in list(glmm, mixture)) {
    expect_identical(vcov(fit, complete = FALSE), vcov(fit))
    expect_identical(coef(fit, complete = TRUE), coef(fit))
    expect_identical(tidy(fit, parametric = TRUE), tidy(fit))
    expect_identical(tidy(fit, conf.int = TRUE, conf.method = "Wald"), tidy(fit, conf.int = TRUE))
    expect_identical(simulate(fit, re.form = NA, seed = 1), simulate(fit, seed = 1))
    expect_identical(nobs(fit, use.fallback = TRUE), nobs(fit))
    expect_output(print(fit, digits = 3))
    expect_output(print(summary(fit, correlation = FALSE), digits = 3, signif.stars = TRUE))
  }
})

test_that("contrasts are those asked for, as in lm()", {
  coded <- list(Sex = "contr.sum")
  fit <- fit_glmm(distance ~ Sex, nlme::Orthodont, contrasts = coded)
  line <- stats::lm(distance ~ Sex, nlme::Orthodont, contrasts = coded)
  expect_equal(c(coef(fit)), coef(line), tolerance = 1e-10, ignore_attr = "fixed")
  new <- nlme::Orthodont[c(1, 100), ]
  expect_equal(predict(fit, new), predict(line, new), ignore_attr = "names", tolerance = 1e-10)
  one <- fit_mixture(distance ~ Sex, nlme::Orthodont, k = 1, contrasts = coded)
  expect_equal(unname(c(coef(one))), unname(coef(line)), tolerance = 1e-8, ignore_attr = "fixed")
  for (wrong in list("contr.sum", list(sex = "contr.sum"), list(Sex = "contr.nothing"))) {
    expect_error(fit_glmm(distance ~ Sex, nlme::Orthodont, contrasts = wrong), "contrasts",
                 class = "elbo_error_argument")
  }
})

test_that("errors name our word for that of another package", {
  refused <- function(expr, word) {
    expect_error(expr, word, fixed = TRUE, class = "elbo_error_argument")
  }
  refused(fit_glmm(distance ~ age, nlme::Orthodont, random = ~ 1 | Subject), "( terms | group )")
  refused(fit_glmm(distance ~ age, nlme::Orthodont, dispformula = ~ Sex), "sigma = ~ f")
  refused(fit_glmm(distance ~ age, nlme::Orthodont, method = "em", REML = TRUE), "contradict")
  refused(fit_mixture(waiting ~ 1, faithful, G = 2), "`k`")
  refused(fit_mixture(waiting ~ 1, faithful, nclass = 2), "`k`")
  refused(fit_mixture(waiting ~ 1, faithful, k = 2, modelNames = "V"), "`covariance`")
  refused(fit_mixture(waiting ~ 1, faithful, k = 2, initialization = list(noise = 1)), "`start`")
  refused(fit_mixture(waiting ~ 1, faithful, k = 2, random = ~ 1), "( terms | unit )")
  refused(elbo_control(maxit = 10), "`max_iter`")
  fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
  refused(confint(fit, conf.level = 0.9), "`level`")
  refused(confint(fit, method = "profile", type = "bootstrap"), "contradict")
  refused(confint(fit, boot.type = "norm"), "boot.type")
  refused(confint(fit, 99), "from 1 to")
  refused(plot(fit, which = 1), "`type`")
  refused(plot(fit, main = "A fit"), "autoplot")
  refused(residuals(fit, type = "foo"), "pearson")
  refused(fitted(fit, level = 0), "re.form = NA")
  for (word in list(list(n_boot = 9), list(nBoot = 9), list(iterations = 9))) {
    refused(do.call(anova, c(list(fit), word)), "`nsim`") # whatever the way it is spelled
  }
  refused(as.data.frame(VarCorr(fit), order = "lower.tri"), "cov.last")
  # What is not asked for is no matter.
  expect_identical(predict(fit, random.only = FALSE, newparams = NULL), predict(fit))
  refused(predict(fit, random.only = TRUE), "latent(fit)")
  expect_output(print(VarCorr(fit), comp = "Variance"), "Variance")
  expect_no_match(utils::capture.output(print(VarCorr(fit), comp = "Variance")), "Std.Dev.")
})

test_that("an argument of another kind gets an error of ours", {
  skip_on_cran()
  odd <- list(NULL, NA, "foo", -1, list(), c(TRUE, FALSE), mean, y ~ x)
  table <- owned()
  # Generics that users call; those of packages around have rules of their own.
  called <- unlist(lapply(c("elbo", "stats", "base"), getNamespaceExports))
  table <- table[is.na(table[[4]]) & table$generic %in% setdiff(called, c("$", "truth")), ]
  examples <- list(elbo_fit = example_of("elbo_fit"), elbo_mixture = example_of("elbo_mixture"),
                   elbo_bootstrap = example_of("elbo_bootstrap"),
                   elbo_comparison = example_of("elbo_comparison"))
  examples$elbo_glmm <- examples$elbo_fit
  grDevices::pdf(NULL)
  withr::defer(grDevices::dev.off())
  foreign <- character()
  for (i in which(table$class %in% names(examples))) {
    name <- paste(table$generic[i], table$class[i], sep = ".")
    method <- get(name, asNamespace("elbo"))
    for (argument in setdiff(names(formals(method))[-1], "...")) for (value in odd) {
      arguments <- c(list(examples[[table$class[i]]]), stats::setNames(list(value), argument))
      if ("nsim" %in% names(formals(method)) && argument != "nsim") arguments$nsim <- 3
      quiet <- function() utils::capture.output(suppressMessages(do.call(method, arguments)))
      found <- tryCatch(quiet(), condition = identity)
      if (inherits(found, "condition") && !inherits(found, c("elbo_error", "elbo_warning"))) {
        said <- paste(name, argument, describe_value(value), conditionMessage(found))
        foreign <- c(foreign, said)
      }
    }
  }
  expect_identical(paste(foreign, collapse = "\n"), "")
})
