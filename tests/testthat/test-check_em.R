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

test_that("a generalised EM climbs, and is told from a wrong M-step", {
  half_way <- function(q, y) {
    theta <- mixture_mstep(q, y)
    theta$mean <- (theta$mean + attr(q, "before")) / 2
    theta
  }
  estep <- function(theta, y) structure(mixture_estep(theta, y), before = theta$mean)
  x <- check_mixture(estep, half_way)
  expect_identical(c(x$fault, x$m_step$kind), c("none", "generalised"))
  expect_true(x$ok && x$m_step$ok)
  expect_null(x$fall)
  # Means half way: q is 200 rows, and E_q log p falls off by n_k (m_k - best_k)^2 / (2 sd_k^2) with
  # sds about the best means that are too small for these: the first step's loss, written out.
  q <- estep(mixture_start, points)
  best <- mixture_mstep(q, points)
  value <- function(theta) {
    sum(q * cbind(mixture_joint(theta, 1, points), mixture_joint(theta, 2, points)))
  }
  expect_equal(x$m_step$amount, value(best) - value(half_way(q, points)), tolerance = 1e-6)
  # Three iterations say the same as fifty.
  expect_identical(check_mixture(estep, half_way, max_iter = 3)$m_step$kind, "generalised")
  expect_output(print(x), "generalised EM")
  # One group of parameters in each iteration (ECM in its cyclic form).
  in_turn <- function() {
    turn <- 0
    function(q, y) {
      turn <<- turn + 1
      theta <- attr(q, "before")
      best <- mixture_mstep(q, y)
      theta$weight <- best$weight
      if (turn %% 2 == 1) {
        theta$mean <- best$mean
      } else {
        theta$sd <- sqrt(colSums(q * outer(y, theta$mean, "-")^2) / colSums(q))
      }
      theta
    }
  }
  whole <- function(theta, y) structure(mixture_estep(theta, y), before = theta)
  expect_identical(check_mixture(whole, in_turn())$m_step$kind, "generalised")
  # A weight that never moves does not end at a maximum, however long.
  stuck <- function(q, y) replace(mixture_mstep(q, y), "weight", list(c(0.5, 0.5)))
  expect_identical(check_mixture(mstep = stuck)$m_step$kind, "not_maximal")
})

# Blood groups: theta are the frequencies of three alleles, z = 2 says heterozygous. Counts of
# Bernstein's, as in the textbooks on EM (A 186, B 38, AB 13, O 284).
blood <- c(A = 186, B = 38, AB = 13, O = 284)
blood_start <- c(A = 0.3, B = 0.2, O = 0.5)
blood_estep <- function(theta, y) {
  het <- ifelse(y %in% c("A", "B"), 2 * theta["O"] / (theta[y] + 2 * theta["O"]), 0)
  cbind(1 - het, het)
}
blood_joint <- function(theta, z, y) {
  p <- theta[c("A", "B", "O")]
  one <- c(A = p[[1]]^2, B = p[[2]]^2, AB = 2 * p[[1]] * p[[2]], O = p[[3]]^2)
  two <- c(A = 2 * p[[1]] * p[[3]], B = 2 * p[[2]] * p[[3]], AB = 0, O = 0)
  unname(log(ifelse(z == 1, one[y], two[y])))
}
blood_mstep <- function(copies = function(y) rep(1, length(y)), divide = 2) {
  function(q, y) {
    n <- copies(y)
    of <- function(type) sum((n * (2 * q[, 1] + q[, 2]))[y == type])
    both <- sum(n[y == "AB"])
    hidden <- sum((n * q[, 2])[y %in% c("A", "B")])
    c(A = of("A") + both, B = of("B") + both, O = hidden + 2 * sum(n[y == "O"])) /
      (divide * sum(n))
  }
}

