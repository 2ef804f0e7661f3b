# From the design of a mixture to what C is told of it, and to the names of theta.
#
#   mixture_model(design, k, method, covariance, told)   the list that C takes
#   fit_model(fit, design)                               that of a fit, and of new data under it
#   mixture_priors(prior, design, k, method)             list(stated, default, told): the prior of
#                                        each group of parameters, whether it is a default, and the
#                                        same by the names of C
#   mixture_parameters(design, k, covariance, told)      the table of what C calls theta; the block
#                                        "latent" is no part of theta()
#   mixture_df(design, k, covariance, told)              number of free parameters

mixture_methods <- c("joint", "em", "vb")

# What C takes ----------------------------------------------------------------------------------

mixture_model <- function(design, k, method, covariance, told) {
  law <- law_of(design)
  parts <- list(weights = weights_part(design, k, told$weights))
  parts[[law$part]] <- law$model(design, k, covariance, told[[design$kind]])
  list(kind = design$kind, method = match(method, mixture_methods) - 1L, k = as.integer(k),
       n_row = design$n_row, n_unit = design$n_unit, first = design$first, freq = design$freq,
       parts = parts)
}

fit_model <- function(fit, design = design_of(fit)) {
  mixture_model(design, n_components(fit), method_of(fit), covariance_model(fit),
                priors_of(fit)$told)
}

# theta -----------------------------------------------------------------------------------------

mixture_parameters <- function(design, k, covariance, told) {
  rows <- rbind(
    weight_parameters(design, k, told$weights),
    law_of(design)$parameters(design, k, covariance, told[[design$kind]])
  )
  row.names(rows) <- NULL
  rows
}

mixture_df <- function(design, k, covariance, told) {
  weights_df(design, k, told$weights) +
    law_of(design)$df(design, k, covariance, told[[design$kind]])
}

# Priors ----------------------------------------------------------------------------------------

# A mixture's priors are the same for all components, whose labels mean nothing: they speak of
# blocks, of coefficients (`x` for x|1, x|2, ...) and of variables of classes.
prior_slots <- function(design) {
  rbind(weight_slots(design), law_of(design)$slots(design))
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
  told <- list(weights = told_weights(stated[[1]], k))
  told[[design$kind]] <- law_of(design)$told(stated[-1], slots$block[-1], design, method)
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

# Components have no names, so that a Dirichlet is symmetric.
same_alpha <- function(alpha, name, n = NULL) {
  if (length(alpha) %in% c(1, n) && all(alpha == alpha[1])) return(as.double(alpha[1]))
  abort(sprintf("The dirichlet() of `%s` must have one alpha, the same for all; not %s.", name,
                toString(alpha)), "elbo_error_prior")
}

is_flat <- function(prior) is.null(prior) || prior$distribution == "flat"

# Defaults of vb ----------------------------------------------------------------------------------

# Weak, and on the scale of the data.
mixture_defaults <- function(design, k) {
  c(list(default_weights(design, k)), law_of(design)$defaults(design))
}

# A stated inverse Wishart says nothing of means, which keep their default.
complete_covariance_prior <- function(prior, default) {
  if (!identical(default$distribution, "normal_inverse_wishart")) return(prior)
  if (prior$distribution != "inverse_wishart") return(prior)
  do.call(distributions$normal_inverse_wishart,
          c(default$parameters[c("mean", "kappa")], prior$parameters))
}
