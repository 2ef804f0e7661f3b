# From formula and data to the design of a mixture.
#
#   mixture_frame(call, env, family)   `call` is fit_mixture's matched call, `env` where it was
#                                      made. Evaluates formula, data, unit, membership, sigma,
#                                      weights, freq, subset and na.action, and returns
#                                      list(formula, frame, terms, xlevels, contrasts, kind, design)
#   mixture_newdata(fit, newdata, response)   the design of new data, with responses or without
#   subset_units(design, units)        the design of some of its units
#
# A design is a list of
#   kind        the law of responses, a name in mixture_laws (R/mixture_part.R)
#   n_row, n_unit, first    rows, units, and 0-based offsets of the units' first rows (NULL: a row
#                           is a unit)
#   row_order   the rows of the frame in the order of the design, NULL where it is that of the frame
#   unit        the unit of each row, a factor whose levels are in the order of units, or NULL
#   row_names, unit_names    of the frame; of the units: levels of `unit`, or row_names
#   freq        copies of each unit, or NULL
#   W           units x membership terms, or NULL
#   Y           normal: rows x responses, missing values NA; classes: rows x variables, levels coded
#               1, 2, ..., logicals 0 and 1
#   variables   classes: data.frame(name, type), type "categorical", "binomial" or "gaussian", and
#               the list column levels (NULL for numbers)
#   X, y, trials, weights, offset    regression: y are successes where there are trials
#   X, Z, y, weights, offset, random, curves    curves: see mixture_part_curves.R
#   flaws       of the responses as a whole, see flaws() in mixture_part.R, or NULL
#   spec        what the design was made by: see mixture_frame()
#   na.action   the rows of the data that were left out
#
# Words: a row is a row of the data; a unit is what belongs to one component: one row or several.

mixture_frame <- function(call, env, family) {
  data <- argument_value(call, "data", env)
  if (!is.null(data)) check_data_frame(data, "data")
  asked <- asked_mixture(call, env, family, data)
  action <- na_action(argument_value(call, "na.action", env))
  check_bound_columns(asked$spec$lhs, data, environment(asked$parsed$fixed))
  frame <- checked_frame(asked, action, data, call, env)
  parsed <- asked$parsed
  spec <- asked$spec
  curves <- build_parts(c(list(parsed$smooths), lapply(parsed$bars, `[[`, "smooths")), frame)
  check_smooth_size(unlist(curves, recursive = FALSE), frame)
  fixed <- terms(add_multipliers(parsed$fixed, parsed$smooths, frame))
  if (responses_apart(spec)) fixed <- stats::delete.response(fixed)
  fixed <- described_matrix(fixed, frame, argument_value(call, "contrasts", env))
  member <- if (has_terms(asked$membership)) described_matrix(terms(asked$membership), frame)
  spec$membership <- member[c("terms", "xlevels", "contrasts")]
  random <- if (length(parsed$bars) > 0) {
    random_design(parsed$bars, frame, asked$structure, unlist(curves[-1], recursive = FALSE))
  }
  X <- cbind(fixed$matrix, smooth_matrix(curves[[1]], frame))
  design <- mixture_design(frame, spec, X, member$matrix, random, curves[[1]])
  check_mixture_magnitudes(design)
  design$flaws <- law_of(design)$flaws(design)
  law_of(design)$check_design(design)
  c(list(formula = parsed$formula, frame = frame,
         variables = model_variables(parsed$formula, call, data)),
    fixed[c("terms", "xlevels", "contrasts")],
    list(design = drop_aliased(design)))
}

# What is asked for, before any row is looked at: list(parsed, spec, membership, structure).
asked_mixture <- function(call, env, family, data) {
  unit <- one_sided(argument_value(call, "unit", env, "~ id"), "unit", "~ id")
  membership <- one_sided(argument_value(call, "membership", env, "~ age"), "membership", "~ age")
  formula <- as_formula(argument_value(call, "formula", env), env)
  elsewhere <- c(all.vars(unit), all.vars(membership), all.vars(call$weights), all.vars(call$freq))
  parsed <- parse_mixture(formula, data[setdiff(names(data), elsewhere)])
  parsed <- take_bar_smooths(take_smooths(parsed))
  spec <- list(kind = mixture_kind(parsed, family, !is.null(call$weights)), family = family,
               lhs = parsed$fixed[[2]], unit = if (!is.null(unit)) term_variables(unit))
  random_covariance <- argument_value(call, "random_covariance", env)
  structure <- law_of(spec)$structure(spec, parsed, random_covariance)
  spec$common_sigma <- common_sigma(argument_value(call, "sigma", env, "~ 1"), spec)
  list(parsed = parsed, spec = spec, membership = membership, structure = structure)
}

