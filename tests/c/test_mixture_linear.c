/* Units of rows, against the mean and the mean square of the rows themselves. */
#include "mixture/linear.h"
#include "reference.h"

enum { N = 50 };

static int is_power_of_two(double x) { return ldexp(1.0, ilogb(x)) == x; }

static void check_intercept(void) {
  double X[3 * N];
  for (int i = 0; i < N; i++) {
    X[i] = random_normal();
    X[i + N] = 0.0;
    X[i + 2 * N] = -2.5;
  }
  CHECK(linear_intercept(X, N, 3) == 2);
  CHECK(linear_intercept(X, N, 2) == -1); /* a column of zeros is none */
  CHECK(linear_intercept(X, N, 0) == -1);
}

/* The root mean square of x scale lies in [1, 2), whatever the unit of x. */
static void check_scale(void) {
  for (int e = -150; e <= 150; e += 50) {
    const double unit = pow(10.0, e);
    double x[N], sum = 0.0;
    for (int i = 0; i < N; i++) x[i] = unit * (3.0 + random_normal());
    const double scale = linear_scale(x, N, 3.0 * unit);
    for (int i = 0; i < N; i++) sum += pow((x[i] - 3.0 * unit) * scale, 2.0) / N;
    CHECK(is_power_of_two(scale));
    CHECK(sqrt(sum) >= 1.0 && sqrt(sum) < 2.0);
  }
  const double zero[2] = {0.0, 0.0};
  CHECK(linear_scale(zero, 2, 0.0) == 1.0);
}

static void check_response(void) {
  double y[N], offset[N], weights[N], centre = 0.0, spread = 0.0;
  for (int i = 0; i < N; i++) {
    offset[i] = random_normal();
    weights[i] = 0.5 + random_uniform();
    y[i] = 7.0 + 2.0 * random_normal() + offset[i];
    centre += (y[i] - offset[i]) / N;
  }
  const linear_units units = linear_response(y, offset, weights, N, 1);
  CHECK_CLOSE(units.centre, centre, 1e-14);
  CHECK(is_power_of_two(units.scale));
  for (int i = 0; i < N; i++)
    spread += weights[i] * pow((y[i] - offset[i] - centre) * units.scale, 2.0) / N;
  CHECK_CLOSE(units.spread, spread, 1e-13);
  CHECK(linear_response(y, offset, weights, N, 0).centre == 0.0);
  const linear_units one = linear_response(y, NULL, NULL, 1, 1); /* nothing is left of one row */
  CHECK(one.centre == y[0] && one.scale == 1.0 && one.spread == 1.0);
}

int main(void) {
  check_intercept();
  check_scale();
  check_response();
  return FINISH();
}
