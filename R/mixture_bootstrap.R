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
  refits <- repeated(nsim, function() refit_draw(object), seed, control_of(object), "Refits")
  theta <- do.call(rbind, lapply(refits, `[[`, "theta"))
  colnames(theta) <- names(theta(object))
  objective <- vapply(refits, `[[`, 0, "objective")
  structure(list(theta = theta, objective = objective, estimate = theta(object),
                 failed = sum(is.na(objective)), method = method_of(object),
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
  design_of(fit) <- redrawn_design(fit)
  cache_of(fit) <- new.env(parent = emptyenv())
  expected <- unit_probability(fit)
  refit <- refit_mixture(fit)
  if (is.null(refit)) return(list(theta = NA * theta(fit), objective = NA_real_))
  order <- match_components(crossprod(expected, unit_probability(refit)))
  list(theta = permute_theta(refit, order), objective = objective_of(refit))
}

refit_mixture <- function(fit) {
  answer <- ascend_mixture(fit_model(fit), list(state = state_of(fit)), refit_control(fit))
  if (!alive(answer)) return(NULL)
  state_of(fit) <- answer$state
  theta(fit)[] <- reported_theta(answer, fit_model(fit), latent_parameters(fit))
  objective_of(fit) <- answer$objective
  cache_of(fit) <- new.env(parent = emptyenv())
  fit
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