test_that("units may be phenotypes with their counts", {
  each <- check_em(blood_estep, blood_mstep(), blood_joint, blood_start,
                   rep(names(blood), blood))
  counted <- check_em(blood_estep, blood_mstep(function(y) blood[y]), blood_joint, blood_start,
                      names(blood), weights = blood)
  expect_true(each$ok && counted$ok)
  expect_identical(c(each$units, counted$units), c(521L, 4L))
  expect_equal(counted$trace$elbo, each$trace$elbo, tolerance = 1e-12)
  # The multinomial likelihood of the phenotypes, maximised by optim().
  log_lik <- function(p) {
    p <- c(p, 1 - sum(p))
    if (any(p <= 0)) return(-1e10)
    sum(blood * log(c(p[1]^2 + 2 * p[1] * p[3], p[2]^2 + 2 * p[2] * p[3], 2 * p[1] * p[2], p[3]^2)))
  }
  best <- optim(c(0.3, 0.2), log_lik, control = list(fnscale = -1, reltol = 1e-14))
  expect_equal(counted$theta[1:2], best$par, tolerance = 1e-4, ignore_attr = TRUE)
  expect_equal(tail(counted$trace$log_evidence, 1), best$value, tolerance = 1e-9)
  wrong <- check_em(function(theta, y) 0 * blood_estep(theta, y) + 0.5, blood_mstep(), blood_joint,
                    blood_start, names(blood), weights = blood)
  expect_identical(wrong$fault, "E")
  for (weights in list(1:3, -blood, "a")) {
    expect_error(check_em(blood_estep, blood_mstep(), blood_joint, blood_start, names(blood),
                          weights = weights), "weights", class = "elbo_error_argument")
  }
})

test_that("constraints that hold in `start` and break are named first", {
  says <- function(x, pattern) {
    expect_identical(c(x$fault, x$m_step$kind), c("M", "constraint"))
    expect_match(x$m_step$message, pattern)
  }
  y <- rep(names(blood), blood)
  halved <- check_em(blood_estep, blood_mstep(divide = 1), blood_joint, blood_start, y)
  says(halved, "A, B and O sum to 1 there, and sum to 2 here[.] Divided by their sum")
  says(check_mixture(mstep = function(q, y) {
    replace(mixture_mstep(q, y), "weight", list(colSums(q)))
  }), "weight1 and weight2 sum to 1 there, and sum to 200 here")
  expect_match(check_pairs(mstep = function(q, y) -1)$m_step$message,
               "theta is positive there, and is -1 here")
  says(check_mixture(mstep = function(q, y) {
    replace(mixture_mstep(q, y), "sd", list(c(-1, 1)))
  }), "sd1 is positive there, and is -1 here")
  says(check_mixture(mstep = function(q, y) {
    replace(mixture_mstep(q, y), "weight", list(c(-0.2, 1.2)))
  }), "weight1 is positive there, and is -0.2 here")
  # What sums to one by chance in `start` is no constraint: means of a half.
  lucky <- replace(mixture_start, "mean", list(c(0.1, 0.9)))
  expect_true(check_em(mixture_estep, mixture_mstep, mixture_joint, lucky, points, max_iter = 5)$ok)
})

test_that("of a matrix whose rows and columns sum to one the rows may go on alone", {
  # Two raters' marks of items of two kinds: confusion[kind, mark], as Dawid and Skene have it.
  set.seed(5)
  kind <- rbinom(150, 1, 0.4) + 1
  marks <- cbind(ifelse(runif(150) < 0.8, kind, 3 - kind), ifelse(runif(150) < 0.9, kind, 3 - kind),
                 ifelse(runif(150) < 0.7, kind, 3 - kind))
  joint <- function(theta, z, y) {
    log(theta$weight[z]) + rowSums(log(matrix(theta$confusion[cbind(z, c(y))], ncol = 3)))
  }
  estep <- function(theta, y) {
    p <- exp(sapply(1:2, function(k) joint(theta, rep(k, nrow(y)), y)))
    p / rowSums(p)
  }
  mstep <- function(q, y) {
    counts <- sapply(1:2, function(m) colSums(q * rowSums(y == m)))
    list(weight = colMeans(q), confusion = counts / rowSums(counts))
  }
  start <- list(weight = c(0.5, 0.5), confusion = matrix(c(0.7, 0.3, 0.3, 0.7), 2))
  expect_true(check_em(estep, mstep, joint, start, marks, max_iter = 10)$ok)
  columns <- check_em(estep, function(q, y) {
    counts <- sapply(1:2, function(m) colSums(q * rowSums(y == m)))
    list(weight = colMeans(q), confusion = counts / nrow(y))
  }, joint, start, marks)
  expect_identical(columns$m_step$kind, "constraint")
})

