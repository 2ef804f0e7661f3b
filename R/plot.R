# Pictures of a fit: its ascent, its latent variables, its residuals. Base graphics always;
# ggplot2 where it is installed, from the same data.

#' Plot a fit
#'
#' Pictures, each the answer to a question.
#' * `"objective"`: did the ascent climb to a maximum? The ELBO after each half-step below the
#'   log evidence; what separates them is the KL divergence, which each E-step brings to zero.
#'   Under methods `"joint"` and `"vb"` there is no log evidence. Beside it the same on a
#'   logarithmic scale: how much was still to gain. EM climbs there along a straight line,
#'   Newton's method ever faster.
#' * `"latent"`: are the latent variables like the law posited for them? For each term the
#'   posterior of each level (mean and interval), in the order of the means, over the normal
#'   law with the estimated standard deviation (bands of one and two standard deviations).
#' * `"curves"`: what do the smooth terms look like? Each curve less its mean over the rows, with its
#'   band of confidence ([predict.elbo_glmm()]); a curve times a number for the number 1. Ticks mark
#'   the data.
#' * `"residuals"`: is the law of the residuals right? Residuals divided by their standard
#'   deviation against the fitted values, and against normal quantiles. The fitted values
#'   contain latent variables that are shrunk towards zero, so that a slight slope upwards is
#'   as it should be.
#'
#' @param x,object a fit.
#' @param type which pictures, by default all of them that the fit has on one page.
#' @param level of the intervals of the latent variables and the bands of curves.
#' @param ... not used.
#' @return `plot()` returns its argument invisibly; `autoplot()` returns a plot of ggplot2, of
#'   one type (of `"objective"` the first picture).
#' @details More than 500 levels, or more than 5,000 rows, are thinned evenly, in the order of
#'   the posterior means or of what is on the horizontal axis.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' plot(fit)
#' plot(fit, type = "latent")
#' @name plot.elbo_fit
NULL

#' @rdname plot.elbo_fit
#' @export
plot.elbo_fit <- function(x, type = c("objective", "curves", "latent", "residuals"), level = 0.95,
                          ...) {
  check_dots_empty(...)
  type <- match.arg(type, several.ok = TRUE)
  if (!has_groups(x)) type <- setdiff(type, "latent")
  if (!has_curves(x)) type <- setdiff(type, "curves")
  panels <- c(objective = 2, curves = length(x$design$curves), latent = ncol(x$design$Z),
              residuals = 2)
  old <- graphics::par(mfrow = panel_grid(sum(panels[type])), mar = c(4, 5, 3, 1),
                       mgp = c(2.4, 0.7, 0), las = 1)
  on.exit(graphics::par(old))
  for (picture in type) {
    switch(picture,
      objective = {
        plot_objective(x)
        plot_gain(x)
      },
      curves = for (curve in x$design$curves) plot_curve(x, curve, level),
      latent = plot_latent(x, level),
      residuals = plot_residuals(x)
    )
  }
  invisible(x)
}

# Rows and columns, wider than high.
panel_grid <- function(n) c(floor(sqrt(n)), ceiling(n / floor(sqrt(n))))

# Okabe and Ito's colours, told apart by every kind of colour vision.
colours <- c(blue = "#0072B2", orange = "#D55E00", green = "#009E73", grey = "grey60")

# How a step is drawn: the start, latent variables (E, local), parameters (M, global), and
# whatever accelerates.
step_kind <- function(step) {
  kinds <- c(start = 1, E = 2, local = 2, M = 3, global = 3, squarem = 4, newton = 5)
  unname(kinds[as.character(step)])
}

step_colour <- function(step) {
  c("black", colours[c("blue", "orange", "grey", "green")])[step_kind(step)]
}

step_symbol <- function(step) c(1, 19, 17, 18, 15)[step_kind(step)]

# Steps as elbo_trace() has them, in words.
step_words <- function(steps) {
  named <- c(start = "at the start", squarem = "after SQUAREM", newton = "after Newton")
  ifelse(steps %in% names(named), named[steps], paste("after", steps))
}

# ---- the objective -----------------------------------------------------------------------

