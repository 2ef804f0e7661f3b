# How much single rows or groups weigh in a mixed model: leverages, standardised residuals, Cook's
# distances, and deletion by refits.

#' Leverages, standardised residuals and the influence of rows and groups
#'
#' With the variance parameters as they are estimated the fitted values are linear in the response,
#' \eqn{\hat y=Hy}{yhat = H y} plus a constant (latent variables included), so that the usual
#' diagnostics of
#' linear models have the same form. They are what lme4 gives for the same model.
#'
#' @param model a fit made by [fit_glmm()]. Under method `"vb"` H is that of the
#'   expected precisions; under `"joint"` latent variables are points, and have none.
#' @param infl not used.
#' @param groups `NULL` to leave out one row at a time, or the name of a variable of the data, whose
#'   levels are left out one at a time.
#' @param do.coef `FALSE` for the leverages only.
#' @param data,maxfun,ncores not used: no data are needed, and refits are by the method of the fit.
#' @param ... not used.
#' @details
#' Cook's distance is \eqn{\{r_i/(1-h_i)\}^2h_i/p}{(r/(1 - h))^2 h / p} with Pearson residuals
#' \eqn{r_i}{r} divided by the residual standard deviation. That of `influence()` is the distance
#' of the
#' coefficients after deletion, in units of their covariance.
#' @return
#' * `hatvalues()`, `rstandard()`, `rstudent()`, `cooks.distance()`: numeric vector named by the
#'   rows, padded with `NA` under [stats::na.exclude()]. `rstandard()` and `rstudent()` are the
#'   same, as
#'   in lme4.
#' * `influence()`: a list of class `influence.merMod` as lme4 makes it, for `dfbeta()`,
#' `dfbetas()`,
#'   `cooks.distance()` and package car: `fixed.effects`, `var.cov.comps`, `vcov`, each also after
#'   deletion
#'   (`fixed.effects[-case]`, ...), `groups`, `deleted`, `converged`.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
#' tail(sort(cooks.distance(fit)), 3)
#' girls <- fit_glmm(distance ~ age + (1 | Subject), subset(nlme::Orthodont, Sex == "Female"))
#' cooks.distance(influence(girls, "Subject"))
#' @name influence.elbo_glmm
#' @importFrom stats hatvalues rstandard rstudent cooks.distance influence dfbeta dfbetas
NULL

#' @rdname influence.elbo_glmm
#' @export
hatvalues.elbo_glmm <- function(model, ...) {
  check_dots_empty(...)
  by_row(model, leverages(model))
}

#' @rdname influence.elbo_glmm
#' @export
rstandard.elbo_glmm <- function(model, infl, ...) {
  check_dots_empty(..., .but = "type")
  by_row(model, residual_rows(model, "pearson") / sqrt(left_over(leverages(model))))
}

#' @rdname influence.elbo_glmm
#' @export
rstudent.elbo_glmm <- function(model, infl, ...) rstandard.elbo_glmm(model, ...)

#' @rdname influence.elbo_glmm
#' @export
cooks.distance.elbo_glmm <- function(model, infl, ...) {
  check_dots_empty(...)
  h <- leverages(model)
  distance <- (residual_rows(model, "pearson") / left_over(h))^2 * h / ncol(design_of(model)$X)
  by_row(model, replace(distance, !is.finite(distance), NA))
}

# 1 - h; NA where a row alone says what is fitted to it, so that its residual says nothing. Of a
# leverage of one as much as this is lost by rounding (as lm.influence() of stats has it).
left_over <- function(h) ifelse(h > 1 - 10 * .Machine$double.eps, NA, 1 - h)

# The variance of a fitted value relative to that of its residual, the variance parameters known:
# the diagonal of H.
leverages <- function(fit) {
  if (method_of(fit) == "joint" && has_latent(fit)) {
    abort(c("Leverages need the law of the latent variables; under \"joint\" they are points.",
            "Use update(fit, method = \"em\")."), "elbo_error_method")
  }
  group <- if (has_groups(fit)) group_index(fit, NULL, allow = FALSE)
  variance <- fixed_scale_variance(fit, NULL, group)
  residual <- residual_sd(fit)
  if (method_of(fit) == "vb" && !design_of(fit)$known_se) { # by the expected precision
    sigma <- factors_of(fit)$root_v
    if (!is.null(design_of(fit)$level)) sigma <- sigma[as.integer(design_of(fit)$level)]
    residual <- sigma / sqrt(prior_weights(fit))
  }
  unname(variance / residual^2)
}

# ---- deletion ----------------------------------------------------------------------------

