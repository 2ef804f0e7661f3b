# Deterministic ADVI of a user's log density: C climbs (src/advi/advi.c), R says what the density is
# on the scale without bounds, and reads linear response off the Hessian of the objective.
#
#   fit_advi()                 exported
#   advi_density(...)          value, gradient and hessian of log p on the scale without bounds
#   advi_draws(n, d, seed)     the draws that are held: in pairs, whitened
#   advi_error(...)            the Monte Carlo error of the answer, from other draws

#' Fit your own posterior by deterministic variational inference
#'
#' Finds the normal law that is nearest to a posterior whose log density you have written, on a
#' scale without bounds: automatic differentiation variational inference, but with draws that are
#' held, so that the objective is an ordinary function, which Newton's method climbs to the end
#' (Giordano, Ingram and Broderick 2024). The same call gives the same bits; standard deviations
#' come from linear response, which repairs those of independent normals.
#'
#' @param log_density a function of `theta` and `data` that returns
#'   \eqn{\log p(y, \theta)}{log p(y, theta)}, a number, up to a constant; or an object made by
#'   `TMB::MakeADFun()` or `RTMB::MakeADFun()`, a list with `fn`, `gr` and perhaps `he`: `fn` is
#'   *minus* the log density there, as these packages minimise.
#' @param start where to begin: a numeric vector, a matrix, or a list of these, by name. For an
#'   object of TMB its `par`, by default.
#' @param gradient a function of `theta` and `data` that returns the derivatives of `log_density`,
#'   shaped like `start`. `NULL`: by differences, with a message, at four times as many evaluations
#'   as there are parameters.
#' @param lower,upper bounds of the parameters, as in [fit_em()]. The density is that of the
#'   parameters as they are given; the Jacobian of the scale without bounds is seen to.
#' @param q the family of the approximation on that scale: `"mean_field"` (independent normals),
#'   `"full"` (any normal), or `"laplace"` (the normal at the mode).
#' @param draws how many draws are held, an even number: pairs z and -z. `"full"` takes at least
#'   four for each parameter, as with fewer its objective has no maximum.
#' @param data whatever the functions need, their last argument. `NULL` for functions without one.
#' @param control settings of the ascent, see [elbo_control()]: `seed` for the draws, `tol` on what
#'   is still to gain.
#' @param pointwise `NULL`, or a function of `theta` and `data` that returns the log density of each
#'   observation given theta, for [loo][loo.elbo_advi].
#' @details
#' With draws \eqn{z_i} the objective is \eqn{\frac1n\sum_i\log p(m+Sz_i)+\log|S|}{mean log p(m + S
#' z) + log |S|}, S diagonal, triangular or zero. Draws are whitened (by coordinate where there are
#' fewer pairs than parameters), so that normal targets are solved exactly. It is climbed by a
#' trust-region Newton method with conjugate gradients, whose products with the Hessian are
#' differences of `gradient` (or use `he`). A start where the density is not finite is searched
#' from, in ever wider circles.
#'
#' Linear response (Giordano, Broderick and Jordan 2018): with H the Hessian of the objective, the
#' covariance of \eqn{E_q[f]} and \eqn{E_q[g]} is \eqn{J_f(-H)^{-1}J_g'}{Jf (-H)^-1 Jg'}, J their
#' derivatives by m and S. [theta()] has the means under q on the natural scale, `predict(fit, f)`
#' those of any function. `vcov(fit, type = "mean_field")` (`"q"` for the others) is q's own
#' covariance.
#'
#' The Monte Carlo error is that of the answer: how far the means would move with other draws, from
#' eight other sets of them at the same q. [convergence()] has it for each parameter, in posterior
#' standard deviations, and the number of draws that would make the largest 0.1.
#'
#' Whether q can be believed is judged by importance sampling of the density itself, as for the
#' package's other posteriors, for up to 250 parameters: [convergence()]. With more than 50 its
#' weights are taken at their word only if their Pareto k is below 0.5.
#' @return A fit of class `c("elbo_advi", "elbo_own", "elbo_fit")`, by method `"vb"`.
#' @section Errors:
#' A function that fails, or returns what is no finite number at a point to which all others led,
#' ends the fit with an error of class `elbo_error_own_model`; a `gradient` that differs from
#' differences at the start is refused.
#' @references
#' Giordano, R., Broderick, T. and Jordan, M. I. (2018). Covariances, robustness, and variational
#' Bayes. *Journal of Machine Learning Research* 19(51), 1--49.
#'
#' Giordano, R., Ingram, M. and Broderick, T. (2024). Black box variational inference with a
#' deterministic objective: faster, more accurate, and even more black box. *Journal of Machine
#' Learning Research* 25(18), 1--39.
#' @family users' own models
#' @examples
#' # Eight schools (Rubin 1981), the schools' effects as effects in units of tau.
#' schools <- list(y = c(28, 8, -3, 7, -1, 1, 18, 12), se = c(15, 10, 16, 11, 9, 11, 10, 18))
#' log_density <- function(theta, d) {
#'   effect <- theta$mu + theta$tau * theta$z
#'   sum(dnorm(d$y, effect, d$se, log = TRUE)) + sum(dnorm(theta$z, log = TRUE)) +
#'     dnorm(theta$mu, 0, 5, log = TRUE) + dcauchy(theta$tau, 0, 5, log = TRUE)
#' }
#' gradient <- function(theta, d) {
#'   r <- (d$y - theta$mu - theta$tau * theta$z) / d$se^2
#'   list(mu = sum(r) - theta$mu / 25,
#'        tau = sum(r * theta$z) - 2 * theta$tau / (25 + theta$tau^2),
#'        z = theta$tau * r - theta$z)
#' }
#' start <- list(mu = 0, tau = 5, z = numeric(8))
#' fit <- fit_advi(log_density, start, gradient, lower = list(tau = 0), data = schools)
#' fit
#' predict(fit, function(theta) c("school 1" = theta$mu + theta$tau * theta$z[1]))
#' compare_fits(mean_field = fit, full = update(fit, q = "full"))
#' @export
fit_advi <- function(log_density, start, gradient = NULL, lower = -Inf, upper = Inf,
                     q = c("mean_field", "full", "laplace"), draws = 30L, data = NULL,
                     control = elbo_control(), pointwise = NULL) {
  began <- proc.time()[[3]]
  q <- check_choice(q, "q", c("mean_field", "full", "laplace"))
  draws <- check_draws_number(draws)
  check(inherits(control, "elbo_control"), "control", "made by elbo_control()", control)
  check_no_quadrature(control, own_functions_only)
  check(is.null(pointwise) || is.function(pointwise), "pointwise", "a function or NULL", pointwise)
  told <- advi_told(log_density, if (missing(start)) NULL else start, gradient, data)
  pattern <- own_pattern(told$start, lower, upper)
  density <- advi_density(told, pattern)
  density <- check_density(density, pattern, told)
  seed <- if (is.null(control$seed)) 1L else control$seed
  draws <- enough_draws(draws, q, length(pattern$x))
  found <- climb_advi(density, pattern, q, draws, seed, control)
  fit <- new_advi_fit(found, density, list(
    call = match.call(), given_in = parent.frame(), began = began, pattern = pattern, data = data,
    control = control, q = q, draws = draws, seed = seed,
    pointwise = with_data(pointwise, data)))
  warn_unfinished(fit)
  fit
}

