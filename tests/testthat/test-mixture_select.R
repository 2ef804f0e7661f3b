test_that("BIC is that of mclust, and so is the choice", {
  skip_if_not_installed("mclust")
  Y <- as.matrix(faithful)
  fit <- fit_mixture(Y ~ 1, k = 1:3)
  # mclustBIC() is 2 log L - df log n, of local maxima that may be lower than ours.
  mclustBIC <- mclust::mclustBIC
  theirs <- mclust::mclustBIC(Y, G = 1:3, verbose = FALSE)
  table <- candidates_of(fit)
  expect_equal(nrow(table), 3 + 14 + 14)
  bic <- -theirs[cbind(as.character(table$k), table$covariance)]
  expect_true(all(table$criterion < bic + 2e-3))
  expect_equal(c(n_components(fit), covariance_model(fit)), c("3", "EEE"))
  expect_equal(min(table$criterion), -2 * log_evidence_of(fit) + n_free(fit) * log(272))
  expect_equal(table$ICL, table$criterion + 2 * table$entropy)
})

test_that("BIC counts units and copies", {
  d <- data.frame(y = c(faithful$eruptions, faithful$eruptions), id = rep(1:272, 2))
  units <- fit_mixture(y ~ 1, d, k = 2, covariance = "E", unit = ~ id)
  expect_equal(candidates_of(units)$criterion, -2 * log_evidence_of(units) + 4 * log(272))
  copies <- fit_mixture(y ~ 1, d[1:272, ], k = 2, covariance = "E", freq = rep(2, 272))
  expect_equal(candidates_of(copies)$criterion, -2 * log_evidence_of(copies) + 4 * log(544))
})

test_that("classification EM is chosen by the classification likelihood", {
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:3, method = "joint",
                     covariance = "EEE")
  expect_equal(candidates_of(fit)$criterion,
               -2 * candidates_of(fit)$objective + candidates_of(fit)$df * log(272))
  expect_equal(candidates_of(fit)$ICL, candidates_of(fit)$criterion)
  expect_equal(n_components(fit), candidates_of(fit)$k[which.min(candidates_of(fit)$criterion)])
})

test_that("the ELBO is corrected for equal modes among exchangeable components only", {
  size <- c(100, 50, 0.1, 0)
  told <- function(law) list(told = list(weights = list(law = law)))
  # 4! labellings of 2 occupied components and 2 empty ones, of which 2! are the same
  expect_equal(log_equal_modes(size, 4, told("dirichlet")), log(24 / 2))
  expect_equal(log_equal_modes(size, 4, told("stick_breaking")), 0)
})

test_that("a candidate that collapses is NA with the reason, and the others stand", {
  y <- c(1, 2, 4, 5)
  expect_error(fit_mixture(y ~ 1, k = 3, covariance = "V"), "component [1-3] collapses",
               class = "elbo_error_unbounded")
  fit <- fit_mixture(y ~ 1, k = 3, covariance = c("V", "E"))
  expect_equal(covariance_model(fit), "E")
  expect_true(is.na(candidates_of(fit)$criterion[1]))
  expect_match(candidates_of(fit)$status, "collapsed|ok")
})

test_that("the remedy in the refusal is one", {
  y <- c(1, 2, 4, 5)
  message <- tryCatch(fit_mixture(y ~ 1, k = 3, covariance = "V"), error = conditionMessage)
  prior <- eval(str2lang(sub(".*by prior = (.*)[.]$", "\\1", message)))
  fit <- fit_mixture(y ~ 1, k = 3, covariance = "V", prior = prior)
  expect_true(is.finite(objective_of(fit)))
  # The criterion is of the likelihood without the prior.
  expect_lt(log_evidence_of(fit), objective_of(fit) + 1e3)
  expect_equal(candidates_of(fit)$criterion, -2 * log_evidence_of(fit) + 8 * log(4))
})

test_that("the fit of one k does not depend on the others that are tried", {
  alone <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 3, covariance = "EEE")
  among <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2:3,
                       covariance = c("EII", "EEE"))
  expect_equal(objective_of(among), objective_of(alone))
  expect_equal(candidates_of(among)$objective[4], candidates_of(alone)$objective)
})

test_that("moves are tried of the candidates that they may make the best", {
  expect_equal(within_reach(c(110, NA, 100, 110.1), "em"), c(TRUE, FALSE, TRUE, FALSE))
  expect_equal(within_reach(c(-105, NA, -100, -105.1), "vb"), c(TRUE, FALSE, TRUE, FALSE))
})

