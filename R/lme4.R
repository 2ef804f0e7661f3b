# What lme4's generics answer of a mixed model, in lme4's words and order. Its pieces are made from
# the design: getME() has nothing that the fit does not know.

#' @exportS3Method lme4::ngrps
ngrps.elbo_glmm <- function(object, ...) {
  check_dots_empty(...)
  groups <- design_of(object)$groups
  if (length(groups) == 0) return(stats::setNames(integer(), character()))
  vapply(groups, nlevels, 0L)
}

#' @exportS3Method lme4::isREML
isREML.elbo_fit <- function(x, ...) {
  check_dots_empty(...)
  method_of(x) == "reml"
}

#' @exportS3Method lme4::isLMM
isLMM.elbo_fit <- function(x, ...) {
  check_dots_empty(...)
  is_mixed_model(x) && family(x)$family == "gaussian"
}

#' @exportS3Method lme4::isGLMM
isGLMM.elbo_fit <- function(x, ...) {
  check_dots_empty(...)
  is_mixed_model(x) && family(x)$family != "gaussian"
}

#' @exportS3Method lme4::isNLMM
isNLMM.elbo_fit <- function(x, ...) {
  check_dots_empty(...)
  FALSE
}

# A mixture of curves is none: its random terms belong to components.
is_mixed_model <- function(fit) UseMethod("is_mixed_model")

#' @exportS3Method
is_mixed_model.elbo_fit <- function(fit) FALSE

#' @exportS3Method
is_mixed_model.elbo_glmm <- function(fit) has_groups(fit)

#' @exportS3Method lme4::ngrps
ngrps.elbo_mixture <- function(object, ...) {
  check_dots_empty(...)
  unit <- design_of(object)$spec$unit
  if (is.null(unit)) {
    not_for("mixture", "ngrps()", "Without `unit` every row is by itself: nobs(fit).")
  }
  stats::setNames(design_of(object)$n_unit, deparse_line(unit[[1]]))
}

# ---- pieces ------------------------------------------------------------------------------

#' @exportS3Method lme4::getME
getME.elbo_glmm <- function(object, name, ...) {
  check_dots_empty(...)
  if (!has_groups(object)) {
    abort(c("A fit without random terms has no pieces of a mixed model.",
            "model.matrix(fit), coef(fit) and sigma(fit) have what there is."),
          "elbo_error_not_available")
  }
  check(is.character(name) && length(name) > 0, "name", "the name of a piece, or several", name)
  known <- setdiff(names(lme4_pieces), if (!is_gaussian(object)) gaussian_pieces)
  if (identical(name, "ALL")) name <- known
  unknown <- setdiff(name, known)
  if (length(unknown) > 0) {
    abort(c(sprintf("There is no piece \"%s\" of this fit.", unknown[1]),
            sprintf("There are %s.", enumerate(sprintf("\"%s\"", known), Inf))),
          "elbo_error_argument")
  }
  pieces <- lapply(name, function(one) lme4_pieces[[one]](object))
  if (length(pieces) == 1) pieces[[1]] else stats::setNames(pieces, name)
}

#' @exportS3Method lme4::getME
getME.elbo_mixture <- function(object, name, ...) {
  check_dots_empty(...)
  not_for("mixture", "getME()", "components(fit) and latent(fit) have the pieces of a mixture.")
}

