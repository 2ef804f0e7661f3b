# Mixtures of curves by variational Bayes: factors, charts, and as points.

curve_factors <- function(fit) {
  state <- state_of(fit)$curves
  design <- design_of(fit)
  label <- random_blocks(design)$label
  deviations <- lapply(deviation_laws(design, state), function(group) {
    matrices <- vapply(group$laws, function(f) f$family == "inverse Wishart", NA)
    what <- ifelse(matrices, "Sigma__", "sd^2__")
    component <- rep(group$component, length(label))
    factors_by_component(group$laws, paste0(what, label), component)[is.finite(group$df)]
  })
  c(coefficient_factors(fit, state), smooth_factors(fit, state),
    unlist(deviations, recursive = FALSE), sigma_factors(fit, state))
}

curve_blocks <- function(fit) {
  state <- state_of(fit)$curves
  design <- design_of(fit)
  blocks <- random_blocks(design)
  deviations <- lapply(deviation_laws(design, state), function(group) {
    lapply(which(is.finite(group$df)), function(b) {
      at <- deviation_columns(fit, blocks, b, group$component)
      f <- group$laws[[b]]
      if (f$family == "inverse Wishart") wishart_blocks(f$df, f$scale, at$sd, at$cor)
      else variance_blocks(at$sd, f$shape, f$scale)
    })
  })
  c(regression_blocks(fit, state),
    variance_blocks(which_parameters(fit, "smooth"), state$smooth_shape, state$smooth_rate),
    unlist(unlist(deviations, recursive = FALSE), recursive = FALSE))
}

smooth_factors <- function(fit, state) {
  labels <- paste0("sd^2__", curve_labels(design_of(fit)$curves), recycle0 = TRUE)
  component <- rep(seq_len(n_components(fit)), each = length(labels))
  variance_factors(state$smooth_shape, state$smooth_rate, rep(labels, n_components(fit)), component)
}

# Of each covariance matrix of deviations: its component (NA where they share it), and the df and
# the laws of the blocks on its diagonal.
deviation_laws <- function(design, state) {
  k <- ncol(state$mean)
  component <- if (design$random$common) NA_integer_ else seq_len(k)
  q <- ncol(design$Z)
  lapply(seq_along(component), function(g) {
    df <- matrix(state$df, ncol = length(component))[, g]
    scale <- matrix(matrix(state$scale, q * q)[, g], q, dimnames = rep(list(colnames(design$Z)), 2))
    list(component = component[g], df = df, laws = block_laws(design, df, scale))
  })
}

block_laws <- function(design, df, scale) {
  blocks <- random_blocks(design)
  given <- diag(random_matrix(design))
  lapply(seq_len(nrow(blocks)), function(i) {
    at <- blocks$first[i] + seq_len(blocks$size[i]) - 1L
    multiple <- blocks$kind[i] == "multiple"
    if (blocks$size[i] > 1 && !multiple) {
      return(list(family = "inverse Wishart", df = df[i], scale = scale[at, at]))
    }
    # A multiple stands in scale times its matrix.
    largest <- at[which.max(given[at])]
    unit <- if (multiple) given[largest] else 1
    list(family = "inverse gamma", shape = df[i] / 2, scale = scale[largest, largest] / unit / 2)
  })
}

curve_pieces <- function(fit) {
  if (has_smooths(design_of(fit))) {
    return(paste("Linear response not checked: with smooth terms in the components' curves",
                 "the sum over components and curves together is not at hand.",
                 "Compare with bootstrap()."))
  }
  told <- priors_of(fit)$told$curves
  blocks <- random_blocks(design_of(fit))
  groups <- if (design_of(fit)$random$common) NA else seq_len(n_components(fit))
  covariances <- unlist(lapply(groups, function(j) {
    lapply(which(is.na(told$multiple_constant)),
           function(b) deviation_piece(fit, told, blocks, b, j))
  }), recursive = FALSE)
  c(lapply(seq_len(n_components(fit)), function(j) {
    columns <- which_parameters(fit, "beta", component = j)
    normal_piece(columns, j, colnames(design_of(fit)$X), told$beta_mean, told$beta_sd)
  }), covariances, sigma_pieces(fit, told))
}

# The covariance of a ( | ), or the multiple of a given matrix.
deviation_piece <- function(fit, told, blocks, b, j) {
  at <- deviation_columns(fit, blocks, b, j)
  rows <- blocks$first[b] + seq_len(blocks$size[b]) - 1L
  df <- told$covariance_df[b]
  S <- as.matrix(told$covariance_scale)[rows, rows, drop = FALSE]
  if (length(at$cor) == 0) {
    law <- log_root_inverse_gamma(df / 2, S[1] / 2)
    return(sd_piece(at$sd, j, paste("sd", b), law))
  }
  q <- length(at$sd)
  piece(c(at$sd, at$cor), j, paste("scale", b, seq_along(c(at$sd, at$cor))),
        function(theta) c(log(theta[seq_len(q)]), root_coordinates(theta[-seq_len(q)], q)),
        function(x) {
    scale <- full_covariance(x, q, df, S)
    list(theta = cbind(scale$sd, scale$cor), log_prior = scale$log_prior)
  })
}

# Entries of theta of block b, group j (NA: common).
deviation_columns <- function(fit, blocks, b, j) {
  free <- blocks$kind == "free"
  n_sd <- ifelse(free, blocks$size, 1)
  n_cor <- ifelse(free, blocks$size * (blocks$size - 1) / 2, 0)
  of <- function(block, n) which_parameters(fit, block,
                                            component = j)[sum(n[seq_len(b - 1)]) + seq_len(n[b])]
  list(sd = of("sd", n_sd), cor = of("cor", n_cor))
}

curve_columns_of <- function(fit, theta) {
  blocks <- random_blocks(design_of(fit))
  given <- random_matrix(design_of(fit))
  q <- ncol(design_of(fit)$Z)
  groups <- if (design_of(fit)$random$common) NA else seq_len(n_components(fit))
  do.call(rbind, lapply(groups, function(j) {
    out <- matrix(0, q^2, nrow(theta))
    for (b in seq_len(nrow(blocks))) {
      at <- deviation_columns(fit, blocks, b, j)
      rows <- blocks$first[b] + seq_len(blocks$size[b]) - 1L
      places <- as.vector(outer(rows, (rows - 1) * q, `+`))
      sd <- t(theta[, at$sd, drop = FALSE])
      out[places, ] <- if (blocks$kind[b] == "multiple") {
        as.vector(given[rows, rows]) %o% drop(sd)^2
      } else {
        covariance_columns(sd, t(theta[, at$cor, drop = FALSE]),
                           covariance_pairs(rep(1L, nrow(sd))))
      }
    }
    out
  }))
}

curve_points <- function(fit, theta) {
  list(coefficients = block_columns(fit, theta, "beta"), covariance = curve_columns_of(fit, theta),
       sigma = block_columns(fit, theta, "sigma"))
}
