# How right are the posterior standard deviations of method "vb"? Linear response, mean field,
# and the delta method on the em fit, each divided by the exact posterior sd; and what the
# package itself says of them (convergence(fit)).
#
#   Rscript bench/vb_accuracy.R [draws = 50000] [replicates = 3]
#
# The exact posterior is by importance sampling in the scales, with beta integrated
# analytically (the code below shares with the package's own check only the log marginal
# likelihood, which the tests compare with dense matrices). Its own Monte Carlo error is in the
# column mc_error. Where ../shared/data has a published or long MCMC run, the same draws under
# the priors of that run are compared with it first: that is the test of the reference.
#
# Writes vb_accuracy.csv (a row a parameter) and prints tables.

library(elbo)

arguments <- as.numeric(commandArgs(TRUE))
n_draws <- c(arguments[1], 50000)[1 + is.na(arguments[1])]
replicates <- c(arguments[2], 3)[1 + is.na(arguments[2])]
data_directory <- Sys.getenv("ELBO_DATA", "../shared/data")
shared <- function(...) {
  file <- file.path(data_directory, ...)
  if (file.exists(file)) utils::read.csv(file)
}

# ---- the exact posterior -----------------------------------------------------------------

# Scales of a fit (sd by term, cor by pair, sigma by level) from x: logarithms and Fisher's z.
scales_at <- function(x, kind) {
  x[kind == "cor", ] <- tanh(x[kind == "cor", ])
  x[kind != "cor", ] <- exp(x[kind != "cor", ])
  x
}

# q^2 + levels rows, as the log marginal likelihood takes them; blocks of at most two terms.
pack_scales <- function(scales, kind, design) {
  q <- ncol(design$Z)
  sd <- scales[kind == "sd", , drop = FALSE]
  packed <- matrix(0, q^2, ncol(scales))
  packed[diag(matrix(seq_len(q^2), q)), ] <- sd^2
  if (any(kind == "cor")) {
    packed[2, ] <- packed[3, ] <- scales[kind == "cor", ] * sd[1, ] * sd[2, ]
  }
  sigma <- scales[kind == "sigma", , drop = FALSE]
  rbind(packed, if (design$known_se) rep(1, ncol(scales)) else sigma)
}

log_half_t <- function(x, df, scale) log(2) + stats::dt(x / scale, df, log = TRUE) - log(scale)

# The prior of Huang and Wand (2013) of two sds and their correlation, auxiliary variables
# integrated.
log_pair <- function(s1, s2, r, df, A) {
  inverse <- 1 / (1 - r^2)
  lgamma(0.5 * (df + 2)) * 2 + (df + 1) * log(df) - log(pi) - sum(log(A)) -
    0.5 * log(pi) - lgamma(0.5 * (df + 1)) - lgamma(0.5 * df) -
    0.5 * (df + 4) * (2 * log(s1) + 2 * log(s2) + log1p(-r^2)) -
    0.5 * (df + 2) * log(df * inverse / s1^2 + 1 / A[1]^2) -
    0.5 * (df + 2) * log(df * inverse / s2^2 + 1 / A[2]^2) +
    log(4) + 2 * log(s1) + 2 * log(s2)
}

log_prior_of <- function(fit) {
  told <- fit$priors$told
  design <- fit$design
  function(scales, kind) {
    sd <- scales[kind == "sd", , drop = FALSE]
    sigma <- scales[kind == "sigma", , drop = FALSE]
    value <- 0
    if (any(kind == "cor")) {
      value <- log_pair(sd[1, ], sd[2, ], scales[kind == "cor", ], told$prior_df[1],
                        told$prior_scale)
    } else {
      for (k in seq_len(nrow(sd))) {
        value <- value + log_half_t(sd[k, ], told$prior_df[design$block[k]], told$prior_scale[k])
      }
    }
    for (l in seq_len(nrow(sigma))) {
      value <- value + log_half_t(sigma[l, ], told$prior_sigma_df[l], told$prior_sigma_scale[l])
    }
    value
  }
}

# Columns drawn from t distributions with 5 degrees of freedom, one in four three times as wide.
draw_wide <- function(center, cov, n) {
  k <- length(center)
  root <- chol(cov)
  wide <- sample(c(1, 1, 1, 3), n, replace = TRUE)
  z <- matrix(stats::rnorm(n * k), k) * rep(wide / sqrt(stats::rchisq(n, 5) / 5), each = k)
  square <- colSums(z^2)
  density <- function(width) {
    lgamma((5 + k) / 2) - lgamma(5 / 2) - k / 2 * log(5 * pi) - k * log(width) -
      (5 + k) / 2 * log1p(square / width^2 / 5) - sum(log(diag(root)))
  }
  list(x = center + t(root) %*% z,
       log_density = log(0.75 * exp(density(1)) + 0.25 * exp(density(3))))
}

