# What a mixture says of rows and units, old and new.
#
#   component_means(fit, design)        of each response: k x responses; of regressions rows x k
#   component_variances(fit, design)    likewise, within components
#   average_components(values, design, probability)   their mean by row, rows x responses
#   response_values(fit)                the responses in the same columns
#   evaluate_units(fit, design)         list(probability, log_density) by unit, of units without any
#                                       response too
#   draw_responses(fit, design)         list(design with drawn responses, component of each unit)

#' Predict from a mixture
#'
#' For units of the fit or new ones: the component that a unit most probably belongs to, the
#' probabilities of all components, the density of its responses, or the mean of its responses.
#'
#' @param object A fit made by [fit_mixture()].
#' @param newdata A data frame with the variables of the model; `NULL` for the units of the fit.
#'   Responses may be missing (`NA`): what is observed counts, and a unit of which nothing is
#'   observed has the probabilities of the components before any response. A missing covariate
#'   gives `NA`. Where the `unit` is not among its columns, every row is one.
#' @param type `"class"`, `"prob"`, `"response"` or `"density"`.
#' @param by_component Whether to give the mean response of each component rather than their
#'   average; for `type = "response"`.
#' @param log Whether to give the logarithm of the density.
#' @param ... Not used.
#'
#' @details
#' The probability of component j is by Bayes' rule \eqn{\pi_j p(y_i\mid z_i=j)}{pi_j p(y | z = j)}
#' over its sum over j, at the estimates; by method `"vb"`
#' \eqn{\exp E_q[\log\pi_j+\log p(y_i\mid z_i=j)]}{exp E_q[log pi_j + log p(y | z = j)]}, the best
#' factor q(z), and so the `"density"` there, the sum over j, is a lower bound of the posterior
#' predictive one. By method `"joint"` latent variables are points, and probabilities zero or one.
#'
#' The mean response averages over components. Of the rows of the fit it does so by the
#' probabilities that their responses give (it is [fitted()]); for `newdata` by those before the
#' response, so that the prediction of a response does not look at it. Only of mixtures of curves a
#' unit of the fit, which `newdata` names by its `unit`, is predicted with what the fit knows of it:
#' the probabilities of its components and its own deviation from their curves, at any times.
#' `by_component` gives the curves of the components themselves. Beyond the data smooth terms go on
#' as straight lines.
#'
#' With smooth terms in the curves of the components the `"density"` is by method `"em"` too a lower
#' bound, \eqn{\exp E_q[\log p(y\mid b)]}{exp E_q[log p(y | b)]} in the place of the density of a
#' component, and so are the probabilities made of these.
#' @return By unit (a row, or a level of `unit`), with names:
#' * `"class"`: integer vector of components;
#' * `"prob"`: matrix, units x k;
#' * `"density"`: numeric vector, of all rows of the unit together.
#'
#' By row, `"response"`: a vector, or a matrix with a column for each response (a categorical one
#' has a column of probabilities for each level); with `by_component` an array rows x responses x k,
#' without the second dimension for a single response.
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV")
#' table(predict(fit))
#' new <- data.frame(eruptions = c(2, 3, 4), waiting = c(50, 70, NA))
#' predict(fit, new, type = "prob")
#' predict(fit, new, type = "density")
#' @export
predict.elbo_mixture <- function(object, newdata = NULL,
                                 type = c("class", "prob", "response", "density"),
                                 by_component = FALSE, log = FALSE, ...) {
  check_dots_empty(...)
  type <- check_choice(type, "type", c("class", "prob", "response", "density"))
  check_flag(by_component, "by_component")
  check_flag(log, "log")
  if (type == "response") return(predict_response(object, newdata, by_component))
  units <- if (is.null(newdata)) {
    list(probability = unit_probability(object), log_density = evaluate_mixture(object)$log_density)
  } else {
    evaluate_units(object, mixture_newdata(object, newdata, response = TRUE))
  }
  probability <- units$probability
  values <- switch(type,
    class = stats::setNames(most_probable(probability), rownames(probability)),
    prob = probability,
    density = stats::setNames(if (log) units$log_density else exp(units$log_density),
                              rownames(probability))
  )
  if (is.null(newdata)) pad_rows(object, values) else values
}

