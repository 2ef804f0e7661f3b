/* Rows to sufficient statistics of the Gaussian mixed model, in one pass.
 *
 * Accuracy.  Cross-products of raw columns lose everything when the data are far from zero
 * (NIST's SmLs07-09 exist to show it).  Here
 *   1. columns are shifted by their mean where an intercept absorbs the shift;
 *   2. within a cell, columns are shifted by the cell's first row where Z has an intercept, which
 *      is exact for neighbouring numbers, and the shift is added back to the between rows, where it
 *      belongs: Z e = 1 implies Q'(c 1) = c R e;
 *   3. the cell is rotated by Householder reflections, so the within cross-products are sums of
 *      squares of residuals, never differences of large sums;
 * and powers of two bring every column near one: exact, and 1e-150 and 1e150 stay in range.
 *
 * A cell of many rows is rotated a chunk at a time, its q rows so far on top of the next chunk. */
#include "glmm/stats.h"

#include <math.h>
#include <string.h>

#include "glmm/groups.h"
#include "math/simd.h"

enum { CHUNK = 512 };

static double largest_deviation(const double *x, int n, double from) {
  double largest = 0.0;
  for (int i = 0; i < n; i++) {
    const double deviation = fabs(x[i] - from);
    if (deviation > largest) largest = deviation;
  }
  return largest;
}

/* Mean, and the power of two that brings the largest deviation from `shift` near one. */
static double column_mean(const double *x, int n) {
  const double largest = largest_deviation(x, n, 0.0);
  double sum = 0.0;
  if (!(largest > 0.0)) return 0.0;
  const double scale = scalbn(1.0, -ilogb(largest));
  for (int i = 0; i < n; i++) sum += x[i] * scale;
  return sum / n / scale;
}

static double column_scale(const double *x, int n, double shift) {
  const double largest = largest_deviation(x, n, shift);
  return largest > 0.0 ? scalbn(1.0, -ilogb(largest)) : 1.0;
}

/* The power of two that brings the root of the largest weight near one. */
static double root_weight_scale(const double *weight, int n) {
  return scalbn(1.0, -ilogb(sqrt(largest_deviation(weight, n, 0.0))));
}

static int is_constant_one(const double *x, int n) {
  for (int i = 0; i < n; i++)
    if (x[i] != 1.0) return 0;
  return n > 0;
}

int lmm_law_smooth_columns(const lmm_law *law) {
  int n = 0;
  for (int k = 0; k < law->n_smooth; k++) n += law->smooth_size[k];
  return n;
}

static void scaling_init(lmm_scaling *s, const lmm_rows *rows, const lmm_law *law,
                         const elbo_memory *mem) {
  const int n = rows->n, p = rows->p, q = rows->q;
  s->x_shift = elbo_doubles(mem, (size_t)p);
  s->x_scale = elbo_doubles(mem, (size_t)p);
  s->z_shift = elbo_doubles(mem, (size_t)q);
  s->z_scale = elbo_doubles(mem, (size_t)q);
  s->z_intercept = elbo_ints(mem, (size_t)q);
  s->x_intercept = -1;
  for (int j = 0; j < p && s->x_intercept < 0; j++)
    if (is_constant_one(rows->X + (size_t)n * (size_t)j, n)) s->x_intercept = j;
  /* The law of a smooth term is that of its columns as they are. */
  const int first_smooth = p - lmm_law_smooth_columns(law);
  for (int j = 0; j < p; j++) {
    const double *x = rows->X + (size_t)n * (size_t)j;
    const int free_to_shift = s->x_intercept >= 0 && j != s->x_intercept && j < first_smooth;
    s->x_shift[j] = free_to_shift ? column_mean(x, n) : 0.0;
    s->x_scale[j] = column_scale(x, n, s->x_shift[j]);
  }
  s->y_shift = s->x_intercept >= 0 ? column_mean(rows->y, n) : 0.0;
  s->y_scale = column_scale(rows->y, n, s->y_shift);
  s->root_weight_scale = 1.0;
  if (rows->weight) s->root_weight_scale = root_weight_scale(rows->weight, n);
  for (int k = 0; k < q; k++) {
    const double *z = rows->Z + (size_t)n * (size_t)k;
    /* A free covariance block is the same model in any basis, so an intercept in it may absorb
     * the shift of the other terms; a block with constants is not. */
    int intercept = -1, free_block = !law->fixed_origin;
    for (int l = 0; l < q; l++)
      if (law->block[l] == law->block[k]) {
        if (!isnan(law->sd[l]) || !isnan(law->cor[law->block[l]])) free_block = 0;
        if (intercept < 0 && is_constant_one(rows->Z + (size_t)n * (size_t)l, n)) intercept = l;
      }
    s->z_intercept[k] = free_block && intercept != k ? intercept : -1;
    s->z_shift[k] = s->z_intercept[k] >= 0 ? column_mean(z, n) : 0.0;
    s->z_scale[k] = column_scale(z, n, s->z_shift[k]);
  }
}

