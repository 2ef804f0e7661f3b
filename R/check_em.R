# Marks an EM algorithm that somebody else wrote: is q the exact posterior after the E-step, and
# does theta maximise the expected log joint density after the M-step? The two questions are
# asked apart, of the objective that both steps climb (Neal and Hinton 1998),
#
#   f(theta, q) = E_q[log p(y, z | theta)] - E_q[log q(z)]
#               = log p(y | theta) - KL(q || p(z | y, theta)).
#
#   check_em()                       exported; the verdict, of class "elbo_em_check"
#   follow_em(em)                    the run, half-step by half-step
#   generalised_or_not(state, em)    whether an M-step short of the maximum still gets there
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
#' @param weights `NULL`, or how often each unit was observed: with four phenotypes and their counts
#'   the units are the phenotypes, and `log_joint` returns the log density of one of each.
#' @details
#' The E-step is right if q is the posterior \eqn{p(z | y, \theta)}{p(z | y, theta)}: if
#' \eqn{KL(q \| p(z | y, \theta))}{KL(q || p(z | y, theta))}, the log evidence less the ELBO, is
#' zero. Discrete latent variables are summed over; continuous ones are integrated by
#' Gauss-Hermite quadrature, for the evidence adaptive around the mode of each unit.
#'
#' The M-step is right if \eqn{E_q[\log p(y, z | \theta)]}{E_q[log p(y, z | theta)]}, with the
#' student's q, is not less at the new theta than at the old one, and cannot be raised by a
#' numerical optimiser that starts there. So an M-step is judged by the q that it was given, and
#' is not blamed for a wrong one. A step that goes up, but not to the maximum, makes a generalised
#' EM (one step of Newton's method, one parameter at a time as in ECM), if it stays only where
#' nothing is to gain: that is no fault. Whether it does is seen by going on, up to `20 * max_iter`
#' iterations, until theta stays where it is. If something is still to gain there, the step is
#' wrong.
#'
#' What holds in `start` is expected to hold in every theta: that a part, a row or column of a
#' matrix, or neighbours sum to one (where without that the density would grow without end), that a
#' number is positive or a matrix symmetric (where the density is not defined otherwise). What is
#' broken is named, rather than its consequences. While a better theta is sought, entries that sum
#' to one go on doing so, and symmetric matrices stay symmetric. Parameters have the names that they
#' have in `start`.
#' @return A list of class `elbo_em_check`:
#' \describe{
#'   \item{`ok`}{`TRUE` if both steps are right.}
#'   \item{`fault`}{`"none"`, `"E"`, `"M"` or `"both"`.}
#'   \item{`e_step`, `m_step`}{each a list of `ok`; `iteration`, the first in which it was wrong,
#'     or `NA`; `kind`: `"right"`, `"not_posterior"` (E), `"falls"`, `"not_maximal"`,
#'     `"generalised"` (M; `ok`), `"constraint"` (M: one that holds in `start` is broken),
#'     `"exchanged"` (E and M in each other's place), `"invalid"` (it failed, or what it returned
#'     cannot be used), or `"not_run"`; `amount`: the KL divergence (E) or what is still to gain
#'     (M), in log-likelihood; `message`, in words.}
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
#' @seealso [fit_em()], which climbs with the same functions.
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
check_em <- function(estep, mstep, log_joint, start, data, max_iter = 50, tol = 1e-6,
                     weights = NULL) {
  for (name in c("estep", "mstep", "log_joint")) {
    check(is.function(get(name)), name, "a function", get(name))
  }
  check_theta_start(start)
  check_em_weights(weights)
  em <- list(
    estep = function(theta) estep(theta, data), mstep = function(q) mstep(q, data),
    joint = function(theta, z) suppressWarnings(log_joint(theta, z, data)),
    start = start, copies = weights, n_data = NROW(data),
    max_iter = check_count(max_iter, "max_iter"), tol = check_positive(tol, "tol")
  )
  run <- follow_em(em)
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

check_em_weights <- function(weights) {
  if (is.null(weights)) return(invisible())
  ok <- is.numeric(weights) && length(weights) > 0 && all(is.finite(weights)) && all(weights >= 0)
  check(ok, "weights", "how often each unit was observed, numbers of zero or more", weights)
}

# ---- the run -----------------------------------------------------------------------------

# Follows the algorithm, half-step by half-step, until it has converged or cannot go on.
follow_em <- function(em) {
  state <- list(theta = em$start, e_step = step_verdict("right"), m_step = step_verdict("right"),
                trace = NULL, units = NA_integer_, stopped = FALSE)
  for (i in seq_len(em$max_iter)) {
    state <- e_half_step(state, i, em)
    if (state$stopped) break
    state <- m_half_step(state, i, em)
    if (state$stopped || em_converged(state$trace, em$tol)) break
  }
  if (is.null(state$trace) && state$m_step$kind == "right") {
    state$m_step <- step_verdict("not_run", ok = NA)
  }
  fall <- first_fall(state$trace, em$tol)
  if (state$m_step$kind == "not_maximal" && is.null(fall) && !state$stopped) {
    state$m_step <- generalised_or_not(state, em)
  }
  c(state[c("e_step", "m_step")], list(fall = fall), state[c("trace", "theta", "units")],
    list(iterations = i, converged = !state$stopped && em_converged(state$trace, em$tol)))
}

e_half_step <- function(state, i, em) {
  answer <- attempt(em$estep(state$theta))
  law <- if (is.null(answer$problem)) read_law(answer$value) else answer
  if (i == 1) {
    if (!is.null(law$problem) && exchanged(em)) return(say_exchanged(state))
    check_joint_at_start(law, answer$value, em)
  }
  if (is.null(law$problem)) law$problem <- law_size_problem(law, state$theta, em)
  if (!is.null(law$problem)) {
    state$e_step <- first_fault(state$e_step, "invalid", i, NA, law$problem)
    state$stopped <- TRUE
    return(state)
  }
  state$q <- answer$value
  law$copies <- if (is.null(em$copies)) rep(1, law$n) else em$copies
  state$law <- law
  state$units <- law$n
  posterior <- exact_posterior(law, state$theta, em$joint)
  if (i == 1) check_evidence_at_start(posterior$log_evidence, law)
  elbo <- expected_joint(law, state$theta, em$joint) - negative_entropy_units(law)
  state$e_step <- judge_estep(state$e_step, i, law, elbo, posterior, em$tol)
  state$stopped <- !is.finite(over_units(law, elbo))
  record(state, i, "E", over_units(law, elbo), over_units(law, posterior$log_evidence))
}

# The sum over all that were observed.
over_units <- function(law, value) sum(weighted(law$copies, value))

m_half_step <- function(state, i, em) {
  law <- state$law
  expected <- function(theta) over_units(law, expected_joint(law, theta, em$joint))
  answer <- named_step(em, state$q)
  problem <- answer$problem
  if (is.null(problem)) problem <- theta_problem(answer$value, em$start)
  if (is.null(problem) && i == 1) check_start_sums(em$start, answer$value, expected)
  broken <- if (is.null(problem)) broken_constraint(em$start, state$theta, answer$value, expected)
  if (is.null(problem) && is.null(broken)) {
    problem <- joint_problem(expected, answer$value, em$start)
  }
  if (!is.null(problem) || !is.null(broken)) {
    kind <- if (is.null(broken)) "invalid" else "constraint"
    state$m_step <- first_fault(state$m_step, kind, i, NA, c(problem, broken))
    state$stopped <- TRUE
    return(state)
  }
  state$m_step <- judge_mstep(state$m_step, i, expected, state$theta, answer$value, em)
  state$theta <- answer$value
  record(state, i, "M", expected(state$theta) - over_units(law, negative_entropy_units(law)),
         over_units(law, exact_posterior(law, state$theta, em$joint)$log_evidence))
}

# The M-step's theta, with the names of `start` where it has none.
named_step <- function(em, q) {
  answer <- attempt(em$mstep(q))
  if (is.null(names(answer$value)) && length(answer$value) == length(em$start)) {
    names(answer$value) <- names(em$start)
  }
  answer
}

# The functions given in each other's place: what should take q makes one of theta.
exchanged <- function(em) {
  answer <- attempt(em$mstep(em$start))
  is.null(answer$problem) && is.null(read_law(answer$value)$problem)
}

say_exchanged <- function(state) {
  words <- paste("The E- and the M-step seem to be exchanged: `mstep` makes a law of the latent",
                 "variables of a theta, `estep` does not.")
  state$e_step <- step_verdict("exchanged", FALSE, 1L, NA_real_, words)
  state$m_step <- step_verdict("exchanged", FALSE, 1L, NA_real_, "Exchanged with the E-step.")
  state$stopped <- TRUE
  state
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

# An M-step that goes up, though not to the maximum, is part of a generalised EM if the points at
# which it stays are those at which nothing is to gain: so it is followed until it stays.
generalised_or_not <- function(state, em) {
  end <- run_until_still(state$theta, em)
  if (is.null(end)) return(state$m_step)
  expected <- function(theta) over_units(state$law, expected_joint(end$law, theta, em$joint))
  left <- mstep_gain(expected, end$before, end$theta, em)$gain
  climbing <- !end$still && left < state$m_step$amount / 10
  if (!isTRUE(left <= em$tol || climbing)) {
    if (end$still) {
      state$m_step$message <- paste0(state$m_step$message, sprintf(
        " Nor does it get there in many iterations: where it stays, %s is still to gain.",
        signif_text(left, 3)))
    }
    return(state$m_step)
  }
  step_verdict("generalised", TRUE, state$m_step$iteration, state$m_step$amount,
               state$m_step$message)
}

# list(theta, before, law, still): the law is that from which the last M-step was made.
run_until_still <- function(theta, em) {
  for (i in seq_len(20 * em$max_iter)) {
    before <- theta
    q <- attempt(em$estep(before))
    answer <- if (is.null(q$problem)) named_step(em, q$value) else q
    if (!is.null(answer$problem) || !is.null(theta_problem(answer$value, em$start))) return(NULL)
    theta <- answer$value
    old <- unlist(before)
    still <- all(abs(unlist(theta) - old) <= 1e-9 * (abs(old) + 1e-3))
    if (still) break
  }
  law <- read_law(q$value)
  if (is.null(law$problem)) list(theta = theta, before = before, law = law, still = still)
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

# The model is not the student's, nor is `start`: what is wrong with them is an error here. Tried
# at every value of a discrete z, and at middle and far points of a continuous one.
check_joint_at_start <- function(law, q, em) {
  for (z in if (is.null(law$problem)) law_points(law) else shape_points(q, em$n_data)) {
    value <- tryCatch(em$joint(em$start, z), error = identity)
    certain <- is.null(law$problem) # otherwise z may be of the wrong shape, the student's fault
    if (inherits(value, "error")) {
      if (certain) abort(sprintf("`log_joint` stops at `start` with %s: %s", point_words(law, z),
                                 conditionMessage(value)), "elbo_error_argument")
      return(invisible())
    }
    if (certain) check_joint_value(value, law, z)
    else if (undefined_at(value, q)) abort_start(em$start, which(is.nan(value))[1])
    if (certain && anyNA(value)) abort_start(em$start, which(is.na(value))[1], point_words(law, z))
  }
}

# No number (but not for want of an entry with this z, which is NA and not NaN).
undefined_at <- function(value, q) {
  if (!is.numeric(value) || length(value) == 0) return(FALSE)
  if (is.matrix(q) && length(value) == nrow(q)) any(is.nan(value)) else all(is.nan(value))
}

check_joint_value <- function(value, law, z) {
  if (!is.numeric(value) || (length(value) == 1 && law$n > 1)) {
    abort(c(sprintf("`log_joint` must return a number for each of the %d units, not %s.", law$n,
                    describe_value(value)), "Leave out the sum over units."), "elbo_error_argument")
  }
}

abort_start <- function(start, unit, where = NULL) {
  abort(c(
    sprintf("`log_joint` is not a number at `start` (%s) for unit %d%s:", theta_text(start), unit,
            if (is.null(where)) "" else paste0(" with ", where)),
    "`start` is outside the parameter space, or `log_joint` has a fault.",
    "Start where the model is defined."
  ), "elbo_error_argument")
}

check_evidence_at_start <- function(log_evidence, law) {
  unit <- which(!is.finite(log_evidence) & law$copies > 0)[1]
  if (is.na(unit)) return(invisible())
  abort(c(sprintf("`start` gives what unit %d has the density %s: log p(y | theta) is %s.", unit,
                  format(exp(log_evidence[unit])), format(log_evidence[unit])),
          "Start where all that was observed is possible."), "elbo_error_argument")
}

law_size_problem <- function(law, theta, em) {
  value <- attempt(em$joint(theta, law_point(law)))
  if (!is.null(value$problem)) {
    return(sub("^It stopped", "With its q `log_joint` stops", value$problem))
  }
  if (length(value$value) != law$n) {
    return(sprintf("q has %d units, but with it `log_joint` returns %d values, not one for each.",
                   law$n, length(value$value)))
  }
  if (!is.null(em$copies) && length(em$copies) != law$n) {
    abort(sprintf("`weights` must have a number for each of the %d units, not %d.", law$n,
                  length(em$copies)), "elbo_error_argument")
  }
  NULL
}

# What is wrong with the expected log joint density at a new theta.
joint_problem <- function(expected, theta, start) {
  value <- attempt(expected(theta))
  if (!is.null(value$problem)) {
    return(sprintf("At its theta (%s) `log_joint` stops: %s", theta_text(theta, start),
                   sub("^It stopped: ", "", value$problem)))
  }
  if (is.finite(value$value)) return(NULL)
  sprintf("The expected log joint density is not finite at its theta (%s).",
          theta_text(theta, start))
}

# ---- the verdicts ------------------------------------------------------------------------

judge_estep <- function(verdict, i, law, elbo, posterior, tol) {
  kl <- weighted(law$copies, posterior$log_evidence - elbo)
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

judge_mstep <- function(verdict, i, expected, old, theta, em) {
  if (!verdict$ok) return(verdict)
  tol <- em$tol
  fall <- expected(old) - expected(theta)
  better <- mstep_gain(expected, old, theta, em)
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
mstep_gain <- function(expected, old, theta, em) {
  here <- unlist(theta, use.names = FALSE)
  directions <- free_directions(old, theta)
  value <- function(delta) {
    there <- with_values(theta, here + as.vector(directions %*% delta))
    number <- attempt(expected(there))
    if (is.null(number$problem)) number$value else NA_real_
  }
  origin <- value(numeric(ncol(directions)))
  local <- vapply(seq_len(ncol(directions)), function(j) {
    slope_along(function(t) value(replace(numeric(ncol(directions)), j, t)), origin,
                max(abs(here[directions[, j] != 0])))
  }, numeric(2))
  promised <- ifelse(local["curvature", ] < 0, local["slope", ]^2 / (-2 * local["curvature", ]),
                     abs(local["slope", ]))
  if (!any(promised > em$tol / 100, na.rm = TRUE)) return(list(gain = 0))
  scale <- sqrt(abs(local["curvature", ]))
  scale[!is.finite(scale) | scale == 0] <- 1
  best <- stats::nlminb(numeric(ncol(directions)), function(delta) {
    result <- origin - value(delta)
    if (is.finite(result)) result else Inf
  }, scale = scale)
  there <- here + as.vector(directions %*% best$par)
  list(gain = -best$objective, words = better_words(here, there, theta_names(theta, em$start)))
}

better_words <- function(here, there, names) {
  moved <- abs(there - here) > 1e-4 * pmax(abs(here), abs(there))
  endless <- abs(there) > 1e5 * pmax(abs(here), 1)
  if (any(endless)) {
    return(sprintf("It grows without end with %s: theta lacks a constraint that the model needs.",
                   enumerate(names[endless], 4)))
  }
  words <- sprintf("%s: yours %s, best near %s", names[moved], signif_text(here[moved], 4),
                   signif_text(there[moved], 4))
  paste0(paste(utils::head(words, 4), collapse = "; "), ".")
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

# ---- in words ----------------------------------------------------------------------------

#' @rdname check_em
#' @param x a check, made by `check_em()`.
#' @param ... not used.
#' @export
print.elbo_em_check <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  for (words in em_words(x)) write_wrapped(words)
  invisible(x)
}

# The verdict, the two steps, the climb.
em_words <- function(x) {
  generalised <- x$ok && x$m_step$kind == "generalised"
  verdict <- switch(EXPR = x$fault, none = "both steps are right", E = "the E-step is at fault",
                    M = "the M-step is at fault", both = "both steps are at fault")
  if (generalised) verdict <- "a generalised EM, which climbs but not as fast"
  units <- if (is.na(x$units)) "" else sprintf(" on %d units", x$units)
  c(sprintf("EM, %d iteration%s%s: %s", x$iterations, if (x$iterations > 1) "s" else "", units,
            verdict),
    step_sentence("E-step", x$e_step, "Its q is p(z | y, theta) every time."),
    step_sentence("M-step", x$m_step, "Its theta maximises E_q[log p(y, z | theta)] every time."),
    em_ending(x))
}

step_sentence <- function(name, verdict, praise) {
  if (is.na(verdict$ok)) return(paste0(name, ": not reached."))
  words <- if (verdict$kind == "generalised") {
    sprintf(paste("goes up every time, but not to the maximum, first in iteration %d. %s It stays",
                  "only where nothing is to gain, so that the end is EM's, after more iterations."),
            verdict$iteration, verdict$message)
  } else if (verdict$ok) {
    paste("right.", praise)
  } else {
    sprintf("wrong, first in iteration %d. %s", verdict$iteration, verdict$message)
  }
  paste0(name, ": ", words)
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
