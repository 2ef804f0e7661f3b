# One EM iteration of fit_mixture() beside those of mclust, scikit-learn and flexmix: same data,
# same start, same number of iterations.
#
#   Rscript bench/speed_mixture.R           all of it (about ten minutes, most of them the peers')
#   Rscript bench/speed_mixture.R quick     a tenth of the rows
#
# The cost of an iteration is the time of `long` iterations less that of `short` ones, divided by
# the difference, so that reading the data, the start and the answer are left out; they are in
# `whole`, the time of `long` iterations from data frame to fit. Every program runs in a process of
# its own, in the order of the table; peak memory (VmHWM, Linux only) is that of the process above
# what it held with the data in place, over the size of the data. scikit-learn is
# used where python3 (or the PYTHON of the environment) has it.

arguments <- commandArgs(TRUE)
quick <- "quick" %in% arguments

cases <- list(
  gaussian_small = list(n = 1e5, d = 5, k = 5, short = 5, long = 25),
  gaussian_large = list(n = 1e6, d = 10, k = 8, short = 2, long = 8),
  regression = list(n = 1e5, d = 3, k = 3, short = 5, long = 25)
)

# Overlapping components, and a start that knows half of the labels, so that no program arrives
# before the last iteration.
draw <- function(name) {
  case <- cases[[name]]
  n <- case$n / if (quick) 10 else 1
  set.seed(4)
  z <- sample(case$k, n, TRUE)
  label <- ifelse(stats::runif(n) < 0.5, z, sample(case$k, n, TRUE))
  if (name == "regression") {
    x <- matrix(stats::rnorm(n * (case$d - 1)), n)
    beta <- matrix(stats::rnorm(case$d * case$k), case$d)
    y <- rowSums(cbind(1, x) * t(beta)[z, ]) + stats::rnorm(n)
    data <- data.frame(y, x)
  } else {
    mean <- matrix(stats::rnorm(case$k * case$d), case$k)
    data <- data.frame(matrix(stats::rnorm(n * case$d), n) + mean[z, ])
  }
  list(data = data, label = label, case = case)
}

run_elbo <- function(d, iterations, threads, method = "em") {
  control <- elbo::elbo_control(accelerate = "none", max_iter = iterations, tol = 1e-300,
                                threads = threads)
  formula <- if ("y" %in% names(d$data)) y ~ . else {
    stats::as.formula(sprintf("cbind(%s) ~ 1", toString(names(d$data))))
  }
  suppressWarnings(elbo::fit_mixture(formula, d$data, k = d$case$k, method = method,
                                     covariance = if (!"y" %in% names(d$data)) "VVV",
                                     start = d$label, control = control))
}

programs <- list(
  elbo_1 = list(cases = names(cases), run = function(d, i) run_elbo(d, i, 1)),
  elbo_2 = list(cases = names(cases), run = function(d, i) run_elbo(d, i, 2)),
  elbo_vb_1 = list(cases = names(cases)[1:2], run = function(d, i) run_elbo(d, i, 1, "vb")),
  mclust = list(cases = names(cases)[1:2], run = function(d, i) {
    suppressWarnings(mclust::me(as.matrix(d$data), "VVV", mclust::unmap(d$label),
                                control = mclust::emControl(tol = 0, itmax = i)))
  }),
  flexmix = list(cases = "regression", run = function(d, i) {
    flexmix::flexmix(y ~ ., data = d$data, k = d$case$k, cluster = d$label,
                     control = list(iter.max = i, tolerance = 0, minprior = 0))
  })
)

