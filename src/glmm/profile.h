/* Profile likelihood: how far one parameter can go. */
#ifndef ELBO_GLMM_PROFILE_H
#define ELBO_GLMM_PROFILE_H

#include "glmm/fit.h"

/* The sd of term a, the correlation of terms a and b, the residual sd of level a, the sd of smooth
 * term a, coefficient a. */
typedef enum {
  LMM_PROFILE_SD = 0,
  LMM_PROFILE_COR,
  LMM_PROFILE_SIGMA,
  LMM_PROFILE_SMOOTH,
  LMM_PROFILE_BETA
} lmm_profile_kind;

typedef struct {
  lmm_profile_kind kind;
  int a, b;
} lmm_profiled;

size_t lmm_profile_size(const lmm_fit *fit);
/* The farthest value of the parameter to the side (1 or -1) where the objective, everything else at
 * its best, is `least`, from the optimum eta.  ELBO_STOPPED where Newton's method does not lead
 * there, as where the parameter reaches the end of its range first. */
elbo_status lmm_profile_limit(lmm_fit *fit, const lmm_profiled *of, int side, double least,
                              const double *eta, double *memory, double *limit);

#endif
