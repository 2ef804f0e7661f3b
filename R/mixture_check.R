# Does linear response tell the truth of a mixture? Importance sampling in theta, z summed over.
#
# Given theta the components of the units are summed over exactly, in C, so that what is left is
#
#   p(theta | y)  prop. to  p(y | theta) p(theta),
#
# sampled on a scale without constraint: log ratios of weights and of probabilities, logarithms of
# standard deviations, and of each correlation the w of R/vb_check.R, whose proposals, lattice,
# Pareto smoothing and moments serve here too. A posterior under a symmetric prior has k! equal
# modes: the draws that are nearer to a mode with two components swapped than to q's own have no
# density.
#
# A chart is a list of pieces, each of some coordinates x and some entries of theta:
#
#   columns     which entries of theta it gives
#   component   of each of its coordinates, NA where components share it
#   label       a name of each coordinate, the same for all components
#   from(theta) the coordinates (a vector)
#   to(x)       list(theta, log_prior), x and theta a row a draw, log_prior the density of x

# rows x components x numbers of a row up to which fits are checked unasked
mixture_check_size <- 1e5
mixture_tolerance <- 0.1

#' @exportS3Method
posterior_verdict.elbo_mixture <- function(fit, always = FALSE) {
  empty <- emptied(fit)
  if (length(empty) > 0) return(replace(no_verdict(empty_verdict(empty)), "trusted", FALSE))
  chart <- mixture_chart(fit)
  if (is.character(chart)) return(no_verdict(chart))
  if (length(chart) == 0) return(no_verdict("No parameter is free."))
  size <- design_of(fit)$n_row * n_components(fit) * law_of(fit)$row_cost(design_of(fit))
  if ((size > mixture_check_size || !errors_at_hand(fit)) && !always) {
    return(no_verdict(sprintf(paste(
      "Linear response not checked: %s and %s. convergence(fit, check = TRUE) does."),
      count_words(design_of(fit)$n_row, "row"), count_words(n_components(fit), "component"))))
  }
  V <- vcov(fit, full = TRUE)
  target <- mixture_target(fit, chart, V)
  free <- unlist(lapply(chart, `[[`, "columns"))
  verdict <- judge_linear_response(target, parameter_labels(fit)[free], unname(theta(fit))[free],
                                   sqrt(diag(V))[free], tolerance = mixture_tolerance, doubt = 0.02,
                                   mean_tolerance = 0.3, draws = c(256L, 1024L))
  # Of all the equal modes.
  verdict$log_evidence <- verdict$log_evidence + exchangeable(fit) * lgamma(n_components(fit) + 1)
  verdict
}

empty_verdict <- function(empty) {
  sprintf(paste("Linear response is not to be trusted: q has emptied component%s %s, and",
                "says nothing of how probable it is that %s there."),
          if (length(empty) > 1) "s" else "", enumerate(empty, 10),
          if (length(empty) > 1) "they are" else "it is")
}

# ---- target -------------------------------------------------------------------------------------

mixture_target <- function(fit, chart, V) {
  model <- point_model(fit)
  theta <- unname(c(theta(fit)))
  from <- function(theta) unlist(lapply(chart, function(piece) piece$from(theta[piece$columns])))
  centre <- from(theta)
  cov <- chart_covariance(fit, from, theta, V)
  nearest <- own_mode(fit, chart, centre, cov)
  evaluate <- function(x) {
    at <- chart_points(chart, x, theta)
    log_density <- at$log_prior + nearest(x)
    inside <- which(is.finite(log_density))
    log_density[-inside] <- -Inf
    states <- point_states(fit, at$theta[inside, , drop = FALSE])
    log_density[inside] <- log_density[inside] +
      .Call(C_mixture_densities, model, states, length(inside))
    list(log_density = log_density, beta = matrix(0, nrow(x), 0),
         beta_variance = matrix(0, nrow(x), 0),
         scales = at$theta[, unlist(lapply(chart, `[[`, "columns")), drop = FALSE])
  }
  list(centre = centre, cov = cov, evaluate = evaluate)
}

# The mixture with theta as a point; its priors are those of the chart.
point_model <- function(fit) {
  told <- priors_of(fit)$told
  told$weights[c("law", "alpha")] <- list("flat", NULL)
  mixture_model(design_of(fit), n_components(fit), "em", covariance_model(fit), told)
}

