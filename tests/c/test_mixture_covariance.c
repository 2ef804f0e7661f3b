/* The 14 covariance models: M-steps against numerical maximisation, coordinates there and back,
 * gradients against differences, special cases, and what happens at the edges. */
#include <string.h>

#include "math/la.h"
#include "mixture/covariance.h"
#include "reference.h"

enum { MODELS = 14, MOST = 5 }; /* models, and variables here */

static const char *const name[MODELS] = {"EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE",
                                         "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"};

/* A model with scatter matrices. */
typedef struct {
  covariance_work cov;
  int d, k;
  double *n, *W;
} problem;

static void random_scatter(int d, double n, double *W) {
  double A[MOST * MOST] = {0};
  for (int i = 0; i < d * d; i++) A[i] = random_normal();
  for (int a = 0; a < d; a++) A[a * (d + 1)] += 1.0 + a;
  la_multiply_t(A, A, d, d, d, W);
  for (int i = 0; i < d * d; i++) W[i] *= n;
}

static void problem_init(problem *p, int model, int d, int k) {
  double *reference = new_doubles(d);
  p->d = d;
  p->k = k;
  p->n = new_doubles(k);
  p->W = new_doubles(d * d * k);
  for (int j = 0; j < k; j++) {
    p->n[j] = 5.0 + 40.0 * random_uniform();
    random_scatter(d, p->n[j], p->W + d * d * j);
  }
  for (int a = 0; a < d; a++) reference[a] = 1.0 + a;
  covariance_init(&p->cov, (covariance_model)model, d, k, reference, &test_memory);
}

/* -1/2 sum_j { n_j log|Sigma_j| + tr(W_j Sigma_j^{-1}) }, and G_j its derivative by Sigma_j. */
static double objective(const problem *p, double *G) {
  const int d = p->d, size = d * d;
  double sum = 0.0, V[MOST * MOST], VW[MOST * MOST], VWV[MOST * MOST];
  for (int j = 0; j < p->k; j++) {
    const double *W = p->W + size * j;
    memcpy(V, p->cov.Sigma + size * j, (size_t)size * sizeof(double));
    if (la_chol(V, d) != ELBO_OK) return NAN;
    sum -= 0.5 * p->n[j] * la_log_det_from_chol(V, d);
    la_inverse_from_chol(V, d);
    la_multiply(V, W, d, d, d, VW);
    for (int a = 0; a < d; a++) sum -= 0.5 * VW[a * (d + 1)];
    if (G == NULL) continue;
    la_multiply(VW, V, d, d, d, VWV);
    for (int i = 0; i < size; i++) G[size * j + i] = 0.5 * (VWV[i] - p->n[j] * V[i]);
  }
  return sum;
}

static void objective_gradient(const problem *p, double *gradient) {
  double G[MOST * MOST * 3];
  objective(p, G);
  covariance_gradient(&p->cov, G, gradient);
}

/* M-steps until nothing moves. */
static elbo_status m_step(problem *p) {
  int component;
  elbo_status status = ELBO_OK;
  for (int i = 0; i < 30 && status == ELBO_OK; i++)
    status = covariance_m_step(&p->cov, p->n, p->W, &component);
  return status;
}

static double *random_eta(int n) {
  double *eta = new_doubles(n);
  for (int i = 0; i < n; i++) eta[i] = 0.4 * random_normal();
  return eta;
}

/* ---- a plain maximiser over the free coordinates: BFGS --------------------------------------- */

static void value_at(void *ctx, const double *eta, double *out) {
  problem *p = ctx;
  *out = covariance_unpack(&p->cov, eta) == ELBO_OK ? objective(p, NULL) : NAN;
}

