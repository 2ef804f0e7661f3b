/* Against dense Cholesky and inverse of the same matrix. */
#include "math/skyline.h"

#include <string.h>

#include "harness.h"
#include "math/la.h"

enum { N = 12 };

int main(void) {
  static const int first[N] = {0, 0, 1, 3, 2, 0, 5, 7, 6, 9, 4, 10};
  double dense[N * N] = {0.0}, inverse[N * N], value[100], other[100], work[N], b[N], x[N];
  size_t start[N + 1];
  const size_t size = skyline_layout(N, first, start);
  CHECK(size == 31);
  skyline A = {N, first, start, value}, Z = {N, first, start, other};
  for (int i = 0; i < N; i++) {
    for (int j = first[i]; j <= i; j++) {
      const double v = i == j ? 8.0 + i : sin(3.0 * i + j);
      dense[i + N * j] = dense[j + N * i] = v;
      *skyline_at(&A, i, j) = v;
    }
    b[i] = x[i] = cos(2.0 * i);
  }
  memcpy(inverse, dense, sizeof dense);
  CHECK(la_chol(inverse, N) == ELBO_OK);
  CHECK(la_inverse_from_chol(inverse, N) == ELBO_OK);
  CHECK(skyline_chol(&A) == ELBO_OK);
  skyline_inverse(&A, &Z, work);
  for (int i = 0; i < N; i++)
    for (int j = first[i]; j <= i; j++)
      CHECK_CLOSE(*skyline_at(&Z, i, j), inverse[i + N * j], 1e-14);
  skyline_forward(&A, x);
  skyline_backward(&A, x);
  for (int i = 0; i < N; i++) {
    double back = 0.0;
    for (int j = 0; j < N; j++) back += dense[i + N * j] * x[j];
    CHECK_CLOSE(back, b[i], 1e-14);
  }
  value[start[5]] = 1e6;
  *skyline_at(&A, 5, 5) = 1.0;
  CHECK(skyline_chol(&A) == ELBO_E_NOT_PD);
  return FINISH();
}
