# The normal closest to a normal, in each sense of "closest" that a lecture on variational
# inference asks about. With Lambda = Sigma^{-1}, target p = N(mu, Sigma), q = N(m, S) in d
# dimensions:
#
#   E_q[log q]  = -(d log(2 pi e) + log|S|) / 2
#   -E_q[log p] = (d log(2 pi) + log|Sigma| + tr(Lambda S) + (m - mu)' Lambda (m - mu)) / 2
#
# and KL(q || p) is their sum; KL(p || q) is the same with the parts of p and q exchanged.

#' The closest normal, and what closest means
#'
#' Projects a normal target \eqn{p = N(\mu, \Sigma)}{p = N(mu, Sigma)} on a family of
#' distributions q: the exercises by which one learns what the family, the direction of the
#' Kullback-Leibler divergence and each of its two terms do. Solved exactly, in any dimension.
#'
#' | family | direction | objective | optimum |
#' |:--|:--|:--|:--|
#' | `"full"` | either | `"kl"` | p itself |
#' | `"independent"` | `"q\|\|p"` | `"kl"` | mean `mu`, variances `1 / solve(Sigma)[j, j]`: inside |
#' | `"independent"` | `"p\|\|q"` | `"kl"` | mean `mu`, variances `Sigma[j, j]`: covers p |
#' | the two above | `"q\|\|p"` | `"no_entropy"` | none: q collapses on the maximum of log p |
#' | the two above | `"q\|\|p"` | `"no_log_p"` | none: q spreads without end |
#' | `"point"` | either | `"kl"` | none: the divergence is infinite for every point |
#' | `"point"` | `"q\|\|p"` | `"no_entropy"` | the point at the maximum of log p |
#' | `"point"`, `sd` | either | `"kl"` | mean `mu`, as a point would |
#'
#' @param mean,cov mean and covariance matrix of the target; for one dimension two numbers.
#' @param family the distributions q: `"full"`, all normals; `"independent"`, normals with
#'   independent coordinates; `"point"`, point masses, or with `sd` the normals of that standard
#'   deviation in every coordinate and no correlation.
#' @param direction `"q||p"` minimises
#'   \eqn{KL(q \| p) = E_q[\log q] - E_q[\log p]}{KL(q || p) = E_q[log q] - E_q[log p]},
#'   `"p||q"` minimises \eqn{KL(p \| q)}{KL(p || q)}.
#' @param objective `"kl"`, or the divergence without one of its terms: `"no_entropy"` leaves only
#'   \eqn{-E_q[\log p]}{-E_q[log p]}, `"no_log_p"` only \eqn{E_q[\log q]}{E_q[log q]}. In
#'   \eqn{KL(p \| q) = E_p[\log p] - E_p[\log q]}{KL(p || q) = E_p[log p] - E_p[log q]} both
#'   terms are the same constant \eqn{E_p[\log p]}{E_p[log p]}; what remains, the cross-entropy,
#'   has the same optimum. It is what maximum likelihood minimises.
#' @param sd standard deviation of the normals that stand for point masses; only for
#'   `family = "point"`.
#' @return A list of class `elbo_kl`:
#' \describe{
#'   \item{`status`}{`"optimum"`; `"collapse"` or `"dispersion"` where the objective improves for
#'     ever as q narrows or spreads; `"indifferent"` where every mean is as good; `"undefined"`
#'     where the objective is infinite for every q.}
#'   \item{`mean`, `cov`}{of the optimal q, or of the limit: zero covariances after a collapse,
#'     infinite variances after a dispersion, `NA` for what is not determined.}
#'   \item{`value`}{the objective there (minimised), with all constants: `-Inf` after a
#'     dispersion, `Inf` where undefined.}
#'   \item{`target`}{list of `mean` and `cov`.}
#'   \item{`family`, `direction`, `objective`, `sd`}{as asked.}
#' }
#' `print()` says it in words. `plot()` draws regions that hold 50 % and 95 % of p and of the
#' optimal q (of the coordinates `which`, on axes of the same scale unless their sds are more than
#' 20 times apart; densities in one dimension) and returns its argument invisibly.
#' @references
#' Blei, D. M., Kucukelbir, A. and McAuliffe, J. D. (2017). Variational inference: a review for
#' statisticians. *Journal of the American Statistical Association* 112, 859--877.
#' \doi{10.1080/01621459.2017.1285773}
#' @family teaching
#' @examples
#' cov <- matrix(c(1, 0.8, 0.8, 1), 2)
#' kl_project(c(0, 0), cov, "independent")
#' kl_project(c(0, 0), cov, "independent", direction = "p||q")
#' kl_project(c(0, 0), cov, "point")
#' plot(kl_project(c(0, 0), cov, "independent"))
#' @export
kl_project <- function(mean, cov, family = c("full", "independent", "point"),
                       direction = c("q||p", "p||q"),
                       objective = c("kl", "no_entropy", "no_log_p"), sd = NULL) {
  family <- check_choice(family, "family", c("full", "independent", "point"))
  direction <- check_choice(direction, "direction", c("q||p", "p||q"))
  objective <- check_choice(objective, "objective", c("kl", "no_entropy", "no_log_p"))
  target <- check_normal(mean, cov)
  if (!is.null(sd)) check_positive(sd, "sd")
  if (!is.null(sd) && family != "point") {
    abort(sprintf("`sd` is for `family = \"point\"` only, not \"%s\"; leave it out.", family),
          "elbo_error_argument")
  }
  optimum <- kl_optimum(target, family, direction, objective, sd)
  labels <- names(target$mean)
  names(optimum$mean) <- labels
  dimnames(optimum$cov) <- list(labels, labels)
  structure(c(optimum, list(target = target, family = family, direction = direction,
                            objective = objective, sd = sd)), class = "elbo_kl")
}

