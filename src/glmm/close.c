/* From kept statistics to what the kernels read, under a law: the groups in lanes, eight side by
 * side, those with the same levels in a run; columns in a basis that the law allows.
 *
 * The flat vector shifts a column of Z wherever Z has a column of ones.  Where the law of u has a
 * fixed origin (held or with priors, or the ones are of another block) the shift is taken back:
 * that is adding a multiple of one column to another, in the between rows alone. */
#include "glmm/close.h"

#include <math.h>
#include <string.h>

#include "glmm/crossed.h"
#include "glmm/survey.h"
#include "math/la.h"
#include "math/simd.h"
#include "math/small.h"

int lmm_law_smooth_columns(const lmm_law *law) {
  int n = 0;
  for (int k = 0; k < law->n_smooth; k++) n += law->smooth_size[k];
  return n;
}

static double power_of_two(double largest) {
  return largest > 0.0 ? scalbn(1.0, -ilogb(largest)) : 1.0;
}

/* ---- columns --------------------------------------------------------------------------------- */

/* A free covariance block is the same model in any basis, so an intercept in it may absorb the
 * shift of the other terms; a block with constants is not. */
static int absorbing_term(const lmm_flat *f, const lmm_law *law, const int *z, int k) {
  int intercept = -1;
  if (law->kind && law->kind[law->block[k]] != LATENT_FREE) return -1;
  for (int l = 0; l < f->shape.q; l++) {
    if (law->block[l] != law->block[k]) continue;
    if (!isnan(law->sd[l]) || !isnan(law->cor[law->block[l]])) return -1;
    if (intercept < 0 && f->low[z[l]] == 1.0 && f->high[z[l]] == 1.0) intercept = l;
  }
  return law->fixed_origin || intercept == k ? -1 : intercept;
}

static void transform_z(const lmm_flat *f, const lmm_law *law, lmm_transform *t, lmm_scaling *s) {
  for (int k = 0; k < f->shape.q; k++) {
    const int c = t->z[k];
    s->z_intercept[k] = absorbing_term(f, law, t->z, k);
    const int moved = s->z_intercept[k] < 0 && f->shift[c] != 0.0;
    s->z_shift[k] = moved ? 0.0 : f->shift[c];
    s->z_scale[k] = moved ? power_of_two(fmax(fabs(f->low[c]), fabs(f->high[c]))) : f->scale[c];
    t->z_add[k] = moved ? f->shift[c] * f->scale[c] : 0.0;
    t->z_factor[k] = s->z_scale[k] / f->scale[c];
  }
}

/* The largest size of a scaled column. */
static double extent(const lmm_flat *f, int c) {
  return fmax(f->high[c] - f->shift[c], f->shift[c] - f->low[c]) * f->scale[c];
}

/* A combination of the columns of X, by its coefficients, and of ones: into a column of the matrix,
 * all but the ones if an intercept takes them as the shift of the column. */
static void combine(const lmm_flat *f, const double *coefficient, double ones, int absorbed,
                    double bound, double *column, double *shift, double *scale) {
  const int p = f->shape.p, q = f->shape.q, i0 = f->x_intercept;
  for (int j = 0; j < p; j++) {
    column[j] = j == i0 ? 0.0 : coefficient[j] / f->scale[q + j];
    bound += fabs(column[j]) * extent(f, q + j);
    ones += j == i0 ? coefficient[j] : coefficient[j] * f->shift[q + j];
  }
  *shift = absorbed ? ones : 0.0;
  if (i0 >= 0 && !absorbed) {
    column[i0] = ones;
    bound += fabs(ones);
  }
  *scale = power_of_two(bound);
}

/* The column of the map that is the intercept of X; -1 where there is none. */
static int mapped_intercept(const lmm_flat *f, const lmm_basis *basis) {
  const int p = f->shape.p;
  for (int k = 0; f->x_intercept >= 0 && k < basis->n; k++) {
    int same = 1;
    for (int j = 0; j < p; j++) same &= basis->map[j + p * k] == (j == f->x_intercept);
    if (same) return k;
  }
  return -1;
}

