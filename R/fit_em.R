# Any EM that somebody wrote in R gets the engine. C climbs (src/call/own.c): it calls the user's
# functions through own_climber(), whose environment holds theta and q between the calls.
#
#   fit_em()              exported
#   own_climber(em)       the functions that the engine calls; none of them signals an error
#   em_evidence(em)       the log evidence, or the ELBO at the best q, of a theta
#   em_uncertainty(...)   observed information by differences

#' Fit your own EM algorithm
#'
#' Climbs with an E-step and an M-step that you have written, and does for them what the package
#' does for its own models: it sees that no step lowers the objective, needs far fewer steps than
#' plain EM, says when it has arrived, and gives standard errors. [check_em()] takes the same
#' functions and says which of them is wrong.
#'
#' @param start a first `theta`: a numeric vector, a matrix, or a list of these, by name.
#' @param estep a function of `theta` and `data` that returns q: whatever `mstep` needs to know of
#'   the latent variables given the observations, in any form.
#' @param mstep a function of q and `data` that returns the new `theta`, shaped like `start`.
#' @param log_evidence `NULL`, or a function of `theta` and `data` that returns
#'   \eqn{\log p(y | \theta)}{log p(y | theta)}, a number; with a prior log p(theta) added, in which
#'   case the M-step has it too.
#' @param elbo `NULL`, or a function of `theta`, q and `data` that returns
#'   \eqn{E_q[\log p(y, z | \theta)] - E_q[\log q(z)]}{E_q[log p(y, z | theta)] - E_q[log q(z)]}.
#' @param data whatever the functions need, their last argument. `NULL` for functions without one.
#' @param lower,upper bounds of the parameters, which lie strictly within them: a number for all,
#'   one for each, some by name, or a list with names of parts of `start`. Between bounds the climb
#'   goes on the scale of a logarithm or logit.
#' @param control settings of the ascent, see [elbo_control()]: `accelerate = "none"` is textbook
#'   EM.
#' @details
#' The objective is `elbo` where it is given, otherwise `log_evidence`. With either a step that
#' lowers it by more than rounding is an error which says where it happened. With neither the fit is
#' watched by how far the map moves theta, and has no standard errors.
#'
#' `accelerate = "auto"` extrapolates from the last 10 steps by Anderson's method (Walker and Ni
#' 2011; for EM: Henderson and Varadhan 2019): one map a step, and of the kind that keeps sums,
#' such as those of probabilities. `"squarem"` is the squared extrapolation of Varadhan and Roland
#' (2008). An extrapolated theta is kept only if the functions work there and the objective is no
#' lower (without an objective: if the map goes no further than twice as far as before); otherwise
#' the step is the plain one. The last theta is always one that `mstep` returned.
#'
#' The climb ends where the map, and the extrapolation from it, move no entry of theta by more than
#' `tol` of its size: plain EM ends where the steps to come do, by the rate of the last ones.
#'
#' Standard errors come from the observed information, by differences of `log_evidence` (or of
#' `elbo` at the q of each theta) over a hundredth of a standard error, along the directions in
#' which theta is free: entries that sum to one in `start` and at the end go on doing so, symmetric
#' matrices stay symmetric. With `elbo` there are also those of `vcov(fit, type = "em_map")`: with
#' J the derivative of the EM map and \eqn{I_c}{Ic} the information were q known, \eqn{((I - J')
#' I_c)^{-1}}{(Ic (I - J))^-1} (Meng and Rubin 1991).
#'
#' Warnings of the functions are not shown: extrapolation may try them where they make no sense.
#' @return A fit of class `c("elbo_em", "elbo_own", "elbo_fit")`. `theta(fit, as_start = TRUE)` has
#'   the estimates in the shape of `start`; `latent(fit)` is q there; `predict(fit, f)` gives any
#'   function of the parameters with its standard error.
#' @section Errors:
#' A function that fails, or returns what cannot be used (a missing or infinite value, another
#' length, other names, a value out of bounds), and a step that lowers the objective, end the fit
#' with
#' an error of class `elbo_error_own_model` that names the function and the iteration; its fields
#' `iteration`, `step` and `theta` have the state before.
#' @references
#' Henderson, N. C. and Varadhan, R. (2019). Damped Anderson acceleration with restarts and
#' monotonicity control for accelerating EM and EM-like algorithms. *Journal of Computational and
#' Graphical Statistics* 28, 834--846. \doi{10.1080/10618600.2019.1594835}
#'
#' Meng, X.-L. and Rubin, D. B. (1991). Using EM to obtain asymptotic variance-covariance matrices:
#' the SEM algorithm. *Journal of the American Statistical Association* 86, 899--909.
#' \doi{10.1080/01621459.1991.10475130}
#'
#' Varadhan, R. and Roland, C. (2008). Simple and globally convergent methods for accelerating the
#' convergence of any EM algorithm. *Scandinavian Journal of Statistics* 35, 335--353.
#' \doi{10.1111/j.1467-9469.2007.00585.x}
#'
#' Walker, H. F. and Ni, P. (2011). Anderson acceleration for fixed-point iterations. *SIAM Journal
#' on Numerical Analysis* 49, 1715--1735. \doi{10.1137/10078356X}
#' @family users' own models
#' @examples
#' # Deaths of women over 80 a day in the London Times: a mixture of two Poisson laws. Plain EM
#' # takes 2,586 steps from here.
#' deaths <- c(162, 267, 271, 185, 111, 61, 27, 8, 3, 1) # days with 0, 1, ..., 9 of them
#' estep <- function(theta, y) {
#'   first <- theta["p"] * dpois(0:9, theta["mu1"])
#'   first / (first + (1 - theta["p"]) * dpois(0:9, theta["mu2"]))
#' }
#' mstep <- function(q, y) {
#'   mean <- function(w) sum(w * 0:9) / sum(w)
#'   c(p = sum(y * q) / sum(y), mu1 = mean(y * q), mu2 = mean(y * (1 - q)))
#' }
#' log_evidence <- function(theta, y) {
#'   p <- theta["p"]
#'   sum(y * log(p * dpois(0:9, theta["mu1"]) + (1 - p) * dpois(0:9, theta["mu2"])))
#' }
#' fit <- fit_em(c(p = 0.3, mu1 = 1, mu2 = 2.5), estep, mstep, log_evidence, data = deaths)
#' fit
#' confint(fit)
#' convergence(fit)$em
#'
#' # Gene counting for blood groups: probabilities that sum to one.
#' blood <- c(A = 186, B = 38, AB = 13, O = 284)
#' fit_em(c(A = 0.3, B = 0.3, O = 0.4), data = blood,
#'        estep = function(p, y) p[c("A", "B")] / (p[c("A", "B")] + 2 * p["O"]),
#'        mstep = function(pure, y) {
#'          genes <- c(y[c("A", "B")] * (1 + pure) + y["AB"], O = 0)
#'          genes["O"] <- 2 * sum(y) - sum(genes)
#'          genes / sum(genes)
#'        },
#'        log_evidence = function(p, y) {
#'          own <- p[c("A", "B")]
#'          sum(y * log(c(own^2 + 2 * own * p["O"], 2 * prod(own), p["O"]^2)[c(1, 2, 3, 4)]))
#'        })
#' @export
fit_em <- function(start, estep, mstep, log_evidence = NULL, elbo = NULL, data = NULL,
                   lower = -Inf, upper = Inf, control = elbo_control()) {
  began <- proc.time()[[3]]
  functions <- list(estep = estep, mstep = mstep, log_evidence = log_evidence, elbo = elbo)
  for (name in c("estep", "mstep")) {
    check(is.function(functions[[name]]), name, "a function", functions[[name]])
  }
  for (name in c("log_evidence", "elbo")) {
    check(is.null(functions[[name]]) || is.function(functions[[name]]), name, "a function or NULL",
          functions[[name]])
  }
  check(inherits(control, "elbo_control"), "control", "made by elbo_control()", control)
  check_no_quadrature(control, own_functions_only)
  em <- list(pattern = own_pattern(start, lower, upper), control = control, data = data,
             functions = lapply(functions, with_data, data))
  found <- climb_own(em)
  fit <- new_em_fit(em, found, list(call = match.call(), given_in = parent.frame(), began = began))
  warn_unfinished(fit)
  fit
}

