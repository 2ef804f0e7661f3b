# Fits as data frames, for the generics of package generics (and so for broom's users).

#' A fit as data frames
#'
#' `tidy()` gives the estimates, `glance()` one row of facts, `augment()` the data with fitted
#' values, in the columns that broom.mixed uses.
#'
#' @param x a fit.
#' @param effects any of `"fixed"` (coefficients), `"ran_pars"` (standard deviations and
#'   correlations), `"ran_vals"` (latent variables, see [latent()]) and `"ran_coefs"`
#'   (coefficients of each level: fixed effect plus latent variable, without standard errors).
#' @param conf.int whether to add intervals: those of [confint()] for parameters (t for fixed
#'   effects, on the log and Fisher's z scale for standard deviations and correlations),
#'   normal ones for latent variables.
#' @param conf.level their level.
#' @param exponentiate whether to exponentiate the fixed effects and their intervals, the
#'   standard errors by the delta method.
#' @param data data frame to augment, of the rows that were fitted; by default the variables of the
#'   model, as they were in the data, and a transformed response too.
#' @param newdata data frame to predict for, instead of `data`.
#' @param se_fit whether to add standard errors of the fitted values.
#' @param interval `"none"`, `"confidence"` or `"prediction"`, as in [predict.elbo_fit()].
#' @param ... nothing further.
#' @param conf.method how intervals are made, as in broom.mixed: `"Wald"`, `"profile"` or `"boot"`,
#'   the `type` of [confint()].
#' @param ddf.method as in broom.mixed; Satterthwaite's is the only one.
#' @param nsim,seed for bootstrap intervals.
#' @return
#' `tidy()`: a data frame with those of the columns `effect`, `group`, `level`, `term`,
#' `estimate`, `std.error`, `condsd`, `statistic`, `p.value`, `conf.low`, `conf.high` that the
#' effects asked for have. Of `"ran_vals"` `std.error` is the `sd` of [latent()], and `condsd` the
#' standard deviation given the parameters, which is that of [ranef()] and of broom.mixed's
#' `std.error`. Terms of `"ran_pars"` are `sd__TERM`, `cor__T1.T2` and, with group `Residual`,
#' `sd__Observation`; pasted with the group they are the names of [theta()]. A residual standard
#' deviation for each level of a factor names the level in `level`.
#'
#' `glance()`: a data frame of one row: `nobs`, `sigma`, `logLik`, `AIC`, `BIC`, `df.residual`,
#' `elbo`, `method`, `converged`, `iterations`. What a fit does not have is `NA`: under method
#' `"joint"` the likelihood, with several residual standard deviations `sigma`.
#'
#' `augment()`: the data with `.fitted`, `.resid`, `.fixed` (the fixed part alone) and, if
#' asked for, `.se.fit`, `.lower`, `.upper`. Rows that were not fitted are left out, or are
#' `NA` under [stats::na.exclude()].
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' tidy(fit, conf.int = TRUE)
#' glance(fit)
#' head(augment(fit))
#' @name tidy.elbo_fit
NULL

#' @rdname tidy.elbo_fit
#' @export
tidy.elbo_fit <- function(x, effects = c("fixed", "ran_pars"), conf.int = FALSE,
                          conf.level = 0.95, exponentiate = FALSE, ..., conf.method = "Wald",
                          ddf.method = NULL, nsim = 1000L, seed = NULL) {
  check_dots_empty(..., .but = passed_along$tidy)
  effects <- check_effects(effects, tidy_effects(x))
  check_flag(conf.int, "conf.int")
  check_flag(exponentiate, "exponentiate")
  check_ddf(ddf.method, "ddf.method", "Satterthwaite")
  limits <- if (conf.int) {
    check_between(conf.level, "conf.level", 0, 1)
    function(names) {
      confint(x, names, conf.level, nsim = nsim, seed = seed, method = conf.method)
    }
  }
  table <- tidy_rows(x, effects, limits, conf.level)
  if (exponentiate) table <- exponentiate_rows(table, table$role %in% "coefficient")
  table <- table[intersect(tidy_columns, names(table))]
  row.names(table) <- NULL
  table
}

tidy_columns <- c("effect", "group", "component", "level", "term", "estimate", "std.error",
                  "condsd", "statistic", "p.value", "conf.low", "conf.high")

check_effects <- function(effects, known) {
  check(is.character(effects) && length(effects) > 0 && all(effects %in% known), "effects",
        paste("some of", paste0("\"", known, "\"", collapse = ", ")), effects)
  known[known %in% effects]
}

# The effects that a class has, and their rows: with a column `role`, and intervals where `limits`
# gives those of parameters by their names.
tidy_effects <- function(fit) UseMethod("tidy_effects")

