# What a fit says of itself: the estimator in words, the estimates, why to believe them.

#' Print and summarise a fit
#'
#' `print()` states the estimator in words, the estimates and why one may believe them.
#' `summary()` adds t tests with Satterthwaite degrees of freedom, the standard errors of the
#' variance parameters, the quantiles of the residuals and the information criteria. Both say
#' what a reader must know: which parameters were held constant or lie on the boundary of
#' their range, which columns and rows were dropped, and whether the groups are few.
#'
#' Every estimate is printed to the second significant digit of its standard error, and to
#' three of its own where it is larger.
#'
#' Fewer than ten groups are called few: a standard deviation estimated from m groups has a
#' relative standard error of at least \eqn{1/\sqrt{2(m-1)}}{1/sqrt(2(m-1))}, 0.24 at ten, and
#' marginal maximum likelihood loses about one part in m of the variance. Degrees of freedom are
#' Satterthwaite's, those of lmerTest; where a variance is estimated at zero they come from the
#' expected information of the variances, as Kenward and Roger's do, and so are those of the groups,
#' never those of all rows, for coefficients that the groups tell. How often such intervals hold the
#' truth: [confint()][confint.elbo_fit].
#'
#' @param x a fit, or its summary.
#' @param object a fit.
#' @param ... nothing that has an effect: what other packages' methods take, as `digits`, is
#' ignored.
#' @param ddf as in lmerTest: `"Satterthwaite"` (the default) or, of fits by `"reml"`,
#'   `"Kenward-Roger"`, whose standard errors have in them that the variances are estimated.
#' @return `print()` returns its argument invisibly. `summary()` returns a list of class
#'   `summary.elbo_fit` with the components
#' \describe{
#'   \item{`coefficients`}{numeric matrix, a row for each fixed effect: `Estimate`,
#'     `Std. Error`, `df`, `t value`, `Pr(>|t|)`; without degrees of freedom (a model without
#'     groups whose standard errors are known) `z value`, `Pr(>|z|)`.}
#'   \item{`variances`}{data frame, a row for each standard deviation, correlation and residual
#'     standard deviation: `name` (as in [theta()]), `kind`, `group`, `var1`, `var2`,
#'     `estimate`, `std.error`, `fixed`, `boundary`.}
#'   \item{`curves`}{where there are smooth terms a data frame, a row for each curve: `term`; `edf`,
#'     the effective degrees of freedom, straight line included; `most`, those of the curve without
#'     a penalty; `sd`. Otherwise `NULL`.}
#'   \item{`residuals`}{minimum, quartiles and maximum of the Pearson residuals.}
#'   \item{`information`}{named vector `logLik`, `AIC`, `BIC`; `NA` under method `"joint"`.}
#'   \item{`posterior`}{for method `"vb"` a data frame, a row for each parameter: `name`,
#'     `prior`, whether it is the `default`, and the posterior standard deviations by
#'     `linear_response` and under the `mean_field` that q is. Otherwise `NULL`.}
#'   \item{`fit`}{the fit.}
#' }
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' fit
#' summary(fit)
#' coef(summary(fit))
#' @name print.elbo_fit
NULL

#' @rdname print.elbo_fit
#' @export
print.elbo_fit <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  write_head(x)
  write_estimates(x)
  write_wrapped(objective_words(x))
  write_parts(convergence(x)$message, "elbo_trace(), plot()")
  write_wrapped(convergence(x)$verdict)
  write_notes(x)
  invisible(x)
}

# The estimates as print() shows them, and as summary() does with all that it adds to them.
write_estimates <- function(fit) UseMethod("write_estimates")

write_summary <- function(fit, summary) UseMethod("write_summary")

#' @exportS3Method
write_estimates.elbo_fit <- function(fit) writeLines(c("", table_lines(parameter_table(fit)), ""))

#' @exportS3Method
write_summary.elbo_fit <- function(fit, summary) {
  write_tests(summary$coefficients, "Coefficients:")
  others <- parameter_table(fit)[!is_coefficient(fit), ]
  if (nrow(others) > 0) writeLines(c("", "Other parameters:", table_lines(others)))
  write_posterior(summary, fit)
}

