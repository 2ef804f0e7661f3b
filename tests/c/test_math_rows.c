/* The kernels over blocks of rows, in each build, against libm and plain loops. */
#include "math/rows.h"

#include <string.h>

#include "math/logistic.h"
#include "reference.h"

/* Sums of some hundreds of products of numbers near one, in a different order. */
#define ROUNDING 1e-12

enum { LD = 56, D = 7, K = 3 }; /* an odd number of vectors, whatever their width */

/* Units in the last place between x and the reference. */
static double ulps(double x, double reference) {
  return fabs(x - reference) / (nextafter(fabs(reference), HUGE_VAL) - fabs(reference));
}

/* Worst errors seen over 4e6 numbers: exp 1.0, log 2.0 units in the last place. */
static void test_exp_log(const row_kernels *kernels) {
  double worst_exp = 0.0, worst_log = 0.0;
  double x[8], y[8];
  for (int i = 0; i < 20000; i++) {
    for (int l = 0; l < 8; l++)
      x[l] = 700.0 * (2.0 * random_uniform() - 1.0) * (i % 2 ? 1.0 : 1e-3);
    kernels->exp(8, x, y);
    for (int l = 0; l < 8; l++) worst_exp = fmax(worst_exp, ulps(y[l], exp(x[l])));
    for (int l = 0; l < 8; l++) x[l] = i % 2 ? exp(x[l]) : 0.5 + 2.0 * random_uniform();
    kernels->log(8, x, y);
    for (int l = 0; l < 8; l++) worst_log = fmax(worst_log, ulps(y[l], log(x[l])));
  }
  CHECK(worst_exp <= 1.5);
  CHECK(worst_log <= 3.0);
  const double edge[8] = {0.0, -HUGE_VAL, -745.0, -709.0, -708.0, 709.0, 1e308, -1e308};
  kernels->exp(8, edge, y);
  CHECK(y[0] == 1.0 && y[1] == 0.0 && y[2] == 0.0 && y[3] == 0.0 && y[7] == 0.0);
  CHECK_CLOSE(y[4], exp(-708.0), 1e-320);
  CHECK(ulps(y[5], exp(709.0)) <= 1.5 && isfinite(y[6]));
}

static void test_quadratic(const row_kernels *kernels, int lower) {
  double x[LD * D], centre[D], M[D * D], out[LD];
  const int rows = lower ? D : 2;
  for (int i = 0; i < LD * D; i++) x[i] = random_normal();
  for (int i = 0; i < D; i++) centre[i] = random_normal();
  for (int i = 0; i < D * D; i++) M[i] = random_normal();
  for (int i = 0; i < LD; i++) out[i] = i;
  kernels->quadratic(LD, D, x, centre, rows, lower, M, 0.25, out);
  for (int i = 0; i < LD; i++) {
    double sum = 0.0;
    for (int a = 0; a < rows; a++) {
      double y = 0.0;
      for (int b = 0; b < (lower ? a + 1 : D); b++) y += M[b + D * a] * (x[i + LD * b] - centre[b]);
      sum += y * y;
    }
    CHECK_CLOSE(out[i], i + 0.25 - 0.5 * sum, ROUNDING);
  }
}

static void test_crossprod(const row_kernels *kernels) {
  double x[LD * D], centre[D], r[LD], stat[(D + 1) * (D + 2) / 2];
  for (int i = 0; i < LD * D; i++) x[i] = random_normal();
  for (int i = 0; i < D; i++) centre[i] = random_normal();
  for (int i = 0; i < LD; i++) r[i] = i % 3 ? random_uniform() : 0.0;
  for (size_t i = 0; i < packed_size(D + 1); i++) stat[i] = 1.0;
  kernels->crossprod(LD, D, x, centre, r, stat);
  for (int a = 0, at = 0; a <= D; a++)
    for (int b = 0; b <= a; b++, at++) {
      double sum = 1.0;
      for (int i = 0; i < LD; i++)
        sum += r[i] * (a ? x[i + LD * (a - 1)] - centre[a - 1] : 1.0) *
               (b ? x[i + LD * (b - 1)] - centre[b - 1] : 1.0);
      CHECK_CLOSE(stat[at], sum, ROUNDING);
    }
  memset(r, 0, sizeof r);
  const double before = stat[3];
  kernels->crossprod(LD, D, x, centre, r, stat);
  CHECK(stat[3] == before);
}

