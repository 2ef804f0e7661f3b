/* q(b) of the groups as their kernels lay it out. */
#include "glmm/groups.h"

#include <string.h>

#include "glmm/cross.h"
#include "math/simd.h"

size_t lmm_posterior_stride(int q, int p) { return (size_t)(q + q * q + q * p) * SIMD_LANES; }

void lmm_covariance_root(int q, const double *U, double *N) {
  memset(N, 0, square(q) * sizeof(double));
  for (int k = 0; k < q; k++) {
    N[k + q * k] = U[k + q * k];
    for (int a = k - 1; a >= 0; a--)
      for (int c = a + 1; c <= k; c++) N[a + q * k] -= U[a + q * c] * N[c + q * k];
  }
}
