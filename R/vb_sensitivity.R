# How the posterior means of a fit by method "vb" move with its priors.
#
# E_q[theta] = f(eta, alpha): eta the scales at their best, alpha the numbers in the priors,
# which also enter directly, through the best beta at given scales and the degrees of freedom
# of q. With g the gradient of the ELBO by eta and H its derivative (implicit function theorem)
#
#   d E_q[theta] / d alpha = J (-H)^{-1} dg/d alpha + df/d alpha,   J = df/d eta,
#
# the formula of linear response. Derivatives by alpha at fixed eta are central differences of
# closed forms.

prior_sensitivity <- function(fit) {
  if (fit$method != "vb") {
    abort(c(sprintf("Sensitivity to the prior is for fits by method \"vb\", not \"%s\".",
                    fit$method),
            "Use update(fit, method = \"vb\"), or `to = \"data\"`."),
          "elbo_error_not_available")
  }
  alpha <- prior_numbers(fit)
  free <- fit$parameters$name[!fit$parameters$fixed]
  slopes <- vapply(seq_len(nrow(alpha)), function(i) prior_slope(fit, alpha[i, ])[free],
                   numeric(length(free)))
  slopes <- matrix(slopes, length(free))
  sd <- sqrt(diag(fit$information$linear_response))[free]
  rows <- rep(seq_len(nrow(alpha)), each = length(free))
  data.frame(
    estimate = rep(free, nrow(alpha)), prior = alpha$prior[rows], number = alpha$number[rows],
    value = alpha$value[rows], derivative = as.vector(slopes), per_sd = as.vector(slopes / sd)
  )
}

# Every number in a prior that is not a constant: prior (the name of its parameter, or of those
# that share it), number, value, and where C is told of it (field, at).
prior_numbers <- function(fit) {
  parameters <- fit$parameters
  free <- !parameters$fixed
  told <- fit$priors$told
  name <- function(block) parameters$name[free & parameters$block == block]
  at <- function(block) which(free[parameters$block == block])
  numbers <- function(prior, number, field, at) {
    data.frame(prior = prior, number = rep_len(number, length(prior)),
               value = told[[field]][at], field = rep_len(field, length(prior)), at = at)
  }
  blocks <- unique(fit$design$block[at("sd")])
  sds <- parameters$name[parameters$block == "sd"]
  shared <- vapply(blocks, function(b) toString(sds[fit$design$block == b]), "")
  rbind(
    numbers(name("beta"), "mean", "prior_beta_mean", seq_along(name("beta"))),
    numbers(name("beta"), "sd", "prior_beta_sd", seq_along(name("beta"))),
    numbers(shared, "df", "prior_df", blocks),
    numbers(name("sd"), "scale", "prior_scale", at("sd")),
    numbers(name("smooth"), "df", "prior_smooth_df", at("smooth")),
    numbers(name("smooth"), "scale", "prior_smooth_scale", at("smooth")),
    numbers(name("sigma"), "df", "prior_sigma_df", at("sigma")),
    numbers(name("sigma"), "scale", "prior_sigma_scale", at("sigma"))
  )
}

# d E_q[theta] by one of them.
prior_slope <- function(fit, alpha) {
  # A mean has no scale of its own but the prior's sd.
  unit <- if (alpha$number == "mean") fit$priors$told$prior_beta_sd[alpha$at] else alpha$value
  step <- 1e-4 * unit
  up <- at_priors(fit, alpha, step)
  down <- at_priors(fit, alpha, -step)
  direct <- (up$theta - down$theta) / (2 * step)
  score <- (up$score - down$score) / (2 * step)
  direct + drop(theta_response(fit) %*% fit$information$eta_cov %*% score)
}

# E_q[theta] and the gradient of the ELBO by eta under a moved prior, the scales as they are.
at_priors <- function(fit, alpha, step) {
  eta <- eta_of(fit)
  fit$priors$told[[alpha$field]][alpha$at] <- alpha$value + step
  at <- at_eta(fit, eta)
  theta <- c(fit$theta)
  attr(theta, "fixed") <- NULL
  theta[fit$information$free_beta] <- at$beta[seq_along(fit$information$free_beta)]
  theta[fit$parameters$block != "beta"] <-
    vb_parameters(at, fit$design, held_of(fit), fit$priors)$value
  list(theta = theta, score = at$score)
}
