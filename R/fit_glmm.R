#' Fit a mixed model by joint, marginal or restricted likelihood, or variational Bayes
#'
#' Fits Gaussian mixed models,
#' \deqn{y_i = x_i'\beta + z_i'u_{g(i)} + \epsilon_i, \quad u_g \sim N(0, \Sigma), \quad
#'   \epsilon_i \sim N(0, \sigma_{l(i)}^2 / w_i),}{
#'   y_i = x_i' beta + z_i' u_g(i) + e_i,  u_g ~ N(0, Sigma),  e_i ~ N(0, sigma_l(i)^2 / w_i),}
#' by maximising one objective, the evidence lower bound, over the approximating family that
#' `method` names. The law of the latent variables \eqn{u_g} belongs to the model and is the same
#' under every method.
#'
#' @param formula A two-sided formula in the grammar of lme4: `y ~ x + (1 + x | site)`. `||`
#'   keeps the terms uncorrelated; several `( | )` with the same group are independent blocks;
#'   without any `( | )` the model is the ordinary linear one. `offset()` is allowed, and `bs()`,
#'   `ns()`, `poly()` predict correctly. `s(x)` is a smooth curve, see below.
#' @param data A data frame. Variables not found in it are looked up where the formula was made.
#' @param family [stats::gaussian()] with identity link, [stats::binomial()] (logit, probit,
#'   cloglog), [stats::poisson()], [negative_binomial()] or [cumulative()]: a family, a function or
#'   its name. See below for responses that are not gaussian.
#' @param method What is integrated and what is a point:
#'   \describe{
#'   \item{`"joint"`}{nothing is integrated: latent variables and parameters are maximised
#'     together. It is wrong (Neyman and Scott, 1948) and here to show it.}
#'   \item{`"em"`}{the latent variables are integrated exactly: marginal maximum likelihood.}
#'   \item{`"reml"`}{latent variables and coefficients are integrated: restricted maximum
#'     likelihood.}
#'   \item{`"vb"`}{variational Bayes: distributions for everything, the best of the form
#'     \eqn{q(\beta, u)\,q(\Sigma)\,q(\sigma^2)}{q(beta, u) q(Sigma) q(sigma^2)}; covariances by
#'     linear response.}
#'   }
#' @param prior What [priors()] makes: constants, as `priors(site = constant(1))` for latent
#'   variables of standard deviation 1 (`constant(Inf)`: no law at all, they are integrated by
#'   Lebesgue measure or, under `"joint"`, free points), and priors. With priors `"em"` and `"reml"`
#'   give the mode of the marginal posterior. `NULL`: nothing is stated, and `"vb"` uses weak
#'   defaults on the scale of the data, see [priors()].
#' @param weights Precision weights: the residual variance of a row is \eqn{\sigma^2/w}. Neither
#'   copies of rows nor survey weights. Two measurements averaged are one row of weight 2.
#' @param offset Added to the linear predictor.
#' @param sigma `~ f` gives each level of the factor `f` its own residual standard deviation.
#' @param se Known standard errors of the response, as in a meta-analysis: no residual standard
#'   deviation is estimated.
#' @param subset,na.action As in [stats::lm()].
#' @param factorization For `"vb"`: `"structured"`, q(beta, u); or, to show what independence
#'   costs, `"mean_field"`, q(beta) q(u), or `"by_factor"`, q(beta) and a q(u) for each grouping
#'   factor. With several factors the last is what others call mean field: its standard deviations
#'   collapse as the factors' levels grow in number (Goplerud, Papaspiliopoulos and Zanella 2025).
#' @param control Settings made by [elbo_control()].
#' @param contrasts Codings of the factors of the fixed part, as in [stats::lm()]:
#'   `list(f = "contr.sum")`.
#' @param REML lme4's word: `TRUE` for `method = "reml"`, `FALSE` for `"em"`. `method = "REML"` and
#'   `"ML"`, as in nlme, are understood too.
#' @param ... Nothing further: words of other packages are refused with ours for them.
#'
#' @details
#' Rows are reduced once to sufficient statistics for each group, so that an iteration costs
#' groups, not rows. The ascent starts with EM and ends with Newton's method on the exact score,
#' with the observed information as a by-product; every step is recorded ([elbo_trace()]) and a
#' fall of the ELBO is an error. A variance of zero, or a singular covariance, is a legitimate
#' answer: it is found exactly, and said in words.
#'
#' Variational Bayes. q(beta, u) is normal, q(Sigma) inverse Wishart, q(sigma^2) inverse gamma:
#' under half-t priors on the standard deviations (Huang and Wand 2013) in closed form, under other
#' priors with degrees of freedom at their best, see [priors()]. [theta()] gives the posterior means
#' under q. Factors that are independent of each other are too narrow; `vcov()`, `summary()`,
#' `confint()` and [latent()] use linear response covariances (Giordano, Broderick and Jordan 2018),
#' the derivative of the means under a tilt of the posterior, which puts the dependence back;
#' [convergence()] says how far they may be trusted, which depends on the ratio of the variances
#' more than on the number of groups.
#'
#' Columns of the design that say nothing new are dropped, as `lm()` does, and reported.
#'
#' The fit is refused, with the reason, where the objective has no bound: points on the latent
#' variables with a free standard deviation, latent variables without a law that fit every row,
#' or a residual standard deviation whose rows are fitted without error.
#'
#' @section Responses that are not gaussian:
#' The linear predictor \eqn{x_i'\beta+z_i'u_{g(i)}}{x_i'beta + z_i'u_g(i)} is then the link of the
#' mean. A binomial response is 0 and 1, `TRUE` and `FALSE`, a factor of two levels (the first is
#' failure), `cbind(successes, failures)`, or proportions with the numbers of trials as `weights`;
#' counts take `offset(log(exposure))`; [cumulative()] takes an ordered factor. Other weights
#' multiply the log density of a row.
#'
#' With one grouping factor `"em"` integrates the latent variables by adaptive Gauss-Hermite
#' quadrature, whose nodes grow until the log-likelihood and the estimates stop moving, or are as
#' many as [elbo_control()] says; one node is Laplace's method, which is also that of several
#' factors. Where one latent term needs many nodes, they become those of the trapezoidal rule on a
#' window around each posterior. The first steps of [elbo_trace()] are by few nodes; where their
#' number grows a step `"E"` shows the log-likelihood anew. Without `( | )` the fit is that of
#' [stats::glm()]. Tests are z tests, and there is no restricted likelihood. `"vb"` takes binomial
#' and Poisson responses, with `factorization` `"structured"` or `"mean_field"`.
#'
#' `"vb"` has the best normal q(beta, u), with all covariances of coefficients and latent variables:
#' its precision is that of the prior and, for each row, the expected curvature of the log density
#' (Opper and Archambeau 2009). Expectations are over the normal predictor of a row, by as many
#' nodes as they take, or in closed form. `convergence()` judges linear response by importance
#' sampling, where latent variables are integrated by quadrature. Default priors: see [priors()].
#'
#' Where a combination of the coefficients separates the responses (all of one level of a factor are
#' 0, say) the likelihood rises without end along it: such a fit is refused, by an exact test, and
#' the message names the coefficients. A normal prior of these coefficients is a remedy.
#'
#' @section Laws of random terms:
#' `(0 + f | g)` has any covariance of the levels of `f`. As in lme4 and glmmTMB there are
#' `diag(0 + f | g)`, without correlations, `cs(0 + f | g)`, compound symmetry, one correlation of
#' any two columns, `cor__|g`, at least \eqn{-1/(q-1)}{-1 / (q - 1)}; and `ar1(0 + f | g)`,
#' whose columns `i` and `j` have the correlation \eqn{\rho^{|i-j|}}{rho^|i - j|}, in the order
#' of the levels, `rho__|g`. Each has a standard deviation for each column (`hom = FALSE`) or one in
#' common, `sd__|g` (`hom = TRUE`, the default of `ar1()` alone). With one row for each level of `f`
#' in a group `cs(hom = TRUE)` and the residuals cannot be told apart. Methods `"em"` and `"joint"`
#' have them for every `family`, `"reml"` for gaussian responses; `"vb"` does not.
#'
#' @section Smooth terms:
#' `s(x, k = 10, by = NULL)` adds a natural cubic spline \eqn{f(x)} with `k` knots at quantiles of
#' the distinct values of `x`. Its integrated squared second derivative is penalised, which is a law
#' of its coefficients (Wahba 1978): with `x` measured in units of the range of the knots,
#' \deqn{f(x) = x\beta + \sum_j B_j(x) b_j, \quad b \sim N(0, \sigma_s^2 I), \quad
#'   \int f''(x)^2 dx = b'b.}{f(x) = x beta + sum_j B_j(x) b_j,  b ~ N(0, sd^2 I),
#'   integral of f''(x)^2 = b'b.}
#' So `b` is one more latent vector, of all rows, and the penalty's weight \eqn{\sigma^2/\sigma_s^2}
#' is estimated with the rest: `sd__s(x)` in [theta()]. `k` sets how rough a curve can be and need
#' not be guessed; twice as many knots should change little. A standard deviation of zero is a
#' straight line. The straight line has no law and is a fixed effect under the name of `x`; the
#' columns \eqn{B_j} are orthogonal to it and to the intercept over the rows, and to each other,
#' from smooth to rough. `"em"` and `"reml"` integrate `b`; `"vb"` has it in q(beta, u), and an
#' inverse gamma distribution of \eqn{\sigma_s^2}{sd^2}; `"joint"` has points, and takes no free
#' `sd__s(x)`.
#'
#' `s(x, by = f)` with a factor `f` has a curve for each level, with a standard deviation each;
#' their levels are the main effect of `f`, to be added to the formula. `s(x, by = z)` with a number
#' `z` is \eqn{z f(x)}, the level of \eqn{f} included. `s` is a word of the formula, with the
#' meaning it has in mgcv, whose fits by `method = "REML"` with the basis `"cr"` on the same knots
#' are the same. `anova()` of one fit tests its straight line only; the curve is tested against the
#' fit without it. `summary()` gives effective degrees of freedom, `plot(fit, type = "curves")` the
#' curves, [predict()][predict.elbo_glmm] curves and bands.
#'
#' @return An object of class `c("elbo_glmm", "elbo_fit")`. Its answers are functions:
#'   [theta()], [vcov()][vcov.elbo_fit], [confint()][confint.elbo_fit], [latent()],
#'   [elbo_trace()], [convergence()], [compare_fits()], [bootstrap()], [sensitivity()], `predict`,
#'   `simulate`, `plot`, and the usual generics.
#' @references
#' Neyman, J. and Scott, E. L. (1948). Consistent estimates based on partially consistent
#' observations. *Econometrica* 16, 1--32. \doi{10.2307/1914288}
#'
#' Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete data
#' via the EM algorithm. *Journal of the Royal Statistical Society B* 39, 1--38.
#' \doi{10.1111/j.2517-6161.1977.tb01600.x}
#'
#' Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear mixed-effects models
#' using lme4. *Journal of Statistical Software* 67(1). \doi{10.18637/jss.v067.i01}
#'
#' Wahba, G. (1978). Improper priors, spline smoothing and the problem of guarding against model
#' errors in regression. *Journal of the Royal Statistical Society B* 40, 364--372.
#' \doi{10.1111/j.2517-6161.1978.tb01050.x}
#'
#' Wood, S. N. (2017). *Generalized Additive Models: An Introduction with R*, 2nd edition. Chapman
#' and Hall. \doi{10.1201/9781315370279}
#'
#' Goplerud, M., Papaspiliopoulos, O. and Zanella, G. (2025). Partially factorized variational
#' inference for high-dimensional mixed models. *Biometrika* 112.
#' \url{https://arxiv.org/abs/2312.13148}
#'
#' Giordano, R., Broderick, T. and Jordan, M. I. (2018). Covariances, robustness, and variational
#' Bayes. *Journal of Machine Learning Research* 19(51), 1--49.
#'
#' Huang, A. and Wand, M. P. (2013). Simple marginally noninformative prior distributions for
#' covariance matrices. *Bayesian Analysis* 8, 439--452. \doi{10.1214/13-BA815}
#' Opper, M. and Archambeau, C. (2009). The variational Gaussian approximation revisited. *Neural
#' Computation* 21, 786--792. \doi{10.1162/neco.2008.08-07-592}
#' @family models
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' fit
#' update(fit, method = "reml")
#'
#' # A residual standard deviation for each sex
#' fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, sigma = ~ Sex)
#'
#' # Meta-analysis: the standard errors are known
#' fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se, method = "reml")
#'
#' # Neyman and Scott: pairs with a mean each, jointly and marginally
#' pairs <- sim_pairs(500, theta = 1)
#' law <- priors(pair = constant(1))
#' fit_glmm(y ~ 0 + (1 | pair), pairs, method = "joint", prior = law)
#' fit_glmm(y ~ 0 + (1 | pair), pairs, method = "em", prior = law)
#'
#' # A curve whose roughness is estimated: the growth of chickens
#' chicks <- fit_glmm(weight ~ s(Time) + (1 | Chick), ChickWeight, method = "reml")
#' chicks
#' plot(chicks, type = "curves")
#'
#' # Variational Bayes, with default priors, beside the others
#' bayes <- update(fit, method = "vb")
#' summary(bayes)
#' compare_fits(em = fit, reml = update(fit, method = "reml"), vb = bayes)
#' @useDynLib elbo, .registration = TRUE, .fixes = "C_"
#' @importFrom stats gaussian
#' @export
fit_glmm <- function(formula, data, family = gaussian(), method = c("em", "reml", "vb", "joint"),
                     prior = NULL, weights = NULL, offset = NULL, sigma = ~ 1, se = NULL, subset,
                     na.action, factorization = c("structured", "mean_field", "by_factor"),
                     control = elbo_control(), contrasts = NULL, REML = NULL, ...) {
  started <- proc.time()[["elapsed"]]
  call <- match.call()
  check_dots_empty(..., .words = foreign_words$fit_glmm)
  family <- check_family(family, parent.frame())
  method <- glmm_method(method, REML)
  if (!is.null(REML)) call$method <- method
  call$REML <- NULL
  factorization <- check_choice(factorization, "factorization",
                                c("structured", "mean_field", "by_factor"))
  check(inherits(control, "elbo_control"), "control", "made by elbo_control()", control)

  parts <- glmm_frame(call, parent.frame(), family)
  design <- parts$design
  check_glmm_magnitudes(design, names(parts$frame)[1])
  if (method == "vb" && factorization != "structured") {
    check_no_curves(design, sprintf("`factorization` = \"%s\"", factorization),
                    c("It takes coefficients and latent variables apart, and a curve is both, a",
                      "line and what bends it, split where its basis has it. Use \"structured\"."))
  }
  if (method == "vb") check_structure(design, "`method` = \"vb\"")
  held <- glmm_constants(prior, design, method)
  answer <- if (is_gaussian_family(family)) {
    fit_gaussian(design, held, method, prior, factorization, control)
  } else {
    fit_general(design, held, method, prior, family, factorization, control)
  }
  fit <- c(list(call = call),
           parts[c("formula", "frame", "variables", "terms", "xlevels", "contrasts")],
           list(family = family, method = method, prior = prior, factorization = factorization,
                control = control, design = answer$design), answer$elements)
  fit <- with_verdict(new_elbo_fit(fit, answer$class))
  seconds_of(fit) <- proc.time()[["elapsed"]] - started
  warn_unfinished(fit)
  warn_unidentified(fit)
  fit
}

