/* Units of the mixed model, against their definition: what is fitted in the caller's units is what
 * is fitted to the scaled data; and a whole fit, against data in other units. */
#include <string.h>

#include "glmm/fit.h"
#include "glmm/parameters.h"
#include "glmm/starts.h"
#include "lmm_fixture.h"

enum { N = 48, P = 3, Q = 2, M = 8 };

/* Groups of six rows with an intercept and a slope; x is far from zero, and of size `unit`. */
static example new_groups(double unit, double y_unit) {
  example e = {.rows = {.n = N, .p = P, .q = Q, .m = M, .n_level = 1}};
  double *X = new_doubles(N * P), *y = new_doubles(N), *Z = new_doubles(N * Q);
  double *sd = new_doubles(Q), *cor = new_doubles(1), *sigma = new_doubles(1), u[2] = {0.0, 0.0};
  int *group = new_ints(N);
  random_seed(7);
  for (int i = 0; i < N; i++) {
    const double x = random_normal(), v = random_normal();
    if (i % 6 == 0)
      for (int k = 0; k < Q; k++) u[k] = random_normal();
    group[i] = i / 6 + 1;
    X[i] = Z[i] = 1.0;
    X[i + N] = Z[i + N] = unit * (100.0 + x);
    X[i + 2 * N] = v;
    y[i] = y_unit * (20.0 + x - v + u[0] + u[1] * x + 0.5 * random_normal());
  }
  sd[0] = sd[1] = cor[0] = sigma[0] = NAN;
  e.rows.X = X, e.rows.y = y, e.rows.Z = Z, e.rows.group = group;
  e.law = (lmm_law){.method = LMM_REML, .n_block = 1, .block = new_ints(Q), .sd = sd, .cor = cor};
  e.law.sigma = sigma;
  return e;
}

static void fit_init(lmm_fit *f, const example *e) {
  const lmm_basis whole = {0};
  double *flat;
  memset(f, 0, sizeof *f);
  f->law = e->law;
  CHECK(lmm_fit_summarise(&e->rows, &e->law, &flat, &test_memory, &test_memory) == ELBO_OK);
  CHECK(lmm_fit_open(f, flat, &whole, &test_memory) == ELBO_OK);
}

/* X beta = (scaled X) (scaled beta) / y_scale + y_shift, row by row. */
static void test_beta(void) {
  const example e = new_groups(0.03, 700.0);
  lmm_fit f;
  fit_init(&f, &e);
  const lmm_scaling *s = &f.stats.scaling;
  const double scaled[P] = {0.3, -1.1, 0.7}, none[P] = {0.0};
  double beta[P], zero[P], C[P * P], cov[P * P];
  lmm_units_beta(&f.units, scaled, beta);
  for (int i = 0; i < N; i++) {
    double user = 0.0, sum = 0.0;
    for (int j = 0; j < P; j++) {
      const double x = e.rows.X[i + N * j];
      user += x * beta[j];
      sum += (x - s->x_shift[j]) * s->x_scale[j] * scaled[j];
    }
    CHECK_CLOSE(user, sum / s->y_scale + s->y_shift, 1e-12);
  }
  lmm_units_set_beta(&f.units, &f.work, beta);
  CHECK(distance(f.work.beta, scaled, P) < 1e-12);
  /* The covariance of a random multiple of one vector is that vector's square. */
  lmm_units_beta(&f.units, none, zero);
  for (int j = 0; j < P; j++)
    for (int k = 0; k < P; k++) C[j + P * k] = scaled[j] * scaled[k];
  lmm_units_covariance(&f.units, C, cov);
  for (int j = 0; j < P; j++)
    for (int k = 0; k < P; k++)
      CHECK_CLOSE(cov[j + P * k] / ((beta[j] - zero[j]) * (beta[k] - zero[k])), 1.0, 1e-9);
  test_free();
}

/* Scales to the model's state and back. */
static void test_scales(void) {
  const example e = new_groups(0.03, 700.0);
  lmm_fit f;
  fit_init(&f, &e);
  const double Sigma[Q * Q] = {4.0, -1.5, -1.5, 1.0}, sigma = 2.5;
  double back[Q * Q], sigma_back;
  lmm_units_set_scales(&f.units, &f.work, Sigma, &sigma, NULL);
  lmm_parameters_pack(&f.work.par, f.work.Sigma, f.work.variance, f.work.eta);
  lmm_parameters_natural(&f.work.par, f.work.eta, back, f.work.jacobian, &sigma_back);
  CHECK(distance(back, Sigma, Q * Q) < 1e-9);
  CHECK_CLOSE(sigma_back, sigma, 1e-13);
  test_free();
}

static void refit(double unit, double y_unit, int n_starts, double *out) {
  const elbo_control control = {.accelerate = ELBO_ACCELERATE_AUTO, .max_iter = 500, .tol = 1e-9};
  const example e = new_groups(unit, y_unit);
  lmm_fit f;
  fit_init(&f, &e);
  CHECK(lmm_refit_length(&f) == P + Q * Q + 2);
  double *memory = new_doubles((int)lmm_refit_size(&f));
  CHECK(lmm_refit(&f, &control, n_starts, NULL, memory, out) == ELBO_OK);
  test_free();
}

/* In other units, by powers of ten and of two, coefficients and sds change as they must. */
static void test_equivariance(void) {
  const double units[3][2] = {{1e-6, 1.0}, {1e5, 1.0}, {8.0, 1e4}};
  double one[P + Q * Q + 2], other[P + Q * Q + 2];
  refit(1.0, 1.0, 1, one);
  for (int k = 0; k < 3; k++) {
    const double x = units[k][0], y = units[k][1];
    refit(x, y, 1 + k, other);
    for (int j = 0; j < P; j++) CHECK_CLOSE(other[j] * (j == 1 ? x : 1.0) / y / one[j], 1.0, 1e-6);
    for (int j = 0; j < Q; j++)
      for (int l = 0; l < Q; l++) {
        const double size = (j == 1 ? x : 1.0) * (l == 1 ? x : 1.0) / (y * y);
        CHECK_CLOSE(other[P + j + Q * l] * size / one[P + j + Q * l], 1.0, 1e-4);
      }
    CHECK_CLOSE(other[P + Q * Q] / y / one[P + Q * Q], 1.0, 1e-6);
    /* A density of 48 rows in y, integrated over three coefficients. */
    CHECK_CLOSE(other[P + Q * Q + 1], one[P + Q * Q + 1] - (N - P) * log(y) - log(x), 1e-9);
  }
}

int main(void) {
  test_beta();
  test_scales();
  test_equivariance();
  return FINISH();
}
