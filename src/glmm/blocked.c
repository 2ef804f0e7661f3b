/* The normal matrix of several grouping factors: factor, solutions, inverse, products. */
#include <math.h>
#include <string.h>

#include "glmm/blocked_state.h"
#include "math/la.h"

/* In units of a level's own sampling error less than this changes no digit. */
static const double NOTHING = 1e-8;

/* ---- weights --------------------------------------------------------------------------------- */

static void weigh_nodes(crossed *c) {
  const lmm_crossed *d = c->cells;
  memset(c->own, 0, d->diagonal[d->n_node] * sizeof(double));
  for (size_t e = 0; e < d->n_own; e++) {
    const int node = d->own_node[e], k = d->size[node];
    const double *from = d->own + d->first_own[e], w = 1.0 / c->variance[d->own_level[e]];
    double *own = c->own + d->diagonal[node];
    for (int a = 0; a < k; a++, from += k + c->p1)
      for (int b = 0; b < k; b++) own[a + k * b] += w * from[b];
  }
}

static void weigh_cells(crossed *c) {
  const lmm_crossed *d = c->cells;
  double *to = c->value;
  if (c->n_level == 1) { /* an entry a cell */
    const double w = 1.0 / c->variance[0];
    for (size_t i = 0; i < d->first_value[d->n_cell]; i++) to[i] = w * d->value[i];
    return;
  }
  for (size_t k = 0; k < d->n_cell; k++) {
    const size_t size = lmm_block(d, d->cell_i[k], d->cell_j[k]);
    const double *from = d->value + d->first_value[k];
    for (size_t i = 0; i < size; i++) to[i] = 0.0;
    for (size_t e = d->first_entry[k]; e < d->first_entry[k + 1]; e++, from += size) {
      const double w = 1.0 / c->variance[d->entry_level[e]];
      for (size_t i = 0; i < size; i++) to[i] += w * from[i];
    }
    to += size;
  }
}

void crossed_weigh_columns(crossed *c) {
  const lmm_crossed *d = c->cells;
  const int p1 = c->p1, p = p1 - 1;
  const size_t size = square(p1);
  const double *response = c->response;
  memset(c->cross, 0, size * sizeof(double));
  for (int l = 0; l < c->n_level; l++)
    for (size_t i = 0; i < size; i++)
      c->cross[i] += c->level_cross[size * (size_t)l + i] / c->variance[l];
  memset(c->by_place, 0, (size_t)c->n * (size_t)p1 * sizeof(double));
  for (size_t e = 0; e < d->n_own; e++) {
    const int node = d->own_node[e], k = d->size[node];
    const double *from = d->own + d->first_own[e] + k, w = 1.0 / c->variance[d->own_level[e]];
    double *to = c->by_place + (size_t)p1 * (size_t)c->b.place[node];
    for (int a = 0; a < k; a++, from += k + p1, to += p1) {
      for (int j = 0; j < p; j++) to[j] += w * from[j];
      to[p] += w * *response++;
    }
  }
}

void crossed_weigh(crossed *c) {
  const lmm_crossed *d = c->cells;
  weigh_nodes(c);
  weigh_cells(c);
  memset(c->weight, 0, (size_t)c->stats->q * sizeof(double));
  for (int i = 0; i < d->n_node; i++)
    for (int a = 0; a < d->size[i]; a++)
      c->weight[d->first[d->factor_of[i]] + a] +=
          c->own[d->diagonal[i] + (size_t)(a * (d->size[i] + 1))] / d->n_unit[d->factor_of[i]];
}

/* ---- factor ---------------------------------------------------------------------------------- */

void crossed_give_variance(crossed *c) {
  const int q = c->stats->q;
  for (int k = 0; k < q; k++) {
    const double least = NOTHING / sqrt(fmax(c->weight[k], 1e-300));
    double *diagonal = c->root + k * (q + 1);
    if (fabs(*diagonal) < least) *diagonal = *diagonal < 0.0 ? -least : least;
  }
}

void crossed_sandwich(int ni, int nj, int q, const double *A, const double *B, const double *C,
                      double scale, double *to, int ld) {
  if (ni == 1 && nj == 1) {
    *to = scale * *A * *B * *C;
    return;
  }
  double half[LMM_MAX_TERMS];
  for (int j = 0; j < nj; j++) {
    for (int i = 0; i < ni; i++) {
      half[i] = 0.0;
      for (int k = j; k < nj; k++) half[i] += B[i + ni * k] * C[k + q * j];
    }
    for (int i = 0; i < ni; i++) {
      double sum = 0.0;
      for (int k = i; k < ni; k++) sum += A[k + q * i] * half[k];
      to[i + ld * j] = scale * sum;
    }
  }
}