# Design, elements and class of the fit.
fit_gaussian <- function(design, held, method, prior, factorization, control) {
  check_no_quadrature(control)
  check_bounded(design, held, method)
  check_restricted(design, held, method, prior)
  answer <- ascend_glmm(design, held, method, control, function(design, held) {
    said <- without_priors(prior, design$aliased)
    if (method == "vb") glmm_vb(said, design, held, factorization)
    else glmm_map(said, design, held)
  })
  list(design = answer$design, elements = glmm_estimates(answer), class = "elbo_glmm")
}

# lme4 and nlme say it by `REML`, or "REML" and "ML".
glmm_method <- function(method, REML) {
  methods <- c("em", "reml", "vb", "joint")
  said <- !identical(method, methods)
  if (identical(method, "ML")) method <- "em"
  if (identical(method, "REML")) method <- "reml"
  method <- check_choice(method, "method", methods)
  if (is.null(REML)) return(method)
  check_flag(REML, "REML")
  if (!said) return(if (REML) "reml" else "em")
  if (REML == (method == "reml")) return(method)
  abort(sprintf("`REML` = %s and `method` = \"%s\" contradict each other; leave out `REML`.", REML,
                method), "elbo_error_argument")
}

check_glmm_magnitudes <- function(design, name) {
  response <- stats::setNames(list(design$y), name)
  # Weights are known up to their unit, which only that of the residual sd has to bear.
  weights <- column_sizes(if (!design$known_se) list(weights = design$weights))
  se <- column_sizes(if (design$known_se) list(se = 1 / sqrt(design$weights)))
  y <- column_sizes(response)
  x <- column_sizes(list(X = design$X, Z = design$Z))
  check_magnitudes(c(y, x, column_sizes(list(offset = design$offset)), se))
  check_ratios(y, x, weights)
}

