# What other packages ask of a fit. All of them are optional: the methods are registered when
# the package that owns the generic is loaded.

# ---- emmeans -----------------------------------------------------------------------------

# emmeans reads the transformation of the response from the first argument of the call, and the
# data from what it is given, so the call has the formula itself and not the name of one.
#' @exportS3Method emmeans::recover_data
recover_data.elbo_glmm <- function(object, data = NULL, ...) {
  call <- call_of(object)
  call$formula <- formula(object)
  emmeans::recover_data(call, stats::delete.response(terms(object)), NULL,
                        data = if (is.null(data)) fit_data(object) else data,
                        frame = model.frame(object), ...)
}

# X has the columns that were dropped too, with NA for their coefficients: emmeans finds by `nbasis`
# what is not estimable.
#' @exportS3Method emmeans::emm_basis
emm_basis.elbo_glmm <- function(object, trms, xlev, grid, ...) {
  frame <- stats::model.frame(trms, grid, na.action = stats::na.pass, xlev = xlev)
  X <- stats::model.matrix(trms, frame, contrasts.arg = contrasts_of(object))
  coefficients <- coef(object)[colnames(X)]
  # A df for each contrast, by the rule of summary(). emmeans moves this function out of our
  # namespace, so it is handed what it calls.
  dffun <- function(k, dfargs) dfargs$fit_df(dfargs$object, matrix(k, 1))
  nbasis <- null_basis(colnames(X), design_of(object)$aliased_by)
  if (has_curves(object)) {
    X <- cbind(X, smooth_matrix(design_of(object)$curves, frame))
    coefficients <- c(coefficients, smooth_of(object)$mean)
    if (!anyNA(nbasis)) nbasis <- rbind(nbasis, matrix(0, ncol(X) - nrow(nbasis), ncol(nbasis)))
    dffun <- function(k, dfargs) Inf # as predict()
  }
  V <- all_coefficients_cov(object)
  own <- mean_threshold(object)
  if (!is.null(own)) {
    coefficients[colnames(X) == "(Intercept)"] <- -own$mean
    V <- own$cov
  }
  list(X = X, bhat = unname(coefficients), nbasis = nbasis, V = V,
       dffun = dffun, dfargs = list(object = object, fit_df = fit_df),
       misc = link_words(object))
}

# Means of ordered categories are on the scale of the latent response, from the average of the
# thresholds, as emmeans has those of polr() and clmm(); with the covariance of coefficients beside
# minus that average.
mean_threshold <- function(fit) {
  own <- parameters_of(fit)$name[parameters_of(fit)$block == "threshold"]
  if (length(own) == 0) return(NULL)
  V <- vcov(fit, full = TRUE)
  beta <- names(coef(fit))
  L <- matrix(0, 1 + length(beta), ncol(V), dimnames = list(NULL, colnames(V)))
  L[1, own] <- -1 / length(own)
  L[cbind(1 + seq_along(beta), match(beta, colnames(V)))] <- 1
  list(mean = mean(theta(fit)[own]), cov = L %*% V %*% t(L))
}

# Coefficients of ordered categories are told on the scale of the link only; emmeans knows counts by
# the Poisson family.
link_words <- function(fit) {
  family <- switch(family(fit)$family, binomial = family(fit), poisson = ,
                   negative_binomial = stats::poisson())
  if (is.null(family)) list() else emmeans::.std.link.labels(family, list())
}

# Orthonormal directions of the coefficients in which no mean of the data moves; NA if there are
# none.
null_basis <- function(columns, by) {
  if (is.null(by)) return(matrix(NA))
  basis <- matrix(0, length(columns), ncol(by), dimnames = list(columns, NULL))
  basis[rownames(by), ] <- -by
  basis[colnames(by), ] <- diag(ncol(by))
  unname(qr.Q(qr(basis)))
}

# ---- marginaleffects ---------------------------------------------------------------------

#' @exportS3Method marginaleffects::get_coef
get_coef.elbo_fit <- function(model, ...) all_coefficients(model)

#' @exportS3Method marginaleffects::set_coef
set_coef.elbo_fit <- function(model, coefs, ...) {
  beta <- seq_along(coef(model))
  theta(model)[names(coef(model))] <- coefs[beta]
  if (has_curves(model)) smooth_of(model)$mean[] <- coefs[-beta]
  model
}

