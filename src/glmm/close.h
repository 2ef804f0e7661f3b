/* From kept statistics to what the kernels read, under a law. */
#ifndef ELBO_GLMM_CLOSE_H
#define ELBO_GLMM_CLOSE_H

#include "glmm/stats.h"
#include "glmm/types.h"

/* A model with fewer coefficients, or with its latent terms in another order.  Those of X are
 * origin + map b, for b (n) free (held ones have rows of zeros in the map): map NULL for X as it
 * is.  order: of the columns of Z, 0-based, NULL for theirs. */
typedef struct {
  int n;
  const double *map, *origin; /* p x n, p */
  const int *order;           /* q */
} lmm_basis;

/* Columns of X that belong to smooth terms. */
int lmm_law_smooth_columns(const lmm_law *law);
/* origin (of as many as coefficients): the response of the statistics
 * is less X origin. */
elbo_status lmm_stats_close(const double *flat, const lmm_law *law, const lmm_basis *basis,
                            lmm_stats *stats, double *origin, const elbo_memory *mem);
/* Rows to statistics: survey, open, add. */
double *lmm_stats_of_rows(const lmm_rows *rows, int n_smooth, const elbo_memory *mem,
                          const elbo_memory *out);
/* The same, closed. */
elbo_status lmm_stats_build(lmm_stats *stats, const lmm_rows *rows, const lmm_law *law,
                            const elbo_memory *mem);
/* Adds [X y]'[X y] of the between rows of level l (lower). */
void lmm_stats_add_between(const lmm_stats *stats, int l, double *A);
/* The response of closed statistics (of all of X) back into the flat vector that they came from. */
void lmm_stats_put_response(const lmm_stats *stats, double *flat);

#endif
