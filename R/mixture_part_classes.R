# Latent classes.

# The way in ------------------------------------------------------------------------------------

class_types <- c("categorical", "binomial", "gaussian")

check_plain_classes <- function(plain, family, weighted) {
  if (!plain) {
    abort(c("The right-hand side of responses() ~ 1 is 1: given its class a unit's responses",
            "depend on nothing else. Covariates of the class belong into `membership`."),
          "elbo_error_formula")
  }
  if (family$family != "gaussian") {
    abort(c("responses() takes the law of each variable from its type (factor: categorical,",
            "logical: binomial, numeric: Gaussian). Leave out `family`."), "elbo_error_argument")
  }
  if (weighted) {
    abort(c("`weights` are precision weights, which responses() does not have. Copies of a row",
            "are counted by `freq`."), "elbo_error_argument")
  }
}

# responses(.) are all columns that are not used elsewhere.
expand_responses <- function(lhs, columns, used) {
  arguments <- as.list(lhs)[-1]
  dots <- vapply(arguments, identical, NA, quote(.))
  if (any(dots)) {
    named <- unlist(lapply(arguments[!dots], all.vars))
    arguments <- c(arguments[!dots], lapply(setdiff(columns, c(named, used)), as.name))
  }
  if (anyDuplicated(arguments)) {
    twice <- deparse_line(arguments[duplicated(arguments)][[1]])
    abort(sprintf("responses() has `%s` twice.", twice), "elbo_error_formula")
  }
  if (length(arguments) == 0) {
    abort("responses() needs the variables of the classes, as in responses(a, b) ~ 1.",
          "elbo_error_formula")
  }
  as.call(c(lhs[[1]], arguments))
}

class_names <- function(spec) {
  arguments <- as.list(spec$lhs)[-1]
  names <- vapply(arguments, deparse_line, "")
  given <- names(arguments)
  if (!is.null(given)) names[nzchar(given)] <- given[nzchar(given)]
  unname(names)
}

class_type <- function(x) {
  if (is.factor(x) || is.character(x)) return("categorical")
  if (is.logical(x)) "binomial" else "gaussian"
}

check_class_variable <- function(x, name) {
  categorical <- is.factor(x) || is.character(x)
  if (!(categorical || is_numeric_vector(x)) || (is.object(x) && !is.factor(x))) {
    abort(c(sprintf("`%s` must be a factor, a logical or a number, not %s;", name,
                    describe_value(x)), "a matrix gives its columns to responses() one by one."),
          "elbo_error_data")
  }
}

# Levels as codes, logicals as 0 and 1.
class_matrix <- function(variables, names) {
  type <- unname(vapply(variables, class_type, ""))
  levels <- vector("list", length(type))
  categorical <- type == "categorical"
  variables[categorical] <- lapply(variables[categorical], as.factor)
  levels[categorical] <- lapply(variables[categorical], levels)
  levels[type == "binomial"] <- list(c("FALSE", "TRUE"))
  Y <- vapply(variables, as.double, numeric(nrow(variables)))
  list(Y = matrix(Y, nrow(variables), dimnames = list(NULL, names)),
       variables = data.frame(name = names, type = type, levels = I(levels)))
}

check_class_columns <- function(design) {
  check_constant_columns(design$Y)
  check_ids(design)
  numbers <- which(design$variables$type == "gaussian")
  values <- vapply(numbers, function(v) length(unique(stats::na.omit(design$Y[, v]))), 0L)
  few <- numbers[values <= 5]
  if (length(few) == 0) return()
  message("Taken as numbers, with a mean and a standard deviation in each class: ",
          quote_names(colnames(design$Y)[few]),
          ". Write factor() where the few values are categories.")
}

# Names of the rows are no item.
check_ids <- function(design) {
  levels <- lengths(design$variables$levels)
  rows <- colSums(!is.na(design$Y))
  ids <- design$variables$type == "categorical" & levels > 10 & levels > rows / 2
  if (!any(ids)) return()
  first <- which(ids)[1]
  text <- c(sprintf("%s %s", quote_names(colnames(design$Y)[ids]),
                    if (sum(ids) == 1) "has" else "have"),
            sprintf("a level for %s row (%d in %d): names of the rows, not an item. Leave it",
                    if (levels[first] == rows[first]) "each" else "nearly each", levels[first],
                    rows[first]),
            "out of responses(), or name it as `unit`.")
  if (any(levels[ids] == rows[ids])) abort(text, "elbo_error_data")
  warn(text, "elbo_warning_data")
}

classes_part <- function(design, told) {
  type <- match(design$variables$type, class_types) - 1L
  c(list(n_variable = length(type), type = type, levels = lengths(design$variables$levels),
         Y = design$Y), told)
}