# What was stated of the parameters, or is the default.
prior_table <- function(fit) {
  stated <- priors_of(fit)$stated
  given <- lengths(stated) > 0
  data.frame(name = as.character(names(stated)[given]), prior = vapply(stated[given], format, ""),
             default = as.logical(unname(priors_of(fit)$default[given])), row.names = NULL)
}

# A row for each parameter, as text.
parameter_table <- function(fit) {
  estimate <- as.vector(theta(fit))
  se <- unname(standard_errors(fit))
  decimals <- shown_decimals(estimate, se)
  status <- ifelse(parameters_of(fit)$fixed, "held",
                   ifelse(parameters_of(fit)$boundary, "boundary", ""))
  table <- data.frame(
    Parameter = unname(parameter_labels(fit)), Estimate = decimal_text(estimate, decimals),
    "Std. Error" = decimal_text(se, decimals), Status = status, check.names = FALSE
  )
  table[c(TRUE, TRUE, TRUE, any(nzchar(status)))]
}

write_tests <- function(coefficients, heading) {
  if (nrow(coefficients) == 0) return()
  writeLines(c("", heading))
  stats::printCoefmat(coefficients, signif.stars = FALSE, cs.ind = 1:2,
                      tst.ind = ncol(coefficients) - 1, has.Pvalue = TRUE, P.values = TRUE,
                      dig.tst = 3)
}

write_posterior <- function(summary, fit) {
  if (is.null(summary$posterior)) return()
  priors <- if (!is.null(summary$posterior$prior)) "Priors, and posterior" else "Posterior"
  writeLines(c("", paste(priors, "standard deviations:"),
               table_lines(posterior_table(summary$posterior, fit))))
}

#' @rdname print.elbo_fit
#' @export
summary.elbo_fit <- function(object, ..., ddf = NULL) {
  check_dots_empty(..., .but = passed_along$summary)
  ddf <- check_ddf(ddf, "ddf")
  structure(c(
    list(coefficients = coefficient_tests(object, ddf)), summary_parts(object),
    list(information = criteria(object),
         posterior = if (method_of(object) == "vb") posterior_summary(object), fit = object)
  ), class = unique(c(paste0("summary.", setdiff(class(object), "elbo_glmm")))))
}

# What a class adds to its summary, by name.
summary_parts <- function(fit) UseMethod("summary_parts")

#' @exportS3Method
summary_parts.elbo_fit <- function(fit) list()

#' @exportS3Method
summary_parts.elbo_glmm <- function(fit) {
  variances <- variance_parameters(fit)
  variances$std.error <- unname(standard_errors(fit)[variances$name])
  order <- c("name", "kind", "group", "var1", "var2", "estimate", "std.error", "fixed",
             "boundary")
  list(variances = variances[order], curves = curve_summary(fit),
       residuals = stats::quantile(residual_rows(fit, "pearson")))
}

# Tests of what may be zero: by t where the coefficients have degrees of freedom each.
coefficient_tests <- function(fit, ddf = "Satterthwaite") {
  estimate <- coef(fit)
  attr(estimate, "fixed") <- NULL
  se <- unname(standard_errors(fit)[names(estimate)])
  df <- summary_df(fit)
  if (ddf == "Kenward-Roger") {
    free <- information_of(fit)$free_beta
    at <- kenward_roger(fit)
    se[free] <- sqrt(diag(at$adjusted))
    df[free] <- kenward_roger_df(at)
  }
  by_t <- tested_by_t(fit)
  statistic <- estimate / se
  statistic[parameters_of(fit)$role[is_coefficient(fit)] != "coefficient"] <- NA
  p <- 2 * stats::pt(abs(statistic), df, lower.tail = FALSE)
  table <- cbind(Estimate = estimate, "Std. Error" = se, df = if (by_t) df, statistic, p)
  letter <- if (by_t) "t" else "z"
  colnames(table)[ncol(table) - 1:0] <- c(paste(letter, "value"), sprintf("Pr(>|%s|)", letter))
  table
}

# Of vb: priors, and the standard deviations by linear response and under q itself.
posterior_summary <- function(fit) UseMethod("posterior_summary")

#' @exportS3Method
posterior_summary.elbo_fit <- function(fit) {
  sd <- function(type) unname(sqrt(diag(vcov(fit, full = TRUE, type = type))))
  data.frame(name = names(theta(fit)), linear_response = sd("linear_response"),
             mean_field = sd("mean_field"))
}

