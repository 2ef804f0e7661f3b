# The law of z in a mixture: weights, or membership, a multinomial regression on covariates of the
# units. It is the first part of all mixtures. Where covariates tell components apart without error
# the likelihood rises to a limit as coefficients grow, which is the estimate.
#
#   component_weights(fit, W)     rows of W (or one row) x k: P(component) before the response
#   finite_membership(fit)        coefficients to compute with, k x columns of W, the first row zero
#   limit_membership(B, W)        these as they are reported, of finite ones

weights_part <- function(design, k, told) {
  alpha <- told$alpha
  if (told$law == "dirichlet") alpha <- rep(alpha, k)
  list(W = design$W, n_w = if (is.null(design$W)) 0L else ncol(design$W),
       constant = if (told$equal || k == 1) rep(1 / k, k), # a weight of one is no parameter
       law = match(told$law, c("flat", "dirichlet", "stick_breaking")) - 1L,
       alpha = alpha, coefficient_sd = told$coefficient_sd)
}

weight_parameters <- function(design, k, told) {
  if (is.null(design$W)) {
    return(parameter_rows("weight", component = seq_len(k), fixed = told$equal || k == 1))
  }
  of_components(parameter_rows("membership", colnames(design$W)), seq_len(k)[-1])
}

weights_df <- function(design, k, told) {
  if (!is.null(design$W)) return((k - 1) * ncol(design$W))
  if (told$equal) 0 else k - 1
}

weight_slots <- function(design) {
  name <- if (is.null(design$W)) "weight" else "membership"
  data.frame(name = name, block = name)
}

told_weights <- function(prior, k) {
  told <- list(law = "flat", alpha = NULL, equal = FALSE, coefficient_sd = Inf)
  par <- prior$parameters
  switch(if (is.null(prior)) "flat" else prior$distribution,
    constant = {
      if (abs(par$value * k - 1) > 1e-6) {
        abort(sprintf("Weights can be held equal, at constant(1/k), here 1/%d, not at %s.", k,
                      format(par$value)), "elbo_error_prior")
      }
      told$equal <- TRUE
    },
    dirichlet = {
      told$law <- "dirichlet"
      told$alpha <- same_alpha(par$alpha, "weight", k)
    },
    stick_breaking = {
      told$law <- "stick_breaking"
      told$alpha <- par$alpha
    },
    normal = {
      if (par$mean != 0) {
        abort("Membership coefficients take normal(0, sd) only: components have no order.",
              "elbo_error_prior")
      }
      told$coefficient_sd <- par$sd
    }
  )
  told
}

default_weights <- function(design, k) {
  if (is.null(design$W)) return(distributions$dirichlet(1 / k))
  W <- design$W
  sd <- apply(W[, -1, drop = FALSE], 2, stats::sd)
  distributions$normal(0, signif(10 / min(1, sd[sd > 0]), 3))
}

# Whether components may be swapped without a change of the posterior.
exchangeable <- function(fit) {
  is.null(design_of(fit)$W) && priors_of(fit)$told$weights$law != "stick_breaking"
}

# The way out -----------------------------------------------------------------------------------

component_weights <- function(fit, W = NULL) {
  if (is.null(W)) {
    weight <- theta(fit)[parameters_of(fit)$block == "weight"]
    return(matrix(weight, 1, n_components(fit), dimnames = list(NULL, component_labels(fit))))
  }
  if (n_components(fit) == 1) return(matrix(1, nrow(W), 1, dimnames = list(rownames(W), "1")))
  # The first component is the baseline.
  softmax(W %*% t(finite_membership(fit)), component_labels(fit))
}

softmax <- function(eta, labels) {
  out <- exp(eta - apply(eta, 1, max))
  out <- out / rowSums(out)
  dimnames(out) <- list(rownames(eta), labels)
  out
}

# Of the units of the fit, n_unit x k.
unit_weights <- function(fit, design = design_of(fit)) {
  weights <- component_weights(fit, design$W)
  weights[rep_len(seq_len(nrow(weights)), design$n_unit), , drop = FALSE]
}

weights_state <- function(fit, state) {
  if (is.null(design_of(fit)$W)) return(list(weight = as.vector(component_weights(fit))))
  if (n_components(fit) == 1) return(list(coefficient = matrix(0, ncol(design_of(fit)$W), 1)))
  list(coefficient = t(unname(finite_membership(fit))))
}

finite_membership <- function(fit) {
  coefficients <- rbind(0, component_values(fit, "membership"))
  lost <- !is.finite(coefficients)
  if (any(lost)) coefficients[lost] <- t(state_of(fit)$weights$coefficient)[lost]
  coefficients
}

