/* Sums over levels and pairs of levels: traces with the inverse, cross-products of residuals. */
#include <string.h>

#include "glmm/blocked_state.h"

/* S_i (q x q's block of i's factor) += B R_j Z', B n_i x n_j (or its transpose is stored), R_j the
 * root of j's factor, Z the inverse's block n_i x n_j by the strides given. */
static void add_trace(int ni, int nj, int q, const double *B, int b_row, int b_column,
                      const double *R, const double *Z, int z_row, int z_column, double *S) {
  double half[LMM_MAX_TERMS];
  for (int c = 0; c < ni; c++) { /* column c of R Z' */
    for (int a = 0; a < nj; a++) {
      half[a] = 0.0;
      for (int k = 0; k <= a; k++) half[a] += R[a + q * k] * Z[c * z_row + k * z_column];
    }
    for (int r = 0; r < ni; r++) {
      double sum = 0.0;
      for (int a = 0; a < nj; a++) sum += B[r * b_row + a * b_column] * half[a];
      S[r + q * c] += sum;
    }
  }
}

/* The block of node i of the inverse, both triangles, into full (n x n). */
static void inverse_block(const crossed *c, int i, double *full) {
  int ld;
  const int n = c->cells->size[i];
  const double *Z = c->b.Z + blocked_diagonal(&c->b, i, &ld);
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) full[a + n * b] = full[b + n * a] = Z[a + ld * b];
}

void crossed_factor_sum(crossed *c) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q, step = q + 1;
  double *S = c->factor_sum, own[LMM_MAX_TERMS * LMM_MAX_TERMS];
  crossed_invert(c);
  if (c->summed) return;
  c->summed = 1;
  memset(S, 0, square(q) * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    const int n = d->size[i], first = d->first[d->factor_of[i]];
    inverse_block(c, i, own);
    add_trace(n, n, q, c->own + d->diagonal[i], 1, n, c->root + first * step, own, 1, n,
              S + first * step);
  }
  const double *B = c->value;
  for (size_t e = 0; e < d->n_cell; e++) {
    const int i = d->cell_i[e], j = d->cell_j[e], ni = d->size[i], nj = d->size[j];
    const int fi = d->first[d->factor_of[i]] * step, fj = d->first[d->factor_of[j]] * step;
    const double *Z = c->b.Z + c->b.cell[e];
    if (ni == 1 && nj == 1) {
      const double product = *B++ * *Z;
      S[fi] += c->root[fj] * product;
      S[fj] += c->root[fi] * product;
      continue;
    }
    const int ld = blocked_ld(&c->b, i, j);
    add_trace(ni, nj, q, B, 1, ni, c->root + fj, Z, 1, ld, S + fi);
    add_trace(nj, ni, q, B, ni, 1, c->root + fi, Z, ld, 1, S + fj);
    B += lmm_block(d, i, j);
  }
}

/* ---- by level -------------------------------------------------------------------------------- *
 * Sums over all rows, each row by the inverse of its variance, are known; those of the level with
 * most rows, c->rest, are what the other levels leave. */

static void trace_nodes(const crossed *c, double *trace) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q;
  double full[LMM_MAX_TERMS * LMM_MAX_TERMS], block[LMM_MAX_TERMS * LMM_MAX_TERMS];
  for (size_t e = 0; e < d->n_own; e++) {
    const int i = d->own_node[e], n = d->size[i];
    const double *R = crossed_root(c, c->root, i);
    if (d->own_level[e] == c->rest) continue;
    crossed_own_block(d, e, full);
    crossed_sandwich(n, n, q, R, full, R, 1.0, block, n);
    inverse_block(c, i, full);
    trace[d->own_level[e]] += dot(block, full, n * n);
  }
}

static void trace_cells(const crossed *c, double *trace) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q;
  double block[LMM_MAX_TERMS * LMM_MAX_TERMS];
  for (size_t k = 0; k < d->n_cell; k++) {
    const int i = d->cell_i[k], j = d->cell_j[k], ni = d->size[i], nj = d->size[j];
    const int ld = blocked_ld(&c->b, i, j);
    const double *Z = c->b.Z + c->b.cell[k], *B = d->value + d->first_value[k];
    const double *R = crossed_root(c, c->root, i), *S = crossed_root(c, c->root, j);
    for (size_t e = d->first_entry[k]; e < d->first_entry[k + 1]; e++, B += ni * nj) {
      double sum = 0.0;
      if (d->entry_level[e] == c->rest) continue;
      crossed_sandwich(ni, nj, q, R, B, S, 2.0, block, ni);
      for (int b = 0; b < nj; b++) sum += dot(block + ni * b, Z + ld * b, ni);
      trace[d->entry_level[e]] += sum;
    }
  }
}

