# Refits under moved priors: the derivative of every posterior mean.
test_that("sensitivity to the prior is what refits find", {
  d <- withr::with_seed(1, regression_data())
  fit_at <- function(mean = 0.2, sd = 0.5, df = 3, scale = 1, alpha = 2) {
    fit_mixture(y ~ x1, d, k = 2, method = "vb", control = elbo_control(tol = 1e-12),
                prior = priors(x1 = normal(mean, sd), `(Intercept)` = normal(0, 10),
                               sigma = half_t(df, scale), weight = dirichlet(alpha)))
  }
  table <- sensitivity(fit_at(), to = "prior")
  expect_identical(names(table), c("estimate", "prior", "number", "value", "derivative", "per_sd"))
  h <- 1e-3
  check <- function(prior, number, up, down) {
    refits <- unname(c(theta(up) - theta(down))) / (2 * h)
    rows <- table$prior == prior & table$number == number & table$estimate %in% names(theta(up))
    slope <- table$derivative[rows]
    expect_equal(slope, refits, tolerance = 1e-3)
  }
  check("x1", "mean", fit_at(mean = 0.2 + h), fit_at(mean = 0.2 - h))
  check("x1", "sd", fit_at(sd = 0.5 + h), fit_at(sd = 0.5 - h))
  check("sigma", "df", fit_at(df = 3 + h), fit_at(df = 3 - h))
  check("sigma", "scale", fit_at(scale = 1 + h), fit_at(scale = 1 - h))
  check("weight", "alpha", fit_at(alpha = 2 + h), fit_at(alpha = 2 - h))
  expect_equal(table$per_sd, unname(table$derivative / standard_errors(fit_at())[table$estimate]))
  expect_identical(is.na(table$per_sd), grepl("^components", table$estimate))
})

test_that("sticks and numeric classes have numbers in their priors", {
  table <- sensitivity(mixture_example("vb_sticks"))
  expect_true("alpha" %in% table$number[table$prior == "weight"])
  # A larger concentration leaves more to the last stick.
  last <- table[table$prior == "weight" & table$estimate == "weight|3", ]
  expect_gt(last$derivative, 0)
  expect_true(all(is.finite(table$derivative)))
})

component_counts <- function(fit) attr(sensitivity(fit), "components")

# n x k draws from q(weights), in the order of the components.
weight_draws <- function(q, n) {
  if (q$family == "Dirichlet") {
    g <- vapply(q$alpha, function(a) rgamma(n, a), numeric(n))
    return(g / rowSums(g))
  }
  left <- rep(1, n)
  w <- matrix(0, n, length(q$shape1) + 1)
  for (s in seq_along(q$shape1)) {
    v <- rbeta(n, q$shape1[s], q$shape2[s])
    w[, s] <- left * v
    left <- left * (1 - v)
  }
  w[, ncol(w)] <- left
  w
}

test_that("the expected number of components is what its formula says", {
  for (name in c("vb_sticks", "vb", "vb_classes")) {
    fit <- mixture_example(name)
    r <- predict(fit, type = "prob")
    found <- component_counts(fit)
    expect_equal(found[["components"]], sum(1 - apply(1 - r, 2, prod)), tolerance = 1e-12)
    q <- variational(fit)$weights
    w <- withr::with_seed(1, weight_draws(q, 20000))
    drawn <- rowSums(1 - (1 - w)^nobs(fit))
    # Four standard errors of the mean, and what a thousand points leave.
    expect_lt(abs(found[["components, new sample"]] - mean(drawn)),
              4 * sd(drawn) / sqrt(20000) + 2e-3)
  }
})

# Refits from the same start: of two components in six, and of curves.
test_that("the number of components moves with the concentration as refits find", {
  d <- withr::with_seed(2, sim_mixture(120, c(3, 2, 1),
                                       coefficients = rbind(c(0, 1), c(1, -1), c(2.5, 1))))
  control <- elbo_control(tol = 1e-12, seed = 1)
  of_lines <- function(alpha, start = NULL) {
    fit_mixture(y ~ x1, d, k = 6, method = "vb", start = start, control = control,
                prior = priors(weight = stick_breaking(alpha)))
  }
  genes <- sim_curves(100, times = seq(0, 48, by = 6), k = 4, sd = c(0.5, 0.4), sigma = 0.4,
                      seed = 2)
  of_curves <- function(alpha, start = NULL) {
    fit_mixture(expr ~ splines::bs(time, df = 5) + (1 | gene), genes, k = 8, unit = ~ gene,
                method = "vb",
                start = start, control = control, prior = priors(weight = stick_breaking(alpha)))
  }
  for (refit in list(of_lines, of_curves)) {
    fit <- refit(1)
    table <- sensitivity(fit)
    rows <- table$prior == "weight" & table$estimate %in% names(attr(table, "components"))
    slope <- table$derivative[rows]
    P <- predict(fit, type = "prob")
    h <- 1e-2
    differences <- (component_counts(refit(1 + h, P)) - component_counts(refit(1 - h, P))) / (2 * h)
    expect_equal(slope, unname(differences), tolerance = 1e-4)
    # A concentration twice as large: the linear prediction is off by a twentieth of the change or
    # so.
    change <- component_counts(refit(2)) - attr(table, "components")
    expect_gt(change[["components, new sample"]], 0.5)
    expect_equal(slope[2], change[["components, new sample"]], tolerance = 0.15)
  }
})

test_that("without free weights, or with covariates of theirs, there is no new sample", {
  d <- withr::with_seed(1, regression_data())
  held <- fit_mixture(y ~ x1, d, k = 2, method = "vb", prior = priors(weight = constant(0.5)))
  expect_named(component_counts(held), "components")
  by_w <- fit_mixture(y ~ x1, d, k = 2, method = "vb", membership = ~ w)
  expect_named(component_counts(by_w), "components")
})

test_that("other methods refuse", {
  expect_error(sensitivity(mixture_example("normal")), class = "elbo_error_not_available")
  expect_error(sensitivity(mixture_example("vb"), to = "data"), class = "elbo_error_not_available")
})
