# Cases for the fuzzer: what a user may hand over, sensible and not. A case is
#
#   list(seed, options, data, calls)
#
# `calls` are expressions that are evaluated one after the other where the data frame is `d`; the
# first makes `fit`, the others ask it something. Everything follows from the seed.

# One of several, or with probability `p` (of an odd choice) one of `odd`.
pick <- function(...) {
  choices <- list(...)
  choices[[sample.int(length(choices), 1)]]
}
chance <- function(p) stats::runif(1) < p
pick_mostly <- function(usual, odd, p = 0.1) if (chance(p)) pick_of(odd) else pick_of(usual)
pick_of <- function(x) x[[sample.int(length(x), 1)]]

# `kind`: "any", or "crossed" for models of several grouping factors alone.
generate_case <- function(seed, kind = "any") {
  set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
  data <- generate_data()
  fit <- if (kind == "crossed") generate_glmm(1) else if (chance(0.5)) generate_glmm(0.15)
         else generate_mixture()
  questions <- sample(if (fit[[1]] == quote(fit_glmm)) glmm_questions else mixture_questions, 8)
  list(seed = seed, options = generate_options(), data = data,
       calls = c(call("<-", quote(fit), fit), questions))
}

# Data ------------------------------------------------------------------------------------------

generate_data <- function() {
  n <- pick_mostly(c(12, 24, 40, 60), c(1, 2, 3, 5, 8), 0.08)
  m <- pick_mostly(c(4, 6, 8), c(1, 2, n), 0.06)
  d <- data.frame(
    x = generate_numbers(n), w = stats::rexp(n), g = generate_groups(n, m),
    f = factor(rep_len(c("a", "b"), n)), h = factor(sample(c("p", "q", "r"), n, TRUE)),
    ch = rep_len(c("u", "v", "u"), n), lg = stats::runif(n) < 0.4,
    t = rep_len(seq_len(max(1, n %/% m)), n)
  )
  group <- as.integer(factor(d$g, exclude = NULL))
  noise <- pick_mostly(c(1, 0.3), c(0, 1e-3, 1e-6, 1e-9, 1e3))
  d$y <- 1 + scaled(d$x) + stats::rnorm(max(group))[group] + noise * stats::rnorm(n)
  d$y2 <- d$y + stats::rnorm(n)
  z <- stats::runif(n) < 0.4
  d$y[z] <- d$y[z] + pick(0, 0, 3)
  d$cnt <- stats::rpois(n, exp(0.4 * scaled(d$x) + z)) * pick_mostly(1, c(0, 100))
  d$bin <- stats::rbinom(n, 1, 0.5)
  d$size <- 10
  d$succ <- stats::rbinom(n, 10, ifelse(z, 0.2, 0.7))
  d$s <- stats::rexp(n) + 0.1
  spoil_data(d)
}

scaled <- function(x) {
  spread <- stats::sd(x)
  if (is.na(spread) || spread == 0) 0 * x else (x - mean(x)) / spread
}

generate_numbers <- function(n) {
  x <- pick_mostly(list(stats::rnorm(n), stats::runif(n)),
                   list(rep(1, n), rep_len(1:3, n), sample(c(0, 1), n, TRUE),
                        1e8 + stats::rnorm(n),
                        c(1e6, stats::rnorm(n - 1)), seq_len(n)), 0.25)
  x * pick_mostly(1, c(1e-8, 1e8, 1e-90, 1e90, 1e-150, 1e150))
}

generate_groups <- function(n, m) {
  g <- sort(rep_len(seq_len(m), n))
  pick_mostly(list(factor(g), g, sprintf("g%d", g)),
              list(factor(sample(g)), factor(g, levels = seq_len(m + 2)), factor(c(NA, g[-1])),
                   ordered(g), seq_len(n), stats::rnorm(n)))
}

# Missing, infinite and repeated values, odd columns.
spoil_data <- function(d) {
  n <- nrow(d)
  if (chance(0.15)) d[sample.int(n, 1), pick_of(c("x", "y", "w", "f", "cnt", "y2"))] <- NA
  if (chance(0.02)) d[sample.int(n, 1), pick_of(c("x", "y", "w"))] <- pick(Inf, -Inf, NaN)
  if (chance(0.05)) d$y <- d$y * 10^stats::runif(1, -160, 160)
  if (chance(0.03)) d$y <- d$y[1]
  if (chance(0.03)) d <- d[rep(seq_len(n), length.out = n + 3), ]
  if (chance(0.03)) d$w[1] <- pick(0, -1)
  if (chance(0.03)) d$M <- cbind(d$x, d$w)
  if (chance(0.03)) d$date <- as.Date("2020-01-01") + d$t
  if (chance(0.005)) names(d)[1] <- "x y"
  if (chance(0.02)) d$f <- addNA(d$f)
  if (chance(0.02)) d$list <- lapply(seq_len(nrow(d)), identity)
  if (chance(0.02)) d$g <- as.Date("2020-01-01") + as.integer(factor(d$g, exclude = NULL))
  if (chance(0.03)) class(d) <- c(pick("tbl_df", "data.table", "mine"), class(d))
  d
}

