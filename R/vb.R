# Variational Bayes of a mixed model: from the optimum to posterior moments.
#
# q(beta, u) is normal; q(Sigma) of each ( | ) inverse Wishart(d, d S) and q(sigma^2) inverse gamma
# (the case q = 1), with d known under half-t priors and else at its best given S (see
# src/glmm/prior.c). What C finds is S, v and d. Posterior means of sd, cor and sigma are closed
# forms of (d, S), and linear response is the inverse Hessian of the ELBO in (S, d), beta and u at
# their best, carried to those means:
#
#   cov(theta) = J (-H)^{-1} J',   J = d E_q[theta] / d (eta, d).
#
# For beta it adds to the covariance at fixed scales the response of E[beta] to the scales.

# E[sd] for Sigma ~ inverse Wishart(d, d S), q x q: Sigma_kk is inverse gamma((d - q + 1) / 2,
# d S_kk / 2). A list of value and its slopes by sqrt(S_kk) and by d, and the variance under q.
vb_sd <- function(root, d, q) {
  shape <- (d - q + 1) / 2
  ratio <- exp(lgamma(shape - 0.5) - lgamma(shape))
  value <- root * sqrt(d / 2) * ratio
  square <- if (shape > 1) root^2 * d / 2 / (shape - 1) else Inf
  list(value = value, by_root = sqrt(d / 2) * ratio,
       by_d = value * (0.5 / d + 0.5 * (digamma(shape - 0.5) - digamma(shape))),
       variance = square - value^2)
}

# E[cor]: under an inverse Wishart a correlation has the law of a sample correlation with
# n = d - q + 2 degrees of freedom (Anderson 2003, An Introduction to Multivariate Statistical
# Analysis, 4.2; the mean is Hotelling's 1953 series), r the one of S.
vb_cor <- function(r, d, q) {
  mean <- function(r, n) {
    2 / n * exp(2 * (lgamma((n + 1) / 2) - lgamma(n / 2))) * r *
      hypergeometric(0.5, 0.5, n / 2 + 1, r^2)
  }
  n <- d - q + 2
  h <- 1e-5
  inside <- max(-1 + h, min(1 - h, r))
  second <- 1 - (n - 1) / n * (1 - r^2) * hypergeometric(1, 1, n / 2 + 1, r^2)
  list(value = mean(r, n),
       by_r = (mean(inside + h, n) - mean(inside - h, n)) / (2 * h),
       by_d = (mean(r, n * (1 + h)) - mean(r, n * (1 - h))) / (2 * h * n),
       variance = second - mean(r, n)^2)
}

# 2F1(a, b; c; x) for 0 <= x <= 1 and c > a + b, by its series.
hypergeometric <- function(a, b, c, x) {
  term <- sum <- 1
  for (k in 0:9999) {
    term <- term * (a + k) * (b + k) / ((c + k) * (k + 1)) * x
    sum <- sum + term
    if (abs(term) < 1e-16 * abs(sum)) break
  }
  sum
}

# Rows of each residual variance.
vb_rows <- function(design) {
  if (is.null(design$level)) length(design$y) else tabulate(design$level)
}

# Of each sd, cor and sigma the factor of q it belongs to (blocks, curves, residual variances in
# this order), and its order q.
vb_factors <- function(design, block) {
  size <- tabulate(column_blocks(design), n_blocks(design))
  factor <- c(column_blocks(design), cor_blocks(column_blocks(design)),
              length(size) + seq_len(sum(block %in% c("smooth", "sigma"))))
  list(factor = factor, q = c(size, rep(1, sum(block %in% c("smooth", "sigma"))))[factor])
}

# The degrees of freedom that C found, by block, curve and residual variance.
vb_df <- function(result, design) {
  kind <- rep(c("block", "smooth", "sigma"),
              c(n_blocks(design), length(design$curves), max(1L, nlevels(design$level))))
  of <- function(name) result$df[kind == name]
  list(block = of("block"), smooth = of("smooth"), sigma = of("sigma"))
}

# The counterpart of natural_parameters() for vb: E_q of sd, cor and sigma with slopes by eta, d
# following at its best; and what uncertainty of d adds to their covariance; and their covariance
# under q itself.
vb_parameters <- function(result, design, held) {
  at_mode <- natural_parameters(result, design, held)
  block <- held$block[held$block != "beta"]
  of <- vb_factors(design, block)
  d <- result$df[of$factor]
  fixed <- !is.na(held$constant[held$block != "beta"])
  d_slope <- vb_df_slope(result, at_mode, block, of$factor)
  value <- at_mode$value
  by_d <- variance <- numeric(length(value))
  slope <- at_mode$slope
  for (i in which(!fixed)) {
    m <- if (block[i] == "cor") vb_cor(value[i], d[i], of$q[i]) else vb_sd(value[i], d[i], of$q[i])
    value[i] <- m$value
    slope[i, ] <- slope[i, ] * (if (block[i] == "cor") m$by_r else m$by_root) +
      m$by_d * d_slope[of$factor[i], ]
    by_d[i] <- m$by_d
    variance[i] <- m$variance
  }
  df_cov <- outer(by_d, by_d) / result$df_information[of$factor] *
    outer(of$factor, of$factor, `==`)
  df_cov[fixed, ] <- df_cov[, fixed] <- 0
  list(value = value, slope = slope, boundary = logical(length(value)), df_cov = df_cov,
       q_variance = variance, df = vb_df(result, design))
}

