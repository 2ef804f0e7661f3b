/* Latent classes of mixed types: points, at the boundary too, and q; missing entries. */
#include "math/dirichlet.h"
#include "mixture_part.h"
#include "mixture/classes.h"

enum { N = 60, K = 3, V = 5, LEVELS = 3 };

static const int TYPE[V] = {MIXTURE_CATEGORICAL, MIXTURE_GAUSSIAN, MIXTURE_BINOMIAL,
                            MIXTURE_GAUSSIAN, MIXTURE_CATEGORICAL};
static const int LEVELS_OF[V] = {LEVELS, 0, 0, 0, 4};
/* By variable; read where gaussian. */
static const double MEAN0[V] = {NAN, 1.0, NAN, -40.0, NAN}, KAPPA0[V] = {NAN, 0.1, NAN, 0.5, NAN},
                    SHAPE0[V] = {NAN, 1.5, NAN, 2.0, NAN}, RATE0[V] = {NAN, 0.8, NAN, 30.0, NAN};

/* Levels 1..3; about 0; 0/1; about -50, sd 7; levels 1..4: an entry in ten missing if asked. */
static double *new_responses(int missing) {
  double *Y = new_doubles(N * V);
  for (int i = 0; i < N; i++) {
    Y[i] = 1 + (int)(3.0 * random_uniform());
    Y[i + N] = random_normal();
    Y[i + 2 * N] = random_uniform() < 0.4;
    Y[i + 3 * N] = -50.0 + 7.0 * random_normal();
    Y[i + 4 * N] = 1 + (int)(4.0 * random_uniform());
    for (int v = 0; v < V; v++)
      if (missing && random_uniform() < 0.1) Y[i + N * v] = NAN;
  }
  return Y;
}

static mixture_classes_spec spec_of(mixture_method method, const double *Y, int priors) {
  mixture_classes_spec spec = {.method = method,
                               .k = K,
                               .n_row = N,
                               .n_variable = V,
                               .type = TYPE,
                               .levels = LEVELS_OF,
                               .Y = Y,
                               .alpha = NAN};
  if (priors) {
    spec.alpha = method == MIXTURE_VB ? 0.6 : 1.7;
    spec.mean0 = MEAN0;
    spec.kappa0 = KAPPA0;
    spec.shape0 = SHAPE0;
    spec.rate0 = RATE0;
  }
  return spec;
}

static part_test new_test(const mixture_classes_spec *spec) {
  mixture_part part;
  CHECK(mixture_classes_part(&part, spec, &test_memory) == ELBO_OK);
  CHECK(!part.by_unit && !part.keeps_r && part.n_theta == spec->k * (3 + 2 + 1 + 2 + 4));
  return part_test_of(part, spec->n_row, spec->k);
}

static double *field(const part_test *t, const char *name) {
  return part_field(&t->part, name);
}

/* Not so far that a root of a probability comes near zero, where differences of logs are poor. */
static void random_move(part_test *t) {
  double *eta = part_eta(t);
  for (int a = 0; a < t->part.n_eta; a++) eta[a] += 0.5 * (random_uniform() - 0.5);
  part_move(t, eta);
}

static double log_normal(double y, double mean, double variance) {
  return -0.5 * (log(2.0 * acos(-1.0) * variance) + (y - mean) * (y - mean) / variance);
}

/* ---- em -------------------------------------------------------------------------------------- */

/* Density of row i in component j from the fields: of 3 + 2 + 4 levels, 2 gaussian variables. */
static double plain_density(const part_test *t, const double *Y, int i, int j) {
  static const int level_at[V] = {0, 0, 3, 1, 5};
  double sum = 0.0;
  for (int v = 0; v < V; v++) {
    const double y = Y[i + N * v];
    if (isnan(y)) continue;
    if (TYPE[v] == MIXTURE_GAUSSIAN)
      sum += log_normal(y, field(t, "mean")[level_at[v] + 2 * j],
                        field(t, "variance")[level_at[v] + 2 * j]);
    else
      sum += log(field(t, "probability")[level_at[v] + (int)y - (v != 2) + 9 * j]);
  }
  return sum;
}

static void test_em(void) {
  for (int missing = 0; missing < 2; missing++)
    for (int priors = 0; priors < 2; priors++) {
      const double *Y = new_responses(missing);
      const mixture_classes_spec spec = spec_of(MIXTURE_EM, Y, priors);
      part_test t = new_test(&spec);
      random_move(&t);
      const double *l = part_densities(&t);
      for (int i = 0; i < N; i++)
        for (int j = 0; j < K; j++) CHECK_CLOSE(l[i + N * j], plain_density(&t, Y, i, j), 1e-12);
      part_check_expected(&t, 1e-13);
      part_check_round_trip(&t, 1e-13);
      part_check_gradient(&t, 1e-3, 1e-9);
      part_check_maximum(&t, 1, 1e-3, 1e-9);
      part_check_gradient(&t, 1e-3, 1e-9);
      t.part.anchor(t.part.work);
      part_check_round_trip(&t, 1e-13);
      part_check_gradient(&t, 1e-3, 1e-9);
      test_free();
    }
}