# The rows that say something, with the levels that they have.
checked_frame <- function(asked, action, data, call, env) {
  spec <- asked$spec
  frame <- evaluate_frame(frame_variables(asked$parsed, spec, asked$membership, data),
                          c("subset", "weights", "freq"), data, call, env)
  law_of(spec)$check_response(frame, spec)
  check_scale(frame, "weights")
  check_freq(frame)
  frame <- drop_unused_rows(frame, spec, action, asked$membership)
  factors <- vapply(frame, is.factor, NA)
  frame[factors] <- lapply(frame[factors], drop_levels)
  text <- intersect(which(vapply(frame, is.character, NA)), response_columns(spec))
  frame[text] <- lapply(frame[text], as.factor)
  frame
}

# Terms that know their bases and levels, and their matrix.
described_matrix <- function(terms, frame, contrasts = NULL) {
  described <- term_description(terms, frame)
  check_cells(list(described), frame)
  matrix <- coded_matrix(described, frame, contrasts)
  c(described, list(contrasts = attr(matrix, "contrasts"), matrix = matrix))
}

# Formulas --------------------------------------------------------------------------------------

one_sided <- function(formula, name, example) {
  if (is.null(formula)) return(NULL)
  if (inherits(formula, "formula") && length(formula) == 2 && !has_bar(formula) &&
      !"." %in% all.vars(formula)) return(formula)
  abort(sprintf("`%s` must be a one-sided formula such as %s, not %s.", name, example,
                describe_value(formula)), "elbo_error_formula")
}

has_terms <- function(formula) {
  if (is.null(formula)) return(FALSE)
  terms <- terms(formula)
  if (attr(terms, "intercept") == 0 || !is.null(attr(terms, "offset"))) {
    abort(c("`membership` keeps its intercept and has no offset(): each component has a weight of",
            sprintf("its own. Write ~ x rather than `%s`.", deparse_line(formula))),
          "elbo_error_formula")
  }
  length(attr(terms, "term.labels")) > 0
}

parse_mixture <- function(formula, data) {
  for (law in all_laws()) formula <- law$expand(formula, names(data))
  parsed <- parse_formula(formula, data)
  for (bar in parsed$bars) {
    if (!bar$law %in% c("cs", "ar1") && !bar$common) next
    abort(c(sprintf("The law %s() of a random term is for mixed models; the deviations of units",
                    bar$law), "have any covariance, `||`, or `random_covariance`."),
          "elbo_error_formula")
  }
  parsed
}

# One residual standard deviation, or one for each component.
common_sigma <- function(sigma, spec) {
  if (is.null(sigma)) return(FALSE)
  right <- if (inherits(sigma, "formula") && length(sigma) == 2) sigma[[2]]
  if (identical(right, quote(component))) return(FALSE)
  if (!identical(right, 1)) {
    abort(c("`sigma` must be ~ component, a residual standard deviation for each, or ~ 1, one for",
            sprintf("all; not %s.", describe_value(sigma))), "elbo_error_formula")
  }
  law <- law_of(spec)
  if (law$has_sigma(spec$family)) return(TRUE)
  abort(c("`sigma` = ~ 1 is for mixtures of Gaussian regressions.", law$sigma_words),
        "elbo_error_argument")
}

# The model frame -------------------------------------------------------------------------------

# A one- or two-sided formula of all variables. Responses may be variables each by itself. Columns
# of the data that the formula transforms are kept as they are too: pictures are drawn against them.
frame_variables <- function(parsed, spec, membership, data) {
  fixed <- term_variables(parsed$fixed)
  raw <- lapply(intersect(all.vars(parsed$fixed[[3]]), names(data)), as.name)
  random <- unlist(lapply(parsed$bars, function(bar) term_variables(bar$terms)), recursive = FALSE)
  apart <- responses_apart(spec)
  right <- c(if (apart) law_of(spec)$responses(spec$lhs), fixed[-1], random,
             if (!is.null(membership)) term_variables(membership), spec$unit, raw)
  sum <- Reduce(function(a, b) call("+", a, b), unique(right), 1)
  variables <- if (apart) call("~", sum) else call("~", spec$lhs, sum)
  stats::as.formula(variables, environment(parsed$fixed))
}

