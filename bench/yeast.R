# The yeast cell cycle: clusters of standardised genes of two synchronised cultures, cdc15
# (Spellman et al. 1998, 4,381 genes, 23 times) and cdc28 (Cho et al. 1998, 3,000 genes, 17 times,
# a sixteenth of the values missing), and whether they find the cycle.
#
#   Rscript bench/yeast.R [directory of the data]
#
# The directory holds yeast/; by default `../shared/data` beside the checkout, or the environment
# variable ELBO_DATA. Takes half a minute. One thread; `cpu` is user and system time.
#
# The number of clusters comes out of a stick-breaking prior with k = 20. Of each cluster's curve
# the script prints the period of the sinusoid beside a straight line that fits it best, the share
# r2 of what the line leaves that the sinusoid explains, and when the sinusoid of the common period
# peaks, in shares of a cycle. Nothing but the data is told to the fit; genes whose time in
# the cycle is textbook knowledge say whether it is right. Writes yeast.csv.

suppressPackageStartupMessages({
  library(elbo)
  library(splines)
})

directory <- c(commandArgs(TRUE), Sys.getenv("ELBO_DATA", "../shared/data"))[1]
read <- function(name) {
  file <- file.path(directory, "yeast", name)
  if (!file.exists(file)) stop("no data at ", file)
  table <- utils::read.csv(file, check.names = FALSE)
  values <- as.matrix(table[-1])
  rownames(values) <- table$gene
  values
}

known <- list(
  `G1` = c(CLN1 = "YMR199W", CLN2 = "YPL256C", CLB5 = "YPR120C", CLB6 = "YGR109C",
           POL30 = "YBR088C", RNR1 = "YER070W"),
  `S` = c(HTA1 = "YDR225W", HTA2 = "YBL003C", HTB1 = "YDR224C", HTB2 = "YBL002W",
          HHT2 = "YNL031C", HHF2 = "YNL030W"),
  `G2/M` = c(CLB1 = "YGR108W", CLB2 = "YPR119W", SWI5 = "YDR146C", CDC5 = "YMR001C",
             ACE2 = "YLR131C", CDC20 = "YGL116W"),
  `M/G1` = c(SIC1 = "YLR079W", ASH1 = "YKL185W", CDC6 = "YJL194W", CTS1 = "YLR286C",
             EGT2 = "YNL327W")
)

# At least half of the times seen; mean 0 and variance 1 over them. With labels to start from, by
# k-means with the mean where nothing was seen: fit_mixture()'s own search takes minutes.
standardised <- function(values) {
  values <- values[rowSums(!is.na(values)) >= ncol(values) / 2, ]
  times <- as.numeric(sub("t", "", colnames(values)))
  data <- data.frame(gene = factor(rep(rownames(values), each = length(times))),
                     time = rep(times, nrow(values)), expr = as.vector(scale(t(values))))
  filled <- replace(data$expr, is.na(data$expr), 0)
  set.seed(1)
  start <- stats::kmeans(matrix(filled, nrow(values), byrow = TRUE), 20, nstart = 10, iter.max = 50)
  data$start <- rep(start$cluster, each = length(times))
  data[!is.na(data$expr), ]
}

wave <- function(time, period) cbind(cos(2 * pi * time / period), sin(2 * pi * time / period))
residual_squares <- function(X, y) sum(stats::lm.fit(X, y)$residuals^2)

# The sinusoid beside a straight line that fits a curve best.
cycle <- function(time, curve, periods = 60:160) {
  line <- cbind(1, time)
  left <- vapply(periods, function(period) {
    residual_squares(cbind(line, wave(time, period)), curve)
  }, 0)
  c(period = periods[which.min(left)], r2 = 1 - min(left) / residual_squares(line, curve))
}

peak <- function(time, curve, period) {
  b <- stats::lm.fit(cbind(1, time, wave(time, period)), curve)$coefficients[3:4]
  (atan2(b[2], b[1]) / (2 * pi)) %% 1
}

find_cycle <- function(name, file, df) {
  data <- standardised(read(file))
  used <- system.time(fit <- fit_mixture(
    expr ~ bs(time, df = df) + (bs(time, df = 5) | gene), data, k = 20, unit = ~ gene,
    method = "vb", random_covariance = "identity", prior = priors(weight = stick_breaking(1)),
    start = data$start, control = elbo_control(threads = 1)
  ))
  class <- predict(fit)
  occupied <- sort(unique(class))
  grid <- data.frame(gene = "new", time = seq(min(data$time), max(data$time), by = 2))
  curves <- predict(fit, grid, type = "response", by_component = TRUE)[, occupied]
  table <- data.frame(culture = name, component = occupied, genes = tabulate(class, 20)[occupied],
                      t(apply(curves, 2, function(curve) cycle(grid$time, curve))))
  periodic <- table$r2 > 0.8
  period <- stats::median(table$period[periodic])
  table$peak <- apply(curves, 2, function(curve) peak(grid$time, curve, period))
  cat(sprintf("\n%s: %d genes, %d rows, %.1f s, cpu %.1f s, %s\n", name, nlevels(data$gene),
              nrow(data), used[["elapsed"]], used[["user.self"]] + used[["sys.self"]],
              convergence(fit)$status))
  cat(sprintf("%d clusters, %d of them periodic, with period %g min\n", length(occupied),
              sum(periodic), period))
  print(table[periodic, ][order(table$peak[periodic]), -1], digits = 2, row.names = FALSE)
  for (phase in names(known)) {
    genes <- known[[phase]][known[[phase]] %in% names(class)]
    peaks <- table$peak[match(class[genes], occupied)]
    cat(sprintf("%-5s peak %s\n", phase, toString(sprintf("%s %.2f", names(genes), peaks))))
  }
  table
}

tables <- rbind(find_cycle("cdc15", "spellman_cdc15.csv.gz", df = 10),
                find_cycle("cdc28", "cho_cdc28.csv.gz", df = 9))
this <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
tables[c("r2", "peak")] <- round(tables[c("r2", "peak")], 3)
utils::write.csv(tables, file.path(dirname(this), "yeast.csv"), row.names = FALSE)