/* ---- cells and runs -------------------------------------------------------------------------- */

/* A cell is the rows of a group at a level; the cells of a group are neighbours, by level. */
typedef struct {
  int n_cell;
  int *of_row;     /* n: cell of each row, or NULL: its group */
  int *first_row;  /* n_cell + 1, when rows are sorted by cell */
  int *level;      /* n_cell */
  int *first_cell; /* m + 1 */
  int *pattern;    /* m: the run */
} cell_table;

static int cell_of_row(const cell_table *cells, const lmm_rows *rows, int i) {
  return cells->of_row ? cells->of_row[i] : rows->group[i] - 1;
}

/* Cells where groups have several levels: rows are visited by level, and a group gets a new cell
 * whenever its level is new. */
static void cells_by_level(cell_table *cells, const lmm_rows *rows, const elbo_memory *mem) {
  const int n = rows->n, m = rows->m, n_level = rows->n_level;
  int *order = elbo_ints(mem, (size_t)n), *first = elbo_ints(mem, (size_t)n_level + 1);
  int *last = elbo_ints(mem, (size_t)m);
  cells->of_row = elbo_ints(mem, (size_t)n);
  memset(first, 0, ((size_t)n_level + 1) * sizeof(int));
  for (int i = 0; i < n; i++) first[rows->level[i]]++;
  for (int l = 1; l <= n_level; l++) first[l] += first[l - 1];
  for (int i = 0; i < n; i++) order[first[rows->level[i] - 1]++] = i;
  for (int g = 0; g < m; g++) last[g] = 0;
  memset(cells->first_cell, 0, ((size_t)m + 1) * sizeof(int));
  for (int i = 0; i < n; i++) { /* of_row: number of the cell within its group */
    const int row = order[i], g = rows->group[row] - 1;
    if (rows->level[row] != last[g]) cells->first_cell[g + 1]++;
    last[g] = rows->level[row];
    cells->of_row[row] = cells->first_cell[g + 1] - 1;
  }
  for (int g = 0; g < m; g++) cells->first_cell[g + 1] += cells->first_cell[g];
  cells->n_cell = cells->first_cell[m];
  cells->level = elbo_ints(mem, (size_t)cells->n_cell);
  for (int i = 0; i < n; i++) {
    cells->of_row[i] += cells->first_cell[rows->group[i] - 1];
    cells->level[cells->of_row[i]] = rows->level[i] - 1;
  }
}

static void find_cells(cell_table *cells, const lmm_rows *rows, const elbo_memory *mem) {
  const int n = rows->n, m = rows->m;
  cells->first_cell = elbo_ints(mem, (size_t)m + 1);
  cells->pattern = elbo_ints(mem, (size_t)m);
  if (rows->level) {
    cells_by_level(cells, rows, mem);
  } else {
    cells->n_cell = m;
    cells->level = elbo_ints(mem, (size_t)m);
    memset(cells->level, 0, (size_t)m * sizeof(int));
    for (int g = 0; g <= m; g++) cells->first_cell[g] = g;
  }
  cells->first_row = elbo_ints(mem, (size_t)cells->n_cell + 1);
  memset(cells->first_row, 0, ((size_t)cells->n_cell + 1) * sizeof(int));
  for (int i = 0; i < n; i++) cells->first_row[cell_of_row(cells, rows, i) + 1]++;
  for (int c = 0; c < cells->n_cell; c++) cells->first_row[c + 1] += cells->first_row[c];
}

