/* The rows of a group at a level, sorted and rotated.
 *
 * Accuracy.  Within a cell, columns are shifted by the cell's first row where Z has an intercept,
 * which is exact for neighbouring numbers; the shift is kept as the pivot of the cell, since
 * Z e = 1 implies Q'(c 1) = c R e, so that it can be added back to the between rows, where it
 * belongs.  The cell is rotated by Householder reflections, so the within cross-products are sums
 * of squares of residuals, never differences of large sums.  A cell of many rows is rotated a chunk
 * at a time, its q rows so far on top of the next chunk. */
#include "glmm/cells.h"

#include <math.h>
#include <string.h>

#include "glmm/groups.h"
#include "glmm/survey.h"
#include "math/small.h"

enum { CHUNK = 512 };

/* ---- cells ----------------------------------------------------------------------------------- */

static int cell_of_row(const lmm_cells *cells, const lmm_rows *rows, int i) {
  return cells->of_row ? cells->of_row[i] : rows->group[i] - 1;
}

/* Cells where groups have several levels: rows are visited by level, and a group gets a new cell
 * whenever its level is new. */
static void cells_by_level(lmm_cells *cells, const lmm_rows *rows, const elbo_memory *mem) {
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

void lmm_find_cells(lmm_cells *cells, const lmm_rows *rows, const elbo_memory *mem) {
  const int n = rows->n, m = rows->m;
  memset(cells, 0, sizeof *cells);
  cells->first_cell = elbo_ints(mem, (size_t)m + 1);
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

static void make_records(record_table *records, const lmm_rows *rows, const lmm_columns *columns,
                         const lmm_cells *cells, const elbo_memory *mem) {
  const int n = rows->n, n_col = rows->q + rows->p + 1;
  const double **column = (const double **)mem->get(mem->ctx, (size_t)n_col * sizeof(double *));
  double *shift = elbo_doubles(mem, (size_t)n_col), *scale = elbo_doubles(mem, (size_t)n_col);
  int *next = elbo_ints(mem, (size_t)cells->n_cell), n_var = 0;
  records->at = elbo_ints(mem, (size_t)n_col);
  for (int c = 0; c < n_col; c++) {
    records->at[c] = -1;
    if (columns->one[c]) continue;
    column[n_var] = lmm_column(rows, c);
    shift[n_var] = columns->shift[c];
    scale[n_var] = columns->scale[c];
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
    if (rows->weight) record[n_var] = sqrt(rows->weight[i]) * columns->root_weight_scale;
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

/* The q between rows of a cell about its pivot, and its within cross-products (added). */
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
  for (int r = 0; r < q; r++)
    for (int c = 0; c < n_col; c++)
      *between++ = r < top ? chunk[(size_t)stride * (size_t)c + (size_t)r] : 0.0;
}

void lmm_reduce_cells(const lmm_rows *rows, const lmm_cells *cells, const lmm_columns *columns,
                      const lmm_reduced *out, const elbo_memory *mem) {
  const int q = rows->q, n_col = q + rows->p + 1;
  const size_t level_size = square(rows->p + 1), cell_size = (size_t)q * (size_t)n_col;
  record_table records = {0};
  make_records(&records, rows, columns, cells, mem);
  double *chunk = elbo_doubles(mem, (size_t)(CHUNK + q) * (size_t)n_col);
  double *none = elbo_doubles(mem, (size_t)n_col), *pivot = out->pivot, *between = out->between;
  for (int c = 0; c < cells->n_cell; c++) {
    const int first = cells->first_row[c], last = cells->first_row[c + 1];
    if (first == last) continue;
    reduce_cell(lmm_kernels_current(), &records, q, n_col, first, last, columns->z_one,
                columns->z_one < 0 ? none : pivot, chunk, between,
                out->within + level_size * (size_t)cells->level[c]);
    between += cell_size;
    if (columns->z_one >= 0) pivot += n_col;
  }
}
