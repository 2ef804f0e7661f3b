# Draws from the posterior of a mixed model of responses that are not gaussian, by linear response,
# and of what is predicted.

# As response_draws(): what levels share is normal around the fit, theta moves with it (its margins
# bent to the range of each parameter), and so do the latent variables.
general_response_draws <- function(fit, n, latent) {
  info <- information_of(fit)
  shared <- normal_draws(n, info$cov)
  free <- which(!parameters_of(fit)$fixed)
  is_beta <- parameters_of(fit)$block[free] == "beta"
  rest <- info$df_cov[match(free[!is_beta], which(parameters_of(fit)$block != "beta")), ,
                      drop = FALSE]
  rest <- rest[, match(free[!is_beta], which(parameters_of(fit)$block != "beta")), drop = FALSE]
  move <- shared %*% t(info$slope[free, , drop = FALSE])
  move[, !is_beta] <- move[, !is_beta] + normal_draws(n, rest)
  sd <- sqrt(diag(info$linear_response))[free]
  list(theta = bent_theta(fit, move, free, sd),
       latent = if (latent) general_latent_draws(fit, shared), curves = NULL)
}

# m x q x n of each factor. Of several factors levels depend on each other given the data, by more
# than what they share.
general_latent_draws <- function(fit, shared) {
  if (is_crossed(design_of(fit))) {
    abort(c("The joint posterior of the levels of several factors is not kept, so that it is not",
            "drawn from. latent(fit) has each level's mean and standard deviation, fitted(fit) the",
            "mean of each row; re.form = NA is for the population."), "elbo_error_not_available")
  }
  Map(function(part, of) {
    noise <- latent_noise(list(mean = part$mean, cov = of$own_cov), nrow(shared))
    subtract_moves(noise, -of$moves, shared)
  }, unname(latent_parts(fit)), information_of(fit)$levels[seq_along(latent_parts(fit))])
}

# ---- what is predicted -------------------------------------------------------------------

#' @exportS3Method
expected_draws.elbo_general_vb <- function(fit, newdata, latent, n, allow) {
  posterior_rows(fit, newdata, latent, n, allow, add = function(one, data, x) {
    response_mean(one, x)
  })
}

#' @exportS3Method
predicted_draws.elbo_general_vb <- function(fit, newdata, latent, n, allow) {
  anew <- has_groups(fit) && !latent
  size <- row_trials(fit, row_data(fit, newdata, na.pass, FALSE, prediction = TRUE), newdata)
  posterior_rows(fit, newdata, latent, n, allow, prediction = TRUE, grouped = anew,
                 add = function(one, data, x) {
    if (anew) x <- x + latent_sampler(one, data)()
    stats::setNames(as.double(draw_response(one, x, size)), names(x))
  })
}

#' @exportS3Method
density_draws.elbo_general_vb <- function(fit, newdata, n) {
  if (!is.null(newdata)) {
    abort("log_lik() of these models is known for the rows of the fit: leave `newdata` out.",
          "elbo_error_not_available")
  }
  posterior_rows(fit, NULL, TRUE, n, FALSE, add = function(one, data, x) {
    response_log_density(one, x)
  })
}

#' @exportS3Method
observed_rows.elbo_general_vb <- function(fit, newdata) {
  if (!is.null(newdata)) {
    abort("The responses of these models are known for the rows of the fit: leave `newdata` out.",
          "elbo_error_not_available")
  }
  design_of(fit)$response$y
}

#' @exportS3Method loo::loo
loo.elbo_general_vb <- function(x, ...) {
  abort(c("loo() is for gaussian responses.",
          "loo::loo(rstantools::log_lik(fit)) is that of the draws, of rows given their groups."),
        "elbo_error_not_available")
}
