#' Update a fit
#'
#' Fits again with some arguments changed: with another `method` it moves along the ladder of
#' what is integrated, on the same model and the same stated priors.
#'
#' @param object A fit.
#' @param formula. Changes to the formula, as in [stats::update.formula()]; random terms can be
#'   added and removed like others: `. ~ . + x`, `. ~ . - (1 | site)`.
#' @param ... Arguments of the fitting function to change or add. `NULL` drops an argument of
#'   the first call: `prior = NULL` drops all priors, constants included.
#' @param evaluate `FALSE` to get the new call without evaluating it.
#' @details
#' New arguments are looked up where `update()` is called, and again there when that fit is updated;
#' those of the first call where its formula was made. A fit made within a function can therefore be
#' updated outside it.
#'
#' Variances stay what they are, common or one for each component, where a mixture of Gaussian
#' regressions loses its last covariate, as by `. ~ 1`, or a normal mixture gets its first:
#' `sigma = ~ 1` there is `covariance = "E"` here, and `sigma = ~ component` is `"V"`. The two are
#' then nested.
#' @return The new fit, or the call.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' update(fit, method = "reml")
#' update(fit, . ~ . + Sex - (age | Subject) + (1 | Subject))
#' @export
update.elbo_fit <- function(object, formula., ..., evaluate = TRUE) {
  check_flag(evaluate, "evaluate")
  call <- call_of(object)
  changes <- named_changes(as.list(match.call(expand.dots = FALSE)$...))
  if ("REML" %in% names(changes)) call$method <- NULL # another word for it
  if ("method" %in% names(changes)) call$REML <- NULL
  kept <- setdiff(names(call)[-1], c(names(changes), "formula", evaluated_in_data))
  dropped <- names(changes)[vapply(changes, is.null, NA)]
  call <- call[!names(call) %in% dropped]
  for (name in setdiff(names(changes), dropped)) call[[name]] <- changes[[name]]
  formula <- formula(object)
  if (!missing(formula.)) {
    if (is.null(formula)) {
      abort("`formula.`: the model has no formula to change; name its arguments.",
            "elbo_error_argument")
    }
    formula <- updated_formula(formula, formula.)
    call$formula <- formula
    call <- follow_formula(object, call)
  }
  if (!evaluate) return(call)

  complete <- call
  complete$formula <- formula
  complete <- with_old_values(complete, kept, object, parent.frame())
  if ("data" %in% kept) check_data_there(complete$data, parent.frame())
  fit <- eval_as(complete, call, parent.frame())
  if ("REML" %in% names(changes)) call <- call_of(fit)
  call_of(fit) <- call
  given_in_of(fit) <- given_in_of(object)
  for (name in names(changes)) given_in_of(fit)[[name]] <- parent.frame()
  fit
}

named_changes <- function(changes) {
  if (length(changes) > 0 && (is.null(names(changes)) || !all(nzchar(names(changes))))) {
    abort("Arguments of update() after the formula must be named, as in method = \"reml\".",
          "elbo_error_argument")
  }
  changes
}

# The arguments that stay, by their values where they were given, wherever the update is called
# from; `env` is for a model without a formula.
with_old_values <- function(call, kept, object, env) {
  for (name in kept) {
    given_in <- given_in_of(object)[[name]]
    if (is.null(given_in)) given_in <- if (is.null(call$formula)) env else environment(call$formula)
    value <- tryCatch(eval(call[[name]], given_in), error = function(e) NULL)
    # The name of an argument elsewhere, as `data`, may be that of a function here.
    if (!is.null(value) && !is.function(value)) call[[name]] <- value
  }
  call
}

# The call of an update with another formula, which may have other words for what stays the same.
follow_formula <- function(object, call) UseMethod("follow_formula")

#' @exportS3Method
follow_formula.elbo_fit <- function(object, call) call

# `data` is the value that was found where the fit was made, or still the expression.
check_data_there <- function(data, env) {
  value <- tryCatch(eval(data, env), error = function(e) NULL)
  if (!is.null(value) && !is.function(value)) return()
  abort(c(sprintf("The data of the fit are gone: there are none called `%s` where it was made,",
                  deparse_line(data)), "or here. Give them, as update(fit, data = )."),
        "elbo_error_data")
}

# A formula that says nothing of random terms is one that forgot them: lmtest and others ask for
# `. ~ 1`.
updated_formula <- function(old, new) {
  check(inherits(new, "formula") || (is.character(new) && length(new) == 1), "formula.",
        "a formula such as . ~ . + x", new)
  formula <- tryCatch(stats::update.formula(old, new), error = function(e) NULL)
  check(inherits(formula, "formula"), "formula.", "a formula such as . ~ . + x", new)
  if (!has_bar(old) || has_bar(formula) || has_bar(stats::as.formula(new))) return(formula)
  bars <- vapply(find_bars(old[[3]]), function(bar) deparse_line(bar_as_term(bar)), "")
  abort(c(sprintf("`%s` would drop the random terms without a word.", deparse_line(new)),
          sprintf("Keep them, as in %s + %s, or take them off,", deparse_line(new),
                  paste(bars, collapse = " + ")),
          sprintf("as in . ~ . %s.", paste("-", bars, collapse = " "))), "elbo_error_formula")
}

# The value of `complete`, whose conditions show `call`, without the values filled in.
eval_as <- function(complete, call, envir) {
  relabel <- function(condition) {
    if (identical(condition$call, complete)) condition$call <- call
    condition
  }
  withCallingHandlers(
    eval(complete, envir),
    elbo_error = function(e) stop(relabel(e)),
    elbo_warning = function(w) {
      warning(relabel(w))
      tryInvokeRestart("muffleWarning")
    }
  )
}

# Arguments that are evaluated in the data, and then where the formula was made.
evaluated_in_data <- c("weights", "offset", "se", "subset", "freq")
