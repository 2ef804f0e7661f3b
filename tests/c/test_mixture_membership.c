/* Membership by covariates: points by Newton's method, and a normal q with a bound on log sum
 * exp. */
#include "mixture_part.h"
#include "mixture/weights.h"

enum { N = 600, K = 3, P = 3 }; /* more units than one block of the serial passes */

/* Covariates 1, normal, 0/1. */
static double *new_covariates(int n) {
  double *W = new_doubles(n * P);
  for (int i = 0; i < n; i++) {
    W[i] = 1.0;
    W[i + n] = random_normal();
    W[i + 2 * n] = i % 2;
  }
  return W;
}

static part_test new_test(mixture_method method, const double *W, int n, int n_w, int k,
                          double sd) {
  const mixture_weights_spec spec = {
      .method = method, .k = k, .n_unit = n, .W = W, .n_w = n_w, .coefficient_sd = sd};
  mixture_part part;
  CHECK(mixture_weights_part(&part, &spec, &test_memory) == ELBO_OK);
  CHECK(part.by_unit && part.keeps_r);
  return part_test_of(part, n, k);
}

/* x_ij from coefficients (p x k). */
static double predictor(const double *W, int n, int p, int i, const double *b) {
  double sum = 0.0;
  for (int c = 0; c < p; c++) sum += W[i + n * c] * b[c];
  return sum;
}

/* ---- em -------------------------------------------------------------------------------------- */

static void test_em(void) {
  for (int map = 0; map < 2; map++) {
    const double *W = new_covariates(N);
    part_test t = new_test(MIXTURE_EM, W, N, P, K, map ? 0.7 : HUGE_VAL);
    const double eta[P * (K - 1)] = {0.4, -1.3, 0.8, -0.5, 0.7, 0.2};
    part_move(&t, eta);
    part_check_round_trip(&t, 1e-15);
    part_check_expected(&t, 1e-13);
    part_check_gradient(&t, 1e-2, 1e-10);
    const double *l = part_densities(&t), *b = t.part.field[0].value;
    for (int i = 0; i < N; i += 37) {
      double sum = 0.0;
      for (int j = 0; j < K; j++) sum += exp(predictor(W, N, P, i, b + P * j));
      for (int j = 0; j < K; j++)
        CHECK_CLOSE(l[i + N * j], predictor(W, N, P, i, b + P * j) - log(sum), 1e-13);
    }
    if (map) { /* -|b|^2 / 2 sd^2 - 6 log(sd sqrt(2 pi)) */
      const double square = 0.16 + 1.69 + 0.64 + 0.25 + 0.49 + 0.04;
      CHECK_CLOSE(t.part.log_prior(t.part.work),
                  -square / 0.98 - 6.0 * log(0.7 * sqrt(2.0 * acos(-1.0))), 1e-14);
    }
    part_check_maximum(&t, 3, 1e-2, 1e-10);
    part_check_gradient(&t, 1e-2, 1e-9);
    test_free();
  }
}

/* M-steps until one fails, or ten. */
static elbo_status m_steps(part_test *t, int *component) {
  elbo_status status = ELBO_OK;
  for (int i = 0; i < 10 && status == ELBO_OK; i++)
    status = t->part.m_step(t->part.work, t->stat, t->r, component);
  return status;
}

/* Two groups, two components: the log odds of the groups' shares. */
static void test_saturated(void) {
  enum { n = 90 };
  double W[2 * n], share[2] = {0.0, 0.0}, size[2] = {0.0, 0.0};
  for (int i = 0; i < n; i++) {
    W[i] = 1.0;
    W[i + n] = i < 30;
  }
  part_test t = new_test(MIXTURE_EM, W, n, 2, 2, HUGE_VAL);
  for (int i = 0; i < n; i++) {
    share[i < 30] += t.r[i + n];
    size[i < 30] += t.r[i] + t.r[i + n];
  }
  for (int i = 0; i < 3; i++) part_m_step(&t);
  double theta[2], odds[2];
  for (int g = 0; g < 2; g++) odds[g] = log(share[g] / (size[g] - share[g]));
  t.part.theta(t.part.work, theta);
  CHECK_CLOSE(theta[0], odds[0], 1e-12);
  CHECK_CLOSE(theta[1], odds[1] - odds[0], 1e-12);
  test_free();
}

/* Components 0 and 1 mixed, component 2 where the covariate is above zero: the limit of the
 * likelihood is that of a coin for each side, 0 and 1 apart (here: the shares of those below zero).
 * Of no members at all it is unbounded, with a prior neither. */
