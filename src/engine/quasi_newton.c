/* Quasi-Newton steps on the exact score.  The first metric is the model's, the sum of outer
 * products of its units' scores, which is near minus the Hessian at a maximum and positive definite
 * anywhere (Berndt, Hall, Hall & Hausman 1974), or near the end minus the Hessian itself; its
 * inverse is then bent by what each step shows of the curvature (BFGS: Nocedal & Wright 2006,
 * Numerical Optimization, 6.1).  Where no metric is formed, engine/pairs.c has the step.  A step
 * costs one reading of the data, so what counts is that the first step length, one, is right. */
#include <math.h>
#include <string.h>

#include "engine/ascent.h"
#include "math/la.h"
#include "math/small.h"

enum { SHORTER = 12, MOST_SHORTENED = 3, MOST_STEPS = 80, MOST_BY_PAIRS = 400 };
enum { ENOUGH_PAIRS = 3 }; /* before which the gain is told by EM's own metric: too little */

/* Of a metric whose diagonal is one: the data say nothing of directions with less. */
static const double FLAT = 1e-10;
/* Tried one after the other where a new metric leads too far. */
static const double damping[] = {0.0, 0.01, 0.1, 1.0};

/* -H, which has to be positive definite. */
static elbo_status minus_hessian(ascent *a) {
  const int n = a->model->n_eta;
  double value;
  const elbo_status status = a->model->objective.hessian(a->work, &value, a->gradient, a->vectors);
  for (int i = 0; i < n * n && status == ELBO_OK; i++) a->vectors[i] = -a->vectors[i];
  for (int j = 0; j < n && status == ELBO_OK; j++)
    if (!(a->vectors[j * (n + 1)] > 0.0)) return ELBO_E_RANK;
  return status;
}

/* The metric A (a->vectors) at eta; ELBO_E_RANK where it is no guide. */
static elbo_status find_metric(ascent *a) {
  const int n = a->model->n_eta;
  const elbo_objective *f = &a->model->objective;
  if (a->model->anchor) a->model->anchor(a->work);
  a->model->pack(a->work, a->eta);
  const elbo_status status = a->by_hessian ? minus_hessian(a) : f->metric(a->work, a->vectors);
  /* Coordinates have no constraint and no unit: where a standard error is more than one, as of the
   * logarithm of what fades, no parabola holds over it. */
  for (int j = 0; j < n && !a->by_hessian && status == ELBO_OK; j++) {
    const double d = a->vectors[j * (n + 1)];
    if (!isfinite(d) || (d > 0.0 && d < 1.0)) return ELBO_E_RANK;
  }
  return status;
}

/* H (a->hessian) = (A + damped D + flat diag A)^{-1}, D diagonal, of the size that A has by
 * coordinate and on average (Levenberg 1944, Marquardt 1963); zero for coordinates of which the
 * data say nothing.  ELBO_E_NOT_PD where they say nothing of a direction. */
static elbo_status invert_with(ascent *a, double damped, double flat) {
  const int n = a->model->n_eta;
  double *H = a->hessian, *unit = a->values, mean = 0.0;
  memcpy(H, a->vectors, square(n) * sizeof(double));
  for (int j = 0; j < n; j++) mean += H[j * (n + 1)] / n;
  for (int j = 0; j < n; j++) {
    const double own = H[j * (n + 1)], d = own * (1.0 + flat) + 0.5 * damped * (own + mean);
    unit[j] = own > 0.0 ? 1.0 / sqrt(d) : 0.0;
  }
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) H[i + n * j] = i == j ? 1.0 : H[i + n * j] * unit[i] * unit[j];
  elbo_status status = la_chol(H, n);
  for (int j = 0; j < n && status == ELBO_OK; j++)
    if (!(H[j * (n + 1)] * H[j * (n + 1)] > 0.1 * FLAT)) status = ELBO_E_NOT_PD;
  if (status == ELBO_OK) status = la_inverse_from_chol(H, n);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) H[i + n * j] *= unit[i] * unit[j];
  return status;
}

static elbo_status invert(ascent *a, double damped) {
  elbo_status status = invert_with(a, damped, 0.0);
  if (status != ELBO_OK) status = invert_with(a, damped, FLAT);
  if (status != ELBO_OK) status = invert_with(a, damped, 1e4 * FLAT);
  return status == ELBO_OK ? status : ELBO_E_RANK;
}

