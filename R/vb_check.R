# Does linear response tell the truth here? Importance sampling in the scales alone.
#
# Given (Sigma, sigma) the exact posterior of beta and u is normal and C integrates it, so that
# what is left has few dimensions, and nothing of variational Bayes in it:
#
#   p(Sigma, sigma | y)  prop. to  p(y | Sigma, sigma) p(Sigma) p(sigma).
#
# It is sampled on an unconstrained scale, x = log sd, log sigma, and w of each correlation: R
# = W W', row i of W being (sinh w_i1, ..., sinh w_i,i-1, 1) made of length one (for two terms
# w is Fisher's z). Proposals are multivariate t around q's optimum, first with the linear
# response covariance, then moved to the mean and covariance found; the draws a randomly
# shifted lattice, so that the comparison costs some thousand evaluations, each linear in the
# number of groups.

# Latent variables up to which fits are checked without being asked, in all and beside those of the
# largest factor, whose normal equations are dense.
vb_check_size <- c(all = 2000, beside = 60)
vb_check_batches <- 8L # randomisations of the lattice, from which the Monte Carlo error

# ---- the verdict -------------------------------------------------------------------------

# What convergence() tells of linear response: a list of trusted, khat, sd_error, check,
# log_evidence and verdict.
posterior_verdict <- function(fit, always = FALSE) UseMethod("posterior_verdict")

#' @exportS3Method
posterior_verdict.elbo_glmm <- function(fit, always = FALSE) {
  free <- !parameters_of(fit)$fixed
  if (!any(free & parameters_of(fit)$block != "beta")) {
    exact <- replace(no_verdict("No scale is free: linear response is exact."),
                     c("trusted", "sd_error"), list(TRUE, 0))
    if (priors_of(fit)$told$mean_field == 0) exact$log_evidence <- objective_of(fit)
    return(exact)
  }
  if (!always && is_long_to_check(design_of(fit))) {
    groups <- design_of(fit)$groups
    return(no_verdict(sprintf(
      "Linear response not checked: %s. convergence(fit, check = TRUE) does.",
      toString(mapply(count_words, lapply(groups, nlevels), names(groups))))))
  }
  sd <- sqrt(diag(information_of(fit)$linear_response))[free]
  judge_linear_response(vb_target(fit), parameter_labels(fit)[free], unname(theta(fit))[free], sd)
}

is_long_to_check <- function(design) {
  size <- vapply(split(levels_of_column(design), column_groups(design)), sum, 0L)
  sum(size) > vb_check_size[["all"]] || sum(size) - max(size, 0L) > vb_check_size[["beside"]]
}

no_verdict <- function(words) {
  list(trusted = NA, khat = NA_real_, sd_error = NA_real_, check = NULL, log_evidence = NA_real_,
       verdict = words)
}

# Whether sds (`sd`) are within `tolerance` of the exact ones, and means (`mean`) within
# mean_tolerance sds, the Monte Carlo error of sds being brought below `doubt` if need be. `labels`
# are named by the parameters. Weights whose Pareto k is above `reliable` judge nothing.
judge_linear_response <- function(target, labels, mean, sd, tolerance = 0.05, doubt = 0.01,
                                  mean_tolerance = 0.2, draws = c(256L, 1024L, 4096L),
                                  what = "Linear response", reliable = 0.7) {
  exact <- with_seed(1L, vb_importance(target, sd, tolerance, doubt, draws))
  if (!all(is.finite(exact$sd) & exact$sd > 0) || is.na(exact$khat)) {
    return(no_verdict(paste(
      "Whether", paste0(tolower(substr(what, 1, 1)), substring(what, 2)),
      "can be trusted cannot be said: importance sampling of the exact",
      "posterior gave no moments. Rescale the variables to sizes near one, or simplify the",
      "model.")))
  }
  check <- vb_compare(exact, names(labels), mean, sd)
  judged <- exact$khat <= reliable
  faults <- if (judged) vb_faults(check, tolerance, mean_tolerance, labels)
  verdict <- if (!judged) {
    sprintf(paste("%s is not to be trusted: the exact posterior is too far from q",
                  "to be judged by importance sampling (Pareto k %.2f)."), what, exact$khat)
  } else if (length(faults) > 0) {
    sprintf(paste("%s is not to be trusted: %s. Exact moments are in",
                  "convergence(fit)$check."), what, paste(faults, collapse = ", "))
  } else {
    sprintf("%s can be trusted: its sds are within %s of the exact ones.", what,
            percent_text(max(abs(check$sd_error))))
  }
  list(trusted = judged && length(faults) == 0, khat = exact$khat,
       sd_error = check$sd_error[which.max(abs(check$sd_error))], check = check,
       log_evidence = exact$log_evidence, verdict = verdict)
}

