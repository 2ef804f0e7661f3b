#' Settings of the ascent
#'
#' How long and how hard a fit may climb. The answer does not depend on these settings as long
#' as the fit converges; the defaults are meant to be left alone.
#'
#' @param tol The ascent ends where the scaled gradient, the largest
#'   \eqn{|g_j|\,\mathrm{se}_j}{|g_j| se_j} over the free parameters, is below `tol`, a positive
#'   number. Newton steps, where they are used, go on to a gradient of rounding size.
#' @param max_iter The most iterations, a positive whole number. A fit that reaches it
#'   returns its best point so far, with a warning.
#' @param accelerate `"auto"` (a few EM steps, then Newton's method on the exact score; of mixtures
#'   quasi-Newton steps or extrapolated EM, and Newton's method where it is cheap), `"squarem"`
#'   (extrapolated EM) or `"none"` (textbook EM).
#' @param threads Number of threads, or `NULL` for one. Results do not depend on it. [fit_mixture()]
#'   uses them, and [fit_glmm()] with several grouping factors, or responses that are not gaussian;
#'   with one grouping factor gaussian fits work on one thread.
#' @param n_starts Number of starting points, or `NULL` for the model's own choice: for
#'   [fit_glmm()] one, and 18 where the likelihood is known to have local maxima, with a residual
#'   standard deviation for each level or several covariance blocks; for [fit_mixture()]
#'   20, by method `"vb"` half of them with fewer groups.
#' @param quadrature Number of nodes a dimension of adaptive Gauss-Hermite quadrature, at most 1000,
#'   where latent variables are integrated numerically: [fit_glmm()] with another family than
#'   gaussian. 1 is Laplace's method. `NULL`: as many as it takes until log-likelihood and estimates
#'   stop moving.
#' @param seed A whole number, from which random starts follow, or `NULL` for 1: the same call gives
#'   the same fit, and the session's generator is left as it was.
#' @param progress `TRUE` to report the progress of long fits, `FALSE` to be silent, or `NULL`
#'   to report in interactive sessions only.
#' @param importance Number of draws by which [fit_glmm()] corrects Laplace's method, where several
#'   grouping factors have responses that are not gaussian: importance sampling with draws fixed by
#'   `seed`; at least 20, better 2000 or more. `0`, the default: no correction. Where fewer than a
#'   tenth of the draws count the log-likelihood is corrected, and the estimates stay Laplace's:
#'   [convergence()] says so.
#' @param ... Nothing further: words of other packages are refused with ours for them.
#' @return A list of class `elbo_control` with one element an argument.
#' @examples
#' elbo_control(accelerate = "none", max_iter = 50)
#' @seealso [convergence()] says how a fit ended.
#' @family what a fit is told
#' @export
elbo_control <- function(tol = 1e-8, max_iter = 10000L, accelerate = "auto", threads = NULL,
                         n_starts = NULL, quadrature = NULL, seed = NULL, progress = NULL,
                         importance = 0L, ...) {
  check_dots_empty(..., .words = foreign_words$control)
  optional <- function(x, name, check) if (!is.null(x)) check(x, name)
  structure(
    list(
      tol = check_positive(tol, "tol"),
      max_iter = check_count(max_iter, "max_iter"),
      accelerate = check_choice(accelerate, "accelerate", c("auto", "squarem", "none")),
      threads = optional(threads, "threads", check_count),
      n_starts = optional(n_starts, "n_starts", check_count),
      quadrature = optional(quadrature, "quadrature", check_nodes),
      seed = optional(seed, "seed", check_whole),
      progress = optional(progress, "progress", check_flag),
      importance = check_importance(importance, "importance")
    ),
    class = "elbo_control"
  )
}

check_nodes <- function(x, name) {
  x <- check_count(x, name)
  check(x <= 1000, name, "at most 1000", x)
  x
}

check_importance <- function(x, name) {
  as.integer(check(is_whole(x) && (x == 0 || x >= 20), name,
                   "0, for no correction, or a number of draws of at least 20, better 2000", x))
}

# For models in which nothing is integrated by quadrature: a number would do nothing.
closed_form <- "The posteriors of this model are known in closed form"
own_functions_only <- "What a user's functions integrate is theirs"

check_no_quadrature <- function(control, reason = closed_form) {
  check_no_importance(control, reason)
  if (is.null(control$quadrature)) return()
  abort(c(sprintf("`quadrature` must be NULL, not %s: nothing is integrated by quadrature.",
                  describe_value(control$quadrature)), paste0(reason, ". Leave it out.")),
        "elbo_error_argument")
}

# Where nothing is left for draws to correct.
check_no_importance <- function(control, reason) {
  if (control$importance == 0L) return()
  abort(c(sprintf("`importance` must be 0, not %d: it corrects Laplace's method.",
                  control$importance), paste0(reason, ".")), "elbo_error_argument")
}

#' @export
print.elbo_control <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  shown <- vapply(x, function(value) if (is.null(value)) "default" else format(value), "")
  cat("Settings of the ascent\n", sprintf("  %-10s %s\n", names(x), shown), sep = "")
  invisible(x)
}

# Progress is for people: not in scripts, not while a document is knitted.
show_progress <- function(control) {
  if (!is.null(control$progress)) return(control$progress)
  interactive() && !isTRUE(getOption("knitr.in.progress"))
}