#' @exportS3Method
posterior_summary.elbo_glmm <- function(fit) {
  stated <- priors_of(fit)$stated
  prior <- vapply(stated, function(prior) {
    if (is.null(prior)) "by those of the sds" else format(prior)
  }, "")
  default <- unname(priors_of(fit)$default) & lengths(stated) > 0
  sds <- posterior_summary.elbo_fit(fit)
  data.frame(name = sds$name, prior = unname(prior), default = default, sds[-1])
}

#' @rdname print.elbo_fit
#' @export
print.summary.elbo_fit <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  fit <- x$fit
  write_head(fit)
  write_summary(fit, x)
  writeLines("")
  write_wrapped(objective_words(fit))
  writeLines(information_words(x))
  words <- summary_words(fit, x)
  write_wrapped(words$answer)
  write_wrapped(convergence(fit)$message)
  write_wrapped(convergence(fit)$verdict)
  for (sentences in words$search) write_wrapped(sentences)
  write_notes(fit)
  invisible(x)
}

# Sentences that a class adds to its summary: on the answer, and on the search for it.
summary_words <- function(fit, summary) UseMethod("summary_words")

#' @exportS3Method
summary_words.elbo_fit <- function(fit, summary) list(answer = character(), search = list())

# ---- of mixed models ---------------------------------------------------------------------

# Coefficients, and the variance parameters to the right of them where there is room.
#' @exportS3Method
write_estimates.elbo_glmm <- function(fit) {
  left <- coefficient_text(fit)
  right <- variance_text(fit)
  header <- if (length(left) > 0 && length(right) > 0) ""
  lines <- beside(left, c(header, right), strrep(" ", 6))
  writeLines(if (max(nchar(lines), 0) > getOption("width")) c(left, right) else lines)
  writeLines(own_text(fit))
  for (words in curve_words(fit)) write_wrapped(words)
}

#' @exportS3Method
write_summary.elbo_glmm <- function(fit, summary) {
  writeLines(group_size_words(fit))
  write_tests(summary$coefficients, sprintf("Fixed effects (%s):", if (tested_by_t(fit)) {
    "t with Satterthwaite df"
  } else "z tests"))
  if (nrow(summary$variances) > 0) {
    writeLines(c("", "Standard deviations and correlations:",
                 table_lines(variance_table(summary$variances))))
  }
  writeLines(own_text(fit))
  if (!is.null(summary$curves)) {
    writeLines(c("", "Curves, in effective degrees of freedom (1: a straight line):",
                 table_lines(curve_table(summary$curves))))
  }
  write_posterior(summary, fit)
  writeLines(c("", "Residuals / their standard deviation:"))
  print(unlist(residual_table(summary$residuals)), quote = FALSE)
}

# ---- pieces ------------------------------------------------------------------------------

write_head <- function(fit) {
  write_parts(estimator_name(fit), method_words(fit))
  write_wrapped(paste0(model_words(fit), ": ", size_words(fit)))
}

# The formula, or the call of a model that has none.
model_words <- function(fit) UseMethod("model_words")

#' @exportS3Method
model_words.elbo_fit <- function(fit) {
  formula <- formula(fit)
  if (is.null(formula)) call_text(call_of(fit)) else deparse_line(formula)
}

# A call in one line; of functions written into it the head alone.
call_text <- function(call) {
  of <- function(x) {
    if (!is.call(x) || !identical(x[[1]], quote(`function`))) return(deparse_line(x))
    sprintf("function(%s) ...", paste(names(x[[2]]), collapse = ", "))
  }
  values <- vapply(as.list(call)[-1], of, "")
  named <- nzchar(names(values))
  values[named] <- paste(names(values)[named], "=", values[named])
  sprintf("%s(%s)", deparse_line(call[[1]]), paste(values, collapse = ", "))
}

#' @exportS3Method
model_words.elbo_general <- function(fit) {
  sprintf("%s, %s(%s)", NextMethod(), family(fit)$family, family(fit)$link)
}

write_notes <- function(fit) {
  for (note in notes(fit)) write_wrapped(note)
}

# ---- the words ---------------------------------------------------------------------------

