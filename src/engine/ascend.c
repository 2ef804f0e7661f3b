/* The one ascent driver.  It climbs a model's objective by coordinate steps (E, M), by squared
 * extrapolation of them, by quasi-Newton steps and by Newton's method on the exact score, whichever
 * model it is, and says why it stopped.
 *
 *   accelerate none     E and M
 *              squarem  three EM maps a cycle, the extrapolation kept only if the objective rises
 *              auto     as the model's schedule has it
 *
 * With second derivatives an ascent ends where max_j |g_j| se_j < tol.  Where they cost too much it
 * ends where the gain still to come is below tol, by the metric of quasi-Newton steps or by the
 * rate at which the last EM steps gained.  A coordinate step that lowers the ELBO beyond its
 * rounding, which the model tells, is an error: it means that a formula is wrong. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "engine/ascent.h"
#include "engine/newton_cg.h"
#include "math/la.h"

enum { CYCLES_FIRST = 50, CYCLES_BETWEEN = 5, ATTEMPTS = 2, VECTORS = 12 };

static const double CONFIRMING = 0.25; /* of the passes so far */

static int has_matrices(const elbo_model *m) {
  return m->schedule.second_order == ELBO_SECOND_ORDER_DENSE || m->objective.metric != NULL;
}

size_t elbo_ascend_size(const elbo_model *model) {
  const size_t n = (size_t)model->n_eta;
  const size_t matrices = has_matrices(model) ? 3 * n * n + la_eigen_size(model->n_eta) : 0;
  const size_t products =
      model->schedule.second_order == ELBO_SECOND_ORDER_PRODUCT ? newton_cg_size(model->n_eta) : 0;
  const size_t pairs = model->objective.natural ? pairs_size(model->n_eta) : 0;
  return matrices + products + pairs + ascent_anderson_size(model) + VECTORS * (n + 1);
}

/* ---- products of the Hessian ----------------------------------------------------------------- */

static elbo_status product_value(void *work, const double *eta, double *value) {
  return ascent_move_to(work, eta, value);
}

static elbo_status product_gradient(void *work, const double *eta, double *gradient) {
  const ascent *a = work;
  const elbo_status status = a->model->unpack(a->work, eta);
  return status == ELBO_OK ? a->model->objective.gradient(a->work, gradient) : status;
}

static elbo_status product(void *work, const double *v, double *out) {
  const ascent *a = work;
  return a->model->objective.product(a->work, v, out);
}

static elbo_status precondition(void *work, const double *v, double *out) {
  const ascent *a = work;
  return a->model->objective.precondition(a->work, v, out);
}

static int poll(void *ctx) { return ascent_stop_requested(ctx); }

static void trace(void *ctx, int iteration, elbo_step step, double value, double evidence,
                  double kl) {
  const ascent *a = ctx;
  if (a->hooks && a->hooks->trace)
    a->hooks->trace(a->hooks->ctx, a->result->iterations + iteration, step, value, evidence, kl);
}

static elbo_status climb_by_products(ascent *a) {
  const elbo_model *m = a->model;
  const newton_cg_objective f = {.n = m->n_eta,
                                 .value = product_value,
                                 .gradient = product_gradient,
                                 .product = product,
                                 .precondition = m->objective.precondition ? precondition : NULL};
  const newton_cg_control control = {.tol = a->control->tol,
                                     .max_iter = a->control->max_iter - a->result->iterations};
  const elbo_hooks hooks = {poll, trace, a};
  newton_cg_result result;
  if (m->anchor) m->anchor(a->work);
  m->pack(a->work, a->eta);
  const elbo_status ended = newton_cg(&f, a, &control, &hooks, a->eta, a->products, &result);
  a->result->iterations += result.iterations;
  a->result->newton += result.iterations;
  a->result->gain = result.gain;
  elbo_status status = m->unpack(a->work, a->eta);
  if (status == ELBO_OK) status = m->e_step(a->work);
  a->elbo = result.value;
  return status == ELBO_OK ? ended : status;
}

