# Fits in R Markdown documents: pipe tables, from which pandoc makes those of HTML, LaTeX and
# Word alike.

#' Tables in reports
#'
#' In an R Markdown or Quarto document a fit, a summary of one, a comparison of several, or what
#' [anova()][anova.elbo_fit], [VarCorr()], [bootstrap()], [sensitivity()], [selection()],
#' [elbo_trace()], [kl_project()] or [check_em()] answered, is shown as tables where it is the value
#' of a chunk's line, in HTML, PDF and Word alike: of a fit the estimator in words, estimates with
#' standard errors, and why one may believe them. (Intervals of [confint()] are a plain matrix, for
#' `knitr::kable()`.) What
#' [print()][print.elbo_fit] writes to the console appears instead with the chunk option
#' `render = knitr::normal_print`, or in documents of other kinds.
#'
#' @param x a fit, its summary, a comparison made by [compare_fits()], or one of those answers.
#' @param options chunk options, of which none is used.
#' @param ... not used.
#' @return Markdown text of class `knit_asis`.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' if (requireNamespace("knitr", quietly = TRUE)) cat(knitr::knit_print(fit))
#' @name knit_print.elbo_fit
NULL

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_fit <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  knit_markdown(x, head_markdown(x), estimates_markdown(x), closing_markdown(x))
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.summary.elbo_fit <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  knit_markdown(x, head_markdown(x$fit), summary_markdown(x$fit, x), closing_markdown(x$fit))
}

#' @rdname knit_print.elbo_fit
#' @exportS3Method knitr::knit_print
knit_print.elbo_comparison <- function(x, options, ...) {
  check_dots_empty(..., .but = passed_along$knit_print)
  facts <- attr(x, "facts")
  if (is.null(facts)) return(knitr::normal_print(x))
  knit_markdown(
    x, table_markdown(facts_table(facts)),
    words_markdown(paste0(facts$fit, ": ", facts$integrated)),
    if (nrow(x) == 0) "No parameter is estimated." else "Estimates (standard errors):",
    if (nrow(x) > 0) lapply(comparison_tables(x), table_markdown)
  )
}

# ---- Markdown ------------------------------------------------------------------------------

# Paragraphs and tables as the output of a chunk. Documents that are not Markdown get what the
# console shows.
knit_markdown <- function(x, ...) {
  format <- knitr::opts_knit$get("out.format")
  if (!is.null(format) && format != "markdown") return(knitr::normal_print(x))
  text <- paste(unlist(list("", ..., end_of_output)), collapse = "\n\n")
  # Escaped brackets would begin and end a formula.
  text <- gsub("\\[", "&#91;", text, fixed = TRUE)
  knitr::asis_output(gsub("\\]", "&#93;", text, fixed = TRUE))
}

# knitr takes the blank line off the end, and text on the next line would go on where this stops.
end_of_output <- "<!-- -->\n"

# Columns of text, which begins with a letter, to the left; of numbers (Inf among them) to the
# right. In HTML the table is no wider than what it says; elsewhere pandoc makes it from a pipe
# table.
table_markdown <- function(table) {
  if (nrow(table) == 0) return(NULL)
  table[] <- lapply(table, trimws)
  is_text <- vapply(table, function(column) {
    any(grepl("^(?!Inf|NaN|NA)[[:alpha:](]", column, perl = TRUE))
  }, NA)
  align <- ifelse(is_text, "l", "r")
  table[] <- lapply(table, unbroken)
  if (knitr::is_html_output()) {
    lines <- knitr::kable(table, "html", align = align, row.names = FALSE,
                          table.attr = "class=\"table table-condensed\" style=\"width: auto\"")
    return(paste(c("```{=html}", lines, "```"), collapse = "\n"))
  }
  names(table) <- escape_markdown(names(table))
  table[] <- lapply(table, escape_markdown)
  lines <- knitr::kable(table, "pipe", align = align, row.names = FALSE)
  # pandoc gives columns widths in proportion to a rule that is too long for the page, and Word
  # needs them: without, all columns are as wide as each other. A cell has margins beside its text.
  if (knitr::pandoc_to("docx")) {
    lines[2] <- gsub("(-+)", paste0("\\1", strrep("-", 20)), gsub("-", strrep("-", 10), lines[2]))
  }
  paste(lines, collapse = "\n")
}

# A number and its standard error, or several numbers, stay on one line.
unbroken <- function(cells) {
  numbers <- grepl("^[-(0-9. ]", cells) & grepl("[0-9]", cells)
  ifelse(numbers, gsub(" ", "\u00a0", trimws(cells), fixed = TRUE), cells)
}

# kable() sees to the `|`.
escape_markdown <- function(text) gsub("([][\\\\`*_{}<>$^~#@])", "\\\\\\1", text)

# Sentences, each on a line; calls and expectations as code, which Markdown would take for text with
# quotation marks.
words_markdown <- function(sentences) {
  if (length(sentences) == 0) return(NULL)
  call <- "\\b[a-z][a-z_.]*[a-z]\\([^()]*\\)([$][a-z]+)?|E_[pq]\\[[^]]*\\]"
  pieces <- regmatches(sentences, gregexpr(call, sentences), invert = NA)
  sentences <- vapply(pieces, function(piece) {
    is_call <- grepl(paste0("^(", call, ")$"), piece)
    paste(ifelse(is_call, paste0("`", piece, "`"), escape_markdown(piece)), collapse = "")
  }, "")
  paste(sentences, collapse = "  \n")
}

