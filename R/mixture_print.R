# What a mixture says of itself in print() and summary() (R/print.R): its components as a table, and
# why to believe them.

#' Print and summarise a mixture
#'
#' `print()` states the estimator in words, the components as the columns of a table, largest weight
#' first, with standard errors in brackets, and why one may believe them. `summary()` adds the
#' correlations, tests of regression coefficients, how clearly the units are classified, how many
#' starts led to the same answer, and the candidates that were not chosen.
#'
#' Both say what a reader must know: parameters that were held or lie on the boundary of their
#' range, components that method `"vb"` has emptied (less than half a unit belongs to them; their
#' parameters are those of the prior, and the table leaves them out), and weights so near each
#' other that the order of their components, and so their labels, depend on luck.
#'
#' @return `print()` returns its argument invisibly. `summary()` returns a list of class
#'   `summary.elbo_mixture` with the components
#' \describe{
#'   \item{`coefficients`}{numeric matrix, a row for each entry of `coef(object)`: `Estimate`,
#'     `Std. Error`, and for coefficients of regressions and of membership `z value` and
#'     `Pr(>|z|)`, else `NA`.}
#'   \item{`parameters`}{data frame, a row for each entry of [theta()]: `name`, `block`,
#'     `component`, `estimate`, `std.error`, `fixed`, `boundary`.}
#'   \item{`classification`}{named vector: `entropy`, \eqn{-\sum_{ij} r_{ij}\log
#'     r_{ij}}{-sum r log r}; `relative`, that over its maximum \eqn{n\log k}{n log k}; `certain`,
#'     the share of units whose component has a probability above 0.9.}
#'   \item{`size`}{the expected number of units in each component.}
#'   \item{`information`}{named vector of `logLik`, `AIC`, `BIC`, `ICL`; `NA` where there is no
#'     likelihood.}
#'   \item{`priors`}{data frame of the priors stated, and for method `"vb"` of the defaults: `name`,
#'     `prior`, `default` (whether it was chosen by the package).}
#'   \item{`posterior`}{method `"vb"`: data frame, a row for each parameter: `name` and the
#'     posterior standard deviations `linear_response` and `mean_field`. Otherwise `NULL`.}
#'   \item{`fit`}{the fit.}
#' }
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
#' fit
#' summary(fit)
#' @name print.elbo_mixture
NULL

#' @exportS3Method
write_estimates.elbo_mixture <- function(fit) {
  write_wrapped(law_of(fit)$sentence(fit))
  writeLines(c("", sprintf("Components (%s):", error_words(fit))))
  write_components(fit, setdiff(component_blocks, "cor"))
  writeLines("")
}

#' @exportS3Method
summary_parts.elbo_mixture <- function(fit) {
  parameters <- parameters_of(fit)
  list(
    parameters = data.frame(
      parameters[c("name", "block", "component")], estimate = as.vector(theta(fit)),
      std.error = unname(standard_errors(fit)), parameters[c("fixed", "boundary")]
    ),
    classification = classification(fit), size = component_size(fit), priors = prior_table(fit)
  )
}

#' @exportS3Method
write_summary.elbo_mixture <- function(fit, summary) {
  write_wrapped(law_of(fit)$sentence(fit))
  writeLines(c("", sprintf("Components (%s):", error_words(fit))))
  correlations <- parameters_of(fit)$block == "cor" & !is_shape(parameters_of(fit))
  many <- sum(correlations) > most_correlations * n_components(fit)
  write_components(fit, if (many) setdiff(component_blocks, "cor") else component_blocks)
  if (many) write_wrapped("The correlations are many: see components().")
  tested <- !is.na(summary$coefficients[, "z value"])
  write_tests(summary$coefficients[tested, , drop = FALSE], "Coefficients, by component:")
  if (nrow(summary$priors) > 0) {
    lines <- paste0(summary$priors$name, " ~ ", summary$priors$prior,
                    ifelse(summary$priors$default, " (default)", ""))
    writeLines(c("", "Priors:", strwrap(lines, getOption("width") + 1, indent = 2, exdent = 6)))
  }
  if (!is.null(summary$posterior)) {
    same <- law_of(fit)$shared_scales(fit)
    shown <- parameters_of(fit)$component %in% c(NA, occupied(fit)) & !parameters_of(fit)$fixed &
      (is.na(same) | !duplicated(same))
    writeLines(c("", "Posterior standard deviations:",
                 table_lines(posterior_sd_table(summary$posterior[shown, ]))))
  }
}

