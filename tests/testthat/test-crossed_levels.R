# The latent variables of several factors together: products, predictions, what estimated variances
# add; against V in full and the fit of one factor.

# Z and Sigma of all N latent variables, from the design alone.
full_levels <- function(fit, design = design_of(fit)) {
  law <- latent_law(fit)
  Z <- Sigma <- NULL
  for (name in names(design$groups)) {
    k <- columns_of_group(design, name)
    group <- design$groups[[name]]
    for (g in seq_len(nlevels(group))) {
      Z <- cbind(Z, design$Z[, k, drop = FALSE] * (as.integer(group) == g))
      Sigma <- c(Sigma, list(law[k, k, drop = FALSE]))
    }
  }
  list(Z = unname(Z), Sigma = as.matrix(Matrix::bdiag(Sigma)))
}

test_that("products of all levels are those of matrices in full", {
  skip_if_not_installed("Matrix")
  d <- crossed_data(91, 120)
  d$x <- d$x + 3 # shifted in the scaled data
  fit <- suppressWarnings(fit_glmm(y ~ x + (x | a) + (1 | b) + (1 | c), d, weights = w))
  full <- full_levels(fit)
  V <- dense_parts(fit)$V
  S <- full$Sigma - full$Sigma %*% t(full$Z) %*% solve(V, full$Z %*% full$Sigma)
  N <- level_count(design_of(fit))
  expect_identical(N, ncol(full$Z))
  expect_equal(level_products(fit, diag(N), TRUE), S, tolerance = 1e-9)
  expect_equal(level_products(fit, diag(N), FALSE), t(full$Z) %*% (full$Z / residual_variance(fit)),
               tolerance = 1e-12)
  a <- cbind(d$x, d$y)
  expect_equal(level_sums(design_of(fit), a), t(full$Z) %*% a, tolerance = 1e-12)
  expect_equal(level_rows(design_of(fit), S[, 1:3]), full$Z %*% S[, 1:3], tolerance = 1e-12)
  traces <- level_traces(fit, theta_parts(fit))
  W <- solve(V)
  moves <- Map(function(a, b) {
    law <- replace(0 * latent_law(fit), cbind(c(a, b), c(b, a)), 1)
    part <- columns_of_group(design_of(fit), column_groups(design_of(fit))[a])
    group <- design_of(fit)$groups[[column_groups(design_of(fit))[a]]]
    Z <- design_of(fit)$Z[, part, drop = FALSE]
    W %*% (Z %*% law[part, part] %*% t(Z) * outer(group, group, `==`))
  }, traces$a, traces$b)
  moves <- c(moves, list(W %*% diag(1 / d$w)))
  expected <- outer(seq_along(moves), seq_along(moves), Vectorize(function(i, j) {
    sum(moves[[i]] * t(moves[[j]]))
  }))
  expect_equal(traces$traces, expected, tolerance = 1e-6) # differences of first derivatives
})

test_that("entries on the pattern are those of products", {
  # level_products() solves for whole columns, level_spread() knows the pattern alone.
  agree <- function(fit, tolerance) {
    N <- level_count(design_of(fit))
    i <- rep(seq_len(N), N)
    j <- rep(seq_len(N), each = N)
    for (known in list(known_levels(fit), scale_excess(fit))) {
      full <- known$times(diag(N))
      entries <- known$entries(i, j)
      expect_false(anyNA(entries[i == j]))
      expect_lt(max(abs(entries - as.vector(full)), na.rm = TRUE), tolerance * max(abs(full)))
    }
  }
  d <- crossed_data(95, 200)
  d$x <- d$x + 2
  d$f <- d$d
  suppressWarnings({
    agree(fit_glmm(y ~ x + (1 | a) + (1 | b), d), 1e-11)
    agree(fit_glmm(y ~ x + (x | a) + (1 | b) + (1 | c), d, weights = w), 1e-10)
    agree(fit_glmm(y ~ x + (x | a) + (1 | b), d, sigma = ~ f, method = "reml"), 1e-10)
    agree(fit_glmm(y ~ x + s(x) + (1 | a) + (1 | b), d), 1e-10)
  })
})

