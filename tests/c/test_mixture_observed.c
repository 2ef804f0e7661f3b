/* The observed information in closed form, against differences of the exact score over the data:
 * of every part that tells its basis, with units, copies and priors. */
#include "mixture/observed.h"

#include <string.h>

#include "mixture/classes.h"
#include "mixture/normal.h"
#include "mixture/regression.h"
#include "mixture/weights.h"
#include "reference.h"

enum { N = 240, UNITS = 90, MOST = 80 };

typedef struct {
  mixture_spec spec;
  mixture w;
  elbo_model model;
} fixture;

static void begin(fixture *f, int k, int by_unit, int copies, int threads) {
  memset(f, 0, sizeof *f);
  f->spec = (mixture_spec){.method = MIXTURE_EM, .k = k, .threads = threads, .n_part = 2};
  f->spec.units = (mixture_units){by_unit ? UNITS : N, N, NULL, NULL};
  const int n_unit = f->spec.units.n_unit;
  if (by_unit) {
    int *first = new_ints(UNITS + 1);
    for (int i = 0; i <= UNITS; i++) first[i] = i < 30 ? i : i < 60 ? 2 * i - 30 : 5 * i - 210;
    f->spec.units.first = first;
  }
  if (copies) {
    double *freq = new_doubles(n_unit);
    for (int i = 0; i < n_unit; i++) freq[i] = i % 4;
    f->spec.units.freq = freq;
  }
  const mixture_weights_spec weights = {
      .method = MIXTURE_EM, .k = k, .n_unit = n_unit, .coefficient_sd = HUGE_VAL};
  CHECK(mixture_weights_part(f->spec.part, &weights, &test_memory) == ELBO_OK);
}

/* A few steps of EM from labels that say little: the derivatives are not those of a maximum. */
static void set_out(fixture *f) {
  const int n_unit = f->spec.units.n_unit, k = f->spec.k;
  double *start = new_doubles(n_unit * k);
  CHECK(mixture_init(&f->w, &f->spec, &test_memory) == ELBO_OK);
  f->model = mixture_model(&f->w);
  for (int i = 0; i < n_unit; i++)
    for (int j = 0; j < k; j++) start[i + n_unit * j] = (i % k == j ? 0.6 : 0.0) + 0.4 / k;
  CHECK(mixture_start(&f->w, NULL, start) == ELBO_OK);
  for (int step = 0; step < 3; step++)
    CHECK(f->model.e_step(&f->w) == ELBO_OK && f->model.m_step(&f->w) == ELBO_OK);
  CHECK(f->model.e_step(&f->w) == ELBO_OK);
}

static void slope_at(void *ctx, const double *eta, double *out) {
  fixture *f = ctx;
  CHECK(f->model.unpack(&f->w, eta) == ELBO_OK && mixture_slope(&f->w, out) == ELBO_OK);
}

static void theta_at(void *ctx, const double *eta, double *out) {
  fixture *f = ctx;
  CHECK(f->model.unpack(&f->w, eta) == ELBO_OK);
  mixture_theta(&f->w, out);
}

/* Relative to what both coordinates have of their own. */
static void check_information(fixture *f) {
  set_out(f);
  const int n = f->w.n_eta, n_theta = f->w.n_theta;
  double *gradient = new_doubles(n), *H = new_doubles(n * n), *J = new_doubles(n * n_theta);
  double *eta = new_doubles(n), *column = new_doubles(MOST), *want = new_doubles(n * n);
  double worst = 0.0, worst_theta = 0.0;
  CHECK(mixture_observed_known(&f->w));
  f->model.anchor(&f->w);
  f->model.pack(&f->w, eta);
  CHECK(mixture_information(&f->w, gradient, H, NULL, J) == ELBO_OK);
  for (int a = 0; a < n; a++) differences(slope_at, f, eta, n, a, 1e-3, want + n * a, n);
  for (int a = 0; a < n; a++) {
    differences(theta_at, f, eta, n, a, 1e-3, column, n_theta);
    worst_theta = fmax(worst_theta, distance(column, J + n_theta * a, n_theta));
    for (int b = 0; b < n; b++) {
      const double size = sqrt(fabs(want[a + n * a] * want[b + n * b]));
      worst = fmax(worst, fabs(H[a + n * b] - want[a + n * b]) / size);
    }
  }
  if (getenv("TELL")) printf("%d %.1e %.1e\n", n, worst, worst_theta);
  CHECK(worst < 1e-8);
  CHECK(worst_theta < 1e-9);
}

static void test_normal(void) {
  const double scale[9] = {1, .2, 0, .2, 1, 0, 0, 0, 2};
  for (int model = COVARIANCE_EII; model <= COVARIANCE_VVV; model++) {
    fixture f;
    random_seed(5ULL + (unsigned)model);
    double *Y = new_doubles(N * 3);
    for (int i = 0; i < N * 3; i++) Y[i] = (i % 3 ? 1.0 : 2.0) * random_normal() + 2.0 * (i % 3);
    begin(&f, 3, model % 3 == 0, model % 4 == 1, 1);
    const mixture_normal_spec spec = {.method = MIXTURE_EM,
                                      .k = 3,
                                      .n_row = N,
                                      .d = 3,
                                      .Y = Y,
                                      .model = (covariance_model)model,
                                      .prior_df = 5.0,
                                      .prior_scale = model % 2 ? scale : NULL};
    CHECK(mixture_normal_part(f.spec.part + 1, &spec, &test_memory) == ELBO_OK);
    check_information(&f);
    test_free();
  }
}

