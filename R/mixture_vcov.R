# The covariance of the estimates of a mixture, and intervals from it. C has gradient, Hessian H
# and the derivative J of theta in coordinates eta without constraint (under vb the natural
# parameters of q).
#
#   mixture_information(fit)    list(eta_cov, jacobian, latent, V): inverse information of eta, J,
#                               and that of what is no part of theta, the coefficients of smooth
#                               terms, component by component; V of vb. Kept in cache_of(fit)
#   unit_scores(fit)            derivative of log p(y_i | theta) by eta, units x eta
#   at_boundary(fit)            which entries of theta no standard error describes

#' Covariance matrix of the estimates of a mixture
#'
#' What [vcov()][vcov.elbo_fit] has of a mixture. Methods `"em"` and `"joint"`: `"observed"`
#' (default), the inverse of the observed information, the negative second derivative of the
#' objective (Louis 1982); `"em"` also `"sandwich"`,
#' \eqn{I^{-1}(\sum_i s_i s_i')I^{-1}}{I^-1 (sum s s') I^-1} with \eqn{s_i} the score of unit i,
#' which holds when the components are not of the family they were taken for (White 1982). Method
#' `"vb"`: `"linear_response"` (default), the derivative of the posterior means of theta under tilts
#' of the posterior (Giordano, Broderick and Jordan 2018), or `"mean_field"`, the covariance under
#' q, which treats components and parameters as independent and is too small.
#'
#' @details
#' Everything is computed in coordinates without constraint, eta, and carried to theta by its
#' derivative: \eqn{J(-H)^{-1}J'}{J (-H)^-1 J'}. All covariances are those of one labelling of the
#' components: where components are not apart, swapping labels is an uncertainty that none of them
#' contains.
#'
#' Under method `"joint"` the information is that of the objective at the labels found, which are
#' taken for known; it says less than it seems.
#'
#' Rows of parameters that are held, or on the boundary of their range (a probability of 0 or 1),
#' are `NA`, and so are those of weights where method `"vb"` has emptied a component: the others
#' then share the whole, and q says nothing of how probable it is that the component is there.
#' Coefficients that are held have zeros.
#' @references
#' Louis, T. A. (1982). Finding the observed information matrix when using the EM algorithm.
#' *Journal of the Royal Statistical Society B* 44, 226--233.
#'   \doi{10.1111/j.2517-6161.1982.tb01203.x}
#'
#' White, H. (1982). Maximum likelihood estimation of misspecified models. *Econometrica* 50,
#' 1--25. \doi{10.2307/1912526}
#'
#' Giordano, R., Broderick, T. and Jordan, M. I. (2018). Covariances, robustness, and variational
#' Bayes. *Journal of Machine Learning Research* 19(51), 1--49.
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
#' sqrt(diag(vcov(fit, full = TRUE)))
#' sqrt(diag(vcov(fit, full = TRUE, type = "sandwich")))
#' @name vcov.elbo_mixture
NULL

#' @exportS3Method
covariance_types.elbo_mixture <- function(fit) {
  if (method_of(fit) == "em") c("observed", "sandwich") else covariance_types.elbo_fit(fit)
}

# Also of weights where components are empty, which then are those of the others alone.
#' @exportS3Method
theta_covariance.elbo_mixture <- function(fit, type) {
  V <- switch(type,
    mean_field = mean_field_covariance(fit),
    sandwich = carry_covariance(fit, sandwich_eta_cov(fit)),
    carry_covariance(fit, mixture_information(fit)$eta_cov)
  )
  dimnames(V) <- rep(list(parameters_of(fit)$name), 2)
  V
}

carry_covariance <- function(fit, eta_cov) {
  transform_covariance(mixture_information(fit)$jacobian, eta_cov)
}

mixture_information <- function(fit) {
  if (is.null(cache_of(fit)$information)) {
    cache_of(fit)$information <- if (method_of(fit) == "joint") labelled_information(fit)
                             else information_at(fit)
  }
  cache_of(fit)$information
}

information_at <- function(fit) {
  answer <- call_information(fit)
  information <- -answer$hessian
  lost <- c(flat_weights(fit, information, answer$jacobian), of_nobody(fit, answer$jacobian))
  information[lost, ] <- information[, lost] <- 0
  eta_cov <- invert_information(information, flat_information(fit))
  c(information_parts(fit, eta_cov, answer$jacobian), list(V = answer$V, status = answer$status))
}

