/* The boundary of the parameter space, of an lmm_work. */
#ifndef ELBO_GLMM_SETTLE_H
#define ELBO_GLMM_SETTLE_H

#include "glmm/types.h"

/* Variances and singular covariances as elbo_model's `propose`: rows of L, then sds of smooths. */
int lmm_propose(void *work, int from);

#endif