static void test_posterior(const row_kernels *kernels) {
  double l[LD * K], given[LD * K], lse[LD];
  for (int i = 0; i < LD * K; i++) l[i] = 50.0 * random_normal() - 1e4;
  for (int j = 0; j < K; j++) l[LD * j] = -HUGE_VAL; /* impossible */
  for (int j = 0; j < K; j++) l[1 + LD * j] = j == 1 ? -1e300 : -HUGE_VAL;
  for (int j = 0; j < K; j++) l[2 + LD * j] = 3.0; /* no telling */
  memcpy(given, l, sizeof l);
  kernels->posterior(LD, K, l, lse);
  CHECK(lse[0] == -HUGE_VAL && l[0] == 0.0 && l[LD] == 0.0 && l[2 * LD] == 0.0);
  CHECK(lse[1] == -1e300 && l[1] == 0.0 && l[1 + LD] == 1.0);
  for (int i = 2; i < LD; i++) {
    double most = -HUGE_VAL, sum = 0.0;
    for (int j = 0; j < K; j++) most = fmax(most, given[i + LD * j]);
    for (int j = 0; j < K; j++) sum += exp(given[i + LD * j] - most);
    CHECK_CLOSE(lse[i], most + log(sum), 1e-15);
    for (int j = 0; j < K; j++)
      CHECK_CLOSE(l[i + LD * j], exp(given[i + LD * j] - most) / sum, 1e-15);
  }
}

/* Against math/logistic.h; 1,000 trials and predictors far out. */
static void test_logistic(const row_kernels *kernels) {
  enum { ROWS = 8, EACH = 16 };
  double y[ROWS], n[ROWS], x[ROWS * EACH], out[3][ROWS * EACH];
  for (int by_row = 0; by_row < 2; by_row++) {
    const int each = by_row ? EACH : 1;
    for (int i = 0; i < ROWS; i++) {
      n[i] = i == 3 ? 1000.0 : i;
      y[i] = floor(n[i] * random_uniform());
    }
    for (int e = 0; e < ROWS * each; e++) x[e] = (e % 5 == 0 ? 200.0 : 3.0) * random_normal();
    kernels->logistic(ROWS, each, y, n, 0.5, 0.25, x, out[0], out[1], out[2]);
    for (int e = 0; e < ROWS * each; e++) {
      const double w = x[e] - 0.25, all = n[e / each] + 0.5, own = y[e / each];
      CHECK_CLOSE(out[0][e], own * x[e] - all * softplus(w), 1e-14);
      CHECK_CLOSE(out[1][e], own - all * logistic(w), 1e-14);
      CHECK_CLOSE(out[2][e], -all * logistic_slope(w), 1e-14);
    }
  }
}

static void test_load(void) {
  const double x[10] = {1, 2, 3, 4, 5, 11, 12, 13, 14, 15};
  double block[16];
  rows_load(x, 5, 2, 2, 3, 8, block);
  for (int i = 0; i < 8; i++) {
    CHECK(block[i] == (i < 3 ? 3 + i : 5));
    CHECK(block[8 + i] == (i < 3 ? 13 + i : 15));
  }
  CHECK(rows_padded(0) == 0 && rows_padded(1) == 8 && rows_padded(8) == 8 && rows_padded(9) == 16);
}

int main(void) {
  const row_kernels *builds[3] = {&row_kernels_plain};
  int n = 1;
#if SIMD_X86
  if (simd_current() >= SIMD_AVX2) builds[n++] = &row_kernels_avx2;
  if (simd_current() >= SIMD_AVX512) builds[n++] = &row_kernels_avx512;
#endif
  for (int i = 0; i < n; i++) {
    test_exp_log(builds[i]);
    test_quadratic(builds[i], 0);
    test_quadratic(builds[i], 1);
    test_crossprod(builds[i]);
    test_posterior(builds[i]);
    test_logistic(builds[i]);
  }
  test_load();
  return FINISH();
}
