#include "law/scale_factor.h"

#include <math.h>
#include <string.h>

#include "law/exponential_family.h"
#include "math/digamma.h"
#include "math/gamma_ratio.h"

/* E f(log x), x inverse gamma(a, e^s), and derivatives by s and a; size: of what is added up. */
typedef struct {
  double value, s, ss, a, aa, as, size;
} expectation;

static double log_beta(double a, double b) { return lgamma(a) + lgamma(b) - lgamma(a + b); }

/* Lewandowski, Kurowicka and Joe (2009, Journal of Multivariate Analysis 100:1989), (16). */
double lkj_log_constant(int q, double eta) {
  double sum = 0.0;
  for (int k = 1; k < q; k++) {
    const double shape = eta + 0.5 * (q - k - 1);
    sum -= (q - k) * ((2.0 * eta - 2.0 + q - k) * log(2.0) + log_beta(shape, shape));
  }
  return sum;
}

/* Adds c E x^r = c e^{r s} gamma(a - r) / gamma(a). */
static void add_power(double c, double r, double s, double a, expectation *e) {
  if (c == 0.0) return;
  const double m = c * exp(r * s) * math_gamma_ratio(a, -r);
  const double slope = math_digamma(a - r) - math_digamma(a);
  e->value += m;
  e->size += fabs(m);
  e->s += r * m;
  e->ss += r * r * m;
  e->a += m * slope;
  e->as += r * m * slope;
  e->aa += m * (slope * slope + math_trigamma(a - r) - math_trigamma(a));
}

/* Adds c E log x. */
static void add_log(double c, double s, double a, expectation *e) {
  e->value += c * (s - math_digamma(a));
  e->size += fabs(c * s) + fabs(c * math_digamma(a));
  e->s += c;
  e->a -= c * math_trigamma(a);
  e->aa -= c * math_tetragamma(a);
}

/* Adds c E log(1 + x e^{-b}), x = e^{s - y}, y the logarithm of a gamma(a) number.  The density of
 * y, prop. to exp(a y - e^y), is analytic and falls exponentially, so that the trapezoidal rule has
 * all digits; derivatives by a are cumulants, since y has natural parameter a. */
static void add_half_t(double c, double b, double s, double a, expectation *e) {
  const double mode = log(a), h = fmin(0.25, 0.4 / sqrt(a));
  double sum[8] = {0};
  for (int side = -1; side <= 1; side += 2)
    for (int i = side > 0 ? 0 : 1;; i++) {
      const double t = side * i * h, log_weight = a * (t - expm1(t));
      if (log_weight < -45.0) break;
      const double w = exp(log_weight), l = s - b - mode - t;
      const double f = l > 0.0 ? l + log1p(exp(-l)) : log1p(exp(l));
      const double p = l > 0.0 ? 1.0 / (1.0 + exp(-l)) : exp(l) / (1.0 + exp(l));
      const double term[8] = {1.0, f, p, p * (1.0 - p), t, f * t, p * t, f * t * t};
      for (int j = 0; j < 8; j++) sum[j] += w * term[j];
    }
  for (int j = 1; j < 8; j++) sum[j] /= sum[0];
  const double f = sum[1], y = math_digamma(a) - mode, v = math_trigamma(a);
  e->value += c * f;
  e->size += fabs(c * f);
  e->s += c * sum[2];
  e->ss += c * sum[3];
  e->a += c * (sum[5] - f * y);
  e->as += c * (sum[6] - sum[2] * y);
  e->aa += c * (sum[7] - 2.0 * y * sum[5] + 2.0 * y * y * f - f * (v + y * y));
}

/* E log p(sd), x = sd^2, and more of log x. */
static expectation expect_prior(const sd_prior *law, double more_log, double s, double a) {
  expectation e = {0};
  double constant, by_log, coefficient[SD_POWERS];
  sd_prior_terms(law, &constant, &by_log, coefficient);
  e.value = constant;
  e.size = fabs(constant);
  add_log(by_log + more_log, s, a, &e);
  for (int r = 0; r < SD_POWERS; r++) add_power(coefficient[r], sd_prior_power[r], s, a, &e);
  if (law->family == SD_HALF_T)
    add_half_t(-0.5 * (law->df + 1.0), log(law->df) + 2.0 * log(law->scale), s, a, &e);
  return e;
}

