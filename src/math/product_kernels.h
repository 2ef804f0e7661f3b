/* The kernels of math/product.h: included by product_{plain,avx2,avx512}.c, which define
 * SIMD_TARGET (a function attribute), SIMD_NAME(x), SIMD_WIDTH (doubles in a vector), TILE_VECTORS
 * (vectors that the rows of a tile fill) and TILE_COLUMNS: as many as registers hold. */

#include "math/product.h"

#define KERNEL static SIMD_TARGET

typedef double vec __attribute__((vector_size(8 * SIMD_WIDTH), aligned(8), may_alias));

enum { TILE_ROWS = TILE_VECTORS * SIMD_WIDTH };

/* One column of the tile: its sums, and what a step, and the end, do to it.  Written out, since
 * compilers keep in registers what has a name. */
#if TILE_VECTORS == 3
#define SUMS(j) vec c0##j = {0}, c1##j = {0}, c2##j = {0};
#define LOAD_A \
  const vec a0 = ((const vec *)a)[0], a1 = ((const vec *)a)[1], a2 = ((const vec *)a)[2];
#define STEP(j)              \
  {                          \
    const double b_j = b[j]; \
    c0##j += a0 * b_j;       \
    c1##j += a1 * b_j;       \
    c2##j += a2 * b_j;       \
  }
#define ADD(j)                     \
  {                                \
    vec *to = (vec *)(C + ld * j); \
    to[0] += alpha * c0##j;        \
    to[1] += alpha * c1##j;        \
    to[2] += alpha * c2##j;        \
  }
#else
#define SUMS(j) vec c0##j = {0}, c1##j = {0};
#define LOAD_A const vec a0 = ((const vec *)a)[0], a1 = ((const vec *)a)[1];
#define STEP(j)              \
  {                          \
    const double b_j = b[j]; \
    c0##j += a0 * b_j;       \
    c1##j += a1 * b_j;       \
  }
#define ADD(j)                     \
  {                                \
    vec *to = (vec *)(C + ld * j); \
    to[0] += alpha * c0##j;        \
    to[1] += alpha * c1##j;        \
  }
#endif
#if TILE_COLUMNS == 8
#define ALL_COLUMNS(what) what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7)
#else
#define ALL_COLUMNS(what) what(0) what(1) what(2) what(3)
#endif

KERNEL void SIMD_NAME(tile)(int k, double alpha, const double *a, const double *b, double *C,
                            size_t ld) {
  ALL_COLUMNS(SUMS)
  for (int l = 0; l < k; l++, a += TILE_ROWS, b += TILE_COLUMNS) {
    LOAD_A
    ALL_COLUMNS(STEP)
  }
  ALL_COLUMNS(ADD)
}

/* Column j of X after those it depends on: before it by L', after it by L. */
KERNEL void SIMD_NAME(solve)(int m, int n, const double *L, size_t ld_L, int transposed, double *X,
                             size_t ld) {
  enum { SIDE = 4, STRIP = SIDE * SIMD_WIDTH };
  for (int step = 0; step < n; step++) {
    const int j = transposed ? step : n - 1 - step;
    const int from = transposed ? 0 : j + 1, to = transposed ? j : n;
    const double inverse = 1.0 / L[(size_t)j + ld_L * (size_t)j];
    double *x = X + ld * (size_t)j;
    int i = 0;
    for (; i + STRIP <= m; i += STRIP) {
      vec *at = (vec *)(x + i), s0 = at[0], s1 = at[1], s2 = at[2], s3 = at[3];
      for (int l = from; l < to; l++) {
        const double c =
            transposed ? L[(size_t)j + ld_L * (size_t)l] : L[(size_t)l + ld_L * (size_t)j];
        const vec *y = (const vec *)(X + ld * (size_t)l + i);
        s0 -= c * y[0];
        s1 -= c * y[1];
        s2 -= c * y[2];
        s3 -= c * y[3];
      }
      at[0] = s0 * inverse;
      at[1] = s1 * inverse;
      at[2] = s2 * inverse;
      at[3] = s3 * inverse;
    }
    for (; i < m; i++) {
      double s = x[i];
      for (int l = from; l < to; l++)
        s -= (transposed ? L[(size_t)j + ld_L * (size_t)l] : L[(size_t)l + ld_L * (size_t)j]) *
             X[ld * (size_t)l + (size_t)i];
      x[i] = s * inverse;
    }
  }
}

#define KERNEL_TABLE \
  { TILE_ROWS, TILE_COLUMNS, SIMD_NAME(tile), SIMD_NAME(solve) }
