/* Cholesky factors, inverses, eigenvalues and products against matrices known in closed form.
 */
#include "math/la.h"

#include "reference.h"

/* A = L L' with L = [2 0 0; 1 3 0; -1 2 1], worked by hand. */
static const double L3[9] = {2, 1, -1, 0, 3, 2, 0, 0, 1};
static const double A3[9] = {4, 2, -2, 2, 10, 5, -2, 5, 6};
/* Its inverse is the adjugate over the determinant (2 * 3 * 1)^2 = 36, by cofactors. */
static const double inverse3[9] = {35.0 / 36,  -22.0 / 36, 30.0 / 36,  -22.0 / 36, 20.0 / 36,
                                   -24.0 / 36, 30.0 / 36,  -24.0 / 36, 36.0 / 36};

static void test_cholesky(void) {
  double *A = copy_doubles(A3, 9);
  A[0 + 3 * 2] = A[1 + 3 * 2] = 99.0; /* the upper triangle is not read */
  CHECK(la_chol(A, 3) == ELBO_OK);
  CHECK(distance(A, L3, 9) < 1e-15);
  CHECK_CLOSE(la_log_det_from_chol(A, 3), log(36.0), 1e-15);
  CHECK(la_inverse_from_chol(A, 3) == ELBO_OK);
  CHECK(distance(A, inverse3, 9) < 1e-14);
}

static void test_not_positive_definite(void) {
  double indefinite[4] = {1, 2, 2, 1}, zero[1] = {0.0}, nan[1] = {NAN};
  CHECK(la_chol(indefinite, 2) == ELBO_E_NOT_PD);
  CHECK(la_chol(zero, 1) == ELBO_E_NOT_PD);
  CHECK(la_chol(nan, 1) == ELBO_E_NOT_PD);
}

static void test_empty(void) {
  double none[1] = {7.0}, work[1];
  CHECK(la_chol(none, 0) == ELBO_OK);
  CHECK(la_inverse_from_chol(none, 0) == ELBO_OK);
  CHECK(la_log_det_from_chol(none, 0) == 0.0);
  CHECK(la_eigen(none, 0, none, work) == ELBO_OK);
  la_chol_semidefinite(none, 0, 1e-15, none);
  CHECK(la_quadratic(none, none, 0) == 0.0);
  CHECK(none[0] == 7.0);
}

static void test_semidefinite(void) {
  double L[9], back[9];
  la_chol_semidefinite(A3, 3, 1e-15, L);
  CHECK(distance(L, L3, 9) < 1e-15);
  /* v v' + w w' of rank 2, v = (1, 2, 3), w = (0, 0, 1): the second pivot is zero. */
  const double rank2[9] = {1, 2, 3, 2, 4, 6, 3, 6, 10}, factor2[9] = {1, 2, 3, 0, 0, 0, 0, 0, 1};
  la_chol_semidefinite(rank2, 3, 1e-15, L);
  CHECK(distance(L, factor2, 9) < 1e-15);
  la_multiply_t(L, L, 3, 3, 3, back);
  CHECK(distance(back, rank2, 9) < 1e-15);
  /* The tolerance is relative to the largest diagonal. */
  const double small[4] = {1e6, 0, 0, 1e-4};
  la_chol_semidefinite(small, 2, 1e-9, L);
  CHECK(L[3] == 0.0);
  la_chol_semidefinite(small, 2, 1e-11, L);
  CHECK_CLOSE(L[3], 1e-2, 1e-16);
  const double zero[4] = {0, 0, 0, 0};
  la_chol_semidefinite(zero, 2, 1e-15, L);
  CHECK(largest(L, 4) == 0.0);
}

/* Columns one and three of the design are orthogonal, column two is twice the first: it gets zero,
 * and the others are solved by their own squares, in units far apart. */