/* H at eta; ELBO_E_RANK where the metric is no guide. */
static elbo_status begin(ascent *a) {
  if (!a->by_pairs) {
    const elbo_status status = find_metric(a);
    return status == ELBO_OK ? invert(a, 0.0) : status;
  }
  if (a->model->anchor) a->model->anchor(a->work);
  a->model->pack(a->work, a->eta);
  a->n_pairs = 0;
  return ELBO_OK;
}

static elbo_status find_gradient(ascent *a, double *gradient, double *natural) {
  const elbo_objective *f = &a->model->objective;
  return a->by_pairs ? f->natural(a->work, gradient, natural) : f->gradient(a->work, gradient);
}

/* The step H g, what it promises, and the scaled gradient, where there is H to tell it. */
static void look_ahead(ascent *a) {
  const int n = a->model->n_eta;
  double scaled = 0.0;
  if (a->by_pairs) {
    if (!pairs_step(a)) {
      a->n_pairs = 0;
      pairs_step(a);
    }
    scaled = NAN;
  } else {
    la_multiply(a->hessian, a->gradient, n, n, 1, a->step);
    for (int j = 0; j < n; j++)
      scaled = fmax(scaled, fabs(a->gradient[j]) * sqrt(a->hessian[j + n * j]));
  }
  a->result->gradient = scaled;
  a->result->gain = 0.5 * dot(a->gradient, a->step, n);
}

/* The objective does not tell less than this of its value. */
static double resolution(double value) { return 1e-14 * (1.0 + fabs(value)); }

/* From eta by the step, or a part of it that is no shorter than `shortest`, to a higher point;
 * a->eta1 and the value there.  What is tried next is the maximum of the parabola through what is
 * known.  Says how often the step was shortened. */
static int search(ascent *a, double shortest, double *value, int *moved) {
  const int n = a->model->n_eta;
  const double slope = 2.0 * a->result->gain, silent = resolution(*value);
  double factor = 1.0, next;
  int tries = 0;
  *moved = 0;
  for (; tries < SHORTER && !*moved && factor >= shortest; tries++) {
    for (int i = 0; i < n; i++) a->eta1[i] = a->eta[i] + factor * a->step[i];
    const int inside = ascent_move_to(a, a->eta1, &next) == ELBO_OK && isfinite(next);
    const double gained = inside ? next - *value : -HUGE_VAL, along = factor * slope;
    *moved = inside && (gained >= 1e-4 * along ||
                        (tries == 0 && a->result->gain <= silent && gained >= -silent));
    if (*moved) *value = next;
    const double best = inside ? 0.5 * along / (along - gained) : 0.1;
    factor *= fmin(fmax(best, 0.1), 0.5);
  }
  return tries - *moved;
}

/* H from the step s and the change y of minus the gradient (a->rotated: the new one). */
static void bend(ascent *a, int first) {
  const int n = a->model->n_eta;
  double *s = a->step, *y = a->values, *Hy = a->eta2, *H = a->hessian;
  for (int i = 0; i < n; i++) {
    s[i] = a->eta1[i] - a->eta[i];
    y[i] = a->gradient[i] - a->rotated[i];
  }
  const double sy = dot(s, y, n);
  la_multiply(H, y, n, n, 1, Hy);
  const double yHy = dot(y, Hy, n);
  if (!(sy > 1e-8 * sqrt(fabs(yHy * dot(s, a->gradient, n)))) || !isfinite(yHy)) return;
  const double size = first ? sy / yHy : 1.0; /* the metric's may be off: (6.20) there */
  for (size_t i = 0; first && i < square(n); i++) H[i] *= size;
  for (int i = 0; i < n; i++) Hy[i] *= size;
  const double weight = (1.0 + size * yHy / sy) / sy;
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++)
      H[i + n * j] += weight * s[i] * s[j] - (Hy[i] * s[j] + s[i] * Hy[j]) / sy;
}

/* Where n parameters are as uncertain as the data leave them, n / 2 is what lies between an optimum
 * and the truth.  A metric from much further away is another by the time that has been climbed. */
static int has_come_near(const ascent *a, double gain_then) {
  const double usual = 0.5 * a->model->n_eta;
  return gain_then > usual && a->result->gain < 0.1 * usual;
}

/* Where the climb by one metric stands. */
typedef struct {
  double value, gain_then; /* of the objective; to come when the metric was found */
  int steps;               /* since then */
  int shortened;           /* how often, by all metrics */
  double damped;
} stretch;

/* The first step by a metric.  Where scores vary less than the Hessian has it, as near the boundary
 * of the parameter space, or the objective is far from a parabola, it leads too far: it is damped
 * until it need not be shortened much. */