# In lme4's notation y = X beta + Z b + e, b = Lambda u, and Lambda relative to sigma. The b of a
# ( | ) lie level by level, one ( | ) after the other: as in the formula, those of a factor together
# (lme4 has factors with more levels first).
lme4_pieces <- list(
  X = function(fit) design_of(fit)$X,
  Z = function(fit) Matrix::t(random_rows(fit)),
  Zt = function(fit) random_rows(fit),
  Ztlist = function(fit) random_row_list(fit),
  A = function(fit) Matrix::crossprod(relative_factor(fit), random_rows(fit)),
  mmList = function(fit) {
    blocks <- term_blocks(fit)
    stats::setNames(lapply(blocks, function(b) design_of(fit)$Z[, b, drop = FALSE]),
                    bar_labels(fit))
  },
  y = function(fit) design_of(fit)$y,
  mu = function(fit) {
    x <- unname(fitted_rows(fit))
    if (is_gaussian(fit)) x else response_mean(fit, x)
  },
  u = function(fit) spherical_effects(fit),
  b = function(fit) {
    levels <- lapply(latent_parts(fit), function(part) {
      blocks <- split(seq_along(part$columns), column_blocks(design_of(fit))[part$columns])
      lapply(blocks, function(b) t(part$mean[, b]))
    })
    Matrix::Matrix(unlist(levels, use.names = FALSE), ncol = 1, sparse = FALSE)
  },
  Gp = function(fit) c(0L, cumsum(block_sizes(fit) * n_groups(fit))),
  Lambda = function(fit) relative_factor(fit),
  Lambdat = function(fit) Matrix::t(relative_factor(fit)),
  Lind = function(fit) {
    start <- cumsum(c(0L, n_theta(fit)))
    unlist(Map(function(q, m, from) {
      index <- matrix(0L, q, q)
      index[lower.tri(index, diag = TRUE)] <- from + seq_len(q * (q + 1) / 2)
      index <- t(index) # Lambdat is stored by columns, its columns the rows of Lambda
      rep(index[index > 0], m)
    }, block_sizes(fit), n_groups(fit), start[seq_along(block_sizes(fit))]), use.names = FALSE)
  },
  Tlist = function(fit) relative_roots(fit),
  ST = function(fit) lapply(relative_roots(fit), function(root) {
    out <- root %*% diag(ifelse(diag(root) > 0, 1 / diag(root), 0), nrow(root))
    diag(out) <- diag(root)
    out
  }),
  sigma = function(fit) sigma(fit),
  flist = function(fit) {
    groups <- design_of(fit)$groups
    structure(groups, assign = match(law_groups(design_of(fit)), names(groups)))
  },
  fixef = function(fit) fixef_values(fit),
  beta = function(fit) unname(fixef_values(fit)),
  theta = function(fit) relative_theta(fit),
  lower = function(fit) {
    stats::setNames(ifelse(on_diagonal(fit), 0, -Inf), names(relative_theta(fit)))
  },
  REML = function(fit) if (method_of(fit) == "reml") ncol(design_of(fit)$X) else 0L,
  is_REML = function(fit) method_of(fit) == "reml",
  n_rtrms = function(fit) length(block_sizes(fit)),
  n_rfacs = function(fit) length(group_names(design_of(fit))),
  N = function(fit) nobs(fit),
  n = function(fit) nobs(fit),
  p = function(fit) ncol(design_of(fit)$X),
  q = function(fit) sum(block_sizes(fit) * n_groups(fit)),
  p_i = function(fit) stats::setNames(block_sizes(fit), bar_labels(fit)),
  l_i = function(fit) vapply(design_of(fit)$groups, nlevels, 0L),
  q_i = function(fit) stats::setNames(block_sizes(fit) * n_groups(fit), bar_labels(fit)),
  k = function(fit) length(block_sizes(fit)),
  m_i = function(fit) stats::setNames(n_theta(fit), bar_labels(fit)),
  m = function(fit) sum(n_theta(fit)),
  cnms = function(fit) {
    names <- lapply(term_blocks(fit), function(b) colnames(design_of(fit)$Z)[b])
    stats::setNames(names, law_groups(design_of(fit)))
  },
  offset = function(fit) rep_len(design_of(fit)$offset, nobs(fit)),
  RX = function(fit) chol(inverse_covariance(vcov(fit))) * relative_scale(fit),
  devcomp = function(fit) deviance_parts(fit)
)

# Of the penalised least squares that other responses are not.
gaussian_pieces <- c("u", "RX", "devcomp")

fixef_values <- function(fit) structure(coef(fit), fixed = NULL)

term_blocks <- function(fit) {
  blocks <- column_blocks(design_of(fit))
  unname(split(seq_along(blocks), blocks))
}

block_sizes <- function(fit) lengths(term_blocks(fit))

n_theta <- function(fit) as.integer(block_sizes(fit) * (block_sizes(fit) + 1) / 2)

