/* Several grouping factors: Laplace's method over all levels at once,
 *
 *   h(v) - log |H| / 2 at the mode of h,   H = I - sum_i f_i'' a_i a_i',
 *
 * a_i = L'Z_i placed at the levels of row i, v all levels.  H has a block for each level and for
 * each pair of levels that share a row: exactly where its inverse is needed.  The gradient is that
 * of group.c for one node: with d_i = a_i'H^{-1}a_i, t_i = f_i''' d_i / 2 and c = H^{-1} sum_i t_i
 * a_i,
 *
 *   by the predictor  f_i' + t_i + f_i'' a_i'c,
 *   by a_i            (that) v + f_i' c + f_i'' H^{-1} a_i. */
#include "general/crossed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "math/simd.h"
#include "math/rows.h"
#include "math/small.h"

enum { MOST_STEPS = 200, MOST_HALVINGS = 60 };

/* ---- set-up ---------------------------------------------------------------------------------- */

static int terms_of(const general_crossed *c, int f) { return c->first[f + 1] - c->first[f]; }

/* Nodes: the levels of the factor with most of them first, for they do not touch each other. */
static void number_nodes(general_crossed *c, const elbo_memory *mem) {
  int most = 0, next = 0;
  c->first_node = elbo_ints(mem, (size_t)c->n_factor);
  for (int f = 1; f < c->n_factor; f++)
    if ((double)c->n_unit[f] * terms_of(c, f) > (double)c->n_unit[most] * terms_of(c, most))
      most = f;
  for (int k = 0; k < c->n_factor; k++) {
    const int f = k == 0 ? most : k <= most ? k - 1 : k;
    c->first_node[f] = next;
    next += c->n_unit[f];
  }
  c->n_node = next;
  c->size = elbo_ints(mem, (size_t)next);
  for (int f = 0; f < c->n_factor; f++)
    for (int l = 0; l < c->n_unit[f]; l++) {
      c->size[c->first_node[f] + l] = terms_of(c, f);
      c->n += terms_of(c, f);
    }
}

typedef struct {
  int i, j, row;
} pair_of_row;

