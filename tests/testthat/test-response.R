# Responses of the families: what they become, and what is refused. R/response.R.

trials <- data.frame(y = c(2, 0, 3, 1, 4, 2, 1, 3), size = c(4, 3, 5, 4, 6, 3, 4, 5),
                     x = c(0, 0, 1, 1, 0, 1, 0, 1), g = gl(4, 2))

test_that("a binomial response is what glm() takes it for", {
  by_glm <- glm(cbind(y, size - y) ~ x, binomial, trials)
  same <- function(fit) {
    expect_equal(as.vector(coef(fit)), unname(coef(by_glm)), tolerance = 1e-8)
    expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(by_glm)), tolerance = 1e-10)
  }
  same(fit_glmm(cbind(y, size - y) ~ x, trials, binomial))
  same(fit_glmm(y / size ~ x, trials, binomial, weights = size))
  # Each trial by itself has another constant.
  long <- trials[rep(1:8, trials$size), ]
  long$hit <- unlist(Map(function(y, n) rep(1:0, c(y, n - y)), trials$y, trials$size))
  long$word <- factor(ifelse(long$hit == 1, "yes", "no"))
  long$true <- long$hit == 1
  for (formula in c(hit ~ x, word ~ x, true ~ x)) {
    fit <- fit_glmm(formula, long, "binomial")
    expect_equal(as.vector(coef(fit)), unname(coef(by_glm)), tolerance = 1e-8)
    expect_equal(as.numeric(logLik(fit)),
                 as.numeric(logLik(glm(formula, binomial, long))), tolerance = 1e-10)
  }
})

test_that("families are taken as glm() takes them", {
  fits <- lapply(list("poisson", poisson, poisson(), poisson("log")), function(family) {
    fit_glmm(y ~ x, trials, family = family)
  })
  for (fit in fits[-1]) expect_identical(coef(fit), coef(fits[[1]]))
  expect_identical(family(fit_glmm(y ~ x, trials, family = "negative_binomial"))$family,
                   "negative_binomial")
})

test_that("responses that are none of the family are refused", {
  bad <- transform(trials, p = y / 7, rate = y / 2, below = y - 1, two = rep(1:2, 4),
                   three = factor(rep(c("a", "b", "c"), c(3, 3, 2))), word = rep(c("u", "v"), 4),
                   same = factor(rep("u", 8)), unused = factor(rep(1:2, 4), levels = 1:3))
  bad$ordered <- factor(rep(c(1, 3), 4), levels = 1:3, ordered = TRUE)
  says <- function(fit, text, class = "elbo_error_data") expect_error(fit, text, class = class)
  says(fit_glmm(three ~ x, bad, binomial()), "two levels for family binomial\\(\\), not 3")
  says(fit_glmm(unused ~ x, bad, binomial()), "droplevels\\(unused\\)")
  says(fit_glmm(same ~ x, bad, binomial()), "only one category, `u`")
  says(fit_glmm(word ~ x, bad, binomial()), "must be 0 and 1, TRUE and FALSE or a factor")
  says(fit_glmm(p ~ x, bad, binomial()), "Proportions need their numbers of trials as `weights`")
  says(fit_glmm(two ~ x, bad, binomial()), "y == 2")
  says(fit_glmm(p ~ x, bad, binomial(), weights = size), "no whole number of successes: see row")
  says(fit_glmm(y ~ x, bad, binomial(), weights = size), "proportions, between 0 and 1")
  says(fit_glmm(cbind(y, below) ~ x, bad, binomial()),
       "whole numbers of successes and failures, not -1: see row 2")
  says(fit_glmm(cbind(y, size, x) ~ x, bad, binomial()), "of 3 columns")
  says(fit_glmm(below ~ x, bad, poisson()), "counts .*, not -1: see row 2")
  says(fit_glmm(rate ~ x, bad, poisson()), "not 1.5: see rows? 3.*offset\\(log\\(exposure\\)\\)")
  says(fit_glmm(rate ~ x, bad, negative_binomial()), "must be counts")
  says(fit_glmm(three ~ x, bad, poisson()), "must be counts, not a factor")
  says(fit_glmm(cbind(y, size) ~ x, bad, poisson()), "must be one variable, not 2")
  says(fit_glmm(three ~ x, bad, cumulative()), "must be an ordered factor")
  says(fit_glmm(y ~ x, bad, cumulative()), "must be an ordered factor")
  says(fit_glmm(ordered ~ x, bad, cumulative()), "No row has `2`")
  says(fit_glmm(ordered ~ x, bad, cumulative(), subset = ordered == 1), "only one category")
  bad$ordered <- factor(rep(1:3, length.out = 8), ordered = TRUE)
  says(fit_glmm(ordered ~ 0 + x, bad, cumulative()), "thresholds are the intercepts",
       "elbo_error_formula")
})