# Posterior mean and sd of theta, by draws from multivariate t distributions around the last
# estimate of mean and covariance; `log_prior(scales, kind)` is a density of (sd, cor, sigma).
exact_posterior <- function(fit, log_prior = log_prior_of(fit), draws = n_draws) {
  kind <- fit$parameters$block[fit$parameters$block != "beta"]
  model <- elbo:::model_of(fit)
  p <- sum(fit$parameters$block == "beta")
  k <- length(kind)
  evaluate <- function(x) {
    scales <- scales_at(x, kind)
    C <- .Call(elbo:::C_glmm_evaluate, model, pack_scales(scales, kind, fit$design))
    jacobian <- colSums(log(scales[kind != "cor", , drop = FALSE])) +
      colSums(log1p(-scales[kind == "cor", , drop = FALSE]^2))
    log_density <- C[1, ] + log_prior(scales, kind) + jacobian
    impossible <- !is.finite(log_density) # a correlation of one but for rounding
    log_density[impossible] <- -Inf
    C[, impossible] <- 0
    list(log_density = log_density, scales = scales,
         beta = C[1 + seq_len(p), , drop = FALSE],
         variance = C[1 + p + (seq_len(p) - 1) * (p + 1) + 1, , drop = FALSE])
  }
  theta <- unname(theta(fit))[fit$parameters$block != "beta"]
  center <- theta
  center[kind == "cor"] <- atanh(theta[kind == "cor"])
  center[kind != "cor"] <- log(theta[kind != "cor"])
  cov <- diag(0.5^2, k)
  for (n in c(2000, 5000, 20000, draws)) {
    proposed <- draw_wide(center, cov, n)
    at <- evaluate(proposed$x)
    ratio <- at$log_density - proposed$log_density
    w <- exp(ratio - max(ratio))
    moved <- stats::cov.wt(t(proposed$x), w / sum(w), method = "ML")
    center <- moved$center
    cov <- moved$cov
  }
  moments <- function(i) {
    v <- w[i] / sum(w[i])
    value <- rbind(at$beta, at$scales)[, i, drop = FALSE]
    mean <- drop(value %*% v)
    variance <- drop((value - mean)^2 %*% v)
    variance[seq_len(p)] <- variance[seq_len(p)] + drop(at$variance[, i, drop = FALSE] %*% v)
    list(mean = mean, sd = sqrt(variance))
  }
  all <- moments(seq_along(w))
  batches <- split(seq_along(w), rep_len(1:20, length(w)))
  parts <- vapply(batches, function(i) moments(i)$sd, all$sd)
  data.frame(name = fit$parameters$name, mean = all$mean, sd = all$sd,
             mc_error = apply(matrix(parts, ncol = 20), 1, stats::sd) / sqrt(20) / all$sd)
}

# ---- the problems ------------------------------------------------------------------------

problems <- list()
add <- function(name, formula, data, ..., prior = NULL) {
  problems[[length(problems) + 1]] <<- list(name = name, formula = formula, data = data,
                                            arguments = list(...), prior = prior)
}

data("sleepstudy", "Dyestuff", package = "lme4", envir = environment())
add("sleepstudy (1|)", Reaction ~ Days + (1 | Subject), sleepstudy)
add("sleepstudy (x|)", Reaction ~ Days + (Days | Subject), sleepstudy)
add("sleepstudy (x||)", Reaction ~ Days + (Days || Subject), sleepstudy)
add("Orthodont (1|)", distance ~ age + (1 | Subject), as.data.frame(nlme::Orthodont))
add("Orthodont (x|)", distance ~ age + (age | Subject), as.data.frame(nlme::Orthodont))
add("Dyestuff", Yield ~ 1 + (1 | Batch), Dyestuff)
add("microcredit sites", estimate ~ 1 + (1 | country), microcredit_sites, se = quote(se))