static double maximise(problem *p, double *eta) {
  const int n = p->cov.n_eta;
  double *H = new_doubles(n * n), *g = new_doubles(n), *step = new_doubles(n),
         *next = new_doubles(n);
  double *g_next = new_doubles(n), *Hy = new_doubles(n), value, now;
  value_at(p, eta, &now);
  objective_gradient(p, g);
  for (int i = 0; i < n; i++) H[i * (n + 1)] = 1.0 / (1.0 + largest(g, n));
  for (int iteration = 0; iteration < 300 && largest(g, n) > 1e-7; iteration++) {
    double length = 1.0, sy = 0.0, yHy = 0.0;
    la_multiply(H, g, n, n, 1, step);
    do {
      for (int i = 0; i < n; i++) next[i] = eta[i] + length * step[i];
      value_at(p, next, &value);
      length *= 0.5;
    } while (!(value >= now) && length > 1e-12);
    if (!(value >= now)) break;
    now = value;
    objective_gradient(p, g_next);
    for (int i = 0; i < n; i++) {
      step[i] = next[i] - eta[i];
      g[i] -= g_next[i]; /* y, of the function with its sign changed */
      sy += step[i] * g[i];
    }
    la_multiply(H, g, n, n, 1, Hy);
    for (int i = 0; i < n; i++) yHy += g[i] * Hy[i];
    if (sy > 0.0)
      for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
          H[i + n * j] +=
              (1.0 + yHy / sy) * step[i] * step[j] / sy - (Hy[i] * step[j] + step[i] * Hy[j]) / sy;
    memcpy(eta, next, (size_t)n * sizeof(double));
    memcpy(g, g_next, (size_t)n * sizeof(double));
  }
  value_at(p, eta, &now);
  return now;
}

/* From random starts nothing better is found, and what is best is found again. */
static void test_m_step(int model, int d, int k) {
  problem p;
  problem_init(&p, model, d, k);
  CHECK(m_step(&p) == ELBO_OK);
  const double best = objective(&p, NULL);
  double *gradient = new_doubles(p.cov.n_eta), total = 0.0, found = -HUGE_VAL;
  objective_gradient(&p, gradient);
  for (int j = 0; j < k; j++) total += p.n[j];
  CHECK(largest(gradient, p.cov.n_eta) < 1e-8 * total);
  covariance_anchor(&p.cov);
  for (int start = 0; start < 4; start++)
    found = fmax(found, maximise(&p, random_eta(p.cov.n_eta)));
  CHECK(found <= best + 1e-9 * fabs(best));
  CHECK(found >= best - 1e-7 * fabs(best));
}

/* From anywhere one M-step does not lower the objective. */
static void test_monotone(int model, int d, int k) {
  problem p;
  int component;
  problem_init(&p, model, d, k);
  for (int i = 0; i < 50; i++) {
    double *eta = random_eta(p.cov.n_eta);
    for (int e = 0; e < p.cov.n_eta; e++) eta[e] *= 3.0;
    CHECK(covariance_unpack(&p.cov, eta) == ELBO_OK);
    const double before = objective(&p, NULL);
    CHECK(covariance_m_step(&p.cov, p.n, p.W, &component) == ELBO_OK);
    const double after = objective(&p, NULL);
    CHECK(after >= before - 1e-12 * fabs(before));
    for (int j = 0; j < k; j++) random_scatter(d, p.n[j], p.W + d * d * j);
    const double warm = objective(&p, NULL);
    CHECK(covariance_m_step(&p.cov, p.n, p.W, &component) == ELBO_OK);
    CHECK(objective(&p, NULL) >= warm - 1e-12 * fabs(warm));
  }
}

/* ---- coordinates ----------------------------------------------------------------------------- */

static void Sigma_at(void *ctx, const double *eta, double *Sigma) {
  problem *p = ctx;
  CHECK(covariance_unpack(&p->cov, eta) == ELBO_OK);
  memcpy(Sigma, p->cov.Sigma, (size_t)(p->d * p->d * p->k) * sizeof(double));
}

static void test_coordinates(int model, int d, int k) {
  problem p;
  problem_init(&p, model, d, k);
  const int n = p.cov.n_eta, size = d * d * k;
  double *back = new_doubles(n), *Sigma = new_doubles(size), *G = new_doubles(size);
  double *gradient = new_doubles(n), *slope = new_doubles(size);
  CHECK(n == covariance_n_parameters((covariance_model)model, d, k));
  covariance_unpack(&p.cov, random_eta(n)); /* a chart that is not centred at the axes */
  covariance_anchor(&p.cov);
  double *eta = random_eta(n);
  Sigma_at(&p, eta, Sigma);
  covariance_pack(&p.cov, back);
  CHECK(distance(back, eta, n) < 1e-13);
  for (int j = 0; j < k; j++)
    for (int b = 0; b < d; b++)
      for (int a = 0; a <= b; a++)
        G[a + d * b + d * d * j] = G[b + d * a + d * d * j] = random_normal();
  covariance_gradient(&p.cov, G, gradient);
  for (int i = 0; i < n; i++) {
    double sum = 0.0;
    differences(Sigma_at, &p, eta, n, i, 1e-3, slope, size);
    for (int e = 0; e < size; e++) sum += G[e] * slope[e];
    CHECK_CLOSE(gradient[i], sum, 1e-10);
  }
}

