# From formula and data to the matrices of a mixed model: evaluated as by lm(), checked by us.
#
#   glmm_frame(call, env)   `call` is fit_glmm's matched call, `env` where it was made. Of its
#                           arguments it evaluates formula, data, weights, offset, se, sigma,
#                           subset and na.action (all but formula may be missing), and returns
#                           list(formula, frame, terms, xlevels, contrasts, design); design is
#                           list(X, y, offset, weights, known_se, level) as the fit holds it, with
#                           X still complete, what build_random() makes, and where there are
#                           smooth terms curves and B, their columns
#   as_group(x, name)       factor whose every level occurs
#   cross_factors(factors)  factor of the combinations that occur, levels "a:b"
#   check_group_levels(group, group_name)   for fits that learn a variance between groups
#
# A million rows are cheap as long as nothing is done to a row but arithmetic: no names, no
# strings, no copies of the data where nothing is dropped.

glmm_frame <- function(call, env, family = stats::gaussian()) {
  data <- argument_value(call, "data", env)
  if (!is.null(data)) check_data_frame(data, "data")
  formula <- as_formula(argument_value(call, "formula", env), env)
  parsed <- take_smooths(parse_formula(formula, data))
  check_no_smooth_bars(parsed$bars)
  sigma <- sigma_variables(argument_value(call, "sigma", env, "~ site"))

  action <- na_action(argument_value(call, "na.action", env))

  extras <- c("subset", "weights", "offset", "se")
  frame <- evaluate_frame(frame_formula(parsed, sigma), extras, data, call, env)
  variables <- model_variables(parsed$formula, call, data)
  frame <- drop_incomplete(frame, action)
  check_frame(frame, sigma, family)
  factors <- vapply(frame, is.factor, NA)
  frame[factors] <- lapply(frame[factors], drop_levels)
  parsed$fixed <- add_multipliers(parsed$fixed, parsed$smooths, frame)
  c(list(formula = parsed$formula, frame = frame, variables = variables),
    build_design(parsed, sigma, frame, argument_value(call, "contrasts", env), family))
}

# An argument of the call, where the call was made. `example` is what a formula would look like.
argument_value <- function(call, name, env, example = NULL) {
  expression <- call[[name]]
  tryCatch(eval(expression, env), error = function(e) {
    if (inherits(e, "elbo_error")) stop(e)
    written <- deparse_line(expression)
    abort(c(sprintf("`%s` = %s cannot be evaluated: %s.", name, written, conditionMessage(e)),
            if (!is.null(example)) sprintf("It is a one-sided formula, such as %s.", example)),
          "elbo_error_argument")
  })
}

# Names of the variables that have a value for each row: columns of `data`, or found elsewhere and
# as long. For new data they must all come from there; constants and functions need not.
model_variables <- function(formula, call, data) {
  arguments <- as.list(call)[intersect(c("sigma", "membership", "unit", evaluated_in_data),
                                       names(call))]
  names <- unique(c(all.vars(formula), unlist(lapply(arguments, all.vars))))
  env <- environment(formula)
  n <- if (is.null(data)) NROW(tryCatch(eval(formula[[2]], env), error = function(e) NULL))
       else nrow(data)
  of_rows <- function(name) {
    if (name %in% names(data)) return(TRUE)
    value <- get0(name, env)
    n > 1 && (is.atomic(value) || is.data.frame(value)) && NROW(value) == n
  }
  names[vapply(names, of_rows, NA)]
}

# Like lm(), from a string too.
as_formula <- function(x, env) {
  if (is.character(x)) tryCatch(stats::as.formula(x, env), error = function(e) x) else x
}

# The variables whose combinations have a residual sd each; NULL for one sd.
sigma_variables <- function(sigma) {
  if (is.null(sigma)) return(NULL)
  valid <- inherits(sigma, "formula") && length(sigma) == 2 && !has_bar(sigma)
  labels <- if (valid) attr(terms(sigma, allowDotAsName = TRUE), "term.labels")
  if (!valid || length(labels) > 1 || "." %in% labels) {
    abort(c("`sigma` must be a one-sided formula of factors, such as ~ site or ~ site:sex,",
            sprintf("not %s.", describe_value(sigma))), "elbo_error_formula")
  }
  if (length(labels) == 1) term_variables(sigma)
}

