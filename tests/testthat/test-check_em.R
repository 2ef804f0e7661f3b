# Neyman and Scott's pairs, z_n ~ N(0, 1), y_na and y_nb ~ N(z_n, theta): with s = y_a + y_b the
# posterior is N(s / (2 + theta), theta / (2 + theta)).
set.seed(1)
pairs <- matrix(sim_pairs(80, theta = 1)$y, ncol = 2, byrow = TRUE)
pairs_estep <- function(theta, y) {
  list(mean = rowSums(y) / (2 + theta), sd = rep(sqrt(theta / (2 + theta)), nrow(y)))
}
pairs_mstep <- function(q, y) mean(rowMeans((y - q$mean)^2) + q$sd^2)
pairs_joint <- function(theta, z, y) {
  dnorm(z, log = TRUE) + rowSums(dnorm(y, z, sqrt(theta), log = TRUE))
}
check_pairs <- function(estep = pairs_estep, mstep = pairs_mstep, ...) {
  check_em(estep, mstep, pairs_joint, start = 2, data = pairs, ...)
}
# s ~ N(0, 4 + 2 theta) and y_a - y_b ~ N(0, 2 theta) independently; the Jacobian is 2.
pairs_evidence <- function(theta) {
  sum(dnorm(pairs[, 1] + pairs[, 2], 0, sqrt(4 + 2 * theta), log = TRUE) +
        dnorm(pairs[, 1] - pairs[, 2], 0, sqrt(2 * theta), log = TRUE) + log(2))
}

# A mixture of two normals.
set.seed(2)
label <- rbinom(200, 1, 0.3) + 1
points <- rnorm(200, c(0, 3)[label], c(1, 0.7)[label])
mixture_start <- list(weight = c(0.5, 0.5), mean = c(-1, 2), sd = c(1, 1))
mixture_estep <- function(theta, y) {
  joint <- sapply(1:2, function(k) theta$weight[k] * dnorm(y, theta$mean[k], theta$sd[k]))
  joint / rowSums(joint)
}
mixture_mstep <- function(q, y) {
  n <- colSums(q)
  mean <- colSums(q * y) / n
  list(weight = n / sum(n), mean = mean, sd = sqrt(colSums(q * outer(y, mean, "-")^2) / n))
}
mixture_joint <- function(theta, z, y) {
  log(theta$weight[z]) + dnorm(y, theta$mean[z], theta$sd[z], log = TRUE)
}
check_mixture <- function(estep = mixture_estep, mstep = mixture_mstep, ...) {
  check_em(estep, mstep, mixture_joint, mixture_start, points, ...)
}

test_that("a right EM passes, with normal latent variables", {
  x <- check_pairs(max_iter = 100)
  expect_true(x$ok && x$converged)
  expect_identical(x$fault, "none")
  expect_null(x$fall)
  expect_true(all(abs(x$trace$kl[x$trace$step == "E"]) < 1e-9))
  # The log evidence in closed form, and its maximum by another optimiser.
  best <- optimise(pairs_evidence, c(0.1, 5), maximum = TRUE, tol = 1e-8)
  expect_equal(x$theta, best$maximum, tolerance = 1e-4)
  expect_equal(tail(x$trace$log_evidence, 1), best$objective, tolerance = 1e-9)
  expect_equal(x$trace$log_evidence[1], pairs_evidence(2), tolerance = 1e-12)
})

test_that("a right EM passes, with discrete latent variables", {
  x <- check_mixture(max_iter = 10)
  expect_true(x$ok)
  evidence <- function(theta) {
    sum(log(theta$weight[1] * dnorm(points, theta$mean[1], theta$sd[1]) +
              theta$weight[2] * dnorm(points, theta$mean[2], theta$sd[2])))
  }
  expect_equal(x$trace$log_evidence[1], evidence(mixture_start), tolerance = 1e-12)
  expect_equal(tail(x$trace$log_evidence, 1), evidence(x$theta), tolerance = 1e-12)
  expect_identical(x$trace$step, rep(c("E", "M"), 10))
})

