#include "math/factor.h"

#include <math.h>
#include <string.h>

#include "math/small.h"

enum { SMALL = 32 }; /* where halving ends */

/* The first half, in multiples of SMALL, so that what is small is as large as it may be. */
static int half(int n) { return (n / 2 + SMALL - 1) / SMALL * SMALL; }

static product_view by_column(const double *at, size_t ld) { return (product_view){at, 1, ld}; }
static product_view by_row(const double *at, size_t ld) { return (product_view){at, ld, 1}; }

static elbo_status small_cholesky(int n, double *A, size_t ld) {
  for (int j = 0; j < n; j++) {
    double *a = A + ld * (size_t)j;
    for (int l = 0; l < j; l++) {
      const double *b = A + ld * (size_t)l, c = b[j];
      for (int i = j; i < n; i++) a[i] -= c * b[i];
    }
    if (!(a[j] > 0.0) || !isfinite(a[j])) return ELBO_E_NOT_PD;
    const double pivot = sqrt(a[j]);
    a[j] = pivot;
    for (int i = j + 1; i < n; i++) a[i] /= pivot;
  }
  return ELBO_OK;
}

elbo_status factor_cholesky(const product_work *work, int n, double *A, size_t ld) {
  if (n <= SMALL) return small_cholesky(n, A, ld);
  const int n1 = half(n), n2 = n - n1;
  double *A21 = A + n1, *A22 = A21 + ld * (size_t)n1;
  const elbo_status status = factor_cholesky(work, n1, A, ld);
  if (status != ELBO_OK) return status;
  factor_solve_transposed(work, n2, n1, A, ld, A21, ld);
  product_update(work, 1, n2, n2, n1, -1.0, by_column(A21, ld), by_column(A21, ld), A22, ld);
  return factor_cholesky(work, n2, A22, ld);
}

void factor_solve_transposed(const product_work *work, int m, int n, const double *L, size_t ld_L,
                             double *X, size_t ld) {
  if (n <= SMALL) {
    work->kernels->solve(m, n, L, ld_L, 1, X, ld);
    return;
  }
  const int n1 = half(n), n2 = n - n1;
  double *X2 = X + ld * (size_t)n1;
  factor_solve_transposed(work, m, n1, L, ld_L, X, ld);
  product_update(work, 0, m, n2, n1, -1.0, by_column(X, ld), by_column(L + n1, ld_L), X2, ld);
  factor_solve_transposed(work, m, n2, L + n1 + ld_L * (size_t)n1, ld_L, X2, ld);
}

void factor_solve(const product_work *work, int m, int n, const double *L, size_t ld_L, double *X,
                  size_t ld) {
  if (n <= SMALL) {
    work->kernels->solve(m, n, L, ld_L, 0, X, ld);
    return;
  }
  const int n1 = half(n), n2 = n - n1;
  double *X2 = X + ld * (size_t)n1;
  factor_solve(work, m, n2, L + n1 + ld_L * (size_t)n1, ld_L, X2, ld);
  product_update(work, 0, m, n1, n2, -1.0, by_column(X2, ld), by_row(L + n1, ld_L), X, ld);
  factor_solve(work, m, n1, L, ld_L, X, ld);
}

/* L^{-1} by columns (lower), then its L'^{-1} L^{-1}. */
static void small_inverse(int n, double *L, size_t ld) {
  double X[SMALL * SMALL];
  for (int j = 0; j < n; j++) {
    double *x = X + SMALL * j;
    for (int i = j; i < n; i++) x[i] = i == j ? 1.0 : 0.0;
    for (int l = j; l < n; l++) {
      const double *b = L + ld * (size_t)l;
      x[l] /= b[l];
      for (int i = l + 1; i < n; i++) x[i] -= x[l] * b[i];
    }
  }
  for (int j = 0; j < n; j++)
    for (int i = j; i < n; i++)
      L[(size_t)i + ld * (size_t)j] = dot(X + SMALL * i + i, X + SMALL * j + i, n - i);
}

