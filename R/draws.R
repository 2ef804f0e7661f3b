# Draws from the posterior that a fit by method "vb" stands for.
#
# By linear response theta moves with eta, and with what the fixed d of q(Sigma) leave
# uncertain:
#
#   theta = E[theta] + J e1 + (e2 for beta, e3 for the scales),   e1 ~ N(0, (-H)^{-1}),
#   e2 ~ N(0, Cov(beta | scales)), e3 ~ N(0, what d adds),
#
# and u_g = E[u_g] + R_g e1 - K_g e2 + N(0, S_g), the same e1 and e2. Margins are bent so that
# no draw leaves its range, mean and sd as they are: sds log-normal, correlations beta on
# (-1, 1).

#' Draws from the posterior, for package posterior
#'
#' Makes draws of [theta()], and of the latent variables if asked for, from a fit by method
#' `"vb"`, in the format of package posterior: for its `summarise_draws()` and
#' `as_draws_rvars()`, and the plots of package bayesplot.
#'
#' With `type = "linear_response"` the draws have the means of [theta()] and the standard
#' deviations of `vcov(fit, full = TRUE)`: coefficients and latent variables are normal,
#' standard deviations log-normal, correlations beta distributed on (-1, 1), tied by a Gaussian
#' copula with the correlations of linear response (and correlations of three and more that are
#' those of no law made smaller, all by one factor, until they are). With `type = "mean_field"` they
#' are draws
#' from q itself (see [variational()]), whose standard deviations are too short.
#'
#' @param x a fit by method `"vb"`.
#' @param ndraws number of draws.
#' @param type `"linear_response"` or `"mean_field"`.
#' @param latent whether to draw the latent variables too, in columns `u[LEVEL,TERM]`, with several
#'   grouping factors `u[LEVEL,TERM|GROUP]` (of smooth terms the number of the coefficient and
#'   `s(x)`).
#' @param seed `NULL` to draw from the session's generator, or a whole number, which gives the
#'   same draws each time and leaves the session's generator as it was.
#' @param ... not used.
#' @return A `draws_matrix` of package posterior, ndraws x parameters. Parameters that are held
#'   have the same value in each draw.
#' @section Errors: class `elbo_error_method` for fits by other methods.
#' @family what a fit answers
#' @examplesIf requireNamespace("posterior", quietly = TRUE)
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, method = "vb")
#' draws <- posterior::as_draws(fit, ndraws = 500, seed = 1)
#' posterior::summarise_draws(draws, "mean", "sd")
#' @exportS3Method posterior::as_draws
as_draws.elbo_glmm <- function(x, ndraws = 1000L, type = c("linear_response", "mean_field"),
                               latent = FALSE, seed = NULL, ...) {
  check_dots_empty(...)
  check_draws(x)
  ndraws <- check_count(ndraws, "ndraws")
  type <- check_choice(type, "type", c("linear_response", "mean_field"))
  check_flag(latent, "latent")
  draws <- with_seed(seed, posterior_draws(x, ndraws, type, latent))
  if (latent) {
    draws$theta <- cbind(draws$theta, latent_columns(x, draws$latent), curve_columns(x, draws))
  }
  posterior::as_draws_matrix(draws$theta)
}

#' @rdname as_draws.elbo_glmm
#' @details
#' Draws for a mixture, and for other models, are those of linear response only: margins as above,
#' of weights and probabilities beta distributed and then scaled to their sum. Of mixtures they keep
#' one labelling of the components.
#' @exportS3Method posterior::as_draws
as_draws.elbo_fit <- function(x, ndraws = 1000L, seed = NULL, ...) {
  check_dots_empty(...)
  check_draws(x)
  ndraws <- check_count(ndraws, "ndraws")
  posterior::as_draws_matrix(with_seed(seed, posterior_theta(x, ndraws)))
}

check_draws <- function(fit) {
  if (method_of(fit) == "vb") return(invisible(fit))
  abort(c(sprintf("Method \"%s\" has no posterior of theta to draw from.", method_of(fit)),
          "Use update(fit, method = \"vb\"), or bootstrap()."), "elbo_error_method")
}

# n x parameters, drawn from the posterior.
posterior_theta <- function(fit, n) UseMethod("posterior_theta")

