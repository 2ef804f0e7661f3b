# Several grouping factors: the whole call of fit_glmm() beside lme4::lmer(), on the same data in
# one run, with the peak memory of R while it runs.
#
#   Rscript bench/crossed.R [quick]     writes bench/crossed.csv; quick: without the million rows

library(elbo)

crossed <- function(n, levels, seed = 1) {
  set.seed(seed)
  a <- sample(levels[1], n, TRUE)
  b <- sample(levels[2], n, TRUE)
  x <- rnorm(n)
  y <- x + rnorm(levels[1], 0, 0.7)[a] + rnorm(levels[2], 0, 0.5)[b] + rnorm(n)
  data.frame(y, x, a = factor(a), b = factor(b))
}

nested <- function(schools = 1e5, districts = 1e3, seed = 1) {
  set.seed(seed)
  school <- rep(seq_len(schools), each = 3)
  district <- (school - 1) %% districts + 1
  y <- rnorm(schools, 0, 0.5)[school] + rnorm(districts, 0, 0.3)[district] + rnorm(length(school))
  data.frame(y, school = factor(school), district = factor(district))
}

# Seconds, processor seconds, MB and log-likelihood of a call.
measure <- function(fit) {
  invisible(gc(reset = TRUE))
  time <- system.time(found <- fit())
  data.frame(elapsed = time[["elapsed"]], cpu = sum(time[1:2]), mb = sum(gc()[, 6]),
             log_lik = as.numeric(logLik(found)))
}

quick <- identical(commandArgs(TRUE), "quick")
data(InstEval, package = "lme4")
cases <- list(
  `InstEval, 2 factors` = list(y ~ service + (1 | s) + (1 | d), InstEval),
  `InstEval, 3 factors` = list(y ~ service + (1 | s) + (1 | d) + (1 | dept:service), InstEval),
  `1e5 rows, 2,000 x 200` = list(y ~ x + (1 | a) + (1 | b), crossed(1e5, c(2000, 200))),
  `1e5 schools in 1e3 districts` = list(y ~ 1 + (1 | school) + (1 | district), nested()),
  `5e3 x 5e3, ten rows a level` = list(y ~ x + (1 | a) + (1 | b), crossed(5e4, c(5e3, 5e3)))
)
if (!quick) {
  cases[["1e6 rows, 10,000 x 1,000"]] <- list(y ~ x + (1 | a) + (1 | b),
                                              crossed(1e6, c(1e4, 1e3)))
}

rows <- lapply(names(cases), function(name) {
  formula <- cases[[name]][[1]]
  data <- cases[[name]][[2]]
  ours <- measure(function() fit_glmm(formula, data))
  lmer <- measure(function() lme4::lmer(formula, data, REML = FALSE))
  print(cbind(case = name, by = c("elbo", "lmer"), rbind(ours, lmer)))
})
table <- do.call(rbind, rows)
utils::write.csv(table, "bench/crossed.csv", row.names = FALSE)
