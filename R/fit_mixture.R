#' Fit a finite mixture by EM, variational Bayes or classification EM
#'
#' Every unit i belongs to one of k components \eqn{z_i}, which is not observed,
#' \deqn{p(y_i, z_i = j) = \pi_j\, p(y_i \mid \theta_j),}{p(y_i, z_i = j) = pi_j p(y_i | theta_j),}
#' and the formula says what the law of a component is: a multivariate normal one, a regression, or
#' independent categories and numbers (latent class analysis). The latent components are handled as
#' `method` says, by the ascent of one objective, the evidence lower bound.
#'
#' @param formula What the components are of:
#'   * `cbind(a, b) ~ 1`, `y ~ 1` or a numeric matrix `Y ~ 1`: a normal mixture;
#'   * `y ~ x`: a mixture of regressions, by `family` Gaussian, binomial (y of 0 and 1, logical, a
#'     factor of two levels, or `cbind(successes, failures)`) or Poisson; also `y ~ 1` of the latter
#'     two, and of Gaussian ones with `weights` or `offset()`;
#'   * `y ~ bs(time) + (bs(time) | id)` with `unit = ~ id`: mixtures of mixed-effects curves (Luan
#'     and Li 2003). A unit's rows are the curve of its component, a deviation of its own with
#'     covariance matrix \eqn{\Gamma_j}{Gamma_j}, and noise; deviations are integrated out by every
#'     method. Instead of a basis with a number of knots to guess, `s(time)`: see Smooth terms
#'     below.
#'   * `responses(a, b, c) ~ 1`: latent classes. Given its class a unit's responses are
#'     independent: a factor (or strings) categorical, a logical binomial, a number Gaussian.
#'     `responses(.)` stands for all columns that are not used elsewhere.
#' @param data A data frame. Variables not found in it are looked up where the formula was made.
#' @param k Number of components, or several numbers: all are fitted and the best is returned, see
#'   [selection()].
#' @param family [stats::gaussian()], [stats::binomial()] or [stats::poisson()] with their usual
#'   links, for regressions.
#' @param method What is done about the components and the parameters:
#'   \describe{
#'   \item{`"em"`}{components are integrated exactly: marginal maximum likelihood (Dempster, Laird
#'     and Rubin 1977).}
#'   \item{`"vb"`}{variational Bayes: distributions for components and parameters,
#'     \eqn{q(z)\,q(\theta)}{q(z) q(theta)}; superfluous components empty themselves.}
#'   \item{`"joint"`}{nothing is integrated: the components are points, maximised together with the
#'     parameters. This is classification EM (Celeux and Govaert 1992); with covariance `"EII"` and
#'     equal weights, k-means. Its estimates are biased however many the units, as Neyman and Scott
#'     (1948) say: components come out too far apart and too narrow.}
#'   }
#' @param covariance For normal mixtures, names among the 14 models of Celeux and Govaert (1995) as
#'   mclust writes them: volume, shape and orientation are equal (`E`), vary by component (`V`), or,
#'   shape and orientation, are none (`I`); or the words `"spherical"` (VII), `"diagonal"` (VVI),
#'   `"full"` (VVV), `"tied"` (EEE). A single response has `"E"` and `"V"`. `NULL` tries all that
#'   there are, by `"vb"` those with a conjugate prior: EII, VII, EEI, VVI, EEE, VVV. As in mclust,
#'   spheres (EII, VII) and axes or shapes that are common where the other is not (EVE, VVE, EEV,
#'   VEV) are so in the units at hand, and with another unit of one response they are another model:
#'   bring the responses to comparable scales first. The other eight models do not depend on units.
#' @param random_covariance For ( | ) terms, the covariance matrix of a unit's deviations: `"free"`,
#'   `"diagonal"`, `"identity"` (a multiple of the identity for each ( | )), or a matrix to take a
#'   multiple of, positive semidefinite. Each component has its own; with `"common"` too, as in
#'   `c("diagonal", "common")` or `list(matrix, "common")`, all share one.
#' @param sigma For Gaussian regressions: `~ component`, a residual standard deviation for each, or
#'   `~ 1`, one for all.
#' @param membership `~ w` lets the weights depend on covariates of the unit, by a multinomial logit
#'   with the first component as baseline. Where `w` tells components apart without error,
#'   coefficients are at -Inf or Inf: the likelihood has a limit there.
#' @param unit `~ id`: the rows of a level of `id` belong to one component together. By default
#'   every row is a unit.
#' @param prior What [priors()] makes. With priors `"em"` gives the mode of the marginal posterior.
#'   `NULL`: none, and by `"vb"` weak defaults on the scale of the data, which `summary()` prints;
#'   see there.
#' @param weights Precision weights of Gaussian regressions: the residual variance of a row is
#'   \eqn{\sigma_j^2/w}. Not copies of rows, which are `freq`.
#' @param freq Numbers of copies of each row (or unit): the fit is that of the data with every row
#'   repeated so many times.
#' @param start Where to start instead of looking around: a label for each row or unit, or a
#'   matrix of probabilities with a column for each component.
#' @param subset,na.action As in [stats::lm()]. Missing responses of normal mixtures and latent
#'   classes are not left to `na.action`: they are integrated out, and what is observed of a row
#'   counts. Rows of which nothing is observed are left out, with a message.
#' @param control Settings made by [elbo_control()]; here `n_starts`, `seed` and `threads` matter.
#' @param contrasts Codings of the factors of the formula, as in [stats::lm()].
#' @param ... Nothing further: words of other packages are refused with ours for them.
#'
#' @details
#' Starts. The objective has many local maxima. `control$n_starts` partitions (20 by default) come
#' from k-means++ (Arthur and Vassilvitskii 2007) and Ward's hierarchical clustering, in scaled
#' and in sphered coordinates, of regressions also from fits to a few random units each, and at
#' random. From each a short run is made, the best quarter are climbed (Biernacki, Celeux and
#' Govaert 2003), and the objective of every start is kept in `fit$starts`. Of more than 20,000
#' units the starts see a sample. By `"vb"` half of the starts have fewer groups than components.
#'
#' Moves. From the best of these ascents, split-and-merge moves (Ueda, Nakano, Ghahramani and Hinton
#' 2000) are tried: a component is given up, its units going to the others, and another one is split
#' in its place; by `"vb"` one also without the other. A move that leads higher is kept, until
#' rounds of them bring nothing. Near the infinities of the likelihood there are spurious maxima, on
#' units that happen to be close: one with a component whose standard deviation is below a fifth of
#' the largest is taken only where its log-likelihood is better by 10 than that of others, and on a
#' few units only where there is no other; print() names such components. Of several `covariance`
#' moves are tried of candidates whose BIC is within 10 of the best of their `k` (ELBO: 5). The last
#' row of `fit$starts` says how many there were. They are not made from a given `start`, nor of
#' curves that are measured at many different sets of times, of which an iteration is dear.
#'
#' Everything follows from `control$seed` (1 by default); the session's random numbers are left
#' alone.
#'
#' Components that collapse. The likelihood of a mixture with variances of its own is unbounded: a
#' component on one row, or on rows in a hyperplane, has an infinite density. Such an ascent is
#' abandoned; where all starts end so the fit is refused, and the message says which remedies there
#' are. With a prior on the covariance matrices, as \code{priors(covariance = inverse_wishart(d + 2,
#' scale))} (Fraley and Raftery 2007), the objective is bounded.
#'
#' Components that are close. What `"em"` says of components that overlap is too sure. Of 200 rows
#' from two normal components 2.5 standard deviations apart, nominal 90 % Wald intervals held the
#' weights in 79 %, the means in 75 % and the standard deviations in 78 % of 150 data sets when each
#' component has its own variance (`covariance = "V"`), and 91, 92 and 87 % with a common one
#' (`"E"`); 4 apart 91, 93 and 92 % under `"V"`. New rows were assigned with a mean probability of
#' 90 % under `"V"`, and 84 % of them rightly (`"E"`: 90 and 89 %; `bench/coverage_mixture.R`).
#' Where a common variance can be justified, prefer it.
#'
#' Labels. Components are ordered by weight, largest first, so that labels do not depend on luck.
#' `component` is the one word here for class, cluster and group.
#'
#' Choice. Candidates are compared by BIC, which counts units (`"em"`), by the same of the
#' classification likelihood (`"joint"`), or by the ELBO with a correction for equal modes (`"vb"`).
#' Candidates that collapse are `NA` in [selection()].
#'
#' Numbers of free parameters are those of mclust, which agree with the dimension of the model.
#'
#' @section Smooth terms:
#' In mixtures of curves `s(x, k = 10, by = NULL)` is a natural cubic spline with a penalty, as in
#' [fit_glmm()]: a straight line, whose coefficients are like others, and k - 2 more columns whose
#' coefficients are independent normal with a standard deviation of their own, estimated with the
#' rest. That is the penalty: at zero the curve is a straight line, and k (at most the number of
#' distinct values) only has to be large enough. `by = f` makes a curve for each level of a factor,
#' to be written beside the factor itself as in `f + s(x, by = f)`, or multiplies the curve by a
#' number.
#'
#' Outside of ( | ) it is the curve of the components: the coefficients are a latent vector of each
#' component, with a standard deviation `sd__s(x)|1`, `sd__s(x)|2`, ... each. By `"em"` and `"vb"`
#' they have a normal law in which they are independent of the components of the units, so that with
#' several components the objective of `"em"` is a lower bound of the log-likelihood, see
#' [logLik()][elbo_mixture-methods]; `"joint"` takes them as points, and asks for
#' `priors(smooth = constant(s))`.
#'
#' Within ( | ) it is the deviation of a unit: `(s(x) | id)` is `(x | id)`, with the covariance
#' matrix that `random_covariance` says, and beside it, independent, curves of one standard
#' deviation, `sd__s(x)|id|1` of component 1; `(0 + s(x) | id)` is without the intercept. In
#' `y ~ s(time) + (s(time) | id)` a component has nine parameters, its weight and sigma included,
#' however large k is.
#'
#' [priors()] name the standard deviations of the components' curves `smooth`, those of deviations
#' by the group, as `id`, all of them `sd`, or each by its name without the component.
#'
#' @return An object of class `c("elbo_mixture", "elbo_fit")`. Its answers are functions:
#'   [components()], [theta()], [vcov()][vcov.elbo_mixture], [latent()], [selection()],
#'   [elbo_trace()], [convergence()], [compare_fits()], [predict()][predict.elbo_mixture],
#'   `simulate`, `plot`, and the usual generics.
#' @references
#' Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete data
#' via the EM algorithm. *Journal of the Royal Statistical Society B* 39, 1--38.
#' \doi{10.1111/j.2517-6161.1977.tb01600.x}
#'
#' Celeux, G. and Govaert, G. (1992). A classification EM algorithm for clustering and two
#' stochastic versions. *Computational Statistics & Data Analysis* 14, 315--332.
#' \doi{10.1016/0167-9473(92)90042-E}
#'
#' Celeux, G. and Govaert, G. (1995). Gaussian parsimonious clustering models. *Pattern Recognition*
#' 28, 781--793. \doi{10.1016/0031-3203(94)00125-6}
#'
#' Scrucca, L., Fop, M., Murphy, T. B. and Raftery, A. E. (2016). mclust 5: clustering,
#' classification and density estimation using Gaussian finite mixture models. *The R Journal*
#' 8(1), 289--317. \doi{10.32614/RJ-2016-021}
#'
#' Fraley, C. and Raftery, A. E. (2007). Bayesian regularization for normal mixture estimation and
#' model-based clustering. *Journal of Classification* 24, 155--181.
#' \doi{10.1007/s00357-007-0004-5}
#'
#' Leisch, F. (2004). FlexMix: a general framework for finite mixture models and latent class
#' regression in R. *Journal of Statistical Software* 11(8), 1--18. \doi{10.18637/jss.v011.i08}
#'
#' Luan, Y. and Li, H. (2003). Clustering of time-course gene expression data using a mixed-effects
#' model with B-splines. *Bioinformatics* 19, 474--482. \doi{10.1093/bioinformatics/btg014}
#'
#' Biernacki, C., Celeux, G. and Govaert, G. (2003). Choosing starting values for the EM algorithm
#' for getting the highest likelihood in multivariate Gaussian mixture models. *Computational
#' Statistics & Data Analysis* 41, 561--575. \doi{10.1016/S0167-9473(02)00163-9}
#'
#' Ueda, N., Nakano, R., Ghahramani, Z. and Hinton, G. E. (2000). SMEM algorithm for mixture models.
#' *Neural Computation* 12, 2109--2128. \doi{10.1162/089976600300015088}
#'
#' McLachlan, G. J. and Peel, D. (2000). *Finite Mixture Models*. Wiley.
#'
#' Arthur, D. and Vassilvitskii, S. (2007). k-means++: the advantages of careful seeding.
#' *Proceedings of the 18th Annual ACM-SIAM Symposium on Discrete Algorithms*, 1027--1035.
#'
#' Blei, D. M. and Jordan, M. I. (2006). Variational inference for Dirichlet process mixtures.
#' *Bayesian Analysis* 1, 121--143. \doi{10.1214/06-BA104}
#'
#' Bishop, C. M. (2006). *Pattern Recognition and Machine Learning*, chapter 10. Springer.
#'
#' Neyman, J. and Scott, E. L. (1948). Consistent estimates based on partially consistent
#' observations. *Econometrica* 16, 1--32. \doi{10.2307/1914288}
#' @family models
#' @examples
#' fit <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:4)
#' fit
#' selection(fit)
#'
#' # k-means is the joint maximisation: components too far apart, too narrow
#' two <- data.frame(y = c(qnorm(ppoints(200), -1), qnorm(ppoints(200), 1)))
#' em <- fit_mixture(y ~ 1, two, k = 2, covariance = "E")
#' equal <- priors(weight = constant(1/2))
#' kmeans <- fit_mixture(y ~ 1, two, k = 2, covariance = "E", method = "joint", prior = equal)
#' theta(em)
#' theta(kmeans)
#'
#' # Regressions, and latent classes
#' fit_mixture(dist ~ speed, cars, k = 2, sigma = ~ 1)
#' fit_mixture(responses(Class, Sex, Age, Survived) ~ 1, as.data.frame(Titanic), k = 2, freq = Freq)
#'
#' # Curves, and deviations of the units from them, without knots to choose
#' shapes <- data.frame(id = gl(24, 8), time = rep(0:7, 24))
#' shapes$y <- with(shapes, ifelse(as.integer(id) > 12, sin(time), time / 4)) +
#'   sin(7 * shapes$time + as.integer(shapes$id)) / 4
#' fit_mixture(y ~ s(time, k = 6) + (s(time, k = 6) | id), shapes, k = 2, unit = ~ id)
#'
#' # Variational Bayes: components that are not needed empty themselves
#' fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 5, method = "vb", covariance = "VVV")
#' @export
fit_mixture <- function(formula, data, k, family = gaussian(), method = c("em", "vb", "joint"),
                        covariance = NULL, random_covariance = "free", sigma = ~ component,
                        membership = ~ 1, unit = NULL, prior = NULL, weights = NULL, freq = NULL,
                        start = NULL, subset, na.action, control = elbo_control(),
                        contrasts = NULL, ...) {
  started <- proc.time()[["elapsed"]]
  call <- match.call()
  check_mixture_dots(names(sys.call()), ...)
  family <- check_mixture_family(family)
  method <- check_choice(method, "method", c("em", "vb", "joint"))
  check(inherits(control, "elbo_control"), "control", "made by elbo_control()", control)
  check_no_quadrature(control)
  k <- check_k(if (missing(k)) NULL else k)

  parts <- mixture_frame(call, parent.frame(), family)
  design <- parts$design
  check_size(k, design)
  models <- law_of(design)$covariance_models(covariance, design, method)
  if (!is.null(start) && length(k) > 1) {
    abort(sprintf("`start` is for one number of components, but `k` has %d.", length(k)),
          "elbo_error_argument")
  }
  chosen <- select_mixture(design, k, models, method, prior, start, control)

  fit <- c(list(call = call),
           parts[c("formula", "frame", "variables", "terms", "xlevels", "contrasts")],
           list(family = family, method = method, prior = prior, control = control, k = chosen$k,
                covariance = if (!is.na(chosen$covariance)) chosen$covariance, kind = design$kind,
                design = design))
  fit <- with_verdict(new_mixture(c(fit, mixture_estimates(chosen, design, method))))
  seconds_of(fit) <- proc.time()[["elapsed"]] - started
  warn_unfinished(fit)
  fit
}