head_markdown <- function(fit) {
  sprintf("%s, method `%s`: `%s` (%s)", estimator_name(fit), method_of(fit),
          model_words(fit), escape_markdown(size_words(fit)))
}

# Of any fit, by what every fit answers; of mixed models and mixtures as print() has them.
estimates_markdown <- function(fit) UseMethod("estimates_markdown")

#' @exportS3Method
estimates_markdown.elbo_fit <- function(fit) {
  c(table_markdown(tidy_table(tidy(fit))), table_markdown(glance_table(fit)))
}

#' @exportS3Method
estimates_markdown.elbo_glmm <- function(fit) {
  summary <- summary(fit)
  c(table_markdown(coefficient_table(summary$coefficients)),
    table_markdown(variance_table(summary$variances)),
    if (has_curves(fit)) table_markdown(curve_table(summary$curves)))
}

#' @exportS3Method
estimates_markdown.elbo_mixture <- function(fit) {
  components_markdown(fit, setdiff(component_blocks, "cor"))
}

# The same with what summary() adds.
summary_markdown <- function(fit, summary) UseMethod("summary_markdown")

#' @exportS3Method
summary_markdown.elbo_fit <- function(fit, summary) estimates_markdown(fit)

#' @exportS3Method
summary_markdown.elbo_glmm <- function(fit, summary) {
  c(words_markdown(group_size_words(fit)), estimates_markdown(fit),
    if (!is.null(summary$posterior)) {
      c("Priors, and posterior standard deviations:",
        table_markdown(posterior_table(summary$posterior, fit)))
    },
    "Residuals divided by their standard deviation:",
    table_markdown(residual_table(summary$residuals)), words_markdown(information_words(summary)))
}

#' @exportS3Method
summary_markdown.elbo_mixture <- function(fit, summary) {
  words <- summary_words(fit, summary)
  c(components_markdown(fit, component_blocks), table_markdown(glance_table(fit)),
    words_markdown(c(words$answer, unlist(words$search))))
}

# A column for each component, and below it what is common to all of them.
components_markdown <- function(fit, blocks) {
  table <- component_table(fit, blocks)
  tidied <- tidy(fit)
  c(words_markdown(law_of(fit)$sentence(fit)),
    table_markdown(data.frame(Component = table$terms, table$columns, check.names = FALSE)),
    table_markdown(tidy_table(tidied[is.na(tidied$component), ])))
}

closing_markdown <- function(fit) {
  state <- convergence(fit)
  words_markdown(c(objective_words(fit), state$message, state$verdict, notes(fit)))
}

# ---- the tables ----------------------------------------------------------------------------

# The columns of tidy() that say something, as text.
tidy_table <- function(tidied) {
  if (nrow(tidied) == 0) return(tidied)
  decimals <- shown_decimals(tidied$estimate, tidied$std.error)
  as_text <- list(
    estimate = function(x) decimal_text(x, decimals),
    std.error = function(x) decimal_text(x, decimals),
    statistic = function(x) decimal_text(x, 2),
    p.value = function(x) ifelse(is.na(x), "", format.pval(x, digits = 2, eps = 1e-4))
  )
  headings <- c(component = "Component", group = "Group", level = "Level", term = "Term",
                estimate = "Estimate", std.error = "Std. Error", statistic = "Statistic",
                p.value = "p")
  said <- vapply(tidied, function(column) !all(is.na(column)), NA)
  columns <- intersect(names(headings), names(tidied)[said])
  table <- lapply(columns, function(name) {
    if (name %in% names(as_text)) return(as_text[[name]](tidied[[name]]))
    text <- as.character(tidied[[name]])
    replace(text, is.na(text), "")
  })
  stats::setNames(as.data.frame(table, col.names = columns), headings[columns])
}

# What glance() knows, which is not the same of all fits.
glance_table <- function(fit) {
  facts <- glance(fit)
  counted <- paste0(counted_noun(fit), "s")
  substr(counted, 1, 1) <- toupper(substr(counted, 1, 1))
  headings <- c(nobs = counted, logLik = "Log-likelihood", AIC = "AIC", BIC = "BIC",
                elbo = "ELBO")
  facts <- facts[intersect(names(headings), names(facts)[!is.na(unlist(facts))])]
  table <- lapply(facts, function(x) fixed_text(x, if (x == round(x)) 0 else 1))
  stats::setNames(as.data.frame(table), headings[names(facts)])
}

facts_table <- function(facts) {
  evidence <- fixed_text(facts$log_likelihood, 1)
  table <- data.frame(
    Fit = facts$fit, Method = facts$method, Objective = fixed_text(facts$objective, 1),
    "Log-lik." = ifelse(is.na(facts$log_likelihood), "", evidence),
    Rows = count_column(facts), Seconds = fixed_text(facts$seconds, 3), check.names = FALSE
  )
  names(table)[5] <- sub("^(.)", "\\U\\1", counted_heading(facts), perl = TRUE)
  table
}

# As many fits beside each other as a page is wide, then the others below them.
comparison_tables <- function(comparison) {
  terms <- comparison_labels(comparison)
  columns <- lapply(comparison_columns(comparison), trimws)
  widths <- mapply(function(name, cells) max(nchar(c(name, cells))), names(columns), columns)
  page <- cumsum(widths + 2) %/% (90 - max(nchar(terms)))
  lapply(split(columns, page), function(columns) {
    data.frame(Parameter = terms, columns, check.names = FALSE)
  })
}