#' @exportS3Method
summary_words.elbo_mixture <- function(fit, summary) {
  list(answer = classification_words(summary$classification, fit),
       search = list(start_words(fit), selection_words(fit)))
}

most_correlations <- 45L # of a component, in summary(): those of ten responses

posterior_sd_table <- function(posterior) {
  decimals <- shown_decimals(posterior$linear_response, posterior$linear_response)
  data.frame(Parameter = posterior$name,
             "Linear response" = decimal_text(posterior$linear_response, decimals),
             "Mean field" = decimal_text(posterior$mean_field, decimals), check.names = FALSE)
}

# ---- the words ---------------------------------------------------------------------------

#' @exportS3Method
integrated_words.elbo_mixture <- function(fit) {
  switch(method_of(fit),
    em = if (!has_latent(fit)) "theta a point"
         else if (is_bound(fit))
           "z and curves integrated, q(z) apart from q of the curves, theta a point"
         else "z integrated exactly, theta a point",
    joint = if (law_of(fit)$has_deviations) "deviations integrated, z and theta points"
            else "z and theta points, nothing integrated",
    vb = "everything integrated, q(z) apart from q of the parameters"
  )
}

#' @exportS3Method
size_words.elbo_mixture <- function(fit) {
  design <- design_of(fit)
  copies <- nobs(fit) != design$n_unit
  paste(c(
    count_words(design$n_row, "row"),
    if (!is.null(design$first)) count_words(design$n_unit, "unit"),
    if (copies) sprintf("for %s", count_words(nobs(fit), "unit")),
    count_words(n_components(fit), "component")
  ), collapse = ", ")
}

error_words <- function(fit) {
  if (!errors_at_hand(fit)) return("estimates; standard errors, which take long here, in summary()")
  if (method_of(fit) == "vb") "posterior means, and standard deviations by linear response"
  else "estimates, and standard errors in brackets"
}

#' @exportS3Method
objective_words.elbo_mixture <- function(fit) {
  words <- objective_words.elbo_fit(fit)
  if (is_bound(fit)) return(bound_words(fit))
  if (method_of(fit) != "joint") return(words)
  sub("no log-likelihood", "a classification likelihood, no log-likelihood", words)
}

# The components' curves are latent, and given the responses they and the components of units depend
# on each other, which q leaves out.
is_bound <- function(fit) {
  method_of(fit) == "em" && law_of(fit)$has_vectors(design_of(fit)) && n_components(fit) > 1
}

bound_words <- function(fit) {
  log_prior <- objective_of(fit) - log_evidence_of(fit)
  sprintf("log-likelihood at least %s%s = ELBO %s, in which q takes %s for independent",
          fixed_text(log_evidence_of(fit), 1),
          if (informed(fit)) paste(" + log prior", fixed_text(log_prior, 1)) else "",
          fixed_text(objective_of(fit), 1), "the curves and the components of units")
}

# The information takes two passes over the data for each parameter: for print() not more than some
# seconds.
errors_at_hand <- function(fit) {
  !is.null(cache_of(fit)$information) || design_of(fit)$n_row * length(theta(fit))^2 < 2e9
}

shown_errors <- function(fit) {
  if (errors_at_hand(fit)) standard_errors(fit) else NA * theta(fit)
}

classification <- function(fit) {
  probability <- unit_probability(fit)
  freq <- unit_freq(fit)
  entropy <- -sum(freq * rowSums(ifelse(probability > 0, probability * log(probability), 0)))
  largest <- apply(probability, 1, max)
  c(entropy = entropy,
    relative = if (n_components(fit) > 1) entropy / (nobs(fit) * log(n_components(fit))) else 0,
    certain = sum(freq[largest > 0.9]) / nobs(fit))
}

classification_words <- function(classification, fit) {
  if (n_components(fit) == 1 || method_of(fit) == "joint") return(character())
  sprintf(paste("Classification: entropy %s, %s of the most there can be; %.0f %% of the units",
                "have a component of probability above 0.9."),
          fixed_text(classification[["entropy"]], 1),
          paste(signif(100 * classification[["relative"]], 2), "%"),
          100 * classification[["certain"]])
}

#' @exportS3Method
criteria.elbo_mixture <- function(fit) {
  criteria <- criteria.elbo_fit(fit)
  c(criteria, ICL = criteria[["BIC"]] + 2 * classification(fit)[["entropy"]])
}

component_size <- function(fit) {
  stats::setNames(colSums(unit_freq(fit) * unit_probability(fit)), component_labels(fit))
}

