#' Simulate a mixed model with one grouping factor
#'
#' Draws data from the model that `fit_glmm(y ~ x + (x | group))` fits,
#' \deqn{y_{gi} = \beta_1 + u_{g1} + (\beta_2 + u_{g2}) x_{gi} + e_{gi}, \qquad
#'   u_g \sim N(0, \Sigma), \quad e_{gi} \sim N(0, \sigma^2),}{
#'   y_gi = beta_1 + u_g1 + (beta_2 + u_g2) x_gi + e_gi, u_g ~ N(0, Sigma),
#'   e_gi ~ N(0, sigma^2),}
#' with standard normal \eqn{x}{x}; or, with a single `sd`, from the random-intercept model
#' `y ~ x + (1 | group)`. With another `family` the mean is the linear predictor of 0 and 1, of
#' counts or of ordered categories.
#'
#' @param groups number of groups.
#' @param size rows in each group: one number, or one for each group (an unbalanced design).
#' @param beta the intercept and the slope of the population.
#' @param sd standard deviation of the random intercepts or, of length two, of the random
#'   intercepts and slopes. Zero is allowed.
#' @param cor correlation of random intercepts and slopes.
#' @param sigma residual standard deviation.
#' @param family a family that [fit_glmm()] knows: `gaussian()`, `binomial()`, `poisson()`,
#'   [negative_binomial()] or [cumulative()].
#' @param own `size` of [negative_binomial()], by default 2, or the ascending thresholds of
#'   [cumulative()], by default -1, 1 and 3. As the intercept is not identified there, [truth()] has
#'   them less the intercept.
#' @return A data frame of `sum(size)` rows with columns `y`, `x` and `group` (a factor).
#'   [truth()] gives the parameters and the random effects. The draws come from R's generator:
#'   use [set.seed()].
#' @family simulators
#' @export
#' @examples
#' set.seed(1)
#' d <- sim_glmm(groups = 40, size = sample(3:12, 40, replace = TRUE))
#' fit <- fit_glmm(y ~ x + (x | group), d)
#' cbind(truth = truth(d)$theta, estimate = theta(fit))
#'
#' d <- sim_glmm(groups = 100, beta = c(-1, 0.5), sd = 1, family = binomial())
#' fit <- fit_glmm(y ~ x + (1 | group), d, family = binomial())
#' cbind(truth = truth(d)$theta, estimate = theta(fit))
sim_glmm <- function(groups = 30, size = 10, beta = c(1, 2), sd = c(1, 0.5), cor = 0,
                     sigma = 1, family = stats::gaussian(), own = NULL) {
  groups <- check_count(groups, "groups")
  is_sizes <- is.numeric(size) && length(size) %in% c(1, groups) && all(size >= 1) &&
    all(size == round(size))
  check(is_sizes, "size", "a positive whole number, or one for each group", size)
  check(is_finite_vector(beta, 2), "beta", "two finite numbers", beta)
  check(is_finite_vector(sd, 1:2) && all(sd >= 0), "sd", "one or two numbers >= 0", sd)
  check(is_number(cor) && abs(cor) <= 1, "cor", "a number from -1 to 1", cor)
  check_positive(sigma, "sigma")
  family <- check_family(family, parent.frame())
  own <- check_own(own, family)
  terms <- c("(Intercept)", "x")[seq_along(sd)]
  # Rows of independent standard normals times this have covariance Sigma.
  q <- length(sd)
  root <- rbind(c(1, cor), c(0, sqrt(1 - cor^2)))[1:q, 1:q] %*% diag(sd, q)
  u <- matrix(stats::rnorm(groups * q), groups) %*% root
  colnames(u) <- terms

  group <- factor(rep(seq_len(groups), times = rep_len(size, groups)))
  x <- stats::rnorm(length(group))
  X <- cbind("(Intercept)" = 1, x = x)
  predictor <- drop(X %*% beta) + rowSums(X[, terms, drop = FALSE] * u[group, , drop = FALSE])
  d <- data.frame(y = simulated_response(predictor, family, sigma, own), x = x, group = group)
  names(beta) <- colnames(X)
  attr(d, "truth") <- list(
    theta = c(
      if (family$family == "cumulative") beta["x"] else beta,
      stats::setNames(sd, sprintf("sd__%s|group", terms)),
      if (q == 2) c("cor__(Intercept).x|group" = cor),
      own_truth(family, sigma, own, beta[[1]])
    ),
    latent = latent_values(u, "group", levels(group))
  )
  d
}

check_own <- function(own, family) {
  if (family$family == "negative_binomial") {
    return(check_positive(if (is.null(own)) 2 else own, "own"))
  }
  if (family$family == "cumulative") {
    if (is.null(own)) own <- c(-1, 1, 3)
    valid <- is_finite_vector(own, seq_len(64)) && !is.unsorted(own, strictly = TRUE)
    return(check(valid, "own", "ascending thresholds", own))
  }
  check(is.null(own), "own", sprintf("left out for the family %s", family$family), own)
}

simulated_response <- function(x, family, sigma, own) {
  n <- length(x)
  switch(family$family,
    gaussian = stats::rnorm(n, x, sigma),
    binomial = stats::rbinom(n, 1, family$linkinv(x)),
    poisson = stats::rpois(n, family$linkinv(x)),
    negative_binomial = stats::rnbinom(n, own, mu = family$linkinv(x)),
    cumulative = {
      below <- outer(x, own, function(x, threshold) family$linkinv(threshold - x))
      factor(1 + rowSums(stats::runif(n) > below), seq_len(length(own) + 1), ordered = TRUE)
    }
  )
}

own_truth <- function(family, sigma, own, intercept) {
  switch(family$family,
    gaussian = c(sigma = sigma),
    negative_binomial = c(size = own),
    cumulative = stats::setNames(own - intercept, sprintf("threshold__%d|%d", seq_along(own),
                                                          seq_along(own) + 1))
  )
}

is_finite_vector <- function(x, lengths) {
  is.numeric(x) && length(x) %in% lengths && all(is.finite(x))
}
