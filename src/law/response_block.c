/* Many predictors at once: the laws of which exp() and log() are all there is to compute go through
 * the kernels of rows, the others point by point. */
#include <math.h>

#include "law/response_law.h"
#include "math/softplus.h"

/* The log density is y x - total log(1 + e^(x - shift)): binomial with logit link, and negative
 * binomial. */
static void logistic_block(int n, int each, const double *y, const double *total, double extra,
                           double shift, const double *x, const response_block *out,
                           double *scratch) {
  const int ld = n * each;
  double *w = scratch + 2 * (size_t)ld;
  for (int e = 0; e < ld; e++) w[e] = x[e] - shift;
  softplus_expectation(row_kernels_current(), ld, w, NULL, scratch, out->value, out->x, out->xx);
  for (int i = 0; i < n; i++) {
    const double y_i = y[i], total_i = extra + (total ? total[i] : 1.0);
    const size_t at = (size_t)each * (size_t)i;
    double *value = out->value + at, *first = out->x + at, *second = out->xx + at;
    for (int k = 0; out->xxx && k < each; k++)
      out->xxx[at + (size_t)k] = -total_i * second[k] * (1.0 - 2.0 * first[k]);
    for (int k = 0; k < each; k++) {
      value[k] = y_i * x[at + (size_t)k] - total_i * value[k];
      first[k] = y_i - total_i * first[k];
      second[k] = -total_i * second[k];
    }
  }
}

static void poisson_block(int n, int each, const double *y, const double *x,
                          const response_block *out) {
  row_kernels_current()->exp(n * each, x, out->value);
  for (int i = 0; i < n; i++) {
    const size_t at = (size_t)each * (size_t)i;
    for (size_t e = at; e < at + (size_t)each; e++) {
      const double mu = out->value[e];
      out->value[e] = y[i] * x[e] - mu;
      out->x[e] = y[i] - mu;
      out->xx[e] = -mu;
      if (out->xxx) out->xxx[e] = -mu;
    }
  }
}

static void point_block(const response_law *law, int n, int each, const double *y,
                        const double *size, const double *x, const response_block *out) {
  for (int i = 0; i < n; i++) {
    const size_t at = (size_t)each * (size_t)i;
    for (size_t e = at; e < at + (size_t)each; e++) {
      response_point point;
      law->point(law, y[i], size ? size[i] : 1.0, x[e], &point);
      out->value[e] = point.value;
      out->x[e] = point.x;
      out->xx[e] = point.xx;
      if (out->xxx) out->xxx[e] = point.xxx;
    }
  }
}

void response_law_block(const response_law *law, int n, int each, const double *y,
                        const double *size, const double *x, const response_block *out,
                        double *scratch) {
  if (law->family == RESPONSE_BINOMIAL && law->link == RESPONSE_LOGIT)
    logistic_block(n, each, y, size, 0.0, 0.0, x, out, scratch);
  else if (law->family == RESPONSE_NEGATIVE_BINOMIAL)
    logistic_block(n, each, y, y, law->natural[0], law->psi[0], x, out, scratch);
  else if (law->family == RESPONSE_POISSON)
    poisson_block(n, each, y, x, out);
  else
    point_block(law, n, each, y, size, x, out);
}