# What the estimator is called, and what q integrates. Constants do not change its name.
estimator_name <- function(fit) UseMethod("estimator_name")

#' @exportS3Method
estimator_name.elbo_fit <- function(fit) {
  if (method_of(fit) == "vb") return("Variational Bayes")
  if (!has_latent(fit) && method_of(fit) != "reml" && !informed(fit)) return("Maximum likelihood")
  name <- switch(method_of(fit), em = "Marginal", reml = "Restricted", joint = "Joint")
  if (informed(fit)) paste(name, "maximum a posteriori") else paste(name, "maximum likelihood")
}

integrated_words <- function(fit) UseMethod("integrated_words")

#' @exportS3Method
integrated_words.elbo_fit <- function(fit) {
  switch(method_of(fit),
    em = "z integrated, theta a point",
    reml = "z and coefficients integrated, other parameters points",
    joint = "z and theta points, nothing integrated",
    vb = "everything integrated, by the best q of its family"
  )
}

#' @exportS3Method
integrated_words.elbo_glmm <- function(fit) {
  if (has_latent(fit)) {
    switch(method_of(fit),
      em = "z integrated exactly, theta a point",
      reml = "z and beta integrated exactly, variances points",
      joint = "z and theta points, nothing integrated",
      vb = switch(factorization_of(fit),
        structured = "everything integrated, q(z, beta) apart from q of the variances",
        mean_field = "everything integrated, all factors of q apart",
        by_factor = "everything integrated, q(beta) and the q(z) of each factor apart"
      )
    )
  } else {
    switch(method_of(fit),
      reml = "beta integrated exactly, sigma a point",
      vb = "everything integrated, q(beta) apart from q of sigma",
      "theta a point"
    )
  }
}

method_words <- function(fit) UseMethod("method_words")

#' @exportS3Method
method_words.elbo_fit <- function(fit) {
  sprintf("(method \"%s\": %s)", method_of(fit), integrated_words(fit))
}

#' @exportS3Method
method_words.elbo_glmm <- function(fit) {
  sprintf("(method \"%s\": %s%s)", method_of(fit), integrated_words(fit),
          if (method_of(fit) == "em") "; not REML" else "")
}

size_words <- function(fit) UseMethod("size_words")

#' @exportS3Method
size_words.elbo_fit <- function(fit) count_words(nobs(fit), counted_noun(fit))

#' @exportS3Method
size_words.elbo_glmm <- function(fit) {
  design <- design_of(fit)
  paste(c(
    count_words(nobs(fit), "row"),
    unlist(Map(function(group, name) count_words(nlevels(group), name), design$groups,
               names(design$groups)), use.names = FALSE),
    if (design$known_se) "standard errors known"
  ), collapse = ", ")
}

# "27 Subjects", "7 countries", "30 levels of batch:cask".
count_words <- function(n, noun) {
  count <- count_text(n)
  if (!grepl("^[[:alpha:]][[:alnum:]._ ]*[[:alpha:]]$", noun)) {
    return(paste(count, if (n == 1) "level of" else "levels of", noun))
  }
  if (n == 1) return(paste(count, noun))
  paste(count, if (grepl("[^aeiou]y$", noun)) {
    sub("y$", "ies", noun)
  } else if (grepl("(s|x|z|ch|sh)$", noun)) {
    paste0(noun, "es")
  } else {
    paste0(noun, "s")
  })
}

group_size_words <- function(fit) {
  groups <- design_of(fit)$groups
  if (length(groups) == 0) return(character())
  sizes <- lapply(groups, function(group) unique(range(tabulate(group))))
  sprintf("rows in each %s: %s", names(groups), vapply(sizes, paste, "", collapse = " to "))
}

objective_words <- function(fit) UseMethod("objective_words")

