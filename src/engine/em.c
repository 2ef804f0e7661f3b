/* Coordinate steps (E, M) and their squared extrapolation (SQUAREM: Varadhan & Roland 2008, Scand.
 * J. Stat. 35:335).  They end where what is still to come, by the rate of the last steps, is
 * little: of the objective, or, without one, of the movement of eta. */
#include <math.h>

#include "engine/ascent.h"

/* Of a sequence that goes on by the rate rho what follows a step g sums to g rho / (1 - rho); with
 * rho = 1 or more there is no telling.  A step within rounding tells no more. */
static void foresee(ascent *a, double progress, double rounding) {
  if (progress <= rounding)
    a->to_come = fmax(progress, 0.0);
  else
    a->to_come = progress < a->progress ? progress * progress / (a->progress - progress) : HUGE_VAL;
  a->progress = progress;
}

double ascent_distance(ascent *a, const double *x, const double *y) {
  double most = 0.0;
  for (int j = 0; j < a->model->n_eta; j++) {
    a->size[j] = fmax(a->size[j], fmax(fabs(x[j]), fabs(y[j])));
    if (x[j] != y[j]) most = fmax(most, fabs(x[j] - y[j]) / a->size[j]);
  }
  return most;
}

elbo_status ascent_em_step(ascent *a) {
  const double before = a->elbo;
  const int blind = a->model->elbo == NULL;
  a->result->iterations++;
  a->result->em++;
  if (blind) a->model->pack(a->work, a->step);
  elbo_status status = a->model->m_step(a->work);
  if (status == ELBO_OK) status = ascent_record(a, a->model->m_name, 1);
  if (status == ELBO_OK) status = a->model->e_step(a->work);
  if (status == ELBO_OK) status = ascent_record(a, a->model->e_name, 1);
  if (status != ELBO_OK) return status;
  if (blind) {
    a->model->pack(a->work, a->rotated);
    foresee(a, ascent_distance(a, a->step, a->rotated), 1e-14);
  } else {
    foresee(a, a->elbo - before, 1e-14 * (1.0 + fabs(a->elbo)));
  }
  return ELBO_OK;
}

/* Without an objective an extrapolation is judged by the EM step that follows it: kept where that
 * goes no further than the first of the cycle did. */
static elbo_status extrapolate_blindly(ascent *a, double first) {
  elbo_status status = a->model->unpack(a->work, a->values);
  if (status == ELBO_OK) status = a->model->e_step(a->work);
  if (status == ELBO_OK) {
    a->result->iterations++;
    a->result->squarem++;
    status = ascent_record(a, ELBO_STEP_SQUAREM, 0);
  }
  if (status == ELBO_OK) status = ascent_em_step(a);
  if (status == ELBO_OK && a->progress <= first) return ELBO_OK;
  status = a->model->unpack(a->work, a->eta2);
  return status == ELBO_OK ? a->model->e_step(a->work) : status;
}

/* eta, F(eta), F(F(eta)), the extrapolation with step length -|r| / |v|, drawn back towards
 * F(F(eta)) until the objective does not fall. */
elbo_status ascent_squarem(ascent *a) {
  const int n = a->model->n_eta;
  double value, before = NAN, r2 = 0.0, v2 = 0.0;
  if (a->model->anchor) a->model->anchor(a->work);
  a->model->pack(a->work, a->eta);
  elbo_status status = ascent_em_step(a);
  const double first = a->progress;
  a->model->pack(a->work, a->eta1);
  if (status == ELBO_OK) status = ascent_em_step(a);
  a->model->pack(a->work, a->eta2);
  const int blind = a->model->objective.value == NULL;
  if (status == ELBO_OK && !blind) status = a->model->objective.value(a->work, &before);
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
      a->values[i] = a->eta[i] - 2.0 * alpha * r + alpha * alpha * v;
    }
    if (blind) return extrapolate_blindly(a, first);
    accepted = ascent_move_to(a, a->values, &value) == ELBO_OK && value >= before;
  }
  if (blind) return ELBO_OK;
  if (!accepted) status = a->model->unpack(a->work, a->eta2);
  if (status == ELBO_OK) status = a->model->e_step(a->work);
  if (status != ELBO_OK || !accepted) return status;
  a->result->iterations++;
  a->result->squarem++;
  status = ascent_record(a, ELBO_STEP_SQUAREM, 1);
  return status == ELBO_OK ? ascent_em_step(a) : status; /* stabilises the extrapolation */
}

static void forget_rate(ascent *a) {
  a->progress = 0.0;
  a->to_come = HUGE_VAL;
}

static void tell_rate(ascent *a) {
  *(a->model->elbo ? &a->result->gain : &a->result->movement) = a->to_come;
}

elbo_status ascent_em(ascent *a, int steps, double enough) {
  forget_rate(a);
  for (int i = 0; i < steps && a->to_come > enough; i++) {
    if (ascent_exhausted(a)) return ELBO_MAX_ITER;
    if (ascent_stop_requested(a)) return ELBO_STOPPED;
    const elbo_status status = ascent_em_step(a);
    if (status != ELBO_OK) return status;
    tell_rate(a);
  }
  return ELBO_OK;
}

elbo_status ascent_by_gain(ascent *a, double enough, int most_cycles) {
  const int accelerated = a->control->accelerate != ELBO_ACCELERATE_NONE && a->model->pack != NULL;
  forget_rate(a);
  for (int cycle = 0; a->to_come > enough && cycle < most_cycles; cycle++) {
    if (ascent_exhausted(a)) return ELBO_MAX_ITER;
    if (ascent_stop_requested(a)) return ELBO_STOPPED;
    const elbo_status status = accelerated && cycle > 0 ? ascent_squarem(a) : ascent_em_step(a);
    if (status != ELBO_OK) return status;
    tell_rate(a);
  }
  return ELBO_OK;
}
