/* phi(S, d) against its definition, for q(sd^2) by numerical integration, and its derivatives. */
#include "law/exponential_family.h"
#include "law/scale_factor.h"
#include "math/gamma_ratio.h"
#include "reference.h"

static const sd_prior law[] = {{SD_FLAT, 0, 1},          {SD_HALF_T, 3, 2.5},
                               {SD_HALF_T, 1, 0.2},      {SD_HALF_NORMAL, 0, 1.5},
                               {SD_INVERSE_GAMMA, 2, 3}, {SD_EXPONENTIAL, 0, 0.7},
                               {SD_NORMAL, 1.5, 0.8},    {SD_GAMMA_PRECISION, 1.5, 0.9}};
enum { LAWS = sizeof law / sizeof *law };

/* E log p(sd) + entropy of q(x) - n E log(x / S) / 2, x inverse gamma(d / 2, d S / 2), by the
 * trapezoidal rule in y = log x; p(x) = p(sd) / (2 sd). */
static double reference(const sd_prior *prior, double n, double S, double d) {
  double sum = 0.0, slope;
  const double a = 0.5 * d, h = 0.002;
  for (double y = log(S) - 60.0; y < log(S) + 200.0; y += h) {
    const double x = exp(y), log_q = a * log(a * S) - lgamma(a) - a * y - a * S / x; /* of y */
    if (log_q < -80.0) continue;
    sum += h * exp(log_q) *
           (sd_prior_log_density(prior, x, &slope) + 0.5 * y - log(2.0) - log_q -
            0.5 * n * (y - log(S)));
  }
  return sum;
}

/* The value, and no other d is better. */
static void test_value(void) {
  for (int l = 0; l < LAWS; l++)
    for (double n = 6.0; n < 300.0; n *= 7.0)
      for (double S = 0.1; S < 20.0; S *= 5.0) {
        scale_factor f;
        const double log_S = log(S);
        CHECK(scale_factor_at(1, n, law + l, 1.0, log_S, &log_S, &f) == ELBO_OK);
        CHECK_CLOSE(f.value, reference(law + l, n, S, f.d), 1e-8);
        CHECK(reference(law + l, n, S, 1.02 * f.d) < f.value);
        CHECK(reference(law + l, n, S, 0.98 * f.d) < f.value);
        if (l == 0) CHECK_CLOSE(f.d, n - 1.0, 1e-10); /* exactly inverse gamma */
        if (law[l].family == SD_GAMMA_PRECISION) CHECK_CLOSE(f.d, n + 2.0 * law[l].df, 1e-10);
      }
}

/* A covariance of two: log S_11, log S_22, log |S|. */
typedef struct {
  const sd_prior *law;
  double n, eta;
} matrix_case;

static void value_at(void *ctx, const double *x, double *out) {
  const matrix_case *c = (const matrix_case *)ctx;
  scale_factor f;
  CHECK(scale_factor_at(2, c->n, c->law, c->eta, x[2], x, &f) == ELBO_OK);
  out[0] = f.value;
  out[1] = f.d;
  out[2] = f.by_log[0];
  out[3] = f.by_log[1];
  out[4] = f.by_log_det;
}

static void test_derivatives(void) {
  for (int l = 0; l + 1 < LAWS; l++)
    for (double eta = 0.5; eta < 5.0; eta += 1.7) {
      const matrix_case c = {law + l, 12.0, eta};
      const double x[3] = {0.3, -0.8, -1.1};
      scale_factor f;
      CHECK(scale_factor_at(2, c.n, c.law, eta, x[2], x, &f) == ELBO_OK);
      const double by[3] = {f.by_log[0], f.by_log[1], f.by_log_det};
      for (int j = 0; j < 3; j++) {
        double slope[5];
        differences(value_at, (void *)&c, x, 3, j, 0.02, slope, 5);
        CHECK_CLOSE(by[j], slope[0], 1e-8);
        if (j == 2) continue;
        CHECK_CLOSE(f.df_slope[j], slope[1], 1e-6);
        for (int k = 0; k < 2; k++)
          CHECK_CLOSE(
              f.df_slope[j] * f.df_slope[k] * f.df_information + (j == k ? f.curvature[j] : 0.0),
              slope[2 + k], 1e-6);
        CHECK_CLOSE(0.0, slope[4], 1e-12);
      }
    }
}

/* Two standard deviations that are independent a priori and a correlation with weight on zero
 * alone: the constants of the LKJ law against their integral, by Simpson's rule. */
static void test_lkj(void) {
  for (double eta = 1.0; eta < 6.0; eta += 0.5) {
    double sum = 0.0;
    const int n = 200000;
    for (int i = 0; i <= n; i++) {
      const double r = -1.0 + 2.0 * i / n, weight = i == 0 || i == n ? 1.0 : i % 2 ? 4.0 : 2.0;
      sum += weight * pow(1.0 - r * r, eta - 1.0) * 2.0 / n / 3.0;
    }
    CHECK_CLOSE(exp(lkj_log_constant(2, eta)) * sum, 1.0, 1e-6);
  }
  /* Correlation matrices of order 3 fill pi^2 / 2 of the cube [-1, 1]^3
   * (Rousseeuw and Molenberghs 1994, American Statistician 48:276). */
  CHECK_CLOSE(lkj_log_constant(3, 1.0), -log(0.5 * pow(acos(-1.0), 2.0)), 1e-14);
}

/* A single unit under a flat sd: no best d. */
static void test_improper(void) {
  scale_factor f;
  const double log_S = 0.0;
  CHECK(scale_factor_at(1, 1.0, law, 1.0, log_S, &log_S, &f) == ELBO_E_NOT_FINITE);
}

/* gamma(a + 1/2) / gamma(a): of small a by tgamma(); the product of two is a; and at 1e4 and 1e8,
 * by the square of it, a - 1/4 + 1/(32 a) + 1/(128 a^2) - ... (its own series, squared). */
static void test_gamma_ratio(void) {
  for (double a = 0.3; a < 60.0; a *= 1.3) {
    CHECK_CLOSE(math_gamma_ratio(a, 0.5) * tgamma(a) / tgamma(a + 0.5), 1.0, 2e-14);
    CHECK_CLOSE(math_gamma_ratio(a + 1.0, -0.5) * tgamma(a + 1.0) / tgamma(a + 0.5), 1.0, 2e-14);
    const double both = math_gamma_ratio(a, 0.5) * math_gamma_ratio(a + 0.5, 0.5);
    CHECK_CLOSE(both / a, 1.0, 1e-14); /* 80 factors */
  }
  for (double a = 1e4; a < 1e9; a *= 1e4) {
    const double ratio = math_gamma_ratio(a, 0.5);
    CHECK_CLOSE(ratio * ratio / (a - 0.25 + 1.0 / (32.0 * a) + 1.0 / (128.0 * a * a)), 1.0, 4e-15);
  }
  CHECK(math_gamma_ratio(7.5, 1.0) == 7.5 && math_gamma_ratio(9.0, -1.0) == 0.125);
}

int main(void) {
  test_gamma_ratio();
  test_value();
  test_derivatives();
  test_lkj();
  test_improper();
  return FINISH();
}
