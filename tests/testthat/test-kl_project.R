# The objectives by quadrature from the densities, and their minima by a numerical optimiser:
# none of the formulas of kl_project(). Densities are products of conditional ones, z_j | z_1,
# ..., z_{j-1}.

mu <- c(1, -2, 0.5)
Sigma <- matrix(c(2, 1.2, -0.3, 1.2, 1.5, 0.4, -0.3, 0.4, 1), 3)
target_2d <- list(mean = mu[1:2], cov = Sigma[1:2, 1:2])
target_3d <- list(mean = mu, cov = Sigma)

log_normal <- function(z, mean, cov) {
  total <- dnorm(z[, 1], mean[1], sqrt(cov[1, 1]), log = TRUE)
  for (j in seq_along(mean)[-1]) {
    before <- seq_len(j - 1)
    slope <- solve(cov[before, before, drop = FALSE], cov[before, j])
    centre <- mean[j] + sweep(z[, before, drop = FALSE], 2, mean[before]) %*% slope
    sd <- sqrt(cov[j, j] - sum(slope * cov[before, j]))
    total <- total + dnorm(z[, j], centre, sd, log = TRUE)
  }
  as.vector(total)
}

# E_{N(mean, cov)} by the trapezoidal rule, whose error for a normal times a polynomial is of order
# exp(-2 pi^2 / 0.7^2) = 3e-18.
expectation <- function(g, mean, cov) {
  u <- seq(-7, 7, by = 0.7)
  grid <- as.matrix(expand.grid(rep(list(u), length(mean))))
  weight <- exp(rowSums(dnorm(grid, log = TRUE)))
  z <- sweep(grid %*% chol(cov), 2, mean, `+`)
  sum(weight * g(z)) / sum(weight)
}

objective_at <- function(m, S, target, direction, objective) {
  log_p <- function(z) log_normal(z, target$mean, target$cov)
  log_q <- function(z) log_normal(z, m, S)
  forward <- direction == "p||q"
  part <- function(g) {
    if (forward) expectation(g, target$mean, target$cov) else expectation(g, m, S)
  }
  # KL(q || p) = E_q log q - E_q log p; KL(p || q) = E_p log p - E_p log q.
  if (forward) return(part(function(z) -log_q(z)) + if (objective == "kl") part(log_p) else 0)
  switch(objective, kl = part(function(z) log_q(z) - log_p(z)),
         no_entropy = part(function(z) -log_p(z)), no_log_p = part(log_q))
}

# eta: mean, log standard deviations of q, and below them what a full covariance adds.
normal_from <- function(eta, d, family, sd = NULL) {
  if (family == "point") return(list(m = eta, S = diag(sd^2, d)))
  L <- diag(exp(eta[d + seq_len(d)]), d)
  if (family == "full") L[lower.tri(L)] <- eta[-seq_len(2 * d)]
  list(m = eta[seq_len(d)], S = L %*% t(L))
}

best_numerically <- function(target, family, direction, objective, sd = NULL) {
  d <- length(target$mean)
  start <- c(target$mean + 0.4, if (family != "point") rep(-0.3, d),
             if (family == "full") rep(0.1, d * (d - 1) / 2))
  value <- function(eta) {
    q <- normal_from(eta, d, family, sd)
    objective_at(q$m, q$S, target, direction, objective)
  }
  best <- optim(start, value, method = "BFGS", control = list(reltol = 1e-13, maxit = 200))
  c(normal_from(best$par, d, family, sd), list(value = best$value))
}

test_that("attained optima are those of a numerical optimiser", {
  cases <- rbind(
    expand.grid(family = c("full", "independent"), direction = c("q||p", "p||q"),
                objective = "kl", stringsAsFactors = FALSE),
    expand.grid(family = c("full", "independent"), direction = "p||q",
                objective = c("no_entropy", "no_log_p"), stringsAsFactors = FALSE)
  )
  for (i in seq_len(nrow(cases))) {
    case <- cases[i, ]
    best <- best_numerically(target_2d, case$family, case$direction, case$objective)
    x <- kl_project(mu[1:2], Sigma[1:2, 1:2], case$family, case$direction, case$objective)
    expect_identical(x$status, "optimum")
    # The optimiser's own accuracy: parameters to the root of that of the objective.
    expect_equal(unname(x$mean), best$m, tolerance = 1e-4)
    expect_equal(unname(x$cov), best$S, tolerance = 1e-4)
    expect_equal(x$value, best$value, tolerance = 1e-8)
  }
})

test_that("in three dimensions too", {
  skip_on_cran()
  for (direction in c("q||p", "p||q")) {
    best <- best_numerically(target_3d, "independent", direction, "kl")
    x <- kl_project(mu, Sigma, "independent", direction)
    expect_equal(unname(x$mean), best$m, tolerance = 1e-4)
    expect_equal(unname(x$cov), best$S, tolerance = 1e-4)
    expect_equal(x$value, best$value, tolerance = 1e-7)
  }
})

