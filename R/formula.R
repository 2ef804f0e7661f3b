# The grammar of mixed model formulas: that of lme4, read by a parser of our own.
#
#   parse_formula(formula, data = NULL)   list(formula, fixed, bars)
#     formula    as given, with `.` expanded to the columns of `data`
#     fixed      the formula without its random terms
#     bars       list with an element for each random term: list(terms = ~ 1 + x,
#                group = expression, group_name = "site", split = FALSE, law = "us",
#                common = FALSE)
#   find_bars(expr), drop_bars(expr)      random terms of an expression; the rest, or NULL
#   bar_as_term(bar)                          what find_bars() found as a term of a sum again
#   group_label(expr)                     "site", "a:b"
#
# Words: a bar is one ( terms | group ), or such a bar within the word of its law, as in
# diag(terms | group); it is split when written `||`.

parse_formula <- function(formula, data = NULL) {
  check_formula(formula)
  bars <- lapply(find_bars(formula[[3]]), read_bar, environment(formula))
  bars <- unlist(bars, recursive = FALSE)
  groups <- lapply(bars, function(bar) all.vars(bar$group))
  right <- expand_dot(formula[[3]], data, c(all.vars(formula[[2]]), unlist(groups)))
  formula[[3]] <- if (is.null(right)) 1 else right # y ~ NULL is the intercept, as for lm()
  fixed <- formula
  rest <- drop_bars(formula[[3]])
  fixed[[3]] <- if (is.null(rest)) 1 else rest
  check_terms(fixed)
  check_response_left(fixed, bars)
  list(formula = formula, fixed = fixed, bars = bars)
}

# model.matrix() would leave the response out of the right-hand side, with a warning of its own.
check_response_left <- function(fixed, bars) {
  response <- deparse_line(fixed[[2]])
  right <- c(list(call("~", fixed[[3]])), lapply(bars, `[[`, "terms"))
  names <- unlist(lapply(right, function(formula) {
    variables <- attr(terms(stats::as.formula(formula), allowDotAsName = TRUE), "variables")
    vapply(as.list(variables)[-1], deparse_line, "")
  }))
  if (!response %in% names) return()
  abort(c(sprintf("The response `%s` is on the right-hand side of `formula` too;", response),
          "drop it there: it would explain itself."), "elbo_error_formula")
}

check_formula <- function(formula) {
  example <- "such as y ~ x + (1 | group)"
  if (!inherits(formula, "formula")) {
    abort(sprintf("`formula` must be a formula %s, not %s.", example, describe_value(formula)),
          "elbo_error_formula")
  }
  if (length(formula) != 3) {
    abort(sprintf("`formula` must have a response on its left-hand side, %s; `%s` has none.",
                  example, deparse_line(formula)), "elbo_error_formula")
  }
  if (has_bar(formula[[2]]) || is_bar(formula[[3]])) {
    abort(c("A random term must be in parentheses on the right-hand side of `formula`,",
            sprintf("%s; this is `%s`.", example, deparse_line(formula))),
          "elbo_error_formula")
  }
}

# What terms() cannot read, as a quoted name in place of a name.
check_terms <- function(fixed) {
  tryCatch(terms(fixed, allowDotAsName = TRUE), error = function(e) {
    abort(c(sprintf("The fixed part of `formula`, `%s`, cannot be read:", deparse_line(fixed[[3]])),
            "its terms are names of variables and functions of them, without quotes,",
            "joined by `+`, `:` and `*`."), "elbo_error_formula")
  })
}

is_call_to <- function(expr, functions) {
  is.call(expr) && is.name(expr[[1]]) && as.character(expr[[1]]) %in% functions
}

is_bar <- function(expr) is_call_to(expr, c("|", "||"))

has_bar <- function(expr) any(c("|", "||") %in% all.names(expr))

# Words of lme4 and glmmTMB for the law of a term: its covariance is any (the default), diagonal,
# compound symmetric, autoregressive.
law_words <- c("us", "diag", "cs", "ar1")

has_law_word <- function(expr) {
  is_call_to(expr, law_words) && length(expr) > 1 && is_bar(expr[[2]])
}

bar_as_term <- function(bar) if (is_bar(bar)) call("(", bar) else bar

is_sum <- function(expr) is_call_to(expr, c("+", "-", "("))

# A random term is a term of the sum that the right-hand side is. Anywhere else a bar would be
# an extension of the grammar that we do not have, such as toep(time | site), or a slip.
find_bars <- function(expr) {
  if (!has_bar(expr)) return(list())
  if (has_law_word(expr)) return(list(expr))
  if (is_call_to(expr, "(") && is_bar(expr[[2]])) return(list(expr[[2]]))
  if (!is_sum(expr) || (is_call_to(expr, "-") && has_bar(expr[[length(expr)]]))) {
    abort(c(sprintf("`%s` is not a random term that this package knows;", deparse_line(expr)),
            "random terms are added to the formula as ( terms | group ).",
            "A logical `|` belongs into a variable made beforehand."), "elbo_error_formula")
  }
  unlist(lapply(as.list(expr)[-1], find_bars), recursive = FALSE)
}

