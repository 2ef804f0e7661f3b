# Marks an EM algorithm that somebody else wrote: is q the exact posterior after the E-step, and
# does theta maximise the expected log joint density after the M-step? The two questions are
# asked apart, of the objective that both steps climb (Neal and Hinton 1998),
#
#   f(theta, q) = E_q[log p(y, z | theta)] - E_q[log q(z)]
#               = log p(y | theta) - KL(q || p(z | y, theta)).
#
#   check_em()                       exported; the verdict, of class "elbo_em_check"
#   read_law(q)                      what the student's q means: a "law" to integrate over
#   expected_joint(law, theta, ...)  E_q[log p], by unit
#   negative_entropy_units(law)      E_q[log q], by unit
#   exact_posterior(law, theta, ...) log evidence by unit, and the posterior's moments
#   mstep_gain(...)                  how much a better theta would add

#' Check an EM algorithm
#'
#' Runs an E-step and an M-step and says which of them is wrong, from which iteration on, and by
#' how much: for one's own algorithm, or to mark a student's.
#'
#' @param estep a function of `theta` and `data` that returns q, the law of the latent variables
#'   given the observations. The units (rows, pairs, patients) are independent under q. Either
#'   * a matrix of probabilities, a row for each unit and a column for each of the values 1, ...,
#'     K of its latent variable;
#'   * `list(mean, sd)`, vectors with an entry for each unit: a normal law;
#'   * `list(mean, cov)`, a matrix (units x d) and an array (d x d x units): a normal law of d
#'     latent variables, at most 4, in each unit; or
#'   * `list(quantile, log_density)`, two functions: any other continuous law of one latent
#'     variable. `quantile(p)` gives for a vector of probabilities, one for each unit, the
#'     quantiles, `log_density(z)` the log densities: `function(p) qgamma(p, a, b)` and
#'     `function(z) dgamma(z, a, b, log = TRUE)`.
#'
#'   A list may have more elements, for the use of `mstep`.
#' @param mstep a function of q, as `estep` returned it, and `data` that returns the new `theta`.
#' @param log_joint the model: a function of `theta`, `z` and `data` that returns
#'   \eqn{\log p(y_n, z_n | \theta)}{log p(y_n, z_n | theta)} for each unit n, a vector. `z`
#'   holds a value for each unit (a whole number of 1 to K when q is a matrix of probabilities),
#'   or is a matrix (units x d). It is taken to be right.
#' @param start a first `theta`: a numeric vector, or a list of numeric vectors and matrices.
#' @param data whatever the three functions need.
#' @param max_iter iterations to follow, at most; fewer when the algorithm has converged.
#' @param tol differences up to this many units of log-likelihood count as rounding.
#' @details
#' The E-step is right if q is the posterior \eqn{p(z | y, \theta)}{p(z | y, theta)}: if
#' \eqn{KL(q \| p(z | y, \theta))}{KL(q || p(z | y, theta))}, the log evidence less the ELBO, is
#' zero. Discrete latent variables are summed over; continuous ones are integrated by
#' Gauss-Hermite quadrature, for the evidence adaptive around the mode of each unit.
#'
#' The M-step is right if \eqn{E_q[\log p(y, z | \theta)]}{E_q[log p(y, z | theta)]}, with the
#' student's q, is not less at the new theta than at the old one, and cannot be raised by a
#' numerical optimiser that starts there. So an M-step is judged by the q that it was given, and
#' is not blamed for a wrong one. A step that goes up, but not to the maximum, is reported too
#' (it is a generalised EM, which still climbs).
#'
#' Neighbouring entries of `theta` that sum to one before and after the M-step are taken for
#' probabilities, and symmetric matrices in a list for symmetric: they stay so while a better
#' theta is sought.
#' @return A list of class `elbo_em_check`:
#' \describe{
#'   \item{`ok`}{`TRUE` if both steps are right.}
#'   \item{`fault`}{`"none"`, `"E"`, `"M"` or `"both"`.}
#'   \item{`e_step`, `m_step`}{each a list of `ok`; `iteration`, the first in which it was wrong,
#'     or `NA`; `kind`: `"right"`, `"not_posterior"` (E), `"falls"`, `"not_maximal"` (M),
#'     `"invalid"` (it failed, or what it returned cannot be used), or `"not_run"`; `amount`: the
#'     KL divergence (E) or what is still to gain (M), in log-likelihood; `message`, in words.}
#'   \item{`fall`}{`NULL`, or a list of `iteration`, `step` (`"E"` or `"M"`), `amount`: where the
#'     objective fell first.}
#'   \item{`trace`}{a data frame, a row for each half-step: `iteration`, `step`, `elbo`,
#'     `log_evidence`, `kl`.}
#'   \item{`theta`}{the last one.}
#'   \item{`converged`}{whether the ELBO had stopped to change.}
#'   \item{`iterations`, `units`, `tol`}{numbers.}
#' }
#' `print()` says it in words.
#' @references
#' Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete data
#' via the EM algorithm. *Journal of the Royal Statistical Society B* 39, 1--38.
#' \doi{10.1111/j.2517-6161.1977.tb01600.x}
#'
#' Neal, R. M. and Hinton, G. E. (1998). A view of the EM algorithm that justifies incremental,
#' sparse, and other variants. In *Learning in Graphical Models*, 355--368.
#' \doi{10.1007/978-94-011-5014-9_12}
#' @family teaching
#' @examples
#' # Neyman and Scott's pairs: z_n ~ N(0, 1), and two observations of variance theta around it.
#' set.seed(1)
#' y <- matrix(sim_pairs(100, theta = 1)$y, ncol = 2, byrow = TRUE)
#' estep <- function(theta, y) {
#'   list(mean = rowSums(y) / (2 + theta), sd = rep(sqrt(theta / (2 + theta)), nrow(y)))
#' }
#' mstep <- function(q, y) mean(rowMeans((y - q$mean)^2) + q$sd^2)
#' log_joint <- function(theta, z, y) {
#'   dnorm(z, log = TRUE) + rowSums(dnorm(y, z, sqrt(theta), log = TRUE))
#' }
#' check_em(estep, mstep, log_joint, start = 2, data = y)
#'
#' # The most frequent mistake: the latent variables treated as known.
#' forgetful <- function(q, y) mean((y - q$mean)^2)
#' check_em(estep, forgetful, log_joint, start = 2, data = y)
#' @export
check_em <- function(estep, mstep, log_joint, start, data, max_iter = 50, tol = 1e-6) {
  for (name in c("estep", "mstep", "log_joint")) {
    check(is.function(get(name)), name, "a function", get(name))
  }
  check_theta_start(start)
  max_iter <- check_count(max_iter, "max_iter")
  check_positive(tol, "tol")
  joint <- function(theta, z) suppressWarnings(log_joint(theta, z, data))
  run <- follow_em(function(theta) estep(theta, data), function(q) mstep(q, data), joint,
                   start, max_iter, tol)
  faults <- c(E = isFALSE(run$e_step$ok), M = isFALSE(run$m_step$ok))
  fault <- if (all(faults)) "both" else c(names(which(faults)), "none")[1]
  structure(c(list(ok = !any(faults), fault = fault), run, list(tol = tol)),
            class = "elbo_em_check")
}

