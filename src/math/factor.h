/* Cholesky factor, triangular solves and inverse of large dense matrices, stored by column, by
 * halving: nearly all the work is in product_update(). */
#ifndef ELBO_MATH_FACTOR_H
#define ELBO_MATH_FACTOR_H

#include "math/product.h"
#include "math/status.h"

/* A (n x n, ld apart, lower triangle) to its factor L, A = L L'; the upper is left alone. */
elbo_status factor_cholesky(const product_work *work, int n, double *A, size_t ld);
/* X (m x n, ld apart) to X L'^{-1}, and to X L^{-1}. */
void factor_solve_transposed(const product_work *work, int m, int n, const double *L, size_t ld_L,
                             double *X, size_t ld);
void factor_solve(const product_work *work, int m, int n, const double *L, size_t ld_L, double *X,
                  size_t ld);
/* The inverse of A, both triangles, in place of its factor L (n x n, ld apart): with A in halves
 * (Takahashi, Fagan & Chin 1973), G = L_21 L_11^{-1}, Z_22 = A^{-1}_22 from L_22, Z_21 = -Z_22 G,
 * Z_11 = (L_11 L_11')^{-1} - G' Z_21.  space: factor_inverse_size(n) doubles. */
size_t factor_inverse_size(int n);
void factor_inverse(const product_work *work, int n, double *L, size_t ld, double *space);
/* A (n x n, ld apart, lower triangle) to L^{-1} A L'^{-1}, both triangles. */
void factor_congruence(const product_work *work, int n, const double *L, size_t ld_L, double *A,
                       size_t ld);
/* A (n x n, ld apart): its lower triangle to the upper. */
void factor_mirror(int n, double *A, size_t ld);

#endif
