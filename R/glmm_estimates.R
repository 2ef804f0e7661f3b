# From the optimum that C found to the estimates of a mixed model, and their covariance.
#
#   glmm_estimates(answer)             the elements of the fit, of what ascend_glmm() answered
#   natural_parameters(result, design, held)   theta of the scales, its slope by eta, boundary
#   natural_covariance(fit, eta_cov)   covariance of theta from that of (free beta, eta that moves)

glmm_estimates <- function(answer) {
  design <- answer$design
  held <- answer$held
  result <- answer$result
  priors <- answer$priors
  vb <- answer$law$method == 3L
  smooth <- smooth_estimates(result, design, held)
  result <- without_smooth_columns(result, sum(smooth_sizes(design$curves)))
  natural <- if (vb) vb_parameters(result, design, held)
             else natural_parameters(result, design, held)
  beta <- held_values(held, "beta")
  beta[is.na(beta)] <- result$beta
  theta <- c(beta, natural$value)
  names(theta) <- held$name
  fixed <- !is.na(held$constant)
  attr(theta, "fixed") <- fixed

  parameters <- held[names(held) != "constant"]
  parameters$fixed <- fixed
  parameters$boundary <- c(logical(length(beta)), natural$boundary)
  information <- if (vb) vb_information(result, natural, parameters)
                 else glmm_information(result, natural, parameters)
  coefficients <- c(held$name[held$block == "beta" & !fixed], colnames(design$B))
  marginal <- answer$law$method %in% 1:2
  list(
    parameters = parameters,
    theta = theta,
    beta_cov = information$beta_cov,
    var_cov = information$var_cov,
    information = information,
    latent = latent_posterior(result, design, coefficients),
    smooth = smooth,
    log_evidence = if (marginal) result$objective - log_prior(priors, theta, answer$law$method)
                   else NA_real_,
    objective = result$objective,
    trace = ascent_trace(result$trace),
    convergence = ascent_convergence(result, vb),
    df_parameters = sum(!fixed),
    priors = priors,
    stats = answer$stats,
    vb = if (vb) list(df = natural$df, S = result$Sigma, smooth = result$smooth_sd,
                      root_v = result$sigma)
  )
}

# Means, covariances and gains, named; of several factors a list of them, `parts`.
latent_posterior <- function(result, design, coefficients) {
  of_factor <- function(one, terms, levels) {
    list(mean = structure(one$mean, dimnames = list(levels, terms)),
         cov = structure(one$cov, dimnames = list(terms, terms, levels)),
         gain = structure(one$gain, dimnames = list(terms, coefficients, levels)))
  }
  terms <- colnames(design$Z)
  if (!is_crossed(design)) return(of_factor(result, terms, levels(the_group(design))))
  parts <- Map(of_factor, result$latent, split(terms, factor_of_column(design)),
               lapply(design$groups, levels))
  list(parts = stats::setNames(parts, names(design$groups)))
}

# sd, cor and sigma from Sigma and sigma, their derivatives with respect to eta, and which of them
# are on the boundary: an sd at zero, a correlation at one or undefined.
natural_parameters <- function(result, design, held) {
  Sigma <- result$Sigma
  slope <- result$Sigma_slope
  n_eta <- length(result$eta)
  q <- ncol(Sigma)
  at <- function(i, j) matrix(slope, q * q)[i + q * (j - 1), ]

  sd <- sqrt(pmax(diag(Sigma), 0))
  sd_slope <- matrix(0, q, n_eta)
  for (j in seq_len(q)) if (sd[j] > 0) sd_slope[j, ] <- at(j, j) / (2 * sd[j])

  pairs <- covariance_pairs(column_blocks(design))
  cor <- rep(NaN, nrow(pairs))
  cor_slope <- matrix(0, nrow(pairs), n_eta)
  for (k in seq_along(cor)) {
    i <- pairs[k, 1]
    j <- pairs[k, 2]
    if (sd[i] == 0 || sd[j] == 0) next
    cor[k] <- max(-1, min(1, Sigma[i, j] / (sd[i] * sd[j])))
    cor_slope[k, ] <- at(i, j) / (sd[i] * sd[j]) -
      cor[k] * (sd_slope[i, ] / sd[i] + sd_slope[j, ] / sd[j])
  }
  shape <- law_shape(design) # what several share is told once
  sd_slope <- sd_slope[shape$has_sd, , drop = FALSE]
  sd <- sd[shape$has_sd]
  told <- told_pairs(shape, cor)
  cor_slope <- (power_slope(cor, 1 / shape$lag) * cor_slope)[told, , drop = FALSE]
  cor <- signed_power(cor, 1 / shape$lag)[told]
  one <- which(abs(cor) > 1 - 1e-10)
  lost <- is.nan(cor) | seq_along(cor) %in% one | cor < cor_bounds(design) + 1e-10
  cor[one] <- sign(cor[one])

  smooth_sd <- result$smooth_sd
  held_smooth <- !is.na(held_values(held, "smooth"))
  sigma <- if (design$known_se) numeric() else result$sigma
  at_sd <- held_values(held, "sd")
  held_sd <- !is.na(at_sd)
  sd[held_sd] <- at_sd[held_sd]
  at_cor <- held_values(held, "cor")
  held_cor <- !is.na(at_cor)
  cor[held_cor] <- at_cor[held_cor]
  list(
    value = c(sd, cor, smooth_sd, sigma),
    slope = rbind(sd_slope, cor_slope, smooth_slope(result, n_eta),
                  sigma_slope(result, sigma, n_eta)),
    boundary = c(!held_sd & sd == 0, !held_cor & lost, !held_smooth & smooth_sd == 0,
                 logical(length(sigma)))
  )
}

