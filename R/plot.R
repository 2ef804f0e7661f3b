# Pictures of a fit: its latent variables, its curves, its residuals. Base graphics always; ggplot2
# where it is installed, from the same data. The ascent is in plot_objective.R, meta-analyses in
# plot_forest.R.

#' Plot a fit
#'
#' Pictures, each the answer to a question.
#' * `"decomposition"`: what do the two steps of EM do? The first half-steps as bars: the ELBO and
#'   on top of it the KL divergence up to the log evidence. The M-step raises the bar and opens a
#'   gap, the E-step closes it. There by default, in place of the next, for textbook EM
#'   (`elbo_control(accelerate = "none")`).
#' * `"objective"`: did the ascent climb to a maximum? The ELBO after each half-step below the
#'   log evidence; what separates them is the KL divergence, which each E-step brings to zero.
#'   Under methods `"joint"` and `"vb"` there is no log evidence. Beside it on a logarithmic scale
#'   how far the maximum still was. EM comes down there along a straight line, Newton's method ever
#'   faster.
#' * `"latent"`: are the latent variables like the law posited for them? For each term the
#'   posterior of each level (mean and interval), in the order of the means, over the normal
#'   law with the estimated standard deviation (bands of one and two standard deviations).
#' * `"curves"`: what do the smooth terms look like? Each curve less its mean over the rows, with
#'   its band of confidence ([predict.elbo_glmm()]); a curve times a number for the number 1. Ticks
#'   mark the data.
#' * `"residuals"`: is the law of the residuals right? Residuals divided by their standard
#'   deviation against the fitted values, and against normal quantiles. The fitted values
#'   contain latent variables that are shrunk towards zero, so that a slight slope upwards is
#'   as it should be.
#' * `"forest"`: of a meta-analysis (`se`), on request: what does each study say alone, and given
#'   all? Grey squares are the estimates with their intervals, larger where they are more precise;
#'   blue dots the effects given all studies, shrunken towards the pooled one; the diamond is the
#'   pooled effect and its interval (none with moderators, where the studies have no common effect).
#'
#' @param x,object a fit.
#' @param type which pictures, several on one page; `NULL` for those that suit the fit.
#' @param level of the intervals of the latent variables, the bands of curves, the forest plot.
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
#' plot(update(fit, control = elbo_control(accelerate = "none")), type = "decomposition")
#'
#' sites <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se, method = "reml")
#' plot(sites, type = "forest")
#' @name plot.elbo_fit
NULL

#' @rdname plot.elbo_fit
#' @export
plot.elbo_fit <- function(x, type = NULL, level = 0.95, ...) {
  check_dots_empty(...)
  level <- check_between(level, "level", 0, 1)
  type <- check_fit_pictures(type, x)
  panels <- fit_pictures(x)
  old <- graphics::par(mfrow = panel_grid(sum(panels[type])), mar = c(4, 5, 3, 1),
                       mgp = c(2.4, 0.7, 0), las = 1)
  on.exit(graphics::par(old))
  for (picture in type) draw_picture(x, picture, level)
  invisible(x)
}

# The pictures that a fit has, with their numbers of panels.
fit_pictures <- function(fit) UseMethod("fit_pictures")

draw_picture <- function(fit, picture, level) UseMethod("draw_picture")

#' @exportS3Method
fit_pictures.elbo_fit <- function(fit) {
  c(decomposition = 1, objective = 2)[ascent_pictures(fit)]
}

#' @exportS3Method
draw_picture.elbo_fit <- function(fit, picture, level) {
  if (picture == "decomposition") return(plot_decomposition(fit))
  plot_objective(fit)
  plot_gain(fit)
}

#' @exportS3Method
fit_pictures.elbo_glmm <- function(fit) {
  c(fit_pictures.elbo_fit(fit), if (has_curves(fit)) c(curves = length(design_of(fit)$curves)),
    if (has_groups(fit)) c(latent = ncol(design_of(fit)$Z)), residuals = 2,
    if (design_of(fit)$known_se) c(forest = 1))
}

#' @exportS3Method
draw_picture.elbo_glmm <- function(fit, picture, level) {
  switch(picture,
    curves = for (curve in design_of(fit)$curves) plot_curve(fit, curve, level),
    latent = plot_latent(fit, level),
    residuals = plot_residuals(fit),
    forest = plot_forest(fit, level),
    draw_picture.elbo_fit(fit, picture, level)
  )
}