class_parameters <- function(variables, k) {
  of_variable <- function(name, type, levels) {
    switch(type,
      categorical = parameter_rows(paste0("prob__", name, ".", levels), "prob", seq_len(k)),
      binomial = parameter_rows(paste0("prob__", name), "prob", seq_len(k)),
      gaussian = rbind(parameter_rows(paste0("mean__", name), "mean", seq_len(k)),
                       parameter_rows(paste0("sd__", name), "sd", seq_len(k)))
    )
  }
  do.call(rbind, Map(of_variable, variables$name, variables$type, variables$levels))
}

# The variance of a numeric variable, a covariance matrix of order one, is inverse
# gamma(df / 2, scale / 2).
told_classes <- function(priors, blocks) {
  priors[vapply(priors, is_flat, NA)] <- list(NULL)
  alpha <- lapply(priors[blocks == "prob" & lengths(priors) > 0], function(p) p$parameters$alpha)
  alpha <- if (length(alpha) > 0) same_alpha(unlist(alpha), "prob", length(unlist(alpha))) else NaN
  numbers <- blocks == "covariance"
  said <- numbers & lengths(priors) > 0
  told <- list(alpha = alpha, mean0 = NULL, kappa0 = NULL, shape0 = NULL, rate0 = NULL)
  if (!any(said)) return(told)
  if (!all(said == numbers)) {
    abort("Give a prior of `covariance` to all numeric variables of responses(), or to none.",
          "elbo_error_prior")
  }
  as_told <- lapply(priors[said], told_normal, "")
  field <- function(name, factor) {
    values <- numeric(length(priors))
    values[said] <- factor * vapply(as_told, function(told) told[[name]][1], 0)
    values
  }
  told$shape0 <- field("prior_df", 0.5)
  told$rate0 <- field("prior_scale", 0.5)
  if (is.null(as_told[[1]]$prior_mean)) return(told)
  told$mean0 <- field("prior_mean", 1)
  told$kappa0 <- field("prior_kappa", 1)
  told
}

default_class <- function(y, type) {
  if (type == "gaussian") default_wishart(cbind(y)) else distributions$dirichlet(1)
}

# Categories as indicators, which together count as one variable.
class_features <- function(design) {
  columns <- Map(function(y, type, levels) {
    if (type != "categorical") return(cbind(y))
    outer(y, order(levels), `==`) / sqrt(length(levels)) # by name, whatever the order of levels
  }, as.list(as.data.frame(design$Y)), design$variables$type, design$variables$levels)
  do.call(cbind, unname(columns))
}

# The way out -----------------------------------------------------------------------------------

class_components <- function(fit) {
  values <- component_values(fit, "prob", "prob__")
  variables <- fit$design$variables
  variables <- variables[variables$type != "gaussian", ]
  probability <- Map(function(name, type, levels) {
    yes <- values[, name[type == "binomial"], drop = FALSE]
    P <- if (type == "binomial") cbind(1 - yes, yes)
         else values[, paste0(name, ".", levels), drop = FALSE]
    dimnames(P) <- list(rownames(values), levels)
    P
  }, variables$name, variables$type, variables$levels)
  c(list(probability = probability), normal_components(fit))
}

# k x columns, in the order of the variables: `of_share` of probabilities (of a logical that of
# TRUE), or `numeric`.
class_values <- function(fit, of_share, numeric) {
  probability <- class_components(fit)$probability
  columns <- Map(function(name, type) {
    switch(type,
      gaussian = numeric[, name, drop = FALSE],
      binomial = of_share(class_columns(probability[[name]][, 2, drop = FALSE], name)),
      categorical = of_share(class_columns(probability[[name]],
                                           paste0(name, ".", colnames(probability[[name]]))))
    )
  }, fit$design$variables$name, fit$design$variables$type)
  do.call(cbind, unname(columns))
}

class_columns <- function(values, names) {
  colnames(values) <- names
  values
}

class_draws <- function(fit, component) {
  parts <- class_components(fit)
  variables <- fit$design$variables
  columns <- lapply(seq_along(variables$name), function(v) {
    name <- variables$name[v]
    if (variables$type[v] == "gaussian") {
      sd <- sqrt(parts$covariance[cbind(component, match(name, colnames(parts$mean)),
                                        match(name, colnames(parts$mean)))])
      return(stats::rnorm(length(component), parts$mean[component, name], sd))
    }
    level <- category_draws(parts$probability[[name]], component)
    as.double(if (variables$type[v] == "binomial") level - 1 else level)
  })
  do.call(cbind, columns)
}

# Classes of categories have no more parameters than there are cells in the table of all responses.
cell_words <- function(fit) {
  if (fit$kind != "classes" || any(fit$design$variables$type == "gaussian")) return()
  cells <- prod(lengths(fit$design$variables$levels)) - 1
  if (fit$df_parameters <= cells) return()
  sprintf("%s, but the table of the responses has %s: use fewer components.",
          count_words(fit$df_parameters, "free parameter"), count_words(cells, "free cell"))
}

