# Families of responses: those of stats, two of our own, and what to use in the place of others.
#
#   as_family(family, env)     a family, a function that makes one, or its name, as glm() takes it
#   check_family(family, env)  the same, of fit_glmm(): one that its models are made of
#   is_gaussian_family(family)

#' Families of counts with overdispersion and of ordered categories
#'
#' For the argument `family` of [fit_glmm()], beside [stats::gaussian()], [stats::binomial()] (links
#' logit, probit and cloglog) and [stats::poisson()].
#'
#' `negative_binomial()` has the mean \eqn{\mu=\exp(x'\beta+z'u)}{mu = exp(x'beta + z'u)} and the
#' variance \eqn{\mu+\mu^2/\mathrm{size}}{mu + mu^2 / size}; `size` is estimated, and is an entry of
#' [theta()]. It is the Poisson model of a mean times a gamma variable of mean one and variance
#' 1/size, which has no limit but the Poisson model as `size` grows.
#'
#' `cumulative()` is for an ordered factor, with thresholds
#' \eqn{\tau_1<\dots<\tau_{K-1}}{tau_1 < ... < tau_(K-1)} in place of the intercept:
#' \deqn{P(y\le j)=F(\tau_j-x'\beta-z'u),}{P(y <= j) = F(tau_j - x'beta - z'u),}
#' F being the inverse of the link, so that a positive coefficient makes higher categories likelier,
#' as in `MASS::polr()` and `ordinal::clmm()`. The thresholds are entries `threshold__LOW|HIGH` of
#' [theta()], named by the categories that they part, and no part of `coef()`.
#'
#' @param link `"log"`; of `cumulative()` `"logit"` (proportional odds) or `"probit"`.
#' @return An object of class `family` with the elements `family`, `link`, `linkfun`, `linkinv`,
#'   `mu.eta` and `valideta`; of `cumulative()` they speak of the probabilities
#'   \eqn{P(y\le j)}{P(y <= j)}.
#' @references
#' McCullagh, P. (1980). Regression models for ordinal data. *Journal of the Royal Statistical
#' Society B* 42, 109--142. \doi{10.1111/j.2517-6161.1980.tb01109.x}
#'
#' Lawless, J. F. (1987). Negative binomial and mixed Poisson regression. *Canadian Journal of
#' Statistics* 15, 209--225. \doi{10.2307/3314912}
#' @family models
#' @examples
#' ticks <- data.frame(count = c(0, 3, 1, 9, 2, 0, 12, 5, 1, 0, 7, 2), x = rep(0:1, 6),
#'                     site = gl(4, 3))
#' fit_glmm(count ~ x, ticks, family = negative_binomial())
#'
#' wine <- data.frame(taste = factor(c(1, 2, 2, 3, 1, 3, 3, 2, 1, 2, 3, 3), ordered = TRUE),
#'                    warm = rep(0:1, 6))
#' fit_glmm(taste ~ warm, wine, family = cumulative("probit"))
#' @export
negative_binomial <- function(link = "log") made_family("negative_binomial", link)

#' @rdname negative_binomial
#' @export
cumulative <- function(link = "logit") made_family("cumulative", link)

made_family <- function(name, link, links = response_links[[name]]) {
  link <- check_choice(link, "link", links)
  structure(c(list(family = name, link = link), unclass(stats::make.link(link))[
    c("linkfun", "linkinv", "mu.eta", "valideta")]), class = "family")
}

is_gaussian_family <- function(family) family$family == "gaussian"

as_family <- function(family, env) {
  made <- family
  if (is.character(made) && length(made) == 1) {
    named <- function_named(made, env)
    made <- if (is.null(named)) get0(made, topenv(), mode = "function") else named
  }
  if (is.function(made)) made <- tryCatch(made(), error = function(e) NULL)
  check(inherits(made, "family"), "family", "a family such as gaussian()", family)
  made
}

check_family <- function(family, env) {
  family <- as_family(family, env)
  if (is_gaussian_family(family) && family$link == "identity") return(family)
  links <- response_links[[family$family]]
  if (family$link %in% links) return(family)
  asked <- sprintf("%s(%s)", family$family, family$link)
  if (!is.null(links)) {
    abort(sprintf("`family` = %s: the link of %s() is one of %s.", asked, family$family,
                  paste(links, collapse = ", ")), "elbo_error_argument")
  }
  abort(c("`family` must be gaussian() with identity link, binomial(), poisson(),",
          sprintf("negative_binomial() or cumulative(), not %s.", asked), instead_of(family)),
        "elbo_error_argument")
}

# What fits such responses.
instead_of <- function(family) {
  quasi <- paste("A quasi-likelihood is no likelihood: overdispersed counts are",
                 "negative_binomial(), overdispersed successes have a random term of rows,",
                 "(1 | row).")
  positive <- paste("Positive responses may be fitted as log(y) by gaussian(); a generalised",
                    "linear mixed model of them is lme4::glmer()'s or glmmTMB's.")
  negative <- "Use negative_binomial(), with variance mu + mu^2/size."
  remedies <- list(
    gaussian = "Transform the response, as log(y), and use the identity link.",
    Gamma = positive, inverse.gaussian = positive, quasi = quasi, quasibinomial = quasi,
    quasipoisson = quasi,
    beta = "Proportions without numbers of trials are glmmTMB's, by its beta_family().",
    nbinom2 = negative, "Negative Binomial" = negative,
    nbinom1 = paste(negative, "A variance in proportion to the mean is glmmTMB's nbinom1().")
  )
  remedies[[sub("\\(.*", "", family$family)]] # some have a number in their name
}
