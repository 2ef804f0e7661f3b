/* The curves part of a mixture, alone, against multivariate normal densities of whole units: dense
 * covariance matrices of the rows, which the part never forms. */
#include "math/la.h"
#include "law/sd_prior.h"
#include "curves_fixture.h"
#include "mixture_part.h"
#include "mixture/curves.h"

enum { P = 3, K = 3, N_UNIT = 41 };

enum {
  SHARED = 1,
  WEIGHTS = 2,
  OFFSET = 4,
  DIAGONAL = 8,
  MULTIPLE = 16,
  HELD = 32,
  COMMON_GAMMA = 64,
  COMMON_SIGMA = 128,
  CONSTANT_SIGMA = 256,
  PRIOR = 512,
  FAR = 1024,
  NO_INTERCEPT = 2048
};

typedef struct {
  mixture_curves_spec spec;
  int first[N_UNIT + 1];
  int options;
} problem;

/* Units on four grids (SHARED), or each on its own; deviations and noise of the same size. */
static void random_rows(problem *f) {
  mixture_curves_spec *s = &f->spec;
  const int shared = f->options & SHARED, n_row = 7 * N_UNIT;
  double *X = new_doubles(n_row * P), *Z = new_doubles(n_row * Q), *y = new_doubles(n_row);
  double *weights = new_doubles(n_row), *offset = new_doubles(n_row);
  int row = 0;
  for (int i = 0; i < N_UNIT; i++) {
    const int size = i > 0 ? 4 + i % 4 : 2, base = row; /* the first can be fitted without error */
    const double a = random_normal(), b = random_normal(), level = 3.0 * (i % K);
    f->first[i] = row;
    for (int t = 0; t < size; t++, row++) {
      const double time = shared ? t + 0.5 * size : 5.0 * random_uniform();
      X[row] = f->options & NO_INTERCEPT ? time * time : 1.0;
      X[row + n_row] = time;
      X[row + 2 * n_row] = (row - base) % 2;
      Z[row] = 1.0;
      Z[row + n_row] = time;
      weights[row] = shared ? 0.5 + t : 0.5 + random_uniform();
      offset[row] = random_normal();
      y[row] = level + 2.0 * a + (b + i % K) * time + random_normal();
      if (f->options & FAR) y[row] = 1e6 + 1e-3 * y[row];
    }
  }
  f->first[N_UNIT] = row;
  double *columns[] = {X, Z};
  for (int m = 0; m < 2; m++) /* close up what was laid out for n_row rows */
    for (int c = 0; c < (m == 0 ? P : Q); c++)
      for (int i = 0; i < row; i++) columns[m][i + row * c] = columns[m][i + n_row * c];
  s->units = (mixture_units){N_UNIT, row, f->first, NULL};
  s->X = X;
  s->Z = Z;
  s->y = y;
  s->weights = f->options & WEIGHTS ? weights : NULL;
  s->offset = f->options & OFFSET ? offset : NULL;
}

static part_test part_of(const problem *f) {
  mixture_part part;
  CHECK(mixture_curves_part(&part, &f->spec, &test_memory) == ELBO_OK);
  part_test t = part_test_of(part, N_UNIT, K);
  CHECK(part_prepare(&t));
  return t;
}

static part_test problem_part(problem *f, mixture_method method, int options) {
  static const int multiple[] = {CURVES_MULTIPLE};
  static const double matrix[] = {2.0, 0.3, 0.3, 0.5}, held[] = {1.3};
  static const double mean[] = {1.0, 0.5, -0.2}, sd[] = {9.0, 2.0, 3.0};
  static const double constant[] = {NAN, 1.5, NAN}, common[] = {1.5};
  mixture_curves_spec *s = &f->spec;
  memset(f, 0, sizeof *f);
  f->options = options;
  *s = curves_fixture(method, K, P, options & DIAGONAL, options & PRIOR, mean, sd, 1.0);
  random_rows(f);
  if (options & MULTIPLE) s->block_kind = multiple;
  s->matrix = matrix;
  s->multiple_constant = options & HELD ? held : NULL;
  s->common_covariance = (options & COMMON_GAMMA) != 0;
  s->linear.common_sigma = (options & COMMON_SIGMA) != 0;
  if (options & CONSTANT_SIGMA)
    s->linear.sigma_constant = s->linear.common_sigma ? common : constant;
  return part_of(f);
}

static const double *field(const part_test *t, const char *name) {
  return part_field(&t->part, name);
}