tidy_rows <- function(fit, effects, limits, level) UseMethod("tidy_rows")

#' @exportS3Method
tidy_effects.elbo_fit <- function(fit) c("fixed", "ran_pars")

# A row for each parameter.
#' @exportS3Method
tidy_rows.elbo_fit <- function(fit, effects, limits, level) {
  parameters <- parameters_of(fit)
  se <- unname(standard_errors(fit))
  estimate <- as.vector(theta(fit))
  statistic <- ifelse(parameters$role == "coefficient", estimate / se, NA)
  df <- rep(Inf, length(estimate))
  df[is_coefficient(fit)] <- summary_df(fit)
  table <- data.frame(
    role = parameters$role, effect = role_of(parameters, "effect"), group = parameters$group,
    component = parameters$component, term = tidy_terms(parameters), estimate = estimate,
    std.error = se, statistic = statistic, p.value = 2 * stats::pt(-abs(statistic), df)
  )
  for (column in c("group", "component")) {
    if (all(is.na(table[[column]]))) table[[column]] <- NULL
  }
  table <- with_intervals(table, fit, parameters$name, limits)
  table[table$effect %in% effects, ]
}

tidy_terms <- function(parameters) {
  terms <- inner_terms(parameters)
  dotted <- parameters$block %in% c("mean", "prob", "membership")
  ifelse(dotted, paste0(parameters$block, ".", terms),
         ifelse(parameters$block == "weight", "proportion",
                ifelse(parameters$block == "sigma", "sd__Observation", term_names(parameters))))
}

# Rows of two tables, with the columns of both.
add_rows <- function(table, more) {
  for (column in setdiff(names(more), names(table))) table[[column]] <- rep(NA, nrow(table))
  for (column in setdiff(names(table), names(more))) more[[column]] <- rep(NA, nrow(more))
  rbind(table, more[names(table)])
}

exponentiate_rows <- function(table, rows) {
  table$std.error[rows] <- table$std.error[rows] * exp(table$estimate[rows])
  for (column in intersect(c("estimate", "conf.low", "conf.high"), names(table))) {
    table[[column]][rows] <- exp(table[[column]][rows])
  }
  table
}

# ---- of mixed models ---------------------------------------------------------------------

#' @exportS3Method
tidy_effects.elbo_glmm <- function(fit) c("fixed", "ran_pars", "ran_vals", "ran_coefs")

#' @exportS3Method
tidy_rows.elbo_glmm <- function(fit, effects, limits, level) {
  makers <- list(fixed = tidy_fixed, ran_pars = tidy_variances, ran_vals = tidy_latent,
                 ran_coefs = tidy_coefficients)
  Reduce(add_rows, lapply(effects, function(effect) {
    table <- makers[[effect]](fit, limits, level)
    coefficient <- effect == "fixed" & table$term %in% names(coef(fit))
    cbind(role = ifelse(coefficient, "coefficient", NA_character_),
          effect = rep(effect, nrow(table)), table)
  }))
}

tidy_fixed <- function(fit, limits, level) {
  table <- summary(fit)$coefficients
  statistic <- ncol(table) - 1
  table <- with_intervals(data.frame(
    term = as.character(rownames(table)),
    estimate = table[, "Estimate"], std.error = table[, "Std. Error"],
    statistic = table[, statistic], p.value = table[, statistic + 1]
  ), fit, rownames(table), limits)
  add_rows(table, tidy_own(fit, limits))
}

# What the law of the response has of its own: thresholds, or the size. No test is of interest.
tidy_own <- function(fit, limits) {
  own <- parameters_of(fit)[parameters_of(fit)$block %in% own_blocks, ]
  with_intervals(data.frame(
    term = own$name, estimate = unname(theta(fit)[own$name]),
    std.error = unname(standard_errors(fit)[own$name])
  ), fit, own$name, limits)
}

tidy_variances <- function(fit, limits, level) {
  variances <- variance_parameters(fit)
  residual <- variances$kind == "sigma"
  term <- stem_names(parameters_of(fit))[match(variances$name, parameters_of(fit)$name)]
  table <- data.frame(
    group = variances$group,
    level = ifelse(residual, variances$var1, NA_character_),
    term = ifelse(residual, "sd__Observation", term),
    estimate = variances$estimate,
    std.error = unname(standard_errors(fit)[variances$name])
  )
  if (is.null(design_of(fit)$level)) table$level <- NULL
  with_intervals(table, fit, variances$name, limits)
}

