# Predictions for old and new rows.
#
#   row_data(object, newdata, na.action, latent, prediction)    new rows after na.action, or
#                                 NULL for those of the fit: the `data` of what follows
#   row_fixed, row_random, row_offset, row_sd (object, data)    X, Z, offset, residual sd
#   row_smooth(object, data)      B, columns of the smooth terms
#   row_group(object, data)       factor, whose levels may be new
#   row_mean(object, data, group), mean_variance(object, data, group)
#   latent_law(object)            Sigma
#   includes_latent(re.form)      NULL: TRUE; NA or ~ 0: FALSE
#
# What is needed of the rows is asked for piece by piece, so that a prediction for the
# population does not ask for the group.

#' Predict from a mixed model
#'
#' @param object A fit made by [fit_glmm()].
#' @param newdata A data frame with the variables of the model; `NULL` for the rows of the fit.
#' @param type `"link"`, the linear predictor, or `"response"`, the mean of the response; the same
#'   for Gaussian models.
#' @param re.form `NULL` for predictions with the latent variables of each group, at their
#'   posterior means; `NA` or `~ 0` for the population; a formula of random terms, as
#'   `~ (1 | group)`, for these alone.
#' @param allow.new.levels Whether `newdata` may have groups that the fit has not seen. Their
#'   latent variables are predicted to be zero, with the full variance of their law.
#' @param se.fit Whether to give standard errors.
#' @param interval `"confidence"` for the mean that is predicted, `"prediction"` for a new
#'   observation; with `re.form = NA` one of a group not seen before. In a meta-analysis (`se`) an
#'   observation has the standard error that `newdata` gives it; without one `"prediction"` is for
#'   the true effect of the study.
#' @param level Confidence level.
#' @param na.action What to do with missing values in `newdata`; by default they give `NA`.
#' @param ... Nothing further.
#' @param REForm,ReForm,REform Spellings of `re.form` that lme4 has had.
#'
#' @details
#' Standard errors contain the uncertainty of the fixed effects and of the latent variables,
#' and that the two are correlated: with
#' \eqn{u_g\mid\beta\sim N(m_g-K_g(\beta-\hat\beta),S_g)}{
#' u_g | beta ~ N(m_g - K_g (beta - betahat), S_g)}
#' and \eqn{C} the covariance of \eqn{\hat\beta}{betahat} the variance of
#' \eqn{x'\beta+z'u_g}{x'beta + z'u_g} is
#' \deqn{(x-K_g'z)'C(x-K_g'z)+z'S_gz,}{(x - K_g'z)' C (x - K_g'z) + z' S_g z,}
#' the mean squared error of the prediction when the variance parameters are known (Henderson
#' 1975); for a group not seen before \eqn{x'Cx+z'\Sigma z}{x'C x + z' Sigma z}. That they are
#' estimated adds to \eqn{S_g} and \eqn{C} wherever latent variables of the fit are predicted, as in
#' [latent()], where the coverage is; the interval then has normal quantiles. The mean of the
#' population has the standard error of `vcov()` and t quantiles with the degrees of freedom of
#' `summary()`, and so have groups not seen before, whose intervals are thus never shorter than that
#' of the mean. Of a meta-analysis `predict(fit, newdata, re.form = NA, interval = "prediction")` is
#' the prediction interval of Higgins, Thompson and Spiegelhalter (2009) for the true effect of a
#' new study, with these degrees of freedom in place of the number of studies less two.
#'
#' With several grouping factors \eqn{z'u} sums over them, any may be left out by `re.form`, and the
#' posterior covariances between their levels are in the standard error. Each level takes some
#' solutions of the normal equations of all of them.
#'
#' Smooth terms are curves of the population, so that `re.form = NA` has them too. Their
#' coefficients are latent variables (\eqn{b} beside \eqn{\beta}{beta} above), and intervals along a
#' curve are those of Wahba (1983), which hold their level on average over the curve. Beyond the
#' data curves go on as straight lines.
#'
#' By method `"vb"` the variance parameters are uncertain too: standard errors are posterior
#' standard deviations by linear response, and the variances of residuals and of new groups
#' posterior means.
#'
#' A row of `newdata` whose mean the data do not identify, as that of a combination of factor levels
#' without observations, is `NA`, with a warning that names it.
#'
#' The mean of a response that is not gaussian is averaged over the latent variables: with
#' `re.form = NA` over their law, which is the mean of the population (as marginal models have it),
#' and not that of a group whose latent variables are zero, the inverse link of `type = "link"`; for
#' known groups over their posterior, taken for normal. Standard errors are by the delta method,
#' those of the population with the uncertainty of the standard deviations in them, and limits are
#' set on the scale of the link. Of ordered categories the answer is a matrix of probabilities,
#' without errors. There are no prediction intervals: take quantiles of [simulate()].
#'
#' Prediction intervals add the residual variance. If the fit has `weights` or `se`, these are
#' evaluated in `newdata`, and so is an `offset`.
#'
#' @return A numeric vector named by the rows. With `interval`, a matrix with the columns
#'   `fit`, `lwr` and `upr`. With `se.fit = TRUE` a list of `fit` (either of these), `se.fit`
#'   (numeric vector, of the mean) and `residual.scale` (as [sigma()]). Rows that the fit
#'   dropped are padded with `NA` under [stats::na.exclude()].
#' @references
#' Wahba, G. (1983). Bayesian "confidence intervals" for the cross-validated smoothing spline.
#' *Journal of the Royal Statistical Society B* 45, 133--150.
#' \doi{10.1111/j.2517-6161.1983.tb01239.x}
#'
#' Higgins, J. P. T., Thompson, S. G. and Spiegelhalter, D. J. (2009). A re-evaluation of
#' random-effects meta-analysis. *Journal of the Royal Statistical Society A* 172, 137--159.
#' \doi{10.1111/j.1467-985X.2008.00552.x}
#'
#' Henderson, C. R. (1975). Best linear unbiased estimation and prediction under a selection
#' model. *Biometrics* 31, 423--447. \doi{10.2307/2529430}
#' @family what a fit answers
#' @aliases predict.elbo_fit
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' girl <- data.frame(Subject = "F01", age = c(14, 16))
#' predict(fit, girl)
#' predict(fit, girl, interval = "prediction")
#' predict(fit, girl, re.form = NA, se.fit = TRUE)
#'
#' # A child not seen before
#' new <- data.frame(Subject = "F99", age = 14)
#' predict(fit, new, allow.new.levels = TRUE, interval = "confidence")
#' @importFrom stats na.pass
#' @export
predict.elbo_glmm <- function(object, newdata = NULL, type = c("link", "response"),
                              re.form = NULL, allow.new.levels = FALSE, se.fit = FALSE,
                              interval = c("none", "confidence", "prediction"), level = 0.95,
                              na.action = na.pass, ..., REForm, ReForm, REform) {
  check_dots_empty(...)
  if (missing(re.form)) re.form <- re_form(re.form, REForm, ReForm, REform)
  asked <- list(type = check_choice(type, "type", c("link", "response")),
                interval = check_choice(interval, "interval",
                                        c("none", "confidence", "prediction")),
                se = check_flag(se.fit, "se.fit"), level = check_between(level, "level", 0, 1))
  check_flag(allow.new.levels, "allow.new.levels")
  object <- keep_terms(object, re.form)
  asked$latent <- includes_latent(re.form) && any(kept_terms(object))
  check_prediction(object, asked)
  data <- row_data(object, newdata, na.action, asked$latent, needs_law(object, asked))
  group <- if (asked$latent) group_index(object, data, allow.new.levels)
  answer <- row_predictions(object, data, group, asked)
  fit <- pad_prediction(object, data, answer$fit)
  if (!se.fit) return(fit)
  list(fit = fit, se.fit = pad_prediction(object, data, answer$se),
       residual.scale = answer$scale)
}

