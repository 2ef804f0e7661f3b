# The parametric bootstrap of a mixture: every refit starts at the fit, and its components are
# given the labels of the fit's.

#' @rdname bootstrap
#' @details
#' Of a mixture every refit starts at the fit, and its components are matched to those of the fit by
#' the units they share, so that labels mean the same in all of them.
#' @export
bootstrap.elbo_mixture <- function(object, nsim = 1000L, seed = NULL, ...) {
  check_dots_empty(...)
  nsim <- check_count(nsim, "nsim")
  refits <- repeated(nsim, function() refit_draw(object), seed, object$control, "Refits")
  theta <- do.call(rbind, lapply(refits, `[[`, "theta"))
  colnames(theta) <- names(object$theta)
  objective <- vapply(refits, `[[`, 0, "objective")
  structure(list(theta = theta, objective = objective, estimate = object$theta,
                 failed = sum(is.na(objective)), method = object$method,
                 labels = parameter_labels(object)),
            class = "elbo_bootstrap")
}

# A list of what `draw` returns n times, with a bar where progress is shown.
repeated <- function(n, draw, seed, control, what) {
  with_seed(seed, each_in_turn(seq_len(n), function(i) draw(), control, what))
}

# lapply() with a bar where progress is shown.
each_in_turn <- function(x, f, control, what) {
  bar <- if (show_progress(control)) cli::cli_progress_bar(what, total = length(x))
  lapply(x, function(i) {
    answer <- f(i)
    if (!is.null(bar)) cli::cli_progress_update(id = bar)
    answer
  })
}

# Fitted to one draw of the responses; NA where there is no answer.
refit_draw <- function(fit) {
  fit$design <- redrawn_design(fit)
  fit$cache <- new.env(parent = emptyenv())
  expected <- unit_probability(fit)
  refit <- refit_mixture(fit)
  if (is.null(refit)) return(list(theta = NA * fit$theta, objective = NA_real_))
  order <- match_components(crossprod(expected, unit_probability(refit)))
  list(theta = permute_theta(refit, order), objective = refit$objective)
}

refit_mixture <- function(fit) {
  answer <- ascend_mixture(fit_model(fit), list(state = fit$state), refit_control(fit))
  if (!alive(answer)) return(NULL)
  fit$state <- answer$state
  fit$theta[] <- theta_of(answer, fit_model(fit), latent_parameters(fit))
  fit$objective <- answer$objective
  fit$cache <- new.env(parent = emptyenv())
  fit
}

# The design with responses drawn, those missing that were.
redrawn_design <- function(fit) {
  old <- copies_apart(fit$design)
  new <- draw_responses(fit, old)$design
  new$Y[is.na(old$Y)] <- NA
  new
}

# Each copy of a unit by itself, since copies are drawn apart.
copies_apart <- function(design) {
  if (is.null(design$freq)) return(design)
  design <- subset_units(design, rep(seq_len(design$n_unit), design$freq))
  design["freq"] <- list(NULL)
  design
}

# The column for each row of a k x k table of what they share, largest first.
match_components <- function(shared) {
  order <- integer(nrow(shared))
  for (i in seq_along(order)) {
    best <- arrayInd(which.max(shared), dim(shared))
    order[best[1]] <- best[2]
    shared[best[1], ] <- shared[, best[2]] <- -Inf
  }
  order
}

# theta with component order[j] in the place of j. Coefficients of membership are relative to the
# first component.
permute_theta <- function(fit, order) {
  theta <- fit$theta
  parameters <- fit$parameters
  key <- paste(parameters$block, parameter_terms(parameters$name))
  for (term in unique(key[!is.na(parameters$component) & parameters$block != "membership"])) {
    rows <- which(key == term)
    rows <- rows[order(parameters$component[rows])]
    theta[rows] <- fit$theta[rows][order]
  }
  rows <- which(parameters$block == "membership")
  if (length(rows) > 0) {
    B <- t(limit_membership(t(finite_membership(fit)[order, , drop = FALSE]), fit$design$W))
    terms <- match(parameter_terms(parameters$name[rows]), unique(parameter_terms(
      parameters$name[rows])))
    theta[rows] <- B[cbind(parameters$component[rows] - 1, terms)]
  }
  theta
}
