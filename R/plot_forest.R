# Forest plots of meta-analyses: what each study says alone, and given all the others.
#
#   forest_data(fit, level)     list(studies, pooled)
#   plot_forest(fit, level)

# `studies`: label, estimate, low, high (alone); given, given_low, given_high (given all of them);
# precision. `pooled`: estimate, low, high, or NULL where there are moderators.
forest_data <- function(fit, level) {
  frame <- model.frame(fit)
  y <- as.vector(stats::model.response(frame))
  se <- frame[["(se)"]]
  z <- stats::qnorm((1 + level) / 2)
  studies <- data.frame(label = study_labels(fit), estimate = y, low = y - z * se,
                        high = y + z * se)
  if (has_groups(fit)) {
    given <- predict(fit, interval = "confidence", level = level)
    studies[c("given", "given_low", "given_high")] <- unname(as.data.frame(given))
  }
  studies$precision <- 1 / se
  beta <- coef(fit)
  pooled <- if (identical(names(beta), "(Intercept)")) {
    limits <- confint(fit, "(Intercept)", level = level)
    data.frame(estimate = beta[[1]], low = limits[1, 1], high = limits[1, 2])
  }
  list(studies = studies, pooled = pooled)
}

# Levels of the grouping factor (of several that with most levels), with a number where a level has
# several rows.
study_labels <- function(fit) {
  if (!has_groups(fit)) return(row.names(model.frame(fit)))
  groups <- design_of(fit)$groups
  level <- as.character(groups[[which.max(vapply(groups, nlevels, 0L))]])
  several <- level %in% level[duplicated(level)]
  number <- stats::ave(seq_along(level), level, FUN = seq_along)
  ifelse(several, paste(level, number), level)
}

plot_forest <- function(fit, level) {
  data <- forest_data(fit, level)
  studies <- data$studies
  n <- nrow(studies)
  place <- rev(seq_len(n)) + 1
  size <- forest_text_size(n)
  labels <- c(studies$label, if (!is.null(data$pooled)) "pooled")
  text <- forest_text(data)
  inches <- function(x) max(graphics::strwidth(x, "inches", cex = size)) + 0.25
  old <- graphics::par(mai = c(graphics::par("mai")[1], inches(labels), graphics::par("mai")[3],
                               inches(text)))
  on.exit(graphics::par(old))
  graphics::plot(NA, xlim = forest_range(data), ylim = c(0.4, n + 2.4), yaxt = "n", ylab = "",
                 xlab = deparse_line(formula(fit)[[2]]), main = forest_title(fit),
                 cex.main = title_size(forest_title(fit)))
  graphics::abline(v = 0, col = "grey60")
  if (!is.null(data$pooled)) graphics::abline(v = data$pooled$estimate, lty = 3)
  draw_studies(studies, place)
  if (!is.null(data$pooled)) draw_diamond(data$pooled)
  at <- c(place, if (!is.null(data$pooled)) 1)
  graphics::axis(2, at, labels, tick = FALSE, line = -0.6, cex.axis = size, gap.axis = 0)
  graphics::axis(4, at, text, tick = FALSE, line = -0.3, cex.axis = size, gap.axis = 0)
  kinds <- seq_len(if (has_groups(fit)) 2 else 1)
  graphics::legend("top", c("alone", "given all")[kinds], horiz = TRUE, bg = "white", cex = 0.9,
                   box.col = NA, inset = 0.01, pch = c(15, 19)[kinds], lwd = c(1, 2)[kinds],
                   col = c("grey50", colours[["blue"]])[kinds])
  graphics::box()
}

forest_title <- function(fit) {
  if (has_groups(fit)) "Each study alone, and given all" else "Each study"
}

# As large as there is room for.
forest_text_size <- function(n) {
  min(0.9, graphics::par("pin")[2] / (1.3 * (n + 2) * graphics::strheight("M", "inches", cex = 1)))
}

# Without the few that reach so far out that the others could not be told apart.
forest_range <- function(data) {
  studies <- data$studies
  range <- range(studies$estimate, studies$given_low, studies$given_high, unlist(data$pooled), 0)
  reach <- diff(range)
  low <- max(min(studies$low), range[1] - 0.5 * reach)
  high <- min(max(studies$high), range[2] + 0.5 * reach)
  range(range, low, high)
}

