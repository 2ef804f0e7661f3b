# Method "vb" of binomial and Poisson mixed models beside long Markov chains.
#
#   Rscript bench/vb_responses.R [iterations = 20000] [models, by name; all by default]
#
# Models: surgical and lsat, whose reference runs are in ../shared/data; epil, GLMM_Poisson and a
# crossed binomial (items and students), against the sampler below; and a simulated data set of the
# size of the lecture's (61,895 rows, 5,000 groups, 5 coefficients, rare events), with joint MAP,
# em, vb by linear response and by mean field, and the sampler. The sampler shares nothing with the
# package but the model: random walks of u, beta and log sd, exact shifts between an intercept and
# the effects of a factor, and scalings of effects and sd together.
#
# Writes vb_responses.csv (a row a parameter and model) and vb_responses_latent.csv (posterior means
# and sds of 400 of the 5,000 random effects), which the vignette draws.

library(elbo)

arguments <- commandArgs(TRUE)
iterations <- if (length(arguments) > 0) as.numeric(arguments[1]) else 20000
wanted <- arguments[-1]
data_directory <- Sys.getenv("ELBO_DATA", "../shared/data")
shared <- function(...) utils::read.csv(file.path(data_directory, ...))

# ---- a sampler ---------------------------------------------------------------------------

# Random intercepts of factors `groups` (a list), X, counts y of `size` (NULL: Poisson); beta ~
# N(0, beta_sd^2), log_prior(sd) of each sd. Chains start at beta, sd and random effects of zero;
# V: a covariance near that of beta. The state is an environment that the moves change.
new_chain <- function(y, size, X, groups, log_prior, beta_sd, beta, sd, V, offset = 0) {
  s <- new.env()
  poisson <- is.null(size)
  s$log_density <- function(x) {
    if (poisson) y * x - exp(x) else y * x - size * (pmax(x, 0) + log1p(exp(-abs(x))))
  }
  s$curvature <- function(x) if (poisson) exp(x) else size * plogis(x) * plogis(-x)
  s$index <- lapply(groups, as.integer)
  s$m <- vapply(groups, nlevels, 0L)
  s$by_level <- function(value, f) {
    out <- numeric(s$m[f])
    sums <- rowsum(value, s$index[[f]])
    out[as.integer(rownames(sums))] <- sums
    out
  }
  list2env(list(X = X, log_prior = log_prior, beta_sd = beta_sd, beta = beta, sd = sd), s)
  s$u <- lapply(s$m, numeric)
  s$x <- drop(X %*% beta) + offset
  s$current <- s$log_density(s$x)
  p <- ncol(X)
  factors <- seq_along(s$m)
  s$root <- chol(solve(crossprod(X * sqrt(s$curvature(s$x))) + diag(1 / beta_sd^2, p)))
  s$wide <- chol(V)
  s$centre <- lapply(factors, function(f) {
    vapply(seq_len(p), function(j) s$by_level(X[, j], f) / tabulate(s$index[[f]], s$m[f]),
           numeric(s$m[f]))
  })
  s$width <- list(beta = rep(2.4 / sqrt(p), 1 + length(factors)), u = rep(2.4, length(factors)),
                  sd = rep(0.3, length(factors)), scale = rep(0.1, length(factors)))
  s
}

# Widths of steps move towards these shares of accepted ones while the chain warms up.
adapt <- function(s, name, f, accepted, target, i) {
  if (i <= s$warm) s$width[[name]][f] <- s$width[[name]][f] * exp((accepted - target) / sqrt(i))
}

move_effects <- function(s, f, i) {
  step <- s$width$u[f] / sqrt(s$info[[f]] + 1 / s$sd[f]^2) * rnorm(s$m[f])
  to <- s$x + step[s$index[[f]]]
  proposed <- s$log_density(to)
  u <- s$u[[f]]
  ratio <- s$by_level(proposed - s$current, f) - ((u + step)^2 - u^2) / (2 * s$sd[f]^2)
  yes <- log(runif(s$m[f])) < ratio
  adapt(s, "u", f, mean(yes), 0.4, i)
  s$u[[f]][yes] <- u[yes] + step[yes]
  rows <- yes[s$index[[f]]]
  s$x[rows] <- to[rows]
  s$current[rows] <- proposed[rows]
}

