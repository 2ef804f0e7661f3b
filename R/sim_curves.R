#' Simulate expression-like curves in clusters
#'
#' Draws genes (or other units) that are followed over time: a gene's expression is the curve of its
#' cluster, plus its own smooth deviation from it, plus noise,
#' \deqn{y_{it} = \mu_{z_i}(t) + a_i + d_i(t) + e_{it},}{y_it = mu_z(t) + a_i + d_i(t) + e_it,}
#' with an offset \eqn{a_i\sim N(0, sd_1^2)}{a_i ~ N(0, sd_1^2)}, a Gaussian process
#' \eqn{d_i}{d_i} with standard deviation \eqn{sd_2}{sd_2} and correlation
#' \eqn{\exp(-(t-s)^2/(2\ell^2))}{exp(-(t - s)^2 / (2 l^2))}, \eqn{\ell}{l} a quarter of the
#' range of times, and noise of standard deviation `sigma`: a mixture of mixed-effects curves,
#' which [fit_mixture()] approximates by splines.
#'
#' @param n number of genes.
#' @param times at least two distinct times, at which every gene is measured.
#' @param k number of clusters, up to 10 without `curves`: the first k of an early response, a
#'   sustained and a late one, a biphasic, a cyclic and a flat curve, an early and a late
#'   repression, a peak in the middle, and a second cycle in antiphase.
#' @param weight k positive numbers, proportional to the probabilities of the clusters.
#' @param curves the clusters' curves, instead of those: a k x times matrix, with several arms a
#'   k x times x arms array, or a function that makes it of `times`. Row names name the curves.
#' @param sd two numbers >= 0: the standard deviations of a gene's offset and of its smooth
#'   deviation.
#' @param sigma residual standard deviation, one or one for each cluster.
#' @param missing share of the rows that are missing, from 0 to less than 1: they are chosen at
#'   random and left out, but every gene keeps one.
#' @param arms number of arms, such as strains of a virus, under each of which every gene is
#'   measured. Without `curves` the curve of a cluster is, from one arm to the next, the same,
#'   half as high, or flat, in turn over the clusters; a gene's deviation is common to all arms.
#' @param replicates measurements at each time (of each arm).
#' @param seed a number for reproducible draws; `NULL` takes R's generator as it is.
#' @return A data frame of `n * length(times) * arms * replicates` rows, less those missing:
#'   `gene` (a factor), `strain` (a factor, with several arms), `time`, `replicate` (with
#'   several) and `expr`. [truth()] gives, components in the order of their weights, largest
#'   first,
#'   \describe{
#'     \item{`theta`}{weights and residual standard deviations, named as [theta()] names them;}
#'     \item{`latent`}{data frame of the `unit` and the `component` that was drawn;}
#'     \item{`curves`}{array, k x times x arms;}
#'     \item{`deviations`}{matrix, genes x times: offset and smooth deviation as drawn;}
#'     \item{`covariance`}{that of the deviations, times x times.}
#'   }
#' @references
#' Luan, Y. and Li, H. (2003). Clustering of time-course gene expression data using a mixed-effects
#' model with B-splines. *Bioinformatics* 19, 474--482. \doi{10.1093/bioinformatics/btg014}
#' @family simulators
#' @export
#' @examples
#' d <- sim_curves(60, k = 3, seed = 1)
#' fit <- fit_mixture(expr ~ splines::bs(time, df = 5) + (1 | gene), d, k = 3, unit = ~ gene)
#' table(truth(d)$latent$component, predict(fit))
#'
#' # Two strains, three replicates, a tenth of the measurements lost
#' head(sim_curves(60, arms = 2, replicates = 3, missing = 0.1, seed = 1))
#'
#' # Curves of one's own
#' waves <- function(time) outer(1:3, time, function(j, t) sin(2 * pi * j * t / 48))
#' truth(sim_curves(60, curves = waves))$curves[, 1:4, 1]
sim_curves <- function(n = 200, times = seq(0, 48, by = 4), k = 6, weight = rep(1, k),
                       curves = NULL, sd = c(0.3, 0.3), sigma = 0.3, missing = 0, arms = 1,
                       replicates = 1, seed = NULL) {
  n <- check_count(n, "n")
  is_times <- is.numeric(times) && length(times) > 1 && all(is.finite(times)) &&
    !anyDuplicated(times)
  check(is_times, "times", "at least two distinct finite numbers", times)
  arms <- check_count(arms, "arms")
  replicates <- check_count(replicates, "replicates")
  curves <- check_cluster_curves(curves, times, k, arms)
  k <- nrow(curves)
  is_weight <- is.numeric(weight) && length(weight) == k && all(is.finite(weight) & weight > 0)
  check(is_weight, "weight", sprintf("%d positive numbers, one for each cluster", k), weight)
  check(is_finite_vector(sd, 2) && all(sd >= 0), "sd", "two numbers >= 0", sd)
  order <- order(weight, decreasing = TRUE)
  sigma <- check_scales(sigma, "sigma", order)
  check(is_number(missing) && missing >= 0 && missing < 1, "missing",
        "a number from 0 to less than 1", missing)
  weight <- weight[order] / sum(weight)
  curves <- curves[order, , , drop = FALSE]
  covariance <- sd[1]^2 + sd[2]^2 * smooth_correlation(times)
  dimnames(covariance) <- list(times, times)

  with_seed(seed, {
    component <- category_draws(rbind(weight), rep(1L, n))
    deviations <- draw_deviations(n, covariance)
    at <- expand.grid(replicate = seq_len(replicates), time = seq_along(times), arm = seq_len(arms),
                      gene = seq_len(n))
    z <- component[at$gene]
    mean <- curves[cbind(z, at$time, at$arm)] + deviations[cbind(at$gene, at$time)]
    data <- data.frame(gene = factor(at$gene), time = times[at$time],
                       expr = stats::rnorm(nrow(at), mean, sigma[z]))
    kept <- kept_rows(at$gene, missing)
  })
  if (replicates > 1) data <- cbind(data[1:2], replicate = at$replicate, data[3])
  if (arms > 1) data <- cbind(data[1], strain = factor(LETTERS[at$arm]), data[-1])
  data <- data[kept, ]
  row.names(data) <- NULL
  attr(data, "truth") <- list(
    theta = c(by_component(weight, "weight"), by_component(sigma, "sigma")),
    latent = data.frame(unit = levels(data$gene), component = component),
    curves = curves, deviations = deviations, covariance = covariance
  )
  data
}

