# fit_glmm(method = "vb") beside method "em" on a million rows; and on the radon data beside
# Stan's NUTS and mean-field ADVI under the same priors, where rstan is installed and
# ../shared/data is present.
#
#   Rscript bench/vb_speed.R [quick]      quick: a tenth of the rows
#
# Whole calls, from formula to fit, each the median of several; the two methods take turns. Writes
# vb_speed.csv (unless quick).

library(elbo)

quick <- "quick" %in% commandArgs(TRUE)
cases <- list(
  `random intercepts, 1e5 groups of 10` =
    list(formula = y ~ x + (1 | group), groups = 1e5, size = 10, sd = 1),
  `random slopes, 1e5 groups of 10` =
    list(formula = y ~ x + (x | group), groups = 1e5, size = 10, sd = c(1, 0.5)),
  `random slopes, 2e4 groups of 50` =
    list(formula = y ~ x + (x | group), groups = 2e4, size = 50, sd = c(1, 0.5))
)

seconds <- function(expr) system.time(expr, gcFirst = TRUE)[["elapsed"]]

compare <- function(case, times = 5) {
  set.seed(20)
  d <- sim_glmm(groups = case$groups / if (quick) 10 else 1, size = case$size, sd = case$sd)
  runs <- vapply(seq_len(times), function(i) {
    c(em = seconds(fit_glmm(case$formula, d)),
      vb = seconds(fit <<- fit_glmm(case$formula, d, method = "vb")),
      mean_field = seconds(fit_glmm(case$formula, d, method = "vb", factorization = "mean_field")))
  }, c(em = 0, vb = 0, mean_field = 0))
  runs <- apply(runs, 1, stats::median)
  data.frame(t(signif(runs, 3)), vb_over_em = round(runs[["vb"]] / runs[["em"]], 2),
             latent_sds = signif(seconds(latent(fit)), 3), iterations = convergence(fit)$iterations)
}

cat("seconds; vb should take at most three times as long as em\n")
table <- do.call(rbind, lapply(cases, compare))
print(table)

# ---- Stan --------------------------------------------------------------------------------

# Seconds of each method on each case, and how many times those of em or vb; on the radon data
# posterior means and sds too.
write_speed <- function(radon) {
  if (quick) return(invisible())
  million <- data.frame(case = rep(rownames(table), each = 3),
                        method = c("em", "vb", "vb, mean field"),
                        seconds = as.vector(t(as.matrix(table[c("em", "vb", "mean_field")]))))
  million$times_em <- million$seconds / rep(table$em, each = 3)
  million[setdiff(names(radon), names(million))] <- NA
  radon$case <- "radon, 919 rows in 85 counties"
  radon$times_em <- NA
  all <- rbind(million, radon[names(million)])
  number <- vapply(all, is.numeric, NA)
  all[number] <- lapply(all[number], signif, 3)
  this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  utils::write.csv(all, file.path(dirname(this), "vb_speed.csv"), row.names = FALSE, na = "")
}

file <- file.path(Sys.getenv("ELBO_DATA", "../shared/data"), "posteriordb", "radon_mn.csv")
if (!file.exists(file)) {
  cat("\nno radon data at ", file, "\n", sep = "")
  quit()
}
radon <- utils::read.csv(file)
radon$county <- factor(radon$county_idx)
law <- priors(beta = normal(0, 10), sd = half_t(3, 2), sigma = half_t(3, 2))
fit_radon <- function() {
  fit_glmm(log_radon ~ floor_measure + (1 | county), radon, method = "vb", prior = law)
}
each <- function(f) stats::median(replicate(20, seconds(for (i in 1:10) f()) / 10))
own <- each(fit_radon)
fit <- fit_radon()
sd <- sqrt(diag(vcov(fit, full = TRUE)))
row <- function(method, seconds, mean, sd) {
  names <- c("intercept", "floor", "tau", "sigma")
  data.frame(method, seconds, times_vb = seconds / own,
             t(c(stats::setNames(mean, paste0(names, "_mean")),
                 stats::setNames(sd, paste0(names, "_sd")))))
}
check <- each(function() convergence(fit, check = TRUE))
answers <- rbind(row("vb", own, theta(fit), sd),
                 row("vb, less its check", own - check, theta(fit), sd))
if (requireNamespace("rstan", quietly = TRUE)) {
  # Debian keeps the headers that package BH would have among those of the system.
  if (!nzchar(rstan::rstan_options("boost_lib"))) rstan::rstan_options(boost_lib = "/usr/include")
  # The syntax of arrays that rstan 2.21 knows, or that of later ones, which know no other.
  county <- if (utils::packageVersion("rstan") < "2.26") "int county[N]" else "array[N] int county"
  model <- rstan::stan_model(model_code = sprintf("
data { int N; int J; %s; vector[N] x; vector[N] y; }
parameters { real mu; real beta; vector[J] z; real<lower=0> tau; real<lower=0> sigma; }
model {
  mu ~ normal(0, 10); beta ~ normal(0, 10); tau ~ student_t(3, 0, 2); sigma ~ student_t(3, 0, 2);
  z ~ std_normal();
  y ~ normal(mu + beta * x + tau * z[county], sigma);
}", county))
  data <- list(N = nrow(radon), J = nlevels(radon$county), county = as.integer(radon$county),
               x = radon$floor_measure, y = radon$log_radon)
  names <- c("mu", "beta", "tau", "sigma")
  stan_row <- function(method, run) {
    time <- seconds(draws <- run())
    draws <- as.matrix(draws, pars = names)
    row(method, time, colMeans(draws), apply(draws, 2, stats::sd))
  }
  answers <- rbind(
    answers,
    stan_row("NUTS, 4 chains of 2000", function() {
      rstan::sampling(model, data, chains = 4, iter = 2000, refresh = 0, cores = 1, seed = 1)
    }),
    stan_row("mean-field ADVI", function() {
      rstan::vb(model, data, algorithm = "meanfield", refresh = 0, seed = 1)
    })
  )
} else {
  cat("\nrstan is not installed: no comparison with NUTS and ADVI\n")
}
cat("\nradon, 919 rows in 85 counties; `vb` checks itself against the exact posterior\n")
print(answers, digits = 3, row.names = FALSE)
write_speed(answers)
