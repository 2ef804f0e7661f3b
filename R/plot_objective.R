# Pictures of the ascent.
#
#   ascent_pictures(fit)        which of them a fit has
#   decomposition_data(fit)     the first half-steps: ELBO, KL, log evidence
#   plot_decomposition(fit), plot_objective(fit), plot_gain(fit)

ascent_pictures <- function(fit) {
  if (!has_evidence(elbo_trace(fit))) return("objective")
  if (identical(control_of(fit)$accelerate, "none")) c("decomposition", "objective")
  else c("objective", "decomposition")
}

# By default the first one alone.
drop_second_ascent <- function(types) {
  ascent <- intersect(types, c("decomposition", "objective"))
  setdiff(types, ascent[-1])
}

# How a step is drawn: the start, latent variables (E, local), parameters (M, global), and
# whatever accelerates.
step_kind <- function(step) {
  kinds <- c(start = 1, E = 2, local = 2, M = 3, global = 3, squarem = 4, anderson = 4, newton = 5,
             `quasi-newton` = 5)
  unname(kinds[as.character(step)])
}

step_colour <- function(step) {
  c("black", colours[c("blue", "orange", "grey", "green")])[step_kind(step)]
}

step_symbol <- function(step) c(1, 19, 17, 18, 15)[step_kind(step)]

# Steps as elbo_trace() has them, in words.
step_words <- function(steps) {
  named <- c(start = "at the start", squarem = "after SQUAREM",
             anderson = "after extrapolation", newton = "after Newton",
             `quasi-newton` = "after quasi-Newton")
  ifelse(steps %in% names(named), named[steps], paste("after", steps))
}

# ---- the decomposition -------------------------------------------------------------------

most_bars <- 14L

# From the first M-step on: what comes before it is so low that the rest could not be told apart.
decomposition_data <- function(fit, most = most_bars) {
  trace <- as.data.frame(elbo_trace(fit))
  trace <- trace[trace$step != "start" | nrow(trace) == 1, ]
  trace <- utils::head(trace, most)
  trace$kl <- pmax(trace$log_evidence - trace$elbo, 0)
  trace$base <- min(trace$elbo) - 0.15 * diff(tellable_range(trace$elbo, trace$log_evidence))
  trace
}

decomposition_title <- "log evidence (line) = ELBO + KL"

step_letters <- function(steps) {
  short <- c(squarem = "S", anderson = "A", newton = "N", `quasi-newton` = "Q")
  ifelse(steps %in% names(short), short[steps], as.character(steps))
}

# Range of an axis, wide enough that its labels differ: differences of rounding are no picture.
tellable_range <- function(...) {
  range <- range(..., na.rm = TRUE)
  least <- 1e-6 * max(1, abs(range))
  if (diff(range) >= least) range else mean(range) + c(-0.5, 0.5) * least
}

plot_decomposition <- function(fit) {
  bars <- decomposition_data(fit)
  n <- nrow(bars)
  base <- bars$base[1]
  top <- max(tellable_range(bars$elbo, bars$log_evidence))
  graphics::plot(NA, xlim = c(0.4, n + 0.6), ylim = c(base, top + 0.22 * (top - base)), yaxs = "i",
                 xaxt = "n", yaxt = "n", xlab = "after step", ylab = "", main = decomposition_title,
                 cex.main = title_size(decomposition_title))
  graphics::axis(1, seq_len(n), step_letters(bars$step), cex.axis = 0.85, gap.axis = 0.1)
  value_axis(fit)
  left <- seq_len(n) - 0.38
  right <- seq_len(n) + 0.38
  graphics::rect(left, base, right, bars$elbo, col = colours[["blue"]], border = NA)
  graphics::rect(left, bars$elbo, right, bars$elbo + bars$kl, col = colours[["orange"]],
                 density = 30, border = colours[["orange"]])
  graphics::segments(left, bars$elbo + bars$kl, right, bars$elbo + bars$kl, lwd = 2)
  graphics::legend("top", c("ELBO", "KL"), fill = colours[c("blue", "orange")],
                   density = c(NA, 30), border = colours[c("blue", "orange")], horiz = TRUE,
                   bty = "n")
}

# The vertical axis. Labels too wide for the margin are less the value at the optimum.
value_axis <- function(fit) {
  ticks <- graphics::axTicks(2)
  labels <- format(ticks, trim = TRUE, scientific = FALSE)
  title <- value_title(fit)
  if (max(graphics::strwidth(labels, "inches")) > 0.55 * graphics::par("mai")[2]) {
    from_end <- pretty(graphics::par("usr")[3:4] - objective_of(fit), 5)
    ticks <- objective_of(fit) + from_end
    labels <- format(from_end, trim = TRUE)
    title <- paste(title, "less its end")
  }
  graphics::axis(2, ticks, labels)
  graphics::mtext(title, 2, line = 3.7, las = 0, cex = graphics::par("cex"))
}

# What is on the vertical axis.
value_title <- function(fit) {
  if (method_of(fit) == "joint") "log p(y, z | theta)" else "log-likelihood, ELBO"
}

# ---- the objective -----------------------------------------------------------------------