/* Coordinates of a state that an M-step reached, whatever signs and turns its eigenvectors have,
 * are those of the same matrices, and the gradient is that in these coordinates. */
static void test_coordinates_of_m_step(int model, int d, int k) {
  problem p;
  int component;
  problem_init(&p, model, d, k);
  const int n = p.cov.n_eta, size = d * d * k;
  double *eta = new_doubles(n), *gradient = new_doubles(n), slope;
  for (int i = 0; i < 10; i++) {
    for (int j = 0; j < k; j++) random_scatter(d, p.n[j], p.W + d * d * j);
    CHECK(covariance_m_step(&p.cov, p.n, p.W, &component) == ELBO_OK);
    const double *Sigma = copy_doubles(p.cov.Sigma, size);
    for (int j = 0; j < k; j++) random_scatter(d, p.n[j], p.W + d * d * j);
    covariance_pack(&p.cov, eta);
    objective_gradient(&p, gradient);
    CHECK(covariance_unpack(&p.cov, eta) == ELBO_OK);
    CHECK(distance(p.cov.Sigma, Sigma, size) < 1e-12);
    for (int e = 0; e < n; e++) {
      differences(value_at, &p, eta, n, e, 1e-4, &slope, 1);
      CHECK(fabs(slope - gradient[e]) < 1e-7 * (1.0 + largest(gradient, n)));
    }
  }
}

static void test_restore(int model, int d, int k) {
  problem p, q;
  int component;
  problem_init(&p, model, d, k);
  problem_init(&q, model, d, k);
  const int size = d * d * k;
  for (int i = 0; i < 10; i++) {
    covariance_unpack(&p.cov, random_eta(p.cov.n_eta));
    covariance_anchor(&p.cov);
    CHECK(covariance_restore(&q.cov, p.cov.Sigma, &component) == ELBO_OK);
    CHECK(distance(q.cov.Sigma, p.cov.Sigma, size) < 1e-12);
    const double *Sigma = copy_doubles(p.cov.Sigma, size); /* in place */
    CHECK(covariance_restore(&p.cov, p.cov.Sigma, &component) == ELBO_OK);
    CHECK(distance(p.cov.Sigma, Sigma, size) < 1e-12);
  }
}

/* nMclustParams of mclust 6.0.0 less k d + k - 1 for means and weights, d = 4, k = 3. */
static void test_counts(void) {
  const int counts[MODELS] = {1, 3, 4, 6, 10, 12, 10, 12, 16, 18, 22, 24, 28, 30};
  for (int model = 0; model < MODELS; model++) {
    CHECK(covariance_n_parameters((covariance_model)model, 4, 3) == counts[model]);
    CHECK(covariance_n_parameters((covariance_model)model, 1, 3) ==
          (name[model][0] == 'V' ? 3 : 1));
  }
}

/* ---- special cases --------------------------------------------------------------------------- */

/* One component: W / n, its diagonal, or the mean of that. */
static void test_one_component(void) {
  enum { D = 4 };
  for (int model = 0; model < MODELS; model++) {
    problem p;
    problem_init(&p, model, D, 1);
    double expected[D * D] = {0}, trace = 0.0;
    CHECK(m_step(&p) == ELBO_OK);
    for (int a = 0; a < D; a++) trace += p.W[a * (D + 1)];
    for (int i = 0; i < D * D; i++) {
      const int diagonal = i % (D + 1) == 0;
      if (diagonal || name[model][2] != 'I') expected[i] = p.W[i] / p.n[0];
      if (diagonal && name[model][1] == 'I') expected[i] = trace / (D * p.n[0]);
    }
    CHECK(distance(p.cov.Sigma, expected, D * D) < 1e-12);
  }
}

