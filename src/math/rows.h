/* Kernels over blocks of rows, for mixtures: a block has `ld` rows (a multiple of SIMD_LANES, so
 * that lanes are rows), column b at x + ld * b.  Compiled once for each instruction set. */
#ifndef ELBO_MATH_ROWS_H
#define ELBO_MATH_ROWS_H

#include <string.h>

#include "math/simd.h"
#include "math/small.h"

typedef struct {
  /* out[i] += constant - 1/2 sum_a (sum_b M[b + d * a] (x[i + ld b] - centre[b]))^2 for a < rows,
   * b < d; where `lower`, M is lower triangular (rows = d) and only b <= a is read. */
  void (*quadratic)(int ld, int d, const double *x, const double *centre, int rows, int lower,
                    const double *M, double constant, double *out);
  /* stat[a (a + 1) / 2 + b] += sum_i r_i t_ia t_ib, b <= a <= d, with t_i = (1, x_i - centre); no
   * r_i may be negative. */
  void (*crossprod)(int ld, int d, const double *x, const double *centre, const double *r,
                    double *stat);
  /* S[a + n * b] += sum_i z[i + ld * a] z[i + ld * b], b <= a < n. */
  void (*outer)(int ld, int n, const double *z, double *S);
  /* l[i + ld * j], j < k: log densities to probabilities, in place; lse[i] = log sum_j exp l_ij. */
  void (*posterior)(int ld, int k, double *l, double *lse);
  /* Element by element, within 1 unit in the last place or so (stated and tested in
   * test_math_rows.c). */
  void (*exp)(int ld, const double *x, double *out);
  void (*log)(int ld, const double *x, double *out);
  /* y x - total log(1 + e^(x - shift)) and its first and second derivatives by x, total being
   * total_i + extra (total NULL: 1 + extra); `each` predictors a row, one row after the other, a
   * multiple of SIMD_LANES, or 1 where n is. */
  void (*logistic)(int n, int each, const double *y, const double *total, double extra,
                   double shift, const double *x, double *value, double *first, double *second);
} row_kernels;

const row_kernels *row_kernels_current(void);
extern const row_kernels row_kernels_plain, row_kernels_avx2, row_kernels_avx512;

static inline int rows_padded(int n) { return (n + SIMD_LANES - 1) / SIMD_LANES * SIMD_LANES; }

/* out[i + ld * (a (a + 1) / 2 + b)] = t_ia t_ib, b <= a <= d, with t_i = (1, x_i - centre). */
static inline void rows_products(int ld, int d, const double *x, const double *centre,
                                 double *out) {
  for (int i = 0; i < ld; i++) out[i] = 1.0;
  out += ld;
  for (int a = 0; a < d; a++, out += (size_t)ld * ((size_t)a + 1)) {
    double *first = out;
    for (int i = 0; i < ld; i++) first[i] = x[i + ld * a] - centre[a];
    for (int b = 0; b <= a; b++)
      for (int i = 0; i < ld; i++) first[i + ld * (b + 1)] = first[i] * (x[i + ld * b] - centre[b]);
  }
}

/* Rows row .. row + n - 1 of x (n_row x d) to a block, padded with copies of its last row. */
static inline void rows_load(const double *x, size_t n_row, int d, size_t row, int n, int ld,
                             double *block) {
  for (int b = 0; b < d; b++, block += ld) {
    const double *from = x + n_row * (size_t)b + row;
    memcpy(block, from, (size_t)n * sizeof(double));
    for (int i = n; i < ld; i++) block[i] = from[n - 1];
  }
}

#endif
