# The contract of a fit (R/elbo_fit.R): what a class of a few lines gets from the parent.

set.seed(1)
toy_y <- c(4.2, 5.1, 3.9, 6.3, 5.5, 4.8, 5.0, 4.4)
toy <- fit_toy(toy_y, 3)
posterior_toy <- fit_toy(toy_y, 3, method = "vb")

test_that("estimates, covariances and intervals follow from theta and its table", {
  sigma <- sd(toy_y) * sqrt(7 / 8)
  expect_equal(c(theta(toy)), c(mean__y = mean(toy_y), sigma = sigma, prob__heads = 3 / 8),
               ignore_attr = TRUE)
  expect_equal(coef(toy), c(mean__y = mean(toy_y), prob__heads = 3 / 8))
  se <- c(sigma / sqrt(8), sigma / 4, sqrt(3 / 8 * 5 / 8 / 8))
  expect_equal(unname(sqrt(diag(vcov(toy, full = TRUE)))), se)
  expect_identical(dimnames(vcov(toy)), rep(list(c("mean__y", "prob__heads")), 2))
  # On the scale of each: as it is, log, logit.
  limits <- rbind(mean(toy_y) + c(-1, 1) * qnorm(0.975) * se[1],
                  sigma * exp(c(-1, 1) * qnorm(0.975) * se[2] / sigma),
                  plogis(qlogis(3 / 8) + c(-1, 1) * qnorm(0.975) * se[3] / (3 / 8 * 5 / 8)))
  expect_equal(confint(toy), limits, ignore_attr = TRUE)
  expect_identical(rownames(confint(toy, "beta_")), names(coef(toy)))
  expect_error(confint(toy, type = "profile"), class = "elbo_error_argument")
})

test_that("likelihood and criteria follow from the objective", {
  log_lik <- sum(dnorm(toy_y, mean(toy_y), theta(toy)["sigma"], log = TRUE)) +
    dbinom(3, 8, 3 / 8, log = TRUE)
  expect_equal(as.numeric(logLik(toy)), log_lik)
  expect_equal(AIC(toy), -2 * log_lik + 6)
  expect_equal(BIC(toy), -2 * log_lik + 3 * log(8))
  expect_identical(df.residual(toy), 5L)
  expect_equal(deviance(toy), -2 * log_lik)
  expect_error(logLik(posterior_toy), class = "elbo_error_loglik")
  expect_error(logLik(toy, REML = TRUE), class = "elbo_error_not_available")
})

test_that("it prints, and is summarised, as every fit", {
  local_reproducible_output(width = 80)
  expect_snapshot(toy)
  expect_snapshot(summary(toy))
  expect_snapshot(summary(posterior_toy))
})

test_that("it makes tables", {
  tidied <- tidy(toy, conf.int = TRUE)
  expect_identical(tidied$term, c("mean.y", "sd__Observation", "prob.heads"))
  expect_identical(tidied$effect, c("fixed", "ran_pars", "fixed"))
  expect_equal(tidied$conf.low, unname(confint(toy)[, 1]))
  expect_equal(tidied$statistic, c(theta(toy)[[1]] / tidied$std.error[1], NA, NA))
  facts <- glance(toy)
  expect_identical(names(facts), c("nobs", "logLik", "AIC", "BIC", "df.residual", "elbo", "method",
                                   "converged", "iterations"))
  expect_equal(facts$logLik, as.numeric(logLik(toy)))
})

test_that("it is updated by its call, and compared", {
  other <- update(toy, heads = 5)
  expect_equal(theta(other)[["prob__heads"]], 5 / 8)
  expect_equal(theta(other)[["mean__y"]], mean(toy_y))
  expect_error(update(toy, . ~ 1), "formula", class = "elbo_error_argument")
  both <- compare_fits(toy, other)
  expect_equal(both$estimate, c(theta(toy), theta(other)), ignore_attr = TRUE)
  expect_output(print(both), "prob heads")
  expect_silent(plot(both))
})

# ---- all of it -----------------------------------------------------------------------------

