/* The boundary of the parameter space, of an lmm_work. */
#ifndef ELBO_GLMM_SETTLE_H
#define ELBO_GLMM_SETTLE_H

#include "glmm/types.h"

/* Variances and singular covariances as elbo_model's `propose`: rows of L, then sds of smooths. */
int lmm_propose(void *work, int from);
/* Sds whose prior has a slope at zero, as elbo_model's `stop_at_edge`: Newton's method would go
 * from one side of zero to the other for ever. */
void lmm_stop_at_edge(const void *work, const double *from, double *to);

#endif