# Of units that are rows: with NA where na.exclude dropped one, as fitted() has it.
pad_rows <- function(fit, values) {
  if (is.null(design_of(fit)$spec$unit)) stats::naresid(design_of(fit)$na.action, values)
  else values
}

most_probable <- function(probability) {
  class <- max.col(replace(probability, is.na(probability), 0), "first")
  replace(class, is.na(probability[, 1]), NA)
}

predict_response <- function(object, newdata, by_component) {
  design <- design_of(object)
  if (is.null(newdata)) {
    if (!by_component) return(fitted(object))
    probability <- NULL
  } else {
    design <- mixture_newdata(object, newdata, response = FALSE)
    probability <- unit_weights(object, design)
  }
  values <- if (by_component) component_array(object, design)
            else unit_means(object, design, probability)
  values <- frame_order(values, design)
  if (is.null(newdata)) pad_slices(values, design$na.action) else values
}

# Rows of an array, as naresid() pads those of a matrix.
pad_slices <- function(values, na.action) {
  if (length(dim(values)) < 3) return(stats::naresid(na.action, values))
  names <- dimnames(values)
  flat <- matrix(values, nrow(values), dimnames = list(names[[1]], NULL))
  padded <- stats::naresid(na.action, flat)
  array(padded, c(nrow(padded), dim(values)[-1]), c(list(rownames(padded)), names[-1]))
}

# The means of units before their responses: of one that the fit knows with its probabilities and
# its deviation.
unit_means <- function(fit, design, probability) {
  if (!law_of(fit)$has_deviations) return(averaged_means(fit, design, probability))
  known <- match(design$unit_names, if (!is.null(design$unit)) design_of(fit)$unit_names)
  seen <- !is.na(known)
  probability[seen, ] <- unit_probability(fit)[known[seen], ]
  deviation <- matrix(0, design$n_unit, ncol(design$Z))
  deviation[seen, ] <- law_of(fit)$deviations(fit)[known[seen], ]
  cbind(with_deviations(averaged_means(fit, design, probability), design, deviation))
}

with_deviations <- function(means, design, deviation) {
  means + rowSums(design$Z * deviation[unit_of_row(design), , drop = FALSE])
}

# ---- by unit -----------------------------------------------------------------------------

# Probabilities of the components of every unit, and log density. Rows of a regression without a
# response say nothing and are left out; units left without any row have the weights. Units with a
# missing covariate are NA.
evaluate_units <- function(fit, design) {
  weights <- unit_weights(fit, design)
  unit <- unit_of_row(design)
  covariates <- cbind(design$X, design$offset, design$weights, design$trials)
  lacking <- if (is.null(covariates)) FALSE else rowSums(is.na(covariates)) > 0
  seen <- if (law_of(fit)$by_row) !is.na(design$y) else rep(TRUE, design$n_row)
  unknown <- rowSums(is.na(weights)) > 0
  unknown[unit[seen & lacking]] <- TRUE
  log_density <- replace(numeric(design$n_unit), unknown, NA)
  weights[unknown, ] <- NA
  rows <- which(seen & !unknown[unit])
  if (length(rows) > 0) {
    answer <- evaluate_mixture(fit, design_of_rows(design, rows))
    units <- unique(unit[rows])
    weights[units, ] <- answer$probability
    log_density[units] <- answer$log_density
  }
  probability <- harden(fit, weights)
  dimnames(probability) <- list(design$unit_names, component_labels(fit))
  list(probability = probability,
       log_density = stats::setNames(log_density, design$unit_names))
}

# The rows given of a design, and the units that they belong to.
design_of_rows <- function(design, rows) {
  unit <- unit_of_row(design)[rows]
  units <- unique(unit)
  size <- tabulate(match(unit, units))
  elements <- intersect(row_elements, names(design))
  design[elements] <- lapply(design[elements], take_rows, rows)
  design["W"] <- list(take_rows(design$W, units))
  design["freq"] <- list(take_rows(design$freq, units))
  design$n_row <- length(rows)
  design$n_unit <- length(units)
  design["first"] <- list(if (any(size > 1)) c(0L, cumsum(size)))
  design
}

