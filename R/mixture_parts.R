# From the design of a mixture to what C is told of it, and to the names of theta.
#
#   mixture_model(design, k, method, covariance, told)   the list that C takes
#   fit_model(fit, design)                               that of a fit, and of new data under it
#   mixture_priors(prior, design, k, method)             list(stated, default, told): the prior of
#                                        each group of parameters, whether it is a default, and the
#                                        same by the names of C
#   mixture_parameters(design, k, covariance, told)      what C calls theta: name, block, component,
#                                        fixed; the block "latent" is no part of theta()
#   mixture_df(design, k, covariance, told)              number of free parameters
#   covariance_models(covariance, d, method)             names of models, checked

covariance_names <- c("EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV",
                      "VEV", "EVV", "VVV")
mixture_methods <- c("joint", "em", "vb")
regression_families <- c("gaussian", "binomial", "poisson")
class_types <- c("categorical", "binomial", "gaussian")

# What C takes ----------------------------------------------------------------------------------

mixture_model <- function(design, k, method, covariance, told) {
  parts <- list(weights = weights_part(design, k, told$weights))
  parts[[design$kind]] <- switch(design$kind,
    normal = normal_part(design, covariance, told$normal),
    regression = regression_part(design, k, told$regression),
    curves = curves_part(design, k, told$curves),
    classes = classes_part(design, told$classes)
  )
  list(method = match(method, mixture_methods) - 1L, k = as.integer(k), n_row = design$n_row,
       n_unit = design$n_unit, first = design$first, freq = design$freq, parts = parts)
}

fit_model <- function(fit, design = fit$design) {
  mixture_model(design, fit$k, fit$method, fit$covariance, fit$priors$told)
}

weights_part <- function(design, k, told) {
  alpha <- told$alpha
  if (told$law == "dirichlet") alpha <- rep(alpha, k)
  list(W = design$W, n_w = if (is.null(design$W)) 0L else ncol(design$W),
       constant = if (told$equal || k == 1) rep(1 / k, k), # a weight of one is no parameter
       law = match(told$law, c("flat", "dirichlet", "stick_breaking")) - 1L,
       alpha = alpha, coefficient_sd = told$coefficient_sd)
}

# A single response has the models E and V, which are EII and VII.
normal_part <- function(design, covariance, told) {
  model <- if (nchar(covariance) == 1) paste0(covariance, "II") else covariance
  c(list(Y = design$Y, d = ncol(design$Y), model = match(model, covariance_names) - 1L), told)
}

regression_part <- function(design, k, told) {
  common <- design$spec$common_sigma
  if (!is.null(told$sigma_constant) && !common) told$sigma_constant <- rep(told$sigma_constant, k)
  weights <- if (is.null(design$trials)) design$weights else design$trials
  c(list(X = design$X, p = ncol(design$X), y = design$y, weights = weights, offset = design$offset,
         family = match(design$spec$family$family, regression_families) - 1L,
         common_sigma = as.integer(common)), told)
}

classes_part <- function(design, told) {
  type <- match(design$variables$type, class_types) - 1L
  c(list(n_variable = length(type), type = type, levels = lengths(design$variables$levels),
         Y = design$Y), told)
}

# Covariance models -----------------------------------------------------------------------------

conjugate_models <- c("EII", "VII", "EEI", "VVI", "EEE", "VVV")

covariance_words <- c(spherical = "VII", diagonal = "VVI", full = "VVV", tied = "EEE")

