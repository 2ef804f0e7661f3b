# Every number of components and covariance model that was asked for, and the choice among them.
#
#   select_mixture(design, k, models, method, prior, start, control)
#     list(k, covariance, priors, result, starts, selection): the chosen candidate, what C found for
#     it, and the table of all candidates
#
# Criteria: BIC, -2 log L + df log n, with n the number of units (em); the same with the
# classification likelihood, which is ICL (joint); the ELBO and, where components are exchangeable,
# log(k! / (k - k+)!), since q sits on one of that many equal modes, k+ being the number of occupied
# components (vb).  ICL adds twice the entropy of q(z) to BIC, or takes the entropy from the ELBO
# (Biernacki, Celeux and Govaert 2000).

select_mixture <- function(design, k, models, method, prior, start, control) {
  given <- if (!is.null(start)) given_start(start, design, k)
  sorted <- sorted_design(design)
  design <- sorted$design
  if (!is.null(given)) given[[1]]$start <- lapply(given[[1]]$start, take_rows, sorted$order)
  units <- if (is.null(start) && any(k > 1)) starting_units(design, start_seed(control))
           else list(design = design)
  law <- law_of(design)
  candidates <- list()
  for (n_components in k) {
    starts <- if (is.null(start)) mixture_starts(units, n_components, control, method)
              else given
    for (covariance in law$distinct_models(models, n_components)) {
      hopeless <- law$hopeless(design, n_components, covariance, method, prior)
      candidates <- c(candidates, list(if (is.null(hopeless)) {
        fit_candidate(design, units$design, n_components, covariance, method, prior, starts,
                      control)
      } else {
        hopeless_candidate(design, n_components, covariance, method, prior, hopeless)
      }))
    }
  }
  choose_candidate(candidates, units, design, method, control)
}

# Of each number of components the best candidate, as if it were the only number; then the best of
# these.
choose_candidate <- function(candidates, units, design, method, control) {
  table <- do.call(rbind, lapply(candidates, candidate_row, design, method))
  units$full <- design
  for (rows in split(seq_along(candidates), table$k)) {
    candidates[rows] <- settle_candidates(candidates[rows], units, design, method, control)
    best <- rows[best_row(do.call(rbind, lapply(candidates[rows], candidate_row, design, method)),
                          method)]
    if (length(best) > 0) candidates[[best]] <- fuller_candidate(candidates[[best]], units, control)
  }
  table <- do.call(rbind, lapply(candidates, candidate_row, design, method))
  if (all(is.na(table$criterion))) abort_collapsed(candidates[[1]], design, length(candidates))
  c(candidates[[best_row(table, method)]], list(selection = table))
}

best_row <- function(table, method) {
  if (method == "vb") which.max(table$criterion) else which.min(table$criterion)
}

# Of one number of components: moves where they may make a candidate the best, which is climbed to
# the end; where it collapses on the way, the next best.
settle_candidates <- function(candidates, units, design, method, control) {
  row <- function(candidate) candidate_row(candidate, design, method)
  table <- do.call(rbind, lapply(candidates, row))
  moved <- rep(FALSE, length(candidates))
  while (!all(is.na(table$criterion))) {
    for (i in which(!moved & within_reach(table$criterion, method))) {
      candidates[[i]]$result <- moved_candidate(candidates[[i]], units, control)
      table[i, ] <- row(candidates[[i]])
      moved[i] <- TRUE
    }
    if (method == "joint" || control$accelerate != "auto") break
    best <- best_row(table, method)
    candidates[[best]]$result <- finish_ascent(candidates[[best]]$model, candidates[[best]]$result,
                                               control)
    table[best, ] <- row(candidates[[best]])
    if (alive(candidates[[best]]$result)) break
  }
  candidates
}

# Candidates that moves may make the best: a difference of BIC beyond 10, of log evidence beyond 5,
# is very strong evidence (Kass and Raftery 1995).
within_reach <- function(criterion, method) {
  loss <- if (method == "vb") 2 * (max(criterion, na.rm = TRUE) - criterion)
          else criterion - min(criterion, na.rm = TRUE)
  !is.na(loss) & loss <= 10
}

hopeless_candidate <- function(design, k, covariance, method, prior, reason) {
  list(k = k, covariance = covariance, priors = mixture_priors(prior, design, k, method),
       hopeless = reason,
       result = list(status = ascent_status[["unbounded"]], component = 0L, part = 0L))
}

fit_candidate <- function(design, sample, k, covariance, method, prior, starts, control) {
  priors <- mixture_priors(prior, design, k, method)
  model <- mixture_model(design, k, method, covariance, priors$told)
  short <- if (sample$n_unit == design$n_unit) model
           else mixture_model(sample, k, method, covariance, priors$told)
  list(k = k, covariance = covariance, priors = priors, model = model, short = short,
       bound = law_of(design)$has_vectors(design),
       result = best_ascent(model, short, starts, control))
}

