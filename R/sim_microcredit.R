# Household profits behind the published site estimates. With shares p-, p0, p+ of losses,
# zeros and profits, and log |y| ~ N(m_t + log(p) / 2, s^2) in arm t, p the share of its tail,
#   E[y]   = (p+^(3/2) - p-^(3/2)) exp(m_t + s^2 / 2),
#   E[y^2] = (p+^2 + p-^2) exp(2 m_t + 2 s^2),
# so that the means and the standard deviation of a site determine m_0, m_1 and s.

#' Simulate household profits in seven microcredit trials
#'
#' Profits of the households in the seven trials of [microcredit_sites], simulated so that the
#' regression of profit on treatment in each site gives the published estimate. They have what
#' makes such data hard: most profits are zero, the others spread over several orders of
#' magnitude, on both sides.
#'
#' In site \eqn{k}{k} a share of the households makes a loss, a share no profit, and a share a
#' profit, all three as published and equal in both arms. What is lost or earned is log-normal,
#' \deqn{\log |y| \sim N(\mu_k + \delta_k t + \tfrac12 \log p_{k\pm}, \sigma_k^2),
#'   \qquad t = 0, 1,}{
#'   log |y| ~ N(mu_k + delta_k t + log(p_k) / 2, sigma_k^2), t = 0, 1,}
#' where \eqn{p_{k\pm}}{p_k} is the share of losses or of profits: the more frequent of the two
#' are also the larger. The treatment multiplies what is not zero by
#' \eqn{\exp(\delta_k)}{exp(delta_k)}. The three parameters follow in closed form from the
#' published mean profit of the control group, effect and standard error.
#' Households not treated and treated are as many as in the trials.
#'
#' A sample from laws with such tails strays far: its regression is a standard error away from
#' the published one, and even its standard error is, in Mexico, typically 0.6 times the
#' published one. With `match = TRUE` the draws are stratified (each of m draws comes from one
#' of m equally likely intervals), the shares are exact to one household, and the parameters of
#' \eqn{\log|y|}{log|y|} are then adjusted to the draws so that the means of both arms and the
#' residual standard deviation of each site are the published ones. Estimates and standard
#' errors of the regressions are then those of [microcredit_sites], up to rounding. (With
#' `scale < 1` only the means are adjusted, and the standard deviations are those of the draws:
#' a few households cannot stray as far as thousands do.) With `match = FALSE` households are
#' independent, as the study of an estimator's sampling needs them.
#'
#' The profits of the trials are public, and differ from these: treatment moves the shares
#' too, and the largest profits are further out than a log-normal law puts them.
#'
#' @param scale households in proportion to those of the trials, at least 0.01: 0.1 draws a
#'   tenth of them, with standard errors of some `1 / sqrt(scale)` times the published ones.
#' @param match whether the regressions shall give the published estimates.
#' @return A data frame with a row for each household, 35,303 at `scale = 1`: `country`
#'   (factor), `treatment` (0 or 1), `profit` in US dollars (purchasing power parity, 2009) per
#'   fortnight. The draws come from R's generator: use [set.seed()].
#'
#'   [truth()] gives `theta`, the parameters of
#'   `fit_glmm(profit ~ 0 + country + country:treatment, sigma = ~ country)`; `latent`, the
#'   profit level and the effect of each site as the trials found them (no law is posited for
#'   them); and `profits`, a data frame with the law of profits in each site and arm, adjusted if
#'   they were: `country`, `treatment`, shares `negative`, `zero`, `positive`,
#'   `meanlog_negative`, `meanlog_positive` and `sdlog` of the absolute profit.
#' @source
#' Effects and standard errors as in [microcredit_sites]. Numbers of households, mean profits
#' of the control groups and shares are descriptive statistics of the trials' public data, as
#' Meager (2022) brought them together.
#' @references
#' Meager, R. (2022). Aggregating distributional treatment effects: a Bayesian hierarchical
#' analysis of the microcredit literature. *American Economic Review* 112(6), 1818--1847.
#' \doi{10.1257/aer.20181811}
#' @family simulators
#' @export
#' @examples
#' set.seed(1)
#' d <- sim_microcredit()
#' bosnia <- fit_glmm(profit ~ treatment, d, subset = country == "Bosnia")
#' bosnia
#' microcredit_sites[3, ]
#' # a handful of Mexico's 16,560 households decides the sign of the effect there
#' mexico <- update(bosnia, subset = country == "Mexico")
#' sensitivity(mexico, to = "data")[4:6, ]
sim_microcredit <- function(scale = 1, match = TRUE) {
  check(is_number(scale) && scale >= 0.01, "scale", "a number of at least 0.01", scale)
  check_flag(match, "match")
  sites <- cbind(microcredit_facts, profit_law(microcredit_facts))
  sites$control <- round(scale * sites$control)
  sites$treated <- round(scale * sites$treated)
  drawn <- lapply(seq_len(nrow(sites)), function(k) {
    draw_site(sites[k, ], match, match_sd = scale >= 1)
  })
  laws <- do.call(rbind, lapply(drawn, `[[`, "law"))
  sites[names(laws)] <- laws
  structure(do.call(rbind, lapply(drawn, `[[`, "households")), truth = microcredit_truth(sites))
}

