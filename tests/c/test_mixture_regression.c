/* The regression part of a mixture, alone: random responsibilities take the place of the
 * mixture. */
#include <string.h>

#include "math/digamma.h"
#include "math/la.h"
#include "math/rows.h"
#include "law/sd_prior.h"
#include "math/softplus.h"
#include "mixture/regression.h"
#include "reference.h"

enum { P = 3, K = 3, MOST_ETA = 48, CHUNKS = 3 };

static const double pi = 3.14159265358979323846;

/* ---- problems -------------------------------------------------------------------------------- */

enum {
  PLAIN = 0,
  WEIGHTS = 1,
  OFFSET = 2,
  UNITS = 4,
  COMMON = 8,
  CONSTANT = 16,
  PRIOR = 32,
  SIGMA_PRIOR = 64,
  NO_INTERCEPT = 128
};

typedef struct {
  mixture_regression_spec spec;
  mixture_part part;
  int options;
  double *r;      /* n_unit x k */
  double *r_rows; /* n_row x k */
  double *stat, *scratch;
} problem;

static const int unit_first[] = {0,  3,  4,  10, 11, 12, 15, 22, 24, 29, 30, 31, 36,
                                 44, 47, 53, 58, 60, 66, 67, 71, 75, 81, 88, 90, 97};
enum { N_ROW = 97, N_UNIT = sizeof unit_first / sizeof *unit_first - 1 };

static double random_response(regression_family family, double trials, double x) {
  double y = 0.0;
  if (family == REGRESSION_GAUSSIAN) return 300.0 + 4.0 * x + random_normal();
  if (family == REGRESSION_BINOMIAL) {
    for (int t = 0; t < (int)trials; t++) y += random_uniform() < 1.0 / (1.0 + exp(-x));
    return y;
  }
  for (double left = exp(-exp(0.7 * x)), u = random_uniform(); u > left; y++) u *= random_uniform();
  return y;
}

static void random_rows(mixture_regression_spec *spec, int options) {
  const int n = spec->units.n_row;
  double *X = new_doubles(n * P), *y = new_doubles(n), *w = new_doubles(n), *o = new_doubles(n);
  const int binomial = spec->family == REGRESSION_BINOMIAL;
  for (int i = 0; i < n; i++) {
    X[i] = options & NO_INTERCEPT ? random_normal() : 1.0;
    X[i + n] = 50.0 + 2.0 * random_normal();
    X[i + 2 * n] = random_uniform() < 0.4;
    w[i] = binomial ? 1.0 + floor(6.0 * random_uniform()) : 0.3 + 2.0 * random_uniform();
    o[i] = 0.4 * random_normal();
    const double x = 0.3 * (X[i + n] - 50.0) - X[i + 2 * n] + (options & OFFSET ? o[i] : 0.0);
    y[i] = random_response(spec->family, options & WEIGHTS ? w[i] : 1.0, x);
  }
  spec->X = X;
  spec->y = y;
  if (options & WEIGHTS) spec->weights = w;
  if (options & OFFSET) spec->offset = o;
}

static void problem_init(problem *f, regression_family family, mixture_method method, int options) {
  static const double mean[P] = {1.0, 0.2, -0.5}, sd[P] = {30.0, HUGE_VAL, 1.5},
                      proper[P] = {30, 2, 1.5};
  static const double constant[K] = {NAN, 1.7, NAN}, common_constant[1] = {1.7};
  memset(f, 0, sizeof *f);
  f->options = options;
  mixture_regression_spec *s = &f->spec;
  s->method = method;
  s->k = K;
  s->family = family;
  s->p = P;
  s->units = (mixture_units){N_ROW, N_ROW, NULL, NULL};
  if (options & UNITS) s->units = (mixture_units){N_UNIT, N_ROW, unit_first, NULL};
  random_rows(s, options);
  s->linear.common_sigma = (options & COMMON) != 0;
  if (options & CONSTANT)
    s->linear.sigma_constant = s->linear.common_sigma ? common_constant : constant;
  s->linear.sigma_df = 3.0;
  s->linear.sigma_scale = 2.5;
  if (options & SIGMA_PRIOR || method == MIXTURE_VB) s->linear.sigma_family = SD_HALF_T;
  s->linear.beta_mean = mean;
  if (options & PRIOR) s->linear.beta_sd = sd;
  if (method == MIXTURE_VB) s->linear.beta_sd = proper;
  CHECK(mixture_regression_part(&f->part, s, &test_memory) == ELBO_OK);
  const int n_unit = s->units.n_unit;
  f->r = new_doubles(n_unit * K);
  f->r_rows = new_doubles(N_ROW * K);
  for (int i = 0; i < n_unit; i++) {
    double total = 0.0;
    for (int j = 0; j < K; j++) total += f->r[i + n_unit * j] = pow(random_uniform(), 3.0);
    const double freq = 1.0 + floor(2.0 * random_uniform());
    for (int j = 0; j < K; j++) {
      f->r[i + n_unit * j] *= freq / total;
      for (int row = options & UNITS ? unit_first[i] : i;
           row < (options & UNITS ? unit_first[i + 1] : i + 1); row++)
        f->r_rows[row + N_ROW * j] = f->r[i + n_unit * j];
    }
  }
  f->stat = new_doubles((int)f->part.n_stat);
  f->scratch = new_doubles((int)f->part.n_scratch * rows_padded(N_ROW));
}