# Constants ---------------------------------------------------------------------------------------

# theta of a design, in order: one row a parameter, with its block and the value it is held at (NA
# where it is free).
glmm_constants <- function(prior, design, method = "em") {
  parameters <- glmm_parameters(design)
  resolved <- resolve_priors(prior, parameters, group_names(design))
  covariance <- covariance_index(parameters, design)
  check_constants(resolved, parameters, covariance)
  parameters$constant <- constant_values(resolved)
  # Where there is no law there is no correlation to estimate.
  lawless <- covariance[is.infinite(parameters$constant)]
  parameters$constant[parameters$role == "cor" & covariance %in% lawless] <- 0
  parameters
}

glmm_parameters <- function(design) {
  bind_parameters(
    parameter_rows("beta", colnames(design$X)),
    law_parameters(design),
    parameter_rows("smooth", curve_labels(design$curves)),
    if (!design$known_se && is.null(design$response)) {
      parameter_rows("sigma", if (is.null(design$level)) NA else levels(design$level))
    },
    own_parameters(design)
  )
}

held_values <- function(held, block) held$constant[in_block(held, block)]

# The rho of ar1() is one of the correlations.
in_block <- function(parameters, block) {
  parameters$block == block | (block == "cor" & parameters$block == "rho")
}

# Where the objective has no maximum --------------------------------------------------------------

