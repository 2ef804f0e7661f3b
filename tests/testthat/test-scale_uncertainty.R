# Dense references, straight from the definitions: V and its derivatives, and the maps from y to
# estimates and latent variables, differentiated numerically.

dense_model <- function(fit) {
  X <- cbind(model.matrix(fit), design_of(fit)$B)[, seq_along(coef(fit)), drop = FALSE]
  Z <- model.matrix(fit, "random")
  same <- outer(the_group(design_of(fit)), the_group(design_of(fit)), "==")
  weight <- weights(fit)
  level <- design_of(fit)$level
  # psi: variances and covariances of one block by columns of its lower triangle, residual
  # variances, variances of curves.
  q <- ncol(Z)
  lower <- which(lower.tri(diag(q), diag = TRUE), arr.ind = TRUE)
  lower <- lower[order(lower[, 1] != lower[, 2]), , drop = FALSE] # variances first
  B <- design_of(fit)$B
  V_k <- c(
    apply(lower, 1, function(ij) {
      G <- matrix(0, q, q)
      G[rbind(ij, rev(ij))] <- 1
      (Z %*% G %*% t(Z)) * same
    }, simplify = FALSE),
    if (!design_of(fit)$known_se) {
      lapply(seq_len(max(1, nlevels(level))), function(l) {
        diag((if (is.null(level)) 1 else as.integer(level) == l) / weight)
      })
    },
    if (!is.null(B)) list(tcrossprod(B))
  )
  psi <- c(latent_law(fit)[lower], if (!design_of(fit)$known_se) unname(sigma(fit))^2,
           if (!is.null(B)) theta(fit)[parameters_of(fit)$block == "smooth"]^2)
  known <- if (design_of(fit)$known_se) diag(1 / weight) else 0
  list(X = X, Z = Z, group = the_group(design_of(fit)), V_k = V_k, psi = unname(psi), lower = lower,
       q = q,
       V = function(psi) known + Reduce(`+`, Map(`*`, V_k, psi)))
}

dense_information <- function(model, psi = model$psi) {
  W <- solve(model$V(psi))
  X <- model$X
  P <- W - W %*% X %*% solve(t(X) %*% W %*% X, t(X) %*% W)
  PV <- lapply(model$V_k, function(V) P %*% V)
  outer(seq_along(PV), seq_along(PV), Vectorize(function(k, l) sum(PV[[k]] * t(PV[[l]])) / 2))
}

# The matrices that make coefficients of y, and the latent vector of a group of y - X beta.
gls_map <- function(model, psi) {
  W <- solve(model$V(psi))
  solve(t(model$X) %*% W %*% model$X, t(model$X) %*% W)
}
blup_map <- function(model, psi, g) {
  Sigma <- matrix(0, model$q, model$q)
  Sigma[model$lower] <- psi[seq_len(nrow(model$lower))]
  Sigma[model$lower[, 2:1, drop = FALSE]] <- psi[seq_len(nrow(model$lower))]
  rows <- model$group == g
  out <- matrix(0, model$q, nrow(model$X))
  out[, rows] <- Sigma %*% t(model$Z[rows, , drop = FALSE]) %*% solve(model$V(psi)[rows, rows])
  out
}

# sum_kl A_kl D_k V D_l', D_k the derivative of a map by psi_k.
added_error <- function(model, map, A, psi = model$psi) {
  D <- lapply(seq_along(psi), function(k) {
    step <- 1e-5 * max(psi[k], 0.01)
    (map(replace(psi, k, psi[k] + step)) - map(replace(psi, k, psi[k] - step))) / (2 * step)
  })
  V <- model$V(psi)
  out <- 0
  for (k in seq_along(D)) for (l in seq_along(D)) out <- out + A[k, l] * D[[k]] %*% V %*% t(D[[l]])
  out
}

set.seed(8)
rows <- data.frame(x = rnorm(72), f = gl(2, 1, 72), g = gl(9, 8), w = rep(1:3, 24))
rows$y <- 1 + rows$x + rnorm(9)[rows$g] + 0.7 * rnorm(9)[rows$g] * rows$x + rnorm(72) / sqrt(rows$w)

reml_fits <- function() {
  list(
    fit_glmm(y ~ x + (x | g), rows, method = "reml", weights = w),
    fit_glmm(y ~ x + (1 | g), rows, method = "reml", sigma = ~ f),
    fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se, method = "reml")
  )
}

test_that("the expected information is that of its definition", {
  curve <- fit_glmm(y ~ s(x, k = 5) + (1 | g), rows, method = "reml", sigma = ~ f)
  fits <- c(reml_fits(), list(curve))
  for (fit in fits) {
    expect_equal(scale_information(fit)$information, dense_information(dense_model(fit)),
                 tolerance = 1e-8)
  }
})

test_that("estimated variances add the error that their estimates make", {
  for (fit in reml_fits()[1:2]) {
    model <- dense_model(fit)
    A <- solve(dense_information(model))
    variances <- seq_len(model$q)
    expect_true(all(diag(A)[variances] < model$psi[variances]^2)) # off zero
    excess <- scale_excess(fit)
    L <- added_error(model, function(psi) gls_map(model, psi), A)
    expect_equal(unname(excess$C), 2 * L, tolerance = 1e-5, ignore_attr = TRUE)
    for (g in 1:2) {
      G <- added_error(model, function(psi) blup_map(model, psi, levels(model$group)[g]), A)
      expect_equal(excess$cov[, , g], 2 * G, tolerance = 1e-5, ignore_attr = TRUE)
    }
  }
})

