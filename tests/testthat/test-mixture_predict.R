# The rows that a fit was made of as a data frame of plain columns.
example_data <- function(fit) {
  frame <- frame_of(fit)
  matrices <- vapply(frame, is.matrix, NA)
  plain <- c(lapply(frame[matrices], as.data.frame), list(frame[!matrices]))
  data <- do.call(cbind, unname(plain))
  names(data) <- sub("^[(](.*)[)]$", "\\1", names(data))
  if ("weights" %in% names(data)) data$w <- data$weights
  if ("freq" %in% names(data)) data$Freq <- data$freq
  data
}

test_that("old data as new give the same answers, whatever the order of the rows", {
  for (name in mixture_kinds) {
    fit <- mixture_example(name)
    data <- example_data(fit)
    prob <- predict(fit, data, type = "prob")
    expect_equal(prob, predict(fit, type = "prob"), tolerance = 1e-10)
    expect_identical(predict(fit, data), predict(fit))
    expect_equal(predict(fit, data, type = "density", log = TRUE),
                 predict(fit, type = "density", log = TRUE), tolerance = 1e-10)
    shuffled <- withr::with_seed(1, data[sample(nrow(data)), , drop = FALSE])
    expect_equal(predict(fit, shuffled, type = "prob")[rownames(prob), ], prob, tolerance = 1e-10)
  }
})

test_that("classes, probabilities and densities of new units follow Bayes' rule", {
  fit <- mixture_example("normal")
  parts <- components(fit)
  new <- data.frame(eruptions = c(2, 3.1, NA, NA), waiting = c(55, 68, 70, NA))
  # The density of a bivariate normal by hand; of what is observed alone its margin.
  joint <- vapply(1:2, function(j) {
    s <- sqrt(diag(parts$covariance[j, , ]))
    r <- parts$covariance[j, 1, 2] / prod(s)
    u <- (new$eruptions - parts$mean[j, 1]) / s[1]
    v <- (new$waiting - parts$mean[j, 2]) / s[2]
    both <- exp(-(u^2 - 2 * r * u * v + v^2) / (2 * (1 - r^2))) / (2 * pi * prod(s) * sqrt(1 - r^2))
    parts$weight[[j]] * c(both[1:2], dnorm(new$waiting[3], parts$mean[j, 2], s[2]), 1)
  }, numeric(4))
  expect_equal(unname(predict(fit, new, type = "density")), rowSums(joint), tolerance = 1e-10)
  expect_equal(unname(predict(fit, new, type = "density", log = TRUE)), log(rowSums(joint)),
               tolerance = 1e-10)
  expect_equal(unname(predict(fit, new, type = "prob")), joint / rowSums(joint), tolerance = 1e-10)
  expect_equal(unname(predict(fit, new)), max.col(joint))
  expect_identical(predict(fit, new, type = "class"), predict(fit, new))
})

test_that("units that say nothing have the weights", {
  gaussian <- mixture_example("gaussian")
  new <- data.frame(x1 = c(0, 1, NA), y = c(NA, 1, 1), w = 1)
  prob <- predict(gaussian, new, type = "prob")
  expect_equal(unname(prob[1, ]), unname(components(gaussian)$weight))
  expect_equal(predict(gaussian, new, type = "density")[["1"]], 1)
  expect_true(all(is.na(prob[3, ])))
  expect_identical(unname(is.na(predict(gaussian, new))), c(FALSE, FALSE, TRUE))

  # A unit of the membership model with one response missing, one with all of them.
  member <- mixture_example("binomial")
  new <- data.frame(unit = c("a", "a", "b", "b"), x1 = c(1, -1, 1, 2), y = c(1, NA, NA, NA),
                    w = 0.5)
  parts <- components(member)
  eta <- sum(theta(member)[1:2] * c(1, 0.5))
  prior <- c(plogis(-eta), plogis(eta))
  joint <- prior * plogis(drop(parts$coefficients %*% c(1, 1)))
  prob <- predict(member, new, type = "prob")
  expect_equal(unname(prob["a", ]), unname(joint / sum(joint)))
  expect_equal(unname(prob["b", ]), prior)
  expect_true(all(is.na(predict(member, transform(new, w = NA_real_), type = "prob"))))
})

