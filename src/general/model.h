/* What the engine sees. */
#ifndef ELBO_GENERAL_MODEL_H
#define ELBO_GENERAL_MODEL_H

#include "engine/engine.h"
#include "general/sums.h"

elbo_model general_model(const general_work *w);
/* Second derivatives as the model has them: Louis's, or differences of the gradient. */
elbo_status general_hessian(void *work, double *value, double *gradient, double *hessian);

#endif
