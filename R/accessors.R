# The elements of a fit, by name: what the rest of the package knows of its inside. `design_of(fit)`
# reads the element `design`, `design_of(fit) <- design` gives the fit with another one. Those that
# are answers too are asked for as theta(fit), formula(fit), terms(fit), family(fit).

element <- function(name) function(fit) .subset2(fit, name)

set_element <- function(name) {
  function(fit, value) {
    fit[[name]] <- value
    fit
  }
}

# ---- of every fit ------------------------------------------------------------------------

parameters_of <- element("parameters") # the table of R/parameters.R
`parameters_of<-` <- set_element("parameters")
theta_of <- element("theta")
`theta<-` <- set_element("theta")
method_of <- element("method")
`method_of<-` <- set_element("method")
call_of <- element("call")
`call_of<-` <- set_element("call")
given_in_of <- element("given_in") # where update() finds the arguments of the call
`given_in_of<-` <- set_element("given_in")
control_of <- element("control")
seconds_of <- element("time")
`seconds_of<-` <- set_element("time")

objective_of <- element("objective") # the ELBO at the optimum
`objective_of<-` <- set_element("objective")
log_evidence_of <- element("log_evidence") # the log-likelihood, NA where there is none
n_free <- element("df_parameters")
trace_of <- element("trace")
convergence_of <- element("convergence")
`convergence_of<-` <- set_element("convergence")

prior_of <- element("prior") # as it was given
priors_of <- element("priors") # as they were understood: stated, default, told
`priors_of<-` <- set_element("priors")

# ---- of fits to rows of data -------------------------------------------------------------

design_of <- element("design")
`design_of<-` <- set_element("design")
formula_of <- element("formula")
`formula_of<-` <- set_element("formula")
terms_of <- element("terms")
family_of <- element("family")
frame_of <- element("frame")
`frame_of<-` <- set_element("frame")
variables_of <- element("variables")
xlevels_of <- element("xlevels")
contrasts_of <- element("contrasts")

# ---- of mixed models ---------------------------------------------------------------------

moments_of <- element("latent") # mean, cov and gain of the latent variables
`moments_of<-` <- set_element("latent")
smooth_of <- element("smooth") # the same of the coefficients of smooth terms
`smooth_of<-` <- set_element("smooth")
information_of <- element("information") # derivatives and covariances at the optimum
beta_cov_of <- element("beta_cov")
`beta_cov_of<-` <- set_element("beta_cov")
row_variances <- element("row_variance") # of predictors under q; NULL: by those of the group
stats_of <- element("stats") # sums over the rows, see src/glmm/stats.h
`stats_of<-` <- set_element("stats")
var_cov_of <- element("var_cov")
`var_cov_of<-` <- set_element("var_cov")
standard_units_of <- element("units") # those of a fit made by standard_fit()
`standard_units_of<-` <- set_element("units")
factors_of <- element("vb") # q of the variances, for method "vb"
factorization_of <- element("factorization")
kept_of <- element("kept") # which latent terms take part in a prediction; NULL: all
`kept_of<-` <- set_element("kept")

# ---- of mixtures -------------------------------------------------------------------------

n_components <- element("k")
`n_components<-` <- set_element("k")
kind_of <- element("kind") # the law of the components
covariance_model <- element("covariance")
`covariance_model<-` <- set_element("covariance")
state_of <- element("state") # the parameters in the shapes of C
`state_of<-` <- set_element("state")
size_of <- element("size") # expected number of units of each component
cache_of <- element("cache") # an environment: what was computed on demand
`cache_of<-` <- set_element("cache")
candidates_of <- element("selection")
starts_of <- element("starts")
emptier_of <- element("emptier") # the best fit with fewer components, for method "vb"

# ---- of users' own models ----------------------------------------------------------------

pattern_of <- element("pattern") # shape, names and bounds of the parameters
own_data <- element("data")
own_functions <- element("functions")
pointwise_of <- element("pointwise")
free_covariance <- element("covariance") # of theta, by the observed information
directions_of <- element("directions") # in which theta is free, in columns
q_of <- element("q")
q_family <- element("family_of_q")
draws_of <- element("draws") # that are held, d x n
density_of <- element("density")
inverse_of <- element("inverse") # of minus the Hessian in q's own parameters
mean_slope_of <- element("response") # of theta's means, by those