plot_objective <- function(fit) {
  trace <- elbo_trace(fit)
  graphics::plot(half_steps(trace), trace$elbo, type = "n", xlab = "half-step", ylab = "",
                 ylim = tellable_range(trace$elbo, trace$log_evidence), yaxt = "n",
                 main = objective_title(fit))
  value_axis(fit)
  draw_steps(trace, trace$elbo, trace$log_evidence)
  steps <- unique(trace$step)
  gaps <- has_evidence(trace) && nrow(trace) <= most_gaps
  evidence <- c(if (has_evidence(trace)) "log evidence", if (gaps) "KL")
  key <- function(where, ...) {
    graphics::legend(
      where, c(step_words(steps), evidence), bty = "n",
      pch = c(step_symbol(steps), rep(NA, length(evidence))),
      lty = c(rep(0, length(steps)), c(2, 1)[seq_along(evidence)]),
      col = c(step_colour(steps), c("black", colours[["orange"]])[seq_along(evidence)]), ...
    )
  }
  # In a low panel the key is small, so that a curve can pass it.
  panel <- graphics::par("usr")
  cex <- max(0.6, min(1, 0.6 * (panel[4] - panel[3]) / key("topleft", plot = FALSE)$rect$h))
  sized <- function(where, ...) key(where, cex = cex, ...)
  sized(emptiest(c("bottomright", "topleft"), sized, half_steps(trace), trace$elbo))
}

# The place where fewest of the points lie under the key.
emptiest <- function(places, key, x, y) {
  hidden <- vapply(places, function(place) {
    box <- key(place, plot = FALSE)$rect
    sum(x > box$left & x < box$left + box$w & y < box$top & y > box$top - box$h)
  }, 0L)
  places[which.min(hidden)]
}

# How far the maximum still was, on a log scale, down to the rounding of the objective.
plot_gain <- function(fit) {
  trace <- elbo_trace(fit)
  rounding <- 64 * .Machine$double.eps * max(abs(objective_of(fit)), 1)
  gain <- function(value) pmax(objective_of(fit) - value, rounding)
  below <- gain(trace$elbo)
  graphics::plot(half_steps(trace), below, type = "n", log = "y", ylab = "", yaxt = "n",
                 ylim = range(below, gain(trace$log_evidence), na.rm = TRUE), xlab = "half-step",
                 main = "Still to gain")
  powers <- pretty(log10(range(below)), 5)
  powers <- unique(round(powers))
  graphics::axis(2, 10^powers, parse(text = sprintf("10^%d", powers)))
  graphics::mtext("units of log-likelihood, log scale", 2, line = 3.7, las = 0,
                  cex = graphics::par("cex"))
  draw_steps(trace, below, gain(trace$log_evidence))
}

# Of a long ascent the lines, and a symbol here and there: more would be a band of ink.
draw_steps <- function(trace, elbo, log_evidence) {
  k <- half_steps(trace)
  few <- nrow(trace) <= most_gaps
  graphics::lines(k, elbo, col = colours[["grey"]])
  if (has_evidence(trace)) {
    graphics::lines(k, log_evidence, lty = 2)
    if (few) graphics::segments(k, elbo, k, log_evidence, col = colours[["orange"]])
  }
  shown <- if (few) seq_along(k) else marked_steps(trace$step)
  graphics::points(k[shown], elbo[shown], pch = step_symbol(trace$step[shown]),
                   col = step_colour(trace$step[shown]))
}

most_gaps <- 60L

# Some of each kind of step, evenly.
marked_steps <- function(steps) {
  some <- function(at) at[round(seq(1, length(at), length.out = min(12, length(at))))]
  sort(unlist(lapply(split(seq_along(steps), as.character(steps)), some), use.names = FALSE))
}

half_steps <- function(trace) seq_len(nrow(trace)) - 1

has_evidence <- function(trace) !all(is.na(trace$log_evidence))

objective_title <- function(fit) {
  if (method_of(fit) == "joint") "log p(y, z | theta) by half-step" else "ELBO by half-step"
}

# ---- ggplot2 -----------------------------------------------------------------------------

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

ggplot_decomposition <- function(fit) {
  bars <- decomposition_data(fit)
  n <- seq_len(nrow(bars))
  parts <- data.frame(
    step = c(n, n), part = factor(rep(c("ELBO", "KL"), each = nrow(bars)), c("ELBO", "KL")),
    low = c(bars$base, bars$elbo), high = c(bars$elbo, bars$elbo + bars$kl)
  )
  ggplot2::ggplot(parts) +
    ggplot2::geom_rect(ggplot2::aes(xmin = .data$step - 0.38, xmax = .data$step + 0.38,
                                    ymin = .data$low, ymax = .data$high, fill = .data$part)) +
    ggplot2::geom_segment(
      ggplot2::aes(x = .data$step - 0.38, xend = .data$step + 0.38, y = .data$high,
                   yend = .data$high), data = parts[parts$part == "KL", ]
    ) +
    ggplot2::scale_fill_manual(values = unname(colours[c("blue", "orange")])) +
    ggplot2::scale_x_continuous(breaks = n, labels = step_letters(bars$step)) +
    ggplot2::labs(x = "after step", y = value_title(fit), fill = NULL,
                  title = decomposition_title) +
    ggplot2::theme_bw() +
    ggplot2::theme(panel.grid.major.x = ggplot2::element_blank(),
                   panel.grid.minor.x = ggplot2::element_blank())
}
