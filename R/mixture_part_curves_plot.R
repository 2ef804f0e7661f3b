# Pictures of a mixture of curves.
#
#   curve_members(fit)          what was observed: unit, component, arm, x, y
#   archetypes(fit, level)      the curve of each component on a grid, with its band
#   plot_archetypes(fit, level) small multiples: each component's curve over its members
#   plot_deviations(fit)        distances of units from their curve against the law posited

most_panels <- 20L
most_members <- 300L # drawn in a panel

# ---- the curves --------------------------------------------------------------------------

# Factors of the curves' formula.
arm_factors <- function(fit) {
  variables <- all.vars(stats::delete.response(terms(fit)))
  variables[!vapply(frame_of(fit)[variables], is.numeric, NA)]
}

# A curve for each combination of their levels that occurs.
curve_arms <- function(fit) {
  factors <- arm_factors(fit)
  if (length(factors) == 0) return(gl(1, nrow(frame_of(fit)), labels = ""))
  interaction(frame_of(fit)[factors], drop = TRUE, sep = ", ")
}

drawn_components <- function(fit) utils::head(occupied(fit), most_panels)

# A row for each unit, arm and x: replicates are averaged. Units by their most probable component.
curve_members <- function(fit) {
  design <- design_of(fit)
  in_order <- if (is.null(design$row_order)) seq_len(design$n_row) else design$row_order
  rows <- data.frame(unit = unit_of_row(design), component = row_component(fit),
                     arm = as.integer(curve_arms(fit))[in_order],
                     x = frame_of(fit)[[regression_covariate(fit)]][in_order])
  order <- order(rows$unit, rows$arm, rows$x)
  rows <- rows[order, ]
  first <- c(TRUE, Reduce(`|`, lapply(rows[c("unit", "arm", "x")], function(v) diff(v) != 0)))
  members <- rows[first, ]
  members$y <- rowsum(design$y[order], cumsum(first))[, 1] / tabulate(cumsum(first))
  members
}

# component, arm, x, estimate, low, high, in the order of x; other covariates at a typical value.
archetypes <- function(fit, level, n = 201) {
  covariate <- regression_covariate(fit)
  x <- range(frame_of(fit)[[covariate]])
  x <- seq(x[1], x[2], length.out = n)
  arms <- curve_arms(fit)
  variables <- setdiff(names(frame_of(fit)), vars_of(design_of(fit)$spec$unit))
  typical <- lapply(frame_of(fit)[variables], typical_value)
  tables <- lapply(seq_len(nlevels(arms)), function(arm) {
    row <- match(arm, as.integer(arms))
    typical[arm_factors(fit)] <- frame_of(fit)[row, arm_factors(fit), drop = FALSE]
    grid <- as.data.frame(lapply(typical, rep, length.out = n), optional = TRUE)
    grid[[covariate]] <- x
    curves <- component_curves(fit, mixture_newdata(fit, grid, response = FALSE), level)
    data.frame(component = rep(seq_len(n_components(fit)), each = n), arm = arm, x = x,
               lapply(curves[c("estimate", "low", "high")], as.vector))
  })
  do.call(rbind, tables)
}

# A page of its own, since the panels share their axes.
plot_archetypes <- function(fit, level) {
  shown <- drawn_components(fit)
  members <- curve_members(fit)
  members <- members[members$component %in% shown, ]
  curves <- archetypes(fit, level)
  curves <- curves[curves$component %in% shown, ]
  grid <- filled_grid(length(shown))
  arms <- levels(curve_arms(fit))
  old <- graphics::par(mfrow = grid, mar = c(0, 0, 1.5, 0.6), las = 1, mgp = c(2.4, 0.6, 0),
                       tcl = -0.3, oma = c(4, 4.5, if (length(arms) > 1) 2.2 else 0.6, 0.4))
  on.exit(graphics::par(old))
  xlim <- range(curves$x) # those of all rows: a component may have no members
  ylim <- range(members$y, curves$low, curves$high, finite = TRUE)
  for (i in seq_along(shown)) {
    of <- function(table) table[table$component == shown[i], ]
    graphics::plot(xlim, ylim, type = "n", axes = FALSE, xlab = "", ylab = "")
    draw_members(of(members), length(arms))
    draw_curves(of(curves), arms)
    graphics::box(col = "grey40")
    if (i %% grid[2] == 1 || grid[2] == 1) graphics::axis(2)
    if (i + grid[2] > length(shown)) graphics::axis(1)
    draw_strip(shown[i], member_words(fit, shown[i]))
  }
  label_page(fit, arms)
}

# As panel_grid(), but five columns where they leave less of the page empty.
filled_grid <- function(n) {
  grid <- panel_grid(n)
  wide <- c(ceiling(n / 5), 5)
  if (n > 5 && prod(wide) < prod(grid)) wide else grid
}