test_that("mean responses are those of the components, averaged before the response", {
  gaussian <- mixture_example("gaussian")
  parts <- components(gaussian)
  new <- data.frame(x1 = c(-1, 0, 2), w = 1)
  means <- cbind(1, new$x1) %*% t(parts$coefficients)
  expect_equal(unname(predict(gaussian, new, type = "response", by_component = TRUE)),
               unname(means))
  expect_equal(unname(predict(gaussian, new, type = "response")), drop(means %*% parts$weight))
  expect_equal(predict(gaussian, type = "response"), fitted(gaussian))

  normal <- mixture_example("normal")
  parts <- components(normal)
  overall <- predict(normal, faithful[1:2, ], type = "response")
  expect_equal(unname(overall[1, ]), unname(drop(parts$weight %*% parts$mean)))
  # At the maximum of the likelihood that is the mean of the data.
  expect_equal(overall[1, ], colMeans(faithful), tolerance = 1e-6)
  each <- predict(normal, faithful[1:2, ], type = "response", by_component = TRUE)
  expect_equal(dim(each), c(2L, 2L, 2L))
  expect_equal(each[2, , 1], parts$mean[1, ])
})

test_that("joint fits predict points", {
  fit <- mixture_example("joint")
  prob <- predict(fit, type = "prob")
  expect_true(all(prob %in% 0:1))
  expect_equal(unname(colSums(prob)), unname(size_of(fit)))
  expect_true(all(predict(fit, faithful[1:9, ], type = "prob") %in% 0:1))
})

test_that("latent() is tidy", {
  fit <- mixture_example("binomial")
  table <- latent(fit)
  expect_identical(names(table), c("unit", "component", "probability"))
  expect_equal(nrow(table), 200)
  expect_identical(unique(table$unit), levels(design_of(fit)$unit))
  expect_equal(unname(rowsum(table$probability, table$unit)[, 1]), rep(1, 100))
  P <- predict(fit, type = "prob")
  expect_equal(table$probability[table$component == 2], unname(P[, 2]))
})

test_that("augment() gives every row its unit's component", {
  fit <- mixture_example("normal")
  table <- augment(fit, faithful)
  expect_identical(names(table), c("eruptions", "waiting", ".class", ".uncertainty", ".prob1",
                                   ".prob2"))
  expect_equal(as.integer(table$.class), unname(predict(fit)))
  expect_equal(table$.uncertainty, 1 - pmax(table$.prob1, table$.prob2))
  new <- augment(fit, newdata = data.frame(eruptions = c(2, NA), waiting = c(50, 90)))
  expect_identical(as.character(new$.class), c("2", "1"))
  rows <- augment(mixture_example("binomial"))
  expect_equal(rows$.prob1, unname(predict(mixture_example("binomial"),
                                           type = "prob")[as.character(rows$unit), 1]))
  expect_equal(rows$.fitted + rows$.resid, rows$y)
  gaps <- mixture_example("missing")
  expect_false(anyNA(augment(gaps)$.class))
})

test_that("simulate() draws from the mixture, by seed, and leaves the generator alone", {
  fit <- mixture_example("normal")
  set.seed(9)
  before <- .Random.seed
  a <- simulate(fit, 2, seed = 1)
  expect_identical(.Random.seed, before)
  expect_identical(a, simulate(fit, 2, seed = 1))
  expect_identical(names(a), c("sim_1", "sim_2"))
  expect_equal(dim(a$sim_1), c(272L, 2L))
  many <- simulate(fit, 1, seed = 2, newdata = faithful[rep(1:272, 40), ])
  # Means of some 10,900 draws: the errors are 0.011 and 0.13.
  expect_equal(colMeans(many$sim_1), colMeans(faithful), tolerance = 0.01)
  expect_equal(unname(prop.table(table(attr(many, "component")))[1]), theta(fit)[["weight|1"]],
               tolerance = 0.03, ignore_attr = TRUE)
})

test_that("simulated responses have the type of the response", {
  classes <- simulate(mixture_example("classes"), seed = 1)$sim_1
  expect_s3_class(classes$colour, "factor")
  expect_type(classes$smokes, "logical")
  counts <- simulate(mixture_example("poisson"), seed = 1)$sim_1
  expect_true(all(counts >= 0 & counts == round(counts)))
  expect_true(all(simulate(mixture_example("binomial"), seed = 1)$sim_1 %in% 0:1))
  expect_equal(nrow(simulate(mixture_example("missing"), seed = 1)), 150)
  # Rows of a unit share their component: units come back together in the order of the data.
  many <- simulate(mixture_example("binomial"), seed = 1)
  expect_equal(dim(attr(many, "component")), c(100L, 1L))
})

