# Mixtures of mixed-effects curves: what ( | ) terms add to formula, design, priors and theta.
#
#   check_curves(spec, parsed), random_structure(x, kind)    what was asked for
#   random_design(parsed, frame)        list(Z, random): the matrix of the deviations, and how to make it
#   curves_part(design, k, told)        what C takes
#   curve_parameters(design, k, told), curve_df(design, k, told)
#   curve_slots(design), told_curves(priors, slots, design), default_curves(design)
#   curve_covariances(fit)              k x q x q
#   curve_features(design)              units x coefficients, for partitions to start from
#   unit_designs(design)                units that share rows of X, Z and weights, as numbers
#
# design$random is list(terms, size, structure, common, matrix): for each ( | ) its terms as
# term_description() has them and its number of columns; "free", "diagonal" or "multiple" of matrix.
# A block here is what has a covariance of its own: a whole ( | ), or a column of a diagonal one.

check_curves <- function(spec, parsed) {
  if (spec$kind != "curves") return()
  group <- parsed$bars[[1]]$group_name
  if (is.null(spec$unit)) {
    abort(c(sprintf("A mixture with a ( | %s) term classifies units of several rows: say which,", group),
            sprintf("as by unit = ~ %s.", group)), "elbo_error_formula")
  }
  unit <- paste(vapply(spec$unit, deparse_line, ""), collapse = ":")
  others <- setdiff(vapply(parsed$bars, `[[`, "", "group_name"), unit)
  if (length(others) > 0) {
    abort(c(sprintf("The deviations of ( | %s) must be those of the units, `unit` = ~ %s:", others[1], unit),
            sprintf("write ( | %s), or unit = ~ %s.", unit, others[1])), "elbo_error_formula")
  }
  if (spec$family$family == "gaussian") return()
  abort(c(sprintf("( | ) terms need family gaussian(), not %s().", spec$family$family),
          "Without them this is a mixture of regressions."), "elbo_error_argument")
}

# "free", "diagonal", "identity" or a covariance matrix, and perhaps "common", in a vector or a list.
random_structure <- function(x, kind) {
  if (is.null(x)) x <- "free"
  if (kind != "curves") {
    if (identical(x, "free")) return(NULL)
    abort("`random_covariance` is for ( | ) terms, and `formula` has none.", "elbo_error_argument")
  }
  entries <- if (is.list(x)) x else if (is.matrix(x)) list(x) else as.list(x)
  is_common <- vapply(entries, identical, NA, "common")
  rest <- entries[!is_common]
  rest <- if (length(rest) == 0) "free" else if (length(rest) == 1) rest[[1]]
  words <- c("free", "diagonal", "identity")
  ok <- sum(is_common) < 2 && ((is.character(rest) && length(rest) == 1 && rest %in% words) ||
                                 is_semidefinite(rest))
  check(ok, "random_covariance",
        paste("\"free\", \"diagonal\", \"identity\" or a covariance matrix, and perhaps \"common\", as in",
              "c(\"diagonal\", \"common\") or list(matrix, \"common\")"), x)
  multiple <- is.matrix(rest) || rest == "identity"
  list(structure = if (multiple) "multiple" else rest, common = any(is_common),
       matrix = if (is.matrix(rest)) unname(rest))
}

is_semidefinite <- function(x) {
  if (!is.matrix(x) || !is.numeric(x) || anyNA(x) || !isSymmetric(unname(x))) return(FALSE)
  values <- eigen(x, symmetric = TRUE, only.values = TRUE)$values
  values[1] > 0 && values[length(values)] >= -1e-10 * values[1]
}

# The design ------------------------------------------------------------------------------------