void factor_mirror(int n, double *A, size_t ld) {
  enum { PATCH = 32 }; /* both sides of the diagonal stay in cache */
  for (int J = 0; J < n; J += PATCH)
    for (int I = J; I < n; I += PATCH)
      for (int j = J; j < smaller(J + PATCH, n); j++)
        for (int i = larger(I, j + 1); i < smaller(I + PATCH, n); i++)
          A[(size_t)j + ld * (size_t)i] = A[(size_t)i + ld * (size_t)j];
}

size_t factor_inverse_size(int n) {
  if (n <= SMALL) return 1;
  const size_t here = (size_t)half(n) * (size_t)(n - half(n)), below = factor_inverse_size(half(n));
  return here > below ? here : below;
}

/* Both triangles of what is larger than SMALL hold the answer. */
void factor_inverse(const product_work *work, int n, double *L, size_t ld, double *space) {
  if (n <= SMALL) {
    small_inverse(n, L, ld);
    factor_mirror(n, L, ld);
    return;
  }
  const int n1 = half(n), n2 = n - n1;
  double *G = L + n1, *Z22 = G + ld * (size_t)n1, *Z21 = space;
  factor_solve(work, n2, n1, L, ld, G, ld);
  factor_inverse(work, n1, L, ld, space);
  factor_inverse(work, n2, Z22, ld, space);
  memset(Z21, 0, (size_t)n1 * (size_t)n2 * sizeof(double));
  product_update(work, 0, n2, n1, n2, -1.0, by_column(Z22, ld), by_row(G, ld), Z21, (size_t)n2);
  product_update(work, 1, n1, n1, n2, -1.0, by_row(G, ld), by_row(Z21, (size_t)n2), L, ld);
  for (int j = 0; j < n1; j++)
    memcpy(G + ld * (size_t)j, Z21 + (size_t)n2 * (size_t)j, (size_t)n2 * sizeof(double));
  factor_mirror(n, L, ld);
}

static void transpose(int n, double *A, size_t ld) {
  for (int j = 0; j < n; j++)
    for (int i = j + 1; i < n; i++) {
      const double kept = A[(size_t)i + ld * (size_t)j];
      A[(size_t)i + ld * (size_t)j] = A[(size_t)j + ld * (size_t)i];
      A[(size_t)j + ld * (size_t)i] = kept;
    }
}

void factor_congruence(const product_work *work, int n, const double *L, size_t ld_L, double *A,
                       size_t ld) {
  if (n <= SMALL) {
    factor_mirror(n, A, ld);
    for (int side = 0; side < 2; side++) {
      work->kernels->solve(n, n, L, ld_L, 1, A, ld);
      transpose(n, A, ld);
    }
    return;
  }
  const int n1 = half(n), n2 = n - n1;
  const double *L21 = L + n1, *L22 = L21 + ld_L * (size_t)n1;
  double *A21 = A + n1, *A12 = A + ld * (size_t)n1, *A22 = A12 + n1;
  const product_view l = by_column(L21, ld_L), a = by_column(A21, ld), a11 = by_column(A, ld);
  factor_congruence(work, n1, L, ld_L, A, ld);
  factor_solve_transposed(work, n2, n1, L, ld_L, A21, ld);
  for (int pass = 0; pass < 2; pass++) { /* half of it on either side of the update */
    product_update(work, 0, n2, n1, n1, -0.5, l, a11, A21, ld);
    if (pass > 0) break;
    product_update(work, 1, n2, n2, n1, -1.0, l, a, A22, ld);
    product_update(work, 1, n2, n2, n1, -1.0, a, l, A22, ld);
  }
  for (int j = 0; j < n1; j++)
    for (int i = 0; i < n2; i++) A12[(size_t)j + ld * (size_t)i] = A21[(size_t)i + ld * (size_t)j];
  factor_solve_transposed(work, n1, n2, L22, ld_L, A12, ld);
  for (int i = 0; i < n2; i++)
    for (int j = 0; j < n1; j++) A21[(size_t)i + ld * (size_t)j] = A12[(size_t)j + ld * (size_t)i];
  factor_congruence(work, n2, L22, ld_L, A22, ld);
}