# beta_0 + d, u - d leaves the predictor as it is.
move_shift <- function(s, f) {
  precision <- s$m[f] / s$sd[f]^2 + 1 / s$beta_sd[1]^2
  mean <- (sum(s$u[[f]]) / s$sd[f]^2 - s$beta[1] / s$beta_sd[1]^2) / precision
  d <- mean + rnorm(1) / sqrt(precision)
  s$beta[1] <- s$beta[1] + d
  s$u[[f]] <- s$u[[f]] - d
}

move_sd <- function(s, f, i) {
  square <- sum(s$u[[f]]^2)
  target <- function(sd) s$log_prior(sd) + (1 - s$m[f]) * log(sd) - square / (2 * sd^2)
  for (k in 1:3) {
    to <- s$sd[f] * exp(s$width$sd[f] * rnorm(1))
    yes <- log(runif(1)) < target(to) - target(s$sd[f])
    adapt(s, "sd", f, yes, 0.4, i)
    if (yes) s$sd[f] <- to
  }
}

# The sd with u in its units.
move_scale <- function(s, f, i) {
  factor <- exp(s$width$scale[f] * rnorm(1))
  to <- s$x + (factor - 1) * s$u[[f]][s$index[[f]]]
  proposed <- s$log_density(to)
  ratio <- sum(proposed - s$current) + s$log_prior(factor * s$sd[f]) - s$log_prior(s$sd[f]) +
    log(factor)
  yes <- log(runif(1)) < ratio
  adapt(s, "scale", f, yes, 0.4, i)
  if (!yes) return()
  s$u[[f]] <- factor * s$u[[f]]
  s$sd[f] <- factor * s$sd[f]
  s$x <- to
  s$current <- proposed
}

# beta alone (f 0), or with the effects of a factor giving way: u - (mean of x in the level) d.
move_beta <- function(s, f, i) {
  step <- s$width$beta[f + 1] * drop(rnorm(ncol(s$X)) %*% (if (f == 0) s$root else s$wide))
  back <- if (f > 0) drop(s$centre[[f]] %*% step) else 0
  to <- s$x + drop(s$X %*% step) - (if (f > 0) back[s$index[[f]]] else 0)
  proposed <- s$log_density(to)
  ratio <- sum(proposed - s$current) - sum(((s$beta + step)^2 - s$beta^2) / (2 * s$beta_sd^2))
  if (f > 0) ratio <- ratio - sum((s$u[[f]] - back)^2 - s$u[[f]]^2) / (2 * s$sd[f]^2)
  yes <- log(runif(1)) < ratio
  adapt(s, "beta", f + 1, yes, 0.3, i)
  if (!yes) return()
  s$beta <- s$beta + step
  if (f > 0) s$u[[f]] <- s$u[[f]] - back
  s$x <- to
  s$current <- proposed
}

# Draws of (beta, sd), a fifth as many before them, and moments of the effects.
sample_posterior <- function(s, iterations) {
  factors <- seq_along(s$m)
  keep <- matrix(0, iterations, length(s$beta) + length(factors))
  moments <- lapply(s$m, function(k) matrix(0, k, 2))
  s$warm <- iterations %/% 5
  for (i in seq_len(s$warm + iterations)) {
    if (i %in% c(1, 50, 200, s$warm %/% 2)) {
      s$info <- lapply(factors, function(f) s$by_level(s$curvature(s$x), f))
    }
    for (f in factors) {
      move_effects(s, f, i)
      move_shift(s, f)
      move_sd(s, f, i)
      move_scale(s, f, i)
    }
    for (f in c(0, factors)) move_beta(s, f, i)
    if (i <= s$warm) next
    keep[i - s$warm, ] <- c(s$beta, s$sd)
    for (f in factors) moments[[f]] <- moments[[f]] + cbind(s$u[[f]], s$u[[f]]^2)
  }
  latent <- lapply(moments, function(sums) {
    mean <- sums[, 1] / iterations
    data.frame(mean = mean, sd = sqrt(sums[, 2] / iterations - mean^2))
  })
  list(draws = keep, latent = latent)
}

