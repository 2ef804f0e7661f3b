/* Normal factors q(gamma_j) = N(gamma, V) of the mixture of regressions, for vb. */
#ifndef ELBO_MIXTURE_REGRESSION_Q_H
#define ELBO_MIXTURE_REGRESSION_Q_H

#include "mixture/regression_inside.h"

/* gamma_j ~ N(gamma, V), and its image in the fields; and all of them back from the fields. */
void regression_set_q(const regression *w, int j, const double *gamma, const double *V);
void regression_get_q(const regression *w);
/* -KL(N(gamma, V) || p(gamma)), V = root root'. */
double regression_minus_kl(const regression *w, const double *gamma, const double *V,
                           const double *root);
/* Natural parameters of q(gamma_j), as law_normal_natural() has them. */
void regression_natural_q(const regression *w, int j, double *eta);

#endif