# `random` by itself would be taken for the beginning of `random_covariance`.
check_mixture_dots <- function(given, ...) {
  if ("random" %in% given) refuse_argument("random", NULL, foreign_words$fit_mixture)
  check_dots_empty(..., .words = foreign_words$fit_mixture)
}

check_mixture_family <- function(family) {
  family <- as_family(family, parent.frame(2))
  links <- unlist(unname(lapply(all_laws(), `[[`, "families")))
  if (identical(unname(links[family$family]), family$link)) return(family)
  abort(c("`family` must be gaussian(), binomial() or poisson() with the usual link,",
          sprintf("not %s(%s).", family$family, family$link)), "elbo_error_argument")
}

check_k <- function(k) {
  ok <- is.numeric(k) && length(k) > 0 && all(vapply(k, is_whole, NA)) && all(k > 0)
  check(ok, "k", "a positive whole number, or several", k)
  sort(unique(as.integer(k)))
}

check_size <- function(k, design) {
  largest <- max(k)
  if (as.double(design$n_unit) * largest >= 2^31) {
    abort(sprintf("`k` = %d components of %d units have more than 2^31 probabilities.", largest,
                  design$n_unit), "elbo_error_data")
  }
  n <- distinct_units(design, largest)
  if (largest <= n) return()
  what <- if (is.null(design$unit)) "rows" else "units"
  if (n < design$n_unit) what <- "different units"
  abort(c(sprintf("`k` = %d components cannot be told apart by %d %s.", largest, n, what),
          "Use fewer components."), "elbo_error_data")
}