check_bounded <- function(design, held, method) {
  check_rows_left(design, held, method)
  q <- ncol(design$Z)
  if (q == 0 && method == "joint") check_joint(design, held)
  if (q == 0) return()
  sd <- law_sds(design, held_values(held, "sd"))
  free <- is.na(sd)
  if (any(free) && method != "vb") {
    groups <- design$groups
    Map(check_group_levels, groups, names(groups))
  }
  if (method == "joint") check_joint(design, held)
  check_lawless(design, held, is.infinite(sd))
  if (method != "vb" && !is_crossed(design)) check_identified(design, held)
}

# Without a law latent variables are what their factor's rows say of them.
check_lawless <- function(design, held, lawless) {
  if (!any(lawless)) return()
  name <- unique(column_groups(design)[lawless])
  if (length(name) > 1) {
    abort(c(sprintf("Latent variables of %s have no law, and what one of them gains another may",
                    quote_names(name)),
            "lose, so that their integral is infinite. Give all but one factor a law."),
          "elbo_error_unbounded")
  }
  group <- design$groups[[name]]
  size <- tabulate(group, nlevels(group))
  n <- sum(lawless)
  if (all(size <= n)) {
    abort(c("The objective has no bound: without a law the latent variables fit every row, with",
            sprintf("at most %d rows in each level of `%s` and %d latent terms.", max(size), name,
                    n),
            "Give them a law, as by constant(1), or leave their standard deviation free."),
          "elbo_error_unbounded")
  }
  few <- lawless_rank(design$Z[, lawless, drop = FALSE], group) < n
  if (any(few)) {
    abort(c(sprintf("The rows of some levels of `%s` cannot tell %d latent terms without a law",
                    name, n),
            sprintf("apart, so that their integral is infinite: %s. Leave them out, or give the",
                    enumerate(levels(group)[few], 5)),
            "terms a law."), "elbo_error_unbounded")
  }
  check_left(design, held, lawless, group)
}

