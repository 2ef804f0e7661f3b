/* The observed information of a mixture without differences over the data (Louis 1982). */
#ifndef ELBO_MIXTURE_OBSERVED_H
#define ELBO_MIXTURE_OBSERVED_H

#include "mixture/mixture.h"

/* Memory, where every part that has parameters tells its basis; after the rest of the mixture was
 * set up. */
void mixture_observed_init(mixture *w, const elbo_memory *mem);
static inline int mixture_observed_known(const mixture *w) { return w->observed.n_basis > 0; }
/* Hessian of the objective (n_eta x n_eta) at eta, the present parameters, and the Jacobian of
 * theta (n_theta x n_eta; or NULL).  `pass` is of these parameters, which are left elsewhere: to be
 * unpacked again. */
elbo_status mixture_observed(mixture *w, const mixture_pass *pass, const double *eta,
                             double *hessian, double *jacobian);

#endif