static const double *kept_r(const problem *f) { return f->part.keeps_r ? f->r : NULL; }

static elbo_status prepare(problem *f) {
  int component;
  return f->part.prepare(f->part.work, &component);
}

static mixture_chunk chunk_of(int c) {
  static const int start[CHUNKS + 1] = {0, 36, 81, N_ROW}; /* whole units */
  return (mixture_chunk){0, 0, start[c], start[c + 1] - start[c],
                         rows_padded(start[c + 1] - start[c])};
}

/* Statistics at the present parameters, over three chunks. */
static void gather(problem *f) {
  memset(f->stat, 0, f->part.n_stat * sizeof(double));
  for (int c = 0; c < CHUNKS; c++) {
    const mixture_chunk chunk = chunk_of(c);
    double *r = new_doubles(chunk.ld * K);
    for (int j = 0; j < K; j++)
      memcpy(r + chunk.ld * j, f->r_rows + N_ROW * j + chunk.row,
             (size_t)chunk.n_row * sizeof(double));
    f->part.accumulate(f->part.work, &chunk, r, f->scratch, f->stat);
  }
  if (f->part.finish) f->part.finish(f->part.work, f->stat);
}

static elbo_status m_step(problem *f) {
  int component = -1;
  gather(f);
  const elbo_status status = f->part.m_step(f->part.work, f->stat, kept_r(f), &component);
  return status == ELBO_OK ? prepare(f) : status;
}

static double objective(problem *f) {
  double value = NAN;
  CHECK(f->part.expected(f->part.work, f->stat, kept_r(f), &value) == ELBO_OK);
  return value + f->part.log_prior(f->part.work);
}

static elbo_status move_to(problem *f, const double *eta) {
  const elbo_status status = f->part.unpack(f->part.work, eta);
  return status == ELBO_OK ? prepare(f) : status;
}

static void objective_at(void *ctx, const double *eta, double *out) {
  problem *f = (problem *)ctx;
  CHECK(move_to(f, eta) == ELBO_OK);
  *out = objective(f);
}

static void moments_at(void *ctx, const double *eta, double *out) {
  problem *f = (problem *)ctx;
  CHECK(move_to(f, eta) == ELBO_OK);
  f->part.moments(f->part.work, out);
}

/* Derivatives of f at the present eta, which is returned to. */
static void slopes(problem *f, test_function g, double h, double *out, int n_out) {
  double eta[MOST_ETA];
  const int n = f->part.n_eta;
  f->part.pack(f->part.work, eta);
  for (int a = 0; a < n; a++)
    differences(g, f, eta, n, a, h * fmax(f->spec.method == MIXTURE_VB ? 0.0 : 1.0, fabs(eta[a])),
                out + n_out * a, n_out);
  CHECK(move_to(f, eta) == ELBO_OK);
}

/* Somewhere else in the parameter space. */
static void wander(problem *f) {
  double eta[MOST_ETA];
  for (int step = 0; step < 3; step++) CHECK(m_step(f) == ELBO_OK);
  f->part.pack(f->part.work, eta);
  for (int a = 0; a < f->part.n_eta; a++)
    eta[a] = f->spec.method == MIXTURE_VB ? eta[a] * (1.0 + 0.05 * random_normal())
                                          : eta[a] + 0.2 * random_normal();
  CHECK(move_to(f, eta) == ELBO_OK);
}

/* ---- densities ------------------------------------------------------------------------------- */

static const double *field(const problem *f, const char *name) {
  for (int a = 0; a < f->part.n_field; a++)
    if (strcmp(f->part.field[a].name, name) == 0) return f->part.field[a].value;
  return NULL;
}

/* E_q b(x), x normal, by the midpoint rule. */
static double cumulant(regression_family family, double mean, double sd) {
  const double h = 0.01;
  double sum = 0.0;
  if (sd == 0.0) return family == REGRESSION_POISSON ? exp(mean) : log1p(exp(mean));
  for (double z = -10.0; z < 10.0; z += h) {
    const double x = mean + sd * z;
    const double b = family == REGRESSION_POISSON ? exp(x) : fmax(x, 0.0) + log1p(exp(-fabs(x)));
    sum += h * exp(-0.5 * z * z) / sqrt(2.0 * pi) * b;
  }
  return sum;
}