static void test_boundary(void) {
  enum { n = 300 };
  for (int empty = 0; empty < 2; empty++)
    for (int prior = 0; prior < 2; prior++) {
      double W[2 * n], value, gradient[4], below[2] = {0.0, 0.0};
      int component = -1;
      for (int i = 0; i < n; i++) {
        W[i] = 1.0;
        W[i + n] = i % 4 < 2 ? -1.0 : 1.0;
      }
      part_test t = new_test(MIXTURE_JOINT, W, n, 2, 3, prior ? 5.0 : HUGE_VAL);
      for (int i = 0; i < n; i++)
        for (int j = 0; j < 3; j++)
          t.r[i + n * j] = j == (W[i + n] > 0.0 && !empty ? 2 : i % 3 > 0);
      for (int i = 0; i < n; i++)
        if (W[i + n] < 0.0) below[i % 3 > 0]++;
      const elbo_status status = m_steps(&t, &component);
      CHECK(status == (prior || !empty ? ELBO_OK : ELBO_E_UNBOUNDED));
      CHECK(component == (prior || !empty ? -1 : 2));
      if (!prior && !empty) {
        for (int i = 0; i < 5; i++) m_steps(&t, &component);
        t.part.expected(t.part.work, t.stat, t.r, &value);
        const double all = below[0] + below[1];
        CHECK_CLOSE(value, below[0] * log(below[0] / all) + below[1] * log(below[1] / all), 1e-10);
        CHECK(t.part.gradient(t.part.work, t.stat, t.r, gradient) == ELBO_OK);
        for (int a = 0; a < 4; a++) CHECK(fabs(gradient[a]) < 1e-9);
      }
      test_free();
    }
}

/* A level of a covariate that has one component only, the others mixed there (quasi-separation),
 * and covariates in awkward units: the other units are fitted as if by themselves. */
static void test_quasi_separation(void) {
  enum { n = 300, m = 200 };
  double W[3 * n], rest[2 * m], value, alone;
  for (int i = 0; i < n; i++) {
    W[i] = 1.0;
    W[i + n] = i % 3 == 0;
    W[i + 2 * n] = 1e6 * random_normal();
  }
  part_test t = new_test(MIXTURE_JOINT, W, n, 3, 2, HUGE_VAL);
  int component = -1;
  double r[m];
  for (int i = 0, at = 0; i < n; i++) {
    t.r[i] = 1.0 - (t.r[i + n] = i % 3 == 0 || random_uniform() < 0.4);
    if (i % 3 == 0) continue;
    rest[at] = 1.0;
    rest[at + m] = W[i + 2 * n];
    r[at++] = t.r[i];
  }
  for (int i = 0; i < 5; i++) CHECK(m_steps(&t, &component) == ELBO_OK);
  CHECK(component == -1);
  t.part.expected(t.part.work, t.stat, t.r, &value);
  test_free();
  t = new_test(MIXTURE_JOINT, rest, m, 2, 2, HUGE_VAL);
  for (int i = 0; i < m; i++) t.r[i + m] = 1.0 - (t.r[i] = r[i]);
  for (int i = 0; i < 5; i++) CHECK(m_steps(&t, &component) == ELBO_OK);
  t.part.expected(t.part.work, t.stat, t.r, &alone);
  CHECK_CLOSE(value, alone, 1e-10);
  test_free();
}

/* A unit far out is no separation: one of a thousand times the others' covariate. */
static void test_leverage(void) {
  enum { n = 200 };
  double W[2 * n];
  for (int i = 0; i < n; i++) {
    W[i] = 1.0;
    W[i + n] = i == 0 ? 1000.0 : random_normal();
  }
  part_test t = new_test(MIXTURE_EM, W, n, 2, 2, HUGE_VAL);
  for (int i = 1; i < n; i++) {
    t.r[i + n] = random_uniform() < 1.0 / (1.0 + exp(-2.0 * W[i + n]));
    t.r[i] = 1.0 - t.r[i + n];
  }
  t.r[0] = 0.0;
  t.r[n] = 1.0;
  part_check_maximum(&t, 3, 1e-3, 1e-8);
  double gradient[2];
  CHECK(t.part.gradient(t.part.work, t.stat, t.r, gradient) == ELBO_OK);
  CHECK(largest(gradient, 2) < 1e-10);
  test_free();
}

/* Components in another order: densities go along, and the first is the baseline again. */
static void test_permuted(mixture_method method) {
  static const int order[K] = {2, 0, 1};
  const double *W = new_covariates(N);
  part_test t = new_test(method, W, N, P, K, 2.0);
  int component = -1;
  part_m_step(&t);
  const double *before = part_densities(&t);
  for (int f = 0; f < t.part.n_field; f++) {
    const mixture_field *field = t.part.field + f;
    int stride = 1;
    for (int d = 0; d < field->n_dim - 1; d++) stride *= field->dim[d];
    const double *old = copy_doubles(field->value, stride * K);
    CHECK(field->by_component && field->dim[field->n_dim - 1] == K);
    for (int j = 0; j < K; j++)
      memcpy(field->value + stride * j, old + stride * order[j], (size_t)stride * sizeof(double));
  }
  CHECK(t.part.restore(t.part.work, &component) == ELBO_OK);
  CHECK(part_prepare(&t));
  for (int c = 0; c < P; c++) CHECK(t.part.field[0].value[c] == 0.0);
  const double *after = part_densities(&t);
  for (int j = 0; j < K; j++) CHECK(distance(after + N * j, before + N * order[j], N) < 1e-9);
  part_check_round_trip(&t, 1e-9);
  test_free();
}

