# Coefficients at the boundary. Membership: where covariates tell components apart without error the
# likelihood rises to a limit as coefficients grow, which is the estimate.
#
# Regressions of counts and shares: a component whose mean is 0 (or a probability 0 or
# 1) in rows that its coefficients fit without error. The likelihood is bounded there, and its limit
# is the estimate; the coefficients that lead to it are infinite. C holds a point so far out that no
# digit tells it from the limit, and says which components have such coefficients.
#
#   theta_of(result, ...)         theta as it is reported: coefficients -Inf or Inf, or NA where the
#                                 rows of the component say nothing of them
#   finite_coefficients(fit)      those to compute with, k x columns of X
#   finite_membership(fit)        the same, k x columns of W, the first row zero
#   limit_membership(B, W)        coefficients as they are reported, of finite ones
#   snap_means(fit, mean)         means, exactly 0 (or 1) where they are so in the limit
#   limit_words(fit)              the sentences of print()

# `result` is what C found for the model, see mixture_model().
theta_of <- function(result, model, latent) {
  theta <- result$theta
  part <- model$parts$regression
  held <- held_components(result$state)
  if (any(held)) {
    # The weights come first, and these families have no sigma.
    rows <- length(theta) - length(result$state$regression$coefficients) +
      seq_along(result$state$regression$coefficients)
    probability <- .Call(C_mixture_evaluate, model, result$state)$probability
    if (!is.null(model$first)) {
      probability <- probability[rep(seq_len(model$n_unit), diff(model$first)), , drop = FALSE]
    }
    beta <- result$state$regression$coefficients
    for (j in which(held)) beta[, j] <- limit_coefficients(part, beta[, j], probability[, j])
    theta[rows] <- beta
  }
  weights <- model$parts$weights
  if (!is.null(weights$W) && model$k > 1 && is.infinite(weights$coefficient_sd)) {
    coefficient <- result$state$weights$coefficient
    own <- seq_len(length(coefficient) - nrow(coefficient))
    theta[own] <- limit_membership(coefficient, weights$W)
  }
  theta[!latent]
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

held_components <- function(state) {
  boundary <- state$regression$boundary
  if (is.null(boundary)) FALSE else colSums(boundary) > 0
}

# Rows at the limit say nothing of coefficients. The others identify what lies in the space of their
# rows; along what is left rows are taken out, and a coefficient without which they can be is not
# identified.
limit_coefficients <- function(part, beta, probability) {
  X <- part$X
  offset <- if (is.null(part$offset)) 0 else part$offset
  eta <- drop(X %*% beta) + offset
  seen <- probability > 1e-8
  out <- if (part$family == 1L) abs(eta) > beyond_digits else eta < -beyond_digits
  limit_along(beta, X[seen & !out, , drop = FALSE],
              X[seen & out, , drop = FALSE] * sign(eta[seen & out]))
}

# `staying` rows are moved by coefficients, `leaving` rows are taken out where the coefficients
# along them grow.
limit_along <- function(beta, staying, leaving) {
  free <- null_space(staying)
  moved <- sqrt(rowSums(free^2)) > 1e-7
  infinite <- sign(beta) * Inf
  for (b in which(moved)) beta[b] <- if (leaves_without(leaving, free, b)) NA else infinite[b]
  beta
}

beyond_digits <- 35 # exp(-35) is below the rounding of one

# Columns: orthonormal directions that move no row of X.
null_space <- function(X) {
  p <- ncol(X)
  if (nrow(X) == 0) return(diag(p))
  size <- sqrt(colSums(X^2))
  size[size == 0] <- 1
  spectrum <- eigen(crossprod(X / rep(size, each = nrow(X))), symmetric = TRUE)
  free <- spectrum$vectors[, spectrum$values <= 1e-10 * max(spectrum$values), drop = FALSE] / size
  free / rep(sqrt(colSums(free^2)), each = p)
}

# Whether a direction of `free` with nothing in coefficient b takes all rows out: sought as the
# least squares fit of 1.
leaves_without <- function(leaving, free, b) {
  rest <- null_space(free[b, , drop = FALSE])
  if (ncol(rest) == 0 || nrow(leaving) == 0) return(FALSE)
  along <- leaving %*% (free %*% rest)
  fit <- qr.fitted(qr(along), rep(1, nrow(along)))
  all(fit > 1e-6)
}

finite_coefficients <- function(fit) {
  beta <- component_values(fit, "beta")
  lost <- !is.finite(beta)
  if (any(lost)) beta[lost] <- t(fit$state$regression$coefficients)[lost]
  beta
}

finite_membership <- function(fit) {
  coefficients <- rbind(0, component_values(fit, "membership"))
  lost <- !is.finite(coefficients)
  if (any(lost)) coefficients[lost] <- t(fit$state$weights$coefficient)[lost]
  coefficients
}

snap_means <- function(fit, mean) {
  least <- exp(-beyond_digits)
  for (j in which(held_components(fit$state))) {
    mean[which(mean[, j] < least), j] <- 0
    if (fit$family$family == "binomial") mean[which(mean[, j] > 1 - least), j] <- 1
  }
  mean
}

limit_words <- function(fit) {
  c(membership_sentence(fit),
    unlist(lapply(which(held_components(fit$state)), function(j) limit_sentence(fit, j))))
}

membership_sentence <- function(fit) {
  own <- fit$parameters$block == "membership"
  value <- as.vector(fit$theta)[own]
  if (all(is.finite(value))) return()
  lost <- fit$parameters$name[own][is.na(value)]
  c(paste("The covariates of `membership` tell components apart without error: coefficients are",
          "on the boundary, where the likelihood is bounded and the fit complete. A prior keeps",
          "them finite, as priors(membership = normal(0, 10))."),
    if (length(lost) > 0) {
      sprintf("Not identified, since that is so whatever their value: %s.", enumerate(lost, 6))
    })
}

limit_sentence <- function(fit, j) {
  own <- fit$parameters$block == "beta" & fit$parameters$component == j
  own[is.na(own)] <- FALSE
  names <- fit$parameters$name[own]
  value <- as.vector(fit$theta)[own]
  probability <- unit_probability(fit)[unit_of_row(fit$design), j]
  mean <- component_means(fit, fit$design)[, j]
  ends <- intersect(if (fit$family$family == "poisson") 0 else 0:1, mean[probability > 1e-8])
  all <- all(mean[probability > 1e-8] %in% ends)
  what <- if (fit$family$family == "poisson") "mean" else "probability"
  c(sprintf("Component %d has %s %s%s: on the boundary, where the likelihood is bounded%s.", j,
            what,
            paste(ends, collapse = " or "), if (all) "" else " in a part of its rows",
            " and the fit complete"),
    if (anyNA(value)) {
      sprintf("Not identified, since that is so whatever their value: %s.",
              enumerate(names[is.na(value)], 6))
    })
}
