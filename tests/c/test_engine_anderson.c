/* EM extrapolated by Anderson's method, on maps whose fixed points are known. */
#include <string.h>

#include "reference.h"

/* Three probabilities, of which the first two move towards 1/6 and 1/3, and what is left of the
 * way is multiplied by 0.999 and 0.99: plain EM would take thousands of steps. */
typedef struct {
  double x[3];
  double rate;
  int maps, refused;
  int bends; /* the map is not linear */
} shares;

static const double share_target[3] = {1.0 / 6.0, 1.0 / 3.0, 0.5};

static elbo_status share_m_step(void *work) {
  shares *w = work;
  const double rate[2] = {w->rate, 0.99};
  w->maps++;
  for (int i = 0; i < 2; i++) {
    const double left = w->x[i] - share_target[i];
    w->x[i] = share_target[i] + rate[i] * left / (1.0 + (w->bends ? left * left : 0.0));
  }
  w->x[2] = 1.0 - w->x[0] - w->x[1];
  return ELBO_OK;
}

static elbo_status share_e_step(void *work) {
  shares *w = work;
  for (int i = 0; i < 3; i++)
    if (!(w->x[i] > 0.0)) {
      w->refused++;
      return ELBO_E_NOT_FINITE;
    }
  return ELBO_OK;
}

/* Least at the target, and raised by each map. */
static elbo_status share_elbo(void *work, double *value) {
  const shares *w = work;
  *value = 0.0;
  for (int i = 0; i < 2; i++) *value -= (w->x[i] - share_target[i]) * (w->x[i] - share_target[i]);
  return ELBO_OK;
}

static void share_pack(void *work, double *eta) {
  memcpy(eta, ((shares *)work)->x, 3 * sizeof(double));
}

static elbo_status share_unpack(void *work, const double *eta) {
  memcpy(((shares *)work)->x, eta, 3 * sizeof(double));
  return ELBO_OK;
}

static const elbo_model share_model = {.n_eta = 3,
                                       .e_name = ELBO_STEP_E,
                                       .m_name = ELBO_STEP_M,
                                       .e_step = share_e_step,
                                       .m_step = share_m_step,
                                       .elbo = share_elbo,
                                       .objective = {.value = share_elbo},
                                       .schedule = {.memory = 5},
                                       .pack = share_pack,
                                       .unpack = share_unpack};

static elbo_status climb(const elbo_model *model, shares *w, int max_iter, elbo_result *result) {
  const elbo_control control = {
      .accelerate = ELBO_ACCELERATE_AUTO, .max_iter = max_iter, .tol = 1e-10};
  double *memory = new_doubles((int)elbo_ascend_size(model));
  const elbo_status status = elbo_ascend(model, w, &control, NULL, memory, result);
  test_free();
  return status;
}

/* A linear map in two directions is solved by two secants; sums are kept. */
static void test_linear(void) {
  elbo_model model = share_model;
  for (int blind = 0; blind < 2; blind++) {
    shares w = {.x = {0.3, 0.3, 0.4}, .rate = 0.999};
    elbo_result result;
    model.elbo = blind ? NULL : share_elbo;
    model.objective.value = model.elbo;
    CHECK(climb(&model, &w, 100, &result) == ELBO_OK);
    for (int i = 0; i < 3; i++) CHECK_CLOSE(w.x[i], share_target[i], 1e-9);
    CHECK_CLOSE(w.x[0] + w.x[1] + w.x[2], 1.0, 1e-14);
    CHECK(w.maps <= 6 && result.em == w.maps);
    CHECK(result.iterations == result.em + result.anderson && result.anderson > 0);
    CHECK(result.movement <= 1e-10);
  }
}

/* A map that bends, from far off. */
static void test_bent(void) {
  elbo_model model = share_model;
  for (int blind = 0; blind < 2; blind++) {
    shares w = {.x = {0.6, 0.35, 0.05}, .rate = 0.999, .bends = 1};
    elbo_result result;
    model.elbo = blind ? NULL : share_elbo;
    model.objective.value = model.elbo;
    CHECK(climb(&model, &w, 1000, &result) == ELBO_OK);
    for (int i = 0; i < 3; i++) CHECK_CLOSE(w.x[i], share_target[i], 1e-8);
    CHECK(w.maps < 40);
  }
}

/* Guesses from far off leave the domain, and give way to plain steps; how far they lead says
 * nothing of the size of eta. */
static void test_refused(void) {
  elbo_model model = share_model;
  shares w = {.x = {0.6, 0.35, 0.05}, .rate = 0.999, .bends = 1};
  elbo_result result;
  CHECK(climb(&model, &w, 1000, &result) == ELBO_OK);
  CHECK(w.refused > 0);
  for (int i = 0; i < 3; i++) CHECK_CLOSE(w.x[i], share_target[i], 1e-8);
}

static void test_ends(void) {
  shares w = {.x = {0.3, 0.3, 0.4}, .rate = 0.999};
  elbo_result result;
  CHECK(climb(&share_model, &w, 2, &result) == ELBO_MAX_ITER);
  shares there = {.x = {1.0 / 6.0, 1.0 / 3.0, 0.5}, .rate = 0.999};
  CHECK(climb(&share_model, &there, 100, &result) == ELBO_OK);
  CHECK(there.maps == 1);
}

int main(void) {
  test_linear();
  test_bent();
  test_refused();
  test_ends();
  return FINISH();
}