/* The origin in the basis, by least squares: what is left of it is `left` (p). */
static elbo_status origin_in_basis(const lmm_flat *f, const lmm_basis *basis, double *left,
                                   double *origin, const elbo_memory *mem) {
  const int p = f->shape.p, n = basis->n;
  double *A = elbo_doubles(mem, square(n)), *b = elbo_doubles(mem, (size_t)n);
  memset(origin, 0, (size_t)n * sizeof(double));
  for (int j = 0; j < p; j++) left[j] = f->origin[j] - basis->origin[j];
  if (la_largest(f->origin, (size_t)p) == 0.0) return ELBO_OK;
  for (int k = 0; k < n; k++) {
    b[k] = dot(basis->map + (size_t)p * (size_t)k, left, p);
    for (int l = 0; l < n; l++)
      A[k + n * l] = dot(basis->map + (size_t)p * (size_t)k, basis->map + (size_t)p * (size_t)l, p);
  }
  if (la_chol(A, n) != ELBO_OK || la_inverse_from_chol(A, n) != ELBO_OK) return ELBO_E_NOT_PD;
  la_multiply(A, b, n, n, 1, origin);
  for (int j = 0; j < p; j++)
    for (int k = 0; k < n; k++) left[j] -= basis->map[j + p * k] * origin[k];
  return ELBO_OK;
}

static elbo_status transform_xy(const lmm_flat *f, const lmm_basis *basis, lmm_transform *t,
                                lmm_scaling *s, double *origin, const elbo_memory *mem) {
  const int p = f->shape.p, q = f->shape.q, n = basis->n;
  double *left = elbo_doubles(mem, (size_t)p);
  const elbo_status status = origin_in_basis(f, basis, left, origin, mem);
  if (status != ELBO_OK) return status;
  s->x_intercept = mapped_intercept(f, basis);
  t->xy = elbo_doubles(mem, (size_t)(p + 1) * (size_t)(n + 1));
  for (int k = 0; k <= n; k++) {
    double *column = t->xy + (size_t)(p + 1) * (size_t)k;
    const int of_y = k == n, absorbed = s->x_intercept >= 0 && k != s->x_intercept;
    const double y = of_y ? 1.0 / f->scale[q + p] : 0.0;
    combine(f, of_y ? left : basis->map + (size_t)p * (size_t)k, of_y ? f->shift[q + p] : 0.0,
            absorbed, y * extent(f, q + p), column, of_y ? &s->y_shift : s->x_shift + k,
            of_y ? &s->y_scale : s->x_scale + k);
    column[p] = y;
    for (int j = 0; j <= p; j++) column[j] *= of_y ? s->y_scale : s->x_scale[k];
  }
  return ELBO_OK;
}

static elbo_status find_columns(const lmm_flat *f, const lmm_law *law, const lmm_basis *basis,
                                lmm_transform *t, lmm_scaling *s, double *origin,
                                const elbo_memory *mem) {
  const int mapped = basis->map != NULL;
  const size_t q = (size_t)f->shape.q, n = (size_t)(mapped ? basis->n : f->shape.p);
  t->n = (int)n;
  t->xy = NULL;
  t->z = elbo_ints(mem, q);
  for (int k = 0; k < f->shape.q; k++) t->z[k] = basis->order ? basis->order[k] : k;
  t->z_add = elbo_doubles(mem, q);
  t->z_factor = elbo_doubles(mem, q);
  s->x_shift = elbo_doubles(mem, n);
  s->x_scale = elbo_doubles(mem, n);
  s->z_shift = elbo_doubles(mem, q);
  s->z_scale = elbo_doubles(mem, q);
  s->z_intercept = elbo_ints(mem, q);
  s->root_weight_scale = f->header[FLAT_ROOT_WEIGHT];
  transform_z(f, law, t, s);
  if (mapped) return transform_xy(f, basis, t, s, origin, mem);
  s->x_intercept = f->x_intercept;
  s->y_shift = f->shift[q + n];
  s->y_scale = f->scale[q + n];
  memcpy(s->x_shift, f->shift + q, n * sizeof(double));
  memcpy(s->x_scale, f->scale + q, n * sizeof(double));
  memcpy(origin, f->origin, n * sizeof(double));
  return ELBO_OK;
}

/* ---- runs ------------------------------------------------------------------------------------ */

/* The cells of groups, and to which run each group belongs. */
typedef struct {
  int *first_cell; /* m + 1 */
  int *level;      /* n_cell, 0-based */
  int *pattern;    /* m */
  int *first_group; /* n_run: the first of each */
} group_table;

