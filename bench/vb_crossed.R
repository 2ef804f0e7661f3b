# What factors of q apart cost on crossed designs: posterior sds of the intercept, of the levels'
# effects and of the scales under q itself and by linear response, by factorization, over those of a
# Gibbs sampler, as the two factors grow: m levels each, a row in a fifth of the cells (at least
# four rows a level).
#
# Goplerud, Papaspiliopoulos and Zanella (2025, Partially factorized variational inference for
# high-dimensional mixed models, Biometrika) show that a fully factorised q of such designs has
# uncertainty that goes to nothing in comparison with the posterior's.
#
#   Rscript bench/vb_crossed.R [draws = 2000] [largest m = 200]
#
# Writes vb_crossed.csv (a row a design, factorization, kind of covariance and parameter).

library(elbo)
source("tests/testthat/helper-gibbs-crossed.R")

arguments <- as.numeric(commandArgs(TRUE))
n_draws <- c(arguments[1], 2000)[1 + is.na(arguments[1])]
largest <- c(arguments[2], 200)[1 + is.na(arguments[2])]

crossed_design <- function(m) {
  cells <- expand.grid(a = factor(seq_len(m)), b = factor(seq_len(m)))
  d <- cells[sample(m^2, max(4 * m, m^2 / 5)), ]
  d[] <- lapply(d, droplevels)
  d$y <- 1 + stats::rnorm(m)[d$a] + 0.7 * stats::rnorm(m)[d$b] + stats::rnorm(nrow(d))
  d
}

law <- priors(beta = normal(0, 100), sd = half_t(3, 2), sigma = half_t(3, 2))

# sds under q of (Intercept), two sds, sigma, and the geometric mean of those of levels.
sds_of <- function(fit, type) {
  latent <- latent(fit, type)$sd
  c(sqrt(diag(vcov(fit, full = TRUE, type = type))), levels = exp(mean(log(latent))))
}

one_design <- function(m) {
  set.seed(m)
  d <- crossed_design(m)
  exact <- gibbs_crossed(d$y, matrix(1, nrow(d), 1), list(d$a, d$b), n_draws, 0, 100, 3,
                         c(2, 2, 2))
  sd <- c(apply(exact, 2, stats::sd), exp(mean(log(attr(exact, "u")[, "sd"]))))
  mean <- colMeans(exact)
  rows <- list()
  for (factorization in c("structured", "mean_field", "by_factor")) {
    seconds <- system.time(
      fit <- fit_glmm(y ~ 1 + (1 | a) + (1 | b), d, method = "vb", prior = law,
                      factorization = factorization)
    )[["user.self"]]
    for (type in c("mean_field", "linear_response")) {
      told <- sds_of(fit, type)
      rows[[length(rows) + 1]] <- data.frame(
        levels = m, rows = nrow(d), factorization = factorization, type = type,
        parameter = names(told), sd = unname(told), exact = sd, ratio = unname(told) / sd,
        mean_shift = c((unname(theta(fit)) - mean) / sd[-length(sd)], NA),
        elbo = elbo(fit), trusted = convergence(fit)$trusted, seconds = seconds
      )
    }
  }
  do.call(rbind, rows)
}

sizes <- c(10, 20, 50, 100, 200)
table <- do.call(rbind, lapply(sizes[sizes <= largest], one_design))
utils::write.csv(format(table, digits = 4), "bench/vb_crossed.csv", row.names = FALSE,
                 quote = FALSE)

for (parameter in unique(table$parameter)) {
  part <- table[table$parameter == parameter, ]
  cat("\nsd over that of the Gibbs sampler:", parameter, "\n")
  print(round(tapply(part$ratio, list(part$levels, paste(part$factorization, part$type)), mean), 3))
}
cat("\nlargest shift of a mean, in posterior sds\n")
print(round(tapply(abs(table$mean_shift), list(table$levels, table$factorization), max,
                   na.rm = TRUE), 3))
