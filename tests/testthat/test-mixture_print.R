# What optimisers of rounding size leave differs between machines.
scrub <- function(lines) {
  lines <- gsub("gradient [0-9.e+-]+", "gradient <rounding>", lines)
  lines <- gsub("after [0-9].*", "after <some> steps.", lines)
  lines <- gsub("Best found in.*", "Best found in <some> starts.", lines)
  lines[!grepl("^ +elbo_trace[(][)], plot[(][)]$", lines)]
}

print_wide <- function(x) withr::with_options(list(width = 100), print(x))

test_that("a mixture says what it is, what it found and why to believe it", {
  for (name in c("normal", "univariate", "gaussian", "common", "binomial", "classes", "missing")) {
    fit <- mixture_example(name)
    expect_snapshot({
      cat(name, "\n")
      print_wide(fit)
    }, transform = scrub)
  }
})

test_that("the method is put in words", {
  joint <- mixture_example("joint")
  equal <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EII",
                       method = "joint", prior = priors(weight = constant(1 / 2)))
  expect_snapshot(print_wide(joint), transform = scrub)
  expect_match(paste(notes(equal), collapse = " "), "which is k-means", fixed = TRUE)
  expect_match(paste(notes(equal), collapse = " "), "Held constant: weight, component 1 = 0.5",
               fixed = TRUE)
  vb <- mixture_example("vb_classes")
  expect_snapshot(print_wide(vb), transform = scrub)
  one <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1, covariance = "EII")
  expect_output(print(one), "^Maximum likelihood")
  map <- update(mixture_example("normal"), prior = priors(covariance = inverse_wishart(4, 1)))
  expect_output(print(map), "^Marginal maximum a posteriori")
  expect_match(paste(notes(map), collapse = " "), "Priors: covariance ~ inverse_wishart(4, 1)",
               fixed = TRUE)
})

test_that("summary() adds correlations, tests, classification, starts and candidates", {
  expect_snapshot(print_wide(summary(mixture_example("normal"))), transform = scrub)
  expect_snapshot(print_wide(summary(mixture_example("binomial"))), transform = scrub)
  expect_snapshot(print_wide(summary(mixture_example("vb"))), transform = scrub)
  choice <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:2, covariance = c("EEE",
                                                                                         "VVV"))
  expect_match(paste(selection_words(choice), collapse = " "),
               "Chosen by BIC among 3 candidates: k = 2, VVV[.] The next is k = 2, EEE")
})

test_that("summary() has its numbers", {
  fit <- mixture_example("gaussian")
  s <- summary(fit)
  expect_identical(rownames(s$coefficients), names(coef(fit)))
  expect_identical(colnames(coef(s)), c("Estimate", "Std. Error", "z value", "Pr(>|z|)"))
  expect_equal(s$parameters$estimate, as.vector(theta(fit)))
  expect_equal(s$parameters$std.error, unname(sqrt(diag(vcov(fit, full = TRUE)))))
  expect_equal(s$size, setNames(colSums(predict(fit, type = "prob")), 1:2))
  expect_equal(s$information[["BIC"]], BIC(fit))
  P <- predict(fit, type = "prob")
  expect_equal(s$classification[["entropy"]], -sum(P * log(P)))
  expect_equal(s$classification[["certain"]], mean(apply(P, 1, max) > 0.9))
  expect_true(all(is.na(coef(summary(mixture_example("normal")))[, "z value"])))
})

test_that("near-ties in the weights are said to be so", {
  d <- withr::with_seed(7, sim_mixture(200, c(1, 1), mean = rbind(c(a = 0, b = 0), c(6, 6))))
  tied <- fit_mixture(cbind(a, b) ~ 1, d, k = 2, covariance = "EII")
  difference <- diff(-theta_of(tied)[1:2])
  se <- sqrt(4 * vcov(tied, full = TRUE)[1, 1]) # w1 - w2 = 2 w1 - 1
  expect_lt(difference, se)
  expect_match(tie_words(tied), "components 1 and 2 differ by less than a standard error")
  expect_null(tie_words(mixture_example("normal")))
})

test_that("covariance models are put in words", {
  words <- function(model, k = 2) {
    fit <- mixture_example("normal")
    covariance_model(fit) <- model
    n_components(fit) <- k
    sub("^[^:]*: ", "", covariance_sentence(fit))
  }
  expect_identical(words("EII"), "spherical, equal volume")
  expect_identical(words("VVI"), "diagonal, varying volume and shape")
  expect_identical(words("VEV"), "ellipsoidal, equal shape, varying volume and orientation")
  expect_identical(words("EEE"), "ellipsoidal, equal volume, shape and orientation")
  expect_identical(words("VVV", 1), "ellipsoidal")
})

test_that("print() does not wait for standard errors that take long", {
  fit <- mixture_example("normal")
  cache_of(fit) <- new.env(parent = emptyenv())
  design_of(fit)$n_row <- 1e9
  expect_false(errors_at_hand(fit))
  expect_true(all(is.na(shown_errors(fit))))
  expect_match(error_words(fit), "summary()", fixed = TRUE)
  expect_null(tie_words(fit))
})

