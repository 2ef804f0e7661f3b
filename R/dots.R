# The one rule for `...`: what lme4, stats or the usual caller of a generic passes is an argument of
# the method (often one after `...`), or it is listed below as without effect on fits of this
# package; anything else is an error, which names our word where it knows the other one.
#
#   check_dots_empty(..., .but, .words)   for every method that has `...`, in its first line.
#       .but     names that may pass: those that callers pass along, as passed_along$vcov
#       .words   what the words of other packages are here: a list of foreign_words
#   refuse_argument(name, value, words)   the error, for `...` that is read otherwise

check_dots_empty <- function(..., .but = character(), .words = foreign_words$answers) {
  if (...length() == 0) return(invisible())
  given <- as.list(substitute(list(...)))[-1]
  given <- given[!vapply(given, identical, NA, quote(expr = ))]
  names <- if (is.null(names(given))) character(length(given)) else names(given)
  # What another package has and is not asked for, as random.only = FALSE, says nothing.
  off <- names %in% names(.words) & vapply(given, function(x) is.null(x) || isFALSE(x), NA)
  refused <- which(!names %in% .but & !off)
  if (length(refused) > 0) refuse_argument(names[refused[1]], given[[refused[1]]], .words)
}

refuse_argument <- function(name, value, words = foreign_words$answers) {
  plain <- function(x) tolower(gsub("[._]", "", x)) # n_boot, n.boot and nBoot are nboot
  known <- c(which(names(words) == name), which(plain(names(words)) == plain(name)))
  if (length(known) > 0) {
    abort(sprintf("There is no argument `%s` here: %s.", name, words[[known[1]]]),
          "elbo_error_argument")
  }
  extra <- if (nzchar(name)) quote_names(name) else describe_value(value)
  abort(sprintf("There is no argument %s here; see the help page for its arguments.", extra),
        "elbo_error_argument")
}

# lmerTest and broom.mixed have a choice of denominator degrees of freedom.
check_ddf <- function(x, name, methods = c("Satterthwaite", "Kenward-Roger")) {
  if (is.null(x)) return(methods[1])
  chosen <- if (is.character(x) && length(x) == 1) match(tolower(x), tolower(methods)) else NA
  check(!is.na(chosen), name, paste(dQuote(methods, FALSE), collapse = " or "), x)
  methods[chosen]
}

# Without effect on a fit of this package, by generic: what callers pass to any fit.
passed_along <- list(
  # Columns that say nothing new are dropped from coefficients and covariances alike.
  coef = "complete",
  vcov = c("complete", "correlation"),
  nobs = "use.fallback",
  sigma = "use.fallback",
  extractAIC = c("trace", "test"),
  tidy = c("parametric", "quick", "verbose"),
  confint = c("quiet", "verbose", "trace", "parallel", "ncpus", "cl", "oldNames", "signames",
              "devtol"),
  # Digits are those that the standard errors leave.
  print = c("digits", "signif.stars", "signif.legend", "dig.tst", "eps.Pvalue", "correlation",
            "symbolic.cor", "ranef.comp", "show.resids", "quote", "right", "row.names", "max",
            "width", "useSource"),
  summary = c("correlation", "digits", "signif.stars", "verbose"),
  VarCorr = "rdig",
  as.data.frame = c("stringsAsFactors", "make.names"),
  knit_print = "inline",
  loo = "cores",
  augment = "verbose",
  glance = "verbose"
)

