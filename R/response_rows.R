# Rows of responses that are not gaussian, given the linear predictor: their mean and variance,
# their distribution, draws.
#
#   response_mean(fit, x)          a number a row (binomial: a proportion), of categories a matrix
#                                  of probabilities
#   averaged(f, x, v)              E f(N(x, v)), row by row
#   response_numbers(fit)          the responses on the scale of the mean; categories are numbered
#   mean_number(mean), response_variance(fit, mean)
#   response_cdf(fit, y, x), draw_response(fit, x, size)    as the law counts: successes, categories
#                                  from 0

response_law_of <- function(fit) design_of(fit)$response$law

response_mean <- function(fit, x) {
  if (response_law_of(fit) == "cumulative") category_probabilities(fit, x)
  else family(fit)$linkinv(x)
}

own_values <- function(fit) as.vector(theta(fit)[parameters_of(fit)$block %in% own_blocks])

# P(y <= j), a column for each category but the last.
cumulative_probabilities <- function(fit, x) {
  tau <- own_values(fit)
  at <- matrix(tau, length(x), length(tau), byrow = TRUE) - x
  at[] <- family(fit)$linkinv(as.vector(at))
  at
}

category_probabilities <- function(fit, x) {
  below <- cumulative_probabilities(fit, x)
  probabilities <- cbind(below, 1) - cbind(0, below)
  dimnames(probabilities) <- list(names(x), design_of(fit)$response$levels)
  probabilities
}

# By Gauss-Hermite quadrature: f is bounded by an exponential, and smooth.
averaged <- function(f, x, v, nodes = 101L) {
  v <- rep_len(v, length(x))
  if (all(is.na(v) | v == 0)) return(f(x))
  rule <- .Call(C_normal_rule, nodes)
  terms <- Map(function(node, weight) weight * f(x + sqrt(v) * node), rule$node, rule$weight)
  Reduce(`+`, terms)
}

mean_number <- function(mean) if (is.matrix(mean)) drop(mean %*% seq_len(ncol(mean))) else mean

response_numbers <- function(fit) {
  response <- design_of(fit)$response
  if (response$law == "cumulative") return(response$y + 1)
  if (is.null(response$size)) response$y else response$y / response$size
}

# Numbers of trials and prior weights, by which the variance of a row is divided.
response_weights <- function(fit) {
  response <- design_of(fit)$response
  weight <- if (is.null(response$weight)) 1 else response$weight
  rep_len(weight * (if (is.null(response$size)) 1 else response$size), nobs(fit))
}

response_variance <- function(fit, mean) {
  switch(response_law_of(fit),
    binomial = mean * (1 - mean),
    poisson = mean,
    negative_binomial = mean + mean^2 / own_values(fit),
    cumulative = drop(mean %*% seq_len(ncol(mean))^2) - mean_number(mean)^2
  )
}

response_cdf <- function(fit, y, x) {
  size <- design_of(fit)$response$size
  switch(response_law_of(fit),
    binomial = stats::pbinom(y, if (is.null(size)) 1 else size, response_mean(fit, x)),
    poisson = stats::ppois(y, response_mean(fit, x)),
    negative_binomial = stats::pnbinom(y, own_values(fit), mu = response_mean(fit, x)),
    cumulative = cbind(0, cumulative_probabilities(fit, x), 1)[cbind(seq_along(x), y + 2)]
  )
}

# Times the weights of the rows.
response_log_density <- function(fit, x, y = design_of(fit)$response$y,
                                 size = design_of(fit)$response$size,
                                 weight = design_of(fit)$response$weight) {
  density <- switch(response_law_of(fit),
    binomial = binomial_log_density(y, if (is.null(size)) 1 else size, x, family(fit)$link),
    poisson = y * x - exp(x) - lgamma(y + 1),
    negative_binomial = stats::dnbinom(y, own_values(fit), mu = exp(x), log = TRUE),
    cumulative = log(category_probabilities(fit, x)[cbind(seq_along(x), y + 1)])
  )
  if (is.null(weight)) density else weight * density
}

# Of y successes, by the logarithms of both probabilities, which no x takes to zero.
binomial_log_density <- function(y, size, x, link) {
  log_p <- switch(link,
    logit = cbind(stats::plogis(x, log.p = TRUE), stats::plogis(-x, log.p = TRUE)),
    probit = cbind(stats::pnorm(x, log.p = TRUE), stats::pnorm(-x, log.p = TRUE)),
    cloglog = cbind(log(-expm1(-exp(x))), -exp(x))
  )
  lgamma(size + 1) - lgamma(y + 1) - lgamma(size - y + 1) +
    ifelse(y > 0, y * log_p[, 1], 0) + ifelse(size > y, (size - y) * log_p[, 2], 0)
}

