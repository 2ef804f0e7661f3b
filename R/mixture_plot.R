# Pictures of a mixture. Components differ by colour and by symbol or line, so that grey will do.
#
#   mixture_pictures(fit)     the pictures that suit a fit, picture()s by name
#   component_colours(k), component_symbols(k), component_lines(k)

#' Plot a mixture
#'
#' @param x,object a fit made by [fit_mixture()].
#' @param type which pictures; by default those that suit the fit, on one page (of curves the curves
#'   alone).
#' * `"selection"`: by the number of components how far the criterion of each candidate is from the
#'   best, which is ringed, on a square-root scale; a line for each covariance model, the best six
#'   of them in colour. Where only one number was tried, a row for each covariance model.
#' * `"classification"`: the units in the plane of two responses by their most probable component,
#'   with ellipses that hold half and 95 % of each component. With three responses and more, alone
#'   on a page, all pairs of the first six; beside other pictures the two responses that tell the
#'   components apart best.
#' * `"density"`: of a single response: histogram, density, and each component's share in it.
#' * `"regression"`: the response against the covariate with each component's curve, at the
#'   medians of other covariates; without a numeric covariate the response by component.
#' * `"curves"`: of curves, a panel for each component (the 20 largest): its curve with a band of
#'   confidence over the observed curves of its members, the units that most probably belong to
#'   it (300 of them at most). The strip has their number and the component's weight. Levels of
#'   factors in the formula, arms or strains say, differ by colour and line; replicates are
#'   averaged.
#' * `"deviations"`: of curves, whether the deviations of units from their component's curve
#'   follow the normal law posited for them. What a unit says of its deviations has a squared
#'   distance from zero that is chi-squared under the law; its normal score is drawn against what
#'   normal quantiles are, and lies on the line if the law holds. Points over the line at the
#'   right are units further off than any normal deviation: members by default of a component
#'   that is not theirs.
#' * `"profiles"`: of latent classes: the probability of each level by component; means of numeric
#'   variables in standard deviations from the overall mean.
#' * `"uncertainty"`: the probability that a unit's component is another one, in the order of size.
#'   Half would be a toss between two; most units should lie flat on the floor.
#' * `"decomposition"`, `"objective"`: the ascent, as of [other fits][plot.elbo_fit].
#' @param level of the bands of curves.
#' @param ... not used.
#' @return `plot()` returns its argument invisibly; `autoplot()` returns a plot of ggplot2, of one
#'   type: `"classification"` (of two responses), `"density"`, `"curves"`, `"deviations"`,
#'   `"selection"`, `"uncertainty"` or `"objective"`.
#' @details More than 5,000 rows are thinned evenly.
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:3,
#'                    covariance = c("EEE", "VVV"))
#' plot(fit)
#' plot(fit, type = "uncertainty")
#'
#' genes <- sim_curves(150, k = 4, seed = 1)
#' fit <- fit_mixture(expr ~ splines::bs(time, df = 6) + (1 | gene), genes, k = 4, unit = ~ gene)
#' plot(fit)
#' @name plot.elbo_mixture
NULL

#' @rdname plot.elbo_mixture
#' @export
plot.elbo_mixture <- function(x, type = NULL, level = 0.95, ...) {
  check_dots_empty(...)
  level <- check_between(level, "level", 0, 1)
  type <- check_pictures(type, x)
  pictures <- mixture_pictures(x)[type]
  alone <- vapply(pictures, function(picture) {
    !is.null(picture$page) && (is.null(picture$draw) || length(type) == 1)
  }, NA)
  for (picture in pictures[alone]) picture$page(x, level)
  plot_page(x, pictures[!alone])
  invisible(x)
}

# Pictures on one page.
plot_page <- function(fit, pictures) {
  if (length(pictures) == 0) return(invisible())
  panels <- vapply(pictures, `[[`, 0, "panels")
  old <- graphics::par(mfrow = panel_grid(sum(panels)), mar = c(4, 4.8, 3, 1), mgp = c(2.4, 0.7, 0),
                       las = 1)
  on.exit(graphics::par(old))
  for (picture in pictures) picture$draw(fit)
}