chart_points <- function(chart, x, theta) {
  n <- nrow(x)
  out <- list(theta = matrix(theta, n, length(theta), byrow = TRUE), log_prior = numeric(n))
  last <- 0
  for (piece in chart) {
    at <- last + seq_along(piece$component)
    last <- last + length(piece$component)
    points <- piece$to(x[, at, drop = FALSE])
    out$theta[, piece$columns] <- points$theta
    out$log_prior <- out$log_prior + points$log_prior
  }
  out
}

# Linear response of the coordinates, by their derivatives; where it is none that of q.
chart_covariance <- function(fit, from, theta, V) {
  if (!all(is.finite(V[!parameters_of(fit)$fixed, !parameters_of(fit)$fixed]))) {
    V <- vcov(fit, full = TRUE, type = "mean_field")
  }
  V[!is.finite(V)] <- 0
  sd <- sqrt(pmax(diag(V), 0))
  slope <- vapply(seq_along(theta), function(i) {
    h <- 1e-4 * sd[i]
    if (h == 0) return(numeric(length(from(theta))))
    (from(replace(theta, i, theta[i] + h)) - from(replace(theta, i, theta[i] - h))) / (2 * h)
  }, numeric(length(from(theta))))
  slope <- matrix(slope, ncol = length(theta))
  slope[!is.finite(slope)] <- 0
  slope %*% V %*% t(slope)
}

# 0 for rows of x nearer to the centre than to it with two components swapped, else -Inf.
own_mode <- function(fit, chart, centre, cov) {
  component <- unlist(lapply(chart, `[[`, "component"))
  label <- unlist(lapply(chart, `[[`, "label"))
  of <- lapply(seq_len(n_components(fit)), function(j) which(component %in% j))
  labels <- unique(label[!is.na(component)])
  if (n_components(fit) == 1 || !exchangeable(fit) || length(labels) == 0) {
    return(function(x) numeric(nrow(x)))
  }
  places <- vapply(of, function(at) at[match(labels, label[at])], integer(length(labels)))
  places <- matrix(places, length(labels))
  # The weight of the last component has no coordinate: it is the reference.
  value <- function(x, j) {
    out <- x[, places[, j], drop = FALSE]
    out[, is.na(places[, j])] <- 0
    out
  }
  variance <- rowMeans(matrix(diag(cov)[places], length(labels)), na.rm = TRUE)
  variance[!is.finite(variance) | variance <= 0] <- Inf
  at <- lapply(seq_len(n_components(fit)), function(j) drop(value(t(centre), j)))
  distance <- function(y, j) drop(sweep(y, 2, at[[j]])^2 %*% (1 / variance))
  pairs <- utils::combn(n_components(fit), 2)
  function(x) {
    values <- lapply(seq_len(n_components(fit)), function(j) value(x, j))
    swapped <- logical(nrow(x))
    for (p in seq_len(ncol(pairs))) {
      i <- pairs[1, p]
      j <- pairs[2, p]
      swapped <- swapped | distance(values[[i]], j) + distance(values[[j]], i) <
        distance(values[[i]], i) + distance(values[[j]], j)
    }
    ifelse(swapped, -Inf, 0)
  }
}

# ---- charts -------------------------------------------------------------------------------------

# A sentence where there is none.
mixture_chart <- function(fit) {
  pieces <- law_of(fit)$pieces(fit)
  if (is.character(pieces)) return(pieces)
  c(weight_pieces(fit), pieces)
}

piece <- function(columns, component, label, from, to) {
  list(columns = columns, component = rep_len(component, length(label)), label = label, from = from,
       to = to)
}

# Shares of one whole, by their log ratios to the last: d shares = prod shares d x.
share_piece <- function(columns, component, label, log_prior) {
  last <- length(columns)
  piece(columns, component, label, function(theta) log(theta[-last] / theta[last]), function(x) {
    x <- cbind(x, 0)
    x <- x - do.call(pmax, as.data.frame(x))
    log_share <- x - log(rowSums(exp(x)))
    list(theta = exp(log_share), log_prior = log_prior(log_share) + rowSums(log_share))
  })
}

log_dirichlet <- function(alpha, n) {
  function(log_share) {
    lgamma(n * alpha) - n * lgamma(alpha) + (alpha - 1) * rowSums(log_share)
  }
}

