/* What a mixture of regressions knows under variational Bayes: q(beta_j) normal, q(sigma^2) inverse
 * gamma (shape, rate), with the auxiliary variables of half-t laws at their best
 * (law/exponential_family.h). */
#ifndef ELBO_MIXTURE_REGRESSION_VB_H
#define ELBO_MIXTURE_REGRESSION_VB_H

#include "mixture/regression_inside.h"

/* The part's state, from its beginning. */
elbo_status regression_vb(mixture_part *part, regression *w);

#endif