# A picture is drawn as one of `panels` on a page by draw(fit), on pages of its own by
# page(fit, level), and by ggplot(fit, level), as far as it has these.
picture <- function(draw = NULL, page = NULL, panels = 1, ggplot = NULL) {
  list(draw = draw, page = page, panels = panels, ggplot = ggplot)
}

# Of the choice, of the law of the responses, of the classification, and of the ascent.
mixture_pictures <- function(fit) {
  draw_ascent <- function(fit) {
    plot_objective(fit)
    plot_gain(fit)
  }
  ascent <- list(
    decomposition = picture(plot_decomposition, ggplot = function(fit, level) {
      ggplot_decomposition(fit)
    }),
    objective = picture(draw_ascent, panels = 2, ggplot = function(fit, level) {
      ggplot_objective(fit)
    })
  )
  choice <- list(selection = picture(function(fit) plot_selection(selection(fit)),
                                   ggplot = ggplot_selection))
  c(choice[NROW(candidates_of(fit)) > 1],
    law_of(fit)$pictures(fit),
    if (n_components(fit) > 1) {
      list(uncertainty = picture(plot_uncertainty, ggplot = ggplot_uncertainty))
    },
    ascent[ascent_pictures(fit)])
}

picture_types <- function(fit) names(mixture_pictures(fit))

check_pictures <- function(type, fit) {
  pictures <- mixture_pictures(fit)
  known <- names(pictures)
  if (is.null(type)) {
    pages <- known[lengths(lapply(pictures, `[[`, "draw")) == 0]
    return(if (length(pages) > 0) pages else drop_second_ascent(known))
  }
  ok <- is.character(type) && length(type) > 0 && all(type %in% known)
  what <- paste("some of", paste0("\"", known, "\"", collapse = ", "), "for this fit")
  check(ok, "type", what, type)
}

# Okabe and Ito's colours but yellow, which vanishes on white.
component_colours <- function(k) {
  rep_len(c("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"), k)
}

component_symbols <- function(k) rep_len(c(1, 17, 0, 8, 6, 15, 3, 5, 19, 4), k)

component_lines <- function(k) rep_len(c(1, 2, 4, 5, 3, 6), k)

# The most probable component of each unit, or of each row of the design.
unit_component <- function(fit) most_probable(unit_probability(fit))

row_component <- function(fit) unit_component(fit)[unit_of_row(design_of(fit))]

component_legend <- function(fit, where, lines = FALSE, ...) {
  shown <- occupied(fit)
  lty <- if (lines) component_lines(n_components(fit))[shown] else 0
  graphics::legend(where, legend = shown, title = "component", bty = "n", cex = 0.9, inset = 0.02,
                   col = component_colours(n_components(fit))[shown],
                   pch = component_symbols(n_components(fit))[shown],
                   lty = lty, ...)
}

# Above all points, where headroom() has left the room for it.
legend_above <- function(fit) {
  component_legend(fit, "top", lines = TRUE, ncol = min(length(occupied(fit)), legend_columns))
}

headroom <- function(fit, range) {
  lines <- 1 + ceiling(length(occupied(fit)) / legend_columns)
  range + c(0, 0.08 * lines * diff(range))
}

legend_columns <- 5L

# ---- choice ------------------------------------------------------------------------------

# How far each candidate is from the best, on a square-root scale: the best are the most crowded.
# `rank` orders the models by their best candidate.
selection_data <- function(choice) {
  table <- as.data.frame(unclass(choice))
  table$behind <- abs(table$criterion - table$criterion[attr(choice, "chosen")])
  table$model <- ifelse(is.na(table$covariance), attr(choice, "name"), table$covariance)
  table <- table[is.finite(table$criterion), ]
  best <- sort(tapply(table$behind, table$model, min))
  table$rank <- match(table$model, names(best))
  table[order(table$rank, table$k), ]
}

