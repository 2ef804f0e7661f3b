/* The one ascent driver.  It climbs a model's objective by coordinate steps (E, M), by squared
 * extrapolation of them (Varadhan & Roland 2008, Scand. J. Stat. 35:335), and by Newton's method on
 * the exact score, whichever model it is, and says why it stopped.
 *
 *   accelerate none     E and M
 *              squarem  three EM maps a cycle, the extrapolation kept only if the objective rises
 *              auto     EM to leave a poor start (a few steps, or SQUAREM until little is left to
 *                       gain, as the model says), then Newton to the end
 *
 * With second derivatives an ascent ends where max_j |g_j| se_j < tol, se from the observed
 * information, and no direction is left in which the objective is convex.  Where they cost too much
 * it ends where the gain still to come, by the rate at which the last EM steps gained, is below
 * tol.  A coordinate step that lowers the ELBO beyond its rounding, which the model tells, is an
 * error: it means that a formula is wrong. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "engine/engine.h"
#include "math/la.h"

enum { EM_STEPS_FIRST = 5, CYCLES_FIRST = 50, HALVINGS = 40 };

typedef struct {
  const elbo_model *model;
  void *work;
  const elbo_control *control;
  const elbo_hooks *hooks;
  elbo_result *result;
  double elbo;     /* at the last half-step */
  double rounding; /* of it */
  double em_gain;  /* of the last EM step, and by their rate of all that would follow it */
  double em_to_come;
  double *gradient, *hessian, *vectors, *values, *eigen_work;
  double *eta, *eta1, *eta2, *step, *rotated;
} ascent;

size_t elbo_ascend_size(const elbo_model *model) {
  const size_t n = (size_t)model->n_eta;
  const size_t second_order =
      model->newton_from > 0.0 ? 2 * n * n + la_eigen_size(model->n_eta) : 0;
  return second_order + 7 * n + 7;
}

/* ---- recording ------------------------------------------------------------------------------- */

static elbo_status record(ascent *a, elbo_step step, int rises) {
  const elbo_model *m = a->model;
  double value, evidence = NAN, kl = NAN;
  elbo_status status = m->elbo(a->work, &value);
  const int told = a->hooks != NULL && a->hooks->trace != NULL;
  if (told && status == ELBO_OK && m->log_evidence) status = m->log_evidence(a->work, &evidence);
  if (told && status == ELBO_OK && m->kl) status = m->kl(a->work, &kl);
  if (status != ELBO_OK) return status;
  if (told) a->hooks->trace(a->hooks->ctx, a->result->iterations, step, value, evidence, kl);
  const double before = a->rounding;
  a->rounding = m->rounding ? m->rounding(a->work) : 1e-9 * (1.0 + fabs(value));
  if (rises && value < a->elbo - fmax(before, a->rounding)) return ELBO_E_DESCENT;
  a->elbo = value;
  return ELBO_OK;
}

static int stop_requested(const ascent *a) {
  return a->hooks && a->hooks->poll && a->hooks->poll(a->hooks->ctx) != 0;
}

static int exhausted(const ascent *a) { return a->result->iterations >= a->control->max_iter; }

/* ---- steps ----------------------------------------------------------------------------------- */

/* Of a sequence that gains by the rate rho what follows a gain g sums to g rho / (1 - rho); with
 * rho = 1 or more there is no telling.  A gain within rounding of the objective tells no more. */
static void foresee(ascent *a, double gain) {
  const double rounding = 1e-14 * (1.0 + fabs(a->elbo));
  if (gain <= rounding)
    a->em_to_come = fmax(gain, 0.0);
  else
    a->em_to_come = gain < a->em_gain ? gain * gain / (a->em_gain - gain) : HUGE_VAL;
  a->em_gain = gain;
}

static elbo_status em_step(ascent *a) {
  const double before = a->elbo;
  a->result->iterations++;
  a->result->em++;
  elbo_status status = a->model->m_step(a->work);
  if (status == ELBO_OK) status = record(a, a->model->m_name, 1);
  if (status == ELBO_OK) status = a->model->e_step(a->work);
  if (status == ELBO_OK) status = record(a, a->model->e_name, 1);
  if (status == ELBO_OK) foresee(a, a->elbo - before);
  return status;
}

