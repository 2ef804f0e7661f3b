/* Newton by conjugate gradients on functions whose maxima are known. */
#include "engine/newton_cg.h"

#include <string.h>

#include "math/la.h"
#include "reference.h"

/* ---- running --------------------------------------------------------------------------------- */

typedef struct {
  int polls, stop_at; /* poll number that asks to stop, 0 for none */
  int steps, fell;
  double last;
} watcher;

static int poll(void *ctx) {
  watcher *w = (watcher *)ctx;
  return ++w->polls == w->stop_at;
}

static void watch(void *ctx, int iteration, elbo_step step, double value, double evidence,
                  double kl) {
  watcher *w = (watcher *)ctx;
  w->steps++;
  CHECK(step == ELBO_STEP_NEWTON && iteration == w->steps && isnan(evidence) && isnan(kl));
  w->fell += value < w->last - 1e-12 * (1.0 + fabs(value));
  w->last = value;
}

static newton_cg_result run(const newton_cg_objective *f, void *work, double *x, double tol,
                            int max_iter, int stop_at) {
  const newton_cg_control control = {.tol = tol, .max_iter = max_iter};
  watcher w = {.stop_at = stop_at, .last = -HUGE_VAL};
  const elbo_hooks hooks = {poll, watch, &w};
  newton_cg_result result;
  double *memory = new_doubles((int)newton_cg_size(f->n));
  const elbo_status status = newton_cg(f, work, &control, &hooks, x, memory, &result);
  CHECK(status == result.status);
  CHECK(w.steps == result.iterations && w.fell == 0);
  CHECK(w.polls == result.products + (status == ELBO_STOPPED && stop_at > 0));
  return result;
}

/* ---- a quadratic: c'x - x'Ax / 2 ------------------------------------------------------------- */

typedef struct {
  int n;
  const double *A, *c, *inverse; /* inverse: of A, as a preconditioner */
} quadratic;

static elbo_status quadratic_product(void *work, const double *v, double *out) {
  const quadratic *w = (const quadratic *)work;
  la_multiply(w->A, v, w->n, w->n, 1, out);
  for (int i = 0; i < w->n; i++) out[i] = -out[i];
  return ELBO_OK;
}

static elbo_status quadratic_gradient(void *work, const double *x, double *gradient) {
  const quadratic *w = (const quadratic *)work;
  quadratic_product(work, x, gradient);
  for (int i = 0; i < w->n; i++) gradient[i] += w->c[i];
  return ELBO_OK;
}

static elbo_status quadratic_value(void *work, const double *x, double *value) {
  const quadratic *w = (const quadratic *)work;
  *value = -0.5 * la_quadratic(w->A, x, w->n);
  for (int i = 0; i < w->n; i++) *value += w->c[i] * x[i];
  return ELBO_OK;
}

static elbo_status quadratic_precondition(void *work, const double *v, double *out) {
  const quadratic *w = (const quadratic *)work;
  la_multiply(w->inverse, v, w->n, w->n, 1, out);
  return ELBO_OK;
}

/* A = D + 1 1', D = diag(1..n), and A^{-1} by Sherman and Morrison; c = A 1, so that x = 1. */
static void test_quadratic(void) {
  enum { N = 12 };
  double A[N * N], inverse[N * N], c[N], x[N] = {0}, sum = 0.0;
  for (int i = 0; i < N; i++) sum += 1.0 / (i + 1.0);
  for (int i = 0; i < N; i++) {
    c[i] = i + 1.0 + N;
    for (int j = 0; j < N; j++) {
      A[i + N * j] = (i == j) * (i + 1.0) + 1.0;
      inverse[i + N * j] = (i == j) / (i + 1.0) - 1.0 / ((i + 1.0) * (j + 1.0) * (1.0 + sum));
    }
  }
  quadratic w = {N, A, c, inverse};
  newton_cg_objective f = {.n = N,
                           .value = quadratic_value,
                           .gradient = quadratic_gradient,
                           .product = quadratic_product};
  const double top = 0.5 * (N * (N + 1.0) / 2.0 + N * N); /* c'1 - 1'A1 / 2 */
  newton_cg_result r = run(&f, &w, x, 1e-10, 50, 0);
  CHECK(r.status == ELBO_OK && r.gain <= 1e-10);
  CHECK_CLOSE(r.value, top, 1e-14);
  /* What is not gained, (x - 1)'A(x - 1) / 2, is less than the last step's, and A > I. */
  for (int i = 0; i < N; i++) CHECK_CLOSE(x[i], 1.0, sqrt(2e-10));
  memset(x, 0, sizeof x);
  r = run(&f, &w, x, 0.0, 50, 0); /* until rounding */
  CHECK(r.status == ELBO_OK);
  for (int i = 0; i < N; i++) CHECK_CLOSE(x[i], 1.0, 1e-14);

  /* With the exact inverse one product is one step; from 0 it gains all there is, g'A^{-1}g / 2
   * = c'1 / 2, the objective itself.  That nothing is left only a second step can tell. */
  memset(x, 0, sizeof x);
  f.precondition = quadratic_precondition;
  r = run(&f, &w, x, 1e-10, 1, 0);
  CHECK(r.status == ELBO_MAX_ITER && r.products == 1 && r.iterations == 1);
  CHECK_CLOSE(r.gain, top, 1e-13);
  for (int i = 0; i < N; i++) CHECK_CLOSE(x[i], 1.0, 1e-13);
  r = run(&f, &w, x, 1e-10, 50, 0);
  CHECK(r.status == ELBO_OK && r.gain < 1e-24 && r.products == 1);

  /* At the maximum itself there is no step. */
  double zero[N] = {0};
  w.c = zero;
  memset(x, 0, sizeof x);
  r = run(&f, &w, x, 1e-10, 50, 0);
  CHECK(r.status == ELBO_OK && r.iterations == 0 && r.gain == 0.0 && r.gradient == 0.0);
}

