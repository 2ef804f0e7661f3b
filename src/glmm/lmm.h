/* The Gaussian mixed model as the engine sees it. */
#ifndef ELBO_GLMM_LMM_H
#define ELBO_GLMM_LMM_H

#include "engine/engine.h"
#include "glmm/types.h"

elbo_model lmm_model(const lmm_work *work);
/* Puts the model at eta, beta at its best. */
elbo_status lmm_start(lmm_work *work, const double *eta);

#endif
