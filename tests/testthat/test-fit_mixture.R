# Against independent software, closed forms and brute force.

simulated <- local({
  set.seed(4)
  z <- rep(1:3, c(80, 60, 40))
  noise <- cbind(stats::rnorm(180), stats::rnorm(180)) * c(1, 0.5, 0.8)[z]
  Y <- cbind(c(0, 3, -2)[z], c(0, 2, 3)[z]) + noise
  colnames(Y) <- c("u", "v")
  Y
})

# ---- mclust --------------------------------------------------------------------------------

# The likelihood may be higher: ours are the best of many starts.
expect_as_mclust <- function(Y, k, models = covariance_names) {
  mclustBIC <- mclust::mclustBIC # Mclust() looks for it where it is called
  for (model in models) {
    theirs <- suppressWarnings(mclust::Mclust(Y, k, model, verbose = FALSE))
    if (is.null(theirs)) next
    ours <- fit_mixture(Y ~ 1, k = k, covariance = model)
    label <- paste(deparse(substitute(Y)), k, model)
    expect_gt(log_evidence_of(ours), theirs$loglik - 1e-3, label = label)
    expect_equal(n_free(ours), mclust::nMclustParams(model, NCOL(Y), k), label = label)
  }
}

test_that("all 14 models reach mclust's likelihood on its data and on simulated ones", {
  skip_if_not_installed("mclust")
  iris4 <- as.matrix(iris[, 1:4])
  faithful2 <- as.matrix(faithful)
  data("diabetes", package = "mclust", envir = environment())
  diabetes3 <- as.matrix(diabetes[, -1])
  for (k in 2:3) {
    expect_as_mclust(iris4, k)
    expect_as_mclust(faithful2, k)
    expect_as_mclust(diabetes3, k)
    expect_as_mclust(simulated, k)
  }
  waiting <- faithful$waiting
  expect_as_mclust(waiting, 2, c("E", "V"))
})

test_that("the same maximum is the same maximum", {
  skip_if_not_installed("mclust")
  mclustBIC <- mclust::mclustBIC
  theirs <- mclust::Mclust(as.matrix(iris[, 1:4]), 2, "VVV", verbose = FALSE)
  ours <- fit_mixture(as.matrix(iris[, 1:4]) ~ 1, k = 2, covariance = "VVV")
  expect_equal(log_evidence_of(ours), theirs$loglik, tolerance = 1e-7)
  # 50 setosa against 100 others
  expect_equal(round(size_of(ours), 2), c(100, 50))
})

# ---- brute force ---------------------------------------------------------------------------

test_that("the likelihood is the sum over components of normal densities", {
  for (model in c("EII", "VVV", "VEV")) {
    fit <- fit_mixture(simulated ~ 1, k = 3, covariance = model)
    expect_equal(log_evidence_of(fit), reference_normal_likelihood(fit, simulated),
                 tolerance = 1e-10)
  }
})

test_that("k = 1 has closed forms", {
  Y <- as.matrix(iris[, 1:4])
  n <- 150
  S <- stats::cov(Y) * (n - 1) / n
  log_det <- c(EII = 4 * log(mean(diag(S))), EEI = sum(log(diag(S))),
               EEE = as.numeric(determinant(S)$modulus))
  for (model in names(log_det)) {
    fit <- fit_mixture(Y ~ 1, k = 1, covariance = model)
    # The quadratic form sums to n d at the maximum.
    expect_equal(objective_of(fit), -n / 2 * (4 * log(2 * pi) + log_det[[model]] + 4))
    expect_equal(unname(theta(fit)[2:5]), unname(colMeans(Y)))
  }
  expect_as_glm <- function(formula, data, family) {
    fit <- fit_mixture(formula, data, k = 1, family = family)
    expect_equal(objective_of(fit), as.numeric(stats::logLik(stats::glm(formula, family, data))))
  }
  expect_as_glm(dist ~ speed, cars, gaussian())
  expect_as_glm(cbind(ncases, ncontrols) ~ agegp, esoph, binomial())
  expect_as_glm(breaks ~ wool * tension, warpbreaks, poisson())
})