test_that("theta may be a bare vector with probabilities in it", {
  bare <- function(theta) list(weight = theta[1:2], mean = theta[3:4], sd = theta[5:6])
  check_bare <- function(mstep) {
    check_em(function(theta, y) mixture_estep(bare(theta), y), mstep,
             function(theta, z, y) mixture_joint(bare(theta), z, y), unlist(mixture_start), points,
             max_iter = 5)
  }
  expect_true(check_bare(function(q, y) unlist(mixture_mstep(q, y)))$ok)
  # A weight that stays where it was is still found, along the simplex.
  stuck <- check_bare(function(q, y) replace(unlist(mixture_mstep(q, y)), 1:2, 0.5))
  expect_identical(c(stuck$fault, stuck$m_step$kind), c("M", "not_maximal"))
})

test_that("an M-step that treats latent variables as known is at fault", {
  x <- check_pairs(mstep = function(q, y) mean((y - q$mean)^2))
  expect_identical(x$fault, "M")
  expect_true(x$e_step$ok)
  expect_identical(x$m_step$iteration, 1L)
  # In closed form: E_q log p = -N (log(2 pi theta) + B / theta) + const with B the right M-step.
  q <- pairs_estep(2, pairs)
  best <- pairs_mstep(q, pairs)
  value <- function(theta) -nrow(pairs) * (log(theta) + best / theta)
  forgetful <- mean((pairs - q$mean)^2)
  expect_equal(x$m_step$amount, value(best) - value(forgetful), tolerance = 1e-6)
  # From theta = 2 to the forgetful one: where the objective fell, and by how much.
  change <- value(forgetful) - value(2)
  expect_identical(x$m_step$kind, if (change < 0) "falls" else "not_maximal")
  if (change < 0) expect_equal(x$fall, list(iteration = 1L, step = "M", amount = -change))
})

test_that("wrong E-steps for pairs are at fault, by their divergence in closed form", {
  q <- pairs_estep(2, pairs)
  # KL(N(m, s^2) || N(mu, v)) = log(sqrt(v) / s) + (s^2 + (m - mu)^2) / (2 v) - 1 / 2
  divergence <- function(mean, sd) {
    sum(log(q$sd / sd) + (sd^2 + (mean - q$mean)^2) / (2 * q$sd^2) - 0.5)
  }
  unshrunk <- check_pairs(function(theta, y) list(mean = rowMeans(y), sd = sqrt(theta / 2)))
  expect_identical(unshrunk$fault, "E")
  expect_equal(unshrunk$e_step$amount, divergence(rowMeans(pairs), 1), tolerance = 1e-8)
  variance <- check_pairs(function(theta, y) {
    list(mean = rowSums(y) / (2 + theta), sd = rep(theta / (2 + theta), nrow(y)))
  })
  expect_identical(variance$fault, "E")
  expect_equal(variance$e_step$amount, divergence(q$mean, 0.5), tolerance = 1e-8)
  # It goes up at first, and falls when q becomes too narrow; the E-step is what lowers it.
  expect_identical(variance$fall$step, "E")
  # Nearly points: the entropy is all but gone.
  narrow <- check_pairs(function(theta, y) list(mean = rowSums(y) / (2 + theta), sd = 1e-5),
                        max_iter = 2)
  expect_equal(narrow$e_step$amount, divergence(q$mean, 1e-5), tolerance = 1e-8)
  # Far away and far too wide.
  wide <- check_pairs(function(theta, y) list(mean = rep(50, nrow(y)), sd = 30), max_iter = 2)
  expect_equal(wide$e_step$amount, divergence(50, 30), tolerance = 1e-8)
})

