/* Coordinates of probabilities, their boundary included, and the Dirichlet distribution. */
#include "math/dirichlet.h"
#include "math/simplex.h"
#include "reference.h"

enum { N = 4 };

typedef struct {
  const double *count, *alpha;
  int base;
} simplex_test;

static void log_posterior(void *ctx, const double *u, double *out) {
  const simplex_test *t = (const simplex_test *)ctx;
  double p[N], sign[N], log_p[N];
  CHECK(simplex_unpack(u, N, t->base, p, sign));
  for (int l = 0; l < N; l++) log_p[l] = log(p[l]);
  out[0] = simplex_value(t->count, log_p, N) + simplex_log_prior(t->alpha, log_p, N);
}

static void test_coordinates(void) {
  const double u[3] = {0.3, -0.8, 0.0};
  double p[N], sign[N], back[3];
  CHECK(simplex_unpack(u, N, 1, p, sign));
  /* 1 + sum u^2 = 1.73 */
  CHECK_CLOSE(p[0], 0.09 / 1.73, 1e-15);
  CHECK_CLOSE(p[1], 1.0 / 1.73, 1e-15);
  CHECK_CLOSE(p[2], 0.64 / 1.73, 1e-15);
  CHECK(p[3] == 0.0 && simplex_base(p, N) == 1);
  simplex_pack(p, sign, N, 1, back);
  CHECK(distance(back, u, 3) < 1e-15);
  const double far[3] = {1e200, 0.0, 0.0};
  CHECK(!simplex_unpack(far, N, 1, p, sign));
}

/* Gradients of sum c log p, with and without a prior, on both branches of u. */
static void test_gradient(void) {
  const double count[N] = {3.0, 10.0, 0.5, 2.0}, alpha[N] = {1.0, 2.0, 1.5, 3.0};
  const double u[3] = {0.3, -0.8, 1.7};
  for (int prior = 0; prior < 2; prior++) {
    const simplex_test t = {count, prior ? alpha : NULL, 1};
    double p[N], sign[N], gradient[3], slope;
    simplex_unpack(u, N, t.base, p, sign);
    simplex_gradient(count, t.alpha, p, sign, N, t.base, gradient);
    for (int l = 0; l < 3; l++) {
      differences(log_posterior, (void *)&t, u, 3, l, 1e-3, &slope, 1);
      CHECK_CLOSE(gradient[l], slope, 1e-9);
    }
  }
}

/* With no count of level 2 the maximum has p_2 = 0: there the gradient is zero, and the curvature
 * across, by u_2, is -2 sum(c) p_b < 0. */
static void test_boundary(void) {
  const double count[N] = {3.0, 10.0, 0.0, 2.0};
  double p[N] = {0.25, 0.25, 0.25, 0.25}, sign[N] = {1.0, 1.0, 1.0, 1.0}, gradient[3], u[3];
  CHECK(simplex_mode(count, NULL, N, p) < 0);
  CHECK(p[2] == 0.0);
  CHECK_CLOSE(p[1], 10.0 / 15.0, 1e-15);
  simplex_pack(p, sign, N, 1, u);
  simplex_gradient(count, NULL, p, sign, N, 1, gradient);
  CHECK(largest(gradient, 3) < 1e-14);
  double beside[2];
  for (int side = 0; side < 2; side++) {
    u[1] = side == 0 ? -1e-4 : 1e-4;
    simplex_unpack(u, N, 1, p, sign);
    simplex_gradient(count, NULL, p, sign, N, 1, gradient);
    beside[side] = gradient[1];
  }
  CHECK_CLOSE((beside[1] - beside[0]) / 2e-4, -2.0 * 15.0 * (10.0 / 15.0), 1e-6);
  /* 0 log 0 = 0 */
  const double log_p[N] = {-1.0, -2.0, -HUGE_VAL, -3.0};
  CHECK(simplex_value(count, log_p, N) == -29.0);
}

/* Beta(2, 1) and beta(1, 1): by hand E log x = -1/2 and -1, and KL = log 2 - 1/2. */
static void test_dirichlet(void) {
  const double two_one[2] = {2.0, 1.0}, ones[2] = {1.0, 1.0};
  double e[2];
  dirichlet_expected_log(two_one, 2, e);
  CHECK_CLOSE(e[0], -0.5, 1e-14);
  CHECK_CLOSE(e[1], -1.5, 1e-14);
  CHECK_CLOSE(dirichlet_kl(two_one, ones, 2), log(2.0) - 0.5, 1e-14);
  CHECK_CLOSE(dirichlet_log_constant(two_one, 2), log(2.0), 1e-14);
  CHECK_CLOSE(dirichlet_kl(two_one, two_one, 2), 0.0, 1e-14);
}

/* Log densities of draws: sums of exponentials are gamma variables of whole shapes. */
static void test_dirichlet_draws(void) {
  enum { DRAWS = 200000 };
  const double alpha[3] = {2.0, 1.0, 4.0}, prior[3] = {0.5, 1.5, 0.7};
  double mean = 0.0, square = 0.0;
  for (int i = 0; i < DRAWS; i++) {
    double g[3], sum = 0.0, d = dirichlet_log_constant(alpha, 3) - dirichlet_log_constant(prior, 3);
    for (int l = 0; l < 3; l++) {
      g[l] = 0.0;
      for (int s = 0; s < (int)alpha[l]; s++) g[l] -= log(random_uniform());
      sum += g[l];
    }
    for (int l = 0; l < 3; l++) d += (alpha[l] - prior[l]) * log(g[l] / sum);
    mean += d / DRAWS;
    square += d * d / DRAWS;
  }
  const double error = sqrt((square - mean * mean) / DRAWS);
  CHECK(fabs(mean - dirichlet_kl(alpha, prior, 3)) < 4.0 * error);
}

/* Under alpha < 1 a level whose count does not make up for it has density without bound. */
static void test_mode(void) {
  const double alpha[3] = {0.5, 2.0, 1.0}, enough[3] = {1.5, 1.0, 0.0}, few[3] = {0.5, 1.0, 0.0};
  const double none[3] = {0.0, 0.0, 0.0};
  double p[3] = {0.2, 0.3, 0.5};
  CHECK(simplex_mode(none, NULL, 3, p) < 0 && p[0] == 0.2 && p[2] == 0.5);
  CHECK(simplex_mode(enough, alpha, 3, p) < 0);
  CHECK_CLOSE(p[0], 1.0 / 3.0, 1e-15);
  CHECK_CLOSE(p[1], 2.0 / 3.0, 1e-15);
  CHECK(p[2] == 0.0);
  CHECK(simplex_mode(few, alpha, 3, p) == 0);
}

/* A level goes to zero where there is little of it and the mode has less; not if a prior counts. */
static void test_settle(void) {
  const double count[4] = {0.3, 0.3, 5.0, 14.4}, two[4] = {2.0, 2.0, 2.0, 2.0};
  double p[4] = {0.02, 0.01, 0.25, 0.72};
  CHECK(!simplex_settle(count, NULL, 4, 0.1, p) && !simplex_settle(count, two, 4, 0.5, p));
  CHECK(simplex_settle(count, NULL, 4, 0.5, p));
  CHECK(p[0] == 0.0);
  CHECK_CLOSE(p[1], 0.01 / 0.98, 1e-15);
  CHECK_CLOSE(p[1] + p[2] + p[3], 1.0, 1e-15);
}

int main(void) {
  test_coordinates();
  test_gradient();
  test_boundary();
  test_dirichlet();
  test_dirichlet_draws();
  test_mode();
  test_settle();
  test_free();
  return FINISH();
}