limit_weights <- function(theta, model, result) {
  weights <- model$parts$weights
  if (!is.null(weights$W) && model$k > 1 && is.infinite(weights$coefficient_sd)) {
    coefficient <- result$state$weights$coefficient
    own <- seq_len(length(coefficient) - nrow(coefficient))
    theta[own] <- limit_membership(coefficient, weights$W)
  }
  theta
}

# B: columns of W x k, relative to the first. A unit whose best component is beyond digits from
# another says nothing of the difference of their coefficients.
limit_membership <- function(B, W) {
  B <- B - B[, 1]
  eta <- W %*% B
  best <- max.col(eta, "first")
  gap <- eta[cbind(seq_along(best), best)] - eta
  if (!any(gap > beyond_digits)) return(B[, -1, drop = FALSE])
  pairs <- which(col(gap) != best, arr.ind = TRUE)
  pairs <- unname(pairs[!duplicated(cbind(W[pairs[, 1], , drop = FALSE], best[pairs[, 1]],
                                          pairs[, 2])), ,
                        drop = FALSE])
  slope <- indicators(best[pairs[, 1]], ncol(B)) - indicators(pairs[, 2], ncol(B))
  X <- do.call(cbind, lapply(seq_len(ncol(B))[-1], function(j) {
    slope[, j] * W[pairs[, 1], , drop = FALSE]
  }))
  out <- gap[pairs] > beyond_digits
  limit <- limit_along(as.vector(B[, -1]), X[!out, , drop = FALSE], X[out, , drop = FALSE])
  matrix(limit, nrow(B))
}

indicators <- function(j, k) outer(j, seq_len(k), `==`) + 0

membership_sentence <- function(fit) {
  own <- parameters_of(fit)$block == "membership"
  value <- as.vector(theta(fit))[own]
  if (all(is.finite(value))) return()
  lost <- parameters_of(fit)$name[own][is.na(value)]
  c(paste("The covariates of `membership` tell components apart without error: coefficients are",
          "on the boundary, where the likelihood is bounded and the fit complete. A prior keeps",
          "them finite, as priors(membership = normal(0, 10))."),
    if (length(lost) > 0) {
      sprintf("Not identified, since that is so whatever their value: %s.", enumerate(lost, 6))
    })
}

# Of labels that are known: multinomial, or a multinomial regression, and their priors.
weights_information <- function(fit) {
  told <- priors_of(fit)$told$weights
  W <- design_of(fit)$W
  if (is.null(W)) {
    weight <- as.vector(component_weights(fit))
    pseudo <- if (is.null(told$alpha)) 0 else n_components(fit) * (told$alpha - 1)
    V <- (diag(weight, n_components(fit)) - outer(weight, weight)) / (nobs(fit) + pseudo)
    return(list(eta_cov = if (told$equal) 0 * V else V, jacobian = diag(n_components(fit))))
  }
  if (n_components(fit) == 1) return(list(eta_cov = matrix(0, 0, 0), jacobian = matrix(0, 0, 0)))
  weights <- unit_weights(fit)[, -1, drop = FALSE]
  columns <- seq_len(n_components(fit) - 1)
  information <- lapply(columns, function(a) {
    do.call(cbind, lapply(columns, function(b) {
      variance <- weights[, a] * ((a == b) - weights[, b])
      crossprod(W, unit_freq(fit) * variance * W)
    }))
  })
  information <- do.call(rbind, information)
  n <- nrow(information)
  list(eta_cov = invert_information(information + diag(1 / told$coefficient_sd^2, n)),
       jacobian = diag(n))
}

# Variational Bayes -----------------------------------------------------------------------------

# Sticks are broken in order, so that no two labellings are alike.
log_equal_modes <- function(size, k, priors) {
  if (priors$told$weights$law == "stick_breaking") return(0)
  occupied <- sum(size > 0.5)
  lgamma(k + 1) - lgamma(k - occupied + 1)
}

weight_factors <- function(fit) {
  state <- state_of(fit)$weights
  if (!is.null(state$alpha)) {
    alpha <- stats::setNames(as.vector(state$alpha), component_labels(fit))
    return(list(weights = list(family = "Dirichlet", alpha = alpha)))
  }
  if (!is.null(state$stick)) {
    shape <- matrix(state$stick, 2)
    return(list(weights = list(family = "stick-breaking", shape1 = shape[1, ], shape2 = shape[2, ],
                               order = order(state$position))))
  }
  if (is.null(state$mean)) return(list()) # held
  terms <- parameters_of(fit)$name[parameters_of(fit)$block == "membership"]
  mean <- as.vector(state$mean[, -1])
  list(membership = list(family = "normal", mean = stats::setNames(mean, terms),
                         cov = membership_covariance(fit), dimension = length(mean)))
}

