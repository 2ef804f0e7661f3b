# Variational Bayes of responses that are not gaussian (src/general/vb*.c): from a design to the
# elements of a fit of class c("elbo_general_vb", "elbo_general", "elbo_glmm", "elbo_fit").
#
# q(beta, u) is normal, its precision of the shape of an arrow; the factors of the covariances are
# those of gaussian models (R/vb.R). Linear response is the inverse Hessian of the ELBO in all of
# q's parameters. C answers it in blocks: `shared`, the covariance of what all levels share (free
# beta, q's covariance of it, eta); and of each level `own_cov`, the covariance of u given that, and
# `moves`, how u's mean moves with it, so that
#
#   cov(u_g, u_h) = moves_g shared moves_h' + [g = h] own_g,   cov(u_g, shared) = moves_g shared.
#
# Of several factors `shared` is of (beta, eta), by differences of q at its best, and what levels
# have given these is q's.

ascend_general_vb <- function(design, held, prior, factorization, control) {
  answer <- ascend_general(design, held, "vb", control, function(design, held) {
    glmm_vb(without_priors(prior, design$aliased), design, held, factorization)
  })
  list(design = answer$design, elements = general_vb_estimates(answer),
       class = c("elbo_general_vb", "elbo_general", "elbo_glmm"))
}

# What is not built yet.
check_general_vb <- function(design, held, factorization, refuse) {
  if (is_crossed(design) && factorization == "by_factor") {
    refuse("`factorization` = \"by_factor\" is not built yet",
           "Use \"structured\" or \"mean_field\".")
  }
  if (any(held$block %in% own_blocks)) {
    refuse("`method` = \"vb\" is not built yet", "Use \"em\".")
  }
  if (!is_crossed(design)) check_general_vb_size(ncol(design$X))
}

# Second derivatives of the ELBO in the mean and the covariance of the coefficients.
check_general_vb_size <- function(p, memory = available_memory()) {
  n <- p + p * (p + 1) / 2
  bytes <- 4 * 8 * n^2
  if (n < 2^15.5 && (is.na(memory) || bytes <= memory)) return(invisible())
  abort(c(sprintf("method = \"vb\" with %d coefficients takes %s.", p, format_bytes(bytes)),
          "Use method = \"em\", or a grouping factor in place of a factor of many levels."),
        "elbo_error_memory")
}

# Weak defaults on the scale of the predictor, whose unit is the sd of the law that the link is the
# quantile function of, and 1 under the logarithm.
general_default_priors <- function(design, held) {
  response <- design$response
  unit <- link_unit(response$link)
  extents <- unname(sqrt(colMeans(design$Z^2)))
  c(default_coefficients(design$X, response_centre(response, design$offset), unit),
    lapply(unit / extents, default_sd),
    vector("list", sum(held$block == "cor")))
}

link_unit <- function(link) {
  switch(link, logit = pi / sqrt(3), probit = 1, cloglog = pi / sqrt(6), log = 1)
}

# The predictor of the mean response, without its offset.
response_centre <- function(response, offset) {
  y <- response$y
  size <- if (is.null(response$size)) 1 else response$size
  share <- (sum(y) + 0.5) / (sum(rep_len(size, length(y))) + 1)
  centre <- switch(response$link, logit = stats::qlogis(share), probit = stats::qnorm(share),
                   cloglog = log(-log1p(-share)), log = log(mean(y) + 0.5 / length(y)))
  centre - mean(offset)
}

# ---- estimates ---------------------------------------------------------------------------

general_vb_estimates <- function(answer) {
  design <- answer$design
  held <- answer$held
  none <- list(smooth_sd = numeric(), smooth_slope = numeric(), eta_of_smooth = integer())
  result <- c(answer$result, none)
  natural <- vb_parameters(result, design, held)
  beta <- held_values(held, "beta")
  beta[is.na(beta)] <- result$beta
  theta <- stats::setNames(c(beta, natural$value), held$name)
  fixed <- !is.na(held$constant)
  attr(theta, "fixed") <- fixed
  parameters <- held[names(held) != "constant"]
  parameters$fixed <- fixed
  parameters$boundary <- logical(length(theta))
  information <- general_vb_information(result, natural, parameters)
  is_beta <- parameters$block == "beta"
  response <- information$linear_response
  list(
    parameters = parameters, theta = theta,
    beta_cov = response[is_beta, is_beta, drop = FALSE],
    var_cov = response[!is_beta, !is_beta, drop = FALSE],
    information = information,
    latent = latent_posterior(result, design, held$name[is_beta & !fixed]),
    row_variance = result$row_variance,
    log_evidence = NA_real_,
    priors = answer$priors,
    objective = result$objective,
    trace = ascent_trace(result$trace),
    convergence = c(ascent_convergence(result, TRUE), result[c("nodes", "accuracy")]),
    df_parameters = sum(!fixed),
    vb = list(df = natural$df, S = result$Sigma, eta = result$eta, smooth = numeric(),
              root_v = numeric())
  )
}