test_that("wrong steps for mixtures are found", {
  hard <- function(q) (q == apply(q, 1, max)) * 1
  kinds <- function(x) c(x$fault, x$e_step$kind, x$m_step$kind)
  classified <- check_mixture(function(theta, y) hard(mixture_estep(theta, y)))
  expect_identical(kinds(classified), c("E", "not_posterior", "right"))
  expect_null(classified$fall)
  equal <- check_mixture(function(theta, y) {
    theta$weight <- c(0.5, 0.5)
    mixture_estep(theta, y)
  })
  expect_identical(kinds(equal), c("E", "not_posterior", "right"))
  # At the start the weights are equal, so that the first E-step is right by luck.
  expect_identical(equal$e_step$iteration, 2L)
  expect_identical(kinds(check_mixture(mstep = function(q, y) mixture_mstep(hard(q), y))),
                   c("M", "right", "not_maximal"))
  variances <- check_mixture(mstep = function(q, y) {
    theta <- mixture_mstep(q, y)
    theta$sd <- theta$sd^2
    theta
  })
  expect_identical(variances$fault, "M")
  expect_match(variances$m_step$message, "sd1: yours")
  expect_identical(variances$fall$step, "M")
  # n - 1 in place of n: small, never a fall, and not the maximum.
  unbiased <- check_mixture(mstep = function(q, y) {
    n <- colSums(q)
    mean <- colSums(q * y) / n
    list(weight = n / sum(n), mean = mean, sd = sqrt(colSums(q * outer(y, mean, "-")^2) / (n - 1)))
  })
  expect_identical(kinds(unbiased), c("M", "right", "not_maximal"))
  # n_k (log(1 + 1 / (n_k - 1)) - 1 / n_k) / 2 of each component, to second order 1 / (4 n_k).
  n <- colSums(mixture_estep(mixture_start, points))
  expect_equal(unbiased$m_step$amount, sum(n / 2 * (log(n / (n - 1)) - 1 / n)), tolerance = 1e-4)
  both <- check_mixture(function(theta, y) hard(mixture_estep(theta, y)), function(q, y) {
    theta <- mixture_mstep(q, y)
    theta$mean <- rev(theta$mean)
    theta
  })
  expect_identical(both$fault, "both")
  expect_identical(both$m_step$kind, "falls")
})

test_that("a generalised EM climbs, and is told that its M-step is no maximum", {
  half_way <- function(q, y) {
    theta <- mixture_mstep(q, y)
    theta$mean <- (theta$mean + attr(q, "before")) / 2
    theta
  }
  estep <- function(theta, y) structure(mixture_estep(theta, y), before = theta$mean)
  x <- check_mixture(estep, half_way)
  expect_identical(c(x$fault, x$m_step$kind), c("M", "not_maximal"))
  expect_null(x$fall)
})

test_that("what a step returns in the wrong shape is its fault, in words", {
  says <- function(x, step, pattern) {
    expect_identical(x$fault, step)
    verdict <- x[[if (step == "E") "e_step" else "m_step"]]
    expect_identical(c(verdict$kind, verdict$iteration), c("invalid", "1"))
    expect_match(verdict$message, pattern)
    expect_output(print(x), "at fault")
  }
  says(check_mixture(function(theta, y) t(mixture_estep(theta, y))), "E", "row for each unit")
  says(check_mixture(function(theta, y) mixture_estep(theta, y)[-1, ]), "E", "q has 199 units")
  says(check_mixture(function(theta, y) 2 * mixture_estep(theta, y)), "E", "sum to 2, not to 1")
  says(check_mixture(function(theta, y) {
    q <- mixture_estep(theta, y)
    cbind(q[, 1] + 0.5, q[, 2] - 0.5)
  }), "E", "negative probability")
  says(check_mixture(function(theta, y) NULL), "E", "It must return q as")
  says(check_mixture(function(theta, y) stop("oh no")), "E", "It stopped: oh no")
  says(check_mixture(function(theta, y) mixture_estep(theta, y) * NA), "E", "missing")
  says(check_mixture(mstep = function(q, y) unlist(mixture_mstep(q, y))), "M",
       "like `start`, a list of `weight` \\(2 numbers\\)")
  says(check_mixture(mstep = function(q, y) lapply(mixture_mstep(q, y), `*`, NaN)), "M",
       "not finite: weight1 = NaN")
  says(check_pairs(mstep = function(q, y) c(1, 2)), "M", "a number, like `start`; it returned 2")
  says(check_pairs(mstep = function(q, y) -1), "M", "not finite at its theta")
  says(check_pairs(mstep = function(q, y) stop("no")), "M", "It stopped: no")
  point <- check_pairs(function(theta, y) list(mean = rowMeans(y), sd = 0))
  says(point, "E", "The sd of unit 1 is 0: a point")
  expect_identical(point$m_step$kind, "not_run")
  says(check_pairs(function(theta, y) list(mean = rowMeans(y), sd = -1)), "E", "negative")
  says(check_pairs(function(theta, y) list(mean = rowMeans(y), sd = c(1, 1))), "E", "its sd 2")
})

