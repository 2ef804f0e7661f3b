/* Columns that say nothing new, and objectives without a bound. */
#ifndef ELBO_GLMM_BOUND_H
#define ELBO_GLMM_BOUND_H

#include "glmm/types.h"

/* Diagonal of X'X (latent terms without a law projected out) after sweeping out the columns
 * before, relative to before: below LMM_ALIASED a column says nothing new. */
#define LMM_ALIASED 1e-11
void lmm_column_pivots(lmm_work *work, double *pivots);
/* The first level of the residual variance (from 0) whose within rows X fits without error, or all
 * of its rows where Sigma may vanish, so that the objective has no bound; -1 if there is none. */
int lmm_unbounded_level(lmm_work *work);
/* The first level whose residual variance an ascent has brought to the size of rounding: a singular
 * Sigma, or one that fits the groups, leaves no error; -1 if there is none. */
int lmm_vanished_level(const lmm_work *work);

#endif