test_that("missing responses are integrated out", {
  Y <- simulated
  Y[c(3, 10, 50, 90, 130, 170), 1] <- NA
  Y[c(4, 11, 51, 52, 53, 171), 2] <- NA
  Y[100, ] <- NA
  fit <- suppressMessages(fit_mixture(Y ~ 1, k = 3, covariance = "VVV"))
  likelihood <- function(fit) reference_normal_likelihood(fit, Y[-100, ])
  expect_equal(log_evidence_of(fit), likelihood(fit), tolerance = 1e-10)
  # A maximum: no mean, sd or correlation raises it.
  slope <- reference_slope(function(theta) {
    theta(fit)[] <- theta
    likelihood(fit)
  }, theta(fit), ifelse(parameters_of(fit)$block %in% c("mean", "sd", "cor"), 1, 0))
  expect_lt(max(abs(slope)), 1e-4)
})

test_that("rows of a unit are classified together", {
  id <- rep(1:60, each = 3)
  fit <- fit_mixture(simulated ~ 1, k = 3, covariance = "VVV", unit = ~ id)
  expect_equal(log_evidence_of(fit), reference_normal_likelihood(fit, simulated, id),
               tolerance = 1e-10)
  # In whatever order the rows come.
  set.seed(1)
  order <- sample(180)
  shuffled <- simulated[order, ]
  id <- id[order]
  again <- fit_mixture(shuffled ~ 1, k = 3, covariance = "VVV", unit = ~ id)
  expect_equal(theta_of(again), theta(fit), tolerance = 1e-6)
})

test_that("freq counts copies", {
  freq <- rep(1:4, 45)
  copies <- simulated[rep(1:180, freq), ]
  counted <- fit_mixture(simulated ~ 1, k = 3, covariance = "VVV", freq = freq)
  copied <- fit_mixture(copies ~ 1, k = 3, covariance = "VVV")
  expect_equal(log_evidence_of(counted), log_evidence_of(copied), tolerance = 1e-9)
  expect_equal(theta_of(counted), theta_of(copied), tolerance = 1e-6)
  expect_equal(candidates_of(counted)$criterion, candidates_of(copied)$criterion, tolerance = 1e-9)
  cars2 <- cars[rep(1:50, each = 2), ]
  expect_equal(fit_mixture(dist ~ speed, cars, k = 2, sigma = ~ 1, freq = rep(2, 50))$log_evidence,
               fit_mixture(dist ~ speed, cars2, k = 2, sigma = ~ 1)$log_evidence, tolerance = 1e-9)
})

test_that("weights depend on covariates as a multinomial logit", {
  x <- seq(-1, 1, length.out = 180)
  set.seed(2)
  y <- ifelse(stats::runif(180) < stats::plogis(2 * x), 3, 0) + stats::rnorm(180)
  fit <- fit_mixture(y ~ 1, k = 2, covariance = "E", membership = ~ x)
  theta <- theta(fit)
  logit <- theta[["membership__(Intercept)|2"]] + theta[["membership__x|2"]] * x
  rows <- sapply(1:2, function(j) stats::dnorm(y, theta[[sprintf("mean__y|%d", j)]],
                                               theta[[sprintf("sd__y|%d", j)]], log = TRUE))
  weight <- cbind(stats::plogis(-logit), stats::plogis(logit))
  expect_equal(log_evidence_of(fit), reference_log_likelihood(rows, weight), tolerance = 1e-10)
  # More likely than with the same weights for all by more than chance.
  expect_gt(log_evidence_of(fit), fit_mixture(y ~ 1, k = 2, covariance = "E")$log_evidence + 5)
})

# ---- k-means -------------------------------------------------------------------------------

test_that("classification EM with equal weights and spheres is k-means", {
  fit <- fit_mixture(simulated ~ 1, k = 3, covariance = "EII", method = "joint",
                     prior = priors(weight = constant(1 / 3)))
  set.seed(1)
  within <- stats::kmeans(simulated, 3, nstart = 50)$tot.withinss
  # The best sigma^2 is the within sum of squares over n d.
  expect_equal(objective_of(fit), -180 * (log(2 * pi * within / 360) + 1 + log(3)),
               tolerance = 1e-10)
})