# Points on z pile up at zero, or in the subspace of a singular covariance, where their density
# has no bound.
check_joint <- function(design, held) {
  free <- held[held$block %in% c("sd", "cor", "rho", "smooth") & is.na(held$constant), ]
  if (nrow(free) == 0) return()
  remedy <- switch(free$block[1],
    sd = sprintf("Hold it, as by prior = priors(%s = constant(1)),", group_names(design)),
    cor = , rho = "Write `||`, or hold it too, as by priors(cor = constant(0)),",
    smooth = sprintf("Hold it, as by prior = priors(`%s` = constant(1)),", free$name[1])
  )
  abort(c(sprintf("`method` = \"joint\" has no maximum while `%s` is free:", free$name[1]),
          "the density of the latent variables as points grows without bound as their covariance",
          "becomes singular.", remedy, "or use method = \"em\"."), "elbo_error_unbounded")
}

# Rank of columns without a law, level by level.
lawless_rank <- function(Z, group) {
  if (ncol(Z) < 2) return(pmin(tabulate(group[rowSums(Z != 0) > 0], nlevels(group)), ncol(Z)))
  vapply(split(seq_len(nrow(Z)), group), function(i) qr(Z[i, , drop = FALSE])$rank, 0L)
}

# Terms of a factor whose levels are unions of those without a law have nothing left to themselves
# where they are combinations of these.
check_left <- function(design, held, lawless, group) {
  sds <- which(held$block == "sd")
  free <- law_sds(design, is.na(held$constant[sds]))
  for (k in which(free & !lawless)) {
    outer <- design$groups[[column_groups(design)[k]]]
    if (identical(outer, group) || !is.na(divided_level(group, outer))) next
    Z <- design$Z[, lawless, drop = FALSE]
    if (any(lawless_rank(cbind(Z, design$Z[, k]), group) > ncol(Z))) next
    abort(c(sprintf("Nothing is left of the data for `%s`: its levels are made of those of `%s`,",
                    held$name[sds[law_shape(design)$sd[k]]], column_groups(design)[lawless][1]),
            "which have no law. Leave one of the two out of the formula, or give both a law."),
          "elbo_error_formula")
  }
}

