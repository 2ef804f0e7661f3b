/* The sufficient statistics of rows with several grouping factors as one flat vector, of the layout
 * of glmm/stats.h with tables of sums in place of cells: W the weights, of each factor's levels
 * Z'W[Z X y], and of each pair of levels that meet Z'WZ, by level of the residual variance.  Sums
 * are linear, so that chunks add up. */
#ifndef ELBO_GLMM_CROSSED_SUMS_H
#define ELBO_GLMM_CROSSED_SUMS_H

#include "glmm/stats.h"

/* Entries of a table are in the order of their keys: (unit f, level) counted up, or, of a pair of
 * factors, (unit f, unit g, level), all from 0.  An entry has `width` numbers, by row the terms of
 * f:
 * f = g   its terms, then the columns of [X y];   f > g   the terms of g. */
typedef struct {
  int f, g, rows, columns;
  size_t n, width;
  double *key, *value;
} lmm_table;

typedef struct {
  lmm_flat flat;
  int n_factor, n_table;            /* n_factor tables of one factor, then those of pairs */
  double *first, *n_unit, *n_entry; /* n_factor + 1; n_factor; n_table */
} lmm_sums;

void lmm_sums_parts(const double *flat, lmm_sums *sums);
lmm_table lmm_sums_table(const lmm_sums *sums, int t);

typedef struct {
  int unit_f, unit_g, level; /* of one factor unit_g is unit_f */
} lmm_place;

lmm_place lmm_sums_place(const lmm_sums *sums, const lmm_table *table, size_t entry);

/* As lmm_stats_open() and so on have it; `threads` does not change the sums. */
double *lmm_sums_open(const double *survey, const lmm_shape *shape, const elbo_memory *out);
double *lmm_sums_add(const double *flat, const lmm_rows *rows, const elbo_memory *mem,
                     const elbo_memory *out);
double *lmm_sums_merge(const double *a, const double *b, const elbo_memory *out);
int lmm_sums_check(const double *flat, size_t size);
int lmm_sums_complete(const double *flat);
int lmm_sums_mergeable(const double *a, const double *b);
/* Whether keys of this shape are whole numbers of a double. */
int lmm_sums_fit(const lmm_shape *shape);

#endif