/* ---- vb -------------------------------------------------------------------------------------- */

static void test_vb(void) {
  for (int flat = 0; flat < 2; flat++) {
    const double *W = new_covariates(60);
    part_test t = new_test(MIXTURE_VB, W, 60, P, K, flat ? HUGE_VAL : 1.5);
    part_check_expected(&t, 1e-12);
    part_check_round_trip(&t, 1e-11);
    part_check_target(&t, 1e-3, 1e-7);
    part_check_maximum(&t, 1, 1e-3, 1e-6); /* m_step stops at a gain of 1e-11 of the ELBO */
    part_check_expected(&t, 1e-12);
    part_check_target(&t, 1e-3, 1e-7);
    /* At the best q the target is where it is. */
    double *target = new_doubles(t.part.n_eta);
    for (int i = 0; i < 10; i++) part_m_step(&t);
    CHECK(t.part.target(t.part.work, t.stat, t.r, target) == ELBO_OK);
    CHECK(distance(part_eta(&t), target, t.part.n_eta) < 1e-5);
    test_free();
  }
}

/* q of means and variances, all independent: root is diagonal. */
static void set_q(part_test *t, int p, const double *mean, const double *sd) {
  const int D = p * (t->k - 1);
  for (int i = 0; i < D; i++) {
    t->part.field[0].value[p + i] = mean[i];
    for (int s = 0; s < D; s++) t->part.field[1].value[s + D * (p + i)] = s == i ? sd[i] : 0.0;
  }
  CHECK(part_prepare(t));
}

/* -KL of independent normals against N(0, sd^2), by hand. */
static void test_kl(void) {
  const double *W = new_covariates(20), mean[P] = {0.3, -1.0, 2.0}, sd[P] = {0.5, 0.2, 1.4};
  part_test t = new_test(MIXTURE_VB, W, 20, P, 2, 1.7);
  double kl = 0.0;
  set_q(&t, P, mean, sd);
  for (int i = 0; i < P; i++)
    kl += log(1.7 / sd[i]) + 0.5 * (sd[i] * sd[i] + mean[i] * mean[i]) / (1.7 * 1.7) - 0.5;
  CHECK_CLOSE(t.part.log_prior(t.part.work), -kl, 1e-13);
  double *m = new_doubles(t.part.n_eta);
  t.part.moments(t.part.work, m);
  for (int i = 0; i < P; i++) CHECK_CLOSE(m[i], mean[i], 1e-14);
  CHECK_CLOSE(m[P], sd[0] * sd[0] + mean[0] * mean[0], 1e-14); /* E[b_0^2] */
  CHECK_CLOSE(m[P + 1], mean[0] * mean[1], 1e-14);             /* E[b_1 b_0] */
  test_free();
}

/* E[log(1 + e^x)], x ~ N(mu, sd^2), by the trapezoidal rule, exact to rounding for normal
 * weights. */
static double expected_softplus(double mu, double sd) {
  double sum = 0.0;
  for (int i = -400; i <= 400; i++) {
    const double z = 0.025 * i, x = mu + sd * z;
    sum += 0.025 * exp(-0.5 * z * z) * (fmax(x, 0.0) + log1p(exp(-fabs(x))));
  }
  return sum / sqrt(2.0 * acos(-1.0));
}

/* The bound is one, beats Boehning's (log sum exp at the mean + sd^2 / 8), and is nearly exact at
 * the sds that q has. */
static void test_bound(void) {
  static const double mus[] = {0.0, 1.0, -3.0, 8.0}, sds[] = {0.1, 0.5, 1.0, 3.0, 20.0};
  const double one = 1.0;
  for (int a = 0; a < 4; a++)
    for (int b = 0; b < 5; b++) {
      part_test t = new_test(MIXTURE_VB, &one, 1, 1, 2, 1.0);
      set_q(&t, 1, mus + a, sds + b);
      const double *l = part_densities(&t), exact = expected_softplus(mus[a], sds[b]);
      const double gap = -l[0] - exact, variance = sds[b] * sds[b];
      CHECK_CLOSE(l[1] - l[0], mus[a], 1e-12);
      CHECK(gap >= -1e-13);
      CHECK(-l[0] <= fmax(mus[a], 0.0) + log1p(exp(-fabs(mus[a]))) + variance / 8.0 + 1e-12);
      if (sds[b] <= 0.5) CHECK(gap < 0.02 * variance * variance);
      test_free();
    }
}