# How a generic is called where the fit alone is not enough.
toy_calls <- list(
  knit_print = function(f, fit) f(fit, options = list()),
  set_coef = function(f, fit) f(fit, coef(fit)),
  anova = function(f, fit) f(fit, update(fit, heads = 4), test = "chisq"),
  lrtest = function(f, fit) f(fit, update(fit, heads = 4)),
  write_summary = function(f, fit) f(fit, summary(fit)),
  summary_markdown = function(f, fit) f(fit, summary(fit)),
  summary_words = function(f, fit) f(fit, summary(fit)),
  tidy_rows = function(f, fit) f(fit, "fixed", NULL, 0.95),
  evidence_by = function(f, fit) f(fit, NULL),
  posterior_theta = function(f, fit) f(fit, 5),
  parameter_limits = function(f, fit) f(fit, 1:2, theta(fit)[1:2], c(0.1, 0.1)),
  check_compared = function(f, fit) f(fit, list(fit, fit)),
  ratio_law = function(f, fit) f(fit, fit),
  draw_picture = function(f, fit) f(fit, "objective", 0.95),
  ggplot_picture = function(f, fit) f(fit, "objective", 0.95),
  follow_formula = function(f, fit) f(fit, quote(fit_toy())),
  rope = function(f, fit) f(fit, range = c(-0.1, 0.1)),
  p_rope = function(f, fit) f(fit, range = c(-0.1, 0.1)),
  p_significance = function(f, fit) f(fit, threshold = 0.1),
  equivalence_test = function(f, fit) f(fit, range = c(-0.1, 0.1))
)

# What tells a user, in a class of error, that a model lacks it: one sentence for each.
toy_lacks <- c("anova_terms", "bootstrap_ratio")

# Generics with a method for the parent class, as NAMESPACE has them: generic and its package.
parent_generics <- function() {
  lines <- parse(system.file("NAMESPACE", package = "elbo"), keep.source = FALSE)
  methods <- Filter(function(line) {
    identical(line[[1]], quote(S3method)) && identical(as.character(line[[3]]), "elbo_fit")
  }, as.list(lines))
  lapply(methods, function(line) {
    generic <- as.character(line[[2]])
    if (length(generic) == 3) list(package = generic[2], name = generic[3])
    else list(package = NULL, name = generic)
  })
}

test_that("every generic that the parent answers answers for it", {
  grDevices::pdf(NULL)
  withr::defer(grDevices::dev.off())
  generics <- parent_generics()
  expect_gt(length(generics), 60)
  for (generic in generics) {
    if (!is.null(generic$package) && !requireNamespace(generic$package, quietly = TRUE)) next
    if (generic$name %in% toy_lacks) next
    if (generic$name == "spi" && !requireNamespace("quadprog", quietly = TRUE)) next # it needs that
    method <- get(paste0(generic$name, ".elbo_fit"), asNamespace("elbo"))
    call <- toy_calls[[generic$name]]
    if (is.null(call)) call <- function(f, fit) f(fit)
    of_posterior <- identical(generic$package, "bayestestR") ||
      generic$name %in% c("as_draws", "posterior_interval", "posterior_summary")
    fit <- if (of_posterior) posterior_toy else toy
    answer <- NULL
    utils::capture.output(answer <- tryCatch(suppressMessages(call(method, fit)),
                                             error = function(e) e))
    fault <- if (inherits(answer, "error")) conditionMessage(answer)
    expect_null(fault, label = paste0(generic$name, "(toy)"))
  }
})

# ---- what a class forgets ------------------------------------------------------------------

test_that("what a class forgot is named", {
  elements <- unclass(toy)
  attr(elements, "cluster") <- NULL
  without <- function(name) elements[setdiff(names(elements), name)]
  forgot <- function(x, class = "elbo_toy", pattern) {
    expect_error(new_elbo_fit(x, class), pattern, class = "elbo_error_contract")
  }
  forgot(without("trace"), pattern = "no `trace`")
  forgot(without(c("theta", "call")), pattern = "no `call` and `theta`")
  forgot(elements, "elbo_nothing", "no method for nobs\\(\\) and theta_covariance\\(\\)")
  wrong <- elements
  wrong$parameters$role[2] <- "beauty"
  forgot(wrong, pattern = "role beauty")
  wrong <- elements
  names(wrong$theta)[1] <- "mu"
  forgot(wrong, pattern = "names of `theta`")
  wrong <- elements
  attr(wrong$theta, "fixed") <- c(TRUE, FALSE, FALSE)
  forgot(wrong, pattern = "`fixed`")
  wrong <- elements
  wrong$parameters$group <- NULL
  forgot(wrong, pattern = "no `group` in `parameters`")
  wrong <- elements
  wrong$trace$kl <- NULL
  forgot(wrong, pattern = "no `kl` in `trace`")
  wrong <- elements
  wrong$convergence$message <- NULL
  forgot(wrong, pattern = "no `message` in `convergence`")
})