response_columns <- function(spec) seq_along(law_of(spec)$responses(spec$lhs))

# Whether responses are variables each by itself, which no one expression has.
responses_apart <- function(spec) !identical(law_of(spec)$responses(spec$lhs), list(spec$lhs))

# Rows that na.action drops, and rows that say nothing: those with no response at all, no trials,
# or no copies.
drop_unused_rows <- function(frame, spec, action, membership) {
  integrated <- if (law_of(spec)$by_row) integer() else response_columns(spec)
  # A response that weights depend on too must be there.
  covariates <- if (!is.null(membership)) vapply(term_variables(membership), deparse_line, "")
  integrated <- setdiff(integrated, match(covariates, names(frame)))
  check_any_rows(frame, "`data`, after `subset`, has no rows.")
  # As in drop_incomplete(): looked at closely only where a sum is not finite.
  suspect <- vapply(frame[integrated], function(x) is.double(x) && !is.finite(sum(x)), NA)
  check_finite(frame[integrated][suspect])
  complete <- drop_incomplete(frame[setdiff(seq_along(frame), integrated)], action)
  empty <- empty_rows(frame, spec)
  if (nrow(complete) == nrow(frame) && sum(lengths(empty)) == 0) return(frame)
  kept <- match(attr(complete, "row.names"), attr(frame, "row.names"))
  empty <- lapply(empty, intersect, kept)
  empty <- Map(function(rows, before) setdiff(rows, unlist(empty[before])), empty,
               lapply(seq_along(empty) - 1L, seq_len))
  incomplete <- setdiff(seq_len(nrow(frame)), kept)
  kept <- setdiff(kept, unlist(empty))
  if (length(kept) == nrow(frame)) return(frame)
  if (sum(lengths(empty)) > 0) {
    empty <- c(empty, list(`with other missing values` = incomplete))
    empty <- empty[lengths(empty) > 0]
    message("Left out: ", paste(sprintf("%d %s %s", lengths(empty),
                                        ifelse(lengths(empty) == 1, "row", "rows"), names(empty)),
                                collapse = ", "), ".")
  }
  left <- frame[kept, , drop = FALSE]
  check_any_rows(left, "No row of `data` is left that says anything about the mixture.")
  omitted <- setdiff(seq_len(nrow(frame)), kept)
  class <- if (identical(action, stats::na.exclude)) "exclude" else "omit"
  names(omitted) <- attr(frame, "row.names")[omitted]
  structure(left, terms = attr(frame, "terms"), na.action = structure(omitted, class = class))
}

empty_rows <- function(frame, spec) {
  law <- law_of(spec)
  responses <- frame[response_columns(spec)]
  missing <- function(x) if (is.matrix(x)) rowSums(!is.na(x)) == 0 else is.na(x)
  c(
    list(`without any response` = if (!law$by_row && anyNA(responses, recursive = TRUE)) {
      which(Reduce(`&`, lapply(responses, missing)))
    }),
    law$silent_rows(responses, spec),
    list(`of freq 0` = which(frame[["(freq)"]] == 0))
  )
}

# Responses -------------------------------------------------------------------------------------

# cbind() would make codes of a factor.
check_bound_columns <- function(lhs, data, env) {
  if (!is_call_to(lhs, "cbind")) return()
  for (argument in as.list(lhs)[-1]) {
    x <- tryCatch(eval(argument, data, env), error = function(e) NULL)
    if (!is.factor(x) && !is.character(x)) next
    abort(sprintf("`%s` in cbind() is %s; factors belong into responses() ~ 1.",
                  deparse_line(argument), if (is.factor(x)) "a factor" else "text"),
          "elbo_error_data")
  }
}

