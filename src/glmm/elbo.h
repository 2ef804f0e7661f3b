/* The ELBO and what it is made of, each of an lmm_work. */
#ifndef ELBO_GLMM_ELBO_H
#define ELBO_GLMM_ELBO_H

#include "glmm/types.h"

elbo_status lmm_elbo(void *work, double *value);
/* How far the ELBO may be off by rounding. */
double lmm_rounding(void *work);
elbo_status lmm_log_evidence(void *work, double *value);
/* KL(q || p(u, beta | y, theta)). */
elbo_status lmm_kl(void *work, double *value);

#endif