test_that("k-means puts components too far apart, and EM where they are", {
  # Two components, means -1 and 1, sd 1. By k-means the mean of the right half is
  # E|x| = 2 dnorm(1) + 2 pnorm(1) - 1, and the variance 1 + 1 - E|x|^2.
  y <- c(stats::qnorm(stats::ppoints(4000), -1), stats::qnorm(stats::ppoints(4000), 1))
  equal <- priors(weight = constant(1 / 2))
  joint <- fit_mixture(y ~ 1, k = 2, covariance = "E", method = "joint", prior = equal)
  em <- fit_mixture(y ~ 1, k = 2, covariance = "E", prior = equal)
  distance <- function(fit) abs(diff(theta(fit)[c("mean__y|1", "mean__y|2")]))[[1]]
  expected <- 2 * stats::dnorm(1) + 2 * stats::pnorm(1) - 1
  expect_equal(distance(joint), 2 * expected, tolerance = 1e-3)
  expect_equal(theta_of(joint)[["sd__y|1"]], sqrt(2 - expected^2), tolerance = 1e-3)
  expect_equal(round(c(distance(joint), theta_of(joint)[["sd__y|1"]]), 2), c(2.33, 0.80))
  expect_equal(distance(em), 2, tolerance = 1e-2)
  expect_equal(theta_of(em)[["sd__y|1"]], 1, tolerance = 1e-2)
})

# ---- regressions ---------------------------------------------------------------------------

test_that("mixtures of regressions reach flexmix on its own data", {
  skip_if_not_installed("flexmix")
  data("NPreg", package = "flexmix", envir = environment())
  best <- function(formula, model, k = 2) {
    set.seed(1)
    suppressWarnings(flexmix::stepFlexmix(formula, data = NPreg, k = k, model = model, nrep = 5,
                                          verbose = FALSE))
  }
  expect_reaches <- function(ours, theirs) {
    theirs <- flexmix::logLik(theirs)
    expect_gt(log_evidence_of(ours), as.numeric(theirs) - 1e-3)
    expect_equal(n_free(ours), attr(theirs, "df"))
  }
  expect_reaches(fit_mixture(yn ~ x + I(x^2), NPreg, k = 2),
                 best(yn ~ x + I(x^2), flexmix::FLXMRglm()))
  expect_reaches(fit_mixture(yp ~ x, NPreg, k = 2, family = poisson()),
                 best(yp ~ x, flexmix::FLXMRglm(family = "poisson")))
  expect_reaches(fit_mixture(yn ~ x + I(x^2), NPreg, k = 2, unit = ~ id2),
                 best(yn ~ x + I(x^2) | id2, flexmix::FLXMRglm()))
})

test_that("weights are precision weights and sigma may be common", {
  w <- rep(1:2, 25)
  fit <- fit_mixture(dist ~ speed, cars, k = 2, sigma = ~ 1, weights = w)
  theta <- theta(fit)
  rows <- sapply(1:2, function(j) {
    mean <- theta[[sprintf("(Intercept)|%d", j)]] + theta[[sprintf("speed|%d", j)]] * cars$speed
    stats::dnorm(cars$dist, mean, theta[["sigma"]] / sqrt(w), log = TRUE)
  })
  expect_equal(log_evidence_of(fit),
               reference_log_likelihood(rows, theta[c("weight|1", "weight|2")]),
               tolerance = 1e-10)
})

test_that("an offset is added to every component", {
  shifted <- transform(cars, dist = dist + 100 + speed)
  plain <- fit_mixture(dist ~ speed, cars, k = 2, sigma = ~ 1)
  offset <- fit_mixture(dist ~ speed + offset(100 + speed), shifted, k = 2, sigma = ~ 1)
  expect_equal(theta_of(offset), theta_of(plain), tolerance = 1e-6)
})

# ---- latent classes ------------------------------------------------------------------------

# Agresti (2002), Categorical Data Analysis, table 13.1: seven pathologists (A to G) rate 118 slides
# for carcinoma. Log-likelihoods and numbers of parameters of latent class models as published with
# poLCA: Linzer and Lewis (2011), Journal of Statistical Software 42(10), section 5.1.
carcinoma <- local({
  patterns <- c("0000000", "0000100", "0100000", "0100001", "0100100", "0100101", "1000000",
                "1010101", "1100000", "1100001", "1100100", "1100101", "1100111", "1101001",
                "1101101", "1101111", "1110101", "1110111", "1111101", "1111111")
  ratings <- do.call(rbind, strsplit(patterns, ""))
  colnames(ratings) <- LETTERS[1:7]
  data.frame(ratings, n = c(34, 2, 6, 1, 4, 5, 2, 1, 2, 1, 2, 7, 1, 1, 2, 3, 13, 5, 10, 16),
             stringsAsFactors = TRUE)
})

test_that("latent classes have the likelihoods that poLCA publishes", {
  fits <- lapply(2:4, function(k) {
    fit_mixture(responses(A, B, C, D, E, F, G) ~ 1, carcinoma, k = k, freq = n,
                control = elbo_control(n_starts = 60))
  })
  expect_equal(vapply(fits, function(fit) log_evidence_of(fit), 0),
               c(-317.2568, -293.7050, -289.2858),
               tolerance = 1e-6)
  expect_equal(vapply(fits, function(fit) n_free(fit), 0), c(15, 23, 31))
})

