/* What is done at every row and node of a group, compiled for each instruction set.  Arrays over
 * nodes have n columns, a multiple of SIMD_LANES, row i at x + n * i. */
#ifndef ELBO_GENERAL_NODES_H
#define ELBO_GENERAL_NODES_H

#include <stddef.h>

#include "math/simd.h"

typedef struct {
  /* x_ik = b_i + sum_c a_ic v_ck; a: rows x q, by row. */
  void (*predictors)(int rows, int q, int n, const double *b, const double *a, const double *v,
                     double *x);
  /* sum_k += sum_i weight_i x_ik; weight NULL: 1. */
  void (*add_rows)(int rows, int n, const double *weight, const double *x, double *sum);
  /* out_jk = sum_i A_ij weight_i x_ik; A: rows x m, by row. */
  void (*cross)(int rows, int m, int n, const double *A, const double *weight, const double *x,
                double *out);
  /* To the moments of each row: sum_k e_k first_ik, and where second_order sum_k e_k second_ik
   * times 1, v, v v'. */
  void (*moments)(int rows, int q, int n, int second_order, const double *e, const double *v,
                  const double *first, const double *second, double *moment);
  /* S_ab += sum_k e_k x_ak x_bk, b <= a < m. */
  void (*products)(int m, int n, const double *e, const double *x, double *S);
} node_kernels;

const node_kernels *node_kernels_current(void);
extern const node_kernels node_kernels_plain, node_kernels_avx2, node_kernels_avx512;

#endif
