#' Parametric bootstrap
#'
#' Refits the model to responses drawn from it. For few groups, or variances near zero, this is
#' what standard errors stand for; for tests of a variance on its boundary see
#' [anova()][anova.elbo_fit].
#'
#' The responses are drawn in the sufficient statistics (for each group the rotated rows that carry
#' the latent variables, and a chi-square for the rest), so a refit costs groups, not rows, and
#' the law is exactly that of drawing rows.
#'
#' @param object A fit.
#' @param nsim Number of refits, a positive whole number.
#' @param seed A whole number, or `NULL` for the session's generator; with a seed that is left as
#'   it was.
#' @param x A bootstrap.
#' @param parm,level As in [confint()].
#' @param ... Not used.
#' @return An object of class `elbo_bootstrap`: a list of `theta` (nsim x parameters), `objective`
#'   (nsim), `estimate` ([theta()] of the fit), `failed` (number of refits without an answer,
#'   whose rows are `NA`), `boundary` (names of parameters estimated on the boundary of their
#'   range, of which the refits, drawn from there, say little), and `profiles`, whether the fit has
#'   profile intervals. `print` shows bias and standard errors, `confint` gives percentile
#'   intervals, `vcov` the covariance of the refits (`NA` of what some refits put at infinity),
#'   `as.data.frame` the draws.
#' @references
#' Efron, B. and Tibshirani, R. (1993). *An Introduction to the Bootstrap*. Chapman and Hall.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
#' b <- bootstrap(fit, nsim = 200, seed = 1)
#' b
#' confint(b)
#' @export
bootstrap <- function(object, nsim = 1000L, seed = NULL, ...) UseMethod("bootstrap")

#' @rdname bootstrap
#' @export
bootstrap.elbo_glmm <- function(object, nsim = 1000L, seed = NULL, ...) {
  check_dots_empty(...)
  nsim <- check_count(nsim, "nsim")
  new_bootstrap(object, with_seed(seed, drawn_refits(object, nsim)))
}

# A row a draw: theta and objective, NA where there is no maximum.
drawn_refits <- function(fit, nsim) UseMethod("drawn_refits")

#' @exportS3Method
drawn_refits.elbo_glmm <- function(fit, nsim) {
  check_simulates(fit, "bootstrap()")
  refit_table(fit, bootstrap_table(fit, nsim))
}

new_bootstrap <- function(fit, refits) {
  objective <- unname(refits[, ncol(refits)])
  theta <- refits[, -ncol(refits), drop = FALSE]
  colnames(theta) <- names(theta(fit))
  structure(list(theta = theta, objective = objective, estimate = theta(fit),
                 failed = sum(is.na(objective)), method = method_of(fit),
                 labels = parameter_labels(fit),
                 boundary = parameters_of(fit)$name[parameters_of(fit)$boundary],
                 profiles = "profile" %in% interval_types(fit)),
            class = "elbo_bootstrap")
}

# Draws from `fit`, to each of which it is fitted: a table as refit_table() reads it.
bootstrap_table <- function(fit, nsim) {
  if (is_crossed(design_of(fit))) return(refit_columns(fit, drawn_rows(fit, nsim)))
  design <- design_of(fit)
  itself <- list(map = diag(ncol(design$X) + sum(smooth_sizes(design$curves))),
                 at = seq_len(ncol(design$Z)))
  draw <- draw_within(fit, fit, itself)
  .Call(C_glmm_bootstrap, draw$model, draw$theta, list(model_of(fit)), list(refit_settings(fit)),
        nsim)[[1]]
}

# A column a draw; without the rows that na.exclude() would pad.
drawn_rows <- function(fit, nsim) {
  Y <- as.matrix(simulate(fit, nsim, re.form = NA))
  Y[stats::complete.cases(Y), , drop = FALSE]
}

refit_settings <- function(fit) ascend_control(refit_control(fit), design_of(fit))