# What is wrong with linear response, in words: its worst sd and its worst mean.
vb_faults <- function(check, tolerance, mean_tolerance,
                      labels = stats::setNames(check$name, check$name)) {
  sd <- check[which.max(abs(check$sd_error) + 2 * check$mc_error), ]
  mean <- check[which.max(abs(check$mean_shift)), ]
  direction <- function(x) if (x > 0) "large" else "small"
  c(
    if (anyNA(check$sd_error)) {
      sprintf("it has no sd of %s", labels[[check$name[is.na(check$sd_error)][1]]])
    } else if (abs(sd$sd_error) + 2 * sd$mc_error > tolerance) {
      error <- if (sd$mc_error > 0.01) sprintf(" (+- %s)", percent_text(sd$mc_error)) else ""
      sprintf("its sd of %s is %s%s too %s", labels[[sd$name]],
              percent_text(abs(sd$sd_error)), error, direction(sd$sd_error))
    },
    if (abs(mean$mean_shift) > mean_tolerance) {
      sprintf("the mean of %s is %.1f sds too %s", labels[[mean$name]], abs(mean$mean_shift),
              direction(mean$mean_shift))
    }
  )
}

percent_text <- function(x) sprintf("%.1f %%", 100 * x)

# Posterior moments beside those of linear response, a row a free parameter.
vb_compare <- function(exact, name, mean, sd) {
  data.frame(name = name, mean = exact$mean, sd = exact$sd, sd_error = unname(sd) / exact$sd - 1,
             mc_error = exact$sd_error / exact$sd, mean_shift = (mean - exact$mean) / exact$sd)
}

# ---- importance sampling -----------------------------------------------------------------

# Posterior mean and sd of every free entry of theta, with the Monte Carlo error of the sd.
vb_importance <- function(target, sd, tolerance, doubt, draws) {
  proposal <- vb_proposal(target)
  for (n in draws) { # of each batch
    sample <- importance_sample(target, proposal, n)
    moments <- vb_moments(sample)
    if (isTRUE(settled(moments, sd, tolerance, doubt))) break
  }
  c(moments, khat = sample$khat, log_evidence = sample$log_mean)
}

# Whether Monte Carlo errors are small, and leave no doubt of which sds are within tolerance.
settled <- function(moments, sd, tolerance, doubt) {
  error <- abs(sd / moments$sd - 1)
  mc_error <- moments$sd_error / moments$sd
  off <- any(error - 2 * mc_error > tolerance, na.rm = TRUE)
  all(mc_error <= doubt) && (off || all(error + 2 * mc_error <= tolerance, na.rm = TRUE))
}

# Around linear response, and then around the moments found, until a draw is worth `enough`
# independent ones. (At the very moments of a normal target it is worth 0.91 in one dimension,
# 0.78 in three.)
vb_proposal <- function(target, enough = 0.75) {
  proposal <- list(mean = target$centre, root = covariance_root(target$cov),
                   normal = isTRUE(target$normal))
  for (round in 1:3) {
    sample <- importance_sample(target, proposal, 128L)
    proposal <- moved_proposal(sample, proposal)
    if (isTRUE(effective_size(sample) > enough * nrow(sample$x))) break
  }
  proposal
}

