/* One source at a time, the others as they are: what it is, and whether it is there at all. */
#ifndef ELBO_SKY_LOCAL_H
#define ELBO_SKY_LOCAL_H

#include "sky/field.h"

/* A source of this type fitted to its patches: gain over nothing there in log-likelihood, and
 * Laplace's approximation of its marginal log-likelihood ratio. */
typedef struct {
  sky_type type;
  double theta[SKY_MAX_FREE], gain, evidence;
} sky_candidate;

/* Doubles for a field's largest source. */
size_t sky_local_size(const sky_field *f);
/* Maximises the likelihood over one source, starting from candidate->theta. */
void sky_local_fit(sky_field *f, int s, sky_candidate *candidate, int max_iter, double *memory);
/* Goes through sources in this order, and gives each the type of the highest evidence among those
 * in `allowed` (bits by type), or refits that which it has; a galaxy of one profile is tried where
 * the other one beats a star, of both where that is beyond doubt.  A source whose evidence is below
 * 0 loses its flux where `remove`.  evidence: SKY_N_TYPES x n, -Inf of what was not tried.  type[]
 * is written. */
void sky_sweep(sky_field *f, const int *order, int n_order, int allowed, int remove, int max_iter,
               int *type, double *evidence, double *memory);

#endif