#' @exportS3Method
objective_words.elbo_fit <- function(fit) {
  elbo <- fixed_text(objective_of(fit), 1)
  if (method_of(fit) == "joint") {
    return(sprintf("log p(y, z | theta) %s is the ELBO of points: no log-likelihood", elbo))
  }
  if (method_of(fit) == "vb") {
    improper <- improper_parameters(fit)
    if (length(improper) > 0) {
      return(sprintf(paste("ELBO %s, known up to a constant since %s under a flat prior, which is",
                           "no distribution: it does not compare with that of other models"), elbo,
                     paste(enumerate(improper, 3), if (length(improper) > 1) "are" else "is")))
    }
    return(sprintf("ELBO %s, a lower bound of the log evidence: no log-likelihood", elbo))
  }
  log_prior <- objective_of(fit) - log_evidence_of(fit)
  sprintf("%slog-likelihood %s%s = ELBO %s + KL %s",
          if (method_of(fit) == "reml") "restricted " else "", fixed_text(log_evidence_of(fit), 1),
          if (informed(fit)) paste(" + log prior", fixed_text(log_prior, 1)) else "", elbo,
          fixed_text(max(utils::tail(trace_of(fit)$kl, 1), 0), 1))
}

# "AIC 451.2, BIC 467.3 with 6 free parameters"
information_words <- function(summary) {
  criteria <- summary$information[names(summary$information) != "logLik"]
  if (anyNA(criteria)) return(character())
  sprintf("%s with %s", paste(names(criteria), fixed_text(criteria, 1), collapse = ", "),
          count_words(n_free(summary$fit), "free parameter"))
}

# Priors of points, other than constants and flat ones.
informed <- function(fit) UseMethod("informed")

#' @exportS3Method
informed.elbo_fit <- function(fit) {
  says <- function(prior) !is.null(prior) && !prior$distribution %in% c("constant", "flat")
  method_of(fit) != "vb" && any(vapply(priors_of(fit)$stated, says, NA))
}

# Sentences that a reader must see, most fits having none.
notes <- function(fit) UseMethod("notes")

#' @exportS3Method
notes.elbo_fit <- function(fit) c(prior_words(fit), constant_words(fit), end_words(fit))

#' @exportS3Method
notes.elbo_glmm <- function(fit) {
  c(prior_words(fit), held_words(fit), boundary_words(fit), lost_df_words(fit),
    dropped_words(fit), few_groups_words(fit))
}

# Coefficients that fit whatever the levels of a random term would show.
lost_df_words <- function(fit) {
  if (!is_gaussian(fit) || !method_of(fit) %in% c("em", "reml") || !has_singular_law(fit)) return()
  fixed <- parameters_of(fit)$name[parameters_of(fit)$fixed]
  lost <- setdiff(names(coef(fit))[is.na(summary_df(fit))], fixed)
  if (length(lost) == 0) return()
  sprintf(paste("%s %s no degrees of freedom: fixed effects fit all that the levels of a random",
                "term at zero could show. Drop that term, or the fixed effects that reach it."),
          enumerate(lost, 6), if (length(lost) == 1) "has" else "have")
}

prior_words <- function(fit) {
  if (!informed(fit)) return()
  stated <- priors_of(fit)$stated[lengths(priors_of(fit)$stated) > 0]
  labels <- parameter_labels(fit)
  names <- ifelse(names(stated) %in% names(labels), labels[names(stated)], names(stated))
  sprintf("Priors: %s.", paste(names, "~", vapply(stated, format, ""), collapse = "; "))
}

constant_words <- function(fit, held = parameters_of(fit)$fixed) {
  if (!any(held)) return()
  values <- paste(parameter_labels(fit), "=", signif_text(theta(fit), 4))[held]
  if (length(values) > 8) values <- c(values[1:8], paste(length(values) - 8, "more"))
  sprintf("Held constant: %s.", paste(values, collapse = "; "))
}

end_words <- function(fit, remedy = "") {
  at_end <- parameters_of(fit)$name[parameters_of(fit)$boundary]
  if (length(at_end) == 0) return()
  one <- length(at_end) == 1
  sprintf("On the boundary of %s range: %s. The fit is complete; %s standard error is undefined%s.",
          if (one) "its" else "their", enumerate(at_end, 6), if (one) "its" else "their", remedy)
}

held_words <- function(fit) {
  held <- theta(fit)[parameters_of(fit)$fixed]
  no_law <- is.infinite(held)
  labels <- unname(parameter_labels(fit)[names(held)])
  values <- paste(labels, "=", signif_text(held, 6))[!no_law]
  terms <- with(parameters_of(fit)[parameters_of(fit)$fixed, ], paste(term1, "|", group))[no_law]
  c(
    if (length(values) > 0) sprintf("Held constant: %s.", paste(values, collapse = "; ")),
    if (length(terms) > 0) {
      sprintf("No law for the latent variables %s: they are %s.", toString(terms),
              if (method_of(fit) == "joint") "free points" else "integrated by Lebesgue measure")
    }
  )
}