# Number of different units, or `enough` where there are at least so many.
distinct_units <- function(design, enough) {
  if (design$n_unit < enough || !is.null(design$first)) return(design$n_unit)
  values <- law_of(design)$distinct(design)
  if (is.null(values)) return(design$n_unit)
  for (rows in unique(pmin(c(10 * enough, nrow(values)), nrow(values)))) {
    n <- nrow(unique(values[seq_len(rows), , drop = FALSE]))
    if (n >= enough) return(enough)
  }
  n
}

# The fit -----------------------------------------------------------------------------------------

mixture_estimates <- function(chosen, design, method) {
  result <- chosen$result
  parameters <- mixture_parameters(design, chosen$k, chosen$covariance, chosen$priors$told)
  latent <- parameters$block == "latent"
  parameters <- parameters[!latent, ]
  row.names(parameters) <- NULL
  theta <- stats::setNames(reported_theta(result, chosen$model, latent), parameters$name)
  attr(theta, "fixed") <- parameters$fixed
  row <- chosen$selection$k == chosen$k & chosen$selection$covariance %in% chosen$covariance
  list(
    state = result$state,
    theta = theta,
    parameters = parameters,
    size = result$size,
    emptier = result$emptier,
    objective = result$objective,
    log_evidence = if (method == "em") log_likelihood(chosen, method) else NA_real_,
    trace = mixture_trace(result, design, chosen$k),
    convergence = mixture_convergence(result, method),
    df_parameters = chosen$selection$df[row],
    selection = chosen$selection,
    starts = result$starts,
    priors = chosen$priors,
    cache = new.env(parent = emptyenv())
  )
}

# With latent vectors the log-likelihood of several components is not known; of one it is the ELBO.
mixture_trace <- function(result, design, k) {
  trace <- ascent_trace(result$trace)
  if (!law_of(design)$has_vectors(design)) return(trace)
  trace$log_evidence <- if (k == 1) trace$elbo else NA
  trace$kl <- trace$log_evidence - trace$elbo
  trace
}

# Points on the components have no gradient: the ascent ends where no unit changes its component.
mixture_convergence <- function(result, method) {
  state <- ascent_convergence(result, method == "vb")
  if (method == "joint" && state$status == "converged") {
    state$message <- sprintf("At a maximum: no unit changes its component after %d steps.",
                             state$iterations)
  }
  state
}

new_mixture <- function(x) {
  stopifnot(length(x$theta) == nrow(x$parameters), length(x$size) == x$k, is.finite(x$objective))
  fit <- new_elbo_fit(x, "elbo_mixture")
  parameters_of(fit)$boundary <- at_boundary(fit)
  fit
}