static void test_solve_semidefinite(void) {
  const double A[9] = {4e12, 8e12, 0, 8e12, 16e12, 0, 0, 0, 2e-12};
  const double b[3] = {8e6, 16e6, 6e-6}, answer[3] = {2e-6, 0, 3e6};
  double unit[3], L[9], inverse[9], x[3];
  la_solve_semidefinite(A, b, 3, unit, L, inverse, x);
  CHECK(x[1] == 0.0);
  for (int i = 0; i < 3; i += 2) CHECK_CLOSE(x[i] / answer[i], 1.0, 1e-15);
  /* Nothing known of a column: zero, and not a division by it. */
  const double zero[9] = {0};
  la_solve_semidefinite(zero, b, 3, unit, L, inverse, x);
  CHECK(largest(x, 3) == 0.0);
}

/* The second-difference matrix (2 on the diagonal, -1 beside it) of size n has the eigenvalues
 * 2 - 2 cos(k pi / (n + 1)), with vectors sin(i k pi / (n + 1)). */
static void test_eigen(void) {
  enum { N = 7 };
  const double angle = acos(-1.0) / (N + 1);
  double A[N * N] = {0}, values[N], *work = new_doubles((int)la_eigen_size(N));
  for (int i = 0; i < N; i++) {
    A[i * (N + 1)] = 2.0;
    if (i > 0) A[i + N * (i - 1)] = -1.0;
  }
  CHECK(la_eigen(A, N, values, work) == ELBO_OK);
  for (int k = 0; k < N; k++) {
    CHECK_CLOSE(values[k], 2.0 - 2.0 * cos((k + 1) * angle), 1e-14);
    double dot = 0.0, square = 0.0;
    for (int i = 0; i < N; i++) {
      dot += A[i + N * k] * sin((i + 1) * (k + 1) * angle);
      square += A[i + N * k] * A[i + N * k];
    }
    CHECK_CLOSE(square, 1.0, 1e-14);
    CHECK_CLOSE(fabs(dot), sqrt((N + 1) / 2.0), 1e-14); /* sum sin^2 = (n + 1) / 2 */
  }
}

static void test_products(void) {
  /* [1 3 5; 2 4 6] times [1 0; 2 1; 3 -1], and times the transpose of [1 2 3; 0 1 -1]. */
  const double A[6] = {1, 2, 3, 4, 5, 6}, B[6] = {1, 2, 3, 0, 1, -1}, Bt[6] = {1, 0, 2, 1, 3, -1};
  const double AB[4] = {22, 28, -2, -2};
  double C[4];
  la_multiply(A, B, 2, 3, 2, C);
  CHECK(distance(C, AB, 4) == 0.0);
  la_multiply_t(A, Bt, 2, 3, 2, C);
  CHECK(distance(C, AB, 4) == 0.0);
  /* (1, -1, 2) A3 (1, -1, 2)' = 4 + 10 + 24 + 2 (-2 - 4 - 10), by hand. */
  const double x[3] = {1, -1, 2};
  CHECK(la_quadratic(A3, x, 3) == 6.0);
}

static void test_correlation(void) {
  CHECK(fabs(la_correlation(A3, 3, 0, 2) - A3[6] / sqrt(A3[0] * A3[8])) < 1e-15);
  const double none[4] = {1, 0, 0, 0}, large[4] = {1e300, -5e299, -5e299, 1e300};
  CHECK(la_correlation(none, 2, 0, 1) == 0.0);
  CHECK(fabs(la_correlation(large, 2, 0, 1) + 0.5) < 1e-15);
  /* Of one line, where rounding goes beyond one for some. */
  int beyond = 0;
  for (int i = 1; i < 100; i++) {
    const double v = sqrt(i) + 0.3, w = 1.0 / (i + 0.7);
    const double line[4] = {v * v, -v * w, -v * w, w * w};
    beyond += v * w / (sqrt(v * v) * sqrt(w * w)) > 1.0 || v * w > sqrt(v * v * (w * w));
    CHECK(fabs(la_correlation(line, 2, 0, 1)) <= 1.0);
    CHECK(la_correlation(line, 2, 0, 1) < -1.0 + 1e-15);
  }
  CHECK(beyond > 0);
}

int main(void) {
  test_cholesky();
  test_not_positive_definite();
  test_empty();
  test_semidefinite();
  test_solve_semidefinite();
  test_eigen();
  test_products();
  test_correlation();
  test_free();
  return FINISH();
}