test_that("factors, logicals and numbers are independent given the class", {
  d <- data.frame(f = iris$Species, l = iris$Petal.Width > 1, x = iris$Sepal.Length)
  d$x[5] <- NA
  d$f[80] <- NA
  fit <- fit_mixture(responses(f, l, x) ~ 1, d, k = 2)
  theta <- theta(fit)
  rows <- sapply(1:2, function(j) {
    p <- theta[sprintf("prob__f.%s|%d", levels(d$f), j)]
    q <- theta[[sprintf("prob__l|%d", j)]]
    x <- stats::dnorm(d$x, theta[[sprintf("mean__x|%d", j)]], theta[[sprintf("sd__x|%d", j)]],
                      log = TRUE)
    terms <- cbind(log(p)[d$f], ifelse(d$l, log(q), log1p(-q)), x)
    rowSums(terms, na.rm = TRUE)
  })
  expect_equal(log_evidence_of(fit),
               reference_log_likelihood(rows, theta[c("weight|1", "weight|2")]),
               tolerance = 1e-10)
})

# ---- variational Bayes -----------------------------------------------------------------------

test_that("the ELBO of vb is that of Bishop's formulas", {
  said <- priors(weight = dirichlet(2), covariance = normal_inverse_wishart(0, 0.5, 7, 3))
  for (prior in list(NULL, said)) {
    fit <- fit_mixture(simulated ~ 1, k = 3, method = "vb", covariance = "VVV", prior = prior)
    told <- priors_of(fit)$told
    alpha0 <- rep(told$weights$alpha, 3)
    expected <- reference_mixture_elbo(simulated, state_of(fit), told$normal, alpha0)
    expect_equal(objective_of(fit), expected, tolerance = 1e-10)
    alpha <- state_of(fit)$weights$alpha
    expect_equal(unname(theta(fit)[1:3]), alpha / sum(alpha))
    expect_equal(convergence(fit)$status, "converged")
  }
})

test_that("superfluous components empty themselves", {
  apart <- simulated + 3 * cbind(c(0, 3, -2), c(0, 2, 3))[rep(1:3, c(80, 60, 40)), ]
  fit <- fit_mixture(apart ~ 1, k = 6, method = "vb", covariance = "VVV")
  expect_equal(sum(size_of(fit) > 0.5), 3)
  expect_equal(size_of(fit)[1:3], c(80, 60, 40), tolerance = 1e-3)
  sticks <- fit_mixture(apart ~ 1, k = 6, method = "vb", covariance = "VVV",
                        prior = priors(weight = stick_breaking(1)))
  expect_equal(sum(size_of(sticks) > 0.5), 3)
  chosen <- fit_mixture(apart ~ 1, k = 1:5, method = "vb", covariance = "VVV")
  expect_equal(n_components(chosen), 3)
})

test_that("vb states its defaults", {
  fit <- fit_mixture(dist ~ speed, cars, k = 2, method = "vb", prior = priors(speed = normal(0, 5)))
  expect_equal(priors_of(fit)$default, c(TRUE, TRUE, FALSE, TRUE))
  expect_named(priors_of(fit)$stated, c("weight", "(Intercept)", "speed", "sigma"))
  expect_true(is.na(log_evidence_of(fit)))
})

# ---- invariances -----------------------------------------------------------------------------

test_that("neither the order of rows, nor labels, nor units matter", {
  fit <- fit_mixture(simulated ~ 1, k = 3, covariance = "VVV")
  expect_false(is.unsorted(-size_of(fit)))
  back <- simulated[180:1, ]
  expect_equal(unname(fit_mixture(back ~ 1, k = 3, covariance = "VVV")$theta), unname(theta(fit)),
               tolerance = 1e-6)
  labels <- rep(c("c", "a", "b"), c(80, 60, 40))
  again <- fit_mixture(simulated ~ 1, k = 3, covariance = "VVV", start = labels)
  expect_equal(theta_of(again), theta(fit), tolerance = 1e-6)
  scaled <- simulated %*% diag(c(100, 0.001))
  colnames(scaled) <- c("u", "v")
  for (model in c("VVV", "EEE", "VVI", "EEI", "VEE", "EVV")) {
    one <- fit_mixture(simulated ~ 1, k = 3, covariance = model)
    other <- fit_mixture(scaled ~ 1, k = 3, covariance = model)
    expect_equal(log_evidence_of(other), log_evidence_of(one) - 180 * log(0.1), tolerance = 1e-9)
  }
})