test_that("units of the responses do not matter, but where the model takes them for alike", {
  set.seed(1)
  d <- data.frame(x = rnorm(60), w = rexp(60))
  d$y <- d$x + rnorm(60)
  models <- c("EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVV", "VVV")
  turned <- c("EVE", "VVE", "EEV", "VEV")
  for (size in list(c(1e8, 1), c(1e-100, 1e100))) {
    scaled <- transform(d, y = y * size[1], w = w * size[2])
    for (method in c("em", "vb", "joint")) {
      named <- if (method == "vb") intersect(models, conjugate_models) else models
      fit <- function(data) fit_mixture(cbind(y, x, w) ~ 1, data, k = 2, covariance = named,
                                        method = method)
      like <- selection(fit(d))
      table <- selection(fit(scaled))
      expect_equal(table$objective + 60 * sum(log(size)), like$objective, tolerance = 1e-8)
    }
    table <- selection(fit_mixture(cbind(y, x, w) ~ 1, scaled, k = 2))
    expect_equal(table$covariance[table$status == "units too far apart"], turned)
  }
  gaps <- transform(d, y = replace(y, 1:3, NA), w = replace(w, 3:5, NA))
  fit <- function(data) fit_mixture(cbind(y, x, w) ~ 1, data, k = 2, covariance = "VVV")
  expect_equal(as.numeric(logLik(fit(transform(gaps, y = y * 1e8)))) + 57 * log(1e8),
               as.numeric(logLik(fit(gaps))), tolerance = 1e-10)
  expect_error(fit_mixture(cbind(y, x) ~ 1, transform(d, y = y * 1e9), k = 2, covariance = "EEV"),
               "Rescale", class = "elbo_error_data")
})

test_that("a number of components has the same fit whatever others are tried", {
  set.seed(7)
  d <- data.frame(x = rnorm(120), y = rnorm(120) + rep(c(0, 2, 5), 40))
  together <- selection(fit_mixture(y ~ x, d, k = 1:4, sigma = ~ 1))
  expect_equal(together$status, rep("ok", 4))
  for (k in 1:4) {
    alone <- selection(fit_mixture(y ~ x, d, k = k, sigma = ~ 1))
    expect_equal(together$objective[k], objective_of(alone), tolerance = 1e-12)
    expect_equal(together$status[k], alone$status)
  }
  normal <- selection(fit_mixture(cbind(x, y) ~ 1, d, k = 1:3))
  for (k in 2:3) {
    alone <- selection(fit_mixture(cbind(x, y) ~ 1, d, k = k))
    expect_equal(normal$criterion[normal$k == k], alone$criterion, tolerance = 1e-12)
  }
})

test_that("covariance matrices that are singular from the first are not tried", {
  set.seed(3)
  few <- matrix(rnorm(20 * 25), 20)
  table <- selection(fit_mixture(few ~ 1, k = 1:2))
  expect_true(all(is.na(table$criterion[table$status == "too few rows"])))
  expect_equal(sort(unique(table$covariance[table$status == "ok"])),
               sort(c("EII", "VII", "EEI", "VEI", "EVI", "VVI")))
  expect_error(fit_mixture(few ~ 1, k = 2, covariance = "VVV"), "20 rows are too few",
               class = "elbo_error_unbounded")
  d <- data.frame(x = rnorm(60), w = rexp(60))
  d$twice <- 2 * d$x
  expect_warning(fit <- fit_mixture(cbind(x, twice, w) ~ 1, d, k = 2),
                 "`twice` is a linear combination")
  expect_true(all(c("ok", "collinear responses") %in% selection(fit)$status))
  expect_error(suppressWarnings(fit_mixture(cbind(x, twice, w) ~ 1, d, k = 2, covariance = "VVV")),
               "`twice` is a linear combination", class = "elbo_error_unbounded")
  # A prior bounds the likelihood, and a model in use is no remedy.
  expect_no_error(suppressWarnings(fit_mixture(cbind(x, twice, w) ~ 1, d, k = 2, covariance = "VVV",
                                               prior = priors(covariance = inverse_wishart(5, 1)))))
  ties <- data.frame(y = rep(c(1, 2, 3), each = 20))
  error <- expect_error(fit_mixture(y ~ 1, ties, k = 3, covariance = "E"),
                        class = "elbo_error_unbounded")
  expect_no_match(conditionMessage(error), "\"E\";", fixed = TRUE)
})

test_that("membership that tells components apart without error is at its boundary, or has a prior",
          {
  set.seed(1)
  d <- data.frame(w = rep(0:1, each = 50), y = c(rnorm(50), rnorm(50, 8)))
  with_prior <- fit_mixture(y ~ 1, d, k = 2, membership = ~ w,
                            prior = priors(membership = normal(0, 10)))
  expect_equal(convergence_of(with_prior)$status, "converged")
  # Of one component there is nothing for covariates to tell.
  for (method in c("em", "joint")) {
    one <- fit_mixture(y ~ 1, d, k = 1, membership = ~ w, method = method)
    expect_equal(unname(sqrt(diag(vcov(one, full = TRUE)))),
                 theta(one)[["sd__y|1"]] / sqrt(c(100, 200)), tolerance = 1e-4)
    expect_output(print(one), "mean y")
    expect_equal(elbo(one, theta = theta(one)), elbo(one))
  }
})

test_that("a regression that fits many rows without error is not said to have few", {
  lines <- data.frame(x = 1:60, y = rep(c(2, -1), each = 30) * (1:60))
  expect_error(fit_mixture(y ~ x, lines, k = 2), "few or many", class = "elbo_error_unbounded")
})
