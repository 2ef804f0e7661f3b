/* Gaussian rows of the mixture of regressions: the M-step of em and joint, and the gradient. */
#ifndef ELBO_MIXTURE_REGRESSION_GAUSSIAN_EM_H
#define ELBO_MIXTURE_REGRESSION_GAUSSIAN_EM_H

#include "mixture/regression_inside.h"

void regression_gaussian_em(mixture_part *part, const regression *w);

#endif
