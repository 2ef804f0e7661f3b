# Method "vb" of mixtures: the factors of q, their moments, and draws from them. The fields of a
# state are those of C: see the headers src/model_mixture_*.h.

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
#' unit. What components share has no number.
#' @export
variational.elbo_mixture <- function(object, ...) {
  check_dots_empty(...)
  if (object$method != "vb") {
    abort(c(sprintf("variational() is for fits by method \"vb\", not \"%s\";", object$method),
            "there latent() is the posterior of the latent variables."), "elbo_error_method")
  }
  responses <- switch(object$kind,
    normal = normal_factors(object),
    regression = regression_factors(object),
    curves = curve_factors(object),
    classes = class_factors(object)
  )
  z <- list(family = "categorical", probability = unit_probability(object))
  structure(c(weight_factors(object), responses, list(z = z)),
            empty = emptied(object),
            class = c("elbo_mixture_variational", "elbo_variational"))
}

weight_factors <- function(fit) {
  state <- fit$state$weights
  if (!is.null(state$alpha)) {
    alpha <- stats::setNames(as.vector(state$alpha), component_labels(fit))
    return(list(weights = list(family = "Dirichlet", alpha = alpha)))
  }
  if (!is.null(state$stick)) {
    shape <- matrix(state$stick, 2)
    return(list(weights = list(family = "stick-breaking", shape1 = shape[1, ], shape2 = shape[2, ],
                               order = order(state$position))))
  }
  if (is.null(state$mean)) return(list()) # held
  terms <- fit$parameters$name[fit$parameters$block == "membership"]
  mean <- as.vector(state$mean[, -1])
  list(membership = list(family = "normal", mean = stats::setNames(mean, terms),
                         cov = membership_covariance(fit), dimension = length(mean)))
}

# b = mean + root' z, z standard normal.
membership_covariance <- function(fit) {
  root <- fit$state$weights$root
  root <- matrix(root, dim(root)[1])
  free <- -seq_len(ncol(fit$design$W)) # the first component's are zero
  crossprod(root[, free, drop = FALSE])
}

factor_names <- function(name, fit) paste0(name, "|", seq_len(fit$k))

# Sigma ~ inverse Wishart(df, scale); without correlations the variances are inverse gamma.
normal_factors <- function(fit) {
  state <- fit$state$normal
  variables <- colnames(fit$design$Y)
  d <- length(variables)
  group <- rep_len(seq_along(state$df), fit$k)
  full <- has_correlations(fit)
  factors <- lapply(seq_len(fit$k), function(j) {
    scale <- matrix(state$scale, d * d)[, group[j]]
    scale <- matrix(scale, d, dimnames = list(variables, variables))
    df <- state$df[[group[j]]]
    law <- if (full) list(family = "normal inverse Wishart", df = df, scale = scale)
           else list(family = "normal inverse gamma", shape = df / 2, rate = diag(scale) / 2)
    c(law, list(mean = stats::setNames(state$mean[, j], variables), kappa = state$kappa[[j]]))
  })
  names(factors) <- paste0("mean, ", if (full) "Sigma" else "sigma^2", "|", seq_len(fit$k))
  factors
}

has_correlations <- function(fit) substr(fit$covariance, 3, 3) %in% c("E", "V")

regression_factors <- function(fit) {
  c(coefficient_factors(fit, fit$state$regression), sigma_factors(fit, fit$state$regression))
}

coefficient_factors <- function(fit, state) {
  terms <- colnames(fit$design$X)
  beta <- lapply(seq_len(fit$k), function(j) {
    cov <- matrix(state$cov, length(terms)^2)[, j]
    list(family = "normal", mean = stats::setNames(state$mean[, j], terms),
         cov = matrix(cov, length(terms), dimnames = list(terms, terms)), dimension = length(terms))
  })
  stats::setNames(beta, factor_names("beta", fit))
}

# Counts and shares have none.
sigma_factors <- function(fit, state) {
  if (is.null(state$shape)) return(list())
  names <- if (fit$design$spec$common_sigma) "sigma^2" else factor_names("sigma^2", fit)
  variance_factors(state$shape, state$rate, names)
}

# Inverse gamma; of those held there are none.
variance_factors <- function(shape, rate, names) {
  factors <- Map(function(shape, rate) list(family = "inverse gamma", shape = shape, scale = rate),
                 as.vector(shape), as.vector(rate))
  stats::setNames(factors, names)[is.finite(shape)]
}