/* ---- Rosenbrock's valley, in n dimensions ---------------------------------------------------- */

enum { MOST_COORDINATES = 100 };

/* -sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2: value 0 at 1; from four dimensions on a second
 * maximum near (-1, 1, ..., 1), -3.986 for n = 7 and above (Shang & Qiu 2006, Evol. Comput. 14:119,
 * table 1). */
typedef struct {
  int n;
  double x[MOST_COORDINATES]; /* of the last gradient */
} valley;

static elbo_status valley_value(void *work, const double *x, double *value) {
  const valley *w = (const valley *)work;
  *value = 0.0;
  for (int i = 0; i + 1 < w->n; i++) {
    const double d = x[i + 1] - x[i] * x[i];
    *value -= 100.0 * d * d + (1.0 - x[i]) * (1.0 - x[i]);
  }
  return ELBO_OK;
}

static elbo_status valley_gradient(void *work, const double *x, double *g) {
  valley *w = (valley *)work;
  memcpy(w->x, x, (size_t)w->n * sizeof(double));
  memset(g, 0, (size_t)w->n * sizeof(double));
  for (int i = 0; i + 1 < w->n; i++) {
    const double d = x[i + 1] - x[i] * x[i];
    g[i + 1] -= 200.0 * d;
    g[i] += 400.0 * d * x[i] + 2.0 * (1.0 - x[i]);
  }
  return ELBO_OK;
}

static elbo_status valley_product(void *work, const double *v, double *out) {
  const valley *w = (const valley *)work;
  const double *x = w->x;
  memset(out, 0, (size_t)w->n * sizeof(double));
  for (int i = 0; i + 1 < w->n; i++) {
    const double d = x[i + 1] - x[i] * x[i];
    out[i + 1] += -200.0 * v[i + 1] + 400.0 * x[i] * v[i];
    out[i] += 400.0 * x[i] * v[i + 1] + (400.0 * d - 800.0 * x[i] * x[i] - 2.0) * v[i];
  }
  return ELBO_OK;
}

/* The diagonal of -H without what may be negative. */
static elbo_status valley_precondition(void *work, const double *v, double *out) {
  const valley *w = (const valley *)work;
  for (int i = 0; i < w->n; i++) {
    const double first = i > 0 ? 200.0 : 0.0;
    out[i] = v[i] / (first + (i + 1 < w->n ? 800.0 * w->x[i] * w->x[i] + 2.0 : 0.0));
  }
  return ELBO_OK;
}

static void test_valley(void) {
  static const int sizes[] = {2, 10, MOST_COORDINATES};
  for (int k = 0; k < 3; k++)
    for (int preconditioned = 0; preconditioned < 2; preconditioned++) {
      valley w = {.n = sizes[k]};
      double x[MOST_COORDINATES];
      const newton_cg_objective f = {.n = w.n,
                                     .value = valley_value,
                                     .gradient = valley_gradient,
                                     .product = valley_product,
                                     .precondition = preconditioned ? valley_precondition : NULL};
      for (int i = 0; i < w.n; i++) x[i] = i % 2 ? 1.0 : -1.2; /* convexity lies on the way */
      const newton_cg_result r = run(&f, &w, x, 1e-12, 1000, 0);
      CHECK(r.status == ELBO_OK && r.gain <= 1e-12 && r.gradient < 1e-7);
      const int second = w.n > 3 && x[0] < 0.0;
      CHECK_CLOSE(r.value, second ? -3.986 : 0.0, second ? 1e-3 : 1e-12);
      for (int i = 1; i < w.n && !second; i++) CHECK_CLOSE(x[i], 1.0, 1e-6);
    }
}