# Several runs that end at the same objective are no proof, but one alone is a warning.
start_words <- function(fit) {
  starts <- starts_of(fit)
  if (NROW(starts) < 2) return(character())
  climbed <- starts$objective[starts$status == "climbed"]
  if (any(starts$status == "moved")) {
    return(c(sprintf("Best found by splitting and merging components of the best of %d starts.",
                     sum(!starts$status %in% c("moved", "fuller"))),
             disagreement_words(climbed)))
  }
  best <- sum(max(climbed) - climbed < same_objective)
  collapsed <- sum(starts$status == "collapsed")
  c(sprintf("Best found in %d of the %d starts climbed to the end, the most promising of %d%s.",
            best, length(climbed), nrow(starts),
            if (collapsed > 0) sprintf(" (%d collapsed)", collapsed) else ""),
    if (best == 1) "A better one may exist: raise `n_starts` in elbo_control().")
}

same_objective <- 0.01

# Moves from different optima need not lead to the same one.
disagreement_words <- function(climbed) {
  if (length(climbed) < 2 || diff(range(climbed)) < same_objective) return()
  sprintf("The %d starts climbed to the end differ, from %s to %s: another seed may end elsewhere.",
          length(climbed), fixed_text(min(climbed), 1), fixed_text(max(climbed), 1))
}

selection_words <- function(fit) {
  table <- candidates_of(fit)
  if (NROW(table) < 2) return(character())
  chosen <- chosen_row(fit)
  name <- criterion_name(fit)
  better <- order(if (name == "ELBO") -table$criterion else table$criterion)
  next_best <- setdiff(better[!is.na(table$criterion[better])], chosen)[1]
  c(sprintf("Chosen by %s among %d candidates: %s.", name, nrow(table),
            candidate_name(table[chosen, ])),
    if (!is.na(next_best)) {
      sprintf("The next is %s, %s %s away. See selection().", candidate_name(table[next_best, ]),
              name, fixed_text(abs(table$criterion[next_best] - table$criterion[chosen]), 1))
    })
}

#' @exportS3Method
notes.elbo_mixture <- function(fit) {
  c(prior_words(fit), constant_words(fit, worth_words(fit)), joint_words(fit), empty_words(fit),
    spurious_words(fit), tie_words(fit), membership_sentence(fit), law_of(fit)$notes(fit),
    end_words(fit, ": use bootstrap()"), unknown_words(fit), missing_words(fit),
    left_out_words(fit))
}

# Correlations that a diagonal covariance model does not have are not worth a word.
worth_words <- function(fit) {
  held <- parameters_of(fit)$fixed & parameters_of(fit)$block != "cor"
  held & !(n_components(fit) == 1 & parameters_of(fit)$block == "weight")
}

joint_words <- function(fit) {
  if (method_of(fit) != "joint" || n_components(fit) == 1) return()
  held <- parameters_of(fit)$fixed[parameters_of(fit)$block == "weight"]
  equal <- all(held) && length(held) > 0 &&
    all(abs(theta(fit)[seq_len(n_components(fit))] * n_components(fit) - 1) < 1e-12)
  kmeans <- equal && law_of(fit)$is_kmeans(fit)
  paste("Every unit is given to one component, as if that were known: classification EM",
        if (kmeans) "with equal weights and spheres, which is k-means." else
          "(with equal weights and spheres it would be k-means).",
        "Components that overlap come out too far apart and too narrow, however many the units;",
        "update(fit, method = \"em\") integrates over the components instead.")
}

spurious_words <- function(fit) {
  which <- spurious_components(fit_model(fit), fit)
  if (length(which) == 0) return()
  one <- length(which) == 1
  sprintf(paste("%s %s on %s units and far narrower than the others: units that happen to be close",
                "make such maxima of the likelihood. Look at fewer components, or at a",
                "common variance."),
          paste(if (one) "Component" else "Components", enumerate(which, 6)),
          if (one) "is" else "are",
          enumerate(signif_text(size_of(fit)[which], 2), 6))
}

# Neighbours whose weights differ by less than the standard error of the difference.
tie_words <- function(fit) {
  rows <- which(parameters_of(fit)$block == "weight")
  if (length(rows) < 2 || any(parameters_of(fit)$fixed[rows]) || !errors_at_hand(fit)) return()
  weight <- theta(fit)[rows]
  information <- mixture_information(fit)
  V <- transform_covariance(information$jacobian[rows, , drop = FALSE], information$eta_cov)
  shown <- occupied(fit)
  first <- shown[-length(shown)]
  difference <- weight[first] - weight[first + 1]
  variance <- diag(V)[first] + diag(V)[first + 1] - 2 * V[cbind(first, first + 1)]
  tied <- first[which(difference^2 < variance)]
  if (length(tied) == 0) return()
  pairs <- enumerate(sprintf("%d and %d", tied, tied + 1), 5)
  pairs <- gsub(" and ([0-9]+) and ", " and \\1, and ", pairs)
  sprintf(paste("The weights of components %s differ by less than a standard error: their order,",
                "and so these labels, depend on luck."), pairs)
}

