/* Laws of parameters.  For an exponential family with density exp(eta'T - A(eta)) up to a factor
 * the expectations of T are dA/d eta, and -KL(q || p) = (eta_p - eta_q)'E_q T - A(eta_p) +
 * A(eta_q). */
#include <string.h>

#include "math/digamma.h"
#include "math/la.h"
#include "law/exponential_family.h"
#include "reference.h"

enum { MOST = 3 };

/* A symmetric positive definite matrix. */
static double *random_matrix(int n) {
  double *L = new_doubles(n * n), *A = new_doubles(n * n);
  for (int j = 0; j < n; j++)
    for (int i = j; i < n; i++) L[i + n * j] = i == j ? 0.7 + random_uniform() : random_normal();
  la_multiply_t(L, L, n, n, n, A);
  return A;
}

static double log_det(const double *A, int n) {
  double *L = copy_doubles(A, n * n);
  CHECK(la_chol(L, n) == ELBO_OK);
  return la_log_det_from_chol(L, n);
}

static double dot(const double *x, const double *y, int n) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

/* A = m'P m / 2 - log |P| / 2, P the precision. */
static void normal_constant(void *ctx, const double *eta, double *out) {
  const int n = *(int *)ctx;
  double *mean = new_doubles(n), *cov = new_doubles(n * n);
  CHECK(law_normal_from_natural(n, eta, mean, cov) == ELBO_OK);
  *out = 0.5 * dot(eta, mean, n) + 0.5 * log_det(cov, n);
}

static void test_normal(void) {
  for (int n = 1; n <= MOST; n++) {
    const int size = law_normal_size(n);
    double *cov = random_matrix(n), *precision = copy_doubles(cov, n * n), *mean = new_doubles(n);
    double *linear = new_doubles(n), *eta = new_doubles(size), *m = new_doubles(size);
    double *back = new_doubles(n), *cov_back = new_doubles(n * n), slope;
    CHECK(la_chol(precision, n) == ELBO_OK && la_inverse_from_chol(precision, n) == ELBO_OK);
    for (int a = 0; a < n; a++) mean[a] = random_normal();
    la_multiply(precision, mean, n, n, 1, linear);
    law_normal_natural(n, precision, linear, eta);
    CHECK(law_normal_from_natural(n, eta, back, cov_back) == ELBO_OK);
    CHECK(distance(back, mean, n) < 1e-13 && distance(cov_back, cov, n * n) < 1e-13);
    law_normal_moments(n, mean, cov, m);
    for (int i = 0; i < size; i++) {
      differences(normal_constant, &n, eta, size, i, 1e-3, &slope, 1);
      CHECK_CLOSE(m[i], slope, 1e-9);
    }
    eta[n] = 0.5; /* a negative precision */
    CHECK(law_normal_from_natural(n, eta, back, cov_back) == ELBO_E_NOT_PD);
    test_free();
  }
}

static void wishart_constant(void *ctx, const double *eta, double *out) {
  const int n = *(int *)ctx;
  double df, *S = new_doubles(n * n);
  CHECK(law_wishart_from_natural(n, eta, &df, S, new_doubles(n * n)) == ELBO_OK);
  *out = -law_wishart_log_constant(n, df, log_det(S, n));
}

static void test_wishart(void) {
  for (int n = 1; n <= MOST; n++) {
    const int size = law_wishart_size(n);
    const double df = n + 2.5, df0 = n + 0.3;
    double *S = random_matrix(n), *S0 = random_matrix(n), *X = random_matrix(n),
           *back = new_doubles(n * n);
    double *work = new_doubles(2 * n * n), *T = new_doubles(size), *m = new_doubles(size);
    double *eta = new_doubles(size), *eta0 = new_doubles(size), df_back, slope;
    law_wishart_natural(n, df, S, eta);
    law_wishart_natural(n, df0, S0, eta0);
    CHECK(law_wishart_from_natural(n, eta, &df_back, back, work) == ELBO_OK);
    CHECK(distance(back, S, n * n) < 1e-13 && fabs(df_back - df) < 1e-13);
    law_wishart_moments(n, df, S, m, work);
    for (int i = 0; i < size; i++) {
      differences(wishart_constant, &n, eta, size, i, 1e-3, &slope, 1);
      CHECK_CLOSE(m[i], slope, 1e-9);
    }
    const double C = law_wishart_log_constant(n, df, log_det(S, n));
    const double C0 = law_wishart_log_constant(n, df0, log_det(S0, n));
    CHECK_CLOSE(law_wishart_minus_kl(n, df, S, df0, S0, work),
                dot(eta0, m, size) - dot(eta, m, size) + C0 - C, 1e-12);
    CHECK_CLOSE(law_wishart_minus_kl(n, df, S, df, S, work), 0.0, 1e-13);
    /* The density of a point, from its T. */
    double *inverse = copy_doubles(X, n * n);
    CHECK(la_chol(inverse, n) == ELBO_OK && la_inverse_from_chol(inverse, n) == ELBO_OK);
    T[0] = log_det(X, n);
    for (int a = 0, i = 1; a < n; a++)
      for (int b = 0; b <= a; b++) T[i++] = inverse[a + n * b];
    CHECK_CLOSE(law_wishart_log_density(n, df, S, X, work), dot(eta, T, size) + C, 1e-12);
    CHECK_CLOSE(law_wishart_excess(n, df), m[0] - log_det(S, n) + n * log(df), 1e-12);
    eta[0] = -n; /* df = n - 1 */
    CHECK(law_wishart_from_natural(n, eta, &df_back, back, work) == ELBO_E_NOT_PD);
    memset(X, 0, (size_t)(n * n) * sizeof(double));
    CHECK(law_wishart_log_density(n, df, S, X, work) == -HUGE_VAL);
    test_free();
  }
}

