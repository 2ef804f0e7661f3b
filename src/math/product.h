/* Products of dense matrices, stored by column: C += alpha A B' through a micro-kernel written once
 * and compiled for each instruction set.  Reference BLAS, which many R have, stays at 4 GFLOP/s
 * in any tiling; Goto & van de Geijn (2008) say why packing and a tile in registers do not. */
#ifndef ELBO_MATH_PRODUCT_H
#define ELBO_MATH_PRODUCT_H

#include <stddef.h>

#include "math/simd.h"

typedef struct {
  int rows, columns; /* of the tile of C that stays in registers */
  /* C (rows x columns, ld apart) += alpha sum_k a_k b_k', a and b packed: rows, or columns, numbers
   * for each k. */
  void (*tile)(int k, double alpha, const double *a, const double *b, double *C, size_t ld);
  /* X (m x n) to X L'^{-1} (transposed), or to X L^{-1}: L n x n, lower, n small. */
  void (*solve)(int m, int n, const double *L, size_t ld_L, int transposed, double *X, size_t ld);
} product_kernels;

const product_kernels *product_kernels_current(void);
extern const product_kernels product_kernels_plain, product_kernels_avx2, product_kernels_avx512;

/* Where blocks of A and B are packed, and how many threads may work. */
typedef struct {
  const product_kernels *kernels;
  int threads;
  double *a, *b;
} product_work;

size_t product_work_size(int threads); /* doubles */
void product_work_bind(product_work *work, int threads, double *memory);

/* A matrix seen through strides: entry (i, k) at at[i * row + k * column], so that a transpose is
 * the two exchanged. */
typedef struct {
  const double *at;
  size_t row, column;
} product_view;

/* C (m x n, ld apart) += alpha A (m x k) B' (B n x k); where `lower`, only on and below the
 * diagonal of C.  The same bits for any number of threads. */
void product_update(const product_work *work, int lower, int m, int n, int k, double alpha,
                    product_view A, product_view B, double *C, size_t ld);

#endif