# Monte Carlo errors by 30 batches.
chain_summary <- function(draws) {
  batch <- ceiling(seq_len(nrow(draws)) / nrow(draws) * 30)
  means <- rowsum(draws, batch) / as.vector(table(batch))
  data.frame(mean = colMeans(draws), sd = apply(draws, 2, sd),
             mc_error = apply(means, 2, sd) / sqrt(30))
}

half_t <- function(df, scale) function(s) stats::dt(s / scale, df, log = TRUE)

# The default priors of a vb fit, as functions.
default_sd_prior <- function(fit) {
  said <- fit$priors$stated[fit$parameters$block == "sd"][[1]]$parameters
  half_t(said$df, said$scale)
}

sds <- function(fit, type) unname(sqrt(diag(vcov(fit, full = TRUE, type = type))))

compare <- function(model, fit, exact) {
  theta <- c(theta(fit))
  check <- convergence(fit)
  data.frame(model = model, parameter = names(theta(fit)), exact_mean = exact$mean,
             exact_sd = exact$sd, mc_error = exact$mc_error, vb_mean = unname(theta),
             mean_shift = (unname(theta) - exact$mean) / exact$sd,
             linear_response = sds(fit, "linear_response") / exact$sd,
             mean_field = sds(fit, "mean_field") / exact$sd,
             khat = check$khat, trusted = check$trusted)
}

run <- function(name) length(wanted) == 0 || name %in% wanted
rows <- list()

# ---- reference runs ----------------------------------------------------------------------

if (run("surgical")) {
  d <- shared("posteriordb", "surgical_data.csv")
  d$hospital <- factor(seq_len(nrow(d)))
  fit <- fit_glmm(cbind(r, n - r) ~ 1 + (1 | hospital), d, binomial(), method = "vb",
                  prior = priors(beta = normal(0, 1000), sd = gamma_precision(0.001, 0.001)))
  reference <- shared("posteriordb", "surgical_data_mcmc.csv")
  at <- reference[match(c("mu", "sigma"), reference$parameter), ]
  exact <- data.frame(mean = at$mean, sd = at$sd, mc_error = at$mcse_mean)
  rows$surgical <- compare("surgical", fit, exact)
}

if (run("lsat")) {
  d <- shared("posteriordb", "lsat_data.csv")
  d <- d[rep(seq_len(nrow(d)), diff(c(0, d$culm))), ]
  long <- data.frame(y = c(as.matrix(d[-1])), item = gl(5, nrow(d)),
                     student = factor(rep(seq_len(nrow(d)), 5)))
  fit <- fit_glmm(y ~ 0 + item + (1 | student), long, binomial(), method = "vb",
                  prior = priors(beta = normal(0, 100), student = half_normal(100)))
  reference <- shared("bugs", "reference.csv")
  at <- reference[reference$example == "lsat", ]
  exact <- data.frame(mean = c(-at$mean[1:5], at$mean[6]), sd = at$sd, mc_error = NA)
  rows$lsat <- compare("lsat", fit, exact)
}

# ---- against the sampler -----------------------------------------------------------------

fitted_covariance <- function(fit) {
  named <- names(coef(fit))
  as.matrix(vcov(fit))[named, named, drop = FALSE]
}

against_sampler <- function(model, fit, y, size, groups, sd_prior, offset = 0) {
  said <- lapply(fit$priors$stated[fit$parameters$block == "beta"], `[[`, "parameters")
  X <- model.matrix(fit)
  mean <- vapply(said, `[[`, 0, "mean")
  sd <- unname(theta(fit)[fit$parameters$block == "sd"])
  start <- new_chain(y, size, X, groups, sd_prior, vapply(said, `[[`, 0, "sd"),
                     unname(coef(fit)) - mean, sd, fitted_covariance(fit),
                     offset + drop(X %*% mean))
  chain <- sample_posterior(start, iterations)
  chain$draws[, seq_along(mean)] <- chain$draws[, seq_along(mean)] + rep(mean, each = iterations)
  list(row = compare(model, fit, chain_summary(chain$draws)), latent = chain$latent)
}

