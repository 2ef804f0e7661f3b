# Smooth terms in a fit of a mixed model: estimates, latent variables, effective degrees of freedom,
# curves to draw.
#
#   smooth_estimates(result, design, held)   smooth_of(fit): list(mean, coef_cov, q_cov)
#   without_smooth_columns(result, n)        what C returns, as of a model without curves
#   all_coefficients(fit), all_coefficients_cov(fit)   those of X, and b
#   curve_summary(fit)                       data frame(term, edf, most, sd), NULL without curves
#   curve_data(fit, curve, level)            data frame(x, estimate, low, high)

check_no_curves <- function(design, what, remedy) {
  if (length(design$curves) == 0) return()
  abort(c(sprintf("%s cannot be had with smooth terms, such as %s.", what,
                  design$curves[[1]]$label), remedy), "elbo_error_not_available")
}

# Of the coefficients of C, the free ones of X and then b: what belongs to the curves. `coef_cov`
# is the covariance of all of them, beta estimated; `q_cov` that under q, where under em beta is a
# point.
smooth_estimates <- function(result, design, held) {
  n <- sum(smooth_sizes(design$curves))
  if (n == 0) return(NULL)
  names <- c(held$name[held$block == "beta" & is.na(held$constant)], colnames(design$B))
  named <- function(V) structure(V, dimnames = list(names, names))
  list(mean = structure(utils::tail(result$beta, n), names = colnames(design$B)),
       coef_cov = named(result$beta_cov), q_cov = named(result$q_beta_cov))
}

# C profiles derivatives over b, so that what is left of them is that of beta alone.
without_smooth_columns <- function(result, n) {
  if (n == 0) return(result)
  kept <- seq_len(length(result$beta) - n)
  result$beta <- result$beta[kept]
  result$cross <- result$cross[, kept, drop = FALSE]
  for (name in c("beta_cov", "q_beta_cov")) {
    result[[name]] <- result[[name]][kept, kept, drop = FALSE]
  }
  result$beta_cov_slope <- result$beta_cov_slope[kept, kept, , drop = FALSE]
  result
}

curve_labels <- function(curves) vapply(curves, `[[`, "", "label")

# The terms of a fit with curves, as those of its groups (latent.R).
smooth_rows <- function(fit) {
  rep(seq_along(design_of(fit)$curves), smooth_sizes(design_of(fit)$curves))
}

latent_smooth <- function(fit, type) {
  names <- names(smooth_of(fit)$mean)
  type <- latent_type(fit, type)
  cov <- latent_coefficient_cov(fit, type)
  if (type == "total") cov <- cov + scale_excess(fit)$C
  label <- curve_labels(design_of(fit)$curves)[smooth_rows(fit)]
  data.frame(group = label, level = as.character(sequence(smooth_sizes(design_of(fit)$curves))),
             term = label, mean = unname(smooth_of(fit)$mean),
             sd = unname(sqrt(diag(cov)[names])))
}

ranef_smooth <- function(fit, condVar) {
  effects <- lapply(split(seq_along(smooth_of(fit)$mean), smooth_rows(fit)), function(rows) {
    b <- data.frame(unname(smooth_of(fit)$mean[rows]))
    names(b) <- "b"
    variance <- diag(smooth_of(fit)$q_cov)[names(smooth_of(fit)$mean)[rows]]
    if (condVar) attr(b, "postVar") <- array(variance, c(1, 1, length(rows)))
    b
  })
  stats::setNames(effects, curve_labels(design_of(fit)$curves))
}

smooth_laws <- function(fit) {
  labels <- curve_labels(design_of(fit)$curves)
  laws <- lapply(labels, function(label) {
    sd <- stats::setNames(theta(fit)[which_parameters(fit, "smooth", label)], label)
    structure(matrix(sd^2, dimnames = list(label, label)), stddev = sd,
              correlation = matrix(1, dimnames = list(label, label)))
  })
  stats::setNames(laws, labels)
}

# Coefficients and the curves', held ones included, and their covariance.
all_coefficients <- function(fit) c(coef(fit), smooth_of(fit)$mean)

all_coefficients_cov <- function(fit) {
  if (has_curves(fit)) with_held(fit, coefficient_cov(fit)) else vcov(fit)
}

# A covariance of free coefficients with zeros for those that are held.
with_held <- function(fit, cov) {
  names <- names(all_coefficients(fit))
  V <- matrix(0, length(names), length(names), dimnames = list(names, names))
  V[rownames(cov), rownames(cov)] <- cov
  V
}

# Of vb: covariance of the free coefficients given the scales, and the response of their means to
# the scales, by central differences as latent_response().
conditional_cov <- function(fit) {
  if (has_curves(fit)) smooth_of(fit)$coef_cov else information_of(fit)$conditional_cov
}