/* The objective at eta, theta and q exact there. */
static elbo_status move_to(ascent *a, const double *eta, double *value) {
  elbo_status status = a->model->unpack(a->work, eta);
  if (status == ELBO_OK) status = a->model->derivatives(a->work, value, NULL, NULL);
  return status;
}

static int all_finite(const double *x, int n) {
  for (int i = 0; i < n; i++)
    if (!isfinite(x[i])) return 0;
  return 1;
}

/* Spectrum of the observed information at the current point; fills result->gradient and gain, and
 * says whether this is a maximum within tol. */
static elbo_status examine(ascent *a, double *value, int *at_maximum) {
  const int n = a->model->n_eta;
  if (a->model->anchor) a->model->anchor(a->work);
  const elbo_status status = a->model->derivatives(a->work, value, a->gradient, a->hessian);
  if (status != ELBO_OK) return status;
  if (!all_finite(a->gradient, n) || !all_finite(a->hessian, n * n)) return ELBO_E_NOT_FINITE;
  for (int i = 0; i < n * n; i++) a->vectors[i] = -a->hessian[i];
  /* Units of eta differ (a slope's sd, a log sd), so the spectrum is taken with unit diagonal. */
  double *unit = a->step;
  for (int i = 0; i < n; i++) {
    const double d = fabs(a->vectors[i * (n + 1)]);
    unit[i] = d > 0.0 ? 1.0 / sqrt(d) : 1.0;
  }
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) a->vectors[i + n * j] *= unit[i] * unit[j];
  if (la_eigen(a->vectors, n, a->values, a->eigen_work) != ELBO_OK) return ELBO_E_NOT_FINITE;
  const double largest = n > 0 ? fmax(fabs(a->values[0]), fabs(a->values[n - 1])) : 0.0;
  double gain = 0.0;
  int convex = 0;
  for (int k = 0; k < n; k++) {
    a->rotated[k] = 0.0;
    for (int i = 0; i < n; i++) a->rotated[k] += a->vectors[i + n * k] * unit[i] * a->gradient[i];
    if (a->values[k] < -1e-8 * largest) convex = 1;
    /* A flat direction has no standard error; its gradient is rounding. */
    if (fabs(a->values[k]) > 1e-10 * largest)
      gain += 0.5 * a->rotated[k] * a->rotated[k] / fabs(a->values[k]);
  }
  double scaled = 0.0;
  for (int j = 0; j < n; j++) {
    double variance = 0.0;
    for (int k = 0; k < n; k++)
      if (fabs(a->values[k]) > 1e-10 * largest)
        variance += a->vectors[j + n * k] * a->vectors[j + n * k] / fabs(a->values[k]);
    scaled = fmax(scaled, fabs(a->gradient[j]) * unit[j] * sqrt(variance));
  }
  a->result->gradient = scaled;
  a->result->gain = gain;
  *at_maximum = !convex && scaled < a->control->tol;
  /* The step of Newton's method with the absolute spectrum (an ascent direction always); along a
   * convex direction without slope, a step is due all the same. */
  for (int i = 0; i < n; i++) a->eta1[i] = 0.0;
  for (int k = 0; k < n; k++) {
    const double size = fmax(fabs(a->values[k]), 1e-10 * largest);
    double along = size > 0.0 ? a->rotated[k] / size : 0.0;
    if (a->values[k] < -1e-8 * largest && fabs(along) < 1e-3) along = along < 0.0 ? -1e-1 : 1e-1;
    if (fabs(a->values[k]) <= 1e-10 * largest) along = 0.0;
    for (int i = 0; i < n; i++) a->eta1[i] += a->vectors[i + n * k] * along;
  }
  /* Less than rounding of a standard error is no step: what was put at zero stays there. */
  for (int i = 0; i < n; i++) a->step[i] = fabs(a->eta1[i]) < 1e-14 ? 0.0 : unit[i] * a->eta1[i];
  return ELBO_OK;
}