# ---- means and variances by row ----------------------------------------------------------

averaged_means <- function(fit, design, probability) {
  average_components(fit, component_means(fit, design), design, probability)
}

average_components <- function(fit, values, design, probability) {
  probability <- probability[unit_of_row(design), , drop = FALSE]
  if (!law_of(fit)$by_row) return(probability %*% values)
  # A component that a row is not of has no share in it, though its mean there be infinite.
  cbind(rowSums(ifelse(probability == 0, 0, probability * values)))
}

component_means <- function(fit, design) law_of(fit)$means(fit, design)

component_variances <- function(fit, design) law_of(fit)$variances(fit, design)

# The responses of the rows of the fit, rows x columns of component_means().
response_values <- function(fit) law_of(fit)$observed(fit)

# rows x responses x k, or rows x k.
component_array <- function(fit, design) {
  values <- component_means(fit, design)
  if (law_of(fit)$by_row) return(values)
  names <- list(NULL, colnames(values), rownames(values))
  out <- array(rep(t(values), each = design$n_row),
               c(design$n_row, ncol(values), n_components(fit)), names)
  if (ncol(values) == 1) array(out, dim(out)[-2], names[-2]) else out
}

# Rows of a design in the order of the data, with their names; a matrix of one column as a vector.
frame_order <- function(values, design) {
  position <- seq_len(design$n_row)
  if (!is.null(design$row_order)) position[design$row_order] <- position
  if (length(dim(values)) == 3) {
    values <- values[position, , , drop = FALSE]
    dimnames(values)[[1]] <- design$row_names
    return(values)
  }
  values <- values[position, , drop = FALSE]
  rownames(values) <- design$row_names
  if (ncol(values) == 1) values[, 1] else values
}

# ---- latent variables --------------------------------------------------------------------

#' @rdname latent
#' @details
#' Of a mixture the latent variable of a unit is its component: a row for each unit and component
#' with the `unit` (a level of `unit`, or the name of the row), the `component` and its
#' `probability`.
#' @export
latent.elbo_mixture <- function(object, ...) {
  check_dots_empty(...)
  probability <- unit_probability(object)
  data.frame(unit = rep(rownames(probability), each = n_components(object)),
             component = rep(seq_len(n_components(object)), times = nrow(probability)),
             probability = as.vector(t(probability)))
}

#' Data with the components of their rows
#'
#' @param x A fit made by [fit_mixture()].
#' @param data Data frame to augment, of the rows that were fitted; by default the variables of the
#'   model, as they were in the data.
#' @param newdata Data frame to predict for, instead of `data`.
#' @param ... Not used.
#' @return The data with `.class` (factor, the most probable component of the row's unit),
#'   `.uncertainty` (the probability that it is another one) and `.prob1`, `.prob2`, ...; of
#'   mixtures of regressions also `.fitted` and, for `data`, `.resid`. Rows that were not fitted are
#'   left out, or are `NA` under [stats::na.exclude()].
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV")
#' head(augment(fit, faithful))
#' @export
augment.elbo_mixture <- function(x, data = original_data(x), newdata = NULL, ...) {
  check_dots_empty(..., .but = passed_along$augment)
  regression <- law_of(x)$by_row
  if (is.null(newdata)) {
    check_data_frame(data, "data")
    probability <- by_frame_row(x, unit_probability(x)[unit_of_row(design_of(x)), , drop = FALSE])
    data <- data[row.names(data) %in% row_labels(probability), , drop = FALSE]
    rows <- match(row.names(data), row_labels(probability))
    fitted <- if (regression) list(.fitted = fitted(x)[rows], .resid = residuals(x)[rows])
  } else {
    data <- check_data_frame(newdata, "newdata")
    design <- mixture_newdata(x, newdata, response = TRUE)
    probability <- evaluate_units(x, design)$probability[unit_of_row(design), , drop = FALSE]
    probability <- frame_order(probability, design)
    rows <- seq_len(nrow(data))
    fitted <- if (regression) list(.fitted = predict(x, newdata, type = "response"))
  }
  probability <- matrix(probability, ncol = n_components(x))[rows, , drop = FALSE]
  class <- most_probable(probability)
  largest <- probability[cbind(seq_along(class), class)]
  columns <- c(fitted,
               list(.class = factor(class, seq_len(n_components(x))), .uncertainty = 1 - largest))
  columns[paste0(".prob", seq_len(n_components(x)))] <- as.data.frame(probability)
  data[names(columns)] <- lapply(columns, unname)
  data
}

