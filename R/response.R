# Responses that are not gaussian: from a column of the model frame to numbers with a law.
#
#   is_gaussian_family(family)
#   response_of(frame, family)   list(law, link, n_own, y, size, weight, levels): successes of
#                                `size` trials (NULL: one), a count, or a category from 0, whose
#                                names are `levels`; `weight` multiplies a row's log density (NULL:
#                                1)

response_links <- list(binomial = c("logit", "probit", "cloglog"), poisson = "log",
                       negative_binomial = "log", cumulative = c("logit", "probit"))

is_gaussian_family <- function(family) family$family == "gaussian"

response_of <- function(frame, family) {
  y <- frame[[1]]
  weight <- frame_weights(frame)
  name <- names(frame)[1]
  one <- switch(family$family,
    binomial = check_successes(binomial_response(y, weight), name),
    cumulative = list(y = as.integer(y) - 1, size = NULL, weight = weight, levels = levels(y),
                      n_own = nlevels(y) - 1L),
    list(y = check_response_values(as.double(y), y >= 0 & y == floor(y), name, "counts"),
         size = NULL, weight = weight,
         n_own = if (family$family == "negative_binomial") 1L else 0L)
  )
  c(list(law = family$family, link = family$link), one)
}

# As glm() takes it: 0 and 1, TRUE, a factor whose first level is failure, proportions with numbers
# of trials as weights, or cbind(successes, failures).
binomial_response <- function(y, weight) {
  if (is.matrix(y) && ncol(y) == 2) {
    return(list(y = as.double(y[, 1]), size = as.double(y[, 1] + y[, 2]), weight = weight,
                n_own = 0L))
  }
  if (is.factor(y)) y <- as.integer(y) != 1
  y <- as.double(y)
  if (is.null(weight)) return(list(y = y, size = NULL, weight = NULL, n_own = 0L))
  list(y = y * weight, size = weight, weight = NULL, n_own = 0L)
}

check_successes <- function(response, name) {
  most <- if (is.null(response$size)) 1 else response$size
  check_response_values(response$y, response$y >= 0 & response$y <= most, name,
                        "0 and 1, proportions with numbers of trials as `weights`, or cbind()")
  response
}

check_response_values <- function(y, valid, name, what) {
  if (all(valid)) return(y)
  abort(sprintf("The response `%s` must be %s; row %d has %s.", name, what, which(!valid)[1],
                describe_value(y[!valid][1])), "elbo_error_data")
}
