# Several grouping factors: the whole call of fit_glmm() beside lme4::lmer() and glmmTMB::glmmTMB(),
# on the same data, each in a process of its own, so that its peak memory is its own; what it costs
# by rows, levels and terms; large sparse designs; two threads.
#
#   Rscript bench/crossed.R [quick]     writes bench/crossed.csv and crossed_cost.csv;
#                                       quick: peers without the million rows
#   Rscript bench/crossed.R peers CASE  one case alone, printed
#   Rscript bench/crossed.R cost | sparse | threads | after     one part alone, printed
#
# Seconds are processor time (user and system) on one thread, of fit_glmm() the median of five calls
# after a small one; memory is the largest resident set that the process had (Linux), less what it
# had with the data read.

library(elbo)

crossed <- function(n, levels, seed = 1, slopes = 0) {
  set.seed(seed)
  a <- sample(levels[1], n, TRUE)
  b <- sample(levels[2], n, TRUE)
  x <- rnorm(n)
  y <- x + rnorm(levels[1], 0, 0.7)[a] + rnorm(levels[2], 0, 0.5)[b] + rnorm(n)
  data <- data.frame(y, x, a = factor(a), b = factor(b))
  for (k in seq_len(slopes)) {
    data[[paste0("z", k)]] <- rnorm(n)
    data$y <- data$y + rnorm(levels[1], 0, 0.3)[a] * data[[paste0("z", k)]]
  }
  data
}

nested <- function(schools = 1e5, districts = 1e3, seed = 1) {
  set.seed(seed)
  school <- rep(seq_len(schools), each = 3)
  district <- (school - 1) %% districts + 1
  y <- rnorm(schools, 0, 0.5)[school] + rnorm(districts, 0, 0.3)[district] + rnorm(length(school))
  data.frame(y, school = factor(school), district = factor(district))
}

inst_eval <- function() get(utils::data("InstEval", package = "lme4", envir = environment()))

two <- y ~ x + (1 | a) + (1 | b)
cases <- list(
  `InstEval, 2 factors` = list(y ~ service + (1 | s) + (1 | d), inst_eval),
  `InstEval, 3 factors` = list(y ~ service + (1 | s) + (1 | d) + (1 | dept:service), inst_eval),
  `1e5 rows, 2,000 x 200` = list(two, function() crossed(1e5, c(2000, 200))),
  `1e5 schools in 1e3 districts` = list(y ~ 1 + (1 | school) + (1 | district), nested),
  `1e6 rows, 10,000 x 1,000` = list(two, function() crossed(1e6, c(1e4, 1e3)))
)

# ---- one call ------------------------------------------------------------------------------------

packages <- list(
  elbo = function(formula, data) fit_glmm(formula, data, control = elbo_control(threads = 1L)),
  lmer = function(formula, data) lme4::lmer(formula, data, REML = FALSE),
  glmmTMB = function(formula, data) glmmTMB::glmmTMB(formula, data)
)

