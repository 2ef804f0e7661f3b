/* What the tests of the Gaussian mixed model share: an example, its model, functions of eta. */
#ifndef ELBO_TEST_LMM_FIXTURE_H
#define ELBO_TEST_LMM_FIXTURE_H

#include <math.h>

#include "glmm/lmm.h"
#include "glmm/parameters.h"
#include "glmm/close.h"
#include "glmm/work.h"
#include "reference.h"

static const double log_2pi = 1.8378770664093454836;

/* A^{-1} in place of a symmetric positive definite A, by Gauss and Jordan; returns log |A|. */
static inline double dense_invert(double *A, int n) {
  double log_det = 0.0;
  for (int k = 0; k < n; k++) {
    const double pivot = A[k * (n + 1)];
    log_det += log(pivot);
    A[k * (n + 1)] = 1.0;
    for (int j = 0; j < n; j++) A[k + n * j] /= pivot;
    for (int i = 0; i < n; i++) {
      const double factor = A[i + n * k];
      if (i == k) continue;
      A[i + n * k] = 0.0;
      for (int j = 0; j < n; j++) A[i + n * j] -= factor * A[k + n * j];
    }
  }
  return log_det;
}

typedef struct {
  lmm_rows rows;
  lmm_law law;
} example;

typedef struct {
  example e;
  lmm_stats stats;
  lmm_work work;
  elbo_model model;
} fixture;

static inline void fixture_init(fixture *f, const example *e) {
  f->e = *e;
  CHECK(lmm_stats_build(&f->stats, &e->rows, &e->law, &test_memory) == ELBO_OK);
  CHECK(lmm_work_init(&f->work, &f->stats, &e->law, &test_memory) == ELBO_OK);
  f->model = lmm_model(&f->work);
}

static inline double *random_eta(const lmm_parameters *par) {
  double *eta = new_doubles(par->n_eta);
  for (int j = 0; j < par->n_eta; j++) eta[j] = 0.4 + 1.2 * random_uniform();
  for (int l = 0; l < par->n_level; l++)
    if (par->eta_of_sigma[l] >= 0) eta[par->eta_of_sigma[l]] = 0.5 * random_normal() - 0.5;
  return eta;
}

static inline double value_of(fixture *f, elbo_status (*what)(void *, double *)) {
  double value = NAN;
  CHECK(what(&f->work, &value) == ELBO_OK);
  return value;
}

static inline double objective(fixture *f) {
  double value = NAN;
  CHECK(f->model.objective.value(&f->work, &value) == ELBO_OK);
  return value;
}

static inline void objective_at(void *ctx, const double *eta, double *out) {
  fixture *f = (fixture *)ctx;
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
  *out = objective(f);
}

static inline void gradient_at(void *ctx, const double *eta, double *out) {
  fixture *f = (fixture *)ctx;
  double value, *hessian = new_doubles(f->model.n_eta * f->model.n_eta);
  CHECK(f->model.unpack(&f->work, eta) == ELBO_OK);
  CHECK(f->model.objective.hessian(&f->work, &value, out, hessian) == ELBO_OK);
}

/* ELBO = log evidence - KL, KL >= 0; for joint and vb there is the ELBO alone. */
static inline void check_identity(fixture *f) {
  if (f->model.kl == NULL) return;
  const double elbo = value_of(f, f->model.elbo), evidence = value_of(f, f->model.log_evidence);
  const double kl = value_of(f, f->model.kl);
  CHECK_CLOSE(elbo + kl, evidence, 1e-9);
  CHECK(kl >= -1e-9 && elbo <= evidence + 1e-9 * fabs(evidence));
}

#endif
