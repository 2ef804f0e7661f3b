# NIST's certified one-way analyses of variance (Statistical Reference Datasets): balanced
# designs whose restricted maximum likelihood is closed form,
#   sigma^2 = MS_within,  tau^2 = (MS_between - MS_within) / r,   r rows a group,
# when MS_between exceeds MS_within, as it does in all eight. Up to seven leading digits of
# the data are constant: sums of squares that are not centred lose all digits there.

sets <- c("AtmWtAg", "SiRstv", sprintf("SmLs0%d", 1:6))

# Number of correct digits, at most the 15 that are certified.
digits <- function(x, certified) min(15, -log10(abs(x / certified - 1)))

# Components of the data as doubles hold it. The certified values belong to the decimal data;
# 1000000.4 as a double is off by up to 6e-11, and no program that reads doubles can know.
# Differences from one of the data are exact (Sterbenz's lemma: y and y[1] are within a factor
# of two) and of the size of the deviations, so two passes over them are good to all digits.
components_of_doubles <- function(y, group) {
  exact <- y - y[1]
  mean <- tapply(exact, group, mean)
  r <- length(y) / length(mean)
  within <- sum((exact - mean[group])^2) / (length(y) - length(mean))
  between <- r * sum((mean - mean(mean))^2) / (length(mean) - 1)
  c(sigma2 = within, tau2 = (between - within) / r)
}

test_that("variance components hold the digits that doubles hold, and base aov's", {
  certified <- read_shared("nist", "certified.csv")
  for (set in sets) {
    d <- read_shared("nist", paste0(set, ".csv"))
    d$group <- factor(d$group)
    target <- certified[certified$dataset == set, ]
    sigma2 <- target$ss_within / target$df_within
    tau2 <- (target$ss_between / target$df_between - sigma2) / target$reps_per_group
    best <- components_of_doubles(d$y, d$group)
    base <- summary(stats::aov(y ~ group, d))[[1]]["Residuals", "Mean Sq"]

    fit <- fit_glmm(y ~ 1 + (1 | group), d, method = "reml")
    within <- unname(sigma(fit))^2
    between <- theta(fit)[["sd__(Intercept)|group"]]^2

    expect_gt(digits(within, sigma2), digits(best[["sigma2"]], sigma2) - 1, label = set)
    expect_gt(digits(between, tau2), digits(best[["tau2"]], tau2) - 1, label = set)
    # On AtmWtAg aov's own error happens to cancel some of the data's (11.1 digits where exact
    # arithmetic on the doubles has 10.9). Beyond 14 digits the rest is rounding.
    at_least <- min(digits(base, sigma2), digits(best[["sigma2"]], sigma2), 14)
    expect_gt(digits(within, sigma2), at_least - 0.01, label = set)
  }
})

test_that("the log-likelihoods are those of the closed form, on the boundary too", {
  closed <- read_shared("nist", "oneway_random_effects.csv")
  for (set in sets) {
    d <- read_shared("nist", paste0(set, ".csv"))
    target <- closed[closed$dataset == set, ]
    ml <- fit_glmm(y ~ 1 + (1 | group), d)
    reml <- update(ml, method = "reml")
    expect_equal(as.numeric(logLik(ml)), target$ml_loglik, tolerance = 1e-7, label = set)
    expect_equal(as.numeric(logLik(reml)), target$reml_loglik, tolerance = 1e-7, label = set)
    expect_equal(unname(sigma(ml))^2, target$ml_sigma2, tolerance = 1e-6, label = set)
    expect_equal(theta(ml)[["sd__(Intercept)|group"]]^2, target$ml_tau2, tolerance = 1e-6,
                 label = set)
    expect_equal(unname(sqrt(diag(vcov(reml)))), target$reml_se_mu, tolerance = 1e-6,
                 label = set)
    if (target$ml_tau2 == 0) expect_identical(theta(ml)[["sd__(Intercept)|group"]], 0)
  }
})
