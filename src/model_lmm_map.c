/* Priors of the sds of the Gaussian mixed model where these are points: log p(sd) of each, a function of
 * the variance x = sd^2 alone.  With them the marginal likelihood becomes a marginal posterior, and
 * EM finds its mode (densities on the scale of the sd, so that a flat prior is flat there). */
#include "model_lmm_inside.h"

void lmm_log_density(lmm_family family, double df, double scale, double x, double *out) {
  const double a = scale * scale;
  switch (family) {
    case LMM_HALF_T: {
      const double c = df * a;
      out[0] = log(2.0) + lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df) -
               0.5 * log(df * acos(-1.0)) - log(scale) - 0.5 * (df + 1.0) * log1p(x / c);
      out[1] = -0.5 * (df + 1.0) / (c + x);
      out[2] = 0.5 * (df + 1.0) / ((c + x) * (c + x));
      break;
    }
    case LMM_HALF_NORMAL:
      out[0] = 0.5 * log(2.0 / acos(-1.0)) - log(scale) - 0.5 * x / a;
      out[1] = -0.5 / a;
      out[2] = 0.0;
      break;
    case LMM_INVERSE_GAMMA: { /* shape df, on the sd: s^(-df - 1) exp(-scale / s) */
      const double s = sqrt(x);
      out[0] = df * log(scale) - lgamma(df) - (df + 1.0) * log(s) - scale / s;
      out[1] = (-(df + 1.0) + scale / s) / (2.0 * x);
      out[2] = ((df + 1.0) - 1.5 * scale / s) / (2.0 * x * x);
      break;
    }
    default: out[0] = out[1] = out[2] = 0.0;
  }
}

static elbo_status map_value(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                             const double *variance, double *value) {
  double part[3];
  *value = 0.0;
  for (int k = 0; k < par->q; k++) {
    lmm_log_density((lmm_family)prior->family[k], prior->df[k], prior->scale[k], Sigma[k * (par->q + 1)],
                part);
    *value += part[0];
  }
  for (int l = 0; l < par->n_level; l++) {
    lmm_log_density((lmm_family)prior->family[par->q + l], prior->sigma_df[l], prior->sigma_scale[l],
                variance[l], part);
    *value += part[0];
  }
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status map_derivatives(const lmm_prior *prior, const lmm_parameters *par,
                                   const double *Sigma, const double *variance, double *gradient,
                                   double *hessian) {
  const int n = par->n_pair + par->n_level;
  double part[3];
  for (int e = 0; e < n; e++) {
    const int l = e - par->n_pair, k = l < 0 ? par->pair_a[e] : 0;
    if (l < 0 && par->pair_b[e] != k) continue;
    if (l < 0)
      lmm_log_density((lmm_family)prior->family[k], prior->df[k], prior->scale[k],
                  Sigma[k * (par->q + 1)], part);
    else
      lmm_log_density((lmm_family)prior->family[par->q + l], prior->sigma_df[l],
                  prior->sigma_scale[l], variance[l], part);
    gradient[e] += part[1];
    hessian[e + n * e] += part[2];
  }
  return ELBO_OK;
}

void lmm_prior_map(lmm_prior *prior) {
  prior->value = map_value;
  prior->derivatives = map_derivatives;
  prior->update = NULL;
}
