/* EM climbs, its ELBO is what its parts say, and Newton's method ends where the score is zero. */
#include "sky_fixture.h"

#include <string.h>

#include "harness.h"
#include "sky/em.h"

typedef struct {
  int steps;
  double last, worst_kl, worst_fall;
} watch;

static void look(void *ctx, int iteration, elbo_step step, double elbo, double log_evidence,
                 double kl) {
  watch *w = ctx;
  (void)iteration;
  if (w->steps++ > 0) w->worst_fall = fmax(w->worst_fall, w->last - elbo);
  if (step == ELBO_STEP_E) w->worst_kl = fmax(w->worst_kl, fabs(kl));
  if (step == ELBO_STEP_M) w->worst_kl = fmax(w->worst_kl, elbo - log_evidence);
  w->last = elbo;
}

static void test_ascent(elbo_accelerate accelerate) {
  static sky_fixture x;
  fixture_make(&x, 2);
  fixture_draw(&x);
  double theta[FIX_THETA * FIX_N];
  memcpy(theta, x.theta, sizeof theta);
  for (int s = 0; s < FIX_N; s++) {
    theta[FIX_THETA * s] *= 0.8;
    theta[FIX_THETA * s + 1] *= 1.3;
    theta[FIX_THETA * s + 2] += 0.3;
    theta[FIX_THETA * s + 3] -= 0.4;
  }
  sky_em w;
  watch seen = {0, 0.0, 0.0, 0.0};
  const elbo_hooks hooks = {NULL, look, &seen};
  const elbo_control control = {.accelerate = accelerate,
                                .max_iter = accelerate == ELBO_ACCELERATE_NONE ? 60 : 500,
                                .threads = 2,
                                .tol = 1e-9};
  elbo_result result;
  double before, g[40], step[40];
  sky_em_open(&w, &x.spec, theta, x.node, &fixture_memory);
  CHECK(sky_field_value(&w.field, &before) == ELBO_OK);
  const elbo_status status = sky_em_ascend(&w, &control, &hooks, &fixture_memory, &result);
  CHECK(seen.steps > 10);
  CHECK(seen.worst_fall < 1e-9);
  CHECK(seen.worst_kl < 1e-9);
  CHECK(result.objective > before + 100.0);
  if (accelerate != ELBO_ACCELERATE_AUTO) return;
  CHECK(status == ELBO_OK);
  /* Deviance of 2720 pixels less 33 parameters is about chi square. */
  CHECK(fabs(-2.0 * result.objective - 2650.0) < 5.0 * sqrt(2.0 * 2650.0));
  sky_field_gradient(&w.field, g);
  sky_field_curvature(&w.field);
  sky_field_precondition(&w.field, g, step);
  for (int a = 0; a < w.field.n_eta; a++) CHECK(fabs(g[a] * step[a]) < 1e-8);
}

int main(void) {
  test_ascent(ELBO_ACCELERATE_NONE);
  test_ascent(ELBO_ACCELERATE_AUTO);
  return FINISH();
}
