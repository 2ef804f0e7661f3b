#' What was tried before a mixture was chosen
#'
#' One row for each number of components and covariance model that [fit_mixture()] fitted.
#'
#' @param object a fit made by [fit_mixture()].
#' @param x a table made by `selection()`.
#' @param ... not used.
#' @return A data frame of class `elbo_selection`:
#' \describe{
#'   \item{`k`}{number of components.}
#'   \item{`covariance`}{name of the covariance model, `NA` where there is none.}
#'   \item{`criterion`}{what was compared. Method `"em"`: BIC, \eqn{-2\log L + df \log n}{-2 log L +
#'     df log n} with n the number of units; `"joint"`: the same of the classification likelihood,
#'     which is ICL; the smallest is chosen. Method `"vb"`: the ELBO, plus
#'     \eqn{\log(k!/(k-k_+)!)}{log(k! / (k - k+)!)} with \eqn{k_+}{k+} the number of occupied
#'     components when the prior of the weights is the same for all of them, since q sits on one
#'     of as many equal modes; the largest is chosen.}
#'   \item{`df`}{number of free parameters.}
#'   \item{`objective`}{the objective at the optimum, see [elbo()].}
#'   \item{`entropy`}{of the classification, \eqn{-\sum_{ij} r_{ij}\log r_{ij}}{-sum r log r}: zero
#'     when every unit is certain of its component.}
#'   \item{`ICL`}{BIC plus twice the entropy (Biernacki, Celeux and Govaert 2000): it asks for
#'     components that are apart.}
#'   \item{`status`}{`"ok"`, or why there is no fit.}
#' }
#' `print()` shows the criterion, a row for each k and a column for each covariance model; `plot()`
#' draws it, as [plot(fit, type = "selection")][plot.elbo_mixture] does.
#' @references
#' Biernacki, C., Celeux, G. and Govaert, G. (2000). Assessing a mixture model for clustering with
#' the integrated completed likelihood. *IEEE Transactions on Pattern Analysis and Machine
#' Intelligence* 22, 719--725. \doi{10.1109/34.865189}
#'
#' Schwarz, G. (1978). Estimating the dimension of a model. *Annals of Statistics* 6, 461--464.
#' \doi{10.1214/aos/1176344136}
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:3,
#'                    covariance = c("EEE", "VVV"))
#' selection(fit)
#' plot(fit, type = "selection")
#' @export
selection <- function(object, ...) UseMethod("selection")

#' @rdname selection
#' @export
selection.elbo_mixture <- function(object, ...) {
  check_dots_empty(...)
  structure(candidates_of(object), chosen = chosen_row(object), name = criterion_name(object),
            class = c("elbo_selection", "data.frame"))
}

#' @export
selection.elbo_glmm <- function(object, ...) {
  check_dots_empty(...)
  only_for_mixtures("selection()")
}

# Of a fit without components.
only_for_mixtures <- function(what) {
  abort(sprintf("%s is for mixtures, made by fit_mixture(); this fit has no components.", what),
        "elbo_error_not_available")
}

chosen_row <- function(fit) {
  table <- candidates_of(fit)
  same <- table$k == n_components(fit) &
    (is.na(table$covariance) | table$covariance %in% covariance_model(fit))
  which(same)[1]
}

criterion_name <- function(fit) switch(method_of(fit), em = "BIC", joint = "ICL", vb = "ELBO")

#' @rdname selection
#' @export
print.elbo_selection <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  columns <- c("k", "covariance", "criterion", "status")
  if (is.null(attr(x, "chosen")) || !all(columns %in% names(x))) {
    print(as.data.frame(unclass(x)))
    return(invisible(x))
  }
  chosen <- x[attr(x, "chosen"), ]
  name <- attr(x, "name")
  write_wrapped(sprintf("%s (%s is better); chosen: %s.", name,
                        if (name == "ELBO") "larger" else "smaller", candidate_name(chosen)))
  print_columns(as.character(sort(unique(x$k))), criterion_columns(x))
  for (reason in setdiff(unique(x$status), "ok")) {
    rows <- x[x$status == reason, ]
    # An ascent that was broken off has a value, which the end of it can only raise.
    what <- if (all(is.na(rows$criterion))) "No fit of %s: %s." else "Broken off, %s: %s."
    write_wrapped(sprintf(what, enumerate(candidate_name(rows), 6), reason))
  }
  invisible(x)
}

#' @rdname selection
#' @export
plot.elbo_selection <- function(x, ...) {
  check_dots_empty(...)
  if (is.null(attr(x, "chosen"))) return(NextMethod())
  plot_selection(x)
  invisible(x)
}

# "k = 3, VEV"
candidate_name <- function(rows) {
  paste0("k = ", rows$k, ifelse(is.na(rows$covariance), "", paste(",", rows$covariance)))
}

# Text of the criterion: a column for each covariance model, a row for each k.
criterion_columns <- function(x) {
  ks <- sort(unique(x$k))
  models <- unique(x$covariance)
  columns <- lapply(models, function(model) {
    of_model <- x[x$covariance %in% model, ]
    value <- of_model$criterion[match(ks, of_model$k)]
    ifelse(is.na(value), "-", fixed_text(value, 1))
  })
  names(columns) <- ifelse(is.na(models), attr(x, "name"), models)
  columns
}
