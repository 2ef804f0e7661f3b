# Method "vb" of mixtures: the factors of q, their moments, and draws from them. The fields of a
# state are those of C: see the headers in src/mixture/.

#' @rdname variational
#' @details
#' Of a mixture the factors are, in the order of the components: `weights`, a Dirichlet distribution
#' (`alpha`), or independent beta distributions of the sticks that are broken off one after the
#' other (`shape1`, `shape2`, and `order`, the component of each stick), or a normal distribution of
#' coefficients of membership; for each component `mean, Sigma|1` and so on, a normal inverse
#' Wishart distribution (`mean`, `kappa`, `df`, `scale`: mean given Sigma is N(mean, Sigma /
#' kappa)), in a model without correlations normal inverse gamma (`shape`, `rate` of each variance);
#' of regressions `beta|1`, normal, and `sigma^2|1`, inverse gamma; of curves besides these
#' `Sigma__TERMS|1`, inverse Wishart, the covariance matrix of the deviations of one `( | )`, or
#' `sd^2__TERM|1`, inverse gamma, where a deviation, or the multiple of a given matrix, has a
#' variance alone, and so for the smooth terms of a component, whose coefficients are the last of
#' `beta|1` (the deviations themselves are normal given the rest, and `ranef()` has their means); of
#' categories `prob__x|1`, Dirichlet; and last `z`, categorical, with the `probability` of each
#' unit. Factors of a component hold its number as `component`; what components share has none.
#' @export
variational.elbo_mixture <- function(object, ...) {
  check_dots_empty(...)
  if (method_of(object) != "vb") {
    abort(c(sprintf("variational() is for fits by method \"vb\", not \"%s\";", method_of(object)),
            "there latent() is the posterior of the latent variables."), "elbo_error_method")
  }
  responses <- law_of(object)$factors(object)
  z <- list(family = "categorical", probability = unit_probability(object))
  structure(c(weight_factors(object), responses, list(z = z)),
            empty = emptied(object),
            class = c("elbo_mixture_variational", "elbo_variational"))
}

# Names of factors, each of which knows its component; NA, and no number: all share it.
factors_by_component <- function(factors, stem, component) {
  names <- append_part(rep_len(stem, length(component)), component)
  named <- stats::setNames(factors, names)
  Map(function(f, j) if (is.na(j)) f else c(f, list(component = j)), named, component)
}

# ---- covariance under q ------------------------------------------------------------------

# Parameters of different factors are independent under q. Within a factor: shares covary as the
# Dirichlet has it, means and coefficients as their normal marginals; standard deviations and
# correlations have variances only, and those that components or variables share are one.
mean_field_covariance <- function(fit) {
  names <- parameters_of(fit)$name
  V <- matrix(0, length(names), length(names), dimnames = list(names, names))
  for (block in mean_field_blocks(fit)) V[block$rows, block$rows] <- as.matrix(block$cov)
  same <- law_of(fit)$shared_scales(fit)
  for (key in unique(same[!is.na(same)])) {
    rows <- which(same == key)
    V[rows, rows] <- V[rows[1], rows[1]]
  }
  V
}

mean_field_blocks <- function(fit) {
  c(weight_blocks(fit), law_of(fit)$mean_field(fit))
}

# Standard deviations and correlations, in these rows of theta, of Sigma ~ inverse Wishart(df,
# scale) of order two or more.
wishart_blocks <- function(df, scale, sds, cors) {
  d <- ncol(scale)
  sd <- vapply(diag(scale), function(S) vb_sd(sqrt(S / df), df, d)$variance, 0)
  cor <- apply(utils::combn(d, 2), 2, function(pair) {
    vb_cor(stats::cov2cor(scale[pair, pair])[1, 2], df, d)$variance
  })
  list(list(rows = sds, cov = diag(sd, d)), list(rows = cors, cov = diag(cor, length(cor))))
}

inverse_gamma_sd_variance <- function(shape, scale) {
  vb_sd(sqrt(scale / shape), 2 * shape, 1)$variance
}

#' @export
print.elbo_mixture_variational <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  component <- vapply(x, function(f) if (is.null(f$component)) NA_integer_ else f$component, 0L)
  empty <- attr(x, "empty")
  shown <- x[!component %in% empty]
  lines <- sprintf("q(%s) = %s", names(shown), vapply(shown, factor_words, ""))
  cat("The optimal q:\n")
  writeLines(strwrap(lines, getOption("width") + 1, indent = 2, exdent = 6))
  if (length(empty) > 0) {
    writeLines(strwrap(sprintf("Empty, with factors as their prior: component%s %s.",
                               if (length(empty) > 1) "s" else "", enumerate(empty, 10)),
                       getOption("width") + 1, indent = 2, exdent = 6))
  }
  invisible(x)
}

factor_words <- function(f) {
  number <- function(x) signif_text(x, 4)
  several <- function(x) enumerate(number(x), 10)
  switch(f$family,
    Dirichlet = sprintf("Dirichlet(%s)", toString(number(f$alpha))),
    `stick-breaking` = sprintf("sticks of beta(%s)",
                               paste(number(f$shape1), number(f$shape2), collapse = "; ")),
    normal = sprintf("normal(%d)", f$dimension),
    `normal inverse gamma` = sprintf("normal inverse gamma(kappa = %s, shape = %s, rate = %s)",
                                     number(f$kappa), number(f$shape), several(f$rate)),
    `inverse gamma` = sprintf("inverse gamma(%s, %s)", number(f$shape), number(f$scale)),
    `inverse Wishart` = sprintf("inverse Wishart(%s, %d x %d)", number(f$df), nrow(f$scale),
                                nrow(f$scale)),
    `normal inverse Wishart` = sprintf("normal inverse Wishart(kappa = %s, df = %s, %d x %d)",
                                       number(f$kappa), number(f$df), nrow(f$scale), nrow(f$scale)),
    categorical = sprintf("categorical(%d) of each of %s", ncol(f$probability),
                          count_words(nrow(f$probability), "unit"))
  )
}
