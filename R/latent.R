# The latent variables and the law posited for them.

#' The posterior of every latent variable
#'
#' For each level of the grouping factor and each term of the random part, and for the penalised
#' coefficients of each smooth term, mean and standard deviation of the latent variable given the
#' data.
#'
#' Under methods `"em"` and `"reml"` the mean is that of the exact posterior given the estimates,
#' \eqn{p(z\mid y,\hat\theta)}{p(z | y, theta)}. Its standard deviation takes the estimates for the
#' truth, which with few groups or a small variance is far too hopeful: where a variance is
#' estimated at zero, so are all latent variables, with certainty. By default (`type = "total"`)
#' `sd` therefore has in it that coefficients and variances are estimated: it is the root of the
#' mean squared error of the prediction to second order (Kackar and Harville 1984; Prasad and Rao
#' 1990), for `"em"` with the bias of its variances taken out, and is not zero where a variance is
#' estimated at zero. `type = "conditional"` is the standard deviation of
#' \eqn{p(z\mid y,\hat\theta)}{p(z | y, theta)} itself, under `"reml"` with the coefficients
#' integrated; [ranef.elbo_glmm()] has the one that is given the coefficients too, as lme4. Under
#' `"joint"` latent variables are points, whose standard deviation is zero. With several grouping
#' factors `"conditional"` is the default, since `"total"` costs as much as several fits.
#'
#' @section Coverage:
#' Share (%) of latent variables within mean +- 1.645 sd (nominally 90), `"total"` and in brackets
#' `"conditional"`, under em / reml, by number of groups: means of 500 simulated data sets, as in
#' `bench/coverage_latent.R`. Ten rows a group and a residual standard deviation of 1; meta-analyses
#' have squared standard errors from .009 to .6. Where the sd between groups is too small to be told
#' from zero the intervals are too wide.
#'
#' | model | 5 groups | 10 | 30 |
#' |---|---|---|---|
#' | intercepts, sd .1 | 100 / 99 (33 / 46) | 99 / 99 (43 / 51) | 97 / 96 (49 / 54) |
#' | intercepts, sd .3 | 95 / 94 (48 / 61) | 91 / 90 (64 / 71) | 89 / 89 (82 / 84) |
#' | intercepts, sd 1 | 86 / 87 (59 / 82) | 89 / 89 (74 / 88) | 90 / 90 (83 / 89) |
#' | slopes, sds 1 and .5 | 90 / 90 (54 / 75) | 89 / 89 (71 / 82) | 90 / 90 (84 / 88) |
#' | meta-analysis, sd .1 | 100 / 99 (21 / 42) | 99 / 95 (32 / 45) | 89 / 85 (52 / 60) |
#' | meta-analysis, sd .3 | 93 / 91 (41 / 57) | 88 / 87 (63 / 75) | 88 / 88 (83 / 85) |
#' | meta-analysis, sd 1 | 85 / 85 (58 / 81) | 88 / 88 (70 / 87) | 89 / 89 (80 / 89) |
#'
#' Intervals of [predict()][predict.elbo_glmm] for groups of the fit held the mean in 88 to 98 % of
#' the cases with 10 and 30 groups. Those for the true effect in a *new* group are as good as the
#' estimate of the sd between groups: with an sd of 1 they held 84 to 92 %, of .3 79 to 87 %, of .1,
#' when it is estimated at zero in a third to two thirds of the data sets, 77 to 91 %.
#'
#' @param object a fit.
#' @param type `"total"` (the default with one grouping factor) or `"conditional"`, see above. For
#'   method `"vb"`: `"linear_response"` (the default) or `"mean_field"`, the standard deviations
#'   under q itself.
#' @param ... for methods.
#' @return A data frame, one row per level and term: `group`, `level` and `term` (character),
#'   `mean` and `sd` (numeric, on the scale of the response per unit of the term). Of a smooth
#'   term, `s(x)` as group and as term, the levels are the numbers of its coefficients, from smooth
#'   to rough ([fit_glmm()]); the curve itself is what `predict()` gives. A fit without either gives
#'   no rows.
#' @references
#' Kackar, R. N. and Harville, D. A. (1984). Approximations for standard errors of estimators of
#' fixed and random effects in mixed linear models. *JASA* 79, 853--862.
#' \doi{10.1080/01621459.1984.10477102}
#'
#' Prasad, N. G. N. and Rao, J. N. K. (1990). The estimation of the mean squared error of small-area
#' estimators. *JASA* 85, 163--171. \doi{10.1080/01621459.1990.10475320}
#' @seealso [ranef.elbo_glmm()] for the same in the shape other packages use, and
#'   `plot(fit, type = "latent")`.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' head(latent(fit))
#' @export
latent <- function(object, ...) UseMethod("latent")

