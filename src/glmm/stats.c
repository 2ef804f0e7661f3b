/* The sufficient statistics as one flat vector.
 *
 * Accuracy.  Cross-products of raw columns lose everything when the data are far from zero
 * (NIST's SmLs07-09 exist to show it).  Here
 *   1. columns are shifted by their mean where an intercept absorbs the shift, those of Z where it
 *      has a column of ones (glmm/close.c takes it back where the law of u has a fixed origin);
 *   2. cells are shifted by a pivot of their own and rotated (glmm/cells.c);
 *   3. merged cells are moved to one pivot, which is exact for neighbouring numbers, and rotated
 *      again, one on top of the other;
 * and powers of two bring every column near one: exact, and 1e-150 and 1e150 stay in range. */
#include "glmm/stats.h"

#include <math.h>
#include <string.h>

#include "glmm/cells.h"
#include "glmm/groups.h"
#include "glmm/survey.h"
#include "math/small.h"

static const double magic = 20260101.0; /* the first year's layout */

/* ---- parts ----------------------------------------------------------------------------------- */

static size_t n_columns(const lmm_shape *shape) { return (size_t)shape->q + (size_t)shape->p + 1; }

/* Numbers a cell: group, level, rows, pivot, between rows. */
static size_t cell_size(const lmm_shape *shape, int z_one) {
  return 3 + n_columns(shape) * ((size_t)shape->q + (z_one >= 0));
}

size_t lmm_flat_fixed_size(const lmm_shape *shape) {
  return FLAT_HEADER + 4 * n_columns(shape) + (size_t)shape->p +
         (size_t)shape->n_level * (1 + square(shape->p + 1));
}

