# Smooth terms s(x): natural cubic splines whose integrated squared second derivative is penalised,
# the penalty being the law of a latent vector, b ~ N(0, sd^2 I), and sd a parameter like others
# (Wahba 1978; Wood 2017, 5.8). The words are those of mgcv, of which nothing is needed: s is a word
# of the formula, not a function.
#
#   smooth_knots(x, k, label)      knots at quantiles of the distinct values of x; k = NULL: 10, or
#                                  as many as there are
#   smooth_basis(x, knots, weight) curves on these knots less the straight lines
#   smooth_columns(basis, x)       n x (k - 2): a curve is a straight line + columns %*% b
#
#   take_smooths(parsed)           what parse_formula() gave, each s() of the fixed part replaced by
#                                  its straight line; `smooths`: list(label, x, by, k), x and by
#                                  expressions
#   take_bar_smooths(parsed)       likewise the `terms` and `smooths` of each of its bars
#   build_smooths(smooths, frame)  a list with an element a curve (one for each level of a factor
#                                  `by`): list(label, x, by, level, basis), x and by names in frames
#   build_parts(parts, frame)      that of several lists of smooths, each smooth being built once
#   smooth_matrix(curves, frame)   the columns of all of them, side by side

# Bases -------------------------------------------------------------------------------------------

smooth_default_k <- 10L

smooth_knots <- function(x, k, label) {
  if (!is_numeric_vector(x) || is.logical(x)) {
    abort(sprintf("The variable of %s must be numeric, not %s.", label, describe_value(x)),
          "elbo_error_data")
  }
  distinct <- sort(unique(as.double(x)))
  if (length(distinct) < 3) {
    abort(c(sprintf("The variable of %s has only %d distinct value%s; a curve takes three.", label,
                    length(distinct), if (length(distinct) == 1) "" else "s"),
            if (length(distinct) == 2) "Write the variable itself, without s()."
            else "Drop the term."), "elbo_error_data")
  }
  if (is.null(k) && length(distinct) < smooth_default_k) {
    message(sprintf("%s has k = %d, the number of distinct values of its variable.", label,
                    length(distinct)))
    k <- length(distinct)
  }
  if (is.null(k)) k <- smooth_default_k
  if (k > length(distinct)) {
    abort(sprintf("%s has k = %d, but its variable has only %d distinct values; lower k.", label, k,
                  length(distinct)), "elbo_error_data")
  }
  stats::quantile(distinct, seq(0, 1, length.out = k), names = FALSE)
}

# A natural spline is a straight line and what its second derivatives gamma at the inner knots make
# of it; between the knots they are linear, so that the penalty is gamma'R gamma with R tridiagonal
# (Green and Silverman 1994, 2.1). With R = U'U that of b = U gamma is b'b, and so in any rotation
# of b. Each column has a line taken off, to be orthogonal to 1 and x over the rows (weighted by
# `weight`), and they are rotated to be orthogonal to each other, from smooth to rough (Demmler and
# Reinsch 1975). x is measured from the first knot in units of the range of the knots, so that b has
# the unit of the response.
smooth_basis <- function(x, knots, weight = NULL) {
  basis <- list(origin = knots[1], unit = knots[length(knots)] - knots[1])
  basis$knots <- (knots - basis$origin) / basis$unit
  n <- length(knots) - 2
  basis$gamma <- backsolve(chol(second_derivative_penalty(basis$knots)), diag(n))
  basis$line <- matrix(0, 2, n)
  values <- sort(unique(x))
  if (is.null(weight)) weight <- rep(1, length(x))
  root <- sqrt(drop(rowsum(weight, match(x, values))))
  columns <- root * smooth_columns(basis, values)
  line <- qr(root * cbind(1, (values - basis$origin) / basis$unit))
  rotation <- eigen(crossprod(qr.resid(line, columns)), symmetric = TRUE)$vectors
  # Curves turn up at the last knot.
  upward <- columns[length(values), ] %*% rotation
  rotation <- rotation * rep(ifelse(upward < 0, -1, 1), each = n)
  basis$gamma <- basis$gamma %*% rotation
  basis$line <- qr.coef(line, columns) %*% rotation
  basis
}

