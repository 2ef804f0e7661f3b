orthodont <- as.data.frame(nlme::Orthodont)

test_that("conditional latent() is the exact posterior at the estimates: a row a level and term", {
  for (method in c("em", "reml")) {
    fit <- fit_glmm(distance ~ age + (age | Subject), orthodont, method = method)
    table <- latent(fit, type = "conditional")
    expect_named(table, c("group", "level", "term", "mean", "sd"))
    expect_identical(table$level, rep(levels(the_group(design_of(fit))), each = 2))
    expect_identical(unique(table$group), "Subject")
    expect_identical(table$term, rep(c("(Intercept)", "age"), 27))
    reference <- reference_of_fit(fit)
    expect_equal(table$mean, reference$mean[1:54], tolerance = 1e-8)
    expect_equal(table$sd, sqrt(diag(reference$cov))[1:54], tolerance = 1e-8)
  }
})

test_that("points have no spread", {
  set.seed(1)
  pairs <- sim_pairs(20, theta = 1)
  fit <- fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint",
                  prior = priors(pair = constant(1)))
  expect_true(all(latent(fit)$sd == 0))
  # Giordano's lecture, 1.2: z_n = s_n / (2 + theta).
  s <- unname(tapply(pairs$y, pairs$pair, sum))
  expect_equal(latent(fit)$mean, as.vector(s) / (2 + sigma(fit)^2), tolerance = 1e-9)
})

test_that("a fit without random terms has no latent variables", {
  fit <- fit_glmm(distance ~ age, orthodont)
  expect_identical(nrow(latent(fit)), 0L)
  expect_named(latent(fit), c("group", "level", "term", "mean", "sd"))
  expect_length(ranef(fit), 0)
  expect_length(VarCorr(fit), 0)
  expect_identical(as.data.frame(VarCorr(fit))$grp, "Residual")
})

test_that("ranef() holds the same numbers in the shape of lme4", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont)
  effects <- ranef(fit)
  expect_s3_class(effects, "ranef.elbo_fit")
  expect_named(effects, "Subject")
  expect_named(effects$Subject, c("(Intercept)", "age"))
  expect_identical(rownames(effects$Subject), levels(the_group(design_of(fit))))
  expect_identical(dim(attr(effects$Subject, "postVar")), c(2L, 2L, 27L))
  expect_null(attr(ranef(fit, condVar = FALSE)$Subject, "postVar"))

  long <- as.data.frame(effects)
  expect_named(long, c("grpvar", "term", "grp", "condval", "condsd"))
  table <- latent(fit, type = "conditional")
  row <- match(paste(long$grp, long$term), paste(table$level, table$term))
  expect_equal(long$condval, table$mean[row])
  expect_equal(long$condsd, table$sd[row])
})

test_that("VarCorr() is theta() as covariance matrices", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont, sigma = ~ Sex)
  law <- VarCorr(fit)
  sd <- theta(fit)[c("sd__(Intercept)|Subject", "sd__age|Subject")]
  cor <- theta(fit)[["cor__(Intercept).age|Subject"]]
  expect_equal(unname(attr(law$Subject, "stddev")), unname(c(sd)))
  expect_equal(attr(law$Subject, "correlation")["age", "(Intercept)"], cor)
  expect_equal(law$Subject["age", "(Intercept)"], cor * prod(sd))
  expect_equal(attr(law, "sc"), sigma(fit))
  table <- as.data.frame(law)
  expect_named(table, c("grp", "var1", "var2", "vcov", "sdcor"))
  expect_identical(table$grp, c(rep("Subject", 3), rep("Residual", 2)))
  expect_identical(table$var1[4:5], c("Male", "Female"))
})

test_that("VarCorr() has the rows of lme4", {
  skip_if_not_installed("lme4")
  formulas <- list(Reaction ~ Days + (Days | Subject), Reaction ~ Days + (Days || Subject))
  for (formula in formulas) {
    ours <- as.data.frame(VarCorr(fit_glmm(formula, lme4::sleepstudy, method = "reml")))
    theirs <- as.data.frame(VarCorr(lme4::lmer(formula, lme4::sleepstudy)))
    expect_identical(ours[1:3], theirs[1:3])
    expect_equal(ours[4:5], theirs[4:5], tolerance = 1e-4)
  }
})

test_that("laws on the boundary and no law at all have covariances too", {
  skip_if_not_installed("lme4")
  zero <- fit_glmm(Yield ~ 1 + (1 | Batch), lme4::Dyestuff2)
  expect_equal(VarCorr(zero)$Batch[1, 1], 0)
  expect_true(all(latent(zero)$mean == 0))
  set.seed(1)
  free <- fit_glmm(y ~ 0 + (1 | pair), sim_pairs(20, 1), prior = priors(pair = constant(Inf)))
  expect_identical(VarCorr(free)$pair[1, 1], Inf)
})

test_that("VarCorr() and ranef() print tables", {
  fit <- fit_glmm(distance ~ age + (age | Subject), orthodont, sigma = ~ Sex)
  expect_snapshot(print(VarCorr(fit), digits = 3))
  expect_output(print(ranef(fit)), "\\$Subject")
})

test_that("sds of latent variables are numbers where the residual is of rounding size", {
  # Three groups of two rows each on parallel lines: the groups explain all but 1e-9 of the
  # response.
  set.seed(1)
  d <- data.frame(x = c(0, 1, 0, 2, 0, 3), g = gl(3, 2))
  d$y <- d$x + rnorm(3)[d$g] + 1e-9 * rnorm(6)
  fit <- fit_glmm(y ~ x + (1 | g), d)
  sd <- expect_silent(latent(fit)$sd)
  expect_true(all(is.finite(sd) & sd >= 0))
})
