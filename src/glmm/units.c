/* Parameters, latent variables and derivatives between the caller's units and the scaled data. */
#include "glmm/units.h"

#include <string.h>

#include "glmm/blocked_product.h"
#include "glmm/cross.h"
#include "glmm/smooth.h"
#include "glmm/work.h"
#include "math/la.h"
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
  const size_t latent = 4 * square(q) + (size_t)(2 * q * p) + (size_t)q;
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

void lmm_units_latent(const lmm_units *units, int f, const double *root, const double *posterior,
                      double *mean, double *cov, double *gain) {
  const lmm_stats *st = units->work->stats;
  const glmm_solver *solver = &units->work->solver;
  const int q = st->q, p = st->p, first = solver->first[f], n = solver->first[f + 1] - first;
  const int m = solver->n_unit[f];
  double *R = units->scratch, *all = R + square(q), *N = all + square(q), *half = N + square(q);
  double *b = half + square(q) + (size_t)(q * p), *k = b + q;
  la_multiply(units->work->par.Ti, root, q, q, q, all);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) R[i + n * j] = all[first + i + q * (first + j)];
  for (int g = 0; g < m; g++) {
    double *c = cov + square(n) * (size_t)g;
    solver->level(solver->state, posterior, f, g, b, N, k);
    for (int i = 0; i < n; i++) {
      double sum = 0.0;
      for (int j = 0; j < n; j++) sum += R[i + n * j] * b[j];
      mean[g + m * i] = sum;
    }
    la_multiply(R, N, n, n, n, half);
    la_multiply_t(half, half, n, n, n, c);
    for (int i = 0; i < n; i++) /* stored by row */
      for (int j = 0; j < p; j++) {
        double sum = 0.0;
        for (int l = 0; l < n; l++) sum += R[i + n * l] * k[l * p + j];
        half[i + n * j] = sum;
      }
    la_multiply(half, units->A, n, p, p, gain + (size_t)(n * p) * (size_t)g);
  }
}

/* out = M in, or M'in, of every level of every factor, M (q x q). */
static void by_level(const glmm_solver *solver, int q, const double *M, int transposed, int k,
                     const double *in, double *out) {
  for (int f = 0; f < solver->n_factor; f++) {
    const int first = solver->first[f], n = solver->first[f + 1] - first;
    for (int g = 0; g < solver->n_unit[f]; g++, in += n * k, out += n * k)
      for (int i = 0; i < n; i++)
        for (int l = 0; l < k; l++) {
          double sum = 0.0;
          for (int j = 0; j < n; j++)
            sum += in[k * j + l] * (transposed ? M[first + j + q * (first + i)]
                                               : M[first + i + q * (first + j)]);
          out[k * i + l] = sum;
        }
  }
}

void lmm_units_product(const lmm_units *units, int inverse, int k, const double *in, double *out,
                       double *work) {
  const lmm_work *w = units->work;
  const int q = w->stats->q;
  const size_t size = (size_t)lmm_blocked_levels(&w->solver) * (size_t)k;
  const double *to = inverse ? w->par.Ti : w->par.T;
  by_level(&w->solver, q, to, inverse, k, in, out);
  lmm_blocked_product(&w->solver, inverse, k, out, work, work + size);
  by_level(&w->solver, q, to, !inverse, k, work, out);
}

/* By what a step of a parameter (an entry of Sigma in pairs, or a residual variance) moves a scaled
 * one: entry (a, b) moves (i, j) by T_ia T_jb + T_ib T_ja (a = b: by half of that). */
static double step_of(const lmm_parameters *par, int scaled, int user) {
  const int q = par->q, n_pair = par->n_pair;
  if (scaled >= n_pair || user >= n_pair)
    return scaled == user ? par->sigma_scale * par->sigma_scale : 0.0;
  const int i = par->pair_a[scaled], j = par->pair_b[scaled];
  const int a = par->pair_a[user], b = par->pair_b[user];
  const double *T = par->T, one = T[i + q * a] * T[j + q * b];
  return a == b ? one : one + T[i + q * b] * T[j + q * a];
}

void lmm_units_traces(const lmm_units *units, const double *scaled, double *user, double *work) {
  const lmm_parameters *par = &units->work->par;
  const int n = par->n_pair + par->n_level;
  memset(work, 0, square(n) * sizeof(double));
  memset(user, 0, square(n) * sizeof(double));
  for (int e = 0; e < n; e++)
    for (int f = 0; f < n; f++)
      for (int k = 0; k < n; k++) work[e + n * f] += at_lower(scaled, n, e, k) * step_of(par, k, f);
  for (int e = 0; e < n; e++)
    for (int f = 0; f < n; f++)
      for (int k = 0; k < n; k++) user[e + n * f] += step_of(par, k, e) * work[k + n * f];
}

void lmm_units_spread(const lmm_units *units, const level_entries *entries, double *out) {
  lmm_blocked_spread(&units->work->solver, units->work->par.Ti, entries, out);
}

elbo_status lmm_units_excess(const lmm_units *units, const double *A, const double *b,
                             const level_entries *entries, double *out, const elbo_memory *mem) {
  const lmm_work *w = units->work;
  const lmm_parameters *par = &w->par;
  const int n = par->n_pair + par->n_level;
  const lmm_point point = {.n_pair = par->n_pair, .pair_a = par->pair_a, .pair_b = par->pair_b};
  double *step = elbo_doubles(mem, square(n)), *half = elbo_doubles(mem, square(n));
  double *A_scaled = elbo_doubles(mem, square(n)), *b_scaled = elbo_doubles(mem, (size_t)n);
  for (int e = 0; e < n; e++)
    for (int f = 0; f < n; f++) step[e + n * f] = step_of(par, e, f);
  la_multiply(step, A, n, n, n, half);
  la_multiply_t(half, step, n, n, n, A_scaled);
  la_multiply(step, b, n, n, 1, b_scaled);
  return lmm_blocked_excess(&w->solver, &point, par->Ti, A_scaled, b_scaled, entries, out, mem);
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