check_theta_start <- function(start) {
  parts <- if (is.list(start)) start else list(start)
  numbers <- length(parts) > 0 && all(vapply(parts, is.numeric, NA)) && length(unlist(parts)) > 0
  check(numbers, "start", "a numeric vector, or a list of numeric vectors", start)
  if (!all(is.finite(unlist(parts)))) {
    abort("`start` must be finite; it has missing or infinite values.", "elbo_error_argument")
  }
}

# ---- the run -----------------------------------------------------------------------------

# Follows the algorithm, half-step by half-step, until it has converged or cannot go on.
follow_em <- function(estep, mstep, joint, start, max_iter, tol) {
  state <- list(theta = start, e_step = step_verdict("right"), m_step = step_verdict("right"),
                trace = NULL, units = NA_integer_, stopped = FALSE)
  for (i in seq_len(max_iter)) {
    state <- e_half_step(state, i, estep, joint, tol)
    if (state$stopped) break
    state <- m_half_step(state, i, mstep, joint, start, tol)
    if (state$stopped || em_converged(state$trace, tol)) break
  }
  if (is.null(state$trace)) state$m_step <- step_verdict("not_run", ok = NA)
  c(state[c("e_step", "m_step")], list(fall = first_fall(state$trace, tol)),
    state[c("trace", "theta", "units")],
    list(iterations = i, converged = !state$stopped && em_converged(state$trace, tol)))
}