# Latent variables without a law cannot be drawn.
check_simulates <- function(fit, what) {
  lawless <- is.infinite(diag(latent_law(fit)))
  if (!any(lawless)) return()
  abort(c(sprintf("%s draws latent variables, but those of %s have no law;", what,
                  quote_names(unique(column_groups(design_of(fit))[lawless]))),
          "give them one, as by priors() with constant(1)."), "elbo_error_simulate")
}

# What a seed means: R's own default generators, so that the same numbers follow from it in every
# session.
seeded_kind <- c("Mersenne-Twister", "Inversion", "Rejection")

# Evaluates with the generator seeded, and leaves the session's as it was, its kind too.
with_seed <- function(seed, code) {
  if (is.null(seed)) return(code)
  seed <- check_whole(seed, "seed")
  old <- get0(".Random.seed", globalenv(), inherits = FALSE)
  kind <- RNGkind()
  on.exit({
    # A warning that sampling is not uniform belongs to whoever chose it.
    suppressWarnings(RNGkind(kind[1], kind[2], kind[3]))
    if (is.null(old)) rm(list = ".Random.seed", envir = globalenv())
    else assign(".Random.seed", old, envir = globalenv())
  })
  set.seed(seed, seeded_kind[1], seeded_kind[2], seeded_kind[3])
  code
}

#' @rdname bootstrap
#' @export
print.elbo_bootstrap <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  cat(bootstrap_words(x), "\n", sep = "")
  print(bootstrap_summary(x), digits = 4)
  for (words in bootstrap_boundary_words(x)) write_wrapped(words)
  invisible(x)
}

bootstrap_words <- function(x) {
  sprintf("Parametric bootstrap: %d refits by method \"%s\"%s", nrow(x$theta), x$method,
          if (x$failed > 0) sprintf(", %d without an answer", x$failed) else "")
}

bootstrap_boundary_words <- function(x) {
  if (length(x$boundary) == 0) return()
  sprintf(paste("On the boundary of its range in the fit: %s. The refits are of data drawn there,",
                "so that their spread is not how far off the estimate may be%s."),
          quote_names(x$boundary), if (x$profiles) "; see confint(fit, type = \"profile\")" else "")
}

# A row for each parameter.
bootstrap_summary <- function(x) {
  bias <- colMeans(x$theta, na.rm = TRUE) - x$estimate
  table <- cbind(Estimate = as.vector(x$estimate), Bias = bias,
                 `Std. Error` = apply(x$theta, 2, stats::sd, na.rm = TRUE))
  table[is.nan(table)] <- NA # of what is infinite
  rownames(table) <- x$labels[names(x$estimate)]
  table
}

#' @rdname bootstrap
#' @export
confint.elbo_bootstrap <- function(object, parm = NULL, level = 0.95, ...) {
  check_dots_empty(..., .but = passed_along$confint)
  level <- check_between(level, "level", 0, 1)
  parm <- interval_parameters(parm, names(object$estimate))
  tails <- c((1 - level) / 2, (1 + level) / 2)
  if (length(parm) == 0) return(interval_matrix(matrix(0, 0, 2), parm, level))
  limits <- apply(object$theta[, parm, drop = FALSE], 2, percentiles, probs = tails)
  interval_matrix(t(limits), parm, level)
}

# Estimates at infinity are larger or smaller than others, but there is no halfway to them.
percentiles <- function(x, probs) {
  stats::quantile(x, probs, na.rm = TRUE, names = FALSE, type = if (any(is.infinite(x))) 1 else 7)
}

#' @rdname bootstrap
#' @export
vcov.elbo_bootstrap <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$vcov)
  covariance <- stats::cov(object$theta, use = "pairwise.complete.obs")
  covariance[is.nan(covariance)] <- NA # of what is infinite
  covariance
}

#' @rdname bootstrap
#' @param row.names,optional Not used.
#' @export
as.data.frame.elbo_bootstrap <- function(x, row.names = NULL, optional = FALSE, ...) {
  check_dots_empty(..., .but = passed_along$as.data.frame)
  as.data.frame(x$theta, optional = TRUE)
}
