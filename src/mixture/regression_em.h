/* What a mixture of regressions knows under em and joint: coefficients and sigma, points both. */
#ifndef ELBO_MIXTURE_REGRESSION_EM_H
#define ELBO_MIXTURE_REGRESSION_EM_H

#include "mixture/regression_inside.h"

/* The part's state, from its beginning. */
void regression_em(mixture_part *part, regression *w);

#endif
