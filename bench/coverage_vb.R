# How often do nominal 90 % intervals of fit_glmm(method = "vb") cover the truth, with few
# groups and many, beside those of em and reml?
#
#   Rscript bench/coverage_vb.R [simulations = 1000] [cores = 2]
#
# The same models and the same simulated data as bench/coverage_glmm.R: random intercepts and
# random slopes, ten rows a group. Intervals are Wald, by linear response under the default
# priors: `vb` as confint(fit) gives them, `vb, normal` with normal quantiles for the
# coefficients, `vb, mean field` what q itself says. A Wald interval of em or reml is not
# defined for an estimate on the boundary: that counts as not covered. Writes coverage_vb.csv
# beside this file and prints it.

library(elbo)

level <- 0.9
models <- list(
  intercepts = list(formula = y ~ x + (1 | group), sd = 1),
  slopes = list(formula = y ~ x + (x | group), sd = c(1, 0.5))
)
settings <- expand.grid(groups = c(5, 7, 10, 30, 100), model = names(models),
                        stringsAsFactors = FALSE)

# Wald limits with normal quantiles: coefficients as they are, sds on the log scale.
normal_limits <- function(fit, names, type) {
  estimate <- theta(fit)[names]
  half <- stats::qnorm((1 + level) / 2) * sqrt(diag(vcov(fit, full = TRUE, type = type)))[names]
  limits <- estimate + outer(half, c(-1, 1))
  scale <- fit$parameters$block[match(names, fit$parameters$name)] != "beta"
  limits[scale, ] <- (estimate * exp(outer(half / estimate, c(-1, 1))))[scale, ]
  limits
}

simulate_once <- function(seed, model, groups) {
  set.seed(seed)
  d <- sim_glmm(groups = groups, size = 10, sd = model$sd)
  truth <- truth(d)$theta
  truth <- truth[!startsWith(names(truth), "cor__")]
  covers <- function(limits) {
    inside <- truth >= limits[, 1] & truth <= limits[, 2]
    !is.na(inside) & inside
  }
  fit <- fit_glmm(model$formula, d, method = "vb")
  points <- lapply(c(em = "em", reml = "reml"), function(method) {
    covers(confint(fit_glmm(model$formula, d, method = method), names(truth), level))
  })
  trusted <- isTRUE(convergence(fit)$trusted)
  cbind(
    vb = covers(confint(fit, names(truth), level)),
    `vb, normal` = covers(normal_limits(fit, names(truth), "linear_response")),
    `vb, mean field` = covers(normal_limits(fit, names(truth), "mean_field")),
    em = points$em, reml = points$reml, trusted = trusted
  )
}

coverage <- function(i, simulations, cores) {
  setting <- settings[i, ]
  model <- models[[setting$model]]
  # As in coverage_glmm.R.
  seeds <- 1e6 * match(setting$model, names(models)) + 1e4 * setting$groups +
    seq_len(simulations)
  runs <- parallel::mclapply(seeds, simulate_once, model, setting$groups, mc.cores = cores)
  failed <- vapply(runs, inherits, NA, "try-error")
  if (any(failed)) stop(runs[[which(failed)[1]]])
  share <- apply(simplify2array(runs), 1:2, mean)
  data.frame(model = setting$model, groups = setting$groups, parameter = rownames(share),
             100 * share, check.names = FALSE, row.names = NULL)
}

args <- as.integer(commandArgs(TRUE))
simulations <- if (length(args) >= 1) args[1] else 1000L
cores <- if (length(args) >= 2) args[2] else 2L
results <- do.call(rbind, lapply(seq_len(nrow(settings)), coverage, simulations, cores))
this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
utils::write.csv(results, file.path(dirname(this), "coverage_vb.csv"), row.names = FALSE)

options(width = 120)
cat(sprintf("coverage of nominal %.0f %% intervals, %d simulations (standard error %.1f)\n",
            100 * level, simulations, 100 * sqrt(level * (1 - level) / simulations)))
cat("trusted: the share of vb fits whose linear response the package itself trusts\n")
results <- results[order(results$model, results$parameter, results$groups), ]
print(results, row.names = FALSE, digits = 3)