/* ---- the schedule ---------------------------------------------------------------------------- */

/* Where derivatives cost no more than a step of EM, they tell its end. */
static elbo_status climb_by_em(ascent *a) {
  for (;;) {
    double value;
    int at_maximum;
    elbo_status status = ascent_examine(a, &value, &at_maximum);
    if (status != ELBO_OK) return status;
    if (at_maximum) return ELBO_OK;
    if (ascent_exhausted(a)) return ELBO_MAX_ITER;
    if (ascent_stop_requested(a)) return ELBO_STOPPED;
    status =
        a->control->accelerate == ELBO_ACCELERATE_SQUAREM ? ascent_squarem(a) : ascent_em_step(a);
    if (status != ELBO_OK) return status;
  }
}

/* Scores tell more of the Hessian than the model's own steps do, but are no guide near the boundary
 * of the parameter space, and are not known of every model. */
static elbo_status by_metrics(ascent *a, double enough) {
  const elbo_objective *f = &a->model->objective;
  elbo_status status = ELBO_E_RANK;
  a->by_pairs = 0;
  if (f->metric) status = ascent_quasi_newton(a, enough);
  if (status != ELBO_E_RANK) return status;
  a->by_pairs = 1;
  if (f->natural) status = ascent_quasi_newton(a, enough);
  if (status == ELBO_E_RANK) a->result->gradient = NAN; /* by a metric that is no guide */
  return status;
}

/* Until no more than `enough` is to be gained; by quasi-Newton steps, which end at rounding,
 * `closely`.  Where their metric is no guide SQUAREM goes on, and they are tried again. */
static elbo_status climb_until(ascent *a, double enough, double closely) {
  const elbo_schedule *schedule = &a->model->schedule;
  const int most = closely < enough ? CYCLES_FIRST : INT_MAX;
  elbo_status status;
  const elbo_objective *f = &a->model->objective;
  const int accelerated = a->control->accelerate == ELBO_ACCELERATE_AUTO;
  if (accelerated && schedule->memory > 0) return ascent_anderson(a, enough);
  if (!accelerated || (!f->metric && !f->natural)) return ascent_by_gain(a, enough, most);
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    status = attempt == 0 ? ascent_em(a, schedule->em_first, a->control->tol)
                          : ascent_by_gain(a, enough, CYCLES_BETWEEN);
    if (status != ELBO_OK || (attempt > 0 && a->to_come <= enough)) return status;
    status = by_metrics(a, closely);
    if (status != ELBO_E_RANK) return status;
  }
  return ascent_by_gain(a, enough, most);
}

/* g' I^{-1} g / 2 that is too little for a scaled gradient of tol. */
static double close_to(const ascent *a) { return 0.005 * a->control->tol * a->control->tol; }

/* A Hessian by differences reads the data twice for each parameter.  Where quasi-Newton steps have
 * ended within tol it only confirms, which is not worth more than a part of what was spent. */
static int worth_confirming(const ascent *a) {
  if (!a->model->passes) return 1;
  const double spent = a->control->spent + a->model->passes(a->work);
  return 2.0 * a->model->n_eta <= CONFIRMING * spent;
}

/* With a dense Hessian that costs more than a step does: one, at a point from which quasi-Newton
 * steps lead on, does what Newton's method needs several for. */
static elbo_status end_by_hessian(ascent *a) {
  const elbo_objective *f = &a->model->objective;
  if (a->model->schedule.em_until == HUGE_VAL || !f->gradient) return ascent_newton(a);
  if (a->result->gradient < a->control->tol)
    return worth_confirming(a) ? ascent_newton(a) : ELBO_OK;
  a->by_hessian = 1;
  a->by_pairs = 0;
  const elbo_status status = ascent_quasi_newton(a, close_to(a));
  if (status == ELBO_E_RANK) return ascent_newton(a);
  return status == ELBO_OK && !(a->result->gradient < a->control->tol) ? ascent_newton(a) : status;
}

