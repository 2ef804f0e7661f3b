/* Products, factors, solves and inverses of large dense matrices, by every instruction set that
 * the processor has, against LAPACK's and BLAS's of random matrices. */
#include "math/factor.h"

#include <string.h>

#include "math/la.h"
#include "math/small.h"
#include "reference.h"

static product_work new_work(int threads) {
  product_work work;
  product_work_bind(&work, threads, new_doubles((int)product_work_size(threads)));
  return work;
}

static double *random_matrix(int n) {
  double *A = new_doubles(n);
  for (int i = 0; i < n; i++) A[i] = random_normal();
  return A;
}

/* I + B B' / n, n x n. */
static double *random_definite(int n) {
  double *B = random_matrix(n * n), *A = new_doubles(n * n);
  la_multiply_t(B, B, n, n, n, A);
  for (int i = 0; i < n * n; i++) A[i] = A[i] / n + (i % (n + 1) == 0 ? 1.0 : 0.0);
  return A;
}

/* Entries are sums of k products of normals: rounding of k eps sqrt(k) or so, k <= 600. */
static void test_product(int m, int n, int k) {
  const product_work work = new_work(1);
  const int ld = m + 3;
  double *A = random_matrix(m * k), *B = random_matrix(n * k), *C = random_matrix(ld * n);
  double *product = new_doubles(m * n), *expected = copy_doubles(C, ld * n);
  double *At = new_doubles(m * k), *Bt = new_doubles(n * k), *D = copy_doubles(C, ld * n);
  la_multiply_t(A, B, m, k, n, product);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < m; i++) expected[i + ld * j] -= 0.5 * product[i + m * j];
  const product_view a = {A, 1, (size_t)m}, b = {B, 1, (size_t)n};
  product_update(&work, 0, m, n, k, -0.5, a, b, C, (size_t)ld);
  CHECK(distance(C, expected, ld * n) < 1e-13);
  for (int l = 0; l < k; l++) {
    for (int i = 0; i < m; i++) At[l + k * i] = A[i + m * l];
    for (int i = 0; i < n; i++) Bt[l + k * i] = B[i + n * l];
  }
  const product_view at = {At, (size_t)k, 1}, bt = {Bt, (size_t)k, 1};
  product_update(&work, 0, m, n, k, -0.5, at, bt, D, (size_t)ld);
  CHECK(distance(D, expected, ld * n) < 1e-13);
  test_free();
}

static void test_products(void) {
  static const int shape[][3] = {{1, 1, 1},      {7, 5, 3},       {24, 8, 256},  {25, 9, 257},
                                 {193, 190, 70}, {400, 100, 300}, {50, 800, 600}};
  for (int s = 0; s < 7; s++) test_product(shape[s][0], shape[s][1], shape[s][2]);
}

/* Below the diagonal as without `lower`, above it untouched. */
static void test_lower(int n, int k) {
  const product_work work = new_work(1);
  double *A = random_matrix(n * k), *C = random_matrix(n * n), *D = copy_doubles(C, n * n);
  double *expected = copy_doubles(C, n * n);
  const product_view a = {A, 1, (size_t)n};
  product_update(&work, 0, n, n, k, 1.0, a, a, D, (size_t)n);
  product_update(&work, 1, n, n, k, 1.0, a, a, C, (size_t)n);
  for (int j = 0; j < n; j++)
    for (int i = j; i < n; i++) expected[i + n * j] = D[i + n * j];
  CHECK(distance(C, expected, n * n) == 0.0);
  test_free();
}

/* L L' is A, X L' and X L give back what was solved, Z A is the identity; the upper triangle of
 * the factor and what lies between columns (ld = n + 2) is left alone. */