effective_size <- function(sample) sum(sample$weight)^2 / sum(sample$weight^2)

# n draws in each batch, the logarithms of the target's density (unnormalised) and their own,
# smoothed weights (of mean one) and what was evaluated there.
importance_sample <- function(target, proposal, n) {
  lattice <- if (isTRUE(proposal$normal)) lattice_normal else lattice_t
  draws <- do.call(rbind, lapply(seq_len(vb_check_batches), function(batch) lattice(n, proposal)))
  x <- draws[, -1, drop = FALSE]
  at <- target$evaluate(x)
  ratio <- at$log_density - draws[, 1]
  ratio[is.na(ratio)] <- -Inf
  if (max(ratio) == -Inf) { # nowhere near the posterior
    return(list(x = x, at = at, log_p = at$log_density, log_g = draws[, 1],
                weight = numeric(nrow(x)), khat = NA_real_, log_mean = NA_real_,
                batch = rep(seq_len(vb_check_batches), each = n)))
  }
  smooth <- pareto_smooth(ratio - max(ratio))
  weight <- exp(smooth$log_weight)
  list(x = x, at = at, log_p = at$log_density, log_g = draws[, 1],
       weight = weight / mean(weight), khat = smooth$khat,
       log_mean = max(ratio) + log(mean(weight)),
       batch = rep(seq_len(vb_check_batches), each = n))
}

moved_proposal <- function(sample, proposal) {
  # Where few draws carry all the weight their covariance says nothing.
  if (!isTRUE(effective_size(sample) >= 10 * ncol(sample$x))) return(proposal)
  moments <- stats::cov.wt(sample$x, sample$weight / sum(sample$weight), method = "ML")
  list(mean = moments$center, root = covariance_root(moments$cov), normal = proposal$normal)
}

# Multivariate t with 5 degrees of freedom, every other draw from a wider one, so that no
# weight runs away in a tail or along a ridge.
proposal_df <- 5
proposal_width <- c(1, 2)

# Draws by a lattice of irrational steps, shifted at random and folded (Genz and Bretz 2002):
# log density, then x, whose covariance is root'root where the proposal is not widened.
lattice_t <- function(n, proposal) {
  d <- length(proposal$mean)
  width <- rep_len(proposal_width, n)
  normal <- stats::qnorm(shifted_lattice(n, d + 1))
  z <- normal[, -1, drop = FALSE] * width * sqrt((proposal_df - 2) / chisq_of_normal(normal[, 1]))
  square <- rowSums(z^2)
  density <- vapply(proposal_width, function(width) {
    -d * log(width) - 0.5 * (proposal_df + d) * log1p(square / (proposal_df - 2) / width^2)
  }, square)
  density <- matrix(density, n)
  largest <- do.call(pmax, as.data.frame(density))
  constant <- lgamma((proposal_df + d) / 2) - lgamma(proposal_df / 2) -
    0.5 * d * log((proposal_df - 2) * pi) - sum(log(diag(proposal$root)))
  cbind(constant + largest + log(rowMeans(exp(density - largest))),
        z %*% proposal$root + rep(proposal$mean, each = n))
}

# Points of a lattice of irrational steps in the unit cube, in rows.
shifted_lattice <- function(n, d, shift = stats::runif(d)) {
  u <- outer(seq_len(n), sqrt(first_primes(d))) + rep(shift, each = n)
  u <- abs(2 * (u %% 1) - 1)
  pmin(pmax(u, 1e-12), 1 - 1e-12)
}

# The same of the normal law itself.
lattice_normal <- function(n, proposal) {
  z <- stats::qnorm(shifted_lattice(n, length(proposal$mean)))
  cbind(rowSums(stats::dnorm(z, log = TRUE)) - sum(log(diag(proposal$root))),
        z %*% proposal$root + rep(proposal$mean, each = n))
}