# b = mean + root' z, z standard normal.
membership_covariance <- function(fit) {
  root <- state_of(fit)$weights$root
  root <- matrix(root, dim(root)[1])
  free <- -seq_len(ncol(design_of(fit)$W)) # the first component's are zero
  crossprod(root[, free, drop = FALSE])
}

weight_blocks <- function(fit) {
  f <- weight_factors(fit)
  if (length(f) == 0) return(list())
  f <- f[[1]]
  cov <- switch(f$family, Dirichlet = dirichlet_covariance(f$alpha),
                `stick-breaking` = stick_covariance(f), normal = f$cov)
  list(list(rows = which_parameters(fit, c("weight", "membership")), cov = cov))
}

dirichlet_covariance <- function(alpha) {
  mean <- unname(alpha) / sum(alpha)
  (diag(mean, length(mean)) - outer(mean, mean)) / (sum(alpha) + 1)
}

# Weights are products of independent v and 1 - v: E[w_s w_t] from the moments of each stick.
stick_covariance <- function(f) {
  k <- length(f$order)
  total <- f$shape1 + f$shape2
  v <- f$shape1 / total
  v2 <- v * (f$shape1 + 1) / (total + 1) # E[v^2]
  u2 <- 1 - 2 * v + v2                   # E[(1 - v)^2]
  v <- c(v, 1)                           # the last stick is what is left
  v2 <- c(v2, 1)
  left <- cumprod(c(1, 1 - v[-k]))
  left2 <- cumprod(c(1, u2))
  second <- diag(v2 * left2, k)
  for (s in seq_len(k - 1)) {
    for (t in (s + 1):k) {
      between <- seq_len(t - s - 1) + s
      second[s, t] <- second[t, s] <-
        left2[s] * (v[s] - v2[s]) * prod(1 - v[between]) * v[t]
    }
  }
  cov <- second - outer(v * left, v * left)
  out <- cov
  out[f$order, f$order] <- cov
  out
}

# E_q[(1 - pi_j)^n] of each component; NULL where weights have covariates or are held.
empty_in_new_sample <- function(q, n) {
  if (is.null(q)) return(NULL)
  if (q$family == "Dirichlet") {
    others <- sum(q$alpha) - q$alpha
    return(exp(lbeta(q$alpha, others + n) - lbeta(q$alpha, others)))
  }
  v <- stick_points(q$shape1, q$shape2)
  left <- rep(1, nrow(v))
  empty <- numeric(ncol(v) + 1)
  for (s in seq_along(empty)) {
    broken <- if (s <= ncol(v)) v[, s] else 1
    empty[s] <- mean((1 - left * broken)^n)
    left <- left * (1 - broken)
  }
  empty
}

# Independent beta variables at the evenly spread points of Richtmyer's sequence (multiples of
# roots of primes), so that means over them are smooth functions of the shapes, without chance.
stick_points <- function(shape1, shape2, points = 1000) {
  primes <- Filter(function(x) all(x %% seq_len(sqrt(x))[-1] != 0), 2:(10 + length(shape1)^2))
  root <- sqrt(primes[seq_along(shape1)])
  u <- (outer(seq_len(points) - 0.5, root)) %% 1
  vapply(seq_along(shape1), function(s) stats::qbeta(u[, s], shape1[s], shape2[s]), numeric(points))
}

weight_columns <- function(fit, theta) {
  if (is.null(design_of(fit)$W)) return(list(weight = block_columns(fit, theta, "weight")))
  list(coefficient = rbind(matrix(0, ncol(design_of(fit)$W), nrow(theta)),
                           block_columns(fit, theta, "membership")))
}

weight_pieces <- function(fit) {
  told <- priors_of(fit)$told$weights
  k <- n_components(fit)
  if (!is.null(design_of(fit)$W)) {
    columns <- which_parameters(fit, "membership")
    if (length(columns) == 0) return(NULL)
    names <- parameters_of(fit)$name[columns]
    return(list(normal_piece(columns, NA, names, 0, told$coefficient_sd)))
  }
  if (k == 1 || told$equal) return(list())
  position <- state_of(fit)$weights$position
  law <- if (told$law == "stick_breaking") log_sticks(told$alpha, order(position))
         else log_dirichlet(told$alpha, k)
  list(share_piece(which_parameters(fit, "weight"), seq_len(k - 1), rep("weight", k - 1), law))
}

# Sticks are beta(1, alpha) parts of what those before leave.
log_sticks <- function(alpha, order) {
  function(log_share) {
    left <- numeric(nrow(log_share)) # its logarithm
    out <- 0
    for (j in order[-length(order)]) {
      v <- exp(log_share[, j] - left)
      out <- out + log(alpha) + (alpha - 1) * log1p(-pmin(v, 1)) - left
      left <- left + log1p(-pmin(v, 1))
    }
    out
  }
}
