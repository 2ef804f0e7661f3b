# Mixtures of normal laws.

mixture_laws$normal <- function() {
  new_mixture_law(
    part = "normal", claims = claims_normal, by_row = FALSE,
    check_response = check_normal_response, response_rows = normal_rows,
    check_design = check_normal_design, newdata = normal_newdata,
    sigma_words = "Here say covariance = \"EEE\", or \"E\" for one response.",
    model = normal_part, parameters = normal_parameters, df = normal_df, slots = normal_slots,
    told = told_normals, defaults = function(design) list(default_wishart(design$Y)),
    covariance_models = covariance_models, distinct_models = distinct_models,
    flaws = flaws_of_normals, hopeless = hopeless_normal, misfit = far_apart,
    collapse_words = collapse_of_variance,
    collapse_prior = covariance_prior_text, collapse_sharing = shared_covariance,
    features = function(design) design$Y, start_makers = sphered_makers,
    least_variances = normal_least, n_terms = function(part) part$d,
    components = normal_components, sigma = normal_sigma, means = normal_means,
    variances = normal_variances, draw = draw_normal, unconstrained = normal_unconstrained,
    theta_fields = normal_fields, point_fields = normal_points, renamed = normal_renamed,
    sentence = covariance_sentence,
    is_kmeans = function(fit) covariance_model(fit) %in% c("EII", "E"), pictures = normal_pictures,
    factors = normal_factors, mean_field = normal_mean_field, shared_scales = shared_scales,
    pieces = normal_pieces
  )
}
# The way in ------------------------------------------------------------------------------------

claims_normal <- function(parsed, family, weighted) {
  length(parsed$bars) == 0 && is_plain(parsed) && family$family == "gaussian" && !weighted
}

check_normal_response <- function(frame, spec) {
  y <- frame[[1]]
  name <- deparse_line(spec$lhs)
  if (!is.numeric(y) && !is.logical(y)) {
    abort(c(sprintf("The response `%s` must be numeric, not %s;", name, describe_value(y)),
            "factors belong into responses() ~ 1."), "elbo_error_data")
  }
}

normal_rows <- function(responses, spec) list(Y = normal_matrix(responses[[1]], spec$lhs))

normal_matrix <- function(y, lhs) {
  names <- column_names(y, lhs)
  if (is.matrix(y) && is.double(y) && identical(dimnames(y), list(NULL, names))) return(y)
  matrix(as.double(y), NROW(y), dimnames = list(NULL, names))
}

# cbind(a, log(b)) names the columns that are plain variables only.
column_names <- function(y, lhs) {
  if (!is.matrix(y)) return(deparse_line(lhs))
  names <- colnames(y)
  if (is.null(names)) names <- character(ncol(y))
  arguments <- if (is_call_to(lhs, "cbind")) as.list(lhs)[-1]
  blank <- !nzchar(names)
  names[blank] <- if (length(arguments) == ncol(y)) vapply(arguments[blank], deparse_line, "")
                  else paste0("y", seq_along(names))[blank]
  if (anyDuplicated(names)) {
    abort(sprintf("The response has two columns `%s`; give them names of their own.",
                  names[anyDuplicated(names)]), "elbo_error_data")
  }
  names
}

check_normal_design <- function(design) {
  check_constant_columns(design$Y)
  warn_of_collinear(design$flaws$collinear,
                    c("covariance models with correlations are singular, and those without count",
                      "the same twice."))
}

# A matrix of the responses, or a data frame of its columns, where the response of the fit is one.
normal_newdata <- function(newdata, fit) {
  lhs <- design_of(fit)$spec$lhs
  names <- colnames(design_of(fit)$Y)
  if (is.matrix(newdata) && is.numeric(newdata) && ncol(newdata) == length(names)) {
    if (is.name(lhs) || is.null(colnames(newdata))) colnames(newdata) <- names
    newdata <- as.data.frame(newdata)
  }
  of_matrix <- is.data.frame(newdata) && is.name(lhs) && is.matrix(frame_of(fit)[[1]])
  if (of_matrix && !deparse(lhs) %in% names(newdata) && all(names %in% names(newdata))) {
    newdata <- as.data.frame(newdata)
    newdata[[deparse(lhs)]] <- as.matrix(newdata[names])
  }
  newdata
}

# A response that is a linear combination of others says nothing new, and a covariance matrix with
# it is singular.
warn_of_collinear <- function(names, consequence) {
  if (length(names) == 0) return()
  warn(c(sprintf("%s %s a linear combination of the other responses:", quote_names(names),
                 if (length(names) == 1) "is" else "are each"), consequence, "Leave it out."),
       "elbo_warning_data")
}

collinear_columns <- function(Y) {
  if (ncol(Y) < 2) return(character())
  if (anyNA(Y)) Y <- Y[rowSums(is.na(Y)) == 0, , drop = FALSE]
  # The question is of the data as a whole: a reading, and no more where the answer is no.
  Y <- standardised_columns(Y)
  R <- crossprod(Y) / nrow(Y)
  if (nrow(Y) > ncol(Y) && !is_nearly_singular(R)) return(character())
  if (nrow(unique(Y)) <= ncol(Y)) return(character())
  decomposition <- qr(Y, tol = 1e-7)
  colnames(Y)[decomposition$pivot[-seq_len(decomposition$rank)]]
}

