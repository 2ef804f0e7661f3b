# Finite differences of a likelihood written in plain R, in other coordinates than the package's.
test_that("vcov() is the inverse observed information, and the sandwich", {
  skip_on_cran()
  skip_if_not_installed("numDeriv")
  for (name in setdiff(mixture_kinds, c("missing", "copies"))) {
    fit <- mixture_example(name)
    reference <- reference_vcov(fit)
    # numDeriv's hessian() and the jacobian() of its grad() differ by up to 4e-5 here.
    expect_equal(unname(vcov(fit, full = TRUE)), reference$observed, tolerance = 1e-4)
    expect_equal(unname(vcov(fit, full = TRUE, type = "sandwich")), reference$sandwich,
                 tolerance = 1e-4)
  }
})

test_that("vcov() integrates missing responses", {
  skip_on_cran()
  skip_if_not_installed("numDeriv")
  fit <- mixture_example("missing")
  reference <- reference_vcov(fit)
  expect_equal(unname(vcov(fit, full = TRUE)), reference$observed, tolerance = 1e-4)
  expect_equal(unname(vcov(fit, full = TRUE, type = "sandwich")), reference$sandwich,
               tolerance = 1e-4)
})

# EEE in coordinates of our own: logit weight, means, and the Cholesky factor of the one covariance.
test_that("vcov() knows what components share", {
  skip_if_not_installed("numDeriv")
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
  theta_of <- function(eta) {
    root <- rbind(c(exp(eta[6]), 0), c(eta[7], exp(eta[8])))
    S <- root %*% t(root)
    sd <- sqrt(diag(S))
    cor <- S[1, 2] / prod(sd)
    setNames(c(plogis(-eta[1]), plogis(eta[1]), eta[2:5], sd, sd, cor, cor), names(theta(fit)))
  }
  root <- t(chol(components(fit)$covariance[1, , ]))
  eta <- c(qlogis(theta(fit)[["weight|2"]]), theta(fit)[3:6], log(root[1, 1]), root[2, 1],
           log(root[2, 2]))
  expect_equal(theta_of(eta), c(theta(fit)), ignore_attr = "fixed")
  log_likelihood <- function(eta) {
    sum(row_log_sum_exp(reference_log_joint(fit, theta_of(eta))))
  }
  H <- numDeriv::hessian(log_likelihood, eta)
  J <- numDeriv::jacobian(theta_of, eta)
  expect_equal(unname(vcov(fit, full = TRUE)), J %*% solve(-H, t(J)), tolerance = 1e-4)
  expect_equal(qr(vcov(fit, full = TRUE), tol = 1e-8)$rank, n_free(fit))
})

test_that("copies are rows", {
  copies <- mixture_example("copies")
  long <- as.data.frame(Titanic)
  long <- long[rep(seq_len(nrow(long)), long$Freq), ]
  rows <- fit_mixture(responses(Sex, Age, Survived) ~ 1, long, k = 2)
  expect_equal(nobs(copies), nrow(long))
  expect_equal(logLik(copies), logLik(rows), tolerance = 1e-8)
  expect_equal(vcov(copies, full = TRUE), vcov(rows, full = TRUE), tolerance = 1e-4)
  expect_equal(vcov(copies, full = TRUE, type = "sandwich"),
               vcov(rows, full = TRUE, type = "sandwich"), tolerance = 1e-4)
})

# Given its labels a component is a sample of its own: means have S / n_j, sds sd^2 / (2 n_j),
# correlations (1 - r^2)^2 / n_j, weights the multinomial's.
test_that("joint fits have the information of known labels", {
  fit <- mixture_example("joint")
  n <- size_of(fit)
  parts <- components(fit)
  V <- vcov(fit, full = TRUE)
  expect_equal(V["weight|1", "weight|1"], prod(parts$weight) / nobs(fit))
  for (j in 1:2) {
    means <- paste0(c("mean__eruptions|", "mean__waiting|"), j)
    sds <- paste0(c("sd__eruptions|", "sd__waiting|"), j)
    cor <- paste0("cor__eruptions.waiting|", j)
    expect_equal(unname(V[means, means]), unname(parts$covariance[j, , ] / n[j]), tolerance = 1e-6)
    expect_equal(unname(diag(V)[sds]), unname(theta(fit)[sds]^2 / (2 * n[j])), tolerance = 1e-6,
                 ignore_attr = TRUE)
    expect_equal(V[cor, cor], (1 - theta(fit)[[cor]]^2)^2 / n[j], tolerance = 1e-6)
  }
})

# Given labels the coefficients of membership are a logistic regression.
test_that("joint fits with membership have the information of a logistic regression", {
  d <- withr::with_seed(2, sim_mixture(120, c(1, 1), mean = cbind(a = c(0, 3), b = c(0, 3))))
  d$w <- withr::with_seed(3, rnorm(120))
  fit <- fit_mixture(cbind(a, b) ~ 1, d, k = 2, covariance = "VVI", membership = ~ w,
                     method = "joint")
  label <- predict(fit) == 2
  logistic <- glm(label ~ d$w, family = binomial(), epsilon = 1e-14)
  rows <- grep("membership", names(theta(fit)))
  expect_equal(unname(c(theta(fit))[rows]), unname(coef(logistic)), tolerance = 1e-6)
  expect_equal(unname(vcov(fit, full = TRUE)[rows, rows]), unname(vcov(logistic)), tolerance = 1e-5)
})

