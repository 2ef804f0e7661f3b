/* A negative binomial response, variance mu + mu^2 / k, with log link.  With psi = log k and
 * w = x - psi,
 *
 *   log p = A(y, k) + y x - (y + k) log(1 + e^w) - log y!,
 *   A = log Gamma(y + k) - log Gamma(k) - y log k,
 *
 * whose terms stay small as k grows and the law becomes Poisson. */
#include <math.h>

#include "law/response_law.h"
#include "math/digamma.h"
#include "math/logistic.h"

/* Counts below that: A = sum_{j < y} log(1 + j / k), term by term. */
static const double SUMMED = 256.0;

/* log Gamma(z) less Stirling's formula, and its first and second derivatives times z and z^2, z >=
 * 10 (Abramowitz & Stegun 6.1.41): errors below 1e-16. */
static void stirling_rest(double z, double *out) {
  static const double c[7] = {1.0 / 12.0,   -1.0 / 360.0,      1.0 / 1260.0, -1.0 / 1680.0,
                              1.0 / 1188.0, -691.0 / 360360.0, 1.0 / 156.0};
  double power = 1.0 / z;
  out[0] = out[1] = out[2] = 0.0;
  for (int i = 0; i < 7; i++, power /= z * z) {
    const double m = 2.0 * i + 1.0;
    out[0] += c[i] * power;
    out[1] -= m * c[i] * power;
    out[2] += m * (m + 1.0) * c[i] * power;
  }
}

/* A, and its derivatives by psi. */
static void rising(double y, double k, double *A) {
  A[0] = A[1] = A[2] = 0.0;
  if (y < SUMMED && y == floor(y)) {
    for (double j = 1.0; j < y; j++) {
      const double share = j / (k + j);
      A[0] += log1p(j / k);
      A[1] -= share;
      A[2] += share * (1.0 - share);
    }
    return;
  }
  if (k < 10.0) {
    const double first = math_digamma(y + k) - math_digamma(k);
    A[0] = lgamma(y + k) - lgamma(k) - y * log(k);
    A[1] = k * first - y;
    A[2] = k * first + k * k * (math_trigamma(y + k) - math_trigamma(k));
    return;
  }
  /* (y + k - 1/2) log(1 + y / k) - y and the rest of Stirling's formula; k d/dk twice. */
  const double log_ratio = log1p(y / k), share = y / (y + k), part = 1.0 - share;
  double above[3], below[3];
  stirling_rest(y + k, above);
  stirling_rest(k, below);
  A[0] = (y + k - 0.5) * log_ratio - y + above[0] - below[0];
  A[1] = k * log_ratio - y + 0.5 * share + part * above[1] - below[1];
  A[2] = k * (log_ratio - share) - 0.5 * share * part + share * part * above[1] +
         part * part * (above[1] + above[2]) - (below[1] + below[2]);
}

static int set(response_law *law) {
  law->natural[0] = exp(law->psi[0]);
  return isfinite(law->natural[0]) && law->natural[0] > 0.0;
}

static double constant(const response_law *law, double y, double size) {
  double A[3];
  (void)size;
  rising(y, law->natural[0], A);
  return A[0] - lgamma(y + 1.0);
}

static void point(const response_law *law, double y, double size, double x, response_point *out) {
  const double k = law->natural[0], w = x - law->psi[0];
  const double p = logistic(w), q = logistic(-w), slope = logistic_slope(w);
  (void)size;
  out->value = (y > 0.0 ? y * x : 0.0) - (y + k) * softplus(w);
  out->x = y * q - k * p;
  out->xx = -(y + k) * slope;
  out->xxx = -(y + k) * slope * (q - p);
}

static void own(const response_law *law, double y, double size, double x, response_own *out) {
  const double k = law->natural[0], w = x - law->psi[0];
  const double p = logistic(w), q = logistic(-w), slope = logistic_slope(w);
  double A[3];
  (void)size;
  rising(y, k, A);
  out->own[0] = A[1] - k * softplus(w) + (y + k) * p;
  out->own_own[0] = A[2] - k * softplus(w) + 2.0 * k * p - (y + k) * slope;
  out->x_own[0] = (y + k) * slope - k * p;
  out->xx_own[0] = (y + k) * slope * (q - p) - k * slope;
}

void response_negative_binomial(response_law *law) {
  law->set = set;
  law->constant = constant;
  law->point = point;
  law->own = own;
}
