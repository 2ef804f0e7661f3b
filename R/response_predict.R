# Predictions, draws and refits of models of responses that are not gaussian.

#' @exportS3Method
row_predictions.elbo_general <- function(object, data, group, asked) {
  x <- row_mean(object, data, group)
  uncertain <- asked$se || asked$interval != "none"
  answer <- if (asked$type == "link") link_prediction(object, data, group, x, uncertain)
            else response_prediction(object, data, group, x, uncertain)
  fit <- answer$fit
  if (asked$interval != "none") {
    half <- answer$se_at * stats::qnorm((1 + asked$level) / 2)
    limit <- if (asked$type == "link") identity else family(object)$linkinv
    fit <- cbind(fit = fit, lwr = limit(answer$at - half), upr = limit(answer$at + half))
  }
  list(fit = fit, se = if (uncertain) stats::setNames(as.vector(answer$se), names(x)), scale = 1)
}

#' @exportS3Method
needs_law.elbo_general <- function(object, asked) asked$type == "response"

#' @exportS3Method
check_prediction.elbo_general <- function(object, asked) {
  refuse <- function(...) abort(c(...), "elbo_error_not_available")
  if (asked$interval == "prediction") {
    refuse("Prediction intervals are for gaussian responses: others have few values.",
           "Use quantiles of simulate(fit, 1000).")
  }
  reason <- why_no_errors(object, asked$type, asked$latent)
  if (length(reason) > 0 && (asked$se || asked$interval != "none")) refuse(reason)
}

# Where predictions have no standard errors, and the remedy.
why_no_errors <- function(object, type, latent) {
  if (type == "response" && response_law_of(object) == "cumulative") {
    return(c("Probabilities of ordered categories come without standard errors.",
             "Use type = \"link\", or bootstrap()."))
  }
  by_laplace <- is_crossed(design_of(object)) || (is_laplace(object) && has_groups(object))
  if (!latent || !by_laplace) return()
  c(sprintf("%s predictions for known groups come without standard errors.",
            if (is_laplace(object)) "Under Laplace's method" else "With several grouping factors"),
    "Use re.form = NA for the population.")
}

# `at` +- quantiles of `se_at` are limits on the scale of the link.
link_prediction <- function(fit, data, group, x, uncertain) {
  se <- if (uncertain) unname(sqrt(predictor_variance(fit, data, group)))
  list(fit = x, se = se, at = x, se_at = se)
}

# Of known groups E[mean | y], the posterior of their latent variables averaged; of the population
# the law.
response_prediction <- function(fit, data, group, x, uncertain) {
  variance <- predictor_spread(fit, data, group)
  mean <- averaged(function(x) response_mean(fit, x), x, variance)
  if (!uncertain) return(list(fit = mean))
  slope <- averaged(family(fit)$mu.eta, x, variance)
  if (!is.null(group)) {
    se <- unname(sqrt(predictor_variance(fit, data, group)))
    return(list(fit = mean, se = unname(slope) * se, at = x, se_at = se))
  }
  se <- population_error(fit, data, x, variance, slope)
  at <- family(fit)$linkfun(mean)
  list(fit = mean, se = se, at = at, se_at = se / family(fit)$mu.eta(at))
}

# Of x'beta + z'u: with the posterior's variance given the estimates, what these add to it, as u's
# mean moves with them.
predictor_variance <- function(fit, data, group) {
  X <- row_fixed(fit, data)[, information_of(fit)$free_beta, drop = FALSE]
  V <- information_of(fit)$cov
  V[is.na(V)] <- 0
  slopes <- cbind(X, matrix(0, nrow(X), nrow(V) - ncol(X)))
  if (is.null(group)) return(quadratic_rows(slopes, V))
  vb <- method_of(fit) == "vb"
  moves <- if (vb) information_of(fit)$levels[[1]]$moves else general_at(fit, theta(fit))$moves
  given <- if (vb) list(information_of(fit)$levels[[1]]$own_cov) else marginal_latent_cov(fit)
  slopes <- slopes + latent_rows(row_random(fit, data), moves, group)
  quadratic_rows(slopes, V) + latent_variance(fit, data, group, given)
}

# Delta method of E[mean] in (beta, eta): the derivative by the variance of the predictor is a
# difference, of a function that is smooth in it.
population_error <- function(fit, data, x, variance, slope) {
  if (method_of(fit) == "vb") return(vb_population_error(fit, data, x, variance, slope))
  X <- row_fixed(fit, data)[, information_of(fit)$free_beta, drop = FALSE]
  V <- information_of(fit)$cov
  V[is.na(V)] <- 0
  slopes <- cbind(X * slope, matrix(0, nrow(X), nrow(V) - ncol(X)))
  if (has_groups(fit) && any(variance > 0, na.rm = TRUE)) {
    by_variance <- by_variance_slope(fit, x, variance)
    of_sigma <- general_at(fit, theta(fit))$Sigma_slope
    Z <- row_random(fit, data)
    for (k in seq_len(dim(of_sigma)[3])) {
      slopes[, ncol(X) + k] <- by_variance * quadratic_rows(Z, matrix(of_sigma[, , k], ncol(Z)))
    }
  }
  unname(sqrt(quadratic_rows(slopes, V)))
}