# Covariances of theta by linear response and under q, and what linear response says of the rest.
general_vb_information <- function(result, natural, parameters) {
  is_beta <- parameters$block == "beta"
  free_beta <- which(is_beta & !parameters$fixed)
  p <- length(free_beta)
  n_shared <- ncol(result$shared)
  eta <- n_shared - length(result$eta) + seq_along(result$eta)
  slope <- matrix(0, nrow(parameters), n_shared)
  slope[cbind(free_beta, seq_len(p))] <- 1
  slope[!is_beta, eta] <- natural$slope
  response <- slope %*% result$shared %*% t(slope)
  response[!is_beta, !is_beta] <- response[!is_beta, !is_beta] + natural$df_cov
  mean_field <- 0 * response
  mean_field[free_beta, free_beta] <- result$q_beta_cov
  diag(mean_field)[!is_beta] <- natural$q_variance
  unknown <- parameters$fixed & !is_beta
  response[unknown, ] <- response[, unknown] <- NA
  mean_field[unknown, ] <- mean_field[, unknown] <- NA
  dimnames(response) <- dimnames(mean_field) <- list(parameters$name, parameters$name)
  crossed <- !is.null(result$latent)
  levels <- if (crossed) lapply(result$latent, function(f) list(own_cov = f$cov, moves = f$moves))
            else list(result[c("own_cov", "moves")])
  list(linear_response = response, mean_field = mean_field, cov = result$shared, slope = slope,
       eta_cov = result$shared[eta, eta, drop = FALSE], levels = levels, df_cov = natural$df_cov,
       eta = eta, free_beta = free_beta, q_beta_cov = result$q_beta_cov)
}

# ---- answers -----------------------------------------------------------------------------

#' @exportS3Method
covariance_types.elbo_general_vb <- function(fit) c("linear_response", "mean_field")

#' @exportS3Method
theta_covariance.elbo_general_vb <- function(fit, type) information_of(fit)[[type]]

#' @exportS3Method
integrated_words.elbo_general_vb <- function(fit) integrated_words.elbo_glmm(fit)

#' @exportS3Method
objective_words.elbo_general_vb <- function(fit) objective_words.elbo_fit(fit)

# Covariances of u (q x q x m), of each factor, by linear response or as q has them. Of several
# factors what is known given the scales is q's.
general_vb_latent_cov <- function(fit, type = "linear_response") {
  info <- information_of(fit)
  if (type == "linear_response") {
    return(lapply(info$levels, function(f) with_moves(f$own_cov, f$moves, info$cov)))
  }
  lapply(unname(latent_parts(fit)), function(f) with_moves(f$cov, f$gain, info$q_beta_cov))
}

# cov_g + by_g shared by_g' of each level.
with_moves <- function(cov, by, shared) {
  if (length(cov) == 0) return(cov)
  q <- dim(cov)[1]
  for (j in seq_len(q)) {
    along <- shared %*% matrix(by[j, , ], nrow(shared))
    for (k in seq_len(q)) {
      cov[j, k, ] <- cov[j, k, ] + colSums(matrix(by[k, , ], nrow(shared)) * along)
    }
  }
  cov
}

# m x q, of several factors a list.
general_vb_latent_sd <- function(fit, type) {
  types <- c("linear_response", "mean_field")
  type <- check_choice(if (is.null(type)) types else type, "type", types)
  sds <- Map(function(part, cov) {
    sd <- 0 * part$mean
    for (j in seq_len(ncol(sd))) sd[, j] <- sqrt(cov[j, j, ])
    sd
  }, unname(latent_parts(fit)), general_vb_latent_cov(fit, type)[seq_along(latent_parts(fit))])
  if (is_crossed(design_of(fit)) || length(sds) == 0) sds else sds[[1]]
}

