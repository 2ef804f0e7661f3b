to_nowhere <- function(code) {
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  force(code)
}

test_that("plot() draws each kind of mixture, and leaves par() as it was", {
  to_nowhere({
    before <- graphics::par(no.readonly = TRUE)
    for (name in c(mixture_kinds, "joint", "vb", "vb_classes")) {
      fit <- mixture_example(name)
      expect_identical(plot(fit), fit)
      for (type in picture_types(fit)) expect_no_error(plot(fit, type = type))
    }
    expect_identical(graphics::par(no.readonly = TRUE)[c("mfrow", "mar", "las")],
                     before[c("mfrow", "mar", "las")])
  })
  expect_error(plot(mixture_example("normal"), type = "density"), class = "elbo_error_argument")
})

test_that("the pictures suit the fit", {
  expect_identical(picture_types(mixture_example("normal")),
                   c("classification", "uncertainty", "objective", "decomposition"))
  expect_identical(picture_types(mixture_example("univariate"))[1], "density")
  expect_identical(picture_types(mixture_example("poisson"))[1], "regression")
  expect_identical(picture_types(mixture_example("classes"))[1], "profiles")
  choice <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:3, covariance = c("EEE",
                                                                                         "VVV"))
  expect_identical(picture_types(choice)[1], "selection")
  to_nowhere(expect_no_error(plot(choice)))
  one <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1, covariance = "VVV")
  expect_false("uncertainty" %in% picture_types(one))
  to_nowhere(expect_no_error(plot(one)))
})

test_that("the choice of the model is drawn with the best models first, six of them named", {
  fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:3,
                     control = elbo_control(n_starts = 2))
  table <- selection_data(selection(fit))
  best <- tapply(candidates_of(fit)$criterion, candidates_of(fit)$covariance, min, na.rm = TRUE)
  best <- sort(best[is.finite(best)])
  expect_identical(unique(table$model), names(best))
  expect_equal(unname(tapply(table$behind, table$rank, min)), unname(best - min(best)),
               ignore_attr = TRUE)
  styles <- lapply(1:6, model_style)
  expect_identical(anyDuplicated(vapply(styles, `[[`, "", "col")), 0L)
  expect_identical(unique(vapply(lapply(7:14, model_style), `[[`, "", "col")), "grey75")
  one_size <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2,
                          covariance = c("EEE", "VVV"))
  to_nowhere({
    expect_no_error(plot(fit, type = "selection"))
    expect_no_error(plot(one_size, type = "selection"))
    # The table draws what the fit draws, not a matrix of scatterplots.
    expect_no_error(plot(selection(fit)))
  })
})

test_that("of many responses the page shows the two that tell components apart, or all pairs", {
  set.seed(1)
  Y <- matrix(rnorm(600), 100, 6, dimnames = list(NULL, letters[1:6]))
  Y[1:40, c("c", "e")] <- Y[1:40, c("c", "e")] + 5
  fit <- fit_mixture(cbind(a, b, c, d, e, f) ~ 1, as.data.frame(Y), k = 2, covariance = "EEI",
                     control = elbo_control(n_starts = 2))
  expect_identical(telling_pair(fit), c("c", "e"))
  expect_identical(sum(vapply(mixture_pictures(fit), `[[`, 0, "panels")), 5)
  to_nowhere({
    before <- graphics::par("mfrow", "oma")
    expect_no_error(plot(fit))
    expect_no_error(plot(fit, type = "classification"))
    expect_identical(graphics::par("mfrow", "oma"), before)
  })
})

test_that("ellipses hold their share", {
  S <- rbind(c(2, 0.8), c(0.8, 1))
  ring <- ellipse(c(1, -1), S, 0.95)
  e <- sweep(ring, 2, c(1, -1))
  expect_equal(rowSums((e %*% solve(S)) * e), rep(qchisq(0.95, 2), nrow(ring)))
})

test_that("the density drawn is that of the fit", {
  fit <- mixture_example("univariate")
  data <- density_data(fit)
  new <- data.frame(waiting = data$y)
  expect_equal(data$density, unname(predict(fit, new, type = "density")))
  expect_equal(rowSums(data$share), data$density)
})

