# How often do nominal 90 % intervals of fit_glmm() cover the truth, with few groups and many?
#
#   Rscript bench/coverage_glmm.R [simulations = 1000] [cores = 2] [models, separated by commas]
#
# Writes coverage_glmm.csv beside this file (of some models: their rows of it) and prints it. Ten
# rows a group: random intercepts, y ~ x + (1 | group), random slopes, y ~ x + (x | group), and
# random intercepts with a covariate between groups, y ~ x + w + (1 | group), with sd 1 and, so that
# it is often estimated at zero, .3. Intervals: Wald, confint(fit), and profile, confint(fit, type =
# "profile"). A Wald interval is not defined for an estimate on the boundary: that counts as not
# covered, and `undefined` says how often it was. `zero` is the share of fits with an sd of zero,
# `coverage_zero` that of theirs.

library(elbo)

level <- 0.9
models <- list(
  intercepts = list(formula = y ~ x + (1 | group), sd = 1),
  slopes = list(formula = y ~ x + (x | group), sd = c(1, 0.5)),
  between1 = list(formula = y ~ x + w + (1 | group), sd = 1),
  between.3 = list(formula = y ~ x + w + (1 | group), sd = 0.3)
)
types <- c("wald", "profile")
settings <- expand.grid(groups = c(5, 7, 10, 30, 100), method = c("em", "reml"),
                        model = names(models), stringsAsFactors = FALSE)

# 1 where the interval covers the truth, 0 where not, NA where there is no interval.
covers <- function(fit, truth, type) {
  interval <- confint(fit, parm = names(truth), level = level, type = type)
  truth >= interval[, 1] & truth <= interval[, 2]
}

simulate_once <- function(seed, model, groups, method) {
  set.seed(seed)
  d <- sim_glmm(groups = groups, size = 10, sd = model$sd)
  d$w <- stats::rnorm(groups)[d$group]
  # update(), and with it a profile under reml, looks for `d` where the formula was made.
  formula <- stats::as.formula(deparse(model$formula))
  fit <- fit_glmm(formula, d, method = method)
  truth <- truth(d)$theta
  truth <- c(truth[!startsWith(names(truth), "cor__")], w = 0)
  truth <- truth[names(truth) %in% names(theta(fit))]
  zero <- any(theta(fit)[startsWith(names(theta(fit)), "sd__")] == 0)
  rbind(vapply(types, function(type) covers(fit, truth, type), truth == truth), zero = zero)
}

coverage <- function(i, simulations, cores) {
  setting <- settings[i, ]
  model <- models[[setting$model]]
  # The same data for each method: seeds depend on the model and the number of groups only.
  seeds <- 1e6 * match(setting$model, names(models)) + 1e4 * setting$groups +
    seq_len(simulations)
  runs <- parallel::mclapply(seeds, simulate_once, model, setting$groups, setting$method,
                             mc.cores = cores)
  failed <- vapply(runs, inherits, NA, "try-error")
  if (any(failed)) stop(runs[[which(failed)[1]]])
  covered <- simplify2array(runs)
  last <- dim(covered)[1]
  zero <- covered[last, 1, ]
  covered <- covered[-last, , , drop = FALSE]
  of_zero <- apply(covered[, , zero, drop = FALSE], 1:2, function(x) mean(!is.na(x) & x))
  share <- apply(covered, 1:2, function(x) mean(!is.na(x) & x))
  data.frame(
    model = setting$model, method = setting$method, groups = setting$groups,
    type = rep(colnames(share), each = nrow(share)), parameter = rownames(share),
    coverage = as.vector(share),
    undefined = as.vector(apply(covered, 1:2, function(x) mean(is.na(x)))),
    zero = mean(zero), coverage_zero = as.vector(of_zero), simulations = simulations
  )
}

args <- suppressWarnings(as.integer(commandArgs(TRUE)))
simulations <- if (length(args) >= 1) args[1] else 1000L
cores <- if (length(args) >= 2) args[2] else 2L
asked <- commandArgs(TRUE)[-(1:2)]
asked <- if (length(asked) > 0) strsplit(asked, ",")[[1]] else names(models)
few <- startsWith(settings$model, "between") & settings$groups %in% c(7, 100)
settings <- settings[settings$model %in% asked & !few, ]
results <- do.call(rbind, lapply(seq_len(nrow(settings)), coverage, simulations, cores))
this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
file <- file.path(dirname(this), "coverage_glmm.csv")
before <- if (file.exists(file)) utils::read.csv(file)
before <- before[!before$model %in% asked, ]
utils::write.csv(rbind(before, results), file, row.names = FALSE)

# A column for each number of groups, coverage in per cent.
wide <- stats::reshape(
  transform(results, coverage = round(100 * coverage, 1), undefined = NULL, zero = NULL,
            coverage_zero = NULL, simulations = NULL),
  idvar = c("model", "type", "parameter", "method"), timevar = "groups", direction = "wide"
)
names(wide) <- sub("coverage.", "", names(wide), fixed = TRUE)
cat(sprintf("coverage of nominal %.0f %% intervals, %d simulations (standard error %.1f)\n",
            100 * level, simulations, 100 * sqrt(level * (1 - level) / simulations)))
print(wide[order(wide$model, wide$type), ], row.names = FALSE)
