# The fits that the packages around are tried on, each made once a file, and lmer's beside them.

orthodont <- as.data.frame(nlme::Orthodont)
orthodont$Subject <- factor(orthodont$Subject, ordered = FALSE)

chicks <- as.data.frame(ChickWeight)
chicks$Chick <- factor(chicks$Chick, ordered = FALSE)

# Eight schools (Rubin 1981).
schools <- data.frame(
  school = factor(LETTERS[1:8]), effect = c(28, 8, -3, 7, -1, 1, 18, 12),
  se = c(15, 10, 16, 11, 9, 11, 10, 18)
)

# Lines of two slopes, counts of two rates, two classes of answers, and units on two curves.
mixed_lines <- function() {
  withr::with_seed(1, {
    d <- sim_mixture(200, c(2, 1), coefficients = rbind(c(0, 1), c(3, -1)), sigma = c(0.5, 0.8))
    d$arm <- factor(sample(c("a", "b"), 200, TRUE))
    d
  })
}
mixed_counts <- function() {
  withr::with_seed(2, sim_mixture(200, c(2, 1), coefficients = rbind(c(0, 0.5), c(2, -0.5)),
                                  family = poisson()))
}
mixed_answers <- function() {
  withr::with_seed(3, sim_mixture(300, c(2, 1), mean = cbind(x = c(0, 2)), probability = list(
    colour = rbind(c(red = 0.7, green = 0.2, blue = 0.1), c(0.1, 0.2, 0.7)), smokes = c(0.8, 0.2)
  )))
}
mixed_curves <- function() {
  withr::with_seed(4, {
    d <- expand.grid(time = 0:4, id = 1:40)
    up <- rep(c(TRUE, FALSE), c(25, 15))[d$id]
    d$y <- ifelse(up, 1 + 2 * d$time, 6 - d$time) + rnorm(40)[d$id] + rnorm(200, sd = 0.5)
    d
  })
}

fit_kinds <- list(
  em = function() fit_glmm(distance ~ age * Sex + (age | Subject), orthodont),
  reml = function() {
    fit_glmm(distance ~ age * Sex + (age | Subject), orthodont, method = "reml")
  },
  vb = function() fit_glmm(distance ~ age * Sex + (age | Subject), orthodont, method = "vb"),
  joint = function() {
    fit_glmm(distance ~ age * Sex + (1 | Subject), orthodont, method = "joint",
             prior = priors(Subject = constant(2)))
  },
  meta = function() {
    fit_glmm(effect ~ 1 + (1 | school), schools, se = se, method = "reml")
  },
  regression = function() fit_mixture(y ~ x1 + arm, mixed_lines(), k = 2),
  regression_vb = function() fit_mixture(y ~ x1 + arm, mixed_lines(), k = 2, method = "vb"),
  poisson = function() fit_mixture(y ~ x1, mixed_counts(), k = 2, family = poisson()),
  normal = function() {
    fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV")
  },
  classes = function() {
    fit_mixture(responses(colour, smokes, x) ~ 1, mixed_answers(), k = 2)
  },
  curves = function() fit_mixture(y ~ time + (1 | id), mixed_curves(), k = 2, unit = ~ id),
  # Not in the table: a second mixed model, by both packages.
  chicks = function() {
    fit_glmm(weight ~ Time * Diet + (Time | Chick), chicks, method = "reml")
  },
  chicks_lmer = function() lmer(weight ~ Time * Diet + (Time | Chick), chicks),
  em_lmer = function() lmer(distance ~ age * Sex + (age | Subject), orthodont, REML = FALSE),
  reml_lmer = function() lmer(distance ~ age * Sex + (age | Subject), orthodont)
)

# By lmerTest at a tighter optimum than its default, so that its digits can be compared.
lmer <- function(formula, data, REML = TRUE) {
  skip_if_not_installed("lmerTest")
  control <- lme4::lmerControl(
    optimizer = "bobyqa", optCtrl = list(rhobeg = 1e-2, rhoend = 1e-8),
    check.conv.grad = "ignore"
  )
  # The call names no variable of this function: other packages evaluate it again.
  eval(bquote(lmerTest::lmer(.(formula), .(substitute(data)), REML = .(REML),
                             control = .(control))), parent.frame())
}

made_fits <- new.env()

fit_of <- function(kind) {
  if (is.null(made_fits[[kind]])) made_fits[[kind]] <- fit_kinds[[kind]]()
  made_fits[[kind]]
}
