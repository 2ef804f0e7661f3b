# What a student's q means, and integrals over it.
#
#   read_law(q)                      a "law" to integrate over, or what is wrong with q
#   expected_joint(law, theta, ...)  E_q[log p], by unit
#   negative_entropy_units(law)      E_q[log q], by unit
#   exact_posterior(law, theta, ...) log evidence by unit, and the posterior's moments

# ---- what q means ------------------------------------------------------------------------

# A law: list(n, kind, ...) with, for "discrete", probability (n x K); for continuous ones d,
# nodes (J x d) and weights for N(0, I), and at(x), which takes x ~ N(0, I) (n x d) to
# list(z, log_q): coordinates in which q is standard normal. Or list(problem).
read_law <- function(q) {
  has <- function(type, ...) is.list(q) && all(vapply(list(...), function(x) type(q[[x]]), NA))
  if (is.matrix(q) && is.numeric(q)) return(discrete_law(q))
  if (has(is.function, "quantile", "log_density")) return(quantile_law(q))
  if (has(is.numeric, "mean", "sd")) return(normal_law(q$mean, q$sd))
  if (has(is.numeric, "mean", "cov")) return(joint_normal_law(q$mean, q$cov))
  list(problem = paste(
    "It must return q as a matrix of probabilities, list(mean, sd), list(mean, cov) or",
    sprintf("list(quantile, log_density), not %s.", describe_returned(q))
  ))
}

discrete_law <- function(q) {
  if (!all(is.finite(q))) {
    return(list(problem = "Some of its probabilities are missing or infinite."))
  }
  if (any(q < 0)) {
    return(list(problem = paste0("It returned a negative probability, ", signif_text(min(q), 3),
                                 ".")))
  }
  wrong <- which(abs(rowSums(q) - 1) > 1e-8)
  if (length(wrong) > 0) {
    turned <- ncol(q) != nrow(q) && all(abs(colSums(q) - 1) < 1e-8)
    return(list(problem = paste(
      sprintf("The probabilities of unit %d sum to %s, not to 1.", wrong[1],
              format(sum(q[wrong[1], ]), digits = 4)),
      if (turned) "The matrix seems to be turned: it needs a row for each unit."
      else if (length(wrong) > 1) sprintf("So do those of %d more.", length(wrong) - 1)
    )))
  }
  list(kind = "discrete", n = nrow(q), probability = q)
}

normal_law <- function(mean, sd) {
  mean <- as.vector(mean)
  if (length(sd) == 1) sd <- rep(sd, length(mean))
  if (length(sd) != length(mean)) {
    return(list(problem = sprintf("Its mean has %d values and its sd %d; each unit has one.",
                                  length(mean), length(sd))))
  }
  if (!all(is.finite(mean), is.finite(sd))) {
    return(list(problem = "Some of its means or sds are missing or infinite."))
  }
  if (any(sd <= 0)) return(list(problem = not_a_law(which(sd <= 0)[1], min(sd))))
  continuous_law("normal", length(mean), 1, function(x) {
    list(z = mean + sd * x[, 1], log_q = stats::dnorm(x[, 1], log = TRUE) - log(sd))
  })
}

not_a_law <- function(unit, sd) {
  if (sd < 0) return(sprintf("The sd of unit %d is negative.", unit))
  sprintf(paste("The sd of unit %d is 0: a point, whose entropy is not defined, where the E-step",
                "has to return the law p(z | y, theta)."), unit)
}

joint_normal_law <- function(mean, cov) {
  mean <- as.matrix(mean)
  n <- nrow(mean)
  d <- ncol(mean)
  if (!identical(as.integer(dim(cov)), c(d, d, n))) {
    return(list(problem = sprintf("Its cov must be a %d x %d x %d array, as mean is %d x %d.",
                                  d, d, n, n, d)))
  }
  if (d > 4) return(list(problem = "It has more than 4 latent variables in each unit."))
  if (!all(is.finite(mean), is.finite(cov))) {
    return(list(problem = "Some of its means or covariances are missing or infinite."))
  }
  roots <- array(0, dim(cov))
  for (i in seq_len(n)) {
    root <- try(t(chol(matrix(cov[, , i], d))), silent = TRUE)
    if (inherits(root, "try-error")) {
      return(list(problem = sprintf("The covariance of unit %d is not positive definite.", i)))
    }
    roots[, , i] <- root
  }
  log_det <- vapply(seq_len(n), function(i) sum(log(diag(matrix(roots[, , i], d)))), 0)
  continuous_law("normal", n, d, function(x) {
    list(z = mean + multiply_units(roots, x),
         log_q = rowSums(stats::dnorm(x, log = TRUE)) - log_det)
  })
}

