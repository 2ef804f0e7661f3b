/* Variational Bayes of a catalogue climbs, its score is zero where it ends, and linear response is
 * what the means do when a prior moves. */
#include "sky_fixture.h"

#include <string.h>

#include "harness.h"
#include "sky/information.h"
#include "sky/vb.h"

enum { BLOCK = FIX_THETA * FIX_THETA };

typedef struct {
  int steps;
  double last, worst_fall;
} watch;

static void look(void *ctx, int iteration, elbo_step step, double elbo, double log_evidence,
                 double kl) {
  watch *w = ctx;
  (void)iteration, (void)step, (void)log_evidence, (void)kl;
  if (w->steps++ > 0) w->worst_fall = fmax(w->worst_fall, w->last - elbo);
  w->last = elbo;
}

static const elbo_control control = {
    .accelerate = ELBO_ACCELERATE_AUTO, .max_iter = 2000, .threads = 1, .tol = 1e-12};

/* q of all four sources as what they are, and the ascent. */
static void fit(sky_fixture *x, sky_vb *w, watch *seen) {
  double evidence[SKY_N_TYPES], told[SKY_N_TOLD];
  const elbo_hooks hooks = {NULL, look, seen};
  elbo_result result;
  sky_vb_open(w, &x->spec, x->theta, x->node, NULL, &fixture_memory);
  for (int s = 0; s < FIX_N; s++) sky_vb_types(w, s, 0, x->type, evidence, told);
  CHECK(sky_vb_ascend(w, &control, &hooks, &fixture_memory, &result) == ELBO_OK);
}

static double log_flux(const sky_vb *w, int s, int band) {
  return w->mean[(size_t)(s * SKY_N_TYPES + w->field.spec->type[s]) * (size_t)w->n + (size_t)band];
}

/* The star alone has the first of the law's mean log fluxes: a move of it is a tilt of q(star).
 * What q's covariances do is left out of linear response, which is little where there are many
 * photons: `times` as many as in the fixture. */
static void test_linear_response(double times, double tolerance) {
  static sky_fixture x;
  sky_law law = fixture_law;
  double moved[2], covariance[BLOCK * FIX_N], nodes[49];
  double *own = fixture_get(NULL, sizeof(double) * FIX_N * SKY_MAX_FREE * SKY_MAX_FREE);
  const double by = 0.02 * times;
  watch seen = {0, 0.0, 0.0};
  int expected;
  sky_vb w;
  fixture_make(&x, 1);
  for (int s = 0; s < FIX_N; s++)
    for (int b = 0; b < FIX_B; b++) x.theta[b + FIX_THETA * s] *= times;
  for (int i = 0; i < 7; i++) x.node[i] *= times;
  fixture_draw(&x);
  for (int side = 0; side < 2; side++) {
    law.flux_mean[0] = fixture_law.flux_mean[0] + (side ? by : -by);
    x.spec.law = &law;
    fit(&x, &w, &seen);
    moved[side] = log_flux(&w, 0, 0);
  }
  x.spec.law = &fixture_law;
  memset(&seen, 0, sizeof seen);
  fit(&x, &w, &seen);
  CHECK(seen.worst_fall < 1e-9);
  const double flux[2] = {exp(log_flux(&w, 0, 0)), exp(log_flux(&w, 0, 1))};
  sky_vb_precision(&w, own);
  CHECK(sky_information(&w.field, own, covariance, nodes, &expected, &fixture_memory) == ELBO_OK);
  const double of_log = covariance[0] / (flux[0] * flux[0]);
  const double between = covariance[1] / (flux[0] * flux[1]);
  const double slope = (moved[1] - moved[0]) / (2.0 * by) * law.flux_sd * law.flux_sd;
  CHECK_CLOSE(slope / (of_log + between), 1.0, tolerance);
  free(own);
}

int main(void) {
  test_linear_response(1.0, 0.05);
  test_linear_response(100.0, 1e-3);
  return FINISH();
}
