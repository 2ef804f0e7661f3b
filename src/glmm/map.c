/* Priors of the sds and correlations of the Gaussian mixed model where these are points: log p(sd)
 * of each, a function of the variance x = sd^2 alone, and lkj(eta), (eta - 1) log |R| and a
 * constant.  With them the marginal likelihood becomes a marginal posterior, and EM finds its mode
 * (densities on the scale of the sd, so that a flat prior is flat there). */
#include "glmm/map.h"

#include <math.h>

#include "glmm/parameters.h"
#include "law/scale_factor.h"
#include "math/la.h"

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

/* Whether the sd of term k is one of its own, and not that of a term before it. */
static int has_own_sd(const lmm_parameters *par, int k) {
  const int b = lmm_block_of(par, k);
  return !par->law[b].common || k == par->start[b];
}

/* eta - 1 of block b with a prior of its correlations, which has q terms from `first` on, else 0;
 * and its log |R|, inverse. */
static double lkj_excess(const lmm_prior *prior, const lmm_parameters *par, int b) {
  const double eta = prior->lkj == NULL ? NAN : prior->lkj[b];
  return par->start[b + 1] - par->start[b] < 2 || isnan(eta) ? 0.0 : eta - 1.0;
}

static elbo_status invert_block(const lmm_parameters *par, const double *Sigma, int b,
                                double *inverse, double *log_det_R) {
  const int first = par->start[b], q = par->start[b + 1] - first;
  *log_det_R = 0.0;
  for (int i = 0; i < q; i++) {
    *log_det_R -= log(Sigma[(first + i) * (par->q + 1)]);
    for (int j = 0; j < q; j++) inverse[i + q * j] = Sigma[first + i + par->q * (first + j)];
  }
  if (la_chol(inverse, q) != ELBO_OK) return ELBO_E_NOT_PD;
  *log_det_R += la_log_det_from_chol(inverse, q);
  return la_inverse_from_chol(inverse, q);
}

/* (eta - 1) log |R| of block b by the entries of Sigma. */
static elbo_status lkj_derivatives(const lmm_prior *prior, const lmm_parameters *par,
                                   const double *Sigma, int b, double *gradient, double *hessian) {
  const double g = lkj_excess(prior, par, b);
  const int n = par->n_pair + par->n_level, first = par->start[b], q = par->start[b + 1] - first;
  double V[LMM_MAX_TERMS * LMM_MAX_TERMS], log_det;
  if (g == 0.0) return ELBO_OK;
  if (invert_block(par, Sigma, b, V, &log_det) != ELBO_OK) return ELBO_E_NOT_PD;
  for (int e = 0; e < par->n_pair; e++) {
    int a1, b1, a2, b2;
    if (!lmm_direction(par, e, 0, first, q, &a1, &b1)) continue;
    const double k1 = a1 == b1 ? 0.5 : 1.0, x = Sigma[par->pair_a[e] * (par->q + 1)];
    gradient[e] += g * (2.0 * k1 * V[a1 + q * b1] - (a1 == b1 ? 1.0 / x : 0.0));
    for (int f = 0; f <= e; f++) {
      if (!lmm_direction(par, f, 0, first, q, &a2, &b2)) continue;
      const double k2 = a2 == b2 ? 0.5 : 1.0;
      hessian[e + n * f] -=
          2.0 * g * k1 * k2 * (V[a1 + q * a2] * V[b1 + q * b2] + V[a1 + q * b2] * V[b1 + q * a2]);
      if (e == f && a1 == b1) hessian[e + n * f] += g / (x * x);
    }
  }
  return ELBO_OK;
}

static elbo_status map_value(const lmm_prior *prior, const lmm_parameters *par, const double *Sigma,
                             const double *variance, double *value) {
  double x, slope;
  *value = 0.0;
  for (int k = 0; k < par->q + par->n_level; k++) {
    if (k < par->q && !has_own_sd(par, k)) continue;
    const sd_prior law = prior_of(prior, par, Sigma, variance, k, &x);
    *value += sd_prior_log_density(&law, x, &slope);
  }
  for (int b = 0; b < par->n_block; b++) {
    const int q = par->start[b + 1] - par->start[b];
    double inverse[LMM_MAX_TERMS * LMM_MAX_TERMS], log_det_R;
    if (q < 2 || prior->lkj == NULL || isnan(prior->lkj[b])) continue;
    *value += lkj_log_constant(q, prior->lkj[b]);
    if (lkj_excess(prior, par, b) == 0.0) continue;
    if (invert_block(par, Sigma, b, inverse, &log_det_R) != ELBO_OK) return ELBO_E_NOT_FINITE;
    *value += lkj_excess(prior, par, b) * log_det_R;
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
    if (l < 0 && (par->pair_b[e] != k || !has_own_sd(par, k))) continue; /* or a covariance */
    const sd_prior law = prior_of(prior, par, Sigma, variance, k, &x);
    sd_prior_log_density(&law, x, &slope);
    gradient[e] += slope;
    hessian[e + n * e] += sd_prior_curvature(&law, x);
  }
  for (int b = 0; b < par->n_block; b++)
    if (lkj_derivatives(prior, par, Sigma, b, gradient, hessian) != ELBO_OK) return ELBO_E_NOT_PD;
  return ELBO_OK;
}

void lmm_prior_map(lmm_prior *prior) {
  prior->value = map_value;
  prior->derivatives = map_derivatives;
  prior->update = NULL;
}