# A fit through every row leaves nothing for the variances.
check_rows_left <- function(design, held, method) {
  n <- length(design$y)
  learns <- if (method %in% c("reml", "vb")) c("sd", "cor", "rho", "smooth", "sigma") else "sigma"
  if (n > ncol(design$X) || !anyNA(held$constant[held$block %in% learns])) return()
  if (n > qr(design$X[, is.na(held_values(held, "beta")), drop = FALSE])$rank) return()
  abort(c(sprintf("There are no more rows (%d) than fixed effects to fit them with, so that", n),
          "the data say nothing about the variances. Drop terms of `formula`."), "elbo_error_data")
}

# The ascent --------------------------------------------------------------------------------------

# The rows as C reads them, once, into the statistics.
glmm_rows <- function(design) {
  list(
    X = if (length(design$curves) > 0) cbind(design$X, design$B) else design$X,
    y = if (identical(design$offset, 0)) design$y else design$y - design$offset,
    Z = design$Z, weight = design$weights,
    group = the_group(design), n_group = nlevels(the_group(design)),
    level = design$level, n_level = max(1L, nlevels(design$level)), groups = NULL
  )
}

# The statistics of the rows: all that fits of the design, under any law, need of them.
glmm_stats <- function(design, law, control) {
  rows <- if (is_crossed(design)) crossed_rows(design, control) else glmm_rows(design)
  .Call(C_glmm_stats, rows, law)
}