static elbo_status to_the_end(ascent *a) {
  const elbo_second_order order = a->model->schedule.second_order;
  if (order == ELBO_SECOND_ORDER_NONE || a->control->first_order)
    return climb_until(a, a->control->tol, a->control->tol);
  return order == ELBO_SECOND_ORDER_DENSE ? end_by_hessian(a) : climb_by_products(a);
}

/* On the boundary the objective is another: even in what is zero. */
static int settle(ascent *a) {
  const int moved = elbo_settle(a->model, a->work, a->eta);
  if (!moved) return 0;
  a->result->gradient = NAN;
  if (has_matrices(a->model)) ascent_forget_hessian(a);
  return 1;
}

static elbo_status climb(ascent *a) {
  const elbo_model *m = a->model;
  const int derivatives =
      m->schedule.second_order != ELBO_SECOND_ORDER_NONE && !a->control->first_order;
  const int cheap = derivatives && m->schedule.em_until == HUGE_VAL;
  elbo_status status = ELBO_OK;
  if (a->control->accelerate != ELBO_ACCELERATE_AUTO) {
    if (cheap && m->schedule.second_order == ELBO_SECOND_ORDER_DENSE) return climb_by_em(a);
    status = climb_until(a, a->control->tol, a->control->tol);
    if (status == ELBO_OK && settle(a)) status = climb_until(a, a->control->tol, a->control->tol);
    return status;
  }
  if (cheap) {
    status = ascent_em(a, m->schedule.em_first, -1.0);
    if (status == ELBO_MAX_ITER) status = ELBO_OK; /* Newton's method says how far it is */
  } else if (derivatives) {
    /* Quasi-Newton steps are cheap beside a Hessian, which then has only to confirm. */
    status = climb_until(a, m->schedule.em_until, close_to(a));
    if (status == ELBO_OK) settle(a);
  }
  if (status == ELBO_OK) status = to_the_end(a);
  if (status == ELBO_OK && settle(a)) status = to_the_end(a);
  return status;
}

/* ---- driver ---------------------------------------------------------------------------------- */

elbo_status elbo_ascend(const elbo_model *model, void *work, const elbo_control *control,
                        const elbo_hooks *hooks, double *memory, elbo_result *result) {
  const size_t n = (size_t)model->n_eta;
  ascent a = {.model = model,
              .work = work,
              .control = control,
              .hooks = hooks,
              .result = result,
              .elbo = -HUGE_VAL};
  double **vector[VECTORS] = {&a.gradient, &a.values,        &a.eta,     &a.eta1,
                              &a.eta2,     &a.step,          &a.rotated, &a.size,
                              &a.last_eta, &a.last_gradient, &a.natural, &a.natural1};
  memset(result, 0, sizeof *result);
  for (size_t i = 0; i < VECTORS; i++, memory += n + 1) *vector[i] = memory;
  memset(a.size, 0, n * sizeof(double));
  a.memory = memory;
  memory += ascent_anderson_size(model);
  a.hessian = memory;
  a.vectors = has_matrices(model) ? memory + n * n : NULL;
  a.missing = has_matrices(model) ? a.vectors + n * n : NULL;
  a.eigen_work = has_matrices(model) ? a.missing + n * n : NULL;
  a.products = has_matrices(model) ? a.eigen_work + la_eigen_size(model->n_eta) : memory;
  if (has_matrices(model)) ascent_forget_hessian(&a);
  a.pairs = a.products + (model->schedule.second_order == ELBO_SECOND_ORDER_PRODUCT
                              ? newton_cg_size(model->n_eta)
                              : 0);
  result->gradient = result->movement = NAN;

  elbo_status status = model->e_step(work);
  if (status == ELBO_OK) status = ascent_record(&a, ELBO_STEP_START, 0);
  if (status == ELBO_OK) status = climb(&a);
  result->passes = model->passes ? model->passes(work) : 0.0;
  result->status = status;
  result->objective = a.elbo;
  return status;
}
