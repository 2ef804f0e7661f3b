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
