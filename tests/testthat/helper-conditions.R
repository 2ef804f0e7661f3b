# What the user sees when the package refuses, and under which class; for snapshots, whose text
# must not depend on how a version of testthat shows conditions.
refusal <- function(expr) {
  e <- tryCatch(expr, elbo_error = identity)
  if (!inherits(e, "elbo_error")) stop("nothing was refused")
  cat("<", class(e)[1], ">\n", sep = "")
  cat(strwrap(conditionMessage(e), 88), sep = "\n")
}