# Of each ( | ), those of its factor.
n_groups <- function(fit) {
  design <- design_of(fit)
  unname(vapply(design$groups[law_groups(design)], nlevels, 0L))
}

# As lme4 names them: "Days | Subject".
bar_labels <- function(fit) {
  labels <- lapply(design_of(fit)$random, function(term) {
    blocks <- if (term$law == "diag" && !isTRUE(term$common)) length(term$columns) else 1L
    rep(paste(deparse_line(formula(term$terms)[[2]]), "|", term$group), blocks)
  })
  as.character(unlist(labels))
}

# The columns of Z, times the rows of data: sparse, transposed.
random_rows <- function(fit) do.call(rbind, lapply(term_blocks(fit), spread_rows, fit))

random_row_list <- function(fit) {
  terms <- colnames(design_of(fit)$Z)
  rows <- lapply(seq_along(terms), spread_rows, fit)
  stats::setNames(rows, paste(column_groups(design_of(fit)), terms, sep = "."))
}

# Columns b of Z, of one factor.
spread_rows <- function(b, fit) {
  q <- length(b)
  group <- design_of(fit)$groups[[column_groups(design_of(fit))[b[1]]]]
  Matrix::sparseMatrix(
    i = rep((as.integer(group) - 1) * q, each = q) + seq_len(q),
    j = rep(seq_len(nobs(fit)), each = q), x = as.vector(t(design_of(fit)$Z[, b])),
    dims = c(q * nlevels(group), nobs(fit)),
    dimnames = list(rep(levels(group), each = q), row.names(frame_of(fit)))
  )
}

# Lower roots of the covariance of each ( | ) relative to the residual variance; where that differs
# by level relative to its root mean square over the rows.
relative_roots <- function(fit) {
  law <- latent_law(fit) / relative_scale(fit)^2
  roots <- lapply(term_blocks(fit), function(b) lower_root(law[b, b, drop = FALSE]))
  stats::setNames(roots, law_groups(design_of(fit)))
}

relative_scale <- function(fit) {
  sigma <- sigma(fit)
  if (length(sigma) > 1) sqrt(mean(sigma[as.character(design_of(fit)$level)]^2)) else sigma
}

# L lower triangular with L L' = S and a diagonal that is not negative, also of singular S.
lower_root <- function(S) {
  n <- nrow(S)
  L <- matrix(0, n, n)
  for (j in seq_len(n)) {
    before <- seq_len(j - 1)
    rest <- S[j:n, j] - L[j:n, before, drop = FALSE] %*% L[j, before]
    if (rest[1] > 1e-14 * S[j, j]) L[j:n, j] <- rest / sqrt(rest[1])
  }
  L
}

relative_theta <- function(fit) {
  values <- lapply(relative_roots(fit), function(root) root[lower.tri(root, diag = TRUE)])
  names <- Map(function(b, group) {
    terms <- colnames(design_of(fit)$Z)[b]
    pairs <- which(lower.tri(diag(length(b)), diag = TRUE), arr.ind = TRUE)
    paste0(group, ".", ifelse(
      pairs[, 1] == pairs[, 2], terms[pairs[, 1]],
      paste(terms[pairs[, 1]], terms[pairs[, 2]], sep = ".")
    ))
  }, term_blocks(fit), law_groups(design_of(fit)))
  stats::setNames(unlist(values, use.names = FALSE), unlist(names))
}

on_diagonal <- function(fit) {
  unlist(lapply(block_sizes(fit), function(q) diag(q)[lower.tri(diag(q), diag = TRUE)] == 1))
}

relative_factor <- function(fit) {
  blocks <- Map(function(root, m) {
    Matrix::bdiag(rep(list(Matrix::Matrix(root, sparse = TRUE)), m))
  }, relative_roots(fit), n_groups(fit))
  do.call(Matrix::bdiag, unname(blocks))
}