random_design <- function(parsed, frame, structure) {
  described <- lapply(parsed$bars, describe_bar, frame)
  check_cells(described, frame)
  Z <- lapply(described, function(block) model.matrix(block$terms, frame))
  check_repeated_terms(Z, parsed$bars)
  terms <- Map(function(block, z) c(block, list(contrasts = attr(z, "contrasts"))), described, Z)
  label <- vapply(parsed$bars, function(bar) deparse_line(bar$terms[[2]]), "")
  Z <- Reduce(cbind, Z)
  dependent <- colnames(Z)[!independent_columns(Z)]
  if (length(dependent) > 0) {
    abort(c(sprintf("The random term `%s` says nothing that those before it do not;", dependent[1]),
            "leave it out of ( | )."), "elbo_error_formula")
  }
  size <- vapply(terms, function(block) block_columns(block, frame), 0L)
  if (!is.null(structure$matrix) && nrow(structure$matrix) != ncol(Z)) {
    abort(sprintf("The matrix of `random_covariance` must be %d x %d, as there are terms in ( | ), not %d x %d.",
                  ncol(Z), ncol(Z), nrow(structure$matrix), ncol(structure$matrix)), "elbo_error_argument")
  }
  list(Z = Z, random = c(list(terms = terms, size = size, label = label), structure))
}

block_columns <- function(block, frame) {
  ncol(model.matrix(block$terms, frame[1, , drop = FALSE], xlev = block$xlevels,
                    contrasts.arg = block$contrasts))
}

new_random <- function(fit, newdata) {
  Z <- lapply(fit$design$random$terms, function(block) {
    new_columns(block$terms, newdata, block$xlevels, block$contrasts)
  })
  Reduce(cbind, Z)
}

# first, size, kind ("free" or "multiple") and label of each block of the covariance.
random_blocks <- function(design) {
  random <- design$random
  if (random$structure == "diagonal") {
    size <- rep(1L, ncol(design$Z))
    label <- colnames(design$Z)
  } else {
    size <- random$size
    label <- ifelse(size == 1, colnames(design$Z)[cumsum(size)], random$label)
  }
  kind <- if (random$structure == "multiple") "multiple" else "free"
  data.frame(first = cumsum(c(0L, size[-length(size)])) + 1L, size = size, kind = kind, label = label)
}

random_matrix <- function(design) {
  if (is.null(design$random$matrix)) diag(ncol(design$Z)) else design$random$matrix
}

# Units of the same rows have the same number. The rows are told apart by one random projection each,
# and units by one of their rows.
unit_designs <- function(design) {
  rows <- cbind(design$X, design$Z, design$weights)
  projection <- with_seed(1L, list(column = stats::rnorm(ncol(rows)),
                                   row = stats::rnorm(max(diff(design_first(design))))))
  position <- sequence(diff(design_first(design)))
  key <- rowsum(drop(rows %*% projection$column) * projection$row[position] + projection$row[position],
                unit_of_row(design), reorder = FALSE)
  match(key, unique(key))
}

design_first <- function(design) if (is.null(design$first)) 0:design$n_row else design$first

# What C takes ----------------------------------------------------------------------------------

curves_part <- function(design, k, told) {
  blocks <- random_blocks(design)
  held <- !is.na(told$multiple_constant)
  common <- design$spec$common_sigma
  if (!is.null(told$sigma_constant) && !common) told$sigma_constant <- rep(told$sigma_constant, k)
  c(list(X = design$X, p = ncol(design$X), Z = design$Z, q = ncol(design$Z), y = design$y,
         weights = design$weights, offset = design$offset, n_block = nrow(blocks),
         block_size = blocks$size, block_kind = as.integer(blocks$kind == "multiple" | held),
         matrix = random_matrix(design), common_covariance = as.integer(design$random$common),
         common_sigma = as.integer(common)), told)
}

# theta -----------------------------------------------------------------------------------------

