/* Derivatives of the objective by eta. */
#ifndef ELBO_GLMM_INFORMATION_H
#define ELBO_GLMM_INFORMATION_H

#include "glmm/types.h"

/* value, gradient and Hessian at the current eta with beta held at its best (not profiled: the
 * blocks with beta are work->cross_eta and -X'V^{-1}X, whose inverse is -work->C). */
elbo_status lmm_information(lmm_work *work, double *value, double *gradient, double *hessian);
/* The same with beta profiled out, H + cross C cross', of an lmm_work. */
elbo_status lmm_profile_information(void *work, double *value, double *gradient, double *hessian);

#endif