# What differs by the law of the responses, `asked` being type, interval, se, level and latent: what
# there is not; whether columns that only the law of a row needs are read; and the answer, `fit`
# (with its limits), `se` and the residual `scale`.
check_prediction <- function(object, asked) UseMethod("check_prediction")
needs_law <- function(object, asked) UseMethod("needs_law")
row_predictions <- function(object, data, group, asked) UseMethod("row_predictions")

#' @exportS3Method
check_prediction.elbo_glmm <- function(object, asked) invisible()

#' @exportS3Method
needs_law.elbo_glmm <- function(object, asked) asked$interval == "prediction"

#' @exportS3Method
row_predictions.elbo_glmm <- function(object, data, group, asked) {
  mean <- fit <- row_mean(object, data, group)
  if (!asked$se && asked$interval == "none") return(list(fit = fit))
  spread <- if (method_of(object) == "vb") root_mean_squares(object) else object
  variance <- known_variance(mean_variance(spread, data, group), object, data)
  if (asked$interval != "none") {
    total <- variance
    if (asked$interval == "prediction") {
      total <- total + row_sd(spread, data)^2 + left_out_variance(spread, data, asked$latent)
    }
    half <- sqrt(total) * stats::qt((1 + asked$level) / 2, mean_df(object, data, group))
    fit <- cbind(fit = mean, lwr = mean - half, upr = mean + half)
  }
  list(fit = fit, se = sqrt(variance), scale = sigma(object))
}