#' @rdname latent
#' @export
latent.elbo_glmm <- function(object, type = NULL, ...) {
  check_dots_empty(...)
  none <- data.frame(group = character(), level = character(), term = character(),
                     mean = numeric(), sd = numeric())
  of_factor <- function(part, sd) {
    mean <- part$mean
    data.frame(
      group = rep_len(as.character(part$name), length(mean)),
      level = rep(as.character(rownames(mean)), each = ncol(mean)),
      term = rep(as.character(colnames(mean)), times = nrow(mean)),
      mean = as.vector(t(mean)), sd = as.vector(t(sd))
    )
  }
  parts <- latent_parts(object)
  sds <- latent_sd(object, type)
  if (!is_crossed(design_of(object))) sds <- list(sds)
  groups <- do.call(rbind, c(list(none), unname(Map(of_factor, parts, sds[seq_along(parts)]))))
  if (has_curves(object)) rbind(groups, latent_smooth(object, type)) else groups
}

# m x q; of several factors a list of them. u_g | beta has the covariance cov_g and the mean moves
# by -gain_g with beta, so that integrating beta adds gain_g C gain_g'; and alike with the
# coefficients of smooth terms.
latent_sd <- function(fit, type = NULL) {
  if (!is_gaussian(fit)) return(general_latent_sd(fit, type))
  type <- latent_type(fit, type)
  if (method_of(fit) == "vb") {
    sds <- lapply(vb_latent_variance(fit, type), sqrt)
    return(if (is_crossed(design_of(fit)) || !has_groups(fit)) sds else sds[[1]])
  }
  if (is_crossed(design_of(fit))) return(crossed_sd(fit, type))
  integrated <- method_of(fit) == "reml" || has_curves(fit) || type == "total"
  C <- if (integrated) latent_coefficient_cov(fit, type)
  parts <- list(c(moments_of(fit)[c("cov", "gain")], list(C = C)),
                if (type == "total") scale_excess(fit))
  variance <- 0 * moments_of(fit)$mean
  for (part in parts[lengths(parts) > 0]) {
    for (j in seq_len(ncol(variance))) {
      variance[, j] <- variance[, j] + part$cov[j, j, ]
      if (is.null(part$C)) next
      gain <- matrix(part$gain[j, , ], nrow(part$C), nrow(variance))
      variance[, j] <- variance[, j] + colSums(gain * (part$C %*% gain))
    }
  }
  sqrt(pmax(variance, 0)) # differences of nearly equal terms where sigma is of rounding size
}

latent_type <- function(fit, type) {
  if (method_of(fit) == "joint") return("conditional")
  vb <- method_of(fit) == "vb"
  types <- if (vb) c("linear_response", "mean_field") else c("total", "conditional")
  if (is.null(type) && is_crossed(design_of(fit)) && !vb) return("conditional")
  check_choice(if (is.null(type)) types else type, "type", types)
}

# Of the coefficients that come with latent variables: as they are estimated, or under q, where some
# are points.
latent_coefficient_cov <- function(fit, type) {
  under_q <- has_curves(fit) &&
    (method_of(fit) == "joint" || type %in% c("conditional", "mean_field"))
  if (under_q) smooth_of(fit)$q_cov else coefficient_cov(fit)
}

