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
  latent <- latent_parameters(object)
  refits <- repeated(nsim, function() refit_draw(object, latent), seed, control_of(object),
                     "Refits")
  rows <- vapply(refits, function(refit) c(refit$theta, refit$objective), c(theta(object), 0))
  new_bootstrap(object, t(rows))
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

# Fitted to one draw of the responses; NA where there is no answer. `latent` is latent_parameters().
refit_draw <- function(fit, latent) {
  design_of(fit) <- redrawn_design(fit)
  model <- fit_model(fit)
  answer <- refit_ascent(model, state_of(fit), refit_control(fit))
  if (!alive(answer)) return(list(theta = NA * theta(fit), objective = NA_real_))
  shared <- crossprod(probability_at(fit, model, state_of(fit)),
                      probability_at(fit, model, answer$state))
  theta(fit)[] <- reported_theta(answer, model, latent)
  list(theta = permute_theta(fit, match_components(shared)), objective = answer$objective)
}

refit_run <- 60L # iterations before second derivatives are worth their passes

# From the estimates the way is short, and second derivatives, two passes for each parameter, would
# cost many times what it does only to confirm its end: they wait for ascents that are slow.
refit_ascent <- function(model, state, control) {
  answer <- ascend_mixture(model, list(state = state), control, first_order = TRUE,
                           max_iter = min(refit_run, control$max_iter))
  if (answer$status != ascent_status[["max_iter"]] || control$max_iter <= refit_run) return(answer)
  ascend_mixture(model, list(state = answer$state), control)
}

probability_at <- function(fit, model, state) {
  harden(fit, .Call(C_mixture_evaluate, model, state)$probability)
}

# The design with responses drawn, those missing that were.
redrawn_design <- function(fit) {
  old <- copies_apart(design_of(fit))
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
  theta <- theta(fit)
  if (!is.unsorted(order)) return(theta)
  parameters <- parameters_of(fit)
  key <- paste(parameters$block, term_names(parameters))
  for (term in unique(key[!is.na(parameters$component) & parameters$block != "membership"])) {
    rows <- which(key == term)
    rows <- rows[order(parameters$component[rows])]
    theta[rows] <- theta(fit)[rows][order]
  }
  rows <- which(parameters$block == "membership")
  if (length(rows) > 0) {
    B <- t(limit_membership(t(finite_membership(fit)[order, , drop = FALSE]), design_of(fit)$W))
    terms <- match(parameters$term1[rows], unique(parameters$term1[rows]))
    theta[rows] <- B[cbind(parameters$component[rows] - 1, terms)]
  }
  theta
}