# Effects given all studies (alone, without a law) with their intervals.
forest_text <- function(data) {
  studies <- data$studies
  shown <- if (is.null(studies$given)) studies[c("estimate", "low", "high")]
           else studies[c("given", "given_low", "given_high")]
  table <- rbind(as.matrix(shown), if (!is.null(data$pooled)) as.matrix(data$pooled))
  # An interval without width, as of points, asks for no decimals.
  width <- c(table[, 3] - table[, 2], max(abs(table)) / 50)
  width <- width[width > 0]
  decimals <- if (length(width) > 0) max(0, -floor(log10(min(width) / 2))) else 0
  words <- sub("^-(0[.,]?0*)$", "\\1", fixed_text(as.vector(table), decimals))
  words <- matrix(words, ncol = 3)
  sprintf("%s [%s, %s]", words[, 1], words[, 2], words[, 3])
}

# Arrows where an interval goes on beyond the frame.
draw_studies <- function(studies, place) {
  shift <- if (is.null(studies$given)) 0 else 0.17
  edges <- graphics::par("usr")[1:2]
  low <- pmax(studies$low, edges[1])
  high <- pmin(studies$high, edges[2])
  graphics::segments(low, place + shift, high, place + shift, col = "grey50")
  beyond <- function(from, to, rows) {
    if (any(rows)) {
      graphics::arrows(from[rows], place[rows] + shift, to[rows], length = 0.06, col = "grey50")
    }
  }
  beyond(high, low, studies$low < edges[1])
  beyond(low, high, studies$high > edges[2])
  graphics::points(studies$estimate, place + shift, pch = 15, col = "grey50",
                   cex = 0.6 + sqrt(studies$precision / max(studies$precision)))
  if (is.null(studies$given)) return(invisible())
  graphics::segments(studies$given_low, place - shift, studies$given_high, place - shift,
                     col = colours[["blue"]], lwd = 2)
  graphics::points(studies$given, place - shift, pch = 19, col = colours[["blue"]])
}

draw_diamond <- function(pooled) {
  graphics::polygon(c(pooled$low, pooled$estimate, pooled$high, pooled$estimate),
                    1 + c(0, 0.28, 0, -0.28), col = "grey20", border = NA)
}

# ---- ggplot2 -----------------------------------------------------------------------------

ggplot_forest <- function(fit, level) {
  data <- forest_data(fit, level)
  studies <- data$studies
  order <- rev(c(studies$label, if (!is.null(data$pooled)) "pooled"))
  alone <- data.frame(label = studies$label, estimate = studies$estimate, low = studies$low,
                      high = studies$high, what = "alone")
  given <- if (!is.null(studies$given)) {
    data.frame(label = studies$label, estimate = studies$given, low = studies$given_low,
               high = studies$given_high, what = "given all")
  }
  pooled <- if (!is.null(data$pooled)) cbind(label = "pooled", data$pooled, what = "pooled")
  table <- rbind(alone, given, pooled)
  kinds <- c("alone", "given all", "pooled")
  table$what <- factor(table$what, kinds)
  table$place <- match(table$label, order) + c(0.15, -0.15, 0)[as.integer(table$what)]
  ggplot2::ggplot(table, ggplot2::aes(.data$estimate, .data$place, colour = .data$what,
                                      shape = .data$what)) +
    ggplot2::geom_vline(xintercept = 0, colour = "grey60") +
    ggplot2::geom_pointrange(ggplot2::aes(xmin = .data$low, xmax = .data$high)) +
    ggplot2::scale_y_continuous(breaks = seq_along(order), labels = order) +
    ggplot2::scale_colour_manual(values = c("grey50", colours[["blue"]], "black"), breaks = kinds,
                                 limits = kinds) +
    ggplot2::scale_shape_manual(values = c(15, 19, 18), breaks = kinds, limits = kinds) +
    ggplot2::coord_cartesian(xlim = forest_range(data)) +
    ggplot2::labs(x = deparse_line(formula(fit)[[2]]), y = NULL, colour = NULL, shape = NULL,
                  title = forest_title(fit)) +
    ggplot2::theme_bw()
}
