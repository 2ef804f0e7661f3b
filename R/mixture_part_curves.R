# Mixtures of mixed-effects curves: what ( | ) terms add to formula, design, priors and theta. What
# is said of units is in R/mixture_part_curves_deviations.R.
#
# The components' own smooth terms are design$curves, whose columns are the last of X: latent
# vectors of each component, b_j ~ N(0, sd_j^2 I), which are no part of theta.
#
# design$random is list(group, terms, size, label, curves, structure, common, matrix): for each
# ( | ) its terms as term_description() has them, its number of columns and its words; the curves of
# its smooth terms, whose columns come after those of all terms; "free", "diagonal" or "multiple" of
# matrix, which is said of the terms. A block here is what has a covariance of its own: a whole
# ( | ), a column of a diagonal one, or a curve, whose coefficients have one variance and are
# independent.

mixture_laws$curves <- function() {
  new_mixture_law(
    part = "curves", claims = function(parsed, family, weighted) length(parsed$bars) > 0,
    by_row = TRUE, structure = curve_structure, has_sigma = has_residual,
    check_response = check_regression_response, response_rows = regression_rows,
    check_design = check_regression, distinct = function(design) NULL,
    model = curves_part, parameters = curve_parameters, slots = curve_slots, told = told_curves,
    defaults = default_curves, collapse_words = collapse_of_residuals,
    collapse_prior = regression_prior_text, collapse_sharing = shared_sigma,
    features = curve_features, start_makers = sphered_makers,
    factorisations = function(design) max(unit_designs(design)), least_variances = residual_least,
    n_terms = function(part) part$p, components = curve_components, means = curve_means,
    variances = residual_variances, observed = observed_shares, draw = draw_unit_curves,
    drawn = drawn_shares, has_deviations = TRUE, deviations = averaged_deviations,
    has_vectors = has_smooths, without_priors = flat_model, as_points = with_smooths_as_points,
    at_draw = curves_at_draw, at_boundary = is_nothing, flat = 1e-10,
    theta_fields = curve_fields, point_fields = curve_points, extra_rows = edf_rows,
    pictures = curve_pictures, factors = curve_factors,
    mean_field = curve_blocks,
    row_cost = function(design) ncol(design$X) + ncol(design$Z)^2, pieces = curve_pieces
  )
}

curve_structure <- function(spec, parsed, random_covariance) {
  check_curves(spec, parsed)
  random_structure(random_covariance)
}

check_curves <- function(spec, parsed) {
  group <- parsed$bars[[1]]$group_name
  if (is.null(spec$unit)) {
    abort(c(sprintf("A mixture with a ( | %s) term classifies units of several rows: say which,",
                    group),
            sprintf("as by unit = ~ %s.", group)), "elbo_error_formula")
  }
  unit <- paste(vapply(spec$unit, deparse_line, ""), collapse = ":")
  others <- setdiff(vapply(parsed$bars, `[[`, "", "group_name"), unit)
  if (length(others) > 0) {
    abort(c(sprintf("The deviations of ( | %s) must be those of the units, `unit` = ~ %s:",
                    others[1], unit),
            sprintf("write ( | %s), or unit = ~ %s.", unit, others[1])), "elbo_error_formula")
  }
  if (spec$family$family == "gaussian") return()
  abort(c(sprintf("( | ) terms need family gaussian(), not %s().", spec$family$family),
          "Without them this is a mixture of regressions."), "elbo_error_argument")
}

# "free", "diagonal", "identity" or a covariance matrix, and perhaps "common", in a vector or a
# list.
random_structure <- function(x) {
  if (is.null(x)) x <- "free"
  entries <- if (is.list(x)) x else if (is.matrix(x)) list(x) else as.list(x)
  is_common <- vapply(entries, identical, NA, "common")
  rest <- entries[!is_common]
  rest <- if (length(rest) == 0) "free" else if (length(rest) == 1) rest[[1]]
  words <- c("free", "diagonal", "identity")
  ok <- sum(is_common) < 2 && ((is.character(rest) && length(rest) == 1 && rest %in% words) ||
                                 is_semidefinite(rest))
  check(ok, "random_covariance",
        paste("\"free\", \"diagonal\", \"identity\" or a covariance matrix, and perhaps",
              "\"common\", as in c(\"diagonal\", \"common\") or list(matrix, \"common\")"), x)
  multiple <- is.matrix(rest) || rest == "identity"
  list(structure = if (multiple) "multiple" else rest, common = any(is_common),
       matrix = if (is.matrix(rest)) unname(rest))
}

