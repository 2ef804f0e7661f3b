# The law of the responses in a mixture, given the component: a part object, which mirrors
# `mixture_part` in src/mixture/mixture.h. What differs from law to law is one of its functions, in
# R/mixture_part_<law>.R, and nothing outside of these files asks which law a mixture has.
#
#   mixture_laws      the table: an environment with a function for each law, that makes its part
#   law_of(x)         the part of a fit, a design, its `spec`, or a model as C takes it
#   new_mixture_law() checks a part and completes it
#
# Each file enters itself, `mixture_laws$normal <- function() new_mixture_law(...)`, so that there
# is no other place to know of a law; the order of the table means nothing. The law of z, weights or
# membership, is the part of all mixtures, R/mixture_part_weights.R.
#
# A part has these, those marked * if it is not content with the default below. `spec` is
# design$spec, `k` the number of components, `told` what `told` made of the priors.
#
# On the way in
#   part           the name that C has for the part, in a model and in a state
#   families*      c(gaussian = "identity"): what `family` may be, with its link
#   marker*        the function on the left-hand side that names the law, as in responses(a, b) ~ 1
#   expand*(formula, columns)           the formula in full, from the columns of the data
#   claims(parsed, family, weighted)    whether a formula asks for this law; one law claims it, and
#                  may refuse what comes with the formula
#   by_row         whether rows have covariates, and so means of their own; without covariates
#                  missing responses are integrated out
#   responses*(lhs)             the responses of the left-hand side, expressions; several are
#                               variables each by itself
#   structure*(spec, parsed, random_covariance)    what is asked of ( | ) and smooth terms, checked
#   has_sigma*(family), sigma_words*    whether there is a residual sd; what to say where not
#   check_response*(frame, spec)        the model frame, or new data
#   response_rows(responses, spec)      columns of the design from the responses, a data frame
#   silent_rows*(responses, spec)       list(`with no trials` = rows): of no information
#   check_design*(design)               what cannot be fitted, whatever k
#   distinct*(design)                   a matrix by whose rows units are told apart, or NULL
#   newdata*(newdata, fit), levels*(fit)    new data in other forms; levels that responses may have
# The model
#   model(design, k, covariance, told)      what C is told
#   parameters(design, k, covariance, told) rows of theta, see mixture_parameters()
#   df*(design, k, covariance, told)        how many are free: those not fixed
#   slots(design)                           name and block of each prior, see mixture_priors()
#   told(priors, blocks, design, method)    C's words for these
#   defaults*(design)                       those of method "vb"
#   covariance_models*(covariance, design, method), distinct_models*(models, k)
#   flaws*(design)          of the responses as a whole: what is asked once, and kept in the design
#   hopeless*(design, k, covariance, method, prior), misfit*(candidate)
#                  NULL, or list(status, words): why a model is not tried, or no start led anywhere
#   collapse_words*, collapse_prior*(design, k), collapse_sharing*(design, covariance)
#                  what a collapse is, and remedies
# Starts
#   features(design)                        rows or units x numbers, for partitions
#   start_makers*()                         see R/mixture_start.R
#   sort_keys*(design)                      responses as numbers that do not depend on codes
#   factorisations*(design)                 of an iteration, for each component
#   least_variances*(part, state), n_terms*(part)     see narrow_components(), few_units()
# The way out. `means` and `variances` are k x responses, or by_row rows x k.
#   components(fit), sigma*(fit)
#   means(fit, design), variances(fit, design), observed*(fit)     columns as those of means
#   draw(fit, design, component)            the design with responses drawn, component by unit
#   drawn*(design, pad)                     these as the user has them
#   has_deviations*, deviations*(fit)       units x columns of Z: latent variables besides z
#   has_vectors*(design)                    latent vectors of the components, beside theta
#   without_priors*(model), as_points*(fit), at_draw*(fit, theta)     what follows from these
#   limit_theta*(theta, model, result)      theta where it is at the boundary
#   at_boundary*(fit)                       entries of theta that are, besides the usual
#   flat*                                   see flat_information()
#   unconstrained*(fit)                     the model in which entries of theta are free
#   theta_fields(fit, fields)               the fields of C's state at the point fit$theta, from
#                                           those of another
#   point_fields*(fit, theta)               the same, a column a row of theta
#   renamed*(object, call, kind)            the call of an update, where kind() is another law's
# In words
#   sentence*(fit), extra_rows*(fit), is_kmeans*(fit), notes*(fit), ridge_notes*(fit)
#   pictures*(fit)                          list(name = picture()), see R/mixture_plot.R
# Variational Bayes
#   factors(fit)                            of q, see variational()
#   mean_field*(fit)                        blocks of their covariance
#   shared_scales*(fit)                     entries of theta that are equal
#   shared_priors*(design)                  slots with one prior for all
#   row_cost*(design), pieces*(fit)         see R/mixture_check.R

mixture_laws <- new.env(parent = emptyenv())

law_of <- function(x) mixture_laws[[x$kind]]()

new_mixture_law <- function(...) {
  given <- list(...)
  law <- default_law()
  wrong <- c(setdiff(names(given), c(needed_functions, names(law))),
             setdiff(needed_functions, names(given)))
  if (length(wrong) > 0) stop("internal error: a law that lacks or invents ", toString(wrong))
  replace(law, names(given), given)
}

needed_functions <- c("part", "claims", "by_row", "response_rows", "model", "parameters", "slots",
                      "told", "features", "components", "means", "variances", "draw",
                      "theta_fields", "factors")