test_that("curves of regressions are those of the components", {
  fit <- mixture_example("poisson")
  data <- regression_curves(fit)
  b <- components(fit)$coefficients
  expect_equal(unname(data$mean[, 2]), exp(b[2, 1] + b[2, 2] * data$x))
  d <- withr::with_seed(1, regression_data())
  d$f <- gl(2, 100)
  both <- fit_mixture(y ~ f + x1, d, k = 2)
  expect_identical(regression_covariate(both), "x1")
  only <- fit_mixture(y ~ f, d, k = 2)
  expect_null(regression_covariate(only))
  to_nowhere({
    expect_no_error(plot(both, type = "regression"))
    expect_no_error(plot(only, type = "regression"))
  })
})

test_that("autoplot() makes the same pictures with ggplot2", {
  skip_if_not_installed("ggplot2")
  choice <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:2, covariance = c("EEE",
                                                                                         "VVV"))
  pictures <- list(choice = choice, one = mixture_example("univariate"),
                   copies = mixture_example("copies"))
  for (fit in pictures) {
    for (type in setdiff(picture_types(fit), c("regression", "profiles"))) {
      picture <- ggplot2::autoplot(fit, type = type)
      expect_s3_class(picture, "ggplot")
      to_nowhere(expect_no_error(print(picture)))
    }
  }
})

curves_example <- function(...) {
  d <- sim_curves(60, times = c(0, 2, 4, 8, 12, 24), k = 3, missing = 0.1, seed = 1, ...)
  d <- d[sample(nrow(d)), ]
  right <- if (is.null(d$strain)) ~ splines::bs(time, df = 4) + (1 | gene)
           else ~ strain * poly(time, 2) + (1 | gene)
  fit_mixture(stats::update(right, expr ~ .), d, k = 3, unit = ~ gene, sigma = ~ 1)
}

test_that("archetypal curves are drawn with their members and band", {
  fit <- withr::with_seed(1, curves_example())
  expect_identical(picture_types(fit), c("curves", "deviations", "uncertainty", "objective",
                                         "decomposition"))
  to_nowhere({
    before <- graphics::par(no.readonly = TRUE)[c("mfrow", "mar", "oma", "las", "fig")]
    expect_identical(plot(fit), fit)
    expect_identical(plot(fit, type = picture_types(fit)), fit)
    expect_identical(graphics::par(no.readonly = TRUE)[names(before)], before)
  })
  members <- curve_members(fit)
  expect_equal(nrow(members), design_of(fit)$n_row)
  expect_equal(members$component, unname(predict(fit))[members$unit])
  data <- model.frame(fit)
  at <- match(paste(design_of(fit)$unit_names[members$unit], members$x),
              paste(data$gene, data$time))
  expect_equal(members$y, data$expr[at])
  curves <- archetypes(fit, 0.95)
  second <- curves[curves$component == 2, ]
  expect_equal(second$estimate, unname(predict(fit, data.frame(time = second$x), type = "response",
                                               by_component = TRUE)[, 2]))
  # By the covariance of the coefficients, from their names.
  X <- cbind(1, predict(splines::bs(data$time, df = 4), second$x))
  rows <- paste0(c("(Intercept)", paste0("splines::bs(time, df = 4)", 1:4)), "|2")
  se <- sqrt(diag(X %*% vcov(fit)[rows, rows] %*% t(X)))
  expect_equal(second$high - second$low, 2 * qnorm(0.975) * se, tolerance = 1e-8)
})

test_that("arms are curves of the same panel, and replicates are averaged", {
  fit <- withr::with_seed(1, curves_example(arms = 2, replicates = 2))
  expect_identical(levels(curve_arms(fit)), c("A", "B"))
  members <- curve_members(fit)
  expect_false(anyDuplicated(members[c("unit", "arm", "x")]) > 0)
  data <- model.frame(fit)
  means <- aggregate(expr ~ gene + strain + time, data, mean)
  at <- match(paste(design_of(fit)$unit_names[members$unit], c("A", "B")[members$arm], members$x),
              paste(means$gene, means$strain, means$time))
  expect_equal(members$y, means$expr[at])
  curves <- archetypes(fit, 0.9)
  one <- curves[curves$component == 1 & curves$arm == 2, ]
  new <- data.frame(time = one$x, strain = "B")
  expect_equal(one$estimate, unname(predict(fit, new, type = "response", by_component = TRUE)[, 1]))
  to_nowhere(expect_identical(plot(fit), fit))
})