curve_parameters <- function(design, k, told) {
  blocks <- random_blocks(design)
  free <- blocks$kind == "free"
  columns <- Map(function(first, size) colnames(design$Z)[first + seq_len(size) - 1L], blocks$first, blocks$size)
  sd <- ifelse(free, columns, blocks$label)
  held <- rep(!is.na(told$multiple_constant), lengths(sd))
  cor <- lapply(columns[free & blocks$size > 1], function(names) {
    apply(utils::combn(names, 2), 2, paste, collapse = ".")
  })
  rbind(parameter_rows(colnames(design$X), "beta", seq_len(k)),
        shared_rows(paste0("sd__", unlist(sd)), "sd", k, design$random$common, held),
        if (length(cor) > 0) shared_rows(paste0("cor__", unlist(cor)), "cor", k, design$random$common),
        shared_rows("sigma", "sigma", k, design$spec$common_sigma, !is.null(told$sigma_constant)))
}

# Of each component, or once for all.
shared_rows <- function(terms, block, k, common, fixed = FALSE) {
  if (!common) return(parameter_rows(terms, block, seq_len(k), fixed))
  data.frame(name = terms, block = block, component = NA_integer_, fixed = rep_len(fixed, length(terms)))
}

curve_df <- function(design, k, told) {
  blocks <- random_blocks(design)
  order <- ifelse(blocks$kind == "free", blocks$size, 1)
  free <- is.na(told$multiple_constant)
  k * ncol(design$X) + sum((order * (order + 1) / 2)[free]) * (if (design$random$common) 1 else k) +
    is.null(told$sigma_constant) * (if (design$spec$common_sigma) 1 else k)
}

# Priors ----------------------------------------------------------------------------------------

curve_slots <- function(design) {
  blocks <- random_blocks(design)
  data.frame(name = c(colnames(design$X), paste0("sd__", blocks$label), "covariance", "sigma"),
             block = rep(c("beta", "sd", "covariance", "sigma"), c(ncol(design$X), nrow(blocks), 1, 1)))
}

told_curves <- function(priors, slots, design) {
  blocks <- random_blocks(design)
  told <- told_regression(priors[slots %in% c("beta", "sigma")], slots[slots %in% c("beta", "sigma")])
  held <- priors[slots == "sd"]
  told$multiple_constant <- vapply(unname(held), function(p) if (is_constant(p)) as.double(p$parameters$value) else NA, 0)
  several <- which(!is.na(told$multiple_constant) & blocks$kind == "free" & blocks$size > 1)
  if (length(several) > 0) {
    abort(c(sprintf("The standard deviations of the free covariance of ( %s | ) cannot be held;", 
                    blocks$label[several[1]]),
            "say random_covariance = \"diagonal\" or \"identity\"."), "elbo_error_prior")
  }
  for (value in told$multiple_constant) if (!is.na(value)) check_held_sd(value)
  c(told, told_covariance(priors[slots == "covariance"][[1]], design, blocks))
}

check_held_sd <- function(value) {
  if (is.finite(value) && value > 0) return()
  abort(sprintf("The standard deviation of a deviation can be held at a positive finite number, not at %s.",
                format(value)), "elbo_error_prior")
}

# The law of every block, and of the multiples of given matrices.
told_covariance <- function(prior, design, blocks) {
  if (is_flat(prior)) return(list(covariance_df = NULL, covariance_scale = NULL))
  order <- ifelse(blocks$kind == "free", blocks$size, 1)
  df <- prior$parameters$df
  if (df <= max(order) - 1) {
    abort(sprintf("The df of the prior of `covariance` must exceed %d, one less than the terms of ( | ); not %s.",
                  max(order) - 1, format(df)), "elbo_error_prior")
  }
  scale <- prior$parameters$scale
  q <- ncol(design$Z)
  if (length(scale) > 1 && nrow(scale) != q) {
    abort(sprintf("The scale of the prior of `covariance` must be a number or a %d x %d matrix, not %d x %d.",
                  q, q, nrow(scale), ncol(scale)), "elbo_error_prior")
  }
  scale <- if (length(scale) == 1) diag(as.double(scale), q) else matrix(as.double(scale), q)
  list(covariance_df = rep(as.double(df), nrow(blocks)), covariance_scale = scale)
}

