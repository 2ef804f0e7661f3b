# Scores of several grouping factors by independent units, as group_scores() has them: by Sigma of a
# factor the sum over its levels of (s s' - P) / 2, s = Z'V^-1 (y - X beta), P = Z'V^-1 Z.

crossed_scores <- function(fit) {
  design <- design_of(fit)
  info <- information_of(fit)
  unit <- independent_units(fit)
  e <- residual_rows(fit, "response") / residual_variance(fit)
  sum_units <- function(x) unname(rowsum(x, as.integer(unit), reorder = TRUE))
  eta <- covariance_scores(fit, e, unit)
  of_sigma <- match(info$eta_of_sigma, info$moves)
  row_score <- residual_scores(fit, e)
  level <- if (is.null(design$level)) rep(1L, nobs(fit)) else as.integer(design$level)
  for (l in which(!is.na(of_sigma))) {
    eta[, of_sigma[l]] <- eta[, of_sigma[l]] + sum_units(row_score * (level == l))
  }
  cbind(sum_units(design$X[, info$free_beta, drop = FALSE] * e), eta)
}

covariance_scores <- function(fit, e, unit) {
  design <- design_of(fit)
  info <- information_of(fit)
  N <- level_count(design)
  s <- drop(level_sums(design, matrix(e)))
  pairs <- level_pairs(design)
  P <- level_entries(function(E) {
    AE <- level_products(fit, E, FALSE)
    AE - level_products(fit, level_products(fit, AE, TRUE), FALSE)
  }, pairs$i, pairs$j, N)
  G <- 0.5 * (s[pairs$i] * s[pairs$j] - P)
  term <- level_terms(design)
  entry <- term[pairs$i] + ncol(design$Z) * (term[pairs$j] - 1)
  slope <- matrix(info$Sigma_slope, ncol(design$Z)^2)[, info$moves, drop = FALSE]
  place <- level_places(design)
  unit_of <- integer(N)
  unit_of[place] <- as.integer(unit)[row(place)]
  unname(rowsum(G * slope[entry, , drop = FALSE], unit_of[pairs$j], reorder = TRUE))
}

# By log sigma: sigma^2 / w d/dV_ii, V^-1_ii = (1 - z'Sz / v) / v.
residual_scores <- function(fit, e) {
  design <- design_of(fit)
  variance <- residual_variance(fit)
  spread <- level_forms(known_levels(fit), level_places(design), design$Z, level_count(design))
  matrix(variance * (e^2 - (1 - spread / variance) / variance))
}
