# What fits answer, as tables in R Markdown documents; knit_print.R has fits themselves.

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_anova <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  heading <- unlist(strsplit(attr(x, "heading"), "\n", fixed = TRUE))
  heading <- gsub(" +", " ", heading[nzchar(heading)])
  knit_markdown(x, words_markdown(heading), table_markdown(anova_table(x)))
}

# Counts whole, likelihoods to a tenth, p-values as in tables of coefficients.
anova_table <- function(x) {
  of_column <- function(name) {
    values <- x[[name]]
    text <- if (startsWith(name, "Pr(")) {
      format.pval(values, digits = 2, eps = 1e-4)
    } else if (all(values == round(values), na.rm = TRUE)) {
      format(values, trim = TRUE)
    } else {
      fixed_text(values, if (name %in% c("logLik", "AIC", "BIC", "DenDF")) 1 else 2)
    }
    replace(text, is.na(values), "")
  }
  name <- if (any(c("logLik", "npar") %in% names(x))) "Fit" else "Term"
  columns <- lapply(names(x), of_column)
  names(columns) <- sub("^Pr\\(.*", "p", names(x))
  data.frame(stats::setNames(list(rownames(x)), name), columns, check.names = FALSE)
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.VarCorr.elbo_fit <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  knit_markdown(x, table_markdown(variance_columns(x, digits = 4)))
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_bootstrap <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  summary <- bootstrap_summary(x)
  decimals <- shown_decimals(summary[, "Estimate"], summary[, "Std. Error"])
  columns <- lapply(colnames(summary), function(name) decimal_text(summary[, name], decimals))
  names(columns) <- colnames(summary)
  knit_markdown(x, words_markdown(bootstrap_words(x)), table_markdown(data.frame(
    list(Parameter = rownames(summary)), columns, check.names = FALSE
  )), words_markdown(bootstrap_boundary_words(x)))
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_sensitivity <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  if (all(c("change", "rows") %in% names(x))) return(knit_rows(x))
  if (!all(c("prior", "per_sd") %in% names(x))) return(knitr::normal_print(as.data.frame(x)))
  most <- utils::head(order(-abs(x$per_sd)), 20)
  shown <- as.data.frame(x)[most, ]
  said <- if (nrow(x) > 20) {
    sprintf("The 20 largest of %d, in posterior standard deviations.", nrow(x))
  }
  knit_markdown(x, table_markdown(data.frame(
    Estimate = labelled(shown$estimate, attr(x, "labels")),
    Prior = labelled(shown$prior, attr(x, "labels")),
    Number = shown$number, Value = signif_text(shown$value, 3),
    Derivative = signif_text(shown$derivative, 2),
    "Per posterior sd" = signif_text(shown$per_sd, 2), check.names = FALSE
  )), words_markdown(said))
}

# Rows whose removal changes a conclusion: those found, and a sentence on the others.
knit_rows <- function(x) {
  found <- as.data.frame(x)[!is.na(x$rows), ]
  decimals <- shown_decimals(found$value, abs(found$value))
  knit_markdown(x, table_markdown(data.frame(
    Estimate = labelled(found$estimate, attr(x, "labels")), Change = found$change,
    Rows = as.character(found$rows), "Per cent" = fixed_text(found$percent, 1),
    "All rows" = decimal_text(found$value, decimals),
    Without = decimal_text(found$refit, decimals),
    Confirmed = ifelse(found$holds %in% TRUE, "yes", "no"), check.names = FALSE
  )), words_markdown(row_words(x)))
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_trace <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  table <- trace_table(utils::head(as.data.frame(x), 20))
  table[] <- lapply(table, as.character)
  more <- nrow(x) - 20
  knit_markdown(x, table_markdown(table),
                if (more > 0) sprintf("... and %s", count_words(more, "more row")))
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_selection <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  if (is.null(attr(x, "chosen"))) return(knitr::normal_print(as.data.frame(x)))
  chosen <- x[attr(x, "chosen"), ]
  name <- attr(x, "name")
  columns <- criterion_columns(x)
  words <- sprintf("%s (%s is better); chosen: %s.", name,
                   if (name == "ELBO") "larger" else "smaller", candidate_name(chosen))
  wide <- split(columns, (seq_along(columns) - 1) %/% 7)
  k <- list(k = as.character(sort(unique(x$k))))
  knit_markdown(x, words_markdown(words), lapply(unname(wide), function(some) {
    table_markdown(data.frame(k, some, check.names = FALSE))
  }))
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_kl <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  head <- sprintf("%s, smallest %s", kl_family(x), kl_formula(x))
  table <- as.data.frame(kl_columns(x), check.names = FALSE)
  names(table) <- c("Coordinate", names(kl_columns(x))[-1])
  knit_markdown(x, words_markdown(head), table_markdown(table),
                words_markdown(c(kl_value_words(x), kl_words(x))))
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_em_check <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  knit_markdown(x, words_markdown(em_words(x)))
}