# f(..., data), or f(...) where there is none.
with_data <- function(f, data) {
  if (is.null(f) || is.null(data)) return(f)
  function(...) f(..., data)
}

em_memory <- 10L # steps that are looked back at

climb_own <- function(em) {
  climber <- own_climber(em)
  check_own_start(climber, em)
  model <- c(climber$functions, list(n_eta = length(em$pattern$x), memory = em_memory))
  result <- .Call(C_own_fit, model, control_for_c(em$control, 1L), progress_reporter(em$control))
  if (result$status < 0) stop_own(climber$state, result$status)
  list(result = result, state = climber$state)
}

# ---- what the engine calls ---------------------------------------------------------------------

# list(functions, state). `state` is an environment: theta and q, theta `before` the last M-step,
# the `problem` met last, what is known of the objective here (`elbo`, `evidence`), and its last
# `values`.
own_climber <- function(em) {
  state <- new.env(parent = emptyenv())
  state$theta <- em$pattern$start
  state$iteration <- 0L
  objective <- objective_asked(em$functions, state)
  both <- !is.null(em$functions$elbo) && !is.null(em$functions$log_evidence)
  unknown <- function() NA_real_
  list(state = state, functions = c(steps_asked(em, state), list(
    elbo = if (!is.null(em_objective(em$functions))) objective$value,
    log_evidence = if (both) objective$log_evidence else unknown,
    kl = if (both) objective$kl else unknown
  )))
}