radon <- shared("posteriordb", "radon_mn.csv")
if (!is.null(radon)) {
  radon$county <- factor(radon$county_idx)
  # Half-normal(0, 1) sds are half-t with many degrees of freedom.
  stan <- priors(beta = normal(0, 10), sd = half_t(200, 1), sigma = half_t(200, 1))
  add("radon intercept", log_radon ~ floor_measure + (1 | county), radon)
  add("radon uppm", log_radon ~ log_uppm + floor_measure + (1 | county), radon)
  add("radon slope", log_radon ~ floor_measure + (floor_measure || county), radon)
  add("radon slope, correlated", log_radon ~ floor_measure + (floor_measure | county), radon)
  add("radon intercept, half-normal", log_radon ~ floor_measure + (1 | county), radon, prior = stan)
  add("radon uppm, half-normal", log_radon ~ log_uppm + floor_measure + (1 | county), radon,
      prior = stan)
  add("radon slope, half-normal", log_radon ~ floor_measure + (floor_measure || county), radon,
      prior = stan)
}
rats <- shared("posteriordb", "rats_data.csv")
if (!is.null(rats)) {
  rats$age <- rats$x - 22
  add("rats (x||)", y ~ age + (age || rat), rats)
  add("rats (x|)", y ~ age + (age | rat), rats)
  add("rats (x||), flat sds", y ~ age + (age || rat), rats,
      prior = priors(beta = normal(0, 100), sd = half_cauchy(1e4), sigma = half_cauchy(1e4)))
}
schools <- shared("microcredit", "eight_schools.csv")
if (!is.null(schools)) {
  add("eight schools", tau ~ 1 + (1 | group), schools, se = quote(se))
  add("eight schools, half-Cauchy", tau ~ 1 + (1 | group), schools, se = quote(se),
      prior = priors(beta = normal(0, 5), sd = half_cauchy(5)))
}
set.seed(1)
for (groups in c(7, 10, 20, 50, 80, 150, 300)) {
  for (replicate in seq_len(replicates)) {
    add(sprintf("simulated (1|), %d groups", groups), y ~ x + (1 | group),
        sim_glmm(groups = groups, size = 6, sd = 1))
    add(sprintf("simulated (x|), %d groups", groups), y ~ x + (x | group),
        sim_glmm(groups = groups, size = 6, sd = c(1, 0.5)))
  }
}

# ---- the reference against published runs ------------------------------------------------

fit_problem <- function(problem, method = "vb", prior = problem$prior, ...) {
  do.call(fit_glmm, c(list(problem$formula, quote(problem$data), method = method, prior = prior),
                      problem$arguments, ...))
}

half_normal <- function(scales, kind) {
  colSums(log(2) + stats::dnorm(scales[kind != "cor", , drop = FALSE], log = TRUE))
}
flat <- function(scales, kind) 0
runs <- list(
  list("radon intercept, half-normal", half_normal, "radon_mn_variable_intercept_mcmc.csv",
       c("mu_alpha", "beta", "sigma_alpha", "sigma_y")),
  list("radon uppm, half-normal", half_normal, "radon_mn_hierarchical_intercept_mcmc.csv",
       c("mu_alpha", "beta[1]", "beta[2]", "sigma_alpha", "sigma_y")),
  list("radon slope, half-normal", half_normal, "radon_mn_variable_intercept_slope_mcmc.csv",
       c("mu_alpha", "mu_beta", "sigma_alpha", "sigma_beta", "sigma_y")),
  list("rats (x||), flat sds", flat, "rats_data_mcmc.csv",
       c("mu_alpha", "mu_beta", "sigma_alpha", "sigma_beta", "sigma_y")),
  list("eight schools, half-Cauchy", function(scales, kind) log_half_t(scales[1, ], 1, 5),
       "eight_schools_reference.csv", c("mu", "tau"))
)
options(width = 120)
problem_names <- vapply(problems, `[[`, "", "name")
cat("the reference beside published or long MCMC runs under the same priors:\n")
cat("ratio of sds, and difference of means in sds\n")
for (run in runs) {
  published <- shared("posteriordb", run[[3]])
  if (is.null(published)) next
  ours <- exact_posterior(fit_problem(problems[[match(run[[1]], problem_names)]]), run[[2]])
  published <- published[match(run[[4]], published$parameter), ]
  cat("\n", run[[1]], "\n", sep = "")
  print(data.frame(parameter = run[[4]], mcmc_mean = published$mean, mcmc_sd = published$sd,
                   mean_shift = round((ours$mean - published$mean) / published$sd, 3),
                   sd_ratio = round(ours$sd / published$sd, 3)), digits = 4, row.names = FALSE)
}

# ---- the methods against the reference ---------------------------------------------------

