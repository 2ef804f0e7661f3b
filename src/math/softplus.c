/* Three rules, by the standard deviation s:
 *
 *   s <= 0.15  Gauss-Hermite with seven nodes; the nearest poles are pi / s away, and the error is
 *              about 7! (s / pi)^14 / 7
 *   s <= 5     the trapezoidal rule with step h, whose error on the real line is exponentially
 *              small (Trefethen & Weideman 2014, SIAM Review 56:385): with g = 2 pi / h and poles
 *              at distance u = pi / s it is exp(-g^2 / 2) if g <= u, else exp(-g u + u^2 / 2);
 *              h is chosen to make that exp(-34)
 *   s > 5      log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): the first part has a closed form, the
 *              second is an integral over t > 0 of log(1 + e^-t) times normal densities at t and
 *              -t, which are smooth on its scale: a Gauss rule with that weight */
#include "math/softplus.h"

#include <math.h>

static const double NARROW = 0.15, WIDE = 5.0;

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

/* Nodes and weights of the Gauss rule on (0, Inf) with weight log(1 + e^-t), from its moments k!
 * eta(k + 2) by the method of Golub & Welsch (1969, Mathematics of Computation 23:221) in 120
 * digits. */
enum { GAUSS = 12 };
static const double gauss_node[GAUSS] = {
    0.12162185508147901957, 0.63614541352160931883, 1.5515225805922610232, 2.8752038305494304659,
    4.6376252085458581039,  6.880283080299447718,   9.6557013776293342065, 13.039727200531048104,
    17.150102488255995533,  22.184054581396073957,  28.520727532972504974, 37.131721584291447017};
static const double gauss_weight[GAUSS] = {
    0.19754713279755265288,    0.30408932691983346563,    0.2145174797851357286,
    0.084321243613364238836,   0.019220195750691879757,   0.002567109837467157209,
    0.00019629512644260766837, 8.0869106567339302459e-6,  1.6138119837870219232e-7,
    1.2988067312241088399e-9,  2.9628551337800219598e-12, 7.886618285619878253e-16};

/* One row with a wide law: phi' = -z phi and phi'' = (z^2 - 1) phi give the derivatives by mu. */
static void wide(const expectation *f, int i) {
  const double s = f->s[i], u = f->mu[i] / s, root = 0.398942280401432678;
  const double phi = root * exp(-0.5 * u * u), Phi = 0.5 * erfc(-0.70710678118654752 * u);
  double value = s * (u * Phi + phi), first = Phi, second = phi / s;
  for (int q = 0; q < GAUSS; q++)
    for (int sign = -1; sign <= 1; sign += 2) {
      const double z = sign * gauss_node[q] / s - u;
      const double density = gauss_weight[q] * root / s * exp(-0.5 * z * z);
      value += density;
      first += density * z / s;
      second += density * (z * z - 1.0) / (s * s);
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
    if (s[i] > WIDE) wide(&f, i);
}