quantile_law <- function(q) {
  middle <- attempt(q$quantile(0.5))
  n <- length(middle$value)
  probe <- attempt(q$log_density(q$quantile(rep(0.5, n))))
  if (!is.numeric(middle$value) || !is.numeric(probe$value) || length(probe$value) != n ||
      !all(is.finite(middle$value), is.finite(probe$value))) {
    return(list(problem = paste("Its quantile(p) and log_density(z) must return a finite number",
                                "for each unit.")))
  }
  continuous_law("quantile", n, 1, function(x) {
    z <- q$quantile(stats::pnorm(x[, 1]))
    list(z = z, log_q = q$log_density(z))
  })
}

continuous_law <- function(kind, n, d, at) {
  rule <- hermite_rule(c(20, 12, 8, 6)[d])
  grid <- as.matrix(expand.grid(rep(list(seq_along(rule$x)), d)))
  list(kind = kind, n = n, d = d, at = at, nodes = matrix(rule$x[grid], ncol = d),
       weights = apply(matrix(rule$weight[grid], ncol = d), 1, prod))
}

# Gauss-Hermite quadrature for the standard normal law (Golub and Welsch 1969).
hermite_rule <- function(n) {
  off <- sqrt(seq_len(n - 1))
  jacobi <- matrix(0, n, n)
  jacobi[cbind(seq_len(n - 1), seq_len(n - 1) + 1)] <- off
  spectrum <- eigen(jacobi + t(jacobi), symmetric = TRUE)
  list(x = spectrum$values, weight = spectrum$vectors[1, ]^2)
}

# (A_i x_i)' for each unit i: A is d x d x n, x is n x d.
multiply_units <- function(A, x) {
  d <- ncol(x)
  A <- matrix(A, nrow(x), d * d, byrow = TRUE)
  columns_of(d, nrow(x), function(j) rowSums(A[, j + d * (seq_len(d) - 1), drop = FALSE] * x))
}

# A matrix of k columns of n values; vapply() would make a vector of a single row.
columns_of <- function(k, n, column) matrix(vapply(seq_len(k), column, numeric(n)), n, k)

same_for_all <- function(law, node) matrix(node, law$n, law$d, byrow = TRUE)

# Values of z at which a log joint density is tried: all of a discrete one; middle and far points.
law_points <- function(law) {
  if (law$kind == "discrete") {
    return(lapply(seq_len(ncol(law$probability)), function(k) rep(k, law$n)))
  }
  lapply(c(0, -1, 1) * max(abs(law$nodes)), function(x) law$at(matrix(x, law$n, law$d))$z)
}

# Where q cannot be read, values of the shape that it seems to have.
shape_points <- function(q, n) {
  if (is.matrix(q)) return(lapply(seq_len(ncol(q)), function(k) rep(k, nrow(q))))
  if (is.list(q) && is.numeric(q$mean)) return(list(numeric(length(q$mean))))
  list(rep(1, n))
}

point_words <- function(law, z) {
  if (law$kind == "discrete") return(sprintf("z = %d", z[1]))
  paste("z =", enumerate(signif_text(as.matrix(z)[1, ], 3), 4))
}

# A value of z for each unit, in the middle of q.
law_point <- function(law) {
  if (law$kind == "discrete") return(max.col(law$probability, "first"))
  law$at(matrix(0, law$n, law$d))$z
}

# ---- expectations ------------------------------------------------------------------------

# log p(y, z | theta) at each value of a discrete z, n x K.
joint_table <- function(law, theta, joint) {
  columns_of(ncol(law$probability), law$n, function(k) joint(theta, rep(k, law$n)))
}

weighted <- function(weight, value) ifelse(weight == 0, 0, weight * value)

expected_joint <- function(law, theta, joint) {
  if (law$kind == "discrete") {
    return(rowSums(weighted(law$probability, joint_table(law, theta, joint))))
  }
  over_nodes(law, function(point) joint(theta, point$z))
}

negative_entropy_units <- function(law) {
  if (law$kind == "discrete") return(rowSums(weighted(law$probability, log(law$probability))))
  over_nodes(law, function(point) point$log_q)
}