e_half_step <- function(state, i, estep, joint, tol) {
  answer <- attempt(estep(state$theta))
  law <- if (is.null(answer$problem)) read_law(answer$value) else answer
  if (is.null(law$problem)) law$problem <- check_log_joint(law, state$theta, joint, i == 1)
  if (!is.null(law$problem)) {
    state$e_step <- first_fault(state$e_step, "invalid", i, NA, law$problem)
    state$stopped <- TRUE
    return(state)
  }
  state$q <- answer$value
  state$law <- law
  state$units <- law$n
  posterior <- exact_posterior(law, state$theta, joint)
  elbo <- expected_joint(law, state$theta, joint) - negative_entropy_units(law)
  state$e_step <- judge_estep(state$e_step, i, law, elbo, posterior, tol)
  state$stopped <- !is.finite(sum(elbo))
  record(state, i, "E", sum(elbo), sum(posterior$log_evidence))
}

m_half_step <- function(state, i, mstep, joint, start, tol) {
  law <- state$law
  expected <- function(theta) sum(expected_joint(law, theta, joint))
  answer <- attempt(mstep(state$q))
  problem <- answer$problem
  if (is.null(problem)) problem <- theta_problem(answer$value, start)
  if (is.null(problem) && !is.finite(expected(answer$value))) {
    problem <- sprintf("The expected log joint density is not finite at its theta (%s).",
                       theta_text(answer$value))
  }
  if (!is.null(problem)) {
    state$m_step <- first_fault(state$m_step, "invalid", i, NA, problem)
    state$stopped <- TRUE
    return(state)
  }
  state$m_step <- judge_mstep(state$m_step, i, expected, state$theta, answer$value, tol)
  state$theta <- answer$value
  record(state, i, "M", expected(state$theta) - sum(negative_entropy_units(law)),
         sum(exact_posterior(law, state$theta, joint)$log_evidence))
}

record <- function(state, iteration, step, elbo, log_evidence) {
  row <- data.frame(iteration, step, elbo, log_evidence, kl = log_evidence - elbo)
  state$trace <- rbind(state$trace, row)
  state
}

# The last iteration moved the ELBO by no more than rounding.
em_converged <- function(trace, tol) {
  n <- NROW(trace)
  n > 3 && abs(trace$elbo[n] - trace$elbo[n - 2]) < tol / 100
}

step_verdict <- function(kind, ok = TRUE, iteration = NA_integer_, amount = 0, message = "") {
  list(ok = ok, iteration = iteration, kind = kind, amount = amount, message = message)
}

# A step is reported for the first iteration in which it is wrong.
first_fault <- function(verdict, kind, iteration, amount, message) {
  if (!verdict$ok) return(verdict)
  step_verdict(kind, FALSE, iteration, amount, message)
}