# The same in theta, by linear response.
vb_population_error <- function(fit, data, x, variance, slope) {
  free <- which(!parameters_of(fit)$fixed)
  X <- row_fixed(fit, data)
  slopes <- matrix(0, nrow(X), nrow(parameters_of(fit)))
  slopes[, seq_len(ncol(X))] <- X * slope
  if (has_groups(fit) && any(variance > 0, na.rm = TRUE)) {
    by_variance <- by_variance_slope(fit, x, variance)
    Z <- row_random(fit, data)
    for (k in setdiff(free, seq_len(ncol(X)))) {
      step <- 1e-5 * c(-1, 1)
      Sigma <- lapply(step, function(h) {
        theta_parts(fit, replace(theta(fit), k, theta(fit)[[k]] + h))$Sigma
      })
      slopes[, k] <- by_variance * quadratic_rows(Z, (Sigma[[2]] - Sigma[[1]]) / diff(step))
    }
  }
  V <- information_of(fit)$linear_response[free, free, drop = FALSE]
  unname(sqrt(quadratic_rows(slopes[, free, drop = FALSE], V)))
}

by_variance_slope <- function(fit, x, variance) {
  step <- 1e-4 * variance
  of <- function(v) averaged(function(x) response_mean(fit, x), x, v)
  ifelse(variance > 0, (of(variance + step) - of(variance - step)) / (2 * step), 0)
}

# ---- draws -------------------------------------------------------------------------------

#' @exportS3Method
row_draws.elbo_general <- function(object, nsim, newdata, given) {
  Y <- counted_draws(object, nsim, newdata, given)
  size <- row_trials(object, row_data(object, newdata, na.pass, FALSE, prediction = TRUE), newdata)
  lapply(seq_len(nsim), function(i) written_response(object, Y[, i], size))
}

# As the law counts them, a column a draw.
counted_draws <- function(object, nsim, newdata = NULL, given = FALSE) {
  latent <- has_groups(object)
  data <- row_data(object, newdata, na.pass, latent, prediction = TRUE)
  group <- if (latent && given) group_index(object, data, allow = FALSE)
  size <- row_trials(object, data, newdata)
  draw_of <- function(fit) {
    x <- unname(row_mean(fit, data, group))
    draw_latent <- if (latent && !given) latent_sampler(fit, data) else function() 0
    function() as.double(draw_response(fit, x + draw_latent(), size))
  }
  if (method_of(object) == "vb") {
    fits <- posterior_fits(object, nsim, latent && given)
    return(do.call(cbind, lapply(fits, function(fit) draw_of(fit)())))
  }
  one <- draw_of(object)
  do.call(cbind, lapply(seq_len(nsim), function(i) one()))
}

row_trials <- function(object, data, newdata) {
  response <- design_of(object)$response
  if (response$law != "binomial") return(NULL)
  if (is.null(data)) {
    return(rep_len(if (is.null(response$size)) 1 else response$size, nobs(object)))
  }
  if (is.null(response$size)) return(rep(1, nrow(data)))
  weights <- new_extra(object, "weights", data)
  if (!is.null(weights)) return(weights)
  left <- formula(object)[[2]]
  check_new_columns(object, all.vars(left), newdata, "It says how many trials there are.")
  rowSums(eval(left, newdata, environment(formula(object))))
}

# In the form of the response of the fit.
written_response <- function(object, y, size) {
  model <- frame_of(object)[[1]]
  if (is.matrix(model)) {
    return(structure(cbind(y, size - y), dimnames = list(NULL, colnames(model))))
  }
  if (is.ordered(model)) return(factor(levels(model)[y + 1], levels(model), ordered = TRUE))
  if (is.factor(model)) return(factor(levels(model)[y + 1], levels(model)))
  if (response_law_of(object) == "binomial") y / size else y
}

# ---- refits ------------------------------------------------------------------------------

# As refit_response(): a row a column of Y.
general_refits <- function(fit, Y) {
  held <- held_of(fit)
  out <- matrix(NA_real_, ncol(Y), nrow(held) + 1,
                dimnames = list(NULL, c(held$name, "objective")))
  for (i in seq_len(ncol(Y))) {
    design <- design_of(fit)
    design$response$y <- Y[, i]
    out[i, ] <- general_refit(fit, design, held)
  }
  out
}

# theta and objective, NA where there is no maximum.
general_refit <- function(fit, design, held) {
  priors <- priors_of(fit)
  method <- method_of(fit)
  model <- general_description(design, held, method, control_of(fit), full_rank = TRUE,
                               priors = priors)
  settings <- ascend_control(refit_control(fit), design)
  settings$threads <- as.integer(solver_threads(control_of(fit)))
  vb <- method == "vb"
  result <- if (vb) .Call(C_general_vb, model, settings, NULL)
            else .Call(C_general_fit, model, settings, NULL)
  if (result$status < 0) return(rep(NA_real_, nrow(held) + 1))
  answer <- list(result = result, design = design, held = held, priors = priors, method = method)
  estimates <- if (vb) general_vb_estimates(answer) else general_estimates(answer)
  c(estimates$theta, estimates$objective)
}

# Draws that a direction separates, or that have fewer categories, have no maximum.
#' @exportS3Method
drawn_refits.elbo_general <- function(fit, nsim) {
  Y <- counted_draws(fit, nsim)
  refits <- general_refits(fit, Y)
  design <- design_of(fit)
  n_threshold <- sum(parameters_of(fit)$block == "threshold")
  X <- design$X[, information_of(fit)$free_beta, drop = FALSE]
  for (i in seq_len(nsim)) {
    response <- replace(design$response, "y", list(Y[, i]))
    if (!is.null(separating_direction(response, X, n_threshold))) refits[i, ] <- NA
  }
  refits
}