/* Weighted shares, means and variances. */
static void test_closed_form(void) {
  const double *Y = new_responses(1);
  const mixture_classes_spec spec = spec_of(MIXTURE_EM, Y, 0);
  part_test t = new_test(&spec);
  double *theta = new_doubles(t.part.n_theta);
  part_m_step(&t);
  t.part.theta(t.part.work, theta);
  for (int j = 0; j < K; j++) {
    double n[V] = {0.0}, sum[V] = {0.0}, square[V] = {0.0}, of_level[4] = {0.0};
    for (int i = 0; i < N; i++)
      for (int v = 0; v < V; v++) {
        const double y = Y[i + N * v], r = t.r[i + N * j];
        if (isnan(y)) continue;
        n[v] += r;
        sum[v] += r * y;
        square[v] += r * y * y;
        if (v == 4) of_level[(int)y - 1] += r;
      }
    /* theta: 3 k, means k, sds k, k, means k, sds k, 4 k */
    CHECK_CLOSE(theta[9 + j], sum[1] / n[1], 1e-13);
    CHECK_CLOSE(theta[12 + j], sqrt(square[1] / n[1] - pow(sum[1] / n[1], 2.0)), 1e-13);
    CHECK_CLOSE(theta[15 + j], sum[2] / n[2], 1e-14);
    CHECK_CLOSE(theta[18 + j], sum[3] / n[3], 1e-13);
    for (int l = 0; l < 4; l++) CHECK_CLOSE(theta[24 + 4 * j + l], of_level[l] / n[4], 1e-14);
  }
  test_free();
}

/* A level that a component never has: probability zero, densities and objective without NaN. */
static void test_boundary(void) {
  const double *Y = new_responses(0);
  const mixture_classes_spec spec = spec_of(MIXTURE_EM, Y, 0);
  part_test t = new_test(&spec);
  for (int i = 0; i < N; i++)
    if (Y[i] == 2.0 || Y[i + 2 * N] == 1.0) t.r[i + N] = 0.0;
  part_gather(&t);
  part_m_step(&t);
  t.part.anchor(t.part.work);
  CHECK(field(&t, "probability")[9 + 1] == 0.0);
  CHECK(field(&t, "probability")[9 + 3] == 1.0);
  const double *l = part_densities(&t);
  for (int i = 0; i < N; i++)
    CHECK((l[i + N] == -HUGE_VAL) == (Y[i] == 2.0 || Y[i + 2 * N] == 1.0) && !isnan(l[i + N]));
  CHECK(isfinite(part_objective(&t)));
  part_check_expected(&t, 1e-13);
  part_check_round_trip(&t, 1e-13);
  double *gradient = new_doubles(t.part.n_eta);
  part_gather(&t);
  CHECK(t.part.gradient(t.part.work, t.stat, t.r, gradient) == ELBO_OK);
  CHECK(largest(gradient, t.part.n_eta) < 1e-10);
  test_free();
}

/* No members: the component keeps its parameters. */
static void test_empty(void) {
  for (int method = MIXTURE_EM; method <= MIXTURE_VB; method++) {
    const double *Y = new_responses(1);
    const mixture_classes_spec spec = spec_of((mixture_method)method, Y, method == MIXTURE_VB);
    part_test t = new_test(&spec);
    const double *before = copy_doubles(field(&t, "mean"), 2 * K);
    for (int i = 0; i < N; i++) t.r[i + N] = 0.0;
    part_gather(&t);
    part_m_step(&t);
    CHECK(isfinite(part_objective(&t)));
    const double *mean = field(&t, "mean");
    if (method == MIXTURE_EM) CHECK(mean[2] == before[2] && mean[3] == before[3]);
    if (method == MIXTURE_VB) CHECK(mean[2] == MEAN0[1] && field(&t, "rate")[2] == RATE0[1]);
    test_free();
  }
}

