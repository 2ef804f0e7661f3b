# Mixed models of responses that are not gaussian (src/general/): from a design to the elements of a
# fit of class c("elbo_general", "elbo_glmm", "elbo_fit").
#
#   is_gaussian(fit)
#   ascend_general(design, held, method, control)       list(result, design, held, priors)
#   general_description(design, held, method, control)  what the C code is told
#   general_estimates(answer)                   the elements of the fit
#   general_at(fit, theta)                      value, derivatives and posterior elsewhere

is_gaussian <- function(fit) is_gaussian_family(family(fit))

# ---- before any work ---------------------------------------------------------------------

fit_general <- function(design, held, method, prior, family, factorization, control) {
  check_general(design, held, method, prior, family, factorization, control$quadrature)
  if (method != "em" || !is_crossed(design)) {
    check_no_importance(control, paste0("With one grouping factor, or another method than \"em\", ",
                                        "there is none here"))
  }
  if (method == "vb") return(ascend_general_vb(design, held, prior, factorization, control))
  check_separated(design, held, prior)
  answer <- ascend_general(design, held, method, control, function(design, held) {
    glmm_map(without_priors(prior, design$aliased), design, held)
  })
  list(design = answer$design, elements = general_estimates(answer),
       class = c("elbo_general", "elbo_glmm"))
}

# What these models do not do, or not yet.
check_general <- function(design, held, method, prior, family, factorization, nodes) {
  refuse <- function(what, remedy, class = "elbo_error_not_available") {
    abort(c(sprintf("With %s(%s) %s.", family$family, family$link, what), remedy), class)
  }
  if (method == "reml") {
    refuse("there is no restricted likelihood: coefficients cannot be integrated exactly",
           "Use method = \"em\".", "elbo_error_argument")
  }
  if (method == "vb") check_general_vb(design, held, factorization, refuse)
  if (method == "joint") check_joint(design, held[!vanishes_at_zero(prior, design, held), ])
  if (is_crossed(design) && method != "vb" && !is.null(nodes) && nodes > 1) {
    refuse("several grouping factors are integrated by Laplace's method, without quadrature",
           "Leave `quadrature` out, or keep one factor.")
  }
  if (length(design$curves) > 0) {
    refuse("smooth terms are not built yet", "Use ns(x, df = 4), of package splines.")
  }
  if (!is.null(design$level)) {
    refuse("there is no residual standard deviation", "Leave `sigma` out.", "elbo_error_argument")
  }
  if (design$known_se) {
    refuse("standard errors have no meaning", "Leave `se` out.", "elbo_error_argument")
  }
  if (any(is.infinite(held$constant))) {
    refuse("latent variables need a law", "Leave constant(Inf) out.")
  }
  if (!all(is.na(held$constant[held$block %in% own_blocks]))) {
    refuse("sizes and thresholds cannot be held yet", "Leave them out of `prior`.")
  }
  if (ncol(design$Z) > 8) refuse("a group has at most 8 random terms", "Drop some.")
  check_total_weight(design$response$weight)
}

# They multiply the log density: of next to nothing any estimate is a maximum to the tolerance.
check_total_weight <- function(weight) {
  if (is.null(weight) || (sum(weight) >= 1e-3 && sum(weight) <= 1e100)) return()
  abort(c(sprintf("`weights` count how often a row was observed, and sum to %.0e.", sum(weight)),
          "Bring them to a mean of one: weights / mean(weights)."), "elbo_error_data")
}

# The density of points on z grows as sd^-m where their sd goes to zero; these priors of the sd
# vanish faster than any power there, so that the joint density has a maximum.
vanishes_at_zero <- function(prior, design, held) {
  stated <- resolve_priors(prior, held, group_names(design))
  fast <- vapply(stated, function(p) {
    !is.null(p) && p$distribution %in% c("inverse_gamma", "gamma_precision")
  }, NA)
  held$block == "sd" & fast
}

# ---- parameters --------------------------------------------------------------------------

# The law's own parameters, and their block.
own_blocks <- c("size", "threshold")

own_parameters <- function(design) {
  response <- design$response
  if (is.null(response) || response$n_own == 0) return(NULL)
  if (response$law == "negative_binomial") return(parameter_rows("size"))
  steps <- paste(utils::head(response$levels, -1), response$levels[-1], sep = "|")
  parameter_rows("threshold", steps)
}

# ---- the climb ---------------------------------------------------------------------------