# Numbers are brought near one before they are squared.
standardised_columns <- function(Y) {
  for (j in seq_len(ncol(Y))) {
    y <- Y[, j] - mean(Y[, j])
    y <- y / max(abs(range(y)), .Machine$double.xmin)
    Y[, j] <- y / sqrt(max(mean(y^2), .Machine$double.xmin))
  }
  Y
}

is_nearly_singular <- function(R) {
  min(eigen(R, symmetric = TRUE, only.values = TRUE)$values) < 1e-10
}

# A single response has the models E and V, which are EII and VII.
normal_part <- function(design, k, covariance, told) {
  model <- if (nchar(covariance) == 1) paste0(covariance, "II") else covariance
  c(list(Y = design$Y, d = ncol(design$Y), model = match(model, covariance_names) - 1L), told)
}

normal_parameters <- function(design, k, covariance, told) {
  variables <- colnames(design$Y)
  d <- length(variables)
  pairs <- if (d > 1) utils::combn(variables, 2)
  axes <- substr(covariance, 3, 3) == "I"
  cor <- parameter_rows("cor", pairs[1, ], pairs[2, ], fixed = axes)
  rbind(of_components(parameter_rows("mean", variables), seq_len(k)),
        of_components(parameter_rows("sd", variables), seq_len(k)),
        of_components(cor, seq_len(k)))
}

normal_slots <- function(design) data.frame(name = "covariance", block = "covariance")

