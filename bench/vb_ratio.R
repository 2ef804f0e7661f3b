# What decides whether linear response is right? Random intercept models over groups, rows in a
# group and standard deviations, by the reliability sd^2 / (sd^2 + sigma^2 / m) of a group's mean:
# the largest error of a posterior sd beside the exact one (numerical integration, by the package's
# own check, which bench/vb_accuracy.R tests).
#
#   Rscript bench/vb_ratio.R [replicates = 20] [quick]
#
# Writes vb_ratio.csv (a row a fit) and prints the share of fits with an sd off by more than 5 %,
# and of those trusted.

library(elbo)

arguments <- commandArgs(TRUE)
quick <- "quick" %in% arguments
replicates <- suppressWarnings(c(as.numeric(arguments), NA)[1])
if (is.na(replicates)) replicates <- if (quick) 2 else 20

cells <- expand.grid(replicate = seq_len(replicates), groups = c(10, 20, 40, 80, 160),
                     reliability = c(0.2, 0.4, 0.6, 0.8, 0.95))

one <- function(i) {
  cell <- cells[i, ]
  set.seed(i)
  m <- 5
  sd <- sqrt(cell$reliability / (1 - cell$reliability) / m)
  d <- data.frame(g = gl(cell$groups, m), x = rnorm(m * cell$groups))
  d$y <- d$x + rnorm(cell$groups, 0, sd)[d$g] + rnorm(nrow(d))
  state <- convergence(fit_glmm(y ~ x + (1 | g), d, method = "vb"))
  data.frame(cell, trusted = state$trusted, khat = state$khat,
             error = max(abs(state$check$sd_error)), mean_shift = max(abs(state$check$mean_shift)))
}

result <- do.call(rbind, lapply(seq_len(nrow(cells)), one))
result$error <- signif(result$error, 3)
result$mean_shift <- signif(result$mean_shift, 3)
result$khat <- signif(result$khat, 3)
if (!quick) utils::write.csv(result, "bench/vb_ratio.csv", row.names = FALSE)
by_cell <- function(x) round(tapply(x, result[c("reliability", "groups")], mean), 2)
cat("Median of the largest relative error of an sd\n")
print(round(tapply(result$error, result[c("reliability", "groups")], stats::median), 3))
cat("Share trusted\n")
print(by_cell(result$trusted))