#' @rdname influence.elbo_glmm
#' @export
influence.elbo_glmm <- function(model, groups = NULL, data, maxfun, do.coef = TRUE, ncores, ...) {
  check_dots_empty(...)
  if (!check_flag(do.coef, "do.coef")) {
    return(structure(list(hat = hatvalues(model)), class = influence_class))
  }
  check_no_curves(design_of(model), "influence()", "Compare fits to parts of the data instead.")
  cases <- deletion_cases(model, groups)
  refits <- lapply(cases$rows, function(rows) {
    tryCatch(drop_rows(model, rows), elbo_error = function(e) NULL)
  })
  by_case <- function(value) {
    none <- NA * value(model)
    out <- do.call(rbind, lapply(refits, function(fit) {
      found <- if (!is.null(fit)) value(fit)
      replace(none, names(found), found)
    }))
    rownames(out) <- names(cases$rows)
    out
  }
  of_case <- sprintf("%s[-%s]", c("fixed.effects", "var.cov.comps", "vcov"), cases$name)
  result <- list(
    fixef_values(model), by_case(fixef_values), variance_components(model),
    by_case(variance_components), vcov(model),
    stats::setNames(lapply(refits, function(fit) if (is.null(fit)) NA * vcov(model) else vcov(fit)),
                    names(cases$rows)),
    cases$name, names(cases$rows),
    vapply(refits, function(fit) !is.null(fit) && convergence(fit)$status == "converged", NA)
  )
  names(result) <- c("fixed.effects", of_case[1], "var.cov.comps", of_case[2], "vcov", of_case[3],
                     "groups", "deleted", "converged")
  structure(result, class = influence_class)
}

influence_class <- c("elbo_influence", "influence.merMod")

# The rows of each case, and what a case is called.
deletion_cases <- function(fit, groups) {
  if (is.null(groups)) {
    return(list(name = "case",
                rows = stats::setNames(seq_len(nobs(fit)), row.names(frame_of(fit)))))
  }
  data <- original_data(fit)
  check(is.character(groups) && length(groups) > 0 && all(groups %in% names(data)), "groups",
        paste("the name of a variable of the data:", quote_names(names(data))), groups)
  name <- paste(groups, collapse = ".")
  level <- do.call(paste, c(unname(lapply(data[groups], as.character)), sep = "."))
  list(name = name, rows = split(seq_len(nobs(fit)), factor(level, unique(level))))
}

# As lme4 names them: sigma^2, v[(Intercept)], C[Days,(Intercept)].
variance_components <- function(fit) {
  laws <- lapply(unique(column_blocks(design_of(fit))), function(b) block_covariance(fit, b))
  sigma <- if (is_gaussian(fit) && !design_of(fit)$known_se) sigma(fit)^2
  if (length(sigma) > 0) names(sigma) <- paste0("sigma^2", if (length(sigma) > 1) "|", names(sigma))
  several <- length(laws) > 1
  c(sigma, unlist(lapply(seq_along(laws), function(i) {
    V <- laws[[i]]
    lower <- which(lower.tri(V, diag = TRUE), arr.ind = TRUE)
    terms <- colnames(V)
    names <- ifelse(lower[, 1] == lower[, 2], sprintf("v[%s]", terms[lower[, 1]]),
                    sprintf("C[%s,%s]", terms[lower[, 1]], terms[lower[, 2]]))
    if (several) names <- paste0(make.unique(rep(group_names(design_of(fit)), i))[i], ":", names)
    stats::setNames(V[lower], names)
  })))
}

#' @export
dfbeta.elbo_influence <- function(model, which = c("fixed", "var.cov"), ...) {
  check_dots_empty(...)
  which <- match.arg(which)
  base <- if (which == "fixed") "fixed.effects" else "var.cov.comps"
  deleted <- model[[sprintf("%s[-%s]", base, model$groups)]]
  deleted - rep(model[[base]], each = nrow(deleted))
}

#' @export
dfbetas.elbo_influence <- function(model, ...) {
  check_dots_empty(...)
  covariances <- model[[sprintf("vcov[-%s]", model$groups)]]
  dfbeta(model) / t(vapply(covariances, function(V) sqrt(diag(V)), numeric(nrow(model$vcov))))
}

#' @export
cooks.distance.elbo_influence <- function(model, ...) {
  check_dots_empty(...)
  moved <- dfbeta(model)
  n <- nrow(moved)
  p <- ncol(moved)
  scale <- (n - p) / (n * p)
  scale * rowSums((moved %*% inverse_covariance(model$vcov)) * moved)
}

# ---- mixtures ----------------------------------------------------------------------------

#' @export
hatvalues.elbo_mixture <- function(model, ...) no_influence("hatvalues()", ...)

#' @export
rstandard.elbo_mixture <- function(model, ...) no_influence("rstandard()", ...)

#' @export
rstudent.elbo_mixture <- function(model, ...) no_influence("rstudent()", ...)

#' @export
cooks.distance.elbo_mixture <- function(model, ...) no_influence("cooks.distance()", ...)

#' @export
influence.elbo_mixture <- function(model, ...) no_influence("influence()", ...)

no_influence <- function(what, ...) {
  check_dots_empty(..., .but = "type")
  not_for("mixture", what, "sensitivity(fit, to = \"data\") names the rows that estimates hang on.")
}
