# What other packages ask of a mixture, where the answer differs from that of other fits
# (R/ecosystem.R).

# emmeans stops with what this says.
#' @exportS3Method emmeans::recover_data
recover_data.elbo_mixture <- function(object, ...) {
  "emmeans: not for mixtures. predict(fit, newdata, type = \"response\") has means to compare."
}

#' @exportS3Method sandwich::estfun elbo_mixture
estfun.elbo_mixture <- function(x, ...) {
  not_for_mixtures("estfun()", "The sandwich is vcov(fit, type = \"sandwich\").")
}

#' @exportS3Method sandwich::bread elbo_mixture
bread.elbo_mixture <- function(x, ...) {
  not_for_mixtures("bread()", "The sandwich is vcov(fit, type = \"sandwich\").")
}

# Means, or the probabilities of the components of the units, a group each.
#' @exportS3Method marginaleffects::get_predict
get_predict.elbo_mixture <- function(model, newdata = fit_data(model), type = "response", ...) {
  type <- check_choice(if (is.null(type)) "response" else type, "type", c("response", "prob"))
  estimate <- predict(model, newdata = newdata, type = type)
  if (!is.matrix(estimate)) return(with_rowid(data.frame(estimate = unname(estimate)), newdata))
  with_rowid(data.frame(group = rep(colnames(estimate), each = nrow(estimate)),
                        estimate = as.vector(estimate)), newdata)
}

#' @exportS3Method clubSandwich::vcovCR
vcovCR.elbo_mixture <- function(obj, ...) {
  not_for_mixtures("vcovCR()", "The sandwich is vcov(fit, type = \"sandwich\").")
}