test_that("the mean squared error of a balanced layout is its closed form, at zero too", {
  # m means with known variance D: tau^2 = S / (m - 1) - D, A = 2 (D + tau^2)^2 / (m - 1), and by
  # Prasad and Rao (1990) 2 g3 = 2 A D^2 / (D + tau^2)^3, here with tau^2 at least one root of A (at
  # zero).
  m <- 12
  for (spread in c(1.5, 0.2)) {
    y <- spread * scale(seq_len(m))[, 1]
    d <- data.frame(y, g = seq_len(m), se = 1)
    fit <- fit_glmm(y ~ 1 + (1 | g), d, se = se, method = "reml")
    tau2 <- max(0, spread^2 - 1)
    expect_equal(theta(fit)[[2]]^2, tau2, tolerance = 1e-6)
    at <- max(tau2, sqrt(2 * (1 + tau2)^2 / (m - 1)))
    B <- tau2 / (1 + tau2)
    mse <- B + B^2 * (1 + tau2) / m + 2 * (2 * (1 + at)^2 / (m - 1)) / (1 + at)^3
    expect_equal(latent(fit)$sd, rep(sqrt(mse), m), tolerance = 1e-6)
    expect_equal(latent(fit, type = "conditional")$sd, rep(sqrt(B + B^2 * (1 + tau2) / m), m),
                 tolerance = 1e-6)
    expect_equal(fit_df(fit), m - 1, tolerance = 1e-6)
  }
  # em has its bias put back: b = -(1 + tau^2) / (m - 1), times the slope 1 / (1 + tau^2)^2.
  em <- fit_glmm(y ~ 1 + (1 | g), d, se = se)
  expect_gt(min(latent(em)$sd), 0)
})

test_that("where a variance is zero degrees of freedom are those of the groups", {
  skip_if_not_installed("lme4")
  # Balanced, six batches: with the pooled variance, 6 - 1.
  for (method in c("em", "reml")) {
    fit <- fit_glmm(Yield ~ 1 + (1 | Batch), lme4::Dyestuff2, method = method)
    expect_equal(theta(fit)[["sd__(Intercept)|Batch"]], 0)
    expect_equal(fit_df(fit), 5, tolerance = 1e-8)
  }
  # A covariate between ten groups: 10 - 2, for the intercept too; one within them has the rows.
  set.seed(2)
  d <- data.frame(g = gl(10, 6), z = rep(rnorm(10), each = 6), t = rep(-2.5:2.5, 10))
  d$y <- rnorm(60)
  d$y <- d$y - ave(d$y, d$g) + 0.05 * rep(rnorm(10), each = 6)
  fit <- fit_glmm(y ~ z + t + (1 | g), d, method = "reml")
  expect_true(any(parameters_of(fit)$boundary))
  # Within: 60 rows less 3 coefficients, the groups' variance not known apart.
  expect_equal(fit_df(fit)[1:2], c(8, 8), tolerance = 1e-6)
  expect_gt(fit_df(fit)[3], 40)
  expect_equal(predict(fit, d[1, ], re.form = NA, interval = "confidence")[, "upr"],
               predict(fit, d[1, ], re.form = NA) +
                 qt(0.975, fit_df(fit, t(model.matrix(fit)[1, ]))) *
                 predict(fit, d[1, ], re.form = NA, se.fit = TRUE)$se.fit, ignore_attr = TRUE)
  # As many coefficients between the groups as groups: nothing is known of their variance.
  saturated <- fit_glmm(y ~ g + (1 | g), d)
  expect_true(all(is.na(fit_df(saturated))))
})

test_that("a precise study does not make the others certain", {
  # One of seven standard errors is 20 to 350 times smaller; em puts the variance at zero.
  fit <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se)
  expect_equal(theta(fit)[[2]], 0)
  reml <- latent(update(fit, method = "reml"))
  # The scale of the restricted fit, not zero and not a multiple of it.
  expect_true(all(latent(fit)$sd > 0.5 * reml$sd & latent(fit)$sd < 2 * reml$sd))
})

test_that("a random term that fixed effects reach takes the df of those alone, and is told", {
  set.seed(1)
  d <- data.frame(x = rnorm(60), g = gl(6, 10), f = gl(2, 1, 60))
  d$y <- d$x + rnorm(6)[d$g] + rnorm(60)
  d$same <- d$f
  fit <- fit_glmm(y ~ f + x + (1 | g) + (1 | same), d)
  df <- summary(fit)$coefficients[, "df"]
  alone <- summary(update(fit, . ~ f + x + (1 | g)))$coefficients[, "df"]
  expect_identical(is.na(df), c("(Intercept)" = TRUE, f2 = TRUE, x = FALSE))
  expect_equal(df[["x"]], alone[["x"]], tolerance = 0.1)
  expect_output(print(fit), "no degrees of freedom")
})
