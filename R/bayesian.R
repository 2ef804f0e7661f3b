# What rstantools, bayestestR, bayesplot and tidybayes ask of a posterior: draws by method "vb"
# (R/draws.R), and predictions from each of them.

#' Posterior draws of predictions
#'
#' Methods for the generics of package rstantools, with which bayesplot, tidybayes
#' (`add_epred_draws()`, `add_predicted_draws()`) and others work, for fits by method `"vb"`. A
#' draw is one of all
#' parameters and latent variables together, from the posterior as
#' [as_draws()][as_draws.elbo_glmm] draws them.
#'
#' @param object a fit by method `"vb"`.
#' @param newdata a data frame; `NULL` for the rows of the fit.
#' @param re.form `NULL` for predictions with the latent variables of each group, `NA` or `~ 0`
#'   for the
#'   population (and in `posterior_predict()` for a group not seen before).
#' @param re_formula brms's word for `re.form`.
#' @param draws,ndraws number of draws, 1000 by default: rstanarm and brms have one word each.
#' @param allow_new_levels whether `newdata` may have groups that the fit has not seen. Their latent
#'   variables are drawn from their law.
#' @param transform whether a linear predictor is put on the scale of the response.
#' @param seed `NULL` to draw from the session's generator, or a whole number, which gives the
#'   same draws each time and leaves the session's generator as it was.
#' @param prob probability of the central intervals.
#' @param ... not used.
#' @return A matrix draws x rows: of expected responses (`posterior_epred()`), linear predictors
#'   (`posterior_linpred()`), responses (`posterior_predict()`), response less draw
#'   (`predictive_error()`) or log densities of the responses given parameters and latent variables
#'   (`log_lik()`). Of a mixture with several responses an array draws x rows x responses; its
#'   densities
#'   are averaged over the components, and belong to units. `posterior_interval()` and
#'   `predictive_interval()`: a matrix with a row for each parameter, or each row of the data.
#' @section Errors: class `elbo_error_method` for fits by other methods.
#' @family what a fit answers
#' @examplesIf requireNamespace("rstantools", quietly = TRUE)
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, method = "vb")
#' new <- data.frame(Subject = "M01", age = c(8, 16))
#' apply(rstantools::posterior_epred(fit, new, seed = 1), 2, quantile, c(0.05, 0.95))
#' rstantools::prior_summary(fit)
#' @name posterior_epred.elbo_fit
NULL

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::posterior_epred
posterior_epred.elbo_glmm <- function(object, newdata = NULL, re.form = NULL, draws = NULL,
                                      ndraws = draws, allow_new_levels = FALSE, seed = NULL, ...,
                                      re_formula = re.form) {
  check_dots_empty(..., .but = passed_by_bayesians)
  ndraws <- check_posterior(object, "posterior_epred()", ndraws)
  with_seed(seed, expected_draws(object, newdata, includes_latent(re_formula), ndraws,
                                 check_flag(allow_new_levels, "allow_new_levels")))
}

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::posterior_epred
posterior_epred.elbo_mixture <- posterior_epred.elbo_glmm

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::posterior_linpred
posterior_linpred.elbo_glmm <- function(object, transform = FALSE, newdata = NULL, re.form = NULL,
                                        draws = NULL, ndraws = draws, allow_new_levels = FALSE,
                                        seed = NULL, ..., re_formula = re.form) {
  check_dots_empty(..., .but = passed_by_bayesians)
  check_flag(transform, "transform")
  expected <- posterior_epred.elbo_glmm(object, newdata, re_formula, ndraws = ndraws, seed = seed,
                                       allow_new_levels = allow_new_levels)
  if (transform) expected else family(object)$linkfun(expected)
}

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::posterior_linpred
posterior_linpred.elbo_mixture <- posterior_linpred.elbo_glmm

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::posterior_predict
posterior_predict.elbo_glmm <- function(object, newdata = NULL, re.form = NULL, draws = NULL,
                                        ndraws = draws, allow_new_levels = FALSE, seed = NULL,
                                        ..., re_formula = re.form) {
  check_dots_empty(..., .but = passed_by_bayesians)
  ndraws <- check_posterior(object, "posterior_predict()", ndraws)
  with_seed(seed, predicted_draws(object, newdata, includes_latent(re_formula), ndraws,
                                  check_flag(allow_new_levels, "allow_new_levels")))
}

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::posterior_predict
posterior_predict.elbo_mixture <- posterior_predict.elbo_glmm

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::predictive_error
predictive_error.elbo_glmm <- function(object, newdata = NULL, ..., seed = NULL) {
  y <- observed_rows(object, newdata)
  predicted <- posterior_predict.elbo_glmm(object, newdata, ..., seed = seed)
  matrix(y, nrow(predicted), length(y), byrow = TRUE) - predicted
}

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::predictive_error
predictive_error.elbo_mixture <- predictive_error.elbo_glmm

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::predictive_interval
predictive_interval.elbo_glmm <- function(object, prob = 0.9, newdata = NULL, ..., seed = NULL) {
  predicted <- posterior_predict.elbo_glmm(object, newdata, ..., seed = seed)
  rstantools::predictive_interval(predicted, prob = prob)
}

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::predictive_interval
predictive_interval.elbo_mixture <- predictive_interval.elbo_glmm

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::posterior_interval
posterior_interval.elbo_fit <- function(object, prob = 0.9, ndraws = NULL, seed = NULL, ...) {
  check_dots_empty(..., .but = "type")
  draws <- posterior_columns(object, "posterior_interval()", ndraws, seed)
  rstantools::posterior_interval(as.matrix(draws), prob = prob)
}

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::log_lik
log_lik.elbo_glmm <- function(object, newdata = NULL, draws = NULL, ndraws = draws, seed = NULL,
                              ...) {
  check_dots_empty(..., .but = passed_by_bayesians)
  ndraws <- check_posterior(object, "log_lik()", ndraws)
  with_seed(seed, density_draws(object, newdata, ndraws))
}

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::log_lik
log_lik.elbo_mixture <- log_lik.elbo_glmm

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::bayes_R2
bayes_R2.elbo_glmm <- function(object, re.form = NULL, ndraws = NULL, seed = NULL, ...,
                               re_formula = re.form) {
  check_dots_empty(..., .but = passed_by_bayesians)
  ndraws <- check_posterior(object, "bayes_R2()", ndraws)
  with_seed(seed, explained_draws(object, includes_latent(re_formula), ndraws))
}