plot_objective <- function(fit) {
  trace <- elbo_trace(fit)
  graphics::plot(half_steps(trace), trace$elbo, type = "n", xlab = "half-step", ylab = "",
                 ylim = range(trace$elbo, trace$log_evidence, na.rm = TRUE),
                 main = objective_title(fit))
  draw_steps(trace, trace$elbo, trace$log_evidence)
  steps <- unique(trace$step)
  evidence <- if (has_evidence(trace)) c("log evidence", "KL")
  early <- stats::median(trace$elbo) > mean(range(trace$elbo))
  graphics::legend(
    if (early) "bottomright" else "topleft", c(step_words(steps), evidence), bty = "n",
    pch = c(step_symbol(steps), NA, NA)[seq_along(c(steps, evidence))],
    lty = c(rep(0, length(steps)), if (has_evidence(trace)) c(2, 1)),
    col = c(step_colour(steps), if (has_evidence(trace)) c("black", colours[["orange"]]))
  )
}

# What was still to gain, upwards and on a log scale, down to the rounding of the objective.
plot_gain <- function(fit) {
  trace <- elbo_trace(fit)
  rounding <- 64 * .Machine$double.eps * max(abs(fit$objective), 1)
  gain <- function(value) pmax(fit$objective - value, rounding)
  graphics::plot(half_steps(trace), gain(trace$elbo), type = "n", log = "y", ylab = "",
                 ylim = rev(range(gain(trace$elbo))), xlab = "half-step",
                 main = "Still to gain")
  draw_steps(trace, gain(trace$elbo), gain(trace$log_evidence))
}

draw_steps <- function(trace, elbo, log_evidence) {
  k <- half_steps(trace)
  graphics::lines(k, elbo, col = colours[["grey"]])
  if (has_evidence(trace)) {
    graphics::lines(k, log_evidence, lty = 2)
    graphics::segments(k, elbo, k, log_evidence, col = colours[["orange"]])
  }
  graphics::points(k, elbo, pch = step_symbol(trace$step), col = step_colour(trace$step))
}

half_steps <- function(trace) seq_len(nrow(trace)) - 1

has_evidence <- function(trace) !all(is.na(trace$log_evidence))

objective_title <- function(fit) {
  if (fit$method == "joint") "log p(y, z | theta) by half-step" else "ELBO by half-step"
}

# ---- the curves --------------------------------------------------------------------------

plot_curve <- function(fit, curve, level) {
  table <- curve_data(fit, curve, level)
  rows <- multiplier(curve, fit$frame) != 0
  graphics::plot(table$x, table$estimate, type = "n", xlab = curve_axis(curve),
                 ylab = "less its mean", main = curve$label, ylim = range(table$low, table$high))
  graphics::polygon(c(table$x, rev(table$x)), c(table$low, rev(table$high)), border = NA,
                    col = grDevices::adjustcolor(colours[["blue"]], 0.25))
  graphics::abline(h = 0, col = colours[["grey"]])
  graphics::lines(table$x, table$estimate, col = colours[["blue"]], lwd = 2)
  graphics::rug(thin(data.frame(x = sort(unique(fit$frame[[curve$x]][rows]))), 500)$x,
                quiet = TRUE)
}

# ---- the latent variables ----------------------------------------------------------------

plot_latent <- function(fit, level) {
  for (term in colnames(fit$design$Z)) {
    plot_latent_term(latent_data(fit, term, level), law_sd(fit, term), term,
                     fit$design$group_name)
  }
}

# The posteriors of one term in the order of their means.
latent_data <- function(fit, term, level) {
  table <- latent(fit)
  table <- table[table$term == term, ]
  half_width <- stats::qnorm((1 + level) / 2) * table$sd
  table$low <- table$mean - half_width
  table$high <- table$mean + half_width
  table <- table[order(table$mean), ]
  table$rank <- seq_len(nrow(table))
  thin(table, 500)
}

# The standard deviation of the law posited, Inf where there is none.
law_sd <- function(fit, term) {
  fit$theta[[sd_names(term, fit$design$group_name)]]
}

thin <- function(table, most) {
  if (nrow(table) <= most) return(table)
  table[round(seq(1, nrow(table), length.out = most)), , drop = FALSE]
}

