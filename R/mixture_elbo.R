# The objective of a mixture at any theta and any q(z), and the states of C that belong to points
# theta.
#
#   theta_state(fit, theta)     the state at a point theta (not under vb, where a state is a q)
#   unit_log_joint(fit, theta)  log p(y_i, z_i = j | theta), units x k

#' @rdname elbo
#' @details
#' Of a mixture q is an n x k matrix of probabilities, a row for each unit, as
#' `predict(fit, type = "prob")`.
#' @export
elbo.elbo_mixture <- function(object, theta = NULL, q = NULL, ...) {
  check_dots_empty(...)
  if (is.null(theta) && is.null(q)) return(objective_of(object))
  check_no_curves(design_of(object), "The ELBO at other points",
                  "elbo(fit) is that at the optimum.")
  if (method_of(object) == "vb") {
    abort(c("A fit by method \"vb\" has its ELBO at the optimum only: elbo(fit).",
            "Change the model or its priors and refit to compare."), "elbo_error_not_available")
  }
  theta <- if (is.null(theta)) theta_of(object) else check_theta(theta, object)
  free <- law_of(object)$unconstrained(object)
  answer <- evaluate_mixture(free, state = theta_state(object, theta))
  log_prior <- evaluate_mixture(object, state = theta_state(object, theta))$log_prior
  freq <- unit_freq(object)
  if (is.null(q)) {
    # z at its best: summed over, or under joint the best point.
    best <- if (method_of(object) == "joint") log(apply(answer$probability, 1, max)) else 0
    return(sum(freq * (answer$log_density + best)) + log_prior)
  }
  q <- check_probabilities(q, object)
  terms <- ifelse(q > 0, q * (unit_log_joint(object, theta) - log(q)), 0)
  sum(freq * rowSums(terms)) + log_prior
}

check_theta <- function(theta, fit) {
  ok <- is.numeric(theta) && length(theta) == length(theta_of(fit)) &&
    all(is.finite(theta) | !is.finite(theta_of(fit)))
  check(ok, "theta", sprintf("%d finite numbers, like theta(fit)", length(theta_of(fit))),
        theta)
}

check_probabilities <- function(q, fit) {
  if (is.data.frame(q)) q <- as.matrix(q)
  ok <- is.numeric(q) &&
    identical(dim(q), c(as.integer(design_of(fit)$n_unit), as.integer(n_components(fit)))) &&
    all(is.finite(q) & q >= 0) && all(abs(rowSums(q) - 1) < 1e-8)
  check(ok, "q", sprintf("a %d x %d matrix of probabilities, each row with sum one",
                         design_of(fit)$n_unit, n_components(fit)), q)
  q
}

# log p(y_i, z_i = j | theta), n_unit x k: each component by itself is a mixture of one.
unit_log_joint <- function(fit, theta = theta_of(fit)) {
  theta(fit)[] <- theta
  state <- theta_state(fit, theta)
  out <- vapply(seq_len(n_components(fit)), function(j) {
    one <- law_of(fit)$unconstrained(fit)
    n_components(one) <- 1L
    design_of(one)$W <- NULL
    evaluate_mixture(one, state = component_state(state, j))$log_density
  }, numeric(design_of(fit)$n_unit))
  matrix(out, ncol = n_components(fit)) + log(unit_weights(fit))
}

component_state <- function(state, j) {
  last <- function(field) {
    if (is.null(dim(field))) return(if (length(field) == 1) field else field[j])
    size <- dim(field)
    if (size[length(size)] == 1) return(field) # common to all
    array(matrix(field, ncol = size[length(size)])[, j], c(size[-length(size)], 1))
  }
  state <- lapply(state, function(part) lapply(part, last))
  state$weights <- list(weight = 1)
  state
}

# ---- states ------------------------------------------------------------------------------

# The state at which a point theta is (not under vb, where a state is q).
theta_state <- function(fit, theta) {
  theta(fit)[] <- theta
  law <- law_of(fit)
  state <- state_of(fit)
  state$weights <- weights_state(fit, state$weights)
  state[[law$part]] <- law$theta_fields(fit, state[[law$part]])
  state
}