problem_met <- function(state, step, name, words) {
  state$problem <- list(step = step, name = name, words = words)
  ascent_status[["not_finite"]]
}

steps_asked <- function(em, state) {
  set_theta <- function(x) {
    state$theta <- fold(em$pattern, as.double(x))
    state$elbo <- state$evidence <- NULL
    ascent_status[["converged"]]
  }
  e_step <- function() {
    q <- attempt(em$functions$estep(state$theta))
    if (!is.null(q$problem)) return(problem_met(state, "E", "estep", q$problem))
    state$q <- q$value
    state$elbo <- NULL
    ascent_status[["converged"]]
  }
  m_step <- function() {
    state$before <- state$theta
    state$iteration <- state$iteration + 1L
    answer <- attempt(em$functions$mstep(state$q))
    problem <- answer$problem
    if (is.null(problem)) problem <- own_theta_problem(answer$value, em$pattern)
    if (!is.null(problem)) return(problem_met(state, "M", "mstep", problem))
    set_theta(theta_entries(answer$value))
  }
  list(e_step = e_step, m_step = m_step,
       pack = function() to_free(em$pattern, as.double(theta_entries(state$theta))),
       unpack = function(eta) set_theta(from_free(em$pattern, eta)))
}

# The function that is climbed, `elbo` or `log_evidence`.
em_objective <- function(functions) {
  if (is.null(functions$elbo)) functions$log_evidence else functions$elbo
}

# Numbers at the present theta and q, computed once; state$values: the last two of the objective.
objective_asked <- function(functions, state) {
  number <- function(name, ...) {
    answer <- attempt(functions[[name]](...))
    if (is.null(answer$problem)) answer$problem <- number_problem(answer$value)
    if (is.null(answer$problem)) return(as.double(answer$value))
    problem_met(state, name, name, answer$problem)
    NA_real_
  }
  log_evidence <- function() {
    if (is.null(state$evidence)) state$evidence <- number("log_evidence", state$theta)
    state$evidence
  }
  present <- function() {
    if (is.null(functions$elbo)) return(log_evidence())
    if (is.null(state$elbo)) state$elbo <- number("elbo", state$theta, state$q)
    state$elbo
  }
  value <- function() {
    state$values <- c(state$values[length(state$values)], present())
    state$values[length(state$values)]
  }
  list(value = value, log_evidence = log_evidence, kl = function() log_evidence() - present())
}