test_that("where a correlation is at its bound, entries are found beside it", {
  # At Sigma and twice as far off by 1e-4 of the sampling variance: an error of its square.
  d <- crossed_data(96, 150)
  d$y <- d$x + rnorm(12)[d$a] * (1 + d$x) + rnorm(8)[d$b] + rnorm(150)
  fit <- suppressWarnings(fit_glmm(y ~ x + (x | a) + (1 | b), d))
  expect_equal(abs(theta(fit)[["cor__(Intercept).x|a"]]), 1)
  N <- level_count(design_of(fit))
  excess <- scale_excess(fit)
  full <- excess$times(diag(N))
  expect_lt(max(abs(excess$entries(seq_len(N), seq_len(N)) - diag(full))), 1e-6 * max(full))
})

test_that("standard errors of predictions have the covariances between factors in them", {
  skip_if_not_installed("Matrix")
  d <- crossed_data(92, 120)
  for (method in c("em", "reml")) {
    fit <- suppressWarnings(fit_glmm(y ~ x + (x | a) + (1 | b), d, weights = w, method = method))
    full <- full_levels(fit)
    parts <- dense_parts(fit)
    W <- solve(parts$V)
    C <- solve(t(parts$X) %*% W %*% parts$X)
    P <- W - W %*% parts$X %*% C %*% t(parts$X) %*% W
    # Henderson (1975): the covariance of (betahat - beta, uhat - u), variances known.
    SZ <- full$Sigma %*% t(full$Z)
    U <- full$Sigma - SZ %*% P %*% t(SZ)
    CU <- -C %*% t(parts$X) %*% W %*% t(SZ)
    mse <- function(X, Z) rowSums((X %*% C) * X) + rowSums((Z %*% U) * Z) +
      2 * rowSums((X %*% CU) * Z)
    known <- mse(parts$X, full$Z)
    place <- level_places(design_of(fit))
    expect_equal(level_variance(parts$X, design_of(fit)$Z, place, known_levels(fit)), known,
                 tolerance = 1e-9, ignore_attr = TRUE)
    expect_equal(hatvalues(fit), known / residual_variance(fit), tolerance = 1e-9,
                 ignore_attr = TRUE)
    expect_true(all(predict(fit, se.fit = TRUE)$se.fit^2 > known))
    # A subset of the terms, and a level not seen before.
    some <- keep_terms(fit, ~ (1 | b))
    of_b <- full$Z
    of_b[, seq_len(2 * nlevels(d$a))] <- 0
    expect_equal(fixed_scale_variance(some, NULL, group_index(some, NULL, FALSE)),
                 mse(parts$X, of_b), tolerance = 1e-9, ignore_attr = TRUE)
    new <- data.frame(x = 0.5, a = "new", b = "new")
    law <- latent_law(fit)
    x <- c(1, 0.5)
    expect_equal(predict(fit, new, se.fit = TRUE, allow.new.levels = TRUE)$se.fit[[1]]^2,
                 drop(x %*% C %*% x) + drop(x %*% law[1:2, 1:2] %*% x) + law[3, 3],
                 tolerance = 1e-9)
  }
})

test_that("what estimated variances add is that of one factor, the other at next to nothing", {
  d <- crossed_data(93, 120)
  d$z <- runif(120)
  for (method in c("em", "reml")) {
    for (curve in c("", "+ s(z, k = 5)")) {
      formula <- paste("y ~ x", curve, "+ (x | a)")
      one <- fit_glmm(stats::as.formula(formula), d, weights = w, method = method)
      two <- fit_glmm(stats::as.formula(paste(formula, "+ (1 | b)")), d, weights = w,
                      method = method, prior = priors(b = constant(1e-7)))
      table <- latent(two, type = "total")
      expect_equal(table$sd[table$group != "b"], latent(one)$sd, tolerance = 1e-7)
      conditional <- latent(two, type = "conditional")
      expect_equal(conditional$sd[table$group != "b"], latent(one, type = "conditional")$sd,
                   tolerance = 1e-7)
      expect_equal(predict(two, d[1:9, ], interval = "prediction"),
                   predict(one, d[1:9, ], interval = "prediction"), tolerance = 1e-7)
      expect_equal(hatvalues(two), hatvalues(one), tolerance = 1e-8)
    }
  }
})