# What the C code is told of a model beside its statistics; `priors` as glmm_vb() or glmm_map()
# make them.
glmm_law <- function(design, held, method, full_rank = FALSE, priors = NULL, threads = 1L) {
  size <- tabulate(column_blocks(design), n_blocks(design))
  cor <- rep(NA_real_, length(size)) # of the first two terms of each block
  pairs <- size * (size - 1) / 2
  first <- law_cors(design, held_values(held, "cor"))[(cumsum(pairs) - pairs + 1)[size > 1]]
  cor[size > 1] <- first
  law <- list(
    block = as.integer(column_blocks(design)) - 1L, n_block = length(size), order = design$order,
    sd = as.double(law_sds(design, held_values(held, "sd"))), cor = as.double(cor),
    sigma = if (design$known_se) 1 else as.double(held_values(held, "sigma")),
    smooth_size = smooth_sizes(design$curves),
    smooth_sd = as.double(held_values(held, "smooth")),
    method = match(method, c("joint", "em", "reml", "vb")) - 1L,
    full_rank = as.integer(full_rank), threads = as.integer(threads),
    scales_given = NULL # TRUE: looked at without their law
  )
  law <- c(law, law_codes(design), free_basis(held_values(held, "beta"), sum(law$smooth_size)))
  c(law, if (is.null(priors)) list(prior_scale = NULL) else told_of_smooth(priors$told, law))
}

# Coefficients of X as origin + map b, b those that are free; nothing where all are.
free_basis <- function(beta, n_smooth) {
  if (all(is.na(beta))) return(list(map = NULL, origin = NULL))
  origin <- c(beta, rep(NA_real_, n_smooth))
  list(map = diag(length(origin))[, is.na(origin), drop = FALSE],
       origin = replace(origin, is.na(origin), 0))
}

# Coefficients of curves have their law, and no prior beside it.
told_of_smooth <- function(told, law) {
  n <- sum(law$smooth_size)
  told$prior_beta_mean <- c(told$prior_beta_mean, numeric(n))
  told$prior_beta_sd <- c(told$prior_beta_sd, rep(Inf, n))
  told
}

# With a residual variance for each level, or several covariance blocks or curves, the likelihood
# has local maxima (a small level's variance may go low, or one block take what belongs to another),
# and with no more rows in a group than terms the residuals may take what belongs to these, so all
# starts are climbed; otherwise none was ever seen and one is enough.
ascend_control <- function(control, design) {
  n_starts <- control$n_starts
  scales <- n_blocks(design) + length(design$curves)
  simple <- is_crossed(design) ||
    (is.null(design$level) && scales < 2L && !few_rows(design))
  if (is.null(n_starts)) n_starts <- if (simple) 1L else 18L
  list(accelerate = match(control$accelerate, c("none", "squarem", "auto")) - 1L,
       first_order = 0L, max_iter = control$max_iter, tol = control$tol, spent = 0, threads = 1L,
       n_starts = min(n_starts, 18L))
}

ascent_status <- c(converged = 0L, max_iter = 1L, stopped = 2L, not_pd = -1L, not_finite = -2L,
                   descent = -3L, rank = -4L, unbounded = -5L)

# `make_priors` gives the priors for a design, which follow its columns; `stats` are its statistics
# where they are there.
ascend_glmm <- function(design, held, method, control, make_priors = function(...) NULL,
                        stats = NULL) {
  climb <- function(design, held, stats, full_rank, passes = 0) {
    priors <- make_priors(design, held)
    law <- glmm_law(design, held, method, full_rank, priors, solver_threads(control))
    passes <- passes + is.null(stats)
    if (is.null(stats)) {
      stats <- glmm_stats(design, law, control)
      if (is_crossed(design)) check_cost(design, c(law, list(stats = stats)))
    }
    result <- .Call(C_glmm_fit, c(law, list(stats = stats)), ascend_control(control, design),
                    progress_reporter(control))
    result$passes <- passes
    list(result = result, design = design, held = held, stats = stats, law = law, priors = priors)
  }
  answer <- climb(design, held, stats, full_rank = FALSE)
  if (answer$result$status == ascent_status[["rank"]]) {
    kept <- without_aliased(answer)
    answer <- climb(kept$design, kept$held, NULL, full_rank = TRUE, answer$result$passes)
  }
  check_ascent(answer$result, answer$design, method)
  answer
}