unknown_words <- function(fit) {
  if (!errors_at_hand(fit)) return()
  if (!isTRUE(mixture_information(fit)$status != 0)) return(ridge_words(fit))
  paste("There are no standard errors: the objective has no second derivative where the ascent",
        "ended. Look at convergence(), or use bootstrap().")
}

# The likelihood is the same, to all that its second derivatives show, along a line through the
# estimates.
ridge_words <- function(fit) {
  names <- ridge_parameters(fit)
  if (length(names) == 0) return()
  c(law_of(fit)$ridge_notes(fit),
    sprintf(paste("Not identified: along a ridge of %s the likelihood is the same, so that",
                  "the estimates are one of many, without standard errors."), enumerate(names, 6)))
}

left_out_words <- function(fit) {
  rows <- length(design_of(fit)$na.action)
  aliased <- design_of(fit)$aliased
  c(if (length(aliased) > 0) {
      sprintf("Dropped, not identified beside the others: %s.", toString(aliased))
    },
    if (rows > 0) {
      sprintf("%s left out: missing values, no response at all, or no copies.",
              count_words(rows, "row"))
    })
}

missing_words <- function(fit) {
  if (law_of(fit)$by_row) return()
  rows <- sum(rowSums(is.na(design_of(fit)$Y)) > 0)
  if (rows == 0) return()
  sprintf("%s with missing responses, which are integrated out.", count_words(rows, "row"))
}

# ---- the table ---------------------------------------------------------------------------

component_blocks <- c("weight", "membership", "mean", "beta", "smooth", "prob", "sd", "sigma",
                      "cor")

# A row for each term, a column of text for each component; then what is common to all.
write_components <- function(fit, blocks) {
  table <- component_table(fit, blocks)
  print_columns(table$terms, table$columns)
  common <- which(is.na(parameters_of(fit)$component))
  estimate <- theta(fit)[common]
  se <- shown_errors(fit)[common]
  held <- parameters_of(fit)$fixed[common]
  labels <- parameter_labels(fit)[common]
  for (i in seq_along(common)) {
    text <- trimws(estimate_and_error(estimate[[i]], se[[i]], held[i]))
    writeLines(sprintf("%s %s, the same in all components", labels[i], text))
  }
}

component_table <- function(fit, blocks) {
  parameters <- parameters_of(fit)
  parameters$term <- term_names(parameters)
  parameters$label <- term_labels(parameters)
  shown <- parameters$block %in% blocks & !is.na(parameters$component) & !is_shape(parameters)
  order <- order(match(parameters$block, blocks))
  terms <- unique(parameters[order, ][shown[order], c("block", "term", "label")])
  estimate <- as.vector(theta(fit))
  at_end <- parameters$boundary
  shares <- at_end & parameters$block %in% c("weight", "prob", "cor")
  estimate[shares] <- round(estimate[shares])
  se <- unname(shown_errors(fit))
  edf <- law_of(fit)$extra_rows(fit)
  columns <- lapply(occupied(fit), function(j) {
    row <- match(paste(terms$block, terms$term, j),
                 paste(parameters$block, parameters$term, parameters$component))
    present <- which(!is.na(row)) # the first component has no coefficients of membership
    at <- row[present]
    text <- estimate_and_error(c(estimate[at], edf[j, ]), c(se[at], NA * edf[j, ]),
                               c(parameters$fixed[at], logical(ncol(edf))))
    c(replace(character(length(row)), present, text[seq_along(at)]), text[-seq_along(at)])
  })
  labels <- c(terms$label, paste("edf", colnames(edf), recycle0 = TRUE))
  if (!is.null(design_of(fit)$W)) {
    columns <- Map(c, fixed_text(components(fit)$weight[occupied(fit)], 3), columns)
    labels <- c("mean weight", labels)
  }
  names(columns) <- occupied(fit)
  list(terms = labels, columns = columns)
}

# Correlations that the covariance model does not have.
is_shape <- function(parameters) parameters$block == "cor" & parameters$fixed
