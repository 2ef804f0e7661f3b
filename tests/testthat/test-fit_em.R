# Textbook EM algorithms: helper-em-gallery.R.

fit_gallery <- function(name, ..., objective = TRUE) {
  em <- em_gallery[[name]]
  given <- em[intersect(names(em), c("start", "estep", "mstep", "data", "lower", "upper"))]
  if (objective) given$log_evidence <- em$log_evidence
  do.call(fit_em, c(given, list(...)))
}

# Maps that plain EM makes to a step of 1e-8, and where it ends.
plain_em <- function(em) {
  theta <- em$start
  for (maps in 1:5000) {
    old <- unlist(theta)
    theta <- em$mstep(em$estep(theta, em$data), em$data)
    if (sqrt(sum((unlist(theta) - old)^2)) < 1e-8) break
  }
  list(maps = maps, value = em$log_evidence(theta, em$data), theta = unlist(theta))
}

test_that("the classics get their published answers, and no lower a likelihood than plain EM", {
  for (name in names(em_gallery)) {
    em <- em_gallery[[name]]
    fit <- fit_gallery(name)
    plain <- plain_em(em)
    expect_identical(convergence(fit)$status, "converged", label = name)
    expect_gt(as.numeric(logLik(fit)), plain$value - 1e-9 * abs(plain$value), label = name)
    if (!is.null(em$answer)) {
      expect_lt(max(abs(theta(fit)[names(em$answer)] - em$answer)), 6e-5, label = name)
    }
    # A tenth of the maps wherever plain EM is slow, and fewer maps anywhere.
    expect_lte(convergence(fit)$em, if (plain$maps > 200) plain$maps / 10 else plain$maps,
               label = name)
    blind <- fit_gallery(name, objective = FALSE)
    expect_equal(em$log_evidence(theta(blind, as_start = TRUE), em$data), plain$value,
                 tolerance = 1e-9, label = name)
  }
})

test_that("the London Times mixture takes far fewer maps than SQUAREM's 72", {
  fit <- fit_gallery("deaths")
  expect_lte(convergence(fit)$em, 20)
  expect_equal(as.numeric(logLik(fit)), -1989.946, tolerance = 5e-7)
  theta <- theta(fit, as_start = TRUE)
  em <- em_gallery$deaths
  expect_lt(sqrt(sum((em$mstep(em$estep(theta, em$data), em$data) - theta)^2)), 1e-8)
  squarem <- fit_gallery("deaths", control = elbo_control(accelerate = "squarem"))
  expect_lte(convergence(squarem)$em, 72)
  expect_true("squarem" %in% elbo_trace(squarem)$step)
})

test_that("standard errors are those of the observed information", {
  # Linkage: minus the second derivative of sum y log pi, by hand.
  p <- theta(fit <- fit_gallery("linkage"))[["p"]]
  information <- 125 / (2 + p)^2 + 38 / (1 - p)^2 + 34 / p^2
  expect_equal(vcov(fit)[[1]], 1 / information, tolerance = 1e-5)
  # Blood groups: the three sum to one, so that the covariance is singular. By numDeriv in (A, B).
  skip_if_not_installed("numDeriv")
  em <- em_gallery$blood
  fit <- fit_gallery("blood")
  two <- function(x) em$log_evidence(c(x, 1 - sum(x)), em$data)
  H <- numDeriv::hessian(two, theta(fit)[1:2])
  expect_equal(unname(vcov(fit)[1:2, 1:2]), solve(-H), tolerance = 1e-4)
  expect_equal(unname(rowSums(vcov(fit))), numeric(3), tolerance = 1e-8)
  expect_identical(attr(logLik(fit), "df"), 2L)
})

test_that("probit coefficients and standard errors are those of glm()", {
  fit <- fit_gallery("probit")
  d <- em_gallery$probit$data
  reference <- glm(d$y ~ 0 + d$X, family = binomial("probit"),
                   control = glm.control(epsilon = 1e-12))
  expect_equal(unname(c(theta(fit))), unname(coef(reference)), tolerance = 1e-7)
  eta <- drop(d$X %*% theta(fit))
  sign <- 2 * d$y - 1
  ratio <- dnorm(eta) / pnorm(sign * eta)
  information <- crossprod(d$X * (ratio * (ratio + sign * eta)), d$X) # observed, not Fisher's
  expect_equal(unname(vcov(fit)), unname(solve(information)), tolerance = 1e-4)
})