/* l_ij from the fields alone. */
static double plain_log_density(const problem *f, int i, int j) {
  const mixture_regression_spec *s = &f->spec;
  const int n = N_ROW, at = s->linear.common_sigma ? 0 : j;
  const double *beta = field(f, s->method == MIXTURE_VB ? "mean" : "coefficients"),
               *cov = field(f, "cov");
  double x = s->offset ? s->offset[i] : 0.0, v = 0.0;
  for (int a = 0; a < P; a++) {
    x += s->X[i + n * a] * beta[a + P * j];
    for (int b = 0; cov && b < P; b++)
      v += s->X[i + n * a] * cov[a + P * b + P * P * j] * s->X[i + n * b];
  }
  const double y = s->y[i], w = s->weights ? s->weights[i] : 1.0;
  if (s->family == REGRESSION_POISSON)
    return y * x - cumulant(s->family, x, sqrt(v)) - lgamma(y + 1);
  if (s->family == REGRESSION_BINOMIAL)
    return lgamma(w + 1) - lgamma(y + 1) - lgamma(w - y + 1) + y * x -
           w * cumulant(s->family, x, sqrt(v));
  double precision, log_variance;
  if (s->method != MIXTURE_VB) {
    const double sigma = field(f, "sigma")[at];
    precision = 1.0 / (sigma * sigma);
    log_variance = 2.0 * log(sigma);
  } else {
    const double a = field(f, "shape")[at], b = field(f, "rate")[at];
    precision = isinf(a) ? 1.0 / b : a / b;
    log_variance = log(b) - (isinf(a) ? 0.0 : math_digamma(a));
  }
  return 0.5 * (log(w) - log(2.0 * pi) - log_variance - precision * w * ((y - x) * (y - x) + v));
}

/* Rows' log densities, and their sum under r, also from statistics gathered at other parameters. */
static void check_densities(problem *f) {
  double sum = 0.0, value;
  for (int c = 0; c < CHUNKS; c++) {
    const mixture_chunk chunk = chunk_of(c);
    double *out = new_doubles(chunk.ld * K);
    for (int i = 0; i < chunk.ld * K; i++) out[i] = 1.0;
    f->part.log_density(f->part.work, &chunk, f->scratch, out);
    for (int j = 0; j < K; j++) {
      for (int i = 0; i < chunk.n_row; i++) {
        const double want = plain_log_density(f, chunk.row + i, j);
        CHECK_CLOSE(out[i + chunk.ld * j] - 1.0, want, 1e-11);
        sum += f->r_rows[chunk.row + i + N_ROW * j] * want;
      }
      for (int i = chunk.n_row; i < chunk.ld; i++) CHECK(isfinite(out[i + chunk.ld * j]));
    }
  }
  CHECK(f->part.expected(f->part.work, f->stat, kept_r(f), &value) == ELBO_OK);
  CHECK_CLOSE(value, sum, 1e-11);
}

/* ---- what every method must do --------------------------------------------------------------- */

static void check_coordinates(problem *f) {
  double eta[MOST_ETA], back[MOST_ETA], theta[MOST_ETA], again[MOST_ETA];
  const int n = f->part.n_eta;
  int component;
  f->part.pack(f->part.work, eta);
  f->part.theta(f->part.work, theta);
  CHECK(move_to(f, eta) == ELBO_OK);
  f->part.pack(f->part.work, back);
  CHECK(distance(back, eta, n) < 1e-11);
  for (int a = 0; a < n; a++) eta[a] *= 1.01; /* elsewhere, and back by the fields */
  CHECK(f->part.n_field <= MIXTURE_MAX_FIELDS);
  double *kept[MIXTURE_MAX_FIELDS];
  for (int i = 0; i < f->part.n_field; i++) {
    const mixture_field *field = f->part.field + i;
    int size = 1;
    for (int d = 0; d < field->n_dim; d++) size *= field->dim[d];
    kept[i] = copy_doubles(field->value, size);
  }
  CHECK(move_to(f, eta) == ELBO_OK);
  for (int i = 0; i < f->part.n_field; i++) {
    const mixture_field *field = f->part.field + i;
    int size = 1;
    for (int d = 0; d < field->n_dim; d++) size *= field->dim[d];
    memcpy(field->value, kept[i], (size_t)size * sizeof(double));
  }
  CHECK(f->part.restore(f->part.work, &component) == ELBO_OK && prepare(f) == ELBO_OK);
  f->part.pack(f->part.work, eta);
  CHECK(distance(eta, back, n) < 1e-7); /* the covariance of an intercept at x = 50 loses digits */
  f->part.theta(f->part.work, again);
  CHECK(distance(again, theta, f->part.n_theta) < 1e-12);
}

/* M-steps never lower the objective, from wherever they start. */
static void check_ascent(problem *f) {
  for (int start = 0; start < 3; start++) {
    wander(f);
    gather(f);
    double before = objective(f);
    for (int step = 0; step < 30; step++) {
      CHECK(m_step(f) == ELBO_OK);
      const double now = objective(f);
      CHECK(now >= before - 1e-11 * fabs(before));
      before = now;
    }
  }
}