# The model frame -----------------------------------------------------------------------------

# One model.frame() of all variables, so that rows are dropped together and bs(), poly() and
# the like remember their bases; with the arguments of `call` that `extras` names. Missing values
# pass: they are rare, and looking for them by na.action costs a copy of the data.
evaluate_frame <- function(formula, extras, data, call, env) {
  frame_call <- call[c(1, match(extras, names(call), 0))]
  frame_call[[1]] <- quote(stats::model.frame)
  frame_call$formula <- formula
  frame_call$data <- data
  frame_call$na.action <- quote(stats::na.pass)
  check_subset(call[["subset"]], data, environment(formula))
  tryCatch(
    eval(frame_call, env),
    error = function(e) abort_frame(e, formula, data, call)
  )
}

# Text in `subset` names rows; a condition in quotation marks would be rows that are missing.
check_subset <- function(subset, data, env) {
  # What cannot be evaluated is told with the other variables.
  chosen <- tryCatch(eval(subset, data, env), error = function(e) NULL)
  if (!is.character(chosen) || all(chosen %in% row.names(data))) return()
  unknown <- setdiff(chosen, row.names(data))[1]
  abort(c(sprintf("`subset` is text, and \"%s\" is the name of no row of `data`.", unknown),
          "Write a condition without quotation marks, as subset = age > 50."),
        "elbo_error_argument")
}

frame_formula <- function(parsed, sigma) {
  fixed <- term_variables(parsed$fixed)
  random <- lapply(parsed$bars, function(bar) term_variables(bar$terms))
  groups <- lapply(parsed$bars, function(bar) term_variables(call("~", bar$group)))
  right <- unique(c(fixed[-1], unlist(c(random, groups), recursive = FALSE), sigma))
  sum <- Reduce(function(a, b) call("+", a, b), right, 1)
  stats::as.formula(call("~", fixed[[1]], sum), environment(parsed$fixed))
}

term_variables <- function(formula) {
  as.list(attr(terms(stats::as.formula(formula)), "variables"))[-1]
}

abort_frame <- function(e, formula, data, call) {
  check_unquoted(data, call, environment(formula))
  if (grepl("type (list)", conditionMessage(e), fixed = TRUE)) {
    response <- deparse_line(formula[[2]])
    abort(sprintf("The response `%s` is a list or data frame; write as.matrix(%s).", response,
                  response), "elbo_error_data")
  }
  where <- "They are looked up in `data`, then where the formula was made."
  if (is.data.frame(data)) {
    where <- c(where, sprintf("The columns of `data` are %s.", quote_names(names(data))))
  }
  lengths <- variable_lengths(formula, data, call)
  if (length(unique(lengths)) > 1) {
    text <- sprintf("`%s` has %d", names(lengths), lengths)
    abort(sprintf("The variables of the model differ in length: %s.",
                  paste(text, collapse = ", ")), "elbo_error_data")
  }
  abort(c(sprintf("The variables of the model cannot be evaluated: %s.", conditionMessage(e)),
          where), "elbo_error_data")
}

# A column's name in quotation marks where the column itself is meant.
check_unquoted <- function(data, call, env) {
  for (name in intersect(c("weights", "offset", "se", "freq"), names(call))) {
    value <- tryCatch(eval(call[[name]], data, env), error = function(e) NULL)
    if (!is.character(value) || length(value) != 1) next
    abort(c(sprintf("`%s` must be numbers, not the text %s.", name, describe_value(value)),
            if (value %in% names(data)) {
              sprintf("Write %s = %s, unquoted, for the column of `data`.", name, value)
            }), "elbo_error_argument")
  }
}

variable_lengths <- function(formula, data, call) {
  variables <- term_variables(formula)
  extras <- as.list(call)[intersect(c("weights", "offset", "se", "freq"), names(call))]
  names(variables) <- vapply(variables, deparse_line, "")
  count <- function(expr) {
    x <- tryCatch(eval(expr, data, environment(formula)), error = function(e) NULL)
    if (is.atomic(x) && !is.null(x)) NROW(x) else NA_integer_
  }
  lengths <- vapply(c(variables, extras), count, 0L)
  lengths[!is.na(lengths)]
}