static int same_levels(const cell_table *cells, int g, int h) {
  const int n = cells->first_cell[g + 1] - cells->first_cell[g];
  if (n != cells->first_cell[h + 1] - cells->first_cell[h]) return 0;
  return memcmp(cells->level + cells->first_cell[g], cells->level + cells->first_cell[h],
                (size_t)n * sizeof(int)) == 0;
}

/* Runs of groups with the same levels.  Patterns are chained by their first level, so that the
 * search is short in the usual cases: one level, a level for each group, a few in all. */
static int find_runs(const cell_table *cells, int m, int n_level, int *representative,
                     const elbo_memory *mem) {
  int *head = elbo_ints(mem, (size_t)n_level), *next = elbo_ints(mem, (size_t)m), n_run = 0;
  for (int l = 0; l < n_level; l++) head[l] = -1;
  for (int g = 0; g < m; g++) {
    const int level = cells->level[cells->first_cell[g]];
    int r = head[level];
    while (r >= 0 && !same_levels(cells, g, representative[r])) r = next[r];
    if (r < 0) {
      r = n_run++;
      representative[r] = g;
      next[r] = head[level];
      head[level] = r;
    }
    cells->pattern[g] = r;
  }
  return n_run;
}

/* ---- records --------------------------------------------------------------------------------- */

/* The scaled rows sorted by cell, a record a row: the columns of [Z X y] that are not constant, and
 * the root of the weight if any.  One pass reads the columns in their order and writes a record at
 * once; reading the rows of a cell from columns all over memory would be several times slower. */
typedef struct {
  int size;     /* doubles a record */
  int *at;      /* q + p + 1: place of each column in the record, -1 for a column of ones */
  int weight;   /* place of the root of the weight, -1 where there are no weights */
  double *data; /* n x size */
} record_table;

static const double *column_of(const lmm_rows *rows, int c) {
  const int j = c - rows->q;
  if (j < 0) return rows->Z + (size_t)rows->n * (size_t)c;
  return j < rows->p ? rows->X + (size_t)rows->n * (size_t)j : rows->y;
}

static void column_scaling(const lmm_rows *rows, const lmm_scaling *s, int c, double *shift,
                           double *scale) {
  const int j = c - rows->q;
  *shift = j < 0 ? s->z_shift[c] : j < rows->p ? s->x_shift[j] : s->y_shift;
  *scale = j < 0 ? s->z_scale[c] : j < rows->p ? s->x_scale[j] : s->y_scale;
}

static void make_records(record_table *records, const lmm_rows *rows, const lmm_scaling *s,
                         const cell_table *cells, const elbo_memory *mem) {
  const int n = rows->n, n_col = rows->q + rows->p + 1;
  const double **column = (const double **)mem->get(mem->ctx, (size_t)n_col * sizeof(double *));
  double *shift = elbo_doubles(mem, (size_t)n_col), *scale = elbo_doubles(mem, (size_t)n_col);
  int *next = elbo_ints(mem, (size_t)cells->n_cell), n_var = 0;
  records->at = elbo_ints(mem, (size_t)n_col);
  for (int c = 0; c < n_col; c++) {
    records->at[c] = -1;
    if (c < n_col - 1 && is_constant_one(column_of(rows, c), n)) continue;
    column[n_var] = column_of(rows, c);
    column_scaling(rows, s, c, shift + n_var, scale + n_var);
    records->at[c] = n_var++;
  }
  records->weight = rows->weight ? n_var : -1;
  records->size = n_var + (rows->weight ? 1 : 0);
  records->data = elbo_doubles(mem, (size_t)n * (size_t)records->size);
  memcpy(next, cells->first_row, (size_t)cells->n_cell * sizeof(int));
  for (int i = 0; i < n; i++) {
    const size_t place = (size_t)next[cell_of_row(cells, rows, i)]++;
    double *record = records->data + place * (size_t)records->size;
    for (int v = 0; v < n_var; v++) record[v] = (column[v][i] - shift[v]) * scale[v];
    if (rows->weight) record[n_var] = sqrt(rows->weight[i]) * s->root_weight_scale;
  }
}