# The quantile of chi-squared at the probability of a standard normal number, within 1e-8 of
# itself: by a spline, made when the package is built, as stats::qchisq() is a sixth of a fit's
# time.
chisq_of_normal <- local({
  knots <- seq(-7.2, 7.2, by = 0.025)
  tail <- stats::pnorm(-abs(knots)) # both tails are known to all digits
  exact <- ifelse(knots < 0, stats::qchisq(tail, proposal_df),
                  stats::qchisq(tail, proposal_df, lower.tail = FALSE))
  log_quantile <- stats::splinefun(knots, log(exact))
  function(z) exp(log_quantile(z))
})

first_primes <- function(n) {
  primes <- 2
  while (length(primes) < n) {
    k <- max(primes) + 1
    while (any(k %% primes == 0)) k <- k + 1
    primes <- c(primes, k)
  }
  primes
}

# Upper triangular; a covariance that is not positive definite gives its diagonal.
covariance_root <- function(cov) {
  tryCatch(chol(cov), error = function(e) diag(sqrt(diag(cov)), nrow(cov)))
}

# E and sd of theta by weighted sums over the batches, the error of the sd by the jackknife.
vb_moments <- function(sample) {
  value <- cbind(sample$at$beta, sample$at$scales)
  k <- ncol(value)
  units <- column_units(value) # of large or small data the squares are no numbers
  value <- value / rep(units, each = nrow(value))
  centre <- colSums(value * sample$weight) / sum(sample$weight)
  value <- value - rep(centre, each = nrow(value))
  square <- value^2
  known <- seq_len(ncol(sample$at$beta))
  size <- rep(units[known], each = nrow(value))
  square[, known] <- square[, known] + sample$at$beta_variance / size / size
  sums <- rowsum(sample$weight * cbind(1, value, square), sample$batch)
  moments <- function(s) {
    mean <- s[1 + seq_len(k)] / s[1]
    list(mean = mean, sd = sqrt(pmax(s[1 + k + seq_len(k)] / s[1] - mean^2, 0)))
  }
  total <- colSums(sums)
  all <- moments(total)
  without <- matrix(apply(sums, 1, function(s) moments(total - s)$sd), k)
  error <- sqrt((ncol(without) - 1) / ncol(without) * rowSums((without - rowMeans(without))^2))
  error[is.nan(error)] <- Inf # all the weight is in one batch
  list(mean = units * (centre + all$mean), sd = units * all$sd, sd_error = units * error)
}

# ---- the exact posterior of the scales ---------------------------------------------------

# A list of centre and cov of x at the fit, and evaluate(x), which gives for the rows of x
# log_density, and of what is free scales (sd, cor, sigma), beta (its mean given the scales)
# and beta_variance.
vb_target <- function(fit) {
  shape <- scale_shape(fit)
  free <- shape$free
  model <- model_of(fit)
  beta <- seq_along(information_of(fit)$free_beta)
  p <- length(beta) + sum(model$smooth_size)
  evaluate <- function(x) {
    scales <- constrain_scales(x, shape)
    C <- .Call(C_glmm_evaluate, model, rbind(scales$Sigma, scales$sigma, scales$smooth))
    impossible <- is.na(C[1, ]) # Sigma is singular but for rounding
    C[, impossible] <- 0
    C[1, impossible] <- -Inf
    list(log_density = C[1, ] + scales$log_prior, scales = scales$value[, free, drop = FALSE],
         beta = t(C[1 + beta, , drop = FALSE]),
         beta_variance = t(C[1 + p + (beta - 1) * (p + 1) + 1, , drop = FALSE]))
  }
  slope <- ifelse(shape$kind == "cor", 1 / (1 - shape$mode^2), 1 / shape$mode)[free]
  cov <- information_of(fit)$var_cov[free, free, drop = FALSE] * outer(slope, slope)
  list(centre = unconstrain_scales(shape)[free], cov = cov, evaluate = evaluate)
}

