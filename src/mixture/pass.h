/* The pass over the data. */
#ifndef ELBO_MIXTURE_PASS_H
#define ELBO_MIXTURE_PASS_H

#include "mixture/mixture.h"

/* Where the responsibilities of a pass come from. */
typedef struct {
  const int *label;          /* n_unit, 1..k */
  const double *probability; /* n_unit x k; both NULL: from the present parameters */
} mixture_partition;

/* l[i + ld * j] = freq_i r_ij of the units of a chunk, zero beyond them; the sum of their log
 * densities.  rows: as l; lse: ld; scratch: the parts'. */
double mixture_chunk_law(const mixture *w, const mixture_partition *given,
                         const mixture_chunk *chunk, double *l, double *rows, double *lse,
                         double *scratch);
/* One pass over all units. */
elbo_status mixture_run_pass(mixture *w, const mixture_partition *given, mixture_pass *pass);

#endif