first_fall <- function(trace, tol) {
  k <- which(diff(trace$elbo) < -tol)[1]
  if (length(k) == 0 || is.na(k)) return(NULL)
  list(iteration = trace$iteration[k + 1], step = trace$step[k + 1],
       amount = trace$elbo[k] - trace$elbo[k + 1])
}

attempt <- function(expr) {
  tryCatch(list(value = suppressWarnings(expr)),
           error = function(e) list(problem = paste0("It stopped: ", conditionMessage(e))))
}

# The model is not the student's: what is wrong with it is an error here.
check_log_joint <- function(law, theta, joint, first) {
  value <- joint(theta, law_point(law))
  if (!is.numeric(value) || (length(value) == 1 && law$n > 1)) {
    abort(c(sprintf("`log_joint` must return a number for each of the %d units, not %s.", law$n,
                    describe_value(value)), "Leave out the sum over units."), "elbo_error_argument")
  }
  if (length(value) != law$n) {
    return(sprintf("q has %d units, but with it `log_joint` returns %d values, not one for each.",
                   law$n, length(value)))
  }
  if (first && anyNA(value)) {
    abort(c(sprintf("`log_joint` is not a number at `start` for unit %d.", which(is.na(value))[1]),
            "Start where the model is defined."), "elbo_error_argument")
  }
  NULL
}

theta_problem <- function(theta, start) {
  if (is.list(start)) {
    same <- is.list(theta) && identical(lengths(theta), lengths(start)) &&
      all(vapply(theta, is.numeric, NA))
    if (!same) {
      return(sprintf("It must return, like `start`, %s; it returned %s.",
                     describe_returned(start), describe_returned(theta)))
    }
  } else if (!is.numeric(theta) || length(theta) != length(start)) {
    return(sprintf("It must return %s, like `start`; it returned %s.",
                   count_numbers(length(start)), describe_returned(theta)))
  }
  bad <- which(!is.finite(unlist(theta)))
  if (length(bad) > 0) {
    return(sprintf("It returned a theta that is not finite: %s.", theta_text(theta)))
  }
  NULL
}

count_numbers <- function(n) ifelse(n == 1, "a number", sprintf("%d numbers", n))

describe_returned <- function(x) {
  if (is.numeric(x)) return(count_numbers(length(x)))
  if (!is.list(x) || is.null(names(x))) return(describe_value(x))
  sprintf("a list of %s", enumerate(sprintf("`%s` (%s)", names(x), count_numbers(lengths(x))), 6))
}

theta_names <- function(theta) {
  names <- names(unlist(theta))
  empty <- sprintf("theta[%d]", seq_along(unlist(theta)))
  if (is.null(names)) names <- if (length(empty) == 1) "theta" else empty
  ifelse(nzchar(names), names, empty)
}

theta_text <- function(theta) {
  enumerate(paste(theta_names(theta), "=", signif_text(unlist(theta), 4)), 6)
}

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

# ---- the verdicts ------------------------------------------------------------------------

judge_estep <- function(verdict, i, law, elbo, posterior, tol) {
  kl <- posterior$log_evidence - elbo
  if (sum(kl) <= tol) return(verdict)
  worst <- which.max(kl)
  message <- paste0(
    sprintf("q is not p(z | y, theta): the KL divergence is %s, of which %s in unit %d. ",
            signif_text(sum(kl), 3), signif_text(kl[worst], 3), worst),
    describe_miss(law, posterior, worst)
  )
  first_fault(verdict, "not_posterior", i, sum(kl), message)
}