# The integrals of products of hat functions on the inner knots.
second_derivative_penalty <- function(knots) {
  h <- diff(knots)
  n <- length(h) - 1
  R <- diag((h[-1] + h[-length(h)]) / 3, n)
  off <- cbind(seq_len(n - 1), seq_len(n - 1) + 1)
  R[off] <- R[off[, 2:1]] <- h[seq_len(n - 1) + 1] / 6
  R
}

smooth_columns <- function(basis, x) {
  u <- (as.double(x) - basis$origin) / basis$unit
  line <- cbind(rep(1, length(u)), u) %*% basis$line
  double_integral_of_hats(u, basis$knots) %*% basis$gamma - line
}

# Hat functions on the inner knots, integrated twice from the first: cubic between the knots (0 to
# 1), and straight beyond.
double_integral_of_hats <- function(u, knots) {
  h <- diff(knots)
  left <- h[-length(h)]
  right <- h[-1]
  inside <- pmin(u, 1)
  cube <- outer(inside, knots, function(u, knot) pmax(u - knot, 0)^3 / 6)
  n <- length(left)
  first <- cube[, seq_len(n), drop = FALSE]
  middle <- cube[, seq_len(n) + 1, drop = FALSE]
  last <- cube[, seq_len(n) + 2, drop = FALSE]
  by_column <- function(x) rep(x, each = length(u))
  (first - middle) / by_column(left) - (middle - last) / by_column(right) +
    outer(u - inside, (left + right) / 2)
}

# Formulas ----------------------------------------------------------------------------------------

take_smooths <- function(parsed) {
  parsed$smooths <- read_smooths(parsed$fixed)
  parsed$fixed <- straight_formula(parsed$fixed)
  parsed
}

take_bar_smooths <- function(parsed) {
  parsed$bars <- lapply(parsed$bars, function(bar) {
    bar$smooths <- read_smooths(bar$terms)
    bar$terms <- straight_formula(bar$terms)
    bar
  })
  parsed
}

# Of the right-hand side.
read_smooths <- function(formula) {
  smooths <- lapply(find_smooths(formula[[length(formula)]]), read_smooth, environment(formula))
  labels <- vapply(smooths, `[[`, "", "label")
  if (anyDuplicated(labels)) {
    abort(sprintf("`formula` has the smooth term %s twice; keep one.",
                  labels[anyDuplicated(labels)]), "elbo_error_formula")
  }
  smooths
}

straight_formula <- function(formula) {
  formula[[length(formula)]] <- straighten(formula[[length(formula)]], environment(formula))
  formula
}

is_smooth <- function(expr) is_call_to(expr, "s")

has_smooth <- function(expr) {
  "s" %in% all.names(expr) &&
    (is_smooth(expr) || (is.call(expr) && any(vapply(as.list(expr), has_smooth, NA))))
}

# As random terms, smooth terms are terms of the sum that the right-hand side is.
find_smooths <- function(expr) {
  if (!has_smooth(expr)) return(list())
  if (is_smooth(expr)) return(list(expr))
  if (!is_sum(expr) || (is_call_to(expr, "-") && has_smooth(expr[[length(expr)]]))) {
    abort(c(sprintf("`%s` has a smooth term where there can be none: s() is added to the formula.",
                    deparse_line(expr)),
            "A curve for each level of a factor, or times a number, is s(x, by = )."),
          "elbo_error_formula")
  }
  unlist(lapply(as.list(expr)[-1], find_smooths), recursive = FALSE)
}

read_smooth <- function(call, env) {
  text <- deparse_line(call)
  arguments <- tryCatch(
    as.list(match.call(function(x, k, by) NULL, call))[-1],
    error = function(e) {
      abort(sprintf("%s cannot be read: smooth terms are s(x, k = 10, by = NULL).", text),
            "elbo_error_formula")
    }
  )
  if (is.null(arguments$x) || length(all.vars(arguments$x)) == 0) {
    abort(sprintf("%s has no variable; smooth terms are s(x, k = 10, by = NULL).", text),
          "elbo_error_formula")
  }
  if (any(vapply(arguments[c("x", "by")], has_smooth, NA))) {
    abort(sprintf("%s has a smooth term within a smooth term.", text), "elbo_error_formula")
  }
  k <- tryCatch(eval(arguments$k, env), error = function(e) arguments$k)
  if (!is.null(k) && !(is_whole(k) && k >= 3)) {
    abort(c(sprintf("`k` of %s must be a whole number of at least 3, not %s.", text,
                    describe_value(k)), "A smooth term is a curve over one variable."),
          "elbo_error_formula")
  }
  label <- sprintf("s(%s)", deparse_line(arguments$x))
  if (!is.null(arguments$by)) label <- paste(label, deparse_line(arguments$by), sep = ":")
  list(label = label, x = as_term(arguments$x), by = as_term(arguments$by), k = k)
}