# What is wrong at the start is wrong with the arguments.
check_own_start <- function(climber, em) {
  climber$functions$e_step()
  if (is.null(climber$state$problem) && !is.null(climber$functions$elbo)) climber$functions$elbo()
  problem <- climber$state$problem
  climber$state$values <- NULL
  if (is.null(problem)) return(invisible())
  stop_at(climber$state, 0L, problem, sprintf("`%s` does not work at `start` (%s).", problem$name,
                                              theta_words(em$pattern$start)))
}

theta_words <- function(theta) {
  enumerate(paste(own_names(theta), "=", signif_text(theta_entries(theta), 4)), 6)
}

stop_own <- function(state, status) {
  i <- max(state$iteration, 1L)
  if (status == ascent_status[["descent"]]) return(stop_descent(state, i))
  if (is.null(state$problem)) {
    state$problem <- list(step = "M", name = "mstep", words = "The objective there is not finite.")
  }
  at <- if (state$problem$step == "M") state$before else state$theta
  stop_at(state, i, state$problem, sprintf("`%s` does not work in iteration %d, at %s.",
                                           state$problem$name, i, theta_words(at)), at)
}

stop_descent <- function(state, iteration) {
  fell <- state$values[1] - state$values[2]
  stop_at(state, iteration, list(step = "M", words = NULL), sprintf(paste(
    "The objective fell by %s in iteration %d, from %s to %s, and no step of EM ever lowers it.",
    "The state before was %s. check_em() says which step is wrong."), signif_text(fell, 3),
    iteration, format(state$values[1], digits = 10), format(state$values[2], digits = 10),
    theta_words(state$before)), state$before)
}

stop_at <- function(state, iteration, problem, words, theta = state$theta) {
  abort(c(words, problem$words), "elbo_error_own_model", iteration = iteration,
        step = problem$step, theta = theta)
}

# ---- standard errors ---------------------------------------------------------------------------

# The log evidence of a theta as a vector, or the ELBO at the best q; NA where there is none.
em_evidence <- function(em) {
  f <- em$functions
  if (is.null(f$log_evidence) && is.null(f$elbo)) return(NULL)
  function(x) {
    theta <- fold(em$pattern, x)
    answer <- attempt(if (is.null(f$log_evidence)) f$elbo(theta, f$estep(theta))
                      else f$log_evidence(theta))
    if (is.numeric(answer$value) && length(answer$value) == 1) as.double(answer$value) else NA_real_
  }
}

# list(covariance, gradient, gain) at x, the derivatives along `directions`.
em_uncertainty <- function(evidence, x, directions) {
  unknown <- list(covariance = matrix(NA_real_, length(x), length(x)), gradient = NA_real_,
                  gain = NA_real_)
  if (is.null(evidence) || ncol(directions) == 0) return(unknown)
  along <- function(t) evidence(x + drop(directions %*% t))
  slopes <- second_differences(along, ncol(directions), direction_sizes(x, directions))
  if (!all(is.finite(slopes$hessian))) return(unknown)
  V <- invert_information(-slopes$hessian, 1e-7)
  se <- sqrt(diag(V))
  known <- is.finite(se)
  g <- slopes$gradient
  list(covariance = transform_covariance(directions, V), gradient = max(abs(g * se)[known], 0),
       gain = drop(g[known] %*% V[known, known, drop = FALSE] %*% g[known]) / 2)
}

