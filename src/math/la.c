#include "math/la.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "math/small.h"

#define USE_FC_LEN_T
#include <Rconfig.h>
#include <R_ext/BLAS.h>
#include <R_ext/Lapack.h>
#ifndef FCONE
#define FCONE
#endif

double *elbo_doubles(const elbo_memory *mem, size_t n) {
  return (double *)mem->get(mem->ctx, (n > 0 ? n : 1) * sizeof(double));
}

int *elbo_ints(const elbo_memory *mem, size_t n) {
  return (int *)mem->get(mem->ctx, (n > 0 ? n : 1) * sizeof(int));
}

elbo_status la_chol(double *A, int n) {
  int info = 0;
  if (n == 0) return ELBO_OK;
  F77_CALL(dpotrf)("L", &n, A, &n, &info FCONE);
  if (info != 0) return ELBO_E_NOT_PD;
  for (int j = 1; j < n; j++)
    for (int i = 0; i < j; i++) A[i + n * j] = 0.0;
  return ELBO_OK;
}

void la_chol_semidefinite(const double *A, int n, double tol, double *L) {
  double largest = 0.0;
  for (int j = 0; j < n; j++) largest = fmax(largest, A[j + n * j]);
  memset(L, 0, square(n) * sizeof(double));
  for (int j = 0; j < n; j++) {
    double pivot = A[j + n * j];
    for (int k = 0; k < j; k++) pivot -= L[j + n * k] * L[j + n * k];
    if (!(pivot > tol * largest)) continue;
    L[j + n * j] = sqrt(pivot);
    for (int i = j + 1; i < n; i++) {
      double sum = A[i + n * j];
      for (int k = 0; k < j; k++) sum -= L[i + n * k] * L[j + n * k];
      L[i + n * j] = sum / L[j + n * j];
    }
  }
}

void la_solve_semidefinite(const double *A, const double *b, int n, double *unit, double *L,
                           double *inverse, double *x) {
  for (int a = 0; a < n; a++) unit[a] = A[a + n * a] > 0.0 ? 1.0 / sqrt(A[a + n * a]) : 0.0;
  for (int a = 0; a < n; a++)
    for (int c = 0; c < n; c++) inverse[c + n * a] = A[c + n * a] * unit[a] * unit[c];
  la_chol_semidefinite(inverse, n, 1e-11, L);
  la_lower_inverse(L, n, inverse);
  memset(x, 0, (size_t)n * sizeof(double));
  for (int a = 0; a < n; a++) {
    double sum = 0.0;
    for (int c = 0; c <= a; c++) sum += inverse[a + n * c] * unit[c] * b[c];
    for (int c = 0; c <= a; c++) x[c] += inverse[a + n * c] * unit[c] * sum;
  }
}

elbo_status la_inverse_from_chol(double *L, int n) {
  int info = 0;
  if (n == 0) return ELBO_OK;
  F77_CALL(dpotri)("L", &n, L, &n, &info FCONE);
  if (info != 0) return ELBO_E_NOT_PD;
  fill_upper(L, n);
  return ELBO_OK;
}

void la_lower_inverse(const double *L, int n, double *inverse) {
  memset(inverse, 0, square(n) * sizeof(double));
  for (int j = 0; j < n; j++) {
    if (L[j + n * j] == 0.0) continue;
    inverse[j + n * j] = 1.0 / L[j + n * j];
    for (int i = j + 1; i < n; i++) {
      double sum = 0.0;
      if (L[i + n * i] == 0.0) continue;
      for (int k = j; k < i; k++) sum -= L[i + n * k] * inverse[k + n * j];
      inverse[i + n * j] = sum / L[i + n * i];
    }
  }
}

double la_log_det_from_chol(const double *L, int n) {
  double sum = 0.0;
  for (int j = 0; j < n; j++) sum += log(L[j + n * j]);
  return 2.0 * sum;
}

size_t la_eigen_size(int n) { return 34 * (size_t)(n > 0 ? n : 1); }

elbo_status la_eigen(double *A, int n, double *values, double *work) {
  int info = 0, size = (int)la_eigen_size(n);
  if (n == 0) return ELBO_OK;
  F77_CALL(dsyev)("V", "L", &n, A, &n, values, work, &size, &info FCONE FCONE);
  return info == 0 ? ELBO_OK : ELBO_E_NOT_FINITE;
}

void la_multiply(const double *A, const double *B, int m, int k, int n, double *C) {
  for (int j = 0; j < n; j++) {
    double *column = C + (size_t)m * (size_t)j;
    for (int i = 0; i < m; i++) column[i] = 0.0;
    for (int l = 0; l < k; l++) {
      const double *a = A + (size_t)m * (size_t)l, b = B[l + k * j];
      for (int i = 0; i < m; i++) column[i] += a[i] * b;
    }
  }
}

void la_multiply_t(const double *A, const double *B, int m, int k, int n, double *C) {
  for (int j = 0; j < n; j++)
    for (int i = 0; i < m; i++) {
      double sum = 0.0;
      for (int l = 0; l < k; l++) sum += A[i + m * l] * B[j + n * l];
      C[i + m * j] = sum;
    }
}

double la_largest(const double *x, size_t n) {
  double largest = 0.0;
  for (size_t i = 0; i < n; i++) {
    const double size = fabs(x[i]);
    largest = size > largest ? size : largest;
  }
  return largest;
}

double la_correlation(const double *A, int n, int i, int j) {
  const double scale = sqrt(A[i + n * i]) * sqrt(A[j + n * j]);
  return scale > 0.0 ? fmax(-1.0, fmin(1.0, A[i + n * j] / scale)) : 0.0;
}

double la_quadratic(const double *A, const double *x, int n) {
  double sum = 0.0;
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) sum += x[i] * A[i + n * j] * x[j];
  return sum;
}