#' @exportS3Method marginaleffects::get_vcov
get_vcov.elbo_fit <- function(model, vcov = NULL, ...) {
  if (isFALSE(vcov)) NULL else named_covariance(model, vcov)
}

# Rows that marginaleffects has added, so that newdata has every level of a factor, are known by
# their `rowid`, which must come back. The population is predicted, whose standard errors those of
# the coefficients are, unless `re.form` says otherwise; NULL stands in the user's call only.
#' @exportS3Method marginaleffects::get_predict
get_predict.elbo_glmm <- function(model, newdata = fit_data(model), type = "response", mfx = NULL,
                                  re.form = NA, allow.new.levels = FALSE, ...) {
  call <- attr(mfx, "call")
  if ("re.form" %in% names(call) && is.null(call[["re.form"]])) re.form <- NULL
  estimate <- predict(model, newdata = newdata, type = if (is.null(type)) "response" else type,
                      re.form = re.form, allow.new.levels = allow.new.levels)
  # Categories stand below each other.
  by_category <- if (is.matrix(estimate)) rep(colnames(estimate), each = nrow(estimate))
  predicted <- data.frame(estimate = as.vector(estimate))
  predicted$group <- by_category
  with_rowid(predicted, newdata)
}

with_rowid <- function(predicted, newdata) {
  ids <- if (is.null(newdata$rowid)) seq_len(nrow(newdata)) else newdata$rowid
  cbind(rowid = rep(ids, length.out = nrow(predicted)), predicted)
}

# For .onLoad(): marginaleffects takes the classes it does not know from an option.
announce_to_marginaleffects <- function() {
  option <- "marginaleffects_model_classes"
  options(stats::setNames(list(union(getOption(option), "elbo_fit")), option))
}

# ---- MuMIn -------------------------------------------------------------------------------

# Its dredge() fits all subsets of the fixed terms; the random ones stay in each. It knows
# ( x | g ), and takes a || for a term to be left out.
#' @exportS3Method MuMIn::getAllTerms
getAllTerms.elbo_glmm <- function(x, ...) {
  formula <- formula(x)
  formula[[3]] <- with_single_bars(formula[[3]], environment(formula))
  utils::getS3method("getAllTerms", "terms", envir = asNamespace("MuMIn"))(terms(formula), ...)
}

#' @exportS3Method MuMIn::getAllTerms
getAllTerms.elbo_mixture <- getAllTerms.elbo_glmm

with_single_bars <- function(expr, env) {
  rest <- drop_bars(expr)
  bars <- unlist(lapply(find_bars(expr), read_bar, env), recursive = FALSE)
  bars <- lapply(bars, function(bar) call("(", call("|", bar$terms[[2]], bar$group)))
  Reduce(function(a, b) call("+", a, b), c(if (is.null(rest)) 1 else rest, bars))
}

#' @exportS3Method MuMIn::makeArgs
makeArgs.elbo_glmm <- function(obj, termNames, opt, ...) {
  arguments <- NextMethod()
  if (!is.null(opt$random)) {
    arguments$formula <- stats::update.formula(arguments$formula, opt$random)
  }
  arguments
}

#' @exportS3Method MuMIn::makeArgs
makeArgs.elbo_mixture <- makeArgs.elbo_glmm

# ---- lmtest ------------------------------------------------------------------------------

# Restricted likelihoods of different fixed effects are refitted, as by anova().
#' @exportS3Method lmtest::lrtest
lrtest.elbo_fit <- function(object, ..., name = NULL) {
  fits <- tested_fits(object, ...)
  if (length(fits) > 1 && all(vapply(fits, inherits, NA, "elbo_fit"))) {
    check_comparable(fits)
    fits <- comparable_likelihoods(fits)
  }
  lrtest_of(fits, name)
}

# A formula is a change of the model before it.
tested_fits <- function(object, ...) {
  if (...length() == 0) return(list(object))
  stray <- which(nzchar(names(list(...))) &
                   !vapply(list(...), function(fit) inherits(fit, c("elbo_fit", "formula")), NA))
  if (length(stray) > 0) refuse_argument(...names()[stray[1]], ...elt(stray[1]))
  Reduce(function(before, next_one) {
    if (inherits(next_one, "formula")) update(before, next_one) else next_one
  }, list(...), object, accumulate = TRUE)
}

lrtest_of <- function(fits, name) {
  default <- utils::getS3method("lrtest", "default", envir = asNamespace("lmtest"))
  do.call(default, c(unname(fits), list(name = name)))
}