# lme4 has had other spellings of `re.form`.
re_form <- function(re.form, REForm, ReForm, REform) {
  if (!missing(REForm)) REForm else if (!missing(ReForm)) ReForm
  else if (!missing(REform)) REform else re.form
}

includes_latent <- function(re.form) {
  if (is.null(re.form) || (inherits(re.form, "formula") && has_bar(re.form))) return(TRUE)
  if (identical(re.form, NA) || (inherits(re.form, "formula") && identical(re.form[[2]], 0))) {
    return(FALSE)
  }
  check(FALSE, "re.form",
        "NULL (with the latent variables), NA or ~ 0 (without), or some, as ~ (1 | group)", re.form)
}

# Which latent terms take part, all where nothing is said; and the fit that keeps those of a
# formula of bars.
kept_terms <- function(object) {
  if (is.null(kept_of(object))) rep(TRUE, ncol(design_of(object)$Z)) else kept_of(object)
}

keep_terms <- function(object, re.form) {
  if (!inherits(re.form, "formula") || !has_bar(re.form)) return(object)
  bars <- unlist(lapply(find_bars(re.form[[length(re.form)]]), read_bar, environment(re.form)),
                 recursive = FALSE)
  labels <- term_labels_of(design_of(object))
  kept <- rep(FALSE, length(labels))
  for (bar in bars) {
    terms <- terms(bar$terms)
    said <- c(if (attr(terms, "intercept") == 1) "(Intercept)", attr(terms, "term.labels"))
    found <- column_groups(design_of(object)) == bar$group_name & labels %in% said
    if (!all(said %in% labels[found])) {
      abort(c(sprintf("`re.form` has (%s | %s), which is no random term of the fit;",
                      deparse_line(bar$terms[[2]]), bar$group_name),
              sprintf("there are %s.", enumerate(unique(bar_labels(object)), Inf))),
            "elbo_error_argument")
    }
    kept <- kept | found
  }
  kept_of(object) <- kept
  object
}

with_all_terms <- function(object) {
  kept_of(object) <- NULL
  object
}

# The label of the term of each column of Z.
term_labels_of <- function(design) {
  unlist(lapply(design$random, function(block) {
    c("(Intercept)", attr(block$terms, "term.labels"))[block$assign + 1]
  }))
}

# Of the latent variables that a prediction has left out, which a new observation has.
left_out_variance <- function(object, data, latent) {
  kept <- kept_terms(object)
  if (latent && all(kept)) return(0)
  kept_of(object) <- if (latent) !kept else rep(TRUE, length(kept))
  law_variance(object, data)
}

# The mean and its variance -------------------------------------------------------------------