# NULL means all that the method has.
covariance_models <- function(covariance, design, method) {
  if (design$kind != "normal") {
    if (is.null(covariance)) return(NA_character_)
    abort(c("`covariance` is for multivariate normal mixtures, as of cbind(a, b) ~ 1;",
            "this model has no covariance matrices."), "elbo_error_argument")
  }
  several <- ncol(design$Y) > 1
  valid <- if (!several) c("E", "V") else if (method == "vb") conjugate_models else covariance_names
  if (is.null(covariance)) return(valid)
  ok <- is.character(covariance) && length(covariance) > 0 && !anyNA(covariance)
  words <- if (ok) unname(covariance_words[covariance])
  named <- if (ok) unique(ifelse(is.na(words), covariance, words))
  # One response has no shape and no orientation.
  letter <- if (!several) named %in% covariance_names
  if (any(letter)) named <- unique(replace(named, letter, substr(named[letter], 1, 1)))
  if (ok && all(named %in% valid)) return(named)
  wrong <- if (ok) setdiff(named, valid)[1] else covariance
  conjugate <- method == "vb" && all(named %in% covariance_names)
  abort(c(sprintf("`covariance` must be NULL, or among %s and the words %s; not %s.",
                  toString(valid), toString(names(covariance_words)), describe_value(wrong)),
          if (conjugate) c("Under method \"vb\" only models with a conjugate prior are there;",
                           "method \"em\" has all 14.")), "elbo_error_argument")
}

# Of one component alone many models are the same: the first of each kind is fitted.
distinct_models <- function(models, k) {
  if (k > 1) return(models)
  models[!duplicated(gsub("V", "E", substr(models, 2, 3)))]
}

# Volume, shape and orientation are equal, vary by component, or (I) are none (Celeux and Govaert
# 1995, table 1).
covariance_df <- function(model, d, k) {
  times <- function(letter) switch(EXPR = letter, E = 1, V = k, I = 0)
  letters <- strsplit(paste0(model, if (nchar(model) == 1) "II"), "")[[1]]
  times(letters[1]) + (d - 1) * times(letters[2]) + d * (d - 1) / 2 * times(letters[3])
}

# theta -----------------------------------------------------------------------------------------

mixture_parameters <- function(design, k, covariance, told) {
  rows <- rbind(
    weight_parameters(design, k, told$weights),
    switch(design$kind,
      normal = normal_parameters(colnames(design$Y), k, covariance),
      regression = regression_parameters(design, k, told$regression),
      curves = curve_parameters(design, k, told$curves),
      classes = class_parameters(design$variables, k)
    )
  )
  row.names(rows) <- NULL
  rows
}

# `terms` of each of `components`, term by term within a component.
parameter_rows <- function(terms, block, components, fixed = FALSE) {
  name <- paste0(rep(terms, length(components)), "|", rep(components, each = length(terms)),
                 recycle0 = TRUE)
  data.frame(name = name, block = rep_len(block, length(name)),
             component = rep(components, each = length(terms)),
             fixed = rep_len(fixed, length(name)))
}

weight_parameters <- function(design, k, told) {
  if (is.null(design$W)) {
    return(parameter_rows("weight", "weight", seq_len(k), told$equal || k == 1))
  }
  parameter_rows(paste0("membership__", colnames(design$W)), "membership", seq_len(k)[-1])
}

normal_parameters <- function(variables, k, covariance) {
  d <- length(variables)
  cor <- if (d > 1) apply(utils::combn(variables, 2), 2, paste, collapse = ".")
  axes <- substr(covariance, 3, 3) == "I"
  rbind(parameter_rows(paste0("mean__", variables), "mean", seq_len(k)),
        parameter_rows(paste0("sd__", variables), "sd", seq_len(k)),
        if (d > 1) parameter_rows(paste0("cor__", cor), "cor", seq_len(k), axes))
}