told_normals <- function(priors, blocks, design, method) {
  told_normal(priors[[1]], colnames(design$Y))
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

# The prior of Fraley and Raftery (2007), with means in place. They divide by k^(2/d), so that
# components have a k-th of the volume; here it is 3 whatever k, so that the ELBOs of different k
# compare.
default_wishart <- function(Y) {
  d <- ncol(Y)
  spread <- unname(stats::cov(Y, use = if (anyNA(Y)) "pairwise.complete.obs" else "everything"))
  if (length(collinear_columns(Y)) > 0 || !isTRUE(is_covariance(spread))) {
    spread <- diag(apply(Y, 2, stats::var, na.rm = TRUE), d)
  }
  distributions$normal_inverse_wishart(
    mean = default_centre(colMeans(Y, na.rm = TRUE), sqrt(diag(spread))), kappa = 0.01, df = d + 2,
    scale = spread / 3^(2 / d)
  )
}

# Covariance models -----------------------------------------------------------------------------

covariance_names <- c("EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV",
                      "VEV", "EVV", "VVV")

conjugate_models <- c("EII", "VII", "EEI", "VVI", "EEE", "VVV")

covariance_words <- c(spherical = "VII", diagonal = "VVI", full = "VVV", tied = "EEE")

# NULL means all that the method has.
covariance_models <- function(covariance, design, method) {
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

normal_df <- function(design, k, covariance, told) {
  d <- ncol(design$Y)
  k * d + covariance_df(covariance, d, k)
}

# Volume, shape and orientation are equal, vary by component, or (I) are none (Celeux and Govaert
# 1995, table 1).
covariance_df <- function(model, d, k) {
  times <- function(letter) switch(EXPR = letter, E = 1, V = k, I = 0)
  letters <- strsplit(paste0(model, if (nchar(model) == 1) "II"), "")[[1]]
  times(letters[1]) + (d - 1) * times(letters[2]) + d * (d - 1) / 2 * times(letters[3])
}

# What the letters of a covariance model say of volume, shape and orientation.
covariance_sentence <- function(fit) {
  model <- covariance_model(fit)
  if (nchar(model) == 1 || ncol(design_of(fit)$Y) == 1) {
    equal <- substr(model, 1, 1) == "E"
    words <- if (n_components(fit) == 1) "one variance"
             else if (equal) "the same in all components"
             else "each component its own"
    return(sprintf("Variance model %s: %s", model, words))
  }
  letters <- strsplit(model, "")[[1]]
  family <- if (letters[2] == "I") "spherical" else if (letters[3] == "I") "diagonal"
            else "ellipsoidal"
  aspects <- c("volume", "shape", "orientation")[letters != "I"]
  letters <- letters[letters != "I"]
  say <- function(what, word) if (length(what) > 0) paste(word, enumerate(what, 3))
  words <- c(say(aspects[letters == "E"], "equal"), say(aspects[letters == "V"], "varying"))
  if (n_components(fit) == 1) words <- NULL
  sprintf("Covariance model %s: %s", model, paste(c(family, words), collapse = ", "))
}

has_correlations <- function(fit) substr(covariance_model(fit), 3, 3) %in% c("E", "V")

is_spherical <- function(fit) {
  nchar(covariance_model(fit)) > 1 && substr(covariance_model(fit), 2, 2) == "I"
}

flaws_of_normals <- function(design) {
  rows <- if (anyNA(design$Y)) sum(rowSums(!is.na(design$Y)) > 0) else design$n_row
  list(collinear = collinear_columns(design$Y), n = rows)
}

# Covariance matrices with correlations that are singular from the first: without a prior their
# likelihood is unbounded. As many rows as components only give means.
hopeless_normal <- function(design, k, covariance, method, prior) {
  if (method == "vb" || substr(covariance, 3, 3) %in% c("", "I")) return()
  if (any(names(prior) == "covariance")) return()
  d <- ncol(design$Y)
  collinear <- design$flaws$collinear
  few <- design$flaws$n - k < d
  if (!few && length(collinear) == 0) return()
  reason <- if (few) {
    sprintf("%d rows are too few for covariance matrices of %d responses in %s.", design$n_row, d,
            count_words(k, "component"))
  } else {
    sprintf("%s a linear combination of the other responses. Leave it out, or:",
            paste(quote_names(collinear), if (length(collinear) == 1) "is" else "are each"))
  }
  list(status = if (few) "too few rows" else "collinear responses",
       words = c(reason, "Use a diagonal `covariance`, as \"VVI\", or a prior, as by",
                 sprintf("prior = %s.", covariance_prior_text(design, k))))
}

# Turned axes mix the responses, so that the least variance is below the rounding of the largest
# where their units are too far apart.
far_apart <- function(candidate) {
  turned <- c("EVE", "VVE", "EEV", "VEV")
  if (!candidate$covariance %in% turned) return()
  sd <- column_sds(candidate$model$parts$normal$Y)
  if (max(sd) <= 1e6 * min(sd)) return()
  list(status = "units too far apart", words = c(
    "its axes are turned, and the units of the responses are more than a million times",
    "apart. Rescale them, or use a model for which units do not matter, as \"VVV\"."
  ))
}

normal_least <- function(part, state) {
  if (!is.null(part$prior_scale)) return(1)
  sd <- column_sds(part$Y)
  apply(state$covariance, 3, function(S) {
    S <- S / sd / rep(sd, each = length(sd))
    S[!is.finite(S)] <- sign(S[!is.finite(S)]) * 1e200 # spheres in units far apart
    min(eigen(S, symmetric = TRUE, only.values = TRUE)$values)
  })
}

collapse_of_variance <- paste("onto so few different rows that its variance goes to zero and the",
                              "likelihood to infinity.")

# Not what is in use already.
shared_covariance <- function(design, covariance) {
  shared <- setdiff(if (ncol(design$Y) > 1) c("EEE", "EEI", "EII") else "E", covariance)
  if (length(shared) == 0 || covariance %in% c("EII", "E")) return("")
  sprintf("a `covariance` that components share, as \"%s\"; ", shared[1])
}

covariance_prior_text <- function(design, k) {
  d <- ncol(design$Y)
  scale <- signif(column_sds(design$Y)^2 / k^(2 / d), 2)
  text <- format(signif(mean(scale), 2))
  if (max(scale) > 100 * min(scale) && d <= 6) {
    text <- sprintf("diag(c(%s))", toString(vapply(scale, format, "")))
  }
  sprintf("priors(covariance = inverse_wishart(%d, %s))", d + 2L, text)
}

# As a mixture of regressions without covariates is a normal one.
normal_renamed <- function(object, call, kind) {
  kept <- identical(call$covariance, call_of(object)$covariance)
  if (kind() != "regression" || !kept) return(call)
  if (identical(covariance_model(object), "E") && is.null(call$sigma)) call$sigma <- quote(~ 1)
  call$covariance <- NULL
  call
}

normal_unconstrained <- function(fit) {
  covariance_model(fit) <- if (ncol(design_of(fit)$Y) > 1) "VVV" else "V"
  fit
}

normal_fields <- function(fit, fields) {
  parts <- normal_components(fit)
  list(mean = t(parts$mean), covariance = aperm(parts$covariance, c(2, 3, 1)))
}

# The way out -----------------------------------------------------------------------------------

normal_means <- function(fit, design) component_values(fit, "mean")

normal_variances <- function(fit, design) component_values(fit, "sd")^2

normal_sigma <- function(fit) {
  sd <- component_values(fit, "sd")
  if (ncol(sd) == 1) sd[, 1] else sd
}

draw_normal <- function(fit, design, component) {
  parts <- normal_components(fit)
  by_row <- component[unit_of_row(design)]
  replace(design, "Y", list(normal_draws_by(parts$mean, parts$covariance, by_row)))
}

normal_components <- function(fit) {
  mean <- component_values(fit, "mean")
  list(mean = mean, covariance = component_covariances(fit))
}

component_covariances <- function(fit) {
  sd <- component_values(fit, "sd")
  cor <- component_values(fit, "cor")
  d <- ncol(sd)
  out <- array(0, c(n_components(fit), d, d),
               list(component_labels(fit), colnames(sd), colnames(sd)))
  lower <- which(lower.tri(diag(d)), arr.ind = TRUE)
  for (j in seq_len(n_components(fit))) {
    R <- diag(d)
    if (ncol(cor) > 0) R[lower] <- R[lower[, 2:1, drop = FALSE]] <- cor[j, ]
    out[j, , ] <- R * outer(sd[j, ], sd[j, ])
  }
  out
}
