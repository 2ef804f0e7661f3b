/* Laws of standard deviations, their modes, and the digamma function that their expectations
 * need. */
#include "math/digamma.h"
#include "law/sd_prior.h"
#include "reference.h"

static const sd_prior law[] = {{SD_FLAT, 0, 0},
                               {SD_HALF_T, 3, 2.5},
                               {SD_HALF_T, 1, 0.2},
                               {SD_HALF_NORMAL, 0, 1.5},
                               {SD_INVERSE_GAMMA, 2, 3},
                               {SD_EXPONENTIAL, 0, 0.7},
                               {SD_NORMAL, 1.5, 0.8},
                               {SD_NORMAL, -0.5, 2},
                               {SD_GAMMA_PRECISION, 1.5, 0.9}};
enum { LAWS = sizeof law / sizeof *law };

static void slope_of_x(void *ctx, const double *x, double *out) {
  sd_prior_log_density((const sd_prior *)ctx, *x, out);
}

static void of_x(void *ctx, const double *x, double *out) {
  double by_x;
  *out = sd_prior_log_density((const sd_prior *)ctx, *x, &by_x);
}

/* Densities of the sd integrate to one: trapezoidal rule in log sd. */
static void test_density(void) {
  for (int l = 1; l < LAWS; l++) {
    double total = 0.0, by_x, slope;
    for (double u = -40.0; u < 40.0; u += 0.002) {
      const double s = exp(u);
      total += 0.002 * s * exp(sd_prior_log_density(law + l, s * s, &by_x));
    }
    CHECK_CLOSE(total, 1.0, 1e-12);
    for (double x = 0.3; x < 20.0; x *= 3.0) {
      sd_prior_log_density(law + l, x, &by_x);
      differences(of_x, (void *)(law + l), &x, 1, 0, 5e-3 * x, &slope, 1);
      CHECK_CLOSE(by_x, slope, 1e-10);
      differences(slope_of_x, (void *)(law + l), &x, 1, 0, 1e-2 * x, &slope, 1);
      CHECK_CLOSE(sd_prior_curvature(law + l, x), slope, 1e-9);
    }
  }
  double none;
  CHECK(sd_prior_log_density(law, 2.0, &none) == 0.0 && none == 0.0);
  CHECK(sd_prior_curvature(law, 2.0) == 0.0);
}

/* The terms are the density. */
static void test_terms(void) {
  for (int l = 0; l < LAWS; l++)
    for (double x = 0.3; x < 20.0; x *= 3.0) {
      double constant, by_log, coefficient[SD_POWERS], by_x, sum;
      sd_prior_terms(law + l, &constant, &by_log, coefficient);
      sum = constant + by_log * log(x);
      for (int r = 0; r < SD_POWERS; r++) sum += coefficient[r] * pow(x, sd_prior_power[r]);
      if (law[l].family == SD_HALF_T)
        sum -= 0.5 * (law[l].df + 1.0) * log1p(x / (law[l].df * law[l].scale * law[l].scale));
      CHECK_CLOSE(sum, sd_prior_log_density(law + l, x, &by_x), 1e-14);
    }
}

static double objective(const sd_prior *prior, double n, double S, double x) {
  double by_x;
  return -0.5 * n * log(x) - 0.5 * S / x + sd_prior_log_density(prior, x, &by_x);
}

/* No point of a fine grid is better, and the derivative vanishes. */
static void test_mode(void) {
  for (int l = 0; l < LAWS; l++)
    for (double n = 1.0; n < 1e5; n *= 7.0)
      for (double S = 1e-4; S < 1e7; S *= 13.0) {
        double by_x;
        const double x = sd_prior_mode(law + l, n, S), best = objective(law + l, n, S, x);
        sd_prior_log_density(law + l, x, &by_x);
        CHECK(x > 0.0);
        CHECK(fabs(-0.5 * n + 0.5 * S / x + x * by_x) <= 1e-11 * (n + S / x));
        for (double u = -30.0; u < 30.0; u += 0.5)
          CHECK(objective(law + l, n, S, x * exp(u)) <= best + 1e-9 * fabs(best));
      }
  CHECK(sd_prior_mode(law + 1, 10.0, 0.0) ==
        0.0);                                     /* a half-t does not hold sigma away from zero, */
  CHECK(sd_prior_mode(law + 4, 10.0, 0.0) > 0.0); /* an inverse gamma does */
}

/* R 4.2.2: digamma(c(1e-3, .5, 1, 3.7, 42, 1e6)) */
static void test_digamma(void) {
  static const double x[] = {1e-3, 0.5, 1, 3.7, 42, 1e6};
  static const double want[] = {-1000.57557193181, -1.963510026021423, -0.5772156649015323,
                                1.167153539361511, 3.725717617937282,  13.81551005796419};
  for (int i = 0; i < 6; i++) CHECK_CLOSE(math_digamma(x[i]), want[i], 2e-15);
  for (double y = 0.01; y < 100.0; y *= 1.3) /* psi(2y) = (psi(y) + psi(y + 1/2)) / 2 + log 2 */
    CHECK_CLOSE(math_digamma(2 * y), 0.5 * (math_digamma(y) + math_digamma(y + 0.5)) + log(2.0),
                4e-15);
  /* R 4.2.2: trigamma(c(1e-3, .5, 1, 3.7, 42, 1e6)), psigamma(, 2) */
  static const double tri[] = {1.000001642533196e+06, 4.934802200544679,     1.644934066848226,
                               0.3100378576700383,    2.409521984367056e-02, 1.000000500000167e-06};
  static const double tetra[] = {-2000000002.397632,     -16.82879664423432,     -2.404113806319188,
                                 -9.539530872855403e-02, -5.805515402440563e-04,
                                 -1.000001000000501e-12};
  for (int i = 0; i < 6; i++) {
    CHECK_CLOSE(math_trigamma(x[i]) / tri[i], 1.0, 4e-15);
    CHECK_CLOSE(math_tetragamma(x[i]) / tetra[i], 1.0, 4e-15);
  }
}

int main(void) {
  test_density();
  test_terms();
  test_mode();
  test_digamma();
  return FINISH();
}