static int same_levels(const group_table *t, int g, int h) {
  const int n = t->first_cell[g + 1] - t->first_cell[g];
  if (n != t->first_cell[h + 1] - t->first_cell[h]) return 0;
  return memcmp(t->level + t->first_cell[g], t->level + t->first_cell[h],
                (size_t)n * sizeof(int)) == 0;
}

/* Runs of groups with the same levels.  Patterns are chained by their first level, so that the
 * search is short in the usual cases: one level, a level for each group, a few in all. */
static int find_runs(group_table *t, const lmm_flat *f, const elbo_memory *mem) {
  const int m = f->shape.m, n_level = f->shape.n_level;
  int *head = elbo_ints(mem, (size_t)n_level), *next = elbo_ints(mem, (size_t)m), n_run = 0;
  t->first_cell = elbo_ints(mem, (size_t)m + 1);
  t->level = elbo_ints(mem, f->n_cell);
  t->pattern = elbo_ints(mem, (size_t)m);
  t->first_group = elbo_ints(mem, (size_t)m);
  memset(t->first_cell, 0, ((size_t)m + 1) * sizeof(int));
  for (size_t c = 0; c < f->n_cell; c++) {
    t->first_cell[(int)f->group[c]]++;
    t->level[c] = (int)f->level[c] - 1;
  }
  for (int g = 0; g < m; g++) t->first_cell[g + 1] += t->first_cell[g];
  for (int l = 0; l < n_level; l++) head[l] = -1;
  for (int g = 0; g < m; g++) {
    const int level = t->level[t->first_cell[g]];
    int r = head[level];
    while (r >= 0 && !same_levels(t, g, t->first_group[r])) r = next[r];
    if (r < 0) {
      r = n_run++;
      t->first_group[r] = g;
      next[r] = head[level];
      head[level] = r;
    }
    t->pattern[g] = r;
  }
  return n_run;
}

