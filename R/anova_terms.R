# F tests of the terms of one fit: hypotheses L beta = 0 of types I, II and III.
#
# Type III is that of SAS: with D the design in which every factor has a column for each level, and
# X = its columns under treatment contrasts, X = D without what is redundant, coefficients of X are
# estimable functions G of those of D, D = X G. Those of a term are made orthogonal to those of the
# terms that contain it, which averages a main effect over the levels of what it interacts with (SAS
# Institute 1978, Tests of hypotheses in fixed-effects linear models; as in lmerTest).

hypothesis_type <- function(type) {
  known <- c("1", "2", "3", "I", "II", "III")
  check(is.atomic(type) && length(type) == 1 && as.character(type) %in% known,
        "type", "1, 2 or 3", type)
  (match(as.character(type), known) - 1) %% 3 + 1
}

anova_terms <- function(fit, type, ddf) UseMethod("anova_terms")

#' @exportS3Method
anova_terms.elbo_fit <- function(fit, type, ddf) {
  abort(c("anova() compares two or more fits with each other.",
          "Tests of single coefficients are in summary()."), "elbo_error_argument")
}

# Wald's chi-square, where nothing is judged by t.
#' @exportS3Method
anova_terms.elbo_general <- function(fit, type, ddf) {
  table <- NextMethod()
  chisq <- data.frame(Chisq = table[["F value"]] * table$NumDF, Df = table$NumDF,
                      `Pr(>Chisq)` = table[["Pr(>F)"]], check.names = FALSE,
                      row.names = rownames(table))
  heading <- sub("F tests", "Wald tests", sub(" \\(.* df\\)", "", attr(table, "heading")))
  structure(chisq, heading = heading, class = class(table))
}

#' @exportS3Method
anova_terms.elbo_glmm <- function(fit, type, ddf) {
  hypotheses <- switch(type, sequential_hypotheses(fit), partial_hypotheses(fit),
                       averaged_hypotheses(fit))
  at <- if (ddf == "Kenward-Roger") kenward_roger(fit)
  table <- do.call(rbind, lapply(hypotheses, function(L) term_test(fit, L, at)))
  if (is.null(table)) table <- data.frame()
  rownames(table) <- names(hypotheses)
  given <- c("those before it", "those that do not contain it",
             "all others, whatever the contrasts")
  heading <- sprintf("Type %s F tests of the terms, each given %s (%s's df)\n",
                     utils::as.roman(type), given[type], ddf)
  structure(table, heading = heading, class = c("elbo_anova", "anova", "data.frame"))
}

fixed_terms <- function(fit) attr(terms(fit), "term.labels")

# Rows of the unit upper triangle of X'X: what a column has beyond those before it.
sequential_rows <- function(X) {
  R <- qr.R(qr(X, tol = 0))
  R / diag(R)
}

sequential_hypotheses <- function(fit) {
  assign <- attr(design_of(fit)$X, "assign")
  L <- sequential_rows(design_of(fit)$X)
  lapply(stats::setNames(seq_along(fixed_terms(fit)), fixed_terms(fit)),
         function(term) L[assign == term, , drop = FALSE])
}

partial_hypotheses <- function(fit) {
  X <- design_of(fit)$X
  assign <- attr(X, "assign")
  containing <- containing_terms(fit)
  lapply(stats::setNames(seq_along(fixed_terms(fit)), fixed_terms(fit)), function(term) {
    last <- assign %in% c(term, containing[[term]])
    order <- c(which(!last), which(assign == term), which(last & assign != term))
    L <- sequential_rows(X[, order, drop = FALSE])
    L[assign[order] == term, order(order), drop = FALSE]
  })
}