/* Scores of units: what the gradient gains by the unit alone. */
static void check_scores(problem *f) {
  const int n = f->part.n_eta, n_unit = f->spec.units.n_unit, ld = rows_padded(N_ROW);
  const mixture_chunk chunk = {0, n_unit, 0, N_ROW, ld};
  double *rows = new_doubles(ld * K), *score = new_doubles(ld * n), *r = new_doubles(n_unit * K);
  double none[MOST_ETA], one[MOST_ETA];
  if (f->part.scores == NULL) return;
  for (int j = 0; j < K; j++) memcpy(rows + ld * j, f->r_rows + N_ROW * j, N_ROW * sizeof(double));
  f->part.scores(f->part.work, &chunk, rows, f->scratch, score);
  CHECK(f->part.gradient(f->part.work, f->stat, r, none) == ELBO_OK);
  for (int i = 0; i < n_unit; i++) {
    for (int j = 0; j < K; j++) r[i + n_unit * j] = f->r[i + n_unit * j];
    CHECK(f->part.gradient(f->part.work, f->stat, r, one) == ELBO_OK);
    for (int a = 0; a < n; a++) CHECK_CLOSE(score[i + ld * a], one[a] - none[a], 1e-10);
    for (int j = 0; j < K; j++) r[i + n_unit * j] = 0.0;
  }
}

static void check_em(regression_family family, int options) {
  problem f;
  double gradient[MOST_ETA], numerical[MOST_ETA];
  problem_init(&f, family, MIXTURE_EM, options);
  const int n = f.part.n_eta;
  CHECK(prepare(&f) == ELBO_OK);
  wander(&f);
  gather(&f);
  check_densities(&f);
  slopes(&f, objective_at, 1e-3, numerical, 1);
  CHECK(f.part.gradient(f.part.work, f.stat, kept_r(&f), gradient) == ELBO_OK);
  CHECK(distance(gradient, numerical, n) < 1e-9);
  check_scores(&f);
  wander(&f); /* the statistics are of elsewhere now */
  check_densities(&f);
  check_coordinates(&f);
  check_ascent(&f); /* to the maximum */
  gather(&f);
  slopes(&f, objective_at, 1e-3, numerical, 1);
  CHECK(largest(numerical, n) < 1e-6);
  CHECK(f.part.gradient(f.part.work, f.stat, kept_r(&f), gradient) == ELBO_OK);
  CHECK(largest(gradient, n) < 1e-8);
}

/* The gradient by eta is V (target - eta), V = dm / deta. */
static void check_vb(regression_family family, int options) {
  problem f;
  double gradient[MOST_ETA], target[MOST_ETA], eta[MOST_ETA], V[MOST_ETA * MOST_ETA];
  problem_init(&f, family, MIXTURE_VB, options);
  const int n = f.part.n_eta;
  CHECK(prepare(&f) == ELBO_OK);
  wander(&f);
  gather(&f);
  check_densities(&f);
  slopes(&f, objective_at, 1e-4, gradient, 1);
  slopes(&f, moments_at, 1e-4, V, n);
  CHECK(f.part.target(f.part.work, f.stat, kept_r(&f), target) == ELBO_OK);
  f.part.pack(f.part.work, eta);
  for (int a = 0; a < n; a++) {
    double want = 0.0, size = 0.0;
    for (int b = 0; b < n; b++) {
      want += V[b + n * a] * (target[b] - eta[b]);
      size += fabs(V[b + n * a] * (target[b] - eta[b]));
      CHECK_CLOSE(V[b + n * a], V[a + n * b], 1e-6);
    }
    CHECK(fabs(gradient[a] - want) < 1e-6 * (size + 1e-3));
  }
  wander(&f);
  check_densities(&f);
  check_coordinates(&f);
  check_ascent(&f);
  gather(&f);
  CHECK(f.part.target(f.part.work, f.stat, kept_r(&f), target) == ELBO_OK);
  f.part.pack(f.part.work, eta);
  for (int a = 0; a < n; a++) CHECK_CLOSE(target[a], eta[a], 1e-5);
}

static void test_all(void) {
  static const int all[] = {PLAIN, WEIGHTS | OFFSET, UNITS, PRIOR | OFFSET | UNITS};
  static const int gaussian[] = {COMMON,
                                 CONSTANT,
                                 COMMON | CONSTANT | WEIGHTS,
                                 SIGMA_PRIOR | PRIOR,
                                 COMMON | PRIOR | SIGMA_PRIOR | WEIGHTS | UNITS,
                                 NO_INTERCEPT | PRIOR};
  for (int family = 0; family <= REGRESSION_POISSON; family++)
    for (size_t o = 0; o < sizeof all / sizeof *all; o++) {
      random_seed(10 + o);
      check_em((regression_family)family, all[o]);
      check_vb((regression_family)family, all[o]);
      test_free();
    }
  for (size_t o = 0; o < sizeof gaussian / sizeof *gaussian; o++) {
    random_seed(30 + o);
    check_em(REGRESSION_GAUSSIAN, gaussian[o]);
    check_vb(REGRESSION_GAUSSIAN, gaussian[o]);
    test_free();
  }
}

/* ---- against R ------------------------------------------------------------------------------- */

/* One component, all rows in it: M-steps to the end, then coefficients, sigma (n in place of n - p)
 * and log-likelihood. */