/* ---- logistic regression with a flat start, beside dense Newton ------------------------------ */

enum { ROWS = 300, COLUMNS = 8 };

typedef struct {
  double X[ROWS * COLUMNS], y[ROWS], weight[ROWS]; /* weight: mu (1 - mu) at the last gradient */
} logit;

static elbo_status logit_value(void *work, const double *x, double *value) {
  const logit *w = (const logit *)work;
  *value = 0.0;
  for (int i = 0; i < ROWS; i++) {
    double eta = 0.0;
    for (int j = 0; j < COLUMNS; j++) eta += w->X[i + ROWS * j] * x[j];
    *value += w->y[i] * eta - (eta > 0.0 ? eta + log1p(exp(-eta)) : log1p(exp(eta)));
  }
  return ELBO_OK;
}

static elbo_status logit_gradient(void *work, const double *x, double *g) {
  logit *w = (logit *)work;
  memset(g, 0, COLUMNS * sizeof(double));
  for (int i = 0; i < ROWS; i++) {
    double eta = 0.0;
    for (int j = 0; j < COLUMNS; j++) eta += w->X[i + ROWS * j] * x[j];
    const double mu = 1.0 / (1.0 + exp(-eta));
    w->weight[i] = mu * (1.0 - mu);
    for (int j = 0; j < COLUMNS; j++) g[j] += w->X[i + ROWS * j] * (w->y[i] - mu);
  }
  return ELBO_OK;
}

static elbo_status logit_product(void *work, const double *v, double *out) {
  const logit *w = (const logit *)work;
  memset(out, 0, COLUMNS * sizeof(double));
  for (int i = 0; i < ROWS; i++) {
    double along = 0.0;
    for (int j = 0; j < COLUMNS; j++) along += w->X[i + ROWS * j] * v[j];
    for (int j = 0; j < COLUMNS; j++) out[j] -= w->weight[i] * w->X[i + ROWS * j] * along;
  }
  return ELBO_OK;
}

static void test_logit(void) {
  static logit w;
  random_seed(7);
  for (int i = 0; i < ROWS; i++) {
    double eta = 0.3;
    for (int j = 0; j < COLUMNS; j++) {
      w.X[i + ROWS * j] = j == 0 ? 1.0 : random_normal() * pow(10.0, j % 4); /* units differ */
      if (j > 0) eta += w.X[i + ROWS * j] * 0.4 / pow(10.0, j % 4);
    }
    w.y[i] = random_uniform() < 1.0 / (1.0 + exp(-eta));
  }
  const newton_cg_objective f = {
      .n = COLUMNS, .value = logit_value, .gradient = logit_gradient, .product = logit_product};
  double x[COLUMNS] = {0}, dense[COLUMNS] = {0};
  const newton_cg_result r = run(&f, &w, x, 1e-10, 100, 0);
  CHECK(r.status == ELBO_OK);
  for (int step = 0; step < 12; step++) { /* undamped Newton, the Hessian a column at a time */
    double g[COLUMNS], minus_h[COLUMNS * COLUMNS], e[COLUMNS];
    logit_gradient(&w, dense, g);
    for (int j = 0; j < COLUMNS; j++) {
      memset(e, 0, sizeof e);
      e[j] = -1.0;
      logit_product(&w, e, minus_h + COLUMNS * j);
    }
    double unit[COLUMNS], L[COLUMNS * COLUMNS], inverse[COLUMNS * COLUMNS];
    la_solve_semidefinite(minus_h, g, COLUMNS, unit, L, inverse, e);
    for (int j = 0; j < COLUMNS; j++) dense[j] += e[j];
  }
  double best;
  logit_value(&w, dense, &best);
  CHECK_CLOSE(r.value, best, 1e-12);
  /* What is not gained, below 1e-10, is a distance of sqrt(2e-10) standard errors at most; those
   * are smaller than the coefficients. */
  for (int j = 0; j < COLUMNS; j++) CHECK(fabs(x[j] - dense[j]) < 2e-5 * fabs(dense[j]));

  /* The caller's stop keeps the best point so far. */
  double kept[COLUMNS] = {0}, start, value;
  logit_value(&w, kept, &start);
  const newton_cg_result stopped = run(&f, &w, kept, 1e-10, 100, 20);
  CHECK(stopped.status == ELBO_STOPPED && stopped.iterations > 0);
  logit_value(&w, kept, &value);
  CHECK(value == stopped.value && value > start && value < best);
}

