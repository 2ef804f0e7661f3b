# How often do nominal 90 % intervals of fit_glmm() cover the truth where responses are not
# gaussian, with few groups and many?
#
#   Rscript bench/coverage_responses.R [simulations = 1000] [cores = 2]
#
# Writes coverage_responses.csv beside this file and prints it. Ten rows a group, random intercepts
# with sd 1: binary responses and counts. Intervals: Wald, confint(fit), and profile, confint(fit,
# type = "profile"). A Wald interval is not defined for an sd of zero: that counts as not covered,
# and `undefined` says how often it was; data that separate the responses are drawn again.

library(elbo)

level <- 0.9
models <- list(
  binomial = list(family = binomial(), beta = c(-1, 0.5), sd = 1),
  poisson = list(family = poisson(), beta = c(0.5, 0.3), sd = 1)
)
types <- c("wald", "profile")
settings <- expand.grid(groups = c(10, 30, 100), model = names(models), stringsAsFactors = FALSE)

covers <- function(fit, truth, type) {
  interval <- confint(fit, parm = names(truth), level = level, type = type)
  truth >= interval[, 1] & truth <= interval[, 2]
}

simulate_once <- function(seed, model, groups) {
  set.seed(seed)
  repeat {
    d <- sim_glmm(groups = groups, size = 10, beta = model$beta, sd = model$sd,
                  family = model$family)
    fit <- tryCatch(fit_glmm(y ~ x + (1 | group), d, family = model$family),
                    elbo_error_separation = function(e) NULL)
    if (!is.null(fit)) break
  }
  vapply(types, function(type) covers(fit, truth(d)$theta, type), logical(3))
}

coverage <- function(i, simulations, cores) {
  setting <- settings[i, ]
  seeds <- 1e6 * match(setting$model, names(models)) + 1e4 * setting$groups +
    seq_len(simulations)
  runs <- parallel::mclapply(seeds, simulate_once, models[[setting$model]], setting$groups,
                             mc.cores = cores)
  failed <- vapply(runs, inherits, NA, "try-error")
  if (any(failed)) stop(runs[[which(failed)[1]]])
  covered <- simplify2array(runs)
  share <- apply(covered, 1:2, function(x) mean(!is.na(x) & x))
  data.frame(
    model = setting$model, groups = setting$groups,
    type = rep(colnames(share), each = nrow(share)), parameter = rownames(share),
    coverage = as.vector(share),
    undefined = as.vector(apply(covered, 1:2, function(x) mean(is.na(x)))),
    simulations = simulations
  )
}

args <- suppressWarnings(as.integer(commandArgs(TRUE)))
simulations <- if (length(args) >= 1) args[1] else 1000L
cores <- if (length(args) >= 2) args[2] else 2L
results <- do.call(rbind, lapply(seq_len(nrow(settings)), coverage, simulations, cores))
this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
utils::write.csv(results, file.path(dirname(this), "coverage_responses.csv"), row.names = FALSE)
print(transform(results, coverage = round(100 * coverage, 1)), row.names = FALSE)