default_law <- function() c(default_way_in(), default_way_out())

default_way_in <- function() {
  nothing <- function(...) NULL
  list(
    families = c(gaussian = "identity"), marker = NULL,
    expand = function(formula, columns) formula, responses = list, structure = no_structure,
    has_sigma = function(family) FALSE, sigma_words = NULL, check_response = nothing,
    silent_rows = nothing, check_design = nothing, distinct = function(design) design$Y,
    newdata = function(newdata, fit) newdata,
    levels = function(fit) lapply(frame_of(fit)[response_columns(design_of(fit)$spec)], levels),
    df = count_free, covariance_models = no_covariance_models,
    defaults = function(design) rep(list(NULL), nrow(law_of(design)$slots(design))),
    distinct_models = function(models, k) models, flaws = nothing, hopeless = nothing,
    misfit = nothing,
    collapse_words = "onto rows that it fits without error: the likelihood goes to infinity.",
    collapse_prior = function(design, k) "priors()",
    collapse_sharing = function(design, covariance) "",
    start_makers = function() scaled_makers(seeds = 8, few_units = 0, random = 8),
    sort_keys = function(design) design$Y, factorisations = function(design) 0,
    least_variances = function(part, state) 1, n_terms = function(part) 1
  )
}

default_way_out <- function() {
  nothing <- function(...) NULL
  list(
    sigma = residual_sigma, observed = function(fit) cbind(design_responses(design_of(fit))),
    drawn = function(design, pad) pad(design_responses(design)),
    has_deviations = FALSE, deviations = nothing,
    has_vectors = function(design) FALSE, without_priors = identity, as_points = identity,
    at_draw = function(fit, theta) replace_theta(fit, theta),
    limit_theta = function(theta, model, result) theta,
    at_boundary = function(fit) logical(nrow(parameters_of(fit))), flat = 3e-6,
    unconstrained = identity, point_fields = fields_by_draw,
    renamed = function(object, call, kind) call, sentence = function(fit) character(),
    extra_rows = function(fit) matrix(0, n_components(fit), 0), is_kmeans = function(fit) FALSE,
    notes = nothing, ridge_notes = nothing, pictures = function(fit) list(),
    mean_field = function(fit) regression_blocks(fit, state_of(fit)[[law_of(fit)$part]]),
    shared_scales = function(fit) rep(NA_character_, nrow(parameters_of(fit))),
    shared_priors = function(design) character(),
    row_cost = function(design) NCOL(if (is.null(design$X)) design$Y else design$X),
    pieces = function(fit) "Linear response not checked: this law has no chart."
  )
}

all_laws <- function() lapply(mget(ls(mixture_laws), mixture_laws), function(make) make())

# The law that a formula asks for; one that its left-hand side names goes before others.
mixture_kind <- function(parsed, family, weighted) {
  laws <- all_laws()
  claims <- vapply(laws, function(law) law$claims(parsed, family, weighted), NA)
  named <- vapply(laws, function(law) is_call_to(parsed$fixed[[2]], law$marker), NA)
  if (any(claims & named)) claims <- claims & named
  if (sum(claims) != 1) stop("internal error: a formula of ", sum(claims), " laws")
  names(claims)[claims]
}

# Nothing but an intercept.
is_plain <- function(parsed) {
  terms <- terms(parsed$fixed)
  length(attr(terms, "term.labels")) == 0 && is.null(attr(terms, "offset")) &&
    attr(terms, "intercept") == 1
}

# What most laws have -----------------------------------------------------------------------------

no_structure <- function(spec, parsed, random_covariance) {
  if (length(parsed$smooths) > 0) {
    label <- parsed$smooths[[1]]$label
    abort(c("fit_mixture() has smooth terms in mixtures of curves only, but `formula` has",
            sprintf("%s without a ( | ) term. Write splines::ns(x, 4), or say of which units the",
                    label),
            sprintf("rows are, as by %s + (1 | id) with unit = ~ id.", label)),
          "elbo_error_formula")
  }
  if (is.null(random_covariance) || identical(random_covariance, "free")) return(NULL)
  abort("`random_covariance` is for ( | ) terms, and `formula` has none.", "elbo_error_argument")
}

no_covariance_models <- function(covariance, design, method) {
  if (is.null(covariance)) return(NA_character_)
  abort(c("`covariance` is for multivariate normal mixtures, as of cbind(a, b) ~ 1;",
          "this model has no covariance matrices."), "elbo_error_argument")
}

count_free <- function(design, k, covariance, told) {
  rows <- law_of(design)$parameters(design, k, covariance, told)
  sum(!rows$fixed & rows$block != "latent")
}

residual_sigma <- function(fit) {
  values <- theta(fit)[parameters_of(fit)$block == "sigma"]
  if (length(values) == 0) return(1)
  names(values) <- if (length(values) > 1) component_labels(fit)
  values
}

replace_theta <- function(fit, theta) {
  theta(fit)[] <- theta
  fit
}

fields_by_draw <- function(fit, theta) {
  law <- law_of(fit)
  of_draw <- function(i) {
    lapply(law$theta_fields(replace_theta(fit, theta[i, ]), state_of(fit)[[law$part]]), as.vector)
  }
  draws <- lapply(seq_len(nrow(theta)), of_draw)
  do.call(Map, c(cbind, draws))
}

design_responses <- function(design) if (is.null(design$Y)) design$y else design$Y
