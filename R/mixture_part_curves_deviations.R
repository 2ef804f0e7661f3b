# What a mixture of curves says: its components, and the deviations of units from the curve of their
# component, gamma_i given z_i = j, normal.
#
#   curve_covariances(fit)       k x q x q
#   smooth_coefficients(fit)     k x columns: of the components' smooth terms, latent
#   smooth_edf(fit)              k x curves: their effective degrees of freedom
#   deviations(fit)              units x q x k: their means given the component
#   averaged_deviations(fit)     units x q: averaged over the components, by probability
#   component_curves(fit, design, level)   the curves of the components, with their errors
#   unit_curve_draws(fit, design, component)   responses of units of given components

curve_fields <- function(fit, fields) {
  Gamma <- aperm(curve_covariances(fit), c(2, 3, 1))
  fields$coefficients <- t(component_values(fit, "beta"))
  fields$covariance <- if (design_of(fit)$random$common) Gamma[, , 1, drop = FALSE] else Gamma
  fields$sigma <- unname(theta(fit)[parameters_of(fit)$block == "sigma"])
  fields
}

# E[gamma_i | y_i, z_i = j] = Gamma_j Z_i' (Z_i Gamma_j Z_i' + S_ij)^{-1} (y_i - X_i beta_j), S_ij
# the residual variances.
deviations <- function(fit) {
  design <- design_of(fit)
  Gamma <- curve_covariances(fit)
  residual <- design$y - component_means(fit, design)
  variance <- residual_variances(fit, design)
  out <- array(0, c(design$n_unit, ncol(design$Z), n_components(fit)))
  for (units in like_units(design)) {
    rows <- rows_of_units(design, units)
    Z <- design$Z[rows[, 1], , drop = FALSE]
    for (j in seq_len(n_components(fit))) {
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
  weighted <- given *
    as.vector(unit_probability(fit)[, rep(seq_len(n_components(fit)), each = dim(given)[2])])
  average <- apply(weighted, c(1, 2), sum)
  dimnames(average) <- dimnames(given)[1:2]
  average
}

# list(estimate, se, low, high), each rows of the design x k: mean responses of the components, with
# standard errors from the covariance of the coefficients of a component.
component_curves <- function(fit, design = design_of(fit), level = 0.95) {
  estimate <- component_means(fit, design)
  se <- vapply(seq_len(n_components(fit)), function(j) {
    sqrt(rowSums((design$X %*% coefficient_covariance(fit, j)) * design$X))
  }, numeric(design$n_row))
  se <- matrix(se, ncol = n_components(fit), dimnames = dimnames(estimate))
  half_width <- stats::qnorm((1 + level) / 2) * se
  list(estimate = estimate, se = se, low = estimate - half_width, high = estimate + half_width)
}

# Of all coefficients of component j, those of smooth terms last. What no data tell of b is in it:
# the information is of the means of q(b) too.
coefficient_covariance <- function(fit, j) {
  information <- mixture_information(fit)
  beta <- which(parameters_of(fit)$block == "beta" & parameters_of(fit)$component == j)
  n <- ncol(curved_columns(design_of(fit)))
  jacobian <- rbind(information$jacobian[beta, , drop = FALSE],
                    information$latent[n * (j - 1) + seq_len(n), , drop = FALSE])
  transform_covariance(jacobian, information$eta_cov)
}

# The fit at theta, drawn from its posterior (vb); coefficients of smooth terms are drawn given the
# others.
curves_at_draw <- function(fit, theta) {
  expected <- component_values(fit, "beta")
  fit <- replace_theta(fit, theta)
  if (!has_smooths(design_of(fit))) return(fit)
  beta <- seq_len(ncol(expected))
  for (j in seq_len(n_components(fit))) {
    V <- coefficient_covariance(fit, j)
    gain <- V[-beta, beta, drop = FALSE] %*% solve(V[beta, beta])
    moved <- gain %*% (component_values(fit, "beta")[j, ] - expected[j, ])
    rest <- V[-beta, -beta, drop = FALSE] - gain %*% V[beta, -beta, drop = FALSE]
    state_of(fit)$curves$mean[-beta, j] <- state_of(fit)$curves$mean[-beta, j] + moved +
      t(normal_draws(1, rest))
  }
  fit
}

draw_unit_curves <- function(fit, design, component) {
  replace(design, "y", list(unit_curve_draws(fit, design, component)))
}

unit_curve_draws <- function(fit, design, component) {
  Gamma <- curve_covariances(fit)
  unit <- unit_of_row(design)
  q <- ncol(design$Z)
  gamma <- matrix(0, design$n_unit, q)
  for (j in seq_len(n_components(fit))) {
    of <- which(component == j)
    spectrum <- eigen(matrix(Gamma[j, , ], q), symmetric = TRUE)
    root <- spectrum$vectors %*% diag(sqrt(pmax(spectrum$values, 0)), q)
    gamma[of, ] <- matrix(stats::rnorm(length(of) * q), length(of), q) %*% t(root)
  }
  at <- cbind(seq_len(design$n_row), component[unit])
  mean <- component_means(fit, design)[at] + rowSums(design$Z * gamma[unit, , drop = FALSE])
  stats::rnorm(design$n_row, mean, sqrt(residual_variances(fit, design)[at]))
}

curve_components <- function(fit) {
  list(coefficients = component_coefficients(fit), covariance = curve_covariances(fit),
       sigma = component_sigma(fit))
}

# Those of smooth terms last: k x columns of X.
component_coefficients <- function(fit) {
  beta <- component_values(fit, "beta")
  if (has_smooths(design_of(fit))) cbind(beta, smooth_coefficients(fit)) else beta
}

# k x q x q, from the sds and correlations of theta().
curve_covariances <- function(fit) {
  names <- colnames(design_of(fit)$Z)
  of_component <- function(j) {
    mine <- is.na(parameters_of(fit)$component) | parameters_of(fit)$component == j
    curve_covariance(design_of(fit), theta(fit)[mine & parameters_of(fit)$block == "sd"],
                     theta(fit)[mine & parameters_of(fit)$block == "cor"])
  }
  covariances <- vapply(seq_len(n_components(fit)), of_component,
                        matrix(0, length(names), length(names)))
  array(aperm(array(covariances, c(length(names), length(names), n_components(fit))), c(3, 1, 2)),
        c(n_components(fit), length(names), length(names)),
        list(component_labels(fit), names, names))
}

curve_covariance <- function(design, sd, cor) {
  blocks <- random_blocks(design)
  given <- random_matrix(design)
  Gamma <- matrix(0, ncol(design$Z), ncol(design$Z))
  for (i in seq_len(nrow(blocks))) {
    size <- blocks$size[i]
    at <- blocks$first[i] + seq_len(size) - 1L
    if (blocks$kind[i] == "multiple") {
      Gamma[at, at] <- sd[1]^2 * given[at, at]
      sd <- sd[-1]
      next
    }
    R <- diag(size)
    pairs <- which(lower.tri(R), arr.ind = TRUE)
    n <- seq_len(nrow(pairs))
    R[pairs] <- R[pairs[, 2:1, drop = FALSE]] <- cor[n]
    Gamma[at, at] <- R * outer(sd[seq_len(size)], sd[seq_len(size)])
    sd <- sd[-seq_len(size)]
    cor <- cor[setdiff(seq_along(cor), n)]
  }
  Gamma
}

curve_means <- function(fit, design) row_means(fit, component_coefficients(fit), design)

# Under joint there is no law of what is a point.
edf_rows <- function(fit) {
  if (!has_smooths(design_of(fit)) || method_of(fit) == "joint") {
    return(matrix(0, n_components(fit), 0))
  }
  smooth_edf(fit)
}

# Of the components' smooth terms: means under q, or points.
smooth_coefficients <- function(fit) {
  terms <- colnames(curved_columns(design_of(fit)))
  state <- state_of(fit)$curves
  beta <- if (method_of(fit) == "vb") state$mean else state$coefficients
  rows <- ncol(design_of(fit)$X) - length(terms) + seq_along(terms)
  matrix(t(beta[rows, , drop = FALSE]), n_components(fit), length(terms),
         dimnames = list(component_labels(fit), terms))
}

# As curve_summary() of fit_glmm(): by how much the data shrink the prior variance of coefficients,
# and what has no penalty.
smooth_edf <- function(fit) {
  curves <- design_of(fit)$curves
  state <- state_of(fit)$curves
  vb <- method_of(fit) == "vb"
  cov <- if (vb) state$cov else state$smooth_cov
  last <- nrow(cov) - length(smooth_rows(fit)) + seq_along(smooth_rows(fit))
  variance <- vapply(seq_len(n_components(fit)), function(j) cov[cbind(last, last, j)],
                     numeric(length(last)))
  precision <- if (vb) state$smooth_shape / state$smooth_rate else 1 / state$smooth_sd^2
  left <- rowsum(matrix(variance, length(last)), smooth_rows(fit)) * precision
  edf <- vapply(curves, straight_parts, 0) +
    ifelse(is.finite(precision), smooth_sizes(curves) - left, 0)
  matrix(t(edf), n_components(fit), dimnames = list(component_labels(fit), curve_labels(curves)))
}

# Which entries of theta() are standard deviations of what is nothing beside the residuals, or
# correlations with that.
is_nothing <- function(fit) {
  parameters <- parameters_of(fit)
  sds <- which_parameters(fit, c("sd", "smooth"))
  extent <- sd_extents(design_of(fit))
  key <- function(rows) paste(rows$block, rows$term1, rows$group)
  extent <- extent$extent[match(key(parameters[sds, ]), key(extent))]
  nothing <- logical(nrow(parameters))
  nothing[sds] <- theta(fit)[sds] * extent < 1e-10 * min(sigma(fit))
  for (i in which(parameters$block == "cor")) {
    of <- parameters[i, ]
    nothing[i] <- any(nothing[which_parameters(fit, "sd", c(of$term1, of$term2),
                                               component = of$component)])
  }
  nothing
}

# Root mean squares over the rows of what has the standard deviation one, with the block, term and
# group of that.
sd_extents <- function(design) {
  blocks <- random_blocks(design)
  size <- colMeans(design$Z^2)
  deviations <- Map(function(first, size_of, kind, term, group) {
    here <- size[first + seq_len(size_of) - 1L]
    free <- kind == "free"
    data.frame(block = "sd", term1 = if (free) names(here) else term, group = group,
               extent = sqrt(if (free) unname(here) else sum(here)))
  }, blocks$first, blocks$size, blocks$kind, blocks$term, blocks$group)
  curves <- curve_extents(list(curves = design$curves, B = curved_columns(design)))
  smooth <- data.frame(block = rep("smooth", length(curves)), term1 = curve_labels(design$curves),
                       group = rep(NA_character_, length(curves)), extent = as.vector(curves))
  do.call(rbind, c(unname(deviations), list(smooth)))
}
