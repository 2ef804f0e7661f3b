# A fit in standard units: each column of the design, the response and the weights divided by the
# power of two nearest its largest value, and the estimates with them, which is exact. What squares
# variances (degrees of freedom, what their uncertainty adds) is computed on it, where nothing over-
# or underflows, whatever the units of the data.
#
#   standard_fit(fit)            the fit so, its `units` by which to multiply to be back:
#                                `response`, `beta` (free coefficients and those of curves),
#                                `latent` (terms), `smooth` (sds of curves)
#   standard_state(state, units) and state_cov(units, cov), a posterior of the latent vectors to
#                                these units

power_of_two <- function(size) ifelse(size > 0, 2^floor(log2(pmax(size, .Machine$double.xmin))), 1)

column_units <- function(X) power_of_two(.Call(C_column_sizes, X))

# Columns that share an sd have one unit.
term_units <- function(design) {
  units <- column_units(design$Z)
  if (length(units) == 0) return(units)
  stats::ave(units, law_shape(design)$sd, FUN = max)
}

# Columns of a curve have one unit, since they have one law.
curve_units <- function(fit) {
  if (!has_curves(fit)) return(numeric())
  units <- column_units(design_of(fit)$B)
  as.vector(tapply(units, smooth_rows(fit), max))
}

design_units <- function(fit) {
  design <- design_of(fit)
  response <- power_of_two(max(abs(design$y - design$offset)))
  curve <- curve_units(fit)
  list(
    response = response, weight = if (is.null(design$weights)) 1 else column_units(design$weights),
    X = column_units(design$X), Z = term_units(design),
    B = if (length(curve) > 0) curve[smooth_rows(fit)], smooth = response / curve
  )
}

standard_fit <- function(fit) {
  by <- design_units(fit)
  free <- information_of(fit)$free_beta
  if (design_of(fit)$known_se) by$weight <- 1 / by$response^2 # sigma is 1 in any unit
  units <- list(response = by$response, beta = by$response / c(by$X[free], by$B),
                latent = by$response / by$Z, smooth = by$smooth)
  design_of(fit) <- standard_design(design_of(fit), by)
  block <- parameters_of(fit)$block
  theta(fit)[block == "beta"] <- theta(fit)[block == "beta"] / (by$response / by$X)
  theta(fit)[block == "sd"] <-
    theta(fit)[block == "sd"] / units$latent[law_shape(design_of(fit))$has_sd]
  theta(fit)[block == "smooth"] <- theta(fit)[block == "smooth"] / units$smooth
  theta(fit)[block == "sigma"] <- theta(fit)[block == "sigma"] / by$response / sqrt(by$weight)
  moments_of(fit) <- standard_moments(fit, units)
  if (is_crossed(design_of(fit))) { # whose products are made anew
    stats_of(fit) <- glmm_stats(design_of(fit), model_of(fit), control_of(fit))
  }
  all <- by$response / by$X
  beta_cov_of(fit) <- beta_cov_of(fit) / all / rep(all, each = length(all))
  if (has_curves(fit)) smooth_of(fit)$coef_cov <- scale_cov(smooth_of(fit)$coef_cov, units$beta)
  standard_units_of(fit) <- units
  fit
}

standard_moments <- function(fit, units) {
  of_factor <- function(one, latent) {
    one[c("cov", "gain")] <- standard_state(one[c("cov", "gain")],
                                            list(latent = latent, beta = units$beta))
    if (length(latent) > 0) one$mean <- one$mean / rep(latent, each = nrow(one$mean))
    one
  }
  if (!is_crossed(design_of(fit))) return(of_factor(moments_of(fit), units$latent))
  latent <- split(units$latent, factor_of_column(design_of(fit)))
  list(parts = Map(of_factor, moments_of(fit)$parts, latent))
}

standard_design <- function(design, by) {
  columns <- function(X, size) X / rep(size, each = nrow(X))
  design$X[] <- columns(design$X, by$X)
  design$Z[] <- columns(design$Z, by$Z)
  if (!is.null(by$B)) design$B[] <- columns(design$B, by$B)
  design$y <- design$y / by$response
  design$offset <- design$offset / by$response
  if (!is.null(design$weights)) design$weights <- design$weights / by$weight
  design
}

# A matrix of the given units to one without; each factor by itself, as their product may be no
# number.
scale_cov <- function(C, units) C / units / rep(units, each = length(units))

standard_state <- function(state, units) {
  q <- length(units$latent)
  if (q > 0) {
    state$cov <- state$cov / units$latent / rep(units$latent, each = q)
    state$gain <- state$gain / units$latent * rep(units$beta, each = q)
  }
  if (!is.null(state$C)) state$C <- scale_cov(state$C, units$beta)
  state
}

# Parameters of standard units, as theta_parts() has them, in those of the data.
user_scales <- function(parts, units, sigma) {
  q <- length(units$latent)
  if (q > 0) parts$Sigma <- parts$Sigma * units$latent * rep(units$latent, each = q)
  parts$smooth <- parts$smooth * units$smooth
  parts$sigma <- sigma
  parts
}