# `group`: index into the levels of the fit, 0 for a group not seen before, NA where it is
# missing; NULL for the population.
row_mean <- function(object, data, group = NULL) {
  mean <- drop(row_fixed(object, data, tell = TRUE) %*% coef(object)) + row_offset(object, data)
  if (has_curves(object)) mean <- mean + drop(row_smooth(object, data) %*% smooth_of(object)$mean)
  if (!is.null(group)) {
    Z <- row_random(object, data)
    if (!is.list(group)) group <- list(group)
    for (part in Map(c, latent_parts(object), lapply(group, list))) {
      latent <- rbind(0, part$mean)
      index <- rep_len(part[[length(part)]], nrow(Z))
      mean <- mean + rowSums(Z[, part$columns, drop = FALSE] * latent[index + 1, , drop = FALSE])
    }
  }
  stats::setNames(mean, row_names(object, data))
}

# Where latent variables of groups of the fit are predicted, the uncertainty of their law is in it;
# the covariance of coefficients alone is that of vcov().
mean_variance <- function(object, data, group = NULL) {
  X <- row_coefficients(object, data)
  C <- coefficient_cov(object)
  if (is.null(group)) return(quadratic_rows(X, C))
  if (is_crossed(design_of(object))) return(crossed_mean_variance(object, data, X, group))
  Z <- row_random(object, data)
  variance <- group_variance(X, Z, group, known_scales(object))
  if (method_of(object) == "vb") variance <- variance + scale_variance(object, X, Z, group)
  seen <- which(group > 0)
  excess <- if (length(seen) > 0) scale_excess(object)
  if (!is.null(excess)) {
    variance[seen] <- variance[seen] + group_variance(X, Z, group, excess)[seen]
  }
  unseen <- which(group == 0)
  variance[unseen] <- variance[unseen] + law_variance(object, data)[unseen]
  variance
}

# The same with the variance parameters known.
fixed_scale_variance <- function(object, data, group = NULL) {
  X <- row_coefficients(object, data)
  known <- known_scales(object)
  if (is.null(group)) return(quadratic_rows(X, known$C))
  Z <- row_random(object, data)
  if (is_crossed(design_of(object))) {
    return(level_variance(X, Z, level_places(design_of(object), group, nrow(Z)), known))
  }
  group_variance(X, Z, group, known)
}

known_scales <- function(object) {
  if (is_crossed(design_of(object))) return(known_levels(object))
  if (method_of(object) != "vb") {
    return(list(C = coefficient_cov(object), cov = moments_of(object)$cov,
                gain = moments_of(object)$gain))
  }
  list(C = conditional_cov(object), cov = moments_of(object)$cov, gain = posterior_gain(object))
}

# Of x'beta + z'u_g; of x'beta where the group is 0.
group_variance <- function(X, Z, group, parts) {
  variance <- quadratic_rows(X - latent_rows(Z, parts$gain, group), parts$C)
  q <- ncol(Z)
  for (j in seq_len(q)) {
    for (k in seq_len(q)) {
      variance <- variance + Z[, j] * Z[, k] * c(0, parts$cov[j, k, ])[group + 1]
    }
  }
  variance
}

quadratic_rows <- function(X, C) rowSums((X %*% C) * X)

# NA, with a warning, where rounding may have taken the variance of x'beta: each entry of its
# covariance C is known to some 1e-16 of itself.
known_variance <- function(variance, object, data) {
  rounding <- .Machine$double.eps *
    quadratic_rows(abs(row_coefficients(object, data)), abs(coefficient_cov(object)))
  lost <- which(variance < rounding)
  if (length(lost) > 0) {
    X <- design_of(object)$X
    far <- colnames(X)[abs(colMeans(X)) > 1e6 * apply(X, 2, stats::sd)]
    far <- setdiff(far, "(Intercept)")
    warn(c(sprintf("%s lost in rounding,", count_words(length(lost), "standard error")),
           if (length(far) > 0) {
             sprintf("as %s is far from zero for its spread: subtract a constant from it.",
                     enumerate(quote_names(far, Inf), 3))
           } else "as some columns are nearly combinations of others: leave these out."),
         "elbo_warning_rounding")
  }
  replace(pmax(variance, 0), lost, NA)
}

# The coefficients that are estimated, those of curves included: their columns, and covariance.
row_coefficients <- function(object, data) {
  X <- row_fixed(object, data)[, information_of(object)$free_beta, drop = FALSE]
  if (has_curves(object)) cbind(X, row_smooth(object, data)) else X
}

