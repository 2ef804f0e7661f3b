/* theta from q, of an lmm_work. */
#ifndef ELBO_GLMM_M_STEP_H
#define ELBO_GLMM_M_STEP_H

#include "glmm/types.h"

elbo_status lmm_m_step(void *work);

#endif