#' @rdname posterior_epred.elbo_fit
#' @exportS3Method rstantools::prior_summary
prior_summary.elbo_fit <- function(object, ...) {
  check_dots_empty(..., .but = c("all", "digits"))
  stated <- prior_table(object)
  flat <- setdiff(names(priors_of(object)$stated), stated$name)
  if (is.null(priors_of(object))) flat <- parameters_of(object)$name
  rest <- data.frame(name = flat, prior = rep("flat()", length(flat)),
                     default = rep(TRUE, length(flat)))
  rbind(stated, rest)
}

# What tools of Stan's family pass along, of which nothing here depends on.
passed_by_bayesians <- c("XZ", "fun", "dpar", "resp", "sort", "summary")

check_posterior <- function(fit, what, ndraws) {
  if (method_of(fit) != "vb") {
    abort(c(sprintf("%s: a fit by method \"%s\" has no posterior to draw from.", what,
                    method_of(fit)),
            "Use update(fit, method = \"vb\")."), "elbo_error_method")
  }
  if (is.null(ndraws)) 1000L else check_count(ndraws, "ndraws")
}

# ---- draws of what is predicted ------------------------------------------------------------

# Draws x rows (x responses); `latent`: with the latent variables of known groups, `allow`: and of
# new ones. Of a mixture before the responses are seen, so that there are no known groups.
expected_draws <- function(fit, newdata, latent, n, allow) UseMethod("expected_draws")
predicted_draws <- function(fit, newdata, latent, n, allow) UseMethod("predicted_draws")
# Draws x rows, or units.
density_draws <- function(fit, newdata, n) UseMethod("density_draws")
# The response in the rows of newdata, NULL for those of the fit.
observed_rows <- function(fit, newdata) UseMethod("observed_rows")