# The words of other packages, and what to write here.
foreign_words <- list(
  answers = c(
    conf.level = "the word is `level`",
    alpha = "the word is `level`, one less alpha",
    conf = "the word is `level`",
    R = "the word is `nsim`",
    B = "the word is `nsim`",
    nboot = "the word is `nsim`",
    bootstraps = "the word is `nsim`",
    replicates = "the word is `nsim`",
    iterations = "the word is `nsim`",
    ci = "the word is `level`",
    which = "the word is `type`",
    vcov. = "robust covariances are vcov(fit, type = \"sandwich\")",
    vcov = "robust covariances are vcov(fit, type = \"sandwich\")",
    cluster = "robust covariances, by group, are vcov(fit, type = \"sandwich\")",
    scales = "standard deviations have the scale of the data; VarCorr(fit) has the variances too",
    newparams = "elbo(fit, theta = ) evaluates a fit at other parameters",
    random.only = "the random effects by themselves are latent(fit), or ranef(fit)",
    terms = "set the others to zero in `newdata`, and take differences",
    se = "the word is `se.fit`",
    level = "without the latent variables it is predict(fit, re.form = NA)",
    use.u = "the word is `re.form`: NULL is TRUE, NA is FALSE",
    drop = "a fit has a data frame for each grouping factor",
    ask = "all pictures are on one page; one of them is chosen by `type`",
    what = "the word is `type`",
    zeta = "the limits of a likelihood ratio test at `level` are computed as they are",
    stats::setNames(
      rep("pictures take no graphical parameters; autoplot(fit) is a plot to go on with", 17),
      c("main", "sub", "xlab", "ylab", "xlim", "ylim", "col", "pch", "lty", "lwd", "cex", "bg",
        "log", "axes", "las", "bty", "add")
    )
  ),
  fit_glmm = c(
    dispformula = "the residual standard deviation of each level of f is sigma = ~ f",
    random = "random terms belong into `formula`, as ( terms | group )",
    fixed = "the fixed part is `formula`, with the random terms as ( terms | group )",
    correlation = "correlated residuals come in a later version",
    ziformula = paste("zero-inflated and hurdle models are glmmTMB's; negative_binomial() and",
                      "random terms have many zeros too"),
    nAGQ = "the nodes of the quadrature are elbo_control(quadrature = ), which finds them itself",
    verbose = "progress is reported by control = elbo_control(progress = TRUE)",
    start = "the optimum does not depend on starts; how many is elbo_control(n_starts = )",
    knots = "their number is `k` in s(x, k = 10)",
    chains = "nothing is sampled; variational Bayes is method = \"vb\"",
    iter = "iterations are elbo_control(max_iter = )",
    cores = "threads are elbo_control(threads = )",
    priors = "the word is `prior`",
    trials = "numbers of trials are `weights` of proportions, or cbind(successes, failures)",
    link = "the link belongs to the family, as in binomial(\"probit\")",
    sei = "the word is `se`",
    vi = "the word is `se`, the square root of vi",
    yi = "the response is the left-hand side of `formula`",
    mods = "moderators are terms of `formula`"
  ),
  fit_mixture = c(
    G = "the number of components is `k`",
    nclass = "the number of components is `k`",
    ng = "the number of components is `k`",
    nclust = "the number of components is `k`",
    ncomp = "the number of components is `k`",
    centers = "the number of components is `k`",
    clusters = "the number of components is `k`",
    modelNames = "models of covariances are `covariance`, as covariance = \"VVV\"",
    modelName = "models of covariances are `covariance`, as covariance = \"VVV\"",
    initialization = paste("first labels or probabilities are `start`; there is no component of",
                           "noise"),
    cluster = "first labels or probabilities are `start`",
    noise = "there is no component of noise",
    concomitant = "covariates of the weights are membership = ~ x",
    classmb = "covariates of the weights are membership = ~ x",
    random = "random terms belong into `formula`, as ( terms | unit )",
    mixture = "what varies between components are the terms of `formula`",
    subject = "the rows of a unit are told by unit = ~ id",
    model = "laws of the response are `family`, or responses() in `formula`",
    nrep = "the number of starts is elbo_control(n_starts = )",
    nstart = "the number of starts is elbo_control(n_starts = )",
    maxiter = "the most iterations are elbo_control(max_iter = )",
    maxit = "the most iterations are elbo_control(max_iter = )",
    verbose = "progress is reported by control = elbo_control(progress = TRUE)",
    criterion = "`k` is chosen by BIC; selection(fit) has the other criteria",
    lambda = "first labels or probabilities are `start`",
    mu = "first labels or probabilities are `start`",
    offset = "an offset is a term of `formula`, offset(z)",
    se = "known standard errors of the response are for fit_glmm() only",
    REML = "mixtures are fitted by method = \"em\", \"vb\" or \"joint\""
  ),
  control = c(
    optimizer = "the ascent is `accelerate`",
    optCtrl = "the most iterations are `max_iter`",
    maxit = "the most iterations are `max_iter`",
    itmax = "the most iterations are `max_iter`",
    maxIter = "the most iterations are `max_iter`",
    msMaxIter = "the most iterations are `max_iter`",
    iter.max = "the most iterations are `max_iter`",
    eps = "the word is `tol`",
    epsilon = "the word is `tol`",
    tolerance = "the word is `tol`",
    nstart = "the word is `n_starts`",
    nrep = "the word is `n_starts`",
    nAGQ = "the word is `quadrature`; the number of nodes is found by default",
    verbose = "the word is `progress`",
    trace = "every step is recorded: elbo_trace(fit)",
    cores = "the word is `threads`",
    parallel = "the word is `threads`"
  )
)