check_freq <- function(frame) {
  freq <- frame[["(freq)"]]
  if (is.null(freq)) return()
  check(is_numeric_vector(freq), "freq", "a numeric vector", freq)
  wrong <- which(!is.na(freq) & (freq < 0 | freq != floor(freq) | is.infinite(freq)))
  if (length(wrong) == 0) return()
  abort(c(sprintf("`freq` must be numbers of copies 0, 1, 2, ..., not %s: see %s.",
                  format(freq[wrong[1]]), frame_rows(frame, wrong)),
          "Weights that are not copies belong into `weights`."), "elbo_error_data")
}

# The design ------------------------------------------------------------------------------------

# X and W have a row for each of `frame`, in its order.
mixture_design <- function(frame, spec, X = NULL, W = NULL, random = NULL, curves = NULL) {
  units <- units_of(if (!is.null(spec$unit)) frame_factor(spec$unit, frame), nrow(frame))
  law <- law_of(spec)
  rows <- c(if (law$by_row) list(X = X, Z = random$Z, weights = as_double(frame[["(weights)"]]),
                                 offset = as_double(stats::model.offset(frame))),
            law$response_rows(frame[response_columns(spec)], spec))
  design <- arrange_design(rows, units, W, as_double(frame[["(freq)"]]), attr(frame, "row.names"))
  c(list(kind = spec$kind), design, list(spec = spec, random = random$random, curves = curves),
    list(na.action = attr(frame, "na.action")))
}

# Rows of a unit together; what is one value a unit, so.
arrange_design <- function(rows, units, W, freq, row_names) {
  ordered <- intersect(row_elements, names(rows))
  rows[ordered] <- lapply(rows[ordered], take_rows, units$row_order)
  of_units <- function(x, name) unit_values(take_rows(x, units$row_order), units, name)
  unit_names <- if (is.null(units$unit)) row_names else levels(units$unit)
  c(units, list(row_names = row_names, unit_names = unit_names), rows,
    list(freq = of_units(freq, "freq"), W = of_units(W, "membership")))
}

row_elements <- c("Y", "X", "Z", "y", "trials", "weights", "offset", "unit")

as_double <- function(x) if (!is.null(x)) as.double(x)

take_rows <- function(x, rows) {
  if (is.null(rows) || is.null(x)) return(x)
  if (is.matrix(x)) x[rows, , drop = FALSE] else x[rows]
}

units_of <- function(unit, n_row) {
  units <- list(n_row = n_row, n_unit = n_row, first = NULL, row_order = NULL, unit = NULL)
  if (is.null(unit)) return(units)
  code <- as.integer(unit)
  order <- if (is.unsorted(code)) order(code)
  size <- tabulate(code, nlevels(unit))
  list(n_row = n_row, n_unit = nlevels(unit), first = if (any(size > 1)) c(0L, cumsum(size)),
       row_order = order, unit = take_rows(unit, order))
}

# The value that the rows of a unit share, a row of the answer each.
unit_values <- function(x, units, name) {
  if (is.null(x) || is.null(units$first)) return(x)
  heads <- take_rows(x, units$first[-length(units$first)] + 1L)
  first <- take_rows(heads, as.integer(units$unit))
  same <- as.matrix(x) == as.matrix(first)
  both <- (is.na(x) & is.na(first))
  same[is.na(same)] <- as.matrix(both)[is.na(same)]
  differ <- rowSums(same) < NCOL(x)
  if (any(differ)) {
    abort(c(sprintf("`%s` must be the same for all rows of a unit, but it differs within %s %s.",
                    name, if (sum(tabulate(units$unit[differ]) > 0) == 1) "unit" else "units",
                    enumerate(levels(units$unit)[unique(units$unit[differ])], 5))),
          "elbo_error_data")
  }
  heads
}

# Some of the units, in the order given; one may be there several times.
subset_units <- function(design, units) {
  rows <- units
  if (!is.null(design$first)) {
    size <- diff(design$first)[units]
    rows <- sequence(size, design$first[units] + 1L)
    design$first <- c(0L, cumsum(size))
  }
  of_rows <- intersect(row_elements, names(design))
  design[of_rows] <- lapply(design[of_rows], take_rows, rows)
  of_units <- intersect(c("freq", "W", "unit_names"), names(design))
  design[of_units] <- lapply(design[of_units], take_rows, units)
  if (!is.null(design$unit)) {
    code <- if (is.null(design$first)) seq_along(units) else rep(seq_along(units), size)
    design$unit <- new_factor(code, make.unique(design$unit_names))
  }
  design$n_row <- length(rows)
  design$n_unit <- length(units)
  design["row_order"] <- list(NULL)
  design
}