/* Covariance of the rows of unit i: Z Gamma Z' + variance / weight. */
static void dense_covariance(const problem *f, int i, const double *Gamma, double variance,
                             double *V) {
  const mixture_curves_spec *s = &f->spec;
  const int first = f->first[i], n = f->first[i + 1] - first, N = s->units.n_row;
  for (int a = 0; a < n; a++)
    for (int b = 0; b < n; b++) {
      double sum = a == b ? variance / (s->weights ? s->weights[first + a] : 1.0) : 0.0;
      for (int u = 0; u < Q; u++)
        for (int v = 0; v < Q; v++)
          sum += s->Z[first + a + N * u] * Gamma[u + Q * v] * s->Z[first + b + N * v];
      V[a + n * b] = sum;
    }
}

/* log density of y_i under N(X beta, V); V is overwritten. */
static double dense_log_density(const problem *f, int i, const double *beta, double *V) {
  const mixture_curves_spec *s = &f->spec;
  const int first = f->first[i], n = f->first[i + 1] - first, N = s->units.n_row;
  double e[8], quadratic = 0.0;
  for (int a = 0; a < n; a++) {
    e[a] = s->y[first + a] - (s->offset ? s->offset[first + a] : 0.0);
    for (int b = 0; b < P; b++) e[a] -= s->X[first + a + N * b] * beta[b];
  }
  CHECK(la_chol(V, n) == ELBO_OK);
  for (int a = 0; a < n; a++) {
    for (int b = 0; b < a; b++) e[a] -= V[a + n * b] * e[b];
    e[a] /= V[a + n * a];
    quadratic += e[a] * e[a];
  }
  return -0.5 * (n * log(2.0 * acos(-1.0)) + la_log_det_from_chol(V, n) + quadratic);
}

static void check_densities(const problem *f, const part_test *t, double tol) {
  const double *l = part_densities(t), *beta = field(t, "coefficients");
  const double *Gamma = field(t, "covariance"), *sigma = field(t, "sigma");
  double V[64];
  for (int i = 0; i < N_UNIT; i++)
    for (int j = 0; j < K; j++) {
      const double s = sigma[f->spec.linear.common_sigma ? 0 : j];
      dense_covariance(f, i, Gamma + (f->spec.common_covariance ? 0 : Q * Q * j), s * s, V);
      CHECK_CLOSE(l[i + N_UNIT * j], dense_log_density(f, i, beta + P * j, V), tol);
    }
}

/* Somewhere that no symmetry helps. */
static void wander(part_test *t, double size) {
  double *eta = part_eta(t);
  for (int a = 0; a < t->part.n_eta; a++)
    eta[a] += size * random_normal() * fmax(0.3, fabs(eta[a]));
  part_move(t, eta);
}

static void check_em(int options) {
  problem f;
  part_test t = problem_part(&f, MIXTURE_EM, options);
  part_gather(&t);
  for (int i = 0; i < 3; i++) part_m_step(&t);
  wander(&t, 0.1);
  check_densities(&f, &t, options & FAR ? 1e-6 : 1e-11);
  part_check_expected(&t, 1e-11); /* statistics of other parameters */
  part_gather(&t);
  part_check_expected(&t, 1e-11);
  part_check_gradient(&t, 1e-3, 1e-6);
  part_check_round_trip(&t, 1e-9);
  part_check_maximum(&t, options & PRIOR ? 400 : 3000, 1e-3, 1e-5);
  test_free();
}

/* Where a variance is zero the objective is even in its root: the gradient must change its sign. */
static void check_signs(void) {
  problem f;
  part_test t = problem_part(&f, MIXTURE_EM, SHARED | DIAGONAL);
  double *eta = part_eta(&t), *up = new_doubles(t.part.n_eta), *down = new_doubles(t.part.n_eta);
  const int at = P * K;
  eta[at] = 1e-3;
  part_move(&t, eta);
  part_gather(&t);
  CHECK(t.part.gradient(t.part.work, t.stat, t.r, up) == ELBO_OK);
  CHECK_CLOSE(part_eta(&t)[at], 1e-3, 1e-15);
  eta[at] = -1e-3;
  part_move(&t, eta);
  CHECK(t.part.gradient(t.part.work, t.stat, t.r, down) == ELBO_OK);
  CHECK(fabs(up[at]) > 0.0);
  CHECK_CLOSE(down[at], -up[at], 1e-9);
  CHECK_CLOSE(part_eta(&t)[at], -1e-3, 1e-15);
  test_free();
}