/* ---- one cell -------------------------------------------------------------------------------- */

/* `count` records from `first` on less the pivot, times their weights, into the chunk's columns
 * [Z X y] from its row `at` on. */
static void read_records(const record_table *records, int n_col, int first, int count,
                         const double *pivot, double *chunk, int stride, int at) {
  const size_t size = (size_t)records->size;
  const double *from = records->data + (size_t)first * size;
  for (int c = 0; c < n_col; c++) {
    double *to = chunk + (size_t)stride * (size_t)c + at;
    if (records->at[c] < 0)
      for (int i = 0; i < count; i++) to[i] = 1.0 - pivot[c];
    else
      for (int i = 0; i < count; i++)
        to[i] = from[(size_t)i * size + (size_t)records->at[c]] - pivot[c];
    if (records->weight >= 0)
      for (int i = 0; i < count; i++) to[i] *= from[(size_t)i * size + (size_t)records->weight];
  }
}

/* The q between rows of a cell (q x n_col, by column, zero-padded), and its within cross-products
 * (added). `z_one` is the column of ones of Z or -1. */
static void reduce_cell(const lmm_kernels *kernels, const record_table *records, int q, int n_col,
                        int first, int last, int z_one, double *pivot, double *chunk,
                        double *between, double *within) {
  const int stride = CHUNK + q;
  for (int c = 0; c < n_col; c++) {
    const int at = records->at[c];
    pivot[c] = z_one < 0 || c == z_one ? 0.0
               : at < 0                ? 1.0
                        : records->data[(size_t)first * (size_t)records->size + (size_t)at];
  }
  int top = 0;
  for (int i = first; i < last; i += CHUNK) {
    const int count = last - i < CHUNK ? last - i : CHUNK;
    read_records(records, n_col, i, count, pivot, chunk, stride, top);
    kernels->reduce(chunk, top + count, stride, q, n_col, within);
    top = top + count < q ? top + count : q;
  }
  for (int c = 0; c < n_col; c++)
    for (int r = 0; r < q; r++)
      between[r + q * c] = r < top ? chunk[(size_t)stride * (size_t)c + (size_t)r] : 0.0;
  if (z_one < 0) return;
  for (int c = 0; c < n_col; c++)
    if (c != z_one)
      for (int r = 0; r < q; r++) between[r + q * c] += pivot[c] * between[r + q * z_one];
}

/* ---- all ------------------------------------------------------------------------------------- */

