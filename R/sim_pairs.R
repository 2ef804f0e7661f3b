#' Simulate Neyman and Scott's pairs
#'
#' Every pair has a latent mean of its own and shares the residual variance `theta`:
#' \deqn{z_n \sim N(0, 1), \qquad y_{nj} \mid z_n \sim N(z_n, \theta), \qquad
#'   n = 1, \dots, N, \quad j = 1, \dots, m.}{z_n ~ N(0, 1), y_nj | z_n ~ N(z_n, theta).}
#' Neyman and Scott (1948) showed that maximising over all the \eqn{z_n} and
#' \eqn{\theta}{theta} together makes the estimate tend to
#' \eqn{\theta (m - 1) / m}{theta (m - 1) / m}: half of the truth for pairs.
#'
#' @param n number of pairs.
#' @param theta residual variance, positive.
#' @param m rows in each pair; 2 unless said otherwise.
#' @return A data frame of `n * m` rows with columns `y` and `pair` (a factor). [truth()] gives
#'   the parameters and the latent means. The draws come from R's generator: use [set.seed()].
#' @references Neyman, J. and Scott, E. L. (1948). Consistent estimates based on partially
#'   consistent observations. *Econometrica* 16, 1--32. \doi{10.2307/1914288}
#' @family simulators
#' @export
#' @examples
#' set.seed(1)
#' pairs <- sim_pairs(1000, theta = 1)
#' points <- fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint",
#'                    prior = priors(pair = constant(Inf)))
#' integrated <- update(points, method = "em")
#' c(points = sigma(points)^2, integrated = sigma(integrated)^2)
sim_pairs <- function(n, theta, m = 2) {
  n <- check_count(n, "n")
  m <- check_count(m, "m")
  check_positive(theta, "theta")
  z <- stats::rnorm(n)
  pairs <- data.frame(
    y = stats::rnorm(n * m, mean = rep(z, each = m), sd = sqrt(theta)),
    pair = factor(rep(seq_len(n), each = m))
  )
  attr(pairs, "truth") <- list(
    theta = c("sd__(Intercept)|pair" = 1, sigma = sqrt(theta)),
    latent = latent_values(cbind("(Intercept)" = z), "pair", levels(pairs$pair))
  )
  pairs
}
