#include "glmm/crossed.h"

#include <math.h>
#include <string.h>

#include "math/small.h"

/* ---- nodes ----------------------------------------------------------------------------------- */

static int terms_of(const lmm_crossed *c, int f) { return c->first[f + 1] - c->first[f]; }

static void number_nodes(lmm_crossed *c, const lmm_rows *rows, const elbo_memory *mem) {
  const int n_factor = rows->n_factor;
  int most = 0, next = 0;
  c->n_factor = n_factor;
  c->first = elbo_ints(mem, (size_t)n_factor + 1);
  c->n_unit = elbo_ints(mem, (size_t)n_factor);
  c->first_node = elbo_ints(mem, (size_t)n_factor);
  memcpy(c->first, rows->first, ((size_t)n_factor + 1) * sizeof(int));
  memcpy(c->n_unit, rows->n_unit, (size_t)n_factor * sizeof(int));
  for (int f = 1; f < n_factor; f++)
    if (c->n_unit[f] * terms_of(c, f) > c->n_unit[most] * terms_of(c, most)) most = f;
  for (int k = 0; k < n_factor; k++) {
    const int f = k == 0 ? most : k <= most ? k - 1 : k;
    c->first_node[f] = next;
    next += c->n_unit[f];
  }
  c->n_node = next;
  c->factor_of = elbo_ints(mem, (size_t)next);
  c->size = elbo_ints(mem, (size_t)next);
  for (int f = 0; f < n_factor; f++)
    for (int l = 0; l < c->n_unit[f]; l++) {
      c->factor_of[c->first_node[f] + l] = f;
      c->size[c->first_node[f] + l] = terms_of(c, f);
    }
  c->diagonal = mem->get(mem->ctx, ((size_t)next + 1) * sizeof(size_t));
  c->diagonal[0] = 0;
  c->n = 0;
  for (int i = 0; i < next; i++) {
    c->diagonal[i + 1] = c->diagonal[i] + square(c->size[i]);
    c->n += c->size[i];
  }
}

/* ---- cells ----------------------------------------------------------------------------------- */

/* Rows in the order of factor g, then f (stable): those of a cell are neighbours. */
static void sort_rows(const lmm_rows *rows, int f, int g, int *count, int *half, int *order) {
  const int n = rows->n, by[2] = {g, f};
  for (int pass = 0; pass < 2; pass++) {
    const int *level = rows->groups[by[pass]], *from = pass ? half : NULL;
    const int m = rows->n_unit[by[pass]];
    int *to = pass ? order : half;
    memset(count, 0, ((size_t)m + 1) * sizeof(int));
    for (int i = 0; i < n; i++) count[level[i]]++;
    for (int l = 1; l <= m; l++) count[l] += count[l - 1];
    for (int i = 0; i < n; i++) {
      const int row = from ? from[i] : i;
      to[count[level[row] - 1]++] = row;
    }
  }
}

/* A pair of factors: rows in order, and the first of each cell. */
typedef struct {
  int f, g, n_cell;
  int *order, *first;
} factor_pair;

static void find_cells(factor_pair *pair, const lmm_rows *rows, int *count, int *half,
                       const elbo_memory *mem) {
  const int n = rows->n, *F = rows->groups[pair->f], *G = rows->groups[pair->g];
  pair->order = elbo_ints(mem, (size_t)n);
  sort_rows(rows, pair->f, pair->g, count, half, pair->order);
  pair->n_cell = 0;
  for (int i = 0; i < n; i++) {
    const int row = pair->order[i], last = i == 0 ? -1 : pair->order[i - 1];
    pair->n_cell += last < 0 || F[row] != F[last] || G[row] != G[last];
  }
  pair->first = elbo_ints(mem, (size_t)pair->n_cell + 1);
  for (int i = 0, c = 0; i < n; i++) {
    const int row = pair->order[i], last = i == 0 ? -1 : pair->order[i - 1];
    if (last < 0 || F[row] != F[last] || G[row] != G[last]) pair->first[c++] = i;
  }
  pair->first[pair->n_cell] = n;
}

static int factor_pairs(lmm_crossed *c, const lmm_rows *rows, factor_pair *pair,
                        const elbo_memory *mem) {
  int n_pair = 0, most = 0;
  for (int f = 0; f < rows->n_factor; f++) most = larger(most, rows->n_unit[f]);
  int *count = elbo_ints(mem, (size_t)most + 1), *half = elbo_ints(mem, (size_t)rows->n);
  c->n_cell = 0;
  for (int f = 0; f < rows->n_factor; f++)
    for (int g = 0; g < f; g++) {
      pair[n_pair].f = f;
      pair[n_pair].g = g;
      find_cells(pair + n_pair, rows, count, half, mem);
      c->n_cell += (size_t)pair[n_pair++].n_cell;
    }
  return n_pair;
}