elbo_status crossed_factor(crossed *c) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q;
  if (c->factored) return ELBO_OK;
  c->inverted = c->solved = c->summed = c->traced = 0;
  blocked_clear(&c->b);
  for (int i = 0; i < d->n_node; i++) {
    int ld;
    const int n = d->size[i], first = d->first[d->factor_of[i]];
    double *to = c->b.L + blocked_diagonal(&c->b, i, &ld);
    const double *root = crossed_root(c, c->root, i);
    double block[LMM_MAX_TERMS * LMM_MAX_TERMS];
    crossed_sandwich(n, n, q, root, c->own + d->diagonal[i], root, 1.0, block, n);
    for (int b = 0; b < n; b++) {
      for (int a = b; a < n; a++) to[a + ld * b] = block[a + n * b];
      to[b + ld * b] += c->unit[first + b];
    }
  }
  const double *value = c->value;
  for (size_t k = 0; k < d->n_cell; k++) {
    const int i = d->cell_i[k], j = d->cell_j[k];
    if (d->size[i] * d->size[j] == 1) {
      c->b.L[c->b.cell[k]] = *crossed_root(c, c->root, i) * *value++ * *crossed_root(c, c->root, j);
      continue;
    }
    crossed_sandwich(d->size[i], d->size[j], q, crossed_root(c, c->root, i), value,
                     crossed_root(c, c->root, j), 1.0, c->b.L + c->b.cell[k],
                     blocked_ld(&c->b, i, j));
    value += lmm_block(d, i, j);
  }
  const elbo_status status = blocked_factor(&c->b, &c->log_det);
  c->factored = status == ELBO_OK;
  return status;
}

void crossed_invert(crossed *c) {
  crossed_factor(c);
  if (!c->inverted) blocked_inverse(&c->b);
  c->inverted = 1;
}

/* ---- vectors --------------------------------------------------------------------------------- */

void crossed_by_root(const crossed *c, const double *root, int transposed, int k, const double *in,
                     double *out) {
  const lmm_crossed *d = c->cells;
  const int q = c->stats->q;
  for (int i = 0; i < d->n_node; i++) {
    const int n = d->size[i];
    const size_t at = (size_t)k * (size_t)c->b.place[i];
    const double *R = crossed_root(c, root, i);
    for (int a = 0; a < n; a++) {
      double *to = out + at + (size_t)(k * a);
      for (int l = 0; l < k; l++) to[l] = 0.0;
      for (int b = 0; b < n; b++) {
        const double r = transposed ? (b >= a ? R[b + q * a] : 0.0) : (b <= a ? R[a + q * b] : 0.0);
        const double *from = in + at + (size_t)(k * b);
        if (r != 0.0)
          for (int l = 0; l < k; l++) to[l] += r * from[l];
      }
    }
  }
}

/* to (n_i x k, by row) += B from, B n_i x n_j, or B' from where `transposed` (B n_j x n_i). */
static void add_block(int ni, int nj, int transposed, const double *B, int k, const double *from,
                      double *to) {
  for (int a = 0; a < ni; a++)
    for (int b = 0; b < nj; b++) {
      const double value = transposed ? B[b + nj * a] : B[a + ni * b];
      for (int l = 0; l < k; l++) to[k * a + l] += value * from[k * b + l];
    }
}

void crossed_product(const crossed *c, int k, const double *in, double *out) {
  const lmm_crossed *d = c->cells;
  const size_t K = (size_t)k;
  memset(out, 0, (size_t)c->n * K * sizeof(double));
  for (int i = 0; i < d->n_node; i++) {
    const size_t at = K * (size_t)c->b.place[i];
    add_block(d->size[i], d->size[i], 0, c->own + d->diagonal[i], k, in + at, out + at);
  }
  const double *B = c->value;
  for (size_t e = 0; e < d->n_cell; e++) {
    const int i = d->cell_i[e], j = d->cell_j[e];
    const size_t at_i = K * (size_t)c->b.place[i], at_j = K * (size_t)c->b.place[j];
    if (d->size[i] * d->size[j] == 1) {
      const double value = *B++;
      for (size_t l = 0; l < K; l++) {
        out[at_i + l] += value * in[at_j + l];
        out[at_j + l] += value * in[at_i + l];
      }
      continue;
    }
    add_block(d->size[i], d->size[j], 0, B, k, in + at_j, out + at_i);
    add_block(d->size[j], d->size[i], 1, B, k, in + at_i, out + at_j);
    B += lmm_block(d, i, j);
  }
}

void crossed_solve(crossed *c) {
  const size_t size = (size_t)c->n * (size_t)c->p1;
  crossed_factor(c); /* which does nothing unless it was put off */
  if (c->solved) return;
  crossed_by_root(c, c->root, 1, c->p1, c->by_place, c->forward);
  blocked_forward(&c->b, c->p1, c->forward);
  memcpy(c->E, c->forward, size * sizeof(double));
  blocked_backward(&c->b, c->p1, c->E);
  c->solved = 1;
}

void crossed_objective(void *state, double *cross, double *log_det) {
  crossed *c = (crossed *)state;
  const int p1 = c->p1;
  for (int j = 0; j < p1; j++)
    for (int k = j; k < p1; k++) cross[k + p1 * j] += c->cross[k + p1 * j];
  for (int l = 0; l < c->n_level; l++) *log_det += c->stats->n_rows[l] * log(c->variance[l]);
  if (c->nothing) return;
  crossed_solve(c);
  for (int i = 0; i < c->n; i++) {
    const double *r = c->forward + (size_t)p1 * (size_t)i;
    for (int j = 0; j < p1; j++)
      for (int k = j; k < p1; k++) cross[k + p1 * j] -= r[j] * r[k];
  }
  *log_det += c->log_det;
}
