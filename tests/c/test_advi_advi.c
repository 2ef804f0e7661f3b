/* Deterministic ADVI of densities whose best q is known, and derivatives by differences. */
#include "advi/advi.h"

#include <string.h>

#include "math/la.h"
#include "reference.h"

enum { D = 3, N = 8 };

/* ---- targets --------------------------------------------------------------------------------- */

/* -(x - mean)'A(x - mean) / 2 - bend sum x^4 / 12 - exp(x_0) (if bent). */
typedef struct {
  double A[D * D], mean[D], bend;
} density;

static const density normal = {
    {2.0, 0.6, -0.3, 0.6, 1.5, 0.4, -0.3, 0.4, 3.0}, {1.0, -2.0, 0.5}, 0};

static elbo_status value(void *ctx, const double *x, double *out) {
  const density *f = ctx;
  *out = 0.0;
  for (int i = 0; i < D; i++) {
    for (int j = 0; j < D; j++)
      *out -= 0.5 * (x[i] - f->mean[i]) * f->A[i + D * j] * (x[j] - f->mean[j]);
    *out -= f->bend * pow(x[i], 4) / 12.0;
  }
  *out -= f->bend * exp(x[0]);
  return isfinite(*out) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status gradient(void *ctx, const double *x, double *out) {
  const density *f = ctx;
  for (int i = 0; i < D; i++) {
    out[i] = -f->bend * (pow(x[i], 3) / 3.0 + (i == 0 ? exp(x[0]) : 0.0));
    for (int j = 0; j < D; j++) out[i] -= f->A[i + D * j] * (x[j] - f->mean[j]);
  }
  return ELBO_OK;
}

static elbo_status hessian(void *ctx, const double *x, double *out) {
  const density *f = ctx;
  for (int i = 0; i < D * D; i++) out[i] = -f->A[i];
  for (int i = 0; i < D; i++)
    out[i + D * i] -= f->bend * (x[i] * x[i] + (i == 0 ? exp(x[0]) : 0.0));
  return ELBO_OK;
}

/* Four pairs z, -z with Z Z' / n = I: the columns of a Hadamard matrix. */
static const double pairs[D * N] = {1,  1,  1,  1,  -1, -1, -1, 1,  -1, -1, -1, 1,
                                    -1, -1, -1, -1, 1,  1,  1,  -1, 1,  1,  1,  -1};
static const double mode[D] = {0, 0, 0};

static void bind(advi *w, const density *f, advi_family family, int exact) {
  const advi_target target = {D, (void *)f, value, gradient, exact ? hessian : NULL};
  const int n = family == ADVI_LAPLACE ? 1 : N;
  advi_bind(w, &target, family, n, family == ADVI_LAPLACE ? mode : pairs,
            new_doubles((int)advi_size(&target, family, n)));
}

static newton_cg_result climb(advi *w, double *eta) {
  const newton_cg_objective f = advi_objective(w);
  const newton_cg_control control = {.tol = 1e-12, .max_iter = 50};
  newton_cg_result result;
  newton_cg(&f, w, &control, NULL, eta, new_doubles((int)newton_cg_size(w->n_eta)), &result);
  return result;
}

/* ---- normal targets: the mean, and the family's best S ---------------------------------------*/

static void first_eta(advi_family family, double *eta) {
  memset(eta, 0, 9 * sizeof(double));
  for (int j = 0; j < D; j++) {
    if (family == ADVI_MEAN_FIELD) eta[D + j] = 0.5;
    if (family == ADVI_FULL) eta[D + (j == 0 ? 0 : j == 1 ? 3 : 5)] = 0.5;
  }
}

static void test_normal(void) {
  double L[D * D];
  memcpy(L, normal.A, sizeof L);
  CHECK(la_chol(L, D) == ELBO_OK && la_inverse_from_chol(L, D) == ELBO_OK);
  double root[D * D];
  memcpy(root, L, sizeof root);
  CHECK(la_chol(root, D) == ELBO_OK);
  for (int family = ADVI_LAPLACE; family <= ADVI_FULL; family++)
    for (int exact = 0; exact < 2; exact++) {
      advi w;
      double eta[9];
      bind(&w, &normal, (advi_family)family, exact);
      first_eta((advi_family)family, eta);
      CHECK(w.n_eta == (family == ADVI_LAPLACE ? 3 : family == ADVI_MEAN_FIELD ? 6 : 9));
      CHECK(climb(&w, eta).status == ELBO_OK);
      for (int j = 0; j < D; j++) {
        CHECK_CLOSE(eta[j], normal.mean[j], 1e-8);
        if (family == ADVI_MEAN_FIELD) CHECK_CLOSE(eta[D + j], 1.0 / sqrt(normal.A[4 * j]), 1e-7);
      }
      for (int k = 0, at = D; family == ADVI_FULL && k < D; k++)
        for (int j = k; j < D; j++) CHECK_CLOSE(eta[at++], root[j + D * k], 1e-6);
      /* Linear response is exact: the block of m of the inverse. */
      double information[81];
      CHECK(advi_information(&w, eta, information) == ELBO_OK);
      CHECK(la_chol(information, w.n_eta) == ELBO_OK);
      CHECK(la_inverse_from_chol(information, w.n_eta) == ELBO_OK);
      for (int j = 0; j < D; j++)
        for (int i = 0; i < D; i++) CHECK_CLOSE(information[i + w.n_eta * j], L[i + D * j], 1e-6);
      CHECK(w.gradients > 0 && w.values > 0 && (exact == (w.hessians_made > 0)));
      test_free();
    }
}

/* ---- derivatives ---------------------------------------------------------------------------- */

static void test_derivatives(void) {
  density bent = normal;
  bent.bend = 1.0;
  for (int family = ADVI_LAPLACE; family <= ADVI_FULL; family++) {
    advi w;
    double eta[9], g[9], ahead[9], behind[9], up, down, information[81], v[9], product[9];
    bind(&w, &bent, (advi_family)family, 0);
    first_eta((advi_family)family, eta);
    for (int j = 0; j < w.n_eta; j++) eta[j] += 0.1 * (j + 1);
    const newton_cg_objective f = advi_objective(&w);
    CHECK(f.gradient(&w, eta, g) == ELBO_OK);
    CHECK(advi_information(&w, eta, information) == ELBO_OK);
    for (int j = 0; j < w.n_eta; j++) {
      const double h = 1e-5, old = eta[j];
      eta[j] = old + h;
      CHECK(advi_at(&w, eta, &up, ahead) == ELBO_OK);
      eta[j] = old - h;
      CHECK(advi_at(&w, eta, &down, behind) == ELBO_OK);
      eta[j] = old;
      CHECK_CLOSE((up - down) / (2 * h), g[j], 1e-7);
      for (int i = 0; i < w.n_eta; i++)
        CHECK_CLOSE((behind[i] - ahead[i]) / (2 * h), information[i + w.n_eta * j], 1e-6);
    }
    CHECK(f.gradient(&w, eta, g) == ELBO_OK);
    for (int j = 0; j < w.n_eta; j++) v[j] = cos(j + 1.0);
    CHECK(f.product(&w, v, product) == ELBO_OK);
    for (int i = 0; i < w.n_eta; i++) {
      double sum = 0.0;
      for (int j = 0; j < w.n_eta; j++) sum -= information[i + w.n_eta * j] * v[j];
      CHECK_CLOSE(product[i], sum, 1e-5);
    }
    test_free();
  }
}

/* A negative width is outside of the domain; the climb stays inside from a poor start. */
static void test_domain(void) {
  density bent = normal;
  bent.bend = 1.0;
  advi w;
  double eta[9], out, least = 1.0, g[9];
  bind(&w, &bent, ADVI_MEAN_FIELD, 0);
  first_eta(ADVI_MEAN_FIELD, eta);
  eta[D] = -0.5;
  const newton_cg_objective f = advi_objective(&w);
  CHECK(f.value(&w, eta, &out) == ELBO_E_NOT_FINITE);
  for (int j = 0; j < D; j++) {
    eta[j] = 3.0;
    eta[D + j] = 1e-3;
  }
  CHECK(climb(&w, eta).status == ELBO_OK);
  for (int j = 0; j < D; j++) least = fmin(least, eta[D + j]);
  CHECK(least > 0.3);
  CHECK(advi_at(&w, eta, &out, g) == ELBO_OK);
  for (int j = 0; j < 6; j++) CHECK_CLOSE(g[j], 0.0, 1e-6);
  test_free();
}

int main(void) {
  test_normal();
  test_derivatives();
  test_domain();
  return FINISH();
}