is_semidefinite <- function(x) {
  if (!is.matrix(x) || !is.numeric(x) || anyNA(x) || !isSymmetric(unname(x))) return(FALSE)
  values <- eigen(x, symmetric = TRUE, only.values = TRUE)$values
  values[1] > 0 && values[length(values)] >= -1e-10 * values[1]
}

# The design ------------------------------------------------------------------------------------

random_design <- function(bars, frame, structure, curves) {
  bars <- lapply(bars, function(bar) {
    bar$terms <- add_multipliers(bar$terms, bar$smooths, frame)
    bar
  })
  described <- lapply(bars, describe_bar, frame)
  check_cells(described, frame)
  Z <- lapply(described, function(block) model.matrix(block$terms, frame))
  check_repeated_terms(Z, bars)
  terms <- Map(function(block, z) c(block, list(contrasts = attr(z, "contrasts"))), described, Z)
  size <- vapply(Z, ncol, 0L)
  if (structure$structure == "free") check_latent_size(max(size))
  Z <- Reduce(cbind, Z)
  dependent <- colnames(Z)[!independent_columns(Z)]
  if (length(dependent) > 0) {
    abort(c(sprintf("The random term `%s` says nothing that those before it do not;", dependent[1]),
            "leave it out of ( | )."), "elbo_error_formula")
  }
  if (!is.null(structure$matrix) && nrow(structure$matrix) != ncol(Z)) {
    abort(c(sprintf("The matrix of `random_covariance` must be %d x %d,", ncol(Z), ncol(Z)),
            sprintf("as there are terms in ( | ), not %d x %d.",
                    nrow(structure$matrix), ncol(structure$matrix)),
            if (length(curves) > 0) "Smooth terms count by their straight lines."),
          "elbo_error_argument")
  }
  list(Z = cbind(Z, smooth_matrix(curves, frame)),
       random = c(list(group = bars[[1]]$group_name, terms = terms, size = size,
                       label = vapply(described, block_label, ""), curves = curves), structure))
}

block_label <- function(block) {
  terms <- attr(block$terms, "term.labels")
  if (attr(block$terms, "intercept") == 1) terms <- c("(Intercept)", terms)
  paste(terms, collapse = " + ")
}

new_random <- function(fit, newdata) {
  random <- design_of(fit)$random
  frames <- lapply(random$terms, function(block) new_frame(block$terms, newdata, block$xlevels))
  Z <- Map(function(block, frame) stats::model.matrix(block$terms, frame, block$contrasts),
           random$terms, frames)
  cbind(Reduce(cbind, Z), smooth_matrix(random$curves, do.call(cbind, unname(frames))))
}

# first, size, kind ("free" or "multiple"), label, and its parts term and group, of each block of
# the covariance. The components' own curves may have the same words as those of the deviations,
# which therefore name the group.
random_blocks <- function(design) {
  random <- design$random
  size <- random$size
  if (random$structure == "diagonal") size <- rep(1L, sum(size))
  label <- if (random$structure == "diagonal") colnames(design$Z)[seq_along(size)]
           else ifelse(size == 1, colnames(design$Z)[cumsum(size)], random$label)
  kind <- rep(if (random$structure == "multiple") "multiple" else "free", length(size))
  curves <- random$curves
  size <- c(size, smooth_sizes(curves))
  labels <- curve_labels(curves)
  data.frame(
    first = cumsum(c(0L, size[-length(size)])) + 1L, size = size,
    kind = c(kind, rep("multiple", length(curves))),
    label = c(label, paste(labels, random$group, sep = "|", recycle0 = TRUE)),
    term = c(label, labels),
    group = c(rep(NA_character_, length(label)), rep(random$group, length(labels)))
  )
}

