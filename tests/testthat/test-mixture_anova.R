test_that("nested mixtures of as many components are compared by chi-square", {
  small <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
  large <- mixture_example("normal")
  table <- anova(large, small)
  expect_s3_class(table, "anova")
  expect_identical(rownames(table), c("small", "large"))
  expect_equal(table$npar, c(8, 11))
  expect_equal(table$Chisq[2], 2 * as.numeric(logLik(large) - logLik(small)))
  expect_equal(table$`Pr(>Chisq)`[2], pchisq(table$Chisq[2], 3, lower.tail = FALSE))
  expect_match(paste(attr(table, "heading"), collapse = ""), "p by chi-square")
})

# One normal component: refits give the ratio's law, which no chi-square is. That two components
# in `faithful` are not one is beyond any doubt.
test_that("numbers of components are compared by the bootstrap", {
  skip_on_cran()
  one <- fit_mixture(waiting ~ 1, faithful, k = 1, covariance = "E")
  two <- fit_mixture(waiting ~ 1, faithful, k = 2, covariance = "E")
  table <- anova(one, two, nsim = 19, seed = 1)
  expect_equal(table$`Pr(>Chisq)`[2], 1 / 20)
  expect_match(paste(attr(table, "heading"), collapse = ""), "p by bootstrap of 19")
  expect_identical(table, anova(one, two, nsim = 19, seed = 1))
  # A single normal sample: p is not small.
  d <- withr::with_seed(1, data.frame(y = rnorm(100)))
  one <- fit_mixture(y ~ 1, d, k = 1, covariance = "E")
  two <- fit_mixture(y ~ 1, d, k = 2, covariance = "E")
  expect_gt(anova(one, two, nsim = 19, seed = 1)$`Pr(>Chisq)`[2], 0.1)
})

test_that("what cannot be compared is refused", {
  fit <- mixture_example("normal")
  expect_error(anova(fit), class = "elbo_error_argument")
  expect_error(anova(fit, mixture_example("univariate")), class = "elbo_error_argument")
  expect_error(anova(fit, mixture_example("joint")), class = "elbo_error_loglik")
  map <- update(fit, prior = priors(covariance = inverse_wishart(4, 1)))
  expect_error(anova(fit, map), class = "elbo_error_argument")
})

test_that("the refits that a bootstrap used are counted", {
  set.seed(5)
  d <- data.frame(y = c(rnorm(12), 5, 5.01, 5.02))
  one <- fit_mixture(y ~ 1, d, k = 1)
  two <- fit_mixture(y ~ 1, d, k = 2, covariance = "E")
  table <- anova(one, two, nsim = 9, seed = 1)
  expect_match(attr(table, "heading")[2], "bootstrap of 9")
  # Four components of their own variance collapse on most draws from one.
  d$y <- c(-9, -8.9, -8.7, -8.2, -3, -2.9, -2.4, -2.2, 3, 3.3, 3.4, 3.5, 9, 9.4, 9.5)
  one <- fit_mixture(y ~ 1, d, k = 1)
  four <- fit_mixture(y ~ 1, d, k = 4, covariance = "V", control = elbo_control(n_starts = 3))
  table <- suppressWarnings(anova(one, four, nsim = 9, seed = 1))
  used <- as.numeric(sub(".*bootstrap of ([0-9]+).*", "\\1", attr(table, "heading")[2]))
  expect_lt(used, 9)
  expect_match(attr(table, "heading")[2], sprintf("(of 9 draws, %d had no fit)", 9 - used),
               fixed = TRUE)
  expect_gte(table[2, "Pr(>Chisq)"], 1 / (1 + used))
})
