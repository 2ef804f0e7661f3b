/* q(beta, u) of one grouping factor at its best, given S. */
#ifndef ELBO_GENERAL_VB_GROUPS_H
#define ELBO_GENERAL_VB_GROUPS_H

#include "general/vb_types.h"

/* Memory of q; w->general and w->apart are known. */
void vb_groups_init(vb_work *w, const elbo_memory *mem);
/* Where there is no q yet: around the coefficients of theta, and u = 0. */
elbo_status vb_groups_start(vb_work *w);
/* Towards the best q at the present S, by at most that many steps; w->best says whether it is
 * there. */
elbo_status vb_groups_climb(vb_work *w, int most);
/* Value and slopes of q as it is, S and the rule of nodes being the present ones. */
elbo_status vb_groups_here(vb_work *w);

/* A place of group g in q. */
static inline double *vb_part(const vb_work *w, const vb_normal *q, int g, int place) {
  return q->groups + (size_t)w->place.stride * (size_t)g + place;
}
/* Of row i: X + G' Z (p), what the predictor has of beta - m, and its mean and variance. */
void vb_predictor(const vb_work *w, const vb_normal *q, int g, int i, double *x, double *mean,
                  double *variance);

#endif
