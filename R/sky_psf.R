# Point-spread functions: mixtures of normals, list(weight, mean, covariance) as components() has
# them: k; k x 2; k x 2 x 2.

as_sky_psf <- function(psf, name = "psf") {
  if (is.null(psf)) return(NULL)
  if (is_number(psf) && psf >= 0.01 && psf <= 1000) return(round_psf(psf))
  if (is.matrix(psf) && is.numeric(psf)) return(psf_from_picture(psf, name))
  if (!is.list(psf)) {
    check(FALSE, name, paste("a number from 0.01 to 1000, a matrix, or a list of `weight`, `mean`,",
                             "`covariance`"), psf)
  }
  k <- length(psf$weight)
  covariance <- psf$covariance
  check(k >= 1 && k <= 16 && are_weights(psf$weight) && are_psf_covariances(covariance, k), name,
        paste("a list of `weight` (k), `mean` (k x 2) and `covariance` (k x 2 x 2,",
              "positive definite), k at most 16"), psf)
  mean <- if (is.null(psf$mean)) matrix(0, k, 2) else psf$mean
  check(is.numeric(mean) && identical(dim(mean), c(k, 2L)) && all(is.finite(mean)), name,
        "a list whose `mean` is a k x 2 matrix of numbers", mean)
  weight <- psf$weight / sum(psf$weight)
  list(weight = weight, mean = sweep(mean, 2, colSums(weight * mean)), covariance = covariance)
}

are_weights <- function(x) is.numeric(x) && all(is.finite(x)) && all(x >= 0) && sum(x) > 0

are_psf_covariances <- function(x, k) {
  identical(as.integer(dim(x)), c(as.integer(k), 2L, 2L)) &&
    all(vapply(seq_len(k), function(j) is_covariance(matrix(x[j, , ], 2)), NA))
}

round_psf <- function(sd) {
  list(weight = 1, mean = matrix(0, 1, 2), covariance = array(sd^2 * diag(2), c(1, 2, 2)))
}

# As C reads it: mean 2 x k, covariance 3 x k (xx, xy, yy).
psf_for_c <- function(psf) {
  S <- psf$covariance
  list(weight = as.double(psf$weight), mean = as.double(t(psf$mean)),
       covariance = as.double(rbind(S[, 1, 1], S[, 1, 2], S[, 2, 2])))
}

psf_from_c <- function(weight, covariance) {
  k <- length(weight)
  order <- order(covariance[1, ] + covariance[3, ])
  S <- array(covariance[c(1, 2, 2, 3), order], c(2, 2, k))
  list(weight = weight[order], mean = matrix(0, k, 2), covariance = aperm(S, c(3, 1, 2)))
}

# The standard deviation of the core: that of a round normal of the same height.
psf_sd <- function(psf) {
  det <- psf$covariance[, 1, 1] * psf$covariance[, 2, 2] - psf$covariance[, 1, 2]^2
  1 / sqrt(sum(psf$weight / sqrt(det)))
}

psf_widened <- function(psf, sd) {
  psf$covariance[, 1, 1] <- psf$covariance[, 1, 1] + sd^2
  psf$covariance[, 2, 2] <- psf$covariance[, 2, 2] + sd^2
  psf
}

# The mixture nearest in Kullback-Leibler divergence to a picture of the function, by EM.
psf_from_picture <- function(picture, name, k = 3L) {
  ok <- all(is.finite(picture)) && all(dim(picture) %% 2 == 1) && min(dim(picture)) >= 3 &&
    sum(picture) > 0
  check(ok, name, "a matrix of finite numbers with odd sides of at least 3 and a positive sum",
        picture)
  light <- pmax(picture, 0)
  light <- as.vector(light / sum(light))
  at <- cbind(as.vector(row(picture)), as.vector(col(picture)))
  at <- sweep(at, 2, colSums(light * at))
  spread <- crossprod(at, light * at)
  psf <- list(weight = c(0.6, 0.3, 0.1)[seq_len(k)],
              covariance = lapply(c(0.4, 1, 4)[seq_len(k)], function(times) times * spread))
  for (step in 1:500) {
    density <- vapply(seq_len(k), function(j) {
      S <- psf$covariance[[j]]
      psf$weight[j] * exp(-0.5 * rowSums((at %*% solve(S)) * at)) / (2 * pi * sqrt(det(S)))
    }, numeric(nrow(at)))
    share <- light * density / pmax(rowSums(density), 1e-300)
    psf$weight <- colSums(share)
    psf$covariance <- lapply(seq_len(k), function(j) {
      crossprod(at, share[, j] * at) / psf$weight[j] + 1e-4 * diag(2)
    })
  }
  covariance <- aperm(array(unlist(psf$covariance), c(2, 2, k)), c(3, 1, 2))
  list(weight = psf$weight / sum(psf$weight), mean = matrix(0, k, 2), covariance = covariance)
}