# What the multiples are multiples of.
random_matrix <- function(design) {
  matrix <- diag(ncol(design$Z))
  terms <- seq_len(sum(design$random$size))
  if (!is.null(design$random$matrix)) matrix[terms, terms] <- design$random$matrix
  matrix
}

# Of each column of Z the number of its term: a curve is one.
random_terms <- function(design) {
  random <- design$random
  n <- sum(random$size)
  c(seq_len(n), n + rep(seq_along(random$curves), smooth_sizes(random$curves)))
}

# Units of the same rows have the same number. The rows are told apart by one random projection
# each, and units by one of their rows.
unit_designs <- function(design) {
  rows <- cbind(design$X, design$Z, design$weights)
  projection <- with_seed(1L, list(column = stats::rnorm(ncol(rows)),
                                   row = stats::rnorm(max(diff(design_first(design))))))
  position <- sequence(diff(design_first(design)))
  key <- rowsum(drop(rows %*% projection$column) * projection$row[position] +
                projection$row[position],
                unit_of_row(design), reorder = FALSE)
  match(key, unique(key))
}

# Units by their designs.
like_units <- function(design) split(seq_len(design$n_unit), unit_designs(design))

# Of units of the same number of rows, each in a column.
rows_of_units <- function(design, units) {
  first <- design_first(design)
  outer(seq_len(first[units[1] + 1] - first[units[1]]), first[units], `+`)
}

# Whether components have smooth terms of their own.
has_smooths <- function(design) length(design$curves) > 0

# The columns of X that are not of smooth terms, and those that are.
straight_columns <- function(design) {
  design$X[, seq_len(ncol(design$X) - sum(smooth_sizes(design$curves))), drop = FALSE]
}

curved_columns <- function(design) {
  n <- sum(smooth_sizes(design$curves))
  design$X[, ncol(design$X) - n + seq_len(n), drop = FALSE]
}

design_first <- function(design) if (is.null(design$first)) 0:design$n_row else design$first

# What C takes ----------------------------------------------------------------------------------

curves_part <- function(design, k, covariance, told) {
  blocks <- random_blocks(design)
  held <- !is.na(told$multiple_constant)
  common <- design$spec$common_sigma
  if (!is.null(told$sigma_constant) && !common) told$sigma_constant <- rep(told$sigma_constant, k)
  size <- smooth_sizes(design$curves)
  if (!is.null(told$beta_sd)) {
    told$beta_mean <- c(told$beta_mean, numeric(sum(size)))
    told$beta_sd <- c(told$beta_sd, rep(1, sum(size))) # not looked at
  }
  c(list(X = design$X, p = ncol(design$X), Z = design$Z, q = ncol(design$Z), y = design$y,
         weights = design$weights, offset = design$offset, n_block = nrow(blocks),
         block_size = blocks$size, block_kind = as.integer(blocks$kind == "multiple" | held),
         matrix = random_matrix(design), common_covariance = as.integer(design$random$common),
         common_sigma = as.integer(common), n_smooth = length(size), smooth_size = size), told)
}

# The model of curves without priors of its parameters; the law of smooth terms is none.
flat_model <- function(model) {
  model$parts$weights[c("law", "alpha", "coefficient_sd")] <- list(0L, NULL, Inf)
  none <- c("beta_mean", "beta_sd", "covariance_df", "covariance_scale", "smooth_family")
  model$parts$curves[none] <- list(NULL)
  model$parts$curves$sigma_family <- 0L
  model
}

# Coefficients of smooth terms that are points, as coefficients like others with a normal prior.
with_smooths_as_points <- function(fit) {
  if (!has_smooths(design_of(fit))) return(fit)
  told <- priors_of(fit)$told$curves
  if (is.null(told$beta_sd)) {
    told$beta_mean <- numeric(ncol(straight_columns(design_of(fit))))
    told$beta_sd <- told$beta_mean + Inf
  }
  size <- smooth_sizes(design_of(fit)$curves)
  told$beta_mean <- c(told$beta_mean, numeric(sum(size)))
  told$beta_sd <- c(told$beta_sd, rep(told$smooth_constant, size))
  priors_of(fit)$told$curves <- replace(told, names(told_smooths(list())), told_smooths(list()))
  design_of(fit)["curves"] <- list(NULL)
  fit
}

# theta -----------------------------------------------------------------------------------------

