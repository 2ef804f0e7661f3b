# Covariance matrices whose rows have different units: what decides by size is done on their
# correlations.
#
#   covariance_units(C)       the sds, 1 where there is none
#   covariance_spectrum(C)    values and vectors of C / (units units'), and units
#   covariance_factor(C)      rows a root: C = t(root) %*% root, also where C is singular
#   inverse_covariance(C)

covariance_units <- function(C) {
  sd <- sqrt(pmax(diag(C), 0))
  ifelse(sd > 0, sd, 1)
}

covariance_spectrum <- function(C) {
  units <- covariance_units(C)
  spectrum <- eigen(C / units / rep(units, each = length(units)), symmetric = TRUE)
  list(values = spectrum$values, vectors = spectrum$vectors, units = units)
}

covariance_factor <- function(C) {
  if (length(C) == 0) return(C)
  spectrum <- covariance_spectrum(C)
  # Rounding decides signs: the same draws in any unit.
  up <- ifelse(spectrum$vectors[1, ] < 0, -1, 1)
  root <- sqrt(pmax(spectrum$values, 0)) * up * t(spectrum$vectors)
  root * rep(spectrum$units, each = nrow(root))
}

inverse_covariance <- function(C) {
  units <- covariance_units(C)
  n <- length(units)
  out <- solve(C / units / rep(units, each = n)) / units / rep(units, each = n)
  dimnames(out) <- dimnames(C)
  out
}