draw_members <- function(members, n_arms) {
  units <- unique(members$unit)
  units <- units[round(seq(1, length(units), length.out = min(length(units), most_members)))]
  members <- members[members$unit %in% units, ]
  alpha <- min(0.8, max(0.25, 20 / length(units)))
  colour <- if (n_arms == 1) "grey30" else arm_colours(n_arms)
  colour <- grDevices::adjustcolor(colour, if (n_arms == 1) alpha else alpha / 2)
  # One line for all units of an arm, interrupted between them.
  for (arm in unique(members$arm)) {
    one <- members[members$arm == arm, ]
    gap <- which(diff(one$unit) != 0)
    at <- order(c(seq_along(one$unit), gap + 0.5))
    interrupted <- function(values) c(values, rep(NA, length(gap)))[at]
    graphics::lines(interrupted(one$x), interrupted(one$y), lwd = 0.9,
                    col = colour[min(arm, length(colour))])
  }
}

# Bands have an edge, for print in grey.
draw_curves <- function(curves, arms) {
  colour <- arm_colours(length(arms))
  for (arm in seq_along(arms)) {
    one <- curves[curves$arm == arm, ]
    graphics::polygon(c(one$x, rev(one$x)), c(one$low, rev(one$high)), border = NA,
                      col = grDevices::adjustcolor(colour[arm], 0.35))
    for (edge in c("low", "high")) { # not there without standard errors
      graphics::lines(one$x, one[[edge]], col = colour[arm], lwd = 0.7)
    }
  }
  for (arm in seq_along(arms)) {
    one <- curves[curves$arm == arm, ]
    graphics::lines(one$x, one$estimate, col = colour[arm], lwd = 2,
                    lty = arm_lines(length(arms))[arm])
  }
}

# From a blue so dark that it differs from the next ones in grey.
arm_colours <- function(n) c("#08306B", component_colours(n)[-1])

arm_lines <- function(n) component_lines(n)

member_words <- function(fit, j) {
  n <- sum(unit_freq(fit)[unit_component(fit) == j])
  weight <- sum(unit_weights(fit)[, j] * unit_freq(fit)) / nobs(fit)
  sprintf("n = %s, weight %s", count_text(n), sub("^0", "", sprintf("%.2f", weight)))
}

# The component's number and what is said of it, on grey over the panel, in letters that fit.
draw_strip <- function(number, words) {
  edge <- graphics::par("usr")
  height <- graphics::par("cxy")[2] / graphics::par("cex") * graphics::par("mex") * 1.3
  top <- edge[4] + graphics::par("mai")[3] / graphics::par("pin")[2] * (edge[4] - edge[3])
  graphics::rect(edge[1], edge[4], edge[2], min(top, edge[4] + height), xpd = NA, col = "grey90",
                 border = "grey40")
  room <- diff(edge[1:2]) * 0.94
  number <- paste0(number, "  ")
  wide <- graphics::strwidth(number, font = 2) + graphics::strwidth(words)
  size <- min(1, room / wide)
  middle <- (edge[4] + min(top, edge[4] + height)) / 2
  ends <- edge[1:2] + c(0.03, -0.03) * diff(edge[1:2])
  graphics::text(ends[1], middle, number, font = 2, cex = size, adj = c(0, 0.5), xpd = NA)
  graphics::text(ends[2], middle, words, cex = size, adj = c(1, 0.5), xpd = NA)
}

label_page <- function(fit, arms) {
  left <- length(occupied(fit)) - length(drawn_components(fit))
  note <- if (left > 0) sprintf(" (%d smaller components not drawn)", left)
  graphics::mtext(paste0(regression_covariate(fit), note), 1, outer = TRUE, line = 2.4, cex = 0.9)
  graphics::mtext(deparse_line(formula(fit)[[2]]), 2, outer = TRUE, line = 2.9, las = 0, cex = 0.9)
  if (length(arms) == 1) return(invisible())
  graphics::par(fig = c(0, 1, 0, 1), oma = rep(0, 4), mar = rep(0, 4), new = TRUE)
  graphics::plot.new()
  graphics::legend("top", arms, horiz = TRUE, bty = "n", lwd = 2.2, col = arm_colours(length(arms)),
                   lty = arm_lines(length(arms)), seg.len = 3)
}

# ---- the deviations ----------------------------------------------------------------------

# Of each unit, given its most probable component: with S^-1/2 Z = Q R and r = y - X beta, what r
# says of the deviations is e = Q'S^-1/2 r ~ N(0, I + R Gamma R'), so that
# e'(I + R Gamma R')^-1 e is chi-squared with as many degrees of freedom as Z has columns that the
# unit tells apart. By the singular values of R Gamma^1/2 no digit is lost where S is small.
deviation_distances <- function(fit) {
  design <- design_of(fit)
  component <- unit_component(fit)
  Gamma <- curve_covariances(fit)
  at <- cbind(seq_len(design$n_row), component[unit_of_row(design)])
  residual <- (design$y - component_means(fit, design))[at]
  variance <- residual_variances(fit, design)[at]
  first <- design_first(design)
  out <- data.frame(component = component, distance = 0, df = 0)
  # Units of the same rows and component share V.
  for (units in split(seq_along(component), list(unit_designs(design), component), drop = TRUE)) {
    rows <- outer(seq_len(first[units[1] + 1] - first[units[1]]), first[units], `+`)
    Z <- design$Z[rows[, 1], , drop = FALSE]
    sd <- sqrt(variance[rows[, 1]])
    basis <- qr(Z / sd)
    if (basis$rank == 0) next # and it has no distance
    Q <- qr.Q(basis)[, seq_len(basis$rank), drop = FALSE]
    root <- covariance_factor(matrix(Gamma[component[units[1]], , ], ncol(Z)))
    law <- svd(crossprod(Q, Z / sd) %*% t(root), nu = basis$rank, nv = 0)
    e <- crossprod(law$u, crossprod(Q, matrix(residual[rows], nrow(rows)) / sd))
    length <- replace(numeric(basis$rank), seq_along(law$d), law$d)
    out$distance[units] <- colSums(e^2 / (1 + length^2))
    out$df[units] <- basis$rank
  }
  out
}