test_that("a sigma of each level is in what estimated variances add, and in scores", {
  d <- crossed_data(96, 200)
  law <- priors(b = constant(1e-7))
  for (method in c("em", "reml")) {
    one <- fit_glmm(y ~ x + (x | a), d, weights = w, sigma = ~ d, method = method)
    two <- fit_glmm(y ~ x + (x | a) + (1 | b), d, weights = w, sigma = ~ d, method = method,
                    prior = law)
    table <- latent(two, type = "total")
    expect_equal(table$sd[table$group == "a"], latent(one)$sd, tolerance = 1e-6)
    expect_equal(predict(two, d[1:9, ], se.fit = TRUE), predict(one, d[1:9, ], se.fit = TRUE),
                 tolerance = 1e-6)
  }
  d$b <- factor(as.integer(d$a) %/% 4)
  one <- fit_glmm(y ~ x + (x | a), d, sigma = ~ d)
  two <- fit_glmm(y ~ x + (x | a) + (1 | b), d, sigma = ~ d, prior = law)
  expect_equal(group_scores(two), rowsum(group_scores(one), tapply(as.integer(d$b), d$a, unique)),
               tolerance = 1e-6, ignore_attr = TRUE)
})

test_that("what estimated variances add is the variance of moved predictions, by simulation", {
  skip_on_cran()
  # 2 G is the mean square of how predictions move with the variances (Kackar and Harville 1984),
  # twice, to first order; one G over responses drawn at the estimates, the variances' estimates
  # taken as a step by the score and the inverse expected information.
  d <- crossed_data(94, 150, c(10, 8))
  fit <- fit_glmm(y ~ x + (1 | a) + (1 | b), d, method = "reml")
  info <- steady_information(fit)
  at <- info$at
  N <- level_count(design_of(fit))
  times <- function(E) excess_products(info, E)
  G <- level_entries(times, seq_len(N), seq_len(N), N) / 2
  full <- full_levels(standard_fit(fit))
  V <- full$Z %*% full$Sigma %*% t(full$Z) + diag(residual_variance(standard_fit(fit)))
  W <- solve(V)
  A <- t(full$Z) %*% full$Z / at$s2
  S <- at$times(diag(N), TRUE)
  moves <- lapply(at$directions, function(m) {
    if (m$kind == "latent") (diag(N) - S %*% A) %*% by_law(at$design, m$G, t(full$Z) %*% W)
    else -S %*% t(full$Z) %*% W / at$s2
  })
  expected <- 0
  for (k in seq_along(moves)) for (l in seq_along(moves)) {
    expected <- expected + info$A[k, l] * rowSums((moves[[k]] %*% V) * moves[[l]])
  }
  expect_equal(G, expected, tolerance = 1e-8)
})

test_that("the objective at any theta is that of V in full", {
  fit <- fit_glmm(y ~ x + (x | a) + (1 | b), crossed_data(95), method = "em")
  theta <- theta(fit)
  theta[] <- theta * c(1.1, 0.9, 1.2, 0.8, 0.7, 0.9, 1.05)
  parts <- dense_parts(fit, theta)
  r <- parts$y - parts$X %*% theta[1:2]
  expected <- -0.5 * (length(r) * log(2 * pi) + as.numeric(determinant(parts$V)$modulus) +
                        drop(t(r) %*% solve(parts$V, r)))
  expect_equal(elbo(fit, theta = theta), expected, tolerance = 1e-10)
  reml <- update(fit, method = "reml")
  expect_equal(elbo(reml, theta = theta), dense_log_likelihood(reml, theta), tolerance = 1e-10)
  expect_error(elbo(fit, q = list()), "several grouping factors",
               class = "elbo_error_not_available")
})