static elbo_status first_step(ascent *a, stretch *s, int *moved) {
  const double gain = a->result->gain, enough_to_see = resolution(s->value);
  elbo_status status = ELBO_OK;
  for (size_t i = 0; i < sizeof damping / sizeof *damping && !*moved; i++) {
    if (i > 0) status = invert(a, damping[i]);
    if (status != ELBO_OK) return status;
    if (i > 0) look_ahead(a);
    s->damped = damping[i];
    s->shortened += search(a, gain > enough_to_see ? 0.2 : 0.0, &s->value, moved);
  }
  if (!*moved) a->result->gain = gain;
  return ELBO_OK;
}

/* One step up, with what it shows of the curvature; s->steps is 0 after one that led nowhere.
 * ELBO_STOPPED where what is left is rounding, ELBO_E_RANK where a new metric is no guide. */
static elbo_status climb_one(ascent *a, stretch *s) {
  const size_t n = (size_t)a->model->n_eta;
  const int fresh = s->steps == 0;
  int moved = 0;
  elbo_status status = ELBO_OK;
  if (fresh && !a->by_pairs)
    status = first_step(a, s, &moved);
  else
    s->shortened += search(a, 0.0, &s->value, &moved);
  if (status != ELBO_OK) return status;
  if (!moved) {
    s->steps = 0;
    status = a->model->unpack(a->work, a->eta);
    if (status == ELBO_OK) status = a->model->e_step(a->work);
    if (status != ELBO_OK || !fresh) return status;
    return a->result->gain <= a->rounding ? ELBO_STOPPED : ELBO_E_RANK;
  }
  a->result->iterations++;
  a->result->quasi_newton++;
  status = a->model->e_step(a->work);
  if (status == ELBO_OK) status = ascent_record(a, ELBO_STEP_QUASI_NEWTON, 0);
  if (status == ELBO_OK) status = find_gradient(a, a->rotated, a->natural1);
  if (status != ELBO_OK) return status;
  if (a->by_pairs)
    pairs_keep(a);
  else
    bend(a, fresh && s->damped == 0.0);
  memcpy(a->eta, a->eta1, n * sizeof(double));
  memcpy(a->gradient, a->rotated, n * sizeof(double));
  memcpy(a->natural, a->natural1, n * sizeof(double));
  s->steps++;
  return ELBO_OK;
}

elbo_status ascent_quasi_newton(ascent *a, double enough) {
  stretch s = {0};
  double least = HUGE_VAL;
  int stalled = 0;
  const int first = a->result->quasi_newton;
  elbo_status status = a->model->objective.value(a->work, &s.value);
  while (status == ELBO_OK) {
    const int fresh = s.steps == 0;
    if (fresh) status = begin(a);
    if (status == ELBO_OK && fresh) status = find_gradient(a, a->gradient, a->natural);
    if (status != ELBO_OK) return status;
    look_ahead(a);
    const double gain = a->result->gain;
    if (a->by_pairs && !(gain >= 0.0)) return ELBO_E_RANK;
    if (!isfinite(gain)) return fresh ? ELBO_E_RANK : ELBO_E_NOT_FINITE;
    if (fresh) s.gain_then = gain;
    if (fresh) s.damped = 0.0;
    /* Near the end the objective no longer tells steps apart: the gradient does, if anything. */
    if (gain <= resolution(s.value)) stalled = gain > 0.5 * least ? stalled + 1 : 0;
    least = fmin(least, gain);
    const int knows =
        a->by_pairs ? a->n_pairs >= ENOUGH_PAIRS || gain <= resolution(s.value) : s.damped == 0.0;
    if (stalled > 2 || (gain <= enough && knows)) return ELBO_OK;
    /* A damped metric promises less than there is. */
    if (!a->by_pairs && (gain <= enough || has_come_near(a, s.gain_then))) {
      s.steps = 0;
      continue;
    }
    /* SQUAREM is no slower, as where a coordinate runs off to the boundary. */
    const int spent = s.shortened > MOST_SHORTENED + a->result->quasi_newton - first;
    const int most = a->by_pairs ? MOST_BY_PAIRS : MOST_STEPS;
    if (spent || a->result->quasi_newton >= first + most) return ELBO_E_RANK;
    if (ascent_exhausted(a)) return ELBO_MAX_ITER;
    if (ascent_stop_requested(a)) return ELBO_STOPPED;
    status = climb_one(a, &s);
    if (status == ELBO_STOPPED) return ELBO_OK;
  }
  return status;
}
