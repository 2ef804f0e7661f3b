# Do the data tell the variances apart? The covariance of the rows of a group is
#
#   V_g = Z_g Sigma Z_g' + diag(sigma_l^2 / w),
#
# and the free parameters of Sigma and the sigmas are identified where the derivatives of all V_g by
# them, put side by side, have full rank: not by the number of rows. Two rows a group tell a random
# intercept, a random slope and the residuals apart where x is continuous, and one row will do for
# (0 + x | g).
#
#   check_identified(design, held)   for fits that estimate them; refuses with the reason
#   check_restricted(design, held, method, prior)  the same of the restricted likelihood, whose
#                                    coefficients may leave nothing to the levels of a factor
#   few_rows(design)                 no group has more rows than random terms, so that there is
#                                    doubt

few_rows <- function(design) {
  q <- ncol(design$Z)
  q > 0 && max(tabulate(the_group(design), nlevels(the_group(design)))) <= q
}

check_identified <- function(design, held) {
  scales <- held[held$block %in% c("sd", "cor", "rho", "sigma"), ]
  if (!few_rows(design) || !anyNA(scales$constant[scales$block == "sd"])) return()
  if (any(is.infinite(scales$constant))) return() # no law: see check_bounded()
  if (full_rank(design, scales, 1e4) || full_rank(design, scales, Inf)) return()
  what <- if (design$known_se) "standard deviations and correlations of the random terms"
          else "residual standard deviation and those of the random terms"
  abort(c(sprintf("`%s` has no level with more rows than random terms (%d), so that the",
                  group_names(design), ncol(design$Z)),
          what, "cannot be told apart.",
          if (design$known_se) "Drop a random term."
          else "Drop a random term, or give the standard errors as `se`."), "elbo_error_data")
}

# Where coefficients reach every level of a term, as in y ~ f + (1 | f), the projection that the
# restricted likelihood is made of annihilates its columns, and the likelihood is flat in its sd.
check_restricted <- function(design, held, method, prior) {
  if (method != "reml" || ncol(design$Z) == 0) return()
  sds <- which(held$block == "sd")
  stated <- lengths(resolve_priors(prior, held, group_names(design)))[sds] > 0
  free <- law_sds(design, is.na(held$constant[sds]) & !stated)
  for (k in which(free)) {
    name <- names(design$groups)[factor_of_column(design)[k]]
    if (!is_spanned(design$Z[, k], design$groups[[name]], design$X)) next
    abort(c(sprintf("By \"reml\" nothing is left of the data for `%s`: the fixed effects have a",
                    held$name[sds[law_shape(design)$sd[k]]]),
            sprintf("coefficient for each of the %d levels of `%s` already. Leave one of the two",
                    nlevels(design$groups[[name]]), name),
            "out of the formula, or give that sd a prior."), "elbo_error_formula")
  }
}

# Whether the column z, level by level, is a combination of the columns of X.
is_spanned <- function(z, group, X) {
  if (nlevels(group) > ncol(X)) return(FALSE)
  levels <- matrix(0, length(z), nlevels(group))
  levels[cbind(seq_along(z), as.integer(group))] <- z
  max(abs(qr.resid(qr(X), levels))) <= 1e-8 * max(abs(z))
}

# Of the covariances of the first so many groups.
full_rank <- function(design, scales, most) {
  slopes <- covariance_slopes(design, scales, most)
  qr(slopes, tol = 1e-7)$rank == ncol(slopes)
}

# A row for each entry of the lower triangle of each V_g, a column for each free parameter, at sds,
# correlations and sigmas that are nothing special.
covariance_slopes <- function(design, scales, most) {
  Z <- identified_basis(design, scales)
  q <- ncol(Z)
  pair <- row_pairs(the_group(design), most)
  free <- is.na(scales$constant)
  value <- scales$constant
  value[free] <- ifelse(scales$role[free] == "cor", 0.25, 1 + seq_len(sum(free)) / 7)
  shape <- law_shape(design)
  sd <- law_sds(design, value[scales$block == "sd"])
  cor <- value[in_block(scales, "cor")]
  R <- law_matrix(design, rep(1, max(0L, shape$sd)), cor)
  pairs <- covariance_pairs(column_blocks(design))
  by_entry <- function(dSigma) {
    rowSums((Z[pair$i, , drop = FALSE] %*% dSigma) * Z[pair$j, , drop = FALSE])
  }
  by_sd <- function(k) {
    d <- matrix(0, q, q)
    own <- shape$sd == k
    d[own, ] <- R[own, ] * rep(sd, each = sum(own))
    by_entry(d + t(d))
  }
  by_cor <- function(k) {
    d <- matrix(0, q, q)
    own <- pairs[shape$cor == k, , drop = FALSE]
    lag <- shape$lag[shape$cor == k]
    d[own] <- sd[own[, 1]] * sd[own[, 2]] * lag * cor[k]^(lag - 1)
    by_entry(d + t(d))
  }
  variance <- if (is.null(design$weights)) 1 else max(design$weights) / design$weights
  variance <- (pair$i == pair$j) * rep_len(variance, length(design$y))[pair$i]
  by_sigma <- function(l) {
    if (is.null(design$level)) variance else variance * (as.integer(design$level)[pair$i] == l)
  }
  is_free <- function(block) which(free[in_block(scales, block)])
  slopes <- c(lapply(is_free("sd"), by_sd), lapply(is_free("cor"), by_cor),
              lapply(is_free("sigma"), by_sigma))
  slopes <- do.call(cbind, slopes)
  size <- apply(abs(slopes), 2, max)
  slopes / rep(ifelse(size > 0, size, 1), each = nrow(slopes))
}

# A free block is the same model in any basis: one without units or origin. Other columns lose their
# units.
identified_basis <- function(design, scales) {
  Z <- design$Z
  free <- is.na(scales$constant)
  index <- covariance_index(scales, design)
  law <- law_shape(design)$law
  for (b in unique(column_blocks(design))) {
    columns <- column_blocks(design) == b
    z <- Z[, columns, drop = FALSE]
    z <- z / rep(pmax(apply(abs(z), 2, max), .Machine$double.xmin), each = nrow(z))
    if (law[b] == "us" && all(free[index %in% b]) && ncol(z) > 1) {
      basis <- qr(z, tol = 1e-10)
      if (basis$rank == ncol(z)) z <- qr.Q(basis) * sqrt(nrow(z))
    }
    Z[, columns] <- z
  }
  Z
}

# Row numbers i >= j of all pairs of rows of one group.
row_pairs <- function(group, most) {
  rows <- split(seq_along(group), group)
  if (length(rows) > most) rows <- rows[seq_len(most)]
  pairs <- lapply(split(rows, lengths(rows)), function(rows) {
    rows <- matrix(unlist(rows), length(rows[[1]]))
    which <- which(lower.tri(diag(nrow(rows)), diag = TRUE), arr.ind = TRUE)
    list(i = as.vector(rows[which[, 1], ]), j = as.vector(rows[which[, 2], ]))
  })
  list(i = unlist(lapply(pairs, `[[`, "i"), use.names = FALSE),
       j = unlist(lapply(pairs, `[[`, "j"), use.names = FALSE))
}