test_that("normals of small fixed variance act as points at the maximum of log p", {
  peak <- optim(c(0, 0), function(z) -log_normal(t(z), mu[1:2], Sigma[1:2, 1:2]),
                method = "BFGS", control = list(reltol = 1e-14))
  for (sd in c(0.3, 0.01)) for (direction in c("q||p", "p||q")) {
    x <- kl_project(mu[1:2], Sigma[1:2, 1:2], "point", direction, sd = sd)
    expect_equal(unname(x$mean), peak$par, tolerance = 1e-4)
    expect_identical(unname(x$cov), diag(sd^2, 2))
    expect_equal(x$value, objective_at(x$mean, unname(x$cov), target_2d, direction, "kl"),
                 tolerance = 1e-8)
    best <- best_numerically(target_2d, "point", direction, "kl", sd)
    expect_equal(unname(x$mean), best$m, tolerance = 1e-3)
  }
  # Without the entropy the point itself is allowed, at the same place.
  x <- kl_project(mu[1:2], Sigma[1:2, 1:2], "point", objective = "no_entropy")
  expect_equal(unname(x$mean), peak$par, tolerance = 1e-4)
  expect_equal(x$value, peak$value, tolerance = 1e-8)
})

test_that("without the entropy q collapses on the maximum of log p", {
  for (family in c("full", "independent")) {
    x <- kl_project(mu[1:2], Sigma[1:2, 1:2], family, objective = "no_entropy")
    expect_identical(x$status, "collapse")
    expect_equal(unname(x$mean), mu[1:2])
    expect_true(all(x$cov == 0))
    along <- vapply(10^-(0:4), function(s) {
      objective_at(mu[1:2], s * diag(2), target_2d, "q||p", "no_entropy")
    }, 0)
    expect_true(all(diff(along) < 0))
    expect_equal(along[5], x$value, tolerance = 1e-3)
    expect_true(all(along > x$value))
    # A numerical optimiser runs down the same slope: narrow, and at mu.
    best <- best_numerically(target_2d, family, "q||p", "no_entropy")
    expect_lt(max(abs(best$S)), 1e-4)
    expect_equal(best$m, mu[1:2], tolerance = 1e-3)
  }
})

test_that("without log p q spreads without end, in whatever place", {
  for (family in c("full", "independent")) {
    x <- kl_project(mu[1:2], Sigma[1:2, 1:2], family, objective = "no_log_p")
    expect_identical(x$status, "dispersion")
    expect_true(all(is.na(x$mean)))
    expect_identical(unname(diag(x$cov)), c(Inf, Inf))
    expect_identical(x$value, -Inf)
  }
  # E_q[log q] falls by d log(10) / 2 for every tenfold variance, wherever the mean.
  along <- vapply(10^(0:3), function(s) {
    objective_at(c(s, -s), s * diag(2), target_2d, "q||p", "no_log_p")
  }, 0)
  expect_equal(diff(along), rep(-log(10), 3), tolerance = 1e-8)
  x <- kl_project(mu[1:2], Sigma[1:2, 1:2], "point", objective = "no_log_p", sd = 0.1)
  expect_identical(x$status, "indifferent")
  expect_true(all(is.na(x$mean)))
  expect_equal(x$value, objective_at(c(5, 5), diag(0.01, 2), target_2d, "q||p", "no_log_p"),
               tolerance = 1e-8)
})

test_that("the divergence is infinite for every point, and the object says why", {
  for (direction in c("q||p", "p||q")) for (objective in c("kl", "no_log_p")) {
    x <- kl_project(mu, Sigma, "point", direction, objective)
    expect_s3_class(x, "elbo_kl")
    expect_identical(x$status, "undefined")
    expect_identical(x$value, Inf)
    expect_true(all(is.na(x$mean)) && all(is.na(x$cov)))
    expect_output(print(x), "Infinite for every point")
    expect_output(print(x), "= Inf")
  }
  # The divergence of ever narrower normals grows beyond all bounds: log(10) per coordinate.
  narrow <- vapply(10^-(1:4), function(s) kl_project(mu, Sigma, "point", sd = s)$value, 0)
  expect_equal(diff(narrow), rep(3 * log(10), 3), tolerance = 1e-2)
})

test_that("one dimension is a case, with numbers for its moments", {
  for (family in c("full", "independent")) {
    x <- kl_project(3, 4, family)
    expect_equal(unname(x$cov), matrix(4))
    expect_equal(x$value, 0)
  }
})