/* Knowles & Minka's bound for two coefficients b = mean + root' z, at any a; and the least over
 * a, by a search among neighbours ever closer. */
static double tilted(const double *mean, const double root[2][2], const double *a) {
  double square = 0.0, sum = 1.0;
  for (int j = 0; j < 2; j++) {
    double S_jj = 0.0, Sa = 0.0;
    for (int s = 0; s < 2; s++) {
      S_jj += root[s][j] * root[s][j];
      Sa += root[s][j] * (root[s][0] * a[0] + root[s][1] * a[1]);
    }
    square += a[j] * Sa;
    sum += exp(mean[j] + 0.5 * S_jj - Sa);
  }
  return 0.5 * square + log(sum);
}

static double least_bound(const double *mean, const double root[2][2]) {
  double at[2] = {0.5, 0.5}, best = tilted(mean, root, at);
  for (double step = 0.25; step > 1e-9;) {
    int moved = 0;
    for (int i = 0; i < 9; i++) {
      const double to[2] = {at[0] + step * (i / 3 - 1), at[1] + step * (i % 3 - 1)};
      const double value = tilted(mean, root, to);
      if (!(value < best)) continue;
      best = value;
      memcpy(at, to, sizeof at);
      moved = 1;
    }
    if (!moved) step *= 0.5;
  }
  return best;
}

/* Three components, correlated coefficients: below the expectation by Monte Carlo, but not by
 * much, and no a does better than the one found. */
static void test_bound_of_three(void) {
  enum { DRAWS = 100000 };
  static const double root[3][2][2] = {
      {{0.5, 0.2}, {0.0, 0.6}}, {{2.0, -1.0}, {0.0, 3.0}}, {{8.0, 7.0}, {0.0, 9.0}}};
  const double one = 1.0, mean[2] = {0.5, -1.0};
  for (int c = 0; c < 3; c++) {
    part_test t = new_test(MIXTURE_VB, &one, 1, 1, 3, 1.0);
    double *field = t.part.field[1].value, sum = 0.0, square = 0.0;
    for (int j = 0; j < 2; j++) {
      t.part.field[0].value[1 + j] = mean[j];
      for (int s = 0; s < 2; s++) field[s + 2 * (1 + j)] = root[c][s][j];
    }
    CHECK(part_prepare(&t));
    const double bound = -part_densities(&t)[0];
    for (int i = 0; i < DRAWS; i++) {
      const double z[2] = {random_normal(), random_normal()};
      double x = 1.0;
      for (int j = 0; j < 2; j++) x += exp(mean[j] + root[c][0][j] * z[0] + root[c][1][j] * z[1]);
      sum += log(x) / DRAWS;
      square += log(x) * log(x) / DRAWS;
    }
    const double error = sqrt((square - sum * sum) / DRAWS);
    CHECK(bound > sum - 4.0 * error);
    if (c == 0) CHECK(bound < sum + 0.02);
    CHECK_CLOSE(bound, least_bound(mean, root[c]), 1e-12);
    test_free();
  }
}

/* The normal posterior, in the limit: with many units q's variances are those of the
 * information. */
static void test_variances(void) {
  enum { n = 4000 };
  double W[n];
  for (int i = 0; i < n; i++) W[i] = 1.0;
  part_test t = new_test(MIXTURE_VB, W, n, 1, 2, 100.0);
  double total[2] = {0.0, 0.0}, m[2], theta;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < 2; j++) total[j] += t.r[i + n * j];
  part_m_step(&t);
  t.part.theta(t.part.work, &theta);
  t.part.moments(t.part.work, m);
  CHECK_CLOSE(theta, log(total[1] / total[0]), 1e-3);
  CHECK_CLOSE((m[1] - theta * theta) * total[0] * total[1] / (total[0] + total[1]), 1.0, 1e-3);
  test_free();
}

static void test_one_component(void) {
  for (int method = MIXTURE_EM; method <= MIXTURE_VB; method++) {
    const double *W = new_covariates(20);
    part_test t = new_test((mixture_method)method, W, 20, P, 1, 2.0);
    part_m_step(&t);
    CHECK(t.part.n_eta == 0 && part_objective(&t) == 0.0 && part_densities(&t)[0] == 0.0);
    test_free();
  }
}

int main(void) {
  test_em();
  test_saturated();
  test_boundary();
  test_quasi_separation();
  test_leverage();
  test_permuted(MIXTURE_EM);
  test_permuted(MIXTURE_VB);
  test_vb();
  test_kl();
  test_bound();
  test_bound_of_three();
  test_variances();
  test_one_component();
  return FINISH();
}