/* The scaled terms of a row; its scaled weight is what is returned. */
static double row_terms(const lmm_rows *rows, const lmm_scaling *s, int row, int first, int n,
                        double *z) {
  for (int a = 0; a < n; a++)
    z[a] = (rows->Z[(size_t)rows->n * (size_t)(first + a) + (size_t)row] - s->z_shift[first + a]) *
           s->z_scale[first + a];
  const double scale = s->root_weight_scale;
  return rows->weight ? rows->weight[row] * scale * scale : 1.0;
}

static void sum_cells(lmm_crossed *c, const lmm_rows *rows, const lmm_scaling *s,
                      const factor_pair *pair, size_t *at) {
  const int nf = terms_of(c, pair->f), ng = terms_of(c, pair->g);
  double z[LMM_MAX_TERMS], w[LMM_MAX_TERMS];
  for (int k = 0; k < pair->n_cell; k++, (*at)++) {
    const int row = pair->order[pair->first[k]];
    c->cell_i[*at] = lmm_node(c, pair->f, rows->groups[pair->f][row] - 1);
    c->cell_j[*at] = lmm_node(c, pair->g, rows->groups[pair->g][row] - 1);
    double *value = c->value + c->first_value[*at];
    c->first_value[*at + 1] = c->first_value[*at] + (size_t)(nf * ng);
    memset(value, 0, (size_t)(nf * ng) * sizeof(double));
    for (int i = pair->first[k]; i < pair->first[k + 1]; i++) {
      const double weight = row_terms(rows, s, pair->order[i], c->first[pair->f], nf, z);
      row_terms(rows, s, pair->order[i], c->first[pair->g], ng, w);
      for (int b = 0; b < ng; b++)
        for (int a = 0; a < nf; a++) value[a + nf * b] += weight * z[a] * w[b];
    }
  }
}

/* ---- sums by level, and over all rows -------------------------------------------------------- */

static void sum_rows(lmm_crossed *c, const lmm_rows *rows, const lmm_scaling *s,
                     const elbo_memory *mem) {
  const int n = rows->n, p = rows->p, p1 = p + 1;
  double *x = elbo_doubles(mem, (size_t)p1), z[LMM_MAX_TERMS];
  int *column = elbo_ints(mem, (size_t)c->n_node);
  for (int i = 0, at = 0; i < c->n_node; i++) {
    column[i] = at;
    at += c->size[i];
  }
  memset(c->own, 0, c->diagonal[c->n_node] * sizeof(double));
  memset(c->by_node, 0, (size_t)c->n * (size_t)p1 * sizeof(double));
  memset(c->cross, 0, square(p1) * sizeof(double));
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < p; j++)
      x[j] = (rows->X[(size_t)n * (size_t)j + (size_t)i] - s->x_shift[j]) * s->x_scale[j];
    x[p] = (rows->y[i] - s->y_shift) * s->y_scale;
    double weight = 1.0;
    for (int f = 0; f < c->n_factor; f++) {
      const int node = lmm_node(c, f, rows->groups[f][i] - 1), k = terms_of(c, f);
      double *own = c->own + c->diagonal[node];
      double *to = c->by_node + (size_t)p1 * (size_t)column[node];
      weight = row_terms(rows, s, i, c->first[f], k, z);
      for (int a = 0; a < k; a++, to += p1) {
        const double wz = weight * z[a];
        for (int b = 0; b < k; b++) own[a + k * b] += wz * z[b];
        for (int j = 0; j < p1; j++) to[j] += wz * x[j];
      }
    }
    for (int j = 0; j < p1; j++)
      for (int k = j; k < p1; k++) c->cross[k + p1 * j] += weight * x[j] * x[k];
  }
}

static void sum_all(lmm_crossed *c, const lmm_rows *rows, const lmm_scaling *s,
                    const elbo_memory *mem) {
  const int n_factor = rows->n_factor, p1 = rows->p + 1;
  factor_pair *pair = mem->get(mem->ctx, (size_t)(n_factor * n_factor + 1) * sizeof(factor_pair));
  memset(c, 0, sizeof *c);
  number_nodes(c, rows, mem);
  const int n_pair = factor_pairs(c, rows, pair, mem);
  size_t n_value = 0, at = 0;
  for (int k = 0; k < n_pair; k++)
    n_value += (size_t)pair[k].n_cell * (size_t)(terms_of(c, pair[k].f) * terms_of(c, pair[k].g));
  c->cell_i = elbo_ints(mem, c->n_cell + 1);
  c->cell_j = elbo_ints(mem, c->n_cell + 1);
  c->first_value = mem->get(mem->ctx, (c->n_cell + 1) * sizeof(size_t));
  c->value = elbo_doubles(mem, n_value + 1);
  c->own = elbo_doubles(mem, c->diagonal[c->n_node] + 1);
  c->by_node = elbo_doubles(mem, (size_t)c->n * (size_t)p1 + 1);
  c->cross = elbo_doubles(mem, square(p1));
  c->first_value[0] = 0;
  for (int k = 0; k < n_pair; k++) sum_cells(c, rows, s, pair + k, &at);
  sum_rows(c, rows, s, mem);
}