draw_response <- function(fit, x, size) {
  n <- length(x)
  switch(response_law_of(fit),
    binomial = stats::rbinom(n, size, response_mean(fit, x)),
    poisson = stats::rpois(n, response_mean(fit, x)),
    negative_binomial = stats::rnbinom(n, own_values(fit), mu = response_mean(fit, x)),
    cumulative = rowSums(stats::runif(n) > cumulative_probabilities(fit, x))
  )
}

# ---- the variance of the latent part -----------------------------------------------------

# z'Sz of each row: S that of the posterior of its group, of a group not seen before (0) and of the
# population (NULL) the law. Levels of several factors are taken for independent.
latent_variance <- function(fit, data, group = NULL, cov = marginal_latent_cov(fit)) {
  if (!has_groups(fit)) return(0)
  law_of <- if (method_of(fit) == "vb") root_mean_squares(fit) else fit
  if (is.null(group)) return(law_variance(with_all_terms(law_of), data))
  Z <- row_random(fit, data)
  if (!is.list(group)) group <- list(group)
  law <- latent_law(law_of)
  parts <- Map(function(part, index, cov) {
    index <- rep_len(index, nrow(Z))
    columns <- part$columns
    Reduce(`+`, lapply(seq_along(columns), function(j) {
      Reduce(`+`, lapply(seq_along(columns), function(k) {
        S <- c(law[columns[j], columns[k]], cov[j, k, ])
        Z[, columns[j]] * Z[, columns[k]] * S[index + 1]
      }))
    }))
  }, latent_parts(fit), group, cov)
  pmax(Reduce(`+`, parts), 0)
}

# Posterior covariances of the levels of each factor.
marginal_latent_cov <- function(fit) {
  if (method_of(fit) == "vb") general_vb_latent_cov(fit)
  else lapply(latent_parts(fit), `[[`, "cov")
}

# The variance of the predictor of each row of the fit under q.
fitted_variance <- function(fit) {
  if (!is.null(row_variances(fit))) return(row_variances(fit))
  if (!has_groups(fit)) return(0)
  latent_variance(fit, NULL, group_index(fit, NULL, allow = FALSE))
}

# The same of any rows: with several factors the levels of a row depend on each other given the
# data, so that their covariance is asked for with rows of no weight beside those of the fit.
predictor_spread <- function(fit, data, group) {
  if (is.null(data) && all(kept_terms(fit)) && !is.null(group)) return(fitted_variance(fit))
  variance <- latent_variance(fit, data, group)
  if (is.null(group) || !is_crossed(design_of(fit)) || method_of(fit) == "joint") return(variance)
  Z <- row_random(fit, data)
  X <- row_fixed(fit, data)
  known <- Reduce(`&`, lapply(group, `>`, 0)) & rowSums(is.na(Z)) == 0 & rowSums(is.na(X)) == 0
  known <- which(rep_len(known, nrow(Z)))
  if (length(known) == 0) return(variance)
  if (method_of(fit) == "vb") {
    abort(c("Means of new rows need the joint posterior of the levels of several factors, which is",
            "known by method \"vb\" for the rows of the fit: use update(fit, method = \"em\")."),
          "elbo_error_not_available")
  }
  rows <- beside_the_rows(design_of(fit), X[known, , drop = FALSE], Z[known, , drop = FALSE],
                          lapply(group, function(g) rep_len(g, nrow(Z))[known]))
  model <- general_description(rows, held_of(fit), method_of(fit), control_of(fit),
                               full_rank = TRUE, priors = priors_of(fit))
  at <- c(theta_parts(fit, theta(fit))[c("beta", "Sigma")],
          list(own = as.double(own_values(fit)), nodes = 1L))
  variance[known] <- utils::tail(.Call(C_general_at, model, at)$row_variance, length(known))
  variance
}

# A design with further rows, of weight 0.
beside_the_rows <- function(design, X, Z, index) {
  n <- nrow(X)
  again <- function(x, value = x[1]) if (length(x) > 1) c(x, rep(value, n)) else x
  response <- design$response
  weight <- if (is.null(response$weight)) rep(1, nrow(design$X)) else response$weight
  design$response$weight <- c(rep_len(weight, nrow(design$X)), numeric(n))
  design$response$y <- again(response$y)
  if (!is.null(response$size)) design$response$size <- again(response$size)
  design$X <- rbind(design$X, X)
  design$Z <- rbind(design$Z, Z)
  design$offset <- again(design$offset, 0)
  design$groups <- Map(function(group, index) {
    factor(c(as.integer(group), index), seq_len(nlevels(group)), levels(group))
  }, design$groups, index)
  design
}

