/* The boundary of the parameter space, of an lmm_work. */
#ifndef ELBO_GLMM_SETTLE_H
#define ELBO_GLMM_SETTLE_H

#include "glmm/types.h"

/* 1 if anything was put onto it. */
int lmm_settle(void *work);

#endif
