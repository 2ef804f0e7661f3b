# Catalogues from simulated fields against their truth: how many sources are found, whether what is
# found is there, brightness and position and their standard errors, star or galaxy, and time.
#
# Rscript bench/sky.R [fields] [size] [sources]
library(elbo)

arguments <- as.integer(commandArgs(TRUE))
fields <- if (length(arguments) > 0) arguments[1] else 20
size <- if (length(arguments) > 1) arguments[2] else 256
sources <- if (length(arguments) > 2) arguments[3] else 60

# Pairs of truth and catalogue, each at most once, nearest first, within 1.5 pixels.
match_up <- function(truth, found, within = 1.5) {
  d <- sqrt(outer(truth$x, found$x, `-`)^2 + outer(truth$y, found$y, `-`)^2)
  pairs <- which(d < within, arr.ind = TRUE)
  pairs <- pairs[order(d[pairs]), , drop = FALSE]
  pairs[!duplicated(pairs[, 1]) & !duplicated(pairs[, 2]), , drop = FALSE]
}

one_field <- function(seed) {
  set.seed(seed)
  image <- sim_sky(size, n = sources)
  truth <- truth(image)
  time <- system.time(fit <- fit_sky(image, control = elbo_control(progress = FALSE, threads = 2)))
  found <- catalog(fit)
  pairs <- match_up(truth, found)
  truth$found <- seq_len(nrow(truth)) %in% pairs[, 1]
  found$real <- seq_len(nrow(found)) %in% pairs[, 2]
  a <- truth[pairs[, 1], ]
  b <- found[pairs[, 2], ]
  matched <- data.frame(flux = a$flux, z = (b$flux - a$flux) / b$flux_sd, ratio = b$flux / a$flux,
                        zx = (b$x - a$x) / b$x_sd, zy = (b$y - a$y) / b$y_sd,
                        right = (b$p_galaxy > 0.5) == (a$p_galaxy > 0.5), own = b$own_fraction)
  list(truth = truth, found = found, matched = matched, time = c(time[1:3]))
}

results <- lapply(seq_len(fields), one_field)
gather <- function(name) do.call(rbind, lapply(results, `[[`, name))
truth <- gather("truth")
found <- gather("found")
matched <- gather("matched")
bins <- c(300, 500, 1000, 2000, 5000, Inf)
by <- function(flux) cut(flux, bins, include.lowest = TRUE)
table <- data.frame(
  flux = levels(by(truth$flux)),
  complete = tapply(truth$found, by(truth$flux), mean),
  pure = tapply(found$real, by(pmax(found$flux, 300)), mean),
  type_right = tapply(matched$right, by(matched$flux), mean),
  flux_ratio = tapply(matched$ratio, by(matched$flux), median),
  z_mean = tapply(matched$z, by(matched$flux), mean, trim = 0.02),
  z_sd = tapply(matched$z, by(matched$flux), function(z) IQR(z) / 1.349),
  within_1sd = tapply(abs(matched$z) < 1, by(matched$flux), mean),
  position_z_sd = tapply(seq_len(nrow(matched)), by(matched$flux), function(i) {
    IQR(c(matched$zx[i], matched$zy[i])) / 1.349
  })
)
print(format(table, digits = 3), row.names = FALSE)
lone <- matched$own > 0.99
cat(sprintf("alone (%d): sd of standardised errors: flux %.2f, position %.2f\n", sum(lone),
            sd(matched$z[lone]), sd(c(matched$zx[lone], matched$zy[lone]))))
times <- do.call(rbind, lapply(results, `[[`, "time"))
cat(sprintf("%d fields of %d x %d with %d sources: processor time %.2f s, elapsed %.2f s each\n",
            fields, size, size, sources, mean(times[, 1]), mean(times[, 3])))