# The pair that tells each correlation: of those whose sds are not zero the nearest, since of ar1 a
# pair has the power of its lag.
told_pairs <- function(shape, cor) {
  vapply(seq_along(shape$has_cor), function(k) {
    pairs <- which(shape$cor == shape$cor[shape$has_cor[k]])
    pairs[order(is.nan(cor[pairs]), shape$lag[pairs])[1]]
  }, 0L)
}

signed_power <- function(x, power) sign(x) * abs(x)^power

power_slope <- function(x, power) ifelse(power == 1, 1, power * abs(x)^(power - 1))

sigma_slope <- function(result, sigma, n_eta) {
  slope <- matrix(0, length(sigma), n_eta)
  for (l in which(result$eta_of_sigma[seq_along(sigma)] > 0)) {
    slope[l, result$eta_of_sigma[l]] <- sigma[l]
  }
  slope
}

smooth_slope <- function(result, n_eta) {
  slope <- matrix(0, length(result$smooth_sd), n_eta)
  moved <- which(result$eta_of_smooth > 0)
  slope[cbind(moved, result$eta_of_smooth[moved])] <- result$smooth_slope[moved]
  slope
}

# The least value of each correlation: of compound symmetry of q terms -1 / (q - 1).
cor_bounds <- function(design) {
  shape <- law_shape(design)
  block <- column_blocks(design)[covariance_pairs(column_blocks(design))[shape$has_cor, 1]]
  size <- tabulate(column_blocks(design), n_blocks(design))[block]
  ifelse(shape$law[block] == "cs", -1 / (size - 1), -1)
}

# Covariances at the optimum. A direction of eta that moves no parameter (the diagonal of L at
# zero: the covariance is even in it) belongs to the boundary and is left out; the others do not
# mix with it.
glmm_information <- function(result, natural, parameters) {
  beta <- parameters$block == "beta"
  p <- sum(beta)
  free <- which(!parameters$fixed[beta])
  names <- parameters$name[beta]
  beta_cov <- matrix(0, p, p, dimnames = list(names, names))
  beta_cov[free, free] <- result$beta_cov

  n_eta <- length(result$eta)
  moves <- which(colSums(abs(natural$slope)) > 0)
  profile <- result$hessian + result$cross %*% result$beta_cov %*% t(result$cross)
  eta_cov <- matrix(0, n_eta, n_eta)
  eta_cov[moves, moves] <- invert_information(-profile[moves, moves, drop = FALSE])

  names <- parameters$name[!beta]
  unknown <- parameters$fixed[!beta] | parameters$boundary[!beta]
  var_cov <- transform_covariance(natural$slope, eta_cov)
  var_cov[unknown, ] <- var_cov[, unknown] <- NA
  dimnames(var_cov) <- list(names, names)
  list(beta_cov = beta_cov, var_cov = var_cov, eta_cov = eta_cov, moves = moves,
       slope = natural$slope, Sigma_slope = result$Sigma_slope,
       eta_of_sigma = result$eta_of_sigma, hessian = result$hessian, cross = result$cross,
       beta_cov_slope = result$beta_cov_slope, free_beta = free)
}