static void test_one_variable(void) {
  for (int model = 0; model < MODELS; model++) {
    problem p;
    problem_init(&p, model, 1, 3);
    double n = 0.0, W = 0.0;
    for (int j = 0; j < 3; j++) {
      n += p.n[j];
      W += p.W[j];
    }
    CHECK(m_step(&p) == ELBO_OK);
    for (int j = 0; j < 3; j++)
      CHECK_CLOSE(p.cov.Sigma[j], name[model][0] == 'V' ? p.W[j] / p.n[j] : W / n, 1e-13);
  }
}

/* Diagonal models in two variables, worked by hand: W = diag(4, 1), diag(9, 36), n = 2, 8. */
static void test_by_hand(void) {
  const double W[8] = {4, 0, 0, 1, 9, 0, 0, 36}, n[2] = {2, 8}, reference[2] = {1, 1};
  /* EVI: volume (sqrt(4) + sqrt(324)) / 10 = 2, shapes (4, 1) / 2 and (9, 36) / 18. */
  const double EVI[8] = {4, 0, 0, 1, 1, 0, 0, 4};
  /* EII: trace 50 over 2 * 10. VII: 5 / 4 and 45 / 16. EEI: (13, 37) / 10. */
  const double EII[8] = {2.5, 0, 0, 2.5, 2.5, 0, 0, 2.5};
  const double VII[8] = {1.25, 0, 0, 1.25, 2.8125, 0, 0, 2.8125};
  const double EEI[8] = {1.3, 0, 0, 3.7, 1.3, 0, 0, 3.7};
  /* VEI: with shape (s, 1/s), t = s^2: 2 log(4 + t) + 8 log(9 + 36 t) - 5 log t is least where
   * 2 / (4 + t) + 32 / (1 + 4 t) = 5 / t: 20 t^2 + 45 t - 20 = 0. */
  const double t = (-45.0 + sqrt(45.0 * 45.0 + 1600.0)) / 40.0, s = sqrt(t);
  const double v1 = (4.0 / s + s) / 4.0, v2 = (9.0 / s + 36.0 * s) / 16.0;
  const double VEI[8] = {v1 * s, 0, 0, v1 / s, v2 * s, 0, 0, v2 / s};
  const double *const expected[5] = {EII, VII, EEI, VEI, EVI};
  for (int model = 0; model < 5; model++) {
    covariance_work cov;
    int component;
    covariance_init(&cov, (covariance_model)model, 2, 2, reference, &test_memory);
    for (int i = 0; i < 3; i++) CHECK(covariance_m_step(&cov, n, W, &component) == ELBO_OK);
    CHECK(distance(cov.Sigma, expected[model], 8) < 1e-8);
  }
}

static void test_neutral_start(void) {
  const double reference[3] = {1, 8, 27};
  for (int model = 0; model < MODELS; model++) {
    covariance_work cov;
    double expected[18] = {0};
    for (int j = 0; j < 2; j++)
      for (int a = 0; a < 3; a++)
        expected[9 * j + 4 * a] = name[model][1] == 'I' ? 12.0 : reference[a];
    covariance_init(&cov, (covariance_model)model, 3, 2, reference, &test_memory);
    CHECK(distance(cov.Sigma, expected, 18) < 1e-14);
  }
}

/* ---- edges ----------------------------------------------------------------------------------- */

/* A component without rows: the others as if it were not there, its own parameters as they were. */
static void test_empty(int model, int d) {
  problem p, alone;
  int component;
  problem_init(&p, model, d, 3);
  problem_init(&alone, model, d, 2);
  covariance_unpack(&p.cov, random_eta(p.cov.n_eta));
  const int size = d * d;
  const double *own = copy_doubles(p.cov.Sigma + 2 * size, size);
  memcpy(alone.n, p.n, 2 * sizeof(double));
  memcpy(alone.W, p.W, (size_t)(2 * size) * sizeof(double));
  p.n[2] = 0.0;
  for (int i = 0; i < size; i++) p.W[2 * size + i] = 0.0;
  CHECK(m_step(&p) == ELBO_OK && m_step(&alone) == ELBO_OK);
  CHECK(distance(p.cov.Sigma, alone.cov.Sigma, 2 * size) < 1e-6);
  if (strcmp(name[model], "VVV") == 0) CHECK(distance(p.cov.Sigma + 2 * size, own, size) < 1e-14);
  for (int i = 0; i < size; i++) CHECK(isfinite(p.cov.Sigma[2 * size + i]));
  memset(p.n, 0, 3 * sizeof(double));
  memset(p.W, 0, (size_t)(3 * size) * sizeof(double));
  const double *before = copy_doubles(p.cov.Sigma, 3 * size);
  CHECK(covariance_m_step(&p.cov, p.n, p.W, &component) == ELBO_OK);
  CHECK(distance(p.cov.Sigma, before, 3 * size) == 0.0);
}

