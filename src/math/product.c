/* Packing and the loops around the micro-kernel. */
#include "math/product.h"

#include <stdint.h>

#include "math/small.h"
#include "math/threads.h"

/* A block of A (BLOCK_ROWS x DEPTH) stays in the second cache, a strip of B (DEPTH x a tile's
 * columns) in the first.  BLOCK_ROWS and BLOCK_COLUMNS are multiples of every tile's. */
enum { DEPTH = 256, BLOCK_ROWS = 192, BLOCK_COLUMNS = 768, MOST_TILE = 24 * 8, LINE = 8 };

static const double WORTH_THREADS = 4e6; /* multiplications that pay for waking threads */

size_t product_work_size(int threads) {
  return (size_t)DEPTH * (BLOCK_COLUMNS + (size_t)threads * BLOCK_ROWS) + LINE;
}

void product_work_bind(product_work *work, int threads, double *memory) {
  const uintptr_t line = LINE * sizeof(double);
  const uintptr_t past = (uintptr_t)memory % line;
  work->kernels = product_kernels_current();
  work->threads = threads;
  work->b = memory + (past == 0 ? 0 : (line - past) / sizeof(double));
  work->a = work->b + (size_t)DEPTH * BLOCK_COLUMNS;
}

/* n rows of V from `row`, k columns from `column`, to strips of `width` rows; zeros at the end. */
static void pack(product_view V, int row, int n, int column, int k, int width, double *out) {
  const double *from = V.at + V.row * (size_t)row + V.column * (size_t)column;
  for (int i = 0; i < n; i += width, from += V.row * (size_t)width) {
    const int rows = smaller(width, n - i);
    for (int l = 0; l < k; l++, out += width) {
      const double *v = from + V.column * (size_t)l;
      if (V.row == 1)
        for (int r = 0; r < rows; r++) out[r] = v[r];
      else
        for (int r = 0; r < rows; r++) out[r] = v[V.row * (size_t)r];
      for (int r = rows; r < width; r++) out[r] = 0.0;
    }
  }
}

/* The tile of C with its first entry at (i, j), which reaches over an edge, or over the diagonal:
 * made aside, then added where it is wanted. */
static void edge_tile(const product_kernels *kernels, int lower, int i, int j, int m, int n, int k,
                      double alpha, const double *a, const double *b, double *C, size_t ld) {
  double tile[MOST_TILE] = {0};
  kernels->tile(k, alpha, a, b, tile, (size_t)kernels->rows);
  const int columns = smaller(kernels->columns, n - j), rows = smaller(kernels->rows, m - i);
  for (int c = 0; c < columns; c++) {
    double *to = C + ld * (size_t)(j + c);
    for (int r = lower && j + c > i ? j + c - i : 0; r < rows; r++)
      to[i + r] += tile[r + kernels->rows * c];
  }
}

typedef struct {
  int lower, m, n, k; /* of C, and the depth of what is packed */
  double alpha;
  double *C;
  size_t ld;
} target;

/* Rows row .. row + rows - 1 of C, columns column .. column + columns - 1, by packed a and b. */
static void block_update(const product_kernels *kernels, const target *t, int row, int rows,
                         int column, int columns, const double *a, const double *b) {
  for (int j = column; j < column + columns; j += kernels->columns, b += kernels->columns * t->k) {
    const double *strip = a;
    for (int i = row; i < row + rows; i += kernels->rows, strip += kernels->rows * t->k) {
      if (t->lower && i + kernels->rows <= j) continue;
      const int inside = i + kernels->rows <= t->m && j + kernels->columns <= t->n;
      if (inside && (!t->lower || i >= j + kernels->columns - 1))
        kernels->tile(t->k, t->alpha, strip, b, t->C + (size_t)i + t->ld * (size_t)j, t->ld);
      else
        edge_tile(kernels, t->lower, i, j, t->m, t->n, t->k, t->alpha, strip, b, t->C, t->ld);
    }
  }
}

void product_update(const product_work *work, int lower, int m, int n, int k, double alpha,
                    product_view A, product_view B, double *C, size_t ld) {
  const product_kernels *kernels = work->kernels;
  const int worth = (double)m * n * k > WORTH_THREADS;
  const int threads = worth ? threads_for(work->threads, (m + BLOCK_ROWS - 1) / BLOCK_ROWS) : 1;
  (void)threads;
  for (int column = 0; column < n; column += BLOCK_COLUMNS) {
    const int columns = smaller(BLOCK_COLUMNS, n - column);
    const int first = lower ? column / BLOCK_ROWS * BLOCK_ROWS : 0;
    for (int at = 0; at < k; at += DEPTH) {
      const target t = {lower, m, n, smaller(DEPTH, k - at), alpha, C, ld};
#ifdef _OPENMP
#pragma omp parallel num_threads(threads) if (threads > 1)
#endif
      {
        double *a = work->a + (size_t)DEPTH * BLOCK_ROWS * (size_t)threads_this();
#ifdef _OPENMP
#pragma omp for schedule(static)
#endif
        for (int j = 0; j < columns; j += kernels->columns)
          pack(B, column + j, smaller(kernels->columns, columns - j), at, t.k, kernels->columns,
               work->b + (size_t)t.k * (size_t)j);
#ifdef _OPENMP
#pragma omp for schedule(dynamic)
#endif
        for (int row = first; row < m; row += BLOCK_ROWS) {
          const int rows = smaller(BLOCK_ROWS, m - row);
          pack(A, row, rows, at, t.k, kernels->rows, a);
          block_update(kernels, &t, row, rows, column, columns, a, work->b);
        }
      }
    }
  }
}