/* One Newton step with halving, from the spectrum that examine() left.  *moved says whether the
 * objective rose. */
static elbo_status newton_step(ascent *a, double value, int *moved) {
  const int n = a->model->n_eta;
  double next = value, factor = 1.0;
  a->model->pack(a->work, a->eta);
  *moved = 0;
  for (int h = 0; h < HALVINGS && !*moved; h++, factor *= 0.5) {
    for (int i = 0; i < n; i++) a->eta1[i] = a->eta[i] + factor * a->step[i];
    if (move_to(a, a->eta1, &next) != ELBO_OK) continue;
    *moved = next > value;
    /* The last steps gain less than rounding shows; the whole step is right there. */
    if (!*moved && h == 0 && a->result->gain < a->rounding && fabs(next - value) < a->rounding)
      *moved = 1;
  }
  if (!*moved) return a->model->unpack(a->work, a->eta);
  a->result->iterations++;
  a->result->newton++;
  const elbo_status status = a->model->e_step(a->work);
  return status == ELBO_OK ? record(a, ELBO_STEP_NEWTON, 0) : status;
}

static elbo_status newton(ascent *a) {
  double best_gradient = HUGE_VAL;
  int stalled = 0, polished = 0;
  for (int steps = 0;; steps++) {
    double value;
    int at_maximum, moved;
    elbo_status status = examine(a, &value, &at_maximum);
    if (status != ELBO_OK) return status;
    /* One step more than tol asks for: convergence is quadratic, so it ends at rounding, and all of
     * theta and q are at their best for eta. */
    if (at_maximum && steps > 0 && (polished || a->result->gradient < 1e-13)) return ELBO_OK;
    polished = at_maximum;
    if (exhausted(a)) return ELBO_MAX_ITER;
    if (stop_requested(a)) return ELBO_STOPPED;
    /* Near the end the objective no longer tells steps apart: the gradient does, if anything. */
    const int near =
        a->result->gradient < 1e-6 || (a->model->rounding != NULL && a->result->gain < a->rounding);
    if (near) {
      stalled = a->result->gradient > 0.5 * best_gradient ? stalled + 1 : 0;
      if (stalled > 2) return ELBO_OK;
      best_gradient = fmin(best_gradient, a->result->gradient);
    }
    status = newton_step(a, value, &moved);
    if (status != ELBO_OK) return status;
    if (moved) continue;
    if (near) return ELBO_OK;
    /* A maximum with an edge, as where a prior falls from zero on, is on the boundary itself. */
    if (a->model->settle && a->model->settle(a->work)) continue;
    /* A coordinate step needs no derivatives: it may lead out of where they mislead. */
    status = em_step(a);
    if (status != ELBO_OK) return status;
    if (a->em_gain <= a->rounding) return ELBO_STOPPED;
  }
}

/* One cycle of SQUAREM: eta, F(eta), F(F(eta)), the extrapolation with step length -|r| / |v|,
 * drawn back towards F(F(eta)) until the objective does not fall. */
static elbo_status squarem_cycle(ascent *a) {
  const int n = a->model->n_eta;
  double value, before, r2 = 0.0, v2 = 0.0;
  if (a->model->anchor) a->model->anchor(a->work);
  a->model->pack(a->work, a->eta);
  elbo_status status = em_step(a);
  a->model->pack(a->work, a->eta1);
  if (status == ELBO_OK) status = em_step(a);
  a->model->pack(a->work, a->eta2);
  if (status == ELBO_OK) status = a->model->derivatives(a->work, &before, NULL, NULL);
  if (status != ELBO_OK) return status;
  for (int i = 0; i < n; i++) {
    const double r = a->eta1[i] - a->eta[i], v = a->eta2[i] - a->eta1[i] - r;
    r2 += r * r;
    v2 += v * v;
  }
  double alpha = v2 > 0.0 ? -sqrt(r2 / v2) : -1.0;
  int accepted = 0;
  for (int h = 0; h < 8 && alpha < -1.0 && !accepted; h++, alpha = 0.5 * (alpha - 1.0)) {
    for (int i = 0; i < n; i++) {
      const double r = a->eta1[i] - a->eta[i], v = a->eta2[i] - a->eta1[i] - r;
      a->step[i] = a->eta[i] - 2.0 * alpha * r + alpha * alpha * v;
    }
    accepted = move_to(a, a->step, &value) == ELBO_OK && value >= before;
  }
  if (!accepted) status = a->model->unpack(a->work, a->eta2);
  if (status == ELBO_OK) status = a->model->e_step(a->work);
  if (status != ELBO_OK || !accepted) return status;
  a->result->iterations++;
  a->result->squarem++;
  status = record(a, ELBO_STEP_SQUAREM, 1);
  return status == ELBO_OK ? em_step(a) : status; /* an EM step stabilises the extrapolation */
}