test_that("lines keep to the width of the screen", {
  many <- fit_mixture(cbind(Sepal.Length, Sepal.Width, Petal.Length, Petal.Width) ~ 1, iris, k = 5,
                      covariance = "VVI")
  for (width in c(60, 80)) {
    lines <- withr::with_options(list(width = width), {
      c(capture.output(print(many)), capture.output(print(summary(many))))
    })
    expect_lte(max(nchar(trimws(lines, "right"))), width)
  }
})

test_that("compare_fits() sets mixtures side by side", {
  fits <- compare_fits(joint = mixture_example("joint"), em = mixture_example("normal"))
  expect_identical(unique(fits$fit), c("joint", "em"))
  expect_equal(fits$estimate[fits$fit == "em"], as.vector(theta(mixture_example("normal"))))
  expect_identical(attr(fits, "facts")$integrated,
                   c("z and theta points, nothing integrated",
                     "z integrated exactly, theta a point"))
  expect_output(print(fits), "cor eruptions, waiting, component 2", fixed = TRUE)
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  expect_no_error(plot(fits))
})

test_that("what is not identified is said, and has no standard errors", {
  set.seed(1)
  items <- data.frame(a = runif(100) < 0.5, b = runif(100) < 0.3)
  two <- fit_mixture(responses(a, b) ~ 1, items, k = 2)
  # Five parameters of a 2 x 2 table.
  expect_output(print(two), "5 free parameters, but the table of the responses has 3 free cells")
  expect_output(print(two), "Not identified: along a ridge")
  expect_true(all(is.na(sqrt(diag(vcov(two, full = TRUE))))))
  # Single trials say only the mean: of a mixture no more.
  items$y <- as.numeric(items$a)
  single <- fit_mixture(y ~ 1, items, k = 2, family = binomial())
  expect_equal(as.numeric(logLik(single)), sum(dbinom(items$y, 1, mean(items$y), log = TRUE)),
               tolerance = 1e-8)
  expect_output(print(single), "Not identified")
  # Three ties of one mean: its weight of a half has an error, its parts have none.
  ties <- data.frame(y = rep(c(1, 2, 3, 10, 11, 12), each = 20))
  four <- fit_mixture(y ~ 1, ties, k = 4, covariance = "E",
                      start = rep(c(1, 2, 3, 4, 4, 4), each = 20))
  expect_output(print(four), "Not identified: along a ridge")
  expect_output(print(four), "0\\.5")
  # Three binary items are enough for two classes.
  set.seed(2)
  class <- runif(500) < 0.4
  three <- data.frame(a = runif(500) < ifelse(class, 0.9, 0.2),
                      b = runif(500) < ifelse(class, 0.8, 0.1),
                      c = runif(500) < ifelse(class, 0.8, 0.3))
  fit <- fit_mixture(responses(a, b, c) ~ 1, three, k = 2)
  expect_false(any(grepl("Not identified", capture.output(print(fit)))))
  expect_false(anyNA(sqrt(diag(vcov(fit, full = TRUE)))))
})

test_that("an estimate is not rounded away beside a large standard error", {
  expect_equal(decimal_text(0.25, shown_decimals(0.25, 1011)), "0.25")
  expect_equal(decimal_text(3e-4, shown_decimals(3e-4, 1.2)), "0.00")
})

test_that("a summary has what was estimated", {
  set.seed(1)
  wide <- matrix(rnorm(60 * 12), 60)
  wide[1:30, ] <- wide[1:30, ] + 2
  spheres <- capture.output(summary(fit_mixture(wide ~ 1, k = 2, covariance = "EII")))
  expect_false(any(grepl("held|cor ", spheres)))
  full <- capture.output(summary(fit_mixture(wide ~ 1, k = 2, covariance = "EEE")))
  expect_true(any(grepl("correlations are many", full)))
  expect_lt(length(full), 50)
})

test_that("a summary by vb of counts, which have no sigma", {
  set.seed(1)
  d <- data.frame(x = rnorm(60), y = rpois(60, 3))
  fit <- fit_mixture(y ~ x, d, k = 2, family = poisson(), method = "vb")
  expect_equal(summary(fit)$posterior$name, names(theta(fit)))
  expect_output(print(summary(fit)), "Posterior standard deviations")
})

test_that("starts that ended apart are told where moves went on from the best", {
  expect_match(disagreement_words(c(-84.04, -92.5, -88)), "from -92.5 to -84.0: another seed")
  expect_null(disagreement_words(c(-84.041, -84.04)))
  expect_null(disagreement_words(-84))
  set.seed(1)
  d <- data.frame(x = rnorm(60), g = gl(6, 10))
  d$y <- d$x + rnorm(6)[d$g] + rnorm(60)
  fit <- fit_mixture(y ~ x, d, k = 3, method = "joint", control = elbo_control(seed = 3))
  starts <- starts_of(fit)
  expect_true(any(starts$status == "moved"))
  expect_match(paste(start_words(fit), collapse = " "), "starts climbed to the end differ")
  expect_output(print(summary(fit)), "another seed")
})

test_that("one coefficient of one component is tested by z, as several are", {
  fit <- suppressMessages(fit_mixture(distance ~ 1 + (1 | Subject), nlme::Orthodont, k = 1,
                                      unit = ~ Subject))
  expect_true("z value" %in% colnames(summary(fit)$coefficients))
  expect_output(print(summary(fit)), "Coefficients, by component")
})