# `limits` gives the intervals of parameters by their names; NULL where none are asked for.
with_intervals <- function(table, fit, names, limits) {
  if (is.null(limits)) return(table)
  interval <- matrix(NA_real_, length(names), 2, dimnames = list(names, NULL))
  free <- intersect(names, parameters_of(fit)$name[!parameters_of(fit)$fixed])
  if (length(free) > 0) interval[free, ] <- limits(free)
  cbind(table, conf.low = unname(interval[, 1]), conf.high = unname(interval[, 2]))
}

# Beside what is uncertain in all, as latent() has it, what ranef() has given the parameters.
tidy_latent <- function(fit, limits, level) {
  table <- latent(fit)
  names(table)[names(table) %in% c("mean", "sd")] <- c("estimate", "std.error")
  given <- as.data.frame(ranef(fit))
  key <- function(group, level) paste(group, level, sep = "\r")
  term <- ifelse(given$term == "b" & given$grpvar %in% curve_labels(design_of(fit)$curves),
                 given$grpvar, as.character(given$term))
  row <- match(paste(key(table$group, table$level), table$term),
               paste(key(given$grpvar, given$grp), term))
  table$condsd <- as.numeric(given$condsd)[row]
  if (is.null(limits)) return(table)
  half_width <- stats::qnorm((1 + level) / 2) * table$std.error
  cbind(table, conf.low = table$estimate - half_width, conf.high = table$estimate + half_width)
}

tidy_coefficients <- function(fit, limits, level) {
  none <- list(name = character(), mean = matrix(0, 0, 0)) # no groups, no rows
  parts <- c(list(none), unname(latent_parts(fit)))
  do.call(rbind, lapply(parts, coefficients_of_levels, coef(fit)))
}

coefficients_of_levels <- function(part, fixed) {
  deviations <- part$mean
  terms <- union(names(fixed), colnames(deviations))
  values <- matrix(0, nrow(deviations), length(terms),
                   dimnames = list(rownames(deviations), terms))
  values[, names(fixed)] <- rep(fixed, each = nrow(values))
  values[, colnames(deviations)] <- values[, colnames(deviations)] + deviations
  data.frame(
    group = rep_len(part$name, length(values)),
    level = rep(as.character(rownames(values)), each = length(terms)),
    term = rep(terms, times = nrow(values)),
    estimate = as.vector(t(values))
  )
}

#' @rdname tidy.elbo_fit
#' @export
glance.elbo_fit <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$glance)
  state <- convergence(x)
  data.frame(
    nobs = nobs(x), glance_facts(x), as.list(criteria(x)), df.residual = df.residual(x),
    elbo = objective_of(x), method = method_of(x), converged = state$status == "converged",
    iterations = state$iterations
  )
}

# What a class adds to glance(): a data frame of one row.
glance_facts <- function(fit) UseMethod("glance_facts")

#' @exportS3Method
glance_facts.elbo_fit <- function(fit) data.frame(row.names = 1L)

#' @exportS3Method
glance_facts.elbo_glmm <- function(fit) {
  sigma <- unname(sigma(fit))
  data.frame(sigma = if (length(sigma) == 1 && !design_of(fit)$known_se) sigma else NA_real_)
}

#' @rdname tidy.elbo_fit
#' @export
augment.elbo_glmm <- function(x, data = augmented_data(x), newdata = NULL, se_fit = FALSE,
                              interval = c("none", "confidence", "prediction"), ...) {
  check_dots_empty(..., .but = passed_along$augment)
  check_flag(se_fit, "se_fit")
  interval <- check_choice(interval, "interval", c("none", "confidence", "prediction"))
  # Of ordered categories, whose means are matrices, the linear predictor.
  type <- if (family(x)$family == "cumulative") "link" else "response"
  if (is.null(newdata)) {
    fitted <- if (type == "link") predict(x) else fitted(x)
    check_data_frame(data, "data")
    data <- data[row.names(data) %in% names(fitted), , drop = FALSE]
    rows <- match(row.names(data), names(fitted))
    columns <- list(.fitted = fitted[rows], .resid = residuals(x, "response")[rows],
                    .fixed = predict(x, type = type, re.form = NA)[rows])
  } else {
    data <- check_data_frame(newdata, "newdata")
    rows <- seq_len(nrow(data))
    columns <- list(.fitted = predict(x, newdata, type),
                    .fixed = predict(x, newdata, type, re.form = NA))
  }
  if (se_fit) columns$.se.fit <- predict(x, newdata, type, se.fit = TRUE)$se.fit[rows]
  if (interval != "none") {
    limits <- predict(x, newdata, type, interval = interval)
    columns$.lower <- limits[rows, "lwr"]
    columns$.upper <- limits[rows, "upr"]
  }
  data[names(columns)] <- lapply(columns, unname)
  data
}
