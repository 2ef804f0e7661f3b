#' Fits side by side
#'
#' The rungs of the ladder beside each other: what each fit integrates, its objective, how long
#' it took, and every estimate with its standard error.
#'
#' The objectives of different methods are not comparable: a density of points, a likelihood
#' and a restricted likelihood are different quantities. The estimates are.
#'
#' Fits to different responses or rows, and log-likelihoods with and without a law of the latent
#' variables (one is the density of the data, the other an integral over Lebesgue measure), are
#' shown beside each other with a warning of class `elbo_warning_comparison`.
#'
#' @param ... fits. Their names are those of the arguments, or else the expressions given; where
#'   these are not names (`do.call(compare_fits, fits)`), `fit1`, `fit2` and so on.
#' @param x a comparison, made by `compare_fits()`.
#' @param level of the intervals drawn: a normal quantile of standard errors to both sides, on
#'   the log scale for standard deviations and Fisher's z scale for correlations.
#' @return A data frame of class `elbo_comparison`, a row for each fit and parameter: `fit`,
#'   `method`, `term` (a name of [theta()]), `estimate`, `std.error` (`NA` where the parameter
#'   is held, which printing marks, or on its boundary). The attribute `held` says which rows
#'   are held by [priors()], `labels` has the names shown of the terms, `doubts` what was warned
#'   of. The attribute `facts` is a data frame with a row for each fit: `fit`, `method`,
#'   `integrated` (in words), `objective`, `log_likelihood` (`NA` where there is none), `rows`
#'   (what [nobs()] says), `counted` (`"row"` or `"unit"`), `seconds`. `plot()` draws a panel for
#'   each parameter, twenty on a page, with a line at zero where that is in sight, and returns its
#'   argument invisibly.
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
  held <- unlist(lapply(unname(fits), function(fit) parameters_of(fit)$fixed))
  labels <- unlist(lapply(unname(fits), parameter_labels))
  roles <- unlist(lapply(unname(fits), function(fit) {
    stats::setNames(parameters_of(fit)$role, parameters_of(fit)$name)
  }))
  doubts <- c(data_doubts(fits), law_doubts(fits))
  for (doubt in doubts) warn(doubt, "elbo_warning_comparison")
  structure(comparison, facts = facts, held = held, labels = labels[!duplicated(names(labels))],
            roles = roles[!duplicated(names(roles))], doubts = doubts,
            class = c("elbo_comparison", "data.frame"))
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

# Fits that differ in what was observed.
data_doubts <- function(fits) {
  values <- lapply(fits, observed)
  same <- vapply(values, function(y) identical(c(y), c(values[[1]])), NA)
  if (all(same)) return(NULL)
  rows <- vapply(values, NROW, 0L)
  other <- which(!same)[1]
  why <- if (rows[other] != rows[1]) {
    sprintf("%s rows and %s", count_text(rows[1]), count_text(rows[other]))
  } else {
    "the responses differ"
  }
  sprintf(paste("`%s` and `%s` are not fits to the same data (%s): their objectives and",
                "log-likelihoods cannot be compared. Fit them to the same rows and response."),
          names(fits)[1], names(fits)[other], why)
}

# What was observed: the responses, in the order of the rows; NULL where a model has none.
observed <- function(fit) UseMethod("observed")

#' @exportS3Method
observed.elbo_fit <- function(fit) {
  if (is.null(frame_of(fit))) return(NULL)
  unname(as.matrix(as.data.frame(unclass(stats::model.response(model.frame(fit))))))
}

# Likelihoods with and without a law of the latent variables.
law_doubts <- function(fits) {
  with_value <- vapply(fits, function(fit) !is.na(criteria(fit)[["logLik"]]), NA)
  without <- vapply(fits, function(fit) {
    scales <- parameters_of(fit)$block == "sd"
    has_latent(fit) && any(is.infinite(theta(fit)[scales]))
  }, NA)
  proper <- names(fits)[with_value & !without]
  improper <- names(fits)[with_value & without]
  if (length(proper) == 0 || length(improper) == 0) return(NULL)
  sprintf(paste("The latent variables of `%s` have no law, those of `%s` do: the log-likelihoods",
                "are densities of different things and cannot be compared. The estimates can."),
          improper[1], proper[1])
}

fit_estimates <- function(fit, name) {
  n <- length(theta(fit)) # none where all is known
  data.frame(fit = rep(name, n), method = rep(method_of(fit), n),
             term = as.character(names(theta(fit))), estimate = as.numeric(theta(fit)),
             std.error = as.numeric(standard_errors(fit)))
}

