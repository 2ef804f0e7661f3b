/* Many predictors at once: the laws of which exp() and log() are all there is to compute go through
 * the kernels of rows, the others point by point. */
#include <math.h>

#include "law/response_law.h"
#include "math/rows.h"

/* The log density is y x - total log(1 + e^(x - shift)): binomial with logit link, and negative
 * binomial; with the logistic function p the third derivative is 1 - 2 p times the second. */
static void logistic_block(int n, int each, const double *y, const double *total, double extra,
                           double shift, const double *x, const response_block *out) {
  row_kernels_current()->logistic(n, each, y, total, extra, shift, x, out->value, out->x, out->xx);
  for (int i = 0; out->xxx && i < n; i++) {
    const double y_i = y[i], total_i = extra + (total ? total[i] : 1.0);
    const size_t at = (size_t)each * (size_t)i;
    for (size_t e = at; e < at + (size_t)each; e++)
      out->xxx[e] = total_i > 0.0 ? out->xx[e] * (1.0 - 2.0 * (y_i - out->x[e]) / total_i) : 0.0;
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
                        const double *size, const double *x, const response_block *out) {
  if (law->family == RESPONSE_BINOMIAL && law->link == RESPONSE_LOGIT)
    logistic_block(n, each, y, size, 0.0, 0.0, x, out);
  else if (law->family == RESPONSE_NEGATIVE_BINOMIAL)
    logistic_block(n, each, y, y, law->natural[0], law->psi[0], x, out);
  else if (law->family == RESPONSE_POISSON)
    poisson_block(n, each, y, x, out);
  else
    point_block(law, n, each, y, size, x, out);
}