# Missing and infinite values -----------------------------------------------------------------

# Of this name where the user is, or else in stats, which need not be attached.
function_named <- function(name, env) {
  found <- get0(name, env, mode = "function")
  if (is.null(found)) get0(name, asNamespace("stats"), mode = "function") else found
}

na_action <- function(x) {
  if (is.null(x)) x <- getOption("na.action", "na.omit")
  action <- if (is.character(x)) function_named(x[1], globalenv()) else x
  if (is.function(action)) return(action)
  check(FALSE, "na.action", "a function such as na.omit", x)
}

drop_incomplete <- function(frame, action) {
  check_any_rows(frame, "`data`, after `subset`, has no rows.")
  # One pass over each column in the usual case: a sum is finite only if all of it is.
  complete <- function(x) if (is.double(x)) is.finite(sum(unclass(x))) else !anyNA(x)
  suspect <- !vapply(frame, complete, NA)
  if (!any(suspect)) return(frame)
  check_finite(frame[suspect])
  kept <- tryCatch(action(frame), error = function(e) abort_missing(frame))
  if (anyNA(kept, recursive = TRUE)) abort_missing(kept)
  check_any_rows(kept, c("Every row of `data` has a missing value.", missing_counts(frame)))
}

check_no_smooth_bars <- function(bars) {
  smooth <- vapply(bars, function(bar) has_smooth(bar$terms[[2]]), NA)
  if (!any(smooth)) return()
  group <- bars[[which(smooth)[1]]]$group_name
  abort(c(sprintf("fit_glmm() has no smooth terms within ( | ), as for `%s` here;", group),
          sprintf("curves of each level are (ns(x, 4) | %s), with ns() of package splines.",
                  group)), "elbo_error_formula")
}

check_any_rows <- function(frame, message) {
  if (nrow(frame) == 0) abort(message, "elbo_error_data")
  frame
}

check_finite <- function(frame) {
  for (name in names(frame)) {
    x <- as.matrix(unclass(frame[[name]]))
    if (!is.double(x)) next
    # NA is missing, and is left to na.action; NaN, Inf and -Inf are results of arithmetic.
    bad <- is.nan(x) | is.infinite(x)
    if (any(bad)) {
      abort(c(sprintf("`%s` is infinite or not a number in %s;", variable_name(name),
                      frame_rows(frame, which(rowSums(bad) > 0))),
              "correct the values, or leave the rows out with `subset`."), "elbo_error_data")
    }
  }
}

abort_missing <- function(frame) {
  rows <- which(!stats::complete.cases(frame))
  abort(c(sprintf("There are missing values in %s.", frame_rows(frame, rows)),
          missing_counts(frame), "Use na.action = na.omit to drop the rows."),
        "elbo_error_data")
}

missing_counts <- function(frame) {
  counts <- vapply(frame, function(x) sum(!stats::complete.cases(x)), 0L)
  counts <- counts[counts > 0]
  text <- sprintf("`%s` (%d)", variable_name(names(counts)), counts)
  sprintf("They are in %s.", paste(text, collapse = ", "))
}

# "(weights)" is model.frame's column for the argument `weights`.
variable_name <- function(name) gsub("^\\((weights|offset|se|freq)\\)$", "\\1", name)

# Rows by the names they have in the user's data.
frame_rows <- function(frame, rows) list_rows(attr(frame, "row.names")[rows])

# Response, weights, offset, standard errors --------------------------------------------------