# The coefficients of smooth terms too, in the block "latent".
curve_parameters <- function(design, k, covariance, told) {
  blocks <- random_blocks(design)
  free <- blocks$kind == "free"
  columns <- block_names(design)
  sd <- ifelse(free, columns, blocks$term)
  held <- rep(!is.na(told$multiple_constant), lengths(sd))
  group <- rep(blocks$group, lengths(sd))
  pairs <- do.call(cbind, lapply(columns[free & blocks$size > 1], utils::combn, 2))
  latent <- sum(smooth_sizes(design$curves))
  block <- rep(c("beta", "latent"), c(ncol(design$X) - latent, latent))
  smooth <- parameter_rows("smooth", curve_labels(design$curves),
                           fixed = latent > 0 & !is.na(told$smooth_constant))
  common <- design$random$common
  rbind(of_components(parameter_rows(block, colnames(design$X)), seq_len(k)),
        of_components(smooth, seq_len(k)),
        shared_rows(parameter_rows("sd", unlist(sd), group = group, fixed = held), k, common),
        shared_rows(parameter_rows("cor", pairs[1, ], pairs[2, ]), k, common),
        shared_rows(parameter_rows("sigma", fixed = !is.null(told$sigma_constant)), k,
                    design$spec$common_sigma))
}

# The columns of Z of each block.
block_names <- function(design) {
  blocks <- random_blocks(design)
  Map(function(first, size) colnames(design$Z)[first + seq_len(size) - 1L], blocks$first,
      blocks$size)
}

# Priors ----------------------------------------------------------------------------------------

curve_slots <- function(design) {
  blocks <- random_blocks(design)
  beta <- colnames(straight_columns(design))
  smooth <- curve_labels(design$curves)
  rbind(parameter_rows("beta", beta),
        parameter_rows("sd", blocks$term, group = blocks$group),
        parameter_rows("covariance"),
        parameter_rows("smooth", smooth),
        parameter_rows("sigma"))[c("name", "block")]
}

told_curves <- function(priors, slots, design, method) {
  blocks <- random_blocks(design)
  smooth <- told_smooths(priors[slots == "smooth"])
  if (method == "joint" && anyNA(smooth$smooth_constant)) {
    label <- parameter_rows("smooth", curve_labels(design$curves))$name
    label <- label[is.na(smooth$smooth_constant)][1]
    abort(c("Method \"joint\" cannot estimate the standard deviation of a smooth term: as points,",
            "coefficients follow it to zero, where the objective is infinite. Hold it,",
            sprintf("priors(`%s` = constant(1)), or use method \"em\".", label)),
          "elbo_error_unbounded")
  }
  told <- told_regression(priors[slots %in% c("beta", "sigma")],
                          slots[slots %in% c("beta", "sigma")])
  held <- priors[slots == "sd"]
  told$multiple_constant <- vapply(unname(held), function(p) {
    if (is_constant(p)) as.double(p$parameters$value) else NA
  }, 0)
  several <- which(!is.na(told$multiple_constant) & blocks$kind == "free" & blocks$size > 1)
  if (length(several) > 0) {
    abort(c(sprintf("The standard deviations of the free covariance of ( %s | ) cannot be held;",
                    blocks$label[several[1]]),
            "say random_covariance = \"diagonal\" or \"identity\"."), "elbo_error_prior")
  }
  for (value in told$multiple_constant) if (!is.na(value)) check_held_sd(value)
  c(told, told_covariance(priors[slots == "covariance"][[1]], design, blocks), smooth)
}

told_smooths <- function(priors) {
  held <- constant_values(priors)
  for (value in held) if (!is.na(value)) check_held_sd(value)
  priors[vapply(priors, function(p) is_flat(p) || is_constant(p), NA)] <- list(NULL)
  list(smooth_constant = held, smooth_family = prior_family(priors), smooth_df = prior_df(priors),
       smooth_scale = prior_field(priors, "scale", 1))
}

check_held_sd <- function(value) {
  if (is.finite(value) && value > 0) return()
  abort(c("Standard deviations of deviations and of curves can be held at a positive finite",
          sprintf("number, not at %s.", format(value))), "elbo_error_prior")
}

