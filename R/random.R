# Random terms of a mixed model: a list, of which every ( | ) has an element for each of its
# grouping factors. A design holds
#
#   random   the terms: list(group = name of its factor, columns = which of Z, law = "us", common,
#            terms, xlevels, contrasts, assign), the last four as a model matrix is made of them
#   groups   the factors, by name, in the order of the formula
#   Z        the columns of all terms, those of a factor side by side
#
#   build_random(bars, described, frame)   these, from the bars of parse_formula()
#   group_names(design)         names of the factors, NULL without any
#   the_group(design)           the factor of a model with one, NULL otherwise: what is written for
#                               one factor alone asks here
#   column_groups(design)       the factor of each column of Z
#   column_blocks(design)       and the covariance that it is in, by number
#   n_blocks(design)            how many these are
#   levels_of_column(design)    the levels that each column of Z has
#   law_groups(design)          the factor of each covariance

build_random <- function(bars, described, frame) {
  bars_of <- order_by_group(bars)
  bars <- bars[bars_of]
  described <- described[bars_of]
  Z <- lapply(described, function(term) model.matrix(term$terms, frame))
  check_repeated_terms(Z, bars)
  size <- vapply(Z, ncol, 0L)
  check_latent_size(sum(size))
  random <- Map(function(bar, term, z, last) {
    c(list(group = bar$group_name, columns = seq_len(ncol(z)) + last - ncol(z), law = bar$law,
           common = bar$common),
      term, attributes(z)[intersect(c("contrasts", "assign"), names(attributes(z)))])
  }, bars, described, Z, cumsum(size))
  names <- vapply(bars, `[[`, "", "group_name")
  groups <- lapply(bars[!duplicated(names)], frame_group, frame)
  list(Z = if (length(Z)) Reduce(cbind, Z) else matrix(0, nrow(frame), 0),
       random = unname(random), groups = stats::setNames(groups, unique(names)))
}

# Terms of one factor side by side, factors and terms otherwise as they come.
order_by_group <- function(bars) {
  names <- vapply(bars, `[[`, "", "group_name")
  order(match(names, unique(names)))
}

describe_bar <- function(bar, frame) {
  block <- term_description(terms(bar$terms), frame)
  variables <- frame[names(attr(block$terms, "dataClasses"))]
  categorical <- c(names(block$xlevels), names(variables)[vapply(variables, is.logical, NA)])
  if (bar$split && length(categorical) > 0) {
    abort(c(sprintf("`||` cannot separate the levels of the factor `%s`;", categorical[1]),
            sprintf("use diag( | %s), or a numeric variable for each level.", bar$group_name)),
          "elbo_error_formula")
  }
  block
}

check_repeated_terms <- function(Z, bars) {
  groups <- vapply(bars, `[[`, "", "group_name")
  for (group in unique(groups)) {
    terms <- unlist(lapply(Z[groups == group], colnames))
    if (!anyDuplicated(terms)) next
    abort(c(sprintf("The random term `%s` of `%s` appears twice;", terms[duplicated(terms)][1],
                    group), "after (1 | g) write (0 + x | g), not (x | g)."),
          "elbo_error_formula")
  }
}

# As LATENT_MAX_TERMS of src/law/latent_law.h.
check_latent_size <- function(size) {
  if (size <= 64) return()
  abort(c(sprintf("%d columns of random terms share a covariance, which may have 64;", size),
          "take fewer levels, or a smaller basis."), "elbo_error_formula")
}

frame_group <- function(bar, frame) {
  frame_factor(term_variables(call("~", bar$group)), frame)
}

# What a design has -------------------------------------------------------------------------------

term_groups <- function(design) vapply(design$random, `[[`, "", "group")

column_groups <- function(design) {
  rep(term_groups(design), lengths(lapply(design$random, `[[`, "columns")))
}

# A covariance of its own for each term, and for each column of a diagonal one.
column_blocks <- function(design) {
  of_term <- lapply(design$random, function(term) {
    apart <- term$law == "diag" && !isTRUE(term$common)
    if (apart) seq_along(term$columns) else rep(1L, length(term$columns))
  })
  last <- cumsum(c(0L, vapply(of_term, max, 0L)))
  as.integer(unlist(Map(`+`, of_term, last[seq_along(of_term)])))
}

n_blocks <- function(design) max(0L, column_blocks(design))

# As VarCorr() has them.
law_groups <- function(design) column_groups(design)[!duplicated(column_blocks(design))]

# The levels that each column of Z has.
levels_of_column <- function(design) {
  vapply(design$groups[column_groups(design)], nlevels, 0L, USE.NAMES = FALSE)
}

# The columns of Z that belong to a factor.
columns_of_group <- function(design, name) which(column_groups(design) == name)

group_names <- function(design) if (length(design$groups) > 0) names(design$groups)

the_group <- function(design) if (length(design$groups) == 1) design$groups[[1]]
