# Does linear response tell the truth here? Importance sampling in theta: the latent variables are
# integrated by quadrature, so that nothing of variational Bayes is in the target,
#
#   p(beta, Sigma | y)  prop. to  p(y | beta, Sigma) p(beta) p(Sigma).
#
# Proposals and judgement are those of R/vb_check.R, with beta among the coordinates.

# Rows times nodes up to which fits are checked without being asked, and of all draws up to which
# they are more than the fewest: some seconds of processor time.
general_vb_check_size <- c(rows = 3e4, draws = 1e8)

#' @exportS3Method
posterior_verdict.elbo_general_vb <- function(fit, always = FALSE) {
  free <- !parameters_of(fit)$fixed
  if (!any(free)) return(no_verdict("No parameter is free."))
  if (is_crossed(design_of(fit))) {
    return(no_verdict(paste("Linear response not checked: with several grouping factors the exact",
                            "posterior is not known.")))
  }
  nodes <- nodes_to_check(fit)
  cost <- nobs(fit) * nodes^ncol(design_of(fit)$Z)
  if (!always && cost > general_vb_check_size[["rows"]]) {
    return(no_verdict(sprintf(
      "Linear response not checked: %s. convergence(fit, check = TRUE) does.", size_words(fit)
    )))
  }
  sd <- sqrt(diag(information_of(fit)$linear_response))[free]
  draws <- c(256L, 1024L, 4096L)
  some <- draws * vb_check_batches * cost <= general_vb_check_size[["draws"]]
  judge_linear_response(general_vb_target(fit, nodes), parameter_labels(fit)[free],
                        unname(theta(fit))[free], sd, draws = draws[some | draws == min(draws)])
}

# Nodes a dimension by which the log-likelihood at the fit is right to 1e-3.
nodes_to_check <- function(fit) {
  q <- ncol(design_of(fit)$Z)
  if (q == 0) return(1L)
  at <- lapply(theta_parts(fit)[c("beta", "Sigma")], as.matrix)
  at$Sigma <- as.matrix(as.vector(at$Sigma))
  value <- NULL
  for (nodes in c(5L, 7L, 11L, 17L, 25L, 39L, 59L, 89L)) {
    before <- value
    value <- likelihood_at(fit, c(at, list(own = matrix(0, 0, 1))), nodes)
    if (!is.null(before) && abs(value - before) < 1e-3) break
  }
  nodes
}

# The log-likelihood at columns of beta (free ones), Sigma and own.
likelihood_at <- function(fit, at, nodes) {
  model <- general_description(design_of(fit), held_of(fit), "em", control_of(fit),
                               full_rank = TRUE)
  # Waking threads for each of many evaluations would cost more than small ones.
  model$threads <- if (nobs(fit) < 5000) 1L else solver_threads(control_of(fit))
  .Call(C_general_evaluate, model, lapply(at, function(x) `storage.mode<-`(x, "double")), nodes)
}

# As vb_target(): x is the free coefficients, then the scales without bounds.
general_vb_target <- function(fit, nodes) {
  shape <- scale_shape(fit)
  info <- information_of(fit)
  beta <- seq_along(info$free_beta)
  free <- shape$free
  evaluate <- function(x) {
    scales <- constrain_scales(x[, -beta, drop = FALSE], shape)
    at <- list(beta = t(x[, beta, drop = FALSE]), Sigma = scales$Sigma,
               own = matrix(0, 0, nrow(x)))
    log_prior <- scales$log_prior + coefficient_log_prior(fit, x[, beta, drop = FALSE])
    list(log_density = likelihood_at(fit, at, nodes) + log_prior,
         scales = scales$value[, free, drop = FALSE], beta = x[, beta, drop = FALSE],
         beta_variance = 0 * x[, beta, drop = FALSE])
  }
  slope <- ifelse(shape$kind == "cor", 1 / (1 - shape$mode^2), 1 / shape$mode)[free]
  unit <- c(rep(1, length(beta)), slope)
  rows <- c(info$free_beta, which(parameters_of(fit)$block != "beta")[free])
  cov <- info$linear_response[rows, rows, drop = FALSE] * outer(unit, unit)
  list(centre = c(unname(theta(fit))[info$free_beta], unconstrain_scales(shape)[free]), cov = cov,
       evaluate = evaluate)
}

# log p(beta) of the rows of x; flat priors count for nothing.
coefficient_log_prior <- function(fit, x) {
  told <- priors_of(fit)$told
  proper <- which(is.finite(told$prior_beta_sd))
  value <- numeric(nrow(x))
  for (j in proper) {
    value <- value + stats::dnorm(x[, j], told$prior_beta_mean[j], told$prior_beta_sd[j],
                                  log = TRUE)
  }
  value
}