# The mean of the response in the rows of the fit, the posterior of the latent variables averaged.
general_fitted <- function(fit) {
  x <- stats::setNames(fitted_rows(fit), row.names(frame_of(fit)))
  averaged(function(x) response_mean(fit, x), x, fitted_variance(fit))
}

# ---- answers -----------------------------------------------------------------------------

#' @rdname elbo_fit-methods
#' @export
fitted.elbo_general <- function(object, ...) {
  check_dots_empty(...)
  stats::naresid(attr(frame_of(object), "na.action"), general_fitted(object))
}

#' @rdname elbo_fit-methods
#' @export
residuals.elbo_general <- function(object, type = c("deviance", "pearson", "working", "response",
                                                    "quantile"), ...) {
  check_dots_empty(...)
  type <- check_choice(type, "type", c("deviance", "pearson", "working", "response", "quantile"))
  by_row(object, general_residuals(object, type))
}

general_residuals <- function(fit, type) {
  if (type == "quantile") return(quantile_residuals(fit))
  ordered <- response_law_of(fit) == "cumulative"
  if (ordered && type %in% c("deviance", "working")) {
    abort(sprintf("Ordered categories have no %s residuals. Use \"quantile\" or \"pearson\".",
                  type), "elbo_error_not_available")
  }
  mean <- general_fitted(fit)
  y <- response_numbers(fit)
  off <- unname(y - mean_number(mean))
  switch(type,
    response = off,
    pearson = off * sqrt(response_weights(fit) / unname(response_variance(fit, mean))),
    working = off / family(fit)$mu.eta(family(fit)$linkfun(unname(mean))),
    deviance = sign(off) * sqrt(pmax(row_deviance(fit, y, unname(mean)), 0))
  )
}

# 2 (log density at the response itself - at the mean).
row_deviance <- function(fit, y, mean) {
  weight <- response_weights(fit)
  if (response_law_of(fit) != "negative_binomial") {
    return(family(fit)$dev.resids(y, mean, weight))
  }
  size <- own_values(fit)
  2 * weight * (y * log(pmax(y, 1) / mean) - (y + size) * log((y + size) / (mean + size)))
}

# Dunn and Smyth (1996): a uniform draw between the distribution function below the response and at
# it, as a normal quantile.
quantile_residuals <- function(fit) {
  variance <- fitted_variance(fit)
  y <- design_of(fit)$response$y
  at <- function(y) averaged(function(x) response_cdf(fit, y, x), fitted_rows(fit), variance)
  u <- stats::runif(nobs(fit), at(y - 1), at(y))
  stats::qnorm(pmin(pmax(u, 1e-300), 1 - 1e-16))
}

#' @rdname elbo_fit-methods
#' @export
sigma.elbo_general <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$sigma)
  1
}

#' @rdname elbo_fit-methods
#' @export
weights.elbo_general <- function(object, type = "prior", ...) {
  check_dots_empty(...)
  check_choice(type, "type", "prior")
  stats::naresid(attr(frame_of(object), "na.action"), response_weights(object))
}

# ---- overdispersion and zeros ------------------------------------------------------------

# What the rows say against the law: Pearson's chi-square and the number of zeros, beside what the
# fit expects. Fitted values are shrunk towards the rows, so that neither is found too often.
dispersion_words <- function(fit) {
  if (!response_law_of(fit) %in% c("poisson", "binomial") || nobs(fit) <= n_free(fit)) return()
  remedy <- if (response_law_of(fit) == "poisson") "family = negative_binomial()"
            else "a random term of rows, (1 | row)"
  ratio <- sum(general_residuals(fit, "pearson")^2)
  df <- df.residual(fit)
  over <- stats::pchisq(ratio, df, lower.tail = FALSE) < 0.001
  # Single trials cannot be overdispersed.
  if (!over || max(response_weights(fit)) == 1 && response_law_of(fit) == "binomial") return()
  sprintf(paste("The responses vary more than the family allows: Pearson's chi-square is %s on %s",
                "df. Standard errors are too small; see %s."), fixed_text(ratio, 0),
          fixed_text(df, 0), remedy)
}

zero_words <- function(fit) {
  if (response_law_of(fit) != "poisson") return()
  zero <- exp(-unname(general_fitted(fit)))
  found <- sum(design_of(fit)$response$y == 0)
  if (found < sum(zero) + 4 * sqrt(sum(zero * (1 - zero)))) return()
  sprintf("There are %d zeros, where the fit expects %s: see family = negative_binomial().", found,
          fixed_text(sum(zero), 0))
}

#' @exportS3Method
summary_words.elbo_general <- function(fit, summary) {
  list(answer = c(dispersion_words(fit), zero_words(fit)), search = list())
}