test_that("a refit to simulated responses finds what they were made from", {
  fit <- mixture_example("gaussian")
  d <- withr::with_seed(1, regression_data())
  big <- d[rep(1:200, 20), ]
  big$y <- simulate(fit, seed = 3, newdata = big)$sim_1
  again <- fit_mixture(y ~ x1, big, k = 2, weights = w)
  z <- (theta(again) - theta(fit)) / standard_errors(again)
  expect_true(all(abs(z) < 4))
})

test_that("a new level is named", {
  fit <- mixture_example("classes")
  expect_error(predict(fit, data.frame(colour = "pink", smokes = TRUE, x = 1)),
               class = "elbo_error_new_levels")
  expect_error(predict(fit, 1:3), class = "elbo_error_argument")
  expect_error(predict(fit, type = "link"), class = "elbo_error_argument")
})

test_that("variables of the model come from newdata only, and absent responses are missing", {
  set.seed(1)
  d <- data.frame(x = rnorm(80), w = rexp(80), cnt = rpois(80, 3))
  d$y <- ifelse(seq_len(80) > 40, 3, 0) + d$x + rnorm(80)
  d$y2 <- d$y + rnorm(80)
  control <- elbo_control(n_starts = 2)
  fit <- fit_mixture(y ~ x, d, k = 2, membership = ~ w, control = control)
  y <- 1000 * d$y
  x <- d$x
  w <- d$w
  # Without its response a unit has the probabilities of the components before it.
  new <- d[1:4, c("x", "w")]
  expect_equal(predict(fit, new, type = "prob"),
               predict(fit, transform(new, y = NA_real_), type = "prob"))
  refused <- function(expr, column) {
    expect_error(expr, sprintf("no column `%s`", column), class = "elbo_error_data")
  }
  refused(predict(fit, d[1:80, c("y", "w")]), "x")
  refused(predict(fit, d[1:80, c("y", "x")]), "w")
  refused(predict(fit, d["y"], type = "response"), "x` and `w")
  refused(predict(fit_glmm(y ~ x + w, d), d["x"]), "w")
  refused(predict(fit_glmm(y ~ x, d, offset = w), d["x"]), "w")

  both <- fit_mixture(cbind(y, y2) ~ 1, d, k = 2, covariance = "EEE", control = control)
  expect_equal(predict(both, d[1:4, "y", drop = FALSE], type = "prob"),
               predict(both, transform(d[1:4, ], y2 = NA), type = "prob"))
  counts <- fit_mixture(cnt ~ x, d, k = 2, family = poisson(), control = control)
  expect_equal(predict(counts, d[1:4, "x", drop = FALSE], type = "prob"),
               predict(counts, transform(d[1:4, ], cnt = NA_real_), type = "prob"))
  # A constant and a function may come from elsewhere.
  scale <- 2
  scaled <- fit_glmm(y ~ I(x / scale), d)
  expect_equal(unname(predict(scaled, d[1:3, ])), unname(fitted(scaled)[1:3]))
})

test_that("classes without some of their variables have what the others say", {
  d <- as.data.frame(Titanic)
  fit <- fit_mixture(responses(Class, Sex, Survived) ~ 1, d, k = 2, freq = Freq)
  expect_equal(predict(fit, d[1:4, c("Class", "Sex")], type = "prob"),
               predict(fit, transform(d[1:4, ], Survived = factor(NA, c("No", "Yes"))),
                       type = "prob"))
})

test_that("a matrix of responses is predicted for matrices and for its columns", {
  M <- as.matrix(faithful)
  named <- fit_mixture(M ~ 1, k = 2, covariance = "VVV")
  bound <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV")
  expected <- predict(bound, faithful[1:5, ], type = "prob")
  for (new in list(M[1:5, ], faithful[1:5, ], unname(M[1:5, ]), data.frame(M = I(M[1:5, ])))) {
    expect_equal(predict(named, new, type = "prob"), expected, ignore_attr = TRUE,
                 tolerance = 1e-6)
  }
  expect_equal(predict(bound, M[1:5, ], type = "prob"), expected, ignore_attr = TRUE)
  expect_error(predict(named, M[, 1, drop = FALSE]), class = "elbo_error_argument")
  wide <- faithful[1:3, ]
  wide$waiting <- cbind(wide$waiting, 1)
  expect_error(predict(bound, wide), "3 columns, not 2", class = "elbo_error_data")
})

