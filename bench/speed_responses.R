# fit_glmm() with binomial and Poisson responses beside lme4::glmer() and glmmTMB::glmmTMB(): the
# whole call, from formula to fit, on the same data in the same run, in processor time.
#
#   Rscript bench/speed_responses.R [case ...]     all cases, or those named; writes
#                                                  speed_responses.csv where all were run
#
# Small data: the best of several calls in one process after a call to warm up, of us and of them.
# `quadrature` is our default (nodes grow until nothing moves) beside glmer(nAGQ = 10); `laplace`
# is one node beside glmer() and glmmTMB().  Log-likelihoods of glmer(nAGQ > 1) leave constants
# out, so that only ours is shown.  Data sets: lme4 has cbpp, VerbAgg and grouseticks; toenail and
# contraception are read from ELBO_DATA (../shared/data), and left out where they are not there.

library(elbo)
Sys.setenv(OMP_NUM_THREADS = 1)

read_data <- function(name) {
  file <- file.path(Sys.getenv("ELBO_DATA", "../shared/data"), "glmm", paste0(name, ".csv"))
  if (file.exists(file)) utils::read.csv(file)
}

of_lme4 <- function(name) {
  e <- new.env()
  utils::data(list = name, package = "lme4", envir = e)
  e[[name]]
}

contraception <- function() {
  d <- read_data("contraception")
  if (is.null(d)) return()
  d$use <- as.numeric(d$use == "Y")
  d$kids <- as.numeric(d$livch != "0")
  d
}

# Groups of n / m rows with an intercept each, rare events as in a log of clicks.
simulated <- function(n, m, sd = 0.8, intercept = -2) {
  set.seed(31)
  d <- data.frame(x1 = stats::rnorm(n), x2 = stats::rnorm(n), x3 = stats::rbinom(n, 1, 0.3),
                  x4 = stats::rnorm(n), group = sample(rep_len(seq_len(m), n)))
  x <- intercept + 0.3 * d$x1 - 0.2 * d$x2 + 0.4 * d$x3 + sd * stats::rnorm(m)[d$group]
  d$y <- stats::rbinom(n, 1, stats::plogis(x))
  d
}

simulated_crossed <- function(n, students, items) {
  set.seed(32)
  d <- data.frame(x = stats::rnorm(n), student = sample(rep_len(seq_len(students), n)),
                  item = sample(rep_len(seq_len(items), n)))
  x <- 0.5 * d$x + stats::rnorm(students)[d$student] + 0.7 * stats::rnorm(items)[d$item]
  d$y <- stats::rbinom(n, 1, stats::plogis(x))
  d
}

clicks <- y ~ x1 + x2 + x3 + x4 + (1 | group)
cases <- list(
  cbpp = list(cbind(incidence, size - incidence) ~ period + (1 | herd), binomial(),
              function() of_lme4("cbpp"), times = 20),
  toenail = list(outcome != "none or mild" ~ treatment * time + (1 | patientID), binomial(),
                 function() read_data("toenail"), times = 5),
  contraception = list(use ~ age * kids + I(age^2) + urban + (1 | district),
                       binomial(), function() contraception(), times = 5),
  grouseticks = list(TICKS ~ YEAR + I(HEIGHT - mean(HEIGHT)) + (1 | BROOD), poisson(),
                     function() of_lme4("grouseticks"), times = 10),
  grouseticks3 = list(TICKS ~ YEAR + I(HEIGHT - mean(HEIGHT)) + (1 | BROOD) + (1 | INDEX) +
                        (1 | LOCATION), poisson(), function() of_lme4("grouseticks"), times = 5),
  VerbAgg = list(r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item), binomial(),
                 function() of_lme4("VerbAgg"), times = 3),
  crossed1e5 = list(y ~ x + (1 | student) + (1 | item), binomial(),
                    function() simulated_crossed(1e5, 2000, 200), times = 1),
  clicks = list(clicks, binomial(), function() simulated(61895, 5000), times = 3),
  # glmer and glmmTMB would take the rest of the day.
  clicks1e6 = list(clicks, binomial(), function() simulated(1e6, 1e5), times = 1, alone = TRUE)
)

fits <- list(
  elbo_quadrature = function(f, d, family) fit_glmm(f, d, family),
  elbo_laplace = function(f, d, family) {
    fit_glmm(f, d, family, control = elbo_control(quadrature = 1L))
  },
  glmer_10 = function(f, d, family) lme4::glmer(f, d, family, nAGQ = 10),
  glmer_laplace = function(f, d, family) lme4::glmer(f, d, family),
  glmmTMB = function(f, d, family) glmmTMB::glmmTMB(f, d, family)
)

# The fastest of several calls, which other work on the machine disturbs least.
processor_seconds <- function(fit, times) {
  min(vapply(seq_len(times), function(i) sum(system.time(fit())[c(1, 2, 4, 5)]), 0))
}

measure <- function(name) {
  case <- cases[[name]]
  d <- case[[3]]()
  if (is.null(d)) return()
  factors <- length(gregexpr("|", deparse1(case[[1]]), fixed = TRUE)[[1]])
  rows <- lapply(names(fits), function(package) {
    ours <- startsWith(package, "elbo")
    # Of several factors there is Laplace's method alone.
    if (factors > 1 && package %in% c("elbo_quadrature", "glmer_10")) return()
    if (!ours && (isTRUE(case$alone) || !requireNamespace(sub("_.*", "", sub("glmer.*", "lme4",
                                                          package)), quietly = TRUE))) return()
    fit <- NULL
    once <- function() fit <<- suppressWarnings(suppressMessages(
      fits[[package]](case[[1]], d, case[[2]])
    ))
    if (case$times > 1) once()
    seconds <- processor_seconds(once, if (ours) case$times else min(case$times, 2))
    data.frame(case = name, rows = nrow(d), fit = package, seconds = signif(seconds, 3),
               loglik = if (package == "glmer_10") NA
                        else round(as.numeric(stats::logLik(fit)), 4),
               nodes = if (ours) convergence(fit)$nodes else NA)
  })
  result <- do.call(rbind, rows)
  print(result, row.names = FALSE)
  result
}

# How many times slower the peers are.
ratios <- function(results) {
  seconds <- function(case, fit) {
    found <- results$seconds[results$case == case & results$fit == fit]
    if (length(found) == 1) found else NA
  }
  table <- data.frame(case = unique(results$case))
  pair <- function(theirs, ours) vapply(table$case, function(case) {
    round(seconds(case, theirs) / seconds(case, ours), 1)
  }, 0)
  table$quadrature_of_glmer10 <- pair("glmer_10", "elbo_quadrature")
  table$laplace_of_glmer <- pair("glmer_laplace", "elbo_laplace")
  table$laplace_of_glmmTMB <- pair("glmmTMB", "elbo_laplace")
  table
}

asked <- commandArgs(TRUE)
results <- do.call(rbind, lapply(if (length(asked)) asked else names(cases), measure))
print(ratios(results), row.names = FALSE)
if (length(asked) == 0) {
  utils::write.csv(results, "bench/speed_responses.csv", row.names = FALSE, quote = FALSE)
}