/* Variances that the likelihood wants at zero end there, not near it, and no others move. */
static void check_settle(void) {
  problem f;
  part_test t = problem_part(&f, MIXTURE_EM, SHARED | DIAGONAL);
  double *eta = part_eta(&t);
  part_gather(&t);
  CHECK(!t.part.settle(t.part.work, t.stat, t.r)); /* none is small */
  eta[P * K] = 1e-7;
  part_move(&t, eta);
  CHECK(!t.part.settle(t.part.work, t.stat, t.r));        /* one is, but is asked for more */
  double *y = copy_doubles(f.spec.y, f.spec.units.n_row); /* without deviations of the first kind */
  for (int i = 0; i < N_UNIT; i++)
    for (int row = f.first[i]; row < f.first[i + 1]; row++)
      y[row] = f.spec.X[row + f.spec.units.n_row] * i + (row % 2 ? 0.5 : -0.5) * (row % 3);
  f.spec.y = y;
  t = part_of(&f);
  part_gather(&t);
  for (int i = 0; i < 1000; i++) part_m_step(&t);
  const double before = part_objective(&t);
  CHECK(field(&t, "covariance")[0] > 0.0 && field(&t, "covariance")[0] < 1e-10);
  CHECK(t.part.settle(t.part.work, t.stat, t.r));
  CHECK(part_prepare(&t));
  CHECK(field(&t, "covariance")[0] == 0.0 && field(&t, "covariance")[Q * Q - 1] > 0.0);
  CHECK(part_eta(&t)[P * K] == 0.0);
  CHECK_CLOSE(part_objective(&t), before, 1e-9);
  CHECK(!t.part.settle(t.part.work, t.stat, t.r));
  test_free();
}

/* Levels differ by unit and slopes do not: a free covariance loses a dimension, and is put
 * there. */
static void check_dropped_dimension(void) {
  problem f;
  part_test t = problem_part(&f, MIXTURE_EM, SHARED);
  part_gather(&t);
  CHECK(!t.part.settle(t.part.work, t.stat, t.r)); /* none fades */
  double *y = copy_doubles(f.spec.y, f.spec.units.n_row);
  for (int i = 0; i < N_UNIT; i++)
    for (int row = f.first[i]; row < f.first[i + 1]; row++)
      y[row] = 3.0 * (i % 5) + (row % 2 ? 0.5 : -0.5) * (row % 3);
  f.spec.y = y;
  t = part_of(&f);
  part_gather(&t);
  double before = 0.0;
  int settled = 0, steps = 0;
  for (; steps < 100 && !settled; steps++) {
    part_m_step(&t);
    before = part_objective(&t);
    settled = t.part.settle(t.part.work, t.stat, t.r);
  }
  CHECK(settled);
  CHECK(part_prepare(&t));
  int singular = 0;
  for (int j = 0; j < K; j++) {
    const double *C = field(&t, "covariance") + Q * Q * j;
    singular += fabs(C[0] * C[3] - C[1] * C[2]) < 1e-14 * (C[0] + C[3]) * (C[0] + C[3]);
  }
  CHECK(singular > 0);
  CHECK(part_objective(&t) > before); /* EM was on its way */
  CHECK(!t.part.settle(t.part.work, t.stat, t.r));
  test_free();
}

/* Two units of one grid have the same statistics whether its design is shared or not; weights of
 * one change nothing. */
static void check_restore(int options, mixture_method method) {
  problem f;
  part_test t = problem_part(&f, method, options);
  int component = -1;
  CHECK(part_prepare(&t));
  part_gather(&t); /* by the factors of what was prepared */
  part_m_step(&t);
  const double *before = part_densities(&t);
  CHECK(t.part.restore(t.part.work, &component) == ELBO_OK);
  CHECK(part_prepare(&t));
  CHECK(distance(part_densities(&t), before, N_UNIT * K) < 1e-10);
  test_free();
}

