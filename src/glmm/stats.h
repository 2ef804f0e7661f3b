/* Rows to sufficient statistics. */
#ifndef ELBO_GLMM_STATS_H
#define ELBO_GLMM_STATS_H

#include "glmm/types.h"

/* Columns of X that belong to smooth terms. */
int lmm_law_smooth_columns(const lmm_law *law);
elbo_status lmm_stats_build(lmm_stats *stats, const lmm_rows *rows, const lmm_law *law,
                            const elbo_memory *mem);
/* Adds [X y]'[X y] of the between rows of level l (lower). */
void lmm_stats_add_between(const lmm_stats *stats, int l, double *A);

#endif