coefficient_cov <- function(object) {
  if (has_curves(object)) {
    C <- smooth_of(object)$coef_cov
    return(if (method_of(object) == "vb") C + response_cov(object) else C)
  }
  free <- information_of(object)$free_beta
  beta_cov_of(object)[free, free, drop = FALSE]
}

# sum_j z_j A[j, , g] by row, zero for a group not seen before: A is terms x k x levels.
latent_rows <- function(Z, A, group) {
  k <- dim(A)[2]
  out <- matrix(0, nrow(Z), k)
  for (j in seq_len(ncol(Z))) {
    of_group <- cbind(numeric(k), matrix(A[j, , ], k, dim(A)[3]))
    out <- out + Z[, j] * t(of_group)[group + 1, , drop = FALSE]
  }
  out
}

# z' Sigma z: of the latent part of a group not seen before. Terms without a law say nothing
# of it.
law_variance <- function(object, data) law_variance_of(object, row_random(object, data))

law_variance_of <- function(object, Z) {
  law <- latent_law(object)
  lawless <- is.infinite(diag(law))
  variance <- quadratic_rows(Z[, !lawless, drop = FALSE], law[!lawless, !lawless, drop = FALSE])
  variance[rowSums(Z[, lawless, drop = FALSE] != 0) > 0] <- Inf
  variance
}

# Sigma, its blocks put together.
latent_law <- function(object) {
  block <- column_blocks(design_of(object))
  law <- matrix(0, length(block), length(block))
  for (b in unique(block)) law[block == b, block == b] <- block_covariance(object, b)
  law
}

# Satterthwaite's of the mean of the population, which a group not seen before has too, so that its
# intervals are never the shorter ones. Infinite where latent variables of the fit are predicted,
# those of curves too: their uncertainty is in the variance.
mean_df <- function(object, data, group = NULL) {
  X <- row_fixed(object, data)
  df <- rep(Inf, nrow(X))
  if (has_curves(object)) return(df)
  rows <- stats::complete.cases(X) & (if (is.null(group)) TRUE else is_new(group, nrow(X)))
  df[rows] <- fit_df(object, X[rows, , drop = FALSE])
  df
}

# Rows all of whose groups are new; those that take no part are as new ones.
is_new <- function(group, n) {
  if (!is.list(group)) group <- list(group)
  Reduce(`&`, lapply(group, function(one) rep_len(one %in% 0, n)))
}

# The rows ------------------------------------------------------------------------------------

# New rows with the variables that are needed, after na.action.
row_data <- function(object, newdata, na.action, latent, prediction) {
  if (is.null(newdata)) return(NULL)
  # A plain one: a data.table would lose its rows with its last column.
  newdata <- as.data.frame(check_data_frame(newdata, "newdata"))
  used <- needed_variables(object, latent, prediction)
  groups <- if (latent) vars_of(lapply(kept_bars(object), `[[`, "group"))
  check_new_columns(object, setdiff(used, c(groups, all.vars(call_of(object)$se))), newdata)
  check_new_columns(object, groups, newdata,
                    "Without the group only re.form = NA, the population, can be predicted.")
  data <- newdata[names(newdata) %in% used]
  check_new_finite(data)
  tryCatch(na_action(na.action)(data), error = function(e) {
    rows <- row.names(data)[!stats::complete.cases(data)]
    abort(c(sprintf("There are missing values in `newdata`, in %s.", list_rows(rows)),
            "With na.action = na.pass their prediction is NA."), "elbo_error_data")
  })
}

# Names in the parts of the model that a prediction needs.
needed_variables <- function(object, latent, prediction) {
  bars <- parse_formula(formula(object))$bars
  parts <- c(list(formula(object, fixed.only = TRUE)[[3]]),
             if (latent || prediction) lapply(bars, `[[`, "terms"),
             if (latent) lapply(kept_bars(object), `[[`, "group"))
  extras <- c("offset", if (prediction) c("weights", "se", "sigma"))
  vars_of(c(parts, as.list(call_of(object))[extras]))
}