# d d / d eta of each factor: C has the slopes by log S_kk.
vb_df_slope <- function(result, at_mode, block, factor) {
  out <- matrix(0, length(result$df), length(result$eta))
  scales <- which(block != "cor")
  for (k in seq_along(scales)) {
    i <- scales[k]
    if (result$df_slope[k] == 0) next
    out[factor[i], ] <- out[factor[i], ] +
      result$df_slope[k] * 2 * at_mode$slope[i, ] / at_mode$value[i]
  }
  out
}

# Linear response and mean field covariances of (beta, sd, cor, sigma).
vb_information <- function(result, natural, parameters) {
  info <- glmm_information(result, natural, parameters)
  beta <- parameters$block == "beta"
  free <- info$free_beta
  names <- parameters$name
  n <- length(names)
  response <- matrix(0, n, ncol(info$eta_cov))
  response[free, ] <- result$beta_cov %*% t(result$cross)
  response[!beta, ] <- natural$slope
  lrvb <- response %*% info$eta_cov %*% t(response)
  lrvb[free, free] <- lrvb[free, free] + result$beta_cov
  lrvb[!beta, !beta] <- lrvb[!beta, !beta] + natural$df_cov
  mean_field <- matrix(0, n, n)
  mean_field[free, free] <- result$q_beta_cov
  diag(mean_field)[!beta] <- natural$q_variance
  unknown <- parameters$fixed & !beta
  lrvb[unknown, ] <- lrvb[, unknown] <- NA
  mean_field[unknown, ] <- mean_field[, unknown] <- NA
  dimnames(lrvb) <- dimnames(mean_field) <- list(names, names)
  info$beta_cov <- lrvb[beta, beta, drop = FALSE]
  info$var_cov <- lrvb[!beta, !beta, drop = FALSE]
  info$conditional_cov <- result$beta_cov
  info$linear_response <- lrvb
  info$mean_field <- mean_field
  info
}

# The response of E_q[u_g] to the scales, for linear response: a q x n_eta x m array, by central
# differences of the exact posterior in eta (the steps are 1e-4 of a standard error). Of each factor
# one: latent_response() is that of a model with one.
latent_responses <- function(fit) {
  info <- information_of(fit)
  eta <- eta_of(fit)
  slopes <- lapply(info$moves, function(move) {
    step <- 1e-4 * sqrt(diag(info$eta_cov)[move])
    means <- lapply(c(1, -1), function(side) {
      lapply(at_eta_parts(fit, replace(eta, move, eta[move] + side * step)), `[[`, "mean")
    })
    Map(function(up, down) t(up - down) / (2 * step), means[[1]], means[[2]])
  })
  lapply(seq_along(latent_parts(fit)), function(f) {
    mean <- latent_parts(fit)[[f]]$mean
    of_factor <- lapply(slopes, `[[`, f)
    slope <- array(as.double(unlist(of_factor)), c(ncol(mean), nrow(mean), length(slopes)))
    aperm(slope, c(1, 3, 2))
  })
}

latent_response <- function(fit) latent_responses(fit)[[1]]

# Means, covariances and gains of the latent variables of each factor at eta, with q(u | beta) in
# full whatever factorization the fit has.
at_eta_parts <- function(fit, eta = eta_of(fit)) {
  priors_of(fit)$told$by_factor <- 0L
  state <- at_eta(fit, eta)
  if (is_crossed(design_of(fit))) state$latent else list(state)
}

# latent_parts() with covariance and gain as they are given the scales, which q has only where it is
# structured.
exact_parts <- function(fit) {
  if (factorization_of(fit) == "structured") return(latent_parts(fit))
  Map(function(part, at) {
    part$cov[] <- at$cov
    part$gain[] <- at$gain
    part
  }, latent_parts(fit), at_eta_parts(fit))
}

# Variances of latent variables, of each factor m x q: linear response, or those of q. Given the
# scales linear response is exact, whatever q leaves out between beta and u.
vb_latent_variance <- function(fit, type = "linear_response") {
  info <- information_of(fit)
  exact <- type == "linear_response"
  structured <- factorization_of(fit) == "structured"
  C <- if (exact || structured) conditional_cov(fit)
  parts <- if (exact) exact_parts(fit) else latent_parts(fit)
  response <- if (exact) latent_responses(fit) else vector("list", length(parts))
  A <- info$eta_cov[info$moves, info$moves, drop = FALSE]
  Map(function(part, response) {
    own <- structure(matrix(apply(part$cov, 3, diag), nrow(part$mean), byrow = TRUE),
                     dimnames = dimnames(part$mean))
    own + moved_variance(part$gain, C) + if (exact) moved_variance(response, A) else 0
  }, parts, response)
}

