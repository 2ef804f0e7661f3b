/* E log(1 + e^x) and its derivatives under normal laws. */
#include "math/softplus.h"
#include "reference.h"

enum { LD = SIMD_LANES };

/* The same by the trapezoidal rule with a step far below what it needs. */
static void brute_force(double mu, double s, double *out) {
  const double h = fmin(0.05, 0.05 / s);
  out[0] = out[1] = out[2] = 0.0;
  for (int q = (int)(-9.5 / h); q * h <= 9.5; q++) {
    const double z = q * h, x = mu + s * z, e = exp(-fabs(x)), p = (x > 0.0 ? 1.0 : e) / (1.0 + e);
    const double weight = h * 0.398942280401432678 * exp(-0.5 * z * z);
    out[0] += weight * (fmax(x, 0.0) + log1p(e));
    out[1] += weight * p;
    out[2] += weight * e / ((1.0 + e) * (1.0 + e));
  }
}

static void expect(const row_kernels *kernels, double mu, double s, double *out) {
  double m[LD], sd[LD], scratch[2 * LD], value[LD], first[LD], second[LD], alone[LD];
  for (int i = 0; i < LD; i++) {
    m[i] = mu;
    sd[i] = s;
  }
  softplus_expectation(kernels, LD, m, sd, scratch, value, first, second);
  softplus_expectation(kernels, LD, m, sd, scratch, alone, NULL, NULL);
  for (int i = 1; i < LD; i++) CHECK(value[i] == value[0] && alone[i] == value[0]);
  out[0] = value[0];
  out[1] = first[0];
  out[2] = second[0];
}

/* R 4.2.2: integrate(function(z) dnorm(z) * g(mu + s * z), -Inf, Inf, rel.tol = 1e-13), g log(1 +
 * e^x), plogis(x) and its derivative. */
static void test_integrate(void) {
  static const double reference[][5] = {
      {0, 0.1, 0.6943956232408095, 0.5, 0.2493781030641861},
      {1.5, 0.15, 1.703092139512175, 0.8165134937485291, 0.1493153374107966},
      {-3, 0.5, 0.0544893164853818, 0.05266995398111069, 0.04922976885432548},
      {2, 1, 2.182736972066452, 0.8445374814698765, 0.1157579836165841},
      {0, 2, 1.067714388051383, 0.5, 0.1514263774005397},
      {-4, 5, 0.6947229204287293, 0.2256661343123643, 0.05653072403629216},
      {10, 12, 11.39820675650734, 0.7950362107898077, 0.02340932410951434}};
  for (size_t i = 0; i < sizeof reference / sizeof *reference; i++) {
    double got[3];
    expect(row_kernels_current(), reference[i][0], reference[i][1], got);
    for (int a = 0; a < 3; a++) CHECK_CLOSE(got[a], reference[i][2 + a], 2e-13);
  }
}

/* On both sides of each change of rule, and with all builds of the kernels. */
static void test_brute_force(void) {
  static const double s[] = {1e-9, 0.01, 0.149, 0.151, 0.38, 0.7, 1,
                             1.7,  3,    4.99,  5.01,  13,   50,  1000};
  static const double mu[] = {-60, -9, -2, -0.3, 0, 0.1, 1, 4, 20, 90};
  for (size_t i = 0; i < sizeof s / sizeof *s; i++)
    for (size_t j = 0; j < sizeof mu / sizeof *mu; j++) {
      double got[3], plain[3], want[3];
      brute_force(mu[j], s[i], want);
      expect(row_kernels_current(), mu[j], s[i], got);
      expect(&row_kernels_plain, mu[j], s[i], plain);
      for (int a = 0; a < 3; a++) {
        CHECK_CLOSE(got[a], want[a], 2e-13);
        CHECK_CLOSE(plain[a], want[a], 2e-13);
      }
    }
}

/* No sd, and sds that differ within a block; far tails keep their relative accuracy. */
static void test_points(void) {
  double mu[LD] = {-700, -40, -1, 0, 1, 40, 700, 1e5}, scratch[2 * LD];
  double value[LD], first[LD], second[LD], same[LD];
  const double zero[LD] = {0};
  softplus_expectation(row_kernels_current(), LD, mu, NULL, scratch, value, first, second);
  softplus_expectation(row_kernels_current(), LD, mu, zero, scratch, same, NULL, NULL);
  for (int i = 0; i < LD; i++) {
    const double x = mu[i], e = exp(-fabs(x)), want = fmax(x, 0.0) + log1p(e);
    CHECK(fabs(value[i] - want) <= 4e-16 * want);
    CHECK(same[i] == value[i]);
    CHECK_CLOSE(first[i], (x > 0 ? 1.0 : e) / (1.0 + e), 1e-15);
    CHECK_CLOSE(second[i], e / ((1.0 + e) * (1.0 + e)), 1e-15);
  }
  const double sd[LD] = {0, 0.1, 0.2, 1, 5, 29, 31, 400}, means[LD] = {1, 1, 1, 1, 1, 1, 1, 1};
  softplus_expectation(row_kernels_current(), LD, means, sd, scratch, value, first, second);
  for (int i = 1; i < LD; i++) {
    double want[3];
    brute_force(1.0, sd[i], want);
    CHECK_CLOSE(value[i], want[0], 2e-13);
    CHECK_CLOSE(first[i], want[1], 2e-13);
    CHECK_CLOSE(second[i], want[2], 2e-13);
  }
}

int main(void) {
  test_integrate();
  test_brute_force();
  test_points();
  return FINISH();
}