/* Lays the groups out, run by run, in blocks of lanes of zeros. */
static void lay_out(lmm_stats *st, const group_table *t, const elbo_memory *mem) {
  int *count = elbo_ints(mem, (size_t)st->n_run);
  memset(count, 0, (size_t)st->n_run * sizeof(int));
  for (int g = 0; g < st->m; g++) count[t->pattern[g]]++;
  st->run = (lmm_run *)mem->get(mem->ctx, (size_t)st->n_run * sizeof(lmm_run));
  for (int r = 0; r < st->n_run; r++) {
    lmm_run *run = st->run + r;
    const int g = t->first_group[r];
    run->n_cell = t->first_cell[g + 1] - t->first_cell[g];
    run->level = t->level + t->first_cell[g];
    run->n_block = (count[r] + SIMD_LANES - 1) / SIMD_LANES;
    run->first_block = st->n_block;
    st->n_block += run->n_block;
    const size_t cells = (size_t)run->n_block * (size_t)run->n_cell * SIMD_LANES;
    const size_t size = cells * (size_t)(st->q * (st->q + st->p + 1));
    run->data = elbo_doubles(mem, size);
    memset(run->data, 0, size * sizeof(double));
    run->n_between = elbo_ints(mem, cells);
    memset(run->n_between, 0, cells * sizeof(int));
  }
  st->group_of_lane = elbo_ints(mem, (size_t)st->n_block * SIMD_LANES);
  for (int i = 0; i < st->n_block * SIMD_LANES; i++) st->group_of_lane[i] = -1;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A between row of the flat vector (about its pivot) to the lane. */
static void put_row(const lmm_flat *f, const lmm_transform *t, const double *from,
                    const double *pivot, double *row, double *lane) {
  const int q = f->shape.q, p1 = f->shape.p + 1, n_col = q + p1;
  const double one = f->z_one < 0 ? 0.0 : from[f->z_one];
  for (int c = 0; c < n_col; c++)
    row[c] = f->z_one < 0 || c == f->z_one ? from[c] : from[c] + pivot[c] * one;
  for (int k = 0; k < q; k++)
    lane[k * SIMD_LANES] = (row[t->z[k]] + t->z_add[k] * one) * t->z_factor[k];
  lane += q * SIMD_LANES;
  for (int k = 0; k <= t->n; k++)
    lane[k * SIMD_LANES] =
        t->xy == NULL ? row[q + k] : dot(t->xy + (size_t)p1 * (size_t)k, row + q, p1);
}

/* All between rows to their lanes. */
static void fill(lmm_stats *st, const lmm_flat *f, const lmm_transform *t,
                 const group_table *groups, const elbo_memory *mem) {
  const int q = st->q, n_flat = q + f->shape.p + 1, n_col = q + st->p + 1;
  int *count = elbo_ints(mem, (size_t)st->n_run);
  double *row = elbo_doubles(mem, (size_t)n_flat);
  memset(count, 0, (size_t)st->n_run * sizeof(int));
  for (int g = 0; g < st->m; g++) {
    const lmm_run *run = st->run + groups->pattern[g];
    const int at = count[groups->pattern[g]]++, lane = at % SIMD_LANES, K = q * run->n_cell;
    const size_t block = (size_t)(at / SIMD_LANES);
    double *data = run->data + block * (size_t)(K * n_col) * SIMD_LANES + lane;
    st->group_of_lane[((size_t)run->first_block + block) * SIMD_LANES + (size_t)lane] = g;
    for (int c = 0; c < run->n_cell; c++) {
      const size_t cell = (size_t)(groups->first_cell[g] + c);
      const double *from = f->between + cell * (size_t)(q * n_flat);
      const double *pivot = f->z_one < 0 ? NULL : f->pivot + cell * (size_t)n_flat;
      run->n_between[(block * (size_t)run->n_cell + (size_t)c) * SIMD_LANES + (size_t)lane] =
          f->count[cell] < q ? (int)f->count[cell] : q;
      if (f->count[cell] > q) st->n_distinct[groups->level[cell]] += f->count[cell] - q;
      for (int r = 0; r < q; r++)
        put_row(f, t, from + r * n_flat, pivot, row,
                data + (size_t)((c * q + r) * n_col) * SIMD_LANES);
    }
  }
}

/* Cross-products of the new columns (lower) from those of the flat ones: M'W M. */
static void transform_within(const lmm_transform *t, int p, const double *W, double *half,
                             double *out) {
  const int p1 = p + 1, n1 = t->n + 1;
  for (int k = 0; k < n1; k++)
    for (int i = 0; i < p1; i++) {
      half[i + p1 * k] = 0.0;
      for (int j = 0; j < p1; j++)
        half[i + p1 * k] += W[i >= j ? i + p1 * j : j + p1 * i] * t->xy[j + p1 * k];
    }
  for (int k = 0; k < n1; k++)
    for (int l = 0; l <= k; l++)
      out[k + n1 * l] = dot(t->xy + (size_t)p1 * (size_t)k, half + (size_t)p1 * (size_t)l, p1);
}

elbo_status lmm_stats_close(const double *flat, const lmm_law *law, const lmm_basis *basis,
                            lmm_stats *st, double *origin, const elbo_memory *mem) {
  lmm_flat f;
  lmm_transform t;
  group_table groups;
  lmm_flat_parts(flat, &f);
  const int p = f.shape.p, q = f.shape.q;
  const size_t n_level = (size_t)f.shape.n_level;
  memset(st, 0, sizeof *st);
  const elbo_status status = find_columns(&f, law, basis, &t, &st->scaling, origin, mem);
  if (status != ELBO_OK) return status;
  st->n = flat[FLAT_N];
  st->p = t.n;
  st->q = q;
  st->m = f.shape.m;
  st->n_level = f.shape.n_level;
  st->log_weight = flat[FLAT_LOG_WEIGHT];
  st->rounding = flat[FLAT_ROUNDING] * (st->scaling.y_scale / f.scale[q + p]);
  const size_t from_size = square(p + 1), size = square(t.n + 1);
  st->within = elbo_doubles(mem, n_level * size);
  st->n_rows = elbo_doubles(mem, n_level);
  st->n_within = elbo_doubles(mem, n_level);
  st->n_distinct = elbo_doubles(mem, n_level);
  memset(st->within, 0, n_level * size * sizeof(double));
  if (t.xy == NULL) {
    memcpy(st->within, f.within, n_level * size * sizeof(double));
  } else {
    double *half = elbo_doubles(mem, (size_t)(p + 1) * (size_t)(t.n + 1));
    for (size_t l = 0; l < n_level; l++)
      transform_within(&t, p, f.within + l * from_size, half, st->within + l * size);
  }
  memcpy(st->n_rows, f.n_rows, n_level * sizeof(double));
  memcpy(st->n_within, f.n_rows, n_level * sizeof(double));
  memcpy(st->n_distinct, f.n_rows, n_level * sizeof(double));
  if (q == 0) return ELBO_OK;
  if (f.shape.n_factor > 0) {
    lmm_crossed_close(flat, &t, law->threads, st, mem);
    return ELBO_OK;
  }
  memset(st->n_distinct, 0, n_level * sizeof(double));
  st->n_run = find_runs(&groups, &f, mem);
  lay_out(st, &groups, mem);
  fill(st, &f, &t, &groups, mem);
  for (int r = 0; r < st->n_run; r++)
    for (int c = 0; c < st->run[r].n_cell; c++)
      st->n_within[st->run[r].level[c]] -= (double)q * st->run[r].n_block * SIMD_LANES;
  return ELBO_OK;
}

double *lmm_stats_of_rows(const lmm_rows *rows, int n_smooth, const elbo_memory *mem,
                          const elbo_memory *out) {
  const int n_factor = rows->n_factor, m = rows->q > 0 && n_factor == 0 ? rows->m : 0;
  const lmm_shape shape = {rows->p,  rows->q,     m,           rows->n_level, n_smooth,
                           n_factor, rows->first, rows->n_unit};
  double *survey = elbo_doubles(mem, lmm_survey_size(rows->q + rows->p + 1));
  lmm_survey_rows(rows, survey);
  if (n_factor > 0) return lmm_sums_add(lmm_sums_open(survey, &shape, mem), rows, mem, out);
  return lmm_stats_add(lmm_stats_open(survey, &shape, mem), rows, mem, out);
}

elbo_status lmm_stats_build(lmm_stats *stats, const lmm_rows *rows, const lmm_law *law,
                            const elbo_memory *mem) {
  const double *flat = lmm_stats_of_rows(rows, lmm_law_smooth_columns(law), mem, mem);
  const lmm_basis whole = {0};
  return lmm_stats_close(flat, law, &whole, stats, elbo_doubles(mem, (size_t)rows->p), mem);
}

/* ---- closed statistics ----------------------------------------------------------------------- */

void lmm_stats_add_between(const lmm_stats *st, int l, double *A) {
  const int q = st->q, p1 = st->p + 1, n_col = q + p1;
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    const int K = q * run->n_cell;
    for (int i = 0; i < run->n_block * K; i++) {
      if (run->level[i % K / q] != l) continue;
      const double *row = run->data + (size_t)(i * n_col + q) * SIMD_LANES;
      for (int j = 0; j < p1; j++)
        for (int k = 0; k <= j; k++)
          for (int lane = 0; lane < SIMD_LANES; lane++)
            A[j + p1 * k] += row[j * SIMD_LANES + lane] * row[k * SIMD_LANES + lane];
    }
  }
}

