/* Draws from the Gaussian mixed model, made in the sufficient statistics: a draw costs groups, not
 * rows. */
#include "glmm/simulate.h"

#include <math.h>
#include <string.h>

#include "math/la.h"
#include "math/simd.h"
#include "math/small.h"

size_t lmm_n_draws(const lmm_stats *stats) {
  size_t n = (size_t)stats->n_level * (size_t)stats->p; /* within */
  for (int r = 0; r < stats->n_run; r++) {
    const lmm_run *run = stats->run + r;
    n += (size_t)run->n_block * SIMD_LANES * (size_t)(stats->q * (1 + run->n_cell));
  }
  return n;
}

/* X'X of the within rows of a level (p x p), its factor R R' and rank. */
static int within_factor(const lmm_stats *stats, int level, double *A, double *R) {
  const int p = stats->p, p1 = p + 1;
  const double *W = stats->within + (size_t)(level * p1 * p1);
  int rank = 0;
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) A[j + p * k] = W[j >= k ? j + p1 * k : k + p1 * j];
  la_chol_semidefinite(A, p, 1e-13, R);
  for (int j = 0; j < p; j++) rank += R[j + p * j] > 0.0;
  return rank;
}

double lmm_chi_square_df(const lmm_stats *stats, int level, double *memory) {
  const int rank = within_factor(stats, level, memory, memory + stats->p * stats->p);
  return fmax(0.0, stats->n_distinct[level] - rank);
}

size_t lmm_simulate_size(const lmm_stats *stats) {
  return 2 * (size_t)(stats->p * stats->p) + (size_t)(stats->p + stats->q);
}

void lmm_stats_simulate(lmm_stats *stats, const double *L, const double *beta,
                        const double *variance, const double *draws, const double *chi_square,
                        double *memory) {
  const int p = stats->p, p1 = p + 1, q = stats->q, n_col = q + p1;
  double *A = memory, *R = A + p * p, *noise = R + p * p, *u = noise + p;
  /* Within: y = X beta + sigma e, so X'y = X'X beta + sigma R'z with X'X = R'R, and what of e is
   * orthogonal to X is a chi-square. */
  for (int l = 0; l < stats->n_level; l++, draws += p) {
    double *W = stats->within + (size_t)(l * p1 * p1), total = 0.0;
    const double sigma = sqrt(variance[l]);
    within_factor(stats, l, A, R);
    for (int j = 0; j < p; j++) {
      noise[j] = 0.0;
      for (int k = 0; k <= j; k++) noise[j] += sigma * R[j + p * k] * draws[k];
      if (R[j + p * j] > 0.0) total += sigma * sigma * draws[j] * draws[j];
    }
    for (int j = 0; j < p; j++) {
      double fitted = 0.0;
      for (int k = 0; k < p; k++) fitted += A[j + p * k] * beta[k];
      W[p + p1 * j] = fitted + noise[j];
      total += beta[j] * (fitted + 2.0 * noise[j]);
    }
    W[p + p1 * p] = total + sigma * sigma * chi_square[l];
  }
  for (int r = 0; r < stats->n_run; r++) {
    lmm_run *run = stats->run + r;
    const int K = q * run->n_cell;
    for (int i = 0; i < run->n_block * SIMD_LANES; i++) {
      const size_t block = (size_t)(i / SIMD_LANES), lane = (size_t)(i % SIMD_LANES);
      double *x = run->data + block * (size_t)(K * n_col) * SIMD_LANES + lane;
      const int *n_between = run->n_between + block * (size_t)run->n_cell * SIMD_LANES + lane;
      for (int a = 0; a < q; a++) {
        u[a] = 0.0;
        for (int b = 0; b < q; b++) u[a] += L[a + q * b] * draws[b];
      }
      draws += q;
      for (int row = 0; row < K; row++, x += n_col * SIMD_LANES) {
        const int cell = row / q;
        double y = sqrt(variance[run->level[cell]]) * *draws++;
        if (row % q >= n_between[cell * SIMD_LANES]) continue; /* padding stays zero */
        for (int a = 0; a < q; a++) y += x[a * SIMD_LANES] * u[a];
        for (int j = 0; j < p; j++) y += x[(q + j) * SIMD_LANES] * beta[j];
        x[(q + p) * SIMD_LANES] = y;
      }
    }
  }
}

void lmm_simulation_init(lmm_simulation *s, const lmm_work *w, const elbo_memory *mem) {
  const lmm_stats *st = w->stats;
  const int p = st->p, first = p - w->smooth.n_column;
  s->n_smooth = w->smooth.n_column;
  s->n_normal = (size_t)s->n_smooth + lmm_n_draws(st);
  s->normal = elbo_doubles(mem, s->n_normal);
  s->chi_square = elbo_doubles(mem, (size_t)st->n_level);
  s->df = elbo_doubles(mem, (size_t)st->n_level);
  s->L = elbo_doubles(mem, square(st->q));
  s->beta = elbo_doubles(mem, (size_t)p);
  s->variance = elbo_doubles(mem, (size_t)st->n_level);
  s->root = elbo_doubles(mem, (size_t)s->n_smooth);
  s->memory = elbo_doubles(mem, lmm_simulate_size(st));
  memcpy(s->L, w->L, square(st->q) * sizeof(double));
  memcpy(s->beta, w->beta, (size_t)p * sizeof(double));
  memcpy(s->variance, w->variance, (size_t)st->n_level * sizeof(double));
  for (int j = 0; j < s->n_smooth; j++) s->root[j] = w->smooth.root[first + j];
  for (int l = 0; l < st->n_level; l++) s->df[l] = lmm_chi_square_df(st, l, s->memory);
}

void lmm_simulation_put(lmm_simulation *s, lmm_stats *stats) {
  double *b = s->beta + stats->p - s->n_smooth;
  for (int j = 0; j < s->n_smooth; j++) b[j] = s->root[j] * s->normal[j];
  lmm_stats_simulate(stats, s->L, s->beta, s->variance, s->normal + s->n_smooth, s->chi_square,
                     s->memory);
}