# The modes of u, of which b = Lambda u; where Lambda is singular those of least norm.
spherical_effects <- function(fit) {
  ZL <- Matrix::crossprod(relative_factor(fit), random_rows(fit))
  weight <- (relative_scale(fit) / residual_sd(fit))^2
  left <- design_of(fit)$y - fixed_rows(fit)
  A <- Matrix::tcrossprod(ZL %*% Matrix::Diagonal(x = sqrt(weight)))
  drop(as.matrix(Matrix::solve(A + Matrix::Diagonal(nrow(A)), ZL %*% (weight * left))))
}

# Sums of squares of the residuals and of u at their modes, and what follows from them.
deviance_parts <- function(fit) {
  scale <- relative_scale(fit)
  weight <- (scale / residual_sd(fit))^2
  wrss <- sum(weight * (design_of(fit)$y - fitted_rows(fit))^2)
  ussq <- sum(spherical_effects(fit)^2)
  n <- nobs(fit)
  p <- ncol(design_of(fit)$X)
  reml <- method_of(fit) == "reml"
  objective <- if (is.na(log_evidence_of(fit))) NA_real_ else -2 * log_evidence_of(fit)
  sigma <- sqrt((wrss + ussq) / c(n, n - p))
  list(
    cmp = c(wrss = wrss, ussq = ussq, pwrss = wrss + ussq, REML = if (reml) objective else NA,
            dev = if (reml) NA else objective, sigmaML = sigma[1], sigmaREML = sigma[2]),
    dims = c(N = n, n = n, p = p, nmp = n - p, nth = sum(n_theta(fit)),
             q = sum(block_sizes(fit) * n_groups(fit)),
             useSc = as.integer(!design_of(fit)$known_se),
             reTrms = length(block_sizes(fit)), REML = if (reml) p else 0L, GLMM = 0L, NLMM = 0L)
  )
}

#' @exportS3Method lme4::rePCA
rePCA.elbo_glmm <- function(x) {
  roots <- relative_roots(x)
  groups <- unique(names(roots))
  parts <- lapply(groups, function(group) {
    parts <- svd(as.matrix(Matrix::bdiag(roots[names(roots) == group])), nv = 0)
    structure(list(sdev = parts$d, rotation = parts$u, center = FALSE, scale = FALSE),
              class = "prcomp")
  })
  structure(stats::setNames(parts, groups), class = "prcomplist")
}

# ---- refits ------------------------------------------------------------------------------

#' Fit again to another response
#'
#' Methods for [lme4::refit()] and [lme4::refitML()], which simulation studies, the parametric
#' bootstrap and residual diagnostics by simulation call: the same model, method and priors
#' for another response, without its formula and data.
#'
#' @param object,x a fit.
#' @param newresp the response: a numeric vector, a row for each row of the fit (or of the data
#'   before its `na.action`), or a data frame of one such column, as [simulate()][stats::simulate]
#'   makes it. Of a mixture in the shape of its response.
#' @param ... not used.
#' @return A fit of the same class.
#' @family what a fit answers
#' @examplesIf requireNamespace("lme4", quietly = TRUE)
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont)
#' lme4::refit(fit, simulate(fit, seed = 1))
#' @name refit.elbo_fit
NULL

#' @rdname refit.elbo_fit
#' @exportS3Method lme4::refit elbo_glmm
refit.elbo_glmm <- function(object, newresp, ...) {
  check_dots_empty(...)
  y <- refit_values(object, newresp)
  frame <- frame_of(object)
  frame[[1]] <- design_of(object)$y <- y
  fit <- with_verdict(refit_design(object, design_of(object), control = control_of(object)))
  frame_of(fit) <- frame
  fit
}

#' @rdname refit.elbo_fit
#' @exportS3Method lme4::refitML
refitML.elbo_glmm <- function(x, ...) {
  check_dots_empty(...)
  if (method_of(x) == "em") x else refit_method(x, "em")
}

refit_values <- function(fit, newresp) {
  if (is.data.frame(newresp)) {
    check(ncol(newresp) == 1, "newresp", "one response, as simulate(fit)[1]", newresp)
    newresp <- newresp[[1]]
  }
  dropped <- attr(frame_of(fit), "na.action")
  if (length(dropped) > 0 && length(newresp) == nobs(fit) + length(dropped)) {
    newresp <- newresp[-dropped]
  }
  check(is_numeric_vector(newresp) && length(newresp) == nobs(fit) && all(is.finite(newresp)),
        "newresp", sprintf("%d finite numbers, one for each row", nobs(fit)), newresp)
  as.double(newresp)
}

