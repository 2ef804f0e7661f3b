/* Priors of the sds of the Gaussian mixed model where these are points: log p(sd) of each, a function of
 * the variance x = sd^2 alone.  With them the marginal likelihood becomes a marginal posterior, and
 * EM finds its mode (densities on the scale of the sd, so that a flat prior is flat there). */
#include "math_sd_prior.h"
#include "model_lmm_inside.h"

/* The prior of sd k, or, of k = q + l, that of the residual sd of level l; and its variance. */
static sd_prior prior_of(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                         const double *variance, int k, double *x) {
  const int l = k - par->q;
  const sd_prior law = {.family = (sd_family)prior->family[k],
                        .df = l < 0 ? prior->df[k] : prior->sigma_df[l],
                        .scale = l < 0 ? prior->scale[k] : prior->sigma_scale[l]};
  *x = l < 0 ? Sigma[k * (par->q + 1)] : variance[l];
  return law;
}

static elbo_status map_value(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                             const double *variance, double *value) {
  double x, slope;
  *value = 0.0;
  for (int k = 0; k < par->q + par->n_level; k++) {
    const sd_prior law = prior_of(prior, par, Sigma, variance, k, &x);
    *value += sd_prior_log_density(&law, x, &slope);
  }
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status map_derivatives(const lmm_prior *prior, const lmm_parameters *par,
                                   const double *Sigma, const double *variance, double *gradient,
                                   double *hessian) {
  const int n = par->n_pair + par->n_level;
  double x, slope;
  for (int e = 0; e < n; e++) {
    const int l = e - par->n_pair, k = l < 0 ? par->pair_a[e] : par->q + l;
    if (l < 0 && par->pair_b[e] != k) continue; /* a covariance */
    const sd_prior law = prior_of(prior, par, Sigma, variance, k, &x);
    sd_prior_log_density(&law, x, &slope);
    gradient[e] += slope;
    hessian[e + n * e] += sd_prior_curvature(&law, x);
  }
  return ELBO_OK;
}

void lmm_prior_map(lmm_prior *prior) {
  prior->value = map_value;
  prior->derivatives = map_derivatives;
  prior->update = NULL;
}
