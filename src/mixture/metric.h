/* The sum over units of the outer products of their scores. */
#ifndef ELBO_MIXTURE_METRIC_H
#define ELBO_MIXTURE_METRIC_H

#include "mixture/mixture.h"

/* Memory, where units are many enough for a metric and parameters few enough; after the rest of
 * the mixture was set up. */
void mixture_metric_init(mixture *w, const elbo_memory *mem);
/* sum_i freq_i s_i s_i' (n_eta x n_eta), s_i the score of unit i alone at the present parameters
 * without priors: estimated from some of the units where there are many.  An elbo_objective's. */
elbo_status mixture_metric_at(void *work, double *metric);

#endif
