# What a mixture says of itself: the estimator in words, its components as a table, why to believe
# them. The order and the pieces are those of R/print.R.

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
#' @param x a fit, or its summary.
#' @param object a fit made by [fit_mixture()].
#' @param ... not used.
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

#' @rdname print.elbo_mixture
#' @export
print.elbo_mixture <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  write_head(x)
  write_wrapped(law_of(x)$sentence(x))
  writeLines(c("", sprintf("Components (%s):", error_words(x))))
  write_components(x, setdiff(component_blocks, "cor"))
  writeLines("")
  write_wrapped(objective_words(x))
  write_parts(convergence(x)$message, "elbo_trace(), plot()")
  write_wrapped(convergence(x)$verdict)
  write_notes(x)
  invisible(x)
}

#' @rdname print.elbo_mixture
#' @export
summary.elbo_mixture <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$summary)
  se <- standard_errors(object)
  estimate <- coef(object)
  attr(estimate, "fixed") <- NULL
  z <- estimate / se[names(estimate)]
  block <- parameters_of(object)$block[match(names(estimate), parameters_of(object)$name)]
  z[!block %in% c("beta", "membership")] <- NA
  coefficients <- cbind(Estimate = estimate, "Std. Error" = se[names(estimate)], "z value" = z,
                        "Pr(>|z|)" = 2 * stats::pnorm(-abs(z)))
  structure(list(
    coefficients = coefficients,
    parameters = data.frame(
      parameters_of(object)[c("name", "block", "component")], estimate = as.vector(theta(object)),
      std.error = unname(se), fixed = parameters_of(object)$fixed,
      boundary = parameters_of(object)$boundary
    ),
    classification = classification(object),
    size = component_size(object),
    information = mixture_criteria(object),
    priors = prior_table(object),
    posterior = if (method_of(object) == "vb") posterior_sds(object),
    fit = object
  ), class = "summary.elbo_mixture")
}

#' @rdname print.elbo_mixture
#' @export
print.summary.elbo_mixture <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  fit <- x$fit
  write_head(fit)
  write_wrapped(law_of(fit)$sentence(fit))
  writeLines(c("", sprintf("Components (%s):", error_words(fit))))
  correlations <- parameters_of(fit)$block == "cor" & !is_shape(parameters_of(fit))
  many <- sum(correlations) > most_correlations * n_components(fit)
  write_components(fit, if (many) setdiff(component_blocks, "cor") else component_blocks)
  if (many) write_wrapped("The correlations are many: see components().")
  tests <- x$coefficients[!is.na(x$coefficients[, "z value"]), , drop = FALSE]
  if (nrow(tests) > 0) {
    writeLines(c("", "Coefficients, by component:"))
    stats::printCoefmat(tests, signif.stars = FALSE, cs.ind = 1:2, tst.ind = 3,
                        has.Pvalue = TRUE, P.values = TRUE, dig.tst = 3)
  }
  if (nrow(x$priors) > 0) {
    lines <- paste0(x$priors$name, " ~ ", x$priors$prior,
                    ifelse(x$priors$default, " (default)", ""))
    writeLines(c("", "Priors:", strwrap(lines, getOption("width") + 1, indent = 2, exdent = 6)))
  }
  if (!is.null(x$posterior)) {
    same <- law_of(fit)$shared_scales(fit)
    shown <- parameters_of(fit)$component %in% c(NA, occupied(fit)) & !parameters_of(fit)$fixed &
      (is.na(same) | !duplicated(same))
    writeLines(c("", "Posterior standard deviations:",
                 table_lines(posterior_sd_table(x$posterior[shown, ]))))
  }
  writeLines("")
  write_wrapped(objective_words(fit))
  if (!anyNA(x$information)) {
    writeLines(sprintf("AIC %s, BIC %s, ICL %s with %s", fixed_text(x$information[["AIC"]], 1),
                       fixed_text(x$information[["BIC"]], 1),
                       fixed_text(x$information[["ICL"]], 1),
                       count_words(n_free(fit), "free parameter")))
  }
  write_wrapped(classification_words(x$classification, fit))
  write_wrapped(convergence(fit)$message)
  write_wrapped(convergence(fit)$verdict)
  write_wrapped(start_words(fit))
  write_wrapped(selection_words(fit))
  write_notes(fit)
  invisible(x)
}

most_correlations <- 45L # of a component, in summary(): those of ten responses

prior_table <- function(fit) {
  stated <- priors_of(fit)$stated
  given <- lengths(stated) > 0
  data.frame(name = as.character(names(stated)[given]), prior = vapply(stated[given], format, ""),
             default = unname(priors_of(fit)$default[given]), row.names = NULL)
}

posterior_sds <- function(fit) {
  sd <- function(type) unname(sqrt(diag(vcov(fit, full = TRUE, type = type))))
  data.frame(name = names(theta(fit)), linear_response = sd("linear_response"),
             mean_field = sd("mean_field"))
}

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

mixture_criteria <- function(fit) {
  criteria <- information(fit)
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
    return(sprintf("Best found by splitting and merging components of the best of %d starts.",
                   sum(!starts$status %in% c("moved", "fuller"))))
  }
  best <- sum(max(climbed) - climbed < same_objective)
  collapsed <- sum(starts$status == "collapsed")
  c(sprintf("Best found in %d of the %d starts climbed to the end, the most promising of %d%s.",
            best, length(climbed), nrow(starts),
            if (collapsed > 0) sprintf(" (%d collapsed)", collapsed) else ""),
    if (best == 1) "A better one may exist: raise `n_starts` in elbo_control().")
}

same_objective <- 0.01

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

# Constants and flat priors do not turn a maximum likelihood into a maximum a posteriori.
#' @exportS3Method
informed.elbo_mixture <- function(fit) {
  says <- function(prior) !is.null(prior) && !prior$distribution %in% c("constant", "flat")
  method_of(fit) != "vb" && any(vapply(priors_of(fit)$stated, says, NA))
}

#' @exportS3Method
notes.elbo_mixture <- function(fit) {
  c(prior_words(fit), constant_words(fit), joint_words(fit), empty_words(fit), spurious_words(fit),
    tie_words(fit), membership_sentence(fit), law_of(fit)$notes(fit), share_words(fit),
    unknown_words(fit), missing_words(fit), left_out_words(fit))
}

# Correlations that a diagonal covariance model does not have are not worth a word.
constant_words <- function(fit) {
  held <- parameters_of(fit)$fixed & parameters_of(fit)$block != "cor"
  if (n_components(fit) == 1) held[parameters_of(fit)$block == "weight"] <- FALSE
  if (!any(held)) return()
  values <- paste(parameter_labels(fit), "=", signif_text(theta(fit), 4))[held]
  if (length(values) > 8) values <- c(values[1:8], paste(length(values) - 8, "more"))
  sprintf("Held constant: %s.", paste(values, collapse = "; "))
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

share_words <- function(fit) {
  at_end <- parameters_of(fit)$name[parameters_of(fit)$boundary]
  if (length(at_end) == 0) return()
  sprintf(paste("On the boundary of %s range: %s. The fit is complete; %s standard error is",
                "undefined: use bootstrap()."), if (length(at_end) == 1) "its" else "their",
          enumerate(at_end, 6), if (length(at_end) == 1) "its" else "their")
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