#' @exportS3Method
covariance_types.elbo_glmm <- function(fit) {
  if (method_of(fit) == "vb") c("linear_response", "mean_field")
  else c("observed", "full_observed", "sandwich")
}

#' @exportS3Method
theta_covariance.elbo_glmm <- function(fit, type) {
  switch(type,
    linear_response = , mean_field = information_of(fit)[[type]],
    observed = block_diagonal(beta_cov_of(fit), var_cov_of(fit)),
    full_observed = natural_covariance(fit, full_eta_cov(fit)),
    sandwich = sandwich_covariance(fit)
  )
}

block_diagonal <- function(A, B) {
  out <- matrix(0, nrow(A) + nrow(B), nrow(A) + nrow(B))
  a <- seq_len(nrow(A))
  b <- nrow(A) + seq_len(nrow(B))
  out[a, a] <- A
  out[b, b] <- B
  # Nothing is known of a parameter that is held, or on its boundary, not even that it is
  # uncorrelated with others.
  unknown <- b[is.na(diag(B))]
  out[unknown, ] <- out[, unknown] <- NA
  names <- c(rownames(A), rownames(B))
  dimnames(out) <- list(names, names)
  out
}

# Inverse observed information of (free beta, eta that moves), by blocks from the inverses that are
# known: C of beta given eta, S of eta with beta at its best, K the mixed derivatives,
#
#   C + C K'S K C   C K'S
#   S K C           S
#
# Restricted likelihoods have no beta, so there the blocks stay apart.
full_eta_cov <- function(fit) {
  info <- information_of(fit)
  C <- beta_cov_of(fit)[info$free_beta, info$free_beta, drop = FALSE]
  S <- info$eta_cov[info$moves, info$moves, drop = FALSE]
  if (method_of(fit) == "reml") {
    cross <- matrix(0, nrow(C), nrow(S))
    return(rbind(cbind(C, cross), cbind(t(cross), S)))
  }
  moved <- C %*% t(info$cross[info$moves, , drop = FALSE])
  rbind(cbind(C + moved %*% S %*% t(moved), moved %*% S), cbind(S %*% t(moved), S))
}

# d theta / d (free beta, eta that moves).
theta_slope <- function(fit) {
  info <- information_of(fit)
  p <- sum(parameters_of(fit)$block == "beta")
  slope <- matrix(0, nrow(parameters_of(fit)), length(info$free_beta) + length(info$moves))
  slope[cbind(info$free_beta, seq_along(info$free_beta))] <- 1
  rows <- p + seq_len(nrow(slope) - p)
  slope[rows, length(info$free_beta) + seq_along(info$moves)] <-
    info$slope[, info$moves, drop = FALSE]
  rownames(slope) <- parameters_of(fit)$name
  slope
}

natural_covariance <- function(fit, eta_cov) {
  slope <- theta_slope(fit)
  V <- transform_covariance(slope, eta_cov)
  unknown <- parameters_of(fit)$block != "beta" &
    (parameters_of(fit)$fixed | parameters_of(fit)$boundary)
  V[unknown, ] <- V[, unknown] <- NA
  V
}

# At the estimates of the other method as lme4 and nlme have it: the ratios of the variances as they
# are, and the scale common to all of them at its best.
#' @exportS3Method
evidence_by.elbo_glmm <- function(fit, REML) {
  if (is.null(REML)) return(log_evidence_of(fit))
  check_flag(REML, "REML")
  if (REML == (method_of(fit) == "reml")) return(log_evidence_of(fit))
  n <- nobs(fit)
  residual <- n - length(information_of(fit)$free_beta)
  scale <- parameters_of(fit)$block %in% c("sd", "smooth", "sigma")
  bound <- design_of(fit)$known_se || any(parameters_of(fit)$fixed[scale]) || informed(fit)
  ratio <- if (bound) 1 else if (REML) n / residual else residual / n
  theta(fit)[scale] <- theta(fit)[scale] * sqrt(ratio)
  method_of(fit) <- if (REML) "reml" else "em"
  state <- glmm_posterior(fit)
  state$objective -
    log_prior(priors_of(fit), theta(fit), match(method_of(fit), c("joint", "em", "reml")) - 1L)
}
