# How near sensitivity(to = "data") comes to the fewest rows. Small mixed models, of which all
# sets of up to three rows are taken out, each with a refit: is a set smaller than the one that
# the search reports, or any where it reports none?
#
#   Rscript bench/sensitivity.R [replicates = 40] [quick]
#
# 24 rows in 6 groups of 4, a covariate within groups, sd between groups 1, residual sd 1; slopes
# of 0, .3 and .6, of a standard error of about .2. Changes of the slope's sign and of its
# significance (95 %, with the degrees of freedom of the fit to all rows, as the search has them).
# Columns: reported (NA: none), fewest (NA: more than three rows). Writes sensitivity.csv.

library(elbo)

arguments <- commandArgs(TRUE)
quick <- "quick" %in% arguments
replicates <- suppressWarnings(c(as.numeric(arguments), NA)[1])
if (is.na(replicates)) replicates <- if (quick) 2 else 40
most <- 3

problem <- function(seed, slope) {
  set.seed(seed)
  d <- data.frame(x = rnorm(24), group = gl(6, 4))
  d$y <- slope * d$x + rnorm(6)[d$group] + rnorm(24)
  fit_glmm(y ~ x + (1 | group), d)
}

# What each set of rows does to the slope: the sizes of the smallest sets that change its sign,
# and its significance with the sign as it is. The design of a fit is refitted without rows as the
# search does.
fewest <- function(fit) {
  limit <- confint(fit, "x")
  critical <- (limit[2] - coef(fit)[["x"]]) / sqrt(vcov(fit)["x", "x"])
  judge <- function(fit) {
    slope <- coef(fit)[["x"]]
    c(sign = sign(slope), significant = abs(slope) > critical * sqrt(vcov(fit)["x", "x"]))
  }
  whole <- judge(fit)
  found <- c(sign = NA, significance = NA)
  for (size in seq_len(most)) {
    sets <- utils::combn(nobs(fit), size, simplify = FALSE)
    for (rows in sets) {
      if (!anyNA(found)) return(found)
      without <- tryCatch(judge(elbo:::drop_rows(fit, rows)), elbo_error = function(e) NULL)
      if (is.null(without)) next
      if (is.na(found[["sign"]]) && without[["sign"]] != whole[["sign"]]) found["sign"] <- size
      turned <- without[["significant"]] != whole[["significant"]] &&
        without[["sign"]] == whole[["sign"]]
      if (is.na(found[["significance"]]) && turned) found["significance"] <- size
    }
  }
  found
}

one <- function(seed, slope) {
  fit <- problem(seed, slope)
  said <- sensitivity(fit, to = "data", parm = "x")
  least <- fewest(fit)
  data.frame(seed, slope, change = names(least),
             reported = said$rows[match(names(least), said$change)], fewest = unname(least))
}

cells <- expand.grid(seed = seq_len(replicates), slope = c(0, 0.3, 0.6))
result <- do.call(rbind, Map(one, cells$seed, cells$slope))
if (!quick) utils::write.csv(result, "bench/sensitivity.csv", row.names = FALSE)

# Known is where the fewest are three or less, or the search itself says so.
small <- function(x) !is.na(x) & x <= most
summary <- with(result, data.frame(
  change, slope, found = small(fewest),
  same = small(fewest) & reported %in% 1:most & reported == fewest,
  more = small(fewest) & !is.na(reported) & reported > fewest,
  none = small(fewest) & is.na(reported)
))
print(stats::aggregate(cbind(found, same, more, none) ~ change + slope, summary, sum))