normal_piece <- function(columns, component, label, mean, sd) {
  n <- length(columns)
  piece(columns, component, label, identity, function(x) {
    density <- stats::dnorm(x, rep(rep_len(mean, n), each = nrow(x)),
                            rep(rep_len(sd, n), each = nrow(x)), log = TRUE)
    list(theta = x, log_prior = rowSums(matrix(density, nrow(x))))
  })
}

# A standard deviation whose prior is known: x = log sd.
sd_piece <- function(columns, component, label, log_prior) {
  piece(columns, component, label, log, function(x) {
    list(theta = exp(x), log_prior = rowSums(log_prior(exp(x)) + x))
  })
}

# Of a variance that is inverse gamma(shape, rate), as a law of its root.
log_root_inverse_gamma <- function(shape, rate) {
  function(sd) {
    log(2) + shape * log(rate) - lgamma(shape) - (2 * shape + 1) * log(sd) - rate / sd^2
  }
}

sigma_pieces <- function(fit, told) {
  columns <- which_parameters(fit, "sigma")
  columns <- columns[!parameters_of(fit)$fixed[columns]]
  law <- list(family = told$sigma_family, df = told$sigma_df, scale = told$sigma_scale)
  lapply(columns, function(i) {
    sd_piece(i, parameters_of(fit)$component[i], "sigma", function(sd) sd_log_density(law, sd))
  })
}

full_covariance <- function(x, d, df, S) {
  sd <- exp(x[, seq_len(d), drop = FALSE])
  w <- x[, -seq_len(d), drop = FALSE]
  W <- correlation_root(w, d)
  log_det <- 2 * rowSums(log(sd))
  for (i in seq_len(d)) log_det <- log_det + 2 * log(W[, i, i])
  square <- function(e) rowSums(forward_solve(W, e / sd)^2)
  trace <- 0
  root <- t(chol(S))
  for (i in seq_len(d)) trace <- trace + square(matrix(root[, i], nrow(x), d, byrow = TRUE))
  # d Sigma = 2^d |Sigma|^{(d + 1)/2} prod cosh w d(log sd, w).
  log_prior <- 0.5 * df * (as.numeric(determinant(S)$modulus) - d * log(2)) -
    log_gamma_q(df / 2, d) - 0.5 * (df + d + 1) * log_det - 0.5 * trace +
    d * log(2) + 0.5 * (d + 1) * log_det + rowSums(log(cosh(w)))
  pairs <- covariance_pairs(rep(1L, d))
  cor <- vapply(seq_len(nrow(pairs)), function(i) {
    rowSums(matrix(W[, pairs[i, 1], ] * W[, pairs[i, 2], ], nrow(x)))
  }, numeric(nrow(x)))
  list(sd = sd, cor = matrix(cor, nrow(x)), log_det = log_det, square = square,
       log_prior = log_prior)
}

# z of W z = e for lower triangular W (n x d x d), by row.
forward_solve <- function(W, e) {
  for (i in seq_len(ncol(e))) {
    for (j in seq_len(i - 1)) e[, i] <- e[, i] - W[, i, j] * e[, j]
    e[, i] <- e[, i] / W[, i, i]
  }
  e
}

# ---- states --------------------------------------------------------------------------------------

# The fields of C (see theta_state()), a column a row of theta.
point_states <- function(fit, theta) {
  law <- law_of(fit)
  state <- list(weights = weight_columns(fit, theta))
  state[[law$part]] <- law$point_fields(fit, theta)
  state
}

# d^2 x n from sds (d x n) and correlations.
covariance_columns <- function(sd, cor, pairs) {
  d <- nrow(sd)
  out <- matrix(0, d^2, ncol(sd))
  out[(seq_len(d) - 1) * (d + 1) + 1, ] <- sd^2
  for (i in seq_len(nrow(pairs))) {
    a <- pairs[i, 1]
    b <- pairs[i, 2]
    out[a + d * (b - 1), ] <- out[b + d * (a - 1), ] <- cor[i, ] * sd[a, ] * sd[b, ]
  }
  out
}

# The entries of a block, a column a row of theta.
block_columns <- function(fit, theta, block) {
  t(theta[, parameters_of(fit)$block == block, drop = FALSE])
}
