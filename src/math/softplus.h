/* log(1 + e^x) and its expectation under normal laws, for logistic regression. */
#ifndef ELBO_MATH_SOFTPLUS_H
#define ELBO_MATH_SOFTPLUS_H

#include "math/rows.h"

/* For x_i ~ N(mu_i, s_i^2) (s = NULL: x = mu), value = E log(1 + e^x), first = E p and second = E
 * p(1 - p) with p = 1 / (1 + e^-x): derivatives by mu, and second twice that of value by s^2.  ld a
 * multiple of SIMD_LANES; first and second may be NULL together; scratch: 2 ld doubles.
 *
 * Absolute error below 2e-13, of value relative to max(1, value) (tested). */
void softplus_expectation(const row_kernels *kernels, int ld, const double *mu, const double *s,
                          double *scratch, double *value, double *first, double *second);

#endif
