# Weak default priors of variational Bayes on the scale of the data, which mixed models and
# mixtures share.
#
#   default_unit(y)                         standard deviation of a variable, one if it has none
#   default_centre(mean, sd)                where the prior of a mean is centred
#   default_coefficients(X, mean, unit)     priors of coefficients, a list
#   default_sd(unit)                        the prior of a standard deviation

default_unit <- function(y) {
  unit <- stats::sd(y)
  if (is.finite(unit) && unit > 0) unit else 1
}

# To a tenth of the standard deviation, which is all that the data are asked for: a fixed number of
# digits would miss a mean that is many standard deviations from zero.
default_centre <- function(mean, sd) {
  sd[!is.finite(sd) | sd == 0] <- 1
  unname(round(mean, 1 - floor(log10(sd))))
}

# Coefficients are normal(0, 10 units / sd(x)). The intercept is such that the predictor is
# normal(mean, 10 units) where the covariates have their means, which may be far from zero, and its
# uncertainty is that of the predictor at zero.
default_coefficients <- function(X, mean, unit) {
  constant <- apply(X, 2, function(x) all(x == x[1]) && x[1] != 0)
  sd <- apply(X, 2, default_unit)
  sd[constant] <- abs(X[1, constant])
  at_zero <- sqrt(1 + sum((colMeans(X) / sd)[!constant]^2))
  lapply(seq_len(ncol(X)), function(j) {
    spread <- 10 * unit / sd[[j]]
    if (!constant[[j]]) return(distributions$normal(0, signif(spread, 3)))
    distributions$normal(default_centre(mean, unit) / X[[1, j]], signif(spread * at_zero, 3))
  })
}

default_sd <- function(unit) distributions$half_t(3, signif(2.5 * unit, 3))