#' Random effects of each group
#'
#' The posterior means of the latent variables (under method `"joint"` their points), as
#' [nlme::ranef()] and lme4 give them, and like there their covariances given all parameters, under
#' `"reml"` given the coefficients too: `condsd` is what lme4 calls so. It takes the estimates for
#' the truth, is far too small with few groups and zero where a variance is estimated at zero.
#' [latent()] is the tidy form, whose `sd` has the uncertainty of the parameters in it.
#'
#' @param object a fit.
#' @param condVar whether to attach the posterior covariances.
#' @param x an object made by `ranef()`.
#' @param row.names,optional not used.
#' @param ... nothing further.
#' @param whichel,postVar as in lme4: names of elements to return; another name of `condVar`.
#' @return A list of class `ranef.elbo_fit`, named by the grouping factor: a data frame with a
#'   row per level and a column per term, whose attribute `postVar` is the q x q x m array of
#'   posterior covariances. A smooth term is an element with its penalised coefficients as rows.
#'   `as.data.frame()` gives `grpvar`, `term`, `grp`, `condval` and `condsd`, a row per level and
#'   term.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' head(ranef(fit)$Subject)
#' head(as.data.frame(ranef(fit)))
#' @export
ranef.elbo_glmm <- function(object, condVar = TRUE, ..., whichel = NULL, postVar = condVar) {
  check_dots_empty(...)
  condVar <- check_flag(condVar, "condVar") && check_flag(postVar, "postVar")
  effects <- lapply(latent_parts(object), function(part) {
    one <- as.data.frame(part$mean, optional = TRUE)
    if (condVar) attr(one, "postVar") <- part$cov
    one
  })
  effects <- c(effects, ranef_smooth(object, condVar))
  if (!is.null(whichel)) {
    check(is.character(whichel) && all(whichel %in% names(effects)), "whichel",
          paste("some of", paste0("\"", names(effects), "\"", collapse = ", ")), whichel)
    effects <- effects[whichel]
  }
  structure(effects, class = "ranef.elbo_fit")
}

#' @rdname ranef.elbo_glmm
#' @export
as.data.frame.ranef.elbo_fit <- function(x, row.names = NULL, optional = FALSE, ...) {
  check_dots_empty(..., .but = passed_along$as.data.frame)
  long <- lapply(names(x), function(group) {
    effects <- x[[group]]
    cov <- attr(effects, "postVar")
    sd <- vapply(seq_along(effects), function(j) {
      if (is.null(cov)) rep(NA_real_, nrow(effects)) else sqrt(cov[j, j, ])
    }, numeric(nrow(effects)))
    data.frame(
      grpvar = group,
      term = rep(factor(names(effects), names(effects)), each = nrow(effects)),
      grp = rep(factor(rownames(effects), rownames(effects)), times = ncol(effects)),
      condval = unlist(effects, use.names = FALSE),
      condsd = as.vector(sd)
    )
  })
  do.call(rbind, long)
}

#' @rdname ranef.elbo_glmm
#' @export
print.ranef.elbo_fit <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  for (group in names(x)) {
    cat("$", group, "\n", sep = "")
    effects <- x[[group]]
    attr(effects, "postVar") <- NULL
    print(effects, ...)
  }
  invisible(x)
}

#' Covariances of the random effects
#'
#' The law posited for the latent variables, at the estimates, as [nlme::VarCorr()] and lme4
#' give it. The same numbers with their standard errors are in [theta()] and
#' `vcov(fit, full = TRUE)`.
#'
#' @param x a fit, or an object made by `VarCorr()`.
#' @param sigma not used: the covariances are never relative to the residual variance.
#' @param digits number of significant digits printed.
#' @param comp which of `"Variance"` and `"Std.Dev."` are printed, as in lme4.
#' @param order as in lme4; variances always come before covariances, `"cov.last"`.
#' @param row.names,optional not used.
#' @param ... not used.
#' @return A list of class `VarCorr.elbo_fit`: for each `( | )` a covariance matrix with the
#'   attributes `stddev` and `correlation`, named by the grouping factor (a second one is
#'   `Subject.1`, as in lme4); for each smooth term one of order 1. The attribute `sc` holds the
#'   residual standard deviations. `as.data.frame()` gives `grp`, `var1`, `var2`, `vcov` and
#'   `sdcor`, variances before covariances, and last the row `Residual`: with `sigma = ~ f` one for
#'   each level, named in `var1`; none when the standard errors were known. A standard deviation
#'   held at `Inf` (no law) stays `Inf`.
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont, sigma = ~ Sex)
#' VarCorr(fit)
#' as.data.frame(VarCorr(fit))
#' @export
VarCorr.elbo_glmm <- function(x, sigma = 1, ...) {
  check_dots_empty(..., .but = passed_along$VarCorr)
  blocks <- unique(column_blocks(design_of(x)))
  matrices <- lapply(blocks, function(block) block_covariance(x, block))
  of_block <- column_groups(design_of(x))[match(blocks, column_blocks(design_of(x)))]
  names(matrices) <- make.unique(as.character(of_block))
  structure(c(matrices, smooth_laws(x)),
            sc = if (any(parameters_of(x)$block == "sigma")) stats::sigma(x), # not the argument
            class = "VarCorr.elbo_fit")
}

