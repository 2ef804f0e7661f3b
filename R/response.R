# Responses that are not gaussian: from a column of the model frame to numbers with a law.
#
#   check_response(frame, family)  before factors lose the levels that do not occur
#   response_of(frame, family)     list(law, link, n_own, y, size, weight, levels): successes of
#                                  `size` trials (NULL: one), a count, or a category from 0, whose
#                                  names are `levels`; `weight` multiplies a row's log density
#                                  (NULL: 1)

response_links <- list(binomial = c("logit", "probit", "cloglog"), poisson = "log",
                       negative_binomial = "log", cumulative = c("logit", "probit"))

response_of <- function(frame, family) {
  law <- family$family
  y <- frame[[1]]
  weight <- frame_weights(frame)
  c(list(law = law, link = family$link),
    if (law == "binomial") binomial_response(y, weight)
    else if (law == "cumulative") ordered_response(y, weight)
    else list(y = as.double(y), size = NULL, weight = weight,
              n_own = if (law == "negative_binomial") 1L else 0L))
}

# As glm() takes it: 0 and 1, TRUE, a factor whose first level is failure, proportions with numbers
# of trials as weights, or cbind(successes, failures), where weights multiply the log density.
binomial_response <- function(y, weight) {
  if (is.matrix(y)) {
    return(list(y = as.double(y[, 1]), size = as.double(y[, 1] + y[, 2]), weight = weight,
                n_own = 0L))
  }
  y <- as.double(if (is.factor(y)) as.integer(y) - 1 else y)
  if (is.null(weight)) return(list(y = y, size = NULL, weight = NULL, n_own = 0L))
  # Proportions are quotients, with the rounding of division or of a file.
  list(y = round(y * weight), size = weight, weight = NULL, n_own = 0L)
}

ordered_response <- function(y, weight) {
  list(y = as.integer(y) - 1, size = NULL, weight = weight, levels = levels(y),
       n_own = nlevels(y) - 1L)
}

# ---- what a response must be -------------------------------------------------------------

check_response <- function(frame, family) {
  checker <- switch(family$family, gaussian = check_gaussian, binomial = check_binomial,
                    cumulative = check_ordered, check_count_response)
  checker(frame[[1]], names(frame)[1], frame)
}

check_gaussian <- function(y, name, frame) {
  if (is_numeric_vector(y)) return()
  check_one_variable(y, name, "fit each column by itself")
  abort(sprintf("The response `%s` must be numeric, not %s; %s.", name, describe_value(y),
                "turn it into numbers first, as by as.numeric(as.character())"),
        "elbo_error_data")
}

check_one_variable <- function(y, name, remedy) {
  if (!is.matrix(y) && !is.data.frame(y)) return()
  abort(sprintf("The response `%s` must be one variable, not %d; %s.", name, ncol(y), remedy),
        "elbo_error_data")
}

check_count_response <- function(y, name, frame) {
  check_one_variable(y, name, "fit each column by itself")
  if (!is_numeric_vector(y)) {
    abort(sprintf("The response `%s` must be counts, not %s.", name, describe_value(y)),
          "elbo_error_data")
  }
  check_values(y, y >= 0 & y == floor(y), name, "counts (0, 1, 2, ...)", frame,
               "Rates are counts with the exposure as offset(log(exposure)).")
}

check_values <- function(y, valid, name, what, frame, remedy) {
  if (all(valid, na.rm = TRUE)) return()
  bad <- which(!valid)
  abort(c(sprintf("The response `%s` must be %s, not %s: see %s.", name, what,
                  describe_value(as.double(y[bad[1]])), frame_rows(frame, bad)), remedy),
        "elbo_error_data")
}

# ---- successes and failures --------------------------------------------------------------