test_that("a target that is in the family is recognised as its own best q", {
  for (direction in c("q||p", "p||q")) {
    x <- kl_project(c(0, 1), diag(c(1, 4)), "independent", direction)
    expect_equal(x$value, 0)
    expect_output(print(x), "q = p")
    expect_output(print(kl_project(c(0, 1), diag(4, 2), "point", direction, sd = 2)), "q = p")
    expect_output(print(kl_project(c(0, 1), diag(4, 2), "point", direction, sd = 1)), "q acts as")
  }
})

test_that("pictures have axes of the same scale, and no key for a q that is not drawn", {
  drawn <- function(x) {
    grDevices::pdf(NULL, width = 9, height = 4)
    on.exit(grDevices::dev.off())
    plot(x)
    # Inches for a unit of each axis.
    edges <- graphics::par("usr")
    graphics::par("pin") / c(diff(edges[1:2]), diff(edges[3:4]))
  }
  for (family in c("full", "independent", "point")) {
    x <- kl_project(mu[1:2], Sigma[1:2, 1:2], family)
    scale <- drawn(x)
    expect_equal(scale[1], scale[2])
    expect_identical(kl_legend(x), if (family != "point") "q")
  }
  # Scales of 1 and 100 would make a line of it.
  scale <- drawn(kl_project(c(0, 0), diag(c(1, 1e4))))
  expect_gt(scale[1] / scale[2], 20)
})

test_that("names are kept, from the mean or from the covariance", {
  x <- kl_project(c(a = 0, b = 1), diag(2), "independent")
  expect_named(x$mean, c("a", "b"))
  expect_identical(dimnames(x$cov), list(c("a", "b"), c("a", "b")))
  cov <- matrix(diag(2), 2, dimnames = list(c("u", "v"), c("u", "v")))
  expect_named(kl_project(c(0, 1), cov)$mean, c("u", "v"))
})

test_that("it prints in words", {
  cov <- matrix(c(1, 0.8, 0.8, 1), 2)
  expect_snapshot({
    kl_project(c(0, 0), cov)
    kl_project(c(0, 0), cov, "independent")
    kl_project(c(0, 0), cov, "independent", "p||q")
    kl_project(c(0, 0), cov, objective = "no_entropy")
    kl_project(c(0, 0), cov, objective = "no_log_p")
    kl_project(c(0, 0), cov, "point")
    kl_project(c(0, 0), cov, "point", sd = 0.05)
    kl_project(c(0, 0), cov, "point", objective = "no_log_p", sd = 0.05)
    kl_project(c(0, 0), cov, "full", "p||q", "no_entropy")
  })
})

test_that("it draws every case, and leaves par() as it was", {
  pdf(NULL)
  on.exit(dev.off())
  before <- par(no.readonly = TRUE)
  for (target in list(list(1, 4), target_2d, target_3d)) {
    for (family in c("full", "independent", "point")) {
      for (objective in c("kl", "no_entropy", "no_log_p")) {
        x <- kl_project(target[[1]], target[[2]], family, objective = objective)
        expect_identical(plot(x), x)
      }
    }
    x <- kl_project(target[[1]], target[[2]], "point", sd = 0.1)
    expect_identical(plot(x), x)
  }
  expect_no_error(plot(kl_project(mu, Sigma), which = c(1, 3)))
  expect_error(plot(kl_project(mu, Sigma), which = c(1, 4)), "two different coordinates of 1 to 3",
               class = "elbo_error_argument")
  after <- par(no.readonly = TRUE)
  expect_identical(after[c("mar", "mfrow", "las")], before[c("mar", "mfrow", "las")])
})

test_that("the ellipses hold the probability that they claim", {
  set.seed(1)
  z <- matrix(rnorm(4e4), ncol = 2) %*% chol(Sigma[1:2, 1:2])
  edge <- normal_ellipse(c(0, 0), Sigma[1:2, 1:2], 0.5)
  radius <- rowSums((edge %*% solve(Sigma[1:2, 1:2])) * edge)
  expect_equal(range(radius), rep(radius[1], 2))
  inside <- mean(rowSums((z %*% solve(Sigma[1:2, 1:2])) * z) < radius[1])
  # Five binomial standard errors of 20,000 draws.
  expect_lt(abs(inside - 0.5), 5 * sqrt(0.25 / 2e4))
})

test_that("bad arguments are named", {
  expect_snapshot({
    refusal(kl_project("a", 1))
    refusal(kl_project(c(0, 0), 1))
    refusal(kl_project(c(0, 0), matrix(c(1, 2, 2, 1), 2)))
    refusal(kl_project(c(0, 0), matrix(c(1, 0.5, 0, 1), 2)))
    refusal(kl_project(0, 1, "round"))
    refusal(kl_project(0, 1, sd = 0.1))
    refusal(kl_project(0, 1, "point", sd = 0))
  })
})