#' @exportS3Method
expected_draws.elbo_glmm <- function(fit, newdata, latent, n, allow) {
  posterior_rows(fit, newdata, latent, n, allow)
}

#' @exportS3Method
predicted_draws.elbo_glmm <- function(fit, newdata, latent, n, allow) {
  anew <- has_groups(fit) && !latent
  add <- function(one, data, mean) {
    if (anew) mean <- mean + latent_sampler(one, data)()
    mean + row_sd(one, data) * stats::rnorm(length(mean))
  }
  posterior_rows(fit, newdata, latent, n, allow, prediction = TRUE, add = add, grouped = anew)
}

#' @exportS3Method
density_draws.elbo_glmm <- function(fit, newdata, n) {
  y <- observed_rows(fit, newdata)
  posterior_rows(fit, newdata, TRUE, n, FALSE, prediction = TRUE, add = function(one, data, mean) {
    stats::dnorm(y, mean, row_sd(one, data), log = TRUE)
  })
}

# Gelman, Goodrich, Gabry and Vehtari (2019): the variance of the expected responses over itself
# plus
# the mean residual variance, draw by draw.
explained_draws <- function(fit, latent, n) {
  explained <- posterior_rows(fit, NULL, latent, n, FALSE, add = function(one, data, mean) {
    explained <- stats::var(mean)
    explained / (explained + mean(row_sd(one, data)^2))
  })
  drop(unname(explained))
}

#' @exportS3Method
observed_rows.elbo_glmm <- function(fit, newdata) {
  if (is.null(newdata)) return(design_of(fit)$y)
  check_data_frame(newdata, "newdata")
  y <- tryCatch(eval(formula(fit)[[2]], newdata, environment(formula(fit))), error = abort_newdata)
  check_new_length(length(y), newdata, all.vars(formula(fit)[[2]]))
  y
}

# n x rows: what `add` makes of the linear predictor of each draw; `grouped`: of rows with groups.
posterior_rows <- function(fit, newdata, latent, n, allow, prediction = FALSE,
                           add = function(one, data, mean) mean, grouped = FALSE) {
  latent <- latent && has_groups(fit)
  data <- row_data(fit, newdata, na.pass, latent || grouped, prediction)
  group <- if (latent) group_index(fit, data, allow)
  new <- lapply(if (is.list(group)) group else list(group), `%in%`, 0)
  rows <- lapply(posterior_fits(fit, n, latent), function(one) {
    mean <- row_mean(one, data, group)
    if (any(unlist(new))) mean <- mean + latent_sampler(one, data, new)()
    add(one, data, mean)
  })
  do.call(rbind, rows)
}

#' @exportS3Method
expected_draws.elbo_mixture <- function(fit, newdata, latent, n, allow) {
  design <- if (is.null(newdata)) design_of(fit)
            else mixture_newdata(fit, newdata, response = FALSE)
  stack_draws(lapply(mixture_draws(fit, n), function(one) {
    frame_order(cbind(averaged_means(one, design, unit_weights(one, design))), design)
  }))
}

#' @exportS3Method
predicted_draws.elbo_mixture <- function(fit, newdata, latent, n, allow) {
  if (responses_apart(design_of(fit)$spec)) {
    not_for("mixture", "posterior_predict() of several types", "Use simulate(fit, nsim).")
  }
  draws <- simulate(fit, n, newdata = newdata)
  used <- if (is.null(newdata)) row.names(draws) %in% row.names(frame_of(fit)) else TRUE
  stack_draws(lapply(draws, function(one) as.matrix(one)[used, , drop = FALSE]))
}