# The unit of each row, as a number.
unit_of_row <- function(design) {
  units <- seq_len(design$n_unit)
  if (is.null(design$first)) units else rep(units, diff(design$first))
}

# What cannot be fitted, whatever k ---------------------------------------------------------------

check_mixture_magnitudes <- function(design) {
  y <- column_sizes(if (!is.null(design$y)) {
    stats::setNames(list(design$y), deparse_line(design$spec$lhs))
  })
  x <- column_sizes(design[intersect(c("X", "Z"), names(design))])
  check_magnitudes(c(y, x, column_sizes(design[intersect(c("Y", "W", "offset"), names(design))])))
  if (law_of(design)$has_sigma(design$spec$family)) {
    check_ratios(y, x, column_sizes(list(weights = design$weights)))
  }
}

check_constant_columns <- function(Y) {
  constant <- colnames(Y)[vapply(seq_len(ncol(Y)), function(j) is_constant_column(Y[, j]), NA)]
  if (length(constant) == 0) return()
  abort(c(sprintf("%s the same in all rows: there is nothing to tell components apart by, and",
                  if (length(constant) == 1) sprintf("The response %s is", quote_names(constant))
                  else sprintf("The responses %s are", quote_names(constant))),
          "a variance of zero. Leave it out of `formula`."), "elbo_error_data")
}

is_constant_column <- function(x) {
  range <- suppressWarnings(range(x, na.rm = TRUE))
  range[1] == range[2]
}

# Columns of X and W that say nothing new are dropped and reported, as by lm(). Those of smooth
# terms stay: their law makes them different.
drop_aliased <- function(design) {
  for (name in c("X", "W")) {
    columns <- if (name == "X" && !is.null(design$X)) straight_columns(design) else design[[name]]
    keep <- independent_columns(columns)
    if (all(keep)) next
    aliased <- colnames(columns)[!keep]
    keep <- !colnames(design[[name]]) %in% aliased
    message("Dropped from ", if (name == "X") "the design" else "`membership`",
            ", since they say nothing new: ", quote_names(aliased), ".")
    design[[name]] <- design[[name]][, keep, drop = FALSE]
    if (name == "X") {
      design$aliased <- aliased
      design$aliased_by <- aliased_by(columns[, !colnames(columns) %in% aliased, drop = FALSE],
                                      columns[, aliased, drop = FALSE])
    }
  }
  design
}

# lm()'s own judgement, where there is doubt.
independent_columns <- function(X) {
  if (is.null(X)) return(TRUE)
  size <- sqrt(colSums(X^2))
  if (all(size > 0)) {
    cosines <- crossprod(X) / outer(size, size)
    spread <- eigen(cosines, symmetric = TRUE, only.values = TRUE)$values
    if (min(spread) > 1e-6) return(TRUE)
  }
  decomposition <- qr(X, tol = 1e-7)
  seq_len(ncol(X)) %in% decomposition$pivot[seq_len(decomposition$rank)]
}

# New data ----------------------------------------------------------------------------------------

# Rows with missing values stay. Without its `unit` every row of newdata is one.
mixture_newdata <- function(fit, newdata, response = TRUE) {
  newdata <- as_newdata(newdata, fit)
  check_any_rows(newdata, "`newdata` has no rows.")
  spec <- design_of(fit)$spec
  check_new_columns(fit, covariate_names(fit), newdata)
  unit <- if (!is.null(spec$unit) && all(vars_of(spec$unit) %in% names(newdata))) {
    new_factor_of(spec$unit, fit, newdata)
  }
  if (anyNA(unit)) {
    rows <- list_rows(row.names(newdata)[is.na(unit)])
    abort(sprintf("The unit of `newdata` is missing in %s.", rows), "elbo_error_data")
  }
  units <- units_of(unit, nrow(newdata))
  rows <- c(if (law_of(fit)$by_row) new_covariates(fit, newdata),
            if (response) new_responses(fit, newdata))
  W <- if (!is.null(spec$membership)) {
    described <- spec$membership
    W <- new_columns(described$terms, newdata, described$xlevels, described$contrasts)
    W[, colnames(design_of(fit)$W), drop = FALSE]
  }
  design <- arrange_design(rows, units, W, NULL, attr(newdata, "row.names"))
  c(list(kind = spec$kind), design,
    design_of(fit)[c("variables", "random", "curves")], list(spec = spec))
}

