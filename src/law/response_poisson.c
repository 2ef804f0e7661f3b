/* A Poisson response with log link. */
#include <math.h>

#include "law/response_law.h"

static double constant(const response_law *law, double y, double size) {
  (void)law, (void)size;
  return -lgamma(y + 1.0);
}

static void point(const response_law *law, double y, double size, double x, response_point *out) {
  const double mu = exp(x);
  (void)law, (void)size;
  out->value = (y > 0.0 ? y * x : 0.0) - mu;
  out->x = y - mu;
  out->xx = out->xxx = -mu;
}

/* E e^x = exp(mean + sd^2 / 2). */
static void expect(const response_law *law, double y, double size, double mean, double sd,
                   response_expectation *out) {
  const double mu = exp(mean + 0.5 * sd * sd);
  (void)law, (void)size;
  out->value = (y > 0.0 ? y * mean : 0.0) - mu;
  out->m = y - mu;
  out->s = -sd * mu;
  out->mm = -mu;
  out->ms = -sd * mu;
  out->ss = -(1.0 + sd * sd) * mu;
}

void response_poisson(response_law *law) {
  law->constant = constant;
  law->point = point;
  law->expect = expect;
}
