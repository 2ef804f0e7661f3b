/* The derivatives of log gamma. */
#ifndef ELBO_MATH_DIGAMMA_H
#define ELBO_MATH_DIGAMMA_H

#include <math.h>

/* psi(x), x > 0: psi(x + 1) = psi(x) + 1/x up to x >= 10, then the asymptotic series (Abramowitz &
 * Stegun 6.3.18) to x^-14, whose rest is below 5e-17.  Error below 1e-15 max(1, |psi|). */
static inline double math_digamma(double x) {
  double sum = 0.0;
  for (; x < 10.0; x += 1.0) sum -= 1.0 / x;
  const double z = 1.0 / (x * x);
  static const double b[7] = {1.0 / 12.0,  -1.0 / 120.0,     1.0 / 252.0, -1.0 / 240.0,
                              1.0 / 132.0, -691.0 / 32760.0, 1.0 / 12.0};
  double series = 0.0;
  for (int i = 6; i >= 0; i--) series = z * (b[i] + series);
  return sum + log(x) - 0.5 / x - series;
}

/* psi'(x) and psi''(x), x > 0, in the same way (6.4.12 and 6.4.13): errors below 1e-15 of them. */
static inline double math_trigamma(double x) {
  double sum = 0.0;
  for (; x < 12.0; x += 1.0) sum += 1.0 / (x * x);
  const double z = 1.0 / (x * x);
  static const double b[7] = {1.0 / 6.0,  -1.0 / 30.0,     1.0 / 42.0, -1.0 / 30.0,
                              5.0 / 66.0, -691.0 / 2730.0, 7.0 / 6.0};
  double series = 0.0;
  for (int i = 6; i >= 0; i--) series = z * (b[i] + series);
  return sum + (1.0 + 0.5 / x + series) / x;
}

static inline double math_tetragamma(double x) {
  double sum = 0.0;
  for (; x < 12.0; x += 1.0) sum -= 2.0 / (x * x * x);
  const double z = 1.0 / (x * x);
  static const double b[7] = {3.0 / 6.0,   -5.0 / 30.0,        7.0 / 42.0, -9.0 / 30.0,
                              55.0 / 66.0, -13.0 * 691.0 / 2730.0, 15.0 * 7.0 / 6.0};
  double series = 0.0;
  for (int i = 6; i >= 0; i--) series = z * (b[i] + series);
  return sum - z * (1.0 + 1.0 / x + series);
}

#endif