# A Gaussian copula with the correlations of linear response.
#' @exportS3Method
posterior_theta.elbo_fit <- function(fit, n) {
  V <- theta_covariance(fit, "linear_response")
  free <- which(!parameters_of(fit)$fixed & !is.na(diag(V)) & diag(V) > 0)
  sd <- sqrt(diag(V))[free]
  z <- normal_draws(n, V[free, free, drop = FALSE] / outer(sd, sd))
  theta <- matrix(theta(fit), n, length(theta(fit)), byrow = TRUE,
                  dimnames = list(NULL, names(theta(fit))))
  for (i in seq_along(free)) {
    at <- free[i]
    theta[, at] <- bend_margin(z[, i], theta(fit)[[at]], sd[[i]], parameters_of(fit)$role[at])
  }
  for (group in share_groups(fit)) {
    theta[, group] <- theta[, group] / rowSums(theta[, group, drop = FALSE])
  }
  with_possible_correlations(fit, theta)
}

# Correlations of three and more, drawn one by one, may be those of no law: then all of them are
# made smaller by one factor, until they are.
with_possible_correlations <- function(fit, theta) {
  parameters <- parameters_of(fit)
  cor <- which(parameters$role == "cor" & !is.na(parameters$term2))
  of <- interaction(lapply(parameters[cor, c("group", "component")], addNA), drop = TRUE)
  for (rows in split(cor, of)) {
    terms <- unique(unlist(parameters[rows, c("term1", "term2")]))
    if (length(terms) < 3) next
    at <- cbind(match(parameters$term1[rows], terms), match(parameters$term2[rows], terms))
    least <- apply(theta[, rows, drop = FALSE], 1, function(cor) {
      R <- diag(length(terms))
      R[at] <- R[at[, 2:1]] <- cor
      min(eigen(R, symmetric = TRUE, only.values = TRUE)$values)
    })
    theta[, rows] <- theta[, rows] * pmin((1 - least_eigenvalue) / (1 - least), 1)
  }
  theta
}

# Of a correlation matrix that can be told from a singular one.
least_eigenvalue <- 1e-8

# Entries of theta that are shares of one whole.
share_groups <- function(fit) {
  parameters <- parameters_of(fit)
  levels <- which(parameters$block == "prob" & !is.na(parameters$term2))
  of <- interaction(parameters[levels, c("term1", "component")], drop = TRUE)
  groups <- c(list(which_parameters(fit, "weight")), unname(split(levels, of)))
  groups[lengths(groups) > 0]
}

# m x q x n of each factor to n x (m q), a level after another.
latent_columns <- function(fit, latent) {
  crossed <- is_crossed(design_of(fit))
  columns <- Map(function(part, draws) {
    group <- if (crossed) paste0("|", part$name)
    names <- outer(rownames(part$mean), colnames(part$mean),
                   function(level, term) paste0("u[", level, ",", term, group, "]"))
    out <- t(matrix(aperm(draws, c(2, 1, 3)), length(names)))
    colnames(out) <- t(names)
    out
  }, unname(latent_parts(fit)), latent)
  do.call(cbind, columns)
}

curve_columns <- function(fit, draws) {
  if (!has_curves(fit)) return()
  labels <- curve_labels(design_of(fit)$curves)[smooth_rows(fit)]
  level <- sequence(smooth_sizes(design_of(fit)$curves))
  structure(draws$curves, dimnames = list(NULL, sprintf("u[%d,%s]", level, labels)))
}

# list(theta n x parameters, latent m x q x n of each factor or NULL, curves n x K or NULL)
posterior_draws <- function(fit, n, type = "linear_response", latent = FALSE) {
  sample <- if (type == "mean_field") mean_field_draws
            else if (is_gaussian(fit)) response_draws
            else general_response_draws
  sample(fit, n, latent)
}

# ---- linear response ---------------------------------------------------------------------

response_draws <- function(fit, n, latent) {
  info <- information_of(fit)
  moves <- info$moves
  if (!all(is.finite(info$eta_cov[moves, moves]))) {
    abort(c("The posterior has no covariance to draw from: some parameters are not identified, or",
            "the fit is not at a maximum (see convergence(fit))."), "elbo_error_not_available")
  }
  e1 <- normal_draws(n, info$eta_cov[moves, moves, drop = FALSE])
  e2 <- normal_draws(n, conditional_cov(fit))
  free <- !parameters_of(fit)$fixed
  V <- info$linear_response[free, free, drop = FALSE]
  response <- theta_response(fit)[free, moves, drop = FALSE]
  move <- e1 %*% t(response)
  beta <- parameters_of(fit)$block[free] == "beta"
  move[, beta] <- move[, beta] + e2[, seq_len(sum(beta))]
  rest <- V - response %*% info$eta_cov[moves, moves] %*% t(response)
  move[, !beta] <- move[, !beta] + normal_draws(n, rest[!beta, !beta, drop = FALSE])
  list(theta = bent_theta(fit, move, which(free), sqrt(diag(V))),
       latent = if (latent) response_latent(fit, e1, e2),
       curves = if (has_curves(fit)) curve_draws(fit, e1 %*% t(coefficient_response(fit)) + e2))
}