describe_miss <- function(law, posterior, i) {
  if (law$kind == "discrete") {
    k <- which.max(abs(law$probability[i, ] - posterior$probability[i, ]))
    shown <- signif_text(c(law$probability[i, k], posterior$probability[i, k]), 3)
    return(sprintf("There q gives z = %d the probability %s, the posterior %s.", k, shown[1],
                   shown[2]))
  }
  z <- vapply(seq_along(law$weights), function(j) {
    as.matrix(law$at(same_for_all(law, law$nodes[j, ]))$z)[i, 1]
  }, 0)
  mean <- sum(law$weights * z)
  sd <- sqrt(sum(law$weights * (z - mean)^2))
  sprintf("There q has mean %s and sd %s, the posterior mean %s and sd %s.", signif_text(mean, 3),
          signif_text(sd, 3), signif_text(posterior$mean[i], 3), signif_text(posterior$sd[i], 3))
}

judge_mstep <- function(verdict, i, expected, old, theta, tol) {
  if (!verdict$ok) return(verdict)
  fall <- expected(old) - expected(theta)
  better <- mstep_gain(expected, old, theta, tol)
  if (fall <= tol && better$gain <= tol) return(verdict)
  where <- if (better$gain > tol) paste0(" ", better$words) else ""
  if (fall > tol) {
    return(first_fault(verdict, "falls", i, better$gain, sprintf(
      "Its theta lowers E_q[log p(y, z | theta)] by %s; it has to maximise it.%s",
      signif_text(fall, 3), where)))
  }
  first_fault(verdict, "not_maximal", i, better$gain, sprintf(paste(
    "Its theta does not maximise E_q[log p(y, z | theta)]: %s is still to gain.%s"),
    signif_text(better$gain, 3), where))
}

# What a better theta, near the student's, would add to the expected log joint density. A slope
# in no direction means a maximum; otherwise an optimiser goes and looks.
mstep_gain <- function(expected, old, theta, tol) {
  here <- unlist(theta, use.names = FALSE)
  directions <- free_directions(old, theta)
  value <- function(delta) expected(with_values(theta, here + as.vector(directions %*% delta)))
  origin <- value(numeric(ncol(directions)))
  local <- vapply(seq_len(ncol(directions)), function(j) {
    slope_along(function(t) value(replace(numeric(ncol(directions)), j, t)), origin,
                max(abs(here[directions[, j] != 0])))
  }, numeric(2))
  promised <- ifelse(local["curvature", ] < 0, local["slope", ]^2 / (-2 * local["curvature", ]),
                     abs(local["slope", ]))
  if (!any(promised > tol / 100, na.rm = TRUE)) return(list(gain = 0))
  scale <- sqrt(abs(local["curvature", ]))
  scale[!is.finite(scale) | scale == 0] <- 1
  best <- stats::nlminb(numeric(ncol(directions)), function(delta) {
    result <- origin - value(delta)
    if (is.finite(result)) result else Inf
  }, scale = scale)
  there <- here + as.vector(directions %*% best$par)
  moved <- abs(there - here) > 1e-4 * pmax(abs(here), abs(there))
  words <- sprintf("%s: yours %s, best near %s", theta_names(theta)[moved],
                   signif_text(here[moved], 4), signif_text(there[moved], 4))
  list(gain = -best$objective, words = paste0(paste(utils::head(words, 4), collapse = "; "), "."))
}

# Slope and curvature of g at 0 by differences; nearer where it is not finite.
slope_along <- function(g, origin, size) {
  h <- 1e-4 * max(size, 0.1)
  for (attempt in 1:10) {
    up <- g(h)
    down <- g(-h)
    if (is.finite(up) && is.finite(down)) {
      return(c(slope = (up - down) / (2 * h), curvature = (up - 2 * origin + down) / h^2))
    }
    h <- h / 10
  }
  c(slope = NA_real_, curvature = NA_real_)
}

with_values <- function(theta, values) {
  if (is.list(theta)) return(utils::relist(values, theta))
  theta[] <- values
  theta
}

