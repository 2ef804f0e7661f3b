# fit_advi() on posteriors with references (tests/testthat/helper-posteriors.R: posteriordb, BUGS, a
# grid): the largest error of a mean, in posterior sds, and of an sd by linear response, what it
# cost, and whether the verdict says so. Beside Stan's ADVI where rstan is present and a model is
# written for it below.
#
#   Rscript bench/advi.R [MODEL ...]    writes bench/advi.csv (all models) and bench/advi_stan.csv

suppressMessages({
  library(elbo)
  library(testthat)
})
source("tests/testthat/helper-data.R")
source("tests/testthat/helper-posteriors.R")
asked <- commandArgs(TRUE)

worst <- function(x) x[which.max(abs(x))]

row_of <- function(name, ...) {
  model <- own_posteriors[[name]]()
  seconds <- system.time(fit <- fit_posterior(model, ...))[["elapsed"]]
  table <- beside_reference(model, fit)
  state <- convergence(fit)
  data.frame(model = name, parameters = length(theta(fit)), compared = nrow(table),
             worst_mean = round(worst(table$shift), 3), worst_sd = round(worst(table$sd_error), 3),
             steps = state$iterations, gradients = state$evaluations[["gradients"]],
             values = state$evaluations[["values"]], mc_error = signif(max(state$mc_error), 2),
             draws_wanted = state$draws_wanted, seconds = round(seconds, 1),
             trusted = state$trusted, khat = round(state$khat, 2), verdict = state$verdict)
}

names <- if (length(asked) > 0) asked else names(own_posteriors)
table <- do.call(rbind, lapply(names, row_of))
print(table[names(table) != "verdict"], row.names = FALSE)
if (length(asked) == 0) write.csv(table, "bench/advi.csv", row.names = FALSE)

# ---- Stan's ADVI ---------------------------------------------------------------------------------

stan_models <- list(
  eight_schools = list(code = "
    data { vector[8] y; vector[8] sigma; }
    parameters { real mu; real<lower=0> tau; vector[8] z; }
    model {
      y ~ normal(mu + tau * z, sigma); z ~ std_normal(); mu ~ normal(0, 5); tau ~ cauchy(0, 5);
    }
    generated quantities { vector[8] theta = mu + tau * z; }",
    data = function(d) as.list(d[c("y", "sigma")])),
  radon = list(code = "
    data { int N; vector[N] y; vector[N] x; int county[N]; }
    parameters {
      vector[85] alpha; real mu_alpha; real<lower=0> sigma_alpha; real<lower=0> sigma_y; real beta;
    }
    model {
      y ~ normal(alpha[county] + beta * x, sigma_y); alpha ~ normal(mu_alpha, sigma_alpha);
      mu_alpha ~ normal(0, 10); beta ~ normal(0, 10); sigma_alpha ~ normal(0, 1);
      sigma_y ~ normal(0, 1);
    }",
    data = function(d) {
      list(N = nrow(d), y = d$log_radon, x = d$floor_measure, county = d$county_idx)
    })
)

# Gradients: one an iteration, the number of which vb() prints, and 50 for each of five trial sizes
# of steps; beside them it evaluates the density at 100 draws whenever it looks at the ELBO.
stan_row <- function(name) {
  model <- own_posteriors[[name]]()
  data <- stan_models[[name]]$data(model$data)
  if (!nzchar(rstan::rstan_options("boost_lib"))) rstan::rstan_options(boost_lib = "/usr/include")
  compiled <- rstan::stan_model(model_code = stan_models[[name]]$code)
  said <- utils::capture.output(
    seconds <- system.time(fit <- rstan::vb(compiled, data, seed = 1, refresh = 1))[["elapsed"]]
  )
  again <- rstan::vb(compiled, data, seed = 2, refresh = 0)
  summary <- rstan::summary(fit)$summary
  other <- rstan::summary(again)$summary
  reference <- model$reference[model$reference$term %in% rownames(summary), ]
  shift <- (summary[reference$term, "mean"] - reference$mean) / reference$sd
  iterations <- suppressWarnings(as.numeric(sub("^ *Chain 1: +([0-9]+) .*", "\\1", said)))
  data.frame(model = name, compared = nrow(reference), worst_mean = round(worst(shift), 3),
             worst_sd = round(worst(summary[reference$term, "sd"] / reference$sd - 1), 3),
             seeds_differ = round(max(abs(summary[reference$term, "mean"] -
                                            other[reference$term, "mean"]) / reference$sd), 3),
             iterations = max(iterations, na.rm = TRUE),
             gradients = 250 + max(iterations, na.rm = TRUE), seconds = round(seconds, 1))
}

if (requireNamespace("rstan", quietly = TRUE)) {
  stan <- do.call(rbind, lapply(intersect(names(stan_models), names), stan_row))
  print(stan, row.names = FALSE)
  write.csv(stan, "bench/advi_stan.csv", row.names = FALSE)
}