/* One row alone, or equal rows, in a component: variance zero, refused, and not with a prior. */
static void test_collapse(void) {
  for (int priors = 0; priors < 2; priors++)
    for (int rows = 1; rows <= 3; rows += 2) {
      double *Y = new_responses(0);
      Y[3 * N + 1] = Y[3 * N + 2] = Y[3 * N];
      const mixture_classes_spec spec = spec_of(MIXTURE_JOINT, Y, priors);
      part_test t = new_test(&spec);
      int component = -1;
      for (int i = 0; i < N; i++)
        for (int j = 0; j < K; j++) t.r[i + N * j] = j == (i < rows ? 1 : 2 * (i % 2));
      /* Gathered about other means, then about those of the answer: rounding in neither hides
       * it. */
      for (int pass = 0; pass < 2; pass++) {
        part_gather(&t);
        CHECK(t.part.m_step(t.part.work, t.stat, t.r, &component) == ELBO_OK);
        const elbo_status status = t.part.prepare(t.part.work, &component);
        CHECK(status == (priors ? ELBO_OK : ELBO_E_UNBOUNDED));
        CHECK(component == (priors ? -1 : 1));
      }
      test_free();
    }
}

/* Variances to rounding with data far from zero: moved by 2^30, exactly. */
static void test_far(void) {
  double *Y = new_responses(0);
  for (int i = 0; i < N; i++) Y[i + 3 * N] = floor(Y[i + 3 * N] * 1024.0) / 1024.0;
  const mixture_classes_spec spec = spec_of(MIXTURE_EM, Y, 0);
  part_test t = new_test(&spec);
  for (int pass = 0; pass < 2; pass++) {
    part_gather(&t);
    part_m_step(&t);
  }
  const double *near = copy_doubles(field(&t, "variance"), 2 * K);
  for (int i = 0; i < N; i++) Y[i + 3 * N] += 1073741824.0;
  mixture_part far;
  CHECK(mixture_classes_part(&far, &spec, &test_memory) == ELBO_OK);
  t.part = far;
  for (int pass = 0; pass < 2; pass++) {
    part_gather(&t);
    part_m_step(&t);
  }
  CHECK(distance(field(&t, "variance"), near, 2 * K) < 1e-12);
  test_free();
}

/* log Dirichlet(1.7) and log inverse gamma(a, b) of the variances, by hand. */
static void test_log_prior(void) {
  const double *Y = new_responses(0);
  mixture_classes_spec spec = spec_of(MIXTURE_EM, Y, 1);
  spec.k = 1;
  part_test t = new_test(&spec);
  const double *p = field(&t, "probability"), *x = field(&t, "variance");
  static const int size[3] = {3, 2, 4};
  double sum = 0.0;
  for (int v = 0; v < 3; v++) {
    sum += lgamma(1.7 * size[v]) - size[v] * lgamma(1.7);
    for (int l = 0; l < size[v]; l++) sum += 0.7 * log(*p++);
  }
  sum += 1.5 * log(0.8) - lgamma(1.5) - 2.5 * log(x[0]) - 0.8 / x[0];
  sum += 2.0 * log(30.0) - lgamma(2.0) - 3.0 * log(x[1]) - 30.0 / x[1];
  CHECK_CLOSE(t.part.log_prior(t.part.work), sum, 1e-13);
  test_free();
}

/* alpha < 1: a level without rows has density without bound. */
static void test_unbounded(void) {
  const double *Y = new_responses(0);
  mixture_classes_spec spec = spec_of(MIXTURE_EM, Y, 0);
  spec.alpha = 0.5;
  part_test t = new_test(&spec);
  int component = -1;
  part_m_step(&t);
  for (int i = 0; i < N; i++)
    if (Y[i] == 2.0) t.r[i + 2 * N] = 0.0;
  part_gather(&t);
  CHECK(t.part.m_step(t.part.work, t.stat, t.r, &component) == ELBO_E_UNBOUNDED);
  CHECK(component == 2);
  test_free();
}

/* Levels that are none. */
static void test_no_level(void) {
  static const double wrong[] = {0.0, 4.0, -1.0};
  for (int i = 0; i < 3; i++) {
    double *Y = new_responses(0);
    Y[5] = wrong[i];
    const mixture_classes_spec spec = spec_of(MIXTURE_EM, Y, 0);
    mixture_part part;
    CHECK(mixture_classes_part(&part, &spec, &test_memory) == ELBO_E_NOT_FINITE);
    test_free();
  }
}

/* Columns without an entry, or of one value. */
static void test_poor_data(void) {
  double *Y = new_responses(0);
  for (int i = 0; i < N; i++) Y[i] = Y[i + N] = Y[i + 2 * N] = NAN;
  mixture_classes_spec spec = spec_of(MIXTURE_EM, Y, 0);
  part_test t = new_test(&spec);
  part_m_step(&t);
  CHECK(isfinite(part_objective(&t)) && field(&t, "mean")[0] == 0.0);
  for (int i = 0; i < N; i++) Y[i + N] = 4.0;
  t = new_test(&spec);
  int component = -1;
  CHECK(t.part.m_step(t.part.work, t.stat, t.r, &component) == ELBO_OK);
  CHECK(t.part.prepare(t.part.work, &component) == ELBO_E_UNBOUNDED && component == 0);
  test_free();
}