selection_axis <- function(choice) {
  name <- attr(choice, "name")
  sprintf("%s %s the best, root scale", name, if (name == "ELBO") "below" else "above")
}

plot_selection <- function(choice) {
  table <- selection_data(choice)
  if (length(unique(table$k)) == 1) return(plot_one_size(choice, table))
  named <- min(max(table$rank), most_models)
  margin <- if (max(table$rank) > 1) 0.4 * diff(range(table$k)) else 0 # the key's place
  graphics::plot(table$k, sqrt(table$behind), type = "n", xlab = "components", ylab = "",
                 xlim = range(table$k) + c(0, margin), xaxt = "n", yaxt = "n",
                 main = "Choice of components")
  graphics::mtext(selection_axis(choice), 2, line = 3.3, las = 0, cex = graphics::par("cex"))
  graphics::axis(1, sort(unique(table$k)))
  root_axis(2, table$behind)
  for (m in rev(unique(table$rank))) {
    rows <- table[table$rank == m, ]
    style <- model_style(m)
    graphics::lines(rows$k, sqrt(rows$behind), type = "b", col = style$col, pch = style$pch,
                    lty = style$lty, cex = 0.8)
  }
  graphics::points(choice$k[attr(choice, "chosen")], 0, cex = 2.6, lwd = 2)
  if (max(table$rank) == 1) return(invisible())
  styles <- lapply(seq_len(named + (max(table$rank) > named)), model_style)
  of <- function(what) vapply(styles, function(style) style[[what]], styles[[1]][[what]])
  names <- c(table$model[match(seq_len(named), table$rank)], "others")[seq_along(styles)]
  graphics::legend("right", legend = names, bty = "n", cex = 0.8, inset = 0.02, col = of("col"),
                   pch = of("pch"), lty = of("lty"))
}

# Covariance models that have a colour and a name: the best ones; the others are grey.
most_models <- 6L

model_style <- function(rank) {
  if (rank > most_models) return(list(col = "grey75", pch = 20, lty = 1))
  list(col = component_colours(rank)[rank], pch = component_symbols(rank)[rank],
       lty = component_lines(rank)[rank])
}

root_axis <- function(side, behind) {
  ticks <- unique(signif(pretty(sqrt(behind))^2, 2))
  graphics::axis(side, sqrt(ticks), ticks)
}

# Of a single number of components a row for each model, the best on top.
plot_one_size <- function(choice, table) {
  n <- nrow(table)
  place <- n + 1 - table$rank
  graphics::plot(sqrt(table$behind), place, type = "n", xlab = selection_axis(choice), ylab = "",
                 yaxt = "n", xaxt = "n", ylim = c(0.5, n + 0.5),
                 main = sprintf("Choice of the model, k = %d", table$k[1]))
  graphics::abline(h = place, col = "grey90")
  root_axis(1, table$behind)
  graphics::axis(2, place, table$model, tick = FALSE, line = -0.5, gap.axis = 0,
                 cex.axis = min(0.9, 14 / n))
  graphics::points(sqrt(table$behind), place, pch = 19, col = colours[["blue"]])
  graphics::points(0, n, cex = 2.6, lwd = 2)
}

# ---- multivariate normal -----------------------------------------------------------------

# The number of a component at its mean, readable over points of any colour.
mark_component <- function(at, j, k) {
  graphics::points(at[1], at[2], pch = 21, bg = "white", col = component_colours(k)[j], cex = 2.2,
                   lwd = 2)
  graphics::text(at[1], at[2], j, cex = 0.8, font = 2)
}

# ---- uncertainty -------------------------------------------------------------------------