test_that("a probability at the end of its range is said to be there, and spoils nothing", {
  fit <- fit_mixture(responses(Class, Sex, Age, Survived) ~ 1, as.data.frame(Titanic), k = 2,
                     freq = Freq)
  at_end <- c("prob__Sex.Male|1", "prob__Sex.Female|1")
  se <- standard_errors(fit)
  expect_identical(names(se)[is.na(se)], at_end)
  expect_match(paste(notes(fit), collapse = " "), "boundary.*prob__Sex.Male|1", fixed = FALSE)
  expect_true(all(is.na(confint(fit, at_end))))
  expect_false(anyNA(confint(fit, setdiff(names(theta(fit)), at_end))))
})

test_that("intervals stay in their range", {
  fit <- mixture_example("normal")
  limits <- confint(fit)
  expect_identical(colnames(limits), c("2.5 %", "97.5 %"))
  block <- parameters_of(fit)$block
  expect_true(all(limits[block == "weight", ] > 0 & limits[block == "weight", ] < 1))
  # On the logit scale, by hand.
  w <- theta(fit)[["weight|1"]]
  se <- sqrt(vcov(fit, full = TRUE)[1, 1])
  expect_equal(unname(limits["weight|1", ]),
               plogis(qlogis(w) + c(-1, 1) * qnorm(0.975) * se / (w * (1 - w))))
  expect_equal(unname(confint(fit, "mean__waiting|2", level = 0.9)[1, ]),
               theta(fit)[["mean__waiting|2"]] + c(-1, 1) * qnorm(0.95) *
                 sqrt(vcov(fit)["mean__waiting|2", "mean__waiting|2"]))
  expect_error(confint(fit, "nonsense"), class = "elbo_error_argument")
})

test_that("weights, prior and k = 1 hold where they must", {
  one <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1, covariance = "VVV")
  expect_equal(theta(one)[["weight|1"]], 1)
  expect_equal(unname(vcov(one)), unname(cov(faithful)) * 271 / 272 / 272, tolerance = 1e-6)
  equal <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV",
                       prior = priors(weight = constant(1 / 2)))
  expect_true(all(is.na(vcov(equal, full = TRUE)[1:2, ])))
  expect_true(all(is.na(standard_errors(equal)[1:2])))
  expect_false(anyNA(standard_errors(equal)[-(1:2)]))
})

test_that("permuted labels of a start change nothing", {
  label <- predict(mixture_example("normal"))
  a <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV",
                   start = label)
  b <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV",
                   start = 3L - label)
  expect_equal(theta(a), theta(b), tolerance = 1e-8)
  expect_equal(vcov(a, full = TRUE), vcov(b, full = TRUE), tolerance = 1e-6)
})

test_that("a single coefficient has a standard error: of a Poisson mean on the log scale", {
  # Information of log mu is n mu = sum y.
  counts <- data.frame(y = c(2, 0, 3, 1))
  for (method in c("em", "joint")) {
    fit <- fit_mixture(y ~ 1, counts, k = 1, family = poisson(), method = method)
    expect_equal(summary(fit)$coefficients[1, "Std. Error"], 1 / sqrt(6), tolerance = 1e-6)
  }
})

test_that("weights of components that are alike have no standard errors", {
  # A mixture of two laws of one trial each is one such law: nothing is known but its mean.
  coin <- data.frame(y = rep(c(TRUE, FALSE), c(30, 70)))
  fit <- fit_mixture(y ~ 1, coin, k = 2, family = binomial())
  expect_equal(as.numeric(logLik(fit)), 30 * log(0.3) + 70 * log(0.7))
  expect_true(all(is.na(sqrt(diag(vcov(fit, full = TRUE))))))
  expect_output(print(fit), "Not identified")
  expect_no_match(paste(notes(fit), collapse = " "), "depend on luck")
})

test_that("a component without members has no standard errors", {
  # Less spread than one law of Poisson has: a second component can only do harm.
  even <- data.frame(y = rep(2:3, 30), x = rep(-2:2, 12))
  expect_no_warning(fit <- fit_mixture(y ~ x, even, k = 2, family = poisson()))
  alone <- glm(y ~ x, family = poisson(), data = even)
  expect_equal(as.numeric(logLik(fit)), as.numeric(logLik(alone)), tolerance = 1e-7)
  expect_lt(size_of(fit)[2], nobody)
  se <- sqrt(diag(vcov(fit)))
  expect_equal(unname(se[1:2]), unname(sqrt(diag(vcov(alone)))), tolerance = 1e-3)
  expect_true(all(is.na(se[3:4])))
  expect_output(print(fit), "Not identified")
})

# Louis's formula against numDeriv::hessian() of the log-likelihood in theta itself: 5e-10 of a
# standard error.
test_that("standard errors of normal components are those of the log-likelihood", {
  skip_if_not_installed("numDeriv")
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV")
  free <- names(theta(fit)) != "weight|2"
  log_likelihood <- function(x) {
    at <- replace(theta(fit), free, x)
    at[["weight|2"]] <- 1 - at[["weight|1"]]
    elbo(fit, theta = at)
  }
  H <- numDeriv::hessian(log_likelihood, unname(c(theta(fit)[free])), method.args = list(r = 6))
  expected <- sqrt(diag(solve(-H)))
  expect_equal(unname(sqrt(diag(vcov(fit, full = TRUE)))[free]), expected, tolerance = 1e-8)
})
