/* Climbing from several starts, for objectives with local maxima. */
#include "engine/multistart.h"

#include <math.h>

/* The highest start that is left; -1 if there is none. */
static int highest(const double *value, int n) {
  int best = 0;
  for (int i = 1; i < n; i++)
    if (value[i] > value[best]) best = i;
  return n < 1 || value[best] == -HUGE_VAL ? -1 : best;
}

elbo_status elbo_multistart(const elbo_model *model, void *work, const elbo_control *control,
                            const elbo_hooks *hooks, int n_climbs, int n_points, const double *eta,
                            double *value, double *memory, elbo_result *result) {
  const double same = 1e-6; /* climbs that differ by less led to the same place */
  const elbo_hooks quiet = {hooks ? hooks->poll : NULL, NULL, hooks ? hooks->ctx : NULL};
  const size_t n = (size_t)model->n_eta;
  double best_value = -HUGE_VAL;
  int best = highest(value, n_points);
  if (best < 0) return ELBO_E_NOT_FINITE;
  for (int tried = 0, next = best; n_climbs > 1 && tried < n_climbs && next >= 0; tried++) {
    value[next] = -HUGE_VAL;
    elbo_status status = model->unpack(work, eta + n * (size_t)next);
    if (status == ELBO_OK) status = elbo_ascend(model, work, control, &quiet, memory, result);
    if (status >= 0 && result->objective > best_value + same) {
      best = next;
      best_value = result->objective;
    }
    next = highest(value, n_points);
  }
  const elbo_status status = model->unpack(work, eta + n * (size_t)best);
  if (status != ELBO_OK) return status;
  return elbo_ascend(model, work, control, hooks, memory, result);
}