resident <- function(what) {
  if (!file.exists("/proc/self/status")) return(NA_real_)
  line <- grep(paste0("^", what, ":"), readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

cpu <- function(call) sum(system.time(call())[1:2])

# In a process of its own: seconds, MB, log-likelihood.
one_call <- function(case, package) {
  data <- cases[[case]][[2]]()
  fit <- packages[[package]]
  suppressWarnings(fit(Reaction ~ Days + (1 | Subject), lme4::sleepstudy))
  invisible(gc())
  before <- resident("VmRSS")
  first <- cpu(function() found <<- fit(cases[[case]][[1]], data))
  mb <- resident("VmHWM") - before
  more <- if (package == "elbo") replicate(4, cpu(function() fit(cases[[case]][[1]], data)))
  data.frame(case, by = package, seconds = stats::median(c(first, more)),
             fastest = min(first, more), mb = round(mb),
             log_lik = as.numeric(stats::logLik(found)))
}

in_own_process <- function(case, package) {
  answer <- tempfile(fileext = ".csv")
  system2(file.path(R.home("bin"), "Rscript"),
          shQuote(c("bench/crossed.R", "one", case, package, answer)),
          env = c("OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"))
  if (file.exists(answer)) utils::read.csv(answer)
}

peers <- function(case) {
  rows <- do.call(rbind, lapply(names(packages), function(p) in_own_process(case, p)))
  ours <- rows[rows$by == "elbo", ]
  rows$times <- rows$seconds / ours$seconds
  rows$memory_times <- rows$mb / ours$mb
  rows$below <- ours$log_lik - rows$log_lik # their log-likelihood below ours by
  print(rows, digits = 4)
  rows
}

# ---- what it costs -------------------------------------------------------------------------------

cost_of <- function(formula, data) {
  control <- elbo_control(threads = 1L)
  stats::median(replicate(7, cpu(function() fit_glmm(formula, data, control = control))))
}

cost <- function() {
  by_rows <- lapply(c(1e5, 2e5, 4e5, 8e5), function(n) {
    list("rows", n, two, crossed(n, c(2e3, 200)))
  })
  by_levels <- lapply(c(1, 2, 4, 8), function(k) {
    list("levels of both factors, 2e5 rows", 1100 * k, two, crossed(2e5, k * c(1e3, 100)))
  })
  by_terms <- lapply(1:4, function(k) {
    terms <- paste(c("1", paste0("z", seq_len(k - 1))[-k]), collapse = " + ")
    formula <- stats::as.formula(sprintf("y ~ x + (%s | a) + (1 | b)", terms))
    data <- crossed(1e5, c(2e3, 200), slopes = k - 1)
    list("terms of the first factor, 1e5 rows", k, formula, data)
  })
  rows <- do.call(rbind, lapply(c(by_rows, by_levels, by_terms), function(one) {
    data.frame(by = one[[1]], size = one[[2]], seconds = cost_of(one[[3]], one[[4]]))
  }))
  print(rows)
  exponent <- sapply(split(rows, rows$by), function(one) {
    stats::coef(stats::lm(log(seconds) ~ log(size), one))[[2]]
  })
  cat("Exponents:\n")
  print(round(exponent, 2))
  rows$exponent <- round(exponent[rows$by], 2)
  utils::write.csv(rows, "bench/crossed_cost.csv", row.names = FALSE)
}

# ---- large and sparse ----------------------------------------------------------------------------

# The second is not run: what it takes is said before it starts (and refused where less memory is
# free).
sparse <- function() {
  for (m in c(5e3, 2e4)) {
    data <- crossed(10 * m, c(m, m))
    control <- elbo_control(threads = 1L)
    time <- system.time(fit <- tryCatch(fit_glmm(two, data, control = control),
                                        message = identity, elbo_error_memory = identity))
    cat(sprintf("%g x %g, ten rows a level: %.1f s (processor), peak %.0f MB\n", m, m,
                sum(time[1:2]), resident("VmHWM")))
    if (inherits(fit, "condition")) cat(conditionMessage(fit))
    else cat("Gradient", convergence(fit)$gradient, "log-likelihood", format(logLik(fit)), "\n")
  }
}

# ---- two threads ---------------------------------------------------------------------------------

# Processor seconds of each thread of this process so far.
thread_seconds <- function() {
  vapply(list.files("/proc/self/task", full.names = TRUE), function(task) {
    fields <- strsplit(sub(".*[)] ", "", readLines(file.path(task, "stat"))), " ")[[1]]
    sum(as.numeric(fields[12:13])) / 100 # of ticks, in user and in system mode
  }, 0)
}

# Elapsed time tells nothing where other work shares the cores: the busiest thread does, if waiting
# costs none (OMP_WAIT_POLICY=passive).
threads <- function() {
  for (case in names(cases)) {
    data <- cases[[case]][[2]]()
    fits <- lapply(1:2, function(n) {
      call <- function() fit_glmm(cases[[case]][[1]], data, control = elbo_control(threads = n))
      fit <- call()
      before <- thread_seconds()
      elapsed <- system.time(for (i in 1:10) call())[[3]]
      after <- thread_seconds()
      before <- before[names(after)]
      list(elapsed = elapsed, busiest = max(after - ifelse(is.na(before), 0, before)),
           answer = list(theta(fit), logLik(fit), latent(fit), vcov(fit, full = TRUE)))
    })
    cat(sprintf("%s: of two threads the busiest does %.2f (elapsed %.2f); identical: %s\n", case,
                fits[[2]]$busiest / fits[[1]]$busiest, fits[[2]]$elapsed / fits[[1]]$elapsed,
                identical(fits[[1]]$answer, fits[[2]]$answer)))
  }
}

# ---- after the fit -------------------------------------------------------------------------------

after <- function() {
  data <- inst_eval()
  fit <- fit_glmm(cases[[1]][[1]], data)
  report <- function(what, call) cat(sprintf("%-45s %.2f s\n", what, cpu(call)))
  report("the fit (InstEval, 2 factors)", function() fit_glmm(cases[[1]][[1]], data))
  report("latent(type = \"conditional\")", function() latent(fit))
  report("latent(type = \"total\")", function() latent(fit, type = "total"))
  report("predict(se.fit = TRUE), all rows", function() predict(fit, se.fit = TRUE))
  report("update(method = \"reml\")", function() update(fit, method = "reml"))
  report("anova() of a reml fit, refitted by em", function() {
    anova(update(fit, method = "reml"), update(fit, . ~ 1 + (1 | s) + (1 | d), method = "reml"))
  })
}

# ---- all -----------------------------------------------------------------------------------------

arguments <- commandArgs(TRUE)
part <- if (length(arguments) > 0) arguments[1] else "all"
if (part == "one") utils::write.csv(one_call(arguments[2], arguments[3]), arguments[4],
                                    row.names = FALSE)
if (part == "peers") invisible(peers(arguments[2]))
if (part %in% c("all", "quick")) {
  all <- do.call(rbind, lapply(if (part == "all") names(cases) else names(cases)[-5], peers))
  utils::write.csv(all, "bench/crossed.csv", row.names = FALSE)
}
if (part %in% c("all", "quick", "cost")) cost()
if (part %in% c("all", "quick", "sparse")) sparse()
if (part == "threads") threads()
if (part %in% c("all", "quick")) {
  system2(file.path(R.home("bin"), "Rscript"), c("bench/crossed.R", "threads"),
          env = "OMP_WAIT_POLICY=passive")
}
if (part %in% c("all", "quick", "after")) after()
