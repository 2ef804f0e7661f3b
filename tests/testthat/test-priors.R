slopes <- data.frame(
  name = c("(Intercept)", "x", "sd__(Intercept)|site", "sd__x|site", "cor__(Intercept).x|site",
           "sigma"),
  block = c("beta", "beta", "sd", "sd", "cor", "sigma")
)
# A design of random terms of so many columns.
terms_of <- function(...) {
  size <- c(...)
  list(random = Map(function(n, last) list(law = "us", columns = last - n + seq_len(n)), size,
                    cumsum(size)))
}

check_slopes <- function(prior) {
  resolved <- resolve_priors(prior, slopes, "site")
  check_constants(resolved, slopes, covariance_index(slopes, terms_of(2)))
}

test_that("distributions are found inside priors() only", {
  p <- priors(beta = normal(0, 10), sigma = half_t(3, 2.5), site = constant(1))
  expect_s3_class(p, "elbo_priors")
  expect_named(p, c("beta", "sigma", "site"))
  expect_equal(p$sigma$parameters, list(df = 3, scale = 2.5))
  normal <- function(...) stop("the user's own")
  expect_equal(priors(beta = normal(0, 1))$beta$distribution, "normal")
  expect_false(exists("half_t", envir = globalenv()))
})

test_that("arguments may be variables, computed values or evaluated priors", {
  f <- function(spread) priors(beta = normal(0, spread * 2))
  expect_equal(f(3)$beta$parameters$sd, 6)
  scale <- 4
  expect_equal(priors(sd = half_normal(scale))$sd$parameters$scale, 4)
  expect_equal(do.call(priors, unclass(f(3))), f(3))
  expect_length(priors(), 0)
})

test_that("every distribution is made, checked and printed", {
  expect_snapshot({
    priors(beta = normal(0, 10), sd = half_t(3, 2.5))
    priors(cor = lkj(2), sigma = half_cauchy(1))
    priors(a = half_normal(1), b = inverse_gamma(2, 1))
    priors(covariance = inverse_wishart(4, diag(2)))
    priors(covariance = normal_inverse_wishart(c(0, 1, 2), 0.01, 5, diag(3)))
    priors(weight = dirichlet(c(1, 1)), v = stick_breaking(1))
    priors(x = flat(), z = constant(Inf))
    priors()
    priors(x = flat())$x
  })
  refused <- function(expr) expect_error(expr, class = "elbo_error")
  refused(priors(a = normal(0, 0)))
  refused(priors(a = normal(NA, 1)))
  refused(priors(a = half_t(0, 1)))
  refused(priors(a = half_cauchy(-1)))
  refused(priors(a = inverse_gamma(1, 0)))
  refused(priors(a = inverse_wishart(3, matrix(1, 2, 2))))
  refused(priors(a = inverse_wishart(3, 0)))
  refused(priors(a = normal_inverse_wishart(NA, 1, 3, 1)))
  refused(priors(a = normal_inverse_wishart(0, 0, 3, 1)))
  refused(priors(a = normal_inverse_wishart(0, 1, 3, -1)))
  refused(priors(a = lkj(0)))
  refused(priors(a = dirichlet(c(1, 0))))
  refused(priors(a = stick_breaking(0)))
  refused(priors(a = constant("1")))
  refused(priors(a = constant(NA_real_)))
})

test_that("malformed priors are refused", {
  expect_snapshot({
    refusal(priors(normal(0, 1)))
    refusal(priors(beta = normal(0, 1), beta = flat()))
    refusal(priors(beta = 3))
    refusal(priors(beta = norml(0, 1)))
    refusal(priors(beta = normal(0)))
    refusal(priors(beta = normal(0, -1)))
  })
})

test_that("names over groups over blocks", {
  p <- priors(`sd__x|site` = constant(3), sd = constant(1), site = constant(2), beta = flat())
  r <- resolve_priors(p, slopes, "site")
  expect_length(r, 6)
  expect_equal(constant_values(r), c(NA, NA, 2, 3, NA, NA))
  expect_equal(r[[1]]$distribution, "flat")
  expect_null(r[[6]])
  # The order in which they are written does not matter.
  expect_equal(resolve_priors(structure(rev(p), class = "elbo_priors"), slopes, "site"), r)
  expect_equal(resolve_priors(NULL, slopes, "site"), vector("list", 6))
})

test_that("`sigma` is a block and a name at once, and no ambiguity", {
  resolved <- resolve_priors(priors(sigma = constant(2)), slopes, "site")
  expect_equal(constant_values(resolved)[6], 2)
})