static int by_pair(const void *a, const void *b) {
  const pair_of_row *x = a, *y = b;
  if (x->i != y->i) return x->i < y->i ? -1 : 1;
  if (x->j != y->j) return x->j < y->j ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

/* The pairs of levels that share rows, and which of them each row has. */
static size_t find_cells(general_crossed *c, int n_row, int *cell_i, int *cell_j,
                         const elbo_memory *mem) {
  pair_of_row *pairs = mem->get(mem->ctx, (size_t)n_row * sizeof *pairs);
  size_t n_cell = 0;
  for (int f = 1, pair = 0; f < c->n_factor; f++)
    for (int g = 0; g < f; g++, pair++) {
      for (int i = 0; i < n_row; i++) {
        const int *node = c->node + (size_t)c->n_factor * (size_t)i;
        pairs[i] = (pair_of_row){node[f], node[g], i};
      }
      qsort(pairs, (size_t)n_row, sizeof *pairs, by_pair);
      for (int i = 0; i < n_row; i++) {
        if (i == 0 || pairs[i].i != pairs[i - 1].i || pairs[i].j != pairs[i - 1].j) {
          cell_i[n_cell] = pairs[i].i;
          cell_j[n_cell++] = pairs[i].j;
        }
        c->cell[(size_t)c->n_pair * (size_t)pairs[i].row + (size_t)pair] = (int)n_cell - 1;
      }
    }
  return n_cell;
}

void general_crossed_init(general_crossed *c, const general_input *in, const general_rows *rows,
                          int threads, const elbo_memory *mem) {
  const size_t n = (size_t)in->n, padded = n + SIMD_LANES;
  memset(c, 0, sizeof *c);
  c->n_factor = in->n_factor;
  c->q = in->q;
  c->first = in->first;
  c->n_unit = in->n_unit;
  c->n_pair = in->n_factor * (in->n_factor - 1) / 2;
  number_nodes(c, mem);
  c->node = elbo_ints(mem, n * (size_t)c->n_factor);
  c->cell = elbo_ints(mem, n * (size_t)c->n_pair);
  for (int i = 0; i < in->n; i++)
    for (int f = 0; f < c->n_factor; f++)
      c->node[(size_t)c->n_factor * (size_t)i + (size_t)f] =
          c->first_node[f] + in->groups[f][rows->row[i]] - 1;
  int *cell_i = elbo_ints(mem, n * (size_t)c->n_pair),
      *cell_j = elbo_ints(mem, n * (size_t)c->n_pair);
  const size_t n_cell = find_cells(c, in->n, cell_i, cell_j, mem);
  int leaves = 0;
  for (int f = 0; f < c->n_factor; f++)
    if (c->first_node[f] == 0) leaves = c->n_unit[f];
  const blocked_pattern pattern = {.n_node = c->n_node,
                                   .n_leaf = leaves,
                                   .size = c->size,
                                   .n_cell = n_cell,
                                   .cell_i = cell_i,
                                   .cell_j = cell_j};
  blocked_plan(&c->H, &pattern, threads, mem);
  double **vector[] = {&c->v, &c->step, &c->trial};
  double **row[] = {&c->at, &c->value, &c->x, &c->xx, &c->xxx, &c->spread, &c->pull};
  for (int k = 0; k < 3; k++) *vector[k] = elbo_doubles(mem, (size_t)c->n);
  for (int k = 0; k < 7; k++) *row[k] = elbo_doubles(mem, padded);
  c->a = elbo_doubles(mem, n * (size_t)c->q);
  c->Ha = elbo_doubles(mem, n * (size_t)c->q);
  c->slope = elbo_doubles(mem, (size_t)(in->p + c->q * (c->q + 1) / 2));
  memset(c->v, 0, (size_t)c->n * sizeof(double));
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Where the block of levels i and j = cell is: entry (r of i, s of j) at x[r * by_i + s * by_j]. */
typedef struct {
  size_t at;
  int by_i, by_j;
} block_place;

static block_place place_of(const general_crossed *c, int i, int j, int cell) {
  const int ld = blocked_ld(&c->H, i, j), first = blocked_rows_are_first(&c->H, i, j);
  const block_place place = {c->H.cell[cell], first ? 1 : ld, first ? ld : 1};
  return place;
}

/* ---- the mode -------------------------------------------------------------------------------- */

static void set_roots(general_crossed *c, const general_rows *rows, const general_point *at) {
  const int q = c->q;
  for (int i = 0; i < rows->n; i++) {
    const double *z = rows->Z + (size_t)q * (size_t)i;
    for (int k = 0; k < q; k++) {
      double sum = 0.0;
      for (int r = k; r < q; r++) sum += at->L[r + q * k] * z[r];
      c->a[(size_t)q * (size_t)i + (size_t)k] = sum;
    }
  }
}

/* What row i takes of a vector over levels: entry k of term k at its level. */
static const double *entry(const general_crossed *c, const double *v, int i, int f) {
  return v + c->H.place[c->node[(size_t)c->n_factor * (size_t)i + (size_t)f]];
}

static double along(const general_crossed *c, int i, const double *v) {
  const double *a = c->a + (size_t)c->q * (size_t)i;
  double sum = 0.0;
  for (int f = 0; f < c->n_factor; f++)
    sum += dot(a + c->first[f], entry(c, v, i, f), terms_of(c, f));
  return sum;
}

/* out += sum_i weight_i a_i */
static void add_rows(const general_crossed *c, int n_row, const double *weight, double *out) {
  for (int i = 0; i < n_row; i++) {
    const double *a = c->a + (size_t)c->q * (size_t)i;
    for (int f = 0; f < c->n_factor; f++) {
      double *to = out + c->H.place[c->node[(size_t)c->n_factor * (size_t)i + (size_t)f]];
      for (int k = c->first[f]; k < c->first[f + 1]; k++) *to++ += weight[i] * a[k];
    }
  }
}

static double log_joint(general_crossed *c, const general_rows *rows, const general_point *at,
                        const double *v) {
  const int n = rows->n, padded = rows_padded(n);
  const response_block block = {c->value, c->x, c->xx, c->xxx};
  double h = -0.5 * dot(v, v, c->n);
  for (int i = 0; i < padded; i++)
    c->at[i] = i < n ? rows->offset[i] + along(c, i, v) +
                           dot(rows->X + (size_t)rows->p * (size_t)i, at->beta, rows->p)
                     : 0.0;
  response_law_block(at->response, padded, 1, rows->y, rows->size, c->at, &block);
  for (int i = 0; i < n && rows->weight; i++) {
    c->value[i] *= rows->weight[i];
    c->x[i] *= rows->weight[i];
    c->xx[i] *= rows->weight[i];
    c->xxx[i] *= rows->weight[i];
  }
  for (int i = 0; i < n; i++) h += c->value[i];
  return h;
}

static elbo_status factor(general_crossed *c, int n_row, double *log_det) {
  blocked_clear(&c->H);
  for (int u = 0; u < c->n_node; u++) {
    int ld;
    const size_t at = blocked_diagonal(&c->H, u, &ld);
    for (int k = 0; k < c->size[u]; k++) c->H.L[at + (size_t)k * (size_t)(ld + 1)] = 1.0;
  }
  for (int i = 0; i < n_row; i++) {
    const double *a = c->a + (size_t)c->q * (size_t)i, w = -c->xx[i];
    const int *node = c->node + (size_t)c->n_factor * (size_t)i;
    const int *cell = c->cell + (size_t)c->n_pair * (size_t)i;
    for (int f = 0; f < c->n_factor; f++) {
      const double *af = a + c->first[f];
      int ld;
      double *to = c->H.L + blocked_diagonal(&c->H, node[f], &ld);
      for (int k = 0; k < terms_of(c, f); k++)
        for (int l = k; l < terms_of(c, f); l++)
          to[(size_t)l + (size_t)ld * (size_t)k] += w * af[k] * af[l];
      for (int g = 0; g < f; g++, cell++) {
        const block_place place = place_of(c, node[f], node[g], *cell);
        const double *ag = a + c->first[g];
        for (int k = 0; k < terms_of(c, f); k++)
          for (int l = 0; l < terms_of(c, g); l++)
            c->H.L[place.at + (size_t)(k * place.by_i) + (size_t)(l * place.by_j)] +=
                w * af[k] * ag[l];
      }
    }
  }
  *log_det = 0.0;
  return blocked_factor(&c->H, log_det);
}

static void solve(const general_crossed *c, double *x) {
  blocked_forward(&c->H, 1, x);
  blocked_backward(&c->H, 1, x);
}

/* Newton's method on the concave h, as in group.c; H is left factored at the mode. */
static elbo_status find_mode(general_crossed *c, const general_rows *rows, const general_point *at,
                             double *h, double *log_det) {
  double before = HUGE_VAL, *slope = c->trial;
  *h = log_joint(c, rows, at, c->v);
  if (!isfinite(*h)) {
    memset(c->v, 0, (size_t)c->n * sizeof(double));
    *h = log_joint(c, rows, at, c->v);
  }
  for (int n = 0; n < MOST_STEPS; n++) {
    if (!isfinite(*h)) return ELBO_E_NOT_FINITE;
    const elbo_status status = factor(c, rows->n, log_det);
    if (status != ELBO_OK) return status;
    for (int k = 0; k < c->n; k++) slope[k] = -c->v[k];
    add_rows(c, rows->n, c->x, slope);
    memcpy(c->step, slope, (size_t)c->n * sizeof(double));
    solve(c, c->step);
    const double decrement = dot(slope, c->step, c->n);
    if (!isfinite(decrement)) return ELBO_E_NOT_FINITE;
    if (decrement < 1e-19 || (decrement < 1e-13 && decrement > 0.5 * before)) return ELBO_OK;
    before = decrement;
    double length = 1.0, next = -HUGE_VAL;
    for (int halving = 0; halving < MOST_HALVINGS; halving++, length *= 0.5) {
      for (int k = 0; k < c->n; k++) c->trial[k] = c->v[k] + length * c->step[k];
      next = log_joint(c, rows, at, c->trial);
      const double silent = 1e-14 * (1.0 + fabs(*h)) * (1.0 + sqrt((double)rows->n));
      if (next >= *h + 1e-4 * length * decrement || (decrement < silent && isfinite(next))) break;
    }
    memcpy(c->v, c->trial, (size_t)c->n * sizeof(double));
    *h = next;
  }
  return ELBO_E_NOT_FINITE;
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/* Ha = H^{-1} a_i at the levels of each row, and the variance of its predictor. */
static void invert(general_crossed *c, int n_row) {
  blocked_inverse(&c->H);
  memset(c->Ha, 0, (size_t)n_row * (size_t)c->q * sizeof(double));
  for (int i = 0; i < n_row; i++) {
    const double *a = c->a + (size_t)c->q * (size_t)i;
    double *out = c->Ha + (size_t)c->q * (size_t)i;
    const int *node = c->node + (size_t)c->n_factor * (size_t)i;
    const int *cell = c->cell + (size_t)c->n_pair * (size_t)i;
    for (int f = 0; f < c->n_factor; f++) {
      const int af = c->first[f];
      int ld;
      const double *Z = c->H.Z + blocked_diagonal(&c->H, node[f], &ld);
      for (int k = 0; k < terms_of(c, f); k++)
        for (int l = 0; l < terms_of(c, f); l++)
          out[af + k] += Z[(size_t)larger(k, l) + (size_t)ld * (size_t)smaller(k, l)] * a[af + l];
      for (int g = 0; g < f; g++, cell++) {
        const block_place place = place_of(c, node[f], node[g], *cell);
        const int ag = c->first[g];
        for (int k = 0; k < terms_of(c, f); k++)
          for (int l = 0; l < terms_of(c, g); l++) {
            const double z = c->H.Z[place.at + (size_t)(k * place.by_i) + (size_t)(l * place.by_j)];
            out[af + k] += z * a[ag + l];
            out[ag + l] += z * a[af + k];
          }
      }
    }
    c->spread[i] = dot(a, out, c->q);
  }
}

/* Of a row: its predictor's slope by beta and L at the mode, (X, Z_r v_c). */
static void row_slope(const general_crossed *c, const general_rows *rows, const double *mode, int i,
                      double *out) {
  const int p = rows->p;
  const double *z = rows->Z + (size_t)c->q * (size_t)i;
  memcpy(out, rows->X + (size_t)p * (size_t)i, (size_t)p * sizeof(double));
  memset(out + p, 0, (size_t)(c->q * (c->q + 1) / 2) * sizeof(double));
  for (int f = 0; f < c->n_factor; f++) {
    const double *v = entry(c, mode, i, f) - c->first[f];
    for (int r = c->first[f]; r < c->first[f + 1]; r++)
      for (int k = c->first[f]; k <= r; k++) out[p + general_packed(r, k)] = z[r] * v[k];
  }
}

/* By psi, of row i: its own part and, along, those of the mode and of H. */
static void own_gradient(const general_crossed *c, const general_rows *rows,
                         const response_law *law, int i, double ac, general_sums *sums) {
  const int from = rows->p + c->q * (c->q + 1) / 2;
  const double w = rows->weight ? rows->weight[i] : 1.0;
  response_own own;
  law->own(law, rows->y[i], rows->size[i], c->at[i], &own);
  for (int l = 0; l < law->n_own; l++) {
    sums->score[from + l] += w * own.own[l];
    sums->gradient[from + l] += w * (own.own[l] + own.x_own[l] * ac +
                                     (c->points ? 0.0 : 0.5 * own.xx_own[l] * c->spread[i]));
  }
}

static void add_gradient(general_crossed *c, const general_rows *rows, const response_law *law,
                         general_sums *sums) {
  const int p = rows->p, q = c->q, m = p + q * (q + 1) / 2;
  memset(c->step, 0, (size_t)c->n * sizeof(double));
  /* Of points the value does not depend on H. */
  const int moves = !c->points;
  for (int i = 0; i < rows->n; i++) c->pull[i] = moves ? 0.5 * c->xxx[i] * c->spread[i] : 0.0;
  add_rows(c, rows->n, c->pull, c->step);
  solve(c, c->step);
  for (int i = 0; i < rows->n; i++) {
    const double ac = along(c, i, c->step), rho = c->x[i] + c->pull[i] + c->xx[i] * ac;
    const double *z = rows->Z + (size_t)q * (size_t)i, *Ha = c->Ha + (size_t)q * (size_t)i;
    row_slope(c, rows, c->v, i, c->slope);
    for (int a = 0; a < m; a++) {
      sums->score[a] += c->x[i] * c->slope[a];
      sums->gradient[a] += rho * c->slope[a];
    }
    for (int f = 0; f < c->n_factor; f++) {
      const double *shift = entry(c, c->step, i, f) - c->first[f];
      for (int r = c->first[f]; r < c->first[f + 1]; r++)
        for (int k = c->first[f]; k <= r; k++)
          sums->gradient[p + general_packed(r, k)] +=
              z[r] * (c->x[i] * shift[k] + moves * c->xx[i] * Ha[k]);
    }
    if (law->n_own > 0) own_gradient(c, rows, law, i, ac, sums);
  }
}

static void add_complete(const general_crossed *c, const general_rows *rows,
                         const response_law *law, double *complete) {
  const int m = rows->p + c->q * (c->q + 1) / 2, N = m + law->n_own;
  for (int i = 0; i < rows->n; i++) {
    const double w = rows->weight ? rows->weight[i] : 1.0;
    response_own own;
    row_slope(c, rows, c->v, i, c->slope);
    for (int b = 0; b < m; b++)
      for (int a = b; a < m; a++) complete[a + N * b] += c->xx[i] * c->slope[a] * c->slope[b];
    if (law->n_own == 0) continue;
    law->own(law, rows->y[i], rows->size[i], c->at[i], &own);
    for (int l = 0; l < law->n_own; l++) {
      for (int a = 0; a < m; a++) complete[m + l + N * a] += w * own.x_own[l] * c->slope[a];
      for (int k = 0; k <= l; k++)
        complete[m + l + N * (m + k)] += w * own.own_own[packed_size(l) + (size_t)k];
    }
  }
}

elbo_status general_crossed_evaluate(general_crossed *c, const general_rows *rows,
                                     const general_point *at, general_order order,
                                     general_sums *sums) {
  double h;
  set_roots(c, rows, at);
  const elbo_status status = find_mode(c, rows, at, &h, &c->log_det);
  if (status != ELBO_OK) return status;
  sums->value += c->points ? h - 0.5 * c->n * LOG_2PI : h - 0.5 * c->log_det;
  for (int i = 0; i < rows->n && at->response->n_own > 0; i++)
    sums->value += (rows->weight ? rows->weight[i] : 1.0) *
                   at->response->constant(at->response, rows->y[i], rows->size[i]);
  if (order == GENERAL_VALUE) return isfinite(sums->value) ? ELBO_OK : ELBO_E_NOT_FINITE;
  invert(c, rows->n);
  add_gradient(c, rows, at->response, sums);
  if (order > GENERAL_GRADIENT) add_complete(c, rows, at->response, sums->complete);
  return ELBO_OK;
}

/* ---- for other weights of the rows (vb_crossed.c) -------------------------------------------- */

void general_crossed_roots(general_crossed *c, const general_rows *rows, const general_point *at) {
  set_roots(c, rows, at);
}

elbo_status general_crossed_factor(general_crossed *c, int n_row, const double *weight) {
  for (int i = 0; i < n_row; i++) c->xx[i] = -weight[i];
  return factor(c, n_row, &c->log_det);
}

void general_crossed_invert(general_crossed *c, int n_row) { invert(c, n_row); }

void general_crossed_solve(const general_crossed *c, int k, double *R) {
  blocked_forward(&c->H, k, R);
  blocked_backward(&c->H, k, R);
}

double general_crossed_along(const general_crossed *c, int i, const double *v) {
  return along(c, i, v);
}

void general_crossed_add_rows(const general_crossed *c, int n_row, const double *weight,
                              double *out) {
  add_rows(c, n_row, weight, out);
}

void general_crossed_normal(const general_crossed *c, const general_rows *rows, double *x,
                            double *sd, double *rest) {
  double trace = 0.0;
  for (int u = 0; u < c->n_node; u++) {
    int ld;
    const double *Z = c->H.Z + blocked_diagonal(&c->H, u, &ld);
    for (int k = 0; k < c->size[u]; k++) trace += Z[(size_t)k * (size_t)(ld + 1)];
  }
  for (int i = 0; i < rows->n; i++) {
    x[i] = c->at[i];
    sd[i] = sqrt(fmax(c->spread[i], 0.0));
  }
  *rest += 0.5 * (c->n - dot(c->v, c->v, c->n) - trace - c->log_det);
}

double general_crossed_at_mode(general_crossed *c, const general_rows *rows,
                               const general_point *at) {
  return log_joint(c, rows, at, c->v);
}

double general_crossed_draw(general_crossed *c, const general_rows *rows, const general_point *at,
                            const double *z, double sign, double *slope) {
  const response_law *law = at->response;
  const int m = rows->p + c->q * (c->q + 1) / 2;
  for (int k = 0; k < c->n; k++) c->trial[k] = sign * z[k];
  blocked_backward(&c->H, 1, c->trial);
  for (int k = 0; k < c->n; k++) c->trial[k] += c->v[k];
  const double h = log_joint(c, rows, at, c->trial);
  memset(slope, 0, (size_t)(m + law->n_own) * sizeof(double));
  for (int i = 0; i < rows->n; i++) {
    response_own own;
    row_slope(c, rows, c->trial, i, c->slope);
    for (int a = 0; a < m; a++) slope[a] += c->x[i] * c->slope[a];
    if (law->n_own == 0) continue;
    law->own(law, rows->y[i], rows->size[i], c->at[i], &own);
    for (int l = 0; l < law->n_own; l++)
      slope[m + l] += (rows->weight ? rows->weight[i] : 1.0) * own.own[l];
  }
  return h;
}

void general_crossed_level(const general_crossed *c, int f, int g, double *mode, double *cov) {
  const int u = c->first_node[f] + g, k = c->size[u];
  int ld;
  const double *Z = c->H.Z + blocked_diagonal(&c->H, u, &ld);
  memcpy(mode, c->v + c->H.place[u], (size_t)k * sizeof(double));
  for (int a = 0; a < k; a++)
    for (int b = 0; b < k; b++)
      cov[a + k * b] = Z[(size_t)larger(a, b) + (size_t)ld * (size_t)smaller(a, b)];
}
