# Deviations of units from the curve of their component: gamma_i given z_i = j, normal.
#
#   deviations(fit)              units x q x k: their means given the component
#   averaged_deviations(fit)     units x q: averaged over the components, by probability
#   unit_curve_draws(fit, design, component)   responses of units of given components

# E[gamma_i | y_i, z_i = j] = Gamma_j Z_i' (Z_i Gamma_j Z_i' + S_ij)^{-1} (y_i - X_i beta_j), S_ij the
# residual variances.
deviations <- function(fit) {
  design <- fit$design
  Gamma <- curve_covariances(fit)
  residual <- design$y - component_means(fit, design)
  variance <- residual_variances(fit, design)
  rows <- split(seq_len(design$n_row), unit_of_row(design))
  out <- array(0, c(design$n_unit, ncol(design$Z), fit$k))
  for (i in seq_along(rows)) {
    at <- rows[[i]]
    Z <- design$Z[at, , drop = FALSE]
    for (j in seq_len(fit$k)) {
      ZG <- Z %*% matrix(Gamma[j, , ], ncol(Z))
      V <- tcrossprod(ZG, Z) + diag(variance[at, j], length(at))
      out[i, , j] <- crossprod(ZG, solve(V, residual[at, j]))
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

unit_curve_draws <- function(fit, design, component) {
  Gamma <- curve_covariances(fit)
  unit <- unit_of_row(design)
  q <- ncol(design$Z)
  gamma <- matrix(0, design$n_unit, q)
  for (j in seq_len(fit$k)) {
    of <- which(component == j)
    spectrum <- eigen(matrix(Gamma[j, , ], q), symmetric = TRUE)
    root <- spectrum$vectors %*% diag(sqrt(pmax(spectrum$values, 0)), q)
    gamma[of, ] <- matrix(stats::rnorm(length(of) * q), length(of)) %*% t(root)
  }
  at <- cbind(seq_len(design$n_row), component[unit])
  mean <- component_means(fit, design)[at] + rowSums(design$Z * gamma[unit, , drop = FALSE])
  stats::rnorm(design$n_row, mean, sqrt(residual_variances(fit, design)[at]))
}