/* ---- a domain with an edge, and one with a saddle -------------------------------------------- */

/* sum_i a_i log x_i - x_i over x > 0, a_i = i: the maximum at x = a. */
static elbo_status barrier_value(void *work, const double *x, double *value) {
  (void)work;
  *value = 0.0;
  for (int i = 0; i < 5; i++) {
    if (!(x[i] > 0.0)) return ELBO_E_NOT_PD;
    *value += (i + 1.0) * log(x[i]) - x[i];
  }
  return ELBO_OK;
}

static elbo_status barrier_gradient(void *work, const double *x, double *g) {
  memcpy(work, x, 5 * sizeof(double));
  for (int i = 0; i < 5; i++) g[i] = (i + 1.0) / x[i] - 1.0;
  return ELBO_OK;
}

static elbo_status barrier_product(void *work, const double *v, double *out) {
  const double *x = (const double *)work;
  for (int i = 0; i < 5; i++) out[i] = -(i + 1.0) / (x[i] * x[i]) * v[i];
  return ELBO_OK;
}

static void test_edge(void) {
  double at[5], x[5] = {40.0, 40.0, 1e-3, 1.0, 9.0}; /* Newton's step from 40 leads to below zero */
  newton_cg_objective f = {
      .n = 5, .value = barrier_value, .gradient = barrier_gradient, .product = barrier_product};
  newton_cg_result r = run(&f, at, x, 1e-12, 200, 0);
  CHECK(r.status == ELBO_OK);
  for (int i = 0; i < 5; i++) CHECK_CLOSE(x[i], i + 1.0, 1e-5);
  x[0] = -1.0;
  r = run(&f, at, x, 1e-12, 200, 0);
  CHECK(r.status == ELBO_E_NOT_FINITE && r.iterations == 0 && x[0] == -1.0);
}

/* x^2 - x^4 / 2 - y^2: maxima 1/2 at (+-1, 0), a saddle at 0. */
static elbo_status saddle_value(void *work, const double *x, double *value) {
  (void)work;
  *value = x[0] * x[0] - 0.5 * pow(x[0], 4.0) - x[1] * x[1];
  return ELBO_OK;
}

static elbo_status saddle_gradient(void *work, const double *x, double *g) {
  *(double *)work = x[0];
  g[0] = 2.0 * x[0] - 2.0 * pow(x[0], 3.0);
  g[1] = -2.0 * x[1];
  return ELBO_OK;
}

static elbo_status saddle_product(void *work, const double *v, double *out) {
  const double x = *(const double *)work;
  out[0] = (2.0 - 6.0 * x * x) * v[0];
  out[1] = -2.0 * v[1];
  return ELBO_OK;
}

static double coarse(void *work) {
  (void)work;
  return 1e-3;
}

static void test_saddle(void) {
  double at, x[2] = {-1e-6, 2.0};
  newton_cg_objective f = {
      .n = 2, .value = saddle_value, .gradient = saddle_gradient, .product = saddle_product};
  newton_cg_result r = run(&f, &at, x, 1e-14, 100, 0);
  CHECK(r.status == ELBO_OK);
  CHECK_CLOSE(r.value, 0.5, 1e-14);
  CHECK_CLOSE(x[0], -1.0, 1e-8);
  CHECK_CLOSE(x[1], 0.0, 1e-8);
  /* Where the value is known to three digits only, the gradient leads on to its own rounding. */
  x[0] = 1.01, x[1] = 0.01;
  f.rounding = coarse;
  r = run(&f, &at, x, 0.0, 100, 0);
  CHECK(r.status == ELBO_OK && r.iterations < 15);
  CHECK_CLOSE(x[0], 1.0, 1e-14);
  x[0] = x[1] = 0.0;
  r = run(&f, &at, x, 1e-14, 100, 0);
  CHECK(r.status == ELBO_OK && r.iterations == 0); /* as the header says */
}

int main(void) {
  test_quadratic();
  test_valley();
  test_logit();
  test_edge();
  test_saddle();
  test_free();
  return FINISH();
}