#' @exportS3Method
density_draws.elbo_mixture <- function(fit, newdata, n) {
  design <- if (is.null(newdata)) design_of(fit)
            else mixture_newdata(fit, newdata, response = TRUE)
  check_no_curves(design_of(fit), "log_lik()", "logLik() and elbo() of the fit are known.")
  rows <- lapply(mixture_draws(fit, n), function(one) {
    at <- point_fit(one)
    answer <- evaluate_mixture(at, design, at$state)
    stats::setNames(answer$log_density, design$unit_names)
  })
  do.call(rbind, rows)
}

#' @exportS3Method
observed_rows.elbo_mixture <- function(fit, newdata) {
  design <- if (is.null(newdata)) design_of(fit)
            else mixture_newdata(fit, newdata, response = TRUE)
  check_one_response(frame_order(response_values(replace(fit, "design", list(design))), design))
}

mixture_draws <- function(fit, n) {
  thetas <- posterior_theta(fit, n)
  lapply(seq_len(n), function(i) law_of(fit)$at_draw(fit, thetas[i, ]))
}

# The mixture at the point theta that a draw has, by method "em".
point_fit <- function(fit) {
  method_of(fit) <- "em"
  priors_of(fit) <- mixture_priors(NULL, design_of(fit), n_components(fit), "em")
  state_of(fit) <- list()
  state_of(fit) <- theta_state(fit, theta(fit))
  law_of(fit)$unconstrained(fit)
}

# n x rows, or n x rows x responses.
stack_draws <- function(draws) {
  draws <- lapply(draws, as.matrix)
  names <- list(NULL, rownames(draws[[1]]), colnames(draws[[1]]))
  out <- aperm(array(unlist(draws), c(dim(draws[[1]]), length(draws))), c(3, 1, 2))
  dimnames(out) <- names
  if (dim(out)[3] == 1) matrix(out, nrow(out), dimnames = names[1:2]) else out
}

# ---- summaries of the posterior --------------------------------------------------------------

# A column for each parameter.
posterior_columns <- function(fit, what, ndraws = NULL, seed = NULL,
                              effects = c("all", "fixed", "random"), parameters = NULL) {
  ndraws <- check_posterior(fit, what, ndraws)
  effects <- check_choice(effects, "effects", c("all", "fixed", "random"))
  draws <- as.data.frame(unclass(posterior::as_draws(fit, ndraws, seed = seed)), optional = TRUE)
  free <- !parameters_of(fit)$fixed
  role <- ifelse(is_coefficient(fit), "fixed", "random")
  keep <- free & (effects == "all" | role == effects)
  if (!is.null(parameters)) keep <- keep & grepl(paste(parameters, collapse = "|"), names(draws))
  draws[keep]
}

# bayestestR's functions of a posterior have methods for data frames of draws.
posterior_method <- function(generic) {
  force(generic)
  function(x, ..., effects = "all", parameters = NULL, ndraws = NULL, seed = NULL) {
    draws <- posterior_columns(x, paste0(generic, "()"), ndraws, seed, effects, parameters)
    getExportedValue("bayestestR", generic)(draws, ...)
  }
}

#' @exportS3Method bayestestR::describe_posterior
describe_posterior.elbo_fit <- function(posteriors, ..., effects = "all", parameters = NULL,
                                        ndraws = NULL, seed = NULL) {
  draws <- posterior_columns(posteriors, "describe_posterior()", ndraws, seed, effects, parameters)
  bayestestR::describe_posterior(draws, ...)
}

