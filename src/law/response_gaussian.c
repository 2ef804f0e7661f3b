/* A normal response; `size` is its precision, psi the logarithm of the sd where that is 1. */
#include <math.h>

#include "law/response_law.h"
#include "math/small.h"

static double sd_of(const response_law *law) { return law->n_own > 0 ? law->natural[0] : 1.0; }

static int set(response_law *law) {
  law->natural[0] = exp(law->psi[0]);
  return isfinite(law->natural[0]) && law->natural[0] > 0.0;
}

static double constant(const response_law *law, double y, double size) {
  (void)y;
  return 0.5 * (log(size) - LOG_2PI) - log(sd_of(law));
}

static void point(const response_law *law, double y, double size, double x, response_point *out) {
  const double sd = sd_of(law), precision = size / (sd * sd), r = y - x;
  out->value = -0.5 * r * r * precision;
  out->x = r * precision;
  out->xx = -precision;
  out->xxx = 0.0;
}

static void own(const response_law *law, double y, double size, double x, response_own *out) {
  const double sd = sd_of(law), precision = size / (sd * sd), r = y - x;
  out->own[0] = r * r * precision - 1.0;
  out->own_own[0] = -2.0 * r * r * precision;
  out->x_own[0] = -2.0 * r * precision;
  out->xx_own[0] = 2.0 * precision;
}

static void expect(const response_law *law, double y, double size, double mean, double sd,
                   response_expectation *out) {
  const double own_sd = sd_of(law), precision = size / (own_sd * own_sd), r = y - mean;
  out->value = -0.5 * (r * r + sd * sd) * precision;
  out->m = r * precision;
  out->s = -sd * precision;
  out->mm = -precision;
  out->ms = 0.0;
  out->ss = -precision;
}

void response_gaussian(response_law *law) {
  law->set = law->n_own > 0 ? set : NULL;
  law->constant = constant;
  law->point = point;
  law->own = own;
  law->expect = expect;
}