# What the scales of a fit are: kind, whether free, and value at q's S and v of each entry of
# theta beyond beta; Sigma there; and a list for each free covariance block, variance of a curve
# or residual variance: its name as a factor of q, the columns of its sds (or sigma) and cors,
# its terms of Z, its curve or its level (integer() where it has none), the n groups,
# coefficients or rows it speaks of, the laws of its sds (see sd_law()) and eta of its correlations
# (NA: what half-t laws give), and d and S of q.
scale_shape <- function(fit) {
  variances <- parameters_of(fit)[parameters_of(fit)$block != "beta", ]
  mode <- unname(theta(fit))[parameters_of(fit)$block != "beta"]
  free <- !variances$fixed
  kind <- variances$block
  S <- factors_of(fit)$S
  root <- sqrt(diag(S))
  pairs <- covariance_pairs(column_blocks(design_of(fit)))
  at_S <- c(root, (S / outer(root, root))[pairs], factors_of(fit)$smooth,
            if (!design_of(fit)$known_se) factors_of(fit)$root_v)
  mode[free] <- at_S[free]
  design <- design_of(fit)
  laws <- lapply(unname(priors_of(fit)$stated)[parameters_of(fit)$block != "beta"], sd_law)
  size <- list(block = levels_of_column(design)[!duplicated(column_blocks(design))],
               smooth = smooth_sizes(design$curves),
               sigma = vb_rows(design))
  scale <- function(kind, i, name, sd, S, ...) {
    block <- list(name = name, sd = sd, S = as.matrix(S), n = size[[kind]][i],
                  laws = laws[sd], d = factors_of(fit)$df[[kind]][i], lkj = NA_real_)
    utils::modifyList(c(block, list(cor = integer(), terms = integer(), level = integer(),
                                    curve = integer())), list(...))
  }
  n_block <- n_blocks(design)
  blocks <- lapply(seq_len(n_block), function(b) {
    terms <- which(column_blocks(design) == b)
    scale("block", b, latent_scale_names(design)[b], terms,
          S[terms, terms, drop = FALSE], terms = terms,
          cor = which(kind == "cor")[cor_blocks(column_blocks(design)) == b],
          lkj = priors_of(fit)$told$prior_lkj[b])
  })
  levels <- lapply(seq_len(sum(kind == "sigma")), function(l) {
    scale("sigma", l, paste(c("sigma^2", levels(design$level)[l]), collapse = "|"),
          which(kind == "sigma")[l], factors_of(fit)$root_v[l]^2, level = l)
  })
  curves <- lapply(seq_along(design$curves), function(k) {
    scale("smooth", k, sprintf("sd^2|%s", design$curves[[k]]$label), which(kind == "smooth")[k],
          factors_of(fit)$smooth[k]^2, curve = k)
  })
  blocks <- Filter(function(block) free[block$sd[1]], c(blocks, curves, levels))
  list(kind = kind, free = free, mode = mode, Sigma = S, sigma = factors_of(fit)$root_v,
       blocks = blocks)
}

# Sigma; Sigma[1] and so on of several; with several factors of each Sigma|GROUP, Sigma[1]|GROUP.
latent_scale_names <- function(design) {
  groups <- law_groups(design)
  place <- stats::ave(seq_along(groups), groups, FUN = seq_along)
  alone <- table(groups)[groups] == 1
  paste0("Sigma", ifelse(alone, "", sprintf("[%d]", place)),
         if (is_crossed(design)) paste0("|", groups))
}