judge <- function(i) {
  problem <- problems[[i]]
  fit <- fit_problem(problem)
  exact <- exact_posterior(fit)
  sds <- function(fit, ...) sqrt(diag(suppressWarnings(vcov(fit, full = TRUE, ...))))
  em <- suppressWarnings(fit_problem(problem, "em", prior = NULL))
  said <- convergence(fit, check = TRUE)
  mean_field <- fit_problem(problem, factorization = "mean_field")
  data.frame(
    fit = i, problem = problem$name, groups = nlevels(fit$design$group), parameter = exact$name,
    block = fit$parameters$block,
    exact_mean = exact$mean, exact_sd = exact$sd, mc_error = exact$mc_error,
    mean_shift = (unname(theta(fit)) - exact$mean) / exact$sd,
    linear_response = sds(fit) / exact$sd,
    mean_field = sds(fit, type = "mean_field") / exact$sd,
    fully_mean_field = sds(mean_field, type = "mean_field") / exact$sd,
    delta_method = sds(em)[exact$name] / exact$sd,
    trusted = said$trusted, khat = said$khat, row.names = NULL
  )
}
results <- do.call(rbind, lapply(seq_along(problems), judge))
this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
rounded <- results
number <- vapply(rounded, is.numeric, NA)
rounded[number] <- lapply(rounded[number], signif, 4)
utils::write.csv(rounded, file.path(dirname(this), "vb_accuracy.csv"), row.names = FALSE)

cat("\n\nsd of each method over the exact posterior sd (real data, default priors unless named)\n")
real <- !startsWith(results$problem, "simulated")
shown <- c("problem", "groups", "parameter", "mc_error", "mean_shift", "linear_response",
           "mean_field", "delta_method", "trusted")
three_digits <- function(x) if (is.numeric(x)) round(x, 3) else x
print(data.frame(lapply(results[real, shown], three_digits)), row.names = FALSE)

cat("\nby number of groups: the worst error of linear response in per cent, of a coefficient,\n",
    "of an sd (or sigma), of a correlation, the share within 3 % and within 10 %;\n",
    "and the worst of mean field and the delta method\n", sep = "")
bands <- cut(results$groups, c(0, 10, 20, 50, 79, 1000),
             c("to 10", "11 to 20", "21 to 50", "51 to 79", "80 on"))
worst <- function(x) if (length(x) == 0) NA else round(100 * max(abs(x - 1), na.rm = TRUE), 1)
print(do.call(rbind, lapply(split(results, bands, drop = TRUE), function(r) {
  data.frame(
    parameters = nrow(r),
    beta = worst(r$linear_response[r$block == "beta"]),
    sd = worst(r$linear_response[r$block %in% c("sd", "sigma")]),
    cor = worst(r$linear_response[r$block == "cor"]),
    within_3 = round(100 * mean(abs(r$linear_response - 1) <= 0.03)),
    within_10 = round(100 * mean(abs(r$linear_response - 1) <= 0.1)),
    mean_field = worst(r$mean_field), delta_method = worst(r$delta_method)
  )
})))

# Groups are not what counts, but what they say: how far an sd is from zero, in posterior sds.
sds <- results[results$block == "sd", ]
away <- cut(sds$exact_mean / sds$exact_sd, c(0, 2, 3, 4, 6, Inf),
            c("below 2", "2 to 3", "3 to 4", "4 to 6", "above 6"))
cat("\nsds of random effects by their posterior mean over posterior sd: errors of linear\n",
    "response in per cent\n", sep = "")
print(do.call(rbind, lapply(split(sds, away, drop = TRUE), function(r) {
  data.frame(sds = nrow(r), median = round(100 * stats::median(abs(r$linear_response - 1)), 1),
             worst = worst(r$linear_response))
})))

# The package's own verdict. A fit is bad where an sd is off by more than 5 %, beyond Monte
# Carlo error.
off <- abs(results$linear_response - 1)
bad <- tapply(off > 0.05 + 2 * results$mc_error, results$fit, any)
trusted <- tapply(results$trusted, results$fit, all)
cat(sprintf("\nverdicts on %d fits, bad where an sd is off by more than 5 %%:\n", length(bad)))
cat(sprintf("%d trusted, of which %d bad (false reassurance)\n", sum(trusted), sum(trusted & bad)))
cat(sprintf("%d bad, of which %d flagged\n", sum(bad), sum(bad & !trusted)))
cat(sprintf("%d good, of which %d not trusted\n", sum(!bad), sum(!bad & !trusted)))