curve_factors <- function(fit) {
  state <- fit$state$curves
  design <- fit$design
  q <- ncol(design$Z)
  groups <- if (design$random$common) "" else paste0("|", seq_len(fit$k))
  deviations <- lapply(seq_along(groups), function(g) {
    df <- matrix(state$df, ncol = length(groups))[, g]
    scale <- matrix(matrix(state$scale, q * q)[, g], q, dimnames = rep(list(colnames(design$Z)), 2))
    deviation_factors(design, df, scale, groups[g])
  })
  c(coefficient_factors(fit, state), smooth_factors(fit, state),
    unlist(deviations, recursive = FALSE), sigma_factors(fit, state))
}

smooth_factors <- function(fit, state) {
  labels <- paste0("sd^2__", curve_labels(fit$design$curves), recycle0 = TRUE)
  names <- as.vector(outer(labels, seq_len(fit$k), paste, sep = "|"))
  variance_factors(state$smooth_shape, state$smooth_rate, names)
}

# Of one covariance matrix: the blocks on its diagonal.
deviation_factors <- function(design, df, scale, group) {
  blocks <- random_blocks(design)
  given <- diag(random_matrix(design))
  factors <- lapply(seq_len(nrow(blocks)), function(i) {
    at <- blocks$first[i] + seq_len(blocks$size[i]) - 1L
    multiple <- blocks$kind[i] == "multiple"
    if (blocks$size[i] > 1 && !multiple) {
      return(list(family = "inverse Wishart", df = df[i], scale = scale[at, at]))
    }
    # A multiple stands in scale times its matrix.
    largest <- at[which.max(given[at])]
    unit <- if (multiple) given[largest] else 1
    list(family = "inverse gamma", shape = df[i] / 2, scale = scale[largest, largest] / unit / 2)
  })
  matrices <- vapply(factors, function(f) f$family == "inverse Wishart", NA)
  what <- ifelse(matrices, "Sigma__", "sd^2__")
  stats::setNames(factors, paste0(what, blocks$label, group))[is.finite(df)]
}

class_factors <- function(fit) {
  state <- fit$state$classes
  variables <- fit$design$variables
  discrete <- variables$type != "gaussian"
  size <- ifelse(discrete, lengths(variables$levels), 0)
  first <- cumsum(size) - size
  number <- cumsum(!discrete)
  factors <- lapply(seq_along(size), function(v) {
    of_component <- lapply(seq_len(fit$k), function(j) {
      if (!discrete[v]) {
        at <- number[v]
        return(list(family = "normal inverse gamma", shape = state$shape[at, j],
                    rate = state$rate[at, j], mean = state$mean[at, j], kappa = state$kappa[at, j]))
      }
      alpha <- state$alpha[first[v] + seq_len(size[v]), j]
      list(family = "Dirichlet", alpha = stats::setNames(alpha, variables$levels[[v]]))
    })
    what <- if (discrete[v]) "prob__" else "mean, sigma^2__"
    stats::setNames(of_component, factor_names(paste0(what, variables$name[v]), fit))
  })
  unlist(factors, recursive = FALSE)
}

# ---- covariance under q ------------------------------------------------------------------

# Parameters of different factors are independent under q. Within a factor: shares covary as the
# Dirichlet has it, means and coefficients as their normal marginals; standard deviations and
# correlations have variances only, and those that components or variables share are one.
mean_field_covariance <- function(fit) {
  names <- fit$parameters$name
  V <- matrix(0, length(names), length(names), dimnames = list(names, names))
  for (block in mean_field_blocks(fit)) {
    rows <- block$name %in% names # not the coefficients of smooth terms, which are latent
    V[block$name[rows], block$name[rows]] <- as.matrix(block$cov)[rows, rows]
  }
  same <- shared_scales(fit)
  for (key in unique(same[!is.na(same)])) {
    rows <- which(same == key)
    V[rows, rows] <- V[rows[1], rows[1]]
  }
  V
}

