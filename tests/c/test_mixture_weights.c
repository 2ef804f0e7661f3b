/* Weights: free, under a Dirichlet prior, held, and q(weights), Dirichlet or stick-breaking. */
#include "math/dirichlet.h"
#include "mixture_part.h"
#include "mixture/weights.h"

enum { N = 40, K = 4 };

static const double ALPHA[K] = {1.0, 2.5, 1.2, 4.0};

static mixture_weights_spec spec_of(mixture_method method, mixture_weights_law law,
                                    const double *alpha) {
  const mixture_weights_spec spec = {.method = method,
                                     .k = K,
                                     .n_unit = N,
                                     .law = law,
                                     .alpha = alpha,
                                     .coefficient_sd = HUGE_VAL};
  return spec;
}

static part_test new_test(const mixture_weights_spec *spec) {
  mixture_part part;
  CHECK(mixture_weights_part(&part, spec, &test_memory) == ELBO_OK);
  CHECK(part.by_unit && !part.keeps_r);
  return part_test_of(part, N, spec->k);
}

/* Expected shares of r, from r itself. */
static double *shares(const part_test *t) {
  double *share = new_doubles(t->k), sum = 0.0;
  for (int j = 0; j < t->k; j++)
    for (int i = 0; i < t->n; i++) {
      share[j] += t->r[i + t->n * j];
      sum += t->r[i + t->n * j];
    }
  for (int j = 0; j < t->k; j++) share[j] /= sum;
  return share;
}

static void test_em(void) {
  for (int map = 0; map < 2; map++) {
    const mixture_weights_spec spec = spec_of(
        MIXTURE_EM, map ? MIXTURE_WEIGHTS_DIRICHLET : MIXTURE_WEIGHTS_FLAT, map ? ALPHA : NULL);
    part_test t = new_test(&spec);
    const double eta[K - 1] = {0.4, -1.3, 0.8};
    part_move(&t, eta);
    part_check_round_trip(&t, 1e-13);
    part_check_expected(&t, 1e-13);
    part_check_gradient(&t, 1e-3, 1e-9);
    part_check_maximum(&t, 1, 1e-3, 1e-9);
    part_check_gradient(&t, 1e-3, 1e-9);
    t.part.anchor(t.part.work);
    part_check_round_trip(&t, 1e-13);
    part_check_gradient(&t, 1e-3, 1e-9);
    double theta[K];
    t.part.theta(t.part.work, theta);
    if (!map) CHECK(distance(theta, shares(&t), K) < 1e-14);
    test_free();
  }
}

/* Weights (.1, .2, .3, .4) and prior Dirichlet(1, 2.5, 1.2, 4): by hand. */
static void test_log_prior(void) {
  const mixture_weights_spec spec = spec_of(MIXTURE_EM, MIXTURE_WEIGHTS_DIRICHLET, ALPHA);
  part_test t = new_test(&spec);
  for (int j = 0; j < K; j++) t.part.field[0].value[j] = 0.1 * (j + 1);
  CHECK(part_prepare(&t));
  const double value = lgamma(8.7) - lgamma(2.5) - lgamma(1.2) - lgamma(4.0) + 1.5 * log(0.2) +
                       0.2 * log(0.3) + 3.0 * log(0.4);
  CHECK_CLOSE(t.part.log_prior(t.part.work), value, 1e-14);
  test_free();
}

/* A component without members: weight 0, no NaN, a stationary point. */
static void test_empty(void) {
  const mixture_weights_spec spec = spec_of(MIXTURE_EM, MIXTURE_WEIGHTS_FLAT, NULL);
  part_test t = new_test(&spec);
  for (int i = 0; i < N; i++) t.r[i + 2 * N] = 0.0;
  part_gather(&t);
  part_m_step(&t);
  const double *l = part_densities(&t);
  CHECK(t.part.field[0].value[2] == 0.0);
  CHECK(l[2 * N] == -HUGE_VAL && isfinite(l[0]));
  CHECK(isfinite(part_objective(&t)));
  part_check_expected(&t, 1e-13);
  t.part.anchor(t.part.work);
  part_check_round_trip(&t, 1e-13);
  double gradient[K - 1];
  CHECK(t.part.gradient(t.part.work, t.stat, t.r, gradient) == ELBO_OK);
  CHECK(largest(gradient, K - 1) < 1e-12);
  test_free();
}