fit_facts <- function(fit, name) {
  data.frame(
    fit = name, method = method_of(fit), integrated = integrated_words(fit),
    objective = objective_of(fit), log_likelihood = criteria(fit)[["logLik"]],
    rows = nobs(fit), counted = counted_noun(fit), seconds = seconds_of(fit)
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
  columns <- list(
    facts$fit, method = facts$method, objective = fixed_text(facts$objective, 1),
    "log-lik." = ifelse(is.na(facts$log_likelihood), "none", log_likelihood),
    count = count_column(facts), seconds = fixed_text(facts$seconds, 3)
  )
  names(columns)[5] <- counted_heading(facts)
  writeLines(table_lines(columns))
  for (words in paste0(facts$fit, ": ", facts$integrated)) {
    writeLines(strwrap(words, getOption("width") + 1, indent = 2, exdent = 4))
  }
  for (doubt in attr(x, "doubts")) write_wrapped(doubt)
  writeLines(if (nrow(x) == 0) "No parameter is estimated." else "\nEstimates (standard errors):")
  if (nrow(x) > 0) print_columns(comparison_labels(x), comparison_columns(x))
  invisible(x)
}

# Rows or units, if all fits count the same; otherwise the word beside the number.
counted_heading <- function(facts) {
  if (length(unique(facts$counted)) == 1) paste0(facts$counted[1], "s") else "observed"
}

count_column <- function(facts) {
  if (length(unique(facts$counted)) == 1) return(count_text(facts$rows))
  unname(mapply(count_words, facts$rows, facts$counted))
}

comparison_labels <- function(x) labelled(unique(x$term), attr(x, "labels"))

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
  check_between(level, "level", 0, 1)
  if (nrow(x) == 0) {
    abort("There is no estimate to draw: the fits have no parameters.", "elbo_error_not_available")
  }
  terms <- unique(x$term)
  labels <- comparison_labels(x)
  roles <- labelled(terms, attr(x, "roles"))
  roles[!roles %in% names(parameter_roles)] <- "coefficient" # of a table without its attributes
  fits <- unique(x$fit)
  margin <- 1.5 + max(graphics::strwidth(fits, "inches", cex = 0.8)) / 0.2
  grid <- panel_grid(min(length(terms), comparison_panels))
  old <- graphics::par(mfrow = grid, mar = c(2.5, margin, 3, 1), mgp = c(2, 0.6, 0), las = 1,
                       oma = c(1.6, 0, 0, 0))
  on.exit(graphics::par(old))
  if (length(terms) > comparison_panels && grDevices::dev.interactive()) {
    ask <- grDevices::devAskNewPage(TRUE)
    on.exit(grDevices::devAskNewPage(ask), add = TRUE)
  }
  for (i in seq_along(terms)) {
    plot_estimates(x[x$term == terms[i] & is.finite(x$estimate), ], fits, level, roles[i],
                   labels[i])
    if (i %% prod(grid) == 1 || prod(grid) == 1) {
      graphics::mtext(sprintf("estimate, interval of %s %%", format(100 * level)), 1, outer = TRUE,
                      line = 0.4, cex = 0.8)
    }
  }
  invisible(x)
}

comparison_panels <- 20L

# estimate, low, high, and the range of the axis: with zero where it is not far.
interval_data <- function(rows, level, role) {
  half_width <- stats::qnorm((1 + level) / 2) * rows$std.error
  limits <- wald_limits(rows$estimate, half_width, role)
  limits <- ifelse(is.finite(limits), limits, rows$estimate)
  range <- if (nrow(rows) > 0) range(limits) else c(0, 1)
  reach <- diff(range)
  if (reach == 0) reach <- max(abs(range), 1) / 2
  signed <- parameter_roles[[role]]$range[1] < 0
  if (signed && range[1] > 0 && range[1] < reach) range[1] <- 0
  if (signed && range[2] < 0 && range[2] > -reach) range[2] <- 0
  list(table = data.frame(fit = rows$fit, estimate = rows$estimate, low = limits[, 1],
                          high = limits[, 2]),
       range = range + c(-0.06, 0.06) * max(diff(range), reach))
}

# A row for each fit, the first one on top; a bare point where there is no standard error.
plot_estimates <- function(rows, fits, level, role, title) {
  data <- interval_data(rows, level, role)
  table <- data$table
  place <- match(table$fit, rev(fits))
  kind <- (match(table$fit, fits) - 1) %% 4 + 1
  colour <- colours[c("blue", "orange", "green", "grey")][kind]
  graphics::plot(
    table$estimate, place, type = "n", yaxt = "n", xlab = "", ylab = "", main = title,
    cex.main = title_size(title), xlim = data$range, ylim = c(0.5, length(fits) + 0.5)
  )
  graphics::abline(v = 0, col = "grey40", lty = 2)
  graphics::axis(2, seq_along(fits), rev(fits), tick = FALSE, cex.axis = 0.8)
  graphics::segments(table$low, place, table$high, place, col = colour, lwd = 2)
  graphics::points(table$estimate, place, pch = c(19, 17, 15, 18)[kind], col = colour,
                   cex = 1.2)
}
