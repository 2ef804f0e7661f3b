# Calls every entry point of the compiled code on small data, for valgrind and gctorture.
#
# Usage: Rscript tools/exercise.R [gctorture]
library(elbo)

set.seed(1)
sites <- data.frame(site = gl(4, 3), x = rep(-1:1, 4), arm = gl(2, 1, 12))
sites$y <- 2 + sites$x + rep(rnorm(4), each = 3) + rnorm(12, sd = 0.5)
control <- elbo_control(progress = FALSE)

exercise <- function() {
  for (method in c("em", "reml")) {
    for (formula in c(y ~ x + (1 | site), y ~ x + (x | site), y ~ x)) {
      fit <- fit_glmm(formula, sites, method = method, control = control)
      vcov(fit, full = TRUE)
      convergence(fit)
    }
  }
  fit <- fit_glmm(y ~ x + (x || site), sites, sigma = ~ arm, control = control)
  vcov(fit, full = TRUE, type = "sandwich")
  elbo(fit, theta = theta(fit))
  latent(fit)
  predict(fit, sites[1:2, ], interval = "prediction")
  fit_glmm(y ~ x + (1 | site), sites, method = "joint", prior = priors(site = constant(1)),
           control = control)
  fit_glmm(y ~ 1 + (1 | site), sites[c(1, 4, 7, 10), ], se = rep(0.3, 4), control = control)
  bootstrap(fit, nsim = 2)
  try(fit_glmm(y ~ x + (1 | site), transform(sites, y = NA), control = control), silent = TRUE)
}

exercise() # once without, so that what R itself sets up at first use is not tortured
if ("gctorture" %in% commandArgs(TRUE)) gctorture(TRUE)
exercise()
gctorture(FALSE)