test_that("the same call gives the same bits, on one thread and on two", {
  fit <- function(...) {
    fit_mixture(simulated ~ 1, k = 3, covariance = "VVV", control = elbo_control(...))
  }
  expect_identical(fit()$theta, fit()$theta)
  expect_identical(fit(threads = 2)$theta, fit(threads = 1)$theta)
  expect_identical(fit(seed = 1)$theta, fit()$theta)
  set.seed(9)
  before <- .Random.seed
  fit()
  expect_identical(.Random.seed, before)
})

test_that("duplicated data double the likelihood and nothing else", {
  twice <- rbind(simulated, simulated)
  one <- fit_mixture(simulated ~ 1, k = 3, covariance = "VVV")
  two <- fit_mixture(twice ~ 1, k = 3, covariance = "VVV")
  expect_equal(log_evidence_of(two), 2 * log_evidence_of(one), tolerance = 1e-9)
  expect_equal(theta_of(two), theta_of(one), tolerance = 1e-6)
})

test_that("components that were simulated are recovered", {
  fit <- fit_mixture(simulated ~ 1, k = 3, covariance = "VII")
  # Four standard errors of a mean of some 40 to 80 rows
  expect_lt(max(abs(theta(fit)[c("mean__u|1", "mean__v|1")] - c(0, 0))), 4 / sqrt(70))
  expect_lt(max(abs(theta(fit)[c("mean__u|2", "mean__v|2")] - c(3, 2))), 4 * 0.5 / sqrt(60))
  expect_lt(max(abs(theta(fit)[c("mean__u|3", "mean__v|3")] - c(-2, 3))), 4 * 0.8 / sqrt(40))
})

test_that("k near n is fitted where it can be", {
  y <- c(1, 2, 4, 7, 11)
  prior <- priors(covariance = inverse_wishart(3, 1))
  fit <- fit_mixture(y ~ 1, k = 4, covariance = "E", prior = prior)
  expect_equal(sum(size_of(fit)), 5)
  expect_error(fit_mixture(y ~ 1, k = 5, covariance = "E"), class = "elbo_error_unbounded")
})

# ---- the object ------------------------------------------------------------------------------

test_that("a fit holds what its answers need", {
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
  expect_s3_class(fit, c("elbo_mixture", "elbo_fit"), exact = TRUE)
  held <- c("call", "formula", "frame", "terms", "family", "method", "prior", "control", "k",
            "covariance", "kind", "design", "state", "theta", "parameters", "size", "objective",
            "log_evidence", "trace", "convergence", "df_parameters", "selection", "starts",
            "priors", "cache", "time")
  expect_setequal(intersect(held, names(fit)), held)
  expect_named(parameters_of(fit), parameter_columns)
  expect_identical(attr(theta(fit), "fixed"), parameters_of(fit)$fixed)
  expect_equal(sum(size_of(fit)), 272)
  expect_equal(convergence(fit)$status, "converged")
  expect_lt(convergence(fit)$gradient, 1e-8)
})

test_that("constants are held and said", {
  held <- priors(sigma = constant(10), weight = constant(0.5))
  fit <- fit_mixture(dist ~ speed, cars, k = 2, prior = held)
  expect_equal(unname(theta(fit)[parameters_of(fit)$fixed]), c(0.5, 0.5, 10, 10))
  expect_equal(n_free(fit), 4)
})

test_that("update() moves along the ladder and elsewhere", {
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEE")
  joint <- update(fit, method = "joint")
  expect_equal(method_of(joint), "joint")
  expect_equal(n_components(joint), 2)
  three <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 3, covariance = "EEE")
  expect_equal(update(fit, k = 3)$log_evidence, log_evidence_of(three))
  wider <- fit_mixture(dist ~ 1, cars, k = 2, covariance = "E", freq = rep(1:2, 25))
  expect_equal(update(wider, . ~ speed, covariance = NULL)$design$freq, rep(1:2, 25))
})

test_that("an unfinished fit warns, and says what is to gain", {
  expect_warning(
    fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 3, covariance = "VVV",
                       control = elbo_control(max_iter = 3, accelerate = "none")),
    class = "elbo_warning_convergence"
  )
  expect_equal(convergence(fit)$status, "max_iter")
  expect_equal(convergence(fit)$iterations, 3)
})