static void fit_one(mixture_regression_spec *s, int steps, double *theta, double *log_lik) {
  mixture_part part;
  int component = -1;
  s->method = MIXTURE_EM;
  s->k = 1;
  s->units = (mixture_units){s->units.n_row, s->units.n_row, NULL, NULL};
  CHECK(mixture_regression_part(&part, s, &test_memory) == ELBO_OK);
  const int n = s->units.n_row, ld = rows_padded(n);
  const mixture_chunk chunk = {0, n, 0, n, ld};
  double *r = new_doubles(ld), *scratch = new_doubles(ld * (int)part.n_scratch), *stat = NULL;
  for (int i = 0; i < n; i++) r[i] = 1.0;
  CHECK(part.prepare(part.work, &component) == ELBO_OK);
  for (int step = 0; step < steps; step++) {
    stat = new_doubles((int)part.n_stat);
    part.accumulate(part.work, &chunk, r, scratch, stat);
    if (part.finish) part.finish(part.work, stat);
    CHECK(part.m_step(part.work, stat, r, &component) == ELBO_OK);
    CHECK(part.prepare(part.work, &component) == ELBO_OK);
  }
  part.theta(part.work, theta);
  CHECK(part.expected(part.work, stat, r, log_lik) == ELBO_OK);
}

static const double speed[50] = {4,  4,  7,  7,  8,  9,  10, 10, 10, 11, 11, 12, 12, 12, 12, 13, 13,
                                 13, 13, 14, 14, 14, 14, 15, 15, 15, 16, 16, 17, 17, 17, 18, 18, 18,
                                 18, 19, 19, 19, 20, 20, 20, 20, 20, 22, 23, 24, 24, 24, 24, 25};
static const double dist[50] = {2,  10, 4,  22, 16, 10, 18, 26, 34, 17, 28, 14, 20, 24, 28,  26, 34,
                                34, 46, 26, 36, 60, 80, 20, 26, 54, 32, 40, 32, 40, 50, 42,  56, 76,
                                84, 36, 46, 68, 32, 48, 52, 56, 64, 66, 54, 70, 92, 93, 120, 85};

static void test_lm(void) {
  double X[100], w[50], theta[3], log_lik;
  for (int i = 0; i < 50; i++) {
    X[i] = 1.0;
    X[i + 50] = speed[i];
    w[i] = 1.0 + (i + 1) % 3;
  }
  mixture_regression_spec s = {.units = {.n_row = 50}, .p = 2, .X = X, .y = dist, .weights = w};
  fit_one(&s, 1, theta, &log_lik);
  /* R 4.2.2: lm(dist ~ speed, cars, weights = 1 + (1:50 %% 3)), sqrt(deviance / 50), and the sum of
   * dnorm(dist, fitted, sigma / sqrt(weights), log = TRUE). */
  static const double want[3] = {-16.20077735315708, 3.970597114256504, 21.57794064200198};
  CHECK(distance(theta, want, 3) < 1e-13);
  CHECK_CLOSE(log_lik, -209.3005474852002, 1e-13);

  /* Far from zero, and in other units: x + 1e8 leaves y a shift of the intercept. */
  for (int i = 0; i < 50; i++) X[i + 50] = speed[i] + 1e8;
  fit_one(&s, 1, theta, &log_lik);
  CHECK_CLOSE(theta[1], want[1], 1e-13);
  CHECK_CLOSE(theta[2], want[2], 1e-13);
  CHECK_CLOSE(log_lik, -209.3005474852002, 1e-12);
  double y[50];
  for (int i = 0; i < 50; i++) {
    y[i] = 1e150 * dist[i];
    X[i + 50] = 1e-150 * speed[i];
  }
  s.y = y;
  fit_one(&s, 1, theta, &log_lik);
  CHECK_CLOSE(1e-300 * theta[1], want[1], 1e-13);
  CHECK_CLOSE(1e-150 * theta[2], want[2], 1e-13);
  CHECK_CLOSE(log_lik, -209.3005474852002 - 50 * 150 * log(10.0), 1e-13);
  test_free();
}

static const double glm_x[16] = {1, 1, 1, 1, 1, 1, 1, 1, -1, -.5, 0, .25, .5, 1, 1.5, 2};
static const double glm_y[8] = {3, 0, 7, 2, 11, 5, 4, 16};

static void test_glm(void) {
  static const double exposure[8] = {1, 2, 3, 1, 2, 1, 1, 4},
                      trials[8] = {10, 4, 12, 5, 14, 9, 6, 17};
  double offset[8], theta[2], log_lik;
  for (int i = 0; i < 8; i++) offset[i] = log(exposure[i]);
  mixture_regression_spec s = {.units = {.n_row = 8},
                               .p = 2,
                               .X = glm_x,
                               .y = glm_y,
                               .offset = offset,
                               .family = REGRESSION_POISSON};
  fit_one(&s, 3, theta, &log_lik);
  /* R 4.2.2: glm(y ~ x + offset(log(e)), poisson, control = list(epsilon = 1e-15)) */
  CHECK_CLOSE(theta[0], 0.914523099917991, 1e-13);
  CHECK_CLOSE(theta[1], 0.3089508601315937, 1e-13);
  CHECK_CLOSE(log_lik, -19.54531838906667, 1e-13);
  for (int i = 0; i < 8; i++) offset[i] = exposure[i] / 10.0;
  s.family = REGRESSION_BINOMIAL;
  s.weights = trials;
  fit_one(&s, 3, theta, &log_lik);
  /* R 4.2.2: glm(cbind(y, n - y) ~ x + offset(e / 10), binomial, control = list(epsilon =
   * 1e-15)) */
  CHECK_CLOSE(theta[0], -0.2186898658204977, 1e-13);
  CHECK_CLOSE(theta[1], 1.008266450228849, 1e-13);
  CHECK_CLOSE(log_lik, -12.73216639360162, 1e-13);
  test_free();
}