test_that("new values that are infinite, too far or of another type are refused with the reason", {
  set.seed(1)
  d <- data.frame(x = rnorm(40), g = gl(4, 10), f = gl(2, 1, 40))
  d$y <- d$x + rnorm(40)
  mixture <- fit_mixture(y ~ x, d, k = 2, control = elbo_control(n_starts = 2))
  curve <- fit_glmm(y ~ s(x, k = 5) + f + (1 | g), d)
  new <- d[1:3, ]
  for (fit in list(mixture, curve)) {
    expect_error(predict(fit, transform(new, x = Inf)), "`x` of `newdata` is infinite in rows 1",
                 class = "elbo_error_data")
  }
  expect_error(predict(mixture, transform(new, y = -Inf)), "infinite", class = "elbo_error_data")
  expect_error(predict(mixture, transform(new, x = 1e300)), "too far", class = "elbo_error_data")
  normal <- fit_mixture(waiting ~ 1, faithful, k = 2)
  expect_error(predict(normal, data.frame(waiting = 1e200), type = "prob"), "too far",
               class = "elbo_error_data")
  expect_error(predict(curve, transform(new, f = 1)), "factor", class = "elbo_error_argument")
  expect_length(predict(curve, new[0, ]), 0)
})

test_that("under na.exclude all that is by row is as long as the data", {
  set.seed(1)
  d <- data.frame(x = rnorm(60), g = gl(6, 10))
  d$y <- ifelse(seq_len(60) > 30, 4, 0) + d$x + rnorm(60)
  d$y2 <- d$y + rnorm(60)
  d$x[3] <- d$y[5] <- d$y2[5] <- NA
  control <- elbo_control(n_starts = 2)
  rows <- list(
    fit_mixture(y ~ x, d, k = 2, control = control, na.action = na.exclude),
    suppressMessages(fit_mixture(cbind(y, y2) ~ 1, d, k = 2, covariance = "EEE", control = control,
                                 na.action = na.exclude))
  )
  for (fit in rows) {
    lost <- which(is.na(as.matrix(fitted(fit))[, 1]))
    expect_true(5 %in% lost)
    answers <- list(predict(fit), predict(fit, type = "prob"), predict(fit, type = "density"),
                    predict(fit, type = "response"), residuals(fit), weights(fit),
                    predict(fit, type = "response", by_component = TRUE), simulate(fit)$sim_1)
    for (answer in answers) {
      first <- if (is.null(dim(answer))) answer else matrix(answer, NROW(answer))[, 1]
      expect_length(first, 60)
      expect_identical(unname(which(is.na(first))), unname(lost))
    }
    expect_identical(names(predict(fit)), as.character(1:60))
  }
  # Units are not rows: each has its answer.
  curves <- fit_mixture(y ~ x + (1 | g), d, k = 1, unit = ~ g, na.action = na.exclude)
  expect_length(predict(curves), 6)
  expect_length(predict(curves, type = "response"), 60)
})

test_that("augment() has the columns of the data", {
  fit <- fit_mixture(cbind(eruptions, log(waiting)) ~ 1, faithful, k = 2, covariance = "EEE")
  table <- augment(fit)
  expect_named(table, c("eruptions", "waiting", ".class", ".uncertainty", ".prob1", ".prob2"))
  expect_equal(table, augment(fit, faithful), ignore_attr = TRUE)
  M <- as.matrix(faithful)
  expect_named(augment(fit_mixture(M ~ 1, k = 1))[1:2], names(faithful))
  curved <- augment(fit_glmm(log(waiting) ~ poly(eruptions, 2), faithful))
  expect_equal(curved[names(faithful)], faithful)
})

test_that("counts have no precision weights", {
  d <- data.frame(x = rnorm(20), n = rpois(20, 3), w = 1:20)
  expect_error(fit_mixture(n ~ x, d, k = 2, family = poisson(), weights = w), "`freq`",
               class = "elbo_error_argument")
  expect_error(fit_mixture(n > 2 ~ x, d, k = 2, family = binomial(), weights = w), "`freq`",
               class = "elbo_error_argument")
})

test_that("an infinite mean of a component that a row is not of leaves its fitted mean a number", {
  set.seed(1)
  d <- data.frame(x = c(1000, rnorm(59)), z = rep(0:1, 30))
  d$cnt <- rpois(60, exp(ifelse(d$z == 1, 1.5, 0)))
  fit <- fit_mixture(cnt ~ x, d, k = 2, family = poisson(), control = elbo_control(n_starts = 2))
  probability <- cbind(rep(1, 60), 0)
  values <- cbind(rep(2, 60), c(Inf, rep(3, 59)))
  expect_equal(as.vector(average_components(fit, values, design_of(fit), probability)), rep(2, 60))
})