# A key for each standard deviation and correlation of a normal mixture, the same for those that the
# covariance model makes equal; NA for other parameters.
shared_scales <- function(fit) {
  parameters <- fit$parameters
  if (fit$kind != "normal") return(rep(NA_character_, nrow(parameters)))
  model <- fit$covariance
  equal <- !grepl("V", model)
  spherical <- nchar(model) > 1 && substr(model, 2, 2) == "I"
  term <- parameter_terms(parameters$name)
  term[spherical & parameters$block == "sd"] <- "sd"
  ifelse(parameters$block %in% c("sd", "cor"),
         paste(term, if (equal) "" else parameters$component), NA_character_)
}

mean_field_blocks <- function(fit) {
  j <- seq_len(fit$k)
  c(weight_blocks(fit), switch(fit$kind,
    normal = unlist(lapply(j, function(j) normal_blocks(fit, j)), recursive = FALSE),
    regression = factor_blocks(regression_factors(fit)),
    curves = factor_blocks(curve_factors(fit)),
    classes = class_blocks(fit)
  ))
}

weight_blocks <- function(fit) {
  f <- weight_factors(fit)
  if (length(f) == 0) return(list())
  f <- f[[1]]
  cov <- switch(f$family, Dirichlet = dirichlet_covariance(f$alpha),
                `stick-breaking` = stick_covariance(f), normal = f$cov)
  rows <- fit$parameters$block %in% c("weight", "membership")
  list(list(name = fit$parameters$name[rows], cov = cov))
}

dirichlet_covariance <- function(alpha) {
  mean <- unname(alpha) / sum(alpha)
  (diag(mean, length(mean)) - outer(mean, mean)) / (sum(alpha) + 1)
}

# Weights are products of independent v and 1 - v: E[w_s w_t] from the moments of each stick.
stick_covariance <- function(f) {
  k <- length(f$order)
  total <- f$shape1 + f$shape2
  v <- f$shape1 / total
  v2 <- v * (f$shape1 + 1) / (total + 1) # E[v^2]
  u2 <- 1 - 2 * v + v2                   # E[(1 - v)^2]
  v <- c(v, 1)                           # the last stick is what is left
  v2 <- c(v2, 1)
  left <- cumprod(c(1, 1 - v[-k]))
  left2 <- cumprod(c(1, u2))
  second <- diag(v2 * left2, k)
  for (s in seq_len(k - 1)) {
    for (t in (s + 1):k) {
      between <- seq_len(t - s - 1) + s
      second[s, t] <- second[t, s] <-
        left2[s] * (v[s] - v2[s]) * prod(1 - v[between]) * v[t]
    }
  }
  cov <- second - outer(v * left, v * left)
  out <- cov
  out[f$order, f$order] <- cov
  out
}

normal_blocks <- function(fit, j) {
  f <- normal_factors(fit)[[j]]
  variables <- names(f$mean)
  d <- length(variables)
  suffix <- paste0("|", j)
  full <- f$family == "normal inverse Wishart"
  expected <- if (full) f$scale / (f$df - d - 1) else diag(f$rate / (f$shape - 1), d) # E[Sigma]
  means <- list(list(name = paste0("mean__", variables, suffix), cov = expected / f$kappa))
  if (full) return(c(means, wishart_blocks(f$df, f$scale, suffix)))
  sd <- vapply(f$rate, function(rate) inverse_gamma_sd_variance(f$shape, rate), 0)
  c(means, list(list(name = paste0("sd__", variables, suffix), cov = diag(sd, d))))
}

# The name of a factor says whose it is: `sd^2__x|1` is of sd__x|1.
factor_blocks <- function(factors) {
  blocks <- lapply(names(factors), function(name) {
    f <- factors[[name]]
    suffix <- sub("^.*?([|][0-9]+)?$", "\\1", name, perl = TRUE)
    switch(f$family,
      normal = list(list(name = paste0(names(f$mean), suffix), cov = f$cov)),
      `inverse gamma` = list(list(name = sub("^2", "", name, fixed = TRUE),
                                  cov = inverse_gamma_sd_variance(f$shape, f$scale))),
      `inverse Wishart` = wishart_blocks(f$df, f$scale, suffix)
    )
  })
  unlist(blocks, recursive = FALSE)
}

# Standard deviations and correlations of Sigma ~ inverse Wishart(df, scale), of order two or more.
wishart_blocks <- function(df, scale, suffix) {
  variables <- colnames(scale)
  d <- length(variables)
  sd <- vapply(diag(scale), function(S) vb_sd(sqrt(S / df), df, d)$variance, 0)
  pairs <- utils::combn(variables, 2)
  cor <- apply(pairs, 2, function(pair) {
    vb_cor(stats::cov2cor(scale[pair, pair])[1, 2], df, d)$variance
  })
  list(list(name = paste0("sd__", variables, suffix), cov = diag(sd, d)),
       list(name = paste0("cor__", pairs[1, ], ".", pairs[2, ], suffix),
            cov = diag(cor, length(cor))))
}

