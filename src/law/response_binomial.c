/* y successes of `size` trials, which need not be whole numbers: a log density is that of successes
 * times y plus that of failures times size - y. */
#include <math.h>

#include "law/response_law.h"
#include "math/logistic.h"
#include "math/normal_tail.h"

static double constant(const response_law *law, double y, double size) {
  (void)law;
  return lgamma(size + 1.0) - lgamma(y + 1.0) - lgamma(size - y + 1.0);
}

static void logit(const response_law *law, double y, double size, double x, response_point *out) {
  const double p = logistic(x), q = logistic(-x), slope = logistic_slope(x), n = size - y;
  (void)law;
  out->value = -(y > 0.0 ? y * softplus(-x) : 0.0) - (n > 0.0 ? n * softplus(x) : 0.0);
  out->x = y * q - n * p;
  out->xx = -size * slope;
  out->xxx = -size * slope * (q - p);
}

static void probit(const response_law *law, double y, double size, double x, response_point *out) {
  const double n = size - y;
  double above[4], below[4];
  (void)law;
  normal_log_cdf(x, above);
  normal_log_cdf(-x, below);
  out->value = (y > 0.0 ? y * above[0] : 0.0) + (n > 0.0 ? n * below[0] : 0.0);
  out->x = y * above[1] - n * below[1];
  out->xx = y * above[2] + n * below[2];
  out->xxx = y * above[3] - n * below[3];
}

/* log(1 - exp(-mu)), mu = e^x: by x q = mu / (e^mu - 1), and q' = q t with t = 1 - mu - q, which is
 * -mu / 2 - mu^2 / 12 + mu^4 / 720 - ... (Bernoulli's numbers) where mu is small. */
static void cloglog(const response_law *law, double y, double size, double x, response_point *out) {
  static const double series[6] = {-1.0 / 12.0,     1.0 / 720.0,       -1.0 / 30240.0,
                                   1.0 / 1209600.0, -1.0 / 47900160.0, 691.0 / 1307674368000.0};
  const double mu = exp(x), n = size - y;
  const double q = mu > 700.0 ? 0.0 : mu > 0.0 ? mu / expm1(mu) : 1.0;
  double t = 1.0 - mu - q;
  if (mu < 0.5) {
    const double square = mu * mu;
    t = 0.0;
    for (int i = 5; i >= 0; i--) t = square * (series[i] + t);
    t -= 0.5 * mu;
  }
  (void)law;
  /* Where e^x underflows the logarithm is x. */
  const double log_success = mu > 0.0 ? log_1m_exp(mu) : x;
  const double bend = q > 0.0 ? q * t : 0.0, third = q > 0.0 ? q * (t * t - mu - q * t) : 0.0;
  out->value = (y > 0.0 ? y * log_success : 0.0) - (n > 0.0 ? n * mu : 0.0);
  out->x = y * q - (n > 0.0 ? n * mu : 0.0);
  out->xx = y * bend - (n > 0.0 ? n * mu : 0.0);
  out->xxx = y * third - (n > 0.0 ? n * mu : 0.0);
}

void response_binomial(response_law *law) {
  law->constant = constant;
  law->point = law->link == RESPONSE_LOGIT     ? logit
               : law->link == RESPONSE_PROBIT  ? probit
               : law->link == RESPONSE_CLOGLOG ? cloglog
                                               : NULL;
}
