/* Three rules, by the standard deviation s:
 *
 *   s <= 0.15  Gauss-Hermite with seven nodes; the nearest poles are pi / s away, and the error is
 *              about 7! (s / pi)^14 / 7
 *   s <= 30    the trapezoidal rule with step h, whose error on the real line is exponentially
 *              small (Trefethen & Weideman 2014, SIAM Review 56:385): with g = 2 pi / h and the
 *              poles at distance u = pi / s it is exp(-g^2 / 2) if g <= u, else exp(-g u + u^2 / 2);
 *              h is chosen to make that exp(-34)
 *   s > 30     log(1 + e^x) is max(x - t, 0) in the mean over a logistic t, so the answer is
 *              E max(x, 0) and its even derivatives by mu times E t^2j / (2j)!; the first five
 *              terms leave 2 * 945 / s^11 */
#include "math_softplus.h"

#include <math.h>

static const double NARROW = 0.15, WIDE = 30.0;

typedef struct {
  const row_kernels *kernels;
  int ld;
  const double *mu, *s;
  double *e, *log_u, *value, *first, *second;
} expectation;

#define MAX_ZERO(x) ((v8)((v8i)(x) & (v8i)((x) > 0.0)))

/* Adds weight times the three functions at x = mu + s z. */
static void add_node(const expectation *f, double z, double weight) {
  const v8 zero = {0};
  for (int i = 0; i < f->ld; i += SIMD_LANES) {
    v8 x = *(const v8 *)(f->mu + i);
    if (f->s) x += z * *(const v8 *)(f->s + i);
    *(v8 *)(f->e + i) = x - 2.0 * MAX_ZERO(x); /* -|x| */
  }
  f->kernels->exp(f->ld, f->e, f->e);
  for (int i = 0; i < f->ld; i += SIMD_LANES)
    *(v8 *)(f->log_u + i) = zero + 1.0 + *(const v8 *)(f->e + i);
  f->kernels->log(f->ld, f->log_u, f->log_u);
  for (int i = 0; i < f->ld; i += SIMD_LANES) {
    v8 x = *(const v8 *)(f->mu + i);
    if (f->s) x += z * *(const v8 *)(f->s + i);
    const v8 e = *(const v8 *)(f->e + i), u = 1.0 + e, inverse = 1.0 / u;
    /* log(1 + e), with what was lost in rounding 1 + e. */
    const v8 log1p_e = *(const v8 *)(f->log_u + i) + (e - (u - 1.0)) * inverse;
    *(v8 *)(f->value + i) += weight * (MAX_ZERO(x) + log1p_e);
    if (!f->first) continue;
    const v8i positive = (v8i)(x > 0.0);
    const v8 top = (v8)(((v8i)(zero + 1.0) & positive) | ((v8i)e & ~positive));
    *(v8 *)(f->first + i) += weight * (top * inverse);
    *(v8 *)(f->second + i) += weight * (e * inverse * inverse);
  }
}

static void gauss_hermite(const expectation *f) {
  static const double node[3] = {1.154405394739968127, 2.366759410734541286, 3.750439717725742256};
  static const double weight[3] = {0.2401231786050127146, 0.0307571239675864961,
                                   0.000548268855972217746};
  add_node(f, 0.0, 16.0 / 35.0);
  for (int q = 0; q < 3; q++) {
    add_node(f, node[q], weight[q]);
    add_node(f, -node[q], weight[q]);
  }
}

static void trapezoid(const expectation *f, double s) {
  const double pi = 3.14159265358979323846, exponent = 34.0, u = fmin(pi / s, sqrt(2.0 * exponent));
  const double h = 2.0 * pi / (0.5 * u + exponent / u), end = 8.5;
  const double scale = h / sqrt(2.0 * pi);
  add_node(f, 0.0, scale);
  for (int q = 1; q * h < end; q++) {
    const double z = q * h, weight = scale * exp(-0.5 * z * z);
    add_node(f, z, weight);
    add_node(f, -z, weight);
  }
}

/* He_n(z) phi(z) is the n-th derivative of phi, up to its sign. */
static void series(const expectation *f, int i) {
  static const double c[5] = {1.644934066848226436, 1.894065658994491840, 1.971102182594870140,
                              1.992466003705295984, 1.998079015196542323};
  const double s = f->s[i], z = f->mu[i] / s;
  const double phi = 0.398942280401432678 * exp(-0.5 * z * z), Phi = 0.5 * erfc(-0.70710678118654752 * z);
  double value = s * (z * Phi + phi), first = Phi, second = phi / s;
  double even = 1.0, odd = z, power = 1.0 / s; /* He_2j, He_2j+1, s^-(2j+1) */
  for (int j = 0; j < 5; j++) {
    value += c[j] * even * phi * power;
    first -= c[j] * odd * phi * power / s;
    even = z * odd - (2 * j + 1) * even;
    odd = z * even - (2 * j + 2) * odd;
    power /= s * s;
    second += c[j] * even * phi * power;
  }
  f->value[i] = value;
  if (!f->first) return;
  f->first[i] = first;
  f->second[i] = second;
}

void softplus_expectation(const row_kernels *kernels, int ld, const double *mu, const double *s,
                          double *scratch, double *value, double *first, double *second) {
  const size_t size = (size_t)ld * sizeof(double);
  const expectation f = {kernels, ld, mu, s, scratch, scratch + ld, value, first, second};
  double most = 0.0;
  memset(value, 0, size);
  if (first) {
    memset(first, 0, size);
    memset(second, 0, size);
  }
  for (int i = 0; s && i < ld; i++)
    if (s[i] <= WIDE && s[i] > most) most = s[i];
  if (most == 0.0)
    add_node(&f, 0.0, 1.0);
  else if (most <= NARROW)
    gauss_hermite(&f);
  else
    trapezoid(&f, most);
  for (int i = 0; s && i < ld; i++)
    if (s[i] > WIDE) series(&f, i);
}
