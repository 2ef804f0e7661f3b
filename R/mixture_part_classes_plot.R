# Pictures of latent classes.

class_pictures <- function(fit) {
  type <- design_of(fit)$variables$type
  panels <- any(type == "gaussian") + any(type != "gaussian")
  list(profiles = picture(plot_profiles, panels = panels))
}

plot_profiles <- function(fit) {
  variables <- design_of(fit)$variables
  values <- component_means(fit, design_of(fit))
  numeric <- colnames(values) %in% variables$name[variables$type == "gaussian"]
  if (any(!numeric)) draw_profiles(fit, values[, !numeric, drop = FALSE], c(0, 1), "Probabilities")
  if (any(numeric)) {
    Y <- design_of(fit)$Y[, colnames(values)[numeric], drop = FALSE]
    centred <- sweep(values[, numeric, drop = FALSE], 2, colMeans(Y, na.rm = TRUE))
    scaled <- sweep(centred, 2, apply(Y, 2, stats::sd, na.rm = TRUE), "/")
    draw_profiles(fit, scaled, range(scaled, -1, 1), "Means / standard deviation")
  }
}

draw_profiles <- function(fit, values, range, title) {
  n <- ncol(values)
  shown <- occupied(fit)
  longest <- max(graphics::strwidth(colnames(values), "inches", cex = 0.8))
  old <- graphics::par(mai = replace(graphics::par("mai"), 2, longest + 0.3))
  on.exit(graphics::par(old))
  graphics::plot(range, c(1, n), type = "n", xlab = "", ylab = "", yaxt = "n",
                 ylim = c(n + 0.5 + 0.15 * n, 0.5), main = title)
  graphics::abline(h = seq_len(n), col = "grey90")
  graphics::axis(2, seq_len(n), colnames(values), tick = FALSE, cex.axis = 0.8, line = -0.5,
                 gap.axis = 0)
  # Components that agree lie beside each other rather than over each other.
  shift <- min(0.12, 0.6 / length(shown)) * (seq_along(shown) - (length(shown) + 1) / 2)
  for (i in seq_along(shown)) {
    j <- shown[i]
    graphics::points(values[j, ], seq_len(n) + shift[i], lwd = 2,
                     pch = component_symbols(n_components(fit))[j],
                     col = component_colours(n_components(fit))[j])
  }
  component_legend(fit, "bottom", horiz = TRUE)
}