plot_latent_term <- function(table, sd, term, group) {
  band <- if (is.finite(sd)) c(-2, 2) * sd
  labelled <- nrow(table) <= most_labels
  title <- latent_title(sd)
  graphics::plot(
    table$mean, table$rank, type = "n", yaxt = "n", xlab = paste(term, "|", group),
    ylab = if (labelled) "" else paste("levels of", group), main = title,
    cex.main = title_size(title), xlim = range(table$low, table$high, band)
  )
  draw_band(band)
  draw_band(band / 2)
  graphics::abline(v = 0, col = "white")
  graphics::segments(table$low, table$rank, table$high, table$rank,
                     col = grDevices::adjustcolor(colours[["blue"]], if (labelled) 1 else 0.4))
  graphics::points(table$mean, table$rank, pch = 19, cex = if (labelled) 0.7 else 0.3,
                   col = if (labelled) colours[["blue"]] else "black")
  if (labelled) {
    graphics::axis(2, table$rank, table$level, cex.axis = label_size(nrow(table)),
                   tick = FALSE, line = -0.5, gap.axis = 0)
  }
}

most_labels <- 40

# As large as the panel leaves room for.
label_size <- function(n) {
  min(0.7, graphics::par("pin")[2] / (1.2 * n * graphics::strheight("M", "inches", cex = 1)))
}

# Titles are centred above the panel, which the margins are not.
title_size <- function(title) {
  room <- graphics::par("pin")[1] + 2 * min(graphics::par("mai")[c(2, 4)])
  width <- graphics::strwidth(title, "inches", cex = 1.2, font = 2)
  1.2 * min(1, 0.97 * room / width)
}

# Grey over grey is darker.
draw_band <- function(limits) {
  if (is.null(limits)) return()
  edges <- graphics::par("usr")
  graphics::rect(limits[1], edges[3], limits[2], edges[4], border = NA,
                 col = grDevices::adjustcolor("black", 0.1))
}

latent_title <- function(sd) {
  if (is.infinite(sd)) return("Latent variables, no law")
  sprintf("Latent variables, law of sd %s", format(sd, digits = 3))
}

# ---- the residuals -----------------------------------------------------------------------

residual_data <- function(fit) {
  table <- data.frame(fitted = fitted_rows(fit), residual = residual_rows(fit, "pearson"))
  table$quantile <- stats::qqnorm(table$residual, plot.it = FALSE)$x
  table
}

plot_residuals <- function(fit) {
  table <- residual_data(fit)
  shown <- thin(table[order(table$fitted), ], 5000)
  plot_points(shown$fitted, shown$residual, "fitted", "Residuals")
  graphics::abline(h = 0, col = colours[["grey"]])
  if (nrow(shown) >= 20) {
    smooth <- stats::lowess(shown$fitted, shown$residual)
    graphics::lines(smooth, col = colours[["orange"]], lwd = 2)
  }
  shown <- thin(table[order(table$quantile), ], 5000)
  plot_points(shown$quantile, shown$residual, "normal quantile", "Normal quantiles")
  stats::qqline(table$residual, col = colours[["orange"]], lwd = 2)
}

plot_points <- function(x, residual, label, title) {
  many <- length(x) > 1000
  graphics::plot(x, residual, xlab = label, ylab = "residual / sd", main = title,
                 cex = if (many) 0.5 else 1,
                 col = grDevices::adjustcolor(colours[["blue"]], if (many) 0.3 else 0.6))
}

# ---- ggplot2 -----------------------------------------------------------------------------

# ggplot2's word for the data of a plot.
utils::globalVariables(".data")

#' @rdname plot.elbo_fit
#' @exportS3Method ggplot2::autoplot
autoplot.elbo_fit <- function(object, type = c("objective", "curves", "latent", "residuals"),
                              level = 0.95, ...) {
  check_dots_empty(...)
  switch(match.arg(type),
    objective = ggplot_objective(object),
    curves = ggplot_curves(object, level),
    latent = ggplot_latent(object, level),
    residuals = ggplot_residuals(object)
  )
}

