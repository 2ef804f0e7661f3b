#include "math_sd_prior.h"

#include <math.h>

double sd_prior_log_density(const sd_prior *prior, double x, double *by_x) {
  const double df = prior->df, a = prior->scale * prior->scale, pi = acos(-1.0);
  switch (prior->family) {
    case SD_HALF_T:
      *by_x = -0.5 * (df + 1.0) / (df * a + x);
      return log(2.0) + lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df) - 0.5 * log(df * pi) -
             log(prior->scale) - 0.5 * (df + 1.0) * log1p(x / (df * a));
    case SD_HALF_NORMAL:
      *by_x = -0.5 / a;
      return 0.5 * log(2.0 / pi) - log(prior->scale) - 0.5 * x / a;
    case SD_INVERSE_GAMMA: { /* s^(-df - 1) exp(-scale / s) */
      const double s = sqrt(x);
      *by_x = (prior->scale / s - (df + 1.0)) / (2.0 * x);
      return df * log(prior->scale) - lgamma(df) - (df + 1.0) * log(s) - prior->scale / s;
    }
    default:
      *by_x = 0.0;
      return 0.0;
  }
}

double sd_prior_curvature(const sd_prior *prior, double x) {
  switch (prior->family) {
    case SD_HALF_T: {
      const double c = prior->df * prior->scale * prior->scale;
      return 0.5 * (prior->df + 1.0) / ((c + x) * (c + x));
    }
    case SD_INVERSE_GAMMA:
      return ((prior->df + 1.0) - 1.5 * prior->scale / sqrt(x)) / (2.0 * x * x);
    default:
      return 0.0;
  }
}

/* The positive root of a z^2 + b z = c (a, c >= 0), without cancellation. */
static double positive_root(double a, double b, double c) {
  const double root = sqrt(b * b + 4.0 * a * c);
  return b > 0.0 ? 2.0 * c / (b + root) : (root - b) / (2.0 * a);
}

/* Where the derivative by x, or by the sd, vanishes: a quadratic equation for each family. */
double sd_prior_mode(const sd_prior *prior, double n, double S) {
  const double df = prior->df, a = prior->scale * prior->scale;
  switch (prior->family) {
    case SD_HALF_T: {
      const double c = df * a;
      return positive_root(n + df + 1.0, n * c - S, S * c);
    }
    case SD_HALF_NORMAL:
      return positive_root(1.0 / a, n, S);
    case SD_INVERSE_GAMMA: {
      const double s = positive_root(n + df + 1.0, -prior->scale, S);
      return s * s;
    }
    default:
      return S / n;
  }
}
