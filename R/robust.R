# Covariances of the coefficients that hold where the law of the rows does not, as packages sandwich
# and clubSandwich compute them, and the words by which other packages ask for them.
#
#   named_covariance(fit, vcov, arguments)   what `vcov` means: "HC0", "CR2", "CL", ~ cluster, a
#                                            matrix, a function
#
# Rows of a group depend on each other, so that only groups, or clusters of whole groups, can be
# taken for independent. By Fisher's identity the score of the coefficients is that of the complete
# data at the expected latent variables, sum_i x_i (y_i - x_i'beta - z_i'E[u | y]) / s2_i = X'V^-1
# (y - X beta).

# The score of a group stands in its first row and the others have none. Sums over rows, over groups
# and over clusters of groups are then those of groups, which is what the functions of sandwich sum;
# those that take rows for independent or ordered are refused.
#' @exportS3Method sandwich::estfun elbo_glmm
estfun.elbo_glmm <- function(x, ...) {
  check_robust(x, "estfun()")
  scores <- design_of(x)$X * (residual_rows(x, "response") / residual_sd(x)^2)
  rownames(scores) <- row.names(frame_of(x))
  if (!has_groups(x)) return(scores)
  refuse_by_row(x, sys.function(sys.parent()), parent.frame())
  units <- independent_units(x)
  group <- as.integer(units)
  first <- match(seq_len(nlevels(units)), group)
  sums <- rowsum(scores, group, reorder = TRUE)
  scores[] <- 0
  scores[first, ] <- sums
  scores
}

#' @exportS3Method sandwich::bread elbo_glmm
bread.elbo_glmm <- function(x, ...) {
  check_robust(x, "bread()")
  nobs(x) * vcov(x)
}

check_robust <- function(fit, what) {
  check_likelihood(fit, what)
  check_no_curves(design_of(fit), what,
                  "They tie all rows together, so that no scores are independent.")
}

check_likelihood <- function(fit, what) {
  if (!is.na(log_evidence_of(fit))) return(invisible(fit))
  abort(c(sprintf("%s needs a likelihood, which method \"%s\" has not.", what, method_of(fit)),
          "Use update(fit, method = \"em\")."), "elbo_error_method")
}

# What sandwich would make of scores by group is looked at before: it hands on no more than the fit.
refuse_by_row <- function(fit, caller, frame) {
  called <- function(names) {
    any(vapply(names, function(name) {
      identical(caller, get0(name, asNamespace("sandwich"), inherits = FALSE))
    }, NA))
  }
  if (called("meatCL")) return(check_meat(fit, frame$cluster, frame$type))
  if (called("meatHC")) {
    abort(c("The rows are not independent: those of a group share its latent variables.", by_group),
          "elbo_error_not_available")
  }
  if (called(c("meatHAC", "meatPL", "meatPC", "bwAndrews", "bwNeweyWest"))) {
    abort(c("The rows are no series in time: those of a group share its latent variables.",
            by_group), "elbo_error_not_available")
  }
}

by_group <- c("By group, the covariance is sandwich::vcovCL(fit), or, better with few groups,",
              "clubSandwich::vcovCR(fit, type = \"CR2\").")

check_meat <- function(fit, cluster, type) {
  if (is.character(type) && type[1] %in% c("HC2", "HC3")) {
    abort(c(sprintf("sandwich has type \"%s\" for linear models only;", type[1]),
            "with groups that is clubSandwich::vcovCR(fit, type = \"CR2\") or \"CR3\"."),
          "elbo_error_argument")
  }
  if (is.null(cluster) || identical(cluster, independent_units(fit))) return(invisible(fit))
  if (inherits(cluster, "formula")) return(invisible(cluster_columns(fit, cluster)))
  columns <- as.data.frame(cluster)
  for (name in names(columns)) if (nrow(columns) == nobs(fit)) {
    check_whole_groups(fit, as.factor(columns[[name]]), name)
  }
}

#' @exportS3Method sandwich::vcovBS elbo_glmm
vcovBS.elbo_glmm <- function(x, ...) {
  abort("For fits of this package, resampling is bootstrap(fit), with vcov() of what it returns.",
        "elbo_error_not_available")
}

#' @exportS3Method sandwich::vcovBS elbo_mixture
vcovBS.elbo_mixture <- vcovBS.elbo_glmm

# ---- clubSandwich ------------------------------------------------------------------------