# Directions in which theta may be varied, in columns: each entry, but neighbours that sum to one
# are varied so that they still do, and the halves of a symmetric matrix together.
free_directions <- function(old, theta) {
  D <- diag(length(unlist(theta)))
  position <- relist_positions(theta)
  mirrored <- integer()
  for (part in position) {
    if (!is_symmetric_part(part, theta, old)) next
    for (j in seq_len(ncol(part))) for (i in seq_len(j - 1)) {
      D[part[j, i], part[i, j]] <- 1
      mirrored <- c(mirrored, part[j, i])
    }
  }
  drop <- mirrored
  for (run in runs_to_one(unlist(old, use.names = FALSE), unlist(theta, use.names = FALSE))) {
    for (k in utils::head(run, -1)) D[k + 1, k] <- -1
    drop <- c(drop, utils::tail(run, 1))
  }
  if (length(drop) > 0) D <- D[, -drop, drop = FALSE]
  D
}

relist_positions <- function(theta) {
  if (!is.list(theta)) return(list())
  ends <- cumsum(lengths(theta))
  Map(function(part, end) {
    place <- end - length(part) + seq_along(part)
    if (is.matrix(part)) matrix(place, nrow(part)) else place
  }, theta, ends)
}

is_symmetric_part <- function(part, theta, old) {
  if (!is.matrix(part) || nrow(part) != ncol(part) || nrow(part) == 1) return(FALSE)
  symmetric <- function(x) isSymmetric(matrix(unlist(x, use.names = FALSE)[part], nrow(part)))
  symmetric(theta) && symmetric(old)
}

# Runs of two or more neighbours, positive and of sum one in both vectors; the longest first.
runs_to_one <- function(old, new) {
  n <- length(new)
  taken <- logical(n)
  runs <- list()
  sums_to_one <- function(x) all(x > 0) && abs(sum(x) - 1) < 1e-8
  for (size in rev(seq_len(max(0, n - 1)) + 1)) for (from in seq_len(n - size + 1)) {
    run <- from:(from + size - 1)
    if (any(taken[run]) || !sums_to_one(old[run]) || !sums_to_one(new[run])) next
    taken[run] <- TRUE
    runs <- c(runs, list(run))
  }
  runs
}

# ---- in words ----------------------------------------------------------------------------

#' @rdname check_em
#' @param x a check, made by `check_em()`.
#' @param ... not used.
#' @export
print.elbo_em_check <- function(x, ...) {
  verdict <- switch(EXPR = x$fault, none = "both steps are right", E = "the E-step is at fault",
                    M = "the M-step is at fault", both = "both steps are at fault")
  units <- if (is.na(x$units)) "" else sprintf(" on %d units", x$units)
  writeLines(sprintf("EM, %d iteration%s%s: %s", x$iterations, if (x$iterations > 1) "s" else "",
                     units, verdict))
  print_step("E-step", x$e_step, "Its q is p(z | y, theta) every time.")
  print_step("M-step", x$m_step, "Its theta maximises E_q[log p(y, z | theta)] every time.")
  write_wrapped(em_ending(x))
  invisible(x)
}

print_step <- function(name, verdict, praise) {
  if (is.na(verdict$ok)) return(writeLines(paste0(name, ": not reached.")))
  if (verdict$ok) return(write_wrapped(paste0(name, ": right. ", praise)))
  write_wrapped(sprintf("%s: wrong, first in iteration %d. %s", name, verdict$iteration,
                        verdict$message))
}

em_ending <- function(x) {
  if (!is.null(x$fall)) {
    return(sprintf(paste("The ELBO, which EM never lowers, fell: first in iteration %d, in the",
                         "%s-step, by %s."), x$fall$iteration, x$fall$step,
                   signif_text(x$fall$amount, 3)))
  }
  if (is.null(x$trace) || !all(is.finite(x$trace$elbo))) return("There is no climb to speak of.")
  last <- x$trace[nrow(x$trace), ]
  sprintf("The ELBO never fell; %s it was %s, the log evidence %s.",
          if (x$converged) "converged," else "at the end", fixed_text(last$elbo, 3),
          fixed_text(last$log_evidence, 3))
}
