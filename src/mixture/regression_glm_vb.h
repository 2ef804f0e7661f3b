/* Binomial and poisson rows of the mixture of regressions: natural gradient steps of variational
 * Bayes. */
#ifndef ELBO_MIXTURE_REGRESSION_GLM_VB_H
#define ELBO_MIXTURE_REGRESSION_GLM_VB_H

#include "mixture/regression_inside.h"

void regression_glm_vb(mixture_part *part, const regression *w);

#endif
