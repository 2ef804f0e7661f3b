/* Newton's method on the exact score, with the spectrum of the observed information: an ascent
 * direction always, and out of saddles too.  It ends where max_j |g_j| se_j < tol, se from the
 * observed information, and no direction is left in which the objective is convex. */
#include <math.h>
#include <string.h>

#include "engine/ascent.h"
#include "math/la.h"

enum { HALVINGS = 40 };

static int all_finite(const double *x, int n) {
  for (int i = 0; i < n; i++)
    if (!isfinite(x[i])) return 0;
  return 1;
}

/* From gradients of FAR standard errors on the objective is not yet quadratic, below CLOSE their
 * differences are rounding. */
static const double FAR = 0.1, CLOSE = 1e-6;

void ascent_forget_hessian(ascent *a) {
  const size_t n = (size_t)a->model->n_eta;
  memset(a->missing, 0, n * n * sizeof(double));
  memset(a->last_eta, 0, n * sizeof(double));
  memset(a->last_gradient, 0, n * sizeof(double));
  a->last_scaled = HUGE_VAL;
}

/* A Hessian that is only near is made exact in the direction of the last step, by what the gradient
 * did there: symmetrically, of rank one (Conn, Gould & Toint 1991, Math. Program. 50:177). */
static void correct_hessian(ascent *a) {
  const int n = a->model->n_eta;
  double *s = a->rotated, *r = a->eta1, rs = 0.0, rr = 0.0, ss = 0.0;
  a->model->pack(a->work, a->eta);
  for (int i = 0; i < n * n; i++) a->hessian[i] += a->missing[i];
  for (int i = 0; i < n; i++) s[i] = a->eta[i] - a->last_eta[i];
  for (int i = 0; i < n; i++) {
    r[i] = a->gradient[i] - a->last_gradient[i];
    for (int j = 0; j < n; j++) r[i] -= a->hessian[i + n * j] * s[j];
    rs += r[i] * s[i];
    rr += r[i] * r[i];
    ss += s[i] * s[i];
  }
  for (int i = 0; i < n; i++) a->last_eta[i] = a->eta[i];
  for (int i = 0; i < n; i++) a->last_gradient[i] = a->gradient[i];
  if (!(a->last_scaled < FAR && a->last_scaled > CLOSE && fabs(rs) > 1e-8 * sqrt(rr * ss))) return;
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) {
      a->missing[i + n * j] += r[i] * r[j] / rs;
      a->hessian[i + n * j] += r[i] * r[j] / rs;
    }
}

/* Spectrum of the observed information at the current point; fills result->gradient and gain, and
 * says whether this is a maximum within tol. */
elbo_status ascent_examine(ascent *a, double *value, int *at_maximum) {
  const int n = a->model->n_eta;
  if (a->model->anchor) a->model->anchor(a->work);
  const elbo_status status = a->model->objective.hessian(a->work, value, a->gradient, a->hessian);
  if (status != ELBO_OK) return status;
  if (!all_finite(a->gradient, n) || !all_finite(a->hessian, n * n)) return ELBO_E_NOT_FINITE;
  if (a->model->schedule.near_hessian) correct_hessian(a);
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
  a->result->gradient = a->last_scaled = scaled;
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
    if (a->model->stop_at_edge) a->model->stop_at_edge(a->work, a->eta, a->eta1);
    if (ascent_move_to(a, a->eta1, &next) != ELBO_OK) continue;
    *moved = next > value;
    /* The last steps gain less than rounding shows; the whole step is right there. */
    if (!*moved && h == 0 && a->result->gain < a->rounding && fabs(next - value) < a->rounding)
      *moved = 1;
  }
  if (!*moved) return a->model->unpack(a->work, a->eta);
  a->result->iterations++;
  a->result->newton++;
  const elbo_status status = a->model->e_step(a->work);
  return status == ELBO_OK ? ascent_record(a, ELBO_STEP_NEWTON, 0) : status;
}

/* Whether a step more says nothing new.  By a Hessian that is only near it would be a digit or two,
 * but of what fades to zero, and is then put there. */
static int is_polished(const ascent *a) {
  if (a->result->gradient < 1e-13) return 1;
  int fades = 0;
  for (int i = 0; i < a->model->n_eta; i++) fades |= fabs(a->step[i]) > 1e-3 * fabs(a->eta[i]);
  return a->model->schedule.near_hessian && a->result->gradient < 0.1 * a->control->tol && !fades;
}

elbo_status ascent_newton(ascent *a) {
  double best_gradient = HUGE_VAL;
  int stalled = 0, polished = 0;
  for (int steps = 0;; steps++) {
    double value;
    int at_maximum, moved;
    elbo_status status = ascent_examine(a, &value, &at_maximum);
    if (status != ELBO_OK) return status;
    /* One step more than tol asks for: convergence is quadratic, so it ends at rounding, and all of
     * theta and q are at their best for eta.  Quasi-Newton steps have done so before. */
    if (at_maximum && steps > 0 && (polished || is_polished(a))) return ELBO_OK;
    if (at_maximum && a->result->quasi_newton > 0) return ELBO_OK;
    polished = at_maximum;
    if (ascent_exhausted(a)) return ELBO_MAX_ITER;
    if (ascent_stop_requested(a)) return ELBO_STOPPED;
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
    if (elbo_settle(a->model, a->work, a->eta)) {
      ascent_forget_hessian(a);
      continue;
    }
    /* A coordinate step needs no derivatives: it may lead out of where they mislead. */
    status = ascent_em_step(a);
    if (status != ELBO_OK) return status;
    if (a->progress <= a->rounding) return ELBO_STOPPED;
  }
}
