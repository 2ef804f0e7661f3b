/* Binomial and poisson rows of the mixture of regressions, em and joint: Newton steps, and the
 * boundary where a likelihood has its limit and not a maximum. */
#ifndef ELBO_MIXTURE_REGRESSION_GLM_EM_H
#define ELBO_MIXTURE_REGRESSION_GLM_EM_H

#include "mixture/regression_inside.h"

void regression_glm_em(mixture_part *part, const regression *w);

#endif
