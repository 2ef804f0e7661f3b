test_that("tidy() names components and terms as broom does", {
  fit <- mixture_example("normal")
  table <- tidy(fit, conf.int = TRUE)
  expect_identical(names(table), c("effect", "component", "term", "estimate", "std.error",
                                   "statistic", "p.value", "conf.low", "conf.high"))
  expect_equal(nrow(table), length(theta(fit)))
  expect_identical(unique(table$term), c("proportion", "mean.eruptions", "mean.waiting",
                                         "sd__eruptions", "sd__waiting", "cor__eruptions.waiting"))
  expect_equal(table$estimate, as.vector(theta(fit)))
  expect_equal(table$std.error, unname(sqrt(diag(vcov(fit, full = TRUE)))))
  expect_equal(unname(as.matrix(table[c("conf.low", "conf.high")])), unname(confint(fit)))
  expect_identical(table$effect[table$term %in% c("proportion", "mean.waiting")], rep("fixed", 4))
  expect_identical(unique(table$effect[grep("__", table$term)]), "ran_pars")
})

test_that("regressions have a row per term and component, with tests", {
  fit <- mixture_example("gaussian")
  table <- tidy(fit)
  slope <- table[table$term == "x1" & table$component == 2, ]
  expect_equal(slope$statistic, slope$estimate / slope$std.error)
  expect_equal(slope$p.value, 2 * pnorm(-abs(slope$statistic)))
  expect_identical(table$component[table$term == "sd__Observation"], 1:2)
  expect_true(all(is.na(table$statistic[table$term == "proportion"])))
  common <- tidy(mixture_example("common"), effects = "ran_pars")
  expect_identical(common$term, "sd__Observation")
  expect_identical(common$component, NA_integer_)
  member <- tidy(mixture_example("binomial"))
  expect_identical(member$term[1:2], c("membership.(Intercept)", "membership.w"))
  odds <- tidy(mixture_example("binomial"), exponentiate = TRUE, conf.int = TRUE)
  expect_equal(odds$estimate, exp(member$estimate))
  expect_equal(odds$std.error, exp(member$estimate) * member$std.error)
  expect_true(all(odds$conf.low > 0))
})

test_that("effects are chosen, latent ones too", {
  fit <- mixture_example("classes")
  expect_identical(unique(tidy(fit, effects = "ran_pars")$term), "sd__x")
  latent <- tidy(fit, effects = "ran_vals")
  expect_equal(nrow(latent), 600)
  expect_equal(latent$estimate, latent(fit)$probability)
  expect_true("prob.colour.red" %in% tidy(fit)$term)
  both <- tidy(fit, effects = c("fixed", "ran_vals"))
  expect_identical(unique(both$effect), c("fixed", "ran_vals"))
  expect_error(tidy(fit, effects = "ran_coefs"), class = "elbo_error_argument")
})

test_that("glance() is one row of facts", {
  fit <- mixture_example("normal")
  row <- glance(fit)
  expect_identical(names(row), c("nobs", "k", "covariance", "sigma", "logLik", "AIC", "BIC", "ICL",
                                 "df.residual", "elbo", "method", "converged", "iterations"))
  expect_equal(nrow(row), 1)
  expect_equal(row$logLik, as.numeric(logLik(fit)))
  P <- predict(fit, type = "prob")
  expect_equal(row$ICL, BIC(fit) - 2 * sum(P * log(P)))
  expect_equal(row$ICL, selection(fit)$ICL, tolerance = 1e-8)
  expect_true(is.na(glance(mixture_example("joint"))$logLik))
  expect_equal(glance(mixture_example("vb"))$elbo, elbo(mixture_example("vb")))
})