# Held coefficients are part of the offset.
general_description <- function(design, held, method, control, full_rank = FALSE, start = NULL,
                                priors = NULL) {
  response <- design$response
  beta <- held_values(held, "beta")
  known <- !is.na(beta)
  offset <- if (identical(design$offset, 0)) NULL else design$offset
  if (any(known)) {
    fixed <- drop(design$X[, known, drop = FALSE] %*% beta[known])
    offset <- if (is.null(offset)) fixed else offset + fixed
  }
  law <- glmm_law(design, held[held$block != "sigma", ], "em")
  n <- nrow(design$X)
  grouped <- ncol(design$Z) > 0
  factors <- if (is_crossed(design)) crossed_rows(design, control)
  grouped <- grouped && is.null(factors)
  c(response[c("law", "link", "n_own", "y", "size", "weight")],
    list(offset = offset, X = unname(design$X[, !known, drop = FALSE]), Z = unname(design$Z),
         group = if (grouped) as.integer(the_group(design)) else rep(1L, n),
         n_group = if (grouped) nlevels(the_group(design)) else 1L,
         groups = factors$groups, first = factors$first, n_unit = factors$n_unit,
         block = law$block, n_block = law$n_block, kind = law$kind, common = law$common,
         sd = law$sd, cor = law$cor,
         quadrature = if (is.null(control$quadrature)) 0L else control$quadrature,
         method = if (method == "joint") 0L else 1L, full_rank = as.integer(full_rank),
         start = start, draws = if (!is.null(factors)) importance_draws(design, control)),
    if (is.null(priors)) list(prior_scale = NULL) else priors$told)
}

# Standard normal, a column a pair of draws.
importance_draws <- function(design, control) {
  if (control$importance == 0L) return(NULL)
  n <- sum(levels_of_column(design))
  pairs <- (control$importance + 1L) %/% 2L
  seed <- if (is.null(control$seed)) 1L else control$seed
  with_seed(seed, matrix(stats::rnorm(n * pairs), n))
}

ascend_general <- function(design, held, method, control, make_priors = function(...) NULL) {
  settings <- ascend_control(control, design)
  settings$threads <- as.integer(solver_threads(control))
  climb <- function(design, held, full_rank) {
    priors <- make_priors(design, held)
    model <- general_description(design, held, method, control, full_rank, priors = priors)
    report <- progress_reporter(control)
    result <- if (method == "vb") .Call(C_general_vb, model, settings, report)
              else .Call(C_general_fit, model, settings, report)
    list(result = result, design = design, held = held, law = list(sd = model$sd),
         priors = priors, method = method)
  }
  deficient <- thresholds_reach(design, held)
  answer <- if (deficient) list(design = design, held = held) else climb(design, held, FALSE)
  if (deficient || answer$result$status == ascent_status[["rank"]]) {
    kept <- without_aliased(answer)
    answer <- climb(kept$design, kept$held, TRUE)
  }
  check_ascent(answer$result, answer$design, method)
  answer
}

# Whether a combination of the columns is an intercept, which the C code does not see.
thresholds_reach <- function(design, held) {
  if (is.null(design$response$levels)) return(FALSE)
  X <- design$X[, is.na(held_values(held, "beta")), drop = FALSE]
  length(aliased_columns(beside_thresholds(X, design), NULL, FALSE)) > 0
}

# ---- estimates ---------------------------------------------------------------------------

general_estimates <- function(answer) {
  design <- answer$design
  held <- answer$held
  result <- answer$result
  none <- list(smooth_sd = numeric(), smooth_slope = numeric(), eta_of_smooth = integer())
  natural <- natural_parameters(c(result, none), design, held)
  beta <- held_values(held, "beta")
  beta[is.na(beta)] <- result$beta
  theta <- c(beta, natural$value, result$own)
  names(theta) <- held$name
  fixed <- !is.na(held$constant)
  attr(theta, "fixed") <- fixed
  parameters <- held[names(held) != "constant"]
  parameters$fixed <- fixed
  parameters$boundary <- c(logical(length(beta)), natural$boundary,
                           no_dispersion(design$response, result$own))
  information <- general_information(result, natural, parameters)
  is_beta <- parameters$block == "beta"
  list(
    parameters = parameters, theta = theta,
    beta_cov = information$theta_cov[is_beta, is_beta, drop = FALSE],
    var_cov = information$theta_cov[!is_beta, !is_beta, drop = FALSE],
    information = information,
    latent = general_posterior(result, design, points = answer$method == "joint"),
    row_variance = result$row_variance, # of the predictor, where levels of factors depend
    log_evidence = if (answer$method == "joint") NA_real_
                   else result$objective - log_prior(answer$priors, theta, 1L),
    priors = answer$priors,
    objective = result$objective,
    trace = ascent_trace(result$trace),
    convergence = c(general_convergence(result),
                    result[intersect(c("nodes", "laplace", "accuracy"), names(result))],
                    general_monte_carlo(result, information)),
    df_parameters = sum(!fixed)
  )
}

