/* Gaussian rows of the mixture of regressions: the coordinate steps of variational Bayes. */
#ifndef ELBO_MIXTURE_REGRESSION_GAUSSIAN_VB_H
#define ELBO_MIXTURE_REGRESSION_GAUSSIAN_VB_H

#include "mixture/regression_inside.h"

void regression_gaussian_vb(mixture_part *part, const regression *w);

#endif
