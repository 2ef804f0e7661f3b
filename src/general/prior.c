/* Priors of points: what log p(theta) adds to an objective, in the caller's units. */
#include "general/prior.h"

#include <math.h>
#include <string.h>

#include "general/parameters.h"
#include "law/latent_prior.h"
#include "math/la.h"
#include "math/small.h"

enum { MOST_SQUARE = GENERAL_MAX_TERMS * GENERAL_MAX_TERMS };

latent_prior general_prior_block(const general_prior *prior, const general_parameters *par,
                                 const double *theta, int b, double *S) {
  const int first = par->start[b], q = par->law[b].q;
  const double *scale = par->z_scale + first;
  double L[MOST_SQUARE];
  latent_law_root(par->law + b, theta + par->p + par->eta_of_block[b], L);
  la_multiply_t(L, L, q, q, q, S);
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) S[i + q * j] *= scale[i] * scale[j];
  const latent_prior out = {.q = q,
                            .family = prior->family + first,
                            .df = prior->df + first,
                            .scale = prior->scale + first,
                            .lkj = prior->lkj[b],
                            .common = par->law[b].common};
  return out;
}

elbo_status general_prior_value(const general_prior *prior, const general_parameters *par,
                                const double *theta, double *value, double *work) {
  double S[MOST_SQUARE], part;
  *value = 0.0;
  general_natural_beta(par, theta, work);
  for (int j = 0; j < par->p; j++) {
    if (!isfinite(prior->beta_sd[j])) continue;
    const double z = (work[j] - prior->beta_mean[j]) / prior->beta_sd[j];
    *value -= 0.5 * (z * z + LOG_2PI) + log(prior->beta_sd[j]);
  }
  for (int b = 0; b < par->n_block && prior->family; b++) {
    const latent_prior block = general_prior_block(prior, par, theta, b, S);
    const elbo_status status = latent_prior_point(&block, S, &part);
    if (status != ELBO_OK) return status;
    *value += part;
  }
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

/* beta = R^{-1} times its coordinates. */
static void beta_slopes(const general_prior *prior, const general_parameters *par,
                        const double *theta, double *gradient, double *hessian, double *work) {
  const int p = par->p, N = par->n_theta;
  double *inverse = work, *precision = inverse + square(p), *slope = precision + p;
  for (int k = 0; k < p; k++)
    for (int j = p - 1; j >= 0; j--) {
      double rest = j == k ? 1.0 : 0.0;
      for (int l = j + 1; l < p; l++) rest -= par->R[j + p * l] * inverse[l + p * k];
      inverse[j + p * k] = rest / par->R[j + p * j];
    }
  for (int j = 0; j < p; j++) {
    const double sd = prior->beta_sd[j];
    precision[j] = isfinite(sd) ? 1.0 / (sd * sd) : 0.0;
    double beta = 0.0;
    for (int k = j; k < p; k++) beta += inverse[j + p * k] * theta[k];
    slope[j] = -precision[j] * (beta - prior->beta_mean[j]);
  }
  for (int k = 0; k < p; k++) {
    gradient[k] += dot(inverse + p * k, slope, p);
    for (int l = 0; l < p && hessian; l++)
      for (int j = 0; j < p; j++)
        hessian[k + N * l] -= inverse[j + p * k] * precision[j] * inverse[j + p * l];
  }
}

void general_chain_block(const general_parameters *par, const double *theta, int b,
                         const double *by_S, const double *by_SS, double *gradient,
                         double *hessian) {
  const int first = par->start[b], q = par->law[b].q, n = (int)packed_size(q), N = par->n_theta;
  const int at = par->p + par->eta_of_block[b], n_eta = par->law[b].n_eta;
  const double *scale = par->z_scale + first;
  double slope[GENERAL_MAX_ROOT][GENERAL_MAX_ROOT], full[MOST_SQUARE], G[MOST_SQUARE];
  for (int k = 0; k < n_eta; k++) {
    latent_law_slope(par->law + b, theta + at, k, full);
    for (int i = 0; i < q; i++)
      for (int j = 0; j <= i; j++) {
        const int e = general_packed(i, j);
        slope[k][e] = scale[i] * scale[j] * full[i + q * j];
        gradient[at + k] += by_S[e] * slope[k][e];
      }
  }
  if (hessian == NULL) return;
  for (int k = 0; k < n_eta; k++)
    for (int l = 0; l < n_eta; l++)
      for (int e = 0; e < n; e++)
        for (int f = 0; f < n; f++)
          hessian[at + k + N * (at + l)] +=
              slope[k][e] * by_SS[larger(e, f) + n * smaller(e, f)] * slope[l][f];
  for (int i = 0; i < q; i++)
    for (int j = 0; j <= i; j++)
      G[i + q * j] = G[j + q * i] =
          (i == j ? 1.0 : 0.5) * scale[i] * scale[j] * by_S[general_packed(i, j)];
  latent_law_curvature(par->law + b, theta + at, G, N, hessian + (size_t)at * (size_t)(N + 1));
}

elbo_status general_prior_slopes(const general_prior *prior, const general_parameters *par,
                                 const double *theta, double *gradient, double *hessian,
                                 double *work) {
  double S[MOST_SQUARE], by_S[GENERAL_MAX_ROOT], by_SS[GENERAL_MAX_ROOT * GENERAL_MAX_ROOT];
  int place[GENERAL_MAX_ROOT];
  for (int e = 0; e < GENERAL_MAX_ROOT; e++) place[e] = e;
  beta_slopes(prior, par, theta, gradient, hessian, work);
  for (int b = 0; b < par->n_block && prior->family; b++) {
    const latent_prior block = general_prior_block(prior, par, theta, b, S);
    const int n = (int)packed_size(block.q);
    memset(by_S, 0, (size_t)n * sizeof(double));
    memset(by_SS, 0, square(n) * sizeof(double));
    const elbo_status status = latent_prior_point_slopes(&block, S, place, n, by_S, by_SS);
    if (status != ELBO_OK) return status;
    general_chain_block(par, theta, b, by_S, by_SS, gradient, hessian);
  }
  return ELBO_OK;
}