uncertainty_data <- function(fit) {
  table <- data.frame(uncertainty = 1 - apply(unit_probability(fit), 1, max),
                      component = unit_component(fit), copies = unit_freq(fit))
  table <- table[order(table$uncertainty), ]
  table$share <- cumsum(table$copies) / sum(table$copies)
  thin(table, 5000)
}

plot_uncertainty <- function(fit) {
  table <- uncertainty_data(fit)
  graphics::plot(table$share, table$uncertainty, type = "n", xlab = "share of the units",
                 ylab = "probability of another one", ylim = c(0, max(0.5, table$uncertainty)),
                 main = "Uncertainty of the component")
  graphics::abline(h = c(0, 0.1, 0.5), col = "grey80", lty = c(1, 3, 3))
  graphics::points(table$share, table$uncertainty,
                   pch = component_symbols(n_components(fit))[table$component],
                   col = component_colours(n_components(fit))[table$component],
                   cex = if (nrow(table) > 500) 0.5 else 0.8)
  component_legend(fit, "topleft", ncol = ceiling(length(occupied(fit)) / 4))
}

# ---- ggplot2 -----------------------------------------------------------------------------

#' @rdname plot.elbo_mixture
#' @exportS3Method ggplot2::autoplot
autoplot.elbo_mixture <- function(object, type = NULL, level = 0.95, ...) {
  check_dots_empty(...)
  level <- check_between(level, "level", 0, 1)
  pictures <- Filter(function(picture) !is.null(picture$ggplot), mixture_pictures(object))
  pages <- vapply(pictures, function(picture) is.null(picture$draw), NA)
  if (is.null(type)) type <- names(c(pictures[pages], pictures))[1]
  type <- check_choice(type, "type", names(pictures))
  pictures[[type]]$ggplot(object, level)
}

component_scales <- function(fit) {
  list(
    ggplot2::scale_colour_manual(values = component_colours(n_components(fit)), drop = FALSE),
    ggplot2::scale_shape_manual(values = component_symbols(n_components(fit)), drop = FALSE),
    ggplot2::scale_linetype_manual(values = component_lines(n_components(fit)), drop = FALSE),
    ggplot2::theme_bw()
  )
}

as_component <- function(component, fit) factor(component, seq_len(n_components(fit)))

ggplot_selection <- function(fit, level) {
  choice <- selection(fit)
  table <- selection_data(choice)
  table$model <- factor(table$model, unique(table$model))
  styles <- lapply(seq_len(nlevels(table$model)), model_style)
  of <- function(what) vapply(styles, function(style) style[[what]], styles[[1]][[what]])
  chosen <- data.frame(k = n_components(fit), behind = 0)
  ggplot2::ggplot(table, ggplot2::aes(.data$k, .data$behind, colour = .data$model,
                                      shape = .data$model, linetype = .data$model)) +
    ggplot2::geom_line() +
    ggplot2::geom_point() +
    ggplot2::geom_point(ggplot2::aes(.data$k, .data$behind), data = chosen, inherit.aes = FALSE,
                        shape = 1, size = 5) +
    ggplot2::scale_colour_manual(values = of("col")) +
    ggplot2::scale_shape_manual(values = of("pch")) +
    ggplot2::scale_linetype_manual(values = of("lty")) +
    ggplot2::scale_y_sqrt() +
    ggplot2::labs(x = "components", y = selection_axis(choice), title = "Choice of components",
                  colour = NULL, shape = NULL, linetype = NULL,
                  subtitle = "on a square-root scale; the choice is ringed") +
    ggplot2::theme_bw()
}

ggplot_uncertainty <- function(fit, level) {
  table <- uncertainty_data(fit)
  table$component <- as_component(table$component, fit)
  ggplot2::ggplot(table, ggplot2::aes(.data$share, .data$uncertainty, colour = .data$component,
                                      shape = .data$component)) +
    ggplot2::geom_point() +
    ggplot2::labs(x = "share of the units", y = "probability of another component",
                  title = "Uncertainty of the component") +
    component_scales(fit)
}