# k x times x arms.
check_cluster_curves <- function(curves, times, k, arms) {
  check(arms <= length(LETTERS), "arms", sprintf("at most %d", length(LETTERS)), arms)
  if (is.null(curves)) {
    k <- check_count(k, "k")
    check(k <= length(cluster_shapes), "k",
          sprintf("at most %d, or the clusters given as `curves`", length(cluster_shapes)), k)
    curves <- default_cluster_curves(times, k, arms)
  }
  if (is.function(curves)) curves <- curves(times)
  size <- c(length(times), arms)
  if (length(dim(curves)) == 2) {
    curves <- array(curves, c(dim(curves), 1), list(rownames(curves), NULL, NULL))
  }
  ok <- is.numeric(curves) && length(dim(curves)) == 3 && all(dim(curves)[-1] == size) &&
    all(is.finite(curves))
  check(ok, "curves", sprintf("finite numbers, clusters x %d times%s", size[1],
                              if (arms > 1) sprintf(" x %d arms", arms) else ""), curves)
  dimnames(curves) <- list(rownames(curves), times, if (arms > 1) LETTERS[seq_len(arms)])
  curves
}

# Changes of log2 expression against the share of time that has passed, s.
cluster_shapes <- list(
  early = function(s) 2.5 * bump(s, 0.15, 0.1),
  sustained = function(s) 2 * stats::plogis((s - 0.2) / 0.04),
  late = function(s) 2 * stats::plogis((s - 0.7) / 0.05),
  biphasic = function(s) 2 * bump(s, 0.2, 0.1) - 2 * bump(s, 0.7, 0.15),
  cyclic = function(s) 1.5 * sin(4 * pi * s),
  flat = function(s) 0 * s,
  `early repression` = function(s) -2.5 * bump(s, 0.15, 0.1),
  `late repression` = function(s) -2 * stats::plogis((s - 0.6) / 0.05),
  middle = function(s) 2.5 * bump(s, 0.5, 0.12),
  antiphase = function(s) -1.5 * sin(4 * pi * s)
)

bump <- function(s, at, width) exp(-(s - at)^2 / (2 * width^2))

default_cluster_curves <- function(times, k, arms) {
  share <- (times - min(times)) / diff(range(times))
  shapes <- cluster_shapes[seq_len(k)]
  curve <- t(vapply(shapes, function(shape) shape(share), share))
  height <- outer(rep_len(c(1, 0.5, 0), k), seq_len(arms) - 1, `^`) # 0^0 = 1: the first arm in full
  curves <- vapply(seq_len(arms), function(a) curve * height[, a], curve)
  array(curves, c(dim(curve), arms), list(names(shapes), NULL, NULL))
}

smooth_correlation <- function(times) {
  length <- diff(range(times)) / 4
  exp(-outer(times, times, `-`)^2 / (2 * length^2))
}

# n x times. The root by eigenvalues, since smooth curves have nearly singular covariances.
draw_deviations <- function(n, covariance) {
  spectrum <- eigen(covariance, symmetric = TRUE)
  root <- sqrt(pmax(spectrum$values, 0)) * t(spectrum$vectors)
  deviations <- matrix(stats::rnorm(n * nrow(covariance)), n) %*% root
  dimnames(deviations) <- list(seq_len(n), colnames(covariance))
  deviations
}

# One row of each gene stays; of the others those missing are drawn.
kept_rows <- function(gene, missing) {
  rows <- seq_along(gene)
  lost <- round(missing * length(rows))
  if (lost == 0) return(rows)
  shuffled <- sample(rows)
  safe <- shuffled[!duplicated(gene[shuffled])]
  spare <- setdiff(shuffled, safe)
  setdiff(rows, spare[seq_len(min(lost, length(spare)))])
}
