/* Cross-products of [X y], p1 x p1 with p1 = p + 1, of which the lower triangle is there. */
#ifndef ELBO_GLMM_CROSS_H
#define ELBO_GLMM_CROSS_H

#include <string.h>

#include "math/small.h"

/* Element j, k of a symmetric p1 x p1 matrix of which the lower triangle is there. */
static inline double at_lower(const double *A, int p1, int j, int k) {
  return A[j >= k ? j + p1 * k : k + p1 * j];
}

/* (-beta, 1)' A (-beta, 1) for the lower triangle of A, p1 x p1. */
static inline double residual_square(const double *A, const double *beta, int p) {
  const int p1 = p + 1;
  double sum = A[p + p1 * p];
  for (int j = 0; j < p; j++) {
    sum -= 2.0 * beta[j] * A[p + p1 * j];
    for (int k = 0; k <= j; k++) sum += (k == j ? 1.0 : 2.0) * beta[j] * beta[k] * A[j + p1 * k];
  }
  return sum;
}

/* Cross-products of [X y] (lower) to those of [X, y - X origin]. */
static inline void shift_cross(const double *A, const double *origin, int p, double *out) {
  const int p1 = p + 1;
  memcpy(out, A, square(p1) * sizeof(double));
  out[p + p1 * p] = residual_square(A, origin, p);
  for (int j = 0; j < p; j++)
    for (int k = 0; k < p; k++) out[p + p1 * j] -= A[j >= k ? j + p1 * k : k + p1 * j] * origin[k];
}

#endif