test_that("ambiguous and unknown names are refused", {
  twice <- slopes
  twice$name[2] <- "site"
  expect_snapshot({
    refusal(resolve_priors(priors(site = constant(1)), twice, "site"))
    refusal(resolve_priors(priors(school = constant(1)), slopes, "site"))
    refusal(resolve_priors(priors(weight = dirichlet(1)), slopes, "site"))
    refusal(resolve_priors(list(beta = 1), slopes, "site"))
  })
})

test_that("constants that a fit cannot hold are refused", {
  expect_null(check_slopes(priors(site = constant(Inf), x = constant(-1), sigma = flat())))
  expect_null(check_slopes(priors(cor = constant(0.5), sigma = constant(1e-150))))
  expect_null(check_slopes(NULL))
  apart <- slopes[-5, ]
  lawless <- resolve_priors(priors(`sd__x|site` = constant(Inf)), apart, "site")
  expect_null(check_constants(lawless, apart, covariance_index(apart, terms_of(1, 1))))
  expect_snapshot({
    refusal(check_slopes(priors(sd = constant(0))))
    refusal(check_slopes(priors(sd = constant(-1))))
    refusal(check_slopes(priors(cor = constant(1))))
    refusal(check_slopes(priors(sigma = constant(Inf))))
    refusal(check_slopes(priors(beta = constant(Inf))))
    refusal(check_slopes(priors(`sd__x|site` = constant(Inf))))
  })
})

test_that("a single correlation of three terms cannot be held", {
  three <- data.frame(
    name = c("sd__a|g", "sd__b|g", "sd__c|g", "cor__a.b|g", "cor__a.c|g", "cor__b.c|g"),
    block = rep(c("sd", "cor"), each = 3)
  )
  index <- covariance_index(three, terms_of(3))
  expect_equal(index, rep(1L, 6))
  resolved <- resolve_priors(priors(cor = constant(0)), three, "g")
  expect_snapshot(refusal(check_constants(resolved, three, index)))
})

test_that("the covariance block of each parameter follows from the columns of Z", {
  parameters <- data.frame(block = c("beta", "sd", "sd", "sd", "cor", "sigma", "sigma"))
  expect_equal(covariance_index(parameters, terms_of(1, 2)), c(NA, 1, 2, 2, 2, NA, NA))
})

# The numbers of the help page, section Mixtures.
test_that("priors of curves: their names, and the defaults of vb", {
  genes <- sim_curves(30, times = 0:5, k = 2, seed = 1)
  curves <- function(formula, ...) {
    fit_mixture(formula, genes, k = 2, unit = ~ gene, control = elbo_control(n_starts = 1), ...)
  }
  fit <- curves(expr ~ s(time) + (time | gene), method = "vb")
  stated <- priors_of(fit)$stated
  expect_named(stated, c("weight", "(Intercept)", "time", "sd__(Intercept) + time", "covariance",
                         "sd__s(time)", "sigma"))
  s <- sd(genes$expr)
  expect_equal(stated$covariance$parameters$df, 4)
  shares <- colMeans(cbind(1, genes$time)^2) * diag(stated$covariance$parameters$scale)
  expect_equal(shares, rep(0.1 * s^2 / 2, 2), tolerance = 0.05) # rounded to two digits
  expect_equal(stated$time$parameters$sd, 10 * s / sd(genes$time), tolerance = 5e-3)
  expect_equal(stated$sigma, distributions$half_t(3, signif(2.5 * s, 3)))
  expect_identical(stated[["sd__s(time)"]]$distribution, "half_t")

  held <- function(...) {
    fit <- curves(expr ~ time + (time | gene), random_covariance = "diagonal", prior = priors(...))
    theta(fit)[attr(theta(fit), "fixed")]
  }
  expect_equal(unname(held(sd = constant(0.2))), rep(0.2, 4))
  expect_equal(unname(held(gene = constant(0.2))), rep(0.2, 4))
  expect_equal(held(sd__time = constant(0.1)), c("sd__time|1" = 0.1, "sd__time|2" = 0.1),
               ignore_attr = "fixed")
  expect_error(held(nothing = constant(1)), "sd__time", class = "elbo_error_prior")
  expect_error(curves(expr ~ time + (time | gene), prior = priors(sd = constant(1))),
               "random_covariance", class = "elbo_error_prior")
  expect_error(curves(expr ~ s(time) + (1 | gene), method = "joint"), class = "elbo_error")
})
