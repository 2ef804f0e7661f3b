fit <- fit_of("chicks")

# Huber's covariance by hand, from the dense covariance of the rows: the scores of groups are
# X'V^-1 (y - X beta).
group_scores_by_hand <- function(fit) {
  Z <- fit$design$Z
  group <- fit$design$groups[[1]]
  V <- Z %*% latent_law(fit) %*% t(Z) * outer(group, group, `==`) + diag(residual_sd(fit)^2)
  rowsum(fit$design$X * drop(solve(V, fit$design$y - fit$design$X %*% coef(fit))), group)
}

test_that("scores are summed by group, the only independent ones", {
  scores <- sandwich::estfun(fit)
  expect_identical(dim(scores), c(578L, 8L))
  by_hand <- group_scores_by_hand(fit)
  expect_equal(rowsum(scores, chicks$Chick), by_hand, tolerance = 1e-7, ignore_attr = TRUE)
  expect_equal(sum(rowSums(scores != 0) > 0), 50)
  expect_equal(sandwich::bread(fit), 578 * vcov(fit))
  expect_equal(sandwich::sandwich(fit), vcov(fit) %*% crossprod(by_hand) %*% vcov(fit),
               ignore_attr = TRUE)
})

test_that("without a cluster the covariance is by group, as clubSandwich has it for lmer", {
  skip_if_not_installed("clubSandwich")
  peer <- fit_of("chicks_lmer")
  by_group <- as.matrix(clubSandwich::vcovCR(peer, type = "CR0"))
  expect_equal(sandwich::sandwich(fit), by_group, tolerance = 1e-4, ignore_attr = TRUE)
  # vcovCL() has the factor of small samples G / (G - 1) by default.
  expect_equal(sandwich::vcovCL(fit), by_group * 50 / 49, tolerance = 1e-4, ignore_attr = TRUE)
  expect_equal(sandwich::vcovCL(fit, cluster = ~ Chick), sandwich::vcovCL(fit))
  expect_equal(sandwich::vcovCL(fit, cluster = chicks$Chick, cadjust = FALSE), by_group,
               tolerance = 1e-4, ignore_attr = TRUE)
  expect_equal(sandwich::vcovOPG(fit), solve(crossprod(group_scores_by_hand(fit))),
               ignore_attr = TRUE, tolerance = 1e-6)
})

test_that("clusters may be of several groups, by name, by formula or as characters", {
  barns <- transform(chicks, name = as.character(Chick), barn = as.integer(Chick) %/% 10)
  named <- fit_glmm(weight ~ Time * Diet + (Time | name), barns, method = "reml")
  expect_equal(sandwich::vcovCL(named, cluster = ~ name), sandwich::vcovCL(fit), tolerance = 1e-6)
  expect_equal(sandwich::vcovCL(named, cluster = ~ barn), sandwich::vcovCL(fit, barns$barn),
               tolerance = 1e-6)
  gaps <- transform(barns, weight = replace(weight, c(2, 300), NA))
  some <- fit_glmm(weight ~ Time + (1 | name), gaps)
  rows <- fit_glmm(weight ~ Time + (1 | name), gaps[!is.na(gaps$weight), ])
  expect_equal(sandwich::vcovCL(some, cluster = ~ barn), sandwich::vcovCL(rows, cluster = ~ barn))
  expect_equal(sandwich::vcovCL(some, cluster = barns$barn),
               sandwich::vcovCL(rows, cluster = ~ barn))
})

test_that("a linear model has rows for clusters", {
  flat <- fit_glmm(weight ~ Time * Diet, chicks)
  peer <- lm(weight ~ Time * Diet, chicks)
  expect_equal(sandwich::sandwich(flat), sandwich::sandwich(peer), tolerance = 1e-6)
  expect_equal(sandwich::vcovHC(flat, "HC0"), sandwich::vcovHC(peer, "HC0"), tolerance = 1e-6)
  expect_equal(sandwich::vcovCL(flat, cluster = ~ Chick, type = "HC0"),
               sandwich::vcovCL(peer, cluster = ~ Chick, type = "HC0"), tolerance = 1e-6)
})

test_that("what takes rows for independent or for a series is refused", {
  refused <- "elbo_error_not_available"
  expect_error(sandwich::vcovHC(fit), "vcovCL", class = refused)
  expect_error(sandwich::vcovHC(fit, type = "HC0"), "vcovCL", class = refused)
  expect_error(sandwich::NeweyWest(fit), "vcovCL", class = refused)
  expect_error(sandwich::vcovHAC(fit), "vcovCL", class = refused)
  expect_error(sandwich::vcovPL(fit), "vcovCL", class = refused)
  expect_error(sandwich::vcovBS(fit), "bootstrap", class = refused)
  expect_error(sandwich::vcovCL(fit, type = "HC3"), "CR2", class = "elbo_error_argument")
  for (cluster in list(chicks$Time, ~ Time)) {
    expect_error(sandwich::vcovCL(fit, cluster = cluster), "divides the group 1 of `Chick`",
                 class = "elbo_error_argument")
  }
  curved <- fit_glmm(weight ~ s(Time) + (1 | Chick), chicks)
  expect_error(sandwich::vcovCL(curved), "tie all rows", class = "elbo_error")
})

test_that("sandwich meets every kind of fit", {
  likelihood <- c("em", "reml", "meta")
  others <- setdiff(table_kinds, likelihood)
  expect_tool("sandwich()", sandwich::sandwich, works = likelihood, refused = others)
  expect_tool("vcovCL()", sandwich::vcovCL, works = likelihood, refused = others)
  expect_tool("vcovHC()", sandwich::vcovHC, refused = table_kinds)
})