# The bars of factors of which a term takes part.
kept_bars <- function(object) {
  bars <- parse_formula(formula(object))$bars
  kept <- unique(column_groups(design_of(object))[kept_terms(object)])
  bars[vapply(bars, `[[`, "", "group_name") %in% kept]
}

# Variables of the model come from newdata, and from nowhere else.
check_new_columns <- function(object, used, newdata, remedy = NULL) {
  absent <- setdiff(intersect(used, variables_of(object)), names(newdata))
  if (length(absent) == 0) return()
  abort(c(sprintf("`newdata` has no column %s, which the model needs.", quote_names(absent)),
          remedy), "elbo_error_data")
}

check_new_finite <- function(data) {
  for (name in names(data)) {
    x <- data[[name]]
    bad <- if (is.double(x)) which(rowSums(is.infinite(as.matrix(unclass(x)))) > 0)
    if (length(bad) == 0) next
    abort(sprintf("`%s` of `newdata` is infinite in %s.", name, list_rows(row.names(data)[bad])),
          "elbo_error_data")
  }
}

row_names <- function(object, data) {
  row.names(if (is.null(data)) frame_of(object) else data)
}

pad_prediction <- function(object, data, x) {
  stats::napredict(attr(if (is.null(data)) frame_of(object) else data, "na.action"), x)
}

row_fixed <- function(object, data, tell = FALSE) {
  if (is.null(data)) return(design_of(object)$X)
  terms <- stats::delete.response(terms(object))
  X <- new_columns(terms, data, xlevels_of(object), contrasts_of(object))
  # Thresholds take the place of an intercept.
  kept_columns(X, object, data, tell)[, colnames(design_of(object)$X), drop = FALSE]
}

row_smooth <- function(object, data) {
  if (is.null(data)) return(design_of(object)$B)
  terms <- stats::delete.response(terms(object))
  smooth_matrix(design_of(object)$curves, new_frame(terms, data, xlevels_of(object)))
}

# Columns of terms that take no part are zero.
row_random <- function(object, data) {
  Z <- if (is.null(data)) design_of(object)$Z else new_random_rows(object, data)
  if (!is.null(kept_of(object))) Z[, !kept_of(object)] <- 0
  Z
}

new_random_rows <- function(object, data) {
  Z <- lapply(design_of(object)$random, function(block) {
    new_columns(block$terms, data, block$xlevels, block$contrasts)
  })
  if (length(Z)) Reduce(cbind, Z) else matrix(0, nrow(data), 0)
}

row_offset <- function(object, data) {
  if (is.null(data)) return(design_of(object)$offset)
  frame <- new_frame(stats::delete.response(terms(object)), data, xlevels_of(object))
  inside <- stats::model.offset(frame)
  beside <- new_extra(object, "offset", data)
  (if (is.null(inside)) 0 else inside) + (if (is.null(beside)) 0 else beside)
}

row_sd <- function(object, data) {
  if (is.null(data)) return(residual_sd(object))
  sigma <- sigma(object)
  if (!is.null(design_of(object)$level)) sigma <- unname(sigma[row_level(object, data)])
  if (design_of(object)$known_se) return(new_se(object, data))
  weights <- new_extra(object, "weights", data)
  sigma / sqrt(if (is.null(weights)) rep(1, nrow(data)) else weights)
}

# The standard errors of new rows; none is asked for the true effect.
new_se <- function(object, data) {
  if (all(all.vars(call_of(object)$se) %in% names(data))) new_extra(object, "se", data) else 0
}

# Of one factor; of the factor that is named where there are several.
row_group <- function(object, data, name = NULL) {
  if (is.null(data)) return(if (is.null(name)) the_group(design_of(object))
                           else design_of(object)$groups[[name]])
  bars <- parse_formula(formula(object))$bars
  names <- vapply(bars, `[[`, "", "group_name")
  bar <- bars[[if (is.null(name)) 1 else match(name, names)]]
  new_factor_of(term_variables(call("~", bar$group)), object, data,
                "Without the group only re.form = NA, the population, can be predicted.")
}

