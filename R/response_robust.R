# Scores of groups where responses are not gaussian, and covariances that are robust to a wrong law.

# By (free beta, eta, psi), a row a group, or a row of data where there is none.
general_scores <- function(fit, what) {
  if (method_of(fit) != "em") {
    abort(c(sprintf("%s needs a likelihood, which method \"%s\" has not.", what, method_of(fit)),
            "Use update(fit, method = \"em\")."), "elbo_error_method")
  }
  if (is_crossed(design_of(fit))) {
    abort(c(sprintf("%s needs the likelihood of each group alone, and with several grouping", what),
            "factors Laplace's method has that of all rows together.",
            "bootstrap() has the law of the estimates where the model holds."),
          "elbo_error_not_available")
  }
  general_at(fit, theta(fit), rows_apart = !has_groups(fit))$scores
}

# How much the estimates of (free beta, eta, psi) move with a group's weight, to first order.
general_moves <- function(fit, what) {
  V <- information_of(fit)$cov
  V[is.na(V)] <- 0
  general_scores(fit, what) %*% V
}

sandwich_of_general <- function(fit) {
  V <- transform_covariance(information_of(fit)$slope,
                            crossprod(general_moves(fit, "The sandwich estimator")))
  unknown <- without_error(fit)
  V[unknown, ] <- V[, unknown] <- NA
  V
}

# Coefficients and scales are estimated together: with V the inverse information, the score whose
# product with V of the coefficients alone is what a group moves them by.
#' @exportS3Method sandwich::estfun elbo_general
estfun.elbo_general <- function(x, ...) {
  free <- information_of(x)$free_beta
  own <- seq_along(free)
  moves <- general_moves(x, "estfun()")[, own, drop = FALSE]
  V <- information_of(x)$cov[own, own, drop = FALSE]
  scores <- matrix(0, nobs(x), length(coef(x)),
                   dimnames = list(row.names(frame_of(x)), names(coef(x))))
  if (has_groups(x)) refuse_by_row(x, sys.function(sys.parent()), parent.frame())
  group <- if (has_groups(x)) as.integer(the_group(design_of(x))) else seq_len(nobs(x))
  scores[match(seq_len(nrow(moves)), group), free] <- t(solve(V, t(moves)))
  scores
}

#' @exportS3Method sandwich::bread elbo_general
bread.elbo_general <- function(x, ...) nobs(x) * vcov(x)
