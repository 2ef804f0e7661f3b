# fit_glmm() and lme4::lmer(REML = FALSE) on the same million rows, from formula to fit.
#
#   Rscript bench/speed_glmm.R            all of it (about two minutes, most of them lme4's)
#   Rscript bench/speed_glmm.R quick      a tenth of the rows
#
# Every fit runs in a process of its own, so that peak memory (VmHWM of /proc/self/status,
# Linux only) is that of one package; the data are drawn from the same seed. The order is
# fixed: lme4, elbo, elbo without its instruction-set dispatch (ELBO_SIMD=plain).

cases <- list(
  intercept = list(formula = y ~ x + (1 | group), groups = 1e5, size = 10, sd = 1),
  slope = list(formula = y ~ x + (x | group), groups = 2e4, size = 50, sd = c(1, 0.5)),
  # The same in no order of the groups, as a database may hand the rows over.
  intercept_shuffled = list(formula = y ~ x + (1 | group), groups = 1e5, size = 10, sd = 1),
  slope_shuffled = list(formula = y ~ x + (x | group), groups = 2e4, size = 50, sd = c(1, 0.5))
)

draw <- function(name, quick) {
  case <- cases[[name]]
  set.seed(20)
  d <- elbo::sim_glmm(groups = case$groups / if (quick) 10 else 1, size = case$size,
                      sd = case$sd)
  if (grepl("shuffled", name)) d[sample(nrow(d)), ] else d
}

peak_mb <- function() {
  status <- "/proc/self/status"
  if (!file.exists(status)) return(NA)
  line <- grep("^VmHWM", readLines(status), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

fit_once <- function(package, formula, d) {
  if (package == "lme4") lme4::lmer(formula, d, REML = FALSE) else elbo::fit_glmm(formula, d)
}

# In the child: the median of `times` fits, and the fastest, which other work on the machine
# disturbs least.
measure <- function(package, name, quick) {
  d <- draw(name, quick)
  loadNamespace(package)
  invisible(gc())
  before <- peak_mb()
  times <- if (package == "lme4") 1 else 7
  seconds <- vapply(seq_len(times), function(i) {
    system.time(fit <<- fit_once(package, cases[[name]]$formula, d))[["elapsed"]]
  }, 0)
  cat(sprintf("%.4f %.4f %.0f %.0f %.6f\n", stats::median(seconds), min(seconds), before,
              peak_mb(), as.numeric(stats::logLik(fit))))
}

run_child <- function(package, name, quick, simd = "") {
  this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  out <- system2(file.path(R.home("bin"), "Rscript"),
                 c("--vanilla", shQuote(this), "child", package, name, quick),
                 stdout = TRUE, env = c(paste0("ELBO_SIMD=", simd),
                                        paste0("R_LIBS=", paste(.libPaths(), collapse = ":"))))
  x <- as.numeric(strsplit(out[length(out)], " ")[[1]])
  data.frame(case = name, fit = paste(c(package, if (nzchar(simd)) simd), collapse = ", "),
             seconds = x[1], fastest = x[2], mb_before = x[3], mb_peak = x[4], loglik = x[5])
}

# What one pass over the data costs, and what R's model frame and matrix do.
floor_seconds <- function(d) {
  seconds <- function(expr) {
    expr <- substitute(expr)
    frame <- parent.frame()
    stats::median(replicate(5, system.time(eval(expr, frame))[["elapsed"]]))
  }
  c(one_pass = seconds(sum(d$y * d$x)),
    model_frame = seconds(frame <- stats::model.frame(y ~ x + group, d)),
    model_matrix = seconds(stats::model.matrix(y ~ x, d)),
    group_sums = seconds(rowsum(cbind(1, d$x, d$y, d$x * d$y, d$x^2), d$group,
                                reorder = FALSE)))
}

# Where the time of a fit goes, by the functions of the package.
profile_fit <- function(name, quick) {
  d <- draw(name, quick)
  file <- tempfile()
  utils::Rprof(file, interval = 0.001)
  for (i in 1:10) fit_once("elbo", cases[[name]]$formula, d)
  utils::Rprof(NULL)
  total <- utils::summaryRprof(file)$by.total
  total <- total[total$total.pct >= 3, c("total.pct", "self.pct")]
  print(utils::head(total, 25))
}

options(width = 120)
args <- commandArgs(TRUE)
if (length(args) == 4 && args[1] == "child") {
  measure(args[2], args[3], args[4] == "TRUE")
} else {
  quick <- "quick" %in% args
  for (name in names(cases)) {
    rows <- rbind(run_child("lme4", name, quick), run_child("elbo", name, quick),
                  run_child("elbo", name, quick, "plain"))
    rows$times_faster <- rows$seconds[1] / rows$seconds
    rows$memory <- rows$mb_peak / rows$mb_peak[1]
    rows$loglik_gain <- rows$loglik - rows$loglik[1]
    cat("\n")
    print(rows, row.names = FALSE, digits = 4)
  }
  cat("\nfloor, in seconds, on the rows of the intercept case\n")
  print(floor_seconds(draw("intercept", quick)), digits = 2)
  for (name in c("intercept", "slope")) {
    cat("\nwhere the time of a fit goes, in per cent:", name, "\n")
    profile_fit(name, quick)
  }
}