void crossed_level_traces(crossed *c, double *trace) {
  const int q = c->stats->q;
  double all = 0.0;
  crossed_factor_sum(c);
  memset(trace, 0, (size_t)c->n_level * sizeof(double));
  for (int k = 0; k < q; k++)
    for (int a = k; a < q; a++) all += c->root[a + q * k] * c->factor_sum[a + q * k];
  if (c->n_level > 1) {
    trace_nodes(c, trace);
    trace_cells(c, trace);
  }
  for (int l = 0; l < c->n_level; l++)
    if (l != c->rest) all -= trace[l] / c->variance[l];
  trace[c->rest] = c->variance[c->rest] * all;
}

/* F (lower) += u v' + v u' */
static void add_products(int n, const double *u, const double *v, double *F) {
  for (int j = 0; j < n; j++)
    for (int k = j; k < n; k++) F[k + n * j] += u[k] * v[j] + v[k] * u[j];
}

static void form_nodes(const crossed *c, const double *U, double *F, double *of_x) {
  const lmm_crossed *d = c->cells;
  const int p1 = c->p1, p = p1 - 1;
  const double *response = c->response;
  double *row = c->scratch;
  for (size_t e = 0; e < d->n_own; e++) {
    const int i = d->own_node[e], n = d->size[i], l = d->own_level[e];
    const double *from = d->own + d->first_own[e];
    const double *u = U + (size_t)p1 * (size_t)c->b.place[i];
    for (int a = 0; a < n; a++, from += n + p1, response++) { /* half of N U less B, at the row */
      if (l == c->rest) continue;
      for (int j = 0; j < p1; j++) {
        row[j] = j < p ? -from[n + j] : -*response;
        for (int b = 0; b < n; b++) row[j] += 0.5 * from[b] * u[p1 * b + j];
      }
      add_products(p1, u + p1 * a, row, F + square(p1) * (size_t)l);
      for (int j = 0; j < p && of_x; j++) of_x[p * l + j] += from[n + j] * u[p1 * a + p];
    }
  }
}

static void form_cells(const crossed *c, const double *U, double *F) {
  const lmm_crossed *d = c->cells;
  const int p1 = c->p1;
  double *row = c->scratch;
  for (size_t k = 0; k < d->n_cell; k++) {
    const int ni = d->size[d->cell_i[k]], nj = d->size[d->cell_j[k]];
    const double *u = U + (size_t)p1 * (size_t)c->b.place[d->cell_i[k]];
    const double *v = U + (size_t)p1 * (size_t)c->b.place[d->cell_j[k]];
    const double *B = d->value + d->first_value[k];
    for (size_t e = d->first_entry[k]; e < d->first_entry[k + 1]; e++, B += ni * nj)
      for (int a = 0; a < ni && d->entry_level[e] != c->rest; a++) {
        for (int j = 0; j < p1; j++) {
          row[j] = 0.0;
          for (int b = 0; b < nj; b++) row[j] += B[a + ni * b] * v[p1 * b + j];
        }
        add_products(p1, u + p1 * a, row, F + square(p1) * (size_t)d->entry_level[e]);
      }
  }
}

/* What the other levels leave of `total` (n), added to `rest`, which is zero. */
static void leave_rest(const crossed *c, const double *total, int n, double *by_level) {
  double *rest = by_level + (size_t)n * (size_t)c->rest;
  for (int i = 0; i < n; i++) {
    double sum = total[i];
    for (int l = 0; l < c->n_level; l++)
      if (l != c->rest) sum -= by_level[(size_t)n * (size_t)l + (size_t)i] / c->variance[l];
    rest[i] = c->variance[c->rest] * sum;
  }
}

void crossed_level_forms(const crossed *c, const double *U, const double *NU, double *F,
                         double *of_x) {
  const int p1 = c->p1, p = p1 - 1, n = p1 * p1;
  double *row = c->scratch, *total = c->total, *of_all = total + n;
  memcpy(total, c->cross, (size_t)n * sizeof(double));
  memset(of_all, 0, (size_t)p * sizeof(double));
  for (size_t i = 0; i < (size_t)c->n; i++) {
    const double *u = U + (size_t)p1 * i, *b = c->by_place + (size_t)p1 * i;
    for (int j = 0; j < p1; j++) row[j] = 0.5 * NU[(size_t)p1 * i + (size_t)j] - b[j];
    add_products(p1, u, row, total);
    for (int j = 0; j < p; j++) of_all[j] += b[j] * u[p];
  }
  memcpy(F, c->level_cross, (size_t)c->n_level * (size_t)n * sizeof(double));
  if (of_x) memset(of_x, 0, (size_t)(c->n_level * p) * sizeof(double));
  if (c->n_level > 1) {
    form_nodes(c, U, F, of_x);
    form_cells(c, U, F);
  }
  leave_rest(c, total, n, F);
  if (of_x) leave_rest(c, of_all, p, of_x);
}