test_that("posteriors of other families: gamma for Poisson counts", {
  # y_n ~ Poisson(z_n), z_n ~ gamma(shape 2, rate theta): posterior gamma(2 + y_n, 1 + theta), and
  # y_n is negative binomial with size 2 and probability theta / (1 + theta). M-step: 2 / mean(E z).
  set.seed(3)
  y <- rnbinom(60, 2, 0.4)
  estep <- function(theta, y) gamma_law(2 + y, 1 + theta)
  gamma_law <- function(shape, rate) {
    list(quantile = function(p) qgamma(p, shape, rate),
         log_density = function(z) dgamma(z, shape, rate, log = TRUE), mean = shape / rate)
  }
  mstep <- function(q, y) 2 / mean(q$mean)
  joint <- function(theta, z, y) dgamma(z, 2, theta, log = TRUE) + dpois(y, z, log = TRUE)
  x <- check_em(estep, mstep, joint, 1, y)
  expect_true(x$ok)
  expect_equal(x$trace$log_evidence[1], sum(dnbinom(y, 2, 1 / 2, log = TRUE)), tolerance = 1e-8)
  # With the wrong rate: KL(gamma(a, b) || gamma(a, c)) = a (log(b / c) + c / b - 1).
  wrong <- check_em(function(theta, y) gamma_law(2 + y, theta), mstep, joint, 1, y, max_iter = 2)
  expect_identical(wrong$fault, "E")
  expect_equal(wrong$e_step$amount, sum((2 + y) * (log(1 / 2) + 2 / 1 - 1)), tolerance = 1e-4)
})

test_that("several latent variables in a unit: intercepts and slopes", {
  # y_n = X z_n + e, z_n ~ N(mu, Sigma), e ~ N(0, 1): theta = list(mu, Sigma).
  set.seed(4)
  X <- cbind(1, -2:2)
  y <- t(replicate(30, as.vector(X %*% c(rnorm(1, 1), rnorm(1, -1, 0.5)) + rnorm(5))))
  estep <- function(theta, y) {
    V <- solve(crossprod(X) + solve(theta$Sigma))
    mean <- t(V %*% (t(X) %*% t(y) + as.vector(solve(theta$Sigma, theta$mu))))
    list(mean = mean, cov = array(V, c(2, 2, nrow(y))))
  }
  mstep <- function(q, y) {
    mu <- colMeans(q$mean)
    list(mu = mu, Sigma = crossprod(sweep(q$mean, 2, mu)) / nrow(y) + apply(q$cov, 1:2, mean))
  }
  joint <- function(theta, z, y) {
    r <- sweep(z, 2, theta$mu)
    -0.5 * (2 * log(2 * pi) + log(det(theta$Sigma)) + rowSums((r %*% solve(theta$Sigma)) * r)) +
      rowSums(dnorm(y, z %*% t(X), 1, log = TRUE))
  }
  start <- list(mu = c(0, 0), Sigma = matrix(c(2, 0.3, 0.3, 1), 2))
  x <- check_em(estep, mstep, joint, start, y, max_iter = 3)
  expect_true(x$ok)
  # y_n ~ N(X mu, X Sigma X' + I)
  evidence <- function(theta) {
    V <- X %*% theta$Sigma %*% t(X) + diag(5)
    r <- sweep(y, 2, X %*% theta$mu)
    -0.5 * sum(5 * log(2 * pi) + log(det(V)) + rowSums((r %*% solve(V)) * r))
  }
  expect_equal(x$trace$log_evidence[c(1, 6)], c(evidence(start), evidence(x$theta)),
               tolerance = 1e-10)
  forgetful <- function(q, y) list(mu = colMeans(q$mean), Sigma = cov(q$mean))
  expect_identical(check_em(estep, forgetful, joint, start, y, max_iter = 2)$fault, "M")
  diagonal <- function(theta, y) {
    q <- estep(theta, y)
    q$cov[1, 2, ] <- q$cov[2, 1, ] <- 0
    q
  }
  x <- check_em(diagonal, mstep, joint, start, y, max_iter = 2)
  # KL between normals with the same mean: log(|diag V| / |V|) / 2 where the precision's diagonal
  # is not matched, plus (tr(V^-1 diag V) - 2) / 2.
  V <- solve(crossprod(X) + solve(start$Sigma))
  D <- diag(diag(V))
  expect_equal(x$e_step$amount, 30 * 0.5 * (log(det(V) / det(D)) + sum(diag(solve(V, D))) - 2),
               tolerance = 1e-8)
  expect_match(check_em(function(theta, y) list(mean = estep(theta, y)$mean, cov = diag(2)), mstep,
                        joint, start, y)$e_step$message, "2 x 2 x 30 array")
})