/* One row in the last component: its scatter is zero. */
static void test_collapse(int model) {
  enum { D = 3 };
  problem p;
  int component = 99;
  problem_init(&p, model, D, 3);
  p.n[2] = 1.0;
  memset(p.W + 2 * D * D, 0, D * D * sizeof(double));
  const elbo_status status = covariance_m_step(&p.cov, p.n, p.W, &component);
  if (name[model][0] == 'E' && name[model][1] != 'V') {
    CHECK(status == ELBO_OK);
  } else {
    CHECK(status == ELBO_E_UNBOUNDED);
    CHECK(component == 2);
  }
}

/* Scatter of rank 2 in a component of 3 variables, in a direction that is no axis; then in all.
 * With a common rotation the likelihood has no bound either, but may have a local maximum. */
static void test_singular(int model) {
  enum { D = 3 };
  problem p;
  int component = 99;
  const double A[D * D] = {1, 2, 3, 0, 1, -1, 0, 0, 0};
  problem_init(&p, model, D, 2);
  p.n[1] = p.n[0];
  la_multiply_t(A, A, D, D, D, p.W + D * D);
  elbo_status status = covariance_m_step(&p.cov, p.n, p.W, &component);
  if (name[model][1] == 'V' && name[model][2] != 'I') {
    CHECK(status == ELBO_E_UNBOUNDED || name[model][2] == 'E');
    CHECK(status == ELBO_OK || component == 1);
  } else {
    CHECK(status == ELBO_OK);
  }
  problem_init(&p, model, D, 2);
  for (int j = 0; j < 2; j++) la_multiply_t(A, A, D, D, D, p.W + D * D * j);
  status = covariance_m_step(&p.cov, p.n, p.W, &component);
  CHECK(status == (name[model][2] == 'I' ? ELBO_OK : ELBO_E_UNBOUNDED));
  if (strcmp(name[model], "EEE") == 0) CHECK(component == -1);
}

/* Variances of columns 1e12 apart (1e6 where eigenvectors are sought) are no singularity. */
static void test_scales(int model) {
  problem p;
  problem_init(&p, model, 2, 2);
  const double scale = p.cov.frame_kind == FRAME_ROTATION ? 1e3 : 1e6;
  p.cov.reference[0] = 1.0 / scale;
  p.cov.reference[1] = scale;
  for (int j = 0; j < 2; j++) {
    p.W[4 * j] /= scale;
    p.W[3 + 4 * j] *= scale;
  }
  CHECK(m_step(&p) == ELBO_OK);
}

static void test_overflow(void) {
  for (int model = 0; model < MODELS; model++) {
    problem p;
    problem_init(&p, model, 2, 2);
    double *eta = new_doubles(p.cov.n_eta);
    eta[0] = 800.0;
    CHECK(covariance_unpack(&p.cov, eta) == ELBO_E_NOT_PD);
    eta[0] = -800.0;
    CHECK(covariance_unpack(&p.cov, eta) == ELBO_E_NOT_PD);
    eta[0] = NAN;
    CHECK(covariance_unpack(&p.cov, eta) == ELBO_E_NOT_PD);
  }
}

int main(void) {
  for (int model = 0; model < MODELS; model++) {
    random_seed((unsigned long long)model + 1);
    test_m_step(model, 2, 3);
    test_m_step(model, 3, 2);
    test_free();
    test_monotone(model, 3, 3);
    test_monotone(model, 5, 2);
    test_free();
    test_coordinates(model, 3, 3);
    test_coordinates(model, 5, 2);
    test_coordinates(model, 1, 2);
    test_free();
    test_coordinates_of_m_step(model, 4, 2);
    test_free();
    test_restore(model, 3, 3);
    test_restore(model, 5, 2);
    test_empty(model, 3);
    test_collapse(model);
    test_singular(model);
    test_scales(model);
    test_free();
  }
  test_counts();
  test_one_component();
  test_one_variable();
  test_by_hand();
  test_neutral_start();
  test_overflow();
  test_free();
  return FINISH();
}