# What variables add whose means move by `by` (q x k x m) with what has the covariance cov (k x k),
# m x q; NULL: with nothing.
moved_variance <- function(by, cov) {
  if (length(cov) == 0) return(0)
  out <- vapply(seq_len(dim(by)[1]), function(j) {
    along <- matrix(by[j, , ], nrow(cov))
    colSums(along * (cov %*% along))
  }, numeric(dim(by)[3]))
  matrix(out, dim(by)[3])
}

#' The optimal approximating distribution
#'
#' @param object A fit by method `"vb"` (other methods have the exact posterior of the latent
#'   variables, see [latent()]).
#' @param ... Not used.
#' @return A list of class `elbo_variational`, a factor of q an element: for q(beta, u) a list of
#'   `family`, `mean`, `cov` (of beta, and of the coefficients of smooth terms after them) and
#'   `latent` (means, conditional covariances and gains);
#'   for each q(Sigma) `family`, `df` and `scale` of the inverse Wishart distribution; for
#'   each q(sigma^2) `family`, `shape` and `scale` of the inverse gamma distribution. The auxiliary
#'   variables of the half-t priors (Huang and Wand 2013) are inverse gamma, the best ones given
#'   the others. Under `factorization = "mean_field"` there are a factor `beta` and a factor `u`
#'   in place of `` `beta, u` ``, under `"by_factor"` a `u|GROUP` for each grouping factor. Of
#'   several grouping factors `latent` is a list with an element each, and a covariance is called
#'   `Sigma|GROUP` (of each level the covariance of its own terms is told; levels of different
#'   factors are correlated, unless it is by factor). Factors are found by their whole names. Such a
#'   list with other numbers has an ELBO too, with one grouping factor: `elbo(fit, q = )`.
#' @references
#' Huang, A. and Wand, M. P. (2013). Simple marginally noninformative prior distributions for
#' covariance matrices. *Bayesian Analysis* 8, 439--452. \doi{10.1214/13-BA815}
#' @family what a fit answers
#' @examples
#' fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, method = "vb")
#' q <- variational(fit)
#' q
#' q$`sigma^2`
#' q$`sigma^2`$scale <- 1.2 * q$`sigma^2`$scale
#' elbo(fit, q = q) - elbo(fit)
#' @export
variational <- function(object, ...) UseMethod("variational")

#' @rdname variational
#' @export
variational.elbo_glmm <- function(object, ...) {
  check_dots_empty(...)
  if (method_of(object) != "vb") {
    abort(c(sprintf("variational() is for fits by method \"vb\", not \"%s\";", method_of(object)),
            "there latent() is the exact posterior of the latent variables."), "elbo_error_method")
  }
  names <- names(coef(object))
  cov <- information_of(object)$mean_field[names, names, drop = FALSE]
  normal <- list(family = "normal", mean = all_coefficients(object),
                 cov = if (has_curves(object)) with_held(object, smooth_of(object)$q_cov) else cov)
  n_beta <- length(information_of(object)$free_beta) + length(smooth_of(object)$mean)
  u <- latent_factor(object)
  out <- switch(factorization_of(object),
    structured = list(`beta, u` = c(normal, u["latent"], dimension = n_beta + u$dimension)),
    mean_field = list(beta = c(normal, dimension = n_beta), u = u),
    by_factor = c(list(beta = c(normal, dimension = n_beta)), latent_factors(object)))
  terms <- colnames(design_of(object)$Z)
  for (scale in scale_shape(object)$blocks) {
    B <- scale$d * scale$S
    out[[scale$name]] <- if (length(B) == 1) {
      list(family = "inverse gamma", shape = scale$d / 2, scale = B[1] / 2)
    } else {
      dimnames(B) <- list(terms[scale$terms], terms[scale$terms])
      list(family = "inverse Wishart", df = scale$d, scale = B)
    }
  }
  structure(out, class = "elbo_variational")
}

# q(u), and of each grouping factor.
latent_factor <- function(fit) {
  crossed <- is_crossed(design_of(fit))
  list(family = "normal", latent = if (crossed) moments_of(fit)$parts else moments_of(fit),
       dimension = sum(levels_of_column(design_of(fit))))
}

latent_factors <- function(fit) {
  if (!is_crossed(design_of(fit))) return(list(u = latent_factor(fit)))
  parts <- moments_of(fit)$parts
  stats::setNames(lapply(parts, function(part) {
    list(family = "normal", latent = part, dimension = length(part$mean))
  }), sprintf("u|%s", names(parts)))
}

# Factors by their whole names: `beta` is not the beginning of `beta, u`.
#' @export
`$.elbo_variational` <- function(x, name) x[[name]]

#' @export
print.elbo_variational <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  words <- vapply(names(x), function(name) {
    f <- x[[name]]
    arguments <- switch(f$family,
      normal = format(f$dimension),
      `inverse Wishart` = sprintf("df = %s, %d x %d", format(f$df), nrow(f$scale), ncol(f$scale)),
      sprintf("%s, %s", format(f$shape, digits = 4), format(f$scale, digits = 4)))
    sprintf("  q(%s) = %s(%s)", name, f$family, arguments)
  }, "")
  cat("The optimal q:\n", paste0(words, "\n"), sep = "")
  invisible(x)
}
