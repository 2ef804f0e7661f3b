# Latent classes.

mixture_laws$classes <- function() {
  new_mixture_law(
    part = "classes", marker = "responses", expand = expand_classes, claims = claims_classes,
    by_row = FALSE,
    responses = function(lhs) unname(as.list(lhs)[-1]), check_response = check_class_variables,
    response_rows = function(responses, spec) class_matrix(responses, class_names(spec)),
    levels = function(fit) design_of(fit)$variables$levels, check_design = check_class_columns,
    model = classes_part, parameters = class_parameters, df = class_df, slots = class_slots,
    told = told_classes, defaults = default_classes, collapse_words = collapse_of_variance,
    collapse_prior = class_prior_text, features = class_features,
    start_makers = function() scaled_makers(seeds = 3, few_units = 0, random = 14),
    sort_keys = class_keys, least_variances = class_least, components = class_components,
    means = means_of_classes, variances = class_variances, observed = observed_classes,
    draw = draw_classes, drawn = drawn_classes, theta_fields = class_fields,
    point_fields = probability_columns, ridge_notes = cell_words,
    pictures = class_pictures, factors = class_factors, mean_field = class_blocks,
    shared_priors = discrete_variables, pieces = class_pieces
  )
}
# The way in ------------------------------------------------------------------------------------

class_types <- c("categorical", "binomial", "gaussian")

expand_classes <- function(formula, columns) {
  if (!inherits(formula, "formula") || length(formula) != 3 || !is_classes(formula[[2]])) {
    return(formula)
  }
  formula[[2]] <- expand_responses(formula[[2]], columns, all.vars(formula[[3]]))
  formula
}

is_classes <- function(lhs) is_call_to(lhs, "responses")

