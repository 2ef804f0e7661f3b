# Pictures and tables of the report, and of README.md.

palette_of_three <- c(blue = "#0072B2", orange = "#D55E00", green = "#009E73")

narrow_margins <- function(left = 4) {
  par(mar = c(3.6, left, 2.2, 1), mgp = c(2.4, 0.7, 0), las = 1)
}

show_table <- function(x, digits = 3, ...) {
  if (!requireNamespace("knitr", quietly = TRUE)) return(print(x, digits = digits))
  knitr::kable(x, digits = digits, row.names = FALSE, ...)
}

# ---- Neyman and Scott's pairs --------------------------------------------------------------

# The residual variance by three estimators, in `times` data sets of n pairs (truth 1).
estimate_pairs <- function(n, times) {
  no_law <- priors(pair = constant(Inf))
  normal_law <- priors(pair = constant(1))
  once <- function(i) {
    pairs <- sim_pairs(n, theta = 1)
    points <- fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint", prior = no_law)
    points_law <- update(points, prior = normal_law)
    integrated <- update(points_law, method = "em")
    vapply(list(points, points_law, integrated), function(fit) sigma(fit)^2, 0)
  }
  draws <- vapply(seq_len(times), once, numeric(3))
  data.frame(
    pairs = n,
    estimator = c("points, no law", "points, N(0, 1)", "integrated, N(0, 1)"),
    mean = rowMeans(draws),
    low = apply(draws, 1, stats::quantile, 0.05),
    high = apply(draws, 1, stats::quantile, 0.95)
  )
}

plot_paradox <- function(simulated) {
  estimators <- unique(simulated$estimator)
  index <- match(simulated$estimator, estimators)
  colour <- rev(palette_of_three)[index]
  symbols <- c(15, 17, 19)
  x <- simulated$pairs * c(0.93, 1, 1.07)[index]
  narrow_margins()
  plot(x, simulated$mean, log = "x", type = "n", ylim = range(0, simulated$high),
       xlab = "number of pairs", ylab = "estimated variance (truth: 1)",
       main = "Neyman and Scott's pairs", xaxt = "n")
  axis(1, unique(simulated$pairs))
  abline(h = c(0.5, 1), lty = 3)
  segments(x, simulated$low, x, simulated$high, col = colour, lwd = 2)
  points(x, simulated$mean, pch = symbols[index], col = colour)
  legend("topright", rev(estimators), col = palette_of_three, pch = rev(symbols), bty = "n")
}

# ---- Growth ------------------------------------------------------------------------------------

# Measurements, a line for each subject at its posterior mean, the lines of the population.
plot_growth <- function(fit) {
  data <- model.frame(fit)
  narrow_margins()
  colour <- palette_of_three[c("blue", "orange")][data$Sex]
  plot(jitter(data$age, 0.4), data$distance, col = adjustcolor(colour, 0.5), pch = 19,
       cex = 0.7, xlab = "age (years)", ylab = "distance (mm)", main = "Growth by child")
  for (rows in split(seq_len(nrow(data)), as.character(data$Subject))) {
    lines(data$age[rows], fitted(fit)[rows], col = adjustcolor(colour[rows[1]], 0.5))
  }
  population <- expand.grid(age = range(data$age), Sex = levels(data$Sex))
  population$distance <- predict(fit, population, re.form = NA)
  for (sex in levels(data$Sex)) {
    index <- match(sex, levels(data$Sex))
    lines(distance ~ age, population[population$Sex == sex, ], lwd = 4, lty = index,
          col = palette_of_three[index])
  }
  legend("topleft", levels(data$Sex), col = palette_of_three[1:2], lty = 1:2, lwd = 4,
         seg.len = 4, bty = "n")
}

# ---- Microcredit -------------------------------------------------------------------------------

# Each site: its estimate alone, and given all the sites.
site_effects <- function(fit) {
  sites <- augment(fit, se_fit = TRUE)
  data.frame(
    site = sites$country, alone = sites$estimate, se = sites$se,
    pooled = sites$.fitted, pooled_se = sites$.se.fit,
    shrinkage = 1 - (sites$.fitted - sites$.fixed) / (sites$estimate - sites$.fixed)
  )
}

plot_shrinkage <- function(fit) {
  sites <- site_effects(fit)
  sites <- sites[order(sites$alone), ]
  place <- seq_len(nrow(sites))
  limits <- c(-40, 80)
  narrow_margins(left = 6)
  plot(sites$alone, place, type = "n", xlim = limits, ylim = c(0.5, nrow(sites) + 0.5),
       yaxt = "n", ylab = "", xlab = "effect on profit (USD PPP per fortnight)",
       main = "Seven microcredit trials")
  axis(2, place, sites$site, tick = FALSE)
  abline(v = 0, col = "grey")
  abline(v = coef(fit), lty = 3)
  segments(pmax(sites$alone - 2 * sites$se, limits[1] - 5), place + 0.12,
           pmin(sites$alone + 2 * sites$se, limits[2] + 5), place + 0.12, col = "grey60")
  points(sites$alone, place + 0.12, pch = 1, col = "grey40")
  segments(sites$pooled - 2 * sites$pooled_se, place - 0.12,
           sites$pooled + 2 * sites$pooled_se, place - 0.12,
           col = palette_of_three[["blue"]], lwd = 2)
  points(sites$pooled, place - 0.12, pch = 19, col = palette_of_three[["blue"]])
  legend("bottomright", c("alone", "given all seven"), pch = c(1, 19), bty = "n",
         col = c("grey40", palette_of_three[["blue"]]))
}

# ---- Why to believe a fit ----------------------------------------------------------------------

convergence_table <- function(fits) {
  rows <- lapply(names(fits), function(name) {
    fit <- fits[[name]]
    state <- convergence(fit)
    data.frame(
      fit = name, method = fit$method, rows = nobs(fit), EM = state$em, Newton = state$newton,
      gradient = if (is.finite(state$gradient)) format(state$gradient, digits = 1) else "",
      "to gain" = format(state$gain, digits = 1),
      milliseconds = round(1000 * fit$time), status = state$status, check.names = FALSE
    )
  })
  do.call(rbind, rows)
}