ggplot_objective <- function(fit) {
  trace <- elbo_trace(fit)
  trace$half_step <- half_steps(trace)
  trace$step <- factor(trace$step, unique(trace$step))
  steps <- levels(trace$step)
  picture <- ggplot2::ggplot(trace, ggplot2::aes(.data$half_step, .data$elbo))
  if (has_evidence(trace)) {
    picture <- picture +
      ggplot2::geom_line(ggplot2::aes(y = .data$log_evidence), linetype = 2) +
      ggplot2::geom_segment(ggplot2::aes(xend = .data$half_step, yend = .data$log_evidence),
                            colour = colours[["orange"]])
  }
  picture +
    ggplot2::geom_line(colour = colours[["grey"]]) +
    ggplot2::geom_point(ggplot2::aes(colour = .data$step, shape = .data$step), size = 2) +
    ggplot2::scale_colour_manual(values = stats::setNames(step_colour(steps), steps)) +
    ggplot2::scale_shape_manual(values = stats::setNames(step_symbol(steps), steps)) +
    ggplot2::labs(
      x = "half-step", y = NULL, colour = "after", shape = "after",
      title = objective_title(fit),
      subtitle = if (has_evidence(trace)) "dashed: log evidence; between them: KL"
    ) +
    ggplot2::theme_bw()
}

ggplot_curves <- function(fit, level) {
  curves <- fit$design$curves
  if (length(curves) == 0) {
    abort("The fit has no smooth terms to draw curves of.", "elbo_error_not_available")
  }
  table <- do.call(rbind, lapply(curves, function(curve) {
    cbind(curve_data(fit, curve, level), term = curve$label)
  }))
  table$term <- factor(table$term, curve_labels(curves))
  ggplot2::ggplot(table, ggplot2::aes(.data$x, .data$estimate)) +
    ggplot2::geom_ribbon(ggplot2::aes(ymin = .data$low, ymax = .data$high), alpha = 0.25,
                         fill = colours[["blue"]]) +
    ggplot2::geom_line(colour = colours[["blue"]]) +
    ggplot2::facet_wrap("term", scales = "free_x") +
    ggplot2::labs(x = NULL, y = "less its mean", title = "Curves") +
    ggplot2::theme_bw()
}

ggplot_latent <- function(fit, level) {
  terms <- colnames(fit$design$Z)
  table <- do.call(rbind, lapply(terms, function(term) latent_data(fit, term, level)))
  table$term <- factor(table$term, terms)
  law <- data.frame(term = factor(terms, terms),
                    sd = vapply(terms, function(term) law_sd(fit, term), 0))
  law <- law[is.finite(law$sd), ]
  band <- function(width) {
    ggplot2::geom_rect(
      ggplot2::aes(xmin = -width * .data$sd, xmax = width * .data$sd, ymin = -Inf, ymax = Inf),
      data = law, inherit.aes = FALSE, fill = "black", alpha = 0.1
    )
  }
  ggplot2::ggplot(table, ggplot2::aes(.data$mean, .data$rank)) +
    band(2) + band(1) +
    ggplot2::geom_segment(
      ggplot2::aes(x = .data$low, xend = .data$high, yend = .data$rank),
      colour = colours[["blue"]]
    ) +
    ggplot2::geom_point(colour = colours[["blue"]], size = 1) +
    ggplot2::facet_wrap("term", scales = "free_x") +
    ggplot2::labs(x = NULL, y = paste("levels of", fit$design$group_name),
                  title = "Latent variables and their law",
                  subtitle = "bands: one and two standard deviations of the law") +
    ggplot2::theme_bw() +
    ggplot2::theme(panel.grid = ggplot2::element_blank(),
                   axis.text.y = ggplot2::element_blank(),
                   axis.ticks.y = ggplot2::element_blank())
}

ggplot_residuals <- function(fit) {
  table <- residual_data(fit)
  table <- thin(table[order(table$fitted), ], 5000)
  views <- c("against fitted", "against normal quantiles")
  table <- data.frame(
    x = c(table$fitted, table$quantile), residual = table$residual,
    view = rep(views, each = nrow(table))
  )
  ggplot2::ggplot(table, ggplot2::aes(.data$x, .data$residual)) +
    ggplot2::geom_point(colour = colours[["blue"]], alpha = 0.6) +
    ggplot2::facet_wrap("view", scales = "free_x") +
    ggplot2::labs(x = NULL, y = "residual / sd", title = "Residuals") +
    ggplot2::theme_bw()
}