check_draws_number <- function(draws) {
  draws <- check_count(draws, "draws")
  check(draws >= 4, "draws", "at least 4", draws)
  draws + draws %% 2L
}

enough_draws <- function(draws, q, d) {
  if (q == "laplace") return(1L)
  if (q == "full" && draws < 4L * d) {
    message(sprintf(paste("q = \"full\" takes at least four draws for each parameter, without",
                          "which it has no maximum: %d instead of %d."), 4L * d, draws))
    return(4L * d)
  }
  draws
}

# ---- the density -------------------------------------------------------------------------------

# What was given, as functions of theta alone: list(start, value, gradient, hessian).
advi_told <- function(log_density, start, gradient, data) {
  if (is.function(log_density)) {
    check(is.null(gradient) || is.function(gradient), "gradient", "a function or NULL", gradient)
    if (is.null(start)) abort("`start` is missing: it says what the parameters are.",
                              "elbo_error_argument")
    return(list(start = start, value = with_data(log_density, data),
                gradient = with_data(gradient, data), hessian = NULL))
  }
  ok <- is.list(log_density) && is.function(log_density[["fn"]]) &&
    is.function(log_density[["gr"]])
  check(ok, "log_density", "a function, or an object of TMB with `fn` and `gr`", log_density)
  check(is.null(gradient), "gradient", "NULL for an object of TMB, which has its own", gradient)
  tmb_told(log_density, start)
}

