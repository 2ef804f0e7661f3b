# How often a start reaches the best optimum, and bias and spread of the estimates, beside mclust.
#
#   Rscript bench/mixture_starts.R [simulations]     200 by default (about five minutes)
#
# The design is that of Chassagnol et al. (2023), Gaussian mixture models in R, R Journal 15(2),
# 56--76: components that are well apart or overlap, of equal or unequal weight, in one dimension
# (k = 4) and two (k = 2), free covariances. For each simulated set
#
#   share    of the starts of fit_mixture() that end within 1e-3 of the best log-likelihood known
#            (of all its starts, mclust's, and EM from the truth), all of them climbed to the end
#   best     whether the fit as it comes, twenty starts, five climbs and moves, is that best one
#   mclust   whether mclust's is, from its one hierarchical start
#   below    by how much mclust falls short of the best, on average
#
# and of the parameters, components matched to the truth by their means: bias and root mean squared
# error, averaged over components, of weights (bias: of the first), means and standard
# deviations.

suppressPackageStartupMessages({
  library(elbo)
  library(mclust)
})

arguments <- commandArgs(TRUE)
simulations <- if (length(arguments) > 0) as.integer(arguments[1]) else 200L

line <- function(sd) list(mean = cbind(c(0, 4, 8, 12)), sd = sd, n = 500)
plane <- function(distance) list(mean = rbind(c(0, 0), c(distance, distance)), sd = 1, n = 500)
equal <- function(k) rep(1 / k, k)
designs <- list(
  `1 d, apart, equal` = c(line(0.5), list(weight = equal(4))),
  `1 d, apart, unequal` = c(line(0.5), list(weight = c(0.1, 0.2, 0.3, 0.4))),
  `1 d, overlap, equal` = c(line(1.5), list(weight = equal(4))),
  `1 d, overlap, unequal` = c(line(1.5), list(weight = c(0.1, 0.2, 0.3, 0.4))),
  `2 d, apart, equal` = c(plane(4), list(weight = equal(2))),
  `2 d, apart, unequal` = c(plane(4), list(weight = c(0.1, 0.9))),
  `2 d, overlap, equal` = c(plane(1.5), list(weight = equal(2))),
  `2 d, overlap, unequal` = c(plane(1.5), list(weight = c(0.1, 0.9)))
)

draw <- function(design) {
  k <- length(design$weight)
  d <- ncol(design$mean)
  z <- sample(k, design$n, TRUE, design$weight)
  y <- design$mean[z, , drop = FALSE] + design$sd * matrix(rnorm(design$n * d), design$n)
  list(data = data.frame(y), label = z)
}

# Estimates in the order of the components that they are nearest to, each used once, greedily.
matched <- function(found, design) {
  k <- length(design$weight)
  distance <- as.matrix(stats::dist(rbind(design$mean, found$mean)))[seq_len(k), k + seq_len(k)]
  order <- integer(k)
  for (step in seq_len(k)) {
    at <- which(distance == min(distance), arr.ind = TRUE)[1, ]
    order[at[1]] <- at[2]
    distance[at[1], ] <- distance[, at[2]] <- Inf
  }
  sd <- t(apply(found$covariance, 1, function(S) sqrt(diag(as.matrix(S)))))
  if (ncol(design$mean) == 1) sd <- t(sd)
  # The mean over components of errors of weights is zero: that of the first.
  c(weight = unname(found$weight[order[1]]) - design$weight[1],
    weight2 = mean((found$weight[order] - design$weight)^2),
    mean = mean(found$mean[order, ] - design$mean),
    mean2 = mean((found$mean[order, ] - design$mean)^2),
    sd = mean(sd[order, ] - design$sd), sd2 = mean((sd[order, ] - design$sd)^2))
}

of_mclust <- function(fit) {
  k <- fit$G
  d <- fit$d
  covariance <- if (d == 1) array(rep_len(fit$parameters$variance$sigmasq, k), c(k, 1, 1))
                else aperm(fit$parameters$variance$sigma, c(3, 1, 2))
  list(weight = fit$parameters$pro, mean = matrix(fit$parameters$mean, k, byrow = TRUE),
       covariance = covariance)
}

one <- function(design) {
  drawn <- draw(design)
  k <- length(design$weight)
  model <- if (ncol(drawn$data) == 1) "V" else "VVV"
  formula <- stats::as.formula(sprintf("cbind(%s) ~ 1", toString(names(drawn$data))))
  own <- function(...) {
    tryCatch(suppressWarnings(fit_mixture(formula, drawn$data, k = k, covariance = model, ...)),
             elbo_error_unbounded = function(e) NULL)
  }
  fit <- own()
  truth <- own(start = drawn$label)
  peer <- Mclust(drawn$data, G = k, modelNames = model, verbose = FALSE,
                 control = emControl(tol = 1e-10, itmax = 10000))
  if (is.null(fit) || is.null(peer)) return(NULL)
  climbed <- fit$starts$objective[fit$starts$status == "climbed"]
  best <- max(climbed, peer$loglik, if (!is.null(truth)) as.numeric(logLik(truth)))
  list(
    rates = c(share = mean(climbed > best - 1e-3), best = as.numeric(logLik(fit)) > best - 1e-3,
              mclust = peer$loglik > best - 1e-3, below = best - peer$loglik),
    elbo = matched(components(fit), design), peer = matched(of_mclust(peer), design)
  )
}

errors <- function(runs, what) {
  average <- rowMeans(vapply(runs, `[[`, numeric(6), what))
  c(average[c("weight", "mean", "sd")], sqrt(average[c("weight2", "mean2", "sd2")]))
}

set.seed(1)
results <- lapply(designs, function(design) {
  runs <- replicate(simulations, one(design), simplify = FALSE)
  runs <- runs[lengths(runs) > 0]
  rates <- rowMeans(vapply(runs, `[[`, numeric(4), "rates"))
  table <- rbind(elbo = errors(runs, "elbo"), mclust = errors(runs, "peer"))
  colnames(table) <- c("bias_weight", "bias_mean", "bias_sd", "rmse_weight", "rmse_mean", "rmse_sd")
  list(rates = c(rates, sets = length(runs)), errors = table)
})

rates <- data.frame(design = names(designs), t(vapply(results, `[[`, numeric(5), "rates")),
                    row.names = NULL)
print(rates, digits = 3)
estimates <- do.call(rbind, lapply(names(designs), function(name) {
  data.frame(design = name, fit = rownames(results[[name]]$errors), results[[name]]$errors,
             row.names = NULL)
}))
print(estimates, digits = 2)
if (simulations >= 200) {
  utils::write.csv(format(rates, digits = 3), "bench/mixture_starts.csv", row.names = FALSE,
                   quote = FALSE)
}
