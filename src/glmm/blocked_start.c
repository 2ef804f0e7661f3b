/* Variances to start from, by moments (Henderson 1953, Biometrics 9:226, his first method): with
 * r = y - X beta and N = Z'WZ the sums
 *   Q_k = sum over levels g of (Z_k'W r)_g^2 / (N_kk)_g,   r'W r
 * have expectations that are linear in the variances of the terms and in the residual variance. */
#include <math.h>
#include <string.h>

#include "glmm/blocked_state.h"
#include "glmm/cross.h"

/* Adds to the coefficients C (n x n, by row: that of variance l in Q_k) what nodes i and j share.
 */
static void add_shared(const crossed *c, int i, int j, const double *B, int n, double *C) {
  const lmm_crossed *d = c->cells;
  const int ni = d->size[i], nj = d->size[j];
  const int first_i = d->first[d->factor_of[i]], first_j = d->first[d->factor_of[j]];
  const double *own_i = c->own + d->diagonal[i], *own_j = c->own + d->diagonal[j];
  for (int b = 0; b < nj; b++)
    for (int a = 0; a < ni; a++) {
      const double square = B[a + ni * b] * B[a + ni * b];
      const double of_i = own_i[a * (ni + 1)], of_j = own_j[b * (nj + 1)];
      if (of_i > 0.0) C[n * (first_i + a) + first_j + b] += square / of_i;
      if (of_j > 0.0 && i != j) C[n * (first_j + b) + first_i + a] += square / of_j;
    }
}

/* Solves C x = x (n x n, by row), by elimination with the largest pivots; 0 where it is singular.
 */
static int solve(int n, double *C, double *x) {
  for (int k = 0; k < n; k++) {
    int most = k;
    for (int i = k + 1; i < n; i++)
      if (fabs(C[n * i + k]) > fabs(C[n * most + k])) most = i;
    if (!(fabs(C[n * most + k]) > 1e-10 * fabs(C[n * most + n - 1]))) return 0;
    for (int j = 0; j <= n; j++) {
      double *one = j < n ? C + n * k + j : x + k, *other = j < n ? C + n * most + j : x + most;
      const double kept = *one;
      *one = *other;
      *other = kept;
    }
    for (int i = k + 1; i < n; i++) {
      const double factor = C[n * i + k] / C[n * k + k];
      for (int j = k; j < n; j++) C[n * i + j] -= factor * C[n * k + j];
      x[i] -= factor * x[k];
    }
  }
  for (int k = n - 1; k >= 0; k--) {
    for (int j = k + 1; j < n; j++) x[k] -= C[n * k + j] * x[j];
    x[k] /= C[n * k + k];
  }
  return 1;
}

int crossed_start(void *state, const double *beta, double *term, double *residual) {
  const crossed *c = (const crossed *)state;
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, n = q + 1, p1 = c->p1, p = p1 - 1;
  double *C = c->hessian, *x = C + square(n), *step = c->scratch;
  memset(C, 0, (square(n) + (size_t)n) * sizeof(double));
  for (int j = 0; j < p; j++) step[j] = beta[j] - c->origin[j];
  for (int i = 0; i < d->n_node; i++) {
    const double *rows = c->by_place + (size_t)p1 * (size_t)c->b.place[i];
    const int first = d->first[d->factor_of[i]];
    add_shared(c, i, i, c->own + d->diagonal[i], n, C);
    for (int a = 0; a < d->size[i]; a++) {
      const double own = c->own[d->diagonal[i] + (size_t)(a * (d->size[i] + 1))];
      const double r = rows[p1 * a + p] - dot(rows + p1 * a, step, p);
      C[n * q + first + a] += own;
      if (!(own > 0.0)) continue;
      x[first + a] += r * r / own;
      C[n * (first + a) + q] += 1.0;
    }
  }
  const double *B = c->value;
  for (size_t k = 0; k < d->n_cell; k++) {
    add_shared(c, d->cell_i[k], d->cell_j[k], B, n, C);
    B += lmm_block(d, d->cell_i[k], d->cell_j[k]);
  }
  x[q] = residual_square(c->cross, step, p);
  C[n * q + q] = c->stats->n;
  const double all = x[q] / c->stats->n;
  if (!solve(n, C, x) || !(all > 0.0)) return 0;
  /* What comes out at nothing or less is small. */
  for (int k = 0; k < q; k++) {
    const double size = c->weight[k] > 0.0 ? all / c->weight[k] : all;
    term[k] = fmax(x[k], 0.05 * size);
  }
  *residual = fmin(fmax(x[q], 0.05 * all), all);
  return 1;
}