test_that("degrees of freedom at a variance of zero are by the expected information", {
  d <- data.frame(y = c(1, 3, 2, 4, 5, 4, 7, 9, 6, 8, 9, 10), a = gl(4, 3), b = gl(3, 1, 12))
  d$y <- d$y - ave(d$y, d$b)
  fit <- fit_glmm(y ~ 1 + (1 | a) + (1 | b), d, method = "reml")
  expect_identical(theta(fit)[["sd__(Intercept)|b"]], 0)
  moves <- list(outer(d$a, d$a, `==`) + 0, outer(d$b, d$b, `==`) + 0, diag(12))
  at <- function(psi) {
    W <- solve(Reduce(`+`, Map(`*`, moves, psi)))
    C <- 1 / sum(W)
    P <- W - C * rowSums(W) %o% rowSums(W)
    information <- outer(1:3, 1:3, Vectorize(function(k, l) {
      sum((P %*% moves[[k]]) * t(P %*% moves[[l]])) / 2
    }))
    slope <- vapply(moves, function(m) C^2 * sum((W %*% m %*% W)), 0)
    list(A = solve(information), C = C, slope = slope)
  }
  # Derivatives and A one standard error above zero (scale_uncertainty.R).
  psi <- c(theta(fit)[["sd__(Intercept)|a"]], 0, sigma(fit))^2
  here <- at(pmax(psi, c(sqrt(diag(at(psi)$A))[1:2], 0)))
  expect_equal(fit_df(fit), 2 * here$C^2 / drop(here$slope %*% here$A %*% here$slope),
               tolerance = 1e-6, ignore_attr = TRUE)
})

test_that("where no level varies, predictions have the standard errors of a model without levels", {
  set.seed(5)
  d <- data.frame(g = gl(6, 10), h = gl(10, 1, 60), y = rnorm(60))
  d$y <- resid(lm(y ~ g + h, d))
  fit <- fit_glmm(y ~ 1 + (1 | g) + (1 | h), d)
  expect_identical(as.vector(theta(fit))[2:3], c(0, 0))
  # The products of Var(u | y, beta) are zero, those of Z'WZ rows over the variance.
  N <- level_count(design_of(fit))
  expect_lt(max(abs(level_products(fit, diag(N), TRUE))), 1e-12)
  expect_equal(level_products(fit, diag(N), FALSE)[cbind(1:N, 1:N)],
               rep(c(10, 6), c(6, 10)) / sigma(fit)^2, tolerance = 1e-12)
  expect_equal(predict(fit, re.form = NA, se.fit = TRUE)$se.fit[[1]], sigma(fit) / sqrt(60),
               tolerance = 1e-10)
  # Of a level, what it costs not to know that nothing varies is in it too.
  expect_true(all(predict(fit, se.fit = TRUE)$se.fit > sigma(fit) / sqrt(60)))
})

test_that("coefficients that are held, or that there are none, leave predictions of levels alone", {
  set.seed(5)
  d <- data.frame(g = gl(6, 10), h = gl(10, 1, 60), x = rnorm(60))
  d$y <- 2 * d$x + rnorm(6)[d$g] + rnorm(10)[d$h] + rnorm(60)
  two <- priors(x = constant(2))
  for (method in c("em", "reml")) {
    pairs <- list(
      list(fit_glmm(y ~ x + (1 | g) + (1 | h), d, method = method, prior = two),
           fit_glmm(y ~ 1 + offset(2 * x) + (1 | g) + (1 | h), d, method = method)),
      list(fit_glmm(y ~ 0 + x + (1 | g) + (1 | h), d, method = method, prior = two),
           fit_glmm(y ~ 0 + offset(2 * x) + (1 | g) + (1 | h), d, method = method))
    )
    for (pair in pairs) {
      expect_no_warning(held <- predict(pair[[1]], se.fit = TRUE))
      expect_no_warning(offset <- predict(pair[[2]], se.fit = TRUE))
      expect_equal(held, offset, tolerance = 1e-6)
    }
  }
})