row_level <- function(object, data) {
  sigma <- eval(call_of(object)$sigma, environment(formula(object)))
  level <- new_factor_of(sigma_variables(sigma), object, data)
  refuse_new_levels(level, levels(design_of(object)$level), "sigma",
                    "Only interval = \"confidence\" can do without their residual variance.")
  as.character(level)
}

# The level of the fit that each row has, 0 for a new one; of several factors a list, 0 throughout
# where a factor takes no part.
group_index <- function(object, data, allow) {
  groups <- design_of(object)$groups
  index <- lapply(names(groups), function(name) {
    if (!any(kept_terms(object) & column_groups(design_of(object)) == name)) return(0L)
    group <- row_group(object, data, name)
    known <- levels(groups[[name]])
    if (!allow) {
      refuse_new_levels(group, known, name,
                        "Use allow.new.levels = TRUE, or re.form = NA for the population.")
    }
    match(levels(group), known, nomatch = 0)[group]
  })
  if (is_crossed(design_of(object))) index else index[[1]]
}

refuse_new_levels <- function(x, known, name, remedy) {
  new <- setdiff(levels(x), known)
  if (length(new) == 0) return()
  abort(c(sprintf("`newdata` has levels of `%s` that the fit has not seen: %s.", name,
                  enumerate(new, 5)), remedy), "elbo_error_new_levels")
}

# Variables of new rows, evaluated and checked ------------------------------------------------

new_frame <- function(terms, data, xlevels) {
  for (name in intersect(names(xlevels), names(data))) {
    check(!is.numeric(data[[name]]), name, "a factor in `newdata`, as in the fit", data[[name]])
  }
  frame <- tryCatch({
    frame <- stats::model.frame(terms, data, na.action = stats::na.pass, xlev = xlevels)
    stats::.checkMFClasses(attr(terms, "dataClasses"), frame)
    frame
  }, error = abort_newdata)
  check_new_length(nrow(frame), data, all.vars(terms))
  check_new_finite(frame)
  frame
}

new_columns <- function(terms, data, xlevels, contrasts) {
  stats::model.matrix(terms, new_frame(terms, data, xlevels), contrasts)
}

# An argument of the call of the fit, for the new rows.
new_extra <- function(object, name, data) {
  expression <- call_of(object)[[name]]
  x <- tryCatch(eval(expression, data, environment(formula(object))), error = abort_newdata)
  if (is.null(x)) return(NULL)
  check_new_length(length(x), data, deparse_line(expression))
  above <- if (name == "offset") -Inf else 0
  if (!is.numeric(x) || any(x <= above, na.rm = TRUE)) {
    abort(sprintf("The %s of `newdata`, `%s`, must be %snumbers, not %s.", name,
                  deparse_line(expression), if (name == "offset") "" else "positive ",
                  if (is.numeric(x)) format(min(x, na.rm = TRUE)) else describe_value(x)),
          "elbo_error_data")
  }
  x
}

new_factor_of <- function(variables, object, data, remedy = NULL) {
  values <- tryCatch(lapply(variables, eval, data, environment(formula(object))),
                     error = function(e) abort_newdata(e, remedy))
  names(values) <- vapply(variables, deparse_line, "")
  for (name in names(values)) check_new_length(length(values[[name]]), data, name)
  complete <- stats::complete.cases(as.data.frame(values))
  factor <- cross_factors(Map(function(x, name) as_group(x[complete], name), values,
                              names(values)))
  code <- rep(NA_integer_, length(complete))
  code[complete] <- as.integer(factor)
  new_factor(code, levels(factor))
}

# A variable that is not in newdata may be found elsewhere, with the rows of something else.
check_new_length <- function(n, data, variables) {
  if (n == nrow(data)) return()
  absent <- setdiff(variables, names(data))
  abort(sprintf("`newdata` has %d rows but no column %s.", nrow(data), quote_names(absent)),
        "elbo_error_data")
}

abort_newdata <- function(e, remedy = NULL) {
  abort(c(sprintf("The model cannot be evaluated in `newdata`: %s.", conditionMessage(e)),
          remedy), "elbo_error_data")
}
