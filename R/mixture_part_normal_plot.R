# Pictures of mixtures of normal laws.

most_responses <- 6L

drawn_responses <- function(fit) utils::head(colnames(design_of(fit)$Y), most_responses)

# The two responses whose means differ most between components, in standard deviations within them.
telling_pair <- function(fit) {
  responses <- colnames(design_of(fit)$Y)
  if (length(responses) == 2) return(responses)
  parts <- components(fit)
  share <- as.vector(parts$weight)
  within <- colSums(share *
                    matrix(apply(parts$covariance, 1, diag), n_components(fit), byrow = TRUE))
  between <- colSums(share * sweep(parts$mean, 2, colSums(share * parts$mean))^2)
  responses[sort(order(between / within, decreasing = TRUE)[1:2])]
}

# Panels below the diagonal, which share their axes; the key above it.
plot_all_pairs <- function(fit) {
  names <- drawn_responses(fit)
  n <- length(names) - 1
  old <- graphics::par(mfrow = c(n, n), mar = c(0.4, 0.4, 0, 0), oma = c(4, 4.5, 2.2, 0.8), las = 1,
                       mgp = c(2.4, 0.6, 0), tcl = -0.3)
  on.exit(graphics::par(old))
  for (i in seq_len(n)) for (j in seq_len(n)) {
    if (j > i) {
      graphics::plot.new()
      if (i == 1 && j == n) component_legend(fit, "topright", lines = TRUE)
      next
    }
    plot_pair(fit, c(names[j], names[i + 1]), legend = FALSE, axes = FALSE)
    graphics::box(col = "grey40")
    if (j == 1) label_edge(2, names[i + 1])
    if (i == n) label_edge(1, names[j])
  }
  graphics::mtext("Classification", outer = TRUE, line = 0.5, font = 2)
}

label_edge <- function(side, name) {
  graphics::axis(side)
  graphics::mtext(name, side, line = 2.6, las = 0, cex = 0.8)
}

plot_pair <- function(fit, pair, legend, axes = TRUE) {
  rows <- round(seq(1, design_of(fit)$n_row, length.out = min(design_of(fit)$n_row, 5000)))
  Y <- design_of(fit)$Y[rows, pair, drop = FALSE]
  component <- row_component(fit)[rows]
  many <- length(rows) > 500
  rings <- component_rings(fit, pair)
  limits <- rbind(Y, do.call(rbind, lapply(rings, `[[`, "ring")))
  room <- if (legend) headroom(fit, range(limits[, 2], na.rm = TRUE))
  title <- if (ncol(design_of(fit)$Y) > 2) "Classification, most telling pair" else "Classification"
  graphics::plot(limits, type = "n", ylim = room, axes = axes, xlab = if (axes) pair[1] else "",
                 ylab = if (axes) pair[2] else "", main = if (axes) title)
  colours <- grDevices::adjustcolor(component_colours(n_components(fit)), 0.7)
  graphics::points(Y, pch = component_symbols(n_components(fit))[component],
                   cex = if (many) 0.5 else 0.8, col = colours[component])
  for (one in rings) {
    graphics::lines(one$ring, col = component_colours(n_components(fit))[one$component],
                    lty = component_lines(n_components(fit))[one$component], lwd = 2)
  }
  mean <- components(fit)$mean[, pair, drop = FALSE]
  for (j in occupied(fit)) mark_component(mean[j, ], j, n_components(fit))
  if (legend) legend_above(fit)
}

# Ellipses that hold half and 95 % of each component.
component_rings <- function(fit, pair) {
  parts <- components(fit)
  rings <- expand.grid(level = c(0.5, 0.95), component = occupied(fit))
  Map(function(level, component) {
    ring <- ellipse(parts$mean[component, pair], parts$covariance[component, pair, pair], level)
    list(component = component, level = level, ring = ring)
  }, rings$level, rings$component)
}

# Points around the ellipse that holds this share of a bivariate normal.
ellipse <- function(mean, covariance, level, n = 120) {
  angle <- seq(0, 2 * pi, length.out = n)
  spectrum <- eigen(covariance, symmetric = TRUE)
  root <- spectrum$vectors %*% diag(sqrt(pmax(spectrum$values, 0)))
  t(mean + sqrt(stats::qchisq(level, 2)) * root %*% rbind(cos(angle), sin(angle)))
}