check_frame <- function(frame, sigma, family) {
  check_response(frame, family)
  check_scale(frame, "weights")
  check_scale(frame, "se")
  offsets <- c(attr(attr(frame, "terms"), "offset"), match("(offset)", names(frame)))
  for (i in offsets[!is.na(offsets)]) {
    name <- variable_name(names(frame)[i])
    check(is_numeric_vector(frame[[i]]), name, "a numeric vector", frame[[i]])
  }
  if (is.null(frame[["(se)"]])) return()
  if (!is.null(frame[["(weights)"]])) {
    abort("`se` and `weights` cannot both be given: known standard errors are the weights.",
          "elbo_error_argument")
  }
  if (!is.null(sigma)) {
    abort("`se` and `sigma` cannot both be given: known standard errors leave no sigma.",
          "elbo_error_argument")
  }
}

is_numeric_vector <- function(x) (is.numeric(x) || is.logical(x)) && is.null(dim(x))

check_scale <- function(frame, name) {
  x <- frame[[paste0("(", name, ")")]]
  if (is.null(x)) return()
  check(is_numeric_vector(x), name, "a numeric vector", x)
  # As a weight a standard error is squared and inverted, and must stay a number. What holds
  # for the smallest and the largest holds between them.
  valid <- function(x) x > 0 & (name != "se" | (is.finite(1 / x^2) & 1 / x^2 > 0))
  known <- if (anyNA(x)) x[!is.na(x)] else x # rows with missing ones are left to na.action
  if (length(known) == 0 || all(valid(c(min(known), max(known))))) return()
  bad <- which(!valid(x))
  what <- if (name == "se") "positive, and 1/se^2 a positive number" else "positive"
  abort(c(sprintf("`%s` must be %s, not %s: see %s.", name, what, describe_value(x[bad[1]]),
                  frame_rows(frame, bad)),
          "Leave such rows out with `subset`."), "elbo_error_data")
}

# The design ----------------------------------------------------------------------------------

build_design <- function(parsed, sigma, frame, contrasts = NULL, family = stats::gaussian()) {
  fixed <- term_description(terms(parsed$fixed), frame)
  described <- lapply(parsed$bars, describe_bar, frame)
  check_cells(c(list(fixed), described), frame)
  X <- coded_matrix(fixed, frame, contrasts)
  curves <- build_smooths(parsed$smooths, frame)
  check_smooth_size(curves, frame)
  response <- if (!is_gaussian_family(family)) response_of(frame, family)
  if (!is.null(response$levels)) X <- without_intercept(X)

  list(
    terms = fixed$terms, xlevels = fixed$xlevels, contrasts = attr(X, "contrasts"),
    design = c(list(
      X = X,
      y = if (is.null(response)) as.double(frame[[1]]) else response$y,
      offset = frame_offset(frame),
      weights = frame_weights(frame),
      known_se = !is.null(frame[["(se)"]])
    ), build_random(parsed$bars, described, frame), list(
      level = if (length(sigma)) frame_level(sigma, frame)
    ), if (!is.null(response)) list(response = response),
    if (length(curves) > 0) list(curves = curves, B = smooth_matrix(curves, frame)))
  )
}

# Thresholds take its place.
without_intercept <- function(X) {
  intercept <- attr(X, "assign") == 0
  if (any(intercept)) return(keep_columns(X, !intercept))
  abort(c("With family cumulative() the thresholds are the intercepts: they cannot be left out.",
          "Write the formula without `0 +` or `- 1`."), "elbo_error_formula")
}

# The model matrix, with the factors coded as asked for.
coded_matrix <- function(described, frame, contrasts) {
  factors <- names(described$xlevels)
  named <- is.list(contrasts) && !is.null(names(contrasts)) && all(names(contrasts) %in% factors)
  check(is.null(contrasts) || named, "contrasts",
        paste("a list named by factors of the model", if (length(factors) > 0)
              sprintf("(%s)", quote_names(factors)) else "(which has none)"), contrasts)
  tryCatch(model.matrix(described$terms, frame, contrasts.arg = contrasts), error = function(e) {
    if (is.null(contrasts)) stop(e)
    abort(c("`contrasts` cannot be used:", conditionMessage(e)), "elbo_error_argument")
  })
}