check_normal <- function(mean, cov) {
  check(is.numeric(mean) && length(mean) > 0 && all(is.finite(mean)), "mean",
        "a vector of finite numbers", mean)
  d <- length(mean)
  if (d == 1 && is.numeric(cov) && length(cov) == 1) cov <- matrix(cov)
  check(is.numeric(cov) && identical(dim(cov), c(d, d)) && all(is.finite(cov)), "cov",
        sprintf("a %d x %d matrix of finite numbers, as `mean` has %d", d, d, d), cov)
  if (!isSymmetric(unname(cov)) || inherits(try(chol(cov), silent = TRUE), "try-error")) {
    abort(c("`cov` must be symmetric and positive definite: a covariance matrix with no",
            "coordinate that is a combination of the others."), "elbo_error_argument")
  }
  labels <- names(mean)
  if (is.null(labels)) labels <- colnames(cov)
  if (is.null(labels)) labels <- paste0("z", seq_len(d))
  list(mean = stats::setNames(as.vector(mean), labels),
       cov = matrix(cov, d, dimnames = list(labels, labels)))
}

# status, mean, cov and value of the minimum.
kl_optimum <- function(target, family, direction, objective, sd) {
  if (family == "point" && is.null(sd)) return(point_optimum(target, direction, objective))
  if (direction == "p||q") objective <- if (objective == "kl") "kl" else "cross_entropy"
  if (family != "point" && objective == "no_entropy") return(kl_limit(target, "collapse", family))
  if (family != "point" && objective == "no_log_p") return(kl_limit(target, "dispersion", family))
  Sigma <- target$cov
  d <- nrow(Sigma)
  S <- switch(family,
    full = Sigma,
    independent = diag(if (direction == "p||q") diag(Sigma) else 1 / diag(solve(Sigma)), d),
    point = diag(sd^2, d)
  )
  from <- if (direction == "p||q") Sigma else S
  to <- if (direction == "p||q") S else Sigma
  value <- switch(objective,
    kl = negative_entropy(from) + cross_entropy(from, to),
    no_entropy = , cross_entropy = cross_entropy(from, to),
    no_log_p = negative_entropy(from)
  )
  if (objective == "no_log_p") return(kl_result("indifferent", NA * target$mean, S, value))
  kl_result("optimum", target$mean, S, value)
}

kl_result <- function(status, mean, cov, value) {
  list(status = status, mean = mean, cov = cov, value = value)
}

# No point mass is absolutely continuous with respect to p, nor p to it: the divergence is infinite
# either way, as is the limit of each term with log q. Without the entropy there is no log q.
point_optimum <- function(target, direction, objective) {
  if (direction == "q||p" && objective == "no_entropy") {
    return(kl_limit(target, "optimum", "point"))
  }
  kl_result("undefined", NA * target$mean, NA * target$cov, Inf)
}

# Where q goes as it narrows to a point, or spreads.
kl_limit <- function(target, status, family) {
  nothing <- 0 * target$cov
  if (status == "dispersion") {
    return(kl_result(status, NA * target$mean, endless(nrow(nothing), family), -Inf))
  }
  kl_result(status, target$mean, nothing, cross_entropy(nothing, target$cov))
}

# Variances without end; the correlations of the full family are free.
endless <- function(d, family) {
  S <- matrix(if (family == "full") NA_real_ else 0, d, d)
  diag(S) <- Inf
  S
}