/* Counts of a million: Newton overshoots from a linear predictor of zero, and must find back. */
static void test_overshoot(void) {
  double y[8], theta[2], log_lik, total = 0.0;
  for (int i = 0; i < 8; i++) total += y[i] = 1e6 * glm_y[i];
  mixture_regression_spec s = {
      .units = {.n_row = 8}, .p = 1, .X = glm_x, .y = y, .family = REGRESSION_POISSON};
  fit_one(&s, 8, theta, &log_lik);
  CHECK_CLOSE(theta[0], log(total / 8), 1e-14);
  test_free();
}

/* ---- bounds ---------------------------------------------------------------------------------- */

/* The ELBO of one component against log p(y) by brute force, where q misses little: it is below. */
static void check_bound(mixture_regression_spec *s, double log_evidence, double most) {
  mixture_part part;
  int component;
  double value;
  s->method = MIXTURE_VB;
  s->k = 1;
  CHECK(mixture_regression_part(&part, s, &test_memory) == ELBO_OK);
  const int n = s->units.n_row, ld = rows_padded(n);
  const mixture_chunk chunk = {0, n, 0, n, ld};
  double *r = new_doubles(ld), *scratch = new_doubles(ld * (int)part.n_scratch), *stat = NULL;
  for (int i = 0; i < n; i++) r[i] = 1.0;
  CHECK(part.prepare(part.work, &component) == ELBO_OK);
  for (int step = 0; step < 20; step++) {
    stat = new_doubles((int)part.n_stat);
    part.accumulate(part.work, &chunk, r, scratch, stat);
    if (part.finish) part.finish(part.work, stat);
    CHECK(part.m_step(part.work, stat, r, &component) == ELBO_OK);
    CHECK(part.prepare(part.work, &component) == ELBO_OK);
  }
  CHECK(part.expected(part.work, stat, r, &value) == ELBO_OK);
  value += part.log_prior(part.work);
  CHECK(value <= log_evidence);
  CHECK(value >= log_evidence - most);
  test_free();
}

static double log_inverse_gamma(double shape, double rate, double log_x) {
  return shape * log(rate) - lgamma(shape) - (shape + 1.0) * log_x - rate * exp(-log_x);
}

/* -KL(q(sigma^2) q(a) || p) of one sigma by integration over log sigma^2 and log a. */
static double plain_sigma_term(double df, double A, double shape, double rate) {
  const double h = 0.05, c = 1.0 / (A * A) + df * shape / rate, alpha = 0.5 * (df + 1.0);
  double sum = 0.0;
  for (double u = -40.0; u < 40.0; u += h)
    for (double v = -40.0; v < 40.0; v += h) {
      const double log_q = log_inverse_gamma(shape, rate, u) + log_inverse_gamma(alpha, c, v);
      const double weight = h * h * exp(log_q + u + v);
      if (weight > 0.0)
        sum += weight * (log_inverse_gamma(0.5 * df, df * exp(-v), u) +
                         log_inverse_gamma(0.5, 1.0 / (A * A), v) - log_q);
    }
  return sum;
}

/* log_prior against -KL of normals in the caller's units and of inverse gammas by integration. */
static void test_log_prior(void) {
  problem f;
  random_seed(7);
  problem_init(&f, REGRESSION_GAUSSIAN, MIXTURE_VB, CONSTANT | WEIGHTS);
  CHECK(prepare(&f) == ELBO_OK);
  wander(&f);
  const double *mean = field(&f, "mean"), *shape = field(&f, "shape"), *rate = field(&f, "rate");
  double want = 0.0, L[P * P];
  for (int j = 0; j < K; j++) {
    const double *cov = field(&f, "cov") + P * P * j;
    memcpy(L, cov, sizeof L);
    CHECK(la_chol(L, P) == ELBO_OK);
    want += 0.5 * (P + la_log_det_from_chol(L, P));
    for (int a = 0; a < P; a++) {
      const double sd = f.spec.linear.beta_sd[a],
                   z = (mean[a + P * j] - f.spec.linear.beta_mean[a]) / sd;
      want -= 0.5 * (z * z + cov[a * (P + 1)] / (sd * sd)) + log(sd);
    }
    if (isfinite(shape[j])) want += plain_sigma_term(3.0, 2.5, shape[j], rate[j]);
  }
  CHECK_CLOSE(f.part.log_prior(f.part.work), want, 1e-9);
  test_free();
}