boundary_words <- function(fit) {
  variances <- variance_parameters(fit)
  variances <- variances[variances$boundary & !is.na(variances$estimate), ]
  sds <- variances[variances$kind == "sd", ]
  smooth <- variances[variances$kind == "smooth", ]
  cors <- variances[variances$kind %in% c("cor", "rho"), ]
  singular <- if (!any(variances$kind != "smooth")) singular_blocks(fit)
  remedy <- "use anova(), or confint(type = \"profile\")."
  c(
    sprintf(paste("sd of %s | %s is 0: on the boundary of its range. The fit is complete; the",
                  "data show no variation in it between the levels of %s, which is not to say",
                  "that there is none: latent(), predict() and the df allow for some. Its",
                  "standard error is undefined: %s"), sds$var1, sds$group, sds$group, remedy),
    if (any(parameters_of(fit)$boundary[parameters_of(fit)$block == "size"])) {
      paste("size is as good as infinite: on the boundary of its range. The counts vary no more",
            "than Poisson ones, of which update(fit, family = poisson()) is the model.")
    },
    sprintf(paste("sd of %s is 0: on the boundary of its range. The fit is complete; the data",
                  "show no curvature, and the curve is a straight line. Its standard error is",
                  "undefined: %s"), smooth$var1, remedy),
    sprintf(paste("cor of %s and %s | %s is %.0f: on the boundary of its range. The fit is",
                  "complete; the two vary in strict proportion. Its standard error is",
                  "undefined: %s"), cors$var1, cors$var2, cors$group, cors$estimate, remedy),
    sprintf(paste("The covariance of %s is singular: on the boundary of its range. The",
                  "fit is complete; a combination of these terms does not vary. To test",
                  "or simplify, %s"), singular, rep_len(remedy, length(singular)))
  )
}

# Blocks whose correlation matrix has lost rank, though no sd is 0 and no correlation 1.
singular_blocks <- function(fit) {
  blocks <- unique(column_blocks(design_of(fit))[!is.infinite(term_sds(fit))])
  unlist(lapply(blocks, function(block) {
    correlation <- attr(block_covariance(fit, block), "correlation")
    smallest <- min(eigen(correlation, symmetric = TRUE, only.values = TRUE)$values)
    if (smallest < 1e-10) {
      group <- column_groups(design_of(fit))[column_blocks(design_of(fit)) == block][1]
      paste(toString(colnames(correlation)), "|", group)
    }
  }))
}

dropped_words <- function(fit) {
  rows <- length(attr(frame_of(fit), "na.action"))
  columns <- design_of(fit)$aliased
  c(
    if (length(columns) > 0) {
      sprintf("Dropped, not identified beside the others: %s.", toString(columns))
    },
    if (rows > 0) sprintf("%s dropped: missing values.", count_words(rows, "row"))
  )
}

few_groups <- 10L

few_groups_words <- function(fit) {
  groups <- vapply(design_of(fit)$groups, nlevels, 0L)
  few <- groups[groups < few_groups]
  if (length(few) == 0 || !any(free_sds(fit))) return(NULL)
  if (method_of(fit) == "vb") return(NULL) # the verdict on linear response says it
  paste0("Only ", paste(count_words_each(few), collapse = ", "), ": ",
         if (method_of(fit) != "em") "the sds between them are poorly known. "
         else if (!is_gaussian(fit)) "variances are then too small, and standard errors with them. "
         else paste("variances by \"em\" are then too small, and standard errors with them;",
                    "update(fit, method = \"reml\") corrects it. "),
         "See confint(type = \"profile\") and bootstrap().")
}

count_words_each <- function(counts) {
  unlist(Map(count_words, unname(counts), names(counts)), use.names = FALSE)
}

free_sds <- function(fit) parameters_of(fit)$block == "sd" & !parameters_of(fit)$fixed

# ---- the tables --------------------------------------------------------------------------

