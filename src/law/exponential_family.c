#include "law/exponential_family.h"

#include <math.h>
#include <string.h>

#include "math/digamma.h"
#include "math/la.h"
#include "math/small.h"

/* ---- normal ---------------------------------------------------------------------------------- */

int law_normal_size(int n) { return n + n * (n + 1) / 2; }

void law_normal_natural(int n, const double *precision, const double *linear, double *eta) {
  memcpy(eta, linear, (size_t)n * sizeof(double));
  eta += n;
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) *eta++ = (a == b ? -0.5 : -1.0) * precision[a + n * b];
}

elbo_status law_normal_from_natural(int n, const double *eta, double *mean, double *cov) {
  const double *linear = eta;
  eta += n;
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) cov[a + n * b] = cov[b + n * a] = (a == b ? -2.0 : -1.0) * *eta++;
  elbo_status status = la_chol(cov, n);
  if (status == ELBO_OK) status = la_inverse_from_chol(cov, n);
  if (status == ELBO_OK) la_multiply(cov, linear, n, n, 1, mean);
  return status;
}

void law_normal_moments(int n, const double *mean, const double *cov, double *m) {
  memcpy(m, mean, (size_t)n * sizeof(double));
  m += n;
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) *m++ = cov[a + n * b] + mean[a] * mean[b];
}

/* ---- inverse Wishart ------------------------------------------------------------------------- */

int law_wishart_size(int n) { return 1 + n * (n + 1) / 2; }

void law_wishart_natural(int n, double df, const double *S, double *eta) {
  *eta++ = -0.5 * (df + n + 1.0);
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) *eta++ = (a == b ? -0.5 : -1.0) * S[a + n * b];
}

elbo_status law_wishart_from_natural(int n, const double *eta, double *df, double *S,
                                     double *work) {
  *df = -2.0 * *eta++ - n - 1.0;
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) S[a + n * b] = S[b + n * a] = (a == b ? -2.0 : -1.0) * *eta++;
  memcpy(work, S, (size_t)(n * n) * sizeof(double));
  return *df > n - 1.0 ? la_chol(work, n) : ELBO_E_NOT_PD;
}

double law_wishart_log_constant(int n, double df, double log_det_S) {
  double sum = 0.5 * df * (log_det_S - n * LOG_2) - 0.25 * n * (n - 1.0) * LOG_PI;
  for (int i = 0; i < n; i++) sum -= lgamma(0.5 * (df - i));
  return sum;
}

static double sum_digamma(int n, double df) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += math_digamma(0.5 * (df - i));
  return sum;
}

double law_wishart_excess(int n, double df) { return n * log(0.5 * df) - sum_digamma(n, df); }

/* work: the Cholesky factor of S; the answer is log |S|, NaN where there is none. */
static double log_det(int n, const double *S, double *work) {
  memcpy(work, S, (size_t)(n * n) * sizeof(double));
  return la_chol(work, n) == ELBO_OK ? la_log_det_from_chol(work, n) : NAN;
}

void law_wishart_moments(int n, double df, const double *S, double *m, double *work) {
  *m++ = log_det(n, S, work) - n * LOG_2 - sum_digamma(n, df);
  la_inverse_from_chol(work, n);
  for (int a = 0; a < n; a++)
    for (int b = 0; b <= a; b++) *m++ = df * work[a + n * b];
}

/* tr(A B), both symmetric. */
static double trace(int n, const double *A, const double *B) {
  double sum = 0.0;
  for (int i = 0; i < n * n; i++) sum += A[i] * B[i];
  return sum;
}

double law_wishart_log_density(int n, double df, const double *S, const double *X, double *work) {
  const double log_det_X = log_det(n, X, work);
  if (isnan(log_det_X)) return -HUGE_VAL;
  la_inverse_from_chol(work, n);
  return law_wishart_log_constant(n, df, log_det(n, S, work + n * n)) -
         0.5 * (df + n + 1.0) * log_det_X - 0.5 * trace(n, S, work);
}

double law_wishart_minus_kl(int n, double df, const double *S, double df0, const double *S0,
                            double *work) {
  const double log_det_S = log_det(n, S, work), log_det_S0 = log_det(n, S0, work + n * n);
  const double log_det_X = log_det_S - n * LOG_2 - sum_digamma(n, df);
  la_inverse_from_chol(work, n);
  return law_wishart_log_constant(n, df0, log_det_S0) - law_wishart_log_constant(n, df, log_det_S) +
         0.5 * (df - df0) * log_det_X - 0.5 * df * (trace(n, S0, work) - n);
}

double law_mean_sd(double shape, double rate) {
  return shape > 0.5 ? sqrt(rate) * exp(lgamma(shape - 0.5) - lgamma(shape)) : HUGE_VAL;
}

/* Inversion changes the sign of a correlation of two, so this is that of a Wishart
 * (Hotelling 1953, J. R. Stat. Soc. B 15:193): 2/n (Gamma((n + 1)/2) / Gamma(n/2))^2 r
 * F(1/2, 1/2; n/2 + 1; r^2). */
double law_mean_correlation(double n, double r) {
  const double ratio = exp(lgamma(0.5 * (n + 1.0)) - lgamma(0.5 * n));
  double term = 1.0, sum = 1.0;
  for (int i = 0; term > 1e-17 * sum && i < 100000; i++) {
    term *= (i + 0.5) * (i + 0.5) / ((0.5 * n + 1.0 + i) * (i + 1.0)) * r * r;
    sum += term;
  }
  return 2.0 / n * ratio * ratio * r * sum;
}

/* ---- half-t ---------------------------------------------------------------------------------- */

/* 1/A^2 + df E[1/sigma^2], of which the rate of q(a) is made. */
static double auxiliary_rate(double df, double scale, double precision) {
  return 1.0 / (scale * scale) + df * precision;
}

double law_half_t_rate(double df, double scale, double precision) {
  return 0.5 * df * (df + 1.0) / auxiliary_rate(df, scale, precision);
}

double law_half_t_minus_kl(double df, double scale, double shape, double rate) {
  const double log_variance = log(rate) - math_digamma(shape);
  const double entropy = shape + log(rate) + lgamma(shape) - (shape + 1.0) * math_digamma(shape);
  return 0.5 * df * log(df) - lgamma(0.5 * df) - log(scale) - 0.5 * LOG_PI +
         lgamma(0.5 * (df + 1.0)) -
         0.5 * (df + 1.0) * log(auxiliary_rate(df, scale, shape / rate)) -
         (0.5 * df + 1.0) * log_variance + entropy;
}
