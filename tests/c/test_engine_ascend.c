/* The driver on models small enough to solve by hand. */
#include <string.h>

#include "reference.h"

/* ---- running -------------------------------------------------------------------------------
 */

enum { MOST_STEPS = 4000 };

typedef struct {
  int n, polls, stop_at; /* poll number that asks to stop, 0 for none */
  int iteration[MOST_STEPS];
  elbo_step step[MOST_STEPS];
  double elbo[MOST_STEPS], log_evidence[MOST_STEPS], kl[MOST_STEPS];
} trace;

static void record(void *ctx, int iteration, elbo_step step, double elbo, double log_evidence,
                   double kl) {
  trace *t = (trace *)ctx;
  if (t->n == MOST_STEPS) return;
  t->iteration[t->n] = iteration;
  t->step[t->n] = step;
  t->elbo[t->n] = elbo;
  t->log_evidence[t->n] = log_evidence;
  t->kl[t->n++] = kl;
}

static int poll(void *ctx) {
  trace *t = (trace *)ctx;
  return ++t->polls == t->stop_at;
}

static elbo_status run(const elbo_model *model, void *work, elbo_accelerate accelerate,
                       int max_iter, trace *t, elbo_result *result) {
  const elbo_control control = {.accelerate = accelerate, .max_iter = max_iter, .tol = 1e-9};
  const elbo_hooks hooks = {poll, record, t};
  double *memory = new_doubles((int)elbo_ascend_size(model));
  const elbo_status status = elbo_ascend(model, work, &control, t ? &hooks : NULL, memory, result);
  CHECK(result->status == status);
  CHECK(result->iterations == result->em + result->squarem + result->newton);
  test_free();
  return status;
}

/* ---- a model of two numbers ------------------------------------------------------------------ */

/* f(x) with its derivatives; the M-step climbs in one coordinate after the other where f is
 * the quadratic, and stays put otherwise.  There is no q. */
typedef struct {
  double x[2];
  double (*f)(const double *x, double *gradient, double *hessian);
  void (*coordinate_step)(double *x);
  int fails_beyond; /* unpack refuses x[0] above this, where positive */
} plane;

static elbo_status no_step(void *work) {
  (void)work;
  return ELBO_OK;
}

static elbo_status plane_m_step(void *work) {
  plane *w = (plane *)work;
  if (w->coordinate_step) w->coordinate_step(w->x);
  return ELBO_OK;
}

