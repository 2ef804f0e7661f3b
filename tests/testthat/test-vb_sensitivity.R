# Derivatives beside central differences of refits under moved priors, with Richardson's
# extrapolation.

orthodont <- nlme::Orthodont
numbers <- list(intercept = c(15, 8), age = c(0, 2), sd = c(3, 4), sigma = c(3, 2))

refit <- function(numbers, formula = distance ~ age + (1 | Subject), ...) {
  at <- lapply(numbers, as.list)
  prior <- priors(`(Intercept)` = normal(at$intercept[[1]], at$intercept[[2]]),
                  age = normal(at$age[[1]], at$age[[2]]),
                  sd = half_t(at$sd[[1]], at$sd[[2]]),
                  sigma = half_t(at$sigma[[1]], at$sigma[[2]]))
  fit_glmm(formula, orthodont, method = "vb", prior = prior,
           control = elbo_control(tol = 1e-12), ...)
}

slope_by_refits <- function(name, k, ...) {
  moved <- function(h) {
    numbers[[name]][k] <- numbers[[name]][k] + h
    theta(refit(numbers, ...))
  }
  slope <- function(h) (moved(h) - moved(-h)) / (2 * h)
  (4 * slope(0.01) - slope(0.02)) / 3
}

test_that("sensitivity to the prior is the derivative of refits under moved priors", {
  rows <- list(c("(Intercept)", "mean"), c("(Intercept)", "sd"), c("age", "mean"),
               c("age", "sd"), c("sd__(Intercept)|Subject", "df"),
               c("sd__(Intercept)|Subject", "scale"), c("sigma", "df"), c("sigma", "scale"))
  moves <- list(list("intercept", 1), list("intercept", 2), list("age", 1), list("age", 2),
                list("sd", 1), list("sd", 2), list("sigma", 1), list("sigma", 2))
  for (factorization in c("structured", "mean_field")) {
    fit <- refit(numbers, factorization = factorization)
    table <- sensitivity(fit, to = "prior")
    expect_equal(nrow(table), 8 * 4)
    sd <- sqrt(diag(vcov(fit, full = TRUE)))
    for (i in seq_along(rows)) {
      found <- table[table$prior == rows[[i]][1] & table$number == rows[[i]][2], ]
      expect_identical(found$estimate, names(theta(fit)))
      exact <- slope_by_refits(moves[[i]][[1]], moves[[i]][[2]], factorization = factorization)
      expect_lt(max(abs(found$derivative / exact - 1)), 1e-4)
      expect_equal(found$per_sd, unname(found$derivative / sd))
    }
  }
})

test_that("terms that share a covariance matrix share its degrees of freedom", {
  formula <- distance ~ age + (age | Subject)
  fit <- refit(numbers, formula)
  table <- sensitivity(fit, to = "prior")
  both <- "sd__(Intercept)|Subject, sd__age|Subject"
  expect_setequal(table$prior,
                  c("(Intercept)", "age", both, strsplit(both, ", ")[[1]], "sigma"))
  df <- table[table$prior == both, ]
  expect_identical(unique(df$number), "df")
  expect_equal(df$derivative, unname(c(slope_by_refits("sd", 1, formula))), tolerance = 1e-4)
  # Both scales moved at once.
  scales <- table[table$number == "scale" & startsWith(table$prior, "sd__"), ]
  together <- tapply(scales$derivative, factor(scales$estimate, names(theta(fit))), sum)
  expect_equal(as.vector(together), unname(c(slope_by_refits("sd", 2, formula))),
               tolerance = 1e-4)
})

test_that("what is held has no prior to be sensitive to, nor have other methods", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), orthodont, method = "vb",
                  prior = priors(sd = constant(2), age = constant(0.5)))
  table <- sensitivity(fit, to = "prior")
  expect_setequal(table$prior, c("(Intercept)", "sigma"))
  expect_setequal(table$estimate, c("(Intercept)", "sigma"))
  em <- update(fit, method = "em", prior = NULL)
  expect_error(sensitivity(em, to = "prior"), class = "elbo_error_not_available")
})