test_that("probabilistic principal components are those of the eigenvalues, up to a rotation", {
  fit <- fit_gallery("components")
  S <- em_gallery$components$data$S
  values <- eigen(S)$values
  theta <- theta(fit, as_start = TRUE)
  expect_equal(theta$sigma2, mean(values[3:6]), tolerance = 1e-7) # Tipping and Bishop, equation 8
  expect_equal(svd(theta$loading)$d^2, values[1:2] - theta$sigma2, tolerance = 1e-6)
  expect_true(all(is.na(diag(vcov(fit))[1:12]))) # a rotation is free
  expect_equal(vcov(fit)[["sigma2", "sigma2"]], 2 * theta$sigma2^2 / (112 * 4), tolerance = 0.05)
})

test_that("factor analysis is that of factanal()", {
  fit <- fit_gallery("factor")
  reference <- factanal(covmat = ability.cov, factors = 1, control = list(lower = 1e-6))
  theta <- theta(fit, as_start = TRUE)
  expect_equal(unname(theta$noise), unname(reference$uniquenesses), tolerance = 1e-4)
})

test_that("missing multivariate normal data: the covariance is symmetric, in shape as it came", {
  fit <- fit_gallery("missing")
  theta <- theta(fit, as_start = TRUE)
  expect_identical(names(theta), c("mean", "cov"))
  expect_true(isSymmetric(theta$cov))
  expect_identical(attr(logLik(fit), "df"), 14L)
  expect_true("cov[Ozone,Wind]" %in% names(theta(fit)))
  expect_identical(nobs(fit), 153L)
  # Wind and Temp have no gap: their means are those of the sample, variance S / n.
  y <- em_gallery$missing$data[, 3:4]
  expect_equal(theta$mean[3:4], colMeans(y))
  expect_equal(unname(vcov(fit)[3:4, 3:4]), unname(var(y) * 152 / 153^2), tolerance = 1e-4)
})

test_that("an ELBO is climbed too, and tells the information through the map", {
  em <- em_gallery$deaths
  elbo <- function(theta, q, y) {
    joint <- cbind(theta[[1]] * dpois(0:9, theta[[2]]), (1 - theta[[1]]) * dpois(0:9, theta[[3]]))
    sum(y * rowSums(q * (log(joint) - log(q))))
  }
  fit <- fit_em(em$start, em$estep, em$mstep, em$log_evidence, elbo, em$data)
  trace <- elbo_trace(fit)
  expect_lt(max(abs(trace$kl[trace$step %in% c("E", "anderson", "start")])), 1e-9)
  expect_true(all(trace$kl > -1e-9))
  expect_equal(vcov(fit, type = "em_map"), vcov(fit), tolerance = 1e-3)
  alone <- fit_em(em$start, em$estep, em$mstep, elbo = elbo, data = em$data)
  expect_equal(theta(alone), theta(fit), tolerance = 1e-6)
  expect_error(logLik(alone), class = "elbo_error_loglik")
  expect_equal(vcov(alone), vcov(fit), tolerance = 1e-4)
})

test_that("other quantities have standard errors, intervals keep within bounds", {
  fit <- fit_gallery("linkage")
  p <- theta(fit)[["p"]]
  derived <- predict(fit, function(p, y) c(r = 1 - sqrt(p[[1]])))
  expect_equal(derived$std.error, sqrt(vcov(fit)[[1]]) / (2 * sqrt(p)), tolerance = 1e-4)
  expect_identical(derived$term, "r")
  se <- sqrt(vcov(fit)[[1]])
  expect_equal(c(confint(fit)), plogis(qlogis(p) + c(-1, 1) * qnorm(0.975) * se / (p * (1 - p))),
               tolerance = 1e-6)
  expect_error(predict(fit, function(p, y) "a"), class = "elbo_error_argument")
  expect_error(predict(fit), "`f`", class = "elbo_error_argument")
})

test_that("check_em() takes the same functions", {
  em <- em_gallery$deaths
  joint <- function(theta, z, y) {
    weight <- c(theta[[1]], 1 - theta[[1]])
    log(weight[z]) + dpois(0:9, theta[2:3][z], log = TRUE)
  }
  expect_true(check_em(em$estep, em$mstep, joint, em$start, em$data, max_iter = 5,
                       weights = em$data)$ok)
})

