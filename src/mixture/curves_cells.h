/* The pass over units, and the cells that it leaves: mixture/curves_cells.c. */
#ifndef ELBO_MIXTURE_CURVES_CELLS_H
#define ELBO_MIXTURE_CURVES_CELLS_H

#include "mixture/curves_inside.h"

/* Of a mixture_part. */
void curves_log_density(const void *work, const mixture_chunk *c, double *scratch, double *out);
void curves_accumulate(const void *work, const mixture_chunk *c, const double *r, double *scratch,
                       double *stat);
void curves_finish(const void *work, double *stat);
/* Whether there are cells among the statistics, and where; how many numbers these are. */
size_t curves_place_statistics(curves *w);
/* Cross-products of design d and component j about R beta_j, to w->cell. */
void curves_cell(const curves *w, const double *stat, const double *r, int d, int j);

#endif
