/* Climbing from several starts. */
#ifndef ELBO_ENGINE_MULTISTART_H
#define ELBO_ENGINE_MULTISTART_H

#include "engine/engine.h"

/* Of n_points starts (eta: n_eta x n_points; value: their objectives, -Inf where there is none) the
 * n_climbs highest are climbed from, without a trace, and then again, with the hooks, the one that
 * led highest; of one climb, the highest start.  value is written over; memory:
 * elbo_ascend_size(model) doubles.  ELBO_E_NOT_FINITE where no start has an objective. */
elbo_status elbo_multistart(const elbo_model *model, void *work, const elbo_control *control,
                            const elbo_hooks *hooks, int n_climbs, int n_points, const double *eta,
                            double *value, double *memory, elbo_result *result);

#endif