static void test_factor(int n) {
  const product_work work = new_work(1);
  const int ld = n + 2, m = 45;
  double *A = random_definite(n), *L = new_doubles(ld * n), *expected = copy_doubles(A, n * n);
  double *B = random_matrix(m * n), *X = copy_doubles(B, m * n), *Y = copy_doubles(B, m * n);
  double *lower = new_doubles(n * n), *product = new_doubles(larger(m, n) * n);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < ld; i++) L[i + ld * j] = i < j || i >= n ? 7.0 : A[i + n * j];
  CHECK(factor_cholesky(&work, n, L, (size_t)ld) == ELBO_OK);
  CHECK(la_chol(expected, n) == ELBO_OK);
  for (int j = 0; j < n; j++)
    for (int i = j; i < n; i++) lower[i + n * j] = L[i + ld * j];
  CHECK(distance(lower, expected, n * n) < 1e-13);
  int touched = 0;
  for (int j = 0; j < n; j++)
    for (int i = 0; i < ld; i++) touched += (i < j || i >= n) && L[i + ld * j] != 7.0;
  CHECK(touched == 0);
  factor_solve_transposed(&work, m, n, L, (size_t)ld, X, (size_t)m);
  la_multiply_t(X, lower, m, n, n, product);
  CHECK(distance(product, B, m * n) < 1e-13);
  factor_solve(&work, m, n, L, (size_t)ld, Y, (size_t)m);
  la_multiply(Y, lower, m, n, n, product);
  CHECK(distance(product, B, m * n) < 1e-13);
  factor_inverse(&work, n, L, (size_t)ld, new_doubles((int)factor_inverse_size(n)));
  CHECK(la_inverse_from_chol(expected, n) == ELBO_OK);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) lower[i + n * j] = L[i + ld * j];
  CHECK(distance(lower, expected, n * n) < 1e-13);
  test_free();
}

/* L (L^{-1} A L'^{-1}) L' is A. */
static void test_congruence(int n) {
  const product_work work = new_work(1);
  const size_t N = (size_t)n;
  double *L = random_definite(n), *A = random_matrix(n * n), *X = new_doubles(n * n);
  double *LX = new_doubles(n * n), *back = new_doubles(n * n);
  CHECK(factor_cholesky(&work, n, L, N) == ELBO_OK);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) {
      if (i < j) L[i + n * j] = 0.0, A[i + n * j] = A[j + n * i];
      X[i + n * j] = i < j ? 7.0 : A[i + n * j];
    }
  for (int j = 0; j < n; j++)
    for (int i = 0; i < j; i++) A[i + n * j] = A[j + n * i];
  factor_congruence(&work, n, L, N, X, N);
  la_multiply(L, X, n, n, n, LX);
  la_multiply_t(LX, L, n, n, n, back);
  CHECK(distance(back, A, n * n) < 1e-12);
  test_free();
}

static void test_not_positive_definite(void) {
  const product_work work = new_work(1);
  for (int bad = 0; bad < 100; bad += 33) {
    double *A = random_definite(100);
    A[bad * 101] = bad == 66 ? NAN : -1.0;
    CHECK(factor_cholesky(&work, 100, A, 100) == ELBO_E_NOT_PD);
  }
  test_free();
}

/* The same bits for any number of threads. */
static void test_threads(void) {
  const int n = 700;
  double *A = random_definite(n), *B = copy_doubles(A, n * n);
  double *space = new_doubles((int)factor_inverse_size(n));
  const product_work one = new_work(1), three = new_work(3);
  CHECK(factor_cholesky(&one, n, A, (size_t)n) == ELBO_OK);
  CHECK(factor_cholesky(&three, n, B, (size_t)n) == ELBO_OK);
  CHECK(memcmp(A, B, (size_t)(n * n) * sizeof(double)) == 0);
  factor_inverse(&one, n, A, (size_t)n, space);
  factor_inverse(&three, n, B, (size_t)n, space);
  CHECK(memcmp(A, B, (size_t)(n * n) * sizeof(double)) == 0);
  test_free();
}

int main(void) {
  for (int level = SIMD_PLAIN; level <= SIMD_AVX512; level++) {
    simd_limit((simd_level)level);
    if (simd_current() != (simd_level)level) continue;
    random_seed(1);
    test_products();
    test_lower(31, 5);
    test_lower(1000, 40);
    for (int n = 1; n < 70; n += 13) test_factor(n);
    test_factor(333);
    for (int n = 1; n < 70; n += 13) test_congruence(n);
    test_congruence(333);
    test_not_positive_definite();
    test_threads();
  }
  return FINISH();
}
