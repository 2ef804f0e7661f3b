set.seed(1948)
pairs <- sim_pairs(100, theta = 1)
law <- priors(pair = constant(1))
em <- fit_glmm(y ~ 0 + (1 | pair), pairs, prior = law)
joint <- fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint", prior = law)

test_that("compare_fits() has a row for each fit and parameter", {
  both <- compare_fits(em, points = joint)
  expect_s3_class(both, c("elbo_comparison", "data.frame"), exact = TRUE)
  expect_named(both, c("fit", "method", "term", "estimate", "std.error"))
  expect_identical(unique(both$fit), c("em", "points"))
  expect_identical(both$term, rep(names(theta(em)), 2))
  expect_equal(both$estimate, c(theta(em), theta(joint)), ignore_attr = TRUE)
  facts <- attr(both, "facts")
  expect_identical(facts$fit, c("em", "points"))
  expect_equal(facts$objective, c(elbo(em), elbo(joint)))
  expect_identical(is.na(facts$log_likelihood), c(FALSE, TRUE))
})

test_that("parameters that are held are marked", {
  both <- compare_fits(em, joint)
  expect_identical(attr(both, "held"), c(TRUE, FALSE, TRUE, FALSE))
  expect_output(print(both), "sd__.*1 +[(]held[)] +1 +[(]held[)]")
})

test_that("fits are named by their arguments, and those apart", {
  expect_identical(unique(compare_fits(em, em)$fit), c("em", "em.1"))
  expect_error(compare_fits(em, lm(y ~ 1, pairs)), class = "elbo_error_argument")
  expect_error(compare_fits(), class = "elbo_error_argument")
})

test_that("a comparison prints fits side by side, and its rows as a data frame", {
  comparison <- compare_fits(em, joint)
  attr(comparison, "facts")$seconds <- 0.001
  expect_snapshot(print(comparison))
  expect_output(print(comparison[1:2, c("term", "estimate")]), "estimate")
})

test_that("a comparison is drawn with a panel for each parameter", {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  comparison <- compare_fits(em, joint)
  before <- graphics::par("mfrow")
  expect_identical(plot(comparison), comparison)
  expect_identical(graphics::par("mfrow"), before)
})

test_that("lists of fits are compared under short names", {
  small <- fit_glmm(distance ~ 1 + (1 | Subject), nlme::Orthodont)
  large <- update(small, . ~ . + age)
  expect_identical(rownames(do.call(anova, list(small, large))), c("fit1", "fit2"))
  expect_identical(rownames(do.call(anova, list(one = large, two = small))), c("two", "one"))
  expect_identical(rownames(anova(small, b = large)), c("small", "b"))
  expect_identical(rownames(anova(small, large, model.names = c("a", "b"))), c("a", "b"))
  expect_identical(attr(do.call(compare_fits, list(small, large)), "facts")$fit,
                   c("fit1", "fit2"))
  expect_identical(attr(do.call(compare_fits, list(a = small, large)), "facts")$fit,
                   c("a", "fit2"))
  one <- fit_mixture(waiting ~ 1, faithful, k = 1)
  two <- update(one, k = 2, covariance = "E")
  table <- do.call(anova, list(few = one, many = two, nsim = 5, seed = 1))
  expect_identical(rownames(table), c("few", "many"))
})