generate_options <- function() {
  if (!chance(0.1)) return(list())
  pick(list(OutDec = ","), list(digits = 3), list(scipen = 100), list(scipen = -100),
       list(contrasts = c("contr.sum", "contr.poly")), list(na.action = "na.exclude"),
       list(na.action = "na.fail"), list(digits = 15), list(width = 40), list(warn = 1),
       list(stringsAsFactors = TRUE), list(warnPartialMatchDollar = TRUE),
       list(warnPartialMatchArgs = TRUE), list(warnPartialMatchAttr = TRUE),
       list(digits = 1), list(width = 200), list(max.print = 5), list(encoding = "latin1"))
}

# Calls that fit --------------------------------------------------------------------------------

sum_of <- function(terms) Reduce(function(a, b) call("+", a, b), terms)

fixed_terms <- alist(1, x, x, x + f, x * f, f, h, 0 + x, 0, poly(x, 2), splines::ns(x, 3), I(x^2),
                     x + offset(w), lg, ch, t, x:f, s(x), x - 1, cut(x, 2))
odd_fixed <- alist(absent, y, x + x, ., date, M, log(x), 1 / 0, factor(g), `x y`, x %in% f, f:h:ch,
                   x^2, offset(absent), NULL, "x", TRUE)
random_terms <- alist((1 | g), (1 | g), (x | g), (x || g), (0 + x | g), (1 | g:f), (f | g),
                      (t | g),
                      (1 | ch))
crossed_terms <- alist((1 | g) + (1 | h), (1 | g) + (1 | f), (1 | g / h), (1 | h / g),
                       (x | g) + (1 | h), (1 | g) + (x || h), diag(1 + f | g) + (1 | h),
                       (1 | g) + (0 + x | g) + (1 | ch), (1 | g) + (1 | h) + (1 | ch),
                       (1 | g) + (f | h), (1 | f / h / g), (t | g) + (t | h),
                       (1 | h) + (0 + x | g), (1 | g:f) + (1 | h))
odd_crossed <- alist((1 | g) + (1 | absent), ar1(t | g) + (1 | h), (1 | g) + cs(0 + f | h),
                     (1 | g) + (1 | factor(g)), (1 | h) + (1 | y), (1 | g) + (1 | x),
                     (x | h) + (x | h), (1 | h) + (h | g), (1 | g) + (0 | h), (1 | g) + 1 | h,
                     (1 | h) + s(x, k = 4))
odd_random <- alist((1 | absent), (1 | g) + (1 | f), (1 | g / f), (y | g), (0 | g), (1 | 1), 1 | g,
                    (1 | g) + (0 + x | g), (1 | g) + (1 | g), (x + w + t | g), ar1(t | g), (g | g),
                    (1 | x), s(x, k = 4))

odd_formulas <- alist(~ x, y, "y ~ x", y ~ x ~ w, NULL, 3, y | x ~ 1, y ~ (1 | g | x), log(y) ~ x,
                      cbind(y, y2) ~ x + (1 | g), factor(f) ~ x, ch ~ x, 1 ~ x)

prior_calls <- alist(
  priors(beta = normal(0, 10)), priors(sd = half_t(3, 2.5)), priors(sigma = half_cauchy(1)),
  priors(sd = half_normal(1)), priors(sd = exponential(1)), priors(sd = inverse_gamma(2, 1)),
  priors(sd = gamma_precision(3, 3)), priors(sd = constant(1)), priors(g = constant(1)),
  priors(sd = flat()), priors(beta = flat()), priors(cor = lkj(2)), priors(g = constant(Inf)),
  priors(beta = normal(0, 1), sd = half_t(3, 1), sigma = half_t(3, 1)), NULL,
  priors(sigma = exponential(1)), priors(sigma = half_normal(2)), priors(sigma = flat()),
  priors(sigma = inverse_gamma(2, 1)), priors(sigma = gamma_precision(3, 3)),
  priors(sigma = constant(1)), priors(sd = half_cauchy(2)), priors(x = normal(0, 1)),
  priors(x = constant(0)), priors(beta = constant(0)), priors(cor = constant(0)),
  priors(sd = constant(0)))