elbo_status lmm_stats_build(lmm_stats *stats, const lmm_rows *rows, const lmm_law *law,
                            const elbo_memory *mem) {
  const int n = rows->n, p = rows->p, q = rows->q, m = rows->m, n_level = rows->n_level;
  const int n_col = q + p + 1, p1 = p + 1;
  const lmm_kernels *kernels = lmm_kernels_current();
  /* Without a grouping factor the rows of a level are one cell with nothing in between. */
  const int n_group = q > 0 ? m : 1;
  lmm_rows all = *rows;
  if (q == 0) {
    int *one = elbo_ints(mem, (size_t)n);
    for (int i = 0; i < n; i++) one[i] = 1;
    all.group = one;
    all.m = 1;
  }
  memset(stats, 0, sizeof *stats);
  stats->n = n;
  stats->p = p;
  stats->q = q;
  stats->m = q > 0 ? m : 0;
  stats->n_level = n_level;
  scaling_init(&stats->scaling, rows, law, mem);

  cell_table cells = {0};
  record_table records = {0};
  find_cells(&cells, &all, mem);
  make_records(&records, &all, &stats->scaling, &cells, mem);
  int *representative = elbo_ints(mem, (size_t)n_group);
  stats->n_run = find_runs(&cells, n_group, n_level, representative, mem);

  /* Lay the groups out, run by run, in blocks of lanes. */
  int *count = elbo_ints(mem, (size_t)stats->n_run);
  memset(count, 0, (size_t)stats->n_run * sizeof(int));
  for (int g = 0; g < n_group; g++) count[cells.pattern[g]]++;
  stats->run = (lmm_run *)mem->get(mem->ctx, (size_t)stats->n_run * sizeof(lmm_run));
  for (int r = 0; r < stats->n_run; r++) {
    lmm_run *run = stats->run + r;
    const int g = representative[r];
    run->n_cell = cells.first_cell[g + 1] - cells.first_cell[g];
    run->level = cells.level + cells.first_cell[g];
    run->n_block = (count[r] + SIMD_LANES - 1) / SIMD_LANES;
    run->first_block = stats->n_block;
    stats->n_block += run->n_block;
    const size_t size =
        (size_t)run->n_block * (size_t)(q * run->n_cell) * (size_t)n_col * SIMD_LANES;
    run->data = elbo_doubles(mem, size);
    memset(run->data, 0, size * sizeof(double));
    run->n_between = elbo_ints(mem, (size_t)run->n_block * (size_t)run->n_cell * SIMD_LANES);
    memset(run->n_between, 0,
           (size_t)run->n_block * (size_t)run->n_cell * SIMD_LANES * sizeof(int));
    count[r] = 0;
  }
  stats->group_of_lane = elbo_ints(mem, (size_t)stats->n_block * SIMD_LANES);
  for (int i = 0; i < stats->n_block * SIMD_LANES; i++) stats->group_of_lane[i] = -1;

  stats->within = elbo_doubles(mem, (size_t)(n_level * p1 * p1));
  stats->n_rows = elbo_doubles(mem, (size_t)n_level);
  stats->n_within = elbo_doubles(mem, (size_t)n_level);
  memset(stats->within, 0, (size_t)(n_level * p1 * p1) * sizeof(double));
  stats->n_distinct = elbo_doubles(mem, (size_t)n_level);
  memset(stats->n_rows, 0, (size_t)n_level * sizeof(double));
  memset(stats->n_distinct, 0, (size_t)n_level * sizeof(double));

  int z_one = -1;
  for (int k = 0; k < q && z_one < 0; k++)
    if (is_constant_one(rows->Z + (size_t)n * (size_t)k, n)) z_one = k;
  double *chunk = elbo_doubles(mem, (size_t)(CHUNK + q) * (size_t)n_col);
  double *between = elbo_doubles(mem, (size_t)(q > 0 ? q : 1) * (size_t)n_col);
  double *pivot = elbo_doubles(mem, (size_t)n_col);
  for (int g = 0; g < n_group; g++) {
    const lmm_run *run = stats->run + cells.pattern[g];
    const int at = count[cells.pattern[g]]++, lane = at % SIMD_LANES, K = q * run->n_cell;
    const size_t block = (size_t)(at / SIMD_LANES);
    double *data = run->data + block * (size_t)(K * n_col) * SIMD_LANES + lane;
    stats->group_of_lane[((size_t)run->first_block + block) * SIMD_LANES + (size_t)lane] = g;
    for (int c = 0; c < run->n_cell; c++) {
      const int cell = cells.first_cell[g] + c, level = cells.level[cell];
      const int first = cells.first_row[cell], last = cells.first_row[cell + 1];
      reduce_cell(kernels, &records, q, n_col, first, last, z_one, pivot, chunk, between,
                  stats->within + (size_t)(level * p1 * p1));
      stats->n_rows[level] += last - first;
      run->n_between[(block * (size_t)run->n_cell + (size_t)c) * SIMD_LANES + (size_t)lane] =
          last - first < q ? last - first : q;
      if (last - first > q) stats->n_distinct[level] += last - first - q;
      for (int r = 0; r < q; r++)
        for (int j = 0; j < n_col; j++)
          data[(size_t)((c * q + r) * n_col + j) * SIMD_LANES] = between[r + q * j];
    }
  }
  for (int l = 0; l < n_level; l++) stats->n_within[l] = stats->n_rows[l];
  for (int r = 0; r < stats->n_run; r++)
    for (int c = 0; c < stats->run[r].n_cell; c++)
      stats->n_within[stats->run[r].level[c]] -= (double)q * stats->run[r].n_block * SIMD_LANES;
  if (rows->weight)
    for (int i = 0; i < n; i++)
      stats->log_weight += log(rows->weight[i]) + 2.0 * log(stats->scaling.root_weight_scale);
  return ELBO_OK;
}

/* Adds [X y]'[X y] of the between rows of level l (lower). */
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
