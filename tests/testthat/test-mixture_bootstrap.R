test_that("the bootstrap agrees with the information, labels matched", {
  skip_on_cran()
  fit <- mixture_example("normal")
  b <- bootstrap(fit, nsim = 200, seed = 1)
  expect_s3_class(b, "elbo_bootstrap")
  expect_equal(b$failed, 0)
  expect_identical(colnames(b$theta), names(theta(fit)))
  # A standard deviation from 200 draws has a relative standard error of 5 %.
  ratio <- sqrt(diag(vcov(b))) / standard_errors(fit)
  expect_true(all(abs(ratio - 1) < 0.2))
  expect_identical(bootstrap(fit, 3, seed = 4)$theta, bootstrap(fit, 3, seed = 4)$theta)
  expect_equal(dim(confint(b)), c(12L, 2L))
  for (name in c("binomial", "classes", "copies", "missing")) {
    b <- bootstrap(mixture_example(name), nsim = 3, seed = 1)
    expect_equal(dim(b$theta), c(3L, length(theta(mixture_example(name)))))
  }
})

test_that("bootstrap() draws every copy by itself", {
  fit <- mixture_example("copies")
  draws <- bootstrap(fit, nsim = 100, seed = 2)$theta
  se <- standard_errors(fit)[["prob__Survived.Yes|1"]]
  # Were the 14 rows drawn as wholes the spread would be many times as large; 7 % is its error.
  expect_equal(sd(draws[, "prob__Survived.Yes|1"]), se, tolerance = 0.3)
})

test_that("components are matched by the units they share, however they are numbered", {
  shared <- rbind(c(1, 60, 3), c(50, 2, 2), c(4, 1, 40))
  expect_identical(match_components(shared), c(2L, 1L, 3L))
  fit <- mixture_example("classes")
  expect_equal(permute_theta(fit, 1:2), c(theta(fit)), ignore_attr = "fixed")
  swapped <- permute_theta(fit, 2:1)
  expect_equal(swapped[["mean__x|1"]], theta(fit)[["mean__x|2"]])
  expect_equal(swapped[["prob__colour.blue|2"]], theta(fit)[["prob__colour.blue|1"]])
  expect_equal(swapped[["weight|2"]], theta(fit)[["weight|1"]])
  member <- mixture_example("binomial")
  swapped <- permute_theta(member, 2:1)
  expect_equal(unname(swapped[1:2]), -unname(member$theta[1:2]))
})

test_that("intervals of estimates at infinity are order statistics", {
  theta <- cbind(a = c(-Inf, -Inf, 0, 1, Inf, Inf), b = 1:6, c = c(NA, 2, 1, 3, 4, 5))
  b <- structure(list(theta = theta, estimate = theta[3, ]), class = "elbo_bootstrap")
  limits <- confint(b, level = 0.4)
  # Ranks 0.3 n and 0.7 n, rounded up.
  expect_identical(limits["a", ], c(`30 %` = -Inf, `70 %` = Inf))
  expect_identical(unname(confint(b, level = 0.2)["a", ]), c(0, 1))
  expect_equal(unname(limits["b", ]), unname(quantile(1:6, c(0.3, 0.7))))
  expect_true(all(is.na(vcov(b)["a", ])) && !any(is.nan(vcov(b))))
  expect_equal(vcov(b)["c", "c"], 2.5)
})

# A mixture of curves with smooth terms, 40 genes.
curves_fit <- function() {
  genes <- sim_curves(40, k = 2, seed = 1)
  fit_mixture(expr ~ s(time) + (1 | gene), genes, k = 2, unit = ~ gene)
}

test_that("refits from the estimates end where Newton's method does, with fewer readings", {
  fits <- c(list(curves_fit()), lapply(c("normal", "gaussian", "poisson", "vb"), mixture_example))
  for (fit in fits) {
    latent <- latent_parameters(fit)
    control <- refit_control(fit)
    passes <- withr::with_seed(1, replicate(5, {
      model <- fit_model(fit, redrawn_design(fit))
      newton <- ascend_mixture(model, list(state = state_of(fit)), control)
      refit <- refit_ascent(model, state_of(fit), control)
      expect_identical(c(newton$status, refit$status), c(0L, 0L))
      expect_lt(newton$gradient, 1e-6) # of the exact score, in standard errors
      # The gain still to come is below 1e-8: (1.4e-4 se)^2 / 2, where its estimate is exact.
      distance <- abs(refit$theta - newton$theta)[!latent] / standard_errors(fit)
      expect_lt(max(distance, na.rm = TRUE), 1e-3)
      c(refit$passes, newton$passes)
    }))
    expect_lt(sum(passes[1, ]), sum(passes[2, ]))
  }
})

test_that("refits of mixtures look at no formula, frame or data", {
  fits <- c(list(curves_fit()), lapply(c(mixture_kinds, "joint", "vb"), mixture_example))
  for (fit in fits) {
    blind <- fit
    blind[c("call", "formula", "frame", "variables", "terms", "xlevels", "contrasts")] <- NULL
    expect_identical(bootstrap(blind, 2, seed = 1)$theta, bootstrap(fit, 2, seed = 1)$theta)
  }
  p_value <- function(...) bootstrap_ratio(..., statistic = 1, nsim = 3, seed = 1)$p
  fits <- lapply(1:2, function(k) fit_mixture(waiting ~ 1, faithful, k = k, covariance = "E"))
  blind <- lapply(fits, function(fit) replace(fit, c("frame", "terms", "formula"), list(NULL)))
  expect_identical(p_value(blind[[1]], blind[[2]]), p_value(fits[[1]], fits[[2]]))
})

test_that("starts, moves and all numbers of components are of one model frame", {
  calls <- new.env()
  for (name in c("model.frame.default", "model.matrix.default")) {
    assign(name, 0L, calls)
    tracer <- substitute(assign(name, get(name, calls) + 1L, calls),
                         list(name = name, calls = calls))
    suppressMessages(trace(name, tracer, where = asNamespace("stats"), print = FALSE))
  }
  on.exit(suppressMessages(for (name in ls(calls)) untrace(name, where = asNamespace("stats"))))
  count <- function(k) {
    for (name in ls(calls)) assign(name, 0L, calls)
    fit <- fit_mixture(expr ~ s(time) + (1 | gene), sim_curves(30, k = 2, seed = 1), k = k,
                       unit = ~ gene)
    unlist(mget(ls(calls), calls))
  }
  one <- count(1)
  expect_identical(one[["model.frame.default"]], 1L)
  expect_identical(count(2:4), one) # X and Z once each
  expect_identical(one[["model.matrix.default"]], 2L)
})
