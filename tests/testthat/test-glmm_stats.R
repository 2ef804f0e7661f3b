# Kept statistics: chunks of rows, added and merged, give the fit of one pass.

nist_sets <- c("AtmWtAg", "SmLs01", "SmLs03", "SmLs06")

rows_of <- function(design, i) {
  rows <- glmm_rows(design)
  for (part in c("X", "Z")) rows[[part]] <- rows[[part]][i, , drop = FALSE]
  parts <- c("y", "weight", "group", "level")
  rows[parts] <- lapply(rows[parts], function(x) if (!is.null(x)) x[i])
  rows
}

# Statistics of the design in chunks: a list of row numbers, each added to an empty vector about
# the shifts of a survey of all chunks.
chunk_stats <- function(fit, chunks) {
  design <- design_of(fit)
  survey <- Reduce(function(a, b) .Call(C_glmm_survey_merge, a, b),
                   lapply(chunks, function(i) .Call(C_glmm_survey, rows_of(design, i))))
  shape <- list(p = ncol(design$X), q = ncol(design$Z), n_group = nlevels(the_group(design)),
                n_level = max(1L, nlevels(design$level)), n_smooth = 0L, n_unit = NULL)
  shape[c("p", "q")] <- lapply(shape[c("p", "q")], as.integer)
  empty <- .Call(C_glmm_stats_open, survey, shape)
  lapply(chunks, function(i) .Call(C_glmm_stats_add, empty, rows_of(design, i)))
}

merge_stats <- function(parts) Reduce(function(a, b) .Call(C_glmm_stats_merge, a, b), parts)

test_that("merged chunks say of NIST's sets what one pass says", {
  for (set in nist_sets) {
    d <- read_shared("nist", paste0(set, ".csv"))
    d$group <- factor(d$group)
    fit <- fit_glmm(y ~ 1 + (1 | group), d, method = "reml")
    n <- nobs(fit)
    parts <- chunk_stats(fit, split(seq_len(n), rep(1:7, length.out = n)))
    for (order in list(1:7, 7:1, c(3, 1, 7, 2, 6, 5, 4))) {
      merged <- fit
      merged$stats <- merge_stats(parts[order])
      at <- glmm_posterior(merged)
      expect_equal(at$objective, objective_of(fit), tolerance = 1e-12, label = set)
      expect_equal(theta(refit_method(merged, "em")), theta(refit_method(fit, "em")),
                   tolerance = 1e-8, label = set)
    }
  }
})

test_that("statistics can be saved, and what is not whole or alike is refused", {
  fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
  file <- tempfile()
  on.exit(unlink(file))
  saveRDS(stats_of(fit), file)
  again <- fit
  again$stats <- readRDS(file)
  expect_identical(confint(again, type = "profile"), confint(fit, type = "profile"))
  broken <- fit
  broken$stats <- stats_of(fit)[-1]
  expect_error(glmm_posterior(broken), "no statistics of a mixed model")
  broken$stats <- replace(stats_of(fit), 40, NaN)
  expect_error(glmm_posterior(broken), "no statistics of a mixed model")
  other <- fit_glmm(height ~ age + (age | Subject), nlme::Oxboys)
  expect_error(.Call(C_glmm_stats_merge, stats_of(fit), stats_of(other)), "different shifts")
  half <- chunk_stats(fit, list(1:50, 51:108))
  broken$stats <- half[[1]]
  expect_error(glmm_posterior(broken), "groups without rows")
})

test_that("profiles, the bootstrap and refits by another method do not look at rows", {
  fit <- fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, sigma = ~ Sex)
  blind <- fit
  blind$design$X[] <- NaN
  blind$design$y[] <- NaN
  blind$design$Z[] <- NaN
  expect_identical(profile_table(blind, names(theta(fit)), 0.95),
                   profile_table(fit, names(theta(fit)), 0.95))
  expect_identical(bootstrap(blind, 5, seed = 1)$theta, bootstrap(fit, 5, seed = 1)$theta)
  expect_identical(theta(refit_method(blind, "reml")), theta(refit_method(fit, "reml")))
})