static void test_classes(void) {
  static const int type[4] = {MIXTURE_BINOMIAL, MIXTURE_CATEGORICAL, MIXTURE_GAUSSIAN,
                              MIXTURE_BINOMIAL};
  static const int levels[4] = {0, 3, 0, 0};
  for (int by_unit = 0; by_unit < 2; by_unit++) {
    fixture f;
    random_seed(3);
    double *Y = new_doubles(N * 4);
    for (int i = 0; i < N; i++) {
      const int z = i % 3;
      Y[i] = random_uniform() < 0.2 + 0.3 * z;
      Y[i + N] = 1.0 + floor(3.0 * pow(random_uniform(), 0.5 + z));
      Y[i + 2 * N] = random_normal() + z;
      Y[i + 3 * N] = i % 7 ? random_uniform() < 0.8 - 0.2 * z : NAN;
    }
    begin(&f, 3, by_unit, !by_unit, 1);
    const mixture_classes_spec spec = {.method = MIXTURE_EM,
                                       .k = 3,
                                       .n_row = N,
                                       .n_variable = 4,
                                       .type = type,
                                       .levels = levels,
                                       .Y = Y,
                                       .alpha = by_unit ? 1.5 : NAN};
    CHECK(mixture_classes_part(f.spec.part + 1, &spec, &test_memory) == ELBO_OK);
    check_information(&f);
    test_free();
  }
}

static void test_regression(void) {
  static const double mean[3] = {1.0, 0.2, -0.5}, sd[3] = {30.0, HUGE_VAL, 1.5};
  for (int which = 0; which < 4; which++) {
    fixture f;
    random_seed(7ULL + (unsigned)which);
    double *X = new_doubles(N * 3), *y = new_doubles(N), *weight = new_doubles(N);
    for (int i = 0; i < N; i++) {
      X[i] = 1.0;
      X[i + N] = 50.0 + 2.0 * random_normal();
      X[i + 2 * N] = random_uniform() < 0.4;
      weight[i] = 0.3 + 2.0 * random_uniform();
      y[i] = 20.0 + (0.3 + 0.4 * (i % 3)) * (X[i + N] - 50.0) + (1 + i % 3) * X[i + 2 * N] +
             random_normal();
    }
    begin(&f, 3, which % 2, which == 2, 1);
    const mixture_regression_spec spec = {
        .method = MIXTURE_EM,
        .k = 3,
        .units = f.spec.units,
        .family = REGRESSION_GAUSSIAN,
        .p = 3,
        .X = X,
        .y = y,
        .weights = which > 1 ? weight : NULL,
        .linear = {.common_sigma = which == 1,
                   .beta_mean = mean,
                   .beta_sd = which == 3 ? sd : NULL,
                   .sigma_family = which == 3 ? SD_HALF_T : SD_FLAT,
                   .sigma_df = 3.0,
                   .sigma_scale = 2.5}};
    CHECK(mixture_regression_part(f.spec.part + 1, &spec, &test_memory) == ELBO_OK);
    check_information(&f);
    test_free();
  }
}

/* Far apart no unit is shared: what is left are the components' own, and the weights'. */
static void test_apart(void) {
  fixture f;
  random_seed(2);
  double *Y = new_doubles(N), *gradient = new_doubles(5), *H = new_doubles(25);
  for (int i = 0; i < N; i++) Y[i] = random_normal() + 100.0 * (i % 2);
  begin(&f, 2, 0, 0, 1);
  const mixture_normal_spec spec = {
      .method = MIXTURE_EM, .k = 2, .n_row = N, .d = 1, .Y = Y, .model = COVARIANCE_VVV};
  CHECK(mixture_normal_part(f.spec.part + 1, &spec, &test_memory) == ELBO_OK);
  set_out(&f);
  CHECK(mixture_information(&f.w, gradient, H, NULL, NULL) == ELBO_OK);
  CHECK(H[1 + 5 * 2] == 0.0 && H[3 + 5 * 4] == 0.0 && H[0 + 5 * 1] == 0.0);
  test_free();
}

/* The same bits for any number of threads. */
static void test_threads(void) {
  enum { MANY = 9000, ETA = 11 };
  double H[2][ETA * ETA], gradient[ETA];
  random_seed(9);
  double *Y = new_doubles(MANY * 2);
  for (int i = 0; i < MANY * 2; i++) Y[i] = random_normal() + i % 3;
  for (int more = 0; more < 2; more++) {
    fixture f;
    begin(&f, 2, 0, 0, more ? 3 : 1);
    const mixture_weights_spec weights = {
        .method = MIXTURE_EM, .k = 2, .n_unit = MANY, .coefficient_sd = HUGE_VAL};
    CHECK(mixture_weights_part(f.spec.part, &weights, &test_memory) == ELBO_OK);
    f.spec.units = (mixture_units){MANY, MANY, NULL, NULL};
    const mixture_normal_spec spec = {
        .method = MIXTURE_EM, .k = 2, .n_row = MANY, .d = 2, .Y = Y, .model = COVARIANCE_VVV};
    CHECK(mixture_normal_part(f.spec.part + 1, &spec, &test_memory) == ELBO_OK);
    set_out(&f);
    CHECK(f.w.n_eta == ETA);
    CHECK(mixture_information(&f.w, gradient, H[more], NULL, NULL) == ELBO_OK);
  }
  CHECK(memcmp(H[0], H[1], sizeof H[0]) == 0);
  test_free();
}

int main(void) {
  test_normal();
  test_classes();
  test_regression();
  test_apart();
  test_threads();
  return FINISH();
}