coefficient_response <- function(fit) {
  info <- information_of(fit)
  if (!has_curves(fit)) {
    return(theta_response(fit)[info$free_beta, info$moves, drop = FALSE])
  }
  eta <- eta_of(fit)
  slopes <- vapply(info$moves, function(k) {
    step <- 1e-4 * sqrt(info$eta_cov[k, k])
    move <- replace(0 * eta, k, step)
    (at_eta(fit, eta + move)$beta - at_eta(fit, eta - move)$beta) / (2 * step)
  }, numeric(nrow(smooth_of(fit)$coef_cov)))
  matrix(slopes, nrow(smooth_of(fit)$coef_cov))
}

# What the uncertainty of the scales adds to conditional_cov().
response_cov <- function(fit) {
  info <- information_of(fit)
  R <- coefficient_response(fit)
  R %*% info$eta_cov[info$moves, info$moves, drop = FALSE] %*% t(R)
}

# Effective degrees of freedom: of a coefficient, by how much the data shrink its prior variance;
# the parts of a curve without a penalty count one each (Wood 2017, 5.4.2).
curve_summary <- function(fit) {
  curves <- design_of(fit)$curves
  if (length(curves) == 0) return(NULL)
  sd <- unname(theta(fit)[which_parameters(fit, "smooth")])
  size <- smooth_sizes(curves)
  variance <- diag(smooth_of(fit)$coef_cov)[names(smooth_of(fit)$mean)]
  if (method_of(fit) == "vb") sd <- factors_of(fit)$smooth # of the law whose coefficients these are
  left <- drop(rowsum(variance, smooth_rows(fit))) / sd^2
  straight <- vapply(curves, straight_parts, 0)
  data.frame(term = curve_labels(curves), edf = straight + ifelse(sd > 0, size - left, 0),
             most = straight + size, sd = unname(theta(fit)[which_parameters(fit, "smooth")]))
}

# What of a curve no penalty is on: a line, and the level of a number that multiplies it.
straight_parts <- function(curve) if (is.null(curve$by) || !is.null(curve$level)) 1 else 2

curve_words <- function(fit) {
  if (!has_curves(fit)) return()
  curves <- curve_summary(fit)
  sprintf("%s: a curve of %s effective degrees of freedom, of at most %d.", curves$term,
          fixed_text(curves$edf, 1), as.integer(curves$most))
}

curve_table <- function(curves) {
  data.frame(Curve = curves$term, edf = fixed_text(curves$edf, 1),
             "at most" = format(curves$most), check.names = FALSE)
}

# Root mean squares over the rows of a curve with sd 1.
curve_extents <- function(design) {
  if (length(design$curves) == 0) return(numeric())
  vapply(split(colMeans(design$B^2), rep(seq_along(design$curves), smooth_sizes(design$curves))),
         function(x) sqrt(sum(x)), 0)
}

# A curve at `n` values of its variable, with its band, less its mean over the rows.
curve_data <- function(fit, curve, level, n = 200) {
  frame <- frame_of(fit)
  rows <- which(multiplier(curve, frame) != 0)
  x <- as.double(frame[[curve$x]])[rows]
  grid <- seq(min(x), max(x), length.out = n)
  L <- curve_rows(fit, curve, grid)
  at <- sort(unique(x))
  share <- tabulate(match(x, at)) / length(x)
  L <- L - rep(colSums(share * curve_rows(fit, curve, at)), each = n)
  estimate <- drop(L %*% all_coefficients(fit))
  half_width <- stats::qnorm((1 + level) / 2) * sqrt(rowSums((L %*% all_coefficients_cov(fit)) * L))
  data.frame(x = grid, estimate = estimate, low = estimate - half_width,
             high = estimate + half_width)
}

# The columns [X, B] of one row of the data with the variable of a curve moved to x: everything else
# is the same in all rows, and goes with their mean.
curve_rows <- function(fit, curve, x) {
  frame <- frame_of(fit)[rep(1, length(x)), ]
  frame[[curve$x]] <- x
  if (!is.null(curve$by)) {
    by <- frame_of(fit)[[curve$by]]
    frame[[curve$by]] <- if (is.null(curve$level)) 1 else rep(by[match(curve$level, by)], length(x))
  }
  # Text of one value would be a factor of one level.
  for (name in names(xlevels_of(fit))) {
    frame[[name]] <- factor(as.character(frame[[name]]), xlevels_of(fit)[[name]])
  }
  attr(frame, "terms") <- attr(frame_of(fit), "terms")
  X <- model.matrix(terms(fit), frame, contrasts.arg = contrasts_of(fit))
  cbind(X[, !colnames(X) %in% design_of(fit)$aliased, drop = FALSE],
        smooth_matrix(design_of(fit)$curves, frame))
}

curve_axis <- function(curve) {
  if (!is.null(curve$level)) return(sprintf("%s, %s %s", curve$x, curve$by, curve$level))
  curve$x
}
