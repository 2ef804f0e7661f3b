# Deviations of units from the curve of their component: gamma_i given z_i = j, normal.
#
#   deviations(fit)              units x q x k: their means given the component
#   averaged_deviations(fit)     units x q: averaged over the components, by probability
#   component_curves(fit, design, level)   the curves of the components, with their errors
#   unit_curve_draws(fit, design, component)   responses of units of given components

# E[gamma_i | y_i, z_i = j] = Gamma_j Z_i' (Z_i Gamma_j Z_i' + S_ij)^{-1} (y_i - X_i beta_j), S_ij
# the residual variances.
deviations <- function(fit) {
  design <- fit$design
  Gamma <- curve_covariances(fit)
  residual <- design$y - component_means(fit, design)
  variance <- residual_variances(fit, design)
  out <- array(0, c(design$n_unit, ncol(design$Z), fit$k))
  for (units in like_units(design)) {
    rows <- rows_of_units(design, units)
    Z <- design$Z[rows[, 1], , drop = FALSE]
    for (j in seq_len(fit$k)) {
      ZG <- Z %*% matrix(Gamma[j, , ], ncol(Z))
      V <- tcrossprod(ZG, Z) + diag(variance[rows[, 1], j], nrow(rows))
      out[units, , j] <- crossprod(solve(V, matrix(residual[rows, j], nrow(rows))), ZG)
    }
  }
  dimnames(out) <- list(design$unit_names, colnames(design$Z), component_labels(fit))
  out
}

averaged_deviations <- function(fit) {
  given <- deviations(fit)
  weighted <- given * as.vector(unit_probability(fit)[, rep(seq_len(fit$k), each = dim(given)[2])])
  average <- apply(weighted, c(1, 2), sum)
  dimnames(average) <- dimnames(given)[1:2]
  average
}

# list(estimate, se, low, high), each rows of the design x k: mean responses of the components, with
# standard errors from the covariance of the coefficients of a component.
component_curves <- function(fit, design = fit$design, level = 0.95) {
  estimate <- component_means(fit, design)
  se <- vapply(seq_len(fit$k), function(j) {
    sqrt(rowSums((design$X %*% coefficient_covariance(fit, j)) * design$X))
  }, numeric(design$n_row))
  se <- matrix(se, ncol = fit$k, dimnames = dimnames(estimate))
  half_width <- stats::qnorm((1 + level) / 2) * se
  list(estimate = estimate, se = se, low = estimate - half_width, high = estimate + half_width)
}

# Of all coefficients of component j, those of smooth terms last. What no data tell of b is in it:
# the information is of the means of q(b) too.
coefficient_covariance <- function(fit, j) {
  information <- mixture_information(fit)
  beta <- which(fit$parameters$block == "beta" & fit$parameters$component == j)
  n <- ncol(curved_columns(fit$design))
  jacobian <- rbind(information$jacobian[beta, , drop = FALSE],
                    information$latent[n * (j - 1) + seq_len(n), , drop = FALSE])
  transform_covariance(jacobian, information$eta_cov)
}

# The fit at theta, drawn from its posterior (vb); coefficients of smooth terms are drawn given the
# others.
at_draw <- function(fit, theta) {
  expected <- component_values(fit, "beta")
  fit$theta[] <- theta
  if (!has_curves(fit)) return(fit)
  beta <- seq_len(ncol(expected))
  for (j in seq_len(fit$k)) {
    V <- coefficient_covariance(fit, j)
    gain <- V[-beta, beta, drop = FALSE] %*% solve(V[beta, beta])
    moved <- gain %*% (component_values(fit, "beta")[j, ] - expected[j, ])
    rest <- V[-beta, -beta, drop = FALSE] - gain %*% V[beta, -beta, drop = FALSE]
    fit$state$curves$mean[-beta, j] <- fit$state$curves$mean[-beta, j] + moved +
      t(normal_draws(1, rest))
  }
  fit
}

unit_curve_draws <- function(fit, design, component) {
  Gamma <- curve_covariances(fit)
  unit <- unit_of_row(design)
  q <- ncol(design$Z)
  gamma <- matrix(0, design$n_unit, q)
  for (j in seq_len(fit$k)) {
    of <- which(component == j)
    spectrum <- eigen(matrix(Gamma[j, , ], q), symmetric = TRUE)
    root <- spectrum$vectors %*% diag(sqrt(pmax(spectrum$values, 0)), q)
    gamma[of, ] <- matrix(stats::rnorm(length(of) * q), length(of), q) %*% t(root)
  }
  at <- cbind(seq_len(design$n_row), component[unit])
  mean <- component_means(fit, design)[at] + rowSums(design$Z * gamma[unit, , drop = FALSE])
  stats::rnorm(design$n_row, mean, sqrt(residual_variances(fit, design)[at]))
}
