/* Parameters, latent variables and derivatives between the caller's units and the scaled data. */
#include "glmm/units.h"

#include <string.h>

#include "glmm/groups.h"
#include "glmm/smooth.h"
#include "glmm/work.h"
#include "math/la.h"
#include "math/simd.h"
#include "math/small.h"

/* B is diagonal but for the row of the intercept. */
static void fill_matrices(lmm_units *units) {
  const lmm_scaling *s = &units->work->stats->scaling;
  const int p = units->work->stats->p, i0 = s->x_intercept;
  double *A = units->A, *B = units->B;
  memset(A, 0, square(p) * sizeof(double));
  memset(B, 0, square(p) * sizeof(double));
  memset(units->origin, 0, (size_t)p * sizeof(double));
  for (int j = 0; j < p; j++) {
    A[j + p * j] = s->y_scale / s->x_scale[j];
    B[j + p * j] = s->x_scale[j] / s->y_scale;
    if (i0 < 0 || j == i0) continue;
    A[i0 + p * j] = s->x_shift[j] * s->y_scale;
    B[i0 + p * j] = -s->x_shift[j] * B[j + p * j];
  }
  if (i0 >= 0) units->origin[i0] = s->y_shift;
}

void lmm_units_init(lmm_units *units, const lmm_work *work, const elbo_memory *mem) {
  const int p = work->stats->p, q = work->stats->q;
  const size_t latent = lmm_posterior_stride(q, p) + 3 * square(q) + (size_t)(q * p);
  units->work = work;
  units->A = elbo_doubles(mem, square(p));
  units->B = elbo_doubles(mem, square(p));
  units->origin = elbo_doubles(mem, (size_t)p);
  units->scratch = elbo_doubles(mem, 3 * square(p) + latent);
  fill_matrices(units);
}

void lmm_units_beta(const lmm_units *units, const double *beta, double *user) {
  const int p = units->work->stats->p;
  la_multiply(units->B, beta, p, p, 1, user);
  for (int j = 0; j < p; j++) user[j] += units->origin[j];
}

void lmm_units_covariance(const lmm_units *units, const double *C, double *user) {
  const int p = units->work->stats->p;
  la_multiply(units->B, C, p, p, p, units->scratch);
  la_multiply_t(units->scratch, units->B, p, p, p, user);
}

void lmm_units_latent(const lmm_units *units, const double *root, const double *posterior,
                      double *mean, double *cov, double *gain) {
  const lmm_stats *st = units->work->stats;
  const int q = st->q, p = st->p, m = st->m;
  const size_t stride = lmm_posterior_stride(q, p), Q = (size_t)q, P = (size_t)p;
  double *u = units->scratch, *R = u + stride, *N = R + Q * Q, *half = N + Q * Q;
  la_multiply(units->work->par.Ti, root, q, q, q, R);
  for (size_t i = 0; i < (size_t)st->n_block * SIMD_LANES; i++) {
    const int group = st->group_of_lane[i];
    if (group < 0 || m == 0) continue;
    const double *from = posterior + stride * (i / SIMD_LANES) + i % SIMD_LANES;
    for (size_t j = 0; j < stride / SIMD_LANES; j++) u[j] = from[j * SIMD_LANES];
    double *c = cov + Q * Q * (size_t)group, *k = gain + Q * P * (size_t)group;
    for (int a = 0; a < q; a++) {
      double sum = 0.0;
      for (int b = 0; b < q; b++) sum += R[a + q * b] * u[b];
      mean[group + m * a] = sum;
    }
    lmm_covariance_root(q, u + q, N);
    la_multiply(R, N, q, q, q, half);
    la_multiply_t(half, half, q, q, q, c);
    for (int a = 0; a < q; a++) /* stored by row */
      for (int j = 0; j < p; j++) {
        double sum = 0.0;
        for (int b = 0; b < q; b++) sum += R[a + q * b] * u[Q + Q * Q + (size_t)(b * p + j)];
        half[a + q * j] = sum;
      }
    la_multiply(half, units->A, q, p, p, k);
  }
}

void lmm_units_information(const lmm_units *units, double *cross, double *cov_slope) {
  const lmm_work *w = units->work;
  const int p = w->stats->p, n = w->par.n_eta;
  double *CS = units->scratch + square(p), *CSC = CS + square(p);
  la_multiply(w->cross_eta, units->A, n, p, p, cross);
  for (int k = 0; k < n; k++) {
    la_multiply(w->C, w->spread_eta + square(p) * (size_t)k, p, p, p, CS);
    la_multiply(CS, w->C, p, p, p, CSC);
    lmm_units_covariance(units, CSC, cov_slope + square(p) * (size_t)k);
  }
}

void lmm_units_smooth(const lmm_units *units, double *sd, double *slope) {
  const lmm_smooth *s = &units->work->smooth;
  for (int k = 0; k < s->n; k++) {
    sd[k] = fabs(s->sd[k]) * s->to_user[k];
    if (slope != NULL)
      slope[k] = s->sd[k] < 0.0 ? -s->to_user[k] : s->sd[k] > 0.0 ? s->to_user[k] : 0.0;
  }
}

void lmm_units_set_scales(const lmm_units *units, lmm_work *w, const double *Sigma,
                          const double *sigma, const double *smooth) {
  const int q = w->stats->q;
  lmm_smooth *s = &w->smooth;
  la_multiply(w->par.T, Sigma, q, q, q, units->scratch);
  la_multiply_t(units->scratch, w->par.T, q, q, q, w->Sigma);
  la_chol_semidefinite(w->Sigma, q, 1e-15, w->L);
  lmm_set_root(w);
  for (int l = 0; l < w->stats->n_level; l++)
    w->variance[l] = pow(sigma[l] * w->par.sigma_scale, 2.0);
  if (!has_smooth(w)) return;
  for (int k = 0; k < s->n; k++) s->sd[k] = smooth[k] / s->to_user[k];
  lmm_smooth_pack(w, w->eta);
  lmm_smooth_unpack(w);
}

void lmm_units_set_beta(const lmm_units *units, lmm_work *w, const double *beta) {
  const int p = w->stats->p;
  double *shifted = units->scratch;
  for (int j = 0; j < p; j++) shifted[j] = beta[j] - units->origin[j];
  la_multiply(units->A, shifted, p, p, 1, w->beta);
}