# The law of every block, and of the multiples of given matrices.
told_covariance <- function(prior, design, blocks) {
  if (is_flat(prior)) return(list(covariance_df = NULL, covariance_scale = NULL))
  if (prior$distribution != "inverse_wishart") {
    abort(c(sprintf("The prior %s cannot be used for `covariance` of deviations, whose mean",
                    format(prior)), "is zero; inverse_wishart(df, scale) can."), "elbo_error_prior")
  }
  order <- ifelse(blocks$kind == "free", blocks$size, 1)
  df <- prior$parameters$df
  if (df <= max(order) - 1) {
    abort(c(sprintf("The df of the prior of `covariance` must exceed %d,", max(order) - 1),
            sprintf("one less than the terms of ( | ); not %s.", format(df))), "elbo_error_prior")
  }
  scale <- prior$parameters$scale
  term <- random_terms(design)
  q <- max(term)
  if (length(scale) > 1 && nrow(scale) != q) {
    abort(c("The scale of the prior of `covariance` must be a number",
            sprintf("or a %d x %d matrix, not %d x %d.", q, q, nrow(scale), ncol(scale)),
            if (length(design$random$curves) > 0) "A smooth term counts as one, after the others."),
          "elbo_error_prior")
  }
  scale <- if (length(scale) == 1) diag(as.double(scale), q) else matrix(as.double(scale), q)
  # Coefficients of a curve are independent.
  apart <- outer(term, term, `!=`) | diag(length(term)) == 1
  list(covariance_df = rep(as.double(df), nrow(blocks)),
       covariance_scale = scale[term, term] * apart)
}

# Coefficients and sigma as of regressions; deviations with a tenth of the response's variance,
# which their terms share; curves as in fit_glmm().
default_curves <- function(design) {
  regression <- default_regression(replace(design, "X", list(straight_columns(design))))
  blocks <- random_blocks(design)
  order <- ifelse(blocks$kind == "free", blocks$size, 1)
  size <- drop(rowsum(colMeans(design$Z^2), random_terms(design)))
  spread <- unname(0.1 * stats::var(design$y) / (length(size) * size))
  if (design$random$structure == "multiple") {
    terms <- seq_len(sum(design$random$size))
    spread[terms] <- exp(mean(log(spread[terms] / diag(random_matrix(design))[terms])))
  }
  scale <- if (length(spread) == 1) signif(spread, 2) else diag(signif(spread, 2))
  p <- length(regression) - 1
  extents <- curve_extents(list(curves = design$curves, B = curved_columns(design)))
  smooth <- lapply(extents, function(r) default_sd(stats::sd(design$y) / r))
  c(regression[seq_len(p)], rep(list(NULL), nrow(blocks)),
    list(distributions$inverse_wishart(max(order) + 2, scale)), unname(smooth), regression[p + 1])
}

# Starts ----------------------------------------------------------------------------------------

# Each unit's own coefficients, drawn a little towards those of all units where its rows say little.
curve_features <- function(design) {
  X <- design$X
  size <- smooth_sizes(design$curves)
  # A curve counts as one column, in which what is rough is small.
  term <- c(seq_len(ncol(X) - sum(size)), ncol(X) + rep(seq_along(size), size))
  scale <- sqrt(drop(rowsum(colMeans(X^2), term))[match(term, sort(unique(term)))])
  X <- X / rep(scale, each = nrow(X))
  y <- working_response(design)
  y <- y - drop(X %*% solve_ridge(crossprod(X), crossprod(X, y), 1e-8 * nrow(X)))
  features <- matrix(0, design$n_unit, ncol(X))
  for (units in like_units(design)) {
    rows <- rows_of_units(design, units)
    Xu <- X[rows[, 1], , drop = FALSE]
    features[units, ] <- t(solve_ridge(crossprod(Xu), crossprod(Xu, matrix(y[rows], nrow(rows))),
                                       0.05 * nrow(X) / design$n_unit))
  }
  # Distances between coefficients as those between curves.
  features %*% t(chol(crossprod(X) / nrow(X) + diag(1e-10, ncol(X))))
}

solve_ridge <- function(A, b, ridge) solve(A + diag(ridge, nrow(A)), b)
