moves_of <- function(fit, ...) {
  list(model = mixture_model(design_of(fit), n_components(fit), method_of(fit),
                             covariance_model(fit), priors_of(fit)$told),
       units = starting_units(design_of(fit), 1), control = elbo_control(...))
}

# Four clusters; k-means-like optima with two components on one and one on two others are stable.
four <- local({
  x <- stats::qnorm(stats::ppoints(50), sd = 0.3)
  centre <- c(-10, -8, 8, 10)
  data.frame(a = rep(centre, each = 50) + x, b = rev(x)[(rep(1:50, 4) * 17) %% 50 + 1],
             group = rep(1:4, each = 50))
})
trap <- with(four, ifelse(group == 1, ifelse(b > 0, 1, 2), ifelse(group == 2, 3, 4)))

test_that("moves lead out of an optimum that EM is held in", {
  held <- fit_mixture(cbind(a, b) ~ 1, four, k = 4, covariance = "EII", start = trap)
  m <- moves_of(held)
  best <- fit_mixture(cbind(a, b) ~ 1, four, k = 4, covariance = "EII", start = four$group)
  expect_lt(objective_of(held), objective_of(best) - 100)
  moved <- moved_ascent(m$model, ascend_mixture(m$model, list(state = state_of(held)), m$control),
                        m$units,
                        m$control)
  expect_gte(moved$moves, 1)
  expect_equal(moved$objective, objective_of(best), tolerance = 1e-6)
})

test_that("vb moves are births and deaths too", {
  start <- cbind(four$group <= 2, four$group > 2, 0, 0, 0)
  held <- fit_mixture(cbind(a, b) ~ 1, four, k = 5, covariance = "EII", method = "vb",
                      start = start)
  m <- moves_of(held)
  at <- .Call(C_mixture_evaluate, m$model, state_of(held))
  moves <- proposed_moves(m$model, at, m$units, 0)
  expect_true(any(lengths(lapply(moves, `[[`, "split")) == 0))
  moved <- moved_ascent(m$model, ascend_mixture(m$model, list(state = state_of(held)), m$control),
                        m$units,
                        m$control)
  expect_gt(sum(moved$size > 1), sum(size_of(held) > 1))
  expect_equal(sort(round(moved$size)), c(0, 50, 50, 50, 50))
})

test_that("a component given up leaves its units to the others, and a split its own to two", {
  at <- list(probability = rbind(c(0.5, 0.25, 0.25), c(0, 0.5, 0.5), c(1, 0, 0)),
             log_density = 1:3 / 10)
  units <- list(design = list(kind = "normal"))
  gone <- moved_probability(list(gone = 1L), at, units, 1L)
  expect_equal(gone, rbind(c(0, 0.5, 0.5), c(0, 0.5, 0.5), c(0, 0.5, 0.5)))
  # What goes missing: log(1/2) + log(1) + log(2e-300), by hand.
  expect_equal(loss_without(at$probability, NULL)[1], -log(0.5) - log(2e-300))
  expect_equal(loss_without(at$probability, c(2, 1, 0))[1], -2 * log(0.5))
  fit <- fit_mixture(waiting ~ 1, faithful, k = 3, covariance = "E")
  m <- moves_of(fit)
  at <- .Call(C_mixture_evaluate, m$model, state_of(fit))
  for (round in 1:5) { # all the ways of splitting
    split <- moved_probability(list(gone = 2L, split = 1L), at, m$units, round)
    expect_equal(rowSums(split), rep(1, 272))
    expect_true(all(colSums(split) > 0))
  }
})

test_that("no ascent leads to a component on units that happen to be close", {
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 3, covariance = "VVV")
  # -1119.214 is mclust's; there is a maximum at -1114.440 with a standard deviation of 0.06.
  expect_equal(objective_of(fit), -1119.214, tolerance = 1e-6)
  m <- moves_of(fit)
  thin <- state_of(fit)
  thin$normal$covariance[, , 1] <- thin$normal$covariance[, , 1] / 1e4
  worth <- function(state, size) {
    trusted_objective(m$model, list(state = state, size = size, objective = -1000))
  }
  expect_equal(worth(state_of(fit), size_of(fit)), -1000)
  expect_equal(worth(thin, c(100, 100, 72)), -1010)
  expect_lt(worth(thin, c(5, 150, 117)), -1e6)
})

test_that("moves are recorded, and not made from a given start or of one component", {
  fit <- fit_mixture(as.matrix(iris[1:4]) ~ 1, k = 4, covariance = "VVV")
  expect_equal(starts_of(fit)$status[nrow(starts_of(fit))], "moved")
  expect_equal(objective_of(fit), starts_of(fit)$objective[nrow(starts_of(fit))], tolerance = 1e-6)
  given <- fit_mixture(cbind(a, b) ~ 1, four, k = 4, covariance = "EII", start = trap)
  expect_equal(nrow(starts_of(given)), 1)
  one <- fit_mixture(cbind(a, b) ~ 1, four, k = 1, covariance = "EII")
  expect_equal(starts_of(one)$status, "climbed")
})

test_that("curves at many different sets of times make no moves", {
  design_of <- function(missing) {
    data <- sim_curves(300, k = 4, missing = missing, seed = 1)
    fit_mixture(expr ~ time + (1 | gene), data, k = 1, unit = ~ gene)$design
  }
  expect_true(worth_moving(list(k = 4), design_of(0)))
  expect_false(worth_moving(list(k = 4), design_of(0.3)))
})

test_that("a component that is next to empty is not split", {
  set.seed(14)
  d <- data.frame(x = rnorm(100), y = rpois(100, 2))
  fit <- fit_mixture(y ~ x, d, k = 3, family = poisson(), control = elbo_control(n_starts = 3))
  # Its likelihood cannot be less than that of fewer components.
  two <- update(fit, k = 2)
  expect_gte(elbo(fit), elbo(two) - 1e-6)
})

test_that("one regression too many has one answer, and not one on a handful of units", {
  skip_if_not_installed("flexmix")
  data("NPreg", package = "flexmix", envir = environment())
  fit <- function(seed, ...) {
    fit_mixture(yn ~ x + I(x^2), NPreg, k = 3, control = elbo_control(seed = seed), ...)
  }
  # The best maximum, over 40 seeds and 2000 starts each of three, whose components all have a fifth
  # of the largest sd; there are -633.1 and, of four units, -614.5.
  for (seed in 1:5) expect_equal(elbo(fit(seed)), -636.2637, tolerance = 1e-7)
  # A component on the seven units of a line of their own, to 0.05.
  set.seed(2)
  x <- c(runif(80, 0, 10), 1:7)
  y <- c(x[1:80] + rnorm(80, sd = 2), 40 - 1:7 + rep_len(c(-0.05, 0.05), 7))
  d <- data.frame(x, y)
  few <- fit_mixture(y ~ x, d, k = 2, start = rep(1:2, c(80, 7)))
  expect_lt(sigma(few)[[2]], 0.2)
  expect_output(print(few), "Component 2 is on .* units and far narrower than the others")
})