if (run("epil")) {
  d <- shared("bugs", "epil.csv")
  long <- data.frame(y = c(as.matrix(d[c("y1", "y2", "y3", "y4")])), patient = factor(rep(1:59, 4)),
                     base = d$log_Base4, trt = d$Trt, age = d$log_Age, v4 = rep(0:1, c(177, 59)))
  fit <- fit_glmm(y ~ base * trt + age + v4 + (1 | patient), long, poisson(), method = "vb")
  set.seed(1)
  rows$epil <- against_sampler("epil", fit, long$y, NULL, list(long$patient),
                               default_sd_prior(fit))$row
}

if (run("GLMM_Poisson")) {
  d <- shared("posteriordb", "GLMM_Poisson_data.csv")
  d$row <- factor(seq_len(nrow(d)))
  fit <- fit_glmm(C ~ year + I(year^2) + I(year^3) + (1 | row), d, poisson(), method = "vb")
  set.seed(1)
  rows$GLMM_Poisson <- against_sampler("GLMM_Poisson", fit, d$C, NULL, list(d$row),
                                       default_sd_prior(fit))$row
}

if (run("crossed")) {
  set.seed(7)
  d <- expand.grid(student = factor(1:100), item = factor(1:30))
  d$x <- stats::rnorm(nrow(d))
  d$y <- stats::rbinom(nrow(d), 1, stats::plogis(0.3 + 0.5 * d$x + stats::rnorm(100)[d$student] +
                                                   0.7 * stats::rnorm(30)[d$item]))
  fit <- fit_glmm(y ~ x + (1 | student) + (1 | item), d, binomial(), method = "vb")
  set.seed(1)
  rows$crossed <- against_sampler("crossed", fit, d$y, rep(1, nrow(d)), list(d$student, d$item),
                                  default_sd_prior(fit))$row
}

# ---- the lecture's size ------------------------------------------------------------------

simulate_clicks <- function(n = 61895, m = 5000) {
  group <- factor(sample(m, n, TRUE, prob = stats::rexp(m)), seq_len(m))
  X <- matrix(stats::rnorm(4 * n), n, dimnames = list(NULL, paste0("x", 1:4)))
  u <- stats::rnorm(m, 0, 0.8)
  d <- data.frame(X, group = group)
  d$y <- stats::rbinom(n, 1, stats::plogis(-3.2 + drop(X %*% c(0.5, -0.3, 0.2, 0.1)) + u[group]))
  droplevels(d)
}

if (run("clicks")) {
  set.seed(20)
  d <- simulate_clicks()
  formula <- y ~ x1 + x2 + x3 + x4 + (1 | group)
  seconds <- function(expr) {
    before <- proc.time()
    force(expr)
    sum((proc.time() - before)[1:2])
  }
  time <- c(em = seconds(em <- fit_glmm(formula, d, binomial())),
            vb = seconds(vb <- fit_glmm(formula, d, binomial(), method = "vb")),
            joint = seconds(joint <- fit_glmm(formula, d, binomial(), method = "joint",
                                              prior = priors(beta = normal(0, 10),
                                                             sd = gamma_precision(3, 3)))))
  print(time)
  mcmc <- seconds({
    set.seed(1)
    chain <- against_sampler("clicks", vb, d$y, rep(1, nrow(d)), list(d$group),
                             default_sd_prior(vb))
  })
  print(c(mcmc = mcmc))
  row <- chain$row
  row$em <- c(theta(em))
  row$joint <- c(theta(joint))
  row$seconds <- sprintf("em %.1f, vb %.1f, joint %.1f, chain %.0f", time[["em"]], time[["vb"]],
                         time[["joint"]], mcmc)
  rows$clicks <- row
  u <- latent(vb)
  field <- latent(vb, type = "mean_field")
  some <- sort(sample(nrow(u), 400))
  exact <- chain$latent[[1]]
  utils::write.csv(
    data.frame(level = u$level, exact_mean = exact$mean, exact_sd = exact$sd, vb_mean = u$mean,
               linear_response = u$sd, mean_field = field$sd,
               joint = latent(joint)$mean)[some, ],
    "bench/vb_responses_latent.csv", row.names = FALSE
  )
}

all_columns <- unique(unlist(lapply(rows, names)))
table <- do.call(rbind, lapply(rows, function(row) {
  row[setdiff(all_columns, names(row))] <- NA
  row[all_columns]
}))
print(table, digits = 3, row.names = FALSE)
if (length(wanted) == 0) utils::write.csv(table, "bench/vb_responses.csv", row.names = FALSE)