peak_mb <- function() {
  status <- "/proc/self/status"
  if (!file.exists(status)) return(NA_real_)
  line <- grep("^VmHWM", readLines(status), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

seconds <- function(run, d, iterations, times) {
  stats::median(replicate(times, system.time(run(d, iterations))[["elapsed"]]))
}

child <- function(program, name) {
  d <- draw(name)
  run <- programs[[program]]$run
  if (program == "mclust") suppressPackageStartupMessages(library(mclust))
  if (program == "flexmix") suppressPackageStartupMessages(library(flexmix))
  times <- if (startsWith(program, "elbo")) 5 else 1
  invisible(run(list(data = d$data[1:1000, ], label = d$label[1:1000], case = d$case), 2))
  invisible(gc())
  before <- peak_mb()
  short <- seconds(run, d, d$case$short, times)
  long <- seconds(run, d, d$case$long, times)
  per <- (long - short) / (d$case$long - d$case$short)
  extra <- (peak_mb() - before) / (as.numeric(utils::object.size(d$data)) / 2^20)
  cat(sprintf("%.6f %.3f %.2f\n", per, long, extra))
}

# scikit-learn from the same numbers, handed over as doubles. tol = 0 and a limit of iterations; its
# start is one M-step from the labels.
python3 <- Sys.getenv("PYTHON", "python3")
python <- '
import sys, time, warnings
import numpy as np
warnings.filterwarnings("ignore")
from sklearn.mixture import GaussianMixture, BayesianGaussianMixture
file, n, d, k, short, long, kind = sys.argv[1], *map(int, sys.argv[2:7]), sys.argv[7]
X = np.fromfile(file + ".x").reshape(d, n).T.copy()
label = np.fromfile(file + ".l").astype(int) - 1
class Mixin:
    def _initialize_parameters(self, X, random_state):
        resp = np.zeros((n, k)); resp[np.arange(n), label] = 1
        self._initialize(X, resp)
class EM(Mixin, GaussianMixture): pass
class VB(Mixin, BayesianGaussianMixture): pass
def run(iterations):
    t = time.time()
    (EM if kind == "em" else VB)(n_components=k, tol=0, max_iter=iterations).fit(X)
    return time.time() - t
a = run(short); b = run(long)
print("%.6f %.3f nan" % ((b - a) / (long - short), b))
'

sklearn <- function(name, kind) {
  have <- suppressWarnings(system2(python3, c("-c", shQuote("import sklearn")), stderr = FALSE,
                                   stdout = FALSE)) == 0
  if (!have) return(rep(NA_real_, 3))
  d <- draw(name)
  file <- tempfile()
  writeBin(as.vector(as.matrix(d$data)), paste0(file, ".x"))
  writeBin(as.double(d$label), paste0(file, ".l"))
  script <- tempfile(fileext = ".py")
  writeLines(python, script)
  out <- system2(python3, c(script, file, nrow(d$data), ncol(d$data), d$case$k, d$case$short,
                              d$case$long, kind), stdout = TRUE)
  as.numeric(strsplit(out[length(out)], " ")[[1]])
}

in_child <- function(program, name) {
  this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  out <- system2(file.path(R.home("bin"), "Rscript"),
                 c("--vanilla", shQuote(this), "child", program, name, if (quick) "quick"),
                 stdout = TRUE, env = paste0("R_LIBS=", paste(.libPaths(), collapse = ":")))
  as.numeric(strsplit(out[length(out)], " ")[[1]])
}

main <- function() {
  rows <- list()
  add <- function(case, program, x) {
    rows[[length(rows) + 1]] <<- data.frame(case, program, ms_per_iteration = 1e3 * x[1],
                                            whole_seconds = x[2], memory_over_data = x[3])
  }
  for (name in names(cases)) {
    for (program in names(programs)) {
      if (!name %in% programs[[program]]$cases) next
      add(name, program, in_child(program, name))
    }
    if (name == "regression") next
    add(name, "scikit-learn", sklearn(name, "em"))
    add(name, "scikit-learn vb", sklearn(name, "vb"))
  }
  table <- do.call(rbind, rows)
  own <- table$ms_per_iteration[table$program == "elbo_1"]
  names(own) <- table$case[table$program == "elbo_1"]
  table$ratio_to_elbo_1 <- table$ms_per_iteration / own[table$case]
  print(table, digits = 3, row.names = FALSE)
  if (!quick) utils::write.csv(table, "bench/speed_mixture.csv", row.names = FALSE)
}

if ("child" %in% arguments) child(arguments[2], arguments[3]) else main()
