/* Ratios of gamma functions without their cancellation: each is e to the power of what grows as
 * a log a, and so is lost where a is large. */
#ifndef ELBO_MATH_GAMMA_RATIO_H
#define ELBO_MATH_GAMMA_RATIO_H

#include <math.h>

/* gamma(a + 1/2) / gamma(a), a > 0: that of a + 1 times a / (a + 1/2) up to a >= 40, then the
 * series of Tricomi and Erdelyi (1951, Pacific J. Math. 1:133), whose rest is below 3e-17. */
static inline double math_gamma_half(double a) {
  static const double b[8] = {1.0,           -1.0 / 8.0,        1.0 / 128.0,      5.0 / 1024.0,
                              -21.0 / 32768.0, -399.0 / 262144.0, 869.0 / 4194304.0,
                              39325.0 / 33554432.0};
  double factor = 1.0, series = 0.0;
  for (; a < 40.0; a += 1.0) factor *= a / (a + 0.5);
  for (int i = 7; i >= 0; i--) series = b[i] + series / a;
  return factor * sqrt(a) * series;
}

/* gamma(a + r) / gamma(a) for r = -1, -1/2, 1/2 or 1, a + r > 0. */
static inline double math_gamma_ratio(double a, double r) {
  if (r == 1.0) return a;
  if (r == -1.0) return 1.0 / (a - 1.0);
  return r > 0.0 ? math_gamma_half(a) : 1.0 / math_gamma_half(a - 0.5);
}

#endif