direction_sizes <- function(x, directions) {
  size <- pmax(abs(x), 1e-3 * max(abs(x), 1e-3))
  apply(directions != 0, 2, function(on) min(size[on]))
}

# Gradient and Hessian of f at zero, central, over a hundredth of a standard error in each
# coordinate: errors are of its square, and rounding is 1e4 times that of f.
second_differences <- function(f, n, size) {
  middle <- f(numeric(n))
  h <- 1e-4 * size
  unit <- function(j) replace(numeric(n), j, h[j])
  ends <- function(j) c(f(unit(j)), f(-unit(j)))
  for (round in 1:3) {
    pairs <- vapply(seq_len(n), ends, numeric(2))
    curvature <- abs(pairs[1, ] - 2 * middle + pairs[2, ]) / h^2
    wanted <- 0.01 / sqrt(curvature)
    away <- which(!(h / wanted < 2 & h / wanted > 0.5) & is.finite(wanted))
    if (length(away) == 0 || round == 3) break
    h[away] <- pmin(wanted, 100 * h, 0.1 * size)[away]
  }
  pairs <- vapply(seq_len(n), ends, numeric(2))
  far <- vapply(seq_len(n), function(j) c(f(2 * unit(j)), f(-2 * unit(j))), numeric(2))
  hessian <- matrix(0, n, n)
  diag(hessian) <- (pairs[1, ] - 2 * middle + pairs[2, ]) / h^2
  for (j in seq_len(n)) for (k in seq_len(j - 1)) {
    both <- f(unit(j) + unit(k)) + f(-unit(j) - unit(k)) + 2 * middle
    hessian[j, k] <- hessian[k, j] <- (both - sum(pairs[, c(j, k)])) / (2 * h[j] * h[k])
  }
  # Richardson's extrapolation, as a gradient is nearly zero.
  gradient <- (8 * (pairs[1, ] - pairs[2, ]) - (far[1, ] - far[2, ])) / (12 * h)
  list(gradient = gradient, hessian = hessian, steps = h)
}

# (I_c (I - J))^{-1}, I_c the information at q held, J the derivative of the map (Meng and Rubin
# 1991, equation 2.2.3; Dempster, Laird and Rubin 1977, equation 3.15).
em_map_covariance <- function(fit) {
  f <- own_functions(fit)
  pattern <- pattern_of(fit)
  directions <- directions_of(fit)
  x <- as.vector(theta(fit))
  q <- q_of(fit)
  known <- second_differences(function(t) {
    as.double(f$elbo(fold(pattern, x + drop(directions %*% t)), q))
  }, ncol(directions), direction_sizes(x, directions))
  coordinates <- function(t) {
    theta <- fold(pattern, x + drop(directions %*% t))
    qr.coef(qr(directions), theta_entries(f$mstep(f$estep(theta))) - x)
  }
  J <- vapply(seq_len(ncol(directions)), function(j) {
    step <- replace(numeric(ncol(directions)), j, known$steps[j])
    (coordinates(step) - coordinates(-step)) / (2 * known$steps[j])
  }, numeric(ncol(directions)))
  information <- -known$hessian %*% (diag(ncol(directions)) - J)
  transform_covariance(directions, invert_information((information + t(information)) / 2, 1e-7))
}

# ---- the fit -----------------------------------------------------------------------------------

new_em_fit <- function(em, found, facts) {
  pattern <- em$pattern
  state <- found$state
  x <- as.double(theta_entries(state$theta))
  parameters <- own_rows(pattern)
  directions <- free_directions(pattern$start, state$theta)
  evidence <- em_evidence(em)
  about <- em_uncertainty(evidence, x, directions)
  trace <- ascent_trace(found$result$trace)
  objective <- if (is.null(evidence)) NA_real_ else utils::tail(trace$elbo, 1)
  log_evidence <- if (is.null(em$functions$log_evidence)) NA_real_ else evidence(x)
  fit <- list(call = facts$call, given_in = facts$given_in, method = "em", pattern = pattern,
              theta = own_theta(pattern, x, parameters), parameters = parameters, data = em$data,
              functions = em$functions, directions = directions, q = state$q,
              covariance = about$covariance, objective = objective, log_evidence = log_evidence,
              trace = trace, convergence = em_convergence(found$result, about, evidence),
              control = em$control, df_parameters = ncol(directions), prior = NULL,
              priors = list(stated = list(), default = logical()),
              time = proc.time()[[3]] - facts$began)
  new_elbo_fit(fit, c("elbo_em", "elbo_own"))
}