# Coordinates of the weights alone of which the units say next to nothing, beside what they would if
# their components were known: the components are alike.
flat_weights <- function(fit, information, jacobian) {
  rows <- which(parameters_of(fit)$block == "weight")
  if (method_of(fit) == "vb" || length(rows) == 0) return(integer())
  own <- which(colSums(abs(jacobian[-rows, , drop = FALSE])) == 0)
  known <- nobs(fit) *
    colSums(jacobian[rows, own, drop = FALSE]^2 / as.vector(component_weights(fit)))
  own[diag(information)[own] < flat_information(fit) * known]
}

# Coordinates of components without members alone, of which no unit says anything.
of_nobody <- function(fit, jacobian) {
  if (method_of(fit) == "vb") return(integer())
  rows <- which(parameters_of(fit)$component %in% which(size_of(fit) < nobody) &
                parameters_of(fit)$block != "weight")
  if (length(rows) == 0) return(integer())
  others <- colSums(abs(jacobian[-rows, , drop = FALSE])) > 0
  which(!others & colSums(abs(jacobian[rows, , drop = FALSE])) > 0)
}

nobody <- 1e-3 # of a unit, as NOBODY of src/mixture/membership.c

# The part of the largest information below which a direction is flat: differences leave some 1e-6
# of what is zero.
flat_information <- function(fit) if (method_of(fit) == "vb") 1e-10 else law_of(fit)$flat

# Without the covariances, of which there may be millions.
#' @exportS3Method
standard_errors.elbo_mixture <- function(fit) {
  if (is.null(cache_of(fit)$errors)) {
    information <- mixture_information(fit)
    cache_of(fit)$errors <- sqrt(variances_carried(information$jacobian, information$eta_cov))
  }
  se <- stats::setNames(cache_of(fit)$errors, parameters_of(fit)$name)
  replace(se, without_error(fit), NA)
}

# And the weights, where some of them have gone to empty components.
#' @exportS3Method
without_error.elbo_mixture <- function(fit) {
  without_error.elbo_fit(fit) |
    (parameters_of(fit)$block == "weight" & length(emptied(fit)) > 0)
}

# The diagonal of transform_covariance().
variances_carried <- function(slope, cov) {
  lost <- is.na(diag(cov))
  cov[lost, ] <- cov[, lost] <- 0
  V <- rowSums((slope %*% cov) * slope)
  replace(V, rowSums(abs(slope[, lost, drop = FALSE])) > 0, NA)
}

# Names of parameters along which, with others, the likelihood does not change.
ridge_parameters <- function(fit) {
  se <- standard_errors(fit)
  if (method_of(fit) == "vb") return(character())
  parameters_of(fit)$name[is.na(se) & !parameters_of(fit)$fixed & !parameters_of(fit)$boundary]
}

information_parts <- function(fit, eta_cov, jacobian) {
  latent <- latent_parameters(fit)
  list(eta_cov = eta_cov, jacobian = jacobian[!latent, , drop = FALSE],
       latent = jacobian[latent, , drop = FALSE])
}

# Which of the rows of C's theta are no part of theta().
latent_parameters <- function(fit) {
  mixture_parameters(design_of(fit), n_components(fit), covariance_model(fit),
                     priors_of(fit)$told)$block == "latent"
}

# Where C finds none, next to a collapsed component say, nothing is known of any parameter.
call_information <- function(fit) {
  answer <- .Call(C_mixture_information, fit_model(fit), state_of(fit))
  if (answer$status != 0) {
    answer$hessian[] <- 0
    answer$jacobian[] <- 1
  }
  answer
}

# With every label known. That is a mixture whose membership leaves no doubt: the coefficients of
# indicators of the labels are so large that q(z) is a point (their prior only keeps them from being
# refused). What belongs to these coefficients is dropped, and the information of the weights put in
# its place.
labelled_information <- function(fit) {
  label <- unit_component(fit)
  known <- law_of(fit)$as_points(fit)
  method_of(known) <- "em"
  priors_of(known)$told$weights$coefficient_sd <- 10 * beyond_doubt
  design_of(known)$W <- outer(label, seq_len(n_components(fit)), `==`) + 0
  design_of(known)$W[, 1] <- 1
  coefficient <- diag(beyond_doubt, n_components(fit))
  coefficient[1, ] <- -beyond_doubt / 2
  coefficient[, 1] <- 0
  state_of(known)$weights <- list(coefficient = coefficient)
  answer <- call_information(known)
  of_labels <- n_components(fit) * (n_components(fit) - 1)
  eta <- seq_along(answer$gradient) > of_labels
  theta <- seq_len(nrow(answer$jacobian)) > of_labels
  weights <- weights_information(fit)
  jacobian <- two_blocks(weights$jacobian, answer$jacobian[theta, eta])
  # The sds of smooth terms, all held, are not among those known.
  block <- mixture_parameters(design_of(fit), n_components(fit), covariance_model(fit),
                              priors_of(fit)$told)$block
  all <- matrix(0, length(block), ncol(jacobian))
  all[block != "smooth", ] <- jacobian
  information <- -answer$hessian[eta, eta, drop = FALSE]
  eta_cov <- two_blocks(weights$eta_cov, invert_information(information))
  information_parts(fit, eta_cov, all)
}

