/* The logistic function and its relatives, stable at all x. */
#ifndef ELBO_MATH_LOGISTIC_H
#define ELBO_MATH_LOGISTIC_H

#include <math.h>

#include "math/small.h"

/* 1 / (1 + e^-x) */
static inline double logistic(double x) {
  const double e = exp(-fabs(x));
  return (x > 0.0 ? 1.0 : e) / (1.0 + e);
}

/* Its derivative, p (1 - p). */
static inline double logistic_slope(double x) {
  const double e = exp(-fabs(x));
  return e / ((1.0 + e) * (1.0 + e));
}

/* log(1 + e^x) */
static inline double softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }

/* log(1 - e^-x), x > 0 (Maechler 2012, vignette of Rmpfr). */
static inline double log_1m_exp(double x) { return x > LOG_2 ? log1p(-exp(-x)) : log(-expm1(-x)); }

#endif