/* The least d: each sd has a mean under q, and so has what is in E log p(sd). */
static double least_df(int q, const sd_prior *law) {
  double most = 0.5, constant, by_log, coefficient[SD_POWERS];
  for (int k = 0; k < q; k++) {
    sd_prior_terms(law + k, &constant, &by_log, coefficient);
    for (int r = 0; r < SD_POWERS; r++)
      if (coefficient[r] != 0.0) most = fmax(most, sd_prior_power[r]);
  }
  return q - 1.0 + 2.0 * most;
}

typedef struct {
  double value, slope, curvature; /* phi and its derivatives by d */
  double size;                    /* of what phi adds up */
  double by_log[SCALE_MAX_ORDER], by_log2[SCALE_MAX_ORDER], mixed[SCALE_MAX_ORDER];
} profile;

static void evaluate(int q, double n, const sd_prior *law, double eta, double log_det,
                     const double *log_S, double d, profile *p) {
  const double a = 0.5 * (d - q + 1.0), log_half = log(0.5 * d);
  double excess = q * log_half, slope = q / d, curvature = -q / (d * d);
  for (int i = 0; i < q; i++) {
    const double x = 0.5 * (d - i);
    excess -= math_digamma(x);
    slope -= 0.5 * math_trigamma(x);
    curvature -= 0.25 * math_tetragamma(x);
  }
  const double c = 0.5 * (d + q + 1.0 - n) + eta - 1.0;
  /* E log q is that of inverse Wishart: law_wishart_log_constant() is the logarithm of what its
   * density is multiplied by. */
  const double own = law_wishart_log_constant(q, d, q * log(d));
  const double by_log_det = 0.5 * (q + 1.0) + eta - 1.0;
  p->value = -own + 0.5 * d * q - q * log(2.0) + lkj_log_constant(q, eta) + c * excess +
             by_log_det * log_det;
  p->size = fabs(own) + 0.5 * d * q * (1.0 + fabs(log(d))) + fabs(c) * q * (1.0 + fabs(log_half)) +
            fabs(by_log_det * log_det);
  p->slope = c * slope;
  p->curvature = 0.5 * slope + c * curvature;
  for (int k = 0; k < q; k++) {
    const expectation e = expect_prior(law + k, -(0.5 * q + eta - 1.0), log_S[k] + log_half, a);
    p->value += e.value;
    p->size += e.size;
    p->slope += 0.5 * e.a + e.s / d;
    p->curvature += 0.25 * e.aa + e.as / d + (e.ss - e.s) / (d * d);
    p->by_log[k] = e.s;
    p->by_log2[k] = e.ss;
    p->mixed[k] = 0.5 * e.as + e.ss / d;
  }
}

elbo_status scale_factor_at(int q, double n, const sd_prior *law, double eta, double log_det,
                            const double *log_S, scale_factor *out) {
  const double least = least_df(q, law);
  double low = -HUGE_VAL, high = HUGE_VAL, u = log(fmax(n + q - 1.0 - least, 1.0));
  profile p;
  /* Newton's method in log(d - least) inside a bracket of the sign of the slope. */
  for (int i = 0; i < 200; i++) {
    const double above = exp(u);
    evaluate(q, n, law, eta, log_det, log_S, least + above, &p);
    if (!isfinite(p.slope)) return ELBO_E_NOT_FINITE;
    const double slope = above * p.slope, curvature = above * (p.slope + above * p.curvature);
    if (slope > 0.0)
      low = u;
    else
      high = u;
    double next = curvature < 0.0 ? u - fmax(-2.0, fmin(2.0, slope / curvature))
                                  : u + (slope > 0.0 ? 1.0 : -1.0);
    if (fabs(next - u) < 1e-13 * fmax(1.0, fabs(u))) break;
    if (!(next > low && next < high))
      next = isinf(low) || isinf(high) ? u + (slope > 0.0 ? 1.0 : -1.0) : 0.5 * (low + high);
    if (next < -15.0 || next > 40.0) return ELBO_E_NOT_FINITE;
    u = next;
  }
  out->d = least + exp(u);
  out->value = p.value;
  out->size = p.size;
  out->by_log_det = 0.5 * (q + 1.0) + eta - 1.0;
  out->df_information = -p.curvature;
  for (int k = 0; k < q; k++) {
    out->by_log[k] = p.by_log[k];
    out->curvature[k] = p.by_log2[k];
    out->df_slope[k] = -p.mixed[k] / p.curvature;
  }
  return isfinite(p.value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}