test_that("steps in each other's place are recognised", {
  x <- check_em(mixture_mstep, mixture_estep, mixture_joint, mixture_start, points)
  expect_identical(c(x$fault, x$e_step$kind, x$m_step$kind), c("both", "exchanged", "exchanged"))
  expect_output(print(x), "exchanged")
  expect_identical(check_em(pairs_mstep, pairs_estep, pairs_joint, 2, pairs)$e_step$kind,
                   "exchanged")
})

test_that("a start outside the parameter space is not the student's fault", {
  outside <- function(start, ...) {
    expect_error(check_em(mixture_estep, mixture_mstep, mixture_joint, start, points), ...,
                 class = "elbo_error_argument")
  }
  outside(replace(mixture_start, "sd", list(c(-1, 1))), "sd1 = -1.*outside the parameter space")
  outside(replace(mixture_start, "weight", list(c(-0.2, 1.2))), "outside the parameter space")
  outside(replace(mixture_start, "weight", list(c(0.5, 0.7))),
          "weight2 sum to 1.2, after the M-step")
  expect_error(check_em(blood_estep, blood_mstep(), blood_joint, c(A = 0, B = 0.5, O = 0.5),
                        names(blood)), "log p.y | theta. is -Inf", class = "elbo_error_argument")
})

test_that("`log_joint` is tried at every z before anything is judged", {
  picky <- function(theta, z, y) {
    if (any(z > 1)) stop("z is 0 or 1")
    mixture_joint(theta, z, y)
  }
  expect_error(check_em(mixture_estep, mixture_mstep, picky, mixture_start, points),
               "`log_joint` stops at `start` with z = 2: z is 0 or 1",
               class = "elbo_error_argument")
  short <- function(theta, z, y) if (any(z > 1)) 0 else mixture_joint(theta, z, y)
  expect_error(check_em(mixture_estep, mixture_mstep, short, mixture_start, points),
               "for each of the 200 units", class = "elbo_error_argument")
})

test_that("parameters have the names of `start`", {
  unnamed <- function(q, y) unname(blood_mstep()(q, y))
  expect_true(check_em(blood_estep, unnamed, blood_joint, blood_start, rep(names(blood), blood))$ok)
  x <- check_em(blood_estep, function(q, y) c(0.2, 0.3, 0.5), blood_joint, blood_start,
                rep(names(blood), blood))
  expect_match(x$m_step$message, "A: yours 0.2, best near")
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
  says(check_pairs(mstep = function(q, y) 1e-320), "M", "not finite at its theta")
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

test_that("entries that sum to one are found: parts, rows, columns, the longest neighbours", {
  bare <- function(...) groups_to_one(..1, ...)
  expect_identical(bare(c(5, 0.2, 0.3, 0.5), c(7, 0.1, 0.1, 0.8)), list(2:4))
  expect_identical(bare(c(0.5, 0.5, 1), c(0.4, 0.7, 1)), list())
  expect_identical(bare(1, 1), list())
  rows <- list(p = matrix(c(0.1, 0.4, 0.9, 0.6), 2), w = c(0.3, 0.7))
  expect_identical(groups_to_one(rows, unlist(rows)), list(5:6, c(1L, 3L), c(2L, 4L)))
})