# theta, n x parameters, from the moves (n x free) of those that are free and their sds.
bent_theta <- function(fit, move, free, sd) {
  theta <- matrix(theta(fit), nrow(move), length(theta(fit)), byrow = TRUE,
                  dimnames = list(NULL, names(theta(fit))))
  for (i in seq_along(free)) {
    k <- free[i]
    theta[, k] <- bend_margin(move[, i] / sd[i], theta(fit)[[k]], sd[i],
                              parameters_of(fit)$role[k])
  }
  with_possible_correlations(fit, theta)
}

# Coefficients of curves (n x K) from the moves of all coefficients that are free.
curve_draws <- function(fit, moves) {
  of_curves <- seq_along(smooth_of(fit)$mean) + ncol(moves) - length(smooth_of(fit)$mean)
  moves[, of_curves, drop = FALSE] + rep(smooth_of(fit)$mean, each = nrow(moves))
}

# The quantiles of a law of this mean and sd at the probabilities of standard normal z.
bend_margin <- function(z, mean, sd, role) {
  share <- function(mean, sd) {
    size <- max(mean * (1 - mean) / sd^2 - 1, 0.01)
    stats::qbeta(stats::pnorm(z), mean * size, (1 - mean) * size)
  }
  switch(role,
    coefficient = ,
    mean = mean + sd * z,
    weight = ,
    probability = share(mean, sd),
    cor = 2 * share((1 + mean) / 2, sd / 2) - 1,
    sd = {
      spread <- sqrt(log1p((sd / mean)^2))
      mean * exp(spread * z - spread^2 / 2)
    }
  )
}

response_latent <- function(fit, e1, e2) {
  noise <- if (is_crossed(design_of(fit))) crossed_noise(fit, nrow(e1))
           else lapply(latent_parts(fit), latent_noise, nrow(e1))
  Map(function(noise, response, part) {
    subtract_moves(subtract_moves(noise, -response, e1), part$gain, e2)
  }, noise, latent_responses(fit), exact_parts(fit))
}

# m x q x n from N(E[u_g], S_g), levels apart.
latent_noise <- function(part, n) {
  mean <- part$mean
  out <- array(mean, c(dim(mean), n))
  for (g in seq_len(nrow(mean))) {
    S <- matrix(part$cov[, , g], ncol(mean))
    out[g, , ] <- out[g, , ] + t(normal_draws(n, S))
  }
  out
}

# Of several factors the same with all levels as they are given the scales and beta: u of the law
# less what is predicted of it from its own response, the classical draw by conditioning.
crossed_noise <- function(fit, n) {
  design <- design_of(fit)
  scales <- scales_of(fit)
  s2 <- residual_variance(fit, scales$sigma)
  u <- do.call(rbind, lapply(names(design$groups), function(name) {
    k <- columns_of_group(design, name)
    draws <- normal_draws(n * nlevels(design$groups[[name]]), scales$Sigma[k, k, drop = FALSE])
    matrix(t(draws), ncol = n)
  }))
  y <- level_rows(design, u) + sqrt(s2) * matrix(stats::rnorm(length(s2) * n), ncol = n)
  u <- u - level_products(fit, level_sums(design, y / s2), TRUE, scales)
  moved <- lapply(seq_len(n), function(i) by_factor(design, u[, i]))
  Map(function(part, f) {
    array(unlist(lapply(moved, `[[`, f)), c(dim(part$mean), n)) + as.vector(part$mean)
  }, latent_parts(fit), seq_along(design$groups))
}

# d E_q[theta] / d eta, a row a parameter.
theta_response <- function(fit) {
  info <- information_of(fit)
  if (!is_gaussian(fit)) {
    return(info$slope %*% info$cov[, info$eta, drop = FALSE] %*% inverse_covariance(info$eta_cov))
  }
  beta <- parameters_of(fit)$block == "beta"
  response <- matrix(0, nrow(parameters_of(fit)), ncol(info$eta_cov))
  response[info$free_beta, ] <- info$conditional_cov %*% t(info$cross)
  response[!beta, ] <- info$slope
  response
}

# -d E[u_g] / d beta given the scales.
posterior_gain <- function(fit) {
  parts <- exact_parts(fit)
  if (length(parts) == 0) moments_of(fit)$gain else parts[[1]]$gain
}

# What the uncertainty of the scales adds to the variance of x'beta + z'u_g: X of the
# coefficients that are free, `group` as in row_mean().
scale_variance <- function(fit, X, Z, group) {
  info <- information_of(fit)
  response <- coefficient_response(fit)
  moved <- X %*% response + latent_rows(Z, latent_response(fit), group)
  rowSums((moved %*% info$eta_cov[info$moves, info$moves]) * moved)
}