beyond_doubt <- 2000

two_blocks <- function(A, B) {
  A <- as.matrix(A)
  B <- as.matrix(B)
  rbind(cbind(A, matrix(0, nrow(A), ncol(B))), cbind(matrix(0, nrow(B), ncol(A)), B))
}

# Estimates at the end of their range, which no standard error describes.
at_boundary <- function(fit) {
  block <- parameters_of(fit)$block
  value <- unname(theta(fit))
  share <- block %in% c("weight", "prob")
  at_end <- (share & (value < 1e-7 | value > 1 - 1e-7)) | (block == "cor" & abs(value) > 1 - 1e-10)
  at_end <- at_end | law_of(fit)$at_boundary(fit)
  at_end <- at_end | (block %in% c("beta", "membership") & !is.finite(value))
  method_of(fit) != "vb" & at_end & !parameters_of(fit)$fixed
}

sandwich_eta_cov <- function(fit) {
  scores <- unit_scores(fit)
  eta_cov <- mixture_information(fit)$eta_cov
  unknown <- is.na(diag(eta_cov))
  eta_cov[unknown, ] <- eta_cov[, unknown] <- 0
  V <- eta_cov %*% crossprod(scores, unit_freq(fit) * scores) %*% eta_cov
  V[unknown, ] <- V[, unknown] <- NA
  V
}

# Scores of the units by eta, n_unit x n_eta: central differences of log p(y_i | theta) along the
# columns of d theta / d eta, in the model without constraints between the parameters, so that a
# step along a tangent stays in it.
unit_scores <- function(fit) {
  check_no_curves(design_of(fit), "A sandwich covariance",
                  "Use type = \"observed\", or bootstrap().")
  jacobian <- mixture_information(fit)$jacobian
  scale <- parameter_scale(fit)
  free <- law_of(fit)$unconstrained(fit)
  log_density <- function(theta) {
    evaluate_mixture(free, state = theta_state(fit, theta))$log_density
  }
  vapply(seq_len(ncol(jacobian)), function(a) {
    direction <- jacobian[, a]
    size <- max(abs(direction) / scale)
    if (size == 0) return(numeric(design_of(fit)$n_unit))
    h <- 1e-5 / size
    (log_density(theta(fit) + h * direction) - log_density(theta(fit) - h * direction)) / (2 * h)
  }, numeric(design_of(fit)$n_unit))
}

# What counts as a small step: of shares and scales in proportion, of locations in their sds.
parameter_scale <- function(fit) {
  block <- parameters_of(fit)$block
  value <- abs(unname(theta(fit)))
  scale <- ifelse(block %in% c("weight", "prob"), value * (1 - value), value)
  scale[block == "cor"] <- 1 - value[block == "cor"]^2
  location <- block %in% c("mean", "beta", "membership")
  se <- sqrt(variances_carried(mixture_information(fit)$jacobian, mixture_information(fit)$eta_cov))
  scale[location] <- se[location] * sqrt(nobs(fit) / n_components(fit))
  ifelse(is.finite(scale) & scale > 0, scale, 1)
}

# ---- intervals ---------------------------------------------------------------------------

#' Intervals for the parameters of a mixture
#'
#' What [confint()][confint.elbo_fit] has of a fit made by [fit_mixture()]: a row for each parameter
#' of [theta()] that is free, component by component. Beside `coef(fit)` belong the rows
#' `confint(fit, "beta_")`; a whole table is `tidy(fit, conf.int = TRUE)`.
#'
#' `type = "wald"`: normal quantiles of standard errors, of standard deviations on the log scale, of
#' correlations on Fisher's z scale and of weights and probabilities on the logit scale, so that
#' none leaves its range. `"bootstrap"`: percentiles of [bootstrap()]. There are no profiles. A
#' parameter that is held or on the boundary of its range has `NA`.
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
#' confint(fit)
#' @name confint.elbo_mixture
NULL

#' @exportS3Method
interval_types.elbo_mixture <- function(fit) c("wald", "bootstrap")
