#' Simulate a mixed model with one grouping factor
#'
#' Draws data from the model that `fit_glmm(y ~ x + (x | group))` fits,
#' \deqn{y_{gi} = \beta_1 + u_{g1} + (\beta_2 + u_{g2}) x_{gi} + e_{gi}, \qquad
#'   u_g \sim N(0, \Sigma), \quad e_{gi} \sim N(0, \sigma^2),}{
#'   y_gi = beta_1 + u_g1 + (beta_2 + u_g2) x_gi + e_gi, u_g ~ N(0, Sigma),
#'   e_gi ~ N(0, sigma^2),}
#' with standard normal \eqn{x}{x}; or, with a single `sd`, from the random-intercept model
#' `y ~ x + (1 | group)`.
#'
#' @param groups number of groups.
#' @param size rows in each group: one number, or one for each group (an unbalanced design).
#' @param beta the intercept and the slope of the population.
#' @param sd standard deviation of the random intercepts or, of length two, of the random
#'   intercepts and slopes. Zero is allowed.
#' @param cor correlation of random intercepts and slopes.
#' @param sigma residual standard deviation.
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
sim_glmm <- function(groups = 30, size = 10, beta = c(1, 2), sd = c(1, 0.5), cor = 0,
                     sigma = 1) {
  groups <- check_count(groups, "groups")
  is_sizes <- is.numeric(size) && length(size) %in% c(1, groups) && all(size >= 1) &&
    all(size == round(size))
  check(is_sizes, "size", "a positive whole number, or one for each group", size)
  check(is_finite_vector(beta, 2), "beta", "two finite numbers", beta)
  check(is_finite_vector(sd, 1:2) && all(sd >= 0), "sd", "one or two numbers >= 0", sd)
  check(is_number(cor) && abs(cor) <= 1, "cor", "a number from -1 to 1", cor)
  check_positive(sigma, "sigma")
  terms <- c("(Intercept)", "x")[seq_along(sd)]
  # Rows of independent standard normals times this have covariance Sigma.
  q <- length(sd)
  root <- rbind(c(1, cor), c(0, sqrt(1 - cor^2)))[1:q, 1:q] %*% diag(sd, q)
  u <- matrix(stats::rnorm(groups * q), groups) %*% root
  colnames(u) <- terms

  group <- factor(rep(seq_len(groups), times = rep_len(size, groups)))
  x <- stats::rnorm(length(group))
  X <- cbind("(Intercept)" = 1, x = x)
  mean <- drop(X %*% beta) + rowSums(X[, terms, drop = FALSE] * u[group, , drop = FALSE])
  d <- data.frame(y = stats::rnorm(length(group), mean, sigma), x = x, group = group)
  attr(d, "truth") <- list(
    theta = c(
      stats::setNames(beta, colnames(X)),
      stats::setNames(sd, sprintf("sd__%s|group", terms)),
      if (q == 2) c("cor__(Intercept).x|group" = cor),
      sigma = sigma
    ),
    latent = latent_values(u, "group", levels(group))
  )
  d
}

is_finite_vector <- function(x, lengths) {
  is.numeric(x) && length(x) %in% lengths && all(is.finite(x))
}