# Its generics below are its own, not exported: working covariances, residuals of the population.

#' @exportS3Method clubSandwich::vcovCR
vcovCR.elbo_glmm <- function(obj, cluster, type, target = NULL, inverse_var = is.null(target),
                             form = "sandwich", ...) {
  check_dots_empty(...)
  check_robust(obj, "vcovCR()")
  if (missing(type)) {
    abort("`type` must be given: \"CR0\" to \"CR3\", of which \"CR2\" is best with few groups.",
          "elbo_error_argument")
  }
  cluster <- if (missing(cluster)) default_cluster(obj) else row_cluster(obj, cluster)
  utils::getS3method("vcovCR", "default", envir = asNamespace("clubSandwich"))(
    obj, cluster = cluster, type = type, target = target, inverse_var = inverse_var, form = form
  )
}

#' @exportS3Method clubSandwich::residuals_CS
residuals_CS.elbo_glmm <- function(obj) design_of(obj)$y - fixed_rows(obj)

#' @exportS3Method clubSandwich::targetVariance
targetVariance.elbo_glmm <- function(obj, cluster) {
  lapply(split(seq_len(nobs(obj)), cluster), row_covariance, fit = obj)
}

#' @exportS3Method clubSandwich::weightMatrix
weightMatrix.elbo_glmm <- function(obj, cluster) {
  lapply(targetVariance.elbo_glmm(obj, cluster), function(V) chol2inv(chol(V)))
}

# V of some rows: Z Sigma Z' within groups, and the residual variances.
row_covariance <- function(rows, fit) {
  residual <- diag(residual_sd(fit)[rows]^2, length(rows))
  if (!has_groups(fit)) return(residual)
  law <- latent_law(fit)
  for (part in latent_parts(fit)) {
    Z <- design_of(fit)$Z[rows, part$columns, drop = FALSE]
    group <- as.integer(part$group)[rows]
    shared <- outer(group, group, `==`)
    residual <- residual + Z %*% law[part$columns, part$columns] %*% t(Z) * shared
  }
  residual
}

default_cluster <- function(fit) {
  if (has_groups(fit)) return(independent_units(fit))
  abort("`cluster` must be given: the fit has no groups.", "elbo_error_argument")
}

# A vector that names the cluster of every row, of whole groups.
row_cluster <- function(fit, cluster) {
  left_out <- attr(frame_of(fit), "na.action")
  if (length(cluster) == nobs(fit) + length(left_out) && length(left_out) > 0) {
    cluster <- cluster[-left_out]
  }
  if (length(cluster) != nobs(fit)) {
    abort(sprintf("`cluster` must have a value for each of the %d rows of the fit, not %d.",
                  nobs(fit), length(cluster)), "elbo_error_argument")
  }
  cluster <- as.factor(cluster)
  check_whole_groups(fit, cluster)
  cluster
}

check_whole_groups <- function(fit, cluster, name = "cluster") {
  for (group_name in names(design_of(fit)$groups)) {
    group <- design_of(fit)$groups[[group_name]]
    divided <- divided_level(group, cluster)
    if (is.na(divided)) next
    abort(c(sprintf("`%s` divides the group %s of `%s`, whose rows depend on each other:", name,
                    divided, group_name), "clusters must be of whole groups."),
          "elbo_error_argument")
  }
  invisible(fit)
}

# A level of `inner` with rows in several levels of `outer`, NA where there is none.
divided_level <- function(inner, outer) {
  pairs <- unique(data.frame(as.integer(inner), as.integer(outer)))
  levels(inner)[pairs[anyDuplicated(pairs[[1]]), 1]][1]
}

# The groups whose rows are independent of all others: of nested factors the outermost.
independent_units <- function(fit) {
  groups <- design_of(fit)$groups
  outermost <- vapply(groups, function(outer) {
    all(vapply(groups, function(inner) is.na(divided_level(inner, outer)), NA))
  }, NA)
  if (any(outermost)) return(groups[[which(outermost)[1]]])
  abort(c(sprintf("The grouping factors %s cross, so that no groups of rows are independent.",
                  quote_names(names(groups))),
          "bootstrap() has the law of the estimates where the model holds."),
        "elbo_error_not_available")
}

# ---- by name -----------------------------------------------------------------------------