#' @exportS3Method bayestestR::hdi
hdi.elbo_fit <- posterior_method("hdi")
#' @exportS3Method bayestestR::eti
eti.elbo_fit <- posterior_method("eti")
#' @exportS3Method bayestestR::spi
spi.elbo_fit <- posterior_method("spi")
#' @exportS3Method bayestestR::bci
bci.elbo_fit <- posterior_method("bci")
#' @exportS3Method bayestestR::point_estimate
point_estimate.elbo_fit <- posterior_method("point_estimate")
#' @exportS3Method bayestestR::map_estimate
map_estimate.elbo_fit <- posterior_method("map_estimate")
#' @exportS3Method bayestestR::p_direction
p_direction.elbo_fit <- posterior_method("p_direction")
#' @exportS3Method bayestestR::p_map
p_map.elbo_fit <- posterior_method("p_map")
#' @exportS3Method bayestestR::p_significance
p_significance.elbo_fit <- posterior_method("p_significance")
#' @exportS3Method bayestestR::rope
rope.elbo_fit <- posterior_method("rope")
#' @exportS3Method bayestestR::p_rope
p_rope.elbo_fit <- posterior_method("p_rope")
#' @exportS3Method bayestestR::equivalence_test
equivalence_test.elbo_fit <- posterior_method("equivalence_test")
#' @exportS3Method bayestestR::estimate_density
estimate_density.elbo_fit <- posterior_method("estimate_density")


# ---- pictures ------------------------------------------------------------------------------------

# Responses beside those that the fit simulates: of any method, under "vb" from the posterior.
#' @exportS3Method bayesplot::pp_check
pp_check.elbo_glmm <- function(object, type = "dens_overlay", ndraws = NULL, group = NULL,
                               re.form = NULL, seed = NULL, ...) {
  check_no_categories(object, "pp_check()")
  y <- observed_rows(object, NULL)
  shown <- bayesplot::available_ppc()
  type <- sub("^ppc_", "", type)
  check_choice(type, "type", sub("^ppc_", "", shown))
  if (is.null(ndraws)) ndraws <- if (type %in% c("hist", "boxplot", "freqpoly", "dens")) 8L else 50L
  simulated <- getSimulations.elbo_glmm(
    object, check_count(ndraws, "ndraws"), if (is.null(re.form)) "conditional" else "unconditional",
    seed = seed
  )
  known <- stats::complete.cases(simulated) # not the rows that na.exclude() pads
  yrep <- t(if (sum(known) == length(y)) simulated[known, , drop = FALSE] else simulated)
  draw <- getExportedValue("bayesplot", paste0("ppc_", type))
  arguments <- list(y = unname(y), yrep = unname(yrep), ...)
  if (!is.null(group)) arguments$group <- original_data(object)[[group]]
  do.call(draw, arguments)
}

check_no_categories <- function(fit, what) {
  if (is.null(design_of(fit)$response$levels)) return(invisible())
  abort(c(sprintf("%s draws numbers, and the response is of ordered categories.", what),
          "table(simulate(fit)$sim_1) stands beside table() of the response."),
        "elbo_error_not_available")
}

#' @exportS3Method bayesplot::pp_check
pp_check.elbo_mixture <- pp_check.elbo_glmm

# ---- priors ------------------------------------------------------------------------------------

#' @exportS3Method bayestestR::describe_prior
describe_prior.elbo_fit <- function(model, ...) {
  stated <- priors_of(model)$stated
  stated <- stated[lengths(stated) > 0]
  parameter <- function(prior, names) {
    value <- unlist(prior$parameters[names])
    if (length(value) == 1) unname(value) else NA_real_
  }
  data.frame(
    Parameter = as.character(names(stated)),
    Prior_Distribution = vapply(stated, function(prior) prior$distribution, "", USE.NAMES = FALSE),
    Prior_Location = vapply(stated, parameter, 0, "mean", USE.NAMES = FALSE),
    Prior_Scale = vapply(stated, parameter, 0, c("sd", "scale"), USE.NAMES = FALSE),
    Prior_df = vapply(stated, parameter, 0, "df", USE.NAMES = FALSE)
  )
}