odd_priors <- alist(priors(sd = normal(0, 1)), priors(beta = lkj(1)), priors(nothing = flat()),
                    priors(sd = half_t(-1, 2)), priors(1), "flat", list(),
                    priors(sigma = constant(0)),
                    priors(beta = normal(0, NA)), priors(weight = dirichlet(1)), priors(sd = 3))

control_calls <- alist(
  elbo_control(n_starts = 2), elbo_control(n_starts = 2, max_iter = 1),
  elbo_control(n_starts = 1, accelerate = "none", max_iter = 50),
  elbo_control(n_starts = 2, accelerate = "squarem"), elbo_control(n_starts = 3, tol = 1e-3),
  elbo_control(n_starts = 2, threads = 2), elbo_control(n_starts = 2, seed = 7))
odd_controls <- alist(list(), NULL, elbo_control(tol = -1), elbo_control(max_iter = 0), 3,
                      elbo_control(n_starts = NA), elbo_control(seed = "a"))

# `crossed`: how probable several grouping factors are.
generate_glmm <- function(crossed) {
  fixed <- pick_mostly(fixed_terms, odd_fixed, 0.08)
  several <- chance(crossed)
  random <- if (several) pick_mostly(crossed_terms, odd_crossed, 0.08)
            else if (chance(0.85)) pick_mostly(random_terms, odd_random, 0.08)
  formula <- call("~", quote(y), if (is.null(random)) fixed else call("+", fixed, random))
  if (chance(0.03)) formula <- pick_of(odd_formulas)
  arguments <- list(formula, quote(d))
  methods <- if (several) c("em", "reml", "em", "reml", "joint") else c("em", "reml", "vb", "joint")
  arguments$method <- pick_mostly(methods, list("ml", 3, NA, "vb"), 0.02)
  maybe <- function(p, usual, odd) if (chance(p)) pick_mostly(usual, odd, 0.15)
  arguments$prior <- maybe(if (several) 0.1 else 0.35, prior_calls, odd_priors)
  # Points on the latent variables have no maximum with a free sd.
  if (identical(arguments$method, "joint") && chance(0.8)) {
    arguments$prior <- pick(quote(priors(sd = constant(1))), quote(priors(g = constant(2))))
  }
  arguments$weights <- maybe(0.12, alist(w), alist(x, absent, -w, 1:3, "w", f))
  arguments$sigma <- maybe(if (several) 0.03 else 0.15, alist(~ f, ~ 1, ~ h, ~ ch),
                           alist(~ x, ~ g, f, ~ absent, ~ f + h))
  arguments$se <- maybe(0.1, alist(s), alist("s", 0 * s, -s, absent, 1))
  arguments$offset <- maybe(0.05, alist(w, x), alist(f, 1:2, absent))
  arguments$subset <- maybe(0.05, alist(x > 0, 1:10), alist(x > 1e200, "a", absent > 1))
  arguments$na.action <- maybe(0.08, alist(na.exclude, na.omit), alist(na.fail, na.pass, "no", 3))
  arguments$factorization <- maybe(0.08, list("structured", "mean_field"), list("none", 1))
  arguments$control <- pick_mostly(control_calls, odd_controls, 0.03)
  as.call(c(quote(fit_glmm), arguments))
}

mixture_formulas <- list(
  gaussian = alist(y ~ 1, cbind(y, y2) ~ 1, cbind(y, x, y2) ~ 1, y ~ x, y ~ x + f, y ~ x * f,
                   y ~ poly(x, 2), y ~ 0 + x, cbind(y, cnt) ~ 1),
  poisson = alist(cnt ~ 1, cnt ~ x, cnt ~ f, cnt ~ x + offset(w)),
  binomial = alist(bin ~ 1, bin ~ x, cbind(succ, size - succ) ~ 1, cbind(succ, size - succ) ~ x,
                   lg ~ x, f ~ x),
  classes = alist(responses(f, h, ch) ~ 1, responses(f, lg, y) ~ 1, responses(h, lg) ~ 1,
                  responses(f, h, lg, y, x) ~ 1),
  curves = alist(y ~ t + (1 | g), y ~ t + (t | g), y ~ 1 + (1 | g), y ~ s(t) + (1 | g),
                 y ~ poly(t, 2) + (1 | g)))
