vb <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont, method = "vb")
new <- data.frame(Subject = c("M01", "new"), age = c(10, 10))

# Means of n draws are off by sd / sqrt(n), standard deviations by sd / sqrt(2 n): four of these.
expect_moments <- function(draws, mean, sd) {
  n <- nrow(draws)
  expect_true(all(abs(colMeans(draws) - mean) < 4 * sd / sqrt(n)))
  expect_true(all(abs(apply(draws, 2, sd) / sd - 1) < 4 / sqrt(2 * n)))
}

test_that("draws of predictions have the moments of predict()", {
  known <- posterior_epred.elbo_glmm(vb, new[1, ], ndraws = 2000, seed = 1)
  at <- predict(vb, new[1, ], se.fit = TRUE)
  expect_moments(known, at$fit, at$se.fit)
  population <- posterior_epred.elbo_glmm(vb, new[1, ], re.form = NA, ndraws = 2000, seed = 1)
  at <- predict(vb, new[1, ], re.form = NA, se.fit = TRUE)
  expect_moments(population, at$fit, at$se.fit)
  expect_error(posterior_epred.elbo_glmm(vb, new), class = "elbo_error_new_levels")
  unseen <- posterior_epred.elbo_glmm(vb, new, allow_new_levels = TRUE, ndraws = 4000, seed = 1)
  at <- predict(vb, new, allow.new.levels = TRUE, se.fit = TRUE)
  # The law of an unseen group is a scale mixture, with longer tails than a normal's.
  expect_equal(apply(unseen, 2, sd), at$se.fit, tolerance = 0.08, ignore_attr = TRUE)
  predicted <- posterior_predict.elbo_glmm(vb, new[1, ], ndraws = 4000, seed = 1)
  half <- predict(vb, new[1, ], interval = "prediction")[, c("lwr", "upr")]
  expect_equal(unname(quantile(predicted, c(0.025, 0.975))), unname(half), tolerance = 0.02)
})

test_that("log_lik() is of the rows given parameters and latent variables", {
  expect_identical(dim(log_lik.elbo_glmm(vb, ndraws = 5)), c(5L, 108L))
  one <- withr::with_seed(3, posterior_fits(vb, 1, TRUE))[[1]]
  by_hand <- dnorm(nlme::Orthodont$distance, fitted(one), sigma(one), log = TRUE)
  expect_equal(log_lik.elbo_glmm(vb, ndraws = 1, seed = 3)[1, ], by_hand, ignore_attr = TRUE)
  with_data <- log_lik.elbo_glmm(vb, as.data.frame(nlme::Orthodont), ndraws = 1, seed = 3)
  expect_equal(with_data[1, ], by_hand, ignore_attr = TRUE)
})

test_that("draws of a mixture are of its mean, its responses and its density", {
  mixture <- mixture_example("vb")
  at <- data.frame(x1 = c(-1, 1))
  expected <- posterior_epred.elbo_glmm(mixture, at, ndraws = 500, seed = 1)
  expect_equal(colMeans(expected), predict(mixture, at, type = "response"), tolerance = 0.02)
  expect_identical(dim(posterior_predict.elbo_glmm(mixture, ndraws = 3)), c(3L, 200L))
  several <- posterior_epred.elbo_glmm(mixture_example("vb_normal"), ndraws = 3)
  expect_identical(dimnames(several)[[3]], c("eruptions", "waiting"))

  theta <- withr::with_seed(2, posterior_theta(mixture, 1))[1, ]
  by_hand <- row_log_sum_exp(reference_log_joint(mixture, theta))
  expect_equal(log_lik.elbo_glmm(mixture, ndraws = 1, seed = 2)[1, ], by_hand, ignore_attr = TRUE)
  classes <- mixture_example("vb_classes")
  theta <- withr::with_seed(2, posterior_theta(classes, 1))[1, ]
  by_hand <- row_log_sum_exp(reference_log_joint(classes, theta))
  expect_equal(log_lik.elbo_glmm(classes, ndraws = 1, seed = 2)[1, ], by_hand, ignore_attr = TRUE)
  expect_error(posterior_predict.elbo_glmm(classes), class = "elbo_error_not_available")
})

test_that("other methods have no posterior, and say so", {
  em <- update(vb, method = "em")
  for (f in list(posterior_epred.elbo_glmm, posterior_predict.elbo_glmm, log_lik.elbo_glmm,
                 bayes_R2.elbo_glmm, hdi.elbo_fit, describe_posterior.elbo_fit)) {
    expect_error(f(em), "method = \"vb\"", class = "elbo_error_method")
  }
})

test_that("priors are told, default, stated or flat", {
  stated <- update(vb, prior = priors(beta = normal(0, 100)))
  table <- prior_summary.elbo_fit(stated)
  expect_identical(table$prior[table$name == "age"], "normal(0, 100)")
  expect_false(table$default[table$name == "age"])
  flat <- prior_summary.elbo_fit(update(vb, method = "em"))
  expect_setequal(flat$name, names(theta(vb)))
  expect_identical(unique(flat$prior), "flat()")
  described <- describe_prior.elbo_fit(stated)
  expect_identical(described$Prior_Scale[described$Parameter == "age"], 100)
})

test_that("log_lik() of a mixture of binomials by vb is that of its draws", {
  skip_if_not_installed("rstantools")
  set.seed(1)
  d <- data.frame(succ = c(rbinom(30, 10, 0.2), rbinom(30, 10, 0.8)))
  fit <- fit_mixture(cbind(succ, 10 - succ) ~ 1, d, k = 2, family = binomial(), method = "vb",
                     control = elbo_control(n_starts = 2))
  density <- rstantools::log_lik(fit)
  expect_equal(ncol(density), 60)
  # Close to the density at the means of q, by dbinom().
  theta <- theta(fit)
  p <- plogis(theta[grepl("(Intercept)", names(theta), fixed = TRUE)])
  w <- theta[grepl("weight", names(theta))]
  expected <- log(w[1] * dbinom(d$succ, 10, p[1]) + w[2] * dbinom(d$succ, 10, p[2]))
  expect_lt(max(abs(colMeans(density) - expected)), 0.3)
})

test_that("re_formula is brms's word for re.form", {
  row <- data.frame(Subject = "M01", age = 10)
  said <- function(...) posterior_epred.elbo_glmm(vb, row, ndraws = 5, seed = 1, ...)
  expect_identical(said(re_formula = NA), said(re.form = NA))
  expect_identical(said(re_formula = NULL), said())
  expect_false(identical(said(re_formula = NA), said()))
  expect_identical(posterior_predict.elbo_glmm(vb, row, ndraws = 5, seed = 1, re_formula = NA),
                   posterior_predict.elbo_glmm(vb, row, ndraws = 5, seed = 1, re.form = NA))
})

test_that("responses of a group not seen before are drawn for new rows too", {
  rows <- data.frame(Subject = c("M01", "M01"), age = c(10, 10))
  drawn <- posterior_predict.elbo_glmm(vb, rows, re.form = NA, ndraws = 4000, seed = 1)
  half <- predict(vb, transform(rows, Subject = "new"), allow.new.levels = TRUE,
                  interval = "prediction", level = 0.5)[1, ]
  # Quartiles of 4000 draws are off by sd 1.36 / sqrt(4000), .02; the law has longer tails.
  expect_equal(unname(quantile(drawn[, 1], c(0.25, 0.75))), unname(half[2:3]), tolerance = 0.02)
  # One group: the two rows go together as the law of the latent variables has it.
  expect_gt(cor(drawn)[1, 2], 0.5)
})
