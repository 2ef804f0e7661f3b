# A fitted mixed model at other parameters and for other responses, without its formula.
#
#   held_of(fit)                  the table of parameters, with the value each is held at
#   theta_parts(fit, theta)       list(beta, Sigma, smooth, sigma) as the C code takes them
#   glmm_posterior(fit, theta)    exact posterior of the latent variables at theta
#   refit_response(fit, Y)        theta and objective for each column of Y
#   refit_evidence(fit, Y)        log_evidence for each column of Y
#   refit_held(fit, name, value)  best objective with an entry of theta held
#   refit_control(fit)            how a refit climbs
#   refit_method(fit, method)     the fit by another method, from its design: unlike update() it
#                                 needs no data
#   refit_design(fit, design, held) the fit of another design with its parameters, without a verdict

held_of <- function(fit) {
  cbind(parameters_of(fit),
        constant = ifelse(parameters_of(fit)$fixed, unname(theta(fit)), NA_real_))
}

theta_parts <- function(fit, theta = theta_of(fit)) {
  parameters <- parameters_of(fit)
  if (!is.numeric(theta) || length(theta) != nrow(parameters)) {
    abort(sprintf("`theta` must be a vector of %d numbers like theta(fit), not %s.",
                  nrow(parameters), describe_value(theta)), "elbo_error_argument")
  }
  beta <- as.double(theta[parameters$block == "beta" & !parameters$fixed])
  list(
    beta = c(beta, numeric(sum(smooth_sizes(design_of(fit)$curves)))), # b is found at its best
    Sigma = law_matrix(design_of(fit), theta[parameters$block == "sd"],
                       theta[in_block(parameters, "cor")]),
    smooth = as.double(theta[parameters$block == "smooth"]),
    sigma = if (design_of(fit)$known_se) 1 else as.double(theta[parameters$block == "sigma"])
  )
}

# Row and column in Sigma of each correlation, in the order of theta().
covariance_pairs <- function(block) {
  later <- rev(seq_along(block)) - 1L # how many columns come after each
  pairs <- cbind(rep(seq_along(block), later), sequence(later, seq_along(block) + 1L))
  pairs[block[pairs[, 1]] == block[pairs[, 2]], , drop = FALSE]
}

# An answer that needs other optima climbs to them the quickest way, whatever the fit itself shows.
refit_control <- function(fit) utils::modifyList(control_of(fit), list(accelerate = "auto"))

model_of <- function(fit, held = held_of(fit)) {
  priors <- priors_of(fit)
  if (!is.null(priors)) { # C is told of the coefficients that are free
    free <- is.na(held_values(held, "beta"))[information_of(fit)$free_beta]
    of_beta <- c("prior_beta_mean", "prior_beta_sd")
    priors$told[of_beta] <- lapply(priors$told[of_beta], `[`, free)
  }
  law <- glmm_law(design_of(fit), held, method_of(fit), full_rank = TRUE, priors = priors,
                  threads = solver_threads(control_of(fit)))
  c(law, list(stats = stats_of(fit)))
}

glmm_posterior <- function(fit, theta = theta_of(fit)) {
  held <- held_of(fit)
  fixed_beta <- parameters_of(fit)$fixed & parameters_of(fit)$block == "beta"
  held$constant[fixed_beta] <- theta[fixed_beta]
  parts <- theta_parts(fit, theta)
  if (method_of(fit) == "reml") parts["beta"] <- list(NULL) # integrated, whatever theta says
  at <- .Call(C_glmm_at, model_of(fit, held), parts)
  if (at$status != 0L) {
    abort("The objective is not finite at `theta`; its scale parameters must be positive.",
          "elbo_error_not_finite")
  }
  if (is_crossed(design_of(fit))) return(at)
  dimnames(at$mean) <- dimnames(moments_of(fit)$mean)
  dimnames(at$cov) <- dimnames(moments_of(fit)$cov)
  dimnames(at$gain) <- dimnames(moments_of(fit)$gain)
  at
}

# A matrix, a row a column of Y: theta, then "objective"; NA where a refit failed.
refit_response <- function(fit, Y) refit_table(fit, refit_columns(fit, Y))

# As refit_table() reads it.
refit_columns <- function(fit, Y) {
  rows <- if (is_crossed(design_of(fit))) crossed_rows(design_of(fit), control_of(fit))
          else glmm_rows(design_of(fit))
  .Call(C_glmm_refit, model_of(fit), refit_settings(fit), rows, Y - design_of(fit)$offset)
}

refit_evidence <- function(fit, Y) table_evidence(fit, refit_columns(fit, Y))

table_evidence <- function(fit, table) {
  refits <- refit_table(fit, table)
  theta <- refits[, -ncol(refits), drop = FALSE]
  method <- match(method_of(fit), c("joint", "em", "reml", "vb")) - 1L
  refits[, "objective"] - apply(theta, 1, function(x) log_prior(priors_of(fit), x, method))
}