#' @rdname refit.elbo_fit
#' @exportS3Method lme4::refit elbo_mixture
refit.elbo_mixture <- function(object, newresp, ...) {
  check_dots_empty(...)
  data <- original_data(object)
  names <- response_variables(object)
  if (is.data.frame(newresp) && ncol(newresp) == 1 && !identical(names(newresp), names)) {
    newresp <- newresp[[1]]
  }
  columns <- as.data.frame(newresp)
  check(length(columns) == length(names) && nrow(columns) == nrow(data), "newresp",
        sprintf("%d rows of %s, as simulate(fit) makes them", nrow(data), quote_names(names)),
        newresp)
  data[names] <- columns
  refit_data(object, data)
}

# ---- data --------------------------------------------------------------------------------

#' @exportS3Method nlme::getData elbo_glmm
#' @rawNamespace S3method(lme4::getData,elbo_glmm)
getData.elbo_glmm <- function(object) original_data(object)

#' @exportS3Method nlme::getData elbo_mixture
#' @rawNamespace S3method(lme4::getData,elbo_mixture)
getData.elbo_mixture <- getData.elbo_glmm

#' @exportS3Method ggplot2::fortify
fortify.elbo_glmm <- function(model, data = original_data(model), ...) {
  augmented <- augment(model, data)
  if (!is.null(augmented$.resid)) {
    rows <- match(row.names(augmented), row.names(frame_of(model)))
    augmented$.scresid <- unname(residuals(model, type = "pearson")[rows])
  }
  augmented
}

#' @exportS3Method ggplot2::fortify
fortify.elbo_mixture <- fortify.elbo_glmm

#' @exportS3Method DHARMa::getSimulations
getSimulations.elbo_glmm <- function(object, nsim = 1, simulateREs = NULL,
                                     type = c("normal", "refit"), ...) {
  type <- check_choice(type, "type", c("normal", "refit"))
  known <- c("conditional", "unconditional", "user-specified")
  # Before version 0.5.0 of DHARMa nothing is said, and random effects are drawn anew.
  drawn <- if (is.null(simulateREs)) "user-specified"
           else check_choice(simulateREs, "simulateREs", known)
  form <- switch(drawn, conditional = list(re.form = NULL), unconditional = list(re.form = NA))
  if (!is_mixed_model(object)) form <- list() # components are drawn anew
  draws <- do.call(simulate, c(list(object, nsim), form, list(...)))
  if (type == "refit") return(draws)
  columns <- lapply(draws, function(y) {
    if (is.matrix(y) && has_trials(object)) return(y[, 1])
    as.numeric(check_one_response(y))
  })
  do.call(cbind, columns)
}

#' @exportS3Method DHARMa::getSimulations
getSimulations.elbo_mixture <- getSimulations.elbo_glmm

# As predict(re.form = ~ 0) of a mixed model: the mean before the response is seen.
#' @exportS3Method DHARMa::getFitted
getFitted.elbo_mixture <- function(object, ...) {
  design <- design_of(object)
  means <- frame_order(cbind(averaged_means(object, design, unit_weights(object, design))), design)
  unname(check_one_response(means))
}

#' @exportS3Method DHARMa::getObservedResponse
getObservedResponse.elbo_mixture <- function(object, ...) {
  design <- design_of(object)
  if (design$n_unit < design$n_row) {
    abort(c("DHARMa counts rows, and the units of this mixture have several.",
            "simulate(fit, nsim) has draws to compare."), "elbo_error_not_available")
  }
  y <- check_one_response(observed_rows(object, NULL))
  unname(if (has_trials(object)) frame_order(cbind(design$y), design) else y)
}

check_one_response <- function(values) {
  if (is.null(dim(values))) return(invisible(values))
  abort(c("This is for one response; the fit has several.",
          "simulate(fit, nsim) has draws of all."), "elbo_error_not_available")
}
