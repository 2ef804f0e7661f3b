# How many EM maps: the gallery of textbook algorithms (tests/testthat/helper-em-gallery.R) by
# plain EM, by fit_em() and by packages SQUAREM and daarem (where present), to a step of 1e-8, and
# where they end.
#
#   Rscript bench/em.R            writes bench/em.csv

library(elbo)
source("tests/testthat/helper-em-gallery.R")

# Two factors, for which EM is slow.
em_gallery$two_factors <- em_gallery$factor
em_gallery$two_factors$start <- list(
  loading = cbind(rep(0.5, 6), c(0.3, 0.5, 0.4, 0.1, -0.3, -0.2)), noise = rep(0.5, 6)
)

# Counts maps; a theta as a vector. Peers want the objective and a map of vectors.
counted <- function(em) {
  maps <- 0
  fold <- function(x) {
    if (is.list(em$start)) utils::relist(x, em$start) else setNames(x, names(em$start))
  }
  list(start = unlist(em$start), maps = function() maps,
       map = function(x) {
         maps <<- maps + 1
         unlist(em$mstep(em$estep(fold(x), em$data), em$data))
       },
       value = function(x) {
         value <- suppressWarnings(try(em$log_evidence(fold(x), em$data), silent = TRUE))
         if (is.numeric(value) && is.finite(value)) value else -1e300
       })
}

plain <- function(m) {
  x <- m$start
  repeat {
    new <- m$map(x)
    if (sqrt(sum((new - x)^2)) < 1e-8 || m$maps() >= 20000) return(m$value(new))
    x <- new
  }
}

by_elbo <- function(em, ...) {
  given <- em[intersect(names(em), c("start", "estep", "mstep", "data", "lower", "upper"))]
  fit <- do.call(fit_em, c(given, list(...)))
  x <- theta(fit, as_start = TRUE)
  new <- em$mstep(em$estep(x, em$data), em$data)
  list(maps = convergence(fit)$em, value = em$log_evidence(x, em$data),
       step = sqrt(sum((unlist(new) - unlist(x))^2)))
}

peer <- function(run) {
  function(em) {
    m <- counted(em)
    value <- tryCatch(m$value(run(m)), error = function(e) NA_real_)
    c(maps = m$maps(), value = value)
  }
}
squarem <- peer(function(m) {
  SQUAREM::squarem(m$start, m$map, function(x) -m$value(x), control = list(tol = 1e-8))$par
})
daarem <- peer(function(m) {
  daarem::daarem(m$start, m$map, m$value, control = list(tol = 1e-8, maxiter = 20000))$par
})

rows <- lapply(names(em_gallery), function(name) {
  em <- em_gallery[[name]]
  m <- counted(em)
  best <- plain(m)
  ours <- by_elbo(em, log_evidence = em$log_evidence)
  blind <- by_elbo(em)
  there <- function(package) requireNamespace(package, quietly = TRUE)
  s <- if (there("SQUAREM")) squarem(em) else c(NA, NA)
  d <- if (there("daarem")) daarem(em) else c(NA, NA)
  data.frame(model = name, em = m$maps(), fit_em = ours$maps, fit_em_blind = blind$maps,
             squarem = s[[1]], daarem = d[[1]], step = signif(ours$step, 2),
             log_likelihood = signif(best, 10), gained = signif(ours$value - best, 2),
             gained_blind = signif(blind$value - best, 2),
             gained_squarem = signif(s[[2]] - best, 2),
             gained_daarem = signif(d[[2]] - best, 2))
})
table <- do.call(rbind, rows)
print(table, row.names = FALSE)
write.csv(table, "bench/em.csv", row.names = FALSE)
