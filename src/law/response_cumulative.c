/* An ordered response: category c of 0 .. n_own has probability F(b) - F(a), where a = t_{c-1} - x
 * and b = t_c - x with thresholds t_0 < t_1 < ..., -Inf before the first and Inf after the last.
 *
 * psi_0 = t_0 and psi_j = log(t_j - t_{j-1}).  psi_l with l < c moves both bounds alike, as -x
 * does, and psi_c moves b alone; so of the derivatives by bounds those by b, with x, are enough. */
#include <math.h>
#include <string.h>

#include "law/response_law.h"
#include "math/logistic.h"
#include "math/normal_tail.h"
#include "math/small.h"

/* Derivatives by x as in response_point, and by b, by b twice, by b and x (once and twice). */
typedef struct {
  response_point at;
  double b, bb, xb, xxb;
} interval;

static int set(response_law *law) {
  law->natural[0] = law->psi[0];
  for (int j = 1; j < law->n_own; j++) law->natural[j] = law->natural[j - 1] + exp(law->psi[j]);
  return isfinite(law->psi[0]) && isfinite(law->natural[law->n_own - 1]);
}

/* One bound is infinite: l is the log of F(b), or of F(-a); its derivatives by the bound. */
static void one_sided(const double *l, int upper, interval *out) {
  const double sign =
      upper ? -1.0 : 1.0; /* of d bound / d x, or for the other side of d -a / d x */
  out->at = (response_point){l[0], sign * l[1], l[2], sign * l[3]};
  out->b = upper ? l[1] : 0.0;
  out->bb = upper ? l[2] : 0.0;
  out->xb = upper ? -l[2] : 0.0;
  out->xxb = upper ? l[3] : 0.0;
}

static void log_logistic(double x, double *l) {
  const double slope = logistic_slope(x);
  l[0] = -softplus(-x);
  l[1] = logistic(-x);
  l[2] = -slope;
  l[3] = slope * (logistic(x) - logistic(-x));
}

/* log F(b) + log F(-a) + log(1 - e^{-step}), step = b - a. */
static void logistic_interval(double a, double b, double step, interval *out) {
  double at_a[4], at_b[4];
  log_logistic(-a, at_a);
  log_logistic(b, at_b);
  const double ratio = 1.0 / expm1(step);
  out->at = (response_point){at_a[0] + at_b[0] + log_1m_exp(step), at_a[1] - at_b[1],
                             at_a[2] + at_b[2], at_a[3] - at_b[3]};
  out->b = at_b[1] + ratio;
  out->bb = at_b[2] - ratio * (1.0 + ratio);
  out->xb = -at_b[2];
  out->xxb = at_b[3];
}

/* r = phi(b) / P: d r / d b = -r (b + r), d r / d x = r (b - mean). */
static void normal_interval(double a, double b, double step, interval *out) {
  double l[4];
  normal_log_interval(a, step, l);
  const double r = exp(-0.5 * (b * b + LOG_2PI) - l[0]), from = b - l[1];
  out->at = (response_point){l[0], l[1], l[2], l[3]};
  out->b = r;
  out->bb = -r * (b + r);
  out->xb = r * from;
  out->xxb = r * (from * from - 1.0 - l[2]);
}

static void find(const response_law *law, int c, double x, interval *out) {
  const int logit = law->link == RESPONSE_LOGIT, last = law->n_own;
  const double *t = law->natural;
  double l[4];
  if (c == 0 || c == last) {
    const double bound = c == 0 ? t[0] - x : x - t[last - 1];
    (logit ? log_logistic : normal_log_cdf)(bound, l);
    one_sided(l, c == 0, out);
  } else if (logit) {
    logistic_interval(t[c - 1] - x, t[c] - x, exp(law->psi[c]), out);
  } else {
    normal_interval(t[c - 1] - x, t[c] - x, exp(law->psi[c]), out);
  }
}

static double constant(const response_law *law, double y, double size) {
  (void)law, (void)y, (void)size;
  return 0.0;
}

static void point(const response_law *law, double y, double size, double x, response_point *out) {
  interval at;
  (void)size;
  find(law, (int)y, x, &at);
  *out = at.at;
}

static void own(const response_law *law, double y, double size, double x, response_own *out) {
  const int c = (int)y, n = law->n_own;
  double by[RESPONSE_MAX_OWN]; /* d bounds / d psi_l */
  interval at;
  (void)size;
  find(law, c, x, &at);
  memset(out->own, 0, (size_t)n * sizeof(double));
  memset(out->x_own, 0, (size_t)n * sizeof(double));
  memset(out->xx_own, 0, (size_t)n * sizeof(double));
  memset(out->own_own, 0, packed_size(n) * sizeof(double));
  for (int l = 0; l <= c && l < n; l++) {
    const double own = by[l] = l == 0 ? 1.0 : exp(law->psi[l]);
    const int alone = l == c; /* b moves alone */
    double *row = out->own_own + packed_size(l);
    out->own[l] = own * (alone ? at.b : -at.at.x);
    out->x_own[l] = own * (alone ? at.xb : -at.at.xx);
    out->xx_own[l] = own * (alone ? at.xxb : -at.at.xxx);
    for (int m = 0; m <= l; m++)
      row[m] = own * by[m] * (!alone ? at.at.xx : m < l ? -at.xb : at.bb);
    if (l > 0) row[l] += out->own[l];
  }
}

void response_cumulative(response_law *law) {
  law->set = set;
  law->constant = constant;
  law->own = own;
  law->point = law->link == RESPONSE_LOGIT || law->link == RESPONSE_PROBIT ? point : NULL;
}