log_det <- function(S) as.vector(determinant(S)$modulus)

# E[log N(0, S)] under N(0, S).
negative_entropy <- function(S) -0.5 * (nrow(S) * (log(2 * pi) + 1) + log_det(S))

# -E[log N(0, B)] under N(0, A); under the point mass at 0 where A is zero.
cross_entropy <- function(A, B) {
  0.5 * (nrow(B) * log(2 * pi) + log_det(B) + sum(diag(solve(B, A))))
}

# ---- in words ----------------------------------------------------------------------------

#' @rdname kl_project
#' @param x a projection, made by `kl_project()`.
#' @param ... not used.
#' @export
print.elbo_kl <- function(x, ...) {
  check_dots_empty(..., .but = passed_along$print)
  cat(kl_family(x), ", smallest ", kl_formula(x), "\n", sep = "")
  writeLines(table_lines(kl_columns(x)))
  writeLines(kl_value_words(x))
  write_wrapped(kl_words(x))
  invisible(x)
}

# Coordinates, and the moments of p and of q where there is one.
kl_columns <- function(x) {
  shown <- function(value) {
    ifelse(is.na(value), "any", trimws(formatC(value, digits = 4, format = "fg")))
  }
  columns <- list(names(x$target$mean), "p mean" = shown(x$target$mean),
                  "p sd" = shown(sqrt(diag(x$target$cov))))
  if (x$status == "undefined") return(columns)
  c(columns, list("q mean" = shown(x$mean), "q sd" = shown(sqrt(diag(x$cov)))))
}

kl_value_words <- function(x) {
  if (!x$status %in% c("optimum", "collapse", "undefined")) return(character())
  paste0(kl_formula(x), if (x$status == "collapse") " tends to " else " = ",
         trimws(formatC(x$value, digits = 4, format = "fg")))
}

kl_family <- function(x) {
  switch(x$family,
    full = "All normals", independent = "Independent normals",
    point = if (is.null(x$sd)) "Point masses" else sprintf("Normals of sd %s", format(x$sd))
  )
}

kl_formula <- function(x) {
  if (x$objective == "kl") return(sprintf("KL(%s)", sub("||", " || ", x$direction, fixed = TRUE)))
  if (x$direction == "p||q") return("-E_p[log q]")
  if (x$objective == "no_entropy") "-E_q[log p]" else "E_q[log q]"
}

kl_words <- function(x) {
  if (x$status == "undefined") {
    return(paste(
      "Infinite for every point: what has probability 1 under a point mass has probability 0 under",
      "p, and the other way round, so that no point is better than another. Normals of small fixed",
      "variance are a way out: give `sd`; or leave out the entropy: objective = \"no_entropy\"."
    ))
  }
  if (x$status == "collapse") {
    return(paste(
      "No optimum: without the entropy nothing keeps q wide, and it collapses on the maximum of",
      "log p."
    ))
  }
  if (x$status == "dispersion") {
    return("No optimum: without log p nothing holds q, and it spreads without end.")
  }
  if (x$status == "indifferent") {
    return("Every mean is as good: the entropy does not depend on it.")
  }
  if (x$family == "full") return("q = p: the family contains the target.")
  if (isTRUE(all.equal(x$cov, x$target$cov, tolerance = 1e-10))) {
    return("q = p: this target is one of the family.")
  }
  if (x$family == "point") {
    return("q acts as a point mass at the maximum of log p, whatever the covariance of p.")
  }
  if (x$direction == "q||p") {
    return(paste(
      "q fits inside p: each variance is 1 / (Sigma^-1)_jj, that of a coordinate given all the",
      "others, never more than its variance under p."
    ))
  }
  "q covers p: each coordinate has the mean and the variance that it has under p."
}

# ---- as a picture ------------------------------------------------------------------------

#' @rdname kl_project
#' @param which the two coordinates to draw.
#' @export
plot.elbo_kl <- function(x, which = c(1, 2), ...) {
  check_dots_empty(...)
  d <- length(x$target$mean)
  if (d == 1) {
    plot_kl_densities(x)
  } else {
    check(is.numeric(which) && length(which) == 2 && all(which %in% seq_len(d)) &&
            which[1] != which[2], "which", sprintf("two different coordinates of 1 to %d", d),
          which)
    plot_kl_ellipses(x, which)
  }
  graphics::title(kl_family(x), line = 1.7, cex.main = title_size(kl_family(x)))
  said <- if (x$status == "undefined") "%s is infinite for every q" else "smallest %s"
  graphics::mtext(sprintf(said, kl_formula(x)), line = 0.5, cex = 0.9 * graphics::par("cex"))
  falling <- d > 1 && x$target$cov[which[1], which[2]] < 0
  kl_key(x, if (falling) "topright" else "topleft")
  graphics::box()
  invisible(x)
}