# What was published of each trial: households, mean profit of the control group, effect and
# standard error (USD PPP per fortnight), shares of losses and of profits.
microcredit_facts <- utils::read.csv(text = "
country,     control, treated,    mean,  effect,     se, negative, positive
Mexico,         8298,    8262,  14.378,  -4.549,  5.879,    .0419,    .1309
Mongolia,        260,     701,  -0.678,  -0.341,  0.223,    .1759,    .0479
Bosnia,          568,     627,  97.344,  37.534, 19.780,        0,    .2745
India,          3264,    3599,  29.373,  16.722, 11.830,    .0466,    .2071
Morocco,        2778,    2720,  81.051,  17.544, 11.401,    .2759,    .5393
Philippines,     221,     892, 381.349,  66.564, 78.127,    .0090,    .8571
Ethiopia,       1527,    1586,  13.002,   7.289,  7.893,    .2515,    .6425
", strip.white = TRUE)

# The residual standard deviation behind the standard error, and m_0, m_1 - m_0 and s of the
# head of this file: with v the squared coefficient of variation, which the arms share, the
# residual variance is v times the mean of the arms' squared means.
profit_law <- function(sites) {
  sigma <- sites$se / sqrt(1 / sites$control + 1 / sites$treated)
  treated <- sites$treated / (sites$control + sites$treated)
  net <- sites$positive^1.5 - sites$negative^1.5
  square <- (1 - treated) * sites$mean^2 + treated * (sites$mean + sites$effect)^2
  s2 <- log((1 + sigma^2 / square) * net^2 / (sites$positive^2 + sites$negative^2))
  data.frame(sigma = sigma, meanlog = log(sites$mean / net) - s2 / 2,
             shift = log1p(sites$effect / sites$mean), sdlog = sqrt(s2))
}

# The households of one site and the law they come from: list(households, law). Matched, both
# arms must lean to the side of their means.
draw_site <- function(site, match, match_sd) {
  treatment <- rep(0:1, c(site$control, site$treated))
  repeat {
    draws <- draw_households(treatment, site, match)
    law <- if (match) matched_law(draws, site, match_sd) else site[c("meanlog", "shift", "sdlog")]
    if (!is.null(law)) break
  }
  size <- exp(law$meanlog + law$shift * treatment + law$sdlog * draws$z)
  households <- data.frame(country = factor(site$country, microcredit_facts$country),
                           treatment = treatment, profit = draws$tail * size)
  list(households = households, law = law)
}

# tail: 0, or the sign times the relative size, sqrt(p), of its tail; z: standard normal.
draw_households <- function(treatment, site, match) {
  shares <- c(site$negative, 1 - site$negative - site$positive, site$positive)
  sign <- z <- numeric(length(treatment))
  for (rows in split(seq_along(treatment), treatment)) {
    sign[rows] <- draw_signs(length(rows), shares, match)
    for (tail in split(rows, sign[rows])) z[tail] <- draw_normals(length(tail), match)
  }
  data.frame(treatment = treatment, tail = sign * sqrt(shares[sign + 2]), z = z)
}

# -1, 0 and 1 in these shares, which are exact to one household if matched.
draw_signs <- function(n, shares, match) {
  if (!match) return(sample(-1:1, n, replace = TRUE, prob = shares))
  bounds <- round(n * cumsum(c(0, shares)))
  sample(rep(-1:1, diff(bounds)))
}

# Standard normals, if matched one from each of n equally likely intervals, in random order.
draw_normals <- function(n, match) {
  if (!match) return(stats::rnorm(n))
  stats::qnorm((sample.int(n) - stats::runif(n)) / n)
}

# The parameters under which these draws have the published means and residual standard
# deviation; NULL where no parameters give an arm a mean of the published sign.
matched_law <- function(draws, site, match_sd) {
  arm <- draws$treatment + 1
  mean <- site$mean + c(0, site$effect)
  factors <- function(s) mean / tapply(draws$tail * exp(s * draws$z), arm, base::mean)
  excess <- function(s) {
    profit <- factors(s)[arm] * draws$tail * exp(s * draws$z)
    sum((profit - mean[arm])^2) / (length(arm) - 2) - site$sigma^2
  }
  s <- site$sdlog
  if (match_sd) s <- stats::uniroot(excess, s * c(0.5, 2), tol = 1e-13)$root
  if (any(factors(s) < 0)) return(NULL)
  level <- log(factors(s))
  data.frame(meanlog = level[[1]], shift = level[[2]] - level[[1]], sdlog = s)
}

microcredit_truth <- function(sites) {
  country <- sites$country
  values <- cbind("(Intercept)" = sites$mean, treatment = sites$effect)
  law <- function(t) {
    level <- sites$meanlog + t * sites$shift
    data.frame(country = factor(country, country), treatment = t, negative = sites$negative,
               zero = 1 - sites$negative - sites$positive, positive = sites$positive,
               meanlog_negative = level + log(sites$negative) / 2,
               meanlog_positive = level + log(sites$positive) / 2, sdlog = sites$sdlog)
  }
  list(
    theta = c(
      stats::setNames(sites$mean, paste0("country", country)),
      stats::setNames(sites$effect, sprintf("country%s:treatment", country)),
      stats::setNames(sites$sigma, paste0("sigma|", country))
    ),
    latent = latent_values(values, "country", country),
    profits = do.call(rbind, lapply(0:1, law))
  )
}