/* alpha < 1 and no members: the density of a weight at zero has no bound. */
static void test_unbounded(void) {
  const double alpha[K] = {0.5, 0.5, 0.5, 0.5};
  const mixture_weights_spec spec = spec_of(MIXTURE_EM, MIXTURE_WEIGHTS_DIRICHLET, alpha);
  part_test t = new_test(&spec);
  int component = -1;
  part_check_maximum(&t, 1, 1e-3, 1e-9);
  for (int i = 0; i < N; i++) t.r[i + 2 * N] = 0.0;
  part_gather(&t);
  CHECK(t.part.m_step(t.part.work, t.stat, t.r, &component) == ELBO_E_UNBOUNDED);
  CHECK(component == 2);
  test_free();
}

static void test_held(void) {
  const double constant[K] = {0.25, 0.5, 0.0, 0.25};
  for (int method = MIXTURE_JOINT; method <= MIXTURE_VB; method++) {
    mixture_weights_spec spec = spec_of((mixture_method)method, MIXTURE_WEIGHTS_FLAT, NULL);
    spec.constant = constant;
    part_test t = new_test(&spec);
    part_m_step(&t);
    CHECK(t.part.n_eta == 0 && t.part.n_theta == K && t.part.log_prior(t.part.work) == 0.0);
    CHECK_CLOSE(part_densities(&t)[N], log(0.5), 1e-13);
    double theta[K];
    t.part.theta(t.part.work, theta);
    CHECK(memcmp(theta, constant, sizeof theta) == 0);
    test_free();
  }
}

static void test_dirichlet(void) {
  const mixture_weights_spec spec = spec_of(MIXTURE_VB, MIXTURE_WEIGHTS_DIRICHLET, ALPHA);
  part_test t = new_test(&spec);
  double *share = shares(&t), total = 0.0, alpha[K], sum = 0.0;
  for (int i = 0; i < N * K; i++) total += t.r[i];
  part_check_expected(&t, 1e-13);
  part_check_round_trip(&t, 1e-13);
  part_check_target(&t, 1e-3, 1e-8);
  part_check_maximum(&t, 1, 1e-3, 1e-9);
  for (int j = 0; j < K; j++) {
    alpha[j] = ALPHA[j] + total * share[j];
    sum += alpha[j];
  }
  CHECK(distance(t.part.field[0].value, alpha, K) < 1e-14);
  CHECK_CLOSE(t.part.log_prior(t.part.work), -dirichlet_kl(alpha, ALPHA, K), 1e-14);
  double theta[K];
  t.part.theta(t.part.work, theta);
  for (int j = 0; j < K; j++) CHECK_CLOSE(theta[j], alpha[j] / sum, 1e-14);
  alpha[1] = -1.0;
  CHECK(t.part.unpack(t.part.work, alpha) == ELBO_E_NOT_PD);
  test_free();
}

/* Flat under vb is Dirichlet(1, ..., 1). */
static void test_flat(void) {
  const double ones[K] = {1.0, 1.0, 1.0, 1.0};
  const mixture_weights_spec spec = spec_of(MIXTURE_VB, MIXTURE_WEIGHTS_FLAT, NULL);
  part_test t = new_test(&spec);
  part_m_step(&t);
  CHECK_CLOSE(t.part.log_prior(t.part.work), -dirichlet_kl(t.part.field[0].value, ones, K), 1e-14);
  test_free();
}

/* sum_s log Beta(1 + n_s, alpha + S_s) - log Beta(1, alpha): the ELBO's share of sticks at their
 * best for counts in the order of the stick. */
static double stick_value(const double *count, double alpha) {
  double sum = 0.0;
  for (int s = 0; s < K - 1; s++) {
    double behind = 0.0;
    for (int l = s + 1; l < K; l++) behind += count[l];
    const double q[2] = {1.0 + count[s], alpha + behind}, prior[2] = {1.0, alpha};
    sum += dirichlet_log_constant(prior, 2) - dirichlet_log_constant(q, 2);
  }
  return sum;
}

/* The largest of it over all orders. */
static double best_stick_value(double *count, int from, double alpha) {
  if (from == K) return stick_value(count, alpha);
  double best = -HUGE_VAL;
  for (int s = from; s < K; s++) {
    double x = count[from];
    count[from] = count[s];
    count[s] = x;
    best = fmax(best, best_stick_value(count, from + 1, alpha));
    x = count[from];
    count[from] = count[s];
    count[s] = x;
  }
  return best;
}

