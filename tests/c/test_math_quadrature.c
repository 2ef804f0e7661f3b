/* Gauss's rules against zeros and weights in 50 digits, and against moments. */
#include <math.h>

#include "math/quadrature.h"
#include "reference.h"

/* n, index, node, weight: mpmath 1.3.0 (Python), 50 digits, by Newton's method on the orthonormal
 * Hermite polynomial and 1 / (n h_{n-1}^2). */
static const double known[][4] = {{2, 1, 1.0, 0.5},
                                  {5, 2, 0.0, 0.533333333333333333},
                                  {5, 3, 1.35562617997426587, 0.222075922005612644},
                                  {5, 4, 2.85697001387280565, 0.0112574113277206889},
                                  {20, 10, 0.346964157081355928, 0.260793063449554859},
                                  {20, 15, 3.94396735065731626, 0.000128826279961929449},
                                  {20, 19, 7.61904854167975829, 1.25780067243792702e-13},
                                  {101, 50, 0.0, 0.124401117840147535},
                                  {101, 75, 8.01212174702814157, 1.5582032341688863e-15},
                                  {101, 100, 19.0609775974938932, 4.84663170142400653e-80},
                                  {1000, 500, 0.0496605297482824118, 0.0395745492599319194},
                                  {1000, 750, 25.5965864816396756, 2.31796549233270418e-144},
                                  {1000, 999, 62.5211830436868994, 0.0}};

static void test_known(void) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    const int n = (int)known[i][0], at = (int)known[i][1];
    double *node = new_doubles(n), *weight = new_doubles(n), *scaled = new_doubles(n);
    CHECK(quadrature_normal(n, node, weight, scaled, new_doubles(2 * n)) == ELBO_OK);
    CHECK_CLOSE(node[at], known[i][2], 4e-15);
    CHECK(fabs(weight[at] - known[i][3]) <= 1e-13 * known[i][3]); /* the last one underflows */
    CHECK(node[n - 1 - at] == -node[at] && weight[n - 1 - at] == weight[at]);
  }
  test_free();
}

/* E z^{2k} = (2k - 1)!!, exact while 2k < 2n. */
static void test_moments(void) {
  for (int n = 1; n <= 40; n++) {
    double *node = new_doubles(n), *weight = new_doubles(n), *scaled = new_doubles(n), moment = 1.0;
    CHECK(quadrature_normal(n, node, weight, scaled, new_doubles(2 * n)) == ELBO_OK);
    for (int k = 0; k < n && k < 12; moment *= 2.0 * k++ + 1.0) {
      double sum = 0.0, with_scaled = 0.0;
      for (int i = 0; i < n; i++) {
        sum += weight[i] * pow(node[i], 2 * k);
        with_scaled += scaled[i] * pow(node[i], 2 * k) * exp(-0.5 * node[i] * node[i]);
      }
      CHECK(fabs(sum - moment) <= 1e-12 * moment);
      CHECK(fabs(with_scaled / sqrt(8.0 * atan(1.0)) - moment) <= 1e-12 * moment);
    }
  }
  test_free();
}

/* E cos(t z) = exp(-t^2 / 2). */
static void test_characteristic(void) {
  enum { N = 200 };
  double node[N], weight[N], scaled[N], work[2 * N];
  CHECK(quadrature_normal(N, node, weight, scaled, work) == ELBO_OK);
  for (double t = 0.0; t < 12.0; t += 0.7) {
    double sum = 0.0;
    for (int i = 0; i < N; i++) sum += weight[i] * cos(t * node[i]);
    CHECK(fabs(sum - exp(-0.5 * t * t)) < 1e-13);
  }
}

static void test_interval(void) {
  for (int n = 1; n <= 60; n++) {
    double *node = new_doubles(n), *weight = new_doubles(n);
    quadrature_interval(n, node, weight);
    for (int k = 0; k < n; k++) {
      double sum = 0.0;
      for (int i = 0; i < n; i++) sum += weight[i] * pow(node[i], 2 * k);
      CHECK_CLOSE(sum, 2.0 / (2.0 * k + 1.0), 1e-14);
    }
    for (int i = 1; i < n; i++) CHECK(node[i] > node[i - 1]);
    test_free();
  }
}

int main(void) {
  test_known();
  test_moments();
  test_characteristic();
  test_interval();
  test_free();
  return FINISH();
}