averaged_hypotheses <- function(fit) {
  labels <- fixed_terms(fit)
  X <- treatment_design(fit)
  D <- treatment_design(fit, contrasts = FALSE)
  L <- t(qr.coef(qr(X), D)) # columns are estimable functions
  containing <- containing_terms(fit)
  assign <- attr(X, "assign")
  for (term in order(attr(terms(fit), "order"), decreasing = TRUE)) {
    larger <- assign %in% containing[[term]]
    if (!any(larger)) next
    L[, assign == term] <- qr.resid(qr(L[, larger, drop = FALSE]),
                                    L[, assign == term, drop = FALSE])
  }
  to_fit <- qr.coef(qr(X), design_of(fit)$X)
  own <- match(colnames(X), colnames(D))
  lapply(stats::setNames(seq_along(labels), labels), function(term) {
    t(L[own, assign == term, drop = FALSE]) %*% to_fit
  })
}

# The columns of the fixed part with treatment contrasts and full rank, or with all levels of each
# factor.
treatment_design <- function(fit, contrasts = TRUE) {
  frame <- frame_of(fit)
  factors <- names(contrasts_of(fit))
  frame[factors] <- lapply(frame[factors], function(x) factor(x, ordered = FALSE))
  codings <- lapply(frame[factors],
                    function(x) stats::contr.treatment(levels(x), contrasts = contrasts))
  X <- stats::model.matrix(terms(fit), frame, if (length(codings) > 0) codings)
  if (!contrasts) return(X)
  decomposition <- qr(X, tol = 1e-7)
  keep_columns(X, seq_len(ncol(X)) %in% decomposition$pivot[seq_len(decomposition$rank)])
}

# Of each term the numbers of those that have all its variables and more, but no more numbers.
containing_terms <- function(fit) {
  variables <- attr(terms(fit), "factors") > 0
  numeric <- !rownames(variables) %in% names(contrasts_of(fit))
  terms <- seq_along(fixed_terms(fit))
  lapply(terms, function(term) {
    Filter(function(other) {
      own <- variables[, term]
      others <- variables[, other]
      all(others[own]) && sum(others) > sum(own) && all(own[numeric] == others[numeric])
    }, terms)
  })
}

# Wald's F: the contrasts are rotated to be uncorrelated, and the degrees of freedom of their t
# statistics combined so that F has the right mean (Fai & Cornelius 1996), as in lmerTest.
# Contrasts are of coefficients in units of their standard errors, so that sizes compare. Kenward
# and Roger's test where `at` is what kenward_roger() gives.
term_test <- function(fit, L, at = NULL) {
  if (nrow(L) == 0) L <- matrix(0, 1, ncol(L)) # all columns dropped: nothing to test
  units <- covariance_units(beta_cov_of(fit))
  L <- L * rep(units, each = nrow(L))
  if (any(L != 0)) L <- L / max(abs(L))
  L[abs(L) < 1e-10] <- 0
  spectrum <- eigen(L %*% scale_cov(beta_cov_of(fit), units) %*% t(L), symmetric = TRUE)
  free <- spectrum$values > 1e-8 * max(spectrum$values, 0)
  k <- sum(free)
  contrasts <- t(spectrum$vectors[, free, drop = FALSE]) %*% L
  statistic <- if (k > 0) mean(drop(contrasts %*% (coef(fit) / units))^2 / spectrum$values[free])
               else NA_real_
  contrasts <- contrasts / rep(units, each = k)
  if (k > 0 && !is.null(at)) {
    test <- kenward_roger_test(at, contrasts[, information_of(fit)$free_beta, drop = FALSE],
                               coef(fit)[information_of(fit)$free_beta])
    statistic <- test$statistic
  }
  df <- if (k == 0) NA_real_ else if (is.null(at)) combined_df(fit_df(fit, contrasts)) else test$df
  data.frame(`F value` = statistic, NumDF = k, DenDF = df,
             `Pr(>F)` = stats::pf(statistic, k, df, lower.tail = FALSE), check.names = FALSE)
}

combined_df <- function(df) {
  if (anyNA(df) || max(df) - min(df) < 1e-8 || all(is.infinite(df))) return(mean(df))
  if (any(df <= 2)) return(2)
  E <- sum(ifelse(is.infinite(df), 1, df / (df - 2)))
  2 * E / (E - length(df))
}
