/* Trust-region Newton by conjugate gradients.  With B = -H and gradient g a step s is sought that
 * gains much of  g's - s'Bs / 2  within  s'Ms <= radius^2;  the iterates of conjugate gradients
 * grow in that length, so that the first to leave the radius is cut there, and a direction in which
 * the objective is convex is followed to it. */
#include "engine/newton_cg.h"

#include <math.h>
#include <string.h>

#include "math/small.h"

enum { VECTORS = 7, DRAWN_BACK = 30 };

typedef struct {
  const newton_cg_objective *f;
  void *work;
  const newton_cg_control *control;
  const elbo_hooks *hooks;
  newton_cg_result *result;
  double *x, *trial, *gradient, *step, *residual, *direction, *solved, *product;
  double radius, rounding, first_gradient;
  double length, predicted, slope; /* of the step: sqrt(s'Ms), g's - s'Bs/2, g's */
  int inside;                      /* the step ended on its own: no edge, no convex direction */
} search;

size_t newton_cg_size(int n) { return VECTORS * (size_t)n; }

static int stop_requested(const search *s) {
  return s->hooks && s->hooks->poll && s->hooks->poll(s->hooks->ctx) != 0;
}

static elbo_status value_at(search *s, const double *x, double *value) {
  s->result->values++;
  const elbo_status status = s->f->value(s->work, x, value);
  s->rounding = s->f->rounding ? s->f->rounding(s->work) : 1e-14 * (1.0 + fabs(*value));
  return status == ELBO_OK && !isfinite(*value) ? ELBO_E_NOT_FINITE : status;
}

/* solved = M^{-1} residual, and *square = residual' M^{-1} residual. */
static elbo_status precondition(search *s, double *length_squared) {
  const int n = s->f->n;
  elbo_status status = ELBO_OK;
  if (s->f->precondition)
    status = s->f->precondition(s->work, s->residual, s->solved);
  else
    memcpy(s->solved, s->residual, (size_t)n * sizeof(double));
  *length_squared = dot(s->residual, s->solved, n);
  return status == ELBO_OK && !(*length_squared >= 0.0 && isfinite(*length_squared))
             ? ELBO_E_NOT_FINITE
             : status;
}

/* The gradient at x; the step starts from nothing, its residual is the gradient. */
static elbo_status look(search *s, double *length_squared) {
  s->result->gradients++;
  elbo_status status = s->f->gradient(s->work, s->x, s->gradient);
  if (status != ELBO_OK) return status;
  memcpy(s->residual, s->gradient, (size_t)s->f->n * sizeof(double));
  status = precondition(s, length_squared);
  s->result->gradient = sqrt(fmax(*length_squared, 0.0));
  return status;
}

/* The larger root tau of |step + tau direction| = radius, from s'Ms, s'Md and d'Md. */
static double to_edge(double ss, double sd, double dd, double radius) {
  const double missing = fmax(radius * radius - ss, 0.0), root = sqrt(sd * sd + dd * missing);
  return sd > 0.0 ? missing / (sd + root) : (root - sd) / dd;
}

/* The step, from the gradient that look() left, zz = its squared length. */
static elbo_status find_step(search *s, double zz) {
  const int n = s->f->n, most = s->control->max_products > 0 ? s->control->max_products : n + 10;
  const double first = sqrt(zz);
  /* Superlinear in the end, and no dearer than needed before (Dembo, Eisenstat & Steihaug 1982). */
  const double enough = first * fmin(0.1, sqrt(first / s->first_gradient));
  double ss = 0.0, sd = 0.0, dd = zz;
  memset(s->step, 0, (size_t)n * sizeof(double));
  memcpy(s->direction, s->solved, (size_t)n * sizeof(double));
  s->predicted = 0.0;
  s->inside = 0;
  for (int i = 0; i < most; i++) {
    if (stop_requested(s)) return ELBO_STOPPED;
    s->result->products++;
    elbo_status status = s->f->product(s->work, s->direction, s->product);
    if (status != ELBO_OK) return status;
    const double curvature = -dot(s->direction, s->product, n); /* d'Bd */
    if (!isfinite(curvature)) return ELBO_E_NOT_FINITE;
    const double alpha = curvature > 0.0 ? zz / curvature : HUGE_VAL;
    if (!(s->radius > 0.0)) s->radius = sqrt(dd) * (curvature > 0.0 ? 10.0 * alpha : 1.0);
    const double further = ss + 2.0 * alpha * sd + alpha * alpha * dd;
    const int edge = !(further < s->radius * s->radius);
    const double tau = edge ? to_edge(ss, sd, dd, s->radius) : alpha;
    for (int j = 0; j < n; j++) s->step[j] += tau * s->direction[j];
    s->predicted += tau * zz - 0.5 * tau * tau * curvature;
    s->length = edge ? s->radius : sqrt(further);
    if (edge) break;
    for (int j = 0; j < n; j++) s->residual[j] += tau * s->product[j];
    const double before = zz;
    status = precondition(s, &zz);
    if (status != ELBO_OK) return status;
    s->inside = sqrt(zz) <= enough;
    if (s->inside) break;
    const double beta = zz / before;
    for (int j = 0; j < n; j++) s->direction[j] = s->solved[j] + beta * s->direction[j];
    sd = beta * (sd + alpha * dd);
    dd = zz + beta * beta * dd;
    ss = further;
  }
  s->slope = dot(s->gradient, s->step, n);
  return ELBO_OK;
}