odd_mixture_formulas <- alist(y ~ absent, ~ y, cbind(y, f) ~ 1, cbind(cnt, bin) ~ x,
                              responses(.) ~ 1, responses(y) ~ x, y ~ x + (1 | g) + (1 | f),
                              y ~ y + x,
                              f ~ 1, cbind(y, y) ~ 1, cbind(y, 2 * y) ~ 1, M ~ 1, "y ~ 1", NULL,
                              responses(absent) ~ 1, log(y) ~ 1, ch ~ x, 1 ~ 1)

generate_mixture <- function() {
  law <- pick_of(names(mixture_formulas))
  arguments <- list(pick_mostly(mixture_formulas[[law]], odd_mixture_formulas, 0.06), quote(d))
  arguments$k <- pick_mostly(alist(2, 2, 3, 1:2, 1), alist(0, 1000, "2", NA, 1.5, -1, 1:4), 0.06)
  if (law %in% c("poisson", "binomial")) arguments$family <- call(law)
  if (law == "curves") arguments$unit <- pick_mostly(alist(~ g), alist(g, ~ f, ~ absent, "g"),
                                                     0.05)
  maybe <- function(p, usual, odd) if (chance(p)) pick_mostly(usual, odd, 0.15)
  arguments$method <- pick_mostly(c("em", "em", "vb", "joint"), list("reml", 2), 0.02)
  if (law == "gaussian") {
    models <- list("VVV", "EII", "V", "E", "full", "diagonal", "tied", c("VVV", "EEE"), "VVE")
    arguments$covariance <- maybe(0.6, models, list("XYZ", 3, NA))
  }
  arguments$random_covariance <- if (law == "curves") {
    maybe(0.5, list("identity", "diagonal", c("diagonal", "common")), list("none", diag(7)))
  }
  arguments$sigma <- maybe(0.08, alist(~ 1, ~ component), alist(~ x, 1))
  arguments$membership <- maybe(0.1, alist(~ w, ~ f), alist(~ absent, w, ~ y, ~ (1 | g)))
  if (law != "curves") arguments$unit <- maybe(0.08, alist(~ g), alist(g, ~ absent))
  arguments$prior <- maybe(0.2, alist(priors(weight = dirichlet(4)), NULL,
                                      priors(beta = normal(0, 10)),
                                      priors(weight = stick_breaking(1)),
                                      priors(sigma = half_t(3, 1)), priors(sd = half_normal(1)),
                                      priors(sigma = exponential(1)), priors(cor = lkj(2)),
                                      priors(covariance = inverse_wishart(5, 1)),
                                      priors(mean = normal(0, 10)), priors(beta = flat()),
                                      priors(sigma = constant(1)), priors(sd = constant(0))),
                           odd_priors)
  arguments$weights <- maybe(0.06, alist(w), alist(-w, absent, 1:3))
  arguments$freq <- maybe(0.06, alist(t), alist(-t, w, absent))
  arguments$start <- maybe(0.05, alist(rep(1:2, length.out = nrow(d))),
                           alist(1:3, "a", matrix(1, 2, 2)))
  arguments$na.action <- maybe(0.05, alist(na.exclude, na.omit), alist(na.fail, "no"))
  arguments$control <- pick_mostly(control_calls, odd_controls, 0.03)
  as.call(c(quote(fit_mixture), arguments))
}

# Questions to a fit ----------------------------------------------------------------------------