# Variational Bayes -----------------------------------------------------------------------------

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

class_pieces <- function(fit) {
  told <- fit$priors$told$classes
  variables <- fit$design$variables
  pieces <- lapply(seq_len(fit$k), function(j) {
    lapply(seq_along(variables$name), function(v) class_piece(fit, told, variables, v, j))
  })
  unlist(pieces, recursive = FALSE)
}

class_piece <- function(fit, told, variables, v, j) {
  name <- variables$name[v]
  at <- function(words) match(paste0(words, "|", j), fit$parameters$name)
  if (variables$type[v] == "categorical") {
    levels <- variables$levels[[v]]
    return(share_piece(at(paste0("prob__", name, ".", levels)), j, paste(name, levels[-1]),
                       log_dirichlet(told$alpha, length(levels))))
  }
  if (variables$type[v] == "binomial") {
    law <- log_dirichlet(told$alpha, 2)
    return(piece(at(paste0("prob__", name)), j, name, stats::qlogis, function(x) {
      log_share <- cbind(stats::plogis(x, log.p = TRUE), stats::plogis(-x, log.p = TRUE))
      list(theta = stats::plogis(x), log_prior = law(log_share) + rowSums(log_share))
    }))
  }
  variance <- log_root_inverse_gamma(told$shape0[v], told$rate0[v])
  piece(at(paste0(c("mean__", "sd__"), name)), j, paste(c("mean", "sd"), name),
        function(theta) c(theta[1], log(theta[2])), function(x) {
    sd <- exp(x[, 2])
    list(theta = cbind(x[, 1], sd),
         log_prior = variance(sd) + x[, 2] +
           stats::dnorm(x[, 1], told$mean0[v], sd / sqrt(told$kappa0[v]), log = TRUE))
  })
}

probability_columns <- function(fit, theta) {
  variables <- fit$design$variables
  at <- function(words, j) {
    t(theta[, match(paste0(words, "|", j), fit$parameters$name), drop = FALSE])
  }
  numbers <- variables$name[variables$type == "gaussian"]
  of_component <- function(words) {
    do.call(rbind, lapply(seq_len(fit$k), function(j) at(words, j)))
  }
  discrete <- which(variables$type != "gaussian")
  probability <- lapply(seq_len(fit$k), function(j) {
    do.call(rbind, lapply(discrete, function(v) {
      if (variables$type[v] == "categorical") {
        return(at(paste0("prob__", variables$name[v], ".", variables$levels[[v]]), j))
      }
      p <- at(paste0("prob__", variables$name[v]), j)
      rbind(1 - p, p)
    }))
  })
  c(if (length(discrete) > 0) list(probability = do.call(rbind, probability)),
    if (length(numbers) > 0) {
      list(mean = of_component(paste0("mean__", numbers)),
           variance = of_component(paste0("sd__", numbers))^2)
    })
}

# Pictures --------------------------------------------------------------------------------------

plot_profiles <- function(fit) {
  variables <- fit$design$variables
  values <- component_means(fit, fit$design)
  numeric <- colnames(values) %in% variables$name[variables$type == "gaussian"]
  if (any(!numeric)) draw_profiles(fit, values[, !numeric, drop = FALSE], c(0, 1), "Probabilities")
  if (any(numeric)) {
    Y <- fit$design$Y[, colnames(values)[numeric], drop = FALSE]
    centred <- sweep(values[, numeric, drop = FALSE], 2, colMeans(Y, na.rm = TRUE))
    scaled <- sweep(centred, 2, apply(Y, 2, stats::sd, na.rm = TRUE), "/")
    draw_profiles(fit, scaled, range(scaled, -1, 1), "Means / standard deviation")
  }
}

draw_profiles <- function(fit, values, range, title) {
  n <- ncol(values)
  shown <- occupied(fit)
  longest <- max(graphics::strwidth(colnames(values), "inches", cex = 0.8))
  old <- graphics::par(mai = replace(graphics::par("mai"), 2, longest + 0.3))
  on.exit(graphics::par(old))
  graphics::plot(range, c(1, n), type = "n", xlab = "", ylab = "", yaxt = "n",
                 ylim = c(n + 0.5 + 0.15 * n, 0.5), main = title)
  graphics::abline(h = seq_len(n), col = "grey90")
  graphics::axis(2, seq_len(n), colnames(values), tick = FALSE, cex.axis = 0.8, line = -0.5,
                 gap.axis = 0)
  # Components that agree lie beside each other rather than over each other.
  shift <- min(0.12, 0.6 / length(shown)) * (seq_along(shown) - (length(shown) + 1) / 2)
  for (i in seq_along(shown)) {
    j <- shown[i]
    graphics::points(values[j, ], seq_len(n) + shift[i], lwd = 2,
                     pch = component_symbols(fit$k)[j], col = component_colours(fit$k)[j])
  }
  component_legend(fit, "bottom", horiz = TRUE)
}