# Terms that know the bases of their variables, and the levels of their factors.
term_description <- function(terms, frame) {
  full <- attr(frame, "terms")
  used <- vapply(as.list(attr(terms, "variables"))[-1], deparse_line, "")
  index <- match(used, names(frame))
  attr(terms, "predvars") <- attr(full, "predvars")[c(1, index + 1)]
  attr(terms, "dataClasses") <- attr(full, "dataClasses")[index]
  xlevels <- stats::.getXlevels(terms, frame)
  single <- names(xlevels)[lengths(xlevels) == 1]
  if (length(single) > 0) {
    abort(c(sprintf("The factor `%s` has only one level in these data, %s;", single[1],
                    describe_value(xlevels[[single[1]]])), "drop it from `formula`."),
          "elbo_error_data")
  }
  list(terms = terms, xlevels = xlevels)
}

# Before any of it is allocated: the number of columns follows from the levels.
check_cells <- function(blocks, frame) {
  columns <- unlist(lapply(blocks, function(block) term_columns(block, frame)))
  cells <- nrow(frame) * sum(columns)
  if (cells < 2^31) return()
  abort(c(sprintf("The model matrix would have %.3g cells, more than 2^31:", cells),
          sprintf("%s columns for `%s`.", count_text(max(columns)),
                  names(which.max(columns))),
          "A factor of very many levels belongs into a random term."), "elbo_error_data")
}

term_columns <- function(block, frame) {
  intercept <- c("(Intercept)" = attr(block$terms, "intercept"))
  factors <- attr(block$terms, "factors")
  if (length(factors) == 0) return(intercept)
  # The row names quote what is no name in R.
  variables <- frame[vapply(as.list(attr(block$terms, "variables"))[-1], deparse_line, "")]
  logical <- vapply(variables, is.logical, NA)
  categorical <- logical | names(variables) %in% names(block$xlevels)
  size <- vapply(variables, NCOL, 0L)
  size[logical] <- 2L
  size[names(block$xlevels)] <- lengths(block$xlevels)
  # Where a factor is marked 1 it is coded by contrasts, a column less than it has levels; but
  # without an intercept the first one has them all.
  coded <- factors == 1 & categorical
  if (intercept == 0) coded[which(coded & factors > 0)[1]] <- FALSE
  c(intercept, apply((size - coded)^(factors > 0), 2, prod))
}

frame_offset <- function(frame) {
  offset <- stats::model.offset(frame)
  if (is.null(offset)) 0 else as.double(offset)
}

frame_weights <- function(frame) {
  if (!is.null(frame[["(se)"]])) return(1 / as.double(frame[["(se)"]])^2)
  if (!is.null(frame[["(weights)"]])) as.double(frame[["(weights)"]])
}

# Groups and levels ---------------------------------------------------------------------------

frame_level <- function(variables, frame) {
  level <- frame_factor(variables, frame, most = 20)
  if (nlevels(level) > 1) return(level)
  abort(sprintf("The factor of `sigma` has only one level, %s; use sigma = ~ 1.",
                describe_value(levels(level))), "elbo_error_data")
}

frame_factor <- function(variables, frame, most = Inf) {
  names <- vapply(variables, deparse_line, "")
  cross_factors(Map(function(x, name) as_group(x, name, most), frame[names], names))
}

# Numbers may name groups, as `subject` does, but measurements do not, and nor do more than
# `most` of them.
as_group <- function(x, name, most = Inf) {
  if (!is.null(dim(x))) check(FALSE, name, "a vector to define groups", x)
  if (is.factor(x)) return(drop_levels(x))
  if (is.character(x) || is.logical(x)) return(group_by_value(x))
  if (!is.numeric(x) || is.object(x) || length(x) == 0) return(factor(x))
  group <- if (is.integer(x) || all(x == floor(x))) group_by_number(x)
  if (is.null(group) || nlevels(group) > most) {
    abort(c(sprintf("`%s` is numeric and does not look like the name of a group;", name),
            sprintf("if it is, write factor(%s).", name)), "elbo_error_data")
  }
  group
}

group_by_value <- function(x) {
  values <- sort(unique(x))
  new_factor(match(x, values), format_value(values))
}