void lmm_flat_parts(const double *flat, lmm_flat *parts) {
  double *at = (double *)flat;
  lmm_shape *shape = &parts->shape;
  shape->p = (int)at[FLAT_P];
  shape->q = (int)at[FLAT_Q];
  shape->m = (int)at[FLAT_M];
  shape->n_level = (int)at[FLAT_LEVELS];
  shape->n_smooth = (int)at[FLAT_SMOOTH];
  shape->n_factor = (int)at[FLAT_FACTORS];
  shape->first = shape->n_unit = NULL;
  parts->x_intercept = (int)at[FLAT_X_INTERCEPT] - 1;
  parts->z_one = (int)at[FLAT_Z_ONE] - 1;
  parts->n_cell = (size_t)at[FLAT_N_CELL];
  parts->size = (size_t)at[FLAT_SIZE];
  const size_t n_col = n_columns(shape), n_level = (size_t)shape->n_level, n_cell = parts->n_cell;
  parts->header = at;
  parts->shift = at + FLAT_HEADER;
  parts->scale = parts->shift + n_col;
  parts->low = parts->scale + n_col;
  parts->high = parts->low + n_col;
  parts->origin = parts->high + n_col;
  parts->n_rows = parts->origin + shape->p;
  parts->within = parts->n_rows + n_level;
  parts->tables = parts->group = parts->within + n_level * square(shape->p + 1);
  parts->level = parts->group + n_cell;
  parts->count = parts->level + n_cell;
  parts->pivot = parts->count + n_cell;
  parts->between = parts->pivot + (parts->z_one >= 0 ? n_cell * n_col : 0);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int is_whole(double x, double least, double most) {
  return x >= least && x <= most && x == floor(x);
}

/* Of what all vectors have in their headers. */
static int header_is_sound(const double *h, size_t size) {
  enum { MOST_COLUMNS = 1 << 20, MOST = 2147483647 };
  if (size < FLAT_HEADER || h[FLAT_MAGIC] != magic || h[FLAT_SIZE] != (double)size) return 0;
  if (!is_whole(h[FLAT_P], 0, MOST_COLUMNS) || !is_whole(h[FLAT_Q], 0, LMM_MAX_TERMS)) return 0;
  if (!is_whole(h[FLAT_FACTORS], 0, h[FLAT_Q])) return 0;
  const int groups = h[FLAT_Q] > 0 && h[FLAT_FACTORS] == 0;
  if (!is_whole(h[FLAT_M], groups, groups ? MOST : 0)) return 0;
  if (!is_whole(h[FLAT_LEVELS], 1, MOST) || !is_whole(h[FLAT_SMOOTH], 0, h[FLAT_P])) return 0;
  if (!is_whole(h[FLAT_X_INTERCEPT], 0, h[FLAT_P])) return 0;
  if (!is_whole(h[FLAT_Z_ONE], 0, h[FLAT_Q])) return 0;
  return is_whole(h[FLAT_N], 0, 9007199254740992.0);
}

static lmm_shape shape_of(const double *h) {
  const lmm_shape shape = {(int)h[FLAT_P], (int)h[FLAT_Q], (int)h[FLAT_M], (int)h[FLAT_LEVELS],
                           (int)h[FLAT_SMOOTH], (int)h[FLAT_FACTORS], NULL, NULL};
  return shape;
}

/* Of one factor: whether the cells fill the vector. */
static int cells_are_sound(const double *h, size_t size) {
  const double most = h[FLAT_Q] > 0 ? h[FLAT_M] * h[FLAT_LEVELS] : 0;
  const lmm_shape shape = shape_of(h);
  if (!is_whole(h[FLAT_N_CELL], 0, fmin(most, 2147483647))) return 0;
  const double cells = h[FLAT_N_CELL] * (double)cell_size(&shape, (int)h[FLAT_Z_ONE] - 1);
  return (double)lmm_flat_fixed_size(&shape) + cells == (double)size;
}

static int is_power_of_two(double x) {
  int exponent;
  return isfinite(x) && x > 0.0 && frexp(x, &exponent) == 0.5;
}

int lmm_flat_check_columns(const double *flat, size_t size) {
  lmm_flat f;
  double rows = 0.0;
  if (flat == NULL || !header_is_sound(flat, size)) return 0;
  const lmm_shape shape = shape_of(flat);
  if (lmm_flat_fixed_size(&shape) > size) return 0;
  for (size_t i = 0; i < size; i++)
    if (!isfinite(flat[i])) return 0;
  lmm_flat_parts(flat, &f);
  if (!is_power_of_two(flat[FLAT_ROOT_WEIGHT]) || !(flat[FLAT_ROUNDING] >= 0.0)) return 0;
  for (size_t c = 0; c < n_columns(&f.shape); c++)
    if (!is_power_of_two(f.scale[c]) || !(f.low[c] <= f.high[c])) return 0;
  for (int l = 0; l < f.shape.n_level; l++) {
    if (!is_whole(f.n_rows[l], 0, flat[FLAT_N])) return 0;
    rows += f.n_rows[l];
  }
  return rows == flat[FLAT_N];
}

int lmm_stats_check(const double *flat, size_t size) {
  lmm_flat f;
  double in_cells = 0.0;
  if (!lmm_flat_check_columns(flat, size) || flat[FLAT_FACTORS] > 0) return 0;
  if (!cells_are_sound(flat, size)) return 0;
  lmm_flat_parts(flat, &f);
  for (size_t c = 0; c < f.n_cell; c++) {
    if (!is_whole(f.group[c], 1, f.shape.m) || !is_whole(f.level[c], 1, f.shape.n_level)) return 0;
    if (!is_whole(f.count[c], 1, flat[FLAT_N])) return 0;
    if (c > 0 && (f.group[c] < f.group[c - 1] ||
                  (f.group[c] == f.group[c - 1] && f.level[c] <= f.level[c - 1])))
      return 0;
    in_cells += f.count[c];
  }
  return f.shape.q == 0 || in_cells == flat[FLAT_N];
}

int lmm_stats_complete(const double *flat) {
  lmm_flat f;
  lmm_flat_parts(flat, &f);
  int groups = 0;
  for (size_t c = 0; c < f.n_cell; c++) groups += c == 0 || f.group[c] != f.group[c - 1];
  return groups == f.shape.m && flat[FLAT_N] > 0;
}

int lmm_stats_mergeable(const double *a, const double *b) {
  static const int same[] = {FLAT_P,      FLAT_Q,           FLAT_M,     FLAT_LEVELS,
                             FLAT_SMOOTH, FLAT_X_INTERCEPT, FLAT_Z_ONE, FLAT_ROOT_WEIGHT,
                             FLAT_ROUNDING, FLAT_FACTORS};
  lmm_flat f, g;
  for (size_t i = 0; i < sizeof same / sizeof *same; i++)
    if (a[same[i]] != b[same[i]]) return 0;
  lmm_flat_parts(a, &f);
  lmm_flat_parts(b, &g);
  const size_t n = 4 * n_columns(&f.shape) + (size_t)f.shape.p; /* columns, and the origin */
  for (size_t i = 0; i < n; i++)
    if (f.shift[i] != g.shift[i]) return 0;
  return 1;
}

/* ---- open ------------------------------------------------------------------------------------ */

/* The power of two that brings the largest deviation from `shift` near one. */
static double column_scale(double low, double high, double shift) {
  const double largest = fmax(high - shift, shift - low);
  return largest > 0.0 ? scalbn(1.0, -ilogb(largest)) : 1.0;
}

/* The first column of ones among n. */
static int find_ones(const double *low, const double *high, int n) {
  for (int c = 0; c < n; c++)
    if (low[c] == 1.0 && high[c] == 1.0) return c;
  return -1;
}

double *lmm_flat_new(const lmm_shape *shape, size_t n_rest, const elbo_memory *out) {
  const size_t size = lmm_flat_fixed_size(shape) + n_rest;
  double *flat = elbo_doubles(out, size);
  memset(flat, 0, size * sizeof(double));
  flat[FLAT_MAGIC] = magic;
  flat[FLAT_SIZE] = (double)size;
  flat[FLAT_P] = shape->p;
  flat[FLAT_Q] = shape->q;
  flat[FLAT_M] = shape->m;
  flat[FLAT_LEVELS] = shape->n_level;
  flat[FLAT_SMOOTH] = shape->n_smooth;
  flat[FLAT_FACTORS] = shape->n_factor;
  flat[FLAT_ROOT_WEIGHT] = 1.0;
  return flat;
}

/* An empty vector of the shape, for n_cell cells. */
static double *new_flat(const lmm_shape *shape, int z_one, size_t n_cell, const elbo_memory *out) {
  double *flat = lmm_flat_new(shape, n_cell * cell_size(shape, z_one), out);
  flat[FLAT_Z_ONE] = z_one + 1;
  flat[FLAT_N_CELL] = (double)n_cell;
  return flat;
}

/* Whether a column of ones is among the terms of the factor of term c. */
static int has_one(const lmm_shape *shape, const double *low, const double *high, int c) {
  int f = 0;
  if (shape->n_factor == 0) return find_ones(low, high, shape->q) >= 0;
  while (shape->first[f + 1] <= c) f++;
  const int first = shape->first[f];
  return find_ones(low + first, high + first, shape->first[f + 1] - first) >= 0;
}

void lmm_flat_open_columns(double *flat, const double *survey, const lmm_shape *shape) {
  const int q = shape->q, p = shape->p, n_col = q + p + 1;
  const double n = survey[SURVEY_N], *sum = survey + SURVEY_COLUMNS, *low = sum + n_col,
               *high = low + n_col;
  const int x_intercept = find_ones(low + q, high + q, p);
  lmm_flat f;
  flat[FLAT_X_INTERCEPT] = x_intercept + 1;
  if (survey[SURVEY_WEIGHT] > 0.0)
    flat[FLAT_ROOT_WEIGHT] = scalbn(1.0, -ilogb(sqrt(survey[SURVEY_WEIGHT])));
  lmm_flat_parts(flat, &f);
  for (int c = 0; c < n_col; c++) {
    const int one = low[c] == 1.0 && high[c] == 1.0 && c < n_col - 1;
    const int smooth = c >= q + p - shape->n_smooth && c < q + p;
    const int absorbed = c < q ? has_one(shape, low, high, c) : x_intercept >= 0;
    f.low[c] = low[c];
    f.high[c] = high[c];
    f.shift[c] = absorbed && !one && !smooth ? sum[c] / n : 0.0;
    f.scale[c] = column_scale(low[c], high[c], f.shift[c]);
  }
}

double *lmm_stats_open(const double *survey, const lmm_shape *shape, const elbo_memory *out) {
  const int n_col = shape->q + shape->p + 1;
  const double *low = survey + SURVEY_COLUMNS + n_col, *high = low + n_col;
  double *flat = new_flat(shape, find_ones(low, high, shape->q), 0, out);
  lmm_flat_open_columns(flat, survey, shape);
  return flat;
}

void lmm_flat_copy_columns(double *flat, const double *from) {
  lmm_flat to, f;
  lmm_flat_parts(from, &f);
  flat[FLAT_X_INTERCEPT] = from[FLAT_X_INTERCEPT];
  flat[FLAT_ROOT_WEIGHT] = from[FLAT_ROOT_WEIGHT];
  flat[FLAT_ROUNDING] = from[FLAT_ROUNDING];
  lmm_flat_parts(flat, &to);
  memcpy(to.shift, f.shift, (4 * n_columns(&f.shape) + (size_t)f.shape.p) * sizeof(double));
}

/* ---- add ------------------------------------------------------------------------------------- */

/* An empty vector about the shifts of `flat`, for n_cell cells. */
static double *like(const double *flat, size_t n_cell, const elbo_memory *out, lmm_flat *parts) {
  lmm_flat f;
  lmm_flat_parts(flat, &f);
  double *made = new_flat(&f.shape, f.z_one, n_cell, out);
  lmm_flat_copy_columns(made, flat);
  lmm_flat_parts(made, parts);
  return made;
}

static void count_cells(const lmm_rows *rows, const lmm_cells *cells, lmm_flat *to) {
  size_t at = 0;
  for (int g = 0; g < rows->m; g++)
    for (int c = cells->first_cell[g]; c < cells->first_cell[g + 1]; c++) {
      const int count = cells->first_row[c + 1] - cells->first_row[c];
      if (count == 0) continue;
      to->n_rows[cells->level[c]] += count;
      if (to->shape.q == 0) continue;
      to->group[at] = g + 1;
      to->level[at] = cells->level[c] + 1;
      to->count[at++] = count;
    }
}

static double *of_rows(const double *flat, const lmm_rows *rows, const elbo_memory *mem,
                       const elbo_memory *out) {
  const int q = rows->q, n_col = q + rows->p + 1;
  lmm_flat f;
  lmm_cells cells;
  lmm_rows all = *rows;
  if (q == 0) { /* without a grouping factor the rows of a level are one cell */
    int *one = elbo_ints(mem, (size_t)rows->n);
    for (int i = 0; i < rows->n; i++) one[i] = 1;
    all.group = one;
    all.m = 1;
  }
  lmm_find_cells(&cells, &all, mem);
  size_t n_cell = 0;
  for (int c = 0; c < cells.n_cell; c++) n_cell += cells.first_row[c + 1] > cells.first_row[c];
  double *made = like(flat, q > 0 ? n_cell : 0, out, &f);
  made[FLAT_N] = rows->n;
  count_cells(&all, &cells, &f);
  int *one = elbo_ints(mem, (size_t)n_col);
  for (int c = 0; c < n_col; c++)
    one[c] = c < n_col - 1 && f.low[c] == 1.0 && f.high[c] == 1.0;
  const lmm_columns columns = {f.shift, f.scale, one, made[FLAT_ROOT_WEIGHT], f.z_one};
  const lmm_reduced reduced = {f.between, f.pivot, f.within};
  lmm_reduce_cells(&all, &cells, &columns, &reduced, mem);
  for (int i = 0; rows->weight != NULL && i < rows->n; i++)
    made[FLAT_LOG_WEIGHT] += log(rows->weight[i]) + 2.0 * log(made[FLAT_ROOT_WEIGHT]);
  return made;
}

double *lmm_stats_add(const double *flat, const lmm_rows *rows, const elbo_memory *mem,
                      const elbo_memory *out) {
  if (flat[FLAT_N] == 0.0) return of_rows(flat, rows, mem, out);
  return lmm_stats_merge(flat, of_rows(flat, rows, mem, mem), mem, out);
}

/* ---- merge ----------------------------------------------------------------------------------- */

/* Of cells in the order of groups and levels: which comes first, -1 or 1, or 0 for the same. */
static int cell_order(const lmm_flat *a, size_t i, const lmm_flat *b, size_t j) {
  if (i == a->n_cell) return 1;
  if (j == b->n_cell) return -1;
  if (a->group[i] != b->group[j]) return a->group[i] < b->group[j] ? -1 : 1;
  return a->level[i] < b->level[j] ? -1 : a->level[i] > b->level[j];
}

static size_t merged_cells(const lmm_flat *a, const lmm_flat *b) {
  size_t n = 0;
  for (size_t i = 0, j = 0; i < a->n_cell || j < b->n_cell; n++) {
    const int order = cell_order(a, i, b, j);
    i += order <= 0;
    j += order >= 0;
  }
  return n;
}

static void copy_cell(const lmm_flat *from, size_t i, lmm_flat *to, size_t at) {
  const size_t n_col = n_columns(&from->shape), size = n_col * (size_t)from->shape.q;
  to->group[at] = from->group[i];
  to->level[at] = from->level[i];
  to->count[at] = from->count[i];
  if (from->z_one >= 0)
    memcpy(to->pivot + n_col * at, from->pivot + n_col * i, n_col * sizeof(double));
  memcpy(to->between + size * at, from->between + size * i, size * sizeof(double));
}

/* The between rows of cell j of b under those of the cell `at`, both about the pivot of this one,
 * rotated: chunk has 2 q rows. */
static void stack_cell(const lmm_flat *b, size_t j, lmm_flat *to, size_t at, double *chunk) {
  const int q = b->shape.q, n_col = (int)n_columns(&b->shape), stride = 2 * q;
  const size_t size = (size_t)(q * n_col);
  const int upper = to->count[at] < q ? (int)to->count[at] : q;
  const int lower = b->count[j] < q ? (int)b->count[j] : q;
  double *kept = to->between + size * at;
  const double *added = b->between + size * j;
  for (int c = 0; c < n_col; c++) {
    double *x = chunk + stride * c;
    const double move = b->z_one < 0 || c == b->z_one ? 0.0
                        : b->pivot[(size_t)n_col * j + (size_t)c] -
                              to->pivot[(size_t)n_col * at + (size_t)c];
    for (int r = 0; r < upper; r++) x[r] = kept[r * n_col + c];
    for (int r = 0; r < lower; r++) {
      x[upper + r] = added[r * n_col + c];
      if (move != 0.0) x[upper + r] += move * added[r * n_col + b->z_one];
    }
  }
  const size_t level_size = square(b->shape.p + 1);
  lmm_kernels_current()->reduce(chunk, upper + lower, stride, q, n_col,
                                to->within + level_size * (size_t)(to->level[at] - 1.0));
  const int rows = upper + lower < q ? upper + lower : q;
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < n_col; c++) kept[r * n_col + c] = chunk[stride * c + r];
  to->count[at] += b->count[j];
}