test_that("panels fill the page", {
  expect_equal(filled_grid(10), c(2, 5))
  expect_equal(filled_grid(6), c(2, 3))
  expect_equal(filled_grid(5), c(2, 3))
  expect_equal(filled_grid(1), c(1, 1))
  for (n in 1:20) expect_gte(prod(filled_grid(n)), n)
})

# Weighted least squares of the residuals on Z, from dense matrices.
test_that("deviations have the distance of their generalised least squares", {
  fit <- withr::with_seed(1, curves_example())
  found <- deviation_distances(fit)
  parts <- components(fit)
  data <- model.frame(fit)
  z <- predict(fit)
  mean <- predict(fit, type = "response", by_component = TRUE)
  for (gene in names(z)[c(1, 7, 60)]) {
    rows <- data$gene == gene
    Z <- matrix(1, sum(rows), 1)
    V <- parts$covariance[z[gene], 1, 1] + diag(parts$sigma[z[gene]]^2, sum(rows))
    r <- (data$expr - mean[, z[gene]])[rows]
    information <- t(Z) %*% solve(V, Z)
    u <- solve(information, t(Z) %*% solve(V, r))
    expect_equal(found$distance[match(gene, names(z))], drop(t(u) %*% information %*% u))
  }
  expect_equal(found$df, rep(1, 60))
})

test_that("under the model the scores of deviations are standard normal", {
  d <- sim_curves(400, k = 1, sd = c(0.5, 0), seed = 3)
  fit <- fit_mixture(expr ~ splines::bs(time, df = 8) + (1 | gene), d, k = 1, unit = ~ gene)
  # At the maximum the mean of the distances, each chi-squared with one degree of freedom, is one.
  expect_equal(mean(deviation_distances(fit)$distance), 1, tolerance = 1e-6)
  expect_gt(ks.test(deviation_data(fit)$score, "pnorm")$p.value, 0.01)
})

test_that("autoplot() draws curves and deviations", {
  skip_if_not_installed("ggplot2")
  for (fit in list(withr::with_seed(1, curves_example()),
                   withr::with_seed(1, curves_example(arms = 2)))) {
    for (type in picture_types(fit)) {
      to_nowhere(expect_no_error(print(ggplot2::autoplot(fit, type = type))))
    }
    expect_identical(ggplot2::autoplot(fit)$labels$x, "time")
  }
})

test_that("deviations have their distance also where the residual variance is next to nothing", {
  fit <- withr::with_seed(1, curves_example())
  exact <- deviation_distances(fit)
  theta(fit)[which_parameters(fit, "sigma")] <- 1e-12
  # r'Z(Z'Z)^-1 ~ N(0, Gamma + sigma^2 (Z'Z)^-1).
  design <- design_of(fit)
  mean <- component_means(fit, design)[cbind(seq_len(design$n_row),
                                             unit_component(fit)[unit_of_row(design)])]
  u <- tapply(design$y - mean, unit_of_row(design), mean)
  expect_equal(deviation_distances(fit)$distance, tolerance = 1e-10, ignore_attr = TRUE,
               as.vector(u^2) / curve_covariances(fit)[unit_component(fit), 1, 1])
})

test_that("curves without standard errors are drawn without a word", {
  set.seed(1)
  d <- data.frame(g = gl(8, 1), t = 1:8, y = rnorm(8))
  fit <- suppressWarnings(fit_mixture(y ~ t + (1 | g), d, k = 3, unit = ~g, method = "joint"))
  grDevices::pdf(NULL)
  withr::defer(grDevices::dev.off())
  expect_silent(plot(fit, type = "curves"))
})