# An object of TMB or RTMB, whose functions are of minus the log density and take a vector.
tmb_told <- function(tmb, start) {
  par <- tmb[["par"]]
  if (is.null(start)) start <- par
  check(is.numeric(start) && length(start) == length(par), "start",
        sprintf("%d numbers, as many as the object's `par`", length(par)), start)
  names(start) <- object_names(names(par), length(start))
  he <- tmb[["he"]]
  list(start = start, value = function(theta) -as.double(tmb[["fn"]](unname(theta))),
       gradient = function(theta) -as.double(tmb[["gr"]](unname(theta))),
       hessian = if (is.function(he)) function(theta) -as.matrix(he(unname(theta))))
}

# TMB calls all entries of a vector by its name.
object_names <- function(names, n) {
  if (is.null(names)) return(sprintf("theta[%d]", seq_len(n)))
  place <- stats::ave(seq_len(n), names, FUN = seq_along)
  ifelse(table(names)[names] == 1, names, sprintf("%s[%d]", names, place))
}

# log p on the scale without bounds, with the Jacobian there: value(x), gradient(x) and hessian(x),
# the last or NULL. NA where something fails; `failure` then says what.
advi_density <- function(told, pattern) {
  seen <- new.env(parent = emptyenv())
  kind <- bound_kind(pattern)
  both <- kind == 4L
  numbers <- function(answer, n, name) {
    problem <- answer$problem
    if (is.null(problem) && length(unlist(answer$value)) != n) {
      problem <- sprintf("It must return %s; it returned %s.", count_numbers(n),
                         describe_returned(answer$value))
    }
    if (!is.null(problem)) {
      seen$failure <- sprintf("`%s`: %s", name, problem)
      return(rep(NA_real_, n))
    }
    as.double(unlist(answer$value, use.names = FALSE))
  }
  value <- function(x) {
    theta <- fold(pattern, from_free(pattern, x))
    numbers(attempt(told$value(theta)), 1L, "log_density") + sum(log(abs(free_slope(pattern, x))))
  }
  d <- length(pattern$x)
  # d log(slope) / d x, and its derivative.
  bend <- function(x) ifelse(kind == 1L, 0, ifelse(both, 1 - 2 * stats::plogis(x), 1))
  gradient <- if (is.null(told$gradient)) differences_of(value) else function(x) {
    theta <- fold(pattern, from_free(pattern, x))
    numbers(attempt(told$gradient(theta)), d, "gradient") * free_slope(pattern, x) + bend(x)
  }
  hessian <- if (!is.null(told$hessian)) function(x) {
    theta <- fold(pattern, from_free(pattern, x))
    slope <- free_slope(pattern, x)
    H <- matrix(numbers(attempt(told$hessian(theta)), d * d, "he"), d) * outer(slope, slope)
    own <- numbers(attempt(told$gradient(theta)), d, "gradient")
    diag(H) <- diag(H) + own * slope * bend(x) - ifelse(both, 2 * stats::dlogis(x), 0)
    H
  }
  list(value = value, gradient = gradient, hessian = hessian, seen = seen)
}