static void test_bounds(void) {
  static const double mean = 0.3, sd = 2.0;
  mixture_regression_spec s = {.units = {8, 8, NULL, NULL},
                               .p = 1,
                               .X = glm_x,
                               .y = glm_y,
                               .linear = {.beta_mean = &mean,
                                          .beta_sd = &sd,
                                          .sigma_family = SD_HALF_T,
                                          .sigma_df = 3.0,
                                          .sigma_scale = 2.5}};
  const double constant = -log(sd) - 0.5 * log(2.0 * pi), h = 1e-3;
  double sum = 0.0;
  for (double b = -10.0; b < 10.0; b += h) {
    double l = constant - 0.5 * (b - mean) * (b - mean) / (sd * sd);
    for (int i = 0; i < 8; i++) l += glm_y[i] * b - exp(b) - lgamma(glm_y[i] + 1);
    sum += h * exp(l);
  }
  s.family = REGRESSION_POISSON;
  check_bound(&s, log(sum), 2e-3);

  static const double trials[8] = {10, 4, 12, 5, 14, 9, 6, 17};
  sum = 0.0;
  for (double b = -10.0; b < 10.0; b += h) {
    double l = constant - 0.5 * (b - mean) * (b - mean) / (sd * sd);
    for (int i = 0; i < 8; i++)
      l += glm_y[i] * b - trials[i] * log1p(exp(b)) + lgamma(trials[i] + 1) - lgamma(glm_y[i] + 1) -
           lgamma(trials[i] - glm_y[i] + 1);
    sum += h * exp(l);
  }
  s.family = REGRESSION_BINOMIAL;
  s.weights = trials;
  check_bound(&s, log(sum), 2e-3);

  /* Gaussian rows: y / 4 and beta, log sigma on a grid; half-t(3, 2.5) on sigma. */
  double y[8];
  const sd_prior law = {SD_HALF_T, 3.0, 2.5};
  for (int i = 0; i < 8; i++) y[i] = glm_y[i] / 4.0;
  sum = 0.0;
  for (double b = -12.0; b < 12.0; b += 0.02)
    for (double u = -5.0; u < 8.0; u += 0.02) {
      double by_x, l = constant - 0.5 * (b - mean) * (b - mean) / (sd * sd) + u;
      l += sd_prior_log_density(&law, exp(2.0 * u), &by_x);
      for (int i = 0; i < 8; i++)
        l -= 0.5 * log(2.0 * pi) + u + 0.5 * (y[i] - b) * (y[i] - b) * exp(-2.0 * u);
      sum += 0.02 * 0.02 * exp(l);
    }
  s.family = REGRESSION_GAUSSIAN;
  s.weights = NULL;
  s.y = y;
  check_bound(&s, log(sum), 0.3); /* q(beta) q(sigma^2) q(a), for eight rows: 0.24 */
  /* A constant sigma: q is exact, and the bound is the evidence. */
  static const double sigma = 1.3;
  sum = 0.0;
  for (double b = -12.0; b < 12.0; b += h) {
    double l = constant - 0.5 * (b - mean) * (b - mean) / (sd * sd);
    for (int i = 0; i < 8; i++)
      l -= 0.5 * log(2.0 * pi) + log(sigma) + 0.5 * (y[i] - b) * (y[i] - b) / (sigma * sigma);
    sum += h * exp(l);
  }
  s.linear.sigma_constant = &sigma;
  check_bound(&s, log(sum) + 1e-10, 2e-10);
}

/* ---- edges ----------------------------------------------------------------------------------- */

/* Component 1 takes rows that a line fits without error. */
static void test_collapse(void) {
  for (int method = MIXTURE_EM; method <= MIXTURE_VB; method++) {
    problem f;
    int component = -1;
    random_seed(3);
    problem_init(&f, REGRESSION_GAUSSIAN, (mixture_method)method, PLAIN);
    double *y = (double *)f.spec.y;
    for (int i = 0; i < N_ROW; i++) {
      if (i % 3 == 1) y[i] = 2.0 + 3.0 * f.spec.X[i + N_ROW] - f.spec.X[i + 2 * N_ROW];
      for (int j = 0; j < K; j++) f.r_rows[i + N_ROW * j] = i % 3 == j;
    }
    CHECK(mixture_regression_part(&f.part, &f.spec, &test_memory) == ELBO_OK);
    CHECK(prepare(&f) == ELBO_OK);
    elbo_status status = ELBO_OK;
    for (int step = 0; step < 60 && status == ELBO_OK; step++) {
      gather(&f);
      status = f.part.m_step(f.part.work, f.stat, NULL, &component);
      if (status == ELBO_OK) status = f.part.prepare(f.part.work, &component);
    }
    CHECK(status == ELBO_E_UNBOUNDED);
    CHECK(component == 1);
    test_free();
  }
}

