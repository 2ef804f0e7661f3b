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

#' @exportS3Method marginaleffects::get_predict
get_predict.elbo_mixture <- function(model, newdata = model.frame(model), type = "response", ...) {
  estimate <- predict(model, newdata = newdata, type = "response")
  if (is.matrix(estimate)) {
    return(data.frame(rowid = rep(seq_len(nrow(estimate)), ncol(estimate)),
                      group = rep(colnames(estimate), each = nrow(estimate)),
                      estimate = as.vector(estimate)))
  }
  data.frame(rowid = seq_along(estimate), estimate = unname(estimate))
}