candidate_row <- function(candidate, design, method) {
  result <- candidate$result
  k <- candidate$k
  row <- data.frame(k = k, covariance = candidate$covariance, criterion = NA_real_,
                    df = mixture_df(design, k, candidate$covariance, candidate$priors$told),
                    objective = NA_real_, entropy = NA_real_, ICL = NA_real_,
                    status = candidate_status(candidate))
  if (!alive(result)) return(row)
  n <- if (is.null(design$freq)) design$n_unit else sum(design$freq)
  row$objective <- result$objective
  row$entropy <- result$entropy
  if (method == "vb") {
    # The highest bound that is known, also where another optimum was taken.
    row$criterion <- if (is.null(result$emptier)) vb_criterion(result, k, candidate$priors)
                     else result$emptier$criterion
    row$ICL <- row$criterion - row$entropy
  } else {
    row$criterion <- -2 * log_likelihood(candidate, method) + row$df * log(n)
    row$ICL <- row$criterion + 2 * row$entropy
  }
  row
}

candidate_status <- function(candidate) {
  result <- candidate$result
  if (!is.null(candidate$hopeless)) return(candidate$hopeless$status)
  status <- names(ascent_status)[match(result$status, ascent_status)]
  misfit <- if (status == "unbounded") law_of(candidate$model)$misfit(candidate)
  if (!is.null(misfit)) return(misfit$status)
  switch(status,
    converged = "ok",
    max_iter = , stopped = "not converged",
    unbounded = trimws(paste(culprit(result, ""), "collapsed")),
    descent = "the ELBO fell",
    "not finite"
  )
}

column_sds <- function(Y) {
  apply(Y, 2, function(y) {
    largest <- max(abs(y), na.rm = TRUE)
    largest * stats::sd(y / largest, na.rm = TRUE)
  })
}

# Without the log prior: of the responses, or under joint of responses and components. With latent
# vectors "em" has a lower bound, in which their law is no prior.
log_likelihood <- function(candidate, method) {
  bound <- candidate$bound
  if (method == "em" && !bound) return(candidate$result$log_evidence)
  if (all(vapply(candidate$priors$stated, is_vague, NA))) return(candidate$result$objective)
  log_prior <- function(model) .Call(C_mixture_evaluate, model, candidate$result$state)$log_prior
  candidate$result$objective - log_prior(candidate$model) +
    (if (bound) log_prior(law_of(candidate$model)$without_priors(candidate$model)) else 0)
}

is_vague <- function(prior) is_flat(prior) || is_constant(prior)

vb_criterion <- function(result, k, priors) {
  result$objective + log_equal_modes(result$size, k, priors)
}

# Where nothing can be fitted ---------------------------------------------------------------------

abort_collapsed <- function(candidate, design, n_candidates) {
  result <- candidate$result
  if (result$status == ascent_status[["descent"]]) check_ascent(result, list(), "em")
  which <- paste("k =", candidate$k)
  if (!is.na(candidate$covariance)) {
    which <- sprintf("%s, covariance \"%s\"", which, candidate$covariance)
  }
  tried <- sprintf("The model (%s) cannot be fitted:", which)
  if (n_candidates > 1) {
    tried <- sprintf("None of %d models can be fitted; first, %s:", n_candidates, which)
  }
  if (result$status != ascent_status[["unbounded"]]) {
    abort(c(tried, "the objective is not finite in these data. Rescale the variables to sizes near",
            "one, and look for outliers."), "elbo_error_not_finite")
  }
  hopeless <- candidate$hopeless
  if (!is.null(hopeless)) abort(c(tried, hopeless$words), "elbo_error_unbounded")
  law <- law_of(design)
  misfit <- law$misfit(candidate)
  if (!is.null(misfit)) abort(c(tried, misfit$words), "elbo_error_data")
  if (result$part == 1L && !is.null(design$W)) {
    abort(c(tried, "from every start", culprit(result, "a component"), "loses all its members.",
            "Use fewer components, or a prior, as by prior = priors(membership = normal(0, 10))."),
          "elbo_error_unbounded", component = result$component)
  }
  remedy <- sprintf("Use fewer components; %sor a prior, as by prior = %s.",
                    law$collapse_sharing(design, candidate$covariance),
                    law$collapse_prior(design, candidate$k))
  abort(c(tried, "from every start", culprit(result, "a component"), "collapses",
          law$collapse_words, remedy),
        "elbo_error_unbounded", component = result$component)
}

culprit <- function(result, unknown) {
  if (result$component > 0) sprintf("component %d", result$component) else unknown
}
