/* Quasi-Newton steps: a mixture of two Poisson laws, beside textbook EM run to the end, and a
 * curved valley whose maximum is known. */
#include <string.h>

#include "reference.h"

/* ---- two Poisson laws ------------------------------------------------------------------------ */

enum { MOST = 64, UNKNOWN = 3 };

/* count[y] units showed y; with probability w a unit's mean is mean[0], else mean[1].
 * eta = (log w - log(1 - w), log mean[0], log mean[1]). */
typedef struct {
  double count[MOST], factor; /* of the metric, to make it wrong */
  double w, mean[2];
  double r[MOST]; /* q: P(first | y) */
  double passes;
  int few; /* there is no metric */
} poissons;

static double log_density(const poissons *p, int j, int y) {
  return y * log(p->mean[j]) - p->mean[j] - lgamma(y + 1.0) + log(j == 0 ? p->w : 1.0 - p->w);
}

static double posterior(const poissons *p, int y) {
  return 1.0 / (1.0 + exp(log_density(p, 1, y) - log_density(p, 0, y)));
}

static elbo_status e_step(void *work) {
  poissons *p = work;
  for (int y = 0; y < MOST; y++) p->r[y] = posterior(p, y);
  return ELBO_OK;
}

static elbo_status m_step(void *work) {
  poissons *p = work;
  double n[2] = {0.0, 0.0}, sum[2] = {0.0, 0.0};
  for (int y = 0; y < MOST; y++)
    for (int j = 0; j < 2; j++) {
      const double r = p->count[y] * (j == 0 ? p->r[y] : 1.0 - p->r[y]);
      n[j] += r;
      sum[j] += r * y;
    }
  p->w = n[0] / (n[0] + n[1]);
  for (int j = 0; j < 2; j++) p->mean[j] = sum[j] / n[j];
  return ELBO_OK;
}

