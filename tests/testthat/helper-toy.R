# A model in the fewest lines: y_1, ..., y_n normal, with a mean, a standard deviation and a share p
# of heads among n flips that go with them. It has three parameters and, to the package, no rows;
# what it answers beside theta_covariance() and nobs() comes from the parent class.
fit_toy <- function(y, heads, method = "em") {
  n <- length(y)
  sigma <- sqrt(mean((y - mean(y))^2))
  parameters <- rbind(parameter_rows("mean", "y", role = "coefficient"),
                      parameter_rows("sigma"),
                      parameter_rows("prob", "heads"))
  theta <- stats::setNames(c(mean(y), sigma, heads / n), parameters$name)
  attr(theta, "fixed") <- parameters$fixed
  objective <- sum(dnorm(y, mean(y), sigma, log = TRUE)) + dbinom(heads, n, heads / n, log = TRUE)
  new_elbo_fit(list(
    call = match.call(), method = method, parameters = parameters, theta = theta, n = n,
    objective = objective, log_evidence = if (method == "em") objective else NA_real_,
    trace = data.frame(iteration = 0:1, step = c("start", "M"), elbo = objective - 1:0,
                       log_evidence = objective - 1:0, kl = 0),
    convergence = list(status = "converged", iterations = 1L, gradient = 0, gain = 0,
                       message = "At a maximum.")
  ), "elbo_toy")
}

nobs.elbo_toy <- function(object, ...) object$n

theta_covariance.elbo_toy <- function(fit, type) {
  theta <- unname(theta(fit))
  diag(c(theta[2]^2, theta[2]^2 / 2, theta[3] * (1 - theta[3])) / nobs(fit))
}

# As a package would register them; registerS3method() would enter them into the namespace as well.
local({
  table <- asNamespace("elbo")$.__S3MethodsTable__.
  assign("theta_covariance.elbo_toy", theta_covariance.elbo_toy, table)
  table <- asNamespace("stats")$.__S3MethodsTable__.
  assign("nobs.elbo_toy", nobs.elbo_toy, table)
})