/* Order one is inverse gamma(df / 2, S / 2): integrals over the line of log x, trapezoidal rule. */
static void test_inverse_gamma(void) {
  const double df = 4.2, S = 3.0;
  double total = 0.0, sd = 0.0, work[2];
  for (double u = -30.0; u < 60.0; u += 0.01) {
    const double x = exp(u), mass = 0.01 * x * exp(law_wishart_log_density(1, df, &S, &x, work));
    total += mass;
    sd += mass * sqrt(x);
  }
  CHECK_CLOSE(total, 1.0, 1e-12);
  CHECK_CLOSE(law_mean_sd(0.5 * df, 0.5 * S), sd, 1e-12);
  CHECK(law_mean_sd(0.5, 1.0) == HUGE_VAL);
}

/* For n = 2 the mean is pi/4 r F(1/2, 1/2; 2; r^2) = E(r) - (1 - r^2) K(r), over r, with complete
 * elliptic integrals by the trapezoidal rule, exact for what is periodic. */
static void test_correlation(void) {
  for (double r = -0.9; r < 1.0; r += 0.17) {
    double first = 0.0, second = 0.0;
    for (int i = 0; i < 1000; i++) {
      const double t = (i + 0.5) * acos(-1.0) / 2000.0, root = sqrt(1.0 - r * r * sin(t) * sin(t));
      first += acos(-1.0) / 2000.0 / root;
      second += acos(-1.0) / 2000.0 * root;
    }
    CHECK_CLOSE(law_mean_correlation(2.0, r), (second - (1.0 - r * r) * first) / r, 1e-12);
  }
  CHECK_CLOSE(law_mean_correlation(1e8, 0.3), 0.3, 1e-8);
}

/* With q(a) = inverse gamma((df + 1) / 2, rate), every term of the ELBO by itself, E log x = log
 * rate - digamma(shape) and E[1 / x] = shape / rate; no other rate gives more. */
static double half_t_terms(double df, double A, double shape, double rate, double aux_rate) {
  const double aux = 0.5 * (df + 1.0);
  const double log_x = log(rate) - math_digamma(shape), precision = shape / rate;
  const double log_a = log(aux_rate) - math_digamma(aux), of_a = aux / aux_rate;
  const double entropy = shape + log(rate) + lgamma(shape) - (shape + 1.0) * math_digamma(shape);
  const double aux_entropy = aux + log(aux_rate) + lgamma(aux) - (aux + 1.0) * math_digamma(aux);
  const double given_a = 0.5 * df * (log(df) - log_a) - lgamma(0.5 * df) -
                         (0.5 * df + 1.0) * log_x - df * of_a * precision;
  const double prior_a = -log(A) - lgamma(0.5) - 1.5 * log_a - of_a / (A * A);
  return given_a + prior_a + entropy + aux_entropy;
}

static void test_half_t(void) {
  static const double df[] = {1.0, 3.0, 7.5}, A[] = {0.1, 2.5, 40.0};
  for (int i = 0; i < 3; i++)
    for (double shape = 0.6; shape < 100.0; shape *= 3.0)
      for (double rate = 0.01; rate < 1e3; rate *= 7.0) {
        const double best = law_half_t_minus_kl(df[i], A[i], shape, rate);
        const double aux_rate = 1.0 / (A[i] * A[i]) + df[i] * shape / rate;
        CHECK_CLOSE(best, half_t_terms(df[i], A[i], shape, rate, aux_rate), 1e-12);
        CHECK(half_t_terms(df[i], A[i], shape, rate, 1.1 * aux_rate) < best);
        CHECK(half_t_terms(df[i], A[i], shape, rate, 0.9 * aux_rate) < best);
        CHECK_CLOSE(law_half_t_rate(df[i], A[i], shape / rate),
                    0.5 * df[i] * (df[i] + 1.0) / aux_rate, 1e-14);
      }
}

int main(void) {
  test_normal();
  test_wishart();
  test_inverse_gamma();
  test_correlation();
  test_half_t();
  return FINISH();
}