# From the columns that C returns to rows of theta and objective.
refit_table <- function(fit, table) {
  parameters <- parameters_of(fit)
  q <- ncol(design_of(fit)$Z)
  p <- sum(parameters$block == "beta" & !parameters$fixed)
  of_beta <- seq_len(p)
  p <- p + sum(smooth_sizes(design_of(fit)$curves))
  Sigma <- table[p + seq_len(q^2), , drop = FALSE]
  sd <- sqrt(pmax(Sigma[diag(matrix(seq_len(q^2), q, q)), , drop = FALSE], 0))
  pairs <- covariance_pairs(column_blocks(design_of(fit)))
  cor <- Sigma[pairs[, 1] + q * (pairs[, 2] - 1), , drop = FALSE] /
    (sd[pairs[, 1], , drop = FALSE] * sd[pairs[, 2], , drop = FALSE])
  n_sigma <- sum(parameters$block == "sigma")
  sigma <- table[p + q^2 + seq_len(n_sigma), , drop = FALSE]
  n_smooth <- length(design_of(fit)$curves)
  smooth <- table[p + q^2 + max(1L, nlevels(design_of(fit)$level)) + seq_len(n_smooth), ,
                  drop = FALSE]
  theta <- matrix(theta(fit), nrow(parameters), ncol(table))
  free <- !parameters$fixed
  rows <- function(block) free & in_block(parameters, block)
  theta[rows("beta"), ] <- table[of_beta, ]
  shape <- law_shape(design_of(fit))
  theta[rows("sd"), ] <- sd[shape$has_sd[free[parameters$block == "sd"]], ]
  theta[rows("cor"), ] <-
    pmax(pmin(cor, 1), -1)[shape$has_cor[free[in_block(parameters, "cor")]], ]
  theta[rows("smooth"), ] <- smooth[free[parameters$block == "smooth"], ]
  theta[rows("sigma"), ] <- sigma[free[parameters$block == "sigma"], ]
  found <- table[nrow(table), ] >= 0
  theta[, !found] <- NA
  if (method_of(fit) == "vb") {
    n_df <- length(unlist(factors_of(fit)$df))
    df <- table[nrow(table) - 1 - n_df + seq_len(n_df) - 1, found, drop = FALSE]
    theta[, found] <- vb_means(fit, theta[, found, drop = FALSE], df)
  }
  out <- rbind(theta, table[nrow(table) - 1, ])
  rownames(out) <- c(parameters$name, "objective")
  t(out)
}

# Means of q, where theta, a column a refit, has the scales of S and v, and df the degrees of
# freedom.
vb_means <- function(fit, theta, df) {
  scales <- parameters_of(fit)[parameters_of(fit)$block != "beta", ]
  rows <- sum(parameters_of(fit)$block == "beta") + seq_len(nrow(scales))
  of <- vb_factors(design_of(fit), parameters_of(fit)$block)
  for (i in which(!scales$fixed)) {
    moments <- if (scales$block[i] == "cor") vb_cor else vb_sd
    theta[rows[i], ] <- mapply(function(x, d) moments(x, d, of$q[i])$value, theta[rows[i], ],
                               df[of$factor[i], ])
  }
  theta
}

refit_held <- function(fit, name, value) {
  # A correlation can be held only in the first two terms of a block (there its row of the
  # Cholesky factor has a given direction), so its terms are moved there.
  fit <- reorder_terms(fit, name)
  held <- held_of(fit)
  # At a correlation of one the latent variables live on a line that EM could not turn.
  is_cor <- parameters_of(fit)$role[parameters_of(fit)$name == name] == "cor"
  if (is_cor) value <- max(min(value, 1 - 1e-10), -1 + 1e-10)
  held$constant[held$name == name] <- value
  if (!is_gaussian(fit)) return(general_refit(fit, design_of(fit), held)[[nrow(held) + 1]])
  # Away from the maximum the likelihood of the rest is not that simple: climb from all starts.
  control <- utils::modifyList(ascend_control(refit_control(fit), design_of(fit)),
                               list(n_starts = 18L))
  result <- .Call(C_glmm_fit, model_of(fit, held), control, NULL)
  if (result$status < 0) return(NA_real_)
  prior <- priors_of(fit)$stated[[name]]
  of_beta <- held$block[held$name == name] == "beta" # C counts those of scales that are held
  result$objective + if (of_beta && !is.null(prior)) log_density(prior, value, "beta") else 0
}

refit_method <- function(fit, method) {
  held <- held_of(fit)
  answer <- ascend_glmm(design_of(fit), held, method, control_of(fit), function(design, held) {
    glmm_map(without_priors(prior_of(fit), design$aliased), design, held)
  }, stats_of(fit))
  estimates <- glmm_estimates(answer)
  fit[names(estimates)] <- estimates
  method_of(fit) <- method
  fit
}

refit_design <- function(fit, design, held = held_of(fit), control = refit_control(fit)) {
  ascend <- if (is_gaussian(fit)) ascend_glmm else ascend_general
  answer <- ascend(design, held, method_of(fit), control,
                   function(design, held) priors_of_held(fit, held))
  estimates <- if (is_gaussian(fit)) glmm_estimates(answer) else general_estimates(answer)
  design_of(fit) <- answer$design
  fit[names(estimates)] <- estimates
  fit
}