# Lines of text: name, estimate, standard error, degrees of freedom.
coefficient_text <- function(fit) {
  estimate <- coef(fit)
  if (length(estimate) == 0) return(character())
  se <- standard_errors(fit)[names(estimate)]
  decimals <- shown_decimals(estimate, se)
  table_lines(c(
    list(names(estimate), Estimate = decimal_text(estimate, decimals),
         SE = decimal_text(se, decimals)), if (tested_by_t(fit)) list(df = df_text(fit_df(fit)))
  ))
}

# Lines of text: the sds in a first column, correlations and sigmas in a second one.
variance_text <- function(fit) {
  variances <- variance_parameters(fit)
  if (nrow(variances) == 0) return(character())
  decimals <- shown_decimals(variances$estimate, standard_errors(fit)[variances$name])
  is_sd <- variances$kind %in% c("sd", "smooth")
  is_cor <- variances$kind %in% c("cor", "rho")
  named <- if (is_crossed(design_of(fit))) variance_labels else variance_label
  label <- named(variances)
  alone <- sum(is_cor) == 1 && !is_crossed(design_of(fit))
  if (alone) label[is_cor] <- variances$kind[is_cor]
  column <- function(rows) {
    if (!any(rows)) return(character())
    value <- decimal_text(variances$estimate[rows], decimals[rows])
    table_lines(list(label[rows], paste0(value, ifelse(variances$fixed[rows], " (held)", ""))))
  }
  beside(column(is_sd), column(!is_sd), "   ")
}

# Lines of text: thresholds, or the size, of a law that has them.
own_text <- function(fit) {
  rows <- which(parameters_of(fit)$block %in% own_blocks)
  if (length(rows) == 0) return(character())
  estimate <- as.vector(theta(fit))[rows]
  se <- unname(standard_errors(fit))[rows]
  decimals <- shown_decimals(estimate, se)
  c("", table_lines(list(unname(parameter_labels(fit)[rows]),
                         Estimate = decimal_text(estimate, decimals),
                         SE = decimal_text(se, decimals))))
}

df_text <- function(df) decimal_text(df, ifelse(is.na(df) | df < 1000, 1, 0))

# The columns of a printed table, as text: of the fixed effects, of the variance parameters.
coefficient_table <- function(coefficients) {
  decimals <- shown_decimals(coefficients[, "Estimate"], coefficients[, "Std. Error"])
  by_t <- "df" %in% colnames(coefficients)
  table <- data.frame(
    Coefficient = as.character(rownames(coefficients)),
    Estimate = decimal_text(coefficients[, "Estimate"], decimals),
    "Std. Error" = decimal_text(coefficients[, "Std. Error"], decimals), check.names = FALSE
  )
  if (by_t) table$df <- df_text(coefficients[, "df"])
  statistic <- ncol(coefficients) - 1
  table[[if (by_t) "t" else "z"]] <- fixed_text(coefficients[, statistic], 2)
  table$p <- format.pval(coefficients[, statistic + 1], digits = 2, eps = 1e-4)
  table
}

variance_table <- function(variances) {
  status <- ifelse(variances$fixed, "held", ifelse(variances$boundary, "boundary", ""))
  decimals <- shown_decimals(variances$estimate, variances$std.error)
  table <- data.frame(
    Parameter = variance_labels(variances),
    Estimate = decimal_text(variances$estimate, decimals),
    "Std. Error" = decimal_text(variances$std.error, decimals),
    Status = status, check.names = FALSE
  )
  table[c(TRUE, TRUE, TRUE, any(nzchar(status)))]
}

posterior_table <- function(posterior, fit) {
  decimals <- shown_decimals(posterior$linear_response, posterior$linear_response)
  table <- data.frame(
    Parameter = unname(parameter_labels(fit)[posterior$name]),
    Prior = if (!is.null(posterior$prior)) {
      paste0(posterior$prior, ifelse(posterior$default, " (default)", ""))
    } else "",
    "Linear response" = decimal_text(posterior$linear_response, decimals),
    "Mean field" = decimal_text(posterior$mean_field, decimals), check.names = FALSE
  )
  if (is.null(posterior$prior)) table[-2] else table
}

residual_table <- function(residuals) {
  text <- stats::setNames(fixed_text(residuals, 2), c("min", "25 %", "median", "75 %", "max"))
  data.frame(as.list(text), check.names = FALSE)
}