# Coefficients and sigma as of regressions; deviations with a tenth of the response's variance.
default_curves <- function(design) {
  regression <- default_regression(design)
  blocks <- random_blocks(design)
  order <- ifelse(blocks$kind == "free", blocks$size, 1)
  q <- ncol(design$Z)
  spread <- 0.1 * stats::var(design$y) / (q * colMeans(design$Z^2))
  if (design$random$structure == "multiple") spread[] <- exp(mean(log(spread / diag(random_matrix(design)))))
  scale <- if (q == 1) signif(unname(spread), 2) else diag(signif(unname(spread), 2))
  p <- ncol(design$X)
  c(regression[seq_len(p)], rep(list(NULL), nrow(blocks)),
    list(distributions$inverse_wishart(max(order) + 2, scale)), regression[p + 1])
}

# Starts ----------------------------------------------------------------------------------------

# Each unit's own coefficients, drawn a little towards those of all units where its rows say little.
curve_features <- function(design) {
  X <- design$X
  scale <- sqrt(colMeans(X^2))
  X <- X / rep(scale, each = nrow(X))
  y <- working_response(design)
  y <- y - drop(X %*% solve_ridge(crossprod(X), crossprod(X, y), 1e-8 * nrow(X)))
  kind <- unit_designs(design)
  first <- design_first(design)
  features <- matrix(0, design$n_unit, ncol(X))
  for (units in split(seq_along(kind), kind)) {
    rows <- outer(seq_len(first[units[1] + 1] - first[units[1]]), first[units], `+`)
    Xu <- X[rows[, 1], , drop = FALSE]
    own <- solve_ridge(crossprod(Xu), crossprod(Xu, matrix(y[rows], nrow(rows))), 0.05 * nrow(X) / design$n_unit)
    features[units, ] <- t(own)
  }
  # Distances between coefficients as those between curves.
  features %*% t(chol(crossprod(X) / nrow(X) + diag(1e-10, ncol(X))))
}

solve_ridge <- function(A, b, ridge) solve(A + diag(ridge, nrow(A)), b)

# The way out -------------------------------------------------------------------------------------

# k x q x q, from the sds and correlations of theta().
curve_covariances <- function(fit) {
  names <- colnames(fit$design$Z)
  of_component <- function(j) {
    mine <- is.na(fit$parameters$component) | fit$parameters$component == j
    curve_covariance(fit$design, fit$theta[mine & fit$parameters$block == "sd"],
                     fit$theta[mine & fit$parameters$block == "cor"])
  }
  covariances <- vapply(seq_len(fit$k), of_component, matrix(0, length(names), length(names)))
  array(aperm(array(covariances, c(length(names), length(names), fit$k)), c(3, 1, 2)),
        c(fit$k, length(names), length(names)), list(component_labels(fit), names, names))
}

curve_covariance <- function(design, sd, cor) {
  blocks <- random_blocks(design)
  given <- random_matrix(design)
  Gamma <- matrix(0, ncol(design$Z), ncol(design$Z))
  for (i in seq_len(nrow(blocks))) {
    size <- blocks$size[i]
    at <- blocks$first[i] + seq_len(size) - 1L
    if (blocks$kind[i] == "multiple") {
      Gamma[at, at] <- sd[1]^2 * given[at, at]
      sd <- sd[-1]
      next
    }
    R <- diag(size)
    pairs <- which(lower.tri(R), arr.ind = TRUE)
    n <- seq_len(nrow(pairs))
    R[pairs] <- R[pairs[, 2:1, drop = FALSE]] <- cor[n]
    Gamma[at, at] <- R * outer(sd[seq_len(size)], sd[seq_len(size)])
    sd <- sd[-seq_len(size)]
    cor <- cor[setdiff(seq_along(cor), n)]
  }
  Gamma
}
