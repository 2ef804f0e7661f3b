# Components that vb empties, and what is said of them.

overlapping <- function(seed) {
  set.seed(seed)
  z <- rbinom(200, 1, 0.4)
  data.frame(y = ifelse(z == 1, 2.5, 0) + rnorm(200))
}

test_that("components that are there, and overlap, are kept where that is more probable", {
  # The highest ELBO empties one in the first, sixth and ninth of these sets.
  for (seed in 31200 + c(1, 6, 9)) {
    fit <- fit_mixture(y ~ 1, overlapping(seed), k = 2, covariance = "V", method = "vb")
    expect_length(elbo:::emptied(fit), 0)
    expect_output(print(fit), "An optimum with 1 occupied component has an ELBO higher by")
    # The interval of a weight is not that of a component alone.
    expect_gt(diff(confint(fit)["weight|1", ]), 0.1)
    expect_false(convergence(fit)$trusted)
  }
})

test_that("the correction is the logarithm of what linear response adds to the volume of q", {
  # Of one component q is exact, and nothing is added.
  one <- fit_mixture(y ~ 1, overlapping(1), k = 1, covariance = "V", method = "vb")
  model <- elbo:::fit_model(one)
  expect_equal(elbo:::corrected_elbo(model, one), elbo(one), tolerance = 1e-8)
  # Four sds apart it is near the log evidence by importance sampling, of one of two equal modes.
  set.seed(5)
  z <- rbinom(400, 1, 0.4)
  d <- data.frame(y = ifelse(z == 1, 4, 0) + rnorm(400))
  fit <- fit_mixture(y ~ 1, d, k = 2, covariance = "V", method = "vb")
  corrected <- elbo:::corrected_elbo(elbo:::fit_model(fit), fit)
  evidence <- convergence(fit)$log_evidence - log(2)
  expect_gt(corrected, elbo(fit))
  expect_lt(abs(corrected - evidence), 0.25)
  expect_gt(evidence - elbo(fit), 0.5)
})

test_that("after emptying weights have no standard errors, and the words are no verdict", {
  fit <- mixture_example("vb_classes")
  expect_identical(elbo:::emptied(fit), 3L)
  weights <- paste0("weight|", 1:3)
  for (type in c("linear_response", "mean_field")) {
    expect_true(all(is.na(diag(vcov(fit, full = TRUE, type = type))[weights])))
  }
  expect_true(all(is.na(confint(fit)[weights, ])))
  expect_true(all(is.na(tidy(fit)$std.error[match(weights, tidy(fit)$term)])))
  shown <- gsub("\\s+", " ", paste(capture.output(print(fit)), collapse = " "))
  expect_match(shown, "That is no evidence against it", fixed = TRUE)
  expect_no_match(shown, "do not ask for")
})

test_that("components that nobody needs are emptied as before", {
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 5, method = "vb",
                     covariance = "VVV")
  expect_gte(length(elbo:::emptied(fit)), 2)
})