# The design without the columns that say nothing new.
without_aliased <- function(answer) {
  design <- answer$design
  held <- answer$held
  lawless <- any(is.infinite(answer$law$sd))
  X <- design$X[, is.na(held_values(held, "beta")), drop = FALSE]
  aliased <- aliased_columns(beside_thresholds(X, design),
                             answer$result$pivots[seq_len(ncol(X))], lawless)
  keep <- !colnames(design$X) %in% aliased
  if (!lawless) {
    design$aliased_by <- aliased_by(beside_thresholds(design$X[, keep, drop = FALSE], design),
                                    design$X[, aliased, drop = FALSE])
  }
  design$X <- keep_columns(design$X, keep)
  design$aliased <- aliased
  if (length(aliased) > 0) {
    message("Dropped from the design, since they say nothing new: ", quote_names(aliased), ".")
  }
  list(design = design, held = held[!(held$block == "beta" & held$name %in% aliased), ])
}

# With the intercept that thresholds stand for.
beside_thresholds <- function(X, design) {
  if (is.null(design$response$levels)) X else cbind(`(Intercept)` = rep(1, nrow(X)), X)
}

# lm()'s own judgement, where there is doubt; with latent variables without a law in the way, that
# of the sweep.
aliased_columns <- function(X, pivots, lawless) {
  if (lawless) return(colnames(X)[!(pivots > 1e-11)])
  decomposition <- qr(X, tol = 1e-7)
  colnames(X)[decomposition$pivot[-seq_len(decomposition$rank)]]
}

keep_columns <- function(X, keep) {
  structure(X[, keep, drop = FALSE], assign = attr(X, "assign")[keep],
            contrasts = attr(X, "contrasts"))
}

progress_reporter <- function(control) {
  if (!show_progress(control)) return(NULL)
  function(iteration, elbo) {
    cli::cli_progress_message("Step {iteration}: ELBO {format(elbo, digits = 10)}")
  }
}

check_ascent <- function(result, design, method) {
  if (result$status >= 0) return()
  status <- names(ascent_status)[match(result$status, ascent_status)]
  level <- levels(design$level)[result$level]
  rows <- if (is.null(level)) "all rows" else sprintf("the rows of level %s of `sigma`", level)
  sigma <- if (is.null(level)) "sigma" else sprintf("`sigma|%s`", level)
  message <- switch(status,
    unbounded = c(sprintf("The objective has no bound: %s can be fitted without error, so", rows),
                  "that their residual standard deviation goes to zero.",
                  if (method == "vb") "A half-t prior, positive at zero, does not prevent that.",
                  "Leave such rows out, merge the level",
                  sprintf("with another, or hold it, as by priors(%s = constant(1)).", sigma),
                  if (length(design$curves) > 0)
                    "Curves with fewer knots, s(x, k = ), leave errors."),
    descent = c("The ELBO fell in a coordinate step, which is a bug of the package; please",
                "report it with the data."),
    not_pd = c("The fixed effects cannot be told apart in these data: X'V^-1 X is not positive",
               "definite. Rescale or drop columns that are nearly combinations of others."),
    c("The objective or its derivatives are not finite in these data. Rescale the variables",
      "to sizes near one and look for outliers.")
  )
  class <- switch(status, unbounded = "elbo_error_unbounded", descent = "elbo_error_descent",
                  not_pd = "elbo_error_data", "elbo_error_not_finite")
  abort(message, class)
}

warn_unfinished <- function(fit) {
  if (convergence(fit)$status == "converged") return()
  warn(convergence(fit)$message, "elbo_warning_convergence")
}

warn_unidentified <- function(fit) {
  variances <- parameters_of(fit)[parameters_of(fit)$block != "beta", ]
  lost <- is.na(diag(var_cov_of(fit))) & !variances$fixed & !variances$boundary
  if (!any(lost)) return()
  warn(c(sprintf("The data say nothing about %s: other values are as likely as those shown.",
                 quote_names(variances$name[lost])),
         "Drop a random term that is zero or a combination of others."),
       "elbo_warning_unidentified")
}
