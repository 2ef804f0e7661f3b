/* Small dense linear algebra over BLAS and LAPACK.  Matrices are stored by column. */
#ifndef ELBO_MATH_LA_H
#define ELBO_MATH_LA_H

#include "math/status.h"

/* In place Cholesky A = L L' (lower; the strict upper triangle is set to zero). */
elbo_status la_chol(double *A, int n);
/* L from A = L L' for A positive semidefinite: pivots below tol * max diag become zero columns. */
void la_chol_semidefinite(const double *A, int n, double tol, double *L);
/* A^{-1} from its lower Cholesky factor, both triangles filled; L is overwritten. */
elbo_status la_inverse_from_chol(double *L, int n);
/* x from A x = b for symmetric positive semidefinite A (n x n), by the Cholesky factor of A with
 * unit diagonal; a column that depends on those before it (up to 1e-11 of its length squared) has
 * x = 0.  unit (n), L and inverse (n x n) are overwritten. */
void la_solve_semidefinite(const double *A, const double *b, int n, double *unit, double *L,
                           double *inverse, double *x);
/* Inverse of lower triangular L; a zero on the diagonal (its column of L is zero) leaves a row and
 * a column of zeros. */
void la_lower_inverse(const double *L, int n, double *inverse);
/* 2 sum log L_ii. */
double la_log_det_from_chol(const double *L, int n);
/* Eigen-decomposition of symmetric A: values ascending, A overwritten by the vectors.
 * work: la_eigen_size(n) doubles. */
size_t la_eigen_size(int n);
elbo_status la_eigen(double *A, int n, double *values, double *work);
/* C (m x n) = A (m x k) B (k x n). */
void la_multiply(const double *A, const double *B, int m, int k, int n, double *C);
/* C (m x n) = A (m x k) B' with B n x k. */
void la_multiply_t(const double *A, const double *B, int m, int k, int n, double *C);
/* The largest |x_i|, missing values (NaN) aside. */
double la_largest(const double *x, size_t n);
/* x' A x for symmetric A. */
double la_quadratic(const double *A, const double *x, int n);
/* A_ij / sqrt(A_ii A_jj) of a covariance, n x n, within [-1, 1] whatever is rounded; 0 where a
 * variance is zero. */
double la_correlation(const double *A, int n, int i, int j);

#endif
