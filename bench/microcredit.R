# Household profits of the seven microcredit trials: random intercept and treatment effect by
# site, a residual standard deviation for each site; fit_glmm() and nlme::lme in one run.
#
#   Rscript bench/microcredit.R [directory of the data]
#
# The directory holds microcredit/microcredit_profit.csv.gz (35,303 households; Meager 2019);
# by default `../shared/data` beside the checkout, or the environment variable ELBO_DATA.

library(elbo)

directory <- c(commandArgs(TRUE), Sys.getenv("ELBO_DATA", "../shared/data"))[1]
file <- file.path(directory, "microcredit", "microcredit_profit.csv.gz")
if (!file.exists(file)) stop("no data at ", file)
households <- utils::read.csv(file)
households$site <- factor(households$country, levels = unique(households$country))

seconds <- system.time(
  fit <- fit_glmm(profit_usd_ppp ~ treatment + (treatment | site), households, sigma = ~ site)
)[["elapsed"]]
seconds_nlme <- system.time(
  peer <- nlme::lme(
    profit_usd_ppp ~ treatment, households, ~ treatment | site, method = "ML",
    weights = nlme::varIdent(form = ~ 1 | site),
    control = nlme::lmeControl(returnObject = TRUE)
  )
)[["elapsed"]]

cat("\nfit_glmm and nlme::lme\n")
print(data.frame(
  fit = c("elbo", "nlme"),
  seconds = c(seconds, seconds_nlme),
  loglik = c(logLik(fit), logLik(peer)),
  rbind(coef(fit), nlme::fixef(peer)),
  check.names = FALSE
), digits = 10, row.names = FALSE)
cat("\n")
print(fit)
print(convergence(fit))

# Each site alone, by least squares, against the site in the fit. The level and the effect of
# a site move in strict proportion here (correlation 1), so that its effect is read off its
# level, known far better: the effects alone are hardly used.
z <- latent(fit)
for (term in c("(Intercept)", "treatment")) {
  alone <- t(vapply(split(households, households$site), function(d) {
    stats::coef(summary(stats::lm(profit_usd_ppp ~ treatment, d)))[term, 1:2]
  }, c(estimate = 0, se = 0)))
  site <- z[z$term == term, ]
  site <- site[match(rownames(alone), site$level), ]
  cat("\n", if (term == "treatment") "effect of microcredit" else "level without microcredit",
      ", profit in USD PPP per fortnight\n", sep = "")
  print(round(data.frame(
    households = as.vector(table(households$site)), sigma = as.vector(sigma(fit)),
    alone = alone[, "estimate"], se = alone[, "se"],
    pooled = coef(fit)[[term]] + site$mean, sd = site$sd,
    # How far the fit draws the site to the mean of all sites: 0 not at all, 1 all the way;
    # negative where the other term pushes it away.
    shrinkage = 1 - site$mean / (alone[, "estimate"] - coef(fit)[[term]])
  ), 3))
}

seconds <- system.time(lean <- sensitivity(fit, to = "data"))[["elapsed"]]
cat(sprintf("\nthe fewest households that turn a conclusion (%.1f seconds)\n", seconds))
print(lean, digits = 4)