# Central, of four points: the error is of the fourth power of the step.
differences_of <- function(f) {
  function(x) {
    vapply(seq_along(x), function(j) {
      h <- 1e-3 * max(1, abs(x[j]) / 10)
      at <- function(t) f(replace(x, j, x[j] + t * h))
      (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
    }, 0)
  }
}

# The density with `start`, a point on the scale without bounds where it is finite. A gradient has
# to agree there with differences.
check_density <- function(density, pattern, told) {
  density$start <- finite_start(density, to_free(pattern, pattern$x))
  if (is.null(told$gradient)) {
    message("No `gradient`: derivatives are by differences, which takes ",
            4 * length(pattern$x), " evaluations for each.")
    return(density)
  }
  own <- density$gradient(density$start)
  if (anyNA(own)) {
    abort(c(sprintf("`gradient` does not work at the start (%s).",
                    theta_words(fold(pattern, from_free(pattern, density$start)))),
            density$seen$failure, if (is.null(density$seen$failure)) "It is not finite there."),
          "elbo_error_own_model")
  }
  if (length(own) > 200) return(density)
  by_differences <- differences_of(density$value)(density$start)
  off <- abs(own - by_differences) - 1e-4 * (abs(by_differences) + 1)
  worst <- which.max(off)
  if (isTRUE(off[worst] > 1e-3 * max(abs(by_differences)))) {
    slope <- free_slope(pattern, density$start)[worst]
    abort(c(sprintf("`gradient` is not that of `log_density`: at the start they differ for %s,",
                    pattern$names[worst]),
            sprintf("by %s.", signif_text((own - by_differences)[worst] / slope, 3))),
          "elbo_error_argument")
  }
  density
}

# The start, or the best of the first circle about it in which the density is finite.
finite_start <- function(density, start) {
  if (is.finite(density$value(start))) return(start)
  d <- length(start)
  directions <- stats::qnorm(shifted_lattice(64L, d, rep(0.5, d)))
  for (radius in c(0.25, 0.5, 1, 2, 4, 8, 16)) {
    values <- apply(directions, 1, function(z) density$value(start + radius * z))
    if (any(is.finite(values))) {
      return(start + radius * directions[which.max(replace(values, !is.finite(values), -Inf)), ])
    }
  }
  abort(c("`log_density` is finite neither at `start` nor around it.", density$seen$failure,
          "Start where the model is defined."), "elbo_error_own_model")
}

# ---- draws -------------------------------------------------------------------------------------

# d x n, z and -z, such that Z Z' / n = I where there are as many pairs as coordinates; else each
# coordinate has a mean square of one.
advi_draws <- function(n, d, seed) {
  if (n == 1L) return(matrix(0, d, 1))
  half <- with_seed(seed, matrix(stats::rnorm(d * (n / 2)), d))
  half <- if (ncol(half) >= d) {
    spectrum <- eigen(tcrossprod(half) / ncol(half), symmetric = TRUE)
    spectrum$vectors %*% (t(spectrum$vectors) / sqrt(spectrum$values)) %*% half
  } else {
    half / sqrt(rowMeans(half^2))
  }
  cbind(half, -half)
}

# ---- the climb ---------------------------------------------------------------------------------

advi_families <- c("laplace", "mean_field", "full")

climb_advi <- function(density, pattern, q, draws, seed, control) {
  d <- length(pattern$x)
  model <- c(density[c("value", "gradient", "hessian")],
             list(family = match(q, advi_families) - 1L, z = advi_draws(draws, d, seed)))
  check_q_size(d, q)
  model$eta <- first_q(model, density$start, q)
  settings <- control_for_c(control, 1L)
  result <- .Call(C_advi_fit, model, settings, progress_reporter(control))
  check_proper(result$eta, model$eta, pattern, q)
  near <- max(abs(result$eta - model$eta) / (1 + abs(model$eta))) < 1e6
  if (result$status != 0L || !isTRUE(near)) check_curved(density, pattern)
  if (result$status < 0) {
    abort(c("The ascent failed: derivatives are not finite where the density is.",
            density$seen$failure), "elbo_error_own_model")
  }
  model$eta <- result$eta
  list(model = model, result = result)
}

# Linear response takes a few matrices over all parameters of q.
check_q_size <- function(d, q, memory = available_memory()) {
  n <- c(laplace = d, mean_field = 2 * d, full = d + d * (d + 1) / 2)[[q]]
  bytes <- 3 * 8 * n^2
  if (n < 2^15.5 && (is.na(memory) || bytes <= memory)) return(invisible())
  abort(c(sprintf("q = \"%s\" of %d parameters has %.0f numbers, whose covariance takes %s.", q, d,
                  n, format_bytes(bytes)),
          if (q == "full") "Use q = \"mean_field\"." else "Integrate some of them by formula."),
        "elbo_error_memory")
}

# Where the density does not fall off q has no end to its width.
check_proper <- function(eta, first, pattern, q) {
  d <- length(pattern$x)
  if (q == "laplace") return(invisible())
  width <- function(eta) sqrt(rowSums(unpack_q(eta, d, q)$S^2))
  wider <- width(eta) / width(first)
  worst <- which.max(wider)
  if (wider[worst] < 1e6) return(invisible())
  abort(c(sprintf("The posterior is not proper: q grows without end in the direction of %s.",
                  pattern$names[worst]), "Give it a prior, or bounds."), "elbo_error_unbounded")
}

# A density that is straight or flat along a parameter has no maximum, or no end.
check_curved <- function(density, pattern) {
  start <- density$start
  turns <- vapply(seq_along(start), function(j) {
    h <- 0.1 * max(1, abs(start[j]))
    slopes <- vapply(c(-h, 0, h), function(by) {
      density$gradient(replace(start, j, start[j] + by))[j]
    }, 0)
    diff(range(slopes)) > 1e-6 * max(1, abs(slopes))
  }, NA)
  straight <- which(!turns)
  if (length(straight) == 0) return(invisible())
  abort(c(sprintf("The posterior is not proper: the log density is straight or flat along %s.",
                  pattern$names[straight[1]]), "Give it a prior, or bounds."),
        "elbo_error_unbounded")
}

# m at the start, S as wide as the curvature there has it, but no wider than all draws' being
# finite allows.
first_q <- function(model, start, q) {
  if (q == "laplace") return(start)
  d <- length(start)
  width <- rep(1, d)
  for (j in seq_len(d)) {
    h <- 1e-4 * max(1, abs(start[j]))
    ends <- model$gradient(replace(start, j, start[j] + h))[j] -
      model$gradient(replace(start, j, start[j] - h))[j]
    curvature <- -ends / (2 * h)
    if (is.finite(curvature) && curvature > 1) width[j] <- 1 / sqrt(curvature)
  }
  for (round in 1:30) {
    eta <- pack_q(start, if (q == "full") diag(width, d) else width)
    points <- start + width * model$z
    if (all(is.finite(apply(points, 2, model$value)))) break
    width <- width / 2
  }
  eta
}

# eta of m and S: a vector for independent normals, lower triangular for all.
pack_q <- function(m, S) c(m, if (is.matrix(S)) S[lower.tri(S, TRUE)] else S)

unpack_q <- function(eta, d, q) {
  S <- matrix(0, d, d)
  if (q == "mean_field") diag(S) <- eta[-seq_len(d)]
  if (q == "full") S[lower.tri(S, TRUE)] <- eta[-seq_len(d)]
  list(m = eta[seq_len(d)], S = S)
}

# Where each entry of S is: rows of list(j, k), S_jk of eta[d + row].
q_entries <- function(d, q) {
  if (q == "mean_field") return(cbind(seq_len(d), seq_len(d)))
  if (q == "full") return(which(lower.tri(diag(d), TRUE), arr.ind = TRUE))
  matrix(0L, 0, 2)
}

# ---- how far it may be off ---------------------------------------------------------------------

# Monte Carlo error of m, in units of `sd`: at the same q other draws have another gradient, which a
# Newton step would answer. list(error, draws that would make the largest 0.1).
advi_error <- function(model, q, draws, seed, inverse, sd) {
  d <- length(sd)
  if (q == "laplace") return(list(error = numeric(d), wanted = 1L))
  inverse[is.na(inverse)] <- 0 # of which nothing is known
  moves <- vapply(seq_len(advi_other_draws), function(set) {
    model$z <- advi_draws(draws, d, seed + set)
    at <- .Call(C_advi_at, model, FALSE)
    if (at$status < 0) return(rep(NA_real_, d))
    drop(inverse[seq_len(d), , drop = FALSE] %*% at$gradient)
  }, numeric(d))
  error <- sqrt(rowMeans(matrix(moves, d)^2, na.rm = TRUE)) / sd
  wanted <- draws * (max(error, 0, na.rm = TRUE) / 0.1)^2
  list(error = error, wanted = as.integer(2 * ceiling(max(wanted, 4) / 2)))
}

advi_other_draws <- 8L
