# What insight, parameters and performance ask of a mixture, where the answer differs from that of
# other fits (R/easystats.R).

#' @exportS3Method insight::model_info
model_info.elbo_mixture <- function(x, verbose = TRUE, ...) {
  info <- NextMethod()
  info$is_mixture <- TRUE
  # Tables would exponentiate all that a fit has under another link, weights and means included.
  info$link_function <- "identity"
  info
}

# Of new data before their responses, with the standard error by the delta method: theta moved along
# the columns of a root of its covariance.
#' @exportS3Method
predicted_table.elbo_mixture <- function(fit, data, predict, ci, random) {
  if (predict == "classification") return(data.frame(Predicted = predict(fit, data)))
  design_of(fit)["na.action"] <- list(NULL)
  if (is.null(data) || random) {
    values <- as.matrix(predict(fit, data, type = "response"))
    return(long_predictions(values))
  }
  if (!random) data <- data[setdiff(names(data), group_variables(fit))]
  design <- mixture_newdata(fit, data, response = FALSE)
  mean_at <- function(theta) {
    one <- replace_theta(fit, theta)
    frame_order(cbind(averaged_means(one, design, unit_weights(one, design))), design)
  }
  values <- as.matrix(mean_at(theta(fit)))
  se <- if (!law_of(fit)$has_vectors(design_of(fit))) delta_errors(fit, mean_at)
  long_predictions(values, se, ci)
}

delta_errors <- function(fit, value) {
  V <- vcov(fit, full = TRUE)
  V[is.na(V)] <- 0
  spectrum <- eigen(V, symmetric = TRUE)
  roots <- t(t(spectrum$vectors) * sqrt(pmax(spectrum$values, 0)))
  h <- 0.01
  slopes <- apply(roots[, spectrum$values > 0, drop = FALSE], 2, function(move) {
    as.vector(value(theta(fit) + h * move) - value(theta(fit) - h * move)) / (2 * h)
  })
  sqrt(rowSums(matrix(slopes, ncol = sum(spectrum$values > 0))^2))
}

# A row for each row of data, and of several responses for each of them.
long_predictions <- function(values, se = NULL, ci = NULL) {
  table <- data.frame(Predicted = as.vector(values))
  if (ncol(values) > 1) {
    table <- data.frame(Row = rep(seq_len(nrow(values)), ncol(values)),
                        Response = rep(colnames(values), each = nrow(values)), table)
  }
  if (is.null(se)) return(table)
  table$SE <- se
  if (is.null(ci)) return(table)
  half <- stats::qnorm((1 + ci) / 2) * se
  cbind(table, CI_low = table$Predicted - half, CI_high = table$Predicted + half)
}

#' @exportS3Method
refit_data.elbo_mixture <- function(fit, data) {
  update(fit, data = data, subset = NULL, k = n_components(fit), covariance = covariance_model(fit),
         start = unit_probability(fit))
}

#' @exportS3Method performance::model_performance
model_performance.elbo_mixture <- function(model, ...) {
  criteria <- criteria(model)
  structure(
    data.frame(AIC = criteria[["AIC"]], BIC = criteria[["BIC"]], ICL = criteria[["ICL"]],
               Entropy = classification(model)[["entropy"]]),
    class = c("performance_model", "data.frame")
  )
}

#' @exportS3Method performance::check_predictions
check_predictions.elbo_mixture <- function(object, ...) {
  check_one_response(observed_rows(object, NULL))
  NextMethod(re_formula = NA) # components are drawn anew
}

# gtsummary's tbl_regression() goes by the variables that this names, and takes what it does not
# know
# for intercepts, which it leaves out.
#' @exportS3Method broom.helpers::model_identify_variables
model_identify_variables.elbo_mixture <- function(model) {
  known <- NextMethod()
  fixed <- parameters_of(model)$block %in% c("weight", "mean", "prob", "membership")
  terms <- setdiff(unique(tidy_terms(parameters_of(model))[fixed]),
                   c(known$term, "membership.(Intercept)"))
  rbind(known, data.frame(term = terms, variable = terms, var_class = rep("numeric", length(terms)),
                          var_type = rep("continuous", length(terms)),
                          var_nlevels = rep(NA_integer_, length(terms))))
}

# Variables of classes are columns each; insight takes only cbind() apart.
#' @exportS3Method insight::find_response
find_response.elbo_mixture <- function(x, combine = TRUE, ...) {
  if (!responses_apart(design_of(x)$spec) || combine) return(NextMethod())
  response_variables(x)
}