# At eta, q(beta, u) at its best there: as C_general_vb_at answers.
general_vb_at <- function(fit, eta) {
  model <- general_description(design_of(fit), held_of(fit), "vb", control_of(fit),
                               full_rank = TRUE, priors = priors_of(fit))
  none <- list(smooth_sd = numeric(), smooth_slope = numeric(), eta_of_smooth = integer())
  c(.Call(C_general_vb_at, model, list(eta = eta, nodes = convergence_of(fit)$nodes)), none)
}

#' @rdname sensitivity
#' @export
sensitivity.elbo_general_vb <- function(object, to = c("prior", "data"), ...) {
  check_dots_empty(...)
  if (check_choice(to, "to", c("prior", "data")) == "prior") return(prior_sensitivity(object))
  sensitivity.elbo_general(object)
}

# ---- the ELBO elsewhere ------------------------------------------------------------------

#' @exportS3Method
elbo.elbo_general_vb <- function(object, theta = NULL, q = NULL, ...) {
  check_dots_empty(...)
  if (!is.null(theta)) {
    abort(c("Method \"vb\" has a distribution of theta, and no ELBO at a point:",
            "leave `theta` out, or give `q`, see variational()."), "elbo_error_method")
  }
  if (is.null(q)) objective_of(object) else general_variational_elbo(object, q)
}

# E_q[log p(y, beta, u, Sigma) - log q] at a q as variational() returns it: as in vb_elbo.R, but
# for the rows, whose predictor is normal under q.
general_variational_elbo <- function(fit, q) {
  not_for_crossed(fit, "elbo() at another q")
  check_variational(q, fit)
  normal <- normal_factor_of(q, fit)
  Sigma <- factors_of(fit)$S
  value <- expected_log_normal(fit, normal) + general_entropy(fit, normal) +
    expected_log_rows(fit, normal)
  for (scale in scale_factors_of(q, fit)) {
    Sigma[scale$terms, scale$terms] <- scale$S
    value <- value + scale_value(scale)
  }
  value + general_log_law(fit, normal, Sigma)
}

# Of beta, and of u given beta.
general_entropy <- function(fit, q) {
  log_det <- function(S) as.numeric(determinant(S)$modulus)
  n <- length(q$beta) + length(q$mean)
  value <- 0.5 * n * (1 + log(2 * pi))
  if (length(q$beta) > 0) value <- value + 0.5 * log_det(q$beta_cov)
  if (length(q$mean) == 0) return(value)
  value + 0.5 * sum(apply(q$cov, 3, function(S) log_det(as.matrix(S))))
}

# E log p(u | Sigma), S for Sigma.
general_log_law <- function(fit, q, S) {
  if (length(q$mean) == 0) return(0)
  spread <- matrix(rowSums(q$cov, dims = 2), ncol(q$mean))
  for (g in seq_len(nrow(q$mean))) {
    gain <- matrix(q$gain[, , g], ncol(q$mean))
    spread <- spread + gain %*% q$beta_cov %*% t(gain)
  }
  second <- crossprod(q$mean) + spread
  -0.5 * (nrow(q$mean) * as.numeric(determinant(2 * pi * S)$modulus) + sum(solve(S) * second))
}

# E log p(y | x), x normal in each row.
expected_log_rows <- function(fit, q, nodes = 201L) {
  design <- design_of(fit)
  free <- information_of(fit)$free_beta
  X <- design$X[, free, drop = FALSE]
  beta <- replace(coef(fit), free, q$beta)
  x <- drop(design$X %*% beta) + design$offset
  variance <- 0
  if (length(q$mean) > 0) {
    group <- as.integer(the_group(design))
    x <- x + rowSums(design$Z * q$mean[group, , drop = FALSE])
    along <- aperm(q$cov, c(3, 1, 2))
    for (j in seq_len(ncol(design$Z))) {
      for (k in seq_len(ncol(design$Z))) {
        variance <- variance + design$Z[, j] * design$Z[, k] * along[group, j, k]
      }
    }
    X <- X - latent_rows(design$Z, q$gain, group)
  }
  variance <- variance + quadratic_rows(X, q$beta_cov)
  sum(averaged(function(x) response_log_density(fit, x), x, variance, nodes))
}
