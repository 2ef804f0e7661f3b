# Mixtures of normal laws by variational Bayes: factors, covariance under q, charts.

# Sigma ~ inverse Wishart(df, scale); without correlations the variances are inverse gamma.
normal_factors <- function(fit) {
  state <- state_of(fit)$normal
  variables <- colnames(design_of(fit)$Y)
  d <- length(variables)
  group <- rep_len(seq_along(state$df), n_components(fit))
  full <- has_correlations(fit)
  factors <- lapply(seq_len(n_components(fit)), function(j) {
    scale <- matrix(state$scale, d * d)[, group[j]]
    scale <- matrix(scale, d, dimnames = list(variables, variables))
    df <- state$df[[group[j]]]
    law <- if (full) list(family = "normal inverse Wishart", df = df, scale = scale)
           else list(family = "normal inverse gamma", shape = df / 2, rate = diag(scale) / 2)
    c(law, list(mean = stats::setNames(state$mean[, j], variables), kappa = state$kappa[[j]]))
  })
  scale <- if (full) "Sigma" else "sigma^2"
  factors_by_component(factors, paste0("mean, ", scale), seq_along(factors))
}

normal_mean_field <- function(fit) {
  blocks <- lapply(seq_len(n_components(fit)), function(j) normal_blocks(fit, j))
  unlist(blocks, recursive = FALSE)
}

normal_blocks <- function(fit, j) {
  f <- normal_factors(fit)[[j]]
  d <- length(f$mean)
  at <- function(block) which_parameters(fit, block, component = j)
  full <- f$family == "normal inverse Wishart"
  expected <- if (full) f$scale / (f$df - d - 1) else diag(f$rate / (f$shape - 1), d) # E[Sigma]
  means <- list(list(rows = at("mean"), cov = expected / f$kappa))
  if (full) return(c(means, wishart_blocks(f$df, f$scale, at("sd"), at("cor"))))
  sd <- vapply(f$rate, function(rate) inverse_gamma_sd_variance(f$shape, rate), 0)
  c(means, list(list(rows = at("sd"), cov = diag(sd, d))))
}

# A key for each standard deviation and correlation of a normal mixture, the same for those that the
# covariance model makes equal; NA for other parameters.
shared_scales <- function(fit) {
  parameters <- parameters_of(fit)
  model <- covariance_model(fit)
  equal <- !grepl("V", model)
  spherical <- nchar(model) > 1 && substr(model, 2, 2) == "I"
  term <- term_names(parameters)
  term[spherical & parameters$block == "sd"] <- "sd"
  ifelse(parameters$block %in% c("sd", "cor"),
         paste(term, if (equal) "" else parameters$component), NA_character_)
}

# Means and covariance matrix of a component, or of all where they share it.
normal_pieces <- function(fit) {
  shared <- length(state_of(fit)$normal$df) == 1 && n_components(fit) > 1
  groups <- if (shared) list(seq_len(n_components(fit))) else as.list(seq_len(n_components(fit)))
  lapply(groups, function(components) normal_group(fit, components, shared))
}

normal_group <- function(fit, components, shared) {
  told <- priors_of(fit)$told$normal
  variables <- colnames(design_of(fit)$Y)
  d <- length(variables)
  one <- components[1]
  means <- which_parameters(fit, "mean", component = components)
  sds <- unlist(lapply(components, function(j) which_parameters(fit, "sd", component = j)))
  structure <- if (d > 1 && has_correlations(fit)) "full" else if (is_spherical(fit)) "spherical"
               else "diagonal"
  cors <- if (structure == "full") {
    unlist(lapply(components, function(j) which_parameters(fit, "cor", component = j)))
  }
  law <- covariance_law(structure, d, told$prior_df, told$prior_scale)
  n_sd <- if (structure == "spherical") 1L else d
  n_cor <- if (structure == "full") d * (d - 1) / 2 else 0L
  n_mean <- length(means)
  of_scales <- n_mean + seq_len(n_sd + n_cor)
  component <- c(rep(components, each = d), rep(if (shared) NA else one, n_sd + n_cor))
  label <- c(rep(paste("mean", variables), length(components)),
             paste("scale", seq_len(n_sd + n_cor)))
  columns <- c(means, sds, cors)
  from <- function(theta) {
    sd <- theta[n_mean + seq_len(d)]
    cor <- if (n_cor > 0) theta[n_mean + length(sds) + seq_len(n_cor)]
    c(theta[seq_len(n_mean)], log(sd[seq_len(n_sd)]), if (n_cor > 0) root_coordinates(cor, d))
  }
  to <- function(x) {
    scale <- law(x[, of_scales, drop = FALSE])
    log_prior <- scale$log_prior
    for (j in seq_along(components)) {
      at <- (j - 1) * d + seq_len(d)
      e <- x[, at, drop = FALSE] - rep(told$prior_mean, each = nrow(x))
      log_prior <- log_prior - 0.5 * (d * log(2 * pi / told$prior_kappa) + scale$log_det +
                                        told$prior_kappa * scale$square(e))
    }
    several <- t(rep(1, length(components)))
    list(theta = cbind(x[, seq_len(n_mean)], kronecker(several, scale$sd),
                       if (n_cor > 0) kronecker(several, scale$cor)),
         log_prior = log_prior)
  }
  piece(columns, component, label, from, to)
}

# From rows of (log sds, w) to list(sd, cor, log_det, square(e): e' Sigma^{-1} e by row, log_prior),
# the latter the density of the row: full: Sigma inverse Wishart(df, S); else each variance has its
# marginal law in it (spherical: with the mean of the diagonal).
covariance_law <- function(structure, d, df, S) {
  if (structure == "full") return(function(x) full_covariance(x, d, df, S))
  rate <- if (structure == "spherical") mean(diag(S)) / 2 else diag(S) / 2
  shape <- (df - d + 1) / 2
  function(x) {
    sd <- exp(x)
    log_prior <- numeric(nrow(x))
    for (a in seq_len(ncol(x))) {
      log_prior <- log_prior + log_root_inverse_gamma(shape, rate[a])(sd[, a]) + x[, a]
    }
    sd <- sd[, rep_len(seq_len(ncol(sd)), d), drop = FALSE]
    list(sd = sd, cor = NULL, log_det = 2 * rowSums(log(sd)),
         square = function(e) rowSums((e / sd)^2), log_prior = log_prior)
  }
}

normal_points <- function(fit, theta) {
  list(mean = block_columns(fit, theta, "mean"),
       covariance = normal_columns(fit, block_columns(fit, theta, "sd"),
                                   block_columns(fit, theta, "cor")))
}

normal_columns <- function(fit, sd, cor) {
  d <- ncol(design_of(fit)$Y)
  pairs <- covariance_pairs(rep(1L, d))
  out <- lapply(seq_len(n_components(fit)), function(j) {
    covariance_columns(sd[(j - 1) * d + seq_len(d), , drop = FALSE],
                       cor[(j - 1) * nrow(pairs) + seq_len(nrow(pairs)), , drop = FALSE], pairs)
  })
  do.call(rbind, out)
}