/* ---- scaling --------------------------------------------------------------------------------- */

/* The mean, and the power of two that brings the largest deviation from it, or from zero, near
 * one. */
static void scale_column(const double *x, int n, int centre, double *shift, double *scale) {
  double largest = 0.0, sum = 0.0;
  for (int i = 0; i < n; i++) largest = fmax(largest, fabs(x[i]));
  *shift = 0.0;
  *scale = largest > 0.0 ? scalbn(1.0, -ilogb(largest)) : 1.0;
  if (!centre) return;
  for (int i = 0; i < n; i++) sum += x[i] * *scale;
  *shift = sum / n / *scale;
  largest = 0.0;
  for (int i = 0; i < n; i++) largest = fmax(largest, fabs(x[i] - *shift));
  *scale = largest > 0.0 ? scalbn(1.0, -ilogb(largest)) : 1.0;
}

static int all_one(const double *x, int n) {
  for (int i = 0; i < n; i++)
    if (x[i] != 1.0) return 0;
  return n > 0;
}

/* The term of the same free block that absorbs the shift of term k, or -1. */
static int intercept_of(const lmm_rows *rows, const lmm_law *law, int k) {
  int intercept = -1;
  if (law->fixed_origin || (law->kind && law->kind[law->block[k]] != LATENT_FREE)) return -1;
  for (int l = 0; l < rows->q; l++) {
    if (law->block[l] != law->block[k]) continue;
    if (!isnan(law->sd[l]) || !isnan(law->cor[law->block[l]])) return -1;
    if (intercept < 0 && all_one(rows->Z + (size_t)rows->n * (size_t)l, rows->n)) intercept = l;
  }
  return intercept == k ? -1 : intercept;
}

static void find_scaling(lmm_scaling *s, const lmm_rows *rows, const lmm_law *law,
                         const elbo_memory *mem) {
  const int n = rows->n, p = rows->p, q = rows->q;
  double ignored;
  s->x_shift = elbo_doubles(mem, (size_t)p);
  s->x_scale = elbo_doubles(mem, (size_t)p);
  s->z_shift = elbo_doubles(mem, (size_t)q);
  s->z_scale = elbo_doubles(mem, (size_t)q);
  s->z_intercept = elbo_ints(mem, (size_t)q);
  s->x_intercept = -1;
  for (int j = 0; j < p && s->x_intercept < 0; j++)
    if (all_one(rows->X + (size_t)n * (size_t)j, n)) s->x_intercept = j;
  const int one = s->x_intercept >= 0;
  for (int j = 0; j < p; j++)
    scale_column(rows->X + (size_t)n * (size_t)j, n, one && j != s->x_intercept, s->x_shift + j,
                 s->x_scale + j);
  scale_column(rows->y, n, one, &s->y_shift, &s->y_scale);
  for (int k = 0; k < q; k++) {
    s->z_intercept[k] = intercept_of(rows, law, k);
    scale_column(rows->Z + (size_t)n * (size_t)k, n, s->z_intercept[k] >= 0, s->z_shift + k,
                 s->z_scale + k);
  }
  s->root_weight_scale = 1.0;
  if (!rows->weight) return;
  scale_column(rows->weight, n, 0, &ignored, &s->root_weight_scale);
  s->root_weight_scale = scalbn(1.0, ilogb(s->root_weight_scale) / 2);
}

/* ---- all ------------------------------------------------------------------------------------- */

elbo_status lmm_crossed_stats(lmm_stats *st, const lmm_rows *rows, const lmm_law *law,
                              const elbo_memory *mem) {
  const int n = rows->n;
  memset(st, 0, sizeof *st);
  st->n = n;
  st->p = rows->p;
  st->q = rows->q;
  st->m = rows->n_unit[0];
  st->n_level = 1;
  find_scaling(&st->scaling, rows, law, mem);
  st->crossed = (lmm_crossed *)mem->get(mem->ctx, sizeof(lmm_crossed));
  sum_all(st->crossed, rows, &st->scaling, mem);
  st->crossed->threads = larger(1, rows->threads);
  st->within = st->crossed->cross;
  st->n_rows = elbo_doubles(mem, 1);
  st->n_within = elbo_doubles(mem, 1);
  st->n_distinct = elbo_doubles(mem, 1);
  st->n_rows[0] = st->n_within[0] = n;
  st->n_distinct[0] = fmax(0.0, n - st->crossed->n);
  if (rows->weight)
    for (int i = 0; i < n; i++)
      st->log_weight += log(rows->weight[i]) + 2.0 * log(st->scaling.root_weight_scale);
  return ELBO_OK;
}
