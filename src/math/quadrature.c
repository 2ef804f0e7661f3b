/* Gauss's rules: nodes are eigenvalues of the Jacobi matrix (Golub & Welsch 1969, Mathematics of
 * Computation 23:221), then zeros of the orthonormal polynomial by Newton's method, which also
 * gives weights right in each digit, however small. */
#include "math/quadrature.h"

#include <math.h>

#include "math/small.h"

#define USE_FC_LEN_T
#include <Rconfig.h>
#include <R_ext/Lapack.h>

/* sqrt(k) h_k = x h_{k-1} - sqrt(k - 1) h_{k-2}, h_0 = 1: h_n and h_{n-1} at x up to a common power
 * of two, *exponent. */
static void hermite(int n, double x, double *h_n, double *h_before, int *exponent) {
  double before = 0.0, h = 1.0;
  *exponent = 0;
  for (int k = 1; k <= n; k++) {
    const double next = (x * h - sqrt(k - 1.0) * before) / sqrt((double)k);
    before = h;
    h = next;
    if (fabs(h) > 0x1p500) {
      h *= 0x1p-500;
      before *= 0x1p-500;
      *exponent += 500;
    }
  }
  *h_n = h;
  *h_before = before;
}

elbo_status quadrature_normal(int n, double *node, double *weight, double *scaled, double *work) {
  int info = 0;
  for (int i = 0; i < n; i++) {
    node[i] = 0.0;
    work[i] = sqrt(i + 1.0);
  }
  F77_CALL(dsterf)(&n, node, work, &info);
  if (info != 0) return ELBO_E_NOT_FINITE;
  for (int i = n / 2; i < n; i++) {
    double x = i == n - 1 - i ? 0.0 : node[i], h, before;
    int exponent;
    for (int step = 0; step < 3 && x != 0.0; step++) { /* h_n' = sqrt(n) h_{n-1} */
      hermite(n, x, &h, &before, &exponent);
      x -= h / (sqrt((double)n) * before);
    }
    hermite(n, x, &h, &before, &exponent);
    /* 1 / (n h_{n-1}^2) */
    const double log_weight =
        -log((double)n) - 2.0 * (log(fabs(before)) + (double)exponent * LOG_2);
    node[i] = x;
    node[n - 1 - i] = -x;
    weight[i] = weight[n - 1 - i] = exp(log_weight);
    scaled[i] = scaled[n - 1 - i] = exp(log_weight + 0.5 * (x * x + LOG_2PI));
  }
  return ELBO_OK;
}

void quadrature_interval(int n, double *node, double *weight) {
  const double pi = 3.14159265358979323846;
  for (int i = n / 2; i < n; i++) {
    double x = i == n - 1 - i ? 0.0 : cos(pi * (n - i - 0.25) / (n + 0.5)), slope = 0.0;
    for (int step = 0; step < 8; step++) {
      double p = 1.0, before = 0.0;
      for (int k = 1; k <= n; k++) {
        const double next = ((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k;
        before = p;
        p = next;
      }
      slope = n * (before - x * p) / (1.0 - x * x);
      if (x == 0.0) break;
      const double move = p / slope;
      x -= move;
      if (fabs(move) < 1e-16) break;
    }
    node[i] = x;
    node[n - 1 - i] = -x;
    weight[i] = weight[n - 1 - i] = 2.0 / ((1.0 - x * x) * slope * slope);
  }
}