# What chance leaves of the log-likelihood and of theta, where they are by importance sampling:
# Laplace's estimates know no draws.
general_monte_carlo <- function(result, information) {
  if (is.null(result$monte_carlo)) return()
  V <- information$cov
  V[is.na(V)] <- 0
  of_theta <- transform_covariance(information$slope, V %*% result$score_spread %*% V)
  sd <- sqrt(diag(of_theta))
  if (result$corrected == 0L) sd[] <- NA
  list(monte_carlo = result$monte_carlo, effective = result$effective,
       corrected = result$corrected == 1L,
       monte_carlo_theta = stats::setNames(sd, rownames(information$theta_cov)))
}

# Nodes run out where posteriors have edges, as where subjects are nearly separated.  More draws do
# not raise the share of those that count, of which importance.c asks a tenth.
general_convergence <- function(result) {
  convergence <- ascent_convergence(result)
  if (identical(result$corrected, 0L)) {
    convergence$message <- paste(convergence$message, sprintf(
      paste("The log-likelihood is corrected by importance sampling (Monte Carlo error %.2g,",
            "effective share of draws %s %%), the estimates are Laplace's, since so few draws",
            "as count cannot correct them%s."),
      result$monte_carlo, share_text(result$effective),
      if (result$effective < 0.1) "" else "; more draws may"
    ))
  }
  if (!isTRUE(result$accuracy > 1e-5)) return(convergence)
  convergence$message <- paste(convergence$message, sprintf(
    paste("Of that many nodes the log-likelihood is right to about %.1g: within groups the",
          "responses are nearly separated, and a prior of the sd would help."), result$accuracy
  ))
  convergence
}

# Of one factor list(mean, cov), of several a list of them, `parts`; points have no spread.
general_posterior <- function(result, design, points) {
  of_factor <- function(one, terms, levels) {
    rows <- seq_along(levels) # without ( | ) there is one group of nothing
    list(mean = structure(one$mean[rows, , drop = FALSE], dimnames = list(levels, terms)),
         cov = structure(one$cov[, , rows, drop = FALSE] * !points,
                         dimnames = list(terms, terms, levels)))
  }
  terms <- colnames(design$Z)
  if (!is_crossed(design)) return(of_factor(result, terms, levels(the_group(design))))
  parts <- Map(of_factor, result$latent, split(terms, factor_of_column(design)),
               lapply(design$groups, levels))
  list(parts = stats::setNames(parts, names(design$groups)))
}

# A size so large that the variance mu + mu^2 / size is the mean to the last digits that the
# likelihood has: it climbs towards infinity, which is Poisson.
no_dispersion <- function(response, own) {
  if (response$law != "negative_binomial") return(logical(length(own)))
  own > 1e6 * max(mean(response$y), 1)
}

# The inverse of the whole observed information of (free beta, eta that moves, psi), and what it is
# of theta.  A direction of eta that moves no parameter belongs to the boundary.
general_information <- function(result, natural, parameters) {
  p <- length(result$beta)
  n_eta <- length(result$eta)
  n_own <- length(result$own)
  is_beta <- parameters$block == "beta"
  free_beta <- which(is_beta & !parameters$fixed)
  slope <- matrix(0, nrow(parameters), p + n_eta + n_own)
  slope[cbind(free_beta, seq_len(p))] <- 1
  variances <- sum(is_beta) + seq_len(nrow(natural$slope))
  slope[variances, p + seq_len(n_eta)] <- natural$slope
  own <- nrow(parameters) - n_own + seq_len(n_own)
  slope[own, p + n_eta + seq_len(n_own)] <- result$own_slope
  slope[parameters$boundary, p + n_eta + seq_len(n_own)] <- 0
  moves <- colSums(abs(slope)) > 0
  cov <- matrix(0, ncol(slope), ncol(slope))
  cov[moves, moves] <- invert_information(result$information[moves, moves, drop = FALSE])
  theta_cov <- transform_covariance(slope, cov)
  unknown <- !is_beta & (parameters$fixed | parameters$boundary)
  theta_cov[unknown, ] <- theta_cov[, unknown] <- NA
  dimnames(theta_cov) <- list(parameters$name, parameters$name)
  list(theta_cov = theta_cov, cov = cov, slope = slope, moves = moves, score = result$score,
       information = result$information, free_beta = free_beta)
}

# ---- answers -----------------------------------------------------------------------------

#' @exportS3Method
covariance_types.elbo_general <- function(fit) c("observed", "sandwich")

#' @exportS3Method
theta_covariance.elbo_general <- function(fit, type) {
  if (type == "sandwich") sandwich_of_general(fit) else information_of(fit)$theta_cov
}

is_laplace <- function(fit) method_of(fit) == "em" && convergence_of(fit)$nodes == 1L

share_text <- function(share) format(signif(100 * share, 2))

is_sampled <- function(fit) !is.null(convergence_of(fit)$monte_carlo)