drop_bars <- function(expr) {
  if (!has_bar(expr)) return(expr)
  if (is_bar(expr) || has_law_word(expr)) return(NULL)
  parts <- lapply(as.list(expr)[-1], drop_bars)
  kept <- parts[lengths(parts) > 0]
  if (length(kept) == length(parts)) return(as.call(c(expr[[1]], parts)))
  # What is left of a sum is its other term: as it is, or under its minus sign.
  if (length(kept) == 0) return(NULL)
  if (is_call_to(expr, "-")) call("-", kept[[1]]) else kept[[1]]
}

# `.` means the columns of `data` that are neither response nor grouping factor.
expand_dot <- function(expr, data, used) {
  if (!"." %in% all.vars(expr)) return(expr)
  columns <- setdiff(names(data), used)
  if (length(columns) == 0) {
    abort("`.` in `formula` stands for the other columns of `data`, and there are none.",
          "elbo_error_formula")
  }
  sum <- Reduce(function(a, b) call("+", a, b), lapply(columns, as.name))
  eval(call("substitute", expr, list(. = sum)))
}

# Random terms --------------------------------------------------------------------------------

# One ( | ) as written gives a bar for each grouping factor of a/b, and for each term if `||`.
read_bar <- function(bar, env) {
  text <- deparse_line(bar_as_term(bar))
  law <- bar_law(bar, text)
  if (has_law_word(bar)) bar <- bar[[2]]
  split <- is_call_to(bar, "||")
  terms <- bar_terms(bar[[2]], text, env)
  if (split) terms <- split_terms(terms)
  groups <- expand_groups(bar[[3]], text)
  bars <- lapply(groups, function(group) {
    lapply(terms, function(term) {
      list(terms = term, group = group, group_name = group_label(group), split = split,
           law = law$law, common = law$common)
    })
  })
  unlist(bars, recursive = FALSE)
}

# The law, and whether one sd is common to its terms: by default of ar1() alone, as in lme4.
bar_law <- function(bar, text) {
  if (!has_law_word(bar)) return(list(law = "us", common = FALSE))
  law <- as.character(bar[[1]])
  common <- law == "ar1"
  if (length(bar) > 2) {
    common <- bar[["hom"]]
    if (length(bar) > 3 || law == "us" || !(isTRUE(common) || isFALSE(common))) {
      abort(c(sprintf("%s: %s() takes ( terms | group ) and %s,", text, law,
                      if (law == "us") "no other argument" else "hom = TRUE or FALSE"),
              sprintf("as %s(%s%s).", law, deparse_line(bar[[2]]),
                      if (law == "us") "" else ", hom = TRUE")), "elbo_error_formula")
    }
  }
  if (is_call_to(bar[[2]], "||")) {
    abort(c(sprintf("%s has two words for its law; write diag(%s | %s), or `||` alone.", text,
                    deparse_line(bar[[2]][[2]]), deparse_line(bar[[2]][[3]]))),
          "elbo_error_formula")
  }
  list(law = law, common = common)
}

bar_terms <- function(expr, text, env) {
  if (has_bar(expr)) {
    abort(sprintf("%s has more than one `|`; write each random term in its own parentheses.",
                  text), "elbo_error_formula")
  }
  formula <- stats::as.formula(call("~", expr), env)
  terms <- terms(formula, allowDotAsName = TRUE)
  if ("." %in% all.vars(expr) || !is.null(attr(terms, "offset"))) {
    abort(sprintf("%s cannot hold `.` or offset(); an offset belongs beside it.", text),
          "elbo_error_formula")
  }
  if (length(attr(terms, "term.labels")) + attr(terms, "intercept") == 0) {
    abort(sprintf("%s has no term left of the bar; (1 | group) is a random intercept.", text),
          "elbo_error_formula")
  }
  list(formula)
}

split_terms <- function(terms) {
  formula <- terms[[1]]
  terms <- terms(formula)
  slopes <- lapply(attr(terms, "term.labels"), function(label) call("+", 0, str2lang(label)))
  parts <- c(if (attr(terms, "intercept") == 1) list(1), slopes)
  lapply(parts, function(part) stats::as.formula(call("~", part), environment(formula)))
}

# a/b is a and a:b, as in nested designs.
expand_groups <- function(expr, text) {
  if (is_call_to(expr, "(")) return(expand_groups(expr[[2]], text))
  if (is_call_to(expr, "/")) {
    outer <- expand_groups(expr[[2]], text)
    inner <- expand_groups(expr[[3]], text)
    within <- lapply(inner, function(group) call(":", outer[[length(outer)]], group))
    return(c(outer, within))
  }
  operator <- is_call_to(expr, c("+", "-", "*", "^", "|", "||", "%in%"))
  if (operator || length(all.vars(expr)) == 0) {
    abort(c(sprintf("`%s` in %s is not a grouping factor;", deparse_line(expr), text),
            "it is one variable, an interaction a:b, or a/b for b nested in a."),
          "elbo_error_formula")
  }
  if (is_call_to(expr, ":")) {
    sides <- lapply(as.list(expr)[-1], function(side) expand_groups(side, text))
    if (any(lengths(sides) > 1)) {
      abort(sprintf("The grouping factor of %s mixes `:` and `/`; write its terms one by one.",
                    text), "elbo_error_formula")
    }
    return(list(call(":", sides[[1]][[1]], sides[[2]][[1]])))
  }
  list(expr)
}

group_label <- function(expr) {
  if (!is_call_to(expr, ":")) return(deparse_line(expr))
  paste(group_label(expr[[2]]), group_label(expr[[3]]), sep = ":")
}
