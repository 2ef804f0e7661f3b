/* Priors of scales that are points. */
#ifndef ELBO_GLMM_MAP_H
#define ELBO_GLMM_MAP_H

#include "glmm/types.h"

void lmm_prior_map(lmm_prior *prior);

#endif