kl_key <- function(x, where) {
  key <- c("p", kl_legend(x))
  drawn <- seq_along(key)
  graphics::legend(where, key, bg = "white", box.col = NA, inset = 0.01, lwd = c(6, 2)[drawn],
                   lty = c(1, kl_lty(x))[drawn], seg.len = 2.5,
                   col = c("grey75", colours[["blue"]])[drawn])
}

kl_legend <- function(x) {
  switch(x$status,
    optimum = "q", collapse = "q narrows", dispersion = "q spreads", undefined = NULL,
    indifferent = "q, any mean"
  )
}

# Dashed, so that p shows through; but dashes would break up a small circle.
kl_lty <- function(x) if (x$family == "point") 1 else 2

# The q to be drawn: list(mean, cov, scales, levels); several scales where there is no optimum.
kl_pictured <- function(x) {
  mean <- x$target$mean
  shape <- if (x$family == "full") x$target$cov else diag(diag(x$target$cov), length(mean))
  one <- list(mean = mean, cov = x$cov, scales = 1, levels = c(0.95, 0.5))
  switch(x$status,
    optimum = one, indifferent = one,
    collapse = list(mean = mean, cov = shape, scales = 2^-(1:4), levels = 0.95),
    dispersion = list(mean = mean, cov = shape, scales = 1.5^(1:4), levels = 0.95),
    undefined = list(mean = mean, cov = shape, scales = numeric(), levels = numeric())
  )
}

plot_kl_ellipses <- function(x, which) {
  q <- kl_pictured(x)
  mean <- x$target$mean[which]
  cov <- x$target$cov[which, which]
  reach <- sqrt(stats::qchisq(0.95, 2) * diag(cov)) * if (x$status == "dispersion") 2.7 else 1.35
  labels <- names(mean)
  graphics::plot(NA, xlim = mean[1] + c(-1, 1) * reach[1], xlab = labels[1],
                 ylim = mean[2] + c(-1, 1) * reach[2], ylab = labels[2], las = 1,
                 asp = if (max(reach) < 20 * min(reach)) 1 else NA)
  for (level in c(0.95, 0.5)) {
    graphics::polygon(normal_ellipse(mean, cov, level), border = "grey55", lwd = 1.5,
                      col = grDevices::adjustcolor("black", 0.13))
  }
  for (scale in q$scales) {
    for (level in q$levels) {
      graphics::lines(normal_ellipse(q$mean[which], scale^2 * q$cov[which, which], level),
                      col = colours[["blue"]], lwd = 2, lty = kl_lty(x))
    }
  }
  at_a_point <- x$status == "collapse" || (x$status == "optimum" && all(x$cov == 0))
  if (at_a_point) graphics::points(mean[1], mean[2], pch = 19, col = colours[["blue"]])
}

# The boundary of the smallest region that holds `level` of N(mean, cov), a row for each point.
normal_ellipse <- function(mean, cov, level) {
  angle <- seq(0, 2 * pi, length.out = 201)
  root <- eigen(cov, symmetric = TRUE)
  unit <- cbind(cos(angle), sin(angle)) %*% (t(root$vectors) * sqrt(pmax(root$values, 0)))
  sweep(sqrt(stats::qchisq(level, 2)) * unit, 2, mean, `+`)
}

plot_kl_densities <- function(x) {
  q <- kl_pictured(x)
  mean <- x$target$mean
  sd <- sqrt(x$target$cov[1])
  z <- mean + sd * seq(-4, 4, length.out = 801)
  density <- function(scale) stats::dnorm(z, q$mean, scale * sqrt(q$cov[1]))
  p <- stats::dnorm(z, mean, sd)
  defined <- q$scales[q$scales * sqrt(q$cov[1]) > 0]
  curves <- lapply(defined, density)
  graphics::plot(NA, xlim = range(z), ylim = c(0, 1.25 * max(p, unlist(curves))), las = 1,
                 xlab = names(mean), ylab = "density")
  graphics::polygon(c(z, rev(z)), c(p, 0 * p), border = "grey55",
                    col = grDevices::adjustcolor("black", 0.13))
  for (curve in curves) graphics::lines(z, curve, col = colours[["blue"]], lwd = 2, lty = 2)
  if (length(defined) < length(q$scales)) {
    graphics::abline(v = q$mean, col = colours[["blue"]], lwd = 2, lty = 2)
  }
}