double *lmm_stats_merge(const double *a, const double *b, const elbo_memory *mem,
                        const elbo_memory *out) {
  lmm_flat f, g, to;
  lmm_flat_parts(a, &f);
  lmm_flat_parts(b, &g);
  double *made = like(a, merged_cells(&f, &g), out, &to);
  const size_t n_level = (size_t)f.shape.n_level, n_within = n_level * square(f.shape.p + 1);
  double *chunk = elbo_doubles(mem, 2 * (size_t)f.shape.q * n_columns(&f.shape));
  made[FLAT_N] = a[FLAT_N] + b[FLAT_N];
  made[FLAT_LOG_WEIGHT] = a[FLAT_LOG_WEIGHT] + b[FLAT_LOG_WEIGHT];
  for (size_t l = 0; l < n_level; l++) to.n_rows[l] = f.n_rows[l] + g.n_rows[l];
  for (size_t i = 0; i < n_within; i++) to.within[i] = f.within[i] + g.within[i];
  for (size_t i = 0, j = 0, at = 0; i < f.n_cell || j < g.n_cell; at++) {
    const int order = cell_order(&f, i, &g, j);
    copy_cell(order <= 0 ? &f : &g, order <= 0 ? i : j, &to, at);
    if (order == 0) stack_cell(&g, j, &to, at, chunk);
    i += order <= 0;
    j += order >= 0;
  }
  return made;
}