test_that("it is a fit like others", {
  local_reproducible_output(width = 80)
  fit <- fit_gallery("deaths")
  deaths <- em_gallery$deaths
  fit <- fit_em(deaths$start, deaths$estep, deaths$mstep, deaths$log_evidence, data = deaths$data)
  expect_snapshot(fit, transform = without_gradient)
  expect_snapshot(summary(fit), transform = without_gradient)
  expect_equal(tidy(fit)$estimate, c(theta(fit)), ignore_attr = TRUE)
  expect_true(glance(fit)$converged)
  expect_match(as.character(knitr::knit_print(fit)), "mu1")
  again <- update(fit, start = c(p = 0.5, mu1 = 1, mu2 = 3))
  expect_equal(theta(again), theta(fit), tolerance = 1e-5)
  expect_s3_class(compare_fits(fit, again), "elbo_comparison")
  grDevices::pdf(NULL)
  withr::defer(grDevices::dev.off())
  expect_silent(plot(fit))
  expect_warning(update(fit, control = elbo_control(max_iter = 3)),
                 class = "elbo_warning_convergence")
})

# ---- what goes wrong ---------------------------------------------------------------------

test_that("a function that fails is named, with the iteration and the state before it", {
  em <- em_gallery$deaths
  wrong <- function(mstep = em$mstep, estep = em$estep, ...) {
    tryCatch(fit_em(em$start, estep, mstep, data = em$data, ...), elbo_error_own_model = identity)
  }
  third <- function(how) {
    count <- 0
    function(q, y) {
      count <<- count + 1
      theta <- em$mstep(q, y)
      if (count < 3) theta else how(theta)
    }
  }
  plain <- elbo_control(accelerate = "none")
  before <- em$start
  for (i in 1:2) before <- em$mstep(em$estep(before, em$data), em$data)
  cases <- list("no luck" = function(theta) stop("no luck"),
                "not finite" = function(theta) theta * NA,
                "3 numbers, like" = function(theta) theta[1:2],
                "has the names" = function(theta) setNames(theta, c("p", "mu2", "mu1")))
  for (pattern in names(cases)) {
    error <- wrong(third(cases[[pattern]]), control = plain)
    expect_s3_class(error, "elbo_error_own_model")
    expect_match(conditionMessage(error), pattern)
    expect_match(conditionMessage(error), "`mstep` does not work in iteration 3")
    expect_identical(error$iteration, 3L)
    expect_equal(error$theta, before)
  }
  error <- wrong(third(function(theta) replace(theta, 1, 2)), control = plain, upper = c(p = 1))
  expect_match(conditionMessage(error), "p = 2 is not between -Inf and 1")
  error <- wrong(estep = function(theta, y) stop("no q"))
  expect_match(conditionMessage(error), "`estep` does not work at `start`.*no q")
  error <- wrong(log_evidence = function(theta, y) -Inf)
  expect_match(conditionMessage(error), "`log_evidence` does not work at `start`")
})

test_that("a map that lowers the likelihood is stopped where it does", {
  em <- em_gallery$deaths
  forgetful <- function(q, y) em$mstep(q, y) + c(0, 0.05, 0)
  error <- tryCatch(fit_em(em$start, em$estep, forgetful, em$log_evidence, data = em$data),
                    elbo_error_own_model = identity)
  expect_s3_class(error, "elbo_error_own_model")
  i <- error$iteration
  expect_match(conditionMessage(error), sprintf("The objective fell by .* in iteration %d", i))
  after <- forgetful(em$estep(error$theta, em$data), em$data)
  expect_lt(em$log_evidence(after, em$data), em$log_evidence(error$theta, em$data))
})

test_that("theta may be a matrix", {
  states <- c(1, 1, 2, 1, 2, 2, 2, 1, 1, 2)
  counts <- unclass(table(states[-10], states[-1]))
  fit <- fit_em(matrix(0.5, 2, 2), function(theta) theta,
                function(q) matrix(counts / rowSums(counts), 2),
                function(theta) sum(counts * log(theta)))
  expect_equal(theta(fit, as_start = TRUE), matrix(counts / rowSums(counts), 2))
  expect_identical(names(theta(fit))[3], "theta[1,2]")
  # Each row a binomial share.
  expect_equal(vcov(fit)[[1]], prod(counts[1, ]) / sum(counts[1, ])^3, tolerance = 1e-4)
})

test_that("arguments are checked", {
  em <- em_gallery$linkage
  refused <- function(...) {
    given <- utils::modifyList(em[c("start", "estep", "mstep", "data")], list(...))
    expect_error(do.call(fit_em, given), class = "elbo_error_argument")
  }
  refused(start = "a")
  refused(start = c(p = NA_real_))
  refused(estep = 1)
  refused(log_evidence = 1)
  refused(lower = c(q = 0))
  refused(lower = 0.5)
  refused(lower = 1, upper = 0)
  refused(upper = list(p = 1))
  refused(lower = c(0, 0))
  refused(control = list())
})