/* The first cell of a group. */
static size_t first_cell(const lmm_flat *f, int group) {
  size_t low = 0, high = f->n_cell;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (f->group[middle] < group + 1) low = middle + 1;
    else high = middle;
  }
  return low;
}

void lmm_stats_put_response(const lmm_stats *st, double *flat) {
  lmm_flat f;
  lmm_flat_parts(flat, &f);
  const int q = st->q, p1 = st->p + 1, n_col = q + p1;
  for (int l = 0; l < st->n_level; l++)
    for (int k = 0; k < p1; k++) {
      const size_t at = (size_t)l * square(p1) + (size_t)(st->p + p1 * k);
      f.within[at] = st->within[at];
    }
  for (int r = 0; r < st->n_run; r++) {
    const lmm_run *run = st->run + r;
    const int K = q * run->n_cell, *groups = st->group_of_lane + run->first_block * SIMD_LANES;
    for (int i = 0; i < run->n_block * SIMD_LANES; i++) {
      if (groups[i] < 0) continue;
      const double *y = run->data + (size_t)(i / SIMD_LANES * K) * (size_t)(n_col * SIMD_LANES) +
                        i % SIMD_LANES + (n_col - 1) * SIMD_LANES;
      const size_t cell = first_cell(&f, groups[i]);
      double *to = f.between + cell * (size_t)(q * n_col) + (n_col - 1);
      for (int row = 0; row < K; row++) to[row * n_col] = y[row * n_col * SIMD_LANES];
      for (int c = 0; f.z_one >= 0 && c < run->n_cell; c++)
        f.pivot[(cell + (size_t)c) * (size_t)n_col + (size_t)(n_col - 1)] = 0.0;
    }
  }
}
