/* q, and what is known of it. */
#ifndef ELBO_GLMM_E_STEP_H
#define ELBO_GLMM_E_STEP_H

#include "glmm/types.h"

/* The exact posterior at work->root and the current variance, as the solver keeps it (its q_size
 * doubles), and its log_det; its mean moves with beta, or under the mean field not. */
elbo_status lmm_posterior(lmm_work *work, const double *beta, double spread, int moves,
                          double *posterior, double *log_det);
/* The exact posterior at theta into q_next. */
elbo_status lmm_find_exact(lmm_work *work);
/* Makes it the current q, and summarises it; of an lmm_work. */
elbo_status lmm_e_step(void *work);

/* The coefficients: points of theta, means of q. */
const double *lmm_mean_coefficients(lmm_work *work);
/* A root of the covariance of the coefficients under q; NULL where they are points. */
const double *lmm_root_of_C(lmm_work *work);
/* E_q |y - X beta - Z u|^2 of level l. */
double lmm_expected_square(lmm_work *work, int l);
/* Where u = from b = to b', b' = M b; and log |det M| of the terms of factor f. */
void lmm_whiten(const lmm_work *work, const double *from, const double *to, double *M);
double lmm_log_det_whitened(const lmm_work *work, const double *M, int f);
/* tr(M'M second) over the terms with a law. */
double lmm_whitened_square(const lmm_work *work, const double *M);

#endif
