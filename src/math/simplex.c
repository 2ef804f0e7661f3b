#include "math/simplex.h"

#include <math.h>
#include <stddef.h>

#include "math/dirichlet.h"

int simplex_base(const double *p, int n) {
  int base = 0;
  for (int l = 1; l < n; l++)
    if (p[l] > p[base]) base = l;
  return base;
}

void simplex_pack(const double *p, const double *sign, int n, int base, double *u) {
  for (int l = 0; l < n; l++)
    if (l != base) *u++ = sign[l] * sqrt(p[l] / p[base]);
}

int simplex_unpack(const double *u, int n, int base, double *p, double *sign) {
  double sum = 1.0;
  for (int l = 0; l < n - 1; l++) sum += u[l] * u[l];
  for (int l = 0; l < n; l++) {
    const double root = l == base ? 1.0 : *u++;
    p[l] = root * root / sum;
    sign[l] = root < 0.0 ? -1.0 : 1.0;
  }
  return isfinite(sum);
}

/* Exponent of p_l, which is a count under a Dirichlet prior. */
static double exponent(const double *count, const double *alpha, int l) {
  return count[l] + (alpha == NULL ? 0.0 : alpha[l] - 1.0);
}

double simplex_value(const double *count, const double *log_p, int n) {
  double sum = 0.0;
  for (int l = 0; l < n; l++)
    if (count[l] != 0.0) sum += count[l] * log_p[l];
  return sum;
}

double simplex_log_prior(const double *alpha, const double *log_p, int n) {
  if (alpha == NULL) return 0.0;
  double sum = dirichlet_log_constant(alpha, n);
  for (int l = 0; l < n; l++)
    if (alpha[l] != 1.0) sum += (alpha[l] - 1.0) * log_p[l];
  return sum;
}

/* d/du_l sum c log p = 2 (c_l / u_l - u_l sum c / (1 + sum u^2)), and 1 / (1 + sum u^2) = p_b. */
void simplex_gradient(const double *count, const double *alpha, const double *p, const double *sign,
                      int n, int base, double *gradient) {
  double sum = 0.0;
  for (int l = 0; l < n; l++) sum += exponent(count, alpha, l);
  for (int l = 0; l < n; l++) {
    if (l == base) continue;
    const double u = sign[l] * sqrt(p[l] / p[base]);
    *gradient++ = u != 0.0 ? 2.0 * (exponent(count, alpha, l) / u - u * p[base] * sum) : 0.0;
  }
}

int simplex_mode(const double *count, const double *alpha, int n, double *p) {
  double sum = 0.0;
  for (int l = 0; l < n; l++) {
    const double c = exponent(count, alpha, l);
    if (alpha != NULL && alpha[l] < 1.0 && c <= 0.0) return l;
    sum += c;
  }
  if (sum > 0.0)
    for (int l = 0; l < n; l++) p[l] = exponent(count, alpha, l) / sum;
  return -1;
}

int simplex_settle(const double *count, const double *alpha, int n, double few, double *p) {
  double sum = 0.0, left = 0.0;
  int moved = 0;
  for (int l = 0; l < n; l++) sum += exponent(count, alpha, l);
  for (int l = 0; l < n; l++) {
    const double c = exponent(count, alpha, l);
    if (c > 0.0 && c == count[l] && c < few && c < sum * p[l]) {
      p[l] = 0.0;
      moved = 1;
    }
    left += p[l];
  }
  for (int l = 0; l < n && moved; l++) p[l] /= left;
  return moved;
}
