/* What every kind of step does: it moves, tells the trace where it is, and asks whether to stop. */
#include "engine/ascent.h"

#include <math.h>

elbo_status ascent_record(ascent *a, elbo_step step, int rises) {
  const elbo_model *m = a->model;
  double value = NAN, evidence = NAN, kl = NAN;
  elbo_status status = m->elbo ? m->elbo(a->work, &value) : ELBO_OK;
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

int ascent_stop_requested(const ascent *a) {
  return a->hooks && a->hooks->poll && a->hooks->poll(a->hooks->ctx) != 0;
}

int ascent_exhausted(const ascent *a) { return a->result->iterations >= a->control->max_iter; }

elbo_status ascent_move_to(ascent *a, const double *eta, double *value) {
  elbo_status status = a->model->unpack(a->work, eta);
  if (status == ELBO_OK) status = a->model->objective.value(a->work, value);
  return status;
}