/* ---- vb -------------------------------------------------------------------------------------- */

static void test_vb(void) {
  for (int missing = 0; missing < 2; missing++) {
    const double *Y = new_responses(missing);
    const mixture_classes_spec spec = spec_of(MIXTURE_VB, Y, 1);
    part_test t = new_test(&spec);
    part_check_expected(&t, 1e-13);
    part_check_round_trip(&t, 1e-12);
    part_check_target(&t, 1e-3, 1e-7);
    part_check_maximum(&t, 1, 1e-3, 1e-7);
    part_gather(&t);
    part_check_expected(&t, 1e-13);
    double *eta = part_eta(&t), *target = new_doubles(t.part.n_eta);
    CHECK(t.part.target(t.part.work, t.stat, t.r, target) == ELBO_OK);
    CHECK(distance(target, eta, t.part.n_eta) < 1e-13);
    for (int a = 0; a < t.part.n_eta; a++) eta[a] *= 1.0 + 0.02 * random_uniform();
    part_move(&t, eta);
    part_check_target(&t, 1e-3, 1e-7);
    test_free();
  }
}

/* One component: the factors are exact, so the ELBO is the log evidence, known in closed form for
 * Dirichlet-multinomial counts and for the normal-gamma prior (Murphy 2007, eq. 95). */
static void test_evidence(void) {
  const double *Y = new_responses(1);
  mixture_classes_spec spec = spec_of(MIXTURE_VB, Y, 1);
  spec.k = 1;
  part_test t = new_test(&spec);
  for (int i = 0; i < N; i++) t.r[i] = 1.0;
  part_gather(&t);
  part_m_step(&t);
  double evidence = 0.0;
  for (int v = 0; v < V; v++) {
    double n = 0.0, mean = 0.0, square = 0.0, alpha[4], prior[4];
    const int L = v == 2 ? 2 : LEVELS_OF[v];
    for (int l = 0; l < L; l++) alpha[l] = prior[l] = 0.6;
    for (int i = 0; i < N; i++) {
      const double y = Y[i + N * v];
      if (isnan(y)) continue;
      n += 1.0;
      mean += y;
      if (L > 0) alpha[(int)y - (v != 2)] += 1.0;
    }
    if (L > 0) {
      evidence += dirichlet_log_constant(prior, L) - dirichlet_log_constant(alpha, L);
      continue;
    }
    mean /= n;
    for (int i = 0; i < N; i++)
      if (!isnan(Y[i + N * v])) square += pow(Y[i + N * v] - mean, 2.0);
    const double kappa = KAPPA0[v] + n, shape = SHAPE0[v] + 0.5 * n;
    const double rate =
        RATE0[v] + 0.5 * square + 0.5 * KAPPA0[v] * n * pow(mean - MEAN0[v], 2.0) / kappa;
    evidence += lgamma(shape) - lgamma(SHAPE0[v]) + SHAPE0[v] * log(RATE0[v]) - shape * log(rate) +
                0.5 * log(KAPPA0[v] / kappa) - 0.5 * n * log(2.0 * acos(-1.0));
  }
  CHECK_CLOSE(part_objective(&t), evidence, 1e-13);
  test_free();
}

/* E[1 / sqrt(precision)] for gamma(3/2, b): sqrt(b) / Gamma(3/2), Gamma(3/2) = sqrt(pi) / 2. */
static void test_theta(void) {
  const double *Y = new_responses(0);
  mixture_classes_spec spec = spec_of(MIXTURE_VB, Y, 1);
  part_test t = new_test(&spec);
  double *theta = new_doubles(t.part.n_theta);
  field(&t, "shape")[0] = 1.5;
  field(&t, "rate")[0] = 9.0;
  field(&t, "mean")[0] = -7.0;
  for (int l = 0; l < 3; l++) field(&t, "alpha")[l] = l + 1.0;
  field(&t, "alpha")[3] = 1.0;
  field(&t, "alpha")[4] = 3.0;
  CHECK(part_prepare(&t));
  t.part.theta(t.part.work, theta);
  CHECK_CLOSE(theta[1], 2.0 / 6.0, 1e-15);
  CHECK(theta[9] == -7.0);
  CHECK_CLOSE(theta[12], 3.0 * 2.0 / sqrt(acos(-1.0)), 1e-14);
  CHECK_CLOSE(theta[15], 0.75, 1e-15);
  /* Outside of the space of q. */
  field(&t, "rate")[0] = -1.0;
  CHECK(!part_prepare(&t));
  test_free();
}

int main(void) {
  test_em();
  test_closed_form();
  test_boundary();
  test_empty();
  test_collapse();
  test_far();
  test_log_prior();
  test_unbounded();
  test_no_level();
  test_poor_data();
  test_vb();
  test_evidence();
  test_theta();
  return FINISH();
}