# Scores that are standard normal under the law, ordered, beside the quantiles of as many.
deviation_data <- function(fit) {
  table <- deviation_distances(fit)
  beyond <- stats::pchisq(table$distance, table$df, lower.tail = FALSE, log.p = TRUE)
  table$score <- stats::qnorm(beyond, lower.tail = FALSE, log.p = TRUE)
  table <- table[order(table$score), ]
  table$expected <- stats::qnorm(stats::ppoints(nrow(table)))
  thin(table, 5000)
}

plot_deviations <- function(fit) {
  table <- deviation_data(fit)
  graphics::plot(table$expected, table$score, type = "n", xlab = "normal quantiles",
                 ylab = "normal scores", main = "Deviations against their law")
  graphics::abline(0, 1, col = colours[["grey"]])
  graphics::points(table$expected, table$score,
                   pch = component_symbols(n_components(fit))[table$component],
                   col = component_colours(n_components(fit))[table$component],
                   cex = if (nrow(table) > 500) 0.5 else 0.8)
  if (n_components(fit) == 1) return(invisible())
  component_legend(fit, "topleft", ncol = ceiling(length(occupied(fit)) / 4))
}

# ---- ggplot2 -----------------------------------------------------------------------------

ggplot_archetypes <- function(fit, level) {
  shown <- drawn_components(fit)
  arms <- levels(curve_arms(fit))
  strip <- function(table) {
    table <- table[table$component %in% shown, ]
    words <- vapply(shown, function(j) paste0(j, ":  ", member_words(fit, j)), "")
    table$strip <- factor(words[match(table$component, shown)], words)
    table$arm <- factor(arms[table$arm], arms)
    table
  }
  members <- strip(curve_members(fit))
  several <- length(arms) > 1
  alpha <- min(0.8, max(0.25, 20 * length(shown) / length(unique(members$unit))))
  ggplot2::ggplot(strip(archetypes(fit, level)), ggplot2::aes(.data$x, .data$estimate)) +
    member_lines(members, if (several) alpha / 2 else alpha, several) +
    ggplot2::geom_ribbon(ggplot2::aes(ymin = .data$low, ymax = .data$high, fill = .data$arm,
                                      colour = .data$arm), alpha = 0.35, linewidth = 0.25) +
    ggplot2::geom_line(ggplot2::aes(colour = .data$arm, linetype = .data$arm), linewidth = 0.9) +
    ggplot2::facet_wrap("strip", ncol = filled_grid(length(shown))[2]) +
    ggplot2::scale_colour_manual(values = arm_colours(length(arms)),
                                 aesthetics = c("colour", "fill")) +
    ggplot2::scale_linetype_manual(values = arm_lines(length(arms))) +
    ggplot2::labs(x = regression_covariate(fit), y = deparse_line(formula(fit)[[2]]), colour = NULL,
                  fill = NULL, linetype = NULL) +
    ggplot2::theme_bw() +
    ggplot2::theme(panel.grid.minor = ggplot2::element_blank(),
                   legend.position = if (several) "top" else "none")
}

member_lines <- function(members, alpha, several) {
  group <- interaction(members$unit, members$arm)
  if (several) {
    ggplot2::geom_line(ggplot2::aes(.data$x, .data$y, group = group, colour = .data$arm),
                       data = members, alpha = alpha, linewidth = 0.25)
  } else {
    ggplot2::geom_line(ggplot2::aes(.data$x, .data$y, group = group), data = members,
                       colour = "grey30", alpha = alpha, linewidth = 0.35)
  }
}

ggplot_deviations <- function(fit, level) {
  table <- deviation_data(fit)
  table$component <- as_component(table$component, fit)
  ggplot2::ggplot(table, ggplot2::aes(.data$expected, .data$score, colour = .data$component,
                                      shape = .data$component)) +
    ggplot2::geom_abline(colour = colours[["grey"]]) +
    ggplot2::geom_point() +
    ggplot2::labs(x = "normal quantiles", y = "normal scores",
                  title = "Deviations against their law") +
    component_scales(fit)
}

curve_pictures <- function(fit) {
  c(if (!is.null(regression_covariate(fit))) {
      list(curves = picture(page = plot_archetypes, ggplot = ggplot_archetypes))
    },
    list(deviations = picture(plot_deviations, ggplot = ggplot_deviations)))
}