em_convergence <- function(result, about, evidence) {
  result$gradient <- about$gradient
  result$still_to_gain <- about$gain
  state <- ascent_convergence(result)
  state$movement <- result$movement
  if (is.null(evidence) && state$status == "converged") {
    count <- c(EM = result$em, extrapolated = result$anderson + result$squarem)
    count <- count[count > 0]
    state$message <- sprintf(paste(
      "At a fixed point of the map, which moves theta by %s of its size, after %s steps. Whether",
      "the likelihood rose on the way, `log_evidence` or `elbo` would tell."),
      format(result$movement, digits = 1), paste(count, names(count), collapse = " and "))
  }
  state
}

# ---- what it answers ---------------------------------------------------------------------------

#' @exportS3Method
theta_covariance.elbo_em <- function(fit, type) {
  if (type == "em_map") em_map_covariance(fit) else free_covariance(fit)
}

#' @exportS3Method
covariance_types.elbo_em <- function(fit) {
  c("observed", if (!is.null(own_functions(fit)$elbo)) "em_map")
}

#' @exportS3Method
integrated_words.elbo_em <- function(fit) "z integrated by your E-step, theta a point"

#' @exportS3Method
objective_words.elbo_em <- function(fit) {
  trace <- trace_of(fit)
  if (is.na(objective_of(fit))) return("no objective: neither `log_evidence` nor `elbo` was given")
  if (is.na(log_evidence_of(fit))) return(sprintf("ELBO %s", fixed_text(objective_of(fit), 1)))
  words <- paste("log-likelihood", fixed_text(log_evidence_of(fit), 1))
  kl <- utils::tail(trace$kl, 1)
  if (is.na(kl)) return(words)
  sprintf("%s = ELBO %s + KL %s", words, fixed_text(objective_of(fit), 1),
          fixed_text(max(kl, 0), 1))
}

#' @exportS3Method
notes.elbo_em <- function(fit) {
  se <- diag(theta_covariance(fit, "observed"))
  lost <- names(theta(fit))[is.na(se)]
  if (is.na(objective_of(fit))) {
    return("No standard errors: give `log_evidence`, or `elbo`.")
  }
  if (length(lost) > 0) {
    sprintf("No standard error of %s: the likelihood is flat there, or falls off its domain.",
            enumerate(lost, 6))
  }
}

#' @exportS3Method
latent.elbo_em <- function(object, ...) {
  check_dots_empty(...)
  q_of(object)
}

# The delta method.
#' @exportS3Method
derived_quantities.elbo_em <- function(fit, value) {
  x <- as.vector(theta(fit))
  V <- theta_covariance(fit, "observed")
  estimate <- value(x)
  directions <- directions_of(fit)
  se <- sqrt(diag(V))
  h <- apply(directions != 0, 2, function(on) 0.01 * min(se[on]))
  if (anyNA(h)) return(list(estimate = estimate, sd = rep(NA_real_, length(estimate))))
  slopes <- vapply(seq_along(h), function(j) {
    (value(x + h[j] * directions[, j]) - value(x - h[j] * directions[, j])) / (2 * h[j])
  }, numeric(length(estimate)))
  slopes <- matrix(slopes, length(estimate))
  free <- qr.solve(directions, t(qr.solve(directions, V)))
  list(estimate = estimate, sd = sqrt(rowSums((slopes %*% free) * slopes)))
}