static elbo_status log_likelihood(void *work, double *value) {
  poissons *p = work;
  p->passes += 1.0;
  *value = 0.0;
  for (int y = 0; y < MOST; y++)
    *value += p->count[y] * log(exp(log_density(p, 0, y)) + exp(log_density(p, 1, y)));
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status bound(void *work, double *value) {
  const poissons *p = work;
  *value = 0.0;
  for (int y = 0; y < MOST; y++) {
    const double r = p->r[y];
    if (r > 0.0) *value += p->count[y] * r * (log_density(p, 0, y) - log(r));
    if (r < 1.0) *value += p->count[y] * (1.0 - r) * (log_density(p, 1, y) - log1p(-r));
  }
  return ELBO_OK;
}

static void score(const poissons *p, int y, double *s) {
  const double r = posterior(p, y);
  s[0] = r - p->w;
  s[1] = r * (y - p->mean[0]);
  s[2] = (1.0 - r) * (y - p->mean[1]);
}

static elbo_status gradient(void *work, double *g) {
  const poissons *p = work;
  double s[UNKNOWN];
  memset(g, 0, UNKNOWN * sizeof(double));
  for (int y = 0; y < MOST; y++) {
    score(p, y, s);
    for (int a = 0; a < UNKNOWN; a++) g[a] += p->count[y] * s[a];
  }
  return ELBO_OK;
}

static elbo_status metric(void *work, double *A) {
  const poissons *p = work;
  double s[UNKNOWN];
  if (p->few) return ELBO_E_RANK;
  memset(A, 0, UNKNOWN * UNKNOWN * sizeof(double));
  for (int y = 0; y < MOST; y++) {
    score(p, y, s);
    for (int a = 0; a < UNKNOWN; a++)
      for (int b = 0; b < UNKNOWN; b++) A[a + UNKNOWN * b] += p->factor * p->count[y] * s[a] * s[b];
  }
  return ELBO_OK;
}

static void pack(void *work, double *eta) {
  const poissons *p = work;
  eta[0] = log(p->w) - log1p(-p->w);
  for (int j = 0; j < 2; j++) eta[1 + j] = log(p->mean[j]);
}

static elbo_status unpack(void *work, const double *eta) {
  poissons *p = work;
  p->w = 1.0 / (1.0 + exp(-eta[0]));
  for (int j = 0; j < 2; j++) p->mean[j] = exp(eta[1 + j]);
  return p->w > 0.0 && p->w < 1.0 ? ELBO_OK : ELBO_E_NOT_PD;
}

static double passes(const void *work) { return ((const poissons *)work)->passes; }

static const elbo_model model = {
    .n_eta = UNKNOWN,
    .e_name = ELBO_STEP_E,
    .m_name = ELBO_STEP_M,
    .e_step = e_step,
    .m_step = m_step,
    .elbo = bound,
    .log_evidence = log_likelihood,
    .pack = pack,
    .unpack = unpack,
    .objective = {.value = log_likelihood, .gradient = gradient, .metric = metric},
    .schedule = {.em_first = 3},
    .passes = passes,
};

/* 10,000 deaths of women by day: Hasselblad (1969), JASA 64:1459, table 6, here ten times as many,
 * whose maximum is the same: w = .3599, means 1.256 and 2.663. */
static poissons deaths(void) {
  static const double count[] = {162, 267, 271, 185, 111, 61, 27, 8, 3, 1};
  poissons p = {.factor = 1.0, .w = 0.5, .mean = {1.0, 4.0}};
  for (int y = 0; y < 10; y++) p.count[y] = 10.0 * count[y];
  return p;
}

typedef struct {
  int steps[8], fell;
  double last;
} watcher;

static void watch(void *ctx, int iteration, elbo_step step, double elbo, double evidence,
                  double kl) {
  watcher *w = ctx;
  (void)iteration, (void)evidence, (void)kl;
  w->steps[step]++;
  w->fell += elbo < w->last - 1e-13 * fabs(elbo);
  w->last = elbo;
}

static elbo_result climb(const elbo_model *m, void *work, elbo_accelerate accelerate, double tol,
                         watcher *w) {
  const elbo_control control = {.accelerate = accelerate, .max_iter = 100000, .tol = tol};
  const watcher none = {.last = -HUGE_VAL};
  *w = none;
  const elbo_hooks hooks = {NULL, watch, w};
  elbo_result result;
  double *memory = new_doubles((int)elbo_ascend_size(m));
  elbo_ascend(m, work, &control, &hooks, memory, &result);
  CHECK(w->fell == 0);
  CHECK(result.iterations == result.em + result.squarem + result.quasi_newton + result.newton);
  CHECK(result.quasi_newton == w->steps[ELBO_STEP_QUASI_NEWTON]);
  return result;
}

static void test_poissons(void) {
  watcher w;
  poissons slow = deaths();
  const elbo_result em = climb(&model, &slow, ELBO_ACCELERATE_NONE, 1e-12, &w);
  CHECK(em.status == ELBO_OK && em.iterations > 1000 && em.quasi_newton == 0);
  CHECK_CLOSE(slow.w, 0.3599, 5e-4);
  CHECK_CLOSE(slow.mean[0], 1.256, 1e-3);
  CHECK_CLOSE(slow.mean[1], 2.663, 1e-3);
  /* The metric right, half and four times what it should be. */
  static const double factor[] = {1.0, 0.5, 4.0};
  for (int i = 0; i < 3; i++) {
    poissons p = deaths();
    p.factor = factor[i];
    const elbo_result r = climb(&model, &p, ELBO_ACCELERATE_AUTO, 1e-10, &w);
    CHECK(r.status == ELBO_OK && r.squarem == 0 && r.newton == 0);
    CHECK(r.iterations < (i == 0 ? 20 : 30));
    CHECK(r.gain <= 1e-10 && r.gradient > 0.0 && r.gradient < 1e-3);
    CHECK(fabs(r.objective - em.objective) < 1e-8);
    CHECK_CLOSE(p.w, slow.w, 1e-4);
    CHECK(r.passes == p.passes);
  }
}

/* Without a metric SQUAREM does it. */
static void test_no_metric(void) {
  watcher w;
  poissons p = deaths();
  p.few = 1;
  const elbo_result r = climb(&model, &p, ELBO_ACCELERATE_AUTO, 1e-8, &w);
  CHECK(r.status == ELBO_OK && r.quasi_newton == 0 && r.squarem > 0 && isnan(r.gradient));
}

/* The gradient, and where EM leads to from here. */
static elbo_status natural(void *work, double *g, double *step) {
  poissons *p = work, kept = *p;
  double before[UNKNOWN];
  const elbo_status status = gradient(work, g);
  pack(work, before);
  m_step(work);
  pack(work, step);
  for (int a = 0; a < UNKNOWN; a++) step[a] -= before[a];
  *p = kept;
  return status;
}

/* With a metric that is never formed: instead of scores, and where these are no guide. */
static void test_pairs(void) {
  elbo_model by_pairs = model;
  watcher w;
  poissons p = deaths();
  const elbo_result em = climb(&model, &p, ELBO_ACCELERATE_NONE, 1e-12, &w);
  by_pairs.objective.natural = natural;
  for (int metric = 0; metric < 2; metric++) {
    p = deaths();
    p.few = 1;
    if (metric == 0) by_pairs.objective.metric = NULL;
    if (metric == 1) by_pairs.objective.metric = model.objective.metric;
    const elbo_result r = climb(&by_pairs, &p, ELBO_ACCELERATE_AUTO, 1e-10, &w);
    CHECK(r.status == ELBO_OK && r.squarem == 0 && r.newton == 0 && r.iterations < 25);
    CHECK(r.gain <= 1e-10 && isnan(r.gradient));
    CHECK(fabs(r.objective - em.objective) < 1e-8);
  }
}

/* ---- a curved valley ------------------------------------------------------------------------- */

/* Two independent N(0, 1) scores, 10 (x_1 - x_0^2) and 1 - x_0: minus half their squares is
 * Rosenbrock's function, with its maximum 0 at (1, 1); the outer products of their gradients are
 * the metric.  EM stays put: all is left to the steps. */
static elbo_status valley_value(void *work, double *value) {
  const double *x = work, a = 10.0 * (x[1] - x[0] * x[0]), b = 1.0 - x[0];
  *value = -0.5 * (a * a + b * b);
  return ELBO_OK;
}

static elbo_status valley_gradient(void *work, double *g) {
  const double *x = work, a = 10.0 * (x[1] - x[0] * x[0]), b = 1.0 - x[0];
  g[0] = 20.0 * a * x[0] + b;
  g[1] = -10.0 * a;
  return ELBO_OK;
}

static elbo_status valley_metric(void *work, double *A) {
  const double *x = work;
  A[0] = 400.0 * x[0] * x[0] + 1.0;
  A[1] = A[2] = -200.0 * x[0];
  A[3] = 100.0;
  return ELBO_OK;
}

static elbo_status stay(void *work) {
  (void)work;
  return ELBO_OK;
}

static void valley_pack(void *work, double *eta) { memcpy(eta, work, 2 * sizeof(double)); }

static elbo_status valley_unpack(void *work, const double *eta) {
  memcpy(work, eta, 2 * sizeof(double));
  return ELBO_OK;
}

static void test_valley(void) {
  const elbo_model valley = {
      .n_eta = 2,
      .e_name = ELBO_STEP_E,
      .m_name = ELBO_STEP_M,
      .e_step = stay,
      .m_step = stay,
      .elbo = valley_value,
      .pack = valley_pack,
      .unpack = valley_unpack,
      .objective = {.value = valley_value, .gradient = valley_gradient, .metric = valley_metric},
  };
  static const double start[4][2] = {{-1.2, 1.0}, {0.0, 0.0}, {3.0, -5.0}, {1.0, 1.0}};
  for (int i = 0; i < 4; i++) {
    double x[2] = {start[i][0], start[i][1]};
    watcher w;
    const elbo_result r = climb(&valley, x, ELBO_ACCELERATE_AUTO, 1e-12, &w);
    CHECK(r.status == ELBO_OK && r.gain <= 1e-12 && r.iterations < 60);
    CHECK(r.objective > -1e-11);
    CHECK_CLOSE(x[0], 1.0, 1e-5);
    CHECK_CLOSE(x[1], 1.0, 1e-5);
  }
}

/* A direction of which the data say nothing is left alone: only x_0 matters. */
static elbo_status ridge_value(void *work, double *value) {
  const double *x = work;
  *value = -0.5 * (x[0] - 2.0) * (x[0] - 2.0);
  return ELBO_OK;
}

static elbo_status ridge_gradient(void *work, double *g) {
  const double *x = work;
  g[0] = 2.0 - x[0];
  g[1] = 0.0;
  return ELBO_OK;
}

static elbo_status ridge_metric(void *work, double *A) {
  (void)work;
  A[0] = 1.0;
  A[1] = A[2] = A[3] = 0.0;
  return ELBO_OK;
}

static void test_ridge(void) {
  const elbo_model ridge = {
      .n_eta = 2,
      .e_name = ELBO_STEP_E,
      .m_name = ELBO_STEP_M,
      .e_step = stay,
      .m_step = stay,
      .elbo = ridge_value,
      .pack = valley_pack,
      .unpack = valley_unpack,
      .objective = {.value = ridge_value, .gradient = ridge_gradient, .metric = ridge_metric},
  };
  double x[2] = {30.0, 7.0};
  watcher w;
  const elbo_result r = climb(&ridge, x, ELBO_ACCELERATE_AUTO, 1e-12, &w);
  CHECK(r.status == ELBO_OK && r.quasi_newton == 1);
  CHECK(x[0] == 2.0 && x[1] == 7.0);
}

/* Minus half of sum_j j (x_j - 1)^2, whose natural step, as if all were alike, is the gradient: as
 * many steps as there are coordinates, and a few for the lengths. */
enum { MANY = 30 };

static elbo_status bowl_value(void *work, double *value) {
  const double *x = work;
  *value = 0.0;
  for (int j = 0; j < MANY; j++) *value -= 0.5 * (j + 1) * (x[j] - 1.0) * (x[j] - 1.0);
  return ELBO_OK;
}

static elbo_status bowl_natural(void *work, double *g, double *step) {
  const double *x = work;
  for (int j = 0; j < MANY; j++) g[j] = step[j] = (j + 1) * (1.0 - x[j]);
  return ELBO_OK;
}

static void bowl_pack(void *work, double *eta) { memcpy(eta, work, MANY * sizeof(double)); }

static elbo_status bowl_unpack(void *work, const double *eta) {
  memcpy(work, eta, MANY * sizeof(double));
  return ELBO_OK;
}

static void test_bowl(void) {
  const elbo_model bowl = {
      .n_eta = MANY,
      .e_name = ELBO_STEP_E,
      .m_name = ELBO_STEP_M,
      .e_step = stay,
      .m_step = stay,
      .elbo = bowl_value,
      .pack = bowl_pack,
      .unpack = bowl_unpack,
      .objective = {.value = bowl_value, .natural = bowl_natural},
  };
  double x[MANY];
  watcher w;
  for (int j = 0; j < MANY; j++) x[j] = 0.3 * j - 5.0;
  const elbo_result r = climb(&bowl, x, ELBO_ACCELERATE_AUTO, 1e-12, &w);
  CHECK(r.status == ELBO_OK && r.gain <= 1e-12 && r.iterations < 2 * MANY);
  for (int j = 0; j < MANY; j++) CHECK_CLOSE(x[j], 1.0, 1e-5);
}

int main(void) {
  test_poissons();
  test_no_metric();
  test_pairs();
  test_valley();
  test_ridge();
  test_bowl();
  test_free();
  return FINISH();
}