check_fit_pictures <- function(type, fit) {
  has <- names(fit_pictures(fit))
  default <- setdiff(has, "forest")
  if (is.null(type)) return(drop_second_ascent(default))
  all <- c("decomposition", "objective", "curves", "latent", "residuals", "forest")
  what <- paste("some of", paste0("\"", all, "\"", collapse = ", "))
  check(is.character(type) && length(type) > 0 && all(type %in% all), "type", what, type)
  missing <- setdiff(type, has)
  if (length(missing) == 0) return(unique(type))
  why <- switch(missing[1],
    decomposition = "there is no log evidence under this method",
    curves = "the formula has no smooth terms s(x)",
    latent = "the model has no latent variables",
    forest = "the standard errors of the response are not known (`se`)",
    "the model has no rows"
  )
  abort(sprintf("There is no picture \"%s\" of this fit: %s. It has %s.", missing[1], why,
                paste0("\"", has, "\"", collapse = ", ")), "elbo_error_not_available")
}

# Rows and columns, wider than high.
panel_grid <- function(n) c(floor(sqrt(n)), ceiling(n / floor(sqrt(n))))

# Okabe and Ito's colours, told apart by every kind of colour vision.
colours <- c(blue = "#0072B2", orange = "#D55E00", green = "#009E73", grey = "grey60")

# ---- the curves --------------------------------------------------------------------------

plot_curve <- function(fit, curve, level) {
  table <- curve_data(fit, curve, level)
  rows <- multiplier(curve, frame_of(fit)) != 0
  graphics::plot(table$x, table$estimate, type = "n", xlab = curve_axis(curve),
                 ylab = "less its mean", main = curve$label, ylim = range(table$low, table$high))
  graphics::polygon(c(table$x, rev(table$x)), c(table$low, rev(table$high)), border = NA,
                    col = grDevices::adjustcolor(colours[["blue"]], 0.25))
  graphics::abline(h = 0, col = colours[["grey"]])
  graphics::lines(table$x, table$estimate, col = colours[["blue"]], lwd = 2)
  graphics::rug(thin(data.frame(x = sort(unique(frame_of(fit)[[curve$x]][rows]))), 500)$x,
                quiet = TRUE)
}

# ---- the latent variables ----------------------------------------------------------------

plot_latent <- function(fit, level) {
  for (j in seq_len(ncol(design_of(fit)$Z))) {
    term <- colnames(design_of(fit)$Z)[j]
    group <- column_groups(design_of(fit))[j]
    plot_latent_term(latent_data(fit, term, level, group), law_sd(fit, term, group), term, group)
  }
}

# The posteriors of one term in the order of their means.
latent_data <- function(fit, term, level, group) {
  table <- latent(fit)
  table <- table[table$term == term & table$group == group, ]
  half_width <- stats::qnorm((1 + level) / 2) * table$sd
  table$low <- table$mean - half_width
  table$high <- table$mean + half_width
  table <- table[order(table$mean), ]
  table$rank <- seq_len(nrow(table))
  thin(table, 500)
}

# The standard deviation of the law posited, Inf where there is none.
law_sd <- function(fit, term, group) {
  design <- design_of(fit)
  term_sds(fit)[colnames(design$Z) == term & column_groups(design) == group]
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
autoplot.elbo_fit <- function(object, type = NULL, level = 0.95, ...) {
  check_dots_empty(...)
  level <- check_between(level, "level", 0, 1)
  ggplot_picture(object, check_fit_pictures(type, object)[1], level)
}

ggplot_picture <- function(fit, picture, level) UseMethod("ggplot_picture")

#' @exportS3Method
ggplot_picture.elbo_fit <- function(fit, picture, level) {
  switch(picture, decomposition = ggplot_decomposition(fit), objective = ggplot_objective(fit))
}

#' @exportS3Method
ggplot_picture.elbo_glmm <- function(fit, picture, level) {
  switch(picture,
    curves = ggplot_curves(fit, level),
    latent = ggplot_latent(fit, level),
    residuals = ggplot_residuals(fit),
    forest = ggplot_forest(fit, level),
    ggplot_picture.elbo_fit(fit, picture, level)
  )
}

ggplot_curves <- function(fit, level) {
  curves <- design_of(fit)$curves
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
  terms <- colnames(design_of(fit)$Z)
  groups <- column_groups(design_of(fit))
  labels <- if (is_crossed(design_of(fit))) paste(terms, "|", groups) else terms
  table <- do.call(rbind, Map(function(term, group, label) {
    cbind(latent_data(fit, term, level, group)[c("mean", "low", "high", "rank")], term = label)
  }, terms, groups, labels))
  table$term <- factor(table$term, labels)
  law <- data.frame(term = factor(labels, labels), sd = mapply(law_sd, terms, groups,
                                                               MoreArgs = list(fit = fit)))
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
    ggplot2::labs(x = NULL, y = paste("levels of", toString(unique(groups))),
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
