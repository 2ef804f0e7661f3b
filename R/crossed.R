# Several grouping factors: their posteriors, their rows as C reads them, and what is not built for
# them yet.
#
#   latent_parts(fit)          for each factor, of one too, list(name, group, columns, mean, cov,
#                              gain): mean m x q, cov q x q x m, gain q x p x m, columns those of Z
#   is_crossed(design)         whether there are several
#   crossed_rows(design, ...)  the rows as the C code reads them

is_crossed <- function(design) length(design$groups) > 1

latent_parts <- function(fit) {
  groups <- design_of(fit)$groups
  posterior <- if (is_crossed(design_of(fit))) moments_of(fit)$parts else list(moments_of(fit))
  Map(function(name, group, one) {
    c(list(name = name, group = group, columns = columns_of_group(design_of(fit), name)),
      one[c("mean", "cov", "gain")])
  }, names(groups), groups, posterior[seq_along(groups)])
}

crossed_rows <- function(design, control) {
  list(
    X = if (length(design$curves) > 0) cbind(design$X, design$B) else design$X,
    Z = design$Z, weight = design$weights,
    y = if (identical(design$offset, 0)) design$y else design$y - design$offset,
    level = design$level, n_level = max(1L, nlevels(design$level)),
    groups = lapply(unname(design$groups), as.integer),
    first = c(0L, cumsum(tabulate(factor_of_column(design), length(design$groups)))),
    n_unit = vapply(design$groups, nlevels, 0L, USE.NAMES = FALSE),
    threads = as.integer(solver_threads(control))
  )
}

solver_threads <- function(control) if (is.null(control$threads)) 1L else control$threads

factor_of_column <- function(design) match(column_groups(design), names(design$groups))

# As latent_sd(), of each factor.
crossed_sd <- function(fit, type) {
  integrated <- method_of(fit) == "reml" || has_curves(fit) || type == "total"
  C <- if (integrated) latent_coefficient_cov(fit, type)
  parts <- latent_parts(fit)
  variance <- unlist(lapply(parts, function(part) apply(part$cov, 3, diag)), use.names = FALSE)
  if (!is.null(C)) variance <- variance + quadratic_rows(level_gains(parts), C)
  excess <- if (type == "total") scale_excess(fit)
  if (!is.null(excess)) {
    each <- seq_along(variance)
    variance <- variance + quadratic_rows(excess$gain, excess$C) + excess$entries(each, each)
  }
  lapply(by_factor(design_of(fit), variance), function(x) sqrt(pmax(x, 0)))
}

# Generics that know one grouping factor: refused by name, rather than answered wrongly.
not_for_crossed <- function(fit, what, remedy = "Fits with one grouping factor have it.") {
  if (!is_crossed(design_of(fit))) return(invisible())
  abort(c(sprintf("%s is not built yet for several grouping factors (%s).", what,
                  quote_names(group_names(design_of(fit)))), remedy), "elbo_error_not_available")
}