# Of all parts but the responses; without its unit a row is a unit.
covariate_names <- function(fit) {
  spec <- design_of(fit)$spec
  random <- lapply(parse_formula(formula(fit))$bars, `[[`, "terms")
  extras <- as.list(call_of(fit))[c("membership", "weights")]
  vars_of(c(list(drop_bars(formula(fit)[[3]])), random, extras))
}

vars_of <- function(expressions) unique(unlist(lapply(expressions, all.vars)))

new_covariates <- function(fit, newdata) {
  terms <- stats::delete.response(terms(fit))
  frame <- new_frame(terms, newdata, xlevels_of(fit))
  X <- kept_columns(stats::model.matrix(terms, frame, contrasts_of(fit)), fit, newdata, tell = TRUE)
  X <- cbind(X, smooth_matrix(design_of(fit)$curves, frame))
  list(X = X[, colnames(design_of(fit)$X), drop = FALSE],
       Z = if (!is.null(design_of(fit)$random)) new_random(fit, newdata),
       offset = as_double(stats::model.offset(frame)),
       weights = as_double(new_extra(fit, "weights", newdata)))
}

new_responses <- function(fit, newdata) {
  spec <- design_of(fit)$spec
  law <- law_of(fit)
  expressions <- law$responses(spec$lhs)
  columns <- Map(response_of_newdata, expressions, frame_of(fit)[response_columns(spec)],
                 MoreArgs = list(fit = fit, newdata = newdata))
  for (column in columns) check_new_length(NROW(column), newdata, vars_of(expressions))
  frame <- structure(columns, names = vapply(expressions, deparse_line, ""),
                     row.names = attr(newdata, "row.names"), class = "data.frame")
  check_new_finite(frame)
  law$check_response(frame, spec)
  frame[] <- Map(with_levels, frame, law$levels(fit), names(frame))
  rows <- law$response_rows(frame, spec)
  if (!is.null(rows$Y)) check_new_width(rows$Y, fit)
  rows[intersect(row_elements, names(rows))]
}

# A response of which newdata has no column is missing in all rows; of cbind() each by itself.
# `old` are its values in the fit.
response_of_newdata <- function(expression, old, fit, newdata) {
  absent <- function(expr) {
    names <- intersect(all.vars(expr), variables_of(fit))
    length(names) > 0 && !all(names %in% names(newdata))
  }
  value <- function(expr) {
    tryCatch(eval(expr, newdata, environment(formula(fit))), error = abort_newdata)
  }
  arguments <- if (is_call_to(expression, "cbind")) as.list(expression)[-1]
  if (length(arguments) > 0 && length(arguments) == ncol(old)) {
    lacking <- vapply(arguments, absent, NA)
    if (!any(lacking)) return(value(expression))
    columns <- vector("list", length(arguments))
    columns[lacking] <- list(rep(NA_real_, nrow(newdata)))
    columns[!lacking] <- lapply(arguments[!lacking], value)
    names(columns) <- column_names(old, expression)
    return(as.matrix(as.data.frame(columns, optional = TRUE)))
  }
  if (!absent(expression)) return(value(expression))
  nothing <- rep(NA_integer_, nrow(newdata))
  if (is.matrix(old)) old[nothing, , drop = FALSE] else old[nothing]
}

check_new_width <- function(Y, fit) {
  if (ncol(Y) == ncol(design_of(fit)$Y)) return()
  abort(sprintf("The response `%s` of `newdata` has %d columns, not %d as in the fit.",
                deparse_line(design_of(fit)$spec$lhs), ncol(Y), ncol(design_of(fit)$Y)),
                "elbo_error_data")
}

as_newdata <- function(newdata, fit) {
  as.data.frame(check_data_frame(law_of(fit)$newdata(newdata, fit), "newdata"))
}

with_levels <- function(x, levels, name) {
  if (is.null(levels) || is.logical(x)) return(x)
  refuse_new_levels(as.factor(x), levels, name, "The response of a component has no such level.")
  factor(x, levels)
}
