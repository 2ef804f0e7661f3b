#' Fits side by side
#'
#' The rungs of the ladder beside each other: what each fit integrates, its objective, how long
#' it took, and every estimate with its standard error.
#'
#' The objectives of different methods are not comparable: a density of points, a likelihood
#' and a restricted likelihood are different quantities. The estimates are.
#'
#' @param ... fits. Their names are those of the arguments, or else the expressions given.
#' @param x a comparison, made by `compare_fits()`.
#' @param level of the intervals drawn: a normal quantile of standard errors to both sides, on
#'   the log scale for standard deviations and Fisher's z scale for correlations.
#' @return A data frame of class `elbo_comparison`, a row for each fit and parameter: `fit`,
#'   `method`, `term` (a name of [theta()]), `estimate`, `std.error` (`NA` where the parameter
#'   is held, which printing marks, or on its boundary). The attribute `held` says which rows
#'   are held by [priors()]. The attribute `facts` is a data frame with a row for each
#'   fit: `fit`, `method`, `integrated` (in words), `objective`, `log_likelihood` (`NA` where
#'   there is none), `rows`, `seconds`. `plot()` draws a panel for each parameter and returns
#'   its argument invisibly.
#' @family what a fit answers
#' @examples
#' pairs <- sim_pairs(200, theta = 1)
#' em <- fit_glmm(y ~ 0 + (1 | pair), pairs, prior = priors(pair = constant(1)))
#' both <- compare_fits(em, joint = update(em, method = "joint"))
#' both
#' plot(both)
#' @export
compare_fits <- function(...) {
  fits <- list(...)
  check(length(fits) > 0, "...", "one or more fits", NULL)
  names(fits) <- fit_names(names(fits), as.list(substitute(list(...)))[-1])
  for (name in names(fits)) {
    check(inherits(fits[[name]], "elbo_fit"), name, "a fit", fits[[name]])
  }
  comparison <- do.call(rbind, unname(Map(fit_estimates, fits, names(fits))))
  facts <- do.call(rbind, unname(Map(fit_facts, fits, names(fits))))
  held <- unlist(lapply(unname(fits), function(fit) fit$parameters$fixed))
  structure(comparison, facts = facts, held = held, class = c("elbo_comparison", "data.frame"))
}

# The names given, or the expressions where they are short; do.call() has the fits themselves in
# the place of expressions.
fit_names <- function(given, expressions) {
  said <- vapply(seq_along(expressions), function(i) {
    text <- if (is.language(expressions[[i]])) deparse_line(expressions[[i]])
    if (is.null(text) || nchar(text) > 60) paste0("fit", i) else text
  }, "")
  make.unique(if (is.null(given)) said else ifelse(nzchar(given), given, said))
}

fit_estimates <- function(fit, name) {
  data.frame(fit = name, method = fit$method, term = names(fit$theta),
             estimate = unname(c(fit$theta)), std.error = unname(standard_errors(fit)))
}

fit_facts <- function(fit, name) {
  data.frame(
    fit = name, method = fit$method, integrated = integrated_words(fit),
    objective = fit$objective, log_likelihood = information(fit)[["logLik"]],
    rows = nobs(fit), seconds = fit$time
  )
}

#' @rdname compare_fits
#' @export
print.elbo_comparison <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  facts <- attr(x, "facts")
  if (is.null(facts) || !all(c("fit", "term", "estimate", "std.error") %in% names(x))) {
    print(as.data.frame(unclass(x)))
    return(invisible(x))
  }
  log_likelihood <- fixed_text(facts$log_likelihood, 1)
  writeLines(table_lines(list(
    facts$fit, method = facts$method, objective = fixed_text(facts$objective, 1),
    "log-lik." = ifelse(is.na(facts$log_likelihood), "none", log_likelihood),
    rows = as.character(facts$rows), seconds = fixed_text(facts$seconds, 3)
  )))
  writeLines(paste0("  ", facts$fit, ": ", facts$integrated))
  cat("\nEstimates (standard errors):\n")
  print_columns(unique(x$term), comparison_columns(x))
  invisible(x)
}

# A column of text for each fit, a row for each term.
comparison_columns <- function(x) {
  terms <- unique(x$term)
  fits <- attr(x, "facts")$fit
  columns <- lapply(fits, function(fit) {
    row <- which(x$fit == fit)[match(terms, x$term[x$fit == fit])]
    estimate_and_error(x$estimate[row], x$std.error[row], attr(x, "held")[row])
  })
  stats::setNames(columns, fits)
}

estimate_and_error <- function(estimate, se, held) {
  decimals <- shown_decimals(estimate, se)
  error <- sub("^( *)(\\S+)( *)$", "\\1(\\2)\\3", decimal_text(se, decimals))
  error[which(held)] <- "(held)"
  paste(decimal_text(estimate, decimals), formatC(error, width = -max(nchar(error))))
}

# A table as wide as the screen, and then the columns left over below it.
print_columns <- function(terms, columns) {
  while (length(columns) > 0) {
    widths <- mapply(function(name, cell) max(nchar(c(name, cell))), names(columns), columns)
    room <- getOption("width") - max(nchar(terms))
    fitting <- seq_len(max(1, sum(cumsum(widths + 2) <= room)))
    writeLines(table_lines(c(list(terms), columns[fitting])))
    columns <- columns[-fitting]
  }
}

#' @rdname compare_fits
#' @export
plot.elbo_comparison <- function(x, level = 0.95, ...) {
  check_dots_empty(...)
  terms <- unique(x$term)
  fits <- unique(x$fit)
  margin <- 1.5 + max(graphics::strwidth(fits, "inches", cex = 0.8)) / 0.2
  old <- graphics::par(mfrow = panel_grid(length(terms)),
                       mar = c(3, margin, 3, 1), mgp = c(2, 0.6, 0), las = 1)
  on.exit(graphics::par(old))
  for (term in terms) {
    plot_estimates(x[x$term == term & is.finite(x$estimate), ], fits, level, term)
  }
  invisible(x)
}

# A row for each fit, the first one on top; a bare point where there is no standard error.
plot_estimates <- function(rows, fits, level, title) {
  half_width <- stats::qnorm((1 + level) / 2) * rows$std.error
  limits <- wald_limits(rows$estimate, half_width, term_block(title))
  limits <- ifelse(is.na(limits), rows$estimate, limits)
  place <- match(rows$fit, rev(fits))
  colour <- colours[c("blue", "orange", "green", "grey")][(match(rows$fit, fits) - 1) %% 4 + 1]
  graphics::plot(
    rows$estimate, place, type = "n", yaxt = "n", xlab = "", ylab = "", main = title,
    cex.main = title_size(title), xlim = if (nrow(rows) > 0) range(limits) else c(0, 1),
    ylim = c(0.5, length(fits) + 0.5)
  )
  graphics::axis(2, seq_along(fits), rev(fits), tick = FALSE, cex.axis = 0.8)
  graphics::segments(limits[, 1], place, limits[, 2], place, col = colour, lwd = 2)
  graphics::points(rows$estimate, place, pch = 19, col = colour)
}

# The block of a parameter, which a comparison knows by its name alone.
term_block <- function(term) {
  kind <- sub("(__|[|]).*", "", term)
  if (kind %in% c("sd", "cor", "sigma", "weight", "prob")) kind else "beta"
}
