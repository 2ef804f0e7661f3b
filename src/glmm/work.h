/* The state of a model: memory, priors, theta. */
#ifndef ELBO_GLMM_WORK_H
#define ELBO_GLMM_WORK_H

#include "glmm/types.h"

elbo_status lmm_work_init(lmm_work *work, const lmm_stats *stats, const lmm_law *law,
                          const elbo_memory *mem);
/* Gives a model its priors. */
void lmm_set_prior(lmm_work *work, const lmm_prior *prior);
/* Moves the beta near which cross-products are taken. */
void lmm_set_origin(lmm_work *work, const double *beta);
/* Sigma, its root and the variances from eta; whatever was known at another theta is forgotten. */
void lmm_set_eta(lmm_work *work);
/* work->root from work->L. */
void lmm_set_root(lmm_work *work);
/* Of the eta that are the same parameters, the one that lmm_parameters_pack() makes of these. */
void lmm_canonical(lmm_work *work);

#endif