/* An inverse gamma law keeps it from that. */
static void test_collapse_with_prior(void) {
  problem f;
  random_seed(3);
  problem_init(&f, REGRESSION_GAUSSIAN, MIXTURE_EM, PLAIN);
  f.spec.linear.sigma_family = SD_INVERSE_GAMMA;
  for (int i = 0; i < N_ROW; i++) ((double *)f.spec.y)[i] = 3.0 * f.spec.X[i + N_ROW];
  CHECK(mixture_regression_part(&f.part, &f.spec, &test_memory) == ELBO_OK);
  CHECK(prepare(&f) == ELBO_OK);
  CHECK(m_step(&f) == ELBO_OK);
  double n = 0.0; /* sigma = scale / (n + df + 1) where the residuals vanish */
  for (int i = 0; i < N_ROW; i++) n += f.r_rows[i];
  CHECK_CLOSE(field(&f, "sigma")[0], 2.5 / (n + 4.0), 1e-7);
  test_free();
}

/* Two columns the same within a component, or a component without rows: still the best fit, nothing
 * that is not finite. */
static void test_deficient(void) {
  for (int family = 0; family <= REGRESSION_POISSON; family++) {
    problem f;
    random_seed(4);
    problem_init(&f, (regression_family)family, MIXTURE_EM, PLAIN);
    for (int i = 0; i < N_ROW; i++) {
      f.r[i] = f.r_rows[i] = f.spec.X[i + 2 * N_ROW] == 1.0; /* the third column is the first */
      f.r[i + 2 * N_ROW] = f.r_rows[i + 2 * N_ROW] = 0.0;
    }
    CHECK(prepare(&f) == ELBO_OK);
    double numerical[MOST_ETA];
    for (int step = 0; step < 3; step++) CHECK(m_step(&f) == ELBO_OK);
    slopes(&f, objective_at, 1e-3, numerical, 1);
    CHECK(largest(numerical, f.part.n_eta) < 1e-7);
    CHECK(isfinite(objective(&f)));
    test_free();
  }
}

/* y = 1 wherever x > 50 in component 1; or a component of zeros only: the likelihood of its rows is
 * one in the limit, and the component is put there.  Under vb priors are proper. */
static void test_separation(void) {
  for (int family = REGRESSION_BINOMIAL; family <= REGRESSION_POISSON; family++)
    for (int method = MIXTURE_EM; method <= MIXTURE_VB; method++) {
      problem f;
      int component = -1;
      random_seed(5);
      problem_init(&f, (regression_family)family, (mixture_method)method, PLAIN);
      for (int i = 0; i < N_ROW; i++)
        for (int j = 0; j < K; j++) {
          const double x = f.spec.X[i + N_ROW];
          if (i % 3 == 1) ((double *)f.spec.y)[i] = family == REGRESSION_BINOMIAL ? x > 50.0 : 0.0;
          f.r[i + N_ROW * j] = f.r_rows[i + N_ROW * j] = i % 3 == j;
        }
      CHECK(mixture_regression_part(&f.part, &f.spec, &test_memory) == ELBO_OK);
      CHECK(prepare(&f) == ELBO_OK);
      for (int step = 0; step < 12; step++) {
        CHECK(f.part.m_step(f.part.work, f.stat, f.r, &component) == ELBO_OK);
        CHECK(f.part.prepare(f.part.work, &component) == ELBO_OK);
      }
      CHECK(component == -1);
      if (method == MIXTURE_VB) {
        test_free();
        continue;
      }
      const double *held = field(&f, "boundary");
      for (int j = 0; j < K; j++) {
        double n_held = 0.0;
        for (int b = 0; b < P; b++) n_held += held[b + P * j];
        CHECK(j == 1 ? n_held > 0.0 : n_held == 0.0);
      }
      double own = 0.0; /* of component 1 alone */
      for (int i = 0; i < N_ROW; i++)
        for (int j = 0; j < K; j++)
          f.r[i + N_ROW * j] = f.r_rows[i + N_ROW * j] = j == 1 && i % 3 == 1;
      CHECK(f.part.expected(f.part.work, f.stat, f.r, &own) == ELBO_OK);
      CHECK(fabs(own) < 1e-12);
      test_free();
    }
}

/* Linear predictors of a thousand. */
static void test_far(void) {
  for (int family = REGRESSION_BINOMIAL; family <= REGRESSION_POISSON; family++) {
    problem f;
    random_seed(6);
    problem_init(&f, (regression_family)family, MIXTURE_EM, PLAIN);
    double *beta = (double *)field(&f, "coefficients");
    int component;
    beta[0] = 1000.0;
    beta[P] = -1000.0;
    CHECK(f.part.restore(f.part.work, &component) == ELBO_OK && prepare(&f) == ELBO_OK);
    const mixture_chunk chunk = chunk_of(0);
    double *out = new_doubles(chunk.ld * K);
    f.part.log_density(f.part.work, &chunk, f.scratch, out);
    for (int i = 0; i < chunk.ld * K; i++) CHECK(isfinite(out[i]));
    test_free();
  }
}

int main(void) {
  test_all();
  test_lm();
  test_glm();
  test_overshoot();
  test_log_prior();
  test_bounds();
  test_collapse();
  test_collapse_with_prior();
  test_deficient();
  test_separation();
  test_far();
  return FINISH();
}
