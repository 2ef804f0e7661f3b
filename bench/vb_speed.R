# fit_glmm(method = "vb") beside method "em" on a million rows; and on the radon data beside
# Stan's NUTS and mean-field ADVI, where rstan is installed and ../shared/data is present.
#
#   Rscript bench/vb_speed.R [quick]      quick: a tenth of the rows
#
# Whole calls, from formula to fit, each the median of several; the two methods take turns.

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
print(do.call(rbind, lapply(cases, compare)))

# ---- Stan --------------------------------------------------------------------------------

file <- file.path(Sys.getenv("ELBO_DATA", "../shared/data"), "posteriordb", "radon_mn.csv")
if (!file.exists(file)) {
  cat("\nno radon data at ", file, "\n", sep = "")
  quit()
}
radon <- utils::read.csv(file)
radon$county <- factor(radon$county_idx)
fit_radon <- function() fit_glmm(log_radon ~ floor_measure + (1 | county), radon, method = "vb")
own <- stats::median(replicate(20, seconds(fit_radon())))
cat(sprintf("\nradon, 919 rows, 85 counties: %.4f seconds by vb,\n", own),
    "its check against the exact posterior included\n", sep = "")
if (!requireNamespace("rstan", quietly = TRUE)) {
  cat("rstan is not installed: no comparison with NUTS and ADVI\n")
  quit()
}
code <- "
data { int N; int J; array[N] int county; vector[N] x; vector[N] y; }
parameters { real mu; real beta; vector[J] z; real<lower=0> tau; real<lower=0> sigma; }
model {
  mu ~ normal(0, 10); beta ~ normal(0, 10); tau ~ student_t(3, 0, 2); sigma ~ student_t(3, 0, 2);
  z ~ std_normal();
  y ~ normal(mu + beta * x + tau * z[county], sigma);
}"
model <- rstan::stan_model(model_code = code)
data <- list(N = nrow(radon), J = nlevels(radon$county), county = as.integer(radon$county),
             x = radon$floor_measure, y = radon$log_radon)
nuts <- seconds(rstan::sampling(model, data, chains = 4, iter = 2000, refresh = 0, cores = 1))
advi <- seconds(rstan::vb(model, data, algorithm = "meanfield", refresh = 0))
cat(sprintf("Stan: NUTS, 4 chains of 2000, %.1f seconds (%.0f times as long)\n", nuts, nuts / own),
    sprintf("      mean-field ADVI %.2f seconds (%.0f times)\n", advi, advi / own), sep = "")