# On a grid: the density, and each component's share in it (n x k).
density_data <- function(fit, n = 400) {
  parts <- normal_components(fit)
  sd <- sqrt(parts$covariance[, 1, 1])
  freq <- unit_freq(fit)
  weight <- colSums(freq * unit_weights(fit)) / sum(freq)
  range <- range(design_of(fit)$Y, parts$mean - 3 * sd, parts$mean + 3 * sd, na.rm = TRUE)
  y <- seq(range[1], range[2], length.out = n)
  share <- vapply(seq_len(n_components(fit)), function(j) {
    weight[[j]] * stats::dnorm(y, parts$mean[j, 1], sd[j])
  }, numeric(n))
  list(y = y, share = share, density = rowSums(share))
}

plot_density <- function(fit) {
  data <- density_data(fit)
  Y <- design_of(fit)$Y[, 1]
  copies <- unit_freq(fit)[unit_of_row(design_of(fit))]
  observed <- rep(Y[!is.na(Y)], copies[!is.na(Y)])
  bars <- graphics::hist(observed, breaks = "FD", plot = FALSE)
  graphics::plot(bars, freq = FALSE, col = "grey90", border = "grey70",
                 xlab = colnames(design_of(fit)$Y), ylab = "density", main = "Density",
                 xlim = range(data$y),
                 ylim = c(0, max(bars$density, data$density)))
  graphics::lines(data$y, data$density, lwd = 2)
  for (j in occupied(fit)) {
    graphics::lines(data$y, data$share[, j], col = component_colours(n_components(fit))[j], lwd = 2,
                    lty = component_lines(n_components(fit))[j])
    top <- which.max(data$share[, j])
    mark_component(c(data$y[top], data$share[top, j]), j, n_components(fit))
  }
}

ggplot_classification <- function(fit, level) {
  pair <- drawn_responses(fit)[1:2]
  component <- as_component(row_component(fit), fit)
  points <- thin(data.frame(design_of(fit)$Y[, pair], component = component), 5000)
  names(points)[1:2] <- c("x", "y")
  rings <- do.call(rbind, lapply(component_rings(fit, pair), function(one) {
    data.frame(x = one$ring[, 1], y = one$ring[, 2], component = as_component(one$component, fit),
               ring = paste(one$component, one$level))
  }))
  ggplot2::ggplot(points, ggplot2::aes(.data$x, .data$y, colour = .data$component)) +
    ggplot2::geom_point(ggplot2::aes(shape = .data$component), alpha = 0.7, na.rm = TRUE) +
    ggplot2::geom_path(ggplot2::aes(group = .data$ring, linetype = .data$component), data = rings) +
    ggplot2::labs(x = pair[1], y = pair[2], title = "Classification",
                  subtitle = "ellipses hold half and 95 % of each component") +
    component_scales(fit)
}

ggplot_density <- function(fit, level) {
  data <- density_data(fit)
  shares <- data.frame(y = data$y, share = as.vector(data$share),
                       component = as_component(rep(seq_len(n_components(fit)),
                                                    each = length(data$y)), fit))
  Y <- design_of(fit)$Y[, 1]
  copies <- unit_freq(fit)[unit_of_row(design_of(fit))]
  observed <- data.frame(y = Y, copies = copies)[!is.na(Y), ]
  ggplot2::ggplot(shares, ggplot2::aes(.data$y, .data$share)) +
    ggplot2::geom_histogram(
      ggplot2::aes(.data$y, ggplot2::after_stat(.data$density), weight = .data$copies),
      data = observed, bins = 30, fill = "grey90", colour = "grey70"
    ) +
    ggplot2::geom_line(ggplot2::aes(.data$y, .data$density),
                       data = data.frame(y = data$y, density = data$density)) +
    ggplot2::geom_line(ggplot2::aes(colour = .data$component, linetype = .data$component)) +
    ggplot2::labs(x = colnames(design_of(fit)$Y), y = NULL, title = "Density") +
    component_scales(fit)
}

normal_pictures <- function(fit) {
  if (ncol(design_of(fit)$Y) == 1) {
    return(list(density = picture(plot_density, ggplot = ggplot_density)))
  }
  list(classification = picture(
    function(fit) plot_pair(fit, telling_pair(fit), legend = TRUE),
    page = if (ncol(design_of(fit)$Y) > 2) function(fit, level) plot_all_pairs(fit),
    ggplot = ggplot_classification
  ))
}
