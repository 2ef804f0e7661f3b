#' Simulate a finite mixture
#'
#' Every unit belongs to one of k components, drawn with probabilities `weight`, and its rows follow
#' the law of that component. Three kinds of mixtures come from the same function: of normals (give
#' `mean` and `covariance`), of regressions (give `coefficients`), and latent classes (give
#' `probability`, and `mean` and `covariance` for numeric variables beside the categorical ones).
#'
#' @param n number of units.
#' @param weight k positive numbers, proportional to the probabilities of the components.
#' @param mean a k x d matrix, whose column names are the responses (`y1`, `y2`, ... without names);
#'   k numbers make a single response `y`. Without any of `mean`, `coefficients` and `probability`
#'   the components lie 3 apart.
#' @param covariance a d x d matrix for all components, a k x d x d array (as in [components()]), or
#'   numbers, one for all or one for each component: variances of uncorrelated responses.
#' @param coefficients a k x p matrix of the coefficients of each component's regression. Covariates
#'   are named by its columns, `(Intercept)` and `x1`, `x2`, ... without names, and drawn from the
#'   standard normal distribution.
#' @param sigma residual standard deviation, one or one for each component; of Gaussian regressions.
#' @param family [stats::gaussian()], [stats::binomial()] (of single trials) or [stats::poisson()],
#'   for regressions.
#' @param probability a named list, an element for each categorical variable: a k x levels matrix of
#'   probabilities, its column names the levels (`a`, `b`, ... without names), or k numbers, the
#'   probabilities that a logical variable is `TRUE`.
#' @param rows rows of each unit; for more than one, a factor `unit` says which rows belong
#'   together.
#' @return A data frame of `n * rows` rows: the responses, the covariates, and `unit`. [truth()]
#'   gives `theta`, named as [theta()] names it in a fit of this model (components in the order of
#'   their weights, largest first), and `latent`, a data frame of `unit` and the `component` that
#'   was drawn. The draws come from R's generator: use [set.seed()].
#' @family simulators
#' @export
#' @examples
#' set.seed(1)
#' d <- sim_mixture(200, weight = c(2, 1), mean = rbind(c(a = 0, b = 0), c(3, 1)))
#' fit <- fit_mixture(cbind(a, b) ~ 1, d, k = 2, covariance = "EII")
#' table(truth(d)$latent$component, predict(fit, type = "class"))
#'
#' d <- sim_mixture(300, weight = c(2, 1), coefficients = rbind(c(0, 1), c(2, -1)))
#' fit_mixture(y ~ x1, d, k = 2)
#'
#' d <- sim_mixture(300, weight = c(2, 1), probability = list(
#'   colour = rbind(c(red = 0.7, green = 0.2, blue = 0.1), c(0.1, 0.2, 0.7)),
#'   smokes = c(0.8, 0.2)
#' ))
#' head(d)
sim_mixture <- function(n = 300, weight = c(0.6, 0.4), mean = NULL, covariance = 1,
                        coefficients = NULL, sigma = 1, family = stats::gaussian(),
                        probability = NULL, rows = 1) {
  n <- check_count(n, "n")
  rows <- check_count(rows, "rows")
  is_weight <- is.numeric(weight) && length(weight) > 0 && all(is.finite(weight) & weight > 0)
  check(is_weight, "weight", "positive numbers, one for each component", weight)
  k <- length(weight)
  if (is.null(mean) && is.null(coefficients) && is.null(probability)) mean <- 3 * (seq_len(k) - 1)
  order <- order(weight, decreasing = TRUE)
  weight <- weight[order] / sum(weight)
  z <- category_draws(rbind(weight), rep(1L, n))
  component <- rep(z, each = rows)

  parts <- list(
    sim_regression(coefficients, sigma, family, order, component),
    sim_classes(probability, order, component),
    sim_normal(mean, covariance, order, component, mixed = !is.null(probability))
  )
  data <- do.call(cbind, lapply(parts[lengths(parts) > 0], `[[`, "data"))
  unit <- factor(rep(seq_len(n), each = rows))
  if (rows > 1) data$unit <- unit
  attr(data, "truth") <- list(
    theta = c(by_component(weight, "weight"), unlist(lapply(parts, `[[`, "theta"))),
    latent = data.frame(unit = levels(unit), component = z)
  )
  data
}

# k x terms, or a vector of k, as a named vector: terms fastest.
by_component <- function(values, terms) {
  values <- as.matrix(values)
  names <- outer(terms, seq_len(nrow(values)), paste, sep = "|")
  stats::setNames(as.vector(t(values)), names)
}

# k x p with names, its rows in order.
check_components <- function(x, name, order, names) {
  if (is.null(dim(x))) x <- as.matrix(x)
  ok <- is.numeric(x) && length(dim(x)) == 2 && nrow(x) == length(order) && all(is.finite(x))
  check(ok, name, sprintf("a matrix of finite numbers with %d rows", length(order)), x)
  if (is.null(colnames(x)) || !all(nzchar(colnames(x)))) colnames(x) <- names(ncol(x))
  x[order, , drop = FALSE]
}

check_scales <- function(x, name, order) {
  ok <- is.numeric(x) && length(x) %in% c(1, length(order)) && all(is.finite(x) & x > 0)
  check(ok, name, "a positive number, or one for each component", x)
  rep_len(x, length(order))[order]
}

# ---- the three kinds ---------------------------------------------------------------------

