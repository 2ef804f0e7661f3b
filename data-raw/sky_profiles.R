# The exponential and de Vaucouleurs profiles of galaxies as mixtures of normals: weights and
# variances (in squared half-light radii) of src/sky/profile.c. Both laws are cut at SDSS's outer
# edges. Of all mixtures of so many normals these are nearest in KL(law || mixture), found by EM on
# a grid of radii and then BFGS on the exact slope.
radius <- exp(seq(log(1e-5), log(8), length.out = 1200))
area <- 2 * pi * radius^2 * (log(8) - log(1e-5)) / 1199
fade <- function(from, to) {
  u <- pmin(1, pmax(0, (radius - from) / (to - from)))
  (1 - u^2)^2
}
laws <- list(exponential = exp(-1.67834699 * radius) * fade(3, 4),
             de_vaucouleurs = exp(-7.66924944 * radius^0.25) * fade(7, 8))

nearest <- function(density, k, smallest, largest) {
  mass <- density * area / sum(density * area)
  log_density <- log(pmax(density / sum(density * area), 1e-300))
  at <- function(par) {
    weight <- exp(par[1:k])
    variance <- exp(par[k + 1:k])
    height <- weight / sum(weight) / (2 * pi * variance)
    parts <- exp(-outer(radius^2, 1 / (2 * variance))) %*% diag(height)
    list(weight = weight / sum(weight), variance = variance, parts = parts, total = rowSums(parts))
  }
  value <- function(par) sum(mass * (log_density - log(at(par)$total)))
  slope <- function(par) {
    m <- at(par)
    share <- colSums(mass * m$parts / m$total)
    power <- colSums(mass * radius^2 * m$parts / m$total)
    c(m$weight - share, share - power / (2 * m$variance))
  }
  par <- c(rep(0, k), log(exp(seq(log(smallest), log(largest), length.out = k))))
  for (i in 1:2000) {
    m <- at(par)
    share <- colSums(mass * m$parts / m$total)
    par <- c(log(share), log(colSums(mass * radius^2 * m$parts / m$total) / (2 * share)))
  }
  found <- stats::optim(par, value, slope, method = "BFGS",
                        control = list(maxit = 10000, reltol = 1e-15))
  m <- at(found$par)
  cat(k, "normals, KL", found$value, "\n")
  data.frame(weight = m$weight, variance = m$variance)[order(m$variance), ]
}
options(digits = 10)
print(nearest(laws$exponential, 4, 0.01, 1))
print(nearest(laws$de_vaucouleurs, 6, 0.0005, 8))