/* x + step to x where the objective rises by a fair part of what was predicted, the step drawn back
 * to the maximum of a parabola through what is known along it until it does. */
static elbo_status take_step(search *s, double *value, int *moved) {
  const int n = s->f->n;
  const double curved = s->predicted - s->slope; /* -s'Bs / 2 */
  double factor = 1.0;
  *moved = 0;
  for (int tries = 0; tries < DRAWN_BACK && !*moved; tries++) {
    const double expected = factor * (s->slope + factor * curved), kept = s->rounding;
    double next = NAN;
    for (int j = 0; j < n; j++) s->trial[j] = s->x[j] + factor * s->step[j];
    const int inside = value_at(s, s->trial, &next) == ELBO_OK;
    const double gained = next - *value, rounding = inside ? fmax(kept, s->rounding) : kept;
    const double ratio = inside ? gained / expected : -1.0;
    /* The last steps gain less than rounding shows; the whole step is right there. */
    const int silent = inside && tries == 0 && expected <= rounding && fabs(gained) <= rounding;
    if (ratio > 1e-4 || silent) {
      *moved = 1;
      memcpy(s->x, s->trial, (size_t)n * sizeof(double));
      *value = next;
      if (ratio < 0.25 && !silent) s->radius = 0.5 * factor * s->length;
      if (ratio > 0.75 && tries == 0 && !s->inside) s->radius = fmax(s->radius, 3.0 * s->length);
      return ELBO_OK;
    }
    s->rounding = kept;
    const double along = factor * s->slope;
    const double best = inside ? 0.5 * along / (along - gained) : 0.25;
    factor *= fmin(fmax(best, 0.1), 0.5);
    s->radius = factor * s->length;
  }
  return ELBO_OK;
}

static elbo_status climb(search *s) {
  newton_cg_result *r = s->result;
  double zz, best = HUGE_VAL;
  int stalled = 0, last = 0;
  elbo_status status = value_at(s, s->x, &r->value);
  if (status == ELBO_OK) status = look(s, &zz);
  if (status != ELBO_OK) return ELBO_E_NOT_FINITE;
  s->first_gradient = r->gradient;
  for (;;) {
    if (zz == 0.0) r->gain = 0.0;
    if (zz == 0.0 || last || stalled > 2) return ELBO_OK;
    if (r->iterations >= s->control->max_iter) return ELBO_MAX_ITER;
    status = find_step(s, zz);
    if (status != ELBO_OK) return status;
    r->gain = s->predicted;
    /* The step that gains less than tol is taken all the same: it ends at rounding. */
    last = s->inside && r->gain <= s->control->tol;
    const double rounding = s->rounding;
    int moved;
    status = take_step(s, &r->value, &moved);
    if (status != ELBO_OK) return status;
    if (!moved) return last || r->gain <= rounding ? ELBO_OK : ELBO_STOPPED;
    r->iterations++;
    if (s->hooks && s->hooks->trace)
      s->hooks->trace(s->hooks->ctx, r->iterations, ELBO_STEP_NEWTON, r->value, NAN, NAN);
    status = look(s, &zz);
    if (status != ELBO_OK) return status;
    /* Near the end the objective no longer tells steps apart: the gradient does, if anything. */
    if (r->gain <= rounding) stalled = r->gradient > 0.5 * best ? stalled + 1 : 0;
    best = fmin(best, r->gradient);
  }
}

elbo_status newton_cg(const newton_cg_objective *objective, void *work,
                      const newton_cg_control *control, const elbo_hooks *hooks, double *x,
                      double *memory, newton_cg_result *result) {
  search s = {.f = objective,
              .work = work,
              .control = control,
              .hooks = hooks,
              .result = result,
              .x = x,
              .radius = control->radius};
  double **vector[VECTORS] = {&s.trial,     &s.gradient, &s.step,   &s.residual,
                              &s.direction, &s.solved,   &s.product};
  for (int i = 0; i < VECTORS; i++, memory += objective->n) *vector[i] = memory;
  memset(result, 0, sizeof *result);
  result->value = result->gain = result->gradient = NAN;
  result->status = climb(&s);
  return result->status;
}
