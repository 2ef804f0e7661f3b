# Pictures of mixtures of regressions.

# The numeric covariate on the horizontal axis: that of most distinct values.
regression_covariate <- function(fit) {
  variables <- all.vars(stats::delete.response(terms(fit)))
  numeric <- variables[vapply(variables, function(v) is.numeric(frame_of(fit)[[v]]), NA)]
  if (length(numeric) == 0) return(NULL)
  numeric[which.max(vapply(numeric, function(v) length(unique(frame_of(fit)[[v]])), 0L))]
}

# The mean response of each component along the covariate, others at a typical value.
regression_curves <- function(fit, covariate = regression_covariate(fit), n = 100) {
  x <- frame_of(fit)[[covariate]]
  terms <- stats::delete.response(terms(fit))
  typical <- lapply(frame_of(fit)[all.vars(terms)], typical_value)
  grid <- as.data.frame(lapply(typical, rep, n), optional = TRUE)
  grid[[covariate]] <- seq(min(x), max(x), length.out = n)
  X <- new_columns(terms, grid, xlevels_of(fit), contrasts_of(fit))
  X <- X[, colnames(design_of(fit)$X), drop = FALSE]
  offset <- stats::model.offset(new_frame(terms, grid, xlevels_of(fit)))
  list(x = grid[[covariate]], mean = component_means(fit, list(X = X, offset = offset)))
}

typical_value <- function(x) {
  if (is.numeric(x)) return(stats::median(x))
  x[match(names(which.max(table(x))), as.character(x))]
}

plot_regression <- function(fit) {
  design <- design_of(fit)
  y <- response_values(fit)[, 1]
  name <- deparse_line(formula(fit)[[2]])
  component <- row_component(fit)
  rows <- round(seq(1, design$n_row, length.out = min(design$n_row, 5000)))
  colour <- grDevices::adjustcolor(component_colours(n_components(fit)), 0.6)[component]
  symbol <- component_symbols(n_components(fit))[component]
  covariate <- regression_covariate(fit)
  if (is.null(covariate)) {
    x <- component + 0.3 * ((seq_along(y) * 0.618) %% 1 - 0.5) # spread evenly, without chance
    graphics::plot(x[rows], y[rows], xaxt = "n", xlab = "component", ylab = name,
                   pch = symbol[rows], col = colour[rows], main = "Regression by component")
    graphics::axis(1, seq_len(n_components(fit)))
    return(invisible())
  }
  in_order <- if (is.null(design$row_order)) seq_len(design$n_row) else design$row_order
  x <- frame_of(fit)[[covariate]][in_order]
  lines <- regression_curves(fit)
  graphics::plot(x[rows], y[rows], xlab = covariate, ylab = name, pch = symbol[rows],
                 cex = if (length(rows) > 500) 0.5 else 0.8, col = colour[rows],
                 ylim = headroom(fit, range(y, lines$mean[, occupied(fit)])),
                 main = "Regression by component")
  for (j in occupied(fit)) {
    graphics::lines(lines$x, lines$mean[, j], col = component_colours(n_components(fit))[j],
                    lwd = 3, lty = component_lines(n_components(fit))[j])
  }
  legend_above(fit)
}