regression_parameters <- function(design, k, told) {
  held <- !is.null(told$sigma_constant)
  rbind(
    parameter_rows(colnames(design$X), "beta", seq_len(k)),
    if (design$spec$family$family == "gaussian") {
      if (design$spec$common_sigma) {
        data.frame(name = "sigma", block = "sigma", component = NA_integer_, fixed = held)
      } else {
        parameter_rows("sigma", "sigma", seq_len(k), held)
      }
    }
  )
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

mixture_df <- function(design, k, covariance, told) {
  weights <- if (!is.null(design$W)) (k - 1) * ncol(design$W)
             else if (told$weights$equal) 0 else k - 1
  weights + switch(design$kind,
    normal = {
      d <- ncol(design$Y)
      k * d + covariance_df(covariance, d, k)
    },
    curves = curve_df(design, k, told$curves),
    regression = {
      sigma <- design$spec$family$family == "gaussian" && is.null(told$regression$sigma_constant)
      k * ncol(design$X) + sigma * (if (design$spec$common_sigma) 1 else k)
    },
    classes = k * sum(c(categorical = -1, binomial = 1, gaussian = 2)[design$variables$type] +
                        lengths(design$variables$levels) * (design$variables$type == "categorical"))
  )
}

# Priors ----------------------------------------------------------------------------------------

# A mixture's priors are the same for all components, whose labels mean nothing: they speak of
# blocks, of coefficients (`x` for x|1, x|2, ...) and of variables of classes.
prior_slots <- function(design) {
  weights <- if (is.null(design$W)) "weight" else "membership"
  slots <- switch(design$kind,
    normal = data.frame(name = "covariance", block = "covariance"),
    curves = curve_slots(design),
    regression = data.frame(
      name = c(colnames(design$X), if (design$spec$family$family == "gaussian") "sigma"),
      block = c(rep("beta", ncol(design$X)), if (design$spec$family$family == "gaussian") "sigma")
    ),
    classes = data.frame(
      name = design$variables$name,
      block = ifelse(design$variables$type == "gaussian", "covariance", "prob")
    )
  )
  rbind(data.frame(name = weights, block = weights), slots)
}

mixture_priors <- function(prior, design, k, method) {
  check_component_names(prior)
  slots <- prior_slots(design)
  stated <- resolve_priors(prior, slots, design$random$group)
  Map(check_mixture_prior, stated, slots$name, slots$block, method)
  default <- logical(length(stated))
  if (method == "vb") {
    defaults <- mixture_defaults(design, k)
    default <- lengths(stated) == 0 & lengths(defaults) > 0
    stated[default] <- defaults[default]
    stated <- Map(complete_covariance_prior, stated, defaults)
  }
  names(stated) <- slots$name
  rest <- stated[-1]
  told <- list(weights = told_weights(stated[[1]], k))
  told[[design$kind]] <- switch(design$kind,
    normal = told_normal(rest[[1]], colnames(design$Y)),
    regression = told_regression(rest, slots$block[-1]),
    curves = told_curves(rest, slots$block[-1], design, method),
    classes = told_classes(rest, slots$block[-1])
  )
  list(stated = stated, default = default, told = told)
}

check_component_names <- function(prior) {
  single <- grep("[|][0-9]+$", names(prior), value = TRUE)
  if (length(single) == 0) return()
  abort(c(sprintf("`prior` speaks of `%s` alone, but components have no names", single[1]),
          "before they are fitted: a prior is the same for all of them. Write the name without",
          "its `|`, or a block."), "elbo_error_prior")
}

# What a block takes by points on theta ("em", "joint") and by distributions ("vb").
mixture_distributions <- list(
  points = list(
    weight = c("constant", "dirichlet", "flat"),
    membership = c("normal", "flat"),
    covariance = c("inverse_wishart", "flat"),
    beta = c("normal", "flat"),
    sigma = c("half_t", "half_cauchy", "half_normal", "inverse_gamma", "flat", "constant"),
    prob = c("dirichlet", "flat"),
    sd = "constant",
    smooth = c("half_t", "half_cauchy", "half_normal", "inverse_gamma", "flat", "constant")
  ),
  vb = list(
    weight = c("dirichlet", "stick_breaking", "constant"),
    membership = "normal",
    covariance = c("inverse_wishart", "normal_inverse_wishart"),
    beta = "normal",
    sigma = c("half_t", "half_cauchy", "constant"),
    prob = "dirichlet",
    sd = "constant",
    smooth = c("half_t", "half_cauchy", "constant")
  )
)

check_mixture_prior <- function(prior, name, block, method) {
  if (is.null(prior)) return()
  allowed <- mixture_distributions[[if (method == "vb") "vb" else "points"]][[block]]
  if (!prior$distribution %in% allowed) {
    elsewhere <- prior$distribution %in% unlist(lapply(mixture_distributions, `[[`, block))
    other <- if (method == "vb") "em" else "vb"
    abort(c(sprintf("The prior %s cannot be used for `%s` by method \"%s\", which takes %s.",
                    format(prior), name, method, enumerate(paste0(allowed, "()"), 10)),
            if (elsewhere) sprintf("Method \"%s\" has it.", other)), "elbo_error_prior")
  }
  if (prior$distribution == "dirichlet" && method != "vb" && any(prior$parameters$alpha < 1)) {
    abort(c(sprintf("The prior %s of `%s` has no mode inside:", format(prior), name),
            "with theta as points alpha must be at least 1. Method \"vb\" takes any."),
          "elbo_error_prior")
  }
}

# Told to C ---------------------------------------------------------------------------------------

told_weights <- function(prior, k) {
  told <- list(law = "flat", alpha = NULL, equal = FALSE, coefficient_sd = Inf)
  par <- prior$parameters
  switch(if (is.null(prior)) "flat" else prior$distribution,
    constant = {
      if (abs(par$value * k - 1) > 1e-6) {
        abort(sprintf("Weights can be held equal, at constant(1/k), here 1/%d, not at %s.", k,
                      format(par$value)), "elbo_error_prior")
      }
      told$equal <- TRUE
    },
    dirichlet = {
      told$law <- "dirichlet"
      told$alpha <- same_alpha(par$alpha, "weight", k)
    },
    stick_breaking = {
      told$law <- "stick_breaking"
      told$alpha <- par$alpha
    },
    normal = {
      if (par$mean != 0) {
        abort("Membership coefficients take normal(0, sd) only: components have no order.",
              "elbo_error_prior")
      }
      told$coefficient_sd <- par$sd
    }
  )
  told
}

# Components have no names, so that a Dirichlet is symmetric.
same_alpha <- function(alpha, name, n = NULL) {
  if (length(alpha) %in% c(1, n) && all(alpha == alpha[1])) return(as.double(alpha[1]))
  abort(sprintf("The dirichlet() of `%s` must have one alpha, the same for all; not %s.", name,
                toString(alpha)), "elbo_error_prior")
}

# Density of a covariance matrix S of d variables proportional to
# |S|^(-(df + d + 1) / 2) exp(-tr(scale S^-1) / 2); under vb means are normal(mean, S / kappa).
told_normal <- function(prior, variables) {
  d <- length(variables)
  par <- prior$parameters
  told <- list(prior_df = 0, prior_scale = NULL, prior_mean = NULL, prior_kappa = 0)
  if (is.null(par$df)) return(told)
  told$prior_df <- as.double(check_wishart_df(par$df, d))
  told$prior_scale <- wishart_scale(par$scale, d)
  if (!is.null(par$mean)) {
    told$prior_mean <- wishart_mean(par$mean, d)
    told$prior_kappa <- as.double(par$kappa)
  }
  told
}

check_wishart_df <- function(df, d) {
  if (df > d - 1) return(df)
  abort(c(sprintf("The df of the prior of `covariance` must exceed %d, one less than", d - 1),
          sprintf("the responses; not %s.", format(df))), "elbo_error_prior")
}

wishart_scale <- function(scale, d) {
  if (length(scale) == 1) return(diag(as.double(scale), d))
  if (is.matrix(scale) && nrow(scale) == d) return(matrix(as.double(scale), d))
  abort(c("The scale of the prior of `covariance` must be a number or a",
          sprintf("%d x %d matrix, not %d x %d.", d, d, NROW(scale), NCOL(scale))),
        "elbo_error_prior")
}

wishart_mean <- function(mean, d) {
  if (length(mean) %in% c(1, d)) return(rep_len(as.double(mean), d))
  abort(sprintf("The mean of the prior of `covariance` must have %d numbers, not %d.", d,
                length(mean)), "elbo_error_prior")
}

told_regression <- function(priors, blocks) {
  beta <- priors[blocks == "beta"]
  sigma <- priors[blocks == "sigma"]
  beta[vapply(beta, is_flat, NA)] <- list(NULL)
  said <- any(lengths(beta) > 0)
  held <- length(sigma) > 0 && is_constant(sigma[[1]])
  if (held) check_constant(sigma[[1]]$parameters$value, "sigma", "sigma")
  law <- if (length(sigma) == 0 || held || is_flat(sigma[[1]])) list(NULL) else sigma
  list(sigma_constant = if (held) as.double(sigma[[1]]$parameters$value),
       beta_mean = if (said) prior_field(beta, "mean", 0),
       beta_sd = if (said) prior_field(beta, "sd", Inf),
       sigma_family = prior_family(law), sigma_df = prior_df(law),
       sigma_scale = prior_field(law, "scale", 1))
}

is_flat <- function(prior) is.null(prior) || prior$distribution == "flat"

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

# Defaults of vb ----------------------------------------------------------------------------------

# Weak, and on the scale of the data.
mixture_defaults <- function(design, k) {
  weights <- if (is.null(design$W)) distributions$dirichlet(1 / k) else default_membership(design$W)
  c(list(weights), switch(design$kind,
    normal = list(default_wishart(design$Y)),
    regression = default_regression(design),
    curves = default_curves(design),
    classes = Map(default_class, as.list(as.data.frame(design$Y)), design$variables$type)
  ))
}

# The prior of Fraley and Raftery (2007), with means in place. They divide by k^(2/d), so that
# components have a k-th of the volume; here it is 3 whatever k, so that the ELBOs of different k
# compare.
default_wishart <- function(Y) {
  d <- ncol(Y)
  spread <- unname(stats::cov(Y, use = if (anyNA(Y)) "pairwise.complete.obs" else "everything"))
  if (!isTRUE(is_covariance(spread))) spread <- diag(apply(Y, 2, stats::var, na.rm = TRUE), d)
  distributions$normal_inverse_wishart(
    mean = default_centre(colMeans(Y, na.rm = TRUE), sqrt(diag(spread))), kappa = 0.01, df = d + 2,
    scale = spread / 3^(2 / d)
  )
}

default_class <- function(y, type) {
  if (type == "gaussian") default_wishart(cbind(y)) else distributions$dirichlet(1)
}

default_membership <- function(W) {
  sd <- apply(W[, -1, drop = FALSE], 2, stats::sd)
  distributions$normal(0, signif(10 / min(1, sd[sd > 0]), 3))
}

# On the scale of the linear predictor: binomial and Poisson responses have unit one.
default_regression <- function(design) {
  family <- design$spec$family
  y <- design$y / if (is.null(design$trials)) 1 else design$trials
  gaussian <- family$family == "gaussian"
  unit <- if (gaussian) default_unit(y) else 1
  offset <- if (is.null(design$offset)) 0 else mean(design$offset)
  c(default_coefficients(design$X, family$linkfun(mean(y)) - offset, unit),
    if (gaussian) list(default_sd(unit)))
}

# A stated inverse Wishart says nothing of means, which keep their default.
complete_covariance_prior <- function(prior, default) {
  if (!identical(default$distribution, "normal_inverse_wishart")) return(prior)
  if (prior$distribution != "inverse_wishart") return(prior)
  do.call(distributions$normal_inverse_wishart,
          c(default$parameters[c("mean", "kappa")], prior$parameters))
}