check_binomial <- function(y, name, frame) {
  if (is.matrix(y)) return(check_trials(y, name, frame))
  if (is.factor(y)) return(check_two_levels(y, name))
  if (!is_numeric_vector(y)) {
    abort(c(sprintf("The response `%s` must be 0 and 1, TRUE and FALSE or a factor, not %s.", name,
                    describe_value(y)), "Write y == \"yes\" for what counts as success."),
          "elbo_error_data")
  }
  size <- frame[["(weights)"]]
  if (is.null(size)) {
    proportion <- all(y >= 0 & y <= 1, na.rm = TRUE)
    return(check_values(y, y == 0 | y == 1, name, "0 and 1", frame, if (proportion) {
      "Proportions need their numbers of trials as `weights`, or cbind(successes, failures)."
    } else {
      "Write y == 2 for what counts as success; counts of many are for poisson()."
    }))
  }
  check_values(y, y >= 0 & y <= 1, name, "proportions, between 0 and 1, with `weights`", frame,
               "Numbers of successes are cbind(successes, failures).")
  check_whole_trials(y, size, name, frame)
}

# glm() warns of successes that are a thousandth off a whole number.
check_whole_trials <- function(y, size, name, frame) {
  if (!is_numeric_vector(size)) return() # check_scale() has the words
  bad <- which(size != floor(size) | abs(y * size - round(y * size)) > 1e-3)
  if (length(bad) == 0) return()
  i <- bad[1]
  abort(c(sprintf("With family binomial() `weights` are numbers of trials, but `%s` = %s of", name,
                  describe_value(as.double(y[i]))),
          sprintf("%s trials is no whole number of successes: see %s.",
                  describe_value(as.double(size[i])), frame_rows(frame, bad)),
          "Weights of another meaning are not for this family."), "elbo_error_data")
}

check_trials <- function(y, name, frame) {
  if (ncol(y) != 2) {
    abort(sprintf("The response `%s` must be cbind(successes, failures), not of %d columns.", name,
                  ncol(y)), "elbo_error_data")
  }
  if (!is.numeric(y) && !is.logical(y)) {
    abort(sprintf("The response `%s` must be numbers of successes and failures, not %s.", name,
                  describe_value(y)), "elbo_error_data")
  }
  bad <- which(rowSums(y < 0 | y != floor(y)) > 0)
  if (length(bad) == 0) return()
  off <- y[bad[1], ]
  check_values(off[off < 0 | off != floor(off)], FALSE, name,
               "whole numbers of successes and failures", frame[bad, , drop = FALSE],
               "The second column has the failures, not the trials.")
}

check_two_levels <- function(y, name) {
  occurring <- sum(tabulate(y, nlevels(y)) > 0)
  if (nlevels(y) == 2 && occurring == 2) return()
  if (occurring < 2) return(abort_one_category(y, name))
  abort(c(sprintf("The response `%s` must have two levels for family binomial(), not %d (%s).",
                  name, nlevels(y), quote_names(levels(y), 5)),
          if (occurring == 2) sprintf("Use droplevels(%s).", name) else
            sprintf("Write %s == \"%s\" for one of them, or cumulative() if they are ordered.",
                    name, levels(y)[nlevels(y)])), "elbo_error_data")
}

abort_one_category <- function(y, name) {
  occurring <- levels(y)[tabulate(y, nlevels(y)) > 0]
  abort(c(sprintf("The response `%s` has only one category, %s, in these data:", name,
                  quote_names(occurring)), "there is nothing to tell apart."), "elbo_error_data")
}

# ---- ordered categories ------------------------------------------------------------------

check_ordered <- function(y, name, frame) {
  if (!is.ordered(y)) {
    check_one_variable(y, name, "fit each column by itself")
    abort(c(sprintf("The response `%s` must be an ordered factor, not %s.", name,
                    describe_value(y)),
            sprintf("Write factor(%s, levels = c(lowest, ..., highest), ordered = TRUE).", name)),
          "elbo_error_data")
  }
  empty <- levels(y)[tabulate(y, nlevels(y)) == 0]
  if (nlevels(y) - length(empty) < 2) abort_one_category(y, name)
  if (length(empty) == 0) return()
  abort(c(sprintf("No row has %s of the response `%s`, so that its thresholds are unknown.",
                  quote_names(empty), name),
          sprintf("Drop it, by droplevels(%s), or merge it with another category.", name)),
        "elbo_error_data")
}
