# How often do nominal 90 % intervals of latent variables hold them, and intervals of predictions
# what they predict, with few groups and small variances?
#
#   Rscript bench/coverage_latent.R [simulations = 1000]
#
# Writes coverage_latent.csv beside this file and prints it. Models: random intercepts, y ~ x + (1 |
# group) with sds of .1, .3 and 1 and ten rows a group (the residual sd is 1); random slopes
# besides, sds 1 and .5; meta-analyses, y ~ 1 + (1 | group), whose squared standard errors are
# chi-square of one degree of freedom / 4, within .009 and .6 (Brockwell and Gordon 2001), with sds
# of .1, .3 and 1. Columns: mean +- 1.645 sd of latent(), with the uncertainty of the parameters in
# it (`total`) and without (`conditional`); intervals of predict() for groups of the fit (`known`),
# for the true effect in a group not seen before (`new`), and for the mean of the population
# (`mean`); `zero` is the share of fits with a variance estimated at zero. Shares are means over the
# groups and terms of a data set.

library(elbo)

level <- 0.9
models <- list(
  intercepts.1 = list(formula = y ~ x + (1 | group), sd = 0.1),
  intercepts.3 = list(formula = y ~ x + (1 | group), sd = 0.3),
  intercepts1 = list(formula = y ~ x + (1 | group), sd = 1),
  slopes = list(formula = y ~ x + (x | group), sd = c(1, 0.5)),
  meta.1 = list(formula = y ~ 1 + (1 | group), sd = 0.1, meta = TRUE),
  meta.3 = list(formula = y ~ 1 + (1 | group), sd = 0.3, meta = TRUE),
  meta1 = list(formula = y ~ 1 + (1 | group), sd = 1, meta = TRUE)
)
settings <- expand.grid(groups = c(5, 10, 30), method = c("em", "reml"), model = names(models),
                        stringsAsFactors = FALSE)
intercept <- 1
slope <- 0.5

# Rows, and the latent vectors, of which the last group is not fitted.
draw <- function(model, groups) {
  q <- length(model$sd)
  u <- matrix(stats::rnorm((groups + 1) * q), ncol = q) %*% diag(model$sd, q)
  if (isTRUE(model$meta)) {
    variance <- numeric()
    while (length(variance) < groups + 1) {
      new <- stats::rchisq(groups, 1) / 4
      variance <- c(variance, new[new > 0.009 & new < 0.6])
    }
    d <- data.frame(group = factor(seq_len(groups + 1)), se = sqrt(variance[seq_len(groups + 1)]))
    d$mean <- rep(intercept, groups + 1)
  } else {
    d <- expand.grid(row = 1:10, group = factor(seq_len(groups + 1)))
    d$x <- stats::rnorm(nrow(d))
    d$se <- 1
    d$mean <- intercept + slope * d$x
  }
  Z <- cbind(rep(1, nrow(d)), d$x)[, seq_len(q), drop = FALSE]
  d$effect <- d$mean + rowSums(Z * u[d$group, , drop = FALSE])
  d$y <- d$effect + d$se * stats::rnorm(nrow(d))
  list(data = d, u = u)
}

inside <- function(truth, interval) mean(truth >= interval[, "lwr"] & truth <= interval[, "upr"])

simulate_once <- function(seed, model, groups, method) {
  set.seed(seed)
  drawn <- draw(model, groups)
  new <- drawn$data[drawn$data$group == groups + 1, ][1, ]
  d <- droplevels(drawn$data[drawn$data$group != groups + 1, ])
  fit <- if (isTRUE(model$meta)) fit_glmm(model$formula, d, method = method, se = se)
         else fit_glmm(model$formula, d, method = method)
  u <- as.vector(t(drawn$u[seq_len(groups), ]))
  of <- function(type) {
    table <- latent(fit, type = type)
    mean(abs(u - table$mean) <= stats::qnorm((1 + level) / 2) * table$sd)
  }
  row <- d[!duplicated(d$group), ]
  interval <- function(data, ...) {
    stats::predict(fit, data, interval = "confidence", level = level, ...)
  }
  c(total = of("total"), conditional = of("conditional"), known = inside(row$effect, interval(row)),
    new = inside(new$effect, interval(new, allow.new.levels = TRUE)),
    mean = inside(new$mean, interval(new, re.form = NA)),
    zero = any(theta(fit)[startsWith(names(theta(fit)), "sd__")] == 0))
}

coverage <- function(i, simulations) {
  setting <- settings[i, ]
  # The same data for each method.
  seeds <- 1e6 * match(setting$model, names(models)) + 1e4 * setting$groups + seq_len(simulations)
  runs <- vapply(seeds, simulate_once, numeric(6), models[[setting$model]], setting$groups,
                 setting$method)
  data.frame(model = setting$model, method = setting$method, groups = setting$groups,
             t(round(100 * rowMeans(runs), 1)))
}

args <- as.integer(commandArgs(TRUE))
simulations <- if (length(args) >= 1) args[1] else 1000L
results <- do.call(rbind, lapply(seq_len(nrow(settings)), coverage, simulations))
this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
utils::write.csv(results, file.path(dirname(this), "coverage_latent.csv"), row.names = FALSE)
cat(sprintf("coverage of nominal %.0f %% intervals, %d simulations\n", 100 * level, simulations))
print(results, row.names = FALSE)