claims_classes <- function(parsed, family, weighted) {
  if (length(parsed$bars) > 0 || !is_classes(parsed$fixed[[2]])) return(FALSE)
  if (!is_plain(parsed)) {
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
  TRUE
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

check_class_variables <- function(frame, spec) {
  Map(check_class_variable, frame[response_columns(spec)], class_names(spec))
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
  warn_of_collinear(collinear_columns(design$Y[, numbers, drop = FALSE]),
                    "taken as independent given the class, they count the same twice.")
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

classes_part <- function(design, k, covariance, told) {
  type <- match(design$variables$type, class_types) - 1L
  c(list(n_variable = length(type), type = type, levels = lengths(design$variables$levels),
         Y = design$Y), told)
}

class_parameters <- function(design, k, covariance, told) {
  variables <- design$variables
  of_variable <- function(name, type, levels) {
    if (type == "gaussian") {
      return(rbind(of_components(parameter_rows("mean", name), seq_len(k)),
                   of_components(parameter_rows("sd", name), seq_len(k))))
    }
    level <- if (type == "categorical") levels else NA
    of_components(parameter_rows("prob", name, level), seq_len(k))
  }
  do.call(rbind, Map(of_variable, variables$name, variables$type, variables$levels))
}

# Whose probabilities share one prior.
discrete_variables <- function(design) {
  design$variables$name[design$variables$type != "gaussian"]
}

class_prior_text <- function(design, k) {
  "priors(covariance = inverse_wishart(3, s)) with s a small part of the variance"
}

class_df <- function(design, k, covariance, told) {
  variables <- design$variables
  k * sum(c(categorical = -1, binomial = 1, gaussian = 2)[variables$type] +
            lengths(variables$levels) * (variables$type == "categorical"))
}

class_slots <- function(design) {
  variables <- design$variables
  data.frame(name = variables$name,
             block = ifelse(variables$type == "gaussian", "covariance", "prob"))
}

default_classes <- function(design) {
  Map(default_class, as.list(as.data.frame(design$Y)), design$variables$type)
}

# The variance of a numeric variable, a covariance matrix of order one, is inverse
# gamma(df / 2, scale / 2).
told_classes <- function(priors, blocks, ...) {
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

class_least <- function(part, state) {
  numbers <- part$Y[, part$type == 2L, drop = FALSE]
  if (!is.null(part$shape0) || ncol(numbers) == 0) return(1)
  apply(state$variance / column_sds(numbers)^2, 2, min)
}

# Levels by their names.
class_keys <- function(design) {
  Y <- design$Y
  levels <- design$variables$levels
  for (v in which(design$variables$type == "categorical")) {
    Y[, v] <- rank(levels[[v]])[Y[, v]]
  }
  Y
}

# Categories as indicators, which together count as one variable.
class_features <- function(design) {
  columns <- Map(function(y, type, levels) {
    if (type != "categorical") return(cbind(y))
    outer(y, order(levels), `==`) / sqrt(length(levels)) # by name, whatever the order of levels
  }, as.list(as.data.frame(design$Y)), design$variables$type, design$variables$levels)
  do.call(cbind, unname(columns))
}

class_fields <- function(fit, fields) {
  parts <- class_components(fit)
  probability <- t(do.call(cbind, unname(parts$probability)))
  if (length(probability) > 0) fields$probability <- probability
  if (ncol(parts$mean) > 0) {
    fields$mean <- t(parts$mean)
    fields$variance <- t(component_values(fit, "sd"))^2
  }
  fields
}

# The way out -----------------------------------------------------------------------------------

class_components <- function(fit) {
  variables <- design_of(fit)$variables
  variables <- variables[variables$type != "gaussian", ]
  probability <- Map(function(name, type, levels) {
    P <- matrix(theta(fit)[which_parameters(fit, "prob", name)], n_components(fit), byrow = TRUE)
    if (type == "binomial") P <- cbind(1 - P, P)
    dimnames(P) <- list(component_labels(fit), levels)
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
  }, design_of(fit)$variables$name, design_of(fit)$variables$type)
  do.call(cbind, unname(columns))
}

class_columns <- function(values, names) {
  colnames(values) <- names
  values
}

means_of_classes <- function(fit, design) {
  class_values(fit, identity, component_values(fit, "mean"))
}

class_variances <- function(fit, design) {
  class_values(fit, function(p) p * (1 - p), component_values(fit, "sd")^2)
}

observed_classes <- function(fit) {
  design <- design_of(fit)
  columns <- Map(function(j, type, levels) {
    y <- design$Y[, j, drop = FALSE]
    if (type == "categorical") outer(y[, 1], seq_along(levels), `==`) + 0 else y
  }, seq_len(ncol(design$Y)), design$variables$type, design$variables$levels)
  columns <- do.call(cbind, columns)
  colnames(columns) <- colnames(component_means(fit, design))
  columns
}

draw_classes <- function(fit, design, component) {
  replace(design, "Y", list(class_draws(fit, component[unit_of_row(design)])))
}

drawn_classes <- function(design, pad) {
  codes <- as.matrix(pad(design$Y))
  row_names <- rownames(codes)
  rownames(codes) <- NULL
  columns <- Map(function(v, type, levels) {
    switch(type,
      categorical = factor(levels[codes[, v]], levels), binomial = codes[, v] == 1, codes[, v]
    )
  }, seq_len(ncol(codes)), design$variables$type, design$variables$levels)
  names(columns) <- design$variables$name
  structure(columns, row.names = row_names, class = "data.frame")
}

class_draws <- function(fit, component) {
  parts <- class_components(fit)
  variables <- design_of(fit)$variables
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
  if (any(design_of(fit)$variables$type == "gaussian")) return()
  cells <- prod(lengths(design_of(fit)$variables$levels)) - 1
  if (n_free(fit) <= cells) return()
  sprintf("%s, but the table of the responses has %s: use fewer components.",
          count_words(n_free(fit), "free parameter"), count_words(cells, "free cell"))
}

# Variational Bayes -----------------------------------------------------------------------------

class_factors <- function(fit) {
  state <- state_of(fit)$classes
  variables <- design_of(fit)$variables
  discrete <- variables$type != "gaussian"
  size <- ifelse(discrete, lengths(variables$levels), 0)
  first <- cumsum(size) - size
  number <- cumsum(!discrete)
  factors <- lapply(seq_along(size), function(v) {
    of_component <- lapply(seq_len(n_components(fit)), function(j) {
      if (!discrete[v]) {
        at <- number[v]
        return(list(family = "normal inverse gamma", shape = state$shape[at, j],
                    rate = state$rate[at, j], mean = state$mean[at, j], kappa = state$kappa[at, j]))
      }
      alpha <- state$alpha[first[v] + seq_len(size[v]), j]
      list(family = "Dirichlet", alpha = stats::setNames(alpha, variables$levels[[v]]))
    })
    what <- if (discrete[v]) "prob__" else "mean, sigma^2__"
    factors_by_component(of_component, paste0(what, variables$name[v]), seq_along(of_component))
  })
  unlist(factors, recursive = FALSE)
}

class_blocks <- function(fit) {
  factors <- class_factors(fit)
  variables <- design_of(fit)$variables$name
  of <- expand.grid(component = seq_len(n_components(fit)), variable = variables,
                    stringsAsFactors = FALSE) # the order of the factors
  blocks <- Map(function(f, variable, j) {
    at <- function(block) which_parameters(fit, block, variable, component = j)
    if (f$family == "Dirichlet") {
      cov <- dirichlet_covariance(f$alpha)
      rows <- at("prob")
      return(list(list(rows = rows, cov = if (length(rows) == 1) cov[2, 2] else cov)))
    }
    list(list(rows = at("mean"), cov = f$rate / (f$shape - 1) / f$kappa),
         list(rows = at("sd"), cov = inverse_gamma_sd_variance(f$shape, f$rate)))
  }, factors, of$variable, of$component)
  unlist(unname(blocks), recursive = FALSE)
}

class_pieces <- function(fit) {
  told <- priors_of(fit)$told$classes
  variables <- design_of(fit)$variables
  pieces <- lapply(seq_len(n_components(fit)), function(j) {
    lapply(seq_along(variables$name), function(v) class_piece(fit, told, variables, v, j))
  })
  unlist(pieces, recursive = FALSE)
}

class_piece <- function(fit, told, variables, v, j) {
  name <- variables$name[v]
  at <- function(blocks) which_parameters(fit, blocks, name, component = j)
  if (variables$type[v] == "categorical") {
    levels <- variables$levels[[v]]
    return(share_piece(at("prob"), j, paste(name, levels[-1]),
                       log_dirichlet(told$alpha, length(levels))))
  }
  if (variables$type[v] == "binomial") {
    law <- log_dirichlet(told$alpha, 2)
    return(piece(at("prob"), j, name, stats::qlogis, function(x) {
      log_share <- cbind(stats::plogis(x, log.p = TRUE), stats::plogis(-x, log.p = TRUE))
      list(theta = stats::plogis(x), log_prior = law(log_share) + rowSums(log_share))
    }))
  }
  variance <- log_root_inverse_gamma(told$shape0[v], told$rate0[v])
  piece(at(c("mean", "sd")), j, paste(c("mean", "sd"), name),
        function(theta) c(theta[1], log(theta[2])), function(x) {
    sd <- exp(x[, 2])
    list(theta = cbind(x[, 1], sd),
         log_prior = variance(sd) + x[, 2] +
           stats::dnorm(x[, 1], told$mean0[v], sd / sqrt(told$kappa0[v]), log = TRUE))
  })
}

probability_columns <- function(fit, theta) {
  variables <- design_of(fit)$variables
  at <- function(block, name, j) {
    t(theta[, which_parameters(fit, block, name, component = j), drop = FALSE])
  }
  numbers <- variables$name[variables$type == "gaussian"]
  of_component <- function(block) {
    do.call(rbind, lapply(seq_len(n_components(fit)), function(j) at(block, numbers, j)))
  }
  discrete <- which(variables$type != "gaussian")
  probability <- lapply(seq_len(n_components(fit)), function(j) {
    do.call(rbind, lapply(discrete, function(v) {
      p <- at("prob", variables$name[v], j)
      if (variables$type[v] == "categorical") p else rbind(1 - p, p)
    }))
  })
  c(if (length(discrete) > 0) list(probability = do.call(rbind, probability)),
    if (length(numbers) > 0) list(mean = of_component("mean"), variance = of_component("sd")^2))
}