sim_regression <- function(coefficients, sigma, family, order, component) {
  if (is.null(coefficients)) return()
  covariates <- function(p) c("(Intercept)", paste0("x", seq_len(p)))[seq_len(p)]
  B <- check_components(coefficients, "coefficients", order, covariates)
  known <- inherits(family, "family") && family$family %in% c("gaussian", "binomial", "poisson")
  check(known, "family", "gaussian(), binomial() or poisson()", family)
  n <- length(component)
  X <- matrix(stats::rnorm(n * ncol(B)), n, dimnames = list(NULL, colnames(B)))
  X[, colnames(B) == "(Intercept)"] <- 1
  mean <- family$linkinv(rowSums(X * B[component, , drop = FALSE]))
  common <- length(sigma) == 1
  sigma <- check_scales(sigma, "sigma", order)
  y <- switch(family$family,
    gaussian = stats::rnorm(n, mean, sigma[component]),
    binomial = as.numeric(stats::rbinom(n, 1, mean)),
    poisson = as.numeric(stats::rpois(n, mean))
  )
  theta <- by_component(B, colnames(B))
  if (family$family == "gaussian") {
    theta <- c(theta, if (common) c(sigma = sigma[1]) else by_component(sigma, "sigma"))
  }
  list(data = data.frame(y = y, X[, colnames(B) != "(Intercept)", drop = FALSE],
                         check.names = FALSE), theta = theta)
}

sim_normal <- function(mean, covariance, order, component, mixed) {
  if (is.null(mean)) return()
  responses <- function(d) if (d == 1) "y" else paste0("y", seq_len(d))
  M <- check_components(mean, "mean", order, responses)
  d <- ncol(M)
  S <- component_arrays(covariance, d, order)
  sd <- t(apply(S, 1, function(S) sqrt(diag(as.matrix(S)))))
  dim(sd) <- dim(M)
  theta <- c(by_component(M, paste0("mean__", colnames(M))),
             by_component(sd, paste0("sd__", colnames(M))))
  if (d > 1 && !mixed) {
    pairs <- utils::combn(colnames(M), 2)
    cor <- apply(S, 1, function(S) stats::cov2cor(S)[lower.tri(S)])
    theta <- c(theta, by_component(t(matrix(cor, ncol(pairs))),
                                   sprintf("cor__%s.%s", pairs[1, ], pairs[2, ])))
  }
  list(data = as.data.frame(normal_draws_by(M, S, component)), theta = theta)
}

# k x d x d, in order.
component_arrays <- function(covariance, d, order) {
  k <- length(order)
  if (is.null(dim(covariance))) {
    variance <- check_scales(covariance, "covariance", order)
    return(outer(variance, diag(d)))
  }
  if (length(dim(covariance)) == 2) covariance <- aperm(array(covariance, c(d, d, k)), c(3, 1, 2))
  ok <- identical(as.integer(dim(covariance)), c(k, d, d)) &&
    all(apply(covariance, 1, function(S) is_covariance(matrix(S, d))))
  check(ok, "covariance", sprintf("a number, or positive definite: %d x %d, or %d x %d x %d",
                                  d, d, k, d, d), covariance)
  covariance[order, , , drop = FALSE]
}

sim_classes <- function(probability, order, component) {
  if (is.null(probability)) return()
  named <- is.list(probability) && !is.null(names(probability)) && all(nzchar(names(probability)))
  check(named, "probability", "a named list of matrices or vectors", probability)
  variables <- Map(function(P, name) sim_category(P, name, order, component), probability,
                   names(probability))
  list(data = as.data.frame(lapply(variables, `[[`, "value"), optional = TRUE),
       theta = unlist(lapply(unname(variables), `[[`, "theta")))
}

sim_category <- function(P, name, order, component) {
  is_logical <- is.null(dim(P))
  P <- check_components(P, name, order, function(n) letters[seq_len(n)])
  if (is_logical) {
    check(all(P >= 0 & P <= 1), name, "probabilities", P)
    return(list(value = stats::runif(length(component)) < P[component, 1],
                theta = by_component(P, paste0("prob__", name))))
  }
  check(all(P >= 0) && all(rowSums(P) > 0), name, "probabilities", P)
  P <- P / rowSums(P)
  list(value = factor(colnames(P)[category_draws(P, component)], colnames(P)),
       theta = by_component(P, sprintf("prob__%s.%s", name, colnames(P))))
}

# ---- draws given the component, shared with simulate() ------------------------------------

# Rows from N(M[j, ], S[j, , ]), j the component of the row.
normal_draws_by <- function(M, S, component) {
  d <- ncol(M)
  Y <- matrix(stats::rnorm(length(component) * d), ncol = d, dimnames = list(NULL, colnames(M)))
  for (j in seq_len(nrow(M))) {
    rows <- component == j
    Y[rows, ] <- Y[rows, , drop = FALSE] %*% chol(matrix(S[j, , ], d)) +
      rep(M[j, ], each = sum(rows))
  }
  Y
}

# Columns of P (probabilities in its rows), drawn for the rows given: the number of cumulative
# probabilities below a uniform draw, plus one.
category_draws <- function(P, rows) {
  if (ncol(P) == 1) return(rep(1L, length(rows)))
  bounds <- P[, -ncol(P), drop = FALSE]
  for (j in seq_len(ncol(bounds))[-1]) bounds[, j] <- bounds[, j] + bounds[, j - 1]
  1L + as.integer(rowSums(stats::runif(length(rows)) > bounds[rows, , drop = FALSE]))
}