row_labels <- function(x) if (is.null(dim(x))) names(x) else rownames(x)

# ---- simulation --------------------------------------------------------------------------

#' Simulate responses from a mixture
#'
#' @param object A fit made by [fit_mixture()].
#' @param nsim Number of responses to simulate.
#' @param seed `NULL` to draw from the session's generator, or a whole number, from which the
#'   same responses follow each time and which leaves the session's generator as it was.
#' @param newdata A data frame to simulate for; `NULL` for the rows of the fit.
#' @param ... Nothing further.
#' @param re.form,use.u Words of lme4: `NA` and `FALSE`, since the components are always drawn anew.
#' @details
#' The component of every unit is drawn anew, then its rows. Parameters are taken as they were
#' estimated; by method `"vb"` they are drawn from the posterior, anew for each simulation. A row
#' is drawn once, however many copies of it `freq` says there are, and also where its response was
#' missing.
#' @return A data frame with the columns `sim_1`, `sim_2`, ..., a row for each row of the fit
#'   (padded with `NA` under [stats::na.exclude()]) or of `newdata`. Several responses make a column
#'   that is itself a matrix or, where they are of different types, a data frame. The attribute
#'   `seed` holds the state of the generator before the simulation, as in [stats::simulate()], and
#'   `component` the components that were drawn, units x nsim.
#' @family what a mixture answers
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV")
#' head(simulate(fit, 1, seed = 1)$sim_1)
#' @export
simulate.elbo_mixture <- function(object, nsim = 1, seed = NULL, newdata = NULL, ...,
                                  re.form = NA, use.u = FALSE) {
  check_dots_empty(...)
  if (includes_latent(re.form) || check_flag(use.u, "use.u")) {
    not_for("mixture", "Simulation that keeps the components", "Draw anew, with re.form = NA.")
  }
  nsim <- check_count(nsim, "nsim")
  design <- if (is.null(newdata)) design_of(object)
            else mixture_newdata(object, newdata, response = FALSE)
  law <- law_of(object)
  draw <- function() {
    thetas <- if (method_of(object) == "vb") posterior_theta(object, nsim)
    lapply(seq_len(nsim), function(i) {
      draw_responses(if (is.null(thetas)) object else law$at_draw(object, thetas[i, ]), design)
    })
  }
  state <- generator_state(seed)
  drawn <- with_seed(seed, draw())
  columns <- lapply(drawn, function(one) {
    drawn_columns(object, one$design, newdata)
  })
  component <- vapply(drawn, `[[`, integer(design$n_unit), "component")
  out <- structure(list(), row.names = row_labels(as.matrix(columns[[1]])), class = "data.frame")
  for (i in seq_len(nsim)) out[[paste0("sim_", i)]] <- columns[[i]]
  structure(out, seed = state, component = matrix(component, ncol = nsim))
}

draw_responses <- function(fit, design = design_of(fit)) {
  component <- category_draws(unit_weights(fit, design), seq_len(design$n_unit))
  list(design = law_of(fit)$draw(fit, design, component), component = component)
}

# The drawn responses as the user has them, in the order of the data.
drawn_columns <- function(fit, design, newdata) {
  old <- is.null(newdata)
  pad <- function(values) {
    values <- frame_order(as.matrix(values), design)
    if (old) stats::naresid(design_of(fit)$na.action, values) else values
  }
  law_of(fit)$drawn(design, pad)
}