test_that("an approximate posterior is told from the exact one", {
  # A logistic regression with a random intercept: the Laplace approximation as E-step. The evidence
  # by stats::integrate().
  y <- cbind(successes = c(0, 1, 3, 5), n = 5)
  joint <- function(theta, z, y) {
    dnorm(z, 0, theta, log = TRUE) + dbinom(y[, 1], y[, 2], plogis(z), log = TRUE)
  }
  laplace <- function(theta, y) {
    mean <- sapply(1:4, function(i) {
      optimise(function(z) joint(theta, z, y[i, , drop = FALSE]), c(-9, 9), maximum = TRUE)$maximum
    })
    p <- plogis(mean)
    list(mean = mean, sd = 1 / sqrt(1 / theta^2 + y[, 2] * p * (1 - p)))
  }
  x <- check_em(laplace, function(q, y) sqrt(mean(q$mean^2 + q$sd^2)), joint, 1.5, y, max_iter = 3)
  expect_identical(x$fault, "E")
  exact <- sum(sapply(1:4, function(i) {
    log(integrate(function(z) exp(sapply(z, function(v) joint(1.5, v, y[i, , drop = FALSE]))),
                  -Inf, Inf, rel.tol = 1e-10)$value)
  }))
  expect_equal(x$trace$log_evidence[1], exact, tolerance = 1e-7)
  expect_true(x$m_step$ok)
})

test_that("it prints a verdict that a student understands", {
  expect_snapshot({
    check_mixture(max_iter = 5)
    check_mixture(function(theta, y) round(mixture_estep(theta, y)), max_iter = 5)
    check_mixture(function(theta, y) t(mixture_estep(theta, y)))
    check_mixture(mstep = function(q, y) c(mixture_mstep(q, y)[1:2], list(sd = c(3, 3))))
    check_mixture(mstep = function(q, y) mixture_mstep(q, y)[1:2])
    check_pairs(mstep = function(q, y) mean((y - q$mean)^2), max_iter = 5)
  })
})

test_that("mistakes of the teacher are errors", {
  expect_snapshot({
    refusal(check_em(1, pairs_mstep, pairs_joint, 2, pairs))
    refusal(check_em(pairs_estep, pairs_mstep, pairs_joint, "2", pairs))
    refusal(check_em(pairs_estep, pairs_mstep, pairs_joint, NA_real_, pairs))
    refusal(check_em(pairs_estep, pairs_mstep, function(theta, z, y) sum(pairs_joint(theta, z, y)),
                     2, pairs))
    refusal(check_em(function(theta, y) list(mean = rowMeans(y), sd = 1), pairs_mstep, pairs_joint,
                     -2, pairs))
    refusal(check_pairs(max_iter = 0))
    refusal(check_pairs(tol = 0))
  })
})

test_that("the quadrature integrates polynomials of degree 2 n - 1 exactly", {
  rule <- hermite_rule(6)
  # E[x^(2 k)] = (2 k - 1)!! under N(0, 1)
  moments <- vapply(0:5, function(k) sum(rule$weight * rule$x^(2 * k)), 0)
  expect_equal(moments, c(1, 1, 3, 15, 105, 945))
})

test_that("neighbours that sum to one are found, the longest run first", {
  expect_identical(runs_to_one(c(5, 0.2, 0.3, 0.5), c(7, 0.1, 0.1, 0.8)), list(2:4))
  expect_identical(runs_to_one(c(0.5, 0.5, 1), c(0.4, 0.7, 1)), list())
  expect_identical(runs_to_one(1, 1), list())
})