#' @exportS3Method
integrated_words.elbo_general <- function(fit) {
  if (method_of(fit) == "joint") return(integrated_words.elbo_fit(fit))
  if (!has_latent(fit)) return("theta a point")
  how <- if (is_sampled(fit)) {
    sprintf("Laplace's method and %d draws", control_of(fit)$importance)
  } else if (is_laplace(fit)) "Laplace's method"
         else sprintf("quadrature, %d nodes%s", convergence_of(fit)$nodes,
                      if (ncol(design_of(fit)$Z) > 1) " a dimension" else "")
  sprintf("z integrated by %s, theta a point", how)
}

# The ELBO of Laplace's q is another number: elbo().
#' @exportS3Method
objective_words.elbo_general <- function(fit) {
  if (!has_latent(fit) || !is_laplace(fit)) {
    # Of a given number of nodes the value is the quadrature's own, which has no divergence.
    known <- !is.na(utils::tail(elbo_trace(fit)$kl, 1)) || method_of(fit) == "joint"
    if (known || informed(fit)) return(objective_words.elbo_fit(fit))
    return(sprintf("log-likelihood %s", fixed_text(log_evidence_of(fit), 1)))
  }
  if (is_sampled(fit)) {
    said <- convergence_of(fit)
    return(paste0(
      sprintf("log-likelihood %s by importance sampling, Monte Carlo error %.2g",
              fixed_text(log_evidence_of(fit), 1), said$monte_carlo),
      if (said$corrected) sprintf(", effective share of draws %s %%", share_text(said$effective))
    ))
  }
  sprintf("Laplace approximation of the log-likelihood: %s", fixed_text(log_evidence_of(fit), 1))
}

#' @exportS3Method
method_words.elbo_general <- function(fit) method_words.elbo_fit(fit)

#' @exportS3Method
evidence_by.elbo_general <- function(fit, REML) {
  if (is.null(REML) || !check_flag(REML, "REML")) return(log_evidence_of(fit))
  abort("These models have no restricted likelihood: leave `REML` out.", "elbo_error_argument")
}

# At theta, on the scale of theta(fit): what C_general_at answers; `rows_apart`: of a model without
# groups, each row being one.
general_at <- function(fit, theta, nodes = convergence_of(fit)$nodes, rows_apart = FALSE) {
  model <- general_description(design_of(fit), held_of(fit), method_of(fit), control_of(fit),
                               full_rank = TRUE, priors = priors_of(fit))
  if (rows_apart) model[c("group", "n_group")] <- list(seq_len(nobs(fit)), nobs(fit))
  own <- parameters_of(fit)$block %in% own_blocks
  at <- c(theta_parts(fit, theta)[c("beta", "Sigma")],
          list(own = as.double(theta[own]), nodes = as.integer(nodes)))
  .Call(C_general_at, model, at)
}

# Given the estimates, or with what their uncertainty adds to it: means move with theta, see
# C_general_at. Of several factors, and by Laplace's method, given the estimates; a list then.
general_latent_sd <- function(fit, type) {
  if (method_of(fit) == "vb") return(general_vb_latent_sd(fit, type))
  crossed <- is_crossed(design_of(fit))
  given <- crossed || convergence_of(fit)$nodes == 1L
  types <- if (given) "conditional" else c("total", "conditional")
  type <- check_choice(if (is.null(type)) types else type, "type", types)
  of_part <- function(part) {
    sd <- 0 * part$mean
    for (j in seq_len(ncol(sd))) sd[, j] <- sqrt(part$cov[j, j, ])
    sd
  }
  if (crossed) return(lapply(moments_of(fit)$parts, of_part))
  sd <- of_part(moments_of(fit))
  if (type == "conditional") return(sd)
  moves <- general_at(fit, theta(fit))$moves
  V <- information_of(fit)$cov
  V[is.na(V)] <- 0
  for (j in seq_len(ncol(sd))) {
    move <- matrix(moves[j, , ], nrow(V))
    sd[, j] <- sqrt(sd[, j]^2 + colSums(move * (V %*% move)))
  }
  sd
}

# At the exact posterior the ELBO is the log-likelihood; of Laplace's method it is that of the
# q that it stands for, which is another number.
#' @exportS3Method
elbo.elbo_general <- function(object, theta = NULL, q = NULL, ...) {
  check_dots_empty(...)
  if (!is.null(q)) {
    abort("The ELBO of a `q` of your own is known for gaussian responses only: leave `q` out.",
          "elbo_error_not_available")
  }
  at <- general_at(object, if (is.null(theta)) theta(object) else theta)
  if (at$status != 0L) {
    abort("The objective is not finite at `theta`; its scale parameters must be positive.",
          "elbo_error_not_finite")
  }
  if (has_latent(object) && is_laplace(object)) at$elbo_normal else at$log_evidence
}