inverse_gamma_sd_variance <- function(shape, scale) {
  vb_sd(sqrt(scale / shape), 2 * shape, 1)$variance
}

class_blocks <- function(fit) {
  factors <- class_factors(fit)
  blocks <- lapply(names(factors), function(name) {
    f <- factors[[name]]
    variable <- sub("^[^_]*__(.*)[|][0-9]+$", "\\1", name)
    suffix <- sub("^.*([|][0-9]+)$", "\\1", name)
    if (f$family == "Dirichlet") {
      cov <- dirichlet_covariance(f$alpha)
      one <- paste0("prob__", variable, suffix)
      if (one %in% fit$parameters$name) return(list(list(name = one, cov = cov[2, 2])))
      return(list(list(name = paste0("prob__", variable, ".", names(f$alpha), suffix), cov = cov)))
    }
    list(list(name = paste0("mean__", variable, suffix), cov = f$rate / (f$shape - 1) / f$kappa),
         list(name = paste0("sd__", variable, suffix),
              cov = inverse_gamma_sd_variance(f$shape, f$rate)))
  })
  unlist(blocks, recursive = FALSE)
}

# ---- draws -------------------------------------------------------------------------------

#' @rdname as_draws.elbo_glmm
#' @details
#' Draws for a mixture are those of linear response only: margins as above, of weights and
#' probabilities beta distributed and then scaled to their sum. They keep one labelling of the
#' components.
#' @exportS3Method posterior::as_draws
as_draws.elbo_mixture <- function(x, ndraws = 1000L, seed = NULL, ...) {
  check_dots_empty(...)
  if (x$method != "vb") {
    abort(c(sprintf("Method \"%s\" has no posterior of theta to draw from.", x$method),
            "Use update(fit, method = \"vb\"), or bootstrap()."), "elbo_error_method")
  }
  ndraws <- check_count(ndraws, "ndraws")
  posterior::as_draws_matrix(with_seed(seed, posterior_theta(x, ndraws)))
}

# n x parameters: a Gaussian copula with the correlations of linear response.
posterior_theta <- function(fit, n) {
  V <- theta_covariance(fit, "linear_response")
  free <- which(!fit$parameters$fixed & !is.na(diag(V)) & diag(V) > 0)
  sd <- sqrt(diag(V))[free]
  z <- normal_draws(n, V[free, free, drop = FALSE] / outer(sd, sd))
  theta <- matrix(fit$theta, n, length(fit$theta), byrow = TRUE,
                  dimnames = list(NULL, names(fit$theta)))
  for (i in seq_along(free)) {
    at <- free[i]
    theta[, at] <- bend_component(z[, i], fit$theta[[at]], sd[[i]], fit$parameters$block[at])
  }
  for (group in share_groups(fit)) {
    theta[, group] <- theta[, group] / rowSums(theta[, group, drop = FALSE])
  }
  theta
}

bend_component <- function(z, mean, sd, block) {
  switch(block,
    weight = ,
    prob = {
      size <- max(mean * (1 - mean) / sd^2 - 1, 0.01)
      stats::qbeta(stats::pnorm(z), mean * size, (1 - mean) * size)
    },
    mean = ,
    membership = mean + sd * z,
    bend_margin(z, mean, sd, block)
  )
}

# Entries of theta that are shares of one whole.
share_groups <- function(fit) {
  parameters <- fit$parameters
  groups <- list(weight = which(parameters$block == "weight"))
  for (name in fit$design$variables$name[fit$design$variables$type == "categorical"]) {
    levels <- fit$design$variables$levels[[match(name, fit$design$variables$name)]]
    for (j in seq_len(fit$k)) {
      rows <- match(paste0("prob__", name, ".", levels, "|", j), parameters$name)
      groups <- c(groups, list(rows))
    }
  }
  groups[lengths(groups) > 0]
}

#' @export
print.elbo_mixture_variational <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  component <- sub("^.*[|]([0-9]+)$", "\\1", names(x))
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
