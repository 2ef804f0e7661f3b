/* q(beta, u) of one grouping factor at its best, given S. */
#ifndef ELBO_GENERAL_VB_GROUPS_H
#define ELBO_GENERAL_VB_GROUPS_H

#include "general/vb_types.h"

/* Memory of q; w->general and w->apart are known. */
void vb_groups_init(vb_work *w, const elbo_memory *mem);
extern const vb_steps vb_groups_steps;

/* A place of group g in q. */
static inline double *vb_part(const vb_work *w, const vb_normal *q, int g, int place) {
  return q->groups + (size_t)w->place.stride * (size_t)g + place;
}
/* Of row i: X + G' Z (p), what the predictor has of beta - m, and its mean and variance. */
void vb_predictor(const vb_work *w, const vb_normal *q, int g, int i, double *x, double *mean,
                  double *variance);

#endif