static elbo_status plane_elbo(void *work, double *value) {
  plane *w = (plane *)work;
  double gradient[2], hessian[4];
  *value = w->f(w->x, gradient, hessian);
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static elbo_status plane_hessian(void *work, double *value, double *gradient, double *hessian) {
  plane *w = (plane *)work;
  *value = w->f(w->x, gradient, hessian);
  return isfinite(*value) ? ELBO_OK : ELBO_E_NOT_FINITE;
}

static void plane_pack(void *work, double *eta) {
  memcpy(eta, ((plane *)work)->x, 2 * sizeof(double));
}

static elbo_status plane_unpack(void *work, const double *eta) {
  plane *w = (plane *)work;
  if (w->fails_beyond > 0 && eta[0] > w->fails_beyond) return ELBO_E_NOT_PD;
  memcpy(w->x, eta, 2 * sizeof(double));
  return ELBO_OK;
}

static const elbo_model plane_model = {
    .n_eta = 2,
    .e_name = ELBO_STEP_E,
    .m_name = ELBO_STEP_M,
    .e_step = no_step,
    .m_step = plane_m_step,
    .elbo = plane_elbo,
    .objective = {.value = plane_elbo, .hessian = plane_hessian},
    .schedule = {.em_first = 5, .em_until = HUGE_VAL, .second_order = ELBO_SECOND_ORDER_DENSE},
    .pack = plane_pack,
    .unpack = plane_unpack};

/* -(x - a)'[3 1; 1 2](x - a) / 2 with a = (1, -2): the maximum is 0 at a. */
static double quadratic(const double *x, double *gradient, double *hessian) {
  const double d0 = x[0] - 1.0, d1 = x[1] + 2.0;
  gradient[0] = -3.0 * d0 - d1;
  gradient[1] = -d0 - 2.0 * d1;
  hessian[0] = -3.0;
  hessian[1] = hessian[2] = -1.0;
  hessian[3] = -2.0;
  return 0.5 * (d0 * gradient[0] + d1 * gradient[1]);
}

/* The best x0 given x1, then x1 given x0. */
static void quadratic_step(double *x) {
  x[0] = 1.0 - (x[1] + 2.0) / 3.0;
  x[1] = -2.0 - (x[0] - 1.0) / 2.0;
}

static void test_quadratic(void) {
  int steps[3];
  for (int accelerate = 0; accelerate <= ELBO_ACCELERATE_AUTO; accelerate++) {
    plane w = {{30.0, 40.0}, quadratic, quadratic_step, 0};
    elbo_result result;
    trace t = {0};
    CHECK(run(&plane_model, &w, (elbo_accelerate)accelerate, 1000, &t, &result) == ELBO_OK);
    CHECK_CLOSE(w.x[0], 1.0, 1e-9);
    CHECK_CLOSE(w.x[1], -2.0, 1e-9);
    CHECK(fabs(result.objective) < 1e-15);
    CHECK(result.gradient < 1e-9);
    CHECK(t.n > 0 && t.step[0] == ELBO_STEP_START && t.iteration[0] == 0);
    for (int i = 1; i < t.n; i++) CHECK(t.elbo[i] >= t.elbo[i - 1] - 1e-9);
    for (int i = 0; i < t.n; i++) CHECK(isnan(t.log_evidence[i]) && isnan(t.kl[i]));
    steps[accelerate] = result.iterations;
  }
  CHECK(steps[ELBO_ACCELERATE_SQUAREM] <= steps[ELBO_ACCELERATE_NONE] + 3);
  CHECK(steps[ELBO_ACCELERATE_AUTO] <= 7); /* five EM steps, then Newton once, or twice */
}

/* What is to be gained by a Newton step, g'I^{-1}g / 2, is all that lacks: f itself. */
static void test_gain(void) {
  plane w = {{30.0, 40.0}, quadratic, NULL, 0};
  double gradient[2], hessian[4];
  elbo_result result;
  const double lacking = -quadratic(w.x, gradient, hessian);
  CHECK(run(&plane_model, &w, ELBO_ACCELERATE_NONE, 0, NULL, &result) == ELBO_MAX_ITER);
  CHECK_CLOSE(result.gain, lacking, 1e-13);
  /* se from the inverse of [3 1; 1 2], whose determinant is 5: sqrt(2/5), sqrt(3/5). */
  CHECK_CLOSE(result.gradient, fmax(fabs(gradient[0]) * sqrt(0.4), fabs(gradient[1]) * sqrt(0.6)),
              1e-13);
  CHECK(w.x[0] == 30.0 && w.x[1] == 40.0);
}

/* The same with a Hessian that is only near. */
static double quadratic_nearly(const double *x, double *gradient, double *hessian) {
  const double value = quadratic(x, gradient, hessian);
  hessian[0] = -3.3;
  hessian[1] = hessian[2] = -0.9;
  hessian[3] = -2.1;
  return value;
}

/* Each step by the Hessian as it is leaves some tenth, one by one that gradients have corrected
 * hardly anything: in two dimensions it is exact after two. */
static void test_near_hessian(void) {
  int steps[2];
  for (int near = 0; near < 2; near++) {
    plane w = {{1.0 + 0.03, -2.0 + 0.04}, quadratic_nearly, NULL, 0};
    elbo_model model = plane_model;
    elbo_result result;
    model.schedule.em_first = 0;
    model.schedule.near_hessian = near;
    CHECK(run(&model, &w, ELBO_ACCELERATE_AUTO, 100, NULL, &result) == ELBO_OK);
    CHECK_CLOSE(w.x[0], 1.0, 1e-9);
    CHECK_CLOSE(w.x[1], -2.0, 1e-9);
    CHECK(result.gradient < 1e-9);
    steps[near] = result.newton;
  }
  CHECK(steps[0] >= 7);
  CHECK(steps[1] <= 4);
}

/* x^2 / 2 - x^4 / 4 - y^2 / 2 has a saddle at 0 and its maxima, 1/4, at x = -1 and 1. */
static double saddle(const double *x, double *gradient, double *hessian) {
  gradient[0] = x[0] - x[0] * x[0] * x[0];
  gradient[1] = -x[1];
  hessian[0] = 1.0 - 3.0 * x[0] * x[0];
  hessian[1] = hessian[2] = 0.0;
  hessian[3] = -1.0;
  return 0.5 * x[0] * x[0] - 0.25 * x[0] * x[0] * x[0] * x[0] - 0.5 * x[1] * x[1];
}

static void test_saddle(void) {
  static const double start[2] = {0.0, 0.5};
  for (int i = 0; i < 2; i++) { /* beside the saddle, and on it */
    plane w = {{0.0, start[i]}, saddle, NULL, 0};
    elbo_result result;
    CHECK(run(&plane_model, &w, ELBO_ACCELERATE_AUTO, 1000, NULL, &result) == ELBO_OK);
    CHECK_CLOSE(fabs(w.x[0]), 1.0, 1e-8);
    CHECK(fabs(w.x[1]) < 1e-8);
    CHECK_CLOSE(result.objective, 0.25, 1e-14);
    CHECK(result.newton > 0);
  }
  /* Without Newton there is no way off, but no claim to be at a maximum either. */
  plane w = {{0.0, 0.0}, saddle, NULL, 0};
  elbo_result result;
  CHECK(run(&plane_model, &w, ELBO_ACCELERATE_NONE, 10, NULL, &result) == ELBO_MAX_ITER);
}

/* -sqrt(1 + x^2) - y^2 / 2: Newton's step from x is -x (1 + x^2), which overshoots beyond x =
 * 1, so steps must be halved. */
static double flat_tails(const double *x, double *gradient, double *hessian) {
  const double root = sqrt(1.0 + x[0] * x[0]);
  gradient[0] = -x[0] / root;
  gradient[1] = -x[1];
  hessian[0] = -1.0 / (root * root * root);
  hessian[1] = hessian[2] = 0.0;
  hessian[3] = -1.0;
  return -root - 0.5 * x[1] * x[1];
}

static void test_halving(void) {
  plane w = {{20.0, 3.0}, flat_tails, NULL, 0};
  elbo_result result;
  trace t = {0};
  CHECK(run(&plane_model, &w, ELBO_ACCELERATE_AUTO, 1000, &t, &result) == ELBO_OK);
  CHECK(fabs(w.x[0]) < 1e-8 && fabs(w.x[1]) < 1e-8);
  for (int i = 1; i < t.n; i++) CHECK(t.elbo[i] >= t.elbo[i - 1] - 1e-9);
}

/* Half way to 0, but at most 0.5: from 1.2 by way of 0.7 to 0.35, which SQUAREM extrapolates to
 * 1.2 - 2 (10/3) 0.5 + (10/3)^2 0.15 = -0.47, lower than where EM was. */
static void short_step(double *x) { x[0] -= 0.5 * fmax(-1.0, fmin(1.0, x[0])); }

static void test_extrapolation_too_far(void) {
  plane w = {{1.2, 0.0}, flat_tails, short_step, 0};
  elbo_result result;
  trace t = {0};
  CHECK(run(&plane_model, &w, ELBO_ACCELERATE_SQUAREM, 1000, &t, &result) == ELBO_OK);
  CHECK(fabs(w.x[0]) < 1e-8);
  for (int i = 1; i < t.n; i++) CHECK(t.elbo[i] >= t.elbo[i - 1]);
}

/* Only y matters: a flat direction has no standard error and stays where it is. */
static double flat(const double *x, double *gradient, double *hessian) {
  gradient[0] = hessian[0] = hessian[1] = hessian[2] = 0.0;
  gradient[1] = -x[1];
  hessian[3] = -1.0;
  return -0.5 * x[1] * x[1];
}

static void test_flat(void) {
  plane w = {{5.0, 3.0}, flat, NULL, 0};
  elbo_result result;
  CHECK(run(&plane_model, &w, ELBO_ACCELERATE_AUTO, 1000, NULL, &result) == ELBO_OK);
  CHECK(w.x[0] == 5.0 && fabs(w.x[1]) < 1e-9);
}

/* A point where the model cannot be evaluated is no step: from 0 the quadratic's maximum at
 * (1, -2) is reached although everything beyond x0 = 2 is refused, and where the maximum
 * itself is refused the last good point is kept. */
static double far_quadratic(const double *x, double *gradient, double *hessian) {
  const double moved[2] = {x[0] - 4.0, x[1]};
  return quadratic(moved, gradient, hessian);
}

static double tiny_quadratic(const double *x, double *gradient, double *hessian) {
  double value = 1e-12 * far_quadratic(x, gradient, hessian);
  for (int i = 0; i < 2; i++) gradient[i] *= 1e-12;
  for (int i = 0; i < 4; i++) hessian[i] *= 1e-12;
  return value;
}

static void test_refused_points(void) {
  plane w = {{0.0, 0.0}, quadratic, NULL, 2};
  elbo_result result;
  CHECK(run(&plane_model, &w, ELBO_ACCELERATE_AUTO, 1000, NULL, &result) == ELBO_OK);
  CHECK_CLOSE(w.x[0], 1.0, 1e-8);
  double (*const out_of_reach[2])(const double *, double *, double *) = {far_quadratic,
                                                                         tiny_quadratic};
  for (int i = 0; i < 2;
       i++) { /* maximum at (5, -2); in the second all gains are of rounding size */
    plane beyond = {{0.0, 0.0}, out_of_reach[i], NULL, 2};
    const elbo_status status = run(&plane_model, &beyond, ELBO_ACCELERATE_AUTO, 300, NULL, &result);
    CHECK(status == ELBO_STOPPED || status == ELBO_MAX_ITER);
    CHECK(beyond.x[0] > 0.0 && beyond.x[0] <= 2.0);
  }
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

static void wrong_step(double *x) { x[0] += 1.0; }

static void test_descent(void) {
  for (int accelerate = 0; accelerate <= ELBO_ACCELERATE_AUTO; accelerate++) {
    plane w = {{1.0, -2.1}, quadratic, wrong_step, 0};
    elbo_result result;
    trace t = {0};
    CHECK(run(&plane_model, &w, (elbo_accelerate)accelerate, 1000, &t, &result) == ELBO_E_DESCENT);
    CHECK(t.n == 2 && t.step[1] == ELBO_STEP_M); /* the step at fault is the last of the trace */
  }
}

/* The wrong step costs 1.4: less than what a model says of its rounding is no fall, and more is. */
static double coarse(void *work) {
  (void)work;
  return 2.0;
}

static double fine(void *work) {
  (void)work;
  return 1.3;
}

static void test_rounding(void) {
  elbo_model model = plane_model;
  elbo_result result;
  plane w = {{1.0, -2.1}, quadratic, wrong_step, 0};
  model.rounding = fine;
  CHECK(run(&model, &w, ELBO_ACCELERATE_NONE, 1, NULL, &result) == ELBO_E_DESCENT);
  plane again = {{1.0, -2.1}, quadratic, wrong_step, 0};
  model.rounding = coarse;
  CHECK(run(&model, &again, ELBO_ACCELERATE_NONE, 1, NULL, &result) == ELBO_MAX_ITER);
}

static double not_finite(const double *x, double *gradient, double *hessian) {
  quadratic(x, gradient, hessian);
  return NAN;
}

static double bad_slope(const double *x, double *gradient, double *hessian) {
  const double value = quadratic(x, gradient, hessian);
  hessian[0] = NAN;
  return value;
}

static void test_not_finite(void) {
  plane w = {{3.0, 4.0}, not_finite, NULL, 0};
  elbo_result result;
  CHECK(run(&plane_model, &w, ELBO_ACCELERATE_AUTO, 1000, NULL, &result) == ELBO_E_NOT_FINITE);
  plane slope = {{3.0, 4.0}, bad_slope, NULL, 0};
  CHECK(run(&plane_model, &slope, ELBO_ACCELERATE_AUTO, 1000, NULL, &result) != ELBO_OK);
}

static void test_stop(void) {
  for (int accelerate = 0; accelerate <= ELBO_ACCELERATE_AUTO; accelerate++) {
    plane w = {{30.0, 40.0}, quadratic, quadratic_step, 0};
    elbo_result result;
    trace t = {0};
    t.stop_at = 2;
    CHECK(run(&plane_model, &w, (elbo_accelerate)accelerate, 1000, &t, &result) == ELBO_STOPPED);
    CHECK(t.polls == 2 && result.iterations >= 1);
    double gradient[2], hessian[4];
    CHECK(result.objective == quadratic(w.x, gradient, hessian)); /* the state so far */
  }
}

/* ---- EM
 * -------------------------------------------------------------------------------------------
 */

/* y_i = z_i + e_i, z_i ~ N(0, tau^2), e_i ~ N(0, 1), so y_i ~ N(0, 1 + tau^2) and the maximum
 * is at tau^2 = mean y^2 - 1, or 0 where that is negative.  q(z_i) = N(a y_i, v). eta = tau.
 */
typedef struct {
  int n;
  double mean_square, tau, a, v;
} two_variances;

static elbo_status tv_e_step(void *work) {
  two_variances *w = (two_variances *)work;
  w->a = w->v = w->tau * w->tau / (1.0 + w->tau * w->tau);
  return ELBO_OK;
}

static elbo_status tv_m_step(void *work) {
  two_variances *w = (two_variances *)work;
  w->tau = sqrt(w->a * w->a * w->mean_square + w->v);
  return ELBO_OK;
}

static elbo_status tv_log_evidence(void *work, double *value) {
  two_variances *w = (two_variances *)work;
  const double variance = 1.0 + w->tau * w->tau;
  *value = -0.5 * w->n * (log(variance) + w->mean_square / variance);
  return ELBO_OK;
}

/* KL(N(a y, v) || N(b y, b)), b = tau^2 / (1 + tau^2), summed over i. */
static elbo_status tv_kl(void *work, double *value) {
  two_variances *w = (two_variances *)work;
  const double b = w->tau * w->tau / (1.0 + w->tau * w->tau), d = w->a - b;
  *value =
      b == w->v ? 0.0 : 0.5 * w->n * (w->v / b + d * d * w->mean_square / b - 1.0 + log(b / w->v));
  return ELBO_OK;
}

static elbo_status tv_elbo(void *work, double *value) {
  double kl = 0.0;
  tv_log_evidence(work, value);
  tv_kl(work, &kl);
  *value -= kl;
  return ELBO_OK;
}

static elbo_status tv_hessian(void *work, double *value, double *gradient, double *hessian) {
  two_variances *w = (two_variances *)work;
  const double t = w->tau, variance = 1.0 + t * t, s = w->mean_square;
  tv_log_evidence(work, value);
  const double slope = -0.5 * w->n * (1.0 / variance - s / (variance * variance));
  const double bend = -0.5 * w->n * (-1.0 / (variance * variance) + 2.0 * s / pow(variance, 3.0));
  *gradient = 2.0 * t * slope; /* d variance / d tau = 2 tau */
  *hessian = 2.0 * slope + 4.0 * t * t * bend;
  return ELBO_OK;
}

static void tv_pack(void *work, double *eta) { *eta = ((two_variances *)work)->tau; }

static elbo_status tv_unpack(void *work, const double *eta) {
  ((two_variances *)work)->tau = *eta;
  return ELBO_OK;
}

/* The only boundary point, number 0. */
static int tv_propose(void *work, int from) {
  two_variances *w = (two_variances *)work;
  if (from > 0 || w->tau == 0.0 || fabs(w->tau) > 1e-5) return -1;
  w->tau = 0.0;
  return 0;
}

static const elbo_model tv_model = {
    .n_eta = 1,
    .e_name = ELBO_STEP_E,
    .m_name = ELBO_STEP_M,
    .e_step = tv_e_step,
    .m_step = tv_m_step,
    .elbo = tv_elbo,
    .log_evidence = tv_log_evidence,
    .kl = tv_kl,
    .objective = {.value = tv_log_evidence, .hessian = tv_hessian},
    .schedule = {.em_first = 5, .em_until = HUGE_VAL, .second_order = ELBO_SECOND_ORDER_DENSE},
    .pack = tv_pack,
    .unpack = tv_unpack,
    .propose = tv_propose};

static void check_trace(const trace *t) {
  for (int i = 0; i < t->n; i++) {
    CHECK(t->elbo[i] <= t->log_evidence[i] + 1e-13 * fabs(t->log_evidence[i]));
    if (t->step[i] != ELBO_STEP_M) CHECK(t->kl[i] == 0.0);
    if (i > 0) CHECK(t->elbo[i] >= t->elbo[i - 1] - 1e-12 * fabs(t->elbo[i]));
    if (i > 0 && t->step[i] == ELBO_STEP_E)
      CHECK(t->step[i - 1] == ELBO_STEP_M && t->iteration[i] == t->iteration[i - 1]);
  }
}

static void test_em(void) {
  int steps[3];
  for (int accelerate = 0; accelerate <= ELBO_ACCELERATE_AUTO; accelerate++) {
    two_variances w = {50, 1.3, 3.0, 0.0, 0.0};
    elbo_result result;
    trace t = {0};
    CHECK(run(&tv_model, &w, (elbo_accelerate)accelerate, 2000, &t, &result) == ELBO_OK);
    CHECK_CLOSE(w.tau, sqrt(0.3), 1e-8);
    CHECK_CLOSE(result.objective, -25.0 * (log(1.3) + 1.0), 1e-14);
    check_trace(&t);
    steps[accelerate] = result.iterations;
  }
  /* EM's rate here is 1 - (tau^2 / (1 + tau^2))^2 = .95, so it takes hundreds of steps. */
  CHECK(steps[ELBO_ACCELERATE_NONE] > 200);
  CHECK(2 * steps[ELBO_ACCELERATE_SQUAREM] < steps[ELBO_ACCELERATE_NONE]);
  CHECK(steps[ELBO_ACCELERATE_AUTO] < 15);
}

static void test_max_iter(void) {
  for (int accelerate = 0; accelerate <= ELBO_ACCELERATE_AUTO; accelerate++)
    for (int max_iter = 0; max_iter <= 3; max_iter++) {
      two_variances w = {50, 1.3, 3.0, 0.0, 0.0};
      elbo_result result;
      CHECK(run(&tv_model, &w, (elbo_accelerate)accelerate, max_iter, NULL, &result) ==
            ELBO_MAX_ITER);
      CHECK(result.iterations >= max_iter);
      /* A cycle of SQUAREM, of up to four steps, is not broken off. */
      CHECK(result.iterations <= max_iter + (accelerate == ELBO_ACCELERATE_SQUAREM ? 3 : 0));
    }
}

static void test_em_boundary(void) {
  two_variances w = {50, 0.7, 3.0, 0.0, 0.0};
  elbo_result result;
  trace t = {0};
  CHECK(run(&tv_model, &w, ELBO_ACCELERATE_AUTO, 2000, &t, &result) == ELBO_OK);
  CHECK(fabs(w.tau) < 1e-5);
  CHECK_CLOSE(result.objective, -25.0 * 0.7, 1e-9);
}

static int tv_propose_early(void *work, int from) {
  two_variances *w = (two_variances *)work;
  if (from > 0 || w->tau == 0.0 || fabs(w->tau) > 0.1) return -1;
  w->tau = 0.0;
  return 0;
}

/* Without second derivatives an ascent comes near the boundary and is put onto it all the same. */
static void test_boundary_without_newton(void) {
  elbo_model model = tv_model;
  model.schedule.second_order = ELBO_SECOND_ORDER_NONE;
  model.propose = tv_propose_early;
  for (int accelerate = ELBO_ACCELERATE_SQUAREM; accelerate <= ELBO_ACCELERATE_AUTO; accelerate++) {
    two_variances w = {50, 0.7, 3.0, 0.0, 0.0};
    elbo_result result;
    CHECK(run(&model, &w, (elbo_accelerate)accelerate, 2000, NULL, &result) == ELBO_OK);
    CHECK(w.tau == 0.0);
    CHECK_CLOSE(result.objective, -25.0 * 0.7, 1e-14);
  }
}

/* A model whose parameters are all given has nothing to climb. */
static elbo_status settled_hessian(void *work, double *value, double *gradient, double *hessian) {
  (void)gradient;
  (void)hessian;
  return tv_log_evidence(work, value);
}

static elbo_status settled_unpack(void *work, const double *eta) {
  (void)work;
  (void)eta;
  return ELBO_OK;
}

static void settled_pack(void *work, double *eta) {
  (void)work;
  (void)eta;
}

static void test_nothing_free(void) {
  elbo_model model = tv_model;
  model.n_eta = 0;
  model.m_step = no_step;
  model.objective.hessian = settled_hessian;
  model.pack = settled_pack;
  model.unpack = settled_unpack;
  for (int accelerate = 0; accelerate <= ELBO_ACCELERATE_AUTO; accelerate++) {
    two_variances w = {50, 1.3, 0.5, 0.0, 0.0};
    elbo_result result;
    CHECK(run(&model, &w, (elbo_accelerate)accelerate, 100, NULL, &result) == ELBO_OK);
    CHECK_CLOSE(result.objective, -25.0 * (log(1.25) + 1.3 / 1.25), 1e-14);
    CHECK(result.gradient == 0.0 && result.gain == 0.0);
  }
}

int main(void) {
  test_quadratic();
  test_gain();
  test_near_hessian();
  test_saddle();
  test_halving();
  test_extrapolation_too_far();
  test_flat();
  test_refused_points();
  test_descent();
  test_rounding();
  test_not_finite();
  test_max_iter();
  test_stop();
  test_em();
  test_em_boundary();
  test_boundary_without_newton();
  test_nothing_free();
  return FINISH();
}