test_that("families that there are not are refused, with what to use", {
  says <- function(family, text) {
    expect_error(fit_glmm(y ~ x, trials, family), text, class = "elbo_error_argument")
  }
  says(Gamma(), "log\\(y\\) by gaussian\\(\\)")
  says(inverse.gaussian(), "log\\(y\\)")
  says(quasipoisson(), "negative_binomial\\(\\)")
  says(quasibinomial(), "\\(1 \\| row\\)")
  says(binomial("cauchit"), "one of logit, probit, cloglog")
  says(poisson("sqrt"), "link of poisson\\(\\) is one of log")
  says(gaussian("log"), "Transform the response")
  says(structure(list(family = "beta", link = "logit"), class = "family"), "beta_family")
  says(structure(list(family = "Negative Binomial(2)", link = "log"), class = "family"),
       "mu\\^2/size")
  expect_error(fit_glmm(y ~ x, trials, poisson(), ziformula = ~ 1), "glmmTMB",
               class = "elbo_error_argument")
  expect_error(cumulative("cloglog"), "`link`", class = "elbo_error_argument")
})

# polr() and glm.nb() stop at tolerances of their own: 1e-8 of the log-likelihood and less.
test_that("without random effects ordered and overdispersed models are those of MASS", {
  skip_if_not_installed("MASS")
  counts <- fit_glmm(Days ~ Eth + Age, MASS::quine, family = negative_binomial())
  by_mass <- MASS::glm.nb(Days ~ Eth + Age, MASS::quine,
                          control = glm.control(1e-14, 100))
  expect_equal(as.vector(coef(counts)), unname(coef(by_mass)), tolerance = 1e-6)
  expect_equal(theta(counts)[["size"]], by_mass$theta, tolerance = 1e-5)
  expect_equal(as.numeric(logLik(counts)), as.numeric(logLik(by_mass)), tolerance = 1e-9)

  house <- MASS::housing[rep(1:72, MASS::housing$Freq), ]
  for (link in c("logit", "probit")) {
    fit <- fit_glmm(Sat ~ Infl + Type, house, family = cumulative(link))
    polr <- MASS::polr(Sat ~ Infl + Type, house, method = sub("logit", "logistic", link),
                       Hess = TRUE, control = list(reltol = 1e-14))
    expect_equal(as.vector(coef(fit)), unname(coef(polr)), tolerance = 1e-5)
    expect_equal(as.vector(theta(fit)[c("threshold__Low|Medium", "threshold__Medium|High")]),
                 unname(polr$zeta), tolerance = 1e-5)
    expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(polr)), tolerance = 1e-10)
    expect_equal(unname(sqrt(diag(vcov(fit)))), unname(sqrt(diag(vcov(polr)))[1:5]),
                 tolerance = 1e-4)
  }
  # Copies of rows are weights.
  expect_equal(theta(fit_glmm(Sat ~ Infl + Type, MASS::housing, family = cumulative("probit"),
                              weights = Freq)), theta(fit), tolerance = 1e-7)
})