block_covariance <- function(fit, block) {
  design <- design_of(fit)
  of_block <- column_blocks(design) == block
  terms <- colnames(design$Z)[of_block]
  sd <- stats::setNames(term_sds(fit)[of_block], terms)
  cor <- diag(length(terms))
  dimnames(cor) <- list(terms, terms)
  if (length(terms) > 1) {
    of_pair <- column_blocks(design)[covariance_pairs(column_blocks(design))[, 1]] == block
    cors <- law_cors(design, unname(theta(fit)[in_block(parameters_of(fit), "cor")]))
    cor[lower.tri(cor)] <- cors[of_pair]
    cor[upper.tri(cor)] <- t(cor)[upper.tri(cor)]
  }
  cov <- cor * outer(sd, sd)
  # A correlation is undefined where a standard deviation is zero, their product is not; and
  # terms without a law (Inf) are uncorrelated.
  cov[is.nan(cov)] <- 0
  diag(cov) <- sd^2
  structure(cov, stddev = sd, correlation = cor)
}

# The sd of each column of Z.
term_sds <- function(fit) {
  law_sds(design_of(fit), unname(theta(fit)[parameters_of(fit)$block == "sd"]))
}

# The standard deviations and correlations of a fit as summary() shows them, those of each ( | )
# together.
variance_parameters <- function(fit) {
  parameters <- parameters_of(fit)
  bar <- covariance_index(parameters, design_of(fit))
  rows <- order(bar)
  rows <- rows[parameters$role[rows] %in% c("sd", "cor")]
  with(parameters[rows, ], data.frame(
    name = name, kind = block,
    group = ifelse(block == "sigma", "Residual", ifelse(block == "smooth", term1, group)),
    var1 = term1, var2 = term2, estimate = unname(theta(fit)[rows]), fixed = fixed,
    boundary = boundary
  ))
}

#' @rdname VarCorr.elbo_glmm
#' @export
as.data.frame.VarCorr.elbo_fit <- function(x, row.names = NULL, optional = FALSE, ...,
                                           order = "cov.last") {
  check_dots_empty(..., .but = passed_along$as.data.frame)
  check_choice(order, "order", "cov.last")
  of_block <- function(group) {
    sd <- attr(x[[group]], "stddev")
    pairs <- which(lower.tri(x[[group]]), arr.ind = TRUE)
    data.frame(
      grp = group,
      var1 = names(sd)[c(seq_along(sd), pairs[, "col"])],
      var2 = c(rep(NA_character_, length(sd)), names(sd)[pairs[, "row"]]),
      vcov = c(sd^2, x[[group]][pairs]),
      sdcor = unname(c(sd, attr(x[[group]], "correlation")[pairs]))
    )
  }
  sigma <- attr(x, "sc")
  residual <- if (!is.null(sigma)) {
    var1 <- if (is.null(names(sigma))) NA_character_ else names(sigma)
    data.frame(grp = "Residual", var1 = var1, var2 = NA_character_,
               vcov = unname(sigma^2), sdcor = unname(sigma))
  }
  table <- do.call(rbind, c(lapply(names(x), of_block), list(residual)))
  row.names(table) <- NULL
  table
}

#' @rdname VarCorr.elbo_glmm
#' @export
print.VarCorr.elbo_fit <- function(x, digits = 4, ..., comp = c("Variance", "Std.Dev.")) {
  check_dots_empty(..., .but = passed_along$print)
  known <- c("Variance", "Std.Dev.")
  check(is.character(comp) && length(comp) > 0 && all(comp %in% known), "comp",
        "\"Variance\", \"Std.Dev.\" or both", comp)
  columns <- variance_columns(x, digits)
  print(columns[!names(columns) %in% setdiff(known, comp)], row.names = FALSE, right = FALSE)
  invisible(x)
}

# As text, a row for each standard deviation and correlation.
variance_columns <- function(x, digits) {
  table <- as.data.frame(x)
  is_sd <- is.na(table$var2)
  shown <- data.frame(
    Group = table$grp,
    Name = ifelse(is.na(table$var1), "", table$var1),
    With = ifelse(is_sd, "", table$var2),
    Variance = ifelse(is_sd, signif_text(table$vcov, digits), ""),
    Std.Dev. = ifelse(is_sd, signif_text(table$sdcor, digits), ""),
    Corr = ifelse(is_sd, "", fixed_text(table$sdcor, 2))
  )
  keep <- vapply(shown, function(column) any(nzchar(column)), NA)
  shown[keep]
}