over_nodes <- function(law, g) {
  total <- numeric(law$n)
  for (j in seq_along(law$weights)) {
    total <- total + law$weights[j] * g(law$at(same_for_all(law, law$nodes[j, ])))
  }
  total
}

log_sum_exp <- function(x) {
  top <- apply(x, 1, max)
  top <- ifelse(is.finite(top), top, 0)
  top + log(rowSums(exp(x - top)))
}

# ---- the exact posterior -----------------------------------------------------------------

# log p(y_n | theta), and the moments of p(z_n | y_n, theta) (first coordinate), by unit.
exact_posterior <- function(law, theta, joint) {
  if (law$kind == "discrete") {
    table <- joint_table(law, theta, joint)
    log_evidence <- log_sum_exp(table)
    return(list(log_evidence = log_evidence, probability = exp(table - log_evidence)))
  }
  # In coordinates x in which q is N(0, I), the density of (y, x).
  log_density <- function(x) {
    point <- law$at(x)
    value <- joint(theta, point$z) - point$log_q + rowSums(stats::dnorm(x, log = TRUE))
    ifelse(is.finite(value), value, -Inf)
  }
  peak <- find_peaks(log_density, law$n, law$d)
  log_root <- vapply(seq_len(law$n), function(i) log_det(matrix(peak$root[, , i], law$d)), 0)
  terms <- first <- matrix(0, law$n, length(law$weights))
  for (j in seq_along(law$weights)) {
    x <- peak$centre + multiply_units(peak$root, same_for_all(law, law$nodes[j, ]))
    terms[, j] <- log(law$weights[j]) + log_density(x) + log_root -
      sum(stats::dnorm(law$nodes[j, ], log = TRUE))
    first[, j] <- as.matrix(law$at(x)$z)[, 1]
  }
  log_evidence <- log_sum_exp(terms)
  weight <- exp(terms - log_evidence)
  mean <- rowSums(weighted(weight, first))
  list(log_evidence = log_evidence, mean = mean,
       sd = sqrt(rowSums(weighted(weight, (first - mean)^2))))
}

# Mode and scale of a log density of each unit, near enough for quadrature: Newton's method with
# differences over half a standard deviation. log f(centre + root u) becomes near -u'u / 2.
find_peaks <- function(log_density, n, d) {
  centre <- matrix(0, n, d)
  root <- array(diag(d), c(d, d, n))
  reach <- 0.5
  at <- function(u) log_density(centre + multiply_units(root, matrix(u, n, d, byrow = TRUE)))
  unit <- diag(reach, d)
  for (round in 1:40) {
    middle <- at(numeric(d))
    up <- columns_of(d, n, function(j) at(unit[j, ]))
    down <- columns_of(d, n, function(j) at(-unit[j, ]))
    gradient <- (up - down) / (2 * reach)
    hessian <- array(0, c(d, d, n))
    for (j in seq_len(d)) {
      hessian[j, j, ] <- (up[, j] - 2 * middle + down[, j]) / reach^2
      for (k in seq_len(j - 1)) {
        both <- at(unit[j, ] + unit[k, ])
        hessian[j, k, ] <- hessian[k, j, ] <- (both - up[, j] - up[, k] + middle) / reach^2
      }
    }
    moved <- 0
    for (i in seq_len(n)) {
      step <- newton_step(gradient[i, ], matrix(hessian[, , i], d))
      root_i <- matrix(root[, , i], d)
      centre[i, ] <- centre[i, ] + root_i %*% step$move
      root[, , i] <- root_i %*% step$root
      moved <- max(moved, abs(step$move), abs(step$root - diag(d)))
    }
    if (moved < 0.05) break
  }
  list(centre = centre, root = root)
}

# Where the density is too flat to tell, look further; where it ends, look nearer.
newton_step <- function(gradient, hessian) {
  d <- length(gradient)
  if (!all(is.finite(gradient), is.finite(hessian))) {
    return(list(move = numeric(d), root = diag(0.5, d)))
  }
  inverse <- try(chol2inv(chol(-hessian)), silent = TRUE)
  if (inherits(inverse, "try-error") || any(diag(inverse) > 100)) {
    return(list(move = 2 * gradient / max(1, abs(gradient)), root = diag(2, d)))
  }
  move <- as.vector(inverse %*% gradient)
  list(move = move * min(1, 3 / sqrt(sum(move^2))), root = t(chol(inverse)))
}