# Rows of x (the free scales) to list(value, Sigma (q^2 x n), sigma (levels x n), smooth (curves x
# n), log_prior), the latter the density of x.
constrain_scales <- function(x, shape) {
  n <- nrow(x)
  value <- matrix(shape$mode, n, length(shape$mode), byrow = TRUE)
  value[, shape$free] <- x
  Sigma <- matrix(shape$Sigma, length(shape$Sigma), n)
  log_prior <- numeric(n)
  for (block in shape$blocks) {
    q <- length(block$sd)
    sd <- exp(value[, block$sd, drop = FALSE])
    W <- correlation_root(value[, block$cor, drop = FALSE], q)
    log_prior <- log_prior + log_scale_prior(sd, W, block) +
      rowSums(log(cosh(value[, block$cor, drop = FALSE])))
    value[, block$sd] <- sd
    pairs <- covariance_pairs(rep(1L, q))
    for (i in seq_along(block$terms)) for (j in seq_along(block$terms)) {
      R <- rowSums(matrix(W[, i, ] * W[, j, ], n))
      k <- which(pairs[, 1] == i & pairs[, 2] == j)
      value[, block$cor[k]] <- R
      at <- block$terms[i] + nrow(shape$Sigma) * (block$terms[j] - 1)
      Sigma[at, ] <- sd[, i] * sd[, j] * R
    }
  }
  sigma <- value[, shape$kind == "sigma", drop = FALSE]
  if (ncol(sigma) == 0) sigma <- matrix(shape$sigma, n, length(shape$sigma), byrow = TRUE)
  list(value = value, Sigma = Sigma, sigma = t(sigma),
       smooth = t(value[, shape$kind == "smooth", drop = FALSE]), log_prior = log_prior)
}

# The mode of the shape on the scale of x.
unconstrain_scales <- function(shape) {
  x <- shape$mode
  for (block in shape$blocks) {
    if (length(block$sd) > 1) x[block$cor] <- root_coordinates(x[block$cor], length(block$sd))
    x[block$sd] <- log(x[block$sd])
  }
  x
}

# The w of correlations, which are kept off one by what rounding leaves of them there.
root_coordinates <- function(cor, q) {
  R <- diag(q)
  pairs <- covariance_pairs(rep(1L, q))
  R[pairs] <- R[pairs[, 2:1, drop = FALSE]] <- (1 - 1e-13) * cor
  W <- t(chol(R))
  asinh(W[pairs[, 2:1, drop = FALSE]] / diag(W)[pairs[, 2]])
}

# W (n x q x q) of R = W W' from the w of each pair.
correlation_root <- function(w, q) {
  n <- nrow(w)
  W <- array(0, c(n, q, q))
  pairs <- covariance_pairs(rep(1L, q))
  for (i in seq_len(q)) W[, i, i] <- 1
  for (k in seq_len(nrow(pairs))) W[, pairs[k, 2], pairs[k, 1]] <- sinh(w[, k])
  for (i in seq_len(q)) W[, i, ] <- W[, i, ] / sqrt(rowSums(matrix(W[, i, ]^2, n)))
  W
}

# Whether a block has the prior of Huang and Wand, which gives its correlations theirs.
is_huang_wand <- function(block) {
  half_t <- vapply(block$laws, function(law) law$family == 1L, NA)
  all(half_t) && (length(half_t) == 1 || is.na(block$lkj))
}

# log density of a block, of (log sd, w) but for the factor prod cosh w. With dR = |R|^{(q + 1)/2}
# dw times that factor, q the order, sds and correlations R = W W' have their own; or they have
#
#   p(Sigma) = c |Sigma|^{-(nu + 2 q)/2} prod_k (nu (Sigma^{-1})_kk + 1/A_k^2)^{-(nu + q)/2},
#
# that of Huang and Wand, auxiliary variables integrated, where d Sigma = 2^q |Sigma|^{(q + 1)/2}
# times that factor. A residual variance is the case q = 1.
log_scale_prior <- function(sd, W, block) {
  q <- ncol(sd)
  log_det_R <- numeric(nrow(sd))
  for (i in seq_len(q)) log_det_R <- log_det_R + 2 * log(W[, i, i])
  if (is_huang_wand(block)) return(log_huang_wand(sd, W, log_det_R, block))
  value <- if (q > 1) lkj_log_density(log_det_R, q, block$lkj) + 0.5 * (q + 1) * log_det_R else 0
  for (k in seq_len(q)) value <- value + sd_log_density(block$laws[[k]], sd[, k]) + log(sd[, k])
  value
}