named_covariance <- function(fit, vcov = NULL, arguments = list()) {
  if (is.null(vcov) || isTRUE(vcov)) return(all_coefficients_cov(fit))
  if (is.function(vcov)) vcov <- do.call(vcov, c(list(fit), arguments))
  if (inherits(vcov, "formula")) return(cluster_covariance(fit, vcov))
  if (is.numeric(vcov) && is.matrix(vcov)) return(given_covariance(fit, unclass(vcov)))
  check(is.character(vcov) && length(vcov) == 1, "vcov",
        "a matrix, a function, a formula of clusters, or a name such as \"CR2\"", vcov)
  if (vcov %in% own_covariances) return(vcov(fit, type = vcov))
  name <- sub("^vcov", "", vcov)
  if (grepl("^CR[0-9]?[pS]?$", name)) {
    need_package("clubSandwich", vcov)
    if (name == "CR") name <- "CR3" # as package insight reads it
    return(given_covariance(fit, do.call(clubSandwich::vcovCR,
                                         c(list(fit, type = name), arguments))))
  }
  known <- paste0("\"", c("CL", paste0("CR", 0:3), own_covariances), "\"")
  check(grepl("^HC[0-9]?m?$", name) || name %in% sandwich_functions, "vcov",
        paste("one of", paste(known, collapse = ", ")), vcov)
  need_package("sandwich", vcov)
  covariance_by_sandwich(fit, name, arguments)
}

covariance_by_sandwich <- function(fit, name, arguments) {
  if (name == "CL" && inherits(arguments$cluster, "formula")) {
    return(cluster_covariance(fit, arguments$cluster, arguments[names(arguments) != "cluster"]))
  }
  if (startsWith(name, "HC")) {
    arguments$type <- if (name == "HC") "HC3" else name
    name <- "HC"
  }
  method <- getExportedValue("sandwich", paste0(if (!name %in% bare_functions) "vcov", name))
  do.call(method, c(list(fit), arguments))
}

own_covariances <- c("observed", "full_observed", "sandwich", "linear_response", "mean_field",
                     "importance")
bare_functions <- c("NeweyWest", "kernHAC")
sandwich_functions <- c("CL", "OPG", "HAC", "PL", "PC", "BS", "JK", bare_functions)

need_package <- function(package, word) {
  if (requireNamespace(package, quietly = TRUE)) return(invisible())
  abort(sprintf("vcov = \"%s\" needs package %s, which is not installed.", word, package),
        "elbo_error_package")
}

# By one or several variables of the data, each of whole groups.
cluster_covariance <- function(fit, formula, arguments = list()) {
  need_package("sandwich", deparse_line(formula))
  sandwich::bread(fit) # says why, where there is none
  do.call(sandwich::vcovCL, c(list(fit, cluster = cluster_columns(fit, formula)), arguments))
}

cluster_columns <- function(fit, formula) {
  expressions <- term_variables(formula)
  data <- fit_data(fit)
  columns <- tryCatch(
    lapply(expressions, eval, data, environment(formula)),
    error = function(e) abort(sprintf("The clusters %s cannot be evaluated: %s.",
                                      deparse_line(formula), conditionMessage(e)),
                              "elbo_error_argument")
  )
  names(columns) <- vapply(expressions, deparse_line, "")
  for (name in names(columns)) {
    if (length(columns[[name]]) != nobs(fit) || anyNA(columns[[name]])) {
      abort(sprintf("`%s` must name the cluster of each of the %d rows of the fit.", name,
                    nobs(fit)), "elbo_error_argument")
    }
    check_whole_groups(fit, as.factor(columns[[name]]), name)
  }
  as.data.frame(columns)
}

given_covariance <- function(fit, V) {
  names <- names(all_coefficients(fit))
  V <- matrix(as.vector(V), nrow(V), ncol(V), dimnames = dimnames(V))
  if (!identical(dim(V), rep(length(names), 2))) {
    abort(sprintf("`vcov` must be a %d x %d matrix, a row for each coefficient, not %d x %d.",
                  length(names), length(names), nrow(V), ncol(V)), "elbo_error_argument")
  }
  if (is.null(dimnames(V))) dimnames(V) <- list(names, names)
  V
}

#' @exportS3Method insight::get_varcov
get_varcov.elbo_fit <- function(x, vcov = NULL, vcov_args = NULL, ...) {
  named_covariance(x, vcov, as.list(vcov_args))
}