# What + and / mean to arithmetic they must not mean to the formula.
as_term <- function(expr) {
  if (is_call_to(expr, c("+", "-", "*", "/", "^", ":", "%%", "%/%", "("))) call("I", expr) else expr
}

straighten <- function(expr, env) {
  if (is_smooth(expr)) {
    smooth <- read_smooth(expr, env)
    return(if (is.null(smooth$by)) smooth$x else call(":", smooth$x, smooth$by))
  }
  if (!has_smooth(expr)) return(expr)
  as.call(c(expr[[1]], lapply(as.list(expr)[-1], straighten, env)))
}

# A number that multiplies a curve multiplies its level too; that of a factor is the user's.
add_multipliers <- function(formula, smooths, frame) {
  right <- length(formula)
  for (smooth in smooths) {
    if (!is.null(smooth$by) && is.null(by_levels(frame[[deparse_line(smooth$by)]]))) {
      formula[[right]] <- call("+", formula[[right]], smooth$by)
    }
  }
  formula
}

# Curves ------------------------------------------------------------------------------------------

build_smooths <- function(smooths, frame) build_parts(list(smooths), frame)[[1]]

build_parts <- function(parts, frame) {
  distinct <- unique(unlist(parts, recursive = FALSE))
  curves <- lapply(distinct, build_smooth, frame)
  lapply(parts, function(smooths) {
    unlist(curves[match(smooths, distinct)], recursive = FALSE)
  })
}

build_smooth <- function(smooth, frame) {
  curve <- list(label = smooth$label, x = deparse_line(smooth$x),
                by = if (!is.null(smooth$by)) deparse_line(smooth$by))
  x <- frame[[curve$x]]
  knots <- smooth_knots(x, smooth$k, smooth$label)
  x <- as.double(x)
  levels <- if (!is.null(curve$by)) by_levels(frame[[curve$by]])
  if (is.null(levels)) {
    curve$basis <- smooth_basis(x, knots, multiplier(curve, frame)^2)
    return(list(curve))
  }
  lapply(levels, function(level) {
    curve$level <- level
    curve$label <- paste0(curve$label, level)
    weight <- multiplier(curve, frame)
    check_by_level(x[weight > 0], curve)
    curve$basis <- smooth_basis(x, knots, weight)
    curve
  })
}

# Levels of what makes a curve each; NULL for numbers.
by_levels <- function(by) {
  if (is.numeric(by)) return(NULL)
  if (is.factor(by)) levels(by) else as.character(sort(unique(by)))
}

check_by_level <- function(x, curve) {
  distinct <- length(unique(x))
  if (distinct >= 3) return()
  abort(c(sprintf("The variable of %s has only %d distinct value%s; a curve takes three.",
                  curve$label, distinct, if (distinct == 1) "" else "s"),
          "Merge the level of `by` with another, or leave its rows out with `subset`."),
        "elbo_error_data")
}

# What multiplies a curve, by row.
multiplier <- function(curve, frame) {
  if (is.null(curve$by)) return(rep(1, nrow(frame)))
  by <- frame[[curve$by]]
  if (is.null(curve$level)) as.double(by) else as.double(as.character(by) == curve$level)
}

smooth_matrix <- function(curves, frame) {
  columns <- lapply(curves, function(curve) {
    B <- multiplier(curve, frame) * smooth_columns(curve$basis, frame[[curve$x]])
    colnames(B) <- paste(curve$label, seq_len(ncol(B)), sep = ".")
    B
  })
  do.call(cbind, c(list(matrix(0, nrow(frame), 0)), columns))
}

smooth_sizes <- function(curves) vapply(curves, function(curve) ncol(curve$basis$gamma), 0L)

check_smooth_size <- function(curves, frame) {
  cells <- nrow(frame) * sum(smooth_sizes(curves))
  if (cells < 2^31) return()
  abort(sprintf("The smooth terms would have %.3g cells, more than 2^31; lower k.", cells),
        "elbo_error_data")
}