common_questions <- alist(
  print(fit), summary(fit), print(summary(fit)), theta(fit), coef(fit), vcov(fit),
  vcov(fit, full = TRUE), vcov(fit, type = "sandwich"), vcov(fit, type = "no"), confint(fit),
  confint(fit, level = 0.8), confint(fit, parm = "x"), confint(fit, parm = 1), logLik(fit),
  AIC(fit),
  BIC(fit), elbo(fit), elbo_trace(fit), convergence(fit), print(convergence(fit)), latent(fit),
  predict(fit), predict(fit, d[1:2, ]), predict(fit, d[0, ]), predict(fit, as.matrix(d[1])),
  predict(fit, transform(d, x = Inf)), predict(fit, d[names(d) == "x"]),
  predict(fit, transform(d, g = "new")),
  predict(fit, transform(d, x = NA)), predict(fit, type = "no"), fitted(fit), residuals(fit),
  residuals(fit, type = "no"), simulate(fit, 2, seed = 1), simulate(fit, -1), update(fit, . ~ .),
  update(fit, method = "vb"), update(fit, method = "em"), update(fit, method = "joint"),
  update(fit, prior = NULL), tidy(fit), tidy(fit, conf.int = TRUE), tidy(fit, effects = "no"),
  glance(fit), augment(fit), augment(fit, newdata = d[1:3, ]), anova(fit), anova(fit, fit),
  plot(fit),
  plot(fit, type = "elbo"), plot(fit, type = "no"), plot(fit, type = "latent"),
  plot(fit, type = "residuals"), compare_fits(fit, fit), compare_fits(a = fit), nobs(fit),
  df.residual(fit), formula(fit), terms(fit), model.frame(fit), family(fit), weights(fit),
  sigma(fit),
  deviance(fit), bootstrap(fit, 2), sensitivity(fit), sensitivity(fit, to = "data"),
  variational(fit),
  knitr::knit_print(fit), sandwich::sandwich(fit), drop1(fit), step(fit),
  predict(fit, NULL), predict(fit, list(x = 1)), predict(fit, d[c(1, NA), ]),
  predict(fit, transform(d, f = "other")), predict(fit, transform(d, f = 1)),
  predict(fit, transform(d, x = as.character(x))),
  predict(fit, d[rep(1, 3), ], na.action = na.omit),
  print(variational(fit)), print(selection(fit)), print(elbo_trace(fit)), summary(summary(fit)),
  knitr::knit_print(summary(fit)), knitr::knit_print(compare_fits(fit)),
  knitr::knit_print(elbo_trace(fit)), ggplot2::autoplot(fit),
  plot(compare_fits(fit, fit)), plot(fit, type = "objective"), plot(fit, type = "decomposition"),
  plot(fit, type = "forest"), posterior::as_draws(fit), loo::loo(fit),
  rstantools::posterior_epred(fit), rstantools::posterior_predict(fit, draws = 5),
  rstantools::log_lik(fit),
  tidy(fit, effects = "fixed"),
  tidy(fit, effects = "ran_pars", conf.int = TRUE), update(update(fit, . ~ .), method = "em"),
  theta(update(fit, . ~ . - x)), extractAIC(fit), case.names(fit), variable.names(fit),
  vcov(fit, full = TRUE, type = "full_observed"), vcov(fit, type = "linear_response"),
  confint(fit, "beta_"), confint(fit, "theta_"), confint(fit, parm = character()), fit$nothing)

glmm_questions <- c(common_questions, alist(
  fixef(fit), ranef(fit), as.data.frame(ranef(fit)), VarCorr(fit), as.data.frame(VarCorr(fit)),
  model.matrix(fit), confint(fit, type = "profile"), confint(fit, type = "bootstrap", nsim = 3),
  predict(fit, d[1:4, ], interval = "prediction"), predict(fit, interval = "confidence"),
  predict(fit, d[1:2, ], re.form = NA), predict(fit, se.fit = TRUE),
  residuals(fit, type = "pearson"),
  predict(fit, transform(d, g = "new"), allow.new.levels = TRUE, interval = "prediction"),
  simulate(fit, 1, re.form = NA), update(fit, method = "reml"), update(fit, . ~ . + w),
  update(fit, . ~ 1), update(fit, sigma = ~ f), tidy(fit, effects = "ran_vals"),
  tidy(fit, effects = "ran_coefs"), plot(fit, type = "curves"), influence(fit), hatvalues(fit),
  cooks.distance(fit), lme4::ngrps(fit), lme4::isSingular(fit), lme4::getME(fit, "theta"),
  anova(fit, type = 2), anova(fit, update(fit, . ~ . + w)), rstandard(fit),
  elbo(fit, theta = theta(fit)), emmeans::emmeans(fit, ~ 1)))

mixture_questions <- c(common_questions, alist(
  components(fit), selection(fit), predict(fit, type = "prob"), predict(fit, type = "response"),
  predict(fit, d[1:3, ], type = "prob"), update(fit, k = 3), update(fit, k = 1),
  plot(fit, type = "curves"),
  plot(fit, type = "components"), plot(fit, type = "selection"), confint(fit, type = "bootstrap"),
  plot(fit, type = "classification"), plot(fit, type = "deviations"),
  as.data.frame(selection(fit)), predict(fit, d[1:3, ], by_component = TRUE),
  anova(fit, update(fit, k = 1), nsim = 3), confint(bootstrap(fit, 3)),
  sensitivity(fit, to = "prior"),
  ranef(fit)))