static void test_stick(void) {
  static const double alphas[] = {0.3, 1.0, 2.0, 20.0};
  for (int i = 0; i < 4; i++) {
    const double alpha = alphas[i];
    const mixture_weights_spec spec = spec_of(MIXTURE_VB, MIXTURE_WEIGHTS_STICK_BREAKING, &alpha);
    part_test t = new_test(&spec);
    part_check_expected(&t, 1e-13);
    part_check_round_trip(&t, 1e-13);
    part_check_target(&t, 1e-3, 1e-8);
    part_check_maximum(&t, 1, 1e-3, 1e-9);
    part_check_target(&t, 1e-3, 1e-8);
    double count[K], theta[K], sum = 0.0;
    memcpy(count, t.stat, sizeof count);
    CHECK_CLOSE(part_objective(&t), best_stick_value(count, 0, alpha), 1e-13);
    t.part.theta(t.part.work, theta);
    for (int j = 0; j < K; j++) sum += theta[j];
    CHECK_CLOSE(sum, 1.0, 1e-14);
    test_free();
  }
}

/* E[log weight] and E[weight] against draws of the sticks: v = x / (x + y) with gamma variables
 * of whole shapes. */
static void test_stick_draws(void) {
  enum { DRAWS = 100000 };
  const double alpha = 1.0, eta[2 * (K - 1)] = {2.0, 5.0, 1.0, 3.0, 4.0, 2.0};
  const mixture_weights_spec spec = spec_of(MIXTURE_VB, MIXTURE_WEIGHTS_STICK_BREAKING, &alpha);
  part_test t = new_test(&spec);
  double mean[2 * K] = {0.0}, square[2 * K] = {0.0}, exact[2 * K];
  part_move(&t, eta);
  t.part.theta(t.part.work, exact + K);
  const double *l = part_densities(&t);
  for (int j = 0; j < K; j++) exact[j] = l[N * j];
  for (int i = 0; i < DRAWS; i++) {
    double rest = 1.0;
    for (int s = 0; s < K; s++) {
      double x = 0.0, y = 0.0;
      for (int m = 0; s < K - 1 && m < (int)eta[2 * s]; m++) x -= log(random_uniform());
      for (int m = 0; s < K - 1 && m < (int)eta[2 * s + 1]; m++) y -= log(random_uniform());
      const double v = s < K - 1 ? x / (x + y) : 1.0, weight = rest * v;
      const double values[2] = {log(weight), weight};
      rest *= 1.0 - v;
      for (int c = 0; c < 2; c++) {
        mean[s + K * c] += values[c] / DRAWS;
        square[s + K * c] += values[c] * values[c] / DRAWS;
      }
    }
  }
  for (int i = 0; i < 2 * K; i++)
    CHECK(fabs(mean[i] - exact[i]) < 4.0 * sqrt((square[i] - mean[i] * mean[i]) / DRAWS));
  test_free();
}

/* Components in another order are at the same places of the stick. */
static void test_stick_permuted(void) {
  static const int order[K] = {2, 0, 3, 1};
  const double alpha = 1.5;
  const mixture_weights_spec spec = spec_of(MIXTURE_VB, MIXTURE_WEIGHTS_STICK_BREAKING, &alpha);
  part_test t = new_test(&spec);
  part_m_step(&t);
  const double *before = part_densities(&t), prior = t.part.log_prior(t.part.work);
  double *position = t.part.field[1].value, *old = copy_doubles(position, K);
  CHECK(t.part.field[1].by_component && !t.part.field[0].by_component);
  for (int j = 0; j < K; j++) position[j] = old[order[j]];
  CHECK(part_prepare(&t));
  const double *after = part_densities(&t);
  for (int j = 0; j < K; j++) CHECK(after[N * j] == before[N * order[j]]);
  CHECK(t.part.log_prior(t.part.work) == prior);
  position[0] = position[1];
  CHECK(!part_prepare(&t));
  test_free();
}

static void test_one_component(void) {
  const double alpha = 1.0;
  for (int law = 0; law <= 2; law++)
    for (int method = MIXTURE_EM; method <= MIXTURE_VB; method++) {
      if (law == 2 && method == MIXTURE_EM) continue;
      mixture_weights_spec spec = spec_of((mixture_method)method, (mixture_weights_law)law, &alpha);
      spec.k = 1;
      part_test t = new_test(&spec);
      part_m_step(&t);
      CHECK(part_objective(&t) == 0.0 && part_densities(&t)[0] == 0.0);
      test_free();
    }
}

int main(void) {
  test_em();
  test_log_prior();
  test_empty();
  test_unbounded();
  test_held();
  test_dirichlet();
  test_flat();
  test_stick();
  test_stick_draws();
  test_stick_permuted();
  test_one_component();
  return FINISH();
}