# Whole numbers within a short range need no hashing.
group_by_number <- function(x) {
  lowest <- min(x)
  span <- max(x) - as.numeric(lowest) + 1
  if (span > 2 * length(x) + 1000) return(group_by_value(x))
  # Numbers that start at one, as they mostly do, need no copy.
  code <- if (lowest == 1) as.integer(x) else as.integer(x - lowest) + 1L
  occurs <- tabulate(code, span) > 0
  if (!all(occurs)) code <- cumsum(occurs)[code]
  new_factor(code, format_value(which(occurs) - 1L + lowest))
}

format_value <- function(x) {
  if (is.double(x)) sprintf("%.0f", x) else as.character(x)
}

drop_levels <- function(x) {
  occurs <- tabulate(x, nlevels(x)) > 0
  if (all(occurs)) return(x)
  kept <- new_factor(cumsum(occurs)[as.integer(x)], levels(x)[occurs])
  class(kept) <- class(x)
  kept
}

new_factor <- function(code, levels) structure(code, levels = levels, class = "factor")

cross_factors <- function(factors) {
  Reduce(function(a, b) {
    code <- (as.integer(a) - 1) * nlevels(b) + as.integer(b)
    group <- as_group(code, "code")
    pair <- as.numeric(levels(group)) - 1
    levels(group) <- paste(levels(a)[pair %/% nlevels(b) + 1],
                           levels(b)[pair %% nlevels(b) + 1], sep = ":")
    group
  }, unname(factors))
}

check_group_levels <- function(group, group_name) {
  if (nlevels(group) > 1) return()
  abort(c(sprintf("The grouping factor `%s` has one level, %s:", group_name,
                  describe_value(levels(group))),
          "there is no variance between groups to learn from. Drop the random term, or hold",
          sprintf("its standard deviations, as by priors(`%s` = constant(1)).", group_name)),
        "elbo_error_data")
}

# Columns that say nothing new ----------------------------------------------------------------

# Coefficients of the columns that are kept, kept x dropped, which give those that were dropped;
# with the sizes of these.
aliased_by <- function(kept, dropped) {
  solved <- qr.coef(qr(kept), dropped)
  structure(replace(solved, is.na(solved), 0), size = apply(abs(dropped), 2, max))
}

# Rows of new data where what was dropped is not the combination of the other columns that it is in
# the data, so that their mean is not identified.
not_estimable <- function(X, by) {
  if (is.null(by)) return(rep(FALSE, nrow(X)))
  kept <- X[, rownames(by), drop = FALSE]
  dropped <- X[, colnames(by), drop = FALSE]
  size <- abs(kept) %*% abs(by) + abs(dropped) + rep(attr(by, "size"), each = nrow(X))
  off <- abs(dropped - kept %*% by) > 1e-6 * size
  rowSums(off, na.rm = TRUE) > 0
}

# The columns of new rows that were kept, with NA in rows whose mean is not identified; `tell`: and
# a warning that names them.
kept_columns <- function(X, fit, data, tell = FALSE) {
  bad <- not_estimable(X, design_of(fit)$aliased_by)
  kept <- X[, !colnames(X) %in% design_of(fit)$aliased, drop = FALSE]
  if (!any(bad)) return(kept)
  if (tell) warn_not_estimable(X, fit, data, which(bad))
  kept[bad, ] <- NA
  kept
}

warn_not_estimable <- function(X, fit, data, rows) {
  dropped <- design_of(fit)$aliased
  labels <- attr(terms(fit), "term.labels")[attr(X, "assign")[colnames(X) %in% dropped]]
  variables <- intersect(unique(unlist(lapply(labels, function(x) all.vars(str2lang(x))))),
                         names(data))
  values <- vapply(data[rows[1], variables, drop = FALSE], format, "")
  cell <- if (length(values) > 0) {
    sprintf(", with %s", paste(variables, "=", values, collapse = ", "))
  }
  warn(c(sprintf("The data do not identify the mean of %s of `newdata`%s:",
                 list_rows(row.names(data)[rows]), paste(cell, collapse = "")),
         sprintf("%s %s dropped from the design. Predictions there are NA.", quote_names(dropped),
                 if (length(dropped) > 1) "were" else "was")),
       "elbo_warning_not_identified")
}