# The fit with scales whose Sigma and sigma^2 are posterior means: root mean squares for sds,
# and for a correlation what makes E[r s t] of it, to second order
# r s t + r Cov(s, t) + s Cov(r, t) + t Cov(r, s).
root_mean_squares <- function(fit) {
  V <- information_of(fit)$linear_response
  V[is.na(V)] <- 0 # held
  theta <- theta(fit)
  block <- parameters_of(fit)$block
  scales <- block %in% c("sd", "smooth", "sigma")
  theta(fit)[scales] <- sqrt(theta[scales]^2 + diag(V)[scales])
  sds <- which(block == "sd")
  pairs <- covariance_pairs(column_blocks(design_of(fit)))
  for (k in seq_len(nrow(pairs))) {
    r <- which(block == "cor")[k]
    s <- sds[pairs[k, 1]]
    t <- sds[pairs[k, 2]]
    mean <- theta[r] * (theta[s] * theta[t] + V[s, t]) +
      theta[s] * V[r, t] + theta[t] * V[r, s]
    if (!parameters_of(fit)$fixed[r]) theta(fit)[r] <- mean / (theta(fit)[s] * theta(fit)[t])
  }
  fit
}

# n fits that differ in theta, and with `latent` in the latent variables, as the posterior has
# them.
posterior_fits <- function(fit, n, latent) {
  draws <- posterior_draws(fit, n, latent = latent)
  lapply(seq_len(n), function(i) {
    theta(fit)[] <- draws$theta[i, ]
    if (latent) fit <- with_latent(fit, lapply(draws$latent, function(u) u[, , i]))
    if (has_curves(fit)) smooth_of(fit)$mean[] <- draws$curves[i, ]
    fit
  })
}

# With other means of the latent variables, of each factor.
with_latent <- function(fit, means) {
  if (!is_crossed(design_of(fit))) {
    moments_of(fit)$mean[] <- means[[1]]
    return(fit)
  }
  moments_of(fit)$parts <- Map(function(part, mean) {
    part$mean[] <- mean
    part
  }, moments_of(fit)$parts, means)
  fit
}

# n x k from N(0, cov), also where cov is singular.
normal_draws <- function(n, cov) {
  k <- nrow(cov)
  if (k == 0) return(matrix(0, n, 0))
  matrix(stats::rnorm(n * k), n) %*% covariance_factor(cov)
}

# ---- q itself ----------------------------------------------------------------------------

mean_field_draws <- function(fit, n, latent) {
  theta <- matrix(theta(fit), n, length(theta(fit)), byrow = TRUE,
                  dimnames = list(NULL, names(theta(fit))))
  free_beta <- information_of(fit)$free_beta
  cov <- if (has_curves(fit)) smooth_of(fit)$q_cov
         else information_of(fit)$mean_field[free_beta, free_beta, drop = FALSE]
  move <- normal_draws(n, cov)
  theta[, free_beta] <- theta[, free_beta] + move[, seq_along(free_beta)]
  first <- sum(parameters_of(fit)$block == "beta")
  for (block in scale_shape(fit)$blocks) {
    theta[, first + c(block$sd, block$cor)] <- inverse_wishart_draws(n, block$d, block$S)
  }
  list(theta = theta, latent = if (latent) mean_field_latent(fit, n, move),
       curves = if (has_curves(fit)) curve_draws(fit, move))
}

# The gains of q, zero where beta is apart. With several factors apart so are all levels; else their
# covariance under q is the one that they have given the scales.
mean_field_latent <- function(fit, n, move) {
  joint <- is_crossed(design_of(fit)) && factorization_of(fit) != "by_factor"
  noise <- if (joint) crossed_noise(fit, n) else lapply(latent_parts(fit), latent_noise, n)
  Map(function(noise, part) subtract_moves(noise, part$gain, move), noise, latent_parts(fit))
}

# u_g less K_g times moves (n x k).
subtract_moves <- function(latent, gain, moves) {
  for (g in seq_len(nrow(latent))) {
    latent[g, , ] <- latent[g, , ] - matrix(gain[, , g], ncol(latent)) %*% t(moves)
  }
  latent
}

# sds, then correlations, of n draws from inverse Wishart(d, d S).
inverse_wishart_draws <- function(n, d, S) {
  precision <- stats::rWishart(n, d, inverse_covariance(S) / d)
  pairs <- covariance_pairs(rep(1L, nrow(S)))
  rows <- apply(precision, 3, function(P) {
    Sigma <- chol2inv(chol(P))
    sd <- sqrt(diag(Sigma))
    c(sd, (Sigma / outer(sd, sd))[pairs])
  })
  t(matrix(rows, nrow(S) + nrow(pairs)))
}