log_huang_wand <- function(sd, W, log_det_R, block) {
  nu <- block$laws[[1]]$df
  A <- vapply(block$laws, `[[`, 0, "scale")
  q <- ncol(sd)
  log_det <- log_det_R + 2 * rowSums(log(sd))
  constant <- 0.5 * (nu + q - 1) * q * log(nu) - log_gamma_q(0.5 * (nu + q - 1), q) +
    sum(lgamma(0.5 * (nu + q)) - log(A) - 0.5 * log(pi)) + q * log(2)
  relative <- rep(A, each = nrow(sd)) / sd # the rate of the gamma law in units of 1 / A^2
  log_rate <- log1p(nu * inverse_diagonal(W) * relative^2) - 2 * rep(log(A), each = nrow(sd))
  constant - 0.5 * (nu + q - 1) * log_det - 0.5 * (nu + q) * rowSums(log_rate)
}

# The multivariate gamma function.
log_gamma_q <- function(x, q) {
  0.25 * q * (q - 1) * log(pi) + sum(lgamma(x - 0.5 * (seq_len(q) - 1)))
}

# The diagonal of (W W')^{-1} for lower triangular W, by row: n x q.
inverse_diagonal <- function(W) {
  n <- dim(W)[1]
  q <- dim(W)[2]
  out <- matrix(0, n, q)
  for (k in seq_len(q)) {
    column <- matrix(0, n, q) # of W^{-1}
    column[, k] <- 1 / W[, k, k]
    for (i in seq_len(q)[seq_len(q) > k]) {
      before <- k:(i - 1)
      sum <- rowSums(matrix(W[, i, before], n) * column[, before, drop = FALSE])
      column[, i] <- -sum / W[, i, i]
    }
    out[, k] <- rowSums(column^2)
  }
  out
}

# ---- Pareto smoothing --------------------------------------------------------------------

# Log weights with their tail replaced by the quantiles of a generalised Pareto distribution,
# and its shape k: above 0.7 importance sampling is unreliable (Vehtari, Simpson, Gelman, Yao
# and Gabry 2024, JMLR 25(72)). log_ratio has maximum 0.
pareto_smooth <- function(log_ratio) {
  n <- length(log_ratio)
  size <- ceiling(min(0.2 * n, 3 * sqrt(n)))
  tail <- order(log_ratio)[n - size + seq_len(size)]
  cutoff <- exp(max(sort(log_ratio)[n - size], log(.Machine$double.xmin)))
  excess <- exp(log_ratio[tail]) - cutoff
  if (!(excess[1] > 0)) return(list(log_weight = log_ratio, khat = Inf))
  pareto <- fit_pareto(excess)
  u <- (seq_len(size) - 0.5) / size
  quantile <- pareto$sigma * expm1(-pareto$k * log1p(-u)) / pareto$k
  log_ratio[tail] <- pmin(log(quantile + cutoff), 0)
  list(log_weight = log_ratio, khat = pareto$k)
}

# Shape and scale of a generalised Pareto sample x in increasing order: the quasi-Bayesian
# estimate of Zhang and Stephens (2009, Technometrics 51:316), its shape shrunk a little
# towards 1/2 (Vehtari et al.).
fit_pareto <- function(x) {
  n <- length(x)
  size <- 30 + floor(sqrt(n))
  theta <- 1 / x[n] + (1 - sqrt(size / (seq_len(size) - 0.5))) / (3 * x[floor(n / 4 + 0.5)])
  k <- vapply(theta, function(t) mean(log1p(-t * x)), 0)
  log_lik <- n * (log(-theta / k) - k - 1)
  weight <- exp(log_lik - max(log_lik))
  theta <- sum(theta * weight) / sum(weight)
  k <- mean(log1p(-theta * x))
  list(k = (n * k + 5) / (n + 10), sigma = -k / theta)
}
