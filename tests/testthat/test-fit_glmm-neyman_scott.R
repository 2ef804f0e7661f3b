# Neyman and Scott's pairs (Giordano's lecture, 1.2): the method and the law of the latent means are
# all that changes. The closed forms and their derivation are in helper-reference-lmm.R.

pairs_matrix <- function(pairs) matrix(pairs$y, ncol = 2, byrow = TRUE)

fit_pairs <- function(pairs, method, law, ...) {
  prior <- if (law == "none") priors(pair = constant(Inf)) else priors(pair = constant(1))
  fit_glmm(y ~ 0 + (1 | pair), pairs, method = method, prior = prior, ...)
}

closed_forms <- list(
  joint = list(none = pairs_joint_no_law, normal = pairs_joint_normal),
  em = list(none = pairs_em_no_law, normal = pairs_em_normal)
)

test_that("the four estimators equal their closed forms", {
  set.seed(1948)
  for (n in c(2, 30, 1000)) {
    for (theta in c(0.05, 1, 20)) {
      pairs <- sim_pairs(n, theta)
      for (method in c("joint", "em")) {
        for (law in c("none", "normal")) {
          fit <- fit_pairs(pairs, method, law)
          closed <- closed_forms[[method]][[law]](pairs_matrix(pairs))
          expect_lt(abs(unname(sigma(fit))^2 / closed - 1), 1e-9)
        }
      }
    }
  }
})

test_that("the paradox in four numbers", {
  # Limits for very many pairs of variance 1.
  limit <- list(joint = c(none = 0.500, normal = 0.575), em = c(none = 1, normal = 1))
  set.seed(1)
  pairs <- sim_pairs(20000, theta = 1)
  for (method in c("joint", "em")) {
    for (law in c("none", "normal")) {
      estimate <- unname(sigma(fit_pairs(pairs, method, law)))^2
      # The standard error of D / (2 N) is sqrt(2 / N) = .01.
      expect_lt(abs(estimate - limit[[method]][[law]]), 0.04)
    }
  }
})

test_that("points tend to half the variance and the integral to the truth as N grows", {
  set.seed(2)
  errors <- vapply(c(10, 100, 1000, 10000), function(n) {
    estimates <- vapply(seq_len(max(4, 400 / n)), function(i) {
      pairs <- sim_pairs(n, theta = 2)
      c(points = sigma(fit_pairs(pairs, "joint", "none"))^2,
        integrated = sigma(fit_pairs(pairs, "em", "normal"))^2)
    }, c(points = 0, integrated = 0))
    sqrt(rowMeans((estimates - c(1, 2))^2))
  }, c(points = 0, integrated = 0))
  # Root mean square distance from theta / 2 and from theta falls with every ten-fold N ...
  expect_true(all(apply(errors, 1, diff) < 0))
  # ... to a few standard errors: sqrt(2 theta^2 / N) = .028 at N = 10000, half for points.
  expect_lt(errors["integrated", 4], 0.1)
  expect_lt(errors["points", 4], 0.05)
})

test_that("with m rows a group the points tend to theta (m - 1) / m", {
  set.seed(3)
  for (m in c(2, 5, 20)) {
    pairs <- sim_pairs(4000, theta = 1, m = m)
    estimate <- unname(sigma(fit_pairs(pairs, "joint", "none")))^2
    expect_lt(abs(estimate - (m - 1) / m), 0.05)
  }
})

test_that("KL is zero after every E-step and ELBO + KL is the log evidence throughout", {
  set.seed(4)
  pairs <- sim_pairs(60, theta = 1)
  for (law in c("none", "normal")) {
    fit <- fit_pairs(pairs, "em", law, control = elbo_control(accelerate = "none"))
    trace <- elbo_trace(fit)
    expect_true(all(c("iteration", "step", "elbo", "log_evidence", "kl") %in% names(trace)))
    expect_lt(max(abs(trace$kl[trace$step == "E"])), 1e-9)
    expect_gte(min(trace$kl), -1e-9)
    expect_lt(max(abs(trace$elbo + trace$kl - trace$log_evidence)), 1e-9)
    expect_gte(min(diff(trace$elbo)), -1e-9)
    # The M-step moves theta away from the posterior that q is: it opens the gap again.
    expect_gt(trace$kl[which(trace$step == "M")[1]], 0)
    expect_equal(trace$elbo[nrow(trace)], as.numeric(logLik(fit)), tolerance = 1e-8)
  }
})

test_that("textbook EM takes the lecture's M-step", {
  set.seed(5)
  pairs <- sim_pairs(40, theta = 1)
  y <- pairs_matrix(pairs)
  fit <- fit_pairs(pairs, "em", "normal", control = elbo_control(accelerate = "none"))
  # Giordano's lecture, 1.5 from the estimate: theta is a fixed point of the update.
  theta <- unname(sigma(fit))^2
  m <- rowSums(y) / (2 + theta)
  v <- theta / (2 + theta)
  updated <- sum((y - m)^2 + v) / (2 * nrow(y))
  expect_equal(updated, theta, tolerance = 1e-6)
})
