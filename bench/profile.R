# Profile intervals of all parameters and the bootstrap, in times of the fit that they start from.
#
#   Rscript bench/profile.R            3e5 rows in 3e4 groups
#   Rscript bench/profile.R quick      a tenth of that
#
# Times are of the processor (user and system), which other work on the machine disturbs least:
# the fit is the median of seven, from formula to fit.

quick <- "quick" %in% commandArgs(TRUE)
groups <- if (quick) 3e3 else 3e4
library(elbo)

seconds <- function(code) sum(system.time(code)[c("user.self", "sys.self")])

cases <- list(
  intercept = list(formula = y ~ x + (1 | group), sd = 1),
  slope = list(formula = y ~ x + (x | group), sd = c(1, 0.5))
)

set.seed(20)
for (name in names(cases)) {
  case <- cases[[name]]
  d <- sim_glmm(groups = groups, size = 10, sd = case$sd)
  fit <- fit_glmm(case$formula, d)
  one <- stats::median(vapply(1:7, function(i) seconds(fit_glmm(case$formula, d)), 0))
  profile <- seconds(limits <- confint(fit, type = "profile"))
  bootstrap <- seconds(bootstrap(fit, nsim = 20, seed = 1)) / 20
  cat(sprintf("%-10s %d rows, %d groups, %d parameters\n", name, nrow(d), groups, nrow(limits)),
      sprintf("  a fit                         %7.3f s\n", one),
      sprintf("  profile intervals of all      %7.3f s = %5.1f fits\n", profile, profile / one),
      sprintf("  a refit of the bootstrap      %7.3f s = %5.2f fits\n", bootstrap, bootstrap / one),
      sprintf("  kept statistics               %7.1f MB; rows %.1f MB, fit %.1f MB\n",
              object.size(fit$stats) / 1e6, object.size(d) / 1e6, object.size(fit) / 1e6),
      sep = "")
}