/* Enough different designs that cells are not kept: the answer must not change by that. */
static void check_many_designs(mixture_method method) {
  enum { UNITS = 70, COMPONENTS = 10, N = 7, COLUMNS = 5 };
  static const int size[] = {COLUMNS}, kind[] = {CURVES_FREE};
  static int first[UNITS + 1];
  static const double mean[COLUMNS], sd[] = {10, 10, 10, 10, 10}, df[] = {7.0};
  mixture_curves_spec s;
  mixture_part part;
  double *X = new_doubles(UNITS * N * COLUMNS), *Z = new_doubles(UNITS * N * COLUMNS);
  double *y = new_doubles(UNITS * N), *scale = new_doubles(COLUMNS * COLUMNS);
  for (int i = 0; i < UNITS * N * COLUMNS; i++) X[i] = random_normal();
  for (int i = 0; i < UNITS * N * COLUMNS; i++) Z[i] = random_normal();
  for (int i = 0; i < UNITS * N; i++) y[i] = random_normal();
  for (int i = 0; i <= UNITS; i++) first[i] = N * i;
  for (int a = 0; a < COLUMNS; a++) scale[a * (COLUMNS + 1)] = 0.5;
  memset(&s, 0, sizeof s);
  s.method = method;
  s.k = COMPONENTS;
  s.units = (mixture_units){UNITS, UNITS * N, first, NULL};
  s.p = s.q = COLUMNS;
  s.X = X;
  s.Z = Z;
  s.y = y;
  s.n_block = 1;
  s.block_size = size;
  s.block_kind = kind;
  s.linear.beta_mean = mean;
  s.linear.beta_sd = sd;
  s.covariance_df = df;
  s.covariance_scale = scale;
  s.linear.sigma_family = SD_HALF_T;
  s.linear.sigma_df = 3.0;
  s.linear.sigma_scale = 1.0;
  for (int more = 0; more < 2; more++) {
    if (more) s.k = 40; /* cells of 36 + 1 numbers: 26,000 at k = 10, 100,000 at k = 40 */
    CHECK(mixture_curves_part(&part, &s, &test_memory) == ELBO_OK);
    CHECK(part.keeps_r == more);
    part_test t = part_test_of(part, UNITS, s.k);
    CHECK(part_prepare(&t));
    part_gather(&t);
    part_check_expected(&t, 1e-11);
    for (int i = 0; i < 3; i++) {
      const double before = part_objective(&t);
      part_m_step(&t);
      CHECK(part_objective(&t) >= before - 1e-10 * fabs(before));
    }
    part_check_expected(&t, 1e-11);
  }
  test_free();
}

/* A unit that is fitted without error. */
static void check_unbounded(void) {
  problem f;
  part_test t = problem_part(&f, MIXTURE_EM, SHARED);
  int component = -1;
  elbo_status status = ELBO_OK;
  for (int i = 0; i < N_UNIT; i++)
    for (int j = 0; j < K; j++) t.r[i + N_UNIT * j] = j == (i > 0) ? 1.0 : 0.0;
  part_gather(&t);
  for (int i = 0; i < 500 && status == ELBO_OK; i++) {
    status = t.part.m_step(t.part.work, t.stat, t.r, &component);
    if (status == ELBO_OK) status = t.part.prepare(t.part.work, &component);
  }
  CHECK(status == ELBO_E_UNBOUNDED);
  CHECK(component == 0);
  test_free();
}

static void check_vb(int options) {
  problem f;
  part_test t = problem_part(&f, MIXTURE_VB, options);
  part_gather(&t);
  for (int i = 0; i < 2; i++) part_m_step(&t);
  part_gather(&t);
  part_check_expected(&t, 1e-11);
  part_check_target(&t, 1e-4, 2e-6);
  part_check_round_trip(&t, 1e-8);
  part_check_maximum(&t, 1000, 1e-4, 1e-4);
  test_free();
}

int main(void) {
  static const int options[] = {SHARED,
                                0,
                                SHARED | DIAGONAL,
                                MULTIPLE,
                                SHARED | MULTIPLE | HELD,
                                SHARED | WEIGHTS | OFFSET,
                                WEIGHTS | OFFSET | DIAGONAL | COMMON_GAMMA,
                                SHARED | COMMON_GAMMA | COMMON_SIGMA,
                                MULTIPLE | COMMON_GAMMA | CONSTANT_SIGMA,
                                SHARED | NO_INTERCEPT | COMMON_SIGMA | CONSTANT_SIGMA};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    random_seed(i + 1);
    check_em(options[i]);
    check_em(options[i] | PRIOR);
    check_vb(options[i]);
    check_restore(options[i], MIXTURE_EM);
    check_restore(options[i], MIXTURE_VB);
  }
  check_em(SHARED | FAR);
  check_many_designs(MIXTURE_EM);
  check_many_designs(MIXTURE_VB);
  check_unbounded();
  check_signs();
  check_settle();
  check_dropped_dimension();
  return FINISH();
}
