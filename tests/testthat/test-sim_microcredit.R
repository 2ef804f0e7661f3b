regressions <- function(d) {
  answer <- lapply(split(d, d$country), function(site) {
    fit <- summary(lm(profit ~ treatment, site))
    data.frame(estimate = fit$coefficients[2, 1], se = fit$coefficients[2, 2],
               mean = fit$coefficients[1, 1])
  })
  do.call(rbind, answer)
}

test_that("matched households give the published regressions", {
  set.seed(1)
  d <- sim_microcredit()
  expect_identical(dim(d), c(35303L, 3L)) # households in the trials: Meager (2022)
  expect_identical(levels(d$country), levels(microcredit_sites$country))
  found <- regressions(d)
  # The root of the residual sd is found to 1e-13.
  expect_equal(found$estimate, microcredit_sites$estimate, tolerance = 1e-9)
  expect_equal(found$se, microcredit_sites$se, tolerance = 1e-9)
})

test_that("shares are the published ones to one household in each arm", {
  set.seed(2)
  d <- sim_microcredit()
  law <- truth(d)$profits
  for (i in seq_len(nrow(law))) {
    profit <- d$profit[d$country == law$country[i] & d$treatment == law$treatment[i]]
    counts <- c(sum(profit < 0), sum(profit == 0), sum(profit > 0))
    expected <- unlist(law[i, c("negative", "zero", "positive")]) * length(profit)
    expect_lt(max(abs(counts - expected)), 1)
  }
})

test_that("the law of profits has the published moments", {
  set.seed(3)
  answer <- truth(sim_microcredit(0.01, match = FALSE))
  law <- answer$profits
  moment <- function(power, sign) {
    part <- function(share, meanlog) {
      ifelse(share > 0, share * exp(power * meanlog + power^2 * law$sdlog^2 / 2), 0)
    }
    part(law$positive, law$meanlog_positive) + sign * part(law$negative, law$meanlog_negative)
  }
  mean <- moment(1, -1)
  variance <- moment(2, 1) - mean^2
  theta <- answer$theta
  expect_equal(mean[1:7], unname(theta[1:7]))
  expect_equal(mean[8:14] - mean[1:7], microcredit_sites$estimate)
  treated <- c(8262, 701, 627, 3599, 2720, 892, 1586) /
    c(16560, 961, 1195, 6863, 5498, 1113, 3113)
  pooled <- (1 - treated) * variance[1:7] + treated * variance[8:14]
  expect_equal(sqrt(pooled), unname(theta[15:21]))
})

test_that("the truth is laid out as the answers of a fit", {
  set.seed(4)
  d <- sim_microcredit()
  fit <- fit_glmm(profit ~ 0 + country + country:treatment, d, sigma = ~ country)
  expect_named(truth(d)$theta, names(theta(fit)))
  # Coefficients are the arms' means; ML of a sd divides by n where the match divides by n - 2.
  expect_equal(unname(theta(fit)[1:14]), unname(truth(d)$theta[1:14]), tolerance = 1e-8)
  n <- as.vector(table(d$country))
  expect_equal(sigma(fit), truth(d)$theta[15:21] * sqrt((n - 2) / n), tolerance = 1e-8,
               ignore_attr = TRUE)
  expect_named(truth(d)$latent, c("group", "level", "term", "value"))
})

test_that("the truth of matched households is the law they were drawn from", {
  set.seed(8)
  d <- sim_microcredit()
  law <- truth(d)$profits
  for (i in seq_len(nrow(law))) {
    profit <- d$profit[d$country == law$country[i] & d$treatment == law$treatment[i]]
    gain <- sort(log(profit[profit > 0]))
    # One draw in each of n equally likely intervals: ranks are known to one step.
    expect_true(all(abs(pnorm(gain, law$meanlog_positive[i], law$sdlog[i]) * length(gain) -
                          seq_along(gain) + 0.5) <= 0.5 + 1e-6))
  }
})

test_that("fewer households keep the effects", {
  set.seed(5)
  for (scale in c(0.01, 0.1)) {
    d <- sim_microcredit(scale)
    # Each of 14 arms is rounded to a whole household.
    expect_lte(abs(nrow(d) - scale * 35303), 7)
    expect_equal(regressions(d)$estimate, microcredit_sites$estimate, tolerance = 1e-9)
  }
})

test_that("independent households vary about the published effects", {
  skip_on_cran()
  set.seed(9)
  draws <- replicate(60, regressions(sim_microcredit(match = FALSE))$estimate)
  z <- (rowMeans(draws) - microcredit_sites$estimate) / (microcredit_sites$se / sqrt(60))
  # Seven standard normals (Mexico's skewed) stay within 4 but once in 2,000.
  expect_lt(max(abs(z)), 4)
  spread <- apply(draws, 1, sd) / microcredit_sites$se
  expect_gt(min(spread), 0.4)
})

test_that("draws come anew, and again from the same seed", {
  draw <- function(seed) {
    set.seed(seed)
    sim_microcredit(0.1)$profit
  }
  expect_identical(draw(6), draw(6))
  expect_false(identical(draw(6), draw(7)))
})

test_that("bad arguments are named", {
  refuse <- function(...) expect_error(sim_microcredit(...), class = "elbo_error_argument")
  refuse(0)
  refuse(0.001)
  refuse(c(1, 2))
  refuse("all")
  refuse(NA_real_)
  refuse(match = NA)
})