/* EM, plain or accelerated, until no more than `enough` is to be gained. */
static elbo_status climb_by_gain(ascent *a, double enough, int most_cycles) {
  const int accelerated = a->control->accelerate != ELBO_ACCELERATE_NONE && a->model->pack != NULL;
  a->em_gain = 0.0;
  a->em_to_come = HUGE_VAL;
  for (int cycle = 0; a->em_to_come > enough && cycle < most_cycles; cycle++) {
    if (exhausted(a)) return ELBO_MAX_ITER;
    if (stop_requested(a)) return ELBO_STOPPED;
    const elbo_status status = accelerated && cycle > 0 ? squarem_cycle(a) : em_step(a);
    if (status != ELBO_OK) return status;
    a->result->gain = a->em_to_come;
  }
  return ELBO_OK;
}

static elbo_status climb_by_em(ascent *a) {
  for (;;) {
    double value;
    int at_maximum;
    elbo_status status = examine(a, &value, &at_maximum);
    if (status != ELBO_OK) return status;
    if (at_maximum) return ELBO_OK;
    if (exhausted(a)) return ELBO_MAX_ITER;
    if (stop_requested(a)) return ELBO_STOPPED;
    status = a->control->accelerate == ELBO_ACCELERATE_SQUAREM ? squarem_cycle(a) : em_step(a);
    if (status != ELBO_OK) return status;
  }
}

static elbo_status climb(ascent *a) {
  const elbo_model *m = a->model;
  const int by_newton = a->control->accelerate == ELBO_ACCELERATE_AUTO && m->newton_from > 0.0;
  if (!by_newton && m->newton_from == HUGE_VAL) return climb_by_em(a);
  if (!by_newton) {
    elbo_status status = climb_by_gain(a, a->control->tol, INT_MAX);
    if (status == ELBO_OK && m->settle && m->settle(a->work))
      status = climb_by_gain(a, a->control->tol, INT_MAX);
    return status;
  }
  elbo_status status = ELBO_OK;
  if (m->newton_from == HUGE_VAL) {
    for (int i = 0; i < EM_STEPS_FIRST && status == ELBO_OK && !exhausted(a); i++) {
      if (stop_requested(a)) status = ELBO_STOPPED;
      if (status == ELBO_OK) status = em_step(a);
    }
  } else {
    status = climb_by_gain(a, m->newton_from, CYCLES_FIRST);
    if (status == ELBO_OK && m->settle) m->settle(a->work);
  }
  if (status == ELBO_OK) status = newton(a);
  if (status == ELBO_OK && m->settle && m->settle(a->work)) status = newton(a);
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
  double **vector[] = {&a.gradient, &a.values, &a.eta, &a.eta1, &a.eta2, &a.step, &a.rotated};
  memset(result, 0, sizeof *result);
  for (size_t i = 0; i < sizeof vector / sizeof *vector; i++, memory += n + 1) *vector[i] = memory;
  if (model->newton_from > 0.0) {
    a.hessian = memory;
    a.vectors = a.hessian + n * n;
    a.eigen_work = a.vectors + n * n;
  }

  result->gradient = NAN;

  elbo_status status = model->e_step(work);
  if (status == ELBO_OK) status = record(&a, ELBO_STEP_START, 0);
  if (status == ELBO_OK) status = climb(&a);
  result->status = status;
  result->objective = a.elbo;
  return status;
}
